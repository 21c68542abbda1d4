//! The queue for locks: who waits for what, in the order in which they came.
//!
//! It is in memory. After a start of the broker nobody waits; clients ask again.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::index::Index;
use super::target::LockTarget;
use crate::limits::{LOCK_WAITERS_MAX, LOCK_WAITERS_PER_LOCK_MAX};
use crate::mesh::turn::Ticket;
use crate::model::{Monotonic, Party};
use crate::patterns::Steps;

/// Someone who waits.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) party: Party,
    pub(super) name: Box<str>,
    pub(super) target: LockTarget,
    pub(super) shared: bool,
    /// The client's own id of this place.
    pub(super) place: Option<Uuid>,
    /// Its time was over, and its place is kept until then.
    pub(super) absent_until: Option<Monotonic>,
}

/// Why nobody more may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crowded {
    /// Too many wait for these files.
    Here,
    /// Too many wait for locks at all.
    Everywhere,
}

/// See the module.
#[derive(Debug, Default)]
pub(in crate::mesh) struct Queue {
    waiters: BTreeMap<u64, Waiter>,
    index: Index,
    parties: BTreeMap<Party, BTreeSet<u64>>,
    absent: BTreeSet<(Monotonic, u64)>,
    last: u64,
    /// Those for whom something has changed that may let them go on.
    stirred: BTreeSet<u64>,
    /// Those that have ended while their requests are still held.
    ended: BTreeSet<u64>,
}

impl Queue {
    /// Whether one more may wait for `target`.
    pub(super) fn check_room(&self, target: &LockTarget, steps: &Steps) -> Result<(), Crowded> {
        if self.waiters.len() >= LOCK_WAITERS_MAX {
            return Err(Crowded::Everywhere);
        }
        if self.index.overlapping(target, steps).len() >= LOCK_WAITERS_PER_LOCK_MAX {
            return Err(Crowded::Here);
        }
        Ok(())
    }

    /// Takes the last place.
    pub(super) fn join(&mut self, waiter: Waiter) -> Ticket {
        self.last += 1;
        let ticket = self.last;
        self.index.insert(ticket, waiter.target.clone());
        self.parties.entry(waiter.party.clone()).or_default().insert(ticket);
        self.waiters.insert(ticket, waiter);
        Ticket(ticket)
    }

    /// Gives a place up; those behind may go on.
    pub(super) fn leave(&mut self, Ticket(ticket): Ticket, steps: &Steps) {
        self.stirred.remove(&ticket);
        self.ended.remove(&ticket);
        let Some(waiter) = self.waiters.remove(&ticket) else { return };
        self.index.remove(ticket);
        if let Some(at) = waiter.absent_until {
            self.absent.remove(&(at, ticket));
        }
        if let Some(tickets) = self.parties.get_mut(&waiter.party) {
            tickets.remove(&ticket);
            if tickets.is_empty() {
                self.parties.remove(&waiter.party);
            }
        }
        self.stir(&waiter.target, steps);
    }

    /// Its time is over; its place is kept for a moment.
    pub(super) fn keep(&mut self, Ticket(ticket): Ticket, until: Monotonic) {
        if let Some(waiter) = self.waiters.get_mut(&ticket) {
            waiter.absent_until = Some(until);
            self.absent.insert((until, ticket));
        }
    }

    /// The ticket of the place `place` of `party` for `target`, which is there again.
    pub(super) fn come_back(
        &mut self,
        party: &Party,
        place: Uuid,
        target: &LockTarget,
        shared: bool,
    ) -> Option<Ticket> {
        let tickets = self.parties.get(party)?;
        let ticket = tickets.iter().copied().find(|ticket| {
            self.waiters.get(ticket).is_some_and(|waiter| {
                waiter.place == Some(place)
                    && waiter.absent_until.is_some()
                    && waiter.shared == shared
                    && waiter.target.is_renewed_by(target)
            })
        })?;
        if let Some(at) = self.waiters.get_mut(&ticket).and_then(|it| it.absent_until.take()) {
            self.absent.remove(&(at, ticket));
        }
        Some(Ticket(ticket))
    }

    /// Someone has another name from now on.
    pub(super) fn rename(&mut self, party: &Party, name: &str) {
        for ticket in self.parties.get(party).into_iter().flatten() {
            if let Some(waiter) = self.waiters.get_mut(ticket) {
                waiter.name = name.into();
            }
        }
    }

    /// Someone has left: none of its requests waits any more.
    pub(super) fn end_all_of(&mut self, party: &Party, steps: &Steps) {
        for ticket in self.parties.get(party).cloned().into_iter().flatten() {
            let here = self.waiters.get(&ticket).is_some_and(|it| it.absent_until.is_none());
            self.leave(Ticket(ticket), steps);
            if here {
                self.ended.insert(ticket);
            }
        }
    }

    /// Gives up the places that were kept long enough.
    pub(in crate::mesh) fn end_absent(&mut self, now: Monotonic, steps: &Steps) {
        while let Some((at, ticket)) = self.absent.first().copied()
            && at <= now
        {
            self.absent.remove(&(at, ticket));
            self.leave(Ticket(ticket), steps);
        }
    }

    /// When the next such place is given up.
    pub(in crate::mesh) fn next_absent(&self) -> Option<Monotonic> {
        self.absent.first().map(|(at, _)| *at)
    }

    pub(super) fn get(&self, Ticket(ticket): Ticket) -> Option<&Waiter> {
        self.waiters.get(&ticket)
    }

    /// Those who wait for something that overlaps with `target`, in order; see
    /// [`Index::overlapping`].
    pub(super) fn overlapping(
        &self,
        target: &LockTarget,
        steps: &Steps,
    ) -> impl Iterator<Item = (Ticket, &Waiter)> {
        let tickets = self.index.overlapping(target, steps);
        tickets
            .into_iter()
            .filter_map(|ticket| self.waiters.get(&ticket).map(|waiter| (Ticket(ticket), waiter)))
    }

    /// All of them, in order.
    pub(in crate::mesh) fn tickets(&self) -> Vec<Ticket> {
        self.waiters.keys().copied().map(Ticket).collect()
    }

    /// Something has changed about `target`.
    pub(super) fn stir(&mut self, target: &LockTarget, steps: &Steps) {
        if self.stirred.len() == self.waiters.len() {
            return;
        }
        let tickets = self.index.overlapping(target, steps);
        if steps.are_spent() {
            self.stir_all();
        } else {
            self.stirred.extend(tickets);
        }
    }

    /// Something has changed for `party`.
    pub(super) fn stir_party(&mut self, party: &Party) {
        self.stirred.extend(self.parties.get(party).into_iter().flatten());
    }

    /// Anything may have changed.
    pub(in crate::mesh) fn stir_all(&mut self) {
        self.stirred.extend(self.waiters.keys());
    }

    /// Whether [`Queue::take_ended`] or [`Queue::take_stirred`] would give any.
    pub(in crate::mesh) fn is_stirred(&self) -> bool {
        !self.ended.is_empty() || !self.stirred.is_empty()
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// There was no time to find out whether this one may go on.
    pub(super) fn put_back(&mut self, Ticket(ticket): Ticket) {
        self.stirred.insert(ticket);
    }

    pub(super) fn take_ended(&mut self) -> Option<Ticket> {
        self.ended.pop_first().map(Ticket)
    }

    /// The first of those for whom something has changed.
    pub(super) fn take_stirred(&mut self) -> Option<Ticket> {
        self.stirred.pop_first().map(Ticket)
    }
}
