//! `slm-mesh top` on a terminal: the real binary, a real broker, and a pseudo terminal.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use crate::common::broker::Broker;
use crate::common::peer::Peer;
use crate::common::screen::Screen;
use crate::common::{Mesh, Running, eventually, send_signal};
use serde_json::json;

/// A terminal on which `top` looks at the mesh of `broker`.
fn top(broker: &Broker, width: u16, height: u16) -> (Screen, Running, String) {
    let screen = Screen::new(width, height);
    let modes = screen.modes();
    let mut command = broker.setup.command();
    command = {
        // The same environment, another command.
        let mut top = std::process::Command::new(command.get_program());
        top.arg("top").env_clear().current_dir(command.get_current_dir().unwrap());
        top.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        top
    };
    let top = screen.start(command);
    screen.wait_for("live");
    (screen, top, modes)
}

fn end(top: &mut Running) -> ExitStatus {
    eventually("the end of top", || top.0.try_wait().unwrap())
}

/// Resizes the terminal, and tells it as the kernel would.
fn resize(screen: &Screen, top: &Running, width: u16, height: u16) {
    screen.set_size(width, height);
    send_signal(top.0.id(), "WINCH");
}

#[test]
fn shows_what_happens_and_gives_the_terminal_back() {
    let broker = Broker::start();
    let (screen, mut top, modes) = top(&broker, 80, 24);
    assert!(screen.is_taken() && screen.modes() != modes);
    screen.wait_for("Nobody is here");

    // A peer that comes, a message that passes, its stages, a lock, an event of one's own.
    let fields = json!({
        "name": "webapp", "agentType": "codex", "gitBranch": "main", "summary": "on the API",
        "private": true,
    });
    let webapp = Peer::register(&broker, &fields, None);
    screen.wait_for("webapp");
    screen.wait("all about the peer", |text| {
        text.lines().any(|line| {
            ["webapp", "codex", "main", "on the API"].iter().all(|word| line.contains(word))
        })
    });
    let other = broker.register("other");
    other.send(&broker, "webapp", "first line\nsecond line");
    screen.wait("the message", |text| {
        text.lines().any(|line| {
            ["other", "webapp", "queued", "first line"].iter().all(|word| line.contains(word))
        })
    });
    // Looking marks nothing.
    assert_eq!(webapp.inbox(&broker), ["first line\nsecond line"]);
    webapp.ok(&broker, "/messages", &json!({}));
    screen.wait("that it is read", |text| {
        text.lines().any(|line| line.contains("first line") && line.contains(" read "))
    });
    webapp.ok(&broker, "/lock", &json!({"action": "lock", "filePath": "/src/main.rs"}));
    screen.wait_for("/src/main.rs");
    webapp.ok(&broker, "/events", &json!({"action": "emit", "type": "build.done", "payload": 7}));
    screen.wait_for("build.done");

    // In full.
    screen.type_keys("\r");
    screen.wait_for("second line");
    screen.type_keys("\x1b");
    screen.wait("the panes", |text| !text.contains("second line") && text.contains("Peers"));

    resize(&screen, &top, 120, 40);
    screen.wait("a wide screen", |text| text.lines().any(|line| line.trim_end().len() > 100));
    resize(&screen, &top, 20, 5);
    screen.wait_for("this is 20x5");
    resize(&screen, &top, 80, 24);
    screen.wait_for("first line");

    screen.type_keys("q");
    assert_eq!(end(&mut top).code(), Some(0));
    screen.wait_until_given_back(&modes);
}

#[test]
fn sends_and_frees_as_a_person_asks() {
    let broker = Broker::start();
    let webapp = broker.register("webapp");
    webapp.ok(&broker, "/lock", &json!({"action": "lock", "filePath": "/src/main.rs"}));
    let (screen, mut top, _) = top(&broker, 100, 30);
    // What has happened may be there before the lists are.
    screen.wait("the lists", |text| text.contains("Peers 1") && text.contains("Locks 1"));

    // To a peer.
    screen.type_keys("1");
    screen.type_keys("\x1b[Bs");
    screen.wait_for("to webapp: ");
    screen.type_keys("hello\x7f\x7fp q?\r");
    screen.wait_for("Stored for webapp");
    assert_eq!(webapp.inbox(&broker), ["help q?"]);
    screen.wait_for("help q?");
    // An answer to a message, given up.
    webapp.send(&broker, "cli", "an answer, please");
    screen.wait_for("an answer, please");
    screen.type_keys("2\x1b[Bs");
    screen.wait_for("answer to webapp: ");
    screen.type_keys("\x1b");
    screen.wait_for("Nothing was sent");

    // Only those that match.
    screen.type_keys("/please\r");
    screen.wait("the filter", |text| !text.contains("help q?") && text.contains("answer, please"));
    screen.type_keys("\x1b\x1b");
    screen.wait_for("help q?");

    // A lock is freed after a question, and not without.
    screen.type_keys("3u");
    screen.wait_for("held by webapp");
    screen.type_keys("n");
    screen.wait_for("Nothing was released");
    screen.type_keys("u");
    screen.wait_for("held by webapp");
    screen.type_keys("y");
    screen.wait_for("No files are locked");
    let locks = broker.ok("/lock", &json!({"action": "query", "peerId": "cli"}));
    assert_eq!(locks["locks"], json!([]));

    screen.type_keys("?");
    screen.wait_for("Keys");
    screen.type_keys("\x1b[6~\x1b[6~\x1b");
    screen.wait_for("Peers");
    screen.type_keys("\x03");
    assert_eq!(end(&mut top).code(), Some(0));
}

