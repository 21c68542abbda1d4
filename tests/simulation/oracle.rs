//! What clients of the mesh may rely on, checked against what they saw: the promises, in one place.
//! (What must hold inside of the core is in `Mesh::check_invariants`.)

mod claims;
mod history;
mod inboxes;
mod locks;
mod machines;
mod peers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;
use slm_mesh::api::{
    EmittedReply, Endpoint, EntryReply, LockReply, LockedAllReply, LocksReply, MessageInfo,
    PeersReply, Refusal, Reply, Sent,
};
use slm_mesh::limits::{MESSAGE_RETENTION_MS, UNREAD_TIME_MAX};
use slm_mesh::mesh::Lost;
use slm_mesh::model::{
    MachineId, MachineName, MessageId, Monotonic, Now, Party, PeerId, Recipient, Seq, Stage,
};

use peers::Roster;

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
    /// Who is here.
    roster: Roster,
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
        self.come_and_go(action, seen, known);
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
            match reply {
                Reply::Done {} if *endpoint == Endpoint::Rename => {
                    self.renamed(token, &body, known);
                }
                Reply::History(page) => self.history(page, token, &body, known),
                _ => {}
            }
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

    fn reply(&mut self, reply: &Reply, home: Home, body: &Value, known: &mut Known) {
        match reply {
            Reply::Registered(registered) => {
                let mut register = body.clone();
                register.as_object_mut().unwrap().remove("peerId");
                let id = registered.peer_id;
                self.named(id, &registered.name);
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
            Reply::Peers(PeersReply { peers, .. }) => self.list(peers, home, body, known),
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

    /// Locks last as long as was promised.
    pub(crate) fn check_times<B: Backend>(&mut self, world: &mut World<B>) {
        self.times.check_locks(world, &mut self.met);
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
