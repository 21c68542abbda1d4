//! Names of hubs to addresses.
//!
//! `getaddrinfo` blocks for as long as it likes and cannot be stopped, so it runs on a thread of its
//! own, and whoever asked is told after a time whether it has come back or not. In a static binary it
//! knows files and DNS, which glibc has had in itself since 2.34, and passes over whatever else
//! `nsswitch.conf` names. A name under `.local`
//! is asked for by mDNS (RFC 6762 section 3), unless that is switched off.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use mdns_sd::HostnameResolutionEvent;

use super::discovery::{self, DiscoveryError};
use crate::config::{HubAddress, HubHost};
use crate::limits::{HUB_ADDRESSES_MAX, RESOLVING_MAX};

/// Why a name has no address. The text names it and says what to do.
#[derive(Debug)]
pub enum ResolveError {
    /// Nobody knows it.
    Unknown {
        /// The name.
        name: Box<str>,
        /// What the system says.
        why: Box<str>,
    },
    /// No answer in time.
    TimedOut {
        /// The name.
        name: Box<str>,
        /// How long it was waited for.
        after: Duration,
    },
    /// Too many names are being looked up that the system does not answer for.
    Busy,
    /// It is a name of mDNS, and that does not work here.
    Discovery(DiscoveryError),
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name, why } => {
                write!(
                    f,
                    "no address is known for {name} ({why}): check the name, or use an address"
                )
            }
            Self::TimedOut { name, after } => write!(
                f,
                "no address for {name} within {} s: check that the hub is up and that names can be \
                 looked up here, or use its address",
                after.as_secs_f32()
            ),
            Self::Busy => f.write_str(
                "too many names are being looked up that nobody answers for: check the name server",
            ),
            Self::Discovery(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ResolveError {}

/// What is told of a name: its addresses, at least one and at most [`HUB_ADDRESSES_MAX`].
pub type Resolved = Result<Vec<SocketAddr>, ResolveError>;

/// Looks for the addresses of `hub`, and calls `then` with them or why there are none: after `within`
/// at the latest, once, and on another thread, but for a hub that is named by its address. `mdns` says
/// whether that may be used.
///
/// # Errors
///
/// The system gives no thread; `then` is not called.
pub fn resolve(
    hub: &HubAddress,
    mdns: bool,
    within: Duration,
    then: impl FnOnce(Resolved) + Send + 'static,
) -> Result<(), ResolveError> {
    let port = hub.port;
    let name = match &hub.host {
        HubHost::Address(ip) => {
            then(Ok(vec![SocketAddr::new(*ip, port)]));
            return Ok(());
        }
        HubHost::Name(name) => name.clone(),
    };
    let is_local = name.ends_with(".local");
    let look = move || {
        then(if is_local && mdns {
            by_mdns(&name, port, within)
        } else {
            by_system(&name, port, within)
        });
    };
    let thread = thread::Builder::new().name("resolve".to_owned());
    thread.spawn(look).map_err(|_| ResolveError::Busy).map(drop)
}

/// How many threads wait for the system, those included for which nobody waits any more.
static LOOKING: AtomicUsize = AtomicUsize::new(0);

/// One of [`LOOKING`].
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let more = |count| (count < RESOLVING_MAX).then_some(count + 1);
        LOOKING.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        LOOKING.fetch_sub(1, Ordering::Relaxed);
    }
}

fn by_system(name: &str, port: u16, within: Duration) -> Resolved {
    let place = Place::take().ok_or(ResolveError::Busy)?;
    let (sender, receiver) = mpsc::sync_channel(1);
    let owned = name.to_owned();
    let look = move || {
        let found = (owned.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        // Nobody waits if it took too long.
        let _ = sender.send(found);
        drop(place);
    };
    let thread = thread::Builder::new().name("getaddrinfo".to_owned());
    thread.spawn(look).map_err(|_| ResolveError::Busy)?;
    match receiver.recv_timeout(within) {
        Ok(Ok(found)) => bounded(name, found),
        Ok(Err(error)) => Err(unknown(name, &error)),
        Err(_) => Err(ResolveError::TimedOut { name: name.into(), after: within }),
    }
}

fn by_mdns(name: &str, port: u16, within: Duration) -> Resolved {
    let failed = |error: &dyn fmt::Display| unknown(name, error);
    let daemon = discovery::daemon().map_err(ResolveError::Discovery)?;
    let end = Instant::now() + within;
    let found = match daemon.resolve_hostname(&format!("{name}."), None) {
        Ok(events) => loop {
            match events.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(HostnameResolutionEvent::AddressesFound(_, found)) => {
                    let found = found.iter().filter_map(|ip| discovery::address(ip, port));
                    break bounded(name, found.collect());
                }
                Ok(_) => {}
                Err(_) => {
                    break Err(ResolveError::TimedOut { name: name.into(), after: within });
                }
            }
        },
        Err(error) => Err(failed(&error)),
    };
    // It ends by itself.
    let _ = daemon.shutdown();
    found
}

fn bounded(name: &str, mut found: Vec<SocketAddr>) -> Resolved {
    // As the system has ordered them: RFC 6724.
    found.dedup();
    found.truncate(HUB_ADDRESSES_MAX);
    if found.is_empty() { Err(unknown(name, &"it has none")) } else { Ok(found) }
}

fn unknown(name: &str, why: &dyn fmt::Display) -> ResolveError {
    ResolveError::Unknown { name: name.into(), why: why.to_string().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(hub: &str) -> Resolved {
        let (sender, receiver) = mpsc::channel();
        let hub = HubAddress::parse(hub).unwrap();
        resolve(&hub, false, Duration::from_secs(20), move |found| sender.send(found).unwrap())
            .unwrap();
        receiver.recv().unwrap()
    }

    #[test]
    fn an_address_is_its_own() {
        assert_eq!(resolved("10.0.0.5:7901").unwrap(), ["10.0.0.5:7901".parse().unwrap()]);
        assert_eq!(resolved("fd00::1").unwrap(), ["[fd00::1]:7900".parse().unwrap()]);
    }

    #[test]
    fn a_name_is_looked_up() {
        let found = resolved("localhost:7901").unwrap();
        assert!(found.iter().all(|at| at.ip().is_loopback() && at.port() == 7901), "{found:?}");
        // The top-level domain that never is: RFC 6761 section 6.4.
        let said = resolved("hub.invalid").unwrap_err().to_string();
        assert!(said.contains("hub.invalid") && said.contains("address"), "{said}");
    }

    #[test]
    fn no_answer_is_waited_for_only_so_long() {
        let said = by_system("hub.invalid", 1, Duration::ZERO);
        // Unless it was there at once.
        assert!(matches!(said, Err(ResolveError::TimedOut { .. } | ResolveError::Unknown { .. })));
    }
}
