//! How far a message has come, as clients of the real broker see it: claims, notifications, reading,
//! and what the sender learns.

use std::time::{Duration, Instant};

use crate::common::broker::{Broker, Setup};
use crate::common::eventually;
use crate::common::http::Http;
use crate::common::peer::Peer;
use serde_json::{Value, json};
use slm_mesh::limits::CLAIM_TIME;

const WAYS: [&str; 5] = ["inbox-socket", "channel", "queue", "hook", "tool-result"];

fn id_of(sent: &Value) -> String {
    sent["messageId"].as_str().or(sent["messageIds"][0].as_str()).unwrap().to_owned()
}

/// The newest message in a sender's list.
fn last_sent(broker: &Broker, sender: &Peer) -> Value {
    let sent = sender.ok(broker, "/messages", &json!({"filter": "sent", "limit": 1}));
    sent["messages"][0].clone()
}

fn claim(broker: &Broker, peer: &Peer, limit: u32) -> (Vec<String>, u64) {
    let claimed = peer.ok(broker, "/messages", &json!({"claim": "hook", "limit": limit}));
    let messages = claimed["messages"].as_array().unwrap();
    let texts = messages.iter().map(|message| message["payload"].as_str().unwrap().to_owned());
    (texts.collect(), claimed["remaining"].as_u64().unwrap())
}

fn reach(broker: &Broker, peer: &Peer) -> String {
    let peers = broker.ok("/peers", &json!({}));
    let found = peers["peers"].as_array().unwrap().iter().find(|one| one["id"] == *peer.id);
    found.unwrap()["reach"].as_str().unwrap().to_owned()
}

#[test]
fn a_sender_sees_each_stage() {
    let broker = Broker::start();
    let (alice, bob) = (broker.register("alice"), broker.listening_peer("bob", true));
    let mut pushes = bob.accept();
    let id = id_of(&alice.send(&broker, "bob", "hello"));
    let queued = last_sent(&broker, &alice);
    assert_eq!((&queued["stage"], &queued["deliveredAt"]), (&json!("queued"), &Value::Null));
    assert!(queued.get("notifiedAt").is_none() && queued.get("notifiedBy").is_none());

    pushes.message();
    pushes.ack(&id);
    eventually("its mark", || {
        Some(last_sent(&broker, &alice)).filter(|message| message["stage"] == "delivered")
    });

    let mark = json!({"markNotified": [id], "way": "inbox-socket"});
    assert_eq!(bob.ok(&broker, "/messages", &mark), json!({"ok": true, "marked": 1}));
    assert_eq!(bob.ok(&broker, "/messages", &mark)["marked"], 0);
    let notified = last_sent(&broker, &alice);
    assert_eq!(
        (&notified["stage"], &notified["notifiedBy"], &notified["readAt"]),
        (&json!("notified"), &json!("inbox-socket"), &Value::Null)
    );
    assert!(notified["deliveredAt"].as_str() <= notified["notifiedAt"].as_str());

    // The first way stands.
    let read = json!({"markRead": [id], "way": "hook"});
    assert_eq!(bob.ok(&broker, "/messages", &read)["marked"], 1);
    let read = last_sent(&broker, &alice);
    assert_eq!(
        (&read["stage"], &read["notifiedBy"], &read["notifiedAt"]),
        (&json!("read"), &json!("inbox-socket"), &notified["notifiedAt"])
    );
    // A reader's list has no stages: it is where the message is.
    let inbox = bob.ok(&broker, "/messages", &json!({"filter": "all"}));
    assert!(inbox["messages"][0].get("stage").is_none());
}

