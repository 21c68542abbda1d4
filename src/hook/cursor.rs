//! The form of Cursor: <https://cursor.com/docs/hooks>.
//!
//! A prompt (`beforeSubmitPrompt`) can be stopped there and not added to. How often the agent has
//! been kept from stopping is `loop_count`; one that was interrupted or has failed (`status`) is left
//! in peace.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{HookEvent, Kind, Output, Verdict, file_in, quoted, reads_inbox};

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
    let tool = input.tool_name.as_deref();
    let (kind, files) = match (input.hook_event_name.as_str(), tool) {
        ("sessionStart", _) => (Kind::Context("sessionStart"), Vec::new()),
        ("postToolUse", tool) if !reads_inbox(tool) => (Kind::Context("postToolUse"), Vec::new()),
        ("preToolUse", Some("Write" | "Edit" | "Delete")) => {
            (Kind::BeforeEdit, file_in(input.tool_input, &["file_path", "path"]))
        }
        ("stop", _) if input.loop_count.unwrap_or(0) == 0 => {
            if input.status.is_some_and(|status| &*status != "completed") {
                return None;
            }
            (Kind::Stop, Vec::new())
        }
        _ => return None,
    };
    let edits = kind == Kind::BeforeEdit;
    if edits && files.is_empty() {
        return None;
    }
    let workspace = input.workspace_roots.and_then(|roots| roots.into_iter().next());
    let cwd = input.cwd.filter(|cwd| cwd.is_absolute()).or(workspace);
    let session = input.session_id.or(input.conversation_id);
    Some(HookEvent { kind, session, cwd, tool: input.tool_name.filter(|_| edits), files })
}

pub(super) fn write(event: &HookEvent, verdict: &Verdict) -> Output {
    match (verdict, event.kind) {
        (Verdict::Inject(text), Kind::Context(_)) => {
            Output::line(format!(r#"{{"additional_context":{}}}"#, quoted(text)))
        }
        (Verdict::Deny(reason), _) => {
            let reason = quoted(reason);
            Output::line(format!(
                r#"{{"permission":"deny","user_message":{reason},"agent_message":{reason}}}"#
            ))
        }
        (Verdict::Continue(text), _) => {
            Output::line(format!(r#"{{"followup_message":{}}}"#, quoted(text)))
        }
        (Verdict::Silent | Verdict::Inject(_), _) => Output::default(),
    }
}
