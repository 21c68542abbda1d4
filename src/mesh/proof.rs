//! Proof: whether what was handed to a queue of an agent's own has come before the agent.
//!
//! Its program may hold a message, delay or drop it, and says nothing. A prompt that is made of the
//! message proves it, which a hook sees. Prompts that come without it tell that it was dropped.

use std::collections::BTreeMap;

use super::Mesh;
use super::heard::AgentNews;
use crate::limits::{UNPROVEN_MAX, UNPROVEN_PROMPTS};
use crate::model::{Handle, How, Message, MessageId, PeerId, Recipient, Seq, Told, Way};
use crate::store::{InboxQuery, Result, Store, Telling};

/// Messages looked at in one step.
const STEP: u32 = 20;
/// Most unread messages that are looked at for what is in a queue.
const LOOK_MAX: u32 = 1000;

/// A message in a queue of the agent's own.
#[derive(Clone, Copy, Debug)]
struct Unproven {
    id: MessageId,
    by: Way,
    /// Prompts that came without it.
    prompts: u8,
}

/// The messages of a peer that are in a queue of its agent.
#[derive(Debug, Default)]
pub(super) struct Queued {
    messages: BTreeMap<Seq, Unproven>,
    /// The store was asked for those from before.
    known: bool,
}

impl Queued {
    fn insert(&mut self, id: MessageId, by: Way) {
        self.messages.insert(id.seq(), Unproven { id, by, prompts: 0 });
        if self.messages.len() > UNPROVEN_MAX {
            self.messages.pop_first();
        }
    }

    /// A turn has failed: what it had changed is asked of the store again.
    pub(super) fn abort(&mut self) {
        self.known = false;
    }

    /// A prompt has come, made of `proven`. Gives those that were dropped.
    fn prompted(&mut self, proven: &[MessageId]) -> Vec<(MessageId, Way)> {
        for id in proven {
            self.messages.remove(&id.seq());
        }
        // What was sent after one that has just come may be on its way still.
        let newest = proven.iter().map(|id| id.seq()).max();
        let mut dropped = Vec::new();
        self.messages.retain(|seq, message| {
            if newest.is_some_and(|newest| *seq > newest) {
                return true;
            }
            message.prompts += 1;
            let stays = message.prompts < UNPROVEN_PROMPTS;
            if !stays {
                dropped.push((message.id, message.by));
            }
            stays
        });
        dropped
    }
}

impl<S: Store> Mesh<S> {
    /// A prompt has come to a peer's agent, with these handles at its beginnings. Gives the messages
    /// that have come with it.
    pub(super) fn prompted(&mut self, peer: PeerId, handles: &[Handle]) -> Result<Vec<MessageId>> {
        let reader = Recipient::Peer(peer);
        self.know_queued(peer)?;
        let mut proven = Vec::new();
        let mut receipts = Vec::new();
        for handle in handles {
            let Some(seq) = handle.seq(self.store.last_seq()) else { continue };
            let Some(message) = self.got_message(reader, seq)? else { continue };
            let Some(told) = self.being_told(peer, &message) else { continue };
            if told.whole {
                let (ids, way) = ([message.id], Some(told.by));
                receipts.append(&mut self.store.mark_read(reader, &ids, self.now.wall, way)?);
            } else {
                let told = Told { at: self.now.wall, how: How::Notified, ..told };
                self.store.mark_told(reader, &[message.id], Telling::Told(told))?;
            }
            self.heard_of(peer, AgentNews::Told(told.by, How::Notified))?;
            proven.push(message.id);
        }
        self.end_claims(reader, proven.iter().map(|id| id.seq()));
        let read = !receipts.is_empty();
        self.was_read(reader, receipts)?;
        if read {
            self.tell_unread(peer)?;
        }
        let queued = self.peers.get_mut(&peer).map(|present| &mut present.queued);
        let dropped = queued.map(|queued| queued.prompted(&proven)).unwrap_or_default();
        let mut again = 0;
        for (id, by) in dropped {
            self.is_untold(reader, id);
            again += self.store.mark_told(reader, &[id], Telling::Dropped(by))?;
        }
        if again > 0 {
            self.wake(peer);
        }
        Ok(proven)
    }

    /// How a message is on its way to a peer's agent: it is in a queue, or is just being put there.
    fn being_told(&self, peer: PeerId, message: &Message) -> Option<Told> {
        if message.read_at.is_some() {
            return None;
        }
        if let Some(told) = message.told {
            return matches!(told.how, How::Sent | How::Held).then_some(told);
        }
        let present = self.peers.get(&peer)?;
        let by = present.claims.on(message.seq).map(|(_, by)| by).filter(|by| by.wakes())?;
        Some(Told { at: message.created_at, by, how: How::Sent, whole: false })
    }

    /// A message was handed to a queue of a peer's agent.
    pub(super) fn queued(&mut self, peer: PeerId, ids: &[MessageId], by: Way) {
        if let Some(present) = self.peers.get_mut(&peer).filter(|_| is_queue(by)) {
            for id in ids {
                present.queued.insert(*id, by);
            }
        }
    }

    /// Finds out once what was put into queues before this broker started.
    fn know_queued(&mut self, peer: PeerId) -> Result<()> {
        if self.peers.get(&peer).is_none_or(|present| present.queued.known) {
            return Ok(());
        }
        let unproven = self.unproven(Recipient::Peer(peer))?;
        let Some(present) = self.peers.get_mut(&peer) else { return Ok(()) };
        present.queued.known = true;
        for (id, told) in unproven {
            let is_new = !present.queued.messages.contains_key(&id.seq());
            if is_new && told.how == How::Sent && is_queue(told.by) {
                present.queued.insert(id, told.by);
            }
        }
        Ok(())
    }

    /// What was handed to the queue of an agent that is gone may be told again.
    pub(super) fn forget_queued(&mut self, peer: PeerId) -> Result<()> {
        if let Some(present) = self.peers.get_mut(&peer) {
            present.queued = Queued::default();
        }
        self.drop_unproven(peer, &[])
    }

    /// What was handed to a queue may be told again, except for these messages.
    pub(super) fn drop_unproven(&mut self, peer: PeerId, but: &[(MessageId, Told)]) -> Result<()> {
        let reader = Recipient::Peer(peer);
        for (id, told) in self.unproven(reader)? {
            if but.iter().any(|(own, _)| *own == id) {
                continue;
            }
            self.is_untold(reader, id);
            self.store.mark_told(reader, &[id], Telling::Dropped(told.by))?;
            self.effects.inboxes.push(reader);
        }
        Ok(())
    }

    /// The oldest messages that a recipient is told of without proof, and has not read.
    pub(super) fn unproven(&mut self, recipient: Recipient) -> Result<Vec<(MessageId, Told)>> {
        let mut unproven = Vec::new();
        let (mut looked, mut after) = (0, None);
        while looked < LOOK_MAX {
            let all = InboxQuery::of(recipient, STEP);
            let query = InboxQuery { unread_only: true, after, ..all };
            let messages = self.store.inbox(&query, None, &mut |_| true)?.messages;
            let Some(last) = messages.last() else { break };
            after = Some(last.seq);
            looked += STEP;
            unproven.extend(messages.iter().filter_map(|message| {
                let told = message.told.filter(|told| !told.is_proven())?;
                Some((message.id, told))
            }));
        }
        Ok(unproven)
    }
}

/// Whether what this way has handed over comes to the agent as a prompt of its own.
fn is_queue(by: Way) -> bool {
    matches!(by, Way::InboxSocket | Way::Queue)
}
