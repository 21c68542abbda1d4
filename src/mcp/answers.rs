//! What an agent is given: results of tools, the reasons why there is none, and resources.

use std::borrow::Cow;
use std::path::Path;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use super::arguments::{Tool, ToolCall};
use super::trim::{Keep, fit, push, trim};
use crate::agent::namespace::as_told;
use crate::api::{Filter, Members, MessageInfo, Refusal, Request, Sent};
use crate::client::ClientError;
use crate::client::paths::remark;
use crate::limits::SENT_CHARS_MAX;
use crate::model::PeerId;
use crate::names::{self, SHARED_NAMESPACE};
use crate::text::armour;

/// Members of replies that an agent has no use for.
const DROPPED_OF_PEERS: [&str; 3] = ["udsPath", "gitRoot", "lastHeartbeat"];
const DROPPED_OF_STATUS: [&str; 3] = ["pid", "role", "agents"];

/// Which part of a message, of how many; the first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MessagePart {
    pub(super) number: usize,
    pub(super) of: usize,
}

impl MessagePart {
    pub(super) fn is_last(self) -> bool {
        self.number == self.of
    }
}

/// A message as an agent sees it, or a part of one with the text of that part. It leaves out what is the
/// same for all messages of the list, such as its sender in those that the agent has sent.
struct ShownMessage<'a> {
    message: &'a MessageInfo,
    filter: Filter,
    part: Option<(MessagePart, &'a str)>,
}

impl Serialize for ShownMessage<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { message, filter, part } = *self;
        let sent = filter == Filter::Sent;
        let payload: Cow<'_, str> = match part {
            Some((_, text)) => text.into(),
            None if sent => beginning(&message.payload),
            None => (&*message.payload).into(),
        };
        let mut map = serializer.serialize_map(None)?;
        macro_rules! members {
            ($($name:literal: $value:expr,)*) => {
                $( if let Some(value) = &$value { map.serialize_entry($name, value)?; } )*
            };
        }
        members! {
            "handle": Some(message.handle),
            "id": Some(message.id),
            "fromPeer": (!sent).then_some(&message.from_peer),
            "fromName": (!sent).then_some(&message.from_name),
            "fromAgent": message.from_agent.as_ref().filter(|_| !sent),
            "toPeer": message.to_peer.as_ref().filter(|_| sent),
            "toName": message.to_name.as_ref().filter(|_| sent),
            "toGroup": message.to_group,
            "broadcast": message.to_peer.is_none().then_some(true),
            "type": Some(message.kind),
            "part": part.map(|(part, _)| part.number),
            "of": part.map(|(part, _)| part.of),
            "payload": Some(payload),
            "replyTo": message.reply_to,
            "createdAt": Some(message.created_at),
            "stage": message.stage,
            "delivered": sent.then_some(message.delivered),
            "deliveredAt": message.delivered_at.filter(|_| sent),
            "sentAt": message.sent_at.filter(|_| sent),
            "sentBy": message.sent_by.filter(|_| sent),
            "sentStatus": message.sent_status.filter(|_| sent),
            "notifiedAt": message.notified_at.filter(|_| sent),
            "notifiedBy": message.notified_by.filter(|_| sent),
            "readAt": message.read_at,
            "undeliverableAt": message.undeliverable_at,
            "recipients": message.recipients,
            "deliveredCount": message.delivered_count,
            "sentCount": message.sent_count,
            "notifiedCount": message.notified_count,
            "readCount": message.read_count,
        }
        map.end()
    }
}

/// The beginning of a text that the agent has written itself.
fn beginning(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SENT_CHARS_MAX) {
        None => text.into(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
    }
}

/// A message as an agent sees it, or a part of it with the text of that part; armoured, so that its
/// length is known.
pub(super) fn message(
    message: &MessageInfo,
    filter: Filter,
    part: Option<(MessagePart, &str)>,
) -> String {
    armour(&text(&ShownMessage { message, filter, part })).into_owned()
}

