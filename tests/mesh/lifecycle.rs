//! A broker's start and end, and how many connections it serves between them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::broker::{Broker, Setup};
use crate::common::http::{Http, request};
use crate::common::{Mesh, Running, eventually, is_there, send_signal};
use serde_json::json;
use slm_mesh::platform::{is_alive, raise_descriptor_limit};

const CONNECTIONS_MAX: usize = 1024;

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_start_leaves_private_files_and_a_stop_removes_them() {
    for signal in ["TERM", "INT", "HUP"] {
        let mut broker = Broker::start();
        let dir = broker.dir();
        for name in files(&dir) {
            let mode = fs::metadata(dir.join(&name)).unwrap().mode() & 0o777;
            assert_eq!(mode, if name == "peers" { 0o700 } else { 0o600 }, "{name}");
        }
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_to_string(dir.join("broker.pid")).unwrap(), broker.pid().to_string());
        assert_eq!(broker.token.len(), 64);
        broker.signal(signal);
        assert_eq!(broker.wait().code(), Some(0), "{signal}");
        // The log of the database is gone: everything is in it.
        assert_eq!(files(&dir), ["broker.lock", "mesh.db", "mesh.id", "peers"]);
    }
}

#[test]
fn the_directory_keeps_its_id_and_each_start_has_its_token() {
    let mut broker = Broker::start();
    let health = |broker: &Broker| {
        let mut http = broker.connect();
        http.send(&request(broker.port, "GET", "/health", None, None));
        http.answer().json()
    };
    let (mesh, token) = (health(&broker)["mesh"].clone(), broker.token.clone());
    assert_eq!(mesh, fs::read_to_string(broker.dir().join("mesh.id")).unwrap());
    broker.stop();
    broker.start_again();
    assert_eq!(health(&broker)["mesh"], mesh);
    assert_ne!(broker.token, token);
    let mut http = broker.connect();
    assert_eq!(http.call("/peers", Some(&token), &json!({})).status, 401);
}

#[test]
fn there_is_one_broker_for_a_directory() {
    let mut broker = Broker::start();
    let said = broker.setup.run().fails(1);
    assert!(said.contains("already running"), "{said}");
    assert!(said.contains(&broker.pid().to_string()), "{said}");
    assert!(said.contains(&broker.port.to_string()), "{said}");
    // To someone who only wants a broker that is as good as a start.
    let ran = broker.setup.run_words(&["start", "--background"]);
    assert_eq!(ran.out, format!("ready {}\n", broker.port));
    assert_eq!(broker.status()["pid"], broker.pid());
    broker.kill();
    // Whatever a dead one has left is no obstacle.
    assert!(is_there(broker.dir().join("port")));
    broker.start_again();
    assert_eq!(broker.status()["pid"], broker.pid());
}

#[test]
fn of_many_that_start_at_once_one_serves() {
    let setup = Setup::new();
    let mut children: Vec<Running> = (0..6)
        .map(|_| {
            let mut command = setup.command();
            Running(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
        })
        .collect();
    eventually("five have given up", || {
        let ended = children.iter_mut().map(|child| child.0.try_wait().unwrap().is_some());
        (ended.filter(|ended| *ended).count() == 5).then_some(())
    });
    let mut serving = Vec::new();
    for child in &mut children {
        match child.0.try_wait().unwrap() {
            None => serving.push(child.0.id()),
            Some(status) => {
                assert_eq!(status.code(), Some(1));
                let mut said = String::new();
                child.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                assert!(said.contains("already running"), "{said}");
            }
        }
    }
    let pid = fs::read_to_string(setup.dir().join("broker.pid")).unwrap();
    assert_eq!(serving, [pid.parse::<u32>().unwrap()]);
}

#[test]
fn a_successor_waits_for_one_that_stops() {
    let mut broker = Broker::start();
    // One that does not read keeps it busy for a moment.
    let (alice, deaf) = (broker.register("alice"), broker.listening_peer("deaf", false));
    let _unread = deaf.accept();
    eventually("the connection", || (broker.status()["push"]["connected"] == 1).then_some(()));
    for _ in 0..10 {
        alice.send(&broker, "deaf", &"x".repeat(64 * 1024));
    }
    broker.signal("TERM");
    let (first, port) = (broker.pid(), broker.dir().join("port"));
    eventually("it says that it goes", || (!is_there(&port)).then_some(()));
    assert!(is_alive(first));
    broker.start_again_beside();
    assert_ne!(broker.pid(), first);
    assert_eq!(broker.status()["pid"], broker.pid());
}

#[test]
fn a_busy_port_is_passed_over() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    if port > 65_000 {
        return;
    }
    let broker = Setup::new().with("SLM_MESH_PORT", &port.to_string()).start();
    assert!(broker.port > port && broker.port <= port + 10, "{} for {port}", broker.port);
    assert_ne!(broker.port, 7900, "that is for others");
}

