//! The operations of a store, each done by the store and put into the journal if it has changed
//! anything.

use uuid::Uuid;

use super::coding::Argument as _;
use super::{
    BYTES_MAX, BYTES_MAX_STUCK, Ground, Journaled, Medium, Position, ROWS_PER_TURN, TURNS_MAX,
};
use crate::api::Recovery;
use crate::model::{
    Event, Invitation, Lock, MachineName, MachineRecord, MeshTime, Message, MessageId, Party,
    PeerId, PeerRecord, Recipient, Seq, StateEntry, TimeMark, Timestamp, Way,
};
use crate::store::{
    Counts, EventPage, EventQuery, HistoryQuery, InboxQuery, Mailbox, NewEvent, NewMessage, Page,
    PurgeBefore, Receipt, Repeated, Result, SentQuery, Size, StateChange, StateOutcome, Store,
    Telling, Waiting, each_operation,
};

impl<S: Ground, M: Medium> Journaled<S, M> {
    /// Lets the store do an operation, when it has everything.
    fn run<T>(&mut self, operation: impl FnOnce(&mut S) -> Result<T>) -> Result<T> {
        self.ensure()?;
        let done = operation(&mut self.store);
        self.failed |= done.is_err();
        done
    }
}

/// Each operation is done by the store. One with a number stands in the journal if it has changed
/// anything, and one of its own is below.
macro_rules! pass_on {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty $(=> $code:tt)?;)*) => {$(
        pass_on! { $($code)? $name($($arg: $type),*) -> $out }
    )*};
    (own $($operation:tt)*) => {};
    ($code:literal $name:ident($($arg:ident: $type:ty),*) -> $out:ty) => {
        fn $name(&mut self $(, $arg: $type)*) -> Result<$out> {
            let done = self.run(|store| store.$name($($arg),*))?;
            if done.is_change() {
                let out = self.ops.op($code);
                $($arg.write(out);)*
            }
            Ok(done)
        }
    };
    ($name:ident($($arg:ident: $type:ty),*) -> $out:ty) => {
        fn $name(&mut self $(, $arg: $type)*) -> Result<$out> {
            self.run(|store| store.$name($($arg),*))
        }
    };
}

/// Whether what came of an operation says that something has changed.
trait Outcome {
    fn is_change(&self) -> bool;
}

impl Outcome for () {
    fn is_change(&self) -> bool {
        true
    }
}

impl Outcome for bool {
    fn is_change(&self) -> bool {
        *self
    }
}

impl Outcome for u64 {
    fn is_change(&self) -> bool {
        *self > 0
    }
}

impl<T> Outcome for Vec<T> {
    fn is_change(&self) -> bool {
        !self.is_empty()
    }
}

impl<S: Ground, M: Medium> Store for Journaled<S, M> {
    fn begin_turn(&mut self) -> Result<()> {
        self.ensure()?;
        let again = self.stuck_until.is_some_and(|until| until <= std::time::Instant::now());
        let long = self.stuck_until.is_none() && self.log.len() >= BYTES_MAX_STUCK;
        if !self.in_turn && (again || long) && self.settle().is_err() {
            // The turn may write all the same, as long as the journal has room.
            self.ensure()?;
        }
        self.store.begin_turn()?;
        self.in_turn = true;
        self.failed = false;
        self.ops.begin(self.store.last_seq());
        Ok(())
    }

    fn commit_turn(&mut self) -> Result<()> {
        if !self.in_turn || (self.ops.is_empty() && !self.failed) {
            let done = self.store.commit_turn();
            if done.is_err() {
                self.rollback_turn();
            }
            self.in_turn = false;
            return done;
        }
        if let Err(error) = self.write_down() {
            self.rollback_turn();
            return Err(error);
        }
        if let Err(error) = self.store.commit_turn() {
            self.log.take_back_last(self.ops.bytes().len());
            self.rollback_turn();
            return Err(error);
        }
        self.in_turn = false;
        Ok(())
    }

    fn rollback_turn(&mut self) {
        self.store.rollback_turn();
        self.in_turn = false;
        self.ops.begin(self.store.last_seq());
        // The next turn tells, if the store cannot be told now. What it lost once it may lose again
        // soon: settled, that costs no more.
        if self.store.has_lost() && self.catch_up().is_ok() {
            let _ = self.settle();
        }
    }

