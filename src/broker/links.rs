//! Who is connected to which peer: the push connections, the watches on the processes at their other
//! ends, and the attempts to connect.
//!
//! The peer listens on a socket in `peers/`, the broker connects. When a connection ends it tries
//! again, less and less often, until a heartbeat says that the peer is still there. The end of a
//! connection proves nothing about the process; that is what the watch is for.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use mio::net::UnixStream;
use mio::unix::SourceFd;
use mio::{Interest, Registry};

use super::push::{Frame, Heard, PushConnection, State};
use super::sockets::Sockets;
use super::table::{Key, Kind, Table};
use super::timers::{Alarm, Timers};
use crate::limits::{
    BACKOFF_MAX, BACKOFF_MIN, CONNECT_ATTEMPTS_MAX, PUSH_READ_BYTES_MAX, PUSH_READ_BYTES_PER_TURN,
};
use crate::log;
use crate::mesh::{Push, Target};
use crate::model::{MessageId, Monotonic, PeerId, Seq};
use crate::platform::{ProcessWatch, peer_credentials, poll_readable};

/// What is known of the way to a peer.
#[derive(Debug)]
struct Link {
    path: Box<str>,
    push: Option<Key>,
    watch: Option<Key>,
    /// Attempts since the last heartbeat, or the last connection that lasted.
    attempts: u32,
    /// When it was last connected.
    since: Monotonic,
    alarm: Option<Monotonic>,
}

/// A watch on the process of a peer.
#[derive(Debug)]
struct Watch {
    peer: PeerId,
    pid: u32,
    process: ProcessWatch,
    /// The peer only said that it is this one.
    named: bool,
}

/// What has happened, for the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// There is a connection to this peer; its process is watched, or not.
    Up(PeerId, bool),
    /// The process that listens on this peer's socket.
    Listens(PeerId, u32),
    /// There is none any more.
    Down(PeerId),
    /// Whether its process is watched has changed.
    Process(PeerId, bool),
    /// Its process has ended, and all that it said before was told.
    Ended(PeerId),
    /// The process that it said it is has ended.
    NamedEnded(PeerId),
    /// It has acknowledged a message.
    Acknowledged(PeerId, MessageId),
    /// A frame with a message is out.
    Written(PeerId, Seq),
    /// The process of its agent runs, and is above the one that listens on its socket.
    AgentLives(PeerId),
    /// The process of its agent has ended.
    AgentEnded(PeerId),
}

/// The ways to all peers.
#[derive(Debug)]
pub(super) struct Links {
    registry: Registry,
    sockets: Sockets,
    by_peer: HashMap<PeerId, Link>,
    /// Watches on processes that peers said they are, where no connection tells.
    named: HashMap<PeerId, Key>,
    pushes: Table<PushConnection<UnixStream>>,
    watches: Table<Watch>,
    /// Connections with frames of this turn.
    touched: Vec<Key>,
    /// Connections that may have something to say, each once.
    unread: VecDeque<Key>,
    /// What has happened since it was last asked.
    news: Vec<News>,
}

impl Links {
    pub(super) fn new(registry: Registry, sockets: Sockets) -> Self {
        Self {
            registry,
            sockets,
            by_peer: HashMap::new(),
            named: HashMap::new(),
            pushes: Table::new(),
            watches: Table::new(),
            touched: Vec::new(),
            unread: VecDeque::new(),
            news: Vec::new(),
        }
    }

    /// Descriptors in use.
    pub(super) fn descriptors(&self) -> usize {
        self.pushes.len() + self.watches.len()
    }

    /// What has happened since the last call.
    pub(super) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Whether there is something to do without waiting for an event.
    pub(super) fn is_busy(&self) -> bool {
        !self.news.is_empty() || !self.unread.is_empty()
    }

    // Connecting

    /// Connects to a peer, or begins anew with its attempts.
    pub(super) fn connect(
        &mut self,
        peer: PeerId,
        path: Box<str>,
        now: Monotonic,
        timers: &mut Timers,
    ) {
        match self.by_peer.get_mut(&peer) {
            Some(link) if link.path == path => {
                link.attempts = 0;
                timers.cancel(Alarm::Link(peer), &mut link.alarm);
            }
            known => {
                if known.is_some() {
                    self.disconnect(peer, timers);
                }
                let link =
                    Link { path, push: None, watch: None, attempts: 0, since: now, alarm: None };
                self.by_peer.insert(peer, link);
            }
        }
        self.try_now(peer, now, timers);
    }

