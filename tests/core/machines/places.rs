//! What is of one machine and what of all: names, tokens, paths, repositories, sessions.

use std::time::Duration;

use serde_json::json;
use slm_mesh::api::{Endpoint, LockReply, Reply, Request};
use slm_mesh::mesh::{AskedAgain, Caller, Lost, Mesh, Outcome};
use slm_mesh::model::MachineName;
use slm_mesh::store::memory::MemoryStore;

use super::*;

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
    let held = AskedAgain { on, until, hung_up: false };
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
