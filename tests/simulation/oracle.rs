//! What clients of the mesh may rely on, checked against what they saw: the promises, in one place.
//! (What must hold inside of the core is in `Mesh::check_invariants`.)

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use slm_mesh::api::{Endpoint, MessageInfo, Refusal, Reply, Sent};
use slm_mesh::limits::{CLAIM_TIME, MESSAGE_RETENTION_MS};
use slm_mesh::model::{
    MessageId, Monotonic, Now, Party, PeerId, Recipient, Seq, Stage, Timestamp, reach,
};
use slm_mesh::store::{EventQuery, InboxQuery, Store};

use crate::generate::{Client, Known};
use crate::world::{Action, Answer, Backend, Input, Seen, Token, World};

#[derive(Debug)]
struct Acked {
    to: Vec<Recipient>,
    payload: String,
    at: Timestamp,
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
    /// The last version given for each key; they only grow.
    versions: BTreeMap<(Box<str>, Box<str>), Seq>,
    /// Direct messages that a hook was given: to whom they are, and since when.
    claims: BTreeMap<MessageId, (PeerId, Monotonic)>,
    /// Peers that have claimed messages.
    with_hooks: BTreeSet<PeerId>,
    /// The latest wall time there was: what is a day older than that may be gone.
    wall_max: i64,
    /// Which request kinds and refusal codes were met.
    pub(crate) met: BTreeSet<String>,
}

impl Oracle {
    /// Learns from an action what the clients learnt, and checks it.
    pub(crate) fn learn(&mut self, action: &Action, seen: &Seen, known: &mut Known, now: Now) {
        self.wall_max = self.wall_max.max(now.wall.0);
        known.since = now.wall.plus_ms(-5_000).to_string();
        // What is claimed is known to one life of a broker, and to one stay of a peer.
        let forget = |oracle: &mut Self| {
            if seen.down {
                oracle.claims.clear();
                oracle.with_hooks.clear();
            }
            oracle.claims.retain(|_, (of, _)| !seen.departed.contains(of));
            oracle.with_hooks.retain(|peer| !seen.departed.contains(peer));
        };
        forget(self);
        let (Action::Turn(inputs, _) | Action::BareTurn(inputs, _)) = action else { return };
        for (at, answer) in &seen.answers {
            let Input::Request { token, endpoint, body } = &inputs[*at] else { unreachable!() };
            let body: Value = serde_json::from_str(body).unwrap_or_default();
            let form = ["markRead", "markNotified", "claim"]
                .into_iter()
                .find(|form| *endpoint == Endpoint::Messages && !body[form].is_null());
            let kind = form.or(body["action"].as_str()).unwrap_or_default();
            self.met.insert(format!("{endpoint:?} {kind}"));
            let Answer::Reply(reply) = answer else {
                if let Answer::Refused(Refusal { code, .. }) = answer {
                    self.met.insert(code.as_str().to_owned());
                } else {
                    self.met.insert("held".to_owned());
                }
                continue;
            };
            if kind == "claim" && seen.departed.is_empty() {
                self.claim(reply, token, known, now.mono);
            }
            self.reply(reply, &body, known, now);
        }
        forget(self);
        for (body, answer) in &seen.late {
            if let Answer::Reply(Reply::Locked { lock, .. }) = answer {
                self.met.insert("lock granted late".to_owned());
                self.seqs.insert(lock.fence);
                known.last_seq = known.last_seq.max(lock.fence.0);
            }
            self.met.insert("answered late".to_owned());
            assert!(body.contains("wait"), "only what waits is held: {body}");
        }
    }

    /// A message is given to one hook at a time, and only while it is unread.
    fn claim(&mut self, reply: &Reply, token: &Token, known: &Known, now: Monotonic) {
        let Reply::Messages(messages) = reply else { panic!("a claim gives messages") };
        if let Token::Peer(token) = token {
            let client = known.clients.iter().find(|client| client.token == *token);
            self.with_hooks.extend(client.map(|client| client.id));
        }
        for message in &messages.messages {
            assert_eq!(message.read_at, None, "a message that was read is not given");
            let Some(Party::Peer(to)) = message.to_peer else { continue };
            self.met.insert("claimed".to_owned());
            if let Some((_, since)) = self.claims.insert(message.id, (to, now)) {
                assert!(now.since(since) >= CLAIM_TIME, "{} is under two claims", message.id);
                self.met.insert("claimed again".to_owned());
            }
        }
    }

    /// The stage of a message is what its times say.
    fn stages(&mut self, message: &MessageInfo) {
        let MessageInfo { delivered_at, notified_at, notified_by, read_at, .. } = message;
        assert_eq!(notified_at.is_some(), notified_by.is_some(), "a notification has a way");
        assert!(notified_at.is_none() || delivered_at.is_some(), "notified is delivered");
        let stage = match (delivered_at, notified_at, read_at) {
            (_, _, Some(_)) => Stage::Read,
            (_, Some(_), _) => Stage::Notified,
            (Some(_), ..) => Stage::Delivered,
            _ => Stage::Queued,
        };
        assert!(message.stage.is_none_or(|told| told == stage), "{stage:?}: {message:?}");
        if let Some(recipients) = message.recipients {
            assert_eq!(message.stage, None, "a broadcast has counts");
            let delivered = message.delivered_count.unwrap();
            assert!(delivered <= recipients);
            assert!(message.notified_count.unwrap() <= delivered);
            assert!(message.read_count.unwrap() <= delivered);
        }
        if notified_at.is_some() {
            self.met.insert("notified".to_owned());
        }
    }

    fn number(&mut self, seq: Seq, known: &mut Known) {
        assert!(self.seqs.insert(seq), "the number {seq} was given twice");
        known.last_seq = known.last_seq.max(seq.0);
    }

