//! The form of Gemini CLI: <https://geminicli.com/docs/hooks/reference>.
//!
//! `AfterAgent` keeps the agent going: the answer it has just given stays in its context, and the
//! reason becomes the next prompt.

use super::claude::Asked;
use super::{HookEvent, Kind, Output, Verdict, block, file_in, prompt_in, reads_inbox};
use crate::model::Moment;

pub(super) fn read(input: &[u8]) -> Option<HookEvent> {
    let input: Asked<'_> = serde_json::from_slice(input).ok()?;
    let event = |kind| HookEvent::of(kind, input.session_id, input.cwd);
    Some(match (input.hook_event_name.as_str(), input.tool_name) {
        ("SessionStart", _) => {
            let event = event(Kind::Context(Moment::Start, "SessionStart"));
            HookEvent { source: input.source, ..event }
        }
        ("BeforeAgent", _) => {
            let event = event(Kind::Context(Moment::Prompt, "BeforeAgent"));
            HookEvent { prompt: prompt_in(input.prompt), ..event }
        }
        ("AfterTool", tool) if !reads_inbox(tool.as_deref()) => {
            event(Kind::Context(Moment::Tool, "AfterTool"))
        }
        ("AfterAgent", _) => event(Kind::Stop { again: input.stop_hook_active == Some(true) }),
        ("SessionEnd", _) => event(Kind::End),
        ("BeforeTool", Some(tool)) if matches!(&*tool, "write_file" | "replace") => {
            let edited = file_in(input.tool_input, &["file_path"]);
            return event(Kind::BeforeEdit).editing(tool, edited);
        }
        _ => return None,
    })
}

pub(super) fn write(event: &HookEvent, verdict: &Verdict) -> Output {
    match (verdict, event.kind) {
        (Verdict::Inject(text), Kind::Context(_, name)) => {
            Output::for_event(name, &[("additionalContext", text)])
        }
        // Of all that may be answered before a tool, only this is shown to anyone.
        (Verdict::Warn(text), _) => Output::json(&[("systemMessage", text)]),
        (Verdict::Deny(reason), _) => Output::json(&[("decision", "deny"), ("reason", reason)]),
        (Verdict::Continue(text), _) => block(text),
        (Verdict::Silent | Verdict::Inject(_), _) => Output::default(),
    }
}
