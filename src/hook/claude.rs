//! The form of Claude Code, which Codex, Qwen Code and, for what it reads, Kimi have taken over.
//!
//! Fields and answers: <https://code.claude.com/docs/en/hooks>; for Codex
//! <https://developers.openai.com/codex/hooks> and the schemas in `codex-rs/hooks/schema/generated`
//! of its source, which allow no other fields in an answer.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{
    Edited, HookEvent, Kind, Output, Verdict, block, file_in, prompt_in, reads_inbox, refused,
};
use crate::model::Moment;

/// What it writes. Gemini CLI uses the same names.
#[derive(Deserialize)]
pub(super) struct Asked<'a> {
    pub(super) hook_event_name: String,
    pub(super) session_id: Option<Box<str>>,
    pub(super) cwd: Option<PathBuf>,
    pub(super) tool_name: Option<Box<str>>,
    #[serde(borrow)]
    pub(super) tool_input: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) prompt: Option<&'a RawValue>,
    pub(super) stop_hook_active: Option<bool>,
    /// Only there in a subagent.
    agent_id: Option<Value>,
    /// Of `SessionStart`.
    pub(super) source: Option<Box<str>>,
}

/// Reads an event. `edited` tells which files a tool of this name and input changes.
pub(super) fn read(
    input: &[u8],
    edited: fn(&str, Option<&RawValue>) -> Edited,
) -> Option<HookEvent> {
    let input: Asked<'_> = serde_json::from_slice(input).ok()?;
    let kind = match input.hook_event_name.as_str() {
        "SessionStart" => Kind::Context(Moment::Start, "SessionStart"),
        "UserPromptSubmit" => Kind::Context(Moment::Prompt, "UserPromptSubmit"),
        "PostToolUse" if !reads_inbox(input.tool_name.as_deref()) => {
            Kind::Context(Moment::Tool, "PostToolUse")
        }
        "PreToolUse" => Kind::BeforeEdit,
        "Stop" => Kind::Stop { again: input.stop_hook_active == Some(true) },
        // The last two: a turn has failed, or was interrupted (Kimi).
        "SessionEnd" | "StopFailure" | "Interrupt" => Kind::End,
        _ => return None,
    };
    // What is put into the context of a subagent ends with it: the session's own agent, whose
    // messages they are, would never see them.
    if kind != Kind::BeforeEdit && input.agent_id.is_some() {
        return None;
    }
    let mut event = HookEvent::of(kind, input.session_id, input.cwd);
    if kind == Kind::BeforeEdit {
        let tool = input.tool_name?;
        let edited = edited(&tool, input.tool_input);
        event = event.editing(tool, edited)?;
        event.subagent = input.agent_id.map(|id| match id {
            Value::String(id) => id.into(),
            other => other.to_string().into(),
        });
    }
    Some(HookEvent { source: input.source, prompt: prompt_in(input.prompt), ..event })
}

/// The files that a tool of Claude Code changes. `MultiEdit` is one of older versions.
pub(super) fn edited(tool: &str, input: Option<&RawValue>) -> Edited {
    match tool {
        "Write" | "Edit" | "MultiEdit" => file_in(input, &["file_path"]),
        "NotebookEdit" => file_in(input, &["notebook_path"]),
        _ => Edited::default(),
    }
}

/// The answer to Claude Code itself. The reason of a decision to go on stands before its model twice
/// (2.1.332), that on the standard error once.
pub(super) fn write_own(event: &HookEvent, verdict: &Verdict) -> Output {
    match verdict {
        Verdict::Continue(text) => refused(text),
        verdict => write(event, verdict),
    }
}

pub(super) fn write(event: &HookEvent, verdict: &Verdict) -> Output {
    match (verdict, event.kind) {
        (Verdict::Inject(text), Kind::Context(_, name)) => {
            Output::for_event(name, &[("additionalContext", text)])
        }
        // Without a decision, so that whoever else decides about it still does.
        (Verdict::Warn(text), _) => Output::for_event("PreToolUse", &[("additionalContext", text)]),
        (Verdict::Deny(reason), _) => Output::for_event(
            "PreToolUse",
            &[("permissionDecision", "deny"), ("permissionDecisionReason", reason)],
        ),
        (Verdict::Continue(text), _) => block(text),
        (Verdict::Silent | Verdict::Inject(_), _) => Output::default(),
    }
}
