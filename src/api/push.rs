//! Push frames: one JSON object a line, `{"type","payload","timestamp"}`, from the broker to a peer;
//! and the acknowledgement that comes back, `{"ack":"<messageId>"}`.

use std::cell::OnceCell;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::fact::Fact;
use crate::model::{Handle, Message, MessageId, MessageKind, Party, Seq, Timestamp};

/// A message as pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushedMessage {
    /// Its id: to be acknowledged, and to tell a repeated push.
    pub message_id: MessageId,
    /// Its short name.
    pub handle: Handle,
    /// Who sent it.
    pub from_peer: Party,
    /// The sender's name.
    pub from_name: Box<str>,
    /// Which agent it is, as long as it is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_agent: Option<Box<str>>,
    /// The text.
    pub text: Box<str>,
    /// What kind of text.
    pub message_type: MessageKind,
    /// To several, not to this peer alone.
    pub broadcast: bool,
    /// The name in whose mailbox it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_name: Option<Box<str>>,
    /// The group that it was sent to, if not to all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_group: Option<Box<str>>,
    /// The message it answers.
    #[serde(default)]
    pub reply_to: Option<MessageId>,
    /// Its place in the sequence.
    pub seq: Seq,
}

impl PushedMessage {
    /// A message as pushed. `from_agent` is which agent the sender is, if that is known.
    #[must_use]
    pub fn new(message: Message, from_agent: Option<&str>) -> Self {
        Self {
            message_id: message.id,
            handle: message.id.handle(),
            from_peer: message.from,
            from_name: message.from_name,
            from_agent: from_agent.map(Into::into),
            text: message.payload,
            message_type: message.kind,
            broadcast: message.to.is_none(),
            to_name: message.to_name,
            to_group: message.to_group,
            reply_to: message.reply_to,
            seq: message.seq,
        }
    }
}

/// A push frame, read by a client. Frames of types it does not know are to be ignored.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// A message for this peer.
    Message(PushedMessage),
    /// Something may be told to the agent now: by a claim that is asked for anew.
    Wake,
    /// So many messages are unread, now that the agent has read some by another way.
    Unread(u64),
    /// An event it subscribed to; the payload as it came.
    Event(Value),
    /// The broker is going away; the reason.
    Shutdown(Box<str>),
    /// Anything else: news of peers and locks, and what later versions may send.
    Other(Box<str>),
}

#[derive(Serialize, Deserialize)]
struct Unread {
    unread: u64,
}

#[derive(Serialize, Deserialize)]
struct Shutdown {
    reason: Box<str>,
}

#[derive(Serialize)]
struct Nothing {}

/// Reads a line that the broker pushed.
///
/// # Errors
/// When it is not a frame; the text says why.
pub fn read_frame(line: &[u8]) -> Result<Frame, String> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(rename = "type")]
        kind: String,
        #[serde(borrow)]
        payload: &'a RawValue,
    }
    let text = |error: serde_json::Error| error.to_string();
    let line: Line<'_> = serde_json::from_slice(line).map_err(text)?;
    Ok(match line.kind.as_str() {
        "message" => Frame::Message(serde_json::from_str(line.payload.get()).map_err(text)?),
        "wake" => Frame::Wake,
        "unread" => {
            Frame::Unread(serde_json::from_str::<Unread>(line.payload.get()).map_err(text)?.unread)
        }
        "event" => Frame::Event(serde_json::from_str(line.payload.get()).map_err(text)?),
        "shutdown" => Frame::Shutdown(
            serde_json::from_str::<Shutdown>(line.payload.get()).map_err(text)?.reason,
        ),
        _ => Frame::Other(line.kind.into()),
    })
}

/// The acknowledgement of a message, a line.
#[must_use]
pub(crate) fn ack_line(id: MessageId) -> String {
    format!("{{\"ack\":\"{id}\"}}\n")
}

/// Reads an acknowledgement.
pub(crate) fn read_ack(line: &[u8]) -> Option<MessageId> {
    #[derive(Deserialize)]
    struct Line {
        ack: MessageId,
    }
    serde_json::from_slice::<Line>(line).ok().map(|line| line.ack)
}

/// A push frame as the core makes it: what is told, and when.
///
/// It becomes a text once, when that or its size is first asked for.
#[derive(Debug)]
pub struct PushFrame {
    told: Pushed,
    at: Timestamp,
    line: OnceCell<Rc<[u8]>>,
}

