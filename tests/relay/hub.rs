//! The hub: a mesh over the store in memory, what is held, and the ends of its machines.

use std::collections::{BTreeMap, BTreeSet};

use slm_mesh::api::{Code, Endpoint, Refusal, Reply, Request};
use slm_mesh::broker::held::{Asker, Cut, Held, Hold, Key};
use slm_mesh::broker::links::News;
use slm_mesh::broker::remote::{Asked, Machines, Remote, Taken, Told, Whose};
use slm_mesh::mesh::{Caller, Entropy, Failure, Mesh, Outcome, Settings};
use slm_mesh::model::{MachineName, Now, PeerId};
use slm_mesh::store::memory::MemoryStore;
use slm_mesh::wire::frames::{Answer, As};

use crate::rng::Rng;

struct Seeded(Rng);

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes.iter_mut() {
            *byte = (self.0.next() & 0xff) as u8;
        }
    }
}

/// A peer, as its registration has it.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) machine: usize,
    path: String,
}

pub(crate) struct Hub {
    mesh: Mesh<MemoryStore>,
    held: Held,
    pub(crate) machines: Machines<u64>,
    pub(crate) peers: BTreeMap<PeerId, Known>,
    /// Answers of the turn.
    answers: Vec<(Asker, Result<Reply, Refusal>)>,
    /// On which connection each request came.
    connections: BTreeMap<Asker, u64>,
    answered: BTreeSet<Asker>,
    announced: Vec<PeerId>,
    begun: bool,
    pub(crate) met: BTreeSet<&'static str>,
}

pub(crate) fn name(machine: usize) -> MachineName {
    MachineName::new(["one", "two"][machine]).unwrap()
}

/// Ids are never given twice by one relay, whatever its connection.
fn asker(machine: usize, id: u64) -> Asker {
    Asker::Remote { machine: Key::SINGLE, id: (machine as u64) << 32 | id }
}

impl Hub {
    pub(crate) fn new(seed: u64, now: Now) -> Self {
        let settings = Settings { wake_limit: 0, ..Settings::default() };
        let entropy = Box::new(Seeded(Rng::new(seed)));
        Self {
            mesh: Mesh::new(MemoryStore::new(), entropy, settings, now).unwrap(),
            held: Held::default(),
            machines: Machines::default(),
            peers: BTreeMap::new(),
            answers: Vec::new(),
            connections: BTreeMap::new(),
            answered: BTreeSet::new(),
            announced: Vec::new(),
            begun: false,
            met: BTreeSet::new(),
        }
    }

    pub(crate) fn join(&mut self, key: u64, machine: usize, now: Now) -> Option<u64> {
        self.machines.join(key, Remote::new(name(machine), "hub", now.mono, now.wall))
    }

    fn begin(&mut self, now: Now) {
        if !std::mem::replace(&mut self.begun, true) {
            self.mesh.begin_turn(now).unwrap();
            while let Some((fence, lost)) = self.held.next_lost() {
                self.met.insert("lost");
                self.mesh.grant_lost(fence, lost, now).unwrap();
            }
        }
    }

    /// Frames of a connection, in the turn.
    pub(crate) fn take(&mut self, key: u64, machine: usize, frames: Vec<String>, now: Now) {
        self.begin(now);
        for frame in frames {
            self.hear(now);
            let Some(remote) = self.machines.get_mut(key) else { return };
            let whose = |peer| match self.peers.get(&peer) {
                Some(_) if !self.mesh.is_present(peer) => Whose::Nobodys,
                Some(known) if known.machine == machine => Whose::Its(Some(&known.path)),
                Some(_) => Whose::Others,
                None => Whose::Nobodys,
            };
            let taken = remote.frame(&frame, now.mono, whose);
            match taken.unwrap_or_else(|closing| panic!("{closing:?}: {frame}")) {
                Some(Taken::Asked(asked)) => self.asked(key, machine, &asked, now),
                Some(Taken::Facts(..)) => panic!("nothing was asked"),
                None => {}
            }
        }
    }

