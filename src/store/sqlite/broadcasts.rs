//! Broadcasts: one row for all recipients, with a list that says how it stands with each.

use std::collections::{BTreeMap, VecDeque};

use rusqlite::Connection;

use super::care::lower;
use super::db::{Db, Fault, Outcome, damaged};
use super::rows::{MarkTime, told_from_stored, told_to_stored};
use super::streams::{SeqRange, in_order};
use super::waiting::RecipientLists;
use crate::model::{Reached, Seq};
use crate::store::marks::{self, MessageMarks};

/// A recipient in a list: its number (4 bytes), delivered at, told at (6 bytes each, as in
/// [`MarkTime`]), told how (1 byte), read at (6 bytes), all with the highest byte first.
/// The list is sorted by number. Marks do not change its length, so SQLite writes only the page that
/// an entry is on.
type RecipientEntry = [u8; 23];

fn entry(party: u32, marks: MessageMarks) -> RecipientEntry {
    let (told_at, how) = told_to_stored(marks.told);
    let [p0, p1, p2, p3] = party.to_be_bytes();
    let [_, _, d0, d1, d2, d3, d4, d5] = MarkTime(marks.delivered_at).to_stored().to_be_bytes();
    let [_, _, n0, n1, n2, n3, n4, n5] = told_at.to_be_bytes();
    let [_, _, r0, r1, r2, r3, r4, r5] = MarkTime(marks.read_at).to_stored().to_be_bytes();
    [p0, p1, p2, p3, d0, d1, d2, d3, d4, d5, n0, n1, n2, n3, n4, n5, how, r0, r1, r2, r3, r4, r5]
}

fn party_of(entry: &RecipientEntry) -> u32 {
    let [p0, p1, p2, p3, ..] = *entry;
    u32::from_be_bytes([p0, p1, p2, p3])
}

fn marks_of(entry: &RecipientEntry) -> MessageMarks {
    // Shifted up and down again, so that the sign is kept.
    let time = |[b0, b1, b2, b3, b4, b5]: [u8; 6]| {
        i64::from_be_bytes([b0, b1, b2, b3, b4, b5, 0, 0]) >> 16
    };
    let [_, _, _, _, d0, d1, d2, d3, d4, d5, n0, n1, n2, n3, n4, n5, how, r @ ..] = *entry;
    MessageMarks {
        delivered_at: MarkTime::from_stored(time([d0, d1, d2, d3, d4, d5])).0,
        told: told_from_stored(time([n0, n1, n2, n3, n4, n5]), how),
        read_at: MarkTime::from_stored(time(r)).0,
    }
}

pub(super) fn entries(list: &[u8]) -> Outcome<&[RecipientEntry]> {
    match list.as_chunks() {
        (entries, []) => Ok(entries),
        _ => Err(Fault::Damaged("a list of recipients ends in the middle of one".into())),
    }
}

/// The recipients in a stored list and how it stands with each; `None` if it is no list.
pub(super) fn read_list(list: &[u8]) -> Option<Vec<(u32, MessageMarks)>> {
    let list: Vec<_> = entries(list).ok()?.iter().map(|e| (party_of(e), marks_of(e))).collect();
    list.is_sorted_by(|(a, _), (b, _)| a < b).then_some(list)
}

pub(super) fn find(entries: &[RecipientEntry], party: u32) -> Option<MessageMarks> {
    let place = entries.binary_search_by_key(&party, party_of).ok()?;
    entries.get(place).map(marks_of)
}

fn reached(entries: &[RecipientEntry]) -> Reached {
    marks::reached(entries.iter().map(marks_of))
}

/// How many broadcasts have not reached, and have not been read by, all their recipients.
#[derive(Debug, Default)]
pub(super) struct PendingBroadcasts {
    pub(super) undelivered: u64,
    pub(super) unread: u64,
}

impl PendingBroadcasts {
    fn add(&mut self, list: &[RecipientEntry]) {
        let lacks = |mark: fn(MessageMarks) -> bool| list.iter().any(|entry| mark(marks_of(entry)));
        self.undelivered += u64::from(lacks(|marks| marks.delivered_at.is_none()));
        self.unread += u64::from(lacks(|marks| marks.read_at.is_none()));
    }
}

