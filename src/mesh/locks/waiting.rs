//! Who may have a lock now, who has to wait, and whose turn it is.

use super::Ask;
use super::queue::{Crowded, Waiter};
use super::target::LockTarget;
use crate::api::{Code, Detail, Freed, LockInfo, Refusal, refuse};
use crate::limits::{LOCK_STEPS_MAX, LOCK_WAITERS_MAX, LOCK_WAITERS_PER_LOCK_MAX, UNREAD_TIME_MAX};
use crate::mesh::Mesh;
use crate::mesh::turn::{Lost, Ticket};
use crate::model::{Lock, Now, Party, Seq, in_span};
use crate::patterns::Steps;
use crate::store::{Result as Stored, Store};
use crate::text::{bare_or_quoted, quote};

/// What keeps someone from having a lock.
#[derive(Clone, Copy, Debug)]
pub(super) enum Obstacle<'a> {
    /// Someone else holds it.
    Lock(&'a Lock),
    /// Someone else was here before.
    Waiter(Ticket, &'a Waiter),
}

impl<S: Store> Mesh<S> {
    /// What keeps `ask` from having its lock. The asker's own locks and places are never in the way, nor
    /// is the place of someone who waits for a lock of the asker: they cannot go on before the asker is
    /// done, and the asker may need more locks for that.
    ///
    /// Once `steps` are spent, the answer means nothing.
    pub(super) fn obstacle(
        &self,
        ask: &Ask,
        ticket: Option<Ticket>,
        steps: &Steps,
    ) -> Option<Obstacle<'_>> {
        let Ask { actor, target, shared } = ask;
        if let Some(lock) = self.locks.in_way_of(&actor.party, target, *shared, steps).next() {
            return Some(Obstacle::Lock(lock));
        }
        let before = self.queue.overlapping(target, steps);
        before
            .take_while(|(other, _)| ticket.is_none_or(|ticket| *other < ticket))
            .find(|(_, waiter)| {
                waiter.party != actor.party
                    && !(waiter.shared && *shared)
                    && !self.holds_back(&actor.party, waiter, steps)
            })
            .map(|(ticket, waiter)| Obstacle::Waiter(ticket, waiter))
    }

    /// Whether a lock of `party` is what `waiter` waits for.
    fn holds_back(&self, party: &Party, waiter: &Waiter, steps: &Steps) -> bool {
        if !self.locks.has_any_of(party) {
            return false;
        }
        let mut in_way = self.locks.in_way_of(&waiter.party, &waiter.target, waiter.shared, steps);
        in_way.any(|lock| lock.holder == *party)
    }

    /// The refusal of a request that would have to compare more than there is time for.
    pub(super) fn too_much(&self, target: &LockTarget) -> Refusal {
        let message = format!(
            "{} is too much to compare with the {} locks and {} waiting requests there are: lock \
             single files, or a directory further down",
            target.text(),
            self.locks.len(),
            self.queue.tickets().len(),
        );
        Refusal::new(Code::InvalidRequest, message)
    }

    /// Puts `ask` at the end of the queue.
    pub(super) fn join(
        &mut self,
        ask: &Ask,
        place: Option<uuid::Uuid>,
    ) -> std::result::Result<Ticket, Refusal> {
        match self.queue.check_room(&ask.target, &self.steps) {
            Ok(()) => {}
            Err(Crowded::Everywhere) => {
                let message = format!(
                    "{LOCK_WAITERS_MAX} requests wait for locks, which is the most: ask without \
                     `wait`"
                );
                return refuse(Code::StorageFull, message);
            }
            Err(Crowded::Here) => {
                let mut refusal = self.locked(ask, None);
                refusal.message = format!(
                    "{} ({LOCK_WAITERS_PER_LOCK_MAX} wait for it, which is the most: ask later)",
                    refusal.message
                )
                .into();
                return Err(refusal);
            }
        }
        Ok(self.queue.join(Waiter {
            party: ask.actor.party.clone(),
            name: ask.actor.name.clone(),
            target: ask.target.clone(),
            shared: ask.shared,
            place,
            absent_until: None,
        }))
    }

    /// The next held request for a lock that has an answer now: to be asked again with
    /// [`Mesh::handle_held`] before the turn ends, as long as there is one. Where looking takes too
    /// long, the rest is for the next turn: their places keep what is free for them.
    pub fn next_waiter(&mut self) -> Option<Ticket> {
        if let Some(ticket) = self.queue.take_ended() {
            return Some(ticket);
        }
        let steps = &self.waiting_steps;
        while !steps.are_spent()
            && let Some(ticket) = self.queue.take_stirred()
        {
            let is_first = steps.left() == LOCK_STEPS_MAX;
            let here = self.queue.get(ticket).filter(|waiter| waiter.absent_until.is_none());
            let Some(waiter) = here else { continue };
            let free = self.obstacle(&Ask::of(waiter), Some(ticket), steps).is_none();
            if steps.are_spent() && !is_first {
                self.queue.put_back(ticket);
            } else if free || steps.are_spent() {
                // A request for which a whole turn is too short is told so.
                return Some(ticket);
            }
        }
        None
    }

    /// Whether [`Mesh::next_waiter`] may give one.
    #[must_use]
    pub fn has_waiters(&self) -> bool {
        self.queue.is_stirred()
    }

    /// The request that held this place has gone without an answer.
    pub fn withdraw(&mut self, ticket: Ticket) {
        self.queue.leave(ticket, &self.steps);
    }

    /// An answer that told someone who had waited that it has the lock `fence` was lost. The lock is
    /// free again if nobody knows of it: no other answer has told its holder, and this one was not
    /// read as far as can be known. To be called in a turn.
    ///
    /// # Errors
    /// Those of the store.
    pub fn grant_lost(&mut self, fence: Seq, lost: Lost, now: Now) -> Stored<()> {
        self.now = now;
        let may_be_read = match lost {
            Lost::Unwritten => false,
            Lost::Reset { after } => after >= UNREAD_TIME_MAX,
        };
        match self.locks.get(fence).cloned() {
            Some(lock) if !may_be_read && self.grants.has(fence) => {
                self.free(&lock, Freed::Unclaimed, None)
            }
            _ => Ok(()),
        }
    }

    /// How many requests this lock is in the way of.
    pub(super) fn waiting_for(&self, lock: &Lock) -> u64 {
        if self.queue.is_empty() {
            return 0;
        }
        let target = LockTarget::of(lock);
        let kept_back = self
            .queue
            .overlapping(&target, &self.steps)
            .filter(|(_, waiter)| waiter.party != lock.holder && !(waiter.shared && lock.shared));
        kept_back.count() as u64
    }

    /// The lock as it is listed.
    pub(super) fn shown(&self, lock: &Lock) -> LockInfo {
        let until = self.clock.on_wall(lock.expires_at);
        let host = self.shown_host(lock.host).filter(|_| !lock.is_repo_wide());
        LockInfo { host, ..LockInfo::new(lock.clone(), until, self.waiting_for(lock)) }
    }

    /// Why `ask` cannot have its lock now.
    pub(super) fn locked(&self, ask: &Ask, ticket: Option<Ticket>) -> Refusal {
        let wanted = ask.target.text();
        let steps = &self.steps;
        let (lock, before) = match self.obstacle(ask, ticket, steps) {
            _ if steps.are_spent() => (None, None),
            Some(Obstacle::Lock(lock)) => (Some(lock), None),
            Some(Obstacle::Waiter(first, waiter)) => {
                let (mut ticket, mut ahead) = (first, waiter);
                // Follows what that one waits for, and so on: each came before the last.
                let lock = loop {
                    match self.obstacle(&Ask::of(ahead), Some(ticket), steps) {
                        _ if steps.are_spent() => break None,
                        Some(Obstacle::Lock(lock)) => break Some(lock),
                        Some(Obstacle::Waiter(other, waiter)) => (ticket, ahead) = (other, waiter),
                        None => break None,
                    }
                };
                (lock, Some(waiter))
            }
            None => (None, None),
        };
        let before = before.map(|waiter| {
            let (name, path) = (waiter.party.shown_as(&waiter.name), waiter.target.text());
            format!("{name} waits for {} and was before you", bare_or_quoted(&path))
        });
        let Some(lock) = lock else {
            // It has just become free for someone who comes first.
            let text = before.unwrap_or_else(|| format!("{} is taken", bare_or_quoted(&wanted)));
            return Refusal::new(Code::Locked, format!("{text}: ask again with `wait`"));
        };
        let info = self.shown(lock);
        let (path, asked) = (bare_or_quoted(&lock.path), bare_or_quoted(&wanted));
        let what = match before {
            Some(before) => format!("{before}; {path}"),
            None if *wanted == *lock.path => asked.into_owned(),
            None => format!("{asked} overlaps with {path}, which"),
        };
        let left_ms = self.time().ms_until(lock.expires_at);
        let free = match self.away_ms(&lock.holder) {
            // Its server has gone while its agent goes on.
            Some(ms) => {
                let when = in_span(ms.min(left_ms));
                format!("{when}, since they are away, unless they come back")
            }
            None => in_span(left_ms),
        };
        let shared = if lock.shared { " (shared)" } else { "" };
        let reason = match &lock.reason {
            Some(reason) => format!(" (reason {})", quote(reason)),
            None => String::new(),
        };
        let waiting = match info.waiting {
            0 => String::new(),
            1 => ", and 1 waits".to_owned(),
            many => format!(", and {many} wait"),
        };
        let text = format!(
            "{what} is locked{shared} by {}{reason}, free {free}{waiting}: ask again with \
             `wait`, or ask them by message",
            lock.holder.shown_as(&lock.holder_name)
        );
        Refusal::new(Code::Locked, text).with(Detail::Lock(Box::new(info)))
    }

    /// Whether someone who came before is passed over. Looks at all of them, so that an error of
    /// the index shows.
    pub(super) fn overtakes(&self, ask: &Ask, ticket: Option<Ticket>) -> bool {
        let excludes = |party: &Party, shared: bool, target: &LockTarget, waiter: &Waiter| {
            waiter.party != *party
                && !(waiter.shared && shared)
                && waiter.target.overlaps(target, &Steps::of(u32::MAX))
        };
        let tickets = self.queue.tickets();
        let before = tickets.iter().filter(|other| ticket.is_none_or(|ticket| **other < ticket));
        before.filter_map(|other| self.queue.get(*other)).any(|waiter| {
            excludes(&ask.actor.party, ask.shared, &ask.target, waiter)
                && !self.locks.iter().any(|lock| {
                    lock.holder == ask.actor.party
                        && excludes(&lock.holder, lock.shared, &LockTarget::of(lock), waiter)
                })
        })
    }

    /// What must hold of locks and queue at the end of each turn; panics with what does not.
    pub(in crate::mesh) fn check_queue(&self) {
        let steps = &Steps::of(u32::MAX);
        for lock in self.locks.iter() {
            let target = LockTarget::of(lock);
            let other = self.locks.in_way_of(&lock.holder, &target, lock.shared, steps).next();
            assert!(other.is_none(), "{lock:?} and {other:?} exclude each other");
            let same = self.locks.same(&target).filter(|other| {
                other.holder == lock.holder && LockTarget::of(other).is_renewed_by(&target)
            });
            assert_eq!(same.count(), 1, "{} has one lock on {}", lock.holder, lock.path);
        }
        self.grants.check(|fence| self.locks.get(fence).is_some());
        assert!(!self.queue.is_stirred(), "nobody was left out");
        for ticket in self.queue.tickets() {
            let Some(waiter) = self.queue.get(ticket) else { continue };
            let free = self.obstacle(&Ask::of(waiter), Some(ticket), steps).is_none();
            assert!(
                !free || waiter.absent_until.is_some(),
                "{waiter:?} waits and nothing is in the way"
            );
            if let Party::Peer(id) = &waiter.party {
                assert!(self.is_present(*id), "{waiter:?} has left");
            }
        }
    }
}
