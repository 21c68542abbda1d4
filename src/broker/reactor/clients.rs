//! The HTTP connections: coming in, being looked after, going.

use mio::Interest;

use super::Reactor;
use crate::api::{Code, Refusal};
use crate::broker::acceptor::Space;
use crate::broker::answers::{last_words, unavailable};
use crate::broker::connection::{Connection, Expired, Flow, Progress};
use crate::broker::held::{Asker, Cut};
use crate::broker::table::{Key, Kind};
use crate::broker::timers::Alarm;
use crate::limits::CONNECTIONS_REFUSED_MAX;
use crate::log;
use crate::model::Monotonic;
use crate::platform::{Stream, peer_credentials};

impl Reactor {
    pub(super) fn connection_event(&mut self, key: Key, event: &mio::event::Event, now: Monotonic) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let hung_up = event.is_read_closed() || event.is_error();
        if event.is_readable() || hung_up {
            connection.note_readable(hung_up);
        }
        let writable = event.is_writable();
        if hung_up && connection.is_held() {
            self.room.hung_up(Asker::Http(key), now);
        }
        let mut progress = Progress::Fine;
        if writable && connection.has_output() {
            progress = connection.flush(now);
        }
        self.settle(key, progress, now);
    }

    pub(super) fn accept(&mut self, now: Monotonic) {
        let Some(acceptor) = &mut self.acceptor else { return };
        let mut streams = Vec::new();
        acceptor.accept(now, |stream| streams.push(stream));
        for stream in streams {
            self.come_in(stream, now);
        }
    }

    fn come_in(&mut self, mut stream: Stream, now: Monotonic) {
        let Some(acceptor) = &self.acceptor else { return };
        let others = self.links.descriptors()
            + self.agents.descriptors()
            + self.helpers.descriptors()
            + self.room.descriptors();
        let space = acceptor.room(self.connections.len(), others);
        if space == Space::Refuse && self.refused.len() >= CONNECTIONS_REFUSED_MAX {
            self.let_go_of_first(now);
        }
        let token = self.connections.next_key().token(Kind::Connection);
        if let Err(error) = self.poll.registry().register(&mut stream, token, Interest::READABLE) {
            log::warn(format_args!("cannot serve a connection: {error}"));
            return;
        }
        let key = self.connections.insert(Connection::new(stream, now));
        if space == Space::Refuse {
            let refusal = unavailable("too many connections: close some, or use them again");
            self.dismiss(key, &refusal, now);
            self.refused.push_back(key);
        } else {
            self.settle(key, Progress::Fine, now);
        }
    }

    /// Whether the broker stays for this client: a helper goes with the broker.
    pub(super) fn counts(&self, asker: Asker) -> bool {
        let Asker::Http(key) = asker else { return true };
        if self.helpers.descriptors() == 0 {
            return true;
        }
        let connection = self.connections.get(key);
        let peer = connection.and_then(|it| peer_credentials(it.stream()).ok());
        !peer.and_then(|peer| peer.pid).is_some_and(|pid| self.helpers.has(pid))
    }

    /// Makes room for one more connection to be refused. The first that was has its answer; what its
    /// client has sent is read, since unread it would make a reset of the end.
    fn let_go_of_first(&mut self, now: Monotonic) {
        let Some(key) = self.refused.pop_front() else { return };
        if let Some(connection) = self.connections.get_mut(key) {
            connection.note_readable(true);
            let _ = connection.serve(now, &mut self.scratch, |_| Flow::Next(0));
            self.drop_connection(key, now);
        }
    }

    /// Ends the connections that have most in memory, until what is left of all together may stay:
    /// requests that are not complete, and answers that are not taken.
    pub(super) fn bound_buffers(&mut self, now: Monotonic) {
        if self.buffered <= self.buffered_max {
            return;
        }
        let buffered = self.connections.iter_mut().map(|(key, it)| (it.marks.buffered, key));
        let mut largest: Vec<(usize, Key)> = buffered.collect();
        largest.sort_unstable_by(|a, b| b.cmp(a));
        for (_, key) in largest {
            if self.buffered <= self.buffered_max {
                return;
            }
            let Some(connection) = self.connections.get_mut(key) else { continue };
            connection.forget_input();
            if connection.has_output() || connection.is_held() {
                self.drop_connection(key, now);
            } else {
                let refusal = unavailable("too much is being sent to the broker: try again");
                self.dismiss(key, &refusal, now);
            }
        }
    }

    pub(super) fn connection_alarm(&mut self, key: Key, now: Monotonic) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.marks.alarm = None;
        match connection.expired(now) {
            Expired::NotYet => self.settle(key, Progress::Fine, now),
            Expired::Connection => self.settle(key, Progress::Gone, now),
            Expired::Request => {
                let refusal = Refusal::new(
                    Code::Timeout,
                    "the request did not come in time: send it without pauses",
                );
                self.dismiss(key, &refusal, now);
            }
        }
    }

    /// Does what has to be done about a connection after something has happened to it.
    pub(super) fn settle(&mut self, key: Key, progress: Progress, now: Monotonic) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if progress == Progress::Gone {
            self.drop_connection(key, now);
            return;
        }
        if progress == Progress::Blocked && !connection.marks.armed {
            connection.marks.armed = true;
            let both = Interest::READABLE.add(Interest::WRITABLE);
            let token = key.token(Kind::Connection);
            let registry = self.poll.registry();
            if registry.reregister(connection.stream_mut(), token, both).is_err() {
                self.drop_connection(key, now);
                return;
            }
        }
        if connection.wants_turn() && !connection.marks.queued {
            connection.marks.queued = true;
            self.ready.push_back(key);
        }
        self.buffered -= connection.marks.buffered;
        connection.marks.buffered = connection.buffered();
        self.buffered += connection.marks.buffered;
        if let Some(at) = connection.deadline() {
            self.timers.wake_by(at, Alarm::Connection(key), &mut connection.marks.alarm);
        }
    }

    /// Refuses whatever a connection wants and closes it.
    pub(super) fn dismiss(&mut self, key: Key, refusal: &Refusal, now: Monotonic) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.release();
        let answered = last_words(refusal, |response| connection.answer(response));
        connection.close_after();
        let progress = if answered.is_ok() { connection.flush(now) } else { Progress::Gone };
        self.settle(key, progress, now);
    }

    fn drop_connection(&mut self, key: Key, now: Monotonic) {
        let Some(mut connection) = self.connections.remove(key) else { return };
        self.timers.cancel(Alarm::Connection(key), &mut connection.marks.alarm);
        self.buffered -= connection.marks.buffered;
        self.room.closed(Asker::Http(key), now, &mut || how_cut(&mut connection));
        // Closing the descriptor would do on Linux.
        let _ = self.poll.registry().deregister(connection.stream_mut());
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.note_freed();
        }
    }
}

/// How the end of a connection leaves the last answer on it.
fn how_cut(connection: &mut Connection<Stream>) -> Option<Cut> {
    if connection.has_output() {
        return Some(Cut::Unwritten);
    }
    // A client that had closed before it was answered has reset the connection since; behind its end
    // that shows only as a pending error.
    let is_reset =
        connection.has_failed() || !matches!(connection.stream_mut().take_error(), Ok(None));
    is_reset.then_some(Cut::Reset)
}
