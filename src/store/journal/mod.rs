//! A journal in front of a store, so that a turn costs one write.
//!
//! A turn is a part of a transaction of the store's that stays open. What it changed is written down
//! in the journal as one record, operation by operation, and with that it is committed: only then
//! may anyone be told. The open transaction is committed now and then, together with the number of
//! the last record in it, when nobody waits; from then on the journal begins anew. A start does again
//! what the store lacks.
//!
//! Reads see the open transaction, so whoever uses the store notices nothing of this. If the store
//! loses it (a turn that fails is rolled back with it; SQLite rolls back by itself when it has no memory
//! or the disk fails), or cannot commit it, the turns in it are done again from the journal.
//!
//! | file | what it is |
//! |---|---|
//! | `ops` | what a turn changed, and how that is done again |
//! | `coding` | how the things of the model stand in it |
//! | `log`, `crc` | the records in the file |
//! | `turns` | the operations of [`Store`], written down as they are done |
//! | `open` | the journal beside a database |

mod coding;
mod crc;
mod log;
mod open;
mod ops;
mod turns;
#[cfg(test)]
pub(super) mod tests;

use std::io;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::{Result, Store, StoreError};
use crate::api::Full;
use crate::model::Seq;
pub use log::Medium;
use log::{AppendError, Found, Log};
pub use open::{JournalFile, JournaledSqlite};
use ops::Ops;

/// After so many turns the open transaction is committed though someone may wait soon.
const TURNS_MAX: u64 = 512;

/// So many rows that are removed count as a turn.
const ROWS_PER_TURN: u64 = 8;

/// After so many bytes of records, likewise.
const BYTES_MAX: u64 = 1024 * 1024;

/// A journal that is so long takes nothing more if the store cannot commit.
const BYTES_MAX_STUCK: u64 = 4 * 1024 * 1024;

/// How long after a commit of the store that failed the next is tried.
const PAUSE: Duration = Duration::from_secs(1);

/// Numbers that are left out where the last that was given may be among what is lost: more than a
/// database has rows, and more than a journal has bytes.
pub const SEQ_MARGIN: u64 = 1 << 24;

/// How much of which journal a store has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// A number by which a store and its journal know each other.
    pub journal: u64,
    /// The last record that was committed with the store.
    pub record: u64,
}

/// A store whose turns can be held in a transaction that stays open.
#[expect(clippy::missing_errors_doc, reason = "as for the operations of a store")]
pub trait Ground: Store {
    /// From now on a turn that commits is held, and is durable with [`Ground::settle`] only.
    fn hold_turns(&mut self) -> Result<()>;

    /// What was settled last.
    fn position(&mut self) -> Result<Position>;

    /// Makes all turns that are held durable, and that they are those up to there. Between turns.
    /// After an error none of them is there any more.
    fn settle(&mut self, at: Position) -> Result<()>;

    /// Whether there is something to be settled.
    fn has_held(&self) -> bool;

    /// Whether the turns that were held are not there any more, after something has failed.
    fn has_lost(&self) -> bool;

    /// Forgets the turns that are held. Between turns. After an error they are still there, and
    /// [lost](Ground::has_lost).
    fn drop_held(&mut self) -> Result<()>;

    /// Gives no number up to this one any more, and makes that durable. Between turns, before the first
    /// that is held. After an error it may be forgotten by a kill.
    fn give_up_to(&mut self, seq: Seq) -> Result<()>;

    /// Lets the store grow beyond its limit while turns are done again that had room before; or not
    /// any more.
    fn lift_limit(&mut self, lifted: bool) -> Result<()>;
}

/// What is said of a journal that belongs to another database.
const FOREIGN: &str = "it belongs to another database";

/// A store with a journal in front of it.
#[derive(Debug)]
pub struct Journaled<S, M> {
    store: S,
    log: Log<M>,
    /// What the turn under way has changed.
    ops: Ops,
    in_turn: bool,
    /// An operation of the turn has failed.
    failed: bool,
    /// The store lacks turns that are in the journal, and could not be told them.
    behind: bool,
    /// The last record that is known to be settled: the store holds those above.
    settled: u64,
    /// Rows that were removed by what the store holds.
    rows_removed: u32,
    /// The store could not commit: when that is tried again.
    stuck_until: Option<Instant>,
    full: Option<Full>,
}

