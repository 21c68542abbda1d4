//! An answer with messages: as many of them as a client and its context take at once.
//!
//! What does not fit stays unread. A message that is too large for any answer is given in parts, each in
//! an answer of its own, and is read with the last one.

use super::answers::{self, MessagePart};
use crate::api::{Filter, MessageInfo, Messages};
use crate::limits::{ANSWER_BYTES_MAX, PART_BYTES_MAX};
use crate::model::{MessageId, Party};
use crate::text::is_harmful;

/// Bytes around the messages of an answer: `{"ok":true,"messages":[],"remaining":n}`.
const FRAME_BYTES: usize = 64;

/// A message, or a part of one, in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GivenMessage {
    pub(super) id: MessageId,
    pub(super) from: Party,
    pub(super) from_name: Box<str>,
    /// It was unread.
    pub(super) unread: bool,
    /// Which part of it this is.
    pub(super) part: Option<MessagePart>,
    /// What the answer has of it.
    json: String,
}

impl GivenMessage {
    /// Whether this is the end of the message.
    fn is_last(&self) -> bool {
        self.part.is_none_or(MessagePart::is_last)
    }
}

/// The messages of one answer.
#[derive(Debug)]
pub(super) struct InboxAnswer {
    /// The answer.
    pub(super) text: String,
    /// The messages in it, without those that are given again and those that the agent has sent.
    pub(super) given: Vec<GivenMessage>,
}

impl InboxAnswer {
    /// The messages that are given `again`, and as much of `list` as fits behind them. `parts` says how
    /// many parts of a message the agent has.
    pub(super) fn new(
        list: &Messages,
        filter: Filter,
        again: &[GivenMessage],
        parts: impl Fn(MessageId) -> usize,
    ) -> Self {
        let repeated = again.iter().map(|given| repeated(&given.json));
        let mut texts: Vec<String> = repeated.collect();
        let taken: usize = texts.iter().map(|text| text.len() + 1).sum();
        let mut room = ANSWER_BYTES_MAX.saturating_sub(FRAME_BYTES + taken);
        let mut given = Vec::new();
        let mut new = Vec::new();
        let mut messages: Vec<&MessageInfo> = list.messages.iter().collect();
        if filter != Filter::Unread {
            // The newest are to be in it.
            messages.reverse();
        }
        for message in messages {
            let next = shown(message, filter, parts(message.id));
            let Some(left) = room.checked_sub(next.json.len() + 1) else { break };
            room = left;
            let goes_on = !next.is_last();
            new.push(next.json.clone());
            if filter != Filter::Sent {
                given.push(next);
            }
            if goes_on {
                // No other message comes before its end.
                break;
            }
        }
        let unfinished = given.iter().filter(|given| given.unread && !given.is_last()).count();
        let remaining = list.remaining + (list.messages.len() - new.len() + unfinished) as u64;
        if filter != Filter::Unread {
            new.reverse();
            given.reverse();
        }
        texts.append(&mut new);
        let messages = texts.join(",");
        let text = format!("{{\"ok\":true,\"messages\":[{messages}],\"remaining\":{remaining}}}");
        Self { text, given }
    }

    /// The answer when there is nothing.
    pub(super) fn none() -> String {
        Self::new(&Messages::default(), Filter::Unread, &[], |_| 0).text
    }

    /// The messages that the agent has read with this.
    pub(super) fn read(&self) -> Vec<MessageId> {
        let read = self.given.iter().filter(|given| given.unread && given.is_last());
        read.map(|given| given.id).collect()
    }
}

/// A message, or the part of it that follows after `had` parts.
fn shown(message: &MessageInfo, filter: Filter, had: usize) -> GivenMessage {
    let given = |part: Option<MessagePart>, json: String| GivenMessage {
        id: message.id,
        from: message.from_peer.clone(),
        from_name: message.from_name.clone(),
        unread: message.read_at.is_none(),
        part,
        json,
    };
    let json = answers::message(message, filter, None);
    if json.len() + FRAME_BYTES < ANSWER_BYTES_MAX {
        return given(None, json);
    }
    let parts = parts(&message.payload);
    // After the last part it begins again.
    let at = if had < parts.len() { had } else { 0 };
    let part = MessagePart { number: at + 1, of: parts.len() };
    let text = parts.get(at).copied().unwrap_or_default();
    given(Some(part), answers::message(message, filter, Some((part, text))))
}

/// `text` in parts of at most [`PART_BYTES_MAX`] bytes of JSON each.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut begin, mut size) = (0, 0);
    for (at, c) in text.char_indices() {
        let bytes = json_len(c);
        if size + bytes > PART_BYTES_MAX {
            parts.push(text.get(begin..at).unwrap_or_default());
            (begin, size) = (at, 0);
        }
        size += bytes;
    }
    parts.push(text.get(begin..).unwrap_or_default());
    parts
}

/// The most that a character takes in a JSON string with nothing harmful in it (RFC 8259, 7).
fn json_len(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        // As the beginning of a closing tag.
        '<' => 6,
        c if is_harmful(c) => 6 * c.len_utf16(),
        c => c.len_utf8(),
    }
}

/// A message with the remark that the agent may have it already.
fn repeated(json: &str) -> String {
    json.replacen('{', "{\"repeated\":true,", 1)
}

#[cfg(test)]
#[path = "tests/inbox_answer.rs"]
pub(super) mod tests;
