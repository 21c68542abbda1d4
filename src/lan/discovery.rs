//! Hubs on the local network, by mDNS (RFC 6762) and DNS-SD (RFC 6763).
//!
//! A hub says that one is here, under a name that is another at each start, and by a tag that tells
//! only those who know its id which one it is. What is heard is what anyone on the network likes to
//! say: a candidate is worth an attempt to connect and nothing more.
//!
//! With `SLM_MESH_DISCOVERY=false` nothing here is called: a [`ServiceDaemon`] opens sockets as soon
//! as it is made. Its thread only feeds a channel. What it has heard it keeps without a limit of its
//! own, so a [`Browser`] is kept for seconds.

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use mdns_sd::{IfKind, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent, ServiceInfo};
use ring::hmac;

use crate::limits::{DISCOVERY_GOODBYE, HUB_ADDRESSES_MAX, HUBS_HEARD_MAX, HUBS_WAITING_MAX};
use crate::model::{MachineId, MachineName, hex, unhex};

/// What hubs are found by. (`_slm-mesh._tcp` belongs to another product.)
pub const SERVICE: &str = "_slm-mesh-hub._tcp.local.";
/// The version of what a hub says of itself.
const VERSION: &str = "1";

/// Why there is no discovery. The text says what to do.
#[derive(Debug)]
pub struct DiscoveryError(Box<str>);

impl fmt::Display for DiscoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mDNS does not work on this machine ({}): name the hub by its address", self.0)
    }
}

impl std::error::Error for DiscoveryError {}

fn failed(error: impl fmt::Display) -> DiscoveryError {
    DiscoveryError(error.to_string().into())
}

/// By what those who know a hub find it again, and nobody else: random bytes, and their HMAC-SHA-256
/// under its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    nonce: [u8; 16],
    mac: [u8; 32],
}

impl Tag {
    pub(crate) fn new(id: &MachineId, nonce: [u8; 16]) -> Self {
        let mut mac = [0; 32];
        mac.copy_from_slice(hmac::sign(&Self::key(id), &nonce).as_ref());
        Self { nonce, mac }
    }

    fn key(id: &MachineId) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &id.0)
    }

    /// Whether it was made by someone who knows `id`; compared in constant time.
    #[must_use]
    pub fn is_of(&self, id: &MachineId) -> bool {
        hmac::verify(&Self::key(id), &self.nonce, &self.mac).is_ok()
    }
}

/// A hub that was heard of, if it is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What it calls its machine.
    pub name: MachineName,
    /// Where it says to be: IPv4 addresses first; at most [`HUB_ADDRESSES_MAX`] and at least one.
    pub addresses: Vec<SocketAddr>,
    /// What it is known again by.
    pub tag: Tag,
}

impl Candidate {
    /// What a hub says of itself: the port, and what `txt` has under a key. `None` if it is not what a
    /// hub of this version says.
    fn understood<'a>(
        port: u16,
        addresses: impl IntoIterator<Item = SocketAddr>,
        txt: impl Fn(&str) -> Option<&'a str>,
    ) -> Option<Self> {
        if port == 0 || txt("v")? != VERSION {
            return None;
        }
        let name = MachineName::new(txt("name")?)?;
        let tag = Tag { nonce: unhex(txt("nonce")?)?, mac: unhex(txt("mac")?)? };
        let mut addresses: Vec<SocketAddr> = addresses
            .into_iter()
            // Elsewhere than at itself, and at a single machine.
            .filter(|at| {
                let ip = at.ip();
                !ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast()
            })
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(HUB_ADDRESSES_MAX);
        (!addresses.is_empty()).then_some(Self { name, addresses, tag })
    }
}

/// The candidates of a search: at most [`HUBS_HEARD_MAX`], and the hub that is known is not crowded out.
#[derive(Debug, Default)]
pub struct Candidates {
    known: Option<MachineId>,
    /// By the names under which they were heard.
    heard: Vec<(Box<str>, Candidate)>,
    /// How many there was no room for.
    more: usize,
}

