//! How often each party may ask: token buckets, in the form of one time each (GCRA: the time at which the
//! bucket would be full again).
//!
//! Never reads a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::api::{Code, Detail, Refusal};
use crate::limits::{
    AUTH_FAILURES_PER_WINDOW, HEARTBEATS_PER_WINDOW, HOOK_REQUESTS_PER_WINDOW, RATE_WINDOW,
    REGISTRATIONS_PER_WINDOW, SESSION_LOOKUPS_PER_WINDOW, STRANGERS_PER_WINDOW,
};
use crate::model::{MachineName, Monotonic, PeerId};

/// A bucket of some number of requests that refills evenly over [`RATE_WINDOW`].
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    full_at: Monotonic,
}

impl Bucket {
    /// Takes one request out of a bucket of `size`, or says how long to wait for one.
    fn take(&mut self, size: u32, now: Monotonic) -> Result<(), Duration> {
        let interval = RATE_WINDOW / size.max(1);
        let full_at = self.full_at.max(now).plus(interval);
        let wait = full_at.since(now).saturating_sub(RATE_WINDOW);
        // A rounded interval times the size may miss the window by less than one interval.
        if wait > Duration::ZERO {
            return Err(wait);
        }
        self.full_at = full_at;
        Ok(())
    }
}

/// Which bucket a request is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// The requests of a peer.
    Peer(PeerId),
    /// Its heartbeats, counted apart so that a busy peer is never taken for dead.
    Heartbeat(PeerId),
    /// What its hooks ask, counted apart so that a gate is never closed or opened by how much its
    /// agent asks, nor the agent kept waiting by its hooks.
    Hook(PeerId),
    /// The command line and all labels of a machine together.
    Shared(Home),
    /// Registrations on a machine.
    Register(Home),
    /// Registrations with tokens that are not known, from another machine.
    Stranger(Home),
    /// Lookups of a session's peer, counted apart so that the hooks of busy agents take nothing from the
    /// command line.
    Lookup(Home),
    /// Tokens that were not valid.
    Unauthenticated(Home),
}

impl Lane {
    fn peer(self) -> Option<PeerId> {
        match self {
            Self::Peer(id) | Self::Heartbeat(id) | Self::Hook(id) => Some(id),
            _ => None,
        }
    }
}

/// The machine of whoever asks; none for the hub's own.
type Home = Option<MachineName>;

/// All buckets; no more than three of each peer, and five of each machine that has joined.
#[derive(Debug)]
pub(super) struct Rates {
    limit: u32,
    buckets: BTreeMap<Lane, Bucket>,
}

