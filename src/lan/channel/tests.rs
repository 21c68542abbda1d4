//! Both ends of a channel over pipes that cut, and over sockets; and one end with something else at the
//! other.

mod pipe;
mod raw;

use std::net::{TcpListener, TcpStream};
use std::rc::Rc;

use rustls::StreamOwned;
use tungstenite::protocol::{CloseFrame, Role, WebSocket};
use tungstenite::{Bytes, Message};

use pipe::Pipe;
use raw::{Raw, pump, would_block};

use super::*;
use crate::config::Secret;
use crate::files::tests::TempDir;

fn key() -> MachineKey {
    let dir = TempDir::new();
    MachineKey::load_or_make(&dir.path().join("machine.key")).unwrap()
}

fn secret(text: &str) -> SharedKey {
    SharedKey::new(&Secret::parse(text).unwrap())
}

const ONE: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "0123456789abcdef0123456789abcdee";
const TOKEN: InvitationToken = InvitationToken([7; 16]);

/// A hub's and a relay's key, and that of somebody else.
struct Keys {
    hub: MachineKey,
    relay: MachineKey,
    other: MachineKey,
}

impl Keys {
    fn new() -> Self {
        Self { hub: key(), relay: key(), other: key() }
    }

    fn hub_of(&self, text: Option<&str>) -> Arc<Hub> {
        Arc::new(Hub::new(&self.hub, text.map(secret)).unwrap())
    }

    fn relay<T: Read + Write>(&self, stream: T, way: Way) -> Channel<T> {
        Channel::of_relay(stream, &self.relay, way, MachineName::new("laptop"), "1.0.0").unwrap()
    }

    /// Both ends over a pipe.
    fn pair(&self, most: usize, text: Option<&str>, way: Way) -> (Channel<Pipe>, Channel<Pipe>) {
        let (a, b) = Pipe::pair(most);
        (Channel::of_hub(a, &self.hub_of(text)).unwrap(), self.relay(b, way))
    }
}

/// What one end hears, as text, up to where the stream has no more; a hub lets anyone in.
fn heard<T: Read + Write>(channel: &mut Channel<T>, heard: &mut Vec<String>) {
    channel.flush();
    loop {
        let event = match channel.advance() {
            Ok(None) => return,
            Ok(Some(Event::Again)) => continue,
            Ok(Some(Event::Text(text))) if text.len() > 100 => format!("text of {}", text.len()),
            Ok(Some(Event::Text(text))) => format!("text {text}"),
            Ok(Some(Event::Upgrade(upgrade))) => {
                channel.accept();
                format!("upgrade {:?}", upgrade.claim)
            }
            Ok(Some(other)) => format!("{other:?}"),
            Err(ended) => format!("ended: {ended}"),
        };
        heard.push(event);
    }
}

/// Goes on with both until `is_enough`, and says what each heard.
fn run<A: Read + Write, B: Read + Write>(
    a: &mut Channel<A>,
    b: &mut Channel<B>,
    mut is_enough: impl FnMut(&mut Channel<A>, &mut Channel<B>, &[String], &[String]) -> bool,
) -> (Vec<String>, Vec<String>) {
    let (mut at_a, mut at_b) = (Vec::new(), Vec::new());
    for _ in 0..10_000_000 {
        heard(a, &mut at_a);
        heard(b, &mut at_b);
        if is_enough(a, b, &at_a, &at_b) {
            return (at_a, at_b);
        }
    }
    panic!("it does not come to an end: {at_a:?} {at_b:?}")
}

/// Until both are over.
fn to_the_end<A: Read + Write, B: Read + Write>(
    a: &mut Channel<A>,
    b: &mut Channel<B>,
) -> (Vec<String>, Vec<String>) {
    let is_ended = |said: &[String]| said.last().is_some_and(|last| last.starts_with("ended"));
    run(a, b, |_, _, at_a, at_b| is_ended(at_a) && is_ended(at_b))
}

fn open<A: Read + Write, B: Read + Write>(a: &mut Channel<A>, b: &mut Channel<B>) {
    run(a, b, |a, b, _, _| a.is_open() && b.is_open());
}

