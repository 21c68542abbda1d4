//! `slm-mesh hook`: the real binary, run as agents run it, against a real broker.

use std::io::{Write, pipe};
use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::agent::Agent;
use crate::common::session::{Session, edit, hook};
use crate::common::{Mesh, PATIENCE, Running, is_there, send_signal, wait_until};
use serde_json::{Value, json};
use slm_mesh::api::{
    Claim, Claimed, Fetch, Filter, ListPeers, MessageInfo, Messages, PeersReply, Request,
};
use slm_mesh::client::{Client, StartPolicy};
use slm_mesh::config::{AUTO_LOCK, HOOK_MS, LOG, RATE_LIMIT};
use slm_mesh::limits::LOCK_FILES_MAX;
use slm_mesh::model::{Moment, SentStatus, Way};
use slm_mesh::tell::{Item, compose};

/// A mesh whose broker runs and whose hooks have time: how fast they are is not tested here.
fn mesh() -> Mesh {
    let mesh = Mesh::new().with(RATE_LIMIT, "0").with(HOOK_MS, "20000");
    mesh.start();
    mesh
}

fn me() -> u32 {
    std::process::id()
}

fn path(mesh: &Mesh, name: &str) -> String {
    mesh.work().join(name).to_str().unwrap().into()
}

/// What each agent writes before it edits `file`, and what it reads as a no.
fn edits(file: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("claude-code", edit("none", file)),
        (
            "codex",
            json!({
                "hook_event_name": "PreToolUse", "session_id": "none", "tool_name": "apply_patch",
                "tool_input": {"command": format!("*** Begin Patch\n*** Update File: {file}\n")},
            }),
        ),
        (
            "qwen-code",
            json!({
                "hook_event_name": "PreToolUse", "tool_name": "write_file",
                "tool_input": {"file_path": file},
            }),
        ),
        (
            "kimi-code",
            json!({
                "hook_event_name": "PreToolUse", "client_type": "kimi_code_cli",
                "tool_name": "Edit", "tool_input": {"path": file},
            }),
        ),
        (
            "copilot-cli",
            json!({"sessionId": "none", "toolName": "edit", "toolArgs": {"path": file}}),
        ),
        (
            "gemini-cli",
            json!({
                "hook_event_name": "BeforeTool", "tool_name": "replace",
                "tool_input": {"file_path": file},
            }),
        ),
        (
            "cursor",
            json!({
                "hook_event_name": "preToolUse", "tool_name": "Write",
                "tool_input": {"file_path": file},
            }),
        ),
        (
            "windsurf",
            json!({"agent_action_name": "pre_write_code", "tool_info": {"file_path": file}}),
        ),
    ]
}

fn denied(agent: &str, ran: &crate::common::Ran) -> String {
    if agent == "windsurf" {
        assert_eq!((ran.code, &*ran.out), (Some(2), ""), "{ran:?}");
        return ran.err.clone();
    }
    assert_eq!((ran.code, &*ran.err), (Some(0), ""), "{agent}: {ran:?}");
    let json = ran.json();
    let (no, reason) = match agent {
        "gemini-cli" => (&json["decision"], &json["reason"]),
        "cursor" => (&json["permission"], &json["agent_message"]),
        "copilot-cli" => (&json["permissionDecision"], &json["permissionDecisionReason"]),
        _ => {
            let output = &json["hookSpecificOutput"];
            (&output["permissionDecision"], &output["permissionDecisionReason"])
        }
    };
    assert_eq!(no, "deny", "{agent}: {ran:?}");
    reason.as_str().unwrap().into()
}

// --- The lock gate -------------------------------------------------------------------------------

#[test]
fn whoever_edits_a_free_file_holds_its_lock() {
    let mesh = mesh();
    let mut alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let file = path(&mesh, "a.rs");
    hook(&mesh, "claude-code", &edit("s-1", &file)).is_silent();
    let taken = alice.only_lock();
    assert_eq!((&*taken.file_path, &taken.locked_by.to_string()), (&*file, &alice.id));
    assert_eq!(taken.expires_at.0 - taken.locked_at.0, 120_000);
    assert_eq!(taken.reason, None);

    // The next edit holds it longer, as the same holding.
    wait_until("some time has passed", || {
        hook(&mesh, "claude-code", &edit("s-1", &file)).is_silent();
        let renewed = alice.only_lock();
        assert_eq!((renewed.fence, renewed.locked_at), (taken.fence, taken.locked_at));
        renewed.expires_at > taken.expires_at
    });
}

