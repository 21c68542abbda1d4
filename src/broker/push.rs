//! A push connection: frames go out, acknowledgements come back.
//!
//! It knows no socket but something to read from and write to, no poll, and no clock.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::rc::Rc;

use crate::api::read_ack;
use crate::limits::{
    ACK_LINE_BYTES_MAX, FRAMES_PER_WRITE_MAX, LAST_WORDS_BYTES_MAX, PUSH_READ_BYTES_MAX,
    UPDATES_BACKLOG_BYTES,
};
use crate::log;
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

/// What has become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// All is well, and everything is written or read.
    Fine,
    /// It takes no more bytes now.
    Blocked,
    /// It has ended.
    Gone,
}

/// How much was read of what a peer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// All there is for now.
    All,
    /// A turn's share; there may be more.
    Part,
    /// Everything: the connection has ended.
    End,
}

/// A push connection.
#[derive(Debug)]
pub(super) struct PushConnection<T> {
    /// At the other end.
    pub(super) peer: PeerId,
    stream: T,
    frames: VecDeque<Frame>,
    /// Bytes of the first frame that are out.
    written: usize,
    /// Bytes of all frames that are not out.
    waiting_bytes: usize,
    lines: LineDecoder,
    /// The peer has hung up, or may have: what it said before is to be read to the end.
    hung_up: bool,
    /// The process at the other end has ended: how much is still read of what it said before. More
    /// is not its own, but of others that have the socket from it.
    last_words: Option<usize>,
    /// The core knows of it. Before that, it gets nothing.
    pub(super) announced: bool,
    /// What its owner notes about it.
    pub(super) marks: Marks,
}

/// What the owner of a connection notes about it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    /// The poll reports when it can be written to.
    pub(super) armed: bool,
    /// There may be more to read, and it is in the queue for that.
    pub(super) unread: bool,
    /// It has frames that came with this turn.
    pub(super) touched: bool,
}

impl<T: Read + Write> PushConnection<T> {
    pub(super) fn new(peer: PeerId, stream: T) -> Self {
        Self {
            peer,
            stream,
            frames: VecDeque::new(),
            written: 0,
            waiting_bytes: 0,
            lines: LineDecoder::new(ACK_LINE_BYTES_MAX),
            hung_up: false,
            last_words: None,
            announced: false,
            marks: Marks::default(),
        }
    }

    pub(super) fn stream_mut(&mut self) -> &mut T {
        &mut self.stream
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

    /// Writes what waits, as far as the peer takes it, and reports each message whose frame is out.
    pub(super) fn flush(&mut self, mut written: impl FnMut(Seq)) -> State {
        while !self.frames.is_empty() {
            let result = self.write();
            match result {
                Ok(0) => return State::Gone,
                Ok(bytes) => self.advance(bytes, &mut written),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return State::Blocked,
                    _ => return State::Gone,
                },
            }
        }
        // What a burst has taken is given back.
        self.frames.shrink_to(FRAMES_PER_WRITE_MAX);
        State::Fine
    }

