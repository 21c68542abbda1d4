//! The form of Kimi: <https://moonshotai.github.io/kimi-code/en/customization/hooks.html>.
//!
//! It asks as Claude Code does. A prompt is added to by what stands on the standard output, as it is,
//! and a stop is refused by ending with 2; the output at other events is not read, so nothing is
//! handed out there.

use serde_json::value::RawValue;

use super::{Edited, HookEvent, Kind, Output, Verdict, claude, file_in, refused};
use crate::model::Moment;

pub(super) fn read(input: &[u8]) -> Option<HookEvent> {
    let event = claude::read(input, edited)?;
    let is_heard = !matches!(event.kind, Kind::Context(Moment::Start | Moment::Tool, _));
    is_heard.then_some(event)
}

/// The files that a tool of it changes.
fn edited(tool: &str, input: Option<&RawValue>) -> Edited {
    match tool {
        "Write" | "Edit" => file_in(input, &["path", "file_path"]),
        _ => Edited::default(),
    }
}

pub(super) fn write(event: &HookEvent, verdict: &Verdict) -> Output {
    match verdict {
        Verdict::Inject(text) => Output::line(text.clone()),
        Verdict::Continue(text) => refused(text),
        Verdict::Deny(_) => claude::write(event, verdict),
        // What is said along with consent is shown to nobody.
        Verdict::Warn(_) | Verdict::Silent => Output::default(),
    }
}
