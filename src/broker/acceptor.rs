//! Accepting connections: when, and how many.

use std::io;

use mio::net::{TcpListener, TcpStream};

use crate::limits::{
    ACCEPT_PAUSE, ACCEPTS_PER_TURN_MAX, CONNECTIONS_MAX, CONNECTIONS_MIN, CONNECTIONS_REFUSED_MAX,
    DESCRIPTORS_RESERVED,
};
use crate::log;
use crate::model::Monotonic;

/// What to do with a connection that wants to come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Serve it.
    Serve,
    /// Tell it that there are too many.
    Refuse,
    /// Close it.
    Close,
}

/// The listener, and whether it is to be listened to.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: TcpListener,
    /// Descriptors this process may have.
    descriptors: usize,
    /// Someone may be waiting. Under edge triggering this must be remembered.
    waiting: bool,
    /// There was no descriptor left: not before this.
    paused: Option<Monotonic>,
    /// That was said in the log, and someone still waits.
    complained: bool,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener, descriptors: u64) -> Self {
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        Self { listener, descriptors, waiting: false, paused: None, complained: false }
    }

    pub(super) fn listener_mut(&mut self) -> &mut TcpListener {
        &mut self.listener
    }

    /// Someone waits.
    pub(super) fn note_waiting(&mut self) {
        self.waiting = true;
    }

    /// A descriptor has been freed.
    pub(super) fn note_freed(&mut self) {
        self.paused = None;
    }

    /// When to try again, if not at the next event.
    pub(super) fn next_try(&self, now: Monotonic) -> Option<Monotonic> {
        self.waiting.then(|| self.paused.unwrap_or(now))
    }

    /// Accepts connections, as many as one turn may.
    pub(super) fn accept(&mut self, now: Monotonic, mut give: impl FnMut(TcpStream)) {
        if !self.waiting || self.paused.is_some_and(|until| until > now) {
            return;
        }
        self.paused = None;
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            match self.listener.accept() {
                Ok((stream, _)) => give(stream),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        self.waiting = false;
                        self.complained = false;
                        return;
                    }
                    // That one has gone again.
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    // Out of descriptors (EMFILE, ENFILE) or memory: the others can still be served.
                    _ => {
                        if !std::mem::replace(&mut self.complained, true) {
                            log::warn(format_args!("cannot accept connections for now: {error}"));
                        }
                        self.paused = Some(now.plus(ACCEPT_PAUSE));
                        return;
                    }
                },
            }
        }
    }

    /// Whether there is room for one more, with so many connections and descriptors of peers.
    pub(super) fn room(&self, connections: usize, of_peers: usize) -> Room {
        let left = self.descriptors.saturating_sub(DESCRIPTORS_RESERVED).saturating_sub(of_peers);
        let limit = left.clamp(CONNECTIONS_MIN, CONNECTIONS_MAX);
        if connections < limit {
            Room::Serve
        } else if connections < limit + CONNECTIONS_REFUSED_MAX {
            Room::Refuse
        } else {
            Room::Close
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_the_descriptors_of_peers_leave() {
        let room = |descriptors: u64, connections, of_peers| {
            let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            Acceptor::new(listener, descriptors).room(connections, of_peers)
        };
        assert_eq!(room(u64::MAX, CONNECTIONS_MAX - 1, 4000), Room::Serve);
        assert_eq!(room(u64::MAX, CONNECTIONS_MAX, 4000), Room::Refuse);
        assert_eq!(room(u64::MAX, CONNECTIONS_MAX + CONNECTIONS_REFUSED_MAX, 4000), Room::Close);
        assert_eq!(room(100, 67, 0), Room::Serve);
        assert_eq!(room(100, 68, 0), Room::Refuse);
        assert_eq!(room(100, 47, 20), Room::Serve);
        assert_eq!(room(100, 48, 20), Room::Refuse);
        assert_eq!(room(10, CONNECTIONS_MIN - 1, 4000), Room::Serve);
        assert_eq!(room(10, CONNECTIONS_MIN, 4000), Room::Refuse);
    }
}
