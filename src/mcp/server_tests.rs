use serde_json::{Value, json};

use super::*;
use crate::api::Refusal;
use crate::client::{Answer, Refused};
use crate::limits::RPC_CALLS_MAX;
use crate::mcp::outbox::tests::lines;
use crate::model::{MessageKind, Party, Seq};

/// A server, its agent and its broker in one hand.
struct Test {
    server: Server,
    now: Instant,
    count: u64,
}

fn message_id(n: u64) -> MessageId {
    MessageId::new(Seq(n), [0; 16])
}

/// A message as the broker lists it.
fn listed(n: u64, text: &str) -> Value {
    json!({
        "id": message_id(n).to_string(), "fromPeer": "cli", "fromName": "cli", "toPeer": "me",
        "type": "text", "payload": text, "createdAt": "2026-04-08T10:30:01.123Z",
        "delivered": true, "deliveredAt": null, "readAt": null, "seq": n,
    })
}

fn inbox(messages: &[Value]) -> Value {
    json!({"ok": true, "messages": messages, "remaining": 0})
}

fn pushed(n: u64, text: &str) -> Frame {
    Frame::Message(PushedMessage {
        message_id: message_id(n),
        from_peer: Party::Cli,
        from_name: "bob".into(),
        text: text.into(),
        message_type: MessageKind::Text,
        broadcast: false,
        reply_to: None,
        seq: Seq(n),
    })
}

fn refused(code: Code) -> ClientError {
    let refusal = Refusal::new(code, "no");
    let body = serde_json::to_vec(&refusal).unwrap();
    let answer = Answer { status: code.status(), body, retry_after: None };
    answer.into_result().unwrap_err()
}

impl Test {
    fn new() -> Self {
        let mut server = Server::new(Setup {
            name: None,
            has_inbox_socket: false,
            project: Project { path: "/nowhere".into(), repository: None },
        });
        let now = Instant::now();
        let line = r#"{"jsonrpc":"2.0","id":0,"method":"initialize",
            "params":{"protocolVersion":"2025-11-25","capabilities":{}}}"#;
        server.handle_line(line.replace('\n', "").as_bytes(), now);
        let mut test = Self { server, now, count: 0 };
        assert_eq!(test.read().len(), 1);
        test
    }

    /// One that is in the mesh, with a push connection.
    fn present() -> Self {
        let mut test = Self::new();
        test.server.presence.need(false, test.now);
        test.server.proceed(test.now);
        test.register(1);
        test.server.set_push_live(true, test.now);
        test
    }

    /// Answers the request to register that has to be there.
    #[track_caller]
    fn register(&mut self, id: u8) {
        let (purpose, _, start) = self.asked();
        assert_eq!((purpose, start), (Purpose::Register, StartPolicy::IfNeeded));
        self.registered(id);
    }

    fn registered(&mut self, id: u8) {
        let id = crate::model::PeerId::from_random([id; 16]);
        let body =
            json!({"ok": true, "peerId": id, "name": "n", "peerToken": "t", "heartbeatMs": 15_000});
        self.reply(Purpose::Register, &body);
    }

    fn reply(&mut self, purpose: Purpose, body: &Value) {
        self.server.handle_finished(purpose, Ok(body.to_string().into_bytes()), self.now);
    }

    fn fail(&mut self, purpose: Purpose, error: ClientError) {
        self.server.handle_finished(purpose, Err(error), self.now);
    }

    /// What the agent has taken so far and not looked at.
    fn read(&mut self) -> Vec<Value> {
        let mut all = Vec::new();
        while !self.server.out.is_empty() {
            let mut bytes = Vec::new();
            let messages = self.server.out.write_to(&mut bytes).unwrap();
            all.extend(bytes);
            self.server.handle_written(&messages, self.now);
        }
        all.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    /// The one request to the broker.
    #[track_caller]
    fn asked(&mut self) -> (Purpose, Request, StartPolicy) {
        match self.server.poll() {
            Some(Command::Ask(outgoing)) => (outgoing.purpose, outgoing.request, outgoing.start),
            other => panic!("nothing is asked: {other:?}"),
        }
    }

    #[track_caller]
    fn quiet(&mut self) {
        if let Some(command) = self.server.poll() {
            panic!("{command:?}");
        }
        let lines = self.read();
        assert!(lines.is_empty(), "{lines:?}");
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.server.handle_timeout(self.now);
    }

    /// Calls a tool; gives the id of the call.
    fn call(&mut self, tool: &str, arguments: &Value) -> u64 {
        self.count += 1;
        let line = json!({
            "jsonrpc": "2.0", "id": self.count, "method": "tools/call",
            "params": {"name": tool, "arguments": arguments},
        });
        self.server.handle_line(line.to_string().as_bytes(), self.now);
        self.count
    }

    fn cancel(&mut self, id: u64) {
        let line = json!({
            "jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id},
        });
        self.server.handle_line(line.to_string().as_bytes(), self.now);
    }

    /// The texts of the one result that was read, and whether it is an error.
    #[track_caller]
    fn result(&mut self, id: u64) -> (Vec<String>, bool) {
        let lines = self.read();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["id"], id);
        let result = &lines[0]["result"];
        let texts = result["content"].as_array().unwrap_or_else(|| panic!("{lines:?}"));
        let texts = texts.iter().map(|block| block["text"].as_str().unwrap().into()).collect();
        (texts, result["isError"] == true)
    }

    /// Asks for messages, with this answer of the broker; gives what the agent gets.
    #[track_caller]
    fn fetch(&mut self, messages: &[Value]) -> Value {
        let id = self.call("mesh_inbox", &json!({}));
        let (purpose, request, _) = self.asked();
        assert!(matches!(request, Request::Fetch(fetch) if fetch.peek && fetch.wait == 0));
        self.reply(purpose, &inbox(messages));
        let (texts, is_error) = self.result(id);
        assert!(!is_error && texts.len() == 1, "{texts:?}");
        serde_json::from_str(&texts[0]).unwrap()
    }
}

