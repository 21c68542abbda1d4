//! Locks as teams use them: over real sockets, with the real binary.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::agent::Agent;
use crate::common::broker::{Broker, Setup};
use crate::common::http::{Answer, Http};
use crate::common::peer::Peer;
use crate::common::{Mesh, Running, send_signal, wait_until};
use serde_json::{Value, json};

/// Long enough that something that must not happen would have happened.
const A_WHILE: Duration = Duration::from_millis(150);

/// What a lock request says beside its path.
fn lock(path: &str, more: &Value) -> Value {
    let mut body = json!({"action": "lock", "filePath": path});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn take(broker: &Broker, who: &Peer, path: &str, more: &Value) -> Answer {
    who.call(broker, "/lock", &lock(path, more))
}

fn release(broker: &Broker, who: &Peer, path: &str) {
    who.ok(broker, "/lock", &json!({"action": "unlock", "filePath": path}));
}

/// Stands in the queue, and is known to by the broker.
fn wait(broker: &Broker, token: &str, body: &Value) -> Http {
    let path = &body["filePath"];
    let waiting = || {
        let locks = broker.ok("/lock", &json!({"action": "query"}));
        let sum = |lock: &Value| lock["waiting"].as_u64().unwrap();
        locks["locks"].as_array().unwrap().iter().map(sum).sum::<u64>()
    };
    let before = waiting();
    let mut http = broker.connect();
    http.post("/lock", Some(token), body);
    wait_until(&format!("someone waits for {path}"), || waiting() > before);
    http
}

fn locks_of(broker: &Broker, query: &Value) -> Vec<String> {
    let answer = broker.ok("/lock", query);
    let text = |lock: &Value| lock["filePath"].as_str().unwrap().to_owned();
    answer["locks"].as_array().unwrap().iter().map(text).collect()
}

#[test]
fn what_overlaps_is_refused_both_ways() {
    let broker = Broker::start();
    let (a, b) = (broker.register("a"), broker.register("b"));
    let free = json!({});
    for (first, second) in [
        ("src/auth/", "src/auth/login.rs"),
        ("src/auth/login.rs", "src/**"),
        ("src/*.rs", "src/main.rs"),
        ("src/**/*.rs", "/project/src/a/b/*"),
        ("[id].tsx", "?id?.tsx"),
    ] {
        for (one, two) in [(first, second), (second, first)] {
            let held = take(&broker, &a, one, &free).json()["lock"].clone();
            let refused = take(&broker, &b, two, &free);
            assert_eq!((refused.status, refused.code().as_str()), (409, "locked"));
            assert_eq!(refused.json()["lock"], held);
            assert!(refused.text().contains("overlaps with"), "{}", refused.text());
            // Own ones are not in the way, and the others see both.
            assert_eq!(take(&broker, &a, two, &free).status, 200);
            let query = json!({"action": "query", "filePath": two, "peerId": b.id});
            assert_eq!(locks_of(&broker, &query).len(), 2);
            release(&broker, &a, one);
            release(&broker, &a, two);
        }
    }
    take(&broker, &a, "src/*.rs", &free);
    for other in ["src/auth/login.rs", "src/main.ts", "lib/x.rs"] {
        assert_eq!(take(&broker, &b, other, &free).status, 200, "{other}");
    }
    // A file of that very name.
    let exact = json!({"exact": true});
    let taken = take(&broker, &b, "star*.rs", &exact).json()["lock"].clone();
    assert_eq!(
        (&taken["filePath"], &taken["pattern"]),
        (&json!("/project/star*.rs"), &json!(false))
    );
    assert_eq!(take(&broker, &a, "star-x.rs", &free).status, 200);
    assert_eq!(take(&broker, &a, r"star\*.rs", &free).code(), "locked");
}

#[test]
fn readers_share_and_a_writer_does_not() {
    let broker = Broker::start();
    let [a, b, c] = ["a", "b", "c"].map(|name| broker.register(name));
    let (shared, alone) = (json!({"shared": true}), json!({}));
    let first = take(&broker, &a, "f", &shared).json()["lock"].clone();
    assert_eq!(first["shared"], true);
    assert_eq!(take(&broker, &b, "f", &shared).status, 200);
    assert_eq!(take(&broker, &c, "f", &alone).code(), "locked");
    assert_eq!(take(&broker, &a, "f", &alone).code(), "locked", "b reads, too");
    release(&broker, &b, "f");
    let writer = take(&broker, &a, "f", &alone).json()["lock"].clone();
    assert_eq!(writer["shared"], false);
    assert!(writer["fence"].as_u64() > first["fence"].as_u64());
    assert_eq!(take(&broker, &b, "f", &shared).code(), "locked");
    // And back, which lets the one in who waits to read.
    let mut reader = wait(&broker, &b.token, &lock("f", &json!({"shared": true, "wait": 50})));
    assert_eq!(take(&broker, &a, "f", &shared).json()["lock"]["shared"], true);
    assert_eq!(reader.answer().json()["lock"]["lockedByName"], "b");
    let locks = broker.ok("/lock", &json!({"action": "query"}));
    assert_eq!(locks["locks"].as_array().unwrap().len(), 2);
}

#[test]
fn who_came_first_is_served_first() {
    let broker = Broker::start();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| broker.register(name));
    take(&broker, &a, "src/", &json!({}));
    let waits = json!({"wait": 50});
    let mut second = wait(&broker, &b.token, &lock("src/x.rs", &waits));
    let mut third = wait(&broker, &c.token, &lock("src/*.rs", &waits));
    let mut script = wait(
        &broker,
        &broker.token,
        &lock("/project/src/y.rs", &json!({"wait": 50, "peerId": "bot"})),
    );
    let refused = take(&broker, &d, "src/x.rs", &json!({})).json();
    assert_eq!(refused["lock"]["waiting"], 3, "{refused}");
    assert!(refused["error"].as_str().unwrap().contains("3 wait"), "{refused}");
    // Whoever wants something else is not held up.
    assert_eq!(take(&broker, &d, "docs/x.md", &json!({})).status, 200);
    release(&broker, &a, "src/");
    assert_eq!(second.answer().json()["lock"]["lockedByName"], "b");
    assert!(third.is_quiet(A_WHILE), "x.rs is in the way");
    assert!(script.is_quiet(A_WHILE), "the third was here before");
    let refused = take(&broker, &d, "src/z.rs", &json!({}));
    assert_eq!(refused.code(), "locked", "no one overtakes");
    let text = refused.text();
    assert!(text.contains("c waits for /project/src/*.rs") && text.contains("x.rs"), "{text}");
    // The holder itself may take what it needs to be done.
    assert_eq!(take(&broker, &b, "src/z.rs", &json!({})).status, 200);
    release(&broker, &b, "src/z.rs");
    release(&broker, &b, "src/x.rs");
    assert_eq!(third.answer().json()["lock"]["lockedByName"], "c");
    assert!(script.is_quiet(A_WHILE));
    // A holder that goes away frees what it had.
    c.ok(&broker, "/unregister", &json!({}));
    assert_eq!(script.answer().json()["lock"]["lockedBy"], "bot");
}

