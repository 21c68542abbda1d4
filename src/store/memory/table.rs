//! A table whose changes can be undone.

use std::collections::BTreeMap;

use crate::model::MeshTime;

/// Rows by key, and what undoes the changes of this turn.
#[derive(Clone, Debug)]
pub(super) struct UndoTable<K, V> {
    pub(super) rows: BTreeMap<K, V>,
    /// What was under a key before each change, in the order of the changes.
    undo: Vec<(K, Option<V>)>,
}

impl<K, V> Default for UndoTable<K, V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), undo: Vec::new() }
    }
}

impl<K: Ord + Clone, V: Clone + PartialEq> UndoTable<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    /// All rows, in the order of their keys.
    pub(super) fn all(&self) -> Vec<V> {
        self.rows.values().cloned().collect()
    }

    pub(super) fn put(&mut self, key: K, row: V) {
        let old = self.rows.insert(key.clone(), row);
        self.undo.push((key, old));
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let (key, old) = self.rows.remove_entry(key)?;
        self.undo.push((key, Some(old.clone())));
        Some(old)
    }

    /// Returns whether there is such a row and `change` has changed it.
    pub(super) fn change(&mut self, key: &K, change: impl FnOnce(&mut V)) -> bool {
        let Some(row) = self.rows.get_mut(key) else { return false };
        let old = row.clone();
        change(row);
        let changed = *row != old;
        if changed {
            self.undo.push((key.clone(), Some(old)));
        }
        changed
    }

    /// Removes and returns rows up to `last`, the first first, until `left` is used up.
    pub(super) fn remove_to(&mut self, last: &K, left: &mut u32) -> Vec<V> {
        let old = self.rows.range(..=last).take(*left as usize);
        let keys: Vec<K> = old.map(|(key, _)| key.clone()).collect();
        self.remove_some(keys, left)
    }

    /// Removes and returns rows until `left` is used up.
    pub(super) fn remove_some(
        &mut self,
        keys: impl IntoIterator<Item = K>,
        left: &mut u32,
    ) -> Vec<V> {
        let removed: Vec<V> =
            keys.into_iter().take(*left as usize).filter_map(|key| self.remove(&key)).collect();
        *left = left.saturating_sub(u32::try_from(removed.len()).unwrap_or(u32::MAX));
        removed
    }

    /// Removes and returns at most `limit` rows that expire at or before `now`, the first to expire
    /// first.
    pub(super) fn remove_expired(
        &mut self,
        now: MeshTime,
        mut limit: u32,
        expires_at: impl Fn(&V) -> Option<MeshTime>,
    ) -> Vec<V> {
        let rows = self.rows.iter().filter_map(|(key, row)| Some((expires_at(row)?, key.clone())));
        let mut expired: Vec<(MeshTime, K)> = rows.filter(|(at, _)| *at <= now).collect();
        expired.sort();
        self.remove_some(expired.into_iter().map(|(_, key)| key), &mut limit)
    }

    pub(super) fn has_changes(&self) -> bool {
        !self.undo.is_empty()
    }

    pub(super) fn keep_changes(&mut self) {
        self.undo.clear();
    }

    pub(super) fn undo_changes(&mut self) {
        while let Some((key, old)) = self.undo.pop() {
            match old {
                Some(row) => self.rows.insert(key, row),
                None => self.rows.remove(&key),
            };
        }
    }
}
