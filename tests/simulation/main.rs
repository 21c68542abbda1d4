//! A whole mesh run from a seed: peers come, go, crash and come back, the broker is killed and
//! restarted, commits fail, clocks jump, machines join, are cut off and removed, and every kind of
//! request is made, valid and invalid. The same happens to a mesh over the store in memory and to one
//! over SQLite, and after each step both must show the same.
//!
//! A failure prints its seed and step. `SIM_SEED=7 cargo test --test simulation` replays one seed;
//! `SIM_SEEDS=5000 SIM_STEPS=2000` runs longer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a test: to panic is how it fails, and its numbers are small"
)]

mod generate;
mod net;
mod oracle;
mod rng;
mod times;
mod world;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use generate::Known;
use oracle::Oracle;
use rng::Rng;
use slm_mesh::api::{Endpoint, Reply};
use slm_mesh::limits::{BACKOFF_MAX, CLAIM_TIME};
use slm_mesh::model::{MachineId, MeshTime, Now, Party, PeerId, Recipient, Seq, Timestamp};
use slm_mesh::store::journal::{Ground as _, JournaledSqlite, SEQ_MARGIN};
use slm_mesh::store::memory::MemoryStore;
use slm_mesh::store::sqlite::Options;
use slm_mesh::store::{EventQuery, InboxQuery, SentQuery, Store, StoreError};
use world::{Action, Answer, Backend, End, Input, Seen, Token, World};

/// The numbers that the start on the disk has left out: its journal was so damaged that what could
/// not be read may have been acknowledged.
type LeftOut = Rc<Cell<Option<u64>>>;

struct InMemory(LeftOut);

impl Backend for InMemory {
    type Store = MemoryStore;

    fn create(&mut self) -> MemoryStore {
        MemoryStore::new()
    }

    fn crash(&mut self, mut store: MemoryStore) -> MemoryStore {
        store.rollback_turn();
        if let Some(numbers) = self.0.take() {
            store.give_up_to(Seq(store.last_seq().0 + numbers)).unwrap();
        }
        store
    }

    fn restart(&mut self, store: MemoryStore) -> MemoryStore {
        store
    }
}

/// SQLite with its journal, in a directory of its own for each life of a database.
struct OnDisk {
    root: PathBuf,
    lives: usize,
    rng: Rng,
    left_out: LeftOut,
}

impl OnDisk {
    fn path(&self) -> PathBuf {
        self.root.join(format!("{}.db", self.lives))
    }

    fn open(&self) -> JournaledSqlite {
        JournaledSqlite::open(&self.path(), &Options::default()).unwrap()
    }
}

impl Backend for OnDisk {
    type Store = JournaledSqlite;

    fn create(&mut self) -> JournaledSqlite {
        self.lives += 1;
        self.open()
    }

    /// What a killed process leaves: its files as they are at that moment. Sometimes it was just
    /// writing one more record.
    fn crash(&mut self, mut store: JournaledSqlite) -> JournaledSqlite {
        store.rollback_turn();
        let last = store.last_seq();
        // `create` made a new life a moment ago, to take the place of `store` in the mesh.
        let (old, new) = (self.root.join(format!("{}.db", self.lives - 1)), self.lives + 1);
        let file = |life: &Path, suffix: &str| PathBuf::from(format!("{}{suffix}", life.display()));
        let path = self.root.join(format!("{new}.db"));
        for suffix in ["", "-wal", "-turns"] {
            // There may be no log yet.
            let _ = std::fs::copy(file(&old, suffix), file(&path, suffix));
        }
        if self.rng.below(2) == 0 {
            let before = std::fs::read(file(&old, "-turns")).unwrap();
            store.begin_turn().unwrap();
            store.put_heard("torn", Some("never committed")).unwrap();
            store.commit_turn().unwrap();
            let mut torn = std::fs::read(file(&old, "-turns")).unwrap();
            let same = before.iter().zip(&torn).take_while(|(a, b)| a == b).count();
            // The last byte is one of the text: what stood there before does not complete it.
            let end = torn[same..].windows(9).position(|part| part == b"committed").unwrap() + 9;
            let place = same + self.rng.below(end);
            if self.rng.below(2) == 0 {
                let rest = before.get(place..).unwrap_or_default();
                torn.truncate(place);
                torn.extend_from_slice(rest);
            } else {
                torn[place] ^= 1 << self.rng.below(8);
            }
            std::fs::write(file(&path, "-turns"), torn).unwrap();
        }
        self.lives = new;
        drop(store);
        let store = self.open();
        self.left_out.set((store.last_seq() >= Seq(last.0 + SEQ_MARGIN)).then_some(SEQ_MARGIN));
        store
    }

