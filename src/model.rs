//! The things the mesh is about: peers, messages, state entries, locks, events, and their ids.
//!
//! Plain data: no I/O, no clock, no JSON shapes of the wire (those live in [`crate::api`]).

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::{Builder, Uuid};

/// A point of wall-clock time, ms since the Unix epoch. Written as ISO 8601 UTC with milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This time moved by `ms`, which may be negative; saturates.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Parses an RFC 3339 time with any offset, to the millisecond (the rest is cut off).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|time| Self(time.as_millisecond()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A clock outside of jiff's years (-9999 to 9999) is shown as the nearest end.
        let time = jiff::Timestamp::from_millisecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        });
        write!(f, "{time:.3}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an ISO 8601 time"))
    }
}

/// A point of monotonic time, as the distance from an arbitrary start of its clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub Duration);

impl Monotonic {
    /// This time moved forward; saturates.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }

    /// The time since `earlier`, zero if that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// What time it is: the wall clock for what is shown, the monotonic one for measuring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Wall clock; may jump either way.
    pub wall: Timestamp,
    /// Monotonic clock; never goes back, and stands still while the machine sleeps.
    pub mono: Monotonic,
    /// Time since the machine was started, its sleep included.
    pub boot: Monotonic,
}

/// A point of the mesh's own time, ms, by which things expire and grow old. It goes on with the time
/// that passes, whatever the wall clock does; where that has always been right, it is the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeshTime(pub i64);

impl MeshTime {
    /// This time moved by `ms`, which may be negative; saturates.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Ms until `later`; negative if that was before.
    #[must_use]
    pub fn ms_until(self, later: Self) -> i64 {
        later.0.saturating_sub(self.0)
    }
}

/// What is known of the clocks at some time, for whoever starts the mesh again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeMark {
    /// The mesh's own time.
    pub at: MeshTime,
    /// What the wall clock said.
    pub wall: Timestamp,
    /// Which running of the machine it was, if that is known.
    pub boot_id: Option<Uuid>,
    /// For how long the machine had been running.
    pub boot: Monotonic,
    /// Since when in that running the wall clock had kept step.
    pub steady_since: Monotonic,
    /// How far the wall clock is ahead of the mesh's time when it is right, ms.
    pub believed_ms: i64,
    /// The machine was started anew, and how long before that everything up to here came is not known
    /// yet.
    pub unseen_to: Option<Seq>,
}

/// A number of the one sequence that messages and events share. It only grows and is never used
/// again; 0 is before everything.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of a registered peer: a random UUID (version 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub Uuid);

impl PeerId {
    /// An id from 16 random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(Builder::from_random_bytes(bytes).into_uuid())
    }

    /// Parses the hyphenated form, upper or lower case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse_uuid(text).map(Self)
    }
}

/// The id of a message or event: a UUID of version 8 (RFC 9562, 5.8) whose first 48 bits are its
/// sequence number, so that no index is needed to find it, and whose other bits are random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub Uuid);

impl MessageId {
    /// The id of the item with sequence number `seq`.
    #[must_use]
    pub fn new(seq: Seq, random: [u8; 16]) -> Self {
        let [_, _, s0, s1, s2, s3, s4, s5] = seq.0.to_be_bytes();
        let mut bytes = random;
        for (byte, value) in bytes.iter_mut().zip([s0, s1, s2, s3, s4, s5]) {
            *byte = value;
        }
        Self(Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The sequence number in it. Whether such a message exists, and has this id, is for the store
    /// to say.
    #[must_use]
    pub fn seq(self) -> Seq {
        let [s0, s1, s2, s3, s4, s5, ..] = *self.0.as_bytes();
        Seq(u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]))
    }

    /// Parses the hyphenated form, upper or lower case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse_uuid(text).map(Self)
    }
}

/// The hyphenated form only: the others that the library knows (braces, `urn:`, no hyphens) are not
/// ids on the wire.
fn parse_uuid(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten()
}

