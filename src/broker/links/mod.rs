//! Who is connected to which peer: the push connections, the watches on the processes at their other
//! ends, and the attempts to connect.
//!
//! The peer listens on a socket in `peers/`, the broker connects. When a connection ends it tries
//! again, less and less often, until a heartbeat says that the peer is still there. The end of a
//! connection proves nothing about the process; that is what the watch is for.
//!
//! [`Manager`] decides all of that. `Links` has the descriptors, does what it says, and tells it what
//! came of it.

mod manager;
mod push;

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use mio::net::UnixStream;
use mio::unix::SourceFd;
use mio::{Interest, Registry};

use super::sockets::Sockets;
use super::table::{Attached, Kind};
use super::timers::{Alarm, Timers};
use crate::limits::FRAMES_PER_WRITE_MAX;
use crate::log;
use crate::mesh::Push;
use crate::model::{Monotonic, PeerId};
use crate::platform::{ProcessWatch, peer_credentials, poll_readable};

pub use super::table::Key;
pub use manager::{Manager, News, Output, Ready};
pub use push::Pieces;

/// The ways to all peers.
#[derive(Debug)]
pub(super) struct Links {
    registry: Rc<Registry>,
    sockets: Sockets,
    manager: Manager,
    /// By the keys of the manager, as are the processes.
    streams: Attached<UnixStream>,
    processes: Attached<ProcessWatch>,
}

impl Links {
    pub(super) fn new(registry: Rc<Registry>, sockets: Sockets) -> Self {
        let mut seed = [0; 8];
        // Without it the pauses of two brokers are alike.
        let _ = getrandom::fill(&mut seed);
        Self {
            registry,
            sockets,
            manager: Manager::new(u64::from_le_bytes(seed)),
            streams: Attached::new(),
            processes: Attached::new(),
        }
    }

    /// Descriptors in use.
    pub(super) fn descriptors(&self) -> usize {
        self.manager.descriptors()
    }

    /// What has happened since the last call.
    pub(super) fn take_news(&mut self) -> Vec<News> {
        self.manager.take_news()
    }

    /// Whether there is something to do without waiting for an event.
    pub(super) fn is_busy(&self) -> bool {
        self.manager.is_busy()
    }

    /// Connects to a peer, or begins anew with its attempts.
    pub(super) fn connect(
        &mut self,
        peer: PeerId,
        path: Box<str>,
        now: Monotonic,
        timers: &mut Timers,
    ) {
        self.manager.connect(peer, path, now);
        self.carry_out(now, timers);
    }

    /// Whether the way to a peer is this socket.
    pub(super) fn leads_to(&self, peer: PeerId, path: &str) -> bool {
        self.manager.leads_to(peer, path)
    }

    /// The socket of a peer is of no more use to it, nor is the process there.
    pub(super) fn disconnect(&mut self, peer: PeerId, now: Monotonic, timers: &mut Timers) {
        self.manager.disconnect(peer);
        self.carry_out(now, timers);
    }

    /// A peer is no longer present. After a crash its files are removed.
    pub(super) fn depart(
        &mut self,
        peer: PeerId,
        remove: Option<&str>,
        now: Monotonic,
        timers: &mut Timers,
    ) {
        self.manager.depart(peer);
        self.carry_out(now, timers);
        if let Some(path) = remove {
            self.remove_socket(path);
        }
    }

    /// Removes the socket of a server that has crashed.
    pub(super) fn remove_socket(&self, path: &str) {
        self.sockets.remove(Path::new(path));
    }

    /// Watches the process that a peer says it is, unless the right one is watched. One that is not
    /// there, or cannot be watched, tells nothing.
    pub(super) fn watch_named(
        &mut self,
        peer: PeerId,
        pid: u32,
        now: Monotonic,
        timers: &mut Timers,
    ) {
        self.manager.watch_named(peer, pid);
        self.carry_out(now, timers);
    }

    /// The time for another attempt has come.
    pub(super) fn retry(&mut self, peer: PeerId, now: Monotonic, timers: &mut Timers) {
        self.manager.retry(peer, now);
        self.carry_out(now, timers);
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
        let closed = event.is_read_closed() || event.is_error();
        let (readable, writable) = (event.is_readable(), event.is_writable());
        self.manager.ready(key, Ready { readable, writable, closed });
        self.carry_out(now, timers);
    }

