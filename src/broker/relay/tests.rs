use std::time::Duration;

use super::*;
use crate::broker::table::{Key, Table};
use crate::model::{MachineName, Timestamp};
use crate::wire::frames::{Answer, Hello, ToRelay};
use crate::wire::http::server::{Decoded, RequestDecoder};

/// A relay, its clients by number, and what they were told: the status and the body of an answer, or
/// nothing when the connection ended.
struct Test {
    relay: Relay,
    keys: Vec<Key>,
    now: Now,
    told: Vec<(usize, Option<(u16, String)>)>,
}

impl Test {
    fn new() -> Self {
        let mut table = Table::new();
        let now = Now { mono: Monotonic(Duration::from_secs(9)), ..Now::default() };
        let uplink = Uplink::new("laptop", now.mono);
        let gate = Gate::new(7899, "own".into());
        let sockets = Sockets::new("/nowhere/peers".into());
        let relay = Relay::new(uplink, None, gate, sockets, "the-mesh".into(), now);
        Self { relay, keys: (0..8).map(|_| table.insert(())).collect(), now, told: Vec::new() }
    }

    /// One whose hub has said who it is.
    fn connected() -> Self {
        let mut test = Self::new();
        test.ask(0, "/send", "own", "{}");
        assert_eq!(test.relay.next_step(), Some(ConnectionStep::Dial));
        test.relay.uplink.connected(test.now.mono, test.now.wall);
        let version = env!("CARGO_PKG_VERSION").into();
        let you = MachineName::new("box");
        let hello = Hello { version, name: "hub".into(), time: Timestamp(5), you };
        test.frame(&ToRelay::Hello(hello));
        assert_eq!(test.sent().len(), 3, "hello, peers, and what had waited");
        test.answer(1, "{}");
        assert_eq!(test.told(), [(0, Some((200, "{}".into())))]);
        test
    }

    fn turn(&mut self, serve: impl FnOnce(&mut Relay)) -> Effects {
        assert!(self.relay.begin(self.now, true));
        serve(&mut self.relay);
        let effects = self.relay.end().unwrap();
        let (keys, told) = (&self.keys, &mut self.told);
        self.relay.answers(&mut |asker, said| {
            let client = keys.iter().position(|key| Asker::Http(*key) == asker).unwrap();
            let answer = match said {
                Said::Answer(response) | Said::Held(response) => {
                    let body = String::from_utf8(response.body.to_vec()).unwrap();
                    Some((response.status, body))
                }
                Said::Nothing => None,
                Said::Continue => panic!("nobody has asked whether to go on"),
            };
            told.push((client, answer));
        });
        effects
    }

    /// A turn in which this client asks; gives whether it is held.
    fn ask(&mut self, client: usize, path: &str, token: &str, body: &str) -> (bool, Effects) {
        self.ask_and_stay((client, true), path, token, body)
    }

    /// The same; `stays`: it waits for the answer, and has not hung up by then.
    fn ask_and_stay(
        &mut self,
        (client, stays): (usize, bool),
        path: &str,
        token: &str,
        body: &str,
    ) -> (bool, Effects) {
        let asker = Asker::Http(self.keys[client]);
        let method = if path == "/health" { "GET" } else { "POST" };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost:7899\r\n");
        let token = format!("Authorization: Bearer {token}\r\n");
        let bytes = format!("{head}{token}Content-Length: {}\r\n\r\n{body}", body.len());
        let Ok(Decoded::Request(request)) = RequestDecoder::new().decode(bytes.as_bytes()) else {
            panic!("{bytes}");
        };
        let mut waits = false;
        let effects = self.turn(|relay| {
            let flow = Room::take(relay, asker, &Incoming::Request(request), !stays);
            waits = matches!(flow, Flow::Hold);
        });
        (waits, effects)
    }

    fn frame(&mut self, frame: &ToRelay<'_>) {
        self.relay.uplink.frame(&frame.text(), self.now.mono);
    }

    fn answer(&mut self, id: u64, body: &str) {
        let (now, retry_after, allow) = (Timestamp(9), None, None);
        self.frame(&ToRelay::Answer(Answer { id, status: 200, now, body, retry_after, allow }));
        self.turn(|_| {});
    }

    fn sent(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.relay.uplink.next_frame(self.now.mono)).collect()
    }

    fn told(&mut self) -> Vec<(usize, Option<(u16, String)>)> {
        std::mem::take(&mut self.told)
    }
}

