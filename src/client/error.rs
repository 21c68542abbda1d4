//! What can go wrong between a client and its broker, in sentences that say what to do.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::repetition::leaves_no_doubt;
use crate::api::{Code, Request};
use crate::neighbour::Foreign;
use crate::role::{OtherRole, RoleError};

/// A refusal as it came from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// HTTP status.
    pub status: u16,
    /// The code on the wire; [`Refused::code`] is its parsed form.
    pub word: Box<str>,
    /// What is wrong and what to do.
    pub message: Box<str>,
    /// The whole body: a JSON object, with the lock or entry in the way for example.
    pub body: Vec<u8>,
    /// How long to wait before another try.
    pub retry_after: Option<Duration>,
}

impl Refused {
    /// Which refusal, if this version knows it.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        Code::parse(&self.word)
    }

    /// Reads an answer that is not a success. `None` if it does not have the form of a refusal.
    pub(super) fn read(status: u16, retry_after: Option<u64>, body: Vec<u8>) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Form {
            error: Box<str>,
            code: Box<str>,
            #[serde(default)]
            retry_after_ms: Option<u64>,
        }
        let form: Form = serde_json::from_slice(&body).ok()?;
        let retry_after = form
            .retry_after_ms
            .map(Duration::from_millis)
            .or_else(|| retry_after.map(Duration::from_secs));
        Some(Self { status, word: form.code, message: form.error, body, retry_after })
    }
}

/// Why a call has no result. The text says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// No broker is running, and this client starts none.
    NoBroker,
    /// The broker said no.
    Refused(Box<Refused>),
    /// A broker holds its lock and cannot be reached.
    Unreachable {
        /// The last attempt and how it failed.
        reason: Box<str>,
    },
    /// A broker runs, and a sandbox or container around this process keeps it from connecting. This
    /// says nothing about the broker.
    Barred {
        /// What it is.
        by: Box<str>,
        /// The attempts and how they failed.
        reason: Box<str>,
    },
    /// No answer in time.
    TimedOut {
        /// How long it was waited for.
        after: Duration,
    },
    /// The request was sent and its answer did not arrive; it changes something, and whether it did
    /// is unknown.
    InDoubt {
        /// What came instead of the answer.
        reason: Box<str>,
    },
    /// What came back is not an answer of a broker.
    Protocol {
        /// What is wrong with it.
        reason: Box<str>,
    },
    /// Something else answers at the broker's port.
    NotOurs {
        /// Where.
        address: SocketAddr,
    },
    /// The data directory is in use by another program.
    Foreign(Foreign),
    /// The request is larger than any broker takes.
    TooLarge,
    /// The variables of this process ask for another role than what serves the data directory.
    OtherRole(OtherRole),
    /// No broker could be started.
    StartFailed {
        /// What the broker that was started said.
        reason: Box<str>,
    },
    /// The settings of this process cannot be used.
    Settings {
        /// What is wrong and what to do.
        reason: Box<str>,
    },
    /// The data directory can be written to by others, or is not a directory.
    DataDir {
        /// What is wrong and what to do.
        reason: Box<str>,
    },
    /// A file of the data directory cannot be read.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: Box<str>,
    },
}