macro_rules! text_id {
    ($($id:ty),*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }
        impl Serialize for $id {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.0.as_hyphenated().encode_lower(&mut [0; 36]))
            }
        }
        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a UUID"))
            }
        }
    )*};
}
text_id!(PeerId, MessageId);

/// Someone who acts in the mesh: sends, holds a lock, sets state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A registered peer.
    Peer(PeerId),
    /// A person at the command line; has an inbox, needs no registration.
    Cli,
    /// A script under a plain name; has no inbox.
    Label(Box<str>),
}

impl Party {
    /// What a stored or written party is: a UUID is a peer, `cli` is the command line, anything
    /// else a label.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match PeerId::parse(text) {
            Some(id) => Self::Peer(id),
            None if text == "cli" => Self::Cli,
            None => Self::Label(text.into()),
        }
    }

    /// The peer, if it is one.
    #[must_use]
    pub fn peer(&self) -> Option<PeerId> {
        if let Self::Peer(id) = self { Some(*id) } else { None }
    }

    /// What a reader is shown for this party, whose name is `name`: a script calls itself what it
    /// likes, so that it is said to be one.
    #[must_use]
    pub fn shown_as<'a>(&self, name: &'a str) -> Cow<'a, str> {
        match self {
            Self::Peer(_) | Self::Cli => Cow::Borrowed(name),
            Self::Label(_) => Cow::Owned(format!("script {name}")),
        }
    }

    /// Who reads mail under this party, if anyone does.
    #[must_use]
    pub fn inbox(&self) -> Option<Recipient> {
        match self {
            Self::Peer(id) => Some(Recipient::Peer(*id)),
            Self::Cli => Some(Recipient::Cli),
            Self::Label(_) => None,
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(id) => id.fmt(f),
            Self::Cli => f.write_str("cli"),
            Self::Label(label) => f.write_str(label),
        }
    }
}

impl Serialize for Party {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Party {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::parse(&text))
    }
}

/// Someone who has an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Recipient {
    /// The person at the command line.
    Cli,
    /// A registered peer.
    Peer(PeerId),
}

impl From<Recipient> for Party {
    fn from(recipient: Recipient) -> Self {
        match recipient {
            Recipient::Cli => Self::Cli,
            Recipient::Peer(id) => Self::Peer(id),
        }
    }
}

/// What kind of text a message carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageKind {
    /// Plain text.
    #[default]
    Text,
    /// A JSON document.
    Json,
    /// Something the sender asks to be done.
    Command,
    /// Something that should be seen soon.
    Alert,
}

impl MessageKind {
    /// All kinds, in the order in which they are listed to people.
    pub const ALL: [Self; 4] = [Self::Text, Self::Json, Self::Command, Self::Alert];

    /// The word on the wire and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Command => "command",
            Self::Alert => "alert",
        }
    }

    /// The kind with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A way in which an agent is told of a message: what puts it where the agent will see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The socket on which the agent's session takes messages.
    InboxSocket,
    /// A notification on the channel between agent and server that the agent shows to its model.
    Channel,
    /// The agent's own queue of what it is to do next.
    Queue,
    /// Text that a hook has added to the agent's context.
    Hook,
    /// The notice on the result of a tool.
    ToolResult,
}

impl Way {
    /// All ways, in the order in which they are listed to people.
    pub const ALL: [Self; 5] =
        [Self::InboxSocket, Self::Channel, Self::Queue, Self::Hook, Self::ToolResult];

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InboxSocket => "inbox-socket",
            Self::Channel => "channel",
            Self::Queue => "queue",
            Self::Hook => "hook",
            Self::ToolResult => "tool-result",
        }
    }

    /// The way with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.as_str() == word)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// That an agent was told of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Notified {
    /// When.
    pub at: Timestamp,
    /// How.
    pub by: Way,
}

/// How far a message has come with a recipient; each stage implies those before it, except that what
/// is fetched unasked is read without a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It is stored.
    Queued,
    /// The recipient's process has confirmed it.
    Delivered,
    /// It was put where the recipient's agent will see it.
    Notified,
    /// The agent has it.
    Read,
    /// Nobody will ever read it: its recipient is gone for good.
    Undeliverable,
}