#[test]
fn requests_wait_for_the_hub_and_those_that_are_for_this_machine_do_not() {
    let mut test = Test::connected();
    assert!(test.ask(1, "/send", "own", r#"{"a": 1}"#).0);
    let (waits, effects) = test.ask(2, "/health", "", "");
    assert!(!waits && !effects.shutdown && test.told.len() == 1);
    assert!(test.told()[0].1.as_ref().unwrap().1.contains(r#""mesh":"the-mesh""#));
    let sent = test.sent();
    assert!(sent.len() == 1 && sent[0].contains(r#""path":"/send","body":{"a": 1}"#), "{sent:?}");
    test.answer(2, r#"{"ok":true}"#);
    assert_eq!(test.told(), [(1, Some((200, r#"{"ok":true}"#.into())))]);
    let (waits, effects) = test.ask(1, "/reload", "own", "");
    assert!(!waits && effects.reload && test.sent().is_empty());
    // Its own token stops the relay; another one is nothing here.
    let (waits, effects) = test.ask(1, "/shutdown", "own", "");
    assert!(!waits && effects.shutdown && test.sent().is_empty());
    let (waits, effects) = test.ask(2, "/shutdown", "another", "");
    assert!(!waits && !effects.shutdown && test.sent().is_empty());
    let statuses: Vec<u16> = test.told().iter().map(|told| told.1.as_ref().unwrap().0).collect();
    assert_eq!(statuses, [200, 200, 401]);
}

#[test]
fn what_was_sent_is_in_doubt_when_the_connection_ends_and_what_was_not_is_refused() {
    let mut test = Test::connected();
    // For whom the hub is tried again.
    let peer = PeerId::from_random([1; 16]);
    test.frame(&ToRelay::Connect { peer, path: "/nowhere/peers/a.sock".into() });
    assert_eq!(test.turn(|_| {}).connect.len(), 1);
    test.relay.hear(News::Up(peer, true), test.now);
    test.ask(1, "/send", "own", "{}");
    assert_eq!(test.sent().len(), 2, "the way to the peer, too");
    test.ask(2, "/send", "own", "{}");
    test.relay.uplink.disconnected("the cable is cut", test.now.mono, 0);
    test.turn(|_| {});
    let told = test.told();
    assert_eq!((told.len(), &told[0]), (2, &(1, None)));
    let (status, body) = told[1].1.as_ref().unwrap();
    assert_eq!((told[1].0, *status), (2, 503));
    assert!(body.contains("hub_unreachable") && body.contains("the cable is cut"), "{body}");
    assert!(!test.ask(3, "/send", "own", "{}").0, "nobody waits for what is not there");
}

#[test]
fn a_socket_that_is_not_in_this_directory_is_refused_here() {
    let mut test = Test::connected();
    let body = r#"{"pid":1,"projectPath":"/w","udsPath":"/elsewhere/a.sock"}"#;
    assert!(!test.ask(1, "/register", "own", body).0 && test.sent().is_empty());
    let (status, told) = test.told().remove(0).1.unwrap();
    assert!(status == 400 && told.contains("/nowhere/peers"), "{told}");
    let me = std::process::id();
    let body = format!(r#"{{"pid":1,"projectPath":"/w","agentPid":{me}}}"#);
    assert!(test.ask(1, "/register", "own", &body).0);
    let sent = test.sent();
    let start = start_mark(me).unwrap_or_default();
    assert!(sent[0].contains(&format!(r#""agentStart":"{start}""#)), "{sent:?}");
}

#[test]
fn whoever_goes_cancels_what_it_asked_and_says_what_became_of_a_lock() {
    let mut test = Test::connected();
    let asker = |test: &Test, client: usize| Asker::Http(test.keys[client]);
    test.ask(1, "/lock", "own", "{}");
    test.ask(2, "/lock", "own", "{}");
    test.sent();
    let one = asker(&test, 1);
    test.relay.hung_up(one, test.now.mono);
    assert_eq!(test.sent(), [r#"{"id":2,"cancel":true}"#]);
    test.answer(3, r#"{"ok":true,"granted":true}"#);
    let (two, later) = (asker(&test, 2), test.now.mono.plus(Duration::from_millis(5)));
    test.relay.closed(two, later, &mut || Some(Cut::Reset));
    assert_eq!(test.sent(), [r#"{"id":3,"lost":true,"after":5}"#]);
}

#[test]
fn the_hub_is_told_of_a_client_that_has_gone_before_it_is_given_anything() {
    let mut test = Test::connected();
    test.ask_and_stay((1, false), "/messages", "own", "{}");
    let sent = test.sent();
    assert!(sent[0].contains(r#""gone":true"#), "{sent:?}");
    assert_eq!(sent[1..], [r#"{"id":2,"cancel":true}"#]);
    test.ask(2, "/messages", "own", "{}");
    let sent = test.sent();
    assert!(sent.len() == 1 && !sent[0].contains("gone"), "{sent:?}");
}

#[test]
fn the_peers_of_this_machine_hear_of_its_end_from_here() {
    let mut test = Test::connected();
    test.ask(1, "/messages", "own", r#"{"wait":5}"#);
    let effects = test.relay.goodbye("idle", test.now);
    assert_eq!(effects.pushes[0].frame.told(), &Pushed::Shutdown("idle".into()));
    // It was not sent.
    assert_eq!(test.relay.end_held(), [Asker::Http(test.keys[1])]);
    assert!(test.relay.is_idle(&|_| true));
}
