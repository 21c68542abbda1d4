use serde_json::json;

use super::*;
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
    test.reply(outgoing.purpose, &json!({"entry": null}));
    let (purpose, _, _) = test.asked();
    assert_eq!(purpose, Purpose::Glance);
    test.reply(purpose, &inbox(&[listed(1, "hello")]));
    let (texts, is_error) = test.result(id);
    assert_eq!((&*texts[0], is_error), (r#"{"entry":null}"#, false));
    assert!(texts[1].contains("1 unread") && texts[1].contains(r#"cli wrote: "hello""#));
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
    test.pass(4_999);
    test.quiet();
    test.pass(1);
    assert!(matches!(test.command(), Some(Command::Forget(Purpose::Job(_)))));
    let (texts, is_error) = test.result(get);
    assert!(is_error && texts[0].contains("try again"), "{texts:?}");
    let set = test.call("mesh_state", &json!({"action": "set", "key": "k", "value": "v"}));
    test.asked();
    test.pass(5_000);
    let (texts, _) = test.result(set);
    assert!(texts[0].contains("may have been carried out"), "{texts:?}");
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
    assert_eq!(request, Request::MarkRead { peer_id: None, ids: vec![message_id(1)], way: None });
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
        Request::MarkRead { peer_id: None, ids: vec![message_id(1), message_id(2)], way: None }
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
    let (texts, _) = test.result(id);
    assert!(texts.len() == 2 && texts[1].contains("1 unread message"), "{texts:?}");
    let id = test.call("mesh_lock", &json!({}));
    let (texts, is_error) = test.result(id);
    assert!(is_error && texts.len() == 2, "{texts:?}");
    // A hook has read it: the heartbeat knows, a glance tells.
    test.pass(15_000);
    assert_eq!(test.asked().0, Purpose::MarkNotified);
    test.reply(Purpose::Heartbeat, &json!({"ok": true, "unread": 0}));
    test.asked();
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
