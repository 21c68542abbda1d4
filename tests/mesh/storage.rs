//! What was acknowledged is there: after a kill, on a full disk, with a database that is not usable.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::common::broker::{Broker, Setup};
use crate::common::eventually;
use crate::common::http::request;
use crate::common::peer::Peer;
use serde_json::{Value, json};

/// All texts in an inbox, read to its end.
fn read_all(broker: &Broker, peer: &Peer) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        let page = peer.ok(broker, "/messages", &json!({"limit": 1000}));
        let messages = page["messages"].as_array().unwrap();
        texts.extend(messages.iter().map(|m| m["payload"].as_str().unwrap().to_owned()));
        if page["remaining"] == 0 {
            return texts;
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_a_kill() {
    let mut broker = Broker::start();
    let (alice, bob) = (broker.register("alice"), broker.register("bob"));
    let mut acknowledged = BTreeSet::new();
    let mut uncertain = BTreeSet::new();
    for round in 0..5 {
        // Several at once, so that turns are shared and some are cut off in the middle.
        let senders = 4;
        let results = std::thread::scope(|scope| {
            let tasks: Vec<_> = (0..senders)
                .map(|sender| {
                    let (broker, alice) = (&broker, &alice);
                    scope.spawn(move || {
                        let mut http = broker.connect();
                        let mut sent = Vec::new();
                        for i in 0.. {
                            let text = format!("{round}/{sender}/{i}");
                            let body = json!({"toPeer": "bob", "payload": text}).to_string();
                            let bytes = request(
                                broker.port,
                                "POST",
                                "/send",
                                Some(&alice.token),
                                Some(body.as_bytes()),
                            );
                            let answer = match http.stream.write_all(&bytes) {
                                Ok(()) => http.try_answer(),
                                Err(error) => Err(error),
                            };
                            match answer {
                                Ok(answer) => {
                                    assert_eq!(answer.status, 200, "{}", answer.text());
                                    sent.push(text);
                                }
                                Err(_) => return (sent, text),
                            }
                        }
                        unreachable!()
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(100 + 30 * round));
            broker.signal("KILL");
            tasks.into_iter().map(|task| task.join().unwrap()).collect::<Vec<_>>()
        });
        broker.wait();
        broker.start_again();
        for (sent, last) in results {
            assert!(!sent.is_empty());
            acknowledged.extend(sent);
            uncertain.insert(last);
        }
        assert_eq!(alice.resume(&broker).status, 200);
        assert_eq!(bob.resume(&broker).status, 200);
    }
    let found = read_all(&broker, &bob);
    let set: BTreeSet<String> = found.iter().cloned().collect();
    assert_eq!(set.len(), found.len(), "nothing came twice");
    assert!(acknowledged.is_subset(&set), "lost: {:?}", acknowledged.difference(&set));
    let extra: Vec<_> = set.difference(&acknowledged).collect();
    assert!(extra.iter().all(|text| uncertain.contains(*text)), "{extra:?}");
    assert_eq!(broker.status()["messages"]["total"], found.len());
}

#[test]
fn state_locks_and_peers_survive_a_kill() {
    let mut broker = Broker::start();
    let alice = broker.register("alice");
    let entry = alice.ok(&broker, "/state", &json!({"action": "set", "key": "k", "value": "v"}));
    let lock = alice.ok(&broker, "/lock", &json!({"action": "lock", "filePath": "/f"}));
    let event = alice.ok(&broker, "/events", &json!({"action": "emit", "type": "a.b"}));
    broker.kill();
    broker.start_again();
    assert_eq!(broker.ok("/state", &json!({"action": "get", "key": "k"})), entry);
    let locks = broker.ok("/lock", &json!({"action": "query"}));
    assert_eq!(locks["locks"], json!([lock["lock"]]));
    let events = broker.ok("/events", &json!({"action": "read", "types": ["a.b"]}));
    assert_eq!(events["events"][0]["seq"], event["seq"]);
    // Nobody had a chance to send a heartbeat: they are here, as stale ones.
    let peers = broker.ok("/peers", &json!({"includeStale": true}));
    assert_eq!(
        (&peers["peers"][0]["name"], &peers["peers"][0]["status"]),
        (&json!("alice"), &json!("stale"))
    );
    assert_eq!(alice.call(&broker, "/heartbeat", &json!({})).status, 200);
    // What comes after is numbered after.
    let later = alice.ok(&broker, "/events", &json!({"action": "emit", "type": "a.b"}));
    assert!(later["seq"].as_u64() > event["seq"].as_u64());
}

#[test]
fn on_a_full_disk_nothing_is_acknowledged_that_is_not_kept() {
    // No file may be longer than 2 MiB: the log of the database reaches that first.
    let mut broker = Setup::new().before("ulimit -f 4096").start();
    let (alice, bob) = (broker.register("alice"), broker.listening_peer("bob", false));
    let carol = broker.listening_peer("carol", true);
    let (mut pushes, mut confirmed) = (bob.accept(), carol.accept());
    eventually("the connections", || (broker.status()["push"]["connected"] == 2).then_some(()));
    let mut http = broker.connect();
    let mut send = |to: &str, text: &str| {
        http.call("/send", Some(&alice.token), &json!({"toPeer": to, "payload": text}))
    };
    assert_eq!(send("carol", "early").status, 200);
    let early = confirmed.message();
    let text = "x".repeat(10_000);
    let mut kept = 0;
    let mut refused = 0;
    // Large ones first, small ones for the rest of the room.
    while refused < 20 {
        let text = format!("{kept} {}", if refused < 10 { &text } else { "" });
        let answer = send("bob", &text);
        if answer.status == 200 {
            assert_eq!(pushes.message().0, text);
            kept += 1;
        } else {
            assert_eq!(answer.status, 503, "{}", answer.text());
            let code = answer.code();
            assert!(code == "storage_full" || code == "unavailable", "{code}");
            refused += 1;
        }
    }
    assert!(kept > 20, "{kept} kept");
    assert!(pushes.is_quiet(Duration::from_millis(100)), "no push of what was not kept");
    // Whoever only wants to read is served, even if there is something to be noted.
    confirmed.ack(&early.1);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(broker.status()["messages"]["total"], kept + 1);
    let peek = bob.ok(&broker, "/messages", &json!({"peek": true, "limit": 1}));
    assert!(peek["messages"][0]["payload"].as_str().unwrap().starts_with("0 "));
    let errors = broker.log().matches("ERROR").count();
    assert_eq!(errors, 1, "it is said once: {}", broker.log());
    // With room again, all of it is there.
    assert_eq!(broker.stop().code(), Some(0));
    broker.setup.before = None;
    broker.start_again();
    assert_eq!(bob.resume(&broker).status, 200);
    assert_eq!(read_all(&broker, &bob).len(), kept);
    assert_eq!(alice.resume(&broker).status, 200);
    alice.send(&broker, "bob", "again");
}

#[test]
fn a_damaged_journal_that_finds_no_room_for_a_copy_is_moved_aside() {
    let mut broker = Broker::start();
    let alice = broker.register("alice");
    alice.send(&broker, "cli", "settled");
    broker.stop();
    // Nothing of it can be read, and no file may be so long.
    let journal = [&b"slmturns"[..], &vec![7; 600_000]].concat();
    fs::write(broker.dir().join("mesh.db-turns"), &journal).unwrap();
    broker.setup.before = Some("ulimit -f 512".into());
    broker.start_again();
    let moved = aside(&broker.dir()).into_iter().find(|name| name.contains("-turns.damaged-"));
    let moved = moved.unwrap_or_else(|| panic!("it is not there: {:?}", aside(&broker.dir())));
    assert!(broker.log().contains(&moved), "{}", broker.log());
    assert_eq!(fs::read(broker.dir().join(moved)).unwrap(), journal);
    assert_eq!(broker.status()["messages"]["total"], 1);
}

fn aside(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter(|name| name.starts_with("mesh.db.") || name.starts_with("mesh.db-")).collect()
}

#[test]
fn a_damaged_database_is_moved_aside_and_said_so() {
    let mut broker = Broker::start();
    broker.register("alice");
    broker.stop();
    let db = broker.dir().join("mesh.db");
    for damage in
        ["this is no database".as_bytes().to_vec(), b"SQLite format 3\0 but not for long".to_vec()]
    {
        fs::write(&db, &damage).unwrap();
        broker.start_again();
        let status = broker.status();
        let place = status["db"]["recoveredFrom"].as_str().unwrap_or_default().to_owned();
        assert!(place.contains("mesh.db"), "{status}");
        assert!(broker.log().contains("WARN"), "{}", broker.log());
        assert_eq!(status["peers"]["total"], 0);
        broker.register("bob");
        broker.stop();
    }
    let kept: Vec<String> = aside(&broker.dir());
    assert!(kept.len() >= 2, "nothing was thrown away: {kept:?}");
    // It is said for as long as that file is there, after any number of starts.
    broker.start_again();
    assert!(broker.status()["db"]["recoveredFrom"].is_string());
    for name in kept {
        fs::remove_file(broker.dir().join(name)).unwrap();
    }
    assert_eq!(broker.status()["db"]["recoveredFrom"], Value::Null);
    assert_eq!(broker.status()["db"]["recovery"], Value::Null);
}

#[test]
fn a_damaged_journal_is_kept_and_told() {
    let mut broker = Broker::start();
    broker.register("alice");
    broker.kill();
    let journal = broker.dir().join("mesh.db-turns");
    let mut bytes = fs::read(&journal).unwrap();
    // In the head.
    bytes[20] ^= 1;
    fs::write(&journal, &bytes).unwrap();
    broker.start_again();
    let log = broker.log();
    assert!(log.contains("mesh.db-turns is damaged"), "{log}");
    let copies = aside(&broker.dir());
    let copy = copies.iter().find(|name| name.starts_with("mesh.db-turns.damaged-")).unwrap();
    assert_eq!(fs::read(broker.dir().join(copy)).unwrap(), bytes);
    let doctor = broker.setup.run_words(&["doctor", "--json"]);
    assert!(doctor.out.contains("1 database or journal was moved aside"), "{}", doctor.out);
    assert!(doctor.out.contains(&**copy), "{}", doctor.out);
    broker.register("alice");
}

/// Makes every text `from` in a database something that is no text any more.
fn spoil(db: &Path, from: &str) {
    let mut bytes = fs::read(db).unwrap();
    let places: Vec<usize> =
        (0..bytes.len()).filter(|at| bytes[*at..].starts_with(from.as_bytes())).collect();
    assert!(!places.is_empty());
    for place in places {
        bytes[place] = 0xff;
    }
    fs::write(db, bytes).unwrap();
}

#[test]
fn damage_that_shows_in_use_costs_what_is_damaged_and_a_moment() {
    let mut broker = Broker::start();
    let (alice, bob) = (broker.register("alice"), broker.register("bob"));
    for n in 0..20 {
        let body = json!({"toPeer": "bob", "payload": format!("message number {n}.")});
        alice.ok(&broker, "/send", &body);
        let body = json!({"action": "set", "key": format!("k{n}"), "value": format!("v{n}.")});
        alice.ok(&broker, "/state", &body);
    }
    let lock = alice.ok(&broker, "/lock", &json!({"action": "lock", "filePath": "/f"}));
    broker.stop();
    let db = broker.dir().join("mesh.db");
    spoil(&db, "message number 7.");
    broker.start_again();
    let pid = broker.pid();
    assert_eq!(broker.status()["db"]["recovery"], Value::Null, "it was not looked at yet");
    assert_eq!((alice.resume(&broker).status, bob.resume(&broker).status), (200, 200));
    let mut http = broker.connect();
    let peek = json!({"limit": 100, "peek": true});
    let refused = http.call("/messages", Some(&bob.token), &peek);
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("unavailable")));

    // On the same connection, from the same process.
    let answer = http.call("/messages", Some(&bob.token), &peek);
    let texts: Vec<String> = answer.json()["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["payload"].as_str().unwrap().to_owned())
        .collect();
    let numbers = (0..20).filter(|n| *n != 7);
    assert_eq!(texts, numbers.map(|n| format!("message number {n}.")).collect::<Vec<_>>());
    assert_eq!(broker.pid(), pid);
    let state = broker.ok("/state", &json!({"action": "list"}));
    assert_eq!(state["entries"].as_array().unwrap().len(), 20);
    let locks = broker.ok("/lock", &json!({"action": "query"}));
    assert_eq!(locks["locks"], json!([lock["lock"]]));
    let later = alice.ok(&broker, "/lock", &json!({"action": "lock", "filePath": "/g"}));
    assert!(later["lock"]["fence"].as_u64() > lock["lock"]["fence"].as_u64());

    let recovery = broker.status()["db"]["recovery"].clone();
    assert_eq!(recovery["rowsSkipped"], 1, "{recovery}");
    assert!(recovery["rowsCopied"].as_u64().unwrap() > 40, "{recovery}");
    let moved = Path::new(recovery["movedTo"].as_str().unwrap());
    assert_eq!(fs::metadata(moved).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(broker.log().contains("could not be read"), "{}", broker.log());
    broker.kill();
    broker.start_again();
    assert_eq!(broker.status()["db"]["recovery"], recovery, "it is remembered");
}

#[test]
fn damage_that_shows_at_the_start_is_no_obstacle() {
    for (what, from) in [("a lock", "/locked.rs"), ("a peer", "/project/of/bob")] {
        let mut broker = Broker::start();
        let alice = broker.register("alice");
        let bob = json!({"pid": 1, "projectPath": "/project/of/bob", "name": "bob"});
        broker.ok("/register", &bob);
        alice.ok(&broker, "/lock", &json!({"action": "lock", "filePath": "/locked.rs"}));
        alice.ok(&broker, "/lock", &json!({"action": "lock", "filePath": "/other.rs"}));
        alice.ok(&broker, "/send", &json!({"toPeer": "bob", "payload": "hello"}));
        broker.stop();
        spoil(&broker.dir().join("mesh.db"), from);
        broker.start_again();
        let status = broker.status();
        assert_eq!(status["messages"]["total"], 1, "{what}: {status}");
        let skipped = status["db"]["recovery"]["rowsSkipped"].as_u64();
        assert!(skipped.is_some_and(|skipped| (1..=2).contains(&skipped)), "{what}: {status}");
        assert_eq!(alice.resume(&broker).status, 200);
        let locks = broker.ok("/lock", &json!({"action": "query"}));
        assert!(locks.to_string().contains("/other.rs"), "{what}: {locks}");
    }
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let mut broker = Broker::start();
    broker.stop();
    let db = broker.dir().join("mesh.db");
    let mut bytes = fs::read(&db).unwrap();
    // The user version stands at offset 60 (the SQLite file format, 1.3).
    bytes[60..64].copy_from_slice(&1_000_000_u32.to_be_bytes());
    fs::write(&db, &bytes).unwrap();
    let said = broker.setup.run().fails(1);
    assert!(said.contains("newer") && said.contains("update slm-mesh"), "{said}");
    assert_eq!(fs::read(&db).unwrap(), bytes);
    assert!(!broker.dir().join("port").exists());
}