    fn restart(&mut self, store: JournaledSqlite) -> JournaledSqlite {
        drop(store);
        self.open()
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// What all seeds together must have met, beside requests of every kind: what is never made or refused
/// is not tested.
const TO_BE_MET: [&str; 91] = [
    "invalid_json",
    "invalid_request",
    "unauthorized",
    "forbidden",
    "peer_not_found",
    "lock_not_found",
    "locked",
    "version_conflict",
    "id_conflict",
    "ambiguous_peer",
    "name_taken",
    "rate_limited",
    "held",
    "answered late",
    "lock granted late",
    "woken by a pattern",
    "stolen",
    "unclaimed",
    "kept though an answer was lost",
    "told again who holds a lock",
    "locked, shared true",
    "locked, pattern true",
    "locked, several files",
    "State get",
    "State list",
    "State set",
    "State delete",
    "Lock lock",
    "Lock unlock",
    "Lock query",
    "Events read",
    "Events subscribe",
    "Events unsubscribe",
    "Events emit",
    "Messages markRead",
    "Messages markNotified",
    "Messages markSent",
    "Messages claim",
    "claimed late",
    "renew",
    "release",
    "proven",
    "deferred",
    "sent",
    "claimed",
    "claimed again",
    "notified",
    "message_read",
    "queued for a name",
    "inherited",
    "waits",
    "undeliverable",
    "message_undeliverable",
    "to a topic",
    "away",
    "resumed",
    "registered late",
    "lock expired",
    "grown old",
    "numbers left out",
    "renamed",
    "a list by ids",
    "a list with who has left",
    "a list of /w/sub",
    "in the name of who has left",
    "a token of who has left",
    "to a directory",
    "a message and what it answers",
    "found by its text",
    "found by who wrote or got it",
    "all of history",
    "refused",
    "hung up right after it was connected",
    "lost before the first byte",
    "lost in the middle of a frame",
    "lost by a write",
    "lost between a write and an acknowledgement",
    "blocked",
    "a process ended",
    "a process ended after its connection",
    "a child has the connection",
    "a named process ended",
    "cut off",
    "a removed machine was refused",
    "a machine was removed",
    "a token of another machine",
    "in the name of another machine",
    "locked on all machines",
    "a list of all machines",
    "one path on two machines",
    "read on another machine",
];

fn check_coverage(met: &BTreeSet<String>) {
    let mut wanted = TO_BE_MET.map(String::from).to_vec();
    for endpoint in Endpoint::ALL {
        if !matches!(endpoint, Endpoint::State | Endpoint::Lock | Endpoint::Events) {
            wanted.push(format!("{endpoint:?} "));
        }
    }
    let missing: Vec<_> = wanted.iter().filter(|kind| !met.contains(*kind)).collect();
    assert!(missing.is_empty(), "never met: {missing:?}");
}

#[test]
fn the_mesh_keeps_its_promises() {
    let one = std::env::var("SIM_SEED").ok().map(|text| text.parse::<u64>().unwrap());
    let seeds: Vec<u64> = match one {
        Some(seed) => vec![seed],
        None => (0..variable("SIM_SEEDS", 256)).collect(),
    };
    let steps = variable("SIM_STEPS", 500);
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let met: BTreeSet<String> = std::thread::scope(|scope| {
        let run = || {
            let mut met = BTreeSet::new();
            while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                met.extend(run_seed(*seed, steps));
            }
            met
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        running
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    });
    if seeds.len() >= 100 && steps >= 500 {
        check_coverage(&met);
    }
}

fn run_seed(seed: u64, steps: u64) -> BTreeSet<String> {
    let root = std::env::temp_dir().join(format!("slm-sim-{}-{seed}", std::process::id()));
    // Of a run that was killed, whose process had the same id.
    let _ = std::fs::remove_dir_all(&root);
    std::fs::create_dir(&root).unwrap();
    let now = Now { wall: Timestamp(1_800_000_000_000), ..Now::default() };
    let left_out = LeftOut::default();
    let rng = Rng::new(seed ^ 0x746f_726e);
    let on_disk = OnDisk { root, lives: 0, rng, left_out: Rc::clone(&left_out) };
    let mut run = Run {
        memory: World::new(InMemory(left_out), seed, now),
        disk: World::new(on_disk, seed, now),
        oracle: Oracle::default(),
        known: Known::default(),
        rng: Rng::new(seed),
    };
    for step in 0..steps {
        let (wanted, connected) = (run.memory.net.wanted(), run.memory.net.connected());
        let action = generate::action(&mut run.rng, &run.known, &wanted, &connected);
        let result = catch_unwind(AssertUnwindSafe(|| {
            run.step(&action);
            // Everything now and then: it costs more than the step.
            if step % 25 == 24 || matches!(action, Action::Restart { .. }) {
                run.check();
            }
        }));
        if let Err(panic) = result {
            eprintln!("\nseed {seed}, step {step}: {action:?}");
            eprintln!(
                "replay: SIM_SEED={seed} SIM_STEPS={} cargo test --test simulation\n",
                step + 1
            );
            resume_unwind(panic);
        }
    }
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run.heal())) {
        eprintln!("\nseed {seed}, after healing at step {steps}");
        resume_unwind(panic);
    }
    run.oracle.met.extend(run.memory.net.met.iter().map(|kind| (*kind).to_owned()));
    run.oracle.met
}

