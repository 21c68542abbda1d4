//! Messages: storing, marking, finding again by id.

use rusqlite::{OptionalExtension as _, params};
use uuid::Uuid;

use super::broadcasts::Walk;
use super::db::{Db, Fault, Outcome};
use super::parties::{CLI, EVERYONE};
use super::rows::{MarkTime, NOT_YET};
use super::streams::{Merge, Range, Seqs, Source};
use crate::model::{Message, MessageId, Party, PeerId, Recipient, Seq, Timestamp};
use crate::store::{NewMessage, Repeated, To};

/// A row of the table.
#[derive(Debug)]
pub(super) struct StoredMessage {
    /// As a direct message's recipient and sender see it; a broadcast without any marks.
    pub(super) message: Message,
    /// The number of the recipient.
    pub(super) recipient: u32,
}

impl Db {
    /// See [`crate::store::Store::send`].
    pub(super) fn send(&mut self, new: &NewMessage<'_>) -> Outcome<()> {
        self.begin_row(new.seq, new.created_at, new.payload)?;
        let sender = self.intern(new.from)?;
        let recipient = match new.to {
            To::One(recipient) => self.intern(&recipient.into())?,
            To::Many(peers) => {
                let parties: Outcome<Vec<u32>> =
                    peers.iter().map(|id| self.intern(&Party::Peer(*id))).collect();
                self.add_broadcast(new.seq, parties?)?;
                EVERYONE
            }
        };
        let ordinal = self.tally.message_ordinal + 1;
        self.connection
            .prepare_cached(
                "INSERT INTO messages (seq, id, ordinal, sender, recipient, is_read, kind,
                    created_at, delivered_at, read_at, reply_to, client_id, sender_name, payload)
                 VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?8, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params![
                new.seq,
                new.id,
                ordinal,
                sender,
                recipient,
                new.kind,
                new.created_at,
                NOT_YET,
                new.reply_to,
                new.client_id.map(Uuid::into_bytes),
                new.from_name,
                new.payload,
            ])?;
        if let Some(id) = new.client_id {
            self.keep_client_id(sender, id, new.seq)?;
        }
        self.tally.message_ordinal = ordinal;
        self.tally.messages.total += 1;
        self.tally.messages.undelivered += 1;
        self.tally.messages.unread += 1;
        if recipient != EVERYONE {
            self.parties.add_unread(recipient, 1);
        }
        Ok(())
    }

    /// The number of a party, a new one if it has none.
    pub(super) fn intern(&mut self, party: &Party) -> Outcome<u32> {
        self.parties.intern(&self.connection, party, self.tally.broadcast_seq)
    }

    /// The number of a party, if it has one.
    pub(super) fn find_party(&mut self, party: &Party) -> Outcome<Option<u32>> {
        self.parties.find(&self.connection, party)
    }

    /// Remembers what a client id was used for.
    pub(super) fn keep_client_id(&self, sender: u32, id: Uuid, seq: Seq) -> Outcome<()> {
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO client_ids (sender, client_id, seq) VALUES (?1, ?2, ?3)",
            )?
            .execute((sender, id.into_bytes(), seq))?;
        Ok(())
    }

    /// See [`crate::store::Store::client_id`].
    pub(super) fn client_id(&mut self, sender: &Party, id: Uuid) -> Outcome<Option<Repeated>> {
        let Some(sender) = self.find_party(sender)? else { return Ok(None) };
        let seq: Option<Seq> = self
            .connection
            .prepare_cached("SELECT seq FROM client_ids WHERE sender = ?1 AND client_id = ?2")?
            .query_row((sender, id.into_bytes()), |row| row.get(0))
            .optional()?;
        let Some(seq) = seq else { return Ok(None) };
        if let Some(stored) = self.message(seq)? {
            let message = self.seen_by_sender(stored)?;
            return Ok(Some(Repeated::Message(Box::new(message))));
        }
        let event = self.event(seq)?;
        Ok(event.map(|event| Repeated::Event(Box::new(event))))
    }

    /// The message with this number.
    pub(super) fn message(&mut self, seq: Seq) -> Outcome<Option<StoredMessage>> {
        let Self { connection, parties, .. } = self;
        let mut statement = connection.prepare_cached(
            "SELECT seq, id, sender, recipient, kind, created_at, delivered_at, read_at, reply_to,
                sender_name, payload
             FROM messages WHERE seq = ?1",
        )?;
        let mut rows = statement.query([seq])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let recipient = row.get(3)?;
        let to = (recipient != EVERYONE).then(|| parties.party(connection, recipient));
        let MarkTime(delivered_at) = row.get(6)?;
        let MarkTime(read_at) = row.get(7)?;
        let message = Message {
            seq: row.get(0)?,
            id: row.get(1)?,
            from: parties.party(connection, row.get(2)?)?,
            from_name: row.get(9)?,
            to: to.transpose()?,
            kind: row.get(4)?,
            payload: row.get(10)?,
            reply_to: row.get(8)?,
            created_at: row.get(5)?,
            delivered_at,
            notified: None,
            read_at,
            reached: None,
        };
        Ok(Some(StoredMessage { message, recipient }))
    }

    /// A message with a number that was found in an index or a list.
    pub(super) fn message_found(&mut self, seq: Seq) -> Outcome<StoredMessage> {
        self.message(seq)?.ok_or_else(|| Fault::Damaged(format!("there is no message {seq}")))
    }

    /// A message as in a sender's list.
    pub(super) fn seen_by_sender(&self, stored: StoredMessage) -> Outcome<Message> {
        let mut message = stored.message;
        if stored.recipient == EVERYONE {
            message.reached = Some(self.reached(message.seq)?);
        }
        Ok(message)
    }

    /// See [`crate::store::Store::mark_read`].
    pub(super) fn mark_read(
        &mut self,
        recipient: Recipient,
        ids: &[MessageId],
        at: Timestamp,
    ) -> Outcome<u64> {
        self.check_turn()?;
        let Some(me) = self.find_party(&recipient.into())? else { return Ok(0) };
        let mut marked = 0;
        let mut marked_broadcast = false;
        for id in ids {
            let found: Option<(MessageId, u32, bool, MarkTime)> = self
                .connection
                .prepare_cached(
                    "SELECT id, recipient, is_read, delivered_at FROM messages WHERE seq = ?1",
                )?
                .query_row([id.seq()], |row| row.try_into())
                .optional()?;
            let Some((_, to, is_read, delivered)) = found.filter(|found| found.0 == *id) else {
                continue;
            };
            if to == me && !is_read {
                self.mark_direct_read(id.seq(), me, delivered.0, at)?;
                marked += 1;
            } else if to == EVERYONE && self.mark_broadcast(id.seq(), &[me], |m| m.read(at))? > 0 {
                marked_broadcast = true;
                marked += 1;
            }
        }
        if marked_broadcast {
            self.keep_floor(me)?;
        }
        Ok(marked)
    }

    /// Marks a direct message read that was not.
    pub(super) fn mark_direct_read(
        &mut self,
        seq: Seq,
        recipient: u32,
        delivered_at: Option<Timestamp>,
        at: Timestamp,
    ) -> Outcome<()> {
        self.begin_write()?;
        self.connection
            .prepare_cached(
                "UPDATE messages SET is_read = 1, delivered_at = ?2, read_at = ?3 WHERE seq = ?1",
            )?
            .execute((seq, MarkTime(delivered_at.or(Some(at))), MarkTime(Some(at))))?;
        self.wrote();
        self.parties.add_unread(recipient, -1);
        self.tally.messages.unread -= 1;
        if delivered_at.is_none() {
            self.tally.messages.undelivered -= 1;
        }
        Ok(())
    }

    /// See [`crate::store::Store::mark_delivered`].
    pub(super) fn mark_delivered(
        &mut self,
        peer: PeerId,
        seqs: &[Seq],
        at: Timestamp,
    ) -> Outcome<()> {
        self.check_turn()?;
        let Some(me) = self.find_party(&Party::Peer(peer))? else { return Ok(()) };
        for &seq in seqs {
            self.begin_write()?;
            let changed = self
                .connection
                .prepare_cached(
                    "UPDATE messages SET delivered_at = ?3
                     WHERE seq = ?1 AND recipient = ?2 AND delivered_at = ?4",
                )?
                .execute((seq, me, MarkTime(Some(at)), NOT_YET))?;
            if changed > 0 {
                self.wrote();
                self.tally.messages.undelivered -= 1;
            } else {
                self.mark_broadcast(seq, &[me], |marks| marks.delivered(at))?;
            }
        }
        Ok(())
    }

    pub(super) fn mark_broadcast_delivered(
        &mut self,
        seq: Seq,
        peers: &[PeerId],
        at: Timestamp,
    ) -> Outcome<()> {
        self.check_turn()?;
        let mut parties = Vec::with_capacity(peers.len());
        for peer in peers {
            parties.extend(self.find_party(&Party::Peer(*peer))?);
        }
        self.mark_broadcast(seq, &parties, |marks| marks.delivered(at))?;
        Ok(())
    }

    /// See [`crate::store::Store::undelivered`].
    pub(super) fn undelivered(
        &mut self,
        peer: PeerId,
        after: Seq,
        limit: u32,
    ) -> Outcome<Vec<Message>> {
        let Some(me) = self.find_party(&Party::Peer(peer))? else { return Ok(Vec::new()) };
        let range = Range::ascending(Some(after), None);
        let broadcasts = Some(Walk::undelivered(self, me, range)?);
        let direct = vec![Source::One(Seqs::waiting(me, range, limit))];
        let mut merge = Merge { range, direct, broadcasts };
        let mut messages = Vec::new();
        while messages.len() < limit as usize
            && let Some(found) = merge.peek(self)?
        {
            messages.push(self.message_found(found.seq)?.message);
            merge.pop(found);
        }
        Ok(messages)
    }

    /// See [`crate::store::Store::unread_count`].
    pub(super) fn unread_count(&mut self, recipient: Recipient) -> Outcome<u64> {
        match self.find_party(&recipient.into())? {
            Some(me) => self.unread_of(me),
            None => Ok(0),
        }
    }

    /// How many unread messages a party has: counted once, then kept.
    pub(super) fn unread_of(&mut self, party: u32) -> Outcome<u64> {
        if let Some(unread) = self.parties.known(&self.connection, party)?.unread {
            return Ok(unread);
        }
        let mut unread = self
            .connection
            .prepare_cached(
                "SELECT count(*) FROM messages INDEXED BY messages_inbox
                 WHERE recipient = ?1 AND is_read = 0",
            )?
            .query_row([party], |row| row.get::<_, u32>(0).map(u64::from))?;
        if party != CLI {
            unread += Walk::unread(self, party, Range::ascending(None, None))?.count(self)?;
        }
        self.parties.known(&self.connection, party)?.unread = Some(unread);
        Ok(unread)
    }
}
