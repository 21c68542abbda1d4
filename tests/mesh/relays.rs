//! A hub and the relays of machines that are in its mesh: the real binary at both ends, and a cable
//! between them that is pulled.

use std::net::SocketAddr;

use crate::common::agent::Agent;
use crate::common::broker::{Broker, Setup};
use crate::common::http::Answer;
use crate::common::proxy::Proxy;
use crate::common::relay::free_port;
use crate::common::{Mesh, eventually, wait_until};
use serde_json::{Value, json};
use slm_mesh::config::{DISCOVERY, HOST, ROLE, SHARED_SECRET, WS_PORT};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A hub by its settings, and where it is for other machines.
pub(crate) fn hub() -> (Broker, SocketAddr) {
    let port = free_port();
    let setup = Setup::new().with(WS_PORT, &port.to_string()).with(HOST, "0.0.0.0");
    let hub = setup.with(SHARED_SECRET, SECRET).with(DISCOVERY, "false").start();
    (hub, SocketAddr::from(([127, 0, 0, 1], port)))
}

/// What makes a relay to the hub that is there.
fn settings(at: SocketAddr) -> [(&'static str, String); 4] {
    let secret = SECRET.to_owned();
    let (role, off) = ("client".to_owned(), "false".to_owned());
    [(ROLE, role), (HOST, at.to_string()), (SHARED_SECRET, secret), (DISCOVERY, off)]
}

fn setup(at: SocketAddr) -> Setup {
    settings(at).into_iter().fold(Setup::new(), |setup, (name, value)| setup.with(name, &value))
}

fn mesh(at: SocketAddr) -> Mesh {
    settings(at).into_iter().fold(Mesh::new(), |mesh, (name, value)| mesh.with(name, &value))
}

/// A relay that has reached its hub.
pub(crate) fn relay(at: SocketAddr) -> Broker {
    let relay = setup(at).start();
    reach(&relay);
    relay
}

fn ask(relay: &Broker) -> Answer {
    relay.call("/peers", &json!({"scope": "mesh"}))
}

/// Asks until the hub answers.
fn reach(relay: &Broker) {
    wait_until("the hub is reached", || ask(relay).status == 200);
}

/// Asks until the hub is out of reach, and gives what is said then.
fn out_of_reach(relay: &Broker, words: &str) -> String {
    eventually("it is said that the hub is out of reach", || {
        let answer = ask(relay);
        let body = answer.json();
        let says = body["code"] == "hub_unreachable"
            && body["error"].as_str().is_some_and(|error| error.contains(words));
        says.then(|| answer.text())
    })
}

fn hub_of(relay: &Broker) -> Value {
    let list = relay.ok("/machines", &json!({"action": "list"}));
    assert_eq!((&list["role"], &list["machines"]), (&json!("client"), &json!([])));
    list["hub"].clone()
}

#[test]
fn peers_of_two_machines_talk_and_each_is_told_at_once() {
    let (hub, at) = hub();
    let relay = relay(at);
    let there = hub.listening_peer("there", true);
    let mut at_hub = there.accept();
    let here = relay.listening_peer("here", true);
    let mut at_relay = here.accept();
    wait_until("its push connection is known", || hub.status()["push"]["connected"] == 2);
    assert_eq!(there.send(&hub, "here", "hello")["pushed"], true);
    let (text, id) = at_relay.message();
    assert_eq!(text, "hello");
    at_relay.ack(&id);
    wait_until("it is delivered", || {
        let sent = there.ok(&hub, "/messages", &json!({"filter": "sent"}));
        sent["messages"][0]["delivered"] == true
    });
    here.send(&relay, "there", "hello back");
    assert_eq!(at_hub.message().0, "hello back");
    // Its process has many peers here, and its end is that of one connection only.
    here.ok(&relay, "/unregister", &json!({}));
    wait_until("it has left", || hub.status()["peers"]["total"] == 1);
}

#[test]
fn a_relay_answers_what_is_of_its_machine() {
    let (hub, at) = hub();
    let relay = relay(at);
    let status = relay.status();
    assert_eq!(status["role"], "client");
    assert_eq!((&status["pid"], &status["port"]), (&json!(relay.pid()), &json!(relay.port)));
    assert_eq!(status["hub"]["connected"], true);
    let known = hub_of(&relay);
    assert_eq!((&known["connected"], &known["address"]), (&json!(true), &json!(at.to_string())));
    let role = std::fs::read_to_string(relay.dir().join("broker.role")).unwrap();
    assert_eq!(role, "client");
    for body in [json!({"action": "invite"}), json!({"action": "remove", "name": "x"})] {
        let answer = relay.call("/machines", &body);
        assert_eq!((answer.status, &answer.json()["code"]), (403, &json!("forbidden")));
    }
    // Neither is it another's to ask; and stopping it leaves the hub alone.
    let peer = relay.register("peer");
    assert_eq!(peer.call(&relay, "/machines", &json!({"action": "list"})).status, 403);
    let mut relay = relay;
    relay.ok("/shutdown", &json!({}));
    assert!(relay.wait().success());
    assert_eq!(hub.status()["role"], "hub");
}

#[test]
fn whoever_asks_how_it_stands_with_the_hub_makes_it_be_dialled() {
    let (_hub, at) = hub();
    let relay = setup(at).start();
    wait_until("it stands", || hub_of(&relay)["connected"] == true);
}

#[test]
fn the_peers_of_a_relay_that_was_killed_come_back_with_their_messages() {
    let (hub, at) = hub();
    let mut relay = relay(at);
    let here = relay.register("here");
    let there = hub.register("there");
    there.send(&hub, "here", "before");
    relay.kill();
    there.send(&hub, "here", "meanwhile");
    relay.start_again();
    reach(&relay);
    let answer = here.resume(&relay);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        (&answer.json()["peerId"], &answer.json()["name"]),
        (&json!(here.id), &json!("here"))
    );
    assert_eq!(here.inbox(&relay), ["before", "meanwhile"]);
}

