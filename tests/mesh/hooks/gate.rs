//! The lock gate: an edit is kept from what somebody else has locked, and locks what is free.

use std::os::unix::fs::symlink;

use crate::common::session::{Session, edit, hook, mesh_with_patient_hooks};
use crate::common::{Mesh, wait_until};
use serde_json::{Value, json};
use slm_mesh::api::Request;
use slm_mesh::config::{AUTO_LOCK, RATE_LIMIT};
use slm_mesh::limits::LOCK_FILES_MAX;

use super::*;

#[test]
fn whoever_edits_a_free_file_holds_its_lock() {
    let mesh = mesh_with_patient_hooks();
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
    let mesh = mesh_with_patient_hooks();
    let mut alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let file = path(&mesh, "a.rs");
    let own = alice.lock(&file, Some("moving things"), 60);
    hook(&mesh, "claude-code", &edit("s-1", &file)).is_silent();
    assert_eq!(alice.only_lock(), own);
}

#[test]
fn every_agent_is_kept_from_what_another_has_locked() {
    let mesh = mesh_with_patient_hooks();
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
    let mesh = mesh_with_patient_hooks();
    let _alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let file = path(&mesh, "a.rs");
    mesh.run(&format!("lock acquire {file} --ttl 5")).ok();
    let reason = denied("claude-code", &hook(&mesh, "claude-code", &edit("s-1", &file)));
    assert!(reason.contains("a person at the command line (cli)"), "{reason}");
}

#[test]
fn a_patch_is_one_edit_of_all_its_files() {
    let mesh = mesh_with_patient_hooks();
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
    let mesh = mesh_with_patient_hooks();
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
    let mesh = mesh_with_patient_hooks();
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
    let mesh = mesh_with_patient_hooks();
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
    let mesh = mesh_with_patient_hooks().with(AUTO_LOCK, "0");
    let mut alice = Session::new(&mesh, "alice", Some("s-1"), None);
    let mut bob = Session::new(&mesh, "bob", None, None);
    let file = path(&mesh, "a.rs");
    hook(&mesh, "claude-code", &edit("s-1", &file)).is_silent();
    assert!(alice.locks().is_empty());
    bob.lock(&file, None, 5);
    denied("claude-code", &hook(&mesh, "claude-code", &edit("s-1", &file)));
}
