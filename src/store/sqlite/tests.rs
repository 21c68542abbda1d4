//! What only a file can be tested for. What any backend must do is in the contract suite.

mod files;
mod migration;
mod plans;
mod rescue;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::*;
use crate::api::MessageCounts;
use crate::store::contract::*;
use crate::store::{StoreError, To};

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, &Options::default()).unwrap()
}

/// Something of everything.
fn fill(store: &mut SqliteStore) {
    register(store, 3);
    let id = tell(store, 1, 2, "one");
    tell(store, 1, 2, "two");
    broadcast(store, 1, &[2, 3], "three");
    turn(store, |store| {
        store.mark_read(inbox_of(2), &[id], at(1), None).unwrap();
        store.set_state(&entry("k", "v", Seq(1)), None).unwrap();
        store.put_lock(&lock("/a", party(1), Seq(2))).unwrap();
        emit(store, "a.b", None, &Draft::new("{}", at(5)));
    });
}

fn check_filled(store: &mut SqliteStore) {
    let messages = MessageCounts { total: 3, undelivered: 2, unread: 2 };
    assert_eq!(store.counts(), Counts { messages, events: 4, state_entries: 1, locks: 1 });
    assert_eq!(store.last_seq(), Seq(4));
    assert_eq!(store.present_peers().unwrap().len(), 3);
    assert_eq!(texts(&peek(store, &unread(inbox_of(2))).messages), ["two", "three"]);
    assert_eq!(store.unread_count(inbox_of(3)).unwrap(), 1);
    assert_eq!(store.locks().unwrap().len(), 1);
    assert!(store.state("default", "k").unwrap().is_some());
    assert_eq!(store.integrity().unwrap(), None);
}

#[test]
fn everything_is_there_after_a_close() {
    let dir = TempDir::new();
    let path = dir.file("mesh.db");
    let mut store = open(&path);
    fill(&mut store);
    store.close().unwrap();
    assert!(!dir.file("mesh.db-wal").exists());
    let mut store = open(&path);
    check_filled(&mut store);
    drop(store);
    check_filled(&mut open(&path));
}

#[test]
fn everything_is_there_after_a_crash() {
    let dir = TempDir::new();
    let mut store = open(&dir.file("mesh.db"));
    fill(&mut store);
    store.begin_turn().unwrap();
    post(&mut store, &party(1), To::One(inbox_of(2)), &Draft::new("not committed", T0));
    let crashed = copy(&dir, "mesh.db", "crashed.db");
    let mut store = open(&crashed);
    check_filled(&mut store);
}

#[test]
fn counters_that_cannot_be_true_are_counted_anew_and_no_counter_falls_below_nothing() {
    let dir = TempDir::new();
    let path = dir.file("mesh.db");
    let mut store = open(&path);
    fill(&mut store);
    store.close().unwrap();
    let set = |counters: &[(&str, u32)]| {
        let connection = Connection::open(&path).unwrap();
        for counter in counters {
            connection.execute("UPDATE meta SET value = ?2 WHERE key = ?1", *counter).unwrap();
        }
    };
    // More undelivered than unread, more unread than there are, none where there is one.
    let right = [("undelivered", 2), ("unread", 2), ("state_entries", 1), ("locks", 1)];
    for wrong in [("undelivered", 3), ("unread", 4), ("state_entries", 0), ("locks", 0)] {
        set(&right);
        set(&[wrong]);
        check_filled(&mut open(&path));
    }
    // What may be true is believed; it is lowered to 0, and not further.
    set(&right);
    set(&[("undelivered", 0), ("unread", 0)]);
    let mut store = open(&path);
    let all: Vec<MessageId> =
        peek(&mut store, &all(inbox_of(2))).messages.iter().map(|message| message.id).collect();
    turn(&mut store, |store| _ = store.mark_read(inbox_of(2), &all, at(2), None).unwrap());
    assert_eq!((store.counts().messages.undelivered, store.counts().messages.unread), (0, 0));
    turn(&mut store, |store| {
        note(store, 10);
        store.purge(&before(10), 100).unwrap();
    });
    assert_eq!(store.counts().messages, MessageCounts::default());
}

/// The files as they are now.
fn copy(dir: &TempDir, from: &str, to: &str) -> PathBuf {
    for suffix in ["", "-wal"] {
        let from = dir.file(&format!("{from}{suffix}"));
        if from.exists() {
            std::fs::copy(from, dir.file(&format!("{to}{suffix}"))).unwrap();
        }
    }
    dir.file(to)
}

#[test]
fn numbers_survive_without_a_row() {
    let dir = TempDir::new();
    let mut store = open(&dir.file("mesh.db"));
    turn(&mut store, |store| {
        let version = store.next_seq();
        store.set_state(&entry("k", "v", version), None).unwrap();
    });
    assert_eq!(open(&copy(&dir, "mesh.db", "state.db")).last_seq(), Seq(1));

    register(&mut store, 2);
    let last = tell(&mut store, 1, 2, "x").seq();
    turn(&mut store, |store| {
        note(store, 1);
        store.purge(&before(1), 10).unwrap();
    });
    let mut purged = open(&copy(&dir, "mesh.db", "purged.db"));
    assert_eq!(purged.last_seq(), last);
    assert_eq!(purged.first_seq().unwrap(), last.next());
}

