//! The form of Gemini CLI: <https://geminicli.com/docs/hooks/reference>.
//!
//! There is no [`Kind::Stop`]: `AfterAgent` could keep the agent going, but by rejecting the answer
//! it has just given.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{HookEvent, Kind, Output, Verdict, file_in, quoted, reads_inbox};

#[derive(Deserialize)]
struct Asked<'a> {
    hook_event_name: String,
    session_id: Option<Box<str>>,
    cwd: Option<PathBuf>,
    tool_name: Option<Box<str>>,
    #[serde(borrow)]
    tool_input: Option<&'a RawValue>,
}

pub(super) fn read(input: &[u8]) -> Option<HookEvent> {
    let input: Asked<'_> = serde_json::from_slice(input).ok()?;
    let tool = input.tool_name.as_deref();
    let (kind, files) = match (input.hook_event_name.as_str(), tool) {
        ("SessionStart", _) => (Kind::Context("SessionStart"), Vec::new()),
        ("BeforeAgent", _) => (Kind::Context("BeforeAgent"), Vec::new()),
        ("AfterTool", tool) if !reads_inbox(tool) => (Kind::Context("AfterTool"), Vec::new()),
        ("BeforeTool", Some("write_file" | "replace")) => {
            (Kind::BeforeEdit, file_in(input.tool_input, &["file_path"]))
        }
        _ => return None,
    };
    let edits = kind == Kind::BeforeEdit;
    if edits && files.is_empty() {
        return None;
    }
    let tool = input.tool_name.filter(|_| edits);
    Some(HookEvent { kind, session: input.session_id, cwd: input.cwd, tool, files })
}

pub(super) fn write(event: &HookEvent, verdict: &Verdict) -> Output {
    match (verdict, event.kind) {
        (Verdict::Inject(text), Kind::Context(name)) => Output::line(format!(
            r#"{{"hookSpecificOutput":{{"hookEventName":"{name}","additionalContext":{}}}}}"#,
            quoted(text)
        )),
        (Verdict::Deny(reason), _) => {
            Output::line(format!(r#"{{"decision":"deny","reason":{}}}"#, quoted(reason)))
        }
        (Verdict::Silent | Verdict::Inject(_) | Verdict::Continue(_), _) => Output::default(),
    }
}
