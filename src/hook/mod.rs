//! `slm-mesh hook <agent>`, which agents run at certain points of a turn. It puts waiting messages into
//! the agent's context, and keeps it from editing files that others have locked.
//!
//! | module | what it does |
//! |---|---|
//! | `claude`, `codex`, `qwen`, `kimi`, `gemini`, `copilot`, `cursor`, `windsurf` | the form in which one agent asks and is answered; no I/O |
//! | `auto` | which agent is calling, if the command does not say |
//! | `patch` | which files a patch changes |
//! | `shell` | which patches a shell command applies |
//! | `text` | what a refusal says |
//! | `warning` | what is said about an edit that is allowed |
//! | `session` | which peer the hook acts for |
//! | `gate` | who may edit |
//! | `stdio` | input and output with time limits |
//! | `run` | all steps in order |
//! | `waiting` | the hook that waits beside the agent for a message |
//!
//! A hook never gets in the way: without a broker or a session, after an error or when its time is up,
//! it exits with success, which every agent takes for consent. Before an edit it has more time, and if
//! the locks could not be checked even so, it says so. Otherwise it stays silent.

mod auto;
mod claude;
mod codex;
mod copilot;
mod cursor;
mod gate;
mod gemini;
#[cfg(test)]
#[path = "golden/tests.rs"]
mod golden;
mod kimi;
mod patch;
mod qwen;
mod run;
pub mod session;
mod shell;
mod stdio;
pub mod text;
mod waiting;
mod warning;
mod windsurf;

pub use gate::{Tree, locks_on};
pub use patch::files as files_of_patch;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::agents::HookForm;
use crate::model::Moment;

pub use run::{check_edit, run};
pub use waiting::wait;

/// What a hook is asked, in a form independent of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookEvent {
    /// The point of the turn.
    pub kind: Kind,
    /// The agent's name for its session.
    pub session: Option<Box<str>>,
    /// The directory that relative paths are resolved against.
    pub cwd: Option<PathBuf>,
    /// The tool that is about to run, for [`Kind::BeforeEdit`].
    pub tool: Option<Box<str>>,
    /// The files it will change, for [`Kind::BeforeEdit`].
    pub files: Vec<PathBuf>,
    /// It will or may also change files whose names cannot be determined.
    pub unseen: bool,
    /// The agent's id of the subagent that does it, if it gives one.
    pub subagent: Option<Box<str>>,
    /// For the start of a session: what started it, `clear` for example.
    pub source: Option<Box<str>>,
    /// For the start of a turn: its prompt.
    pub prompt: Option<Box<str>>,
}

impl HookEvent {
    /// An event of a session in which no file is changed.
    fn of(kind: Kind, session: Option<Box<str>>, cwd: Option<PathBuf>) -> Self {
        Self { kind, session, cwd, ..Self::default() }
    }

    /// A session is about to change these files.
    #[must_use]
    pub fn before_edit(
        session: Option<Box<str>>,
        cwd: Option<PathBuf>,
        files: Vec<PathBuf>,
    ) -> Self {
        Self { files, ..Self::of(Kind::BeforeEdit, session, cwd) }
    }

    /// The same event, before a tool that changes files; `None` if it changes none.
    fn editing(self, tool: Box<str>, edited: Edited) -> Option<Self> {
        let Edited { files, unseen } = edited;
        let is_edit = unseen || !files.is_empty();
        is_edit.then_some(Self { kind: Kind::BeforeEdit, tool: Some(tool), files, unseen, ..self })
    }
}

/// What a tool is about to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Edited {
    /// These files.
    files: Vec<PathBuf>,
    /// It will or may also change files whose names cannot be determined.
    unseen: bool,
}

impl Edited {
    fn add(&mut self, file: PathBuf) {
        if !self.files.contains(&file) {
            self.files.push(file);
        }
    }
}

