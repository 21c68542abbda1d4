//! The open database: its turn, its counters, and what can go wrong with it.

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Params, Row};

use super::parties::Parties;
use super::waiting::RecipientLists;
use crate::api::MessageCounts;
use crate::model::{Seq, Timestamp};
use crate::store::journal::Position;
use crate::store::{Counts, StoreError};

/// What went wrong inside.
#[derive(Debug)]
pub(super) enum Fault {
    /// An error of SQLite.
    Sql(rusqlite::Error),
    /// The rows contradict each other.
    Damaged(String),
    /// The caller broke the contract.
    Misuse(String),
}

pub(super) type Outcome<T> = Result<T, Fault>;

impl Fault {
    /// What SQLite calls it.
    fn code(&self) -> Option<ErrorCode> {
        if let Self::Sql(error) = self { error.sqlite_error_code() } else { None }
    }

    /// Whether the database can no longer be trusted.
    pub(super) fn is_damage(&self) -> bool {
        use rusqlite::Error;

        match self {
            Self::Misuse(_) => false,
            Self::Damaged(_)
            | Self::Sql(
                Error::FromSqlConversionFailure(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::InvalidColumnType(..)
                | Error::Utf8Error(..),
            ) => true,
            Self::Sql(error) => {
                lacks_part(error)
                    || matches!(
                        self.code(),
                        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
                    )
            }
        }
    }

    /// Whether it is damage for certain. What SQLite calls damage may be a read that the disk has
    /// refused once.
    pub(super) fn is_certain(&self) -> bool {
        self.code().is_none() || matches!(self, Self::Sql(error) if lacks_part(error))
    }

    /// Whether something could not be read, or there was no memory for it.
    pub(super) fn is_failed_read(&self) -> bool {
        matches!(self.code(), Some(ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory))
    }

    /// Whether there may have been no room on the disk.
    fn is_lack_of_room(&self) -> bool {
        matches!(self.code(), Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure))
    }

    /// Whether there was no room on the disk, or in the database: SQLite's Unix layer tells a full
    /// disk (ENOSPC) by the same code as its own limit of pages.
    pub(super) fn is_full(&self) -> bool {
        self.code() == Some(ErrorCode::DiskFull)
    }
}

/// Whether a table, an index or a column is missing: a sound database has all that our statements
/// name.
fn lacks_part(error: &rusqlite::Error) -> bool {
    let (rusqlite::Error::SqlInputError { msg, .. } | rusqlite::Error::SqliteFailure(_, Some(msg))) =
        error
    else {
        return false;
    };
    msg.starts_with("no such ")
}

/// A column does not hold what was stored there.
pub(super) fn damaged(error: impl std::fmt::Display) -> Fault {
    Fault::Damaged(error.to_string())
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sql(error) => error.fmt(f),
            Self::Damaged(text) => write!(f, "the database is damaged: {text}"),
            Self::Misuse(text) => f.write_str(text),
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        let full = fault.is_full();
        let text = fault.to_string();
        if full { Self::Full(text) } else { Self::Failed(text) }
    }
}

/// Numbers that are kept up to date rather than counted. A rollback restores those of the turn's
/// beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    /// The highest number given.
    pub(super) last_seq: Seq,
    /// The highest number of a message or event ever stored.
    pub(super) row_seq: Seq,
    /// The newest broadcast.
    pub(super) broadcast_seq: Seq,
    /// The ordinal of the newest message.
    pub(super) message_ordinal: i64,
    /// The ordinal of the newest event.
    pub(super) event_ordinal: i64,
    /// The newest time mark.
    pub(super) mark_seq: Seq,
    /// The latest `created_at` of all messages and events.
    pub(super) latest: Timestamp,
    pub(super) messages: MessageCounts,
    pub(super) events: u64,
    pub(super) state_entries: u64,
    pub(super) locks: u64,
}

/// How a turn has begun to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Began {
    Not,
    /// It is a transaction, or part of the one that is open.
    InTransaction,
    /// It can be rolled back without the others of its transaction.
    AsSavepoint,
}

/// Whether turns are parts of a transaction that stays open until [`Db::settle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holding {
    Off,
    On,
    /// The transaction could not be committed. As long as it cannot, each turn is a savepoint, so that
    /// one that fails is rolled back alone: to do all the others again would take longer and longer.
    Stuck,
}

/// What is going on between `begin_turn` and its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenTurn {
    /// The counters at its beginning.
    before: Tally,
    /// What SQLite has been told of it.
    began: Began,
    /// Something was changed.
    wrote: bool,
    /// An operation failed. SQLite may have rolled back by itself, so that further writes would
    /// stand alone.
    failed: bool,
}

