//! `slm-mesh doctor`, by the real program, with a home directory of their own.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use crate::common::files::{mesh, put, text, tree};
use crate::common::session::{Session, hook};
use crate::common::{Mesh, Ran};
use serde_json::{Value, json};

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
    assert!(mesh.run("peers").ok().contains("No active peers are here."));
    assert!(mesh.run("peers --all").ok().contains("No peers are here."));
    assert!(mesh.run("history").ok().contains("Nobody has written anything"));
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
    has(&ran, "agent", "bad", "Cursor: /gone/slm-mesh is not there");
    has(
        &ran,
        "agent",
        "bad",
        "Codex (not on PATH): the entry slm-mesh starts something else, node",
    );
    has(&ran, "agent", "bad", "settings.json: line 1, column 2");
    has(&ran, "agent", "bad", "Claude Code: 7 of 8 hooks are missing in ~/.claude/settings.json");
    has(&ran, "agent", "bad", "Claude Code (not on PATH): no entry in ~/.claude.json");
    has(&ran, "data dir", "bad", "broker.token is open to others (mode 644)");
    has(&ran, "files", "note", "1 file of peers that are gone");
    has(&ran, "files", "note", "1 database or journal was moved aside");
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

fn has(ran: &Ran, check: &str, status: &str, text: &str) {
    let lines = checks(ran, check);
    assert!(lines.iter().any(|(s, t)| s == status && t.contains(text)), "{text}: {lines:#?}");
}

/// Puts members before the first of a file's own.
fn add(mesh: &Mesh, file: &str, members: &str) {
    let path = mesh.home().join(file);
    put(&path, text(&path).replacen('{', &format!("{{{members},"), 1));
}

#[test]
fn what_keeps_ours_from_working_is_found() {
    let mesh = mesh();
    mesh.run("setup claude-code codex gemini-cli qwen copilot opencode --yes").ok();
    mesh.start();
    add(&mesh, ".claude/settings.json", "\"disableAllHooks\": true");
    let here = mesh.work();
    let off = format!("\"projects\": {{{here:?}: {{\"disabledMcpServers\": [\"slm-mesh\"]}}}}");
    add(&mesh, ".claude.json", &off);
    let hooks = "\"hooksConfig\": {\"enabled\": false, \"disabled\": [\"slm-mesh\"]}";
    add(&mesh, ".gemini/settings.json", hooks);
    add(&mesh, ".gemini/settings.json", "\"mcp\": {\"excluded\": [\"slm-mesh\"]}");
    put(
        &mesh.home().join(".gemini/mcp-server-enablement.json"),
        "{\"slm-mesh\": {\"enabled\": false}}",
    );
    add(&mesh, ".qwen/settings.json", "\"mcp\": {\"allowed\": [\"other\"]}");
    add(&mesh, ".copilot/settings.json", "\"disabledMcpServers\": [\"slm-mesh\"]");
    let opencode = mesh.home().join(".config/opencode/opencode.json");
    put(&opencode, text(&opencode).replace("\"enabled\": true", "\"enabled\": false"));
    let codex = mesh.home().join(".codex/config.toml");
    put(&codex, format!("{}enabled = false\n", text(&codex)));
    let ran = mesh.run("doctor --json");
    assert_eq!(ran.code, Some(1));
    for line in [
        "Claude Code: `disableAllHooks` switches hooks off (~/.claude/settings.json)",
        "Claude Code: `disabledMcpServers` switches the server off (~/.claude.json)",
        "Codex (not on PATH): its entry is switched off in ~/.codex/config.toml",
        "Codex: 6 of 6 hooks are not trusted (~/.codex/config.toml)",
        "Gemini CLI: `hooksConfig.enabled` switches hooks off",
        "Gemini CLI: `hooksConfig.disabled` switches our hooks off",
        "Gemini CLI: `mcp.excluded` leaves the server out (~/.gemini/settings.json)",
        "Gemini CLI: the server is switched off (~/.gemini/mcp-server-enablement.json)",
        "opencode (not on PATH): its entry is switched off",
        "Qwen Code: `mcp.allowed` leaves the server out (~/.qwen/settings.json)",
        "Copilot CLI: `disabledMcpServers` switches the server off (~/.copilot/settings.json)",
    ] {
        has(&ran, "agent", "bad", line);
    }
    let text = mesh.run("doctor");
    assert!(text.out.contains("-> set `disableAllHooks` to false"), "{}", text.out);
    let words = |line: &str| line.split_whitespace().count();
    let long = text.out.lines().find(|line| line.chars().count() > 80 && words(line) > 3);
    assert_eq!(long, None, "lines fit");
}

#[test]
fn another_mesh_and_a_plugin_beside_setup_are_found() {
    let mesh = mesh();
    mesh.start();
    mesh.run(&format!("--data-dir {}/other setup codex zed --yes", mesh.work().display())).ok();
    let ran = mesh.run("doctor --json");
    has(&ran, "agent", "bad", "Zed: uses another mesh, that in ");
    has(&ran, "agent", "bad", "Codex: hooks in ~/.codex/hooks.json are of another program, mesh");
    mesh.run("setup claude-code --yes").ok();
    add(&mesh, ".claude/settings.json", "\"enabledPlugins\": {\"slm-mesh@slm-mesh\": true}");
    let ran = mesh.run("doctor --json");
    has(&ran, "agent", "ok", "its plugin is on in ~/.claude/settings.json");
    has(&ran, "agent", "bad", "Claude Code: has both the plugin and what setup put in");
}

#[test]
fn whether_hooks_were_heard_is_told() {
    // A hook gives up early, where the machine is busy.
    let mesh = mesh().with("SLM_MESH_HOOK_MS", "5000");
    mesh.run("setup qwen --yes").ok();
    mesh.start();
    let _session = Session::of_type(&mesh, "q", "qwen-code", Some("s-1"), None);
    let ran = mesh.run("doctor --json");
    has(&ran, "agent", "bad", "Qwen Code: no hook was heard in its last session, begun ");
    let input = json!({
        "session_id": "s-1",
        "hook_event_name": "UserPromptSubmit",
        "cwd": mesh.work(),
        "prompt": "hello",
    });
    let ran = hook(&mesh, "qwen-code", &input);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = mesh.run("doctor --json");
    has(&ran, "agent", "ok", "Qwen Code: hooks heard ");
}

#[test]
fn another_kind_of_broker_on_the_port_is_found() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"status\":\"ok\"}";
            let _ = stream.write_all(answer.as_bytes());
        }
    };
    // Ends with the test.
    std::thread::spawn(serve);
    let mesh = mesh().with("SLM_MESH_PORT", &port.to_string());
    mesh.start();
    let ran = mesh.run("doctor --json");
    has(&ran, "port", "bad", &format!("the slm-mesh of npm, another program, serves {port}"));
}
