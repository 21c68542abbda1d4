//! Messages that wait for a name, messages to groups, and messages that nobody will read, as clients
//! of the real broker see them.

use crate::common::Mesh;
use crate::common::agent::Agent;
use crate::common::broker::{Broker, Setup};
use crate::common::peer::Peer;
use serde_json::{Value, json};

fn leave(broker: &Broker, peer: &Peer) {
    peer.ok(broker, "/unregister", &json!({}));
}

fn refusal(broker: &Broker, body: &Value) -> (u16, String, String) {
    let answer = broker.call("/send", body);
    let text = |name: &str| answer.json()[name].as_str().unwrap_or_default().to_owned();
    (answer.status, text("code"), text("error"))
}

fn events(broker: &Broker, kind: &str) -> Vec<Value> {
    let read = broker.ok("/events", &json!({"action": "read", "types": [kind], "limit": 1000}));
    let events = read["events"].as_array().unwrap();
    events
        .iter()
        .map(|event| serde_json::from_str(event["payload"].as_str().unwrap()).unwrap())
        .collect()
}

fn sent(broker: &Broker, peer: &Peer) -> Vec<Value> {
    let sent = peer.ok(broker, "/messages", &json!({"filter": "sent", "limit": 1000}));
    sent["messages"].as_array().unwrap().clone()
}

#[test]
fn messages_wait_for_the_next_session_of_a_name() {
    let mut broker = Broker::start();
    let bob = broker.register("bob");
    let first = broker.register("alice");
    bob.send(&broker, "alice", "unread by the first");
    leave(&broker, &first);
    let waits = bob.send(&broker, "alice", "sent to nobody");
    assert_eq!(
        (&waits["queued"], &waits["delivered"], &waits["pushed"]),
        (&json!(true), &json!(false), &json!(false))
    );
    assert!(waits["messageId"].is_string());
    assert_eq!(broker.status()["messages"]["unread"], 2);
    broker.kill();
    broker.start_again();
    assert!(bob.resume(&broker).status == 200);

    // A name that is only like it, or was made, gets nothing.
    assert_eq!(broker.register("alice-2").inbox(&broker), Vec::<String>::new());
    let second = broker.listening_peer("alice", true);
    let mut pushes = second.accept();
    assert_eq!(pushes.next("message")["text"], "unread by the first");
    let frame = pushes.next("message");
    assert_eq!((&frame["text"], &frame["toName"]), (&json!("sent to nobody"), &json!("alice")));
    assert_eq!(second.inbox(&broker), ["unread by the first", "sent to nobody"]);
    assert_eq!(second.ok(&broker, "/heartbeat", &json!({}))["unread"], 2);
    let read = second.ok(&broker, "/messages", &json!({}));
    assert_eq!(read["messages"][0]["toPeer"], *first.id);
    assert_eq!(read["messages"][1]["toPeer"], "alice");
    let stages: Vec<_> = sent(&broker, &bob).into_iter().map(|it| it["stage"].clone()).collect();
    assert_eq!(stages, ["read", "read"]);
    assert_eq!(broker.status()["messages"]["unread"], 0);
    assert_eq!(events(&broker, "message_undeliverable"), Vec::<Value>::new());
}

#[test]
fn mail_is_with_the_name_and_not_with_who_had_it() {
    let broker = Broker::start();
    let bob = broker.register("bob");
    let mut first = broker.listening_peer("alice", true);
    first.fields["name"] = json!("carol");
    bob.send(&broker, "alice", "to alice");
    // Renamed, it has another mailbox; the one it had waits for the next.
    assert_eq!(first.resume(&broker).json()["name"], "carol");
    assert_eq!(first.inbox(&broker), Vec::<String>::new());
    let second = broker.register("alice");
    assert_eq!(second.inbox(&broker), ["to alice"]);
    // The one that comes back to a name that is taken gets a number, and no mail.
    first.fields["name"] = json!("alice");
    assert_eq!(first.resume(&broker).json()["name"], "alice-2");
    bob.send(&broker, "alice", "more");
    bob.send(&broker, "alice-2", "to the number");
    assert_eq!(second.inbox(&broker), ["to alice", "more"]);
    assert_eq!(first.inbox(&broker), ["to the number"]);
    // It cannot mark what is another's.
    let ids: Vec<Value> = sent(&broker, &bob).iter().map(|it| it["id"].clone()).collect();
    assert_eq!(first.ok(&broker, "/messages", &json!({"markRead": ids[..2]}))["marked"], 0);
    // Nobody can be asked to wait for a name that the mesh had to make.
    leave(&broker, &first);
    assert_eq!(
        refusal(&broker, &json!({"fromPeer": "cli", "toPeer": "alice-2", "payload": "x"})).0,
        404
    );
    leave(&broker, &second);
    assert_eq!(first.resume(&broker).status, 404);
}

