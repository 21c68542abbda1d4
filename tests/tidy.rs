//! The rules of the house that a compiler does not check.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test: to panic is how it fails"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// The modules from the bottom up. One may use those before it in its own line's list, no others;
/// tests are free.
const LAYERS: [(&str, &[&str]); 32] = [
    ("model", &[]),
    ("limits", &["api"]),
    ("text", &[]),
    ("agents", &["model"]),
    ("names", &["agents", "limits"]),
    ("patterns", &["limits"]),
    ("paths", &[]),
    ("config", &["limits", "model", "names", "paths"]),
    ("api", &["limits", "model", "names"]),
    ("tell", &["api", "limits", "model", "text"]),
    ("files", &["limits"]),
    ("store", &["api", "config", "files", "limits", "model"]),
    ("mesh", &["api", "limits", "model", "names", "patterns", "store", "text"]),
    ("wire", &["api", "limits", "model"]),
    ("platform", &["files", "limits"]),
    ("data_dir", &["config", "files", "limits", "paths", "platform"]),
    ("role", &["config", "files", "limits", "model"]),
    ("neighbour", &["config", "files", "limits", "platform", "wire"]),
    ("lan", &["api", "config", "files", "limits", "model", "paths", "platform", "wire"]),
    ("log", &["config", "files", "limits", "model", "paths", "platform", "text"]),
    ("helper", &["config", "files", "limits", "model", "paths", "platform"]),
    ("agent", &["agents", "files", "limits", "model", "names", "platform"]),
    ("skills", &[]),
    ("setup", &["agents", "config", "files", "limits", "model", "platform", "skills"]),
    (
        "client",
        &[
            "agents",
            "api",
            "config",
            "data_dir",
            "files",
            "limits",
            "log",
            "model",
            "neighbour",
            "paths",
            "patterns",
            "platform",
            "role",
            "wire",
        ],
    ),
    (
        "hook",
        &[
            "agent", "agents", "api", "client", "config", "files", "limits", "log", "model",
            "platform", "tell", "text",
        ],
    ),
    ("guard", &["agent", "api", "client", "files", "hook", "limits", "model", "platform"]),
    (
        "broker",
        &[
            "api",
            "config",
            "data_dir",
            "files",
            "helper",
            "lan",
            "limits",
            "log",
            "mesh",
            "model",
            "neighbour",
            "paths",
            "platform",
            "role",
            "store",
            "wire",
        ],
    ),
    (
        "mcp",
        &[
            "agent", "agents", "api", "client", "config", "data_dir", "files", "limits", "log",
            "model", "names", "paths", "platform", "skills", "tell", "text", "wire",
        ],
    ),
    ("memory", &["api", "files", "helper", "limits", "model", "platform", "wire"]),
    ("notify", &["api", "helper", "limits", "text"]),
    (
        "session",
        &[
            "api", "client", "config", "hook", "limits", "log", "mcp", "model", "platform", "tell",
            "wire",
        ],
    ),
];

/// What the core and the codecs never name: sockets, files, databases, clocks.
const FORBIDDEN_IN_PURE: [&str; 7] =
    ["mio::", "rusqlite", "std::net", "std::fs", "std::os", "SystemTime", "Instant::now"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The files of a module, and their text without tests and comments.
fn code_of(module: &str) -> Vec<(PathBuf, String)> {
    let src = root().join("src");
    let mut files = Vec::new();
    let single = src.join(format!("{module}.rs"));
    if single.exists() {
        files.push(single);
    }
    if src.join(module).is_dir() {
        files.extend(rust_files(&src.join(module)));
    }
    assert!(!files.is_empty(), "no module {module}: is the list of layers true?");
    let is_test = |path: &Path| {
        let text = path.to_string_lossy();
        text.ends_with("/tests.rs") || text.contains("/tests/") || text.ends_with("contract.rs")
    };
    files
        .into_iter()
        .filter(|path| !is_test(path))
        .map(|path| {
            let code = code(&fs::read_to_string(&path).unwrap());
            (path, code)
        })
        .collect()
}

fn code(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]").next().unwrap();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn modules_import_downwards_only() {
    for (module, allowed) in LAYERS {
        for (path, code) in code_of(module) {
            for (at, _) in code.match_indices("crate::") {
                let rest = &code[at + "crate::".len()..];
                let used: String =
                    rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                // `crate::{...}` and macros are not used here.
                assert!(
                    used == module || allowed.contains(&used.as_str()),
                    "{} uses crate::{used}, which is not below {module}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn every_module_has_its_layer() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    for module in declared {
        let known = LAYERS.iter().any(|(name, _)| *name == module);
        assert!(known || module == "cli", "{module} is in no layer");
    }
}

#[test]
fn the_core_and_the_codecs_do_no_io() {
    let top = [
        "app", "asks", "charts", "clean", "keys", "panes", "picture", "reading", "screen",
        "typing", "view",
    ];
    let top = top.map(|part| format!("cli/top/{part}"));
    let session = ["protocol", "decide"].map(|part| format!("session/{part}"));
    let modules = ["mesh", "wire", "api", "tell", "model", "agents", "names", "patterns", "skills"]
        .map(str::to_owned);
    let broker = ["held", "pending", "links/manager", "links/push", "remote", "uplink"]
        .map(|part| format!("broker/{part}"));
    for module in modules.into_iter().chain(top).chain(session).chain(broker) {
        for (path, code) in code_of(&module) {
            for word in FORBIDDEN_IN_PURE {
                assert!(!code.contains(word), "{} names {word}", path.display());
            }
        }
    }
}

#[test]
fn the_core_tells_facts_and_no_text() {
    for (path, code) in code_of("mesh") {
        for word in ["json!", "Serialize", "RawValue", "Rc<[u8]>"] {
            assert!(!code.contains(word), "{} names {word}", path.display());
        }
    }
}

#[test]
fn only_the_store_knows_sql() {
    for (module, _) in LAYERS.iter().filter(|(module, _)| *module != "store") {
        for (path, code) in code_of(module) {
            assert!(!code.contains("rusqlite"), "{} names rusqlite", path.display());
        }
    }
}

#[test]
fn a_file_has_one_subject() {
    for path in rust_files(&root().join("src")) {
        let lines = code(&fs::read_to_string(&path).unwrap()).lines().count();
        assert!(
            lines <= 600,
            "{} has {lines} lines of code: what is its second subject?",
            path.display()
        );
    }
}

#[test]
fn nothing_is_left_for_later_in_the_code() {
    // Put together, so that this file is not found.
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["todo", "!("].concat()];
    for path in rust_files(&root().join("src")).iter().chain(&rust_files(&root().join("tests"))) {
        let text = fs::read_to_string(path).unwrap();
        for mark in &marks {
            assert!(!text.contains(mark.as_str()), "{} has a {mark}", path.display());
        }
    }
}
