//! Databases of former versions: opened, they keep all they had, and are as new ones are.

use super::*;
use crate::model::{Reached, Told, Way};
use crate::store::Telling;
use crate::store::sqlite::schema::{APPLICATION_ID, MIGRATIONS, VERSION};

/// A time that has not come, as it was stored in version 1.
const V1_NOT_YET: i64 = 140_737_488_355_327;

fn v1_entry(party: u32, delivered_at: i64, read_at: i64) -> Vec<u8> {
    let [_, _, delivered @ ..] = delivered_at.to_be_bytes();
    let [_, _, read @ ..] = read_at.to_be_bytes();
    [&party.to_be_bytes()[..], &delivered, &read].concat()
}

/// A database of version 1 with rows of every kind, as its program wrote them: `messages` direct
/// ones of three kinds in turn (waiting, delivered, read), then a broadcast, then an event.
fn make_v1(path: &Path, messages: i64, payload: &str) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA page_size = 2048; PRAGMA journal_mode = WAL; BEGIN; {}
             PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;",
            MIGRATIONS[0]
        ))
        .unwrap();
    for n in 1..=4u8 {
        let sql = "INSERT INTO peers (id, name, name_is_automatic, token_hash, agent_type, pid,
                project_path, private, acks, subscriptions, started_at, last_heartbeat, left_at,
                resumable, left_seq)
            VALUES (?1, ?2, 0, ?3, 'codex', 1, '/p', 0, 1, '[\"a.b\"]', ?4, ?4, ?5, 1, 0)";
        let left_at = (n == 4).then_some(at(1));
        let row = (peer(n), format!("peer-{n}"), [n; 32], T0, left_at);
        connection.execute(sql, row).unwrap();
        let sql = "INSERT INTO parties (party, name, born, floor) VALUES (?1, ?2, 0, 0)";
        connection.execute(sql, (u32::from(n) + 1, party(n))).unwrap();
    }
    let sql =
        "INSERT INTO messages VALUES (?1, ?2, ?1, 2, ?3, ?4, 0, ?5, ?6, ?7, ?8, ?9, 's', ?10)";
    let mut insert = connection.prepare(sql).unwrap();
    for n in 1..=messages {
        let (is_read, delivered_at, read_at) = match n % 3 {
            0 => (true, at(n).0, at(n + 1).0),
            1 => (false, V1_NOT_YET, V1_NOT_YET),
            _ => (false, at(n).0, V1_NOT_YET),
        };
        let seq = Seq(u64::try_from(n).unwrap());
        let id = MessageId::new(seq, [7; 16]);
        let (reply_to, client_id) = ((n == 2).then_some(id), (n == 2).then_some([5u8; 16]));
        insert
            .execute(rusqlite::params![
                seq,
                id,
                3,
                is_read,
                T0,
                delivered_at,
                read_at,
                reply_to,
                client_id,
                format!("{n} {payload}"),
            ])
            .unwrap();
    }
    let seq = Seq(u64::try_from(messages).unwrap()).next();
    let id = MessageId::new(seq, [7; 16]);
    insert
        .execute(rusqlite::params![
            seq,
            id,
            0,
            false,
            T0,
            V1_NOT_YET,
            V1_NOT_YET,
            None::<MessageId>,
            None::<[u8; 16]>,
            "to all",
        ])
        .unwrap();
    drop(insert);
    // A time before 1970 has its sign in a byte that must not be lost.
    let list = [
        v1_entry(3, at(1).0, at(2).0),
        v1_entry(4, -5, V1_NOT_YET),
        v1_entry(5, V1_NOT_YET, V1_NOT_YET),
    ];
    let list = list.concat();
    connection.execute("INSERT INTO broadcasts VALUES (?1, ?2)", (seq, list)).unwrap();
    connection.execute("INSERT INTO client_ids VALUES (2, ?1, 2)", [[5u8; 16]]).unwrap();
    let seq = seq.next();
    let sql = "INSERT INTO events VALUES (?1, ?2, 1, 'a.b', ?3, ?4, NULL, '{\"n\":1}')";
    connection.execute(sql, (seq, MessageId::new(seq, [8; 16]), party(1), T0)).unwrap();
    connection.execute("INSERT INTO time_marks VALUES (1, ?1)", [T0]).unwrap();
    let sql = "INSERT INTO state VALUES ('default', 'k', 3, ?1, ?2, ?3, 'v')";
    connection.execute(sql, (party(1), T0, at(60_000))).unwrap();
    let sql = "INSERT INTO locks VALUES ('/a', ?1, 'holder', 'why', ?2, ?3, 2)";
    connection.execute(sql, (party(1), T0, at(60_000))).unwrap();
    connection.execute_batch("INSERT INTO meta VALUES ('last_seq', 40); COMMIT").unwrap();
}

