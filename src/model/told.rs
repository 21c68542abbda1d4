//! How an agent is told of a message: by which way, how sure that is, and when it may be.

use super::time::Timestamp;
use super::written::words;

words! {
    /// A way in which an agent is told of a message: what puts it where the agent will see it.
    Way {
        /// The socket on which the agent's session takes messages.
        InboxSocket = "inbox-socket" | "socket",
        /// A notification on the channel between agent and server that the agent shows to its model.
        Channel = "channel",
        /// The agent's own queue of what it is to do next.
        Queue = "queue",
        /// Text that a hook has added to the agent's context.
        Hook = "hook",
        /// The notice on the result of a tool.
        ToolResult = "tool-result" | "notice",
        /// A hook that waits beside the agent, and ends with the text.
        WaitHook = "wait-hook",
        /// A plugin within the agent.
        Plugin = "plugin",
    }
}

impl Way {
    /// Whether it reaches an agent that is idle, and costs it a turn.
    #[must_use]
    pub fn wakes(self) -> bool {
        !matches!(self, Self::Hook | Self::ToolResult)
    }
}

words! {
    /// What became of a message that was handed to a queue of the agent's own.
    SentStatus {
        /// Its program has it.
        Sent = "sent",
        /// It keeps it until its user allows it.
        Held = "held",
        /// It takes no messages from this sender.
        Refused = "refused",
        /// Its user has said no.
        Declined = "declined" | "denied",
        /// Nobody is there who would take it.
        NotRunning = "not-running",
        /// It is gone: others may tell it.
        Dropped = "dropped",
    }
}

words! {
    /// Where in an agent's turn a hook asks for messages.
    Moment {
        /// A session begins.
        Start = "start",
        /// A prompt: a turn begins.
        Prompt = "prompt",
        /// A tool was called: a turn goes on.
        Tool = "tool",
        /// A turn is about to end.
        Stop = "stop",
        /// The session ends.
        End = "end",
    }
}

/// How sure it is that an agent was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum How {
    /// The message was handed to the agent's own queue.
    Sent,
    /// Its program keeps it until its user allows it.
    Held,
    /// Its program takes no messages from this sender.
    Refused,
    /// Its user has said no.
    Declined,
    /// Nobody was there who would have taken it.
    NotRunning,
    /// It is before the agent: proven.
    Notified,
}

impl How {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Sent, Self::Held, Self::Refused, Self::Declined, Self::NotRunning, Self::Notified];

    /// What is known of a message that was handed over and is not proven.
    #[must_use]
    pub fn status(self) -> Option<SentStatus> {
        Some(match self {
            Self::Sent => SentStatus::Sent,
            Self::Held => SentStatus::Held,
            Self::Refused => SentStatus::Refused,
            Self::Declined => SentStatus::Declined,
            Self::NotRunning => SentStatus::NotRunning,
            Self::Notified => return None,
        })
    }
}

impl SentStatus {
    /// How a message stands then; none if it was dropped.
    #[must_use]
    pub fn how(self) -> Option<How> {
        How::ALL.into_iter().find(|how| how.status() == Some(self))
    }
}

/// That an agent was told of a message, or is being told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Told {
    /// When.
    pub at: Timestamp,
    /// The way.
    pub by: Way,
    /// How sure that is.
    pub how: How,
    /// The whole text is in it: the agent that has it has read it.
    pub whole: bool,
}

impl Told {
    /// Proven, by this way.
    #[must_use]
    pub fn notified(at: Timestamp, by: Way) -> Self {
        Self { at, by, how: How::Notified, whole: false }
    }

    /// Whether it is before the agent.
    #[must_use]
    pub fn is_proven(self) -> bool {
        self.how == How::Notified
    }
}
