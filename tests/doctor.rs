//! `slm-mesh doctor`, by the real program, with a home directory of their own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test: to panic is how it fails"
)]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use common::Ran;
use common::files::{mesh, put, tree};
use serde_json::Value;

fn checks(ran: &Ran, check: &str) -> Vec<(String, String)> {
    let document = ran.json();
    let checks = document["checks"].as_array().unwrap().clone();
    let of = checks.iter().filter(|line| line["check"] == check);
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    of.map(|line| (text(line, "status"), text(line, "text"))).collect()
}

#[test]
fn a_mesh_in_order_is_found_in_order() {
    let mesh = mesh();
    mesh.run("setup claude-code --allow --yes").ok();
    mesh.start();
    let ran = mesh.run("doctor --json");
    assert_eq!((ran.code, &ran.json()["ok"]), (Some(0), &Value::Bool(true)), "{ran:?}");
    for check in ["program", "data dir", "broker", "port", "push", "database", "agent", "files"] {
        let lines = checks(&ran, check);
        assert!(
            !lines.is_empty() && lines.iter().all(|(status, _)| status == "ok"),
            "{check}: {ran:?}"
        );
    }
    assert!(checks(&ran, "push")[0].1.contains(" ms"), "{ran:?}");
    assert_eq!(checks(&ran, "agent").len(), 3);
    // Its own peer and socket are gone.
    assert!(mesh.run("peers --all").ok().contains("No peers are here."));
    assert!(tree(&mesh.data_dir().join("peers")).is_empty());
    let text = mesh.run("doctor").ok();
    assert!(text.ends_with("Nothing is wrong.\n"), "{text}");
}

#[test]
fn what_is_wrong_is_found_with_what_to_do() {
    let mesh = mesh();
    put(
        &mesh.home().join(".cursor/mcp.json"),
        "{\"mcpServers\":{\"slm-mesh\":{\"command\":\"/gone/slm-mesh\"}}}",
    );
    put(&mesh.home().join(".codex/config.toml"), "[mcp_servers.slm-mesh]\ncommand = \"node\"\n");
    put(&mesh.home().join(".gemini/settings.json"), "{oops}");
    put(
        &mesh.home().join(".claude/settings.json"),
        "{\"hooks\":{\"Stop\":[{\"hooks\":[{\"type\":\"command\",\"command\":\"/old/slm-mesh hook claude-code\"}]}]}}",
    );
    mesh.start();
    put(&mesh.data_dir().join("mesh.db.damaged-20260101T000000Z"), "x");
    fs::set_permissions(mesh.data_dir().join("broker.token"), Permissions::from_mode(0o644))
        .unwrap();
    drop(std::os::unix::net::UnixListener::bind(mesh.data_dir().join("peers/dead.sock")).unwrap());
    let ran = mesh.run("doctor --json");
    assert_eq!(ran.code, Some(1));
    let agents = checks(&ran, "agent");
    let has = |lines: &[(String, String)], status: &str, text: &str| {
        assert!(lines.iter().any(|(s, t)| s == status && t.contains(text)), "{text}: {lines:#?}");
    };
    has(&agents, "bad", "Cursor: /gone/slm-mesh is not there");
    has(&agents, "bad", "Codex (not on PATH): the entry slm-mesh starts something else, node");
    has(&agents, "bad", "settings.json: line 1, column 2");
    has(&agents, "bad", "Claude Code: 7 of 8 hooks are missing in ~/.claude/settings.json");
    has(&agents, "bad", "Claude Code (not on PATH): no entry in ~/.claude.json");
    has(&checks(&ran, "data dir"), "bad", "broker.token is open to others (mode 644)");
    has(&checks(&ran, "files"), "note", "1 file of peers that are gone");
    has(&checks(&ran, "files"), "note", "1 database was moved aside");
    let text = mesh.run("doctor");
    assert!(text.out.contains("-> run `slm-mesh setup cursor`"), "{}", text.out);
    assert!(text.out.ends_with("things are wrong.\n"), "{}", text.out);
}

#[test]
fn a_broker_that_cannot_start_is_found() {
    let mesh = mesh();
    fs::create_dir(mesh.data_dir()).unwrap();
    fs::set_permissions(mesh.data_dir(), Permissions::from_mode(0o777)).unwrap();
    let ran = mesh.run("doctor --json");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(checks(&ran, "data dir")[0].0, "bad");
    assert_eq!(checks(&ran, "broker")[0].0, "bad");
    assert!(checks(&ran, "push").is_empty());
}