impl Stage {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Delivered => "delivered",
            Self::Notified => "notified",
            Self::Read => "read",
            Self::Undeliverable => "undeliverable",
        }
    }
}

/// The words of `reach` that the mesh knows: when an agent learns of a message, the soonest first. A
/// peer may say another word; it is shown as it is.
pub mod reach {
    /// At once, even if it is idle.
    pub const WAKES: &str = "wakes";
    /// When its next turn begins, or within a running one.
    pub const NEXT_TURN: &str = "next-turn";
    /// With the result of its next call of a tool of the mesh.
    pub const NEXT_CALL: &str = "next-call";
    /// When it looks.
    pub const NONE: &str = "none";
}

/// Why a peer left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveReason {
    /// It unregistered.
    CleanExit,
    /// Its process ended without a word.
    Crashed,
    /// No heartbeat came, and no process is known.
    Timeout,
}

impl LeaveReason {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CleanExit => "clean_exit",
            Self::Crashed => "crashed",
            Self::Timeout => "timeout",
        }
    }
}

/// A peer as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a record: each stands for itself")]
pub struct PeerRecord {
    /// Its id, for as long as its record lives.
    pub id: PeerId,
    /// Unique among present peers.
    pub name: Box<str>,
    /// Whether the mesh made the name (such names stay reserved for a while).
    pub name_is_automatic: bool,
    /// SHA-256 of its token.
    pub token_hash: [u8; 32],
    /// The form of a name: `claude-code`, `codex`, `unknown`.
    pub agent_type: Box<str>,
    /// For display only.
    pub pid: u32,
    /// Absolute path of its project.
    pub project_path: Box<str>,
    /// Root of the git work tree.
    pub git_root: Option<Box<str>>,
    /// Branch checked out there.
    pub git_branch: Option<Box<str>>,
    /// The git common directory: the same for all work trees of one repository.
    pub repo_id: Option<Box<str>>,
    /// The socket on which it takes pushes.
    pub uds_path: Option<Box<str>>,
    /// What it says it is working on.
    pub summary: Option<Box<str>>,
    /// The machine it runs on, if not this one.
    pub host: Option<Box<str>>,
    /// How its agent can be told, in the peer's own words.
    pub reach: Option<Box<str>>,
    /// The agent's session.
    pub session_id: Option<Box<str>>,
    /// The agent's process.
    pub agent_pid: Option<u32>,
    /// When that process started, in the words of the system, where it tells: another that is given
    /// the same id has another start.
    pub agent_start: Option<Box<str>>,
    /// Only its own token speaks for it.
    pub private: bool,
    /// It confirms message frames.
    pub acks: bool,
    /// Event types it subscribed to.
    pub subscriptions: Vec<Box<str>>,
    /// When it first registered.
    pub started_at: Timestamp,
    /// The last heartbeat that was stored (later ones are only in memory).
    pub last_heartbeat: Timestamp,
    /// Since when its server is gone while its agent goes on; none while it is here, or has left.
    pub away_at: Option<MeshTime>,
    /// When it left; none while it is present.
    pub left_at: Option<Timestamp>,
    /// It may come back under this id (not after it unregistered).
    pub resumable: bool,
}

impl PeerRecord {
    /// Whether it is a session of an agent's process on this machine, and so can be known again.
    #[must_use]
    pub fn is_session(&self) -> bool {
        self.session_id.is_some() && self.agent_start.is_some() && self.host.is_none()
    }
}

