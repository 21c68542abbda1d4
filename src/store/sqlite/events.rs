//! Events, and messages as events.

use rusqlite::params;
use uuid::Uuid;

use super::db::{Db, Fault, Outcome, damaged};
use super::messages::Addressee;
use super::streams::{SeqRange, in_order};
use crate::model::{Event, MessageId, Party, Seq, Timestamp, event_type, type_matches};
use crate::store::marks::received;
use crate::store::{EventPage, EventQuery, NewEvent, offer};

/// Up to so many types of events are looked up one by one; more are found by looking at all events.
const KINDS_MAX: usize = 256;

impl Db {
    pub(super) fn append_event(&mut self, new: &NewEvent<'_>) -> Outcome<()> {
        self.begin_row(new.seq, new.created_at)?;
        let ordinal = self.tally.event_ordinal + 1;
        self.change(
            "INSERT INTO events (seq, id, ordinal, kind, emitted_by, created_at, client_id,
                payload)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                new.seq,
                new.id,
                ordinal,
                new.kind,
                new.emitted_by,
                new.created_at,
                new.client_id.map(Uuid::into_bytes),
                new.payload,
            ],
        )?;
        if let (Some(emitter), Some(id)) = (new.emitted_by, new.client_id) {
            let emitter = self.intern(emitter)?;
            self.keep_client_id(emitter, id, new.seq)?;
        }
        self.tally.event_ordinal = ordinal;
        self.tally.events += 1;
        Ok(())
    }

    /// The event with this number, unless that is a message's.
    pub(super) fn event(&self, seq: Seq) -> Outcome<Option<Event>> {
        self.first("FROM events WHERE seq = ?1", [seq])
    }

    /// The event that is derived from the message with this number.
    fn message_event(&mut self, seq: Seq) -> Outcome<Option<Event>> {
        let row: Option<(MessageId, u32, u32, Timestamp, Option<Party>)> = self.row(
            "SELECT id, sender, recipient, created_at, addressed
             FROM messages WHERE seq = ?1",
            [seq],
            |row| row.try_into(),
        )?;
        let Some((id, sender, recipient, created_at, addressed)) = row else { return Ok(None) };
        let from = self.parties.party(&self.connection, sender)?;
        let Addressee { to, group, .. } =
            Addressee::new(&self.connection, &mut self.parties, recipient, addressed)?;
        Ok(Some(received(id, created_at, from, to, group)))
    }

    pub(super) fn events(
        &mut self,
        query: &EventQuery<'_>,
        keep: &mut dyn FnMut(&Event) -> bool,
    ) -> Outcome<EventPage> {
        let ascending = query.since.is_some() || query.after.is_some();
        let range = SeqRange::new(query.after, None, ascending).above(self.seq_since(query.since)?);
        // One more than wanted tells whether there are more.
        let limit = query.limit.saturating_add(1);
        let mut seqs = self.event_seqs(query.types, range, query.since, limit)?;
        if type_matches(query.types, event_type::MESSAGE_RECEIVED) {
            seqs.extend(self.message_seqs(range, query.since, limit)?);
        }
        seqs.sort_unstable();
        if !ascending {
            seqs.reverse();
        }

        let found = seqs.len();
        let rows = seqs.into_iter().take(query.limit as usize).map(|seq| {
            let event = match self.event(seq)? {
                None => self.message_event(seq)?,
                event => event,
            };
            event.ok_or_else(|| Fault::Damaged(format!("there is no event {seq}")))
        });
        let mut events = offer(rows, keep)?;
        let cut = events.len() < found;
        if !ascending {
            events.reverse();
        }
        let last = events.last().filter(|_| cut && ascending);
        let last_seq = last.map_or(self.tally.last_seq, |event| event.seq);
        Ok(EventPage { events, last_seq })
    }

    /// A number up to which nothing was created after `since`, not far below the first that was.
    pub(super) fn seq_since(&self, since: Option<Timestamp>) -> Outcome<Seq> {
        let Some(since) = since else { return Ok(Seq::default()) };
        let sql =
            "SELECT seq FROM time_marks WHERE seq > 0 AND latest <= ?1 ORDER BY seq DESC LIMIT 1";
        Ok(self.row(sql, [since], |row| row.get(0))?.unwrap_or_default())
    }

    /// The numbers of stored events of these types: of each at least those that are among the first
    /// `limit` of all.
    fn event_seqs(
        &self,
        types: &[Box<str>],
        range: SeqRange,
        since: Option<Timestamp>,
        limit: u32,
    ) -> Outcome<Vec<Seq>> {
        let everything = types.is_empty() || types.iter().any(|pattern| **pattern == *"*");
        let kinds = if everything { None } else { self.kinds(types)? };
        let since = since.unwrap_or(Timestamp(i64::MIN));
        match kinds {
            Some(kinds) => self.event_seqs_of(&kinds, range, since, limit),
            None => self.event_seqs_among_all(types, range, since, limit),
        }
    }

    /// The types of stored events that match these types and patterns; `None` if they are many.
    fn kinds(&self, types: &[Box<str>]) -> Outcome<Option<Vec<Box<str>>>> {
        let mut kinds = Vec::new();
        let (next, has) = (
            "SELECT kind FROM events INDEXED BY events_kind WHERE kind > ?1 ORDER BY kind LIMIT 1",
            "SELECT kind FROM events INDEXED BY events_kind WHERE kind = ?1 LIMIT 1",
        );
        let look = |sql, kind: &str| self.row(sql, [kind], |row| row.get::<_, Box<str>>(0));
        for pattern in types {
            let Some(prefix) = pattern.strip_suffix('*') else {
                kinds.push(pattern.clone());
                continue;
            };
            kinds.extend(look(has, prefix)?);
            let mut last: Box<str> = prefix.into();
            while let Some(kind) = look(next, &last)?
                && kind.starts_with(prefix)
            {
                kinds.push(kind.clone());
                last = kind;
                if kinds.len() > KINDS_MAX {
                    return Ok(None);
                }
            }
        }
        // Several patterns may match a type.
        kinds.sort_unstable();
        kinds.dedup();
        Ok(Some(kinds))
    }

    fn event_seqs_of(
        &self,
        kinds: &[Box<str>],
        range: SeqRange,
        since: Timestamp,
        limit: u32,
    ) -> Outcome<Vec<Seq>> {
        let sql = in_order!(
            range.ascending,
            "SELECT seq FROM events INDEXED BY events_kind
             WHERE kind = ?1 AND seq > ?2 AND created_at > ?3 ORDER BY seq",
            "LIMIT ?4"
        );
        let mut seqs = Vec::new();
        for kind in kinds {
            let found = self.rows(sql, (kind, range.low, since, limit), |row| row.get(0))?;
            seqs.extend::<Vec<Seq>>(found);
        }
        Ok(seqs)
    }

    fn event_seqs_among_all(
        &self,
        types: &[Box<str>],
        range: SeqRange,
        since: Timestamp,
        limit: u32,
    ) -> Outcome<Vec<Seq>> {
        let sql = in_order!(
            range.ascending,
            "SELECT seq, kind FROM events WHERE seq > ?1 AND created_at > ?2 ORDER BY seq",
            ""
        );
        let mut seqs = Vec::new();
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query((range.low, since))?;
        while seqs.len() < limit as usize
            && let Some(row) = rows.next()?
        {
            if type_matches(types, row.get_ref(1)?.as_str().map_err(damaged)?) {
                seqs.push(row.get(0)?);
            }
        }
        Ok(seqs)
    }
}
