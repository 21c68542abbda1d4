//! The form of Windsurf: <https://docs.windsurf.com/windsurf/cascade/hooks>.
//!
//! A hook there can refuse, by ending with 2 and the reason on its standard error, and has no way to
//! add to the context.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{HookEvent, Kind, Output, Verdict, file_in, refused};

#[derive(Deserialize)]
struct Asked<'a> {
    agent_action_name: String,
    trajectory_id: Option<Box<str>>,
    #[serde(borrow)]
    tool_info: Option<&'a RawValue>,
}

pub(super) fn read(input: &[u8]) -> Option<HookEvent> {
    let input: Asked<'_> = serde_json::from_slice(input).ok()?;
    if input.agent_action_name != "pre_write_code" {
        return None;
    }
    // Its working directory is that of the process: the root of the workspace.
    let event = HookEvent::of(Kind::BeforeEdit, input.trajectory_id, None);
    let edited = file_in(input.tool_info, &["file_path"]);
    event.editing(input.agent_action_name.into(), edited)
}

pub(super) fn write(_: &HookEvent, verdict: &Verdict) -> Output {
    match verdict {
        Verdict::Deny(reason) => refused(reason),
        // It shows what a hook says (`show_output`).
        Verdict::Warn(text) => Output { stderr: format!("{text}\n"), ..Output::default() },
        Verdict::Silent | Verdict::Inject(_) | Verdict::Continue(_) => Output::default(),
    }
}
