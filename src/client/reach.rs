//! The addresses of a broker, and what it means when none of them can be connected to.
//!
//! A broker listens on `broker.sock` in its data directory and on a port of the loopback. The socket
//! is tried first: it is faster, and works where only the network is closed. The result of `connect`
//! says something about the broker only if the attempt reached it: a sandbox may refuse `connect`
//! itself, and in another network namespace the same port is nobody's, or somebody else's.

use std::io;
use std::time::Duration;

use super::connection::Connection;
use super::error::ClientError;
use super::locate::Broker;
use crate::agents;
use crate::platform::{self, Address, Stream, poll_readable};

impl Broker {
    /// Its addresses, in the order in which to try them.
    pub(crate) fn addresses(&self) -> [Address; 2] {
        [Address::Unix(self.socket.clone()), Address::Tcp(self.address)]
    }
}

/// A connection to a broker, with its socket.
#[derive(Debug)]
pub(super) struct BrokerSocket {
    pub(super) stream: Stream,
    pub(super) connection: Connection,
    address: Address,
    /// Addresses that were tried before this one.
    tried: Tried,
}

impl BrokerSocket {
    /// Connects to the first address of `broker` for which `connect` gives a stream, which may still
    /// be about to be connected.
    pub(super) fn connect(
        broker: &Broker,
        connect: impl Fn(&Address) -> io::Result<Stream>,
    ) -> Result<Self, ClientError> {
        let mut tried = Tried::default();
        for address in broker.addresses() {
            match connect(&address) {
                Ok(stream) => {
                    let connection = Connection::new(broker);
                    return Ok(Self { stream, connection, address, tried });
                }
                Err(error) => tried.0.push((address, error)),
            }
        }
        Err(tried.into_error(broker))
    }

    /// Whether the next request can use it. One that was closed while idle is noticed here, before a
    /// request is lost on it.
    pub(super) fn is_ready(&self) -> bool {
        let has_input = poll_readable(&self.stream, Some(Duration::ZERO));
        self.connection.is_ready() && matches!(has_input, Ok(false))
    }

    /// The error for an attempt to connect that has failed after all.
    pub(super) fn unconnected(&mut self, error: io::Error) -> ClientError {
        let mut tried = std::mem::take(&mut self.tried);
        tried.0.push((self.address.clone(), error));
        tried.into_error(&self.connection.broker)
    }

    /// The error for an established connection that broke.
    pub(super) fn broken(&self, error: &io::Error) -> ClientError {
        let address = &self.address;
        let reason = match error.kind() {
            io::ErrorKind::UnexpectedEof => format!("{address} closed the connection"),
            _ => format!("{address}: {error}"),
        };
        ClientError::Unreachable { reason: reason.into() }
    }
}

/// The addresses that were tried in vain.
#[derive(Debug, Default)]
struct Tried(Vec<(Address, io::Error)>);

impl Tried {
    /// The error for whoever wanted to ask `broker`.
    fn into_error(self, broker: &Broker) -> ClientError {
        let reason = self.reason();
        let is_barred = self.0.iter().any(|(_, error)| !is_of_broker(error));
        if is_barred || is_elsewhere(broker.pid) {
            return ClientError::Barred { by: sandbox(), reason };
        }
        ClientError::Unreachable { reason }
    }

    fn reason(&self) -> Box<str> {
        // A broker may have no socket; a missing one is not worth mentioning.
        let told = |(address, error): &&(Address, io::Error)| {
            matches!(address, Address::Tcp(_)) || !is_absence(error)
        };
        let told = self.0.iter().filter(told);
        let reasons: Vec<String> =
            told.map(|(address, error)| format!("{address}: {error}")).collect();
        reasons.join("; ").into()
    }
}

/// The error for a broker that holds the lock and does not say where it serves.
pub(super) fn not_ready(pid: Option<u32>) -> ClientError {
    let process = pid.map_or_else(String::new, |pid| format!(" of process {pid}"));
    let reason = format!("the broker{process} is starting, stopping or stuck").into();
    if is_elsewhere(pid) {
        return ClientError::Barred { by: sandbox(), reason };
    }
    ClientError::Unreachable { reason }
}

