//! A bounded queue of bytes.
//!
//! One type for both directions: what a socket has delivered and no codec has taken yet, and what
//! a codec has written and no socket has taken yet. An empty one holds no memory, so a thousand
//! idle connections cost nothing.

use std::fmt;
use std::io::{self, Read, Write};

/// Capacity of the first allocation, bytes: a short request or answer fits.
const FIRST_BYTES: usize = 512;

/// A buffer smaller than this is not made smaller before it is empty, bytes.
const SHRINK_ABOVE_BYTES: usize = 64 * 1024;

/// A queue of at most `limit` bytes, readable as one slice.
///
/// Each byte is moved a constant number of times on average, whatever the sizes of the pieces
/// that come and go. The price is memory: the allocation may be twice the limit.
#[derive(Debug)]
pub struct Buffer {
    /// Consumed bytes, then those that wait.
    bytes: Vec<u8>,
    /// Where the waiting bytes start.
    start: usize,
    limit: usize,
}

/// The bytes do not fit into a [`Buffer`]. None of them were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the buffer is full")
    }
}

impl std::error::Error for Full {}

impl From<Full> for io::Error {
    fn from(full: Full) -> Self {
        io::Error::new(io::ErrorKind::StorageFull, full)
    }
}

impl Buffer {
    /// An empty buffer for at most `limit` bytes. Allocates nothing.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, limit }
    }

    /// The bytes that wait, oldest first.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// The bytes that wait, to be changed in their place.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..).unwrap_or_default()
    }

    /// Number of bytes that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether no byte waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory that it holds, bytes.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Number of bytes that still fit.
    #[must_use]
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.len())
    }

    /// Drops the oldest `n` bytes, or all if there are fewer.
    pub fn consume(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.bytes.len());
        if self.is_empty() {
            self.clear();
        } else if self.bytes.capacity() > SHRINK_ABOVE_BYTES
            && self.len() < self.bytes.capacity() / 8
        {
            // Little is left of something large. At least three quarters of the allocation were
            // consumed for this one copy of an eighth.
            self.bytes = self.as_slice().to_vec();
            self.start = 0;
        }
    }

    /// Drops all bytes and gives the memory back.
    pub fn clear(&mut self) {
        self.bytes = Vec::new();
        self.start = 0;
    }

    /// Drops the newest bytes until `len` are left: takes back what an encoder could not finish.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(self.start.saturating_add(len));
        if self.is_empty() {
            self.clear();
        }
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    ///
    /// [`Full`] if they do not fit; then none of them were appended.
    pub fn extend(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.extend_all(&[bytes])
    }

    /// Appends all `pieces`, one after the other, with one allocation at most.
    ///
    /// # Errors
    ///
    /// [`Full`] if they do not fit together; then none of them were appended.
    pub fn extend_all(&mut self, pieces: &[&[u8]]) -> Result<(), Full> {
        let more = pieces.iter().fold(0_usize, |sum, piece| sum.saturating_add(piece.len()));
        if more > self.room() {
            return Err(Full);
        }
        self.reserve(more);
        for piece in pieces {
            self.bytes.extend_from_slice(piece);
        }
        Ok(())
    }

    /// Reads once from `reader`, at most `at_most` bytes and no more than there is room for.
    /// Returns how many; 0 is the end of the stream.
    ///
    /// An interrupted read is tried again.
    ///
    /// # Errors
    ///
    /// What the reader answers (`WouldBlock` too), and [`io::ErrorKind::StorageFull`] if no byte
    /// may be read, since 0 would look like the end of the stream.
    pub fn read_from(&mut self, reader: &mut impl Read, at_most: usize) -> io::Result<usize> {
        let wanted = at_most.min(self.room());
        if wanted == 0 {
            return Err(Full.into());
        }
        self.reserve(wanted);
        let filled = self.bytes.len();
        self.bytes.resize(filled + wanted, 0);
        let tail = self.bytes.get_mut(filled..).unwrap_or_default();
        let result = loop {
            match reader.read(tail) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let read = result.as_ref().map_or(0, |read| wanted.min(*read));
        self.bytes.truncate(filled + read);
        if self.is_empty() {
            self.clear();
        }
        result
    }

    /// Writes once to `writer` and drops what it took. Returns how much that was; an empty buffer
    /// writes nothing.
    ///
    /// An interrupted write is tried again.
    ///
    /// # Errors
    ///
    /// What the writer answers (`WouldBlock` too), and [`io::ErrorKind::WriteZero`] if it takes
    /// nothing without an error.
    pub fn write_to(&mut self, writer: &mut impl Write) -> io::Result<usize> {
        if self.is_empty() {
            return Ok(0);
        }
        let written = loop {
            match writer.write(self.as_slice()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.consume(written);
        Ok(written)
    }

    /// Makes the tail large enough for `more` bytes.
    fn reserve(&mut self, more: usize) {
        let fits = |bytes: &Vec<u8>| bytes.capacity() - bytes.len() >= more;
        if fits(&self.bytes) {
            return;
        }
        let live = self.len();
        if self.start >= live {
            // No more bytes are moved than were consumed.
            self.bytes.copy_within(self.start.., 0);
            self.bytes.truncate(live);
            self.start = 0;
            if fits(&self.bytes) {
                return;
            }
        }
        // Twice what waits, also where that is beyond the limit: only then is the next move of
        // so many bytes as far away as they are many.
        let capacity = live.saturating_add(more.max(live)).max(FIRST_BYTES);
        if self.start == 0 {
            self.bytes.reserve_exact(capacity - live);
        } else {
            let mut bytes = Vec::with_capacity(capacity);
            bytes.extend_from_slice(self.as_slice());
            self.bytes = bytes;
            self.start = 0;
        }
    }
}

/// So that a serialiser can write into a buffer. A write is taken whole or not at all.
impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::wire::testing::Random;

    #[test]
    fn bytes_come_out_in_order() {
        let mut buffer = Buffer::new(10);
        buffer.extend(b"abc").unwrap();
        buffer.extend_all(&[b"d", b"", b"ef"]).unwrap();
        assert_eq!((buffer.as_slice(), buffer.len(), buffer.room()), (&b"abcdef"[..], 6, 4));
        buffer.consume(2);
        assert_eq!(buffer.as_slice(), b"cdef");
        buffer.truncate(3);
        assert_eq!(buffer.as_slice(), b"cde");
        buffer.consume(usize::MAX);
        assert!(buffer.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_not_taken_in_part() {
        let mut buffer = Buffer::new(4);
        buffer.extend(b"abc").unwrap();
        assert_eq!(buffer.extend(b"de"), Err(Full));
        assert_eq!(buffer.extend_all(&[b"d", b"e"]), Err(Full));
        assert_eq!(buffer.write(b"de").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(buffer.as_slice(), b"abc");
        buffer.extend(b"d").unwrap();
        assert_eq!((buffer.as_slice(), buffer.room()), (&b"abcd"[..], 0));
    }

    #[test]
    fn an_empty_one_holds_no_memory() {
        let mut buffer = Buffer::new(1 << 20);
        assert_eq!(buffer.bytes.capacity(), 0);
        buffer.extend(&vec![7; 1 << 20]).unwrap();
        buffer.consume(1 << 20);
        assert_eq!(buffer.bytes.capacity(), 0);
        buffer.extend(b"x").unwrap();
        buffer.truncate(0);
        assert_eq!(buffer.bytes.capacity(), 0);
        assert!(buffer.read_from(&mut Failing, 4096).is_err());
        assert_eq!(buffer.bytes.capacity(), 0);
        buffer.extend(b"x").unwrap();
        buffer.write_to(&mut Vec::new()).unwrap();
        assert_eq!(buffer.bytes.capacity(), 0);
    }

    #[test]
    fn a_small_rest_does_not_hold_the_memory_of_what_was_large() {
        let mut buffer = Buffer::new(1 << 20);
        buffer.extend(&vec![7; 1 << 20]).unwrap();
        buffer.consume((1 << 20) - 3);
        assert_eq!(buffer.as_slice(), [7; 3]);
        assert!(buffer.bytes.capacity() < 100);
    }

    /// With a move of all that waits for each byte, this would be a terabyte.
    #[test]
    fn a_long_queue_is_not_moved_for_each_byte() {
        const LIMIT: usize = 1 << 20;
        let mut buffer = Buffer::new(LIMIT);
        buffer.extend(&vec![0; LIMIT]).unwrap();
        for _ in 0..LIMIT {
            buffer.consume(1);
            buffer.extend(b"x").unwrap();
        }
        assert_eq!((buffer.len(), buffer.room()), (LIMIT, 0));
        assert!(buffer.as_slice().iter().all(|byte| *byte == b'x'));
        assert!(buffer.bytes.capacity() <= 2 * LIMIT);
    }

    struct Failing;

    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    /// Is interrupted each second time, and takes or gives three bytes at most.
    struct Interrupted(bool, Vec<u8>);

    impl Interrupted {
        fn pass(&mut self) -> io::Result<()> {
            self.0 = !self.0;
            if self.0 { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
        }
    }

    impl Read for Interrupted {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            self.pass()?;
            let n = to.len().min(3);
            to[..n].fill(b'r');
            Ok(n)
        }
    }

    impl Write for Interrupted {
        fn write(&mut self, from: &[u8]) -> io::Result<usize> {
            self.pass()?;
            let n = from.len().min(3);
            self.1.extend_from_slice(&from[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn reads_and_writes_go_on_after_an_interruption() {
        let mut buffer = Buffer::new(100);
        let mut stream = Interrupted(false, Vec::new());
        assert_eq!(buffer.read_from(&mut stream, 10).unwrap(), 3);
        assert_eq!(buffer.read_from(&mut stream, 2).unwrap(), 2);
        assert_eq!(buffer.as_slice(), b"rrrrr");
        assert_eq!(buffer.write_to(&mut stream).unwrap(), 3);
        assert_eq!(buffer.write_to(&mut stream).unwrap(), 2);
        assert_eq!(buffer.write_to(&mut stream).unwrap(), 0);
        assert_eq!(stream.1, b"rrrrr");
    }

    #[test]
    fn a_failed_read_leaves_what_there_was() {
        let mut buffer = Buffer::new(100);
        buffer.extend(b"abc").unwrap();
        let error = buffer.read_from(&mut Failing, 50).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(buffer.as_slice(), b"abc");
    }

    #[test]
    fn the_end_of_a_stream_is_not_mistaken_for_a_full_buffer() {
        let mut buffer = Buffer::new(3);
        assert_eq!(buffer.read_from(&mut &b""[..], 10).unwrap(), 0);
        assert_eq!(buffer.read_from(&mut &b"abcdef"[..], 10).unwrap(), 3);
        let full = buffer.read_from(&mut &b"def"[..], 10).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert_eq!(buffer.as_slice(), b"abc");
    }

    #[test]
    fn a_writer_that_takes_nothing_is_an_error() {
        let mut buffer = Buffer::new(3);
        buffer.extend(b"abc").unwrap();
        let error = buffer.write_to(&mut &mut [][..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
        assert_eq!(buffer.as_slice(), b"abc");
    }

    #[test]
    fn it_is_a_queue() {
        let mut random = Random::new(1);
        for limit in [0, 1, 7, 600, 5000, 300_000] {
            let mut buffer = Buffer::new(limit);
            let mut model = VecDeque::new();
            for _ in 0..3000 {
                let n = random.below(limit / 2 + 2);
                match random.below(4) {
                    0 => {
                        buffer.consume(n);
                        drop(model.drain(..n.min(model.len())));
                    }
                    1 if random.below(4) == 0 => {
                        buffer.truncate(n);
                        model.truncate(n);
                    }
                    _ => {
                        let byte = random.byte();
                        let result = buffer.extend(&vec![byte; n]);
                        assert_eq!(result.is_ok(), model.len() + n <= limit);
                        if result.is_ok() {
                            model.extend(std::iter::repeat_n(byte, n));
                        }
                    }
                }
                assert_eq!(buffer.len(), model.len());
                assert!(buffer.bytes.capacity() <= (2 * limit).max(FIRST_BYTES));
            }
            assert!(buffer.as_slice().iter().eq(model.iter()));
        }
    }
}
