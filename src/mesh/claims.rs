//! Claims: messages that a hook of the agent is giving to it, so that no other hook of the same
//! agent does so, too.
//!
//! Hooks of one agent run side by side, and none knows of the others. One that has messages to give
//! gets them under a claim, and marks them read when its agent has them: that ends the claim. One
//! that dies first leaves a claim that runs out. Nothing of this is stored: after a restart of the
//! broker nothing is claimed, and what was being given out then may be given twice.

use uuid::{Builder, Uuid};

use super::Mesh;
use super::heard::News;
use super::turn::{Caller, Failure, Push, Target};
use super::who::{Right, not_found};
use crate::api::{Budget, Claim, Claimed as Answer, Fetch, Reply, message_size, wake_line};
use crate::limits::{CLAIM_TIME, CLAIMED_MAX, LIST_LIMIT_MAX};
use crate::model::{Message, Moment, Monotonic, Now, PeerId, Recipient, Seq, Way};
use crate::store::{InboxQuery, Store};

/// A message under a claim.
#[derive(Clone, Copy, Debug)]
struct Claimed {
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
    fn make(
        &mut self,
        (claim, by): (Uuid, Way),
        messages: &[Message],
        until: Monotonic,
        turn: u64,
    ) {
        let claimed = |message: &Message| {
            let seq = message.seq;
            Claimed { claim, by, seq, until, made: turn, ended: None }
        };
        self.0.extend(messages.iter().map(claimed));
        self.0.sort_unstable_by_key(|claimed| claimed.seq);
    }

    /// Whether a message is under this claim.
    pub(super) fn has(&self, claim: Uuid, seq: Seq) -> bool {
        self.of(claim).any(|claimed| claimed.seq == seq)
    }

    fn of(&self, claim: Uuid) -> impl Iterator<Item = &Claimed> {
        self.0.iter().filter(move |claimed| claimed.claim == claim && claimed.ended.is_none())
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
        present.has_hooks |= claim.by == Way::Hook;
        present.claims.clean(self.turn, now.mono);
        let claimed = present.claims.live();
        let room = CLAIMED_MAX.saturating_sub(u32::try_from(claimed.len()).unwrap_or(u32::MAX));
        let limit = claim.limit.unwrap_or(Fetch::DEFAULT_LIMIT).min(room);
        // A hook at the end of a turn has it go on, which is a wake, too.
        let wakes = claim.by.wakes() || claim.moment == Some(Moment::Stop);
        let damps = wakes && self.loops.damps(id, now.mono);
        let mut budget = Budget::default();
        let mut keep = |message: &Message| budget.admits(message_size(message));
        let query = InboxQuery {
            recipient: Recipient::Peer(id),
            unread_only: true,
            from: None,
            before: None,
            after: None,
            untold_only: true,
            but: &claimed,
            // What is damped is left out, and what is behind it is not.
            limit: if damps { LIST_LIMIT_MAX } else { limit },
        };
        let mut page = self.store.inbox(&query, None, &mut keep)?;
        let mut wait = None;
        if damps {
            let all = page.messages.len();
            wait = self.leave_what_wakes(id, &mut page.messages, now);
            page.messages.truncate(limit as usize);
            page.remaining += (all - page.messages.len()) as u64;
        }
        if claim.by == Way::Hook {
            self.heard_of(id, News::Hook(claim.moment), now)?;
        }
        if wakes && !page.messages.is_empty() {
            self.woken(id, &page.messages, now)?;
        }
        if claim.by.wakes() && !page.messages.is_empty() {
            self.heard_of(id, News::Wakes(claim.by), now)?;
        }
        let claim_id = (!page.messages.is_empty())
            .then(|| Builder::from_random_bytes(self.random()).into_uuid());
        if let Some(claim_id) = claim_id
            && let Some(present) = self.peers.get_mut(&id)
        {
            let until = now.mono.plus(CLAIM_TIME);
            let claim = (claim_id, claim.by);
            present.claims.make(claim, &page.messages, until, self.turn);
        }
        let remaining = page.remaining;
        let defer = wait.filter(|_| page.messages.is_empty());
        let defer_ms = defer.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        let messages = self.listed(page.messages);
        let answer = Answer { messages, remaining, claim_id, defer_ms, ..Answer::default() };
        Ok(Reply::Claimed(answer))
    }

