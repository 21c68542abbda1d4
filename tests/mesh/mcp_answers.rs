//! What agents are given by the MCP server: how much at once, what of it comes again, and what is
//! said when nobody knows what has become of a call.

use std::thread::sleep;
use std::time::Duration;

use crate::common::agent::Agent;
use crate::common::{Mesh, send_signal, wait_until};
use serde_json::{Value, json};
use slm_mesh::limits::{ANSWER_BYTES_MAX, ANSWER_PROMPT};

/// Two agents, with the name of the second.
fn two(mesh: &Mesh) -> (Agent, Agent, String) {
    let (mut a, mut b) = (Agent::new(mesh), Agent::new(mesh));
    a.who();
    let (_, name) = b.who();
    (a, b, name)
}

#[track_caller]
fn send(from: &mut Agent, to: &str, text: &str) {
    from.tool("mesh_send", &json!({"to": to, "message": text})).ok();
}

/// How many of the last messages of `sender` are read.
fn count_read(sender: &mut Agent) -> usize {
    let sent = sender.tool("mesh_inbox", &json!({"filter": "sent", "limit": 100})).ok();
    let messages = sent["messages"].as_array().unwrap();
    messages.iter().filter(|message| message["stage"] == "read").count()
}

#[test]
fn an_inbox_comes_in_portions_and_large_messages_in_parts() {
    let mesh = Mesh::unlimited();
    let (mut a, mut b, to) = two(&mesh);
    let large = "é\n".repeat(20_000);
    let mut sent: Vec<String> = (0..12).map(|n| format!("{n} {}", "x".repeat(8_000))).collect();
    sent.insert(6, large);
    for text in &sent {
        send(&mut a, &to, text);
    }
    let (mut got, mut part, mut calls) = (Vec::new(), String::new(), 0);
    loop {
        let answer = b.tool("mesh_inbox", &json!({"limit": 100}));
        assert!(answer.texts[0].len() <= ANSWER_BYTES_MAX, "{}", answer.texts[0].len());
        let answer = answer.ok();
        let messages = answer["messages"].as_array().unwrap();
        assert!(!messages.is_empty());
        for message in messages {
            let text = message["payload"].as_str().unwrap();
            match (message["part"].as_u64(), message["of"].as_u64()) {
                (None, None) => got.push(text.to_owned()),
                (Some(number), Some(of)) => {
                    part.push_str(text);
                    if number == of {
                        got.push(std::mem::take(&mut part));
                    }
                }
                _ => panic!("{message}"),
            }
        }
        assert_eq!(answer["remaining"], sent.len() - got.len());
        calls += 1;
        // Nothing is read before the agent has all of it.
        wait_until("it is read", || count_read(&mut a) == got.len());
        if answer["remaining"] == 0 {
            break;
        }
    }
    assert!(got == sent && (4..10).contains(&calls), "{calls} calls");
}

#[test]
fn lists_are_cut_and_say_how_to_go_on() {
    let mesh = Mesh::unlimited();
    let mut agent = Agent::new(&mesh);
    let value = "v".repeat(15_000);
    for n in 0..6 {
        let key = format!("k{n}");
        agent.tool("mesh_state", &json!({"action": "set", "key": key, "value": value})).ok();
    }
    let answer = agent.tool("mesh_state", &json!({"action": "list"}));
    assert!(answer.texts[0].len() <= ANSWER_BYTES_MAX, "{}", answer.texts[0].len());
    let list = answer.ok();
    assert_eq!(list["entries"][1]["value"], *value);
    assert_eq!(list["remaining"], 4);
    assert_eq!(list["remainingKeys"], json!(["k2", "k3", "k4", "k5"]));
    let list = agent.tool("mesh_state", &json!({"action": "list", "key": "k5"})).ok();
    assert_eq!((list["entries"].as_array().unwrap().len(), list.get("remaining")), (1, None));
    // One value is given whole.
    let large = "\"".repeat(64 * 1024);
    agent.tool("mesh_state", &json!({"action": "set", "key": "large", "value": large})).ok();
    let got = agent.tool("mesh_state", &json!({"action": "get", "key": "large"})).ok();
    assert_eq!(got["entry"]["value"], *large);
}

/// Reads events of the type `a.b`: the numbers in them, and the answer.
fn read_events(agent: &mut Agent, since: &Value) -> (Vec<u64>, Value) {
    let answer = agent.tool("mesh_events", &json!({"types": "a.b", "since": since}));
    assert!(answer.texts[0].len() <= ANSWER_BYTES_MAX, "{}", answer.texts[0].len());
    let answer = answer.ok();
    let number = |event: &Value| {
        let payload: Value = serde_json::from_str(event["payload"].as_str().unwrap()).unwrap();
        payload["n"].as_u64().unwrap()
    };
    (answer["events"].as_array().unwrap().iter().map(number).collect(), answer)
}

#[test]
fn events_are_read_in_portions_and_none_is_left_out() {
    let mesh = Mesh::unlimited();
    let mut agent = Agent::new(&mesh);
    for n in 0..6 {
        let payload = json!({"n": n, "x": "x".repeat(15_000)});
        let event = json!({"action": "emit", "type": "a.b", "payload": payload});
        agent.tool("mesh_events", &event).ok();
    }
    let (mut numbers, mut since) = (Vec::new(), json!(0));
    while numbers.len() < 6 {
        let (some, answer) = read_events(&mut agent, &since);
        numbers.extend(some);
        assert_eq!(answer["remaining"].as_u64().unwrap_or(0), 6 - numbers.len() as u64);
        since = answer["lastSeq"].clone();
    }
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
    assert_eq!(read_events(&mut agent, &Value::Null).0, [4, 5], "the newest");
}

