//! The deterministic core: every rule of the mesh, and no I/O.
//!
//! It never reads a clock, makes no randomness, opens nothing: time comes in as an argument and is
//! kept until the next call, random bytes come from [`Entropy`], and what must survive goes to a
//! [`Store`]. So a whole mesh, with crashes and lost connections, can be run from a seed
//! (`tests/simulation/`).
//!
//! The shell calls it in turns: [`Mesh::begin_turn`], then any number of [`Mesh::handle`] and of news
//! about connections, then [`Mesh::feed`] and [`Mesh::commit_turn`]. Only after that may it carry out
//! the [`Effects`] and answer. A request is checked in full before it writes, so a refusal has written
//! nothing; a [`StoreError`](crate::store::StoreError) ends the whole turn with [`Mesh::abort_turn`].
//!
//! What is kept in memory here is a cache of the store, and what only the running mesh can know:
//! connections, heartbeats, rates.

mod claims;
mod clock;
mod delivery;
mod dispatch;
mod events;
mod expiry;
mod groups;
mod handles;
mod heard;
mod history;
mod invariants;
mod locks;
mod loops;
mod machines;
mod mailboxes;
mod messages;
mod moments;
mod naming;
mod paths;
mod peers;
mod proof;
mod roster;
mod rate_limit;
mod receipts;
mod registration;
mod returning;
mod seen;
mod state;
mod status;
mod tells;
#[cfg(test)]
mod tests;
mod turn;
mod waiters;
mod who;

pub use machines::Credential;
pub use returning::Former;
pub use turn::{
    Abandoned, AskedAgain, Caller, Departed, Effects, Entropy, Failure, Interest, Lost, Outcome,
    Push, PushTarget, Settings, Ticket, WatchAgent,
};

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{Freed, PushFrame, Pushed};
use crate::limits::{LOCK_STEPS_MAX, REPLY_BYTES_MAX};
use crate::model::{LeaveReason, MachineName, MeshTime, MessageId, Monotonic, Now, PeerId, Seq};
use crate::names;
use crate::patterns::Steps;
use crate::store::{Result, Store};
use delivery::Mark;
use heard::AgentsHeard;
use loops::Loops;
use machines::Machines;
use peers::{Present, Seen};
use rate_limit::Rates;

/// Most rows of one kind that expire in one turn; what is more expires in the next.
const EXPIRE_ROWS_MAX: u32 = 256;

/// A mesh.
pub struct Mesh<S> {
    store: S,
    entropy: Box<dyn Entropy>,
    settings: Settings,
    started: Monotonic,
    /// The time of the call that is being served.
    now: Now,
    clock: clock::Clock,
    /// Present peers.
    peers: BTreeMap<PeerId, Present>,
    /// Those that left in this turn: back again if it does not commit.
    left: Vec<Present>,
    names: BTreeMap<Box<str>, PeerId>,
    tokens: BTreeMap<[u8; 32], PeerId>,
    /// The locks that are held.
    locks: locks::Book,
    /// Those of which their holders may not know.
    grants: locks::Grants,
    /// Who waits for one.
    queue: locks::Queue,
    /// The locks of those who have left, and why each is to be freed.
    leaving: BTreeMap<Seq, Freed>,
    /// Steps left in this turn for comparing files of locks: for the request in hand, and for those who
    /// wait.
    steps: Steps,
    waiting_steps: Steps,
    rates: Rates,
    /// How often agents wake each other.
    loops: Loops,
    /// What was last heard of each kind of agent.
    heard: AgentsHeard,
    /// Machines that have joined, and invitations.
    machines: Machines,
    /// What is being handled is one of the requests that hooks make.
    of_hook: bool,
    /// Most bytes of a list in the answer to the request in hand.
    reply_bytes: usize,
    effects: Effects,
    /// Confirmed messages to be marked in the next turn, and those marked in this one.
    marks: Vec<Mark>,
    marks_written: Vec<Mark>,
    /// Frames of messages written since the turn began, without acknowledgement.
    written_now: BTreeMap<Seq, u32>,
    /// Peers with a backlog and room for it.
    hungry: BTreeSet<PeerId>,
    /// The one of them who was fed last.
    fed: Option<PeerId>,
    turn: u64,
    /// When the first lock or state entry expires.
    next_expiry: Option<MeshTime>,
    /// No peer without a known process is due to be removed before this.
    next_dead: Option<Monotonic>,
    /// No peer that is away is due for anything before this.
    next_away: Option<Monotonic>,
    next_purge: Monotonic,
    /// Peers that the store no longer had when it was last read.
    lost: Vec<(PeerId, Option<MachineName>)>,
}

