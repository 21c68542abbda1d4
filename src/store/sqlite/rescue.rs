//! Saving what can be read of a damaged database into a new one.
//!
//! What was read is put into the new database by the operations that wrote it at first. So whatever
//! holds of any database holds of this one: numbers of parties, ordinals, indexes, counters. What is
//! read but means nothing, or refers to what is lost, is left out and counted.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Row};
use uuid::Uuid;

use super::broadcasts;
use super::db::{Db, Outcome};
use super::parties::{EVERYONE, mailbox, mailbox_name};
use super::rows::{MarkTime, told_from_stored};
use super::scan::{Scan, Source};
use super::stored::TableRow;
use super::{Tell, care};
use crate::model::{
    Lock, MachineRecord, MeshTime, MessageId, MessageKind, Party, PeerRecord, Seq, StateEntry,
    Timestamp,
};
use crate::store::journal::SEQ_MARGIN;
use crate::store::marks::MessageMarks;
use crate::store::{NewEvent, NewMessage};

/// The first number that does not fit an id.
const SEQ_END: u64 = 1 << 48;
/// The end of the year 9999, which no time of ours is beyond.
const TIME_END: i64 = 253_402_300_800_000;
/// How often the log is told how far it is.
const PROGRESS: Duration = Duration::from_secs(1);

/// What was saved.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Saved {
    /// Rows that are in the new database.
    pub(super) copied: u64,
    /// Rows that are not; where a stretch could not be read, it counts for one at least.
    pub(super) skipped: u64,
}

struct MessageRow {
    seq: Seq,
    id: MessageId,
    ordinal: i64,
    sender: u32,
    recipient: u32,
    kind: MessageKind,
    created_at: Timestamp,
    marks: MessageMarks,
    reply_to: Option<MessageId>,
    client_id: Option<Uuid>,
    sender_name: Box<str>,
    payload: Box<str>,
    addressed: Option<Party>,
}

struct EventRow {
    seq: Seq,
    id: MessageId,
    ordinal: i64,
    kind: Box<str>,
    emitted_by: Option<Party>,
    created_at: Timestamp,
    client_id: Option<Uuid>,
    payload: Box<str>,
}

const MESSAGES: Source = Source {
    table: "messages NOT INDEXED",
    columns: "seq, id, ordinal, sender, recipient, kind, created_at, delivered_at, notified_at,
        notified_by, read_at, reply_to, client_id, sender_name, payload, addressed",
    key: &["seq"],
};
const EVENTS: Source = Source {
    table: "events NOT INDEXED",
    columns: "seq, id, ordinal, kind, emitted_by, created_at, client_id, payload",
    key: &["seq"],
};
const PARTIES: Source =
    Source { table: "parties NOT INDEXED", columns: "party, name", key: &["party"] };
/// The index has all of the table that is needed.
const PARTIES_BY_NAME: Source = Source {
    table: "parties INDEXED BY sqlite_autoindex_parties_1",
    columns: "party, name",
    key: &["name"],
};
const TIMES: Source = Source {
    table: "times NOT INDEXED",
    columns: "at, seq, wall, boot_id, boot, steady_since, believed, unseen_to",
    key: &["at"],
};
/// Puts what can be read of `old` into `new`, which is empty, as one turn. Numbers go on above `least`
/// at least, which is 0 if the last that was given is not known.
///
/// # Errors
/// `new` cannot be written.
pub(super) fn save(old: &Connection, new: &mut Db, least: Seq, tell: Tell) -> Outcome<Saved> {
    let mut rescue = Rescue { old, new, saved: Saved::default(), tell, told: Instant::now() };
    rescue.new.begin_turn()?;
    rescue.save(least)?;
    let saved = rescue.saved;
    new.commit_turn()?;
    Ok(saved)
}

struct Rescue<'a> {
    old: &'a Connection,
    new: &'a mut Db,
    saved: Saved,
    tell: Tell,
    told: Instant,
}

