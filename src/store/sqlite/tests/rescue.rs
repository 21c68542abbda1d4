//! Damage: what can be read stays, and nothing is in the way of anything afterwards.

use super::*;
use crate::model::{Invitation, MachineId, MachineName, MachineRecord, Message, Recipient};

const PAGE: usize = 2048;
const PEERS: u8 = 5;
const ROUNDS: u8 = 40;

/// Much of everything, closed in order: messages, broadcasts with marks, events, state, locks.
fn make_large(path: &Path) -> Everything {
    let mut store = open(path);
    register(&mut store, PEERS);
    for n in 0..ROUNDS {
        let (from, to) = (n % PEERS + 1, (n + 1) % PEERS + 1);
        let id = tell(&mut store, from, to, &format!("{n} {}", "x".repeat(500)));
        broadcast(&mut store, from, &[to, (n + 2) % PEERS + 1], &format!("to all {n}"));
        turn(&mut store, |store| {
            if n % 3 == 0 {
                store.mark_read(inbox_of(to), &[id], at(1), None).unwrap();
            }
            let version = store.next_seq();
            let entry =
                StateEntry { value: "v".repeat(100).into(), ..entry(&n.to_string(), "", version) };
            store.set_state(&entry, None).unwrap();
            let fence = store.next_seq();
            store.put_lock(&lock(&format!("/{n}"), party(from), fence)).unwrap();
            emit(store, "a.b", Some(&party(from)), &Draft::new("{\"n\": 1}", at(5)));
            let name = MachineName::new(&format!("machine-{n}")).unwrap();
            let (id, removed_at) = (MachineId([n; 32]), (n % 4 == 0).then_some(at(6)));
            let (address, joined_at, last_seen) = ("192.0.2.1".into(), T0, at(5));
            let machine = MachineRecord { id, name, address, joined_at, last_seen, removed_at };
            store.put_machine(&machine).unwrap();
            let (made_at, expires_at) = (T0, time(9));
            let owner = (n % 2 == 0).then_some(id);
            let name = Some(name);
            let invitation = Invitation { token_hash: [n; 32], name, made_at, expires_at, owner };
            store.put_invitation(&invitation).unwrap();
        });
    }
    let everything = Everything::of(&mut store).unwrap();
    store.close().unwrap();
    everything
}

/// All that anyone can ask for.
#[derive(Debug, PartialEq)]
struct Everything {
    inboxes: Vec<Vec<Message>>,
    events: Vec<Event>,
    state: Vec<StateEntry>,
    locks: Vec<Lock>,
    peers: Vec<PeerRecord>,
    machines: Vec<MachineRecord>,
    invitations: Vec<Invitation>,
    counts: Counts,
    last_seq: Seq,
}

impl Everything {
    fn of(store: &mut SqliteStore) -> Result<Self> {
        let mut inboxes = Vec::new();
        for n in 1..=PEERS {
            let query = InboxQuery { limit: 1000, ..all(inbox_of(n)) };
            inboxes.push(store.inbox(&query, None, &mut |_| true)?.messages);
            store.unread_count(inbox_of(n))?;
            store.undelivered(peer(n), Seq(0), 1000)?;
            let query =
                SentQuery { sender: &party(n), to: None, before: None, after: None, limit: 1000 };
            store.sent(&query, &mut |_| true)?;
        }
        let query = EventQuery { types: &[], since: None, after: Some(Seq(0)), limit: 1000 };
        let events = store.events(&query, &mut |_| true)?.events;
        let state = store.list_state(Some("default"), "", time(0), 1000, &mut |_| true)?;
        let (locks, peers) = (store.locks()?, store.present_peers()?);
        let (machines, invitations) = (store.machines()?, store.invitations()?);
        store.next_lock_expiry()?;
        store.next_state_expiry()?;
        let (counts, last_seq) = (store.counts(), store.last_seq());
        Ok(Self { inboxes, events, state, locks, peers, machines, invitations, counts, last_seq })
    }

    fn counts(&self) -> [usize; 6] {
        let messages = self.inboxes.iter().map(Vec::len).sum();
        let machines = self.machines.len() + self.invitations.len();
        let (locks, peers) = (self.locks.len(), self.peers.len());
        [messages, self.events.len(), self.state.len(), locks, peers, machines]
    }

    fn rows(&self) -> usize {
        self.counts().iter().sum()
    }
}

/// As the core does: what fails is forgotten, the store is repaired, and it is asked again.
fn read_all(store: &mut SqliteStore) -> Everything {
    for _ in 0..3 {
        match Everything::of(store) {
            Ok(everything) => return everything,
            Err(error) => {
                store.rollback_turn();
                assert!(store.mend().unwrap(), "{error}");
            }
        }
    }
    panic!("damage is found again and again");
}

