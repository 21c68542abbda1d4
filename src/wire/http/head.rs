//! What requests and responses have in common: finding the head, and parts of it.

use memchr::memchr;

use crate::limits::HEAD_BYTES_MAX;

/// Looks for the empty line that ends a head, going on from where it stopped.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct HeadSearch {
    /// Bytes looked at.
    searched: usize,
    /// Where the line starts in which the search stopped.
    line_start: usize,
}

/// Why there can be no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadFault {
    /// A line ends in LF without CR. RFC 9112 section 2.2 lets a recipient accept that; two that
    /// differ about it can be made to see different messages.
    LineEnding,
    /// No end within [`HEAD_BYTES_MAX`].
    TooLarge,
}

impl HeadSearch {
    /// Length of the head at the start of `bytes`, its empty line included, or `None` if it is
    /// not there yet. `bytes` may only grow from one call to the next.
    pub(super) fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>, HeadFault> {
        let window = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
        while let Some(at) = memchr(b'\n', window.get(self.searched..).unwrap_or_default()) {
            let newline = self.searched + at;
            let line = window.get(self.line_start..newline).unwrap_or_default();
            self.searched = newline + 1;
            self.line_start = self.searched;
            match line {
                [b'\r'] => return Ok(Some(self.searched)),
                [.., b'\r'] => {}
                _ => return Err(HeadFault::LineEnding),
            }
        }
        self.searched = window.len();
        if window.len() == HEAD_BYTES_MAX { Err(HeadFault::TooLarge) } else { Ok(None) }
    }
}

/// Part of the bytes a decoder was shown. They may have moved when it is shown them again, so it
/// keeps no references.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    start: usize,
    end: usize,
}

impl Span {
    /// Where `part` lies in `whole`, of which it must be a slice.
    pub(super) fn of(whole: &[u8], part: &[u8]) -> Self {
        let start = part.as_ptr().addr().saturating_sub(whole.as_ptr().addr());
        Self { start, end: start + part.len() }
    }

    /// The part again. Empty if it is not text of `whole`: then these are other bytes.
    pub(super) fn text(self, whole: &[u8]) -> &str {
        let part = whole.get(self.start..self.end).unwrap_or_default();
        std::str::from_utf8(part).unwrap_or_default()
    }
}

/// A header value that is a number (`1*DIGIT`), or `None` if it is something else. What is too
/// large for the type is the largest there is: it exceeds any limit.
pub(super) fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        Some(number.saturating_mul(10).saturating_add(u64::from(digit)))
    })
}

/// The members of a comma-separated list (RFC 9110 section 5.6.1), without those that are empty.
pub(super) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// What a `Connection` header says about the connection's future (RFC 9112 section 9.3).
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Persistence {
    close: bool,
    keep_alive: bool,
}

impl Persistence {
    /// Takes one `Connection` header in; there may be several.
    pub(super) fn add(&mut self, value: &[u8]) {
        for option in members(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// Whether the connection ends after this message, of version `HTTP/1.<minor>`.
    pub(super) fn closes(self, minor: u8) -> bool {
        self.close || (minor == 0 && !self.keep_alive)
    }
}

/// A number in decimal digits, without the machinery of `format!`.
#[derive(Debug)]
pub(super) struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    pub(super) fn new(mut number: u64) -> Self {
        let mut digits = [b'0'; 20];
        let mut start = digits.len();
        for digit in digits.iter_mut().rev() {
            // The remainder is below ten.
            *digit += u8::try_from(number % 10).unwrap_or_default();
            number /= 10;
            start -= 1;
            if number == 0 {
                break;
            }
        }
        Self { digits, start }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.digits.get(self.start..).unwrap_or_default()
    }
}

/// Whether a byte may be part of a token (`tchar`, RFC 9110 section 5.6.2).
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
