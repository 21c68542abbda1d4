//! Accepting connections: when, and how many.

use std::io;

use super::table::{Key, Table};
use crate::limits::{
    ACCEPT_PAUSE, ACCEPTS_PER_TURN_MAX, CONNECTIONS_MAX, CONNECTIONS_MIN, DESCRIPTORS_RESERVED,
};
use crate::log;
use crate::model::Monotonic;
use crate::platform::{Listener, Stream, peer_credentials};

/// What to do with a connection that wants to come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    /// Serve it.
    Serve,
    /// Tell it that there are too many.
    Refuse,
}

/// The listeners, and whether they are to be listened to.
#[derive(Debug)]
pub(super) struct Acceptor {
    entrances: Table<Entrance>,
    /// Descriptors this process may have.
    descriptors: usize,
    /// There was no descriptor left: not before this.
    paused: Option<Monotonic>,
    /// That was said in the log, and someone still waits.
    complained: bool,
}

/// A listener.
#[derive(Debug)]
struct Entrance {
    listener: Listener,
    /// Someone may be waiting. Under edge triggering this must be remembered.
    waiting: bool,
}

impl Acceptor {
    pub(super) fn new(listeners: Vec<Listener>, descriptors: u64) -> Self {
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        let mut entrances = Table::new();
        for listener in listeners {
            entrances.insert(Entrance { listener, waiting: false });
        }
        Self { entrances, descriptors, paused: None, complained: false }
    }

    /// The listeners, with the keys by which they are known here.
    pub(super) fn listeners_mut(&mut self) -> impl Iterator<Item = (Key, &mut Listener)> {
        self.entrances.iter_mut().map(|(key, entrance)| (key, &mut entrance.listener))
    }

    /// Someone waits at this listener.
    pub(super) fn note_waiting(&mut self, key: Key) {
        if let Some(entrance) = self.entrances.get_mut(key) {
            entrance.waiting = true;
        }
    }

    /// A descriptor has been freed.
    pub(super) fn note_freed(&mut self) {
        self.paused = None;
    }

    /// When to try again, if not at the next event.
    pub(super) fn next_try(&self, now: Monotonic) -> Option<Monotonic> {
        let waiting = self.entrances.iter().any(|(_, entrance)| entrance.waiting);
        waiting.then(|| self.paused.unwrap_or(now))
    }

    /// Accepts connections, as many as one turn may from each listener.
    pub(super) fn accept(&mut self, now: Monotonic, mut give: impl FnMut(Stream)) {
        if self.paused.is_some_and(|until| until > now) {
            return;
        }
        self.paused = None;
        for (_, entrance) in self.entrances.iter_mut().filter(|(_, entrance)| entrance.waiting) {
            let accepted = accept_waiting(
                || entrance.listener.accept(),
                |stream| {
                    if is_welcome(&stream) {
                        give(stream);
                    } else {
                        log::warn(format_args!("another user has connected to the socket"));
                    }
                },
            );
            match accepted {
                Ok(waiting) => {
                    entrance.waiting = waiting;
                    self.complained &= waiting;
                }
                // Out of descriptors (EMFILE, ENFILE) or memory: the others can still be served.
                Err(error) => {
                    if !std::mem::replace(&mut self.complained, true) {
                        log::warn(format_args!("cannot accept connections for now: {error}"));
                    }
                    self.paused = Some(now.plus(ACCEPT_PAUSE));
                    return;
                }
            }
        }
    }

    /// Whether there is room for one more, with so many connections and descriptors of peers.
    pub(super) fn room(&self, connections: usize, of_peers: usize) -> Space {
        let left = self.descriptors.saturating_sub(DESCRIPTORS_RESERVED).saturating_sub(of_peers);
        let limit = left.clamp(CONNECTIONS_MIN, CONNECTIONS_MAX);
        if connections < limit { Space::Serve } else { Space::Refuse }
    }
}

/// Accepts as many as one turn may. Whether more may be waiting.
pub(super) fn accept_waiting<T>(
    accept: impl Fn() -> io::Result<T>,
    mut give: impl FnMut(T),
) -> io::Result<bool> {
    for _ in 0..ACCEPTS_PER_TURN_MAX {
        match accept() {
            Ok(accepted) => give(accepted),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return Ok(false),
                // That one has gone again.
                io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                _ => return Err(error),
            },
        }
    }
    Ok(true)
}

/// Who connects to the Unix socket must be our user: that only its owner reaches into the data
/// directory is seen to at the start, but a mode may be changed later.
fn is_welcome(stream: &Stream) -> bool {
    match stream {
        Stream::Tcp(_) => true,
        Stream::Unix(stream) => {
            peer_credentials(stream).is_ok_and(|credentials| !credentials.is_foreign())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_the_descriptors_of_peers_leave() {
        let room = |descriptors: u64, connections, of_peers| {
            Acceptor::new(Vec::new(), descriptors).room(connections, of_peers)
        };
        assert_eq!(room(u64::MAX, CONNECTIONS_MAX - 1, 4000), Space::Serve);
        assert_eq!(room(u64::MAX, CONNECTIONS_MAX, 4000), Space::Refuse);
        assert_eq!(room(100, 67, 0), Space::Serve);
        assert_eq!(room(100, 68, 0), Space::Refuse);
        assert_eq!(room(100, 47, 20), Space::Serve);
        assert_eq!(room(100, 48, 20), Space::Refuse);
        assert_eq!(room(10, CONNECTIONS_MIN - 1, 4000), Space::Serve);
        assert_eq!(room(10, CONNECTIONS_MIN, 4000), Space::Refuse);
    }
}