/// The result of a call that is answered with what the broker said. Relative paths are from `project`.
pub(super) fn result(call: &ToolCall, body: &[u8], project: &Path) -> Option<String> {
    let note = match call {
        ToolCall::Ask(Request::Send(send)) => note(&send.to_peer, body),
        ToolCall::Ask(Request::Lock(lock)) => remark(project, &lock.path.file_path),
        _ => None,
    };
    if let Some(note) = note {
        let mut answer: serde_json::Map<String, Value> = serde_json::from_slice(body).ok()?;
        answer.insert("note".to_owned(), note.into());
        return Some(text(&answer));
    }
    if let ToolCall::Ask(
        Request::GetState { .. }
        | Request::ListState { .. }
        | Request::SetState(_)
        | Request::DeleteState { .. },
    ) = call
    {
        return state(body);
    }
    let dropped: &[&str] = match call {
        ToolCall::Peers(_) | ToolCall::Ask(Request::Peers(_)) => &DROPPED_OF_PEERS,
        _ => &[],
    };
    let keep = match call {
        // Without a place to begin at, the newest are meant.
        ToolCall::Ask(Request::ReadEvents(read))
            if read.after.is_none() && read.since.is_none() =>
        {
            Keep::Last
        }
        _ => Keep::First,
    };
    trim(body, dropped).map(|answer| fit(armour(&answer).into_owned(), keep))
}

/// The result of `mesh_state`, with the namespace once, by the name that agents have for it.
fn state(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Place<'a> {
        /// None from a broker of an earlier version, which may run on after an update.
        #[serde(borrow)]
        namespace: Option<Cow<'a, str>>,
        #[serde(default, rename = "inDefault")]
        in_default: bool,
    }
    let place: Place<'_> = serde_json::from_slice(body).ok()?;
    let trimmed = trim(body, &["namespace", "inDefault"])?;
    let Members(members): Members<'_> = serde_json::from_str(&trimmed).ok()?;
    let mut out = String::new();
    push(&mut out, "ok", "true");
    if let Some(namespace) = place.namespace {
        push(&mut out, "namespace", &text(as_told(&namespace)));
    }
    for (name, value) in members.iter().filter(|(name, _)| name != "ok") {
        push(&mut out, name, value.get());
    }
    if place.in_default {
        let note = format!("there is one in the namespace {SHARED_NAMESPACE}");
        push(&mut out, "note", &text(&note));
    }
    out.push('}');
    Some(fit(armour(&out).into_owned(), Keep::First))
}

/// What a sender should know and the broker's answer says only in numbers.
fn note(to: &str, body: &[u8]) -> Option<String> {
    match serde_json::from_slice(body).ok()? {
        Sent::Direct { queued: true, .. } => Some(format!(
            "nobody is called {to} now: the message waits for the next session of that name, for a \
             day at most"
        )),
        Sent::Broadcast { recipients: 0, .. } => Some(match to {
            names::REPO => "nobody else is in your repository: nothing was sent".to_owned(),
            names::DIRECTORY => "nobody else is in your directory: nothing was sent".to_owned(),
            topic if topic.starts_with(names::TOPIC) => {
                format!("nobody listens to {topic}: nothing was sent")
            }
            _ => "nobody else is here: nothing was sent".to_owned(),
        }),
        _ => None,
    }
}

/// Who this session is, for `mesh_status`.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OwnStatus<'a> {
    pub(super) id: PeerId,
    pub(super) name: &'a str,
    /// The name it asked for, if it could not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name_taken: Option<&'a str>,
    /// Which agent it is.
    pub(super) agent_type: &'a str,
    pub(super) project_path: &'a str,
    /// The branch checked out there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) git_branch: Option<Box<str>>,
    /// Whether messages are pushed to this session, rather than found when it asks.
    pub(super) push: bool,
    /// Messages that wait for it.
    pub(super) unread: u64,
}

/// The result of `mesh_status`: the broker's own, and who asks.
pub(super) fn status(body: &[u8], you: &OwnStatus<'_>) -> Option<String> {
    let trimmed = trim(body, &DROPPED_OF_STATUS)?;
    let Members(members): Members<'_> = serde_json::from_str(&trimmed).ok()?;
    let mut out = format!("{{\"ok\":true,\"you\":{}", text(you));
    for (name, value) in members {
        push(&mut out, &name, value.get());
    }
    out.push('}');
    Some(out)
}

/// The result of a call whose arguments are refused.
pub(super) fn refusal(refusal: &Refusal) -> String {
    text(refusal)
}

