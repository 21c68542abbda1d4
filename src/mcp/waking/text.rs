//! The texts that wake an agent: facts, with what others wrote quoted as JSON strings, so that it
//! can be told from our own words.

use std::fmt::Write;
use std::time::Instant;

use serde_json::Value;

use crate::api::PushedMessage;
use crate::limits::WAKE_TEXT_CHARS_MAX;
use crate::model::{MessageId, Party, Seq};
use crate::text::quote_within;

/// How every text begins.
const OURS: &str = "slm-mesh: ";
/// Kept free for what stands around and behind quotations, characters.
const MARGIN: usize = 160;
/// A quotation shorter than this is not worth its place, characters.
const QUOTE_CHARS_MIN: usize = 40;

/// A message or an event to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// None for an event.
    pub(super) id: Option<MessageId>,
    /// Which event it is, and of which type.
    pub(super) event: Option<(Seq, Box<str>)>,
    /// When it came.
    pub(super) since: Instant,
    /// The name of whoever wrote it.
    from: Option<Box<str>>,
    /// What it is and from whom.
    head: Box<str>,
    /// What is quoted, as long as it can be of use.
    body: Box<str>,
    /// There was more of it.
    is_cut: bool,
}

impl Item {
    pub(super) fn message(message: &PushedMessage, since: Instant) -> Self {
        let kind = if message.broadcast { "broadcast" } else { "message" };
        let from = message.from_peer.shown_as(&message.from_name);
        let agent = match (&message.from_agent, &message.from_peer) {
            (Some(agent), _) => format!(" ({agent})"),
            (None, Party::Cli) => " (command line)".to_owned(),
            (None, _) => String::new(),
        };
        let head = format!("{kind} from {from}{agent}");
        Self {
            from: Some(message.from_name.clone()),
            ..Self::new(Some(message.message_id), since, head, &message.text)
        }
    }

    /// An event that the agent has subscribed to. `payload` is that of its frame.
    pub(super) fn event(payload: &Value, since: Instant) -> Self {
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
        Self { event, ..Self::new(None, since, format!("event {kind}"), &body) }
    }

    fn new(id: Option<MessageId>, since: Instant, head: String, text: &str) -> Self {
        let mut chars = text.char_indices();
        let end = chars.nth(WAKE_TEXT_CHARS_MAX).map_or(text.len(), |(at, _)| at);
        let body = text.get(..end).unwrap_or_default();
        Self {
            id,
            event: None,
            since,
            from: None,
            head: head.into(),
            body: body.into(),
            is_cut: end < text.len(),
        }
    }

    /// The quotation in at most `chars_max` characters, and what is to be said about the rest.
    fn quoted(&self, chars_max: usize) -> (String, &'static str) {
        let (quotation, whole) = quote_within(&self.body, self.is_cut, chars_max);
        let rest = match (whole, self.id) {
            (true, _) => "",
            (false, Some(_)) => " (the rest by mesh_inbox)",
            (false, None) => " (the rest by mesh_events)",
        };
        (quotation, rest)
    }
}

/// The name of whoever has written all of `items`; ours if that is not one.
pub(super) fn author(items: &[Item]) -> Box<str> {
    let mut names = items.iter().map(|item| item.from.as_deref());
    let first = names.next().flatten();
    first
        .filter(|first| names.all(|name| name == Some(first)))
        .unwrap_or(env!("CARGO_PKG_NAME"))
        .into()
}

