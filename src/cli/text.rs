//! Small texts: ages, sizes, paths; and what others wrote, made harmless.

use std::borrow::Cow;
use std::path::Path;

use unicode_width::UnicodeWidthStr;

pub(super) use crate::model::span as duration;
use crate::model::{Timestamp, in_span};
pub(super) use crate::text::{escape, escape_lines};

/// How long ago `then` was: `2 min ago`. A time to come is `in 2 min`.
pub(super) fn age(then: Timestamp, now: Timestamp) -> String {
    let ms = now.0.saturating_sub(then.0);
    match ms {
        -999..1000 => "now".into(),
        1000.. => format!("{} ago", duration(ms / 1000)),
        _ => in_span(ms.saturating_neg()),
    }
}

/// When someone left: `has left 2 min ago`, `has just left`.
pub(super) fn has_left(at: Option<Timestamp>, now: Timestamp) -> String {
    match at.map(|at| age(at, now)) {
        Some(ago) if ago == "now" => "has just left".into(),
        Some(ago) => format!("has left {ago}"),
        None => "has left".into(),
    }
}

/// A number of bytes: `1.2 MiB`.
pub(super) fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
    let mut number = bytes as f64 / 1024.0;
    let mut unit = "KiB";
    for next in ["MiB", "GiB", "TiB"] {
        if number < 1024.0 {
            break;
        }
        number /= 1024.0;
        unit = next;
    }
    format!("{number:.1} {unit}")
}

/// `path` with the home directory written as `~`.
pub(super) fn short_path<'a>(path: &'a str, home: Option<&Path>) -> Cow<'a, str> {
    let home = home.and_then(Path::to_str).map(|home| home.trim_end_matches('/'));
    match home.filter(|home| !home.is_empty()).and_then(|home| path.strip_prefix(home)) {
        Some("") => "~".into(),
        Some(rest) if rest.starts_with('/') => format!("~{rest}").into(),
        _ => path.into(),
    }
}

/// `12:30:05`, in local time.
pub(super) fn time_of_day(at: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(at) => at.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string(),
        Err(_) => at.to_string(),
    }
}

/// `line` wrapped into lines of at most `width` columns, between words, each indented like the first.
/// A longer word stays whole.
pub(super) fn wrap(line: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width.filter(|width| line.width() > *width) else { return vec![line.into()] };
    let indent = line.get(..line.len() - line.trim_start().len()).unwrap_or_default();
    let mut lines = Vec::new();
    let mut current = String::from(indent);
    // Spaces within a line are kept.
    for word in line.trim_start().split_inclusive(' ') {
        let is_empty = current.trim_start().is_empty();
        if !is_empty && current.width() + word.trim_end().width() > width {
            lines.push(current.trim_end().to_owned());
            current = String::from(indent);
        }
        current.push_str(word);
    }
    lines.push(current.trim_end().to_owned());
    lines
}

/// `1 peer`, `2 peers`.
pub(super) fn count(number: u64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// The first characters of an id, by which a peer can be named; other names as they are.
pub(super) fn short_id(id: &str) -> &str {
    let is_id = id.len() == 36 && id.bytes().filter(|byte| *byte == b'-').count() == 4;
    if is_id { id.split('-').next().unwrap_or(id) } else { id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_between_words() {
        let wrapped = |line, width| wrap(line, Some(width)).join("|");
        assert_eq!(wrapped("one two three", 7), "one two|three");
        assert_eq!(wrapped("one two three", 13), "one two three");
        assert_eq!(wrapped("  one two", 6), "  one|  two");
        assert_eq!(wrapped("a  b incomprehensible c", 5), "a  b|incomprehensible|c");
        assert_eq!(wrapped("漢字 漢字", 5), "漢字|漢字");
        assert_eq!(wrapped("", 5), "");
        assert_eq!(wrap("one two three", None), ["one two three"]);
    }

    #[test]
    fn ages() {
        let now = Timestamp(1_000_000_000_000);
        for (ms, expected) in [
            (0, "now"),
            (999, "now"),
            (-999, "now"),
            (1000, "1 s ago"),
            (59_999, "59 s ago"),
            (60_000, "1 min ago"),
            (3_599_000, "59 min ago"),
            (3_600_000, "1 h ago"),
            (47 * 3_600_000, "47 h ago"),
            (48 * 3_600_000, "2 days ago"),
            (400 * 86_400_000, "400 days ago"),
            (-1000, "in 1 s"),
            (-599_001, "in 10 min"),
            (-599_000, "in 9 min"),
        ] {
            assert_eq!(age(Timestamp(now.0 - ms), now), expected);
        }
        assert!(age(Timestamp(i64::MIN), now).ends_with("ago"));
        assert!(age(Timestamp(i64::MAX), Timestamp(i64::MIN)).starts_with("in"));
    }

    #[test]
    fn sizes() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (5 * 1024 * 1024, "5.0 MiB"),
            (4 << 30, "4.0 GiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn home_is_a_tilde() {
        let home = Some(Path::new("/home/ann/"));
        for (path, expected) in [
            ("/home/ann", "~"),
            ("/home/ann/x", "~/x"),
            ("/home/anna/x", "/home/anna/x"),
            ("/srv", "/srv"),
        ] {
            assert_eq!(short_path(path, home), expected);
        }
        assert_eq!(short_path("/x", None), "/x");
        assert_eq!(short_path("/x", Some(Path::new("/"))), "/x");
    }

    #[test]
    fn ids_are_cut_and_names_are_not() {
        assert_eq!(short_id("01890a5d-ac96-474b-bcce-b302099a8057"), "01890a5d");
        assert_eq!(short_id("web-app-two-claude"), "web-app-two-claude");
        assert_eq!(count(1, "peer", "peers"), "1 peer");
        assert_eq!(count(0, "peer", "peers"), "0 peers");
    }
}