#[test]
fn a_name_that_is_taken_gets_a_number_unless_it_must_be_that_one() {
    let broker = Broker::start();
    let register = |name: &str, more: &Value| {
        let mut body = json!({"pid": 1, "projectPath": "/p", "name": name});
        for (field, value) in more.as_object().unwrap() {
            body[field] = value.clone();
        }
        broker.call("/register", &body)
    };
    let named = |name: &str| register(name, &json!({})).json()["name"].clone();
    assert_eq!(named("Worker"), "Worker");
    assert_eq!(named("Worker"), "Worker-2");
    // Names that differ by case only are one.
    assert_eq!(named("worker"), "worker-3");
    for taken in ["Worker", "WORKER", "worker-2"] {
        let answer = register(taken, &json!({"exclusive": true}));
        assert_eq!((answer.status, &answer.json()["code"]), (409, &json!("name_taken")), "{taken}");
    }
    let only = register("only", &json!({"exclusive": true}));
    assert_eq!(only.json()["name"], "only");
    let bob = broker.register("bob");
    for to in ["WORKER", "worker"] {
        bob.send(&broker, to, "x");
    }
    assert_eq!(broker.status()["messages"]["unread"], 2);

    // Nobody passes for the mesh, a person, or a part of an agent's conversation.
    for word in ["user", "Human", "SYSTEM", "assistant", "mesh", "slm-mesh"] {
        assert_eq!(named(word), format!("{word}-2"));
        assert_eq!(register(word, &json!({"exclusive": true})).status, 409, "{word}");
    }
    for word in ["all", "CLI", "Auto", "repo", "Directory"] {
        assert_eq!(register(word, &json!({})).status, 400, "{word}");
    }
    bob.send(&broker, "ALL", "to everybody");
    assert_eq!(sent(&broker, &bob).last().unwrap()["recipients"], 10);
}

#[test]
fn mail_waits_for_a_name_in_any_case() {
    let broker = Broker::start();
    let bob = broker.register("bob");
    leave(&broker, &broker.register("Alice"));
    bob.send(&broker, "ALICE", "waits");
    assert_eq!(broker.register("alice").inbox(&broker), ["waits"]);
}

#[test]
fn a_session_that_comes_back_has_its_mail() {
    let mut broker = Broker::start();
    let (bob, alice) = (broker.register("bob"), broker.register("alice"));
    bob.send(&broker, "alice", "before");
    broker.kill();
    broker.start_again();
    assert_eq!(alice.resume(&broker).status, 200);
    bob.resume(&broker);
    bob.send(&broker, "alice", "after");
    assert_eq!(alice.inbox(&broker), ["before", "after"]);
}

#[test]
fn sending_again_to_a_name_gives_the_first_answer() {
    let broker = Broker::start();
    leave(&broker, &broker.register("alice"));
    let id = "00000000-0000-4000-8000-000000000001";
    let body = json!({"fromPeer": "cli", "toPeer": "alice", "payload": "x", "id": id});
    let first = broker.ok("/send", &body);
    assert_eq!(broker.ok("/send", &body), first);
    let alice = broker.register("alice");
    assert_eq!(broker.ok("/send", &body)["messageId"], first["messageId"]);
    assert_eq!(alice.inbox(&broker), ["x"]);
    let other = json!({"fromPeer": "cli", "toPeer": "all", "payload": "x", "id": id});
    assert_eq!(refusal(&broker, &other).1, "id_conflict");
}

#[test]
fn a_name_nobody_ever_had_is_refused_and_a_near_one_suggested() {
    let broker = Broker::start();
    let alice = broker.register("alice");
    let to = |to: &str| refusal(&broker, &json!({"fromPeer": "cli", "toPeer": to, "payload": "x"}));
    let (status, code, error) = to("alise");
    assert_eq!((status, &*code), (404, "peer_not_found"));
    assert!(error.contains("did you mean `alice`"), "{error}");
    assert!(!to("somebody").2.contains("did you mean"));
    assert!(to("al ice").2.contains("' ' is not allowed in a name"));
    leave(&broker, &alice);
    // By its id it is gone; by its name it may come again.
    assert_eq!((to(&alice.id).0, to("alice").0), (404, 200));
    for topic in ["#", "#a b", "#a/b", &format!("#{}", "x".repeat(65))] {
        let (status, code, error) = to(topic);
        assert_eq!((status, &*code), (400, "invalid_request"), "{topic}");
        assert!(error.contains("toPeer"), "{error}");
    }
    assert_eq!(to(&format!("#{}", "x".repeat(64))).0, 200);
}