#[test]
fn a_wait_that_is_over_tells_who_has_it() {
    let broker = Broker::start();
    let (a, b) = (broker.register("a"), broker.register("b"));
    take(&broker, &a, "f", &json!({"reason": "busy"}));
    let refused = take(&broker, &b, "f", &json!({"wait": 1}));
    assert_eq!(refused.code(), "locked");
    let body = refused.json();
    assert_eq!((&body["lock"]["reason"], &body["lock"]["waiting"]), (&json!("busy"), &json!(0)));
}

#[test]
fn a_place_is_kept_for_who_asks_again() {
    let broker = Broker::start();
    let (a, b) = (broker.register("a"), broker.register("b"));
    take(&broker, &a, "/f", &json!({}));
    let place = "00000000-0000-4000-8000-000000000001";
    let ask = |wait: u64| lock("/f", &json!({"wait": wait, "place": place, "peerId": "bot"}));
    assert_eq!(broker.call("/lock", &ask(1)).code(), "locked");
    let mut other = broker.connect();
    other.post("/lock", Some(&b.token), &lock("/f", &json!({"wait": 50})));
    wait_until("both wait", || {
        let locks = broker.ok("/lock", &json!({"action": "query"}));
        locks["locks"][0]["waiting"] == 2
    });
    release(&broker, &a, "/f");
    assert_eq!(broker.call("/lock", &ask(50)).json()["lock"]["lockedBy"], "bot");
    assert!(other.is_quiet(A_WHILE));
    broker.ok("/lock", &json!({"action": "unlock", "filePath": "/f", "peerId": "bot"}));
    assert_eq!(other.answer().json()["lock"]["lockedByName"], "b");
    // Without `wait` it is tried once more, and the place given up.
    assert_eq!(broker.call("/lock", &ask(1)).code(), "locked");
    assert_eq!(broker.call("/lock", &ask(0)).code(), "locked");
    release(&broker, &b, "/f");
    assert_eq!(take(&broker, &a, "/f", &json!({})).status, 200, "nobody is before it");
    // Who does not come back is waited for only a moment.
    assert_eq!(broker.call("/lock", &ask(1)).code(), "locked");
    let mut other = wait(&broker, &b.token, &lock("/f", &json!({"wait": 50})));
    release(&broker, &a, "/f");
    assert_eq!(other.answer().json()["lock"]["lockedByName"], "b");
}

