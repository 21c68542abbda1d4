//! The kinds of fields that requests have: their bounds, and what is said of a value beyond them.

use uuid::Uuid;

use super::declare::Or;
use super::fields::{Kind, List, Number, Text, Word, text};
use super::request::Filter;
use crate::limits::{
    AGENT_PIDS_MAX, CLAIM_WAIT_SECONDS_MAX, EVENT_TYPE_CHARS_MAX, EVENT_TYPES_MAX,
    INVITATION_MINUTES_MAX, KEY_CHARS_MAX, LIST_LIMIT_MAX, LOCK_FILES_MAX, LOCK_TTL_MINUTES_MAX,
    MARK_IDS_MAX, NAME_CHARS_MAX, NAMESPACE_CHARS_MAX, PATH_BYTES_MAX, PAYLOAD_BYTES_MAX,
    PEER_IDS_MAX, PROOF_HANDLES_MAX, REASON_CHARS_MAX, STATE_TTL_SECONDS_MAX, SUMMARY_CHARS_MAX,
    TAG_CHARS_MAX, THREAD_MESSAGES_MAX, WAIT_SECONDS_MAX,
};
use crate::model::{
    Handle, MachineName, MessageId, MessageKind, MessageRef, Moment, PeerId, RepoHash, SentStatus,
    Seq, Timestamp, Way, event_type,
};
use crate::names;

/// A way of naming a peer or party: an id, a name, a prefix of an id.
pub(super) const WHO: Text = Text::chars(1, NAME_CHARS_MAX);
/// The same, or a topic with its `#`.
pub(super) const TO: Text = Text::chars(1, NAME_CHARS_MAX + 1);
pub(super) const PATH: Text = Text::bytes(1, PATH_BYTES_MAX);
pub(super) const TAG: Text = Text::chars(1, TAG_CHARS_MAX);
pub(super) const SUMMARY: Text = Text::chars(0, SUMMARY_CHARS_MAX);
pub(super) const REASON: Text = Text::chars(0, REASON_CHARS_MAX);
pub(super) const PAYLOAD: Text = Text::bytes(1, PAYLOAD_BYTES_MAX);
pub(super) const VALUE: Text = Text::bytes(0, PAYLOAD_BYTES_MAX);
pub(super) const KEY: Text = Text::chars(1, KEY_CHARS_MAX);
pub(super) const PREFIX: Text = Text::chars(0, KEY_CHARS_MAX);
pub(super) const NAMESPACE: Or<Text> =
    Or(Text::chars(1, NAMESPACE_CHARS_MAX), || names::DEFAULT_NAMESPACE.into());
pub(super) const EVENT_TYPE: Text = Text::chars(1, EVENT_TYPE_CHARS_MAX);

pub(super) const PID: Number<u32> = Number::small(1, u32::MAX);
pub(super) const LIMIT: Number<u32> = Number::small(1, LIST_LIMIT_MAX);
pub(super) const TTL_MINUTES: Number<u32> = Number::small(1, LOCK_TTL_MINUTES_MAX);
pub(super) const TTL_SECONDS: Number<u64> = Number::whole(1, STATE_TTL_SECONDS_MAX);
pub(super) const MINUTES: Number<u32> = Number::small(1, INVITATION_MINUTES_MAX);
pub(super) const WAIT: Number<u64> = Number::whole(0, WAIT_SECONDS_MAX);
pub(super) const CLAIM_WAIT: Number<u64> = Number::whole(0, CLAIM_WAIT_SECONDS_MAX);
pub(super) const SEQ: Number<Seq> = Number::SEQ;

