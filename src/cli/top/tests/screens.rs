//! Screens, read back from their cells.

use serde_json::json;
use terminput::KeyCode;
use unicode_width::UnicodeWidthStr;

use super::{START, Scene, uuid};
use crate::cli::top::keys::Key;
use crate::cli::top::view::draw;
use crate::model::{Now, Timestamp};

const SIZES: [(u16, u16); 9] =
    [(80, 24), (120, 40), (20, 5), (40, 8), (63, 17), (64, 18), (300, 100), (1, 1), (80, 9)];

/// The lines of a screen, without the spaces at their ends.
fn lines(scene: &Scene) -> Vec<String> {
    let frame = draw(&scene.app, true);
    let (width, height) = scene.app.size;
    (0..height)
        .map(|y| {
            let mut line = String::new();
            let mut x = 0;
            while x < width {
                let symbol = frame.buffer[(x, y)].symbol();
                line.push_str(symbol);
                x += u16::try_from(symbol.width()).unwrap().max(1);
            }
            line.trim_end().to_owned()
        })
        .collect()
}

fn scene(size: (u16, u16)) -> Scene {
    let mut scene = Scene::new(size);
    scene.peer(1, "webapp", &json!({"summary": "on the API", "reach": "next-turn"}));
    scene.peer(2, "silent", &json!({"status": "stale", "unread": 12}));
    scene.peer(3, "worker", &json!({"busy": true}));
    scene.lock("/home/ann/web/src/main.rs", &json!({"reason": "moving"}));
    scene.message(1, Some(2), "first\nsecond");
    scene.message(2, None, "to everyone");
    scene.event("build.done", &json!({"ok": true}));
    scene.settle();
    scene.pass(2000);
    scene
}

#[track_caller]
fn has(lines: &[String], words: &[&str]) {
    let found = lines.iter().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(found, "{words:?}:\n{}", lines.join("\n"));
}

#[test]
fn what_there_is_can_be_read() {
    for size in [(80, 24), (120, 40)] {
        let lines = lines(&scene(size));
        has(&lines, &["slm-mesh 1.0.0", "3 peers (1 stale)", "1 lock", "2 unread", "live"]);
        has(&lines, &["messages/s", "now 0 max 2", "delivery ms", "median 3 max 3"]);
        has(&lines, &["Peers 3"]);
        has(&lines, &["webapp", "2m", "next-turn", "codex", "main", "on the API"]);
        has(&lines, &["silent", "stale", " 12 "]);
        has(&lines, &["worker", "busy"]);
        has(&lines, &["2s", "webapp", "silent", "delivered", "first"]);
        has(&lines, &["silent", "all", "to everyone"]);
        has(&lines, &["9:58", "holder", "main.rs"]);
        has(&lines, &["build.done", "{\"ok\":true}"]);
        has(&lines, &["q quit"]);
        assert!(!lines.iter().any(|line| line.contains("second")), "{lines:#?}");
    }
    // The whole path and the reason, where there is room.
    has(&lines(&scene((200, 40))), &["~/web/src/main.rs", "moving"]);
}

#[test]
fn the_machine_of_each_peer_is_shown_as_soon_as_there_are_several() {
    assert!(!lines(&scene((120, 40))).iter().any(|line| line.contains("MACHINE")));
    for size in [(50, 12), (80, 24), (120, 40)] {
        let mut scene = Scene::new(size);
        scene.peer(1, "webapp", &json!({"host": "desk", "summary": "on the API"}));
        scene.peer(2, "api", &json!({"host": "laptop", "reach": "next-turn"}));
        scene.settle();
        scene.press("1");
        let lines = lines(&scene);
        has(&lines, &["NAME", "MACHINE", "REACH", "SUMMARY"]);
        has(&lines, &["webapp", "desk", "wakes"]);
        has(&lines, &["api", "laptop", "next-turn"]);
    }
}

