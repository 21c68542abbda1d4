//! Claims: messages that a hook of the agent is giving to it, so that no other hook of the same
//! agent does so, too.
//!
//! Hooks of one agent run side by side, and none knows of the others. One that has messages to give
//! gets them under a claim, and marks them read when its agent has them: that ends the claim. One
//! that dies first leaves a claim that runs out. Nothing of this is stored: after a restart of the
//! broker nothing is claimed, and what was being given out then may be given twice.

use super::Mesh;
use super::messages::listed;
use super::turn::{Caller, Failure};
use super::who::{Right, not_found};
use crate::api::{Budget, Claim, Fetch, Reply, message_size};
use crate::limits::{CLAIM_TIME, CLAIMED_MAX};
use crate::model::{Message, Monotonic, Now, PeerId, Recipient, Seq};
use crate::store::{InboxQuery, Store};

/// A message under a claim.
#[derive(Clone, Copy, Debug)]
struct Claimed {
    seq: Seq,
    until: Monotonic,
    /// The turn that made it: if that does not commit, nobody was given the message.
    made: u64,
    /// The turn in which the message was read: if that does not commit, it is still claimed.
    ended: Option<u64>,
}

/// The messages of a peer that are under a claim, by number.
#[derive(Debug, Default)]
pub(super) struct Claims(Vec<Claimed>);

impl Claims {
    /// Forgets what is over for good; `turn` is the one that may still be aborted.
    fn clean(&mut self, turn: u64, now: Monotonic) {
        self.0.retain(|claimed| {
            claimed.until > now && claimed.ended.is_none_or(|ended| ended == turn)
        });
    }

    /// What is claimed, once [`Self::clean`] has been called.
    fn live(&self) -> Vec<Seq> {
        self.0.iter().filter(|claimed| claimed.ended.is_none()).map(|claimed| claimed.seq).collect()
    }

    /// Claims messages that are not.
    fn make(&mut self, messages: &[Message], until: Monotonic, turn: u64) {
        let claimed =
            |message: &Message| Claimed { seq: message.seq, until, made: turn, ended: None };
        self.0.extend(messages.iter().map(claimed));
        self.0.sort_unstable_by_key(|claimed| claimed.seq);
    }

    /// The message was read in `turn`.
    pub(super) fn end(&mut self, seq: Seq, turn: u64) {
        if let Ok(at) = self.0.binary_search_by_key(&seq, |claimed| claimed.seq)
            && let Some(claimed) = self.0.get_mut(at)
        {
            claimed.ended.get_or_insert(turn);
        }
    }

    /// Takes back what `turn` did.
    pub(super) fn abort(&mut self, turn: u64) {
        self.0.retain(|claimed| claimed.made != turn);
        for claimed in &mut self.0 {
            claimed.ended = claimed.ended.filter(|ended| *ended != turn);
        }
    }

    pub(super) fn check(&self, peer: PeerId, now: Monotonic) {
        let in_order = self.0.iter().zip(self.0.iter().skip(1)).all(|(a, b)| a.seq < b.seq);
        assert!(in_order, "a message of {peer} is under one claim");
        let timely = self.0.iter().all(|claimed| claimed.until <= now.plus(CLAIM_TIME));
        assert!(timely, "a claim of {peer} lasts too long");
        assert!(self.0.len() <= 2 * CLAIMED_MAX as usize, "claims of {peer} are bounded");
    }
}

impl<S: Store> Mesh<S> {
    /// `POST /messages` with `claim`
    pub(super) fn claim(
        &mut self,
        caller: Caller,
        claim: &Claim,
        now: Now,
    ) -> Result<Reply, Failure> {
        let id = self.acting_peer(caller, claim.peer_id.as_deref(), Right::Speak, now)?;
        let Some(present) = self.peers.get_mut(&id) else { return Err(not_found("").into()) };
        present.has_hooks = true;
        present.claims.clean(self.turn, now.mono);
        let claimed = present.claims.live();
        let room = CLAIMED_MAX.saturating_sub(u32::try_from(claimed.len()).unwrap_or(u32::MAX));
        let mut budget = Budget::default();
        let mut keep = |message: &Message| budget.admits(message_size(message));
        let query = InboxQuery {
            recipient: Recipient::Peer(id),
            unread_only: true,
            from: None,
            before: None,
            after: None,
            but: &claimed,
            limit: claim.limit.unwrap_or(Fetch::DEFAULT_LIMIT).min(room),
        };
        let page = self.store.inbox(&query, None, &mut keep)?;
        present.claims.make(&page.messages, now.mono.plus(CLAIM_TIME), self.turn);
        Ok(listed(page))
    }
}