#[test]
fn a_mark_of_reading_is_a_notification_where_there_was_none() {
    let broker = Broker::start();
    let (alice, bob) = (broker.register("alice"), broker.register("bob"));
    for way in WAYS {
        let id = id_of(&alice.send(&broker, "bob", way));
        let read = json!({"markRead": [id], "way": way});
        assert_eq!(bob.ok(&broker, "/messages", &read)["marked"], 1);
        let sent = last_sent(&broker, &alice);
        assert_eq!((&sent["stage"], &sent["notifiedBy"]), (&json!("read"), &json!(way)));
        assert_eq!(sent["notifiedAt"], sent["readAt"]);
    }
    // Fetched without having been told of.
    alice.send(&broker, "bob", "found by itself");
    bob.ok(&broker, "/messages", &json!({}));
    let sent = last_sent(&broker, &alice);
    assert_eq!((&sent["stage"], sent.get("notifiedAt")), (&json!("read"), None));
    // Too late.
    let late = json!({"markNotified": [sent["id"]], "way": "hook"});
    assert_eq!(bob.ok(&broker, "/messages", &late)["marked"], 0);
    assert_eq!(last_sent(&broker, &alice).get("notifiedAt"), None);
}

#[test]
fn a_broadcast_has_counts() {
    let broker = Broker::start();
    let alice = broker.register("alice");
    let others = ["bob", "carol", "dave"].map(|name| broker.register(name));
    let id = id_of(&alice.send(&broker, "all", "everyone"));
    let [bob, carol, _] = &others;
    bob.ok(&broker, "/messages", &json!({"markNotified": [id], "way": "queue"}));
    carol.ok(&broker, "/messages", &json!({}));
    let sent = last_sent(&broker, &alice);
    let counts = ["recipients", "deliveredCount", "notifiedCount", "readCount"];
    assert_eq!(counts.map(|name| sent[name].as_u64().unwrap()), [3, 2, 1, 1]);
    assert!(sent.get("stage").is_none() && sent.get("notifiedAt").is_none(), "{sent}");
}

#[test]
fn only_the_reader_marks_and_only_its_own() {
    let broker = Broker::start();
    let alice = broker.register("alice");
    let bob = Peer::register(&broker, &json!({"name": "bob", "private": true}), None);
    let id = id_of(&alice.send(&broker, "bob", "hello"));
    let mark = json!({"markNotified": [id], "way": "hook"});
    assert_eq!(alice.ok(&broker, "/messages", &mark)["marked"], 0);
    for body in [
        json!({"peerId": "bob", "markNotified": [id], "way": "hook"}),
        json!({"peerId": "bob", "claim": "hook"}),
    ] {
        let refused = broker.call("/messages", &body);
        assert_eq!((refused.status, refused.code().as_str()), (403, "forbidden"), "{body}");
        let refused = alice.call(&broker, "/messages", &body);
        assert_eq!((refused.status, refused.code().as_str()), (403, "forbidden"), "{body}");
    }
    let unknown = json!({"markNotified": ["00000000-0009-8000-8000-000000000000"], "way": "hook"});
    assert_eq!(bob.ok(&broker, "/messages", &unknown)["marked"], 0);
    assert_eq!(last_sent(&broker, &alice)["stage"], "queued");
    // The person's inbox is marked with the person's token, and has no hooks.
    let id = id_of(&alice.send(&broker, "cli", "for you"));
    let mark = json!({"peerId": "cli", "markNotified": [id], "way": "tool-result"});
    assert_eq!(broker.ok("/messages", &mark)["marked"], 1);
    let refused = broker.call("/messages", &json!({"peerId": "cli", "claim": "hook"}));
    assert_eq!((refused.status, refused.code().as_str()), (404, "peer_not_found"));
}

#[test]
fn a_form_that_is_wrong_says_what_is_expected() {
    let broker = Broker::start();
    let bob = broker.register("bob");
    let too_many = vec!["00000000-0009-8000-8000-000000000000"; 1001];
    for (body, words) in [
        (json!({"markNotified": []}), ["way", "missing"]),
        (json!({"markNotified": [], "way": "smoke"}), ["way", "inbox-socket, channel"]),
        (json!({"markNotified": too_many, "way": "hook"}), ["markNotified", "1000"]),
        (json!({"markRead": [], "way": 5}), ["way", "tool-result"]),
        (json!({"claim": "smoke"}), ["claim", "hook"]),
        (json!({"claim": "hook", "limit": 1001}), ["limit", "1000"]),
        (json!({"claim": "hook", "markRead": []}), ["claim", "send one"]),
    ] {
        let refused = bob.call(&broker, "/messages", &body);
        assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_request"));
        let text = refused.json()["error"].as_str().unwrap().to_owned();
        assert!(words.iter().all(|word| text.contains(word)), "{body}: {text}");
    }
    let most = vec!["00000000-0009-8000-8000-000000000000"; 1000];
    let most = json!({"markNotified": most, "way": "hook"});
    assert_eq!(bob.ok(&broker, "/messages", &most)["marked"], 0);
}

