//! What is particular to Codex: it edits by patches.

use std::path::PathBuf;

use serde_json::value::RawValue;

use super::{claude, patch, text_in};

/// The files that a tool of Codex changes. The patch is in `command`, as that of its shell is; the
/// other two are names under which the tool itself takes it.
pub(super) fn edited(tool: &str, input: Option<&RawValue>) -> Vec<PathBuf> {
    match tool {
        "apply_patch" => text_in(input, &["command", "input", "patch"])
            .map(|text| patch::files(&text))
            .unwrap_or_default(),
        _ => claude::edited(tool, input),
    }
}