    fn mend(&mut self) -> Result<bool> {
        // Until it has everything again: if this fails on the way, nothing may be taken for settled.
        let behind = std::mem::replace(&mut self.behind, true);
        let mended = self.store.mend()?;
        if mended {
            self.store.drop_held()?;
            let journal = self.log.journal();
            if self.store.position()?.journal != journal {
                // It could not be read what the one in its place had.
                self.store.settle(Position { journal, record: self.settled })?;
            }
            self.catch_up()?;
        } else {
            self.behind = behind;
        }
        self.ensure()?;
        Ok(mended)
    }

    fn recovery(&self) -> Option<Recovery> {
        self.store.recovery()
    }

    fn turn_wrote(&self) -> bool {
        self.store.turn_wrote()
    }

    fn next_seq(&mut self) -> Seq {
        self.ops.next_seq();
        self.store.next_seq()
    }

    fn last_seq(&self) -> Seq {
        self.store.last_seq()
    }

    fn counts(&self) -> Counts {
        self.store.counts()
    }

    fn size(&self) -> Size {
        let Size { bytes, wal_bytes, full } = self.store.size();
        Size { bytes, wal_bytes: wal_bytes + self.log.len(), full: self.full.or(full) }
    }

    fn send(&mut self, message: &NewMessage<'_>) -> Result<()> {
        self.run(|store| store.send(message))?;
        self.ops.send(message);
        Ok(())
    }

    /// What was marked read is known by its ids: what `keep` wanted is not known later.
    fn inbox(
        &mut self,
        query: &InboxQuery<'_>,
        mark_read_at: Option<Timestamp>,
        keep: &mut dyn FnMut(&Message) -> bool,
    ) -> Result<Page> {
        let page = self.run(|store| store.inbox(query, mark_read_at, keep))?;
        if let Some(at) = mark_read_at.filter(|_| !page.read.is_empty()) {
            let ids: Vec<MessageId> = page.read.iter().map(|receipt| receipt.id).collect();
            self.ops.read(query.recipient, &ids, at);
        }
        Ok(page)
    }

    fn append_event(&mut self, event: &NewEvent<'_>) -> Result<()> {
        self.run(|store| store.append_event(event))?;
        self.ops.append_event(event);
        Ok(())
    }

    fn set_state(&mut self, entry: &StateEntry, if_version: Option<Seq>) -> Result<StateOutcome> {
        let outcome = self.run(|store| store.set_state(entry, if_version))?;
        if let StateOutcome::Done(_) = outcome {
            self.ops.set_state(entry);
        }
        Ok(outcome)
    }

    fn delete_state(&mut self, change: &StateChange<'_>) -> Result<StateOutcome> {
        let outcome = self.run(|store| store.delete_state(change))?;
        if let StateOutcome::Done(Some(_)) = outcome {
            self.ops.delete_state(change);
        }
        Ok(outcome)
    }

    fn purge(&mut self, before: &PurgeBefore, limit: u32) -> Result<bool> {
        let more = self.run(|store| store.purge(before, limit))?;
        if self.store.turn_wrote() {
            self.ops.purge(before, limit);
        }
        if more {
            // A short record of many rows, which stay in memory until they are settled.
            self.rows_removed = self.rows_removed.saturating_add(limit);
        }
        Ok(more)
    }

    fn maintain(&mut self, idle: bool) -> Result<bool> {
        if self.in_turn {
            return Ok(false);
        }
        self.ensure()?;
        let rests = self.stuck_until.is_some_and(|until| std::time::Instant::now() < until);
        let turns = self.log.last().saturating_sub(self.settled)
            + u64::from(self.rows_removed) / ROWS_PER_TURN;
        let due = idle || turns >= TURNS_MAX || self.log.len() >= BYTES_MAX;
        if self.store.has_held() && due && !rests {
            self.settle()?;
        }
        let again = self.store.maintain(idle)?;
        Ok(again || (due && self.store.has_held()))
    }

    each_operation!(pass_on);
}
