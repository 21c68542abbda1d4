//! Which agent is calling, for a hooks file that several agents read.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::agent::above;
use crate::agent::detect::agent_type;
use crate::agents::{self, Agent, HookForm};

/// The agent that wrote `input`: the nearest one among the processes above; failing that, the only one
/// that writes in this form; failing that, the one whose variables are set here, although those may be
/// inherited from an agent further up.
pub(super) fn agent(input: &[u8]) -> Option<&'static Agent> {
    let has_hooks = |agent: &&Agent| agent.hook_form().is_some();
    let above = above::above(std::process::id()).nearest.map(|nearest| nearest.agent);
    let by_form = || by_form(input).and_then(agents::of_form);
    let by_variables = || agents::of_type(&agent_type(None)).filter(has_hooks);
    above.filter(has_hooks).or_else(by_form).or_else(by_variables)
}

/// The only agent that writes in this form.
fn by_form(input: &[u8]) -> Option<HookForm> {
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
        Some(HookForm::Windsurf)
    } else if asked.client_type.is_some_and(|kind| kind.starts_with("kimi")) {
        Some(HookForm::KimiCode)
    } else if asked.session_id.is_some() && event.is_none() {
        Some(HookForm::CopilotCli)
    } else if event.is_some_and(|event| event.starts_with(|c: char| c.is_ascii_lowercase())) {
        Some(HookForm::Cursor)
    } else if matches!(event, Some("BeforeAgent" | "AfterAgent" | "BeforeTool" | "AfterTool")) {
        Some(HookForm::GeminiCli)
    } else {
        None
    }
}