#[test]
fn a_waiter_that_goes_away_is_passed_over() {
    let broker = Broker::start();
    let [a, b, c] = ["a", "b", "c"].map(|name| broker.register(name));
    take(&broker, &a, "f", &json!({}));
    let gone = wait(&broker, &b.token, &lock("f", &json!({"wait": 50})));
    let mut next = wait(&broker, &c.token, &lock("f", &json!({"wait": 50})));
    drop(gone);
    wait_until("the place is given up", || {
        let locks = broker.ok("/lock", &json!({"action": "query"}));
        locks["locks"][0]["waiting"] == 1
    });
    release(&broker, &a, "f");
    assert_eq!(next.answer().json()["lock"]["lockedByName"], "c");
    // One whose peer has left is told so.
    let mut held = wait(&broker, &b.token, &lock("f", &json!({"wait": 50})));
    b.ok(&broker, "/unregister", &json!({}));
    assert_eq!(held.answer().status, 401);
}

#[test]
fn a_lock_that_nobody_was_told_of_is_free_again() {
    let broker = Broker::start();
    let a = broker.register("a");
    for round in 0..20 {
        take(&broker, &a, "/f", &json!({}));
        let bot = wait(&broker, &broker.token, &lock("/f", &json!({"wait": 50, "peerId": "bot"})));
        // Both at once: either it leaves the queue before its turn comes, or what it was given is
        // taken back.
        let mut http = broker.connect();
        http.post("/lock", Some(&a.token), &json!({"action": "unlock", "filePath": "/f"}));
        drop(bot);
        assert_eq!(http.answer().status, 200);
        wait_until(&format!("nobody holds it in round {round}"), || {
            locks_of(&broker, &json!({"action": "query"})).is_empty()
        });
    }
}

#[test]
fn a_lock_is_kept_by_who_has_taken_the_answer() {
    let broker = Broker::start();
    let a = broker.register("a");
    let ask = lock("/f", &json!({"wait": 50, "peerId": "bot"}));
    let held_by = |who: &str| {
        let locks = broker.ok("/lock", &json!({"action": "query"}));
        locks["locks"][0]["lockedBy"] == who
    };
    // Granted, and gone before the answer was read: its system resets the connection.
    take(&broker, &a, "/f", &json!({}));
    let bot = wait(&broker, &broker.token, &ask);
    release(&broker, &a, "/f");
    wait_until("it is granted", || held_by("bot"));
    drop(bot);
    wait_until("it is free", || locks_of(&broker, &json!({"action": "query"})).is_empty());
    let events = broker.ok("/events", &json!({"action": "read", "types": ["file_unlocked"]}));
    let last = events["events"].as_array().unwrap().last().unwrap();
    assert!(last["payload"].as_str().unwrap().contains("unclaimed"), "{last}");
    // Granted, read, and gone; or told to be the last request of its connection.
    for ends in ["", "Connection: close\r\n"] {
        take(&broker, &a, "/f", &json!({}));
        let mut bot = broker.connect();
        let body = ask.to_string();
        let head = format!(
            "POST /lock HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {}\r\n{ends}\
             Content-Length: {}\r\n\r\n{body}",
            broker.port,
            broker.token,
            body.len()
        );
        bot.send(head.as_bytes());
        wait_until("it waits", || {
            let locks = broker.ok("/lock", &json!({"action": "query"}));
            locks["locks"][0]["waiting"] == 1
        });
        release(&broker, &a, "/f");
        assert_eq!(bot.answer().status, 200);
        drop(bot);
        std::thread::sleep(A_WHILE);
        assert!(held_by("bot"), "{ends}");
        broker.ok("/lock", &json!({"action": "unlock", "filePath": "/f", "peerId": "bot"}));
    }
}

/// Closes a connection at once: the other end sees a reset, whatever was read.
fn reset(http: Http) {
    rustix::net::sockopt::set_socket_linger(&http.stream, Some(Duration::ZERO)).unwrap();
    drop(http);
}

