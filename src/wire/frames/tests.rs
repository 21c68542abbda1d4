//! The exact texts of all frames: they are the contract between versions.

use super::*;
use crate::limits::{
    BODY_BYTES_MAX, CONFIRMED_KEPT_MAX, FRAME_TOKEN_BYTES_MAX, MACHINE_FRAME_BYTES_MAX,
};
use crate::wire::fuzzing;
use crate::wire::testing::Random;

const PEER: &str = "01010101-0101-4101-8101-010101010101";
const ID: &str = "00000000-0011-8101-8101-010101010101";

fn peer() -> PeerId {
    PeerId::from_random([1; 16])
}

fn id() -> MessageId {
    MessageId::new(Seq(17), [1; 16])
}

fn here() -> Here {
    Here {
        peer: peer(),
        path: "/s".into(),
        link: 3,
        process: true,
        confirmed: vec![id()],
        written: Vec::new(),
    }
}

fn hello(you: Option<&str>) -> Hello<'static> {
    Hello {
        version: "1.2.3".into(),
        name: "laptop".into(),
        time: Timestamp(1_800_000_000_000),
        you: you.and_then(MachineName::new),
    }
}

/// A text with the marks `P` and `M` in place of the ids.
fn filled(text: &str) -> String {
    text.replace("<P>", PEER).replace("<M>", ID)
}