    /// `POST /messages` with `renew`
    pub(super) fn renew_claim(
        &mut self,
        caller: Caller,
        peer: Option<&str>,
        claim: Uuid,
        now: Now,
    ) -> Result<Reply, Failure> {
        let id = self.acting_peer(caller, peer, Right::Speak, now)?;
        let Some(present) = self.peers.get_mut(&id) else { return Err(not_found("").into()) };
        present.claims.clean(self.turn, now.mono);
        let mut claimed = 0;
        for under in
            present.claims.0.iter_mut().filter(|it| it.claim == claim && it.ended.is_none())
        {
            under.until = now.mono.plus(CLAIM_TIME);
            claimed += 1;
        }
        Ok(Reply::Claim { claimed })
    }

    /// `POST /messages` with `release`
    pub(super) fn release_claim(
        &mut self,
        caller: Caller,
        peer: Option<&str>,
        claim: Uuid,
        now: Now,
    ) -> Result<Reply, Failure> {
        let id = self.acting_peer(caller, peer, Right::Speak, now)?;
        let Some(present) = self.peers.get_mut(&id) else { return Err(not_found("").into()) };
        present.claims.clean(self.turn, now.mono);
        let by = present.claims.of(claim).next().map(|claimed| claimed.by);
        let seqs: Vec<Seq> = present.claims.of(claim).map(|claimed| claimed.seq).collect();
        for seq in &seqs {
            present.claims.end(*seq, self.turn);
        }
        if !seqs.is_empty() {
            self.wake(id, now);
        }
        if let Some(way) = by.filter(|way| way.wakes()) {
            self.heard_of(id, News::Failed(way), now)?;
        }
        Ok(Reply::Claim { claimed: seqs.len() as u64 })
    }
}

