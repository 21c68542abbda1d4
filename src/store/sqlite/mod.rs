//! The default backend: SQLite, one connection, a write-ahead log.
//!
//! The broker has the database to itself (`locking_mode = EXCLUSIVE`): nobody else can open it while
//! a broker runs.
//!
//! An operation of the store is the method of its name of `Db`, in the file of its subject, with its
//! statements beside it.

mod broadcasts;
mod care;
mod db;
mod events;
mod flush;
mod inbox;
mod heard;
mod history;
mod locks;
mod machines;
mod messages;
mod npm;
mod open;
mod parties;
mod peers;
mod progress;
mod recover;
mod rescue;
mod rows;
mod scan;
mod schema;
mod state;
mod stored;
mod streams;
mod times;
mod waiting;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fmt, mem};

use rusqlite::config::DbConfig;
use uuid::Uuid;

use self::db::{Db, Fault, Holding, Outcome};
use self::flush::Flush;
pub use self::open::OpenError;
use self::open::PAGE_BYTES;
pub(super) use self::recover::{aside_of_damaged, journal_of, place_aside};
use super::journal::{Ground, Position};
use super::{
    Counts, EventPage, EventQuery, HistoryQuery, InboxQuery, Mailbox, NewEvent, NewMessage, Page,
    PurgeBefore, Receipt, Repeated, Result, SentQuery, Size, StateChange, StateOutcome, Store,
    Telling, Waiting, each_operation, needs_turn,
};
use crate::api::{Full, Recovery};
use crate::config::Durability;
use crate::limits;
use crate::model::{
    Event, Invitation, Lock, MachineName, MachineRecord, MeshTime, Message, MessageId, Party,
    PeerId, PeerRecord, Recipient, Seq, StateEntry, TimeMark, Timestamp, Way,
};

/// At so many bytes the write-ahead log is copied into the database when nobody waits. Three fsyncs
/// take most of the time, and would cost the same for less.
const WAL_BYTES_IDLE: u64 = 4 * 1024 * 1024;

/// At so many bytes it is copied even if somebody waits, so that it does not grow for ever under a
/// load that never pauses. It is flushed to the disk first.
const WAL_BYTES_BUSY: u64 = 16 * 1024 * 1024;

/// At so many bytes it is copied even before it is flushed: a disk that cannot keep up has to be
/// waited for.
const WAL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Takes a line for the log about something that rarely happens.
pub type Tell = fn(fmt::Arguments<'_>);

/// How long a damaged database that could not be copied is used as it is before the next attempt.
const COPY_PAUSE: Duration = Duration::from_secs(60);

/// How a database is to be opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What a committed turn survives.
    pub durability: Durability,
    /// How large it may grow, bytes.
    pub bytes_max: u64,
    /// Is told of damage, and what is done about it.
    pub tell: Tell,
}

impl Default for Options {
    fn default() -> Self {
        Self { durability: Durability::Normal, bytes_max: limits::DATABASE_BYTES_MAX, tell: |_| {} }
    }
}

/// Damage that has been found.
#[derive(Debug)]
struct Damage {
    why: String,
    /// It cannot have been a single failed read.
    certain: bool,
}

/// The SQLite backend.
#[derive(Debug)]
pub struct SqliteStore {
    db: Db,
    /// None in memory.
    path: Option<PathBuf>,
    options: Options,
    /// What was in the place of this database.
    recovery: Option<Recovery>,
    /// If there is any, the database can no longer be trusted.
    damage: Option<Damage>,
    /// What looked like damage was once not found again. The next time counts.
    doubted: bool,
    /// After a failed attempt to copy a damaged database: when the next may be made.
    next_copy: Option<Instant>,
    full: Option<Full>,
    closed: bool,
    /// Flushes the log that is to be copied next.
    flush: Option<Flush>,
}

impl SqliteStore {
    /// Opens a database, or makes it if there is none. One that is damaged or not ours is replaced by a
    /// new one, with what could be read of a damaged one; see [`Store::recovery`].
    ///
    /// # Errors
    /// If it was written by a newer program, or the file system or SQLite will not do it.
    pub fn open(path: &Path, options: &Options) -> std::result::Result<Self, OpenError> {
        Ok(Self::new(open::open(path, options)?, Some(path.into()), *options))
    }