#[test]
fn without_a_port_there_is_no_broker() {
    let setup = Setup::new().with("SLM_MESH_PORT", "65535");
    let Ok(_taken) = TcpListener::bind("127.0.0.1:65535") else { return };
    let said = setup.run().fails(1);
    assert!(said.contains("65535") && said.contains("SLM_MESH_PORT"), "{said}");
    assert_eq!(files(&setup.dir()), ["broker.lock", "peers"]);
}

#[test]
fn another_product_with_the_same_files_is_left_alone() {
    let answer = |body: &'static str| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 1024]);
                let length = body.len();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                let _ = stream.write_all((head + body).as_bytes());
            }
        });
        port
    };
    let foreign = answer(r#"{"status":"ok","version":"1.2.6"}"#);
    let own_kind = answer(r#"{"status":"ok","version":"1.0.0","mesh":"another"}"#);
    let setup = Setup::new();
    fs::create_dir(setup.dir()).unwrap();
    fs::set_permissions(setup.dir(), fs::Permissions::from_mode(0o700)).unwrap();
    let write = |pid: u32, port: u16| {
        fs::write(setup.dir().join("broker.pid"), pid.to_string()).unwrap();
        fs::write(setup.dir().join("port"), port.to_string()).unwrap();
    };
    write(std::process::id(), foreign);
    let said = setup.run().fails(1);
    assert!(
        said.contains("the slm-mesh of npm") && said.contains("end that one with `kill "),
        "{said}"
    );
    assert_eq!(fs::read_to_string(setup.dir().join("port")).unwrap(), foreign.to_string());
    // Its process has ended, and someone else has the port.
    let mut ended = setup.run_child();
    ended.0.kill().unwrap();
    ended.0.wait().unwrap();
    write(ended.0.id(), foreign);
    let mut broker = setup.start();
    broker.stop();
    // The number belongs to another process by now.
    fs::write(broker.dir().join("broker.pid"), std::process::id().to_string()).unwrap();
    fs::write(broker.dir().join("port"), own_kind.to_string()).unwrap();
    broker.start_again();
}

#[test]
fn a_directory_that_is_not_ours_alone_is_refused() {
    let setup = Setup::new();
    fs::create_dir(setup.dir()).unwrap();
    fs::set_permissions(setup.dir(), fs::Permissions::from_mode(0o777)).unwrap();
    let said = setup.run().fails(1);
    assert!(said.contains("can be written to by others"), "{said}");
    assert!(files(&setup.dir()).is_empty());

    let setup = Setup::new();
    fs::write(setup.dir(), "").unwrap();
    let said = setup.run().fails(1);
    assert!(said.contains("not a directory"), "{said}");

    let setup = Setup::new().with("SLM_MESH_DATA_DIR", "/proc/slm-mesh");
    let said = setup.run().fails(1);
    assert!(said.contains("/proc/slm-mesh") && said.contains("SLM_MESH_DATA_DIR"), "{said}");
}

#[test]
fn in_the_background_it_hangs_on_nobody() {
    let mesh = Mesh::new();
    fs::create_dir(mesh.data_dir()).unwrap();
    fs::set_permissions(mesh.data_dir(), fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = mesh.command(["start", "--background"]);
    let mut child = Running(command.spawn().unwrap());
    let pid = child.0.id();
    let mut out = BufReader::new(child.0.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let port = fs::read_to_string(mesh.data_dir().join("port")).unwrap();
    assert_eq!(line, format!("ready {port}\n"));
    // Its output ends, and so do its errors: neither keeps a client waiting.
    assert_eq!(out.read_line(&mut line).unwrap(), 0);
    assert_eq!(child.0.stderr.take().unwrap().read(&mut [0; 16]).unwrap(), 0);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session: u32 =
        stat.rsplit(')').next().unwrap().split_whitespace().nth(3).unwrap().parse().unwrap();
    assert_eq!(session, pid);
    for (fd, target) in
        [(0, "/dev/null".into()), (1, "/dev/null".into()), (2, mesh.data_dir().join("broker.log"))]
    {
        assert_eq!(fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap(), target);
    }
    send_signal(pid, "HUP");
    std::thread::sleep(Duration::from_millis(100));
    assert!(is_alive(pid));
    send_signal(pid, "TERM");
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    let log = fs::read_to_string(mesh.data_dir().join("broker.log")).unwrap();
    assert!(log.contains("serving") && log.contains("stopped"), "{log}");
}

#[test]
fn in_the_background_it_says_why_it_cannot_start() {
    let mesh = Mesh::new();
    fs::write(mesh.data_dir(), "").unwrap();
    let ran = mesh.run("start --background");
    assert_eq!(ran.code, Some(1));
    assert!(ran.out.starts_with("error ") && ran.out.ends_with('\n'), "{ran:?}");
    assert_eq!(ran.out.lines().count(), 1);
}

#[test]
fn it_ends_when_nobody_is_there() {
    let mut broker = Setup::new().with("SLM_MESH_IDLE_TIMEOUT", "400").start();
    let start = Instant::now();
    assert_eq!(broker.wait().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(!is_there(broker.dir().join("port")));

    let mut broker = Setup::new().with("SLM_MESH_IDLE_TIMEOUT", "400").start();
    let peer = broker.register("someone");
    std::thread::sleep(Duration::from_millis(700));
    // A request that waits keeps it, too.
    let mut http = broker.connect();
    http.post("/messages", Some(&broker.token), &json!({"peerId": "cli", "wait": 2}));
    std::thread::sleep(Duration::from_millis(100));
    peer.ok(&broker, "/unregister", &json!({}));
    let start = Instant::now();
    assert_eq!(http.answer().json()["messages"], json!([]));
    assert!(start.elapsed() > Duration::from_millis(1500));
    assert_eq!(broker.wait().code(), Some(0));
    assert!(start.elapsed() > Duration::from_millis(1900));
}

#[test]
fn it_does_not_wake_up_for_nothing() {
    let broker = Setup::new().with("SLM_MESH_IDLE_TIMEOUT", "0").start();
    let (alice, bob) = (broker.register("alice"), broker.listening_peer("bob", false));
    let mut pushes = bob.accept();
    let mut http = broker.connect();
    let send = json!({"toPeer": "bob", "payload": "x"});
    assert_eq!(http.call("/send", Some(&alice.token), &send).status, 200);
    pushes.message();
    let switches = || {
        let status = fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
        line.split_whitespace().last().unwrap().parse::<u64>().unwrap()
    };
    // The care of the database is done by then.
    std::thread::sleep(Duration::from_millis(600));
    let before = switches();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(switches(), before);
}

#[test]
fn a_request_may_stop_it() {
    let mut broker = Broker::start();
    let peer = broker.register("someone");
    let refused = peer.call(&broker, "/shutdown", &json!({}));
    assert_eq!((refused.status, refused.code().as_str()), (403, "forbidden"));
    let mut held = broker.connect();
    held.post("/messages", Some(&peer.token), &json!({"wait": 30}));
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(broker.ok("/shutdown", &json!({})), json!({"ok": true}));
    let answer = held.answer();
    assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
    assert_eq!(broker.wait().code(), Some(0));
    // What is due to the peer outlives it.
    broker.start_again();
    assert_eq!(peer.resume(&broker).status, 200);
}

#[test]
fn connections_have_a_limit_and_those_beyond_are_told() {
    assert!(raise_descriptor_limit() > 2 * CONNECTIONS_MAX as u64);
    let broker = Broker::start();
    let health = request(broker.port, "GET", "/health", None, None);
    let mut served: Vec<Http> = (0..CONNECTIONS_MAX).map(|_| broker.connect()).collect();
    for http in &mut served {
        http.send(&health);
    }
    for http in &mut served {
        assert_eq!(http.answer().status, 200);
    }
    for _ in 0..3 {
        let mut one_too_many = broker.connect();
        one_too_many.send(&health);
        let answer = one_too_many.answer();
        assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(one_too_many.is_closed());
    }
    // Many more at once are not served either, and do no harm.
    let more: Vec<Http> = (0..100).map(|_| broker.connect()).collect();
    served[0].send(&health);
    assert_eq!(served[0].answer().status, 200);
    drop(more);
    served.truncate(CONNECTIONS_MAX - 10);
    eventually("room for one more", || {
        let mut http = broker.connect();
        http.send(&health);
        (http.try_answer().ok()?.status == 200).then_some(())
    });
}

#[test]
fn few_descriptors_mean_few_connections() {
    // 64 less 32 that the broker keeps for itself.
    let broker = Setup::new().before("ulimit -n 64").start();
    let health = request(broker.port, "GET", "/health", None, None);
    let mut served = Vec::new();
    while served.len() < 32 {
        // Another test may look for one of its own on this port, which was another broker's before.
        served.push(eventually("room for one more", || {
            let mut http = broker.connect();
            http.send(&health);
            (http.try_answer().ok()?.status == 200).then_some(http)
        }));
    }
    let mut one_too_many = broker.connect();
    assert_eq!(one_too_many.answer().status, 503);
}

#[test]
fn without_descriptors_those_who_are_in_are_served_and_the_others_wait() {
    // The broker itself needs 17.
    let broker = Setup::new().before("ulimit -n 19").start();
    let health = request(broker.port, "GET", "/health", None, None);
    let mut first = broker.connect();
    first.send(&health);
    assert_eq!(first.answer().status, 200);
    let crowd: Vec<Http> = (0..30).map(|_| broker.connect()).collect();
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(20));
        first.send(&health);
        assert_eq!(first.answer().status, 200);
    }
    let complaints = broker.log().matches("cannot accept").count();
    assert_eq!(complaints, 1, "it is said once, not with each attempt");
    drop(crowd);
    eventually("room for one more", || {
        let mut http = broker.connect();
        http.send(&health);
        (http.try_answer().ok()?.status == 200).then_some(())
    });
}