impl<S: Store> Mesh<S> {
    /// Something may be told to a peer's agent again: tells whoever could do so.
    pub(super) fn wake(&mut self, peer: PeerId, now: Now) {
        let frame = wake_line(now.wall).into();
        self.effects.pushes.push(Push { to: Target::One(peer), frame, message: None });
        self.effects.inboxes.push(Recipient::Peer(peer));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::{Endpoint, Request};
    use crate::mesh::{Entropy, Outcome, Settings};
    use crate::model::Timestamp;
    use crate::store::memory::MemoryStore;

    struct Counter(u64);

    impl Entropy for Counter {
        fn fill(&mut self, bytes: &mut [u8]) {
            self.0 += 1;
            for (byte, value) in bytes.iter_mut().zip(self.0.to_le_bytes().into_iter().cycle()) {
                *byte = value;
            }
        }
    }

    fn after(ms: u64) -> Now {
        let wall = Timestamp(1_800_000_000_000);
        Now { wall, mono: Monotonic(Duration::from_millis(ms)), ..Now::default() }
    }

    /// A mesh with the peer `bob`, for whom there are so many messages, `1` and on.
    fn mesh(messages: u32) -> Mesh<MemoryStore> {
        let settings = Settings {
            heartbeat: Duration::from_secs(15),
            stale: Duration::from_secs(30),
            dead: Duration::from_secs(60),
            lock_ttl_minutes: 10,
            rate_limit: 0,
            wake_limit: 12,
            pid: 1,
            port: 1,
            boot_id: None,
            mesh_id: "test".into(),
        };
        let store = MemoryStore::new();
        let mut mesh = Mesh::new(store, Box::new(Counter(0)), settings, after(0)).unwrap();
        let bob = r#"{"pid":1,"projectPath":"/w","name":"bob"}"#;
        ask(&mut mesh, Endpoint::Register, bob, after(0));
        for n in 1..=messages {
            let body = format!(r#"{{"fromPeer":"cli","toPeer":"bob","payload":"{n}"}}"#);
            ask(&mut mesh, Endpoint::Send, &body, after(0));
        }
        mesh
    }

    fn decide(mesh: &mut Mesh<MemoryStore>, endpoint: Endpoint, body: &str, now: Now) -> Reply {
        let request = Request::decode(endpoint, body.as_bytes()).unwrap();
        mesh.begin_turn(now).unwrap();
        match mesh.handle(Caller::Broker, &request, now) {
            Ok(Outcome::Reply(reply)) => reply,
            other => panic!("{other:?}"),
        }
    }

    fn ask(mesh: &mut Mesh<MemoryStore>, endpoint: Endpoint, body: &str, now: Now) -> Reply {
        let reply = decide(mesh, endpoint, body, now);
        mesh.commit_turn().unwrap();
        mesh.check_invariants(now);
        reply
    }

    /// What a claim of at most `limit` messages gives, and how many more there are.
    fn claim(mesh: &mut Mesh<MemoryStore>, limit: u32, now: Now) -> (Vec<String>, u64) {
        let body = format!(r#"{{"peerId":"bob","claim":"hook","limit":{limit}}}"#);
        let Reply::Claimed(given) = ask(mesh, Endpoint::Messages, &body, now) else { panic!() };
        let texts = given.messages.iter().map(|message| message.payload.to_string());
        (texts.collect(), given.remaining)
    }

    fn texts(range: std::ops::RangeInclusive<u32>) -> Vec<String> {
        range.map(|n| n.to_string()).collect()
    }

    #[test]
    fn a_claim_lasts_its_time_and_no_longer() {
        let mut mesh = mesh(3);
        let time = u64::try_from(CLAIM_TIME.as_millis()).unwrap();
        assert_eq!(claim(&mut mesh, 1, after(0)), (texts(1..=1), 2));
        assert_eq!(claim(&mut mesh, 20, after(10)), (texts(2..=3), 0));
        assert_eq!(claim(&mut mesh, 20, after(time - 1)), (vec![], 0));
        assert_eq!(claim(&mut mesh, 20, after(time)), (texts(1..=1), 0));
        assert_eq!(claim(&mut mesh, 20, after(time + 9)), (vec![], 0));
        assert_eq!(claim(&mut mesh, 20, after(time + 10)), (texts(2..=3), 0));
    }

    #[test]
    fn so_many_messages_of_a_peer_are_claimed_and_no_more() {
        let mut mesh = mesh(CLAIMED_MAX + 5);
        let first = claim(&mut mesh, CLAIMED_MAX - 1, after(0));
        assert_eq!(first, (texts(1..=CLAIMED_MAX - 1), 6));
        let second = claim(&mut mesh, 20, after(1));
        assert_eq!(second, (texts(CLAIMED_MAX..=CLAIMED_MAX), 5));
        assert_eq!(claim(&mut mesh, 20, after(2)), (vec![], 5));
        // Who has read has room again.
        let read = r#"{"peerId":"bob","limit":7}"#;
        ask(&mut mesh, Endpoint::Messages, read, after(3));
        let third = claim(&mut mesh, 20, after(4));
        assert_eq!(third, (texts(CLAIMED_MAX + 1..=CLAIMED_MAX + 5), 0));
    }

    #[test]
    fn a_turn_that_fails_leaves_claims_as_they_were() {
        let mut mesh = mesh(2);
        let now = after(0);
        let claim_both = r#"{"peerId":"bob","claim":"hook"}"#;
        decide(&mut mesh, Endpoint::Messages, claim_both, now);
        mesh.abort_turn(now).unwrap();
        assert_eq!(claim(&mut mesh, 1, now), (texts(1..=1), 1), "nobody was given any");

        // Read, but that is not kept: still unread, and still claimed.
        decide(&mut mesh, Endpoint::Messages, r#"{"peerId":"bob"}"#, now);
        mesh.abort_turn(now).unwrap();
        assert_eq!(claim(&mut mesh, 20, now), (texts(2..=2), 0));
        assert_eq!(claim(&mut mesh, 20, now), (vec![], 0));
    }
}