    /// Makes a database of which nothing is left when it is closed.
    #[cfg(test)]
    pub(crate) fn open_in_memory(options: &Options) -> std::result::Result<Self, OpenError> {
        Ok(Self::new(open::open_in_memory(options)?, None, *options))
    }

    fn new(db: Db, path: Option<PathBuf>, options: Options) -> Self {
        let recovery = path.as_ref().and_then(|path| recover::known(&db.connection, path));
        Self {
            db,
            path,
            options,
            recovery,
            damage: None,
            doubted: false,
            next_copy: None,
            full: None,
            closed: false,
            flush: None,
        }
    }

    /// Looks for damage everywhere; takes long in a large database.
    ///
    /// # Errors
    /// If it cannot look. Damage is no error, but returned as a text that describes it.
    pub fn integrity(&mut self) -> Result<Option<String>> {
        let verdict: String = self.run(|db| {
            let mut check = db.connection.prepare("PRAGMA integrity_check(10)")?;
            let lines: rusqlite::Result<Vec<String>> =
                check.query_map([], |row| row.get(0))?.collect();
            Ok(lines?.join("; "))
        })?;
        Ok((verdict != "ok").then_some(verdict))
    }

    /// Makes these statements fail from now on, and no others.
    #[cfg(test)]
    pub(super) fn refuse(&mut self, statements: &'static [&'static str]) {
        self.db.refused = statements;
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
        // They are in the journal.
        let dropped = self.run(Db::drop_held);
        if self.damage.is_some() {
            // It stays as it is, for whoever wants to save something.
            return self.run(|db| {
                let off = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
                Ok(db.connection.set_db_config(off, true).map(|_| ())?)
            });
        }
        dropped?;
        self.run(|db| {
            db.in_own_turn(Db::keep_progress)?;
            db.empty_wal()
        })
    }

    /// Does an operation; if it fails, so has the turn.
    fn run<T>(&mut self, operation: impl FnOnce(&mut Db) -> Outcome<T>) -> Result<T> {
        operation(&mut self.db).map_err(|fault| self.failed(fault))
    }

    fn failed(&mut self, fault: Fault) -> super::StoreError {
        self.db.fail_turn(&fault);
        if fault.is_damage() {
            let certain = fault.is_certain();
            self.damage.get_or_insert(Damage { why: fault.to_string(), certain });
        }
        if fault.is_full() {
            // Held turns ask nothing of the disk.
            let at_limit = self.db.has_held() || self.db.is_at_limit();
            self.full = Some(if at_limit { Full::Limit } else { Full::Disk });
        }
        fault.into()
    }

    /// Whether what looked like damage is gone: then it was a single failed read.
    fn has_passed(&mut self) -> bool {
        if self.damage.as_ref().is_none_or(|damage| damage.certain) || self.doubted {
            return false;
        }
        self.doubted = true;
        // So that what is in memory is read again.
        let released = self.run(|db| Ok(db.connection.release_memory()?));
        released.is_ok() && matches!(self.integrity(), Ok(None))
    }

    /// Puts a new database in the place of this one, with what can be read of it.
    fn replace(&mut self, path: &Path, why: &str) -> std::result::Result<(), String> {
        let text = |error: &dyn fmt::Display| error.to_string();
        self.flush = None;
        // Numbers of a commit that may have survived included.
        let least = self.db.tally.last_seq;
        let nothing = open::open_in_memory(&self.options).map_err(|error| text(&error))?;
        let old = mem::replace(&mut self.db, nothing);
        let off = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        old.connection.set_db_config(off, true).map_err(|error| text(&error))?;
        drop(old);
        let why = (recover::Unusable::Damaged, why);
        self.db = open::replace(path, &self.options, why, least)?;
        self.recovery = recover::known(&self.db.connection, path);
        self.next_copy = None;
        Ok(())
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

impl Ground for SqliteStore {
    fn hold_turns(&mut self) -> Result<()> {
        self.run(Db::hold_turns)
    }

    fn position(&mut self) -> Result<Position> {
        self.run(|db| Ok(care::position(&db.connection)?))
    }

    fn settle(&mut self, at: Position) -> Result<()> {
        let settled = self.run(|db| db.settle(at));
        if settled.is_ok() {
            self.full = None;
        }
        settled
    }

    fn has_held(&self) -> bool {
        self.db.has_held()
    }

    fn has_lost(&self) -> bool {
        self.db.has_lost()
    }

    fn drop_held(&mut self) -> Result<()> {
        self.run(Db::drop_held)
    }

    fn give_up_to(&mut self, seq: Seq) -> Result<()> {
        self.db.tally.last_seq = self.db.tally.last_seq.max(seq);
        self.run(|db| db.in_own_turn(Db::begin_write))
    }

    fn lift_limit(&mut self, lifted: bool) -> Result<()> {
        let options = self.options;
        self.run(|db| open::lift_limit(&db.connection, &options, lifted))
    }
}

/// Each operation is that of the database, within a turn if it writes; if it fails, so has the turn.
macro_rules! run_each {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty $(=> $code:tt)?;)*) => {$(
        fn $name(&mut self $(, $arg: $type)*) -> Result<$out> {
            self.run(|db| {
                if needs_turn!($($code)? $name($($arg),*)) {
                    db.check_turn()?;
                }
                db.$name($($arg),*)
            })
        }
    )*};
}