    fn asked(&mut self, key: u64, machine: usize, asked: &Asked<'_>, now: Now) {
        let from = asker(machine, asked.id);
        assert!(self.connections.insert(from, key).is_none(), "a request was sent twice");
        self.hear(now);
        let caller = match &asked.by {
            As::Operator => Caller::Broker,
            As::Token(token) => self.mesh.authenticate(token, None),
        };
        let endpoint = asked.endpoint.clone().unwrap();
        if matches!(caller, Caller::Unknown { .. }) && endpoint != Endpoint::Register {
            let refusal = Refusal::new(Code::Unauthorized, "unknown");
            self.answers.push((from, Err(refusal)));
            return;
        }
        let request = Request::decode(endpoint, asked.body).unwrap();
        match self.mesh.handle(caller, &request, now) {
            Ok(Outcome::Reply(reply)) => {
                if let (Reply::Registered(it), Request::Register(said)) = (&reply, &request) {
                    let path = said.uds_path.as_deref().unwrap().to_owned();
                    self.peers.insert(it.peer_id, Known { machine, path });
                }
                self.answers.push((from, Ok(reply)));
            }
            Ok(Outcome::Hold { on, until }) => {
                self.held.hold(from, Hold::new(caller, request, on, until));
            }
            Err(Failure::Refused(refusal)) => self.answers.push((from, Err(refusal))),
            Err(Failure::Store(error)) => panic!("{error}"),
        }
    }

    /// What the machines tell.
    fn hear(&mut self, now: Now) {
        let Self { mesh, held, peers, .. } = self;
        while let Some((machine, key, told)) = self.machines.next_told() {
            let at = usize::from(machine == name(1));
            match told {
                Told::News(news) => match news {
                    News::Up(peer, known) => {
                        mesh.link_up(peer, known, now).unwrap();
                        self.announced.push(peer);
                    }
                    News::Down(peer) => mesh.link_down(peer),
                    News::Process(peer, known) => mesh.process_known(peer, known, now),
                    News::Ended(peer) => mesh.process_ended(peer, now).unwrap(),
                    News::Acknowledged(peer, id) => mesh.acknowledged(peer, id, now),
                    News::Written(peer, seq) => mesh.frame_written(peer, seq, now),
                    other => panic!("{other:?}"),
                },
                Told::Confirmed { peer, messages, written } => {
                    self.met.insert("confirmed");
                    mesh.had_before(peer, &messages, &written, now).unwrap();
                }
                Told::HeldBack(peer, from) => mesh.held_back(peer, from),
                Told::Room(peer) => mesh.has_room(peer),
                Told::Ready => {
                    // It may have ended since.
                    let Some(remote) = self.machines.get_mut(key) else { continue };
                    for (peer, known) in peers.iter().filter(|(_, known)| known.machine == at) {
                        if mesh.is_present(*peer) {
                            remote.connect(*peer, &known.path);
                        }
                    }
                }
                Told::Down => {
                    for (peer, _) in peers.iter().filter(|(_, known)| known.machine == at) {
                        mesh.link_down(*peer);
                        mesh.process_known(*peer, false, now);
                    }
                }
                Told::HungUp(id) => held.hung_up(asker(at, id), now.mono, mesh),
                Told::Gone { id, lost } => {
                    let from = asker(at, id);
                    held.closed(from, now.mono, mesh, || lost.then_some(Cut::Unwritten));
                    self.answers.retain(|(other, _)| *other != from);
                }
                Told::Arrived(id) => held.goes_on(asker(at, id)),
            }
        }
    }

    fn ask_again(&mut self, from: Asker, mut hold: Box<Hold>, now: Now) {
        match self.mesh.handle_held(hold.caller, &hold.request, hold.again(), now) {
            Ok(Outcome::Hold { on, until }) => {
                hold.wait_on(on, until);
                self.held.hold(from, hold);
            }
            Ok(Outcome::Reply(reply)) => {
                self.met.insert("granted");
                self.held.answered(from, &reply);
                self.answers.push((from, Ok(reply)));
            }
            Err(Failure::Refused(refusal)) => self.answers.push((from, Err(refusal))),
            Err(Failure::Store(error)) => panic!("{error}"),
        }
    }

