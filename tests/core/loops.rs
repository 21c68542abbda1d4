//! Loops of agents that wake each other, in the core: what is told when, and who is told of it.

use std::time::Duration;

use crate::alone::Counter;
use serde_json::{Value, json};
use slm_mesh::api::{Endpoint, Request};
use slm_mesh::mesh::{Caller, Failure, Mesh, Outcome, Settings};
use slm_mesh::model::{Monotonic, Now, Timestamp};
use slm_mesh::store::memory::MemoryStore;

fn at(seconds: u64) -> Now {
    let wall = Timestamp(1_800_000_000_000 + i64::try_from(seconds * 1000).unwrap());
    let time = Monotonic(Duration::from_secs(seconds));
    Now { wall, mono: time, boot: time }
}

struct World {
    mesh: Mesh<MemoryStore>,
    now: Now,
}

impl World {
    fn new(wake_limit: u32, names: &[&str]) -> Self {
        let mut world = Self { mesh: start(MemoryStore::new(), wake_limit, at(0)), now: at(0) };
        for name in names {
            let body = json!({"pid": 1, "projectPath": "/w", "name": name, "agentType": "codex"});
            world.ask(Endpoint::Register, &body);
        }
        world
    }

    /// The answer, as JSON.
    fn ask(&mut self, endpoint: Endpoint, body: &Value) -> Value {
        let (request, now) =
            (Request::decode(endpoint, body.to_string().as_bytes()).unwrap(), self.now);
        self.mesh.begin_turn(now).unwrap();
        let outcome = self.mesh.handle(Caller::Broker, &request, now);
        self.mesh.commit_turn().unwrap();
        self.mesh.take_effects();
        match outcome {
            Ok(Outcome::Reply(reply)) => {
                let mut json = Vec::new();
                reply.write_to(&mut json);
                serde_json::from_slice(&json).unwrap()
            }
            Ok(Outcome::Hold { .. }) => panic!("nothing here waits"),
            Err(Failure::Refused(refusal)) => panic!("{}: {body}", refusal.message),
            Err(Failure::Store(error)) => panic!("{error}"),
        }
    }

    fn send(&mut self, from: &str, to: &str, text: &str) -> Value {
        self.ask(Endpoint::Send, &json!({"fromPeer": from, "toPeer": to, "payload": text}))
    }

    fn claim(&mut self, peer: &str, way: &str) -> Value {
        self.ask(Endpoint::Messages, &json!({"peerId": peer, "claim": way}))
    }

    /// `peer` is told by a way that wakes it, as far as it may be: the texts.
    fn wake(&mut self, peer: &str) -> Vec<String> {
        let claimed = self.claim(peer, "inbox-socket");
        let messages = claimed["messages"].as_array().unwrap();
        if messages.is_empty() {
            return Vec::new();
        }
        let ids: Vec<&Value> = messages.iter().map(|message| &message["id"]).collect();
        let marked = json!({
            "peerId": peer, "markSent": ids, "way": "inbox-socket", "status": "sent",
            "claimId": claimed["claimId"],
        });
        self.ask(Endpoint::Messages, &marked);
        messages.iter().map(|message| message["payload"].as_str().unwrap().to_owned()).collect()
    }

    fn damped_events(&mut self) -> Vec<Value> {
        let read = json!({"action": "read", "types": ["mesh.conversation_damped"]});
        let events = self.ask(Endpoint::Events, &read);
        let payloads = events["events"].as_array().unwrap().iter();
        payloads
            .map(|event| serde_json::from_str(event["payload"].as_str().unwrap()).unwrap())
            .collect()
    }

    fn damped(&mut self) -> Value {
        self.mesh.check_invariants(self.now);
        self.ask(Endpoint::Status, &json!({}))["damped"].clone()
    }
}

fn start(store: MemoryStore, wake_limit: u32, now: Now) -> Mesh<MemoryStore> {
    let settings =
        Settings { dead: Duration::from_secs(6_000_000), wake_limit, ..Settings::default() };
    Mesh::new(store, Box::new(Counter(0)), settings, now).unwrap()
}

