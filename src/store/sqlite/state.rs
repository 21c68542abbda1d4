//! State entries.

use rusqlite::Params;

use super::care::lower;
use super::db::{Db, Outcome};
use super::stored::TableRow as _;
use crate::model::{MeshTime, Seq, StateEntry};
use crate::store::{StateChange, StateOutcome, offer};

impl Db {
    pub(super) fn state(&self, namespace: &str, key: &str) -> Outcome<Option<StateEntry>> {
        self.first("FROM state WHERE namespace = ?1 AND key = ?2", (namespace, key))
    }

    pub(super) fn list_state(
        &self,
        namespace: Option<&str>,
        prefix: &str,
        now: MeshTime,
        limit: u32,
        keep: &mut dyn FnMut(&StateEntry) -> bool,
    ) -> Outcome<Vec<StateEntry>> {
        let (of, order) = match namespace {
            Some(_) => ("namespace = ?1", "key"),
            None => ("namespace >= ?1", "namespace, key"),
        };
        let rest = format!(
            "FROM state WHERE {of} AND key >= ?2 AND (expires_at IS NULL OR expires_at > ?3)
             ORDER BY {order} LIMIT ?4"
        );
        let params = (namespace.unwrap_or_default(), prefix, now, limit);
        self.entries(&rest, params, |entry| entry.key.starts_with(prefix), keep)
    }

    pub(super) fn state_after(
        &self,
        (namespace, key): (&str, &str),
        now: MeshTime,
        limit: u32,
        keep: &mut dyn FnMut(&StateEntry) -> bool,
    ) -> Outcome<Vec<StateEntry>> {
        let rest = "FROM state WHERE (namespace, key) > (?1, ?2)
                AND (expires_at IS NULL OR expires_at > ?3)
             ORDER BY namespace, key LIMIT ?4";
        self.entries(rest, (namespace, key, now, limit), |_| true, keep)
    }

    /// Entries as far as they belong to what is asked for and are wanted; the first is in any case.
    fn entries(
        &self,
        rest: &str,
        params: impl Params,
        belongs: impl Fn(&StateEntry) -> bool,
        keep: &mut dyn FnMut(&StateEntry) -> bool,
    ) -> Outcome<Vec<StateEntry>> {
        let sql = format!("SELECT {} {rest}", StateEntry::COLUMNS);
        let mut statement = self.connection.prepare_cached(&sql)?;
        let entries = statement.query_map(params, StateEntry::read)?;
        let belonging = entries.take_while(|entry| entry.as_ref().map_or(true, &belongs));
        offer(belonging.map(|entry| Ok(entry?)), keep)
    }

    pub(super) fn set_state(
        &mut self,
        entry: &StateEntry,
        if_version: Option<Seq>,
    ) -> Outcome<StateOutcome> {
        let StateEntry { namespace, key, .. } = entry;
        let old = self.state(namespace, key)?;
        if (StateChange { namespace, key, if_version }).conflicts_with(old.as_ref()) {
            return Ok(StateOutcome::Conflict(old));
        }
        self.put("state", entry, None)?;
        self.tally.state_entries += u64::from(old.is_none());
        Ok(StateOutcome::Done(old))
    }

    pub(super) fn delete_state(&mut self, change: &StateChange<'_>) -> Outcome<StateOutcome> {
        let old = self.state(change.namespace, change.key)?;
        if change.conflicts_with(old.as_ref()) {
            return Ok(StateOutcome::Conflict(old));
        }
        if old.is_some() {
            self.remove_state(change.namespace, change.key)?;
        }
        Ok(StateOutcome::Done(old))
    }

    fn remove_state(&mut self, namespace: &str, key: &str) -> Outcome<()> {
        self.write("DELETE FROM state WHERE namespace = ?1 AND key = ?2", (namespace, key))?;
        lower(&mut self.tally.state_entries, 1);
        Ok(())
    }

    pub(super) fn next_state_expiry(&self) -> Outcome<Option<MeshTime>> {
        self.row(
            "SELECT expires_at FROM state INDEXED BY state_expiry
             WHERE expires_at IS NOT NULL ORDER BY expires_at LIMIT 1",
            [],
            |row| row.get(0),
        )
    }

    pub(super) fn expired_state(&self, now: MeshTime) -> Outcome<u64> {
        let sql = "SELECT count(*) FROM state INDEXED BY state_expiry WHERE expires_at <= ?1";
        let count: Option<Seq> = self.row(sql, [now], |row| row.get(0))?;
        Ok(count.unwrap_or_default().0)
    }

    pub(super) fn expire_state(&mut self, now: MeshTime, limit: u32) -> Outcome<Vec<StateEntry>> {
        let entries: Vec<StateEntry> = self.all(
            "FROM state INDEXED BY state_expiry
             WHERE expires_at <= ?1 ORDER BY expires_at, namespace, key LIMIT ?2",
            (now, limit),
        )?;
        for entry in &entries {
            self.remove_state(&entry.namespace, &entry.key)?;
        }
        Ok(entries)
    }
}
