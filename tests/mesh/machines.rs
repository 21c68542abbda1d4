//! A hub and machines that join it, over sockets: the hub is the real binary, and each machine speaks
//! as its relay does, with every frame in the hands of the test.

use std::io::Read;
use std::net::TcpStream;
use std::process::Stdio;

use crate::common::agent::Agent;
use crate::common::hub::Hub;
use crate::common::relay::{Relay, free_port, invited};
use crate::common::{Mesh, PATIENCE, wait_until};
use serde_json::{Value, json};
use slm_mesh::config::{
    DEAD_MS, DISCOVERY, HOST, IDLE_TIMEOUT, NAME, ROLE, SHARED_SECRET, STALE_MS, Secret, WS_PORT,
};
use slm_mesh::lan::channel::Way;
use slm_mesh::lan::secret::SharedKey;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A peer of a machine, with a way to it that stands.
fn peer(relay: &mut Relay, name: &str) -> (String, String) {
    let path = format!("/there/{name}.sock");
    let (id, token) = relay.register(&json!({"name": name, "udsPath": path, "acks": true}));
    assert_eq!(relay.frame_with("connect"), json!({"connect": id, "path": path}));
    relay.up(&id, &path, 1);
    assert_eq!(relay.frame_with("announced"), json!({"announced": id, "link": 1}));
    (id, token)
}

// --- Coming in -----------------------------------------------------------------------------------

#[test]
fn an_invitation_makes_a_hub_of_a_running_broker_and_cuts_nobody() {
    let hub = Hub::new();
    assert!(TcpStream::connect(hub.address).is_err(), "nothing is open before");
    let role = || std::fs::read_to_string(hub.broker.dir().join("broker.role")).unwrap();
    assert_eq!((role().as_str(), &hub.broker.status()["role"]), ("broker", &json!("broker")));
    let mut here = hub.broker.connect();
    here.call("/status", Some(&hub.broker.token), &json!({}));
    let machine = hub.machine("laptop");
    let mut relay = machine.join(&hub.invite(&json!({}))).unwrap();
    assert_eq!((role().as_str(), &hub.broker.status()["role"]), ("hub", &json!("hub")));
    // The same connection as before.
    let list = here.call("/machines", Some(&hub.broker.token), &json!({"action": "list"}));
    let machines = list.json()["machines"].clone();
    assert_eq!(machines[0]["name"], "laptop");
    assert_eq!(machines[0]["id"], machine.id().to_string());
    assert_eq!(machines[0]["address"], "127.0.0.1");
    let hello = relay.frame();
    assert_eq!(hello["hello"]["you"], "laptop");
    assert_eq!(hello["hello"]["version"], env!("CARGO_PKG_VERSION"));
    wait_until("it is connected", || hub.is_connected("laptop"));
    relay.cut();
    wait_until("it is not", || !hub.is_connected("laptop"));
}

#[test]
fn a_code_is_for_one_machine() {
    let hub = Hub::new();
    let code = hub.invite(&json!({"name": "build"}));
    let (one, other) = (hub.machine("laptop"), hub.machine("thief"));
    let mut relay = one.join(&code).unwrap();
    assert_eq!(relay.frame()["hello"]["you"], "build");
    // It may not have heard that it was let in.
    one.join(&code).unwrap();
    let refused = other.join(&code).err().unwrap();
    assert!(refused.contains("was used by another machine"), "{refused}");
    let refused = hub.again(&other).err().unwrap();
    assert!(refused.contains("does not know this machine"), "{refused}");
    let (address, _) = invited(&code);
    let elsewhere = one.connect(address, Way::Joined(other.id())).err().unwrap();
    assert!(elsewhere.contains("another hub answers there"), "{elsewhere}");
    assert_eq!(hub.machines()["machines"].as_array().unwrap().len(), 1);
}

#[test]
fn a_shared_secret_lets_in_who_has_it() {
    let hub = Hub::with(|setup| setup.with(HOST, "0.0.0.0").with(SHARED_SECRET, SECRET));
    let secret = |text: &str| SharedKey::new(&Secret::parse(text).unwrap());
    let machine = hub.machine("laptop");
    machine.connect(hub.address, Way::Secret(secret(SECRET), None)).unwrap();
    let other = secret(&SECRET.replace('0', "1"));
    let refused = hub.machine("thief").connect(hub.address, Way::Secret(other, None));
    assert!(refused.err().unwrap().contains("the shared secret differs"));
    // It is known by now.
    hub.again(&machine).unwrap();
    assert_eq!(hub.machines()["machines"].as_array().unwrap().len(), 1);
}

