//! Locks.

use rusqlite::{OptionalExtension as _, Params, Row, params};

use super::db::{Db, Outcome};
use crate::model::{Lock, MeshTime, Seq};

pub(super) fn lock(row: &Row<'_>) -> rusqlite::Result<Lock> {
    Ok(Lock {
        fence: row.get(0)?,
        path: row.get(1)?,
        pattern: row.get(2)?,
        shared: row.get(3)?,
        repo_id: row.get(4)?,
        git_root: row.get(5)?,
        holder: row.get(6)?,
        holder_name: row.get(7)?,
        reason: row.get(8)?,
        locked_at: row.get(9)?,
        expires_at: row.get(10)?,
        host: row.get(11)?,
        repo_hash: row.get(12)?,
    })
}

/// The columns that [`lock`] reads, in its order.
macro_rules! columns {
    () => {
        "fence, path, pattern, shared, repo_id, git_root, holder, holder_name, reason, locked_at,
         expires_at, host, repo_hash"
    };
}

pub(super) const COLUMNS: &str = columns!();

impl Db {
    /// See [`crate::store::Store::put_lock`].
    pub(super) fn put_lock(&mut self, lock: &Lock) -> Outcome<()> {
        self.check_turn()?;
        let known = self.has_lock(lock.fence)?;
        self.begin_write()?;
        self.connection
            .prepare_cached(concat!(
                "INSERT OR REPLACE INTO locks (",
                columns!(),
                ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
            ))?
            .execute(params![
                lock.fence,
                lock.path,
                lock.pattern,
                lock.shared,
                lock.repo_id,
                lock.git_root,
                lock.holder,
                lock.holder_name,
                lock.reason,
                lock.locked_at,
                lock.expires_at,
                lock.host,
                lock.repo_hash,
            ])?;
        self.wrote();
        self.tally.locks += u64::from(!known);
        Ok(())
    }

    fn has_lock(&self, fence: Seq) -> Outcome<bool> {
        let mut statement =
            self.connection.prepare_cached("SELECT 1 FROM locks WHERE fence = ?1")?;
        Ok(statement.query_row([fence], |_| Ok(())).optional()?.is_some())
    }

    /// See [`crate::store::Store::remove_lock`].
    pub(super) fn remove_lock(&mut self, fence: Seq) -> Outcome<bool> {
        self.check_turn()?;
        let known = self.has_lock(fence)?;
        if known {
            self.begin_write()?;
            self.connection
                .prepare_cached("DELETE FROM locks WHERE fence = ?1")?
                .execute([fence])?;
            self.wrote();
            self.tally.locks -= 1;
        }
        Ok(known)
    }

    /// See [`crate::store::Store::locks`].
    pub(super) fn locks(&self) -> Outcome<Vec<Lock>> {
        self.query_locks(concat!("SELECT ", columns!(), " FROM locks ORDER BY fence"), [])
    }

    /// See [`crate::store::Store::next_lock_expiry`].
    pub(super) fn next_lock_expiry(&self) -> Outcome<Option<MeshTime>> {
        let mut statement = self.connection.prepare_cached("SELECT min(expires_at) FROM locks")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    /// See [`crate::store::Store::expire_locks`].
    pub(super) fn expire_locks(&mut self, now: MeshTime, limit: u32) -> Outcome<Vec<Lock>> {
        self.check_turn()?;
        let locks = self.query_locks(
            concat!(
                "SELECT ",
                columns!(),
                " FROM locks INDEXED BY locks_expiry
                  WHERE expires_at <= ?1 ORDER BY expires_at, fence LIMIT ?2"
            ),
            (now, limit),
        )?;
        for lock in &locks {
            self.remove_lock(lock.fence)?;
        }
        Ok(locks)
    }

    fn query_locks(&self, sql: &str, params: impl Params) -> Outcome<Vec<Lock>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let locks: rusqlite::Result<Vec<_>> = statement.query_map(params, lock)?.collect();
        Ok(locks?)
    }
}
