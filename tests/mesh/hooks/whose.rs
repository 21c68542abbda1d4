//! Which peer a hook acts for.

use crate::common::Mesh;
use crate::common::session::{Session, edit, hook, mesh_with_patient_hooks};
use serde_json::json;
use slm_mesh::api::{ListPeers, PeersReply, Request};
use slm_mesh::config::{HOOK_MS, RATE_LIMIT};

use super::*;

/// A gate that cannot take a lock can still see one.
#[test]
fn a_gate_sees_the_locks_of_others_whoever_it_acts_for() {
    let mesh = mesh_with_patient_hooks();
    let mut bob = Session::new(&mesh, "bob", Some("s-2"), None);
    let (file, free) = (path(&mesh, "a.rs"), path(&mesh, "b.rs"));
    let lock = bob.lock(&file, None, 5);
    let ask = |file: &str| hook(&mesh, "claude-code", &edit("s-1", file));
    // Nobody has this session, and this process is nobody's agent.
    denied("claude-code", &ask(&file));
    ask(&free).is_silent();
    // A session that has left no token, and one whose token is of no use.
    let alice = Session::new(&mesh, "alice", Some("s-1"), None);
    std::fs::write(&alice.token_file, "x".repeat(64)).unwrap();
    denied("claude-code", &ask(&file));
    std::fs::remove_file(&alice.token_file).unwrap();
    denied("claude-code", &ask(&file));
    ask(&free).is_silent();
    assert_eq!(bob.only_lock(), lock);
}

/// A peer whose session nobody knows may be the one that asks.
#[test]
fn what_may_be_its_own_is_not_kept_from_an_agent() {
    let mesh = mesh_with_patient_hooks();
    let mut unsaid = Session::of_type(&mesh, "unsaid", "claude-code", None, None);
    let mut other = Session::of_type(&mesh, "other", "codex", None, None);
    let (file, taken) = (path(&mesh, "a.rs"), path(&mesh, "b.rs"));
    unsaid.lock(&file, None, 5);
    other.lock(&taken, None, 5);
    let told = hook(&mesh, "claude-code", &edit("s-1", &file)).warned();
    assert!(told.contains("locked by \"unsaid\"") && told.contains("mesh_status"), "{told}");
    denied("claude-code", &hook(&mesh, "claude-code", &edit("s-1", &taken)));
}

/// A forked or nested session has the variables of the one above it.
#[test]
fn of_several_with_one_session_the_one_whose_agent_is_above_is_meant() {
    let mesh = mesh_with_patient_hooks();
    let parent = slm_mesh::platform::parent().unwrap();
    let mut near = Session::new(&mesh, "near", Some("s-1"), Some(me()));
    let _far = Session::new(&mesh, "far", Some("s-1"), Some(parent));
    let mut elsewhere = Session::new(&mesh, "elsewhere", Some("s-1"), Some(u32::MAX / 2));
    let file = path(&mesh, "a.rs");
    hook(&mesh, "claude-code", &edit("s-1", &file)).is_silent();
    assert_eq!(near.only_lock().locked_by.to_string(), near.id);
    elsewhere.send("near", "hello");
    let text = injected(&hook(&mesh, "claude-code", &context("PostToolUse")));
    assert!(text.contains("\"hello\""), "{text}");
}

#[test]
fn where_two_could_be_meant_a_hook_does_nothing_and_says_so() {
    let mesh = mesh_with_patient_hooks();
    let mut one = Session::new(&mesh, "one", Some("s-1"), None);
    let mut two = Session::new(&mesh, "two", Some("s-1"), None);
    let mut bob = Session::new(&mesh, "bob", Some("s-2"), None);
    bob.send("one", "for one");
    bob.send("two", "for two");
    let ran = hook(&mesh, "claude-code", &context("PostToolUse"));
    assert_eq!((ran.code, &*ran.out), (Some(0), ""), "{ran:?}");
    assert!(ran.err.contains("WARN") && ran.err.contains("one, two"), "{ran:?}");
    assert_eq!((one.unread(), two.unread()), (vec!["for one".into()], vec!["for two".into()]));

    let file = path(&mesh, "a.rs");
    let ask = || hook(&mesh, "claude-code", &edit("s-1", &file));
    assert!(ask().warned().contains("has locked nothing"));
    assert!(one.locks().is_empty());
    two.lock(&file, None, 5);
    assert!(ask().warned().contains("locked by \"two\""));
    two.unlock(&file);
    bob.lock(&file, None, 5);
    let ran = ask();
    assert_eq!(ran.json()["hookSpecificOutput"]["permissionDecision"], "deny", "{ran:?}");
}