#[test]
fn signals_end_it_and_give_the_terminal_back() {
    let broker = Broker::start();
    for (name, number) in [("TERM", 15), ("INT", 2), ("HUP", 1), ("QUIT", 3)] {
        let (screen, mut top, modes) = top(&broker, 80, 24);
        send_signal(top.0.id(), name);
        assert_eq!(end(&mut top).signal(), Some(number), "{name}");
        screen.wait_until_given_back(&modes);
    }
}

#[test]
fn is_suspended_and_goes_on() {
    let broker = Broker::start();
    let (screen, mut top, modes) = top(&broker, 80, 24);
    let pid = top.0.id();
    let is_stopped = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with('T')
    };
    for _ in 0..2 {
        send_signal(pid, "TSTP");
        eventually("that it stops", || is_stopped().then_some(()));
        screen.wait_until_given_back(&modes);
        // What happens meanwhile is seen afterwards.
        send_signal(pid, "CONT");
        screen.wait_for("live");
        assert!(screen.is_taken());
    }
    // Stopped from outside, with the terminal left as it is, which a shell then changes.
    screen.type_keys("q");
    assert_eq!(end(&mut top).code(), Some(0));
    screen.wait_until_given_back(&modes);
}

#[test]
fn waits_for_a_broker_that_has_gone() {
    let mut broker = Broker::start();
    let (screen, mut top, _) = top(&broker, 80, 24);
    broker.kill();
    screen.wait_for("waiting for the broker");
    broker.start_again();
    screen.wait_for("live");
    let peer = broker.register("latecomer");
    screen.wait_for("latecomer");
    peer.send(&broker, "cli", "I am late");
    screen.wait_for("I am late");
    screen.type_keys("q");
    assert_eq!(end(&mut top).code(), Some(0));
}

#[test]
fn nothing_that_others_write_reaches_the_terminal_raw() {
    let broker = Broker::start();
    let (screen, mut top, _) = top(&broker, 120, 40);
    let evil = "\u{1b}]0;owned\u{7}\u{9b}31mred\u{202e}\r";
    let fields = json!({"name": "evil", "summary": evil, "gitBranch": "b\u{1b}[2J"});
    let peer = Peer::register(&broker, &fields, None);
    let lock = json!({"action": "lock", "filePath": "/a\u{1b}[1mb", "reason": evil});
    // What the broker does not take is no danger.
    let _ = peer.call(&broker, "/lock", &lock);
    peer.send(&broker, "cli", &format!("{evil}\n{evil}"));
    let emit = json!({"action": "emit", "type": "a.b", "payload": {"x": evil}});
    peer.ok(&broker, "/events", &emit);
    screen.wait_for("owned");
    screen.wait_for("a.b");
    for keys in ["1\x1b[B\r", "\x1b", "2\x1b[B\r", "\x1b", "3\x1b[B\r", "\x1b", "4\x1b[B\r"] {
        screen.type_keys(keys);
        screen.wait_for("slm-mesh");
    }
    screen.wait_for("Event");
    screen.type_keys("\x1b");
    screen.wait_for("Peers");
    screen.type_keys("q");
    assert_eq!(end(&mut top).code(), Some(0));
    let raw = screen.raw();
    let text = String::from_utf8(raw).unwrap();
    for harm in ["\u{1b}]", "\u{7}", "\u{9b}", "\u{202e}", "\u{1b}[31mred", "\r"] {
        assert!(!text.contains(harm), "{harm:?}");
    }
}

#[test]
fn where_it_cannot_draw_it_says_what_to_use() {
    let mesh = Mesh::new();
    let err = mesh.run("top").fails(2);
    assert!(err.contains("needs a terminal") && err.contains("events --follow --json"), "{err}");
    assert_eq!(mesh.run("top --json").json()["code"], "usage");
    assert!(mesh.run("top now").fails(2).contains("unexpected word"));

    let screen = Screen::new(80, 24);
    let modes = screen.modes();
    let mut without = screen.start(mesh.command(["top"]));
    assert_eq!(end(&mut without).code(), Some(3));
    screen.wait_for("no broker is running");
    let mut dumb = mesh.command(["top"]);
    dumb.arg("--json");
    let mut json = screen.start(dumb);
    assert_eq!(end(&mut json).code(), Some(2));
    // Half a terminal is none.
    let mut half = mesh.command(["top"]);
    half.stderr(Stdio::piped());
    assert_eq!(half.output().unwrap().status.code(), Some(2));
    assert_eq!(screen.modes(), modes);
    assert!(!screen.is_taken());
    assert_eq!(mesh.broker_pid(), None);
}
