//! The hub's end of the connection to one machine: what its relay says, checked, as news and requests
//! for the mesh; and what the mesh has for its peers, as frames.
//!
//! [`Remote`] knows no socket, no poll, no clock and no mesh. The machine is that of the connection: what
//! a frame says of peers of any other ends it.
//!
//! The mesh sees a relay's peers as it sees its own: there is a way to them, or not. So messages wait in
//! the store before a relay says that there is one, and after its connection has ended. While more waits
//! for a machine than its connection takes, messages are [held back](Told::HeldBack): they are out of
//! the peer's window, wait in the store, and are fed again when there is [room](Told::Room).

mod frames;
mod machines;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::links::News;
use crate::api::{Endpoint, ProcessFacts, Refusal};
use crate::limits::{
    MACHINE_FENCED_MAX, MACHINE_SILENCE_MAX, UPDATES_BACKLOG_BYTES, UPLINK_QUEUE_BYTES_MAX,
    UPLINK_REQUESTS_MAX,
};
use crate::mesh::Departed;
use crate::model::{MachineName, MessageId, Monotonic, PeerId, Seq, Timestamp};
use crate::wire::frames::{Answer, As, Hello, ToRelay};

pub use machines::Machines;

/// How long it is remembered that an answer may have held a lock: longer than a relay takes to say that
/// it was lost.
const GRANT_KEPT: Duration = Duration::from_secs(30);

/// Whose a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose<'a> {
    /// The machine's; its socket.
    Its(Option<&'a str>),
    /// Another's.
    Others,
    /// No machine's: the peer is not present.
    Nobodys,
}

/// A request of a client on that machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked<'a> {
    /// Its id on this connection.
    pub id: u64,
    /// Who asks.
    pub by: As<'a>,
    /// What for, or why not.
    pub endpoint: Result<Endpoint, Refusal>,
    /// Its body.
    pub body: &'a [u8],
    /// Of a registration: when the agent's process that it names started.
    pub agent_start: Option<Box<str>>,
    /// The client has hung up, and would not get what it is given.
    pub has_gone: bool,
}

/// What a frame brings that is for the turn of the mesh.
#[derive(Clone, Debug, PartialEq)]
pub enum Taken<'a> {
    /// A request, to be answered by [`Remote::answer`] in any case.
    Asked(Asked<'a>),
    /// What [`ToRelay::Look`] asked for.
    Facts(u64, ProcessFacts),
}

/// What has happened on that machine, for the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// To the way to a peer, or to its process.
    News(News),
    /// A peer has had these messages before its way stood last.
    Confirmed {
        /// Which.
        peer: PeerId,
        /// Those that it has acknowledged.
        messages: Vec<MessageId>,
        /// Those that were written to it.
        written: Vec<Seq>,
    },
    /// This message and those after it did not leave for a peer: they wait in the store again.
    HeldBack(PeerId, Seq),
    /// A peer of which some were held back can be fed again.
    Room(PeerId),
    /// The machine has said how it stands with its peers: what the mesh wants of them is to be said
    /// anew.
    Ready,
    /// The machine has no connection any more.
    Down,
    /// The client of this request has nothing more to say.
    HungUp(u64),
    /// The client of this request has gone. `lost`: it has not got the answer that there was.
    Gone {
        /// Which.
        id: u64,
        /// See above.
        lost: bool,
    },
    /// The answer to this request has arrived.
    Arrived(u64),
}

/// Why a connection is closed: words for its other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing(pub Box<str>);