    /// Whether the way to a peer is this socket.
    pub(super) fn leads_to(&self, peer: PeerId, path: &str) -> bool {
        self.by_peer.get(&peer).is_some_and(|link| *link.path == *path)
    }

    /// The socket of a peer is of no more use to it, nor is the process there.
    pub(super) fn disconnect(&mut self, peer: PeerId, timers: &mut Timers) {
        self.drop_push(peer);
        self.drop_watch(peer);
        self.forget(peer, timers);
        self.news.push(News::Process(peer, false));
    }

    /// The time for another attempt has come.
    pub(super) fn retry(&mut self, peer: PeerId, now: Monotonic, timers: &mut Timers) {
        if let Some(link) = self.by_peer.get_mut(&peer) {
            link.alarm = None;
            self.try_now(peer, now, timers);
        }
    }

    fn try_now(&mut self, peer: PeerId, now: Monotonic, timers: &mut Timers) {
        let Some(link) = self.by_peer.get_mut(&peer) else { return };
        if link.push.is_some() {
            // The core asks for what it does not know yet.
            return;
        }
        link.attempts += 1;
        let path = link.path.clone();
        match self.open(peer, Path::new(&*path), now) {
            Ok(()) => log::debug(format_args!("peer {peer}: connected to its socket")),
            Err(error) => {
                log::debug(format_args!("peer {peer}: cannot connect to its socket: {error}"));
                self.back_off(peer, now, timers);
            }
        }
    }

    fn back_off(&mut self, peer: PeerId, now: Monotonic, timers: &mut Timers) {
        let Some(link) = self.by_peer.get_mut(&peer) else { return };
        if link.attempts < CONNECT_ATTEMPTS_MAX {
            let at = now.plus(pause(link.attempts, jitter()));
            timers.wake_by(at, Alarm::Link(peer), &mut link.alarm);
        }
    }

    fn open(&mut self, peer: PeerId, path: &Path, now: Monotonic) -> io::Result<()> {
        let path = self.sockets.find(path).map_err(io::Error::other)?;
        // A Unix socket is connected at once or not at all.
        let mut stream = UnixStream::connect(path)?;
        let credentials = peer_credentials(&stream)?;
        if credentials.is_foreign() {
            return Err(io::Error::other("another user listens there"));
        }
        // For reading only: with the interest in writing, each frame that the peer reads would be an
        // event (a Unix socket reports every byte of room). It is added when a write is blocked.
        let token = self.pushes.next_key().token(Kind::Push);
        self.registry.register(&mut stream, token, Interest::READABLE)?;
        let mut known = self.watch(peer, credentials.pid);
        if known {
            self.drop_named(peer);
        }
        // Peers speak when spoken to. One that has hung up already may have ended before it was
        // watched, and its process id may be another's by now.
        if poll_readable(&stream, Some(Duration::ZERO)).unwrap_or(true) {
            self.drop_watch(peer);
            known = false;
        }
        let key = self.pushes.insert(PushConnection::new(peer, stream));
        if let Some(link) = self.by_peer.get_mut(&peer) {
            link.push = Some(key);
            link.since = now;
        }
        self.news.push(News::Up(peer, known));
        self.news.extend(credentials.pid.map(|pid| News::Listens(peer, pid)));
        Ok(())
    }

    /// Watches the process at the other end, unless that is done already.
    fn watch(&mut self, peer: PeerId, pid: Option<u32>) -> bool {
        let present = self.by_peer.get(&peer).and_then(|link| link.watch);
        if let Some(watch) = present.and_then(|key| self.watches.get(key)) {
            if Some(watch.pid) == pid {
                return true;
            }
            self.drop_watch(peer);
        }
        let Some(pid) = pid else { return false };
        let process = match ProcessWatch::open(pid) {
            Ok(Some(process)) => process,
            Ok(None) => return false,
            Err(error) => {
                if error.kind() != io::ErrorKind::Unsupported {
                    log::warn(format_args!("peer {peer}: cannot watch its process: {error}"));
                }
                return false;
            }
        };
        let token = self.watches.next_key().token(Kind::Watch);
        let fd = process.as_raw_fd();
        if let Err(error) = self.registry.register(&mut SourceFd(&fd), token, Interest::READABLE) {
            log::warn(format_args!("peer {peer}: cannot watch its process: {error}"));
            return false;
        }
        let key = self.watches.insert(Watch { peer, pid, process, named: false });
        if let Some(link) = self.by_peer.get_mut(&peer) {
            link.watch = Some(key);
        }
        true
    }

