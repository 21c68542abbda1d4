//! HTTP as the real broker speaks it: each rule of the transport, each limit from both sides.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::common::PATIENCE;
use crate::common::broker::{Broker, Setup};
use crate::common::http::{Http, request};
use serde_json::json;

/// Endpoints and their methods, as in the contract.
const ENDPOINTS: [(&str, &str); 13] = [
    ("GET", "/health"),
    ("GET", "/status"),
    ("POST", "/register"),
    ("POST", "/unregister"),
    ("POST", "/heartbeat"),
    ("POST", "/peers"),
    ("POST", "/summary"),
    ("POST", "/send"),
    ("POST", "/messages"),
    ("POST", "/state"),
    ("POST", "/lock"),
    ("POST", "/events"),
    ("POST", "/shutdown"),
];

const BODY_MAX: usize = 1024 * 1024;
const HEAD_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

/// A whole body of `length` bytes: white space around `{}`.
fn body(length: usize) -> Vec<u8> {
    let mut body = vec![b' '; length];
    body[..2].copy_from_slice(b"{}");
    body
}

fn health(port: u16) -> Vec<u8> {
    request(port, "GET", "/health", None, None)
}

/// After a refusal that ends the connection.
fn assert_last(http: &mut Http, status: u16, code: &str) {
    let answer = http.answer();
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text());
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(http.is_closed());
}

#[test]
fn health_needs_no_token_and_everything_else_does() {
    let broker = Broker::start();
    for (method, path) in ENDPOINTS {
        for token in [None, Some(""), Some("x"), Some("0".repeat(64)).as_deref()] {
            let mut http = broker.connect();
            http.send(&request(broker.port, method, path, token, Some(b"")));
            let answer = http.answer();
            if path == "/health" {
                assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("ok")));
            } else {
                // Registering says more of what is missing, but not without a token.
                let refused = (answer.status, answer.code());
                let expected = if path == "/register" && token.is_some_and(|t| !t.is_empty()) {
                    (400, "invalid_request".to_owned())
                } else {
                    (401, "unauthorized".to_owned())
                };
                assert_eq!(refused, expected, "{path} {token:?}");
            }
            if answer.status == 401 {
                assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            }
            // The connection is as good as before.
            http.send(&health(broker.port));
            assert_eq!(http.answer().status, 200);
        }
    }
    let mut http = broker.connect();
    http.send(&request(broker.port, "GET", "/status", Some(&broker.token), None));
    assert_eq!(http.answer().json()["port"], broker.port);
    // The scheme is Bearer, in any case.
    for (value, status) in [
        (format!("bearer {}", broker.token), 200),
        (format!("Basic {}", broker.token), 401),
        (broker.token.clone(), 401),
        (format!("Bearer {}x", broker.token), 401),
    ] {
        let head = format!(
            "GET /status HTTP/1.1\r\nHost: localhost:{}\r\nAuthorization: {value}\r\n\r\n",
            broker.port
        );
        http.send(head.as_bytes());
        assert_eq!(http.answer().status, status, "{value}");
    }
}

#[test]
fn each_path_has_one_method() {
    let broker = Broker::start();
    let mut http = broker.connect();
    for (allowed, path) in ENDPOINTS {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"] {
            if method == allowed {
                continue;
            }
            http.send(&request(broker.port, method, path, Some(&broker.token), Some(b"{}")));
            let answer = if method == "HEAD" { http.head().unwrap() } else { http.answer() };
            assert_eq!((answer.status, answer.header("allow")), (405, Some(allowed)));
            if method == "HEAD" {
                assert!(answer.header("content-length").unwrap().parse::<u32>().unwrap() > 0);
            } else {
                assert_eq!(answer.code(), "method_not_allowed");
            }
        }
    }
    for path in ["/nothing", "/page.html", "/health/", "/HEALTH", "/send%20"] {
        http.send(&request(broker.port, "GET", path, Some(&broker.token), None));
        let answer = http.answer();
        assert_eq!((answer.status, answer.code().as_str()), (404, "unknown_endpoint"));
    }
}