impl Candidates {
    /// A search; `known` is the hub that is looked for, if any one in particular.
    #[must_use]
    pub fn new(known: Option<MachineId>) -> Self {
        Self { known, ..Self::default() }
    }

    /// Takes note of what was heard.
    pub fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Here(service, candidate) => {
                if let Some((_, old)) = self.heard.iter_mut().find(|(name, _)| *name == service) {
                    *old = candidate;
                } else if self.heard.len() < HUBS_HEARD_MAX {
                    self.heard.push((service, candidate));
                } else {
                    self.more = self.more.saturating_add(1);
                    let stranger = self.heard.iter().position(|(_, old)| !self.is_known(old));
                    let place = stranger.and_then(|at| self.heard.get_mut(at));
                    if let (Some(known), Some(place)) = (self.known, place)
                        && candidate.tag.is_of(&known)
                    {
                        *place = (service, candidate);
                    }
                }
            }
            Heard::Gone(service) => self.heard.retain(|(name, _)| *name != service),
        }
    }

    fn is_known(&self, candidate: &Candidate) -> bool {
        self.known.is_some_and(|known| candidate.tag.is_of(&known))
    }

    /// Those that say to be the hub that is looked for; all, if it is none in particular.
    pub fn fitting(&self) -> impl Iterator<Item = &Candidate> {
        let all = self.known.is_none();
        let fits = move |it: &&Candidate| all || self.is_known(it);
        self.heard.iter().map(|(_, candidate)| candidate).filter(fits)
    }

    /// All, and how many more there were.
    #[must_use]
    pub fn into_all(self) -> (Vec<Candidate>, usize) {
        (self.heard.into_iter().map(|(_, candidate)| candidate).collect(), self.more)
    }
}

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A hub under this name; or more of one that was heard before.
    Here(Box<str>, Candidate),
    /// The one under this name has said goodbye, or was not heard for long.
    Gone(Box<str>),
}

impl Heard {
    fn of(event: ServiceEvent) -> Option<Self> {
        match event {
            ServiceEvent::ServiceResolved(service) => {
                let ResolvedService { fullname, port, addresses, txt_properties, .. } = *service;
                let addresses = addresses.iter().filter_map(|ip| address(ip, port));
                let candidate = Candidate::understood(port, addresses, |key| {
                    txt_properties.get_property_val_str(key)
                })?;
                Some(Self::Here(fullname.into(), candidate))
            }
            ServiceEvent::ServiceRemoved(_, fullname) => Some(Self::Gone(fullname.into())),
            _ => None,
        }
    }
}

/// A link-local address is one on the link on which it was heard only.
pub(super) fn address(ip: &ScopedIp, port: u16) -> Option<SocketAddr> {
    Some(match ip {
        ScopedIp::V4(ip) => SocketAddr::new(IpAddr::V4(*ip.addr()), port),
        ScopedIp::V6(ip) => {
            let local = ip.addr().is_unicast_link_local();
            let scope = if local { ip.scope_id().index } else { 0 };
            SocketAddrV6::new(*ip.addr(), port, 0, scope).into()
        }
        _ => return None,
    })
}

/// The thread and the sockets of mDNS, on all interfaces that lead to others.
pub(super) fn daemon() -> Result<ServiceDaemon, DiscoveryError> {
    let daemon = ServiceDaemon::new().map_err(failed)?;
    for loopback in [IfKind::LoopbackV4, IfKind::LoopbackV6] {
        daemon.disable_interface(loopback).map_err(failed)?;
    }
    Ok(daemon)
}

/// A search for hubs, until it is dropped.
pub struct Browser {
    daemon: ServiceDaemon,
    heard: Receiver<Heard>,
}

