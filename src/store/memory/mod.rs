//! A backend in memory: the reference model of the simulation, and the simplest there is.
//!
//! Tables are ordered maps, and everything that can be found by looking at all rows is found that
//! way. Nothing survives the process.
//!
//! An operation of the store is the method of its name of `Tables`, in the file of its subject.

#![expect(clippy::unnecessary_wraps, reason = "an operation of a store may fail")]

mod ground;
mod locks;
mod machines;
mod messages;
mod pages;
mod peers;
mod retention;
mod rows;
mod state;
mod table;

use uuid::Uuid;

use super::journal::Position;
use super::{
    Counts, EventPage, EventQuery, HistoryQuery, InboxQuery, Mailbox, NewEvent, NewMessage, Page,
    PurgeBefore, Receipt, Repeated, Result, SentQuery, Size, StateChange, StateOutcome, Store,
    StoreError, Telling, Waiting, each_operation, needs_turn,
};
use rows::{StoredEvent, StoredMessage, StoredPeer};
use table::UndoTable;

use crate::model::{
    Event, Invitation, Lock, MachineId, MachineName, MachineRecord, MeshTime, Message, MessageId,
    Party, PeerId, PeerRecord, Recipient, Seq, StateEntry, TimeMark, Timestamp, Way,
};

/// Declares the tables whose changes count as such, and what is done to all tables.
macro_rules! tables {
    ($($name:ident: $key:ty => $row:ty,)*) => {
        #[derive(Clone, Debug, Default)]
        struct Tables {
            $($name: UndoTable<$key, $row>,)*
            times: UndoTable<MeshTime, (TimeMark, Seq)>,
            last_seq: Seq,
            /// Messages that were looked at for inboxes.
            #[cfg(test)]
            looked_at: usize,
        }

        impl Tables {
            fn keep_changes(&mut self) {
                $(self.$name.keep_changes();)*
                self.times.keep_changes();
            }

            fn undo_changes(&mut self) {
                $(self.$name.undo_changes();)*
                self.times.undo_changes();
            }

            /// Marks of time do not count: nobody sees them.
            fn has_changes(&self) -> bool {
                [$(self.$name.has_changes()),*].contains(&true)
            }
        }
    };
}
tables! {
    peers: PeerId => StoredPeer,
    messages: Seq => StoredMessage,
    events: Seq => StoredEvent,
    client_ids: (Party, Uuid) => Seq,
    state: (Box<str>, Box<str>) => StateEntry,
    locks: Seq => Lock,
    heard: Box<str> => Box<str>,
    machines: MachineId => MachineRecord,
    invitations: [u8; 32] => Invitation,
}

/// The backend in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    tables: Tables,
    /// While there is a turn: the highest number given before it.
    turn: Option<Seq>,
    /// If turns are held: what was settled last, and where.
    settled: Option<(Tables, Position)>,
    /// Turns are held.
    held: bool,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[cfg(test)]
    pub(crate) fn looked_at(&self) -> usize {
        self.tables.looked_at
    }

    fn check_turn(&self) -> Result<()> {
        match self.turn {
            Some(_) => Ok(()),
            None => Err(StoreError::Failed("a write outside of a turn".into())),
        }
    }
}

/// Each operation is that of the tables, within a turn if it writes.
macro_rules! run_each {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty $(=> $code:tt)?;)*) => {$(
        fn $name(&mut self $(, $arg: $type)*) -> Result<$out> {
            if needs_turn!($($code)? $name($($arg),*)) {
                self.check_turn()?;
            }
            self.tables.$name($($arg),*)
        }
    )*};
}

impl Store for MemoryStore {
    fn begin_turn(&mut self) -> Result<()> {
        if self.turn.is_some() {
            return Err(StoreError::Failed("a turn in a turn".into()));
        }
        self.turn = Some(self.tables.last_seq);
        Ok(())
    }

    fn commit_turn(&mut self) -> Result<()> {
        self.check_turn()?;
        self.tables.keep_changes();
        self.turn = None;
        self.held = self.settled.is_some();
        Ok(())
    }

    fn rollback_turn(&mut self) {
        if let Some(last_seq) = self.turn.take() {
            self.tables.undo_changes();
            self.tables.last_seq = last_seq;
        }
    }

    fn turn_wrote(&self) -> bool {
        self.tables.has_changes()
    }

    fn next_seq(&mut self) -> Seq {
        self.tables.last_seq = self.tables.last_seq.next();
        self.tables.last_seq
    }

    fn last_seq(&self) -> Seq {
        self.tables.last_seq
    }

    fn counts(&self) -> Counts {
        self.tables.counts()
    }

    fn size(&self) -> Size {
        Size::default()
    }

    fn maintain(&mut self, _idle: bool) -> Result<bool> {
        Ok(false)
    }

    each_operation!(run_each);
}
