//! What clients of the mesh may rely on, checked against what they saw: the promises, in one place.
//! (What must hold inside of the core is in `Mesh::check_invariants`.)

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;
use slm_mesh::api::{
    Claimed, Code, Detail, EmittedReply, Endpoint, EntryReply, LockInfo, LockReply, LockedAllReply,
    LocksReply, MessageInfo, PeerInfo, PeerStatus, PeersReply, Refusal, Reply, Sent,
};
use slm_mesh::limits::{
    CLAIM_TIME, MESSAGE_RETENTION_MS, RATE_WINDOW, STRANGERS_PER_WINDOW, UNREAD_TIME_MAX,
};
use slm_mesh::mesh::{Caller, Lost};
use slm_mesh::model::{
    MachineId, MachineName, Message, MessageId, Monotonic, Now, Party, PeerId, Recipient, Seq,
    Stage, reach,
};
use slm_mesh::store::{EventQuery, InboxQuery, SentQuery, Store};

use crate::generate::{Client, Known};
use crate::times::Times;
use crate::world::{Action, Answer, Backend, Home, Input, Seen, Token, World};

#[derive(Debug)]
struct Acked {
    to: Vec<Recipient>,
    payload: String,
    /// When, see [`Times`].
    at: i64,
}

/// What the holder of a lock was told.
#[derive(Debug, Default)]
struct Told {
    /// By answers that may have arrived.
    answers: u32,
    /// By all there were, and the broker still knows of.
    ever: u32,
}

/// A message that somebody is telling.
#[derive(Clone, Debug)]
struct Claim {
    /// Whose it is.
    of: PeerId,
    id: String,
    since: Monotonic,
}

/// What clients were promised.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// Acknowledged messages. None may be missing from an inbox it is for, nor be there twice, until
    /// retention may have taken it.
    acked: BTreeMap<MessageId, Acked>,
    /// Client ids by sender and what was answered first.
    first_answers: BTreeMap<(String, String), MessageId>,
    /// Numbers given in answers; each once.
    seqs: BTreeSet<Seq>,
    /// The last fence given for each file; they only grow.
    fences: BTreeMap<Box<str>, Seq>,
    /// Answers that told the holder of each lock that it has it, and that may have arrived; and
    /// whether there was ever more than one in this life of the broker.
    told: BTreeMap<Seq, Told>,
    /// Of locks with numbers up to here, a broker that was killed may have given some unseen.
    unseen_to: Seq,
    /// The last version given for each key; they only grow.
    versions: BTreeMap<(Box<str>, Box<str>), Seq>,
    /// Direct messages that a hook was given: to whom they are, and since when.
    claims: BTreeMap<MessageId, Claim>,
    /// Names under which messages were sent.
    labels: BTreeSet<Party>,
    /// Topics that peers have subscribed to.
    topics: BTreeSet<(PeerId, Box<str>)>,
    /// Tokens of servers in whose place there is another.
    ended_tokens: Vec<String>,
    /// Machines that have joined, and those of which it was asked to remove them.
    machines: BTreeMap<MachineId, MachineName>,
    to_remove: BTreeSet<MachineName>,
    /// Requests of the last [`RATE_WINDOW`], and from where they came.
    requests: VecDeque<(Monotonic, Home)>,
    /// The machine on which each direct message was found first.
    mail_homes: BTreeMap<MessageId, Home>,
    /// Peers that have claimed messages.
    with_hooks: BTreeSet<PeerId>,
    /// How much time has passed: what is a day old may be gone.
    times: Times,
    /// Which request kinds and refusal codes were met.
    pub(crate) met: BTreeSet<String>,
}

