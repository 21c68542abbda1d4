//! Messages and events: storing, marking, finding again by id.

use std::ops::Bound;

use uuid::Uuid;

use super::Tables;
use super::rows::{MessagePlace, StoredEvent, StoredMessage};
use crate::model::{Event, Message, MessageId, Party, PeerId, Recipient, Seq, Timestamp, Way};
use crate::store::marks::MessageMarks;
use crate::store::{
    Counts, NewEvent, NewMessage, Receipt, Repeated, Result, StoreError, Telling, To, Waiting,
};

impl Tables {
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for message in self.messages.rows.values() {
            let marks = || message.recipients.values();
            counts.messages.total += 1;
            counts.messages.undelivered += u64::from(marks().any(|m| m.delivered_at.is_none()));
            counts.messages.unread += u64::from(marks().any(|m| m.read_at.is_none()));
        }
        counts.events = counts.messages.total + self.events.rows.len() as u64;
        counts.state_entries = self.state.rows.len() as u64;
        counts.locks = self.locks.rows.len() as u64;
        counts
    }

    pub(super) fn first_seq(&self) -> Result<Seq> {
        let message = self.messages.rows.keys().next();
        let event = self.events.rows.keys().next();
        let first = message.into_iter().chain(event).min();
        Ok(first.copied().unwrap_or_else(|| self.last_seq.next()))
    }

    /// To be called before a message or an event is stored.
    fn check_row(&self, seq: Seq) -> Result<()> {
        let last_message = self.messages.rows.keys().next_back();
        let last_event = self.events.rows.keys().next_back();
        if Some(&seq) > last_message.max(last_event) && seq <= self.last_seq {
            Ok(())
        } else {
            Err(StoreError::Failed(format!("the number {seq} is not fresh")))
        }
    }

    pub(super) fn send(&mut self, message: &NewMessage<'_>) -> Result<()> {
        self.check_row(message.seq)?;
        self.remember_client_id(Some(message.from), message.client_id, message.seq);
        let mailbox = match message.to {
            To::One(recipient) => self.mailbox_of(recipient),
            _ => None,
        };
        self.messages.put(message.seq, StoredMessage::new(message, mailbox));
        Ok(())
    }

    pub(super) fn append_event(&mut self, event: &NewEvent<'_>) -> Result<()> {
        self.check_row(event.seq)?;
        self.remember_client_id(event.emitted_by, event.client_id, event.seq);
        let stored = StoredEvent {
            event: Event {
                seq: event.seq,
                id: event.id,
                kind: event.kind.into(),
                payload: event.payload.into(),
                emitted_by: event.emitted_by.cloned(),
                created_at: event.created_at,
            },
            client_id: event.client_id,
        };
        self.events.put(event.seq, stored);
        Ok(())
    }

    fn remember_client_id(&mut self, sender: Option<&Party>, id: Option<Uuid>, seq: Seq) {
        if let (Some(sender), Some(id)) = (sender, id) {
            self.client_ids.put((sender.clone(), id), seq);
        }
    }

    pub(super) fn forget_client_id(&mut self, sender: Option<&Party>, id: Option<Uuid>, seq: Seq) {
        if let (Some(sender), Some(id)) = (sender, id) {
            let key = (sender.clone(), id);
            if self.client_ids.get(&key) == Some(&seq) {
                self.client_ids.remove(&key);
            }
        }
    }

    pub(super) fn client_id(&self, sender: &Party, client_id: Uuid) -> Result<Option<Repeated>> {
        let Some(seq) = self.client_ids.get(&(sender.clone(), client_id)) else { return Ok(None) };
        let message = self.messages.get(seq).map(StoredMessage::seen_by_sender);
        let event = self.events.get(seq).map(|row| row.event.clone());
        Ok(message
            .map(|message| Repeated::Message(Box::new(message)))
            .or_else(|| event.map(|event| Repeated::Event(Box::new(event)))))
    }

    pub(super) fn messages_between(
        &self,
        after: Option<Seq>,
        before: Option<Seq>,
    ) -> impl Iterator<Item = &StoredMessage> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.messages.rows.range((start, Bound::Unbounded));
        rows.take_while(move |(seq, _)| before.is_none_or(|before| **seq < before))
            .map(|(_, row)| row)
    }

    /// Changes how a message stands with a recipient. Returns whether that is a change.
    pub(super) fn mark(
        &mut self,
        recipient: Recipient,
        seq: Seq,
        change: impl Fn(MessageMarks) -> MessageMarks,
    ) -> bool {
        let places = self.places(recipient);
        self.messages.change(&seq, |message| {
            let mut of_all = message.recipients.iter_mut();
            if let Some((_, marks)) = of_all.find(|(place, _)| places.contains(place)) {
                *marks = change(*marks);
            }
        })
    }

    /// The same by its id; returns its receipt if that is a change.
    fn mark_id(
        &mut self,
        recipient: Recipient,
        id: MessageId,
        change: impl Fn(MessageMarks) -> MessageMarks,
    ) -> Option<Receipt> {
        let receipt = self.messages.get(&id.seq()).map(StoredMessage::receipt);
        receipt.filter(|it| it.id == id && self.mark(recipient, id.seq(), change))
    }

    pub(super) fn mark_read(
        &mut self,
        recipient: Recipient,
        ids: &[MessageId],
        at: Timestamp,
        way: Option<Way>,
    ) -> Result<Vec<Receipt>> {
        let mark = |id: &MessageId| self.mark_id(recipient, *id, |marks| marks.read(at, way));
        Ok(ids.iter().filter_map(mark).collect())
    }

    pub(super) fn mark_told(
        &mut self,
        recipient: Recipient,
        ids: &[MessageId],
        telling: Telling,
    ) -> Result<u64> {
        let mark = |id: &MessageId| self.mark_id(recipient, *id, |marks| marks.told(telling));
        Ok(ids.iter().filter_map(mark).count() as u64)
    }

    pub(super) fn mark_delivered(
        &mut self,
        peer: PeerId,
        seqs: &[Seq],
        at: Timestamp,
    ) -> Result<()> {
        for seq in seqs {
            self.mark(Recipient::Peer(peer), *seq, |marks| marks.delivered(at));
        }
        Ok(())
    }

    pub(super) fn mark_broadcast_delivered(
        &mut self,
        seq: Seq,
        peers: &[PeerId],
        at: Timestamp,
    ) -> Result<()> {
        peers.iter().try_for_each(|peer| self.mark_delivered(*peer, &[seq], at))
    }

    /// Nothing is gained by it here, but a wrong one is found out.
    pub(super) fn delivered_to(&mut self, peer: PeerId, seq: Seq) -> Result<()> {
        match self.undelivered(peer, Seq(0), 1)?.messages.first() {
            Some(message) if message.seq <= seq => Err(StoreError::Failed(format!(
                "message {} to {peer} is not delivered, though all up to {seq} should be",
                message.seq
            ))),
            _ => Ok(()),
        }
    }

    pub(super) fn undelivered(&self, peer: PeerId, after: Seq, limit: u32) -> Result<Waiting> {
        let places = self.places(Recipient::Peer(peer));
        let rows = self.messages_between(Some(after), None).filter_map(|row| {
            let marks = row.marks_in(&places)?;
            marks.delivered_at.is_none().then(|| marks.put_on(row.message.clone()))
        });
        let messages: Vec<Message> = rows.take(limit as usize).collect();
        let full = messages.len() >= limit as usize;
        let next = messages.last().filter(|_| full).map(|message| message.seq);
        Ok(Waiting { messages, next })
    }

    pub(super) fn unread_direct(&self, peer: PeerId, limit: u32) -> Result<Vec<Receipt>> {
        let place = MessagePlace::of_peer(peer);
        let unread = |row: &&StoredMessage| {
            let marks = row.recipients.get(&place).filter(|_| !row.is_broadcast());
            marks.is_some_and(|marks| marks.read_at.is_none())
        };
        let rows = self.messages.rows.values().filter(unread);
        Ok(rows.take(limit as usize).map(StoredMessage::receipt).collect())
    }

    pub(super) fn unread_count(&self, recipient: Recipient) -> Result<u64> {
        let places = self.places(recipient);
        let marks = self.messages.rows.values().filter_map(|row| row.marks_in(&places));
        Ok(marks.filter(|marks| marks.read_at.is_none()).count() as u64)
    }
}