/// Whether the broker runs and may be in another network namespace, where the same port is another
/// one.
fn is_elsewhere(pid: Option<u32>) -> bool {
    // A broker that has just ended refuses for that reason.
    pid.is_none_or(|pid| !platform::shares_network(pid) && platform::is_alive(pid))
}

/// There is no such socket, or its path is too long for any.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput)
}

/// Whether an attempt to connect reached the broker, or the place where it should be: nobody listens,
/// or nobody answers. Everything else (EPERM, EACCES, ENETUNREACH, ...) comes from the environment of
/// the caller.
fn is_of_broker(error: &io::Error) -> bool {
    is_absence(error)
        || matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::TimedOut
                | io::ErrorKind::WouldBlock
                | io::ErrorKind::Interrupted
        )
}

/// What to call the sandbox this process is in.
fn sandbox() -> Box<str> {
    let is_set = |variable: &&str| std::env::var_os(variable).is_some();
    match agents::ALL.iter().find(|agent| agent.sandbox_variables.iter().any(is_set)) {
        Some(agent) => format!("the sandbox of {}", agent.title).into(),
        None => "a sandbox or container".into(),
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    fn broker(pid: Option<u32>) -> Broker {
        Broker {
            socket: "/d/broker.sock".into(),
            address: "127.0.0.1:7899".parse().unwrap(),
            token: "t".into(),
            mesh: None,
            pid,
        }
    }

    fn error(pid: Option<u32>, socket: Errno, port: Errno) -> ClientError {
        let broker = broker(pid);
        let mut tried = Tried::default();
        for (address, errno) in broker.addresses().into_iter().zip([socket, port]) {
            tried.0.push((address, errno.into()));
        }
        tried.into_error(&broker)
    }

    #[test]
    fn only_what_the_broker_did_is_said_of_it() {
        let here = Some(std::process::id());
        for socket in [Errno::NOENT, Errno::CONNREFUSED, Errno::AGAIN] {
            for port in [Errno::CONNREFUSED, Errno::TIMEDOUT] {
                let error = error(here, socket, port);
                assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
            }
        }
        for of_caller in [
            Errno::PERM,
            Errno::ACCESS,
            Errno::NETUNREACH,
            Errno::HOSTUNREACH,
            Errno::NETDOWN,
            Errno::ADDRNOTAVAIL,
            Errno::AFNOSUPPORT,
            Errno::NOSYS,
            Errno::MFILE,
        ] {
            for error in [
                error(here, of_caller, of_caller),
                error(here, Errno::NOENT, of_caller),
                error(here, Errno::CONNREFUSED, of_caller),
                error(here, of_caller, Errno::CONNREFUSED),
            ] {
                assert!(matches!(error, ClientError::Barred { .. }), "{error:?}");
                let text = error.to_string();
                assert!(!text.contains("slm-mesh clean"), "{text}");
                assert!(text.contains("sandbox") && text.contains("mesh_send"), "{text}");
            }
        }
        // In a network that is perhaps another, a port that refuses says nothing.
        let unseen = error(None, Errno::NOENT, Errno::CONNREFUSED);
        assert!(matches!(unseen, ClientError::Barred { .. }), "{unseen:?}");
        let ended = error(Some(u32::MAX), Errno::NOENT, Errno::CONNREFUSED);
        assert!(matches!(ended, ClientError::Unreachable { .. }), "{ended:?}");
    }

    #[test]
    fn a_broker_that_is_not_ready_is_named_if_it_can_be_seen() {
        let own = std::process::id();
        let near = not_ready(Some(own)).to_string();
        assert!(near.contains(&format!("process {own}")) && near.contains("clean"), "{near}");
        let far = not_ready(None);
        assert!(matches!(far, ClientError::Barred { .. }), "{far:?}");
        assert!(!far.to_string().contains("clean"), "{far}");
    }

    #[test]
    fn a_missing_socket_is_not_worth_a_word() {
        let here = Some(std::process::id());
        let text = error(here, Errno::NOENT, Errno::CONNREFUSED).to_string();
        assert!(!text.contains("broker.sock") && text.contains("127.0.0.1:7899"), "{text}");
        let text = error(here, Errno::CONNREFUSED, Errno::CONNREFUSED).to_string();
        assert!(text.contains("/d/broker.sock: ") && text.contains("127.0.0.1:7899"), "{text}");
    }
}