/// A message as one recipient or its sender sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its place in the sequence.
    pub seq: Seq,
    /// Its id, the same for all recipients.
    pub id: MessageId,
    /// Who sent it.
    pub from: Party,
    /// The sender's name when it was sent.
    pub from_name: Box<str>,
    /// To whom; none for a broadcast. In the mailbox of a name: the peer that had the name, or a label
    /// with the name if nobody had it.
    pub to: Option<Party>,
    /// The name in whose mailbox it is, if it is in one: it is for whoever has that name.
    pub to_name: Option<Box<str>>,
    /// Of a broadcast: to which group it was sent (`repo`, `directory`, `#topic`), if not to all.
    pub to_group: Option<Box<str>>,
    /// What kind of text it is.
    pub kind: MessageKind,
    /// The text.
    pub payload: Box<str>,
    /// The message it answers.
    pub reply_to: Option<MessageId>,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When the recipient's process confirmed it. In a sender's list of a broadcast: none.
    pub delivered_at: Option<Timestamp>,
    /// When and how the agent was told of it. In a sender's list of a broadcast: none.
    pub notified: Option<Notified>,
    /// When the agent fetched it. In a sender's list of a broadcast: none.
    pub read_at: Option<Timestamp>,
    /// In a sender's list: how a broadcast stands.
    pub reached: Option<Reached>,
}

impl Message {
    /// How far it has come. Of a broadcast in a sender's list nothing is known but the counts.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match (self.read_at, self.notified, self.delivered_at) {
            (Some(_), _, _) => Stage::Read,
            (None, Some(_), _) => Stage::Notified,
            (None, None, Some(_)) => Stage::Delivered,
            (None, None, None) => Stage::Queued,
        }
    }
}

/// How many recipients a broadcast has, and how far it has come with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// To how many peers it was sent.
    pub recipients: u32,
    /// Those whose process has confirmed it.
    pub delivered: u32,
    /// Those whose agent was told of it.
    pub notified: u32,
    /// Those whose agent has fetched it.
    pub read: u32,
}

/// An entry of the shared state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateEntry {
    /// 1 to 128 characters.
    pub namespace: Box<str>,
    /// 1 to 256 characters.
    pub key: Box<str>,
    /// The value.
    pub value: Box<str>,
    /// The sequence number of the change that made it: it only grows and is never used again.
    pub version: Seq,
    /// Who set it.
    pub updated_by: Party,
    /// When.
    pub updated_at: Timestamp,
    /// When it goes away by itself.
    pub expires_at: Option<MeshTime>,
}

/// A live lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The file, as its holder's client named it; a pattern as [`crate::patterns`] writes it; with
    /// `repo:` before it if it is relative to a repository.
    pub path: Box<str>,
    /// Whether the path is a pattern.
    pub pattern: bool,
    /// Whether others may hold it, too, as long as they share it.
    pub shared: bool,
    /// The repository it is in, if that is known.
    pub repo_id: Option<Box<str>>,
    /// The root of the working tree it is in. None with a repository: the same path in each working
    /// tree is meant.
    pub git_root: Option<Box<str>>,
    /// Who holds it.
    pub holder: Party,
    /// The holder's name when it was taken.
    pub holder_name: Box<str>,
    /// Why.
    pub reason: Option<Box<str>>,
    /// Since when.
    pub locked_at: Timestamp,
    /// Until when, unless renewed.
    pub expires_at: MeshTime,
    /// The sequence number of the taking: grows with each holder, so a stale one can be told. No two
    /// locks have the same.
    pub fence: Seq,
}

impl Lock {
    /// Whether it is for all working trees of its repository.
    #[must_use]
    pub fn is_repo_wide(&self) -> bool {
        self.repo_id.is_some() && self.git_root.is_none()
    }
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in the sequence.
    pub seq: Seq,
    /// Its id.
    pub id: MessageId,
    /// Built in, or a custom one, see [`event_type::is_custom`].
    pub kind: Box<str>,
    /// A JSON document.
    pub payload: Box<str>,
    /// Who caused it; none for the broker itself.
    pub emitted_by: Option<Party>,
    /// When.
    pub created_at: Timestamp,
}

