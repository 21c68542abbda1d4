//! The lines of an inbox socket: what is written to a session, and what the session writes back. No
//! I/O.
//!
//! Two agents have such sockets, each with a form of its own.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Notice, SentStatus};
use crate::agents::Dialect;
use crate::text::is_harmful;

impl Dialect {
    /// The first line of a connection.
    pub(super) fn hello(self, token: &str) -> Vec<u8> {
        line(&match self {
            Self::Claude => json!({"type": "auth", "token": token}),
            Self::Qwen => json!({"msgV": 1, "type": "auth", "token": token}),
        })
    }

    /// The line of a notice. `id` has to be new for each attempt, as a line with a known id is dropped.
    /// `own` is the path of our own socket, if there is one: answers go there.
    pub(super) fn text(self, notice: &Notice, id: Uuid, own: Option<&str>) -> Vec<u8> {
        let Notice { from, text, .. } = notice;
        let own = own.map(|path| format!("uds:{path}"));
        line(&match (self, own) {
            (Self::Claude, Some(own)) => json!({
                "type": "user",
                // In this form the user is shown one line, with the name. The client recognises it by
                // the order of its parts and its line ends, which are those that it writes itself.
                "message": {"role": "user", "content": format!(
                    "<cross-session-message from=\"{own}\" from-name=\"{}\">\n{text}\n\
                     </cross-session-message>", plain(from).unwrap_or(OURS),
                )},
                "msg_id": id,
                "priority": "next",
                "from": own,
            }),
            (Self::Claude, None) => json!({
                "type": "user",
                "message": {"role": "user", "content": text},
                "priority": "next",
                "from": OURS,
            }),
            (Self::Qwen, _) => json!({
                "msgV": 1,
                "msgId": id,
                "type": "user",
                "priority": "next",
                "from": plain(from).unwrap_or(OURS),
                "message": {"role": "user", "content": text},
            }),
        })
    }
}

/// The name of the sender where there is no other.
const OURS: &str = env!("CARGO_PKG_NAME");

/// What a session has written to our own socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// What has become of the texts that had these ids.
    Status(Vec<Uuid>, SentStatus),
    /// Its agent answers.
    Answer(String),
}

/// Reads a line of a session; none if it is of no use here.
pub(super) fn read(line: &[u8]) -> Option<Heard> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let word = |name: &str| line.get(name).and_then(Value::as_str);
    match (word("type")?, word("action")) {
        ("user", _) => {
            let content = line.get("message")?.get("content")?.as_str()?;
            let text = unwrap(content);
            (!text.trim().is_empty()).then(|| Heard::Answer(text.to_owned()))
        }
        ("control", Some("peer_message_status")) => {
            let status = match (word("status")?, word("status_detail"), word("drop_reason")) {
                // The session has that text already.
                ("dropped", _, Some("duplicate")) => return None,
                ("delivered", _, _) => SentStatus::Sent,
                ("held", _, _) => SentStatus::Held,
                ("denied", _, _) => SentStatus::Declined,
                ("expired", Some("refused"), _) => SentStatus::Refused,
                ("expired" | "dropped", _, _) => SentStatus::Dropped,
                _ => return None,
            };
            let more = line.get("dropped_msg_ids").and_then(Value::as_array);
            let ids = line.get("orig_msg_id").into_iter().chain(more.into_iter().flatten());
            let ids = ids.filter_map(|id| Uuid::parse_str(id.as_str()?).ok());
            Some(Heard::Status(ids.collect(), status))
        }
        _ => None,
    }
}

/// The text in a message between sessions; all of `content` if it is no such message.
fn unwrap(content: &str) -> &str {
    let inner = || {
        let (_, text) = content.trim().strip_prefix("<cross-session-message")?.split_once(">\n")?;
        text.strip_suffix("</cross-session-message>")?.strip_suffix('\n')
    };
    inner().unwrap_or(content)
}

/// `text`, if it can be the value of an attribute without escapes.
pub(super) fn plain(text: &str) -> Option<&str> {
    let stands_out = |c: char| is_harmful(c) || matches!(c, '"' | '<' | '>' | '&');
    (!text.is_empty() && !text.contains(stands_out)).then_some(text)
}