    /// Reads what peers have said: of each its share, and of all no more than one turn may take. The
    /// others come first in the next.
    pub(super) fn read(&mut self, scratch: &mut [u8], now: Monotonic, timers: &mut Timers) {
        // Those that have more to say come back into the queue, for the next turn.
        for _ in 0..self.manager.reads() {
            let Some(key) = self.manager.next_read() else { return };
            self.read_one(key, scratch, now);
            self.carry_out(now, timers);
        }
    }

    fn read_one(&mut self, key: Key, scratch: &mut [u8], now: Monotonic) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        loop {
            let wanted = self.manager.wants(key, scratch.len());
            if wanted == 0 {
                return;
            }
            let result = stream.read(scratch.get_mut(..wanted).unwrap_or_default());
            match result {
                Ok(read @ 1..) => {
                    self.manager.heard(key, scratch.get(..read).unwrap_or_default());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.manager.heard_all(key);
                }
                Ok(_) | Err(_) => return self.lost(key, now),
            }
        }
    }

    /// The process of a peer has ended. What it said before is read first, so that is told when
    /// [`Links::read`] has come to the end of it.
    pub(super) fn process_ended(&mut self, key: Key, now: Monotonic, timers: &mut Timers) {
        self.manager.process_ended(key);
        self.carry_out(now, timers);
    }

    // Frames

    /// The core knows of the connection to this peer.
    pub(super) fn announced(&mut self, peer: PeerId) {
        self.manager.announced(peer);
    }

    /// Takes a frame for those it is for; [`Links::flush`] sends it.
    pub(super) fn add(&mut self, push: &Push) {
        self.manager.add(push);
    }

    /// Sends the frames that were added, as far as they are taken now.
    pub(super) fn flush(&mut self, now: Monotonic, timers: &mut Timers) {
        self.carry_out(now, timers);
    }

    /// Whether frames wait to be taken.
    pub(super) fn has_frames(&self) -> bool {
        self.manager.has_frames()
    }

    // Doing

    /// Does what the manager says.
    fn carry_out(&mut self, now: Monotonic, timers: &mut Timers) {
        while let Some(output) = self.manager.next_output() {
            match output {
                Output::Connect(key) => self.open(key, now),
                Output::Watch(watch) => {
                    let is_watched = self.watch(watch);
                    self.manager.watched(watch, is_watched);
                }
                Output::Settle(key) => {
                    let hung_up = self.streams.get_mut(key).is_none_or(|stream| {
                        poll_readable(&*stream, Some(Duration::ZERO)).unwrap_or(true)
                    });
                    self.manager.settled(key, hung_up);
                }
                Output::Write(key) => self.write(key, now),
                Output::Interest { connection, writable } => {
                    self.set_interest(connection, writable, now);
                }
                Output::Close(key) => {
                    if let Some(mut stream) = self.streams.remove(key) {
                        // Closing the descriptor would do on Linux.
                        let _ = self.registry.deregister(&mut stream);
                    }
                }
                Output::Unwatch(watch) => {
                    if let Some(process) = self.processes.remove(watch) {
                        let fd = process.as_raw_fd();
                        let _ = self.registry.deregister(&mut SourceFd(&fd));
                    }
                }
                Output::SetAlarm(peer, at) => timers.wake_by(at, Alarm::Link(peer), &mut None),
                Output::CancelAlarm(peer, at) => timers.cancel(Alarm::Link(peer), &mut Some(at)),
                Output::Strange(peer, lines) => {
                    log::debug(format_args!("peer {peer}: {lines} lines acknowledge nothing"));
                }
            }
        }
    }

    fn open(&mut self, key: Key, now: Monotonic) {
        let Some((peer, path)) = self.manager.way(key) else { return };
        match self.try_open(key, Path::new(path)) {
            Ok((stream, pid)) => {
                log::debug(format_args!("peer {peer}: connected to its socket"));
                self.streams.insert(key, stream);
                self.manager.connected(key, pid);
            }
            Err(error) => {
                log::debug(format_args!("peer {peer}: cannot connect to its socket: {error}"));
                self.manager.refused(key, now);
            }
        }
    }

    fn try_open(&self, key: Key, path: &Path) -> io::Result<(UnixStream, Option<u32>)> {
        let path = self.sockets.find(path).map_err(io::Error::other)?;
        // A Unix socket is connected at once or not at all.
        let mut stream = UnixStream::connect(path)?;
        let credentials = peer_credentials(&stream)?;
        if credentials.is_foreign() {
            return Err(io::Error::other("another user listens there"));
        }
        // For reading only: with the interest in writing, each frame that the peer reads would be an
        // event (a Unix socket reports every byte of room). It is added when a write is blocked.
        self.registry.register(&mut stream, key.token(Kind::Push), Interest::READABLE)?;
        Ok((stream, credentials.pid))
    }

    fn watch(&mut self, watch: Key) -> bool {
        let Some((peer, pid)) = self.manager.watch_of(watch) else { return false };
        let registered = ProcessWatch::open(pid).and_then(|process| {
            let Some(process) = process else { return Ok(false) };
            let fd = process.as_raw_fd();
            let token = watch.token(Kind::Watch);
            self.registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?;
            self.processes.insert(watch, process);
            Ok(true)
        });
        registered.unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::Unsupported {
                log::warn(format_args!("peer {peer}: cannot watch its process: {error}"));
            }
            false
        })
    }

    fn write(&mut self, key: Key, now: Monotonic) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        while let Some(pieces) = self.manager.to_write(key) {
            match write(stream, pieces) {
                Ok(bytes @ 1..) => self.manager.wrote(key, bytes),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.manager.blocked(key);
                }
                Ok(_) | Err(_) => return self.lost(key, now),
            }
        }
    }

    fn set_interest(&mut self, key: Key, writable: bool, now: Monotonic) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let both = Interest::READABLE.add(Interest::WRITABLE);
        let interest = if writable { both } else { Interest::READABLE };
        if self.registry.reregister(stream, key.token(Kind::Push), interest).is_err() {
            self.lost(key, now);
        }
    }

    fn lost(&mut self, key: Key, now: Monotonic) {
        if let Some((peer, _)) = self.manager.way(key) {
            log::debug(format_args!("peer {peer}: its socket has hung up"));
        }
        self.manager.lost(key, now);
    }
}

