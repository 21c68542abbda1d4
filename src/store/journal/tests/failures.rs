//! Writes that fail, disks that are full, databases that are damaged.

use super::*;
use crate::store::To;
use crate::store::contract::{Draft, T0, at, fetch, post, record, register, tell, turn, unread};

fn open(dir: &TempDir) -> JournaledSqlite {
    JournaledSqlite::open(&dir.file("mesh.db"), &Options::default()).unwrap()
}

/// What a start finds after a kill now.
fn after_kill(dir: &TempDir) -> String {
    copy(&dir.file("mesh.db"), &dir.file("crashed.db"));
    let opened = JournaledSqlite::open(&dir.file("crashed.db"), &Options::default());
    let found = contents(&mut opened.unwrap());
    for suffix in ["", "-wal", "-turns"] {
        let _ = std::fs::remove_file(dir.file(&format!("crashed.db{suffix}")));
    }
    found
}

/// Sends in a turn of its own; gives how it ended.
fn try_to_tell<S: Store>(store: &mut S, text: &str) -> Result<()> {
    store.begin_turn()?;
    post(store, &party(1), To::One(inbox_of(2)), &Draft::new(text, T0));
    store.commit_turn()
}

#[test]
fn every_nth_write_may_fail() {
    for every in [1, 3, 4, 5, 6] {
        for sync in [false, true] {
            let tape = Tape::default();
            let mut store = Journaled::new(MemoryStore::new(), tape.clone(), sync).unwrap();
            let mut model = MemoryStore::new();
            register(&mut store, 2);
            register(&mut model, 2);
            {
                let mut faults = tape.faults.borrow_mut();
                faults.write_every = (every > 1).then_some(every);
                faults.sync_every = (sync && every < 6).then_some(every + 1);
            }
            let (mut kept, mut refused) = (0, 0);
            for n in 0..60 {
                let text = format!("{n} {}", "x".repeat(n % 7 * 30));
                match try_to_tell(&mut store, &text) {
                    Ok(()) => {
                        try_to_tell(&mut model, &text).unwrap();
                        kept += 1;
                    }
                    Err(error) => {
                        let is_sync = matches!(error, StoreError::Unsure(_));
                        assert!(is_sync || matches!(error, StoreError::Failed(_)), "{error}");
                        refused += 1;
                    }
                }
                assert_same(&contents(&mut store), &contents(&mut model), "now");
                assert_same(&contents(&mut crashed(&store)), &contents(&mut model), "after a kill");
                if n % 17 == 16 {
                    store.maintain(true).unwrap();
                }
            }
            assert!(kept > 10, "{every}: {kept}");
            assert_eq!(refused > 0, every > 1 || sync, "{every}: {refused}");
        }
    }
}

#[test]
fn a_database_that_cannot_commit_is_told_again_what_it_lacks() {
    let dir = TempDir::new();
    let mut store = open(&dir);
    let mut model = MemoryStore::new();
    for store in [&mut store as &mut dyn Store, &mut model] {
        register(store, 2);
        tell(store, 1, 2, "one");
    }
    store.database().refuse(&["COMMIT"]);
    assert!(store.maintain(true).is_err());
    // It rests, and has to be asked again.
    assert!(store.maintain(true).unwrap());
    for store in [&mut store as &mut dyn Store, &mut model] {
        tell(store, 1, 2, "two");
        fetch(store, &InboxQuery { limit: 1, ..unread(inbox_of(2)) }, at(5));
    }
    assert_same(&contents(&mut store), &contents(&mut model), "now");
    assert_same(&after_kill(&dir), &contents(&mut model), "after a kill");
    // It is tried again after a while, and by whoever comes then.
    store.stuck_until = Some(Instant::now());
    turn(&mut store, |_| ());
    assert!(store.stuck_until.is_some_and(|until| until > Instant::now()));
    store.database().refuse(&[]);
    store.stuck_until = Some(Instant::now());
    turn(&mut store, |_| ());
    assert_eq!((store.stuck_until, store.store.has_held()), (None, false));
    assert!(!store.maintain(true).unwrap());
    assert_same(&contents(&mut store), &contents(&mut model), "now");
    assert_same(&after_kill(&dir), &contents(&mut model), "after a kill");
    assert_eq!(store.database().integrity().unwrap(), None);
}

