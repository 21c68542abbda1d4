//! The inbox socket of a session of Claude Code or Qwen Code: what is written there is put before its
//! model, even when it is idle.
//!
//! The client gives its MCP servers the socket's path and a token in two variables. The first line of a
//! connection shows the token, and each further one is a text (`inbox_frames`). The socket itself answers
//! nothing. Claude Code reports on [our own socket](super::own_socket) when a text has not been put before
//! the model at once; without such a socket nothing is reported.
//!
//! A text counts as sent when the socket has taken all of it. If soon after that the connection is closed
//! with unread data, which a Unix socket reports, the text was dropped.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use uuid::Uuid;

use super::inbox_frames::{self, Heard};
use super::own_socket::OwnSocket;
use super::{Notice, SentStatus, WayReport};
use crate::agent::above;
use crate::agent::variables;
use crate::agents::{self, Agent, Dialect, Said};
use crate::client::new_id;
use crate::limits::{
    INBOX_SOCKET_DOUBT, INBOX_SOCKET_LOOK_MAX, INBOX_SOCKET_TIME_MAX, NOTICES_KNOWN_MAX,
    READ_BYTES_MAX, WAKE_TURN_PAUSE,
};
use crate::log;
use crate::platform::peer_credentials;
use crate::wire::buffer::Buffer;
use crate::wire::ndjson::LineTooLong;

/// Most bytes of the first line and a text, at four bytes a character.
const LINES_BYTES_MAX: usize = 128 * 1024;
/// How often to try again to connect when the queue of connections is full.
const CONNECT_EVERY: Duration = Duration::from_millis(50);
/// First pause before a socket that is not there is looked for again; it doubles each time.
const LOOK_FIRST: Duration = Duration::from_millis(250);
/// Most that is read at once, in [`READ_BYTES_MAX`], from a socket that should send nothing.
const READS_MAX: usize = 16;

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    out: Buffer,
    /// Notices that were taken, and when each of them can no longer be dropped.
    in_doubt: VecDeque<(u64, Instant)>,
    /// A notice was certainly told by it.
    is_proven: bool,
}

/// What is being written.
#[derive(Debug)]
struct Current {
    notice: Notice,
    /// It is in the connection's buffer.
    is_queued: bool,
    until: Instant,
    connect_at: Instant,
}

/// A notice about which something may be reported.
#[derive(Debug)]
struct Known {
    /// Its id on the wire.
    id: Uuid,
    notice: u64,
    status: SentStatus,
}

/// Whether there is a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum There {
    /// Yes, as far as is known.
    Yes,
    /// Nobody has listened at this time. It is looked for again after this pause.
    NotYet(Instant, Duration),
    /// It is not ours, or does not work.
    Never,
}

/// See the module.
#[derive(Debug)]
pub(in crate::mcp) struct InboxSocket {
    agent: &'static Agent,
    dialect: Dialect,
    path: PathBuf,
    token: Box<str>,
    registry: Registry,
    poll_token: Token,
    own: Option<OwnSocket>,
    /// The path of our own socket, if we listen.
    own_path: Option<Box<str>>,
    connection: Option<Connection>,
    current: Option<Current>,
    there: There,
    /// When the next notice can be taken. Each begins a turn of its own there, so what comes meanwhile is
    /// told together.
    free_at: Option<Instant>,
    known: VecDeque<Known>,
    reports: VecDeque<WayReport>,
}

impl InboxSocket {
    /// The socket that the variables name, not connected yet. If they name sockets of two agents, one has
    /// started the other, and the nearer one counts.
    pub(in crate::mcp) fn from_environment(registry: &Registry, poll_token: Token) -> Option<Self> {
        let offers = agents::ALL.into_iter().filter_map(|agent| {
            let path = variables::said(agent.agent_type, Said::InboxSocket)?;
            let token = variables::said(agent.agent_type, Said::InboxToken)?.into_string().ok()?;
            Some((agent, path, token))
        });
        let mut offers: Vec<_> = offers.collect();
        if offers.len() > 1 {
            let nearest = above::above(std::process::id()).nearest?.agent;
            offers.retain(|(agent, _, _)| *agent == nearest);
        }
        let (agent, path, token) = offers.pop()?;
        let registry = registry.try_clone().ok()?;
        Some(Self::new((agent, agent.dialect?), path.into(), token.into(), registry, poll_token))
    }

    fn new(
        (agent, dialect): (&'static Agent, Dialect),
        path: PathBuf,
        token: Box<str>,
        registry: Registry,
        poll_token: Token,
    ) -> Self {
        let own = match dialect {
            Dialect::Claude => registry.try_clone().ok(),
            Dialect::Qwen => None,
        };
        let own = own.map(|registry| OwnSocket::beside(&path, registry, poll_token));
        Self {
            agent,
            dialect,
            path,
            token,
            registry,
            poll_token,
            own,
            own_path: None,
            connection: None,
            current: None,
            there: There::Yes,
            free_at: None,
            known: VecDeque::new(),
            reports: VecDeque::new(),
        }
    }

    /// The agent whose socket it is.
    pub(in crate::mcp) fn agent(&self) -> &'static Agent {
        self.agent
    }