impl Oracle {
    /// Learns from an action what the clients learnt, and checks it.
    pub(crate) fn learn(&mut self, action: &Action, seen: &Seen, known: &mut Known, now: Now) {
        self.times.learn(action, seen, now);
        known.since = now.wall.plus_ms(-5_000).to_string();
        // What is claimed is known to one life of a broker, and to one stay of a peer.
        let forget = |oracle: &mut Self| {
            if seen.down {
                oracle.claims.clear();
                oracle.with_hooks.clear();
                // A broker does not know what another has told.
                oracle.told.values_mut().for_each(|told| told.ever += 1);
            }
            oracle.claims.retain(|_, claim| !seen.departed.contains(&claim.of));
            oracle.with_hooks.retain(|peer| !seen.departed.contains(peer));
        };
        forget(self);
        let (Action::Turn(inputs, _) | Action::BareTurn(inputs, _)) = action else { return };
        self.let_in(inputs, seen, known);
        // Whether or not the answer came: the broker may have been killed after the commit.
        for input in inputs {
            let Input::Request { token, endpoint, body } = input else { continue };
            let body: Value = serde_json::from_str(body).unwrap_or_default();
            if *endpoint == Endpoint::Lock && body["wait"].as_u64() > Some(0) {
                known.lock_waits.push_back((token.clone(), body.clone()));
                if known.lock_waits.len() > 4 {
                    known.lock_waits.pop_front();
                }
            }
            if *endpoint != Endpoint::Events {
                continue;
            }
            for topic in body["types"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                let who = speakers(token, &body, known).map(|of| (of, topic.into()));
                self.topics.extend(who);
            }
        }
        for (at, answer) in &seen.answers {
            let Input::Request { token, endpoint, body } = &inputs[*at] else { unreachable!() };
            let body: Value = serde_json::from_str(body).unwrap_or_default();
            let form = ["markRead", "markNotified", "markSent", "claim", "renew", "release"]
                .into_iter()
                .find(|form| *endpoint == Endpoint::Messages && !body[form].is_null());
            let kind = form.or(body["action"].as_str()).unwrap_or_default();
            self.met.insert(format!("{endpoint:?} {kind}"));
            self.reach((token, *endpoint, &body), answer, known, now.mono);
            let Answer::Reply(reply) = answer else {
                if let Answer::Refused(Refusal { code, .. }) = answer {
                    self.met.insert(code.as_str().to_owned());
                } else {
                    let kind = if *answer == Answer::Held { "held" } else { "cut off" };
                    self.met.insert(kind.to_owned());
                }
                continue;
            };
            if body["toPeer"].as_str().is_some_and(|to| to.starts_with('#')) {
                self.met.insert("to a topic".to_owned());
            }
            if let Reply::Registered(registered) = reply {
                // It may be of another agent now, whose hooks nobody has heard.
                self.with_hooks.remove(&registered.peer_id);
            }
            if seen.departed.is_empty() {
                match reply {
                    Reply::Claimed(claimed) => {
                        let by = speakers(token, &body, known).next();
                        if body["claim"] == "hook" {
                            self.with_hooks.extend(by);
                        }
                        self.claim(claimed, by, known, now.mono);
                    }
                    Reply::Claim { claimed: 1.. } => {
                        self.claim_lasts(&body, now.mono);
                    }
                    Reply::Marked { .. } => self.marked(&body),
                    _ => {}
                }
            }
            self.reply(reply, token.home(), &body, known);
            if let Reply::Locks(LocksReply { locks, .. }) = reply {
                self.listed(locks, token, &body, known);
            }
        }
        forget(self);
        self.late(seen, known, now.mono);
        for (fence, lost) in &seen.missed {
            let may_be_read = match lost {
                Lost::Unwritten => false,
                Lost::Reset { after } => *after >= UNREAD_TIME_MAX,
            };
            if let Some(told) = self.told.get_mut(fence).filter(|_| !may_be_read) {
                told.answers -= 1;
            }
        }
    }

    /// Answers to what was held.
    fn late(&mut self, seen: &Seen, known: &mut Known, now: Monotonic) {
        for (home, body, answer) in &seen.late {
            if let Answer::Reply(Reply::Locked(LockReply { lock, .. })) = answer {
                self.met.insert("lock granted late".to_owned());
                self.tell(lock.fence);
                self.seqs.insert(lock.fence);
                known.last_seq = known.last_seq.max(lock.fence.0);
            }
            self.met.insert("answered late".to_owned());
            if let Answer::Reply(Reply::Events(page)) = answer
                && body.contains(".*")
                && !page.events.is_empty()
            {
                self.met.insert("woken by a pattern".to_owned());
            }
            if let Answer::Reply(Reply::Claimed(claimed)) = answer {
                self.met.insert("claimed late".to_owned());
                self.claim(claimed, None, known, now);
            }
            if let Answer::Reply(reply @ Reply::Registered(_)) = answer {
                self.met.insert("registered late".to_owned());
                self.reply(reply, *home, &serde_json::from_str(body).unwrap(), known);
            }
            let waits = body.contains("wait") || body.contains("sessionId");
            assert!(waits, "only what waits is held: {body}");
        }
    }

    /// The holder of this lock is told that it has it.
    fn tell(&mut self, fence: Seq) {
        let told = self.told.entry(fence).or_default();
        told.answers += 1;
        told.ever += 1;
        if told.ever > 1 {
            self.met.insert("told again who holds a lock".to_owned());
        }
    }

    /// A list tells whoever it is for of its locks: the peer whose token it was, or, with the
    /// broker's, the one in whose name it was asked what a path means.
    fn listed(&mut self, locks: &[LockInfo], token: &Token, body: &Value, known: &Known) {
        let has_path = !body["filePath"].is_null() || !body["filePaths"].is_null();
        let asked_for = body["peerId"].as_str().filter(|_| has_path).unwrap_or("cli");
        let told = match token {
            Token::Peer(..) => speakers(token, body, known).next().map(Party::Peer),
            // A name or a prefix may be another's than is known here.
            Token::Person(home) => match PeerId::parse(asked_for) {
                Some(id) => Some(Party::Peer(id)).filter(|_| known.home_of(id) == Some(*home)),
                None => ["cli", "script-1"].contains(&asked_for).then(|| Party::parse(asked_for)),
            },
        };
        for lock in locks {
            match &told {
                Some(told) if *told == lock.locked_by => self.tell(lock.fence),
                Some(_) => {}
                None => self.told.entry(lock.fence).or_default().ever += 1,
            }
        }
    }

