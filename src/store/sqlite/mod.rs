//! The default backend: SQLite, one connection, a write-ahead log.
//!
//! The broker has the database to itself (`locking_mode = EXCLUSIVE`): nobody else can open it while
//! a broker runs.
//!
//! Reading and writing are in the files of their subjects, as methods of `Db`, each statement
//! next to the operation that uses it.

mod broadcasts;
mod care;
mod db;
mod events;
mod flush;
mod inbox;
mod locks;
mod messages;
mod open;
mod parties;
mod peers;
mod progress;
mod rows;
mod schema;
mod state;
mod streams;
mod times;
mod waiting;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use uuid::Uuid;

use self::db::{Db, Fault, Outcome};
use self::flush::Flush;
pub use self::open::OpenError;
use self::open::PAGE_BYTES;
use super::{
    Counts, EventPage, EventQuery, InboxQuery, NewEvent, NewMessage, Page, PurgeBefore, Receipt,
    Repeated, Result, SentQuery, Size, StateChange, StateOutcome, Store, Waiting,
};
use crate::config::Durability;
use crate::limits;
use crate::model::{
    Event, Lock, MeshTime, Message, MessageId, Notified, Party, PeerId, PeerRecord, Recipient, Seq,
    StateEntry, TimeMark, Timestamp, Way,
};

/// Bytes in the write-ahead log that are copied into the database when nobody waits. Most of a copy's
/// time are its three fsyncs, which cost the same for less.
const WAL_BYTES_IDLE: u64 = 4 * 1024 * 1024;

/// Bytes in the write-ahead log that are copied even if somebody waits, so that it does not grow for
/// ever under a load that never pauses. They are brought to the disk first.
const WAL_BYTES_BUSY: u64 = 16 * 1024 * 1024;

/// Bytes in the write-ahead log that are copied though they are still on the way to the disk: one that
/// cannot keep up has to be waited for.
const WAL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Bytes that may have been added to the log before it is looked at again: looking costs more than
/// a small turn.
const WAL_BYTES_UNSEEN: u64 = 512 * 1024;

/// How a database is to be opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What a committed turn survives.
    pub durability: Durability,
    /// How large it may grow, bytes.
    pub bytes_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { durability: Durability::Normal, bytes_max: limits::DATABASE_BYTES_MAX }
    }
}

/// The SQLite backend.
#[derive(Debug)]
pub struct SqliteStore {
    db: Db,
    /// None in memory.
    path: Option<PathBuf>,
    recovered_from: Option<String>,
    corrupt: bool,
    closed: bool,
    /// Of the log that is to be copied next.
    flush: Option<Flush>,
}

impl SqliteStore {
    /// Opens a database, or makes it if there is none. One that is not ours or is damaged is moved
    /// aside first, see [`Self::recovered_from`].
    ///
    /// # Errors
    /// If it was written by a newer program, or the file system or SQLite will not do it.
    pub fn open(path: &Path, options: &Options) -> std::result::Result<Self, OpenError> {
        let (db, recovered_from) = open::open(path, options)?;
        Ok(Self::new(db, Some(path.into()), recovered_from))
    }

    /// A database that nothing is left of when it is closed.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn open_in_memory(options: &Options) -> std::result::Result<Self, OpenError> {
        Ok(Self::new(open::open_in_memory(options)?, None, None))
    }

    fn new(db: Db, path: Option<PathBuf>, recovered_from: Option<String>) -> Self {
        Self { db, path, recovered_from, corrupt: false, closed: false, flush: None }
    }

    /// If another database was in the place of this one: where it is now, and why.
    #[must_use]
    pub fn recovered_from(&self) -> Option<&str> {
        self.recovered_from.as_deref()
    }

    /// Whether damage has shown since it was opened: nothing it says can be trusted any more. When
    /// opened again, it is moved aside if the damage shows there, too.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        self.corrupt
    }

    /// Looks for damage everywhere; takes long in a large database.
    ///
    /// # Errors
    /// If it cannot look. Damage is no error but a text that describes it.
    pub fn integrity(&mut self) -> Result<Option<String>> {
        let verdict: String = self.run(|db| {
            let mut check = db.connection.prepare("PRAGMA integrity_check(10)")?;
            let lines: rusqlite::Result<Vec<String>> =
                check.query_map([], |row| row.get(0))?.collect();
            Ok(lines?.join("; "))
        })?;
        Ok((verdict != "ok").then_some(verdict))
    }

    /// Closes it in order: what is known is stored, the log is emptied. (Dropping does the same, but
    /// cannot tell of an error.)
    ///
    /// # Errors
    /// If that fails. What was committed is kept all the same.
    pub fn close(mut self) -> Result<()> {
        self.finish()
    }

    fn finish(&mut self) -> Result<()> {
        self.closed = true;
        self.db.rollback_turn();
        if self.corrupt {
            // Left as it is for those who want to save something.
            return self.run(|db| {
                let off = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
                Ok(db.connection.set_db_config(off, true).map(|_| ())?)
            });
        }
        self.run(|db| {
            if !db.counters_are_stored() {
                db.store_counters()?;
            }
            db.empty_wal()
        })
    }

    /// Does an operation; if it fails, so has the turn.
    fn run<T>(&mut self, operation: impl FnOnce(&mut Db) -> Outcome<T>) -> Result<T> {
        operation(&mut self.db).map_err(|fault| self.failed(fault))
    }

    fn failed(&mut self, fault: Fault) -> super::StoreError {
        self.db.fail_turn(&fault);
        self.corrupt |= fault.is_damage();
        fault.into()
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        if !self.closed {
            // There is nobody to tell, and nothing committed is lost.
            let _ = self.finish();
        }
    }
}

