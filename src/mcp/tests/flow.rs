use serde_json::json;

use super::*;
use crate::api::Frame;
use crate::client::Refused;
use crate::client::StartPolicy;
use crate::mcp::server::tests::{Test, inbox, listed, message_id, pushed, refused};

#[test]
fn a_call_waits_for_the_mesh_and_acts_as_its_peer() {
    let mut test = Test::new();
    let id = test.call("mesh_state", &json!({"action": "get", "key": "k"}));
    test.register(1);
    let Some(Command::Ask(outgoing)) = test.command() else { panic!() };
    assert_eq!(outgoing.token.as_deref(), Some("t"));
    assert_eq!(outgoing.start, StartPolicy::IfNeeded);
    // Nothing is pushed yet, so what is unread has to be looked up.
    let none = json!({"ok": true, "namespace": "p-1", "entry": null, "inDefault": true});
    test.reply(outgoing.purpose, &none);
    assert_eq!(test.asked().0, Purpose::Glance);
    test.reply(Purpose::Glance, &inbox(&[listed(1, "hello")]));
    let (purpose, request, _) = test.asked();
    assert!(matches!(request, Request::Claim(claim) if claim.by == Way::ToolResult));
    let mut quoted = inbox(&[listed(1, "hello")]);
    quoted["claimId"] = "07070707-0707-0707-0707-070707070707".into();
    test.reply(purpose, &quoted);
    let (texts, is_error) = test.result(id);
    let answer = r#"{"ok":true,"namespace":"p-1","entry":null,"note":"there is one in the namespace shared"}"#;
    assert_eq!((&*texts[0], is_error), (answer, false));
    assert!(texts[1].starts_with("slm-mesh: message ") && texts[1].contains(r#""hello""#));
    assert_eq!(test.asked().0, Purpose::Errand);
    // With a push connection it need not.
    test.server.set_push_live(true, test.now);
    test.server.unread.handed_over(&[message_id(1)], 1);
    let id = test.call("mesh_peers", &json!({}));
    let (purpose, request, _) = test.asked();
    let own = crate::model::PeerId::from_random([1; 16]).to_string();
    assert!(matches!(request, Request::Peers(peers) if peers.exclude_id.as_deref() == Some(&*own)));
    test.reply(purpose, &json!({"ok": true, "peers": []}));
    assert_eq!(test.result(id).0, [r#"{"ok":true,"peers":[]}"#]);
}

#[test]
fn a_call_that_has_no_answer_in_time_fails() {
    let mut test = Test::present();
    let get = test.call("mesh_state", &json!({"action": "get", "key": "k"}));
    test.asked();
    // Whoever asks is given a moment to say why.
    test.pass(5_099);
    test.quiet();
    test.pass(1);
    assert!(matches!(test.command(), Some(Command::Forget(Purpose::Job(_)))));
    let (texts, is_error) = test.result(get);
    assert!(is_error && texts[0].contains("try again"), "{texts:?}");
    let set = test.call("mesh_state", &json!({"action": "set", "key": "k", "value": "v"}));
    test.asked();
    test.pass(5_100);
    let (texts, _) = test.result(set);
    assert!(texts[0].contains("may have been carried out"), "{texts:?}");
}

#[test]
fn the_same_message_after_an_unknown_outcome_is_the_same_sending() {
    let mut test = Test::present();
    let lost = || ClientError::InDoubt { reason: "within 5 s".into() };
    let send = |test: &mut Test, text: &str, outcome: Result<(), ClientError>| {
        let id = test.call("mesh_send", &json!({"to": "bob", "message": text}));
        let (purpose, request, _) = test.asked();
        let Request::Send(message) = request else { panic!("{request:?}") };
        match outcome {
            Ok(()) => test.reply(purpose, &json!({"ok": true, "messageId": message_id(1)})),
            Err(error) => test.fail(purpose, error),
        }
        (message.id.unwrap(), test.result(id).0.remove(0))
    };
    let (first, told) = send(&mut test, "hi", Err(lost()));
    assert!(told.contains("outcome_unknown") && told.contains("is not sent twice"), "{told}");
    assert_ne!(send(&mut test, "hello", Ok(())).0, first);
    test.pass(30_000);
    test.asked();
    assert_eq!(send(&mut test, "hi", Err(lost())).0, first);
    assert_eq!(send(&mut test, "hi", Err(refused(Code::RateLimited))).0, first);
    assert_eq!(send(&mut test, "hi", Ok(())).0, first);
    assert_ne!(send(&mut test, "hi", Ok(())).0, first, "it is known, so this is another");
    // Nor does the broker always know.
    let (first, told) = send(&mut test, "hey", Err(refused(Code::OutcomeUnknown)));
    assert!(told.contains("outcome_unknown") && told.contains("is not sent twice"), "{told}");
    assert_eq!(send(&mut test, "hey", Ok(())).0, first);
}

#[test]
fn an_answer_that_came_late_is_given_again() {
    let late = |after: u64| {
        let mut test = Test::present();
        let id = test.call("mesh_inbox", &json!({"wait": 30}));
        let (purpose, _, _) = test.asked();
        test.reply(purpose, &inbox(&[]));
        test.pass(after);
        test.server.handle_frame(&pushed(1, "hello"), test.now);
        let (purpose, _, _) = test.asked();
        test.reply(purpose, &inbox(&[listed(1, "hello")]));
        test.result(id);
        let (purpose, request, _) = test.asked();
        assert!(matches!(request, Request::MarkRead { .. }));
        test.reply(purpose, &json!({"ok": true, "marked": 1}));
        test
    };
    let mut test = late(2_000);
    assert_eq!(test.fetch(&[])["messages"], json!([]), "no client gives up so soon");

    let mut test = late(2_001);
    // Also one that would wait is answered at once.
    let id = test.call("mesh_inbox", &json!({"wait": 30}));
    let (purpose, _, _) = test.asked();
    test.reply(purpose, &inbox(&[listed(2, "more")]));
    let (texts, _) = test.result(id);
    let answer: serde_json::Value = serde_json::from_str(&texts[0]).unwrap();
    let told = |n: usize| (&answer["messages"][n]["payload"], &answer["messages"][n]["repeated"]);
    assert_eq!(told(0), (&"hello".into(), &true.into()));
    assert_eq!(told(1), (&"more".into(), &serde_json::Value::Null));
    let (_, request, _) = test.asked();
    assert_eq!(
        request,
        Request::MarkRead { peer_id: None, ids: vec![message_id(2)], way: None, claim_id: None }
    );
    assert_eq!(test.fetch(&[])["messages"], json!([]), "once is enough");

    // Whoever answers it has seen it.
    for reply in [
        json!({"to": "cli", "message": "x"}),
        json!({"to": "bob", "message": "x", "replyTo": message_id(1)}),
    ] {
        let mut test = late(10_000);
        test.call("mesh_send", &reply);
        test.asked();
        assert_eq!(test.fetch(&[])["messages"], json!([]));
    }
    let mut test = late(10_000);
    test.call("mesh_send", &json!({"to": "bob", "message": "x"}));
    test.asked();
    assert_eq!(test.fetch(&[])["messages"][0]["payload"], "hello");
}

#[test]
fn an_answer_that_crossed_its_cancelling_is_given_again() {
    let mut test = Test::present();
    let id = test.call("mesh_inbox", &json!({}));
    let (purpose, _, _) = test.asked();
    test.reply(purpose, &inbox(&[listed(1, "hello")]));
    test.result(id);
    let (purpose, _, _) = test.asked();
    test.reply(purpose, &json!({"ok": true, "marked": 1}));
    test.cancel(id);
    let id = test.call("mesh_lock", &json!({"action": "query"}));
    let (purpose, _, _) = test.asked();
    test.reply(purpose, &json!({"ok": true, "locks": []}));
    let (texts, _) = test.result(id);
    assert!(texts[1].contains("1 message came with the answer to a call that was given up"));
    assert_eq!(test.fetch(&[])["messages"][0]["repeated"], true);
    let id = test.call("mesh_lock", &json!({"action": "query"}));
    let (purpose, _, _) = test.asked();
    test.reply(purpose, &json!({"ok": true, "locks": []}));
    assert_eq!(test.result(id).0.len(), 1);
}

#[test]
fn of_several_that_wait_the_last_gets_the_message() {
    let mut test = Test::present();
    let mut wait = || {
        let id = test.call("mesh_inbox", &json!({"wait": 30}));
        let (purpose, _, _) = test.asked();
        test.reply(purpose, &inbox(&[]));
        id
    };
    let (given_up, alive) = (wait(), wait());
    test.server.handle_frame(&pushed(1, "hello"), test.now);
    let (purpose, _, _) = test.asked();
    test.reply(purpose, &inbox(&[listed(1, "hello")]));
    let (texts, _) = test.result(alive);
    assert!(texts[0].contains("hello"));
    test.asked();
    let (purpose, _, _) = test.asked();
    test.reply(purpose, &inbox(&[]));
    test.pass(30_000);
    let lines = test.read();
    assert_eq!(lines[0]["id"], given_up);
}

#[test]
fn a_large_message_is_marked_read_with_its_last_part() {
    let mut test = Test::present();
    let large = "x".repeat(60_000);
    let first = test.fetch(&[listed(1, &large), listed(2, "b")]);
    assert_eq!((&first["messages"][0]["of"], &first["remaining"]), (&2.into(), &2.into()));
    test.quiet();
    let second = test.fetch(&[listed(1, &large), listed(2, "b")]);
    assert_eq!((&second["messages"][0]["part"], &second["remaining"]), (&2.into(), &0.into()));
    assert_eq!(second["messages"][1]["payload"], "b");
    let (_, request, _) = test.asked();
    let ids = vec![message_id(1), message_id(2)];
    assert_eq!(request, Request::MarkRead { peer_id: None, ids, way: None, claim_id: None });
    // The whole of it, should it be asked for anew.
    let mut read = listed(1, &large);
    read["readAt"] = "2026-04-08T10:30:01.123Z".into();
    let id = test.call("mesh_inbox", &json!({"filter": "all"}));
    let (purpose, _, _) = test.asked();
    test.reply(purpose, &inbox(&[read]));
    assert!(test.result(id).0[0].contains(r#""part":1,"of":2"#));
}

#[test]
fn subscribed_events_are_told_once_with_any_result() {
    let mut test = Test::present();
    let id = test.call("mesh_events", &json!({"action": "subscribe", "types": ["a.*", "#t"]}));
    let (purpose, _, _) = test.asked();
    test.reply(purpose, &json!({"ok": true, "subscribed": ["a.*", "#t"]}));
    test.result(id);
    // Up to where there are events now.
    let (looking, request, _) = test.asked();
    let Request::ReadEvents(read) = request else { panic!("{request:?}") };
    assert_eq!((read.types, read.after, read.limit), (vec!["a.*".into()], None, Some(1)));
    let event = |n: u64| json!({"eventType": "a.b", "seq": n, "emittedBy": "cli", "data": 1});
    test.server.handle_frame(&Frame::Event(event(7)), test.now);
    test.server.handle_frame(&Frame::Event(event(8)), test.now);
    let listed_event = |n: u64| {
        json!({
            "id": message_id(n), "type": "a.b", "payload": "1", "emittedBy": "cli",
            "createdAt": "2026-04-08T10:30:01.123Z", "seq": n,
        })
    };
    let answer = json!({"ok": true, "events": [listed_event(7)], "lastSeq": 7, "firstSeq": 1});
    test.reply(looking, &answer);
    let own = crate::model::PeerId::from_random([1; 16]);
    let mine = json!({"eventType": "a.mine", "seq": 9, "emittedBy": own});
    test.server.handle_frame(&Frame::Event(mine), test.now);
    let id = test.call("mesh_inbox", &json!({}));
    let (purpose, _, _) = test.asked();
    test.reply(purpose, &inbox(&[]));
    let (texts, _) = test.result(id);
    assert_eq!(texts[1..], ["[mesh] events: a.b (2); mesh_events reads them"]);
    assert_eq!(test.fetch(&[])["remaining"], 0, "and no more of it");

    // What happens while nothing can be pushed is looked for.
    test.server.set_push_live(false, test.now);
    test.server.set_push_live(true, test.now);
    let (looking, request, _) = test.asked();
    let Request::ReadEvents(read) = request else { panic!("{request:?}") };
    assert_eq!(read.after, Some(crate::model::Seq(9)));
    // Pushed as well, while it was looked for.
    test.server.handle_frame(&Frame::Event(event(12)), test.now);
    let events = [listed_event(11), listed_event(12)];
    test.reply(looking, &json!({"ok": true, "events": events, "lastSeq": 12, "firstSeq": 1}));
    // Those that the agent reads need not be told.
    let id = test.call("mesh_events", &json!({"since": "11"}));
    let (purpose, _, _) = test.asked();
    let events = [listed_event(12)];
    test.reply(purpose, &json!({"ok": true, "events": events, "lastSeq": 12, "firstSeq": 1}));
    let (texts, _) = test.result(id);
    assert_eq!(texts[1..], ["[mesh] events: a.b (1); mesh_events reads them"]);
}

#[test]
fn messages_are_marked_read_once_the_agent_has_them() {
    let mut test = Test::present();
    let first = test.call("mesh_inbox", &json!({}));
    let (purpose, _, _) = test.asked();
    let second = test.call("mesh_inbox", &json!({}));
    test.reply(purpose, &inbox(&[listed(1, "a")]));
    // Written, but not taken: nothing is marked, and nobody else gets the same.
    assert!(test.command().is_none());
    let (texts, _) = test.result(first);
    assert!(texts[0].contains(r#""payload":"a""#), "{texts:?}");
    let (purpose, request, _) = test.asked();
    assert_eq!(
        request,
        Request::MarkRead { peer_id: None, ids: vec![message_id(1)], way: None, claim_id: None }
    );
    let (fetching, request, _) = test.asked();
    assert!(matches!(request, Request::Fetch(_)));
    // The mark comes to nothing: it is made again, and the message is not shown again.
    test.fail(purpose, refused(Code::RateLimited));
    test.reply(fetching, &inbox(&[listed(1, "a"), listed(2, "b")]));
    let (texts, _) = test.result(second);
    assert!(!texts[0].contains(r#""payload":"a""#) && texts[0].contains(r#""payload":"b""#));
    test.pass(1_000);
    let (purpose, request, _) = test.asked();
    assert_eq!(
        request,
        Request::MarkRead {
            peer_id: None,
            ids: vec![message_id(1), message_id(2)],
            way: None,
            claim_id: None
        }
    );
    test.reply(purpose, &json!({"ok": true, "marked": 2}));
    test.quiet();
    assert_eq!(test.fetch(&[])["messages"], json!([]));
}

#[test]
fn waiting_for_a_message_keeps_nobody_else_waiting() {
    let mut test = Test::present();
    let wait = test.call("mesh_inbox", &json!({"wait": 30}));
    let (purpose, _, _) = test.asked();
    test.reply(purpose, &inbox(&[]));
    test.quiet();
    let line = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;
    test.server.handle_line(line.as_bytes(), test.now);
    assert_eq!(test.read()[0]["id"], "p");
    assert_eq!(test.fetch(&[])["messages"], json!([]), "another look meanwhile");

    test.pass(10_000);
    test.server.handle_frame(&pushed(1, "at last"), test.now);
    let (purpose, request, _) = test.asked();
    assert!(matches!(request, Request::Fetch(_)));
    test.reply(purpose, &inbox(&[listed(1, "at last")]));
    let (texts, _) = test.result(wait);
    assert!(texts[0].contains("at last"));
    test.asked();
    assert_eq!(test.server.unread.count(), 0);
}

#[test]
fn a_wait_ends_by_itself_by_cancelling_and_with_the_agent() {
    let waiting = || {
        let mut test = Test::present();
        let id = test.call("mesh_inbox", &json!({"wait": 10, "from": "bob"}));
        let (purpose, _, _) = test.asked();
        test.reply(purpose, &inbox(&[]));
        test.quiet();
        (test, id)
    };
    let nothing = [r#"{"ok":true,"messages":[],"remaining":0}"#];
    let (mut test, id) = waiting();
    test.pass(9_999);
    test.server.handle_frame(&pushed(1, "from someone else"), test.now);
    let (purpose, _, _) = test.asked();
    test.reply(purpose, &inbox(&[]));
    test.quiet();
    test.pass(1);
    assert_eq!(test.result(id), (nothing.map(String::from).to_vec(), false));

    let (mut test, id) = waiting();
    test.cancel(id);
    assert!(matches!(test.command(), Some(Command::Forget(_))));
    test.pass(60_000);
    assert_eq!(test.asked().0, Purpose::Heartbeat);
    test.quiet();

    let (mut test, id) = waiting();
    test.server.handle_end(test.now);
    assert_eq!(test.result(id).0, nothing);
    assert_eq!(test.asked().0, Purpose::Unregister);
}

#[test]
fn without_a_push_connection_a_wait_looks_now_and_then() {
    let mut test = Test::present();
    test.server.set_push_live(false, test.now);
    let id = test.call("mesh_inbox", &json!({"wait": 3}));
    for _ in 0..3 {
        let (purpose, request, _) = test.asked();
        assert!(matches!(request, Request::Fetch(_)));
        test.reply(purpose, &inbox(&[]));
        test.pass(1_000);
    }
    assert_eq!(test.result(id).0.len(), 1);
}

#[test]
fn a_cancelled_call_is_not_answered() {
    let mut test = Test::present();
    let id = test.call("mesh_inbox", &json!({}));
    let (purpose, _, _) = test.asked();
    test.cancel(id);
    assert!(matches!(test.command(), Some(Command::Forget(forgotten)) if forgotten == purpose));
    test.reply(purpose, &inbox(&[listed(1, "a")]));
    test.quiet();
    // It has left its turn, and marked nothing.
    assert_eq!(test.fetch(&[listed(1, "a")])["messages"][0]["payload"], "a");
}

#[test]
fn what_is_refused_is_told_in_the_words_of_the_tool() {
    let mut test = Test::present();
    let id = test.call("mesh_send", &json!({"to": "nobody", "message": "x"}));
    let (purpose, request, _) = test.asked();
    assert!(matches!(request, Request::Send(message) if message.id.is_some()));
    let refused = Refused {
        status: 404,
        word: "peer_not_found".into(),
        message: "`toPeer`: no such peer".into(),
        body: br#"{"ok":false,"error":"`toPeer`: no such peer","code":"peer_not_found"}"#.to_vec(),
        retry_after: None,
    };
    test.fail(purpose, ClientError::Refused(Box::new(refused)));
    let (texts, is_error) = test.result(id);
    assert!(is_error);
    assert_eq!(texts[0], r#"{"ok":false,"error":"`to`: no such peer","code":"peer_not_found"}"#);
    test.quiet();

    let id = test.call("mesh_send", &json!({"to": "bob"}));
    let (texts, is_error) = test.result(id);
    assert!(is_error && texts[0].contains("`message` is missing"), "{texts:?}");
}

#[test]
fn every_result_but_that_of_the_inbox_tells_what_is_unread() {
    let mut test = Test::present();
    test.server.handle_frame(&pushed(1, "one"), test.now);
    test.server.handle_frame(&pushed(1, "one"), test.now);
    let id = test.call("mesh_lock", &json!({"action": "query"}));
    let (purpose, _, _) = test.asked();
    test.reply(purpose, &json!({"ok": true, "locks": []}));
    test.asked();
    test.reply(Purpose::Glance, &inbox(&[listed(1, "one")]));
    // Another tells it.
    test.asked();
    test.reply(Purpose::Quote, &inbox(&[]));
    let (texts, _) = test.result(id);
    assert!(texts.len() == 2 && texts[1].contains("1 unread message"), "{texts:?}");
    let id = test.call("mesh_lock", &json!({}));
    let (texts, is_error) = test.result(id);
    assert!(is_error && texts.len() == 2, "{texts:?}");
    // A hook has read it: a glance tells.
    let id = test.call("mesh_lock", &json!({"action": "query"}));
    let (purpose, _, _) = test.asked();
    test.reply(purpose, &json!({"ok": true, "locks": []}));
    let (purpose, _, _) = test.asked();
    test.reply(purpose, &inbox(&[]));
    assert_eq!(test.result(id).0.len(), 1);
}

#[test]
fn resources_are_answered_without_a_mark() {
    let mut test = Test::present();
    let line = r#"{"jsonrpc":"2.0","id":5,"method":"resources/read",
        "params":{"uri":"mesh://inbox"}}"#
        .replace('\n', "");
    test.server.handle_line(line.as_bytes(), test.now);
    let (purpose, request, _) = test.asked();
    assert!(matches!(request, Request::Fetch(fetch) if fetch.peek));
    test.reply(purpose, &inbox(&[listed(1, "a")]));
    let contents = &test.read()[0]["result"]["contents"][0];
    assert_eq!(
        (&contents["uri"], &contents["mimeType"]),
        (&"mesh://inbox".into(), &"application/json".into())
    );
    assert!(contents["text"].as_str().unwrap().contains(r#""payload":"a""#));
    test.quiet();
    test.server.handle_line(line.replace("inbox", "locks").as_bytes(), test.now);
    let (purpose, _, _) = test.asked();
    test.fail(purpose, ClientError::NoBroker);
    assert_eq!(test.read()[0]["error"]["code"], -32603);
}

#[test]
fn there_is_an_end_to_calls_at_once() {
    let mut test = Test::new();
    for _ in 0..RPC_CALLS_MAX {
        test.call("mesh_status", &json!({}));
    }
    assert!(test.read().is_empty());
    let id = test.call("mesh_status", &json!({}));
    let (texts, is_error) = test.result(id);
    assert!(is_error && texts[0].contains("too_many_calls"), "{texts:?}");
}