    fn reply(&mut self, reply: &Reply, body: &Value, known: &mut Known, now: Now) {
        match reply {
            Reply::Registered(registered) => {
                let mut register = body.clone();
                register.as_object_mut().unwrap().remove("peerId");
                let id = registered.peer_id;
                match known.clients.iter_mut().find(|client| client.id == id) {
                    Some(client) => client.name = registered.name.to_string(),
                    None => known.clients.push(Client {
                        id,
                        name: registered.name.to_string(),
                        token: registered.peer_token.to_string(),
                        register,
                    }),
                }
            }
            Reply::Sent(Sent::Direct { message_id, .. }) => {
                let to = body["toPeer"].as_str().unwrap_or_default();
                let to = match to {
                    "cli" => Some(Recipient::Cli),
                    // A name may have been given to another by now; an id is one for good.
                    to => PeerId::parse(to).map(Recipient::Peer),
                };
                self.message(*message_id, to.into_iter().collect(), body, known, now);
            }
            Reply::Sent(Sent::Broadcast { message_id: Some(id), .. }) => {
                self.message(*id, vec![], body, known, now);
            }
            Reply::Entry { entry: Some(entry) } if body["action"] == "set" => {
                let last = (self.versions)
                    .insert((entry.namespace.clone(), entry.key.clone()), entry.version);
                assert!(last < Some(entry.version), "versions of {} only grow", entry.key);
                self.number(entry.version, known);
                known.versions.push(entry.version.0);
            }
            Reply::Locked { lock, stolen_from } => {
                if !stolen_from.is_empty() {
                    self.met.insert("stolen".to_owned());
                }
                self.met.insert(format!("locked, shared {}", lock.shared));
                self.met.insert(format!("locked, pattern {}", lock.pattern));
                // Of those who share, the first may renew what it has had for long.
                if !self.seqs.contains(&lock.fence) {
                    let last = self.fences.insert(lock.file_path.clone(), lock.fence);
                    assert!(last < Some(lock.fence), "fences of {} only grow", lock.file_path);
                    self.number(lock.fence, known);
                }
            }
            Reply::Emitted { event_id, seq } => {
                assert_eq!(event_id.seq(), *seq);
                if body["id"].is_null() {
                    self.number(*seq, known);
                }
            }
            Reply::Messages(messages) => {
                for message in &messages.messages {
                    self.stages(message);
                }
            }
            Reply::Peers { peers, .. } => {
                for peer in peers.iter().filter(|peer| self.with_hooks.contains(&peer.id)) {
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
        body: &Value,
        known: &mut Known,
        now: Now,
    ) {
        known.messages.push(id.to_string());
        let payload = body["payload"].as_str().unwrap_or_default().to_owned();
        if let Some(client_id) = body["id"].as_str() {
            let from = body["fromPeer"].to_string();
            let first = *self.first_answers.entry((from, client_id.to_owned())).or_insert(id);
            if first != id {
                let gone = self.acked.get(&first).is_none_or(|first| self.may_be_gone(first.at));
                assert!(gone, "sending again gives the first answer");
            }
            if self.acked.contains_key(&id) {
                return;
            }
        }
        self.number(id.seq(), known);
        self.acked.insert(id, Acked { to, payload, at: now.wall });
    }

    fn may_be_gone(&self, at: Timestamp) -> bool {
        at.0 + MESSAGE_RETENTION_MS <= self.wall_max
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
        let peers: BTreeSet<PeerId> = known.clients.iter().map(|client| client.id).collect();
        for recipient in peers.into_iter().map(Recipient::Peer).chain([Recipient::Cli]) {
            let query = InboxQuery {
                recipient,
                unread_only: false,
                from: None,
                before: None,
                after: None,
                but: &[],
                limit: u32::MAX,
            };
            let page = world.mesh().store_mut().inbox(&query, None, &mut |_| true).unwrap();
            for message in page.messages {
                let key = (message.id.to_string(), Party::from(recipient).to_string());
                let wanted = message.read_at.map(|_| message.from.to_string());
                assert_eq!(told.get(&key), wanted.as_ref(), "{} was read", message.id);
            }
        }
    }

    /// Nothing that was acknowledged is missing, or there twice, or changed.
    pub(crate) fn check_inboxes<B: Backend>(&self, world: &mut World<B>) {
        let mut inboxes: BTreeMap<Recipient, BTreeMap<MessageId, (String, Option<Party>)>> =
            BTreeMap::new();
        for (id, acked) in &self.acked {
            if self.may_be_gone(acked.at) {
                continue;
            }
            for recipient in &acked.to {
                let inbox =
                    inboxes.entry(*recipient).or_insert_with(|| read_all(world, *recipient));
                let found = inbox.get(id).unwrap_or_else(|| panic!("{id} is lost"));
                assert_eq!(found.0, acked.payload, "the text of {id}");
                assert_eq!(found.1, Some(Party::from(*recipient)), "{id} is for its recipient");
            }
        }
    }
}

fn read_all<B: Backend>(
    world: &mut World<B>,
    recipient: Recipient,
) -> BTreeMap<MessageId, (String, Option<Party>)> {
    let query = InboxQuery {
        recipient,
        unread_only: false,
        from: None,
        before: None,
        after: None,
        but: &[],
        limit: u32::MAX,
    };
    let page = world.mesh().store_mut().inbox(&query, None, &mut |_| true).unwrap();
    let count = page.messages.len();
    let found: BTreeMap<_, _> = (page.messages.into_iter())
        .map(|message| (message.id, (message.payload.to_string(), message.to)))
        .collect();
    assert_eq!(found.len(), count, "a message is in an inbox once");
    found
}
