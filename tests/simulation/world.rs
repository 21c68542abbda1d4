//! One mesh over one backend, and the shell around it, played: crashes, restarts, requests that wait.

mod actions;
mod requests;
mod ways;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use slm_mesh::api::{DatabaseStatus, Endpoint, Reply, Request};
use slm_mesh::broker::held::{Asker, Held};
use slm_mesh::mesh::{Entropy, Interest, Lost, Mesh, Settings};
use slm_mesh::model::{MachineId, MachineName, Monotonic, Now, PeerId, Recipient, Seq};
use slm_mesh::store::{EventQuery, Store};
use uuid::Uuid;

pub(crate) use actions::{Action, Answer, End, Home, Input, Seen, Token};
use requests::Granted;

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

/// What becomes of a turn if it commits.
#[derive(Default)]
struct Turn {
    /// Requests, by their place in the turn, and what they came to so far.
    answers: Vec<(usize, Asker, Answer)>,
    late: Vec<(Home, String, Answer)>,
    granted: Vec<(Asker, Seq)>,
    lost: Vec<(Seq, Lost)>,
    admitted: Vec<(MachineId, Option<MachineName>)>,
    /// Peers that were given another name.
    renamed: Vec<PeerId>,
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
        let Turn { answers, late, granted, lost, admitted, renamed } =
            std::mem::take(&mut self.now_in);
        for peer in renamed {
            // With another mailbox it is told anew what waits for it.
            self.net.registered(peer);
        }
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

    fn crash(&mut self, seen: &mut Seen) {
        let mut mesh = self.mesh.take().unwrap();
        // The store as it is, with the turn open if it was: `into_store` would be a clean end.
        let empty = self.backend.create();
        let store = std::mem::replace(mesh.store_mut(), empty);
        let store = self.backend.crash(store);
        self.start(store);
        seen.down = true;
    }
}