#[test]
fn a_removed_machine_is_sent_away_for_good() {
    let hub = Hub::new();
    let (machine, mut relay) = hub.joined("laptop");
    let (_, token) = peer(&mut relay, "away");
    relay.ok(Some(&token), "/lock", &json!({"action": "lock", "filePath": "/f"}));
    let code = hub.invite(&json!({}));
    hub.broker.ok("/machines", &json!({"action": "remove", "name": "laptop"}));
    assert!(relay.end().contains("this machine was removed from the mesh"));
    assert_eq!((hub.peers().len(), hub.locks()), (0, 0));
    let refused = hub.again(&machine).err().unwrap();
    assert!(refused.contains("its key is refused for good"), "{refused}");
    let refused = hub.machine("other").join(&code).err().unwrap();
    assert!(refused.contains("knows no such code"), "{refused}");
    assert_eq!(hub.machines()["machines"], json!([]));
}

#[test]
fn who_says_nothing_keeps_nobody_out() {
    let hub = Hub::by_settings();
    let mut silent: Vec<TcpStream> =
        (0..40).map(|_| TcpStream::connect(hub.address).unwrap()).collect();
    // Most are closed at once; the rest when their time is over.
    for stream in &mut silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    }
    let (_, mut relay) = hub.joined("laptop");
    relay.frame_with("hello");
    // What is no machine is told so, as far as it can be.
    let mut plain = TcpStream::connect(hub.address).unwrap();
    std::io::Write::write_all(&mut plain, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    // An alert of TLS and nothing else.
    assert_eq!(said.first(), Some(&21), "{said:?}");
}

// --- With the relay itself -----------------------------------------------------------------------

/// A hub and a machine that has the same secret, each with its own data directory.
fn two_machines() -> (Mesh, Mesh) {
    let port = free_port().to_string();
    let one = || {
        let quiet = Mesh::unlimited().with(DISCOVERY, "false");
        quiet.with(SHARED_SECRET, SECRET).with(DEAD_MS, "600000").with(STALE_MS, "300000")
    };
    let hub = one().with(HOST, "0.0.0.0").with(WS_PORT, &port);
    hub.start();
    (hub, one().with(ROLE, "client").with(HOST, &format!("127.0.0.1:{port}")))
}

/// An agent on this machine, in a clone of one repository.
fn agent_in_clone(mesh: &Mesh, name: &str) -> Agent {
    let work = mesh.work().join(name);
    std::fs::create_dir(&work).unwrap();
    for arguments in
        [&["init", "-q"][..], &["remote", "add", "origin", "https://example.org/a.git"]]
    {
        let git = mesh.command_of("git").args(arguments).current_dir(&work).output().unwrap();
        assert!(git.status.success(), "{git:?}");
    }
    let mut command = mesh.command(["mcp"]);
    command.env(NAME, name).current_dir(&work).stdin(Stdio::piped());
    let mut agent = Agent::of(command.spawn().unwrap());
    agent.initialize();
    wait_until("it is in the mesh", || !agent.tool("mesh_peers", &json!({})).is_error);
    agent
}

#[test]
fn a_lock_over_clones_is_one_and_goes_with_the_agent_that_is_killed() {
    let (hub, far) = two_machines();
    let mut here = agent_in_clone(&hub, "here");
    let mut there = agent_in_clone(&far, "there");
    let lock = |agent: &mut Agent| {
        agent.tool("mesh_lock", &json!({"action": "lock", "filePath": "repo:src/a.rs"}))
    };
    lock(&mut there).ok();
    let refused = lock(&mut here);
    assert!(refused.is_error && refused.texts[0].contains("there"), "{refused:?}");
    // A path is one on its machine.
    let path = json!({"action": "lock", "filePath": "/x/src/b.rs"});
    there.tool("mesh_lock", &path).ok();
    here.tool("mesh_lock", &path).ok();
    there.tool("mesh_send", &json!({"to": "here", "message": "hello from there"})).ok();
    let inbox = here.tool("mesh_inbox", &json!({"wait": 20})).ok();
    assert_eq!(inbox["messages"][0]["payload"], "hello from there", "{inbox}");
    here.tool("mesh_send", &json!({"to": "there", "message": "hello from here"})).ok();
    let inbox = there.tool("mesh_inbox", &json!({"wait": 20})).ok();
    assert_eq!(inbox["messages"][0]["payload"], "hello from here", "{inbox}");

    there.kill();
    wait_until("its lock is free", || !lock(&mut here).is_error);
    here.end();
}

