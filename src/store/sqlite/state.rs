//! State entries.

use rusqlite::{OptionalExtension as _, Row, params};

use super::db::{Db, Outcome};
use crate::model::{MeshTime, Seq, StateEntry};
use crate::store::{StateChange, StateOutcome};

pub(super) fn entry(row: &Row<'_>) -> rusqlite::Result<StateEntry> {
    Ok(StateEntry {
        namespace: row.get(0)?,
        key: row.get(1)?,
        version: row.get(2)?,
        updated_by: row.get(3)?,
        updated_at: row.get(4)?,
        expires_at: row.get(5)?,
        value: row.get(6)?,
    })
}

/// The columns that [`entry`] reads, in its order.
pub(super) const COLUMNS: &str =
    "namespace, key, version, updated_by, updated_at, expires_at, value";

impl Db {
    /// See [`crate::store::Store::state`].
    pub(super) fn state(&self, namespace: &str, key: &str) -> Outcome<Option<StateEntry>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT namespace, key, version, updated_by, updated_at, expires_at, value
             FROM state WHERE namespace = ?1 AND key = ?2",
        )?;
        Ok(statement.query_row((namespace, key), entry).optional()?)
    }

    /// See [`crate::store::Store::list_state`].
    pub(super) fn list_state(
        &self,
        namespace: Option<&str>,
        prefix: &str,
        now: MeshTime,
        limit: u32,
        keep: &mut dyn FnMut(&StateEntry) -> bool,
    ) -> Outcome<Vec<StateEntry>> {
        let mut statement = self.connection.prepare_cached(match namespace {
            Some(_) => {
                "SELECT namespace, key, version, updated_by, updated_at, expires_at, value
                 FROM state WHERE namespace = ?1 AND key >= ?2
                    AND (expires_at IS NULL OR expires_at > ?3)
                 ORDER BY key LIMIT ?4"
            }
            None => {
                "SELECT namespace, key, version, updated_by, updated_at, expires_at, value
                 FROM state WHERE namespace >= ?1 AND key >= ?2
                    AND (expires_at IS NULL OR expires_at > ?3)
                 ORDER BY namespace, key LIMIT ?4"
            }
        })?;
        let mut rows = statement.query((namespace.unwrap_or_default(), prefix, now, limit))?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            let entry = entry(row)?;
            if !entry.key.starts_with(prefix) || (!keep(&entry) && !entries.is_empty()) {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// See [`crate::store::Store::state_after`].
    pub(super) fn state_after(
        &self,
        (namespace, key): (&str, &str),
        now: MeshTime,
        limit: u32,
        keep: &mut dyn FnMut(&StateEntry) -> bool,
    ) -> Outcome<Vec<StateEntry>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT namespace, key, version, updated_by, updated_at, expires_at, value
             FROM state WHERE (namespace, key) > (?1, ?2)
                AND (expires_at IS NULL OR expires_at > ?3)
             ORDER BY namespace, key LIMIT ?4",
        )?;
        let mut rows = statement.query((namespace, key, now, limit))?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            let entry = entry(row)?;
            if !keep(&entry) && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// See [`crate::store::Store::set_state`].
    pub(super) fn set_state(
        &mut self,
        entry: &StateEntry,
        if_version: Option<Seq>,
    ) -> Outcome<StateOutcome> {
        self.check_turn()?;
        let old = self.state(&entry.namespace, &entry.key)?;
        if has_other_version(old.as_ref(), if_version) {
            return Ok(StateOutcome::Conflict(old));
        }
        self.begin_write()?;
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO state
                    (namespace, key, version, updated_by, updated_at, expires_at, value)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                entry.namespace,
                entry.key,
                entry.version,
                entry.updated_by,
                entry.updated_at,
                entry.expires_at,
                entry.value,
            ])?;
        self.wrote();
        self.log_growth += entry.value.len() as u64;
        self.tally.state_entries += u64::from(old.is_none());
        Ok(StateOutcome::Done(old))
    }

    /// See [`crate::store::Store::delete_state`].
    pub(super) fn delete_state(&mut self, change: &StateChange<'_>) -> Outcome<StateOutcome> {
        self.check_turn()?;
        let old = self.state(change.namespace, change.key)?;
        if has_other_version(old.as_ref(), change.if_version) {
            return Ok(StateOutcome::Conflict(old));
        }
        if old.is_some() {
            self.remove_state(change.namespace, change.key)?;
        }
        Ok(StateOutcome::Done(old))
    }

    fn remove_state(&mut self, namespace: &str, key: &str) -> Outcome<()> {
        self.begin_write()?;
        self.connection
            .prepare_cached("DELETE FROM state WHERE namespace = ?1 AND key = ?2")?
            .execute((namespace, key))?;
        self.wrote();
        self.tally.state_entries -= 1;
        Ok(())
    }

    /// See [`crate::store::Store::next_state_expiry`].
    pub(super) fn next_state_expiry(&self) -> Outcome<Option<MeshTime>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT expires_at FROM state INDEXED BY state_expiry
             WHERE expires_at IS NOT NULL ORDER BY expires_at LIMIT 1",
        )?;
        Ok(statement.query_row([], |row| row.get(0)).optional()?)
    }

    /// See [`crate::store::Store::expired_state`].
    pub(super) fn expired_state(&self, now: MeshTime) -> Outcome<u64> {
        let mut statement = self.connection.prepare_cached(
            "SELECT count(*) FROM state INDEXED BY state_expiry WHERE expires_at <= ?1",
        )?;
        let count: Seq = statement.query_row([now], |row| row.get(0))?;
        Ok(count.0)
    }

    /// See [`crate::store::Store::expire_state`].
    pub(super) fn expire_state(&mut self, now: MeshTime, limit: u32) -> Outcome<Vec<StateEntry>> {
        self.check_turn()?;
        let entries = {
            let mut statement = self.connection.prepare_cached(
                "SELECT namespace, key, version, updated_by, updated_at, expires_at, value
                 FROM state INDEXED BY state_expiry
                 WHERE expires_at <= ?1 ORDER BY expires_at, namespace, key LIMIT ?2",
            )?;
            let entries: rusqlite::Result<Vec<_>> =
                statement.query_map((now, limit), entry)?.collect();
            entries?
        };
        for entry in &entries {
            self.remove_state(&entry.namespace, &entry.key)?;
        }
        Ok(entries)
    }
}

fn has_other_version(entry: Option<&StateEntry>, if_version: Option<Seq>) -> bool {
    let version = entry.map_or(Seq(0), |entry| entry.version);
    if_version.is_some_and(|wanted| wanted != version)
}
