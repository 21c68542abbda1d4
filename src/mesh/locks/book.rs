//! The locks that are held: a cache of the store, by what overlaps and by holder.

use std::collections::{BTreeMap, BTreeSet};

use super::index::Index;
use super::target::LockTarget;
use crate::model::{Lock, MeshTime, Party, Seq};
use crate::patterns::Steps;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::mesh) struct Book {
    locks: BTreeMap<Seq, Lock>,
    index: Index,
    holders: BTreeMap<Party, BTreeSet<Seq>>,
    paths: BTreeSet<(Box<str>, Seq)>,
    /// The present time: locks that have expired stay here until they are removed, but are not found.
    now: MeshTime,
}

impl Book {
    /// It is `now`.
    pub(in crate::mesh) fn pass_to(&mut self, now: MeshTime) {
        self.now = now;
    }

    fn is_live(&self, lock: &Lock) -> bool {
        lock.expires_at > self.now
    }

    /// A book of these.
    pub(in crate::mesh) fn of(locks: Vec<Lock>) -> Self {
        let mut book = Self::default();
        for lock in locks {
            book.put(lock);
        }
        book
    }

    /// Adds a lock, or changes the one with its fence, whose files stay.
    pub(super) fn put(&mut self, lock: Lock) {
        if !self.locks.contains_key(&lock.fence) {
            self.index.insert(lock.fence.0, LockTarget::of(&lock));
            self.holders.entry(lock.holder.clone()).or_default().insert(lock.fence);
            self.paths.insert((lock.path.clone(), lock.fence));
        }
        self.locks.insert(lock.fence, lock);
    }

    pub(super) fn remove(&mut self, fence: Seq) -> Option<Lock> {
        let lock = self.locks.remove(&fence)?;
        self.index.remove(fence.0);
        self.paths.remove(&(lock.path.clone(), fence));
        if let Some(held) = self.holders.get_mut(&lock.holder) {
            held.remove(&fence);
            if held.is_empty() {
                self.holders.remove(&lock.holder);
            }
        }
        Some(lock)
    }

    pub(super) fn get(&self, fence: Seq) -> Option<&Lock> {
        self.locks.get(&fence)
    }

    /// All live ones, by path.
    pub(super) fn by_path(&self) -> impl Iterator<Item = &Lock> {
        let locks = self.paths.iter().filter_map(|(_, fence)| self.locks.get(fence));
        locks.filter(|lock| self.is_live(lock))
    }

    /// All of them by fence, with those that have expired.
    pub(in crate::mesh) fn iter(&self) -> impl Iterator<Item = &Lock> {
        self.locks.values()
    }

    /// How many there are, with those that have expired.
    pub(in crate::mesh) fn len(&self) -> usize {
        self.locks.len()
    }

    /// How many live ones there are.
    pub(in crate::mesh) fn live(&self) -> usize {
        self.locks.values().filter(|lock| self.is_live(lock)).count()
    }

    /// Whether someone holds any.
    pub(in crate::mesh) fn has_any_of(&self, holder: &Party) -> bool {
        self.holders.contains_key(holder)
    }

    /// How many live locks someone holds.
    pub(in crate::mesh) fn count_of(&self, holder: &Party) -> usize {
        let fences = self.holders.get(holder).into_iter().flatten();
        let locks = fences.filter_map(|fence| self.locks.get(fence));
        locks.filter(|lock| self.is_live(lock)).count()
    }

    /// The fences of someone's locks.
    pub(super) fn fences_of(&self, holder: &Party) -> Vec<Seq> {
        self.holders.get(holder).into_iter().flatten().copied().collect()
    }

    /// Those that overlap with `target`, the first taken first; see [`Index::overlapping`].
    pub(super) fn overlapping(
        &self,
        target: &LockTarget,
        steps: &Steps,
    ) -> impl Iterator<Item = &Lock> {
        let fences = self.index.overlapping(target, steps);
        let locks = fences.into_iter().filter_map(|fence| self.locks.get(&Seq(fence)));
        locks.filter(|lock| self.is_live(lock))
    }

    /// At most `limit` expired ones on files of `target`, those on exactly these files first.
    pub(super) fn expired(&self, target: &LockTarget, steps: &Steps, limit: usize) -> Vec<Lock> {
        let around = self.index.overlapping(target, steps);
        let around = around.into_iter().filter_map(|fence| self.locks.get(&Seq(fence)));
        let here: BTreeSet<Seq> = self.at(target).map(|lock| lock.fence).collect();
        let around = around.filter(|lock| !here.contains(&lock.fence));
        let all = self.at(target).chain(around);
        all.filter(|lock| !self.is_live(lock)).take(limit).cloned().collect()
    }

    /// Those that keep `party` from holding `target`.
    pub(super) fn in_way_of(
        &self,
        party: &Party,
        target: &LockTarget,
        shared: bool,
        steps: &Steps,
    ) -> impl Iterator<Item = &Lock> {
        self.overlapping(target, steps)
            .filter(move |lock| lock.holder != *party && !(lock.shared && shared))
    }

    /// The lock that `party` holds on exactly these files.
    pub(super) fn own(&self, party: &Party, target: &LockTarget) -> Option<&Lock> {
        let renewed = |lock: &&Lock| {
            let own = self.index.get(lock.fence.0);
            lock.holder == *party && own.is_some_and(|own| own.is_renewed_by(target))
        };
        self.same(target).find(renewed)
    }

    /// The locks on exactly these files.
    pub(super) fn same(&self, target: &LockTarget) -> impl Iterator<Item = &Lock> {
        self.at(target).filter(|lock| self.is_live(lock))
    }

    fn at(&self, target: &LockTarget) -> impl Iterator<Item = &Lock> {
        let text: Box<str> = target.text().into();
        let range = (text.clone(), Seq(0))..=(text, Seq(u64::MAX));
        self.paths
            .range(range)
            .filter(|(_, fence)| self.index.get(fence.0).is_some_and(|it| it.is_same(target)))
            .filter_map(|(_, fence)| self.locks.get(fence))
    }
}
