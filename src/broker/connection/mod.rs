//! An HTTP connection: its phases, its buffers and its deadlines.
//!
//! Requests of a client that pipelines are answered in order. A request that is held, and answers
//! that the client does not take, keep later requests of the same connection where they are: in its
//! buffer, and then in the kernel's, until the client itself stops sending.
//!
//! It knows no socket but something to read from and write to, no poll, and no clock.

mod reading;

use std::io::{self, Read, Write};

use crate::limits::{
    IDLE_TIME_MAX, LINGER_TIME_MAX, READ_BYTES_MAX, REPLY_BYTES_MAX, REQUEST_BYTES_MAX,
    REQUEST_TIME_MAX, RESPONSE_BACKLOG_BYTES, WRITE_TIME_MAX,
};
use crate::model::Monotonic;
use crate::platform;
use crate::wire::buffer::{Buffer, Full};
use crate::wire::http;
use crate::wire::http::server::{Request, RequestDecoder, RequestError, Response, encode_continue};

/// One request that is not complete, and what one read may bring behind it.
const INPUT_BYTES_MAX: usize = REQUEST_BYTES_MAX + READ_BYTES_MAX;
/// The backlog, then one answer of any size, and room for the heads of a turn's answers.
const OUTPUT_BYTES_MAX: usize = RESPONSE_BACKLOG_BYTES + 2 * REPLY_BYTES_MAX;

/// What a connection reads from and writes to.
pub(super) trait Stream: Read + Write {
    /// Tells the client that nothing more will come.
    ///
    /// # Errors
    /// The connection is gone.
    fn end_output(&self) -> io::Result<()>;
}

impl Stream for platform::Stream {
    fn end_output(&self) -> io::Result<()> {
        self.end_output()
    }
}

/// What a connection has for the turn.
#[derive(Debug)]
pub(super) enum Incoming<'b> {
    /// The head of a request whose body is still to come: to be refused now, or not.
    Head(Request<'b>),
    /// A request.
    Request(Request<'b>),
    /// A client that asks whether to send its body.
    Continue,
    /// Something that is no request; nothing more of this connection can be understood.
    Malformed(RequestError),
}

/// How the turn goes on with a connection after a request.
#[derive(Debug)]
pub(super) enum Flow {
    /// Its answer will have so many bytes; the next one, please.
    Next(usize),
    /// The same, but the turn takes no more.
    Full(usize),
    /// The same, and it is the last answer of the connection.
    Refuse(usize),
    /// The answer has to wait, and so have the requests behind it.
    Hold,
}

/// What is to be done about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing; [`Connection::wants_turn`] says whether it has more for the next turn.
    Fine,
    /// It wants to write, and cannot now.
    Blocked,
    /// It is to be dropped.
    Gone,
}

/// What has become of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// It has moved away.
    NotYet,
    /// A request takes too long to come: to be refused.
    Request,
    /// The connection is to be dropped without a word.
    Connection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Requests are read.
    Serving,
    /// The last answer is on its way out.
    Closing,
    /// It is out. What the client still sends is thrown away until it closes, or until this.
    Lingering(Monotonic),
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection<T> {
    stream: T,
    decoder: RequestDecoder,
    /// What came and was not decoded; mostly nothing.
    input: Buffer,
    /// Answers that the client has not taken; mostly nothing.
    output: Buffer,
    phase: Phase,
    source: Source,
    /// The buffer may contain whole requests.
    undecoded: bool,
    /// Its last request has to wait for its answer, and what is behind it for that: what becomes of
    /// the connection then.
    held: Option<http::server::Connection>,
    /// Bytes of answers of this turn.
    owed: usize,
    /// When the request that is coming in began.
    request_since: Option<Monotonic>,
    /// Since when the client takes nothing of what waits for it.
    blocked_since: Option<Monotonic>,
    /// When it was last of use.
    active_at: Monotonic,
    /// A read or a write has failed.
    failed: bool,
    /// What the reactor notes about it.
    pub(super) marks: Marks,
}

/// What is known of the client's side.
#[derive(Clone, Copy, Debug, Default)]
struct Source {
    /// There may be something to read. Under edge triggering this must be remembered.
    readable: bool,
    /// An event has told that the client sends nothing more; to be found by reading.
    hung_up: bool,
    /// That was found.
    ended: bool,
}

/// What the reactor notes about a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    /// It stands in the queue for the next turn.
    pub(super) queued: bool,
    /// The poll reports when it can be written to.
    pub(super) armed: bool,
    /// The time of its alarm.
    pub(super) alarm: Option<Monotonic>,
    /// What it had buffered when that was last counted.
    pub(super) buffered: usize,
}

impl<T: Stream> Connection<T> {
    pub(super) fn new(stream: T, now: Monotonic) -> Self {
        Self {
            stream,
            decoder: RequestDecoder::new(),
            input: Buffer::new(INPUT_BYTES_MAX),
            output: Buffer::new(OUTPUT_BYTES_MAX),
            phase: Phase::Serving,
            source: Source::default(),
            undecoded: false,
            held: None,
            owed: 0,
            request_since: None,
            blocked_since: None,
            active_at: now,
            failed: false,
            marks: Marks::default(),
        }
    }

