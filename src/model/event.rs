//! Events and their types.

use super::ids::{MessageId, Seq};
use super::party::Party;
use super::time::Timestamp;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in the sequence.
    pub seq: Seq,
    /// Its id.
    pub id: MessageId,
    /// Built in, or a custom one, see [`event_type::is_custom`].
    pub kind: Box<str>,
    /// A JSON document.
    pub payload: Box<str>,
    /// Who caused it; none for the broker itself.
    pub emitted_by: Option<Party>,
    /// When.
    pub created_at: Timestamp,
}

/// The built-in event types.
pub mod event_type {
    /// A peer has come.
    pub const PEER_JOINED: &str = "peer_joined";
    /// A peer has left.
    pub const PEER_LEFT: &str = "peer_left";
    /// A state entry was set, deleted, or has expired.
    pub const STATE_CHANGED: &str = "state_changed";
    /// A lock was taken.
    pub const FILE_LOCKED: &str = "file_locked";
    /// A lock is free again.
    pub const FILE_UNLOCKED: &str = "file_unlocked";
    /// A message was stored. Not stored as an event: derived from the message.
    pub const MESSAGE_RECEIVED: &str = "message_received";
    /// Messages were read: one event for each sender of those that one request marked.
    pub const MESSAGE_READ: &str = "message_read";
    /// Nobody will read these messages: one event for each of their senders.
    pub const MESSAGE_UNDELIVERABLE: &str = "message_undeliverable";
    /// What a peer sends to another, or all send to one, is told together for a while.
    pub const CONVERSATION_DAMPED: &str = "mesh.conversation_damped";
    /// A peer has another name.
    pub const PEER_RENAMED: &str = "mesh.peer_renamed";
    /// All of them.
    pub const BUILT_IN: [&str; 10] = [
        PEER_JOINED,
        PEER_LEFT,
        STATE_CHANGED,
        FILE_LOCKED,
        FILE_UNLOCKED,
        MESSAGE_RECEIVED,
        MESSAGE_READ,
        MESSAGE_UNDELIVERABLE,
        CONVERSATION_DAMPED,
        PEER_RENAMED,
    ];
    /// What the names of further built-in types will begin with.
    pub const PREFIX: &str = "mesh.";

    /// Whether this type is not one of the mesh's own, so that parties may emit it.
    #[must_use]
    pub fn is_custom(kind: &str) -> bool {
        !BUILT_IN.contains(&kind) && !kind.starts_with(PREFIX)
    }
}

/// Whether an event type is meant by one of `patterns`: `*` for all, `prefix.*`, or a type itself.
/// No patterns mean every type.
#[must_use]
pub fn type_matches<P: AsRef<str>>(patterns: &[P], kind: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| pattern_matches(pattern.as_ref(), kind))
}

fn pattern_matches(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => kind.starts_with(prefix),
        None => pattern == kind,
    }
}
