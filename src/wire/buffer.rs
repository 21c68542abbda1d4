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
