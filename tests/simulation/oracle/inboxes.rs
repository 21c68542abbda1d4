//! Inboxes: each acknowledged message is where it belongs, and its sender was told what is true.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use slm_mesh::model::{Message, MessageId, Party, PeerId, Recipient, Seq};
use slm_mesh::store::{EventQuery, InboxQuery, SentQuery, Store};

use super::Oracle;
use crate::generate::Known;
use crate::world::{Backend, Home, World};

impl Oracle {
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
            } else if message.to_group.as_deref() == Some("directory")
                && let Recipient::Peer(id) = recipient
                && let Some(home) = known.home_of(id)
            {
                let from = message.from.peer();
                let from = from.map_or(Some(message.from.machine()), |id| known.home_of(id));
                assert!(from.is_none_or(|from| from == home), "{} is for one machine", message.id);
                self.met.insert("to a directory".to_owned());
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

/// All messages of all inboxes, once in each.
fn inboxes<B: Backend>(world: &mut World<B>, known: &Known) -> Vec<(Recipient, Message)> {
    let mut peers: BTreeSet<PeerId> = known.clients.iter().map(|client| client.id).collect();
    // Some may have come and not have been told.
    let present = world.mesh().store_mut().present_peers().unwrap();
    peers.extend(present.into_iter().map(|record| record.id));
    let mut all = Vec::new();
    let people = known.homes().filter_map(|home| Party::cli_of(home).inbox());
    for recipient in peers.into_iter().map(Recipient::Peer).chain(people) {
        let query = InboxQuery::of(recipient, u32::MAX);
        let page = world.mesh().store_mut().inbox(&query, None, &mut |_| true).unwrap();
        let ids: BTreeSet<MessageId> = page.messages.iter().map(|message| message.id).collect();
        assert_eq!(ids.len(), page.messages.len(), "a message is in an inbox once");
        all.extend(page.messages.into_iter().map(|message| (recipient, message)));
    }
    all
}
