//! What `slm-mesh setup` writes for each agent, and that it comes out again.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::common::files::{mesh, on_terminal, program, put, servers, text, there_and_back, tree};
use crate::common::{Mesh, is_there};
use serde_json::Value;

fn hook(mesh: &Mesh, agent: &str, more: &str) -> String {
    format!("{} hook {agent}{more} --data-dir {}", program(), mesh.data_dir().display())
}

#[test]
#[cfg(target_os = "linux")]
fn files_that_were_not_there_are_made_and_removed_again() {
    let mesh = mesh();
    for (agent, file, expected) in servers(&mesh) {
        let path = mesh.home().join(file);
        there_and_back(&mesh, &format!("{agent} --no-hooks"), || {
            assert_eq!(text(&path), expected, "{agent}");
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        });
    }
}

#[test]
fn the_usual_data_directory_is_not_written_down_and_another_is_changed() {
    let mesh = mesh();
    let usual = mesh.home().join(".slm-mesh");
    let (zed, settings) =
        (mesh.home().join(".config/zed/settings.json"), mesh.home().join(".claude/settings.json"));
    let at = |dir: &Path| format!("--data-dir {} setup zed claude-code --yes", dir.display());
    mesh.run(&at(&usual)).ok();
    assert!(!text(&zed).contains("SLM_MESH"), "{}", text(&zed));
    assert!(!text(&settings).contains("--data-dir"), "{}", text(&settings));
    let other = mesh.work().join("an other");
    fs::create_dir(&other).unwrap();
    let words = ["--data-dir", other.to_str().unwrap(), "setup", "zed", "claude-code", "--yes"];
    mesh.run_words(words).ok();
    let json: Value = serde_json::from_str(&text(&zed)).unwrap();
    let env = &json["context_servers"]["slm-mesh"]["env"];
    assert_eq!(env["SLM_MESH_DATA_DIR"], other.to_str().unwrap());
    let quoted = format!(" hook claude-code --wait --data-dir '{}'", other.display());
    assert_eq!(text(&settings).matches(&quoted).count(), 2, "{}", text(&settings));
    // And back.
    mesh.run(&at(&usual)).ok();
    assert!(!text(&zed).contains("an other") && !text(&settings).contains("an other"));
}

