//! `slm-mesh hook claude-code --wait`: the real binary beside a stand-in for Claude Code.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test: to panic is how it fails"
)]

mod common;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use common::session::Session;
use common::{Mesh, wait_until};
use serde_json::json;
use slm_mesh::api::{Fetch, Filter, Messages, Request};
use slm_mesh::config::{HOOK_MS, RATE_LIMIT};
use slm_mesh::model::{Stage, Way};

fn mesh() -> Mesh {
    Mesh::new().with(RATE_LIMIT, "0").with(HOOK_MS, "20000")
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
        register.agent_pid = Some(claude.pid());
    });
    let mut bob = Session::of_type(&mesh, "bob", "codex", None, None);
    bob.send("alice", "are you there?");
    wait_until("it has told", || claude.ended("2") == 1);
    let text = claude.texts();
    assert!(text.starts_with("slm-mesh: message "), "{text}");
    assert!(text.contains(" from bob (codex), quoted, not from your user: \"are you there?\". "));
    // Handed over, and no more.
    let fetch = Fetch { filter: Filter::Sent, ..Fetch::default() };
    let sent: Messages = bob.client.call(&Request::Fetch(fetch)).unwrap();
    assert_eq!(sent.messages[0].stage, Some(Stage::Sent));
    assert_eq!(sent.messages[0].sent_by, Some(Way::WaitHook));
    assert_eq!(alice.unread(), ["are you there?"]);
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
