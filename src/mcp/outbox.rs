//! What goes out to the agent: answers, notifications and our own requests, one line each, in a
//! bounded queue.
//!
//! It also keeps the answers of a batch until it is complete, and tells when the last byte of an
//! answer has been taken: only then its messages count as handed over.

use std::collections::VecDeque;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use crate::limits::{RPC_OUT_BYTES_MAX, RPC_OUT_PAUSE_BYTES, RPC_WRITE_BYTES_MAX};
use crate::model::MessageId;
use crate::wire::buffer::Buffer;
use crate::wire::jsonrpc::{self, Fault, INTERNAL_ERROR, Id};
use crate::wire::ndjson::EncodeError;

/// A batch whose answers are being collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchId(u64);

/// Where an answer goes: to which request, and into which batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// The request.
    pub(super) id: Id,
    /// The batch it came in.
    pub(super) batch: Option<BatchId>,
}

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

/// The messages in an answer, which tell the agent something once the answer was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    /// In full: the agent has them then.
    pub(super) whole: Vec<MessageId>,
    /// Their beginning, in the notice: the agent knows of them then.
    pub(super) noticed: Vec<MessageId>,
}

impl Carried {
    fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.noticed.is_empty()
    }

    fn join(&mut self, other: Self) {
        self.whole.extend(other.whole);
        self.noticed.extend(other.noticed);
    }
}

impl From<Vec<MessageId>> for Carried {
    fn from(whole: Vec<MessageId>) -> Self {
        Self { whole, noticed: Vec::new() }
    }
}

#[derive(Debug)]
struct Batch {
    id: BatchId,
    /// Answers that are still to come.
    missing: usize,
    /// `[` and the answers so far, with commas.
    bytes: Vec<u8>,
    messages: Carried,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Outbox {
    buffer: Buffer,
    /// Bytes that were ever queued.
    queued: u64,
    /// Messages in an answer, with the position of its end.
    messages: VecDeque<(u64, Carried)>,
    batches: Vec<Batch>,
    batch_count: u64,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            buffer: Buffer::new(RPC_OUT_BYTES_MAX),
            queued: 0,
            messages: VecDeque::new(),
            batches: Vec::new(),
            batch_count: 0,
        }
    }

    /// Whether everything has been taken.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Whether so much waits that no further request should be read.
    pub(super) fn is_congested(&self) -> bool {
        self.buffer.len() > RPC_OUT_PAUSE_BYTES
    }

    /// Writes once, and no more than a writable pipe takes without blocking; gives the messages
    /// whose answers have now been taken whole.
    ///
    /// # Errors
    /// What the writer answers.
    pub(super) fn write_to(&mut self, writer: &mut impl Write) -> io::Result<Carried> {
        self.buffer.write_to(&mut AtMost(writer))?;
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

    /// Opens a batch that will get `answers` answers.
    pub(super) fn open_batch(&mut self, answers: usize) -> BatchId {
        self.batch_count += 1;
        let id = BatchId(self.batch_count);
        self.batches.push(Batch {
            id,
            missing: answers,
            bytes: vec![b'['],
            messages: Carried::default(),
        });
        id
    }

    /// Answers a request. `messages` are those in the answer; gives whether it is on its way, and
    /// not an error in its place.
    pub(super) fn respond<T: Serialize + ?Sized>(
        &mut self,
        to: &Address,
        answer: Result<&T, &RpcError>,
        messages: impl Into<Carried>,
    ) -> bool {
        match answer {
            Ok(result) => {
                let whole = self.put(to.batch, messages.into(), |out| {
                    jsonrpc::encode_result(out, &to.id, result)
                });
                if !whole {
                    let error = RpcError::new(
                        INTERNAL_ERROR,
                        "the answer is too large; ask for less at a time (limit)",
                    );
                    self.respond::<()>(to, Err(&error), Vec::new());
                }
                whole
            }
            Err(error) => self.put(to.batch, messages.into(), |out| {
                let data = error.data.as_ref();
                jsonrpc::encode_error(out, Some(&to.id), error.code, &error.message, data)
            }),
        }
    }

    /// Answers what was no message.
    pub(super) fn respond_fault(&mut self, id: Option<&Id>, batch: Option<BatchId>, fault: Fault) {
        self.put(batch, Carried::default(), |out| jsonrpc::encode_fault(out, id, fault));
    }

    /// Answers with an error that cannot be put down to a request.
    pub(super) fn respond_nobody(&mut self, code: i64, message: &str) {
        self.put(None, Carried::default(), |out| {
            jsonrpc::encode_error(out, None, code, message, None)
        });
    }

    /// There will be no answer to this request.
    pub(super) fn skip(&mut self, to: &Address) {
        if let Some(batch) = to.batch {
            self.collect(batch, &[], Carried::default());
        }
    }

    /// Sends a notification, if there is room for it; gives whether there was.
    pub(super) fn notify<P: Serialize + ?Sized>(&mut self, method: &str, params: &P) -> bool {
        self.put(None, Carried::default(), |out| {
            jsonrpc::encode_notification(out, method, Some(params))
        })
    }

    /// Sends a request of ours, if there is room for it.
    pub(super) fn request(&mut self, id: &Id, method: &str) {
        self.put(None, Carried::default(), |out| {
            jsonrpc::encode_request(out, id, method, None::<&()>)
        });
    }

    /// Queues a line, or adds it to its batch; gives whether there was room.
    fn put(
        &mut self,
        batch: Option<BatchId>,
        messages: Carried,
        encode: impl FnOnce(&mut Buffer) -> Result<(), EncodeError>,
    ) -> bool {
        if let Some(batch) = batch {
            let mut line = Buffer::new(self.buffer.room());
            if encode(&mut line).is_err() {
                return false;
            }
            self.collect(batch, line.as_slice().trim_ascii_end(), messages);
            return true;
        }
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

    /// Adds an answer, empty for none, to a batch, and sends the batch when it is complete. A batch
    /// of which nothing is to be answered is not answered (JSON-RPC 2.0 section 6).
    fn collect(&mut self, id: BatchId, answer: &[u8], messages: Carried) {
        let Some(at) = self.batches.iter().position(|batch| batch.id == id) else { return };
        let Some(batch) = self.batches.get_mut(at) else { return };
        if !answer.is_empty() {
            if batch.bytes.len() > 1 {
                batch.bytes.push(b',');
            }
            batch.bytes.extend_from_slice(answer);
        }
        batch.messages.join(messages);
        batch.missing = batch.missing.saturating_sub(1);
        if batch.missing > 0 {
            return;
        }
        let batch = self.batches.swap_remove(at);
        if batch.bytes.len() > 1 {
            self.put(None, batch.messages, |out| Ok(out.extend_all(&[&batch.bytes, b"]\n"])?));
        }
    }
}

/// Lets at most [`RPC_WRITE_BYTES_MAX`] bytes through at once.
struct AtMost<'a, W>(&'a mut W);

