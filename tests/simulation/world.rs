//! One mesh over one backend, and the shell around it, played: crashes, restarts, requests that wait.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use slm_mesh::api::{
    Claimed, DatabaseStatus, Endpoint, LockReply, Messages, ProcessFacts, Refusal, Reply, Request,
};
use slm_mesh::broker::held::{Asker, Cut, Held, Hold, Key};
use slm_mesh::broker::links::News;
use slm_mesh::mesh::{
    Caller, Credential, Effects, Entropy, Failure, Interest, Lost, Mesh, Outcome, Settings,
};
use slm_mesh::model::{MachineId, MachineName, MessageId, Monotonic, Now, PeerId, Recipient, Seq};
use slm_mesh::store::{EventQuery, Store};
use uuid::Uuid;

use crate::net::Net;
use crate::rng::Rng;

/// A backend that can be killed.
pub(crate) trait Backend {
    type Store: Store;
    /// A new, empty store.
    fn create(&mut self) -> Self::Store;
    /// What is found after the process that had `store` open was killed.
    fn crash(&mut self, store: Self::Store) -> Self::Store;
    /// What is found after it was closed.
    fn restart(&mut self, store: Self::Store) -> Self::Store;
}

/// The machine of whoever asks; none for the hub's own.
pub(crate) type Home = Option<MachineName>;

/// Whose token a request carries, and from which machine it comes.
#[derive(Clone, Debug)]
pub(crate) enum Token {
    /// The person there.
    Person(Home),
    Peer(String, Home),
}

impl Token {
    pub(crate) fn home(&self) -> Home {
        match self {
            Self::Person(home) | Self::Peer(_, home) => *home,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Input {
    Request {
        token: Token,
        endpoint: Endpoint,
        body: String,
    },
    /// A process listens on a peer's socket again, if none does.
    Listen(PeerId),
    /// A peer closes its connection.
    HangUpLink(PeerId),
    /// A peer takes so many frames from its socket and acknowledges the messages in them.
    Read {
        peer: PeerId,
        frames: usize,
    },
    /// The process ends that listens on a peer's socket.
    ProcessEnded(PeerId),
    /// The process ends that a peer has said it is.
    NamedEnded(PeerId),
    AgentEnded(PeerId),
    /// A machine connects, which is let in if it was not removed.
    Dial(MachineId),
    /// The connection of a machine ends.
    CutOff(MachineName),
    Tick,
    /// The client of a held request goes away.
    HangUp(usize),
    /// An answer that gave a lock to someone who had waited is lost: it was not written, or its
    /// connection is reset now.
    AnswerLost {
        nth: usize,
        written: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Commit,
    /// The commit fails: nothing of the turn may be seen again.
    Abort,
    /// The broker dies before the commit.
    KilledBefore,
    /// The broker dies after the commit, before anyone was told.
    KilledAfter,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Turn(Vec<Input>, End),
    /// A turn after one whose store has failed: nothing is written but by what is asked.
    BareTurn(Vec<Input>, End),
    /// Time passes; the wall clock may jump, too.
    Time {
        ms: u64,
        jump_ms: i64,
    },
    /// The machine sleeps: the monotonic clock stands still.
    Sleep {
        ms: u64,
    },
    /// The broker ends and starts again after a while, perhaps with the machine.
    Restart {
        ms: u64,
        reboot: bool,
        jump_ms: i64,
    },
    Maintain,
}

/// What a request came to, as its sender saw it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Reply(Reply),
    Refused(Refusal),
    Held,
    /// It was not asked: its machine has no connection.
    Unsent,
}

/// What could be seen of an action from outside; both backends must show the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    /// Requests that were answered, by their place in the turn.
    pub(crate) answers: Vec<(usize, Answer)>,
    /// Requests held in former turns and answered in this.
    pub(crate) late: Vec<(Home, String, Answer)>,
    /// Frames that peers took from their sockets.
    pub(crate) pushed: Vec<(PeerId, String)>,
    /// The messages in them.
    pub(crate) taken: Vec<(PeerId, MessageId)>,
    pub(crate) departed: Vec<PeerId>,
    /// Answers that were lost, by the fence of the lock that they gave.
    pub(crate) lost: Vec<(Seq, Lost)>,
    /// Those that did not arrive, whether or not the broker has told the core.
    pub(crate) missed: Vec<(Seq, Lost)>,
    /// Machines that were let in, or not.
    pub(crate) admitted: Vec<(MachineId, Option<MachineName>)>,
    pub(crate) down: bool,
}

/// What the kernel would say of a registration.
fn facts(body: &str) -> ProcessFacts {
    let body: Value = serde_json::from_str(body).unwrap();
    let is = |fact: &str| body["facts"][fact] == true;
    ProcessFacts {
        agent_start: body["agentPid"].as_u64().and(body["facts"]["start"].as_str()).map(Into::into),
        descends: is("descends"),
        former_gone: is("gone"),
        former_ended: is("ended"),
    }
}

struct SeededEntropy(Rng);

impl Entropy for SeededEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes.iter_mut() {
            *byte = (self.0.next() & 0xff) as u8;
        }
        // Few beginnings, so that prefixes of ids are ambiguous now and then.
        if let [first, second, ..] = bytes {
            *first &= 1;
            *second = 7;
        }
    }
}

