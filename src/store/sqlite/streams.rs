//! Sequence numbers of messages from several ranges of the indexes, merged in order.

use std::collections::VecDeque;

use rusqlite::Connection;

use super::broadcasts::BroadcastWalk;
use super::db::{Db, Outcome};
use crate::model::Seq;
use crate::store::marks::MessageMarks;

/// Numbers between two others, both excluded, ascending or descending.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeqRange {
    pub(super) low: Seq,
    pub(super) high: Seq,
    pub(super) ascending: bool,
}

impl SeqRange {
    pub(super) fn new(after: Option<Seq>, before: Option<Seq>, ascending: bool) -> Self {
        Self { low: after.unwrap_or_default(), high: before.unwrap_or(Seq(u64::MAX)), ascending }
    }

    /// The part of it that is above `low`.
    pub(super) fn above(self, low: Seq) -> Self {
        Self { low: self.low.max(low), ..self }
    }

    /// Continues behind `seq`.
    pub(super) fn advance(&mut self, seq: Seq) {
        if self.ascending {
            self.low = seq;
        } else {
            self.high = seq;
        }
    }

    /// Whether what is left may contain something that comes before `bound`.
    pub(super) fn may_come_before(self, bound: Option<Seq>) -> bool {
        bound.is_none_or(|bound| if self.ascending { self.low < bound } else { self.high > bound })
    }

    /// Whether `a` comes before `b`.
    fn in_order(self, a: Seq, b: Seq) -> bool {
        if self.ascending { a < b } else { a > b }
    }
}

/// A statement whose rows ascend by the column that it ends with, or descend.
macro_rules! in_order {
    ($ascending:expr, $ordered:literal, $limit:literal) => {
        if $ascending {
            concat!($ordered, " ", $limit)
        } else {
            concat!($ordered, " DESC ", $limit)
        }
    };
}
pub(super) use in_order;

/// A range of an index of messages, read in pieces from the index alone.
#[derive(Debug)]
pub(super) struct IndexRange {
    sql: &'static str,
    keys: [i64; 2],
    range: SeqRange,
    /// The number of rows in the next piece.
    piece: u32,
    ready: VecDeque<Seq>,
    done: bool,
}

impl IndexRange {
    const PIECE_MAX: u32 = 1024;

    /// Messages to one recipient, read ones or unread ones.
    pub(super) fn inbox(recipient: u32, is_read: bool, range: SeqRange, piece: u32) -> Self {
        let sql = in_order!(
            range.ascending,
            "SELECT seq FROM messages INDEXED BY messages_inbox
             WHERE recipient = ?1 AND is_read = ?2 AND seq > ?3 AND seq < ?4 ORDER BY seq",
            "LIMIT ?5"
        );
        Self::new(sql, [recipient.into(), is_read.into()], range, piece)
    }

    /// Messages of a sender to one recipient.
    pub(super) fn pair(sender: u32, recipient: u32, range: SeqRange, piece: u32) -> Self {
        let sql = in_order!(
            range.ascending,
            "SELECT seq FROM messages INDEXED BY messages_pair
             WHERE sender = ?1 AND recipient = ?2 AND seq > ?3 AND seq < ?4 ORDER BY seq",
            "LIMIT ?5"
        );
        Self::new(sql, [sender.into(), recipient.into()], range, piece)
    }

    fn new(sql: &'static str, keys: [i64; 2], range: SeqRange, piece: u32) -> Self {
        let piece = piece.clamp(1, Self::PIECE_MAX);
        Self { sql, keys, range, piece, ready: VecDeque::new(), done: false }
    }

