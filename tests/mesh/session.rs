//! `slm-mesh session`: the real binary, with a plugin that is played on its pipes.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::agent::Agent;
use crate::common::session::Session;
use crate::common::{Mesh, PATIENCE, Running, wait_until};
use serde_json::{Value, json};
use slm_mesh::api::{ListPeers, PeersReply, Request};

const AGENT: &str = "test-agent";

fn mesh() -> Mesh {
    let mesh = Mesh::unlimited();
    mesh.start();
    mesh
}

/// The peer of the agent that this process plays, as is its plugin.
fn alice(mesh: &Mesh) -> Session {
    Session::of_type(mesh, "alice", AGENT, None, Some(std::process::id()))
}

/// The plugin of this process.
struct Plugin(Agent);

impl Plugin {
    fn new(mesh: &Mesh) -> Self {
        let mut command = mesh.command(["session", "--agent", AGENT]);
        Self(Agent::of(command.stdin(Stdio::piped()).spawn().unwrap()))
    }

    /// One whose agent has begun a session.
    fn bound(mesh: &Mesh) -> Self {
        let mut plugin = Self::new(mesh);
        plugin.say(&json!({"session": "s-1"}));
        let mut client = mesh.client();
        let named = ListPeers { session_id: Some("s-1".into()), ..ListPeers::default() };
        let named = Request::Peers(named);
        let is_known = |reply: PeersReply| !reply.peers.is_empty();
        wait_until("it has found its peer", || client.call(&named).is_ok_and(is_known));
        plugin
    }

    fn say(&mut self, line: &Value) {
        self.0.send(line);
    }

    #[track_caller]
    fn line(&self) -> Value {
        self.0.line(PATIENCE).unwrap_or_else(|| panic!("nothing comes"))
    }

    /// The id and the text of what is to be told.
    #[track_caller]
    fn tell(&self) -> (String, String) {
        let line = self.line();
        let text = |field: &str| line["tell"][field].as_str().unwrap_or_else(|| panic!("{line}"));
        (text("id").to_owned(), text("text").to_owned())
    }

    /// Whether what was said before has been dealt with: an edit of nothing is answered.
    #[track_caller]
    fn is_quiet(&mut self) {
        self.say(&json!({"edit": {"id": 99}}));
        assert_eq!(self.line(), json!({"allow": {"id": 99, "allow": true}}));
    }
}

/// How far the messages of `from` have come, oldest first.
fn stages(mesh: &Mesh, from: &str) -> Vec<String> {
    let sent = mesh.run(&format!("inbox --sent --json --peer {from}")).json();
    let list = sent["messages"].as_array().unwrap_or_else(|| panic!("{sent}"));
    let mut stages: Vec<(u64, String)> = (list.iter())
        .map(|it| (it["seq"].as_u64().unwrap(), it["stage"].as_str().unwrap().to_owned()))
        .collect();
    stages.sort();
    stages.into_iter().map(|(_, stage)| stage).collect()
}

#[track_caller]
fn wait_for_stages(mesh: &Mesh, from: &str, expected: &[&str]) {
    wait_until("the stages are as expected", || stages(mesh, from) == expected);
}

// --- Messages ------------------------------------------------------------------------------------

#[test]
fn a_message_is_told_once_and_its_prompt_is_the_proof() {
    let mesh = mesh();
    let (alice, mut bob) = (alice(&mesh), Session::new(&mesh, "bob", None, None));
    let mut plugin = Plugin::bound(&mesh);
    bob.send("alice", "the schema is v3");
    let (id, text) = plugin.tell();
    assert!(text.starts_with("slm-mesh: message ") && text.contains("\"the schema is v3\""));
    plugin.say(&json!({"told": id}));
    wait_for_stages(&mesh, "bob", &["sent"]);

    plugin.say(&json!({"prompt": text}));
    wait_for_stages(&mesh, "bob", &["read"]);
    // A second word about it is none.
    plugin.say(&json!({"told": id}));
    plugin.say(&json!({"turn": "end"}));
    bob.send("alice", "and the port is 8080");
    let (id, text) = plugin.tell();
    assert!(text.contains("8080") && !text.contains("v3"), "{text}");
    plugin.say(&json!({"told": id}));
    wait_for_stages(&mesh, "bob", &["read", "sent"]);
    drop(alice);
}