    /// Watches the process that a peer says it is, unless the right one is watched. One that is not
    /// there, or cannot be watched, tells nothing.
    pub(super) fn watch_named(&mut self, peer: PeerId, pid: u32) {
        self.drop_named(peer);
        if self.by_peer.get(&peer).is_some_and(|link| link.watch.is_some()) {
            return;
        }
        let Ok(Some(process)) = ProcessWatch::open(pid) else { return };
        let token = self.watches.next_key().token(Kind::Watch);
        let fd = process.as_raw_fd();
        if self.registry.register(&mut SourceFd(&fd), token, Interest::READABLE).is_ok() {
            let key = self.watches.insert(Watch { peer, pid, process, named: true });
            self.named.insert(peer, key);
        }
    }

    fn drop_named(&mut self, peer: PeerId) {
        if let Some(watch) = self.named.remove(&peer).and_then(|key| self.watches.remove(key)) {
            let fd = watch.process.as_raw_fd();
            let _ = self.registry.deregister(&mut SourceFd(&fd));
        }
    }

    // Events

    /// Something has happened to a push connection; [`Links::read`] is due.
    pub(super) fn event(
        &mut self,
        key: Key,
        event: &mio::event::Event,
        now: Monotonic,
        timers: &mut Timers,
    ) {
        let Some(push) = self.pushes.get_mut(key) else { return };
        let closed = event.is_read_closed() || event.is_error();
        if closed {
            push.note_hung_up();
        }
        if event.is_readable() || closed {
            self.note_unread(key);
        }
        if event.is_writable() && self.pushes.get(key).is_some_and(PushConnection::has_frames) {
            self.flush_one(key, now, timers);
        }
    }

    fn note_unread(&mut self, key: Key) {
        if let Some(push) = self.pushes.get_mut(key)
            && !std::mem::replace(&mut push.marks.unread, true)
        {
            self.unread.push_back(key);
        }
    }

    /// Reads what peers have said: of each its share, and of all no more than one turn may take. The
    /// others come first in the next.
    pub(super) fn read(&mut self, scratch: &mut [u8], now: Monotonic, timers: &mut Timers) {
        // Those that have more to say come back into the queue, for the next turn.
        let shares = PUSH_READ_BYTES_PER_TURN / PUSH_READ_BYTES_MAX;
        for _ in 0..self.unread.len().min(shares) {
            let Some(key) = self.unread.pop_front() else { return };
            self.read_one(key, scratch, now, timers);
        }
    }

    fn read_one(&mut self, key: Key, scratch: &mut [u8], now: Monotonic, timers: &mut Timers) {
        let Some(push) = self.pushes.get_mut(key) else { return };
        push.marks.unread = false;
        let peer = push.peer;
        let news = &mut self.news;
        match push.read(scratch, |id| news.push(News::Acknowledged(peer, id))) {
            Heard::Part => self.note_unread(key),
            Heard::All if push.has_ended() => news.push(News::Ended(peer)),
            Heard::All => {}
            Heard::End => self.ended(peer, now, timers),
        }
    }

    /// A connection has ended: perhaps the peer comes back.
    fn ended(&mut self, peer: PeerId, now: Monotonic, timers: &mut Timers) {
        log::debug(format_args!("peer {peer}: its socket has hung up"));
        let push = self.by_peer.get(&peer).and_then(|link| link.push);
        let process_ended =
            push.and_then(|key| self.pushes.get(key)).is_some_and(PushConnection::has_ended);
        self.drop_push(peer);
        if process_ended {
            self.news.push(News::Ended(peer));
            return;
        }
        if let Some(link) = self.by_peer.get_mut(&peer) {
            // One that hangs up as soon as it is connected to is not tried without end.
            let lasted = now.since(link.since) >= BACKOFF_MAX;
            link.attempts = if lasted { 1 } else { link.attempts.max(1) };
        }
        self.back_off(peer, now, timers);
    }

