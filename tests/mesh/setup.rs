//! `slm-mesh setup`, by the real program, with a home directory of their own.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::files::{mesh, on_terminal, program, put, servers, text, tree};
use crate::common::{Mesh, Ran, is_there};
use serde_json::Value;

#[test]
fn what_others_change_meanwhile_stays() {
    let mesh = mesh();
    let settings = mesh.home().join(".claude/settings.json");
    let own_hook = r#"{"hooks":{"PreToolUse":[{"matcher":"Bash","hooks":[{"type":"command","command":"mine"}]}]}}"#;
    put(&settings, own_hook);
    mesh.run("setup claude-code codex --yes").ok();

    let claude = mesh.home().join(".claude.json");
    let changed = text(&claude).replacen('{', "{\n  \"numStartups\": 7,", 1);
    put(&claude, changed);
    let codex = mesh.home().join(".codex/config.toml");
    put(&codex, format!("model = \"y\"\n{}\n[mcp_servers.b]\ncommand = \"b\"\n", text(&codex)));
    let more = text(&settings).replacen('{', "{\"model\": \"x\", ", 1);
    put(&settings, more);
    let command = mesh.home().join(".claude/skills/mesh-send/SKILL.md");
    put(&command, "mine now");

    let said = mesh.run("setup --uninstall --yes").ok();
    assert!(said.contains("SKILL.md: it was changed since it was made, and stays"), "{said}");
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
        for (_, file, _) in servers(&mesh) {
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
        let shown = mesh.run("setup claude-code codex --dry-run --diff").ok();
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
    let dir = format!("\"x\", \"SLM_MESH_DATA_DIR\": \"{}\"", mesh.data_dir().display());
    let expected = moved.replace("/old/slm-mesh", &program()).replace("\"x\"", &dir);
    assert_eq!(text(&claude), expected);
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
    moved.run("setup claude-code codex zed cline gemini-cli --yes").ok();
    for file in [
        "claude/.claude.json",
        "claude/settings.json",
        "claude/skills/mesh-sync/SKILL.md",
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
    mesh.run("setup claude-code cursor vscode --project --yes").ok();
    assert!(tree(&mesh.home()).is_empty());
    for file in [
        ".mcp.json",
        ".claude/settings.json",
        ".claude/skills/mesh-sync/SKILL.md",
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
    for words in ["create ~/.cursor/mcp.json  +", "    the server\n", "    hooks: "] {
        assert!(shown.contains(words) && !shown.contains("+++"), "{words}: {shown}");
    }
    let shown = mesh.run("setup cursor --dry-run --diff").ok();
    assert!(shown.contains("+++ ~/.cursor/mcp.json") && !shown.contains('\u{1b}'), "{shown}");
    assert!(mesh.run("setup").fails(1).contains("no agent was found here"));
    assert!(mesh.run("setup emacs").fails(2).contains("unknown agent"));
    assert!(mesh.run("setup --uninstall").ok().contains("No agent has anything of slm-mesh."));
    assert!(tree(&mesh.home()).is_empty());

    for (answer, written) in [("n\n", false), ("\n", false), ("yes please\n", false), ("y\n", true)]
    {
        let ran = on_terminal(&mesh, &["setup", "cursor"], answer);
        assert!(ran.out.contains("Write 2 files? [y/N]"), "{ran:?}");
        assert_eq!(is_there(mesh.home().join(".cursor/mcp.json")), written, "{answer:?}");
        assert_eq!(ran.code, Some(i32::from(!written)));
    }
}

#[test]
fn a_program_that_may_soon_be_gone_is_named() {
    let mesh = mesh();
    for (folder, note) in [
        ("_npx/1/node_modules/slm-mesh-linux-x64/bin", "lies in a cache; when that is emptied"),
        ("target/release", "lies in a build folder"),
        ("bin", ""),
    ] {
        let folder = mesh.work().join(folder);
        fs::create_dir_all(&folder).unwrap();
        let program = folder.join("slm-mesh");
        // By another process: a file that this one has open for writing cannot be run, and a test beside
        // this one may just have passed it on.
        let from = env!("CARGO_BIN_EXE_slm-mesh");
        let copied = Command::new("cp").arg(from).arg(&program).status().unwrap();
        assert!(copied.success());
        let ran: Ran =
            mesh.command_of(&program).args(["setup", "cursor", "--yes"]).output().unwrap().into();
        let expected = format!("{} {note}", program.display());
        assert!(
            if note.is_empty() { ran.err.is_empty() } else { ran.err.contains(&expected) },
            "{ran:?}"
        );
        ran.ok();
    }
}
