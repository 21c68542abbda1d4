//! The inbox socket of a Claude Code session: what is written there is put before its model, also
//! when it is idle.
//!
//! The client gives its MCP servers the socket's path and a token in two variables. One line of JSON
//! shows the token, one more for each text. This is not documented by the vendor (seen with Claude
//! Code 2.1), and no reply comes, so whatever goes wrong ends the use of it.
//!
//! A text counts as told when the socket has taken it whole, and for a moment after that has not
//! come back as thrown away: a Unix socket that is closed with something unread in it says so.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use serde_json::json;

use super::{Adapter, Notice, Outcome};
use crate::agent::above;
use crate::agent::variables::{self, Said};
use crate::limits::{INBOX_SOCKET_DOUBT, INBOX_SOCKET_TIME_MAX, READ_BYTES_MAX};
use crate::platform::peer_credentials;
use crate::wire::buffer::Buffer;

/// The agent that has such sockets.
const AGENT: &str = "claude-code";

/// Most bytes of the two lines: at most four bytes a character of the text, and a token.
const LINES_BYTES_MAX: usize = 128 * 1024;
/// How often a socket whose queue of connections is full is tried again.
const CONNECT_EVERY: Duration = Duration::from_millis(50);
/// Most that is read at once from a socket that has nothing to say, in [`READ_BYTES_MAX`].
const READS_MAX: usize = 16;

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    out: Buffer,
    /// Notices that were taken, and when that is certain.
    in_doubt: VecDeque<(u64, Instant)>,
    /// One was told by it.
    is_proven: bool,
}

/// What is being written.
#[derive(Debug)]
struct Current {
    id: u64,
    line: Vec<u8>,
    /// It is in the connection's buffer.
    is_queued: bool,
    until: Instant,
    connect_at: Instant,
}

/// See the module.
#[derive(Debug)]
pub(in crate::mcp) struct InboxSocket {
    path: PathBuf,
    token: Box<str>,
    registry: Registry,
    poll_token: Token,
    connection: Option<Connection>,
    current: Option<Current>,
    outcomes: VecDeque<Outcome>,
}

impl InboxSocket {
    /// The socket that the variables name; none if they name none. Nothing is connected yet.
    pub(in crate::mcp) fn from_environment(registry: &Registry, poll_token: Token) -> Option<Self> {
        let path = variables::said(AGENT, Said::InboxSocket)?;
        let token = variables::said(AGENT, Said::InboxToken)?.into_string().ok()?;
        let registry = registry.try_clone().ok()?;
        Some(Self::new(path.into(), token.into(), registry, poll_token))
    }

    fn new(path: PathBuf, token: Box<str>, registry: Registry, poll_token: Token) -> Self {
        Self {
            path,
            token,
            registry,
            poll_token,
            connection: None,
            current: None,
            outcomes: VecDeque::new(),
        }
    }

    /// Looks whether there is a socket at all, before anyone is promised that it wakes.
    pub(in crate::mcp) fn look(&mut self) {
        if self.connection.is_none() && !is_socket(&self.path) {
            self.fail(&format!("there is no socket at {}", self.path.display()));
        }
    }

    fn connect(&self) -> io::Result<Connection> {
        let mut stream = UnixStream::connect(&self.path)?;
        // The token is for this user's session and nobody else's. A session within another has the
        // variables of that one if it has no socket of its own.
        if let Ok(listener) = peer_credentials(&stream) {
            if listener.is_foreign() {
                return Err(io::Error::other("another user listens there"));
            }
            if listener.pid.is_some_and(|pid| !is_our_agent(pid)) {
                return Err(io::Error::other("it is the socket of another session"));
            }
        }
        self.registry.register(
            &mut stream,
            self.poll_token,
            Interest::READABLE | Interest::WRITABLE,
        )?;
        let mut out = Buffer::new(LINES_BYTES_MAX);
        out.extend_all(&[&line(&json!({"type": "auth", "token": self.token}))])?;
        Ok(Connection { stream, out, in_doubt: VecDeque::new(), is_proven: false })
    }

    /// Connects if there is something to write and no connection.
    fn prepare(&mut self, now: Instant) {
        let Some(current) = &mut self.current else { return };
        if self.connection.is_some() || now < current.connect_at {
            return;
        }
        current.connect_at = now + CONNECT_EVERY;
        match self.connect() {
            Ok(connection) => self.connection = Some(connection),
            // Its queue of connections is full (connect(2), EAGAIN).
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.fail(&error.to_string()),
        }
    }

