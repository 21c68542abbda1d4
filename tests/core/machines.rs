//! Several machines in one mesh: who may join, what a machine may do, and what is whose; without a
//! network.

use std::time::Duration;

use crate::alone::Alone;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use slm_mesh::api::{Code, Endpoint, LockReply, Reply, Request};
use slm_mesh::limits::{
    AUTH_FAILURES_PER_WINDOW, INVITATIONS_MAX, MACHINE_PEERS_MAX, MACHINE_REPLY_BYTES_MAX,
    STRANGERS_PER_WINDOW,
};
use slm_mesh::mesh::{Caller, Failure, Held, Lost, Mesh, Outcome, Proof, Settings, Target};
use slm_mesh::model::{LeaveReason, MachineId, MachineName, PeerId};
use slm_mesh::store::Store as _;
use slm_mesh::store::memory::MemoryStore;

/// What the clones of one repository have in common.
const CLONE: &str = "abababababababababababababababababababababababababababababababab";

fn name(text: &str) -> MachineName {
    MachineName::new(text).unwrap()
}

fn id(n: u8) -> MachineId {
    MachineId([n; 32])
}

/// Who asks.
#[derive(Clone, Copy)]
enum As<'a> {
    /// The person on this machine; on the hub with an empty name.
    Person(&'a str),
    /// Whoever has this token, on this machine.
    Token(&'a str, &'a str),
}

const HUB: As<'static> = As::Person("");

/// A hub.
struct World(Alone);

impl World {
    /// One that the machines `laptop` and `tower` have joined.
    fn new() -> Self {
        let mut world = Self::bare(0);
        for (n, name) in [(1, "laptop"), (2, "tower")] {
            let given = world.admit(id(n), Proof::Secret, name).unwrap();
            assert_eq!(given.as_str(), name);
            world.0.turn(|mesh, now| mesh.machine_up(given, now).unwrap());
        }
        world
    }

    fn bare(rate_limit: u32) -> Self {
        let machine_name = Some(name("Desk"));
        let settings = Settings { machine_name, is_hub: true, rate_limit, ..Settings::default() };
        Self(Alone::new(settings))
    }

    fn admit(&mut self, id: MachineId, proof: Proof, wished: &str) -> Result<MachineName, String> {
        let from = (wished, "192.0.2.1");
        self.0.turn(|mesh, now| match mesh.admit(id, proof, from, now) {
            Ok(name) => Ok(name),
            Err(Failure::Refused(refusal)) => Err(refusal.message.into()),
            Err(Failure::Store(error)) => panic!("{error}"),
        })
    }

    /// The answer, as it is on the wire.
    fn answer(&mut self, who: As<'_>, endpoint: Endpoint, body: &Value) -> Result<Value, Value> {
        let request = Request::decode(endpoint, body.to_string().as_bytes()).unwrap();
        self.0.turn(|mesh, now| {
            let caller = match who {
                As::Person("") => Caller::Broker,
                As::Person(machine) => Caller::Operator(name(machine)),
                As::Token(token, machine) => mesh.authenticate(token, MachineName::new(machine)),
            };
            let mut text = Vec::new();
            match mesh.handle(caller, &request, now) {
                Ok(Outcome::Reply(reply)) => {
                    reply.write_to(&mut text);
                    Ok(serde_json::from_slice(&text).unwrap())
                }
                Ok(Outcome::Hold { .. }) => panic!("held: {body}"),
                Err(Failure::Refused(refusal)) => {
                    refusal.write_to(&mut text);
                    Err(serde_json::from_slice(&text).unwrap())
                }
                Err(Failure::Store(error)) => panic!("{error}"),
            }
        })
    }

    fn ask(&mut self, who: As<'_>, endpoint: Endpoint, body: &Value) -> Value {
        self.answer(who, endpoint, body).unwrap_or_else(|refusal| panic!("{body}: {refusal}"))
    }

    fn refused(&mut self, who: As<'_>, endpoint: Endpoint, body: &Value) -> (String, String) {
        let refusal = self.answer(who, endpoint, body).unwrap_err();
        let text = |field: &str| refusal[field].as_str().unwrap().to_owned();
        (text("code"), text("error"))
    }

