//! Proof that a text of ours has come to the agent: the agent shows it as the prompt of a turn.

use super::OURS;
use crate::limits::PROOF_HANDLES_MAX;
use crate::model::Handle;

/// What stands in the prompt around a text of ours that was put into Claude Code's socket, or written
/// by a waiting hook, each on a line of its own.
const AROUND: [&str; 6] = [
    "</cross-session-message>",
    "<task-notification>",
    "<summary>slm-mesh: a message arrived</summary>",
    "</task-notification>",
    "<system-reminder>",
    "</system-reminder>",
];
/// The beginning of a line with which such a message begins.
const SESSION_MESSAGE: &str = "<cross-session-message ";
/// What stands before what a waiting hook has written, and then the hook's event and `": `.
const HOOK_ERROR: &str = "Stop hook blocking error from command \"";

/// The handles of the messages that `prompt` tells the agent of, if it is a text of ours.
///
/// Only what stands at the beginning counts, and there only the beginnings of our own lines. What
/// others wrote is quoted within a line and so never begins one, and nothing counts after a line
/// that is not ours.
#[must_use]
pub fn handles(prompt: &str) -> Vec<Handle> {
    let mut found = Vec::new();
    let mut in_list = false;
    for line in prompt.lines() {
        if let Some(ours) = own_line(line) {
            in_list = ours.starts_with(|c: char| c.is_ascii_digit());
            found.extend(told(ours));
        } else if let Some(one) = line.strip_prefix("- ").filter(|_| in_list) {
            found.extend(told(one));
        } else if line.is_empty() || AROUND.contains(&line) || line.starts_with(SESSION_MESSAGE) {
            in_list = false;
        } else {
            break;
        }
    }
    found.truncate(PROOF_HANDLES_MAX);
    found
}

/// What follows our name at the beginning of a text.
fn own_line(line: &str) -> Option<&str> {
    let line = match line.strip_prefix(HOOK_ERROR) {
        Some(rest) => rest.split_once("\": ")?.1,
        None => line,
    };
    line.strip_prefix(OURS)
}

/// The handle of the message of which a line tells.
fn told(line: &str) -> Option<Handle> {
    let line = line.strip_prefix("message ").or_else(|| line.strip_prefix("broadcast "))?;
    let (handle, rest) = line.split_once(' ')?;
    rest.starts_with("from ").then(|| Handle::parse(handle)).flatten()
}
