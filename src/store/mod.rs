//! Where the mesh keeps what must survive: the contract of a backend, and the backends.
//!
//! An operation is whole: it checks, changes and returns what changed, so that a backend on a shared
//! engine can do it atomically. Operations between [`Store::begin_turn`] and [`Store::commit_turn`]
//! become durable together or not at all. Nothing outside of this module knows SQL or file names.
//!
//! A backend checks no rules of the mesh (who may do what, how long a text may be): it stores what it
//! is given and finds it again. `contract.rs` is the suite of tests that any backend must pass, and
//! `docs/backends.md` says how to write one.

pub mod journal;
mod marks;
pub mod memory;
pub mod sqlite;
#[cfg(test)]
mod contract;

use std::fmt;

use uuid::Uuid;

use crate::api::{Full, MessageCounts, Recovery};
use crate::model::{
    Event, Invitation, Lock, MachineName, MachineRecord, MeshTime, Message, MessageId, MessageKind,
    Party, PeerId, PeerRecord, Recipient, Seq, StateEntry, TimeMark, Timestamp, Told, Way,
};

/// The example of `docs/backends.md` is compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/backends.md")]
struct WritingABackend;

/// Why a backend could not do what it was asked. The turn must be rolled back.
#[derive(Debug)]
pub enum StoreError {
    /// The disk, or the database's own limit, is full.
    Full(String),
    /// The turn may survive all the same: it was written, but could not be flushed to the disk.
    Unsure(String),
    /// Anything else.
    Failed(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(text) => write!(f, "the storage is full: {text}"),
            Self::Failed(text) | Self::Unsure(text) => write!(f, "the storage failed: {text}"),
        }
    }
}

impl std::error::Error for StoreError {}

/// What operations of a backend return.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Numbers for `status`, kept up to date rather than counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages; a broadcast is one.
    pub messages: MessageCounts,
    /// Events, those derived from messages included.
    pub events: u64,
    /// Live and expired-but-not-removed state entries.
    pub state_entries: u64,
    /// Live and expired-but-not-removed locks.
    pub locks: u64,
}

/// How large the database is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes of the database.
    pub bytes: u64,
    /// Bytes of its write-ahead log, and of the journal in front of it.
    pub wal_bytes: u64,
    /// What was full when something was to be written last.
    pub full: Option<Full>,
}

/// To whom a new message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To<'a> {
    /// One recipient. A peer that has a mailbox gets it there.
    One(Recipient),
    /// The mailbox of this name on that machine, which no present peer has.
    Name(&'a str, Option<MachineName>),
    /// These peers, at least one, without repeats.
    Many(&'a [PeerId]),
    /// The same, as the members of a group of this name.
    Group(&'a str, &'a [PeerId]),
}

/// A mailbox of a name. If several machines have one, the greatest is the one that is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mailbox {
    /// The newest unread message in it.
    pub unread: Option<Seq>,
    /// The highest number given when the record of a peer with this name, not as an automatic one, was
    /// last written there.
    pub had: Option<Seq>,
    /// The newest read message in it.
    pub read: Option<Seq>,
    /// The machine that it is of; none for the hub's own.
    pub host: Option<MachineName>,
}

/// A message to be stored. Its number is above those of all messages and events stored before.
#[derive(Clone, Copy, Debug)]
pub struct NewMessage<'a> {
    /// Its place: fresh from [`Store::next_seq`].
    pub seq: Seq,
    /// Its id, made from that.
    pub id: MessageId,
    /// Who sends it.
    pub from: &'a Party,
    /// The sender's name now.
    pub from_name: &'a str,
    /// To whom.
    pub to: To<'a>,
    /// What kind of text.
    pub kind: MessageKind,
    /// The text.
    pub payload: &'a str,
    /// The message it answers.
    pub reply_to: Option<MessageId>,
    /// Now.
    pub created_at: Timestamp,
    /// The sender's own id of this sending, to be found again by [`Store::client_id`].
    pub client_id: Option<Uuid>,
}

