//! Mailboxes of names.

use super::MemoryStore;
use super::rows::{Place, StoredMessage};
use crate::model::{PeerId, Recipient};
use crate::store::Receipt;

impl MemoryStore {
    /// The name whose mailbox this is, if it has one.
    pub(super) fn mailbox_of(&self, recipient: Recipient) -> Option<Box<str>> {
        let Recipient::Peer(id) = recipient else { return None };
        let record = self.peers.get(&id).map(|peer| &peer.record);
        let record = record.filter(|it| it.left_at.is_none() && !it.name_is_automatic)?;
        Some(record.name.to_ascii_lowercase().into())
    }

    /// Where the messages of a recipient are.
    pub(super) fn places(&self, recipient: Recipient) -> Vec<Place> {
        let mailbox = self.mailbox_of(recipient).map(Place::Mailbox);
        mailbox.into_iter().chain([Place::Own(recipient)]).collect()
    }

    /// See [`crate::store::Store::mailbox_known`].
    pub(super) fn is_mailbox_known(&self, name: &str) -> bool {
        let place = Place::mailbox(name);
        let mut records = self.peers.rows.values().map(|peer| &peer.record);
        records.any(|record| record.name.eq_ignore_ascii_case(name) && !record.name_is_automatic)
            || self.messages.rows.values().any(|row| row.recipients.contains_key(&place))
    }

    /// See [`crate::store::Store::unread_direct`].
    pub(super) fn direct_unread(&self, peer: PeerId, limit: u32) -> Vec<Receipt> {
        let place = Place::Own(Recipient::Peer(peer));
        let unread = |row: &&StoredMessage| {
            let marks = row.recipients.get(&place).filter(|_| row.to().is_some());
            marks.is_some_and(|marks| marks.read_at.is_none())
        };
        let rows = self.messages.rows.values().filter(unread);
        rows.take(limit as usize).map(StoredMessage::receipt).collect()
    }
}
