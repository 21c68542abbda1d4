//! Lines of JSON, each ended by a newline.
//!
//! A newline cannot occur inside a JSON text but as white space, so lines can be told apart
//! without parsing them, and a stream survives a line that is no JSON or too long.

use std::fmt;
use std::io::{self, Read, Write};
use std::str;

use memchr::memchr;
use serde::Serialize;

use super::buffer::{Buffer, Full};
use crate::limits::READ_BYTES_MAX;

/// Splits a stream into lines.
///
/// Put bytes in, then take lines until there is none, then put in more. A line may end in CRLF;
/// empty and blank lines are skipped. It looks at each byte once, however the bytes come.
#[derive(Debug)]
pub struct LineDecoder {
    buffer: Buffer,
    line_max: usize,
    /// Bytes of the buffer that have no newline.
    searched: usize,
    /// Length of the line that was handed out last; it is consumed with the next call.
    taken: usize,
    /// The line that comes in was too long: drop the rest of it.
    skipping: bool,
}

/// A line was over the limit and was dropped. The next line is not affected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineTooLong;

impl fmt::Display for LineTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the line is too long")
    }
}

impl std::error::Error for LineTooLong {}

impl LineDecoder {
    /// A decoder for lines of at most `line_max` bytes, without their ends.
    #[must_use]
    pub const fn new(line_max: usize) -> Self {
        // One line, as far as it has come, and one read. The longest such line lacks only its
        // newline.
        let limit = line_max.saturating_add(1).saturating_add(READ_BYTES_MAX);
        Self { buffer: Buffer::new(limit), line_max, searched: 0, taken: 0, skipping: false }
    }

    /// Adds bytes of the stream. At most [`READ_BYTES_MAX`] always fit if all lines were taken.
    ///
    /// # Errors
    ///
    /// [`Full`] if they do not fit.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.drop_taken();
        self.buffer.extend(bytes)
    }

    /// Adds bytes of the stream by reading once, at most `at_most` bytes and at most
    /// [`READ_BYTES_MAX`]. Returns how many; 0 is the end of the stream.
    ///
    /// # Errors
    ///
    /// Those of [`Buffer::read_from`]. It is full only if lines were not taken.
    pub fn read_from(&mut self, reader: &mut impl Read, at_most: usize) -> io::Result<usize> {
        self.drop_taken();
        self.buffer.read_from(reader, at_most.min(READ_BYTES_MAX))
    }

    /// The next line, without its end, or `None` if there is none yet.
    ///
    /// # Errors
    ///
    /// [`LineTooLong`], once for each such line.
    pub fn next_line(&mut self) -> Option<Result<&[u8], LineTooLong>> {
        self.drop_taken();
        let end = loop {
            let bytes = self.buffer.as_slice();
            let unsearched = bytes.get(self.searched..).unwrap_or_default();
            let Some(at) = memchr(b'\n', unsearched) else {
                self.searched = bytes.len();
                if self.skipping {
                    self.drop_first(usize::MAX);
                } else if self.is_too_long(bytes) {
                    self.drop_first(usize::MAX);
                    self.skipping = true;
                    return Some(Err(LineTooLong));
                }
                return None;
            };
            let end = self.searched + at;
            let line = bytes.get(..end).unwrap_or_default();
            let too_long = self.is_too_long(line);
            if !self.skipping && !too_long && !line.trim_ascii().is_empty() {
                break end;
            }
            self.drop_first(end + 1);
            if !std::mem::take(&mut self.skipping) && too_long {
                return Some(Err(LineTooLong));
            }
        };
        self.taken = end + 1;
        self.buffer.as_slice().get(..end).map(|line| Ok(without_cr(line)))
    }

    /// What is left when the stream has ended and [`next_line`](Self::next_line) has no more: a
    /// last line without its newline, if there is one.
    pub fn finish(&mut self) -> Option<&[u8]> {
        self.drop_taken();
        self.taken = self.buffer.len();
        let line = without_cr(self.buffer.as_slice());
        (!self.skipping && !line.trim_ascii().is_empty()).then_some(line)
    }

    /// A line may have one byte more if that can be the CR before its newline.
    fn is_too_long(&self, line: &[u8]) -> bool {
        without_cr(line).len() > self.line_max
    }

    fn drop_taken(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        if taken > 0 {
            self.drop_first(taken);
        }
    }

    fn drop_first(&mut self, n: usize) {
        self.buffer.consume(n);
        self.searched = 0;
    }
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A line as text.
///
/// # Errors
///
/// If it is not UTF-8, which JSON must be (RFC 8259 section 8.1).
pub fn text(line: &[u8]) -> Result<&str, str::Utf8Error> {
    str::from_utf8(line)
}

/// Why a line could not be encoded. Nothing of it was.
#[derive(Debug)]
pub enum EncodeError {
    /// It does not fit.
    Full,
    /// It contains a newline.
    LineBreak,
    /// The value has no JSON form.
    Json(serde_json::Error),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the line does not fit into the buffer"),
            Self::LineBreak => f.write_str("the line contains a newline"),
            Self::Json(error) => write!(f, "the value has no JSON form: {error}"),
        }
    }
}

impl std::error::Error for EncodeError {}

impl From<Full> for EncodeError {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

/// Appends `line`, which is JSON without a newline, and a newline.
///
/// # Errors
///
/// [`EncodeError::LineBreak`] and [`EncodeError::Full`].
pub fn append(out: &mut Buffer, line: &[u8]) -> Result<(), EncodeError> {
    if memchr(b'\n', line).is_some() {
        return Err(EncodeError::LineBreak);
    }
    Ok(out.extend_all(&[line, b"\n"])?)
}

/// Appends `value` as one line of JSON.
///
/// # Errors
///
/// [`EncodeError::Json`] and [`EncodeError::Full`]; then nothing of it is left in `out`.
pub fn encode<T: Serialize + ?Sized>(out: &mut Buffer, value: &T) -> Result<(), EncodeError> {
    let len = out.len();
    let encoded = match serde_json::to_writer(OneLine(out), value) {
        Ok(()) => out.extend(b"\n").map_err(EncodeError::from),
        Err(error) if error.is_io() => Err(EncodeError::Full),
        Err(error) => Err(EncodeError::Json(error)),
    };
    if encoded.is_err() {
        out.truncate(len);
    }
    encoded
}

/// Turns newlines into spaces. In JSON they can only be white space between tokens, and only come
/// from raw JSON that was written by someone else.
struct OneLine<'a>(&'a mut Buffer);

impl Write for OneLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while let Some(at) = memchr(b'\n', rest) {
            let (line, tail) = rest.split_at(at);
            self.0.extend_all(&[line, b" "])?;
            rest = tail.get(1..).unwrap_or_default();
        }
        self.0.extend(rest)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