#[test]
fn a_message_whose_call_may_have_been_given_up_comes_again() {
    let mesh = Mesh::unlimited();
    let (mut a, mut b, to) = two(&mesh);
    let given_up = b.ask_tool("mesh_inbox", &json!({"wait": 50}));
    sleep(ANSWER_PROMPT + Duration::from_millis(200));
    send(&mut a, &to, "hello");
    // The answer is there, but nobody waits for it.
    assert_eq!(b.tool_answer(given_up).ok()["messages"][0]["payload"], "hello");
    let again = b.tool("mesh_inbox", &json!({"wait": 50})).ok();
    assert_eq!(again["messages"][0]["payload"], "hello");
    assert_eq!(again["messages"][0]["repeated"], true);
    assert_eq!(b.tool("mesh_inbox", &json!({})).ok()["messages"], json!([]));

    // Given up, and called again, before it came.
    b.ask_tool("mesh_inbox", &json!({"wait": 50}));
    let waiting = b.ask_tool("mesh_inbox", &json!({"wait": 50}));
    b.request("ping", &json!({}));
    send(&mut a, &to, "for whoever waits still");
    let got = b.tool_answer(waiting).ok();
    assert_eq!(got["messages"][0]["payload"], "for whoever waits still");
}

#[test]
fn a_message_that_was_sent_and_not_answered_is_not_sent_twice() {
    let mesh = Mesh::unlimited();
    let (mut a, mut b, to) = two(&mesh);
    let call = json!({"to": to, "message": "once"});
    let broker = mesh.broker_pid().unwrap();
    send_signal(broker, "STOP");
    let told = a.tool("mesh_send", &call).fails("outcome_unknown");
    assert!(told.contains("look before you repeat it"), "{told}");
    // There is no connection now, and on a new one nothing can be sent.
    let told = a.tool("mesh_send", &json!({"to": to, "message": "never"})).fails("no_answer");
    assert!(told.contains("try again"), "{told}");
    send_signal(broker, "CONT");
    a.tool("mesh_send", &call).ok();
    a.tool("mesh_send", &json!({"to": to, "message": "and more"})).ok();
    let mut got = Vec::new();
    while got.len() < 2 {
        let inbox = b.tool("mesh_inbox", &json!({"wait": 20})).ok();
        for message in inbox["messages"].as_array().unwrap() {
            if message["repeated"] != true {
                got.push(message["payload"].clone());
            }
        }
    }
    assert_eq!(got, ["once", "and more"]);
}

/// How many events of the type `a.b` a result tells of.
fn count_events(texts: &[String]) -> u64 {
    let Some(text) = texts.get(1) else { return 0 };
    let line = text.lines().find(|line| line.starts_with("[mesh] events: ")).unwrap();
    assert!(line.len() <= 200 && line.ends_with("; mesh_events reads them"), "{line}");
    let (_, counted) = line.split_once("a.b (").unwrap();
    counted.split_once(')').unwrap().0.parse().unwrap()
}

#[test]
fn subscribed_events_are_told_once_also_if_they_happened_while_the_broker_came_back() {
    let mesh = Mesh::unlimited();
    let (mut a, mut b, _) = two(&mesh);
    let emit = json!({"action": "emit", "type": "a.b", "payload": {}});
    a.tool("mesh_events", &emit).ok();
    b.tool("mesh_events", &json!({"action": "subscribe", "types": "a.*"})).ok();
    let mut count = |expected: u64| {
        let mut told = 0;
        wait_until("all events are told", || {
            told += count_events(&b.tool("mesh_status", &json!({})).texts);
            told >= expected
        });
        assert_eq!(told, expected);
        assert_eq!(b.tool("mesh_inbox", &json!({})).texts.len(), 1, "each once");
    };
    for _ in 0..3 {
        a.tool("mesh_events", &emit).ok();
    }
    count(3);
    mesh.kill_broker();
    for _ in 0..5 {
        a.tool("mesh_events", &emit).ok();
    }
    count(5);
}

#[test]
fn arguments_are_understood_as_clients_write_them() {
    let mesh = Mesh::new();
    let mut agent = Agent::silent(&mesh);
    agent.write("\u{feff}".as_bytes());
    agent.initialize();
    let set = json!({"action": "set", "key": "k", "value": {"a": 1}, "ttlSeconds": "60"});
    let entry = agent.tool("mesh_state", &set).ok();
    assert_eq!(entry["entry"]["value"], r#"{"a":1}"#);
    agent.tool("mesh_events", &json!({"action": "subscribe", "types": "[\"a.b\"]"})).ok();
    let lock = json!({"action": "lock", "filePath": "f", "shared": "true", "wait": "0"});
    assert_eq!(agent.tool("mesh_lock", &lock).ok()["lock"]["shared"], true);
    let wrong = agent.tool("mesh_inbox", &json!({"limit": "a few"}));
    assert!(wrong.fails("invalid_request").contains("`limit` must be a whole number"));
}
