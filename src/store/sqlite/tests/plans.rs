//! That operations touch only the rows they are about, however many there are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use rusqlite::StatementStatus;
use rusqlite::trace::{TraceEvent, TraceEventCodes};

use super::*;
use crate::store::sqlite::care::load_tally;

/// What SQLite did.
#[derive(Debug, Default)]
struct Work {
    /// Of each statement: instructions run so far.
    steps: BTreeMap<String, i32>,
    /// Statements that were prepared again.
    again: BTreeSet<String>,
    /// Instructions run since this was last set to 0.
    sum: i32,
}

fn watch(store: &mut SqliteStore) -> Arc<Mutex<Work>> {
    let work = Arc::new(Mutex::new(Work::default()));
    let seen = Arc::clone(&work);
    let trace = move |event: TraceEvent<'_>| {
        let TraceEvent::Profile(statement, _) = event else { return };
        let mut work = seen.lock().unwrap();
        let sql = statement.sql().into_owned();
        let steps = statement.get_status(StatementStatus::VmStep);
        if statement.get_status(StatementStatus::RePrepare) > 0 {
            work.again.insert(sql.clone());
        }
        work.sum += steps - work.steps.insert(sql, steps).unwrap_or(0);
    };
    // The counts of prepared statements begin anew, too.
    store.db.connection.flush_prepared_statement_cache();
    let events = TraceEventCodes::SQLITE_TRACE_PROFILE;
    store.db.connection.trace_v2(events, Some(trace)).unwrap();
    work
}

