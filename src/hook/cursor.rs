//! The form of Cursor: <https://cursor.com/docs/hooks>.
//!
//! At a prompt (`beforeSubmitPrompt`) a hook can stop it but not add to it, so none is put in there. How
//! often the agent has been kept from stopping is `loop_count`; one that was interrupted or has failed
//! (`status`) is left in peace.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{HookEvent, Kind, Output, Verdict, file_in, reads_inbox};
use crate::model::Moment;

#[derive(Deserialize)]
struct Asked<'a> {
    hook_event_name: String,
    /// Only `sessionStart` has it; it is the conversation's.
    session_id: Option<Box<str>>,
    conversation_id: Option<Box<str>>,
    cwd: Option<PathBuf>,
    workspace_roots: Option<Vec<PathBuf>>,
    tool_name: Option<Box<str>>,
    #[serde(borrow)]
    tool_input: Option<&'a RawValue>,
    status: Option<Box<str>>,
    loop_count: Option<u32>,
}

pub(super) fn read(input: &[u8]) -> Option<HookEvent> {
    let input: Asked<'_> = serde_json::from_slice(input).ok()?;
    let workspace = input.workspace_roots.and_then(|roots| roots.into_iter().next());
    let cwd = input.cwd.filter(|cwd| cwd.is_absolute()).or(workspace);
    let event = |kind| HookEvent::of(kind, input.session_id.or(input.conversation_id), cwd);
    Some(match (input.hook_event_name.as_str(), input.tool_name) {
        ("sessionStart", _) => event(Kind::Context(Moment::Start, "sessionStart")),
        ("postToolUse", tool) if !reads_inbox(tool.as_deref()) => {
            event(Kind::Context(Moment::Tool, "postToolUse"))
        }
        ("preToolUse", Some(tool)) if matches!(&*tool, "Write" | "Edit" | "Delete") => {
            let edited = file_in(input.tool_input, &["file_path", "path"]);
            return event(Kind::BeforeEdit).editing(tool, edited);
        }
        ("stop", _) if input.status.is_some_and(|status| &*status != "completed") => {
            event(Kind::End)
        }
        ("stop", _) => event(Kind::Stop { again: input.loop_count.unwrap_or(0) > 0 }),
        ("sessionEnd", _) => event(Kind::End),
        _ => return None,
    })
}

pub(super) fn write(event: &HookEvent, verdict: &Verdict) -> Output {
    match (verdict, event.kind) {
        (Verdict::Inject(text), Kind::Context(..)) => Output::json(&[("additional_context", text)]),
        // Without `permission`, so that whoever else decides about it still does.
        (Verdict::Warn(text), _) => {
            Output::json(&[("user_message", text), ("agent_message", text)])
        }
        (Verdict::Deny(reason), _) => Output::json(&[
            ("permission", "deny"),
            ("user_message", reason),
            ("agent_message", reason),
        ]),
        (Verdict::Continue(text), _) => Output::json(&[("followup_message", text)]),
        (Verdict::Silent | Verdict::Inject(_), _) => Output::default(),
    }
}