/// An agent begins another session in the same process (`/clear`), or goes back to one (`/resume`).
#[test]
fn a_session_that_begins_is_bound_to_the_peer_of_its_process() {
    let mesh = mesh_with_patient_hooks();
    let mut alice = Session::new(&mesh, "alice", Some("s-1"), Some(me()));
    // Another window has the session that this one goes back to.
    let mut bob = Session::new(&mesh, "bob", Some("s-2"), Some(u32::MAX / 2));
    let mut carol = Session::new(&mesh, "carol", None, None);
    let start = |session: &str, source: &str| {
        let event = "SessionStart";
        json!({"session_id": session, "hook_event_name": event, "source": source})
    };
    for (session, source) in [("s-9", "clear"), ("s-2", "resume")] {
        carol.send("alice", source);
        let text = injected(&hook(&mesh, "claude-code", &start(session, source)));
        assert!(text.contains(source), "{text}");
        let mut client = mesh.client();
        let ask = ListPeers { session_id: Some(session.into()), ..ListPeers::default() };
        let found: PeersReply = client.call(&Request::Peers(ask)).unwrap();
        assert!(found.peers.iter().any(|peer| peer.name == "alice".into()), "{found:?}");
    }
    carol.send("bob", "not for alice");
    hook(&mesh, "claude-code", &json!({"session_id": "s-2", "hook_event_name": "Stop"}))
        .is_silent();
    assert_eq!(bob.unread(), ["not for alice"]);
    assert!(alice.unread().is_empty());
}

#[test]
fn the_session_goes_before_the_process() {
    let mesh = mesh_with_patient_hooks();
    let mut alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let above = Session::new(&mesh, "above", Some("s-2"), Some(me()));
    let file = path(&mesh, "a.rs");
    hook(&mesh, "claude-code", &edit("s-1", &file)).is_silent();
    assert_eq!(alice.only_lock().locked_by.to_string(), alice.id);
    alice.unlock(&file);
    hook(&mesh, "claude-code", &edit("s-3", &file)).is_silent();
    assert_eq!(alice.only_lock().locked_by.to_string(), above.id);
}

#[test]
fn of_several_processes_above_the_nearest_counts() {
    let mesh = mesh_with_patient_hooks();
    let parent = slm_mesh::platform::parent().unwrap();
    let mut near = Session::new(&mesh, "near", None, Some(me()));
    let _far = Session::new(&mesh, "far", None, Some(parent));
    hook(&mesh, "claude-code", &edit("s", &path(&mesh, "a.rs"))).is_silent();
    assert_eq!(near.only_lock().locked_by.to_string(), near.id);
}

#[test]
fn another_agent_above_is_not_the_session() {
    let mesh = mesh_with_patient_hooks();
    let mut outer = Session::of_type(&mesh, "outer", "claude-code", None, Some(me()));
    hook(
        &mesh,
        "codex",
        &json!({
            "hook_event_name": "PreToolUse", "tool_name": "apply_patch",
            "tool_input": {"command": format!("*** Add File: {}\n", path(&mesh, "a.rs"))},
        }),
    )
    .is_silent();
    assert!(outer.locks().is_empty());
}

/// Hooks ask with the key of the command line which peer is theirs. That takes nothing from it.
#[test]
fn hooks_of_busy_agents_keep_nobody_waiting() {
    let mesh = Mesh::new().with(RATE_LIMIT, "10").with(HOOK_MS, "20000");
    mesh.start();
    let _alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let file = path(&mesh, "a.rs");
    for _ in 0..15 {
        hook(&mesh, "claude-code", &edit("s-2", &file)).is_silent();
    }
    mesh.run(&format!("lock acquire {file}")).ok();
    denied("claude-code", &hook(&mesh, "claude-code", &edit("s-1", &file)));
}
