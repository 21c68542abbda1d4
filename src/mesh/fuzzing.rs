//! What must hold of the core for any sequence of requests: the entry of the fuzz target `mesh`, and
//! of the replay of its corpus. Part of no binary.

use std::time::Duration;

use super::{Caller, Entropy, Failure, Mesh, Outcome, Settings};
use crate::api::{Endpoint, Reply, Request};
use crate::model::{Monotonic, Now, PeerId, Timestamp};
use crate::store::memory::MemoryStore;

struct Counter(u64);

impl Entropy for Counter {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0 += 1;
        for (byte, value) in bytes.iter_mut().zip(self.0.to_be_bytes().into_iter().rev().cycle()) {
            *byte = value;
        }
    }
}

/// A session of the mesh, a line a step: `<path> <body>` is a request with the broker token,
/// `+<ms>` lets time pass, `!` forgets the turn, `^<n>` connects to the n-th peer. In a body, `$<n>`
/// stands for the id of the n-th peer that was registered.
///
/// # Panics
/// If an invariant of the mesh does not hold.
#[expect(clippy::expect_used, reason = "to panic is how a target tells that something is wrong")]
pub fn mesh(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let settings = Settings {
        heartbeat: Duration::from_secs(15),
        stale: Duration::from_secs(30),
        dead: Duration::from_secs(60),
        lock_ttl_minutes: 10,
        rate_limit: 0,
        pid: 1,
        port: 1,
        mesh_id: "fuzz".into(),
        recovered_from: None,
    };
    let mut now = Now { wall: Timestamp(1_800_000_000_000), mono: Monotonic::default() };
    let mut mesh = Mesh::new(MemoryStore::new(), Box::new(Counter(0)), settings, now)
        .expect("the store in memory does not fail");
    let mut peers: Vec<PeerId> = Vec::new();
    for line in text.lines().take(200) {
        mesh.begin_turn(now).expect("begin");
        let mut forget = false;
        if let Some(ms) = line.strip_prefix('+') {
            let ms = ms.parse::<u32>().unwrap_or(0);
            now.mono = now.mono.plus(Duration::from_millis(ms.into()));
            now.wall = now.wall.plus_ms(ms.into());
            mesh.tick(now).expect("tick");
        } else if let Some(n) = line.strip_prefix('^') {
            let peer = n.parse().ok().and_then(|n: usize| peers.get(n));
            if let Some(peer) = peer {
                mesh.link_up(*peer, false, now).expect("link");
            }
        } else {
            forget = line.starts_with('!');
            step(&mut mesh, line.trim_start_matches('!'), &mut peers, now);
        }
        mesh.feed(now).expect("feed");
        if forget {
            mesh.abort_turn(now).expect("abort");
        } else {
            mesh.commit_turn().expect("commit");
            for push in mesh.take_effects().pushes {
                if let (super::Target::One(peer), Some(seq)) = (push.to, push.message) {
                    mesh.frame_written(peer, seq, now);
                }
            }
        }
        mesh.check_invariants(now);
    }
}

fn step(mesh: &mut Mesh<MemoryStore>, line: &str, peers: &mut Vec<PeerId>, now: Now) {
    let (path, body) = line.split_once(' ').unwrap_or((line, ""));
    let Some(endpoint) = Endpoint::find(path) else { return };
    let mut body = body.to_owned();
    for (n, peer) in peers.iter().enumerate().take(10) {
        body = body.replace(&format!("${n}"), &peer.to_string());
    }
    let Ok(request) = Request::decode(endpoint, body.as_bytes()) else { return };
    match mesh.handle(Caller::Broker, &request, now) {
        Ok(Outcome::Reply(Reply::Registered(registered))) => peers.push(registered.peer_id),
        Ok(_) | Err(Failure::Refused(_)) => {}
        Err(Failure::Store(error)) => assert!(!error.to_string().is_empty(), "the store failed"),
    }
}