/// An answer that gave a lock to someone who had waited, and when it left.
struct Granted {
    asker: Asker,
    fence: Seq,
    at: Monotonic,
}

/// What becomes of a turn if it commits.
#[derive(Default)]
struct Turn {
    /// Requests, by their place in the turn, and what they came to so far.
    answers: Vec<(usize, Asker, Answer)>,
    late: Vec<(Home, String, Answer)>,
    granted: Vec<(Asker, Seq)>,
    lost: Vec<(Seq, Lost)>,
    admitted: Vec<(MachineId, Option<MachineName>)>,
}

pub(crate) struct World<B: Backend> {
    backend: B,
    mesh: Option<Mesh<B::Store>>,
    pub(crate) net: Net,
    /// Connections that the core has not been told of, and whether the process is watched.
    came_up: Vec<(PeerId, bool)>,
    /// Peers whose process has ended, and those whose agent's has, of which it was not told.
    crashed: Vec<PeerId>,
    alone: Vec<PeerId>,
    /// Those of which it was told in this turn.
    crashed_now: Vec<PeerId>,
    alone_now: Vec<PeerId>,
    /// Peers above whose process that of their agent is.
    with_agents: BTreeSet<PeerId>,
    /// Machines that are connected, and of what the core was not told: those that have connected, and
    /// those whose connection has ended.
    machines: BTreeSet<MachineName>,
    joined: Vec<MachineName>,
    joined_now: Vec<MachineName>,
    cut_off: Vec<MachineName>,
    /// Requests that are held, as the broker keeps them, and the bodies that they came with.
    held: Held,
    bodies: BTreeMap<Asker, String>,
    /// From where those are that were held.
    homes: BTreeMap<Asker, Home>,
    /// Each request comes on a connection of its own.
    askers: u64,
    /// Those whose answer gave a lock to someone who had waited.
    granted: Vec<Granted>,
    /// What did not arrive.
    missed: Vec<(Seq, Lost)>,
    now_in: Turn,
    entropy: Rng,
    /// How often the machine was started.
    boots: u128,
    pub(crate) now: Now,
}

impl<B: Backend> World<B> {
    pub(crate) fn new(mut backend: B, seed: u64, now: Now) -> Self {
        let store = backend.create();
        let mut world = Self {
            backend,
            mesh: None,
            net: Net::new(Rng::new(seed ^ 0x6e65_7400)),
            came_up: Vec::new(),
            crashed: Vec::new(),
            alone: Vec::new(),
            crashed_now: Vec::new(),
            alone_now: Vec::new(),
            with_agents: BTreeSet::new(),
            machines: BTreeSet::new(),
            joined: Vec::new(),
            joined_now: Vec::new(),
            cut_off: Vec::new(),
            held: Held::default(),
            bodies: BTreeMap::new(),
            homes: BTreeMap::new(),
            askers: 0,
            granted: Vec::new(),
            missed: Vec::new(),
            now_in: Turn::default(),
            entropy: Rng::new(seed),
            boots: 1,
            now,
        };
        world.start(store);
        world
    }

