//! One mesh over one backend, and the shell around it, played: sockets, crashes, restarts.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde_json::Value;
use slm_mesh::api::{
    Claimed, DatabaseStatus, Endpoint, Facts, Frame, Messages, Refusal, Reply, Request, read_frame,
};
use slm_mesh::mesh::{
    self, Caller, Effects, Entropy, Failure, Interest, Lost, Mesh, Outcome, Settings, Target,
};
use slm_mesh::model::{MessageId, Monotonic, Now, PeerId, Recipient, Seq, type_matches};
use slm_mesh::store::{EventQuery, Store};
use uuid::Uuid;

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

/// Whose token a request carries.
#[derive(Clone, Debug)]
pub(crate) enum Token {
    Broker,
    Peer(String),
}

#[derive(Clone, Debug)]
pub(crate) enum Input {
    Request {
        token: Token,
        endpoint: Endpoint,
        body: String,
    },
    /// The shell connects to a peer's socket, if it was asked to.
    LinkUp {
        peer: PeerId,
        process_known: bool,
    },
    LinkDown(PeerId),
    /// A peer takes frames from its socket and acknowledges so many.
    Read {
        peer: PeerId,
        frames: usize,
    },
    ProcessEnded(PeerId),
    AgentEnded(PeerId),
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
}

/// What could be seen of an action from outside; both backends must show the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    /// Requests that were answered, by their place in the turn.
    pub(crate) answers: Vec<(usize, Answer)>,
    /// Requests held in former turns and answered in this.
    pub(crate) late: Vec<(String, Answer)>,
    /// Frames, by peer.
    pub(crate) pushed: Vec<(PeerId, String)>,
    /// Messages that peers took from their sockets.
    pub(crate) taken: Vec<(PeerId, MessageId)>,
    pub(crate) departed: Vec<PeerId>,
    /// Answers that were lost, by the fence of the lock that they gave.
    pub(crate) lost: Vec<(Seq, Lost)>,
    pub(crate) down: bool,
}

#[derive(Debug, Default)]
struct Socket {
    /// Frames written to it and not read.
    frames: VecDeque<(Option<Seq>, String)>,
}

/// What the kernel would say of a registration.
fn facts(body: &str) -> Facts {
    let body: Value = serde_json::from_str(body).unwrap();
    let is = |fact: &str| body["facts"][fact] == true;
    Facts {
        agent_start: body["agentPid"].as_u64().and(body["facts"]["start"].as_str()).map(Into::into),
        descends: is("descends"),
        former_gone: is("gone"),
        former_ended: is("ended"),
    }
}

/// A request of a turn, and what came of it so far.
type Asked = (usize, String, Caller, Request, Result<Outcome, Refusal>);

struct Held {
    caller: Caller,
    body: String,
    request: Request,
    on: Interest,
    until: Monotonic,
}

impl Held {
    fn event_types(&self) -> &[Box<str>] {
        match &self.request {
            Request::ReadEvents(read) => &read.types,
            _ => &[],
        }
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

pub(crate) struct World<B: Backend> {
    backend: B,
    mesh: Option<Mesh<B::Store>>,
    sockets: BTreeMap<PeerId, Socket>,
    connectable: BTreeSet<PeerId>,
    held: Vec<Held>,
    /// Answers that gave a lock to someone who had waited, each on a connection of its own: the
    /// fence, and when it was written.
    granted: Vec<(Seq, Monotonic)>,
    /// Those of the turn, and those of which it was told that they are lost.
    granted_now: Vec<(Seq, Monotonic)>,
    lost_now: Vec<(Seq, Monotonic, Lost)>,
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
            sockets: BTreeMap::new(),
            connectable: BTreeSet::new(),
            held: Vec::new(),
            granted: Vec::new(),
            granted_now: Vec::new(),
            lost_now: Vec::new(),
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
            rate_limit: 40,
            port: 2,
            boot_id: Some(Uuid::from_u128(self.boots)),
            ..Settings::default()
        };
        let entropy = Box::new(SeededEntropy(Rng::new(self.entropy.next())));
        self.mesh = Some(Mesh::new(store, entropy, settings, self.now).unwrap());
        self.sockets.clear();
        self.connectable.clear();
        self.held.clear();
        self.granted.clear();
        self.granted_now.clear();
        self.lost_now.clear();
        let effects = self.mesh().take_effects();
        let mut seen = Seen::default();
        self.carry_out(effects, &mut seen);
    }

    /// The peers that the broker wants to connect to.
    pub(crate) fn connectable(&self) -> Vec<PeerId> {
        self.connectable.iter().copied().collect()
    }

    pub(crate) fn connected(&self) -> Vec<PeerId> {
        self.sockets.keys().copied().collect()
    }

