//! A kill between any two writes, and in the middle of any.

use super::*;
use crate::store::contract::{
    Draft, T0, at, before, broadcast, emit, entry, fetch, lock, note, post, record, register, tell,
    turn, unread,
};
use crate::store::{PurgeBefore, To};

/// Turns of every kind, and what is done between them.
fn run(store: &mut InMemory, step: u8) {
    let n = u64::from(step);
    match step % 12 {
        0 => register(store, 1 + step % 3),
        1 => drop(tell(store, 1, 2, "hello")),
        2 => drop(broadcast(store, 1, &[2, 3], "to all")),
        3 => drop(fetch(store, &unread(inbox_of(2)), at(n.cast_signed()))),
        4 => turn(store, |store| {
            let version = store.next_seq();
            store.set_state(&entry("k", &n.to_string(), version), None).unwrap();
            let fence = store.next_seq();
            store.put_lock(&lock("/a", party(1), fence)).unwrap();
            emit(store, "a.b", Some(&party(1)), &Draft::new("{}", T0));
        }),
        5 => {
            store.begin_turn().unwrap();
            post(store, &party(1), To::One(inbox_of(2)), &Draft::new("never sent", T0));
            store.rollback_turn();
        }
        6 => _ = store.maintain(step.is_multiple_of(2)).unwrap(),
        7 => turn(store, |store| note(store, n.cast_signed() * 10)),
        8 => turn(store, |store| {
            let old = before(n.cast_signed() * 10 - 500);
            store.purge(&PurgeBefore { events: MeshTime(0), ..old }, 2).unwrap();
        }),
        9 => drop(tell(store, 2, 1, &"long ".repeat(usize::from(step)))),
        // A number that goes with nothing.
        10 => turn(store, |store| _ = store.next_seq()),
        _ => turn(store, |store| store.put_peer(&record(step % 7 + 1)).unwrap()),
    }
}

/// What a kill finds: how many changes the medium has had, what is settled, and what was committed.
struct Moment {
    changes: usize,
    ground: MemoryStore,
    contents: String,
}

fn moment(store: &mut InMemory) -> Moment {
    let mut ground = store.store.clone();
    ground.drop_held().unwrap();
    let changes = store.log.medium().changes.borrow().len();
    Moment { changes, ground, contents: contents(store) }
}

#[test]
fn a_kill_at_any_moment_loses_nothing_and_finds_nothing_else() {
    let mut store = in_memory();
    let mut moments = vec![moment(&mut store)];
    for step in 0..60 {
        run(&mut store, step);
        if step % 25 == 24 {
            store.maintain(true).unwrap();
        }
        moments.push(moment(&mut store));
    }
    let changes = store.log.medium().changes.borrow().clone();
    assert!(changes.len() > 30, "{}", changes.len());
    let found = |ground: &MemoryStore, bytes: Vec<u8>| {
        let mut store = Journaled::new(ground.clone(), Tape::holding(bytes), false).unwrap();
        contents(&mut store)
    };
    let check_spoiled = |now: &Moment, bytes: Vec<u8>| {
        match Journaled::new(now.ground.clone(), Tape::holding(bytes), false) {
            Ok(mut store) => assert_same(&contents(&mut store), &now.contents, "spoiled"),
            // What was spoiled is the head.
            Err(Unfit::Useless(_) | Unfit::Damaged("its head is damaged")) => {}
            Err(error) => panic!("{error:?}"),
        }
    };
    let mut bytes = Vec::new();
    let mut done = 0;
    for pair in moments.windows(2) {
        let [now, next] = pair else { panic!("windows of two") };
        assert_eq!(now.changes, done);
        assert_same(&found(&now.ground, bytes.clone()), &now.contents, "before a write");
        for change in &changes[now.changes..next.changes] {
            let mut whole = bytes.clone();
            change.apply(&mut whole);
            if let Change::Write(offset, new) = change {
                // Torn: a part of it, and anything in the place of the rest.
                for len in (0..new.len()).filter(|len| len % 3 == 0 || len + 3 > new.len()) {
                    let mut torn = bytes.clone();
                    Change::Write(*offset, new[..len].to_vec()).apply(&mut torn);
                    if torn == whole {
                        // What stood there before completes it.
                        continue;
                    }
                    if *offset == 0 && (1..log::HEAD_BYTES).contains(&len) && !bytes.is_empty() {
                        // No disk tears so little apart.
                        check_spoiled(now, torn.clone());
                    } else {
                        assert_same(&found(&now.ground, torn.clone()), &now.contents, "torn");
                    }
                    let rest: Vec<u8> = new[len..].iter().map(|byte| byte ^ 0x5a).collect();
                    Change::Write(offset + len as u64, rest).apply(&mut torn);
                    check_spoiled(now, torn);
                }
                for bit in (0..new.len() * 8).step_by(5) {
                    let mut flipped = new.clone();
                    flipped[bit / 8] ^= 1 << (bit % 8);
                    let mut torn = bytes.clone();
                    Change::Write(*offset, flipped).apply(&mut torn);
                    check_spoiled(now, torn);
                }
            }
            bytes = whole;
            done += 1;
        }
        // Written, and nobody was told yet.
        assert_same(&found(&now.ground, bytes.clone()), &next.contents, "after a write");
    }
}