    /// A lock whose answer was lost is free if that was the only one, and is not if its holder may
    /// have been told by another.
    pub(crate) fn check_lost<B: Backend>(&mut self, world: &mut World<B>, seen: &Seen) {
        if seen.down {
            self.unseen_to = world.mesh().store_mut().last_seq();
        }
        let lost: Vec<Seq> = seen.lost.iter().map(|(fence, _)| *fence).collect();
        if !self.check_known(world, &lost).is_empty() {
            self.met.insert("kept though an answer was lost".to_owned());
        }
    }

    /// Nobody keeps a lock that he does not know of.
    pub(crate) fn check_grants<B: Backend>(&mut self, world: &mut World<B>) {
        let locks = world.mesh().store_mut().locks().unwrap();
        let unseen_to = self.unseen_to;
        let all: Vec<Seq> = locks.iter().map(|it| it.fence).filter(|it| *it > unseen_to).collect();
        self.check_known(world, &all);
    }

    /// Checks of those of these locks that are held that somebody knows of it, and gives them.
    fn check_known<B: Backend>(&mut self, world: &mut World<B>, fences: &[Seq]) -> Vec<Seq> {
        if fences.is_empty() {
            return Vec::new();
        }
        let types = ["file_locked".into(), "file_unlocked".into()];
        let query = EventQuery { types: &types, since: None, after: Some(Seq(0)), limit: u32::MAX };
        let store = world.mesh().store_mut();
        let held: BTreeSet<Seq> = store.locks().unwrap().iter().map(|lock| lock.fence).collect();
        // Fences by file and holder, until the lock is free.
        let mut holdings: BTreeMap<(String, String), Vec<Seq>> = BTreeMap::new();
        for event in store.events(&query, &mut |_| true).unwrap().events {
            let payload: Value = serde_json::from_str(&event.payload).unwrap();
            let fence = Seq(payload["fence"].as_u64().unwrap());
            let of = (payload["filePath"].to_string(), payload["lockedBy"].to_string());
            let fences = holdings.entry(of).or_default();
            if *event.kind == *"file_locked" {
                fences.push(fence);
                continue;
            }
            fences.retain(|other| *other != fence);
            if payload["reason"] == "unclaimed" {
                let told = self.told.get(&fence).map_or(0, |told| told.answers);
                assert_eq!(told, 0, "the lock {fence} was freed and its holder told it has it");
                self.met.insert("unclaimed".to_owned());
            }
        }
        let held: Vec<Seq> = fences.iter().copied().filter(|fence| held.contains(fence)).collect();
        for fence in &held {
            // Who had shared it, or had it alone, was told then.
            let had = holdings.values().any(|of| of.len() > 1 && of.last() == Some(fence));
            let known = self.told.get(fence).is_some_and(|told| told.answers > 0 || told.ever > 1);
            assert!(known || had, "nobody knows of the lock {fence}");
        }
        held
    }

    /// A claim lasts longer, or ends.
    fn claim_lasts(&mut self, body: &Value, now: Monotonic) {
        for (form, renewed) in [("renew", true), ("release", false)] {
            let Some(id) = body[form].as_str() else { continue };
            self.met.insert(form.to_owned());
            self.claims.retain(|_, claim| renewed || claim.id != id);
            for claim in self.claims.values_mut().filter(|claim| claim.id == id) {
                claim.since = now;
            }
        }
    }

    /// What is marked is under no claim any more.
    fn marked(&mut self, body: &Value) {
        for form in ["markRead", "markNotified", "markSent"] {
            for id in body[form].as_array().into_iter().flatten().filter_map(Value::as_str) {
                self.claims.remove(&MessageId::parse(id).unwrap());
            }
        }
    }

    /// A message is given to one at a time, and only while it is unread and nobody has told it.
    fn claim(&mut self, given: &Claimed, by: Option<PeerId>, known: &mut Known, now: Monotonic) {
        for id in &given.proven {
            self.met.insert("proven".to_owned());
            self.claims.remove(id);
        }
        if given.defer_ms.is_some() {
            self.met.insert("deferred".to_owned());
        }
        assert_eq!(
            given.claim_id.is_some(),
            !given.messages.is_empty(),
            "what is given is claimed"
        );
        let id = given.claim_id.map(|id| id.to_string()).unwrap_or_default();
        for message in &given.messages {
            assert_eq!(message.read_at, None, "a message that was read is not given");
            let told = (message.sent_at, message.notified_at);
            assert_eq!(told, (None, None), "a message that was told is not given");
            known.claims.push_front((id.clone(), message.handle.to_string()));
            known.claims.truncate(6);
            known.claims.make_contiguous();
            let Some(to) = by.or(message.to_peer.as_ref().and_then(Party::peer)) else { continue };
            if message.to_peer.is_none() {
                continue;
            }
            self.met.insert("claimed".to_owned());
            // What is in a mailbox may be another's by now.
            let claim = Claim { of: to, id: id.clone(), since: now };
            if let Some(former) = self.claims.insert(message.id, claim)
                && former.of == to
            {
                let over = now.since(former.since) >= CLAIM_TIME;
                assert!(over, "{} is under two claims", message.id);
                self.met.insert("claimed again".to_owned());
            }
        }
    }