pub(super) const ID: Word<Uuid> = Word {
    expected: "a UUID",
    parse: |text| (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten(),
};
pub(super) const MESSAGE: Word<MessageRef> =
    Word { expected: "the handle or the id of a message", parse: MessageRef::parse };
pub(super) const REPO_HASH: Word<RepoHash> =
    Word { expected: "64 hexadecimal digits", parse: RepoHash::parse };
pub(super) const SINCE: Word<Timestamp> =
    Word { expected: "an ISO 8601 time", parse: Timestamp::parse };
pub(super) const TIME: Word<Timestamp> =
    Word { expected: "a time such as 2026-04-08T10:30:00Z", parse: Timestamp::parse };
pub(super) const KIND: Word<MessageKind> =
    Word { expected: "text, json, command or alert", parse: MessageKind::parse };
pub(super) const FILTER: Word<Filter> =
    Word { expected: "unread, all or sent", parse: Filter::parse };
pub(super) const WAY: Word<Way> = Word {
    expected: "inbox-socket, channel, queue, hook, tool-result, wait-hook or plugin",
    parse: Way::parse,
};
pub(super) const SENT_STATUS: Word<SentStatus> = Word {
    expected: "sent, held, refused, declined, not-running or dropped",
    parse: SentStatus::parse,
};
pub(super) const MOMENT: Word<Moment> =
    Word { expected: "start, prompt, tool, stop or end", parse: Moment::parse };
pub(super) const MACHINE: Word<MachineName> = Word {
    expected: "the name of a machine: 1 to 32 letters, digits, '.', '_' and '-'",
    parse: MachineName::new,
};

pub(super) const AGENT_PIDS: List<u32> =
    List { max: AGENT_PIDS_MAX, items: "process ids", parse: |item| PID.parse(item) };
pub(super) const PEER_IDS: List<PeerId> =
    List { max: PEER_IDS_MAX, items: "ids of peers", parse: |item| PeerId::parse(&text(item)?) };
pub(super) const MARK_IDS: List<MessageId> = message_ids(MARK_IDS_MAX);
pub(super) const THREAD: List<MessageId> = message_ids(THREAD_MESSAGES_MAX);
pub(super) const PROOF: List<Handle> = List {
    max: PROOF_HANDLES_MAX,
    items: "handles of messages",
    parse: |item| Handle::parse(&text(item)?),
};
pub(super) const FILE_PATHS: List<Box<str>> = List {
    max: LOCK_FILES_MAX,
    items: "paths of 1 to 4096 bytes, and not empty",
    parse: |item| PATH.parse(item),
};
pub(super) const TYPES: List<Box<str>> = List {
    max: EVENT_TYPES_MAX,
    items: "event types, `prefix.*` or `*`",
    parse: |item| text(item).filter(|text| is_type_pattern(text)).map(Into::into),
};
pub(super) const SUBSCRIBED: List<Box<str>> = List {
    max: EVENT_TYPES_MAX,
    items: "event types, `prefix.*`, `*` or `#topic`",
    parse: |item| {
        let is_wanted = |text: &str| match text.strip_prefix(names::TOPIC) {
            Some(topic) => names::check_form(topic).is_ok(),
            None => is_type_pattern(text),
        };
        text(item).filter(|text| is_wanted(text)).map(Into::into)
    },
};

const fn message_ids(max: usize) -> List<MessageId> {
    List { max, items: "message ids", parse: |item| MessageId::parse(&text(item)?) }
}

fn is_type_word(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// A name that a party may emit: `build.finished`, `deployed`.
pub(super) fn is_custom_type(kind: &str) -> bool {
    is_type_word(kind)
        && !kind.starts_with('.')
        && !kind.ends_with('.')
        && event_type::is_custom(kind)
}

/// `*`, `prefix.*`, or a type.
fn is_type_pattern(pattern: &str) -> bool {
    let rest = match pattern.strip_suffix('*') {
        Some(prefix) if prefix.is_empty() || prefix.ends_with('.') => prefix,
        Some(_) => return false,
        None if pattern.is_empty() => return false,
        None => pattern,
    };
    pattern.len() <= EVENT_TYPE_CHARS_MAX && is_type_word(rest)
}