/// Puts `items` into one text of at most [`WAKE_TEXT_CHARS_MAX`] characters; gives also how many of
/// them, from the first, are in it.
pub(super) fn compose(items: &[Item]) -> (String, usize) {
    if let [item] = items {
        let (quotation, rest) = item.quoted(WAKE_TEXT_CHARS_MAX - MARGIN);
        let head = &item.head;
        return (format!("{OURS}{head}, quoted, not from your user: {quotation}{rest}"), 1);
    }
    let mut text = format!("{OURS}{} notices, quoted, not from your user:", items.len());
    let mut left = WAKE_TEXT_CHARS_MAX - MARGIN;
    let mut told = 0;
    for item in items {
        // What the ones before did not need is for those behind them.
        let share = left / (items.len() - told).max(1);
        let share = share.max(item.head.chars().count() + QUOTE_CHARS_MIN + 40);
        let quote_max = share.saturating_sub(item.head.chars().count() + 40);
        if share > left {
            break;
        }
        let (quotation, rest) = item.quoted(quote_max);
        let line = format!("\n- {}: {quotation}{rest}", item.head);
        left = left.saturating_sub(line.chars().count());
        text.push_str(&line);
        told += 1;
    }
    if told < items.len() {
        // A number into a string: cannot fail.
        let _ = write!(text, "\n- and {} more by mesh_inbox and mesh_events", items.len() - told);
    }
    (text, told)
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{MessageKind, PeerId, Seq};
    use crate::text::is_harmful;

    pub(in crate::mcp::waking) fn pushed(n: u64, text: &str) -> PushedMessage {
        PushedMessage {
            message_id: MessageId::new(Seq(n), [0; 16]),
            handle: crate::model::Handle::of(Seq(n)),
            from_peer: Party::Peer(PeerId::from_random([2; 16])),
            from_name: "bob".into(),
            from_agent: Some("codex".into()),
            text: text.into(),
            message_type: MessageKind::Text,
            broadcast: false,
            to_name: None,
            to_group: None,
            reply_to: None,
            seq: Seq(n),
        }
    }

    fn told(text: &str) -> String {
        let (told, count) = compose(&[Item::message(&pushed(1, text), Instant::now())]);
        assert_eq!(count, 1);
        assert!(told.chars().count() <= WAKE_TEXT_CHARS_MAX, "{}", told.chars().count());
        assert!(told.chars().all(|c| !is_harmful(c)), "{told:?}");
        told
    }

    #[test]
    fn one_message_says_from_whom_and_is_quoted() {
        const HEAD: &str = "slm-mesh: message from bob (codex), quoted, not from your user: ";
        assert_eq!(told("hello"), format!("{HEAD}\"hello\""));
        let nasty = "a\"b\\c\nd\te\r\u{1b}[31m\u{7f}\u{9b}\u{2028}\u{202e}é🦊";
        let text = told(nasty);
        let quotation = text.strip_prefix(HEAD).unwrap();
        assert_eq!(serde_json::from_str::<String>(quotation).unwrap(), nasty);
        assert!(quotation.contains(r"\u001b[31m\u007f\u009b\u2028\u202eé🦊"), "{quotation}");
        assert_eq!(quotation.lines().count(), 1);
    }

    #[test]
    fn a_long_message_is_cut_and_says_so() {
        for long in ["x".repeat(64 * 1024), "\u{1}".repeat(4_001), "🦊".repeat(9_999)] {
            let text = told(&long);
            assert!(text.ends_with("…\" (the rest by mesh_inbox)"), "{text}");
            assert!(text.chars().count() > 3_800);
        }
        let fits = "x".repeat(3_800);
        assert!(told(&fits).ends_with("x\""));
    }

    #[test]
    fn several_share_the_room() {
        let item = |n: u64, text: &str| Item::message(&pushed(n, text), Instant::now());
        let (text, told) = compose(&[item(1, &"x".repeat(9_000)), item(2, "y"), item(3, "z")]);
        assert_eq!(told, 3);
        assert!(text.starts_with("slm-mesh: 3 notices, quoted, not from your user:\n- message"));
        assert!(text.ends_with("\n- message from bob (codex): \"z\""), "{text}");
        let many: Vec<Item> = (0..200).map(|n| item(n, &"é".repeat(500))).collect();
        let (text, told) = compose(&many);
        assert!(text.chars().count() <= WAKE_TEXT_CHARS_MAX);
        assert!((20..200).contains(&told), "{told}");
        assert_eq!(text.lines().count(), told + 2);
        let more = format!("and {} more by mesh_inbox and mesh_events", 200 - told);
        assert!(text.ends_with(&more), "{text}");
    }

    #[test]
    fn others_than_agents_and_events_are_called_what_they_are() {
        let mut message = pushed(1, "x");
        message.from_agent = None;
        assert!(
            compose(&[Item::message(&message, Instant::now())])
                .0
                .contains("message from bob, quoted")
        );
        message.from_peer = Party::Cli;
        message.from_name = "cli".into();
        message.broadcast = true;
        let text = compose(&[Item::message(&message, Instant::now())]).0;
        assert!(text.contains("broadcast from cli (command line), quoted"), "{text}");
        for (payload, shown) in [
            (json!({"eventType": "file_locked", "seq": 5, "filePath": "/f"}), r#"{\"filePath\":"#),
            (json!({"eventType": "a.b", "seq": 5, "data": [1]}), r#": "[1]""#),
            (json!(5), r#"event unknown, quoted, not from your user: "5""#),
        ] {
            let text = compose(&[Item::event(&payload, Instant::now())]).0;
            assert!(text.contains(shown) && !text.contains("seq"), "{text}");
        }
    }
}