/// The result of a call that has failed, in the words of its tool.
pub(super) fn failure(error: &ClientError, tool: Option<Tool>) -> String {
    let is_known_again = tool == Some(Tool::Send) && error.leaves_doubt();
    let more = if is_known_again {
        "; the same mesh_send again within a minute is not sent twice"
    } else {
        ""
    };
    if let ClientError::Refused(refused) = error
        && let Some(mut body) = trim(&refused.body, &[])
            .and_then(|text| serde_json::from_str::<serde_json::Map<String, Value>>(&text).ok())
    {
        if let Some(tool) = tool {
            let sentence = tool.in_own_words(&refused.message);
            body.insert("error".to_owned(), format!("{sentence}{more}").into());
        }
        return refused_text(&body);
    }
    text(&json!({"ok": false, "error": format!("{error}{more}"), "code": error.word()}))
}

/// A refusal with its sentence first.
fn refused_text(body: &serde_json::Map<String, Value>) -> String {
    let mut out = String::from("{\"ok\":false");
    let first = ["error", "code"];
    let rest = body.keys().map(String::as_str).filter(|key| *key != "ok" && !first.contains(key));
    for key in first.into_iter().chain(rest) {
        if let Some(value) = body.get(key) {
            push(&mut out, key, &value.to_string());
        }
    }
    out.push('}');
    out
}

/// The result of a call that is not made.
pub(super) fn trouble(code: &str, sentence: &str) -> String {
    text(&json!({"ok": false, "error": sentence, "code": code}))
}

