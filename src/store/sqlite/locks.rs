//! Locks.

use super::care::lower;
use super::db::{Db, Outcome};
use crate::model::{Lock, MeshTime, Seq};

impl Db {
    pub(super) fn put_lock(&mut self, lock: &Lock) -> Outcome<()> {
        let known = self.row("SELECT 1 FROM locks WHERE fence = ?1", [lock.fence], |_| Ok(()))?;
        self.put("locks", lock, None)?;
        self.tally.locks += u64::from(known.is_none());
        Ok(())
    }

    pub(super) fn remove_lock(&mut self, fence: Seq) -> Outcome<bool> {
        let removed = self.write("DELETE FROM locks WHERE fence = ?1", [fence])? > 0;
        lower(&mut self.tally.locks, u64::from(removed));
        Ok(removed)
    }

    pub(super) fn locks(&self) -> Outcome<Vec<Lock>> {
        self.all("FROM locks ORDER BY fence", [])
    }

    pub(super) fn next_lock_expiry(&self) -> Outcome<Option<MeshTime>> {
        Ok(self.row("SELECT min(expires_at) FROM locks", [], |row| row.get(0))?.flatten())
    }

    pub(super) fn expire_locks(&mut self, now: MeshTime, limit: u32) -> Outcome<Vec<Lock>> {
        let locks: Vec<Lock> = self.all(
            "FROM locks INDEXED BY locks_expiry
             WHERE expires_at <= ?1 ORDER BY expires_at, fence LIMIT ?2",
            (now, limit),
        )?;
        for lock in &locks {
            self.remove_lock(lock.fence)?;
        }
        Ok(locks)
    }
}
