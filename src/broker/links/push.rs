//! A push connection: frames go out, acknowledgements come back.
//!
//! It knows no socket, no poll, and no clock: it says what is to be written and how much is to be
//! read, and is told what came of it.

use std::collections::{VecDeque, vec_deque};
use std::rc::Rc;

use crate::api::read_ack;
use crate::limits::{
    ACK_LINE_BYTES_MAX, FRAMES_PER_WRITE_MAX, LAST_WORDS_BYTES_MAX, PUSH_READ_BYTES_MAX,
    UPDATES_BACKLOG_BYTES,
};
use crate::model::{MessageId, PeerId, Seq};
use crate::wire::ndjson::LineDecoder;

/// A frame on its way out.
#[derive(Debug)]
pub(super) struct Frame {
    /// A line; the same memory for all who get it.
    pub(super) bytes: Rc<[u8]>,
    /// The message in it. Without one, the frame may be dropped.
    pub(super) message: Option<Seq>,
}

/// How much was read of what a peer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// There may be more, and it may be read at once.
    More,
    /// A turn's share; there may be more.
    Share,
    /// All there is for now.
    All,
}

/// A push connection.
#[derive(Debug)]
pub(super) struct PushConnection {
    /// At the other end.
    pub(super) peer: PeerId,
    frames: VecDeque<Frame>,
    /// Bytes of the first frame that are out.
    written: usize,
    /// Bytes of all frames that are not out.
    waiting_bytes: usize,
    lines: LineDecoder,
    /// How much more may be read in this turn, and how much was last asked for.
    share: usize,
    asked: usize,
    /// The peer has hung up, or may have: what it said before is to be read to the end.
    hung_up: bool,
    /// The process at the other end has ended: how much is still read of what it said before. More
    /// is not its own, but of others that have the socket from it.
    last_words: Option<usize>,
    /// What its owner notes about it.
    pub(super) marks: Marks,
}

/// What is to be written: what is left of the first frame, and those after it.
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    first: Option<&'a [u8]>,
    rest: vec_deque::Iter<'a, Frame>,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.first.take().or_else(|| self.rest.next().map(|frame| &*frame.bytes))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = usize::from(self.first.is_some()) + self.rest.len();
        (len, Some(len))
    }
}

impl ExactSizeIterator for Pieces<'_> {}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It is being made.
    #[default]
    Opening,
    /// It stands, and that is among the news.
    Up,
    /// The core knows of it. Before that, it gets nothing.
    Announced,
}

/// What the owner of a connection notes about it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    /// The process that listens there, if the kernel tells.
    pub(super) pid: Option<u32>,
    pub(super) stage: Stage,
    /// It takes no bytes now; the poll reports when it does.
    pub(super) blocked: bool,
    /// It is to be written to, and that is among the outputs.
    pub(super) writing: bool,
    /// There may be more to read, and it is in the queue for that.
    pub(super) unread: bool,
}

impl PushConnection {
    pub(super) fn new(peer: PeerId) -> Self {
        Self {
            peer,
            frames: VecDeque::new(),
            written: 0,
            waiting_bytes: 0,
            lines: LineDecoder::new(ACK_LINE_BYTES_MAX),
            share: 0,
            asked: 0,
            hung_up: false,
            last_words: None,
            marks: Marks::default(),
        }
    }

    /// Notes that the peer may have hung up.
    pub(super) fn note_hung_up(&mut self) {
        self.hung_up = true;
    }

    /// Notes that the process at the other end has ended.
    pub(super) fn note_ended(&mut self) {
        self.last_words.get_or_insert(LAST_WORDS_BYTES_MAX);
    }