impl Browser {
    /// Begins to search. `wake` is called whenever there is something to be [taken](Self::take), on
    /// another thread.
    ///
    /// # Errors
    ///
    /// The system gives no thread or no socket.
    pub fn start(wake: impl Fn() + Send + 'static) -> Result<Self, DiscoveryError> {
        let daemon = daemon()?;
        let events = daemon.browse(SERVICE).map_err(failed)?;
        let (sender, heard) = mpsc::sync_channel(HUBS_WAITING_MAX);
        let feed = move |sender: SyncSender<Heard>| {
            // Ends with the daemon.
            for heard in events.iter().filter_map(Heard::of) {
                match sender.try_send(heard) {
                    Ok(()) => wake(),
                    // It is said again.
                    Err(TrySendError::Full(_)) => {}
                    Err(TrySendError::Disconnected(_)) => break,
                }
            }
        };
        let thread = thread::Builder::new().name("hubs".to_owned());
        thread.spawn(move || feed(sender)).map_err(failed)?;
        Ok(Self { daemon, heard })
    }

    /// What was heard since, without waiting for more.
    pub fn take(&self) -> impl Iterator<Item = Heard> {
        self.heard.try_iter()
    }
}

impl fmt::Debug for Browser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Browser").finish_non_exhaustive()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends by itself; there is nobody to tell if it cannot be told.
        let _ = self.daemon.shutdown();
    }
}

/// Listens for hubs so long.
///
/// # Errors
///
/// The system gives no thread or no socket.
pub fn listen(time: Duration, known: Option<MachineId>) -> Result<Candidates, DiscoveryError> {
    let end = Instant::now() + time;
    let browser = Browser::start(|| ())?;
    let mut candidates = Candidates::new(known);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match browser.heard.recv_timeout(left) {
            Ok(heard) => candidates.hear(heard),
            Err(RecvTimeoutError::Timeout) => return Ok(candidates),
            Err(RecvTimeoutError::Disconnected) => return Err(failed("its thread has ended")),
        }
    }
}

/// A hub that says that it is here, until it is dropped.
pub struct Advert {
    daemon: ServiceDaemon,
    fullname: String,
}

impl Advert {
    /// Says that the hub `id` on the machine `name` listens on this address and port.
    ///
    /// # Errors
    ///
    /// The system gives no thread, no socket or no random bytes.
    pub fn start(
        id: &MachineId,
        name: &MachineName,
        listen: SocketAddr,
    ) -> Result<Self, DiscoveryError> {
        let mut random = [0; 24];
        getrandom::fill(&mut random).map_err(failed)?;
        let (nonce, of_name) = random.split_at(16);
        let tag = Tag::new(id, nonce.try_into().map_err(failed)?);
        // Another at each start: a lasting one would tell wherever the machine goes which it is.
        let instance = format!("slm-mesh-{}", hex(of_name));
        let (nonce, mac) = (hex(&tag.nonce), hex(&tag.mac));
        let txt =
            [("v", VERSION), ("name", name.as_str()), ("nonce", nonce.as_str()), ("mac", &mac)];
        let host = format!("{instance}.local.");
        let addresses = if listen.ip().is_unspecified() { Vec::new() } else { vec![listen.ip()] };
        let all = addresses.is_empty();
        let info =
            ServiceInfo::new(SERVICE, &instance, &host, &addresses[..], listen.port(), &txt[..])
                .map_err(failed)?;
        let info = if all { info.enable_addr_auto() } else { info };
        let daemon = daemon()?;
        let fullname = info.get_fullname().to_owned();
        daemon.register(info).map_err(failed)?;
        Ok(Self { daemon, fullname })
    }
}

impl fmt::Debug for Advert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Advert").field("fullname", &self.fullname).finish_non_exhaustive()
    }
}

impl Drop for Advert {
    fn drop(&mut self) {
        // The goodbye has to be out before the daemon ends; there is nobody to tell if it is not.
        if let Ok(done) = self.daemon.unregister(&self.fullname) {
            let _ = done.recv_timeout(DISCOVERY_GOODBYE);
        }
        let _ = self.daemon.shutdown();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const ID: MachineId = MachineId([1; 32]);

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// What a hub says.
    fn said(id: MachineId) -> BTreeMap<&'static str, String> {
        let tag = Tag::new(&id, [7; 16]);
        BTreeMap::from([
            ("v", "1".to_owned()),
            ("name", "box".to_owned()),
            ("nonce", hex(&tag.nonce)),
            ("mac", hex(&tag.mac)),
        ])
    }