#[test]
fn a_lock_is_kept_by_who_was_told_of_it_by_any_answer() {
    let broker = Broker::start();
    let [a, b, c] = ["a", "b", "c"].map(|name| broker.register(name));
    let again = lock("/f", &json!({}));
    let waits = lock("/f", &json!({"wait": 50}));
    let held = || broker.ok("/lock", &json!({"action": "query"}))["locks"][0].clone();
    // Waits on a connection of its own, which is dead before its answer is read.
    let granted_unread = |also: &dyn Fn() -> Option<Http>| {
        take(&broker, &b, "/f", &json!({}));
        let first = wait(&broker, &a.token, &waits);
        let second = also();
        release(&broker, &b, "/f");
        wait_until("it is granted", || held()["lockedByName"] == "a");
        (first, second)
    };
    let still = |how: &str, fence: &Value| {
        std::thread::sleep(A_WHILE);
        assert_eq!(held()["fence"], *fence, "{how}");
        assert_eq!(take(&broker, &c, "/f", &json!({})).code(), "locked", "{how}");
        release(&broker, &a, "/f");
    };
    // It asks again, and is told, before the first connection is reset.
    let (first, _) = granted_unread(&|| None);
    let told = a.ok(&broker, "/lock", &again);
    drop(first);
    still("asked again", &told["lock"]["fence"]);
    // Both at once: the broker learns of both in one turn.
    let (first, _) = granted_unread(&|| None);
    let mut second = broker.connect();
    second.call("/heartbeat", Some(&a.token), &json!({}));
    send_signal(broker.pid(), "STOP");
    drop(first);
    second.post("/lock", Some(&a.token), &again);
    std::thread::sleep(A_WHILE);
    send_signal(broker.pid(), "CONT");
    let told = second.answer().json();
    still("asked again at once", &told["lock"]["fence"]);
    // It has waited twice, and one answer is enough.
    for read_the_first in [false, true] {
        let (mut first, second) = granted_unread(&|| Some(wait(&broker, &a.token, &waits)));
        let mut second = second.unwrap();
        let told = if read_the_first { first.answer() } else { second.answer() };
        drop(if read_the_first { second } else { first });
        still("waited twice", &told.json()["lock"]["fence"]);
    }
    // It has looked.
    let (first, _) = granted_unread(&|| None);
    let query = json!({"action": "query", "filePath": "/f"});
    let told = a.ok(&broker, "/lock", &query);
    drop(first);
    still("looked", &told["locks"][0]["fence"]);
    // It has read the answer, and ends in disorder later.
    let (mut first, _) = granted_unread(&|| None);
    let told = first.answer().json();
    std::thread::sleep(Duration::from_millis(1100));
    reset(first);
    still("ended later", &told["lock"]["fence"]);
}

#[test]
fn a_killed_holder_makes_room_at_once() {
    let mesh = Mesh::new();
    let (mut a, mut b) = (Agent::new(&mesh), Agent::new(&mesh));
    let file = json!({"action": "lock", "filePath": "f"});
    a.tool("mesh_lock", &file).ok();
    let (_, b_name) = b.who();
    let id = b.ask_tool("mesh_lock", &json!({"action": "lock", "filePath": "f", "wait": 50}));
    // Other calls go on meanwhile, and show that it waits.
    wait_until("it stands in the queue", || {
        let locks = b.tool("mesh_lock", &json!({"action": "query"})).ok();
        locks["locks"][0]["waiting"] == 1
    });
    send_signal(a.pid(), "KILL");
    assert_eq!(b.tool_answer(id).ok()["lock"]["lockedByName"], b_name.as_str());
    // A call that is cancelled leaves the queue.
    let mut c = Agent::new(&mesh);
    let id = c.ask_tool("mesh_lock", &json!({"action": "lock", "filePath": "f", "wait": 50}));
    let waiting = |agent: &mut Agent| {
        agent.tool("mesh_lock", &json!({"action": "query"})).ok()["locks"][0]["waiting"].clone()
    };
    wait_until("it stands in the queue", || waiting(&mut b) == 1);
    c.notify("notifications/cancelled", &json!({"requestId": id}));
    wait_until("it has left the queue", || waiting(&mut b) == 0);
    // And the time of one that waits comes to an end.
    let error =
        c.tool("mesh_lock", &json!({"action": "lock", "filePath": "f", "wait": 1})).fails("locked");
    assert!(error.contains(&b_name), "{error}");
}

#[test]
fn a_wait_survives_the_broker() {
    let mesh = Mesh::new();
    let (mut a, mut b) = (Agent::new(&mesh), Agent::new(&mesh));
    let ((_, a_name), (_, b_name)) = (a.who(), b.who());
    a.tool("mesh_lock", &json!({"action": "lock", "filePath": "f"})).ok();
    let id = b.ask_tool("mesh_lock", &json!({"action": "lock", "filePath": "f", "wait": 55}));
    let waiting = |agent: &mut Agent| {
        let locks = agent.tool("mesh_lock", &json!({"action": "query"})).ok();
        assert_eq!(locks["locks"][0]["lockedByName"], a_name.as_str());
        locks["locks"][0]["waiting"].clone()
    };
    wait_until("it stands in the queue", || waiting(&mut a) == 1);
    mesh.kill_broker();
    wait_until("it stands in the queue again", || waiting(&mut a) == 1);
    a.tool("mesh_lock", &json!({"action": "unlock", "filePath": "f"})).ok();
    assert_eq!(b.tool_answer(id).ok()["lock"]["lockedByName"], b_name.as_str());
}

