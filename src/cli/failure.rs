//! How a command ends: exit codes and failures.

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::out::note;
use super::own_words::own_words;
use super::text::escape;
use super::words::UsageError;
use crate::client::ClientError;
use crate::config::ConfigError;
use crate::data_dir::DataDirError;

/// The exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Refused or failed.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    /// No broker is running, and the command starts none.
    NoBroker = 3,
    /// Ctrl-C: 128 plus the number of the signal, as in shells.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command was not done.
#[derive(Debug)]
pub enum Failure {
    /// The command line is wrong.
    Usage(UsageError),
    /// A setting is wrong.
    Config(ConfigError),
    /// The broker refused, or could not be asked.
    Client(ClientError),
    /// Anything else, with a code for scripts.
    Other {
        /// The code.
        code: &'static str,
        /// What is wrong and what to do.
        message: String,
    },
    /// The result could not be written.
    Output(io::Error),
    /// The person interrupted it.
    Interrupted,
    /// The result says it: only the exit code is left.
    Reported,
}

impl Failure {
    /// A failure with a code of its own.
    pub(super) fn other(code: &'static str, message: impl Into<String>) -> Self {
        Self::Other { code, message: message.into() }
    }

    /// A file that could not be read or written, in a sentence.
    pub(super) fn file(error: impl std::fmt::Display) -> Self {
        Self::other("file_error", error.to_string())
    }

    /// A server that could not be started, or had to end.
    #[must_use]
    pub fn from_server(error: &impl std::fmt::Display) -> Self {
        Self::other("start_failed", error.to_string())
    }

    /// A mistake in the command line that is found only when the command runs.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(UsageError { message: message.into(), command: None })
    }

    fn exit(&self) -> Exit {
        match self {
            // To some agents 2 means no: a mistake in their settings must not stop their edits.
            Self::Usage(error) if error.command == Some("hook") => Exit::Failed,
            Self::Usage(_) | Self::Config(_) => Exit::Usage,
            Self::Client(ClientError::NoBroker) => Exit::NoBroker,
            Self::Interrupted => Exit::Interrupted,
            // The reader has seen enough, for example `| head`.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Client(_) | Self::Other { .. } | Self::Output(_) | Self::Reported => Exit::Failed,
        }
    }

    /// Reports it: a sentence on the standard error, or a JSON document on the standard output.
    pub(super) fn report(&self, json: bool) -> Exit {
        let exit = self.exit();
        let (code, message) = match self {
            Self::Usage(error) => ("usage", error.message.clone()),
            Self::Config(error) => ("invalid_setting", error.to_string()),
            Self::Client(ClientError::Refused(refused)) if !json => {
                ("", own_words(&refused.message))
            }
            Self::Client(error) => (error.word(), error.to_string()),
            Self::Other { code, message } => (*code, message.clone()),
            Self::Output(_) if exit == Exit::Done => return exit,
            // The person knows.
            Self::Interrupted | Self::Reported => return exit,
            Self::Output(error) => {
                note(&format!("the result cannot be written: {error}"));
                return exit;
            }
        };
        if json {
            // If nobody reads it, there is still the exit code.
            let _ = io::stdout().lock().write_all(&self.document(code, &message));
            return exit;
        }
        note(&escape(&message));
        if let Self::Usage(error) = self {
            let about = error.command.map_or_else(String::new, |command| format!(" {command}"));
            note(&format!("see `slm-mesh help{about}`"));
        }
        exit
    }

    fn document(&self, code: &str, message: &str) -> Vec<u8> {
        #[derive(Serialize)]
        struct Document<'a> {
            ok: bool,
            error: &'a str,
            code: &'a str,
        }
        let mut document = match self {
            Self::Client(ClientError::Refused(refused)) => refused.body.clone(),
            // Plain data into memory.
            _ => serde_json::to_vec(&Document { ok: false, error: message, code })
                .unwrap_or_default(),
        };
        document.push(b'\n');
        document
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<UsageError> for Failure {
    fn from(error: UsageError) -> Self {
        Self::Usage(error)
    }
}

impl From<DataDirError> for Failure {
    fn from(error: DataDirError) -> Self {
        Self::other("data_dir", error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