impl Db {
    /// Stores the list of a new broadcast. Its message is stored separately.
    pub(super) fn add_broadcast(&mut self, seq: Seq, mut parties: Vec<u32>) -> Outcome<()> {
        parties.sort_unstable();
        let list: Vec<RecipientEntry> =
            parties.iter().map(|party| entry(*party, MessageMarks::default())).collect();
        self.change(
            "INSERT INTO broadcasts (seq, recipients) VALUES (?1, ?2)",
            (seq, list.as_flattened()),
        )?;
        for party in parties {
            self.parties.add_unread_broadcast(party);
        }
        self.tally.broadcast_seq = seq;
        Ok(())
    }

    /// How far a broadcast has come.
    pub(super) fn reached(&self, seq: Seq) -> Outcome<Reached> {
        let list = self.list(seq)?;
        let list = list.ok_or_else(|| Fault::Damaged(format!("broadcast {seq} has no list")))?;
        entries(&list).map(reached)
    }

    fn list(&self, seq: Seq) -> Outcome<Option<Vec<u8>>> {
        self.row("SELECT recipients FROM broadcasts WHERE seq = ?1", [seq], |row| row.get(0))
    }

    /// Changes how a broadcast stands with some of its recipients, in one write. Returns with how many
    /// that was a change.
    pub(super) fn mark_broadcast(
        &mut self,
        seq: Seq,
        parties: &[u32],
        change: impl Fn(u32, MessageMarks) -> MessageMarks,
    ) -> Outcome<u64> {
        let Some(mut list) = self.list(seq)? else { return Ok(0) };
        entries(&list)?;
        let (chunks, _) = list.as_chunks_mut();
        let before = reached(chunks);
        let mut changed = 0;
        let mut newly_read = Vec::new();
        for &party in parties {
            let Ok(place) = chunks.binary_search_by_key(&party, party_of) else { continue };
            let Some(chunk) = chunks.get_mut(place) else { continue };
            let old = marks_of(chunk);
            let new = change(party, old);
            if new == old {
                continue;
            }
            *chunk = entry(party, new);
            changed += 1;
            if old.read_at.is_none() && new.read_at.is_some() {
                newly_read.push(party);
            }
        }
        if changed == 0 {
            return Ok(0);
        }
        let after = reached(chunks);
        self.lists = RecipientLists::default();
        self.write("UPDATE broadcasts SET recipients = ?2 WHERE seq = ?1", (seq, list))?;
        // It counts until the last recipient has it, and that may have been one of these.
        let delivered = before.delivered < before.recipients && after.delivered == after.recipients;
        let read = before.read < before.recipients && after.read == after.recipients;
        lower(&mut self.tally.messages.undelivered, u64::from(delivered));
        lower(&mut self.tally.messages.unread, u64::from(read));
        for party in newly_read {
            self.note_read(party, seq)?;
        }
        Ok(changed)
    }

    /// Removes the lists up to `seq`, and takes them out of the counts.
    pub(super) fn purge_broadcasts(&mut self, seq: Seq) -> Outcome<()> {
        let mut unread: BTreeMap<u32, u64> = BTreeMap::new();
        let mut pending = PendingBroadcasts::default();
        let mut statement =
            self.connection.prepare_cached("SELECT recipients FROM broadcasts WHERE seq <= ?1")?;
        let mut rows = statement.query([seq])?;
        while let Some(row) = rows.next()? {
            let list = entries(row.get_ref(0)?.as_blob().map_err(damaged)?)?;
            for entry in list {
                if marks_of(entry).read_at.is_none() {
                    *unread.entry(party_of(entry)).or_default() += 1;
                }
            }
            pending.add(list);
        }
        drop(rows);
        drop(statement);
        lower(&mut self.tally.messages.undelivered, pending.undelivered);
        lower(&mut self.tally.messages.unread, pending.unread);
        for (party, gone) in unread {
            self.forget_unread(party, gone, seq)?;
        }
        self.lists = RecipientLists::default();
        self.change("DELETE FROM broadcasts WHERE seq <= ?1", [seq])?;
        Ok(())
    }
}

/// Counts pending broadcasts by looking at all of them.
pub(super) fn count_pending(connection: &Connection) -> Outcome<PendingBroadcasts> {
    let mut statement = connection.prepare("SELECT recipients FROM broadcasts")?;
    let mut rows = statement.query([])?;
    let mut pending = PendingBroadcasts::default();
    while let Some(row) = rows.next()? {
        pending.add(entries(row.get_ref(0)?.as_blob().map_err(damaged)?)?);
    }
    Ok(pending)
}