struct Run {
    memory: World<InMemory>,
    disk: World<OnDisk>,
    oracle: Oracle,
    known: Known,
    rng: Rng,
}

impl Run {
    fn step(&mut self, action: &Action) -> Seen {
        let before = self.memory.mesh().store_mut().last_seq();
        // First: the other leaves out the numbers that it does.
        let on_disk = self.disk.act(action);
        let in_memory = self.memory.act(action);
        if self.memory.mesh().store_mut().last_seq() >= Seq(before.0 + SEQ_MARGIN) {
            self.oracle.met.insert("numbers left out".to_owned());
        }
        assert_eq!(in_memory, on_disk, "the stores disagree (left: memory, right: SQLite)");
        self.oracle.learn(action, &in_memory, &mut self.known, self.memory.now);
        self.oracle.check_lost(&mut self.memory, &in_memory);
        self.memory.check_readers();
        in_memory
    }

    fn check(&mut self) {
        // What has expired is removed first; see `check_invariants`.
        self.step(&Action::Turn(vec![Input::Tick], End::Commit));
        let now = self.memory.now;
        self.memory.check_shell();
        self.memory.mesh().check_invariants(now);
        self.disk.mesh().check_invariants(now);
        self.oracle.check_inboxes(&mut self.memory, &self.known);
        self.oracle.check_inboxes(&mut self.disk, &self.known);
        self.oracle.check_undeliverable(&mut self.memory);
        self.oracle.check_tokens(&mut self.memory, &self.known);
        self.oracle.check_machines(&mut self.memory, &self.known);
        self.oracle.check_grants(&mut self.memory);
        self.oracle.check_names(&mut self.memory);
        self.oracle.check_times(&mut self.memory);
        self.oracle.check_times(&mut self.disk);
        self.oracle.check_receipts(&mut self.memory, &self.known);
        let a = contents(self.memory.mesh().store_mut(), &self.known).unwrap();
        let b = contents(self.disk.mesh().store_mut(), &self.known).unwrap();
        assert_eq!(a, b, "what is stored (left: memory, right: SQLite)");
    }

