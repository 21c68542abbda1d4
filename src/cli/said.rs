//! Events in sentences.

use serde::Deserialize;

use super::text::count;
use crate::api::EventInfo;
use crate::model::{MessageId, Party, PeerId, event_type};

/// Most messages that a sentence names by their handles.
const HANDLES_MAX: usize = 3;

/// How the parts of a sentence are written. Each function makes what others wrote harmless.
pub(super) struct Teller<'a> {
    /// The name of a party.
    pub(super) name: &'a dyn Fn(&Party) -> String,
    /// A name or a text.
    pub(super) text: &'a dyn Fn(&str) -> String,
    /// A path.
    pub(super) path: &'a dyn Fn(&str) -> String,
}

/// The fields of the payloads of all the mesh's own events.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Payload {
    pub(super) message_id: Option<MessageId>,
    pub(super) message_ids: Vec<MessageId>,
    pub(super) from_peer: Option<Party>,
    from_name: Option<Box<str>>,
    pub(super) to_peer: Option<Party>,
    to_name: Option<Box<str>>,
    to_group: Option<Box<str>>,
    pub(super) read_by: Option<Party>,
    pub(super) peer_id: Option<PeerId>,
    pub(super) name: Option<Box<str>>,
    former_name: Option<Box<str>>,
    agent_type: Option<Box<str>>,
    project_path: Option<Box<str>>,
    reason: Option<Box<str>>,
    why: Option<Box<str>>,
    by_name: Option<Box<str>>,
    key: Option<Box<str>>,
    namespace: Option<Box<str>>,
    value: Option<Box<str>>,
    deleted: bool,
    file_path: Option<Box<str>>,
    locked_by: Option<Party>,
    locked_by_name: Option<Box<str>>,
    shared: bool,
}

/// What an event of the mesh's own has to say; nothing for others.
pub(super) fn read(event: &EventInfo) -> Payload {
    if event_type::is_custom(&event.kind) {
        // Its payload may have fields of the same names.
        return Payload::default();
    }
    serde_json::from_str(&event.payload).unwrap_or_default()
}

/// The parties that the sentence of an event names, so that their names can be looked up.
pub(super) fn parties(event: &EventInfo) -> impl Iterator<Item = Party> + use<> {
    let Payload { from_peer, to_peer, read_by, .. } = read(event);
    [event.emitted_by.clone(), from_peer, to_peer, read_by].into_iter().flatten()
}

