use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use super::*;
use crate::broker::uplink::{Asked, Output};
use crate::files::tests::TempDir;
use crate::lan::channel::{CLOSE_POLICY, Hub, Way};
use crate::lan::key::MachineKey;
use crate::model::{MachineName, Monotonic, Timestamp};
use crate::wire::frames::{Answer, Hello, ToRelay};

const ASKER: Asker = Asker::Remote { machine: crate::broker::table::Key::SINGLE, id: 1 };

/// A relay and a hub over a socket, with their real keys.
struct Test {
    uplink: Uplink<Asker>,
    line: UplinkChannel<TcpStream>,
    hub: Channel<TcpStream>,
    /// What the hub has heard.
    heard: Vec<String>,
    now: Now,
    _dir: TempDir,
}

impl Test {
    fn new() -> Self {
        let dir = TempDir::new();
        let key = |name: &str| MachineKey::load_or_make(&dir.path().join(name)).unwrap();
        let (hub, machine) = (key("hub"), key("machine"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relays = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (hubs, _) = listener.accept().unwrap();
        for stream in [&relays, &hubs] {
            stream.set_nonblocking(true).unwrap();
        }
        let way = Way::Joined(hub.id());
        let name = MachineName::new("laptop");
        let mut channel = Channel::of_relay(relays, &machine, way, name, "1.0.0").unwrap();
        let hub = Arc::new(Hub::new(&hub, None).unwrap());
        let mut hub = Channel::of_hub(hubs, &hub).unwrap();
        while !channel.is_open() {
            channel.advance().unwrap();
            if let Some(Event::Upgrade(_)) = hub.advance().unwrap() {
                hub.accept();
            }
            hub.flush();
        }
        let now = Now { wall: Timestamp(5), ..Now::default() };
        let mut uplink = Uplink::new("laptop", Monotonic::default());
        uplink.want(true, now.mono);
        assert_eq!(uplink.next_output(), Some(Output::Dial));
        uplink.connected(now.mono, now.wall);
        Self { uplink, line: UplinkChannel::new(channel), hub, heard: Vec::new(), now, _dir: dir }
    }

    /// Lets both ends go on until `is_done`; gives what the relay's end came to.
    fn until(&mut self, is_done: impl Fn(&mut Self) -> bool) -> Progress {
        loop {
            let progress = self.line.go_on(&mut self.uplink, self.now, 0);
            if let Ok(Some(Event::Text(text))) = self.hub.advance() {
                self.heard.push(text.to_owned());
            }
            self.hub.flush();
            if is_done(self) || progress == Progress::Over {
                return progress;
            }
            std::thread::yield_now();
        }
    }

    fn say(&mut self, frame: &ToRelay<'_>) {
        self.hub.send(&frame.text()).unwrap();
    }

    fn greet(&mut self) {
        self.until(|test| test.heard.len() == 1);
        assert!(self.heard[0].starts_with(r#"{"hello":"#), "{:?}", self.heard);
        let version = env!("CARGO_PKG_VERSION").into();
        let hello = Hello { version, name: "hub".into(), time: Timestamp(5), you: None };
        self.say(&ToRelay::Hello(hello));
        self.until(|test| test.heard.len() == 2);
        self.heard.clear();
    }

    fn ask(&mut self) {
        let asked = Asked {
            token: None,
            method: "POST",
            path: "/send",
            body: br#"{"a": 1}"#,
            agent_start: None,
            has_gone: false,
        };
        self.uplink.ask(ASKER, asked, self.now.mono).unwrap();
    }
}

#[test]
fn what_is_asked_here_is_answered_there() {
    let mut test = Test::new();
    test.greet();
    test.ask();
    test.until(|test| test.heard.len() == 1);
    assert!(test.heard[0].contains(r#""body":{"a": 1}"#), "{:?}", test.heard);
    let (now, retry_after, allow) = (Timestamp(9), None, None);
    let answer = Answer { id: 1, status: 200, now, body: r#"{"ok":true}"#, retry_after, allow };
    test.say(&ToRelay::Answer(answer));
    test.until(|test| test.uplink.is_idle(|_| true));
    let Some(Output::Answer(ASKER, answered)) = test.uplink.next_output() else { panic!() };
    assert_eq!((answered.status, &*answered.body), (200, r#"{"ok":true}"#));
}

#[test]
fn an_end_at_either_side_is_known_and_leaves_what_was_sent_in_doubt() {
    let mut test = Test::new();
    test.greet();
    test.ask();
    test.until(|test| test.heard.len() == 1);
    test.hub.close(CLOSE_POLICY, "the hub is being stopped");
    assert_eq!(test.until(|_| false), Progress::Over);
    assert_eq!(test.uplink.next_output(), Some(Output::Drop(ASKER)));
    let standing = test.uplink.standing();
    let error = standing.error.unwrap();
    assert!(!standing.connected && error.contains("the hub is being stopped"), "{error}");

    let mut test = Test::new();
    test.greet();
    let words = ConnectionStep::HangUp("enough".into());
    test.line.carry_out(&words, &mut test.uplink, test.now, 0);
    let mut ended = None;
    while ended.is_none() {
        ended = test.hub.advance().err();
        std::thread::yield_now();
    }
    assert!(ended.unwrap().to_string().contains("enough"));
    assert!(!test.uplink.standing().connected);
}