    /// A peer in `/w`, with its token and id.
    fn come(&mut self, who: As<'_>, called: &str, more: &Value) -> (String, PeerId) {
        let mut body = json!({
            "pid": 7, "projectPath": "/w", "gitRoot": "/w", "repoId": "/w/.git", "name": called,
            "udsPath": format!("/peers/{called}.sock"),
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let reply = self.ask(who, Endpoint::Register, &body);
        let id = PeerId::parse(reply["peerId"].as_str().unwrap()).unwrap();
        (reply["peerToken"].as_str().unwrap().to_owned(), id)
    }

    fn lock(&mut self, who: As<'_>, path: &str) -> bool {
        let body = json!({"action": "lock", "filePath": path});
        match self.answer(who, Endpoint::Lock, &body) {
            Ok(_) => true,
            Err(refusal) => {
                assert_eq!(refusal["code"], "locked", "{refusal}");
                false
            }
        }
    }

    /// The texts that wait for someone, with who has sent each.
    fn inbox(&mut self, who: As<'_>, of: Option<&str>) -> Vec<(String, String, String)> {
        let body = json!({"peerId": of, "peek": true, "filter": "all"});
        let reply = self.ask(who, Endpoint::Messages, &body);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        reply["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| (text(&it["payload"]), text(&it["fromPeer"]), text(&it["fromName"])))
            .collect()
    }

    fn names(&mut self, who: As<'_>, body: &Value) -> (Vec<String>, u64) {
        let reply = self.ask(who, Endpoint::Peers, body);
        let peers = reply["peers"].as_array().unwrap();
        let names = peers.iter().map(|peer| peer["name"].as_str().unwrap().to_owned()).collect();
        (names, reply["elsewhere"].as_u64().unwrap_or(0))
    }

    fn send(&mut self, who: As<'_>, from: Option<&str>, to: &str, text: &str) -> Value {
        let body = json!({"fromPeer": from, "toPeer": to, "payload": text});
        self.ask(who, Endpoint::Send, &body)
    }
}

#[test]
fn an_invitation_lets_one_machine_in_and_no_other() {
    let mut world = World::bare(0);
    let invite = |world: &mut World, body: Value| {
        let invited = world.0.turn(|mesh, now| {
            let request = Request::decode(Endpoint::Machines, body.to_string().as_bytes()).unwrap();
            match mesh.handle(Caller::Broker, &request, now) {
                Ok(Outcome::Reply(Reply::Invited(invited))) => invited,
                other => panic!("{other:?}"),
            }
        });
        (Proof::Invitation(Sha256::digest(invited.token).into()), invited.expires_at)
    };
    let (first, ends) = invite(&mut world, json!({"action": "invite", "name": "Laptop"}));
    assert_eq!(ends, world.0.now.wall.plus_ms(15 * 60_000));
    let (second, _) = invite(&mut world, json!({"action": "invite", "minutes": 1}));
    // Its name is kept for it.
    assert_eq!(world.admit(id(9), Proof::Secret, "laptop").unwrap().as_str(), "laptop-2");
    let named = json!({"action": "invite", "name": "LAPTOP"});
    assert_eq!(world.refused(HUB, Endpoint::Machines, &named).0, "name_taken");

    let wrong = world.admit(id(1), Proof::Invitation([0; 32]), "x").unwrap_err();
    assert!(wrong.contains("no such code"), "{wrong}");
    assert!(world.admit(id(1), Proof::Known, "x").unwrap_err().contains("slm-mesh invite"));
    assert_eq!(world.admit(id(1), first, "x").unwrap().as_str(), "Laptop");
    // An answer may be lost: it comes again; nobody else may.
    assert_eq!(world.admit(id(1), first, "x").unwrap().as_str(), "Laptop");
    assert!(world.admit(id(2), first, "x").unwrap_err().contains("used by another machine"));
    world.0.restart(Duration::ZERO);
    assert!(world.admit(id(2), first, "x").unwrap_err().contains("used by another machine"));
    assert_eq!(world.admit(id(1), Proof::Known, "x").unwrap().as_str(), "Laptop");

    world.0.pass(61);
    assert!(world.admit(id(2), second, "x").unwrap_err().contains("over"));
    world.0.pass(15 * 60);
    assert_eq!(world.admit(id(1), first, "x").unwrap().as_str(), "Laptop");
    assert_eq!(world.admit(id(1), Proof::Known, "x").unwrap().as_str(), "Laptop");

    for _ in 0..INVITATIONS_MAX {
        invite(&mut world, json!({"action": "invite"}));
    }
    let (code, _) = world.refused(HUB, Endpoint::Machines, &json!({"action": "invite"}));
    assert_eq!(code, "storage_full");
    world.0.pass(15 * 60);
    invite(&mut world, json!({"action": "invite"}));
    assert_eq!(world.0.mesh().store_mut().invitations().unwrap().len(), 1);
}

#[test]
fn no_two_machines_are_called_the_same() {
    let mut world = World::bare(0);
    for (n, (wished, given)) in (1..).zip([
        ("Paul's MacBook.local", "paul-s-macbook.local"),
        ("paul's macbook.local", "paul-s-macbook.local-2"),
        ("hub", "hub-2"),
        ("desk", "desk-2"),
        ("\u{1f600}", "machine"),
        ("", "machine-2"),
        (&"x".repeat(99), &"x".repeat(32)),
        (&"x".repeat(99), &format!("{}-2", "x".repeat(30))),
    ]) {
        assert_eq!(world.admit(id(n), Proof::Secret, wished).unwrap().as_str(), given);
    }
}

#[test]
fn a_removed_machine_can_do_nothing_any_more() {
    let mut world = World::new();
    let (token, peer) = world.come(As::Person("laptop"), "ann", &json!({}));
    assert!(world.lock(As::Token(&token, "laptop"), "/w/a"));
    let body = json!({"action": "lock", "filePath": "/w/b", "peerId": "bot"});
    world.ask(As::Person("laptop"), Endpoint::Lock, &body);
    let open = json!({"action": "invite"});
    world.ask(HUB, Endpoint::Machines, &open);
    for who in [As::Person("tower"), As::Person("laptop"), As::Token(&token, "laptop")] {
        for action in ["list", "invite", "remove", "leave"] {
            let body = json!({"action": action, "name": "laptop"});
            assert_eq!(world.refused(who, Endpoint::Machines, &body).0, "forbidden", "{action}");
        }
    }
    world.ask(HUB, Endpoint::Machines, &json!({"action": "remove", "name": "LAPTOP"}));
    let departed = &world.0.effects.departed[0];
    assert_eq!((departed.peer, departed.machine), (peer, Some(name("laptop"))));
    assert_eq!(departed.reason, LeaveReason::Removed);
    assert_eq!(world.0.effects.removed, [name("laptop")]);
    let locks = world.ask(HUB, Endpoint::Lock, &json!({"action": "query"}));
    assert_eq!(locks["locks"], json!([]));
    let back = json!({"pid": 1, "projectPath": "/w", "peerId": peer.to_string()});
    let refused = world.refused(As::Token(&token, "laptop"), Endpoint::Register, &back);
    assert_eq!(refused.0, "peer_not_found");
    assert_eq!(world.0.mesh().store_mut().invitations().unwrap(), []);
    for proof in [Proof::Known, Proof::Secret] {
        assert!(world.admit(id(1), proof, "laptop").unwrap_err().contains("removed"));
    }
    world.0.restart(Duration::ZERO);
    assert!(world.admit(id(1), Proof::Secret, "laptop").unwrap_err().contains("removed"));
    // Its name is not for another.
    assert_eq!(world.admit(id(3), Proof::Secret, "laptop").unwrap().as_str(), "laptop-2");
    let machines = world.ask(HUB, Endpoint::Machines, &json!({"action": "list"}));
    let names: Vec<_> =
        machines["machines"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(
        (names, &machines["role"]),
        (vec![&json!("laptop-2"), &json!("tower")], &json!("hub"))
    );
}

#[test]
fn a_machine_whose_removal_was_not_stored_is_as_it_was() {
    let mut world = World::new();
    let (token, _) = world.come(As::Person("laptop"), "ann", &json!({}));
    let machines =
        |world: &mut World| world.ask(HUB, Endpoint::Machines, &json!({"action": "list"}));
    let before = machines(&mut world);
    assert_eq!(before["machines"][0]["connected"], true);
    let remove = Request::decode(Endpoint::Machines, br#"{"action":"remove","name":"laptop"}"#);
    let now = world.0.now;
    let mesh = world.0.mesh();
    mesh.begin_turn(now).unwrap();
    assert!(mesh.handle(Caller::Broker, &remove.unwrap(), now).is_ok());
    mesh.abort_turn(now).unwrap();
    assert_eq!(machines(&mut world), before);
    world.ask(As::Token(&token, "laptop"), Endpoint::Heartbeat, &json!({}));
}

#[test]
fn what_waits_for_a_name_is_read_on_its_machine_only() {
    let mut world = World::new();
    let (laptop, tower) = (As::Person("laptop"), As::Person("tower"));
    let gone = |world: &mut World, who| world.ask(who, Endpoint::Unregister, &json!({}));
    let (ann, _) = world.come(laptop, "ann", &json!({}));
    world.send(HUB, Some("cli"), "ann", "first");
    gone(&mut world, As::Token(&ann, "laptop"));
    assert_eq!(world.send(tower, Some("cli"), "ANN", "second")["queued"], true);
    // Elsewhere the name is not to be had, after a restart neither, and what is there stays there.
    world.0.restart(Duration::ZERO);
    let exclusive = json!({"pid": 1, "projectPath": "/w", "name": "Ann", "exclusive": true});
    for who in [HUB, tower] {
        let (code, words) = world.refused(who, Endpoint::Register, &exclusive);
        assert_eq!(code, "name_taken");
        assert!(words.contains("kept for laptop"), "{words}");
    }
    let (other, id) = world.come(tower, "ann", &json!({}));
    let other = As::Token(&other, "tower");
    assert_eq!(world.names(other, &json!({})).0, ["ann-2"]);
    assert_eq!(world.inbox(other, None), []);
    assert_eq!(world.send(HUB, Some("cli"), "ann", "third")["queued"], true);
    // On its own machine it is anybody's.
    let (ann, _) = world.come(laptop, "ann", &json!({}));
    let ann = As::Token(&ann, "laptop");
    let texts: Vec<String> = world.inbox(ann, None).into_iter().map(|(text, ..)| text).collect();
    assert_eq!(texts, ["first", "second", "third"]);
    world.ask(ann, Endpoint::Messages, &json!({}));
    gone(&mut world, ann);
    // Nothing waits, so another machine may have the name; but not what was read there.
    let rename = json!({"pid": 1, "projectPath": "/w", "name": "ann", "peerId": id.to_string()});
    assert_eq!(world.ask(other, Endpoint::Register, &rename)["name"], "ann");
    assert_eq!(world.inbox(other, None), []);
    world.send(HUB, Some("cli"), "ann", "fourth");
    assert_eq!(world.inbox(other, None).len(), 1);
    gone(&mut world, other);
    let (code, words) = world.refused(HUB, Endpoint::Register, &exclusive);
    assert_eq!((&*code, words.contains("kept for tower")), ("name_taken", true));
    // Of a machine that was removed nobody comes for it.
    world.ask(HUB, Endpoint::Machines, &json!({"action": "remove", "name": "tower"}));
    assert_eq!(world.ask(HUB, Endpoint::Register, &exclusive)["name"], "Ann");
}

#[test]
fn nothing_waits_on_a_machine_that_was_removed() {
    let mut world = World::new();
    let (tom, _) = world.come(As::Person("tower"), "tom", &json!({}));
    world.ask(As::Token(&tom, "tower"), Endpoint::Unregister, &json!({}));
    assert_eq!(world.send(HUB, Some("cli"), "tom", "x")["queued"], true);
    world.ask(HUB, Endpoint::Machines, &json!({"action": "remove", "name": "tower"}));
    let body = json!({"fromPeer": "cli", "toPeer": "tom", "payload": "x"});
    assert_eq!(world.refused(HUB, Endpoint::Send, &body).0, "peer_not_found");
    // And whoever has sent something there before sees that nobody will read it.
    let sent = json!({"peerId": "cli", "filter": "sent"});
    let sent = world.ask(HUB, Endpoint::Messages, &sent);
    assert_eq!(sent["messages"][0]["stage"], "undeliverable", "{sent}");
    assert!(sent["messages"][0]["undeliverableAt"].is_string(), "{sent}");
}

#[test]
fn a_token_of_one_machine_is_nothing_on_another() {
    let mut world = World::new();
    let (token, peer) = world.come(As::Person("laptop"), "ann", &json!({}));
    let beat = json!({});
    world.ask(As::Token(&token, "laptop"), Endpoint::Heartbeat, &beat);
    let back = json!({"pid": 1, "projectPath": "/w", "peerId": peer.to_string()});
    for machine in ["tower", ""] {
        let (code, _) = world.refused(As::Token(&token, machine), Endpoint::Heartbeat, &beat);
        assert_eq!(code, "unauthorized");
        let (code, _) = world.refused(As::Token(&token, machine), Endpoint::Register, &back);
        assert_ne!(code, "internal");
    }
    // After a crash it comes back on its own machine only.
    world.0.turn(|mesh, now| mesh.process_ended(peer, now).unwrap());
    for machine in ["tower", ""] {
        world.refused(As::Token(&token, machine), Endpoint::Register, &back);
    }
    let resumed = world.ask(As::Token(&token, "laptop"), Endpoint::Register, &back);
    assert_eq!(resumed["peerId"], peer.to_string());
    let listed = world.ask(HUB, Endpoint::Peers, &json!({"scope": "mesh"}));
    assert_eq!(listed["peers"][0]["host"], "laptop");
}

#[test]
fn the_person_on_a_machine_may_do_for_its_peers_only() {
    let mut world = World::new();
    let (laptop, tower) = (As::Person("laptop"), As::Person("tower"));
    let (ann, _) = world.come(laptop, "ann", &json!({"private": true}));
    world.come(tower, "tom", &json!({}));
    world.come(HUB, "hal", &json!({}));
    world.send(HUB, Some("cli"), "ann", "hello");
    // To look, to end, to force: its own.
    assert_eq!(world.inbox(laptop, Some("ann")).len(), 1);
    let peek = json!({"peerId": "ann", "peek": true});
    assert_eq!(world.refused(tower, Endpoint::Messages, &peek).0, "forbidden");
    assert_eq!(world.inbox(HUB, Some("ann")).len(), 1, "the hub's own person looks after all");
    for (who, from) in [(tower, "hal"), (tower, "ann"), (HUB, "tom"), (laptop, "cli@tower")] {
        let body = json!({"fromPeer": from, "toPeer": "hal", "payload": "x"});
        assert_eq!(world.refused(who, Endpoint::Send, &body).0, "forbidden", "{from}");
    }
    assert!(world.lock(As::Token(&ann, "laptop"), "/w/a"));
    let force = json!({"action": "unlock", "filePath": "/w/a", "force": true, "peerId": "ann"});
    assert_eq!(world.refused(tower, Endpoint::Lock, &force).0, "forbidden");
    let here = json!({"action": "unlock", "filePath": "/w/a", "force": true});
    assert_eq!(world.refused(HUB, Endpoint::Lock, &here).0, "lock_not_found");
    world.ask(laptop, Endpoint::Lock, &here);
    assert!(world.lock(As::Token(&ann, "laptop"), "/w/a"));
    world.ask(HUB, Endpoint::Lock, &force);
    let end = json!({"peerId": "ann"});
    assert_eq!(world.refused(tower, Endpoint::Unregister, &end).0, "forbidden");
    world.ask(laptop, Endpoint::Unregister, &end);
    world.ask(HUB, Endpoint::Unregister, &json!({"peerId": "tom"}));
    assert_eq!(world.refused(laptop, Endpoint::Shutdown, &json!({})).0, "forbidden");
    assert!(!world.0.effects.shutdown);
}

#[test]
fn the_person_on_a_machine_reads_what_concerns_it() {
    let mut world = World::new();
    let (laptop, tower) = (As::Person("laptop"), As::Person("tower"));
    let (ann, ann_id) = world.come(laptop, "ann", &json!({}));
    let (tom, _) = world.come(tower, "tom", &json!({}));
    world.come(HUB, "hal", &json!({}));
    let ann = As::Token(&ann, "laptop");
    world.send(As::Token(&tom, "tower"), None, "ann", "to ann");
    world.send(ann, None, "hal", "from ann");
    world.send(As::Token(&tom, "tower"), None, "hal", "to hal");
    world.send(HUB, Some("cli"), "all", "to all");
    world.send(HUB, Some("cli"), "cli@laptop", "to the person");
    let texts = |world: &mut World, who: As<'_>, more: &Value| {
        let reply = world.ask(who, Endpoint::History, more);
        let messages = reply["messages"].as_array().unwrap().iter();
        messages.map(|it| it["payload"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = json!({});
    let of_laptop = ["to ann", "from ann", "to all", "to the person"];
    assert_eq!(texts(&mut world, laptop, &all), of_laptop);
    assert_eq!(texts(&mut world, tower, &all), ["to ann", "to hal", "to all"]);
    assert_eq!(texts(&mut world, HUB, &all).len(), 5);
    assert_eq!(texts(&mut world, laptop, &json!({"with": "hal"})), ["from ann", "to all"]);
    assert_eq!(world.refused(ann, Endpoint::History, &all).0, "forbidden");
    // What its peers wrote stays its own when they have left.
    world.ask(laptop, Endpoint::Unregister, &json!({"peerId": ann_id.to_string()}));
    let left = texts(&mut world, laptop, &all);
    assert!(
        left.iter().any(|text| text == "to ann") && !left.contains(&"to hal".into()),
        "{left:?}"
    );
}

fn person(who: &str) -> As<'_> {
    As::Person(if who == "hub" { "" } else { who })
}

#[test]
fn cli_is_the_person_on_ones_own_machine() {
    let mut world = World::new();
    let (ann, _) = world.come(As::Person("laptop"), "ann", &json!({}));
    let ann = As::Token(&ann, "laptop");
    world.send(ann, None, "cli", "to my own");
    world.send(ann, None, "cli@Tower", "to the tower");
    world.send(ann, None, "cli@desk", "to the hub");
    world.send(ann, None, "cli@hub", "to the hub again");
    world.send(HUB, Some("cli"), "cli@laptop", "from the hub");
    world.send(person("tower"), Some("cli"), "cli", "to myself");
    let texts = |world: &mut World, who: &str| -> Vec<String> {
        world.inbox(person(who), Some("cli")).into_iter().map(|it| it.0).collect()
    };
    assert_eq!(texts(&mut world, "laptop"), ["to my own", "from the hub"]);
    assert_eq!(texts(&mut world, "tower"), ["to the tower", "to myself"]);
    assert_eq!(texts(&mut world, "hub"), ["to the hub", "to the hub again"]);
    let body = json!({"fromPeer": "cli", "toPeer": "cli@nowhere", "payload": "x"});
    assert_eq!(world.refused(HUB, Endpoint::Send, &body).0, "peer_not_found");
    // Others' are for the hub's own person only.
    let peek = json!({"peerId": "cli@tower", "peek": true});
    assert_eq!(world.refused(person("laptop"), Endpoint::Messages, &peek).0, "forbidden");
    assert_eq!(world.inbox(HUB, Some("cli@tower")).len(), 2);
    let read = json!({"peerId": "cli@tower"});
    assert_eq!(world.refused(HUB, Endpoint::Messages, &read).0, "forbidden");

    // Who has written is named so that an answer arrives, wherever it is read.
    let from = |world: &mut World, who: As<'_>, of: Option<&str>| -> Vec<(String, String)> {
        world.inbox(who, of).into_iter().map(|it| (it.1, it.2)).collect()
    };
    let pair = |text: &str| (text.to_owned(), text.to_owned());
    world.send(HUB, Some("cli"), "ann", "a");
    world.send(person("laptop"), Some("cli"), "ann", "b");
    world.send(person("tower"), Some("cli"), "ann", "c");
    world.send(HUB, Some("bot"), "ann", "d");
    world.send(person("laptop"), Some("bot"), "ann", "e");
    let seen = ["cli@Desk", "cli", "cli@tower", "bot@Desk", "bot"].map(pair);
    assert_eq!(from(&mut world, ann, None), seen);
    let seen = ["cli", "cli@laptop", "cli@tower", "bot", "bot@laptop"].map(pair);
    assert_eq!(from(&mut world, HUB, Some("ann")), seen);
    for (who, filter, text) in [
        ("cli", "unread", "b"),
        ("cli@Desk", "unread", "a"),
        ("bot", "unread", "e"),
        ("bot@desk", "unread", "d"),
    ] {
        let body = json!({"filter": filter, "from": who, "peek": true});
        let page = world.ask(ann, Endpoint::Messages, &body);
        let texts: Vec<_> =
            page["messages"].as_array().unwrap().iter().map(|it| &it["payload"]).collect();
        assert_eq!(texts, [text], "{who}");
    }
    let sent = json!({"filter": "sent", "from": "cli"});
    let page = world.ask(ann, Endpoint::Messages, &sent);
    assert_eq!(page["messages"][0]["toPeer"], "cli");
    assert_eq!(page["messages"].as_array().unwrap().len(), 1);
}

#[test]
fn a_push_names_the_sender_as_its_machine_does() {
    let mut world = World::new();
    let (_, ann) = world.come(As::Person("laptop"), "ann", &json!({"acks": true}));
    let (_, hal) = world.come(HUB, "hal", &json!({"acks": true}));
    for peer in [ann, hal] {
        world.0.turn(|mesh, now| mesh.link_up(peer, false, now).unwrap());
    }
    world.send(HUB, Some("cli"), "all", "hello");
    let mut seen: Vec<(bool, String)> = (world.0.effects.pushes.iter())
        .filter_map(|push| {
            let line: Value = serde_json::from_slice(push.frame.line()).ok()?;
            let from = line["payload"]["fromPeer"].as_str()?.to_owned();
            Some((push.to == slm_mesh::mesh::Target::One(ann), from))
        })
        .collect();
    seen.sort();
    assert_eq!(seen, [(false, "cli".to_owned()), (true, "cli@Desk".to_owned())]);
}

#[test]
fn the_same_path_on_two_machines_is_two_files() {
    let mut world = World::new();
    let (ann, _) = world.come(As::Person("laptop"), "ann", &json!({}));
    let (tom, _) = world.come(As::Person("tower"), "tom", &json!({}));
    let (hal, _) = world.come(HUB, "hal", &json!({}));
    let all = [As::Token(&ann, "laptop"), As::Token(&tom, "tower"), As::Token(&hal, "")];
    for path in ["/w/a", "/w/src/**", "repo:b", "c"] {
        for who in all {
            assert!(world.lock(who, path), "{path}");
        }
    }
    let query = json!({"action": "query", "filePaths": ["/w/a"]});
    for (who, host) in all.into_iter().zip(["laptop", "tower", "Desk"]) {
        let locks = world.ask(who, Endpoint::Lock, &query);
        assert_eq!(locks["locks"].as_array().unwrap().len(), 1);
        assert_eq!(locks["locks"][0]["host"], host);
    }
    // The person of a machine looks at its own files.
    let body = json!({"action": "lock", "filePath": "/w/a", "peerId": "cli"});
    for who in [As::Person("laptop"), HUB] {
        assert_eq!(world.refused(who, Endpoint::Lock, &body).0, "locked");
    }
    world.0.restart(Duration::ZERO);
    for who in all {
        assert!(world.lock(who, "/w/a"), "it is still its own");
    }
}

#[test]
fn a_repository_is_one_in_all_its_clones() {
    let mut world = World::new();
    let clone = |root: &str| {
        let repo = format!("{root}/.git");
        json!({"projectPath": root, "gitRoot": root, "repoId": repo, "repoHash": CLONE})
    };
    let (ann, _) = world.come(As::Person("laptop"), "ann", &clone("/w"));
    let (tom, _) = world.come(As::Person("tower"), "tom", &clone("/home/tom/w"));
    let (hal, _) = world.come(HUB, "hal", &clone("/w"));
    let (ann, tom, hal) =
        (As::Token(&ann, "laptop"), As::Token(&tom, "tower"), As::Token(&hal, ""));
    assert!(world.lock(ann, "repo:src/auth.ts"));
    for who in [tom, hal] {
        assert!(!world.lock(who, "repo:src/auth.ts") && !world.lock(who, "src/auth.ts"));
        assert!(world.lock(who, "src/other.ts"));
        let files = json!({"action": "lock", "filePaths": ["src/new.ts", "src/auth.ts"]});
        assert_eq!(world.refused(who, Endpoint::Lock, &files).0, "locked");
        let query = json!({"action": "query", "filePaths": ["src/auth.ts"]});
        let found = world.ask(who, Endpoint::Lock, &query);
        assert_eq!(found["locks"][0]["filePath"], "repo:src/auth.ts");
        assert_eq!(found["locks"][0].get("host"), None, "it is on all of them");
    }
    assert!(!world.lock(ann, "repo:src/other.ts"), "others edit it in their clones");
    // The guard of a clone knows its repository, and is no peer.
    let guard = json!({
        "action": "query", "filePaths": ["/home/tom/w/src/auth.ts"], "peerId": "cli",
        "repoId": "/home/tom/w/.git", "gitRoot": "/home/tom/w", "repoHash": CLONE,
    });
    let found = world.ask(As::Person("tower"), Endpoint::Lock, &guard);
    assert_eq!(found["locks"].as_array().unwrap().len(), 1);
    // Whoever waits for it gets it, wherever it is.
    world.ask(ann, Endpoint::Lock, &json!({"action": "unlock", "filePath": "repo:src/auth.ts"}));
    world.0.restart(Duration::ZERO);
    assert!(world.lock(tom, "repo:src/auth.ts"));
    assert!(!world.lock(hal, "repo:src/auth.ts"));
}

#[test]
fn a_scope_is_that_of_the_machine_or_of_the_mesh() {
    let mut world = World::new();
    let clone = json!({"repoHash": CLONE, "sessionId": "s1", "agentPid": 42});
    let (ann, _) = world.come(As::Person("laptop"), "ann", &clone);
    world.come(As::Person("tower"), "tom", &clone);
    world.come(HUB, "hal", &json!({"sessionId": "s1", "agentPid": 42}));
    let (ann, tower) = (As::Token(&ann, "laptop"), As::Person("tower"));
    let list = |names: &[&str], elsewhere| {
        (names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), elsewhere)
    };
    for (who, body, expected) in [
        (ann, json!({}), list(&["ann"], 2)),
        (HUB, json!({"scope": "machine"}), list(&["hal"], 2)),
        (HUB, json!({"scope": "mesh"}), list(&["ann", "hal", "tom"], 0)),
        (ann, json!({"scope": "directory", "projectPath": "/w"}), list(&["ann"], 0)),
        (ann, json!({"scope": "repo", "repoId": "/w/.git"}), list(&["ann"], 0)),
        (ann, json!({"scope": "repo", "repoHash": CLONE}), list(&["ann", "tom"], 0)),
        (
            tower,
            json!({"scope": "repo", "gitRoot": "/w", "repoHash": CLONE}),
            list(&["ann", "tom"], 0),
        ),
        // A session and a process are one machine's.
        (HUB, json!({"scope": "mesh", "sessionId": "s1"}), list(&["hal"], 0)),
        (tower, json!({"agentPids": [42]}), list(&["tom"], 0)),
    ] {
        assert_eq!(world.names(who, &body), expected, "{body}");
    }
    let listed = world.ask(ann, Endpoint::Peers, &json!({"scope": "mesh"}));
    let hosts: Vec<_> = listed["peers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (&it["host"], it["udsPath"].is_null()))
        .collect();
    assert_eq!(hosts, [(&json!("laptop"), false), (&json!("Desk"), true), (&json!("tower"), true)]);
    for (to, recipients) in [("all", 2), ("directory", 0), ("repo", 1)] {
        let sent = world.send(ann, None, to, "x");
        assert_eq!(sent["messageIds"].as_array().map_or(0, Vec::len), usize::from(recipients > 0));
        assert_eq!(sent["recipients"].as_u64().unwrap_or(0), recipients, "{to}: {sent}");
    }
    // Without other machines there is nothing to tell apart.
    let mut alone = World::bare(0);
    alone.come(HUB, "hal", &json!({}));
    let listed = alone.ask(HUB, Endpoint::Peers, &json!({}));
    assert_eq!((listed["peers"][0].get("host"), listed.get("elsewhere")), (None, None));
}

#[test]
fn a_session_goes_on_on_its_own_machine_only() {
    let mut world = World::new();
    let session = json!({"agentType": "codex", "sessionId": "s1", "agentPid": 42});
    let come = |world: &mut World, who: &str| {
        let mut body = json!({
            "pid": 7, "projectPath": "/w", "udsPath": "/peers/x.sock",
        });
        body.as_object_mut().unwrap().extend(session.as_object().unwrap().clone());
        let mut request = Request::decode(Endpoint::Register, body.to_string().as_bytes()).unwrap();
        let Request::Register(register) = &mut request else { panic!() };
        register.facts.agent_start = Some("1".into());
        register.facts.descends = true;
        register.facts.former_gone = true;
        let caller = if who.is_empty() { Caller::Broker } else { Caller::Operator(name(who)) };
        let former = world.0.turn(|mesh, _| {
            let Request::Register(register) = &request else { panic!() };
            mesh.former(caller, register).unwrap()
        });
        let reply = world.0.turn(|mesh, now| mesh.handle(caller, &request, now).unwrap());
        let Outcome::Reply(Reply::Registered(it)) = reply else { panic!() };
        (it.peer_id, it.resumed, former.map(|former| former.peer))
    };
    let (ann, ..) = come(&mut world, "laptop");
    let (tom, resumed, former) = come(&mut world, "tower");
    assert!(tom != ann && !resumed && former.is_none());
    let (hal, resumed, _) = come(&mut world, "");
    assert!(hal != ann && hal != tom && !resumed);
    assert_eq!(come(&mut world, "laptop"), (ann, true, Some(ann)));
    world.0.turn(|mesh, now| mesh.process_ended(tom, now).unwrap());
    assert_eq!(come(&mut world, "tower"), (tom, true, Some(tom)));
}

#[test]
fn what_is_of_a_machine_that_is_cut_off_goes_and_comes_back() {
    let mut world = World::new();
    let (token, ann) = world.come(As::Person("laptop"), "ann", &json!({}));
    let watched = [(ann, 7)];
    assert_eq!(world.0.effects.watch, watched);
    let ann_asks = As::Token(&token, "laptop");
    assert!(world.lock(ann_asks, "/w/a"));
    world.0.turn(|mesh, now| {
        mesh.link_up(ann, true, now).unwrap();
    });
    // As long as its process is known it stays.
    world.0.pass(100);
    assert!(world.0.mesh().is_present(ann));
    world.ask(ann_asks, Endpoint::Heartbeat, &json!({}));
    world.0.turn(|mesh, now| mesh.machine_down(name("laptop"), now).unwrap());
    assert_eq!(world.0.mesh().connected().count(), 0);
    world.0.pass(31);
    let listed = world.ask(HUB, Endpoint::Peers, &json!({"scope": "mesh", "includeStale": true}));
    assert_eq!(listed["peers"][0]["status"], "stale");
    // Back in time: what only its machine can do is asked of it.
    world.0.turn(|mesh, now| mesh.machine_up(name("laptop"), now).unwrap());
    assert_eq!(world.0.effects.watch, watched);
    assert_eq!(world.0.effects.connect, [(ann, "/peers/ann.sock".into())]);
    let machines = world.ask(HUB, Endpoint::Machines, &json!({"action": "list"}));
    assert_eq!(
        (&machines["machines"][0]["connected"], &machines["machines"][0]["peers"]),
        (&json!(true), &json!(1))
    );
    world.0.turn(|mesh, now| mesh.machine_down(name("laptop"), now).unwrap());
    world.0.pass(30);
    assert!(!world.0.mesh().is_present(ann));
    assert_eq!(world.0.effects.departed[0].machine, Some(name("laptop")));
    let locks = world.ask(HUB, Endpoint::Lock, &json!({"action": "query"}));
    assert_eq!(locks["locks"], json!([]));
    // It comes back as who it was.
    let back = json!({"pid": 7, "projectPath": "/w", "peerId": ann.to_string()});
    let resumed = world.ask(ann_asks, Endpoint::Register, &back);
    assert_eq!((&resumed["peerId"], &resumed["name"]), (&json!(ann.to_string()), &json!("ann")));
}

#[test]
fn a_machine_takes_nothing_from_the_others() {
    let mut world = World::bare(5);
    for (n, name) in [(1, "laptop"), (2, "tower")] {
        world.admit(id(n), Proof::Secret, name).unwrap();
    }
    let list = json!({});
    let spent = |world: &mut World, who: As<'_>| {
        (0..6).filter(|_| world.answer(who, Endpoint::Peers, &list).is_ok()).count()
    };
    assert_eq!(spent(&mut world, As::Person("laptop")), 5);
    assert_eq!(spent(&mut world, As::Person("tower")), 5);
    assert_eq!(spent(&mut world, HUB), 5);
    // Tokens that nobody has are for coming back, and not for trying.
    let stranger = As::Token("unknown", "laptop");
    let back =
        json!({"pid": 1, "projectPath": "/w", "peerId": "3c0a6d0e-0000-4000-8000-000000000000"});
    for _ in 0..STRANGERS_PER_WINDOW {
        assert_eq!(world.refused(stranger, Endpoint::Register, &back).0, "peer_not_found");
    }
    assert_eq!(world.refused(stranger, Endpoint::Register, &back).0, "rate_limited");
    assert_eq!(
        world.refused(stranger, Endpoint::Send, &json!({"toPeer": "a", "payload": "x"})).0,
        "unauthorized"
    );
    let other = As::Token("unknown", "tower");
    assert_eq!(world.refused(other, Endpoint::Register, &back).0, "peer_not_found");

    let mut world = World::new();
    for n in 0..MACHINE_PEERS_MAX {
        world.come(As::Person("laptop"), &format!("p{n}"), &json!({}));
    }
    let one = json!({"pid": 1, "projectPath": "/w"});
    let (code, words) = world.refused(As::Person("laptop"), Endpoint::Register, &one);
    assert_eq!(code, Code::Unavailable.as_str(), "{words}");
    world.come(As::Person("tower"), "tom", &json!({}));
    world.come(HUB, "hal", &json!({}));
}

#[test]
fn a_machine_pays_for_its_own_failures() {
    let mut world = World::bare(5);
    for (n, name) in [(1, "laptop"), (2, "tower")] {
        world.admit(id(n), Proof::Secret, name).unwrap();
    }
    let (token, _) = world.come(As::Person("laptop"), "ann", &json!({}));
    let status = |world: &mut World, machine| {
        world.refused(As::Token("unknown", machine), Endpoint::Status, &json!({})).0
    };
    // As many as there may be: half of them with no token, half with that of one who has just left.
    for _ in 0..AUTH_FAILURES_PER_WINDOW / 2 {
        assert_eq!(status(&mut world, "laptop"), "unauthorized");
    }
    world.0.turn(|mesh, now| {
        let ann = mesh.authenticate(&token, MachineName::new("laptop"));
        let leave = Request::Unregister { peer_id: None, away: false };
        assert!(mesh.handle(ann, &leave, now).is_ok());
        for _ in 0..AUTH_FAILURES_PER_WINDOW / 2 {
            assert!(mesh.handle(ann, &Request::Status, now).is_err());
        }
    });
    assert_eq!(status(&mut world, "laptop"), "rate_limited");
    for machine in ["tower", ""] {
        for _ in 0..AUTH_FAILURES_PER_WINDOW {
            assert_eq!(status(&mut world, machine), "unauthorized");
        }
        assert_eq!(status(&mut world, machine), "rate_limited");
    }
    // Whoever may ask is not slowed down by that.
    world.ask(As::Person("laptop"), Endpoint::Status, &json!({}));
}

#[test]
fn what_is_told_on_another_machine_is_not_told() {
    let mut world = World::new();
    let (ann, id) = world.come(As::Person("laptop"), "ann", &json!({}));
    let (hal, _) = world.come(HUB, "hal", &json!({"repoHash": CLONE}));
    let lock_body = json!({
        "action": "lock", "filePath": "repo:a", "wait": 9, "repoHash": CLONE, "repoId": "/w/.git",
        "gitRoot": "/w",
    });
    assert!(world.answer(As::Token(&hal, ""), Endpoint::Lock, &lock_body).is_ok());
    let request = Request::decode(Endpoint::Lock, lock_body.to_string().as_bytes()).unwrap();
    let ask = |mesh: &mut Mesh<MemoryStore>, held, now| {
        let caller = mesh.authenticate(&ann, MachineName::new("laptop"));
        match held {
            Some(held) => mesh.handle_held(caller, &request, held, now).unwrap(),
            None => mesh.handle(caller, &request, now).unwrap(),
        }
    };
    let Outcome::Hold { on, until } = world.0.turn(|mesh, now| ask(mesh, None, now)) else {
        panic!("it is free")
    };
    let held = Held { on, until, hung_up: false };
    let given = world.0.turn(|mesh, now| {
        let leave = Request::Unregister { peer_id: None, away: false };
        assert!(mesh.handle(mesh.authenticate(&hal, None), &leave, now).is_ok());
        assert!(mesh.next_waiter().is_some());
        ask(mesh, Some(held), now)
    });
    let Outcome::Reply(Reply::Locked(LockReply { lock, .. })) = given else { panic!("{given:?}") };
    // Its answer is lost. That others have looked, in its name or not, tells it nothing.
    let mut look = lock_body.clone();
    look["action"] = json!("query");
    look["peerId"] = json!(id.to_string());
    for who in [As::Person("tower"), HUB] {
        let found = world.ask(who, Endpoint::Lock, &look);
        assert_eq!(found["locks"].as_array().unwrap().len(), 1, "{found}");
    }
    world.0.turn(|mesh, now| mesh.grant_lost(lock.fence, Lost::Unwritten, now).unwrap());
    let found = world.ask(HUB, Endpoint::Lock, &look);
    assert_eq!(found["locks"], json!([]));
}

#[test]
fn an_event_names_people_as_its_reader_does() {
    let mut world = World::new();
    let (ann, id) = world.come(As::Person("laptop"), "ann", &json!({}));
    let (hal, other) = world.come(HUB, "hal", &json!({}));
    for peer in [id, other] {
        world.0.turn(|mesh, now| mesh.link_up(peer, true, now).unwrap());
    }
    for who in [As::Token(&ann, "laptop"), As::Token(&hal, "")] {
        world.ask(who, Endpoint::Events, &json!({"action": "subscribe", "types": ["*"]}));
    }
    let frames_to = |world: &World, peer| {
        let to = world.0.effects.pushes.iter().filter(|push| push.to == Target::One(peer));
        to.map(|push| push.frame.json().to_owned()).collect::<String>()
    };
    for (who, path, on_hub, on_laptop) in [
        (HUB, "/w/a", "cli", "cli@Desk"),
        (As::Person("laptop"), "/w/b", "cli@laptop", "cli"),
        (As::Person("tower"), "/w/c", "cli@tower", "cli@tower"),
    ] {
        let body = json!({"action": "lock", "filePath": path, "peerId": "cli"});
        world.ask(who, Endpoint::Lock, &body);
        let frames = [(frames_to(&world, other), on_hub), (frames_to(&world, id), on_laptop)];
        for (frame, name) in frames {
            let name = format!("\"{name}\"");
            for field in ["emittedBy", "lockedBy", "lockedByName"] {
                assert!(frame.contains(&format!("\"{field}\":{name}")), "{frame}");
            }
        }
    }
    let read = json!({"action": "read", "types": ["file_locked"], "after": 0});
    let mut lockers = |who| -> Vec<(String, String)> {
        let events = world.ask(who, Endpoint::Events, &read);
        let locker = |event: &Value| {
            let payload: Value = serde_json::from_str(event["payload"].as_str().unwrap()).unwrap();
            assert_eq!(payload["lockedBy"], event["emittedBy"]);
            let text = |field: &str| payload[field].as_str().unwrap().to_owned();
            (text("filePath"), text("lockedByName"))
        };
        events["events"].as_array().unwrap().iter().map(locker).collect()
    };
    let named = |names: [&str; 3]| {
        let paths = ["/w/a", "/w/b", "/w/c"].map(String::from);
        paths.into_iter().zip(names.map(String::from)).collect::<Vec<_>>()
    };
    assert_eq!(lockers(HUB), named(["cli", "cli@laptop", "cli@tower"]));
    assert_eq!(lockers(As::Token(&ann, "laptop")), named(["cli@Desk", "cli", "cli@tower"]));
}

#[test]
fn a_list_for_another_machine_is_short() {
    let mut world = World::new();
    for n in 0..10 {
        let value = "v".repeat(60_000);
        let body = json!({"action": "set", "key": n.to_string(), "value": value, "peerId": "cli"});
        world.ask(HUB, Endpoint::State, &body);
    }
    let list = json!({"action": "list"});
    let here = world.ask(HUB, Endpoint::State, &list);
    assert_eq!(here["entries"].as_array().unwrap().len(), 10);
    let there = world.ask(As::Person("laptop"), Endpoint::State, &list);
    assert_eq!(there["entries"].as_array().unwrap().len(), 4);
    assert!(there.to_string().len() <= MACHINE_REPLY_BYTES_MAX);
    assert_eq!(there["entries"][0]["updatedBy"], "cli@Desk");
}
