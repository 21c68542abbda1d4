//! `slm-mesh hook`: the real binary, run as agents run it, against a real broker.

mod gate;
mod messages;
mod out_of_the_way;
mod whose;

use crate::common::Mesh;
use crate::common::session::edit;
use serde_json::{Value, json};

pub(super) fn me() -> u32 {
    std::process::id()
}

pub(super) fn path(mesh: &Mesh, name: &str) -> String {
    mesh.work().join(name).to_str().unwrap().into()
}

/// What each agent writes before it edits `file`, and what it reads as a no.
pub(super) fn edits(file: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("claude-code", edit("none", file)),
        (
            "codex",
            json!({
                "hook_event_name": "PreToolUse", "session_id": "none", "tool_name": "apply_patch",
                "tool_input": {"command": format!("*** Begin Patch\n*** Update File: {file}\n")},
            }),
        ),
        (
            "qwen-code",
            json!({
                "hook_event_name": "PreToolUse", "tool_name": "write_file",
                "tool_input": {"file_path": file},
            }),
        ),
        (
            "kimi-code",
            json!({
                "hook_event_name": "PreToolUse", "client_type": "kimi_code_cli",
                "tool_name": "Edit", "tool_input": {"path": file},
            }),
        ),
        (
            "copilot-cli",
            json!({"sessionId": "none", "toolName": "edit", "toolArgs": {"path": file}}),
        ),
        (
            "gemini-cli",
            json!({
                "hook_event_name": "BeforeTool", "tool_name": "replace",
                "tool_input": {"file_path": file},
            }),
        ),
        (
            "cursor",
            json!({
                "hook_event_name": "preToolUse", "tool_name": "Write",
                "tool_input": {"file_path": file},
            }),
        ),
        (
            "windsurf",
            json!({"agent_action_name": "pre_write_code", "tool_info": {"file_path": file}}),
        ),
    ]
}

pub(super) fn denied(agent: &str, ran: &crate::common::Ran) -> String {
    if agent == "windsurf" {
        assert_eq!((ran.code, &*ran.out), (Some(2), ""), "{ran:?}");
        return ran.err.clone();
    }
    assert_eq!((ran.code, &*ran.err), (Some(0), ""), "{agent}: {ran:?}");
    let json = ran.json();
    let (no, reason) = match agent {
        "gemini-cli" => (&json["decision"], &json["reason"]),
        "cursor" => (&json["permission"], &json["agent_message"]),
        "copilot-cli" => (&json["permissionDecision"], &json["permissionDecisionReason"]),
        _ => {
            let output = &json["hookSpecificOutput"];
            (&output["permissionDecision"], &output["permissionDecisionReason"])
        }
    };
    assert_eq!(no, "deny", "{agent}: {ran:?}");
    reason.as_str().unwrap().into()
}

pub(super) fn context(event: &str) -> Value {
    json!({"session_id": "s-1", "hook_event_name": event, "tool_name": "Bash", "tool_input": {}})
}

/// What the text of one message quotes, if it has the form of all texts.
#[track_caller]
pub(super) fn quoted(text: &str) -> &str {
    let rest = text.strip_prefix("slm-mesh: ").unwrap_or_else(|| panic!("{text}"));
    let (_, rest) = rest.split_once(": ").unwrap_or_else(|| panic!("{text}"));
    let (quotation, answer) = rest.split_once(". Answer with mesh_send (to ").unwrap();
    assert!(answer.ends_with("\")."), "{text}");
    quotation
}

pub(super) fn injected(ran: &crate::common::Ran) -> String {
    assert_eq!((ran.code, &*ran.err), (Some(0), ""), "{ran:?}");
    ran.json()["hookSpecificOutput"]["additionalContext"].as_str().unwrap().into()
}