/// What a push frame tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// A message, to its recipient.
    Message(PushedMessage),
    /// An event, to those who subscribed to its type.
    Event {
        /// What has happened.
        fact: Rc<Fact>,
        /// The event's place in the sequence.
        seq: Seq,
        /// Who has caused it; none for the broker itself.
        by: Option<Party>,
    },
    /// News of a peer or a lock, to everyone but who has caused it; see [`Fact::is_update`].
    Update(Rc<Fact>),
    /// So many messages are unread, now that the agent has read some by another way.
    Unread(u64),
    /// Something may be told to the agent now.
    Wake,
    /// The broker is going away; the reason.
    Shutdown(Box<str>),
    /// What a hub has told, which nobody reads on the way; the message in it.
    PassedOn(Option<Seq>),
}

impl PushFrame {
    /// A frame that tells this, for all who get it.
    #[must_use]
    pub fn new(told: Pushed, at: Timestamp) -> Rc<Self> {
        Rc::new(Self { told, at, line: OnceCell::new() })
    }

    /// A frame of a hub, as it came: a JSON object; `message` is the one in it.
    #[must_use]
    pub fn passed_on(json: &str, message: Option<Seq>) -> Rc<Self> {
        // A line: white space between the parts of JSON is all the same.
        let mut line: Vec<u8> =
            json.bytes().map(|byte| if byte == b'\n' { b' ' } else { byte }).collect();
        line.push(b'\n');
        let (told, at) = (Pushed::PassedOn(message), Timestamp::default());
        Rc::new(Self { told, at, line: OnceCell::from(Rc::from(line)) })
    }

    /// What it tells.
    #[must_use]
    pub fn told(&self) -> &Pushed {
        &self.told
    }

    /// The message in it. Such a frame is never dropped, and its writing is reported; others may be
    /// dropped when the reader is slow.
    #[must_use]
    pub fn message(&self) -> Option<Seq> {
        match &self.told {
            Pushed::Message(message) => Some(message.seq),
            Pushed::PassedOn(message) => *message,
            _ => None,
        }
    }

    /// How large it is as a line, bytes. To know that it is written, which is not done again.
    #[must_use]
    pub fn size(&self) -> usize {
        self.line().len()
    }

    /// The frame as a line, its newline included: the same memory for all who get it.
    #[must_use]
    pub fn line(&self) -> &Rc<[u8]> {
        self.line.get_or_init(|| self.to_line().into())
    }

    /// The same without the newline: a JSON object.
    #[must_use]
    pub fn json(&self) -> &str {
        // What `serde_json` writes is UTF-8.
        str::from_utf8(self.line().trim_ascii_end()).unwrap_or_default()
    }

    fn to_line(&self) -> Vec<u8> {
        let at = self.at;
        match &self.told {
            Pushed::Message(message) => line("message", message, message.text.len(), at),
            Pushed::Event { fact, seq, by } => {
                line("event", EventPayload::new(fact, *seq, by.as_ref()), 0, at)
            }
            Pushed::Update(fact) => {
                Update::of(fact).map_or_else(Vec::new, |update| line(update.kind(), update, 0, at))
            }
            Pushed::Unread(unread) => line("unread", Unread { unread: *unread }, 0, at),
            // It came as a line.
            Pushed::PassedOn(_) => Vec::new(),
            Pushed::Wake => line("wake", Nothing {}, 0, at),
            Pushed::Shutdown(reason) => {
                line("shutdown", Shutdown { reason: reason.clone() }, 0, at)
            }
        }
    }
}

/// A line, with a text of `room` bytes in it.
fn line<T: Serialize>(kind: &'static str, payload: T, room: usize, at: Timestamp) -> Vec<u8> {
    #[derive(Serialize)]
    struct Line<T> {
        #[serde(rename = "type")]
        kind: &'static str,
        payload: T,
        timestamp: Timestamp,
    }
    let mut out = Vec::with_capacity(512 + room);
    // Plain data into memory: cannot fail; a line that did would be dropped by its reader.
    if serde_json::to_writer(&mut out, &Line { kind, payload, timestamp: at }).is_err() {
        out.clear();
    }
    out.push(b'\n');
    out
}

/// A subscribed event. The payload of a built-in one is an object whose fields stand beside
/// `eventType`, by name; that of a custom one stands under `data`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventPayload<'a> {
    event_type: &'a str,
    seq: Seq,
    #[serde(skip_serializing_if = "Option::is_none")]
    emitted_by: Option<&'a Party>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    fields: Option<Value>,
}

