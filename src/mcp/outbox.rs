//! What goes out to the agent: answers, notifications and our own requests, one line each, in a
//! bounded queue.
//!
//! It also says when the last byte of an answer has been taken: only then have its messages been handed
//! over.

use std::collections::VecDeque;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use super::quotes::Quoted;
use crate::limits::{RPC_OUT_BYTES_MAX, RPC_OUT_PAUSE_BYTES};
use crate::model::MessageId;
use crate::wire::buffer::Buffer;
use crate::wire::jsonrpc::{self, Fault, INTERNAL_ERROR, Id};
use crate::wire::ndjson::EncodeError;

/// An error as JSON-RPC has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RpcError {
    /// One of those of [`jsonrpc`].
    pub(super) code: i64,
    /// A sentence.
    pub(super) message: String,
    /// More, for programs.
    pub(super) data: Option<Value>,
}

impl RpcError {
    /// One without data.
    pub(super) fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }
}

/// The messages in an answer, which the agent knows of once the answer was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    /// In full: the agent then has them.
    pub(super) whole: Vec<MessageId>,
    /// Quoted behind it: the agent has then been notified of them.
    pub(super) quoted: Vec<Quoted>,
}

impl Carried {
    fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.quoted.is_empty()
    }

    fn join(&mut self, other: Self) {
        self.whole.extend(other.whole);
        self.quoted.extend(other.quoted);
    }
}

impl From<Vec<MessageId>> for Carried {
    fn from(whole: Vec<MessageId>) -> Self {
        Self { whole, quoted: Vec::new() }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Outbox {
    buffer: Buffer,
    /// Bytes queued since the start.
    queued: u64,
    /// Messages in an answer, with the position of its end.
    messages: VecDeque<(u64, Carried)>,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self { buffer: Buffer::new(RPC_OUT_BYTES_MAX), queued: 0, messages: VecDeque::new() }
    }

    /// Whether everything has been taken.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Whether so much waits that no further request should be read.
    pub(super) fn is_congested(&self) -> bool {
        self.buffer.len() > RPC_OUT_PAUSE_BYTES
    }

    /// Writes once, and no more than a writable pipe takes without blocking; returns the messages
    /// of which the whole answer has now been taken.
    ///
    /// # Errors
    /// What the writer answers.
    pub(super) fn write_to(&mut self, writer: &mut impl Write) -> io::Result<Carried> {
        self.buffer.write_to(writer)?;
        let taken = self.queued - self.buffer.len() as u64;
        let mut arrived = Carried::default();
        while self.messages.front().is_some_and(|(end, _)| *end <= taken) {
            arrived.join(self.messages.pop_front().map(|(_, carried)| carried).unwrap_or_default());
        }
        Ok(arrived)
    }

    /// Forgets everything: there is nobody to read it.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.messages.clear();
    }

    /// Answers a request. `messages` are those in the answer. Returns whether it was queued; if it was
    /// too large, an error is in its place.
    pub(super) fn respond<T: Serialize + ?Sized>(
        &mut self,
        to: &Id,
        result: &T,
        messages: impl Into<Carried>,
    ) -> bool {
        let fits = self.put(messages.into(), |out| jsonrpc::encode_result(out, to, result));
        if !fits {
            let sentence = "the answer is too large; ask for less at a time (limit)";
            self.fail(to, &RpcError::new(INTERNAL_ERROR, sentence));
        }
        fits
    }

    /// Answers a request with an error.
    pub(super) fn fail(&mut self, to: &Id, error: &RpcError) {
        self.put(Carried::default(), |out| {
            jsonrpc::encode_error(out, Some(to), error.code, &error.message, error.data.as_ref())
        });
    }

    /// Answers a line that is no valid message.
    pub(super) fn respond_fault(&mut self, id: Option<&Id>, fault: Fault) {
        self.put(Carried::default(), |out| jsonrpc::encode_fault(out, id, fault));
    }

    /// Sends an error that belongs to no request.
    pub(super) fn respond_nobody(&mut self, code: i64, message: &str) {
        self.put(Carried::default(), |out| jsonrpc::encode_error(out, None, code, message, None));
    }

    /// Sends a notification, if there is room for it; returns whether there was.
    pub(super) fn notify<P: Serialize + ?Sized>(&mut self, method: &str, params: &P) -> bool {
        self.put(Carried::default(), |out| jsonrpc::encode_notification(out, method, Some(params)))
    }

    /// Sends a request of ours, if there is room for it.
    pub(super) fn request(&mut self, id: &Id, method: &str) {
        self.put(Carried::default(), |out| jsonrpc::encode_request(out, id, method, None::<&()>));
    }

    /// Queues a line; returns whether there was room.
    fn put(
        &mut self,
        messages: Carried,
        encode: impl FnOnce(&mut Buffer) -> Result<(), EncodeError>,
    ) -> bool {
        let before = self.buffer.len();
        if encode(&mut self.buffer).is_err() {
            return false;
        }
        self.queued += (self.buffer.len() - before) as u64;
        if !messages.is_empty() {
            self.messages.push_back((self.queued, messages));
        }
        true
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::Seq;

    /// Everything that waits, as lines.
    pub(in crate::mcp) fn lines(outbox: &mut Outbox) -> Vec<Value> {
        let mut bytes = Vec::new();
        while !outbox.is_empty() {
            outbox.write_to(&mut bytes).unwrap();
        }
        bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    fn message(n: u64) -> MessageId {
        MessageId::new(Seq(n), [0; 16])
    }

    const PIECE_BYTES: usize = 4096;

    /// Takes no more than a piece at once, as a pipe does; counts what it took.
    struct InPieces(usize);

    impl Write for InPieces {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(PIECE_BYTES);
            self.0 += taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_answer_counts_when_its_last_byte_is_taken() {
        let mut outbox = Outbox::new();
        let long = "x".repeat(2 * PIECE_BYTES);
        outbox.respond(&Id::from(1), &long, vec![message(1)]);
        outbox.respond(&Id::from(2), &1, Vec::new());
        outbox.respond(&Id::from(3), &1, vec![message(2), message(3)]);
        let mut sink = InPieces(0);
        assert_eq!(outbox.write_to(&mut sink).unwrap(), Carried::default());
        assert_eq!(sink.0, PIECE_BYTES);
        assert_eq!(outbox.write_to(&mut sink).unwrap(), Carried::default());
        let all = vec![message(1), message(2), message(3)];
        assert_eq!(outbox.write_to(&mut sink).unwrap(), all.into());
        assert!(outbox.is_empty());
    }

    #[test]
    fn what_does_not_fit_becomes_an_error() {
        let mut outbox = Outbox::new();
        let large = "x".repeat(RPC_OUT_BYTES_MAX);
        outbox.respond(&Id::from(1), &large, vec![message(1)]);
        let lines = lines(&mut outbox);
        assert_eq!(lines[0]["error"]["code"], INTERNAL_ERROR);
        assert!(outbox.messages.is_empty());
        assert!(!outbox.is_congested());
        outbox.respond(&Id::from(1), &large[..RPC_OUT_PAUSE_BYTES], Vec::new());
        assert!(outbox.is_congested());
    }
}
