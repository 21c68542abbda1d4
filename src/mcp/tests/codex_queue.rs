use std::os::unix::fs::PermissionsExt;

use mio::{Events, Poll};

use super::*;
use crate::files::tests::TempDir;

const TOKEN: Token = Token(3);
const PATIENCE: Duration = Duration::from_secs(20);

struct Test {
    dir: TempDir,
    poll: Poll,
    queue: CodexQueue,
}

impl Test {
    /// With a program of ours, a script.
    fn new(script: &str) -> Self {
        let dir = TempDir::new();
        let path = dir.path().join("codex");
        std::fs::write(&path, format!("#!/bin/sh\ncd '{}'\n{script}\n", dir.path().display()))
            .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let poll = Poll::new().unwrap();
        let mut queue = CodexQueue::new(poll.registry().try_clone().unwrap(), TOKEN);
        queue.target = Some((path, "thread-1".into()));
        Self { dir, poll, queue }
    }

    fn tell(&mut self, id: u64, text: &str) {
        // Another test that forks at this moment may have the script open for writing yet.
        for _ in 0..100 {
            let target = self.queue.target.clone();
            self.queue.tell(&Notice { id, from: "bob".into(), text: text.into() }, Instant::now());
            if !matches!(self.queue.reports.front(), Some(WayReport::Failed(text)) if text.contains("busy"))
            {
                return;
            }
            self.queue.reports.clear();
            self.queue.target = target;
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn outcome(&mut self) -> WayReport {
        let deadline = Instant::now() + PATIENCE;
        let mut events = Events::with_capacity(4);
        loop {
            if let Some(outcome) = self.queue.poll() {
                return outcome;
            }
            assert!(Instant::now() < deadline, "nothing comes of it");
            let left = self.queue.deadline().map(|at| at.saturating_duration_since(Instant::now()));
            self.poll.poll(&mut events, left).unwrap();
            self.queue.advance(Instant::now());
        }
    }

    #[track_caller]
    fn fails(&mut self, reason: &str) {
        let outcome = self.outcome();
        assert!(
            matches!(&outcome, WayReport::Failed(text) if text.contains(reason)),
            "{outcome:?}"
        );
    }

    fn has(&self, name: &str) -> bool {
        self.dir.path().join(name).exists()
    }
}

#[test]
fn arguments_arrive_as_they_are_and_the_streams_lead_nowhere() {
    let mut test = Test::new(
        "for word in \"$@\"; do printf '[%s]' \"$word\"; done >said\n\
         readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2 >streams; cat",
    );
    let words = "a 'b' \"c\" $(touch bad) `touch bad`; touch bad\n-- é";
    test.tell(7, words);
    assert_eq!((test.outcome(), test.outcome()), (WayReport::Sent(7), WayReport::Free));
    assert_eq!((test.queue.poll(), test.queue.deadline()), (None, None));
    let said = std::fs::read_to_string(test.dir.path().join("said")).unwrap();
    assert_eq!(said, format!("[queue][--thread][thread-1][--message][{words}]"));
    assert!(!test.has("bad"));
    if cfg!(target_os = "linux") {
        let streams = std::fs::read_to_string(test.dir.path().join("streams")).unwrap();
        let inherited: Vec<&str> = streams.lines().collect();
        assert_eq!((inherited[0], inherited.last()), ("/dev/null", Some(&"/dev/null")));
    }
    // And again.
    test.tell(8, "x");
    assert_eq!(test.outcome(), WayReport::Sent(8));
}

#[test]
fn one_that_fails_or_is_missing_is_no_way() {
    let mut test = Test::new("exit 3");
    test.tell(1, "x");
    test.fails("ended with exit status: 3");
    test.tell(2, "x");
    test.fails("not found");
    let mut test = Test::new("kill -9 $$");
    test.tell(1, "x");
    test.fails("signal: 9");
    std::fs::remove_file(test.dir.path().join("codex")).unwrap();
    test.queue.target = Some((test.dir.path().join("codex"), "t".into()));
    test.tell(2, "x");
    test.fails("No such file");
}

#[test]
fn one_that_hangs_is_killed_with_its_children() {
    let mut test = Test::new("sleep 600 & echo $! >new; mv new child; wait");
    test.tell(1, "x");
    let deadline = Instant::now() + PATIENCE;
    while !test.has("child") {
        assert!(Instant::now() < deadline, "it does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    let late = Instant::now() + CODEX_QUEUE_TIME_MAX;
    test.queue.advance(late);
    test.fails("has not ended within 5 s");
    let child = std::fs::read_to_string(test.dir.path().join("child")).unwrap();
    let child: u32 = child.trim().parse().unwrap();
    while test.queue.running.is_some() || platform::is_alive(child) {
        assert!(Instant::now() < deadline, "it does not end");
        test.queue.advance(late);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((test.queue.poll(), test.queue.deadline()), (None, None));
}

#[test]
fn it_ends_with_its_owner() {
    let mut test = Test::new("echo $$ >new; mv new own; sleep 600");
    test.tell(1, "x");
    let deadline = Instant::now() + PATIENCE;
    while !test.has("own") {
        assert!(Instant::now() < deadline, "it does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    let own = std::fs::read_to_string(test.dir.path().join("own")).unwrap();
    drop(test);
    assert!(!platform::is_alive(own.trim().parse().unwrap()));
}