#[test]
fn each_way_leads_in_and_texts_go_both_ways() {
    let keys = Keys::new();
    let id = keys.hub.id();
    let ways = [
        (Way::Joined(id), "upgrade Known"),
        (Way::Invited(id, TOKEN), "upgrade Invitation(Token(hidden))"),
        (Way::Secret(secret(ONE), None), "upgrade Secret"),
        (Way::Secret(secret(ONE), Some(id)), "upgrade Secret"),
    ];
    for (way, asked) in ways {
        for most in [1, 100, 100_000] {
            let (mut hub, mut relay) = keys.pair(most, Some(ONE), way.clone());
            assert!(relay.send("too early").is_err() && hub.ping().is_err());
            let mut is_sent = false;
            let (at_hub, at_relay) = run(&mut hub, &mut relay, |hub, relay, at_hub, at_relay| {
                if hub.is_open() && relay.is_open() && !is_sent {
                    is_sent = true;
                    for (channel, from) in [(hub, "hub"), (relay, "relay")] {
                        channel.send(&format!("{from} 1")).unwrap();
                        channel.ping().unwrap();
                        channel.send(&"x".repeat(20_000)).unwrap();
                    }
                }
                at_hub.len() == 5 && at_relay.len() == 5
            });
            let rest = ["Ping", "text of 20000", "Pong"];
            assert_eq!(at_hub, [&[asked, "text relay 1"][..], &rest].concat());
            let opened = format!("Open({id:?})");
            assert_eq!(at_relay, [&[&*opened, "text hub 1"][..], &rest].concat());
            assert_eq!((hub.pending(), hub.wants_write()), (0, false));
        }
    }
}

#[test]
fn over_sockets_with_large_texts() {
    let keys = Keys::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let here = listener.accept().unwrap().0;
    for stream in [&here, &there] {
        stream.set_nonblocking(true).unwrap();
    }
    let mut hub = Channel::of_hub(here, &keys.hub_of(None)).unwrap();
    let mut relay = keys.relay(there, Way::Invited(keys.hub.id(), TOKEN));
    open(&mut hub, &mut relay);
    let large = "\u{e4}".repeat(MACHINE_TEXT_BYTES_MAX / 2);
    hub.send(&large).unwrap();
    relay.send(&large).unwrap();
    assert!(relay.pending() > MACHINE_TEXT_BYTES_MAX);
    let (at_hub, at_relay) = run(&mut hub, &mut relay, |_, _, at_hub, at_relay| {
        !at_hub.is_empty() && !at_relay.is_empty()
    });
    let expected = [format!("text of {MACHINE_TEXT_BYTES_MAX}")];
    assert_eq!((&at_hub[..], &at_relay[..]), (&expected[..], &expected[..]));
    relay.close(CLOSE_NORMAL, "that is all");
    let (at_hub, _) = run(&mut hub, &mut relay, |hub, relay, _, _| {
        // The hub hangs up once it has said good-bye, and the relay notices.
        if !hub.wants_write() && !hub.is_open() {
            let _ = hub.stream_mut().shutdown(std::net::Shutdown::Both);
        }
        relay.is_done()
    });
    assert_eq!(at_hub, ["ended: the other side has closed the connection: that is all"]);
}

#[test]
fn another_hub_is_told_nothing() {
    let keys = Keys::new();
    let way = Way::Invited(keys.other.id(), TOKEN);
    let (mut hub, mut relay) = keys.pair(50, None, way);
    let (at_hub, at_relay) = to_the_end(&mut hub, &mut relay);
    assert!(at_hub[0].contains("no machine of a mesh"), "{at_hub:?}");
    let expected = format!(
        "ended: another hub answers there: its id begins with {}, that of ours with {}",
        keys.hub.id().short(),
        keys.other.id().short()
    );
    assert_eq!(at_relay, [expected]);
}

#[test]
fn another_secret_is_told_on_both_sides() {
    let keys = Keys::new();
    for (hub_has, words) in [(Some(OTHER), "has to be the same"), (None, "this hub has none")] {
        let (mut hub, mut relay) = keys.pair(50, hub_has, Way::Secret(secret(ONE), None));
        let (at_hub, at_relay) = to_the_end(&mut hub, &mut relay);
        for said in [&at_hub, &at_relay] {
            let [said] = &said[..] else { panic!("{said:?}") };
            assert!(said.contains("the shared secret differs") && said.contains(words), "{said}");
        }
    }
}