/// Writes once: as much of all pieces as goes.
fn write(stream: &mut UnixStream, mut pieces: Pieces<'_>) -> io::Result<usize> {
    if pieces.len() == 1 {
        return stream.write(pieces.next().unwrap_or_default());
    }
    let mut slices = [IoSlice::new(&[]); FRAMES_PER_WRITE_MAX];
    let mut used = 0;
    for (slice, piece) in slices.iter_mut().zip(pieces) {
        *slice = IoSlice::new(piece);
        used += 1;
    }
    stream.write_vectored(slices.get(..used).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream as End};

    use mio::{Events, Poll};

    use super::*;
    use crate::files::tests::TempDir;
    use crate::limits::{PUSH_READ_BYTES_MAX, PUSH_READ_BYTES_PER_TURN, READ_BYTES_MAX};

    #[test]
    fn peers_that_write_without_end_have_their_shares_of_each_turn_and_one_place_in_the_queue() {
        let dir = TempDir::new();
        let mut poll = Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let mut links = Links::new(registry.into(), Sockets::new(dir.path().to_owned()));
        let (mut timers, now) = (Timers::default(), Monotonic::default());
        let mut scratch = vec![0; READ_BYTES_MAX];
        let mut ends = Vec::new();
        let shares = PUSH_READ_BYTES_PER_TURN / PUSH_READ_BYTES_MAX;
        for n in 0..=u8::try_from(shares).unwrap() {
            let path = dir.path().join(format!("{n}.sock"));
            let listener = UnixListener::bind(&path).unwrap();
            let peer = PeerId::from_random([n; 16]);
            links.connect(peer, path.to_str().unwrap().into(), now, &mut timers);
            let (end, _) = listener.accept().unwrap();
            end.set_nonblocking(true).unwrap();
            ends.push(end);
        }
        let fill = |end: &End| {
            let mut written = 0;
            while let Ok(bytes) = (&mut &*end).write(&[b'\n'; 4096]) {
                written += bytes;
            }
            written
        };
        assert!(ends.iter().all(|end| fill(end) > PUSH_READ_BYTES_MAX));
        for _ in 0..5 {
            let mut events = Events::with_capacity(2 * ends.len());
            poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
            // As many events as there may be.
            for event in events.iter().chain(&events) {
                let (_, key) = Key::of(event.token()).unwrap();
                links.event(key, event, now, &mut timers);
            }
            assert_eq!(links.manager.reads(), shares);
            links.read(&mut scratch, now, &mut timers);
            assert!(links.is_busy());
            let read: usize = ends.iter().map(fill).sum();
            assert!(read <= PUSH_READ_BYTES_PER_TURN, "{read}");
        }
    }
}