impl Store for SqliteStore {
    fn begin_turn(&mut self) -> Result<()> {
        self.run(Db::begin_turn)
    }

    fn commit_turn(&mut self) -> Result<()> {
        let committed = self.run(Db::commit_turn);
        if committed.is_err() {
            self.db.rollback_turn();
        }
        committed
    }

    fn rollback_turn(&mut self) {
        self.db.rollback_turn();
    }

    fn turn_wrote(&self) -> bool {
        self.db.turn_wrote()
    }

    fn next_seq(&mut self) -> Seq {
        self.db.tally.last_seq = self.db.tally.last_seq.next();
        self.db.tally.last_seq
    }

    fn last_seq(&self) -> Seq {
        self.db.tally.last_seq
    }

    fn first_seq(&mut self) -> Result<Seq> {
        self.run(|db| db.first_seq())
    }

    fn counts(&self) -> Counts {
        self.db.counts()
    }

    fn size(&self) -> Size {
        let Some(path) = &self.path else { return Size::default() };
        Size { bytes: open::bytes(path), wal_bytes: open::bytes(&open::part(path, "-wal")) }
    }

    fn present_peers(&mut self) -> Result<Vec<PeerRecord>> {
        self.run(|db| db.present_peers())
    }

    fn peer(&mut self, id: PeerId) -> Result<Option<PeerRecord>> {
        self.run(|db| db.peer(id))
    }

    fn left_session(&mut self, agent_type: &str, session: &str) -> Result<Option<PeerRecord>> {
        self.run(|db| db.left_session(agent_type, session))
    }

    fn put_peer(&mut self, record: &PeerRecord) -> Result<()> {
        self.run(|db| db.put_peer(record))
    }

    fn reserved_names(&mut self, since: MeshTime) -> Result<Vec<(Box<str>, PeerId)>> {
        self.run(|db| db.reserved_names(since))
    }

    fn mailbox_known(&mut self, name: &str) -> Result<bool> {
        self.run(|db| db.mailbox_known(name))
    }

    fn send(&mut self, message: &NewMessage<'_>) -> Result<()> {
        self.run(|db| db.send(message))
    }

    fn client_id(&mut self, sender: &Party, client_id: Uuid) -> Result<Option<Repeated>> {
        self.run(|db| db.client_id(sender, client_id))
    }

    fn inbox(
        &mut self,
        query: &InboxQuery<'_>,
        mark_read_at: Option<Timestamp>,
        keep: &mut dyn FnMut(&Message) -> bool,
    ) -> Result<Page> {
        self.run(|db| db.inbox(query, mark_read_at, keep))
    }

    fn sent(
        &mut self,
        query: &SentQuery<'_>,
        keep: &mut dyn FnMut(&Message) -> bool,
    ) -> Result<Page> {
        self.run(|db| db.sent(query, keep))
    }

    fn mark_read(
        &mut self,
        recipient: Recipient,
        ids: &[MessageId],
        at: Timestamp,
        way: Option<Way>,
    ) -> Result<Vec<Receipt>> {
        self.run(|db| db.mark_read(recipient, ids, at, way))
    }

    fn mark_notified(
        &mut self,
        recipient: Recipient,
        ids: &[MessageId],
        notified: Notified,
    ) -> Result<u64> {
        self.run(|db| db.mark_notified(recipient, ids, notified))
    }

    fn mark_delivered(&mut self, peer: PeerId, seqs: &[Seq], at: Timestamp) -> Result<()> {
        self.run(|db| db.mark_delivered(peer, seqs, at))
    }