    /// Looks whether the agent listens there, before the broker is told that it wakes. If not, it is looked
    /// for again later.
    pub(in crate::mcp) fn look(&mut self, now: Instant) {
        if self.connection.is_some() || self.there == There::Never {
            return;
        }
        match self.connect_stream() {
            Ok(_) => self.found(),
            // Its queue of connections is full.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.found(),
            Err(error) => self.missed(&error, now),
        }
    }

    fn found(&mut self) {
        if self.there != There::Yes {
            log::info(format_args!("the agent's inbox socket is there now"));
            self.there = There::Yes;
            self.reports.push_back(WayReport::Free);
        }
    }

    /// It cannot be connected to.
    fn missed(&mut self, error: &io::Error, now: Instant) {
        if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) {
            return self.fail(&error.to_string());
        }
        let pause = match self.there {
            There::NotYet(_, pause) => 2 * pause,
            _ => LOOK_FIRST,
        };
        if self.there == There::Yes {
            self.fail(&format!("nobody listens at {} ({error})", self.path.display()));
        }
        self.there = There::NotYet(now, pause.min(INBOX_SOCKET_LOOK_MAX));
    }

    /// Connects, and makes sure that the agent of this process listens. Also returns its processes.
    fn connect_stream(&self) -> io::Result<(UnixStream, Vec<u32>)> {
        let stream = UnixStream::connect(&self.path)?;
        let agent = agent_processes();
        // The token must be shown to nobody else. A session without a socket that runs within another
        // session inherits the variables of that one.
        if let Ok(listener) = peer_credentials(&stream) {
            if listener.is_foreign() {
                return Err(io::Error::other("another user listens there"));
            }
            if listener.pid.is_some_and(|pid| !agent.contains(&pid)) {
                return Err(io::Error::other("it is the socket of another session"));
            }
        }
        Ok((stream, agent))
    }

    fn connect(&mut self) -> io::Result<Connection> {
        let (mut stream, agent) = self.connect_stream()?;
        self.registry.register(
            &mut stream,
            self.poll_token,
            Interest::READABLE | Interest::WRITABLE,
        )?;
        let mut out = Buffer::new(LINES_BYTES_MAX);
        out.extend(&self.dialect.hello(&self.token))?;
        let path = self.own.as_mut().map(|own| own.listen(agent).map(Box::from));
        let path = path.transpose().inspect_err(|error| {
            log::warn(format_args!(
                "what becomes of messages to this session is not heard: cannot listen beside its \
                 inbox socket: {error}"
            ));
        });
        self.own_path = path.unwrap_or_default();
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
            Err(error) => self.missed(&error, now),
        }
    }

    fn write(&mut self, now: Instant) -> io::Result<()> {
        let (Some(connection), Some(current)) = (&mut self.connection, &mut self.current) else {
            return Ok(());
        };
        if !std::mem::replace(&mut current.is_queued, true) {
            // Without randomness it is a fixed one, and reports cannot be told apart.
            let id = new_id().unwrap_or_default();
            let own = self.own_path.as_deref();
            connection.out.extend(&self.dialect.text(&current.notice, id, own))?;
            if self.known.len() >= NOTICES_KNOWN_MAX {
                self.known.pop_front();
            }
            let (notice, status) = (current.notice.id, SentStatus::Sent);
            self.known.push_back(Known { id, notice, status });
        }
        while !connection.out.is_empty() {
            connection.out.write_to(&mut connection.stream)?;
        }
        let id = current.notice.id;
        connection.in_doubt.push_back((id, now + INBOX_SOCKET_DOUBT));
        self.current = None;
        self.reports.push_back(WayReport::Sent(id));
        match self.dialect {
            Dialect::Claude => self.reports.push_back(WayReport::Free),
            Dialect::Qwen => self.free_at = Some(now + WAKE_TURN_PAUSE),
        }
        Ok(())
    }

    /// Reads up to its end; nothing should come.
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
        Err(io::Error::other("it does not stop sending"))
    }

    /// Reads what the session writes to our own socket.
    fn listen(&mut self, now: Instant) {
        let Some(own) = &mut self.own else { return };
        let (known, reports) = (&mut self.known, &mut self.reports);
        own.advance(now, |line| match line.map(inbox_frames::read) {
            // Nothing else that it says is long.
            Err(LineTooLong) => reports.push_back(WayReport::LongAnswer),
            Ok(Some(Heard::Status(ids, status))) => {
                for known in known.iter_mut().filter(|known| ids.contains(&known.id)) {
                    if known.is_news(status) {
                        known.status = status;
                        reports.push_back(WayReport::Status(known.notice, status));
                    }
                }
            }
            Ok(Some(Heard::Answer(text))) => {
                reports.push_back(WayReport::Answer(text));
            }
            Ok(None) => log::debug(format_args!("the agent's session wrote what is no known line")),
        });
    }

    /// Notices that can no longer be dropped prove that the connection works.
    fn confirm(&mut self, now: Instant) {
        let Some(connection) = &mut self.connection else { return };
        while connection.in_doubt.front().is_some_and(|(_, at)| *at <= now) {
            connection.in_doubt.pop_front();
            connection.is_proven = true;
        }
    }

    fn judge(&mut self, result: io::Result<()>, now: Instant) {
        match result {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.broken(&error, now),
        }
    }

    /// The connection is of no further use.
    fn broken(&mut self, error: &io::Error, now: Instant) {
        self.confirm(now);
        let Some(mut connection) = self.connection.take() else { return };
        // It goes with its descriptor anyway.
        let _ = self.registry.deregister(&mut connection.stream);
        if error.kind() == io::ErrorKind::UnexpectedEof {
            // It was closed with nothing unread: what was taken has been read.
            connection.is_proven |= !connection.in_doubt.is_empty();
            connection.in_doubt.clear();
        }
        for (id, _) in &connection.in_doubt {
            self.reports.push_back(WayReport::Status(*id, SentStatus::Dropped));
        }
        let is_queued = self.current.as_ref().is_some_and(|current| current.is_queued);
        if connection.in_doubt.is_empty() && !is_queued {
            // It was idle. Another one is made when it is needed.
            return;
        }
        if connection.is_proven {
            // Perhaps the session closes it after each text.
            self.current = None;
            self.free_at = None;
            self.reports.push_back(WayReport::Lost);
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
        self.free_at = None;
        self.there = There::Never;
        let reason =
            format!("the inbox socket of {} does not work: {reason}", self.agent.agent_type);
        self.reports.push_back(WayReport::Failed(reason));
    }
}