/// An event to be stored. Its number is above those of all messages and events stored before.
#[derive(Clone, Copy, Debug)]
pub struct NewEvent<'a> {
    /// Its place: fresh from [`Store::next_seq`].
    pub seq: Seq,
    /// Its id, made from that.
    pub id: MessageId,
    /// Its type.
    pub kind: &'a str,
    /// A JSON document.
    pub payload: &'a str,
    /// Who caused it.
    pub emitted_by: Option<&'a Party>,
    /// Now.
    pub created_at: Timestamp,
    /// The emitter's own id of it, to be found again by [`Store::client_id`]; needs `emitted_by`.
    pub client_id: Option<Uuid>,
}

/// Which of a recipient's messages are meant.
#[derive(Clone, Copy, Debug)]
pub struct InboxQuery<'a> {
    /// The recipient.
    pub recipient: Recipient,
    /// Only unread ones, from the oldest; otherwise all, from the newest.
    pub unread_only: bool,
    /// Only those from this sender.
    pub from: Option<&'a Party>,
    /// Only those below this sequence number.
    pub before: Option<Seq>,
    /// Only those above this sequence number, from the oldest.
    pub after: Option<Seq>,
    /// Only those that nobody was told of or is being told of.
    pub untold_only: bool,
    /// Without these, which ascend.
    pub but: &'a [Seq],
    /// How many at most.
    pub limit: u32,
}

impl InboxQuery<'_> {
    /// At most `limit` of any messages.
    #[must_use]
    pub fn of(recipient: Recipient, limit: u32) -> Self {
        Self {
            recipient,
            unread_only: false,
            from: None,
            before: None,
            after: None,
            untold_only: false,
            but: &[],
            limit,
        }
    }

    /// Whether the oldest rows come first.
    fn is_ascending(&self) -> bool {
        self.unread_only || self.after.is_some()
    }

    /// Whether all unread messages are meant: how many they are is known.
    fn is_all_unread(&self) -> bool {
        self.unread_only
            && self.from.is_none()
            && self.before.is_none()
            && self.after.is_none()
            && !self.untold_only
            && self.but.is_empty()
    }
}

/// Which of a sender's messages are meant, from the newest (with `after`: from the oldest).
#[derive(Clone, Copy, Debug)]
pub struct SentQuery<'a> {
    /// The sender.
    pub sender: &'a Party,
    /// Only those to this recipient (broadcasts that reached it included). A label stands for the
    /// mailbox of that name.
    pub to: Option<&'a Party>,
    /// Only those below this sequence number.
    pub before: Option<Seq>,
    /// Only those above this sequence number.
    pub after: Option<Seq>,
    /// How many at most.
    pub limit: u32,
}

/// Which messages of anyone to anyone are meant, from the newest (with `after`: from the oldest).
#[derive(Clone, Copy, Debug)]
pub struct HistoryQuery {
    /// Only those created after this.
    pub since: Option<Timestamp>,
    /// Only those below this sequence number.
    pub before: Option<Seq>,
    /// Only those above this sequence number.
    pub after: Option<Seq>,
    /// How many at most.
    pub limit: u32,
}

/// Some messages, and how many more there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Oldest first.
    pub messages: Vec<Message>,
    /// How many more there are beyond the last of them: counted up to [`REMAINING_MAX`], and exactly
    /// for all unread messages of a recipient (no `from`, `before`, `after`, `untold_only`, `but`).
    pub remaining: u64,
    /// Those of an inbox that this call marked read, in ascending order.
    pub read: Vec<Receipt>,
}

/// What has become known of telling a recipient of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// It was told, or is being told.
    Told(Told),
    /// This way has not told it after all.
    Dropped(Way),
}

/// Messages that have not reached a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// The oldest of them.
    pub messages: Vec<Message>,
    /// Where to continue; `None` if there are no more.
    pub next: Option<Seq>,
}

/// A message whose sender is to be told of its reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The message.
    pub id: MessageId,
    /// Who sent it.
    pub from: Party,
}

/// How far [`Page::remaining`] is counted.
pub const REMAINING_MAX: u64 = 100;