#[test]
fn hooks_are_given_each_message_once() {
    let broker = Broker::start();
    let alice = broker.register("alice");
    // What is seen is only judged if it was seen while the claims lasted.
    let seen = (0..20).find_map(|attempt| {
        let bob = broker.register(&format!("bob-{attempt}"));
        for n in 1..=5 {
            alice.send(&broker, &bob.name, &n.to_string());
        }
        let began = Instant::now();
        let first = bob.ok(&broker, "/messages", &json!({"claim": "hook", "limit": 2}));
        let second = claim(&broker, &bob, 2);
        let (inbox, sent) = (bob.inbox(&broker), last_sent(&broker, &alice));
        let messages = first["messages"].as_array().unwrap();
        let ids: Vec<&Value> = messages.iter().map(|message| &message["id"]).collect();
        bob.ok(&broker, "/messages", &json!({"markRead": ids, "way": "hook"}));
        let (third, fourth) = (claim(&broker, &bob, 20), claim(&broker, &bob, 20));
        let in_time = began.elapsed() < CLAIM_TIME / 2;
        in_time.then_some((bob, first.clone(), [second, third, fourth], inbox, sent))
    });
    let (bob, first, [second, third, fourth], inbox, sent) = seen.expect("an attempt in time");
    let texts = |message: &Value| message["payload"].as_str().unwrap().to_owned();
    let given: Vec<String> = first["messages"].as_array().unwrap().iter().map(texts).collect();
    assert_eq!((given, &first["remaining"]), (vec!["1".into(), "2".into()], &json!(3)));
    assert_eq!(second, (vec!["3".into(), "4".into()], 1));
    // Nothing is marked, and other ways to the messages do not care.
    assert_eq!((&first["messages"][0]["readAt"], &sent["stage"]), (&Value::Null, &json!("queued")));
    assert_eq!(inbox, ["1", "2", "3", "4", "5"]);
    // Read is read, claimed or not: it is not given again.
    assert_eq!((third, fourth), ((vec!["5".into()], 0), (vec![], 0)));
    // The claims of hooks that ended without a word run out.
    let again = eventually("the claims to run out", || {
        std::thread::sleep(Duration::from_millis(100));
        Some(claim(&broker, &bob, 20)).filter(|(texts, _)| !texts.is_empty())
    });
    assert_eq!(again.0.first().map(String::as_str), Some("3"));
}

#[test]
fn a_claim_does_not_outlive_its_broker_or_hide_from_others() {
    let mut broker = Setup::new().start();
    let (alice, bob) = (broker.register("alice"), broker.register("bob"));
    alice.send(&broker, "all", "to all");
    let carol = broker.register("carol");
    assert_eq!(claim(&broker, &bob, 20), (vec!["to all".into()], 0));
    assert_eq!(claim(&broker, &carol, 20), (vec![], 0));
    broker.kill();
    broker.start_again();
    assert_eq!(claim(&broker, &bob, 20), (vec!["to all".into()], 0));
}

