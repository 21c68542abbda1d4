//! Who is who: agents, sessions and projects are told apart by facts, with the real binary and
//! processes that stand for agents.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test: to panic is how it fails"
)]

mod common;

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use common::Mesh;
use common::agent::Agent;
use serde_json::{Value, json};
use slm_mesh::api::{ListPeers, PeerInfo, PeersReply, Request};

/// Shakes hands as the client of this name.
fn greet(agent: &mut Agent, client: &str) {
    let params = json!({
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": client, "version": "1"},
    });
    agent.request("initialize", &params);
    agent.notify("notifications/initialized", &json!({}));
}

/// A server that this process has started, as `client`.
fn server(mesh: &Mesh, client: &str, prepare: impl FnOnce(&mut Command)) -> Agent {
    let mut command = mesh.command(["mcp"]);
    command.stdin(Stdio::piped());
    prepare(&mut command);
    let mut agent = Agent::of(command.spawn().unwrap());
    greet(&mut agent, client);
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
        assert_eq!(of_session(&mesh, "outer-session").len(), usize::from(is_own), "{client}");
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