/// Plain data as JSON: cannot fail.
fn text<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Scope;
    use crate::client::Refused;
    use crate::mcp::inbox_answer::tests::listed;
    use crate::model::{MessageId, Party, Seq, Stage, Timestamp, Way};

    fn info(n: u64, to: Option<Party>) -> MessageInfo {
        MessageInfo { to_peer: to, delivered_at: Some(Timestamp(0)), ..listed(n, "p") }
    }

    fn seen(info: &MessageInfo, filter: Filter) -> Value {
        serde_json::from_str(&message(info, filter, None)).unwrap()
    }

    #[test]
    fn messages_say_what_their_reader_does_not_know() {
        let direct = info(1, Some(Party::parse("bob")));
        let first = seen(&direct, Filter::Unread);
        let keys: Vec<&String> = first.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["createdAt", "fromName", "fromPeer", "handle", "id", "payload", "type"]);
        assert_eq!(seen(&info(2, None), Filter::Unread)["broadcast"], true);
        let first = seen(&direct, Filter::Sent);
        assert_eq!((&first["toPeer"], &first["delivered"]), (&"bob".into(), &true.into()));
        assert!(first.get("fromPeer").is_none() && first.get("seq").is_none());
    }

    #[test]
    fn messages_begin_with_their_handles_and_keep_their_order() {
        let (at, way) = (Some(Timestamp(0)), Some(Way::Hook));
        let told = MessageInfo {
            from_agent: Some("codex".into()),
            to_name: Some("b".into()),
            to_group: Some("#build".into()),
            reply_to: Some(MessageId::new(Seq(3), [0; 16])),
            stage: Some(Stage::Notified),
            notified_at: at,
            notified_by: way,
            read_at: at,
            recipients: Some(2),
            read_count: Some(1),
            ..info(1, Some(Party::Cli))
        };
        let handle = told.handle;
        let time = "1970-01-01T00:00:00.000Z";
        let [id, other] = [1, 3].map(|n| MessageId::new(Seq(n), [0; 16]));
        let (number, of) = (2, 3);
        assert_eq!(
            message(&told, Filter::Unread, Some((MessagePart { number, of }, "art"))),
            format!(
                r##"{{"handle":"{handle}","id":"{id}","fromPeer":"cli","fromName":"cli","fromAgent":"codex","toGroup":"#build","type":"text","part":2,"of":3,"payload":"art","replyTo":"{other}","createdAt":"{time}","stage":"notified","readAt":"{time}","recipients":2,"readCount":1}}"##
            )
        );
        assert_eq!(
            message(&told, Filter::Sent, None),
            format!(
                r##"{{"handle":"{handle}","id":"{id}","toPeer":"cli","toName":"b","toGroup":"#build","type":"text","payload":"p","replyTo":"{other}","createdAt":"{time}","stage":"notified","delivered":true,"deliveredAt":"{time}","notifiedAt":"{time}","notifiedBy":"hook","readAt":"{time}","recipients":2,"readCount":1}}"##
            )
        );
    }

    #[test]
    fn a_sender_is_told_how_far_its_message_came() {
        let (at, way) = (Some(Timestamp(0)), Some(Way::Hook));
        let told = MessageInfo {
            stage: Some(Stage::Notified),
            notified_at: at,
            notified_by: way,
            ..info(1, Some(Party::Cli))
        };
        let all = MessageInfo { recipients: Some(3), notified_count: Some(2), ..info(2, None) };
        let (sent, all) = (seen(&told, Filter::Sent), seen(&all, Filter::Sent));
        assert_eq!((&sent["stage"], &sent["notifiedBy"]), (&"notified".into(), &"hook".into()));
        assert!(sent["notifiedAt"].is_string());
        assert_eq!((&all["notifiedCount"], all.get("stage")), (&2.into(), None));
        // A reader has the message itself.
        assert_eq!(seen(&told, Filter::Unread).get("notifiedBy"), None);
    }

    #[test]
    fn of_what_the_agent_has_written_itself_the_beginning_will_do() {
        for (len, shown) in [(SENT_CHARS_MAX, SENT_CHARS_MAX), (60_000, SENT_CHARS_MAX + 1)] {
            let long =
                MessageInfo { payload: "é".repeat(len).into(), ..info(1, Some(Party::Cli)) };
            let payload = seen(&long, Filter::Sent)["payload"].as_str().unwrap().to_owned();
            assert_eq!(payload.chars().count(), shown);
            assert_eq!(payload.ends_with('…'), len > SENT_CHARS_MAX);
            assert_eq!(seen(&long, Filter::All)["payload"], *long.payload);
        }
    }

    #[test]
    fn lists_lose_what_agents_do_not_need() {
        let body = br#"{"ok":true,"peers":[{"id":"x","pid":7,"udsPath":"/s","summary":null}]}"#;
        let trimmed = result(&ToolCall::Peers(Scope::Machine), body, Path::new("/")).unwrap();
        assert_eq!(trimmed, r#"{"ok":true,"peers":[{"id":"x","pid":7}]}"#);
        let entry = br#"{"ok":true,"entry":null}"#;
        assert_eq!(result(&ToolCall::Status, entry, Path::new("/")).unwrap().as_bytes(), entry);
    }

    #[test]
    fn a_sender_is_told_that_it_wakes_too_often() {
        let body =
            br#"{"ok":true,"messageId":"00000000-0001-8000-8000-000000000000","handle":"k7q2",
            "delivered":false,"pushed":true,"damped":true,"dampedReason":"too often"}"#;
        let send = r#"{"toPeer":"bob","payload":"x"}"#;
        let send = Request::decode(crate::api::Endpoint::Send, send.as_bytes()).unwrap();
        let told = result(&ToolCall::Ask(send), body, Path::new("/")).unwrap();
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!((&told["damped"], &told["dampedReason"]), (&true.into(), &"too often".into()));
        assert_eq!(told["handle"], "k7q2");
    }

    #[test]
    fn status_tells_who_asks() {
        let body = br#"{"status":"ok","version":"1","pid":5,"db":{"recoveredFrom":null}}"#;
        let you = OwnStatus {
            id: PeerId::from_random([1; 16]),
            name: "a-2",
            name_taken: Some("a"),
            agent_type: "codex",
            project_path: "/p",
            git_branch: None,
            push: true,
            unread: 0,
        };
        let value: Value = serde_json::from_str(&status(body, &you).unwrap()).unwrap();
        assert_eq!(
            (&value["you"]["name"], &value["you"]["nameTaken"]),
            (&"a-2".into(), &"a".into())
        );
        assert_eq!((&value["version"], value.get("pid")), (&"1".into(), None));
    }

    #[test]
    fn failures_say_what_to_do_and_keep_what_came_with_them() {
        let body = br#"{"ok":false,"error":"`toPeer` is gone","code":"peer_not_found","x":null}"#;
        let refused = Refused {
            status: 404,
            word: "peer_not_found".into(),
            message: "`toPeer` is gone".into(),
            body: body.to_vec(),
            retry_after: None,
        };
        let text = failure(&ClientError::Refused(Box::new(refused)), Some(Tool::Send));
        assert!(text.starts_with(r#"{"ok":false,"error":"`to` is gone","code":"peer_not_found""#));
        let text = failure(&ClientError::NoBroker, None);
        assert!(text.contains("slm-mesh start") && text.contains("no_broker"), "{text}");
    }
}
