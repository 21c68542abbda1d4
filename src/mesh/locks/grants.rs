//! Locks that were given to someone who had waited for them, and who was told of them only once. If that
//! one answer is lost, the lock is freed.
//!
//! Any other answer that tells the holder of its lock (it asked again, it shared the lock before, it
//! looked) takes the lock out of here, for it may have arrived. So a lock is never freed that its
//! holder may know to be its own, at the price that one may stay that nobody knows of, until its time
//! is over or its holder leaves.

use std::collections::BTreeSet;

use crate::model::Seq;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::mesh) struct Grants {
    told_once: BTreeSet<Seq>,
    /// What this turn has added and taken away: undone if it does not commit.
    added: Vec<Seq>,
    removed: Vec<Seq>,
}

impl Grants {
    /// The lock `fence` was given just now.
    pub(super) fn add(&mut self, fence: Seq) {
        if self.told_once.insert(fence) {
            self.added.push(fence);
        }
    }

    /// Its holder is told again, or it is gone.
    pub(super) fn remove(&mut self, fence: Seq) {
        if self.told_once.remove(&fence) {
            self.removed.push(fence);
        }
    }

    /// Whether its holder was told once, by the answer that gave it.
    pub(super) fn has(&self, fence: Seq) -> bool {
        self.told_once.contains(&fence)
    }

    pub(in crate::mesh) fn commit(&mut self) {
        self.added.clear();
        self.removed.clear();
    }

    pub(in crate::mesh) fn abort(&mut self) {
        self.told_once.extend(self.removed.drain(..));
        for fence in self.added.drain(..) {
            self.told_once.remove(&fence);
        }
    }

    /// What must hold at the end of each turn: only locks that are held are in here.
    pub(super) fn check(&self, is_held: impl Fn(Seq) -> bool) {
        assert!(self.told_once.iter().all(|fence| is_held(*fence)), "{self:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_does_not_commit_has_told_nobody() {
        let mut grants = Grants::default();
        grants.add(Seq(1));
        grants.commit();
        grants.remove(Seq(1));
        grants.add(Seq(2));
        grants.add(Seq(3));
        grants.remove(Seq(3));
        assert!(!grants.has(Seq(1)) && grants.has(Seq(2)));
        grants.abort();
        assert!(grants.has(Seq(1)) && !grants.has(Seq(2)) && !grants.has(Seq(3)));
        grants.remove(Seq(1));
        grants.commit();
        grants.abort();
        assert!(!grants.has(Seq(1)));
    }
}