#[test]
fn who_is_on_a_machine_that_was_removed_is_told_so() {
    let (hub, far) = two_machines();
    let mut there = agent_in_clone(&far, "there");
    let machines = hub.run("machines --json").json();
    let name = machines["machines"][0]["name"].as_str().unwrap();
    hub.run(&format!("machines remove {name} --yes")).ok();
    let said = || there.tool("mesh_peers", &json!({})).texts.join(" ");
    let mut last = String::new();
    let mut said = said;
    wait_until("it is told", || {
        last = said();
        last.contains("removed")
    });
    assert!(last.contains("hub"), "{last}");
    let seen = hub.run("peers --scope mesh --all --json").json();
    let seen = seen["peers"].as_array().unwrap();
    assert!(seen.iter().all(|peer| peer["status"] == "left"), "{seen:?}");
}

// --- One mesh ------------------------------------------------------------------------------------

#[test]
fn messages_go_both_ways() {
    let hub = Hub::new();
    let (_, mut relay) = hub.joined("laptop");
    let here = hub.broker.listening_peer("here", true);
    let mut pushes = here.accept();
    let (id, token) = peer(&mut relay, "there");
    let there = hub.peers().into_iter().find(|peer| peer["id"] == id.as_str()).unwrap();
    assert_eq!(there["host"], "laptop");

    here.send(&hub.broker, "there", "one");
    let push = relay.frame_with("push");
    assert_eq!((&push["to"], &push["push"]["payload"]["text"]), (&json!(id), &json!("one")));
    let message = push["push"]["payload"]["messageId"].as_str().unwrap().to_owned();
    let status = || {
        let sent = json!({"filter": "sent", "limit": 10});
        here.ok(&hub.broker, "/messages", &sent)["messages"][0]["stage"].clone()
    };
    assert_eq!(status(), "queued");
    relay.say(&json!({"ack": message, "by": id}));
    wait_until("it is delivered", || status() == "delivered");

    relay.ok(Some(&token), "/send", &json!({"toPeer": "here", "payload": "two"}));
    assert_eq!(pushes.message().0, "two");
    let inbox = relay.ok(Some(&token), "/messages", &json!({}));
    assert_eq!(inbox["messages"][0]["payload"], "one");
    // A token is nothing on another machine, and the other way round.
    let (_, mut other) = hub.joined("other");
    assert_eq!(other.call(Some(&token), "/messages", &json!({})).0, 401);
    assert_eq!(other.call(Some(&here.token), "/messages", &json!({})).0, 401);
    assert_eq!(hub.broker.connect().call("/messages", Some(&token), &json!({})).status, 401);
    assert_eq!(other.call(None, "/shutdown", &json!({})).0, 403);
    assert_eq!(other.call(None, "/machines", &json!({"action": "invite"})).0, 403);
}

#[test]
fn what_was_acknowledged_before_a_cut_counts() {
    let hub = Hub::new();
    let (_, mut relay) = hub.joined("laptop");
    let here = hub.broker.register("here");
    let (id, _) = peer(&mut relay, "there");
    here.send(&hub.broker, "there", "one");
    let push = relay.frame_with("push");
    // The last word before the end.
    relay.say(&json!({"ack": push["push"]["payload"]["messageId"], "by": id}));
    relay.cut();
    let sent = json!({"filter": "sent", "limit": 10});
    wait_until("it is delivered", || {
        here.ok(&hub.broker, "/messages", &sent)["messages"][0]["stage"] == "delivered"
    });
}

