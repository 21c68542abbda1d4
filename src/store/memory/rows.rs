//! What the rows are, where the model's own types do not say it all.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::api::Fact;
use crate::model::{
    Event, MachineName, Message, MessageId, MessageKind, Party, PeerId, PeerRecord, Recipient, Seq,
    Timestamp, event_type,
};
use crate::store::marks::{Marks, reached};
use crate::store::{NewMessage, Receipt, To};

/// Where a message is put.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// With its recipient.
    Own(Recipient),
    /// In the mailbox of a name on a machine.
    Mailbox(Box<str>, Option<MachineName>),
}

impl Place {
    /// The mailbox of a name, and of every other that differs from it by case only.
    pub(super) fn mailbox(name: &str, host: Option<MachineName>) -> Self {
        Self::Mailbox(name.to_ascii_lowercase().into(), host)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct StoredMessage {
    pub(super) seq: Seq,
    pub(super) id: MessageId,
    pub(super) from: Party,
    pub(super) from_name: Box<str>,
    broadcast: bool,
    group: Option<Box<str>>,
    /// In a mailbox: who had the name.
    addressed: Option<PeerId>,
    pub(super) recipients: BTreeMap<Place, Marks>,
    pub(super) kind: MessageKind,
    pub(super) payload: Box<str>,
    pub(super) reply_to: Option<MessageId>,
    pub(super) created_at: Timestamp,
    pub(super) client_id: Option<Uuid>,
}

impl StoredMessage {
    /// `mailbox`: that of the recipient, if it has one.
    pub(super) fn new(new: &NewMessage<'_>, mailbox: Option<Place>) -> Self {
        let one = |place| BTreeMap::from([(place, Marks::default())]);
        let (recipients, addressed) = match (new.to, mailbox) {
            (To::One(recipient), Some(mailbox)) => (one(mailbox), recipient.peer()),
            (To::One(recipient), None) => (one(Place::Own(recipient)), None),
            (To::Name(name, host), _) => (one(Place::mailbox(name, host)), None),
            (To::Many(peers) | To::Group(_, peers), _) => {
                let own = |id: &PeerId| (Place::Own(Recipient::Peer(*id)), Marks::default());
                (peers.iter().map(own).collect(), None)
            }
        };
        let group = match new.to {
            To::Group(name, _) => Some(name.into()),
            _ => None,
        };
        Self {
            seq: new.seq,
            id: new.id,
            from: new.from.clone(),
            from_name: new.from_name.into(),
            broadcast: matches!(new.to, To::Many(_) | To::Group(..)),
            group,
            addressed,
            recipients,
            kind: new.kind,
            payload: new.payload.into(),
            reply_to: new.reply_to,
            created_at: new.created_at,
            client_id: new.client_id,
        }
    }

    /// The one recipient, unless it is a broadcast.
    pub(super) fn to(&self) -> Option<Party> {
        match self.recipients.keys().next().filter(|_| !self.broadcast)? {
            Place::Own(recipient) => Some(Party::from(*recipient)),
            Place::Mailbox(name, _) => {
                Some(self.addressed.map_or_else(|| Party::Label(name.clone()), Party::Peer))
            }
        }
    }

    fn mailbox(&self) -> Option<(Box<str>, Option<MachineName>)> {
        match self.recipients.keys().next() {
            Some(Place::Mailbox(name, host)) => Some((name.clone(), *host)),
            _ => None,
        }
    }

    pub(super) fn seen_with(&self, marks: Marks) -> Message {
        let (to_name, to_host) = self.mailbox().unzip();
        Message {
            seq: self.seq,
            id: self.id,
            from: self.from.clone(),
            from_name: self.from_name.clone(),
            to: self.to(),
            to_name,
            to_host: to_host.flatten(),
            to_group: self.group.clone(),
            kind: self.kind,
            payload: self.payload.clone(),
            reply_to: self.reply_to,
            created_at: self.created_at,
            delivered_at: marks.delivered_at,
            told: marks.told,
            read_at: marks.read_at,
            reached: None,
        }
    }

    pub(super) fn seen_by_sender(&self) -> Message {
        if !self.broadcast {
            return self.seen_with(self.recipients.values().next().copied().unwrap_or_default());
        }
        let reached = Some(reached(self.recipients.values().copied()));
        Message { reached, ..self.seen_with(Marks::default()) }
    }

    /// How it stands in one of these places.
    pub(super) fn marks_in(&self, places: &[Place]) -> Option<Marks> {
        places.iter().find_map(|place| self.recipients.get(place)).copied()
    }

    pub(super) fn receipt(&self) -> Receipt {
        Receipt { id: self.id, from: self.from.clone() }
    }

    pub(super) fn as_event(&self) -> Event {
        let received = Fact::MessageReceived {
            message_id: self.id,
            from_peer: self.from.clone(),
            to_peer: self.to(),
            to_group: self.group.clone(),
        };
        Event {
            seq: self.seq,
            id: self.id,
            kind: event_type::MESSAGE_RECEIVED.into(),
            payload: received.payload().into(),
            emitted_by: Some(self.from.clone()),
            created_at: self.created_at,
        }
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