    fn peek(&mut self, connection: &Connection) -> Outcome<Option<Seq>> {
        if self.ready.is_empty() && !self.done {
            let mut statement = connection.prepare_cached(self.sql)?;
            let [first, second] = self.keys;
            let SeqRange { low, high, .. } = self.range;
            let mut rows = statement.query((first, second, low, high, self.piece))?;
            while let Some(row) = rows.next()? {
                self.ready.push_back(row.get(0)?);
            }
            self.done = self.ready.len() < self.piece as usize;
            self.piece = (self.piece * 2).min(Self::PIECE_MAX);
            if let Some(last) = self.ready.back() {
                self.range.advance(*last);
            }
        }
        Ok(self.ready.front().copied())
    }

    /// Skips all that come before `seq`.
    fn skip_to(&mut self, seq: Seq) {
        while self.ready.front().is_some_and(|ready| self.range.in_order(*ready, seq)) {
            self.ready.pop_front();
        }
        if self.ready.is_empty() {
            // The range excludes its ends.
            self.range = self.range.above(Seq(seq.0.saturating_sub(1)));
        }
    }
}

/// Where direct messages come from.
#[derive(Debug)]
pub(super) enum SeqSource {
    /// One range.
    One(IndexRange),
    /// What is in both of two ascending ranges. Each skips to where the other is, so that it does not
    /// matter which is longer.
    Both(IndexRange, IndexRange),
}

impl SeqSource {
    fn peek(&mut self, connection: &Connection) -> Outcome<Option<Seq>> {
        match self {
            Self::One(seqs) => seqs.peek(connection),
            Self::Both(one, other) => loop {
                let (Some(a), Some(b)) = (one.peek(connection)?, other.peek(connection)?) else {
                    return Ok(None);
                };
                match a.cmp(&b) {
                    std::cmp::Ordering::Equal => return Ok(Some(a)),
                    std::cmp::Ordering::Less => one.skip_to(b),
                    std::cmp::Ordering::Greater => other.skip_to(a),
                }
            },
        }
    }

    /// Removes `seq` if it is the next one.
    fn pop(&mut self, seq: Seq) {
        let (Self::One(seqs) | Self::Both(seqs, _)) = self;
        if seqs.ready.front() == Some(&seq) {
            seqs.ready.pop_front();
        }
    }
}

/// A message that was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct FoundMessage {
    pub(super) seq: Seq,
    /// Of a broadcast to the recipient whose messages are read: how it stands with that one.
    pub(super) broadcast: Option<MessageMarks>,
}

/// Direct messages and broadcasts in order.
#[derive(Debug)]
pub(super) struct MergedMessages {
    pub(super) range: SeqRange,
    pub(super) direct: Vec<SeqSource>,
    pub(super) broadcasts: Option<BroadcastWalk>,
}

impl MergedMessages {
    pub(super) fn peek(&mut self, db: &mut Db) -> Outcome<Option<FoundMessage>> {
        let mut first: Option<Seq> = None;
        for source in &mut self.direct {
            if let Some(seq) = source.peek(&db.connection)?
                && first.is_none_or(|first| self.range.in_order(seq, first))
            {
                first = Some(seq);
            }
        }
        if let Some(walk) = &mut self.broadcasts
            && let Some((seq, marks)) = walk.peek(db, first)?
            && first.is_none_or(|first| self.range.in_order(seq, first))
        {
            return Ok(Some(FoundMessage { seq, broadcast: Some(marks) }));
        }
        Ok(first.map(|seq| FoundMessage { seq, broadcast: None }))
    }

    /// The same without those in `but`, which ascend: they are removed.
    pub(super) fn peek_but(&mut self, db: &mut Db, but: &[Seq]) -> Outcome<Option<FoundMessage>> {
        while let Some(found) = self.peek(db)? {
            if but.binary_search(&found.seq).is_err() {
                return Ok(Some(found));
            }
            self.pop(found);
        }
        Ok(None)
    }

    /// Removes what [`Self::peek`] returned.
    pub(super) fn pop(&mut self, found: FoundMessage) {
        if found.broadcast.is_none() {
            for source in &mut self.direct {
                source.pop(found.seq);
            }
        } else if let Some(walk) = &mut self.broadcasts {
            walk.pop();
        }
    }
}
