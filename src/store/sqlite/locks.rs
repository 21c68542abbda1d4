//! Locks.

use rusqlite::{OptionalExtension as _, Params, Row, params};

use super::db::{Db, Outcome};
use crate::model::{Lock, Party, Timestamp};
use crate::store::{AcquireOutcome, ReleaseOutcome};

fn lock(row: &Row<'_>) -> rusqlite::Result<Lock> {
    Ok(Lock {
        path: row.get(0)?,
        holder: row.get(1)?,
        holder_name: row.get(2)?,
        reason: row.get(3)?,
        locked_at: row.get(4)?,
        expires_at: row.get(5)?,
        fence: row.get(6)?,
    })
}

impl Db {
    /// See [`crate::store::Store::lock`].
    pub(super) fn lock(&self, path: &str) -> Outcome<Option<Lock>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT path, holder, holder_name, reason, locked_at, expires_at, fence
             FROM locks WHERE path = ?1",
        )?;
        Ok(statement.query_row([path], lock).optional()?)
    }

    /// See [`crate::store::Store::acquire_lock`].
    pub(super) fn acquire_lock(&mut self, wanted: &Lock) -> Outcome<AcquireOutcome> {
        self.check_turn()?;
        match self.lock(&wanted.path)? {
            None => {
                self.add_lock(wanted)?;
                Ok(AcquireOutcome::Acquired)
            }
            Some(held) if held.holder != wanted.holder => Ok(AcquireOutcome::Held(held)),
            Some(held) => Ok(AcquireOutcome::Renewed(self.renew_lock(held, wanted)?)),
        }
    }

    fn add_lock(&mut self, lock: &Lock) -> Outcome<()> {
        self.begin_write()?;
        self.connection
            .prepare_cached(
                "INSERT INTO locks (path, holder, holder_name, reason, locked_at, expires_at, fence)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                lock.path,
                lock.holder,
                lock.holder_name,
                lock.reason,
                lock.locked_at,
                lock.expires_at,
                lock.fence,
            ])?;
        self.wrote();
        self.tally.locks += 1;
        Ok(())
    }

    fn renew_lock(&mut self, held: Lock, wanted: &Lock) -> Outcome<Lock> {
        let expires_at = held.expires_at.max(wanted.expires_at);
        let reason = wanted.reason.clone().or_else(|| held.reason.clone());
        if expires_at != held.expires_at || reason != held.reason {
            self.begin_write()?;
            self.connection
                .prepare_cached("UPDATE locks SET expires_at = ?2, reason = ?3 WHERE path = ?1")?
                .execute((&held.path, expires_at, &reason))?;
            self.wrote();
        }
        Ok(Lock { reason, expires_at, ..held })
    }

    /// See [`crate::store::Store::release_lock`].
    pub(super) fn release_lock(
        &mut self,
        path: &str,
        holder: Option<&Party>,
    ) -> Outcome<ReleaseOutcome> {
        self.check_turn()?;
        match self.lock(path)? {
            None => Ok(ReleaseOutcome::NotLocked),
            Some(held) if holder.is_some_and(|holder| held.holder != *holder) => {
                Ok(ReleaseOutcome::Held(held))
            }
            Some(held) => {
                self.remove_locks(std::slice::from_ref(&held))?;
                Ok(ReleaseOutcome::Released(held))
            }
        }
    }

    /// See [`crate::store::Store::locks`].
    pub(super) fn locks(&self) -> Outcome<Vec<Lock>> {
        self.query_locks(
            "SELECT path, holder, holder_name, reason, locked_at, expires_at, fence
             FROM locks ORDER BY path",
            [],
        )
    }

    /// See [`crate::store::Store::lock_counts`].
    pub(super) fn lock_counts(&self) -> Outcome<Vec<(Party, u64)>> {
        let mut statement =
            self.connection.prepare_cached("SELECT holder, count(*) FROM locks GROUP BY holder")?;
        let counts: rusqlite::Result<Vec<_>> = statement
            .query_map([], |row| Ok((row.get(0)?, u64::from(row.get::<_, u32>(1)?))))?
            .collect();
        let mut counts = counts?;
        counts.sort_unstable();
        Ok(counts)
    }

    /// See [`crate::store::Store::release_locks_of`].
    pub(super) fn release_locks_of(&mut self, holder: &Party) -> Outcome<Vec<Lock>> {
        self.check_turn()?;
        let locks = self.query_locks(
            "SELECT path, holder, holder_name, reason, locked_at, expires_at, fence
             FROM locks INDEXED BY locks_holder WHERE holder = ?1 ORDER BY path",
            [holder],
        )?;
        self.remove_locks(&locks)?;
        Ok(locks)
    }

    /// See [`crate::store::Store::next_lock_expiry`].
    pub(super) fn next_lock_expiry(&self) -> Outcome<Option<Timestamp>> {
        let mut statement = self.connection.prepare_cached("SELECT min(expires_at) FROM locks")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    /// See [`crate::store::Store::expire_locks`].
    pub(super) fn expire_locks(&mut self, now: Timestamp, limit: u32) -> Outcome<Vec<Lock>> {
        self.check_turn()?;
        let locks = self.query_locks(
            "SELECT path, holder, holder_name, reason, locked_at, expires_at, fence
             FROM locks INDEXED BY locks_expiry
             WHERE expires_at <= ?1 ORDER BY expires_at, path LIMIT ?2",
            (now, limit),
        )?;
        self.remove_locks(&locks)?;
        Ok(locks)
    }

    fn query_locks(&self, sql: &str, params: impl Params) -> Outcome<Vec<Lock>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let locks: rusqlite::Result<Vec<_>> = statement.query_map(params, lock)?.collect();
        Ok(locks?)
    }

    fn remove_locks(&mut self, locks: &[Lock]) -> Outcome<()> {
        for lock in locks {
            self.begin_write()?;
            self.connection
                .prepare_cached("DELETE FROM locks WHERE path = ?1")?
                .execute([&lock.path])?;
            self.wrote();
            self.tally.locks -= 1;
        }
        Ok(())
    }
}
