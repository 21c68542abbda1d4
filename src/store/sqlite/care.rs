//! What keeps the database in shape: retention, checkpoints, counters.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _};

use super::broadcasts::count_pending;
use super::db::{Db, Fault, Outcome, Tally};
use super::parties::{CLI, EVERYONE};
use super::rows::NOT_YET;
use crate::api::MessageCounts;
use crate::model::{Party, PeerId, Seq, Timestamp};
use crate::store::PurgeBefore;
use crate::store::journal::Position;

/// The keys in `meta` of the counters: whatever is committed goes with them.
const UNDELIVERED: &str = "undelivered";
const UNREAD: &str = "unread";
const STATE_ENTRIES: &str = "state_entries";
const LOCKS: &str = "locks";
const LAST_SEQ: &str = "last_seq";

/// The keys in `meta` of the journal that belongs to this database, and of the last record of it that
/// is in here.
const JOURNAL: &str = "journal";
const JOURNAL_RECORD: &str = "journal_record";

impl Db {
    pub(super) fn first_seq(&self) -> Outcome<Seq> {
        let mut statement = self.connection.prepare_cached(
            "SELECT min(ifnull((SELECT min(seq) FROM messages), ?1),
                        ifnull((SELECT min(seq) FROM events), ?1))",
        )?;
        Ok(statement.query_row([self.tally.last_seq.next()], |row| row.get(0))?)
    }

    pub(super) fn purge(&mut self, before: &PurgeBefore, limit: u32) -> Outcome<bool> {
        let mut left = limit;
        let [messages, events, departed] =
            [before.messages, before.events, before.departed].map(|at| self.seq_at(at));
        self.purge_messages(messages?, &mut left)?;
        self.purge_events(events?, &mut left)?;
        if left < limit {
            self.purge_time_marks()?;
        }
        self.purge_departed(departed?, &mut left)?;
        if left < limit {
            self.purge_times(before.messages.min(before.events).min(before.departed))?;
        }
        self.sweep_parties()?;
        Ok(left == 0)
    }

    fn purge_messages(&mut self, to: Seq, left: &mut u32) -> Outcome<()> {
        type Row = (Seq, u32, u32, bool, i64, Option<[u8; 16]>);

        let sql = "SELECT seq, sender, recipient, is_read, delivered_at, client_id
            FROM messages WHERE seq <= ?1 ORDER BY seq LIMIT ?2";
        let rows: Vec<Row> = self.rows(sql, (to, *left), |row| row.try_into())?;
        let Some(last) = rows.last().map(|row| row.0) else { return Ok(()) };
        self.begin_write()?;
        self.wrote();
        for (seq, sender, recipient, is_read, delivered_at, client_id) in rows {
            *left -= 1;
            lower(&mut self.tally.messages.total, 1);
            if recipient != EVERYONE {
                lower(&mut self.tally.messages.undelivered, u64::from(delivered_at == NOT_YET));
                if !is_read {
                    lower(&mut self.tally.messages.unread, 1);
                    self.parties.add_unread_direct(recipient, -1);
                }
            }
            if let Some(id) = client_id {
                self.forget_client_id(sender, id, seq)?;
            }
        }
        self.purge_broadcasts(last)?;
        self.change("DELETE FROM messages WHERE seq <= ?1", [last])?;
        Ok(())
    }

    fn purge_events(&mut self, to: Seq, left: &mut u32) -> Outcome<()> {
        type Row = (Seq, Option<Party>, Option<[u8; 16]>);

        let sql = "SELECT seq, emitted_by, client_id FROM events
            WHERE seq <= ?1 ORDER BY seq LIMIT ?2";
        let rows: Vec<Row> = self.rows(sql, (to, *left), |row| row.try_into())?;
        let Some(last) = rows.last().map(|row| row.0) else { return Ok(()) };
        self.begin_write()?;
        self.wrote();
        for (seq, emitted_by, client_id) in rows {
            *left -= 1;
            lower(&mut self.tally.events, 1);
            if let (Some(emitter), Some(id)) = (emitted_by, client_id)
                && let Some(emitter) = self.find_party(&emitter)?
            {
                self.forget_client_id(emitter, id, seq)?;
            }
        }
        self.change("DELETE FROM events WHERE seq <= ?1", [last])?;
        Ok(())
    }

    /// Forgets what a client id was used for, unless it was used again.
    fn forget_client_id(&self, sender: u32, id: [u8; 16], seq: Seq) -> Outcome<()> {
        self.change(
            "DELETE FROM client_ids WHERE sender = ?1 AND client_id = ?2 AND seq = ?3",
            (sender, id, seq),
        )?;
        Ok(())
    }

    /// Removes the marks below the first row except the last of them, which holds for all before it.
    fn purge_time_marks(&self) -> Outcome<()> {
        self.change(
            "DELETE FROM time_marks
             WHERE seq < (SELECT max(seq) FROM time_marks WHERE seq < ?1)",
            [self.first_seq()?],
        )?;
        Ok(())
    }

    fn purge_departed(&mut self, to: Seq, left: &mut u32) -> Outcome<()> {
        let first_message: Option<Seq> = self
            .connection
            .prepare_cached("SELECT min(seq) FROM messages")?
            .query_row([], |row| row.get(0))?;
        let gone: Outcome<Vec<PeerId>> = self.rows(
            "SELECT id FROM peers INDEXED BY peers_left
             WHERE left_at IS NOT NULL AND left_seq < min(?1, ?2)
             ORDER BY left_seq, id LIMIT ?3",
            (to, first_message.unwrap_or(Seq(u64::MAX)), *left),
            |row| row.get(0),
        );
        for id in gone? {
            self.begin_write()?;
            self.wrote();
            self.change("DELETE FROM peers WHERE id = ?1", [id])?;
            *left -= 1;
        }
        Ok(())
    }

    /// Removes the numbers of some parties of which nothing is left, and goes on there next time.
    /// Not counted as a change: nobody sees it.
    fn sweep_parties(&mut self) -> Outcome<()> {
        // Looked after every ten minutes, so many keep pace with 36,000 new ones a day.
        const STEP: u32 = 256;

        let parties: Outcome<Vec<u32>> = self.rows(
            "SELECT party FROM parties WHERE party > ?1 ORDER BY party LIMIT ?2",
            (self.swept_to.max(CLI), STEP),
            |row| row.get(0),
        );
        let parties = parties?;
        self.swept_to = parties.last().copied().unwrap_or(CLI);
        for party in parties {
            let used: bool = self
                .connection
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM messages WHERE sender = ?1)
                        OR EXISTS (SELECT 1 FROM messages WHERE recipient = ?1)
                        OR EXISTS (SELECT 1 FROM client_ids WHERE sender = ?1)
                        OR EXISTS (SELECT 1 FROM peers
                            WHERE id = (SELECT name FROM parties WHERE party = ?1))
                        OR EXISTS (SELECT 1 FROM peers INDEXED BY peers_name
                            WHERE NOT name_is_automatic AND name COLLATE NOCASE =
                                (SELECT substr(name, 2, instr(substr(name, 2) || '@', '@') - 1)
                                    FROM parties WHERE party = ?1 AND name GLOB '@*'))",
                )?
                .query_row([party], |row| row.get(0))?;
            if !used {
                self.begin_write()?;
                self.change("DELETE FROM parties WHERE party = ?1", [party])?;
                self.parties.forget(party);
            }
        }
        Ok(())
    }

    /// Stores the counters, so that an opening need not count, and no number is given again whose row
    /// goes. In a transaction that is about to commit.
    pub(super) fn keep_counters(&self) -> Outcome<()> {
        let Tally { messages, state_entries, locks, last_seq, .. } = self.tally;
        self.put_meta(UNDELIVERED, Seq(messages.undelivered))?;
        self.put_meta(UNREAD, Seq(messages.unread))?;
        self.put_meta(STATE_ENTRIES, Seq(state_entries))?;
        self.put_meta(LOCKS, Seq(locks))?;
        self.put_meta(LAST_SEQ, last_seq)
    }

    /// Stores how much of which journal is in here.
    pub(super) fn keep_position(&self, at: Position) -> Outcome<()> {
        self.put_meta(JOURNAL, Seq(at.journal))?;
        self.put_meta(JOURNAL_RECORD, Seq(at.record))
    }

    fn put_meta(&self, key: &str, value: Seq) -> Outcome<()> {
        self.change("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)", (key, value))?;
        Ok(())
    }

    /// Copies the write-ahead log into the database; what is written next begins a new log.
    ///
    /// Something is written at once: it makes SQLite begin it (with an fsync) now and not when someone
    /// waits.
    pub(super) fn checkpoint(&mut self) -> Outcome<()> {
        self.copy_log()?;
        self.in_own_turn(|db| {
            db.begin_write()?;
            // Another number each time: what is the same as before is not written.
            db.change(
                "INSERT INTO meta VALUES ('checkpoints', 1)
                 ON CONFLICT (key) DO UPDATE SET value = value + 1",
                [],
            )?;
            db.keep_progress()
        })
    }

    /// Copies the write-ahead log into the database.
    pub(super) fn copy_log(&self) -> Outcome<()> {
        self.wal_checkpoint("PRAGMA wal_checkpoint(PASSIVE)").map(|_| ())
    }

    /// Pages in the write-ahead log that are not in the database yet.
    pub(super) fn wal_pages_pending(&self) -> Outcome<u64> {
        self.wal_checkpoint("PRAGMA wal_checkpoint(NOOP)")
    }

    /// Empties the write-ahead log.
    pub(super) fn empty_wal(&self) -> Outcome<()> {
        self.wal_checkpoint("PRAGMA wal_checkpoint(TRUNCATE)").map(|_| ())
    }

    /// Gives the pages of the log that are not in the database (none if there is no log).
    fn wal_checkpoint(&self, sql: &str) -> Outcome<u64> {
        let (log, copied): (i64, i64) =
            self.connection.query_row(sql, [], |row| Ok((row.get(1)?, row.get(2)?)))?;
        Ok(u64::try_from(log - copied).unwrap_or(0))
    }
}