    /// Once the claims have run out, every unread message can be claimed again, once.
    fn check_claims(&mut self) {
        let ms = u64::try_from(CLAIM_TIME.as_millis()).unwrap();
        self.step(&Action::Time { ms, jump_ms: 0 });
        for client in self.known.clients.clone() {
            let mut claim = || {
                let seen = self.step(&Action::Turn(
                    vec![Input::Request {
                        token: Token::Peer(client.token.clone(), client.home),
                        endpoint: Endpoint::Messages,
                        body: r#"{"claim":"hook","limit":1000}"#.into(),
                    }],
                    End::Commit,
                ));
                match seen.answers.into_iter().next() {
                    Some((_, Answer::Reply(Reply::Claimed(claimed)))) => Some(claimed),
                    _ => None,
                }
            };
            // Unless it has left.
            let (Some(first), Some(second)) = (claim(), claim()) else { continue };
            let query = InboxQuery {
                unread_only: true,
                untold_only: true,
                ..InboxQuery::of(Recipient::Peer(client.id), u32::MAX)
            };
            let store = self.memory.mesh().store_mut();
            let untold = store.inbox(&query, None, &mut |_| true).unwrap().messages;
            assert!(
                first.messages.iter().map(|m| m.id).eq(untold.iter().map(|m| m.id)),
                "a claim has everything unread that is not told or claimed"
            );
            assert_eq!(first.remaining, 0);
            assert_eq!((&*second.messages, second.remaining), (&[][..], 0), "all is claimed");
        }
    }

    /// Liveness: once everyone is connected and reads, everything undelivered is delivered.
    fn heal(&mut self) {
        (self.memory.net.calm, self.disk.net.calm) = (true, true);
        for round in 0..200 {
            let wanted = self.memory.net.wanted().into_iter().map(Input::Listen);
            let connected = self.memory.net.connected().into_iter();
            let read = connected.map(|peer| Input::Read { peer, frames: 1000 });
            // A heartbeat begins anew with the attempts.
            let beats = self.known.clients.iter().filter(|_| round < 2).map(generate::heartbeat);
            let ids = (0..2 + self.known.removed.len()).filter(|_| round == 0);
            let dials = ids.map(|n| Input::Dial(MachineId([1 + n as u8; 32])));
            let inputs = dials.chain(wanted).chain(read).chain(beats).collect();
            self.step(&Action::Turn(inputs, End::Commit));
            if round < 2 {
                let ms = u64::try_from(BACKOFF_MAX.as_millis()).unwrap();
                self.step(&Action::Time { ms, jump_ms: 0 });
            }
        }
        self.check();
        // Whoever comes under a name finds what waits for it.
        for name in ["alice", "bob"] {
            let body = format!(r#"{{"pid":1,"projectPath":"/w","name":"{name}"}}"#);
            let request =
                Input::Request { token: Token::Person(None), endpoint: Endpoint::Register, body };
            self.step(&Action::Turn(vec![request], End::Commit));
        }
        self.check();
        self.check_claims();
        for peer in self.memory.net.connected() {
            let left = self.memory.mesh().store_mut().undelivered(peer, Seq(0), 10);
            assert_eq!(left.unwrap().messages, [], "undelivered messages of {peer}, which reads");
        }
        self.step(&Action::Turn(
            vec![Input::Request {
                token: Token::Person(None),
                endpoint: Endpoint::Status,
                body: String::new(),
            }],
            End::Commit,
        ));
    }
}

/// Everything that is stored, as text.
fn contents<S: Store>(store: &mut S, known: &Known) -> Result<String, StoreError> {
    let mut out = String::new();
    let events = EventQuery { types: &[], since: None, after: Some(Seq(0)), limit: u32::MAX };
    let _ = writeln!(out, "{:?}", store.events(&events, &mut |_| true)?);
    let _ = writeln!(out, "{:?} {:?}", store.locks()?, store.counts());
    for name in ["alice", "bob", "auto"] {
        let _ = writeln!(out, "{name} {:?}", store.mailboxes(name)?);
    }
    let _ = writeln!(
        out,
        "{:?}",
        store.list_state(None, "", MeshTime(i64::MIN), u32::MAX, &mut |_| true)?
    );
    let peers = known.clients.iter().map(|client| client.id).collect::<BTreeSet<PeerId>>();
    let people = known.homes().filter_map(|home| Party::cli_of(home).inbox());
    for recipient in peers.into_iter().map(Recipient::Peer).chain(people) {
        let inbox = InboxQuery::of(recipient, u32::MAX);
        let _ = writeln!(out, "{:?}", store.inbox(&inbox, None, &mut |_| true)?);
        let sender = Party::from(recipient);
        let sent =
            SentQuery { sender: &sender, to: None, before: None, after: None, limit: u32::MAX };
        let _ = writeln!(out, "{:?}", store.sent(&sent, &mut |_| true)?);
        if let Recipient::Peer(id) = recipient {
            let _ = writeln!(out, "{:?}", store.peer(id)?);
        }
    }
    Ok(out)
}
