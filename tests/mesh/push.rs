//! Pushing: frames, acknowledgements, redelivery, reconnecting, and the end of a peer's process.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::broker::{Broker, Setup};
use crate::common::http::request;
use crate::common::peer::{Peer, Pushes};
use crate::common::{eventually, wait_until};
use serde_json::{Value, json};

const BUILT_IN_UPDATES: [&str; 2] = ["peer_update", "lock_update"];

fn sent(peer: &Peer, broker: &Broker) -> Vec<Value> {
    let answer = peer.ok(broker, "/messages", &json!({"filter": "sent", "limit": 1000}));
    answer["messages"].as_array().unwrap().clone()
}

fn is_delivered(peer: &Peer, broker: &Broker) -> Vec<bool> {
    sent(peer, broker).iter().map(|message| message["delivered"] == true).collect()
}

#[test]
fn a_message_is_pushed_and_delivered_when_its_frame_is_out() {
    let broker = Broker::start();
    let (alice, bob) = (broker.register("alice"), broker.listening_peer("bob", false));
    let mut pushes = bob.accept();
    eventually("the connection", || (broker.status()["push"]["connected"] == 1).then_some(()));
    let answer = alice.send(&broker, "bob", "one\ntwo");
    assert_eq!((&answer["delivered"], &answer["pushed"]), (&json!(true), &json!(true)));
    let payload = pushes.next("message");
    assert_eq!(payload["text"], "one\ntwo");
    assert_eq!(payload["fromPeer"], alice.id.as_str());
    assert_eq!((&payload["fromName"], &payload["broadcast"]), (&json!("alice"), &json!(false)));
    assert_eq!(payload["messageId"], answer["messageId"]);
    assert_eq!(is_delivered(&alice, &broker), [true]);
    // Delivered is not read.
    assert_eq!(bob.inbox(&broker), ["one\ntwo"]);
    // To someone who does not listen.
    let answer = bob.send(&broker, "alice", "x");
    assert_eq!((&answer["delivered"], &answer["pushed"]), (&json!(false), &json!(false)));
}

#[test]
fn with_acknowledgements_only_those_count() {
    let broker = Broker::start();
    let (alice, bob) = (broker.register("alice"), broker.listening_peer("bob", true));
    let mut pushes = bob.accept();
    eventually("the connection", || (broker.status()["push"]["connected"] == 1).then_some(()));
    for text in ["a", "b", "c"] {
        let answer = alice.send(&broker, "bob", text);
        assert_eq!((&answer["delivered"], &answer["pushed"]), (&json!(false), &json!(true)));
    }
    let frames = [pushes.message(), pushes.message(), pushes.message()];
    assert_eq!(is_delivered(&alice, &broker), [false; 3]);
    // In another order, with things in between that are no acknowledgement.
    pushes.ack(&frames[2].1);
    pushes.stream.write_all(b"\n\nnonsense\n{\"ack\":\"x\"}\n").unwrap();
    pushes.stream.write_all(format!("{}\n", "x".repeat(10_000)).as_bytes()).unwrap();
    pushes.ack(&frames[0].1);
    eventually("the marks", || {
        (is_delivered(&alice, &broker) == [true, false, true]).then_some(())
    });

    // What was not acknowledged comes again on the next connection, what was does not.
    drop(pushes);
    let mut pushes = bob.accept();
    assert_eq!(pushes.message(), frames[1]);
    pushes.ack(&frames[1].1);
    eventually("the mark", || (is_delivered(&alice, &broker) == [true; 3]).then_some(()));
    drop(pushes);
    assert!(bob.accept().is_quiet(Duration::from_millis(200)));
}

#[test]
fn what_a_peer_missed_comes_first_and_in_order() {
    let broker = Broker::start();
    let (alice, bob) = (broker.register("alice"), broker.listening_peer("bob", true));
    drop(bob.accept());
    // More than a window of frames.
    for i in 0..200 {
        alice.send(&broker, "bob", &i.to_string());
    }
    let mut pushes = bob.accept();
    for i in 0..200 {
        if i == 100 {
            alice.send(&broker, "bob", "last");
        }
        let (text, id) = pushes.message();
        assert_eq!(text, i.to_string());
        pushes.ack(&id);
    }
    assert_eq!(pushes.message().0, "last");
}