impl Closing {
    fn new(words: impl Into<Box<str>>) -> Self {
        Self(words.into())
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// `hello` is next.
    New,
    /// `peers` is next.
    Greeted,
    /// Anything may come.
    Stands,
}

/// See the module.
#[derive(Debug)]
pub struct Remote {
    machine: MachineName,
    stage: Stage,
    /// What its relay calls itself, and its version.
    said: Option<(Box<str>, Box<str>)>,
    /// Requests without an answer; whether it is one for a lock.
    open: BTreeMap<u64, bool>,
    /// Those for locks with an answer that may be lost, and when it left.
    given: BTreeMap<u64, Option<Monotonic>>,
    /// Peers to which there is a way, and which of all it is.
    up: BTreeMap<PeerId, u64>,
    /// Peers whose former way and process is to be said to be gone, so many times: until then what is
    /// said of it is about that one.
    fenced: BTreeMap<PeerId, u32>,
    /// Peers of which messages are held back.
    held_back: BTreeMap<PeerId, Seq>,
    queue: VecDeque<(Option<u64>, String)>,
    queued: usize,
    told: Vec<Told>,
    /// What the machine has said of answers on connections before.
    got: Option<Vec<u64>>,
    heard: Monotonic,
}

impl Remote {
    /// The end of a new connection of `machine`, from a hub that calls itself `hub`.
    #[must_use]
    pub fn new(machine: MachineName, hub: &str, now: Monotonic, wall: Timestamp) -> Self {
        let mut remote = Self {
            machine,
            stage: Stage::New,
            said: None,
            open: BTreeMap::new(),
            given: BTreeMap::new(),
            up: BTreeMap::new(),
            fenced: BTreeMap::new(),
            held_back: BTreeMap::new(),
            queue: VecDeque::new(),
            queued: 0,
            told: Vec::new(),
            got: None,
            heard: now,
        };
        remote.say(&ToRelay::Hello(Hello {
            version: env!("CARGO_PKG_VERSION").into(),
            name: hub.into(),
            time: wall,
            you: Some(machine),
        }));
        remote
    }

    /// Whose connection it is.
    #[must_use]
    pub fn machine(&self) -> MachineName {
        self.machine
    }

    /// What its relay calls itself, and its version, once it has said so.
    #[must_use]
    pub fn said(&self) -> Option<(&str, &str)> {
        self.said.as_ref().map(|(name, version)| (&**name, &**version))
    }

    // What comes out

    /// What has happened since the last call, in order: for the mesh, before any request that is taken
    /// later.
    pub fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// Whether there is something to tell.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.told.is_empty()
    }

    /// The next frame, to be asked for when the connection takes more.
    pub fn next_frame(&mut self, now: Monotonic) -> Option<String> {
        let (answers, frame) = self.queue.pop_front()?;
        self.queued = self.queued.saturating_sub(frame.len());
        if let Some(left) = answers.and_then(|id| self.given.get_mut(&id)) {
            *left = Some(now);
        }
        if self.queued < UPLINK_QUEUE_BYTES_MAX / 2 && !self.held_back.is_empty() {
            let peers = std::mem::take(&mut self.held_back);
            self.told.extend(peers.into_keys().map(Told::Room));
        }
        Some(frame)
    }