    pub(crate) fn mesh(&mut self) -> &mut Mesh<B::Store> {
        self.mesh.as_mut().unwrap()
    }

    fn start(&mut self, store: B::Store) {
        let settings = Settings {
            rate_limit: 20,
            port: 2,
            boot_id: Some(Uuid::from_u128(self.boots)),
            is_hub: true,
            ..Settings::default()
        };
        let entropy = Box::new(SeededEntropy(Rng::new(self.entropy.next())));
        self.mesh = Some(Mesh::new(store, entropy, settings, self.now).unwrap());
        self.net.restart();
        for list in [&mut self.crashed, &mut self.alone, &mut self.crashed_now, &mut self.alone_now]
        {
            list.clear();
        }
        self.came_up.clear();
        self.with_agents.clear();
        self.machines.clear();
        for list in [&mut self.joined, &mut self.joined_now, &mut self.cut_off] {
            list.clear();
        }
        self.held = Held::default();
        self.granted.clear();
        self.now_in = Turn::default();
        let effects = self.mesh().take_effects();
        let mut seen = Seen::default();
        self.carry_out(effects, &mut seen);
    }

    pub(crate) fn act(&mut self, action: &Action) -> Seen {
        let mut seen = Seen::default();
        match action {
            Action::Time { ms, jump_ms } => {
                self.now.mono = self.now.mono.plus(Duration::from_millis(*ms));
                self.pass_unseen(*ms, *jump_ms);
            }
            Action::Sleep { ms } => self.pass_unseen(*ms, 0),
            Action::Maintain => _ = self.mesh().maintain(true).unwrap(),
            Action::Restart { ms, reboot, jump_ms } => {
                let now = self.now;
                self.mesh().goodbye("stopped", now);
                let store = self.mesh.take().unwrap().into_store();
                let store = self.backend.restart(store);
                self.pass_unseen(*ms, *jump_ms);
                if *reboot {
                    self.boots += 1;
                    self.now.boot = Monotonic(Duration::from_secs(20));
                }
                self.start(store);
                seen.down = true;
            }
            Action::Turn(inputs, end) => self.turn(inputs, *end, false, &mut seen),
            Action::BareTurn(inputs, end) => self.turn(inputs, *end, true, &mut seen),
        }
        seen.missed.append(&mut self.missed);
        seen
    }

    /// What must hold between the mesh and its shell.
    pub(crate) fn check_shell(&mut self) {
        let up: Vec<PeerId> = self.mesh().connected().collect();
        assert_eq!(up, self.net.connected(), "what the core thinks is connected is");
        self.net.check();
        let all = |asker: &Asker| {
            let body = &self.bodies[asker];
            !["after", "before"].iter().any(|part| body.contains(part))
        };
        let inboxes: Vec<Recipient> = (self.held.iter())
            .filter(|(_, hold)| matches!(&hold.request, Request::Fetch(it) if it.from.is_none()))
            .filter(|(asker, _)| all(asker))
            .filter_map(|(_, hold)| match hold.again().on {
                Interest::Inbox(recipient) => Some(recipient),
                _ => None,
            })
            .collect();
        for recipient in inboxes {
            let unread = self.mesh().store_mut().unread_count(recipient).unwrap();
            assert_eq!(unread, 0, "someone waits for what is in the inbox of {recipient:?}");
        }
    }

    /// Who waits for events is told of those that there are.
    pub(crate) fn check_readers(&mut self) {
        let store = self.mesh.as_mut().unwrap().store_mut();
        for (_, hold) in self.held.iter() {
            let Request::ReadEvents(read) = &hold.request else { continue };
            let query =
                EventQuery { types: &read.types, since: read.since, after: read.after, limit: 1 };
            let page = store.events(&query, &mut |_| true).unwrap();
            assert_eq!(page.events, [], "someone waits for what has happened");
        }
    }

    /// Time that the monotonic clock does not count.
    fn pass_unseen(&mut self, ms: u64, jump_ms: i64) {
        self.now.boot = self.now.boot.plus(Duration::from_millis(ms));
        self.now.wall = self.now.wall.plus_ms(jump_ms + ms as i64);
    }