fn use_it(store: &mut SqliteStore) {
    let last = store.last_seq();
    register(store, PEERS);
    assert!(tell(store, 1, 2, "new").seq() > last);
    broadcast(store, 1, &[2, 3], "new to all");
    assert_eq!(store.integrity().unwrap(), None);
}

#[test]
fn whichever_page_is_damaged_the_rest_is_saved() {
    let dir = TempDir::new();
    let sound = make_large(&dir.file("mesh.db"));
    let bytes = std::fs::read(dir.file("mesh.db")).unwrap();
    // A bit of a page's head, all of a page, and a bit of what is in it.
    let damages: [fn(&mut [u8]); 4] = [
        |page| page[4] ^= 1,
        |page| page.fill(0xff),
        |page| page.fill(0),
        |page| page[1900] ^= 0x80,
    ];
    let mut saved_in_part = 0;
    for number in 1..bytes.len() / PAGE {
        for damage in damages {
            let dir = TempDir::new();
            let path = dir.file("mesh.db");
            let mut bytes = bytes.clone();
            damage(&mut bytes[number * PAGE..][..PAGE]);
            std::fs::write(&path, bytes).unwrap();
            let mut store = open(&path);
            let found = read_all(&mut store);
            assert!(found.last_seq >= sound.last_seq, "{number}");
            saved_in_part += usize::from(found.rows() > sound.rows() / 2);
            if let Some(known) = store.recovery() {
                let lost = sound.rows().checked_sub(found.rows()).unwrap();
                assert!(known.rows_skipped > 0 || lost == 0, "{number}: {lost} lost, {known:?}");
            }
            // Not all that is wrong in a page is seen, or in anyone's way.
            if store.recovery().is_none() {
                continue;
            }
            for _ in 0..2 {
                let again = Everything::of(&mut store).unwrap();
                assert_eq!(
                    (again.counts(), again.counts, again.last_seq),
                    (found.counts(), found.counts, found.last_seq),
                    "{number}"
                );
                assert!(again == found, "{number}");
                drop(store);
                store = open(&path);
            }
            use_it(&mut store);
        }
    }
    // But for the roots of tables, a page is a small part.
    let tries = (bytes.len() / PAGE - 1) * damages.len();
    assert!(saved_in_part * 10 > tries * 8, "{saved_in_part} of {tries}");
}

/// Changes a sound database as no program of ours does.
fn alter(path: &Path, sql: &str) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(sql).unwrap();
}

#[test]
fn a_row_that_means_nothing_is_left_out_alone() {
    for (sql, lost) in [
        ("UPDATE messages SET payload = CAST(x'ff' AS TEXT) WHERE seq = 6", "message"),
        ("UPDATE messages SET kind = 9 WHERE seq = 6", "message"),
        ("UPDATE messages SET id = x'00' WHERE seq = 6", "message"),
        ("UPDATE messages SET sender = -1 WHERE seq = 6", "message"),
        ("UPDATE events SET kind = CAST(x'c0' AS TEXT) WHERE seq = 10", "event"),
        ("UPDATE state SET value = CAST(x'fe' AS TEXT) WHERE key = '7'", "state"),
        ("UPDATE state SET version = -5 WHERE key = '7'", "state"),
        ("UPDATE locks SET path = CAST(x'ff' AS TEXT) WHERE path = '/7'", "lock"),
        ("UPDATE peers SET subscriptions = '[' WHERE name = 'peer-3'", "peer"),
        ("UPDATE peers SET name = CAST(x'80' AS TEXT) WHERE name = 'peer-3'", "peer"),
    ] {
        let dir = TempDir::new();
        let path = dir.file("mesh.db");
        let sound = make_large(&path);
        alter(&path, sql);
        let mut store = open(&path);
        let found = read_all(&mut store);
        let mut expected = sound.counts();
        let place = ["message", "event", "state", "lock", "peer"].iter().position(|w| *w == lost);
        expected[place.unwrap()] -= 1;
        // A message is an event, too.
        if lost == "message" {
            expected[1] -= 1;
        }
        // The mail of a peer that is lost is in its mailbox still.
        if lost == "peer" {
            expected[0] = found.counts()[0];
        }
        assert_eq!(found.counts(), expected, "{sql}");
        assert_eq!(store.recovery().unwrap().rows_skipped, 1, "{sql}");
        use_it(&mut store);
    }
}

