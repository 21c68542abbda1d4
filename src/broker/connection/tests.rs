use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::limits::{BODY_BYTES_MAX, READS_PER_TURN_MAX};

/// What happens at the other end of a [`Fake`].
#[derive(Debug, Default)]
struct Wire {
    /// What the client sends, as the reads will find it. An empty piece is the end.
    sent: VecDeque<Vec<u8>>,
    /// What it has received.
    received: Vec<u8>,
    /// How much more it takes.
    room: usize,
    ended: bool,
    broken: bool,
}

/// A stream between a connection and a test.
#[derive(Clone, Debug)]
struct Fake(Rc<RefCell<Wire>>);

impl Read for Fake {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        if wire.broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let mut read = 0;
        // As a stream does: whatever is there, and its end by itself.
        while read < target.len()
            && let Some(mut piece) = wire.sent.pop_front()
        {
            if piece.is_empty() && read > 0 {
                wire.sent.push_front(piece);
                break;
            }
            if piece.is_empty() {
                return Ok(0);
            }
            let taken = piece.len().min(target.len() - read);
            target[read..read + taken].copy_from_slice(&piece[..taken]);
            read += taken;
            let rest = piece.split_off(taken);
            if !rest.is_empty() {
                wire.sent.push_front(rest);
            }
        }
        if read == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(read) }
    }
}

impl Write for Fake {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        if wire.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(wire.room);
        if taken == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        wire.room -= taken;
        wire.received.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Fake {
    fn end_output(&self) -> io::Result<()> {
        self.0.borrow_mut().ended = true;
        Ok(())
    }
}

/// A connection, its client, and what the turns saw.
struct Test {
    connection: Connection<Fake>,
    wire: Rc<RefCell<Wire>>,
    scratch: Vec<u8>,
    /// Bodies of the requests that were taken, `!` before what was malformed, `+` for a go-ahead.
    taken: Vec<String>,
    now: Monotonic,
    /// How many more requests the turn takes.
    room: usize,
}

impl Test {
    fn new() -> Self {
        let wire = Rc::new(RefCell::new(Wire { room: usize::MAX, ..Wire::default() }));
        let now = Monotonic(Duration::from_secs(100));
        Self {
            connection: Connection::new(Fake(Rc::clone(&wire)), now),
            wire,
            scratch: vec![0; READ_BYTES_MAX],
            taken: Vec::new(),
            now,
            room: usize::MAX,
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    /// The client sends `bytes`, and a turn follows.
    fn send(&mut self, bytes: &[u8]) -> Progress {
        self.wire.borrow_mut().sent.push_back(bytes.to_vec());
        self.connection.note_readable(bytes.is_empty());
        self.turn()
    }

    /// Echoes each body; holds a request whose body begins with `hold`.
    fn turn(&mut self) -> Progress {
        let Self { connection, scratch, taken, room, .. } = self;
        let mut answers: Vec<Option<(String, http::server::Connection)>> = Vec::new();
        let progress = connection.serve(self.now, scratch, |incoming| {
            let (text, after) = match incoming {
                Incoming::Request(request) => {
                    let body = String::from_utf8(request.body.to_vec()).unwrap();
                    if body.starts_with("hold") {
                        taken.push(body);
                        return Flow::Hold;
                    }
                    (body, request.connection)
                }
                Incoming::Head(_) => return Flow::Next(0),
                Incoming::Continue => {
                    taken.push("+".into());
                    answers.push(None);
                    return Flow::Next(0);
                }
                Incoming::Malformed(error) => {
                    (format!("!{error}"), http::server::Connection::Close)
                }
            };
            taken.push(text.clone());
            let size = text.len();
            answers.push(Some((text, after)));
            *room -= 1;
            if *room == 0 { Flow::Full(size) } else { Flow::Next(size) }
        });
        if progress == Progress::Gone || answers.is_empty() {
            return progress;
        }
        for answer in answers {
            match answer {
                Some((text, after)) => self.answer(&text, after),
                None => self.connection.answer_continue().unwrap(),
            }
        }
        self.connection.flush(self.now)
    }

    fn answer(&mut self, text: &str, connection: http::server::Connection) {
        let response =
            Response { status: 200, body: text.as_bytes(), connection, ..Response::default() };
        self.connection.answer(&response).unwrap();
    }

    fn received(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.wire.borrow_mut().received)).unwrap()
    }