#[test]
fn requests_of_web_pages_are_refused() {
    let broker = Broker::start();
    let port = broker.port;
    let mut http = broker.connect();
    let mut status = |headers: &str| {
        http.send(format!("GET /health HTTP/1.1\r\n{headers}\r\n\r\n").as_bytes());
        let answer = http.answer();
        if answer.status != 200 {
            assert_eq!(answer.code(), "forbidden");
        }
        answer.status
    };
    for host in ["127.0.0.1", "localhost", "[::1]", "LOCALHOST"] {
        assert_eq!(status(&format!("Host: {host}:{port}")), 200);
        assert_eq!(status(&format!("Host: {host}:{port}\r\nOrigin: http://{host}:{port}")), 200);
        assert_eq!(status(&format!("Host: {host}:{}", port ^ 1)), 403);
        // Plain clients leave the port out; browsers do not.
        assert_eq!(status(&format!("Host: {host}")), 200);
        assert_eq!(status(&format!("Host: {host}\r\nOrigin: http://{host}")), 403);
    }
    for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "0.0.0.0", ""] {
        assert_eq!(status(&format!("Host: {host}:{port}")), 403);
    }
    for origin in ["null", "http://evil.example", "https://localhost", "http://localhost:1"] {
        assert_eq!(status(&format!("Host: localhost:{port}\r\nOrigin: {origin}")), 403);
    }
    // The target's own host goes before the header's.
    http.send(
        format!("GET http://evil.example/health HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n")
            .as_bytes(),
    );
    assert_eq!(http.answer().status, 403);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let broker = Broker::start();
    let mut http = broker.connect();
    let token = Some(broker.token.as_str());
    let count = 1000;
    let mut all = Vec::new();
    for i in 0..count {
        let body = json!({"action": "set", "key": format!("k{}", i % 7), "value": i.to_string(), "peerId": "script"});
        let body = body.to_string();
        all.extend(request(broker.port, "POST", "/state", token, Some(body.as_bytes())));
        if i % 10 == 0 {
            all.extend(health(broker.port));
        }
    }
    let mut sender = http.stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || sender.write_all(&all).unwrap());
        for i in 0..count {
            assert_eq!(http.answer().json()["entry"]["value"], i.to_string());
            if i % 10 == 0 {
                assert_eq!(http.answer().json()["status"], "ok");
            }
        }
    });
    // Nobody else had to wait for them all: that is the turn's limit, seen from outside.
    assert_eq!(broker.status()["state"]["entries"], 7);
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let broker = Broker::start();
    let mut http = broker.connect();
    let body = json!({"action": "set", "key": "k", "value": "ä€𝄞", "peerId": "script"}).to_string();
    let bytes = request(broker.port, "POST", "/state", Some(&broker.token), Some(body.as_bytes()));
    for byte in &bytes {
        http.send(&[*byte]);
        std::thread::yield_now();
    }
    assert_eq!(http.answer().json()["entry"]["value"], "ä€𝄞");
    for at in [1, 20, bytes.len() - body.len() - 1, bytes.len() - 1] {
        http.send(&bytes[..at]);
        assert!(http.is_quiet(Duration::from_millis(20)));
        http.send(&bytes[at..]);
        assert_eq!(http.answer().status, 200);
    }
}