#[test]
fn a_lock_goes_to_whoever_waits_on_another_machine() {
    let hub = Hub::new();
    let (machine, mut relay) = hub.joined("laptop");
    let hash = "ab".repeat(32);
    let here = hub.broker.register("here");
    let lock = |wait: u64| json!({"action": "lock", "filePath": "repo:src/a.rs", "repoHash": hash, "wait": wait});
    here.ok(&hub.broker, "/lock", &lock(0));
    let (id, token) = peer(&mut relay, "there");
    let (status, refused) = relay.call(Some(&token), "/lock", &lock(0));
    assert_eq!((status, &refused["lock"]["lockedByName"]), (409, &json!("here")), "{refused}");
    // One whose client hangs up is not given it.
    let gone = relay.ask(Some(&token), "/lock", &lock(25));
    relay.say(&json!({"id": gone, "cancel": true}));
    assert_ne!(relay.answer(gone).0, 200);
    let waits = relay.ask(Some(&token), "/lock", &lock(25));
    here.ok(
        &hub.broker,
        "/lock",
        &json!({"action": "unlock", "filePath": "repo:src/a.rs", "repoHash": hash}),
    );
    let (status, given) = relay.answer(waits);
    assert_eq!((status, &given["lock"]["lockedBy"]), (200, &json!(id)), "{given}");
    // The answer did not arrive there: nobody knows of the lock.
    relay.say(&json!({"id": waits, "lost": true}));
    wait_until("it is freed", || hub.locks() == 0);

    // An agent that is killed while the cable is cut keeps nothing.
    relay.ok(Some(&token), "/lock", &lock(0));
    relay.cut();
    wait_until("it is not connected", || !hub.is_connected("laptop"));
    assert_eq!(hub.locks(), 1);
    let mut relay = hub.again(&machine).unwrap();
    let ended = json!([{"peer": id, "path": "/there/there.sock"}]);
    relay.hello_with(&json!({"peers": [], "ended": ended}));
    wait_until("it has left", || hub.locks() == 0);
}

/// Registers a session of an agent whose process is 9, and answers what the hub wants to know of it.
fn session(relay: &mut Relay, name: &str, facts: Option<Value>) -> u64 {
    let body = json!({
        "pid": 7, "projectPath": "/elsewhere", "name": name, "agentType": "test-agent",
        "sessionId": "s1", "agentPid": 9, "udsPath": format!("/there/{name}.sock"),
    });
    let id = relay.ask_of_agent("500", &body);
    if let Some(facts) = facts {
        let look = relay.frame_with("look");
        assert_eq!((&look["id"], &look["look"]["former"]["agentPid"]), (&json!(id), &json!(9)));
        relay.say(&json!({"id": id, "facts": facts}));
    }
    id
}

#[test]
fn a_session_goes_on_as_its_machine_says() {
    let hub = Hub::new();
    let (_, mut relay) = hub.joined("laptop");
    let first = session(&mut relay, "one", None);
    let (status, first) = relay.answer(first);
    assert_eq!((status, &first["name"]), (200, &json!("one")), "{first}");
    let facts =
        |descends: bool| json!({"descends": descends, "formerGone": true, "formerEnded": false});
    // Somebody else says to be of the same session.
    let other = session(&mut relay, "two", Some(facts(false)));
    let (status, other) = relay.answer(other);
    assert_eq!((status, &other["name"]), (200, &json!("two")), "{other}");
    relay.ok(other["peerToken"].as_str(), "/unregister", &json!({}));
    // Its server was started anew.
    let again = session(&mut relay, "three", Some(facts(true)));
    let (status, again) = relay.answer(again);
    assert_eq!((status, &again["peerId"]), (200, &first["peerId"]), "{again}");
    // A client that does not wait for the answer is nobody.
    let gone = session(&mut relay, "four", None);
    relay.frame_with("look");
    relay.say(&json!({"id": gone, "cancel": true}));
    assert_eq!(relay.answer(gone).0, 408);
    relay.say(&json!({"id": gone, "facts": facts(false)}));
    relay.ok(None, "/peers", &json!({}));
    assert_eq!(hub.peers().len(), 1);
}

#[test]
fn agents_see_who_is_on_other_machines() {
    let hub = Hub::new();
    let (_, mut relay) = hub.joined("laptop");
    peer(&mut relay, "there");
    let child = hub.broker.setup.child(&["mcp"]);
    let mut agent = Agent::of(child);
    agent.initialize();
    let names = |answer: &Value| -> Vec<String> {
        let all = answer["peers"].as_array().unwrap();
        all.iter().map(|peer| peer["name"].as_str().unwrap().to_owned()).collect()
    };
    let near = agent.tool("mesh_peers", &json!({})).ok();
    assert_eq!((names(&near), &near["elsewhere"]), (vec![], &json!(1)), "{near}");
    let all = agent.tool("mesh_peers", &json!({"scope": "mesh"})).ok();
    assert_eq!((names(&all), &all["peers"][0]["host"]), (vec!["there".into()], &json!("laptop")));
    agent.end();
}