#[test]
fn who_claims_is_reached_with_its_next_turn() {
    let broker = Broker::start();
    for (said, then) in [
        (json!({}), "next-turn"),
        (json!({"reach": "none"}), "next-turn"),
        (json!({"reach": "next-call"}), "next-turn"),
        (json!({"reach": "pigeon"}), "next-turn"),
        (json!({"reach": "next-turn"}), "next-turn"),
        (json!({"reach": "wakes"}), "wakes"),
    ] {
        let peer = Peer::register(&broker, &said, None);
        assert_eq!(reach(&broker, &peer), said["reach"].as_str().unwrap_or("none"));
        peer.ok(&broker, "/messages", &json!({"peek": true}));
        assert_eq!(reach(&broker, &peer), said["reach"].as_str().unwrap_or("none"));
        assert_eq!(claim(&broker, &peer, 1), (vec![], 0));
        assert_eq!(reach(&broker, &peer), then, "{said}");
    }
}

#[test]
fn a_present_peer_changes_what_it_said() {
    let broker = Broker::start();
    let peer = Peer::register(&broker, &json!({"name": "bob", "reach": "next-call"}), None);
    let found = |by: &Value| {
        let peers = broker.ok("/peers", by);
        peers["peers"].as_array().unwrap().iter().any(|one| one["id"] == *peer.id)
    };
    assert!(!found(&json!({"sessionId": "s-1"})) && !found(&json!({"agentPids": [77]})));
    let mut fields = peer.fields.clone();
    fields["peerId"] = json!(peer.id);
    fields["reach"] = json!("wakes");
    fields["sessionId"] = json!("s-1");
    fields["agentPid"] = json!(77);
    let answer = peer.ok(&broker, "/register", &fields);
    assert_eq!((&answer["peerId"], &answer["name"]), (&json!(peer.id), &json!("bob")));
    assert_eq!(reach(&broker, &peer), "wakes");
    assert!(found(&json!({"sessionId": "s-1"})) && found(&json!({"agentPids": [5, 77]})));
    assert!(!found(&json!({"sessionId": "s-2"})) && !found(&json!({"agentPids": [78]})));
}

/// The payloads of all `message_read` events so far.
fn receipts(broker: &Broker) -> Vec<Value> {
    let read = json!({"action": "read", "types": ["message_read"], "after": 0});
    let events = broker.ok("/events", &read);
    let events = events["events"].as_array().unwrap();
    for event in events {
        let payload: Value = serde_json::from_str(event["payload"].as_str().unwrap()).unwrap();
        assert_eq!(event["emittedBy"], payload["readBy"]);
    }
    let payloads = events.iter().map(|event| event["payload"].as_str().unwrap());
    payloads.map(|payload| serde_json::from_str(payload).unwrap()).collect()
}

#[test]
fn senders_are_told_once_what_was_read() {
    let broker = Broker::start();
    let alice = broker.listening_peer("alice", true);
    let mut pushes = alice.accept();
    alice.ok(&broker, "/events", &json!({"action": "subscribe", "types": ["message_read"]}));
    let (bob, carol) = (broker.register("bob"), broker.register("carol"));
    let one = id_of(&alice.send(&broker, "bob", "one"));
    let two = id_of(&alice.send(&broker, "all", "two"));
    let from_cli = json!({"fromPeer": "cli", "toPeer": "bob", "payload": "three"});
    let three = id_of(&broker.ok("/send", &from_cli));
    let four = id_of(&alice.send(&broker, "bob", "four"));
    assert_eq!(receipts(&broker), Vec::<Value>::new());

    bob.ok(&broker, "/messages", &json!({"peek": true}));
    bob.ok(&broker, "/messages", &json!({"claim": "hook"}));
    bob.ok(&broker, "/messages", &json!({"markNotified": [one], "way": "hook"}));
    assert_eq!(receipts(&broker), Vec::<Value>::new(), "nothing was read");

    let mark = json!({"markRead": [two, three, one]});
    assert_eq!(bob.ok(&broker, "/messages", &mark)["marked"], 3);
    let mut told = receipts(&broker);
    told.sort_by_key(|receipt| receipt["fromPeer"] == "cli");
    assert_eq!(
        told,
        [
            json!({"messageIds": [two, one], "fromPeer": alice.id, "readBy": bob.id}),
            json!({"messageIds": [three], "fromPeer": "cli", "readBy": bob.id}),
        ]
    );
    let told_now = pushes.next("event");
    assert_eq!(told_now["eventType"], "message_read");
    assert_eq!(
        (&told_now["messageIds"], &told_now["readBy"]),
        (&json!([two, one]), &json!(bob.id))
    );

    // Again nothing; another reader is another receipt; fetching reads, too.
    bob.ok(&broker, "/messages", &mark);
    assert_eq!(receipts(&broker).len(), 2);
    carol.ok(&broker, "/messages", &json!({}));
    bob.ok(&broker, "/messages", &json!({"filter": "all"}));
    bob.ok(&broker, "/messages", &json!({"filter": "all"}));
    let told = receipts(&broker);
    assert_eq!(
        told[2..],
        [
            json!({"messageIds": [two], "fromPeer": alice.id, "readBy": carol.id}),
            json!({"messageIds": [four], "fromPeer": alice.id, "readBy": bob.id}),
        ]
    );
}

