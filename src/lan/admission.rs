//! How many handshakes a hub has under way, and with whom.
//!
//! A handshake costs the loop a third of a millisecond, whoever asks for it. So there is a number of them
//! that are under way at once, a number that begin in a second, and a time for each. Half of both
//! numbers is for networks from which joined machines last came: a flood from elsewhere does not keep
//! these out. Nobody is locked out by address: behind one there may be many machines.
//!
//! Reads no clock and knows no socket.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::limits::{
    HANDSHAKE_TIME_MAX, HANDSHAKES_MAX, HANDSHAKES_PER_NETWORK_MAX, HANDSHAKES_PER_SECOND,
    MACHINE_NETWORKS_MAX,
};
use crate::model::Monotonic;

/// What counts as one place that connections come from: an IPv4 address, or the first 64 bits of an
/// IPv6 address, of which one machine has as many as it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network(IpAddr);

impl Network {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                Self(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into())
            }
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

/// Why a connection is closed before its handshake begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Too many handshakes are under way.
    All,
    /// Too many of them with this network.
    Network,
    /// Too many have begun within a second.
    Rate,
}

/// A handshake under way.
#[derive(Debug)]
struct Pending<K> {
    key: K,
    network: Network,
    known: bool,
    until: Monotonic,
}

/// The handshakes of a hub, each with a key of its owner's.
#[derive(Debug)]
pub struct Admission<K> {
    /// In the order in which they began, which is that of their ends.
    pending: VecDeque<Pending<K>>,
    /// Networks from which joined machines came, the latest last.
    known: VecDeque<Network>,
    /// For whoever comes.
    open: Bucket,
    /// For networks that are known.
    reserved: Bucket,
}

impl<K: Copy + PartialEq> Default for Admission<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Copy + PartialEq> Admission<K> {
    /// No handshake is under way, no network is known.
    #[must_use]
    pub fn new() -> Self {
        Self {
            pending: VecDeque::new(),
            known: VecDeque::new(),
            open: Bucket::default(),
            reserved: Bucket::default(),
        }
    }

    /// Remembers that a joined machine came from `address`: at each one that is let in, and at the
    /// start for those that are stored.
    pub fn joined_from(&mut self, address: IpAddr) {
        let network = Network::of(address);
        self.known.retain(|known| *known != network);
        if self.known.len() >= MACHINE_NETWORKS_MAX {
            self.known.pop_front();
        }
        self.known.push_back(network);
    }

    /// Begins a handshake with `address`, to be known as `key`.
    ///
    /// # Errors
    ///
    /// There are too many; the connection is to be closed.
    pub fn begin(&mut self, key: K, address: IpAddr, now: Monotonic) -> Result<(), Busy> {
        let network = Network::of(address);
        let known = self.known.contains(&network);
        let strangers = self.pending.iter().filter(|pending| !pending.known).count();
        if self.pending.len() >= HANDSHAKES_MAX || !known && strangers >= HANDSHAKES_MAX / 2 {
            return Err(Busy::All);
        }
        let same = self.pending.iter().filter(|pending| pending.network == network).count();
        if same >= HANDSHAKES_PER_NETWORK_MAX {
            return Err(Busy::Network);
        }
        let may_begin = known && self.reserved.take(now) || self.open.take(now);
        if !may_begin {
            return Err(Busy::Rate);
        }
        let until = now.plus(HANDSHAKE_TIME_MAX);
        self.pending.push_back(Pending { key, network, known, until });
        Ok(())
    }

    /// The handshake of `key` is done, or its connection has ended. Whether it was under way.
    pub fn end(&mut self, key: K) -> bool {
        let at = self.pending.iter().position(|pending| pending.key == key);
        at.and_then(|at| self.pending.remove(at)).is_some()
    }

    /// A handshake whose time is over, which ends it.
    pub fn expired(&mut self, now: Monotonic) -> Option<K> {
        let is_over = self.pending.front()?.until <= now;
        is_over.then(|| self.pending.pop_front()).flatten().map(|pending| pending.key)
    }

    /// When the next one's time is over.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        self.pending.front().map(|pending| pending.until)
    }
}

/// A bucket of half of [`HANDSHAKES_PER_SECOND`] that refills evenly over a second, as one time: that at
/// which it would be full.
#[derive(Debug, Default)]
struct Bucket {
    full_at: Monotonic,
}