    /// The stage of a message is what its times say.
    fn stages(&mut self, message: &MessageInfo, known: &Known) {
        let MessageInfo { delivered_at, notified_at, notified_by, read_at, sent_at, .. } = message;
        assert_eq!(sent_at.is_some(), message.sent_by.is_some(), "sent by a way");
        assert_eq!(sent_at.is_some(), message.sent_status.is_some(), "and somehow");
        assert!(sent_at.is_none() || notified_at.is_none() && read_at.is_none(), "until proven");
        assert!(sent_at.is_none() || delivered_at.is_some(), "sent is delivered");
        assert_eq!(notified_at.is_some(), notified_by.is_some(), "a notification has a way");
        assert!(notified_at.is_none() || delivered_at.is_some(), "notified is delivered");
        let stage = match (delivered_at, notified_at, read_at) {
            (_, _, Some(_)) => Stage::Read,
            (_, Some(_), _) => Stage::Notified,
            _ if sent_at.is_some() => Stage::Sent,
            (Some(_), ..) => Stage::Delivered,
            _ => Stage::Queued,
        };
        if message.stage == Some(Stage::Undeliverable) {
            // What waits for a name may wait on a machine that was removed.
            let nobody_comes = message.to_name.is_none() || !known.removed.is_empty();
            assert!(read_at.is_none() && nobody_comes, "{message:?}");
            self.met.insert("undeliverable".to_owned());
        } else {
            assert!(message.stage.is_none_or(|told| told == stage), "{stage:?}: {message:?}");
            assert_eq!(message.undeliverable_at, None);
        }
        if let Some(recipients) = message.recipients {
            assert_eq!(message.stage, None, "a broadcast has counts");
            let delivered = message.delivered_count.unwrap();
            assert!(delivered <= recipients);
            assert!(message.notified_count.unwrap() <= delivered);
            assert!(message.read_count.unwrap() <= delivered);
            assert!(message.sent_count.unwrap() + message.notified_count.unwrap() <= delivered);
        }
        if sent_at.is_some() {
            self.met.insert("sent".to_owned());
        }
        if notified_at.is_some() {
            self.met.insert("notified".to_owned());
        }
    }

    fn number(&mut self, seq: Seq, known: &mut Known) {
        assert!(self.seqs.insert(seq), "the number {seq} was given twice");
        known.last_seq = known.last_seq.max(seq.0);
    }

    fn fence(&mut self, lock: &LockInfo, known: &mut Known) {
        // Of those who share, the first may renew what it has had for long.
        if !self.seqs.contains(&lock.fence) {
            let last = self.fences.insert(lock.file_path.clone(), lock.fence);
            assert!(last < Some(lock.fence), "fences of {} only grow", lock.file_path);
            self.number(lock.fence, known);
        }
    }

