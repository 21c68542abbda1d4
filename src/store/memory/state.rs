//! Entries of the shared state: changing them, and how they go.

use super::MemoryStore;
use crate::model::{MeshTime, Seq, StateEntry};
use crate::store::{StateChange, StateOutcome};

impl MemoryStore {
    /// See [`crate::store::Store::set_state`].
    pub(super) fn set_entry(
        &mut self,
        entry: &StateEntry,
        if_version: Option<Seq>,
    ) -> StateOutcome {
        let key = (entry.namespace.clone(), entry.key.clone());
        let old = self.state.get(&key).cloned();
        if has_other_version(old.as_ref(), if_version) {
            return StateOutcome::Conflict(old);
        }
        self.state.put(key, entry.clone());
        StateOutcome::Done(old)
    }

    /// See [`crate::store::Store::delete_state`].
    pub(super) fn delete_entry(&mut self, change: &StateChange<'_>) -> StateOutcome {
        let key = (change.namespace.into(), change.key.into());
        let old = self.state.get(&key).cloned();
        if has_other_version(old.as_ref(), change.if_version) {
            return StateOutcome::Conflict(old);
        }
        StateOutcome::Done(self.state.remove(&key))
    }

    /// See [`crate::store::Store::expire_state`].
    pub(super) fn expire_entries(&mut self, now: MeshTime, limit: u32) -> Vec<StateEntry> {
        let entries = self.state.rows.iter();
        let mut expired: Vec<_> = entries
            .filter_map(|(key, entry)| Some((entry.expires_at?, key.clone())))
            .filter(|(expires_at, _)| *expires_at <= now)
            .collect();
        expired.sort();
        expired.truncate(limit as usize);
        expired.iter().filter_map(|(_, key)| self.state.remove(key)).collect()
    }

    /// See [`crate::store::Store::make_older`].
    pub(super) fn make_entries_older(&mut self, to: Seq, ms: i64) {
        for key in self.state.rows.keys().cloned().collect::<Vec<_>>() {
            self.state.change(&key, |entry| {
                if entry.version <= to {
                    entry.expires_at = entry.expires_at.map(|at| at.plus_ms(-ms));
                }
            });
        }
    }
}

fn has_other_version(entry: Option<&StateEntry>, if_version: Option<Seq>) -> bool {
    let version = entry.map_or(Seq(0), |entry| entry.version);
    if_version.is_some_and(|wanted| wanted != version)
}
