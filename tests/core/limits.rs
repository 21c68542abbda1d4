//! The limits of the mesh's tables, on both sides, and of what one turn does for all peers.

use std::time::Duration;

use crate::alone::{Counter, store_with_locks};
use slm_mesh::api::{Code, Endpoint, LockReply, LocksReply, Reply, Request};
use slm_mesh::limits::{
    LOCK_STEPS_MAX, LOCK_WAITERS_MAX, LOCK_WAITERS_PER_LOCK_MAX, LOCKS_MAX, LOCKS_STOLEN_MAX,
    PEERS_MAX, STATE_ENTRIES_MAX, WINDOW_FRAMES_MAX,
};
use slm_mesh::mesh::{AskedAgain, Caller, Failure, Interest, Mesh, Outcome, PushTarget, Settings};
use slm_mesh::model::{MeshTime, Monotonic, Now, Party, Seq, StateEntry, Timestamp};
use slm_mesh::store::Store;
use slm_mesh::store::memory::MemoryStore;

const NOW: Now = Now {
    wall: Timestamp(1_800_000_000_000),
    mono: Monotonic(Duration::ZERO),
    boot: Monotonic(Duration::ZERO),
};

fn mesh() -> Mesh<MemoryStore> {
    mesh_over(MemoryStore::new())
}

