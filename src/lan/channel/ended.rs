//! Why a channel is over, in words.

use std::{fmt, io};

use rustls::{Error, InvalidMessage};

use crate::api::Refusal;
use crate::lan::tls::AnotherHub;
use crate::lan::upgrade::Refused;
use crate::lan::websocket::Fault;
use crate::limits::MACHINE_HEAD_BYTES_MAX;

pub(super) const SECRET_DIFFERS: &str = "the shared secret differs: SLM_MESH_SHARED_SECRET has to be the same on \
                              this machine and on its hub";
pub(super) const NO_SECRET: &str = "the shared secret differs: this hub has none (SLM_MESH_SHARED_SECRET), and lets \
                         machines in by `slm-mesh invite`";

/// Why a channel is over. Says it to people.
#[derive(Debug)]
pub enum Ended {
    /// The stream failed.
    Io(io::Error),
    /// The other side went away without a word.
    Lost,
    /// Another hub answers.
    AnotherHub(AnotherHub),
    /// The other side does not speak TLS 1.3 as a machine of a mesh does, or says that we do not.
    Tls(Error),
    /// It sends more than a machine does before it is let in.
    TooMuch,
    /// It sends what no machine sends when it asks to be let in; it was told.
    NoRequest(Refusal),
    /// What answers is no hub.
    NoHub(&'static str),
    /// The hub refuses.
    Refused(Refused),
    /// The other side has another shared secret; it was told.
    SecretDiffers,
    /// The other side has broken a rule; it was told.
    Fault(Fault),
    /// The other side has closed, with this code and these words.
    Closed(Option<u16>, Box<str>),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the connection failed: {error}"),
            Self::Lost => f.write_str("the other side has closed the connection without a word"),
            Self::AnotherHub(another) => another.fmt(f),
            Self::Tls(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                f.write_str("the other side does not speak TLS")
            }
            Self::Tls(error) => write!(
                f,
                "the other side is no machine of a mesh, or one of another major version (TLS: {error})"
            ),
            Self::TooMuch => write!(
                f,
                "the other side has sent more than {MACHINE_HEAD_BYTES_MAX} bytes before it was let in"
            ),
            Self::NoRequest(refusal) => f.write_str(&refusal.message),
            Self::NoHub(why) => write!(f, "what answers is no hub: {why}"),
            Self::Refused(refused) => refused.fmt(f),
            Self::SecretDiffers => f.write_str(SECRET_DIFFERS),
            Self::Fault(fault) => write!(f, "the other side has broken a rule: {fault}"),
            Self::Closed(_, words) if words.is_empty() => {
                f.write_str("the other side has closed the connection")
            }
            Self::Closed(_, words) => {
                write!(f, "the other side has closed the connection: {words}")
            }
        }
    }
}

impl std::error::Error for Ended {}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        match AnotherHub::of(&error) {
            Some(another) => Self::AnotherHub(another),
            None => Self::Tls(error),
        }
    }
}
