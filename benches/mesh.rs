//! The core over the store in memory: the rules alone.

#![allow(missing_docs, clippy::unwrap_used, reason = "criterion's macros; a benchmark may panic")]

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use slm_mesh::api::{Endpoint, Reply, Request};
use slm_mesh::mesh::{Caller, Entropy, Mesh, Outcome, Settings};
use slm_mesh::model::{Monotonic, Now, PeerId, Timestamp};
use slm_mesh::store::memory::MemoryStore;

/// Counts up: cheap, and never the same twice.
struct Counter(u64);

impl Entropy for Counter {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0 += 1;
        for (byte, value) in bytes.iter_mut().zip(self.0.to_le_bytes().into_iter().cycle()) {
            *byte = value;
        }
    }
}

const NOW: Now = Now {
    wall: Timestamp(1_800_000_000_000),
    mono: Monotonic(Duration::ZERO),
    boot: Monotonic(Duration::ZERO),
};

fn mesh() -> Mesh<MemoryStore> {
    let settings = Settings { wake_limit: 0, ..Settings::default() };
    Mesh::new(MemoryStore::new(), Box::new(Counter(0)), settings, NOW).unwrap()
}

fn turn(mesh: &mut Mesh<MemoryStore>, request: &Request) -> Reply {
    mesh.begin_turn(NOW).unwrap();
    let Ok(Outcome::Reply(reply)) = mesh.handle(Caller::Broker, request, NOW) else {
        unreachable!("the benchmark's requests are granted")
    };
    mesh.feed(NOW, || true).unwrap();
    mesh.commit_turn().unwrap();
    reply
}

fn register(mesh: &mut Mesh<MemoryStore>, socket: bool) -> PeerId {
    let uds = if socket { r#","udsPath":"/d/peers/x.sock""# } else { "" };
    let body = format!(r#"{{"pid":1,"projectPath":"/w"{uds}}}"#);
    let request = Request::decode(Endpoint::Register, body.as_bytes()).unwrap();
    let Reply::Registered(registered) = turn(mesh, &request) else { unreachable!() };
    registered.peer_id
}

fn core(c: &mut Criterion) {
    let mut group = c.benchmark_group("core, store in memory");
    group.throughput(Throughput::Elements(1));
    for (name, connected) in [("send to an inbox", false), ("send and push", true)] {
        let mut mesh = mesh();
        let (from, to) = (register(&mut mesh, false), register(&mut mesh, connected));
        if connected {
            mesh.link_up(to, true, NOW).unwrap();
        }
        let body =
            format!(r#"{{"fromPeer":"{from}","toPeer":"{to}","payload":"{}"}}"#, "x".repeat(256));
        let request = Request::decode(Endpoint::Send, body.as_bytes()).unwrap();
        group.bench_function(name, |b| {
            b.iter(|| {
                let reply = turn(&mut mesh, &request);
                for push in mesh.take_effects().pushes {
                    if let Some(seq) = push.frame.message() {
                        mesh.frame_written(to, seq, NOW);
                    }
                }
                reply
            });
        });
    }
    group.finish();
}

criterion_group!(benches, core);
criterion_main!(benches);
