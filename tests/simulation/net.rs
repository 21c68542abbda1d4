//! The ways to peers, played: what decides about them as it ships, over sockets and processes in which
//! all that can go wrong does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use slm_mesh::api::{Frame, read_frame};
use slm_mesh::broker::links::{Key, Manager, News, Output, Ready};
use slm_mesh::limits::{CONNECT_ATTEMPTS_MAX, FRAMES_PER_WRITE_MAX};
use slm_mesh::mesh::Push;
use slm_mesh::model::{MessageId, Monotonic, PeerId, Seq};

use crate::rng::Rng;
use crate::world::Seen;

/// Process ids of those who listen begin here; those that peers only say that they have are below.
const FIRST_PID: u32 = 1_000_000;

/// A connection to a peer's socket, seen from both ends.
#[derive(Debug)]
struct Socket {
    peer: PeerId,
    /// The process that listens there, if that can be seen.
    pid: Option<u32>,
    /// What was written to it and not read, and how much there is room for, bytes.
    out: VecDeque<u8>,
    room: usize,
    /// What the peer has written back and the broker not read.
    back: VecDeque<u8>,
    /// What the peer has still to write back: it is slow.
    to_say: VecDeque<u8>,
    /// How much of that, at its end, is of a child of the peer's process.
    of_child: usize,
    /// The peer has closed it.
    hung_up: bool,
    /// The broker wants to know when there is room.
    armed: bool,
    /// The core was told of it.
    announced: bool,
    /// The end of a line that the peer has read the beginning of.
    line: Vec<u8>,
    /// The messages that it has taken. None: it has registered again since, and with another mailbox
    /// all comes again that is not confirmed.
    taken: Option<BTreeSet<Seq>>,
    /// Which connection it is, in order of time.
    number: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Net {
    manager: Manager,
    rng: Rng,
    sockets: BTreeMap<Key, Socket>,
    /// Processes that are watched.
    watches: BTreeMap<Key, u32>,
    alarms: BTreeSet<(Monotonic, PeerId)>,
    /// What the poll will say: of connections, and of processes that have ended.
    events: Vec<(Key, Ready)>,
    ended: Vec<Key>,
    /// Who listens where.
    listeners: BTreeMap<Box<str>, u32>,
    next_pid: u32,
    /// Where the core wants a connection to, and how often it was tried since it said so last.
    wanted: BTreeMap<PeerId, (Box<str>, u32)>,
    /// Peers whose process has ended, as the core was told, and those of which it has to be.
    gone: BTreeSet<PeerId>,
    ending: BTreeSet<PeerId>,
    /// Those whose last connection had been closed when its process was to be watched.
    doubtful: BTreeSet<PeerId>,
    /// Messages that the broker knows to be acknowledged, and since which connection.
    acknowledged: BTreeMap<(PeerId, MessageId), u64>,
    connections: u64,
    /// Nothing goes wrong any more.
    pub(crate) calm: bool,
    /// What it has come to.
    pub(crate) met: BTreeSet<&'static str>,
}

impl Net {
    pub(crate) fn new(mut rng: Rng) -> Self {
        Self {
            manager: Manager::new(rng.next()),
            rng,
            sockets: BTreeMap::new(),
            watches: BTreeMap::new(),
            alarms: BTreeSet::new(),
            events: Vec::new(),
            ended: Vec::new(),
            listeners: BTreeMap::new(),
            next_pid: FIRST_PID,
            wanted: BTreeMap::new(),
            gone: BTreeSet::new(),
            ending: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            acknowledged: BTreeMap::new(),
            connections: 0,
            calm: false,
            met: BTreeSet::new(),
        }
    }

    /// The broker is another process: those of the peers run on.
    pub(crate) fn restart(&mut self) {
        let fresh = Self::new(self.rng.clone());
        let Self { listeners, next_pid, connections, calm, met, .. } =
            std::mem::replace(self, fresh);
        (self.listeners, self.next_pid, self.connections) = (listeners, next_pid, connections);
        (self.calm, self.met) = (calm, met);
    }

    /// The peers whose connection the core knows of.
    pub(crate) fn connected(&self) -> Vec<PeerId> {
        let mut peers: Vec<PeerId> = self.manager.announced_peers().collect();
        peers.sort_unstable();
        peers
    }

