//! `slm-mesh setup` and `doctor`, by the real program, with a home directory of their own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test: to panic is how it fails"
)]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::{Mesh, Ran, is_there};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

/// Nothing is found by the machine's own `PATH`.
fn mesh() -> Mesh {
    Mesh::new().with("PATH", "/nowhere")
}

fn program() -> String {
    let path = Path::new(env!("CARGO_BIN_EXE_slm-mesh")).canonicalize().unwrap();
    path.to_str().unwrap().into()
}

/// Every file and folder below `dir`, with what is in it.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.insert(path.clone(), Vec::new());
            found.extend(tree(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn put(path: &Path, text: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn hook(agent: &str) -> String {
    format!("{} hook {agent}", program())
}

/// An agent, the file of its servers, and what is in it when there was nothing before.
fn servers() -> Vec<(&'static str, &'static str, String)> {
    let json = |list: &str, entry: &str| {
        let entry = entry.replace("PROGRAM", &program());
        format!("{{\n  \"{list}\": {{\n    \"slm-mesh\": {{\n{entry}\n    }}\n  }}\n}}\n")
    };
    let plain = "      \"command\": \"PROGRAM\",\n      \"args\": []";
    let with_env = format!("{plain},\n      \"env\": {{}}");
    let typed = |entry: &str| format!("      \"type\": \"stdio\",\n{entry}");
    let local =
        "      \"type\": \"local\",\n      \"command\": [\"PROGRAM\"],\n      \"enabled\": true";
    vec![
        ("claude-code", ".claude.json", json("mcpServers", &typed(&with_env))),
        (
            "codex",
            ".codex/config.toml",
            format!("[mcp_servers.slm-mesh]\ncommand = \"{}\"\nargs = []\n", program()),
        ),
        ("gemini-cli", ".gemini/settings.json", json("mcpServers", plain)),
        ("opencode", ".config/opencode/opencode.json", json("mcp", local)),
        ("cursor", ".cursor/mcp.json", json("mcpServers", plain)),
        ("vscode", ".config/Code/User/mcp.json", json("servers", &typed(plain))),
        ("windsurf", ".codeium/windsurf/mcp_config.json", json("mcpServers", plain)),
        ("zed", ".config/zed/settings.json", json("context_servers", &with_env)),
        ("cline", ".cline/data/settings/cline_mcp_settings.json", json("mcpServers", plain)),
        ("antigravity", ".gemini/config/mcp_config.json", json("mcpServers", plain)),
    ]
}

/// Sets up twice, looks, and takes it out: everything is as it was, byte for byte.
fn there_and_back(mesh: &Mesh, line: &str, look: impl FnOnce()) {
    let before = tree(&mesh.home());
    mesh.run(&format!("setup {line} --yes")).ok();
    let after = tree(&mesh.home());
    assert_ne!(after, before);
    let again = mesh.run(&format!("setup {line} --yes")).ok();
    assert!(again.contains("There is nothing to change."), "{again}");
    assert_eq!(tree(&mesh.home()), after, "run twice, it changes nothing");
    look();
    let agent = line.split(' ').next().unwrap();
    mesh.run(&format!("setup {agent} --uninstall --yes")).ok();
    assert_eq!(tree(&mesh.home()), before, "{line}: as it was");
    assert!(!is_there(mesh.data_dir().join("setup")), "nothing is remembered of it");
}

#[test]
#[cfg(target_os = "linux")]
fn files_that_were_not_there_are_made_and_removed_again() {
    let mesh = mesh();
    for (agent, file, expected) in servers() {
        let path = mesh.home().join(file);
        there_and_back(&mesh, agent, || {
            assert_eq!(text(&path), expected, "{agent}");
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        });
    }
}

#[test]
fn another_data_directory_is_not_known_to_agents_by_itself() {
    let mesh = mesh();
    let set_up = mesh.run("setup zed --yes");
    let wanted = format!("SLM_MESH_DATA_DIR={}", mesh.data_dir().display());
    assert!(set_up.err.contains(&wanted), "{}", set_up.err);
    let default = mesh.home().join(".slm-mesh");
    let set_up = mesh.run(&format!("--data-dir {} setup cline --yes", default.display()));
    assert!(!set_up.err.contains("SLM_MESH_DATA_DIR"), "{}", set_up.err);
}

#[test]
#[cfg(target_os = "linux")]
fn what_is_in_a_file_stays_as_it_is() {
    let mesh = mesh();
    for (agent, file, _) in servers() {
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
    for (agent, file, events) in [
        (
            "claude-code",
            ".claude/settings.json",
            &[
                ("SessionStart", ""),
                ("UserPromptSubmit", ""),
                ("PreToolUse", "Write|Edit|MultiEdit|NotebookEdit"),
                ("PostToolUse", ""),
                ("Stop", ""),
            ][..],
        ),
        (
            "codex",
            ".codex/hooks.json",
            &[
                ("SessionStart", ""),
                ("UserPromptSubmit", ""),
                ("PreToolUse", "apply_patch|Write|Edit|Bash"),
                ("PostToolUse", ""),
                ("Stop", ""),
            ],
        ),
        (
            "gemini-cli",
            ".gemini/settings.json",
            &[
                ("SessionStart", ""),
                ("BeforeAgent", ""),
                ("BeforeTool", "write_file|replace"),
                ("AfterTool", ""),
            ],
        ),
    ] {
        there_and_back(&mesh, &format!("{agent} --hooks"), || {
            let settings = read(file);
            let hooks = settings["hooks"].as_object().unwrap();
            assert_eq!(hooks.len(), events.len(), "{hooks:?}");
            for (event, matcher) in events {
                let group = &hooks[*event][0];
                assert_eq!(group["matcher"].as_str().unwrap_or_default(), *matcher, "{event}");
                let entry = &group["hooks"][0];
                assert_eq!(entry["type"], "command");
                assert_eq!(entry["command"], hook(agent));
                let seconds = if agent == "gemini-cli" { 5000 } else { 5 };
                assert_eq!(entry["timeout"], seconds);
            }
        });
    }
    there_and_back(&mesh, "cursor --hooks", || {
        let hooks = read(".cursor/hooks.json");
        assert_eq!(hooks["version"], 1);
        for event in ["sessionStart", "postToolUse", "preToolUse", "stop"] {
            assert_eq!(hooks["hooks"][event][0]["command"], hook("cursor"));
            assert_eq!(hooks["hooks"][event][0]["timeout"], 5);
        }
        assert_eq!(hooks["hooks"]["preToolUse"][0]["matcher"], "Write|Delete");
    });
    there_and_back(&mesh, "windsurf --hooks", || {
        let hooks = read(".codeium/windsurf/hooks.json");
        assert_eq!(hooks["hooks"]["pre_write_code"][0]["command"], hook("windsurf"));
        assert_eq!(hooks["hooks"]["pre_write_code"][0]["show_output"], true);
    });
}

#[test]
fn commands_are_the_skills_word_for_word() {
    let mesh = mesh();
    for (agent, dir) in
        [("claude-code", ".claude/commands"), ("opencode", ".config/opencode/commands")]
    {
        // One of the same name is someone's own.
        let own = mesh.home().join(dir).join("mesh-lock.md");
        put(&own, "my own");
        there_and_back(&mesh, agent, || {
            for name in ["mesh-sync", "mesh-peers", "mesh-send", "mesh-lock", "mesh-status"] {
                let file = format!("{name}.md");
                let skill = Path::new(env!("CARGO_MANIFEST_DIR")).join("skills").join(&file);
                assert_eq!(text(&mesh.home().join(dir).join(&file)), text(&skill));
            }
        });
    }
}

#[test]
fn what_others_change_meanwhile_stays() {
    let mesh = mesh();
    let settings = mesh.home().join(".claude/settings.json");
    let own_hook = r#"{"hooks":{"PreToolUse":[{"matcher":"Bash","hooks":[{"type":"command","command":"mine"}]}]}}"#;
    put(&settings, own_hook);
    mesh.run("setup claude-code codex --hooks --yes").ok();

    let claude = mesh.home().join(".claude.json");
    let changed = text(&claude).replacen('{', "{\n  \"numStartups\": 7,", 1);
    put(&claude, changed);
    let codex = mesh.home().join(".codex/config.toml");
    put(&codex, format!("model = \"y\"\n{}\n[mcp_servers.b]\ncommand = \"b\"\n", text(&codex)));
    let more = text(&settings).replacen('{', "{\"model\": \"x\", ", 1);
    put(&settings, more);
    let command = mesh.home().join(".claude/commands/mesh-send.md");
    put(&command, "mine now");

    let said = mesh.run("setup --uninstall --yes").ok();
    assert!(said.contains("mesh-send.md: it was changed since it was made, and stays"), "{said}");
    assert_eq!(text(&claude), "{\n  \"numStartups\": 7\n}\n");
    assert_eq!(text(&codex), "model = \"y\"\n\n[mcp_servers.b]\ncommand = \"b\"\n");
    assert_eq!(text(&settings), own_hook.replacen('{', "{\"model\": \"x\", ", 1));
    assert_eq!(text(&command), "mine now");
    assert!(!is_there(mesh.home().join(".codex/hooks.json")));
    let said = mesh.run("setup --uninstall --yes").ok();
    assert!(said.contains("No agent has anything of slm-mesh."), "{said}");
    assert!(!is_there(mesh.data_dir().join("setup")));
}

#[test]
fn those_who_set_up_at_once_all_remember_what_they_did() {
    let mesh = mesh();
    for agents in [["cursor", "cursor", "cursor"], ["cursor", "gemini-cli", "codex"]] {
        for (_, file, _) in servers() {
            let toml = Path::new(file).extension().is_some_and(|extension| extension == "toml");
            put(&mesh.home().join(file), if toml { "a = 1\n" } else { "{\"a\": 1}\n" });
        }
        let before = tree(&mesh.home());
        for round in 0..5 {
            let start = |agent: &str, more: &[&str]| {
                let words = [&["setup", agent, "--yes"], more].concat();
                mesh.command(words).stdout(Stdio::null()).spawn().unwrap()
            };
            for more in [&[][..], &["--uninstall"]] {
                let all: Vec<_> = agents.iter().map(|agent| start(agent, more)).collect();
                for mut one in all {
                    assert!(one.wait().unwrap().success(), "{agents:?} {round}");
                }
            }
            assert_eq!(tree(&mesh.home()), before, "{agents:?} {round}: as it was");
            assert!(!is_there(mesh.data_dir().join("setup")), "nothing is remembered of it");
        }
    }
}

#[test]
fn an_entry_of_someone_else_is_shown_replaced_and_restored() {
    let mesh = mesh();
    let claude = mesh.home().join(".claude.json");
    let node = "{\"command\": \"node\", \"args\": [\"/x/index.js\"], \"env\": {\"A\": \"1\"}}";
    let other = format!("{{\n  \"mcpServers\": {{\n    \"slm-mesh\": {node}\n  }}\n}}\n");
    let codex = mesh.home().join(".codex/config.toml");
    let toml = "[mcp_servers.slm-mesh]\ncommand = \"node\" # old\nargs = [\"/x/index.js\"]\n\n[a]\nb = 1\n";
    for meanwhile in [false, true] {
        put(&claude, &other);
        put(&codex, toml);
        let shown = mesh.run("setup claude-code codex --dry-run").ok();
        assert!(shown.contains(&format!("-    \"slm-mesh\": {node}")), "{shown}");
        assert!(shown.contains("-args = [\"/x/index.js\"]"), "{shown}");
        assert_eq!((text(&claude), text(&codex)), (other.clone(), toml.to_owned()));
        mesh.run("setup claude-code codex --yes").ok();
        assert!(!text(&claude).contains("node") && !text(&codex).contains("node"));
        let add = |text: String, more: &str| if meanwhile { text + more } else { text };
        put(&claude, add(text(&claude), "// more\n"));
        put(&codex, add(text(&codex), "# more\n"));
        mesh.run("setup --uninstall --yes").ok();
        assert_eq!(text(&claude), add(other.clone(), "// more\n"));
        assert_eq!(text(&codex), add(toml.to_owned(), "# more\n"));
    }
    // Ours, elsewhere: only the path changes.
    let moved = "{\"mcpServers\": {\"slm-mesh\": {\"command\": \"/old/slm-mesh\", \"env\": {\"SLM_MESH_NAME\": \"x\"}, \"args\": []}}}";
    put(&claude, moved);
    mesh.run("setup claude-code --yes").ok();
    assert_eq!(text(&claude), moved.replace("/old/slm-mesh", &program()));
    // An entry of someone else is not taken out when there is no memory of ours.
    put(&codex, toml);
    mesh.run("setup codex --uninstall --yes").ok();
    assert_eq!(text(&codex), toml);
}

#[test]
fn what_cannot_be_read_is_refused_and_the_rest_goes_on() {
    let mesh = mesh();
    let (cursor, codex) =
        (mesh.home().join(".cursor/mcp.json"), mesh.home().join(".codex/config.toml"));
    let zed = mesh.home().join(".config/zed/settings.json");
    put(&cursor, "{\n  \"mcpServers\": {,}\n}\n");
    put(&codex, "a = 1\nb = = 2\n");
    put(&zed, b"{\"a\": \"\xff\"}");
    let windsurf = mesh.home().join(".codeium/windsurf/mcp_config.json");
    put(&windsurf, "{\"mcpServers\": 5}");
    let before = [&cursor, &codex, &zed, &windsurf].map(|path| fs::read(path).unwrap());
    let ran = mesh.run("setup cursor codex zed windsurf cline --yes");
    let said = format!("{}{}", ran.out, ran.err);
    assert_eq!(ran.code, Some(1), "{said}");
    assert!(said.contains(".cursor/mcp.json: line 2, column 18:"), "{said}");
    assert!(said.contains(".codex/config.toml: line 2, column 5:"), "{said}");
    assert!(said.contains("settings.json: it is not valid UTF-8"), "{said}");
    assert!(said.contains("`mcpServers` (line 1, column 16) is not an object"), "{said}");
    assert_eq!([&cursor, &codex, &zed, &windsurf].map(|path| fs::read(path).unwrap()), before);
    assert!(is_there(mesh.home().join(".cline/data/settings/cline_mcp_settings.json")));
}

#[test]
fn links_stay_links_and_odd_files_are_refused() {
    let mesh = mesh();
    let (link, real) = (mesh.home().join(".claude.json"), mesh.work().join("dotfiles/claude.json"));
    put(&real, "{}\n");
    symlink(&real, &link).unwrap();
    mesh.run("setup claude-code --yes").ok();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert!(text(&real).contains("slm-mesh"));
    mesh.run("setup claude-code --uninstall --yes").ok();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(text(&real), "{}\n");

    fs::set_permissions(&real, Permissions::from_mode(0o444)).unwrap();
    let said = mesh.run("setup claude-code --yes");
    assert_eq!((said.code, text(&real)), (Some(1), "{}\n".into()));
    assert!(said.out.contains(".claude.json: it is read-only (mode 444)"), "{}", said.out);
    fs::remove_file(&real).unwrap();
    let said = mesh.run("setup claude-code --yes");
    assert!(
        said.out.contains("which does not exist; make that file or remove the link"),
        "{}",
        said.out
    );
    assert_eq!(said.code, Some(1));

    let cursor = mesh.home().join(".cursor/mcp.json");
    fs::create_dir_all(&cursor).unwrap();
    let said = mesh.run("setup cursor --yes");
    assert!(said.out.contains("it is no regular file"), "{}", said.out);
    fs::remove_dir(&cursor).unwrap();
    // As large as it looks, without taking the room.
    File::create(&cursor).unwrap().set_len(40 * 1024 * 1024).unwrap();
    let said = mesh.run("setup cursor --yes");
    assert!(said.out.contains("it is larger than 32 MiB"), "{}", said.out);
    assert_eq!((said.code, fs::metadata(&cursor).unwrap().len()), (Some(1), 40 * 1024 * 1024));
}

#[test]
fn agents_are_found_by_their_folder_or_program() {
    let mesh = mesh();
    let bin = mesh.work().join("bin");
    put(&bin.join("gemini"), "#!/bin/sh\n");
    fs::set_permissions(bin.join("gemini"), Permissions::from_mode(0o755)).unwrap();
    // Not to be run.
    put(&bin.join("zed"), "");
    put(&mesh.home().join(".codex/auth.json"), "{}");
    let mesh = mesh.with("PATH", bin.to_str().unwrap());
    let document = mesh.run("setup --dry-run --json").json();
    let agents: Vec<_> = document["agents"].as_array().unwrap().iter().collect();
    let names: Vec<_> = agents.iter().map(|agent| agent["agent"].as_str().unwrap()).collect();
    assert_eq!(names, ["codex", "gemini-cli"]);
    assert_eq!(agents[1]["found"], bin.join("gemini").to_str().unwrap());
    assert_eq!(
        (&document["ok"], &document["dryRun"], &document["changed"]),
        (&Value::Bool(true), &Value::Bool(true), &Value::Bool(false))
    );
    let file = &agents[0]["files"][0];
    assert_eq!(file["action"], "create");
    assert!(file["diff"].as_str().unwrap().contains("+[mcp_servers.slm-mesh]"));
    assert!(!is_there(mesh.home().join(".codex/config.toml")), "only shown");
}

#[test]
fn variables_that_move_an_agents_files_are_heeded() {
    let mesh = mesh();
    let at = |name: &str| mesh.work().join(name);
    let of = |name: &str| at(name).to_str().unwrap().to_owned();
    let settings = [of("claude"), of("codex"), of("xdg"), of("cline.json"), of("gemini")];
    let [claude, codex, xdg, cline, gemini] = &settings;
    let moved = mesh_with(&[
        ("CLAUDE_CONFIG_DIR", claude),
        ("CODEX_HOME", codex),
        ("XDG_CONFIG_HOME", xdg),
        ("CLINE_MCP_SETTINGS_PATH", cline),
        ("GEMINI_CLI_HOME", gemini),
    ]);
    moved.run("setup claude-code codex zed cline gemini-cli --hooks --yes").ok();
    for file in [
        "claude/.claude.json",
        "claude/settings.json",
        "claude/commands/mesh-sync.md",
        "codex/config.toml",
        "codex/hooks.json",
        "cline.json",
        "gemini/.gemini/settings.json",
    ] {
        assert!(is_there(at(file)), "{file}");
    }
    #[cfg(target_os = "linux")]
    assert!(is_there(at("xdg/zed/settings.json")));
    assert!(tree(&moved.home()).is_empty());
}

fn mesh_with(settings: &[(&'static str, &str)]) -> Mesh {
    settings.iter().fold(mesh(), |mesh, (name, value)| mesh.with(name, value))
}

#[test]
fn a_project_has_files_of_its_own() {
    let mesh = mesh();
    let before = tree(&mesh.work());
    mesh.run("setup claude-code cursor vscode --project --hooks --yes").ok();
    assert!(tree(&mesh.home()).is_empty());
    for file in [
        ".mcp.json",
        ".claude/settings.json",
        ".claude/commands/mesh-sync.md",
        ".cursor/mcp.json",
        ".cursor/hooks.json",
        ".vscode/mcp.json",
    ] {
        assert!(is_there(mesh.work().join(file)), "{file}");
    }
    let said = mesh.run("setup zed --project --yes").fails(1);
    assert!(said.contains("Zed reads no such file in a project"), "{said}");
    mesh.run("setup --uninstall --project --yes").ok();
    assert_eq!(tree(&mesh.work()), before);
}

#[test]
fn nothing_is_written_that_nobody_agreed_to() {
    let mesh = mesh();
    let said = mesh.run("setup cursor").fails(1);
    assert!(said.contains("look with --dry-run, then repeat with --yes"), "{said}");
    let json = mesh.run("setup cursor --json");
    assert_eq!((json.code, json.json()["code"].as_str()), (Some(1), Some("not_confirmed")));
    let shown = mesh.run("setup cursor --dry-run").ok();
    assert!(shown.contains("+++ ~/.cursor/mcp.json") && !shown.contains('\u{1b}'), "{shown}");
    assert!(mesh.run("setup").fails(1).contains("no agent was found here"));
    assert!(mesh.run("setup emacs").fails(2).contains("unknown agent"));
    assert!(mesh.run("setup --uninstall").ok().contains("No agent has anything of slm-mesh."));
    assert!(tree(&mesh.home()).is_empty());

    for (answer, written) in [("n\n", false), ("\n", false), ("yes please\n", false), ("y\n", true)]
    {
        let ran = on_terminal(&mesh, &["setup", "cursor"], answer);
        assert!(ran.out.contains("Write 1 file? [y/N]"), "{ran:?}");
        assert_eq!(is_there(mesh.home().join(".cursor/mcp.json")), written, "{answer:?}");
        assert_eq!(ran.code, Some(i32::from(!written)));
    }
}

/// Runs the binary on a terminal on which `answer` is typed.
fn on_terminal(mesh: &Mesh, words: &[&str], answer: &str) -> Ran {
    let control = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&control).unwrap();
    unlockpt(&control).unwrap();
    let name = ptsname(&control, Vec::new()).unwrap().into_string().unwrap();
    let open = || File::options().read(true).write(true).open(&name).unwrap();
    let mut control = File::from(control);
    let (input, output) = (open(), open());
    let mut child = mesh.command(words).stdin(input).stdout(output).spawn().unwrap();
    control.write_all(answer.as_bytes()).unwrap();
    // The end of the terminal is an error to its reader.
    let mut out = Vec::new();
    let _ = control.read_to_end(&mut out);
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    let code = child.wait().unwrap().code();
    Ran { code, out: String::from_utf8_lossy(&out).into_owned(), err }
}

// --- doctor -------------------------------------------------------------------------------------

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
    mesh.run("setup claude-code --hooks --yes").ok();
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
    assert_eq!(checks(&ran, "agent").len(), 2);
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
    has(&agents, "bad", "Codex: the entry slm-mesh starts something else, node");
    has(&agents, "bad", "settings.json: line 1, column 2");
    has(&agents, "bad", "Claude Code: hooks in ~/.claude/settings.json are of another program");
    has(&agents, "note", "Claude Code: not set up");
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
