//! Receipts: what a sender learns of its messages after they were delivered. That their reader was
//! told of them, and that it has read them.

use serde::Serialize;

use super::Mesh;
use super::turn::{Caller, Failure};
use super::who::{Right, not_found};
use crate::api::Reply;
use crate::model::{MessageId, Notified, Now, Party, Recipient, Way, event_type};
use crate::store::{Receipt, Result as Stored, Store};

type Answer = std::result::Result<Reply, Failure>;

impl<S: Store> Mesh<S> {
    /// `POST /messages` with `markRead`
    pub(super) fn mark_read(
        &mut self,
        caller: Caller,
        peer: Option<&str>,
        ids: &[MessageId],
        way: Option<Way>,
        now: Now,
    ) -> Answer {
        let reader = self.reader(caller, peer, now)?;
        let receipts = self.store.mark_read(reader, ids, now.wall, way)?;
        let marked = receipts.len() as u64;
        self.was_read(reader, receipts, now)?;
        Ok(Reply::Marked { marked })
    }

    /// `POST /messages` with `markNotified`
    pub(super) fn mark_notified(
        &mut self,
        caller: Caller,
        peer: Option<&str>,
        ids: &[MessageId],
        way: Way,
        now: Now,
    ) -> Answer {
        let reader = self.reader(caller, peer, now)?;
        let notified = Notified { at: now.wall, by: way };
        let marked = self.store.mark_notified(reader, ids, notified)?;
        Ok(Reply::Marked { marked })
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
        if let Recipient::Peer(id) = reader
            && let Some(present) = self.peers.get_mut(&id)
        {
            for receipt in &receipts {
                present.claims.end(receipt.id.seq(), self.turn);
            }
        }
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