#[test]
fn times_are_known_after_opening() {
    let dir = TempDir::new();
    let mut store = open(&dir.file("mesh.db"));
    turn(&mut store, |store| {
        for n in 0..3000 {
            // The clock goes back before the end.
            let time = if n < 2900 { at(n) } else { at(0) };
            emit(store, "a.b", None, &Draft::new("{}", time));
            if n == 2894 {
                note(store, n + 1);
            }
        }
    });
    assert_eq!(store.db.tally.latest, at(2899));
    assert_eq!(open(&copy(&dir, "mesh.db", "copy.db")).db.tally.latest, at(2899));
    turn(&mut store, |store| store.purge(&before(2895), 10_000).unwrap());
    let mut store = open(&copy(&dir, "mesh.db", "copy.db"));
    let marks = "SELECT count(*) FROM time_marks";
    let marks: u32 = store.db.connection.query_row(marks, [], |row| row.get(0)).unwrap();
    assert_eq!(marks, 1);
    let query = EventQuery { types: &[], since: Some(at(2897)), after: None, limit: 50 };
    assert_eq!(read_events(&mut store, &query).events.len(), 2);
}

#[test]
fn what_was_read_is_not_looked_at_again() {
    let dir = TempDir::new();
    let mut store = open(&dir.file("mesh.db"));
    register(&mut store, 3);
    let floor = |store: &SqliteStore, n| -> Seq {
        let sql = "SELECT floor FROM parties WHERE name = ?1";
        store.db.connection.query_row(sql, [party(n)], |row| row.get(0)).unwrap()
    };
    for n in 0..4u8 {
        broadcast(&mut store, 1, &[2, 3], &n.to_string());
    }
    fetch(&mut store, &InboxQuery { limit: 2, ..unread(inbox_of(2)) }, at(1));
    assert_eq!((floor(&store, 2), floor(&store, 3)), (Seq(2), Seq(0)));
    fetch(&mut store, &unread(inbox_of(2)), at(1));
    assert_eq!((floor(&store, 2), floor(&store, 3)), (Seq(4), Seq(0)));
}

#[test]
fn a_full_database_refuses_and_recovers() {
    let dir = TempDir::new();
    let options = Options { bytes_max: 400 * 1024, ..Options::default() };
    let mut store = SqliteStore::open(&dir.file("mesh.db"), &options).unwrap();
    register(&mut store, 2);
    let big = "x".repeat(60_000);
    let send = |store: &mut SqliteStore| {
        store.begin_turn().unwrap();
        let seq = store.next_seq();
        let message = crate::store::NewMessage {
            seq,
            id: MessageId::new(seq, [1; 16]),
            from: &party(1),
            from_name: "n",
            to: To::One(inbox_of(2)),
            kind: crate::model::MessageKind::Text,
            payload: &big,
            reply_to: None,
            created_at: T0,
            client_id: None,
        };
        store.send(&message)
    };
    let mut count = 0;
    let error = loop {
        match send(&mut store) {
            Ok(()) => store.commit_turn().unwrap(),
            Err(error) => break error,
        }
        count += 1;
    };
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    assert!((3..7).contains(&count), "{count}");
    // The rest of the turn stands no more alone than what failed.
    let late = store.put_peer(&record(9));
    assert!(matches!(late, Err(StoreError::Failed(_))));
    assert!(store.commit_turn().is_err());
    assert_eq!(store.counts().messages.total, count);
    assert_eq!(store.peer(peer(9)).unwrap(), None);
    assert_eq!(store.last_seq(), Seq(count));
    assert!(!store.mend().unwrap());
    assert_eq!(store.size().full, Some(Full::Limit));

    turn(&mut store, |store| {
        note(store, 1);
        store.purge(&before(1), 2).unwrap();
    });
    send(&mut store).unwrap();
    store.commit_turn().unwrap();
    assert_eq!(store.counts().messages.total, count - 1);
    assert_eq!(store.size().full, None);
    assert_eq!(store.integrity().unwrap(), None);
}

#[test]
fn a_mark_does_not_write_the_payload_again() {
    let dir = TempDir::new();
    let mut store = open(&dir.file("mesh.db"));
    register(&mut store, 2);
    let text = "x".repeat(60_000);
    let id = tell(&mut store, 1, 2, &text);
    let all = broadcast(&mut store, 1, &[2], &text);
    store.db.checkpoint().unwrap();
    // No page but that of the row: no index, and not the payload's.
    let told = crate::store::Telling::Told(crate::model::Told::notified(at(1), Way::ToolResult));
    turn(&mut store, |store| store.put_peer(&record(3)).unwrap());
    let newer = broadcast(&mut store, 1, &[2], &text);
    // And that of the counters.
    for (id, written) in [(id, 2), (newer, 2), (all, 2)] {
        let pages = store.db.wal_pages_pending().unwrap();
        turn(&mut store, |store| store.mark_told(inbox_of(2), &[id], told).unwrap());
        assert_eq!(store.db.wal_pages_pending().unwrap() - pages, written);
    }
    store.db.checkpoint().unwrap();
    let pages = store.db.wal_pages_pending().unwrap();
    turn(&mut store, |store| store.mark_delivered(peer(2), &[id.seq()], at(1)).unwrap());
    turn(&mut store, |store| store.mark_read(inbox_of(2), &[id], at(1), None).unwrap());
    let pages = store.db.wal_pages_pending().unwrap() - pages;
    assert!(pages <= 5, "{pages}");
}