    fn write(&mut self) -> io::Result<usize> {
        let Some(first) = self.frames.front() else { return Ok(0) };
        let first = first.bytes.get(self.written..).unwrap_or_default();
        if self.frames.len() == 1 {
            return self.stream.write(first);
        }
        let mut slices = [IoSlice::new(&[]); FRAMES_PER_WRITE_MAX];
        let rest = self.frames.iter().skip(1).map(|frame| &*frame.bytes);
        let pieces = std::iter::once(first).chain(rest);
        let mut used = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
            used += 1;
        }
        self.stream.write_vectored(slices.get(..used).unwrap_or_default())
    }

    fn advance(&mut self, bytes: usize, written: &mut impl FnMut(Seq)) {
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
        self.written += bytes;
        while let Some(first) = self.frames.front()
            && self.written >= first.bytes.len()
        {
            self.written -= first.bytes.len();
            if let Some(seq) = first.message {
                written(seq);
            }
            self.frames.pop_front();
        }
    }

    /// Reads what the peer says, at most its share of a turn, and reports each acknowledgement.
    pub(super) fn read(
        &mut self,
        scratch: &mut [u8],
        mut acknowledged: impl FnMut(MessageId),
    ) -> Heard {
        let mut share = PUSH_READ_BYTES_MAX;
        while share > 0 {
            let wanted = scratch.len().min(share).min(self.last_words.unwrap_or(usize::MAX));
            let target = scratch.get_mut(..wanted).unwrap_or_default();
            match self.stream.read(target) {
                // Nothing was wanted: these were the last words.
                Ok(0) if wanted == 0 => return Heard::All,
                Ok(0) => return Heard::End,
                Ok(read) => {
                    share = share.saturating_sub(read);
                    if let Some(left) = &mut self.last_words {
                        *left = left.saturating_sub(read);
                    }
                    self.take_lines(target.get(..read).unwrap_or_default(), &mut acknowledged);
                    // Less than was asked for: the stream is empty, says epoll(7). Its end would be
                    // an event of its own, if there was none yet.
                    if read < wanted && !self.hung_up && self.last_words.is_none() {
                        return Heard::All;
                    }
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Heard::All,
                    _ => return Heard::End,
                },
            }
        }
        Heard::Part
    }

    fn take_lines(&mut self, bytes: &[u8], acknowledged: &mut impl FnMut(MessageId)) {
        // Cannot be full: all lines of the read before were taken.
        let _ = self.lines.push(bytes);
        while let Some(line) = self.lines.next_line() {
            match line.map(read_ack) {
                Ok(Some(id)) => acknowledged(id),
                Ok(None) => log::debug(format_args!("peer {}: not an acknowledgement", self.peer)),
                Err(error) => log::debug(format_args!("peer {}: {error}", self.peer)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A connection whose other end is read by the test.
    fn pair() -> (PushConnection<UnixStream>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        (PushConnection::new(PeerId::from_random([7; 16]), ours), theirs)
    }

    fn frame(text: &str, message: Option<u64>) -> Frame {
        Frame { bytes: text.as_bytes().into(), message: message.map(Seq) }
    }

    fn read_all(stream: &mut UnixStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes
    }

    #[test]
    fn frames_leave_in_order_and_messages_are_reported_when_they_are_out() {
        let (mut push, mut peer) = pair();
        let mut written = Vec::new();
        for i in 0..100 {
            push.add(frame(&format!("{i}\n"), (i % 2 == 0).then_some(i)));
        }
        assert_eq!(push.flush(|seq| written.push(seq.0)), State::Fine);
        assert_eq!(written, (0..100).step_by(2).collect::<Vec<u64>>());
        let expected: Vec<String> = (0..100).map(|i| format!("{i}\n")).collect();
        assert_eq!(read_all(&mut peer), expected.concat().as_bytes());
        assert_eq!(push.waiting_bytes, 0);
    }

    #[test]
    fn a_peer_that_does_not_read_gets_messages_whole_later_and_loses_news() {
        let (mut push, mut peer) = pair();
        let mut written = Vec::new();
        let big = "m".repeat(200_000) + "\n";
        for seq in 1..=3 {
            push.add(frame(&big, Some(seq)));
            push.add(frame("news\n", None));
            push.flush(|seq| written.push(seq.0));
        }
        assert!(written.len() < 3 && push.flush(|_| {}) == State::Blocked);
        let mut received = Vec::new();
        while push.has_frames() {
            received.extend(read_all(&mut peer));
            push.flush(|seq| written.push(seq.0));
        }
        received.extend(read_all(&mut peer));
        assert_eq!(written, [1, 2, 3]);
        let lines: Vec<&[u8]> = received.split(|byte| *byte == b'\n').collect();
        assert_eq!(lines.iter().filter(|line| line.len() == 200_000).count(), 3);
        assert!(lines.iter().filter(|line| **line == b"news").count() < 3);
        assert_eq!((push.waiting_bytes, push.written), (0, 0));
    }

    #[test]
    fn acknowledgements_are_read_however_they_come() {
        let (mut push, mut peer) = pair();
        let ids: Vec<MessageId> = (0..40).map(|i| MessageId::new(Seq(i), [1; 16])).collect();
        let mut seen = Vec::new();
        let mut scratch = vec![0; PUSH_READ_BYTES_MAX];
        let acks: Vec<String> = ids.iter().map(|id| format!("{{\"ack\":\"{id}\"}}\n")).collect();
        let text = acks.concat();
        for byte in text.as_bytes() {
            peer.write_all(&[*byte]).unwrap();
            assert_eq!(push.read(&mut scratch, |id| seen.push(id)), Heard::All);
        }
        assert_eq!(seen, ids);
        seen.clear();
        peer.write_all(format!("{text}nonsense\n{}\n{text}", "x".repeat(5000)).as_bytes()).unwrap();
        drop(peer);
        push.note_hung_up();
        assert_eq!(push.read(&mut scratch, |id| seen.push(id)), Heard::End);
        assert_eq!(seen, [ids.clone(), ids].concat());
    }

    #[test]
    fn a_peer_that_writes_without_end_has_its_share() {
        let (mut push, mut peer) = pair();
        let mut scratch = vec![0; 1000];
        let fill = |peer: &mut UnixStream| while peer.write(&[b'\n'; 4096]).is_ok() {};
        let waiting = |push: &PushConnection<UnixStream>| {
            usize::try_from(rustix::io::ioctl_fionread(&push.stream).unwrap()).unwrap()
        };
        // Whether it has hung up or not: a share is a share.
        for hung_up in [false, true] {
            fill(&mut peer);
            push.hung_up = hung_up;
            let before = waiting(&push);
            assert_eq!(push.read(&mut scratch, |_| {}), Heard::Part);
            assert_eq!(before - waiting(&push), PUSH_READ_BYTES_MAX);
        }
    }

    #[test]
    fn of_a_process_that_has_ended_so_much_is_read_and_no_more() {
        let (mut push, mut peer) = pair();
        let id = MessageId::new(Seq(1), [1; 16]);
        peer.write_all(format!("{{\"ack\":\"{id}\"}}\n").as_bytes()).unwrap();
        let mut scratch = vec![0; 64 * 1024];
        let mut seen = Vec::new();
        push.note_ended();
        assert_eq!(push.read(&mut scratch, |id| seen.push(id)), Heard::All);
        assert_eq!(seen, [id]);
        // Its children go on writing.
        let (mut push, mut peer) = pair();
        push.note_ended();
        let mut heard = 0;
        loop {
            while peer.write(&[b'\n'; 4096]).is_ok() {}
            match push.read(&mut scratch, |_| {}) {
                Heard::Part => heard += PUSH_READ_BYTES_MAX,
                Heard::All => break,
                Heard::End => panic!("it is not closed"),
            }
            // That it has ended is told again: nothing is given anew.
            push.note_ended();
        }
        assert_eq!(heard, LAST_WORDS_BYTES_MAX);
    }

    #[test]
    fn the_end_of_the_peer_is_noticed_by_reading_and_by_writing() {
        let (mut push, peer) = pair();
        drop(peer);
        assert_eq!(push.read(&mut [0; 16], |_| {}), Heard::End);
        push.add(frame("x\n", Some(1)));
        assert_eq!(push.flush(|_| panic!("it was not written")), State::Gone);
    }
}
