//! What a terminal sends when keys are pressed: bytes in, keys out.
//!
//! `terminput` knows what a sequence means; this finds where one ends, in whatever pieces it comes.
//! What is not known is skipped whole, so that no part of it is taken for a letter.

use terminput::{Event, KeyCode, KeyModifiers};

use crate::limits::PAYLOAD_BYTES_MAX;

/// Longest sequence that is waited for, bytes; one that goes on is dropped.
const SEQUENCE_BYTES_MAX: usize = 32;
/// What is before and after a pasted text.
const PASTE_BEGIN: &[u8] = b"\x1b[200~";
const PASTE_END: &[u8] = b"\x1b[201~";

/// A key, or several at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A character, or a key that has a name.
    Code(KeyCode),
    /// Control and a letter, which is in lower case.
    Ctrl(char),
    BackTab,
    /// A text, pasted.
    Paste(String),
}

/// Takes the bytes of a terminal apart.
#[derive(Debug, Default)]
pub(super) struct Keys {
    bytes: Vec<u8>,
    /// So many of them are known to be a beginning only.
    tried: usize,
}

impl Keys {
    /// Takes bytes as they come.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next key; none until more comes.
    pub(super) fn next_key(&mut self) -> Option<Key> {
        loop {
            let Some((len, key)) = self.first() else {
                self.forget_excess();
                return None;
            };
            self.bytes.drain(..len);
            self.tried = 0;
            if key.is_some() {
                return key;
            }
        }
    }

    /// Whether something has begun that may be all there is: the key Escape sends what other keys
    /// begin with.
    pub(super) fn is_undecided(&self) -> bool {
        !self.bytes.is_empty() && !self.bytes.starts_with(PASTE_BEGIN)
    }

    /// Nothing more has come for a while: what has begun was all.
    pub(super) fn decide(&mut self) -> Option<Key> {
        if !self.is_undecided() {
            return None;
        }
        self.tried = 0;
        let bytes = std::mem::take(&mut self.bytes);
        (bytes == b"\x1b").then_some(Key::Code(KeyCode::Esc))
    }

    /// How many bytes the first sequence has, and what it means, if anything.
    fn first(&mut self) -> Option<(usize, Option<Key>)> {
        if let [0x1b, next, ..] = *self.bytes
            && !matches!(next, b'[' | b'O')
        {
            // Escape, and then something of its own.
            return Some((1, Some(Key::Code(KeyCode::Esc))));
        }
        while let Some(sequence) = self.bytes.get(..self.tried + 1) {
            self.tried += 1;
            match Event::parse_from(sequence) {
                // Alone it may be the beginning of another.
                Ok(Some(_)) if sequence == b"\x1b" => {}
                Ok(None) => {}
                Ok(Some(event)) => return Some((self.tried, key(event))),
                // In what is no sequence, the byte that breaks off a character may begin the next.
                Err(_) if sequence.starts_with(b"\x1b") => return Some((self.tried, None)),
                Err(_) => return Some((1, None)),
            }
        }
        None
    }

    /// Keeps no more of what does not end than is of use.
    fn forget_excess(&mut self) {
        if self.bytes.starts_with(PASTE_BEGIN) {
            let end = self.bytes.len().saturating_sub(PASTE_END.len());
            let kept = PASTE_BEGIN.len() + PAYLOAD_BYTES_MAX;
            if kept < end {
                self.bytes.drain(kept..end);
                self.tried = self.bytes.len();
            }
        } else if self.bytes.len() > SEQUENCE_BYTES_MAX {
            self.bytes.clear();
            self.tried = 0;
        }
    }
}

