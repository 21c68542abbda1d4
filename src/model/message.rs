//! Messages, and how far they have come.

use serde::{Deserialize, Serialize};

use super::ids::{MessageId, Seq};
use super::machine::MachineName;
use super::party::Party;
use super::time::Timestamp;
use super::told::Told;
use super::written::words;

words! {
    /// What kind of text a message carries.
    #[derive(Default)]
    MessageKind {
        /// Plain text.
        #[default]
        Text = "text",
        /// A JSON document.
        Json = "json",
        /// Something the sender asks to be done.
        Command = "command",
        /// Something that should be seen soon.
        Alert = "alert",
    }
}

words! {
    /// How far a message has come with a recipient; each stage implies those before it, except that
    /// what is fetched unasked is read without a notification.
    Stage {
        /// It is stored.
        Queued = "queued",
        /// The recipient's process has confirmed it.
        Delivered = "delivered",
        /// It was handed to a queue of the recipient's agent, whose program may keep or drop it.
        Sent = "sent",
        /// It is before the recipient's agent: proven.
        Notified = "notified",
        /// The agent has it.
        Read = "read",
        /// Nobody will ever read it: its recipient is gone for good.
        Undeliverable = "undeliverable",
    }
}

/// A message as one recipient or its sender sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its place in the sequence.
    pub seq: Seq,
    /// Its id, the same for all recipients.
    pub id: MessageId,
    /// Who sent it.
    pub from: Party,
    /// The sender's name when it was sent.
    pub from_name: Box<str>,
    /// To whom; none for a broadcast. In the mailbox of a name: the peer that had the name, or a label
    /// with the name if nobody had it.
    pub to: Option<Party>,
    /// The name in whose mailbox it is, if it is in one: it is for whoever has that name.
    pub to_name: Option<Box<str>>,
    /// The machine of that mailbox, if it is not the hub's own.
    pub to_host: Option<MachineName>,
    /// Of a broadcast: to which group it was sent (`repo`, `directory`, `#topic`), if not to all.
    pub to_group: Option<Box<str>>,
    /// What kind of text it is.
    pub kind: MessageKind,
    /// The text.
    pub payload: Box<str>,
    /// The message it answers.
    pub reply_to: Option<MessageId>,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When the recipient's process confirmed it. In a sender's list of a broadcast: none.
    pub delivered_at: Option<Timestamp>,
    /// When and how the agent was told of it. In a sender's list of a broadcast: none.
    pub told: Option<Told>,
    /// When the agent fetched it. In a sender's list of a broadcast: none.
    pub read_at: Option<Timestamp>,
    /// In a sender's list: how a broadcast stands.
    pub reached: Option<Reached>,
}

impl Message {
    /// How far it has come. Of a broadcast in a sender's list nothing is known but the counts.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match (self.read_at, self.told, self.delivered_at) {
            (Some(_), _, _) => Stage::Read,
            (None, Some(told), _) if told.is_proven() => Stage::Notified,
            (None, Some(_), _) => Stage::Sent,
            (None, None, Some(_)) => Stage::Delivered,
            (None, None, None) => Stage::Queued,
        }
    }
}

/// How many recipients a broadcast has, and how far it has come with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// To how many peers it was sent.
    pub recipients: u32,
    /// Those whose process has confirmed it.
    pub delivered: u32,
    /// Those with whom it stands in a queue of their agent, unproven and not fetched.
    #[serde(default)]
    pub sent: u32,
    /// Those whose agent was told of it.
    pub notified: u32,
    /// Those whose agent has fetched it.
    pub read: u32,
}