    /// Whether nothing should be read of it for now: too much waits to be sent.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.queued >= UPLINK_QUEUE_BYTES_MAX
    }

    // Time

    /// Some bytes have come.
    pub fn heard(&mut self, now: Monotonic) {
        self.heard = now;
    }

    /// Does what is due.
    ///
    /// # Errors
    /// Nothing was heard of it for too long.
    pub fn tick(&mut self, now: Monotonic) -> Result<(), Closing> {
        let told = &mut self.told;
        self.given.retain(|id, left| {
            let arrived = left.is_some_and(|at| now.since(at) >= GRANT_KEPT);
            if arrived {
                told.push(Told::Arrived(*id));
            }
            !arrived
        });
        if now.since(self.heard) < MACHINE_SILENCE_MAX {
            return Ok(());
        }
        Err(Closing::new("nothing was heard of this machine for too long"))
    }

    /// When [`Remote::tick`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Monotonic {
        let given = self.given.values().flatten().min().map(|at| at.plus(GRANT_KEPT));
        let silence = self.heard.plus(MACHINE_SILENCE_MAX);
        given.map_or(silence, |at| at.min(silence))
    }

    // What the mesh has for it

    /// The answer to a request. `body` is JSON.
    pub fn answer(&mut self, answer: &Answer<'_>) {
        let Some(is_lock) = self.open.remove(&answer.id) else { return };
        if is_lock && answer.status == 200 {
            self.given.insert(answer.id, None);
        }
        self.put(Some(answer.id), &ToRelay::Answer(answer.clone()));
    }

    /// A push frame for a peer, JSON without a newline; `message`: the one in it.
    pub fn push(&mut self, to: PeerId, push: &str, message: Option<Seq>) {
        match message {
            // Dropped where it would be dropped on this machine.
            None if self.queued >= UPDATES_BACKLOG_BYTES => return,
            Some(_) if self.held_back.contains_key(&to) => return,
            Some(seq) if self.is_full() => {
                self.held_back.insert(to, seq);
                self.told.push(Told::HeldBack(to, seq));
                return;
            }
            None | Some(_) => {}
        }
        self.say(&ToRelay::Push { to, push, seq: message });
    }

    /// The peers to which there is a way that the mesh knows of.
    pub fn reached(&self) -> impl Iterator<Item = PeerId> {
        self.up.keys().copied()
    }

    /// The mesh knows of the way to a peer: what is pushed to it comes later.
    pub fn announced(&mut self, peer: PeerId) {
        if let Some(link) = self.up.get(&peer).copied() {
            self.say(&ToRelay::Announced { peer, link });
        }
    }

    /// See [`crate::mesh::Effects::connect`].
    pub fn connect(&mut self, peer: PeerId, path: &str) {
        self.say(&ToRelay::Connect { peer, path: path.into() });
    }

    /// See [`crate::mesh::Effects::disconnect`].
    pub fn disconnect(&mut self, peer: PeerId) {
        self.fence(peer);
        self.say(&ToRelay::Disconnect { peer });
    }

    /// See [`crate::mesh::Effects::departed`].
    pub fn departed(&mut self, departed: &Departed) {
        self.fence(departed.peer);
        self.say(&ToRelay::Departed {
            peer: departed.peer,
            reason: departed.reason.as_str().into(),
            path: departed.uds_path.as_deref().map(Into::into),
        });
    }

    /// Says something that nothing here depends on.
    pub fn say(&mut self, frame: &ToRelay<'_>) {
        self.put(None, frame);
    }

    fn fence(&mut self, peer: PeerId) {
        self.up.remove(&peer);
        self.held_back.remove(&peer);
        *self.fenced.entry(peer).or_default() += 1;
    }

    fn put(&mut self, answers: Option<u64>, frame: &ToRelay<'_>) {
        let text = frame.text();
        self.queued += text.len();
        self.queue.push_back((answers, text));
    }

    // The end

    /// The connection has ended, or is ended in favour of a newer one. Gives what is to be told of it,
    /// and requests whose answers have left, may hold a lock, and may have arrived or not: what the
    /// machine says on its next connection tells.
    #[must_use]
    pub fn end(self) -> (Vec<Told>, Vec<u64>) {
        let Self { mut told, open, given, .. } = self;
        // One of them may be granted a lock in this very turn.
        told.extend(open.into_keys().map(|id| Told::Gone { id, lost: true }));
        let mut unsure = Vec::new();
        for (id, left) in given {
            match left {
                Some(_) => unsure.push(id),
                None => told.push(Told::Gone { id, lost: true }),
            }
        }
        told.push(Told::Down);
        (told, unsure)
    }

    /// What the machine has said of answers on connections before; none: nothing.
    fn take_got(&mut self) -> Option<Vec<u64>> {
        self.got.take()
    }

    fn has_room_for(&self, id: u64) -> Result<(), Closing> {
        if self.open.contains_key(&id) {
            return Err(Closing::new("the id of a request was used twice"));
        }
        if self.open.len() >= UPLINK_REQUESTS_MAX {
            return Err(Closing::new("too many requests without an answer"));
        }
        if self.fenced.len() > MACHINE_FENCED_MAX {
            return Err(Closing::new("the end of former ways to peers is not told"));
        }
        Ok(())
    }
}
