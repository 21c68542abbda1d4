//! Which agent asks, for a file of hooks that several agents read.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::agent::above;
use crate::agent::detect::agent_type;
use crate::agents::{self, Agent, HookForm};

/// Who has written `input`: the nearest agent above this process; else whoever writes in this form;
/// else whose variables this process has, which may be those of an agent further above.
pub(super) fn agent(input: &[u8]) -> Option<&'static Agent> {
    let has_hooks = |agent: &&Agent| agent.hook_form().is_some();
    let above = above::above(std::process::id()).nearest.map(|nearest| nearest.agent);
    let by_form = || by_form(input).and_then(agents::of_form);
    let by_variables = || agents::of_type(&agent_type(None)).filter(has_hooks);
    above.filter(has_hooks).or_else(by_form).or_else(by_variables)
}

/// Who alone writes in this form.
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