    fn turn(&mut self, inputs: &[Input], end: End, bare: bool, seen: &mut Seen) {
        let now = self.now;
        // What happens to the ways to peers goes before the turn.
        for input in inputs {
            self.happen(input, seen);
        }
        self.net.poll(now.mono);
        self.hear_news();
        if bare {
            self.mesh().begin_bare_turn(now).unwrap();
        } else {
            self.mesh().begin_turn(now).unwrap();
            self.tell_core();
        }
        for (at, input) in inputs.iter().enumerate() {
            self.input(at, input);
        }
        self.grant_locks();
        if !bare {
            // Now and then there is no time for more than one peer.
            let has_time = inputs.len() != 1;
            self.mesh().feed(now, || has_time).unwrap();
        }
        match end {
            End::KilledBefore => self.crash(seen),
            End::Abort => {
                let has_registered = |input: &Input| {
                    matches!(input, Input::Request { endpoint: Endpoint::Register, .. })
                };
                if inputs.iter().any(has_registered) {
                    for peer in self.net.connected() {
                        self.net.registered(peer);
                    }
                }
                // Frames that peers read were written by former turns; what they said stands.
                self.mesh().abort_turn(now).unwrap();
                self.crashed.append(&mut self.crashed_now);
                self.alone.append(&mut self.alone_now);
                self.joined.append(&mut self.joined_now);
                // Whoever was to wait is told that the turn has failed.
                let (held, mesh) = (&mut self.held, self.mesh.as_mut().unwrap());
                while held.abort(mesh).is_some() {}
                self.now_in = Turn::default();
            }
            End::KilledAfter => {
                self.mesh().commit_turn().unwrap();
                seen.lost.append(&mut self.now_in.lost);
                self.crash(seen);
            }
            End::Commit => {
                self.commit(seen);
                while self.held.is_busy() {
                    self.mesh().begin_turn(now).unwrap();
                    self.tell_core();
                    while let Some((asker, hold)) = self.held.next_woken() {
                        self.ask_again(asker, hold);
                    }
                    self.grant_locks();
                    self.commit(seen);
                }
            }
        }
    }

    /// Makes the turn durable, and shows what has come of it.
    fn commit(&mut self, seen: &mut Seen) {
        self.mesh().commit_turn().unwrap();
        self.held.commit(self.now.mono);
        self.crashed_now.clear();
        self.alone_now.clear();
        self.joined_now.clear();
        let Turn { answers, late, granted, lost, admitted } = std::mem::take(&mut self.now_in);
        let at = self.now.mono;
        let granted = granted.into_iter();
        self.granted.extend(granted.map(|(asker, fence)| Granted { asker, fence, at }));
        for (id, name) in admitted {
            if let Some(name) = name {
                // Its new connection replaces the one it has.
                self.cut_off(name);
                self.machines.insert(name);
                self.joined.push(name);
            }
            seen.admitted.push((id, name));
        }
        seen.late.extend(late);
        seen.lost.extend(lost);
        let effects = self.mesh().take_effects();
        self.held.wake(&effects);
        self.held.wake_due(self.now.mono);
        self.carry_out(effects, seen);
        for (at, _, mut answer) in answers {
            match &mut answer {
                Answer::Reply(Reply::Sent(sent)) => self.mesh().confirm(sent),
                // How large the database is, is the store's own affair.
                Answer::Reply(Reply::Status(status)) => status.db = DatabaseStatus::default(),
                _ => {}
            }
            seen.answers.push((at, answer));
        }
    }

    /// Asks again for requests that wait for locks and have an answer now, in the turn.
    fn grant_locks(&mut self) {
        while let Some((asker, hold)) = self.held.next_waiter(self.mesh.as_mut().unwrap()) {
            self.ask_again(asker, hold);
        }
    }