#[test]
fn the_locks_of_several_files_are_taken_all_or_none() {
    let broker = Broker::start();
    let (alice, bob) = (broker.register("alice"), broker.register("bob"));
    let several = |action: &str, files: &[&str]| json!({"action": action, "filePaths": files});
    for file in ["/b", "/c"] {
        take(&broker, &bob, file, &json!({"reason": "mine"}));
    }
    let refused = alice.call(&broker, "/lock", &several("lock", &["/a", "/b", "/c", "/d"]));
    assert_eq!((refused.status, refused.code().as_str()), (409, "locked"));
    let body = refused.json();
    let paths: Vec<_> =
        body["locks"].as_array().unwrap().iter().map(|it| &it["filePath"]).collect();
    assert_eq!(
        (&body["lock"]["filePath"], paths),
        (&json!("/b"), vec![&json!("/b"), &json!("/c")])
    );
    assert_eq!(locks_of(&broker, &json!({"action": "query"})), ["/b", "/c"]);
    assert_eq!(locks_of(&broker, &several("query", &["/x", "/c", "/b", "/c"])), ["/b", "/c"]);

    release(&broker, &bob, "/b");
    release(&broker, &bob, "/c");
    let all = ["/d", "/a", "/b", "/a"];
    let given = alice.ok(&broker, "/lock", &several("lock", &all));
    let fences = |answer: &Value| -> Vec<u64> {
        answer["locks"].as_array().unwrap().iter().map(|it| it["fence"].as_u64().unwrap()).collect()
    };
    let first = fences(&given);
    assert!(first.len() == 4 && first[1] == first[3], "{given}");
    // The same again is the same holding.
    assert_eq!(fences(&alice.ok(&broker, "/lock", &several("lock", &all))), first);
}

#[test]
fn a_stolen_lock_is_told_to_who_had_it() {
    let broker = Broker::start();
    let [a, b, c] = ["a", "b", "c"].map(|name| broker.register(name));
    let old = take(&broker, &a, "src/x.rs", &json!({})).json()["lock"].clone();
    take(&broker, &a, "docs/", &json!({}));
    take(&broker, &c, "src/y.rs", &json!({}));
    broker.ok("/lock", &lock("/project/src/z.rs", &json!({"peerId": "cli"})));
    let refused = take(&broker, &b, "src/", &json!({"steal": true}));
    assert_eq!(refused.code(), "invalid_request");
    assert!(refused.text().contains("`reason` is missing"));
    let stolen = take(&broker, &b, "src/", &json!({"steal": true, "reason": "a is stuck"})).json();
    assert_eq!(stolen["stolenFrom"].as_array().unwrap().len(), 3);
    let fence = &stolen["lock"]["fence"];
    assert!(fence.as_u64() > old["fence"].as_u64());
    // Only what was in the way.
    let left = locks_of(&broker, &json!({"action": "query"}));
    assert_eq!(left, ["/project/docs/**", "/project/src/**"]);
    assert_eq!(
        a.call(&broker, "/lock", &json!({"action": "unlock", "filePath": "src/x.rs"})).code(),
        "lock_not_found"
    );
    for body in [json!({"peerId": a.id}), json!({"peerId": c.id}), json!({"peerId": "cli"})] {
        let inbox = broker.ok("/messages", &body);
        let message = &inbox["messages"][0];
        assert_eq!((&message["type"], &message["fromName"]), (&json!("alert"), &json!("b")));
        let text = message["payload"].as_str().unwrap();
        assert!(text.starts_with("b has taken your lock on /project/src/"), "{text}");
        assert!(text.contains("a is stuck") && text.contains(&fence.to_string()), "{text}");
        assert_eq!(inbox["messages"].as_array().unwrap().len(), 1);
    }
    let events = broker.ok("/events", &json!({"action": "read", "types": ["file_unlocked"]}));
    let payload = events["events"][0]["payload"].as_str().unwrap();
    let payload: Value = serde_json::from_str(payload).unwrap();
    assert_eq!((&payload["reason"], &payload["by"]), (&json!("stolen"), &json!(b.id)));
    assert_eq!((&payload["why"], &payload["fence"]), (&json!("a is stuck"), &old["fence"]));
}

