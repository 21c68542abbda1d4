//! The first connection to a hub: all addresses are tried at once, and the first that leads to the hub
//! is used.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::config::HubAddress;
use crate::lan::channel::{CLOSE_NORMAL, Channel, Ended, Event, Way};
use crate::lan::key::MachineKey;
use crate::lan::resolve;
use crate::model::{MachineId, MachineName};
use crate::platform::{poll_readable, poll_writable};
use crate::wire::frames::ToRelay;

/// How long resolving a name may take, and how long connecting.
const STEP_TIME_MAX: Duration = Duration::from_secs(5);
/// How long the hub may take after that to let this machine in; it may be slow.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// How this machine introduces itself to a hub.
pub(super) struct Introduction<'a> {
    pub(super) key: &'a MachineKey,
    pub(super) way: Way,
    /// This machine's own name.
    pub(super) name: Option<MachineName>,
    /// Whether names may be resolved by mDNS.
    pub(super) mdns: bool,
}

/// A hub that has let this machine in.
#[derive(Debug)]
pub(super) struct Admission {
    /// The address that led there, as it was given.
    pub(super) address: HubAddress,
    /// The hub's name.
    pub(super) name: Box<str>,
    /// The name that it gives this machine.
    pub(super) you: Option<MachineName>,
}

/// Why no hub has let this machine in.
#[derive(Debug)]
pub(super) enum NotAdmitted {
    /// It was reached and refused.
    Refused(String),
    /// It was not found: each address with its trouble.
    Nowhere(Vec<(HubAddress, Trouble)>),
}

/// What is wrong with one address.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The name does not exist, or the connection failed.
    Unreachable(String),
    /// Another hub is there.
    Another(MachineId),
    /// Something answers that is no hub.
    Wrong(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) | Self::Wrong(why) => f.write_str(why),
            Self::Another(id) => write!(f, "another hub answers there ({})", id.short()),
        }
    }
}

/// Connects to all `addresses` at once, and asks what answers first, then the next.
///
/// # Errors
/// See [`NotAdmitted`].
pub(super) fn dial(
    addresses: Vec<HubAddress>,
    asking: &Introduction<'_>,
) -> Result<Admission, NotAdmitted> {
    let (sender, connected) = mpsc::channel();
    let mut troubles = Vec::new();
    for address in addresses {
        let (sender, told) = (sender.clone(), address.clone());
        let mdns = asking.mdns;
        let connect = move || {
            let stream = connect(&address, mdns);
            // Nobody waits for it if another one was faster.
            let _ = sender.send((address, stream));
        };
        if let Err(error) = thread::Builder::new().name("dial".to_owned()).spawn(connect) {
            troubles.push((told, Trouble::Unreachable(error.to_string())));
        }
    }
    drop(sender);
    // Ends when the last of the threads has reported.
    for (address, stream) in connected {
        let trouble = match stream {
            Err(why) => Trouble::Unreachable(why),
            Ok(stream) => match ask(stream, asking) {
                Ok((name, you)) => return Ok(Admission { address, name, you }),
                Err(Ended::Refused(refused)) => {
                    return Err(NotAdmitted::Refused(refused.to_string()));
                }
                Err(Ended::AnotherHub(another)) => Trouble::Another(another.found),
                Err(ended) => Trouble::Wrong(ended.to_string()),
            },
        };
        troubles.push((address, trouble));
    }
    Err(NotAdmitted::Nowhere(troubles))
}

fn connect(address: &HubAddress, mdns: bool) -> Result<TcpStream, String> {
    let (sender, found) = mpsc::channel();
    let then = move |resolved| _ = sender.send(resolved);
    resolve::resolve(address, mdns, STEP_TIME_MAX, then).map_err(|error| error.to_string())?;
    let found = found.recv().map_err(|_| "its name cannot be looked up".to_owned())?;
    let found = found.map_err(|error| error.to_string())?;
    let mut why = "it has no address".to_owned();
    for at in found {
        match TcpStream::connect_timeout(&at, STEP_TIME_MAX) {
            Ok(stream) => return Ok(stream),
            Err(error) => why = words(at, &error),
        }
    }
    Err(why)
}

/// Why a connection failed, in words that help.
fn words(at: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "no answer; a firewall may be in between".to_owned(),
        io::ErrorKind::ConnectionRefused => {
            format!("nothing listens there on port {}", at.port())
        }
        _ => error.to_string(),
    }
}

/// Asks to be let in, and waits until the hub has said who it is.
fn ask(
    stream: TcpStream,
    asking: &Introduction<'_>,
) -> Result<(Box<str>, Option<MachineName>), Ended> {
    stream.set_nonblocking(true)?;
    // It is for the delay alone.
    let _ = stream.set_nodelay(true);
    let watched = stream.try_clone()?;
    let version = env!("CARGO_PKG_VERSION");
    let mut channel =
        Channel::of_relay(stream, asking.key, asking.way.clone(), asking.name, version)?;
    let until = Instant::now() + HANDSHAKE_TIME_MAX;
    loop {
        let met = match channel.advance()? {
            Some(Event::Text(text)) => match ToRelay::decode(text) {
                Ok(Some(ToRelay::Hello(hello))) => Some(((&*hello.name).into(), hello.you)),
                _ => None,
            },
            Some(_) => None,
            None => {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(io::Error::from(io::ErrorKind::TimedOut).into());
                }
                if channel.wants_write() {
                    poll_writable(&watched, Some(left))?;
                } else {
                    poll_readable(&watched, Some(left))?;
                }
                None
            }
        };
        if let Some(met) = met {
            channel.close(CLOSE_NORMAL, "joined");
            channel.flush();
            return Ok(met);
        }
    }
}
