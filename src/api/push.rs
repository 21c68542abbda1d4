//! Push frames: one JSON object a line, `{"type","payload","timestamp"}`, from the broker to a peer;
//! and the acknowledgement that comes back, `{"ack":"<messageId>"}`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::{Handle, Message, MessageId, MessageKind, Party, PeerId, Seq, Timestamp};

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
    Event(serde_json::Value),
    /// The broker is going away; the reason.
    Shutdown(Box<str>),
    /// Anything else: news of peers and locks, and what later versions may send.
    Other(Box<str>),
}

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
    #[derive(Deserialize)]
    struct Shutdown {
        reason: Box<str>,
    }
    #[derive(Deserialize)]
    struct Unread {
        unread: u64,
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

/// What happened to a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LockAction {
    /// Taken.
    Locked,
    /// Free.
    Unlocked,
}

#[derive(Serialize)]
struct Line<T> {
    #[serde(rename = "type")]
    kind: &'static str,
    payload: T,
    timestamp: Timestamp,
}

fn line<T: Serialize>(kind: &'static str, payload: T, at: Timestamp) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    // Plain data into memory: cannot fail; a line that did would be dropped by its reader.
    if serde_json::to_writer(&mut out, &Line { kind, payload, timestamp: at }).is_err() {
        out.clear();
    }
    out.push(b'\n');
    out
}

/// The frame of a message. `to` of the message tells whether it is a broadcast; `from_agent` is which
/// agent the sender is, if that is known.
pub(crate) fn message_line(message: &Message, from_agent: Option<&str>, at: Timestamp) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a> {
        message_id: MessageId,
        handle: Handle,
        from_peer: &'a Party,
        from_name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        from_agent: Option<&'a str>,
        text: &'a str,
        message_type: MessageKind,
        broadcast: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        to_name: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        to_group: Option<&'a str>,
        reply_to: Option<MessageId>,
        seq: Seq,
    }
    line(
        "message",
        Payload {
            message_id: message.id,
            handle: message.id.handle(),
            from_peer: &message.from,
            from_name: &message.from_name,
            from_agent,
            text: &message.payload,
            message_type: message.kind,
            broadcast: message.to.is_none(),
            to_name: message.to_name.as_deref(),
            to_group: message.to_group.as_deref(),
            reply_to: message.reply_to,
            seq: message.seq,
        },
        at,
    )
}

/// The frame of a subscribed event. The payload of a built-in one is an object whose fields stand
/// beside `eventType`; that of a custom one stands under `data`. `by` is who has caused it.
pub(crate) fn event_line(
    kind: &str,
    payload: &str,
    custom: bool,
    seq: Seq,
    by: Option<&Party>,
    at: Timestamp,
) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a> {
        event_type: &'a str,
        seq: Seq,
        #[serde(skip_serializing_if = "Option::is_none")]
        emitted_by: Option<&'a Party>,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'a RawValue>,
        #[serde(flatten, skip_serializing_if = "Option::is_none")]
        fields: Option<serde_json::Map<String, serde_json::Value>>,
    }
    let (data, fields) = if custom {
        (serde_json::from_str(payload).ok(), None)
    } else {
        (None, serde_json::from_str(payload).ok())
    };
    line("event", Payload { event_type: kind, seq, emitted_by: by, data, fields }, at)
}

/// News of a peer for everyone else.
pub(crate) fn peer_line(
    action: &'static str,
    peer: PeerId,
    name: &str,
    more: &[(&str, &str)],
    at: Timestamp,
) -> Vec<u8> {
    let mut payload = serde_json::Map::new();
    payload.insert("action".into(), action.into());
    payload.insert("peerId".into(), peer.to_string().into());
    payload.insert("name".into(), name.into());
    for (key, value) in more {
        payload.insert((*key).into(), (*value).into());
    }
    line("peer_update", payload, at)
}

/// News of a lock for everyone else.
pub(crate) fn lock_line(path: &str, action: LockAction, by: &Party, at: Timestamp) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a> {
        file_path: &'a str,
        action: LockAction,
        by: &'a Party,
    }
    line("lock_update", Payload { file_path: path, action, by }, at)
}

/// That something may be told to the agent now.
pub(crate) fn wake_line(at: Timestamp) -> Vec<u8> {
    #[derive(Serialize)]
    struct Nothing {}
    line("wake", Nothing {}, at)
}

/// How many messages are unread.
pub(crate) fn unread_line(unread: u64, at: Timestamp) -> Vec<u8> {
    #[derive(Serialize)]
    struct Payload {
        unread: u64,
    }
    line("unread", Payload { unread }, at)
}

/// The broker's good-bye.
pub(crate) fn shutdown_line(reason: &str, at: Timestamp) -> Vec<u8> {
    #[derive(Serialize)]
    struct Payload<'a> {
        reason: &'a str,
    }
    line("shutdown", Payload { reason }, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        Message {
            seq: Seq(5),
            id: MessageId::new(Seq(5), [1; 16]),
            from: Party::Cli,
            from_name: "cli".into(),
            to: None,
            to_name: None,
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

    #[test]
    fn a_message_frame_is_one_line_and_reads_back() {
        let line = message_line(&message(), Some("codex"), Timestamp(1_775_644_201_123));
        assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
        let text = String::from_utf8(line.clone()).unwrap();
        assert!(text.ends_with("\"timestamp\":\"2026-04-08T10:30:01.123Z\"}\n"), "{text}");
        let Ok(Frame::Message(read)) = read_frame(&line) else { panic!("{text}") };
        assert_eq!((&*read.text, read.broadcast, read.seq), ("one\ntwo \"q\"", true, Seq(5)));
        assert_eq!(read.from_agent.as_deref(), Some("codex"));
        assert_eq!(read.handle, read.message_id.handle());
    }

    #[test]
    fn built_in_events_are_spread_and_custom_ones_are_not() {
        let cli = Some(&Party::Cli);
        let built_in =
            event_line("peer_left", r#"{"peerId":"x"}"#, false, Seq(1), cli, Timestamp(0));
        let Ok(Frame::Event(value)) = read_frame(&built_in) else { panic!() };
        assert_eq!((&value["eventType"], &value["peerId"]), (&"peer_left".into(), &"x".into()));
        assert_eq!(value["emittedBy"], "cli");
        let custom = event_line("a.b", r#"[1,{"seq":9}]"#, true, Seq(2), None, Timestamp(0));
        let Ok(Frame::Event(value)) = read_frame(&custom) else { panic!() };
        assert_eq!((&value["data"][0], &value["seq"]), (&1.into(), &2.into()));
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
    fn other_frames_are_told_apart() {
        let line = shutdown_line("stopped", Timestamp(0));
        assert_eq!(read_frame(&line), Ok(Frame::Shutdown("stopped".into())));
        assert_eq!(read_frame(&wake_line(Timestamp(0))), Ok(Frame::Wake));
        assert_eq!(read_frame(&unread_line(3, Timestamp(0))), Ok(Frame::Unread(3)));
        let lock = lock_line("/f", LockAction::Locked, &Party::Cli, Timestamp(0));
        assert_eq!(read_frame(&lock), Ok(Frame::Other("lock_update".into())));
        assert!(read_frame(b"nonsense").is_err());
    }
}
