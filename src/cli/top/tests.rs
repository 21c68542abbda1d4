//! The state, with answers as a broker gives them, and no broker.

mod screens;

use std::time::Duration;

use serde_json::{Value, json};
use terminput::KeyCode;

use super::app::{App, Mode, Wish};
use super::asks::Purpose;
use super::keys::Key;
use super::panes::{Pane, RowId};
use super::picture::ROWS_MAX;
use crate::api::Request;
use crate::client::{ClientError, Refused};
use crate::model::{Monotonic, Now, Seq, Timestamp};

/// A screen on which everything has been answered that was asked, by a mesh told in JSON.
pub(super) struct Scene {
    pub(super) app: App,
    pub(super) peers: Vec<Value>,
    pub(super) locks: Vec<Value>,
    /// All events; those not read yet are given to the next reading.
    pub(super) events: Vec<Value>,
    /// What is answered to looks at messages.
    pub(super) messages: Vec<Value>,
    read: usize,
    /// All that was asked, but for events that did not come.
    pub(super) asked: Vec<(Purpose, Request)>,
    reading: bool,
}

pub(super) const START: i64 = 1_800_000_000_000;

pub(super) fn uuid(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

fn message_id(seq: u64) -> String {
    crate::model::MessageId::new(Seq(seq), [7; 16]).to_string()
}

impl Scene {
    pub(super) fn new(size: (u16, u16)) -> Self {
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

    pub(super) fn peer(&mut self, number: u64, name: &str, more: &Value) {
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

    pub(super) fn event(&mut self, kind: &str, payload: &Value) -> u64 {
        let seq = self.next_seq();
        self.events.push(json!({
            "id": message_id(seq), "type": kind, "payload": payload.to_string(),
            "emittedBy": null, "createdAt": self.app.now.wall, "seq": seq,
        }));
        seq
    }

    /// A message, and its text for those who look.
    pub(super) fn message(&mut self, from: u64, to: Option<u64>, text: &str) -> u64 {
        self.message_from_to(from, to.map(uuid).as_deref(), text)
    }

    pub(super) fn message_to_cli(&mut self, from: u64, text: &str) -> u64 {
        self.message_from_to(from, Some("cli"), text)
    }

    fn message_from_to(&mut self, from: u64, to: Option<&str>, text: &str) -> u64 {
        let (id, from) = (message_id(self.next_seq()), uuid(from));
        let seq = self
            .event("message_received", &json!({"messageId": id, "fromPeer": from, "toPeer": to}));
        let at = self.app.now.wall;
        self.messages.push(json!({
            "id": id, "handle": crate::model::Handle::of(Seq(seq)), "fromPeer": from, "fromName": "someone", "toPeer": to, "type": "text",
            "payload": text, "createdAt": at, "delivered": true, "deliveredAt": at.plus_ms(3),
            "readAt": null, "seq": seq, "stage": "delivered",
        }));
        if to.is_none() {
            let more = json!({"recipients": 3, "deliveredCount": 3, "readCount": 0});
            let last = self.messages.last_mut().unwrap().as_object_mut().unwrap();
            last.extend(more.as_object().unwrap().clone());
        }
        seq
    }

    pub(super) fn lock(&mut self, path: &str, more: &Value) {
        let mut lock = json!({
            "filePath": path, "lockedBy": uuid(1), "lockedByName": "holder",
            "lockedAt": Timestamp(START), "expiresAt": Timestamp(START + 600_000),
            "reason": null, "fence": 3 + self.locks.len(),
        });
        lock.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.locks.push(lock);
    }

    /// Answers what is asked, until there is nothing more.
    pub(super) fn settle(&mut self) {
        loop {
            if self.reading && self.read < self.events.len() {
                self.answer_events();
            }
            let Some((purpose, request)) = self.app.poll() else { return };
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
                Purpose::Messages(look) => {
                    let wanted = look.first.0..=look.last.0;
                    let found = self
                        .messages
                        .iter()
                        .filter(|message| wanted.contains(&message["seq"].as_u64().unwrap()));
                    json!({"messages": found.take(64).collect::<Vec<_>>()})
                }
                Purpose::Send(_) => {
                    json!({"messageId": message_id(9), "delivered": false, "pushed": true})
                }
                Purpose::Unlock(_) => json!({"ok": true}),
                Purpose::Events => unreachable!("answered above"),
            };
            self.app.handle_result(&purpose, Ok(body.to_string().into_bytes()));
        }
    }

    fn answer_events(&mut self) {
        self.reading = false;
        let new = &self.events[self.read..];
        let body = json!({"events": new, "lastSeq": self.events.len(), "firstSeq": 1});
        self.read = self.events.len();
        self.app.handle_result(&Purpose::Events, Ok(body.to_string().into_bytes()));
    }

    /// So many ms later.
    pub(super) fn pass(&mut self, ms: u64) {
        let wall = self.app.now.wall.plus_ms(i64::try_from(ms).unwrap());
        let mono = self.app.now.mono.plus(Duration::from_millis(ms));
        self.app.handle_time(Now { wall, mono, ..Now::default() });
        self.settle();
    }

    pub(super) fn press(&mut self, keys: &str) {
        for c in keys.chars() {
            let code = match c {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                '↓' => KeyCode::Down,
                '↑' => KeyCode::Up,
                c => KeyCode::Char(c),
            };
            self.app.handle_key(&Key::Code(code));
        }
        self.settle();
    }

    fn fail(&mut self, purpose: &Purpose, error: ClientError) {
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
    assert!(scene.app.asks.is_live);
    let asked = scene.asked.len();
    // What is left to wait for is the next look at the peers, and what is drawn.
    assert!(scene.app.deadline().unwrap() > Duration::from_secs(5));
    scene.pass(5_000);
    assert_eq!(scene.asked.len(), asked);
    scene.pass(10_000);
    assert!(scene.asked.len() <= asked + 2);
}

fn is_look(purpose: &Purpose) -> bool {
    matches!(purpose, Purpose::Messages(_))
}

#[test]
fn a_message_is_looked_at_until_it_is_read() {
    let mut scene = Scene::new((80, 24));
    scene.peer(1, "one", &json!({}));
    scene.settle();
    scene.asked.clear();
    let seq = scene.message(1, Some(2), "text\nmore");
    scene.settle();
    let (_, look) = scene.asked.iter().find(|(purpose, _)| is_look(purpose)).unwrap();
    let Request::History(history) = look else { panic!("{look:?}") };
    assert_eq!((history.after, history.before), (Some(Seq(seq - 1)), Some(Seq(seq + 1))));
    let row = scene.app.picture.message(Seq(seq)).unwrap();
    assert_eq!(&*row.info.as_ref().unwrap().payload, "text");
    assert!(!row.is_settled());
    assert_eq!(scene.app.picture.deliveries.bars(), [3]);

    // Less and less often.
    scene.asked.clear();
    for _ in 0..120 {
        scene.pass(1000);
    }
    let looks = scene.asked_for(is_look);
    assert!((3..12).contains(&looks), "{looks}");
    scene.messages[0]["stage"] = json!("read");
    let read = json!({"messageIds": [message_id(seq)], "fromPeer": uuid(1), "readBy": uuid(2)});
    scene.event("message_read", &read);
    scene.settle();
    assert!(scene.app.picture.message(Seq(seq)).unwrap().is_settled());
    scene.asked.clear();
    for _ in 0..120 {
        scene.pass(1000);
    }
    assert_eq!(scene.asked_for(is_look), 0);
}

#[test]
fn a_message_that_is_open_is_looked_at_more_often() {
    let mut scene = Scene::new((80, 24));
    scene.settle();
    let seq = scene.message(1, Some(2), "text\nmore");
    for _ in 0..60 {
        scene.pass(1000);
    }
    assert_eq!(scene.app.full, None);
    scene.asked.clear();
    scene.press("\n");
    assert_eq!(&*scene.app.full.as_ref().unwrap().payload, "text\nmore");
    for _ in 0..20 {
        scene.pass(1000);
    }
    let looks = scene.asked_for(is_look);
    assert!((9..13).contains(&looks), "{looks}");
    scene.messages[0]["stage"] = json!("read");
    scene.pass(2000);
    scene.asked.clear();
    scene.pass(9000);
    assert_eq!(scene.asked_for(is_look), 0);
    assert_eq!(scene.app.full.as_ref().unwrap().seq, Seq(seq));
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
fn what_is_kept_no_longer_is_not_asked_for_again() {
    let mut scene = Scene::new((80, 24));
    scene.settle();
    let lost = scene.message(1, Some(2), "lost");
    let kept = scene.message(1, None, "kept");
    scene.messages.remove(0);
    scene.settle();
    let row = |scene: &Scene, seq| scene.app.picture.message(Seq(seq)).unwrap().clone();
    assert!(row(&scene, lost).is_gone && row(&scene, lost).is_settled());
    assert!(!row(&scene, kept).is_gone && row(&scene, kept).info.is_some());
    scene.asked.clear();
    scene.pass(5000);
    let looks = scene.asked.iter().filter_map(|(purpose, _)| match purpose {
        Purpose::Messages(look) => Some(look.first),
        _ => None,
    });
    assert!(looks.into_iter().all(|first| first == Seq(kept)));
    // A part of what was asked for says nothing about the rest.
    scene.pass(300);
    let first = scene.message(1, Some(2), "first");
    let second = scene.message(1, Some(2), "second");
    scene.answer_events();
    let (purpose, _) =
        std::iter::from_fn(|| scene.app.poll()).find(|(purpose, _)| is_look(purpose)).unwrap();
    let body = json!({"messages": [], "next": first}).to_string().into_bytes();
    scene.app.handle_result(&purpose, Ok(body));
    assert!(row(&scene, first).is_gone && !row(&scene, second).is_gone);
    scene.pass(1000);
    assert!(row(&scene, second).info.is_some());
}

#[test]
fn a_look_that_is_refused_is_not_repeated_at_once() {
    let mut scene = Scene::new((80, 24));
    scene.settle();
    scene.message(1, Some(2), "text");
    scene.answer_events();
    let (purpose, _) =
        std::iter::from_fn(|| scene.app.poll()).find(|(purpose, _)| is_look(purpose)).unwrap();
    scene.fail(&purpose, refused(403, "forbidden"));
    assert!(scene.app.notice.is_some());
    assert_eq!(std::iter::from_fn(|| scene.app.poll()).filter(|(it, _)| is_look(it)).count(), 0);
    assert!(scene.app.deadline().unwrap() > Duration::from_millis(500));
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
    let looks = scene.asked_for(is_look);
    assert!((30..60).contains(&reads), "{reads}");
    assert!((25..45).contains(&asked), "{asked}");
    // Nothing is kept from its turn by the rest.
    assert!(looks >= 8, "{looks}");
    assert!(scene.asked_for(|purpose| *purpose == Purpose::Status) >= 5);
    assert!(scene.asked_for(|purpose| *purpose == Purpose::Peers) >= 5);
    assert!(scene.app.picture.messages.len() <= ROWS_MAX);
    scene.pass(300);
    let bars = scene.app.picture.rate.bars(scene.app.now.wall);
    assert!(bars[55..].iter().all(|count| *count == 1000), "{bars:?}");
}

#[test]
fn a_broker_that_has_gone_is_waited_for() {
    let mut scene = Scene::new((80, 24));
    scene.peer(1, "one", &json!({}));
    scene.settle();
    scene.reading = false;
    scene.fail(&Purpose::Events, ClientError::NoBroker);
    assert!(!scene.app.asks.is_live);
    assert_eq!(scene.app.poll(), None);
    let wait = scene.app.deadline().unwrap();
    assert!(wait <= Duration::from_secs(1) && wait > Duration::from_millis(500), "{wait:?}");
    // A message typed meanwhile is sent afterwards.
    scene.press("1↓shello\n");
    assert_eq!(scene.asked_for(|purpose| matches!(purpose, Purpose::Send(_))), 0);
    scene.pass(1000);
    assert!(scene.app.asks.is_live);
    assert_eq!(scene.asked_for(|purpose| matches!(purpose, Purpose::Send(_))), 1);
    // Another database.
    scene.pass(3000);
    scene.message(1, Some(2), "before");
    scene.settle();
    scene.fail(&Purpose::Events, refused(400, "invalid_request"));
    assert!(scene.app.picture.messages.is_empty());
    assert!(scene.app.notice.as_ref().unwrap().0.contains("begun anew"));
    assert_eq!(scene.app.failure.take(), None);
    scene.fail(&Purpose::Events, ClientError::Protocol { reason: "odd".into() });
    assert!(scene.app.failure.take().is_some());
}

#[test]
fn when_it_is_refused_for_its_rate_it_is_quiet() {
    let mut scene = Scene::new((80, 24));
    scene.settle();
    scene.reading = false;
    scene.fail(&Purpose::Events, refused(429, "rate_limited"));
    assert_eq!(scene.app.poll(), None);
    assert!(scene.app.asks.is_live);
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
    assert_eq!(scene.app.selected(), Some(RowId::Message(Seq(first))));
    for _ in 0..50 {
        scene.message(1, Some(2), "more");
    }
    scene.pass(1000);
    assert_eq!(scene.app.selected(), Some(RowId::Message(Seq(first))));
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
    assert_eq!(scene.app.selected(), Some(RowId::Lock(Seq(4))));
    scene.locks.remove(1);
    scene.event("file_unlocked", &json!({"filePath": "/b"}));
    scene.pass(3000);
    assert_eq!(scene.app.selected(), Some(RowId::Lock(Seq(5))));
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
    for _ in 0..(3 * ROWS_MAX) {
        scene.message(1, Some(2), "after");
        if scene.events.len().is_multiple_of(500) {
            scene.pass(1000);
        }
    }
    scene.pass(1000);
    assert_eq!(scene.app.rows(Pane::Messages), rows);
    assert!(scene.app.picture.messages.len() <= 2 * ROWS_MAX);
    scene.press(" ");
    assert_eq!(scene.app.rows(Pane::Messages).len(), ROWS_MAX);
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
    assert_eq!(asked.git.repo_id.as_deref(), Some("/y/.git"));
    assert_eq!(asked.git.repo_hash.map(|hash| hash.to_string()), Some(hash));
    assert!(!asked.exact);
}

#[test]
fn typed_texts_are_bounded_and_can_be_given_up() {
    let mut scene = Scene::new((80, 24));
    scene.peer(1, "one", &json!({}));
    scene.settle();
    scene.press("1↓s");
    scene.app.handle_key(&Key::Paste("漢".repeat(crate::limits::PAYLOAD_BYTES_MAX)));
    let Mode::Compose { text, .. } = &scene.app.mode else { panic!("not typing") };
    assert!(!text.is_empty() && text.len() <= crate::limits::PAYLOAD_BYTES_MAX);
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
    assert_eq!(scene.app.wish.take(), None);
    scene.press("\u{1b}q");
    assert_eq!(scene.app.wish.take(), Some(Wish::Quit));
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
        scene.app.handle_result(&Purpose::Events, Ok(body.to_string().into_bytes()));
        let (_, request) = std::iter::from_fn(|| scene.app.poll())
            .find(|(purpose, _)| *purpose == Purpose::Events)
            .unwrap();
        let Request::ReadEvents(read) = request else { panic!("{request:?}") };
        assert_eq!(read.after.is_none(), round == 3, "{round}");
    }
    assert!(scene.app.notice.as_ref().unwrap().0.contains("skipped"));
}