    fn mark_broadcast_delivered(
        &mut self,
        seq: Seq,
        peers: &[PeerId],
        at: Timestamp,
    ) -> Result<()> {
        self.run(|db| db.mark_broadcast_delivered(seq, peers, at))
    }

    fn delivered_to(&mut self, peer: PeerId, seq: Seq) -> Result<()> {
        self.run(|db| db.delivered_to(peer, seq))
    }

    fn undelivered(&mut self, peer: PeerId, after: Seq, limit: u32) -> Result<Waiting> {
        self.run(|db| db.undelivered(peer, after, limit))
    }

    fn unread_direct(&mut self, peer: PeerId, limit: u32) -> Result<Vec<Receipt>> {
        self.run(|db| db.unread_direct(peer, limit))
    }

    fn unread_count(&mut self, recipient: Recipient) -> Result<u64> {
        self.run(|db| db.unread_count(recipient))
    }

    fn append_event(&mut self, event: &NewEvent<'_>) -> Result<()> {
        self.run(|db| db.append_event(event))
    }

    fn events(
        &mut self,
        query: &EventQuery<'_>,
        keep: &mut dyn FnMut(&Event) -> bool,
    ) -> Result<EventPage> {
        self.run(|db| db.events(query, keep))
    }

    fn state(&mut self, namespace: &str, key: &str) -> Result<Option<StateEntry>> {
        self.run(|db| db.state(namespace, key))
    }

    fn list_state(
        &mut self,
        namespace: Option<&str>,
        prefix: &str,
        now: MeshTime,
        limit: u32,
        keep: &mut dyn FnMut(&StateEntry) -> bool,
    ) -> Result<Vec<StateEntry>> {
        self.run(|db| db.list_state(namespace, prefix, now, limit, keep))
    }

    fn set_state(&mut self, entry: &StateEntry, if_version: Option<Seq>) -> Result<StateOutcome> {
        self.run(|db| db.set_state(entry, if_version))
    }

    fn delete_state(&mut self, change: &StateChange<'_>) -> Result<StateOutcome> {
        self.run(|db| db.delete_state(change))
    }

    fn next_state_expiry(&mut self) -> Result<Option<MeshTime>> {
        self.run(|db| db.next_state_expiry())
    }

    fn expired_state(&mut self, now: MeshTime) -> Result<u64> {
        self.run(|db| db.expired_state(now))
    }

    fn expire_state(&mut self, now: MeshTime, limit: u32) -> Result<Vec<StateEntry>> {
        self.run(|db| db.expire_state(now, limit))
    }

    fn put_lock(&mut self, lock: &Lock) -> Result<()> {
        self.run(|db| db.put_lock(lock))
    }

    fn remove_lock(&mut self, fence: Seq) -> Result<bool> {
        self.run(|db| db.remove_lock(fence))
    }

    fn locks(&mut self) -> Result<Vec<Lock>> {
        self.run(|db| db.locks())
    }

    fn next_lock_expiry(&mut self) -> Result<Option<MeshTime>> {
        self.run(|db| db.next_lock_expiry())
    }

    fn expire_locks(&mut self, now: MeshTime, limit: u32) -> Result<Vec<Lock>> {
        self.run(|db| db.expire_locks(now, limit))
    }

    fn note_time(&mut self, mark: &TimeMark) -> Result<()> {
        self.run(|db| db.note_time(mark))
    }

    fn make_older(&mut self, to: Seq, ms: i64) -> Result<()> {
        self.run(|db| db.make_older(to, ms))
    }

    fn last_time(&mut self) -> Result<Option<(TimeMark, Seq)>> {
        self.run(|db| db.last_time())
    }

    fn purge(&mut self, before: &PurgeBefore, limit: u32) -> Result<bool> {
        self.run(|db| db.purge(before, limit))
    }

    fn maintain(&mut self, idle: bool) -> Result<()> {
        if self.db.in_turn() {
            return Ok(());
        }
        let flushed = self.flush.as_ref().is_some_and(Flush::is_done);
        if !flushed && self.db.log_growth < WAL_BYTES_UNSEEN {
            return Ok(());
        }
        self.db.log_growth = 0;
        let pending = self.run(|db| db.wal_pages_pending())? * PAGE_BYTES;
        if flushed || pending >= if idle { WAL_BYTES_IDLE } else { WAL_BYTES_MAX } {
            self.flush = None;
            return self.run(Db::checkpoint);
        }
        if pending >= WAL_BYTES_BUSY && self.flush.is_none() {
            let log = self.path.as_ref().map(|path| open::part(path, "-wal"));
            self.flush = log.and_then(|log| Flush::begin(&log));
            if self.flush.is_none() {
                return self.run(Db::checkpoint);
            }
        }
        Ok(())
    }
}