impl<'a> EventPayload<'a> {
    fn new(fact: &'a Fact, seq: Seq, emitted_by: Option<&'a Party>) -> Self {
        let (data, fields) = match fact {
            Fact::Custom { payload, .. } => (serde_json::from_str(payload).ok(), None),
            fact => (None, serde_json::to_value(fact).ok()),
        };
        let event_type = fact.event_type().unwrap_or_default();
        Self { event_type, seq, emitted_by, data, fields }
    }
}

/// What everyone is told of a fact: of a peer with all its fields.
#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum Update<'a> {
    Peer {
        action: &'static str,
        #[serde(flatten)]
        fact: &'a Fact,
    },
    Lock {
        file_path: &'a str,
        action: &'static str,
        by: &'a Party,
    },
}

impl<'a> Update<'a> {
    fn of(fact: &'a Fact) -> Option<Self> {
        let peer = |action| Self::Peer { action, fact };
        Some(match fact {
            Fact::PeerJoined { .. } => peer("joined"),
            Fact::PeerLeft { .. } => peer("left"),
            Fact::PeerChanged { .. } => peer("state_changed"),
            Fact::LockTaken { file_path, locked_by, .. } => {
                Self::Lock { file_path, action: "locked", by: locked_by }
            }
            Fact::LockFreed { file_path, locked_by, .. } => {
                Self::Lock { file_path, action: "unlocked", by: locked_by }
            }
            _ => return None,
        })
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Peer { .. } => "peer_update",
            Self::Lock { .. } => "lock_update",
        }
    }
}