#[test]
fn a_refusal_is_given_back_exactly() {
    let keys = Keys::new();
    let (mut hub, mut relay) = keys.pair(50, None, Way::Joined(keys.hub.id()));
    let refusal = Refusal::new(Code::Forbidden, "this machine was removed");
    let mut body = Vec::new();
    refusal.write_to(&mut body);
    let mut is_asked = false;
    loop {
        match hub.advance() {
            Ok(Some(Event::Upgrade(upgrade))) => {
                assert_eq!((upgrade.machine, upgrade.claim), (keys.relay.id(), Claim::Known));
                assert_eq!(upgrade.name, MachineName::new("laptop"));
                assert_eq!(&*upgrade.version, "1.0.0");
                assert_eq!(hub.advance().unwrap(), None, "it is not decided yet");
                hub.refuse(&refusal);
                is_asked = true;
            }
            other => assert!(matches!(other, Ok(None | Some(Event::Again))), "{other:?}"),
        }
        match relay.advance() {
            Err(Ended::Refused(refused)) => {
                assert_eq!((refused.status, &*refused.body), (403, &*body));
                assert_eq!(refused.to_string(), "this machine was removed");
                break;
            }
            other => assert!(matches!(other, Ok(None | Some(Event::Again))), "{other:?}"),
        }
    }
    assert!(is_asked && !hub.is_open() && !relay.is_open());
}

#[test]
fn a_handshake_is_two_flights_of_the_hub() {
    let keys = Keys::new();
    let (mut hub, mut relay) = keys.pair(100_000, None, Way::Joined(keys.hub.id()));
    let mut flights = 0;
    while !hub.is_open() {
        match hub.advance().unwrap() {
            Some(Event::Again) => flights += 1,
            Some(Event::Upgrade(_)) => hub.accept(),
            None => {}
            other => panic!("{other:?}"),
        }
        assert!(relay.advance().is_ok());
    }
    assert_eq!(flights, 2);
    assert!(hub.received() < 1500, "{} bytes to be let in", hub.received());
}

/// A client that sends these bytes to a hub, and what each then has heard, up to the end.
fn raw_client(keys: &Keys, hub: &Arc<Hub>, bytes: &[u8]) -> (Vec<String>, String) {
    let (a, b) = Pipe::pair(5000);
    let mut hub = Channel::of_hub(a, hub).unwrap();
    let mut raw = Raw::of_client(&keys.relay, b);
    let (mut at_hub, mut out, mut into) = (Vec::new(), bytes.to_vec(), Vec::new());
    for _ in 0..100_000 {
        heard(&mut hub, &mut at_hub);
        let goes_on = pump(&mut raw.0, &mut out, &mut into);
        if !goes_on || at_hub.last().is_some_and(|last| last.starts_with("ended")) {
            for _ in 0..1000 {
                heard(&mut hub, &mut at_hub);
                pump(&mut raw.0, &mut Vec::new(), &mut into);
            }
            break;
        }
    }
    (at_hub, String::from_utf8_lossy(&into).into_owned())
}

fn request(bearer: Option<Bearer>) -> Vec<u8> {
    let mut out = Buffer::new(MACHINE_HEAD_BYTES_MAX);
    upgrade::encode_request(&mut out, bearer, None, "1.0.0").unwrap();
    out.as_slice().to_vec()
}

#[test]
fn what_is_no_request_is_answered_and_ended() {
    let keys = Keys::new();
    let hub = keys.hub_of(None);
    let cases = [
        (b"GET /mesh HTTP/1.1\r\nX: ".iter().copied().chain([b'x'; 9000]).collect(), "431"),
        (vec![b'\n'; 9000], "431"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "404"),
        (b"\x16\x03\x01".to_vec(), "400"),
        // It says more before it is let in.
        ([request(None), vec![0x81, 0x80, 0, 0, 0, 0]].concat(), "400"),
    ];
    for (bytes, status) in cases {
        let (at_hub, answer) = raw_client(&keys, &hub, &bytes);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains("{\"ok\":false,\"error\":"), "{answer}");
        assert_eq!(at_hub.len(), 1, "{at_hub:?}");
        assert!(at_hub[0].starts_with("ended"), "{at_hub:?}");
    }
    assert_eq!(raw_client(&keys, &hub, &request(None)).0, ["upgrade Known"]);
}