    pub(super) fn stream(&self) -> &T {
        &self.stream
    }

    pub(super) fn stream_mut(&mut self) -> &mut T {
        &mut self.stream
    }

    /// Notes that there is something to read; `hung_up` if that may be the end.
    pub(super) fn note_readable(&mut self, hung_up: bool) {
        self.source.readable = true;
        self.source.hung_up |= hung_up;
    }

    /// Whether the client may have gone.
    pub(super) fn has_hung_up(&self) -> bool {
        self.source.hung_up || self.source.ended
    }

    /// Whether a read or a write has failed: the client has reset the connection.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Memory of what came and was not decoded, and of answers that the client has not taken, bytes.
    pub(super) fn buffered(&self) -> usize {
        self.input.capacity() + self.output.capacity()
    }

    /// Whether answers wait for the client to take them.
    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether a turn would find something to do.
    pub(super) fn wants_turn(&self) -> bool {
        match self.phase {
            Phase::Serving => {
                !self.is_paused() && (self.source.readable || self.undecoded || self.source.ended)
            }
            Phase::Closing => false,
            Phase::Lingering(_) => self.source.readable,
        }
    }

    fn is_paused(&self) -> bool {
        self.held.is_some() || self.output.len() + self.owed >= RESPONSE_BACKLOG_BYTES
    }

    // Held requests

    /// Whether its last request is held.
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// The answer to the request that was held is the next one: what becomes of the connection after
    /// it.
    pub(super) fn release(&mut self) -> http::server::Connection {
        self.held.take().unwrap_or_default()
    }

    // Answers

    /// Adds an answer. The caller sees to [`Connection::flush`].
    ///
    /// # Errors
    /// [`Full`], which cannot be, since no request is taken from a connection with a backlog.
    pub(super) fn answer(&mut self, response: &Response<'_>) -> Result<(), Full> {
        response.encode(&mut self.output)
    }

    /// Adds the go-ahead for a body.
    ///
    /// # Errors
    /// As [`Connection::answer`].
    pub(super) fn answer_continue(&mut self) -> Result<(), Full> {
        encode_continue(&mut self.output)
    }

    /// What came and was not decoded is no request any more.
    pub(super) fn forget_input(&mut self) {
        self.input.clear();
        self.undecoded = false;
    }

    /// After the answers that were added, the connection is closed.
    pub(super) fn close_after(&mut self) {
        self.refuse_all();
    }

    /// Writes what waits, as far as the client takes it.
    pub(super) fn flush(&mut self, now: Monotonic) -> Progress {
        self.owed = 0;
        while !self.output.is_empty() {
            match self.output.write_to(&mut self.stream) {
                Ok(_) => self.blocked_since = None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked_since.get_or_insert(now);
                    return Progress::Blocked;
                }
                Err(_) => {
                    self.failed = true;
                    return Progress::Gone;
                }
            }
        }
        self.blocked_since = None;
        self.active_at = now;
        if self.phase == Phase::Closing && self.held.is_none() {
            return self.finish(now);
        }
        Progress::Fine
    }

    /// The last answer is out.
    fn finish(&mut self, now: Monotonic) -> Progress {
        // Closing a socket with unread bytes resets the connection, and the client may lose what it
        // has not read yet.
        let unread = self.source.readable && !self.source.ended;
        if !unread || self.stream.end_output().is_err() {
            return Progress::Gone;
        }
        self.phase = Phase::Lingering(now.plus(LINGER_TIME_MAX));
        self.input.clear();
        Progress::Fine
    }

    // Time

    /// When it has to be looked at, if nothing happens before; none: a held request has all the time
    /// it wants.
    pub(super) fn deadline(&self) -> Option<Monotonic> {
        if let Phase::Lingering(until) = self.phase {
            return Some(until);
        }
        let waiting = [
            self.blocked_since.map(|since| since.plus(WRITE_TIME_MAX)),
            self.request_since.map(|since| since.plus(REQUEST_TIME_MAX)),
        ];
        let first = waiting.into_iter().flatten().min();
        first.or_else(|| self.held.is_none().then(|| self.active_at.plus(IDLE_TIME_MAX)))
    }

    /// What it means that this time has come.
    pub(super) fn expired(&self, now: Monotonic) -> Expired {
        let due = |since: Option<Monotonic>, time| since.is_some_and(|at| at.plus(time) <= now);
        if self.deadline().is_none_or(|at| at > now) {
            Expired::NotYet
        } else if due(self.blocked_since, WRITE_TIME_MAX) {
            Expired::Connection
        } else if self.phase == Phase::Serving && due(self.request_since, REQUEST_TIME_MAX) {
            Expired::Request
        } else {
            Expired::Connection
        }
    }
}

#[cfg(test)]
mod tests;
