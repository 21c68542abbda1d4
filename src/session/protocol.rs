//! What a plugin and `slm-mesh session` say to each other: a line of JSON each way, one subject a
//! line. No I/O.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::json;

use crate::hook;
use crate::limits::{SESSION_FILES_MAX, TAG_CHARS_MAX};

/// Most characters of a wrong line that are quoted.
const SHOWN_CHARS_MAX: usize = 80;

/// What a plugin says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FromPlugin {
    /// `{"session":"<id>"}`: the agent's session, from now on.
    Session(Box<str>),
    /// `{"turn":"begin"}`, or `"tool"`: the agent is in a turn.
    Working,
    /// `{"turn":"end"}`: the turn is over.
    Stopped,
    /// `{"prompt":"..."}`: this, or its beginning, is put before the model.
    Prompt(String),
    /// `{"context":7}`: a text may be put into the context now, with a tool's result for example.
    Context(u64),
    /// `{"told":"<id>"}`: the agent has taken this text.
    Told(Box<str>),
    /// `{"failed":"<id>","reason":"..."}`: it has not.
    Failed(Box<str>, String),
    /// `{"edit":{"id":7,"files":["a.rs"]}}`: these are about to be edited.
    Edit(Edit),
}

/// Files that are about to be edited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Edit {
    /// The plugin's number for it.
    pub(super) id: u64,
    /// Absolute paths, or relative to `cwd`.
    #[serde(default)]
    pub(super) files: Vec<PathBuf>,
    /// A patch in the form of `apply_patch`, which names more of them.
    #[serde(default)]
    patch: String,
    /// Where relative paths begin; this process's directory if it does not say.
    #[serde(default)]
    pub(super) cwd: Option<PathBuf>,
}

/// The fields of a line; unknown ones are ignored.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    session: Option<Box<str>>,
    turn: Option<Box<str>>,
    prompt: Option<String>,
    context: Option<u64>,
    told: Option<Box<str>>,
    failed: Option<Box<str>>,
    reason: Option<String>,
    edit: Option<Edit>,
}

impl FromPlugin {
    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(line: &[u8]) -> Result<Self, String> {
        let fields: Fields = serde_json::from_slice(line).map_err(|error| {
            let shown: String =
                String::from_utf8_lossy(line).chars().take(SHOWN_CHARS_MAX).collect();
            format!("this is no line that slm-mesh session knows ({error}): {shown}")
        })?;
        match fields {
            Fields { session: Some(id), .. } => {
                if !(1..=TAG_CHARS_MAX).contains(&id.chars().count()) {
                    return Err(format!("\"session\" must have 1 to {TAG_CHARS_MAX} characters"));
                }
                Ok(Self::Session(id))
            }
            Fields { turn: Some(turn), .. } => match &*turn {
                "begin" | "tool" => Ok(Self::Working),
                "end" => Ok(Self::Stopped),
                _ => Err("\"turn\" must be \"begin\", \"tool\" or \"end\"".into()),
            },
            Fields { prompt: Some(text), .. } => Ok(Self::Prompt(text)),
            Fields { context: Some(id), .. } => Ok(Self::Context(id)),
            Fields { told: Some(id), .. } => Ok(Self::Told(id)),
            Fields { failed: Some(id), reason, .. } => {
                Ok(Self::Failed(id, reason.unwrap_or_default()))
            }
            Fields { edit: Some(edit), .. } => {
                let Edit { id, mut files, patch, cwd } = edit;
                files.extend(hook::files_of_patch(&patch));
                if files.len() > SESSION_FILES_MAX {
                    return Err(format!("an edit must be of at most {SESSION_FILES_MAX} files"));
                }
                Ok(Self::Edit(Edit { id, files, patch: String::new(), cwd }))
            }
            _ => Err("a line must have one of \"session\", \"turn\", \"prompt\", \"context\", \
                      \"told\", \"failed\" and \"edit\""
                .into()),
        }
    }
}

/// What a plugin is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ToPlugin {
    /// Wake the agent with this text, then say `told` or `failed` with the id.
    Tell {
        /// The id to report it with.
        id: Box<str>,
        /// What the agent is to read.
        text: String,
    },
    /// The answer to `context`: put this text there, and say `told` with the id; or there is none.
    Context {
        /// The plugin's number.
        id: u64,
        /// The id to report it with, and what the agent is to read.
        tell: Option<(Box<str>, String)>,
    },
    /// The answer to `edit`.
    Allow {
        /// The plugin's number.
        id: u64,
        /// Whether it may be done.
        allow: bool,
        /// Why not, or what to know about a file that may be edited.
        reason: Option<String>,
    },
    /// A line was not understood.
    Error(String),
}