#[test]
fn no_more_than_a_window_is_under_way() {
    let broker = Broker::start();
    let (alice, bob) = (broker.register("alice"), broker.listening_peer("bob", true));
    let mut pushes = bob.accept();
    eventually("the connection", || (broker.status()["push"]["connected"] == 1).then_some(()));
    for i in 0..100 {
        alice.send(&broker, "bob", &i.to_string());
    }
    let frames: Vec<_> = (0..64).map(|_| pushes.message()).collect();
    assert!(pushes.is_quiet(Duration::from_millis(200)), "64 are not confirmed");
    pushes.ack(&frames[0].1);
    assert_eq!(pushes.message().0, "64");
    assert!(pushes.is_quiet(Duration::from_millis(100)));
    for frame in &frames[1..] {
        pushes.ack(&frame.1);
    }
    for i in 65..100 {
        assert_eq!(pushes.message().0, i.to_string());
    }
    // Large ones: a mebibyte of frames.
    let big = "x".repeat(64 * 1024);
    let (carol, mut pushes) = {
        let carol = broker.listening_peer("carol", true);
        let pushes = carol.accept();
        (carol, pushes)
    };
    eventually("the connection", || (broker.status()["push"]["connected"] == 2).then_some(()));
    for _ in 0..20 {
        alice.send(&broker, &carol.name, &big);
    }
    for _ in 0..15 {
        pushes.message();
    }
    assert!(pushes.is_quiet(Duration::from_millis(200)));
}

#[test]
fn a_peer_that_never_reads_costs_itself_only() {
    let broker = Broker::start();
    let (alice, deaf) = (broker.register("alice"), broker.listening_peer("deaf", false));
    let bob = broker.listening_peer("bob", false);
    let unread = deaf.accept();
    let mut pushes = bob.accept();
    eventually("the connections", || (broker.status()["push"]["connected"] == 2).then_some(()));
    let big = "x".repeat(64 * 1024);
    let mut http = broker.connect();
    for i in 0..400 {
        let send = json!({"toPeer": "deaf", "payload": big});
        assert_eq!(http.call("/send", Some(&alice.token), &send).status, 200);
        let lock = json!({"action": "lock", "filePath": format!("/{i}/{}", "p".repeat(3000))});
        assert_eq!(http.call("/lock", Some(&alice.token), &lock).status, 200);
        if i % 40 == 0 {
            let start = Instant::now();
            let text = i.to_string();
            let send = json!({"toPeer": "bob", "payload": text});
            assert_eq!(http.call("/send", Some(&alice.token), &send).json()["delivered"], true);
            assert_eq!(pushes.message().0, text);
            assert!(start.elapsed() < Duration::from_secs(1));
        }
    }
    let memory = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let peak = memory.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 48 * 1024, "{peak} kB");
    // When it wakes up, all messages are there, in order, and some news are missing.
    let mut pushes = unread;
    for _ in 0..400 {
        assert_eq!(pushes.message().0.len(), big.len());
    }
}

#[test]
fn news_of_peers_locks_and_events_are_pushed() {
    let broker = Broker::start();
    let bob = broker.listening_peer("bob", false);
    let mut pushes = bob.accept();
    let carol = broker.listening_peer("carol", false);
    let mut quiet = carol.accept();
    eventually("the connections", || (broker.status()["push"]["connected"] == 2).then_some(()));
    bob.ok(&broker, "/events", &json!({"action": "subscribe", "types": ["build.*", "peer_left"]}));
    let alice = broker.register("alice");
    let joined = pushes.next("peer_update");
    assert_eq!((&joined["action"], &joined["name"]), (&json!("joined"), &json!("carol")));
    assert_eq!(pushes.next("peer_update")["name"], "alice");
    alice.ok(&broker, "/lock", &json!({"action": "lock", "filePath": "/f"}));
    let lock = pushes.next("lock_update");
    assert_eq!((&lock["filePath"], &lock["action"]), (&json!("/f"), &json!("locked")));
    alice.ok(&broker, "/events", &json!({"action": "emit", "type": "build.done", "payload": [1]}));
    let event = pushes.next("event");
    assert_eq!((&event["eventType"], &event["data"]), (&json!("build.done"), &json!([1])));
    assert_eq!(event["emittedBy"], alice.id);
    alice.ok(&broker, "/unregister", &json!({}));
    let event = pushes.next("event");
    assert_eq!(
        (&event["eventType"], &event["reason"]),
        (&json!("peer_left"), &json!("clean_exit"))
    );
    // Who did not subscribe gets the updates only.
    for _ in 0..4 {
        let frame = quiet.frame().unwrap();
        assert!(BUILT_IN_UPDATES.contains(&frame["type"].as_str().unwrap()), "{frame}");
    }
    assert!(quiet.is_quiet(Duration::from_millis(100)));
}

