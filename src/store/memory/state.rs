//! Entries of the shared state.

use super::Tables;
use crate::model::{MeshTime, Seq, StateEntry};
use crate::store::{Result, StateChange, StateOutcome, offer};

impl Tables {
    pub(super) fn state(&self, namespace: &str, key: &str) -> Result<Option<StateEntry>> {
        Ok(self.state.get(&(namespace.into(), key.into())).cloned())
    }

    pub(super) fn list_state(
        &self,
        namespace: Option<&str>,
        prefix: &str,
        now: MeshTime,
        limit: u32,
        keep: &mut dyn FnMut(&StateEntry) -> bool,
    ) -> Result<Vec<StateEntry>> {
        let matching = self.live(now).filter(|entry| {
            namespace.is_none_or(|it| *it == *entry.namespace) && entry.key.starts_with(prefix)
        });
        offer(matching.take(limit as usize).cloned().map(Ok), keep)
    }

    pub(super) fn state_after(
        &self,
        after: (&str, &str),
        now: MeshTime,
        limit: u32,
        keep: &mut dyn FnMut(&StateEntry) -> bool,
    ) -> Result<Vec<StateEntry>> {
        let later = self.live(now).filter(|entry| (&*entry.namespace, &*entry.key) > after);
        offer(later.take(limit as usize).cloned().map(Ok), keep)
    }

    fn live(&self, now: MeshTime) -> impl Iterator<Item = &StateEntry> {
        let rows = self.state.rows.values();
        rows.filter(move |entry| entry.expires_at.is_none_or(|at| at > now))
    }

    pub(super) fn set_state(
        &mut self,
        entry: &StateEntry,
        if_version: Option<Seq>,
    ) -> Result<StateOutcome> {
        let StateEntry { namespace, key, .. } = entry;
        self.change_state(&StateChange { namespace, key, if_version }, Some(entry))
    }

    pub(super) fn delete_state(&mut self, change: &StateChange<'_>) -> Result<StateOutcome> {
        self.change_state(change, None)
    }

    fn change_state(
        &mut self,
        change: &StateChange<'_>,
        new: Option<&StateEntry>,
    ) -> Result<StateOutcome> {
        let key = (change.namespace.into(), change.key.into());
        let old = self.state.get(&key).cloned();
        if change.conflicts_with(old.as_ref()) {
            return Ok(StateOutcome::Conflict(old));
        }
        match new {
            Some(entry) => self.state.put(key, entry.clone()),
            None => _ = self.state.remove(&key),
        }
        Ok(StateOutcome::Done(old))
    }

    pub(super) fn next_state_expiry(&self) -> Result<Option<MeshTime>> {
        Ok(self.state.rows.values().filter_map(|entry| entry.expires_at).min())
    }

    pub(super) fn expired_state(&self, now: MeshTime) -> Result<u64> {
        Ok((self.state.rows.len() - self.live(now).count()) as u64)
    }

    pub(super) fn expire_state(&mut self, now: MeshTime, limit: u32) -> Result<Vec<StateEntry>> {
        Ok(self.state.remove_expired(now, limit, |entry| entry.expires_at))
    }
}