    /// The bodies of the answers.
    fn answers(&self) -> Vec<String> {
        let received = self.received();
        let parts = received.split("HTTP/1.1 ").filter(|part| !part.is_empty());
        parts.map(|part| part.split_once("\r\n\r\n").unwrap().1.to_owned()).collect()
    }
}

fn post(body: &str) -> Vec<u8> {
    with(body, "")
}

fn with(body: &str, headers: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n{body}").into()
}

#[test]
fn a_request_is_answered_and_leaves_nothing_behind() {
    let mut test = Test::new();
    for _ in 0..3 {
        assert_eq!(test.send(&post("a")), Progress::Fine);
        assert_eq!(test.answers(), ["a"]);
        assert!(!test.connection.wants_turn() && !test.connection.has_output());
        assert!(test.connection.input.is_empty());
    }
}

#[test]
fn requests_may_be_split_anywhere_and_joined() {
    let bytes = [post("one"), post(""), post("three")].concat();
    let mut test = Test::new();
    for byte in &bytes {
        test.send(&[*byte]);
    }
    assert_eq!(test.answers(), ["one", "", "three"]);
    for at in 1..bytes.len() {
        test.send(&bytes[..at]);
        test.send(&bytes[at..]);
        assert_eq!(test.answers(), ["one", "", "three"], "split at {at}");
    }
    test.send(&bytes);
    assert_eq!(test.answers(), ["one", "", "three"]);
    assert!(test.connection.input.is_empty());
}

#[test]
fn a_body_larger_than_a_read_is_read_in_one_turn() {
    let mut test = Test::new();
    let body = "x".repeat(BODY_BYTES_MAX);
    test.send(&post(&body));
    while test.connection.wants_turn() {
        test.turn();
    }
    assert_eq!(test.answers(), [body]);
    assert!(test.connection.input.is_empty());
}

#[test]
fn what_the_turn_does_not_take_is_for_the_next() {
    let mut test = Test::new();
    let all: Vec<String> = (0..10).map(|i| i.to_string()).collect();
    test.room = 4;
    test.send(&all.iter().flat_map(|body| post(body)).collect::<Vec<u8>>());
    assert_eq!(test.taken, all[..4]);
    assert!(test.connection.wants_turn());
    test.room = 6;
    test.turn();
    assert_eq!(test.taken, all);
    assert!(!test.connection.wants_turn());
    assert_eq!(test.answers(), all);
}

#[test]
fn a_held_request_keeps_those_behind_it_waiting() {
    let mut test = Test::new();
    test.send(&[post("a"), post("hold"), post("b")].concat());
    assert_eq!((test.taken.len(), test.connection.wants_turn()), (2, false));
    assert_eq!(test.answers(), ["a"]);
    test.send(&post("c"));
    assert_eq!(test.taken.len(), 2);
    // For as long as it takes.
    assert!(test.connection.is_held() && test.connection.deadline().is_none());
    test.pass(2 * IDLE_TIME_MAX);
    assert_eq!(test.connection.expired(test.now), Expired::NotYet);
    let after = test.connection.release();
    test.answer("held", after);
    assert_eq!(test.connection.flush(test.now), Progress::Fine);
    assert!(test.connection.wants_turn());
    test.turn();
    assert_eq!(test.answers(), ["held", "b", "c"]);
}

#[test]
fn a_client_that_may_be_gone_is_known_while_its_request_is_held() {
    let mut test = Test::new();
    test.send(&post("hold"));
    assert!(!test.connection.has_hung_up());
    test.connection.note_readable(true);
    assert!(test.connection.has_hung_up() && test.connection.is_held());
    assert!(!test.connection.wants_turn(), "its answer ends it");
    test.connection.release();
    assert_eq!((test.connection.wants_turn(), test.turn()), (true, Progress::Fine));
}

#[test]
fn a_client_that_does_not_take_its_answers_is_not_read_any_more() {
    let mut test = Test::new();
    test.wire.borrow_mut().room = 0;
    let big = "x".repeat(RESPONSE_BACKLOG_BYTES);
    assert_eq!(test.send(&post(&big)), Progress::Blocked);
    for i in 0..100 {
        test.send(&post(&i.to_string()));
    }
    assert_eq!((test.taken.len(), test.connection.wants_turn()), (1, false));
    assert!(test.connection.input.len() < READ_BYTES_MAX);
    test.wire.borrow_mut().room = usize::MAX;
    assert_eq!(test.connection.flush(test.now), Progress::Fine);
    while test.connection.wants_turn() {
        test.turn();
    }
    assert_eq!(test.answers().len(), 101);
}

#[test]
fn answers_leave_bit_by_bit() {
    let mut test = Test::new();
    test.wire.borrow_mut().room = 1;
    assert_eq!(test.send(&post("abc")), Progress::Blocked);
    let mut progress = Progress::Blocked;
    let mut turns = 0;
    while progress == Progress::Blocked {
        test.wire.borrow_mut().room = 1;
        progress = test.connection.flush(test.now);
        turns += 1;
    }
    assert!(turns > 50 && progress == Progress::Fine);
    assert_eq!(test.answers(), ["abc"]);
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on_in_order() {
    let mut test = Test::new();
    let head = with("", "Expect: 100-continue\r\n");
    let head = String::from_utf8(head).unwrap().replace("Content-Length: 0", "Content-Length: 3");
    test.send(&[post("a"), head.into_bytes()].concat());
    assert_eq!(test.taken, ["a", "+"]);
    test.send(b"b");
    test.send(b"cd");
    assert_eq!(test.taken, ["a", "+", "bcd"]);
    let received = test.received();
    let order: Vec<usize> = ["200 OK", "100 Continue", "bcd"]
        .iter()
        .map(|part| received.rfind(part).unwrap())
        .collect();
    assert!(received.find("200 OK").unwrap() < order[1] && order[1] < order[2]);
}

#[test]
fn after_the_last_answer_the_connection_ends() {
    let mut test = Test::new();
    let close = with("a", "Connection: close\r\n");
    assert_eq!(test.send(&close), Progress::Gone);
    assert!(test.received().contains("Connection: close"));

    // With requests behind it, which are not served: closing at once could destroy the answer.
    let mut test = Test::new();
    let bytes = [close, post("not served")].concat();
    test.wire.borrow_mut().sent.push_back(vec![b'x'; READ_BYTES_MAX]);
    test.wire.borrow_mut().sent.push_front(bytes);
    test.connection.note_readable(false);
    test.scratch.truncate(200);
    let progress = test.turn();
    assert_eq!(test.taken, ["a"]);
    assert!(progress == Progress::Gone || test.wire.borrow().ended);
}

#[test]
fn what_is_no_request_is_refused_and_the_rest_thrown_away() {
    let mut test = Test::new();
    assert_eq!(test.send(b"\x16\x03\x01 garbage"), Progress::Fine);
    assert!(test.taken[0].starts_with('!'));
    assert!(test.received().contains("Connection: close"));
    assert!(test.wire.borrow().ended, "it is told that this was all");
    for _ in 0..3 {
        assert_eq!(test.send(&post("more")), Progress::Fine);
    }
    assert_eq!(test.taken.len(), 1);
    assert!(!test.connection.wants_turn());
    // It closes, or it does not.
    test.pass(LINGER_TIME_MAX);
    assert_eq!(test.connection.expired(test.now), Expired::Connection);
    assert_eq!(test.send(b""), Progress::Gone);
}

#[test]
fn a_client_that_never_stops_has_its_share_of_a_turn() {
    let mut test = Test::new();
    let mut refused = Test::new();
    refused.send(b"\0");
    for test in [&mut test, &mut refused] {
        let endless = std::iter::repeat_n(vec![b'a'; 100], 2 * READS_PER_TURN_MAX as usize);
        test.wire.borrow_mut().sent.extend(endless);
        test.scratch.truncate(100);
        test.connection.note_readable(false);
        assert_eq!(test.turn(), Progress::Fine);
        assert!(test.connection.wants_turn());
        assert_eq!(test.wire.borrow().sent.len(), READS_PER_TURN_MAX as usize);
    }
}

#[test]
fn half_closing_is_no_reason_not_to_answer() {
    let mut test = Test::new();
    test.wire.borrow_mut().sent.extend([post("a"), Vec::new()]);
    test.connection.note_readable(true);
    assert_eq!(test.turn(), Progress::Gone);
    assert_eq!(test.answers(), ["a"]);

    let mut test = Test::new();
    assert_eq!(test.send(&post("a")[..20]), Progress::Fine);
    assert_eq!(test.send(b""), Progress::Gone, "half a request is none");

    let mut test = Test::new();
    assert_eq!(test.send(b""), Progress::Gone);
}

#[test]
fn half_closing_behind_a_backlog_loses_nothing() {
    let mut test = Test::new();
    test.wire.borrow_mut().room = 0;
    let big = "x".repeat(RESPONSE_BACKLOG_BYTES);
    test.wire.borrow_mut().sent.extend([[post(&big), post("b")].concat(), Vec::new()]);
    test.connection.note_readable(true);
    let mut progress = test.turn();
    while test.connection.wants_turn() {
        progress = test.turn();
    }
    assert_eq!(progress, Progress::Blocked);
    test.wire.borrow_mut().room = usize::MAX;
    progress = test.connection.flush(test.now);
    while progress != Progress::Gone {
        assert!(test.connection.wants_turn());
        progress = test.turn();
    }
    assert_eq!(test.answers(), [big, "b".into()]);
}

#[test]
fn a_reset_ends_the_connection() {
    let mut test = Test::new();
    test.send(&post("a")[..9]);
    test.wire.borrow_mut().broken = true;
    assert_eq!(test.send(b""), Progress::Gone);

    let mut test = Test::new();
    test.wire.borrow_mut().room = 0;
    assert_eq!(test.send(&post("a")), Progress::Blocked);
    test.wire.borrow_mut().broken = true;
    assert_eq!(test.connection.flush(test.now), Progress::Gone);
}

#[test]
fn each_phase_has_its_deadline() {
    let mut test = Test::new();
    let expect = |test: &mut Test, time: Duration, expired: Expired| {
        assert_eq!(test.connection.deadline(), Some(test.now.plus(time)));
        assert_eq!(test.connection.expired(test.now), Expired::NotYet);
        let later = test.now.plus(time);
        assert_eq!(test.connection.expired(later), expired);
    };
    expect(&mut test, IDLE_TIME_MAX, Expired::Connection);
    test.pass(IDLE_TIME_MAX / 2);
    test.send(&post("a"));
    expect(&mut test, IDLE_TIME_MAX, Expired::Connection);
    // From the first byte, however slowly the others come.
    test.pass(IDLE_TIME_MAX / 2);
    test.send(b"P");
    expect(&mut test, REQUEST_TIME_MAX, Expired::Request);
    test.pass(REQUEST_TIME_MAX / 2);
    test.send(b"O");
    expect(&mut test, REQUEST_TIME_MAX / 2, Expired::Request);
    test.send(&post("")[2..]);
    expect(&mut test, IDLE_TIME_MAX, Expired::Connection);
    // A second request begins when the first has come.
    test.send(&[post(""), b"P".to_vec()].concat());
    expect(&mut test, REQUEST_TIME_MAX, Expired::Request);
    test.pass(REQUEST_TIME_MAX / 2);
    test.send(&[&post("")[1..], b"P"].concat());
    expect(&mut test, REQUEST_TIME_MAX, Expired::Request);
    // Empty lines begin nothing.
    let mut test = Test::new();
    test.pass(REQUEST_TIME_MAX);
    test.send(b"\r\n");
    assert_eq!(test.connection.expired(test.now.plus(REQUEST_TIME_MAX)), Expired::NotYet);
    // An answer that is not taken.
    test.wire.borrow_mut().room = 5;
    test.send(&post("abc"));
    expect(&mut test, WRITE_TIME_MAX, Expired::Connection);
    test.pass(WRITE_TIME_MAX / 2);
    test.wire.borrow_mut().room = 5;
    test.connection.flush(test.now);
    expect(&mut test, WRITE_TIME_MAX, Expired::Connection);
}

#[test]
fn a_request_that_does_not_come_is_refused_once() {
    let mut test = Test::new();
    test.send(b"POST");
    test.pass(REQUEST_TIME_MAX);
    assert_eq!(test.connection.expired(test.now), Expired::Request);
    test.answer("too late", http::server::Connection::Close);
    test.connection.close_after();
    assert_eq!(test.connection.flush(test.now), Progress::Fine);
    test.send(&post("")[4..]);
    assert!(test.taken.is_empty());
    assert_eq!(test.answers(), ["too late"]);
    assert_eq!(test.connection.deadline(), Some(test.now.plus(LINGER_TIME_MAX)));
}

/// Numbers for the test below (xorshift64): the same for each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit).unwrap()
    }
}

