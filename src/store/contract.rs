//! One suite of tests that any backend must pass, and the helpers that make it short.
//!
//! A test takes an empty store; [`contract!`] runs it on every backend.

mod care;
mod differential;
mod events;
mod heard;
mod history;
mod inbox;
mod locks;
mod machines;
mod mailboxes;
mod marks;
mod messages;
mod peers;
mod sent;
mod state;
mod turns;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use uuid::Uuid;

use super::{
    EventPage, EventQuery, HistoryQuery, InboxQuery, NewEvent, NewMessage, Page, PurgeBefore,
    SentQuery, Store, To,
};
use crate::model::{
    Invitation, Lock, MachineId, MachineName, MachineRecord, MeshTime, Message, MessageId,
    MessageKind, Monotonic, Party, PeerId, PeerRecord, Recipient, RepoHash, Seq, StateEntry,
    TimeMark, Timestamp,
};

/// Runs tests on every backend.
macro_rules! contract {
    ($($test:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $test() {
                super::$test(&mut crate::store::memory::MemoryStore::new());
            })*
        }
        mod sqlite {
            use crate::store::contract::TempDir;
            use crate::store::sqlite::{Options, SqliteStore};
            $(#[test] fn $test() {
                let dir = TempDir::new();
                let path = dir.file("mesh.db");
                super::$test(&mut SqliteStore::open(&path, &Options::default()).unwrap());
            })*
        }
        mod journaled_memory {
            use crate::store::journal::tests::{assert_same, contents, crashed, in_memory};
            $(#[test] fn $test() {
                let mut store = in_memory();
                super::$test(&mut store);
                assert_same(&contents(&mut crashed(&store)), &contents(&mut store), "after a kill");
            })*
        }
        mod journaled_sqlite {
            use crate::store::contract::TempDir;
            use crate::store::journal::JournaledSqlite;
            use crate::store::journal::tests::{assert_same, contents, copy};
            use crate::store::sqlite::Options;
            $(#[test] fn $test() {
                let dir = TempDir::new();
                let [path, crashed] = ["mesh.db", "crashed.db"].map(|name| dir.file(name));
                let mut store = JournaledSqlite::open(&path, &Options::default()).unwrap();
                super::$test(&mut store);
                copy(&path, &crashed);
                let mut again = JournaledSqlite::open(&crashed, &Options::default()).unwrap();
                assert_same(&contents(&mut again), &contents(&mut store), "after a kill");
            })*
        }
    };
}
use contract;

/// A directory for one test, removed after it.
#[derive(Debug)]
pub(super) struct TempDir(PathBuf);

