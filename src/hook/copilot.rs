//! The form of Copilot CLI: <https://docs.github.com/en/copilot/reference/hooks-configuration>.
//!
//! It does not say which event it is. Each has a field that no other has. Hooks of a plugin made for
//! Claude Code are asked as that one asks, and answered in its own form all the same.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Edited, HookEvent, Kind, Output, Verdict, block, claude, file_in, prompt_in, reads_inbox,
};
use crate::model::Moment;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked<'a> {
    session_id: Box<str>,
    cwd: Option<PathBuf>,
    /// Of `sessionStart`.
    source: Option<Box<str>>,
    /// Of `userPromptSubmitted`.
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    /// Of `preToolUse` and `postToolUse`.
    tool_name: Option<Box<str>>,
    #[serde(borrow)]
    tool_args: Option<&'a RawValue>,
    /// Of `postToolUse`.
    #[serde(borrow)]
    tool_result: Option<&'a RawValue>,
    /// Of `agentStop`.
    stop_reason: Option<Box<str>>,
    #[serde(rename = "stop_hook_active")]
    stop_hook_active: Option<bool>,
    /// Of `sessionEnd`.
    reason: Option<Box<str>>,
}

pub(super) fn read(input: &[u8]) -> Option<HookEvent> {
    if let Some(event) = claude::read(input, edited) {
        return Some(event);
    }
    let input: Asked<'_> = serde_json::from_slice(input).ok()?;
    let event = |kind| HookEvent::of(kind, Some(input.session_id), input.cwd);
    Some(match (input.tool_name, input.tool_result) {
        (Some(tool), None) => {
            // Older versions give them as a text of JSON.
            let text: Option<String> =
                input.tool_args.and_then(|args| serde_json::from_str(args.get()).ok());
            let object: Option<&RawValue> = match &text {
                Some(text) => serde_json::from_str(text).ok(),
                None => input.tool_args,
            };
            let edited = edited(&tool, object);
            return event(Kind::BeforeEdit).editing(tool, edited);
        }
        (Some(tool), Some(_)) if reads_inbox(Some(&tool)) => return None,
        (Some(_), Some(_)) => event(Kind::Context(Moment::Tool, "postToolUse")),
        (None, _) if input.prompt.is_some() => {
            let event = event(Kind::Context(Moment::Prompt, "userPromptSubmitted"));
            HookEvent { prompt: prompt_in(input.prompt), ..event }
        }
        (None, _) if input.stop_reason.is_some() => {
            event(Kind::Stop { again: input.stop_hook_active == Some(true) })
        }
        (None, _) if input.source.is_some() => {
            let event = event(Kind::Context(Moment::Start, "sessionStart"));
            HookEvent { source: input.source, ..event }
        }
        (None, _) if input.reason.is_some() => event(Kind::End),
        (None, _) => return None,
    })
}

/// The files that a tool of it changes, by its own names and by those of Claude Code.
fn edited(tool: &str, input: Option<&RawValue>) -> Edited {
    match tool {
        "create" | "edit" | "Create" | "Write" | "Edit" => file_in(input, &["path", "file_path"]),
        _ => Edited::default(),
    }
}

pub(super) fn write(_: &HookEvent, verdict: &Verdict) -> Output {
    match verdict {
        // Without a decision, before a tool, so that whoever else decides about it still does.
        Verdict::Inject(text) | Verdict::Warn(text) => Output::json(&[("additionalContext", text)]),
        Verdict::Deny(reason) => {
            Output::json(&[("permissionDecision", "deny"), ("permissionDecisionReason", reason)])
        }
        Verdict::Continue(text) => block(text),
        Verdict::Silent => Output::default(),
    }
}