/// The broadcasts to a party in a range, found by looking at all broadcasts in it, as far as needed.
#[derive(Debug)]
pub(super) struct BroadcastWalk {
    party: u32,
    from: Option<u32>,
    unread_only: bool,
    range: SeqRange,
    /// How many rows the next step looks at. It doubles with each.
    step: u32,
    found: VecDeque<(Seq, MessageMarks)>,
    done: bool,
    /// Everything from the party's floor up to here has been seen, and is not unread.
    rising: bool,
}

impl BroadcastWalk {
    /// Those to `party`, only from `from` if that is given.
    pub(super) fn new(
        db: &mut Db,
        party: u32,
        from: Option<u32>,
        unread_only: bool,
        range: SeqRange,
    ) -> Outcome<Self> {
        let known = db.parties.known(&db.connection, party)?;
        let start = if unread_only { known.progress.floor } else { known.born };
        let rising = unread_only && from.is_none() && range.low <= start;
        let range = range.above(start);
        let found = VecDeque::new();
        Ok(Self { party, from, unread_only, range, step: 4, found, done: false, rising })
    }

    /// Those that `party` has not read after `after`, the oldest first.
    pub(super) fn unread(db: &mut Db, party: u32, after: Seq) -> Outcome<Self> {
        Self::new(db, party, None, true, SeqRange::new(Some(after), None, true))
    }

    /// The next one, unless it is known to be beyond `bound`.
    pub(super) fn peek(
        &mut self,
        db: &mut Db,
        bound: Option<Seq>,
    ) -> Outcome<Option<(Seq, MessageMarks)>> {
        while self.found.is_empty() && !self.done && self.range.may_come_before(bound) {
            self.look_on(db)?;
        }
        Ok(self.found.front().copied())
    }

    pub(super) fn pop(&mut self) {
        self.found.pop_front();
    }

    /// How many there are from here on.
    pub(super) fn count(mut self, db: &mut Db) -> Outcome<u64> {
        let mut count = 0;
        while self.peek(db, None)?.is_some() {
            count += self.found.len() as u64;
            self.found.clear();
        }
        Ok(count)
    }

    fn look_on(&mut self, db: &mut Db) -> Outcome<()> {
        const STEP_MAX: u32 = 128;

        let Db { connection, parties, .. } = db;
        let SeqRange { low, high, ascending } = self.range;
        let sql = match self.from {
            None => in_order!(
                ascending,
                "SELECT seq, recipients FROM broadcasts
                 WHERE seq > ?1 AND seq < ?2 ORDER BY seq",
                "LIMIT ?3"
            ),
            Some(_) => in_order!(
                ascending,
                "SELECT b.seq, b.recipients FROM messages AS m INDEXED BY messages_pair
                 CROSS JOIN broadcasts AS b ON b.seq = m.seq
                 WHERE m.sender = ?4 AND m.recipient = 0 AND m.seq > ?1 AND m.seq < ?2
                 ORDER BY m.seq",
                "LIMIT ?3"
            ),
        };
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = match self.from {
            None => statement.query((low, high, self.step))?,
            Some(from) => statement.query((low, high, self.step, from))?,
        };
        let mut seen = 0;
        let mut clear_to = None;
        while let Some(row) = rows.next()? {
            let seq = row.get(0)?;
            seen += 1;
            self.range.advance(seq);
            let list = entries(row.get_ref(1)?.as_blob().map_err(damaged)?)?;
            let marks = find(list, self.party);
            self.rising &= marks.is_none_or(|marks| marks.read_at.is_some());
            if self.rising {
                clear_to = Some(seq);
            }
            let wanted = |marks: &MessageMarks| !self.unread_only || marks.read_at.is_none();
            self.found.extend(marks.filter(wanted).map(|marks| (seq, marks)));
        }
        self.done = seen < self.step;
        self.step = (self.step * 2).min(STEP_MAX);
        if let Some(seq) = clear_to {
            let known = parties.known(connection, self.party)?;
            known.progress.floor = known.progress.floor.max(seq);
        }
        Ok(())
    }
}
