//! What a terminal sends when keys are pressed: bytes in, keys out.
//!
//! The sequences are those of ECMA-48 (5.4, control sequences) with the meanings xterm gives them
//! ("xterm control sequences": the keys of a PC, bracketed paste), which the others have
//! taken over. What is not known is skipped whole, so that no part of it is taken for a letter.

use crate::limits::PAYLOAD_BYTES_MAX;

/// Longest sequence that is waited for, bytes; one that goes on is dropped.
const SEQUENCE_BYTES_MAX: usize = 32;
/// What ends a paste.
const PASTE_END: &[u8] = b"\x1b[201~";

/// A key, or several at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A letter, digit, sign, or space.
    Char(char),
    /// Control and a letter, which is in lower case.
    Ctrl(char),
    Enter,
    Escape,
    Backspace,
    Delete,
    Tab,
    BackTab,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    /// A text, pasted.
    Paste(String),
}

/// Takes the bytes of a terminal apart.
#[derive(Debug, Default)]
pub(super) struct Keys {
    bytes: Vec<u8>,
    /// What was pasted so far; none outside of a paste.
    paste: Option<Vec<u8>>,
}

/// What stands at the beginning of the bytes.
enum Found {
    /// So many bytes, and what they mean, if anything.
    Whole(usize, Option<Key>),
    /// A beginning.
    Part,
}

impl Keys {
    /// Takes bytes as they come.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next key; none until more comes.
    pub(super) fn next_key(&mut self) -> Option<Key> {
        loop {
            if self.paste.is_some() {
                return self.pasted();
            }
            match first(&self.bytes) {
                Found::Part if self.bytes.len() > SEQUENCE_BYTES_MAX => self.bytes.clear(),
                Found::Part => return None,
                Found::Whole(len, key) => {
                    let is_paste = self.bytes.starts_with(b"\x1b[200~");
                    self.bytes.drain(..len);
                    if is_paste {
                        self.paste = Some(Vec::new());
                    } else if key.is_some() {
                        return key;
                    }
                }
            }
        }
    }

    /// Whether something has begun that may be all there is: the key Escape sends what other keys
    /// begin with.
    pub(super) fn is_undecided(&self) -> bool {
        self.paste.is_none() && !self.bytes.is_empty()
    }

    /// Nothing more has come for a while: what has begun was all.
    pub(super) fn decide(&mut self) -> Option<Key> {
        if !self.is_undecided() {
            return None;
        }
        let bytes = std::mem::take(&mut self.bytes);
        (bytes == b"\x1b").then_some(Key::Escape)
    }

    fn pasted(&mut self) -> Option<Key> {
        let paste = self.paste.get_or_insert_default();
        let end = self.bytes.windows(PASTE_END.len()).position(|window| window == PASTE_END);
        // The end may have come in part.
        let safe = end.unwrap_or(self.bytes.len().saturating_sub(PASTE_END.len() - 1));
        let room = PAYLOAD_BYTES_MAX.saturating_sub(paste.len());
        paste.extend(self.bytes.iter().take(safe.min(room)));
        self.bytes.drain(..safe);
        end?;
        self.bytes.drain(..PASTE_END.len());
        let paste = self.paste.take().unwrap_or_default();
        // Terminals send a carriage return for each end of a line.
        Some(Key::Paste(String::from_utf8_lossy(&paste).replace("\r\n", "\n").replace('\r', "\n")))
    }
}

fn first(bytes: &[u8]) -> Found {
    match bytes {
        [] => Found::Part,
        [0x1b, rest @ ..] => match rest {
            [] | [b'O'] => Found::Part,
            [b'[', sequence @ ..] => control_sequence(sequence),
            [b'O', last, ..] => Found::Whole(3, single_shift(*last)),
            // Escape, and then something of its own.
            _ => Found::Whole(1, Some(Key::Escape)),
        },
        [b'\r' | b'\n', ..] => Found::Whole(1, Some(Key::Enter)),
        [b'\t', ..] => Found::Whole(1, Some(Key::Tab)),
        [0x08 | 0x7f, ..] => Found::Whole(1, Some(Key::Backspace)),
        [byte @ 1..=26, ..] => Found::Whole(1, Some(Key::Ctrl(char::from(byte + b'a' - 1)))),
        [0..0x20, ..] => Found::Whole(1, None),
        _ => character(bytes),
    }
}