#[test]
fn a_claim_of_a_client_that_has_gone_takes_nothing() {
    let hub = Hub::new();
    let (_, mut relay) = hub.joined("laptop");
    let (_, ann) = relay.register(&json!({"name": "ann"}));
    let send = json!({"fromPeer": "cli", "toPeer": "ann", "payload": "for a hook"});
    hub.broker.ok("/send", &send);
    let claim = json!({"claim": "hook"});
    relay.say(&json!({
        "id": 1000, "as": ann, "method": "POST", "path": "/messages", "gone": true, "body": claim,
    }));
    let (status, answer) = relay.answer(1000);
    assert_eq!((status, &answer["messages"]), (200, &json!([])), "{answer}");
    let claimed = relay.ok(Some(&ann), "/messages", &claim);
    assert_eq!(claimed["messages"][0]["payload"], "for a hook");
}

#[test]
fn a_new_connection_takes_the_place_of_the_old_one() {
    let hub = Hub::new();
    let (machine, mut relay) = hub.joined("laptop");
    let (id, _) = peer(&mut relay, "there");
    let here = hub.broker.register("here");
    let mut again = hub.again(&machine).unwrap();
    assert!(relay.end().contains("has connected anew"));
    let path = "/there/there.sock";
    let up = json!({"peer": id, "path": path, "link": 7, "process": true, "confirmed": [], "written": []});
    again.hello_with(&json!({"peers": [up], "ended": []}));
    assert_eq!(again.frame_with("announced"), json!({"announced": id, "link": 7}));
    here.send(&hub.broker, "there", "one");
    assert_eq!(again.frame_with("push")["push"]["payload"]["text"], "one");
}

#[test]
fn machines_come_back_after_a_restart() {
    let mut hub = Hub::new();
    let (machine, mut relay) = hub.joined("laptop");
    let (id, token) = peer(&mut relay, "there");
    hub.broker.kill();
    relay.end();
    hub.broker.start_again();
    let mut relay = hub.again(&machine).unwrap();
    relay.hello();
    // What is wanted of its peers is said anew.
    assert_eq!(relay.frame_with("connect")["connect"], id);
    relay.ok(Some(&token), "/heartbeat", &json!({}));
    // An end with good-bye: whoever waits hears of it, and peers of other machines of nothing.
    relay.up(&id, "/there/there.sock", 1);
    relay.frame_with("announced");
    let waits = relay.ask(Some(&token), "/messages", &json!({"wait": 25}));
    relay.ok(Some(&token), "/heartbeat", &json!({}));
    assert!(hub.broker.stop().success());
    assert_eq!(relay.answer(waits).0, 503);
    assert!(relay.end().contains("the hub has stopped"));
}

#[test]
fn frames_that_lie_end_the_connection_with_words() {
    let hub = Hub::new();
    let (_, mut relay) = hub.joined("laptop");
    let (id, _) = peer(&mut relay, "there");
    let here = hub.broker.register("here");
    let other = hub.machine("other");
    other.join(&hub.invite(&json!({}))).unwrap();
    for (frame, words) in [
        (json!({"ended": id}), "is not one of other"),
        (json!({"ended": here.id}), "is not one of other"),
        (json!({"down": id}), "is not one of other"),
        (json!({"hello": {"version": "1.0.0", "name": "x", "time": 0}}), "`hello` is said once"),
        (json!([]), "a frame is not one JSON object"),
    ] {
        let mut liar = hub.again(&other).unwrap();
        liar.hello();
        liar.frame_with("hello");
        liar.say(&frame);
        let end = liar.end();
        assert!(end.contains(words), "{frame}: {end}");
    }
    let mut silent = hub.again(&other).unwrap();
    silent.say(&json!({"down": id}));
    assert!(silent.end().contains("the first frame must be `hello`"));
    // Nothing of that was believed, and nobody else was harmed.
    assert_eq!(hub.peers().len(), 2);
    relay.ok(None, "/peers", &json!({}));
}

#[test]
fn a_hub_that_was_told_when_to_end_ends() {
    let mut hub = Hub::with(|setup| setup.with(HOST, "0.0.0.0").with(IDLE_TIMEOUT, "50"));
    assert!(hub.broker.wait().success());
}