#[test]
fn a_damaged_index_costs_no_row() {
    for index in ["messages_inbox", "messages_pair", "events_kind", "peers_present", "locks_expiry"]
    {
        let dir = TempDir::new();
        let path = dir.file("mesh.db");
        let sound = make_large(&path);
        let root: u32 = Connection::open(&path)
            .unwrap()
            .query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?1", [index], |row| {
                row.get(0)
            })
            .unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[(root as usize - 1) * PAGE..][..PAGE].fill(0xff);
        std::fs::write(&path, bytes).unwrap();
        let mut store = open(&path);
        assert_eq!(read_all(&mut store), sound, "{index}");
        let known = store.recovery().unwrap();
        assert_eq!(known.rows_skipped, 0, "{index}");
        assert!(known.rows_copied > 200);
    }
}

#[test]
fn a_recovery_that_was_cut_off_goes_on() {
    let dir = TempDir::new();
    let path = dir.file("mesh.db");
    let sound = make_large(&path);
    alter(&path, "UPDATE state SET value = CAST(x'fe' AS TEXT) WHERE key = '7'");
    let damaged = std::fs::read(&path).unwrap();
    let mut store = open(&path);
    let saved = read_all(&mut store);
    drop(store);
    assert_eq!(saved.rows(), sound.rows() - 1);
    let new = std::fs::read(&path).unwrap();
    let aside = "mesh.db.damaged-20260101T000000Z";
    let name = |suffix: &str| format!("{aside}{suffix}");
    // What is where: the old one, its log, and the complete new one.
    for (old, log) in
        [("mesh.db", "mesh.db-wal"), ("mesh.db", &name("-wal")), (aside, &name("-wal"))]
    {
        let dir = TempDir::new();
        std::fs::write(dir.file(old), &damaged).unwrap();
        std::fs::write(dir.file(log), "its log").unwrap();
        std::fs::write(dir.file(&name(".saved")), &new).unwrap();
        std::fs::write(dir.file("mesh.db.new"), "half of another").unwrap();
        let mut store = open(&dir.file("mesh.db"));
        assert_eq!(Everything::of(&mut store).unwrap(), saved);
        assert_eq!(std::fs::read(dir.file(aside)).unwrap(), damaged);
        assert_eq!(std::fs::read(dir.file(&name("-wal"))).unwrap(), b"its log");
        assert!(!dir.file(&name(".saved")).exists());
    }
}

#[test]
fn without_room_for_a_copy_the_rest_is_used_as_it_is() {
    let dir = TempDir::new();
    let path = dir.file("mesh.db");
    let sound = make_large(&path);
    alter(&path, "UPDATE state SET value = CAST(x'fe' AS TEXT) WHERE key = '7'");
    let mut store = open(&path);
    // Nothing can be made under the name of the copy.
    std::fs::create_dir_all(dir.file("mesh.db.new/in the way")).unwrap();
    for _ in 0..2 {
        assert!(store.state("default", "7").is_err());
        assert!(store.mend().unwrap());
        assert_eq!(store.locks().unwrap(), sound.locks);
        assert_eq!(store.recovery(), None);
    }
    tell(&mut store, 1, 2, "new");
    drop(store);
    std::fs::remove_dir_all(dir.file("mesh.db.new")).unwrap();
    let mut store = open(&path);
    let saved = read_all(&mut store);
    assert_eq!(saved.rows(), sound.rows() - 1 + 2);
    assert!(store.recovery().is_some());
}

#[test]
fn what_is_only_in_the_log_is_saved() {
    let dir = TempDir::new();
    let path = dir.file("mesh.db");
    let mut store = open(&path);
    register(&mut store, 3);
    tell(&mut store, 1, 2, "one");
    tell(&mut store, 1, 2, "two");
    store.begin_turn().unwrap();
    store.db.begin_write().unwrap();
    let sql = "UPDATE messages SET payload = CAST(x'ff' AS TEXT) WHERE seq = 1";
    store.db.connection.execute(sql, []).unwrap();
    store.commit_turn().unwrap();
    let query = unread(Recipient::Peer(peer(2)));
    assert!(store.inbox(&query, None, &mut |_| true).is_err());
    // Nothing begins before it is repaired.
    assert!(store.begin_turn().is_err());
    let last = store.last_seq();
    assert!(store.mend().unwrap());
    assert_eq!(texts(&peek(&mut store, &query).messages), ["two"]);
    assert_eq!(store.last_seq(), last);
    tell(&mut store, 1, 2, "three");
    assert_eq!(texts(&peek(&mut store, &query).messages), ["two", "three"]);
}
