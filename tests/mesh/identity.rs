//! Who is who: agents, sessions and projects are told apart by facts, with the real binary and
//! processes that stand for agents.

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use crate::common::agent::{Agent, ToolResult};
use crate::common::session::Session;
use crate::common::{Mesh, Running, send_signal, wait_until};
use serde_json::{Value, json};
use slm_mesh::api::{ListPeers, PeerInfo, PeerStatus, PeersReply, Request};

/// A server that this process has started, as `client`.
fn server(mesh: &Mesh, client: &str, prepare: impl FnOnce(&mut Command)) -> Agent {
    let mut command = mesh.command(["mcp"]);
    command.stdin(Stdio::piped());
    prepare(&mut command);
    let mut agent = Agent::of(command.spawn().unwrap());
    agent.initialize_as(client);
    agent
}

fn you(agent: &mut Agent) -> Value {
    agent.tool("mesh_status", &json!({})).ok()["you"].clone()
}

/// The peers of a session, as a hook looks for them.
fn of_session(mesh: &Mesh, session: &str) -> Vec<PeerInfo> {
    let list =
        ListPeers { session_id: Some(session.into()), include_stale: true, ..ListPeers::default() };
    mesh.client().call::<PeersReply>(&Request::Peers(list)).unwrap().peers
}

// --- Variables -----------------------------------------------------------------------------------

#[test]
fn variables_of_an_outer_agent_count_for_its_own_kind_only() {
    let mesh = Mesh::new();
    let outer = mesh.home().join("outer");
    std::fs::create_dir(&outer).unwrap();
    for (client, is_own) in [
        ("claude-code", true),
        ("codex-mcp-client", false),
        ("gemini-cli-mcp-client", false),
        ("opencode", false),
        ("some-agent", false),
    ] {
        let mut agent = server(&mesh, client, |command| {
            command
                .env("CLAUDECODE", "1")
                .env("CLAUDE_PROJECT_DIR", &outer)
                .env("CLAUDE_CODE_SESSION_ID", "outer-session");
        });
        let expected = if is_own { outer.clone() } else { mesh.work() };
        // The first call already is about its own project.
        let lock = json!({"action": "lock", "filePath": "a.rs"});
        let lock = agent.tool("mesh_lock", &lock).ok();
        let path = expected.join("a.rs");
        assert_eq!(lock["lock"]["filePath"], path.to_str().unwrap(), "{client}");
        assert_eq!(you(&mut agent)["projectPath"], expected.to_str().unwrap(), "{client}");
        let id = agent.who().0;
        let is_its = of_session(&mesh, "outer-session").iter().any(|it| it.id.to_string() == id);
        assert_eq!(is_its, is_own, "{client}");
        agent.end();
    }
}

#[test]
fn a_project_reached_by_a_link_is_the_project() {
    let mesh = Mesh::new();
    let link = mesh.home().join("link");
    symlink(mesh.work(), &link).unwrap();
    let mut inside = server(&mesh, "opencode", |_| {});
    inside.who();
    let mut linked = server(&mesh, "claude-code", |command| {
        command.env("CLAUDE_PROJECT_DIR", &link);
    });
    assert_eq!(you(&mut linked)["projectPath"], mesh.work().to_str().unwrap());
    let peers = linked.tool("mesh_peers", &json!({"scope": "directory"})).ok();
    assert_eq!(peers["peers"].as_array().unwrap().len(), 1, "{peers}");
    linked.tool("mesh_send", &json!({"to": "directory", "message": "hello"})).ok();
    let inbox = inside.tool("mesh_inbox", &json!({})).ok();
    assert_eq!(inbox["messages"][0]["payload"], "hello");
}

// --- Sessions ------------------------------------------------------------------------------------

const SESSION: &str = "CLAUDE_CODE_SESSION_ID";

/// A server of the session `session` of this very process.
fn claude(mesh: &Mesh, session: &str) -> Agent {
    server(mesh, "claude-code", |command| {
        command.env(SESSION, session);
    })
}