fn line(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(7);

    fn written(dialect: Dialect, from: &str, own: Option<&str>) -> Value {
        let notice = Notice { id: 1, from: from.into(), text: "one \"\ntwo".into() };
        let line = dialect.text(&notice, ID, own);
        assert_eq!(line.split(|byte| *byte == b'\n').count(), 2);
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn a_text_for_claude_code_is_one_of_another_session() {
        assert_eq!(
            written(Dialect::Claude, "web-codex", Some("/tmp/cc-socks/9.sock")),
            json!({
                "type": "user", "priority": "next", "msg_id": ID, "from": "uds:/tmp/cc-socks/9.sock",
                "message": {"role": "user", "content":
                    "<cross-session-message from=\"uds:/tmp/cc-socks/9.sock\" \
                     from-name=\"web-codex\">\none \"\ntwo\n</cross-session-message>"},
            })
        );
        for strange in ["", "a\"b", "a>b", "<a", "a\nb", "a\u{202e}b"] {
            let content = &written(Dialect::Claude, strange, Some("/9"))["message"]["content"];
            assert!(content.as_str().unwrap().contains("\"uds:/9\" from-name=\"slm-mesh\">\none"));
        }
        // Nobody could be answered: it says no more than it has to.
        assert_eq!(
            written(Dialect::Claude, "web-codex", None),
            json!({
                "type": "user", "priority": "next", "from": "slm-mesh",
                "message": {"role": "user", "content": "one \"\ntwo"},
            })
        );
    }

    #[test]
    fn a_text_for_qwen_code_is_wrapped_by_it() {
        for own in [None, Some("/tmp/9.sock")] {
            assert_eq!(
                written(Dialect::Qwen, "web-codex", own),
                json!({
                    "msgV": 1, "msgId": ID, "type": "user", "priority": "next", "from": "web-codex",
                    "message": {"role": "user", "content": "one \"\ntwo"},
                })
            );
        }
        let hello: Value = serde_json::from_slice(&Dialect::Qwen.hello("t")).unwrap();
        assert_eq!(hello, json!({"msgV": 1, "type": "auth", "token": "t"}));
    }

    #[test]
    fn what_became_of_a_text_is_understood() {
        let receipt = |more: &str| {
            let line = format!(
                "{{\"type\":\"control\",\"action\":\"peer_message_status\",\"orig_msg_id\":\"{ID}\",\
                 \"reason\":\"r\",\"from\":\"uds:/1\",\"msgV\":1,\"msg_id\":\"x\",{more}}}"
            );
            read(line.as_bytes())
        };
        for (more, status) in [
            (r#""status":"held""#, SentStatus::Held),
            (r#""status":"delivered""#, SentStatus::Sent),
            (r#""status":"denied""#, SentStatus::Declined),
            (r#""status":"expired","status_detail":"refused""#, SentStatus::Refused),
            (r#""status":"expired""#, SentStatus::Dropped),
            (r#""status":"dropped","drop_reason":"rate""#, SentStatus::Dropped),
        ] {
            assert_eq!(receipt(more), Some(Heard::Status(vec![ID], status)), "{more}");
        }
        let several = format!(r#""status":"dropped","dropped_msg_ids":["{ID}",5,"no id"]"#);
        assert_eq!(receipt(&several), Some(Heard::Status(vec![ID, ID], SentStatus::Dropped)));
        assert_eq!(receipt(r#""status":"dropped","drop_reason":"duplicate""#), None);
        assert_eq!(receipt(r#""status":"sold""#), None);
        for nonsense in ["", "{", "5", "[]", "{\"type\":\"control\"}", "{\"type\":5}", "\u{0}"] {
            assert_eq!(read(nonsense.as_bytes()), None);
        }
        assert_eq!(read(b"\xff\xff"), None);
        let idle = br#"{"type":"control","action":"peer_idle_notice","orig_msg_id":"x"}"#;
        assert_eq!(read(idle), None);
    }

    #[test]
    fn an_answer_is_taken_out_of_what_stands_around_it() {
        let answer = |content: &str| {
            let content = json!(content);
            read(format!("{{\"type\":\"user\",\"message\":{{\"content\":{content}}}}}").as_bytes())
        };
        let said = |text: &str| Some(Heard::Answer(text.into()));
        let head = "<cross-session-message from=\"uds:/tmp/cc-socks/49.sock\" hop-chain=\"d0\" \
                    from-name=\"proj-cd\" from-mode=\"prompting\">\n";
        for text in ["yes", "a\n> b\n\nc", " indented", "<cross-session-message>\nx"] {
            let content = format!("{head}{text}\n</cross-session-message>");
            assert_eq!(answer(&content), said(text), "{content}");
        }
        assert_eq!(answer("plain"), said("plain"));
        assert_eq!(answer(&format!("{head}no end")), said(&format!("{head}no end")));
        assert_eq!(answer(&format!("{head}\n</cross-session-message>")), None);
        assert_eq!(answer(""), None);
        assert_eq!(read(br#"{"type":"user","message":{"content":[]}}"#), None);
    }
}
