use serde_json::{Value, json};

use super::*;
use crate::api::{LockFile, ReadEvents};
use crate::limits::{PAYLOAD_BYTES_MAX, SUMMARY_CHARS_MAX};
use crate::model::Seq;

fn project() -> Project {
    Project { path: "/nowhere/project".into(), repository: None }
}

fn read(tool: Tool, arguments: &Value) -> Result<ToolCall> {
    let raw = serde_json::value::to_raw_value(arguments).unwrap();
    tool.read(Some(&raw), &project(), Some(Uuid::from_bytes([7; 16])))
}

fn refused(tool: Tool, arguments: &Value) -> String {
    match read(tool, arguments) {
        Err(refusal) => {
            assert_eq!(refusal.code, Code::InvalidRequest);
            refusal.message.into()
        }
        Ok(call) => panic!("{arguments} was taken: {call:?}"),
    }
}

#[test]
fn wrong_arguments_are_told_in_the_words_of_the_tool() {
    use Tool as T;
    let long = "x".repeat(PAYLOAD_BYTES_MAX + 1);
    for (tool, arguments, words) in [
        (T::Peers, json!({"scope": "galaxy"}), vec!["`scope`", "machine, mesh, directory or repo"]),
        (T::Peers, json!({"scope": "repo"}), vec!["no git repository", "directory"]),
        (T::Peers, json!({"where": "x"}), vec!["unknown argument `where`", "takes scope"]),
        (T::Summary, json!({}), vec!["`summary` is missing"]),
        (T::Summary, json!({"summary": "é".repeat(SUMMARY_CHARS_MAX + 1)}), vec!["500"]),
        (T::Send, json!({"message": "x"}), vec!["`to` is missing", "mesh_peers"]),
        (T::Send, json!({"to": "a"}), vec!["`message` is missing", "1 to 65536 bytes"]),
        (T::Send, json!({"to": "a", "message": ""}), vec!["`message`", "1 to 65536 bytes"]),
        (T::Send, json!({"to": "a", "message": long}), vec!["`message`", "65536"]),
        (
            T::Send,
            json!({"to": "a", "message": "{", "type": "json"}),
            vec!["`message`", "valid JSON"],
        ),
        (T::Send, json!({"to": "a", "message": "x", "type": "shout"}), vec!["`type`", "alert"]),
        (T::Send, json!({"to": "a", "message": "x", "replyTo": "x"}), vec!["`replyTo`"]),
        (T::Send, json!({"toPeer": "a", "message": "x"}), vec!["unknown argument `toPeer`"]),
        (T::Inbox, json!({"filter": "old"}), vec!["`filter`", "unread, all or sent"]),
        (T::Inbox, json!({"limit": 0}), vec!["`limit`", "1 to 100"]),
        (T::Inbox, json!({"limit": 101}), vec!["`limit`", "1 to 100"]),
        (T::Inbox, json!({"limit": "many"}), vec!["`limit`", "1 to 100"]),
        (T::Inbox, json!({"limit": "101"}), vec!["`limit`", "1 to 100"]),
        (T::Inbox, json!({"wait": 56}), vec!["`wait`", "0 to 55"]),
        (T::Inbox, json!({"wait": -1}), vec!["`wait`"]),
        (T::Inbox, json!({"wait": 5, "filter": "sent"}), vec!["`wait`", "unread"]),
        (T::Inbox, json!({"peek": true}), vec!["unknown argument `peek`"]),
        (T::Inbox, json!({"markRead": []}), vec!["unknown argument"]),
        (T::State, json!({}), vec!["`action` is missing", "get, set, list, delete"]),
        (T::State, json!({"action": "grab"}), vec!["`action`", "get, set"]),
        (T::State, json!({"action": "get"}), vec!["`key` is missing"]),
        (
            T::State,
            json!({"action": "set", "key": "k", "value": "v", "ifVersion": "one"}),
            vec!["`ifVersion`"],
        ),
        (T::State, json!({"action": "set", "key": "k"}), vec!["`value` is missing"]),
        (
            T::State,
            json!({"action": "set", "key": "k", "value": "v", "ttlSeconds": 0}),
            vec!["`ttlSeconds`"],
        ),
        (
            T::Lock,
            json!({"filePath": "a"}),
            vec!["`action` is missing", "lock, unlock, query, steal"],
        ),
        (T::Lock, json!({"action": "lock"}), vec!["`filePath` is missing"]),
        (T::Lock, json!({"action": "unlock", "filePath": ""}), vec!["`filePath` is missing"]),
        (
            T::Lock,
            json!({"action": "lock", "filePath": "a", "ttlMinutes": 1441}),
            vec!["`ttlMinutes`", "1440"],
        ),
        (T::Lock, json!({"action": "unlock", "filePath": "a", "force": true}), vec!["`force`"]),
        (T::Lock, json!({"action": "steal", "filePath": "a"}), vec!["`reason` is missing"]),
        (T::Lock, json!({"action": "lock", "filePath": "a\\b"}), vec!["`filePath`", "backslash"]),
        (T::Events, json!({"action": "emit"}), vec!["`type` is missing"]),
        (T::Events, json!({"action": "emit", "type": "peer_left"}), vec!["`type`", "mesh"]),
        (T::Events, json!({"action": "subscribe"}), vec!["`types`", "at least one"]),
        (T::Events, json!({"types": "a b"}), vec!["`types`", "list"]),
        (T::Events, json!({"types": [5]}), vec!["`types`", "list"]),
        (T::Events, json!({"since": "yesterday"}), vec!["`since`", "ISO 8601", "lastSeq"]),
        (T::Events, json!({"since": [1]}), vec!["`since`"]),
        (T::Events, json!({"limit": 1001}), vec!["`limit`", "1000"]),
        (T::Events, json!({"action": "watch"}), vec!["`action`", "read, subscribe"]),
    ] {
        let message = refused(tool, &arguments);
        assert!(words.iter().all(|word| message.contains(word)), "{arguments}: {message}");
    }
}

