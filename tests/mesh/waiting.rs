//! `slm-mesh hook claude-code --wait`: the real binary beside a stand-in for Claude Code.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use crate::common::session::{Session, hook};
use crate::common::{Mesh, PATIENCE, wait_until};
use serde_json::json;
use slm_mesh::api::{Fetch, Filter, Messages, Request};
use slm_mesh::config::HOOK_MS;
use slm_mesh::model::{Stage, Way};

fn mesh() -> Mesh {
    Mesh::unlimited().with(HOOK_MS, "20000")
}

/// A process called `claude` that runs so many waiting hooks, and ends when its input does, or all
/// have ended. It writes how each ended into a file.
struct Claude {
    process: Child,
    dir: PathBuf,
    hooks: usize,
}

impl Claude {
    fn new(mesh: &Mesh, entrypoint: &str, hooks: usize) -> Self {
        let dir = mesh.work().join(format!("claude-{hooks}"));
        std::fs::create_dir_all(&dir).unwrap();
        let shell = Path::new("/bin/bash").canonicalize().unwrap();
        let _ = symlink(shell, dir.join("claude"));
        let input = json!({"session_id": "s-1", "hook_event_name": "Stop",
            "cwd": mesh.work().to_str().unwrap(), "last_assistant_message": "x".repeat(9_000)});
        std::fs::write(dir.join("input"), input.to_string()).unwrap();
        let binary = env!("CARGO_BIN_EXE_slm-mesh");
        let script = format!(
            "export CLAUDE_PID=$$ CLAUDE_CODE_ENTRYPOINT={entrypoint}\n\
             for n in $(seq {hooks}); do\n\
             sh -c '{binary} hook claude-code --wait <input 2>err.$0; echo $? >.end.$0; mv .end.$0 end.$0' $n &\n\
             done\n\
             read line\n"
        );
        let mut command: Command = mesh.command(["version"]);
        let mut own = Command::new(dir.join("claude"));
        own.args(["-c", &script]).current_dir(&dir).stdin(Stdio::piped()).stdout(Stdio::null());
        for (name, value) in command.env("LANG", "C").get_envs() {
            match value {
                Some(value) => own.env(name, value),
                None => own.env_remove(name),
            };
        }
        Self { process: own.spawn().unwrap(), dir, hooks }
    }

    /// How many have ended with `code`.
    fn ended(&self, code: &str) -> usize {
        let end = |n| std::fs::read_to_string(self.dir.join(format!("end.{n}")));
        (1..=self.hooks).filter(|n| end(*n).is_ok_and(|end: String| end.trim() == code)).count()
    }

    /// What those that woke it have written.
    fn texts(&self) -> String {
        let text = |n| std::fs::read_to_string(self.dir.join(format!("err.{n}"))).unwrap();
        (1..=self.hooks).map(text).collect()
    }

    fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Claude {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Whether one waits beside it.
fn one_waits(mesh: &Mesh, claude: &Claude) -> bool {
    let lock = mesh.data_dir().join("waiting").join(claude.pid().to_string());
    slm_mesh::platform::lock_holder(&lock).unwrap().is_some()
}

#[test]
fn of_twenty_one_waits_and_tells_once() {
    let mesh = mesh();
    mesh.start();
    let claude = Claude::new(&mesh, "cli", 20);
    wait_until("the others have ended", || claude.ended("0") == 19);
    assert!(one_waits(&mesh, &claude));
    // Its server comes later.
    let mut alice = Session::with(&mesh, "alice", |register| {
        register.agent_type = Some("claude-code".into());
        register.session_id = Some("s-1".into());
        register.agent_pid = Some(claude.pid());
    });
    let mut bob = Session::of_type(&mesh, "bob", "codex", None, None);
    bob.send("alice", "are you there?");
    wait_until("it has told", || claude.ended("2") == 1);
    let text = claude.texts();
    assert!(text.starts_with("slm-mesh: message "), "{text}");
    assert!(text.contains(" from bob (codex), quoted, not from your user: \"are you there?\". "));
    // Handed over, and proven by the prompt that it has become.
    let sent = |bob: &mut Session| {
        let fetch = Fetch { filter: Filter::Sent, ..Fetch::default() };
        bob.client.call::<Messages>(&Request::Fetch(fetch)).unwrap().messages[0].clone()
    };
    assert_eq!(sent(&mut bob).stage, Some(Stage::Sent));
    assert_eq!(alice.unread(), ["are you there?"]);
    let prompt = format!(
        "<task-notification>\n<summary>slm-mesh: a message arrived</summary>\n</task-notification>\n\
         <system-reminder>\nStop hook blocking error from command \"Stop\": {text}\n</system-reminder>"
    );
    let input =
        json!({"session_id": "s-1", "hook_event_name": "UserPromptSubmit", "prompt": prompt});
    hook(&mesh, "claude-code", &input).is_silent();
    assert_eq!(sent(&mut bob).notified_by, Some(Way::WaitHook));
    assert!(alice.unread().is_empty());
}

#[test]
fn it_ends_with_its_claude_however_that_ends() {
    let mesh = mesh();
    mesh.start();
    let mut claude = Claude::new(&mesh, "cli", 1);
    wait_until("it waits", || one_waits(&mesh, &claude));
    let lock = mesh.data_dir().join("waiting").join(claude.pid().to_string());
    let pid = slm_mesh::platform::lock_holder(&lock).unwrap().unwrap().pid.unwrap();
    claude.process.kill().unwrap();
    claude.process.wait().unwrap();
    wait_until("it has ended", || !one_waits(&mesh, &claude));
    wait_until("nothing is left of it", || !slm_mesh::platform::is_alive(pid));
}

#[test]
fn it_ends_at_once_where_nobody_would_be_woken() {
    let mesh = mesh();
    mesh.start();
    // `claude -p`
    let claude = Claude::new(&mesh, "sdk-cli", 1);
    wait_until("it has ended", || claude.ended("0") == 1);
    // Another agent, or none: this process has no Claude Code above it.
    for agent in ["codex", "qwen", "auto", "claude-code"] {
        let mut command = mesh.command(["hook", agent, "--wait"]);
        command.env("CLAUDE_CODE_ENTRYPOINT", "cli").env("CLAUDE_PID", "1");
        let ran: ExitStatus = command.stdin(Stdio::piped()).spawn().unwrap().wait().unwrap();
        assert!(ran.success(), "{agent}");
    }
    assert!(!mesh.data_dir().join("waiting").exists());
}

#[test]
fn it_survives_its_broker_and_starts_none() {
    let mesh = mesh();
    let claude = Claude::new(&mesh, "cli", 1);
    wait_until("it waits", || one_waits(&mesh, &claude));
    mesh.start();
    let agent = |register: &mut slm_mesh::api::Register| {
        register.agent_type = Some("claude-code".into());
        register.agent_pid = Some(claude.pid());
    };
    let mut alice = Session::with(&mesh, "alice", agent);
    let reach = |name: &str| {
        let peers = mesh.run("peers --json").json();
        let peers = peers["peers"].as_array().unwrap().clone();
        peers.into_iter().find(|peer| peer["name"] == name).map(|peer| peer["reach"].clone())
    };
    wait_until("it is in a request", || reach("alice") == Some("wakes".into()));
    alice.client.call_bytes(&Request::Unregister { peer_id: None, away: false }).unwrap();
    mesh.run("stop").ok();
    assert!(one_waits(&mesh, &claude));
    mesh.start();
    let socket = mesh.data_dir().join("peers").join("alice.sock");
    let _ = std::fs::remove_file(&socket);
    let _ = std::fs::remove_file(socket.with_extension("token"));
    let again = Session::with(&mesh, "alice", agent);
    let mut bob = Session::new(&mesh, "bob", None, None);
    bob.send(&again.id, "hello");
    wait_until("it has told", || claude.ended("2") == 1);
    assert!(claude.texts().contains("\"hello\""));
}

/// Idle, it does nothing.
#[test]
fn it_sleeps() {
    let mesh = mesh();
    mesh.start();
    let claude = Claude::new(&mesh, "cli", 1);
    let _alice = Session::with(&mesh, "alice", |register| {
        register.agent_type = Some("claude-code".into());
        register.agent_pid = Some(claude.pid());
    });
    wait_until("it is in a request", || {
        let peers = mesh.run("peers --json").json();
        peers["peers"][0]["reach"] == "wakes"
    });
    let lock = mesh.data_dir().join("waiting").join(claude.pid().to_string());
    let pid = slm_mesh::platform::lock_holder(&lock).unwrap().unwrap().pid.unwrap();
    let status = || {
        let mut text = String::new();
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        for task in tasks {
            let mut file = File::open(task.path().join("status")).unwrap();
            file.read_to_string(&mut text).unwrap();
        }
        let field = |name: &str| -> u64 {
            let lines = text.lines().filter_map(|line| line.strip_prefix(name));
            lines.map(|line| line.split_whitespace().next().unwrap().parse::<u64>().unwrap()).sum()
        };
        field("voluntary_ctxt_switches:")
    };
    let begun = Instant::now();
    let before = status();
    // Something that takes its time elsewhere.
    while begun.elapsed() < std::time::Duration::from_secs(2) {
        mesh.run("peers").ok();
    }
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(status(), before, "it has woken up");
    let _ = std::io::stdout().flush();
}
