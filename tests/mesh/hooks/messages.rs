//! Messages that a hook puts into the context of its agent.

use std::io::{Write, pipe};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::agent::Agent;
use crate::common::session::{Session, edit, hook, mesh_with_patient_hooks};
use crate::common::{Mesh, PATIENCE, Running, send_signal, wait_until};
use serde_json::{Value, json};
use slm_mesh::api::{Claim, Claimed, Fetch, Filter, MessageInfo, Messages, Request};
use slm_mesh::client::{Client, StartPolicy};
use slm_mesh::config::HOOK_MS;
use slm_mesh::model::{Moment, SentStatus, Way};
use slm_mesh::tell::{Item, compose};

use super::*;

#[test]
fn a_message_is_put_into_the_context_once() {
    let mesh = mesh_with_patient_hooks();
    let mut alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let mut bob = Session::of_type(&mesh, "bob", "codex", None, None);
    hook(&mesh, "claude-code", &context("SessionStart")).is_silent();
    for event in ["SessionStart", "UserPromptSubmit", "PostToolUse"] {
        bob.send("alice", "the \"API\"\nis ready");
        let text = injected(&hook(&mesh, "claude-code", &context(event)));
        assert!(text.contains(" from bob (codex), quoted, not from your user: "), "{text}");
        assert_eq!(quoted(&text), r#""the \"API\"\nis ready""#);
        assert!(alice.unread().is_empty());
        hook(&mesh, "claude-code", &context(event)).is_silent();
    }
    // The sender knows how.
    let sent = sent_by(&mut bob);
    for message in sent {
        assert_eq!(message.notified_by, Some(Way::Hook), "{message:?}");
        assert!(message.read_at.is_some() && message.notified_at.is_some());
    }
    assert_eq!(&*alice.row().reach, "next-turn");
}

/// What it has sent.
fn sent_by(session: &mut Session) -> Vec<MessageInfo> {
    let fetch = Fetch { filter: Filter::Sent, ..Fetch::default() };
    let reply: Messages = session.client.call(&Request::Fetch(fetch)).unwrap();
    reply.messages
}

#[test]
fn what_does_not_fit_stays_unread() {
    let mesh = mesh_with_patient_hooks();
    let mut alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let mut bob = Session::new(&mesh, "bob", None, None);
    for n in 0..6 {
        bob.send("alice", &format!("{n}{}", "x".repeat(1200)));
    }
    let text = injected(&hook(&mesh, "claude-code", &context("PostToolUse")));
    assert!(
        text.chars().count() <= 4000 && text.ends_with("\n- and 3 more by mesh_inbox"),
        "{text}"
    );
    let left: Vec<String> = alice.unread().iter().map(|text| text[..1].into()).collect();
    assert_eq!(left, ["3", "4", "5"]);
    // They were given back, and come with the next.
    let text = injected(&hook(&mesh, "claude-code", &context("PostToolUse")));
    assert!(text.contains(": \"3x") && text.contains(": \"5x"), "{text}");
    assert!(alice.unread().is_empty());
}

#[test]
fn a_message_that_never_fits_is_told_of_once_and_stays_unread() {
    let mesh = mesh_with_patient_hooks();
    let mut alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let mut bob = Session::new(&mesh, "bob", None, None);
    let long = "y".repeat(60_000);
    bob.send("alice", &long);
    let text = injected(&hook(&mesh, "claude-code", &context("PostToolUse")));
    assert!(text.contains("yyy…\" (the rest by mesh_inbox). Answer with"), "{text}");
    assert_eq!(alice.unread(), std::slice::from_ref(&long));
    assert!(sent_by(&mut bob)[0].notified_at.is_some());
    // Another one comes through, and this one is not told again.
    bob.send("alice", "short");
    let text = injected(&hook(&mesh, "claude-code", &context("PostToolUse")));
    assert_eq!(quoted(&text), "\"short\"");
    hook(&mesh, "claude-code", &context("PostToolUse")).is_silent();
    assert_eq!(alice.unread(), [long]);
}

#[test]
fn a_message_for_it_keeps_an_agent_from_stopping_once() {
    let mesh = mesh_with_patient_hooks();
    let mut alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let mut bob = Session::new(&mesh, "bob", None, None);
    let stop = json!({"session_id": "s-1", "hook_event_name": "Stop", "stop_hook_active": false});
    hook(&mesh, "claude-code", &stop).is_silent();
    bob.send("alice", "wait");
    let again = json!({"session_id": "s-1", "hook_event_name": "Stop", "stop_hook_active": true});
    hook(&mesh, "claude-code", &again).is_silent();
    let answer = hook(&mesh, "claude-code", &stop);
    assert_eq!((answer.code, &*answer.out), (Some(2), ""), "{answer:?}");
    assert_eq!(quoted(answer.err.trim_end()), "\"wait\"");
    hook(&mesh, "claude-code", &stop).is_silent();
    assert!(alice.unread().is_empty());
    // What is for all keeps nobody, and is not lost.
    bob.send("all", "lunch");
    hook(&mesh, "claude-code", &stop).is_silent();
    assert_eq!(alice.unread(), ["lunch"]);
}

#[test]
fn an_answer_that_nobody_reads_marks_nothing() {
    let mesh = mesh_with_patient_hooks();
    let mut alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let mut bob = Session::new(&mesh, "bob", None, None);
    bob.send("alice", "hello");
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let mut command = mesh.command(["hook", "claude-code"]);
    let mut child = command.stdin(Stdio::piped()).stdout(writer).spawn().unwrap();
    let input = context("PostToolUse").to_string();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(alice.unread(), ["hello"]);
}

/// A broker that is slow hears it after its time was over.
#[test]
fn who_is_in_a_turn_is_busy() {
    let mesh = mesh_with_patient_hooks();
    let _session = Session::new(&mesh, "ann", Some("s"), None);
    let busy = |mesh: &Mesh| mesh.run("peers ann --json").json()["peer"]["busy"].clone();
    assert_eq!(busy(&mesh), Value::Null, "no hook has told");
    let tell = |event: &str| {
        let input = json!({"hook_event_name": event, "session_id": "s", "cwd": mesh.work()});
        hook(&mesh, "claude-code", &input);
    };
    // A turn of which nothing is heard for a while counts as over.
    wait_until("a turn", || {
        tell("UserPromptSubmit");
        busy(&mesh) == json!(true)
    });
    wait_until("the turn is shown", || {
        tell("UserPromptSubmit");
        mesh.run("peers ann").ok().contains("active, in a turn")
    });
    tell("Stop");
    assert_eq!(busy(&mesh), json!(false));
    assert!(mesh.run("peers ann").ok().contains("active, idle"));
}

#[test]
fn a_hook_that_has_given_up_is_given_nothing() {
    let mesh = mesh_with_patient_hooks();
    let mut alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let mut bob = Session::new(&mesh, "bob", None, None);
    bob.send("alice", "hello");
    let mut hook = Client::open(&mesh.config(), StartPolicy::Never).unwrap();
    hook.use_token(&std::fs::read_to_string(&alice.token_file).unwrap());
    let claim = Request::Claim(Claim { moment: Some(Moment::Tool), ..Claim::new(Way::Hook) });
    let pid = mesh.broker_pid().unwrap();
    send_signal(pid, "STOP");
    hook.set_deadline(Instant::now() + Duration::from_millis(50));
    hook.call_bytes(&claim).unwrap_err();
    drop(hook);
    send_signal(pid, "CONT");
    wait_until("it was heard", || &*alice.row().reach == "next-turn");
    let claimed: Claimed = alice.client.call(&claim).unwrap();
    assert_eq!(claimed.messages.len(), 1, "{claimed:?}");
}

#[test]
fn the_messages_of_a_hook_that_dies_before_it_wrote_come_again() {
    let mesh = mesh_with_patient_hooks().with(HOOK_MS, "60000");
    let mut alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let mut bob = Session::new(&mesh, "bob", None, None);
    bob.send("alice", "hello");
    // A pipe that is full: the hook gets as far as to its answer.
    let (reader, mut writer) = pipe().unwrap();
    while slm_mesh::platform::poll_writable(&writer, Some(std::time::Duration::ZERO)).unwrap() {
        writer.write_all(&[b' '; 512]).unwrap();
    }
    let mut command = mesh.command(["hook", "claude-code"]);
    let child = command.stdin(Stdio::piped()).stdout(writer).spawn().unwrap();
    let mut child = Running(child);
    let input = context("PostToolUse").to_string();
    child.0.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    wait_until("it has claimed", || &*alice.row().reach == "next-turn");
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    drop(reader);
    assert_eq!(alice.unread(), ["hello"]);
    let begun = Instant::now();
    let mut text = String::new();
    while text.is_empty() {
        assert!(begun.elapsed() < PATIENCE);
        let ran = hook(&mesh, "claude-code", &context("PostToolUse"));
        if !ran.out.is_empty() {
            text = injected(&ran);
        }
    }
    assert!(text.contains("\"hello\""), "{text}");
    assert!(alice.unread().is_empty());
}

#[test]
fn each_agent_gets_messages_in_its_form() {
    let mesh = mesh_with_patient_hooks();
    let mut bob = Session::new(&mesh, "bob", None, None);
    let context = "/hookSpecificOutput/additionalContext";
    let events = [
        ("codex", json!({"hook_event_name": "PostToolUse"}), context),
        ("qwen-code", json!({"hook_event_name": "UserPromptSubmit", "prompt": "x"}), context),
        ("gemini-cli", json!({"hook_event_name": "BeforeAgent", "prompt": "x"}), context),
        ("gemini-cli", json!({"hook_event_name": "AfterAgent"}), "/reason"),
        (
            "cursor",
            json!({"hook_event_name": "postToolUse", "tool_name": "x"}),
            "/additional_context",
        ),
        ("cursor", json!({"hook_event_name": "stop"}), "/followup_message"),
        ("copilot-cli", json!({"prompt": "x"}), "/additionalContext"),
        ("copilot-cli", json!({"stopReason": "end_turn"}), "/reason"),
    ];
    for (n, (agent, mut input, pointer)) in events.into_iter().enumerate() {
        let id = if agent == "copilot-cli" { "sessionId" } else { "session_id" };
        let name = format!("{agent}-{n}");
        input[id] = name.clone().into();
        let _mine = Session::of_type(&mesh, &name, agent, Some(&name), None);
        bob.send(&name, "hello");
        let answer = hook(&mesh, agent, &input).json();
        let text = answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        assert_eq!(quoted(text), "\"hello\"", "{agent}: {answer}");
        // Whoever calls is known by the form, if by nothing else.
        bob.send(&name, "more");
        if matches!(agent, "copilot-cli" | "gemini-cli" | "cursor") {
            assert_eq!(hook(&mesh, "auto", &input).json()["decision"], answer["decision"]);
        }
    }
    let _kimi = Session::of_type(&mesh, "kimi", "kimi-code", Some("k"), None);
    for (event, code) in [("UserPromptSubmit", 0), ("Stop", 2)] {
        bob.send("kimi", "hello");
        let prompt = json!([{"type": "text", "text": "x"}]);
        let input = json!({"session_id": "k", "client_type": "kimi_code_cli",
            "hook_event_name": event, "prompt": prompt});
        let ran = hook(&mesh, "auto", &input);
        assert_eq!(ran.code, Some(code));
        let text = if code == 0 { &ran.out } else { &ran.err };
        assert_eq!(quoted(text.trim_end()), "\"hello\"");
    }
}

/// What a prompt of the agent's own making tells is not told again, and its being there is proof.
#[test]
fn a_prompt_that_is_the_message_is_its_proof() {
    let mesh = mesh_with_patient_hooks();
    let mut alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let mut bob = Session::of_type(&mesh, "bob", "codex", None, None);
    bob.send("alice", "hello");
    let claim = Request::Claim(Claim::new(Way::Queue));
    let claimed: Claimed = alice.client.call(&claim).unwrap();
    let items: Vec<Item> = claimed.messages.iter().map(Item::message).collect();
    let text = compose(&items, 0).text;
    let sent = Request::MarkSent {
        peer_id: None,
        ids: vec![claimed.messages[0].id],
        way: Way::Queue,
        status: SentStatus::Sent,
        whole: true,
        claim_id: claimed.claim_id,
    };
    alice.client.call_bytes(&sent).unwrap();
    assert_eq!(alice.unread(), ["hello"]);
    let mut input = context("UserPromptSubmit");
    input["prompt"] = format!("What about this? {text}").into();
    hook(&mesh, "claude-code", &input).is_silent();
    assert_eq!(alice.unread(), ["hello"]);
    input["prompt"] = text.into();
    hook(&mesh, "claude-code", &input).is_silent();
    assert!(alice.unread().is_empty());
    let sent = &sent_by(&mut bob)[0];
    assert_eq!(sent.notified_by, Some(Way::Queue), "{sent:?}");
    assert!(sent.read_at.is_some(), "{sent:?}");
}

// --- With the real MCP server --------------------------------------------------------------------

/// Nothing but the binary: its MCP server, its hook, its command line.
#[test]
fn the_hook_of_a_real_session_acts_for_it() {
    let mesh = mesh_with_patient_hooks();
    // Agent and hook have the same parent, this process.
    let mut agent = Agent::new(&mesh);
    let (id, name) = agent.who();
    let tokens = || {
        let entries = std::fs::read_dir(mesh.data_dir().join("peers")).unwrap().flatten();
        entries.filter(|entry| entry.path().extension().is_some_and(|it| it == "token")).count()
    };
    wait_until("the session has left its token", || tokens() == 1);
    mesh.run(&format!("send {name} hello")).ok();
    let text = injected(&hook(&mesh, "claude-code", &context("PostToolUse")));
    let head = " from this machine's command line (usually your user, unproven): \"hello\".";
    assert!(text.contains(head), "{text}");
    hook(&mesh, "claude-code", &context("PostToolUse")).is_silent();
    assert_eq!(agent.tool("mesh_inbox", &json!({})).ok()["messages"], json!([]));

    let file = path(&mesh, "a.rs");
    hook(&mesh, "claude-code", &edit("s-1", &file)).is_silent();
    let locks = mesh.run("lock list --json").json();
    assert_eq!(locks["locks"][0]["lockedBy"], Value::from(id));
    mesh.run(&format!("lock release --force {file}")).ok();
    mesh.run(&format!("lock acquire {file}")).ok();
    denied("claude-code", &hook(&mesh, "claude-code", &edit("s-1", &file)));

    // With the session goes its token.
    agent.end();
    assert_eq!(tokens(), 0);
    hook(&mesh, "claude-code", &context("PostToolUse")).is_silent();
}
