//! The limits of the mesh's tables, on both sides.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test: to panic is how it fails")]

use std::time::Duration;

use slm_mesh::api::{Code, Endpoint, Reply, Request};
use slm_mesh::limits::{LOCKS_MAX, PEERS_MAX, STATE_ENTRIES_MAX};
use slm_mesh::mesh::{Caller, Entropy, Failure, Mesh, Outcome, Settings};
use slm_mesh::model::{Lock, Monotonic, Now, Party, StateEntry, Timestamp};
use slm_mesh::store::Store;
use slm_mesh::store::memory::MemoryStore;

struct Counter(u64);

impl Entropy for Counter {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0 += 1;
        for (byte, value) in bytes.iter_mut().zip(self.0.to_le_bytes().into_iter().cycle()) {
            *byte = value;
        }
    }
}

const NOW: Now = Now { wall: Timestamp(1_800_000_000_000), mono: Monotonic(Duration::ZERO) };

fn mesh() -> Mesh<MemoryStore> {
    let settings = Settings {
        heartbeat: Duration::from_secs(15),
        stale: Duration::from_secs(30),
        dead: Duration::from_secs(60),
        lock_ttl_minutes: 10,
        rate_limit: 0,
        pid: 1,
        port: 1,
        mesh_id: "test".into(),
        recovered_from: None,
    };
    Mesh::new(MemoryStore::new(), Box::new(Counter(0)), settings, NOW).unwrap()
}

fn ask(mesh: &mut Mesh<MemoryStore>, endpoint: Endpoint, body: &str) -> Result<Reply, Code> {
    let request = Request::decode(endpoint, body.as_bytes()).unwrap();
    mesh.begin_turn(NOW).unwrap();
    let outcome = mesh.handle(Caller::Broker, &request, NOW);
    mesh.commit_turn().unwrap();
    mesh.take_effects();
    match outcome {
        Ok(Outcome::Reply(reply)) => Ok(reply),
        Ok(Outcome::Hold { .. }) => panic!("nothing here waits"),
        Err(Failure::Refused(refusal)) => Err(refusal.code),
        Err(Failure::Store(error)) => panic!("{error}"),
    }
}

#[test]
fn peers() {
    let mut mesh = mesh();
    for n in 0..PEERS_MAX {
        let body = format!(r#"{{"pid":1,"projectPath":"/w","name":"peer-{n}"}}"#);
        ask(&mut mesh, Endpoint::Register, &body).unwrap();
    }
    let one_more = r#"{"pid":1,"projectPath":"/w","name":"one-more"}"#;
    assert_eq!(ask(&mut mesh, Endpoint::Register, one_more), Err(Code::Unavailable));
    ask(&mut mesh, Endpoint::Unregister, r#"{"peerId":"peer-7"}"#).unwrap();
    assert!(ask(&mut mesh, Endpoint::Register, one_more).is_ok());
}

#[test]
fn locks() {
    let mut mesh = mesh();
    let store = mesh.store_mut();
    store.begin_turn().unwrap();
    for n in 1..LOCKS_MAX {
        let lock = Lock {
            path: format!("/w/{n}").into(),
            holder: Party::Cli,
            holder_name: "cli".into(),
            reason: None,
            locked_at: NOW.wall,
            expires_at: NOW.wall.plus_ms(60_000),
            fence: store.next_seq(),
        };
        store.acquire_lock(&lock).unwrap();
    }
    store.commit_turn().unwrap();
    let lock = |name: &str| format!(r#"{{"action":"lock","peerId":"cli","filePath":"/{name}"}}"#);
    assert!(ask(&mut mesh, Endpoint::Lock, &lock("last")).is_ok());
    assert_eq!(ask(&mut mesh, Endpoint::Lock, &lock("one-more")), Err(Code::StorageFull));
    // Renewing needs no room.
    assert!(ask(&mut mesh, Endpoint::Lock, &lock("last")).is_ok());
}

#[test]
fn state_entries() {
    let mut mesh = mesh();
    let store = mesh.store_mut();
    store.begin_turn().unwrap();
    for n in 1..STATE_ENTRIES_MAX {
        let entry = StateEntry {
            namespace: "default".into(),
            key: n.to_string().into(),
            value: "".into(),
            version: store.next_seq(),
            updated_by: Party::Cli,
            updated_at: NOW.wall,
            expires_at: None,
        };
        store.set_state(&entry, None).unwrap();
    }
    store.commit_turn().unwrap();
    let set = |key: &str| format!(r#"{{"action":"set","peerId":"cli","key":"{key}","value":"v"}}"#);
    assert!(ask(&mut mesh, Endpoint::State, &set("last")).is_ok());
    assert_eq!(ask(&mut mesh, Endpoint::State, &set("one-more")), Err(Code::StorageFull));
    assert!(ask(&mut mesh, Endpoint::State, &set("last")).is_ok());
}