impl Store for SqliteStore {
    fn begin_turn(&mut self) -> Result<()> {
        match &self.damage {
            // It was found between turns.
            Some(damage) => Err(super::StoreError::Failed(damage.why.clone())),
            None => self.run(Db::begin_turn),
        }
    }

    fn commit_turn(&mut self) -> Result<()> {
        let wrote = self.db.turn_wrote();
        let committed = self.run(Db::commit_turn);
        if committed.is_err() {
            self.db.rollback_turn();
        } else if wrote && !(self.db.has_held() && self.full == Some(Full::Disk)) {
            // A turn that is only held has asked nothing of the disk yet.
            self.full = None;
        }
        committed
    }

    fn rollback_turn(&mut self) {
        self.db.rollback_turn();
    }

    fn mend(&mut self) -> Result<bool> {
        if self.damage.is_none() {
            return Ok(false);
        }
        self.db.rollback_turn();
        let tell = self.options.tell;
        if self.has_passed() {
            self.damage = None;
            tell(format_args!("the database could not be read for a moment, and is sound"));
            return Ok(true);
        }
        let why = self.damage.as_ref().map(|damage| damage.why.clone()).unwrap_or_default();
        let Some(path) = self.path.clone() else {
            let error = format!("the database in memory is damaged: {why}");
            return Err(super::StoreError::Failed(error));
        };
        let waits = self.next_copy.is_some_and(|at| Instant::now() < at);
        let holds_turns = self.db.holding != Holding::Off;
        if !waits && let Err(error) = self.replace(&path, &why) {
            // There may be no room. Until there is, everything that is not damaged can be used.
            self.db = open::reopen(&path, &self.options)
                .ok_or_else(|| super::StoreError::Failed(error.clone()))?;
            self.next_copy = Some(Instant::now() + COPY_PAUSE);
            tell(format_args!("{error}; what is damaged cannot be read until that works"));
        }
        self.damage = None;
        self.doubted = false;
        if holds_turns {
            self.hold_turns()?;
        }
        Ok(true)
    }

    fn recovery(&self) -> Option<Recovery> {
        self.recovery.clone().filter(recover::is_kept)
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

    fn counts(&self) -> Counts {
        self.db.counts()
    }

    fn size(&self) -> Size {
        let full = self.full;
        let Some(path) = &self.path else { return Size { full, ..Size::default() } };
        let wal_bytes = open::bytes(&open::part(path, "-wal"));
        Size { bytes: open::bytes(path), wal_bytes, full }
    }

    fn maintain(&mut self, idle: bool) -> Result<bool> {
        if self.db.in_turn() || self.db.has_held() {
            return Ok(false);
        }
        let flushed = self.flush.as_ref().is_some_and(Flush::is_done);
        let pending = self.run(|db| db.wal_pages_pending())? * PAGE_BYTES;
        if flushed || pending >= if idle { WAL_BYTES_IDLE } else { WAL_BYTES_MAX } {
            self.flush = None;
            return self.run(Db::checkpoint).map(|()| false);
        }
        if pending >= WAL_BYTES_BUSY && self.flush.is_none() {
            let log = self.path.as_ref().map(|path| open::part(path, "-wal"));
            self.flush = log.and_then(|log| Flush::begin(&log));
            if self.flush.is_none() {
                return self.run(Db::checkpoint).map(|()| false);
            }
        }
        Ok(false)
    }

    each_operation!(run_each);
}