    fn ask_again(&mut self, asker: Asker, mut hold: Box<Hold>) {
        let (now, before) = (self.now, hold.again());
        let answer = match self.mesh().handle_held(hold.caller, &hold.request, before, now) {
            Ok(Outcome::Hold { on, until }) => {
                // A claim may be looked at again before its time is over.
                let over = match on {
                    Interest::Claim { until, .. } => until,
                    _ => before.until,
                };
                let waits = now.mono < until && until <= over && on == before.on;
                assert!(waits && !before.hung_up, "held beyond its time");
                hold.wait_on(on, until);
                return self.held.hold(asker, hold);
            }
            Ok(Outcome::Reply(reply)) => {
                self.held.answered(asker, &reply);
                Answer::Reply(reply)
            }
            Err(Failure::Refused(refusal)) => Answer::Refused(refusal),
            Err(Failure::Store(error)) => panic!("{error}"),
        };
        let fence = match &answer {
            Answer::Reply(Reply::Locked(LockReply { lock, .. })) => Some(lock.fence),
            _ => None,
        };
        if before.hung_up {
            match (before.on, &answer) {
                (Interest::Inbox(_), Answer::Reply(reply)) => {
                    assert_eq!(*reply, Reply::Messages(Messages::default()));
                }
                (Interest::Claim { .. }, Answer::Reply(reply)) => {
                    assert_eq!(*reply, Reply::Claimed(Claimed::default()));
                }
                // Its peer may have left.
                _ => {}
            }
            // Nobody gets it.
            let mesh = self.mesh.as_mut().unwrap();
            self.held.closed(asker, now.mono, mesh, || panic!("nothing was written yet"));
            assert_eq!(fence, None, "a lock for whoever has gone");
            return;
        }
        self.now_in.granted.extend(fence.map(|fence| (asker, fence)));
        let mut answers = self.now_in.answers.iter_mut();
        // One that was held in this very turn is seen with what it came to.
        if let Some((.., shown)) = answers.find(|(_, other, _)| *other == asker) {
            *shown = answer;
        } else {
            let (home, body) = (self.homes[&asker], self.bodies[&asker].clone());
            self.now_in.late.push((home, body, answer));
        }
    }

    /// Tells of locks whose new holders did not get the answer.
    fn tell_lost(&mut self) {
        let now = self.now;
        while let Some((fence, lost)) = self.held.next_lost() {
            self.now_in.lost.push((fence, lost));
            self.mesh().grant_lost(fence, lost, now).unwrap();
        }
    }

    /// What happens to the ways to peers.
    fn happen(&mut self, input: &Input, seen: &mut Seen) {
        match input {
            Input::Listen(peer) => self.net.listen(*peer),
            Input::HangUpLink(peer) => self.net.hang_up(*peer),
            Input::Read { peer, frames } => self.net.read(*peer, *frames, seen),
            Input::ProcessEnded(peer) => self.net.process_ended(*peer, self.now.mono),
            Input::NamedEnded(peer) => self.net.named_ended(*peer),
            Input::AgentEnded(peer) => self.alone.push(*peer),
            Input::CutOff(machine) => self.cut_off(*machine),
            _ => {}
        }
    }

    /// The connection of a machine ends, and with it what was held there and the ways to its peers.
    fn cut_off(&mut self, machine: MachineName) {
        if !self.machines.remove(&machine) {
            return;
        }
        self.joined.retain(|other| *other != machine);
        self.joined_now.retain(|other| *other != machine);
        self.cut_off.push(machine);
        let now = self.now.mono;
        let mesh = self.mesh.as_mut().unwrap();
        let homes = &self.homes;
        let of_it = |asker: &Asker| homes[asker] == Some(machine);
        let waiting: Vec<Asker> = self.held.iter().map(|(asker, _)| asker).filter(of_it).collect();
        for asker in waiting {
            self.held.closed(asker, now, mesh, || panic!("it was given nothing"));
        }
        // What it was given may have arrived.
        for granted in self.granted.extract_if(.., |granted| of_it(&granted.asker)) {
            self.held.closed(granted.asker, now, mesh, || None);
        }
        let peers = self.net.connected().into_iter().chain(self.net.wanted());
        let peers: Vec<_> = peers.filter(|peer| mesh.machine_of(*peer) == Some(machine)).collect();
        for peer in &peers {
            self.net.disconnect(*peer, now);
        }
        // What was heard before the end counts.
        self.hear_news();
        for peer in peers {
            self.mesh().link_down(peer);
            self.came_up.retain(|(other, _)| *other != peer);
        }
    }