    /// Those to whom there should be a connection.
    pub(crate) fn wanted(&self) -> Vec<PeerId> {
        self.wanted.keys().copied().collect()
    }

    fn fails(&mut self, percent: usize) -> bool {
        self.rng.chance(percent) && !self.calm
    }

    // What the core asks for

    pub(crate) fn connect(&mut self, peer: PeerId, path: &str, now: Monotonic) {
        self.gone.remove(&peer);
        self.wanted.insert(peer, (path.into(), 0));
        if !self.listeners.contains_key(path) && !self.fails(20) {
            self.listen(peer);
        }
        self.manager.connect(peer, path.into(), now);
        self.carry_out(now);
    }

    pub(crate) fn leads_to(&self, peer: PeerId, path: &str) -> bool {
        self.manager.leads_to(peer, path)
    }

    pub(crate) fn disconnect(&mut self, peer: PeerId, now: Monotonic) {
        self.wanted.remove(&peer);
        self.ending.remove(&peer);
        self.manager.disconnect(peer);
        self.carry_out(now);
    }

    pub(crate) fn depart(&mut self, peer: PeerId, now: Monotonic) {
        self.wanted.remove(&peer);
        self.ending.remove(&peer);
        self.manager.depart(peer);
        self.carry_out(now);
    }

    /// A peer has registered again. It may be one now that acknowledges, and was none.
    pub(crate) fn registered(&mut self, peer: PeerId) {
        self.forget_acknowledged(peer);
        for socket in self.sockets.values_mut().filter(|socket| socket.peer == peer) {
            socket.taken = None;
        }
    }

    pub(crate) fn forget_acknowledged(&mut self, peer: PeerId) {
        self.acknowledged.retain(|(of, _), _| *of != peer);
    }

    pub(crate) fn watch_named(&mut self, peer: PeerId, pid: u32, now: Monotonic) {
        self.manager.watch_named(peer, pid);
        self.carry_out(now);
    }

    pub(crate) fn announced(&mut self, peer: PeerId) {
        self.manager.announced(peer);
        for socket in self.sockets.values_mut().filter(|socket| socket.peer == peer) {
            socket.announced = true;
        }
    }

    pub(crate) fn add(&mut self, push: &Push) {
        self.manager.add(push);
    }

    pub(crate) fn take_news(&mut self) -> Vec<News> {
        let news = self.manager.take_news();
        for (at, it) in news.iter().enumerate() {
            match *it {
                News::Acknowledged(peer, id) => {
                    self.acknowledged.entry((peer, id)).or_insert(self.connections);
                    assert!(!self.gone.contains(&peer), "{peer} said that before its end");
                }
                News::Up(peer, known) => {
                    self.gone.remove(&peer);
                    let mut later = news.iter().skip(at + 1);
                    if later.any(|it| matches!(it, News::Up(of, _) if *of == peer)) {
                        // What can be seen now is of another connection.
                        continue;
                    }
                    let pid = self.of(peer).and_then(|key| self.sockets[&key].pid);
                    let is_watched = self.watches.values().any(|watched| Some(*watched) == pid);
                    assert!(is_watched || !known || self.of(peer).is_none(), "another's process");
                    let doubtful = known && self.doubtful.contains(&peer);
                    assert!(!doubtful, "its process may be another by now");
                }
                News::Ended(peer) => {
                    self.gone.insert(peer);
                    self.ending.remove(&peer);
                    let mut open = self.sockets.values().filter(|socket| socket.peer == peer);
                    assert!(
                        open.all(|socket| socket.back.len() <= socket.of_child),
                        "{peer} said more before its end"
                    );
                    self.met.insert("a process ended");
                }
                News::NamedEnded(_) => {
                    self.met.insert("a named process ended");
                }
                _ => {}
            }
        }
        news
    }

    // What the system does

    /// A process listens where the core wants to connect to, if none does.
    pub(crate) fn listen(&mut self, peer: PeerId) {
        let Some((path, _)) = self.wanted.get(&peer) else { return };
        if !self.listeners.contains_key(path) {
            self.listeners.insert(path.clone(), self.next_pid);
            self.next_pid += 1;
        }
    }