#[test]
fn what_is_replayed_twice_is_there_once() {
    let mut store = in_memory();
    for step in 0..40 {
        run(&mut store, step);
        let wanted = contents(&mut store);
        // As often as it is killed before it could settle.
        let again = crashed(&store);
        let mut again = crashed(&again);
        assert_same(&contents(&mut again), &wanted, "again");
        if step % 7 == 0 {
            store = again;
        }
    }
}

#[test]
fn a_start_goes_on_behind_the_last_record_if_it_cannot_settle() {
    let dir = TempDir::new();
    let path = dir.file("mesh.db");
    let open = |path: &Path| JournaledSqlite::open(path, &Options::default()).unwrap();
    let mut store = open(&path);
    register(&mut store, 2);
    tell(&mut store, 1, 2, "one");
    let long = tell(&mut store, 1, 2, &"torn ".repeat(50));
    let crashed = dir.file("crashed.db");
    copy(&path, &crashed);
    // The last record is torn, and behind it stands what would be the next.
    let mut bytes = std::fs::read(journal_of(&crashed)).unwrap();
    let at = bytes.windows(5).position(|part| part == b"torn ").unwrap();
    bytes[at] ^= 1;
    std::fs::write(journal_of(&crashed), &bytes).unwrap();
    let (ground, mut file, _) = {
        let store = open(&crashed);
        store.into_parts()
    };
    drop(ground);
    assert!(file.read().unwrap().len() < bytes.len(), "it is cut off");
    let mut store = open(&crashed);
    assert_eq!(tell(&mut store, 1, 2, "two").seq(), long.seq());
    let again = dir.file("again.db");
    copy(&crashed, &again);
    let mut store = open(&again);
    let page = store.inbox(&unread(inbox_of(2)), None, &mut |_| true).unwrap();
    assert_eq!(crate::store::contract::texts(&page.messages), ["one", "two"]);
}

#[test]
fn a_database_is_written_now_and_then() {
    let dir = TempDir::new();
    let mut store = JournaledSqlite::open(&dir.file("mesh.db"), &Options::default()).unwrap();
    register(&mut store, 2);
    for n in 2..=TURNS_MAX {
        tell(&mut store, 1, 2, &n.to_string());
        assert!(store.store.has_held());
        store.maintain(false).unwrap();
    }
    assert!(!store.store.has_held());
    assert_eq!(store.journal_bytes(), 0);
    // Many bytes are as good as many turns.
    let text = "x".repeat(60_000);
    let mut turns = 0;
    while turns == 0 || store.store.has_held() {
        tell(&mut store, 1, 2, &text);
        store.maintain(false).unwrap();
        turns += 1;
    }
    assert_eq!(turns, 1024 * 1024 / 60_000 + 1);
    // And so is a pause. Whatever only reads leaves nothing to do.
    tell(&mut store, 1, 2, "last");
    store.maintain(true).unwrap();
    assert!(!store.store.has_held());
    turn(&mut store, |store| _ = store.next_seq());
    assert!(!store.store.has_held());
    let mut copied = {
        copy(&dir.file("mesh.db"), &dir.file("copy.db"));
        SqliteStore::open(&dir.file("copy.db"), &Options::default()).unwrap()
    };
    assert_eq!(contents(&mut copied), contents(&mut store));
}
