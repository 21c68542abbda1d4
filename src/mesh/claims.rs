//! Claims: messages that one way is telling a peer's agent of at this moment, so that no other does.
//!
//! Hooks, the peer's server and what waits beside the agent run side by side, and none knows of the
//! others. Whoever has something to tell gets it under a claim, tells it, and marks it: that ends the
//! claim. One that dies first leaves a claim that runs out. Nothing of this is stored: after a restart
//! of the broker nothing is claimed, and what was being told then may be told twice.

use uuid::Uuid;

use super::Mesh;
use super::heard::AgentNews;
use super::turn::{Caller, Failure, Replied};
use super::who::{Right, not_found};
use crate::api::Reply;
use crate::limits::{CLAIM_TIME, CLAIMED_MAX};
use crate::model::{Message, Monotonic, PeerId, Seq, Way};
use crate::store::Store;

/// A message under a claim.
#[derive(Clone, Copy, Debug)]
struct ClaimedMessage {
    claim: Uuid,
    by: Way,
    seq: Seq,
    until: Monotonic,
    /// The turn that made it: if that does not commit, nobody was given the message.
    made: u64,
    /// The turn in which the message was read: if that does not commit, it is still claimed.
    ended: Option<u64>,
}

/// The messages of a peer that are under a claim, by number.
#[derive(Debug, Default)]
pub(super) struct Claims(Vec<ClaimedMessage>);

impl Claims {
    /// Forgets what is over for good; `turn` is the one that may still be aborted.
    pub(super) fn clean(&mut self, turn: u64, now: Monotonic) {
        self.0.retain(|claimed| {
            claimed.until > now && claimed.ended.is_none_or(|ended| ended == turn)
        });
    }

    /// What is claimed, once [`Self::clean`] has been called.
    pub(super) fn live(&self) -> Vec<Seq> {
        self.0.iter().filter(|claimed| claimed.ended.is_none()).map(|claimed| claimed.seq).collect()
    }

    /// When the first of them runs out.
    pub(super) fn next_end(&self) -> Option<Monotonic> {
        self.0.iter().filter(|claimed| claimed.ended.is_none()).map(|claimed| claimed.until).min()
    }

    /// Claims messages that are not.
    pub(super) fn make(
        &mut self,
        (claim, by): (Uuid, Way),
        messages: &[Message],
        until: Monotonic,
        turn: u64,
    ) {
        self.0.extend(messages.iter().map(|message| ClaimedMessage {
            claim,
            by,
            seq: message.seq,
            until,
            made: turn,
            ended: None,
        }));
        self.0.sort_by_key(|claimed| claimed.seq);
    }

    /// The claim that a message is under, and who has made it.
    pub(super) fn on(&self, seq: Seq) -> Option<(Uuid, Way)> {
        let claimed = self.with(seq).find(|claimed| claimed.ended.is_none())?;
        Some((claimed.claim, claimed.by))
    }

    fn with(&self, seq: Seq) -> impl Iterator<Item = &ClaimedMessage> {
        let start = self.0.partition_point(|claimed| claimed.seq < seq);
        self.0.iter().skip(start).take_while(move |claimed| claimed.seq == seq)
    }

    /// The message is under no claim any more, since `turn`.
    pub(super) fn end(&mut self, seq: Seq, turn: u64) {
        let start = self.0.partition_point(|claimed| claimed.seq < seq);
        for claimed in self.0.iter_mut().skip(start).take_while(|claimed| claimed.seq == seq) {
            claimed.ended.get_or_insert(turn);
        }
    }

    /// What is under a claim.
    fn under(&mut self, claim: Uuid) -> impl Iterator<Item = &mut ClaimedMessage> {
        self.0.iter_mut().filter(move |one| one.claim == claim && one.ended.is_none())
    }

    /// Prolongs a claim; gives how many messages are under it.
    fn renew(&mut self, claim: Uuid, until: Monotonic) -> u64 {
        let mut claimed = 0;
        for one in self.under(claim) {
            one.until = until;
            claimed += 1;
        }
        claimed
    }

    /// Ends a claim in `turn`; gives how many messages were under it, and who had made it.
    fn release(&mut self, claim: Uuid, turn: u64) -> (u64, Option<Way>) {
        let (mut claimed, mut by) = (0, None);
        for one in self.under(claim) {
            one.ended = Some(turn);
            claimed += 1;
            by = Some(one.by);
        }
        (claimed, by)
    }

    /// Takes back what `turn` did.
    pub(super) fn abort(&mut self, turn: u64) {
        self.0.retain(|claimed| claimed.made != turn);
        for claimed in &mut self.0 {
            claimed.ended = claimed.ended.filter(|ended| *ended != turn);
        }
    }

    pub(super) fn check(&self, peer: PeerId, now: Monotonic) {
        let live = self.live();
        assert!(live.is_sorted_by(|a, b| a < b), "a message of {peer} is under one claim");
        let timely = self.0.iter().all(|claimed| claimed.until <= now.plus(CLAIM_TIME));
        assert!(timely, "a claim of {peer} lasts too long");
        assert!(live.len() <= CLAIMED_MAX as usize, "claims of {peer} are bounded");
    }
}

impl<S: Store> Mesh<S> {
    /// `POST /messages` with `renew`
    pub(super) fn renew_claim(
        &mut self,
        caller: Caller,
        peer: Option<&str>,
        claim: Uuid,
    ) -> Replied {
        let until = self.now.mono.plus(CLAIM_TIME);
        let (_, claims) = self.claims_of(caller, peer)?;
        Ok(Reply::Claim { claimed: claims.renew(claim, until) })
    }

    /// `POST /messages` with `release`
    pub(super) fn release_claim(
        &mut self,
        caller: Caller,
        peer: Option<&str>,
        claim: Uuid,
    ) -> Replied {
        let turn = self.turn;
        let (id, claims) = self.claims_of(caller, peer)?;
        let (claimed, by) = claims.release(claim, turn);
        if claimed > 0 {
            self.wake(id);
        }
        if let Some(way) = by.filter(|way| way.wakes()) {
            self.heard_of(id, AgentNews::Failed(way))?;
        }
        Ok(Reply::Claim { claimed })
    }

    /// The claims on the messages of a peer for which `caller` may speak.
    fn claims_of(
        &mut self,
        caller: Caller,
        peer: Option<&str>,
    ) -> Result<(PeerId, &mut Claims), Failure> {
        let turn = self.turn;
        let id = self.acting_peer(caller, peer, Right::Speak)?;
        let Some(present) = self.peers.get_mut(&id) else { return Err(not_found("").into()) };
        present.claims.clean(turn, self.now.mono);
        Ok((id, &mut present.claims))
    }
}
