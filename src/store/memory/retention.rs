//! What time it was when, and what is removed for its age.

use super::Tables;
use crate::model::{MeshTime, PeerId, Seq, TimeMark};
use crate::store::{PurgeBefore, Result};

impl Tables {
    pub(super) fn note_time(&mut self, mark: &TimeMark) -> Result<()> {
        self.times.put(mark.at, (*mark, self.last_seq));
        Ok(())
    }

    pub(super) fn last_time(&self) -> Result<Option<(TimeMark, Seq)>> {
        Ok(self.times.rows.values().next_back().copied())
    }

    /// The highest number that is known to have been given by then.
    pub(super) fn seq_at(&self, at: MeshTime) -> Seq {
        self.times.rows.range(..=at).next_back().map_or(Seq(0), |(_, (_, seq))| *seq)
    }

    pub(super) fn make_older(&mut self, to: Seq, ms: i64) -> Result<()> {
        for (mark, seq) in self.times.all().into_iter().filter(|(_, seq)| *seq <= to) {
            self.times.remove(&mark.at);
            let mark = TimeMark { at: mark.at.plus_ms(-ms), ..mark };
            self.times.put(mark.at, (mark, seq));
        }
        for key in self.state.rows.keys().cloned().collect::<Vec<_>>() {
            self.state.change(&key, |entry| {
                if entry.version <= to {
                    entry.expires_at = entry.expires_at.map(|at| at.plus_ms(-ms));
                }
            });
        }
        Ok(())
    }

    pub(super) fn purge(&mut self, before: &PurgeBefore, limit: u32) -> Result<bool> {
        let mut left = limit;
        for row in self.messages.remove_to(&self.seq_at(before.messages), &mut left) {
            self.forget_client_id(Some(&row.message.from), row.client_id, row.message.seq);
        }
        for row in self.events.remove_to(&self.seq_at(before.events), &mut left) {
            self.forget_client_id(row.event.emitted_by.as_ref(), row.client_id, row.event.seq);
        }
        self.purge_departed(self.seq_at(before.departed), &mut left);
        if left < limit {
            self.purge_times(before.messages.min(before.events).min(before.departed));
        }
        Ok(left == 0)
    }

    fn purge_departed(&mut self, to: Seq, left: &mut u32) {
        let first_message = self.messages.rows.keys().next().copied();
        let gone: Vec<PeerId> = (self.departed().into_iter())
            .filter(|peer| peer.left_seq < to)
            .filter(|peer| first_message.is_none_or(|seq| peer.left_seq < seq))
            .map(|peer| peer.record.id)
            .collect();
        self.peers.remove_some(gone, left);
    }

    /// Removes the marks before `at` except the last of them, which says how old all before it is.
    fn purge_times(&mut self, at: MeshTime) {
        let before: Vec<MeshTime> = self.times.rows.range(..=at).map(|(at, _)| *at).collect();
        for at in before.iter().rev().skip(1) {
            self.times.remove(at);
        }
    }
}