#[test]
fn a_lock_that_the_agent_took_itself_stays_as_it_is() {
    let mesh = mesh();
    let mut alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let file = path(&mesh, "a.rs");
    let own = alice.lock(&file, Some("moving things"), 60);
    hook(&mesh, "claude-code", &edit("s-1", &file)).is_silent();
    assert_eq!(alice.only_lock(), own);
}

#[test]
fn every_agent_is_kept_from_what_another_has_locked() {
    let mesh = mesh();
    let mut bob = Session::new(&mesh, "bob", Some("s-2"), None);
    let file = path(&mesh, "a.rs");
    bob.lock(&file, Some("moving \"things\""), 7);
    for (agent, input) in edits(&file) {
        let name = format!("my-{agent}");
        let mut mine = Session::of_type(&mesh, &name, agent, None, Some(me()));
        let reason = denied(agent, &hook(&mesh, agent, &input));
        for part in ["a.rs is locked by bob", "moving \\\"things\\\"", "7 min", "mesh_send"] {
            // What is left of 7 min may be a little less.
            let part = if part == "7 min" && !reason.contains(part) { "6 min" } else { part };
            assert!(reason.contains(part), "{agent}: {reason}");
        }
        bob.unlock(&file);
        hook(&mesh, agent, &input).is_silent();
        assert_eq!(mine.only_lock().locked_by.to_string(), mine.id, "{agent}");
        // With it goes its lock.
        mine.client.call_bytes(&Request::Unregister { peer_id: None, away: false }).unwrap();
        bob.lock(&file, Some("moving \"things\""), 7);
    }
}

#[test]
fn people_and_scripts_hold_locks_too() {
    let mesh = mesh();
    let _alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let file = path(&mesh, "a.rs");
    mesh.run(&format!("lock acquire {file} --ttl 5")).ok();
    let reason = denied("claude-code", &hook(&mesh, "claude-code", &edit("s-1", &file)));
    assert!(reason.contains("a person at the command line (cli)"), "{reason}");
}

#[test]
fn a_patch_is_one_edit_of_all_its_files() {
    let mesh = mesh();
    let mut alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let mut bob = Session::new(&mesh, "bob", None, None);
    let patch = "*** Begin Patch\n*** Update File: sub/a.rs\n*** Move to: link/b.rs\n@@\n-x\n+y\n\
                 *** Add File: ./new.rs\n+z\n*** Delete File: gone.rs\n*** End Patch";
    let input = json!({
        "session_id": "s-1", "cwd": mesh.work(), "hook_event_name": "PreToolUse",
        "tool_name": "apply_patch", "tool_input": {"command": patch},
    });
    std::fs::create_dir(mesh.work().join("sub")).unwrap();
    symlink("sub", mesh.work().join("link")).unwrap();
    for name in ["sub/a.rs", "sub/b.rs", "new.rs", "gone.rs"] {
        let file = path(&mesh, name);
        let lock = bob.lock(&file, None, 5);
        let reason = denied("codex", &hook(&mesh, "codex", &input));
        assert!(reason.starts_with(&format!("{file} is locked by bob")), "{reason}");
        assert_eq!(alice.only_lock(), lock);
        bob.unlock(&file);
    }
    // It is run elsewhere than its agent works.
    hook(&mesh, "codex", &input).is_silent();
    let mut held: Vec<String> = alice.locks().iter().map(|l| l.file_path.to_string()).collect();
    held.sort();
    assert_eq!(held, ["gone.rs", "new.rs", "sub/a.rs", "sub/b.rs"].map(|name| path(&mesh, name)));
}

/// As models write it who have no tool for patches.
#[test]
fn a_patch_in_a_shell_command_is_an_edit() {
    let mesh = mesh();
    let mut alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let mut bob = Session::new(&mesh, "bob", None, None);
    std::fs::create_dir(mesh.work().join("sub")).unwrap();
    let patch = "*** Begin Patch\n*** Update File: a.rs\n@@\n-x\n+y\n*** End Patch";
    let ask = |tool: &str, command: Value| {
        let input = json!({
            "session_id": "s-1", "cwd": mesh.work(), "hook_event_name": "PreToolUse",
            "tool_name": tool, "tool_input": {"command": command},
        });
        hook(&mesh, "codex", &input)
    };
    for (tool, command, name) in [
        ("Bash", json!(format!("apply_patch <<'EOF'\n{patch}\nEOF")), "a.rs"),
        ("Bash", json!(format!("cd sub && apply_patch <<EOF\n{patch}\nEOF\n")), "sub/a.rs"),
        ("shell", json!(["apply_patch", patch]), "a.rs"),
        ("shell", json!(["bash", "-lc", format!("apply_patch <<'X'\n{patch}\nX")]), "a.rs"),
        ("apply_patch", json!(["apply_patch", patch]), "a.rs"),
    ] {
        let file = path(&mesh, name);
        bob.lock(&file, None, 5);
        let reason = denied("codex", &ask(tool, command.clone()));
        assert!(reason.starts_with(&format!("{file} is locked by bob")), "{reason}");
        bob.unlock(&file);
        ask(tool, command).is_silent();
        assert_eq!(alice.only_lock().locked_by.to_string(), alice.id);
        alice.unlock(&file);
    }
    ask("Bash", json!("ls -l")).is_silent();
    let told = ask("Bash", json!("apply_patch < x.patch")).warned();
    assert!(told.contains("could not tell which files"), "{told}");
    assert!(alice.locks().is_empty());
}

