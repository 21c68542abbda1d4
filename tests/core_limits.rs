//! The limits of the mesh's tables, on both sides.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test: to panic is how it fails")]

use std::time::Duration;

use slm_mesh::api::{Code, Endpoint, Reply, Request};
use slm_mesh::limits::{
    LOCK_WAITERS_MAX, LOCK_WAITERS_PER_LOCK_MAX, LOCKS_MAX, PEERS_MAX, STATE_ENTRIES_MAX,
};
use slm_mesh::mesh::{Caller, Entropy, Failure, Held, Interest, Mesh, Outcome, Settings};
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
    mesh_over(MemoryStore::new())
}

fn mesh_over(store: MemoryStore) -> Mesh<MemoryStore> {
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
    Mesh::new(store, Box::new(Counter(0)), settings, NOW).unwrap()
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
    let mut store = MemoryStore::new();
    store.begin_turn().unwrap();
    for n in 1..LOCKS_MAX {
        let lock = Lock {
            path: format!("/w/{n}").into(),
            pattern: false,
            shared: false,
            repo_id: None,
            git_root: None,
            holder: Party::Cli,
            holder_name: "cli".into(),
            reason: None,
            locked_at: NOW.wall,
            expires_at: NOW.wall.plus_ms(60_000),
            fence: store.next_seq(),
        };
        store.put_lock(&lock).unwrap();
    }
    store.commit_turn().unwrap();
    let mut mesh = mesh_over(store);
    let lock = |name: &str| format!(r#"{{"action":"lock","peerId":"cli","filePath":"/{name}"}}"#);
    assert!(ask(&mut mesh, Endpoint::Lock, &lock("last")).is_ok());
    assert_eq!(ask(&mut mesh, Endpoint::Lock, &lock("one-more")), Err(Code::StorageFull));
    // Renewing needs no room.
    assert!(ask(&mut mesh, Endpoint::Lock, &lock("last")).is_ok());
    // What is taken from another makes room for what is taken.
    let steal = r#"{"action":"lock","peerId":"bot","filePath":"/w/","steal":true,"reason":"r"}"#;
    let Ok(Reply::Locked { lock, stolen_from }) = ask(&mut mesh, Endpoint::Lock, steal) else {
        panic!("not stolen")
    };
    assert_eq!((&*lock.file_path, stolen_from.len()), ("/w/**", 1));
    let Ok(Reply::Locks { locks, .. }) = ask(&mut mesh, Endpoint::Lock, r#"{"action":"query"}"#)
    else {
        panic!("no locks")
    };
    assert_eq!(locks.len(), 2);
}

#[test]
fn waiters_for_locks() {
    let mut mesh = mesh();
    let wait = |who: &str, path: &str| {
        let body = format!(
            r#"{{"action":"lock","peerId":"{who}","filePath":"{path}","wait":50,"ttlMinutes":1}}"#
        );
        Request::decode(Endpoint::Lock, body.as_bytes()).unwrap()
    };
    let mut tickets = Vec::new();
    let mut refused = Vec::new();
    mesh.begin_turn(NOW).unwrap();
    for n in 0..LOCK_WAITERS_MAX + 12 {
        // The first of each thousand holds what the others wait for.
        let files = n / (LOCK_WAITERS_PER_LOCK_MAX + 2);
        let request = wait(&format!("bot-{n}"), &format!("/f{files}"));
        match mesh.handle(Caller::Broker, &request, NOW) {
            Ok(Outcome::Hold { on, until }) => tickets.push((on, until, request)),
            Ok(Outcome::Reply(_)) => {}
            Err(Failure::Refused(refusal)) => refused.push(refusal),
            Err(Failure::Store(error)) => panic!("{error}"),
        }
    }
    assert_eq!(tickets.len(), LOCK_WAITERS_MAX);
    let (here, everywhere): (Vec<_>, Vec<_>) =
        refused.iter().partition(|refusal| refusal.code == Code::Locked);
    assert_eq!((here.len(), everywhere.len()), (4, 3));
    assert!(here.iter().all(|refusal| refusal.message.contains("1000 wait for it")));
    assert!(everywhere.iter().all(|refusal| refusal.code == Code::StorageFull));

    // A thousand get what they waited for, one after the other, in the order in which they came.
    for (on, until, request) in tickets.iter().take(LOCK_WAITERS_PER_LOCK_MAX) {
        let holder = Request::decode(
            Endpoint::Lock,
            br#"{"action":"unlock","peerId":"cli","filePath":"/f0","force":true}"#,
        );
        mesh.handle(Caller::Broker, &holder.unwrap(), NOW).unwrap();
        let ticket = mesh.next_waiter().unwrap();
        assert_eq!(*on, Interest::Lock(ticket));
        let held = Held { on: *on, until: *until };
        let outcome = mesh.handle_held(Caller::Broker, request, held, NOW);
        assert!(matches!(outcome, Ok(Outcome::Reply(Reply::Locked { .. }))));
        assert_eq!(mesh.next_waiter(), None);
    }
    mesh.commit_turn().unwrap();
    mesh.check_invariants(NOW);
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