/// What follows ESC and `[`: parameters, intermediates, and a final byte.
fn control_sequence(sequence: &[u8]) -> Found {
    // The keys of the Linux console's first row: `[[A`.
    if let [b'[', rest @ ..] = sequence {
        return if rest.is_empty() { Found::Part } else { Found::Whole(4, None) };
    }
    let Some(at) = sequence.iter().position(|byte| !(0x20..0x40).contains(byte)) else {
        return Found::Part;
    };
    let (Some(parameters), Some(last)) = (sequence.get(..at), sequence.get(at)) else {
        return Found::Part;
    };
    if !(0x40..0x7f).contains(last) {
        // It breaks off; the byte that does not belong to it stays.
        return Found::Whole(2 + at, None);
    }
    let number = parameters.split(|byte| *byte == b';').next().unwrap_or_default();
    let key = match (last, number) {
        (b'~', b"1" | b"7") => Some(Key::Home),
        (b'~', b"4" | b"8") => Some(Key::End),
        (b'~', b"3") => Some(Key::Delete),
        (b'~', b"5") => Some(Key::PageUp),
        (b'~', b"6") => Some(Key::PageDown),
        (b'Z', _) => Some(Key::BackTab),
        (b'A' | b'B' | b'C' | b'D' | b'H' | b'F', _) => single_shift(*last),
        _ => None,
    };
    Found::Whole(2 + at + 1, key)
}

/// The last byte of ESC O and a letter, and of cursor keys.
fn single_shift(last: u8) -> Option<Key> {
    Some(match last {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
        b'M' => Key::Enter,
        _ => return None,
    })
}

/// A character in UTF-8.
fn character(bytes: &[u8]) -> Found {
    let start = bytes.get(..4).unwrap_or(bytes);
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() > 0 => {
            let valid = start.get(..error.valid_up_to()).unwrap_or_default();
            std::str::from_utf8(valid).unwrap_or_default()
        }
        Err(error) => {
            return match error.error_len() {
                None => Found::Part,
                Some(len) => Found::Whole(len, None),
            };
        }
    };
    match text.chars().next() {
        Some(c) => Found::Whole(c.len_utf8(), (!c.is_control()).then_some(Key::Char(c))),
        None => Found::Part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut keys = Keys::default();
        keys.feed(bytes);
        std::iter::from_fn(|| keys.next_key()).collect()
    }

    #[test]
    fn keys_are_known_however_they_are_cut() {
        let bytes =
            "qé漢\r\t\x7f\x03\x1b[A\x1bOB\x1b[5~\x1b[1;5H\x1b[Z\x1b[3~\x1b[200~a\rb\x1b[201~x";
        let expected = [
            Key::Char('q'),
            Key::Char('é'),
            Key::Char('漢'),
            Key::Enter,
            Key::Tab,
            Key::Backspace,
            Key::Ctrl('c'),
            Key::Up,
            Key::Down,
            Key::PageUp,
            Key::Home,
            Key::BackTab,
            Key::Delete,
            Key::Paste("a\nb".into()),
            Key::Char('x'),
        ];
        assert_eq!(keys(bytes.as_bytes()), expected);
        let mut one_by_one = Keys::default();
        let mut found = Vec::new();
        for byte in bytes.bytes() {
            one_by_one.feed(&[byte]);
            found.extend(std::iter::from_fn(|| one_by_one.next_key()));
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn escape_is_known_when_nothing_follows() {
        let mut keys = Keys::default();
        keys.feed(b"\x1b");
        assert_eq!(keys.next_key(), None);
        assert!(keys.is_undecided());
        assert_eq!(keys.decide(), Some(Key::Escape));
        assert_eq!(keys.decide(), None);
        keys.feed(b"\x1bq");
        assert_eq!(keys.next_key(), Some(Key::Escape));
        assert_eq!(keys.next_key(), Some(Key::Char('q')));
        keys.feed(b"\x1b[1;");
        assert_eq!((keys.next_key(), keys.decide()), (None, None));
    }

    #[test]
    fn what_is_not_known_is_skipped_whole() {
        assert_eq!(
            keys(b"\x1b[38;5;1mq\x1b[<0;1;2Mx\x1b[[Ay"),
            [Key::Char('q'), Key::Char('x'), Key::Char('y')]
        );
        assert_eq!(keys(b"\xff\xfe\xc3q"), [Key::Char('q')]);
        assert_eq!(keys(b"\x1b[12\rq"), [Key::Enter, Key::Char('q')]);
        assert_eq!(keys(b"\0\x1c\xc2\x9bq"), [Key::Char('q')]);
        let endless = [b"\x1b[".as_slice(), &[b'1'; 1000]].concat();
        let mut decoder = Keys::default();
        decoder.feed(&endless);
        assert_eq!(decoder.next_key(), None);
        assert!(decoder.bytes.len() <= SEQUENCE_BYTES_MAX);
    }

    #[test]
    fn a_paste_is_bounded() {
        let paste =
            [b"\x1b[200~".as_slice(), &vec![b'p'; 2 * PAYLOAD_BYTES_MAX], PASTE_END].concat();
        assert_eq!(keys(&paste), [Key::Paste("p".repeat(PAYLOAD_BYTES_MAX))]);
    }
}