#[test]
fn a_body_has_a_length_and_that_has_a_limit() {
    let broker = Broker::start();
    let token = Some(broker.token.as_str());
    let mut http = broker.connect();
    http.send(&request(broker.port, "POST", "/peers", token, Some(&body(BODY_MAX))));
    assert_eq!(http.answer().status, 200);
    // It is refused at its head; what still comes must not destroy the answer.
    http.send(&request(broker.port, "POST", "/peers", token, Some(&body(BODY_MAX + 1))));
    assert_last(&mut http, 413, "too_large");

    let mut http = broker.connect();
    let head = format!("POST /peers HTTP/1.1\r\nHost: localhost:{}\r\n", broker.port);
    http.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n").as_bytes());
    assert_last(&mut http, 411, "length_required");
    let mut http = broker.connect();
    http.send(format!("{head}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes());
    assert_last(&mut http, 411, "length_required");
    for bad in ["-1", "+1", "1x", "0x1", "1, 1", "", " "] {
        let mut http = broker.connect();
        http.send(format!("{head}Content-Length: {bad}\r\n\r\n").as_bytes());
        assert_last(&mut http, 400, "invalid_request");
    }
    let mut http = broker.connect();
    http.send(format!("{head}Content-Length: 99999999999999999999999\r\n\r\n").as_bytes());
    assert_last(&mut http, 413, "too_large");
    // Without a length there is no body, and an empty body is `{}`.
    let mut http = broker.connect();
    http.send(&request(broker.port, "POST", "/peers", token, None));
    assert_eq!(http.answer().json()["peers"], json!([]));
}

#[test]
fn who_may_not_ask_is_refused_before_the_body() {
    let broker = Broker::start();
    let head = |token: &str, host: &str, path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\n{token}Content-Length: {BODY_MAX}\r\n\r\n{{"
        )
    };
    let own = format!("127.0.0.1:{}", broker.port);
    let valid = format!("Authorization: Bearer {}\r\n", broker.token);
    for (token, host, path, status, code) in [
        ("", &*own, "/send", 401, "unauthorized"),
        ("Authorization: Bearer 00\r\n", &*own, "/send", 401, "unauthorized"),
        ("Authorization: Bearer 00\r\n", &*own, "/register", 401, "unauthorized"),
        (&*valid, "evil.example", "/send", 403, "forbidden"),
        (&*valid, &*own, "/nowhere", 404, "unknown_endpoint"),
    ] {
        let mut http = broker.connect();
        http.send(head(token, host, path).as_bytes());
        assert_last(&mut http, status, code);
    }
    // Who may is not disturbed by it, and neither is the answer to its request.
    let mut http = broker.connect();
    http.send(head(&valid, &own, "/peers").as_bytes());
    assert!(http.is_quiet(Duration::from_millis(100)));
    let mut rest = vec![b' '; BODY_MAX - 1];
    rest[BODY_MAX - 2] = b'}';
    http.send(&rest);
    assert_eq!(http.answer().status, 200);
}

#[test]
fn what_all_connections_have_buffered_is_bounded() {
    let broker = Setup::new().with("SLM_MESH_CONNECTION_MIB", "16").start();
    let head = format!(
        "POST /send HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {}\r\n\
         Content-Length: {BODY_MAX}\r\n\r\n",
        broker.port, broker.token
    );
    let part = [head.into_bytes(), vec![b' '; BODY_MAX - 1]].concat();
    // Twice as many as there is room for.
    let mut connections: Vec<Http> = (0..32).map(|_| broker.connect()).collect();
    for http in &mut connections {
        // One that is refused meanwhile may not take the rest.
        let _ = http.stream.write_all(&part);
    }
    let refused = connections.iter_mut().map(|http| !http.is_quiet(Duration::from_millis(20)));
    assert!(refused.filter(|refused| *refused).count() >= 16);
    assert_eq!(broker.status()["peers"]["total"], 0, "others are served");
}

#[test]
fn whoever_is_beyond_the_limit_of_connections_is_told_so() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let broker = Broker::start();
    let mut connections = Vec::new();
    let mut statuses = Vec::new();
    // Many more than are told so at once.
    while statuses.iter().filter(|status| **status == 503).count() < 100 {
        let mut http = broker.connect();
        http.send(&health(broker.port));
        statuses.push(http.answer().status);
        connections.push(http);
    }
    assert!(statuses.is_sorted(), "each of those beyond the limit is told: {statuses:?}");
}

#[test]
fn a_head_has_limits() {
    let broker = Broker::start();
    let start = format!("GET /health HTTP/1.1\r\nHost: localhost:{}\r\n", broker.port);
    let padded = |length: usize| {
        let rest = length - start.len() - "X: \r\n\r\n".len();
        format!("{start}X: {}\r\n\r\n", "x".repeat(rest))
    };
    let mut http = broker.connect();
    assert_eq!(padded(HEAD_MAX).len(), HEAD_MAX);
    http.send(padded(HEAD_MAX).as_bytes());
    assert_eq!(http.answer().status, 200);
    http.send(padded(HEAD_MAX + 1).as_bytes());
    assert_last(&mut http, 431, "headers_too_large");

    let many = |count: usize| format!("{start}{}\r\n", "X: y\r\n".repeat(count - 1));
    let mut http = broker.connect();
    http.send(many(HEADERS_MAX).as_bytes());
    assert_eq!(http.answer().status, 200);
    http.send(many(HEADERS_MAX + 1).as_bytes());
    assert_last(&mut http, 431, "headers_too_large");

    // An endless head is refused at the limit, not at its end.
    let mut http = broker.connect();
    http.send(format!("{start}X: {}", "x".repeat(2 * HEAD_MAX)).as_bytes());
    assert_last(&mut http, 431, "headers_too_large");
}

#[test]
fn what_is_no_request_is_refused_and_ends_the_connection() {
    let broker = Broker::start();
    let host = format!("Host: localhost:{}", broker.port);
    for bad in [
        "\u{16}\u{3}\u{1}".to_owned(),
        "GET /health HTTP/2.0\r\n\r\n".to_owned(),
        format!("GET /health HTTP/1.1\n{host}\n\n"),
        "GET /health HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET /health HTTP/1.1\r\n{host}\r\n{host}\r\n\r\n"),
        format!("GET health HTTP/1.1\r\n{host}\r\n\r\n"),
        format!("GET /health HTTP/1.1\r\n{host}\r\nExpect: magic\r\n\r\n"),
        format!("GET /health HTTP/1.1\r\n{host}\r\n folded: x\r\n\r\n"),
        format!("GET /health HTTP/1.1\r\n{host}\r\nno colon\r\n\r\n"),
    ] {
        let mut http = broker.connect();
        http.send(bad.as_bytes());
        assert_last(&mut http, 400, "invalid_request");
    }
    // What came before it is served.
    let mut http = broker.connect();
    http.send(&[health(broker.port), b"nonsense\r\n\r\n".to_vec()].concat());
    assert_eq!(http.answer().status, 200);
    assert_last(&mut http, 400, "invalid_request");
}

