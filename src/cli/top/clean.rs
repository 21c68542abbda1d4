//! What others wrote, made fit for a cell of the screen: harmless, and as wide as it is measured.

use unicode_width::UnicodeWidthChar;

use crate::cli::text::escape;

/// Most characters without width of their own that stay on one that has some: enough for the accents
/// of living languages, too few to cover the lines around.
const MARKS_MAX: usize = 2;

/// `text` on one line, at most `chars_max` characters of it. What a terminal would obey is escaped;
/// what terminals disagree about the width of (joiners, variation selectors, tags, skin tones) is
/// left out.
pub(super) fn clean(text: &str, chars_max: usize) -> String {
    let mut marks = 0;
    // Nothing to stand on at the beginning.
    let mut has_base = false;
    let kept: String = text
        .chars()
        .filter(|c| !is_disputed(*c))
        .filter(|c| {
            if c.is_control() || c.width().unwrap_or(0) > 0 {
                has_base = !c.is_control();
                marks = 0;
                return true;
            }
            marks += 1;
            has_base && marks <= MARKS_MAX
        })
        .take(chars_max)
        .collect();
    escape(&kept).into_owned()
}

/// The first line of `text` that is not empty.
pub(super) fn first_line(text: &str) -> &str {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default()
}

/// Characters that change the width of their neighbours, or that some terminals draw and others do
/// not (Unicode Standard Annex #11 leaves them to the terminal).
fn is_disputed(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}'
        | '\u{206a}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(clean("plain é 漢 🙂", 99), "plain é 漢 🙂");
        assert_eq!(clean("\u{1b}]0;title\u{7}x\u{9b}2J", 99), "\\u{1b}]0;title\\u{7}x\\u{9b}2J");
        assert_eq!(clean("a\nb\u{202e}c", 99), "a\\nb\\u{202e}c");
        for c in (0..0x20).chain(0x7f..0xa0) {
            let c = char::from_u32(c).unwrap();
            assert!(!clean(&c.to_string(), 9).contains(c));
        }
    }

    #[test]
    fn every_character_is_as_wide_as_it_is_counted() {
        // A family of joined emoji comes apart, a heart loses its selector, a tower its marks.
        assert_eq!(clean("👩\u{200d}👧", 9), "👩👧");
        assert_eq!(clean("❤\u{fe0f}", 9), "❤");
        assert_eq!(clean(&format!("e{}x", "\u{301}".repeat(500)), 99), "e\u{301}\u{301}x");
        assert_eq!(clean("\u{301}\u{301}x", 9), "x");
        for text in ["👍🏽", "a\u{e0041}b", "\u{feff}x", "ก\u{e34}\u{e48}"] {
            let clean = clean(text, 99);
            let apart: usize = clean.chars().filter_map(UnicodeWidthChar::width).sum();
            assert_eq!(clean.width(), apart, "{text:?}");
        }
        assert_eq!(clean(&"x".repeat(100), 10).len(), 10);
    }

    #[test]
    fn the_first_line_is_that_with_something_in_it() {
        assert_eq!(first_line("\n  \n  a b \nc"), "a b");
        assert_eq!(first_line(""), "");
    }
}