#[test]
fn a_hub_that_was_killed_is_reached_again_when_it_is_back() {
    let (mut hub, at) = hub();
    let relay = relay(at);
    let here = relay.listening_peer("here", true);
    let mut pushes = here.accept();
    hub.kill();
    out_of_reach(&relay, "it is");
    assert!(!hub_of(&relay)["problem"].as_str().unwrap().is_empty());
    hub.start_again();
    reach(&relay);
    let answer = here.resume(&relay);
    assert_eq!((answer.status, &answer.json()["peerId"]), (200, &json!(here.id)));
    let there = hub.register("there");
    there.send(&hub, "here", "again");
    assert_eq!(pushes.message().0, "again");
}

#[test]
fn a_cable_that_says_nothing_is_noticed_while_something_is_asked() {
    let (_hub, at) = hub();
    let cable = Proxy::to(at);
    let relay = relay(cable.address);
    cable.cut();
    let mut http = relay.connect();
    http.post("/peers", Some(&relay.token), &json!({"scope": "mesh"}));
    assert!(http.is_closed(), "it was sent, and what came of it cannot be known");
    let said = out_of_reach(&relay, "");
    assert!(said.contains("retryAfterMs"), "{said}");
    cable.mend();
    reach(&relay);
}

#[test]
fn over_cuts_nothing_acknowledged_is_lost_and_nothing_is_told_twice() {
    const MESSAGES: usize = 60;
    let (hub, at) = hub();
    let cable = Proxy::to(at);
    let relay = relay(cable.address);
    let here = relay.listening_peer("here", true);
    let mut pushes = here.accept();
    let there = hub.register("there");
    for i in 0..MESSAGES {
        there.send(&hub, "here", &format!("down {i}"));
        // Up, with an id of its own: asked again after an unknown end.
        let id = format!("00000000-0000-4000-8000-{i:012}");
        let body = json!({"toPeer": "there", "payload": format!("up {i}"), "id": id});
        if i % 7 == 3 {
            cable.reset();
        }
        wait_until("it is acknowledged", || {
            let mut http = relay.connect();
            http.post("/send", Some(&here.token), &body);
            http.try_answer().is_ok_and(|answer| answer.status == 200)
        });
    }
    let mut told: Vec<String> = Vec::new();
    while told.len() < MESSAGES {
        let (text, id) = pushes.message();
        pushes.ack(&id);
        told.push(text);
    }
    let down: Vec<String> = (0..MESSAGES).map(|i| format!("down {i}")).collect();
    assert_eq!(told, down);
    let up: Vec<String> = (0..MESSAGES).map(|i| format!("up {i}")).collect();
    assert_eq!(there.inbox(&hub), up);
}

