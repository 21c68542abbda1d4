//! What happens in the mesh, as the core tells it, and what becomes of it as an event: its type and
//! its payload, for the store and for whoever reads events. As a push it is in [`super::push`].

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::listed::EventInfo;
use super::status::DampedInfo;
use crate::model::{LeaveReason, MessageId, Party, PeerId, Seq, Timestamp, event_type};

/// Something that has happened.
///
/// The fields of one that is an event are those of its payload, in the order in which they stand in
/// it: what is stored stays the same to the byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Fact {
    /// A peer has come.
    PeerJoined {
        /// Which agent it is.
        agent_type: Box<str>,
        /// Its name.
        name: Box<str>,
        /// Its id.
        peer_id: PeerId,
        /// Where it works.
        project_path: Box<str>,
    },
    /// A peer has left.
    PeerLeft {
        /// Its name.
        name: Box<str>,
        /// Its id.
        peer_id: PeerId,
        /// Why.
        reason: LeaveReason,
    },
    /// Something about a peer has changed. Not an event: the others are told, and it is not kept.
    PeerChanged {
        /// Its name.
        name: Box<str>,
        /// Its id.
        peer_id: PeerId,
        /// What has changed.
        #[serde(flatten)]
        change: PeerChange,
    },
    /// A state entry was set, deleted, or has expired.
    StateChanged {
        /// It was deleted, or has expired.
        deleted: bool,
        /// Which entry.
        key: Box<str>,
        /// Where it is, or was.
        namespace: Box<str>,
        /// Its value; none if it was deleted.
        value: Option<Box<str>>,
        /// That of the change; after a deletion no entry has it.
        version: Seq,
    },
    /// A lock was taken.
    LockTaken {
        /// Until when, unless renewed.
        expires_at: Timestamp,
        /// The number of the taking.
        fence: Seq,
        /// The file, as its holder's client named it.
        file_path: Box<str>,
        /// Who holds it.
        locked_by: Party,
        /// The holder's name.
        locked_by_name: Box<str>,
        /// Whether the path is a pattern.
        pattern: bool,
        /// Why.
        reason: Option<Box<str>>,
        /// Whether others may hold it, too.
        shared: bool,
    },
    /// A lock is free again.
    LockFreed {
        /// Who stole it, if it was stolen.
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<Party>,
        /// The name of whoever stole it.
        #[serde(skip_serializing_if = "Option::is_none")]
        by_name: Option<Box<str>>,
        /// The number of its taking.
        fence: Seq,
        /// The file.
        file_path: Box<str>,
        /// Who held it.
        locked_by: Party,
        /// The holder's name.
        locked_by_name: Box<str>,
        /// How it came to be free.
        reason: Freed,
        /// What it was stolen for.
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<Box<str>>,
    },
    /// A message was stored. The event itself is not: it is derived from the message.
    MessageReceived {
        /// The message.
        message_id: MessageId,
        /// Who has sent it.
        from_peer: Party,
        /// To whom; none for a broadcast.
        to_peer: Option<Party>,
        /// Of a broadcast: to which group, if not to all.
        #[serde(skip_serializing_if = "Option::is_none")]
        to_group: Option<Box<str>>,
    },
    /// Messages of one sender were read.
    MessageRead {
        /// The messages.
        message_ids: Vec<MessageId>,
        /// Who sent them.
        from_peer: Party,
        /// Who has read them.
        read_by: Party,
    },
    /// Nobody will read these messages of one sender.
    MessageUndeliverable {
        /// The messages.
        message_ids: Vec<MessageId>,
        /// Who sent them.
        from_peer: Party,
        /// Whom they were for.
        to_peer: PeerId,
    },
    /// What one sends to another, or all send to one, is told together for a while.
    ConversationDamped(DampedInfo),
    /// A peer has another name from now on.
    PeerRenamed {
        /// What it was called.
        former_name: Box<str>,
        /// What it is called.
        name: Box<str>,
        /// Its id.
        peer_id: PeerId,
    },
    /// What a party has told with an event type of its own.
    Custom {
        /// The type.
        kind: Box<str>,
        /// A JSON document, which is the payload.
        payload: Box<str>,
    },
}

/// What has changed about a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerChange {
    /// What it says it is working on; empty: nothing.
    Summary(Box<str>),
    /// Whether it has a server.
    Status(Presence),
}

/// Whether a peer has a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// It has one again.
    Active,
    /// Its agent goes on without.
    Away,
}

/// How a lock came to be free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Freed {
    /// Its holder has let it go.
    Released,
    /// Its time was over.
    Expired,
    /// Its holder has left.
    PeerLeft,
    /// The person has forced it open.
    Forced,
    /// It was given to someone who was not there to take it.
    Unclaimed,
    /// Someone else has taken it.
    Stolen,
}