    fn reply(&mut self, reply: &Reply, home: Home, body: &Value, known: &mut Known) {
        match reply {
            Reply::Registered(registered) => {
                let mut register = body.clone();
                register.as_object_mut().unwrap().remove("peerId");
                let id = registered.peer_id;
                match known.clients.iter_mut().find(|client| client.id == id) {
                    Some(client) => {
                        assert_eq!(client.home, home, "a session goes on on its machine");
                        client.name = registered.name.to_string();
                        let token = registered.peer_token.to_string();
                        // The core leaves it empty for who came with it.
                        assert_eq!(!token.is_empty(), registered.resumed, "another server");
                        if registered.resumed {
                            self.met.insert("resumed".to_owned());
                            self.ended_tokens.push(std::mem::replace(&mut client.token, token));
                        }
                    }
                    None => known.clients.push(Client {
                        id,
                        name: registered.name.to_string(),
                        token: registered.peer_token.to_string(),
                        home,
                        register,
                    }),
                }
            }
            Reply::Sent(Sent::Direct { message_id, queued, .. }) => {
                if *queued {
                    self.met.insert("queued for a name".to_owned());
                }
                let to = body["toPeer"].as_str().unwrap_or_default();
                // A name may have been given to another by now; an id is one for good.
                let person = known.person(to, home).map(Party::cli_of);
                let to = person.or_else(|| PeerId::parse(to).map(Party::Peer));
                let to = to.and_then(|to| to.inbox());
                self.message(*message_id, to.into_iter().collect(), (body, home), known);
            }
            Reply::Sent(Sent::Broadcast { message_id: Some(id), .. }) => {
                self.message(*id, vec![], (body, home), known);
            }
            Reply::Entry(EntryReply { entry: Some(entry), .. }) if body["action"] == "set" => {
                let last = (self.versions)
                    .insert((entry.namespace.clone(), entry.key.clone()), entry.version);
                assert!(last < Some(entry.version), "versions of {} only grow", entry.key);
                self.number(entry.version, known);
                known.versions.push(entry.version.0);
            }
            Reply::Locked(LockReply { lock, stolen_from }) => {
                if !stolen_from.is_empty() {
                    self.met.insert("stolen".to_owned());
                }
                self.tell(lock.fence);
                self.met.insert(format!("locked, shared {}", lock.shared));
                self.met.insert(format!("locked, pattern {}", lock.pattern));
                self.fence(lock, known);
            }
            Reply::LockedAll(LockedAllReply { locks, subagents }) => {
                let files = body["filePaths"].as_array().unwrap();
                assert_eq!(locks.len(), files.len(), "all or none: {locks:?}");
                for lock in locks {
                    self.tell(lock.fence);
                    self.fence(lock, known);
                }
                for edit in subagents {
                    assert_ne!(body["subagent"], *edit.subagent, "{edit:?}");
                    self.met.insert("another subagent".to_owned());
                }
                self.met.insert("locked, several files".to_owned());
            }
            Reply::Emitted(EmittedReply { event_id, seq }) => {
                assert_eq!(event_id.seq(), *seq);
                if body["id"].is_null() {
                    self.number(*seq, known);
                }
            }
            Reply::Messages(messages) => {
                for message in &messages.messages {
                    self.stages(message, known);
                }
            }
            Reply::Peers(PeersReply { peers, .. }) => {
                let away = |peer: &PeerInfo| peer.status == PeerStatus::Away;
                if peers.iter().any(away) {
                    self.met.insert("away".to_owned());
                }
                self.list(peers, home, body, known);
                let here = peers.iter().filter(|peer| !away(peer));
                for peer in here.filter(|peer| self.with_hooks.contains(&peer.id)) {
                    let told = [reach::WAKES, reach::NEXT_TURN].contains(&&*peer.reach);
                    assert!(told, "{} has hooks: {}", peer.name, peer.reach);
                }
            }
            Reply::Events(events) => {
                assert!(events.events.is_sorted_by_key(|event| event.seq), "events are in order");
                assert!(events.events.iter().all(|event| event.seq <= events.last_seq));
                known.last_seq = known.last_seq.max(events.last_seq.0);
            }
            _ => {}
        }
    }

    fn message(
        &mut self,
        id: MessageId,
        to: Vec<Recipient>,
        (body, home): (&Value, Home),
        known: &mut Known,
    ) {
        known.messages.push(id.to_string());
        // It may be a label, the name of a peer that has left.
        let label = body["fromPeer"].as_str().map(|text| match home {
            Some(machine) => Party::parse(&format!("{text}@{machine}")),
            None => Party::parse(text),
        });
        self.labels.extend(label.filter(|party| matches!(party, Party::Label(_))));
        let payload = body["payload"].as_str().unwrap_or_default().to_owned();
        // A prefix or a name may be a peer now and a label later: another sender.
        let from = body["fromPeer"].as_str().unwrap_or_default();
        let lasting = PeerId::parse(from).is_some() || ["cli", "script-1"].contains(&from);
        if let Some(client_id) = body["id"].as_str() {
            let from = format!("{from}, {home:?}");
            let first = *self.first_answers.entry((from, client_id.to_owned())).or_insert(id);
            if lasting && first != id {
                let gone = self.acked.get(&first).is_none_or(|first| self.may_be_gone(first.at));
                assert!(gone, "sending again gives the first answer");
            }
        }
        if body["id"].is_string() && self.acked.contains_key(&id) {
            return;
        }
        self.number(id.seq(), known);
        self.acked.insert(id, Acked { to, payload, at: self.times.now() });
    }

    fn may_be_gone(&self, at: i64) -> bool {
        self.times.may_be_older(at, MESSAGE_RETENTION_MS)
    }

    /// Machines that were let in: no two under one name, and none that was removed.
    fn let_in(&mut self, inputs: &[Input], seen: &Seen, known: &mut Known) {
        for input in inputs {
            let Input::Request { token: Token::Person(None), endpoint: Endpoint::Machines, body } =
                input
            else {
                continue;
            };
            let body: Value = serde_json::from_str(body).unwrap_or_default();
            if body["action"] == "remove" {
                self.to_remove.extend(body["name"].as_str().and_then(MachineName::new));
            }
        }
        for (id, name) in &seen.admitted {
            let before = self.machines.get(id).copied();
            let Some(name) = *name else {
                let removed = before.filter(|name| self.to_remove.contains(name));
                known.remove(removed.expect("only who was removed is refused"));
                self.met.insert("a removed machine was refused".to_owned());
                continue;
            };
            assert!(!known.removed.contains(&name), "{name} was removed");
            assert!(before.is_none_or(|before| before == name), "{name} was {before:?}");
            if before.is_none() {
                let taken = self.machines.values().any(|other| *other == name);
                assert!(!taken, "two machines are called {name}");
                self.machines.insert(*id, name);
                known.machines.push(name);
            }
        }
    }

