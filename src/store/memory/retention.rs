//! What is removed when it is old.

use super::MemoryStore;
use crate::model::{MeshTime, PeerId, Seq, TimeMark};
use crate::store::PurgeBefore;

impl MemoryStore {
    /// See [`crate::store::Store::purge`].
    pub(super) fn remove_old(&mut self, before: &PurgeBefore, limit: u32) -> bool {
        let mut left = limit;
        self.purge_messages(self.seq_at(before.messages), &mut left);
        self.purge_events(self.seq_at(before.events), &mut left);
        self.purge_departed(self.seq_at(before.departed), &mut left);
        if left < limit {
            self.purge_times(before.messages.min(before.events).min(before.departed));
        }
        left == 0
    }

    pub(super) fn make_marks_older(&mut self, to: Seq, ms: i64) {
        let marks = self.times.rows.values().filter(|(_, seq)| *seq <= to);
        for (mark, seq) in marks.copied().collect::<Vec<_>>() {
            self.times.remove(&mark.at);
            let mark = TimeMark { at: mark.at.plus_ms(-ms), ..mark };
            self.times.put(mark.at, (mark, seq));
        }
    }

    /// Removes the marks before `at`, but for the last of them: it tells of all before.
    fn purge_times(&mut self, at: MeshTime) {
        let before: Vec<MeshTime> = self.times.rows.range(..=at).map(|(at, _)| *at).collect();
        for at in before.iter().rev().skip(1) {
            self.times.remove(at);
        }
    }

    /// The highest number that is known to have been given by then.
    pub(super) fn seq_at(&self, at: MeshTime) -> Seq {
        self.times.rows.range(..=at).next_back().map_or(Seq(0), |(_, (_, seq))| *seq)
    }

    fn purge_messages(&mut self, to: Seq, left: &mut u32) {
        while *left > 0
            && let Some((&seq, _)) = self.messages.rows.first_key_value()
            && seq <= to
        {
            if let Some(row) = self.messages.remove(&seq) {
                self.forget_client_id(Some(&row.from), row.client_id, seq);
            }
            *left -= 1;
        }
    }

    fn purge_events(&mut self, to: Seq, left: &mut u32) {
        while *left > 0
            && let Some((&seq, _)) = self.events.rows.first_key_value()
            && seq <= to
        {
            if let Some(row) = self.events.remove(&seq) {
                self.forget_client_id(row.event.emitted_by.as_ref(), row.client_id, seq);
            }
            *left -= 1;
        }
    }

    fn purge_departed(&mut self, to: Seq, left: &mut u32) {
        let first_message = self.messages.rows.keys().next().copied();
        let mut gone: Vec<(Seq, PeerId)> = (self.peers.rows.values())
            .filter(|peer| peer.record.left_at.is_some() && peer.left_seq < to)
            .filter(|peer| first_message.is_none_or(|seq| peer.left_seq < seq))
            .map(|peer| (peer.left_seq, peer.record.id))
            .collect();
        gone.sort();
        for (_, id) in gone.into_iter().take(*left as usize) {
            self.peers.remove(&id);
            *left -= 1;
        }
    }
}
