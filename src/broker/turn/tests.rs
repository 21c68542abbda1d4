use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::broker::connection::Incoming;
use crate::broker::entropy::SystemEntropy;
use crate::broker::room::Said;
use crate::broker::table::{Key, Table};
use crate::mesh::Settings;
use crate::model::{PeerId, Recipient, Seq};
use crate::store::sqlite::{Options, SqliteStore};
use crate::wire::http::server::{Decoded, RequestDecoder};

const TOKEN: &str = "broker-token";

/// Turns of a mesh with a database of limited size, and connections that are only keys.
struct Test {
    turn: Turn<SqliteStore>,
    now: Now,
    bare: bool,
    keys: Vec<Key>,
}

/// What a request came to.
#[derive(Debug)]
struct Got {
    status: u16,
    body: Value,
}

impl Test {
    fn new(bytes_max: u64) -> Self {
        let options = Options { bytes_max, ..Options::default() };
        let store = SqliteStore::open_in_memory(&options).unwrap();
        let about = Settings { port: 7899, ..Settings::default() };
        let now = Now::default();
        let entropy = Box::new(SystemEntropy::new().unwrap());
        let mesh = Mesh::new(store, entropy, about, now).unwrap();
        let gate = Gate::new(7899, TOKEN.into());
        let sockets = Sockets::new("/nowhere".into());
        let turn = Turn::new(mesh, gate, sockets, Clock::start());
        let mut table = Table::new();
        Self { turn, now, bare: false, keys: (0..200).map(|i| table.insert(i)).collect() }
    }

    /// A turn in which each of these is asked on a connection of its own.
    fn ask_all(&mut self, requests: &[(&str, &str, Value)]) -> Ended {
        self.turn.start(self.now, self.bare);
        for (key, (path, token, body)) in self.keys.iter().zip(requests) {
            let body = body.to_string();
            let method = if ["/health", "/status"].contains(path) { "GET" } else { "POST" };
            let bytes = format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost:7899\r\nAuthorization: Bearer {token}\
                 \r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let Ok(Decoded::Request(request)) = RequestDecoder::new().decode(bytes.as_bytes())
            else {
                panic!("{bytes}");
            };
            self.turn.take(Asker::Http(*key), &Incoming::Request(request), false);
        }
        self.turn.end().unwrap()
    }

    fn answers(&mut self) -> Vec<Got> {
        let mut answers = Vec::new();
        self.turn.answers.finish(|_| {});
        self.turn.answers.each(|_, said| {
            let (Said::Answer(response) | Said::Held(response)) = said else { panic!("{said:?}") };
            answers.push(Got {
                status: response.status,
                body: serde_json::from_slice(response.body).unwrap(),
            });
        });
        answers
    }

    fn ask(&mut self, path: &str, token: &str, body: Value) -> Got {
        let ended = self.ask_all(&[(path, token, body)]);
        if let Ended::Failed(error) = ended {
            self.turn.fail(error);
        }
        self.answers().remove(0)
    }

    fn register(&mut self, name: &str) -> (String, String) {
        let body = json!({"pid": 1, "projectPath": "/p", "name": name});
        let got = self.ask("/register", TOKEN, body);
        let text = |field: &str| got.body[field].as_str().unwrap().to_owned();
        (text("peerId"), text("peerToken"))
    }
}

#[test]
fn a_full_store_fails_the_turn_and_is_still_read() {
    let mut test = Test::new(400_000);
    let (bob, _) = test.register("bob");
    let peer = PeerId::parse(&bob).unwrap();
    test.turn.start(test.now, false);
    assert!(test.turn.with_mesh(|mesh, now| mesh.link_up(peer, true, now)));
    test.turn.end().unwrap();
    let mut kept = 0;
    let refused = loop {
        let payload = "x".repeat(5000);
        let send = json!({"fromPeer": "s", "toPeer": "bob", "payload": payload});
        let got = test.ask("/send", TOKEN, send);
        if got.status != 200 {
            break got;
        }
        kept += 1;
    };
    assert_eq!((refused.status, &refused.body["code"]), (503, &json!("storage_full")));
    assert!(kept > 5);
    // Small ones, until not even those fit.
    for _ in 0..1000 {
        let got =
            test.ask("/send", TOKEN, json!({"fromPeer": "s", "toPeer": "bob", "payload": "x"}));
        if got.status != 200 {
            break;
        }
        kept += 1;
    }
    let status = test.ask("/status", TOKEN, json!({}));
    assert_eq!((status.status, &status.body["messages"]["total"]), (200, &json!(kept)));
    // Frames that have left meanwhile are to be marked. In a bare turn that waits.
    let list = test.ask("/messages", TOKEN, json!({"peerId": "bob", "peek": true, "limit": 1000}));
    for message in list.body["messages"].as_array().unwrap() {
        test.turn.mesh.frame_written(peer, Seq(message["seq"].as_u64().unwrap()), test.now);
    }
    assert_eq!(test.ask("/status", TOKEN, json!({})).status, 503);
    test.bare = true;
    assert_eq!(test.ask("/status", TOKEN, json!({})).status, 200);
}