    pub(crate) fn act(&mut self, action: &Action) -> Seen {
        let mut seen = Seen::default();
        match action {
            Action::Time { ms, jump_ms } => {
                self.now.mono = self.now.mono.plus(Duration::from_millis(*ms));
                self.pass_unseen(*ms, *jump_ms);
            }
            Action::Sleep { ms } => self.pass_unseen(*ms, 0),
            Action::Maintain => self.mesh().maintain(true).unwrap(),
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
            Action::Turn(inputs, end) => {
                let now = self.now;
                self.mesh().begin_turn(now).unwrap();
                self.turn(inputs, *end, false, &mut seen);
            }
            Action::BareTurn(inputs, end) => {
                let now = self.now;
                self.mesh().begin_bare_turn(now).unwrap();
                self.turn(inputs, *end, true, &mut seen);
            }
        }
        seen
    }

    /// What must hold between the mesh and its shell.
    pub(crate) fn check_shell(&mut self) {
        let up: Vec<PeerId> = self.mesh().connected().collect();
        assert_eq!(up, self.connected(), "what the core thinks is connected is");
        let inboxes: Vec<Recipient> = (self.held.iter())
            .filter(|held| matches!(&held.request, Request::Fetch(fetch) if fetch.from.is_none()))
            .filter(|held| !held.body.contains("after") && !held.body.contains("before"))
            .filter_map(|held| match held.on {
                Interest::Inbox(recipient) => Some(recipient),
                _ => None,
            })
            .collect();
        for recipient in inboxes {
            let unread = self.mesh().store_mut().unread_count(recipient).unwrap();
            assert_eq!(unread, 0, "someone waits for what is in the inbox of {recipient:?}");
        }
        let store = self.mesh.as_mut().unwrap().store_mut();
        for held in &self.held {
            let Request::ReadEvents(read) = &held.request else { continue };
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
        let mut answers = Vec::new();
        // The shell tells of its connections before it asks anything.
        let is_news = |input: &Input| matches!(input, Input::LinkUp { .. } | Input::LinkDown(_));
        for (at, input) in inputs.iter().enumerate().filter(|(_, input)| is_news(input)) {
            self.input(at, input, &mut answers, seen);
        }
        for (at, input) in inputs.iter().enumerate().filter(|(_, input)| !is_news(input)) {
            self.input(at, input, &mut answers, seen);
        }
        let late = self.grant_locks(&mut answers);
        if !bare {
            // Now and then there is no time for more than one peer.
            let has_time = inputs.len() != 1;
            self.mesh().feed(now, || has_time).unwrap();
        }
        match end {
            End::KilledBefore => return self.crash(seen),
            End::Abort => {
                // Frames that peers read were written by former turns; what they said stands.
                self.mesh().abort_turn(now).unwrap();
                // Whoever was to wait is told that the turn has failed.
                for (.., answer) in answers {
                    if let Ok(Outcome::Hold { on: Interest::Lock(ticket), .. }) = answer {
                        self.mesh().withdraw(ticket);
                    }
                }
                self.granted_now.clear();
                // They are as lost as before.
                let lost = std::mem::take(&mut self.lost_now);
                self.granted.extend(lost.into_iter().map(|(fence, at, _)| (fence, at)));
                return;
            }
            End::Commit | End::KilledAfter => self.mesh().commit_turn().unwrap(),
        }
        seen.lost.extend(self.lost_now.drain(..).map(|(fence, _, lost)| (fence, lost)));
        if end == End::KilledAfter {
            return self.crash(seen);
        }
        self.granted.append(&mut self.granted_now);
        seen.late.extend(late);
        let effects = self.mesh().take_effects();
        let (inboxes, events) = (effects.inboxes.clone(), effects.events.clone());
        let gone = effects.gone.clone();
        self.carry_out(effects, seen);
        for (at, body, caller, request, answer) in answers {
            match answer {
                Ok(Outcome::Reply(mut reply)) => {
                    match &mut reply {
                        Reply::Sent(sent) => self.mesh().confirm(sent),
                        // How large the database is, is the store's own affair.
                        Reply::Status(status) => status.db = DatabaseStatus::default(),
                        _ => {}
                    }
                    seen.answers.push((at, Answer::Reply(reply)));
                }
                Ok(Outcome::Hold { on, until }) => {
                    seen.answers.push((at, Answer::Held));
                    self.held.push(Held { caller, body, request, on, until });
                }
                Err(refusal) => seen.answers.push((at, Answer::Refused(refusal))),
            }
        }
        self.wake(&inboxes, &events, &gone, seen);
    }

    /// Asks again for requests that wait for locks and have an answer now, in the turn.
    fn grant_locks(&mut self, answers: &mut [Asked]) -> Vec<(String, Answer)> {
        let mut late = Vec::new();
        let now = self.now;
        while let Some(ticket) = self.mesh().next_waiter() {
            let on = Interest::Lock(ticket);
            let since_now = answers.iter_mut().find(
                |(.., answer)| matches!(answer, Ok(Outcome::Hold { on: its, .. }) if *its == on),
            );
            if let Some((_, _, caller, request, answer)) = since_now {
                let Ok(Outcome::Hold { until, .. }) = *answer else { unreachable!() };
                let held = mesh::Held { on, until, hung_up: false };
                let mesh = self.mesh.as_mut().unwrap();
                *answer = match mesh.handle_held(*caller, request, held, now) {
                    Err(Failure::Store(error)) => panic!("{error}"),
                    Err(Failure::Refused(refusal)) => Err(refusal),
                    Ok(outcome) => Ok(outcome),
                };
                if let Ok(Outcome::Reply(Reply::Locked { lock, .. })) = answer {
                    self.granted_now.push((lock.fence, now.mono));
                }
                continue;
            }
            let at = self.held.iter().position(|held| held.on == on);
            let mut held = self.held.remove(at.expect("a place in the queue is that of a request"));
            if let Some(answer) = self.ask_again(&mut held) {
                if let Answer::Reply(Reply::Locked { lock, .. }) = &answer {
                    self.granted_now.push((lock.fence, now.mono));
                }
                late.push((held.body, answer));
            } else {
                self.held.push(held);
            }
        }
        late
    }

    fn ask_again(&mut self, held: &mut Held) -> Option<Answer> {
        let now = self.now;
        let again = mesh::Held { on: held.on, until: held.until, hung_up: false };
        match self.mesh().handle_held(held.caller, &held.request, again, now) {
            Ok(Outcome::Reply(reply)) => Some(Answer::Reply(reply)),
            Ok(Outcome::Hold { on, until }) => {
                // A claim may be looked at again before its time is over.
                let over = match on {
                    Interest::Claim { until, .. } => until,
                    _ => held.until,
                };
                assert!(now.mono < until && until <= over && on == held.on, "held beyond its time");
                held.until = until;
                None
            }
            Err(Failure::Refused(refusal)) => Some(Answer::Refused(refusal)),
            Err(Failure::Store(error)) => panic!("{error}"),
        }
    }

    /// Asks again for held requests that have news or no time left: in a turn of their own.
    fn wake(
        &mut self,
        inboxes: &[Recipient],
        events: &[Cow<'static, str>],
        gone: &[PeerId],
        seen: &mut Seen,
    ) {
        let now = self.now;
        let due = |held: &Held| {
            held.until <= now.mono
                || match held.on {
                    Interest::Inbox(recipient) => inboxes.contains(&recipient),
                    Interest::Events => {
                        events.iter().any(|kind| type_matches(held.event_types(), kind))
                    }
                    Interest::Gone(peer) => gone.contains(&peer),
                    Interest::Claim { peer, .. } => {
                        inboxes.contains(&Recipient::Peer(peer)) || gone.contains(&peer)
                    }
                    // Those are asked in the turn that lets them go on.
                    Interest::Lock(_) => false,
                }
        };
        let (awake, asleep) = std::mem::take(&mut self.held).into_iter().partition(due);
        self.held = asleep;
        let awake: Vec<Held> = awake;
        if awake.is_empty() {
            return;
        }
        self.mesh().begin_turn(now).unwrap();
        for mut held in awake {
            if let Some(answer) = self.ask_again(&mut held) {
                seen.late.push((held.body, answer));
            } else {
                self.held.push(held);
            }
        }
        seen.late.extend(self.grant_locks(&mut []));
        self.mesh().commit_turn().unwrap();
        self.granted.append(&mut self.granted_now);
        let effects = self.mesh().take_effects();
        self.carry_out(effects, seen);
    }

    fn input(&mut self, at: usize, input: &Input, answers: &mut Vec<Asked>, seen: &mut Seen) {
        let now = self.now;
        match input {
            Input::Request { token, endpoint, body } => {
                let mesh = self.mesh();
                let caller = match token {
                    Token::Broker => Caller::Broker,
                    Token::Peer(token) => mesh.authenticate(token),
                };
                let request = match Request::decode(*endpoint, body.as_bytes()) {
                    Ok(Request::Register(mut register)) => {
                        register.facts = facts(body);
                        Request::Register(register)
                    }
                    Ok(request) => request,
                    Err(refusal) => {
                        answers.push((at, body.clone(), caller, Request::Health, Err(refusal)));
                        return;
                    }
                };
                let answer = match mesh.handle(caller, &request, now) {
                    Ok(outcome) => Ok(outcome),
                    Err(Failure::Refused(refusal)) => Err(refusal),
                    Err(Failure::Store(error)) => panic!("{error}"),
                };
                answers.push((at, body.clone(), caller, request, answer));
            }
            Input::LinkUp { peer, process_known } => {
                if self.connectable.remove(peer) {
                    self.sockets.insert(*peer, Socket::default());
                    self.mesh().link_up(*peer, *process_known, now).unwrap();
                }
            }
            Input::LinkDown(peer) => {
                if self.sockets.remove(peer).is_some() {
                    self.mesh().link_down(*peer);
                }
            }
            Input::Read { peer, frames } => self.read(*peer, *frames, seen),
            Input::ProcessEnded(peer) => self.mesh().process_ended(*peer, now).unwrap(),
            Input::AgentEnded(peer) => self.mesh().agent_ended(*peer, now).unwrap(),
            Input::Tick => self.mesh().tick(now).unwrap(),
            Input::HangUp(n) => {
                if self.held.is_empty() {
                    return;
                }
                let held = self.held.remove(n % self.held.len());
                match held.on {
                    Interest::Lock(ticket) => self.mesh().withdraw(ticket),
                    Interest::Inbox(recipient) => {
                        let unread = self.mesh().store_mut().unread_count(recipient).unwrap();
                        let again = mesh::Held {
                            on: held.on,
                            until: now.mono.min(held.until),
                            hung_up: true,
                        };
                        let answer =
                            self.mesh().handle_held(held.caller, &held.request, again, now);
                        // Its peer may have left.
                        if let Ok(Outcome::Reply(reply)) = answer {
                            assert_eq!(reply, Reply::Messages(Messages::default()));
                        }
                        let left = self.mesh().store_mut().unread_count(recipient).unwrap();
                        assert_eq!(left, unread, "nothing is marked read for nobody");
                    }
                    Interest::Claim { .. } => {
                        let on = held.on;
                        let again = mesh::Held { on, until: now.mono, hung_up: true };
                        let answer =
                            self.mesh().handle_held(held.caller, &held.request, again, now);
                        if let Ok(Outcome::Reply(reply)) = answer {
                            assert_eq!(reply, Reply::Claimed(Claimed::default()));
                        }
                    }
                    Interest::Events | Interest::Gone(_) => {}
                }
            }
            Input::AnswerLost { nth, written } => {
                if self.granted.is_empty() {
                    return;
                }
                let (fence, at) = self.granted.remove(nth % self.granted.len());
                let lost = match written {
                    true => Lost::Reset { after: now.mono.since(at) },
                    false => Lost::Unwritten,
                };
                self.lost_now.push((fence, at, lost));
                self.mesh().grant_lost(fence, lost, now).unwrap();
            }
        }
    }

    fn read(&mut self, peer: PeerId, frames: usize, seen: &mut Seen) {
        let now = self.now;
        for _ in 0..frames {
            let Some(socket) = self.sockets.get_mut(&peer) else { return };
            let Some((message, line)) = socket.frames.pop_front() else { return };
            let Some(seq) = message else { continue };
            let Ok(Frame::Message(pushed)) = read_frame(line.trim_end().as_bytes()) else {
                panic!("not a message: {line}");
            };
            assert_eq!(pushed.seq, seq);
            seen.taken.push((peer, pushed.message_id));
            // One of the two is ignored, by whether the peer registered with `acks`.
            self.mesh().acknowledged(peer, pushed.message_id, now);
            self.mesh().frame_written(peer, seq, now);
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

    fn carry_out(&mut self, effects: Effects, seen: &mut Seen) {
        for departed in effects.departed {
            self.sockets.remove(&departed.peer);
            self.connectable.remove(&departed.peer);
            seen.departed.push(departed.peer);
        }
        for peer in effects.disconnect {
            self.sockets.remove(&peer);
            self.connectable.remove(&peer);
        }
        for agent in effects.agents {
            // Not every process is what it is said to be.
            if agent.pid == 7 {
                self.mesh().agent_lives(agent.peer);
            }
        }
        for (peer, _) in effects.connect {
            // It may have left in the same turn.
            if !self.sockets.contains_key(&peer) && self.mesh().is_present(peer) {
                self.connectable.insert(peer);
            }
        }
        for push in effects.pushes {
            let line = String::from_utf8(push.frame.line().to_vec()).unwrap();
            for (peer, socket) in &mut self.sockets {
                let meant = match push.to {
                    Target::One(one) => one == *peer,
                    Target::AllBut(but) => but != Some(*peer),
                };
                if meant {
                    socket.frames.push_back((push.frame.message(), line.clone()));
                    seen.pushed.push((*peer, line.clone()));
                }
            }
        }
    }
}