#[test]
fn two_that_thank_each_other_are_told_together_after_twelve() {
    let mut world = World::new(12, &["ann", "bob"]);
    world.send("ann", "bob", "hello");
    // Each answers what it is told, at once; for an hour.
    let mut told = Vec::new();
    for second in 0..3600 {
        world.now = at(second);
        for (me, other) in [("bob", "ann"), ("ann", "bob")] {
            if !world.wake(me).is_empty() {
                told.push((second, me));
                world.send(me, other, "thanks");
            }
        }
    }
    let of =
        |name: &str| told.iter().filter(|(_, me)| *me == name).map(|(second, _)| *second).collect();
    let (bob, ann): (Vec<u64>, Vec<u64>) = (of("bob"), of("ann"));
    for wakes in [&bob, &ann] {
        assert!(wakes[..12].iter().all(|second| *second < 20), "{wakes:?}");
        assert!(wakes[12..].windows(2).all(|two| two[1] - two[0] >= 120), "{wakes:?}");
        assert!(wakes.len() <= 12 + 30, "{wakes:?}");
        assert!(*wakes.last().unwrap() > 3400, "and nobody is forgotten");
    }
    let names = |event: &Value| (event["fromName"].clone(), event["toName"].clone());
    let events = world.damped_events();
    let begun: Vec<_> = events.iter().map(names).collect();
    assert_eq!(begun, [(json!("ann"), json!("bob")), (json!("bob"), json!("ann"))], "once each");
    assert!(
        events.iter().all(|event| event["fromPeer"].is_string() && event["toPeer"].is_string())
    );
}

#[test]
fn the_sender_is_told_and_what_waits_is_told_together() {
    let mut world = World::new(3, &["ann", "bob"]);
    for n in 0..3 {
        world.now = at(n);
        let sent = world.send("ann", "bob", "x");
        assert!(sent.get("damped").is_none(), "{sent}");
        assert_eq!(world.wake("bob").len(), 1);
    }
    for n in 0..5 {
        let sent = world.send("ann", "bob", &format!("later {n}"));
        assert_eq!(sent["damped"], true);
        let why = sent["dampedReason"].as_str().unwrap();
        assert!(why.contains("woken bob 3 times") && why.contains("SLM_MESH_WAKE_LIMIT"), "{why}");
    }
    let all = world.send("ann", "all", "to all");
    assert_eq!(all["damped"], true, "{all}");
    let claimed = world.claim("bob", "inbox-socket");
    assert_eq!((&claimed["messages"], &claimed["deferMs"]), (&json!([]), &json!(120_000)));
    assert_eq!(world.damped()[0]["toName"], "bob");
    // The other direction, and others, are told as ever.
    world.send("bob", "ann", "stop it");
    assert_eq!(world.wake("ann"), ["stop it"]);
    // A hook within a turn is no wake, and neither is a look.
    let peek = json!({"peerId": "bob", "peek": true});
    let seen = world.ask(Endpoint::Messages, &peek);
    assert_eq!(seen["messages"].as_array().unwrap().len(), 9);
    world.now = at(122);
    assert_eq!(world.wake("bob").len(), 6, "all at once");
    world.send("ann", "bob", "in the turn");
    let hook = json!({"peerId": "bob", "claim": "hook", "moment": "tool"});
    assert_eq!(world.ask(Endpoint::Messages, &hook)["messages"][0]["payload"], "in the turn");
    let stop = json!({"peerId": "bob", "claim": "hook", "moment": "stop"});
    world.send("ann", "bob", "at the end");
    assert_eq!(
        world.ask(Endpoint::Messages, &stop)["messages"],
        json!([]),
        "which would be a wake"
    );
}

#[test]
fn a_person_ends_it() {
    let mut world = World::new(2, &["ann", "bob"]);
    for n in 0..2 {
        world.now = at(n);
        world.send("ann", "bob", "x");
        world.wake("bob");
    }
    world.send("ann", "bob", "waits");
    assert!(world.wake("bob").is_empty());
    let sent = world.send("cli", "bob", "go on");
    assert!(sent.get("damped").is_none(), "{sent}");
    assert_eq!(world.wake("bob"), ["waits", "go on"]);
    assert_eq!(world.damped(), Value::Null);
    // Counted anew, and begun anew.
    world.send("ann", "bob", "x");
    world.wake("bob");
    assert_eq!(world.damped_events().len(), 2);
}

