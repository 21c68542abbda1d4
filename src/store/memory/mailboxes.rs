//! Mailboxes of names.

use std::collections::BTreeMap;

use super::MemoryStore;
use super::rows::{Place, StoredMessage};
use crate::model::{MachineName, PeerId, Recipient};
use crate::store::{Mailbox, Receipt};

impl MemoryStore {
    /// The mailbox that this recipient has, if it has one.
    pub(super) fn mailbox_of(&self, recipient: Recipient) -> Option<Place> {
        let Recipient::Peer(id) = recipient else { return None };
        let record = self.peers.get(&id).map(|peer| &peer.record);
        let record = record.filter(|it| it.left_at.is_none() && !it.name_is_automatic)?;
        Some(Place::mailbox(&record.name, record.host))
    }

    /// Where the messages of a recipient are.
    pub(super) fn places(&self, recipient: Recipient) -> Vec<Place> {
        self.mailbox_of(recipient).into_iter().chain([Place::Own(recipient)]).collect()
    }

    /// See [`crate::store::Store::mailboxes`].
    pub(super) fn mailboxes_called(&self, name: &str) -> Vec<Mailbox> {
        let mut found: BTreeMap<Option<MachineName>, Mailbox> = BTreeMap::new();
        let mut at = |host: Option<MachineName>, note: &dyn Fn(&mut Mailbox)| {
            let host = host.map(|host| host.folded());
            let nothing = Mailbox { unread: None, had: None, read: None, host };
            note(found.entry(host).or_insert(nothing));
        };
        for peer in self.peers.rows.values() {
            let record = &peer.record;
            if record.name.eq_ignore_ascii_case(name) && !record.name_is_automatic {
                at(record.host, &|it| it.had = it.had.max(Some(peer.left_seq)));
            }
        }
        for row in self.messages.rows.values() {
            let Some((Place::Mailbox(of, host), marks)) = row.recipients.first_key_value() else {
                continue;
            };
            if of.eq_ignore_ascii_case(name) {
                let is_read = marks.read_at.is_some();
                at(*host, &|it| {
                    *if is_read { &mut it.read } else { &mut it.unread } = Some(row.seq);
                });
            }
        }
        found.into_values().collect()
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