#[test]
fn working_trees_are_apart_unless_the_repository_is_meant() {
    let broker = Broker::start();
    let peer = |name: &str, root: &str, repo: &str| {
        let fields = json!({"name": name, "projectPath": root, "gitRoot": root, "repoId": repo});
        Peer::register(&broker, &fields, None)
    };
    let (main, tree) = (peer("main", "/w", "/w/.git"), peer("tree", "/t", "/w/.git"));
    let (other, none) = (peer("other", "/o", "/o/.git"), broker.register("none"));
    let free = json!({});
    assert_eq!(take(&broker, &main, "a.rs", &free).status, 200);
    assert_eq!(take(&broker, &tree, "a.rs", &free).status, 200, "another file");
    assert_eq!(take(&broker, &other, "repo:a.rs", &free).status, 200, "another repository");
    let refused = take(&broker, &tree, "repo:a.rs", &free);
    assert_eq!(refused.json()["lock"]["lockedByName"], "main");
    let wide = take(&broker, &tree, "repo:src/", &free).json()["lock"].clone();
    assert_eq!(
        (&wide["filePath"], &wide["pattern"], &wide["repoId"]),
        (&json!("repo:src/**"), &json!(true), &json!("/w/.git"))
    );
    assert_eq!(take(&broker, &main, "/w/src/deep/x.rs", &free).code(), "locked");
    let query = json!({"action": "query", "filePath": "src/x.rs", "peerId": main.id});
    assert_eq!(locks_of(&broker, &query), ["repo:src/**"]);
    let refused = take(&broker, &none, "repo:a.rs", &free);
    assert!(refused.text().contains("registered without"), "{}", refused.text());
    // The person says which repository is meant.
    let person = json!({"peerId": "cli", "repoId": "/w/.git", "gitRoot": "/w"});
    assert_eq!(broker.call("/lock", &lock("/w/src/z", &person)).code(), "locked");
    release(&broker, &tree, "repo:src/");
    assert_eq!(broker.call("/lock", &lock("/w/src/z", &person)).status, 200);
    assert_eq!(take(&broker, &tree, "repo:src/z", &free).code(), "locked");
}

#[test]
fn a_file_that_turns_out_to_be_of_a_repository_is_locked_as_one() {
    let broker = Broker::start();
    let fields = json!({"name": "q", "projectPath": "/w", "gitRoot": "/w", "repoId": "/w/.git"});
    let q = Peer::register(&broker, &fields, None);
    let (p, free) = (broker.register("p"), json!({}));
    let tree = json!({"repoId": "/w/.git", "gitRoot": "/t"});
    let all = |peer: &Peer, path: &str| {
        let mut body = tree.clone();
        body["action"] = "lock".into();
        body["filePaths"] = json!([path]);
        peer.call(&broker, "/lock", &body)
    };
    // Of what is not known to be in a repository nobody can say that it is taken.
    assert_eq!(take(&broker, &q, "repo:a.rs", &free).status, 200);
    let first = take(&broker, &p, "/t/a.rs", &free).json()["lock"].clone();
    assert_eq!(take(&broker, &p, "/t/a.rs", &tree).code(), "locked");
    assert_eq!(all(&p, "/t/a.rs").code(), "locked");
    let again = take(&broker, &p, "/t/a.rs", &free).json()["lock"].clone();
    assert_eq!(again["fence"], first["fence"], "what it has it keeps");

    release(&broker, &q, "repo:a.rs");
    let known = take(&broker, &p, "/t/a.rs", &tree).json()["lock"].clone();
    assert_ne!(known["fence"], first["fence"]);
    assert_eq!(take(&broker, &q, "repo:a.rs", &free).code(), "locked");
    for more in [&tree, &free] {
        let again = take(&broker, &p, "/t/a.rs", more).json()["lock"].clone();
        assert_eq!(again["fence"], known["fence"], "a renewal");
    }
    assert_eq!(take(&broker, &q, "repo:a.rs", &free).code(), "locked");
    // What is stolen is held as it was asked for.
    let mut steal = tree.clone();
    (steal["steal"], steal["reason"]) = (true.into(), "mine".into());
    release(&broker, &p, "/t/a.rs");
    assert_eq!(take(&broker, &p, "/t/b.rs", &free).status, 200);
    assert_eq!(take(&broker, &q, "repo:b.rs", &free).status, 200);
    assert_eq!(take(&broker, &p, "/t/b.rs", &steal).status, 200);
    assert_eq!(take(&broker, &q, "repo:b.rs", &free).code(), "locked");
}

