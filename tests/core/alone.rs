//! A mesh over the store in memory, without a shell and without a clock: for tests of its rules.
#![allow(unreachable_pub, missing_docs, reason = "shared within the tests only")]

use std::time::Duration;

use slm_mesh::mesh::{Effects, Entropy, Mesh, Settings};
use slm_mesh::model::{Lock, MeshTime, Monotonic, Now, Party, Timestamp};
use slm_mesh::store::Store as _;
use slm_mesh::store::memory::MemoryStore;

/// Bytes that differ each time, and are the same in each run.
pub struct Counter(pub u64);

impl Entropy for Counter {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0 += 1;
        for (byte, value) in bytes.iter_mut().zip(self.0.to_le_bytes().into_iter().cycle()) {
            *byte = value;
        }
    }
}

/// A store in which the person holds `/w/1`, `/w/2` and so on, `count` of them, until `expires_at`.
pub fn store_with_locks(count: u64, expires_at: MeshTime) -> MemoryStore {
    let mut store = MemoryStore::new();
    store.begin_turn().unwrap();
    for n in 1..=count {
        let lock = Lock {
            path: format!("/w/{n}").into(),
            pattern: false,
            shared: false,
            host: None,
            repo_id: None,
            repo_hash: None,
            git_root: None,
            holder: Party::Cli,
            holder_name: "cli".into(),
            reason: None,
            locked_at: Timestamp(0),
            expires_at,
            fence: store.next_seq(),
        };
        store.put_lock(&lock).unwrap();
    }
    store.commit_turn().unwrap();
    store
}

pub struct Alone {
    mesh: Option<Mesh<MemoryStore>>,
    settings: Settings,
    lives: u64,
    pub now: Now,
    /// Those of the last turn.
    pub effects: Effects,
}

impl Alone {
    pub fn new(settings: Settings) -> Self {
        // A boot that is known, so that time goes on over a restart.
        let settings = Settings { boot_id: Some(uuid::Uuid::max()), ..settings };
        let now = Now { wall: Timestamp(1_800_000_000_000), ..Now::default() };
        let mut alone = Self { mesh: None, settings, lives: 0, now, effects: Effects::default() };
        alone.start(MemoryStore::new());
        alone
    }

    fn start(&mut self, store: MemoryStore) {
        self.lives += 1;
        let entropy = Box::new(Counter(self.lives * 1_000_000));
        let mut mesh = Mesh::new(store, entropy, self.settings.clone(), self.now).unwrap();
        self.effects = mesh.take_effects();
        self.mesh = Some(mesh);
    }

    pub fn mesh(&mut self) -> &mut Mesh<MemoryStore> {
        self.mesh.as_mut().unwrap()
    }

    /// Another broker goes on with the store, after so long.
    pub fn restart(&mut self, away: Duration) {
        let store = self.mesh.take().unwrap().into_store();
        self.pass_unseen(away);
        self.now.mono = Monotonic::default();
        self.start(store);
    }

    fn pass_unseen(&mut self, time: Duration) {
        self.now.boot = self.now.boot.plus(time);
        self.now.wall = self.now.wall.plus_ms(i64::try_from(time.as_millis()).unwrap());
    }

    pub fn turn<T>(&mut self, act: impl FnOnce(&mut Mesh<MemoryStore>, Now) -> T) -> T {
        let now = self.now;
        let mesh = self.mesh();
        mesh.begin_turn(now).unwrap();
        let result = act(mesh, now);
        mesh.tick(now).unwrap();
        mesh.feed(now, || true).unwrap();
        mesh.commit_turn().unwrap();
        self.effects = self.mesh().take_effects();
        self.mesh().check_invariants(now);
        result
    }

    pub fn pass(&mut self, seconds: u64) {
        let time = Duration::from_secs(seconds);
        self.now.mono = self.now.mono.plus(time);
        self.pass_unseen(time);
        self.turn(|_, _| ());
    }
}
