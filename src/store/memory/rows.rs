//! Rows that are more than a type of the model.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::model::{Event, MachineName, Message, Party, PeerId, PeerRecord, Recipient, Seq};
use crate::store::marks::{MessageMarks, reached};
use crate::store::{NewMessage, Receipt, To};

/// Where a message is put.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum MessagePlace {
    /// With its recipient.
    Own(Recipient),
    /// In the mailbox of a name on a machine.
    Mailbox(Box<str>, Option<MachineName>),
}

impl MessagePlace {
    pub(super) fn of_peer(id: PeerId) -> Self {
        Self::Own(Recipient::Peer(id))
    }

    /// The mailbox of a name, and of every other that differs from it by case only.
    pub(super) fn mailbox(name: &str, host: Option<MachineName>) -> Self {
        Self::Mailbox(name.to_ascii_lowercase().into(), host)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct StoredMessage {
    /// As it was sent, to nobody if it is a broadcast.
    pub(super) message: Message,
    /// How it stands where it was put.
    pub(super) recipients: BTreeMap<MessagePlace, MessageMarks>,
    pub(super) client_id: Option<Uuid>,
}

impl StoredMessage {
    /// `mailbox`: that of the recipient, if it has one.
    pub(super) fn new(new: &NewMessage<'_>, mailbox: Option<MessagePlace>) -> Self {
        let places = match new.to {
            To::One(recipient) => vec![mailbox.unwrap_or(MessagePlace::Own(recipient))],
            To::Name(name, host) => vec![MessagePlace::mailbox(name, host)],
            To::Many(peers) | To::Group(_, peers) => {
                peers.iter().copied().map(MessagePlace::of_peer).collect()
            }
        };
        let (to_name, to_host) = match places.first() {
            Some(MessagePlace::Mailbox(name, host)) => (Some(name.clone()), *host),
            _ => (None, None),
        };
        let (to, to_group) = match new.to {
            To::One(recipient) => (Some(recipient.into()), None),
            To::Name(..) => (to_name.clone().map(Party::Label), None),
            To::Many(_) => (None, None),
            To::Group(name, _) => (None, Some(name.into())),
        };
        let message = Message {
            seq: new.seq,
            id: new.id,
            from: new.from.clone(),
            from_name: new.from_name.into(),
            to,
            to_name,
            to_host,
            to_group,
            kind: new.kind,
            payload: new.payload.into(),
            reply_to: new.reply_to,
            created_at: new.created_at,
            delivered_at: None,
            told: None,
            read_at: None,
            reached: None,
        };
        let recipients = places.into_iter().map(|place| (place, MessageMarks::default())).collect();
        Self { message, recipients, client_id: new.client_id }
    }

    pub(super) fn is_broadcast(&self) -> bool {
        self.message.to.is_none()
    }

    pub(super) fn seen_by_sender(&self) -> Message {
        if self.is_broadcast() {
            let reached = Some(reached(self.recipients.values().copied()));
            return Message { reached, ..self.message.clone() };
        }
        let marks = self.recipients.values().next().copied().unwrap_or_default();
        marks.put_on(self.message.clone())
    }

    /// How it stands in one of these places.
    pub(super) fn marks_in(&self, places: &[MessagePlace]) -> Option<MessageMarks> {
        places.iter().find_map(|place| self.recipients.get(place)).copied()
    }

    pub(super) fn receipt(&self) -> Receipt {
        Receipt { id: self.message.id, from: self.message.from.clone() }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct StoredEvent {
    pub(super) event: Event,
    pub(super) client_id: Option<Uuid>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct StoredPeer {
    pub(super) record: PeerRecord,
    /// The highest number given when it left.
    pub(super) left_seq: Seq,
}