#[test]
fn a_large_patch_is_one_request_and_all_or_nothing() {
    let mesh = Mesh::new().with(RATE_LIMIT, "5");
    mesh.start();
    let mut alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let mut bob = Session::new(&mesh, "bob", None, None);
    let patch = |files: usize| {
        let files: Vec<_> = (0..files).map(|n| format!("*** Add File: f{n}.rs\n+x\n")).collect();
        let patch = format!("*** Begin Patch\n{}*** End Patch", files.concat());
        json!({
            "session_id": "s-1", "cwd": mesh.work(), "hook_event_name": "PreToolUse",
            "tool_name": "apply_patch", "tool_input": {"command": patch},
        })
    };
    // More than one request takes: those beyond are looked at.
    for (files, locked, held) in [(200, 199, 200), (300, 299, LOCK_FILES_MAX)] {
        let last = path(&mesh, &format!("f{locked}.rs"));
        bob.lock(&last, None, 5);
        let reason = denied("codex", &hook(&mesh, "codex", &patch(files)));
        assert!(reason.starts_with(&format!("{last} is locked by bob")), "{reason}");
        bob.unlock(&last);
        hook(&mesh, "codex", &patch(files)).is_silent();
        let row = alice.row();
        assert_eq!(row.locks, held as u64);
    }
}

/// Two subagents of one session are one peer: neither is kept from anything, and the second is told.
#[test]
fn a_subagent_is_told_that_another_is_at_the_file() {
    let mesh = mesh();
    let _alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let (file, other) = (path(&mesh, "a.rs"), path(&mesh, "b.rs"));
    let ask = |agent: &str, subagent: Option<&str>, file: &str| {
        let mut input = edit("s-1", file);
        input["agent_id"] = json!(subagent);
        hook(&mesh, agent, &input)
    };
    for agent in ["claude-code", "codex"] {
        ask(agent, Some("x1"), &file).is_silent();
        ask(agent, Some("x1"), &file).is_silent();
        ask(agent, Some("x2"), &other).is_silent();
        // The session's own agent gives no id.
        ask(agent, None, &file).is_silent();
        let told = ask(agent, Some("x2"), &file).warned();
        assert!(told.contains("(\"x1\") began to edit") && told.contains("a.rs"), "{told}");
        assert!(ask(agent, Some("x1"), &file).warned().contains("\"x2\""));
        mesh.kill_broker();
        mesh.start();
    }
}

/// Codex starts a server for each subagent, by whose tools it may lock for itself.
#[test]
fn a_subagent_that_is_a_peer_itself_edits_what_it_or_its_session_has_locked() {
    let mesh = mesh();
    let mut alice = Session::of_type(&mesh, "alice", "codex", Some("s-1"), None);
    let mut sub = Session::of_type(&mesh, "sub", "codex", Some("x1"), None);
    let ask = |subagent: Option<&str>, session: &str, file: &str| {
        let mut input = edit(session, file);
        input["agent_id"] = json!(subagent);
        hook(&mesh, "codex", &input)
    };
    let (of_alice, of_sub) = (path(&mesh, "a.rs"), path(&mesh, "b.rs"));
    alice.lock(&of_alice, None, 5);
    sub.lock(&of_sub, None, 5);
    for file in [&of_alice, &of_sub] {
        ask(Some("x1"), "s-1", file).is_silent();
    }
    ask(None, "s-1", &of_alice).is_silent();
    for other in [None, Some("x2")] {
        let reason = denied("codex", &ask(other, "s-1", &of_sub));
        assert!(reason.contains("locked by sub"), "{reason}");
    }
    // What it edits is locked for its session, or for itself if that is not known.
    let (one, two) = (path(&mesh, "c.rs"), path(&mesh, "d.rs"));
    ask(Some("x1"), "s-1", &one).is_silent();
    ask(Some("x1"), "unknown", &two).is_silent();
    for lock in alice.locks() {
        let is_alices = [&*of_alice, &*one].contains(&&*lock.file_path);
        assert_eq!(&*lock.locked_by_name, if is_alices { "alice" } else { "sub" });
    }
    assert_eq!(alice.locks().len(), 4);
    // A patch of both, and of what somebody else has locked.
    let ask = |files: [&str; 2]| {
        let files = files.map(|file| format!("*** Add File: {file}\n+x\n")).concat();
        let input = json!({
            "session_id": "s-1", "agent_id": "x1", "cwd": mesh.work(),
            "hook_event_name": "PreToolUse", "tool_name": "apply_patch",
            "tool_input": {"command": format!("*** Begin Patch\n{files}*** End Patch")},
        });
        hook(&mesh, "codex", &input)
    };
    ask([&of_alice, &of_sub]).is_silent();
    let mut bob = Session::new(&mesh, "bob", None, None);
    let of_bob = path(&mesh, "e.rs");
    bob.lock(&of_bob, None, 5);
    let reason = denied("codex", &ask([&of_sub, &of_bob]));
    assert!(reason.contains("locked by bob"), "{reason}");
}

