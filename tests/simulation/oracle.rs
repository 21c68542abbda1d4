//! What clients of the mesh may rely on, checked against what they saw: the promises, in one place.
//! (What must hold inside of the core is in `Mesh::check_invariants`.)

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use slm_mesh::api::{Refusal, Reply, Sent};
use slm_mesh::limits::MESSAGE_RETENTION_MS;
use slm_mesh::model::{MessageId, Now, Party, PeerId, Recipient, Seq, Timestamp};
use slm_mesh::store::{InboxQuery, Store};

use crate::generate::{Client, Known};
use crate::world::{Action, Answer, Backend, Input, Seen, World};

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
        let Action::Turn(inputs, _) = action else { return };
        for (at, answer) in &seen.answers {
            let Input::Request { endpoint, body, .. } = &inputs[*at] else { unreachable!() };
            let body: Value = serde_json::from_str(body).unwrap_or_default();
            let kind = body["action"].as_str().unwrap_or_default();
            self.met.insert(format!("{endpoint:?} {kind}"));
            let Answer::Reply(reply) = answer else {
                if let Answer::Refused(Refusal { code, .. }) = answer {
                    self.met.insert(code.as_str().to_owned());
                } else {
                    self.met.insert("held".to_owned());
                }
                continue;
            };
            self.reply(reply, &body, known, now);
        }
        for (body, _) in &seen.late {
            self.met.insert("answered late".to_owned());
            assert!(body.contains("wait"), "only what waits is held: {body}");
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
            Reply::Locked { lock } => {
                let last = self.fences.insert(lock.file_path.clone(), lock.fence);
                assert!(last <= Some(lock.fence), "fences of {} only grow", lock.file_path);
                if last != Some(lock.fence) {
                    self.number(lock.fence, known);
                }
            }
            Reply::Emitted { event_id, seq } => {
                assert_eq!(event_id.seq(), *seq);
                if body["id"].is_null() {
                    self.number(*seq, known);
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
