//! Refusals: an expected no of the mesh, with a stable code, an HTTP status, and a sentence that
//! says what is wrong and what to do.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::listed::{LockInfo, StateInfo};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $status:literal $word:literal;)*) => {
        /// The stable code of a refusal. One table: name, HTTP status, word on the wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The HTTP status it is answered with.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// The word on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

codes! {
    /// The body is no JSON.
    InvalidJson = 400 "invalid_json";
    /// A field is missing or not what was expected, or the request is malformed.
    InvalidRequest = 400 "invalid_request";
    /// No token, or one that is not valid.
    Unauthorized = 401 "unauthorized";
    /// Not for this caller.
    Forbidden = 403 "forbidden";
    /// No such path.
    UnknownEndpoint = 404 "unknown_endpoint";
    /// No such peer.
    PeerNotFound = 404 "peer_not_found";
    /// The file is not locked.
    LockNotFound = 404 "lock_not_found";
    /// The path is there, the method is not.
    MethodNotAllowed = 405 "method_not_allowed";
    /// The request took too long to come.
    Timeout = 408 "timeout";
    /// Held by someone else.
    Locked = 409 "locked";
    /// The entry has another version.
    VersionConflict = 409 "version_conflict";
    /// The id was used for something else.
    IdConflict = 409 "id_conflict";
    /// The prefix fits several peers.
    AmbiguousPeer = 409 "ambiguous_peer";
    /// A present peer has this name.
    NameTaken = 409 "name_taken";
    /// A body without `Content-Length`.
    LengthRequired = 411 "length_required";
    /// The body, or the request as a whole, is too large.
    TooLarge = 413 "too_large";
    /// Too many requests.
    RateLimited = 429 "rate_limited";
    /// The head is too large.
    HeadersTooLarge = 431 "headers_too_large";
    /// A fault of the broker.
    Internal = 500 "internal";
    /// Cannot serve now: storage failed, too many connections, or shutting down.
    Unavailable = 503 "unavailable";
    /// The hub of this machine's mesh cannot be reached, and the request was not sent.
    HubUnreachable = 503 "hub_unreachable";
    /// No room: disk, database or a table is full.
    StorageFull = 503 "storage_full";
    /// It was written, and could not be brought to the disk: kept or not.
    OutcomeUnknown = 503 "outcome_unknown";
}

impl Code {
    /// The code with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == word)
    }
}

/// What a refusal carries beside its sentence.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Detail {
    /// Nothing.
    #[default]
    None,
    /// `lock`: the one in the way.
    Lock(Box<LockInfo>),
    /// `locks`: those in the way, as far as they fit the answer, and `lock`, the first of them.
    Locks(Vec<LockInfo>),
    /// `entry`: the present one, or null.
    Entry(Option<Box<StateInfo>>),
    /// `retryAfterMs`, and the header `Retry-After`.
    RetryAfterMs(u64),
    /// The header `Allow`.
    Allow(&'static str),
}

/// An expected no of the mesh.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// Its code.
    pub code: Code,
    /// What is wrong and what to do, a sentence or two.
    pub message: Box<str>,
    /// What the answer carries beside the sentence.
    pub detail: Detail,
}

impl Refusal {
    /// A refusal with nothing beside its sentence.
    #[must_use]
    pub fn new(code: Code, message: impl Into<Box<str>>) -> Self {
        Self { code, message: message.into(), detail: Detail::None }
    }

    /// The same with `detail`.
    #[must_use]
    pub fn with(mut self, detail: Detail) -> Self {
        self.detail = detail;
        self
    }

    /// Appends the body: `{"ok":false,"error":...,"code":...}`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        // Plain data into memory: cannot fail.
        let _ = serde_json::to_writer(out, self);
    }

    /// `field` is not what was expected.
    #[must_use]
    pub fn field(field: &str, expected: &str) -> Self {
        Self::new(Code::InvalidRequest, format!("`{field}` must be {expected}"))
    }
}

/// Refuses with nothing beside the sentence, as whatever error the caller gives.
pub(crate) fn refuse<T, E: From<Refusal>>(
    code: Code,
    message: impl Into<Box<str>>,
) -> Result<T, E> {
    Err(Refusal::new(code, message).into())
}

impl Serialize for Refusal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("ok", &false)?;
        map.serialize_entry("error", &self.message)?;
        map.serialize_entry("code", self.code.as_str())?;
        match &self.detail {
            Detail::None | Detail::Allow(_) => {}
            Detail::Lock(lock) => map.serialize_entry("lock", lock)?,
            Detail::Locks(locks) => {
                map.serialize_entry("lock", &locks.first())?;
                map.serialize_entry("locks", locks)?;
            }
            Detail::Entry(entry) => map.serialize_entry("entry", entry)?,
            Detail::RetryAfterMs(ms) => map.serialize_entry("retryAfterMs", ms)?,
        }
        map.end()
    }
}
