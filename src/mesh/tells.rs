//! Which messages a claim is given: those that may be told to an agent now, by the way that asks.
//!
//! One set of rules for all ways, so that no message is told by two. In a turn the agent's hooks tell
//! it, since that costs nothing; otherwise what wakes it. Broadcasts wait for more of them before they
//! wake anyone, and keep no agent from ending its turn.

use std::time::Duration;

use uuid::{Builder, Uuid};

use super::Mesh;
use super::heard::AgentNews;
use super::turn::{AskedAgain, Caller, Handled, Interest, Outcome, PushTarget};
use super::waiters::is_beside;
use super::who::{Right, not_found};
use crate::api::{Budget, Claim, Claimed, Code, Fetch, Pushed, Refusal, Reply, message_size};
use crate::limits::{CLAIM_TIME, CLAIMED_MAX, CLAIMS_HELD_MAX, DIGEST_TIME};
use crate::model::{
    Message, MessageId, MessageKind, Moment, Monotonic, Now, Party, PeerId, Recipient, Seq, Way,
    reach,
};
use crate::store::{InboxQuery, Page, Result as Stored, Store};

/// What there is for a claim.
#[derive(Debug, Default)]
struct Given {
    messages: Vec<Message>,
    /// How many more there are that nobody has told or claimed.
    remaining: u64,
    /// When it is worth asking again, if something may be told then for certain. With messages: when the
    /// claim of another way runs out, which may have died.
    again: Option<Monotonic>,
}

impl<S: Store> Mesh<S> {
    /// `POST /messages` with `claim`
    pub(super) fn claim(
        &mut self,
        caller: Caller,
        claim: &Claim,
        held: Option<AskedAgain>,
    ) -> Handled {
        let place = match held.map(|held| held.on) {
            Some(Interest::Claim { peer, place, until }) => Some((peer, place, until)),
            _ => None,
        };
        let id = match place {
            Some((peer, ..)) => peer,
            None => self.acting_peer(caller, claim.peer_id.as_deref(), Right::Speak)?,
        };
        let Some(present) = self.peers.get_mut(&id) else { return Err(not_found("").into()) };
        let hung_up = held.is_some_and(|held| held.hung_up);
        if claim.wait > 0 && place.is_none() && !present.waiters.has_room(self.now.mono) {
            return Err(too_many_wait().into());
        }
        let mut proven = Vec::new();
        if place.is_none() {
            present.waiters.heard(claim.by, self.now.mono);
            // A plugin may say where its agent is, too.
            if claim.by == Way::Hook || claim.moment.is_some() {
                present.turn.heard(claim.moment, self.now.mono);
            }
            if claim.by == Way::Hook {
                self.heard_of(id, AgentNews::Hook(claim.moment))?;
            }
            if claim.moment == Some(Moment::Prompt) {
                proven = self.prompted(id, &claim.proof)?;
            }
        }
        let given = if hung_up { Given::default() } else { self.give(id, claim)? };
        if place.is_none()
            && matches!(claim.moment, Some(Moment::Stop | Moment::End))
            && given.messages.is_empty()
            && given.remaining > 0
        {
            self.wake(id);
        }
        if given.messages.is_empty() && claim.wait > 0 && !hung_up {
            let whole = || self.now.mono.plus(Duration::from_secs(claim.wait));
            let until = place.map_or_else(whole, |(_, _, until)| until);
            if self.now.mono < until
                && let Some(place) = self.wait(id, place.map(|it| it.1), (claim.by, until))
            {
                let again = given.again.map_or(until, |again| again.min(until));
                return Ok(Outcome::Hold {
                    on: Interest::Claim { peer: id, place, until },
                    until: again,
                });
            }
        }
        if let Some((peer, place, _)) = place {
            self.withdraw_claim(peer, place);
        }
        let claim_id = self.note_given(id, claim, &given.messages)?;
        Ok(Outcome::Reply(Reply::Claimed(Claimed {
            messages: self.listed(given.messages),
            remaining: given.remaining,
            claim_id,
            // Rounded up and never zero, so that nobody asks too early in vain. Whoever waits may wait
            // again at once, and would miss what comes in the meantime.
            defer_ms: given.again.filter(|_| claim.wait == 0).map(|again| {
                let nanos = again.since(self.now.mono).as_nanos();
                u64::try_from(nanos.div_ceil(1_000_000).max(1)).unwrap_or(u64::MAX)
            }),
            proven,
        })))
    }