impl<S: Store> Mesh<S> {
    /// A mesh over what `store` holds. Peers that were present are so still, as stale ones, with a
    /// full [`Settings::dead`] before them; their connections are asked for in the first effects.
    ///
    /// # Errors
    /// Those of the store.
    pub fn new(
        mut store: S,
        entropy: Box<dyn Entropy>,
        settings: Settings,
        now: Now,
    ) -> Result<Self> {
        let last = store.last_time()?.map(|(mark, _)| mark);
        let heard = AgentsHeard::load(&mut store)?;
        let clock = clock::Clock::start(last, store.last_seq(), settings.boot_id, now);
        let mut mesh = Self {
            store,
            entropy,
            started: now.mono,
            now,
            clock,
            peers: BTreeMap::new(),
            left: Vec::new(),
            names: BTreeMap::new(),
            tokens: BTreeMap::new(),
            locks: locks::Book::default(),
            grants: locks::Grants::default(),
            queue: locks::Queue::default(),
            leaving: BTreeMap::new(),
            steps: Steps::of(LOCK_STEPS_MAX),
            waiting_steps: Steps::of(LOCK_STEPS_MAX),
            rates: Rates::new(settings.rate_limit),
            loops: Loops::new(settings.wake_limit),
            heard,
            machines: Machines::default(),
            of_hook: false,
            reply_bytes: REPLY_BYTES_MAX,
            effects: Effects::default(),
            marks: Vec::new(),
            marks_written: Vec::new(),
            written_now: BTreeMap::new(),
            hungry: BTreeSet::new(),
            fed: None,
            turn: 0,
            next_expiry: None,
            next_dead: None,
            next_away: None,
            next_purge: now.mono,
            lost: Vec::new(),
            settings,
        };
        mesh.load_mended(false)?;
        mesh.begin_time();
        for present in mesh.peers.values() {
            mesh.effects.connect.extend(present.to_connect());
            mesh.effects.watch.push(present.named_process());
            mesh.effects.agents.extend(present.agent());
        }
        Ok(mesh)
    }

    /// Builds the caches anew from the store, which is repaired if it is damaged.
    fn load_mended(&mut self, again: bool) -> Result<()> {
        let mut mended = self.store.mend()?;
        let read = |mesh: &mut Self| {
            if again {
                mesh.abort_time()?;
            }
            mesh.load()
        };
        let mut loaded = read(self);
        if loaded.is_err() && self.store.mend()? {
            mended = true;
            loaded = read(self);
        }
        if mended {
            // Lost rows may have been peers, for which nobody can speak any more.
            self.effects.departed.extend(self.lost.drain(..).map(|(peer, machine)| Departed {
                peer,
                machine,
                reason: LeaveReason::Timeout,
                uds_path: None,
            }));
        }
        loaded
    }

    /// Builds the caches anew from the store. What only memory knows of a peer is kept. Without a
    /// result, they are as they were.
    fn load(&mut self) -> Result<()> {
        let (records, locks) = (self.store.present_peers()?, self.store.locks()?);
        self.machines.load(&mut self.store)?;
        self.note_expiries()?;
        let mut known = std::mem::take(&mut self.peers);
        known.extend(std::mem::take(&mut self.left).into_iter().map(|left| (left.record.id, left)));
        self.names.clear();
        self.tokens.clear();
        let time = self.time();
        for record in records {
            let present = match known.remove(&record.id) {
                Some(present) => present.with(record, self.now),
                None => Present::new(record, self.now, Seen::BeforeStart),
            };
            self.index(present.away_since_before(time, self.now));
        }
        self.lost = known.into_iter().map(|(id, present)| (id, present.record.host)).collect();
        self.locks = locks::Book::of(locks);
        self.locks.pass_to(time);
        self.find_leaving();
        self.queue.stir_all();
        let peers = &self.peers;
        self.rates.retain(|id| peers.contains_key(&id));
        self.hungry = self.peers.keys().copied().collect();
        self.next_dead = Some(self.now.mono.plus(self.settings.dead));
        self.next_away = self.peers.values().filter_map(Present::next_away).min();
        Ok(())
    }

    fn index(&mut self, present: Present) {
        let id = present.record.id;
        self.names.insert(names::key(&present.record.name), id);
        self.tokens.insert(present.record.token_hash, id);
        self.peers.insert(id, present);
    }

    /// Begins a turn: what has expired by now is gone before anything looks, and the confirmations
    /// of the turns before are written.
    ///
    /// # Errors
    /// Those of the store; then [`Mesh::abort_turn`] is due.
    pub fn begin_turn(&mut self, now: Now) -> Result<()> {
        self.now = now;
        self.begin_bare_turn(now)?;
        self.write_marks()?;
        self.free_leaving()?;
        self.expire()
    }