impl TempDir {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("slm-mesh-store-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // It may be left from a run that was killed and had the same process id.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A time of our days.
pub(super) const T0: Timestamp = Timestamp(1_775_644_200_000);

/// [`T0`] and so many milliseconds.
pub(super) fn at(ms: i64) -> Timestamp {
    T0.plus_ms(ms)
}

/// A time of the mesh.
pub(super) fn time(ms: i64) -> MeshTime {
    MeshTime(T0.0 + ms)
}

/// Notes that everything so far came before a time, in a turn.
pub(super) fn note(store: &mut dyn Store, ms: i64) {
    let mark = TimeMark {
        at: time(ms),
        wall: at(ms),
        boot_id: None,
        boot: Monotonic::default(),
        steady_since: Monotonic::default(),
        believed_ms: 0,
        unseen_to: None,
    };
    store.note_time(&mark).unwrap();
}

/// Everything that came before a time.
pub(super) fn before(ms: i64) -> PurgeBefore {
    PurgeBefore { messages: time(ms), events: time(ms), departed: time(ms) }
}

pub(super) fn peer(n: u8) -> PeerId {
    PeerId::from_random([n; 16])
}

pub(super) fn party(n: u8) -> Party {
    Party::Peer(peer(n))
}

pub(super) fn inbox_of(n: u8) -> Recipient {
    Recipient::Peer(peer(n))
}

pub(super) fn record(n: u8) -> PeerRecord {
    PeerRecord {
        id: peer(n),
        name: format!("peer-{n}").into(),
        name_is_automatic: false,
        token_hash: [n; 32],
        agent_type: "unknown".into(),
        pid: 1,
        project_path: "/".into(),
        git_root: None,
        git_branch: None,
        repo_id: None,
        repo_hash: None,
        uds_path: None,
        summary: None,
        host: None,
        reach: None,
        session_id: None,
        agent_pid: None,
        agent_start: None,
        private: false,
        acks: false,
        subscriptions: Vec::new(),
        started_at: T0,
        last_heartbeat: T0,
        away_at: None,
        left_at: None,
        resumable: true,
    }
}

/// Does something in a turn of its own.
pub(super) fn turn<T>(store: &mut dyn Store, work: impl FnOnce(&mut dyn Store) -> T) -> T {
    store.begin_turn().unwrap();
    let result = work(store);
    store.commit_turn().unwrap();
    result
}

/// Registers peers 1 to `count`.
pub(super) fn register(store: &mut dyn Store, count: u8) {
    turn(store, |store| {
        for n in 1..=count {
            store.put_peer(&record(n)).unwrap();
        }
    });
}

/// What is to be sent or emitted, without its number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draft<'a> {
    pub(super) text: &'a str,
    pub(super) at: Timestamp,
    pub(super) client_id: Option<Uuid>,
    pub(super) reply_to: Option<MessageId>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(text: &'a str, at: Timestamp) -> Self {
        Self { text, at, client_id: None, reply_to: None }
    }
}

fn fresh_id(store: &mut dyn Store) -> MessageId {
    let seq = store.next_seq();
    let [.., low] = seq.0.to_be_bytes();
    MessageId::new(seq, [low ^ 0x5a; 16])
}

/// Sends in the turn that is open.
pub(super) fn post(
    store: &mut dyn Store,
    from: &Party,
    to: To<'_>,
    draft: &Draft<'_>,
) -> MessageId {
    let id = fresh_id(store);
    let message = NewMessage {
        seq: id.seq(),
        id,
        from,
        from_name: "sender",
        to,
        kind: MessageKind::Text,
        payload: draft.text,
        reply_to: draft.reply_to,
        created_at: draft.at,
        client_id: draft.client_id,
    };
    store.send(&message).unwrap();
    id
}

/// Sends one message in a turn of its own; the time is [`T0`].
pub(super) fn send(store: &mut dyn Store, from: &Party, to: To<'_>, text: &str) -> MessageId {
    turn(store, |store| post(store, from, to, &Draft::new(text, T0)))
}

/// Sends from peer to peer.
pub(super) fn tell(store: &mut dyn Store, from: u8, to: u8, text: &str) -> MessageId {
    send(store, &party(from), To::One(inbox_of(to)), text)
}

/// Sends from a peer to several.
pub(super) fn broadcast(store: &mut dyn Store, from: u8, to: &[u8], text: &str) -> MessageId {
    let to: Vec<PeerId> = to.iter().map(|n| peer(*n)).collect();
    send(store, &party(from), To::Many(&to), text)
}

/// Sends from peer 1 to peer 2 "0", "1" and so on, every second time as a broadcast.
pub(super) fn tell_in_both_ways(store: &mut dyn Store, count: u8) -> Vec<MessageId> {
    let send = |n: u8| match n % 2 {
        0 => tell(store, 1, 2, &n.to_string()),
        _ => broadcast(store, 1, &[2], &n.to_string()),
    };
    (0..count).map(send).collect()
}

/// Stores an event in the turn that is open.
pub(super) fn emit(
    store: &mut dyn Store,
    kind: &str,
    emitted_by: Option<&Party>,
    draft: &Draft<'_>,
) -> MessageId {
    let id = fresh_id(store);
    let event = NewEvent {
        seq: id.seq(),
        id,
        kind,
        payload: draft.text,
        emitted_by,
        created_at: draft.at,
        client_id: draft.client_id,
    };
    store.append_event(&event).unwrap();
    id
}

/// Stores an event in a turn of its own; the time is [`T0`].
pub(super) fn event(store: &mut dyn Store, kind: &str) -> MessageId {
    turn(store, |store| emit(store, kind, None, &Draft::new("{}", T0)))
}

pub(super) fn unread(recipient: Recipient) -> InboxQuery<'static> {
    InboxQuery {
        recipient,
        unread_only: true,
        from: None,
        before: None,
        after: None,
        untold_only: false,
        but: &[],
        limit: 20,
    }
}

pub(super) fn all(recipient: Recipient) -> InboxQuery<'static> {
    InboxQuery { unread_only: false, ..unread(recipient) }
}

pub(super) fn sent_by(sender: &Party) -> SentQuery<'_> {
    SentQuery { sender, to: None, before: None, after: None, limit: 20 }
}

pub(super) fn peek(store: &mut dyn Store, query: &InboxQuery<'_>) -> Page {
    store.inbox(query, None, &mut |_| true).unwrap()
}

pub(super) fn fetch(store: &mut dyn Store, query: &InboxQuery<'_>, at: Timestamp) -> Page {
    turn(store, |store| store.inbox(query, Some(at), &mut |_| true).unwrap())
}

pub(super) fn list_sent(store: &mut dyn Store, query: &SentQuery<'_>) -> Page {
    store.sent(query, &mut |_| true).unwrap()
}

pub(super) fn read_events(store: &mut dyn Store, query: &EventQuery<'_>) -> EventPage {
    store.events(query, &mut |_| true).unwrap()
}

pub(super) fn texts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| &*message.payload).collect()
}

pub(super) fn entry(key: &str, value: &str, version: Seq) -> StateEntry {
    StateEntry {
        namespace: "default".into(),
        key: key.into(),
        value: value.into(),
        version,
        updated_by: Party::Cli,
        updated_at: T0,
        expires_at: None,
    }
}

pub(super) fn lock(path: &str, holder: Party, fence: Seq) -> Lock {
    Lock {
        path: path.into(),
        pattern: false,
        shared: false,
        host: None,
        repo_id: None,
        repo_hash: None,
        git_root: None,
        holder,
        holder_name: "holder".into(),
        reason: None,
        locked_at: T0,
        expires_at: time(60_000),
        fence,
    }
}
