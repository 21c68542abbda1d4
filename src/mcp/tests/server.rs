use serde_json::{Value, json};

use super::*;
use crate::api::Refusal;
use crate::client::BrokerAnswer;
use crate::mcp::outbox::tests::lines;
use crate::model::{MessageId, MessageKind, Party, Seq};

/// A server, its agent and its broker in one hand.
pub(in crate::mcp) struct Test {
    pub(in crate::mcp) server: Server,
    pub(in crate::mcp) now: Instant,
    count: u64,
}

pub(in crate::mcp) fn message_id(n: u64) -> MessageId {
    MessageId::new(Seq(n), [0; 16])
}

/// A message as the broker lists it.
pub(in crate::mcp) fn listed(n: u64, text: &str) -> Value {
    json!({
        "id": message_id(n).to_string(), "handle": message_id(n).handle(),
        "fromPeer": "cli", "fromName": "cli", "toPeer": "me",
        "type": "text", "payload": text, "createdAt": "2026-04-08T10:30:01.123Z",
        "delivered": true, "deliveredAt": null, "readAt": null, "seq": n,
    })
}

pub(in crate::mcp) fn inbox(messages: &[Value]) -> Value {
    json!({"ok": true, "messages": messages, "remaining": 0})
}

pub(in crate::mcp) fn pushed(n: u64, text: &str) -> Frame {
    Frame::Message(PushedMessage {
        message_id: message_id(n),
        handle: crate::model::Handle::of(Seq(n)),
        from_peer: Party::Cli,
        from_name: "bob".into(),
        from_agent: Some("codex".into()),
        text: text.into(),
        message_type: MessageKind::Text,
        broadcast: false,
        to_name: None,
        to_group: None,
        reply_to: None,
        seq: Seq(n),
    })
}

pub(in crate::mcp) fn refused(code: Code) -> ClientError {
    let refusal = Refusal::new(code, "no");
    let body = serde_json::to_vec(&refusal).unwrap();
    let answer = BrokerAnswer { status: code.status(), body, retry_after: None };
    answer.into_result().unwrap_err()
}

impl Test {
    pub(in crate::mcp) fn new() -> Self {
        let project = Project { path: "/nowhere".into(), repository: None };
        let mut server = Server::new(None, None, project);
        let now = Instant::now();
        let line = r#"{"jsonrpc":"2.0","id":0,"method":"initialize",
            "params":{"protocolVersion":"2025-11-25","capabilities":{}}}"#;
        server.handle_line(line.replace('\n', "").as_bytes(), now);
        let mut test = Self { server, now, count: 0 };
        assert_eq!(test.read().len(), 1);
        test
    }

    /// One that is in the mesh, with a push connection.
    pub(in crate::mcp) fn present() -> Self {
        let mut test = Self::new();
        test.server.presence.need(false, test.now);
        test.server.proceed(test.now);
        test.register(1);
        test.server.set_push_live(true, test.now);
        test
    }

    /// Answers the request to register that has to be there.
    #[track_caller]
    pub(in crate::mcp) fn register(&mut self, id: u8) {
        let (purpose, _, start) = self.asked();
        assert_eq!((purpose, start), (Purpose::Register, StartPolicy::IfNeeded));
        self.registered(id);
    }

    pub(in crate::mcp) fn registered(&mut self, id: u8) {
        let id = crate::model::PeerId::from_random([id; 16]);
        let body =
            json!({"ok": true, "peerId": id, "name": "n", "peerToken": "t", "heartbeatMs": 15_000});
        self.reply(Purpose::Register, &body);
    }

    pub(in crate::mcp) fn reply(&mut self, purpose: Purpose, body: &Value) {
        self.server.handle_finished(purpose, Ok(body.to_string().into_bytes()), self.now);
    }

    pub(in crate::mcp) fn fail(&mut self, purpose: Purpose, error: ClientError) {
        self.server.handle_finished(purpose, Err(error), self.now);
    }

    /// What the agent has taken so far and not looked at.
    pub(in crate::mcp) fn read(&mut self) -> Vec<Value> {
        let mut all = Vec::new();
        while !self.server.out.is_empty() {
            let mut bytes = Vec::new();
            let messages = self.server.out.write_to(&mut bytes).unwrap();
            all.extend(bytes);
            self.server.handle_written(messages, self.now);
        }
        all.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    /// The next command, but for the token, which is left with each registration.
    pub(in crate::mcp) fn command(&mut self) -> Option<Command> {
        loop {
            match self.server.poll() {
                Some(Command::LeaveToken(token)) => assert_eq!(&*token, "t"),
                other => return other,
            }
        }
    }

    /// The one request to the broker.
    #[track_caller]
    pub(in crate::mcp) fn asked(&mut self) -> (Purpose, Request, StartPolicy) {
        match self.command() {
            Some(Command::Ask(outgoing)) => (outgoing.purpose, outgoing.request, outgoing.start),
            other => panic!("nothing is asked: {other:?}"),
        }
    }

    #[track_caller]
    pub(in crate::mcp) fn quiet(&mut self) {
        if let Some(command) = self.command() {
            panic!("{command:?}");
        }
        let lines = self.read();
        assert!(lines.is_empty(), "{lines:?}");
    }

    pub(in crate::mcp) fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.server.handle_timeout(self.now);
    }

    /// Calls a tool; returns the id of the call.
    pub(in crate::mcp) fn call(&mut self, tool: &str, arguments: &Value) -> u64 {
        self.count += 1;
        let line = json!({
            "jsonrpc": "2.0", "id": self.count, "method": "tools/call",
            "params": {"name": tool, "arguments": arguments},
        });
        self.server.handle_line(line.to_string().as_bytes(), self.now);
        self.count
    }

    pub(in crate::mcp) fn cancel(&mut self, id: u64) {
        let line = json!({
            "jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id},
        });
        self.server.handle_line(line.to_string().as_bytes(), self.now);
    }

    /// The texts of the one result that was read, and whether it is an error.
    #[track_caller]
    pub(in crate::mcp) fn result(&mut self, id: u64) -> (Vec<String>, bool) {
        let lines = self.read();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["id"], id);
        let result = &lines[0]["result"];
        let texts = result["content"].as_array().unwrap_or_else(|| panic!("{lines:?}"));
        let texts = texts.iter().map(|block| block["text"].as_str().unwrap().into()).collect();
        (texts, result["isError"] == true)
    }

    /// Asks for messages, with this answer of the broker; returns what the agent gets.
    #[track_caller]
    pub(in crate::mcp) fn fetch(&mut self, messages: &[Value]) -> Value {
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
    assert!(matches!(test.command(), Some(Command::Forget(Purpose::Register))));
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
