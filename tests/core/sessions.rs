//! Sessions that lose their server and come back: the rules, without a clock and without processes.

use std::time::Duration;

use crate::alone::Alone;
use serde_json::{Value, json};
use slm_mesh::api::{
    Code, Endpoint, LockReply, PeerStatus, PeersReply, ProcessFacts, Refusal, Registered, Reply,
    Request,
};
use slm_mesh::mesh::{AskedAgain, Caller, Failure, Mesh, Outcome, Settings};
use slm_mesh::model::{Now, PeerId};
use slm_mesh::store::memory::MemoryStore;

/// What the kernel says of a server that the agent `start` has started.
fn child_of(start: &str) -> ProcessFacts {
    ProcessFacts { agent_start: Some(start.into()), descends: true, ..ProcessFacts::default() }
}

struct World(Alone);

impl World {
    fn new() -> Self {
        Self(Alone::new(Settings::default()))
    }

    fn turn<T>(&mut self, act: impl FnOnce(&mut Mesh<MemoryStore>, Now) -> T) -> T {
        let result = self.0.turn(act);
        // As the shell does: these processes can be watched, and run.
        let now = self.0.now;
        for agent in std::mem::take(&mut self.0.effects.agents) {
            self.0.mesh().process_known(agent.peer, true, now);
            self.0.mesh().agent_lives(agent.peer);
        }
        result
    }

    fn ask(
        &mut self,
        token: Option<&str>,
        endpoint: Endpoint,
        body: &Value,
    ) -> Result<Reply, Refusal> {
        let request = Request::decode(endpoint, body.to_string().as_bytes()).unwrap();
        self.turn(|mesh, now| {
            let caller = token.map_or(Caller::Broker, |token| mesh.authenticate(token, None));
            match mesh.handle(caller, &request, now) {
                Ok(Outcome::Reply(reply)) => Ok(reply),
                Ok(Outcome::Hold { .. }) => panic!("held: {body}"),
                Err(Failure::Refused(refusal)) => Err(refusal),
                Err(Failure::Store(error)) => panic!("{error}"),
            }
        })
    }

    /// Registers with these facts; none if that is held.
    fn register(
        &mut self,
        body: &Value,
        facts: &ProcessFacts,
        held: Option<AskedAgain>,
    ) -> Result<Registered, AskedAgain> {
        let request = registration(body, facts);
        self.turn(|mesh, now| {
            let caller =
                body["token"].as_str().map_or(Caller::Broker, |it| mesh.authenticate(it, None));
            let outcome = match held {
                Some(held) => mesh.handle_held(caller, &request, held, now),
                None => mesh.handle(caller, &request, now),
            };
            match outcome.unwrap() {
                Outcome::Reply(Reply::Registered(registered)) => Ok(registered),
                Outcome::Hold { on, until } => Err(AskedAgain { on, until, hung_up: false }),
                Outcome::Reply(other) => panic!("{other:?}"),
            }
        })
    }

    fn come(&mut self, session: &str, agent_pid: u32, facts: &ProcessFacts) -> Registered {
        self.register(&claude(session, agent_pid), facts, None).unwrap()
    }

    fn status(&mut self, peer: PeerId) -> Option<PeerStatus> {
        let body = json!({"includeStale": true});
        let Ok(Reply::Peers(PeersReply { peers, .. })) = self.ask(None, Endpoint::Peers, &body)
        else {
            panic!("no list");
        };
        peers.into_iter().find(|info| info.id == peer).map(|info| info.status)
    }