#[test]
fn plain_text_and_old_versions_are_refused_by_tls() {
    let keys = Keys::new();
    // A ClientHello of TLS 1.2 (see the tests of `tls`), and a request without TLS.
    let mut hello = vec![22, 3, 1, 0, 57, 1, 0, 0, 53, 3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 8, 0, 13, 0, 4, 0, 2, 8, 7]);
    hello[4] = u8::try_from(hello.len() - 5).unwrap();
    hello[8] = u8::try_from(hello.len() - 9).unwrap();
    for (bytes, words) in [(&hello[..], "no machine of a mesh"), (b"GET / HTTP/1.1\r\n\r\n", "TLS")]
    {
        let (a, mut b) = Pipe::pair(5000);
        let mut hub = Channel::of_hub(a, &keys.hub_of(None)).unwrap();
        let (mut at_hub, mut out, mut into) = (Vec::new(), bytes.to_vec(), Vec::new());
        for _ in 0..1000 {
            heard(&mut hub, &mut at_hub);
            pump(&mut b, &mut out, &mut into);
        }
        assert_eq!(at_hub.len(), 1, "{at_hub:?}");
        assert!(at_hub[0].contains(words), "{at_hub:?}");
        assert_eq!((into[0], into.len()), (21, 7), "an alert and no more");
    }
    // And a relay that finds no TLS.
    let (a, b) = Pipe::pair(5000);
    let (mut a, mut relay) = (a, keys.relay(b, Way::Joined(keys.hub.id())));
    let mut at_relay = Vec::new();
    for _ in 0..1000 {
        heard(&mut relay, &mut at_relay);
        pump(&mut a, &mut b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), &mut Vec::new());
    }
    assert_eq!(at_relay, ["ended: the other side does not speak TLS"]);
}

/// A machine with a key of its own between a relay and its hub, that passes on what both say.
#[test]
fn a_machine_in_the_middle_proves_nothing() {
    let keys = Keys::new();
    let (to_relay, at_relay) = Pipe::pair(5000);
    let (to_hub, at_hub) = Pipe::pair(5000);
    let mut relay = keys.relay(at_relay, Way::Secret(secret(ONE), None));
    let mut hub = Channel::of_hub(at_hub, &keys.hub_of(Some(ONE))).unwrap();
    let mut towards_relay = Raw::of_server(&keys.other, to_relay);
    let mut towards_hub = Raw::of_client(&keys.other, to_hub);
    let (mut from_relay, mut from_hub) = (Vec::new(), Vec::new());
    let (mut said_to_relay, mut told_hub) = (Vec::new(), Vec::new());
    for _ in 0..1000 {
        heard(&mut relay, &mut said_to_relay);
        heard(&mut hub, &mut told_hub);
        pump(&mut towards_relay.0, &mut from_hub, &mut from_relay);
        pump(&mut towards_hub.0, &mut from_relay, &mut from_hub);
    }
    for said in [&said_to_relay, &told_hub] {
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("ended: the shared secret differs"), "{said:?}");
    }
}

/// A fake hub to which a relay with the secret connects: what it says to a request is what `answer`
/// makes of it.
fn fake_hub(answer: impl Fn(&str, &str) -> String, text: &[u8]) -> Vec<String> {
    let keys = Keys::new();
    let (a, b) = Pipe::pair(5000);
    let mut relay = keys.relay(b, Way::Secret(secret(ONE), None));
    let mut fake = Raw::of_server(&keys.other, a);
    let (mut out, mut into, mut said) = (Vec::new(), Vec::new(), Vec::new());
    let mut is_answered = false;
    for _ in 0..1000 {
        heard(&mut relay, &mut said);
        pump(&mut fake.0, &mut out, &mut into);
        let request = String::from_utf8_lossy(&into);
        if request.ends_with("\r\n\r\n") && !is_answered {
            is_answered = true;
            let proof = request.split("Bearer ").nth(1).unwrap().split('\r').next().unwrap();
            let accept = upgrade::decode_request(&into).unwrap().unwrap().accept;
            let mut accepted = Buffer::new(MACHINE_HEAD_BYTES_MAX);
            upgrade::encode_accept(&mut accepted, &accept, None).unwrap();
            let accepted = String::from_utf8_lossy(accepted.as_slice()).into_owned();
            out.extend(answer(&accepted, proof).into_bytes());
            out.extend(text);
        }
    }
    assert!(is_answered);
    said
}