impl ClientError {
    /// A stable word for scripts, like the codes of refusals.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Self::NoBroker => "no_broker",
            Self::Refused(refused) => &refused.word,
            Self::Unreachable { .. } => "unreachable",
            Self::Barred { .. } => "sandboxed",
            Self::TimedOut { .. } => "no_answer",
            Self::InDoubt { .. } => "outcome_unknown",
            Self::Protocol { .. } => "protocol_error",
            Self::NotOurs { .. } => "not_our_broker",
            Self::Foreign(_) => "other_program",
            Self::TooLarge => "too_large",
            Self::OtherRole(_) => OtherRole::WORD,
            Self::StartFailed { .. } => "start_failed",
            Self::Settings { .. } => "invalid_setting",
            Self::DataDir { .. } => "data_dir",
            Self::File { .. } => "file_error",
        }
    }

    /// The error for a `request` that was sent and not answered.
    #[must_use]
    pub fn told_of(self, request: &Request) -> Self {
        if leaves_no_doubt(request) { self } else { self.in_doubt() }
    }

    /// The error for a request that was sent and changes something.
    pub(super) fn in_doubt(self) -> Self {
        let reason = match self {
            // Refusals are answers.
            Self::Refused(_) | Self::InDoubt { .. } => return self,
            Self::TimedOut { after } => format!("within {} s", after.as_secs()).into(),
            Self::Unreachable { reason } | Self::Protocol { reason } => reason,
            Self::NoBroker => "no broker is running any more".into(),
            other => other.to_string().into(),
        };
        Self::InDoubt { reason }
    }

    /// The refusal's code, if it is one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        if let Self::Refused(refused) = self { refused.code() } else { None }
    }

    /// Whether the request may have been carried out: its answer did not come, or the broker does not
    /// know it itself.
    #[must_use]
    pub fn leaves_doubt(&self) -> bool {
        matches!(self, Self::InDoubt { .. }) || self.code() == Some(Code::OutcomeUnknown)
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBroker => f.write_str(
                "no broker is running; `slm-mesh start --detached` starts one, as does the first \
                 agent that uses the mesh",
            ),
            Self::Refused(refused) => f.write_str(&refused.message),
            Self::Unreachable { reason } => write!(
                f,
                "the broker cannot be reached ({reason}); if this lasts, `slm-mesh clean` ends a \
                 broker that no longer answers"
            ),
            Self::Barred { by, reason } => write!(
                f,
                "{by} keeps this program from the broker ({reason}); that says nothing of the \
                 broker, so leave it alone: the mesh tools of an agent (mesh_send, mesh_inbox, \
                 ...) mostly run outside and work, as does this program there"
            ),
            Self::TimedOut { after } => write!(
                f,
                "the broker has not answered within {} s; try again, and if this lasts, `slm-mesh \
                 clean` ends a broker that no longer answers",
                after.as_secs()
            ),
            Self::InDoubt { reason } => write!(
                f,
                "the request was sent and not answered ({reason}); it may have been carried out, \
                 so look before you repeat it"
            ),
            Self::Protocol { reason } => write!(
                f,
                "the broker's answer cannot be understood ({reason}); if it is of another version, \
                 stop it with `slm-mesh stop` and try again"
            ),
            Self::NotOurs { address } => write!(
                f,
                "something else than the broker of this data directory answers at {address}; if \
                 the data directory is shared with another machine or container, set \
                 SLM_MESH_DATA_DIR to one that is not"
            ),
            Self::Foreign(foreign) => foreign.fmt(f),
            Self::TooLarge => f.write_str("the request is larger than 1 MiB; send less at a time"),
            Self::OtherRole(other) => other.fmt(f),
            Self::StartFailed { reason } => write!(f, "the broker could not be started: {reason}"),
            Self::Settings { reason } | Self::DataDir { reason } => f.write_str(reason),
            Self::File { path, reason } => {
                write!(f, "{} cannot be read: {reason}", path.display())
            }
        }
    }
}

impl std::error::Error for ClientError {}

/// Why what serves the data directory could not even be started.
impl From<RoleError> for ClientError {
    fn from(error: RoleError) -> Self {
        let reason = error.to_string().into();
        match error {
            RoleError::Other(other) => Self::OtherRole(other),
            RoleError::OwnAddress(_) | RoleError::NoWayIn | RoleError::NoHub => {
                Self::Settings { reason }
            }
            RoleError::Stored(_) | RoleError::NoNetwork => Self::StartFailed { reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_keep_what_they_came_with() {
        let body = br#"{"ok":false,"error":"slow down","code":"rate_limited","retryAfterMs":1500}"#;
        let refused = Refused::read(429, Some(2), body.to_vec()).unwrap();
        assert_eq!(refused.code(), Some(Code::RateLimited));
        assert_eq!(refused.retry_after, Some(Duration::from_millis(1500)));
        assert_eq!(refused.body, body);
        let plain = br#"{"ok":false,"error":"later","code":"from_the_future"}"#;
        let refused = Refused::read(503, Some(2), plain.to_vec()).unwrap();
        assert_eq!((refused.code(), &*refused.word), (None, "from_the_future"));
        assert_eq!(refused.retry_after, Some(Duration::from_secs(2)));
        assert!(Refused::read(404, None, b"<html>".to_vec()).is_none());
        assert!(Refused::read(404, None, b"{}".to_vec()).is_none());
    }

    #[test]
    fn texts_say_what_to_do() {
        for (error, words) in [
            (ClientError::NoBroker, "slm-mesh start --detached"),
            (ClientError::Unreachable { reason: "x".into() }, "slm-mesh clean"),
            (ClientError::InDoubt { reason: "x".into() }, "not answered (x); it may have been"),
            (ClientError::TimedOut { after: Duration::from_secs(5) }, "within 5 s; try again"),
        ] {
            assert!(error.to_string().contains(words), "{error}");
            assert!(!error.word().is_empty());
        }
    }
}
