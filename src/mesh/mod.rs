//! The deterministic core: every rule of the mesh, and no I/O.
//!
//! It never reads a clock, makes no randomness, opens nothing: time comes in as an argument and is
//! kept until the next call, random bytes come from [`Entropy`], and what must survive goes to a [`Store`]. So a whole mesh, with crashes
//! and lost connections, can be run from a seed (`tests/simulation/`).
//!
//! The shell calls it in turns: [`Mesh::begin_turn`], then any number of [`Mesh::handle`] and of news
//! about connections, then [`Mesh::feed`] and [`Mesh::commit_turn`]. Only after that may it carry out
//! the [`Effects`] and answer. A request is checked in full before it writes, so a refusal has written
//! nothing; a [`StoreError`] ends the whole turn with [`Mesh::abort_turn`].
//!
//! What is kept in memory here is a cache of the store, and what only the running mesh can know:
//! connections, heartbeats, rates.

mod claims;
mod clock;
mod delivery;
mod events;
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
mod tells;
#[cfg(test)]
mod tests;
mod turn;
mod waiters;
mod who;

pub use machines::Proof;
pub use returning::Former;
pub use turn::{
    Abandoned, Caller, Departed, Effects, Entropy, Failure, Held, Interest, Lost, Outcome, Push,
    Settings, Target, Ticket, WatchAgent,
};

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::api::{
    ActiveCount, Code, ConnectedCount, DatabaseStatus, EntryCount, Freed, Health, PeerCounts,
    PushFrame, Pushed, Refusal, Reply, Request, Status, TotalCount, refuse,
};
use crate::limits::{
    EVENT_RETENTION_MS, LOCK_STEPS_MAX, MACHINE_REPLY_BYTES_MAX, MESSAGE_RETENTION_MS,
    PURGE_ROWS_MAX, REPLY_BYTES_MAX,
};
use crate::model::{
    LeaveReason, MachineName, MeshTime, MessageId, Monotonic, Now, PeerId, Seq, Told,
};
use crate::names;
use crate::patterns::Steps;
use crate::store::{PurgeBefore, Result, Store, StoreError, Telling};
use delivery::Mark;
use heard::Heard;
use loops::Loops;
use machines::Machines;
use peers::Present;
use rate_limit::{Lane, Rates};
use receipts::Marked;
use turn::{Handled, Replied};