#[test]
#[cfg(target_os = "linux")]
fn what_is_in_a_file_stays_as_it_is() {
    let mesh = mesh();
    for (agent, file, _) in servers(&mesh) {
        let path = mesh.home().join(file);
        let files: &[&str] = if agent == "codex" {
            &[
                "",
                "model = \"x\" # why\n\n[mcp_servers.b]\ncommand = \"b\"\n# the end\n",
                "\u{feff}model = 'x'\r\n[tools]\r\n\tweb = true\r\n",
                "mcp_servers = { b = { command = \"b\" } } # one line\n",
            ]
        } else {
            &[
                "",
                "{}",
                "{\"a\": [1, 2], \"b\": {\"c\": null}}",
                "{\n    \"LIST\": {\n        \"b\": {\"command\": \"b\"} // mine\n    }, /* x */\n    \"z\": 1\n}\n",
                "\u{feff}// top\r\n{\r\n\t\"a\": \"\\u00e9\", // one\r\n\t\"LIST\": {\r\n\t},\r\n}\r\n",
                "{\n  \"LIST\": {}\n}",
            ]
        };
        let list = match agent {
            "opencode" => "mcp",
            "vscode" => "servers",
            "zed" => "context_servers",
            _ => "mcpServers",
        };
        for before in files {
            let before = before.replace("LIST", list);
            put(&path, &before);
            fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
            there_and_back(&mesh, &format!("{agent} --hooks"), || {
                let now = text(&path);
                assert!(now.contains(&program()), "{now}");
                assert_eq!(now.starts_with('\u{feff}'), before.starts_with('\u{feff}'));
                let ends = now.matches('\n').count();
                let carriages = if before.contains("\r\n") { ends } else { 0 };
                assert_eq!(now.matches("\r\n").count(), carriages, "{now:?}");
                for comment in ["// mine", "/* x */", "// top", "// one", "# why", "# the end"] {
                    assert_eq!(now.contains(comment), before.contains(comment), "{now}");
                }
                assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
            });
            fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn hooks_have_the_form_of_each_agent() {
    let mesh = mesh();
    let read =
        |file: &str| -> Value { serde_json::from_str(&text(&mesh.home().join(file))).unwrap() };
    let edits = "Write|Edit|MultiEdit|NotebookEdit";
    for (agent, file, before, names) in [
        (
            "claude-code",
            ".claude/settings.json",
            ("PreToolUse", edits),
            &["SessionStart", "UserPromptSubmit", "PostToolUse", "Stop", "SessionEnd"][..],
        ),
        (
            "codex",
            ".codex/hooks.json",
            ("PreToolUse", "apply_patch|Write|Edit|Bash"),
            &["SessionStart", "UserPromptSubmit", "PostToolUse", "Stop", "SessionEnd"],
        ),
        (
            "gemini-cli",
            ".gemini/settings.json",
            ("BeforeTool", "write_file|replace"),
            &["SessionStart", "BeforeAgent", "AfterTool", "AfterAgent", "SessionEnd"],
        ),
        (
            "qwen",
            ".qwen/settings.json",
            ("PreToolUse", "write_file|edit|notebook_edit"),
            &["SessionStart", "UserPromptSubmit", "PostToolUse", "Stop", "SessionEnd"],
        ),
    ] {
        there_and_back(&mesh, agent, || {
            let settings = read(file);
            let hooks = settings["hooks"].as_object().unwrap();
            assert_eq!(hooks.len(), names.len() + 1, "{hooks:?}");
            if agent == "qwen" {
                // Its model would only see a tool that searches for those of servers.
                assert_eq!(settings["mcpServers"]["slm-mesh"]["alwaysLoadTools"], true);
            }
            let all = names.iter().map(|name| (*name, "")).chain([before]);
            for (event, matcher) in all {
                let group = &hooks[event][0];
                assert_eq!(group["matcher"].as_str().unwrap_or_default(), matcher, "{event}");
                let entry = &group["hooks"][0];
                assert_eq!(entry["type"], "command");
                assert_eq!(entry["command"], hook(&mesh, agent, ""));
                let seconds = if event == "SessionEnd" { 3 } else { 5 };
                let unit = if agent == "gemini-cli" { 1000 } else { 1 };
                assert_eq!(entry["timeout"], seconds * unit);
            }
            // Claude Code is woken by a hook that waits.
            for event in ["SessionStart", "Stop"] {
                let waiting = hooks.get(event).map_or(&Value::Null, |list| &list[1]["hooks"][0]);
                if agent != "claude-code" {
                    assert!(waiting.is_null());
                    continue;
                }
                let expected = serde_json::json!({
                    "type": "command",
                    "command": hook(&mesh, agent, " --wait"),
                    "asyncRewake": true,
                    "timeout": 2_592_000,
                    "rewakeSummary": "slm-mesh: a message arrived",
                });
                assert_eq!(*waiting, expected);
            }
        });
    }
    there_and_back(&mesh, "cursor", || {
        let hooks = read(".cursor/hooks.json");
        assert_eq!(hooks["version"], 1);
        for event in ["sessionStart", "postToolUse", "preToolUse", "stop"] {
            assert_eq!(hooks["hooks"][event][0]["command"], hook(&mesh, "cursor", ""));
            assert_eq!(hooks["hooks"][event][0]["timeout"], 5);
        }
        assert_eq!(hooks["hooks"]["preToolUse"][0]["matcher"], "Write|Delete");
    });
    there_and_back(&mesh, "windsurf", || {
        let hooks = read(".codeium/windsurf/hooks.json");
        assert_eq!(hooks["hooks"]["pre_write_code"][0]["command"], hook(&mesh, "windsurf", ""));
        assert_eq!(hooks["hooks"]["pre_write_code"][0]["show_output"], true);
    });
    there_and_back(&mesh, "copilot", || {
        let hooks = read(".copilot/settings.json");
        for event in
            ["sessionStart", "userPromptSubmitted", "preToolUse", "postToolUse", "agentStop"]
        {
            assert_eq!(hooks["hooks"][event][0]["bash"], hook(&mesh, "copilot", ""));
            assert_eq!(hooks["hooks"][event][0]["timeoutSec"], 5);
        }
        assert_eq!(hooks["hooks"]["preToolUse"][0]["matcher"], "create|edit|apply_patch");
    });
    there_and_back(&mesh, "kimi", || {
        let config = text(&mesh.home().join(".kimi-code/config.toml"));
        let line = hook(&mesh, "kimi", "");
        let first = format!(
            "[[hooks]]\nevent = \"SessionStart\"\ncommand = \"{line}\"\ntimeout = 5\n\n[[hooks]]\n"
        );
        assert!(config.starts_with(&first), "{config}");
        let edit = "event = \"PreToolUse\"\nmatcher = \"Write|Edit\"\n";
        assert!(config.contains(edit) && config.matches("[[hooks]]").count() == 6, "{config}");
    });
}

#[test]
fn without_hooks_there_are_none() {
    let mesh = mesh();
    mesh.run("setup claude-code codex copilot kimi --no-hooks --yes").ok();
    for file in [
        ".claude/settings.json",
        ".codex/hooks.json",
        ".copilot/settings.json",
        ".kimi-code/config.toml",
    ] {
        assert!(!is_there(mesh.home().join(file)), "{file}");
    }
}

#[test]
fn leave_for_the_tools_is_given_by_allow_and_not_by_yes() {
    let mesh = mesh();
    let settings = mesh.home().join(".claude/settings.json");
    put(&settings, "{\"permissions\": {\"allow\": [\"Bash(ls)\"]}}");
    let said = mesh.run("setup claude-code --yes").ok();
    assert!(said.contains("`slm-mesh setup claude-code --allow`"), "{said}");
    assert!(!text(&settings).contains("mcp__"));
    mesh.run("setup claude-code --uninstall --yes").ok();
    there_and_back(&mesh, "claude-code --allow", || {
        let json: Value = serde_json::from_str(&text(&settings)).unwrap();
        let expected = ["Bash(ls)", "mcp__slm-mesh__*", "mcp__plugin_slm-mesh_slm-mesh__*"];
        assert_eq!(json["permissions"]["allow"], serde_json::json!(expected));
    });
    // A person is asked, once.
    for (answers, given) in [("n\ny\n", false), ("y\ny\n", true)] {
        let ran = on_terminal(&mesh, &["setup", "claude-code"], answers);
        assert!(ran.out.contains("Let it use all eight without asking? [y/N]"), "{ran:?}");
        assert_eq!(text(&settings).contains("mcp__slm-mesh__*"), given, "{ran:?}");
        let again = on_terminal(&mesh, &["setup", "claude-code"], "");
        assert!(again.out.contains("There is nothing to change."), "{again:?}");
        mesh.run("setup claude-code --uninstall --yes").ok();
    }
}

#[test]
fn where_the_plugin_is_on_nothing_is_added_beside_it() {
    let mesh = mesh();
    let on = "{\n  \"enabledPlugins\": {\"slm-mesh@slm-mesh\": true}\n}\n";
    let files = [
        (".claude/settings.json", on),
        (".copilot/settings.json", on),
        (".codex/config.toml", "[plugins.\"slm-mesh@slm-mesh\"]\nenabled = true\n"),
        (".gemini/extensions/slm-mesh/gemini-extension.json", "{}"),
        (".qwen/extensions/slm-mesh/qwen-extension.json", "{}"),
    ];
    for (file, text) in files {
        put(&mesh.home().join(file), text);
    }
    let before = tree(&mesh.home());
    let said = mesh.run("setup claude-code copilot codex gemini-cli qwen --yes").ok();
    assert_eq!(said.matches("its plugin slm-mesh is on").count(), 5, "{said}");
    assert_eq!(tree(&mesh.home()), before);
    mesh.run("setup claude-code --allow --yes").ok();
    let settings = text(&mesh.home().join(".claude/settings.json"));
    assert!(settings.contains("mcp__plugin_slm-mesh_slm-mesh__*"), "{settings}");
    assert!(!settings.contains(" hook "), "{settings}");
    // What it does not bring is added beside it, and nobody says that anything is there twice.
    mesh.run("setup copilot --wake --yes").ok();
    assert!(text(&mesh.home().join(".copilot/settings.json")).contains("\"experimental\": true"));
    assert!(is_there(mesh.home().join(".copilot/extensions/slm-mesh/extension.mjs")));
    let said = mesh.run("setup claude-code copilot --yes").ok();
    assert!(!said.contains("beside it"), "{said}");
    // One that is off brings nothing.
    put(&mesh.home().join(".codex/config.toml"), files[2].1.replace("true", "false"));
    mesh.run("setup codex --yes").ok();
    assert!(text(&mesh.home().join(".codex/config.toml")).contains("[mcp_servers.slm-mesh]"));
}

#[test]
fn skills_are_copied_word_for_word() {
    let mesh = mesh();
    for (agent, dir, is_folder) in [
        ("claude-code", ".claude/skills", true),
        ("codex", ".codex/skills", true),
        ("gemini-cli", ".gemini/skills", true),
        ("opencode", ".config/opencode/commands", false),
        ("qwen", ".qwen/skills", true),
        ("copilot", ".copilot/skills", true),
        ("kimi", ".kimi-code/skills", true),
        ("pi", ".pi/agent/skills", true),
    ] {
        let at = |name: &str| {
            let file = if is_folder { format!("{name}/SKILL.md") } else { format!("{name}.md") };
            mesh.home().join(dir).join(file)
        };
        // One of the same name is someone's own.
        put(&at("mesh-lock"), "my own");
        there_and_back(&mesh, agent, || {
            for skill in &slm_mesh::skills::ALL {
                assert_eq!(text(&at(skill.name)), skill.file, "{agent}");
            }
        });
    }
}

#[test]
fn commands_of_the_first_version_go_unless_they_were_changed() {
    let mesh = mesh();
    mesh.run("setup claude-code --yes").ok();
    // As that version has left it: the file, and what is remembered of it.
    let commands = mesh.home().join(".claude/commands");
    let record = mesh.data_dir().join("setup/record.json");
    let mut remembered: Value = serde_json::from_str(&text(&record)).unwrap();
    let skill = mesh.home().join(".claude/skills/mesh-sync/SKILL.md");
    let entry = remembered["files"][skill.to_str().unwrap()].clone();
    for name in ["mesh-sync", "mesh-send"] {
        let path = commands.join(format!("{name}.md"));
        put(&path, text(&skill));
        remembered["files"][path.to_str().unwrap()] = entry.clone();
    }
    put(&record, remembered.to_string());
    put(&commands.join("mesh-send.md"), "mine now");
    put(&commands.join("mesh-lock.md"), "mine");
    mesh.run("setup claude-code --yes").ok();
    assert!(!is_there(commands.join("mesh-sync.md")));
    assert_eq!(text(&commands.join("mesh-send.md")), "mine now");
    assert_eq!(text(&commands.join("mesh-lock.md")), "mine");
}

#[test]
fn scripts_know_the_program_and_its_mesh() {
    let mesh = mesh();
    for (line, file) in [
        ("opencode", ".config/opencode/plugins/slm-mesh.js"),
        ("pi --no-hooks", ".pi/agent/extensions/slm-mesh.ts"),
        ("copilot --wake", ".copilot/extensions/slm-mesh/extension.mjs"),
    ] {
        let path = mesh.home().join(file);
        for before in [None, Some("// someone's own")] {
            if let Some(before) = before {
                put(&path, before);
            }
            there_and_back(&mesh, line, || {
                let script = text(&path);
                assert!(script.contains(&format!("PROGRAM = \"{}\"", program())), "{script}");
                let told = format!("= [\"--data-dir\", \"{}\"]", mesh.data_dir().display());
                assert!(script.contains(&told), "{script}");
            });
        }
    }
    let settings = mesh.home().join(".copilot/settings.json");
    there_and_back(&mesh, "copilot --wake --no-hooks", || {
        assert_eq!(text(&settings), "{\n  \"experimental\": true\n}\n");
    });
    // What its person has switched off stays so.
    put(&settings, "{\"experimental\": false}");
    let refused = mesh.run("setup copilot --wake --yes");
    assert_eq!(refused.code, Some(1));
    assert!(refused.out.contains("is not true there; mend it"), "{}", refused.out);
    mesh.run("setup opencode --no-hooks --yes").ok();
    assert!(
        !is_there(mesh.home().join(".config/opencode/plugins/slm-mesh.js")) || {
            text(&mesh.home().join(".config/opencode/plugins/slm-mesh.js")) == "// someone's own"
        }
    );
}