#[test]
fn without_its_hub_a_relay_is_there_and_says_what_is_wrong() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mesh = mesh(nobody);
    mesh.start();
    let ran = mesh.run("peers");
    assert_ne!(ran.code, Some(0));
    assert!(ran.err.contains("hub") && ran.err.contains("out of reach"), "{ran:?}");
    // A hook that has nothing to say allows, and says nothing of it.
    let input = json!({"session_id": "s", "hook_event_name": "UserPromptSubmit", "cwd": "/"});
    let ran = mesh.run_with_input("hook claude-code", input.to_string().as_bytes());
    assert_eq!((ran.code, &*ran.out, &*ran.err), (Some(0), "", ""));
    // A gate that could not look lets the edit through, and says that.
    let input = json!({
        "session_id": "s", "hook_event_name": "PreToolUse", "cwd": "/", "tool_name": "Edit",
        "tool_input": {"file_path": "/a"},
    });
    let ran = mesh.run_with_input("hook claude-code", input.to_string().as_bytes());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(!ran.out.contains("\"deny\""), "{ran:?}");
}

#[test]
fn a_machine_that_was_removed_is_told_so() {
    let (hub, at) = hub();
    let relay = relay(at);
    let name = hub_of(&relay)["ownName"].as_str().unwrap().to_owned();
    hub.ok("/machines", &json!({"action": "remove", "name": name}));
    let said = out_of_reach(&relay, "does not let this machine in");
    assert!(said.contains("removed") && said.contains("tried again in"), "{said}");
    let known = hub_of(&relay);
    assert_eq!((&known["refused"], &known["connected"]), (&json!(true), &json!(false)));
}

#[test]
fn another_secret_is_no_way_in_and_leaves_nothing_behind() {
    let (_hub, at) = hub();
    let relay = setup(at).with(SHARED_SECRET, &SECRET.replace('0', "f")).start();
    let said = out_of_reach(&relay, "does not let this machine in");
    assert!(said.contains("secret"), "{said}");
    assert!(!relay.dir().join("machines").exists(), "no hub is pinned");
}

#[test]
fn the_hub_that_had_the_secret_first_stays_the_one() {
    let (mut hub, at) = hub();
    let mut relay = relay(at);
    let stored = std::fs::read_to_string(relay.dir().join("machines")).unwrap();
    assert!(stored.contains("pinned") && stored.contains(&at.to_string()), "{stored}");
    hub.kill();
    std::fs::remove_file(hub.dir().join("machine.key")).unwrap();
    hub.start_again();
    let said = out_of_reach(&relay, "another");
    assert!(said.contains(&at.to_string()), "{said}");
    // Until the person says that it is to be forgotten.
    relay.ok("/machines", &json!({"action": "leave"}));
    assert!(relay.wait().success());
    assert!(!relay.dir().join("machines").exists());
    relay.start_again();
    reach(&relay);
}

#[test]
fn an_agent_works_over_a_relay_as_over_a_broker() {
    let (hub, at) = hub();
    let mesh = mesh(at);
    mesh.start();
    wait_until("the hub is reached", || mesh.run("peers").code == Some(0));
    let mut agent = Agent::new(&mesh);
    let (_, name) = agent.who();
    let there = hub.register("there");
    there.send(&hub, &name, "for the agent");
    let inbox = eventually("it is in the inbox", || {
        let inbox = agent.tool("mesh_inbox", &json!({})).ok();
        (inbox["messages"].as_array()?.len() == 1).then_some(inbox)
    });
    assert_eq!(inbox["messages"][0]["payload"], "for the agent", "{inbox}");
    agent.tool("mesh_send", &json!({"to": "there", "message": "from it"})).ok();
    assert_eq!(there.inbox(&hub), ["from it"]);
    agent.close();
    agent.wait();
    wait_until("it has left", || hub.status()["peers"]["total"] == 1);
}

#[test]
fn a_script_in_python_works_over_a_relay() {
    const SCRIPT: &str = "from slm_mesh import MeshClient\n\
        mesh = MeshClient()\n\
        mesh.send('there', 'from a script')\n\
        print(mesh.status().port)\n";
    let (hub, at) = hub();
    let mesh = mesh(at);
    mesh.start();
    wait_until("the hub is reached", || mesh.run("peers").code == Some(0));
    let there = hub.register("there");
    let mut python = mesh.command_of("python3");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/python/src");
    let ran = python.args(["-c", SCRIPT]).env("PYTHONPATH", source).output();
    let ran = match ran {
        Ok(output) => crate::common::Ran::from(output),
        // Whoever builds the program needs none; `python` says that it was not tested.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let port = std::fs::read_to_string(mesh.data_dir().join("port")).unwrap();
    assert_eq!(ran.out.trim(), port);
    assert_eq!(there.inbox(&hub), ["from a script"]);
}