#[test]
fn locks_are_what_they_were_after_a_restart() {
    let mut broker = Setup::new().start();
    let a = Peer::register(
        &broker,
        &json!({"name": "a", "projectPath": "/w", "gitRoot": "/w", "repoId": "/w/.git"}),
        None,
    );
    for (path, more) in [
        ("src/*.rs", json!({"shared": true})),
        ("repo:docs/", json!({})),
        ("x*y", json!({"exact": true})),
    ] {
        assert_eq!(take(&broker, &a, path, &more).status, 200);
    }
    let before = broker.ok("/lock", &json!({"action": "query"}));
    broker.kill();
    broker.start_again();
    assert_eq!(broker.ok("/lock", &json!({"action": "query"})), before);
    let bot = |path: &str, more: &Value| {
        let mut body = lock(path, more);
        body["peerId"] = "bot".into();
        broker.call("/lock", &body)
    };
    assert_eq!(bot("/w/src/a.rs", &json!({})).code(), "locked");
    assert_eq!(bot("/w/src/a.rs", &json!({"shared": true})).status, 200);
    assert_eq!(bot("/w/xzy", &json!({})).status, 200);
    let there = json!({"repoId": "/w/.git", "gitRoot": "/t"});
    assert_eq!(bot("/t/docs/x", &there).code(), "locked");
}

#[test]
fn what_is_no_path_is_told_why() {
    let broker = Broker::start();
    let a = broker.register("a");
    for (path, words) in [
        ("", "1 to 4096"),
        ("../../x", "leads above"),
        ("a**b", "stand alone"),
        ("src/*/../x", "cannot follow"),
        (r"src\x", "backslash"),
        ("repo:x", "registered without"),
        ("repo:/x", "leave out the slash"),
    ] {
        for action in ["lock", "unlock", "query"] {
            let body = json!({"action": action, "filePath": path});
            let answer = a.call(&broker, "/lock", &body);
            assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"));
            assert!(answer.text().contains(words), "{path}: {}", answer.text());
        }
    }
    release_hint(&broker, &a);
}

/// Whoever unlocks a file of a pattern is told what to unlock.
fn release_hint(broker: &Broker, a: &Peer) {
    take(broker, a, "src/", &json!({}));
    let answer = a.call(broker, "/lock", &json!({"action": "unlock", "filePath": "src/x"}));
    assert_eq!(answer.code(), "lock_not_found");
    assert!(answer.text().contains("/project/src/** overlaps with it and is yours"));
}

// --- The command line -----------------------------------------------------------------------------

#[test]
fn a_lock_guards_what_is_meant_or_says_that_it_does_not() {
    let mesh = Mesh::new();
    let src = mesh.work().join("src");
    std::fs::create_dir_all(src.join("[id]")).unwrap();
    for name in ["a.ts", "b.ts", "[id]/page.tsx"] {
        std::fs::write(src.join(name), "").unwrap();
    }
    let (mut a, mut b) = (Agent::new(&mesh), Agent::new(&mesh));
    let url = format!("file://{}/a.ts", src.display());
    for text in ["src/a.ts ", "@src/a.ts", "src/a.ts:10", "`src/a.ts`", &url] {
        let taken = a.tool("mesh_lock", &json!({"action": "lock", "filePath": text})).ok();
        assert_eq!(taken["lock"]["filePath"], src.join("a.ts").to_str().unwrap(), "{text}");
        assert_eq!(taken.get("note"), None);
        let file = json!({"action": "lock", "filePath": "src/a.ts"});
        b.tool("mesh_lock", &file).fails("locked");
        a.tool("mesh_lock", &json!({"action": "unlock", "filePath": text})).ok();
    }
    for text in ["src/*.{ts,tsx}", "src/[ab].*", "src/a.ts,src/b.ts", "!src/a.ts"] {
        let ask = json!({"action": "lock", "filePath": text});
        let why = a.tool("mesh_lock", &ask).fails("invalid_request");
        assert!(why.contains("cannot be locked: "), "{text}: {why}");
        mesh.run_words(["lock", "acquire", text]).fails(2);
    }
    let real = json!({"action": "lock", "filePath": "src/[id]/*"});
    a.tool("mesh_lock", &real).ok();
    let page = json!({"action": "lock", "filePath": "src/[id]/page.tsx"});
    b.tool("mesh_lock", &page).fails("locked");
    // It is found again when what it was about has gone.
    std::fs::remove_dir_all(src.join("[id]")).unwrap();
    a.tool("mesh_lock", &json!({"action": "unlock", "filePath": "src/[id]/*"})).ok();
    // Where there is nothing, the answer says so.
    for text in ["srcs/new.ts", "src/[ab].ts", "*.ts"] {
        let taken = a.tool("mesh_lock", &json!({"action": "lock", "filePath": text})).ok();
        assert!(taken["note"].is_string(), "{text}: {taken}");
        a.tool("mesh_lock", &json!({"action": "unlock", "filePath": text})).ok();
        let ran = mesh.run_words(["lock", "acquire", text]);
        assert!(ran.err.contains(taken["note"].as_str().unwrap()), "{text}: {ran:?}");
        ran.ok();
    }
}