    /// What a machine is answered: nothing with a token of another, or in the name of someone there;
    /// and not that it asks too much because of others.
    fn reach(
        &mut self,
        (token, endpoint, body): (&Token, Endpoint, &Value),
        answer: &Answer,
        known: &mut Known,
        now: Monotonic,
    ) {
        if *answer == Answer::Unsent {
            return;
        }
        let (home, given) = (token.home(), matches!(answer, Answer::Reply(_) | Answer::Held));
        while self.requests.front().is_some_and(|(at, _)| now.since(*at) >= RATE_WINDOW) {
            self.requests.pop_front();
        }
        self.requests.push_back((now, home));
        if let Answer::Refused(Refusal { detail: Detail::Lock(lock), .. }) = answer {
            let holder = lock.locked_by.peer().and_then(|id| known.home_of(id));
            if lock.file_path.starts_with("repo:") && holder.is_some_and(|of| of != home) {
                self.met.insert("locked on all machines".to_owned());
            }
        }
        let actor = body["peerId"].as_str().or(body["fromPeer"].as_str());
        if let Token::Peer(token, _) = token {
            let mut owners = known.clients.iter().filter(|client| client.token == *token);
            if owners.any(|client| client.home != home) && endpoint != Endpoint::Health {
                assert!(!given, "a token of another machine than {home:?}");
                self.met.insert("a token of another machine".to_owned());
            }
            return;
        }
        let of = actor.and_then(|text| match PeerId::parse(text) {
            Some(id) => known.home_of(id),
            None => known.person(text, home),
        });
        let acts = match endpoint {
            Endpoint::Send | Endpoint::Heartbeat | Endpoint::Summary => true,
            Endpoint::State => body["action"] == "set" || body["action"] == "delete",
            Endpoint::Lock => body["action"] == "lock",
            Endpoint::Events => body["action"] != "read",
            // The person at the hub looks after all.
            Endpoint::Messages | Endpoint::Unregister => home.is_some(),
            _ => false,
        };
        if acts && of.is_some_and(|of| of != home) {
            assert!(!given, "{home:?} acts for {actor:?} on another machine");
            self.met.insert("in the name of another machine".to_owned());
        }
        let is_owner = home.is_none();
        assert!(!given || is_owner || endpoint != Endpoint::Machines, "machines are the hub's");
        if endpoint == Endpoint::Machines && given && body["action"] == "remove" {
            let name = body["name"].as_str().and_then(MachineName::new).unwrap();
            known.remove(name);
            self.met.insert("a machine was removed".to_owned());
        }
        if let Answer::Refused(Refusal { code: Code::RateLimited, .. }) = answer
            && of.is_none()
        {
            let own = self.requests.iter().filter(|(_, from)| *from == home).count();
            assert!(own > STRANGERS_PER_WINDOW as usize, "{home:?} pays for what others ask");
        }
    }

    /// A list has the peers of its scope, and says where each is.
    fn list(&mut self, peers: &[PeerInfo], home: Home, body: &Value, known: &Known) {
        let near = ["machine", "directory"].contains(&body["scope"].as_str().unwrap_or("machine"))
            || !body["agentPids"].is_null();
        for peer in peers {
            let Some(of) = known.home_of(peer.id) else { continue };
            assert!(of == home || !near, "{} is not on {home:?}", peer.name);
            assert!(of == home || peer.uds_path.is_none(), "the socket of {}", peer.name);
            let said = peer.host.map(|host| Some(host).filter(|it| it.as_str() != "hub"));
            assert!(said.is_none_or(|said| said == of), "{} is on {of:?}: {said:?}", peer.name);
            if of != home {
                self.met.insert("a list of all machines".to_owned());
            }
        }
    }

    /// A path is one on its machine: nobody holds another's, and what is removed with a machine is
    /// gone.
    pub(crate) fn check_machines<B: Backend>(&mut self, world: &mut World<B>, known: &Known) {
        let store = world.mesh().store_mut();
        for record in store.present_peers().unwrap() {
            assert!(!record.host.is_some_and(|of| known.is_removed(of)), "{} is here", record.name);
        }
        let locks = store.locks().unwrap();
        for lock in &locks {
            let of = lock.holder.peer().map_or(Some(lock.holder.machine()), |id| known.home_of(id));
            let Some(of) = of else { continue };
            assert!(!of.is_some_and(|of| known.is_removed(of)), "{lock:?} is held");
            assert!(lock.host == of || lock.is_repo_wide(), "{lock:?} is on another machine");
        }
        let alone: Vec<_> = locks.iter().filter(|it| !it.shared && !it.is_repo_wide()).collect();
        for (at, lock) in alone.iter().enumerate() {
            for other in alone.iter().skip(at + 1).filter(|other| other.path == lock.path) {
                assert!(other.host != lock.host, "two have {lock:?}");
                self.met.insert("one path on two machines".to_owned());
            }
        }
    }