#[test]
fn arguments_become_requests() {
    let Ok(ToolCall::Ask(Request::Send(send))) =
        read(Tool::Send, &json!({"to": "bob", "message": "hi", "replyTo": null, "type": ""}))
    else {
        panic!()
    };
    assert_eq!((&*send.to_peer, &*send.payload), ("bob", "hi"));
    assert_eq!(send.id, Some(Uuid::from_bytes([7; 16])));

    let Ok(ToolCall::Inbox { fetch, wait }) =
        read(Tool::Inbox, &json!({"wait": 5.0, "from": "bob"}))
    else {
        panic!()
    };
    assert!(fetch.peek && fetch.wait == 0 && wait == 5);
    assert_eq!(fetch.from.as_deref(), Some("bob"));

    assert_eq!(read(Tool::Peers, &json!({})).unwrap(), ToolCall::Peers(Scope::Machine));
    assert_eq!(
        read(Tool::Peers, &json!({"scope": "directory"})).unwrap(),
        ToolCall::Peers(Scope::Directory { project_path: "/nowhere/project".into() })
    );
    assert_eq!(read(Tool::Status, &json!({"random_string": "x"})).unwrap(), ToolCall::Status);
    assert_eq!(Tool::Status.read(None, &project(), None).unwrap(), ToolCall::Status);

    let Ok(ToolCall::Ask(Request::SetState(set))) =
        read(Tool::State, &json!({"action": "set", "key": "k", "value": "", "ifVersion": 0}))
    else {
        panic!()
    };
    assert_eq!((set.if_version, &*set.value), (Some(Seq(0)), ""));
}

#[test]
fn arguments_are_understood_however_they_are_written() {
    use Tool as T;
    for (tool, written, meant) in [
        (T::Inbox, json!({"limit": "5", "wait": "1"}), json!({"limit": 5, "wait": 1})),
        (
            T::State,
            json!({"action": "set", "key": "k", "value": 5, "ttlSeconds": "60", "ifVersion": "0"}),
            json!({"action": "set", "key": "k", "value": "5", "ttlSeconds": 60, "ifVersion": 0}),
        ),
        (
            T::Lock,
            json!({"action": "lock", "filePath": "/a", "shared": "true", "ttlMinutes": "5"}),
            json!({"action": "lock", "filePath": "/a", "shared": true, "ttlMinutes": 5}),
        ),
        (T::Events, json!({"types": "[\"a.b\"]"}), json!({"types": ["a.b"]})),
        (
            T::Events,
            json!({"action": "subscribe", "types": "a.b"}),
            json!({"action": "subscribe", "types": ["a.b"]}),
        ),
        (
            T::Events,
            json!({"action": "emit", "type": "a.b", "payload": "{\"x\":1}"}),
            json!({"action": "emit", "type": "a.b", "payload": {"x": 1}}),
        ),
        (
            T::Send,
            json!({"to": "a", "message": {"a": 1}, "type": "json"}),
            json!({"to": "a", "message": "{\"a\":1}", "type": "json"}),
        ),
    ] {
        assert_eq!(read(tool, &written), read(tool, &meant), "{written}");
        assert!(read(tool, &meant).is_ok(), "{meant}");
    }
    let call = read(T::State, &json!({"action": "list", "key": "build."})).unwrap();
    assert!(matches!(
        call, ToolCall::Ask(Request::ListState { prefix: Some(prefix), .. }) if &*prefix == "build."
    ));
}

