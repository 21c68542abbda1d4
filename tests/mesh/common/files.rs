//! Files of agents in a home directory, as `setup` finds and leaves them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::{Mesh, Ran, is_there};

/// Nothing is found by the machine's own `PATH`.
pub fn mesh() -> Mesh {
    Mesh::new().with("PATH", "/nowhere")
}

pub fn program() -> String {
    let path = Path::new(env!("CARGO_BIN_EXE_slm-mesh")).canonicalize().unwrap();
    path.to_str().unwrap().into()
}

/// Every file and folder below `dir`, with what is in it.
pub fn tree(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.insert(path.clone(), String::new());
            found.extend(tree(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    found
}

pub fn put(path: &Path, text: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

pub fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Sets up twice, looks, and takes it out: everything is as it was, byte for byte.
pub fn there_and_back(mesh: &Mesh, line: &str, look: impl FnOnce()) {
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

/// An agent, the file of its servers, and what is in it when there was nothing before. The mesh is
/// not the usual one, so it stands in the entry.
pub fn servers(mesh: &Mesh) -> Vec<(&'static str, &'static str, String)> {
    let dir = mesh.data_dir().to_str().unwrap().to_owned();
    let json = |list: &str, entry: &str| {
        let entry = entry.replace("PROGRAM", &program()).replace("@DIR@", &dir);
        format!("{{\n  \"{list}\": {{\n    \"slm-mesh\": {{\n{entry}\n    }}\n  }}\n}}\n")
    };
    let variable = "{\n        \"SLM_MESH_DATA_DIR\": \"@DIR@\"\n      }";
    let plain =
        &format!("      \"command\": \"PROGRAM\",\n      \"args\": [],\n      \"env\": {variable}");
    let typed = |kind: &str, entry: &str| format!("      \"type\": \"{kind}\",\n{entry}");
    let local = format!(
        "      \"type\": \"local\",\n      \"command\": [\"PROGRAM\"],\n      \"environment\": \
         {variable},\n      \"enabled\": true"
    );
    let tools = &format!("{plain},\n      \"tools\": [\"*\"]");
    let loaded = &format!("{plain},\n      \"alwaysLoadTools\": true");
    let toml = format!(
        "[mcp_servers.slm-mesh]\ncommand = \"{}\"\nargs = []\nenv = {{ SLM_MESH_DATA_DIR = \"{dir}\" }}\n",
        program()
    );
    vec![
        ("claude-code", ".claude.json", json("mcpServers", &typed("stdio", plain))),
        ("codex", ".codex/config.toml", toml),
        ("gemini-cli", ".gemini/settings.json", json("mcpServers", plain)),
        ("opencode", ".config/opencode/opencode.json", json("mcp", &local)),
        ("cursor", ".cursor/mcp.json", json("mcpServers", plain)),
        ("vscode", ".config/Code/User/mcp.json", json("servers", &typed("stdio", plain))),
        ("windsurf", ".codeium/windsurf/mcp_config.json", json("mcpServers", plain)),
        ("zed", ".config/zed/settings.json", json("context_servers", plain)),
        ("cline", ".cline/data/settings/cline_mcp_settings.json", json("mcpServers", plain)),
        ("antigravity", ".gemini/config/mcp_config.json", json("mcpServers", plain)),
        ("qwen", ".qwen/settings.json", json("mcpServers", loaded)),
        ("copilot", ".copilot/mcp-config.json", json("mcpServers", &typed("local", tools))),
        ("kimi", ".kimi-code/mcp.json", json("mcpServers", plain)),
    ]
}

/// Runs the binary on a terminal on which `answer` is typed.
pub fn on_terminal(mesh: &Mesh, words: &[&str], answer: &str) -> Ran {
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
