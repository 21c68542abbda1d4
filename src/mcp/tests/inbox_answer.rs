use serde_json::Value;

use super::*;
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::model::{Handle, MessageKind, Seq, Timestamp};

fn id(n: u64) -> MessageId {
    MessageId::new(Seq(n), [0; 16])
}

/// A message as the broker lists it.
pub(in crate::mcp) fn listed(n: u64, payload: &str) -> MessageInfo {
    MessageInfo {
        id: id(n),
        handle: Handle::of(Seq(n)),
        from_agent: None,
        sent_at: None,
        sent_by: None,
        sent_status: None,
        sent_count: None,
        from_peer: Party::Cli,
        from_name: "cli".into(),
        to_peer: Some(Party::parse("bob")),
        to_name: None,
        to_group: None,
        kind: MessageKind::Text,
        payload: payload.into(),
        reply_to: None,
        created_at: Timestamp(0),
        delivered: true,
        delivered_at: None,
        notified_at: None,
        notified_by: None,
        read_at: None,
        stage: None,
        undeliverable_at: None,
        recipients: None,
        delivered_count: None,
        notified_count: None,
        read_count: None,
        seq: Seq(n),
    }
}

fn inbox(payloads: &[&str], remaining: u64) -> Messages {
    let messages = (1..).zip(payloads).map(|(n, payload)| listed(n, payload)).collect();
    Messages { messages, remaining }
}

/// What an agent reads of it.
fn read(portion: &InboxAnswer) -> Value {
    assert!(portion.text.len() <= ANSWER_BYTES_MAX, "{}", portion.text.len());
    serde_json::from_str(&portion.text).unwrap()
}

fn unread(list: &Messages) -> InboxAnswer {
    InboxAnswer::new(list, Filter::Unread, &[], |_| 0)
}

#[test]
fn what_does_not_fit_remains() {
    let long = "x".repeat(9_000);
    let list = inbox(&[&*long; 10], 5);
    let portion = unread(&list);
    let answer = read(&portion);
    let messages = answer["messages"].as_array().unwrap();
    assert_eq!((messages.len(), &answer["remaining"]), (4, &11.into()));
    assert_eq!(messages[0]["id"], id(1).to_string(), "the oldest first");
    assert!(messages[0].get("part").is_none());
    assert_eq!(portion.read(), [id(1), id(2), id(3), id(4)]);
    // Of all, the newest.
    let portion = InboxAnswer::new(&list, Filter::All, &[], |_| 0);
    assert_eq!(portion.read(), [id(7), id(8), id(9), id(10)]);
    assert_eq!(read(&portion)["messages"][3]["id"], id(10).to_string());
    // And nothing, of nothing.
    assert_eq!(InboxAnswer::none(), r#"{"ok":true,"messages":[],"remaining":0}"#);
}

#[test]
fn both_sides_of_the_size_of_an_answer() {
    let around = read_len("");
    let fits = "x".repeat(ANSWER_BYTES_MAX - FRAME_BYTES - around - 1);
    let portion = unread(&inbox(&[&fits], 0));
    assert_eq!(read(&portion)["messages"][0]["payload"], *fits);
    let portion = unread(&inbox(&[&(fits + "x")], 0));
    assert_eq!(read(&portion)["messages"][0]["of"], 2);
}

/// The length of a message with this text.
fn read_len(payload: &str) -> usize {
    answers::message(&listed(1, payload), Filter::Unread, None).len()
}

#[test]
fn a_large_message_comes_in_parts_and_is_read_with_the_last() {
    let texts = ["x".repeat(PAYLOAD_BYTES_MAX), "\u{1}".repeat(PAYLOAD_BYTES_MAX), {
        let nasty = "é\"\n🦊</\u{ad}\u{e0041}".repeat(PAYLOAD_BYTES_MAX / 16);
        assert!(nasty.len() <= PAYLOAD_BYTES_MAX);
        nasty
    }];
    for text in &texts {
        let list = inbox(&["before", text, "after"], 0);
        let portion = unread(&list);
        assert_eq!((portion.read(), &read(&portion)["remaining"]), (vec![id(1)], &2.into()));
        let list = Messages { messages: list.messages[1..].to_vec(), remaining: 0 };
        let mut whole = String::new();
        for had in 0.. {
            let portion = InboxAnswer::new(&list, Filter::Unread, &[], |_| had);
            let answer = read(&portion);
            let first = &answer["messages"][0];
            whole.push_str(first["payload"].as_str().unwrap());
            assert_eq!(first["part"], had + 1);
            if first["part"] == first["of"] {
                assert_eq!(portion.read()[0], id(2));
                break;
            }
            assert_eq!((portion.read(), &answer["remaining"]), (vec![], &2.into()));
            assert_eq!(answer["messages"].as_array().unwrap().len(), 1);
        }
        assert!(whole == *text);
    }
}

#[test]
fn what_was_missed_comes_first_and_says_so() {
    let before = unread(&inbox(&["one", "two"], 0));
    let list = Messages { messages: vec![listed(3, "three")], remaining: 0 };
    let portion = InboxAnswer::new(&list, Filter::Unread, &before.given, |_| 0);
    let answer = read(&portion);
    let messages = answer["messages"].as_array().unwrap();
    let told: Vec<_> =
        messages.iter().map(|m| (m["payload"].as_str().unwrap(), &m["repeated"])).collect();
    let yes = Value::Bool(true);
    assert_eq!(told, [("one", &yes), ("two", &yes), ("three", &Value::Null)]);
    assert_eq!(portion.read(), [id(3)], "the others are read already");
}

#[test]
fn only_what_was_unread_is_read_now() {
    let mut list = inbox(&["one", "two"], 0);
    list.messages[0].read_at = Some(Timestamp(1));
    assert_eq!(InboxAnswer::new(&list, Filter::All, &[], |_| 0).read(), [id(2)]);
    let sent = InboxAnswer::new(&list, Filter::Sent, &[], |_| 0);
    assert!(sent.given.is_empty() && read(&sent)["messages"][1]["payload"] == "two");
}