/// An event as a sentence.
pub(super) fn sentence(event: &EventInfo, teller: &Teller<'_>) -> String {
    let payload = read(event);
    let text = |text: &Option<Box<str>>| (teller.text)(text.as_deref().unwrap_or("?"));
    let party = |party: &Option<Party>| party.as_ref().map_or_else(|| "all".into(), teller.name);
    // A label as the recipient is a name that nobody has now.
    let recipient = |to: &Option<Party>| match to {
        Some(Party::Label(name)) => (teller.text)(name),
        _ => party(to),
    };
    let because = |reason: &Option<Box<str>>| {
        reason.as_ref().map_or_else(String::new, |reason| format!(": {}", (teller.text)(reason)))
    };
    let by = || event.emitted_by.as_ref().map_or_else(|| "the mesh".into(), teller.name);
    match &*event.kind {
        event_type::PEER_JOINED => {
            let place = payload.project_path.as_deref().map(teller.path).unwrap_or_default();
            format!("{} came ({}, in {place})", text(&payload.name), text(&payload.agent_type))
        }
        event_type::PEER_LEFT => {
            let name = text(&payload.name);
            match payload.reason.as_deref() {
                Some("clean_exit") => format!("{name} left"),
                Some("crashed") => format!("{name} is gone: its process has ended"),
                Some("timeout") => format!("{name} is gone: it was not heard of any more"),
                Some("removed") => format!("{name} is gone: its machine was removed"),
                _ => format!("{name} left ({})", text(&payload.reason)),
            }
        }
        event_type::PEER_RENAMED => {
            format!("{} is called {} from now on", text(&payload.former_name), text(&payload.name))
        }
        event_type::STATE_CHANGED => {
            let (key, space) = (text(&payload.key), text(&payload.namespace));
            match (&payload.value, payload.deleted, &event.emitted_by) {
                (Some(value), false, _) => {
                    format!("{} set {key} to {} in {space}", by(), (teller.text)(value))
                }
                (_, _, Some(_)) => format!("{} deleted {key} in {space}", by()),
                (_, _, None) => format!("{key} in {space} has expired"),
            }
        }
        event_type::FILE_LOCKED => {
            let path = payload.file_path.as_deref().map(teller.path).unwrap_or_default();
            let shared = if payload.shared { " to read it" } else { "" };
            format!(
                "{} locked {path}{shared}{}",
                holder(&payload, teller),
                because(&payload.reason)
            )
        }
        event_type::FILE_UNLOCKED => unlocked(&payload, teller),
        event_type::MESSAGE_RECEIVED => {
            let to = match &payload.to_group {
                Some(group) => (teller.text)(group),
                None => recipient(&payload.to_peer),
            };
            let handle = payload.message_id.map(|id| format!(" ({})", id.handle()));
            format!("{} wrote to {to}{}", party(&payload.from_peer), handle.unwrap_or_default())
        }
        event_type::MESSAGE_READ => format!(
            "{} read {} from {}",
            party(&payload.read_by),
            handles(&payload.message_ids),
            party(&payload.from_peer)
        ),
        event_type::MESSAGE_UNDELIVERABLE => format!(
            "nobody will read {} from {} to {}, who has left",
            handles(&payload.message_ids),
            party(&payload.from_peer),
            recipient(&payload.to_peer)
        ),
        event_type::CONVERSATION_DAMPED => {
            let from = payload.from_name.as_deref().unwrap_or("everybody");
            let (from, to) = ((teller.text)(from), text(&payload.to_name));
            format!("what {from} writes to {to} is told together for a while")
        }
        kind => {
            let payload = match &*event.payload {
                "null" => String::new(),
                payload => format!(" {}", (teller.text)(payload)),
            };
            format!("{}: {}{payload}", by(), (teller.text)(kind))
        }
    }
}

/// Who has, or had, a lock.
fn holder(payload: &Payload, teller: &Teller<'_>) -> String {
    let name = payload.locked_by_name.as_deref().unwrap_or("?");
    match &payload.locked_by {
        Some(party) => (teller.text)(&party.shown_as(name)),
        None => (teller.text)(name),
    }
}

fn unlocked(payload: &Payload, teller: &Teller<'_>) -> String {
    let path = payload.file_path.as_deref().map(teller.path).unwrap_or_default();
    let holder = holder(payload, teller);
    match payload.reason.as_deref() {
        Some("released") => format!("{holder} released {path}"),
        Some("expired") => format!("the lock of {holder} on {path} has expired"),
        Some("peer_left") => format!("{path} is free, since {holder} has left"),
        Some("forced") => format!("{path}, which {holder} had locked, was freed by force"),
        Some("unclaimed") => format!("{path} is free: {holder} was not there to take it"),
        Some("stolen") => {
            let by = (teller.text)(payload.by_name.as_deref().unwrap_or("?"));
            let why = payload.why.as_deref().map(|why| format!(": {}", (teller.text)(why)));
            format!("{by} took {path} from {holder}{}", why.unwrap_or_default())
        }
        _ => format!("{holder} has {path} no more"),
    }
}