impl<W: Write> Write for AtMost<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes.get(..RPC_WRITE_BYTES_MAX).unwrap_or(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::Seq;
    use crate::wire::jsonrpc::INVALID_PARAMS;

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

    fn to(id: u64, batch: Option<BatchId>) -> Address {
        Address { id: Id::from(id), batch }
    }

    fn message(n: u64) -> MessageId {
        MessageId::new(Seq(n), [0; 16])
    }

    #[test]
    fn an_answer_counts_when_its_last_byte_is_taken() {
        let mut outbox = Outbox::new();
        let long = "x".repeat(2 * RPC_WRITE_BYTES_MAX);
        outbox.respond(&to(1, None), Ok(&long), vec![message(1)]);
        outbox.respond(&to(2, None), Ok(&1), Vec::new());
        outbox.respond(&to(3, None), Ok(&1), vec![message(2), message(3)]);
        let mut sink = Vec::new();
        assert_eq!(outbox.write_to(&mut sink).unwrap(), Carried::default());
        assert_eq!(sink.len(), RPC_WRITE_BYTES_MAX);
        assert_eq!(outbox.write_to(&mut sink).unwrap(), Carried::default());
        let all = vec![message(1), message(2), message(3)];
        assert_eq!(outbox.write_to(&mut sink).unwrap(), all.into());
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_batch_is_answered_when_it_is_complete() {
        let mut outbox = Outbox::new();
        let batch = Some(outbox.open_batch(3));
        outbox.respond(&to(2, batch), Ok("two"), vec![message(1)]);
        outbox.respond(&to(9, None), Ok("alone"), Vec::new());
        let error = RpcError::new(INVALID_PARAMS, "no");
        outbox.respond::<()>(&to(1, batch), Err(&error), Vec::new());
        assert_eq!(lines(&mut outbox).len(), 1);
        outbox.skip(&to(3, batch));
        let mut sink = Vec::new();
        assert_eq!(outbox.write_to(&mut sink).unwrap(), vec![message(1)].into());
        let answers: Value = serde_json::from_slice(&sink).unwrap();
        assert_eq!(answers[0]["result"], "two");
        assert_eq!(answers[1]["error"]["code"], INVALID_PARAMS);
        assert!(outbox.batches.is_empty());

        let batch = Some(outbox.open_batch(1));
        outbox.skip(&to(1, batch));
        assert!(outbox.is_empty());
    }

    #[test]
    fn what_does_not_fit_becomes_an_error() {
        let mut outbox = Outbox::new();
        let large = "x".repeat(RPC_OUT_BYTES_MAX);
        outbox.respond(&to(1, None), Ok(&large), vec![message(1)]);
        let lines = lines(&mut outbox);
        assert_eq!(lines[0]["error"]["code"], INTERNAL_ERROR);
        assert!(outbox.messages.is_empty());
        assert!(!outbox.is_congested());
        outbox.respond(&to(1, None), Ok(&large[..RPC_OUT_PAUSE_BYTES]), Vec::new());
        assert!(outbox.is_congested());
    }
}
