//! Values that several commands take: times, how many to list, texts.

use std::io::{self, Read};
use std::ops::RangeInclusive;

use super::words::{self, Words};
use super::{Failure, Result};
use crate::limits::{LIST_LIMIT_MAX, PAYLOAD_BYTES_MAX};
use crate::model::Timestamp;

/// What an option expects that names a message.
pub(super) const HANDLE: &str = "the handle of a message, as `inbox` shows it, or its id";

/// The value of `--limit`, at least `min`.
pub(super) fn limit(words: &mut Words, min: u32) -> words::Result<Option<u32>> {
    number(words, "--limit", min..=LIST_LIMIT_MAX)
}

/// The value of an option that is a number in `range`.
pub(super) fn number(
    words: &mut Words,
    name: &'static str,
    range: RangeInclusive<u32>,
) -> words::Result<Option<u32>> {
    let expected = format!("a number from {} to {}", range.start(), range.end());
    words.value(name, &expected, |text| text.parse().ok().filter(|n| range.contains(n)))
}

/// The value of `--since`.
pub(super) fn since(words: &mut Words) -> words::Result<Option<Since>> {
    words.value("--since", "a time such as 10m, 2h or 2026-04-08T10:30:00Z", Since::parse)
}

/// A point in time, absolute or relative to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    At(Timestamp),
    /// This many ms ago.
    Ago(i64),
}

impl Since {
    fn parse(text: &str) -> Option<Self> {
        if let Some(time) = Timestamp::parse(text) {
            return Some(Self::At(time));
        }
        // A bare number would be ambiguous.
        text.ends_with(|c: char| c.is_ascii_lowercase())
            .then(|| seconds(text, 1))
            .flatten()
            .and_then(|seconds| i64::try_from(seconds).ok()?.checked_mul(1000))
            .map(Self::Ago)
    }

    /// The absolute time, given `now`.
    pub(super) fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(ms) => now.plus_ms(ms.saturating_neg()),
        }
    }
}

/// `90`, `90s`, `10m`, `2h`, `1d`: a number and its unit, seconds; `unit` is that of a bare number.
pub(super) fn seconds(text: &str, unit: u64) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let unit = match text.strip_prefix(digits)? {
        "" => unit,
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return None,
    };
    // `parse` takes a plus sign.
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse::<u64>().ok().filter(|_| plain)?.checked_mul(unit)
}

/// A text given as a word, or to be read from the standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TextArgument {
    Given(String),
    Stdin,
}

impl TextArgument {
    /// `-` is the standard input.
    pub(super) fn from_word(word: String) -> Self {
        if word == "-" { Self::Stdin } else { Self::Given(word) }
    }

    /// The text, or what the standard input has: as it is, its last newline included.
    pub(super) fn read(&self) -> Result<String> {
        if let Self::Given(text) = self {
            return Ok(text.clone());
        }
        let mut bytes = Vec::new();
        let bound = PAYLOAD_BYTES_MAX as u64 + 1;
        io::stdin().lock().take(bound).read_to_end(&mut bytes).map_err(|error| {
            Failure::other("stdin", format!("the standard input cannot be read: {error}"))
        })?;
        if bytes.len() > PAYLOAD_BYTES_MAX {
            let limit = PAYLOAD_BYTES_MAX / 1024;
            return Err(Failure::usage(format!("the standard input is longer than {limit} KiB")));
        }
        String::from_utf8(bytes)
            .map_err(|_| Failure::usage("the standard input is not valid UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, unit, expected) in [
            ("90", 1, Some(90)),
            ("90", 60, Some(5400)),
            ("90s", 60, Some(90)),
            ("2m", 1, Some(120)),
            ("2min", 1, Some(120)),
            ("3h", 1, Some(10_800)),
            ("1d", 1, Some(86_400)),
            ("", 1, None),
            ("s", 1, None),
            ("1.5h", 1, None),
            ("+5", 1, None),
            ("99999999999999999999", 1, None),
            ("999999999999999999d", 1, None),
        ] {
            assert_eq!(seconds(text, unit), expected, "{text}");
        }
    }

    #[test]
    fn a_time_since_is_absolute_or_an_age() {
        assert_eq!(Since::parse("10m"), Some(Since::Ago(600_000)));
        let at = Since::At(Timestamp(1_775_644_200_000));
        assert_eq!(Since::parse("2026-04-08T10:30:00Z"), Some(at));
        for bad in ["yesterday", "10", "10y", "h", "+1h"] {
            assert_eq!(Since::parse(bad), None, "{bad}");
        }
    }
}