#[test]
fn a_storm_of_broadcasts_is_damped_for_each_who_is_woken() {
    let names = ["ann", "bob", "cat", "dan", "eve"];
    let mut world = World::new(12, &names);
    let mut wakes = 0;
    // Everybody answers everything to all.
    world.send("ann", "all", "hello");
    for second in 0..1200 {
        world.now = at(second);
        for me in names {
            if !world.wake(me).is_empty() {
                wakes += 1;
                world.send(me, "all", "me too");
            }
        }
    }
    // Thirty each, whoever sends, and then one every two minutes.
    assert!(wakes <= names.len() * (30 + 1200 / 120), "{wakes}");
    let events = world.damped_events();
    let (of_one, of_all): (Vec<_>, Vec<_>) =
        events.iter().partition(|event| event["fromPeer"].is_string());
    assert_eq!(of_one.len(), names.len() * (names.len() - 1), "{events:?}");
    assert!(!of_all.is_empty(), "what all together do is counted, too: {events:?}");
    world.damped();
}

#[test]
fn a_broker_that_is_started_anew_counts_anew_and_alerts_of_the_mesh_pass() {
    let mut world = World::new(2, &["ann", "bob"]);
    for n in 0..2 {
        world.now = at(n);
        world.send("ann", "bob", "x");
        world.wake("bob");
    }
    world.send("ann", "bob", "an alert");
    assert!(world.wake("bob").is_empty());
    // What the mesh says when someone takes a lock is told all the same.
    let lock = json!({"action": "lock", "filePath": "/w/a", "peerId": "bob"});
    world.ask(Endpoint::Lock, &lock);
    let steal = json!({"action": "lock", "filePath": "/w/a", "peerId": "ann", "steal": true, "reason": "r"});
    world.ask(Endpoint::Lock, &steal);
    let told = world.wake("bob");
    assert!(told.len() == 1 && told[0].contains("has taken your lock"), "{told:?}");
    let store = world.mesh.store_mut().clone();
    world.mesh = start(store, 2, world.now);
    assert_eq!(world.wake("bob"), ["an alert"]);
}

#[test]
fn none_is_none() {
    let mut world = World::new(0, &["ann", "bob"]);
    for n in 0..100 {
        world.now = at(n);
        assert!(world.send("ann", "bob", "x").get("damped").is_none());
        assert_eq!(world.wake("bob").len(), 1);
    }
    assert!(world.damped_events().is_empty());
}

#[test]
fn what_was_last_heard_of_each_kind_of_agent() {
    let mut world = World::new(12, &["ann", "bob"]);
    let agents = |world: &mut World| world.ask(Endpoint::Status, &json!({}))["agents"].clone();
    let now = world.now.wall;
    assert_eq!(agents(&mut world), json!([{"agentType": "codex", "registeredAt": now}]));
    world.now = at(5);
    let hook = json!({"peerId": "bob", "claim": "hook", "moment": "stop"});
    world.ask(Endpoint::Messages, &hook);
    let heard = agents(&mut world);
    assert_eq!(
        (&heard[0]["hookAt"], &heard[0]["hookMoment"]),
        (&json!(world.now.wall), &json!("stop"))
    );
    world.send("ann", "bob", "x");
    let claimed = world.claim("bob", "queue");
    let heard = agents(&mut world);
    assert_eq!((&heard[0]["wakeBy"], heard[0].get("wakeStatus")), (&json!("queue"), None));
    let release = json!({"peerId": "bob", "release": claimed["claimId"]});
    world.ask(Endpoint::Messages, &release);
    assert_eq!(agents(&mut world)[0]["wakeStatus"], "failed");
    let claimed = world.claim("bob", "inbox-socket");
    let sent = json!({
        "peerId": "bob", "markSent": [claimed["messages"][0]["id"]], "way": "inbox-socket",
        "status": "held", "claimId": claimed["claimId"],
    });
    world.ask(Endpoint::Messages, &sent);
    assert_eq!(agents(&mut world)[0]["wakeStatus"], "held");
    // A broker that is started anew knows it still.
    let before = agents(&mut world);
    let store = world.mesh.store_mut().clone();
    world.mesh = start(store, 12, world.now);
    assert_eq!(agents(&mut world), before);
}