    fn understood(txt: &BTreeMap<&'static str, String>, addresses: &[&str]) -> Option<Candidate> {
        let addresses = addresses.iter().map(|text| at(text));
        Candidate::understood(7900, addresses, |key| txt.get(key).map(String::as_str))
    }

    fn candidate(id: MachineId) -> Candidate {
        understood(&said(id), &["10.0.0.5:7900"]).unwrap()
    }

    fn here(name: &str, id: MachineId) -> Heard {
        Heard::Here(name.into(), candidate(id))
    }

    #[test]
    fn a_hub_is_known_again_by_those_who_know_its_id() {
        let tag = candidate(ID).tag;
        assert!(tag.is_of(&ID) && !tag.is_of(&MachineId([2; 32])));
        // Reckoned with Python's hmac and hashlib.
        assert_eq!(
            hex(&tag.mac),
            "fa7470d88191ed1f6ecea1e680931a1a42a0359b42cdbd8e18f292ba1ee50c6c"
        );
        assert_ne!(Tag::new(&ID, [8; 16]).mac, tag.mac);
    }

    #[test]
    fn what_no_hub_says_is_passed_over() {
        assert!(understood(&said(ID), &["10.0.0.5:7900"]).is_some());
        for (key, bad) in [
            ("v", "2"),
            ("v", ""),
            ("name", ""),
            ("name", "a b"),
            ("name", "\u{1b}[1m"),
            ("name", &"x".repeat(33)),
            ("nonce", ""),
            ("nonce", "00"),
            ("mac", &"g".repeat(64)),
            ("mac", &"0".repeat(66)),
        ] {
            let mut txt = said(ID);
            txt.insert(key, bad.to_owned());
            assert_eq!(understood(&txt, &["10.0.0.5:7900"]), None, "{key} {bad}");
            txt.remove(key);
            assert_eq!(understood(&txt, &["10.0.0.5:7900"]), None, "{key}");
        }
        let txt = said(ID);
        let get = |key: &str| txt.get(key).map(String::as_str);
        assert_eq!(Candidate::understood(0, [at("10.0.0.5:0")], get), None);
    }

    #[test]
    fn where_nobody_else_can_be_is_no_address() {
        let all = ["127.0.0.1:1", "0.0.0.0:1", "224.0.0.1:1", "[::1]:1", "[::]:1", "[ff02::1]:1"];
        assert_eq!(understood(&said(ID), &all), None);
        let found =
            understood(&said(ID), &["[fd00::1]:1", "10.0.0.2:1", "10.0.0.1:1", "10.0.0.2:1"]);
        let expected = ["10.0.0.1:1", "10.0.0.2:1", "[fd00::1]:1"];
        assert_eq!(found.unwrap().addresses, expected.map(at));
        let many: Vec<String> = (0..99).map(|i| format!("10.0.0.{i}:1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(understood(&said(ID), &many).unwrap().addresses.len(), HUB_ADDRESSES_MAX);
    }

    #[test]
    fn the_hub_that_is_known_is_not_crowded_out() {
        let stranger = MachineId([9; 32]);
        for known_first in [true, false] {
            let mut candidates = Candidates::new(Some(ID));
            if known_first {
                candidates.hear(here("known", ID));
            }
            for i in 0..2 * HUBS_HEARD_MAX {
                candidates.hear(here(&format!("fake {i}"), stranger));
            }
            candidates.hear(here("known", ID));
            assert_eq!(candidates.fitting().count(), 1);
            let (all, more) = candidates.into_all();
            assert_eq!((all.len(), more), (HUBS_HEARD_MAX, HUBS_HEARD_MAX + 1));
        }
        let mut candidates = Candidates::new(None);
        candidates.hear(here("a", ID));
        candidates.hear(here("a", stranger));
        candidates.hear(here("b", ID));
        assert_eq!(candidates.fitting().count(), 2);
        candidates.hear(Heard::Gone("b".into()));
        let (all, more) = candidates.into_all();
        assert_eq!((all, more), (vec![candidate(stranger)], 0));
    }
}
