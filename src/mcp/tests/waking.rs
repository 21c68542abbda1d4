use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::agents::CLAUDE_CODE;
use crate::api::Frame;
use crate::client::StartPolicy;
use crate::limits::{HELD_RETRY_AFTER, WAKE_DIGEST_EVERY};
use crate::mcp::jobs::JobId;
use crate::mcp::project::Project;
use crate::mcp::server::tests::{Test, inbox, listed, message_id, pushed, refused};
use crate::model::SentStatus;

/// A client of this name that has shaken hands, with what it got, and is in the mesh.
fn of_client(name: &str, has_inbox_socket: bool) -> (Test, Value, Register) {
    let mut test = Test::new();
    let project = Project { path: "/nowhere".into(), repository: None };
    test.server = Server::new(None, has_inbox_socket.then_some(&CLAUDE_CODE), project);
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
    let mut test = of_client("claude-code", true).0;
    // Something may have waited for it.
    test.claimed(Way::InboxSocket, &[]);
    test
}

impl Test {
    /// Answers the request to register that has to be there; returns what was in it.
    #[track_caller]
    fn introduced(&mut self, id: u8) -> Register {
        let (_, request, _) = self.asked();
        let Request::Register(register) = request else { panic!("{request:?}") };
        self.registered(id);
        *register
    }

    /// The claim that is asked for now, answered with this.
    #[track_caller]
    fn claimed(&mut self, by: Way, messages: &[Value]) {
        let (purpose, request, start) = self.asked();
        let Request::Claim(claim) = request else { panic!("{request:?}") };
        assert_eq!((purpose, claim.by, start), (Purpose::Claim, by, StartPolicy::Never));
        self.reply(purpose, &handed_out(messages));
    }

    /// What is told now, and by which way.
    #[track_caller]
    fn telling(&mut self) -> (Way, String) {
        match self.command() {
            Some(Command::Tell(by, notice)) => (by, notice.text),
            other => panic!("nothing is told: {other:?}"),
        }
    }

    /// This message comes and is told by the inbox socket.
    #[track_caller]
    fn told(&mut self, n: u64, text: &str) {
        self.server.handle_frame(&pushed(n, text), self.now);
        self.claimed(Way::InboxSocket, &[listed(n, text)]);
        let (by, told) = self.telling();
        assert!(by == Way::InboxSocket && told.contains(&format!("\"{text}\"")), "{told}");
        self.outcome(by, WayReport::Sent(n));
        self.outcome(by, WayReport::Free);
    }

    fn outcome(&mut self, by: Way, outcome: WayReport) {
        self.server.handle_report(by, outcome, self.now);
        self.server.proceed(self.now);
    }

