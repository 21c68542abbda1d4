//! The person on each machine: what they may do, and how they are called.

use serde_json::{Value, json};
use slm_mesh::api::Endpoint;
use slm_mesh::limits::MACHINE_REPLY_BYTES_MAX;
use slm_mesh::mesh::PushTarget;

use super::*;

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
            Some((push.to == slm_mesh::mesh::PushTarget::One(ann), from))
        })
        .collect();
    seen.sort();
    assert_eq!(seen, [(false, "cli".to_owned()), (true, "cli@Desk".to_owned())]);
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
        let to = world.0.effects.pushes.iter().filter(|push| push.to == PushTarget::One(peer));
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
