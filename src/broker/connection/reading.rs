//! The reading side of a connection: bytes in, requests out.

use std::io;
use std::mem;

use super::{Connection, Flow, INPUT_BYTES_MAX, Incoming, Phase, Progress, Stream};
use crate::limits::READS_PER_TURN_MAX;
use crate::model::Monotonic;
use crate::wire::buffer::Buffer;
use crate::wire::http::server::{self, Decoded};

/// Why no more requests are taken for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// More bytes are needed.
    Incomplete,
    /// A request is held, or too many answers wait.
    Paused,
    /// The turn takes no more.
    TurnFull,
}

impl<T: Stream> Connection<T> {
    /// Hands what has come to `take`, request by request, reading more as long as there is more.
    pub(in crate::broker) fn serve(
        &mut self,
        now: Monotonic,
        scratch: &mut [u8],
        mut take: impl FnMut(Incoming<'_>) -> Flow,
    ) -> Progress {
        if let Phase::Lingering(_) = self.phase {
            return self.discard(scratch);
        }
        if self.undecoded && !self.is_paused() {
            match self.decode_input(now, &mut take) {
                Stop::TurnFull => return Progress::Fine,
                Stop::Incomplete | Stop::Paused => {}
            }
        }
        let mut reads = 0;
        while self.source.readable
            && !self.undecoded
            && self.phase == Phase::Serving
            && !self.is_paused()
        {
            if reads == READS_PER_TURN_MAX {
                return Progress::Fine;
            }
            reads += 1;
            let read = match self.read(scratch) {
                Ok(0) => continue,
                Ok(read) => read,
                Err(_) => {
                    self.failed = true;
                    return Progress::Gone;
                }
            };
            let bytes = scratch.get(..read).unwrap_or_default();
            if self.take_in(bytes, now, &mut take) == Stop::TurnFull {
                return Progress::Fine;
            }
        }
        self.after_serving(now)
    }

    /// Reads once; 0 if there is nothing to read any more.
    fn read(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        let wanted = scratch.len().min(self.input.room());
        let target = scratch.get_mut(..wanted).unwrap_or_default();
        loop {
            return match self.stream.read(target) {
                Ok(0) => {
                    self.source.readable = false;
                    self.source.ended = true;
                    Ok(0)
                }
                Ok(read) => {
                    // A read that finds less than it asked for has emptied a stream, says epoll(7).
                    // Behind it there may still be the end, if the event told of one.
                    self.source.readable = read == wanted || self.source.hung_up;
                    Ok(read)
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::WouldBlock => {
                        self.source.readable = false;
                        Ok(0)
                    }
                    _ => Err(error),
                },
            };
        }
    }

    /// Decodes `bytes`, which have just come, in place if nothing came before them, and keeps what
    /// could not be decoded.
    fn take_in(
        &mut self,
        bytes: &[u8],
        now: Monotonic,
        take: &mut impl FnMut(Incoming<'_>) -> Flow,
    ) -> Stop {
        if !self.input.is_empty() {
            // Cannot be full: no more was read than there is room for.
            let _ = self.input.extend(bytes);
            return self.decode_input(now, take);
        }
        let (used, stop) = self.decode(bytes, now, take);
        let _ = self.input.extend(bytes.get(used..).unwrap_or_default());
        stop
    }

    fn decode_input(
        &mut self,
        now: Monotonic,
        take: &mut impl FnMut(Incoming<'_>) -> Flow,
    ) -> Stop {
        let mut input = mem::replace(&mut self.input, Buffer::new(INPUT_BYTES_MAX));
        let (used, stop) = self.decode(input.as_slice(), now, take);
        input.consume(used);
        self.input = input;
        stop
    }

    /// Decodes as many requests of `bytes` as are taken; gives how many bytes they had.
    fn decode(
        &mut self,
        bytes: &[u8],
        now: Monotonic,
        take: &mut impl FnMut(Incoming<'_>) -> Flow,
    ) -> (usize, Stop) {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            self.undecoded = !rest.is_empty();
            if self.phase != Phase::Serving {
                // Whatever follows the last request is not for us.
                self.undecoded = false;
                return (bytes.len(), Stop::Paused);
            }
            if self.is_paused() {
                return (used, Stop::Paused);
            }
            let decoded = self.decoder.decode(rest);
            if let Ok(Decoded::Incomplete | Decoded::Continue) = decoded
                && let Some(head) = self.decoder.head(rest)
                && let Flow::Refuse(bytes) = take(Incoming::Head(head))
            {
                self.owed += bytes;
                self.refuse_all();
                continue;
            }
            let mut after = server::Connection::Keep;
            let incoming = match decoded {
                Ok(Decoded::Incomplete) => {
                    self.undecoded = false;
                    return (used, Stop::Incomplete);
                }
                Ok(Decoded::Continue) => Incoming::Continue,
                Ok(Decoded::Request(request)) => {
                    used += request.len;
                    self.request_since = None;
                    self.active_at = now;
                    after = request.connection;
                    if after == server::Connection::Close {
                        self.phase = Phase::Closing;
                    }
                    Incoming::Request(request)
                }
                Err(error) => {
                    self.refuse_all();
                    Incoming::Malformed(error)
                }
            };
            match take(incoming) {
                // Only a head is refused, and that is seen to above.
                Flow::Next(bytes) | Flow::Refuse(bytes) => self.owed += bytes,
                Flow::Full(owed) => {
                    self.owed += owed;
                    self.undecoded = used < bytes.len();
                    return (used, Stop::TurnFull);
                }
                Flow::Hold => self.held = Some(after),
            }
        }
    }

    fn after_serving(&mut self, now: Monotonic) -> Progress {
        if self.phase == Phase::Serving && !self.is_paused() {
            if self.source.ended && !self.undecoded {
                // A client may half-close once it has sent all its requests; part of one is nothing.
                self.phase = Phase::Closing;
                self.request_since = None;
            } else if self.decoder.in_request() {
                self.request_since.get_or_insert(now);
            }
        }
        if self.phase == Phase::Closing
            && self.output.is_empty()
            && self.owed == 0
            && self.held.is_none()
        {
            return Progress::Gone;
        }
        Progress::Fine
    }

    /// After this, nothing the client sends is a request.
    pub(super) fn refuse_all(&mut self) {
        self.phase = Phase::Closing;
        self.request_since = None;
        // The rest of what is no request may still come.
        self.source.readable = true;
    }

    /// Throws away what still comes, so that the client finds its answer and not a reset.
    fn discard(&mut self, scratch: &mut [u8]) -> Progress {
        for _ in 0..READS_PER_TURN_MAX {
            match self.stream.read(scratch) {
                Ok(0) => return Progress::Gone,
                Ok(_) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => {
                        self.source.readable = false;
                        return Progress::Fine;
                    }
                    _ => return Progress::Gone,
                },
            }
        }
        Progress::Fine
    }
}