#[test]
fn a_prompt_that_is_there_before_the_word_about_it_counts() {
    let mesh = mesh();
    let (_alice, mut bob) = (alice(&mesh), Session::new(&mesh, "bob", None, None));
    let mut plugin = Plugin::bound(&mesh);
    bob.send("alice", "now");
    let (id, text) = plugin.tell();
    plugin.say(&json!({"prompt": text}));
    plugin.say(&json!({"told": id}));
    wait_for_stages(&mesh, "bob", &["read"]);
    plugin.is_quiet();
}

#[test]
fn what_the_agent_did_not_take_is_told_again() {
    let mesh = mesh();
    let (_alice, mut bob) = (alice(&mesh), Session::new(&mesh, "bob", None, None));
    let mut plugin = Plugin::bound(&mesh);
    bob.send("alice", "hello");
    let (first, text) = plugin.tell();
    plugin.say(&json!({"failed": first, "reason": "the session is gone"}));
    let (second, again) = plugin.tell();
    assert_eq!((text, first == second), (again, false));
    plugin.say(&json!({"told": second}));
    wait_for_stages(&mesh, "bob", &["sent"]);
}

#[test]
fn in_a_turn_a_tools_result_carries_it() {
    let mesh = mesh();
    let (_alice, mut bob) = (alice(&mesh), Session::new(&mesh, "bob", None, None));
    let mut plugin = Plugin::bound(&mesh);
    plugin.say(&json!({"prompt": "work"}));
    plugin.say(&json!({"turn": "tool"}));
    plugin.say(&json!({"context": 0}));
    assert_eq!(plugin.line(), json!({"context": {"id": 0}}));
    bob.send("alice", "stop, please");
    plugin.say(&json!({"context": 1}));
    let line = plugin.line();
    assert_eq!(line["context"]["id"], 1, "{line}");
    assert!(line["context"]["text"].as_str().unwrap().contains("\"stop, please\""), "{line}");
    plugin.say(&json!({"told": line["context"]["tell"]}));
    wait_for_stages(&mesh, "bob", &["read"]);
    plugin.say(&json!({"turn": "end"}));
    plugin.is_quiet();
}

#[test]
fn a_message_waits_for_the_session_and_the_session_for_the_server_and_the_broker() {
    let mesh = Mesh::unlimited();
    // The data directory is there, and no broker.
    mesh.start();
    mesh.run("stop").ok();
    let mut plugin = Plugin::new(&mesh);
    plugin.is_quiet();
    mesh.start();
    let mut bob = Session::new(&mesh, "bob", None, None);
    let alice = alice(&mesh);
    bob.send("alice", "early");
    plugin.is_quiet();
    assert_eq!(stages(&mesh, "bob").len(), 1);
    plugin.say(&json!({"session": "s-1"}));
    let (id, text) = plugin.tell();
    assert!(text.contains("early"));
    plugin.say(&json!({"told": id}));
    wait_for_stages(&mesh, "bob", &["sent"]);
    drop(alice);
}

#[test]
fn a_broker_that_comes_back_finds_it_waiting() {
    let mesh = mesh();
    let mut alice = Agent::new(&mesh);
    let (_, name) = alice.who();
    let mut bob = Session::new(&mesh, "bob", None, None);
    let mut plugin = Plugin::bound(&mesh);
    bob.send(&name, "before");
    let (id, _) = plugin.tell();
    mesh.kill_broker();
    // This word cannot be passed on now.
    plugin.say(&json!({"told": id}));
    mesh.start();
    wait_for_stages(&mesh, "bob", &["sent"]);
    bob.send(&name, "after");
    let (id, text) = plugin.tell();
    assert!(text.contains("after") && !text.contains("before"), "{text}");
    plugin.say(&json!({"told": id}));
    wait_for_stages(&mesh, "bob", &["sent", "sent"]);
}

// --- Edits ---------------------------------------------------------------------------------------

