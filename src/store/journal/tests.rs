//! What the journal is for: nothing that was committed is lost, whatever fails, and nothing else is
//! found.

mod crashes;
mod failures;
mod formats;

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::*;
use crate::model::{MeshTime, Party, Recipient, Seq};
use crate::store::contract::{TempDir, all, inbox_of, party, peer, read_events, sent_by};
use crate::store::memory::MemoryStore;
use crate::store::sqlite::{Options, SqliteStore, journal_of};
use crate::store::{EventQuery, InboxQuery, SentQuery};

/// A change of a medium.
#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Cut(u64),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, new) => {
                let start = usize::try_from(*offset).unwrap();
                let end = start + new.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[start..end].copy_from_slice(new);
            }
            Self::Cut(len) => bytes.resize(usize::try_from(*len).unwrap(), 0),
        }
    }
}

/// What a [`Tape`] is asked to fail.
#[derive(Debug, Default)]
struct Faults {
    /// Every n-th write is done in part, and fails.
    write_every: Option<usize>,
    /// Every n-th sync fails.
    sync_every: Option<usize>,
    writes: usize,
    syncs: usize,
}

/// A medium in memory that remembers how it came to be.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Tape {
    bytes: Rc<RefCell<Vec<u8>>>,
    changes: Rc<RefCell<Vec<Change>>>,
    faults: Rc<RefCell<Faults>>,
}

impl Tape {
    fn holding(bytes: Vec<u8>) -> Self {
        Self { bytes: Rc::new(RefCell::new(bytes)), ..Self::default() }
    }

    fn copy(&self) -> Self {
        Self::holding(self.bytes.borrow().clone())
    }

    fn change(&self, change: Change) {
        change.apply(&mut self.bytes.borrow_mut());
        self.changes.borrow_mut().push(change);
    }
}

fn is_nth(count: &mut usize, every: Option<usize>) -> bool {
    *count += 1;
    every.is_some_and(|every| count.is_multiple_of(every))
}

impl Medium for Tape {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.bytes.borrow().clone())
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let faults = &mut *self.faults.borrow_mut();
        let fails = is_nth(&mut faults.writes, faults.write_every);
        let written = if fails { &bytes[..bytes.len() * 2 / 3] } else { bytes };
        self.change(Change::Write(offset, written.to_vec()));
        if fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let faults = &mut *self.faults.borrow_mut();
        let fails = is_nth(&mut faults.syncs, faults.sync_every);
        if fails { Err(io::Error::other("no sync")) } else { Ok(()) }
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.change(Change::Cut(len));
        Ok(())
    }
}

pub(in crate::store) type InMemory = Journaled<MemoryStore, Tape>;

/// Both as a kill leaves them.
pub(in crate::store) fn crashed(store: &InMemory) -> InMemory {
    let mut ground = store.store.clone();
    ground.rollback_turn();
    ground.drop_held().unwrap();
    Journaled::new(ground, store.log.medium().copy(), false).unwrap()
}

pub(in crate::store) fn in_memory() -> InMemory {
    Journaled::new(MemoryStore::new(), Tape::default(), false).unwrap()
}

/// The files of a database as they are, under another name.
pub(in crate::store) fn copy(path: &Path, to: &Path) {
    for suffix in ["", "-wal", "-turns"] {
        let name = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        if name(path).exists() {
            std::fs::copy(name(path), name(to)).unwrap();
        }
    }
}

impl JournaledSqlite {
    pub(in crate::store) fn database(&mut self) -> &mut SqliteStore {
        &mut self.store
    }

    /// Commits of the database fail from now on, or not any more.
    pub(crate) fn refuse_commits(&mut self, refuse: bool) {
        self.store.refuse(if refuse { &["COMMIT"] } else { &[] });
    }

    pub(in crate::store) fn journal_path(&self) -> &Path {
        self.log.medium().path()
    }
}

impl<S, M: Medium> Journaled<S, M> {
    /// Bytes of the journal up to its last record.
    pub(in crate::store) fn journal_bytes(&self) -> u64 {
        self.log.len()
    }
}

/// Everything that can be seen, but for numbers that went with nothing.
pub(in crate::store) fn contents(store: &mut dyn Store) -> String {
    let mut out = String::new();
    let labels = ["bot", "script"].map(|label| Party::Label(label.into()));
    for sender in (1..=9).map(party).chain([Party::Cli]).chain(labels) {
        let query = SentQuery { limit: 10_000, ..sent_by(&sender) };
        writeln!(out, "{sender}: {:?}", store.sent(&query, &mut |_| true).unwrap()).unwrap();
    }
    for n in 1..=9 {
        writeln!(out, "{:?}", store.peer(peer(n)).unwrap()).unwrap();
    }
    for recipient in (1..=9).map(inbox_of).chain([Recipient::Cli]) {
        let query = InboxQuery { limit: 10_000, ..all(recipient) };
        let page = store.inbox(&query, None, &mut |_| true).unwrap();
        let unread = store.unread_count(recipient).unwrap();
        writeln!(out, "{recipient:?}: {unread} {page:?}").unwrap();
    }
    let query = EventQuery { types: &[], since: None, after: Some(Seq(0)), limit: 10_000 };
    let events = read_events(store, &query).events;
    let entries = store.list_state(None, "", MeshTime(i64::MIN), 10_000, &mut |_| true).unwrap();
    writeln!(out, "{events:?} {entries:?} {:?}", store.locks().unwrap()).unwrap();
    writeln!(out, "{:?} {:?}", store.machines().unwrap(), store.invitations().unwrap()).unwrap();
    writeln!(out, "{:?} {:?}", store.heard().unwrap(), store.last_time().unwrap()).unwrap();
    writeln!(out, "{:?} {:?}", store.counts(), store.reserved_names(MeshTime(0)).unwrap()).unwrap();
    out
}

/// Fails with the first line that is another: there may be much.
pub(in crate::store) fn assert_same(found: &str, wanted: &str, when: &str) {
    if found != wanted {
        let mut lines = found.lines().zip(wanted.lines());
        let differs = lines.find(|(found, wanted)| found != wanted);
        panic!("{when}: {differs:#?} (found, wanted)");
    }
}
