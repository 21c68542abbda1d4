use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::api::Code;
use crate::api::Frame;
use crate::limits::{RECORD_DELAY, RECORD_PATIENCE, WAKE_DIGEST_EVERY};
use crate::mcp::project::Project;
use crate::mcp::server::Setup;
use crate::mcp::server::tests::{Test, inbox, listed, message_id, pushed, refused};

/// A client of this name that has shaken hands, with what it got, and is in the mesh.
fn of_client(name: &str, has_inbox_socket: bool) -> (Test, Value, Register) {
    let mut test = Test::new();
    test.server = Server::new(Setup {
        name: None,
        inbox_socket_of: has_inbox_socket.then_some("claude-code"),
        project: Project { path: "/nowhere".into(), repository: None },
    });
    let line = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": name},
    }});
    test.server.handle_line(line.to_string().as_bytes(), test.now);
    let result = test.read().remove(0)["result"].clone();
    test.server.presence.need(false, test.now);
    test.server.proceed(test.now);
    let register = test.introduced(1);
    test.server.set_push_live(true, test.now);
    (test, result, register)
}

fn claude() -> Test {
    of_client("claude-code", true).0
}

impl Test {
    /// Answers the request to register that has to be there; gives what was in it.
    #[track_caller]
    fn introduced(&mut self, id: u8) -> Register {
        let (_, request, _) = self.asked();
        let Request::Register(register) = request else { panic!("{request:?}") };
        self.registered(id);
        *register
    }

    /// What is told now, and by which way.
    #[track_caller]
    fn telling(&mut self) -> (Way, String) {
        match self.command() {
            Some(Command::Tell(by, notice)) => (by, notice.text),
            other => panic!("nothing is told: {other:?}"),
        }
    }

    fn outcome(&mut self, by: Way, outcome: Outcome) {
        self.server.handle_outcome(by, outcome, self.now);
        self.server.proceed(self.now);
    }

    /// The one request to record notifications.
    #[track_caller]
    fn recorded(&mut self) -> (Way, Vec<crate::model::MessageId>) {
        let (purpose, request, _) = self.asked();
        assert_eq!(purpose, Purpose::MarkNotified);
        let Request::MarkNotified { peer_id: None, ids, way, claim_id: None } = request else {
            panic!("{request:?}")
        };
        (way, ids)
    }

    fn call_from(&mut self, meta: &Value) {
        let line = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
            "name": "mesh_lock", "arguments": {"action": "query"}, "_meta": meta,
        }});
        self.server.handle_line(line.to_string().as_bytes(), self.now);
    }
}

fn told() -> Value {
    json!({"ok": true, "marked": 1})
}

/// Past [`RECORD_DELAY`].
const RECORD_DELAY_MS: u64 = 100;

#[test]
fn a_pushed_message_is_told_and_recorded() {
    let mut test = claude();
    test.server.handle_frame(&pushed(1, "hello"), test.now);
    let (by, told_text) = test.telling();
    assert_eq!(by, Way::InboxSocket);
    assert!(told_text.contains("message from bob (codex), quoted"));
    assert!(told_text.ends_with("\"hello\""));
    test.outcome(by, Outcome::Free);
    test.outcome(by, Outcome::Sent(1));
    // Pushed again after a reconnect: it is told once.
    test.server.handle_frame(&pushed(1, "hello"), test.now);
    test.quiet();
    assert_eq!(test.server.deadline(), Some(test.now + RECORD_DELAY));
    test.pass(RECORD_DELAY_MS);
    assert_eq!(test.recorded(), (Way::InboxSocket, vec![message_id(1)]));
    test.reply(Purpose::MarkNotified, &told());
    test.pass(1_000);
    test.quiet();
}

#[test]
fn a_message_that_a_wait_takes_is_not_told() {
    let mut test = claude();
    let id = test.call("mesh_inbox", &json!({"wait": 50}));
    let (purpose, _, _) = test.asked();
    test.reply(purpose, &inbox(&[]));
    test.quiet();
    test.server.handle_frame(&pushed(1, "hello"), test.now);
    let (purpose, request, _) = test.asked();
    assert!(matches!(request, Request::Fetch(_)));
    assert!(test.command().is_none(), "it is being fetched");
    test.reply(purpose, &inbox(&[listed(1, "hello")]));
    assert!(test.result(id).0[0].contains("hello"));
    assert_eq!(test.asked().0, Purpose::MarkRead);
    test.reply(Purpose::MarkRead, &told());
    test.quiet();

    // What the wait does not take is told.
    let id = test.call("mesh_inbox", &json!({"wait": 50, "from": "someone-else"}));
    let (purpose, _, _) = test.asked();
    test.reply(purpose, &inbox(&[]));
    test.server.handle_frame(&pushed(2, "other"), test.now);
    let (purpose, _, _) = test.asked();
    assert!(test.command().is_none());
    test.reply(purpose, &inbox(&[]));
    assert!(test.telling().1.contains("other"));
    assert!(test.read().is_empty());
    test.cancel(id);
}