/// The open database. The operations are in the files of their subjects.
#[derive(Debug)]
pub(super) struct Db {
    pub(super) connection: Connection,
    pub(super) parties: Parties,
    pub(super) lists: RecipientLists,
    pub(super) tally: Tally,
    turn: Option<OpenTurn>,
    /// Where the sweep for unused parties continues.
    pub(super) swept_to: u32,
    /// A write has failed: the log may have no room to grow.
    cramped: bool,
    pub(super) holding: Holding,
    /// While that transaction is open: the counters at its beginning.
    held: Option<Tally>,
    /// It has failed, and could not be rolled back.
    is_spoilt: bool,
    /// Statements that fail, as on a full disk or without memory.
    #[cfg(test)]
    pub(super) refused: &'static [&'static str],
}

impl Db {
    pub(super) fn new(connection: Connection, tally: Tally) -> Self {
        Self {
            connection,
            parties: Parties::default(),
            lists: RecipientLists::default(),
            tally,
            turn: None,
            swept_to: 0,
            cramped: false,
            holding: Holding::Off,
            held: None,
            is_spoilt: false,
            #[cfg(test)]
            refused: &[],
        }
    }

    pub(super) fn in_turn(&self) -> bool {
        self.turn.is_some()
    }

    pub(super) fn turn_wrote(&self) -> bool {
        self.turn.is_some_and(|turn| turn.wrote)
    }

    pub(super) fn begin_turn(&mut self) -> Outcome<()> {
        if self.turn.is_some() {
            return Err(Fault::Misuse("a turn in a turn".into()));
        }
        let began = Began::Not;
        self.turn = Some(OpenTurn { before: self.tally, began, wrote: false, failed: false });
        Ok(())
    }

    pub(super) fn commit_turn(&mut self) -> Outcome<()> {
        let turn = self.check_turn()?;
        self.lists = RecipientLists::default();
        if turn.began == Began::AsSavepoint {
            self.execute("RELEASE turn")?;
        } else if turn.began == Began::InTransaction && self.held.is_none() {
            self.keep_counters()?;
            self.execute("COMMIT")?;
        }
        self.turn = None;
        Ok(())
    }

    /// Rolls the turn back; with all that are held, if it is no savepoint: then they
    /// [are lost](Self::has_lost).
    pub(super) fn rollback_turn(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        self.lists = RecipientLists::default();
        // There may be nothing left to roll back.
        if turn.began != Began::Not && !self.connection.is_autocommit() {
            let to_savepoint = || {
                self.execute("ROLLBACK TO turn")?;
                self.execute("RELEASE turn")
            };
            if turn.began != Began::AsSavepoint || to_savepoint().is_err() {
                // If this fails, it is tried again by `drop_held`; without held turns the next turn
                // cannot begin, and reports it.
                self.is_spoilt = self.execute("ROLLBACK").is_err();
            }
        }
        if turn.began != Began::Not || turn.failed {
            self.parties.forget_all();
        }
        self.tally = turn.before;
    }

    /// Holds turns in a transaction from now on. What it changes stays in memory until it commits:
    /// a disk that is full must not end it.
    pub(super) fn hold_turns(&mut self) -> Outcome<()> {
        self.connection.execute_batch("PRAGMA cache_spill = OFF")?;
        self.holding = Holding::On;
        Ok(())
    }

    /// Whether a transaction with turns in it is open.
    pub(super) fn has_held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether that transaction was rolled back, with all turns in it, or is to be.
    pub(super) fn has_lost(&self) -> bool {
        self.held.is_some() && (self.is_spoilt || self.connection.is_autocommit())
    }

    /// Commits the held turns, and with them up to which record of the journal they go. After an error
    /// none of them is kept.
    pub(super) fn settle(&mut self, at: Position) -> Outcome<()> {
        let settled = self.in_own_turn(|db| {
            db.begin_write()?;
            db.keep_position(at)
        });
        if settled.is_err() {
            if self.holding == Holding::On {
                self.holding = Holding::Stuck;
            }
            // If that fails, too, they count as lost.
            let _ = self.drop_held();
        }
        settled
    }

    /// Does something in a turn of its own, and commits it with all held turns.
    pub(super) fn in_own_turn(
        &mut self,
        act: impl FnOnce(&mut Self) -> Outcome<()>,
    ) -> Outcome<()> {
        self.begin_turn()?;
        let done = act(self).and_then(|()| self.commit_turn());
        if done.is_err() {
            self.rollback_turn();
        }
        done.and_then(|()| self.commit_held())
    }

    /// Commits the transaction that is open. After an error nothing of it is kept.
    fn commit_held(&mut self) -> Outcome<()> {
        if self.held.is_none() {
            return Ok(());
        }
        let committed = self.keep_counters().and_then(|()| self.execute("COMMIT"));
        if committed.is_ok() {
            self.held = None;
            self.holding = Holding::On;
        } else {
            self.cramped = true;
            let _ = self.drop_held();
        }
        committed
    }