    fn write(&mut self, now: Instant) -> io::Result<()> {
        let (Some(connection), Some(current)) = (&mut self.connection, &mut self.current) else {
            return Ok(());
        };
        if !std::mem::replace(&mut current.is_queued, true) {
            connection.out.extend(&current.line)?;
        }
        while !connection.out.is_empty() {
            connection.out.write_to(&mut connection.stream)?;
        }
        connection.in_doubt.push_back((current.id, now + INBOX_SOCKET_DOUBT));
        self.current = None;
        self.outcomes.push_back(Outcome::Free);
        Ok(())
    }

    /// Reads what should not come, and its end.
    fn read(&mut self) -> io::Result<()> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let mut bytes = [0; 1024];
        for _ in 0..READS_MAX * READ_BYTES_MAX / bytes.len() {
            match connection.stream.read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("it does not stop to talk"))
    }

    /// Those in doubt that are told by now.
    fn confirm(&mut self, is_told: impl Fn(Instant) -> bool) {
        let Some(connection) = &mut self.connection else { return };
        while let Some((id, _)) =
            connection.in_doubt.front().copied().filter(|(_, at)| is_told(*at))
        {
            connection.in_doubt.pop_front();
            connection.is_proven = true;
            self.outcomes.push_back(Outcome::Sent(id));
        }
    }

    fn judge(&mut self, result: io::Result<()>) {
        match result {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.broken(&error),
        }
    }

    /// The connection is of no further use.
    fn broken(&mut self, error: &io::Error) {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            // In order: what was taken has been read.
            self.confirm(|_| true);
        }
        let Some(mut connection) = self.connection.take() else { return };
        // It goes with its descriptor anyway.
        let _ = self.registry.deregister(&mut connection.stream);
        let is_queued = self.current.as_ref().is_some_and(|current| current.is_queued);
        if connection.in_doubt.is_empty() && !is_queued {
            // Idle: another one is made when it is needed.
            return;
        }
        if connection.is_proven {
            // A session that closes it after each text, perhaps.
            self.current = None;
            self.outcomes.push_back(Outcome::Lost);
        } else {
            self.fail(&match error.kind() {
                io::ErrorKind::UnexpectedEof => "it closes the connection".to_owned(),
                _ => error.to_string(),
            });
        }
    }

    fn fail(&mut self, reason: &str) {
        self.connection = None;
        self.current = None;
        let reason = format!("Claude Code's inbox socket does not work: {reason}");
        self.outcomes.push_back(Outcome::Failed(reason));
    }
}

impl Adapter for InboxSocket {
    fn tell(&mut self, notice: &Notice, now: Instant) {
        let line = line(&json!({
            "type": "user",
            "message": {"role": "user", "content": notice.text},
            "priority": "next",
            "from": env!("CARGO_PKG_NAME"),
        }));
        let until = now + INBOX_SOCKET_TIME_MAX;
        self.current =
            Some(Current { id: notice.id, line, is_queued: false, until, connect_at: now });
        self.advance(now);
    }

    fn advance(&mut self, now: Instant) {
        // An end that has come meanwhile is seen before something is lost in it.
        let read = self.read();
        self.judge(read);
        self.prepare(now);
        let written = self.write(now);
        self.judge(written);
        self.confirm(|at| at <= now);
        if self.current.as_ref().is_some_and(|current| current.until <= now) {
            self.fail(&format!("it has taken nothing for {} s", INBOX_SOCKET_TIME_MAX.as_secs()));
        }
    }

    fn poll(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        let in_doubt = self.connection.as_ref().and_then(|connection| connection.in_doubt.front());
        let current = self.current.as_ref().map(|current| {
            let connect = self.connection.is_none().then_some(current.connect_at);
            connect.map_or(current.until, |at| at.min(current.until))
        });
        in_doubt.map(|(_, at)| *at).into_iter().chain(current).min()
    }
}

/// Whether a process is the one that started this, or between that and this.
fn is_our_agent(pid: u32) -> bool {
    let own = std::process::id();
    let above = above::above(own);
    let nearest = above.nearest.is_some_and(|nearest| nearest.pid == pid);
    pid == own || nearest || above.below.contains(&pid)
}

fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn line(value: &serde_json::Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
#[path = "../tests/inbox_socket.rs"]
mod tests;