/// Lowers a counter. One that was too low stays 0.
pub(super) fn lower(counter: &mut u64, by: u64) {
    *counter = counter.saturating_sub(by);
}

/// Which journal belongs to a database, and how much of it is in there.
pub(super) fn position(connection: &Connection) -> rusqlite::Result<Position> {
    let value = |key| -> rusqlite::Result<u64> {
        let sql = "SELECT value FROM meta WHERE key = ?1";
        connection.query_row(sql, [key], |row| row.get(0)).map(|Seq(value)| value)
    };
    Ok(Position { journal: value(JOURNAL)?, record: value(JOURNAL_RECORD)? })
}

/// The counters of a database that was just opened: by looking at the ends of tables, and what is stored.
/// One of a former version has to be counted, and one whose counters cannot be true: once, at its
/// opening.
pub(super) fn load_tally(connection: &Connection) -> Outcome<Tally> {
    let meta = stored_meta(connection)?;
    let (message_seq, message_ordinal, message_count) = ends(connection, "messages")?;
    let (event_seq, event_ordinal, event_count) = ends(connection, "events")?;
    let kept_seq = Seq(meta.get(LAST_SEQ).copied().unwrap_or(0));
    let row_seq = message_seq.max(event_seq);
    let broadcast_seq: Option<Seq> =
        connection.query_row("SELECT max(seq) FROM broadcasts", [], |row| row.get(0))?;
    let mark = connection
        .query_row("SELECT seq, latest FROM time_marks ORDER BY seq DESC LIMIT 1", [], |row| {
            row.try_into()
        })
        .optional()?;
    let (mark_seq, mark_latest) = mark.unwrap_or((Seq(0), Timestamp(i64::MIN)));
    let latest = connection.query_row(
        "SELECT max(?2, ifnull((SELECT max(created_at) FROM messages WHERE seq > ?1), ?2),
                        ifnull((SELECT max(created_at) FROM events WHERE seq > ?1), ?2))",
        (mark_seq, mark_latest),
        |row| row.get(0),
    )?;
    let has_rows = |table: &str| -> rusqlite::Result<bool> {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {table})");
        connection.query_row(&sql, [], |row| row.get(0))
    };
    let counter = |key| meta.get(key).copied();
    let counters = (counter(UNDELIVERED), counter(UNREAD), counter(STATE_ENTRIES), counter(LOCKS));
    let (undelivered, unread, state_entries, locks) = match counters {
        (Some(undelivered), Some(unread), Some(state), Some(locks))
            // What is undelivered is unread, too.
            if undelivered <= unread
                && unread <= message_count
                && (state > 0, locks > 0) == (has_rows("state")?, has_rows("locks")?) =>
        {
            (undelivered, unread, state, locks)
        }
        _ => count(connection)?,
    };
    Ok(Tally {
        last_seq: kept_seq.max(row_seq),
        row_seq,
        broadcast_seq: broadcast_seq.unwrap_or_default(),
        message_ordinal,
        event_ordinal,
        mark_seq,
        latest,
        messages: MessageCounts { total: message_count, undelivered, unread },
        events: event_count,
        state_entries,
        locks,
    })
}