impl Bucket {
    fn take(&mut self, now: Monotonic) -> bool {
        let interval = 2 * Duration::from_secs(1) / HANDSHAKES_PER_SECOND;
        let full_at = self.full_at.max(now).plus(interval);
        let is_left = full_at.since(now) <= Duration::from_secs(1);
        if is_left {
            self.full_at = full_at;
        }
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn host(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into()
    }

    fn at(ms: u64) -> Monotonic {
        Monotonic(Duration::from_millis(ms))
    }

    #[test]
    fn one_network_has_its_share() {
        let mut admission = Admission::new();
        for key in 0..8 {
            assert_eq!(admission.begin(key, ip("10.0.0.1"), at(0)), Ok(()));
        }
        assert_eq!(admission.begin(8, ip("10.0.0.1"), at(0)), Err(Busy::Network));
        assert_eq!(admission.begin(8, ip("::ffff:10.0.0.1"), at(0)), Err(Busy::Network));
        assert_eq!(admission.begin(8, ip("10.0.0.2"), at(0)), Ok(()));
        assert!(admission.end(3) && !admission.end(3));
        assert_eq!(admission.begin(9, ip("10.0.0.1"), at(0)), Ok(()));
    }

    #[test]
    fn an_ipv6_network_is_64_bits() {
        let mut admission = Admission::new();
        for key in 0..8_u32 {
            let address = ip(&format!("2001:db8:0:1:{key:x}::1"));
            assert_eq!(admission.begin(key, address, at(0)), Ok(()));
        }
        assert_eq!(admission.begin(8, ip("2001:db8:0:1::ffff"), at(0)), Err(Busy::Network));
        assert_eq!(admission.begin(8, ip("2001:db8:0:2::1"), at(0)), Ok(()));
    }

    #[test]
    fn strangers_leave_half_to_who_is_known() {
        let mut admission = Admission::new();
        admission.joined_from(ip("192.168.0.9"));
        for key in 0..16 {
            assert_eq!(admission.begin(key, host(key), at(0)), Ok(()));
        }
        assert_eq!(admission.begin(16, host(16), at(0)), Err(Busy::All));
        for key in 16..24 {
            assert_eq!(admission.begin(key, ip("192.168.0.9"), at(0)), Ok(()));
        }
        assert_eq!(admission.begin(24, ip("192.168.0.9"), at(0)), Err(Busy::Network));
        // Who is known is not kept to its half.
        let mut admission = Admission::new();
        for key in 0..32 {
            admission.joined_from(host(key));
            assert_eq!(admission.begin(key, host(key), at(0)), Ok(()));
        }
        assert_eq!(admission.begin(32, host(0), at(0)), Err(Busy::All));
    }

    /// How many of `tries` from ever new addresses begin, each ending at once.
    fn begun(admission: &mut Admission<u32>, hosts: std::ops::Range<u32>, now: Monotonic) -> usize {
        let begun = hosts.filter(|key| {
            let begun = admission.begin(*key, host(*key), now).is_ok();
            admission.end(*key);
            begun
        });
        begun.count()
    }

    #[test]
    fn a_flood_gets_half_a_second_s_worth() {
        let mut admission = Admission::new();
        for key in 0..100 {
            admission.joined_from(host(key));
        }
        assert_eq!(begun(&mut admission, 1000..2000, at(0)), 25);
        assert_eq!(begun(&mut admission, 0..100, at(0)), 25, "the reserved half");
        assert_eq!(begun(&mut admission, 1000..2000, at(40)), 1);
        assert_eq!(begun(&mut admission, 0..100, at(40)), 1);
        assert_eq!(begun(&mut admission, 0..100, at(10_000)), 50, "all of it");
        assert_eq!(begun(&mut admission, 1000..2000, at(10_000)), 0);
        assert_eq!(begun(&mut admission, 1000..2000, at(11_000)), 25, "no more is saved up");
    }

    #[test]
    fn a_handshake_has_its_time() {
        let mut admission = Admission::new();
        assert_eq!(admission.next_deadline(), None);
        admission.begin(1, host(1), at(0)).unwrap();
        admission.begin(2, host(2), at(10)).unwrap();
        admission.begin(3, host(3), at(20)).unwrap();
        admission.end(2);
        assert_eq!(admission.next_deadline(), Some(at(5000)));
        assert_eq!(admission.expired(at(4999)), None);
        assert_eq!(admission.expired(at(5000)), Some(1));
        assert_eq!(admission.expired(at(5019)), None);
        assert_eq!(admission.expired(at(9999)), Some(3));
        assert_eq!((admission.expired(at(9999)), admission.next_deadline()), (None, None));
    }

    #[test]
    fn networks_are_forgotten_oldest_first() {
        let mut admission = Admission::<u32>::new();
        for n in 0..300 {
            admission.joined_from(host(n));
            admission.joined_from(host(0));
        }
        assert_eq!(admission.known.len(), MACHINE_NETWORKS_MAX);
        assert!(admission.known.contains(&Network::of(host(0))));
        assert!(!admission.known.contains(&Network::of(host(1))));
    }
}