#[test]
fn a_turn_that_fails_takes_those_held_along_only_if_they_can_be_committed_then() {
    for is_stuck in [false, true] {
        let dir = TempDir::new();
        let mut store = open(&dir);
        register(&mut store, 2);
        store.database().refuse(if is_stuck { &["COMMIT"] } else { &[] });
        assert_eq!(store.maintain(true).is_err(), is_stuck);
        tell(&mut store, 1, 2, "one");
        let wanted = contents(&mut store);
        store.begin_turn().unwrap();
        post(&mut store, &party(1), To::One(inbox_of(2)), &Draft::new("two", T0));
        store.rollback_turn();
        // Done again, the others were committed at once: so the next that fails costs no more.
        assert_eq!(store.store.has_held(), is_stuck);
        assert_eq!(contents(&mut store), wanted);
        tell(&mut store, 1, 2, "three");
        assert_same(&after_kill(&dir), &contents(&mut store), "after a kill");
    }
}

#[test]
fn nothing_is_written_behind_a_turn_that_could_not_be_rolled_back() {
    let dir = TempDir::new();
    let mut store = open(&dir);
    register(&mut store, 2);
    tell(&mut store, 1, 2, "one");
    let wanted = contents(&mut store);
    store.begin_turn().unwrap();
    post(&mut store, &party(1), To::One(inbox_of(2)), &Draft::new("two", T0));
    store.database().refuse(&["ROLLBACK"]);
    store.rollback_turn();
    assert!(try_to_tell(&mut store, "three").is_err());
    assert_same(&after_kill(&dir), &wanted, "after a kill");
    store.database().refuse(&[]);
    assert_eq!(contents(&mut store), wanted);
    tell(&mut store, 1, 2, "four");
    assert_same(&after_kill(&dir), &contents(&mut store), "after a kill");
    assert_eq!(store.database().integrity().unwrap(), None);
}

#[test]
fn a_commit_that_could_not_be_rolled_back_is_not_taken_for_done() {
    let dir = TempDir::new();
    let mut store = open(&dir);
    register(&mut store, 2);
    tell(&mut store, 1, 2, "one");
    let wanted = contents(&mut store);
    store.database().refuse(&["COMMIT", "ROLLBACK"]);
    assert!(store.maintain(true).is_err());
    assert!(try_to_tell(&mut store, "two").is_err());
    assert!(store.close().is_err());
    assert_eq!(contents(&mut open(&dir)), wanted);
}