type Operation = (&'static str, fn(&mut SqliteStore));

/// Everything that is done often, or while someone waits.
const OPERATIONS: [Operation; 30] = [
    ("send", |store| _ = tell(store, 1, 2, "x")),
    ("broadcast", |store| _ = broadcast(store, 1, &[2, 3], "x")),
    ("send with an id", |store| {
        let draft = Draft { client_id: Some(Uuid::from_bytes([1; 16])), ..Draft::new("x", T0) };
        turn(store, |store| post(store, &party(1), To::One(inbox_of(2)), &draft));
        assert!(store.client_id(&party(1), Uuid::from_bytes([1; 16])).unwrap().is_some());
    }),
    ("mark delivered", |store| {
        let seqs = [Seq(store.last_seq().0 - 1), store.last_seq()];
        turn(store, |store| store.mark_delivered(peer(2), &seqs, at(1)).unwrap());
    }),
    ("mark read", |store| {
        let ids: Vec<MessageId> =
            peek(store, &all(inbox_of(2))).messages.iter().map(|message| message.id).collect();
        turn(store, |store| store.mark_read(inbox_of(2), &ids, at(1), None).unwrap());
    }),
    ("mark notified", |store| {
        let ids: Vec<MessageId> =
            peek(store, &all(inbox_of(2))).messages.iter().map(|message| message.id).collect();
        let by = crate::store::Telling::Told(crate::model::Told::notified(at(1), Way::Hook));
        turn(store, |store| store.mark_told(inbox_of(2), &ids, by).unwrap());
    }),
    ("unread", |store| drop(peek(store, &unread(inbox_of(2))))),
    ("unread but some", |store| {
        let page = peek(store, &unread(inbox_of(2)));
        let but: Vec<Seq> = page.messages.iter().map(|message| message.seq).collect();
        drop(peek(store, &InboxQuery { but: &but, ..unread(inbox_of(2)) }));
    }),
    ("unread, read", |store| drop(fetch(store, &unread(inbox_of(2)), at(1)))),
    ("unread after", |store| {
        drop(peek(store, &InboxQuery { after: Some(Seq(50)), ..unread(inbox_of(2)) }));
    }),
    ("unread from", |store| {
        drop(peek(store, &InboxQuery { from: Some(&party(1)), ..unread(inbox_of(2)) }));
    }),
    ("unread from one who sent nothing", |store| {
        drop(peek(store, &InboxQuery { from: Some(&party(3)), ..unread(inbox_of(2)) }));
    }),
    ("all", |store| drop(peek(store, &all(inbox_of(2))))),
    ("all before", |store| {
        drop(peek(store, &InboxQuery { before: Some(Seq(150)), ..all(inbox_of(2)) }));
    }),
    ("all from", |store| {
        drop(peek(store, &InboxQuery { from: Some(&party(1)), ..all(inbox_of(2)) }));
    }),
    ("sent", |store| drop(list_sent(store, &sent_by(&party(1))))),
    ("sent to", |store| {
        drop(list_sent(store, &SentQuery { to: Some(&party(2)), ..sent_by(&party(1)) }));
    }),
    ("undelivered", |store| {
        let after = Seq(store.last_seq().0 - 20);
        drop(store.undelivered(peer(2), after, 10).unwrap());
    }),
    ("undelivered, from the beginning", |store| {
        drop(store.undelivered(peer(2), Seq(0), 10).unwrap());
    }),
    ("history", |store| {
        for (before, after) in [(None, None), (Some(Seq(150)), None), (None, Some(Seq(150)))] {
            let since = Some(T0);
            let query = HistoryQuery { since, before, after, limit: 10 };
            drop(store.history(&query, &mut |_| true).unwrap());
        }
        drop(store.departed_peers(10).unwrap());
    }),
    ("emit", |store| _ = event(store, "a.b")),
    ("events", |store| {
        let query = EventQuery { types: &[], since: None, after: None, limit: 20 };
        drop(read_events(store, &query));
        drop(read_events(store, &EventQuery { after: Some(Seq(10)), ..query }));
    }),
    ("events of types", |store| {
        let types = ["a.b".into(), "r*".into(), "message_received".into()];
        let query = EventQuery { types: &types, since: None, after: None, limit: 20 };
        drop(read_events(store, &query));
        drop(read_events(store, &EventQuery { after: Some(Seq(10)), ..query }));
    }),
    ("events since", |store| {
        let since = Some(Timestamp(T0.0 + i64::try_from(store.last_seq().0).unwrap() - 10));
        let query = EventQuery { types: &[], since, after: None, limit: 20 };
        drop(read_events(store, &query));
    }),
    ("state", |store| {
        turn(store, |store| {
            let version = store.next_seq();
            store.set_state(&entry("k", "v", version), None).unwrap();
            store.expire_state(time(-1), 10).unwrap();
        });
        drop(store.list_state(Some("default"), "k", MeshTime(0), 10, &mut |_| true).unwrap());
        drop(store.list_state(None, "", MeshTime(0), 10, &mut |_| true).unwrap());
        drop(store.state_after(("a", "k"), MeshTime(0), 10, &mut |_| true).unwrap());
        store.next_state_expiry().unwrap();
        let change = StateChange { namespace: "default", key: "k", if_version: None };
        turn(store, |store| store.delete_state(&change).unwrap());
    }),
    ("locks", |store| {
        turn(store, |store| {
            let fence = store.next_seq();
            store.put_lock(&lock("/new", party(1), fence)).unwrap();
            let later = Lock { expires_at: time(70_000), ..lock("/new", party(1), fence) };
            store.put_lock(&later).unwrap();
            store.expire_locks(time(0), 10).unwrap();
            store.remove_lock(fence).unwrap();
        });
        store.next_lock_expiry().unwrap();
    }),
    ("peers", |store| {
        turn(store, |store| store.put_peer(&record(2)).unwrap());
        store.peer(peer(2)).unwrap();
        store.present_peers().unwrap();
        store.reserved_names(time(i64::MAX / 2)).unwrap();
        assert_eq!(store.mailboxes("peer-2").unwrap().len(), 1);
    }),
    ("first", |store| _ = store.first_seq().unwrap()),
    ("purge", |store| {
        turn(store, |store| {
            note(store, 1_000_000);
            store.last_time().unwrap();
            store.purge(&before(3), 4).unwrap();
        });
    }),
    ("maintain", |store| store.db.checkpoint().unwrap()),
];

/// Peers 1 to 3, messages from 1 to 2 and to all, events, state, locks; all but the last of them
/// delivered and half of them read.
fn stored(rows: i64) -> (TempDir, SqliteStore) {
    let dir = TempDir::new();
    let mut store = open(&dir.file("mesh.db"));
    register(&mut store, 3);
    turn(&mut store, |store| {
        for n in 0..rows {
            let draft = Draft::new("x", at(n));
            let to = if n % 5 == 0 { To::Many(&[peer(2), peer(3)]) } else { To::One(inbox_of(2)) };
            let id = post(store, &party(1), to, &draft);
            if n < rows / 2 {
                store.mark_read(inbox_of(2), &[id], at(n), None).unwrap();
            }
            if n < rows - 100 {
                store.mark_delivered(peer(2), &[id.seq()], at(n)).unwrap();
                store.delivered_to(peer(2), id.seq()).unwrap();
            }
            post(store, &party(3), To::One(inbox_of(1)), &draft);
            emit(store, if n % 2 == 0 { "a.b" } else { "rare.x" }, None, &draft);
            store.set_state(&entry(&n.to_string(), "v", id.seq()), None).unwrap();
            store.put_lock(&lock(&n.to_string(), party(1), id.seq())).unwrap();
            if n == 2 || n % 100 == 99 {
                note(store, n + 1);
            }
        }
    });
    (dir, store)
}

#[test]
fn no_operation_works_more_when_there_is_more() {
    let measure = |rows| -> Vec<i32> {
        let (_dir, mut store) = stored(rows);
        // What is remembered of a peer is found once.
        for n in 1..=3 {
            store.unread_count(inbox_of(n)).unwrap();
        }
        let work = watch(&mut store);
        let steps = |store: &mut SqliteStore, operation: fn(&mut SqliteStore)| {
            // The first time, it is prepared.
            operation(store);
            work.lock().unwrap().sum = 0;
            operation(store);
            work.lock().unwrap().sum
        };
        let steps = OPERATIONS.iter().map(|(_, operation)| steps(&mut store, *operation)).collect();
        assert_eq!(work.lock().unwrap().again, BTreeSet::new(), "prepared again");
        steps
    };
    let (few, many) = (measure(300), measure(3000));
    for ((name, _), (few, many)) in OPERATIONS.iter().zip(few.iter().zip(many)) {
        assert!(f64::from(many) < 1.3 * f64::from(*few) + 100.0, "{name}: {few} -> {many}");
    }
}

/// What an opening finds of so many messages that all were delivered and nobody has read.
fn crashed(messages: usize) -> (TempDir, SqliteStore) {
    let dir = TempDir::new();
    let mut store = open(&dir.file("mesh.db"));
    register(&mut store, 3);
    turn(&mut store, |store| {
        let draft = Draft::new("x", T0);
        for n in 0..messages {
            let to = if n % 4 == 0 { To::One(inbox_of(2)) } else { To::Many(&[peer(2), peer(3)]) };
            let seq = post(store, &party(1), to, &draft).seq();
            store.mark_broadcast_delivered(seq, &[peer(2), peer(3)], at(1)).unwrap();
            store.mark_delivered(peer(2), &[seq], at(1)).unwrap();
        }
        let last = store.last_seq();
        for n in 2..=3 {
            store.delivered_to(peer(n), last).unwrap();
            store.unread_count(inbox_of(n)).unwrap();
        }
    });
    store.db.checkpoint().unwrap();
    for n in 2..=3 {
        tell(&mut store, 1, n, "after the checkpoint");
    }
    let crashed = copy(&dir, "mesh.db", "crashed.db");
    (dir, open(&crashed))
}

#[test]
fn a_start_looks_at_no_more_when_there_is_more_that_nobody_has_read() {
    let measure = |messages| {
        let (_dir, mut store) = crashed(messages);
        let work = watch(&mut store);
        assert_eq!(load_tally(&store.db.connection).unwrap().messages, store.counts().messages);
        let lists = |(sql, _): &(&String, &i32)| sql.contains("SELECT recipients");
        let looked: i32 = work.lock().unwrap().steps.iter().filter(lists).map(|it| it.1).sum();
        assert_eq!(looked, 0);
        work.lock().unwrap().sum = 0;
        for n in 2..=3 {
            let waiting = store.undelivered(peer(n), Seq(0), 64).unwrap();
            assert_eq!(texts(&waiting.messages), ["after the checkpoint"]);
            assert_eq!(waiting.next, None);
        }
        // Direct ones are counted, in their index.
        assert_eq!(store.unread_count(inbox_of(3)).unwrap(), messages as u64 / 4 * 3 + 1);
        let steps = work.lock().unwrap().sum;
        assert_eq!(store.unread_count(inbox_of(2)).unwrap(), messages as u64 + 1);
        steps
    };
    let (few, many) = (measure(400), measure(4000));
    assert!(many < few + 100, "{few} -> {many}");
}

#[test]
fn one_look_for_what_is_undelivered_is_bounded() {
    let measure = |messages| {
        let (_dir, mut store) = crashed(messages);
        // As if nothing was known of anyone: a database of a former version.
        store.db.connection.execute_batch("UPDATE parties SET delivered = 0").unwrap();
        store.db.parties.forget_all();
        let work = watch(&mut store);
        let (mut after, mut most, mut looks) = (Some(Seq(0)), 0, 0);
        while let Some(from) = after {
            work.lock().unwrap().sum = 0;
            after = store.undelivered(peer(2), from, 64).unwrap().next;
            most = most.max(work.lock().unwrap().sum);
            looks += 1;
        }
        assert!(looks > messages / 512, "{looks}");
        // It goes on where it has ended, the next time, too.
        assert_eq!(store.undelivered(peer(2), Seq(0), 64).unwrap().next, None);
        most
    };
    let (few, many) = (measure(1500), measure(6000));
    assert!(many < few + 100, "{few} -> {many}");
}

#[test]
fn peers_that_are_fed_in_one_turn_read_the_lists_together() {
    let (_dir, mut store) = crashed(200);
    store.db.connection.execute_batch("UPDATE parties SET delivered = 0").unwrap();
    store.db.parties.forget_all();
    let work = watch(&mut store);
    store.begin_turn().unwrap();
    let mut steps = Vec::new();
    for n in [3, 2] {
        work.lock().unwrap().sum = 0;
        store.undelivered(peer(n), Seq(0), 64).unwrap();
        steps.push(work.lock().unwrap().sum);
    }
    store.rollback_turn();
    // The second has direct messages to look at as well.
    assert!(steps[1] < steps[0], "{steps:?}");
}

#[test]
fn unread_broadcasts_are_counted_right_after_reading_removing_and_a_crash() {
    let (dir, mut store) = crashed(400);
    let oldest = peek(&mut store, &InboxQuery { limit: 40, ..unread(inbox_of(3)) });
    let ids: Vec<MessageId> = oldest.messages.iter().map(|message| message.id).collect();
    turn(&mut store, |store| {
        store.mark_read(inbox_of(3), &ids[10..], at(2), None).unwrap();
    });
    let again = |store: &mut SqliteStore, to: &str| {
        let mut other = open(&copy(&dir, "crashed.db", to));
        for n in 2..=3 {
            let counted = other.unread_count(inbox_of(n)).unwrap();
            assert_eq!(counted, store.unread_count(inbox_of(n)).unwrap(), "{to}");
            let page = peek(&mut other, &InboxQuery { limit: 1000, ..unread(inbox_of(n)) });
            assert_eq!(counted, page.messages.len() as u64, "{to}");
        }
        assert_eq!(other.counts(), store.counts(), "{to}");
        assert_eq!(other.integrity().unwrap(), None);
    };
    again(&mut store, "read.db");
    turn(&mut store, |store| {
        for reader in 2..=3 {
            store.mark_read(inbox_of(reader), &ids[..20], at(2), None).unwrap();
        }
    });
    assert_eq!(store.counts().messages.unread, 400 + 2 - 20);
    again(&mut store, "read by all.db");
    turn(&mut store, |store| note(store, 1));
    for step in ["20.db", "21.db", "22.db"] {
        turn(&mut store, |store| store.purge(&before(1), 20).unwrap());
        again(&mut store, step);
    }
}

#[test]
fn no_statement_scans_or_sorts() {
    let (_dir, mut store) = stored(300);
    let work = watch(&mut store);
    for (_, operation) in OPERATIONS {
        operation(&mut store);
    }
    let statements: Vec<String> = work.lock().unwrap().steps.keys().cloned().collect();
    assert!(statements.len() > 60, "{}", statements.len());
    for sql in statements.iter().filter(|sql| !sql.starts_with("PRAGMA")) {
        let explain = format!("EXPLAIN QUERY PLAN {sql}");
        let mut statement = store.db.connection.prepare(&explain).unwrap();
        for n in 1..=statement.parameter_count() {
            statement.raw_bind_parameter(n, 1).unwrap();
        }
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().unwrap() {
            let detail: String = row.get(3).unwrap();
            // A handful of rows in any case.
            let fine = detail == "SCAN meta" || detail == "SCAN CONSTANT ROW";
            let bad = detail.contains("SCAN") || detail.contains("TEMP B-TREE");
            assert!(fine || !bad, "{detail}: {sql}");
        }
    }
}
