//! Claims that wait until there is something to tell: a few for each peer.
//!
//! Which connection waits is the shell's matter. Here they are only counted, so that a hook that an agent
//! starts again with each of its turns does not fill the broker.

use crate::limits::{CLAIM_TIME, CLAIMANT_KEPT, CLAIMS_HELD_MAX};
use crate::model::{Monotonic, Way};

/// A claim that waits.
#[derive(Clone, Copy, Debug)]
struct Waiter {
    by: Way,
    until: Monotonic,
    /// The turn that held it last: if that does not commit, it is refused.
    turn: u64,
}

/// Those of a peer.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    places: [Option<Waiter>; CLAIMS_HELD_MAX],
    /// When a way beside the peer's server was heard of last.
    heard: Option<Monotonic>,
}

impl Waiters {
    /// Whether there is a place for one more.
    pub(super) fn has_room(&self, now: Monotonic) -> bool {
        self.free(now).is_some()
    }

    fn free(&self, now: Monotonic) -> Option<usize> {
        // One whose time is long over was lost on the way.
        let is_over = |waiter: &Waiter| waiter.until.plus(CLAIM_TIME) < now;
        self.places.iter().position(|place| place.as_ref().is_none_or(is_over))
    }

    /// Takes a place, or keeps the one that it has.
    pub(super) fn wait(
        &mut self,
        place: Option<usize>,
        (by, until): (Way, Monotonic),
        turn: u64,
        now: Monotonic,
    ) -> Option<usize> {
        let place = place.or_else(|| self.free(now))?;
        *self.places.get_mut(place)? = Some(Waiter { by, until, turn });
        Some(place)
    }

    /// Gives a place back.
    pub(super) fn end(&mut self, place: usize) {
        if let Some(place) = self.places.get_mut(place) {
            *place = None;
        }
    }

    /// Takes back what `turn` did.
    pub(super) fn abort(&mut self, turn: u64) {
        for place in &mut self.places {
            *place = place.filter(|waiter| waiter.turn != turn);
        }
    }

    /// A claim by this way was asked for.
    pub(super) fn heard(&mut self, by: Way, now: Monotonic) {
        if is_beside(by) {
            self.heard = Some(now);
        }
    }

    /// Whether something beside the peer's server wakes its agent: it waits, or has just been given
    /// something.
    pub(super) fn wakes(&self, now: Monotonic) -> bool {
        let waits = |place: &Waiter| is_beside(place.by) && now <= place.until;
        self.places.iter().flatten().any(waits)
            || self.heard.is_some_and(|heard| now.since(heard) < CLAIMANT_KEPT)
    }
}

/// Whether a way is beside the peer's server, which says itself what it can do.
pub(super) fn is_beside(by: Way) -> bool {
    matches!(by, Way::WaitHook | Way::Plugin)
}