    pub(crate) fn turn(&mut self, now: Now) {
        self.begin(now);
        for (_, remote) in self.machines.iter_mut() {
            // Silence is found out by the relay first.
            let _ = remote.tick(now.mono);
        }
        self.hear(now);
        if self.mesh.next_deadline(now).is_some_and(|at| at <= now.mono) {
            self.mesh.tick(now).unwrap();
        }
        self.held.wake_due(now.mono);
        while let Some((from, hold)) = self.held.next_woken() {
            self.ask_again(from, hold, now);
        }
        while let Some((from, hold)) = self.held.next_waiter(&mut self.mesh) {
            self.ask_again(from, hold, now);
        }
        self.mesh.feed(now, || true).unwrap();
        self.mesh.commit_turn().unwrap();
        self.begun = false;
        self.held.commit(now.mono);
        let mut effects = self.mesh.take_effects();
        self.held.wake(&effects);
        effects.connect.retain(|(peer, _)| self.mesh.is_present(*peer));
        effects.watch.clear();
        let peers = &self.peers;
        for peer in self.announced.drain(..) {
            self.machines.announced(name(peers[&peer].machine), peer);
        }
        let machine_of = |peer: PeerId| peers.get(&peer).map(|known| name(known.machine));
        self.machines.route(&mut effects, machine_of);
        assert!(effects.connect.is_empty() && effects.departed.is_empty());
        for (from, answer) in std::mem::take(&mut self.answers) {
            assert!(self.answered.insert(from), "a request was answered twice");
            let Asker::Remote { id, .. } = from else { unreachable!() };
            let (status, mut body) = match &answer {
                Ok(_) => (200, Vec::new()),
                Err(refusal) => (refusal.code.status(), Vec::new()),
            };
            match answer {
                Ok(reply) => reply.write_to(&mut body),
                Err(refusal) => refusal.write_to(&mut body),
            }
            let Some(remote) = self.machines.get_mut(self.connections[&from]) else { continue };
            remote.answer(&Answer {
                id: id & 0xffff_ffff,
                status,
                now: now.wall,
                body: std::str::from_utf8(&body).unwrap(),
                retry_after: None,
                allow: None,
            });
        }
    }

    fn ask(&mut self, endpoint: Endpoint, body: &str, now: Now) -> serde_json::Value {
        self.begin(now);
        let request = Request::decode(endpoint, body.as_bytes()).unwrap();
        let Ok(Outcome::Reply(reply)) = self.mesh.handle(Caller::Broker, &request, now) else {
            panic!("{body}");
        };
        let mut out = Vec::new();
        reply.write_to(&mut out);
        serde_json::from_slice(&out).unwrap()
    }

    /// Who holds what.
    pub(crate) fn locks(&mut self, now: Now) -> BTreeMap<String, PeerId> {
        let locks = self.ask(Endpoint::Lock, r#"{"action":"query"}"#, now);
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        (locks["locks"].as_array().unwrap().iter())
            .map(|it| (text(&it["filePath"]), PeerId::parse(&text(&it["lockedBy"])).unwrap()))
            .collect()
    }

    /// Who is called what.
    pub(crate) fn names(&mut self, now: Now) -> BTreeMap<PeerId, String> {
        let peers = self.ask(Endpoint::Peers, r#"{"includeStale":true}"#, now);
        (peers["peers"].as_array().unwrap().iter())
            .map(|it| {
                let id = PeerId::parse(it["id"].as_str().unwrap()).unwrap();
                (id, it["name"].as_str().unwrap().to_owned())
            })
            .collect()
    }

    pub(crate) fn present(&self) -> BTreeSet<PeerId> {
        self.peers.keys().copied().filter(|peer| self.mesh.is_present(*peer)).collect()
    }
}