#[test]
fn the_log_is_copied_when_there_is_time() {
    let dir = TempDir::new();
    let mut store = open(&dir.file("mesh.db"));
    register(&mut store, 2);
    let text = "x".repeat(60_000);
    let fill = |store: &mut SqliteStore, bytes: u64| {
        for _ in 0..=bytes / 60_000 {
            tell(store, 1, 2, &text);
        }
    };
    let pending = |store: &SqliteStore| store.db.wal_pages_pending().unwrap() * PAGE_BYTES;
    fill(&mut store, WAL_BYTES_IDLE);
    store.maintain(false).unwrap();
    assert!(pending(&store) > WAL_BYTES_IDLE);
    fill(&mut store, 60_000);
    store.begin_turn().unwrap();
    store.maintain(true).unwrap();
    store.commit_turn().unwrap();
    assert!(pending(&store) > WAL_BYTES_IDLE);
    store.maintain(true).unwrap();
    assert!(pending(&store) < 10 * PAGE_BYTES);
    fill(&mut store, WAL_BYTES_BUSY);
    assert!(pending(&store) > WAL_BYTES_BUSY);
    // Brought to the disk beside the turns, then copied.
    store.maintain(false).unwrap();
    assert!(pending(&store) > WAL_BYTES_BUSY);
    let give_up = Instant::now() + Duration::from_secs(60);
    while pending(&store) > WAL_BYTES_BUSY {
        assert!(Instant::now() < give_up, "it is never copied");
        thread::sleep(Duration::from_millis(1));
        store.maintain(false).unwrap();
    }
    assert!(pending(&store) < 10 * PAGE_BYTES);
    let Size { bytes, wal_bytes, .. } = store.size();
    assert!(bytes > WAL_BYTES_BUSY && wal_bytes < WAL_BYTES_BUSY + (1 << 20));
    assert_eq!(open(&copy(&dir, "mesh.db", "copy.db")).counts(), store.counts());
}

#[test]
fn durability_decides_how_it_syncs() {
    let dir = TempDir::new();
    for (durability, wanted) in [(Durability::Normal, 1), (Durability::Full, 2)] {
        let path = dir.file(&format!("{wanted}.db"));
        let options = Options { durability, ..Options::default() };
        let mut store = SqliteStore::open(&path, &options).unwrap();
        let mode: u32 =
            store.db.connection.query_row("PRAGMA synchronous", [], |row| row.get(0)).unwrap();
        assert_eq!(mode, wanted);
        fill(&mut store);
        check_filled(&mut store);
    }
}

#[test]
fn a_database_in_memory_works_alike() {
    let mut store = SqliteStore::open_in_memory(&Options::default()).unwrap();
    fill(&mut store);
    check_filled(&mut store);
    store.maintain(true).unwrap();
    store.close().unwrap();
}

#[test]
fn damage_found_later_is_told() {
    let dir = TempDir::new();
    let path = dir.file("mesh.db");
    let mut store = open(&path);
    register(&mut store, 2);
    turn(&mut store, |store| {
        for _ in 0..3000 {
            post(store, &party(1), To::One(inbox_of(2)), &Draft::new(&"x".repeat(900), T0));
        }
    });
    store.close().unwrap();
    // Pages full of messages, far from the ends, which are looked at in any case.
    let mut bytes = std::fs::read(&path).unwrap();
    for page in bytes.chunks_mut(2048).skip(300).take(300) {
        if page.windows(64).any(|part| part == [b'x'; 64]) {
            page.fill(0xff);
        }
    }
    std::fs::write(&path, bytes).unwrap();

    let mut store = open(&path);
    assert_eq!(store.recovery(), None);
    let query = InboxQuery { limit: 1000, ..all(inbox_of(2)) };
    let mut damage = None;
    for before in (0..30).map(|n| Some(Seq(3000 - n * 100))) {
        let query = InboxQuery { before, ..query };
        if let Err(error) = store.inbox(&query, None, &mut |_| true) {
            damage = Some(error);
            break;
        }
    }
    assert!(matches!(damage, Some(StoreError::Failed(_))), "{damage:?}");
    assert!(store.damage.is_some());
    assert!(store.integrity().is_err() || store.integrity().unwrap().is_some());
}

/// Another program's database.
fn make_foreign(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x);").unwrap();
}