/// A process that stands for Claude Code and runs servers of the session, one after the other, at its
/// own standard streams. They are greeted as their agent would.
fn stand_in(mesh: &Mesh, session: &str) -> Agent {
    let program = mesh.home().join("claude");
    if !program.exists() {
        symlink(std::path::Path::new("/bin/sh").canonicalize().unwrap(), &program).unwrap();
    }
    let of_mesh = mesh.command(["mcp"]);
    let mut command = Command::new(program);
    let line = "\"$0\" mcp; \"$0\" mcp; \"$0\" mcp";
    command.arg("-c").arg(line).arg(of_mesh.get_program()).current_dir(mesh.work()).env_clear();
    command.envs(of_mesh.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env(SESSION, session).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut agent = Agent::of(command.stderr(Stdio::null()).spawn().unwrap());
    agent.initialize_as("claude-code");
    agent
}

fn texts(agent: &mut Agent) -> Vec<String> {
    let inbox = agent.tool("mesh_inbox", &json!({})).ok();
    let messages = inbox["messages"].as_array().unwrap().iter();
    messages.map(|message| message["payload"].as_str().unwrap().to_owned()).collect()
}

fn events(mesh: &Mesh, kind: &str) -> usize {
    let ran = mesh.run(&format!("events --type {kind} --json")).ok();
    serde_json::from_str::<Value>(&ran).unwrap()["events"].as_array().unwrap().len()
}

fn send(from: &mut Agent, to: &str, message: &str) {
    from.tool("mesh_send", &json!({"to": to, "message": message})).ok();
}

fn lock(agent: &mut Agent) -> ToolResult {
    agent.tool("mesh_lock", &json!({"action": "lock", "filePath": "a.rs"}))
}

#[test]
fn a_session_whose_server_is_started_anew_is_the_same_peer() {
    for (signal, name) in [(None, None), (Some("KILL"), None), (Some("KILL"), Some("worker"))] {
        let mesh = Mesh::new();
        let start = |mesh: &Mesh| {
            server(mesh, "claude-code", |command| {
                command.env(SESSION, "s");
                command.envs(name.map(|name| ("SLM_MESH_NAME", name)));
            })
        };
        let mut first = start(&mesh);
        let (id, name) = first.who();
        let mut other = server(&mesh, "opencode", |_| {});
        first.tool("mesh_summary", &json!({"summary": "refactoring"})).ok();
        first.tool("mesh_events", &json!({"action": "subscribe", "types": ["build.*"]})).ok();
        lock(&mut first).ok();
        send(&mut other, &name, "before");
        match signal {
            Some(signal) => send_signal(first.pid(), signal),
            None => first.close(),
        }
        first.wait();
        wait_until("it is away", || {
            of_session(&mesh, "s").first().is_some_and(|peer| peer.status == PeerStatus::Away)
        });
        send(&mut other, &name, "while away");
        send(&mut other, &id, "while away, by id");
        assert!(lock(&mut other).fails("locked").contains("they are away"));

        let mut second = start(&mesh);
        assert_eq!(second.who(), (id.clone(), name.clone()));
        assert_eq!(texts(&mut second), ["before", "while away", "while away, by id"]);
        lock(&mut second).ok();
        send(&mut other, &id, "reply");
        wait_until("it comes", || texts(&mut second) == ["reply"]);
        let peers = other.tool("mesh_peers", &json!({})).ok();
        assert_eq!(peers["peers"][0]["summary"], "refactoring");
        assert_eq!((events(&mesh, "peer_joined"), events(&mesh, "peer_left")), (2, 0));
        assert_eq!(events(&mesh, "file_unlocked"), 0);
    }
}

#[test]
fn two_servers_of_one_session_are_two_peers() {
    let mesh = Mesh::new();
    let mut first = claude(&mesh, "s");
    let mut second = claude(&mesh, "s");
    assert_ne!(first.who(), second.who());
    assert_eq!(of_session(&mesh, "s").len(), 2);
}

#[test]
fn an_agent_that_ends_frees_its_locks_at_once_and_may_be_continued() {
    let mesh = Mesh::new();
    let mut agent = stand_in(&mesh, "s");
    let (id, name) = agent.who();
    let mut other = server(&mesh, "opencode", |_| {});
    send(&mut other, &name, "unread");
    lock(&mut agent).ok();
    // Its server crashes, and the agent starts another.
    let pid = of_session(&mesh, "s")[0].pid;
    assert_ne!(pid, agent.pid());
    send_signal(pid, "KILL");
    agent.initialize_as("claude-code");
    assert_eq!(agent.who(), (id.clone(), name.clone()));
    // Another process with the same session, while this one runs: a fork has its parent's variables.
    let mut fork = stand_in(&mesh, "s");
    assert_ne!(fork.who().0, id);
    send_signal(fork.pid(), "KILL");
    fork.wait();
    wait_until("it has left", || of_session(&mesh, "s").len() == 1);

    send_signal(agent.pid(), "KILL");
    agent.wait();
    wait_until("its lock is free", || !lock(&mut other).is_error);
    wait_until("it has left", || of_session(&mesh, "s").is_empty());
    let mut continued = stand_in(&mesh, "s");
    assert_eq!(continued.who(), (id, name));
    assert_eq!(texts(&mut continued), ["unread"]);
}

#[test]
fn a_broker_that_was_not_there_makes_no_difference() {
    let mesh = Mesh::new();
    let mut first = claude(&mesh, "s");
    let who = first.who();
    mesh.kill_broker();
    send_signal(first.pid(), "KILL");
    first.wait();
    let mut second = claude(&mesh, "s");
    assert_eq!(second.who(), who);
    second.close();
    second.wait();
    wait_until("it is away", || {
        of_session(&mesh, "s").first().is_some_and(|peer| peer.status == PeerStatus::Away)
    });
    mesh.kill_broker();
    assert_eq!(claude(&mesh, "s").who(), who);
}

#[test]
fn whom_a_server_names_as_its_agent_must_be_above_it() {
    let mesh = Mesh::new();
    mesh.start();
    let me = std::process::id();
    let first = Session::of_type(&mesh, "first", "claude-code", Some("s"), Some(me));
    let id = first.id.clone();
    let mut client = mesh.client();
    client.use_token(&std::fs::read_to_string(&first.token_file).unwrap());
    client.call_bytes(&Request::Unregister { peer_id: None, away: true }).unwrap();
    assert_eq!(of_session(&mesh, "s")[0].status, PeerStatus::Away);
    // The socket is that of this process, which is not below its child.
    let mut child = Running(Command::new("sleep").arg("600").spawn().unwrap());
    let stranger = Session::of_type(&mesh, "other", "claude-code", Some("s"), Some(child.0.id()));
    assert_ne!(stranger.id, id);
    // Nor is it away when it goes: whatever that process is, it will start no server for it.
    let mut other = mesh.client();
    other.use_token(&std::fs::read_to_string(&stranger.token_file).unwrap());
    other.call_bytes(&Request::Unregister { peer_id: None, away: true }).unwrap();
    assert_eq!(of_session(&mesh, "s").len(), 1);
    child.0.kill().unwrap();
    let second = Session::of_type(&mesh, "second", "claude-code", Some("s"), Some(me));
    assert_eq!((&second.id, &*second.name), (&id, "second"));
    assert!(
        client
            .call_bytes(&Request::Heartbeat { peer_id: None, git_branch: None, session_id: None })
            .is_err(),
        "the token has ended"
    );
}

/// It has a server of its own, whose calls name the session that has started it, too.
#[test]
fn a_subagent_of_codex_is_not_taken_for_its_session() {
    let mesh = Mesh::unlimited();
    let threads = ["019-t", "019-sub"];
    let _agents = threads.map(|thread| {
        let mut agent = server(&mesh, "codex-mcp-client", |_| {});
        let call = json!({
            "name": "mesh_status", "arguments": {},
            "_meta": {"threadId": thread, "sessionId": "019-t"},
        });
        agent.request("tools/call", &call);
        agent
    });
    for thread in threads {
        wait_until("it is known by its thread", || of_session(&mesh, thread).len() == 1);
    }
}

#[test]
fn a_codex_session_is_known_by_its_first_call() {
    let mesh = Mesh::unlimited();
    let start = || server(&mesh, "codex-mcp-client", |_| {});
    let call = |agent: &mut Agent| {
        let call = json!({"name": "mesh_status", "arguments": {}, "_meta": {"threadId": "019-t"}});
        agent.request("tools/call", &call);
        agent.who()
    };
    let mut first = start();
    let who = call(&mut first);
    wait_until("its thread is known", || of_session(&mesh, "019-t").len() == 1);
    let mut other = server(&mesh, "opencode", |_| {});
    send(&mut other, &who.0, "unread");
    first.close();
    first.wait();
    // It comes by itself a second later, and is nobody yet.
    let mut second = start();
    wait_until("it is here", || {
        other.tool("mesh_peers", &json!({})).ok()["peers"].as_array().unwrap().len() == 2
    });
    call(&mut second);
    wait_until("it is the same", || second.who() == who);
    assert_eq!(texts(&mut second), ["unread"]);
}