fn mesh_over(store: MemoryStore) -> Mesh<MemoryStore> {
    let settings = Settings::default();
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
fn a_turn_without_time_feeds_one_peer_and_the_next_ones_the_others() {
    let mut mesh = mesh();
    let mut peers = Vec::new();
    for n in 0..3 {
        let body = format!(r#"{{"pid":1,"projectPath":"/w","name":"peer-{n}","acks":true}}"#);
        let registered = ask(&mut mesh, Endpoint::Register, &body).unwrap();
        let Reply::Registered(registered) = registered else { panic!("{registered:?}") };
        peers.push(registered.peer_id);
    }
    let send = r#"{"fromPeer":"cli","toPeer":"all","payload":"x"}"#;
    for _ in 0..70 {
        ask(&mut mesh, Endpoint::Send, send).unwrap();
    }
    mesh.begin_turn(NOW).unwrap();
    for peer in &peers {
        mesh.link_up(*peer, true, NOW).unwrap();
    }
    mesh.commit_turn().unwrap();
    let mut fed = Vec::new();
    for turn in 0..3 {
        mesh.begin_turn(NOW).unwrap();
        mesh.feed(NOW, || false).unwrap();
        mesh.commit_turn().unwrap();
        let pushes = mesh.take_effects().pushes;
        let PushTarget::One(peer) = pushes[0].to else { panic!("{pushes:?}") };
        assert_eq!(pushes.len(), WINDOW_FRAMES_MAX);
        assert!(pushes.iter().all(|push| push.to == PushTarget::One(peer)), "one peer");
        assert!(!fed.contains(&peer), "each in its turn");
        fed.push(peer);
        // The first is hungry again at once, and has to wait for the others.
        if turn == 0 {
            let waiting = mesh.store_mut().undelivered(peer, Seq(0), 1).unwrap();
            mesh.acknowledged(peer, waiting.messages[0].id, NOW);
        }
    }
    // Nobody but the first has room left.
    mesh.begin_turn(NOW).unwrap();
    mesh.feed(NOW, || true).unwrap();
    mesh.commit_turn().unwrap();
    assert_eq!(mesh.take_effects().pushes.len(), 1);
    assert!(!mesh.wants_feed());
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
    let store = store_with_locks(LOCKS_MAX - 1, MeshTime(NOW.wall.0 + 60_000));
    let mut mesh = mesh_over(store);
    let lock = |name: &str| format!(r#"{{"action":"lock","peerId":"cli","filePath":"/{name}"}}"#);
    assert!(ask(&mut mesh, Endpoint::Lock, &lock("last")).is_ok());
    assert_eq!(ask(&mut mesh, Endpoint::Lock, &lock("one-more")), Err(Code::StorageFull));
    // Renewing needs no room.
    assert!(ask(&mut mesh, Endpoint::Lock, &lock("last")).is_ok());
    // What is taken from another makes room for what is taken; so many at once.
    let steal = |path: &str| {
        format!(
            r#"{{"action":"lock","peerId":"bot","filePath":"{path}","steal":true,"reason":"r"}}"#
        )
    };
    assert_eq!(ask(&mut mesh, Endpoint::Lock, &steal("/w/")), Err(Code::InvalidRequest));
    let Ok(Reply::Locked(LockReply { lock, stolen_from })) =
        ask(&mut mesh, Endpoint::Lock, &steal("/w/99??"))
    else {
        panic!("not stolen")
    };
    assert_eq!((&*lock.file_path, stolen_from.len()), ("/w/99??", 1));
    let Ok(Reply::Locks(LocksReply { locks, .. })) =
        ask(&mut mesh, Endpoint::Lock, r#"{"action":"query"}"#)
    else {
        panic!("no locks")
    };
    assert_eq!(locks.len() as u64, LOCKS_MAX - LOCKS_STOLEN_MAX as u64 + 1);
}

/// A path that takes many steps to compare with [`costly_pattern`], of which it is none.
fn costly_path(name: &str) -> String {
    format!("/w{}/{name}", "/a".repeat(1900))
}

const COSTLY_STEPS: u32 = 1800 * 110;

fn costly_pattern() -> String {
    format!("/w/**/{}b/**", "a/".repeat(110))
}

fn lock_body(who: &str, path: &str, more: &str) -> String {
    format!(r#"{{"action":"lock","peerId":"{who}","filePath":"{path}"{more}}}"#)
}

#[test]
fn a_lock_that_is_too_much_to_compare_is_refused_and_never_given() {
    let mut mesh = mesh();
    for n in 0..=LOCK_STEPS_MAX / COSTLY_STEPS {
        let body = lock_body("evil", &costly_path(&n.to_string()), "");
        assert!(ask(&mut mesh, Endpoint::Lock, &body).is_ok());
    }
    // Of all these only the last is in the way.
    let taken = format!("/w{}/b", "/a".repeat(110));
    assert!(ask(&mut mesh, Endpoint::Lock, &lock_body("evil", &taken, "")).is_ok());
    let pattern = costly_pattern();
    for more in ["", r#","wait":5"#, r#","shared":true"#, r#","steal":true,"reason":"r""#] {
        let refused = ask(&mut mesh, Endpoint::Lock, &lock_body("good", &pattern, more));
        assert_eq!(refused, Err(Code::InvalidRequest), "{more}");
    }
    let query = format!(r#"{{"action":"query","filePath":"{pattern}"}}"#);
    assert_eq!(ask(&mut mesh, Endpoint::Lock, &query), Err(Code::InvalidRequest));
    // Files are locked as ever, and the holder goes on with what it has.
    assert!(ask(&mut mesh, Endpoint::Lock, &lock_body("good", "/w/a/a/x.rs", "")).is_ok());
    assert_eq!(ask(&mut mesh, Endpoint::Lock, &lock_body("good", &taken, "")), Err(Code::Locked));
    assert!(ask(&mut mesh, Endpoint::Lock, &lock_body("evil", &taken, "")).is_ok());
    mesh.begin_turn(NOW).unwrap();
    mesh.commit_turn().unwrap();
    mesh.check_invariants(NOW);
}

#[test]
fn waiters_that_are_much_to_compare_go_on_over_several_turns() {
    let mut mesh = mesh();
    for n in 0..2 {
        let body = lock_body("cli", &costly_path(&n.to_string()), r#","shared":true"#);
        assert!(ask(&mut mesh, Endpoint::Lock, &body).is_ok());
    }
    let taken = format!("/w{}/b", "/a".repeat(110));
    assert!(ask(&mut mesh, Endpoint::Lock, &lock_body("cli", &taken, "")).is_ok());
    mesh.begin_turn(NOW).unwrap();
    let mut waiting = Vec::new();
    for n in 0..5 {
        let more = r#","shared":true,"wait":50"#;
        let body = lock_body(&format!("bot-{n}"), &costly_pattern(), more);
        let request = Request::decode(Endpoint::Lock, body.as_bytes()).unwrap();
        match mesh.handle(Caller::Broker, &request, NOW) {
            Ok(Outcome::Hold { on, until }) => {
                waiting.push((AskedAgain { on, until, hung_up: false }, request));
            }
            other => panic!("{other:?}"),
        }
    }
    let unlock = format!(r#"{{"action":"unlock","peerId":"cli","filePath":"{taken}"}}"#);
    let unlock = Request::decode(Endpoint::Lock, unlock.as_bytes()).unwrap();
    mesh.handle(Caller::Broker, &unlock, NOW).unwrap();
    let mut turns = 0;
    let mut given = Vec::new();
    while given.len() < 5 {
        let before = given.len();
        while let Some(ticket) = mesh.next_waiter() {
            let its = |(held, _): &&(AskedAgain, Request)| held.on == Interest::Lock(ticket);
            let (held, request) = waiting.iter().find(its).unwrap();
            let outcome = mesh.handle_held(Caller::Broker, request, *held, NOW);
            assert!(matches!(outcome, Ok(Outcome::Reply(Reply::Locked(_)))), "{outcome:?}");
            given.push(ticket);
        }
        assert!(given.len() > before, "each turn gets somewhere");
        turns += 1;
        if given.len() < 5 {
            // What is free is kept for those who were before.
            assert!(mesh.has_waiters());
            let exclusive =
                Request::decode(Endpoint::Lock, lock_body("late", &taken, "").as_bytes());
            let refused = mesh.handle(Caller::Broker, &exclusive.unwrap(), NOW);
            assert!(matches!(refused, Err(Failure::Refused(_))));
        }
        mesh.commit_turn().unwrap();
        mesh.begin_turn(NOW).unwrap();
    }
    assert!(turns > 1 && given.is_sorted(), "{turns} {given:?}");
    mesh.commit_turn().unwrap();
    mesh.check_invariants(NOW);
}

#[test]
fn the_locks_of_one_who_leaves_are_freed_over_several_turns() {
    const LOCKS: usize = 700;
    let mut mesh = mesh();
    let register = r#"{"pid":1,"projectPath":"/w","name":"a"}"#;
    ask(&mut mesh, Endpoint::Register, register).unwrap();
    for n in 0..LOCKS {
        ask(&mut mesh, Endpoint::Lock, &lock_body("a", &format!("/w/{n}"), "")).unwrap();
    }
    let held =
        |mesh: &mut Mesh<MemoryStore>| match ask(mesh, Endpoint::Lock, r#"{"action":"query"}"#) {
            Ok(Reply::Locks(LocksReply { locks, .. })) => locks.len(),
            other => panic!("{other:?}"),
        };
    ask(&mut mesh, Endpoint::Unregister, r#"{"peerId":"a"}"#).unwrap();
    let mut before = LOCKS;
    let mut turns = 0;
    // The broker has turns of its own until they are free.
    while mesh.next_deadline(NOW) == Some(NOW.mono) && before > 0 {
        mesh.check_invariants(NOW);
        let now = held(&mut mesh);
        assert!(now < before && before - now <= 512, "{before} {now}");
        before = now;
        turns += 1;
    }
    assert_eq!(before, 0);
    assert!(turns > 1);
    mesh.check_invariants(NOW);

    // A broker that was ended meanwhile goes on with it.
    ask(&mut mesh, Endpoint::Register, register).unwrap();
    for n in 0..LOCKS {
        ask(&mut mesh, Endpoint::Lock, &lock_body("a", &format!("/w/{n}"), "")).unwrap();
    }
    ask(&mut mesh, Endpoint::Unregister, r#"{"peerId":"a"}"#).unwrap();
    let mut mesh = mesh_over(mesh.into_store());
    assert!(held(&mut mesh) > 0);
    while held(&mut mesh) > 0 {
        mesh.check_invariants(NOW);
    }

    // Where many are told of each, fewer are freed at once.
    ask(&mut mesh, Endpoint::Register, register).unwrap();
    for n in 0..LOCKS {
        ask(&mut mesh, Endpoint::Lock, &lock_body("a", &format!("/w/{n}"), "")).unwrap();
    }
    for n in 0..PEERS_MAX / 2 {
        let body = format!(r#"{{"pid":1,"projectPath":"/w","name":"peer-{n}"}}"#);
        ask(&mut mesh, Endpoint::Register, &body).unwrap();
    }
    let before = held(&mut mesh);
    ask(&mut mesh, Endpoint::Unregister, r#"{"peerId":"a"}"#).unwrap();
    assert!(before - held(&mut mesh) <= 2 * 86);
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
        let held = AskedAgain { on: *on, until: *until, hung_up: false };
        let outcome = mesh.handle_held(Caller::Broker, request, held, NOW);
        assert!(matches!(outcome, Ok(Outcome::Reply(Reply::Locked(_)))));
        assert_eq!(mesh.next_waiter(), None);
        mesh.commit_turn().unwrap();
        mesh.begin_turn(NOW).unwrap();
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