#[test]
fn what_is_for_the_person_is_marked() {
    let mut scene = Scene::new((80, 24));
    scene.peer(1, "webapp", &json!({}));
    scene.message(1, None, "to everyone");
    scene.message_to_cli(1, "may I?");
    scene.settle();
    let shown = lines(&scene);
    has(&shown, &["1 for you"]);
    has(&shown, &["webapp", " you ", "may I?"]);
    scene.messages[1]["readAt"] = json!(scene.app.now.wall);
    scene.messages[1]["stage"] = json!("read");
    scene.pass(2000);
    assert!(!lines(&scene).iter().any(|line| line.contains("for you")));
}

#[test]
fn a_small_terminal_is_told_what_it_needs() {
    let small = lines(&scene((20, 5)));
    assert_eq!(small[..3], ["needs 40x8", "this is 20x5", "q quits"]);
    assert_eq!(lines(&scene((9, 1))), ["q quits"]);
    // One pane at a time where there is no room for all.
    let mut scene = scene((50, 12));
    has(&lines(&scene), &["Messages"]);
    assert!(!lines(&scene).iter().any(|line| line.contains(" Peers 3 ─")));
    scene.press("1");
    has(&lines(&scene), &["Peers 3"]);
}

#[test]
fn every_size_and_mode_can_be_drawn() {
    for size in SIZES {
        let mut scene = scene(size);
        for keys in ["", "?", "\u{1b}\n", "\u{1b}1↓s", "text\u{1b}", "/web", "\n", "3u", "nz", " "]
        {
            scene.press(keys);
            for line in lines(&scene) {
                assert!(line.width() <= usize::from(size.0), "{size:?} {keys:?}: {line}");
            }
        }
        // It becomes another size while a text is open.
        for other in SIZES {
            scene.app.handle_resize(other);
            assert_eq!(lines(&scene).len(), usize::from(other.1));
            scene.press("↓");
        }
    }
}

#[test]
fn two_hundred_peers_can_be_gone_through() {
    let mut scene = Scene::new((80, 24));
    for number in 1..=200 {
        scene.peer(number, &format!("peer-{number:03}"), &json!({}));
    }
    scene.settle();
    has(&lines(&scene), &["Peers 200"]);
    scene.press("1");
    scene.app.handle_key(&Key::Code(KeyCode::End));
    let shown = lines(&scene);
    has(&shown, &["peer-200"]);
    assert!(!shown.iter().any(|line| line.contains("peer-001")));
    scene.press("z");
    assert_eq!(lines(&scene).iter().filter(|line| line.starts_with("peer-")).count(), 19);
    scene.press("/PEER-15\n");
    let shown = lines(&scene);
    has(&shown, &["Peers 10 of 200"]);
    has(&shown, &["only \"peer-15\""]);
    assert_eq!(shown.iter().filter(|line| line.starts_with("peer-15")).count(), 10);
    scene.press("/5x\n");
    has(&lines(&scene), &["None that match"]);
}

#[test]
fn what_others_write_stays_in_its_cell() {
    let evil = "\u{1b}[2J\u{9b}1m\u{202e}漢字e\u{301}\u{301}\u{301}\u{301}👩\u{200d}👧\r\n\tx";
    for size in SIZES {
        let mut scene = Scene::new(size);
        let more = json!({"summary": evil, "gitBranch": evil, "agentType": evil, "reach": evil});
        scene.peer(1, evil, &more);
        scene.lock(evil, &json!({"reason": evil, "lockedByName": evil}));
        scene.message(1, Some(2), evil);
        scene.event("peer_left", &json!({"peerId": uuid(7), "name": evil, "reason": evil}));
        scene.event(evil, &json!({ evil: evil }));
        scene.settle();
        for keys in ["", "1↓\n", "\u{1b}2↓\n", "\u{1b}3↓\n", "\u{1b}4↓\n", "\u{1b}3u", "n1s"]
        {
            scene.press(keys);
            let frame = draw(&scene.app, true);
            for cell in frame.buffer.content() {
                let symbol = cell.symbol();
                assert!(symbol.len() <= 16, "{symbol:?}");
                assert!(!symbol.contains(char::is_control), "{symbol:?}");
                assert!(!symbol.contains(['\u{202e}', '\u{200d}']), "{symbol:?}");
            }
            for line in lines(&scene) {
                assert!(line.width() <= usize::from(size.0), "{line}");
            }
        }
    }
}

