//! Many at once, on a machine where nothing runs yet; and the newcomer's first command.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use crate::common::Mesh;
use crate::common::agent::Agent;
use serde_json::json;

/// Fifty times: six MCP servers start at the same moment on an empty data directory, each starts a
/// broker unless another has, and every one of them works and sees the five others.
#[test]
fn six_servers_at_the_same_moment() {
    for round in 0..50 {
        let mesh = Mesh::new();
        let mut agents: Vec<Agent> = (0..6).map(|_| Agent::new(&mesh)).collect();
        // All are asked before any answer is waited for, so that all look for a broker at once.
        let asked: Vec<u64> =
            agents.iter_mut().map(|agent| agent.ask_tool("mesh_status", &json!({}))).collect();
        let mut names = BTreeSet::new();
        for (agent, id) in agents.iter_mut().zip(asked) {
            let status = agent.tool_answer(id).ok();
            names.insert(status["you"]["name"].as_str().unwrap().to_owned());
        }
        assert_eq!(names.len(), 6, "round {round}: each has a name of its own");
        for agent in &mut agents {
            let (_, me) = agent.who();
            let peers = agent.tool("mesh_peers", &json!({})).ok();
            let seen = peers["peers"].as_array().unwrap().iter();
            let mut seen: BTreeSet<String> =
                seen.map(|peer| peer["name"].as_str().unwrap().to_owned()).collect();
            assert!(seen.insert(me), "round {round}: nobody is listed to themselves");
            assert_eq!(seen, names, "round {round}: all are in one mesh");
        }
    }
}

/// `slm-mesh demo` does what it says and leaves nothing behind.
#[test]
fn the_demo_plays_and_leaves_nothing() {
    let mesh = Mesh::new();
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_slm-mesh"))
            .args(arguments)
            .env_clear()
            .env("TMPDIR", mesh.work())
            .env("HOME", mesh.home())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let output = run(&["demo"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for part in ["sees webapp-codex and webapp-gemini", "gets the lock", "nothing is left behind"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let output = run(&["--json", "demo"]);
    assert!(output.status.success());
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let step: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(step["atMs"].is_number() && step["who"].is_string(), "{line}");
    }
    for dir in [mesh.work(), mesh.home()] {
        let left: Vec<_> = std::fs::read_dir(dir).unwrap().collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}