impl ToPlugin {
    /// The line, without its end.
    pub(super) fn line(&self) -> String {
        let value = match self {
            Self::Tell { id, text } => json!({"tell": {"id": id, "text": text}}),
            Self::Context { id, tell: Some((tell, text)) } => {
                json!({"context": {"id": id, "tell": tell, "text": text}})
            }
            Self::Context { id, tell: None } => json!({"context": {"id": id}}),
            Self::Allow { id, allow, reason: Some(reason) } => {
                json!({"allow": {"id": id, "allow": allow, "reason": reason}})
            }
            Self::Allow { id, allow, reason: None } => json!({"allow": {"id": id, "allow": allow}}),
            Self::Error(error) => json!({"error": error}),
        };
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read() {
        let read = |line: &str| FromPlugin::read(line.as_bytes()).unwrap();
        assert_eq!(read(r#"{"session":"ses_1"}"#), FromPlugin::Session("ses_1".into()));
        assert_eq!(read(r#"{"turn":"begin"}"#), FromPlugin::Working);
        assert_eq!(read(r#"{"turn":"tool","more":[1]}"#), FromPlugin::Working);
        assert_eq!(read(r#"{"turn":"end"}"#), FromPlugin::Stopped);
        assert_eq!(read(r#"{"prompt":""}"#), FromPlugin::Prompt(String::new()));
        assert_eq!(read(r#"{"context":3}"#), FromPlugin::Context(3));
        assert_eq!(read(r#"{"told":"a"}"#), FromPlugin::Told("a".into()));
        assert_eq!(read(r#"{"failed":"a"}"#), FromPlugin::Failed("a".into(), String::new()));
        let failed = FromPlugin::Failed("a".into(), "why".into());
        assert_eq!(read(r#" {"reason":"why","failed":"a"} "#), failed);
        let edit = Edit { id: 1, files: vec!["a.rs".into()], ..Edit::default() };
        assert_eq!(read(r#"{"edit":{"id":1,"files":["a.rs"],"x":null}}"#), FromPlugin::Edit(edit));
    }

    #[test]
    fn what_is_no_line_is_told_why() {
        let deep = "[".repeat(100_000);
        let long = format!(r#"{{"session":"{}"}}"#, "x".repeat(TAG_CHARS_MAX + 1));
        let many =
            format!(r#"{{"edit":{{"id":1,"files":[{}""]}}}}"#, "\"\",".repeat(SESSION_FILES_MAX));
        for (line, word) in [
            ("", "no line"),
            ("hello", "no line"),
            ("7", "no line"),
            ("[]", "must have one of"),
            ("{}", "must have one of"),
            (r#"{"call":{}}"#, "must have one of"),
            (r#"{"session":7}"#, "no line"),
            (r#"{"session":""}"#, "1 to "),
            (&long, "1 to "),
            (r#"{"turn":"paused"}"#, "\"begin\""),
            (r#"{"context":-1}"#, "no line"),
            (r#"{"edit":{"files":[]}}"#, "id"),
            (&many, "at most"),
            (&deep, "no line"),
        ] {
            let error = FromPlugin::read(line.as_bytes()).unwrap_err();
            assert!(error.contains(word) && error.len() < 400, "{error}");
        }
        assert!(FromPlugin::read(b"\xff{").unwrap_err().contains("no line"));
    }

    #[test]
    fn answers_are_lines() {
        let text = "two\nlines \"quoted\"".to_owned();
        let tell = ToPlugin::Tell { id: "i".into(), text: text.clone() };
        assert_eq!(tell.line(), r#"{"tell":{"id":"i","text":"two\nlines \"quoted\""}}"#);
        let context = ToPlugin::Context { id: 2, tell: Some(("i".into(), text)) };
        assert_eq!(
            context.line(),
            r#"{"context":{"id":2,"tell":"i","text":"two\nlines \"quoted\""}}"#
        );
        assert_eq!(ToPlugin::Context { id: 2, tell: None }.line(), r#"{"context":{"id":2}}"#);
        let allow = ToPlugin::Allow { id: 1, allow: true, reason: None };
        assert_eq!(allow.line(), r#"{"allow":{"allow":true,"id":1}}"#);
        let deny = ToPlugin::Allow { id: 1, allow: false, reason: Some("no".into()) };
        assert_eq!(deny.line(), r#"{"allow":{"allow":false,"id":1,"reason":"no"}}"#);
        assert_eq!(ToPlugin::Error("e".into()).line(), r#"{"error":"e"}"#);
    }
}
