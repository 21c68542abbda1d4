use super::*;
use crate::api::Code;
use crate::model::LeaveReason;

fn at(ms: u64) -> Monotonic {
    Monotonic(Duration::from_millis(ms))
}

fn peer(n: u8) -> PeerId {
    PeerId::from_random([n; 16])
}

/// The first two peers are the machine's, with a socket; the third is another's.
fn whose(of: PeerId) -> Whose<'static> {
    match of {
        _ if of == peer(1) || of == peer(2) => Whose::Its(Some("/a")),
        _ if of == peer(3) => Whose::Others,
        _ => Whose::Nobodys,
    }
}

fn new() -> Remote {
    let machine = MachineName::new("box").unwrap();
    let mut remote = Remote::new(machine, "hub", at(0), Timestamp(5));
    let hello = remote.next_frame(at(0)).unwrap();
    assert!(hello.contains(r#""you":"box""#), "{hello}");
    remote
}

fn hello() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(r#"{{"hello":{{"version":"{version}","name":"laptop","time":1}}}}"#)
}

fn standing() -> Remote {
    let mut remote = new();
    say(&mut remote, &hello()).unwrap();
    say(&mut remote, r#"{"peers":[],"ended":[]}"#).unwrap();
    assert_eq!(remote.take_told(), [Told::Ready]);
    assert_eq!(remote.said(), Some(("laptop", env!("CARGO_PKG_VERSION"))));
    remote
}

fn say<'a>(remote: &mut Remote, frame: &'a str) -> Result<Option<Taken<'a>>, Closing> {
    remote.frame(frame, at(1), whose)
}

fn request(id: u64, method: &str, path: &str) -> String {
    format!(r#"{{"id":{id},"as":"t","method":"{method}","path":"{path}","body":{{"a":1}}}}"#)
}

fn answer(id: u64) -> Answer<'static> {
    let (now, retry_after, allow) = (Timestamp(9), None, None);
    Answer { id, status: 200, now, body: "{}", retry_after, allow }
}

fn up(n: u8, path: &str, link: u64) -> String {
    format!(r#"{{"up":"{}","path":"{path}","link":{link},"process":true}}"#, peer(n))
}

fn of(word: &str, n: u8) -> String {
    format!(r#"{{"{word}":"{}"}}"#, peer(n))
}

fn gone(n: u8) -> String {
    format!(r#"{{"process":"{}","known":false}}"#, peer(n))
}

fn frames(remote: &mut Remote, now: Monotonic) -> Vec<String> {
    std::iter::from_fn(|| remote.next_frame(now)).collect()
}

#[test]
fn a_request_is_for_the_endpoint_that_it_names() {
    let mut remote = standing();
    let asked = |remote: &mut Remote, text: &str| match say(remote, text).unwrap() {
        Some(Taken::Asked(asked)) => {
            assert_eq!(asked.body, br#"{"a":1}"#);
            assert_eq!(asked.by, As::Token("t".into()));
            (asked.id, asked.endpoint.map_err(|refusal| refusal.code))
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(asked(&mut remote, &request(1, "POST", "/send")), (1, Ok(Endpoint::Send)));
    let wrong = Err(Code::MethodNotAllowed);
    assert_eq!(asked(&mut remote, &request(2, "GET", "/send")), (2, wrong));
    assert_eq!(asked(&mut remote, &request(3, "HEAD", "/status")), (3, wrong));
    let unknown = Err(Code::UnknownEndpoint);
    assert_eq!(asked(&mut remote, &request(4, "POST", "/later")), (4, unknown));
    remote.answer(&answer(1));
    // It is not open any more.
    remote.answer(&answer(1));
    assert_eq!(frames(&mut remote, at(2)), [r#"{"id":1,"status":200,"now":9,"body":{}}"#]);
    assert_eq!(asked(&mut remote, &request(1, "POST", "/send")), (1, Ok(Endpoint::Send)));
    assert!(say(&mut remote, &request(4, "POST", "/send")).is_err(), "the id is in use");
}

#[test]
fn a_machine_that_says_what_it_should_not_is_left_with_words() {
    let cases = [
        (vec![r#"{"peers":[]}"#.to_owned()], "hello"),
        (vec![hello(), of("down", 1)], "peers"),
        (vec![hello(), hello()], "once"),
        (vec![hello(), r#"{"peers":[]}"#.to_owned(), r#"{"peers":[]}"#.to_owned()], "once"),
        (vec![r#"{"hello":{"version":"99.0.0","name":"a","time":1}}"#.to_owned()], "update"),
        (vec![hello(), "[]".to_owned()], "object"),
    ];
    for (said, word) in cases {
        let mut remote = new();
        let (last, before) = said.split_last().unwrap();
        for frame in before {
            say(&mut remote, frame).unwrap();
        }
        let Closing(words) = say(&mut remote, last).unwrap_err();
        assert!(words.contains(word) && words.len() <= 123, "{words}");
    }
    let mut remote = standing();
    assert_eq!(say(&mut remote, r#"{"later":1}"#), Ok(None));
}

#[test]
fn of_peers_of_another_machine_nothing_is_said() {
    let id = MessageId::new(Seq(1), [1; 16]);
    let p = peer(3);
    for frame in [
        up(3, "/a", 1),
        of("down", 3),
        of("ended", 3),
        of("namedEnded", 3),
        of("agentLives", 3),
        of("agentEnded", 3),
        gone(3),
        format!(r#"{{"ack":"{id}","by":"{p}"}}"#),
        format!(r#"{{"written":1,"to":"{p}"}}"#),
    ] {
        let mut remote = standing();
        let Closing(words) = say(&mut remote, &frame).unwrap_err();
        assert!(words.contains("not one of box") && words.len() <= 123, "{words}");
        assert_eq!(remote.take_told(), []);
    }
    let mut remote = new();
    say(&mut remote, &hello()).unwrap();
    let peers = format!(r#"{{"peers":[],"ended":[{{"peer":"{p}","path":"/a"}}]}}"#);
    assert!(say(&mut remote, &peers).is_err());
}

#[test]
fn one_that_has_left_may_still_be_spoken_of() {
    let mut remote = standing();
    for frame in [of("down", 4), of("ended", 4), gone(4), of("agentEnded", 4)] {
        say(&mut remote, &frame).unwrap();
    }
    assert_eq!((remote.take_told(), frames(&mut remote, at(2)).len()), (vec![], 0));
    // A relay that keeps a way to it is told that it has left; once.
    say(&mut remote, &up(4, "/a", 1)).unwrap();
    say(&mut remote, &up(4, "/a", 2)).unwrap();
    let said = frames(&mut remote, at(2));
    assert_eq!(said, [format!(r#"{{"departed":"{}","reason":"timeout"}}"#, peer(4))]);
    assert_eq!(remote.take_told(), []);
}

#[test]
fn all_that_is_named_after_a_cut_is_told_before_anything_else() {
    let mut remote = new();
    say(&mut remote, &hello()).unwrap();
    let id = MessageId::new(Seq(1), [1; 16]);
    let here = |n: u8, path: &str| {
        let p = peer(n);
        format!(
            r#"{{"peer":"{p}","path":"{path}","link":{n},"process":false,"confirmed":["{id}"]}}"#
        )
    };
    let ended = |n: u8, path: &str| format!(r#"{{"peer":"{}","path":"{path}"}}"#, peer(n));
    let here = [here(1, "/a"), here(2, "/former")].join(",");
    let ended = [ended(2, "/a"), ended(1, "/former"), ended(4, "/a")].join(",");
    let peers = format!(r#"{{"peers":[{here}],"ended":[{ended}]}}"#);
    say(&mut remote, &peers).unwrap();
    let confirmed = |n| Told::Confirmed { peer: peer(n), messages: vec![id], written: vec![] };
    assert_eq!(
        remote.take_told(),
        [
            confirmed(1),
            Told::News(News::Up(peer(1), false)),
            // That way is to a former socket; what it has confirmed is true.
            confirmed(2),
            Told::News(News::Ended(peer(2))),
            Told::Ready,
        ]
    );
    remote.announced(peer(1));
    remote.announced(peer(2));
    let said = frames(&mut remote, at(1));
    assert_eq!(said, [format!(r#"{{"announced":"{}","link":1}}"#, peer(1))]);
}

#[test]
fn what_crosses_the_end_of_a_way_is_about_the_former_one() {
    let mut remote = standing();
    say(&mut remote, &up(1, "/a", 1)).unwrap();
    assert_eq!(remote.take_told(), [Told::News(News::Up(peer(1), true))]);
    remote.disconnect(peer(1));
    remote.connect(peer(1), "/a");
    for frame in [of("ended", 1), of("down", 1), up(1, "/a", 2), of("agentEnded", 1)] {
        say(&mut remote, &frame).unwrap();
    }
    remote.announced(peer(1));
    assert_eq!(remote.take_told(), []);
    // What it has had it has had.
    let id = MessageId::new(Seq(1), [1; 16]);
    say(&mut remote, &format!(r#"{{"ack":"{id}","by":"{}"}}"#, peer(1))).unwrap();
    assert_eq!(remote.take_told(), [Told::News(News::Acknowledged(peer(1), id))]);
    let reason = LeaveReason::Crashed;
    let departed = Departed { peer: peer(1), machine: None, reason, uds_path: None };
    remote.departed(&departed);
    for _ in 0..2 {
        say(&mut remote, &of("ended", 1)).unwrap();
        assert_eq!(remote.take_told(), []);
        say(&mut remote, &gone(1)).unwrap();
    }
    say(&mut remote, &up(1, "/a", 3)).unwrap();
    say(&mut remote, &gone(1)).unwrap();
    assert_eq!(
        remote.take_told(),
        [Told::News(News::Up(peer(1), true)), Told::News(News::Process(peer(1), false))]
    );
    remote.announced(peer(1));
    assert!(frames(&mut remote, at(1)).concat().ends_with(r#""link":3}"#));
}

#[test]
fn messages_are_held_back_while_the_connection_takes_no_more() {
    let mut remote = standing();
    let big = format!("\"{}\"", "x".repeat(200_000));
    for seq in 1..=6 {
        remote.push(peer(1), &big, Some(Seq(seq)));
    }
    assert!(remote.is_full());
    assert_eq!(remote.take_told(), []);
    remote.push(peer(1), "1", Some(Seq(7)));
    remote.push(peer(2), "1", Some(Seq(7)));
    remote.push(peer(1), "1", Some(Seq(8)));
    // News may be dropped, answers may not.
    remote.push(peer(1), "2", None);
    say(&mut remote, &request(1, "POST", "/send")).unwrap();
    remote.answer(&answer(1));
    assert_eq!(
        remote.take_told(),
        [Told::HeldBack(peer(1), Seq(7)), Told::HeldBack(peer(2), Seq(7))]
    );
    let mut sent = 0;
    while remote.take_told().is_empty() {
        remote.next_frame(at(2)).unwrap();
        sent += 1;
    }
    assert_eq!(sent, 4);
    assert!(!remote.is_full());
    remote.push(peer(1), "1", Some(Seq(7)));
    assert_eq!(frames(&mut remote, at(2)).len(), 4);
    assert_eq!(remote.queued, 0);
}

#[test]
fn the_end_of_a_connection_is_that_of_its_requests() {
    let mut remote = standing();
    for id in 1..=5 {
        let path = if id == 2 { "/send" } else { "/lock" };
        say(&mut remote, &request(id, "POST", path)).unwrap();
    }
    say(&mut remote, r#"{"id":1,"cancel":true}"#).unwrap();
    say(&mut remote, r#"{"id":9,"cancel":true}"#).unwrap();
    assert_eq!(remote.take_told(), [Told::HungUp(1)]);
    remote.answer(&answer(2));
    remote.answer(&answer(3));
    remote.answer(&answer(4));
    assert_eq!(frames(&mut remote, at(10)).len(), 3);
    remote.answer(&answer(5));
    say(&mut remote, r#"{"id":3,"lost":true,"after":10}"#).unwrap();
    say(&mut remote, r#"{"id":3,"lost":true}"#).unwrap();
    say(&mut remote, r#"{"id":2,"lost":true}"#).unwrap();
    assert_eq!(remote.take_told(), [Told::Gone { id: 3, lost: true }]);
    let gone = |id, lost| Told::Gone { id, lost };
    let told = vec![gone(1, true), gone(5, true), Told::Down];
    assert_eq!(remote.end(), (told, vec![4]));

    let mut remote = standing();
    for id in 1..=2 {
        say(&mut remote, &request(id, "POST", "/lock")).unwrap();
        remote.answer(&answer(id));
    }
    assert_eq!(frames(&mut remote, at(10)).len(), 2);
    // Read long before its client has reset the connection.
    say(&mut remote, r#"{"id":1,"lost":true,"after":5000}"#).unwrap();
    assert_eq!(remote.take_told(), [gone(1, false)]);
    remote.heard(at(20_000));
    assert_eq!(remote.next_deadline(), at(30_010));
    remote.tick(at(30_010)).unwrap();
    assert_eq!(remote.take_told(), [Told::Arrived(2)]);
    assert_eq!(remote.next_deadline(), at(65_000));
    remote.tick(at(65_000)).unwrap_err();
    assert_eq!(remote.end(), (vec![Told::Down], vec![]));
}

#[test]
fn so_many_requests_may_be_open() {
    let mut remote = standing();
    let taken = (0..).take_while(|id| say(&mut remote, &request(*id, "POST", "/send")).is_ok());
    assert_eq!(taken.count(), UPLINK_REQUESTS_MAX);
}