#[test]
fn a_digest_wakes_the_loop_when_it_is_due() {
    let mut test = claude();
    let all = |n: u64| match pushed(n, "to all") {
        Frame::Message(message) => Frame::Message(PushedMessage { broadcast: true, ..message }),
        other => other,
    };
    let event = |n: u64| Frame::Event(json!({"eventType": "a.b", "seq": n, "data": n}));
    test.server.handle_frame(&event(1), test.now);
    assert!(test.telling().1.contains("event a.b"));
    test.outcome(Way::InboxSocket, Outcome::Free);
    let due = test.now + WAKE_DIGEST_EVERY;
    test.server.handle_frame(&event(2), test.now);
    test.server.handle_frame(&event(3), test.now);
    test.server.handle_frame(&all(1), test.now);
    test.server.handle_frame(&all(2), test.now);
    test.quiet();
    assert_eq!(test.server.deadline(), Some(due));
    // Nobody spins while messages are being fetched.
    let id = test.call("mesh_inbox", &json!({}));
    let (purpose, _, _) = test.asked();
    assert!(test.server.deadline().unwrap() < due, "that of the call");
    test.reply(purpose, &inbox(&[]));
    test.result(id);
    test.pass(10_000);
    // A hook may have read them meanwhile, as it has the first.
    let (purpose, request, _) = test.asked();
    assert_eq!(purpose, Purpose::CheckUnread);
    assert!(matches!(request, Request::Fetch(fetch) if fetch.peek));
    assert!(test.server.deadline().is_some_and(|at| at > test.now), "it does not spin");
    test.reply(purpose, &inbox(&[listed(2, "to all")]));
    let told_text = test.telling().1;
    assert!(told_text.contains("3 notices") && told_text.contains("broadcast"), "{told_text}");
}

#[test]
fn what_is_read_was_notified_before() {
    let mut test = claude();
    test.server.handle_frame(&pushed(1, "hello"), test.now);
    test.telling();
    test.outcome(Way::InboxSocket, Outcome::Free);
    test.outcome(Way::InboxSocket, Outcome::Sent(1));
    test.fetch(&[listed(1, "hello")]);
    assert_eq!(test.recorded(), (Way::InboxSocket, vec![message_id(1)]));
    assert_eq!(test.asked().0, Purpose::MarkRead);
}

#[test]
fn a_notice_on_a_result_is_recorded_once_the_agent_has_it() {
    let mut test = Test::present();
    test.server.handle_frame(&pushed(1, "one"), test.now);
    test.quiet();
    for _ in 0..2 {
        test.call("mesh_lock", &json!({"action": "query"}));
        let (purpose, _, _) = test.asked();
        test.reply(purpose, &json!({"ok": true, "locks": []}));
    }
    test.pass(RECORD_DELAY_MS);
    assert!(test.command().is_none(), "the agent has not taken it");
    assert_eq!(test.read().len(), 2);
    test.pass(RECORD_DELAY_MS);
    assert_eq!(test.recorded(), (Way::ToolResult, vec![message_id(1)]));
    test.reply(Purpose::MarkNotified, &told());
    test.pass(1_000);
    test.quiet();
}

#[test]
fn a_record_waits_for_the_agent_and_is_repeated() {
    let mut test = claude();
    test.server.handle_frame(&pushed(1, "x"), test.now);
    test.telling();
    test.outcome(Way::InboxSocket, Outcome::Sent(1));
    test.call("mesh_lock", &json!({"action": "query"}));
    test.asked();
    test.pass(RECORD_DELAY_MS);
    assert!(test.command().is_none());
    let patience = u64::try_from(RECORD_PATIENCE.as_millis()).unwrap();
    test.pass(patience);
    assert_eq!(test.recorded().0, Way::InboxSocket);
    test.fail(Purpose::MarkNotified, refused(Code::RateLimited));
    assert!(test.server.deadline().is_some_and(|at| at > test.now), "it does not spin");
    // A broker that does not know of it is not asked again.
    test.pass(60_000);
    while let Some(command) = test.command() {
        if let Command::Ask(asked) = command
            && asked.purpose == Purpose::MarkNotified
        {
            test.fail(Purpose::MarkNotified, refused(Code::InvalidRequest));
        }
    }
    assert!(test.server.waking_deadline().is_none());
}