#[test]
fn what_nobody_will_read_is_told() {
    let broker = Broker::start();
    let bob = broker.register("bob");
    let made = Peer::register(&broker, &json!({"projectPath": "/w/made"}), None);
    let read = bob.send(&broker, &made.name, "read")["messageId"].clone();
    made.ok(&broker, "/messages", &json!({}));
    let unread = bob.send(&broker, &made.name, "unread")["messageId"].clone();
    bob.send(&broker, "all", "to all");
    let by_cli = broker.ok("/send", &json!({"fromPeer": "cli", "toPeer": made.id, "payload": "x"}));
    leave(&broker, &made);
    let sent = sent(&broker, &bob);
    assert_eq!((&sent[0]["stage"], &sent[0]["id"]), (&json!("read"), &read));
    assert_eq!((&sent[1]["stage"], &sent[1]["id"]), (&json!("undeliverable"), &unread));
    assert!(sent[1]["undeliverableAt"].is_string() && sent[0].get("undeliverableAt").is_none());
    assert!(sent[2].get("stage").is_none());
    let mut told = events(&broker, "message_undeliverable");
    told.sort_by_key(|event| event["fromPeer"] == "cli");
    assert_eq!(
        told,
        [
            json!({"messageIds": [unread], "fromPeer": bob.id, "toPeer": made.id}),
            json!({"messageIds": [by_cli["messageId"]], "fromPeer": "cli", "toPeer": made.id}),
        ]
    );
}

#[test]
fn a_crash_leaves_hope() {
    let broker = Setup::new()
        .with("SLM_MESH_HEARTBEAT_MS", "20")
        .with("SLM_MESH_DEAD_MS", "100")
        .with("SLM_MESH_STALE_MS", "50")
        .start();
    let made = Peer::register(&broker, &json!({"projectPath": "/w/made"}), None);
    broker.ok("/send", &json!({"fromPeer": "cli", "toPeer": made.id, "payload": "x"}));
    crate::common::eventually("its end", || {
        broker.ok("/peers", &json!({"includeStale": true}))["peers"]
            .as_array()?
            .is_empty()
            .then_some(())
    });
    let sent = broker.ok("/messages", &json!({"peerId": "cli", "filter": "sent"}));
    assert_eq!(sent["messages"][0]["stage"], "queued");
    assert_eq!(events(&broker, "message_undeliverable"), Vec::<Value>::new());
}

#[test]
fn groups_reach_their_members() {
    let broker = Broker::start();
    let peer = |name: &str, more: Value| {
        let mut fields = json!({"name": name});
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Peer::register(&broker, &fields, None)
    };
    let tree = |path: &str| json!({"projectPath": path, "gitRoot": path, "repoId": "/r/.git"});
    let a = peer("a", tree("/r/a"));
    let b = peer("b", tree("/r/b"));
    let c = peer("c", json!({"projectPath": "/r/a", "gitRoot": "/r/a"}));
    let d = peer("d", json!({"projectPath": "/else/./"}));
    let to_repo = a.send(&broker, "repo", "to the repository");
    assert_eq!((&to_repo["recipients"], &to_repo["delivered"]), (&json!(2), &json!(0)));
    assert_eq!(a.send(&broker, "directory", "to the directory")["recipients"], 1);
    assert_eq!(b.inbox(&broker), ["to the repository"]);
    assert_eq!(c.inbox(&broker), ["to the repository", "to the directory"]);
    assert_eq!((a.inbox(&broker).len(), d.inbox(&broker).len()), (0, 0));
    assert_eq!(b.send(&broker, "directory", "alone")["recipients"], 0);

    let listen = json!({"action": "subscribe", "types": ["#build", "build.*"]});
    assert_eq!(d.ok(&broker, "/events", &listen)["subscribed"], json!(["#build", "build.*"]));
    a.ok(&broker, "/events", &listen);
    b.ok(&broker, "/events", &json!({"action": "subscribe", "types": ["*"]}));
    let to_topic = a.send(&broker, "#build", "to the topic");
    assert_eq!(to_topic["recipients"], 1);
    assert_eq!(
        a.send(&broker, "#Build", "to nobody"),
        json!({"ok": true, "messageIds": [],
        "recipients": 0, "delivered": 0, "pushed": 0})
    );
    let got = d.ok(&broker, "/messages", &json!({"peek": true}))["messages"][0].clone();
    assert_eq!((&got["toGroup"], &got["toPeer"]), (&json!("#build"), &Value::Null));
    assert_eq!(b.inbox(&broker).len(), 1);
    let sent = sent(&broker, &a);
    assert_eq!((&sent[2]["toGroup"], &sent[2]["recipients"]), (&json!("#build"), &json!(1)));
    let told = events(&broker, "message_received");
    let last = told.last().unwrap();
    assert_eq!((&last["toGroup"], &last["toPeer"]), (&json!("#build"), &Value::Null));

    // No place, no group.
    let body = |from: &str, to: &str| json!({"fromPeer": from, "toPeer": to, "payload": "x"});
    for (from, to, word) in [
        ("d", "repo", "no git repository"),
        ("cli", "repo", "`repoId`"),
        ("cli", "directory", "`projectPath`"),
    ] {
        let (status, code, error) = refusal(&broker, &body(from, to));
        assert_eq!((status, &*code), (400, "invalid_request"), "{from} {to}");
        assert!(error.contains(word), "{error}");
    }
    let mut placed = body("script", "directory");
    placed["projectPath"] = json!("/r/x/../a");
    assert_eq!(broker.ok("/send", &placed)["recipients"], 2);
    let types = json!({"action": "subscribe", "peerId": "d", "types": ["#a b"]});
    assert_eq!(broker.call("/events", &types).status, 400);
    let types = json!({"action": "read", "types": ["#build"]});
    assert_eq!(broker.call("/events", &types).status, 400);
}