/// Which events are meant. Messages count as events of the type `message_received`, with the
/// message's id, sender and time, and the payload `{"messageId","fromPeer","toPeer","toGroup"}`
/// (`toPeer` null for a broadcast), made by [`crate::api::Fact::payload`].
#[derive(Clone, Copy, Debug)]
pub struct EventQuery<'a> {
    /// Types or patterns, see [`crate::model::type_matches`]; empty for all.
    pub types: &'a [Box<str>],
    /// Only those created after this.
    pub since: Option<Timestamp>,
    /// Only those above this sequence number.
    pub after: Option<Seq>,
    /// How many at most: the oldest if `since` or `after` is given, else the newest.
    pub limit: u32,
}

/// Some events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventPage {
    /// Oldest first.
    pub events: Vec<Event>,
    /// The highest sequence number examined: that of the last row if `limit` or `keep` cut the
    /// answer off at its end, else [`Store::last_seq`].
    pub last_seq: Seq,
}

/// A change of a state entry.
#[derive(Clone, Copy, Debug)]
pub struct StateChange<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The key.
    pub key: &'a str,
    /// Only if the entry has this version (0: only if there is none).
    pub if_version: Option<Seq>,
}

impl StateChange<'_> {
    /// Whether the entry that is there has a version other than the wanted one.
    fn conflicts_with(&self, entry: Option<&StateEntry>) -> bool {
        let version = entry.map_or(Seq(0), |entry| entry.version);
        self.if_version.is_some_and(|wanted| wanted != version)
    }
}

/// What came of a change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateOutcome {
    /// Done. The entry that was there before.
    Done(Option<StateEntry>),
    /// Not done, since the version is another. The entry that is there.
    Conflict(Option<StateEntry>),
}

/// What a repeated client id was first used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// A message, and the number of its recipients.
    Message(Box<Message>),
    /// An event.
    Event(Box<Event>),
}

/// What retention removes: everything from before these times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeBefore {
    /// Messages stored before this.
    pub messages: MeshTime,
    /// Events stored before this.
    pub events: MeshTime,
    /// Records of peers that left before this.
    pub departed: MeshTime,
}

/// The rows that `keep` wants, see [`Store::inbox`].
fn offer<T, E>(
    rows: impl Iterator<Item = std::result::Result<T, E>>,
    keep: &mut dyn FnMut(&T) -> bool,
) -> std::result::Result<Vec<T>, E> {
    let mut kept = Vec::new();
    for row in rows {
        let row = row?;
        // The first row is offered, too, so that sizes can be added up.
        if !keep(&row) && !kept.is_empty() {
            break;
        }
        kept.push(row);
    }
    Ok(kept)
}