fn to_hub(text: &str, frame: &ToHub<'_>) {
    let text = filled(text);
    assert_eq!(frame.text(), text);
    assert_eq!(ToHub::decode(&text), Ok(Some(frame.clone())), "{text}");
    let spaced = format!("\n {} ", text.replace(',', " ,\n"));
    assert!(matches!(ToHub::decode(&spaced), Ok(Some(_))), "{spaced}");
    let later = text.replacen('{', r#"{"later":[1,{"as":2}],"#, 1);
    assert_eq!(ToHub::decode(&later), Ok(Some(frame.clone())), "{later}");
}

fn to_relay(text: &str, frame: &ToRelay<'_>) {
    let text = filled(text);
    assert_eq!(frame.text(), text);
    assert_eq!(ToRelay::decode(&text), Ok(Some(frame.clone())), "{text}");
    let later = text.replacen('{', r#"{"later":null,"#, 1);
    assert_eq!(ToRelay::decode(&later), Ok(Some(frame.clone())), "{later}");
}

#[test]
fn what_a_relay_says() {
    to_hub(
        r#"{"hello":{"version":"1.2.3","name":"laptop","time":1800000000000}}"#,
        &ToHub::Hello(hello(None)),
    );
    let request = Request {
        id: 7,
        by: As::Operator,
        method: "POST".into(),
        path: "/send".into(),
        body: Some(r#"{"toPeer":"a\u0062", "x":[1.50]}"#),
        agent_start: None,
        has_gone: false,
    };
    to_hub(
        r#"{"id":7,"as":"operator","method":"POST","path":"/send","body":{"toPeer":"a\u0062", "x":[1.50]}}"#,
        &ToHub::Request(request.clone()),
    );
    to_hub(
        r#"{"id":7,"as":"t\"\\\n","method":"GET","path":"/status"}"#,
        &ToHub::Request(Request {
            by: As::Token("t\"\\\n".into()),
            method: "GET".into(),
            path: "/status".into(),
            body: None,
            ..request.clone()
        }),
    );
    to_hub(
        r#"{"id":7,"as":"operator","method":"POST","path":"/claim","gone":true,"body":{}}"#,
        &ToHub::Request(Request {
            path: "/claim".into(),
            body: Some("{}"),
            has_gone: true,
            ..request.clone()
        }),
    );
    to_hub(
        r#"{"id":7,"as":"t","method":"POST","path":"/register","agentStart":"41 b","body":null}"#,
        &ToHub::Request(Request {
            by: As::Token("t".into()),
            path: "/register".into(),
            body: Some("null"),
            agent_start: Some("41 b".into()),
            ..request
        }),
    );
    to_hub(r#"{"id":7,"cancel":true}"#, &ToHub::Cancel { id: 7 });
    to_hub(r#"{"id":7,"lost":true}"#, &ToHub::Lost { id: 7, after: None });
    to_hub(r#"{"id":7,"lost":true,"after":12}"#, &ToHub::Lost { id: 7, after: Some(12) });
    to_hub(
        r#"{"id":7,"facts":{"descends":true,"formerGone":false,"formerEnded":true}}"#,
        &ToHub::Facts {
            id: 7,
            facts: ProcessFacts { descends: true, former_ended: true, ..ProcessFacts::default() },
        },
    );
    let ended = EndedProcess { peer: peer(), path: "/s".into() };
    to_hub(
        r#"{"peers":[{"peer":"<P>","path":"/s","link":3,"process":true,"confirmed":["<M>"]}],"ended":[{"peer":"<P>","path":"/s"}]}"#,
        &ToHub::Peers { here: vec![here()], ended: vec![ended], got: None },
    );
    to_hub(
        r#"{"peers":[],"ended":[],"got":[5,7]}"#,
        &ToHub::Peers { here: Vec::new(), ended: Vec::new(), got: Some(vec![5, 7]) },
    );
    to_hub(
        r#"{"up":"<P>","path":"/s","link":3,"process":false,"confirmed":[],"written":[17]}"#,
        &ToHub::Up(Here {
            process: false,
            confirmed: Vec::new(),
            written: vec![Seq(17)],
            ..here()
        }),
    );
    to_hub(r#"{"down":"<P>"}"#, &ToHub::Down { peer: peer() });
    to_hub(r#"{"ack":"<M>","by":"<P>"}"#, &ToHub::Ack { message: id(), by: peer() });
    to_hub(r#"{"written":17,"to":"<P>"}"#, &ToHub::Written { seq: Seq(17), to: peer() });
    to_hub(r#"{"ended":"<P>"}"#, &ToHub::Ended { peer: peer() });
    to_hub(r#"{"process":"<P>","known":true}"#, &ToHub::Process { peer: peer(), known: true });
    to_hub(r#"{"namedEnded":"<P>"}"#, &ToHub::NamedEnded { peer: peer() });
    to_hub(r#"{"agentLives":"<P>"}"#, &ToHub::AgentLives { peer: peer() });
    to_hub(r#"{"agentEnded":"<P>"}"#, &ToHub::AgentEnded { peer: peer() });
}

#[test]
fn what_a_hub_says() {
    to_relay(
        r#"{"hello":{"version":"1.2.3","name":"laptop","time":1800000000000,"you":"box-2"}}"#,
        &ToRelay::Hello(hello(Some("box-2"))),
    );
    let answer = Answer {
        id: 7,
        status: 200,
        now: Timestamp(1_800_000_000_000),
        body: r#"{"ok":true,"a": "\ud83d"}"#,
        retry_after: None,
        allow: None,
    };
    to_relay(
        r#"{"id":7,"status":200,"now":1800000000000,"body":{"ok":true,"a": "\ud83d"}}"#,
        &ToRelay::Answer(answer.clone()),
    );
    to_relay(
        r#"{"id":7,"status":405,"now":1800000000000,"retryAfter":2,"allow":"GET, POST","body":{}}"#,
        &ToRelay::Answer(Answer {
            status: 405,
            body: "{}",
            retry_after: Some(2),
            allow: Some("GET, POST".into()),
            ..answer
        }),
    );
    let push = r#"{"type":"wake","payload":{}}"#;
    to_relay(
        r#"{"to":"<P>","push":{"type":"wake","payload":{}}}"#,
        &ToRelay::Push { to: peer(), push, seq: None },
    );
    to_relay(
        r#"{"to":"<P>","push":{"type":"wake","payload":{}},"seq":17}"#,
        &ToRelay::Push { to: peer(), push, seq: Some(Seq(17)) },
    );
    to_relay(r#"{"announced":"<P>","link":3}"#, &ToRelay::Announced { peer: peer(), link: 3 });
    to_relay(
        r#"{"connect":"<P>","path":"/d/peers/a\"b.sock"}"#,
        &ToRelay::Connect { peer: peer(), path: "/d/peers/a\"b.sock".into() },
    );
    to_relay(r#"{"disconnect":"<P>"}"#, &ToRelay::Disconnect { peer: peer() });
    to_relay(r#"{"watch":"<P>","pid":41}"#, &ToRelay::Watch { peer: peer(), pid: 41 });
    to_relay(
        r#"{"watchAgent":"<P>","pid":41,"start":"99"}"#,
        &ToRelay::WatchAgent { peer: peer(), pid: 41, start: "99".into() },
    );
    to_relay(
        r#"{"departed":"<P>","reason":"crashed","path":"/s"}"#,
        &ToRelay::Departed { peer: peer(), reason: "crashed".into(), path: Some("/s".into()) },
    );
    to_relay(
        r#"{"departed":"<P>","reason":"timeout"}"#,
        &ToRelay::Departed { peer: peer(), reason: "timeout".into(), path: None },
    );
    to_relay(r#"{"abandoned":"/s"}"#, &ToRelay::Abandoned { path: "/s".into() });
    let look = Look {
        id: 7,
        agent_pid: 41,
        socket: "/new".into(),
        former_pid: 40,
        former_start: "98".into(),
        former_socket: None,
    };
    to_relay(
        r#"{"id":7,"look":{"agentPid":41,"socket":"/new","former":{"agentPid":40,"agentStart":"98"}}}"#,
        &ToRelay::Look(look.clone()),
    );
    to_relay(
        r#"{"id":7,"look":{"agentPid":41,"socket":"/new","former":{"agentPid":40,"agentStart":"98","socket":"/old"}}}"#,
        &ToRelay::Look(Look { former_socket: Some("/old".into()), ..look }),
    );
}

#[test]
fn frames_of_later_versions_are_ignored() {
    for text in ["{}", r#"{"later":1}"#, r#"{"id":7,"later":true}"#, r#"{"process":true}"#] {
        assert_eq!(ToHub::decode(text), Ok(None), "{text}");
    }
    for text in ["{}", r#"{"later":1}"#, r#"{"id":7,"later":true}"#, r#"{"to":"x","path":1}"#] {
        assert_eq!(ToRelay::decode(text), Ok(None), "{text}");
    }
}

fn field(name: &'static str) -> impl Fn(FrameError) -> bool {
    move |error| matches!(error, FrameError::Field { name: its, .. } if its == name)
}

#[test]
fn a_known_frame_with_something_else_in_it_is_an_error() {
    let bad = [
        (r#"{"hello":1}"#, "hello"),
        (r#"{"hello":{"version":"1","name":"a"}}"#, "time"),
        (r#"{"hello":{"version":"1","name":"a","time":"x"}}"#, "time"),
        (r#"{"hello":{"version":"1","name":"a","time":1,"you":"a b"}}"#, "you"),
        (r#"{"as":"operator","method":"GET","path":"/status"}"#, "id"),
        (r#"{"id":-1,"as":"operator","method":"GET","path":"/status"}"#, "id"),
        (r#"{"id":1.5,"as":"operator","method":"GET","path":"/status"}"#, "id"),
        (r#"{"id":1,"as":7,"method":"GET","path":"/status"}"#, "as"),
        (r#"{"id":1,"as":"operator","path":"/status"}"#, "method"),
        (r#"{"id":1,"as":"operator","method":"GET"}"#, "path"),
        (r#"{"id":1,"as":"operator","method":"GET","path":"/","agentStart":{}}"#, "agentStart"),
        (r#"{"cancel":true}"#, "id"),
        (r#"{"id":1,"cancel":1}"#, "cancel"),
        (r#"{"id":1,"cancel":false}"#, "cancel"),
        (r#"{"id":1,"lost":true,"after":-1}"#, "after"),
        (r#"{"id":1,"facts":{"descends":true}}"#, "facts"),
        (r#"{"peers":{},"ended":[]}"#, "peers"),
        (r#"{"peers":[],"ended":"<P>"}"#, "ended"),
        (r#"{"peers":[{"peer":"<P>"}]}"#, "path"),
        (r#"{"peers":[],"ended":["<P>"]}"#, "ended"),
        (r#"{"peers":[],"got":[-1]}"#, "got"),
        (r#"{"peers":[],"ended":[{"path":"/s"}]}"#, "peer"),
        (r#"{"peers":[{"peer":"<P>","path":"/s"}]}"#, "link"),
        (r#"{"up":"x","path":"/s","link":1,"process":true}"#, "peer"),
        (r#"{"up":"<P>","path":"/s","link":1,"process":"<P>"}"#, "process"),
        (r#"{"up":"<P>","path":"/s","link":1,"process":true,"confirmed":["x"]}"#, "confirmed"),
        (r#"{"down":7}"#, "down"),
        (r#"{"ack":"<P>x","by":"<P>"}"#, "ack"),
        (r#"{"ack":"<M>"}"#, "by"),
        (r#"{"written":"17","to":"<P>"}"#, "written"),
        (r#"{"ended":["<P>"]}"#, "ended"),
        (r#"{"process":"<P>"}"#, "known"),
    ];
    for (text, name) in bad {
        let text = filled(text);
        assert!(ToHub::decode(&text).is_err_and(field(name)), "{text}");
    }
    let bad = [
        (r#"{"id":1,"status":99,"now":1,"body":{}}"#, "status"),
        (r#"{"id":1,"status":600,"now":1,"body":{}}"#, "status"),
        (r#"{"id":1,"status":200,"now":1}"#, "body"),
        (r#"{"id":1,"status":200,"body":{}}"#, "now"),
        (r#"{"push":{}}"#, "to"),
        (r#"{"to":"<P>","push":{},"seq":"a"}"#, "seq"),
        (r#"{"announced":"<P>"}"#, "link"),
        (r#"{"connect":"<P>"}"#, "path"),
        (r#"{"watch":"<P>","pid":4294967296}"#, "pid"),
        (r#"{"watchAgent":"<P>","pid":1}"#, "start"),
        (r#"{"departed":"<P>"}"#, "reason"),
        (r#"{"abandoned":1}"#, "abandoned"),
        (r#"{"id":1,"look":{"agentPid":1}}"#, "look"),
    ];
    for (text, name) in bad {
        let text = filled(text);
        assert!(ToRelay::decode(&text).is_err_and(field(name)), "{text}");
    }
    for text in ["", "[]", "7", "null", "{", r#"{"id":1}{"id":1}"#, r#"{"down":1,"down":1}"#] {
        assert_eq!(ToHub::decode(text), Err(FrameError::Malformed), "{text}");
    }
    for error in [FrameError::TooLarge, FrameError::Malformed, wrong_words()] {
        assert!((10..=123).contains(&error.to_string().len()));
    }
}

fn wrong_words() -> FrameError {
    ToHub::decode(r#"{"process":"x","known":true}"#).unwrap_err()
}

#[test]
fn everything_has_a_limit() {
    let request = |token: usize, body: usize| {
        let body = "x".repeat(body - 2);
        format!(
            r#"{{"id":1,"as":"{}","method":"GET","path":"/","body":"{body}"}}"#,
            "t".repeat(token)
        )
    };
    assert!(ToHub::decode(&request(FRAME_TOKEN_BYTES_MAX, BODY_BYTES_MAX)).is_ok());
    assert!(ToHub::decode(&request(FRAME_TOKEN_BYTES_MAX + 1, 2)).is_err_and(field("as")));
    assert!(ToHub::decode(&request(1, BODY_BYTES_MAX + 1)).is_err_and(field("body")));
    let up = |confirmed: usize| {
        let confirmed = vec![id(); confirmed];
        ToHub::Up(Here { confirmed, ..here() }).text()
    };
    assert!(ToHub::decode(&up(CONFIRMED_KEPT_MAX)).is_ok());
    assert!(ToHub::decode(&up(CONFIRMED_KEPT_MAX + 1)).is_err_and(field("confirmed")));
    let long = format!(r#"{{"down":"{}"}}"#, "x".repeat(MACHINE_FRAME_BYTES_MAX));
    assert_eq!(ToHub::decode(&long), Err(FrameError::TooLarge));
    assert_eq!(ToRelay::decode(&long), Err(FrameError::TooLarge));
    // As deep as it likes: nothing is made of it here.
    let deep = format!(r#"{{"to":"{PEER}","push":{}{}}}"#, "[".repeat(90_000), "]".repeat(90_000));
    assert!(matches!(ToRelay::decode(&deep), Ok(Some(ToRelay::Push { .. }))));
}

#[test]
fn random_texts() {
    let texts: Vec<String> = [
        r#"{"id":7,"as":"operator","method":"POST","path":"/send","body":{"a":[1,"\""]}}"#,
        r#"{"peers":[{"peer":"<P>","path":"/s","link":3,"process":true,"confirmed":["<M>"]}],"ended":[{"peer":"<P>","path":"/s"}]}"#,
        r#"{"up":"<P>","path":"/s","link":3,"process":true,"confirmed":["<M>"],"written":[1,2]}"#,
        r#"{"id":7,"status":200,"now":1,"retryAfter":1,"allow":"GET","body":{"ok":true}}"#,
        r#"{"id":7,"look":{"agentPid":1,"socket":"/n","former":{"agentPid":4,"agentStart":"9"}}}"#,
        r#"{"hello":{"version":"1.2.3","name":"laptop","time":18,"you":"box"}}"#,
    ]
    .map(filled)
    .into();
    let seeds: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    let dictionary: [&[u8]; 8] =
        [b"\"", b"\\", b"null", b"\"id\":7,", b"{", b"}", b"\"as\":", b"\xc3\xa9"];
    let mut random = Random::new(9);
    for _ in 0..20_000 {
        fuzzing::frames(&random.mutant(&seeds, &dictionary));
    }
}