/// The points of a turn at which a hook has something to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Text may be added to the context. With the agent's own name for the event.
    Context(Moment, &'static str),
    /// A tool is about to change files.
    BeforeEdit,
    /// The agent is about to stop.
    Stop {
        /// It has already been kept from stopping in this turn.
        again: bool,
    },
    /// The session ends, or a turn ends at a point where nothing can be said.
    #[default]
    End,
}

impl Kind {
    /// The moment of the turn to report; none before an edit.
    fn moment(self) -> Option<Moment> {
        match self {
            Self::Context(moment, _) => Some(moment),
            Self::BeforeEdit => None,
            Self::Stop { again: false } => Some(Moment::Stop),
            // The turn ends now, whatever is waiting.
            Self::Stop { again: true } | Self::End => Some(Moment::End),
        }
    }
}

/// The answer to a [`HookEvent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No objection and nothing to say.
    Silent,
    /// Put this into the context.
    Inject(String),
    /// Allow the edit, and say this.
    Warn(String),
    /// Refuse the edit, for this reason.
    Deny(String),
    /// Do not stop yet; this has come in.
    Continue(String),
}

/// An answer as the process gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// What is written to the standard output.
    pub stdout: String,
    /// What is written to the standard error.
    pub stderr: String,
    /// The exit code.
    pub exit: u8,
}

impl Output {
    /// One line on the standard output.
    fn line(mut stdout: String) -> Self {
        stdout.push('\n');
        Self { stdout, ..Self::default() }
    }

    /// A JSON object of these members on the standard output.
    fn json(members: &[(&str, &str)]) -> Self {
        Self::line(object(members))
    }

