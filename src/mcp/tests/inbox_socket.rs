use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream as Socket};

use mio::{Events, Poll};
use serde_json::{Value, json};

use super::*;
use crate::agents::CLAUDE_CODE;
use crate::files::tests::TempDir;
use crate::limits::OWN_SOCKET_CONNECTIONS_MAX;

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
        Self::of(Dialect::Claude)
    }

    fn of(dialect: Dialect) -> Self {
        let dir = TempDir::new();
        let poll = Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let path = dir.path().join("inbox");
        let token = "secret".into();
        let socket = InboxSocket::new((&CLAUDE_CODE, dialect), path, token, registry, TOKEN);
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
    fn outcome_at(&mut self, now: impl Fn() -> Instant) -> WayReport {
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

    fn outcome(&mut self) -> WayReport {
        self.outcome_at(Instant::now)
    }

    /// The next notice is taken, and the one after it may come.
    #[track_caller]
    fn is_sent(&mut self) {
        let sent = WayReport::Sent(self.count);
        assert_eq!((self.outcome(), self.outcome()), (sent, WayReport::Free));
    }

    fn own(&self) -> PathBuf {
        self.dir.path().join(format!("{}.sock", std::process::id()))
    }

    /// Writes to our own socket as the session does, and hangs up.
    fn say(&self, bytes: &[u8]) {
        Socket::connect(self.own()).unwrap().write_all(bytes).unwrap();
    }

    fn receipt(&self, id: &Value, rest: &str) {
        let line = format!(
            "{{\"type\":\"control\",\"action\":\"peer_message_status\",\"orig_msg_id\":{id},{rest}}}\n"
        );
        self.say(line.as_bytes());
    }

    fn answer(&self, text: &str) {
        let frame = json!({"type": "user", "message": {"role": "user", "content": text}});
        self.say(format!("{frame}\n").as_bytes());
    }

    /// Does what there is to do; nothing may come of it that is not an answer `mark`.
    #[track_caller]
    fn is_quiet(&mut self) {
        self.answer("mark");
        assert_eq!(self.outcome(), WayReport::Answer("mark".into()));
    }

    #[track_caller]
    fn fails(&mut self, reason: &str) {
        self.fails_at(reason);
        assert_eq!((self.socket.poll(), self.socket.deadline()), (None, None));
    }

    #[track_caller]
    fn fails_at(&mut self, reason: &str) {
        let outcome = self.outcome();
        assert!(
            matches!(&outcome, WayReport::Failed(text) if text.contains(reason)),
            "{outcome:?}"
        );
    }

    /// Waits a moment for something to do, and does it.
    fn turn(&mut self) {
        let mut events = Events::with_capacity(4);
        self.poll.poll(&mut events, Some(Duration::from_millis(50))).unwrap();
        self.socket.advance(Instant::now());
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

/// Reads both lines, and closes.
fn hang_up(mut agent: BufReader<Socket>) {
    line(&mut agent);
    line(&mut agent);
}

#[test]
fn the_token_is_shown_once_and_then_the_texts() {
    let mut test = Test::new();
    let listener = test.listen();
    test.tell("one \"\n");
    let mut agent = accept(&listener);
    assert_eq!(line(&mut agent), json!({"type": "auth", "token": "secret"}));
    let own = format!("uds:{}", test.own().display());
    let read = |agent: &mut BufReader<Socket>| {
        let line = line(agent);
        assert_eq!((&line["type"], &line["priority"]), (&json!("user"), &json!("next")));
        assert_eq!((&line["from"], &line["message"]["role"]), (&json!(own), &json!("user")));
        let head = format!("<cross-session-message from=\"{own}\" from-name=\"bob\">\n");
        let said = line["message"]["content"].as_str().unwrap().strip_prefix(&head).unwrap();
        let said = said.strip_suffix("\n</cross-session-message>").unwrap().to_owned();
        (said, line["msg_id"].as_str().unwrap().to_owned())
    };
    let (said, first) = read(&mut agent);
    assert_eq!(said, "one \"\n");
    test.is_sent();
    test.tell("two");
    let (said, second) = read(&mut agent);
    assert_eq!(said, "two");
    assert_ne!(first, second);
    test.is_sent();
    // What it says there is of no interest.
    agent.get_mut().write_all(b"{\"type\":\"ok\"}\n").unwrap();
    drop(agent);
    test.socket.advance(Instant::now());
    assert_eq!(test.socket.poll(), None, "it may close while it has nothing to say");
    assert_eq!(test.socket.deadline(), None);
    test.tell("three");
    let mut agent = accept(&listener);
    assert_eq!(line(&mut agent)["type"], "auth");
    assert_eq!(read(&mut agent).0, "three");
    let mode = std::fs::metadata(test.own()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let own = test.own();
    drop(test);
    assert!(!own.exists());
}

#[test]
fn what_becomes_of_a_text_is_heard_once() {
    let mut test = Test::new();
    let listener = test.listen();
    let mut ids = Vec::new();
    test.tell("0");
    let mut agent = accept(&listener);
    line(&mut agent);
    for n in 1..5 {
        ids.push(line(&mut agent)["msg_id"].clone());
        test.is_sent();
        test.tell(&n.to_string());
    }
    test.is_sent();
    // Held, twice; then its user has allowed it; and some time after, a late word.
    test.receipt(&ids[0], "\"status\":\"held\"");
    assert_eq!(test.outcome(), WayReport::Status(1, SentStatus::Held));
    test.receipt(&ids[0], "\"status\":\"held\"");
    test.is_quiet();
    test.receipt(&ids[0], "\"status\":\"delivered\"");
    assert_eq!(test.outcome(), WayReport::Status(1, SentStatus::Sent));
    test.receipt(&ids[1], "\"status\":\"expired\",\"status_detail\":\"refused\"");
    assert_eq!(test.outcome(), WayReport::Status(2, SentStatus::Refused));
    for late in ["held", "delivered", "denied", "expired", "dropped"] {
        test.receipt(&ids[1], &format!("\"status\":\"{late}\""));
    }
    // Of nobody's text, and one that says that it was there before.
    test.receipt(&json!(Uuid::from_u128(5)), "\"status\":\"denied\"");
    test.receipt(&json!("x"), "\"status\":\"denied\"");
    test.receipt(&ids[2], "\"status\":\"dropped\",\"drop_reason\":\"duplicate\"");
    test.receipt(&ids[2], "\"status\":\"delivered\"");
    test.is_quiet();
    let both = format!("\"status\":\"dropped\",\"dropped_msg_ids\":[{}]", ids[3]);
    test.receipt(&ids[2], &both);
    assert_eq!(test.outcome(), WayReport::Status(3, SentStatus::Dropped));
    assert_eq!(test.outcome(), WayReport::Status(4, SentStatus::Dropped));
    test.is_quiet();
    assert_eq!(test.socket.deadline(), None);
}

#[test]
fn an_agent_answers_by_its_own_messaging() {
    let mut test = Test::new();
    let _listener = test.listen();
    test.tell("x");
    test.is_sent();
    test.answer(
        "<cross-session-message from=\"uds:/tmp/1.sock\" hop-chain=\"d0\" from-name=\"proj\">\n\
         yes, \"k7q2\"\n</cross-session-message>",
    );
    let said = "yes, \"k7q2\"".to_owned();
    assert_eq!(test.outcome(), WayReport::Answer(said));
    // The line need not be ended.
    test.say(br#"{"type":"user","message":{"content":"no end"}}"#);
    assert_eq!(test.outcome(), WayReport::Answer("no end".into()));
    let long = "x".repeat(1024 * 1024);
    let frame = json!({"type": "user", "message": {"content": long}});
    let own = test.own();
    let writer = std::thread::spawn(move || {
        // It is hung up on in the middle.
        let _ = Socket::connect(own).unwrap().write_all(format!("{frame}\n").as_bytes());
    });
    while !writer.is_finished() {
        test.turn();
    }
    writer.join().unwrap();
    assert_eq!(test.outcome(), WayReport::LongAnswer);
    test.is_quiet();
}

#[test]
fn nonsense_and_silence_have_an_end() {
    let mut test = Test::new();
    let _listener = test.listen();
    test.tell("x");
    test.is_sent();
    test.say(b"nonsense\n\xff\xfe\n\n{}\n[\n{\"type\":\"user\"}\n");
    test.is_quiet();
    // Half a line, and then silence.
    let half: Vec<Socket> = (0..OWN_SOCKET_CONNECTIONS_MAX)
        .map(|_| {
            let mut half = Socket::connect(test.own()).unwrap();
            half.write_all(b"{\"type\":\"user\",").unwrap();
            half
        })
        .collect();
    test.turn();
    assert!(test.socket.deadline().is_some_and(|at| at <= Instant::now() + PATIENCE));
    // There is no room for one more as long as they are open.
    test.answer("too many");
    test.turn();
    assert_eq!(test.socket.poll(), None);
    test.socket.advance(Instant::now() + INBOX_SOCKET_TIME_MAX);
    assert_eq!(test.outcome(), WayReport::Answer("too many".into()));
    assert_eq!((test.socket.poll(), test.socket.deadline()), (None, None));
    for mut half in half {
        assert_eq!(half.read(&mut [0]).unwrap(), 0, "it is hung up on");
    }
    test.is_quiet();
    for _ in 0..1_000 {
        drop(Socket::connect(test.own()));
        test.socket.advance(Instant::now());
    }
    test.is_quiet();
    assert_eq!(test.socket.deadline(), None);
}

#[test]
fn our_own_socket_takes_the_place_of_a_dead_one_only() {
    // Left behind.
    let mut test = Test::new();
    let listener = test.listen();
    drop(UnixListener::bind(test.own()).unwrap());
    test.tell("x");
    test.is_sent();
    test.is_quiet();
    // Removed by somebody who cleans up: there again with the next connection.
    std::fs::remove_file(test.own()).unwrap();
    hang_up(accept(&listener));
    test.turn();
    test.tell("y");
    test.is_sent();
    test.is_quiet();

    // Of a process that lives, in another process id namespace perhaps; and what is no socket.
    for alive in [true, false] {
        let mut test = Test::new();
        let listener = test.listen();
        let _other = if alive { UnixListener::bind(test.own()).ok() } else { None };
        if !alive {
            std::fs::write(test.own(), "x").unwrap();
        }
        test.tell("x");
        let mut agent = accept(&listener);
        line(&mut agent);
        let plain = json!({
            "type": "user", "message": {"role": "user", "content": "x"},
            "priority": "next", "from": "slm-mesh",
        });
        assert_eq!(line(&mut agent), plain);
        test.is_sent();
        let own = test.own();
        drop(test.socket);
        assert!(own.exists(), "it is not ours");
    }
}

#[test]
fn qwen_code_is_told_by_its_own_words_and_at_intervals() {
    let mut test = Test::of(Dialect::Qwen);
    let listener = test.listen();
    test.tell("one");
    let mut agent = accept(&listener);
    assert_eq!(line(&mut agent), json!({"msgV": 1, "type": "auth", "token": "secret"}));
    let said = line(&mut agent);
    assert_eq!((&said["from"], &said["message"]["content"]), (&json!("bob"), &json!("one")));
    let now = Instant::now();
    assert_eq!(test.socket.poll(), Some(WayReport::Sent(1)));
    assert_eq!(test.socket.poll(), None, "each makes a turn of its own there");
    assert!(test.socket.deadline().is_some_and(|at| at <= now + WAKE_TURN_PAUSE));
    assert_eq!(test.outcome(), WayReport::Free);
    assert_eq!(test.socket.deadline(), None);
    assert!(!test.own().exists());
}

#[test]
fn a_socket_that_is_not_there_yet_is_looked_for() {
    let mut test = Test::new();
    let mut now = Instant::now();
    test.socket.look(now);
    test.fails_at("nobody listens at");
    let mut looks = 0;
    while let Some(at) = test.socket.deadline() {
        now = at;
        test.socket.advance(now);
        assert_eq!(test.socket.poll(), None, "it is said once");
        looks += 1;
        assert!(looks < 20, "it is never left in peace");
    }
    // One that is left behind is none.
    drop(test.listen());
    test.socket.look(now);
    assert_eq!((test.socket.poll(), test.socket.deadline()), (None, None));
    std::fs::remove_file(test.dir.path().join("inbox")).unwrap();
    let listener = test.listen();
    test.socket.look(now);
    assert_eq!(test.outcome(), WayReport::Free);
    // The look itself.
    drop(listener.accept().unwrap());
    test.tell("x");
    test.is_sent();
    // It starts anew.
    hang_up(accept(&listener));
    drop(listener);
    test.turn();
    test.tell("y");
    test.fails_at("nobody listens at");
    assert!(test.socket.deadline().is_some());
    // What is no socket at all.
    std::fs::remove_file(test.dir.path().join("inbox")).unwrap();
    std::fs::write(test.dir.path().join("inbox"), "").unwrap();
    test.socket.look(now);
    assert_eq!(test.socket.poll(), None);
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
    // The kernel keeps those for it, until its buffer is full.
    while let Some(outcome) = test.socket.poll() {
        taken += 1;
        assert_eq!((outcome, test.socket.poll()), (WayReport::Sent(taken), Some(WayReport::Free)));
        assert!(taken < 1_000, "its buffer has no end");
        test.tell(&long);
    }
    assert!(taken > 1);
    let late = move || begun + INBOX_SOCKET_TIME_MAX + Duration::from_secs(60);
    let outcome = test.outcome_at(late);
    assert!(matches!(&outcome, WayReport::Failed(why) if why.contains("taken nothing for 5 s")));
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
    test.is_sent();
    // It is closed with the text in it.
    drop(listener.accept().unwrap());
    assert_eq!(test.outcome(), WayReport::Status(1, SentStatus::Dropped));
    test.fails("reset");
}

#[test]
fn a_session_that_closes_in_the_middle_has_not_been_told() {
    let mut test = Test::new();
    let listener = test.listen();
    test.tell("one");
    test.is_sent();
    let mut agent = accept(&listener);
    line(&mut agent);
    line(&mut agent);
    test.socket.advance(Instant::now() + INBOX_SOCKET_DOUBT);
    // One that worked is given another chance, as somebody else.
    let long = "x".repeat(16_000);
    let mut taken = 1;
    while test.socket.current.is_none() {
        test.tell(&long);
        taken += 1;
        while test.socket.poll().is_some() {}
        assert!(taken < 1_000, "its buffer has no end");
    }
    // Those before are certain; the last was not taken whole.
    test.socket.advance(Instant::now() + INBOX_SOCKET_DOUBT);
    drop(agent);
    assert_eq!(test.outcome(), WayReport::Lost);
    assert_eq!((test.socket.poll(), test.socket.deadline()), (None, None));
    test.tell("again");
    test.is_sent();
    drop(accept(&listener));
    assert_eq!(test.outcome(), WayReport::Status(test.count, SentStatus::Dropped));
    test.fails("reset");
}

#[test]
fn the_socket_of_another_session_is_not_ours() {
    let ours = agent_processes();
    assert!(ours.contains(&std::process::id()));
    assert!(ours.contains(&crate::platform::parent().unwrap()));
    let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    assert!(!ours.contains(&child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
}