    fn of(&self, peer: PeerId) -> Option<Key> {
        self.sockets.iter().find(|(_, socket)| socket.peer == peer).map(|(key, _)| *key)
    }

    /// A peer closes its end, and goes on to listen or not.
    pub(crate) fn hang_up(&mut self, peer: PeerId) {
        if let Some(key) = self.of(peer) {
            self.close(key);
            if self.rng.chance(30) {
                let path = self.wanted.get(&peer).map(|(path, _)| path.clone());
                path.and_then(|path| self.listeners.remove(&path));
            }
        }
    }

    fn close(&mut self, key: Key) {
        if let Some(socket) = self.sockets.get_mut(&key) {
            socket.hung_up = true;
            // What it had not said it says no more.
            socket.to_say.clear();
            self.events.push((key, Ready { readable: true, closed: true, writable: socket.armed }));
        }
    }

    /// The process that listens for a peer ends: its connection does so before, after, or not at
    /// all, since a child has it, too.
    pub(crate) fn process_ended(&mut self, peer: PeerId, now: Monotonic) {
        if let Some((path, _)) = self.wanted.get(&peer) {
            self.listeners.remove(path);
        }
        let Some(key) = self.of(peer) else { return };
        let (pid, open) = (self.sockets[&key].pid, !self.sockets[&key].hung_up);
        let socket = self.sockets.get_mut(&key).unwrap();
        if open && !socket.to_say.is_empty() {
            // Its last words.
            socket.back.append(&mut socket.to_say);
            self.events.push((key, Ready { readable: true, ..Ready::default() }));
        }
        let watches = self.watches.iter().filter(|(_, watched)| Some(**watched) == pid);
        let watches: Vec<Key> = watches.map(|(key, _)| *key).collect();
        match self.rng.below(4) {
            0 => {
                self.close(key);
                self.poll(now);
                self.ended.extend(watches);
                self.met.insert("a process ended after its connection");
            }
            1 => {
                self.ended.extend(watches);
                self.poll(now);
                self.close(key);
            }
            2 if open => {
                self.ended.extend(watches);
                // More than is listened to.
                let words = [0, 10, 20_000, 400_000][self.rng.below(4)];
                let socket = self.sockets.get_mut(&key).unwrap();
                socket.back.extend(std::iter::repeat_n(b'\n', words));
                socket.of_child += words;
                if words > 0 {
                    self.events.push((key, Ready { readable: true, ..Ready::default() }));
                }
                self.met.insert("a child has the connection");
            }
            _ => {
                self.close(key);
                self.ended.extend(watches);
            }
        }
    }

    /// The process ends of which a peer has said that it is it.
    pub(crate) fn named_ended(&mut self, peer: PeerId) {
        let is_it = |(key, pid): &(&Key, &u32)| {
            **pid < FIRST_PID && self.manager.watch_of(**key).is_some_and(|(of, _)| of == peer)
        };
        self.ended.extend(self.watches.iter().find(is_it).map(|(key, _)| *key));
    }

    /// A peer takes so many frames from its socket and a part of the next, and acknowledges what it
    /// has taken, by and by.
    pub(crate) fn read(&mut self, peer: PeerId, frames: usize, seen: &mut Seen) {
        let calm = self.calm;
        let Some(key) = self.of(peer) else { return };
        let Some(socket) = self.sockets.get_mut(&key).filter(|socket| !socket.hung_up) else {
            return;
        };
        let mut whole = 0;
        while whole < frames {
            let Some(byte) = socket.out.pop_front() else { break };
            if byte != b'\n' {
                socket.line.push(byte);
                continue;
            }
            whole += 1;
            let line = std::mem::take(&mut socket.line);
            let frame = read_frame(&line).expect("a frame");
            seen.pushed.push((peer, String::from_utf8(line).unwrap()));
            if let Frame::Message(pushed) = frame {
                let is_new = socket.taken.as_mut().is_none_or(|taken| taken.insert(pushed.seq));
                assert!(is_new, "{} comes twice", pushed.message_id);
                let known = self.acknowledged.get(&(peer, pushed.message_id));
                assert!(
                    known.is_none_or(|since| *since >= socket.number),
                    "{} comes again though it was acknowledged",
                    pushed.message_id
                );
                seen.taken.push((peer, pushed.message_id));
                socket.to_say.extend(format!("{{\"ack\":\"{}\"}}\n", pushed.message_id).bytes());
            }
        }
        for _ in 0..self.rng.below(40) {
            if let Some(b'\n') | None = socket.out.front() {
                break;
            }
            socket.line.extend(socket.out.pop_front());
        }
        let all = socket.to_say.len();
        let part = if calm || self.rng.chance(60) { all } else { self.rng.below(all + 1) };
        socket.back.extend(socket.to_say.drain(..part));
        let readable = part > 0;
        let writable = socket.armed && socket.out.len() < socket.room;
        if readable || writable {
            self.events.push((key, Ready { readable, writable, closed: false }));
        }
    }