    /// Locks last as long as was promised.
    pub(crate) fn check_times<B: Backend>(&mut self, world: &mut World<B>) {
        self.times.check_locks(world, &mut self.met);
    }

    /// A token that has ended is nobody's, and one of another machine neither.
    pub(crate) fn check_tokens<B: Backend>(&self, world: &mut World<B>, known: &Known) {
        let ended = self.ended_tokens.iter().map(|token| (token, None));
        let living = known.clients.iter().map(|client| (&client.token, Some(client.home)));
        for (token, home) in ended.chain(living) {
            for from in known.homes().filter(|from| Some(*from) != home) {
                let caller = world.mesh().authenticate(token, from);
                assert!(matches!(caller, Caller::Unknown { .. }), "{token} from {from:?}");
            }
        }
    }

    /// What was told to be undeliverable lies where nobody can read it.
    pub(crate) fn check_undeliverable<B: Backend>(&mut self, world: &mut World<B>) {
        let types = ["message_undeliverable".into()];
        let query = EventQuery { types: &types, since: None, after: Some(Seq(0)), limit: u32::MAX };
        let store = world.mesh().store_mut();
        let mut told = BTreeSet::new();
        for event in store.events(&query, &mut |_| true).unwrap().events {
            let payload: Value = serde_json::from_str(&event.payload).unwrap();
            let to = PeerId::parse(payload["toPeer"].as_str().unwrap()).unwrap();
            let record = store.peer(to).unwrap();
            assert!(record.is_none_or(|record| record.left_at.is_some() && !record.resumable));
            for id in payload["messageIds"].as_array().unwrap() {
                assert!(told.insert(id.to_string()), "{id} is told once");
                self.met.insert("message_undeliverable".to_owned());
            }
        }
    }

    /// That a message was read is told once for each reader, and only then.
    pub(crate) fn check_receipts<B: Backend>(&mut self, world: &mut World<B>, known: &Known) {
        let types = ["message_read".into()];
        let query = EventQuery { types: &types, since: None, after: Some(Seq(0)), limit: u32::MAX };
        let page = world.mesh().store_mut().events(&query, &mut |_| true).unwrap();
        let mut told: BTreeMap<(String, String), String> = BTreeMap::new();
        for event in page.events {
            let payload: Value = serde_json::from_str(&event.payload).unwrap();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            assert!(!payload["messageIds"].as_array().unwrap().is_empty());
            for id in payload["messageIds"].as_array().unwrap() {
                let (id, reader) = (text(id), text(&payload["readBy"]));
                let again = told.insert((id.clone(), reader), text(&payload["fromPeer"]));
                assert_eq!(again, None, "{id} was read once");
                self.met.insert("message_read".to_owned());
            }
        }
        let readers: BTreeSet<&String> = told.keys().map(|(id, _)| id).collect();
        for (recipient, message) in inboxes(world, known) {
            let key = (message.id.to_string(), Party::from(recipient).to_string());
            if message.to.is_some() {
                // In a mailbox it may have been read by one who had the name before.
                let wanted = message.read_at.is_some();
                assert_eq!(readers.contains(&key.0), wanted, "{} was read", message.id);
                let count = told.keys().filter(|(id, _)| *id == key.0).count();
                assert!(count <= 1, "{} was read by one", message.id);
            } else {
                let wanted = message.read_at.map(|_| message.from.to_string());
                assert_eq!(told.get(&key), wanted.as_ref(), "{} was read", message.id);
            }
        }
    }

