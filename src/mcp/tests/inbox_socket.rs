use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream as Socket};

use mio::{Events, Poll};
use serde_json::Value;

use super::*;
use crate::files::tests::TempDir;

const TOKEN: Token = Token(3);
/// Longest that anything is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// One end in our hands, the loop around the other.
struct Test {
    dir: TempDir,
    poll: Poll,
    socket: InboxSocket,
    count: u64,
}

impl Test {
    fn new() -> Self {
        let dir = TempDir::new();
        let poll = Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let socket = InboxSocket::new(dir.path().join("inbox"), "secret".into(), registry, TOKEN);
        Self { dir, poll, socket, count: 0 }
    }

    fn listen(&self) -> UnixListener {
        UnixListener::bind(self.dir.path().join("inbox")).unwrap()
    }

    fn tell(&mut self, text: &str) {
        self.count += 1;
        let notice = Notice { id: self.count, from: "bob".into(), text: text.into() };
        self.socket.tell(&notice, Instant::now());
    }

    /// The next outcome, at a time of ours.
    fn outcome_at(&mut self, now: impl Fn() -> Instant) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        let mut events = Events::with_capacity(4);
        loop {
            if let Some(outcome) = self.socket.poll() {
                return outcome;
            }
            assert!(Instant::now() < deadline, "nothing comes of it");
            let left = self.socket.deadline().map(|at| at.saturating_duration_since(now()));
            let left = left.unwrap_or(PATIENCE).min(PATIENCE);
            self.poll.poll(&mut events, Some(left)).unwrap();
            self.socket.advance(now());
        }
    }

    fn outcome(&mut self) -> Outcome {
        self.outcome_at(Instant::now)
    }

    #[track_caller]
    fn fails(&mut self, reason: &str) {
        let outcome = self.outcome();
        assert!(matches!(&outcome, Outcome::Failed(text) if text.contains(reason)), "{outcome:?}");
        assert_eq!((self.socket.poll(), self.socket.deadline()), (None, None));
    }
}

fn line(reader: &mut impl BufRead) -> Value {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

fn accept(listener: &UnixListener) -> BufReader<Socket> {
    let (socket, _) = listener.accept().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(socket)
}

#[test]
fn the_token_is_shown_once_and_then_the_texts() {
    let mut test = Test::new();
    let listener = test.listen();
    test.socket.look();
    assert_eq!(test.socket.poll(), None);
    test.tell("one \"\n");
    let mut agent = accept(&listener);
    assert_eq!(line(&mut agent), json!({"type": "auth", "token": "secret"}));
    let user = |text: &str| {
        json!({
            "type": "user", "message": {"role": "user", "content": text},
            "priority": "next", "from": "slm-mesh",
        })
    };
    assert_eq!(line(&mut agent), user("one \"\n"));
    assert_eq!(test.outcome(), Outcome::Free);
    test.tell("two");
    assert_eq!(line(&mut agent), user("two"));
    assert_eq!(test.outcome(), Outcome::Free);
    assert_eq!(test.outcome(), Outcome::Sent(1));
    assert_eq!(test.outcome(), Outcome::Sent(2));
    // What it says is of no interest.
    agent.get_mut().write_all(b"{\"type\":\"ok\"}\n").unwrap();
    drop(agent);
    test.socket.advance(Instant::now());
    assert_eq!(test.socket.poll(), None, "it may close while it has nothing to say");
    test.tell("three");
    let mut agent = accept(&listener);
    assert_eq!(
        (line(&mut agent)["type"].clone(), line(&mut agent)),
        ("auth".into(), user("three"))
    );
}

#[test]
fn a_socket_that_is_not_there_or_refuses_is_no_way() {
    let mut test = Test::new();
    test.socket.look();
    test.fails("there is no socket at");
    test.tell("x");
    test.fails("No such file");
    drop(test.listen());
    test.socket.look();
    assert_eq!(test.socket.poll(), None, "a look does not tell");
    test.tell("x");
    test.fails("refused");
    let path = test.dir.path().join("inbox");
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "").unwrap();
    test.socket.look();
    test.fails("there is no socket at");
}

#[test]
fn a_session_that_accepts_and_never_reads_is_given_up() {
    let mut test = Test::new();
    let listener = test.listen();
    let long = "x".repeat(16_000);
    test.tell(&long);
    let _agent = listener.accept().unwrap();
    let begun = Instant::now();
    let mut taken = 0;
    // Until its buffer is full.
    loop {
        match test.socket.poll() {
            Some(Outcome::Free) => {
                taken += 1;
                assert!(taken < 1_000, "its buffer has no end");
                test.tell(&long);
            }
            Some(outcome) => panic!("{outcome:?}"),
            None => break,
        }
    }
    assert!(taken > 1);
    let late = move || begun + INBOX_SOCKET_TIME_MAX + Duration::from_secs(60);
    for n in 1..=taken {
        // The kernel keeps those for it.
        assert_eq!(test.outcome_at(late), Outcome::Sent(n));
    }
    let outcome = test.outcome_at(late);
    assert!(matches!(&outcome, Outcome::Failed(why) if why.contains("taken nothing for 5 s")));
    assert_eq!(test.socket.deadline(), None);
}

#[test]
fn a_session_that_accepts_nothing_at_all_is_given_up() {
    let mut test = Test::new();
    let path = test.dir.path().join("inbox");
    let address = rustix::net::SocketAddrUnix::new(&path).unwrap();
    let (family, kind) = (rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM);
    let listener = rustix::net::socket(family, kind, None).unwrap();
    rustix::net::bind(&listener, &address).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _first = Socket::connect(&path).unwrap();
    test.tell("x");
    assert_eq!(test.socket.poll(), None);
    assert!(test.socket.deadline().is_some_and(|at| at < Instant::now() + PATIENCE));
    test.socket.advance(Instant::now() + INBOX_SOCKET_TIME_MAX);
    test.fails("taken nothing for 5 s");
}

#[test]
fn a_session_that_throws_a_text_away_has_not_been_told() {
    let mut test = Test::new();
    let listener = test.listen();
    test.tell("x");
    assert_eq!(test.outcome(), Outcome::Free);
    // It is closed with the text in it.
    drop(listener.accept().unwrap());
    test.fails("reset");
}

#[test]
fn a_session_that_closes_in_the_middle_has_not_been_told() {
    let mut test = Test::new();
    let listener = test.listen();
    test.tell("one");
    assert_eq!(test.outcome(), Outcome::Free);
    let mut agent = accept(&listener);
    line(&mut agent);
    line(&mut agent);
    assert_eq!(test.outcome(), Outcome::Sent(1));
    // One that worked is given another chance, as somebody else.
    let long = "x".repeat(16_000);
    let mut taken = 1;
    while test.socket.current.is_none() {
        test.tell(&long);
        taken += 1;
        while matches!(test.socket.poll(), Some(Outcome::Free)) {}
        assert!(taken < 1_000, "its buffer has no end");
    }
    drop(agent);
    assert_eq!(test.outcome(), Outcome::Lost);
    assert_eq!((test.socket.poll(), test.socket.deadline()), (None, None));
    test.tell("again");
    assert_eq!(test.outcome(), Outcome::Free);
    drop(accept(&listener));
    test.fails("reset");
}

#[test]
fn the_socket_of_another_session_is_not_ours() {
    let own = std::process::id();
    assert!(is_our_agent(own));
    assert!(is_our_agent(crate::platform::parent().unwrap()));
    let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    assert!(!is_our_agent(child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
}
