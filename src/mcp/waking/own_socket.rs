//! Our own socket beside that of a session of Claude Code, whose path is the sender of our texts. On it
//! the session reports what has become of them, and its agent answers.
//!
//! The session makes a connection for each line. Only the agent that has started this process is listened
//! to; the number of connections and the duration of each are limited.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};

use super::inbox_frames::plain;
use super::inbox_socket::is_socket;
use crate::limits::{
    FRAME_BYTES_MAX, INBOX_SOCKET_TIME_MAX, OWN_SOCKET_CONNECTIONS_MAX, READ_BYTES_MAX,
};
use crate::log;
use crate::platform::peer_credentials;
use crate::wire::ndjson::{LineDecoder, LineTooLong};

/// Connections accepted at once, before everything else has its turn.
const ACCEPTS_MAX: usize = 64;

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    lines: LineDecoder,
    /// How many bytes it may still send.
    left: usize,
    until: Instant,
}

/// See the module.
#[derive(Debug)]
pub(super) struct OwnSocket {
    path: PathBuf,
    registry: Registry,
    poll_token: Token,
    listener: Option<UnixListener>,
    /// The processes that may connect.
    agent: Vec<u32>,
    connections: Vec<Connection>,
    /// Since when more connections may wait to be accepted.
    behind_since: Option<Instant>,
}

impl OwnSocket {
    /// A socket that will listen in the directory of `inbox`, that of the session.
    pub(super) fn beside(inbox: &Path, registry: Registry, poll_token: Token) -> Self {
        let path = inbox.with_file_name(format!("{}.sock", std::process::id()));
        let (agent, connections) = (Vec::new(), Vec::new());
        Self { path, registry, poll_token, listener: None, agent, connections, behind_since: None }
    }

    /// Listens to these processes, if it does not already; returns the path.
    ///
    /// # Errors
    /// The socket cannot be made there.
    pub(super) fn listen(&mut self, agent: Vec<u32>) -> io::Result<&str> {
        self.agent = agent;
        let path = self.path.to_str().and_then(plain).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "its path cannot stand in an address")
        })?;
        if self.listener.is_none() || !self.path.exists() {
            self.listener = None;
            let mut listener = match UnixListener::bind(path) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_dead(&self.path) => {
                    // It was left by a killed process that had the same id.
                    std::fs::remove_file(path)?;
                    UnixListener::bind(path)?
                }
                result => result?,
            };
            self.registry.register(&mut listener, self.poll_token, Interest::READABLE)?;
            self.listener = Some(listener);
            std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
        }
        Ok(path)
    }

    /// Goes on as far as possible without waiting. Passes each line to `handle`, or that it is too long,
    /// which ends the connection.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        mut handle: impl FnMut(Result<&[u8], LineTooLong>),
    ) {
        self.connections.retain_mut(|connection| connection.goes_on(now, &mut handle));
        self.behind_since = None;
        for _ in 0..ACCEPTS_MAX {
            // The others are accepted when one of these has ended.
            if self.connections.len() >= OWN_SOCKET_CONNECTIONS_MAX {
                return;
            }
            match self.accept() {
                Ok(Some(stream)) => {
                    let mut connection = Connection {
                        stream,
                        lines: LineDecoder::new(FRAME_BYTES_MAX),
                        left: FRAME_BYTES_MAX,
                        until: now + INBOX_SOCKET_TIME_MAX,
                    };
                    // Mostly everything has arrived already.
                    if connection.goes_on(now, &mut handle) {
                        self.connections.push(connection);
                    }
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return log::warn(format_args!("the agent's session is not heard: {error}"));
                }
            }
        }
        self.behind_since = Some(now);
    }

    /// When [`OwnSocket::advance`] has to be called at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let connections = self.connections.iter().map(|connection| connection.until);
        connections.chain(self.behind_since).min()
    }

    /// Accepts a connection; none if it is not the agent's.
    fn accept(&self) -> io::Result<Option<UnixStream>> {
        let Some(listener) = &self.listener else { return Err(io::ErrorKind::WouldBlock.into()) };
        let (mut stream, _) = listener.accept()?;
        let other = peer_credentials(&stream)?;
        if other.is_foreign() || other.pid.is_some_and(|pid| !self.agent.contains(&pid)) {
            log::debug(format_args!("somebody who is not the agent's session has connected"));
            return Ok(None);
        }
        self.registry.register(&mut stream, self.poll_token, Interest::READABLE)?;
        Ok(Some(stream))
    }
}

impl Connection {
    /// Reads what is there; returns whether more may come.
    fn goes_on(
        &mut self,
        now: Instant,
        handle: &mut impl FnMut(Result<&[u8], LineTooLong>),
    ) -> bool {
        match self.read(handle) {
            Ok(()) => false,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && now < self.until => true,
            Err(error) => {
                let late = error.kind() == io::ErrorKind::WouldBlock;
                let why = if late { io::ErrorKind::TimedOut.into() } else { error };
                log::warn(format_args!("what the agent's session writes is not read: {why}"));
                false
            }
        }
    }

    /// Reads up to its end.
    fn read(&mut self, handle: &mut impl FnMut(Result<&[u8], LineTooLong>)) -> io::Result<()> {
        loop {
            while let Some(line) = self.lines.next_line() {
                handle(Ok(line.map_err(io::Error::other)?));
            }
            match self.lines.read_from(&mut self.stream, READ_BYTES_MAX) {
                Ok(0) => {
                    if let Some(line) = self.lines.finish() {
                        handle(Ok(line));
                    }
                    return Ok(());
                }
                Ok(read) => {
                    // This comes before the limit of a line, which is the same.
                    let Some(left) = self.left.checked_sub(read) else {
                        handle(Err(LineTooLong));
                        return Err(io::Error::other(LineTooLong));
                    };
                    self.left = left;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        if self.listener.take().is_some() {
            // It may be gone already.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether nobody listens any more at this socket.
fn is_dead(path: &Path) -> bool {
    let refuses = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket(path) && UnixStream::connect(path).is_err_and(refuses)
}