impl InboxSocket {
    /// Begins to tell. Only called when the way is free, which it is at first, and after a failure
    /// only if it was renewed.
    pub(super) fn tell(&mut self, notice: &Notice, now: Instant) {
        let until = now + INBOX_SOCKET_TIME_MAX;
        let notice = notice.clone();
        self.current = Some(Current { notice, is_queued: false, until, connect_at: now });
        self.advance(now);
    }

    /// Goes on as far as possible without waiting; to be followed by [`InboxSocket::poll`] until there is nothing
    /// more.
    pub(super) fn advance(&mut self, now: Instant) {
        // If it has ended, that has to be noticed before something is written to it.
        let read = self.read();
        self.judge(read, now);
        self.prepare(now);
        let written = self.write(now);
        self.judge(written, now);
        self.confirm(now);
        if self.current.as_ref().is_some_and(|current| current.until <= now) {
            self.fail(&format!("it has taken nothing for {} s", INBOX_SOCKET_TIME_MAX.as_secs()));
        }
        self.listen(now);
        if self.free_at.is_some_and(|at| at <= now) {
            self.free_at = None;
            self.reports.push_back(WayReport::Free);
        }
        if self.look_at().is_some_and(|at| at <= now) {
            self.look(now);
        }
    }

    /// The next report.
    pub(super) fn poll(&mut self) -> Option<WayReport> {
        self.reports.pop_front()
    }

    /// When [`InboxSocket::advance`] has to be called at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let current = self.current.as_ref().map(|current| {
            let connect = self.connection.is_none().then_some(current.connect_at);
            connect.map_or(current.until, |at| at.min(current.until))
        });
        let own = self.own.as_ref().and_then(OwnSocket::deadline);
        [current, own, self.free_at, self.look_at()].into_iter().flatten().min()
    }
}

impl InboxSocket {
    /// When it is looked for again without a heartbeat. That ends, as each time wakes an idle process.
    fn look_at(&self) -> Option<Instant> {
        match self.there {
            There::NotYet(since, pause) if pause < INBOX_SOCKET_LOOK_MAX => Some(since + pause),
            _ => None,
        }
    }
}

impl Known {
    /// Whether `status` is new and can follow the former one.
    fn is_news(&self, status: SentStatus) -> bool {
        let is_open = matches!(self.status, SentStatus::Sent | SentStatus::Held);
        is_open && self.status != status
    }
}

/// This process, the agent that has started it, and the processes between them.
fn agent_processes() -> Vec<u32> {
    let own = std::process::id();
    let above = above::above(own);
    let mut processes = above.below;
    processes.push(own);
    processes.extend(above.nearest.map(|nearest| nearest.pid));
    processes
}

pub(super) fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

#[cfg(test)]
#[path = "../tests/inbox_socket.rs"]
mod tests;