#[test]
fn a_turn_that_fails_fails_for_all_who_depended_on_it() {
    let mut test = Test::new(400_000);
    let (_, token) = test.register("bob");
    let big = json!({"fromPeer": "s", "toPeer": "bob", "payload": "x".repeat(60_000)});
    let requests = [
        ("/health", "", json!({})),
        ("/messages", token.as_str(), json!({"wait": 5})),
        ("/state", TOKEN, json!({"action": "set", "key": "k", "value": "v", "peerId": "s"})),
        ("/status", "wrong", json!({})),
        ("/send", TOKEN, json!({"toPeer": "nobody", "fromPeer": "s", "payload": "x"})),
        ("/send", TOKEN, big.clone()),
        ("/send", TOKEN, big.clone()),
        ("/send", TOKEN, big.clone()),
        ("/send", TOKEN, big.clone()),
        ("/send", TOKEN, big.clone()),
        ("/send", TOKEN, big),
        ("/health", "", json!({})),
    ];
    let ended = test.ask_all(&requests);
    let Ended::Failed(error) = ended else { panic!("{ended:?}") };
    assert!(test.turn.held.get(Asker::Http(test.keys[1])).is_some());
    test.turn.fail(error);
    assert!(test.turn.held.is_empty());
    let statuses: Vec<u16> = test.answers().iter().map(|got| got.status).collect();
    // The held one is answered behind the others; on its connection it is the last in any case.
    assert_eq!(statuses[..4], [200, 503, 401, 503]);
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), statuses.len() - 3);
    // Nothing of it was kept.
    let status = test.ask("/status", TOKEN, json!({}));
    assert_eq!(status.body["state"]["entries"], 0);
    assert_eq!(status.body["messages"]["total"], 0);
}

#[test]
fn a_turn_takes_so_many_requests_and_no_more() {
    let mut test = Test::new(u64::from(u32::MAX));
    let requests: Vec<_> = (0..TURN_REQUESTS_MAX).map(|_| ("/health", "", json!({}))).collect();
    assert!(matches!(test.ask_all(&requests), Ended::Empty), "there is nothing to commit");
    assert!(test.turn.is_full());
    assert_eq!(test.answers().len(), TURN_REQUESTS_MAX);
    test.turn.start(test.now, false);
    assert_eq!((test.turn.requests, test.answers().len()), (0, 0));
}

#[test]
fn a_held_request_is_asked_again_until_there_is_something() {
    let mut test = Test::new(u64::from(u32::MAX));
    let (bob, token) = test.register("bob");
    let peer = PeerId::parse(&bob).unwrap();
    test.ask_all(&[("/messages", &token, json!({"wait": 5}))]);
    let until = test.now.mono.plus(Duration::from_secs(5));
    assert_eq!(test.turn.held.next_deadline(), Some(until));
    // Woken by what is not for it, it waits on.
    test.turn.held.wake(&Effects { inboxes: vec![Recipient::Peer(peer)], ..Effects::default() });
    assert!(test.turn.held.is_busy());
    test.turn.start(test.now, false);
    test.turn.ask_woken();
    test.turn.end().unwrap();
    assert!(test.answers().is_empty() && test.turn.held.next_deadline() == Some(until));
    test.keys.remove(0);
    test.ask("/send", TOKEN, json!({"fromPeer": "s", "toPeer": "bob", "payload": "x"}));
    test.turn.start(test.now, false);
    test.turn.ask_woken();
    assert!(matches!(test.turn.end(), Ok(Ended::Committed { wrote: true, .. })));
    assert_eq!(test.answers()[0].body["messages"][0]["payload"], "x");
    assert!(test.turn.held.is_empty());
}