#[test]
fn a_hub_without_the_secret_is_not_believed() {
    let with = |accepted: &str, proof: &str| {
        accepted.replace("\r\n\r\n", &format!("\r\nSlm-Mesh-Proof: {proof}\r\n\r\n"))
    };
    // No proof, the relay's own, and any; with a text behind it that must not be heard.
    let text = [0x81, 1, b'x'];
    let differs = format!("ended: {SECRET_DIFFERS}");
    assert_eq!(fake_hub(|accepted, _| accepted.to_owned(), &text), [&*differs]);
    assert_eq!(fake_hub(with, &text), [&*differs]);
    assert_eq!(fake_hub(|accepted, _| with(accepted, &"0".repeat(64)), &text), [&*differs]);
    let other = fake_hub(|accepted, _| accepted.replace("Accept: ", "Accept: x"), &text);
    assert_eq!(other, ["ended: what answers is no hub: its answer is to another request"]);
    let smtp = fake_hub(|_, _| "220 mail ESMTP\r\n".to_owned(), b"");
    assert_eq!(smtp, ["ended: what answers is no hub: its answer is not that of a hub"]);
    let endless = fake_hub(|_, _| "HTTP/1.1 200 OK\r\nX: ".to_owned(), &[b'x'; 9000]);
    assert!(endless[0].contains("more than 8192 bytes"), "{endless:?}");
}

#[test]
fn a_proof_is_of_no_use_on_another_connection() {
    let keys = Keys::new();
    let hub = keys.hub_of(Some(ONE));
    // That of a connection of the same two machines.
    let proof = secret(ONE).prove(Side::Client, &[1; 32], keys.hub.id(), keys.relay.id());
    let (at_hub, answer) = raw_client(&keys, &hub, &request(Some(Bearer::Proof(proof))));
    assert_eq!(at_hub, [format!("ended: {SECRET_DIFFERS}")]);
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("the shared secret differs"));
}

/// tungstenite as the relay of a hub that has let it in.
struct Interop {
    hub: Channel<Pipe>,
    client: WebSocket<StreamOwned<ClientConnection, Pipe>>,
    at_hub: Vec<String>,
    at_client: Vec<Message>,
}

impl Interop {
    fn new() -> Self {
        let keys = Keys::new();
        let (a, b) = Pipe::pair(100_000);
        let mut hub = Channel::of_hub(a, &keys.hub_of(None)).unwrap();
        let mut raw = Raw::of_client(&keys.relay, b);
        let (mut at_hub, mut out, mut into) = (Vec::new(), request(None), Vec::new());
        while !into.ends_with(b"\r\n\r\n") {
            heard(&mut hub, &mut at_hub);
            assert!(pump(&mut raw.0, &mut out, &mut into));
        }
        let client = WebSocket::from_raw_socket(raw.0, Role::Client, None);
        Self { hub, client, at_hub: Vec::new(), at_client: Vec::new() }
    }

    fn run(&mut self, rounds: usize) {
        for _ in 0..rounds {
            heard(&mut self.hub, &mut self.at_hub);
            let _ = self.client.flush();
            if let Ok(message) = self.client.read() {
                self.at_client.push(message);
            }
        }
    }

    /// Bytes past tungstenite.
    fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.client.get_mut().write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) => assert!(would_block(&error), "{error}"),
            }
            heard(&mut self.hub, &mut self.at_hub);
        }
    }
}

#[test]
fn it_talks_with_another_implementation() {
    let mut both = Interop::new();
    let _ = both.client.write(Message::text("hello"));
    let _ = both.client.write(Message::Ping(Bytes::from_static(b"abc")));
    both.hub.send("there").unwrap();
    both.hub.ping().unwrap();
    both.run(1000);
    assert_eq!(both.at_hub, ["text hello", "Ping", "Pong"]);
    let expected = [
        Message::text("there"),
        Message::Ping(Bytes::new()),
        Message::Pong(Bytes::from_static(b"abc")),
    ];
    assert_eq!(both.at_client.len(), 3);
    assert!(expected.iter().all(|message| both.at_client.contains(message)));
    both.hub.close(CLOSE_POLICY, "removed");
    both.run(1000);
    let close = CloseFrame { code: CLOSE_POLICY.into(), reason: "removed".into() };
    assert_eq!(both.at_client[3], Message::Close(Some(close)));
}

