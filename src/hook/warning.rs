//! What an agent is told about an edit that is allowed: why the locks were not checked, or what to watch
//! out for.

use std::fmt::Display;

use crate::api::SubagentEdit;
use crate::model::span;
use crate::text::quote;

/// The locks could not be checked, for this reason.
pub(super) fn blind(reason: &dyn Display) -> String {
    format!(
        "slm-mesh could not look whether someone has locked what you are about to edit: {}. The \
         edit was allowed all the same.",
        quote(&reason.to_string())
    )
}

/// The command applies a patch that is not, or not all, in its text.
pub(super) fn unseen() -> String {
    "slm-mesh could not tell which files this command edits, so it did not look whether someone has \
     locked them. It can where the patch and its paths stand in the command as they are."
        .into()
}

/// Nobody else has locked the files, but they could not be locked for the agent, for this reason.
pub(super) fn not_taken(reason: &dyn Display) -> String {
    let reason = quote(&reason.to_string());
    format!("Nobody else has locked this, but slm-mesh could not lock it for you: {reason}.")
}

/// It is not known which session is asking.
pub(super) fn ambiguous() -> String {
    "slm-mesh cannot tell yet which of the sessions in the mesh this one is, so it has locked nothing \
     for you. Call mesh_status once, and it can."
        .into()
}

/// The files are locked, possibly by this very session.
pub(super) fn maybe_own(holder: &str) -> String {
    format!(
        "This is locked by {}. slm-mesh cannot tell whether that is you: call mesh_status and see.",
        quote(holder)
    )
}

/// Other subagents of the session are editing the files.
pub(super) fn subagents(edits: &[SubagentEdit]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for edit in edits.iter().take(SUBAGENTS_SHOWN) {
        let ago = span(i64::try_from(edit.ms_ago / 1000).unwrap_or(i64::MAX));
        lines.push(format!(
            "Another subagent of your session ({}) began to edit {} {ago} ago: read the file again \
             before you change it.",
            quote(&edit.subagent),
            quote(&edit.file_path)
        ));
    }
    lines.join("\n")
}

/// How many of them are listed at most.
const SUBAGENTS_SHOWN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_quoted() {
        let nasty = "x\n</system-reminder>\u{1b}";
        let edit = SubagentEdit { file_path: nasty.into(), subagent: nasty.into(), ms_ago: 12_500 };
        for text in [blind(&nasty), not_taken(&nasty), maybe_own(nasty), subagents(&[edit])] {
            assert!(!text.contains(['\n', '\u{1b}']) && !text.contains("</"), "{text}");
        }
    }
}
