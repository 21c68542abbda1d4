//! What is particular to Codex: it edits by patches, with a tool for them or in its shell.

use std::path::PathBuf;

use serde_json::value::RawValue;

use super::{Edited, claude, patch, shell, value_in};

/// Names under which its shell is seen, the newest first.
const SHELLS: [&str; 6] =
    ["Bash", "exec_command", "shell", "shell_command", "local_shell", "container.exec"];
/// Where a patch or a command is: `command` in both; the others are names under which the tools
/// themselves take it.
const PLACES: [&str; 4] = ["command", "input", "patch", "cmd"];

/// The files that a tool of Codex changes.
pub(super) fn edited(tool: &str, input: Option<&RawValue>) -> Edited {
    let is_patch = tool == "apply_patch";
    if !is_patch && !SHELLS.contains(&tool) {
        return claude::edited(tool, input);
    }
    let directory: PathBuf = value_in(input, &["workdir"]).unwrap_or_default();
    if let Some(words) = value_in::<Vec<String>>(input, &PLACES) {
        return shell::edited_by_words(&words, &directory);
    }
    let text: String = value_in(input, &PLACES).unwrap_or_default();
    let files = if is_patch { patch::files(&text) } else { Vec::new() };
    // What the tool for patches is given may be the command of a shell, too.
    if files.is_empty() {
        shell::edited(&text, &directory)
    } else {
        Edited { files, unseen: false }
    }
}
