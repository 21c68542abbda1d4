//! The store alone: what a turn costs, in memory and in SQLite.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails shall stop")]

use std::hint::black_box;
use std::path::PathBuf;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use slm_mesh::model::{
    MessageId, MessageKind, Party, PeerId, PeerRecord, Recipient, Seq, Timestamp,
};
use slm_mesh::store::memory::MemoryStore;
use slm_mesh::store::sqlite::{Options, SqliteStore};
use slm_mesh::store::{InboxQuery, NewMessage, SentQuery, Store, To};

const T0: Timestamp = Timestamp(1_775_644_200_000);
const PEERS: u8 = 20;
const STORED: u32 = 100_000;

fn peer(n: u8) -> PeerId {
    PeerId::from_random([n; 16])
}

fn record(n: u8) -> PeerRecord {
    PeerRecord {
        id: peer(n),
        name: format!("peer-{n}").into(),
        name_is_automatic: true,
        token_hash: [n; 32],
        agent_type: "claude-code".into(),
        pid: 1,
        project_path: "/home/someone/project".into(),
        git_root: None,
        git_branch: None,
        repo_id: None,
        repo_hash: None,
        uds_path: None,
        summary: None,
        host: None,
        reach: None,
        session_id: None,
        agent_pid: None,
        agent_start: None,
        private: false,
        acks: true,
        subscriptions: Vec::new(),
        started_at: T0,
        last_heartbeat: T0,
        away_at: None,
        left_at: None,
        resumable: true,
    }
}

fn post(store: &mut dyn Store, from: u8, to: To<'_>) -> Seq {
    const TEXT: [u8; 256] = [b'x'; 256];
    let seq = store.next_seq();
    let random = seq.0.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(random.iter().cycle()).for_each(|(byte, random)| *byte = *random);
    let message = NewMessage {
        seq,
        id: MessageId::new(seq, bytes),
        from: &Party::Peer(peer(from)),
        from_name: "webapp-claude",
        to,
        kind: MessageKind::Text,
        payload: std::str::from_utf8(&TEXT).unwrap(),
        reply_to: None,
        created_at: T0,
        client_id: None,
    };
    store.send(&message).unwrap();
    seq
}

/// A store in which peers have sent each other messages; the last hundred of each are unread.
fn filled(store: &mut dyn Store, messages: u32) {
    store.begin_turn().unwrap();
    for n in 0..PEERS {
        store.put_peer(&record(n)).unwrap();
    }
    store.commit_turn().unwrap();
    for n in 0..messages {
        if n % 1000 == 0 {
            store.begin_turn().unwrap();
        }
        let to = u8::try_from(n % u32::from(PEERS)).unwrap();
        let seq = post(store, (to + 7) % PEERS, To::One(Recipient::Peer(peer(to))));
        store.mark_delivered(peer(to), &[seq], T0).unwrap();
        if n % 1000 == 999 {
            if n + 100 * u32::from(PEERS) < messages {
                for n in 0..PEERS {
                    let query = InboxQuery { limit: 1000, ..inbox(n, true) };
                    store.inbox(&query, Some(T0), &mut |_| true).unwrap();
                }
            }
            store.commit_turn().unwrap();
            store.maintain(true).unwrap();
        }
    }
    if !messages.is_multiple_of(1000) {
        store.commit_turn().unwrap();
    }
}

fn inbox(n: u8, unread_only: bool) -> InboxQuery<'static> {
    let recipient = Recipient::Peer(peer(n));
    InboxQuery {
        recipient,
        unread_only,
        from: None,
        before: None,
        after: None,
        untold_only: false,
        but: &[],
        limit: 20,
    }
}

fn turns(c: &mut Criterion, name: &str, store: &mut dyn Store) {
    let mut group = c.benchmark_group(name);
    let to = |n: u64| u8::try_from(n % u64::from(PEERS)).unwrap();
    let mut count = 0;

    group.bench_function("send", |b| {
        b.iter(|| {
            count += 1;
            store.begin_turn().unwrap();
            post(store, 1, To::One(Recipient::Peer(peer(to(count)))));
            store.commit_turn().unwrap();
            store.maintain(false).unwrap();
        });
    });
    let mut former = (0, Seq(0));
    group.bench_function("send and mark the former delivered", |b| {
        b.iter(|| {
            count += 1;
            store.begin_turn().unwrap();
            let seq = post(store, 1, To::One(Recipient::Peer(peer(to(count)))));
            store.mark_delivered(peer(former.0), &[former.1], T0).unwrap();
            former = (to(count), seq);
            store.commit_turn().unwrap();
            store.maintain(false).unwrap();
        });
    });
    group.bench_function("8 sends", |b| {
        b.iter(|| {
            store.begin_turn().unwrap();
            for _ in 0..8 {
                count += 1;
                post(store, 1, To::One(Recipient::Peer(peer(to(count)))));
            }
            store.commit_turn().unwrap();
            store.maintain(false).unwrap();
        });
    });
    let everyone: Vec<PeerId> = (0..PEERS).map(peer).collect();
    group.bench_function("broadcast to 20", |b| {
        b.iter(|| {
            store.begin_turn().unwrap();
            post(store, 1, To::Many(&everyone));
            store.commit_turn().unwrap();
            store.maintain(false).unwrap();
        });
    });
    group.bench_function("an empty turn", |b| {
        b.iter(|| {
            store.begin_turn().unwrap();
            store.commit_turn().unwrap();
        });
    });
    group.finish();
}

fn reads(c: &mut Criterion, name: &str, store: &mut dyn Store) {
    let mut group = c.benchmark_group(name);
    let mut n = 0;
    let mut next = move || {
        n = (n + 1) % PEERS;
        n
    };
    group.bench_function("peek 20 unread", |b| {
        b.iter(|| {
            black_box(store.inbox(&inbox(next(), true), None, &mut |_| true).unwrap());
        });
    });
    group.bench_function("peek 20 of all", |b| {
        b.iter(|| {
            black_box(store.inbox(&inbox(next(), false), None, &mut |_| true).unwrap());
        });
    });
    group.bench_function("20 sent", |b| {
        b.iter(|| {
            let sender = Party::Peer(peer(next()));
            let query =
                SentQuery { sender: &sender, to: None, before: None, after: None, limit: 20 };
            black_box(store.sent(&query, &mut |_| true).unwrap());
        });
    });
    group.bench_function("read 20 unread", |b| {
        b.iter_batched(
            || (),
            |()| {
                store.begin_turn().unwrap();
                let query = inbox(next(), true);
                black_box(store.inbox(&query, Some(T0), &mut |_| true).unwrap());
                // Undone, so that there are always some.
                store.rollback_turn();
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

struct TempFile(PathBuf);

impl TempFile {
    fn new() -> Self {
        let dir = std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        Self(dir.join(format!("slm-mesh-bench-{}.db", std::process::id())))
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn store(c: &mut Criterion) {
    let mut memory = MemoryStore::new();
    filled(&mut memory, 100);
    turns(c, "memory", &mut memory);

    let file = TempFile::new();
    let mut sqlite = SqliteStore::open(&file.0, &Options::default()).unwrap();
    filled(&mut sqlite, 100);
    turns(c, "sqlite", &mut sqlite);
    drop(sqlite);
    drop(file);

    let file = TempFile::new();
    let mut sqlite = SqliteStore::open(&file.0, &Options::default()).unwrap();
    filled(&mut sqlite, STORED);
    reads(c, "sqlite, 100,000 stored", &mut sqlite);
    turns(c, "sqlite, 100,000 stored", &mut sqlite);
}

criterion_group!(benches, store);
criterion_main!(benches);