#[test]
fn a_topic_is_told_with_the_push() {
    let broker = Broker::start();
    let (alice, bob) = (broker.register("alice"), broker.listening_peer("bob", true));
    let mut pushes = bob.accept();
    bob.ok(&broker, "/events", &json!({"action": "subscribe", "types": ["#build"]}));
    alice.send(&broker, "#build", "done");
    let frame = pushes.next("message");
    assert_eq!((&frame["toGroup"], &frame["broadcast"]), (&json!("#build"), &json!(true)));
}

#[test]
fn thousands_that_wait_are_all_there() {
    let broker = Setup::new().with("SLM_MESH_RATE_LIMIT", "0").start();
    leave(&broker, &broker.register("alice"));
    let mut http = broker.connect();
    let body = json!({"fromPeer": "cli", "toPeer": "alice", "payload": "x"});
    for _ in 0..3000 {
        assert_eq!(http.call("/send", Some(&broker.token), &body).status, 200);
    }
    let alice = broker.register("alice");
    let page = alice.ok(&broker, "/messages", &json!({"limit": 1000}));
    assert_eq!(
        (page["messages"].as_array().unwrap().len(), &page["remaining"]),
        (1000, &json!(2000))
    );
}

#[test]
fn an_agent_finds_what_waited_for_its_name() {
    let mesh = Mesh::new().with("SLM_MESH_NAME", "alice");
    let mut first = Agent::new(&mesh);
    assert_eq!(first.who().1, "alice");
    first.end();
    let ran = mesh.run_words(["send", "alice", "hello again"]);
    assert!(ran.out.contains("waits for the next session of that name"), "{ran:?}");
    let ran = mesh.run_words(["send", "#build", "done"]);
    assert!(ran.out.contains("Nobody listens to #build"), "{ran:?}");
    let mut second = Agent::new(&mesh);
    let result = second.tool("mesh_peers", &json!({}));
    let quoted = |text: &String| text.contains("slm-mesh: message") && text.contains("hello again");
    assert!(result.texts.iter().any(quoted), "{result:?}");
    let inbox = second.tool("mesh_inbox", &json!({})).ok();
    assert_eq!(inbox["messages"][0]["payload"], "hello again");
    let nobody = second.tool("mesh_send", &json!({"to": "#build", "message": "x"})).ok();
    assert!(nobody["note"].as_str().unwrap().contains("nobody listens to #build"));
    second.tool("mesh_events", &json!({"action": "subscribe", "types": ["#build"]})).ok();
    let ran = mesh.run_words(["send", "#build", "done"]);
    assert!(ran.out.contains("Sent to 1 peer on #build"), "{ran:?}");
    let got = second.tool("mesh_inbox", &json!({"wait": 10})).ok();
    assert_eq!(got["messages"][0]["toGroup"], "#build");
    second.end();
}