#[test]
fn a_held_read_of_events_hears_of_reading() {
    let broker = Broker::start();
    let (alice, bob) = (broker.register("alice"), broker.register("bob"));
    let id = id_of(&alice.send(&broker, "bob", "one"));
    let last = broker.ok("/events", &json!({"action": "read"}))["lastSeq"].clone();
    let mut waiting = broker.connect();
    let wait = json!({"action": "read", "types": ["message_read"], "after": last, "wait": 50});
    let body = wait.to_string();
    let bytes = crate::common::http::request(
        broker.port,
        "POST",
        "/events",
        Some(&broker.token),
        Some(body.as_bytes()),
    );
    waiting.send(&bytes);
    bob.ok(&broker, "/messages", &json!({"markRead": [id]}));
    assert_eq!(waiting.answer().json()["events"][0]["type"], "message_read");
}

/// A held claim of a peer.
fn hold(broker: &Broker, peer: &Peer) -> Http {
    let mut http = broker.connect();
    let claim = json!({"claim": "wait-hook", "limit": 1, "wait": 600});
    http.post("/messages", Some(&peer.token), &claim);
    http
}

#[test]
fn of_two_that_wait_each_is_given_one_message() {
    let mut broker = Broker::start();
    let (alice, bob) = (broker.register("alice"), broker.register("bob"));
    assert_eq!(reach(&broker, &bob), "none");
    let mut waiting = [hold(&broker, &bob), hold(&broker, &bob)];
    eventually("they wait", || (reach(&broker, &bob) == "wakes").then_some(()));
    let mut told = Vec::new();
    for n in 0..2 {
        alice.send(&broker, "bob", &format!("message {n}"));
    }
    for http in &mut waiting {
        let answer = http.answer().json();
        let [message] = answer["messages"].as_array().unwrap().as_slice() else {
            panic!("{answer}")
        };
        told.push(message["payload"].as_str().unwrap().to_owned());
        let mark = json!({"markNotified": [message["id"]], "way": "wait-hook",
            "claimId": answer["claimId"]});
        assert_eq!(bob.ok(&broker, "/messages", &mark)["marked"], 1);
    }
    told.sort();
    assert_eq!(told, ["message 0", "message 1"]);

    // A claim that nobody waits for any more is given nothing, and one whose broker dies has an end.
    let gone = hold(&broker, &bob);
    gone.stream.shutdown(std::net::Shutdown::Both).unwrap();
    drop(gone);
    let mut held = hold(&broker, &bob);
    broker.kill();
    assert!(held.try_answer().is_err(), "its connection has ended");
    broker.start_again();
    bob.ok(&broker, "/heartbeat", &json!({}));
    assert_eq!(reach(&broker, &bob), "none", "nobody has asked this broker yet");
    let mut held = hold(&broker, &bob);
    eventually("it waits", || (reach(&broker, &bob) == "wakes").then_some(()));
    alice.send(&broker, "bob", "message 2");
    assert_eq!(held.answer().json()["messages"][0]["payload"], "message 2");

    // Of a peer that leaves they are ended.
    let mut held = hold(&broker, &bob);
    bob.ok(&broker, "/unregister", &json!({}));
    assert_ne!(held.answer().status, 200);
}