/// The built-in event types.
pub mod event_type {
    /// A peer has come.
    pub const PEER_JOINED: &str = "peer_joined";
    /// A peer has left.
    pub const PEER_LEFT: &str = "peer_left";
    /// A state entry was set, deleted, or has expired.
    pub const STATE_CHANGED: &str = "state_changed";
    /// A lock was taken.
    pub const FILE_LOCKED: &str = "file_locked";
    /// A lock is free again.
    pub const FILE_UNLOCKED: &str = "file_unlocked";
    /// A message was stored. Not stored as an event: derived from the message.
    pub const MESSAGE_RECEIVED: &str = "message_received";
    /// Messages were read: one event for each sender of those that one request marked.
    pub const MESSAGE_READ: &str = "message_read";
    /// Nobody will read these messages: one event for each of their senders.
    pub const MESSAGE_UNDELIVERABLE: &str = "message_undeliverable";
    /// All of them.
    pub const BUILT_IN: [&str; 8] = [
        PEER_JOINED,
        PEER_LEFT,
        STATE_CHANGED,
        FILE_LOCKED,
        FILE_UNLOCKED,
        MESSAGE_RECEIVED,
        MESSAGE_READ,
        MESSAGE_UNDELIVERABLE,
    ];
    /// What the names of further built-in types will begin with.
    pub const PREFIX: &str = "mesh.";

    /// Whether this type is not one of the mesh's own, so that parties may emit it.
    #[must_use]
    pub fn is_custom(kind: &str) -> bool {
        !BUILT_IN.contains(&kind) && !kind.starts_with(PREFIX)
    }
}

/// Whether an event type is meant by one of `patterns`: `*` for all, `prefix.*`, or a type itself.
/// No patterns mean every type.
#[must_use]
pub fn type_matches<P: AsRef<str>>(patterns: &[P], kind: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| pattern_matches(pattern.as_ref(), kind))
}

fn pattern_matches(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => kind.starts_with(prefix),
        None => pattern == kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_holds_its_sequence_number() {
        for n in [0, 1, 255, 65_536, (1 << 48) - 1] {
            let id = MessageId::new(Seq(n), [0xff; 16]);
            assert_eq!(id.seq(), Seq(n));
            assert_eq!(id.0.get_version_num(), 8);
            assert_eq!(MessageId::parse(&id.to_string()), Some(id));
        }
    }

    #[test]
    fn times_are_written_with_milliseconds_and_read_with_any_offset() {
        let time = Timestamp(1_775_644_201_123);
        assert_eq!(time.to_string(), "2026-04-08T10:30:01.123Z");
        assert_eq!(Timestamp::parse("2026-04-08T12:30:01.123+02:00"), Some(time));
        assert_eq!(Timestamp::parse("yesterday"), None);
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert!(!Timestamp(i64::MAX).to_string().is_empty());
    }

    #[test]
    fn only_hyphenated_uuids_are_ids() {
        let id = PeerId::from_random([7; 16]);
        assert_eq!(PeerId::parse(&id.to_string().to_uppercase()), Some(id));
        assert_eq!(PeerId::parse(&id.0.simple().to_string()), None);
        assert_eq!(Party::parse("cli"), Party::Cli);
        assert_eq!(Party::parse(&id.to_string()), Party::Peer(id));
        assert_eq!(Party::parse("build-bot"), Party::Label("build-bot".into()));
    }

    #[test]
    fn each_word_of_a_way_is_read_back_and_is_the_one_on_the_wire() {
        for way in Way::ALL {
            assert_eq!(Way::parse(way.as_str()), Some(way));
            assert_eq!(serde_json::to_value(way).unwrap(), way.as_str());
        }
        assert_eq!(Way::parse("telepathy"), None);
        for stage in
            [Stage::Queued, Stage::Delivered, Stage::Notified, Stage::Read, Stage::Undeliverable]
        {
            assert_eq!(serde_json::to_value(stage).unwrap(), stage.as_str());
        }
    }

    #[test]
    fn patterns_match_a_type_a_prefix_or_everything() {
        assert!(type_matches::<&str>(&[], "a.b"));
        assert!(type_matches(&["*"], "peer_left"));
        assert!(type_matches(&["build.*"], "build.done"));
        assert!(!type_matches(&["build.*"], "builder.done"));
        assert!(!type_matches(&["build"], "build.done"));
    }
}
