//! Changes to a text that leave everything else in it as it was.

use std::ops::Range;

/// A piece of a text and what comes in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Splice {
    /// Which bytes go.
    pub(super) range: Range<usize>,
    /// What comes.
    pub(super) with: String,
}

impl Splice {
    pub(super) fn insert(at: usize, with: impl Into<String>) -> Self {
        Self { range: at..at, with: with.into() }
    }

    pub(super) fn remove(range: Range<usize>) -> Self {
        Self { range, with: String::new() }
    }
}

/// `text` with the splices, which are in order and do not overlap.
pub(super) fn apply(text: &str, splices: &[Splice]) -> String {
    let mut out = String::with_capacity(text.len() + 256);
    let mut from = 0;
    for splice in splices {
        out.push_str(text.get(from..splice.range.start).unwrap_or_default());
        out.push_str(&splice.with);
        from = splice.range.end;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

/// The end of a line as this text has it.
pub(super) fn newline(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text.get(..at).is_some_and(|before| before.ends_with('\r')) => "\r\n",
        _ => "\n",
    }
}

/// Where the line of `at` begins.
pub(super) fn line_start(text: &str, at: usize) -> usize {
    text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1)
}

/// Where the next line after `at` begins, or the end of the text.
pub(super) fn next_line(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    rest.find('\n').map_or(text.len(), |newline| at + newline + 1)
}

/// Whole lines together with the empty line that separates them from what is before.
pub(super) fn with_empty_line(text: &str, lines: Range<usize>) -> Range<usize> {
    let before = text.get(..lines.start).unwrap_or_default();
    let blank = ["\r\n\r\n", "\n\n"].iter().find(|blank| before.ends_with(**blank));
    lines.start - blank.map_or(0, |blank| blank.len() / 2)..lines.end
}

/// The white space with which the line of `at` begins.
pub(super) fn indent(text: &str, at: usize) -> &str {
    let line = text.get(line_start(text, at)..).unwrap_or_default();
    let length = line.find(|c| c != ' ' && c != '\t').unwrap_or(line.len());
    line.get(..length).unwrap_or_default()
}

/// Whether nothing but white space stands before `at` in its line.
pub(super) fn starts_line(text: &str, at: usize) -> bool {
    let before = text.get(line_start(text, at)..at).unwrap_or_default();
    before.bytes().all(|byte| matches!(byte, b' ' | b'\t'))
}

/// A place in a text for people: line and column, both from 1, the column in characters.
pub(super) fn place(text: &str, at: usize) -> (usize, usize) {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = text.get(line_start(text, at)..at).unwrap_or_default().chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splices_change_nothing_else() {
        let splices = [Splice::remove(0..1), Splice::insert(2, "X"), Splice::insert(2, "Y")];
        assert_eq!(apply("abcd", &splices), "bXYcd");
        assert_eq!(apply("abcd", &[]), "abcd");
    }

    #[test]
    fn lines() {
        let text = "a\r\n  \tb c\r\nd";
        assert_eq!(newline(text), "\r\n");
        assert_eq!((newline("a\nb\r\n"), newline("a")), ("\n", "\n"));
        let b = text.find('b').unwrap();
        assert_eq!(indent(text, b), "  \t");
        assert!(starts_line(text, b) && !starts_line(text, b + 2));
        assert_eq!((line_start(text, b), next_line(text, b)), (3, 11));
        assert_eq!((place(text, b), place(text, 99)), ((2, 4), (3, 2)));
        assert_eq!(place("é", 1), (1, 1));
    }
}