#[test]
fn a_journal_does_not_grow_for_ever_while_the_database_cannot_commit() {
    let dir = TempDir::new();
    let mut store = open(&dir);
    register(&mut store, 2);
    store.database().refuse(&["COMMIT"]);
    let text = "x".repeat(60_000);
    let mut kept = 0;
    let error = loop {
        let _ = store.maintain(true);
        match try_to_tell(&mut store, &text) {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    assert_eq!(kept, BYTES_MAX_STUCK / 60_000 + 1);
    assert_eq!(store.counts().messages.total, kept);
    let wanted = contents(&mut store);
    assert_same(&after_kill(&dir), &wanted, "after a kill");
    // With room again it goes on.
    store.database().refuse(&[]);
    store.stuck_until = Some(Instant::now());
    tell(&mut store, 1, 2, "more");
    assert_eq!(store.counts().messages.total, kept + 1);
    assert!(store.journal_bytes() < 1000);
}

#[test]
fn a_closed_database_that_could_not_commit_is_found_whole() {
    let dir = TempDir::new();
    let mut store = open(&dir);
    register(&mut store, 2);
    tell(&mut store, 1, 2, "one");
    let wanted = contents(&mut store);
    store.database().refuse(&["COMMIT"]);
    assert!(store.close().is_err());
    let mut store = open(&dir);
    assert_eq!(contents(&mut store), wanted);
    store.close().unwrap();
    assert!(!journal_of(&dir.file("mesh.db")).exists());
    assert_eq!(contents(&mut open(&dir)), wanted);
}

#[test]
fn what_a_database_at_its_limit_rolls_back_is_done_again() {
    let dir = TempDir::new();
    let options = Options { bytes_max: 400 * 1024, ..Options::default() };
    let mut store = JournaledSqlite::open(&dir.file("mesh.db"), &options).unwrap();
    let mut model = MemoryStore::new();
    for store in [&mut store as &mut dyn Store, &mut model] {
        register(store, 2);
    }
    let big = "x".repeat(60_000);
    let mut refused = 0;
    while refused < 3 {
        store.begin_turn().unwrap();
        let seq = store.next_seq();
        let message = crate::store::NewMessage {
            seq,
            id: crate::model::MessageId::new(seq, [1; 16]),
            from: &party(1),
            from_name: "n",
            to: To::One(inbox_of(2)),
            kind: crate::model::MessageKind::Text,
            payload: &big,
            reply_to: None,
            created_at: T0,
            client_id: None,
        };
        match store.send(&message) {
            Ok(()) => {
                store.commit_turn().unwrap();
                turn(&mut model, |model| {
                    model.next_seq();
                    model.send(&message).unwrap();
                });
            }
            Err(error) => {
                assert!(matches!(error, StoreError::Full(_)), "{error}");
                assert_eq!(store.size().full, Some(Full::Limit));
                assert!(store.commit_turn().is_err());
                refused += 1;
            }
        }
        assert_same(&contents(&mut store), &contents(&mut model), "now");
        assert_same(&after_kill(&dir), &contents(&mut model), "after a kill");
    }
    // What is small has room.
    for store in [&mut store as &mut dyn Store, &mut model] {
        turn(store, |store| store.put_peer(&record(3)).unwrap());
    }
    assert_same(&contents(&mut store), &contents(&mut model), "now");
    assert_eq!(store.database().integrity().unwrap(), None);
}

#[test]
fn a_damaged_database_gets_back_what_is_in_the_journal() {
    let dir = TempDir::new();
    let path = dir.file("mesh.db");
    let mut store = open(&dir);
    register(&mut store, 2);
    tell(&mut store, 1, 2, "settled and damaged");
    tell(&mut store, 1, 2, "settled");
    store.close().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let text = b"settled and damaged";
    let place = bytes.windows(text.len()).position(|part| part == text).unwrap();
    bytes[place] = 0xff;
    std::fs::write(&path, &bytes).unwrap();

    let mut store = open(&dir);
    tell(&mut store, 1, 2, "in the journal");
    let query = unread(inbox_of(2));
    assert!(store.inbox(&query, None, &mut |_| true).is_err());
    store.rollback_turn();
    assert!(store.mend().unwrap());
    let page = store.inbox(&query, None, &mut |_| true).unwrap();
    let texts = ["settled", "in the journal"];
    assert_eq!(crate::store::contract::texts(&page.messages), texts);
    tell(&mut store, 1, 2, "later");
    let wanted = contents(&mut store);
    assert_same(&after_kill(&dir), &wanted, "after a kill");

    // The same when it shows at a start.
    let crashed = dir.file("other.db");
    copy(&path, &crashed);
    let mut bytes = std::fs::read(&crashed).unwrap();
    // The root page of the messages.
    let look = dir.file("look.db");
    copy(&path, &look);
    let root: usize = rusqlite::Connection::open(look)
        .unwrap()
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'messages'", [], |row| {
            row.get::<_, u32>(0)
        })
        .unwrap()
        .try_into()
        .unwrap();
    bytes[2048 * (root - 1)..2048 * root].fill(0xff);
    std::fs::write(&crashed, &bytes).unwrap();
    let mut store = JournaledSqlite::open(&crashed, &Options::default()).unwrap();
    assert!(store.recovery().is_some());
    let page = store.inbox(&query, None, &mut |_| true).unwrap();
    assert_eq!(crate::store::contract::texts(&page.messages), ["in the journal", "later"]);
}
