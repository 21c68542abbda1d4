//! What serves a data directory: a broker of this machine alone, a hub, or a relay to one. Decided
//! from the variables and from what `invite` or `join` have stored.
//!
//! Whoever starts the process must not decide whose mesh it is, and that is whichever agent needs
//! one first: a variable that asks for another role than the one there is is refused, and nothing is
//! chosen silently.

pub mod stored;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};

use self::stored::{KnownHub, Stored, StoredError};
use crate::config::{
    Asked, Config, DATA_DIR, DISCOVERY, HOST, HubAddress, HubHost, ROLE, SHARED_SECRET, Secret,
};
use crate::model::{InvitationToken, MachineId};

/// What serves the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// A broker of this machine alone.
    Broker,
    /// A broker that other machines may reach.
    Hub {
        /// Where it listens for them. Unspecified: on all addresses of the machine, with `::` those
        /// of IPv4 too, as far as it has any.
        listen: IpAddr,
    },
    /// What passes everything on to the hub of another machine.
    Relay {
        /// The hub's id; `None`: whoever proves to have the secret, the first time.
        hub: Option<MachineId>,
        /// Where it may be, the best first; none: where it is seen by mDNS.
        addresses: Vec<HubAddress>,
        /// How it is let in there.
        bearer: Bearer,
    },
}

/// How a relay is let in by its hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bearer {
    /// The hub knows the machine's key.
    Known,
    /// By an invitation.
    Invitation(InvitationToken),
    /// By proof of the shared secret.
    Secret(Secret),
}

impl Role {
    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Broker => Kind::Broker,
            Self::Hub { .. } => Kind::Hub,
            Self::Relay { .. } => Kind::Client,
        }
    }
}

/// The kinds of roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A broker of this machine alone.
    Broker,
    /// A broker that other machines may reach.
    Hub,
    /// A machine that has joined another's mesh.
    Client,
}

impl Kind {
    /// Its word, as in answers and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Hub => "hub",
            Self::Client => "client",
        }
    }

    /// The kind with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Broker, Self::Hub, Self::Client].into_iter().find(|kind| kind.as_str() == word)
    }

    /// What it is, in words.
    fn described(self) -> &'static str {
        match self {
            Self::Broker => "the broker of this machine alone",
            Self::Hub => "a hub",
            Self::Client => "a client of another machine's hub",
        }
    }
}

/// Where a role came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nothing says anything else.
    Default,
    /// `invite` or `join` have stored it in the data directory.
    Stored,
    /// This variable.
    Variable(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Stored => f.write_str("stored in the data directory"),
            Self::Variable(variable) => f.write_str(variable),
        }
    }
}

/// A role, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// What serves the data directory.
    pub role: Role,
    /// Where that came from.
    pub source: Source,
}

/// Why there is no role. The text says what to do about it.
#[derive(Debug)]
pub enum RoleError {
    /// The file with what is stored cannot be used.
    Stored(StoredError),
    /// A variable asks for another role than there is (`other_role`).
    Other(OtherRole),
    /// A machine was told to be the client of itself.
    OwnAddress(IpAddr),
    /// Nothing lets this machine in at the hub.
    NoWayIn,
    /// No hub is named, and none is looked for.
    NoHub,
    /// This build serves one machine only.
    NoNetwork,
}

impl RoleError {
    /// A stable word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Other(_) => OtherRole::WORD,
            Self::NoNetwork => "no_network",
            Self::Stored(_) => "file_error",
            Self::OwnAddress(_) | Self::NoWayIn | Self::NoHub => "invalid_setting",
        }
    }
}

impl fmt::Display for RoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored(error) => error.fmt(f),
            Self::Other(other) => other.fmt(f),
            Self::OwnAddress(address) => write!(
                f,
                "{HOST} is {address}, an address of this machine itself: if it is to be the hub and \
                 listen on that address alone, set {ROLE}=broker too; otherwise name the hub"
            ),
            Self::NoWayIn => write!(
                f,
                "nothing lets this machine into the mesh of a hub: run `slm-mesh invite` there and \
                 `slm-mesh join` here, without {HOST} and {ROLE}; or set {SHARED_SECRET} to the \
                 same key on both"
            ),
            Self::NoHub => write!(
                f,
                "{ROLE} is client, no hub is named, and {DISCOVERY} says not to look for one: set \
                 {HOST} to the hub's name or address"
            ),
            Self::NoNetwork => f.write_str(NO_NETWORK),
        }
    }
}

/// What a build without the feature `lan` says of everything between machines.
pub const NO_NETWORK: &str = "this build has no network: it serves one machine only (it was built \
                              without the feature `lan`)";

impl std::error::Error for RoleError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Stored(error) => Some(error),
            _ => None,
        }
    }
}

/// A variable asks for another role than there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherRole {
    /// The variable.
    pub variable: &'static str,
    /// What it asks for.
    pub asked: Kind,
    /// What there is.
    pub is: Kind,
    /// Whether that is stored; else a process serves so that was started with other variables.
    pub stored: bool,
}

impl OtherRole {
    /// Its stable word.
    pub const WORD: &str = "other_role";
}