#[test]
fn edits_are_ruled_on_each_under_its_number() {
    let mesh = mesh();
    let (mut alice, mut bob) = (alice(&mesh), Session::new(&mesh, "bob", None, None));
    let mut plugin = Plugin::bound(&mesh);
    let path = |name: &str| mesh.work().join(name).to_str().unwrap().to_owned();
    bob.lock(&path("b.rs"), Some("moving things"), 10);
    let cwd = mesh.work();
    plugin.say(&json!({"edit": {"id": 1, "files": ["a.rs"], "cwd": cwd}}));
    plugin.say(&json!({"edit": {"id": 2, "files": [path("b.rs")]}}));
    let diff = "*** Begin Patch\n*** Update File: b.rs\n@@\n-a\n+b\n*** End Patch\n";
    plugin.say(&json!({"edit": {"id": 3, "patch": diff, "cwd": cwd}}));
    let mut answers: Vec<Value> = (0..3).map(|_| plugin.line()["allow"].clone()).collect();
    answers.sort_by_key(|answer| answer["id"].as_u64());
    assert_eq!(answers[0], json!({"id": 1, "allow": true}));
    for answer in &answers[1..] {
        let reason = answer["reason"].as_str().unwrap();
        assert_eq!(answer["allow"], false);
        assert!(reason.contains("bob") && reason.contains("moving things"), "{reason}");
    }
    let held: Vec<_> =
        alice.locks().into_iter().filter(|it| &*it.locked_by_name == "alice").collect();
    assert_eq!((held.len(), &*held[0].file_path), (1, &*path("a.rs")));
}

#[test]
fn without_a_broker_every_edit_is_allowed() {
    let mesh = Mesh::new();
    let mut plugin = Plugin::new(&mesh);
    plugin.say(&json!({"edit": {"id": 7, "files": ["/tmp/a.rs"]}}));
    assert_eq!(plugin.line(), json!({"allow": {"id": 7, "allow": true}}));
    assert_eq!(mesh.broker_pid(), None);
}

// --- Input that is wrong, and ends ---------------------------------------------------------------

#[test]
fn what_is_no_line_is_an_error_and_no_end() {
    let mesh = mesh();
    let (_alice, mut bob) = (alice(&mesh), Session::new(&mesh, "bob", None, None));
    let mut plugin = Plugin::bound(&mesh);
    let long = [vec![b'x'; 16 * 1024 * 1024], b"\n".to_vec()].concat();
    let lines: [&[u8]; 6] = [
        b"garbage\n",
        b"\xff\xfe\n",
        b"[]\n",
        b"{\"told\":\"nothing\"}\n",
        b"{\"failed\":\"nothing\"}\n",
        &long,
    ];
    for line in lines {
        plugin.0.write(line);
        let answer = plugin.line();
        assert!(answer["error"].is_string(), "{answer}");
    }
    plugin.0.write(b"\n\n{\"session\":\"s-2\",\"unknown\":[{}]}\n");
    bob.send("alice", "still there?");
    let (id, _) = plugin.tell();
    plugin.say(&json!({"told": id}));
    wait_for_stages(&mesh, "bob", &["sent"]);
}

#[test]
fn a_plugin_that_does_not_read_is_not_listened_to() {
    const LINES: usize = 20_000;
    let mesh = Mesh::new();
    let mut command = mesh.command(["session", "--agent", AGENT]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let _running = Running(child);
    let writer = std::thread::spawn(move || {
        let lines = "nonsense\n".repeat(LINES);
        stdin.write_all(lines.as_bytes()).unwrap();
        stdin
    });
    // None is lost, though far more than it keeps.
    let mut lines = BufReader::new(stdout).lines();
    for _ in 0..LINES {
        assert!(lines.next().unwrap().unwrap().contains("error"));
    }
    drop(writer.join().unwrap());
    assert!(lines.next().is_none());
}

#[test]
fn it_ends_with_its_input_and_with_its_parent() {
    let mesh = mesh();
    let _alice = alice(&mesh);
    let mut plugin = Plugin::bound(&mesh);
    plugin.is_quiet();
    plugin.0.end();

    let pipe = mesh.home().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let program = env!("CARGO_BIN_EXE_slm-mesh");
    let line = format!("{program} session --agent x <{} & echo $!; sleep 1000", pipe.display());
    let mut shell = mesh.command_of("/bin/sh");
    let mut shell = shell.args(["-c", &line]).stdin(Stdio::null()).spawn().unwrap();
    let mut input = File::options().write(true).open(&pipe).unwrap();
    let mut output = BufReader::new(shell.stdout.take().unwrap()).lines();
    let pid: u32 = output.next().unwrap().unwrap().trim().parse().unwrap();
    writeln!(input, r#"{{"context":1}}"#).unwrap();
    assert!(output.next().unwrap().unwrap().contains("context"));
    shell.kill().unwrap();
    shell.wait().unwrap();
    // Nobody may have asked for its end yet, but it runs no program.
    wait_until("it ends with its parent", || !runs(pid, program));
}

fn runs(pid: u32, program: &str) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == Path::new(program))
}
