//! Waking the agent: putting a message where the agent sees it, even when it is idle.
//!
//! MCP alone cannot do that: no common client passes notifications of a server on to its model. So there
//! are ways of single agents, each with a module of its own:
//!
//! | way | agent | counts as sent |
//! |---|---|---|
//! | [`inbox_socket`] | Claude Code, Qwen Code | when the socket has taken the whole text |
//! | [`channel`] | Claude Code, in the legacy era | never: whether it is shown is not known |
//! | [`codex_queue`] | Codex | when `codex queue` has ended well |
//!
//! The first one that is available is used. If it fails, it is switched off for the session, and the next
//! one tells what it was to tell. The notice on tool results always works.
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

/// A text that an agent is told in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// Identifies it among the notices of this process.
    pub(super) id: u64,
    /// The name of whoever wrote what is in it; our own if several did.
    pub(super) from: Box<str>,
    /// At most [`crate::limits::TELL_CHARS_MAX`] characters, of which only newlines are control
    /// characters.
    pub(super) text: String,
}

/// What an adapter reports about its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WayReport {
    /// It can take the next notice.
    Free,
    /// The agent's own queue has taken this notice. What the agent's program does with it may be
    /// reported later, by [`WayReport::Status`].
    Sent(u64),
    /// What has become of a notice. It may come again, and before [`WayReport::Sent`].
    Status(u64, SentStatus),
    /// The connection, which has worked, broke before a notice was taken: that is to be told again.
    Lost,
    /// The way does not work, for this reason. A notice that was not taken has not been told.
    Failed(String),
    /// The agent has answered with its own means of messaging. The answer goes to whoever wrote the
    /// message that it names, or else the last one that was told by this way.
    Answer(String),
    /// Such an answer was too long to be read.
    LongAnswer,
}