#[test]
fn wide_characters_leave_no_hole_at_the_edge() {
    for width in 64..80 {
        let mut scene = Scene::new((width, 24));
        scene.peer(1, "漢字漢字漢字漢字漢字漢字", &json!({"summary": "漢".repeat(100)}));
        scene.settle();
        let shown = lines(&scene);
        let row = shown.iter().find(|line| line.starts_with('漢')).unwrap();
        assert!(row.ends_with('…') && row.width() <= usize::from(width), "{row}");
        // The next column stands where it stands for others.
        let before: String = row.split(" 2m").next().unwrap().to_owned();
        assert_eq!(before.width(), "NAME               A".width(), "{row}");
    }
}

#[test]
fn nothing_changes_by_itself_before_it_is_said() {
    let mut scene = scene((120, 40));
    for _ in 0..200 {
        let frame = draw(&scene.app, true);
        let before = lines(&scene);
        let at = frame.changes_at.unwrap();
        assert!(at > scene.app.now.wall, "{at}");
        // To the last ms before.
        let wait = u64::try_from(at.0 - scene.app.now.wall.0).unwrap();
        scene.app.handle_time(Now { wall: Timestamp(at.0 - 1), ..scene.app.now });
        assert_eq!(lines(&scene), before);
        // Never more often than once a second.
        assert!(wait > 0 && at.0 % 1000 == 0, "{wait}");
        scene.app.handle_time(Now { wall: at, ..scene.app.now });
    }
    assert!(scene.app.now.wall.0 > START + 190_000);
    // Without a lock and with nothing recent, a minute at least.
    let mut quiet = Scene::new((80, 24));
    quiet.peer(1, "one", &json!({"startedAt": Timestamp(START - 7_200_000)}));
    quiet.settle();
    let frame = draw(&quiet.app, true);
    assert!(frame.changes_at.unwrap().0 >= START + 60_000);
}

#[test]
fn without_colours_there_are_none() {
    use ratatui::style::Color;
    let scene = scene((120, 40));
    let colors = |color| {
        let frame = draw(&scene.app, color);
        let cells = frame.buffer.content().iter();
        cells.filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
    };
    assert_eq!(colors(false), 0);
    assert!(colors(true) > 0);
}

#[test]
fn a_long_message_can_be_read_to_its_end() {
    let mut scene = Scene::new((80, 24));
    let lines_of_it: Vec<String> = (0..500).map(|line| format!("line {line}")).collect();
    scene.message(1, Some(2), &lines_of_it.join("\n"));
    scene.settle();
    scene.press("\n");
    let shown = lines(&scene);
    has(&shown, &["line 3"]);
    has(&shown, &["more lines"]);
    scene.app.handle_key(&Key::Code(KeyCode::End));
    has(&lines(&scene), &["line 499"]);
    has(&lines(&scene), &["the end"]);
    scene.app.handle_key(&Key::Code(KeyCode::PageUp));
    scene.press("↑");
    assert!(!lines(&scene).iter().any(|line| line.contains("line 499")));
    scene.press("\u{1b}");
    has(&lines(&scene), &["Messages"]);
}

#[test]
fn newer_locks_are_shown_for_what_they_are() {
    let mut scene = Scene::new((160, 40));
    scene.lock("/shared", &json!({"shared": true, "waiting": 2}));
    scene.lock("/waited", &json!({"waiting": 3}));
    scene.settle();
    let shown = lines(&scene);
    has(&shown, &["(s) +2 holder", "/shared"]);
    has(&shown, &["+3 holder", "/waited"]);
}
