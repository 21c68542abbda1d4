//! What was: messages of anyone to anyone, and peers that have left.

use super::MemoryStore;
use super::checks::offer;
use super::rows::{StoredMessage, StoredPeer};
use crate::model::{Message, PeerRecord};
use crate::store::HistoryQuery;

impl MemoryStore {
    /// See [`crate::store::Store::history`].
    pub(super) fn between_all(
        &self,
        query: &HistoryQuery,
        keep: &mut dyn FnMut(&Message) -> bool,
    ) -> Vec<Message> {
        let mut rows: Vec<&StoredMessage> = self
            .messages_between(query.after, query.before)
            .filter(|row| query.since.is_none_or(|since| row.created_at > since))
            .collect();
        if query.after.is_none() {
            rows.reverse();
        }
        let seen = |row: &StoredMessage| Message { reached: None, ..row.seen_by_sender() };
        offer(rows.into_iter().map(seen), query.limit, keep)
    }

    /// See [`crate::store::Store::departed_peers`].
    pub(super) fn departed(&self, limit: u32) -> Vec<PeerRecord> {
        let left = |peer: &&StoredPeer| peer.record.left_at.is_some();
        let mut gone: Vec<&StoredPeer> = self.peers.rows.values().filter(left).collect();
        gone.sort_by_key(|peer| std::cmp::Reverse((peer.left_seq, peer.record.id)));
        gone.into_iter().take(limit as usize).map(|peer| peer.record.clone()).collect()
    }
}
