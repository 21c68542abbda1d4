//! The page of `slm-mesh web`: who gets it, and what its token opens.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::common::Mesh;
use crate::common::broker::Broker;
use crate::common::http::{Answer, request};

/// The most that the page may be, bytes.
const PAGE_BYTES_MAX: usize = 60_000;

/// A request with these fields in its head.
fn with_fields(port: u16, first: &str, fields: &str) -> Vec<u8> {
    format!("{first} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{fields}\r\n").into_bytes()
}

fn ask(broker: &Broker, token: &str, method: &str, path: &str, body: &Value) -> Answer {
    let body = body.to_string();
    let body = (method == "POST").then_some(body.as_bytes());
    let mut http = broker.connect();
    http.send(&request(broker.port, method, path, Some(token), body));
    http.answer()
}

fn post(broker: &Broker, token: &str, path: &str, body: &Value) -> Answer {
    ask(broker, token, "POST", path, body)
}

/// The token that a new `web` gives.
fn open(broker: &Broker) -> String {
    let opened = broker.ok("/page", &json!({}));
    assert_eq!(opened["port"], broker.port);
    opened["token"].as_str().unwrap().to_owned()
}

#[test]
fn the_page_is_one_small_answer_for_whoever_asks() {
    let broker = Broker::start();
    let mut http = broker.connect();
    http.send(&request(broker.port, "GET", "/", None, None));
    let page = http.any_answer();
    assert_eq!(page.status, 200);
    assert!(page.body.len() <= PAGE_BYTES_MAX, "{}", page.body.len());
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    let policy = page.header("content-security-policy").unwrap();
    for rule in ["default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.split("; ").any(|part| part == rule), "{rule}: {policy}");
    }
    for kind in ["script-src", "style-src"] {
        let sources = policy.split("; ").find_map(|part| part.strip_prefix(kind)).unwrap();
        assert!(sources.starts_with(" 'sha256-") && !sources.contains("unsafe"), "{policy}");
    }
    let text = page.text();
    assert!(!text.contains(&broker.token) && !text.contains(broker.dir().to_str().unwrap()));
    // The connection goes on, and what follows is an answer like any.
    http.send(&request(broker.port, "GET", "/health", None, None));
    let health = http.answer();
    assert_eq!((health.status, health.header("cache-control")), (200, Some("no-store")));
    for method in ["POST", "HEAD", "PUT"] {
        let mut http = broker.connect();
        http.send(&request(broker.port, method, "/", Some(&broker.token), None));
        let head = http.head().unwrap();
        assert_eq!((head.status, head.header("allow")), (405, Some("GET")), "{method}");
    }
}

#[test]
fn other_origins_and_hosts_get_nothing() {
    let broker = Broker::start();
    let (token, port) = (open(&broker), broker.port);
    let authorized = format!("Authorization: Bearer {token}\r\n");
    for (first, fields) in [("GET /", ""), ("GET /status", authorized.as_str())] {
        for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
            let mut http = broker.connect();
            http.send(&with_fields(port, first, &format!("{fields}Origin: {origin}\r\n")));
            let answer = http.answer();
            assert_eq!((answer.status, &*answer.code()), (403, "forbidden"), "{first} {origin}");
        }
        let mut http = broker.connect();
        http.send(
            format!("{first} HTTP/1.1\r\nHost: evil.example:{port}\r\n{fields}\r\n").as_bytes(),
        );
        assert_eq!(http.answer().status, 403, "{first}");
        let mut http = broker.connect();
        let own = format!("{fields}Origin: http://127.0.0.1:{port}\r\n");
        http.send(&with_fields(port, first, &own));
        assert_eq!(http.any_answer().status, 200, "{first}");
    }
}

