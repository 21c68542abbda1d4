//! The entries, hooks and skills that `setup` writes into the settings of agents and removes again, and
//! that `doctor` looks for.
//!
//! | module | what it does |
//! |---|---|
//! | [`targets`] | which files of an agent are written, and what goes into each |
//! | [`standing`] | what in an agent's own settings keeps ours from working |
//! | [`plan`] | a file's text before -> its text after; touches nothing |
//! | `json`, `toml`, `toml_hooks`, `text` | changes to a text that leave the rest of it as it was, byte for byte |
//! | [`record`] | what was changed, so that it can be put back exactly |
//! | [`disk`] | reading and writing these files: bounded, whole, through links |
//! | [`work`] | all steps together: look, plan, do |
//!
//! Nothing here asks or prints.

pub mod disk;
pub mod plan;
pub mod record;
pub mod standing;
pub mod targets;
pub mod work;

mod json;
mod text;
mod toml;
mod toml_hooks;

use std::fmt;

/// The name of the entry in every agent's list of servers.
pub const ENTRY: &str = "slm-mesh";

/// Why a file's text cannot be changed. It stays as it is then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is not valid JSON or TOML.
    Malformed {
        /// The line, from 1.
        line: usize,
        /// The column, in characters, from 1.
        column: usize,
        /// What is wrong there.
        what: String,
    },
    /// It has something else where an entry would go.
    Unexpected(String),
    /// It is not UTF-8.
    NotText,
    /// The change would have made it unreadable.
    Internal,
}

impl Trouble {
    fn malformed(text: &str, at: usize, what: impl Into<String>) -> Self {
        let (line, column) = text::place(text, at);
        Self::Malformed { line, column, what: what.into() }
    }

    fn not_a(text: &str, path: Option<&[&str]>, expected: &str, at: usize) -> Self {
        let (line, column) = text::place(text, at);
        let path = path.unwrap_or_default().join(".");
        Self::Unexpected(format!("`{path}` (line {line}, column {column}) is not {expected}"))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { line, column, what } => {
                let what = what.trim_end_matches('.');
                write!(f, "line {line}, column {column}: {what}; mend it and try again")
            }
            Self::Unexpected(what) => write!(f, "{what}; mend it and try again"),
            Self::NotText => f.write_str("it is not valid UTF-8; save it as UTF-8 and try again"),
            Self::Internal => f.write_str(
                "it is written in a way that cannot be changed safely; add the entry by hand \
                 (the README of integrations/ shows it)",
            ),
        }
    }
}

impl std::error::Error for Trouble {}