#[test]
fn the_command_line_waits_and_leaves() {
    let mesh = Mesh::new();
    let mut a = Agent::new(&mesh);
    std::fs::create_dir(mesh.work().join("src")).unwrap();
    a.tool("mesh_lock", &json!({"action": "lock", "filePath": "src", "reason": "moving"})).ok();
    let waiting = |n: u64| {
        let list = mesh.run("lock list --json").json();
        list["locks"][0]["waiting"] == n
    };
    // Time over.
    let err = mesh.run("lock acquire src/x.rs --wait 1").fails(1);
    assert!(err.contains(": waiting for ") && err.matches("moving").count() == 2, "{err}");
    wait_until("the place is given up", || waiting(0));
    // Interrupted.
    let shell = format!("{} lock acquire src/x.rs --wait 60", env!("CARGO_BIN_EXE_slm-mesh"));
    let direct = mesh.command(["status"]);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec {shell}")]).env_clear().current_dir(mesh.work());
    command.envs(direct.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Running(command.spawn().unwrap());
    wait_until("it stands in the queue", || waiting(1));
    let list = mesh.run("lock list").ok();
    assert!(list.contains("WAITING") && list.contains("exclusive"), "{list}");
    send_signal(child.0.id(), "INT");
    assert_eq!(child.0.wait().unwrap().code(), Some(130));
    wait_until("it has left the queue", || waiting(0));
    // Granted.
    let mut command = mesh.command(["lock", "acquire", "src/*.rs", "--shared", "--wait", "1m"]);
    let child = command.spawn().unwrap();
    wait_until("it stands in the queue", || waiting(1));
    a.tool("mesh_lock", &json!({"action": "unlock", "filePath": "src"})).ok();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("src/*.rs") && said.contains(", shared)"), "{said}");
    let list = mesh.run("lock list").ok();
    assert!(list.contains("shared") && list.contains("src/*.rs"), "{list}");
    assert!(mesh.run("lock query src/deep/x.rs").ok().contains("is not locked"));
    assert!(mesh.run("lock query src/x.rs").ok().contains("src/*.rs"));
}

#[test]
fn the_command_line_steals_and_knows_its_repository() {
    let mesh = Mesh::new();
    let git = mesh.work().join("repo/.git");
    std::fs::create_dir_all(git.join("objects")).unwrap();
    std::fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
    let mut a = Agent::new(&mesh);
    a.tool("mesh_lock", &json!({"action": "lock", "filePath": "repo/x"})).ok();
    mesh.run("lock acquire repo/x --steal").fails(2);
    let said = mesh.run("lock acquire repo/x --steal --reason urgent").ok();
    assert!(said.contains("taken from "), "{said}");
    let inbox = a.tool("mesh_inbox", &json!({})).ok();
    assert_eq!(inbox["messages"][0]["type"], "alert");
    // The agent is in no repository, the person's file is.
    let err = a.tool("mesh_lock", &json!({"action": "lock", "filePath": "repo:x"}));
    err.fails("invalid_request");
    let mut command = mesh.command(["lock", "acquire", "repo:x", "--json"]);
    let output = command.current_dir(mesh.work().join("repo")).output().unwrap();
    let body: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(body["lock"]["filePath"], "repo:x", "{body}");
    assert_eq!(body["lock"]["repoId"], git.to_str().unwrap());
    let steal = json!({"action": "steal", "filePath": "repo/x", "reason": "mine again"});
    let taken = a.tool("mesh_lock", &steal).ok();
    assert_eq!(taken["stolenFrom"], json!(["cli"]));
    assert!(mesh.run("inbox").ok().contains("mine again"));
    let exact = mesh.run("lock acquire we*ird[1].ts --exact --json").json();
    assert_eq!(exact["lock"]["pattern"], false);
    assert!(exact["lock"]["filePath"].as_str().unwrap().ends_with("/we*ird[1].ts"));
    mesh.run("lock release we*ird[1].ts --exact").ok();
    mesh.run(r"lock acquire a\b").fails(2);
    let err = mesh.run("lock acquire repo:x").fails(2);
    assert!(err.contains("in no git repository"), "{err}");
}
