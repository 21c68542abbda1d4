//! How far parties have come with their messages: known while the database is open, and stored now and
//! then, so that whoever opens it again begins there and not at the beginning.

use super::broadcasts::BroadcastWalk;
use super::db::{Db, Outcome};
use super::parties::KnownParty;
use crate::model::{Party, PeerId, Seq};

/// What is stored of a party. A lower number only means that more is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// No broadcast up to this one is for it and unread.
    pub(super) floor: Seq,
    /// No message up to this one is for it and undelivered.
    pub(super) delivered: Seq,
    /// Of the broadcasts for it up to this one ...
    pub(super) counted: Seq,
    /// ... so many are unread. This has to be exact.
    pub(super) unread: u64,
}

impl Db {
    /// See [`crate::store::Store::delivered_to`].
    pub(super) fn delivered_to(&mut self, peer: PeerId, seq: Seq) -> Outcome<()> {
        let Some(me) = self.find_party(&Party::Peer(peer))? else { return Ok(()) };
        for one in self.boxes(me)? {
            let progress = &mut self.parties.known(&self.connection, one)?.progress;
            progress.delivered = progress.delivered.max(seq);
        }
        Ok(())
    }

    /// How many broadcasts a peer has not read: counted from where they were counted before.
    pub(super) fn unread_broadcasts_of(&mut self, party: u32) -> Outcome<u64> {
        let known = self.parties.known(&self.connection, party)?;
        if let Some(unread) = known.unread_broadcasts {
            return Ok(unread);
        }
        let Progress { counted, unread, .. } = known.progress;
        let since = BroadcastWalk::unread(self, party, counted)?;
        let unread = unread + since.count(self)?;
        self.parties.known(&self.connection, party)?.unread_broadcasts = Some(unread);
        Ok(unread)
    }

    /// A party has read this broadcast.
    pub(super) fn note_read(&mut self, party: u32, seq: Seq) -> Outcome<()> {
        let known = self.parties.known(&self.connection, party)?;
        known.unread_broadcasts = known.unread_broadcasts.map(|unread| unread.saturating_sub(1));
        if seq <= known.progress.counted {
            known.progress.unread = known.progress.unread.saturating_sub(1);
        }
        Ok(())
    }

    /// Stores what is due after a party has read broadcasts.
    pub(super) fn keep_reading(&mut self, party: u32) -> Outcome<()> {
        BroadcastWalk::unread(self, party, Seq(0))?.peek(self, None)?;
        let known = self.parties.known(&self.connection, party)?;
        let (now, stored) = (known.progress, known.stored);
        if now.floor > stored.floor || now.unread != stored.unread {
            self.keep(party)?;
        }
        Ok(())
    }

    /// Stores of all parties what has changed much.
    pub(super) fn keep_progress(&mut self) -> Outcome<()> {
        /// Numbers that an opening may have to go over once more, against the rows written for that.
        const FAR: u64 = 64;

        let far = |to: Seq, from: Seq| to.0.saturating_sub(from.0) >= FAR;
        let broadcasts = self.tally.broadcast_seq;
        let due = |known: &KnownParty| {
            let KnownParty { progress, stored, .. } = known;
            far(progress.floor, stored.floor)
                || far(progress.delivered, stored.delivered)
                || (known.unread_broadcasts.is_some() && far(broadcasts, stored.counted))
        };
        for party in self.parties.numbers_of(due) {
            self.begin_write()?;
            self.keep(party)?;
        }
        Ok(())
    }

    fn keep(&mut self, party: u32) -> Outcome<()> {
        let known = self.parties.known(&self.connection, party)?;
        if let Some(unread) = known.unread_broadcasts {
            known.progress.counted = self.tally.broadcast_seq;
            known.progress.unread = unread;
        }
        let Progress { floor, delivered, counted, unread } = known.progress;
        known.stored = known.progress;
        self.change(
            "UPDATE parties SET floor = ?2, delivered = ?3, counted = ?4, unread = ?5
             WHERE party = ?1",
            (party, floor, delivered, counted, Seq(unread)),
        )?;
        Ok(())
    }

    /// Takes unread broadcasts of a party out of its count that are about to be removed, with all up
    /// to `last`.
    pub(super) fn forget_unread(&mut self, party: u32, gone: u64, last: Seq) -> Outcome<()> {
        let known = self.parties.known(&self.connection, party)?;
        known.unread_broadcasts = known.unread_broadcasts.map(|unread| unread.saturating_sub(gone));
        let Progress { counted, unread, .. } = known.progress;
        known.progress.unread = if counted > last { unread.saturating_sub(gone) } else { 0 };
        if known.progress.unread != known.stored.unread {
            self.keep(party)?;
        }
        Ok(())
    }
}