    // The loop

    /// What the broker's loop does before each turn: events, what peers have said, alarms.
    pub(crate) fn poll(&mut self, now: Monotonic) {
        let mut events = std::mem::take(&mut self.events);
        let mut ended = std::mem::take(&mut self.ended);
        while !events.is_empty() || !ended.is_empty() {
            // In any order.
            if !ended.is_empty() && (events.is_empty() || self.rng.chance(50)) {
                let key = ended.remove(self.rng.below(ended.len()));
                // A late event may be one of a watch that is there no more.
                let watched = self.watches.get(&key).filter(|pid| **pid >= FIRST_PID);
                let of = watched.and_then(|_| self.manager.watch_of(key));
                self.ending.extend(of.map(|(peer, _)| peer));
                self.manager.process_ended(key);
            } else {
                let (key, ready) = events.remove(self.rng.below(events.len()));
                self.manager.ready(key, ready);
            }
            self.carry_out(now);
        }
        for _ in 0..self.manager.reads() {
            let Some(key) = self.manager.next_read() else { break };
            self.hear(key, now);
            self.carry_out(now);
        }
        while let Some((at, peer)) = self.alarms.first().copied().filter(|(at, _)| *at <= now) {
            self.alarms.remove(&(at, peer));
            self.manager.retry(peer, now);
            self.carry_out(now);
        }
    }

    fn hear(&mut self, key: Key, now: Monotonic) {
        let scratch = [7, 1_000, 65_536][self.rng.below(3)];
        loop {
            let wanted = self.manager.wants(key, scratch);
            let Some(socket) = self.sockets.get_mut(&key).filter(|_| wanted > 0) else { return };
            let bytes: Vec<u8> = socket.back.drain(..wanted.min(socket.back.len())).collect();
            if !bytes.is_empty() {
                self.manager.heard(key, &bytes);
            } else if socket.hung_up {
                return self.manager.lost(key, now);
            } else {
                return self.manager.heard_all(key);
            }
        }
    }

    /// Does what the manager says.
    pub(crate) fn carry_out(&mut self, now: Monotonic) {
        while let Some(output) = self.manager.next_output() {
            match output {
                Output::Connect(key) => self.open(key, now),
                Output::Watch(key) => {
                    let (_, pid) = self.manager.watch_of(key).unwrap();
                    // One that was named may be anybody, or nobody.
                    let runs = pid >= FIRST_PID || pid % 2 == 0;
                    let is_watched = runs && !self.fails(5);
                    if is_watched {
                        self.watches.insert(key, pid);
                    }
                    self.manager.watched(key, is_watched);
                }
                Output::Settle(key) => {
                    let socket = self.sockets.get_mut(&key).unwrap();
                    let hung_up = socket.hung_up || !socket.back.is_empty();
                    let peer = socket.peer;
                    if hung_up {
                        self.doubtful.insert(peer);
                    } else {
                        self.doubtful.remove(&peer);
                    }
                    self.manager.settled(key, hung_up);
                    if !hung_up && self.fails(5) {
                        self.met.insert("hung up right after it was connected");
                        self.close(key);
                    }
                }
                Output::Write(key) => self.write(key, now),
                Output::Interest { connection, writable } => {
                    let socket = self.sockets.get_mut(&connection).unwrap();
                    assert_ne!(socket.armed, writable, "that is known");
                    socket.armed = writable;
                    if self.fails(1) {
                        self.manager.lost(connection, now);
                    }
                }
                Output::Close(key) => {
                    let socket = self.sockets.remove(&key).expect("what is closed was open");
                    if !socket.out.is_empty() && socket.hung_up {
                        self.met.insert("lost between a write and an acknowledgement");
                    }
                }
                Output::Unwatch(key) => {
                    self.watches.remove(&key);
                }
                Output::SetAlarm(peer, at) => {
                    let has_one = self.alarms.iter().any(|(_, other)| *other == peer);
                    assert!(!has_one && at > now, "one alarm for each peer, and later");
                    self.alarms.insert((at, peer));
                }
                Output::CancelAlarm(peer, at) => {
                    assert!(self.alarms.remove(&(at, peer)), "there is such an alarm");
                }
                Output::Strange(..) => panic!("nobody says anything strange"),
            }
        }
    }