    /// The process of a peer has ended. What it said before is read first, so that is told when
    /// [`Links::read`] has come to the end of it.
    pub(super) fn process_ended(&mut self, key: Key) {
        let Some(Watch { peer, named, .. }) = self.watches.get(key) else { return };
        let (peer, named) = (*peer, *named);
        if named {
            self.drop_named(peer);
            self.news.push(News::NamedEnded(peer));
            return;
        }
        let key = self.by_peer.get(&peer).and_then(|link| link.push);
        match key.and_then(|key| Some((key, self.pushes.get_mut(key)?))) {
            Some((key, push)) => {
                push.note_ended();
                self.note_unread(key);
            }
            None => self.news.push(News::Ended(peer)),
        }
    }

    // Frames

    /// The core knows of the connection to this peer.
    pub(super) fn announced(&mut self, peer: PeerId) {
        if let Some(key) = self.by_peer.get(&peer).and_then(|link| link.push)
            && let Some(push) = self.pushes.get_mut(key)
        {
            push.announced = true;
        }
    }

    /// Takes a frame for those it is for; [`Links::flush`] sends it.
    pub(super) fn add(&mut self, push: &Push) {
        let mut add = |key: Key, connection: &mut PushConnection<UnixStream>| {
            if !connection.announced {
                return;
            }
            connection
                .add(Frame { bytes: push.frame.line().clone(), message: push.frame.message() });
            if !connection.marks.touched {
                connection.marks.touched = true;
                self.touched.push(key);
            }
        };
        match push.to {
            Target::One(peer) => {
                let key = self.by_peer.get(&peer).and_then(|link| link.push);
                if let Some((key, connection)) =
                    key.and_then(|key| Some((key, self.pushes.get_mut(key)?)))
                {
                    add(key, connection);
                }
            }
            Target::AllBut(but) => {
                for (key, connection) in self.pushes.iter_mut() {
                    if Some(connection.peer) != but {
                        add(key, connection);
                    }
                }
            }
        }
    }

    /// Sends the frames that were added, as far as they are taken now.
    pub(super) fn flush(&mut self, now: Monotonic, timers: &mut Timers) {
        for key in std::mem::take(&mut self.touched) {
            // One that is blocked waits for its event.
            match self.pushes.get_mut(key) {
                Some(push) => push.marks.touched = false,
                None => continue,
            }
            if self.pushes.get(key).is_some_and(|push| !push.marks.armed) {
                self.flush_one(key, now, timers);
            }
        }
    }

    fn flush_one(&mut self, key: Key, now: Monotonic, timers: &mut Timers) {
        let Some(push) = self.pushes.get_mut(key) else { return };
        let peer = push.peer;
        let news = &mut self.news;
        let state = push.flush(|seq| news.push(News::Written(peer, seq)));
        let blocked = state == State::Blocked;
        let armed = if state == State::Gone || push.marks.armed == blocked {
            Ok(())
        } else {
            let interest = if blocked {
                Interest::READABLE.add(Interest::WRITABLE)
            } else {
                Interest::READABLE
            };
            push.marks.armed = blocked;
            self.registry.reregister(push.stream_mut(), key.token(Kind::Push), interest)
        };
        if state == State::Gone || armed.is_err() {
            self.ended(peer, now, timers);
        }
    }

    /// Whether frames wait to be taken.
    pub(super) fn has_frames(&mut self) -> bool {
        self.pushes.iter_mut().any(|(_, push)| push.has_frames())
    }

    // Ends

    /// A peer is no longer present. After a crash its files are removed.
    pub(super) fn depart(&mut self, peer: PeerId, remove: Option<&str>, timers: &mut Timers) {
        self.drop_push(peer);
        self.drop_watch(peer);
        self.drop_named(peer);
        self.forget(peer, timers);
        if let Some(path) = remove {
            self.remove_socket(path);
        }
    }

