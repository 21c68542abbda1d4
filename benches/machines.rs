//! What it costs that a mesh is of several machines: hubs and relays as real processes, joined over
//! loopback with TLS. Prints a figure for each line of the table in `docs/benchmarks.md`; words behind
//! `--` choose some of them.

#![cfg(feature = "lan")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    missing_docs,
    unused_crate_dependencies,
    reason = "a benchmark may panic, and says what it has found"
)]

#[path = "../tests/mesh/common/mod.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod common;

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::agent::Agent;
use common::broker::{Broker, Setup};
use common::peer::{Peer, Pushes};
use common::proxy::Proxy;
use common::relay::{Machine, Relay, free_port};
use common::{OnDrop, eventually, wait_until};
use serde_json::json;
use slm_mesh::config::{DISCOVERY, HOST, ROLE, SHARED_SECRET, Secret, WS_PORT};
use slm_mesh::lan::channel::Way;
use slm_mesh::lan::secret::SharedKey;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|it| !it.starts_with('-')).collect();
    let sections: [(&str, fn()); 5] =
        [("push", push), ("agents", agents), ("flood", flood), ("crowd", crowd), ("cuts", cuts)];
    for (name, run) in sections {
        if words.is_empty() || words.iter().any(|word| word == name) {
            run();
        }
    }
}

fn say(what: &str, figure: &str) {
    println!("{what:<64} {figure}");
}

/// A hub, and where it is for other machines.
struct Hub {
    broker: Broker,
    address: SocketAddr,
}

