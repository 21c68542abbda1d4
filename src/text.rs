//! Makes harmless what others wrote: for a terminal, for a line of a log, and for an agent, which must
//! be able to distinguish it from this program's own words.
//!
//! There is one list of characters, [`is_harmful`], and there are three forms. [`escape`] is for
//! people; [`quote`] is a JSON string, the form in which agents are given every text of others;
//! [`armour`] makes a whole JSON document as harmless as such a string without changing what it
//! means.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character does something to its reader rather than being read: moves a cursor, ends a
/// line, turns the direction of writing, or hides.
///
/// These are Unicode's categories Cc (C0, DEL, C1), Cf, Zl and Zp as of version 16, and what its
/// property `Default_Ignorable_Code_Point` has beside them: fillers that are drawn as nothing, and
/// variation selectors, in which whole texts can hide. Selector 16 alone stays, since many a common
/// emoji ends with it.
#[must_use]
pub fn is_harmful(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
            | '\u{890}' | '\u{891}' | '\u{8e2}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
        || matches!(c,
            '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0e}' | '\u{ffa0}')
}

/// `text` on one line, with everything harmful escaped: `\n`, `\u{202e}`.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    escape_but(text, &[])
}

/// As [`escape`], but lines and tabs stay.
#[must_use]
pub fn escape_lines(text: &str) -> Cow<'_, str> {
    escape_but(text, &['\n', '\t'])
}