    /// Forgets the held turns. After an error they are still in the transaction, and count as lost.
    pub(super) fn drop_held(&mut self) -> Outcome<()> {
        if !self.connection.is_autocommit() {
            self.is_spoilt = true;
            self.execute("ROLLBACK")?;
        }
        self.is_spoilt = false;
        if let Some(before) = self.held.take() {
            self.lists = RecipientLists::default();
            self.parties.forget_all();
            self.tally = before;
        }
        Ok(())
    }

    /// To be called after an operation failed.
    pub(super) fn fail_turn(&mut self, fault: &Fault) {
        if let Some(turn) = &mut self.turn {
            turn.failed = true;
        }
        self.cramped |= fault.is_lack_of_room();
    }

    /// To be called first by an operation that may write.
    pub(super) fn check_turn(&self) -> Outcome<OpenTurn> {
        match self.turn {
            Some(turn) if turn.failed => Err(Fault::Misuse("the turn has failed before".into())),
            Some(turn) => Ok(turn),
            None => Err(Fault::Misuse("a write outside of a turn".into())),
        }
    }

    /// To be called before the first statement that may write.
    pub(super) fn begin_write(&mut self) -> Outcome<()> {
        let turn = self.check_turn()?;
        if turn.began != Began::Not {
            return Ok(());
        }
        if self.held.is_none() {
            if std::mem::take(&mut self.cramped) {
                // What is in the log already may fit the database, and then the log begins anew in
                // the room that it has. If it does not, the turn fails as the last one did.
                let _ = self.copy_log();
            }
            self.execute("BEGIN IMMEDIATE")?;
            self.held = (self.holding != Holding::Off).then_some(turn.before);
        }
        let began = if self.holding == Holding::Stuck {
            self.execute("SAVEPOINT turn")?;
            Began::AsSavepoint
        } else {
            Began::InTransaction
        };
        if let Some(turn) = &mut self.turn {
            turn.began = began;
        }
        Ok(())
    }

    /// To be called after a change.
    pub(super) fn wrote(&mut self) {
        if let Some(turn) = &mut self.turn {
            turn.wrote = true;
        }
    }

    /// Whether it has as many pages as it may, or nearly: what failed has been undone by now.
    pub(super) fn is_at_limit(&self) -> bool {
        /// More than a row takes.
        const PAGES: u32 = 64;

        let pages = |sql: &str| self.connection.query_row(sql, [], |row| row.get::<_, u32>(0));
        let (pages, limit) = (pages("PRAGMA page_count"), pages("PRAGMA max_page_count"));
        matches!((pages, limit), (Ok(pages), Ok(limit)) if pages + PAGES >= limit)
    }

    /// Runs a statement that changes rows; returns how many.
    pub(super) fn change(&self, sql: &str, params: impl Params) -> Outcome<usize> {
        Ok(self.connection.prepare_cached(sql)?.execute(params)?)
    }

    /// Runs a statement by which the turn changes rows; returns how many.
    pub(super) fn write(&mut self, sql: &str, params: impl Params) -> Outcome<usize> {
        self.begin_write()?;
        let changed = self.change(sql, params)?;
        if changed > 0 {
            self.wrote();
        }
        Ok(changed)
    }

    /// All rows that a statement finds.
    pub(super) fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Outcome<Vec<T>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows: rusqlite::Result<_> = statement.query_map(params, read)?.collect();
        Ok(rows?)
    }

    /// The first row that a statement finds.
    pub(super) fn row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Outcome<Option<T>> {
        Ok(self.connection.prepare_cached(sql)?.query_row(params, read).optional()?)
    }

    /// Runs a statement without parameters.
    pub(super) fn execute(&self, sql: &str) -> Outcome<()> {
        #[cfg(test)]
        if self.refused.contains(&sql) {
            return Err(Fault::Misuse(format!("{sql} is refused")));
        }
        self.change(sql, [])?;
        Ok(())
    }

    /// Takes a message or an event into account that is about to be stored.
    pub(super) fn begin_row(&mut self, seq: Seq, created_at: Timestamp) -> Outcome<()> {
        /// A mark for every so many numbers: a search by time may have to pass over as many rows.
        const MARK_EVERY: u64 = 1024;

        self.begin_write()?;
        let Tally { row_seq, last_seq, mark_seq, latest, .. } = self.tally;
        if seq <= row_seq || seq > last_seq {
            return Err(Fault::Misuse(format!("the number {seq} is not fresh")));
        }
        if seq.0 - mark_seq.0 > MARK_EVERY {
            self.tally.mark_seq = Seq(seq.0 - 1);
            self.change(
                "INSERT INTO time_marks (seq, latest) VALUES (?1, ?2)",
                (self.tally.mark_seq, latest),
            )?;
        }
        self.tally.row_seq = seq;
        self.tally.latest = latest.max(created_at);
        self.wrote();
        Ok(())
    }

    pub(super) fn counts(&self) -> Counts {
        let Tally { messages, events, state_entries, locks, .. } = self.tally;
        Counts { messages, events: messages.total + events, state_entries, locks }
    }
}
