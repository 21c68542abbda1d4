//! Where other machines come in: the key, the port, and how the hub is found.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use mio::net::TcpListener;
use mio::{Interest, Registry};

use crate::api::Invited;
use crate::broker::machines::Connections;
use crate::broker::table::{Key, Kind};
use crate::config::WS_PORT;
use crate::lan::addresses::{reachable, without_ipv6};
use crate::lan::channel;
use crate::lan::discovery::Advert;
use crate::lan::invitation::{Invitation, Place};
use crate::lan::key::{KeyError, MachineKey};
use crate::lan::secret::SharedKey;
use crate::limits::ADDRESSES_LOOK_EVERY;
use crate::log;
use crate::model::{InvitationToken, MachineId, MachineName, Monotonic};

/// What it takes to let other machines in.
pub(in crate::broker) struct Door {
    /// The file of the machine key.
    pub(in crate::broker) key: PathBuf,
    /// Where to listen.
    pub(in crate::broker) listen: IpAddr,
    /// The port.
    pub(in crate::broker) port: u16,
    /// What lets machines in that know it.
    pub(in crate::broker) secret: Option<SharedKey>,
    /// Whether the hub is announced by mDNS.
    pub(in crate::broker) announce: bool,
    /// The poll of the loop.
    pub(in crate::broker) registry: Rc<Registry>,
}

/// Why no machine can come in. The text says what to do.
#[derive(Debug)]
pub(in crate::broker) enum DoorError {
    /// The machine key.
    Key(KeyError),
    /// The port.
    Port(SocketAddr, io::Error),
    /// Something else of the system.
    System(Box<str>),
}

impl fmt::Display for DoorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(error) => error.fmt(f),
            Self::Port(address, error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                write!(
                    f,
                    "{} is no address of this machine, so other machines cannot reach it there",
                    address.ip()
                )
            }
            Self::Port(address, error) => write!(
                f,
                "port {} for other machines cannot be used ({error}): free it, or set {WS_PORT} to \
                 another",
                address.port()
            ),
            Self::System(why) => write!(f, "other machines cannot be let in: {why}"),
        }
    }
}

/// The open door.
pub(super) struct Entrance {
    pub(super) connections: Connections,
    id: MachineId,
    address: SocketAddr,
    announcing: Option<Announcing>,
}

/// How the hub says that it is here.
struct Announcing {
    name: MachineName,
    /// None where it cannot be said.
    advert: Option<Advert>,
    /// The addresses that the machine had when that began.
    addresses: Vec<IpAddr>,
    look_at: Monotonic,
}

impl Door {
    /// Opens. `name` is what the hub is called.
    ///
    /// # Errors
    /// See [`DoorError`]; nothing has changed then, but that there may be a key.
    pub(super) fn open(
        &self,
        name: Option<MachineName>,
        now: Monotonic,
    ) -> Result<Entrance, DoorError> {
        let system = |error: &dyn fmt::Display| DoorError::System(error.to_string().into());
        let key = MachineKey::load_or_make(&self.key).map_err(DoorError::Key)?;
        let hub = channel::Hub::new(&key, self.secret.clone()).map_err(|error| system(&error))?;
        let (mut listener, address) = self.bind()?;
        let token = Key::SINGLE.token(Kind::Entrance);
        self.registry
            .register(&mut listener, token, Interest::READABLE)
            .map_err(|error| system(&error))?;
        let connections = Connections::new(listener, Arc::new(hub), |key| key.token(Kind::Machine));
        let announcing = name.filter(|_| self.announce && !address.ip().is_loopback());
        log::info(format_args!("other machines can reach this hub at {address}"));
        Ok(Entrance {
            connections,
            id: key.id(),
            address,
            announcing: announcing.map(|name| Announcing::start(name, &key.id(), address, now)),
        })
    }

    fn bind(&self) -> Result<(TcpListener, SocketAddr), DoorError> {
        let address = SocketAddr::new(self.listen, self.port);
        // Sets SO_REUSEADDR: connections of a predecessor that linger are no obstacle.
        let bound = TcpListener::bind(address).map(|listener| (listener, address));
        let fallback = without_ipv6(self.listen).map(|ip| SocketAddr::new(ip, self.port));
        match (bound, fallback) {
            (Err(error), Some(fallback)) if error.kind() != io::ErrorKind::AddrInUse => {
                TcpListener::bind(fallback).map(|listener| (listener, fallback))
            }
            (bound, _) => bound,
        }
        .map_err(|error| DoorError::Port(address, error))
    }
}

impl Entrance {
    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Puts into an invitation what the core does not know.
    pub(super) fn complete(&self, invited: &mut Invited) {
        let (token, port) = (InvitationToken(invited.token), self.address.port());
        let addresses = reachable(self.address.ip());
        let places = addresses.into_iter().map(Place::Address);
        let invitation = Invitation::new(self.id, token, port, places);
        invited.addresses = (invitation.places().iter())
            .map(|place| match place {
                Place::Address(ip) => SocketAddr::new(*ip, port).to_string().into(),
                Place::Name(name) => format!("{name}:{port}").into(),
            })
            .collect();
        invited.code = invitation.code().into();
    }

    /// When [`Entrance::look_around`] is due.
    pub(super) fn next_look(&self) -> Option<Monotonic> {
        self.announcing.as_ref().map(|announcing| announcing.look_at)
    }

    /// If the machine has other addresses than before, it is announced anew: under another name, since
    /// it may be in another network.
    pub(super) fn look_around(&mut self, now: Monotonic) {
        let Some(announcing) = self.announcing.as_mut().filter(|it| it.look_at <= now) else {
            return;
        };
        announcing.look_at = now.plus(ADDRESSES_LOOK_EVERY);
        if reachable(self.address.ip()) != announcing.addresses {
            announcing.stop();
            *announcing = Announcing::start(announcing.name, &self.id, self.address, now);
        }
    }
}

impl Announcing {
    fn start(name: MachineName, id: &MachineId, address: SocketAddr, now: Monotonic) -> Self {
        let advert = Advert::start(id, &name, address)
            .inspect_err(|error| log::warn(format_args!("this hub is not announced: {error}")));
        Self {
            name,
            advert: advert.ok(),
            addresses: reachable(address.ip()),
            look_at: now.plus(ADDRESSES_LOOK_EVERY),
        }
    }

    /// To say goodbye takes a moment, for which nobody waits.
    fn stop(&mut self) {
        if let Some(advert) = self.advert.take() {
            let thread = thread::Builder::new().name("goodbye".to_owned());
            if let Err(error) = thread.spawn(move || drop(advert)) {
                log::warn(format_args!("it was not said that this hub was announced: {error}"));
            }
        }
    }
}