fn escape_but<'a>(text: &'a str, kept: &[char]) -> Cow<'a, str> {
    let harmful = |c: char| is_harmful(c) && !kept.contains(&c);
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if harmful(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// `text` as a JSON string with nothing harmful in it. The first character of a tag of agents is
/// escaped, too.
#[must_use]
pub fn quote(text: &str) -> String {
    // A text has a form in JSON.
    let json = serde_json::to_string(text).unwrap_or_default();
    match armour(&json) {
        Cow::Owned(armoured) => armoured,
        Cow::Borrowed(_) => json,
    }
}

/// Whether `text` begins with a tag that agents would take for one of their own, or turn into something
/// that is not JSON any more. These are all closing tags, since agents put what they are given into tags
/// and no text of others may end one, and the tags in which agents speak themselves.
fn is_tag(text: &str) -> bool {
    let Some(name) = text.strip_prefix('<') else { return false };
    let begins = |tag: &str| name.get(..tag.len()).is_some_and(|n| n.eq_ignore_ascii_case(tag));
    name.starts_with('/') || TAGS.iter().any(|tag| begins(tag))
}

/// Tags with which Claude Code and Qwen Code begin what they say to their model themselves. Claude
/// Code puts a backslash into the second where it stands in a text of another session.
const TAGS: [&str; 3] = ["system-reminder", "cross-session-message", "cross_session_message"];

/// The JSON document `json` with everything harmful in its strings written as escapes, as in
/// [`quote`]. It means the same as before: outside of strings JSON has no such characters (RFC 8259
/// section 2) except line breaks and tabs, which stay.
#[must_use]
pub fn armour(json: &str) -> Cow<'_, str> {
    let between = ['\n', '\r', '\t'];
    let harmful = |c: char| is_harmful(c) && !between.contains(&c);
    if !json.contains(harmful) && !json.contains('<') {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for (at, c) in json.char_indices() {
        if harmful(c) || is_tag(json.get(at..).unwrap_or_default()) {
            push_escaped(c, &mut out);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// `text` as in [`quote`], in at most `chars_max` characters (at least 3), with an ellipsis at its end
/// if there `is_more` of it or not all has room; gives also whether it is all.
#[must_use]
pub fn quote_within(text: &str, is_more: bool, chars_max: usize) -> (String, bool) {
    let mut out = String::from("\"");
    let mut used = 2;
    // So much fits if an ellipsis has to follow.
    let mut safe = out.len();
    for (at, c) in text.char_indices() {
        let before = out.len();
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_harmful(c) || is_tag(text.get(at..).unwrap_or_default()) => {
                push_escaped(c, &mut out);
            }
            c => out.push(c),
        }
        used += out.get(before..).map_or(0, |piece| piece.chars().count());
        if used > chars_max {
            out.truncate(safe);
            out.push_str("…\"");
            return (out, false);
        }
        if used < chars_max {
            safe = out.len();
        }
    }
    if is_more {
        out.truncate(safe);
        out.push('…');
    }
    out.push('"');
    (out, !is_more)
}

/// A path, or another text that is usually one word: unchanged if it cannot be mistaken for anything
/// else, otherwise as in [`quote`].
#[must_use]
pub fn bare_or_quoted(text: &str) -> Cow<'_, str> {
    let misleads = |c: char| is_harmful(c) || c.is_whitespace() || matches!(c, '"' | '<' | '\\');
    if text.is_empty() || text.contains(misleads) {
        Cow::Owned(quote(text))
    } else {
        Cow::Borrowed(text)
    }
}

/// A character as JSON escapes it: two escapes, a surrogate pair, beyond the first plane (RFC 8259
/// section 7).
fn push_escaped(c: char, out: &mut String) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        // Writing to a string cannot fail.
        let _ = write!(out, "\\u{unit:04x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind, and what stands around it.
    const NASTY: &str = "a\"b\\c\nd\te\r\u{1b}[31m\u{7f}\u{9b}\u{ad}\u{200b}\u{2028}\u{202e}\u{feff}\
                         \u{e0041}\u{fe01}\u{3164}</system-reminder>é🦊❤\u{fe0f}漢";

    #[test]
    fn what_acts_on_its_reader_is_harmful() {
        let ranges: [(u32, u32); 16] = [
            (0, 0x1f),
            (0x7f, 0x9f),
            (0x600, 0x605),
            (0x200b, 0x200f),
            (0x2028, 0x202e),
            (0x2060, 0x206f),
            (0xfff9, 0xfffb),
            (0x13430, 0x1343f),
            (0x1bca0, 0x1bca3),
            (0x1d173, 0x1d17a),
            (0xe0001, 0xe0001),
            (0xe0020, 0xe007f),
            (0xe0100, 0xe01ef),
            (0xfe00, 0xfe0e),
            (0x180b, 0x180f),
            (0x115f, 0x1160),
        ];
        let single = [
            0xad, 0x61c, 0x6dd, 0x70f, 0x890, 0x891, 0x8e2, 0xfeff, 0x110bd, 0x110cd, 0x34f,
            0x3164, 0xffa0,
        ];
        let all = ranges.into_iter().flat_map(|(from, to)| from..=to).chain(single);
        for c in all.filter_map(char::from_u32) {
            assert!(is_harmful(c), "{c:?}");
            for shown in [escape(&c.to_string()).into_owned(), quote(&c.to_string())] {
                assert!(!shown.contains(c) && shown.is_ascii(), "{c:?}: {shown}");
            }
        }
        for c in " ~aé漢🙂\u{fe0f}\u{301}\u{a0}\u{3000}\u{1f3fb}".chars() {
            assert!(!is_harmful(c), "{c:?}");
        }
    }

    #[test]
    fn people_get_escapes_and_their_lines() {
        assert_eq!(escape("plain é 漢 🙂"), "plain é 漢 🙂");
        assert!(matches!(escape("plain"), Cow::Borrowed(_)));
        assert_eq!(escape("a\u{1b}[31mred\u{7}"), "a\\u{1b}[31mred\\u{7}");
        assert_eq!(escape("a\nb\tc\rd"), "a\\nb\\tc\\rd");
        assert_eq!(escape_lines("a\nb\tc\rd"), "a\nb\tc\\rd");
        assert_eq!(escape("\u{9b}2J\u{202e}txt"), "\\u{9b}2J\\u{202e}txt");
    }

    #[test]
    fn a_quotation_is_one_harmless_line_that_means_the_text() {
        let quoted = quote(NASTY);
        assert!(!quoted.contains(is_harmful) && !quoted.contains("</"), "{quoted}");
        assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), NASTY);
        assert!(quoted.contains("\\udb40\\udc41") && quoted.contains("\\u003c/system"), "{quoted}");
        assert!(quoted.ends_with("é🦊❤\u{fe0f}漢\""), "{quoted}");
        let (within, whole) = quote_within(NASTY, false, 999);
        assert!(whole);
        assert_eq!(serde_json::from_str::<String>(&within).unwrap(), NASTY);
        assert!(!within.contains(is_harmful) && !within.contains("</"), "{within}");
    }

    #[test]
    fn no_tag_of_an_agent_stands_in_a_quotation() {
        let text = "<System-Reminder>a</b> <cross-session-message from=\"x\"> x < y <T> </ <system";
        let safe = "\"\\u003cSystem-Reminder>a\\u003c/b> \\u003ccross-session-message from=\\\"x\\\"> \
                    x < y <T> \\u003c/ <system\"";
        assert_eq!(quote(text), safe);
        assert_eq!(quote_within(text, false, 999), (safe.to_owned(), true));
        assert_eq!(serde_json::from_str::<String>(safe).unwrap(), text);
    }

    #[test]
    fn quotations_end_where_they_should() {
        let short = |text: &str, is_more: bool| quote_within(text, is_more, 6);
        assert_eq!(short("abcd", false), ("\"abcd\"".into(), true));
        assert_eq!(short("abcd", true), ("\"abc…\"".into(), false));
        assert_eq!(short("abcde", false), ("\"abc…\"".into(), false));
        assert_eq!(short("ab\n\n", false), ("\"ab…\"".into(), false));
        assert_eq!(short("\u{1}", false), ("\"…\"".into(), false));
        assert_eq!(short("", false), ("\"\"".into(), true));
    }

    #[test]
    fn a_document_in_armour_means_the_same() {
        let value = serde_json::json!({ NASTY: [NASTY, {"k": NASTY}], "plain": 1.5 });
        for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let lines = json.lines().count();
            let armoured = armour(&json);
            assert!(!armoured.contains(|c| is_harmful(c) && c != '\n') && !armoured.contains("</"));
            assert_eq!(armoured.lines().count(), lines);
            assert_eq!(serde_json::from_str::<serde_json::Value>(&armoured).unwrap(), value);
        }
    }

    #[test]
    fn words_stand_bare_and_the_rest_in_quotes() {
        for bare in ["/srv/app/[id]/page.tsx", "src/**", "a'b", "büro"] {
            assert_eq!(bare_or_quoted(bare), bare);
        }
        for (text, quoted) in [
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("a\nb", "\"a\\nb\""),
            ("a\"b", "\"a\\\"b\""),
            ("</x>", "\"\\u003c/x>\""),
        ] {
            assert_eq!(bare_or_quoted(text), quoted);
        }
    }
}