impl Rescue<'_> {
    fn save(&mut self, least: Seq) -> Outcome<()> {
        self.note(least);
        let kept: rusqlite::Result<Seq> =
            self.old
                .query_row("SELECT value FROM meta WHERE key = 'last_seq'", [], |row| row.get(0));
        // One of before that was kept has none.
        let is_unknown = !matches!(kept, Ok(_) | Err(rusqlite::Error::QueryReturnedNoRows));
        self.note(kept.unwrap_or_default());
        let parties = self.parties();
        self.messages_and_events(&parties)?;
        self.times()?;
        self.state()?;
        self.locks()?;
        self.machines()?;
        // Last: a message to a peer that had no mailbox then is not one in its mailbox.
        self.peers()?;
        // What is in the journal only is still to be put in. Without that its journal is unknown.
        let position = care::position(self.old);
        if least == Seq(0) && (self.saved.skipped > 0 || is_unknown || position.is_err()) {
            self.new.tally.last_seq.0 += SEQ_MARGIN;
        }
        self.new.begin_write()?;
        if let Ok(position) = position {
            self.new.keep_position(position)?;
        }
        Ok(())
    }

    /// Takes into account that a number was given.
    fn note(&mut self, seq: Seq) {
        if is_number(seq) {
            self.new.tally.last_seq = self.new.tally.last_seq.max(seq);
        }
    }

    fn copied(&mut self) {
        self.saved.copied += 1;
        if self.saved.copied.is_multiple_of(1024) && self.told.elapsed() >= PROGRESS {
            self.told = Instant::now();
            let Saved { copied, skipped } = self.saved;
            (self.tell)(format_args!("{copied} rows saved so far, {skipped} could not be read"));
        }
    }

    fn scan<'a, T>(&self, source: Source, decode: fn(&Row<'_>) -> Option<T>) -> Scan<'a, T>
    where
        Self: 'a,
    {
        Scan::new((self.old, &self.new.connection), source, decode)
    }

    /// Who the numbers in rows stand for.
    fn parties(&mut self) -> HashMap<u32, Party> {
        let decode = |row: &Row<'_>| {
            let party: Party = row.get(1).ok()?;
            // A mailbox is called as new ones are, whoever made it.
            let mailbox = mailbox_name(&party).map(|(name, host)| mailbox(name, host));
            Some((row.get(0).ok()?, mailbox.unwrap_or(party)))
        };
        let mut parties = HashMap::new();
        let mut scan: Scan<'_, (u32, Party)> = self.scan(PARTIES, decode);
        while let Some((number, party)) = scan.next() {
            parties.insert(number, party);
        }
        if scan.lost > 0 {
            let mut by_name = self.scan(PARTIES_BY_NAME, decode);
            while let Some((number, party)) = by_name.next() {
                parties.entry(number).or_insert(party);
            }
            self.saved.skipped += scan.lost.min(by_name.lost);
        }
        parties
    }

    /// Both in the order of their common numbers.
    fn messages_and_events(&mut self, parties: &HashMap<u32, Party>) -> Outcome<()> {
        let mut messages = self.scan(MESSAGES, message);
        let mut events = self.scan(EVENTS, event);
        let (mut next_message, mut next_event) = (messages.next(), events.next());
        let (mut message_gaps, mut event_gaps) = (Gaps::default(), Gaps::default());
        loop {
            let message_first = match (&next_message, &next_event) {
                (Some(message), Some(event)) => message.seq <= event.seq,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => break,
            };
            if message_first && let Some(row) = next_message.take() {
                message_gaps.pass(row.ordinal);
                self.message(&row, parties)?;
                next_message = messages.next();
            } else if let Some(row) = next_event.take() {
                event_gaps.pass(row.ordinal);
                self.event(&row)?;
                next_event = events.next();
            }
        }
        self.saved.skipped +=
            message_gaps.rows.max(messages.lost) + event_gaps.rows.max(events.lost);
        Ok(())
    }

    fn message(&mut self, row: &MessageRow, parties: &HashMap<u32, Party>) -> Outcome<()> {
        // A sender that is lost is known by its name.
        let from = parties.get(&row.sender).cloned();
        let from = from.unwrap_or_else(|| Party::Label(row.sender_name.clone()));
        let to = parties.get(&row.recipient);
        if (to.is_none() && row.recipient != EVERYONE) || self.is_taken(row.seq) {
            self.saved.skipped += 1;
            return Ok(());
        }
        let new = NewMessage {
            seq: row.seq,
            id: row.id,
            from: &from,
            from_name: &row.sender_name,
            to: crate::store::To::Many(&[]),
            kind: row.kind,
            payload: &row.payload,
            reply_to: row.reply_to,
            created_at: row.created_at,
            client_id: row.client_id,
        };
        self.note(row.seq);
        self.new.begin_row(row.seq, row.created_at)?;
        let sender = self.new.intern(&from)?;
        if let Some(party) = to {
            let recipient = self.new.intern(party)?;
            self.new.add_message(&new, (sender, recipient), row.addressed.as_ref())?;
            self.new.mark_direct(row.seq, recipient, MessageMarks::default(), row.marks)?;
        } else {
            let list = self.list(row.seq, parties)?;
            let numbers: Vec<u32> = list.keys().copied().collect();
            self.new.add_broadcast(row.seq, numbers.clone())?;
            self.new.add_message(&new, (sender, EVERYONE), row.addressed.as_ref())?;
            let marks = |party, none| list.get(&party).copied().unwrap_or(none);
            self.new.mark_broadcast(row.seq, &numbers, marks)?;
        }
        self.copied();
        Ok(())
    }

    /// How a broadcast stands with its recipients; empty if that is lost, since its sender may still
    /// look at the message.
    fn list(
        &mut self,
        seq: Seq,
        parties: &HashMap<u32, Party>,
    ) -> Outcome<HashMap<u32, MessageMarks>> {
        let list: rusqlite::Result<Vec<u8>> =
            self.old.query_row("SELECT recipients FROM broadcasts WHERE seq = ?1", [seq], |row| {
                row.get(0)
            });
        let list = list.ok().and_then(|list| broadcasts::read_list(&list));
        if list.is_none() {
            self.saved.skipped += 1;
        }
        let mut known = HashMap::new();
        for (number, marks) in list.unwrap_or_default() {
            // One that is gone for good has no number any more, and nobody asks how it stands.
            if let Some(party) = parties.get(&number) {
                known.insert(self.new.intern(party)?, marks.sound());
            }
        }
        Ok(known)
    }

    fn event(&mut self, row: &EventRow) -> Outcome<()> {
        if self.is_taken(row.seq) {
            self.saved.skipped += 1;
            return Ok(());
        }
        self.note(row.seq);
        self.new.append_event(&NewEvent {
            seq: row.seq,
            id: row.id,
            kind: &row.kind,
            payload: &row.payload,
            emitted_by: row.emitted_by.as_ref(),
            created_at: row.created_at,
            client_id: row.client_id.filter(|_| row.emitted_by.is_some()),
        })?;
        self.copied();
        Ok(())
    }

    /// Whether a message or event has this number already, or one above it.
    fn is_taken(&self, seq: Seq) -> bool {
        seq <= self.new.tally.row_seq
    }

    /// What was known of the clocks, by which rows age.
    fn times(&mut self) -> Outcome<()> {
        let mut scan = self.scan(TIMES, |row| {
            let numbers: rusqlite::Result<Vec<i64>> =
                [0, 1, 2, 4, 5, 6].into_iter().map(|place| row.get(place)).collect();
            let boot_id: Option<[u8; 16]> = row.get(3).ok()?;
            let unseen_to: Option<i64> = row.get(7).ok()?;
            Some((numbers.ok()?, boot_id, unseen_to))
        });
        self.new.begin_write()?;
        while let Some((numbers, boot_id, unseen_to)) = scan.next() {
            let [at, seq, wall, boot, steady_since, believed] = numbers[..] else { continue };
            self.new.connection.execute(
                "INSERT OR REPLACE INTO times VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                (at, seq, wall, boot_id, boot, steady_since, believed, unseen_to),
            )?;
            self.copied();
        }
        self.saved.skipped += scan.lost;
        Ok(())
    }

    /// Puts into the new database what stands in a table of its own, unless `put` does not take it.
    fn each<T: TableRow>(
        &mut self,
        (table, key): (&'static str, &'static [&'static str]),
        mut put: impl FnMut(&mut Self, &T) -> Outcome<bool>,
    ) -> Outcome<()> {
        let source = Source { table, columns: T::COLUMNS, key };
        let mut scan = self.scan(source, |row| T::read(row).ok());
        while let Some(row) = scan.next() {
            if put(self, &row)? {
                self.copied();
            } else {
                self.saved.skipped += 1;
            }
        }
        self.saved.skipped += scan.lost;
        Ok(())
    }

    fn state(&mut self) -> Outcome<()> {
        self.each(("state", &["namespace", "key"]), |rescue, entry| {
            let sound = is_entry(entry);
            if sound {
                rescue.note(entry.version);
                rescue.new.set_state(entry, None)?;
            }
            Ok(sound)
        })
    }

    fn locks(&mut self) -> Outcome<()> {
        self.each(("locks NOT INDEXED", &["fence"]), |rescue, lock| {
            let sound = is_lock(lock);
            if sound {
                rescue.note(lock.fence);
                rescue.new.put_lock(lock)?;
            }
            Ok(sound)
        })
    }

    /// Who may come in. One whose row is lost has to join again.
    fn machines(&mut self) -> Outcome<()> {
        let mut names = HashSet::new();
        self.each(("machines", &["id"]), |rescue, record: &MachineRecord| {
            let is_new = names.insert(record.name);
            if is_new {
                rescue.new.put_machine(record)?;
            }
            Ok(is_new)
        })?;
        self.each(("invitations", &["token_hash"]), |rescue, invitation| {
            rescue.new.put_invitation(invitation).map(|()| true)
        })
    }

    fn peers(&mut self) -> Outcome<()> {
        let (mut names, mut tokens) = (HashSet::new(), HashSet::new());
        self.each(("peers", &["id"]), |rescue, record: &PeerRecord| {
            let sound = is_peer(record)
                && (record.left_at.is_some()
                    || (names.insert(record.name.to_lowercase())
                        && tokens.insert(record.token_hash)));
            if sound {
                rescue.new.put_peer(record)?;
                if !record.name_is_automatic {
                    rescue.new.intern(&mailbox(&record.name, record.host))?;
                }
            }
            Ok(sound)
        })
    }
}

/// What the ordinals of rows that were read say of those that were not.
#[derive(Default)]
struct Gaps {
    last: Option<i64>,
    rows: u64,
}

impl Gaps {
    fn pass(&mut self, ordinal: i64) {
        let gap = self.last.and_then(|last| ordinal.checked_sub(last)).unwrap_or(1) - 1;
        // More than that is no gap but a damaged ordinal.
        if let Ok(gap @ 1..SEQ_MARGIN) = u64::try_from(gap) {
            self.rows += gap;
        }
        self.last = Some(ordinal);
    }
}

fn message(row: &Row<'_>) -> Option<MessageRow> {
    let MarkTime(delivered_at) = row.get(7).ok()?;
    let told = told_from_stored(row.get(8).ok()?, row.get(9).ok()?);
    let MarkTime(read_at) = row.get(10).ok()?;
    let message = MessageRow {
        seq: row.get(0).ok()?,
        id: row.get(1).ok()?,
        ordinal: row.get(2).ok()?,
        sender: row.get(3).ok()?,
        recipient: row.get(4).ok()?,
        kind: row.get(5).ok()?,
        created_at: row.get(6).ok()?,
        marks: MessageMarks { delivered_at, told, read_at }.sound(),
        reply_to: row.get(11).ok()?,
        client_id: client_id(row, 12)?,
        sender_name: row.get(13).ok()?,
        payload: row.get(14).ok()?,
        addressed: row.get(15).ok()?,
    };
    let sound = message.id.seq() == message.seq
        && is_number(message.seq)
        && is_time(message.created_at)
        && !message.sender_name.is_empty();
    sound.then_some(message)
}

fn event(row: &Row<'_>) -> Option<EventRow> {
    let event = EventRow {
        seq: row.get(0).ok()?,
        id: row.get(1).ok()?,
        ordinal: row.get(2).ok()?,
        kind: row.get(3).ok()?,
        emitted_by: row.get(4).ok()?,
        created_at: row.get(5).ok()?,
        client_id: client_id(row, 6)?,
        payload: row.get(7).ok()?,
    };
    let sound = event.id.seq() == event.seq
        && is_number(event.seq)
        && is_time(event.created_at)
        && serde_json::from_str::<serde::de::IgnoredAny>(&event.payload).is_ok();
    sound.then_some(event)
}

/// None if it is none that can be read.
#[expect(clippy::option_option, reason = "there may be no id")]
fn client_id(row: &Row<'_>, place: usize) -> Option<Option<Uuid>> {
    let id: Option<[u8; 16]> = row.get(place).ok()?;
    Some(id.map(Uuid::from_bytes))
}

fn is_number(seq: Seq) -> bool {
    (1..SEQ_END - 2 * SEQ_MARGIN).contains(&seq.0)
}

pub(super) fn is_time(time: Timestamp) -> bool {
    (0..TIME_END).contains(&time.0)
}

/// Whether something of `then` may last until `end`. The clocks of both may have been apart.
fn may_last(then: Timestamp, end: MeshTime) -> bool {
    const YEARS: i64 = 10 * 365 * 24 * 3_600_000;
    is_time(Timestamp(end.0)) && end.0.abs_diff(then.0) <= YEARS.unsigned_abs()
}

fn is_entry(entry: &StateEntry) -> bool {
    is_number(entry.version)
        && is_time(entry.updated_at)
        && entry.expires_at.is_none_or(|at| may_last(entry.updated_at, at))
}

fn is_lock(lock: &Lock) -> bool {
    is_number(lock.fence)
        && is_time(lock.locked_at)
        && may_last(lock.locked_at, lock.expires_at)
        && !lock.path.is_empty()
}

fn is_peer(peer: &PeerRecord) -> bool {
    let times = [Some(peer.started_at), Some(peer.last_heartbeat), peer.left_at];
    times.into_iter().flatten().all(is_time) && !peer.name.is_empty()
}