#[test]
fn locked_paths_are_canonical() {
    for (path, expected) in [
        ("src/../src/main.rs", "/nowhere/project/src/main.rs"),
        ("/nowhere/project//a", "/nowhere/project/a"),
        ("../else", "/nowhere/else"),
        ("src/", "/nowhere/project/src/**"),
        ("src/**/id*.rs", "/nowhere/project/src/**/id*.rs"),
        ("repo:src/a", "repo:src/a"),
    ] {
        let call = read(Tool::Lock, &json!({"action": "lock", "filePath": path})).unwrap();
        let ToolCall::Ask(Request::Lock(LockFile { path, .. })) = call else { panic!() };
        assert_eq!(&*path.file_path, expected);
    }
    let call = read(Tool::Lock, &json!({"action": "query"})).unwrap();
    assert_eq!(call, ToolCall::Ask(Request::QueryLocks { peer_id: None, path: None }));
    let arguments = json!({"action": "steal", "filePath": "a", "reason": "r", "shared": true});
    let call = read(Tool::Lock, &arguments).unwrap();
    let ToolCall::Ask(Request::Lock(lock)) = call else { panic!() };
    assert!(lock.steal && lock.shared);
}

#[test]
fn events_go_on_from_a_time_or_a_number() {
    let events = |since: Value| match read(Tool::Events, &json!({"since": since})).unwrap() {
        ToolCall::Ask(Request::ReadEvents(ReadEvents { since, after, .. })) => (since, after),
        call => panic!("{call:?}"),
    };
    assert_eq!(events(json!(7)), (None, Some(Seq(7))));
    assert_eq!(events(json!("7")), (None, Some(Seq(7))));
    assert_eq!(events(json!(7.0)), (None, Some(Seq(7))));
    assert_eq!(events(json!("1970-01-01T00:00:01Z")), (Some(Timestamp(1000)), None));
    let Ok(ToolCall::Ask(Request::Emit { kind, payload, id, .. })) =
        read(Tool::Events, &json!({"action": "emit", "type": "a.b", "payload": {"x": [1]}}))
    else {
        panic!()
    };
    assert_eq!((&*kind, &*payload, id.is_some()), ("a.b", r#"{"x":[1]}"#, true));
}

#[test]
fn what_says_nothing_is_as_if_it_were_not_there() {
    for arguments in
        [json!({"filter": "", "from": null, "limit": "null", "wait": ""}), json!({"where": null})]
    {
        let call = read(Tool::Inbox, &arguments).unwrap();
        assert_eq!(call, read(Tool::Inbox, &json!({})).unwrap(), "{arguments}");
    }
    let twice = RawValue::from_string(r#"{"limit":5,"limit":null}"#.to_owned()).unwrap();
    let call = Tool::Inbox.read(Some(&twice), &project(), None).unwrap();
    assert!(matches!(call, ToolCall::Inbox { fetch: Fetch { limit: None, .. }, .. }));
}

#[test]
fn the_payload_of_an_event_keeps_its_digits() {
    let digits = "123456789012345678901234567890";
    for written in [format!(r#"{{"n": {digits}}}"#), format!(r#""{{\"n\": {digits}}}""#)] {
        let arguments = format!(r#"{{"action":"emit","type":"a.b","payload":{written}}}"#);
        let raw = RawValue::from_string(arguments).unwrap();
        let call = Tool::Events.read(Some(&raw), &project(), None).unwrap();
        let ToolCall::Ask(Request::Emit { payload, .. }) = call else { panic!("{call:?}") };
        assert_eq!(&*payload, format!(r#"{{"n":{digits}}}"#));
    }
}

#[test]
fn refusals_of_the_broker_are_put_in_the_words_of_the_tool() {
    assert_eq!(Tool::Events.in_own_words("`after` must be"), "`since` must be");
    assert_eq!(Tool::Send.in_own_words("no `toPeer`"), "no `to`");
    assert_eq!(Tool::State.in_own_words("`key`"), "`key`");
}
