//! Who acts in the mesh, and who has an inbox.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ids::PeerId;

/// Someone who acts in the mesh: sends, holds a lock, sets state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A registered peer.
    Peer(PeerId),
    /// A person at the command line; has an inbox, needs no registration.
    Cli,
    /// A script under a plain name; has no inbox.
    Label(Box<str>),
}

impl Party {
    /// What a stored or written party is: a UUID is a peer, `cli` is the command line, anything
    /// else a label.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match PeerId::parse(text) {
            Some(id) => Self::Peer(id),
            None if text == "cli" => Self::Cli,
            None => Self::Label(text.into()),
        }
    }

    /// The peer, if it is one.
    #[must_use]
    pub fn peer(&self) -> Option<PeerId> {
        if let Self::Peer(id) = self { Some(*id) } else { None }
    }

    /// What a reader is shown for this party, whose name is `name`: a script calls itself what it
    /// likes, so that it is said to be one.
    #[must_use]
    pub fn shown_as<'a>(&self, name: &'a str) -> Cow<'a, str> {
        match self {
            Self::Peer(_) | Self::Cli => Cow::Borrowed(name),
            Self::Label(_) => Cow::Owned(format!("script {name}")),
        }
    }

    /// Who reads mail under this party, if anyone does.
    #[must_use]
    pub fn inbox(&self) -> Option<Recipient> {
        match self {
            Self::Peer(id) => Some(Recipient::Peer(*id)),
            Self::Cli => Some(Recipient::Cli),
            Self::Label(_) => None,
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(id) => id.fmt(f),
            Self::Cli => f.write_str("cli"),
            Self::Label(label) => f.write_str(label),
        }
    }
}

impl Serialize for Party {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Party {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::parse(&text))
    }
}

/// Someone who has an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Recipient {
    /// The person at the command line.
    Cli,
    /// A registered peer.
    Peer(PeerId),
}

impl Recipient {
    /// The peer, if it is one.
    #[must_use]
    pub fn peer(self) -> Option<PeerId> {
        if let Self::Peer(id) = self { Some(id) } else { None }
    }
}

impl From<Recipient> for Party {
    fn from(recipient: Recipient) -> Self {
        match recipient {
            Recipient::Cli => Self::Cli,
            Recipient::Peer(id) => Self::Peer(id),
        }
    }
}