    /// Begins a turn without that: only what is asked in it writes. For a shell whose store has just
    /// failed (its disk is full, say), so that those who only read can be served.
    ///
    /// # Errors
    /// As for [`Mesh::begin_turn`].
    pub fn begin_bare_turn(&mut self, now: Now) -> Result<()> {
        self.now = now;
        self.turn += 1;
        self.clock.follow(now);
        let time = self.time();
        self.locks.pass_to(time);
        self.written_now.clear();
        self.steps.renew(LOCK_STEPS_MAX);
        self.waiting_steps.renew(LOCK_STEPS_MAX);
        self.store.begin_turn()
    }

    /// Makes the turn durable.
    ///
    /// # Errors
    /// Those of the store; nothing of the turn is kept then, and [`Mesh::abort_turn`] is due.
    pub fn commit_turn(&mut self) -> Result<()> {
        self.store.commit_turn()?;
        self.marks_written.clear();
        self.grants.commit();
        self.loops.commit();
        for left in std::mem::take(&mut self.left) {
            self.rates.forget(left.record.id);
            self.loops.forget(left.record.id);
        }
        Ok(())
    }

    /// Forgets the turn: what it wrote, what it would have pushed, and its effects. A store that is
    /// damaged is repaired.
    ///
    /// # Errors
    /// If the store cannot even be read: the broker must stop.
    pub fn abort_turn(&mut self, now: Now) -> Result<()> {
        self.now = now;
        self.store.rollback_turn();
        let ended = std::mem::take(&mut self.effects).disconnect;
        let mut marks = std::mem::take(&mut self.marks_written);
        marks.append(&mut self.marks);
        self.marks = marks;
        self.grants.abort();
        self.loops.abort();
        self.heard.abort();
        let turn = self.turn;
        for present in self.peers.values_mut().chain(&mut self.left) {
            present.link.abort(turn);
            present.claims.abort(turn);
            present.waiters.abort(turn);
            present.queued.abort();
            present.told_to = Seq::default();
        }
        self.load_mended(true)?;
        // A link that was ended is not up again: it is ended, and made anew.
        for id in &ended {
            let record = self.peers.get(id).map(|present| &present.record);
            let path = record.and_then(|record| record.uds_path.clone());
            self.effects.connect.extend(path.map(|path| (*id, path)));
        }
        self.effects.disconnect = ended;
        Ok(())
    }

    /// What the shell has to do, now that the turn has committed.
    pub fn take_effects(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }

    /// How many peers are present.
    #[must_use]
    pub fn present(&self) -> usize {
        self.peers.len()
    }

    /// Whether a peer is present.
    #[must_use]
    pub fn is_present(&self, peer: PeerId) -> bool {
        self.peers.contains_key(&peer)
    }

    /// The peers whose link is up.
    pub fn connected(&self) -> impl Iterator<Item = PeerId> {
        self.peers.iter().filter(|(_, peer)| peer.link.is_up()).map(|(id, _)| *id)
    }

    /// Tells every peer that the broker goes away, in the next effects.
    pub fn goodbye(&mut self, reason: &str, now: Now) {
        self.now = now;
        self.push(PushTarget::AllBut(None), Pushed::Shutdown(reason.into()));
    }

    fn push(&mut self, to: PushTarget, told: Pushed) {
        self.effects.pushes.push(Push { to, frame: PushFrame::new(told, self.now.wall) });
    }

    /// Lets the store do what nobody waits for; see [`Store::maintain`].
    ///
    /// # Errors
    /// Those of the store.
    pub fn maintain(&mut self, idle: bool) -> Result<bool> {
        self.store.maintain(idle)
    }

    /// The store, for what only its owner knows how to ask.
    pub fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// The store back, when the mesh ends. What was confirmed and not marked yet is marked.
    pub fn into_store(mut self) -> S {
        let marked = self.store.begin_turn().and_then(|()| self.write_marks());
        if marked.and_then(|()| self.store.commit_turn()).is_err() {
            // Nothing is lost: these messages are pushed once more, and known by their ids.
            self.store.rollback_turn();
        }
        self.store
    }

    fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        bytes
    }

    /// The next number of the sequence and an id with it. Only for what is then written: a number
    /// that was shown and not kept would be given again after a restart.
    fn next_id(&mut self) -> (Seq, MessageId) {
        let seq = self.store.next_seq();
        (seq, MessageId::new(seq, self.random()))
    }
}