impl Rates {
    /// `limit` requests per window of one peer; 0 for no limits at all.
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, buckets: BTreeMap::new() }
    }

    /// Takes one request.
    pub(super) fn take(&mut self, lane: Lane, now: Monotonic) -> Result<(), Refusal> {
        if self.limit == 0 {
            return Ok(());
        }
        let size = match lane {
            Lane::Peer(_) | Lane::Shared(_) => self.limit,
            Lane::Heartbeat(_) => HEARTBEATS_PER_WINDOW,
            Lane::Hook(_) => HOOK_REQUESTS_PER_WINDOW,
            Lane::Register(_) => REGISTRATIONS_PER_WINDOW,
            Lane::Stranger(_) => STRANGERS_PER_WINDOW,
            Lane::Lookup(_) => SESSION_LOOKUPS_PER_WINDOW,
            Lane::Unauthenticated(_) => AUTH_FAILURES_PER_WINDOW,
        };
        self.buckets.entry(lane).or_default().take(size, now).map_err(|wait| {
            let ms = u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
            Refusal::new(
                Code::RateLimited,
                format!(
                    "too many requests: at most {size} in {} s; try again in {ms} ms",
                    RATE_WINDOW.as_secs()
                ),
            )
            .with(Detail::RetryAfterMs(ms))
        })
    }

    /// Forgets a peer.
    pub(super) fn forget(&mut self, id: PeerId) {
        for lane in [Lane::Peer(id), Lane::Heartbeat(id), Lane::Hook(id)] {
            self.buckets.remove(&lane);
        }
    }

    /// Forgets a machine.
    pub(super) fn forget_machine(&mut self, machine: MachineName) {
        let lanes: [fn(Home) -> Lane; 5] =
            [Lane::Shared, Lane::Register, Lane::Stranger, Lane::Lookup, Lane::Unauthenticated];
        for lane in lanes {
            self.buckets.remove(&lane(Some(machine)));
        }
    }

    /// Forgets the peers that are not wanted.
    pub(super) fn retain(&mut self, wanted: impl Fn(PeerId) -> bool) {
        self.buckets.retain(|lane, _| lane.peer().is_none_or(&wanted));
    }

    /// The peers that have buckets.
    pub(super) fn peers(&self) -> BTreeSet<PeerId> {
        self.buckets.keys().filter_map(|lane| lane.peer()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic(Duration::from_millis(ms))
    }

    #[test]
    fn a_full_bucket_allows_its_size_and_then_one_per_interval() {
        let mut rates = Rates::new(100);
        let peer = PeerId::from_random([1; 16]);
        for _ in 0..100 {
            rates.take(Lane::Peer(peer), at(5)).unwrap();
        }
        let refusal = rates.take(Lane::Peer(peer), at(5)).unwrap_err();
        assert_eq!(refusal.code, Code::RateLimited);
        assert_eq!(refusal.detail, Detail::RetryAfterMs(100));
        assert!(rates.take(Lane::Peer(peer), at(104)).is_err());
        assert!(rates.take(Lane::Peer(peer), at(105)).is_ok());
        assert!(rates.take(Lane::Peer(peer), at(105)).is_err());
        // Full again after the window, and no fuller.
        for _ in 0..100 {
            rates.take(Lane::Peer(peer), at(60_000)).unwrap();
        }
        assert!(rates.take(Lane::Peer(peer), at(60_000)).is_err());
    }

    #[test]
    fn lanes_do_not_share() {
        let mut rates = Rates::new(1);
        let peer = PeerId::from_random([1; 16]);
        let laptop = MachineName::new("laptop");
        for lane in [Lane::Peer(peer), Lane::Shared(None), Lane::Shared(laptop)] {
            assert!(rates.take(lane, at(0)).is_ok());
            assert!(rates.take(lane, at(0)).is_err());
        }
        for _ in 0..HEARTBEATS_PER_WINDOW {
            rates.take(Lane::Heartbeat(peer), at(0)).unwrap();
        }
        assert!(rates.take(Lane::Heartbeat(peer), at(0)).is_err());
        for _ in 0..HOOK_REQUESTS_PER_WINDOW {
            rates.take(Lane::Hook(peer), at(0)).unwrap();
        }
        assert!(rates.take(Lane::Hook(peer), at(0)).is_err());
        assert!(rates.take(Lane::Register(None), at(0)).is_ok());
        for _ in 0..STRANGERS_PER_WINDOW {
            rates.take(Lane::Stranger(laptop), at(0)).unwrap();
        }
        assert!(rates.take(Lane::Stranger(laptop), at(0)).is_err());
        assert!(rates.take(Lane::Stranger(MachineName::new("other")), at(0)).is_ok());
        rates.forget_machine(laptop.unwrap());
        assert!(rates.take(Lane::Stranger(laptop), at(0)).is_ok());
        assert_eq!(rates.peers().len(), 1);
        rates.forget(peer);
        assert_eq!(rates.peers().len(), 0);
    }

    #[test]
    fn a_limit_of_zero_is_none() {
        let mut rates = Rates::new(0);
        for _ in 0..10_000 {
            rates.take(Lane::Shared(None), at(0)).unwrap();
        }
    }
}