#[test]
fn a_broadcast_reaches_everyone_else() {
    let broker = Broker::start();
    let peers: Vec<Peer> =
        (0..20).map(|i| broker.listening_peer(&format!("p{i}"), i % 2 == 0)).collect();
    let mut pushes: Vec<Pushes> = peers.iter().map(Peer::accept).collect();
    eventually("the connections", || (broker.status()["push"]["connected"] == 20).then_some(()));
    let answer = peers[0].ok(&broker, "/send", &json!({"toPeer": "all", "payload": "hi"}));
    assert_eq!((&answer["recipients"], &answer["pushed"]), (&json!(19), &json!(19)));
    assert_eq!(answer["delivered"], 10, "those without acknowledgements");
    for pushes in &mut pushes[1..] {
        let payload = pushes.next("message");
        assert_eq!((&payload["text"], &payload["broadcast"]), (&json!("hi"), &json!(true)));
        assert_eq!(payload["messageId"], answer["messageIds"][0]);
    }
}

#[test]
fn the_socket_has_to_be_ones_own_in_the_right_place() {
    let broker = Broker::start();
    let peers = broker.dir().join("peers");
    let elsewhere = broker.dir().join("x.sock");
    let _elsewhere = UnixListener::bind(&elsewhere).unwrap();
    std::fs::write(peers.join("file"), "").unwrap();
    std::os::unix::fs::symlink(&elsewhere, peers.join("link")).unwrap();
    for bad in [
        elsewhere,
        peers.join("missing"),
        peers.join("file"),
        peers.join("link"),
        peers.join("../x.sock"),
        peers.clone(),
        PathBuf::from("x.sock"),
        PathBuf::from("/run/systemd/private"),
    ] {
        let body = json!({"pid": 1, "projectPath": "/p", "udsPath": bad});
        let answer = broker.call("/register", &body);
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"));
        assert!(answer.text().contains("udsPath"), "{}", answer.text());
    }
    assert_eq!(broker.status()["peers"]["total"], 0);
}

#[test]
fn attempts_become_rare_and_a_heartbeat_begins_them_anew() {
    let broker = Broker::start();
    let socket = broker.dir().join("peers/b.sock");
    let listen = || {
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        listener
    };
    let listener = listen();
    let body = json!({"pid": 1, "projectPath": "/p", "name": "bob", "udsPath": socket});
    let token = broker.ok("/register", &body)["peerToken"].as_str().unwrap().to_owned();
    let heartbeat = || {
        let answer = broker.connect().call("/heartbeat", Some(&token), &json!({}));
        assert_eq!(answer.status, 200);
    };
    // It stops to listen, and comes back after a while.
    drop(eventually("the connection", || listener.accept().ok()));
    drop(listener);
    std::thread::sleep(Duration::from_millis(700));
    let listener = listen();
    drop(eventually("another attempt", || listener.accept().ok()));
    // One that hangs up at once is tried again, each time later.
    heartbeat();
    let start = Instant::now();
    let mut tried = 0;
    while start.elapsed() < Duration::from_secs(3) {
        match listener.accept() {
            Ok(_) => tried += 1,
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    assert!((4..=8).contains(&tried), "{tried} attempts in three seconds");
    // By now the next attempt would be far away.
    eventually("the hang-up", || (broker.status()["push"]["connected"] == 0).then_some(()));
    let start = Instant::now();
    heartbeat();
    eventually("an attempt at once", || listener.accept().ok());
    assert!(start.elapsed() < Duration::from_millis(600));
}

#[test]
fn another_socket_takes_the_place_of_the_first() {
    let broker = Broker::start();
    let (alice, mut bob) = (broker.register("alice"), broker.listening_peer("bob", true));
    let mut first = bob.accept();
    alice.send(&broker, "bob", "one");
    assert_eq!(first.message().0, "one");
    let socket = broker.dir().join("peers/other.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    bob.fields["udsPath"] = json!(socket);
    assert_eq!(bob.resume(&broker).status, 200);
    assert_eq!(first.frame(), None, "the first is closed");
    let mut second = bob.with_listener(listener).accept();
    assert_eq!(second.message().0, "one");
}

#[test]
fn a_socket_that_was_given_up_and_taken_again_is_connected_to_again() {
    let broker = Broker::start();
    let (alice, bob) = (broker.register("alice"), broker.listening_peer("bob", true));
    let mut pushes = bob.accept();
    let connected = || broker.status()["push"]["connected"].clone();
    let mut without = bob.fields.clone();
    without["peerId"] = bob.id.as_str().into();
    without.as_object_mut().unwrap().remove("udsPath");
    // One after the other, and both in one turn.
    for at_once in [false, true] {
        alice.send(&broker, "bob", &format!("before, {at_once}"));
        let (text, id) = pushes.message();
        assert_eq!(text, format!("before, {at_once}"));
        pushes.ack(&id);
        let mut with = bob.fields.clone();
        with["peerId"] = bob.id.as_str().into();
        if at_once {
            let request = |body: &Value| {
                let body = body.to_string();
                let token = Some(bob.token.as_str());
                request(broker.port, "POST", "/register", token, Some(body.as_bytes()))
            };
            let mut http = broker.connect();
            http.send(&[request(&without), request(&with)].concat());
            assert_eq!((http.answer().status, http.answer().status), (200, 200));
        } else {
            bob.ok(&broker, "/register", &without);
            assert_eq!(pushes.frame(), None, "what the core has ended is closed");
            wait_until("it is not connected", || connected() == 0);
            bob.ok(&broker, "/register", &with);
        }
        pushes = bob.accept();
        wait_until("it is connected", || connected() == 1);
        alice.send(&broker, "bob", &format!("after, {at_once}"));
        let (text, id) = pushes.message();
        assert_eq!(text, format!("after, {at_once}"));
        pushes.ack(&id);
    }
}

/// Not a test of its own: a peer in another process, that listens on a socket until it is killed.
#[test]
fn helper_process() {
    let Some(socket) = std::env::var_os("SLM_TEST_SOCKET") else { return };
    let listener = UnixListener::bind(Path::new(&socket)).unwrap();
    println!("listening");
    let (stream, _) = listener.accept().unwrap();
    println!("connected");
    for line in BufReader::new(stream).lines() {
        println!("{}", line.unwrap());
    }
    std::thread::sleep(Duration::from_secs(60));
}

/// A child that listens on `socket`, and its words.
fn child(socket: &Path) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "push::helper_process", "--nocapture"])
        .env("SLM_TEST_SOCKET", socket)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    (child, lines)
}