#[test]
fn a_token_of_the_page_is_the_persons_but_for_the_broker_itself() {
    let broker = Broker::start();
    let bob = broker.register("bob");
    let token = open(&broker);
    assert_eq!(ask(&broker, &token, "GET", "/status", &json!({})).status, 200);
    for (path, body) in [
        ("/peers", json!({"scope": "mesh"})),
        ("/send", json!({"fromPeer": "cli", "toPeer": "bob", "payload": "hello"})),
        ("/messages", json!({"peerId": "cli", "peek": true})),
        ("/history", json!({"text": "hello"})),
        ("/state", json!({"action": "list", "allNamespaces": true})),
        ("/lock", json!({"action": "lock", "filePath": "/a", "peerId": "cli"})),
        ("/lock", json!({"action": "unlock", "filePath": "/a", "force": true})),
        ("/events", json!({"action": "read"})),
        ("/rename", json!({"peerId": "bob", "name": "rob"})),
    ] {
        let answer = post(&broker, &token, path, &body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    for (path, body) in [
        ("/register", json!({"pid": 1, "projectPath": "/p"})),
        ("/heartbeat", json!({"peerId": "rob"})),
        ("/machines", json!({"action": "list"})),
        ("/machines", json!({"action": "invite"})),
        ("/machines", json!({"action": "leave"})),
        ("/page", json!({})),
        ("/reload", json!({})),
        ("/shutdown", json!({})),
    ] {
        let answer = post(&broker, &token, path, &body);
        assert_eq!((answer.status, &*answer.code()), (403, "forbidden"), "{path}");
    }
    // Nor may a peer make one.
    let answer = bob.call(&broker, "/page", &json!({}));
    assert_eq!((answer.status, &*answer.code()), (403, "forbidden"));
    assert_eq!(broker.status()["role"], "broker");
}

#[test]
fn a_token_ends_with_the_next_one_and_with_the_broker() {
    let mut broker = Broker::start();
    let first = open(&broker);
    let held = json!({"action": "read", "wait": 50, "after": 0, "types": ["never"]});
    let status =
        |broker: &Broker, token: &str| ask(broker, token, "GET", "/status", &json!({})).status;
    assert_eq!(status(&broker, &first), 200);
    let second = open(&broker);
    assert_ne!(first, second);
    assert_eq!((status(&broker, &first), status(&broker, &second)), (401, 200));
    assert_eq!(post(&broker, &first, "/events", &held).status, 401);
    // It is kept by its hash only, and in memory only.
    for entry in std::fs::read_dir(broker.dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let has = bytes.windows(second.len()).any(|part| part == second.as_bytes());
            assert!(!has, "{}", path.display());
        }
    }
    broker.kill();
    broker.start_again();
    assert_eq!(status(&broker, &second), 401);
}

#[test]
fn web_prints_the_address_or_has_the_desktop_open_it() {
    let mesh = Mesh::new();
    let printed = mesh.run("web --print").ok();
    let port = std::fs::read_to_string(mesh.data_dir().join("port")).unwrap();
    let (page, token) = printed.trim_end().split_once('#').unwrap();
    assert_eq!(page, format!("http://127.0.0.1:{port}/"));
    assert!(token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
    let json = mesh.run("web --print --json").json();
    assert_eq!((&json["ok"], &json["opened"]), (&json!(true), &json!(false)));
    assert!(json["url"].as_str().unwrap().starts_with(page), "{json}");
    // Without a desktop it is said, and so is the address.
    let said = mesh.run("web").ok();
    assert!(said.contains("No browser can be opened") && said.contains(page), "{said}");
    mesh.run("web now").fails(2);
}

#[cfg(target_os = "linux")]
#[test]
fn web_opens_a_browser_where_there_is_one() {
    let mesh = Mesh::new().with("DISPLAY", ":7");
    let opener = mesh.work().join("xdg-open");
    std::fs::write(&opener, "#!/bin/sh\nprintf %s \"$1\" >opened\n").unwrap();
    std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let mesh = mesh.with("PATH", &format!("{}:{path}", opener.parent().unwrap().display()));
    let said = mesh.run("web").ok();
    let given = std::fs::read_to_string(mesh.work().join("opened")).unwrap();
    let (page, token) = given.split_once('#').unwrap();
    assert!(said.contains(page) && !said.contains(token), "{said}");
    std::fs::write(&opener, "#!/bin/sh\nexit 3\n").unwrap();
    let said = mesh.run("web").ok();
    assert!(said.contains("No browser can be opened"), "{said}");
}

#[cfg(feature = "lan")]
#[test]
fn the_page_of_a_relay_is_that_of_its_machine() {
    let (hub, at) = crate::relays::hub();
    let relay = crate::relays::relay(at);
    let there = hub.register("there");
    let token = open(&relay);
    // By this the page knows which paths are of its own machine.
    let lock = json!({"action": "lock", "filePath": "/a", "peerId": "cli"});
    for broker in [&hub, &relay] {
        let host = broker.ok("/lock", &lock)["lock"]["host"].clone();
        assert!(host.is_string() && broker.status()["host"] == host, "{host}");
    }
    assert_eq!(ask(&hub, &token, "GET", "/status", &json!({})).status, 401);
    let send = json!({"fromPeer": "cli", "toPeer": "there", "payload": "hello"});
    assert_eq!(post(&relay, &token, "/send", &send).status, 200);
    let got = there.ok(&hub, "/messages", &json!({}));
    let from = got["messages"][0]["fromPeer"].as_str().unwrap();
    assert!(from.starts_with("cli@"), "{got}");
    for path in ["/page", "/shutdown", "/machines"] {
        assert_eq!(post(&relay, &token, path, &json!({"action": "leave"})).status, 403, "{path}");
    }
    let mut http = relay.connect();
    http.send(&request(relay.port, "GET", "/", None, None));
    assert_eq!(http.any_answer().status, 200);
    let next = open(&relay);
    assert_eq!(ask(&relay, &token, "GET", "/status", &json!({})).status, 401);
    assert_eq!(ask(&relay, &next, "GET", "/status", &json!({})).status, 200);
    // Nobody at the hub can be asked for a token from here.
    let peer = relay.register("peer");
    assert_eq!(peer.call(&relay, "/page", &json!({})).status, 403);
}
