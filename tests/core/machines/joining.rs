//! Which machines may join, what is left of one that is removed or cut off, and what each may cost.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use slm_mesh::api::{Code, Endpoint, Reply, Request};
use slm_mesh::limits::{
    AUTH_FAILURES_PER_WINDOW, INVITATIONS_MAX, MACHINE_PEERS_MAX, STRANGERS_PER_WINDOW,
};
use slm_mesh::mesh::{Caller, Credential, Outcome};
use slm_mesh::model::{LeaveReason, MachineName};
use slm_mesh::store::Store as _;

use super::*;

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
        (Credential::Invitation(Sha256::digest(invited.token).into()), invited.expires_at)
    };
    let (first, ends) = invite(&mut world, json!({"action": "invite", "name": "Laptop"}));
    assert_eq!(ends, world.0.now.wall.plus_ms(15 * 60_000));
    let (second, _) = invite(&mut world, json!({"action": "invite", "minutes": 1}));
    // Its name is kept for it.
    assert_eq!(world.admit(id(9), Credential::Secret, "laptop").unwrap().as_str(), "laptop-2");
    let named = json!({"action": "invite", "name": "LAPTOP"});
    assert_eq!(world.refused(HUB, Endpoint::Machines, &named).0, "name_taken");

    let wrong = world.admit(id(1), Credential::Invitation([0; 32]), "x").unwrap_err();
    assert!(wrong.contains("no such code"), "{wrong}");
    assert!(world.admit(id(1), Credential::Known, "x").unwrap_err().contains("slm-mesh invite"));
    assert_eq!(world.admit(id(1), first, "x").unwrap().as_str(), "Laptop");
    // An answer may be lost: it comes again; nobody else may.
    assert_eq!(world.admit(id(1), first, "x").unwrap().as_str(), "Laptop");
    assert!(world.admit(id(2), first, "x").unwrap_err().contains("used by another machine"));
    world.0.restart(Duration::ZERO);
    assert!(world.admit(id(2), first, "x").unwrap_err().contains("used by another machine"));
    assert_eq!(world.admit(id(1), Credential::Known, "x").unwrap().as_str(), "Laptop");

    world.0.pass(61);
    assert!(world.admit(id(2), second, "x").unwrap_err().contains("over"));
    world.0.pass(15 * 60);
    assert_eq!(world.admit(id(1), first, "x").unwrap().as_str(), "Laptop");
    assert_eq!(world.admit(id(1), Credential::Known, "x").unwrap().as_str(), "Laptop");

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
        assert_eq!(world.admit(id(n), Credential::Secret, wished).unwrap().as_str(), given);
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
    let new = json!({"pid": 1, "projectPath": "/w"});
    for (who, body) in [(As::Token(&token, "laptop"), &back), (As::Person("laptop"), &new)] {
        assert_eq!(world.refused(who, Endpoint::Register, body).0, "unauthorized");
    }
    assert_eq!(world.0.mesh().store_mut().invitations().unwrap(), []);
    for proof in [Credential::Known, Credential::Secret] {
        assert!(world.admit(id(1), proof, "laptop").unwrap_err().contains("removed"));
    }
    world.0.restart(Duration::ZERO);
    assert!(world.admit(id(1), Credential::Secret, "laptop").unwrap_err().contains("removed"));
    // Its name is not for another.
    assert_eq!(world.admit(id(3), Credential::Secret, "laptop").unwrap().as_str(), "laptop-2");
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
        world.admit(id(n), Credential::Secret, name).unwrap();
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
        world.admit(id(n), Credential::Secret, name).unwrap();
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
