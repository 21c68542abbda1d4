//! The inbox socket of a session of Claude Code or Qwen Code: what is written there is put before its
//! model, also when it is idle.
//!
//! The client gives its MCP servers the socket's path and a token in two variables. One line of JSON
//! shows the token, one more for each text (`inbox_frames`). The socket itself answers nothing. Claude Code says on [our own socket](super::own_socket) what has become of a
//! text, if that is not what we would expect; without one nothing is heard.
//!
//! A text counts as sent when the socket has taken it whole. One that is thrown away with the
//! connection soon after, as a Unix socket says that is closed with something unread in it, was
//! dropped.

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

/// Most bytes of the two lines: at most four bytes a character of the text, and a token.
const LINES_BYTES_MAX: usize = 128 * 1024;
/// How often a socket whose queue of connections is full is tried again.
const CONNECT_EVERY: Duration = Duration::from_millis(50);
/// When a socket that is not there is looked for again; later and later.
const LOOK_FIRST: Duration = Duration::from_millis(250);
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
    notice: Notice,
    /// It is in the connection's buffer.
    is_queued: bool,
    until: Instant,
    connect_at: Instant,
}

/// A notice of which something may be heard.
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
    /// As far as is known.
    Yes,
    /// Nobody listens. That may change: it is looked for again after the second of these, which was
    /// counted from the first.
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
    /// Not before then another notice is taken: each makes a turn of its own there, so what comes
    /// meanwhile is put together.
    free_at: Option<Instant>,
    known: VecDeque<Known>,
    reports: VecDeque<WayReport>,
}

impl InboxSocket {
    /// The socket that the variables name; none if they name none. If they name those of two agents,
    /// one has started the other, and the nearer one counts. Nothing is connected yet.
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

    /// Looks whether somebody of ours listens there, before anyone is promised that it wakes. One that
    /// does not yet is looked for again.
    pub(in crate::mcp) fn look(&mut self, now: Instant) {
        if self.connection.is_some() || self.there == There::Never {
            return;
        }
        match self.connect_stream() {
            Ok(_) => self.found(),
            // It has much to do.
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

    /// A connection to a process that is ours.
    fn connect_stream(&self) -> io::Result<(UnixStream, Vec<u32>)> {
        let stream = UnixStream::connect(&self.path)?;
        let agent = agent_processes();
        // The token is for this user's session and nobody else's. A session within another has the
        // variables of that one if it has no socket of its own.
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
        self.own_path = match self.own.as_mut().map(|own| own.listen(agent).map(Box::from)) {
            Some(Ok(path)) => Some(path),
            Some(Err(error)) => {
                log::warn(format_args!(
                    "what becomes of messages to this session is not heard: cannot listen beside \
                     its inbox socket: {error}"
                ));
                None
            }
            None => None,
        };
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
            // Without randomness a fixed one does, of which nothing can be heard.
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

    /// What the session says on our own socket.
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
            Ok(None) => log::debug(format_args!("the agent's session says what is not understood")),
        });
    }

    /// Those in doubt that are certain by now.
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
            // In order: what was taken has been read.
            connection.is_proven |= !connection.in_doubt.is_empty();
            connection.in_doubt.clear();
        }
        for (id, _) in &connection.in_doubt {
            self.reports.push_back(WayReport::Status(*id, SentStatus::Dropped));
        }
        let is_queued = self.current.as_ref().is_some_and(|current| current.is_queued);
        if connection.in_doubt.is_empty() && !is_queued {
            // Idle: another one is made when it is needed.
            return;
        }
        if connection.is_proven {
            // A session that closes it after each text, perhaps.
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

    /// Goes on as far as it goes without waiting; to be followed by [`InboxSocket::poll`] until there is nothing
    /// more.
    pub(super) fn advance(&mut self, now: Instant) {
        // An end that has come meanwhile is seen before something is lost in it.
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

    /// What has come of it since.
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
    /// When it is looked for again by itself: not for ever, as each time is a wake-up of an idle
    /// process.
    fn look_at(&self) -> Option<Instant> {
        match self.there {
            There::NotYet(since, pause) if pause < INBOX_SOCKET_LOOK_MAX => Some(since + pause),
            _ => None,
        }
    }
}

impl Known {
    /// Whether it was not so before, and can become so.
    fn is_news(&self, status: SentStatus) -> bool {
        let is_open = matches!(self.status, SentStatus::Sent | SentStatus::Held);
        is_open && self.status != status
    }
}

/// This process, the one of the agent that has started it, and those between.
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