#[test]
fn what_breaks_a_rule_is_closed_with_its_code_and_words() {
    let cases: [(&[u8], u16, &str); 7] = [
        (&[0x81, 1, b'x'], 1002, "a frame of a client is not masked"),
        (&[0xc1, 0x80, 0, 0, 0, 0], 1002, "a frame has reserved bits set"),
        (&[0x8b, 0x80, 0, 0, 0, 0], 1002, "a frame has an unknown opcode"),
        (&[0x82, 0x81, 0, 0, 0, 0, 1], 1003, "only texts are taken here"),
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff], 1007, "a text is not UTF-8"),
        (&[0x81, 0xff, 0, 0, 0, 0, 1, 0, 0, 0], 1009, "a text is longer than 8388608 bytes"),
        (&[0x88, 0x82, 0, 0, 0, 0, 3, 0xe8], 1000, ""),
    ];
    for (bytes, code, words) in cases {
        let mut both = Interop::new();
        both.write(bytes);
        if code == 1009 {
            both.write(&[0; 4]);
        }
        both.run(1000);
        let close = CloseFrame { code: code.into(), reason: words.into() };
        assert_eq!(both.at_client, [Message::Close(Some(close))]);
        assert_eq!(both.at_hub.len(), 1);
        assert!(both.at_hub[0].starts_with("ended") && both.at_hub[0].contains(words));
    }
}

#[test]
fn whoever_pings_and_reads_nothing_fills_no_memory() {
    let mut both = Interop::new();
    both.hub.stream_mut().is_blocked = true;
    let ping = [&[0x89, 0xfd, 0, 0, 0, 0][..], &[0; 125]].concat().repeat(100);
    for _ in 0..200 {
        both.write(&ping);
    }
    assert!(both.at_hub.len() > 15_000 && both.at_hub.iter().all(|heard| heard == "Ping"));
    let pending = both.hub.pending();
    assert!((MACHINE_OUT_BYTES_MAX..MACHINE_OUT_BYTES_MAX + 100_000).contains(&pending));
}

#[test]
fn what_waits_has_an_end() {
    let keys = Keys::new();
    let (mut hub, mut relay) = keys.pair(100_000, None, Way::Joined(keys.hub.id()));
    open(&mut hub, &mut relay);
    hub.stream_mut().is_blocked = true;
    let text = "x".repeat(100_000);
    let mut sent = 0;
    while hub.pending() < MACHINE_OUT_BYTES_MAX {
        hub.send(&text).unwrap();
        hub.flush();
        sent += 1;
    }
    assert_eq!(sent, MACHINE_OUT_BYTES_MAX / text.len() + 1);
    hub.send(&"x".repeat(MACHINE_TEXT_BYTES_MAX)).unwrap();
    assert_eq!(hub.send(&"x".repeat(MACHINE_TEXT_BYTES_MAX)), Err(Full));
    assert_eq!(hub.send(&"x".repeat(MACHINE_TEXT_BYTES_MAX + 1)), Err(Full));
    hub.stream_mut().is_blocked = false;
    let (_, at_relay) = run(&mut hub, &mut relay, |_, _, _, at_relay| at_relay.len() > sent);
    assert_eq!(at_relay.len(), sent + 1);
    assert_eq!(hub.pending(), 0);
}

/// Cut after any number of bytes in either direction, both ends come to an end, and neither has heard
/// what the other has not said.
#[test]
fn a_cut_anywhere_ends_both_and_invents_nothing() {
    let keys = Keys::new();
    let texts = ["one", &"two".repeat(3000), "three"];
    for (direction, most) in [(0, 40), (1, 40), (0, 5000), (1, 5000)] {
        let mut cut = 1;
        loop {
            let (mut hub, mut relay) = keys.pair(most, Some(ONE), Way::Secret(secret(ONE), None));
            let lane = if direction == 0 { &hub.stream.to } else { &relay.stream.to };
            let lane = Rc::clone(lane);
            lane.borrow_mut().left = Some(cut);
            let mut sent = [false; 2];
            let mut is_whole = false;
            let (at_hub, at_relay) = run(&mut hub, &mut relay, |hub, relay, at_hub, at_relay| {
                for (channel, sent) in [hub, relay].into_iter().zip(&mut sent) {
                    if channel.is_open() && !*sent {
                        *sent = texts.iter().all(|text| channel.send(text).is_ok());
                    }
                }
                is_whole = at_hub.len() > 3 && at_relay.len() > 3;
                let ended = |said: &[String]| said.iter().any(|said| said.starts_with("ended"));
                is_whole || ended(at_hub) && ended(at_relay)
            });
            let order = ["text one", "text of 9000", "text three"];
            for said in [at_hub, at_relay] {
                let said: Vec<_> =
                    said.into_iter().filter(|said| said.starts_with("text")).collect();
                assert_eq!(said, order[..said.len()], "cut after {cut}");
            }
            if is_whole {
                break;
            }
            // Each byte of the handshake, and some of the rest.
            cut += if cut < 1200 { 7 } else { 611 };
        }
        assert!(cut > 9000, "{cut}");
    }
}