    /// Removes the socket of a server that has crashed.
    pub(super) fn remove_socket(&self, path: &str) {
        self.sockets.remove(Path::new(path));
    }

    fn drop_push(&mut self, peer: PeerId) {
        let Some(key) = self.by_peer.get_mut(&peer).and_then(|link| link.push.take()) else {
            return;
        };
        if let Some(mut push) = self.pushes.remove(key) {
            // Closing the descriptor would do on Linux.
            let _ = self.registry.deregister(push.stream_mut());
            self.news.push(News::Down(peer));
        }
    }

    fn drop_watch(&mut self, peer: PeerId) {
        let Some(key) = self.by_peer.get_mut(&peer).and_then(|link| link.watch.take()) else {
            return;
        };
        if let Some(watch) = self.watches.remove(key) {
            let fd = watch.process.as_raw_fd();
            let _ = self.registry.deregister(&mut SourceFd(&fd));
        }
    }

    fn forget(&mut self, peer: PeerId, timers: &mut Timers) {
        if let Some(mut link) = self.by_peer.remove(&peer) {
            timers.cancel(Alarm::Link(peer), &mut link.alarm);
        }
    }
}

/// The pause after so many attempts in vain: it doubles, and `jitter` (0 to 255) takes away up to a
/// half, so that many peers are not tried in step.
fn pause(attempts: u32, jitter: u8) -> Duration {
    let doubled = BACKOFF_MIN.saturating_mul(1 << attempts.saturating_sub(1).min(16));
    let full = doubled.min(BACKOFF_MAX);
    full.saturating_sub(full * u32::from(jitter) / 512).max(BACKOFF_MIN)
}

fn jitter() -> u8 {
    let mut byte = [0];
    // Without it the pause is only more regular.
    let _ = getrandom::fill(&mut byte);
    byte[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_jitter_stays_within() {
        let full: Vec<u128> = (1..=10).map(|n| pause(n, 0).as_millis()).collect();
        assert_eq!(full, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        for attempts in [0, 1, 5, 10, u32::MAX] {
            for jitter in [0, 1, 128, 255] {
                let pause = pause(attempts, jitter);
                assert!((BACKOFF_MIN..=BACKOFF_MAX).contains(&pause));
            }
        }
        assert!(pause(8, 255) >= BACKOFF_MAX / 2);
    }

    #[test]
    fn peers_that_write_without_end_have_their_shares_of_each_turn_and_one_place_in_the_queue() {
        let dir = std::env::temp_dir().join(format!("slm-links-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let poll = mio::Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let mut links = Links::new(registry, Sockets::new(dir.clone()));
        let (mut timers, now) = (Timers::default(), Monotonic::default());
        let mut scratch = vec![0; crate::limits::READ_BYTES_MAX];
        let mut ends = Vec::new();
        let shares = PUSH_READ_BYTES_PER_TURN / PUSH_READ_BYTES_MAX;
        for n in 0..=u8::try_from(shares).unwrap() {
            let path = dir.join(format!("{n}.sock"));
            let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
            let peer = PeerId::from_random([n; 16]);
            links.connect(peer, path.to_str().unwrap().into(), now, &mut timers);
            let (end, _) = listener.accept().unwrap();
            end.set_nonblocking(true).unwrap();
            ends.push(end);
        }
        let fill = |end: &std::os::unix::net::UnixStream| {
            let mut written = 0;
            while let Ok(bytes) = io::Write::write(&mut &*end, &[b'\n'; 4096]) {
                written += bytes;
            }
            written
        };
        assert!(ends.iter().all(|end| fill(end) > PUSH_READ_BYTES_MAX));
        let keys: Vec<Key> = links.by_peer.values().filter_map(|link| link.push).collect();
        for _ in 0..5 {
            // As many events as there may be.
            for key in keys.iter().chain(&keys) {
                links.note_unread(*key);
            }
            assert_eq!(links.unread.len(), shares + 1);
            links.read(&mut scratch, now, &mut timers);
            assert!(links.is_busy());
            let read: usize = ends.iter().map(fill).sum();
            assert!(read <= PUSH_READ_BYTES_PER_TURN, "{read}");
        }
        std::fs::remove_dir_all(dir).unwrap();
    }
}