/// However the bytes come, however many requests a turn takes, however slowly the client reads: each
/// request is taken once and answered in order.
#[test]
fn nothing_is_lost_or_changes_places() {
    for seed in 1..=200 {
        let mut dice = Dice(seed);
        let mut test = Test::new();
        let bodies: Vec<String> = (0..40)
            .map(|i| {
                let kind = if dice.below(10) == 0 { "hold" } else { "" };
                let length = [0, 10, 1000, 100_000][dice.below(4)];
                format!("{kind}{i} {}", "x".repeat(length))
            })
            .collect();
        let mut unsent: Vec<u8> = bodies.iter().flat_map(|body| post(body)).collect();
        let mut answered = Vec::new();
        let mut rounds = 0;
        while answered.len() < bodies.len() {
            rounds += 1;
            assert!(rounds < 100_000, "seed {seed}: stuck at {}", answered.len());
            let mut event = !unsent.is_empty() && dice.below(2) == 0;
            if event {
                let most = [1, 100, 5000, 200_000][dice.below(4)];
                let rest = unsent.split_off(unsent.len().min(1 + dice.below(most)));
                let piece = std::mem::replace(&mut unsent, rest);
                test.wire.borrow_mut().sent.push_back(piece);
                test.connection.note_readable(false);
            }
            if dice.below(3) == 0 {
                let room = [1, 300, 70_000, 10_000_000][dice.below(4)];
                test.wire.borrow_mut().room = dice.below(room);
                test.connection.flush(test.now);
            }
            if dice.below(4) == 0 && test.connection.is_held() {
                let after = test.connection.release();
                let body = test.taken.last().unwrap().clone();
                test.answer(&body, after);
                test.connection.flush(test.now);
                event = true;
            }
            test.room = 1 + dice.below(5);
            if event || test.connection.wants_turn() {
                assert_ne!(test.turn(), Progress::Gone, "seed {seed}");
            }
            assert!(test.connection.output.len() < RESPONSE_BACKLOG_BYTES + 300_000);
            assert!(test.connection.input.len() <= INPUT_BYTES_MAX);
            // What is complete, told by its length.
            let mut wire = test.wire.borrow_mut();
            while let Some(at) = wire.received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = String::from_utf8(wire.received[..at].to_vec()).unwrap();
                let length = head.split("Content-Length: ").nth(1).unwrap();
                let end = at + 4 + length.lines().next().unwrap().parse::<usize>().unwrap();
                if wire.received.len() < end {
                    break;
                }
                let rest = wire.received.split_off(end);
                let whole = std::mem::replace(&mut wire.received, rest);
                answered.push(String::from_utf8(whole[at + 4..].to_vec()).unwrap());
            }
        }
        assert!(answered == bodies && test.taken == bodies, "seed {seed}");
    }
}