impl Fact {
    /// Its type as an event; none if it is no event.
    #[must_use]
    pub fn event_type(&self) -> Option<&str> {
        Some(match self {
            Self::PeerJoined { .. } => event_type::PEER_JOINED,
            Self::PeerLeft { .. } => event_type::PEER_LEFT,
            Self::PeerChanged { .. } => return None,
            Self::StateChanged { .. } => event_type::STATE_CHANGED,
            Self::LockTaken { .. } => event_type::FILE_LOCKED,
            Self::LockFreed { .. } => event_type::FILE_UNLOCKED,
            Self::MessageReceived { .. } => event_type::MESSAGE_RECEIVED,
            Self::MessageRead { .. } => event_type::MESSAGE_READ,
            Self::MessageUndeliverable { .. } => event_type::MESSAGE_UNDELIVERABLE,
            Self::ConversationDamped(_) => event_type::CONVERSATION_DAMPED,
            Self::PeerRenamed { .. } => event_type::PEER_RENAMED,
            Self::Custom { kind, .. } => kind,
        })
    }

    /// Whom it names, beside the name that each has there.
    pub fn parties(&mut self) -> Vec<(&mut Party, Option<&mut Box<str>>)> {
        match self {
            Self::LockTaken { locked_by, locked_by_name, .. } => {
                vec![(locked_by, Some(locked_by_name))]
            }
            Self::LockFreed { by, by_name, locked_by, locked_by_name, .. } => {
                let mut all = vec![(locked_by, Some(locked_by_name))];
                all.extend(by.as_mut().map(|by| (by, by_name.as_mut())));
                all
            }
            Self::MessageReceived { from_peer, to_peer, .. } => {
                // To a label is to a name, on any machine.
                let to = to_peer.as_mut().filter(|to| to.is_cli());
                [Some(from_peer), to].into_iter().flatten().map(|it| (it, None)).collect()
            }
            Self::MessageRead { from_peer, read_by, .. } => {
                vec![(from_peer, None), (read_by, None)]
            }
            Self::MessageUndeliverable { from_peer, .. } => vec![(from_peer, None)],
            Self::ConversationDamped(info) => {
                let name = info.from_name.as_mut();
                info.from_peer.as_mut().map(|from| (from, name)).into_iter().collect()
            }
            Self::PeerJoined { .. }
            | Self::PeerLeft { .. }
            | Self::PeerChanged { .. }
            | Self::PeerRenamed { .. }
            | Self::StateChanged { .. }
            | Self::Custom { .. } => Vec::new(),
        }
    }

    /// What the payload of [`event_type::PEER_RENAMED`] says of the past: the name, and whose it was.
    #[must_use]
    pub fn former_name(payload: &str) -> Option<(Box<str>, PeerId)> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Renamed {
            former_name: Box<str>,
            peer_id: PeerId,
        }
        let Renamed { former_name, peer_id } = serde_json::from_str(payload).ok()?;
        Some((former_name, peer_id))
    }

    /// Its payload as an event: a JSON document.
    #[must_use]
    pub fn payload(&self) -> Cow<'_, str> {
        match self {
            Self::Custom { payload, .. } => Cow::Borrowed(payload),
            // Plain data into memory: cannot fail.
            fact => Cow::Owned(serde_json::to_string(fact).unwrap_or_default()),
        }
    }
}

