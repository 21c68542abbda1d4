//! Messages: storing, marking, finding again by id.

use rusqlite::{Connection, params};
use uuid::Uuid;

use super::care::lower;
use super::db::{Db, Fault, Outcome};
use super::parties::{EVERYONE, Parties, mailbox, mailbox_name};
use super::rows::{MarkTime, NO_WAY, NOT_YET, told_from_stored, told_to_stored};
use crate::model::{
    MachineName, Message, MessageId, Party, PeerId, Recipient, Seq, Timestamp, Way,
};
use crate::store::marks::MessageMarks;
use crate::store::{NewMessage, Receipt, Repeated, Telling, To};

/// A row of the table.
#[derive(Debug)]
pub(super) struct StoredMessage {
    /// As recipient and sender of a direct message see it; a broadcast without any marks.
    pub(super) message: Message,
    /// The number of the recipient.
    pub(super) recipient: u32,
}

/// To whom a message was sent.
#[derive(Debug)]
pub(super) struct Addressee {
    pub(super) to: Option<Party>,
    pub(super) name: Option<Box<str>>,
    /// The machine of the mailbox of that name.
    pub(super) host: Option<MachineName>,
    pub(super) group: Option<Box<str>>,
}

/// What the marking of a message depends on.
#[derive(Debug)]
struct MarkedMessage {
    sender: u32,
    recipient: u32,
    /// How it stands with its recipient; means nothing for a broadcast.
    marks: MessageMarks,
}

impl Addressee {
    /// The address of a message with this recipient.
    pub(super) fn new(
        connection: &Connection,
        parties: &mut Parties,
        recipient: u32,
        addressed: Option<Party>,
    ) -> Outcome<Self> {
        if recipient == EVERYONE {
            let group = addressed.map(|group| group.to_string().into());
            return Ok(Self { to: None, name: None, host: None, group });
        }
        let party = parties.party(connection, recipient)?;
        let Some((name, host)) = mailbox_name(&party) else {
            return Ok(Self { to: Some(party), name: None, host: None, group: None });
        };
        let to = addressed.unwrap_or_else(|| Party::Label(name.into()));
        Ok(Self { to: Some(to), name: Some(name.into()), host, group: None })
    }
}

impl Db {
    pub(super) fn send(&mut self, new: &NewMessage<'_>) -> Outcome<()> {
        self.begin_row(new.seq, new.created_at)?;
        let sender = self.intern(new.from)?;
        let mut addressed = None;
        let recipient = match new.to {
            To::One(recipient) => {
                let party = recipient.into();
                let number = self.intern(&party)?;
                let mailbox = self.parties.mailbox(&self.connection, number)?;
                addressed = mailbox.map(|_| party);
                mailbox.unwrap_or(number)
            }
            To::Name(name, host) => self.intern(&mailbox(name, host))?,
            To::Many(peers) | To::Group(_, peers) => {
                if let To::Group(name, _) = new.to {
                    addressed = Some(Party::Label(name.into()));
                }
                let parties: Outcome<Vec<u32>> =
                    peers.iter().map(|id| self.intern(&Party::Peer(*id))).collect();
                self.add_broadcast(new.seq, parties?)?;
                EVERYONE
            }
        };
        self.add_message(new, (sender, recipient), addressed.as_ref())
    }

