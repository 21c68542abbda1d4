//! What each agent asks and is answered, to the byte: `golden/<agent>.json`, written after the
//! vendors' documents and what the agents have written themselves.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{HookEvent, HookForm, Kind, Output, Verdict};
use crate::model::Moment;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What it is about, for people.
    about: String,
    /// What the agent writes.
    input: Box<RawValue>,
    /// What is read of it; none for nothing.
    event: Option<Event>,
    /// What is written for each verdict that can come of it.
    #[serde(default)]
    answers: BTreeMap<String, Answer>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    kind: String,
    session: Option<Box<str>>,
    cwd: Option<PathBuf>,
    tool: Option<Box<str>>,
    #[serde(default)]
    files: Vec<PathBuf>,
    #[serde(default)]
    unseen: bool,
    subagent: Option<Box<str>>,
    source: Option<Box<str>>,
    prompt: Option<Box<str>>,
}

/// The parts of an event, to be compared.
impl From<HookEvent> for Event {
    fn from(event: HookEvent) -> Self {
        let HookEvent { kind: at, session, cwd, tool, files, unseen, subagent, source, prompt } =
            event;
        Self { kind: kind(at), session, cwd, tool, files, unseen, subagent, source, prompt }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    stderr: String,
    #[serde(default)]
    exit: u8,
}

const GOLDEN: [(HookForm, &str); 8] = [
    (HookForm::ClaudeCode, include_str!("claude-code.json")),
    (HookForm::Codex, include_str!("codex.json")),
    (HookForm::QwenCode, include_str!("qwen-code.json")),
    (HookForm::KimiCode, include_str!("kimi-code.json")),
    (HookForm::CopilotCli, include_str!("copilot-cli.json")),
    (HookForm::GeminiCli, include_str!("gemini-cli.json")),
    (HookForm::Cursor, include_str!("cursor.json")),
    (HookForm::Windsurf, include_str!("windsurf.json")),
];

/// The text in every answer: quotes, a line break, and what is beyond ASCII.
const TEXT: &str = "locked by \"bob\"\nor so: ü";

fn kind(kind: Kind) -> String {
    match kind {
        // The event mostly says by its name where in a turn it is.
        Kind::Context(Moment::Tool, "UserPromptSubmit") => "context UserPromptSubmit tool".into(),
        Kind::Context(_, name) => format!("context {name}"),
        Kind::BeforeEdit => "edit".into(),
        Kind::Stop { again: false } => "stop".into(),
        Kind::Stop { again: true } => "stop again".into(),
        Kind::End => "end".into(),
    }
}

fn verdict(name: &str) -> Verdict {
    match name {
        "inject" => Verdict::Inject(TEXT.into()),
        "warn" => Verdict::Warn(TEXT.into()),
        "deny" => Verdict::Deny(TEXT.into()),
        "continue" => Verdict::Continue(TEXT.into()),
        "silent" => Verdict::Silent,
        other => panic!("{other} is no verdict"),
    }
}

#[test]
fn every_event_is_read_and_answered_as_its_vendor_says() {
    for (form, text) in GOLDEN {
        let cases: Vec<Case> = serde_json::from_str(text).unwrap();
        for Case { about, input, event, answers } in cases {
            let read = form.read(input.get().as_bytes());
            assert_eq!(read.clone().map(Event::from), event, "{form:?}: {about}");
            assert_eq!(answers.is_empty(), read.is_none(), "{form:?}: {about}");
            for (name, answer) in answers {
                let output = form.write(read.as_ref().unwrap(), &verdict(&name));
                let Answer { stdout, stderr, exit } = answer;
                assert_eq!(output, Output { stdout, stderr, exit }, "{form:?}: {about}: {name}");
                // Kimi takes a text as it is.
                let is_text = form == HookForm::KimiCode && name == "inject";
                let json: Option<serde_json::Value> = serde_json::from_str(&output.stdout).ok();
                assert_eq!(
                    json.is_none(),
                    output.stdout.is_empty() || is_text,
                    "{form:?}: {about}: {name}"
                );
            }
        }
    }
}

/// Every event that an agent's form knows is in its file.
#[test]
fn every_event_of_every_agent_is_there() {
    for (form, text) in GOLDEN {
        let events: &[&str] = match form {
            HookForm::ClaudeCode | HookForm::Codex | HookForm::QwenCode => &[
                "SessionStart",
                "UserPromptSubmit",
                "PostToolUse",
                "PreToolUse",
                "Stop",
                "SessionEnd",
            ],
            HookForm::KimiCode => &["UserPromptSubmit", "PreToolUse", "Stop", "SessionEnd"],
            HookForm::GeminiCli => &[
                "SessionStart",
                "BeforeAgent",
                "AfterTool",
                "BeforeTool",
                "AfterAgent",
                "SessionEnd",
            ],
            // Known by their fields.
            HookForm::CopilotCli => {
                &["source", "prompt", "toolResult", "toolArgs", "stopReason", "reason"]
            }
            HookForm::Cursor => {
                &["sessionStart", "postToolUse", "preToolUse", "stop", "sessionEnd"]
            }
            HookForm::Windsurf => &["pre_write_code"],
        };
        let cases: Vec<Case> = serde_json::from_str(text).unwrap();
        for event in events {
            let word = format!("\"{event}\"");
            let found =
                cases.iter().any(|case| case.event.is_some() && case.input.get().contains(&word));
            assert!(found, "{form:?} has no {event}");
        }
    }
}