#[test]
fn bodies_are_json_objects() {
    let broker = Broker::start();
    let token = Some(broker.token.as_str());
    let mut http = broker.connect();
    for (body, code) in [
        (&b"{"[..], "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
        (b"{} {}", "invalid_json"),
        (b"[]", "invalid_request"),
        (b"null", "invalid_request"),
        (b"\"text\"", "invalid_request"),
        (b"{\"scope\":\"galaxy\"}", "invalid_request"),
    ] {
        http.send(&request(broker.port, "POST", "/peers", token, Some(body)));
        let answer = http.answer();
        assert_eq!((answer.status, answer.code().as_str()), (400, code));
    }
    http.send(&request(broker.port, "POST", "/peers", token, Some(b" {\"unknown\":[1]} ")));
    assert_eq!(http.answer().status, 200);
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on() {
    let broker = Broker::start();
    let head = format!(
        "POST /peers HTTP/1.1\r\nHost: localhost:{}\r\nAuthorization: Bearer {}\r\n\
         Expect: 100-continue\r\nContent-Length: 2\r\n\r\n",
        broker.port, broker.token
    );
    let mut http = broker.connect();
    http.send(head.as_bytes());
    assert_eq!(http.answer().status, 100);
    http.send(b"{}");
    assert_eq!(http.answer().status, 200);
    // In order behind an answer.
    http.send(&[health(broker.port), head.clone().into_bytes()].concat());
    assert_eq!((http.answer().status, http.answer().status), (200, 100));
    http.send(b"{}");
    assert_eq!(http.answer().status, 200);
    // One that does not wait for it needs none.
    http.send(format!("{head}{{}}").as_bytes());
    assert_eq!(http.answer().status, 200);
    // A body that would be refused is not asked for.
    http.send(head.replace("Length: 2", "Length: 2000000").as_bytes());
    assert_last(&mut http, 413, "too_large");
}

#[test]
fn connections_stay_until_asked_to_close() {
    let broker = Broker::start();
    let start = format!("GET /health HTTP/1.1\r\nHost: localhost:{}\r\n", broker.port);
    let mut http = broker.connect();
    for _ in 0..3 {
        http.send(format!("{start}\r\n").as_bytes());
        let answer = http.answer();
        assert_eq!((answer.status, answer.header("connection")), (200, None));
    }
    http.send(format!("{start}Connection: close\r\n\r\n").as_bytes());
    assert_eq!(http.answer().header("connection"), Some("close"));
    assert!(http.is_closed());

    let old = start.replace("HTTP/1.1", "HTTP/1.0");
    let mut http = broker.connect();
    http.send(format!("{old}Connection: keep-alive\r\n\r\n").as_bytes());
    assert_eq!(http.answer().header("connection"), Some("keep-alive"));
    http.send(format!("{old}\r\n").as_bytes());
    assert_eq!(http.answer().header("connection"), Some("close"));
    assert!(http.is_closed());
}

#[test]
fn a_client_may_half_close_once_it_has_asked() {
    let broker = Broker::start();
    let mut http = broker.connect();
    http.send(&[health(broker.port), health(broker.port)].concat());
    http.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!((http.answer().status, http.answer().status), (200, 200));
    assert!(http.is_closed());
    // Half a request is none.
    let mut http = broker.connect();
    http.send(&health(broker.port)[..20]);
    http.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(http.is_closed());
}

#[test]
fn a_request_has_ten_seconds_from_its_first_byte() {
    let broker = Broker::start();
    let mut slow = broker.connect();
    let mut idle = broker.connect();
    idle.send(b"\r\n");
    let bytes = health(broker.port);
    let start = Instant::now();
    let mut sent = 0;
    // A byte now and then does not make it longer.
    while start.elapsed() < Duration::from_secs(9) {
        slow.send(&bytes[sent..=sent]);
        sent += 1;
        assert!(slow.is_quiet(Duration::from_millis(400)), "too early");
    }
    assert_last(&mut slow, 408, "timeout");
    let elapsed = start.elapsed();
    assert!((9_500..13_000).contains(&elapsed.as_millis()), "{elapsed:?}");
    // One that has begun nothing is not in a hurry.
    idle.send(&bytes);
    assert_eq!(idle.answer().status, 200);
}

#[test]
fn a_client_that_takes_no_answers_costs_itself_only() {
    let broker = Broker::start();
    let value = "x".repeat(60_000);
    for i in 0..20 {
        let set = json!({"action": "set", "key": i.to_string(), "value": value, "peerId": "s"});
        broker.ok("/state", &set);
    }
    let list =
        request(broker.port, "POST", "/state", Some(&broker.token), Some(b"{\"action\":\"list\"}"));
    // Asks for 1.2 MB each time and reads nothing.
    let mut deaf = broker.connect();
    deaf.stream.set_nonblocking(true).unwrap();
    let start = Instant::now();
    let mut asked = 0;
    while start.elapsed() < Duration::from_secs(2) {
        match deaf.stream.write(&list) {
            Ok(_) => asked += 1,
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
        if asked % 50 == 0 {
            let start = Instant::now();
            assert_eq!(broker.status()["status"], "ok");
            assert!(start.elapsed() < Duration::from_secs(1));
        }
    }
    assert!(asked > 10);
    let memory = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let peak = memory.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 64 * 1024, "{peak} kB");
    // In the end it is dropped: its answers come to an end that is no answer's.
    deaf.stream.set_nonblocking(false).unwrap();
    std::thread::sleep(Duration::from_secs(9));
    let mut rest = Vec::new();
    deaf.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = deaf.stream.read_to_end(&mut rest);
    assert!(rest.len() < asked * 1_200_000);
}

#[test]
fn a_large_answer_arrives_whole_however_slowly_it_is_read() {
    let broker = Broker::start();
    let value = "\u{1}".repeat(60_000);
    for i in 0..12 {
        let set = json!({"action": "set", "key": i.to_string(), "value": value, "peerId": "s"});
        broker.ok("/state", &set);
    }
    let mut http = broker.connect();
    http.post("/state", Some(&broker.token), &json!({"action": "list"}));
    http.send(&health(broker.port));
    std::thread::sleep(Duration::from_millis(100));
    let answer = http.answer();
    assert!(answer.body.len() > 3_900_000 && answer.body.len() <= 4 * 1024 * 1024);
    let list = answer.json();
    // 360 kB each: eleven of them fit.
    assert_eq!((list["entries"].as_array().unwrap().len(), &list["remaining"]), (11, &json!(1)));
    assert_eq!(http.answer().status, 200);
}

#[test]
fn held_requests_are_answered_when_there_is_something() {
    let broker = Broker::start();
    let (alice, bob) = (broker.register("alice"), broker.register("bob"));
    let mut http = broker.connect();
    http.post("/messages", Some(&bob.token), &json!({"wait": 30}));
    http.send(&health(broker.port));
    let mut events = broker.connect();
    let last = broker.ok("/events", &json!({"action": "read"}))["lastSeq"].clone();
    let read = json!({"action": "read", "after": last, "wait": 30, "types": ["build.*"]});
    events.post("/events", Some(&broker.token), &read);
    assert!(http.is_quiet(Duration::from_millis(100)), "what is behind it waits, too");
    alice.send(&broker, "bob", "hello");
    let answer = http.answer().json();
    assert_eq!(answer["messages"][0]["payload"], "hello");
    assert_eq!(http.answer().json()["status"], "ok");
    assert!(events.is_quiet(Duration::from_millis(50)), "not of its types");
    alice.ok(&broker, "/events", &json!({"action": "emit", "type": "build.done"}));
    assert_eq!(events.answer().json()["events"][0]["type"], "build.done");
    // Nothing comes.
    let start = Instant::now();
    let answer = bob.ok(&broker, "/messages", &json!({"wait": 1}));
    assert_eq!(answer["messages"], json!([]));
    assert!((900..3000).contains(&start.elapsed().as_millis()));
}

#[test]
fn a_held_request_of_a_client_that_has_gone_takes_no_message() {
    let broker = Broker::start();
    let (alice, bob) = (broker.register("alice"), broker.register("bob"));
    for early in [false, true] {
        let mut gone = broker.connect();
        gone.post("/messages", Some(&bob.token), &json!({"wait": 30}));
        if !early {
            // It is held by the time its client goes.
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(gone);
        std::thread::sleep(Duration::from_millis(50));
        alice.send(&broker, "bob", "kept");
        let mut http = broker.connect();
        let answer = http.call("/messages", Some(&bob.token), &json!({}));
        assert_eq!(answer.json()["messages"][0]["payload"], "kept");
    }
}

#[test]
fn failed_authentication_has_a_limit_of_its_own() {
    let broker = Setup::new().with("SLM_MESH_RATE_LIMIT", "100").start();
    let mut http = broker.connect();
    let bad = request(broker.port, "GET", "/status", Some("wrong"), None);
    let mut refused = 0;
    for _ in 0..200 {
        http.send(&bad);
        let answer = http.answer();
        match answer.status {
            401 => {}
            429 => {
                refused += 1;
                assert_eq!(answer.code(), "rate_limited");
                let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
                let ms = answer.json()["retryAfterMs"].as_u64().unwrap();
                assert_eq!(after, ms.div_ceil(1000));
            }
            other => panic!("{other}"),
        }
    }
    assert!((50..=110).contains(&refused), "{refused}");
    // Those with a token do not suffer from it.
    assert_eq!(broker.status()["status"], "ok");
}
