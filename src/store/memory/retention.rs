//! What is removed when it is old.

use super::MemoryStore;
use crate::model::{PeerId, Timestamp};
use crate::store::PurgeBefore;

impl MemoryStore {
    /// See [`crate::store::Store::purge`].
    pub(super) fn remove_old(&mut self, before: &PurgeBefore, limit: u32) -> bool {
        let mut left = limit;
        self.purge_messages(before.messages, &mut left);
        self.purge_events(before.events, &mut left);
        self.purge_departed(before.departed, &mut left);
        left == 0
    }

    fn purge_messages(&mut self, before: Timestamp, left: &mut u32) {
        while *left > 0
            && let Some((&seq, row)) = self.messages.rows.first_key_value()
            && row.created_at < before
        {
            if let Some(row) = self.messages.remove(&seq) {
                self.forget_client_id(Some(&row.from), row.client_id, seq);
            }
            *left -= 1;
        }
    }

    fn purge_events(&mut self, before: Timestamp, left: &mut u32) {
        while *left > 0
            && let Some((&seq, row)) = self.events.rows.first_key_value()
            && row.event.created_at < before
        {
            if let Some(row) = self.events.remove(&seq) {
                self.forget_client_id(row.event.emitted_by.as_ref(), row.client_id, seq);
            }
            *left -= 1;
        }
    }

    fn purge_departed(&mut self, before: Timestamp, left: &mut u32) {
        let first_message = self.messages.rows.keys().next().copied();
        let mut gone: Vec<(Timestamp, PeerId)> = (self.peers.rows.values())
            .filter(|peer| first_message.is_none_or(|seq| peer.left_seq < seq))
            .filter_map(|peer| Some((peer.record.left_at?, peer.record.id)))
            .filter(|(left_at, _)| *left_at < before)
            .collect();
        gone.sort();
        for (_, id) in gone.into_iter().take(*left as usize) {
            self.peers.remove(&id);
            *left -= 1;
        }
    }
}