    /// Stores the row of a new message between parties with these numbers. The list of a broadcast is
    /// stored already.
    pub(super) fn add_message(
        &mut self,
        new: &NewMessage<'_>,
        (sender, recipient): (u32, u32),
        addressed: Option<&Party>,
    ) -> Outcome<()> {
        let ordinal = self.tally.message_ordinal + 1;
        self.change(
            "INSERT INTO messages (seq, id, ordinal, sender, recipient, is_read, kind,
                created_at, delivered_at, notified_at, notified_by, read_at, reply_to,
                client_id, sender_name, payload, addressed)
             VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?8, ?8, ?9, ?8, ?10, ?11, ?12, ?13, ?14)",
            params![
                new.seq,
                new.id,
                ordinal,
                sender,
                recipient,
                new.kind,
                new.created_at,
                NOT_YET,
                NO_WAY,
                new.reply_to,
                new.client_id.map(Uuid::into_bytes),
                new.from_name,
                new.payload,
                addressed,
            ],
        )?;
        if let Some(id) = new.client_id {
            self.keep_client_id(sender, id, new.seq)?;
        }
        self.tally.message_ordinal = ordinal;
        self.tally.messages.total += 1;
        self.tally.messages.undelivered += 1;
        self.tally.messages.unread += 1;
        if recipient != EVERYONE {
            self.parties.add_unread_direct(recipient, 1);
        }
        Ok(())
    }

    /// The number of a party; a new one if it has none.
    pub(super) fn intern(&mut self, party: &Party) -> Outcome<u32> {
        self.parties.intern(&self.connection, party, self.tally.broadcast_seq)
    }

    /// The number of a party, if it has one.
    pub(super) fn find_party(&mut self, party: &Party) -> Outcome<Option<u32>> {
        self.parties.find(&self.connection, party)
    }

    /// Remembers what a client id was used for.
    pub(super) fn keep_client_id(&self, sender: u32, id: Uuid, seq: Seq) -> Outcome<()> {
        self.change(
            "INSERT OR REPLACE INTO client_ids (sender, client_id, seq) VALUES (?1, ?2, ?3)",
            (sender, id.into_bytes(), seq),
        )?;
        Ok(())
    }

    pub(super) fn client_id(&mut self, sender: &Party, id: Uuid) -> Outcome<Option<Repeated>> {
        let Some(sender) = self.find_party(sender)? else { return Ok(None) };
        let seq: Option<Seq> = self.row(
            "SELECT seq FROM client_ids WHERE sender = ?1 AND client_id = ?2",
            (sender, id.into_bytes()),
            |row| row.get(0),
        )?;
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
            "SELECT seq, id, sender, recipient, kind, created_at, delivered_at, notified_at,
                notified_by, read_at, reply_to, sender_name, payload, addressed
             FROM messages WHERE seq = ?1",
        )?;
        let mut rows = statement.query([seq])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let recipient = row.get(3)?;
        let MarkTime(delivered_at) = row.get(6)?;
        let MarkTime(read_at) = row.get(9)?;
        let Addressee { to, name, host, group } =
            Addressee::new(connection, parties, recipient, row.get(13)?)?;
        let message = Message {
            seq: row.get(0)?,
            id: row.get(1)?,
            from: parties.party(connection, row.get(2)?)?,
            from_name: row.get(11)?,
            to,
            to_name: name,
            to_host: host,
            to_group: group,
            kind: row.get(4)?,
            payload: row.get(12)?,
            reply_to: row.get(10)?,
            created_at: row.get(5)?,
            delivered_at,
            told: told_from_stored(row.get(7)?, row.get(8)?),
            read_at,
            reached: None,
        };
        Ok(Some(StoredMessage { message, recipient }))
    }

    /// The message with a number that was found in an index or a list.
    pub(super) fn message_found(&mut self, seq: Seq) -> Outcome<StoredMessage> {
        self.message(seq)?.ok_or_else(|| Fault::Damaged(format!("there is no message {seq}")))
    }

    /// A message as its sender sees it.
    pub(super) fn seen_by_sender(&self, stored: StoredMessage) -> Outcome<Message> {
        let mut message = stored.message;
        if stored.recipient == EVERYONE {
            message.reached = Some(self.reached(message.seq)?);
        }
        Ok(message)
    }

    pub(super) fn mark_read(
        &mut self,
        recipient: Recipient,
        ids: &[MessageId],
        at: Timestamp,
        way: Option<Way>,
    ) -> Outcome<Vec<Receipt>> {
        let read = self.mark_each(recipient, ids, |marks| marks.read(at, way))?;
        if read.iter().any(|(_, found)| found.recipient == EVERYONE)
            && let Some(me) = self.find_party(&recipient.into())?
        {
            self.keep_reading(me)?;
        }
        let receipt = |(id, found): (_, MarkedMessage)| {
            let from = self.parties.party(&self.connection, found.sender)?;
            Ok(Receipt { id, from })
        };
        read.into_iter().map(receipt).collect()
    }

    pub(super) fn mark_told(
        &mut self,
        recipient: Recipient,
        ids: &[MessageId],
        telling: Telling,
    ) -> Outcome<u64> {
        Ok(self.mark_each(recipient, ids, |marks| marks.told(telling))?.len() as u64)
    }

    /// Changes how messages stand with a recipient. Returns those that have changed, as they were
    /// before.
    fn mark_each(
        &mut self,
        recipient: Recipient,
        ids: &[MessageId],
        change: impl Fn(MessageMarks) -> MessageMarks,
    ) -> Outcome<Vec<(MessageId, MarkedMessage)>> {
        let mut changed = Vec::new();
        let Some(me) = self.find_party(&recipient.into())? else { return Ok(changed) };
        let mailbox = self.parties.mailbox(&self.connection, me)?;
        for id in ids {
            let Some(found) = self.marked(*id)? else { continue };
            let MarkedMessage { recipient, marks, .. } = found;
            let is_its_own = [Some(me), mailbox, Some(EVERYONE)].contains(&Some(recipient));
            if is_its_own && self.mark(me, id.seq(), (recipient, marks), &change)? {
                changed.push((*id, found));
            }
        }
        Ok(changed)
    }

    /// Changes how a message, stored for a recipient and so marked, stands with one of those that
    /// have it; returns whether that is a change.
    pub(super) fn mark(
        &mut self,
        me: u32,
        seq: Seq,
        (recipient, marks): (u32, MessageMarks),
        change: impl Fn(MessageMarks) -> MessageMarks,
    ) -> Outcome<bool> {
        if recipient == EVERYONE {
            Ok(self.mark_broadcast(seq, &[me], |_, marks| change(marks))? > 0)
        } else {
            self.mark_direct(seq, recipient, marks, change(marks))
        }
    }

    /// How the message with this id stands.
    fn marked(&self, id: MessageId) -> Outcome<Option<MarkedMessage>> {
        let sql = "SELECT sender, recipient, delivered_at, notified_at, notified_by, read_at
            FROM messages WHERE seq = ?1 AND id = ?2";
        self.row(sql, (id.seq(), id), |row| {
            let MarkTime(delivered_at) = row.get(2)?;
            let told = told_from_stored(row.get(3)?, row.get(4)?);
            let MarkTime(read_at) = row.get(5)?;
            let marks = MessageMarks { delivered_at, told, read_at };
            Ok(MarkedMessage { sender: row.get(0)?, recipient: row.get(1)?, marks })
        })
    }

    /// Changes how a direct message stands with its recipient; returns whether that is a change.
    pub(super) fn mark_direct(
        &mut self,
        seq: Seq,
        recipient: u32,
        old: MessageMarks,
        new: MessageMarks,
    ) -> Outcome<bool> {
        if new == old {
            return Ok(false);
        }
        let (told_at, told_how) = told_to_stored(new.told);
        let delivered_at = MarkTime(new.delivered_at);
        let read = old.read_at.is_none() && new.read_at.is_some();
        if read {
            self.write(
                "UPDATE messages SET is_read = 1, delivered_at = ?2, notified_at = ?3,
                    notified_by = ?4, read_at = ?5
                 WHERE seq = ?1",
                (seq, delivered_at, told_at, told_how, MarkTime(new.read_at)),
            )?;
        } else {
            // Setting `is_read`, even to what it is, would write its index.
            self.write(
                "UPDATE messages SET delivered_at = ?2, notified_at = ?3, notified_by = ?4
                 WHERE seq = ?1",
                (seq, delivered_at, told_at, told_how),
            )?;
        }
        if read {
            self.parties.add_unread_direct(recipient, -1);
            lower(&mut self.tally.messages.unread, 1);
        }
        if old.delivered_at.is_none() && new.delivered_at.is_some() {
            lower(&mut self.tally.messages.undelivered, 1);
        }
        Ok(true)
    }

    pub(super) fn mark_delivered(
        &mut self,
        peer: PeerId,
        seqs: &[Seq],
        at: Timestamp,
    ) -> Outcome<()> {
        let Some(me) = self.find_party(&Party::Peer(peer))? else { return Ok(()) };
        let mailbox = self.parties.mailbox(&self.connection, me)?;
        for &seq in seqs {
            let changed = self.write(
                "UPDATE messages SET delivered_at = ?3
                 WHERE seq = ?1 AND (recipient = ?2 OR recipient = ?5) AND delivered_at = ?4",
                (seq, me, MarkTime(Some(at)), NOT_YET, mailbox),
            )?;
            if changed > 0 {
                lower(&mut self.tally.messages.undelivered, 1);
            } else {
                self.mark_broadcast(seq, &[me], |_, marks| marks.delivered(at))?;
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
        let mut find = |peer: &PeerId| self.find_party(&Party::Peer(*peer)).transpose();
        let parties: Outcome<Vec<u32>> = peers.iter().filter_map(&mut find).collect();
        self.mark_broadcast(seq, &parties?, |_, marks| marks.delivered(at))?;
        Ok(())
    }

    pub(super) fn unread_count(&mut self, recipient: Recipient) -> Outcome<u64> {
        self.find_party(&recipient.into())?.map_or(Ok(0), |me| self.unread_of_all(me))
    }

    /// The same by the number of a recipient, with its mailbox.
    pub(super) fn unread_of_all(&mut self, me: u32) -> Outcome<u64> {
        self.boxes(me)?.map(|one| self.unread_of(one)).sum()
    }

    /// The numbers under which a recipient has direct messages: its own, and that of its mailbox.
    pub(super) fn boxes(&mut self, me: u32) -> Outcome<impl Iterator<Item = u32> + use<>> {
        Ok([me].into_iter().chain(self.parties.mailbox(&self.connection, me)?))
    }

    pub(super) fn unread_direct(&mut self, peer: PeerId, limit: u32) -> Outcome<Vec<Receipt>> {
        let Some(me) = self.find_party(&Party::Peer(peer))? else { return Ok(Vec::new()) };
        let sql = "SELECT id, sender FROM messages INDEXED BY messages_inbox
            WHERE recipient = ?1 AND is_read = 0 ORDER BY seq LIMIT ?2";
        let rows: Vec<(MessageId, u32)> = self.rows(sql, (me, limit), |row| row.try_into())?;
        let receipt =
            |(id, sender)| Ok(Receipt { id, from: self.parties.party(&self.connection, sender)? });
        rows.into_iter().map(receipt).collect()
    }

    /// How many unread messages a party has: counted once, then kept up to date.
    pub(super) fn unread_of(&mut self, party: u32) -> Outcome<u64> {
        let known = self.parties.known(&self.connection, party)?;
        let gets_broadcasts = known.party.peer().is_some();
        let direct = match known.unread_direct {
            Some(direct) => direct,
            None => self.count_unread_direct(party)?,
        };
        Ok(direct + if gets_broadcasts { self.unread_broadcasts_of(party)? } else { 0 })
    }

    fn count_unread_direct(&mut self, party: u32) -> Outcome<u64> {
        let sql = "SELECT count(*) FROM messages INDEXED BY messages_inbox
            WHERE recipient = ?1 AND is_read = 0";
        let unread = self.row(sql, [party], |row| row.get::<_, u32>(0))?.map_or(0, u64::from);
        self.parties.known(&self.connection, party)?.unread_direct = Some(unread);
        Ok(unread)
    }
}