/// What SQLite says of the tables and indexes.
fn schema(connection: &Connection) -> Vec<(String, String)> {
    let sql = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.try_into()).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

#[test]
fn a_database_of_version_1_keeps_everything() {
    let dir = TempDir::new();
    let path = dir.file("mesh.db");
    make_v1(&path, 9, &"x".repeat(5000));
    let mut store = open(&path);
    assert_eq!(store.recovery(), None);
    let version: u32 =
        store.db.connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!((version as usize, VERSION), (MIGRATIONS.len(), 9));
    assert_eq!(schema(&store.db.connection), schema(&open(&dir.file("new.db")).db.connection));
    assert_eq!(store.integrity().unwrap(), None);

    let messages = MessageCounts { total: 10, undelivered: 4, unread: 7 };
    assert_eq!(store.counts(), Counts { messages, events: 11, state_entries: 1, locks: 1 });
    assert_eq!((store.last_seq(), store.first_seq().unwrap()), (Seq(40), Seq(1)));
    assert_eq!(store.present_peers().unwrap().len(), 3);
    assert_eq!(store.peer(peer(4)).unwrap().unwrap().left_at, Some(at(1)));
    assert_eq!(store.locks().unwrap()[0].reason.as_deref(), Some("why"));
    assert_eq!(&*store.state("default", "k").unwrap().unwrap().value, "v");
    let query = EventQuery { types: &["a.b".into()], since: None, after: None, limit: 9 };
    assert_eq!(&*read_events(&mut store, &query).events[0].payload, "{\"n\":1}");

    let inbox = peek(&mut store, &all(inbox_of(2))).messages;
    assert_eq!(inbox.len(), 10);
    for (message, n) in inbox.iter().take(9).zip(1i64..) {
        assert!(message.payload.starts_with(&format!("{n} xxx")), "{n}");
        assert_eq!(message.payload.len(), 5002);
        assert_eq!(message.id, MessageId::new(message.seq, [7; 16]));
        let (delivered_at, read_at) = match n % 3 {
            0 => (Some(at(n)), Some(at(n + 1))),
            1 => (None, None),
            _ => (Some(at(n)), None),
        };
        let marks = (message.delivered_at, message.told, message.read_at);
        assert_eq!(marks, (delivered_at, None, read_at), "{n}");
        assert_eq!(message.reply_to, (n == 2).then_some(message.id));
        assert_eq!((&message.from, &*message.from_name), (&party(1), "s"));
    }
    assert_eq!((inbox[9].delivered_at, inbox[9].read_at), (Some(at(1)), Some(at(2))));
    let third = peek(&mut store, &all(inbox_of(3))).messages;
    assert_eq!((third[0].delivered_at, third[0].read_at), (Some(Timestamp(-5)), None));
    let fourth = peek(&mut store, &unread(inbox_of(4))).messages;
    assert_eq!((fourth[0].delivered_at, fourth[0].told), (None, None));
    let sent = list_sent(&mut store, &sent_by(&party(1))).messages;
    let reached = Reached { recipients: 3, delivered: 2, sent: 0, notified: 0, read: 1 };
    assert_eq!(sent[9].reached, Some(reached));
    let first = store.client_id(&party(1), Uuid::from_bytes([5; 16])).unwrap();
    assert!(matches!(first, Some(crate::store::Repeated::Message(first)) if first.seq == Seq(2)));

    // Whoever had a name of its own has a mailbox now.
    assert_ne!(store.mailboxes("peer-4").unwrap(), []);
    assert_eq!(store.mailboxes("peer-5").unwrap(), []);

    // It works on as a new one does.
    let told = Told::notified(at(9), Way::Hook);
    let broadcast = inbox[9].id;
    turn(&mut store, |store| {
        store.mark_told(inbox_of(2), &[inbox[0].id], Telling::Told(told)).unwrap();
        store.mark_told(inbox_of(4), &[broadcast], Telling::Told(told)).unwrap();
    });
    tell(&mut store, 1, 2, "new");
    drop(store);
    let mut store = open(&path);
    assert_eq!(peek(&mut store, &all(inbox_of(4))).messages[0].told, Some(told));
    assert_eq!(peek(&mut store, &all(inbox_of(2))).messages[0].told, Some(told));
    assert_eq!(store.last_seq(), Seq(41));
    assert_eq!(store.integrity().unwrap(), None);
}

