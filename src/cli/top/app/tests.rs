//! The state, with answers as a broker gives them, and no broker.

use serde_json::{Value, json};

use super::*;
use crate::cli::top::keys::Key;
use crate::client::Refused;

/// A screen on which everything has been answered that was asked, by a mesh told in JSON.
pub(in crate::cli::top) struct Scene {
    pub(in crate::cli::top) app: App,
    pub(in crate::cli::top) peers: Vec<Value>,
    pub(in crate::cli::top) locks: Vec<Value>,
    /// All events; those not read yet are given to the next reading.
    pub(in crate::cli::top) events: Vec<Value>,
    /// What is answered to looks at messages.
    pub(in crate::cli::top) messages: Vec<Value>,
    read: usize,
    /// All that was asked, but for events that did not come.
    pub(in crate::cli::top) asked: Vec<(Purpose, Request)>,
    reading: bool,
}

pub(in crate::cli::top) const START: i64 = 1_800_000_000_000;

pub(in crate::cli::top) fn uuid(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

fn message_id(seq: u64) -> String {
    crate::model::MessageId::new(Seq(seq), [7; 16]).to_string()
}

impl Scene {
    pub(in crate::cli::top) fn new(size: (u16, u16)) -> Self {
        let now = Now {
            wall: Timestamp(START),
            mono: Monotonic(Duration::from_secs(100)),
            ..Now::default()
        };
        Self {
            app: App::new(size, Some("/home/ann".into()), now),
            peers: Vec::new(),
            locks: Vec::new(),
            events: Vec::new(),
            messages: Vec::new(),
            read: 0,
            asked: Vec::new(),
            reading: false,
        }
    }

    pub(in crate::cli::top) fn peer(&mut self, number: u64, name: &str, more: &Value) {
        let at = Timestamp(START - 120_000);
        let mut peer = json!({
            "id": uuid(number), "name": name, "pid": 1, "projectPath": "/home/ann/web",
            "gitRoot": null, "gitBranch": "main", "agentType": "codex", "summary": "at work",
            "udsPath": null, "startedAt": at, "lastHeartbeat": at, "status": "active",
            "reach": "wakes", "locks": 0,
        });
        peer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.peers.push(peer);
    }

    fn next_seq(&self) -> u64 {
        self.events.len() as u64 + 1
    }

    pub(in crate::cli::top) fn event(&mut self, kind: &str, payload: &Value) -> u64 {
        let seq = self.next_seq();
        self.events.push(json!({
            "id": message_id(seq), "type": kind, "payload": payload.to_string(),
            "emittedBy": null, "createdAt": self.app.now.wall, "seq": seq,
        }));
        seq
    }

    /// A message, and its text for those who look.
    pub(in crate::cli::top) fn message(&mut self, from: u64, to: Option<u64>, text: &str) -> u64 {
        let (id, from, to) = (message_id(self.next_seq()), uuid(from), to.map(uuid));
        let seq = self
            .event("message_received", &json!({"messageId": id, "fromPeer": from, "toPeer": to}));
        let at = self.app.now.wall;
        self.messages.push(json!({
            "id": id, "handle": crate::model::Handle::of(Seq(seq)), "fromPeer": from, "fromName": "someone", "toPeer": to, "type": "text",
            "payload": text, "createdAt": at, "delivered": true, "deliveredAt": at.plus_ms(3),
            "readAt": null, "seq": seq,
        }));
        seq
    }

    pub(in crate::cli::top) fn lock(&mut self, path: &str, more: &Value) {
        let mut lock = json!({
            "filePath": path, "lockedBy": uuid(1), "lockedByName": "holder",
            "lockedAt": Timestamp(START), "expiresAt": Timestamp(START + 600_000),
            "reason": null, "fence": 3 + self.locks.len(),
        });
        lock.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.locks.push(lock);
    }

    /// Answers what is asked, until there is nothing more.
    pub(in crate::cli::top) fn settle(&mut self) {
        loop {
            if self.reading && self.read < self.events.len() {
                self.answer_events();
            }
            let Some((_, purpose, request)) = self.app.poll() else { return };
            if purpose == Purpose::Events {
                self.reading = true;
                if let Request::ReadEvents(read) = &request
                    && read.wait == 0
                {
                    self.answer_events();
                }
                continue;
            }
            self.asked.push((purpose.clone(), request));
            let body = match &purpose {
                Purpose::Peers => json!({"peers": self.peers}),
                Purpose::Locks => json!({"locks": self.locks}),
                Purpose::Status => json!({
                    "version": "1.0.0", "uptime": 60, "pid": 1, "port": 7899, "role": "broker",
                    "peers": {"active": 1, "stale": 0, "total": 1},
                    "messages": {"total": 3, "undelivered": 1, "unread": 2},
                    "locks": {"active": 0}, "state": {"entries": 0}, "events": {"total": 1},
                    "push": {"connected": 0},
                    "db": {"sizeBytes": 1, "walSizeBytes": 1, "recoveredFrom": null},
                }),
                Purpose::Texts(look) | Purpose::Full(look) => {
                    let wanted = look.first.0..=look.last.0;
                    let found = self.messages.iter().filter(|message| {
                        wanted.contains(&message["seq"].as_u64().unwrap())
                            && message["fromPeer"] == look.sender.to_string()
                    });
                    json!({"messages": found.collect::<Vec<_>>(), "remaining": 0})
                }
                Purpose::Send(_) => {
                    json!({"messageId": message_id(9), "delivered": false, "pushed": true})
                }
                Purpose::Unlock(_) => json!({"ok": true}),
                Purpose::Events => unreachable!("answered above"),
            };
            self.app.handle_result(purpose, Ok(body.to_string().into_bytes()));
        }
    }

    fn answer_events(&mut self) {
        self.reading = false;
        let new = &self.events[self.read..];
        let body = json!({"events": new, "lastSeq": self.events.len(), "firstSeq": 1});
        self.read = self.events.len();
        self.app.handle_result(Purpose::Events, Ok(body.to_string().into_bytes()));
    }

    /// So many ms later.
    pub(in crate::cli::top) fn pass(&mut self, ms: u64) {
        let wall = self.app.now.wall.plus_ms(i64::try_from(ms).unwrap());
        let mono = self.app.now.mono.plus(Duration::from_millis(ms));
        self.app.handle_time(Now { wall, mono, ..Now::default() });
        self.settle();
    }

    pub(in crate::cli::top) fn press(&mut self, keys: &str) {
        for c in keys.chars() {
            let key = match c {
                '\n' => Key::Enter,
                '\u{1b}' => Key::Escape,
                '↓' => Key::Down,
                '↑' => Key::Up,
                c => Key::Char(c),
            };
            self.app.handle_key(&key);
        }
        self.settle();
    }

    fn fail(&mut self, purpose: Purpose, error: ClientError) {
        self.app.handle_result(purpose, Err(error));
    }

    fn asked_for(&self, is_it: impl Fn(&Purpose) -> bool) -> usize {
        self.asked.iter().filter(|(purpose, _)| is_it(purpose)).count()
    }
}

fn refused(status: u16, word: &str) -> ClientError {
    ClientError::Refused(Box::new(Refused {
        status,
        word: word.into(),
        message: "no".into(),
        body: Vec::new(),
        retry_after: None,
    }))
}

#[test]
fn nothing_is_asked_when_nothing_happens() {
    let mut scene = Scene::new((80, 24));
    scene.peer(1, "one", &json!({}));
    scene.settle();
    assert!(scene.app.is_live());
    let asked = scene.asked.len();
    // What is left to wait for is the next look at the peers, and what is drawn.
    assert!(scene.app.deadline().unwrap() > Duration::from_secs(5));
    scene.pass(5_000);
    assert_eq!(scene.asked.len(), asked);
    scene.pass(10_000);
    assert!(scene.asked.len() <= asked + 2);
}

#[test]
fn a_message_is_looked_at_until_it_is_read() {
    let mut scene = Scene::new((80, 24));
    scene.peer(1, "one", &json!({}));
    scene.settle();
    scene.asked.clear();
    let seq = scene.message(1, Some(2), "text");
    scene.settle();
    let (_, look) = scene.asked.iter().find(|(p, _)| matches!(p, Purpose::Texts(_))).unwrap();
    let Request::Fetch(fetch) = look else { panic!("{look:?}") };
    // In its sender's list, and nothing is marked.
    assert!(fetch.peek && fetch.peer_id.as_deref() == Some(&uuid(1)));
    assert_eq!((fetch.after, fetch.before), (Some(Seq(seq - 1)), Some(Seq(seq + 1))));
    let row = scene.app.picture.message(Seq(seq)).unwrap();
    assert_eq!(row.text, Text::Known("text".into(), crate::model::MessageKind::Text));
    assert_eq!(row.marks, Marks::Direct(crate::model::Stage::Delivered));
    assert_eq!(scene.app.picture.deliveries.bars(9), [3]);

    // Less and less often.
    scene.asked.clear();
    for _ in 0..120 {
        scene.pass(1000);
    }
    let looks = scene.asked_for(|purpose| matches!(purpose, Purpose::Texts(_)));
    assert!((3..12).contains(&looks), "{looks}");
    let id = message_id(seq);
    scene.event(
        "message_read",
        &json!({"messageIds": [id], "fromPeer": uuid(1), "readBy": uuid(2)}),
    );
    scene.settle();
    let row = scene.app.picture.message(Seq(seq)).unwrap();
    assert_eq!(row.marks, Marks::Direct(crate::model::Stage::Read));
    scene.asked.clear();
    for _ in 0..120 {
        scene.pass(1000);
    }
    assert_eq!(scene.asked_for(|purpose| matches!(purpose, Purpose::Texts(_))), 0);
}

#[test]
fn who_has_read_a_broadcast_and_what_nobody_will_read_is_said_in_words() {
    let mut scene = Scene::new((80, 24));
    for (number, name) in [(1, "ann"), (2, "bob"), (3, "eve")] {
        scene.peer(number, name, &json!({}));
    }
    scene.settle();
    let seq = scene.message(1, None, "to all");
    let id = message_id(seq);
    for reader in [2, 3, 2] {
        let read = json!({"messageIds": [id], "fromPeer": uuid(1), "readBy": uuid(reader)});
        scene.event("message_read", &read);
    }
    let lost = json!({"messageIds": [id], "fromPeer": uuid(1), "toPeer": uuid(2)});
    scene.event("message_undeliverable", &lost);
    scene.settle();
    let row = scene.app.picture.message(Seq(seq)).unwrap();
    let readers: Vec<String> =
        row.read_by.iter().map(|party| scene.app.picture.name(party)).collect();
    assert_eq!(readers, ["bob", "eve"]);
    let handle = crate::model::Handle::of(Seq(seq));
    let said = &scene.app.picture.events.back().unwrap().text;
    assert_eq!(**said, *format!("nobody will read {handle} from ann to bob, who has left"));
}

#[test]
fn a_sender_that_has_gone_is_found_in_the_inbox() {
    let mut scene = Scene::new((80, 24));
    scene.settle();
    let direct = scene.message(1, Some(2), "text");
    let broadcast = scene.message(1, None, "to all");
    scene.answer_events();
    let Some((_, purpose @ Purpose::Texts(_), _)) = std::iter::from_fn(|| scene.app.poll())
        .find(|(_, purpose, _)| matches!(purpose, Purpose::Texts(_)))
    else {
        panic!("nothing is asked")
    };
    scene.fail(purpose, refused(404, "peer_not_found"));
    for _ in 0..9 {
        scene.pass(1000);
    }
    let fetches = scene.asked.iter().filter_map(|(_, request)| match request {
        Request::Fetch(fetch) => fetch.peer_id.as_deref(),
        _ => None,
    });
    assert!(fetches.clone().all(|whose| whose == uuid(2)) && fetches.count() > 0);
    let text = |seq| &scene.app.picture.message(Seq(seq)).unwrap().text;
    assert!(matches!(text(direct), Text::Known(..)));
    assert_eq!(*text(broadcast), Text::Gone);
}

#[test]
fn under_load_few_requests_are_made() {
    let mut scene = Scene::new((80, 24));
    for peer in 1..=200 {
        scene.peer(peer, &format!("peer-{peer}"), &json!({}));
    }
    scene.settle();
    let mut reads = 0;
    scene.asked.clear();
    // A thousand messages a second for ten seconds.
    for ms in 0..10_000_u64 {
        scene.message(ms % 200 + 1, Some(ms % 199 + 1), "load");
        let read = scene.read;
        scene.pass(1);
        reads += usize::from(scene.read > read);
    }
    let asked = scene.asked.len();
    let looks = scene.asked_for(|purpose| matches!(purpose, Purpose::Texts(_)));
    assert!((30..60).contains(&reads), "{reads}");
    assert!(asked - looks < 35, "{asked} and {looks}");
    // Nothing is kept from its turn by the rest.
    assert!((50..150).contains(&looks), "{looks}");
    assert!(scene.asked_for(|purpose| *purpose == Purpose::Status) >= 5);
    assert!(scene.app.picture.messages.len() <= picture::ROWS_MAX);
    // No sender's own rate is used up.
    for peer in 1..=200 {
        let looks = scene.asked_for(
            |purpose| matches!(purpose, Purpose::Texts(look) if look.sender.to_string() == uuid(peer)),
        );
        assert!(looks <= 10, "{looks}");
    }
    scene.pass(300);
    let bars = scene.app.picture.rate.bars(5, scene.app.now.wall);
    assert!(bars.iter().all(|count| *count == 1000), "{bars:?}");
}

#[test]
fn a_broker_that_has_gone_is_waited_for() {
    let mut scene = Scene::new((80, 24));
    scene.peer(1, "one", &json!({}));
    scene.settle();
    scene.reading = false;
    scene.fail(Purpose::Events, ClientError::NoBroker);
    assert!(!scene.app.is_live());
    assert_eq!(scene.app.poll(), None);
    let wait = scene.app.deadline().unwrap();
    assert!(wait <= Duration::from_secs(1) && wait > Duration::from_millis(500), "{wait:?}");
    // A message typed meanwhile is sent afterwards.
    scene.press("1↓shello\n");
    assert_eq!(scene.asked_for(|purpose| matches!(purpose, Purpose::Send(_))), 0);
    scene.pass(1000);
    assert!(scene.app.is_live());
    assert_eq!(scene.asked_for(|purpose| matches!(purpose, Purpose::Send(_))), 1);
    // Another database.
    scene.pass(3000);
    scene.message(1, Some(2), "before");
    scene.settle();
    scene.fail(Purpose::Events, refused(400, "invalid_request"));
    assert!(scene.app.picture.messages.is_empty());
    assert!(scene.app.notice.as_ref().unwrap().0.contains("begun anew"));
    assert_eq!(scene.app.take_failure(), None);
    scene.fail(Purpose::Events, ClientError::Protocol { reason: "odd".into() });
    assert!(scene.app.take_failure().is_some());
}

#[test]
fn when_it_is_refused_for_its_rate_it_is_quiet() {
    let mut scene = Scene::new((80, 24));
    scene.settle();
    scene.reading = false;
    scene.fail(Purpose::Events, refused(429, "rate_limited"));
    assert_eq!(scene.app.poll(), None);
    assert!(scene.app.is_live());
    assert_eq!(scene.app.deadline().unwrap(), Duration::from_secs(1));
}

#[test]
fn a_selected_row_stays_when_others_come_and_go() {
    let mut scene = Scene::new((80, 24));
    scene.settle();
    let first = scene.message(1, Some(2), "a");
    scene.message(1, Some(2), "b");
    scene.settle();
    assert_eq!(scene.app.selected(), None);
    scene.press("↓↓");
    assert_eq!(scene.app.selected(), Some(Item::Message(Seq(first))));
    for _ in 0..50 {
        scene.message(1, Some(2), "more");
    }
    scene.pass(1000);
    assert_eq!(scene.app.selected(), Some(Item::Message(Seq(first))));
    let rows = scene.app.rows(Pane::Messages);
    let (index, shown_from) = scene.app.window(Pane::Messages, &rows, 6);
    assert_eq!((index, shown_from), (Some(51), 46));
    scene.press("g");
    assert_eq!(scene.app.selected(), None);
    // A lock that is freed gives its place to the next.
    for path in ["/a", "/b", "/c"] {
        scene.lock(path, &json!({}));
    }
    scene.event("file_locked", &json!({"filePath": "/c"}));
    scene.pass(3000);
    scene.press("3↓↓");
    assert_eq!(scene.app.selected(), Some(Item::Lock(Seq(4))));
    scene.locks.remove(1);
    scene.event("file_unlocked", &json!({"filePath": "/b"}));
    scene.pass(3000);
    assert_eq!(scene.app.selected(), Some(Item::Lock(Seq(5))));
}

#[test]
fn a_paused_screen_stands_still_and_then_goes_on() {
    let mut scene = Scene::new((80, 24));
    scene.settle();
    for _ in 0..10 {
        scene.message(1, Some(2), "before");
    }
    scene.settle();
    scene.press(" ");
    let rows = scene.app.rows(Pane::Messages);
    for _ in 0..(3 * picture::ROWS_MAX) {
        scene.message(1, Some(2), "after");
        if scene.events.len().is_multiple_of(500) {
            scene.pass(1000);
        }
    }
    scene.pass(1000);
    assert_eq!(scene.app.rows(Pane::Messages), rows);
    assert!(scene.app.picture.messages.len() <= 2 * picture::ROWS_MAX);
    scene.press(" ");
    assert_eq!(scene.app.rows(Pane::Messages).len(), picture::ROWS_MAX);
    let newest = scene.app.picture.messages.back().unwrap().seq;
    assert_eq!(newest, Seq(scene.events.len() as u64));
}

#[test]
fn locks_are_freed_after_a_question_only() {
    let mut scene = Scene::new((80, 24));
    scene.lock("/a", &json!({}));
    scene.lock("/mine", &json!({"lockedBy": "cli"}));
    scene.settle();
    scene.press("u");
    assert!(scene.app.notice.as_ref().is_some_and(|(_, is_bad)| *is_bad));
    let unlocks = |scene: &Scene| {
        let unlocks = scene.asked.iter().filter_map(|(_, request)| match request {
            Request::Unlock { path, force, .. } => {
                assert!(path.exact);
                Some((path.file_path.to_string(), *force))
            }
            _ => None,
        });
        unlocks.collect::<Vec<_>>()
    };
    scene.press("3↓u");
    assert!(matches!(scene.app.mode, Mode::Confirm { .. }));
    scene.press("n");
    scene.press("u\n");
    scene.press("u\u{1b}");
    assert!(unlocks(&scene).is_empty());
    scene.press("uy");
    scene.press("↓uy");
    assert_eq!(unlocks(&scene), [("/a".into(), true), ("/mine".into(), false)]);
}

#[test]
fn a_lock_over_clones_is_freed_in_its_own_repository() {
    // On another machine, where the path of the repository means nothing here, and another one of the
    // same path in a repository of its own.
    let (mut scene, hash) = (Scene::new((80, 24)), "5".repeat(64));
    scene.lock("repo:a.rs", &json!({"repoId": "/x/.git"}));
    scene.lock("repo:a.rs", &json!({"repoId": "/y/.git", "repoHash": hash}));
    scene.settle();
    scene.press("3↓↓uy");
    let asked = scene.asked.iter().find_map(|(_, request)| match request {
        Request::Unlock { path, .. } => Some(path.clone()),
        _ => None,
    });
    let asked = asked.unwrap();
    assert_eq!(asked.repo_id.as_deref(), Some("/y/.git"));
    assert_eq!(asked.repo_hash.map(|hash| hash.to_string()), Some(hash));
    assert!(!asked.exact);
}

#[test]
fn typed_texts_are_bounded_and_can_be_given_up() {
    let mut scene = Scene::new((80, 24));
    scene.peer(1, "one", &json!({}));
    scene.settle();
    scene.press("1↓s");
    scene.app.handle_key(&Key::Paste("漢".repeat(crate::limits::PAYLOAD_BYTES_MAX)));
    let Mode::Compose(typing) = &scene.app.mode else { panic!("not typing") };
    assert!(typing.text.len() <= crate::limits::PAYLOAD_BYTES_MAX);
    scene.app.handle_key(&Key::Ctrl('u'));
    scene.press("two words");
    scene.app.handle_key(&Key::Ctrl('w'));
    scene.press("x\n");
    let sent = scene.asked.iter().find_map(|(_, request)| match request {
        Request::Send(send) => Some((send.to_peer.to_string(), send.payload.to_string())),
        _ => None,
    });
    assert_eq!(sent, Some((uuid(1), "two x".into())));
    scene.press("s \n");
    assert_eq!(scene.app.mode, Mode::Normal);
    assert_eq!(scene.asked_for(|purpose| matches!(purpose, Purpose::Send(_))), 1);
    // A letter is a letter while one types.
    scene.press("sq");
    assert_eq!(scene.app.take_wish(), None);
    scene.press("\u{1b}q");
    assert_eq!(scene.app.take_wish(), Some(Wish::Quit));
}

#[test]
fn more_than_can_be_read_is_skipped_and_told() {
    let mut scene = Scene::new((80, 24));
    scene.settle();
    for round in 0..6_u64 {
        let events: Vec<Value> = (1..=1000)
            .map(|number| {
                let seq = round * 1000 + number;
                json!({
                    "id": message_id(seq), "type": "a.b", "payload": "1", "emittedBy": null,
                    "createdAt": Timestamp(START), "seq": seq,
                })
            })
            .collect();
        let body = json!({"events": events, "lastSeq": (round + 1) * 1000, "firstSeq": 1});
        scene.app.handle_result(Purpose::Events, Ok(body.to_string().into_bytes()));
        let (_, _, request) = std::iter::from_fn(|| scene.app.poll())
            .find(|(line, ..)| *line == Line::Events)
            .unwrap();
        let Request::ReadEvents(read) = request else { panic!("{request:?}") };
        assert_eq!(read.after.is_none(), round == 3, "{round}");
    }
    assert!(scene.app.notice.as_ref().unwrap().0.contains("skipped"));
}