    /// The one thing that the broker is told, and takes.
    #[track_caller]
    fn errand(&mut self) -> Request {
        let (purpose, request, start) = self.asked();
        assert_eq!((purpose, start), (Purpose::Errand, StartPolicy::Never));
        self.reply(purpose, &told());
        request
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

const CLAIM: Uuid = Uuid::from_bytes([7; 16]);

fn handed_out(messages: &[Value]) -> Value {
    let mut answer = inbox(messages);
    if !messages.is_empty() {
        answer["claimId"] = CLAIM.to_string().into();
    }
    answer
}

fn sent(n: u64) -> Request {
    Request::MarkSent {
        peer_id: None,
        ids: vec![message_id(n)],
        way: Way::InboxSocket,
        status: SentStatus::Sent,
        whole: true,
        claim_id: Some(CLAIM),
    }
}

fn released() -> Request {
    Request::ReleaseClaim { peer_id: None, claim_id: CLAIM }
}

#[test]
fn a_pushed_message_is_claimed_told_and_marked() {
    let mut test = claude();
    test.told(1, "hello");
    assert_eq!(test.errand(), sent(1));
    // Pushed again after a reconnect: it is no sign of anything.
    test.server.handle_frame(&pushed(1, "hello"), test.now);
    test.quiet();
    test.pass(5_000);
    test.quiet();
    // The end of the turn is one.
    test.server.handle_frame(&Frame::Wake, test.now);
    test.claimed(Way::InboxSocket, &[]);
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
    // Whoever has a message that is not marked yet is not told of it.
    test.claimed(Way::InboxSocket, &[listed(1, "hello")]);
    assert_eq!(test.asked().0, Purpose::MarkRead);
    assert_eq!(test.errand(), released());
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
    test.claimed(Way::InboxSocket, &[listed(2, "other")]);
    assert!(test.telling().1.contains("other"));
    assert!(test.read().is_empty());
    test.cancel(id);
}

#[test]
fn what_is_handed_out_while_the_agent_fetches_is_let_go() {
    let mut test = claude();
    test.server.handle_frame(&pushed(1, "hello"), test.now);
    let (claim, _, _) = test.asked();
    let id = test.call("mesh_inbox", &json!({}));
    let (fetch, _, _) = test.asked();
    test.reply(claim, &handed_out(&[listed(1, "hello")]));
    assert_eq!(test.errand(), released());
    test.reply(fetch, &inbox(&[listed(1, "hello")]));
    assert!(test.result(id).0[0].contains("hello"));
    assert_eq!(test.asked().0, Purpose::MarkRead);
}

#[test]
fn what_comes_during_a_call_is_told_with_its_result() {
    let mut test = claude();
    let id = test.call("mesh_lock", &json!({"action": "query"}));
    let (purpose, _, _) = test.asked();
    test.server.handle_frame(&pushed(1, "hello"), test.now);
    test.quiet();
    test.reply(purpose, &json!({"ok": true, "locks": []}));
    let (glance, _, _) = test.asked();
    let (quote, request, _) = test.asked();
    assert_eq!((glance, quote), (Purpose::Glance, Purpose::Quote));
    let Request::Claim(claim) = request else { panic!("{request:?}") };
    assert_eq!((claim.by, claim.limit), (Way::ToolResult, Some(3)));
    test.reply(glance, &inbox(&[listed(1, "hello")]));
    assert!(test.command().is_none() && test.read().is_empty());
    test.reply(quote, &handed_out(&[listed(1, "hello")]));
    // It is told that once the client has taken it, and no other way gets it.
    test.claimed(Way::InboxSocket, &[]);
    assert!(test.command().is_none());
    let (texts, _) = test.result(id);
    assert!(texts[1].starts_with("slm-mesh: message "), "{texts:?}");
    let notified = |n: u64| Request::MarkNotified {
        peer_id: None,
        ids: vec![message_id(n)],
        way: Way::ToolResult,
        claim_id: Some(CLAIM),
    };
    assert_eq!(test.errand(), notified(1));
    test.quiet();

    // From then on it is counted, as long as it is there; for that no claim is needed.
    let id = test.call("mesh_status", &json!({}));
    let (purpose, _, _) = test.asked();
    test.reply(purpose, &json!({"status": "ok"}));
    assert_eq!(test.asked().0, Purpose::Glance);
    test.reply(Purpose::Glance, &inbox(&[listed(1, "hello")]));
    let (texts, _) = test.result(id);
    let status: Value = serde_json::from_str(&texts[0]).unwrap();
    assert_eq!(status["you"]["unread"], 1);
    assert_eq!(texts[1], "[mesh] 1 unread message; call mesh_inbox");
    // A hook has read it meanwhile.
    let id = test.call("mesh_status", &json!({}));
    let (purpose, _, _) = test.asked();
    test.reply(purpose, &json!({"status": "ok"}));
    test.asked();
    test.reply(Purpose::Glance, &inbox(&[]));
    let (texts, _) = test.result(id);
    let status: Value = serde_json::from_str(&texts[0]).unwrap();
    assert_eq!((&status["you"]["unread"], texts.len()), (&json!(0), 1));
}

#[test]
fn a_result_does_not_wait_for_ever_and_lets_go_of_what_it_does_not_tell() {
    let mut test = Test::present();
    test.server.handle_frame(&pushed(1, "hello"), test.now);
    test.quiet();
    let call = |test: &mut Test| {
        let id = test.call("mesh_lock", &json!({"action": "query"}));
        let (purpose, _, _) = test.asked();
        test.reply(purpose, &json!({"ok": true, "locks": []}));
        id
    };
    let id = call(&mut test);
    assert_eq!((test.asked().0, test.asked().0), (Purpose::Glance, Purpose::Quote));
    // Two at once: only one of them can quote it.
    let other = call(&mut test);
    assert!(test.command().is_none());
    test.pass(999);
    assert!(test.read().is_empty());
    test.pass(1);
    let results = test.read();
    assert_eq!((&results[0]["id"], &results[1]["id"]), (&id.into(), &other.into()));
    test.reply(Purpose::Glance, &inbox(&[listed(1, "hello")]));
    test.reply(Purpose::Quote, &handed_out(&[listed(1, "hello")]));
    assert_eq!(test.errand(), released());
    // It comes with the next one: the broker has said that it may be told.
    test.server.handle_frame(&Frame::Wake, test.now);
    let id = call(&mut test);
    test.asked();
    test.asked();
    test.reply(Purpose::Glance, &inbox(&[listed(1, "hello")]));
    test.reply(Purpose::Quote, &handed_out(&[listed(1, "hello")]));
    assert!(test.result(id).0[1].contains("\"hello\""));
    assert!(matches!(test.errand(), Request::MarkNotified { .. }));
    // Where hooks tell it, and nobody knows, nothing is quoted.
    test.server.handle_frame(&pushed(2, "more"), test.now);
    for answer in
        [Some(json!({"ok": true, "messages": [], "remaining": 0, "deferMs": 9_000})), None]
    {
        let id = call(&mut test);
        test.asked();
        test.asked();
        test.reply(Purpose::Glance, &inbox(&[listed(1, "hello"), listed(2, "more")]));
        match answer {
            Some(answer) => test.reply(Purpose::Quote, &answer),
            None => test.fail(Purpose::Quote, refused(Code::RateLimited)),
        }
        assert_eq!(test.result(id).0[1], "[mesh] 2 unread messages; call mesh_inbox");
        test.pass(9_000);
    }
}

#[test]
fn a_digest_wakes_the_loop_when_it_is_due() {
    let mut test = claude();
    let event = |n: u64| Frame::Event(json!({"eventType": "a.b", "seq": n, "data": n}));
    test.server.handle_frame(&event(1), test.now);
    test.claimed(Way::InboxSocket, &[]);
    assert!(test.telling().1.contains("event a.b"));
    test.outcome(Way::InboxSocket, WayReport::Sent(1));
    test.outcome(Way::InboxSocket, WayReport::Free);
    let due = test.now + WAKE_DIGEST_EVERY;
    test.server.handle_frame(&event(2), test.now);
    test.server.handle_frame(&event(3), test.now);
    test.quiet();
    assert_eq!(test.server.deadline(), Some(due));
    // Nobody spins while messages are being fetched.
    let id = test.call("mesh_inbox", &json!({}));
    let (purpose, _, _) = test.asked();
    assert!(test.server.deadline().unwrap() < due, "that of the call");
    test.reply(purpose, &inbox(&[]));
    test.result(id);
    test.pass(10_000);
    test.claimed(Way::InboxSocket, &[listed(2, "to you")]);
    let told_text = test.telling().1;
    assert!(told_text.contains("1 message and 2 events"), "{told_text}");
}

#[test]
fn what_the_broker_is_told_is_repeated_until_it_knows() {
    let mut test = claude();
    test.told(1, "x");
    let again = |test: &mut Test, error| {
        assert_eq!(test.asked().0, Purpose::Errand);
        test.fail(Purpose::Errand, error);
        test.quiet();
        test.pass(1_000);
    };
    again(&mut test, ClientError::TimedOut { after: RETRY_EVERY });
    assert_eq!(test.asked().1, sent(1));
    // What it refuses is not repeated.
    test.fail(Purpose::Errand, refused(Code::InvalidRequest));
    test.pass(60_000);
    while let Some(command) = test.command() {
        assert!(!matches!(command, Command::Ask(asked) if asked.purpose == Purpose::Errand));
    }
    assert!(test.server.waking_deadline().is_none());
}

#[test]
fn an_answer_by_the_agents_own_messaging_is_a_message() {
    let mut test = claude();
    let answer = |test: &mut Test, text: &str| {
        test.outcome(Way::InboxSocket, WayReport::Answer(text.into()));
    };
    let proof = Request::MarkNotified {
        peer_id: None,
        ids: vec![message_id(1)],
        way: Way::InboxSocket,
        claim_id: None,
    };
    answer(&mut test, "before it was told anything");
    test.quiet();
    test.told(1, "hello");
    test.errand();
    answer(&mut test, "fine");
    assert_eq!(test.errand(), proof);
    let Request::Send(send) = test.errand() else { panic!() };
    assert_eq!((&*send.to_peer, &*send.payload), ("cli", "fine"));
    assert_eq!(send.reply_to, Some(message_id(1).into()));
    assert!(send.id.is_some(), "it may be sent again");
    test.quiet();
    // One that is refused is not repeated: it is the other who is not found. The agent is told, which
    // takes it for sent.
    let refusal = |test: &mut Test| {
        test.outcome(Way::InboxSocket, WayReport::Free);
        test.claimed(Way::InboxSocket, &[]);
        test.telling().1
    };
    answer(&mut test, "x");
    assert_eq!(test.errand(), proof);
    test.asked();
    test.fail(Purpose::Errand, refused(Code::PeerNotFound));
    let said = refusal(&mut test);
    let handle = message_id(1).handle();
    assert!(said.starts_with("slm-mesh: event your_answer_was_not_sent"), "{said}");
    assert!(said.contains(&format!("\\\"answerTo\\\":\\\"{handle}\\\"")), "{said}");
    // Nor is one that is too long cut.
    answer(&mut test, &"é".repeat(PAYLOAD_BYTES_MAX));
    assert_eq!(test.errand(), proof);
    test.outcome(Way::InboxSocket, WayReport::LongAnswer);
    test.pass(10_000);
    let said = refusal(&mut test);
    assert!(said.contains("it has 131072 bytes, a message at most 65536"), "{said}");
    assert!(said.contains("a message has at most 65536 bytes"), "{said}");
}

#[test]
fn without_a_broker_nothing_spins() {
    let mut test = claude();
    test.told(1, "x");
    assert_eq!(test.asked().0, Purpose::Errand);
    test.fetch(&[listed(2, "y")]);
    let lost = || ClientError::Unreachable { reason: "gone".into() };
    while let Some(command) = test.command() {
        if let Command::Ask(asked) = command {
            test.fail(asked.purpose, lost());
        }
    }
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
    test.claimed(Way::InboxSocket, &[listed(1, "x")]);
    test.telling();
    test.outcome(Way::InboxSocket, WayReport::Failed("no".into()));
    assert_eq!(test.introduced(1).reach.as_deref(), Some("next-call"));
    // By the channel instead, which counts for nothing.
    assert_eq!(test.errand(), released());
    test.claimed(Way::Channel, &[listed(1, "x")]);
    let note = test.read().remove(0);
    assert_eq!(note["method"], "notifications/claude/channel");
    assert!(note["params"]["content"].as_str().unwrap().contains("\"x\""), "{note}");
    assert_eq!(test.errand(), released());
    let keys = note["params"]["meta"].as_object().unwrap().keys();
    for key in keys {
        assert!(key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{key}");
    }
    test.server.handle_frame(&Frame::Wake, test.now);
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
    let id = JobId(1);
    test.reply(Purpose::Job(id), &json!({"ok": true, "locks": []}));
    test.reply(Purpose::Glance, &inbox(&[listed(1, "x")]));
    test.reply(Purpose::Quote, &handed_out(&[listed(1, "x")]));
    while test.command().is_some() {}
    // The same again is nothing new, and nonsense is no fault.
    test.call_from(&json!({"threadId": "t-1", "sessionId": "s-1"}));
    test.call_from(&json!({"threadId": 5, "sessionId": [], "progressToken": 1}));
    for _ in 0..2 {
        assert!(matches!(test.asked().1, Request::QueryLocks { .. }));
    }
    test.outcome(Way::Queue, WayReport::Failed("no".into()));
    assert_eq!(test.introduced(1).reach.as_deref(), Some("next-call"));
}

#[test]
fn a_user_who_has_kept_a_message_back_gets_another_after_a_while() {
    let mut test = claude();
    test.told(1, "one");
    test.errand();
    test.outcome(Way::InboxSocket, WayReport::Status(1, SentStatus::Held));
    assert_eq!(test.introduced(1).reach.as_deref(), Some("held"));
    test.errand();
    // What is to be claimed once this has come, if anything is.
    let claims = |test: &mut Test, frame: &Frame| {
        test.server.handle_frame(frame, test.now);
        while let Some(command) = test.command() {
            let Command::Ask(outgoing) = command else { continue };
            match outgoing.purpose {
                Purpose::Register => test.registered(1),
                Purpose::Heartbeat => test.reply(Purpose::Heartbeat, &json!({"unread": 0})),
                Purpose::Claim => return true,
                other => panic!("{other:?}"),
            }
        }
        false
    };
    assert!(!claims(&mut test, &pushed(2, "two")));
    test.now += HELD_RETRY_AFTER;
    let Frame::Message(mut to_all) = pushed(3, "three") else { panic!() };
    to_all.broadcast = true;
    assert!(!claims(&mut test, &Frame::Message(to_all)), "it is not worth a question");
    assert!(!claims(&mut test, &Frame::Wake));
    assert!(claims(&mut test, &pushed(4, "four")));
    // That one is kept back, too.
    let two = [listed(2, "two"), listed(4, "four")];
    test.reply(Purpose::Claim, &handed_out(&two));
    assert!(matches!(test.telling(), (Way::InboxSocket, _)));
    test.outcome(Way::InboxSocket, WayReport::Sent(2));
    test.outcome(Way::InboxSocket, WayReport::Free);
    test.errand();
    test.outcome(Way::InboxSocket, WayReport::Status(2, SentStatus::Held));
    assert_eq!(test.introduced(1).reach.as_deref(), Some("held"));
    test.errand();
    assert!(!claims(&mut test, &pushed(5, "five")));
}

#[test]
fn a_thread_of_codex_that_a_hook_has_told_is_asked_for_when_something_comes() {
    let (mut test, _, _) = of_client("codex-mcp-client", false);
    test.server.handle_frame(&pushed(1, "x"), test.now);
    test.quiet();
    test.pass(1000);
    let beats = |test: &mut Test, session: &str| {
        let (purpose, request, _) = test.asked();
        assert!(matches!(request, Request::Heartbeat { .. }), "{request:?}");
        test.reply(purpose, &json!({"ok": true, "unread": 1, "sessionId": session}));
    };
    // What could be an option of the command is no thread.
    beats(&mut test, "--message");
    test.quiet();
    test.server.handle_frame(&Frame::Wake, test.now);
    test.pass(1000);
    beats(&mut test, "t-1");
    assert!(matches!(test.command(), Some(Command::PrepareQueue(id)) if &*id == "t-1"));
    let register = test.introduced(1);
    assert_eq!(register.reach.as_deref(), Some("wakes"));
    assert_eq!(register.session_id.as_deref(), Some("t-1"));
    // One that has gone on in another thread.
    test.pass(15_000);
    while let Some(command) = test.command() {
        let Command::Ask(outgoing) = command else { continue };
        if outgoing.purpose == Purpose::Heartbeat {
            test.reply(Purpose::Heartbeat, &json!({"ok": true, "unread": 1, "sessionId": "t-2"}));
            break;
        }
    }
    let prepared = std::iter::from_fn(|| test.command())
        .any(|command| matches!(command, Command::PrepareQueue(id) if &*id == "t-2"));
    assert!(prepared);
}

#[test]
fn the_end_tells_what_is_left() {
    let mut test = claude();
    test.told(1, "x");
    test.asked();
    test.server.handle_frame(&pushed(2, "y"), test.now);
    // On its way.
    test.reply(Purpose::Errand, &told());
    test.claimed(Way::InboxSocket, &[listed(2, "y")]);
    test.telling();
    test.server.stop(test.now);
    assert_eq!(test.asked().1, released());
    assert_eq!(test.asked().0, Purpose::Unregister);
}

#[test]
fn a_new_peer_is_not_told_of_what_was_before() {
    let mut test = claude();
    test.server.handle_frame(&pushed(1, "x"), test.now);
    test.claimed(Way::InboxSocket, &[listed(1, "x")]);
    test.telling();
    test.server.handle_frame(&pushed(2, "y"), test.now);
    test.server.presence.handle_unknown(test.now);
    test.server.proceed(test.now);
    test.asked();
    test.fail(Purpose::Register, refused(Code::PeerNotFound));
    test.introduced(2);
    test.outcome(Way::InboxSocket, WayReport::Sent(1));
    test.quiet();
    test.outcome(Way::InboxSocket, WayReport::Free);
    test.claimed(Way::InboxSocket, &[]);
    test.pass(1_000);
    test.quiet();
}