    fn wait(&mut self, id: PeerId, place: Option<usize>, whose: (Way, Monotonic)) -> Option<usize> {
        let present = self.peers.get_mut(&id)?;
        present.waiters.wait(place, whose, self.turn, self.now.mono)
    }

    /// A claim is not held any more.
    pub fn withdraw_claim(&mut self, peer: PeerId, place: usize) {
        if let Some(present) = self.peers.get_mut(&peer) {
            present.waiters.end(place);
        }
    }

    /// Notes that the messages are handed out now. Gives their claim.
    fn note_given(
        &mut self,
        id: PeerId,
        claim: &Claim,
        messages: &[Message],
    ) -> Stored<Option<Uuid>> {
        if messages.is_empty() {
            return Ok(None);
        }
        if wakes(claim) {
            self.woken(id, messages)?;
        }
        if claim.by.wakes() {
            self.heard_of(id, AgentNews::Wakes(claim.by))?;
        }
        let claim_id = Builder::from_random_bytes(self.random()).into_uuid();
        let (turn, until) = (self.turn, self.now.mono.plus(CLAIM_TIME));
        let Some(present) = self.peers.get_mut(&id) else { return Ok(None) };
        present.claims.make((claim_id, claim.by), messages, until, turn);
        if claim.moment == Some(Moment::Stop) {
            present.turn.goes_on();
        }
        Ok(Some(claim_id))
    }

    /// What may be told to a peer's agent now by whoever makes this claim.
    fn give(&mut self, id: PeerId, claim: &Claim) -> Stored<Given> {
        let turn = self.turn;
        let Some(present) = self.peers.get_mut(&id) else { return Ok(Given::default()) };
        present.claims.clean(turn, self.now.mono);
        let claimed = present.claims.live();
        let claim_ends = present.claims.next_end();
        let (closed, opens) = present.closed_to(claim, self.now);
        let room = CLAIMED_MAX.saturating_sub(u32::try_from(claimed.len()).unwrap_or(u32::MAX));
        let limit = claim.limit.unwrap_or(Fetch::DEFAULT_LIMIT).min(room);
        let damps = wakes(claim) && self.loops.damps(id, self.now.mono);
        let look = match (closed, damps) {
            // Whether there is anything.
            (true, _) => 1,
            // What is damped is left out, but not what comes after it.
            (false, true) => room.max(1),
            // Enough to see whether something among them cannot wait.
            (false, false) => limit.max(Fetch::DEFAULT_LIMIT).min(room).max(1),
        };
        let page = self.untold(id, &claimed, look)?;
        let found = page.messages.len() as u64 + page.remaining;
        if closed {
            // What is under a claim may have to be told by then as well.
            let again = opens.filter(|_| found > 0 || claim_ends.is_some());
            return Ok(Given { messages: Vec::new(), remaining: found, again });
        }
        // Whoever has a claim may have died, and then nobody would say so.
        let sooner = |again: Option<Monotonic>| again.into_iter().chain(claim_ends).min();
        if found == 0 {
            self.digested(id, claim_ends.is_none());
            return Ok(Given { again: claim_ends, ..Given::default() });
        }
        let mut messages = page.messages;
        if damps {
            let wait = self.leave_what_wakes(id, &mut messages);
            if messages.is_empty() {
                let again = sooner(wait.map(|wait| self.now.mono.plus(wait)));
                return Ok(Given { messages, remaining: found, again });
            }
        }
        let more = page.remaining > 0;
        let (waits, again) = self.must_wait(id, claim, (&messages, more))?;
        if waits {
            return Ok(Given { messages: Vec::new(), remaining: found, again: sooner(again) });
        }
        messages.truncate(limit as usize);
        self.digested(id, limit > 0);
        let remaining = found - messages.len() as u64;
        Ok(Given { messages, remaining, again: claim_ends })
    }

    /// Whether messages have to wait because nothing among them is for this peer alone; and until when,
    /// if that is known.
    fn must_wait(
        &mut self,
        id: PeerId,
        claim: &Claim,
        (messages, more): (&[Message], bool),
    ) -> Stored<(bool, Option<Monotonic>)> {
        if !wakes(claim) {
            return Ok((false, None));
        }
        for message in messages {
            if self.is_direct(id, message)? {
                return Ok((false, None));
            }
        }
        // A claim that waits does not keep its agent from anything.
        if claim.moment == Some(Moment::Stop) && claim.wait == 0 {
            return Ok((true, None));
        }
        let due = self.peers.get(&id).and_then(|present| present.digest_due);
        let due = due.filter(|due| self.now.mono < *due && !more);
        Ok((due.is_some(), due))
    }