    fn open(&mut self, key: Key, now: Monotonic) {
        let (peer, path) = self.manager.way(key).expect("what is to be opened");
        let (wanted, tries) = self.wanted.get_mut(&peer).expect("the core wants it");
        assert_eq!(path, &**wanted, "the last path that the core was given");
        *tries += 1;
        let listener = self.listeners.get(path).copied();
        let Some(pid) = listener.filter(|_| !self.rng.chance(15) || self.calm) else {
            self.met.insert("refused");
            return self.manager.refused(key, now);
        };
        let pid = if self.fails(10) { None } else { Some(pid) };
        self.connections += 1;
        let room =
            if self.calm { usize::MAX } else { [60, 700, 9_000, 300_000][self.rng.below(4)] };
        let socket = Socket {
            peer,
            pid,
            out: VecDeque::new(),
            room,
            back: VecDeque::new(),
            to_say: VecDeque::new(),
            of_child: 0,
            hung_up: false,
            armed: false,
            announced: false,
            line: Vec::new(),
            taken: Some(BTreeSet::new()),
            number: self.connections,
        };
        self.sockets.insert(key, socket);
        if self.fails(5) {
            self.met.insert("lost before the first byte");
            self.close(key);
        }
        self.manager.connected(key, pid);
    }

    fn write(&mut self, key: Key, now: Monotonic) {
        while let Some(pieces) = self.manager.to_write(key) {
            let socket = self.sockets.get_mut(&key).expect("what is written to is open");
            assert!(socket.announced, "the core knows of it");
            let room = socket.room.saturating_sub(socket.out.len());
            let most = if self.calm { room } else { room.min(1 + self.rng.below(3_000)) };
            if socket.hung_up {
                self.met.insert("lost by a write");
                return self.manager.lost(key, now);
            }
            if room == 0 {
                self.met.insert("blocked");
                return self.manager.blocked(key);
            }
            let bytes = pieces.take(FRAMES_PER_WRITE_MAX).flatten().copied().take(most);
            let before = socket.out.len();
            socket.out.extend(bytes);
            let written = socket.out.len() - before;
            let is_part = socket.out.back() != Some(&b'\n');
            self.manager.wrote(key, written);
            if self.fails(1) {
                if is_part {
                    self.met.insert("lost in the middle of a frame");
                }
                self.close(key);
            }
        }
    }

    /// What must hold between turns.
    pub(crate) fn check(&self) {
        self.manager.check();
        let open = self.sockets.len() + self.watches.len();
        assert_eq!(open, self.manager.descriptors(), "what is open is known");
        for (peer, (path, tries)) in &self.wanted {
            let is_open = self.of(*peer).is_some();
            let waits = self.alarms.iter().any(|(_, other)| other == peer);
            let given_up = *tries >= CONNECT_ATTEMPTS_MAX || self.gone.contains(peer);
            assert!(is_open || waits || given_up, "{peer} at {path} was forgotten");
            assert!(!(is_open && waits), "{peer} is connected, and is to be tried again");
        }
        assert!(self.manager.is_busy() || self.ending.is_empty(), "it is told that they ended");
        for (_, peer) in &self.alarms {
            assert!(self.wanted.contains_key(peer), "nobody wants a connection to {peer}");
        }
    }
}
