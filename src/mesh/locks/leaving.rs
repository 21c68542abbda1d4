//! The locks of those who have left, or were away for too long: freed a few in each turn, as each is
//! told to everybody.

use super::EXPIRE_ROWS_MAX;
use crate::api::Freed;
use crate::mesh::Mesh;
use crate::model::Party;
use crate::store::{Result as Stored, Store};

/// Peers and subscriptions that an event is compared with in about the time it takes to store one.
const READERS_PER_ROW: usize = 500;
/// The part of a turn's rows that is freed whatever else the turn does.
const LEAVING_SHARE: u32 = 8;
/// Rows that go in a turn, however many peers have to be told.
const ROWS_MIN: u32 = 4;

impl<S: Store> Mesh<S> {
    /// How many locks or entries may go in one turn: the fewer, the more peers are told of each.
    pub(in crate::mesh) fn rows_in_turn(&self) -> u32 {
        let readers: usize =
            self.peers.values().map(|present| 1 + present.record.subscriptions.len()).sum();
        let share = u32::try_from(1 + readers / READERS_PER_ROW).unwrap_or(u32::MAX);
        (EXPIRE_ROWS_MAX / share).max(ROWS_MIN)
    }

    /// Frees the first of the locks of `holder`, and the others in the next turns.
    pub(in crate::mesh) fn release_locks(&mut self, holder: &Party, reason: Freed) -> Stored<()> {
        self.leaving.extend(self.locks.fences_of(holder).into_iter().map(|it| (it, reason)));
        self.free_leaving()
    }

    /// Frees a few of the locks of those who have left.
    pub(in crate::mesh) fn free_leaving(&mut self) -> Stored<()> {
        // So few that the turn has time left for requests.
        for _ in 0..(self.rows_in_turn() / LEAVING_SHARE).max(1) {
            let Some((fence, reason)) = self.leaving.pop_first() else { break };
            if let Some(lock) = self.locks.get(fence).cloned() {
                self.free(&lock, reason, Some(&lock.holder))?;
            }
        }
        Ok(())
    }

    /// Finds the locks of those who have left, after a start.
    pub(in crate::mesh) fn find_leaving(&mut self) {
        let reason = |holder: &Party| {
            let Some(id) = holder.peer() else {
                return holder.machine().filter(|it| self.is_removed(*it)).map(|_| Freed::PeerLeft);
            };
            match self.peers.get(&id) {
                None => Some(Freed::PeerLeft),
                Some(present) => {
                    present.away.filter(|it| it.locks_until.is_none()).map(|_| Freed::Expired)
                }
            }
        };
        let leaving = self.locks.iter().filter_map(|it| Some((it.fence, reason(&it.holder)?)));
        self.leaving = leaving.collect();
    }
}