    /// Nothing that was acknowledged is missing, or there twice, or changed: each direct message is
    /// with the recipient it was sent to, or with whoever has the name in whose mailbox it is, or
    /// waits there if nobody has; and with nobody else.
    pub(crate) fn check_inboxes<B: Backend>(&mut self, world: &mut World<B>, known: &Known) {
        let mut found: BTreeMap<MessageId, Vec<Recipient>> = BTreeMap::new();
        for (recipient, message) in inboxes(world, known) {
            if message.to.is_some() {
                found.entry(message.id).or_default().push(recipient);
                let home = match recipient {
                    Recipient::Cli => None,
                    Recipient::CliAt(machine) => Some(machine),
                    Recipient::Peer(id) => world.mesh().store_mut().peer(id).unwrap().unwrap().host,
                };
                let first = *self.mail_homes.entry(message.id).or_insert(home);
                assert_eq!(first, home, "{} is read on two machines", message.id);
            } else if let (Some(topic), Recipient::Peer(id)) = (&message.to_group, recipient)
                && topic.starts_with('#')
            {
                assert!(self.topics.contains(&(id, topic.clone())), "{id} listens to {topic}");
            }
            let sender = message.from.inbox().filter(|_| message.to.is_none());
            assert_ne!(sender, Some(recipient), "nobody gets what it sends to many");
        }
        let store = world.mesh().store_mut();
        let here = store.present_peers().unwrap();
        // Some may have come and not have been told.
        let unknown: Vec<PeerId> = here.iter().map(|record| record.id).collect();
        let holders: BTreeMap<Box<str>, (Recipient, Home)> = (here.into_iter())
            .filter(|record| !record.name_is_automatic)
            .map(|record| (record.name, (Recipient::Peer(record.id), record.host)))
            .collect();
        let mut kept = BTreeSet::new();
        let peers: BTreeSet<PeerId> = known.clients.iter().map(|client| client.id).collect();
        let others = self.labels.iter().cloned().chain(known.homes().map(Party::cli_of));
        let senders: BTreeSet<PeerId> = peers.iter().copied().chain(unknown).collect();
        for sender in senders.into_iter().map(Party::Peer).chain(others) {
            let query =
                SentQuery { sender: &sender, to: None, before: None, after: None, limit: u32::MAX };
            for message in store.sent(&query, &mut |_| true).unwrap().messages {
                kept.insert(message.id);
                let Some(to) = &message.to else { continue };
                let with = match &message.to_name {
                    Some(name) => {
                        let home = self.mail_homes.get(&message.id).copied();
                        let home = home.or_else(|| known.home_of(to.peer()?));
                        let holder = holders.get(name).copied();
                        if let Some((_, other)) = holder.filter(|(_, of)| home != Some(*of)) {
                            let mut mailboxes = store.mailboxes(name).unwrap().into_iter();
                            let waits = message.read_at.is_none()
                                && !mailboxes.any(|it| {
                                    it.unread >= Some(message.seq)
                                        && it.host.is_some_and(|of| known.is_removed(of))
                                });
                            assert!(!waits, "{other:?} has the name to which {} waits", message.id);
                            self.met.insert("read on another machine".to_owned());
                        }
                        holder.filter(|(_, of)| home == Some(*of)).map(|(holder, _)| holder)
                    }
                    None => to.inbox(),
                };
                let found = found.remove(&message.id).unwrap_or_default();
                // It came, was not told so, and left again.
                let unknown = to.peer().is_some_and(|id| !peers.contains(&id));
                if found.is_empty() && message.to_name.is_none() && unknown {
                    continue;
                }
                assert_eq!(found, with.as_slice(), "{} is where it belongs", message.id);
                if message.to_name.is_some() && with != to.inbox() {
                    self.met.insert(if with.is_some() { "inherited" } else { "waits" }.to_owned());
                }
                let Some(acked) = self.acked.get(&message.id) else { continue };
                assert_eq!(*message.payload, acked.payload, "the text of {}", message.id);
                for recipient in &acked.to {
                    assert_eq!(*to, Party::from(*recipient), "{} is for it", message.id);
                }
            }
        }
        for (id, acked) in self.acked.iter().filter(|(id, _)| !kept.contains(id)) {
            assert!(self.may_be_gone(acked.at), "{id} is lost");
            self.met.insert("grown old".to_owned());
        }
    }
}

/// The peers that a request may act for, as far as its token tells, or else its body.
fn speakers<'a>(
    token: &'a Token,
    body: &'a Value,
    known: &'a Known,
) -> impl Iterator<Item = PeerId> + 'a {
    let text = body["peerId"].as_str();
    let is_it = move |client: &&Client| match token {
        Token::Peer(token, _) => client.token == *token,
        Token::Person(_) => text.is_some_and(|text| {
            client.name == text || client.id.to_string().starts_with(&text.to_lowercase())
        }),
    };
    known.clients.iter().filter(is_it).map(|client| client.id)
}

/// All messages of all inboxes, once in each.
fn inboxes<B: Backend>(world: &mut World<B>, known: &Known) -> Vec<(Recipient, Message)> {
    let mut peers: BTreeSet<PeerId> = known.clients.iter().map(|client| client.id).collect();
    // Some may have come and not have been told.
    let present = world.mesh().store_mut().present_peers().unwrap();
    peers.extend(present.into_iter().map(|record| record.id));
    let mut all = Vec::new();
    let people = known.homes().filter_map(|home| Party::cli_of(home).inbox());
    for recipient in peers.into_iter().map(Recipient::Peer).chain(people) {
        let query = InboxQuery {
            recipient,
            unread_only: false,
            from: None,
            before: None,
            after: None,
            untold_only: false,
            but: &[],
            limit: u32::MAX,
        };
        let page = world.mesh().store_mut().inbox(&query, None, &mut |_| true).unwrap();
        let ids: BTreeSet<MessageId> = page.messages.iter().map(|message| message.id).collect();
        assert_eq!(ids.len(), page.messages.len(), "a message is in an inbox once");
        all.extend(page.messages.into_iter().map(|message| (recipient, message)));
    }
    all
}
