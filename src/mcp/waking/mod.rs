//! Waking the agent: putting a message where it is seen, also when the agent is idle.
//!
//! MCP alone does not do that: no common client passes a notification of a server on to its model.
//! So each agent has a way of its own, and its own small module:
//!
//! | way | agent | counts as sent |
//! |---|---|---|
//! | [`inbox_socket`] | Claude Code, Qwen Code | when the socket has taken the whole text |
//! | [`channel`] | Claude Code, in the legacy era | never: whether it is shown is not known |
//! | [`codex_queue`] | Codex | when `codex queue` has ended well |
//!
//! The first that there is is used. One that fails is switched off for the session and what it was
//! to tell goes the next way; in the end there is the notice on tool results, which needs no way.
//!
//! [`plan`] decides, without I/O and clock; [`adapters`] do what they are told, for the loop that
//! owns the descriptors. None of them ever waits.

pub(super) mod adapters;
pub(super) mod channel;
pub(super) mod codex_queue;
mod conduct;
mod errands;
mod inbox_frames;
pub(super) mod inbox_socket;
mod notices;
mod own_socket;
pub(super) mod plan;

use crate::model::SentStatus;

/// What an agent is told at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// Names it among those of this process.
    pub(super) id: u64,
    /// The name of whoever wrote what is in it; our own if that were several.
    pub(super) from: Box<str>,
    /// At most [`crate::limits::TELL_CHARS_MAX`] characters, none of them a control character
    /// but newlines.
    pub(super) text: String,
}

/// What has come of a way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WayReport {
    /// It can take the next notice.
    Free,
    /// The agent's own queue has taken this notice. What its program does with it is said by
    /// [`WayReport::Status`], if anything is said at all.
    Sent(u64),
    /// A later word about a notice. It may come again, and before [`WayReport::Sent`].
    Status(u64, SentStatus),
    /// What is not taken yet was lost with a connection that has worked before: it is told anew.
    Lost,
    /// It does not work, and why. What is not taken yet was not told.
    Failed(String),
    /// The agent answers by its own messaging, and this is what it says: that goes to whoever wrote
    /// the message that it names, or the last one of this way.
    Answer(String),
    /// The same, but it is too long to be read.
    LongAnswer,
}