    /// What of that needs no turn.
    fn hear_news(&mut self) {
        let now = self.now;
        for news in self.net.take_news() {
            let mesh = self.mesh.as_mut().unwrap();
            match news {
                News::Up(peer, known) => self.came_up.push((peer, known)),
                News::Listens(peer, _) => {
                    if self.with_agents.contains(&peer) {
                        mesh.agent_lives(peer);
                    }
                }
                News::Down(peer) => {
                    self.came_up.retain(|(other, _)| *other != peer);
                    mesh.link_down(peer);
                }
                News::Process(peer, known) => mesh.process_known(peer, known, now),
                News::Ended(peer) => self.crashed.push(peer),
                News::NamedEnded(peer) => mesh.named_process_ended(peer),
                News::Acknowledged(peer, id) => mesh.acknowledged(peer, id, now),
                News::Written(peer, seq) => mesh.frame_written(peer, seq, now),
                News::AgentLives(_) | News::AgentEnded(_) => unreachable!(),
            }
        }
    }

    /// What is part of the turn.
    fn tell_core(&mut self) {
        let now = self.now;
        self.crashed_now.append(&mut self.crashed);
        self.alone_now.append(&mut self.alone);
        let mesh = self.mesh.as_mut().unwrap();
        for peer in &self.crashed_now {
            mesh.process_ended(*peer, now).unwrap();
        }
        for peer in &self.alone_now {
            mesh.agent_ended(*peer, now).unwrap();
        }
        for machine in self.cut_off.drain(..) {
            mesh.machine_down(machine, now).unwrap();
        }
        self.joined_now.append(&mut self.joined);
        for machine in &self.joined_now {
            mesh.machine_up(*machine, now).unwrap();
        }
        self.tell_lost();
        let mesh = self.mesh.as_mut().unwrap();
        while let Some((peer, known)) = self.came_up.pop() {
            mesh.link_up(peer, known, now).unwrap();
            self.net.announced(peer);
        }
    }

    fn input(&mut self, at: usize, input: &Input) {
        let now = self.now;
        match input {
            Input::Listen(_)
            | Input::HangUpLink(_)
            | Input::Read { .. }
            | Input::ProcessEnded(_)
            | Input::NamedEnded(_)
            | Input::AgentEnded(_)
            | Input::CutOff(_) => {}
            Input::Dial(id) => {
                let name = format!("m{}", id.0[0] % 2);
                let admitted =
                    match self.mesh().admit(*id, Credential::Secret, (&name, "here"), now) {
                        Ok(name) => Some(name),
                        Err(Failure::Refused(_)) => None,
                        Err(Failure::Store(error)) => panic!("{error}"),
                    };
                self.now_in.admitted.push((*id, admitted));
            }
            Input::Request { token, endpoint, body } => {
                let asker = Asker::Remote { machine: Key::SINGLE, id: self.askers };
                self.askers += 1;
                let answer = self.ask(asker, token, *endpoint, body);
                self.now_in.answers.push((at, asker, answer));
            }
            Input::Tick => self.mesh().tick(now).unwrap(),
            Input::HangUp(n) => {
                let waiting: Vec<Asker> = self.held.iter().map(|(asker, _)| asker).collect();
                if waiting.is_empty() {
                    return;
                }
                let asker = waiting[n % waiting.len()];
                let mesh = self.mesh.as_mut().unwrap();
                if n % 3 == 0 {
                    self.held.closed(asker, now.mono, mesh, || panic!("it was given nothing"));
                    return;
                }
                let inbox = match self.held.get(asker).unwrap().again().on {
                    Interest::Inbox(recipient) => Some(recipient),
                    _ => None,
                };
                let unread = |mesh: &mut Mesh<B::Store>| {
                    inbox.map(|of| mesh.store_mut().unread_count(of).unwrap())
                };
                let before = unread(mesh);
                self.held.hung_up(asker, now.mono, mesh);
                while let Some((asker, hold)) = self.held.next_woken() {
                    self.ask_again(asker, hold);
                }
                let left = unread(self.mesh());
                assert_eq!(left, before, "nothing is marked read for nobody");
            }
            Input::AnswerLost { nth, written } => {
                if self.granted.is_empty() {
                    return;
                }
                let Granted { asker, fence, at } = self.granted.remove(nth % self.granted.len());
                let (cut, lost) = if *written {
                    (Cut::Reset, Lost::Reset { after: now.mono.since(at) })
                } else {
                    (Cut::Unwritten, Lost::Unwritten)
                };
                self.missed.push((fence, lost));
                let mesh = self.mesh.as_mut().unwrap();
                self.held.closed(asker, now.mono, mesh, || Some(cut));
                self.tell_lost();
            }
        }
    }

