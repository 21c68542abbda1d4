//! Receipts: what a sender learns of its messages after they were delivered, namely that their reader
//! was told of them and has read them.

use std::borrow::Cow;

use uuid::Uuid;

use super::Mesh;
use super::heard::AgentNews;
use super::turn::{Caller, Failure, PushTarget, Replied};
use super::who::{Right, not_found};
use crate::api::{Fact, Pushed, Reply};
use crate::model::{How, MessageId, Party, PeerId, Recipient, Seq, Told, Way};
use crate::store::{Receipt, Result as Stored, Store, Telling};

/// Which messages are to be marked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marked<'a> {
    /// The reader.
    pub(super) peer: Option<&'a str>,
    pub(super) ids: &'a [MessageId],
    /// Only those under this claim.
    pub(super) claim: Option<Uuid>,
}

impl<S: Store> Mesh<S> {
    /// `POST /messages` with `markRead`
    pub(super) fn mark_read(
        &mut self,
        caller: Caller,
        marked: Marked<'_>,
        way: Option<Way>,
    ) -> Replied {
        let reader = self.reader(caller, marked.peer)?;
        let ids = self.under_claim(reader, marked, way)?;
        let receipts = self.store.mark_read(reader, &ids, self.now.wall, way)?;
        if let (Recipient::Peer(peer), Some(way)) = (reader, way.filter(|way| way.wakes())) {
            self.heard_of(peer, AgentNews::Told(way, How::Notified))?;
        }
        let marked = receipts.len() as u64;
        self.was_read(reader, receipts)?;
        if let (Recipient::Peer(peer), true, 1..) = (reader, way.is_some(), marked) {
            self.tell_unread(peer)?;
        }
        Ok(Reply::Marked { marked })
    }

    /// `POST /messages` with `markNotified` or `markSent`
    pub(super) fn mark_told(
        &mut self,
        caller: Caller,
        marked: Marked<'_>,
        telling: Telling,
    ) -> Replied {
        let reader = self.reader(caller, marked.peer)?;
        let (Telling::Told(Told { by, .. }) | Telling::Dropped(by)) = telling;
        let ids = self.under_claim(reader, marked, Some(by))?;
        if let Telling::Dropped(_) = telling {
            ids.iter().for_each(|id| self.is_untold(reader, *id));
        }
        let marked = self.store.mark_told(reader, &ids, telling)?;
        if let Recipient::Peer(peer) = reader {
            let news = match telling {
                Telling::Told(told) if told.by.wakes() => Some(AgentNews::Told(told.by, told.how)),
                Telling::Dropped(way) => Some(AgentNews::Failed(way)),
                Telling::Told(_) => None,
            };
            if let Some(news) = news {
                self.heard_of(peer, news)?;
            }
        }
        self.end_claims(reader, ids.iter().map(|id| id.seq()));
        match (telling, reader) {
            (Telling::Dropped(_), Recipient::Peer(peer)) if marked > 0 => self.wake(peer),
            (Telling::Told(told), Recipient::Peer(peer)) if told.how == How::Sent => {
                self.queued(peer, &ids, by);
                if told.whole && marked < ids.len() as u64 {
                    self.read_by_proof(peer, &ids, by)?;
                }
            }
            _ => {}
        }
        Ok(Reply::Marked { marked })
    }

    /// Marks messages read that were proven before it was known that their whole text had been told.
    fn read_by_proof(&mut self, peer: PeerId, ids: &[MessageId], by: Way) -> Stored<()> {
        let reader = Recipient::Peer(peer);
        let mut read = Vec::new();
        for id in ids {
            let message = self.got_message(reader, id.seq())?.filter(|it| it.id == *id);
            let told = message.and_then(|message| message.told);
            if told.is_some_and(|told| told.is_proven() && told.by == by) {
                read.push(*id);
            }
        }
        let receipts = self.store.mark_read(reader, &read, self.now.wall, Some(by))?;
        self.was_read(reader, receipts)
    }

    /// Which of the messages may be marked by this way: those under its claim or, if the claim has run
    /// out, those that no other way has told or is telling.
    fn under_claim<'a>(
        &mut self,
        reader: Recipient,
        marked: Marked<'a>,
        by: Option<Way>,
    ) -> Stored<Cow<'a, [MessageId]>> {
        let Some(claim) = marked.claim else { return Ok(Cow::Borrowed(marked.ids)) };
        if let Some(present) = reader.peer().and_then(|peer| self.peers.get_mut(&peer)) {
            present.claims.clean(self.turn, self.now.mono);
        }
        let mut ids = Vec::with_capacity(marked.ids.len());
        for id in marked.ids {
            let present = reader.peer().and_then(|peer| self.peers.get(&peer));
            let may = if let Some((of, _)) = present.and_then(|it| it.claims.on(id.seq())) {
                of == claim
            } else {
                let message = self.got_message(reader, id.seq())?;
                let told = message.and_then(|message| message.told);
                told.is_none_or(|told| Some(told.by) == by)
            };
            ids.extend(may.then_some(*id));
        }
        Ok(Cow::Owned(ids))
    }

    /// Tells a peer's server how many messages are unread, after its agent has read some by another way.
    pub(super) fn tell_unread(&mut self, peer: PeerId) -> Stored<()> {
        let unread = self.store.unread_count(Recipient::Peer(peer))?;
        self.push(PushTarget::One(peer), Pushed::Unread(unread));
        Ok(())
    }

    pub(super) fn end_claims(&mut self, reader: Recipient, seqs: impl Iterator<Item = Seq>) {
        if let Recipient::Peer(id) = reader
            && let Some(present) = self.peers.get_mut(&id)
        {
            for seq in seqs {
                present.claims.end(seq, self.turn);
            }
        }
    }

    /// Whose messages are marked.
    fn reader(
        &mut self,
        caller: Caller,
        peer: Option<&str>,
    ) -> std::result::Result<Recipient, Failure> {
        let actor = self.acting(caller, peer, "peerId", Right::Speak)?;
        actor.party.inbox().ok_or_else(|| not_found(&actor.name).into())
    }

    /// Messages have just become read: ends the claims on them, and tells their senders.
    pub(super) fn was_read(&mut self, reader: Recipient, receipts: Vec<Receipt>) -> Stored<()> {
        self.end_claims(reader, receipts.iter().map(|receipt| receipt.id.seq()));
        let reader = Party::from(reader);
        self.tell_senders(receipts, &reader, |from_peer, message_ids| Fact::MessageRead {
            message_ids,
            from_peer,
            read_by: reader.clone(),
        })
    }

    /// Tells each sender of these messages, by an event, what `reader` has caused.
    pub(super) fn tell_senders(
        &mut self,
        mut receipts: Vec<Receipt>,
        reader: &Party,
        fact: impl Fn(Party, Vec<MessageId>) -> Fact,
    ) -> Stored<()> {
        receipts.sort_by(|a, b| a.from.cmp(&b.from));
        for of_sender in receipts.chunk_by(|a, b| a.from == b.from) {
            let Some(Receipt { from, .. }) = of_sender.first() else { continue };
            let ids = of_sender.iter().map(|receipt| receipt.id).collect();
            self.event(fact(from.clone(), ids), Some(reader))?;
        }
        Ok(())
    }
}