#[test]
fn without_a_broker_nothing_spins() {
    let mut test = claude();
    test.server.handle_frame(&pushed(1, "x"), test.now);
    test.telling();
    test.outcome(Way::InboxSocket, Outcome::Sent(1));
    test.fetch(&[listed(2, "y")]);
    test.recorded();
    assert_eq!(test.asked().0, Purpose::MarkRead);
    let lost = || ClientError::Unreachable { reason: "gone".into() };
    test.fail(Purpose::MarkNotified, lost());
    test.fail(Purpose::MarkRead, lost());
    test.server.handle_lost(test.now);
    assert_eq!(test.asked().0, Purpose::Register);
    test.fail(Purpose::Register, lost());
    for _ in 0..9 {
        let at = test.server.deadline().unwrap();
        assert!(at > test.now);
        test.now = at;
        test.server.handle_timeout(at);
        while test.command().is_some() {
            test.fail(Purpose::Register, lost());
        }
    }
}

#[test]
fn reach_is_told_and_told_again_when_it_changes() {
    let (mut test, _, register) = of_client("claude-code", true);
    assert_eq!(register.reach.as_deref(), Some("wakes"));
    test.server.handle_frame(&pushed(1, "x"), test.now);
    test.telling();
    test.outcome(Way::InboxSocket, Outcome::Failed("no".into()));
    // By the channel instead, which counts for nothing.
    let note = test.read().remove(0);
    assert_eq!(note["method"], "notifications/claude/channel");
    assert!(note["params"]["content"].as_str().unwrap().ends_with("\"x\""), "{note}");
    let keys = note["params"]["meta"].as_object().unwrap().keys();
    for key in keys {
        assert!(key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{key}");
    }
    let register = test.introduced(1);
    assert_eq!(register.reach.as_deref(), Some("next-call"));
    assert!(register.peer_id.is_some());
    test.pass(5_000);
    test.quiet();
    for (client, has_inbox_socket) in [("codex-mcp-client", true), ("claude-code", false)] {
        let (_, _, register) = of_client(client, has_inbox_socket);
        assert_eq!(register.reach.as_deref(), Some("next-call"), "{client}");
    }
}

#[test]
fn only_claude_code_in_the_legacy_era_is_told_of_the_channel() {
    let declared = |client: &str| of_client(client, true).1["capabilities"]["experimental"].clone();
    assert_eq!(declared("claude-code"), json!({"claude/channel": {}}));
    assert_eq!(declared("codex-mcp-client"), Value::Null);
}

#[test]
fn a_thread_of_codex_is_learned_from_its_calls() {
    let (mut test, _, _) = of_client("codex-mcp-client", false);
    test.server.handle_frame(&pushed(1, "x"), test.now);
    test.quiet();
    test.call_from(&json!({"threadId": "t-1", "sessionId": "s-1"}));
    assert!(matches!(test.command(), Some(Command::PrepareQueue(id)) if &*id == "t-1"));
    let mut requests = [test.asked().1, test.asked().1];
    if matches!(requests[0], Request::QueryLocks { .. }) {
        requests.reverse();
    }
    let Request::Register(register) = &requests[0] else { panic!("{requests:?}") };
    assert_eq!(register.reach.as_deref(), Some("wakes"));
    assert_eq!(register.session_id.as_deref(), Some("t-1"));
    test.registered(1);
    test.server.handle_frame(&pushed(2, "new"), test.now);
    let (by, told_text) = test.telling();
    assert_eq!(by, Way::Queue);
    assert!(told_text.contains("new"));
    // The same again is nothing new, and nonsense is no fault.
    test.call_from(&json!({"threadId": "t-1", "sessionId": "s-1"}));
    test.call_from(&json!({"threadId": 5, "sessionId": [], "progressToken": 1}));
    for _ in 0..2 {
        assert!(matches!(test.asked().1, Request::QueryLocks { .. }));
    }
    test.outcome(Way::Queue, Outcome::Failed("no".into()));
    assert_eq!(test.introduced(1).reach.as_deref(), Some("next-call"));
}

#[test]
fn the_end_records_what_is_left() {
    let mut test = claude();
    test.server.handle_frame(&pushed(1, "x"), test.now);
    test.telling();
    test.outcome(Way::InboxSocket, Outcome::Sent(1));
    test.server.stop(test.now);
    assert_eq!(test.recorded().1, [message_id(1)]);
    assert_eq!(test.asked().0, Purpose::Unregister);
}

#[test]
fn a_new_peer_is_not_told_of_what_was_before() {
    let mut test = claude();
    test.server.handle_frame(&pushed(1, "x"), test.now);
    test.telling();
    test.server.handle_frame(&pushed(2, "y"), test.now);
    test.server.presence.handle_unknown(test.now);
    test.server.proceed(test.now);
    test.asked();
    test.fail(Purpose::Register, refused(Code::PeerNotFound));
    test.introduced(2);
    test.outcome(Way::InboxSocket, Outcome::Free);
    test.outcome(Way::InboxSocket, Outcome::Sent(1));
    test.now += Duration::from_secs(1);
    test.server.proceed(test.now);
    test.quiet();
}