    fn lock(&mut self, token: &str, more: &Value) -> Result<Reply, Refusal> {
        let mut body = json!({"action": "lock", "filePath": "/w/a.rs"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.ask(Some(token), Endpoint::Lock, &body)
    }

    fn events(&mut self, kind: &str) -> usize {
        let body = json!({"action": "read", "types": [kind], "after": 0});
        match self.ask(None, Endpoint::Events, &body) {
            Ok(Reply::Events(events)) => events.events.len(),
            other => panic!("{other:?}"),
        }
    }

    fn restart(&mut self, seconds: u64) {
        self.0.restart(Duration::from_secs(seconds));
        for agent in std::mem::take(&mut self.0.effects.agents) {
            self.0.mesh().agent_lives(agent.peer);
        }
    }
}

fn registration(body: &Value, facts: &ProcessFacts) -> Request {
    let mut body = body.clone();
    for (key, value) in [("pid", json!(1)), ("projectPath", json!("/w"))] {
        body[key] = value;
    }
    let decoded = Request::decode(Endpoint::Register, body.to_string().as_bytes()).unwrap();
    let Request::Register(mut register) = decoded else { unreachable!() };
    register.facts = facts.clone();
    Request::Register(register)
}

fn claude(session: &str, agent_pid: u32) -> Value {
    json!({
        "agentType": "claude-code", "sessionId": session, "agentPid": agent_pid,
        "udsPath": format!("/d/{session}-{agent_pid}.sock"),
    })
}

fn goodbye() -> Value {
    json!({"away": true})
}

#[test]
fn the_same_session_of_the_same_agent_is_the_same_peer() {
    let mut world = World::new();
    let first = world.come("s", 7, &child_of("then"));
    assert!(!first.resumed);
    world.lock(&first.peer_token, &json!({})).unwrap();
    let token = &*first.peer_token;
    world.ask(Some(token), Endpoint::Summary, &json!({"summary": "moving"})).unwrap();
    world
        .ask(Some(token), Endpoint::Events, &json!({"action": "subscribe", "types": ["a.b"]}))
        .unwrap();
    for by_itself in [true, false] {
        if by_itself {
            let again = world.come("s", 7, &ProcessFacts { former_gone: true, ..child_of("then") });
            assert_eq!(again.peer_id, first.peer_id, "its server had ended before anyone noticed");
            assert!(world.ask(Some(token), Endpoint::Status, &json!({})).is_err());
            world.ask(Some(&again.peer_token), Endpoint::Unregister, &goodbye()).unwrap();
        } else {
            world.turn(|mesh, now| mesh.process_ended(first.peer_id, now)).unwrap();
        }
        assert_eq!(world.status(first.peer_id), Some(PeerStatus::Away));
        let to = json!({"fromPeer": "cli", "toPeer": &*first.name, "payload": "hello"});
        world.ask(None, Endpoint::Send, &to).unwrap();
        let again = world.come("s", 7, &child_of("then"));
        assert_eq!((again.peer_id, &again.name, again.resumed), (first.peer_id, &first.name, true));
        assert_ne!(again.peer_token, first.peer_token);
        // Its lock is still its own, for its full time.
        let Ok(Reply::Locked(LockReply { lock, .. })) = world.lock(&again.peer_token, &json!({}))
        else {
            panic!("its lock is gone");
        };
        assert_eq!(lock.expires_at.0 - lock.locked_at.0, 600_000);
        assert_eq!(world.status(first.peer_id), Some(PeerStatus::Active));
    }
    let Ok(Reply::Peers(PeersReply { peers, .. })) = world.ask(None, Endpoint::Peers, &json!({}))
    else {
        panic!("no list");
    };
    assert_eq!(peers[0].summary.as_deref(), Some("moving"));
    assert_eq!((world.events("peer_joined"), world.events("peer_left")), (1, 0));
    assert_eq!(world.events("file_unlocked"), 0);
}

#[test]
fn whoever_differs_in_anything_is_somebody_else() {
    let other = |key: &str, value: Value| {
        let mut body = claude("s", 7);
        body[key] = value;
        body
    };
    for (body, facts) in [
        (other("sessionId", json!("t")), child_of("then")),
        (other("sessionId", Value::Null), child_of("then")),
        (other("agentType", json!("codex")), child_of("then")),
        // Another process of the agent, while the first runs: a fork has its parent's variables.
        (other("agentPid", json!(8)), child_of("then")),
        // The same id, given away.
        (claude("s", 7), child_of("later")),
        // What it says of itself does not count.
        (claude("s", 7), ProcessFacts { descends: false, ..child_of("then") }),
        (claude("s", 7), ProcessFacts { agent_start: None, ..child_of("then") }),
        (other("agentPid", Value::Null), ProcessFacts::default()),
        (other("udsPath", Value::Null), ProcessFacts::default()),
    ] {
        let mut world = World::new();
        let first = world.come("s", 7, &child_of("then"));
        world.ask(Some(&first.peer_token), Endpoint::Unregister, &goodbye()).unwrap();
        let second = world.register(&body, &facts, None).unwrap();
        assert_ne!(second.peer_id, first.peer_id, "{body} {facts:?}");
        assert_eq!(world.status(first.peer_id), Some(PeerStatus::Away), "{body}");
    }
}

#[test]
fn a_server_that_lives_on_is_another_peer_after_2_seconds() {
    let mut world = World::new();
    let first = world.come("s", 7, &child_of("then"));
    let held = world.register(&claude("s", 7), &child_of("then"), None).unwrap_err();
    assert_eq!(held.until.since(world.0.now.mono), Duration::from_secs(2));
    // It ends meanwhile.
    world.turn(|mesh, now| mesh.process_ended(first.peer_id, now)).unwrap();
    assert_eq!(world.0.effects.gone, [first.peer_id]);
    let second = world.register(&claude("s", 7), &child_of("then"), Some(held)).unwrap();
    assert_eq!(second.peer_id, first.peer_id);
    // It does not.
    let held = world.register(&claude("s", 7), &child_of("then"), None).unwrap_err();
    world.0.pass(2);
    let third = world.register(&claude("s", 7), &child_of("then"), Some(held)).unwrap();
    assert_ne!(third.peer_id, first.peer_id);
    // Nobody waits for the answer any more: nobody comes in.
    let held = world.register(&claude("s", 7), &child_of("then"), None).unwrap_err();
    let gone = AskedAgain { hung_up: true, until: world.0.now.mono, ..held };
    let request = registration(&claude("s", 7), &child_of("then"));
    let refused = world.turn(|mesh, now| mesh.handle_held(Caller::Broker, &request, gone, now));
    assert!(matches!(refused, Err(Failure::Refused(it)) if it.code == Code::Timeout));
    assert_eq!(world.events("peer_joined"), 2);
    // Of the two, the one that has lost its server is meant.
    world.ask(Some(&third.peer_token), Endpoint::Unregister, &goodbye()).unwrap();
    assert_eq!(world.come("s", 7, &child_of("then")).peer_id, third.peer_id);
}

#[test]
fn a_session_is_continued_only_while_nobody_is_in_it() {
    let mut world = World::new();
    let first = world.come("s", 7, &child_of("then"));
    let nested = world.come("s", 8, &child_of("later"));
    assert_ne!(nested.peer_id, first.peer_id);
    world.ask(Some(&first.peer_token), Endpoint::Unregister, &goodbye()).unwrap();
    let ended = ProcessFacts { former_ended: true, ..child_of("last") };
    let third = world.come("s", 9, &ended);
    assert!(![first.peer_id, nested.peer_id].contains(&third.peer_id));
    for peer in [&nested, &third] {
        world.ask(Some(&peer.peer_token), Endpoint::Unregister, &json!({})).unwrap();
    }
    assert_eq!(world.come("s", 10, &ended).peer_id, first.peer_id);
}

#[test]
fn locks_of_one_that_is_away_stay_for_30_seconds_and_never_past_their_time() {
    let mut world = World::new();
    let first = world.come("s", 7, &child_of("then"));
    let other = world.come("t", 9, &child_of("then"));
    world.lock(&first.peer_token, &json!({})).unwrap();
    world.lock(&first.peer_token, &json!({"filePath": "/w/b.rs", "ttlMinutes": 1})).unwrap();
    world.0.pass(45);
    world.ask(Some(&first.peer_token), Endpoint::Unregister, &goodbye()).unwrap();
    world.0.pass(14);
    let refused = world.lock(&other.peer_token, &json!({})).unwrap_err();
    assert!(refused.message.contains("in 16 s, since they are away"), "{}", refused.message);
    let refused = world.lock(&other.peer_token, &json!({"filePath": "/w/b.rs"})).unwrap_err();
    assert!(refused.message.contains("in 1 s, since they are away"), "{}", refused.message);
    world.0.pass(1);
    world.lock(&other.peer_token, &json!({"filePath": "/w/b.rs"})).unwrap();
    world.0.pass(14);
    world.lock(&other.peer_token, &json!({})).unwrap_err();
    world.0.pass(1);
    world.lock(&other.peer_token, &json!({})).unwrap();
    // What is sent to it waits for longer, and it is still the same peer.
    assert_eq!(world.status(first.peer_id), Some(PeerStatus::Away));
    // Nobody takes new ones for it.
    let for_it = json!({"peerId": first.peer_id, "filePath": "/w/c.rs"});
    world.lock(&first.peer_token, &for_it).unwrap_err();
    world.0.pass(569);
    assert_eq!(
        (world.status(first.peer_id), world.events("peer_left")),
        (Some(PeerStatus::Away), 0)
    );
    world.0.pass(1);
    assert_eq!((world.status(first.peer_id), world.events("peer_left")), (None, 1));
    assert_eq!(world.come("s", 7, &child_of("then")).peer_id, first.peer_id, "even then");
}

#[test]
fn the_end_of_the_agent_ends_all_at_once() {
    for before in [true, false] {
        let mut world = World::new();
        let first = world.come("s", 7, &child_of("then"));
        world.lock(&first.peer_token, &json!({})).unwrap();
        if before {
            world.turn(|mesh, now| mesh.agent_ended(first.peer_id, now)).unwrap();
            assert_eq!(world.status(first.peer_id), Some(PeerStatus::Active), "its server is here");
        }
        world.ask(Some(&first.peer_token), Endpoint::Unregister, &goodbye()).unwrap();
        if !before {
            assert_eq!(world.events("file_unlocked"), 0);
            world.turn(|mesh, now| mesh.agent_ended(first.peer_id, now)).unwrap();
        }
        assert_eq!(world.status(first.peer_id), None);
        assert_eq!((world.events("peer_left"), world.events("file_unlocked")), (1, 1));
        // A new process continues the session: with its name and its mail.
        let to = json!({"fromPeer": "cli", "toPeer": &*first.name, "payload": "hello"});
        assert!(world.ask(None, Endpoint::Send, &to).is_err(), "nobody has it now");
        let running = world.come("s", 8, &child_of("later"));
        assert_ne!(running.peer_id, first.peer_id, "unless the kernel says so, it has not ended");
        world.ask(Some(&running.peer_token), Endpoint::Unregister, &json!({})).unwrap();
        let ended = ProcessFacts { former_ended: true, ..child_of("later") };
        let second = world.come("s", 8, &ended);
        assert_eq!((second.peer_id, &second.name), (first.peer_id, &first.name));
        assert_eq!(world.events("peer_joined"), 3, "it is said that it is here again");
        // And only one of them: that one lives.
        let held =
            world.register(&claude("s", 9), &ProcessFacts { former_ended: false, ..ended }, None);
        assert_ne!(held.unwrap().peer_id, first.peer_id);
    }
}

#[test]
fn messages_wait_for_a_session_and_not_for_one_that_leaves_for_good() {
    let mut world = World::new();
    let [stays, leaves] = [("s", 7), ("t", 8)].map(|(session, pid)| {
        let peer = world.come(session, pid, &child_of("then"));
        let to = json!({"fromPeer": "cli", "toPeer": peer.peer_id, "payload": "hello"});
        world.ask(None, Endpoint::Send, &to).unwrap();
        peer
    });
    world.ask(Some(&stays.peer_token), Endpoint::Unregister, &goodbye()).unwrap();
    world.turn(|mesh, now| mesh.agent_ended(stays.peer_id, now)).unwrap();
    assert_eq!(world.events("message_undeliverable"), 0);
    world.ask(Some(&leaves.peer_token), Endpoint::Unregister, &json!({})).unwrap();
    assert_eq!(world.events("message_undeliverable"), 1);
    assert_ne!(world.come("t", 8, &child_of("then")).peer_id, leaves.peer_id);
    let back = world.come("s", 7, &child_of("then"));
    assert_eq!(back.peer_id, stays.peer_id);
    let Ok(Reply::Messages(inbox)) =
        world.ask(Some(&back.peer_token), Endpoint::Messages, &json!({}))
    else {
        panic!("no inbox");
    };
    assert_eq!(inbox.messages.len(), 1);
}

#[test]
fn a_restart_of_the_broker_changes_nothing_of_it() {
    let mut world = World::new();
    let first = world.come("s", 7, &child_of("then"));
    let other = world.come("t", 9, &child_of("then"));
    world.lock(&first.peer_token, &json!({})).unwrap();
    world.ask(Some(&first.peer_token), Endpoint::Unregister, &goodbye()).unwrap();
    world.0.pass(10);
    world.restart(15);
    assert_eq!(world.status(first.peer_id), Some(PeerStatus::Away));
    world.0.pass(4);
    world.lock(&other.peer_token, &json!({})).unwrap_err();
    world.0.pass(1);
    world.lock(&other.peer_token, &json!({})).unwrap();
    world.restart(0);
    let again = world.come("s", 7, &child_of("then"));
    assert_eq!(again.peer_id, first.peer_id);
    // Its server has ended while no broker was there to see it.
    world.restart(5);
    let gone = ProcessFacts { former_gone: true, ..child_of("then") };
    assert_eq!(world.come("s", 7, &gone).peer_id, first.peer_id);
}

#[test]
fn a_session_may_be_known_later_and_change() {
    let mut world = World::new();
    let beat = |session: &str| json!({"sessionId": session});
    let first = world.come("s", 7, &child_of("then"));
    world.ask(Some(&first.peer_token), Endpoint::Heartbeat, &beat("cleared")).unwrap();
    let of = |world: &mut World, session: &str| match world.ask(
        None,
        Endpoint::Peers,
        &json!({"sessionId": session}),
    ) {
        Ok(Reply::Peers(PeersReply { peers, .. })) => {
            peers.into_iter().map(|peer| (peer.id, peer.agent_pid)).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(of(&mut world, "cleared"), [(first.peer_id, Some(7))]);
    assert_eq!(of(&mut world, "s"), []);
    // What it says again of itself does not bring the old one back.
    let mut again = claude("s", 7);
    again["sessionId"] = Value::Null;
    again["peerId"] = json!(first.peer_id);
    again["token"] = json!(&*first.peer_token);
    world.register(&again, &child_of("then"), None).unwrap();
    assert_eq!(of(&mut world, "cleared"), [(first.peer_id, Some(7))]);
    world.ask(Some(&first.peer_token), Endpoint::Unregister, &goodbye()).unwrap();

    // A new server learns with its first call which session it is of.
    let mut unknown = claude("s", 7);
    unknown["sessionId"] = Value::Null;
    unknown["udsPath"] = json!("/d/new.sock");
    let second = world.register(&unknown, &child_of("then"), None).unwrap();
    assert_ne!(second.peer_id, first.peer_id);
    let mut known = unknown.clone();
    known["sessionId"] = json!("cleared");
    known["peerId"] = json!(second.peer_id);
    known["token"] = json!(&*second.peer_token);
    let third = world.register(&known, &child_of("then"), None).unwrap();
    assert_eq!((third.peer_id, third.resumed), (first.peer_id, true));
    assert_eq!(world.status(second.peer_id), None);
}
