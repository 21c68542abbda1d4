//! What the variables say about other machines: where this one's mesh is, and who may join it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::env::Env;
use super::error::{ConfigError, invalid};
use super::{HOST, ROLE, WS_PORT_DEFAULT};
use crate::limits::HOST_NAME_CHARS_MAX;

/// What the variables ask the data directory to be (`SLM_MESH_HOST`, `SLM_MESH_ROLE`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Nothing: `invite` or `join` may have given it a role, else it is a broker.
    Nothing,
    /// A broker, whether other machines may reach it or not.
    Broker,
    /// A broker that other machines may reach.
    Hub {
        /// The address to listen on; an unspecified one is all of the machine's.
        listen: IpAddr,
    },
    /// A client of the mesh of another machine.
    Client {
        /// Where its hub is; `None`: the only one that is to be seen.
        hub: Option<HubAddress>,
    },
}

impl Asked {
    /// The variable by which it is asked for.
    #[must_use]
    pub fn variable(&self) -> &'static str {
        match self {
            Self::Nothing | Self::Broker | Self::Client { hub: None } => ROLE,
            Self::Hub { .. } | Self::Client { hub: Some(_) } => HOST,
        }
    }
}

/// Where a hub may be reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HubAddress {
    /// Its host.
    pub host: HubHost,
    /// Its port, not 0.
    pub port: u16,
}

/// The host of a hub.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum HubHost {
    /// By its address.
    Address(IpAddr),
    /// By a name, in lower case: letters, digits, `.`, `-` and `_`, at most
    /// [`HOST_NAME_CHARS_MAX`] characters.
    Name(Box<str>),
}

impl HubAddress {
    /// Parses `host`, `host:port` and `[IPv6]:port`; without a port it is
    /// [`WS_PORT_DEFAULT`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let with_port = |host: HubHost, port: &str| {
            let port = match port.strip_prefix(':') {
                // `parse` would take a plus sign too.
                Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                    digits.parse().ok()?
                }
                None if port.is_empty() => WS_PORT_DEFAULT,
                _ => return None,
            };
            (port != 0).then_some(Self { host, port })
        };
        if let Ok(address) = text.parse::<IpAddr>() {
            return with_port(HubHost::Address(address), "");
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (address, port) = rest.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            return with_port(HubHost::Address(address.into()), port);
        }
        let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
        if let Ok(address) = host.parse::<IpAddr>() {
            return with_port(HubHost::Address(address), port);
        }
        with_port(HubHost::Name(name_of(host)?), port)
    }
}

impl fmt::Display for HubAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            HubHost::Address(address) => SocketAddr::new(*address, self.port).fmt(f),
            HubHost::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// A name of a host as resolvers take it (RFC 1123 section 2.1, and `_` as it is in use).
fn name_of(text: &str) -> Option<Box<str>> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    // What looks like an address and is none is no name: `10.0.0.256`.
    let is_name = text.bytes().all(is_part)
        && text.split('.').all(|label| !label.is_empty() && label.len() <= 63)
        && text.bytes().any(|b| !b.is_ascii_digit() && b != b'.');
    (is_name && text.len() <= HOST_NAME_CHARS_MAX).then(|| text.to_ascii_lowercase().into())
}

/// What `SLM_MESH_ROLE` says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RoleWord {
    Auto,
    Broker,
    Client,
}