/// Declares [`Store`], and a macro that hands all its operations to another macro, for backends that
/// implement them all in the same way.
macro_rules! store {
    (
        ($dollar:tt) $each:ident;
        $(#[$about:meta])*
        pub trait Store {
            turns { $($turns:tt)* }
            $($(#[$doc:meta])*
            fn $name:ident(&mut self $(, $arg:ident: $type:ty)* $(,)?) -> Result<$out:ty>
                $(=> $code:tt)?;)*
        }
    ) => {
        $(#[$about])*
        pub trait Store {
            $($turns)*
            $($(#[$doc])*
            fn $name(&mut self $(, $arg: $type)*) -> Result<$out>;)*
        }

        macro_rules! $each {
            ($dollar with:ident) => {
                $dollar with! { $($name($($arg: $type),*) -> $out $(=> $code)?;)* }
            };
        }
    };
}

store! {
    ($) each_operation;
    /// A backend.
    ///
    /// Reads outside a turn are allowed, writes are not. Expired locks and state entries are there until
    /// they are removed: the mesh removes them before it looks. An operation fails if the backend cannot
    /// do it; the turn can then only be rolled back.
    ///
    /// An operation that writes has a `=>`, and behind it how the journal records it: under this number
    /// with its arguments, or in a way of its own.
    #[expect(clippy::missing_errors_doc, reason = "said once, above")]
    pub trait Store {
        // Turns, numbers and care: each backend has its own.
        turns {
            /// Begins a turn. It costs nothing if nothing is written before it ends.
            fn begin_turn(&mut self) -> Result<()>;

            /// Makes everything written since [`Store::begin_turn`] durable. After an error none of it is
            /// kept, as after [`Store::rollback_turn`].
            fn commit_turn(&mut self) -> Result<()>;

            /// Forgets everything written since [`Store::begin_turn`], the numbers from
            /// [`Store::next_seq`] included.
            fn rollback_turn(&mut self);

            /// Repairs the store between turns if damage has shown: it then holds what could still be read.
            /// Returns whether damage had shown, so that what was read before must be read again.
            ///
            /// # Errors
            /// It cannot be repaired, and the store can no longer be used.
            fn mend(&mut self) -> Result<bool> {
                Ok(false)
            }

            /// What became of an unusable store that this one has replaced, for as long as that one is
            /// kept.
            fn recovery(&self) -> Option<Recovery> {
                None
            }

            /// Whether anything was written in this turn.
            fn turn_wrote(&self) -> bool;

            /// The next number of the sequence that messages and events share. A number that was committed
            /// with a row is never given again, whatever is removed.
            fn next_seq(&mut self) -> Seq;

            /// The highest number given so far.
            fn last_seq(&self) -> Seq;

            /// Numbers for `status`.
            fn counts(&self) -> Counts;

            /// Sizes for `status`.
            fn size(&self) -> Size;

            /// Does work that nobody waits for, in short steps, between turns. Unless `idle`, something else
            /// is to be done, and only what cannot be put off is. Returns whether some of it failed and has
            /// to be tried again later, even if nothing else happens until then.
            fn maintain(&mut self, idle: bool) -> Result<bool>;
        }

        /// The lowest number of a message or event still kept; one above [`Store::last_seq`] if there
        /// is none.
        fn first_seq(&mut self) -> Result<Seq>;

        // Peers

        /// All present peers (`left_at` none), by id.
        fn present_peers(&mut self) -> Result<Vec<PeerRecord>>;

        /// The record of a peer, present or not.
        fn peer(&mut self, id: PeerId) -> Result<Option<PeerRecord>>;

        /// Of the peers that were this session of this type of agent on this machine, have left, and may
        /// come back: the one that left last; of several at the same time, the one with the highest id.
        fn left_session(
            &mut self,
            agent_type: &str,
            session: &str,
            host: Option<MachineName>,
        ) -> Result<Option<PeerRecord>>;

        /// Records of peers that have left, the last to leave first; of several at the same number, the
        /// one with the highest id first.
        fn departed_peers(&mut self, limit: u32) -> Result<Vec<PeerRecord>>;

        /// Writes a record, new or changed. A new peer gets no broadcast sent before.
        ///
        /// A name has a mailbox on each machine. Names that differ by (ASCII) case only have one there,
        /// which is named in lower case.
        ///
        /// A present peer whose name is not automatic has the mailbox of that name on its machine, for as
        /// long as its record says so; no two have the same. Direct messages to it are put there, and its
        /// inbox shows what is there, from before it came, too. What is in a mailbox that nobody has is in
        /// no inbox.
        fn put_peer(&mut self, record: &PeerRecord) -> Result<()> => 2;

        /// Automatic names of peers that left after `since`, as far as the marks of time tell, each with
        /// the peer it is kept for, in the order in which they left.
        fn reserved_names(&mut self, since: MeshTime) -> Result<Vec<(Box<str>, PeerId)>>;

        /// The mailboxes of this name that were ever anyone's, by machine: those with messages in them, or
        /// with the record of a peer that had the name there, not as an automatic one.
        fn mailboxes(&mut self, name: &str) -> Result<Vec<Mailbox>>;

        // Messages

        /// Stores a message.
        fn send(&mut self, message: &NewMessage<'_>) -> Result<()> => own;

        /// What `sender` used this client id for, if that is still kept. A message looks as in
        /// [`Store::sent`].
        fn client_id(&mut self, sender: &Party, client_id: Uuid) -> Result<Option<Repeated>>;

        /// A recipient's messages. Rows are offered to `keep`, in the order in which the query wants them
        /// (the oldest first, or the newest first). The first that it refuses ends the page, except that
        /// the first row of all is kept in any case. With `mark_read_at` the kept rows are marked read (and
        /// so delivered) at that time, and rows are offered and returned as they are then.
        fn inbox(
            &mut self,
            query: &InboxQuery<'_>,
            mark_read_at: Option<Timestamp>,
            keep: &mut dyn FnMut(&Message) -> bool,
        ) -> Result<Page> => own;

        /// A sender's messages; `keep` as for [`Store::inbox`].
        fn sent(
            &mut self,
            query: &SentQuery<'_>,
            keep: &mut dyn FnMut(&Message) -> bool,
        ) -> Result<Page>;

        /// Messages of anyone to anyone, in the order in which they are offered; `keep` as for
        /// [`Store::inbox`]. How far a broadcast has come is left out.
        fn history(
            &mut self,
            query: &HistoryQuery,
            keep: &mut dyn FnMut(&Message) -> bool,
        ) -> Result<Vec<Message>>;

        /// Marks messages of a recipient read (and so delivered), and told by this way at that time unless
        /// it is proven that another did. Ids of messages to others are ignored. Returns those that were
        /// unread, in the order of `ids`.
        fn mark_read(
            &mut self,
            recipient: Recipient,
            ids: &[MessageId],
            at: Timestamp,
            way: Option<Way>,
        ) -> Result<Vec<Receipt>> => 5;

        /// Marks that a recipient is told of messages (which are so delivered), or was not told after all.
        /// Those that are read, or proven to be told, stay as they are; ids of messages to others are
        /// ignored. Returns how many have changed.
        fn mark_told(
            &mut self,
            recipient: Recipient,
            ids: &[MessageId],
            telling: Telling,
        ) -> Result<u64> => 6;

        /// Marks messages of a peer delivered, unless they already are, are gone, or are not its own.
        fn mark_delivered(&mut self, peer: PeerId, seqs: &[Seq], at: Timestamp) -> Result<()> => 7;

        /// The same for one broadcast and many of its recipients at once: they confirm it together.
        fn mark_broadcast_delivered(&mut self, seq: Seq, peers: &[PeerId], at: Timestamp)
        -> Result<()> => 8;

        /// Tells the store that every message of a peer up to `seq` is delivered or read, so that
        /// [`Store::undelivered`] need not look at them again. It must be so. Costs no write by itself.
        fn delivered_to(&mut self, peer: PeerId, seq: Seq) -> Result<()>;

        /// The oldest messages of a peer after `after` that are neither delivered nor read, at most
        /// `limit`. Looks at a bounded number of others, and so may return fewer, or none, though there are
        /// more.
        fn undelivered(&mut self, peer: PeerId, after: Seq, limit: u32) -> Result<Waiting>;

        /// The oldest unread direct messages that were sent to this peer and are in no mailbox, at most
        /// `limit`.
        fn unread_direct(&mut self, peer: PeerId, limit: u32) -> Result<Vec<Receipt>>;

        /// How many unread messages a recipient has.
        fn unread_count(&mut self, recipient: Recipient) -> Result<u64>;

        // Events

        /// Stores an event.
        fn append_event(&mut self, event: &NewEvent<'_>) -> Result<()> => own;

        /// Reads events; `keep` as for [`Store::inbox`].
        fn events(
            &mut self,
            query: &EventQuery<'_>,
            keep: &mut dyn FnMut(&Event) -> bool,
        ) -> Result<EventPage>;

        // State

        /// An entry.
        fn state(&mut self, namespace: &str, key: &str) -> Result<Option<StateEntry>>;

        /// Entries by key (in the order of their bytes), at most `limit`, without those that expire at
        /// or before `now`; `keep` as for [`Store::inbox`]. Without a namespace those of all namespaces, in
        /// order; `prefix` is then empty.
        fn list_state(
            &mut self,
            namespace: Option<&str>,
            prefix: &str,
            now: MeshTime,
            limit: u32,
            keep: &mut dyn FnMut(&StateEntry) -> bool,
        ) -> Result<Vec<StateEntry>>;

        /// Entries of all namespaces after this namespace and key, in order; otherwise as
        /// [`Store::list_state`].
        fn state_after(
            &mut self,
            after: (&str, &str),
            now: MeshTime,
            limit: u32,
            keep: &mut dyn FnMut(&StateEntry) -> bool,
        ) -> Result<Vec<StateEntry>>;

        /// Sets an entry, if it has the wanted version.
        fn set_state(&mut self, entry: &StateEntry, if_version: Option<Seq>) -> Result<StateOutcome> => own;

        /// Deletes an entry, if it has the wanted version.
        fn delete_state(&mut self, change: &StateChange<'_>) -> Result<StateOutcome> => own;

        /// When the next entry expires.
        fn next_state_expiry(&mut self) -> Result<Option<MeshTime>>;

        /// How many entries expire at or before `now`.
        fn expired_state(&mut self, now: MeshTime) -> Result<u64>;

        /// Removes and returns at most `limit` entries that expire at or before `now`, the first to expire
        /// first.
        fn expire_state(&mut self, now: MeshTime, limit: u32) -> Result<Vec<StateEntry>> => 11;

        // Locks

        /// Writes a lock, new or changed, by its fence.
        fn put_lock(&mut self, lock: &Lock) -> Result<()> => 12;

        /// Removes the lock with this fence; returns whether there was one.
        fn remove_lock(&mut self, fence: Seq) -> Result<bool> => 13;

        /// All locks, by fence.
        fn locks(&mut self) -> Result<Vec<Lock>>;

        /// When the next lock expires.
        fn next_lock_expiry(&mut self) -> Result<Option<MeshTime>>;

        /// Removes and returns at most `limit` locks that expire at or before `now`, the first to expire
        /// first; of several at the same time, the one that was taken first.
        fn expire_locks(&mut self, now: MeshTime, limit: u32) -> Result<Vec<Lock>> => 14;

        // Agents

        /// Stores what was last heard of a kind of agent, in the caller's own words, or forgets it.
        fn put_heard(&mut self, kind: &str, facts: Option<&str>) -> Result<()> => 15;

        /// What is stored of each kind, by kind.
        fn heard(&mut self) -> Result<Vec<(Box<str>, Box<str>)>>;

        // Machines

        /// All machines that have ever joined, removed ones included, by id.
        fn machines(&mut self) -> Result<Vec<MachineRecord>>;

        /// Writes a machine, new or changed. Fails if another has its name.
        fn put_machine(&mut self, record: &MachineRecord) -> Result<()> => 16;

        /// All invitations, by the hash of their token.
        fn invitations(&mut self) -> Result<Vec<Invitation>>;

        /// Writes an invitation, new or changed.
        fn put_invitation(&mut self, invitation: &Invitation) -> Result<()> => 17;

        /// Removes the invitation with this hash, if there is one.
        fn remove_invitation(&mut self, token_hash: &[u8; 32]) -> Result<()> => 18;

        // Care

        /// Stores what time it is: everything that has a number by now came before. These marks and its
        /// number say how old a row is, never the times in it.
        fn note_time(&mut self, mark: &TimeMark) -> Result<()> => 19;

        /// Makes everything with a number up to `to` so much older than the marks say; entries of the
        /// state expire that much earlier.
        fn make_older(&mut self, to: Seq, ms: i64) -> Result<()> => 20;

        /// The last mark, and the highest number given when it was made.
        fn last_time(&mut self) -> Result<Option<(TimeMark, Seq)>>;

        /// Removes about `limit` rows at most that are known to be from before `before`; returns whether
        /// there may be more. The record of a departed peer goes when every message left was sent after it
        /// left.
        fn purge(&mut self, before: &PurgeBefore, limit: u32) -> Result<bool> => own;
    }
}

use each_operation;

/// Whether an operation of [`each_operation`] is one of a turn: whether it may write.
macro_rules! needs_turn {
    (own inbox($query:ident, $mark_read_at:ident, $keep:ident)) => {
        $mark_read_at.is_some()
    };
    ($code:tt $name:ident($($arg:ident),*)) => {
        true
    };
    ($name:ident($($arg:ident),*)) => {
        false
    };
}
use needs_turn;