    /// Whether the process at the other end has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.last_words.is_some()
    }

    // Writing

    /// Whether frames wait.
    pub(super) fn has_frames(&self) -> bool {
        !self.frames.is_empty()
    }

    /// Adds a frame, or drops it if it may be dropped and too much waits already. Of messages, no
    /// more wait than the core's window for this peer.
    pub(super) fn add(&mut self, frame: Frame) {
        if frame.message.is_none() && self.waiting_bytes >= UPDATES_BACKLOG_BYTES {
            return;
        }
        self.waiting_bytes += frame.bytes.len();
        self.frames.push_back(frame);
    }

    /// What is to be written next.
    pub(super) fn to_write(&self) -> Option<Pieces<'_>> {
        let mut rest = self.frames.iter();
        let first = rest.next()?.bytes.get(self.written..).unwrap_or_default();
        Some(Pieces { first: Some(first), rest })
    }

    /// So many bytes are out; reports each message whose frame is.
    pub(super) fn wrote(&mut self, bytes: usize, mut out: impl FnMut(Seq)) {
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
        self.written += bytes;
        while let Some(first) = self.frames.front()
            && self.written >= first.bytes.len()
        {
            self.written -= first.bytes.len();
            if let Some(seq) = first.message {
                out(seq);
            }
            self.frames.pop_front();
        }
        if self.frames.is_empty() {
            // What a burst has taken is given back.
            self.frames.shrink_to(FRAMES_PER_WRITE_MAX);
        }
    }

    // Reading

    /// Gives it its share of a turn.
    pub(super) fn begin_reading(&mut self) {
        self.share = PUSH_READ_BYTES_MAX;
    }

    /// How much is to be read next, at most `at_most`, bytes; 0: nothing.
    pub(super) fn wants(&mut self, at_most: usize) -> usize {
        self.asked = at_most.min(self.share).min(self.last_words.unwrap_or(usize::MAX));
        self.asked
    }

    /// What was read; reports each acknowledgement. Adds to `strange` the lines that are none.
    pub(super) fn heard(
        &mut self,
        bytes: &[u8],
        strange: &mut u32,
        mut acknowledged: impl FnMut(MessageId),
    ) -> Heard {
        self.share = self.share.saturating_sub(bytes.len());
        if let Some(left) = &mut self.last_words {
            *left = left.saturating_sub(bytes.len());
        }
        // Cannot be full: all lines of the read before were taken.
        let _ = self.lines.push(bytes);
        while let Some(line) = self.lines.next_line() {
            match line.map(read_ack) {
                Ok(Some(id)) => acknowledged(id),
                Ok(None) | Err(_) => *strange += 1,
            }
        }
        // Less than was asked for: the stream is empty, says epoll(7). Its end would be an event of
        // its own, if there was none yet.
        let is_empty = bytes.len() < self.asked && !self.hung_up && self.last_words.is_none();
        if is_empty || self.last_words == Some(0) {
            self.heard_all()
        } else if self.share == 0 {
            Heard::Share
        } else {
            Heard::More
        }
    }

    /// There is no more to read now.
    pub(super) fn heard_all(&mut self) -> Heard {
        self.share = 0;
        Heard::All
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> PushConnection {
        PushConnection::new(PeerId::from_random([7; 16]))
    }

    fn frame(text: &str, message: Option<u64>) -> Frame {
        Frame { bytes: text.as_bytes().into(), message: message.map(Seq) }
    }

    /// Takes at most so many bytes of what is to be written, as a socket would.
    fn take(push: &mut PushConnection, mut room: usize, written: &mut Vec<u64>) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(pieces) = push.to_write()
            && room > 0
        {
            let all: Vec<u8> = pieces.flatten().copied().collect();
            let bytes = all.len().min(room).min(100_000);
            out.extend_from_slice(&all[..bytes]);
            room -= bytes;
            push.wrote(bytes, |seq| written.push(seq.0));
        }
        out
    }

    /// Hears `bytes` in a turn of their own; gives the acknowledgements and how it went.
    fn hear(push: &mut PushConnection, mut bytes: &[u8]) -> (Vec<MessageId>, Heard) {
        let mut seen = Vec::new();
        push.begin_reading();
        loop {
            let asked = push.wants(1000);
            assert_ne!(asked, 0, "nothing is asked for, and it was not said why");
            let (now, later) = bytes.split_at(asked.min(bytes.len()));
            bytes = later;
            let heard = if now.is_empty() {
                push.heard_all()
            } else {
                push.heard(now, &mut 0, |id| seen.push(id))
            };
            if heard != Heard::More {
                assert_eq!(push.wants(1000), 0);
                return (seen, heard);
            }
        }
    }

    #[test]
    fn frames_leave_in_order_and_messages_are_reported_when_they_are_out() {
        for room in [1, 7, usize::MAX] {
            let (mut push, mut written, mut received) = (connection(), Vec::new(), Vec::new());
            for i in 0..100 {
                push.add(frame(&format!("{i}\n"), (i % 2 == 0).then_some(i)));
            }
            while push.has_frames() {
                received.extend(take(&mut push, room, &mut written));
                let whole = received.split(|byte| *byte == b'\n').count() as u64 - 1;
                assert_eq!(written.len() as u64, whole.div_ceil(2), "a message that is out");
            }
            assert_eq!(written, (0..100).step_by(2).collect::<Vec<u64>>());
            let expected: Vec<String> = (0..100).map(|i| format!("{i}\n")).collect();
            assert_eq!(received, expected.concat().as_bytes());
            assert_eq!((push.waiting_bytes, push.written), (0, 0));
        }
    }

    #[test]
    fn a_peer_that_does_not_read_gets_messages_whole_later_and_loses_news() {
        let (mut push, mut written) = (connection(), Vec::new());
        let big = "m".repeat(200_000) + "\n";
        let mut received = Vec::new();
        for seq in 1..=3 {
            push.add(frame(&big, Some(seq)));
            push.add(frame("news\n", None));
            if seq == 1 {
                received.extend(take(&mut push, 50_000, &mut written));
            }
        }
        assert_eq!(written, [0; 0]);
        while push.has_frames() {
            received.extend(take(&mut push, 70_000, &mut written));
        }
        assert_eq!(written, [1, 2, 3]);
        let lines: Vec<&[u8]> = received.split(|byte| *byte == b'\n').collect();
        assert_eq!(lines.iter().filter(|line| line.len() == 200_000).count(), 3);
        assert_eq!(lines.iter().filter(|line| **line == b"news").count(), 1);
        assert_eq!((push.waiting_bytes, push.written), (0, 0));
    }

    #[test]
    fn acknowledgements_are_heard_however_they_come() {
        let mut push = connection();
        let ids: Vec<MessageId> = (0..40).map(|i| MessageId::new(Seq(i), [1; 16])).collect();
        let acks: Vec<String> = ids.iter().map(|id| format!("{{\"ack\":\"{id}\"}}\n")).collect();
        let text = acks.concat();
        let bytes = text.as_bytes().iter();
        let seen: Vec<MessageId> = bytes
            .flat_map(|byte| {
                let (seen, heard) = hear(&mut push, &[*byte]);
                assert_eq!(heard, Heard::All);
                seen
            })
            .collect();
        assert_eq!(seen, ids);
        let strange = format!("{text}nonsense\n{}\n{text}", "x".repeat(5000));
        push.note_hung_up();
        assert_eq!(hear(&mut push, strange.as_bytes()), ([ids.clone(), ids].concat(), Heard::All));
    }

    #[test]
    fn lines_that_are_no_acknowledgement_are_counted() {
        let (mut push, mut strange) = (connection(), 0);
        push.begin_reading();
        push.wants(10_000);
        let text = format!("nonsense\n\n{{\"ack\":1}}\n{}\n", "x".repeat(5000));
        push.heard(text.as_bytes(), &mut strange, |_| panic!("nothing was acknowledged"));
        assert_eq!(strange, 3);
    }

    #[test]
    fn a_peer_that_writes_without_end_has_its_share() {
        // Whether it has hung up or not: a share is a share.
        for hung_up in [false, true] {
            let mut push = connection();
            push.hung_up = hung_up;
            let mut heard = 0;
            push.begin_reading();
            loop {
                let asked = push.wants(1000);
                heard += asked;
                match push.heard(&vec![b'\n'; asked], &mut 0, |_| {}) {
                    Heard::More => {}
                    Heard::Share => break,
                    Heard::All => panic!("there is more"),
                }
            }
            assert_eq!(heard, PUSH_READ_BYTES_MAX);
        }
    }

    #[test]
    fn less_than_was_asked_for_is_all_unless_it_has_hung_up() {
        let mut push = connection();
        push.begin_reading();
        push.wants(100);
        assert_eq!(push.heard(b"\n", &mut 0, |_| {}), Heard::All);
        push.note_hung_up();
        push.begin_reading();
        push.wants(100);
        assert_eq!(push.heard(b"\n", &mut 0, |_| {}), Heard::More, "its end is still to be read");
    }

    #[test]
    fn of_a_process_that_has_ended_so_much_is_read_and_no_more() {
        let mut push = connection();
        let id = MessageId::new(Seq(1), [1; 16]);
        push.note_ended();
        let ack = format!("{{\"ack\":\"{id}\"}}\n");
        assert_eq!(hear(&mut push, ack.as_bytes()), (vec![id], Heard::All));
        // Its children go on writing.
        let mut push = connection();
        push.note_ended();
        let mut heard = 0;
        let end = loop {
            push.begin_reading();
            let last = loop {
                let asked = push.wants(5000);
                heard += asked;
                match push.heard(&vec![b'\n'; asked], &mut 0, |_| {}) {
                    Heard::More => {}
                    last => break last,
                }
            };
            if last == Heard::All {
                break last;
            }
            // That it has ended is told again: nothing is given anew.
            push.note_ended();
        };
        assert_eq!((heard, end), (LAST_WORDS_BYTES_MAX, Heard::All));
    }
}