/// The loopback address for local clients, and what is asked for.
pub(super) fn host_and_role(env: &Env<'_>) -> Result<(IpAddr, Asked), ConfigError> {
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let role = env.word(
        ROLE,
        RoleWord::Auto,
        &[("auto", RoleWord::Auto), ("broker", RoleWord::Broker), ("client", RoleWord::Client)],
    )?;
    let Some(value) = env.get(HOST) else {
        return Ok(match role {
            RoleWord::Auto => (local, Asked::Nothing),
            RoleWord::Broker => (local, Asked::Broker),
            RoleWord::Client => (local, Asked::Client { hub: None }),
        });
    };
    let text = value.to_str().unwrap_or_default();
    let loopback = match text.parse::<IpAddr>() {
        Ok(address) => Some(address).filter(IpAddr::is_loopback),
        Err(_) => text.eq_ignore_ascii_case("localhost").then_some(local),
    };
    if let Some(loopback) = loopback.filter(|_| role != RoleWord::Client) {
        let asked = if role == RoleWord::Auto { Asked::Nothing } else { Asked::Broker };
        return Ok((loopback, asked));
    }
    let listen = text.parse::<IpAddr>().ok().filter(|address| {
        role == RoleWord::Broker || role == RoleWord::Auto && address.is_unspecified()
    });
    if let Some(listen) = listen {
        return Ok((local, Asked::Hub { listen }));
    }
    let hub = HubAddress::parse(text).filter(|hub| match &hub.host {
        _ if role == RoleWord::Broker => false,
        HubHost::Address(address) => {
            // A hub at one's own end of a tunnel is said to be one.
            !address.is_unspecified() && (!address.is_loopback() || role == RoleWord::Client)
        }
        HubHost::Name(name) => &**name != "localhost" || role == RoleWord::Client,
    });
    if let Some(hub) = hub {
        return Ok((local, Asked::Client { hub: Some(hub) }));
    }
    let allowed = match role {
        RoleWord::Broker => {
            "with SLM_MESH_ROLE=broker: a loopback address, 0.0.0.0 or ::, or one of this machine's \
             own addresses, to listen on that alone"
        }
        RoleWord::Client => {
            "with SLM_MESH_ROLE=client: the name or address of a hub, with :port unless that is 7900"
        }
        RoleWord::Auto => {
            "a loopback address (this machine alone), 0.0.0.0 or :: (the hub of a mesh of several \
             machines), or the name or address of a hub, with :port unless that is 7900; with a \
             loopback address and a port a hub is meant only with SLM_MESH_ROLE=client"
        }
    };
    Err(invalid(HOST, &value, allowed.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn read(host: &str, role: &str) -> Result<(IpAddr, Asked), String> {
        let lookup = |name: &str| {
            let value = if name == HOST { host } else { role };
            (!value.is_empty()).then(|| OsString::from(value))
        };
        host_and_role(&Env { lookup: &lookup }).map_err(|error| error.to_string())
    }

    fn asked(host: &str, role: &str) -> Asked {
        let (local, asked) = read(host, role).unwrap_or_else(|error| panic!("{host} {error}"));
        assert!(local.is_loopback());
        asked
    }

    fn client(hub: &str) -> Asked {
        Asked::Client { hub: Some(HubAddress::parse(hub).unwrap()) }
    }

    fn hub(listen: &str) -> Asked {
        Asked::Hub { listen: listen.parse().unwrap() }
    }

    #[test]
    fn the_host_says_whose_mesh_it_is() {
        for (host, role, expected) in [
            ("", "", Asked::Nothing),
            ("127.0.0.1", "auto", Asked::Nothing),
            ("::1", "", Asked::Nothing),
            ("LocalHost", "", Asked::Nothing),
            ("", "broker", Asked::Broker),
            ("127.1.2.3", "broker", Asked::Broker),
            ("0.0.0.0", "", hub("0.0.0.0")),
            ("::", "", hub("::")),
            ("::", "broker", hub("::")),
            ("10.0.0.1", "broker", hub("10.0.0.1")),
            ("fd00::1", "broker", hub("fd00::1")),
            ("", "client", Asked::Client { hub: None }),
            ("10.0.0.1", "", client("10.0.0.1:7900")),
            ("10.0.0.1:80", "client", client("10.0.0.1:80")),
            ("fd00::1", "", client("[fd00::1]:7900")),
            ("[fd00::1]:7901", "", client("[fd00::1]:7901")),
            ("Box.local", "", client("box.local:7900")),
            ("box.example.:7901", "", client("box.example:7901")),
            // The end of a tunnel.
            ("localhost", "client", client("localhost:7900")),
            ("127.0.0.1:7901", "client", client("127.0.0.1:7901")),
        ] {
            assert_eq!(asked(host, role), expected, "{host} {role}");
        }
        assert_eq!(read("127.1.2.3", "").unwrap().0.to_string(), "127.1.2.3");
        assert_eq!(client("x").variable(), HOST);
        assert_eq!(Asked::Client { hub: None }.variable(), ROLE);
    }

    #[test]
    fn what_is_no_host_is_refused_with_what_there_is() {
        for (host, role, said) in [
            ("127.0.0.1:80", "", "SLM_MESH_ROLE=client"),
            ("localhost:80", "", "SLM_MESH_ROLE=client"),
            ("0.0.0.0:7900", "", "a loopback address"),
            ("[::]", "", "a loopback address"),
            ("a b", "", "a loopback address"),
            ("http://x", "", "a loopback address"),
            ("[::1", "", "a loopback address"),
            ("x:0", "", "a loopback address"),
            ("x:+1", "", "a loopback address"),
            ("x:", "", "a loopback address"),
            ("x:65536", "", "a loopback address"),
            ("10.0.0.256", "", "a loopback address"),
            ("a..b", "", "a loopback address"),
            ("hub.example", "broker", "own addresses"),
            ("10.0.0.1:7900", "broker", "own addresses"),
            ("0.0.0.0", "client", "name or address of a hub"),
            ("::", "client", "name or address of a hub"),
        ] {
            let error = read(host, role).unwrap_err();
            assert!(
                error.contains(HOST) && error.contains(host) && error.contains(said),
                "{error}"
            );
        }
        assert!(read(&format!("{}x", "x.".repeat(126)), "").is_ok());
        assert!(read(&format!("{}xx", "x.".repeat(126)), "").is_err());
        assert!(read(&"x".repeat(64), "").is_err());
        assert!(read("", "server").unwrap_err().contains("auto, broker, client"));
    }

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in ["10.0.0.1:80", "[fd00::1]:7900", "box.local:7901"] {
            assert_eq!(HubAddress::parse(text).unwrap().to_string(), text);
        }
    }
}
