//! What comes to a hub over its port and is not as it should be, over a real socket: it ends with the
//! right code and words, or is waited for no longer than it may be, and the clients of the hub's own
//! machine go on.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use crate::common::hub::Hub;
use crate::common::peer::Pushes;
use crate::common::relay::invited;
use crate::common::{OnDrop, PATIENCE, wait_until};
use rustls::{ClientConnection, StreamOwned};
use serde_json::json;
use slm_mesh::lan::channel::Way;
use slm_mesh::lan::key::MachineKey;
use slm_mesh::lan::tls;
use slm_mesh::limits::{MACHINE_OUT_BYTES_MAX, MACHINE_TEXT_BYTES_MAX, WINDOW_FRAMES_MAX};

const MIB: usize = 1024 * 1024;

/// Memory of the hub's process that is not shared with files, bytes.
fn memory(hub: &Hub) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", hub.broker.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 1024
}

/// A machine's end of a connection, with every byte within TLS in the hands of the test.
struct Raw {
    tls: StreamOwned<ClientConnection, TcpStream>,
}

impl Raw {
    /// One whose handshake has come to its end, and that has not asked for anything.
    fn shaken(hub: &Hub, key: &MachineKey) -> Self {
        let hub_key = hub.key();
        let config = tls::relay(key, Some(hub_key.id())).unwrap();
        let client = ClientConnection::new(config, tls::no_name().unwrap()).unwrap();
        let stream = TcpStream::connect(hub.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut tls = StreamOwned::new(client, stream);
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock).unwrap();
        }
        Self { tls }
    }

    /// One that may speak.
    fn joined(hub: &Hub) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("raw{}", COUNT.fetch_add(1, Ordering::Relaxed));
        fs::create_dir_all(hub.keys()).unwrap();
        let key = MachineKey::load_or_make(&hub.keys().join(name)).unwrap();
        let Way::Invited(_, token) = invited(&hub.invite(&json!({}))).1 else { panic!() };
        let mut raw = Self::shaken(hub, &key);
        raw.say(
            format!(
                "GET /mesh HTTP/1.1\r\nHost: slm-mesh\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
                 Authorization: Bearer {token}\r\nSlm-Mesh-Version: {}\r\n\r\n",
                env!("CARGO_PKG_VERSION")
            )
            .as_bytes(),
        );
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(raw.bytes::<1>()[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        raw
    }

    /// Sends, as long as it is listened to.
    fn say(&mut self, bytes: &[u8]) {
        let _ = self.tls.write_all(bytes);
        let _ = self.tls.flush();
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.tls.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Code and words of the close; texts before it are passed over.
    fn close(&mut self) -> (u16, String) {
        loop {
            let [first, length] = self.bytes();
            let length = match length {
                126 => u16::from_be_bytes(self.bytes()).into(),
                127 => u64::from_be_bytes(self.bytes()),
                length => u64::from(length),
            };
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.tls.read_exact(&mut payload).unwrap();
            if first == 0x88 {
                let (code, words) = payload.split_at(2);
                let code = u16::from_be_bytes(code.try_into().unwrap());
                return (code, String::from_utf8(words.to_vec()).unwrap());
            }
        }
    }
}

const FINAL: u8 = 0x80;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CONTINUATION: u8 = 0;

/// A frame as a client sends it (RFC 6455 section 5.2), of which so much is said to come.
fn head(first: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![first, 0x80 | 127];
    bytes.extend((length as u64).to_be_bytes());
    // The mask: that changes nothing.
    bytes.extend([0; 4]);
    bytes
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [&head(first, payload.len()), payload].concat()
}

#[test]
fn what_breaks_a_rule_is_closed_with_its_code_and_words() {
    let hub = Hub::new();
    let mut other = hub.joined("other").1;
    let here = hub.broker.register("here");
    let text = |text: &str| frame(FINAL | TEXT, text.as_bytes());
    let hello = text(r#"{"hello":{"version":"1.0.0","name":"x","time":0}}"#);
    let mut endless = frame(TEXT, &vec![b' '; MIB]);
    for _ in 0..MACHINE_TEXT_BYTES_MAX / MIB {
        endless.extend(frame(CONTINUATION, &vec![b' '; MIB]));
    }
    let too_long = format!("a text is longer than {MACHINE_TEXT_BYTES_MAX} bytes");
    let not_masked = vec![FINAL | TEXT, 2, b'{', b'}'];
    let cases: [(&str, Vec<u8>, u16, &str); 10] = [
        ("a frame too long", head(FINAL | TEXT, MACHINE_TEXT_BYTES_MAX + 1), 1009, &too_long),
        ("an absurd length", head(FINAL | TEXT, usize::MAX >> 1), 1009, &too_long),
        ("fragments without end", endless, 1009, &too_long),
        ("no mask", not_masked, 1002, "a frame of a client is not masked"),
        ("no UTF-8", frame(FINAL | TEXT, b"\"\xff\""), 1007, "a text is not UTF-8"),
        ("bytes", frame(FINAL | BINARY, b"{}"), 1003, "only texts are taken here"),
        (
            "a reserved bit",
            frame(FINAL | 0x40 | TEXT, b"{}"),
            1002,
            "a frame has reserved bits set",
        ),
        ("nothing to continue", frame(FINAL, b"{}"), 1002, "a fragment continues nothing"),
        ("no JSON", text("hello"), 1008, "a frame is not one JSON object"),
        ("no hello", text(r#"{"down":"x"}"#), 1008, ""),
    ];
    let before = memory(&hub);
    for (what, bytes, code, words) in cases {
        let mut raw = Raw::joined(&hub);
        raw.say(&bytes);
        let (closed, said) = raw.close();
        assert_eq!(closed, code, "{what}: {said}");
        assert!(said.contains(words), "{what}: {said}");
    }
    // Frames of others: of a peer of the hub's own machine, of another machine's, and of nobody.
    let (theirs, _) = other.register(&json!({"name": "theirs", "udsPath": "/there/x.sock"}));
    for (frame, words) in [
        (json!({"ended": theirs}), "is not one of"),
        (json!({"ack": "00000000-0000-4000-8000-000000000000", "by": here.id}), "is not one of"),
        (
            json!({"up": theirs, "path": "/there/x.sock", "link": 1, "process": true, "confirmed": [],
            "written": []}),
            "is not one of",
        ),
    ] {
        let mut raw = Raw::joined(&hub);
        raw.say(&hello);
        raw.say(&text(r#"{"peers":[],"ended":[]}"#));
        raw.say(&text(&frame.to_string()));
        let (code, said) = raw.close();
        assert_eq!(code, 1008, "{frame}: {said}");
        assert!(said.contains(words), "{frame}: {said}");
    }
    // Nobody else has noticed, and what was said in vain is not kept.
    let peers = hub.broker.ok("/peers", &json!({"scope": "mesh", "includeStale": true}));
    assert_eq!(peers["peers"].as_array().unwrap().len(), 2, "{peers}");
    other.ok(None, "/peers", &json!({}));
    wait_until("its memory is given back", || memory(&hub) < before + 16 * MIB);
}

#[test]
fn who_does_not_go_on_is_not_waited_for() {
    let hub = Hub::new();
    hub.invite(&json!({}));
    let key = {
        fs::create_dir_all(hub.keys()).unwrap();
        MachineKey::load_or_make(&hub.keys().join("slow")).unwrap()
    };
    // After TLS nothing; a byte now and then of the upgrade; and a head without end.
    let mut silent = Raw::shaken(&hub, &key);
    let mut slow = Raw::shaken(&hub, &key);
    let mut endless = Raw::shaken(&hub, &key);
    endless.say(format!("GET /mesh HTTP/1.1\r\nX: {}", "x".repeat(64 * 1024)).as_bytes());
    let mut rest = Vec::new();
    let _ = endless.tls.read_to_end(&mut rest);
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"), "{rest:?}");
    wait_until("it is closed however it goes on", || {
        slow.say(b"G");
        slow.tls.sock.set_nonblocking(true).unwrap();
        let ended = !matches!(
            slow.tls.read(&mut [0; 64]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock
        );
        slow.tls.sock.set_nonblocking(false).unwrap();
        ended
    });
    let _ = silent.tls.read_to_end(&mut rest);
    hub.joined("laptop").1.ok(None, "/peers", &json!({}));
}

#[test]
fn who_reads_nothing_costs_a_bounded_memory_and_nobody_else() {
    let hub = Hub::new();
    let here = hub.broker.register("here");
    let mut relay = hub.joined("deaf").1;
    let path = "/there/x.sock";
    // Peers without `acks`: all that there is may be on its way.
    for number in 0..8 {
        let name = format!("deaf{number}");
        let path = format!("{path}{number}");
        let (id, _) = relay.register(&json!({"name": name, "udsPath": path}));
        relay.frame_with("connect");
        relay.up(&id, &path, 1);
        relay.frame_with("announced");
    }
    let before = memory(&hub);
    let payload = "x".repeat(60 * 1024);
    let mut http = hub.broker.connect();
    for round in 0..40 {
        for number in 0..8 {
            let body = json!({"fromPeer": here.id, "toPeer": format!("deaf{number}"),
                "payload": format!("{round} {payload}")});
            assert_eq!(http.call("/send", Some(&here.token), &body).status, 200);
        }
    }
    // 19 MiB are in the store; of these so much waits for the connection as may.
    let now = memory(&hub);
    assert!(now < before + MACHINE_OUT_BYTES_MAX + 12 * MIB, "{before} {now}");
    // It asks, and does not read either.
    for _ in 0..200 {
        relay.ask(None, "/peers", &json!({}));
    }
    assert_eq!(http.call("/peers", Some(&here.token), &json!({})).status, 200);
    // And when it does read, all of it comes.
    for _ in 0..40 * 8 {
        let push = relay.frame_with("push");
        let to = &push["to"];
        relay.say(&json!({"written": push["seq"], "to": to}));
    }
}

#[test]
fn who_answers_pings_and_nothing_else_gets_a_window_and_no_more() {
    let hub = Hub::new();
    let here = hub.broker.register("here");
    let mut relay = hub.joined("mute").1;
    let path = "/there/x.sock";
    let (id, _) = relay.register(&json!({"name": "mute", "udsPath": path, "acks": true}));
    relay.frame_with("connect");
    relay.up(&id, path, 1);
    relay.frame_with("announced");
    for number in 0..3 * WINDOW_FRAMES_MAX {
        here.send(&hub.broker, "mute", &number.to_string());
    }
    for number in 0..WINDOW_FRAMES_MAX {
        let push = relay.frame_with("push");
        assert_eq!(push["push"]["payload"]["text"], number.to_string());
    }
    // What comes next is the answer to this, and no push.
    relay.ok(None, "/peers", &json!({}));
    assert!(!relay.has("push"));
    let sent = here.ok(&hub.broker, "/messages", &json!({"filter": "sent", "limit": 200}));
    let sent = sent["messages"].as_array().unwrap();
    assert_eq!(sent.len(), 3 * WINDOW_FRAMES_MAX);
    assert!(sent.iter().all(|message| message["stage"] == "queued"));
}

fn heard(pushes: &mut Pushes, text: &str) {
    let (heard, id) = pushes.message();
    assert_eq!(heard, text);
    pushes.ack(&id);
}

#[test]
fn a_flood_of_handshakes_keeps_out_nobody_who_belongs_here() {
    let hub = Hub::new();
    let here = hub.broker.listening_peer("here", true);
    let mut pushes = here.accept();
    let mut relay = hub.joined("laptop").1;
    let (_, token) = relay.register(&json!({"name": "there"}));
    let over = AtomicBool::new(false);
    let begun = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // A ClientHello that says how long it is, and nothing more.
                let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
                let mut open = std::collections::VecDeque::new();
                while !over.load(Ordering::SeqCst) {
                    if let Ok(mut stream) = TcpStream::connect(hub.address) {
                        let _ = stream.write_all(&hello);
                        begun.fetch_add(1, Ordering::SeqCst);
                        open.push_back(stream);
                    }
                    if open.len() > 200 {
                        open.pop_front();
                    }
                }
            });
        }
        let _over = OnDrop(|| over.store(true, Ordering::SeqCst));
        // During 3,000 of them both machines are served.
        let mut sent = 0;
        while begun.load(Ordering::SeqCst) < 3000 {
            sent += 1;
            here.send(&hub.broker, "here", &format!("here {sent}"));
            heard(&mut pushes, &format!("here {sent}"));
            let body = json!({"toPeer": "here", "payload": format!("there {sent}")});
            relay.ok(Some(&token), "/send", &body);
            heard(&mut pushes, &format!("there {sent}"));
        }
        assert!(sent > 0);
        // A machine that has been here comes in again: its network is known.
        let key = hub.key();
        let laptop = hub.machine("laptop");
        wait_until("it comes in", || laptop.connect(hub.address, Way::Joined(key.id())).is_ok());
    });
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", hub.broker.pid())).unwrap().count();
    wait_until("they are gone", || descriptors() < 60);
}