impl fmt::Display for OtherRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variable, asked, is, stored } = *self;
        write!(f, "{variable} asks for {}, and this data directory is ", asked.described())?;
        match (is, stored) {
            (Kind::Client, true) => write!(
                f,
                "{}, which it has joined: unset {variable}, or run `slm-mesh leave` first",
                is.described()
            )?,
            (_, true) => write!(
                f,
                "{}, since machines were invited to it: unset {variable}, or run `slm-mesh leave` \
                 first",
                is.described()
            )?,
            (_, false) => write!(
                f,
                "served by {}, which was started with other settings: set the same for all that use \
                 it, and run `slm-mesh stop`",
                match is {
                    Kind::Client => "a relay to another machine's hub",
                    other => other.described(),
                }
            )?,
        }
        write!(f, "; or set {DATA_DIR} to another directory, which is another mesh")
    }
}

/// The kind that is asked for; `None` if any will do.
fn asked_kind(asked: &Asked) -> Option<Kind> {
    match asked {
        Asked::Nothing => None,
        Asked::Broker => Some(Kind::Broker),
        Asked::Hub { .. } => Some(Kind::Hub),
        Asked::Client { .. } => Some(Kind::Client),
    }
}

/// Whether a client with these variables may use a process that serves as `is`.
///
/// # Errors
///
/// They ask for another role.
pub fn check_serving(asked: &Asked, is: Kind) -> Result<(), OtherRole> {
    check(asked, is, false)
}

fn check(asked: &Asked, is: Kind, stored: bool) -> Result<(), OtherRole> {
    match asked_kind(asked) {
        None => Ok(()),
        // A hub is a broker.
        Some(Kind::Broker) if is == Kind::Hub => Ok(()),
        Some(kind) if kind == is => Ok(()),
        Some(kind) => Err(OtherRole { variable: asked.variable(), asked: kind, is, stored }),
    }
}

/// The role of the data directory of `config`, by its variables and by what is stored there.
///
/// # Errors
///
/// See [`RoleError`].
pub fn of(config: &Config) -> Result<Resolved, RoleError> {
    let stored = stored::read(&config.paths.machines()).map_err(RoleError::Stored)?;
    resolve(config, stored.as_ref(), is_own)
}

/// Whether `address` is one of this machine's. Sends nothing.
fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// As [`of`], with what is stored. `is_own` says whether an address is one of this machine's.
///
/// # Errors
///
/// See [`RoleError`].
pub fn resolve(
    config: &Config,
    stored: Option<&Stored>,
    is_own: impl Fn(IpAddr) -> bool,
) -> Result<Resolved, RoleError> {
    let asked = &config.asked;
    let stored_kind = match stored {
        Some(Stored::Hub) => Some(Kind::Hub),
        Some(Stored::Client { .. }) => Some(Kind::Client),
        // It goes by the variables.
        Some(Stored::Pinned(_)) | None => None,
    };
    // What asks for a hub makes one of a broker that is stored as none, and of a hub.
    if let Some(is) = stored_kind {
        check(asked, is, true).map_err(RoleError::Other)?;
    }
    let by_variable = Source::Variable(asked.variable());
    let (role, source) = match (asked, stored) {
        (Asked::Nothing, None | Some(Stored::Pinned(_))) => (Role::Broker, Source::Default),
        (Asked::Broker, None | Some(Stored::Pinned(_))) => (Role::Broker, by_variable),
        (Asked::Hub { listen }, _) => (Role::Hub { listen: *listen }, by_variable),
        (_, Some(Stored::Hub)) => {
            (Role::Hub { listen: Ipv6Addr::UNSPECIFIED.into() }, Source::Stored)
        }
        (Asked::Client { hub: Some(address) }, _) => {
            let own = match address.host {
                // The end of a tunnel is asked for as such.
                HubHost::Address(ip) if !ip.is_loopback() && is_own(ip) => Some(ip),
                _ => None,
            };
            if let Some(ip) = own {
                return Err(RoleError::OwnAddress(ip));
            }
            // Where else the hub was is of no use: this is where it is to be.
            let (hub, _, bearer) = way_in(config, stored)?;
            (Role::Relay { hub, addresses: vec![address.clone()], bearer }, by_variable)
        }
        (_, Some(Stored::Client { .. })) => {
            let (hub, addresses, bearer) = way_in(config, stored)?;
            (Role::Relay { hub, addresses, bearer }, Source::Stored)
        }
        (Asked::Client { hub: None }, _) => {
            let (hub, addresses, bearer) = way_in(config, stored)?;
            if addresses.is_empty() && !config.discovery {
                return Err(RoleError::NoHub);
            }
            (Role::Relay { hub, addresses, bearer }, by_variable)
        }
    };
    if cfg!(not(feature = "lan")) && role != Role::Broker {
        return Err(RoleError::NoNetwork);
    }
    Ok(Resolved { role, source })
}

/// The hub that is known, where it was, and how this machine is let in there.
fn way_in(
    config: &Config,
    stored: Option<&Stored>,
) -> Result<(Option<MachineId>, Vec<HubAddress>, Bearer), RoleError> {
    let secret = || config.shared_secret.clone().map(Bearer::Secret);
    let (KnownHub { id, addresses }, bearer) = match stored {
        Some(Stored::Client { hub, token }) => {
            (hub.clone(), token.map_or(Bearer::Known, Bearer::Invitation))
        }
        Some(Stored::Pinned(hub)) => (hub.clone(), secret().unwrap_or(Bearer::Known)),
        Some(Stored::Hub) | None => {
            return Ok((None, Vec::new(), secret().ok_or(RoleError::NoWayIn)?));
        }
    };
    Ok((Some(id), addresses, bearer))
}

#[cfg(test)]
mod tests;