    /// What Claude Code, and the agents that have taken over its form, read at an event of this name.
    fn for_event(name: &str, members: &[(&str, &str)]) -> Self {
        let members = object(&[&[("hookEventName", name)], members].concat());
        Self::line(format!(r#"{{"hookSpecificOutput":{members}}}"#))
    }
}

/// A JSON object with its members in this order.
fn object(members: &[(&str, &str)]) -> String {
    let member = |(name, text): &(&str, &str)| format!("{}:{}", quoted(name), quoted(text));
    let members: Vec<String> = members.iter().map(member).collect();
    format!("{{{}}}", members.join(","))
}

impl HookForm {
    /// Reads what the agent wrote. `None` if there is nothing to do, or it was not understood.
    #[must_use]
    pub fn read(self, input: &[u8]) -> Option<HookEvent> {
        match self {
            Self::ClaudeCode => claude::read(input, claude::edited),
            Self::Codex => claude::read(input, codex::edited),
            Self::QwenCode => qwen::read(input),
            Self::KimiCode => kimi::read(input),
            Self::GeminiCli => gemini::read(input),
            Self::CopilotCli => copilot::read(input),
            Self::Cursor => cursor::read(input),
            Self::Windsurf => windsurf::read(input),
        }
    }

    /// Writes an answer in the form that the agent reads.
    #[must_use]
    pub fn write(self, event: &HookEvent, verdict: &Verdict) -> Output {
        match self {
            Self::ClaudeCode => claude::write_own(event, verdict),
            Self::Codex | Self::QwenCode => claude::write(event, verdict),
            Self::KimiCode => kimi::write(event, verdict),
            Self::GeminiCli => gemini::write(event, verdict),
            Self::CopilotCli => copilot::write(event, verdict),
            Self::Cursor => cursor::write(event, verdict),
            Self::Windsurf => windsurf::write(event, verdict),
        }
    }
}

/// The value of the first of `names` that is a string, or list of strings, in the JSON object `object`.
/// The values of other fields, which may be whole files, are not parsed.
fn value_in<T: DeserializeOwned>(object: Option<&RawValue>, names: &[&str]) -> Option<T> {
    let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(object?.get()).ok()?;
    names.iter().find_map(|name| serde_json::from_str(fields.get(*name)?.get()).ok())
}

/// The one file that is edited, whose path is in the first of `names`.
fn file_in(object: Option<&RawValue>, names: &[&str]) -> Edited {
    let path = value_in(object, names).filter(|path: &String| !path.is_empty());
    Edited { files: path.map(PathBuf::from).into_iter().collect(), unseen: false }
}

/// Whether the agent has just read its inbox with this tool, whatever prefix the agent puts before the
/// tool's name.
fn reads_inbox(tool: Option<&str>) -> bool {
    tool.is_some_and(|tool| tool.ends_with("mesh_inbox"))
}

/// The text of a prompt, which is a string or a list of parts.
fn prompt_in(prompt: Option<&RawValue>) -> Option<Box<str>> {
    #[derive(Deserialize)]
    struct Part {
        text: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Prompt {
        Text(Box<str>),
        Parts(Vec<Part>),
    }
    Some(match serde_json::from_str(prompt?.get()).ok()? {
        Prompt::Text(text) => text,
        Prompt::Parts(parts) => {
            let texts: Vec<String> = parts.into_iter().filter_map(|part| part.text).collect();
            texts.join("\n").into()
        }
    })
}

/// A refusal as several agents read it: exit code 2, with the reason on the standard error.
fn refused(reason: &str) -> Output {
    Output { stdout: String::new(), stderr: format!("{reason}\n"), exit: 2 }
}

/// An answer that keeps an agent from stopping, in the form that several agents share.
fn block(reason: &str) -> Output {
    Output::json(&[("decision", "block"), ("reason", reason)])
}

/// `text` as JSON.
fn quoted(text: &str) -> String {
    // Serializing a string cannot fail.
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::{self, Agent};

    fn forms() -> impl Iterator<Item = HookForm> {
        agents::with_hooks().filter_map(Agent::hook_form)
    }

    #[test]
    fn what_is_not_understood_is_nothing() {
        let inputs: &[&[u8]] = &[
            b"",
            b" ",
            b"null",
            b"[]",
            b"{}",
            b"\"PreToolUse\"",
            b"{\"hook_event_name\":",
            b"{\"hook_event_name\":7}",
            b"{\"hook_event_name\":\"Nothing\"}",
            b"{\"hook_event_name\":\"PreToolUse\",\"tool_name\":\"Edit\",\"tool_input\":7}",
            b"{\"hook_event_name\":\"PreToolUse\",\"tool_name\":[],\"tool_input\":{}}",
            b"{\"hook_event_name\":\"PreToolUse\",\"tool_name\":\"Edit\",\"tool_input\":{\"file_path\":7}}",
            b"{\"hook_event_name\":\"PreToolUse\",\"tool_name\":\"Edit\",\"tool_input\":{\"file_path\":\"\"}}",
            b"{\"hook_event_name\":\"BeforeTool\",\"tool_name\":\"replace\"}",
            b"{\"hook_event_name\":\"preToolUse\",\"tool_name\":\"Write\",\"tool_input\":null}",
            b"{\"agent_action_name\":\"pre_write_code\"}",
            b"{\"agent_action_name\":\"pre_write_code\",\"tool_info\":[]}",
            // UTF-16, a byte order mark, Latin-1.
            b"\xff\xfe{\x00}\x00",
            b"\xef\xbb\xbf{\"hook_event_name\":\"SessionStart\"}",
            b"{\"hook_event_name\":\"SessionStart\",\"cwd\":\"/\xe4\"}",
        ];
        for form in forms() {
            for input in inputs {
                assert_eq!(form.read(input), None, "{form:?} {input:?}");
            }
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for form in forms() {
            assert_eq!(form.read(deep.as_bytes()), None);
        }
    }

    #[test]
    fn silence_is_no_byte_and_no_error() {
        let event = HookEvent::of(Kind::BeforeEdit, None, None);
        for form in forms() {
            assert_eq!(form.write(&event, &Verdict::Silent), Output::default());
        }
    }
}