#[test]
fn locks_are_taken_only_if_that_is_wanted() {
    let mesh = mesh().with(AUTO_LOCK, "0");
    let mut alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let mut bob = Session::new(&mesh, "bob", None, None);
    let file = path(&mesh, "a.rs");
    hook(&mesh, "claude-code", &edit("s-1", &file)).is_silent();
    assert!(alice.locks().is_empty());
    bob.lock(&file, None, 5);
    denied("claude-code", &hook(&mesh, "claude-code", &edit("s-1", &file)));
}

// --- Who it acts for -----------------------------------------------------------------------------

/// A gate that cannot take a lock can still see one.
#[test]
fn a_gate_sees_the_locks_of_others_whoever_it_acts_for() {
    let mesh = mesh();
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
    let mesh = mesh();
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
    let mesh = mesh();
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
    let mesh = mesh();
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
    let mesh = mesh();
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
    let mesh = mesh();
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
    let mesh = mesh();
    let parent = slm_mesh::platform::parent().unwrap();
    let mut near = Session::new(&mesh, "near", None, Some(me()));
    let _far = Session::new(&mesh, "far", None, Some(parent));
    hook(&mesh, "claude-code", &edit("s", &path(&mesh, "a.rs"))).is_silent();
    assert_eq!(near.only_lock().locked_by.to_string(), near.id);
}

#[test]
fn another_agent_above_is_not_the_session() {
    let mesh = mesh();
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

// --- Out of the way ------------------------------------------------------------------------------

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

#[test]
fn a_broker_that_does_not_answer_is_not_waited_for() {
    let mesh = Mesh::new();
    mesh.start();
    let mut bob = Session::new(&mesh, "bob", None, None);
    let _alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let file = path(&mesh, "a.rs");
    bob.lock(&file, None, 5);
    let pid = mesh.broker_pid().unwrap();
    send_signal(pid, "STOP");
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
    mesh.start();
    let mut bob = Session::new(&mesh, "bob", None, None);
    let _alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let file = path(&mesh, "a.rs");
    bob.lock(&file, None, 5);
    let pid = mesh.broker_pid().unwrap();
    send_signal(pid, "STOP");
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
    let mesh = mesh();
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
    let mesh = mesh().with("SLM_MESH_PORT", "broken");
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

// --- Messages ------------------------------------------------------------------------------------

fn context(event: &str) -> Value {
    json!({"session_id": "s-1", "hook_event_name": event, "tool_name": "Bash", "tool_input": {}})
}

/// What the text of one message quotes, if it has the form of all texts.
#[track_caller]
fn quoted(text: &str) -> &str {
    let rest = text.strip_prefix("slm-mesh: ").unwrap_or_else(|| panic!("{text}"));
    let (_, rest) = rest.split_once(": ").unwrap_or_else(|| panic!("{text}"));
    let (quotation, answer) = rest.split_once(". Answer with mesh_send (to ").unwrap();
    assert!(answer.ends_with("\")."), "{text}");
    quotation
}

fn injected(ran: &crate::common::Ran) -> String {
    assert_eq!((ran.code, &*ran.err), (Some(0), ""), "{ran:?}");
    ran.json()["hookSpecificOutput"]["additionalContext"].as_str().unwrap().into()
}

#[test]
fn a_message_is_put_into_the_context_once() {
    let mesh = mesh();
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
    let mesh = mesh();
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
    let mesh = mesh();
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
    let mesh = mesh();
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
    let mesh = mesh();
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
    let mesh = mesh();
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
    let mesh = mesh();
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
    let mesh = mesh().with(HOOK_MS, "60000");
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
    let mesh = mesh();
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
    let mesh = mesh();
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
    let mesh = mesh();
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