#[test]
fn a_crash_is_noticed_at_once() {
    // Neither heartbeats nor their absence play a part.
    let broker = Broker::start();
    let watcher = broker.listening_peer("watcher", false);
    let mut pushes = watcher.accept();
    let socket = broker.dir().join("peers/c.sock");
    let token_file = broker.dir().join("peers/c.token");
    std::fs::write(&token_file, "x").unwrap();
    let (mut child, mut words) = child(&socket);
    assert!(words.any(|word| word.contains("listening")));
    let body = json!({"pid": 1, "projectPath": "/p", "name": "crash", "udsPath": socket});
    let token = broker.ok("/register", &body)["peerToken"].as_str().unwrap().to_owned();
    assert!(words.any(|word| word.contains("connected")));
    eventually("the connection", || (broker.status()["push"]["connected"] == 2).then_some(()));
    let mut http = broker.connect();
    let lock = json!({"action": "lock", "filePath": "/f"});
    assert_eq!(http.call("/lock", Some(&token), &lock).status, 200);
    assert_eq!(pushes.next("peer_update")["action"], "joined");

    let start = Instant::now();
    child.kill().unwrap();
    assert_eq!(pushes.next("lock_update")["action"], json!("locked"));
    assert_eq!(pushes.next("lock_update")["action"], json!("unlocked"));
    let left = pushes.next("peer_update");
    let took = start.elapsed();
    assert_eq!((&left["action"], &left["reason"]), (&json!("left"), &json!("crashed")));
    assert!(took < Duration::from_millis(500), "{took:?}");
    child.wait().unwrap();
    eventually("the files are gone", || (!socket.exists() && !token_file.exists()).then_some(()));
    assert_eq!(broker.ok("/lock", &json!({"action": "query"}))["locks"], json!([]));
    let events = broker.ok("/events", &json!({"action": "read", "types": ["peer_left"]}));
    let payload = events["events"][0]["payload"].as_str().unwrap();
    assert!(payload.contains("crashed"), "{payload}");
    // It may come back under its id.
    let body = json!({"pid": 1, "projectPath": "/p", "peerId": left["peerId"]});
    assert_eq!(http.call("/register", Some(&token), &body).status, 200);
}

#[test]
fn a_peer_whose_process_runs_is_never_given_up() {
    let setup = Setup::new()
        .with("SLM_MESH_HEARTBEAT_MS", "50")
        .with("SLM_MESH_STALE_MS", "100")
        .with("SLM_MESH_DEAD_MS", "300");
    let broker = setup.start();
    let bob = broker.listening_peer("bob", false);
    let pushes = bob.accept();
    let carol = broker.register("carol");
    eventually("the end of carol", || {
        let status = broker.status();
        (status["peers"]["total"] == 1).then_some(())
    });
    assert_eq!(carol.call(&broker, "/heartbeat", &json!({})).status, 401);
    let list = broker.ok("/peers", &json!({"includeStale": true}));
    assert_eq!(
        (&list["peers"][0]["name"], &list["peers"][0]["status"]),
        (&json!("bob"), &json!("stale"))
    );
    // A hang-up alone proves nothing either.
    drop(pushes);
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(broker.status()["peers"]["total"], 1);
}

