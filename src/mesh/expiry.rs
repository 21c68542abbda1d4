//! What is removed because its time is over, and when that is looked after.

use std::time::Duration;

use super::Mesh;
use crate::limits::{EVENT_RETENTION_MS, MESSAGE_RETENTION_MS, PURGE_ROWS_MAX};
use crate::model::{MeshTime, Monotonic, Now};
use crate::store::{PurgeBefore, Result, Store};

/// How often retention is looked after, once nothing more is to be removed.
const PURGE_INTERVAL: Duration = Duration::from_secs(600);

impl<S: Store> Mesh<S> {
    /// Removes what has expired.
    pub(super) fn expire(&mut self) -> Result<()> {
        if !self.lags() {
            return Ok(());
        }
        self.expire_locks()?;
        self.expire_state()?;
        self.note_expiries()
    }

    pub(super) fn note_expiries(&mut self) -> Result<()> {
        let lock = self.store.next_lock_expiry()?;
        let state = self.store.next_state_expiry()?;
        self.next_expiry = lock.into_iter().chain(state).min();
        Ok(())
    }

    /// Whether something that has expired by now may still be stored: no more is removed in a turn
    /// than it has time for.
    pub(super) fn lags(&self) -> bool {
        self.next_expiry.is_some_and(|at| at <= self.time())
    }

    pub(super) fn note_expiry(&mut self, at: MeshTime) {
        self.next_expiry = Some(self.next_expiry.map_or(at, |next| next.min(at)));
    }

    /// Does what is due by now: to be called in a turn, when [`Mesh::next_deadline`] has come.
    ///
    /// # Errors
    /// Those of the store.
    pub fn tick(&mut self, now: Now) -> Result<()> {
        self.now = now;
        self.remove_dead()?;
        self.end_away()?;
        self.queue.end_absent(self.now.mono, &self.steps);
        if now.mono >= self.next_purge {
            let more = self.look_at_clocks()? && self.purge()?;
            self.next_purge = if more { now.mono } else { now.mono.plus(PURGE_INTERVAL) };
        }
        Ok(())
    }

    /// Removes what is old, some of it, so that there is room for other things: to be called in a turn
    /// of its own.
    ///
    /// # Errors
    /// Those of the store.
    pub fn make_room(&mut self, now: Now) -> Result<()> {
        self.now = now;
        if self.look_at_clocks()? {
            self.purge()?;
        }
        Ok(())
    }

    /// Removes what is old; gives whether there may be more.
    fn purge(&mut self) -> Result<bool> {
        let time = self.time();
        let before = PurgeBefore {
            messages: time.plus_ms(-MESSAGE_RETENTION_MS),
            events: time.plus_ms(-EVENT_RETENTION_MS),
            departed: time.plus_ms(-MESSAGE_RETENTION_MS),
        };
        self.store.purge(&before, PURGE_ROWS_MAX)
    }

    /// When [`Mesh::tick`] is due next, if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self, now: Now) -> Option<Monotonic> {
        let expiry = self.next_expiry.map(|at| {
            let ms = u64::try_from(self.clock.time(now).ms_until(at)).unwrap_or(0);
            now.mono.plus(Duration::from_millis(ms))
        });
        // In an empty store nothing grows old.
        let counts = self.store.counts();
        let rows = counts.events + counts.state_entries + counts.locks > 0;
        let purge = rows.then_some(self.next_purge);
        let leaving = (!self.leaving.is_empty()).then_some(now.mono);
        [expiry, self.next_dead, self.next_away, purge, self.queue.next_absent(), leaving]
            .into_iter()
            .flatten()
            .min()
    }
}
