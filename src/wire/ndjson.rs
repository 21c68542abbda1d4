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

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json::value::RawValue;

    use super::*;
    use crate::wire::fuzzing;
    use crate::wire::testing::Random;

    /// What came out, with `!` for a line that is too long.
    fn told(line: Result<&[u8], LineTooLong>) -> String {
        line.map_or("!", |line| text(line).unwrap()).to_owned()
    }

    /// The lines of `stream` that comes in pieces of `step` bytes.
    fn lines(stream: &[u8], line_max: usize, step: usize) -> Vec<String> {
        let mut decoder = LineDecoder::new(line_max);
        let mut found = Vec::new();
        for piece in stream.chunks(step) {
            decoder.push(piece).unwrap();
            while let Some(line) = decoder.next_line() {
                found.push(told(line));
            }
        }
        found.extend(decoder.finish().map(|line| told(Ok(line))));
        found
    }

    #[test]
    fn lines_come_out_however_the_bytes_come_in() {
        let stream = b"{}\n[1]\r\n\n \t\r\n\"\xc3\xa9\"\n\r\r\nlast";
        for step in 1..=stream.len() {
            let expected = ["{}", "[1]", "\"\u{e9}\"", "last"];
            assert_eq!(lines(stream, 10, step), expected, "in steps of {step}");
        }
    }

    #[test]
    fn a_stream_may_be_split_anywhere() {
        let stream = b"{}\n[1]\r\ntoo long\n\"x\"\n";
        let expected = ["{}", "[1]", "!", "\"x\""];
        for at in 0..=stream.len() {
            let mut decoder = LineDecoder::new(5);
            let mut found = Vec::new();
            for piece in [&stream[..at], &stream[at..]] {
                decoder.push(piece).unwrap();
                while let Some(line) = decoder.next_line() {
                    found.push(told(line));
                }
            }
            assert_eq!(found, expected, "at {at}");
        }
    }

    #[test]
    fn both_sides_of_the_limit() {
        for step in [1, 2, 100] {
            assert_eq!(lines(b"12345\n", 5, step), ["12345"]);
            assert_eq!(lines(b"12345\r\n", 5, step), ["12345"]);
            assert_eq!(lines(b"123456\n", 5, step), ["!"]);
            assert_eq!(lines(b"12345\r\r\n", 5, step), ["!"]);
            assert_eq!(lines(b"123456\r\n1\n", 5, step), ["!", "1"]);
            assert_eq!(lines(b"12345", 5, step), ["12345"]);
            assert_eq!(lines(b"12345\r", 5, step), ["12345"]);
            assert_eq!(lines(b"123456", 5, step), ["!"]);
            assert_eq!(lines(b"      \n", 5, step), ["!"]);
            assert_eq!(lines(b"     \n", 5, step), [] as [&str; 0]);
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_told_at_once_and_once_and_kept_nowhere() {
        let mut decoder = LineDecoder::new(1000);
        for _ in 0..1000 {
            decoder.push(&[b'x'; 1000]).unwrap();
            while let Some(line) = decoder.next_line() {
                assert_eq!(line, Err(LineTooLong));
                assert!(decoder.skipping);
            }
            assert!(decoder.buffer.len() <= 1001);
        }
        assert!(decoder.buffer.is_empty());
        decoder.push(b"\nnext\n").unwrap();
        assert_eq!(decoder.next_line(), Some(Ok(&b"next"[..])));
        assert_eq!(decoder.next_line(), None);
    }

    #[test]
    fn lines_that_are_not_taken_fill_it() {
        let mut decoder = LineDecoder::new(10);
        decoder.push(&vec![b'\n'; READ_BYTES_MAX]).unwrap();
        assert_eq!(decoder.push(&vec![b'\n'; READ_BYTES_MAX]), Err(Full));
        assert_eq!(decoder.next_line(), None);
        decoder.push(b"12345678901").unwrap();
        assert_eq!(decoder.next_line(), Some(Err(LineTooLong)));
        decoder.push(&vec![b'\n'; READ_BYTES_MAX]).unwrap();
    }

    #[test]
    fn there_is_room_for_a_read_beside_the_longest_line() {
        let mut decoder = LineDecoder::new(100);
        decoder.push(&[b'x'; 100]).unwrap();
        decoder.push(b"\r").unwrap();
        assert_eq!(decoder.next_line(), None);
        let stream = [&b"\n"[..], &vec![b'\n'; READ_BYTES_MAX]].concat();
        let read = decoder.read_from(&mut &stream[..], usize::MAX).unwrap();
        assert_eq!(read, READ_BYTES_MAX);
        assert_eq!(decoder.next_line(), Some(Ok(&[b'x'; 100][..])));
        assert_eq!(decoder.next_line(), None);
        assert_eq!(decoder.read_from(&mut &b""[..], 10).unwrap(), 0);
        assert_eq!(decoder.finish(), None);
    }

    /// With a look at all bytes of a line, or a move of all lines, for each, this would not end.
    #[test]
    fn neither_a_long_line_nor_many_lines_cost_more_than_their_bytes() {
        const LINE: usize = 1 << 20;
        let mut decoder = LineDecoder::new(LINE);
        for _ in 0..LINE {
            decoder.push(b"x").unwrap();
            assert_eq!(decoder.next_line(), None);
        }
        decoder.push(b"\n").unwrap();
        assert_eq!(decoder.next_line().unwrap().unwrap().len(), LINE);
        let mut count = 0;
        for _ in 0..16 {
            decoder.push(&b"1\n".repeat(READ_BYTES_MAX / 2)).unwrap();
            while let Some(line) = decoder.next_line() {
                assert_eq!(line, Ok(&b"1"[..]));
                count += 1;
            }
        }
        assert_eq!(count, 8 * READ_BYTES_MAX);
        assert!(decoder.buffer.is_empty());
    }

    #[test]
    fn random_streams() {
        let seeds: [&[u8]; 4] = [
            b"\x05{}\n[1]\r\n12345678\n\n1\n",
            b"\x00\n\r\n1\n",
            b"\x0a{\"ack\":\"a\"}\n{\"ack\":\"b\"}\n",
            b"\xff\xff\n\r\r\n\xc3",
        ];
        let dictionary: [&[u8]; 5] = [b"\n", b"\r", b"\r\n", b"     ", b"1234567890"];
        let mut random = Random::new(5);
        for _ in 0..20_000 {
            fuzzing::ndjson(&random.mutant(&seeds, &dictionary));
            let len = random.below(40);
            fuzzing::ndjson(&random.bytes(len));
        }
    }

    #[test]
    fn text_is_utf8() {
        assert_eq!(text("\u{e9}".as_bytes()), Ok("\u{e9}"));
        assert!(text(b"\xe9").is_err());
    }

    #[test]
    fn lines_are_appended_whole_or_not_at_all() {
        let mut out = Buffer::new(10);
        append(&mut out, b"{}").unwrap();
        assert!(matches!(append(&mut out, b"[\n]"), Err(EncodeError::LineBreak)));
        assert!(matches!(append(&mut out, b"1234567"), Err(EncodeError::Full)));
        append(&mut out, b"123456").unwrap();
        assert_eq!(out.as_slice(), b"{}\n123456\n");
    }

    #[test]
    fn values_are_encoded_whole_or_not_at_all() {
        let mut out = Buffer::new(20);
        encode(&mut out, &json!({"a": "b\nc"})).unwrap();
        assert_eq!(out.as_slice(), b"{\"a\":\"b\\nc\"}\n");
        for too_long in ["xxxxxx", "xxxxx", "x xxxxxxxxxxxxxxxx"] {
            assert!(matches!(encode(&mut out, too_long), Err(EncodeError::Full)));
        }
        let no_json = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(matches!(encode(&mut out, &no_json), Err(EncodeError::Json(_))));
        assert_eq!(out.as_slice(), b"{\"a\":\"b\\nc\"}\n");
        encode(&mut out, "xxxx").unwrap();
        assert_eq!(out.room(), 0);
    }

    #[test]
    fn newlines_of_raw_json_become_spaces() {
        let raw = RawValue::from_string("\n{\n\n\"a\":\n1}\n".trim().to_owned()).unwrap();
        let mut out = Buffer::new(100);
        encode(&mut out, &raw).unwrap();
        assert_eq!(out.as_slice(), b"{  \"a\": 1}\n");
    }

    #[test]
    fn each_error_says_what_is_wrong() {
        let json = serde_json::from_str::<u8>("x").unwrap_err();
        for error in [EncodeError::Full, EncodeError::LineBreak, EncodeError::Json(json)] {
            assert!(error.to_string().len() > 20);
        }
        assert!(LineTooLong.to_string().len() > 10);
    }
}