    /// The oldest messages of a peer that nobody has told, and that are not under a claim.
    ///
    /// Messages that were told and not read are passed over, and there may be many where nothing proves
    /// that they have come. So it is remembered up to where there are no others.
    fn untold(&mut self, id: PeerId, claimed: &[Seq], limit: u32) -> Stored<Page> {
        let told_to = self.peers.get(&id).map(|present| present.told_to).unwrap_or_default();
        let mut budget = Budget::of(self.reply_bytes);
        let query = InboxQuery {
            unread_only: true,
            after: Some(told_to),
            untold_only: true,
            but: claimed,
            ..InboxQuery::of(Recipient::Peer(id), limit)
        };
        let mut keep = |message: &Message| budget.admits(message_size(message));
        let page = self.store.inbox(&query, None, &mut keep)?;
        let untold = page.messages.first().map(|message| message.seq);
        let first = untold.into_iter().chain(claimed.first().copied()).min();
        let told_to = first.map_or(self.store.last_seq(), |first| Seq(first.0.saturating_sub(1)));
        if let Some(present) = self.peers.get_mut(&id) {
            present.told_to = told_to;
        }
        Ok(page)
    }

    /// A message may have to be told again.
    pub(super) fn is_untold(&mut self, reader: Recipient, id: MessageId) {
        if let Some(present) = reader.peer().and_then(|peer| self.peers.get_mut(&peer)) {
            present.told_to = present.told_to.min(Seq(id.seq().0.saturating_sub(1)));
        }
    }

    /// Whether a message is for this peer alone, or cannot wait.
    fn is_direct(&mut self, id: PeerId, message: &Message) -> Stored<bool> {
        if message.to.is_some() || message.kind == MessageKind::Alert {
            return Ok(true);
        }
        // An answer to everyone is also one to whoever has asked.
        let Some(asked) = message.reply_to else { return Ok(false) };
        let own = self.sent_message(&Party::Peer(id), asked.seq())?;
        Ok(own.is_some_and(|own| own.id == asked))
    }

    /// A broadcast was stored: it waits for more, unless others already do.
    pub(super) fn digest(&mut self, to: &[PeerId]) {
        for id in to {
            if let Some(present) = self.peers.get_mut(id) {
                present.digest_due.get_or_insert(self.now.mono.plus(DIGEST_TIME));
            }
        }
    }

    /// No broadcast waits for more any longer.
    fn digested(&mut self, id: PeerId, all: bool) {
        if let Some(present) = self.peers.get_mut(&id).filter(|_| all) {
            present.digest_due = None;
        }
    }

    /// Something may be told to a peer's agent again: tells whoever could do so.
    pub(super) fn wake(&mut self, peer: PeerId) {
        self.push(PushTarget::One(peer), Pushed::Wake);
        self.effects.inboxes.push(Recipient::Peer(peer));
    }
}

impl super::peers::Present {
    /// Whether a claim is given nothing now, whatever waits; and until when, if that is known.
    fn closed_to(&self, claim: &Claim, now: Now) -> (bool, Option<Monotonic>) {
        // Its server wakes it, as long as there is one; or its user does not want it to be woken.
        let not_by_others = match self.record.reach.as_deref() {
            Some(reach::WAKES) => self.away.is_none(),
            said => said == Some(reach::HELD),
        };
        if claim.moment == Some(Moment::End) || is_beside(claim.by) && not_by_others {
            return (true, None);
        }
        if claim.by == Way::Hook {
            return (false, None);
        }
        let until = self.turn.until(now.mono);
        (until.is_some(), until)
    }
}

/// Whether what is given for a claim begins or prolongs a turn.
fn wakes(claim: &Claim) -> bool {
    claim.by.wakes() || claim.moment == Some(Moment::Stop)
}

fn too_many_wait() -> Refusal {
    let message = format!(
        "{CLAIMS_HELD_MAX} claims of this peer wait already, which is the most: end one, or leave out \
         `wait`"
    );
    Refusal::new(Code::Unavailable, message)
}