    fn ask(&mut self, asker: Asker, token: &Token, endpoint: Endpoint, body: &str) -> Answer {
        let (now, mesh) = (self.now, self.mesh.as_mut().unwrap());
        if token.home().is_some_and(|home| !self.machines.contains(&home)) {
            return Answer::Unsent;
        }
        let caller = match token {
            Token::Person(home) => home.map_or(Caller::Broker, Caller::Operator),
            Token::Peer(token, home) => mesh.authenticate(token, *home),
        };
        let mut request = match Request::decode(endpoint, body.as_bytes()) {
            Ok(request) => request,
            Err(refusal) => return Answer::Refused(refusal),
        };
        if let Request::Register(register) = &mut request {
            register.facts = facts(body);
        }
        match mesh.handle(caller, &request, now) {
            Ok(Outcome::Reply(reply)) => Answer::Reply(reply),
            Ok(Outcome::Hold { on, until }) => {
                self.bodies.insert(asker, body.to_owned());
                self.homes.insert(asker, token.home());
                self.held.hold(asker, Hold::new(caller, request, on, until));
                Answer::Held
            }
            Err(Failure::Refused(refusal)) => Answer::Refused(refusal),
            Err(Failure::Store(error)) => panic!("{error}"),
        }
    }

    fn crash(&mut self, seen: &mut Seen) {
        let mut mesh = self.mesh.take().unwrap();
        // The store as it is, with the turn open if it was: `into_store` would be a clean end.
        let empty = self.backend.create();
        let store = std::mem::replace(mesh.store_mut(), empty);
        let store = self.backend.crash(store);
        self.start(store);
        seen.down = true;
    }

    fn carry_out(&mut self, mut effects: Effects, seen: &mut Seen) {
        let now = self.now.mono;
        for machine in std::mem::take(&mut effects.removed) {
            self.cut_off(machine);
        }
        // Some may have left in the same turn, or their machine has.
        let mesh = self.mesh.as_ref().unwrap();
        let here = |peer| {
            mesh.is_present(peer)
                && mesh.machine_of(peer).is_none_or(|home| self.machines.contains(&home))
        };
        effects.connect.retain(|(peer, _)| here(*peer));
        effects.watch.retain(|(peer, _)| here(*peer));
        effects.agents.retain(|agent| here(agent.peer));
        for push in &effects.pushes {
            self.net.add(push);
        }
        self.net.carry_out(now);
        self.hear_news();
        for departed in effects.departed {
            self.net.depart(departed.peer, now);
            self.with_agents.remove(&departed.peer);
            seen.departed.push(departed.peer);
        }
        for peer in effects.disconnect {
            let mut sockets = effects.connect.iter().filter(|(other, _)| *other == peer);
            if sockets.any(|(_, path)| !self.net.leads_to(peer, path)) {
                // That was its former process: another listens for it now.
                self.crashed.retain(|other| *other != peer);
            }
            // If the turn that ended it has failed, what was said on it since was not heard.
            self.net.forget_acknowledged(peer);
            self.net.disconnect(peer, now);
        }
        for (peer, path) in effects.connect {
            self.net.connect(peer, &path, now);
        }
        for (peer, pid) in effects.watch {
            self.net.registered(peer);
            self.net.watch_named(peer, pid, now);
        }
        for agent in effects.agents {
            // Not every process is what it is said to be.
            if agent.pid == 7 {
                self.with_agents.insert(agent.peer);
            } else {
                self.with_agents.remove(&agent.peer);
            }
        }
        self.hear_news();
    }
}
