//! Where the mesh keeps what must survive: the contract of a backend, and the backends.
//!
//! An operation is whole: it checks, changes and tells what changed, so that a backend on a shared
//! engine can do it atomically. Operations between [`Store::begin_turn`] and [`Store::commit_turn`]
//! become durable together or not at all. Nothing outside of this module knows SQL or file names.
//!
//! A backend checks no rules of the mesh (who may do what, how long a text may be); it keeps what it
//! is told and finds it again. `contract.rs` is the suite of tests that any backend must pass,
//! and `docs/backends.md` says how to write one.

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
    /// The turn may be kept all the same: it was written, and could not be brought to the disk.
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

/// What operations of a backend give.
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

/// A mailbox of a name, and by what it is told which of several is meant: the greatest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mailbox {
    /// The newest unread message in it.
    pub unread: Option<Seq>,
    /// The highest number given when a record was written last of someone who had the name there, not
    /// as an automatic one.
    pub had: Option<Seq>,
    /// The newest message in it that was read.
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
    /// Whose.
    pub recipient: Recipient,
    /// Only unread ones, the oldest first; otherwise all, the newest.
    pub unread_only: bool,
    /// Only those from this sender.
    pub from: Option<&'a Party>,
    /// Only those below this sequence number.
    pub before: Option<Seq>,
    /// Only those above this sequence number. With it, `all` takes the oldest, too.
    pub after: Option<Seq>,
    /// Only those of which nobody was told, nor is being told.
    pub untold_only: bool,
    /// None of these; in ascending order.
    pub but: &'a [Seq],
    /// Most rows.
    pub limit: u32,
}

impl InboxQuery<'_> {
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

/// Which of a sender's messages are meant: the newest (with `after`: the oldest).
#[derive(Clone, Copy, Debug)]
pub struct SentQuery<'a> {
    /// Whose.
    pub sender: &'a Party,
    /// Only those to this recipient (broadcasts that reached it included). A label stands for the
    /// mailbox of that name.
    pub to: Option<&'a Party>,
    /// Only those below this sequence number.
    pub before: Option<Seq>,
    /// Only those above this sequence number.
    pub after: Option<Seq>,
    /// Most rows.
    pub limit: u32,
}

/// Which messages of anyone to anyone are meant: the newest first (with `after`: the oldest).
#[derive(Clone, Copy, Debug)]
pub struct HistoryQuery {
    /// Only those created after this.
    pub since: Option<Timestamp>,
    /// Only those below this sequence number.
    pub before: Option<Seq>,
    /// Only those above this sequence number.
    pub after: Option<Seq>,
    /// Most rows.
    pub limit: u32,
}

/// Some messages, and how many more there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Oldest first.
    pub messages: Vec<Message>,
    /// How many more match, beyond the end at which the rows were cut: counted to
    /// [`REMAINING_MAX`], and exactly for all unread of a recipient (no `from`, `before`, `after`,
    /// `untold_only`, `but`).
    pub remaining: u64,
    /// Those of an inbox that were unread before and are read now, in ascending order.
    pub read: Vec<Receipt>,
}

/// What is known of how a recipient is told of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// This.
    Told(Told),
    /// It is not, as far as it should have been by this way.
    Dropped(Way),
}

/// Messages that a peer has not got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// The oldest.
    pub messages: Vec<Message>,
    /// Where to look on; none if there are no more.
    pub next: Option<Seq>,
}

/// A message of which its sender is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Which.
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
    /// Most rows: the oldest if `since` or `after` is given, else the newest.
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
    /// Where.
    pub namespace: &'a str,
    /// Which.
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
    /// Done; the entry that was there before.
    Done(Option<StateEntry>),
    /// Not done: it has another version. The entry that is there.
    Conflict(Option<StateEntry>),
}

/// A repeated client id: what it was first used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// A message, and the number of its recipients.
    Message(Box<Message>),
    /// An event.
    Event(Box<Event>),
}

/// What retention removes: everything that came before these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeBefore {
    /// Messages stored before this.
    pub messages: MeshTime,
    /// Events stored before this.
    pub events: MeshTime,
    /// Records of peers that left before this.
    pub departed: MeshTime,
}

