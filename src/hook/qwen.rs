//! What is particular to Qwen Code: <https://qwenlm.github.io/qwen-code-docs/en/users/features/hooks>.
//!
//! It says `UserPromptSubmit` after each tool, too, with an empty prompt, and for what has kept it from
//! stopping, but never for what its socket has taken. So a prompt says nothing about what waits there,
//! and is no more than a sign that a turn goes on.

use serde_json::value::RawValue;

use super::{Edited, HookEvent, Kind, claude, file_in};
use crate::model::Moment;

pub(super) fn read(input: &[u8]) -> Option<HookEvent> {
    let mut event = claude::read(input, edited)?;
    if let Kind::Context(moment @ Moment::Prompt, _) = &mut event.kind {
        *moment = Moment::Tool;
    }
    Some(event)
}

/// The files that a tool of it changes.
fn edited(tool: &str, input: Option<&RawValue>) -> Edited {
    match tool {
        "write_file" | "edit" | "replace" => file_in(input, &["file_path"]),
        "notebook_edit" => file_in(input, &["notebook_path"]),
        _ => Edited::default(),
    }
}
