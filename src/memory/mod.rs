//! The bridge to a memory: what happens in the mesh is given to a program that keeps it for longer, and
//! is asked for passages later.
//!
//! | module | what it does |
//! |---|---|
//! | `superlocal` | `SuperLocalMemory`, by its HTTP on this machine, else by its command |
//! | `http` | one request to it |
//! | `program` | any program that reads and writes lines of JSON |
//!
//! A bridge is given one thing after the other, and each until it has taken it: what it says in
//! [`Trouble`] decides whether it is given the same again. The same may be given twice, after a crash,
//! and always has the same id.

mod http;
mod program;
mod superlocal;

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::{EventInfo, MessageInfo};
use crate::helper::program::{Environment, find};
use program::Program;
use superlocal::SuperLocalMemory;

/// The form of the settings that this version reads and writes.
const VERSION: u32 = 1;
/// The word for `SuperLocalMemory`.
pub const SUPERLOCALMEMORY: &str = "superlocalmemory";
/// What stands before the program of a person's own.
pub const COMMAND: &str = "command:";
/// The variables that a memory is found by, and that its program needs.
const VARIABLES: [&str; 9] = [
    "HOME",
    "PATH",
    "LANG",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "SLM_DATA_DIR",
    "SL_MEMORY_PATH",
    "SLM_HOME",
    "SLM_USER_SESSION",
];

/// A memory.
pub trait MemoryBridge {
    /// A message was stored.
    ///
    /// # Errors
    /// It has not taken it; see [`Trouble`].
    fn on_message(&mut self, named: &NamedMessage<'_>) -> Result<(), Trouble>;

    /// An entry of the shared state was set, deleted, or has expired.
    ///
    /// # Errors
    /// As above.
    fn on_state(&mut self, named: &NamedEvent<'_>, change: &StateChange) -> Result<(), Trouble>;

    /// Anything else has happened.
    ///
    /// # Errors
    /// As above.
    fn on_event(&mut self, named: &NamedEvent<'_>) -> Result<(), Trouble>;

    /// The passages that match `query`, best first, at most `limit`.
    ///
    /// # Errors
    /// As above.
    fn recall(&mut self, query: &str, limit: u32) -> Result<Vec<Passage>, Trouble>;

    /// Whether it could take something now, as far as can be told.
    fn is_available(&mut self) -> bool;
}

/// A message, with the names of its sender and its recipient.
#[derive(Clone, Copy, Debug)]
pub struct NamedMessage<'a> {
    /// The message.
    pub message: &'a MessageInfo,
    /// Its sender.
    pub from: &'a str,
    /// Its recipient: a peer, `cli`, `all`, a group.
    pub to: &'a str,
}

/// An event, with the name of whoever caused it.
#[derive(Clone, Copy, Debug)]
pub struct NamedEvent<'a> {
    /// The event.
    pub event: &'a EventInfo,
    /// Who has caused it; none if the broker itself has.
    pub by: Option<&'a str>,
}

/// What has become of an entry of the shared state: the payload of `state_changed`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StateChange {
    /// Where it is.
    pub namespace: Box<str>,
    /// Its key.
    pub key: Box<str>,
    /// Its value; none if it was deleted or has expired.
    pub value: Option<Box<str>>,
}

/// Something that a memory has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Passage {
    /// The text.
    pub text: String,
    /// How well it fits, as the memory says: higher is better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

/// Why a memory has not taken something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It has too much to do: it is given the same again after this time.
    Busy(Duration),
    /// It is not there, or cannot be asked: it is given the same again, however long that takes.
    Away(String),
    /// It has failed: it is given the same again for about an hour.
    Failed(String),
    /// It does not take this, and never will.
    Refused(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Busy(time) => write!(f, "it is busy: try again in {} s", time.as_secs()),
            Self::Away(why) | Self::Failed(why) | Self::Refused(why) => f.write_str(why),
        }
    }
}

/// Which memory, and the environment of whoever switched it on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    version: u32,
    /// Which.
    #[serde(flatten)]
    pub kind: MemoryKind,
    environment: Environment,
}

/// Which memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "memory", rename_all = "lowercase")]
pub enum MemoryKind {
    /// `SuperLocalMemory`.
    SuperLocalMemory,
    /// A program of the person's.
    Command {
        /// Its path.
        program: PathBuf,
    },
}

impl Settings {
    /// The memory that `word` names, in the environment that `lookup` gives.
    ///
    /// # Errors
    /// There is no such program, or no such memory; the text says which.
    pub fn of(
        lookup: impl Fn(&str) -> Option<std::ffi::OsString>,
        word: &str,
    ) -> Result<Self, String> {
        let kind = match word.strip_prefix(COMMAND) {
            Some(name) => {
                let path = lookup("PATH").unwrap_or_default();
                let name = &*expand(name, lookup("HOME"));
                let program = find(name, &path).ok_or_else(|| format!("no program {name:?}"))?;
                MemoryKind::Command { program }
            }
            None if word == SUPERLOCALMEMORY => MemoryKind::SuperLocalMemory,
            None => {
                return Err(format!("no memory {word:?}: {SUPERLOCALMEMORY} or {COMMAND}PROGRAM"));
            }
        };
        Ok(Self { version: VERSION, kind, environment: Environment::of(lookup, &VARIABLES) })
    }

    /// Its name for people.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.kind {
            MemoryKind::SuperLocalMemory => "SuperLocalMemory".to_owned(),
            MemoryKind::Command { program } => program.display().to_string(),
        }
    }

    /// The bridge to it. Nothing is opened or run before it is given something.
    #[must_use]
    pub fn bridge(&self) -> Box<dyn MemoryBridge> {
        let environment = self.environment.clone();
        match &self.kind {
            MemoryKind::SuperLocalMemory => Box::new(SuperLocalMemory::new(environment)),
            MemoryKind::Command { program } => Box::new(Program::new(program.clone(), environment)),
        }
    }
}

/// The path of a program with the home directory in place of `~`: shells do not put it there behind
/// [`COMMAND`].
fn expand(name: &str, home: Option<std::ffi::OsString>) -> Cow<'_, str> {
    let home = home.and_then(|home| home.into_string().ok());
    match (name.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => format!("{home}/{rest}").into(),
        _ => name.into(),
    }
}

/// The passages in an answer, in whichever of their forms: those of `results` or `passages`, with
/// `content` or `text`.
fn passages(answer: &Value, limit: u32) -> Vec<Passage> {
    let list = ["passages", "results"].iter().find_map(|name| answer.get(name)?.as_array());
    let passage = |value: &Value| {
        let text = ["text", "content"].iter().find_map(|name| value.get(name)?.as_str())?;
        Some(Passage { text: text.to_owned(), score: value.get("score").and_then(Value::as_f64) })
    };
    let all = list.into_iter().flatten().filter_map(passage);
    all.take(limit as usize).collect()
}
