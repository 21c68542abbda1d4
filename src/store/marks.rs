//! How a message stands with a recipient, and how that changes.

use super::Telling;
use crate::api::Fact;
use crate::model::{Event, Message, MessageId, Party, Reached, Timestamp, Told, Way, event_type};

/// How a message stands with a recipient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct MessageMarks {
    pub(in crate::store) delivered_at: Option<Timestamp>,
    pub(in crate::store) told: Option<Told>,
    pub(in crate::store) read_at: Option<Timestamp>,
}

impl MessageMarks {
    pub(in crate::store) fn of(message: &Message) -> Self {
        let Message { delivered_at, told, read_at, .. } = *message;
        Self { delivered_at, told, read_at }
    }

    /// The message as that recipient sees it.
    pub(in crate::store) fn put_on(self, message: Message) -> Message {
        let Self { delivered_at, told, read_at } = self;
        Message { delivered_at, told, read_at, ..message }
    }

    /// After it was read at `at`, and told by this way unless it is proven that another did.
    pub(in crate::store) fn read(self, at: Timestamp, way: Option<Way>) -> Self {
        match self.read_at {
            Some(_) => self,
            None => Self {
                delivered_at: self.delivered_at.or(Some(at)),
                told: way
                    .filter(|_| !self.told.is_some_and(Told::is_proven))
                    .map_or(self.told, |way| Some(Told::notified(at, way))),
                read_at: Some(at),
            },
        }
    }

    /// After this has become known of its telling.
    pub(in crate::store) fn told(self, telling: Telling) -> Self {
        let settled = self.read_at.is_some() || self.told.is_some_and(Told::is_proven);
        match (telling, self.told) {
            _ if settled => self,
            (Telling::Told(new), Some(old)) if (Told { at: old.at, ..new }) == old => self,
            (Telling::Told(new), _) => Self {
                delivered_at: self.delivered_at.or(Some(new.at)),
                told: Some(new),
                read_at: None,
            },
            (Telling::Dropped(way), Some(old)) if old.by == way => Self { told: None, ..self },
            (Telling::Dropped(_), _) => self,
        }
    }

    /// With what follows from other marks: what was read or told has been delivered.
    pub(in crate::store) fn sound(self) -> Self {
        let later = self.told.map(|told| told.at).or(self.read_at);
        Self { delivered_at: self.delivered_at.or(later), ..self }
    }

    /// After it was delivered at `at`.
    pub(in crate::store) fn delivered(self, at: Timestamp) -> Self {
        Self { delivered_at: self.delivered_at.or(Some(at)), ..self }
    }
}

/// How far a broadcast has come, by how it stands with each recipient.
pub(in crate::store) fn reached(all: impl Iterator<Item = MessageMarks>) -> Reached {
    let mut reached = Reached::default();
    for marks in all {
        reached.recipients += 1;
        reached.delivered += u32::from(marks.delivered_at.is_some());
        let proven = marks.told.map(Told::is_proven);
        reached.sent += u32::from(proven == Some(false) && marks.read_at.is_none());
        reached.notified += u32::from(proven == Some(true));
        reached.read += u32::from(marks.read_at.is_some());
    }
    reached
}

/// A message as an event.
pub(in crate::store) fn received(
    id: MessageId,
    created_at: Timestamp,
    from: Party,
    to: Option<Party>,
    to_group: Option<Box<str>>,
) -> Event {
    let received =
        Fact::MessageReceived { message_id: id, from_peer: from.clone(), to_peer: to, to_group };
    Event {
        seq: id.seq(),
        id,
        kind: event_type::MESSAGE_RECEIVED.into(),
        payload: received.payload().into(),
        emitted_by: Some(from),
        created_at,
    }
}