fn key(event: Event) -> Option<Key> {
    match event {
        // Terminals send a carriage return for each end of a line.
        Event::Paste(text) => Some(Key::Paste(text.replace("\r\n", "\n").replace('\r', "\n"))),
        Event::Key(key) => {
            let has = |modifier| key.modifiers.contains(modifier);
            match key.code {
                KeyCode::Char('h') if has(KeyModifiers::CTRL) => {
                    Some(Key::Code(KeyCode::Backspace))
                }
                KeyCode::Char('j') if has(KeyModifiers::CTRL) => Some(Key::Code(KeyCode::Enter)),
                KeyCode::Char(c) if has(KeyModifiers::CTRL) => Some(Key::Ctrl(c)),
                KeyCode::Char(c) if c.is_control() => None,
                KeyCode::Tab if has(KeyModifiers::SHIFT) => Some(Key::BackTab),
                code => Some(Key::Code(code)),
            }
        }
        _ => None,
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

    fn char(c: char) -> Key {
        Key::Code(KeyCode::Char(c))
    }

    #[test]
    fn keys_are_known_however_they_are_cut() {
        let bytes = "qé漢\r\n\t\x7f\x08\x03\x1b[A\x1bOB\x1b[5~\x1b[1;5H\x1b[Z\x1b[3~\x1b[200~a\rb\x1b[201~x";
        let expected = [
            char('q'),
            char('é'),
            char('漢'),
            Key::Code(KeyCode::Enter),
            Key::Code(KeyCode::Enter),
            Key::Code(KeyCode::Tab),
            Key::Code(KeyCode::Backspace),
            Key::Code(KeyCode::Backspace),
            Key::Ctrl('c'),
            Key::Code(KeyCode::Up),
            Key::Code(KeyCode::Down),
            Key::Code(KeyCode::PageUp),
            Key::Code(KeyCode::Home),
            Key::BackTab,
            Key::Code(KeyCode::Delete),
            Key::Paste("a\nb".into()),
            char('x'),
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
        let escape = Some(Key::Code(KeyCode::Esc));
        let mut keys = Keys::default();
        keys.feed(b"\x1b");
        assert_eq!(keys.next_key(), None);
        assert!(keys.is_undecided());
        assert_eq!(keys.decide(), escape);
        assert_eq!(keys.decide(), None);
        keys.feed(b"\x1bq");
        assert_eq!(keys.next_key(), escape);
        assert_eq!(keys.next_key(), Some(char('q')));
        keys.feed(b"\x1b[1;");
        assert_eq!((keys.next_key(), keys.decide()), (None, None));
        keys.feed(b"q");
        assert_eq!(keys.next_key(), Some(char('q')));
    }

    #[test]
    fn what_is_not_known_is_skipped_whole() {
        assert_eq!(
            keys(b"\x1b[38;5;1mq\x1b[<0;1;2Mx\x1b[99999~\x1b[[9y"),
            [char('q'), char('x'), char('y')]
        );
        assert_eq!(keys(b"\xff\xfe\xc3q"), [char('q')]);
        assert_eq!(keys(b"\x1c\xc2\x9bq"), [Key::Ctrl('4'), char('q')]);
        let endless = [b"\x1b[".as_slice(), &[b'1'; 1000]].concat();
        let mut decoder = Keys::default();
        decoder.feed(&endless);
        assert_eq!(decoder.next_key(), None);
        assert!(decoder.bytes.len() <= SEQUENCE_BYTES_MAX);
    }

    #[test]
    fn any_bytes_at_all_are_taken() {
        // Each byte after each beginning, so that the library meets what no terminal sends.
        for begin in [&b"\x1b["[..], b"\x1b[1;", b"\x1b[<", b"\x1b[M", b"\x1b[?", b"\x1bO", b"\xe6"]
        {
            for byte in 0..=255 {
                let mut decoder = Keys::default();
                decoder.feed(&[begin, &[byte, byte, b';', byte, b'~', b'q']].concat());
                while decoder.next_key().is_some() {}
                decoder.decide();
            }
        }
    }

    #[test]
    fn a_paste_is_bounded() {
        let mut keys = Keys::default();
        keys.feed(PASTE_BEGIN);
        for _ in 0..8 {
            keys.feed(&vec![b'p'; PAYLOAD_BYTES_MAX / 2]);
            assert_eq!(keys.next_key(), None);
            assert!(keys.bytes.len() <= PAYLOAD_BYTES_MAX + 2 * PASTE_END.len());
        }
        keys.feed(PASTE_END);
        let Some(Key::Paste(text)) = keys.next_key() else { panic!("nothing was pasted") };
        assert!(text.len() >= PAYLOAD_BYTES_MAX && text.chars().all(|c| c == 'p'));
    }
}
