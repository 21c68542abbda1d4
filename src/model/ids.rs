//! Numbers and ids.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use super::written::as_text;

/// A number of the one sequence that messages and events share. It only grows and is never used
/// again; 0 is before everything.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of a registered peer: a random UUID (version 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerId(pub Uuid);

// In the same order as its bytes, but compared as one number: a message to many looks up each of them
// several times.
impl Ord for PeerId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.as_u128().cmp(&other.0.as_u128())
    }
}

impl PartialOrd for PeerId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PeerId {
    /// An id from 16 random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(Builder::from_random_bytes(bytes).into_uuid())
    }

    /// Parses the hyphenated form, upper or lower case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse_uuid(text).map(Self)
    }
}

/// The id of a message or event: a UUID of version 8 (RFC 9562, 5.8) whose first 48 bits are its
/// sequence number, so that no index is needed to find it, and whose other bits are random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub Uuid);

impl MessageId {
    /// The id of the item with sequence number `seq`.
    #[must_use]
    pub fn new(seq: Seq, random: [u8; 16]) -> Self {
        let [_, _, s0, s1, s2, s3, s4, s5] = seq.0.to_be_bytes();
        let mut bytes = random;
        for (byte, value) in bytes.iter_mut().zip([s0, s1, s2, s3, s4, s5]) {
            *byte = value;
        }
        Self(Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The sequence number in it. Whether such a message exists, and has this id, is for the store
    /// to say.
    #[must_use]
    pub fn seq(self) -> Seq {
        let [s0, s1, s2, s3, s4, s5, ..] = *self.0.as_bytes();
        Seq(u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]))
    }

    /// Parses the hyphenated form, upper or lower case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse_uuid(text).map(Self)
    }
}

/// The hyphenated form only: the others that the library knows (braces, `urn:`, no hyphens) are not
/// ids on the wire.
fn parse_uuid(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten()
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

as_text!(PeerId::parse: "not a UUID", MessageId::parse: "not a UUID");
