//! How much of a list has room in an answer.

use serde::Serialize;

use crate::model::{Event, Message, StateEntry};

/// As many of a list as stay within an answer of so many bytes with their JSON.
pub(crate) fn fit<T: Serialize>(items: impl Iterator<Item = T>, bytes: usize) -> Vec<T> {
    let mut left = Budget::of(bytes);
    let mut scratch = Vec::new();
    let mut fits = |item: &T| {
        scratch.clear();
        serde_json::to_writer(&mut scratch, item).is_ok() && left.admits(scratch.len())
    };
    items.take_while(|item| fits(item)).collect()
}

/// What is left of an answer's size.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: usize,
}

impl Budget {
    /// That of an answer of so many bytes.
    pub(crate) fn of(bytes: usize) -> Self {
        // A kibibyte for what stands around the list.
        Self { bytes: bytes.saturating_sub(1024) }
    }

    /// Whether an item of so many bytes of JSON still fits; if so, they are taken off, and if not,
    /// nothing fits any more.
    pub(crate) fn admits(&mut self, size: usize) -> bool {
        let left = self.bytes.checked_sub(size + 1);
        self.bytes = left.unwrap_or(0);
        left.is_some()
    }
}

/// The most that a message takes in a list, bytes: its payload, and names, ids and times.
pub(crate) fn message_size(message: &Message) -> usize {
    json_len(&message.payload) + 1024
}

/// The most that a state entry takes in a list, bytes.
pub(crate) fn entry_size(entry: &StateEntry) -> usize {
    json_len(&entry.value) + json_len(&entry.key) + json_len(&entry.namespace) + 512
}

/// The most that an event takes in a list, bytes.
pub(crate) fn event_size(event: &Event) -> usize {
    json_len(&event.payload) + json_len(&event.kind) + 512
}

/// The length of a text as a JSON string, quotes included, as `serde_json` writes it (RFC 8259, 7).
fn json_len(text: &str) -> usize {
    let escaped: usize = text
        .bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 1,
            0..0x20 => 5,
            _ => 0,
        })
        .sum();
    text.len() + escaped + 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::REPLY_BYTES_MAX;

    #[test]
    fn lists_stop_at_the_size_of_an_answer() {
        let item = "\u{1}".repeat(100_000); // six bytes each, escaped
        let items = fit(std::iter::repeat_n(item, 10), REPLY_BYTES_MAX);
        assert_eq!(items.len(), 6);
        assert!(serde_json::to_vec(&items).unwrap().len() <= REPLY_BYTES_MAX);
        assert_eq!(fit(["a"; 3].into_iter(), REPLY_BYTES_MAX).len(), 3);
    }

    #[test]
    fn the_length_of_a_text_as_json_is_known_without_writing_it() {
        let all: String = (0..0x80u8).map(char::from).chain("é…🦀".chars()).collect();
        assert_eq!(json_len(&all), serde_json::to_string(&all).unwrap().len());
    }
}
