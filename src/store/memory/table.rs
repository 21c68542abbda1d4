//! A table: ordered rows, and a way back.

use std::collections::BTreeMap;

/// Rows by key, and what undoes the changes of this turn.
#[derive(Clone, Debug)]
pub(super) struct Table<K, V> {
    pub(super) rows: BTreeMap<K, V>,
    /// What was under a key before each change, in the order of the changes.
    pub(super) undo: Vec<(K, Option<V>)>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), undo: Vec::new() }
    }
}

impl<K: Ord + Clone, V: Clone + PartialEq> Table<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
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

    /// Gives whether there is such a row and `change` did change it.
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