#[test]
fn a_session_is_in_the_mesh_one_second_after_its_client_has_settled() {
    let mut test = Test::new();
    let line = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    test.server.handle_line(line.as_bytes(), test.now);
    test.quiet();
    test.pass(999);
    test.quiet();
    test.pass(1);
    let (_, request, _) = test.asked();
    let Request::Register(register) = request else { panic!("{request:?}") };
    assert!(register.private && register.acks);
    assert_eq!((register.pid, &*register.project_path), (std::process::id(), "/nowhere"));
    test.registered(1);
    test.quiet();
    test.pass(15_000);
    assert!(matches!(test.asked(), (Purpose::Heartbeat, _, StartPolicy::Never)));
}

#[test]
fn a_call_waits_for_the_mesh_and_acts_as_its_peer() {
    let mut test = Test::new();
    let id = test.call("mesh_state", &json!({"action": "get", "key": "k"}));
    test.register(1);
    let Some(Command::Ask(outgoing)) = test.server.poll() else { panic!() };
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
fn a_broken_broker_is_told_by_the_tools() {
    let mut test = Test::new();
    let id = test.call("mesh_status", &json!({}));
    assert_eq!(test.asked().0, Purpose::Register);
    let error = ClientError::StartFailed { reason: "/x is not a directory".into() };
    test.fail(Purpose::Register, error);
    let (texts, is_error) = test.result(id);
    assert!(is_error && texts[0].contains("/x is not a directory"), "{texts:?}");
    // The next call tries at once.
    let id = test.call("mesh_status", &json!({}));
    test.register(1);
    let (purpose, request, _) = test.asked();
    assert_eq!(request, Request::Status);
    test.server.set_push_live(true, test.now);
    test.reply(purpose, &json!({"status": "ok", "uptime": 3}));
    let status: Value = serde_json::from_str(&test.result(id).0[0]).unwrap();
    assert_eq!((&status["you"]["name"], &status["uptime"]), (&"n".into(), &3.into()));
}

#[test]
fn a_call_that_has_no_answer_in_time_fails() {
    let mut test = Test::present();
    let get = test.call("mesh_state", &json!({"action": "get", "key": "k"}));
    test.asked();
    test.pass(4_999);
    test.quiet();
    test.pass(1);
    assert!(matches!(test.server.poll(), Some(Command::Forget(Purpose::Job(_)))));
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
    assert!(test.server.poll().is_none());
    let (texts, _) = test.result(first);
    assert!(texts[0].contains(r#""payload":"a""#), "{texts:?}");
    let (purpose, request, _) = test.asked();
    assert_eq!(request, Request::MarkRead { peer_id: None, ids: vec![message_id(1)] });
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
        Request::MarkRead { peer_id: None, ids: vec![message_id(1), message_id(2)] }
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
    assert!(matches!(test.server.poll(), Some(Command::Forget(_))));
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
    assert!(matches!(test.server.poll(), Some(Command::Forget(forgotten)) if forgotten == purpose));
    test.reply(purpose, &inbox(&[listed(1, "a")]));
    test.quiet();
    // It has left its turn, and marked nothing.
    assert_eq!(test.fetch(&[listed(1, "a")])["messages"][0]["payload"], "a");
}

#[test]
fn a_forgotten_session_comes_back_and_asks_again() {
    let mut test = Test::present();
    let id = test.call("mesh_summary", &json!({"summary": "tests"}));
    let (purpose, _, _) = test.asked();
    test.reply(purpose, &json!({"ok": true}));
    test.result(id);

    let id = test.call("mesh_lock", &json!({"action": "query"}));
    let (purpose, _, _) = test.asked();
    test.fail(purpose, refused(Code::Unauthorized));
    let (_, request, _) = test.asked();
    let Request::Register(register) = request else { panic!() };
    assert!(register.peer_id.is_some());
    test.fail(Purpose::Register, refused(Code::PeerNotFound));
    let (_, request, _) = test.asked();
    let Request::Register(register) = request else { panic!() };
    assert!(register.peer_id.is_none());
    assert_eq!(register.summary.as_deref(), Some("tests"));
    test.registered(2);
    let (purpose, request, _) = test.asked();
    assert!(matches!(request, Request::QueryLocks { .. }));
    // Once is enough.
    test.fail(purpose, refused(Code::Unauthorized));
    assert!(test.result(id).1);
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
fn pushes_are_told_to_whoever_subscribed() {
    let mut test = Test::present();
    for uri in ["mesh://inbox", "mesh://peers", "mesh://locks", "mesh://events"] {
        let line = json!({
            "jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": {"uri": uri},
        });
        test.server.handle_line(line.to_string().as_bytes(), test.now);
    }
    assert_eq!(test.read().len(), 4);
    for (frame, uri) in [
        (pushed(1, "x"), "mesh://inbox"),
        (Frame::Event(json!({"eventType": "a.b"})), "mesh://events"),
        (Frame::Other("peer_update".into()), "mesh://peers"),
        (Frame::Other("lock_update".into()), "mesh://locks"),
    ] {
        test.server.handle_frame(&frame, test.now);
        let notes = test.read();
        assert_eq!((notes.len(), &notes[0]["params"]["uri"]), (1, &uri.into()));
    }
    test.server.handle_frame(&Frame::Other("news".into()), test.now);
    test.server.handle_frame(&pushed(1, "x"), test.now);
    test.quiet();
}

#[test]
fn a_crash_is_followed_by_a_start_and_a_stop_is_not() {
    let mut test = Test::present();
    test.server.handle_lost(test.now);
    test.register(1);

    let mut test = Test::present();
    test.server.handle_frame(&Frame::Shutdown("idle".into()), test.now);
    test.server.handle_lost(test.now);
    test.register(1);

    let mut test = Test::present();
    test.server.handle_frame(&Frame::Shutdown("stopped".into()), test.now);
    test.server.handle_lost(test.now);
    test.quiet();
    test.pass(2_000);
    assert!(matches!(test.asked(), (Purpose::Register, _, StartPolicy::Never)));
    test.fail(Purpose::Register, ClientError::NoBroker);
    test.quiet();
    test.call("mesh_status", &json!({}));
    assert!(matches!(test.asked(), (Purpose::Register, _, StartPolicy::IfNeeded)));

    // The word comes late.
    let mut test = Test::present();
    test.server.handle_lost(test.now);
    assert_eq!(test.asked().0, Purpose::Register);
    test.server.handle_frame(&Frame::Shutdown("stopped".into()), test.now);
    assert!(matches!(test.server.poll(), Some(Command::Forget(Purpose::Register))));
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

#[test]
fn what_was_asked_is_answered_before_the_end() {
    let mut test = Test::present();
    let id = test.call("mesh_lock", &json!({"action": "query"}));
    let (purpose, _, _) = test.asked();
    test.server.handle_end(test.now);
    assert!(!test.server.is_over() && !test.server.wants_lines());
    test.reply(purpose, &json!({"ok": true, "locks": []}));
    assert!(!test.server.is_over());
    test.result(id);
    assert_eq!(test.asked().0, Purpose::Unregister);
    test.reply(Purpose::Unregister, &json!({"ok": true}));
    assert!(test.server.is_over());

    // Nobody says good-bye to nobody.
    let mut test = Test::new();
    test.server.handle_end(test.now);
    assert!(test.server.is_over());
    // A broker that does not answer is not waited for.
    let mut test = Test::present();
    test.server.stop(test.now);
    test.asked();
    test.pass(299);
    assert!(!test.server.is_over());
    test.pass(1);
    assert!(test.server.is_over());
    // A registration that is on its way is undone.
    let mut test = Test::new();
    test.server.presence.need(false, test.now);
    test.server.proceed(test.now);
    test.asked();
    test.server.handle_end(test.now);
    assert!(!test.server.is_over());
    test.registered(1);
    assert_eq!(test.asked().0, Purpose::Unregister);
}

#[test]
fn an_agent_that_does_not_read_is_not_waited_for_for_ever() {
    let mut test = Test::present();
    let id = test.call("mesh_lock", &json!({"action": "query"}));
    let (purpose, _, _) = test.asked();
    test.server.handle_end(test.now);
    test.reply(purpose, &json!({"ok": true, "locks": []}));
    test.pass(6_000);
    assert_eq!(test.asked().0, Purpose::Unregister);
    assert_eq!(lines(&mut test.server.out).len(), 1);
    assert_eq!(id, 1);
}

#[test]
fn where_the_project_is_may_be_told_late() {
    let mut test = Test::present();
    let line = r#"{"jsonrpc":"2.0","id":0,"method":"initialize",
        "params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{}}}}"#
        .replace('\n', "");
    test.server.handle_line(line.as_bytes(), test.now);
    let line = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    test.server.handle_line(line.as_bytes(), test.now);
    assert_eq!(test.read()[1]["method"], "roots/list");
    let line = r#"{"jsonrpc":"2.0","id":1,"result":{"roots":[{"uri":"file:///elsewhere"}]}}"#;
    test.server.handle_line(line.as_bytes(), test.now);
    let (_, request, _) = test.asked();
    let Request::Register(register) = request else { panic!() };
    assert_eq!(&*register.project_path, "/elsewhere");
    assert!(register.peer_id.is_some(), "as the same peer");
    test.registered(1);
    test.quiet();
}