#[test]
fn a_nearly_full_database_of_version_1_opens_and_keeps_its_limit() {
    let dir = TempDir::new();
    let path = dir.file("mesh.db");
    make_v1(&path, 60, &"x".repeat(5000));
    let options = Options { bytes_max: 420 * 1024, ..Options::default() };
    let mut store = SqliteStore::open(&path, &options).unwrap();
    assert_eq!(store.recovery(), None);
    assert_eq!(store.counts().messages.total, 61);
    assert_eq!(store.size().wal_bytes, 0);
    let size = store.size().bytes;
    // What the old table took is used again before it grows; the limit is that of its size.
    let mut sent = 0;
    while sent < 1000 {
        store.begin_turn().unwrap();
        let seq = store.next_seq();
        let message = crate::store::NewMessage {
            seq,
            id: MessageId::new(seq, [1; 16]),
            from: &party(1),
            from_name: "n",
            to: To::One(inbox_of(2)),
            kind: crate::model::MessageKind::Text,
            payload: &"y".repeat(5000),
            reply_to: None,
            created_at: T0,
            client_id: None,
        };
        if store.send(&message).and_then(|()| store.commit_turn()).is_err() {
            store.rollback_turn();
            break;
        }
        sent += 1;
    }
    assert!((30..1000).contains(&sent), "{sent}");
    store.maintain(true).unwrap();
    store.close().unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), size);
}

#[test]
fn a_damaged_list_of_version_1_is_moved_aside() {
    let dir = TempDir::new();
    let path = dir.file("mesh.db");
    make_v1(&path, 3, "x");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("UPDATE broadcasts SET recipients = x'0102'").unwrap();
    drop(connection);
    assert!(open(&path).recovery().unwrap().moved_to.contains("mesh.db.damaged-"));
}

#[test]
fn mailboxes_of_names_that_differ_by_case_are_one_afterwards() {
    let dir = TempDir::new();
    let path = dir.file("mesh.db");
    make_v1(&path, 3, "x");
    let connection = Connection::open(&path).unwrap();
    let sql = "UPDATE peers SET name = 'bOt' WHERE id = ?1";
    connection.execute(sql, [peer(2)]).unwrap();
    for step in &MIGRATIONS[1..4] {
        connection.execute_batch(step).unwrap();
    }
    connection
        .execute_batch(
            "INSERT INTO parties (name, born, floor) VALUES ('@Bot', 0, 0), ('@BOT', 0, 0);
             UPDATE messages SET recipient = (SELECT party FROM parties WHERE name = '@Bot')
                 WHERE seq = 1;
             UPDATE messages SET recipient = (SELECT party FROM parties WHERE name = '@BOT')
                 WHERE seq = 2;
             PRAGMA user_version = 4",
        )
        .unwrap();
    drop(connection);
    let mut store = open(&path);
    // With what was sent to it alone, and the broadcast.
    assert_eq!(peek(&mut store, &all(inbox_of(2))).messages.len(), 4);
    assert_eq!(store.integrity().unwrap(), None);
}

#[test]
fn what_was_notified_in_version_5_is_so_still() {
    let dir = TempDir::new();
    let path = dir.file("mesh.db");
    make_v1(&path, 3, "x");
    let connection = Connection::open(&path).unwrap();
    for step in &MIGRATIONS[1..5] {
        connection.execute_batch(step).unwrap();
    }
    // By each way that there was, in the order of their numbers.
    for (seq, way) in [(1, 3), (2, 5), (3, 7)] {
        let sql = "UPDATE messages SET notified_at = ?2, notified_by = ?3 WHERE seq = ?1";
        connection.execute(sql, (seq, at(9), way)).unwrap();
    }
    connection.execute_batch("PRAGMA user_version = 5").unwrap();
    drop(connection);
    let mut store = open(&path);
    let told = peek(&mut store, &all(inbox_of(2))).messages.into_iter().map(|it| it.told);
    let by = |way| Some(Told::notified(at(9), way));
    let wanted = [by(Way::InboxSocket), by(Way::Queue), by(Way::ToolResult), None];
    assert_eq!(told.collect::<Vec<_>>(), wanted);
}