/// Messages by their handles: `k7q2, vd3m and 5 more messages`.
fn handles(ids: &[MessageId]) -> String {
    let named: Vec<String> =
        ids.iter().take(HANDLES_MAX).map(|id| id.handle().to_string()).collect();
    let named = named.join(", ");
    match ids.len().saturating_sub(HANDLES_MAX) {
        0 => named,
        more => format!("{named} and {}", count(more as u64, "more message", "more messages")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::{Seq, Timestamp};

    fn said(kind: &str, payload: &Value, by: Option<Party>) -> String {
        let event = EventInfo {
            id: MessageId::new(Seq(9), [0; 16]),
            kind: kind.into(),
            payload: payload.to_string().into(),
            emitted_by: by,
            created_at: Timestamp(0),
            seq: Seq(9),
        };
        let teller = Teller {
            name: &|party| match party {
                Party::Peer(_) => "ann".into(),
                other => other.to_string(),
            },
            text: &|text| text.to_uppercase(),
            path: &|path| path.replace("/home/me", "~"),
        };
        sentence(&event, &teller)
    }

    #[test]
    fn every_event_is_a_sentence() {
        let ann = PeerId::from_random([1; 16]);
        let ids: Vec<MessageId> = (0..5).map(|n| MessageId::new(Seq(n), [0; 16])).collect();
        let [first, second, third, ..] = &*ids else { panic!() };
        let three = format!("{}, {}, {}", first.handle(), second.handle(), third.handle());
        let lock = |reason: &str| {
            json!({"filePath": "/home/me/a.rs", "lockedBy": ann, "lockedByName": "ann",
                "reason": reason, "byName": "bob", "why": "now"})
        };
        for (kind, payload, expected) in [
            (
                "peer_joined",
                json!({"name": "ann", "agentType": "codex", "projectPath": "/home/me/web"}),
                "ANN came (CODEX, in ~/web)".to_owned(),
            ),
            ("peer_left", json!({"name": "ann", "reason": "clean_exit"}), "ANN left".into()),
            (
                event_type::PEER_RENAMED,
                json!({"formerName": "ann", "name": "eve"}),
                "ANN is called EVE from now on".into(),
            ),
            (
                "peer_left",
                json!({"name": "ann", "reason": "crashed"}),
                "ANN is gone: its process has ended".into(),
            ),
            (
                "state_changed",
                json!({"key": "k", "namespace": "n", "value": "v", "deleted": false}),
                "ann set K to V in N".into(),
            ),
            (
                "state_changed",
                json!({"key": "k", "namespace": "n", "value": null, "deleted": true}),
                "ann deleted K in N".into(),
            ),
            ("file_locked", lock("moving"), "ANN locked ~/a.rs: MOVING".into()),
            ("file_unlocked", lock("released"), "ANN released ~/a.rs".into()),
            ("file_unlocked", lock("peer_left"), "~/a.rs is free, since ANN has left".into()),
            ("file_unlocked", lock("stolen"), "BOB took ~/a.rs from ANN: NOW".into()),
            (
                "message_received",
                json!({"messageId": first, "fromPeer": ann, "toPeer": "cli"}),
                format!("ann wrote to cli ({})", first.handle()),
            ),
            (
                "message_received",
                json!({"messageId": first, "fromPeer": ann, "toPeer": "bob"}),
                format!("ann wrote to BOB ({})", first.handle()),
            ),
            (
                "message_received",
                json!({"messageId": first, "fromPeer": ann, "toPeer": null}),
                format!("ann wrote to all ({})", first.handle()),
            ),
            (
                "message_read",
                json!({"messageIds": ids, "fromPeer": "cli", "readBy": ann}),
                format!("ann read {three} and 2 more messages from cli"),
            ),
            (
                "message_undeliverable",
                json!({"messageIds": [first], "fromPeer": "cli", "toPeer": ann}),
                format!("nobody will read {} from cli to ann, who has left", first.handle()),
            ),
            (
                event_type::CONVERSATION_DAMPED,
                json!({"toPeer": ann, "toName": "ann"}),
                "what EVERYBODY writes to ANN is told together for a while".into(),
            ),
            ("a.b", json!({"name": "x"}), r#"ann: A.B {"NAME":"X"}"#.into()),
            ("a.b", Value::Null, "ann: A.B".into()),
        ] {
            assert_eq!(said(kind, &payload, Some(Party::Peer(ann))), expected, "{kind}");
        }
        let expired = json!({"key": "k", "namespace": "n", "value": null, "deleted": true});
        assert_eq!(said("state_changed", &expired, None), "K in N has expired");
        for kind in event_type::BUILT_IN {
            let text = said(kind, &json!({}), None);
            assert!(!text.contains('{'), "{kind}: {text}");
        }
    }
}