/// Declares [`Store`], and with it the macro by which a backend that passes its operations on does so: it
/// hands all of them to another macro.
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
    /// Reads outside of a turn are allowed, writes are not. Expired locks and state entries are still
    /// there until removed: the mesh removes them before it looks. An operation fails if the backend
    /// cannot do it; the turn can then only be rolled back.
    ///
    /// What stands behind `=>` is for the journal: the number under which an operation that has changed
    /// something stands there with its arguments, or `own` if it is put there in its own way.
    #[expect(clippy::missing_errors_doc, reason = "said once, above")]
    pub trait Store {
        // Turns, numbers and care: each backend has its own.
        turns {
            /// Begins a turn. Cheap: costs nothing if nothing is written before it ends.
            fn begin_turn(&mut self) -> Result<()>;

            /// Makes everything written since [`Store::begin_turn`] durable. After an error nothing of it
            /// is kept, as after [`Store::rollback_turn`].
            fn commit_turn(&mut self) -> Result<()>;

            /// Forgets everything written since [`Store::begin_turn`], the numbers from
            /// [`Store::next_seq`] included.
            fn rollback_turn(&mut self);

            /// Repairs the store if damage has shown, between turns: what it holds then is what could be read.
            /// Gives whether damage had shown, so that what was read before must be read anew.
            ///
            /// # Errors
            /// It cannot be repaired; the store is of no use any more.
            fn mend(&mut self) -> Result<bool> {
                Ok(false)
            }

            /// What became of a store that could not be used, and in whose place this one is, for as long as
            /// that one is kept.
            fn recovery(&self) -> Option<Recovery> {
                None
            }

            /// Whether something was written in this turn.
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

            /// Work that nobody waits for, called between turns: `idle` if nothing else is to be done, else
            /// only what cannot be put off any longer. Keeps each step short. Gives whether some of it could
            /// not be done and has to be tried again later, though nothing happens until then.
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

        /// Of the peers that were this session of this type of agent on this machine, have left and may come
        /// back, the one that left last; of several at one time, the one with the highest id.
        fn left_session(
            &mut self,
            agent_type: &str,
            session: &str,
            host: Option<MachineName>,
        ) -> Result<Option<PeerRecord>>;

        /// Records of peers that have left, the last first; of several at one number, the one with the
        /// highest id.
        fn departed_peers(&mut self, limit: u32) -> Result<Vec<PeerRecord>>;

        /// Writes a record, new or changed. A peer that is new gets no broadcast sent before.
        ///
        /// A name has a mailbox on each machine. Names that differ by (ASCII) case only have one there,
        /// which is named in lower case.
        ///
        /// A present peer whose name is not automatic has the mailbox of that name on its machine, for as
        /// long as its record says so; no two have the same. Direct messages to it are put there, and what is there
        /// is in its inbox, from before it came, too. What is in a mailbox that nobody has is in no inbox.
        fn put_peer(&mut self, record: &PeerRecord) -> Result<()> => 2;

        /// Automatic names of peers that left after `since`, as far as the marks of time tell, with the
        /// peer they are kept for, in the order of their leaving.
        fn reserved_names(&mut self, since: MeshTime) -> Result<Vec<(Box<str>, PeerId)>>;

        /// The mailboxes of this name that were ever anyone's, by machine: there are messages in it, or a
        /// record of someone who had the name there, not as an automatic one.
        fn mailboxes(&mut self, name: &str) -> Result<Vec<Mailbox>>;

        // Messages

        /// Stores a message.
        fn send(&mut self, message: &NewMessage<'_>) -> Result<()> => own;

        /// What `sender` used this client id for, if it is still kept. A message comes as in
        /// [`Store::sent`].
        fn client_id(&mut self, sender: &Party, client_id: Uuid) -> Result<Option<Repeated>>;

        /// A recipient's messages. Rows are offered to `keep`, in the order in which the query wants them
        /// (the oldest first, or the newest first); the first that it does not want ends the page, except
        /// that the first row is always kept (it is offered all the same). With `mark_read_at` the kept
        /// rows become read (and so delivered) at that time; rows are offered and come as they are then.
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
        /// [`Store::inbox`]. How a broadcast stands with those who got it is not told.
        fn history(
            &mut self,
            query: &HistoryQuery,
            keep: &mut dyn FnMut(&Message) -> bool,
        ) -> Result<Vec<Message>>;

        /// Marks messages of a recipient read (and so delivered), and, where it is not proven that anybody
        /// was told, that this way told it at that time; ids that are not its own are ignored. Gives those that
        /// were unread, in the order of `ids`.
        fn mark_read(
            &mut self,
            recipient: Recipient,
            ids: &[MessageId],
            at: Timestamp,
            way: Option<Way>,
        ) -> Result<Vec<Receipt>> => 5;

        /// Marks that a recipient is told of messages (which are so delivered), or was not after all. What
        /// is read, or proven to be told, stays as it is; ids that are not its own are ignored. Gives how
        /// many stand otherwise than before.
        fn mark_told(
            &mut self,
            recipient: Recipient,
            ids: &[MessageId],
            telling: Telling,
        ) -> Result<u64> => 6;

        /// Marks messages of a peer delivered, unless they are already (or gone, or not its own).
        fn mark_delivered(&mut self, peer: PeerId, seqs: &[Seq], at: Timestamp) -> Result<()> => 7;

        /// The same for one broadcast and many of its recipients at once: they confirm it together.
        fn mark_broadcast_delivered(&mut self, seq: Seq, peers: &[PeerId], at: Timestamp)
        -> Result<()> => 8;

        /// Tells that every message of a peer up to `seq` is delivered or read, which must be so: what
        /// [`Store::undelivered`] need not look at again. Costs no write by itself.
        fn delivered_to(&mut self, peer: PeerId, seq: Seq) -> Result<()>;

        /// The oldest messages of a peer after `after` that are neither delivered nor read, at most
        /// `limit`. Looks at a bounded number of others, and may so give less, or nothing, though there
        /// are more.
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
        /// or before `now`; `keep` as for [`Store::inbox`]. Without a namespace those of all, in order;
        /// `prefix` is empty then.
        fn list_state(
            &mut self,
            namespace: Option<&str>,
            prefix: &str,
            now: MeshTime,
            limit: u32,
            keep: &mut dyn FnMut(&StateEntry) -> bool,
        ) -> Result<Vec<StateEntry>>;

        /// Entries of all namespaces after this one (its namespace and its key), in order; the rest as for
        /// [`Store::list_state`].
        fn state_after(
            &mut self,
            after: (&str, &str),
            now: MeshTime,
            limit: u32,
            keep: &mut dyn FnMut(&StateEntry) -> bool,
        ) -> Result<Vec<StateEntry>>;

        /// Sets an entry, if it has the version that was asked for.
        fn set_state(&mut self, entry: &StateEntry, if_version: Option<Seq>) -> Result<StateOutcome> => own;

        /// Deletes an entry, if it has the version that was asked for.
        fn delete_state(&mut self, change: &StateChange<'_>) -> Result<StateOutcome> => own;

        /// When the first entry expires.
        fn next_state_expiry(&mut self) -> Result<Option<MeshTime>>;

        /// How many entries there are that expire at or before `now`.
        fn expired_state(&mut self, now: MeshTime) -> Result<u64>;

        /// Removes and gives at most `limit` entries that expire at or before `now`, the first first.
        fn expire_state(&mut self, now: MeshTime, limit: u32) -> Result<Vec<StateEntry>> => 11;

        // Locks

        /// Writes a lock: a new one, or what has become of the one with its fence.
        fn put_lock(&mut self, lock: &Lock) -> Result<()> => 12;

        /// Removes the lock with this fence; gives whether there was one.
        fn remove_lock(&mut self, fence: Seq) -> Result<bool> => 13;

        /// All locks, by fence.
        fn locks(&mut self) -> Result<Vec<Lock>>;

        /// When the first lock expires.
        fn next_lock_expiry(&mut self) -> Result<Option<MeshTime>>;

        /// Removes and gives at most `limit` locks that expire at or before `now`, the first first, of
        /// several the one that was taken first.
        fn expire_locks(&mut self, now: MeshTime, limit: u32) -> Result<Vec<Lock>> => 14;

        // Agents

        /// Keeps what was last heard of a kind of agent, in words of the caller's own; none: forgets it.
        fn put_heard(&mut self, kind: &str, facts: Option<&str>) -> Result<()> => 15;

        /// What is kept of each kind, by kind.
        fn heard(&mut self) -> Result<Vec<(Box<str>, Box<str>)>>;

        // Machines

        /// All machines that have ever joined, by id, those that were removed included.
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

        /// Stores what time it is: what has a number by now came before. How old a row is goes by these
        /// marks and the numbers, never by the times that stand in it.
        fn note_time(&mut self, mark: &TimeMark) -> Result<()> => 19;

        /// Tells that everything with a number up to `to` came so much earlier than the marks say: it is
        /// that much older, and entries of the state expire that much earlier.
        fn make_older(&mut self, to: Seq, ms: i64) -> Result<()> => 20;

        /// The last mark, and the highest number given when it was made.
        fn last_time(&mut self) -> Result<Option<(TimeMark, Seq)>>;

        /// Removes at most about `limit` rows of what is known to have come before `before`; gives whether
        /// there may be more. Records of departed peers go when every message kept was sent after they
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