/// Why a store and a journal do not go together.
#[derive(Debug)]
pub enum Unfit {
    /// The journal is of no use to the store.
    Useless(&'static str),
    /// The journal belongs to the store, and some of it is lost.
    Damaged(&'static str),
    /// A newer program wrote it: the version of its format, and the one that this program knows.
    Newer(u32, u32),
    /// One of them fails, or a record that should be done again cannot be.
    Failed(StoreError),
}

impl From<StoreError> for Unfit {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl<S: Ground, M: Medium> Journaled<S, M> {
    /// Puts the journal in `medium` in front of a store, which is told what it lacks. With `sync`
    /// each turn is on the disk when it has committed.
    ///
    /// # Errors
    /// They do not go together. Both are as they were.
    pub fn new(mut store: S, medium: M, sync: bool) -> std::result::Result<Self, Unfit> {
        let (log, found) = look(&mut store, medium, sync)?;
        match found {
            Found::Sound => Ok(Self::go_on(store, log)?),
            Found::Foreign => Err(Unfit::Useless(FOREIGN)),
            Found::Useless(why) => Err(Unfit::Useless(why)),
            Found::Damaged(why) => Err(Unfit::Damaged(why)),
            Found::Newer(version) => Err(Unfit::Newer(version, log::VERSION)),
        }
    }

    /// Puts what was looked at in front of the store, which is told what it lacks.
    fn go_on(mut store: S, mut log: Log<M>) -> Result<Self> {
        let settled = store.position()?.record;
        let is_ahead = log.last() > settled;
        if is_ahead {
            log.cut_off().map_err(|error| of_io("cut off", &error))?;
        }
        store.hold_turns()?;
        let mut journaled = Self {
            store,
            log,
            ops: Ops::default(),
            in_turn: false,
            failed: false,
            behind: false,
            rows_removed: 0,
            settled,
            stuck_until: None,
            full: None,
        };
        if is_ahead {
            // It may be the store that is damaged.
            if let Err(error) = journaled.catch_up()
                && !journaled.mend()?
            {
                return Err(error);
            }
            // If it cannot be, the journal goes on where it ends.
            let _ = journaled.settle();
        }
        Ok(journaled)
    }

    /// Tells the store again what it lacks.
    fn catch_up(&mut self) -> Result<()> {
        self.behind = true;
        let Self { store, log, .. } = self;
        store.rollback_turn();
        let last = store.last_seq();
        store.drop_held()?;
        let record = store.position()?.record;
        store.lift_limit(true)?;
        let done = log.each_after(
            record,
            |number, body| {
                ops::apply(body, store).map_err(|error| {
                    StoreError::Failed(format!(
                        "record {number} of the journal cannot be put into the database: {error}"
                    ))
                })
            },
            |why| StoreError::Failed(format!("the journal cannot be read: {why}")),
        );
        store.lift_limit(false)?;
        done?;
        // Some may have been given in turns that wrote nothing.
        ops::give_up_to(last, store);
        self.settled = record;
        self.behind = false;
        Ok(())
    }

    /// Makes sure that the store has everything.
    fn ensure(&mut self) -> Result<()> {
        if self.behind || (!self.in_turn && self.store.has_lost()) {
            self.catch_up()?;
        }
        Ok(())
    }

    /// Commits what the store holds. If that fails it goes on holding it.
    fn settle(&mut self) -> Result<()> {
        let at = Position { journal: self.log.journal(), record: self.log.last() };
        if let Err(error) = self.store.settle(at) {
            let caught_up = self.catch_up();
            // That may have taken long, too: others have their turn before the next attempt.
            self.stuck_until = Some(Instant::now() + PAUSE);
            return Err(caught_up.err().unwrap_or(error));
        }
        self.settled = at.record;
        self.stuck_until = None;
        self.rows_removed = 0;
        self.log.begin_anew();
        Ok(())
    }

    /// Writes the turn down.
    fn write_down(&mut self) -> Result<()> {
        if self.failed {
            return Err(StoreError::Failed("the turn has failed before".into()));
        }
        if self.stuck_until.is_some() && self.log.len() >= BYTES_MAX_STUCK {
            return Err(StoreError::Full("the database could not be written for too long".into()));
        }
        match self.log.append(self.ops.bytes()) {
            Ok(()) => {
                self.full = None;
                Ok(())
            }
            Err(AppendError::Refused(error)) => {
                let error = of_io("write", &error);
                if let StoreError::Full(_) = error {
                    self.full = Some(Full::Disk);
                }
                Err(error)
            }
            Err(AppendError::Unsure(error)) => {
                Err(StoreError::Unsure(format!("the journal may not be on the disk: {error}")))
            }
        }
    }

    /// Everything is settled, if that can be, and both are given back.
    ///
    /// # Errors
    /// It could not be settled. What was committed is in the journal.
    pub fn into_parts(mut self) -> (S, M, Result<()>) {
        if self.in_turn {
            self.rollback_turn();
        }
        let settled =
            self.ensure().and_then(|()| if self.store.has_held() { self.settle() } else { Ok(()) });
        (self.store, self.log.into_medium(), settled)
    }
}

/// Looks at the journal in `medium`, which is not changed.
fn look<S: Ground, M: Medium>(store: &mut S, medium: M, sync: bool) -> Result<(Log<M>, Found)> {
    let position = store.position()?;
    Log::open(medium, position, sync).map_err(|error| of_io("read", &error))
}

fn of_io(what: &str, error: &io::Error) -> StoreError {
    let text = format!("cannot {what} the journal: {error}");
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => StoreError::Full(text),
        _ => StoreError::Failed(text),
    }
}