impl Fact {
    /// Whether everyone is told of it, but who has caused it.
    #[must_use]
    pub fn is_update(&self) -> bool {
        Update::of(self).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fact::tests::all as facts;
    use super::super::fact::{PeerChange, Presence};
    use super::*;
    use crate::model::PeerId;

    fn message() -> Message {
        Message {
            seq: Seq(5),
            id: MessageId::new(Seq(5), [1; 16]),
            from: Party::Cli,
            from_name: "cli".into(),
            to: None,
            to_name: None,
            to_host: None,
            to_group: None,
            kind: MessageKind::Text,
            payload: "one\ntwo \"q\"".into(),
            reply_to: None,
            created_at: Timestamp(0),
            delivered_at: None,
            told: None,
            read_at: None,
            reached: None,
        }
    }

    fn text(told: Pushed, at: Timestamp) -> String {
        let frame = PushFrame::new(told, at);
        assert!(Rc::ptr_eq(frame.line(), frame.line()), "written once");
        let text = String::from_utf8(frame.line().to_vec()).unwrap();
        assert_eq!((text.strip_suffix('\n'), text.len()), (Some(frame.json()), frame.size()));
        text
    }

    fn event(fact: Fact, seq: u64, by: Option<Party>) -> String {
        text(Pushed::Event { fact: Rc::new(fact), seq: Seq(seq), by }, Timestamp(0))
    }

    #[test]
    fn a_message_frame_is_one_line_and_reads_back() {
        let pushed = PushedMessage::new(message(), Some("codex"));
        let text = text(Pushed::Message(pushed.clone()), Timestamp(1_775_644_201_123));
        assert_eq!(text.find('\n'), Some(text.len() - 1));
        let id = message().id;
        let expected = format!(
            r#"{{"type":"message","payload":{{"messageId":"{id}","handle":"{}","fromPeer":"cli","fromName":"cli","fromAgent":"codex","text":"one\ntwo \"q\"","messageType":"text","broadcast":true,"replyTo":null,"seq":5}},"timestamp":"2026-04-08T10:30:01.123Z"}}"#,
            id.handle()
        );
        assert_eq!(text.trim_end(), expected);
        assert_eq!(read_frame(text.as_bytes()), Ok(Frame::Message(pushed)));
    }

    #[test]
    fn only_a_message_is_never_dropped() {
        let pushed = PushedMessage::new(message(), None);
        assert_eq!(PushFrame::new(Pushed::Message(pushed), Timestamp(0)).message(), Some(Seq(5)));
        assert_eq!(PushFrame::new(Pushed::Wake, Timestamp(0)).message(), None);
    }

    #[test]
    fn built_in_events_are_spread_and_custom_ones_are_not() {
        let read = Fact::MessageRead {
            message_ids: Vec::new(),
            from_peer: Party::Label("bob".into()),
            read_by: Party::Cli,
        };
        assert_eq!(
            event(read, 1, Some(Party::Cli)),
            "{\"type\":\"event\",\"payload\":{\"eventType\":\"message_read\",\"seq\":1,\
             \"emittedBy\":\"cli\",\"fromPeer\":\"bob\",\"messageIds\":[],\"readBy\":\"cli\"},\
             \"timestamp\":\"1970-01-01T00:00:00.000Z\"}\n"
        );
        let custom = Fact::Custom { kind: "a.b".into(), payload: r#"[1, {"seq":9}]"#.into() };
        assert_eq!(
            event(custom, 2, None),
            "{\"type\":\"event\",\"payload\":{\"eventType\":\"a.b\",\"seq\":2,\
             \"data\":[1, {\"seq\":9}]},\"timestamp\":\"1970-01-01T00:00:00.000Z\"}\n"
        );
    }

    #[test]
    fn everyone_is_told_of_peers_and_locks() {
        let mut told = Vec::new();
        for (fact, _) in facts() {
            if fact.is_update() {
                told.push(text(Pushed::Update(Rc::new(fact)), Timestamp(0)));
            }
        }
        let peer = PeerId::from_random([1; 16]);
        let change = |change| Fact::PeerChanged { name: "a".into(), peer_id: peer, change };
        for change in [
            change(PeerChange::Summary("s".into())),
            change(PeerChange::Status(Presence::Away)),
            change(PeerChange::Status(Presence::Active)),
        ] {
            assert!(change.is_update());
            told.push(text(Pushed::Update(Rc::new(change)), Timestamp(0)));
        }
        let peer_update = |payload: &str| {
            let payload = payload.replace("PEER", &peer.to_string());
            format!(
                r#"{{"type":"peer_update","payload":{{{payload}}},"timestamp":"1970-01-01T00:00:00.000Z"}}"#
            )
        };
        let lock_update = |action: &str| {
            format!(
                r#"{{"type":"lock_update","payload":{{"filePath":"/f","action":"{action}","by":"cli"}},"timestamp":"1970-01-01T00:00:00.000Z"}}"#
            )
        };
        let expected = [
            peer_update(
                r#""action":"joined","agentType":"codex","name":"a \"b\"","peerId":"PEER","projectPath":"/w""#,
            ),
            peer_update(r#""action":"left","name":"a","peerId":"PEER","reason":"crashed""#),
            lock_update("locked"),
            lock_update("unlocked"),
            lock_update("unlocked"),
            peer_update(r#""action":"state_changed","name":"a","peerId":"PEER","summary":"s""#),
            peer_update(r#""action":"state_changed","name":"a","peerId":"PEER","status":"away""#),
            peer_update(r#""action":"state_changed","name":"a","peerId":"PEER","status":"active""#),
        ];
        assert_eq!(told, expected.map(|line| line + "\n"));
    }

    #[test]
    fn acknowledgements_read_back_and_nothing_else_does() {
        let id = MessageId::new(Seq(9), [2; 16]);
        assert_eq!(read_ack(ack_line(id).trim_end().as_bytes()), Some(id));
        for bad in ["", "{}", "{\"ack\":5}", "{\"ack\":\"x\"}", "[]"] {
            assert_eq!(read_ack(bad.as_bytes()), None);
        }
    }

    #[test]
    fn frames_are_told_apart() {
        let read = |told| read_frame(text(told, Timestamp(0)).as_bytes());
        assert_eq!(read(Pushed::Shutdown("stopped".into())), Ok(Frame::Shutdown("stopped".into())));
        assert_eq!(read(Pushed::Wake), Ok(Frame::Wake));
        assert_eq!(read(Pushed::Unread(3)), Ok(Frame::Unread(3)));
        let custom = Fact::Custom { kind: "a".into(), payload: "1".into() };
        let custom = Pushed::Event { fact: Rc::new(custom), seq: Seq(2), by: None };
        let Ok(Frame::Event(event)) = read(custom) else { panic!("no event") };
        assert_eq!((&event["data"], &event["seq"]), (&1.into(), &2.into()));
        let lock = facts().into_iter().find(|(fact, _)| matches!(fact, Fact::LockTaken { .. }));
        let lock = Pushed::Update(Rc::new(lock.unwrap().0));
        assert_eq!(read(lock), Ok(Frame::Other("lock_update".into())));
        assert!(read_frame(b"nonsense").is_err());
    }
}