impl EventInfo {
    /// Calls those whom the event names as `call` does, and its emitter.
    pub fn call_parties(&mut self, call: impl Fn(&mut Party)) {
        /// The fields of payloads with parties in them, and those with their names.
        const PARTIES: [(&str, &str); 5] = [
            ("lockedBy", "lockedByName"),
            ("by", "byName"),
            ("fromPeer", "fromName"),
            ("toPeer", ""),
            ("readBy", ""),
        ];
        if let Some(emitter) = &mut self.emitted_by {
            call(emitter);
        }
        if event_type::is_custom(&self.kind) {
            return;
        }
        let Ok(mut payload) = serde_json::from_str::<Value>(&self.payload) else { return };
        let mut is_changed = false;
        for (party, name) in PARTIES {
            let Some(text) = payload.get(party).and_then(Value::as_str) else { continue };
            let before = Party::parse(text);
            let mut called = before.clone();
            // To a label is to a name, on any machine.
            if party != "toPeer" || before.is_cli() {
                call(&mut called);
            }
            if called != before {
                is_changed = true;
                for field in [party, name] {
                    if let Some(field) = payload.get_mut(field) {
                        *field = called.to_string().into();
                    }
                }
            }
        }
        if is_changed {
            self.payload = payload.to_string().into();
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// One of each, with its payload as it has always been stored.
    pub(in crate::api) fn all() -> Vec<(Fact, String)> {
        let (peer, bob) = (PeerId::from_random([1; 16]), Party::Label("bob".into()));
        let id = MessageId::new(Seq(5), [2; 16]);
        let joined = Fact::PeerJoined {
            agent_type: "codex".into(),
            name: "a \"b\"".into(),
            peer_id: peer,
            project_path: "/w".into(),
        };
        let left = Fact::PeerLeft { name: "a".into(), peer_id: peer, reason: LeaveReason::Crashed };
        let set = Fact::StateChanged {
            deleted: false,
            key: "k".into(),
            namespace: "n".into(),
            value: Some("v".into()),
            version: Seq(7),
        };
        let deleted = Fact::StateChanged {
            deleted: true,
            key: "k".into(),
            namespace: "n".into(),
            value: None,
            version: Seq(8),
        };
        let taken = Fact::LockTaken {
            expires_at: Timestamp(0),
            fence: Seq(9),
            file_path: "/f".into(),
            locked_by: Party::Cli,
            locked_by_name: "cli".into(),
            pattern: false,
            reason: None,
            shared: true,
        };
        let freed = |by: Option<&Party>, reason| Fact::LockFreed {
            by: by.cloned(),
            by_name: by.map(|by| by.to_string().into()),
            fence: Seq(9),
            file_path: "/f".into(),
            locked_by: Party::Cli,
            locked_by_name: "cli".into(),
            reason,
            why: by.map(|_| "x".into()),
        };
        let received = |to_peer, to_group| Fact::MessageReceived {
            message_id: id,
            from_peer: Party::Cli,
            to_peer,
            to_group,
        };
        let read = Fact::MessageRead {
            message_ids: vec![id, id],
            from_peer: bob.clone(),
            read_by: Party::Cli,
        };
        let undeliverable = Fact::MessageUndeliverable {
            message_ids: vec![id],
            from_peer: bob.clone(),
            to_peer: peer,
        };
        let damped = Fact::ConversationDamped(DampedInfo {
            from_peer: None,
            from_name: None,
            to_peer: peer,
            to_name: "b".into(),
        });
        let renamed =
            Fact::PeerRenamed { former_name: "a".into(), name: "c".into(), peer_id: peer };
        let custom = Fact::Custom { kind: "a.b".into(), payload: r#"[1, {"x":2}]"#.into() };
        let texts = [
            (joined, format!(r#"{{"agentType":"codex","name":"a \"b\"","peerId":"{peer}","projectPath":"/w"}}"#)),
            (left, format!(r#"{{"name":"a","peerId":"{peer}","reason":"crashed"}}"#)),
            (set, r#"{"deleted":false,"key":"k","namespace":"n","value":"v","version":7}"#.into()),
            (deleted, r#"{"deleted":true,"key":"k","namespace":"n","value":null,"version":8}"#.into()),
            (taken, r#"{"expiresAt":"1970-01-01T00:00:00.000Z","fence":9,"filePath":"/f","lockedBy":"cli","lockedByName":"cli","pattern":false,"reason":null,"shared":true}"#.into()),
            (freed(None, Freed::PeerLeft), r#"{"fence":9,"filePath":"/f","lockedBy":"cli","lockedByName":"cli","reason":"peer_left"}"#.into()),
            (freed(Some(&bob), Freed::Stolen), r#"{"by":"bob","byName":"bob","fence":9,"filePath":"/f","lockedBy":"cli","lockedByName":"cli","reason":"stolen","why":"x"}"#.into()),
            (received(Some(bob), None), format!(r#"{{"messageId":"{id}","fromPeer":"cli","toPeer":"bob"}}"#)),
            (received(None, Some("#build".into())), format!(r##"{{"messageId":"{id}","fromPeer":"cli","toPeer":null,"toGroup":"#build"}}"##)),
            (read, format!(r#"{{"messageIds":["{id}","{id}"],"fromPeer":"bob","readBy":"cli"}}"#)),
            (undeliverable, format!(r#"{{"messageIds":["{id}"],"fromPeer":"bob","toPeer":"{peer}"}}"#)),
            (damped, format!(r#"{{"toPeer":"{peer}","toName":"b"}}"#)),
            (renamed, format!(r#"{{"formerName":"a","name":"c","peerId":"{peer}"}}"#)),
            (custom, r#"[1, {"x":2}]"#.into()),
        ];
        texts.into()
    }

    #[test]
    fn payloads_are_what_they_were() {
        for (fact, text) in all() {
            assert_eq!(fact.payload(), text, "{fact:?}");
        }
    }

    #[test]
    fn every_event_type_is_that_of_a_fact() {
        let facts = all();
        let types: Vec<&str> = facts.iter().filter_map(|(fact, _)| fact.event_type()).collect();
        assert!(event_type::BUILT_IN.iter().all(|kind| types.contains(kind)), "{types:?}");
        assert_eq!(types.len(), facts.len());
        assert!(types.contains(&"a.b"), "a custom one has its own");
        let change = PeerChange::Status(Presence::Away);
        let peer_id = PeerId::from_random([1; 16]);
        let changed = Fact::PeerChanged { name: "a".into(), peer_id, change };
        assert_eq!(changed.event_type(), None);
    }

    #[test]
    fn reasons_are_the_words_of_the_reference() {
        let words = [
            Freed::Released,
            Freed::Expired,
            Freed::PeerLeft,
            Freed::Forced,
            Freed::Unclaimed,
            Freed::Stolen,
        ];
        let words: Vec<Value> = words.iter().map(|word| json!(word)).collect();
        let expected = ["released", "expired", "peer_left", "forced", "unclaimed", "stolen"];
        assert_eq!(words, expected.map(Value::from));
    }
}