fn stored_meta(connection: &Connection) -> Outcome<HashMap<String, u64>> {
    let mut statement = connection.prepare("SELECT key, value FROM meta")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, Seq>(1)?.0)))?;
    let meta: rusqlite::Result<_> = rows.collect();
    Ok(meta?)
}

/// The last number and ordinal of a table, and its number of rows.
fn ends(connection: &Connection, table: &str) -> Outcome<(Seq, i64, u64)> {
    let end = |order: &str| {
        let sql = format!("SELECT seq, ordinal FROM {table} ORDER BY seq {order} LIMIT 1");
        connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()
    };
    let (Some((_, first)), Some((seq, last))) =
        (end("ASC")?.map(|end: (Seq, i64)| end), end("DESC")?)
    else {
        return Ok((Seq(0), 0, 0));
    };
    let count = u64::try_from(last - first + 1)
        .map_err(|_| Fault::Damaged(format!("the rows of {table} are out of order")))?;
    Ok((seq, last, count))
}

/// Undelivered and unread messages, state entries, locks: by looking at every row. (What was read is
/// delivered.)
fn count(connection: &Connection) -> Outcome<(u64, u64, u64, u64)> {
    let broadcasts = count_pending(connection)?;
    let sql = "SELECT ifnull(sum(delivered_at = ?1), 0), count(*),
                      (SELECT count(*) FROM state), (SELECT count(*) FROM locks)
               FROM messages INDEXED BY messages_inbox WHERE recipient > 0 AND is_read = 0";
    let counts: (Seq, Seq, Seq, Seq) =
        connection.query_row(sql, [NOT_YET], |row| row.try_into())?;
    let (direct_undelivered, direct_unread, state, locks) = counts;
    let undelivered = broadcasts.undelivered + direct_undelivered.0;
    Ok((undelivered, broadcasts.unread + direct_unread.0, state.0, locks.0))
}