impl Hub {
    fn start() -> Self {
        let port = free_port();
        let setup = Setup::new().with(HOST, "0.0.0.0").with(WS_PORT, &port.to_string());
        let setup = setup.with(SHARED_SECRET, SECRET).with(DISCOVERY, "false");
        Self { broker: setup.start(), address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    /// The binary as the relay of a machine, which reaches the hub at this address.
    fn relay_by(at: SocketAddr) -> Broker {
        let setup = Setup::new().with(ROLE, "client").with(HOST, &at.to_string());
        setup.with(SHARED_SECRET, SECRET).with(DISCOVERY, "false").start()
    }

    /// A machine whose frames are made here.
    fn machine(&self, name: &str) -> Relay {
        let machine = Machine::new(&self.broker.dir().with_file_name("machines"), name);
        let key = || SharedKey::new(&Secret::parse(SECRET).unwrap());
        // Fifty handshakes a second are begun.
        let mut relay = eventually("a handshake", || {
            machine.connect(self.address, Way::Secret(key(), None)).ok()
        });
        relay.hello();
        relay
    }
}

/// The share of the sorted values that is at most this.
fn percentile(values: &mut [Duration], share: f64) -> Duration {
    values.sort();
    values[((values.len() - 1) as f64 * share) as usize]
}

fn micros(time: Duration) -> String {
    format!("{} us", time.as_micros())
}

/// From the request to the message at the socket of the peer.
fn pushed(http: &mut common::http::Http, from: &Peer, to: &mut (Peer, Pushes)) -> Duration {
    let body = json!({"toPeer": to.0.id, "payload": "x".repeat(256)});
    let began = Instant::now();
    http.post("/send", Some(&from.token), &body);
    let (_, id) = to.1.message();
    let took = began.elapsed();
    to.1.ack(&id);
    assert_eq!(http.answer().status, 200);
    took
}

fn listening(broker: &Broker, name: &str) -> (Peer, Pushes) {
    let peer = broker.listening_peer(name, true);
    let pushes = peer.accept();
    (peer, pushes)
}

/// A push to a peer here and to one on another machine, in turns.
fn push() {
    let hub = Hub::start();
    let relay = Hub::relay_by(hub.address);
    let from = hub.broker.register("from");
    let mut here = listening(&hub.broker, "here");
    let mut there = listening(&relay, "there");
    let mut http = hub.broker.connect();
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for round in 0..2200 {
        let (one, other) =
            (pushed(&mut http, &from, &mut here), pushed(&mut http, &from, &mut there));
        if round >= 200 {
            near.push(one);
            far.push(other);
        }
    }
    let (near, far) = (percentile(&mut near, 0.5), percentile(&mut far, 0.5));
    say("push on the hub's machine, p50", &micros(near));
    let ratio = far.as_secs_f64() / near.as_secs_f64();
    say("push to another machine, p50", &format!("{}, {ratio:.2} times", micros(far)));
}

/// From the call of the tool on one machine to the text in the inbox socket of a session on another. Each
/// session is told once: after that it is in a turn, and its messages are for the end of that.
fn agents() {
    let hub = Hub::start();
    let relay = Hub::relay_by(hub.address);
    let serve = |broker: &Broker, name: &str, set: &[(&str, &Path)]| {
        let mut command = broker.setup.mesh().command(["mcp"]);
        command.env("SLM_MESH_NAME", name).envs(set.iter().copied()).stdin(Stdio::piped());
        let mut agent = Agent::of(command.stderr(Stdio::null()).spawn().unwrap());
        let client = json!({"name": "claude-code", "version": "1"});
        let params =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
        agent.request("initialize", &params);
        agent.notify("notifications/initialized", &json!({}));
        assert_eq!(agent.who().1, name);
        agent
    };
    let mut sender = serve(&relay, "sender", &[]);
    let mut took = Vec::new();
    for round in 0..40 {
        let path = hub.broker.dir().with_file_name(format!("inbox{round}.sock"));
        let listener = UnixListener::bind(&path).unwrap();
        let name = format!("sleeper{round}");
        let own = [
            ("CLAUDE_CODE_MESSAGING_SOCKET", path.as_path()),
            ("CLAUDE_CODE_MESSAGING_TOKEN", Path::new("secret")),
        ];
        let mut sleeper = serve(&hub.broker, &name, &own);
        let began = Instant::now();
        let id = sender.ask_tool("mesh_send", &json!({"to": name, "message": "the text"}));
        // A connection that only looks who listens says nothing.
        let _stream = loop {
            let mut lines = BufReader::new(listener.accept().unwrap().0);
            let mut text = String::new();
            while !text.contains("the text") && lines.read_line(&mut text).unwrap() > 0 {}
            if text.contains("the text") {
                break lines;
            }
        };
        took.push(began.elapsed());
        sender.tool_answer(id).ok();
        sleeper.end();
    }
    let took = micros(percentile(&mut took, 0.5));
    say("mesh_send to the inbox socket on another machine, p50", &took);
}

/// What a thousand handshakes a second cost the clients of the hub's own machine.
fn flood() {
    let hub = Hub::start();
    let from = hub.broker.register("from");
    let mut here = listening(&hub.broker, "here");
    let mut http = hub.broker.connect();
    let mut measure = |rounds| {
        let mut took: Vec<_> = (0..rounds)
            .map(|_| {
                thread::sleep(Duration::from_millis(1));
                pushed(&mut http, &from, &mut here)
            })
            .collect();
        percentile(&mut took, 0.99)
    };
    measure(200);
    let quiet = measure(2000);
    let over = AtomicBool::new(false);
    let loud = thread::scope(|scope| {
        let _over = OnDrop(|| over.store(true, Ordering::SeqCst));
        scope.spawn(|| {
            let mut open = VecDeque::new();
            let began = Instant::now();
            let mut due = Duration::ZERO;
            while !over.load(Ordering::SeqCst) {
                thread::sleep(due.saturating_sub(began.elapsed()));
                due += Duration::from_millis(1);
                if let Ok(mut stream) = TcpStream::connect(hub.address) {
                    let _ = stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]);
                    open.push_back(stream);
                }
                if open.len() > 200 {
                    open.pop_front();
                }
            }
        });
        measure(2000)
    });
    let ratio = loud.as_secs_f64() / quiet.as_secs_f64();
    say("push on the hub's machine, p99, quiet", &micros(quiet));
    say(
        "push on the hub's machine, p99, 1,000 handshakes a second",
        &format!("{}, {ratio:.2} times", micros(loud)),
    );
}

