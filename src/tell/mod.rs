//! What an agent is told: messages and events in one form, which every way uses, and the proof that such
//! a text has come to the agent.
//!
//! ```text
//! slm-mesh: message k7q2 from bob (codex), quoted, not from your user: "TEXT". Answer with mesh_send (to "bob", replyTo "k7q2").
//! ```
//!
//! The text states facts and gives no orders. What others wrote stands in quotes, as JSON on one
//! line, so that it cannot be mistaken for anything else. A text is one line, or a first line and
//! one for each thing told.

mod proof;

pub use proof::handles;

use std::fmt::Write;

use serde_json::Value;

use crate::api::MessageInfo;
use crate::limits::{NAME_CHARS_MAX, TELL_BEGUN_CHARS_MIN, TELL_CHARS_MAX};
use crate::model::{MessageId, Party, Seq};
use crate::text::{bare_or_quoted, quote_within};

/// How every text begins.
const OURS: &str = "slm-mesh: ";
/// Kept free for the first line of several and the last ones, characters.
const AROUND_CHARS: usize = 200;

/// A message or an event to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// None for an event.
    pub id: Option<MessageId>,
    /// The number and the type of an event that has them.
    pub event: Option<(Seq, Box<str>)>,
    /// What it is and from whom.
    head: Box<str>,
    /// It came from the command line.
    is_cli: bool,
    /// The name that an answer goes to.
    answer_to: Option<Box<str>>,
    /// What is quoted, as much as can be of use.
    body: Box<str>,
    /// There was more of it.
    is_cut: bool,
}

impl Item {
    /// A message.
    #[must_use]
    pub fn message(message: &MessageInfo) -> Self {
        let kind = if message.to_peer.is_none() { "broadcast" } else { "message" };
        let handle = message.handle;
        let name = word(&message.from_name);
        let head = match (&message.from_peer, &message.from_agent) {
            (Party::Cli, _) => format!(
                "{kind} {handle} from this machine's command line (usually your user, unproven)"
            ),
            (Party::CliAt(machine), _) => {
                format!("{kind} {handle} from the command line of {machine}, another machine")
            }
            (party, None) => format!("{kind} {handle} from {}", party.shown_as(&name)),
            (_, Some(agent)) => format!("{kind} {handle} from {name} ({})", word(agent)),
        };
        let answer_to = match &message.from_peer {
            Party::Cli | Party::CliAt(_) => Some(message.from_peer.to_string().into()),
            Party::Peer(_) => Some(message.from_name.clone()),
            Party::Label(_) => None,
        };
        let is_cli = message.from_peer == Party::Cli;
        let base = Self::new(head, &message.payload);
        Self { id: Some(message.id), is_cli, answer_to, ..base }
    }

    /// An event that the agent has subscribed to. `payload` is that of its frame.
    #[must_use]
    pub fn event(payload: &Value) -> Self {
        let kind = payload.get("eventType").and_then(Value::as_str).unwrap_or("unknown");
        let body = match (payload.get("data"), payload) {
            (Some(data), _) => data.to_string(),
            (None, Value::Object(fields)) => {
                let mut fields = fields.clone();
                for known in ["eventType", "seq", "emittedBy"] {
                    fields.remove(known);
                }
                Value::Object(fields).to_string()
            }
            (None, other) => other.to_string(),
        };
        let seq = payload.get("seq").and_then(Value::as_u64);
        let event = seq.map(|seq| (Seq(seq), kind.into()));
        Self { event, ..Self::new(format!("event {}", word(kind)), &body) }
    }

    fn new(head: String, text: &str) -> Self {
        let mut chars = text.char_indices();
        let end = chars.nth(TELL_CHARS_MAX).map_or(text.len(), |(at, _)| at);
        let body = text.get(..end).unwrap_or_default().into();
        let is_cut = end < text.len();
        let (id, event, answer_to) = (None, None, None);
        Self { id, event, head: head.into(), is_cli: false, answer_to, body, is_cut }
    }

    /// `before`, the quotation and `after`, in at most `chars_max` characters; and whether it is all.
    fn line(&self, before: &str, after: &str, chars_max: usize) -> (String, bool) {
        let rest = if self.id.is_some() { "mesh_inbox" } else { "mesh_events" };
        let rest = format!(" (the rest by {rest})");
        let room = chars_max.saturating_sub(count(before) + count(after));
        let (mut quotation, whole) = quote_within(&self.body, self.is_cut, room);
        if !whole {
            let room = room.saturating_sub(count(&rest));
            quotation = quote_within(&self.body, true, room).0 + &rest;
        }
        (format!("{before}{quotation}{after}"), whole)
    }

