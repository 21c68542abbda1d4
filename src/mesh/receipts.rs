//! Receipts: what a sender learns of its messages after they were delivered. That their reader was
//! told of them, and that it has read them.

use std::borrow::Cow;

use serde::Serialize;
use uuid::Uuid;

use super::Mesh;
use super::heard::News;
use super::turn::{Caller, Failure};
use super::who::{Right, not_found};
use crate::api::Reply;
use crate::model::{How, MessageId, Now, Party, Recipient, Seq, Way, event_type};
use crate::store::{Receipt, Result as Stored, Store, Telling};

/// Which messages are to be marked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marked<'a> {
    /// Whose.
    pub(super) peer: Option<&'a str>,
    /// Which.
    pub(super) ids: &'a [MessageId],
    /// Only those under this claim.
    pub(super) claim: Option<Uuid>,
}

type Answer = std::result::Result<Reply, Failure>;

impl<S: Store> Mesh<S> {
    /// `POST /messages` with `markRead`
    pub(super) fn mark_read(
        &mut self,
        caller: Caller,
        marked: Marked<'_>,
        way: Option<Way>,
        now: Now,
    ) -> Answer {
        let reader = self.reader(caller, marked.peer, now)?;
        let ids = self.under_claim(reader, marked);
        let receipts = self.store.mark_read(reader, &ids, now.wall, way)?;
        if let (Recipient::Peer(peer), Some(way)) = (reader, way.filter(|way| way.wakes())) {
            self.heard_of(peer, News::Told(way, How::Notified), now)?;
        }
        let marked = receipts.len() as u64;
        self.was_read(reader, receipts, now)?;
        Ok(Reply::Marked { marked })
    }

    /// `POST /messages` with `markNotified` or `markSent`
    pub(super) fn mark_told(
        &mut self,
        caller: Caller,
        marked: Marked<'_>,
        telling: Telling,
        now: Now,
    ) -> Answer {
        let reader = self.reader(caller, marked.peer, now)?;
        let ids = self.under_claim(reader, marked);
        let marked = self.store.mark_told(reader, &ids, telling)?;
        if let Recipient::Peer(peer) = reader {
            let news = match telling {
                Telling::Told(told) if told.by.wakes() => Some(News::Told(told.by, told.how)),
                Telling::Dropped(way) => Some(News::Failed(way)),
                Telling::Told(_) => None,
            };
            if let Some(news) = news {
                self.heard_of(peer, news, now)?;
            }
        }
        self.end_claims(reader, ids.iter().map(|id| id.seq()));
        if let (Telling::Dropped(_), Recipient::Peer(peer), 1..) = (telling, reader, marked) {
            self.wake(peer, now);
        }
        Ok(Reply::Marked { marked })
    }

    /// Which of the messages may be marked: of a claim those only that are under it.
    fn under_claim<'a>(&self, reader: Recipient, marked: Marked<'a>) -> Cow<'a, [MessageId]> {
        let (Some(claim), Recipient::Peer(id)) = (marked.claim, reader) else {
            return Cow::Borrowed(marked.ids);
        };
        let claims = self.peers.get(&id).map(|present| &present.claims);
        let under = |id: &MessageId| claims.is_some_and(|claims| claims.has(claim, id.seq()));
        marked.ids.iter().copied().filter(under).collect()
    }

    fn end_claims(&mut self, reader: Recipient, seqs: impl Iterator<Item = Seq>) {
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
        now: Now,
    ) -> std::result::Result<Recipient, Failure> {
        let actor = self.acting(caller, peer, "peerId", Right::Speak, now)?;
        actor.party.inbox().ok_or_else(|| not_found(&actor.name).into())
    }

    /// Messages have just become read: ends the claims on them, and tells their senders.
    pub(super) fn was_read(
        &mut self,
        reader: Recipient,
        mut receipts: Vec<Receipt>,
        now: Now,
    ) -> Stored<()> {
        self.end_claims(reader, receipts.iter().map(|receipt| receipt.id.seq()));
        let reader = Party::from(reader);
        receipts.sort_by(|a, b| a.from.cmp(&b.from));
        for of_sender in receipts.chunk_by(|a, b| a.from == b.from) {
            let Some(Receipt { from, .. }) = of_sender.first() else { continue };
            let payload = payload(of_sender, from, &reader);
            self.event(event_type::MESSAGE_READ, &payload, Some(&reader), now)?;
        }
        Ok(())
    }
}

fn payload(receipts: &[Receipt], from: &Party, reader: &Party) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a> {
        message_ids: Vec<MessageId>,
        from_peer: &'a Party,
        read_by: &'a Party,
    }
    let message_ids = receipts.iter().map(|receipt| receipt.id).collect();
    // Plain data into memory: cannot fail.
    serde_json::to_string(&Payload { message_ids, from_peer: from, read_by: reader })
        .unwrap_or_default()
}