/// How often retention is looked after, once nothing more is to be removed.
const PURGE_INTERVAL: Duration = Duration::from_secs(600);
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
    /// Those of which nobody may know.
    grants: locks::Grants,
    /// Who waits for one.
    queue: locks::Queue,
    /// The locks of those who have left, and why each is to be freed.
    leaving: BTreeMap<Seq, Freed>,
    /// For comparing files of locks: what is left to the request in hand, and what to those who wait,
    /// in this turn.
    steps: Steps,
    waiting_steps: Steps,
    rates: Rates,
    /// How often who wakes whom.
    loops: Loops,
    /// What was last heard of each kind of agent.
    heard: Heard,
    /// Machines that have joined, and may.
    machines: Machines,
    /// What is being handled is one of the requests that hooks make.
    of_hook: bool,
    /// Most bytes of a list for whoever asks.
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
    /// No peer that is away has anything to lose before this.
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
        let heard = Heard::load(&mut store)?;
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
        for (id, present) in &mesh.peers {
            if let Some(path) = &present.record.uds_path {
                mesh.effects.connect.push((*id, path.clone()));
            }
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
            // Rows that are lost may have been peers: nobody can speak for them any more.
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

    // Turns

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

    /// Begins a turn without that: nothing is written but by what is asked in it. For a shell whose
    /// store has just failed (its disk is full, say), so that whoever only reads can be served.
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

    /// Handles a request.
    ///
    /// # Errors
    /// [`Failure::Refused`]: the mesh says no, nothing was written. [`Failure::Store`]: the turn must
    /// be aborted.
    pub fn handle(&mut self, caller: Caller, request: &Request, now: Now) -> Handled {
        self.now = now;
        self.dispatch(caller, request, None)
    }

    /// Handles a request again that was held until now. It is not counted by the rate limit a second
    /// time, and once the time of `held` has come it is answered with what there is.
    ///
    /// # Errors
    /// As for [`Mesh::handle`].
    pub fn handle_held(
        &mut self,
        caller: Caller,
        request: &Request,
        held: Held,
        now: Now,
    ) -> Handled {
        self.now = now;
        self.dispatch(caller, request, Some(held))
    }

    fn dispatch(&mut self, caller: Caller, request: &Request, held: Option<Held>) -> Handled {
        self.steps.renew(LOCK_STEPS_MAX);
        self.of_hook = is_of_hook(request);
        let home = self.home(caller);
        self.reply_bytes = if home.is_none() { REPLY_BYTES_MAX } else { MACHINE_REPLY_BYTES_MAX };
        let answer = self.answer(caller, request, held);
        if home.is_some() { self.seen_from(home, answer) } else { answer }
    }

    fn answer(&mut self, caller: Caller, request: &Request, held: Option<Held>) -> Handled {
        let until = held.map(|held| held.until);
        let time = self.time();
        self.locks.pass_to(time);
        // It may have left since it was authenticated: earlier in this turn, or while it was held.
        if let Caller::Peer(id) = caller
            && !self.peers.contains_key(&id)
        {
            let of = self.store.peer(id)?.and_then(|record| record.host);
            return Err(self.refuse_unknown(of, self.now).into());
        }
        let reply = match request {
            Request::Health => self.health(self.now),
            Request::Register(register) => return self.register(caller, register, held),
            _ if matches!(caller, Caller::Unknown { .. }) => {
                return Err(self.refuse_unknown(self.home(caller), self.now).into());
            }
            Request::Status => {
                self.count(caller, None)?;
                self.status()?
            }
            Request::Unregister { peer_id, away } => {
                self.unregister(caller, peer_id.as_deref(), *away)?
            }
            Request::Heartbeat { peer_id, git_branch, session_id } => {
                let news = (git_branch.as_deref(), session_id.as_deref());
                self.heartbeat(caller, peer_id.as_deref(), news)?
            }
            Request::Peers(list) => self.list_peers(caller, list)?,
            Request::Summary { peer_id, summary } => {
                self.summary(caller, peer_id.as_deref(), summary)?
            }
            Request::Rename { peer_id, name } => self.rename(caller, peer_id.as_deref(), name)?,
            Request::Send(send) => self.send(caller, send)?,
            Request::History(history) => self.history(caller, history)?,
            Request::FindMessage { message } => self.find_message(caller, *message)?,
            Request::Fetch(fetch) => return self.fetch(caller, fetch, held),
            Request::MarkRead { peer_id, ids, way, claim_id } => {
                let marked = Marked { peer: peer_id.as_deref(), ids, claim: *claim_id };
                self.mark_read(caller, marked, *way)?
            }
            Request::MarkNotified { peer_id, ids, way, claim_id } => {
                let marked = Marked { peer: peer_id.as_deref(), ids, claim: *claim_id };
                self.mark_told(caller, marked, Telling::Told(Told::notified(self.now.wall, *way)))?
            }
            Request::MarkSent { peer_id, ids, way, status, whole, claim_id } => {
                let marked = Marked { peer: peer_id.as_deref(), ids, claim: *claim_id };
                let told = |how| Told { at: self.now.wall, by: *way, how, whole: *whole };
                let telling =
                    status.how().map_or(Telling::Dropped(*way), |how| Telling::Told(told(how)));
                self.mark_told(caller, marked, telling)?
            }
            Request::Claim(claim) => return self.claim(caller, claim, held),
            Request::RenewClaim { peer_id, claim_id } => {
                self.renew_claim(caller, peer_id.as_deref(), *claim_id)?
            }
            Request::ReleaseClaim { peer_id, claim_id } => {
                self.release_claim(caller, peer_id.as_deref(), *claim_id)?
            }
            Request::GetState { namespace, key } => self.get_state(caller, namespace, key)?,
            Request::ListState { namespace, prefix, after, limit } => {
                let after = after.as_ref().map(|[namespace, key]| (&**namespace, &**key));
                let part = (namespace.as_deref(), prefix.as_deref(), after);
                self.list_state(caller, part, *limit)?
            }
            Request::SetState(set) => self.set_state(caller, set)?,
            Request::DeleteState { peer_id, namespace, key, if_version } => {
                self.delete_state(caller, peer_id.as_deref(), namespace, key, *if_version)?
            }
            Request::Lock(lock) => return self.lock(caller, lock, held),
            Request::LockFiles(lock) => self.lock_files(caller, lock)?,
            Request::Unlock { peer_id, path, force } => {
                self.unlock(caller, peer_id.as_deref(), path, *force)?
            }
            Request::QueryLocks { peer_id, path } => {
                let paths = path.clone().map(|path| vec![path]);
                self.query_locks(caller, peer_id.as_deref(), paths)?
            }
            Request::QueryFiles { peer_id, paths } => {
                let paths = paths.each().collect();
                self.query_locks(caller, peer_id.as_deref(), Some(paths))?
            }
            Request::ReadEvents(read) => return self.read_events(caller, read, until),
            Request::Subscribe { peer_id, types } => {
                self.subscribe(caller, peer_id.as_deref(), types)?
            }
            Request::Unsubscribe { peer_id } => self.subscribe(caller, peer_id.as_deref(), &[])?,
            Request::Emit { peer_id, kind, payload, id } => {
                self.emit(caller, peer_id.as_deref(), (kind, payload), *id)?
            }
            Request::ListMachines => self.list_machines(caller)?,
            Request::Invite { name, minutes } => self.invite(caller, (*name, *minutes))?,
            Request::RemoveMachine { name } => self.remove_machine(caller, *name)?,
            Request::LeaveHub {} => self.leave_hub(caller)?,
            Request::OpenPage => return Err(not_for_page().into()),
            Request::Reload | Request::Shutdown => self.of_process(caller, request)?,
        };
        Ok(Outcome::Reply(reply))
    }

    /// What is about the broker's process, and not about the mesh.
    fn of_process(&mut self, caller: Caller, request: &Request) -> Replied {
        let stops = *request == Request::Shutdown;
        if caller != Caller::Broker {
            let message = if stops {
                "only the broker token may stop the broker: use `slm-mesh stop`"
            } else {
                "only the broker token may have stored settings looked at anew"
            };
            return refuse(Code::Forbidden, message);
        }
        self.effects.shutdown |= stops;
        self.effects.reload |= !stops;
        Ok(Reply::Done {})
    }

    /// The answer to a request of the hub's own machine without a valid token.
    pub fn refuse_unauthenticated(&mut self, now: Now) -> Refusal {
        self.now = now;
        self.refuse_unknown(None, now)
    }

    /// The answer to a request without a valid token, from that machine.
    pub fn refuse_unknown(&mut self, from: Option<MachineName>, now: Now) -> Refusal {
        self.now = now;
        match self.rates.take(Lane::Unauthenticated(from), now.mono) {
            Err(refusal) => refusal,
            Ok(()) => Refusal::new(
                Code::Unauthorized,
                "a valid token is missing: send `Authorization: Bearer <token>` with the broker's \
                 (in broker.token in the data dir, new at each start) or a peer's",
            ),
        }
    }

    // Time

    /// Removes what has expired.
    fn expire(&mut self) -> Result<()> {
        if !self.lags() {
            return Ok(());
        }
        self.expire_locks()?;
        self.expire_state()?;
        self.note_expiries()
    }

    fn note_expiries(&mut self) -> Result<()> {
        let lock = self.store.next_lock_expiry()?;
        let state = self.store.next_state_expiry()?;
        self.next_expiry = lock.into_iter().chain(state).min();
        Ok(())
    }

    /// Whether something that has expired by `now` may still be stored: no more is removed in a turn
    /// than it has time for.
    fn lags(&self) -> bool {
        self.next_expiry.is_some_and(|at| at <= self.time())
    }

    fn note_expiry(&mut self, at: MeshTime) {
        self.next_expiry = Some(self.next_expiry.map_or(at, |next| next.min(at)));
    }

    /// Does what is due by now: to be called in a turn, when [`Mesh::next_deadline`] has come.
    ///
    /// # Errors
    /// Those of the store.
    pub fn tick(&mut self, now: Now) -> Result<()> {
        self.now = now;
        self.remove_dead()?;
        self.end_away()?;
        self.end_absent();
        if now.mono >= self.next_purge {
            let more = self.look_at_clocks()? && self.purge()?;
            self.next_purge = if more { now.mono } else { now.mono.plus(PURGE_INTERVAL) };
        }
        Ok(())
    }

    /// Removes what is old, some of it, so that there is room for other things: to be called in a turn
    /// of its own.
    ///
    /// # Errors
    /// Those of the store.
    pub fn make_room(&mut self, now: Now) -> Result<()> {
        self.now = now;
        if self.look_at_clocks()? {
            self.purge()?;
        }
        Ok(())
    }

    /// Removes what is old; gives whether there may be more.
    fn purge(&mut self) -> Result<bool> {
        let time = self.time();
        let before = PurgeBefore {
            messages: time.plus_ms(-MESSAGE_RETENTION_MS),
            events: time.plus_ms(-EVENT_RETENTION_MS),
            departed: time.plus_ms(-MESSAGE_RETENTION_MS),
        };
        self.store.purge(&before, PURGE_ROWS_MAX)
    }

    /// When [`Mesh::tick`] is due next, if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self, now: Now) -> Option<Monotonic> {
        let expiry = self.next_expiry.map(|at| {
            let ms = u64::try_from(self.clock.time(now).ms_until(at)).unwrap_or(0);
            now.mono.plus(Duration::from_millis(ms))
        });
        // In an empty store nothing grows old.
        let counts = self.store.counts();
        let rows = counts.events + counts.state_entries + counts.locks > 0;
        let purge = rows.then_some(self.next_purge);
        let leaving = (!self.leaving.is_empty()).then_some(now.mono);
        [expiry, self.next_dead, self.next_away, purge, self.next_absent(), leaving]
            .into_iter()
            .flatten()
            .min()
    }

    // What the shell asks

    /// `GET /health`
    #[must_use]
    pub fn health(&self, now: Now) -> Reply {
        Reply::Health(Health {
            version: env!("CARGO_PKG_VERSION").into(),
            uptime: now.mono.since(self.started).as_secs(),
            mesh: Some(self.settings.mesh_id.clone()),
            role: Some(self.role().into()),
            hub: None,
        })
    }

    fn status(&mut self) -> Result<Reply> {
        let counts = self.store.counts();
        let locks = if self.lags() { self.locks.live() as u64 } else { counts.locks };
        let entries = self.state_entries()?;
        let size = self.store.size();
        let recovery = self.store.recovery();
        let stale = self.peers.values().filter(|peer| self.is_stale(peer)).count() as u64;
        let total = self.peers.len() as u64;
        let up = self.connected().count();
        Ok(Reply::Status(Box::new(Status {
            version: env!("CARGO_PKG_VERSION").into(),
            uptime: self.now.mono.since(self.started).as_secs(),
            pid: self.settings.pid,
            port: self.settings.port,
            role: self.role().into(),
            host: self.shown_host(None),
            hub: None,
            peers: PeerCounts { active: total - stale, stale, total },
            messages: counts.messages,
            locks: ActiveCount { active: locks },
            state: EntryCount { entries },
            events: TotalCount { total: counts.events },
            push: ConnectedCount { connected: up as u64 },
            db: DatabaseStatus {
                size_bytes: size.bytes,
                wal_size_bytes: size.wal_bytes,
                recovered_from: recovery
                    .as_ref()
                    .map(|known| format!("{} ({})", known.moved_to, known.reason).into()),
                recovery,
                full: size.full,
            },
            agents: self.heard.list(),
            damped: self.damped(),
        })))
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
        self.push(Target::AllBut(None), Pushed::Shutdown(reason.into()));
    }

    fn push(&mut self, to: Target, told: Pushed) {
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

    // Ids

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

/// Whether this is what a hook asks, by which it is counted apart: which session it is of, the gate
/// before an edit, and what is done to tell its agent of messages, by hooks and others.
fn is_of_hook(request: &Request) -> bool {
    match request {
        Request::Peers(list) => {
            list.agents || list.session_id.is_some() || !list.agent_pids.is_empty()
        }
        Request::MarkRead { way, .. } => way.is_some(),
        Request::MarkNotified { .. }
        | Request::MarkSent { .. }
        | Request::Claim(_)
        | Request::RenewClaim { .. }
        | Request::ReleaseClaim { .. }
        | Request::LockFiles(_)
        | Request::QueryFiles { .. } => true,
        _ => false,
    }
}

/// Whether a peer was heard of since the mesh began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// It has just registered or sent a heartbeat.
    Now,
    /// It was present before this broker started.
    BeforeStart,
    /// The process that it said it is has ended since.
    Ended,
}

impl From<StoreError> for Refusal {
    /// How a failed turn is answered.
    fn from(error: StoreError) -> Self {
        let (code, what) = match &error {
            StoreError::Full(_) => {
                (Code::StorageFull, "nothing of the request was kept: make room on the disk")
            }
            StoreError::Failed(_) => (
                Code::Unavailable,
                "nothing of the request was kept: see the broker's log, then try again",
            ),
            StoreError::Unsure(_) => (
                Code::OutcomeUnknown,
                "the request may be kept all the same: look before you repeat it",
            ),
        };
        Self::new(code, format!("{error}; {what}"))
    }
}

/// The refusal of a token for the page: the shell, which keeps it, makes one for its own machine's person
/// before anything comes here.
fn not_for_page() -> Refusal {
    let message = "only the person at this machine may open the page: use `slm-mesh web`";
    Refusal::new(Code::Forbidden, message)
}