#[test]
fn peers_are_told_that_the_broker_stops() {
    let mut broker = Broker::start();
    let bob = broker.listening_peer("bob", false);
    let mut pushes = bob.accept();
    eventually("the connection", || (broker.status()["push"]["connected"] == 1).then_some(()));
    broker.signal("TERM");
    assert_eq!(pushes.next("shutdown"), json!({"reason": "stopped"}));
    assert_eq!(pushes.frame(), None);
    assert_eq!(broker.wait().code(), Some(0));
}

#[test]
fn peers_are_told_that_the_directory_has_another_role_now() {
    let mut broker = Broker::start();
    let bob = broker.listening_peer("bob", false);
    let mut pushes = bob.accept();
    eventually("the connection", || (broker.status()["push"]["connected"] == 1).then_some(()));
    let hub = json!({"id": "ab".repeat(32), "addresses": ["10.0.0.5:7900"]});
    let stored = json!({"version": 1, "role": "client", "hub": hub});
    std::fs::write(broker.dir().join("machines"), stored.to_string()).unwrap();
    broker.ok("/shutdown", &json!({}));
    assert_eq!(pushes.next("shutdown"), json!({"reason": "moved"}));
    assert_eq!(broker.wait().code(), Some(0));
}

#[test]
fn a_peer_comes_back_after_a_restart_with_all_that_was_not_confirmed() {
    let mut broker = Broker::start();
    let (alice, bob) = (broker.register("alice"), broker.listening_peer("bob", true));
    let mut pushes = bob.accept();
    eventually("the connection", || (broker.status()["push"]["connected"] == 1).then_some(()));
    for text in ["one", "two"] {
        alice.send(&broker, "bob", text);
    }
    let (one, two) = (pushes.message(), pushes.message());
    pushes.ack(&one.1);
    eventually("the mark", || (is_delivered(&alice, &broker) == [true, false]).then_some(()));
    broker.kill();
    assert_eq!(pushes.frame(), None);
    broker.start_again();
    // The broker comes by itself: it knows who was there.
    let mut pushes = bob.accept();
    assert_eq!(pushes.message(), two);
    assert_eq!(bob.resume(&broker).status, 200);
    assert!(pushes.is_quiet(Duration::from_millis(100)), "the connection is still good");
    assert_eq!(bob.inbox(&broker), ["one", "two"]);
    pushes.ack(&two.1);
    eventually("the mark", || (is_delivered(&alice, &broker) == [true, true]).then_some(()));
}

/// Whether a peer is listed as active.
fn is_active(broker: &Broker, id: &str) -> bool {
    let peers = broker.ok("/peers", &json!({}));
    peers["peers"].as_array().unwrap().iter().any(|peer| peer["id"] == *id)
}

#[test]
fn a_peer_without_a_socket_is_not_active_once_its_process_is_gone() {
    // The default times: what is seen here is not the lack of heartbeats.
    let mut broker = Broker::start();
    let mut process = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let peer = Peer::register(&broker, &json!({"name": "a", "pid": process.id()}), None);
    assert!(is_active(&broker, &peer.id));
    process.kill().unwrap();
    eventually("it is stale", || (!is_active(&broker, &peer.id)).then_some(()));
    process.wait().unwrap();
    // It may have named a wrong one.
    peer.ok(&broker, "/heartbeat", &json!({}));
    assert!(is_active(&broker, &peer.id));

    // After a restart of the broker nobody is active who was not heard of.
    let mut process = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let peer = Peer::register(&broker, &json!({"name": "c", "pid": process.id()}), None);
    broker.kill();
    process.kill().unwrap();
    process.wait().unwrap();
    broker.start_again();
    assert!(!is_active(&broker, &peer.id));
}

#[test]
fn a_peer_whose_socket_nobody_serves_is_not_active_once_its_process_is_gone() {
    let broker = Broker::start();
    let mut process = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let socket = broker.dir().join("peers/dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let fields = json!({"name": "a", "pid": process.id(), "udsPath": socket});
    let peer = Peer::register(&broker, &fields, None);
    assert!(is_active(&broker, &peer.id));
    process.kill().unwrap();
    process.wait().unwrap();
    eventually("it is stale", || (!is_active(&broker, &peer.id)).then_some(()));
}
