//! Which agent asks, for a file of hooks that several agents read.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Agent;
use crate::agent::above;
use crate::agent::detect::agent_type;

/// Who has written `input`: the nearest agent above this process; else whoever writes in this form;
/// else whose variables this process has, which may be those of an agent further above.
pub(super) fn agent(input: &[u8]) -> Option<Agent> {
    let nearest = above::above(std::process::id()).nearest;
    let above = nearest.and_then(|nearest| Agent::find(nearest.agent));
    above.or_else(|| by_form(input)).or_else(|| Agent::find(&agent_type(None)))
}

/// Who alone writes in this form.
fn by_form(input: &[u8]) -> Option<Agent> {
    #[derive(Deserialize)]
    struct Asked {
        hook_event_name: Option<String>,
        client_type: Option<String>,
        agent_action_name: Option<IgnoredAny>,
        #[serde(rename = "sessionId")]
        session_id: Option<IgnoredAny>,
    }
    let asked: Asked = serde_json::from_slice(input).ok()?;
    let event = asked.hook_event_name.as_deref();
    if asked.agent_action_name.is_some() {
        Some(Agent::Windsurf)
    } else if asked.client_type.is_some_and(|kind| kind.starts_with("kimi")) {
        Some(Agent::KimiCode)
    } else if asked.session_id.is_some() && event.is_none() {
        Some(Agent::CopilotCli)
    } else if event.is_some_and(|event| event.starts_with(|c: char| c.is_ascii_lowercase())) {
        Some(Agent::Cursor)
    } else if matches!(event, Some("BeforeAgent" | "AfterAgent" | "BeforeTool" | "AfterTool")) {
        Some(Agent::GeminiCli)
    } else {
        None
    }
}