    /// As all of a text.
    fn alone(&self, remaining: u64) -> (String, bool) {
        let quoted = if self.is_cli { "" } else { ", quoted, not from your user" };
        let before = format!("{OURS}{}{quoted}: ", self.head);
        let mut after = ".".to_owned();
        if let (Some(to), Some(id)) = (&self.answer_to, self.id) {
            // Writing to a string does not fail.
            let (to, handle) = (quote_within(to, false, 2 * NAME_CHARS_MAX).0, id.handle());
            let _ = write!(after, " Answer with mesh_send (to {to}, replyTo \"{handle}\").");
        }
        if remaining > 0 {
            let _ = write!(after, " {remaining} more by mesh_inbox.");
        }
        self.line(&before, &after, TELL_CHARS_MAX)
    }

    /// As one of several, in at most `chars_max` characters.
    fn among(&self, chars_max: usize) -> (String, bool) {
        self.line(&format!("\n- {}: ", self.head), "", chars_max)
    }
}

/// A text for an agent, and what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Composed {
    /// The text, of at most [`TELL_CHARS_MAX`] characters; empty if there is nothing to tell.
    pub text: String,
    /// The messages that stand in it whole.
    pub whole: Vec<MessageId>,
    /// Those of which only the beginning does.
    pub begun: Vec<MessageId>,
    /// How many of the items it was made of, from the first.
    pub told: usize,
}

impl Composed {
    fn add(&mut self, item: &Item, line: &str, whole: bool) {
        self.text.push_str(line);
        self.told += 1;
        if let Some(id) = item.id {
            if whole { &mut self.whole } else { &mut self.begun }.push(id);
        }
    }
}

/// Puts as many of `items` as there is room for into one text, in their order. `remaining` messages
/// wait beside them.
#[must_use]
pub fn compose(items: &[Item], remaining: u64) -> Composed {
    let mut composed = Composed::default();
    if let [item] = items {
        let (line, whole) = item.alone(remaining);
        composed.add(item, &line, whole);
        return composed;
    }
    let mut left = TELL_CHARS_MAX - AROUND_CHARS;
    for item in items {
        let (mut line, mut whole) = item.among(left);
        if !whole {
            // One that would never fit beside others is begun. The others keep their order and come
            // whole the next time.
            let share = (left / (items.len() - composed.told))
                .max(count(&item.head) + TELL_BEGUN_CHARS_MIN);
            let is_long = !item.among(TELL_CHARS_MAX / 2).1;
            if share > left || !is_long {
                break;
            }
            (line, whole) = item.among(share);
        }
        left = left.saturating_sub(count(&line));
        composed.add(item, &line, whole);
    }
    if composed.told > 0 {
        let (told, untold) = items.split_at(composed.told);
        composed.text.insert_str(0, &first_line(told));
        let messages = untold.iter().filter(|item| item.id.is_some()).count() as u64;
        let more = remaining.saturating_add(messages);
        if more > 0 {
            let _ = write!(composed.text, "\n- and {more} more by mesh_inbox");
        }
        let events = untold.len() as u64 - messages;
        if events > 0 {
            let _ = write!(composed.text, "\n- and {} by mesh_events", counted(events, "event"));
        }
    }
    composed
}

/// What stands above several.
fn first_line(told: &[Item]) -> String {
    let messages = told.iter().filter(|item| item.id.is_some()).count() as u64;
    let events = told.len() as u64 - messages;
    let mut what = Vec::new();
    for (n, word) in [(messages, "message"), (events, "event")] {
        if n > 0 {
            what.push(counted(n, word));
        }
    }
    let unless = if told.iter().any(|item| item.is_cli) { " unless said" } else { "" };
    let answer = if told.iter().any(|item| item.answer_to.is_some()) {
        "; answer with mesh_send (to, replyTo)"
    } else {
        ""
    };
    format!("{OURS}{}, quoted, not from your user{unless}{answer}.", what.join(" and "))
}

fn counted(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A name or a type, which is one word by its rules, and stands in a text of ours only as one.
fn word(text: &str) -> String {
    let word = bare_or_quoted(text);
    if count(&word) <= 2 * NAME_CHARS_MAX {
        word.into_owned()
    } else {
        quote_within(text, false, 2 * NAME_CHARS_MAX).0
    }
}

fn count(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests;
