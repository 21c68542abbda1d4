//! What a hook does when something is wrong: it allows the edit, and keeps nobody waiting.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::session::{Session, edit, hook, mesh_with_patient_hooks};
use crate::common::{Mesh, is_there, send_signal};
use serde_json::json;
use slm_mesh::api::Request;
use slm_mesh::config::{LOG, RATE_LIMIT};

use super::*;

#[test]
fn without_a_broker_nothing_happens() {
    let mesh = Mesh::new();
    for (agent, input) in edits("/tmp/a.rs") {
        hook(&mesh, agent, &input).is_silent();
    }
    hook(&mesh, "claude-code", &json!({"hook_event_name": "SessionStart"})).is_silent();
    assert!(!is_there(mesh.data_dir()), "it has started a broker");
    // One that was killed has left its files.
    mesh.start();
    let _alice = Session::new(&mesh, "alice", Some("s-1"), None);
    mesh.kill_broker();
    hook(&mesh, "claude-code", &edit("s-1", "/tmp/a.rs")).is_silent();
    assert_eq!(mesh.broker_pid(), None);
}

/// Bob has locked a file that alice is to edit, and the broker does not go on: the sessions, the file,
/// and the broker's process.
fn with_a_halted_broker(mesh: &Mesh) -> ([Session; 2], String, u32) {
    mesh.start();
    let mut bob = Session::new(mesh, "bob", None, None);
    let alice = Session::new(mesh, "alice", Some("s-1"), None);
    let file = path(mesh, "a.rs");
    bob.lock(&file, None, 5);
    let pid = mesh.broker_pid().unwrap();
    send_signal(pid, "STOP");
    ([alice, bob], file, pid)
}

#[test]
fn a_broker_that_does_not_answer_is_not_waited_for() {
    let mesh = Mesh::new();
    let (_sessions, file, pid) = with_a_halted_broker(&mesh);
    let begun = Instant::now();
    let told = hook(&mesh, "claude-code", &edit("s-1", &file)).warned();
    assert!(told.contains("could not look") && told.contains("allowed"), "{told}");
    hook(&mesh, "claude-code", &context("PostToolUse")).is_silent();
    // A client of any other kind waits 5 s.
    let took = begun.elapsed();
    send_signal(pid, "CONT");
    assert!(took < slm_mesh::limits::CALL_TIME_MAX, "{took:?}");
}

/// Agents give a hook seconds, and it uses them before an edit.
#[test]
fn a_broker_that_is_slow_is_waited_for_before_an_edit() {
    let mesh = Mesh::new();
    let (_sessions, file, pid) = with_a_halted_broker(&mesh);
    let mut command = mesh.command(["hook", "claude-code"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let input = edit("s-1", &file).to_string();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    // Several times what any other hook has.
    std::thread::sleep(Duration::from_millis(400));
    send_signal(pid, "CONT");
    denied("claude-code", &child.wait_with_output().unwrap().into());
}

#[test]
fn a_gate_never_loses_to_the_limits_of_rates() {
    let mesh = Mesh::new().with(RATE_LIMIT, "10");
    mesh.start();
    let mut alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let mut bob = Session::new(&mesh, "bob", None, None);
    let (file, free) = (path(&mesh, "a.rs"), path(&mesh, "b.rs"));
    bob.lock(&file, None, 5);
    // All that an agent itself may ask for is spent.
    let all = Request::QueryLocks { peer_id: None, path: None };
    while alice.client.call_bytes(&all).is_ok() {}
    for _ in 0..30 {
        denied("claude-code", &hook(&mesh, "claude-code", &edit("s-1", &file)));
        hook(&mesh, "claude-code", &edit("s-1", &free)).is_silent();
    }
    // And hooks spend nothing of it.
    let mut carol = Session::new(&mesh, "carol", Some("s-3"), None);
    for _ in 0..15 {
        hook(&mesh, "claude-code", &edit("s-3", &path(&mesh, "c.rs"))).is_silent();
        let after = json!({"session_id": "s-3", "hook_event_name": "PostToolUse"});
        hook(&mesh, "claude-code", &after).is_silent();
    }
    carol.client.call_bytes(&all).unwrap();
}

#[test]
fn what_is_not_understood_is_allowed() {
    let mesh = mesh_with_patient_hooks();
    let _alice = Session::new(&mesh, "alice", Some("s-1"), Some(me()));
    let deep = vec![b'['; 300_000];
    let inputs: &[&[u8]] = &[
        b"",
        b"\n",
        b"no JSON",
        b"{\"hook_event_name\":\"PreToolUse\"",
        b"{\"hook_event_name\":\"Unheard\"}",
        b"{\"hook_event_name\":\"PreToolUse\",\"tool_name\":\"Unheard\",\"tool_input\":{}}",
        b"\xff\xfe{\x00}\x00",
        &deep,
    ];
    for agent in ["claude-code", "codex", "gemini-cli", "cursor", "windsurf"] {
        for input in inputs {
            mesh.run_with_input(&format!("hook {agent}"), input).is_silent();
        }
    }
    // Nothing to read at all.
    mesh.run("hook claude-code").is_silent();
}

#[test]
fn wrong_settings_stop_no_edit() {
    let mesh = mesh_with_patient_hooks().with("SLM_MESH_PORT", "broken");
    let input = edit("s-1", "/tmp/a.rs");
    let told = hook(&mesh, "claude-code", &input).warned();
    assert!(told.contains("SLM_MESH_PORT is \\\"broken\\\""), "{told}");
    hook(&mesh, "claude-code", &context("PostToolUse")).is_silent();
    let mesh = mesh.with(LOG, "debug");
    let ran = hook(&mesh, "claude-code", &context("PostToolUse"));
    assert_eq!((ran.code, &*ran.out), (Some(0), ""), "{ran:?}");
    assert!(ran.err.contains("SLM_MESH_PORT is \"broken\""), "{ran:?}");
}

/// To Claude Code and Windsurf an exit code of 2 is a no.
#[test]
fn a_wrong_word_is_no_refusal() {
    let mesh = Mesh::new();
    for (line, words) in [
        ("hook", "<agent> is missing"),
        ("hook codx", "did you mean `codex`?"),
        ("hook claude-code more", "unexpected word"),
        ("hook claude-code --fast", "unknown option"),
    ] {
        let err = mesh.run(line).fails(1);
        assert!(err.contains(words), "{line}: {err}");
    }
}