fn memory(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Processor time that a process has had, in ticks of a hundredth of a second: `proc_pid_stat(5)`.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// 500 machines, each with one peer and its heartbeats.
fn crowd() {
    const MACHINES: usize = 500;
    let hub = Hub::start();
    let pid = hub.broker.pid();
    hub.machine("first");
    let before = memory(pid);
    let mut relays: Vec<(Relay, String)> = Vec::new();
    let mut heard = Instant::now();
    for number in 0..MACHINES {
        let mut relay = hub.machine(&format!("m{number}"));
        let (_, token) = relay.register(&json!({"name": format!("p{number}")}));
        relays.push((relay, token));
        // Whoever says nothing for long is taken for gone.
        if heard.elapsed() > Duration::from_secs(10) {
            heard = Instant::now();
            for (relay, token) in &mut relays {
                relay.ok(Some(token), "/heartbeat", &json!({}));
            }
        }
    }
    let each = (memory(pid) - before) / MACHINES as f64;
    say("memory of the hub for each of 500 machines with a peer", &format!("{each:.1} KiB"));
    // A heartbeat each in ten seconds.
    let (began, used) = (Instant::now(), ticks(pid));
    let every = Duration::from_secs(10) / MACHINES as u32;
    for beat in 0..2 * MACHINES {
        thread::sleep((every * beat as u32).saturating_sub(began.elapsed()));
        let (relay, token) = &mut relays[beat % MACHINES];
        relay.ok(Some(token), "/heartbeat", &json!({}));
    }
    let share = (ticks(pid) - used) as f64 / began.elapsed().as_secs_f64();
    say(
        "500 machines, each with a peer and heartbeats: CPU of the hub",
        &format!("{share:.1} % of a core"),
    );
}

/// A hundred cuts, kills and restarts under load: what was acknowledged and is not there, and how long
/// it takes until a message is taken again.
fn cuts() {
    let mut hub = Hub::start();
    let proxy = Proxy::to(hub.address);
    let mut relay = Hub::relay_by(proxy.address);
    let to = hub.broker.register("to");
    let mut from = relay.register("from");
    let mut sent = BTreeSet::new();
    let mut back = Vec::new();
    let mut count = 0;
    for round in 0..100_u32 {
        for _ in 0..5 {
            count += 1;
            let body = json!({"toPeer": to.id, "payload": format!("{count}")});
            // Whoever asks while it is cut gets a no, or no answer, for which nobody waits here.
            if let Ok(status) = try_send(&relay, &from, &body)
                && status == 200
            {
                sent.insert(count);
            }
        }
        // Another order in each hundred of rounds would be as good: this one is the same each time.
        match round.wrapping_mul(2_654_435_761) >> 30 {
            0 => proxy.reset(),
            1 => {
                proxy.cut();
                thread::sleep(Duration::from_millis(u64::from(round % 7) * 30));
                proxy.mend();
            }
            2 => {
                hub.broker.kill();
                hub.broker.start_again();
            }
            _ => {
                relay.kill();
                relay.start_again();
            }
        }
        let began = Instant::now();
        wait_until("it is taken again", || {
            count += 1;
            let body = json!({"toPeer": to.id, "payload": format!("{count}")});
            match try_send(&relay, &from, &body) {
                Ok(200) => sent.insert(count),
                Ok(401) => {
                    from = relay.register("from");
                    false
                }
                _ => false,
            }
        });
        back.push(began.elapsed());
    }
    let mut there: Vec<u64> = Vec::new();
    loop {
        let read = to.ok(&hub.broker, "/messages", &json!({"limit": 1000}));
        let messages = read["messages"].as_array().unwrap();
        if messages.is_empty() {
            break;
        }
        let texts =
            messages.iter().map(|it| it["payload"].as_str().unwrap().parse::<u64>().unwrap());
        there.extend(texts);
    }
    let lost = sent.iter().filter(|number| !there.contains(number)).count();
    let twice = there.len() - there.iter().collect::<BTreeSet<_>>().len();
    say(
        "acknowledged and lost, over 100 cuts, kills and restarts",
        &format!("{lost} of {}, {twice} there twice", sent.len()),
    );
    let (half, worst) = (percentile(&mut back, 0.5), percentile(&mut back, 1.0));
    let figure = format!("{} ms, at most {} ms", half.as_millis(), worst.as_millis());
    say("until a message is taken again, p50", &figure);
}

/// The status, or that there was no answer.
fn try_send(relay: &Broker, from: &Peer, body: &serde_json::Value) -> std::io::Result<u16> {
    let mut http = relay.connect();
    http.post("/send", Some(&from.token), body);
    Ok(http.try_answer()?.status)
}
