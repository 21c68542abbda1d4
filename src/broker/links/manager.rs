//! What decides about the ways to peers: when to connect to whose socket and when to try again, which
//! process to watch, what is written and how much is read, and what the core is told of it.
//!
//! [`Manager`] knows no socket, no poll and no clock. What has happened goes in, what is to be done
//! comes out as [`Output`]s, in order, and each that asks for something is answered by another input:
//!
//! | output | what is told of it |
//! |---|---|
//! | [`Output::Connect`] | [`Manager::connected`] or [`Manager::refused`] |
//! | [`Output::Watch`] | [`Manager::watched`] |
//! | [`Output::Settle`] | [`Manager::settled`] |
//! | [`Output::Write`] | for each [`Manager::to_write`]: [`Manager::wrote`], [`Manager::blocked`] or [`Manager::lost`] |
//!
//! Connections and watches have a [`Key`], which is never given twice: what is told of one that is
//! not there any more changes nothing.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use super::push::{Frame, Heard, Pieces, PushConnection, Stage};
use crate::broker::table::{Key, Table};
use crate::limits::{
    BACKOFF_MAX, BACKOFF_MIN, CONNECT_ATTEMPTS_MAX, PUSH_READ_BYTES_MAX, PUSH_READ_BYTES_PER_TURN,
};
use crate::mesh::{Push, PushTarget};
use crate::model::{MessageId, Monotonic, PeerId, Seq};

/// What is to be done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect to the socket that [`Manager::way`] names.
    Connect(Key),
    /// Watch the process that [`Manager::watch_of`] names.
    Watch(Key),
    /// Say whether the other end of this connection has hung up by now.
    Settle(Key),
    /// Write what there is for this connection.
    Write(Key),
    /// Tell from now on when this connection can be written to, or no more.
    Interest {
        /// The connection.
        connection: Key,
        /// Whether that is of interest.
        writable: bool,
    },
    /// Close this connection, if it is open.
    Close(Key),
    /// End this watch, if there is one.
    Unwatch(Key),
    /// Call [`Manager::retry`] for this peer at that time.
    SetAlarm(PeerId, Monotonic),
    /// Do not, at that time.
    CancelAlarm(PeerId, Monotonic),
    /// For the log: a peer has written so many lines that are no acknowledgement.
    Strange(PeerId, u32),
}

/// What has happened, for the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// There is a connection to this peer; its process is watched, or not.
    Up(PeerId, bool),
    /// The process that listens on this peer's socket.
    Listens(PeerId, u32),
    /// There is none any more.
    Down(PeerId),
    /// Whether its process is watched has changed.
    Process(PeerId, bool),
    /// Its process has ended, and all that it said before was told.
    Ended(PeerId),
    /// The process that it said it is has ended.
    NamedEnded(PeerId),
    /// It has acknowledged a message.
    Acknowledged(PeerId, MessageId),
    /// A frame with a message is out.
    Written(PeerId, Seq),
    /// The process of its agent runs, and is above the one that listens on its socket.
    AgentLives(PeerId),
    /// The process of its agent has ended.
    AgentEnded(PeerId),
}

/// What the poll has said of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// There may be something to read.
    pub readable: bool,
    /// It can be written to again.
    pub writable: bool,
    /// The other end has hung up, or there is an error: all that it said before can still be read.
    pub closed: bool,
}

/// What is known of the way to a peer.
#[derive(Debug)]
struct Link {
    path: Box<str>,
    connection: Option<Key>,
    watch: Option<Key>,
    /// Attempts since the last heartbeat, or the last connection that lasted.
    attempts: u32,
    /// When it was last connected.
    since: Monotonic,
    alarm: Option<Monotonic>,
}

/// A watch on the process of a peer.
#[derive(Clone, Copy, Debug)]
struct Watch {
    peer: PeerId,
    pid: u32,
    /// The peer only said that it is this one.
    named: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Manager {
    links: HashMap<PeerId, Link>,
    /// Watches on processes that peers said they are, where no connection tells.
    named: HashMap<PeerId, Key>,
    connections: Table<PushConnection>,
    watches: Table<Watch>,
    /// Connections that may have something to say, each once.
    unread: VecDeque<Key>,
    outputs: VecDeque<Output>,
    /// What has happened since it was last asked.
    news: Vec<News>,
    /// Where the jitter of pauses comes from.
    random: u64,
}

impl Manager {
    /// Without any link. `seed`: any number, best a random one, for the jitter of the pauses between
    /// attempts.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            links: HashMap::new(),
            named: HashMap::new(),
            connections: Table::new(),
            watches: Table::new(),
            unread: VecDeque::new(),
            outputs: VecDeque::new(),
            news: Vec::new(),
            random: seed,
        }
    }

    /// What is to be done next.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What has happened since the last call.
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Whether there is something to tell or to read without waiting for an event.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.news.is_empty() || !self.unread.is_empty()
    }

    /// Connections and watches: descriptors in use, once all outputs are done.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        self.connections.len() + self.watches.len()
    }

    // Connecting

    /// Connects to a peer, or begins anew with its attempts.
    pub fn connect(&mut self, peer: PeerId, path: Box<str>, now: Monotonic) {
        match self.links.get_mut(&peer) {
            Some(link) if link.path == path => {
                link.attempts = 0;
                self.cancel_alarm(peer);
            }
            known => {
                if known.is_some() {
                    self.disconnect(peer);
                }
                let (connection, watch, alarm) = (None, None, None);
                let link = Link { path, connection, watch, attempts: 0, since: now, alarm };
                self.links.insert(peer, link);
            }
        }
        self.try_now(peer, now);
    }

    /// Whether the way to a peer is this socket.
    #[must_use]
    pub fn leads_to(&self, peer: PeerId, path: &str) -> bool {
        self.links.get(&peer).is_some_and(|link| *link.path == *path)
    }

    /// The socket of a peer is of no more use to it, nor is the process there.
    pub fn disconnect(&mut self, peer: PeerId) {
        self.forget(peer);
        self.news.push(News::Process(peer, false));
    }

    /// A peer is no longer present, nor is it told of its process from here on.
    pub fn depart(&mut self, peer: PeerId) {
        self.forget(peer);
        self.drop_named(peer);
        self.news.push(News::Process(peer, false));
    }

    /// The time for another attempt has come.
    pub fn retry(&mut self, peer: PeerId, now: Monotonic) {
        if let Some(link) = self.links.get_mut(&peer) {
            link.alarm = None;
            self.try_now(peer, now);
        }
    }

    fn try_now(&mut self, peer: PeerId, now: Monotonic) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        if link.connection.is_some() {
            // The core asks for what it does not know yet.
            return;
        }
        link.attempts += 1;
        link.since = now;
        let key = self.connections.insert(PushConnection::new(peer));
        link.connection = Some(key);
        self.outputs.push_back(Output::Connect(key));
    }

    /// Whose socket a connection is to, and its path as the peer gave it.
    #[must_use]
    pub fn way(&self, connection: Key) -> Option<(PeerId, &str)> {
        let peer = self.connections.get(connection)?.peer;
        self.links.get(&peer).map(|link| (peer, &*link.path))
    }

    /// It is connected, and this process listens there, if the kernel tells.
    pub fn connected(&mut self, connection: Key, pid: Option<u32>) {
        let Some(push) = self.connections.get_mut(connection) else {
            // It took too long.
            self.outputs.push_back(Output::Close(connection));
            return;
        };
        push.marks.pid = pid;
        let peer = push.peer;
        self.watch(peer, pid);
        // Peers speak when spoken to. One that has hung up already may have ended before it was
        // watched, and its process id may be another's by now.
        self.outputs.push_back(Output::Settle(connection));
    }

    /// Nobody listens there, or none that may be connected to.
    pub fn refused(&mut self, connection: Key, now: Monotonic) {
        let Some(push) = self.connections.remove(connection) else { return };
        if let Some(link) = self.links.get_mut(&push.peer) {
            link.connection = None;
        }
        self.back_off(push.peer, now);
    }

    /// Whether the other end of a new connection has hung up since it was made.
    pub fn settled(&mut self, connection: Key, hung_up: bool) {
        let Some(push) = self.connections.get_mut(connection) else { return };
        push.marks.stage = Stage::Up;
        let (peer, pid) = (push.peer, push.marks.pid);
        if hung_up {
            self.drop_watch(peer);
        }
        let known = self.links.get(&peer).is_some_and(|link| link.watch.is_some());
        self.news.push(News::Up(peer, known));
        self.news.extend(pid.map(|pid| News::Listens(peer, pid)));
    }

    fn back_off(&mut self, peer: PeerId, now: Monotonic) {
        let random = self.next_random();
        self.cancel_alarm(peer);
        let Some(link) = self.links.get_mut(&peer) else { return };
        if link.attempts < CONNECT_ATTEMPTS_MAX {
            let at = now.plus(pause(link.attempts, random));
            link.alarm = Some(at);
            self.outputs.push_back(Output::SetAlarm(peer, at));
        }
    }

    fn cancel_alarm(&mut self, peer: PeerId) {
        if let Some(at) = self.links.get_mut(&peer).and_then(|link| link.alarm.take()) {
            self.outputs.push_back(Output::CancelAlarm(peer, at));
        }
    }

    /// `SplitMix64` (Steele, Lea, Flood 2014), of which a byte is used.
    fn next_random(&mut self) -> u8 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z.to_le_bytes().last().copied().unwrap_or_default()
    }

    // Processes

    /// Watches the process at the other end, unless that is done already.
    fn watch(&mut self, peer: PeerId, pid: Option<u32>) {
        let present = self.links.get(&peer).and_then(|link| link.watch);
        if let Some(watch) = present.and_then(|key| self.watches.get(key)) {
            if Some(watch.pid) == pid {
                return;
            }
            self.drop_watch(peer);
        }
        let Some(pid) = pid else { return };
        let Some(link) = self.links.get_mut(&peer) else { return };
        let watch = self.watches.insert(Watch { peer, pid, named: false });
        link.watch = Some(watch);
        self.outputs.push_back(Output::Watch(watch));
    }

    /// Watches the process that a peer says it is, unless the right one is watched. One that is not
    /// there, or cannot be watched, tells nothing.
    pub fn watch_named(&mut self, peer: PeerId, pid: u32) {
        self.drop_named(peer);
        if self.links.get(&peer).is_some_and(|link| link.watch.is_some()) {
            return;
        }
        let watch = self.watches.insert(Watch { peer, pid, named: true });
        self.named.insert(peer, watch);
        self.outputs.push_back(Output::Watch(watch));
    }

    /// For whom a watch is, and which process.
    #[must_use]
    pub fn watch_of(&self, watch: Key) -> Option<(PeerId, u32)> {
        self.watches.get(watch).map(|watch| (watch.peer, watch.pid))
    }

    /// Whether there is such a process, and it is watched.
    pub fn watched(&mut self, watch: Key, is_watched: bool) {
        let Some(Watch { peer, named, .. }) = self.watches.get(watch).copied() else {
            self.outputs.push_back(Output::Unwatch(watch));
            return;
        };
        match (is_watched, named) {
            (true, true) => {}
            // What it said does not matter any more, or leads nowhere.
            (true, false) | (false, true) => self.drop_named(peer),
            (false, false) => self.drop_watch(peer),
        }
    }

    /// The process of a peer has ended. What it said before is read first, so that is told when all
    /// of it was [heard](Self::heard).
    pub fn process_ended(&mut self, watch: Key) {
        let Some(Watch { peer, named, .. }) = self.watches.get(watch).copied() else { return };
        if named {
            self.drop_named(peer);
            self.news.push(News::NamedEnded(peer));
            return;
        }
        let connection = self.links.get(&peer).and_then(|link| link.connection);
        match connection.and_then(|key| Some((key, self.connections.get_mut(key)?))) {
            Some((key, push)) if push.marks.stage >= Stage::Up => {
                push.note_ended();
                self.note_unread(key);
            }
            _ => self.news.push(News::Ended(peer)),
        }
    }

    // Frames

    /// The core knows of the connection to this peer.
    pub fn announced(&mut self, peer: PeerId) {
        if let Some(key) = self.links.get(&peer).and_then(|link| link.connection)
            && let Some(push) = self.connections.get_mut(key)
            && push.marks.stage == Stage::Up
        {
            push.marks.stage = Stage::Announced;
        }
    }

    /// The peers of whose connections the core knows.
    pub fn announced_peers(&self) -> impl Iterator<Item = PeerId> {
        let all = self.connections.iter().map(|(_, push)| push);
        all.filter(|push| push.marks.stage == Stage::Announced).map(|push| push.peer)
    }

    /// Takes a frame for those it is for. It is sent with the outputs, together with others that are
    /// added before these are done.
    pub fn add(&mut self, push: &Push) {
        let outputs = &mut self.outputs;
        let mut add = |key: Key, connection: &mut PushConnection| {
            let PushConnection { marks, .. } = connection;
            if marks.stage != Stage::Announced {
                return;
            }
            // One that is blocked waits for its event.
            if !marks.blocked && !std::mem::replace(&mut marks.writing, true) {
                outputs.push_back(Output::Write(key));
            }
            let bytes = Rc::clone(push.frame.line());
            connection.add(Frame { bytes, message: push.frame.message() });
        };
        match push.to {
            PushTarget::One(peer) => {
                let key = self.links.get(&peer).and_then(|link| link.connection);
                if let Some((key, connection)) =
                    key.and_then(|key| Some((key, self.connections.get_mut(key)?)))
                {
                    add(key, connection);
                }
            }
            PushTarget::AllBut(but) => {
                for (key, connection) in self.connections.iter_mut() {
                    if Some(connection.peer) != but {
                        add(key, connection);
                    }
                }
            }
        }
    }

    /// Whether frames wait to be taken.
    #[must_use]
    pub fn has_frames(&self) -> bool {
        self.connections.iter().any(|(_, push)| push.has_frames())
    }

    /// What is to be written to a connection next, as much as is taken of it. None once all is out.
    #[must_use]
    pub fn to_write(&self, connection: Key) -> Option<Pieces<'_>> {
        self.connections.get(connection)?.to_write()
    }

    /// So many bytes were written; there may be room for more.
    pub fn wrote(&mut self, connection: Key, bytes: usize) {
        let Some(push) = self.connections.get_mut(connection) else { return };
        let (peer, news) = (push.peer, &mut self.news);
        push.wrote(bytes, |seq| news.push(News::Written(peer, seq)));
        if !push.has_frames() {
            push.marks.writing = false;
            self.block(connection, false);
        }
    }

    /// It takes no more bytes now.
    pub fn blocked(&mut self, connection: Key) {
        if let Some(push) = self.connections.get_mut(connection) {
            push.marks.writing = false;
            self.block(connection, true);
        }
    }

    fn block(&mut self, connection: Key, blocked: bool) {
        let Some(push) = self.connections.get_mut(connection) else { return };
        if std::mem::replace(&mut push.marks.blocked, blocked) != blocked {
            self.outputs.push_back(Output::Interest { connection, writable: blocked });
        }
    }

    // Events

    /// Something has happened to a connection; reading is due.
    pub fn ready(&mut self, connection: Key, ready: Ready) {
        let Some(push) = self.connections.get_mut(connection) else { return };
        if ready.closed {
            push.note_hung_up();
        }
        if ready.writable && push.has_frames() && !std::mem::replace(&mut push.marks.writing, true)
        {
            self.outputs.push_back(Output::Write(connection));
        }
        if ready.readable || ready.closed {
            self.note_unread(connection);
        }
    }

    fn note_unread(&mut self, connection: Key) {
        if let Some(push) = self.connections.get_mut(connection)
            && !std::mem::replace(&mut push.marks.unread, true)
        {
            self.unread.push_back(connection);
        }
    }

    /// How many connections are read in this turn: of all together no more than one turn may take.
    /// The others come first in the next, and those that have more to say come behind them.
    #[must_use]
    pub fn reads(&self) -> usize {
        self.unread.len().min(PUSH_READ_BYTES_PER_TURN / PUSH_READ_BYTES_MAX)
    }

    /// The next connection that is to be read, as long as [`Manager::wants`] says so.
    pub fn next_read(&mut self) -> Option<Key> {
        let key = self.unread.pop_front()?;
        if let Some(push) = self.connections.get_mut(key) {
            push.marks.unread = false;
            push.begin_reading();
            if push.wants(1) == 0 {
                // Its last words were heard.
                self.heard_all(key);
            }
        }
        Some(key)
    }

    /// How much of a connection is to be read next, at most `at_most`, bytes; 0: nothing.
    pub fn wants(&mut self, connection: Key, at_most: usize) -> usize {
        self.connections.get_mut(connection).map_or(0, |push| push.wants(at_most))
    }

    /// What was read, and not nothing.
    pub fn heard(&mut self, connection: Key, bytes: &[u8]) {
        let Some(push) = self.connections.get_mut(connection) else { return };
        let (peer, news) = (push.peer, &mut self.news);
        let mut strange = 0;
        let heard = push.heard(bytes, &mut strange, |id| news.push(News::Acknowledged(peer, id)));
        if strange > 0 {
            self.outputs.push_back(Output::Strange(peer, strange));
        }
        match heard {
            Heard::More => {}
            Heard::Share => self.note_unread(connection),
            Heard::All => self.heard_all(connection),
        }
    }

    /// There is nothing more to read now.
    pub fn heard_all(&mut self, connection: Key) {
        let Some(push) = self.connections.get_mut(connection) else { return };
        push.heard_all();
        if push.has_ended() {
            self.news.push(News::Ended(push.peer));
        }
    }

    /// A connection has ended: perhaps the peer comes back.
    pub fn lost(&mut self, connection: Key, now: Monotonic) {
        let Some(push) = self.connections.get(connection) else { return };
        let (peer, process_ended) = (push.peer, push.has_ended());
        self.drop_connection(peer);
        if process_ended {
            self.news.push(News::Ended(peer));
            return;
        }
        if let Some(link) = self.links.get_mut(&peer) {
            // One that hangs up as soon as it is connected to is not tried without end.
            let lasted = now.since(link.since) >= BACKOFF_MAX;
            link.attempts = if lasted { 1 } else { link.attempts.max(1) };
        }
        self.back_off(peer, now);
    }

    // Ends

    fn forget(&mut self, peer: PeerId) {
        self.drop_connection(peer);
        self.drop_watch(peer);
        self.cancel_alarm(peer);
        self.links.remove(&peer);
    }

    fn drop_connection(&mut self, peer: PeerId) {
        let Some(key) = self.links.get_mut(&peer).and_then(|link| link.connection.take()) else {
            return;
        };
        if let Some(push) = self.connections.remove(key) {
            self.outputs.push_back(Output::Close(key));
            if push.marks.stage >= Stage::Up {
                self.news.push(News::Down(peer));
            }
        }
    }

    fn drop_watch(&mut self, peer: PeerId) {
        if let Some(key) = self.links.get_mut(&peer).and_then(|link| link.watch.take()) {
            self.end_watch(key);
        }
    }

    fn drop_named(&mut self, peer: PeerId) {
        if let Some(key) = self.named.remove(&peer) {
            self.end_watch(key);
        }
    }

    fn end_watch(&mut self, watch: Key) {
        if self.watches.remove(watch).is_some() {
            self.outputs.push_back(Output::Unwatch(watch));
        }
    }

    /// Checks what always holds between inputs.
    ///
    /// # Panics
    /// If it does not. For tests: it costs.
    pub fn check(&self) {
        for (key, push) in self.connections.iter() {
            let link = self.links.get(&push.peer).and_then(|link| link.connection);
            assert_eq!(link, Some(key), "the connection to {} is nobody's", push.peer);
            let waits = push.marks.writing || push.marks.blocked;
            assert_eq!(push.has_frames(), waits, "frames to {} are on their way", push.peer);
        }
        for (key, watch) in self.watches.iter() {
            let link = self.links.get(&watch.peer).and_then(|link| link.watch);
            let named = self.named.get(&watch.peer).copied();
            let its = if watch.named { named } else { link };
            assert_eq!(its, Some(key), "{watch:?} is nobody's");
        }
    }
}

/// The pause after so many attempts in vain: it doubles, and `jitter` (0 to 255) takes away up to a
/// half, so that many peers are not tried in step.
fn pause(attempts: u32, jitter: u8) -> Duration {
    let doubled = BACKOFF_MIN.saturating_mul(1 << attempts.saturating_sub(1).min(16));
    let full = doubled.min(BACKOFF_MAX);
    full.saturating_sub(full * u32::from(jitter) / 512).max(BACKOFF_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer to which there is no way yet, and the outputs so far.
    fn manager() -> (Manager, PeerId) {
        let peer = PeerId::from_random([1; 16]);
        let mut manager = Manager::new(7);
        manager.connect(peer, "/p".into(), Monotonic::default());
        (manager, peer)
    }

    fn outputs(manager: &mut Manager) -> Vec<Output> {
        std::iter::from_fn(|| manager.next_output()).collect()
    }

    fn to_connect(manager: &mut Manager) -> Key {
        match outputs(manager)[..] {
            [Output::Connect(key)] | [.., Output::Connect(key)] => key,
            ref other => panic!("{other:?}"),
        }
    }

    /// Makes the connection that is asked for, to the process `pid`.
    fn come_up(manager: &mut Manager, pid: u32) -> (Key, Key) {
        let key = to_connect(manager);
        manager.connected(key, Some(pid));
        let [Output::Watch(watch), Output::Settle(settled)] = outputs(manager)[..] else {
            panic!("a process is watched before the connection is looked at")
        };
        assert_eq!((settled, manager.watch_of(watch).map(|(_, pid)| pid)), (key, Some(pid)));
        manager.watched(watch, true);
        manager.settled(key, false);
        (key, watch)
    }

    #[test]
    fn attempts_are_used_up_and_begin_anew_with_a_heartbeat() {
        let (mut manager, peer) = manager();
        let mut now = Monotonic::default();
        for heartbeat in 0..2 {
            for attempt in 1..=CONNECT_ATTEMPTS_MAX {
                let key = to_connect(&mut manager);
                manager.refused(key, now);
                if attempt == CONNECT_ATTEMPTS_MAX {
                    break;
                }
                let [Output::SetAlarm(of, at)] = outputs(&mut manager)[..] else {
                    panic!("attempt {attempt} of heartbeat {heartbeat}")
                };
                assert_eq!((of, at.since(now) >= BACKOFF_MIN), (peer, true));
                now = at;
                manager.retry(peer, now);
            }
            assert_eq!(outputs(&mut manager), [], "that was the last");
            manager.connect(peer, "/p".into(), now);
        }
        // What is to be tried later is tried at once, and not twice.
        let key = to_connect(&mut manager);
        manager.refused(key, now);
        let [alarm @ Output::SetAlarm(_, at)] = outputs(&mut manager)[..] else { panic!("none") };
        assert_eq!(alarm, Output::SetAlarm(peer, at));
        manager.connect(peer, "/p".into(), now);
        let now = outputs(&mut manager);
        assert!(matches!(now[..], [Output::CancelAlarm(_, was), Output::Connect(_)] if was == at));
    }

    #[test]
    fn what_is_told_of_what_is_gone_changes_nothing() {
        let (mut manager, peer) = manager();
        let now = Monotonic::default();
        let late = to_connect(&mut manager);
        manager.connect(peer, "/other".into(), now);
        let (key, watch) = come_up(&mut manager, 5);
        assert_eq!(manager.take_news()[1..], [News::Up(peer, true), News::Listens(peer, 5)]);
        manager.connected(late, Some(4));
        assert_eq!(outputs(&mut manager), [Output::Close(late)]);
        manager.refused(late, now);
        manager.lost(late, now);
        manager.settled(late, true);
        manager.depart(peer);
        assert_eq!(outputs(&mut manager), [Output::Close(key), Output::Unwatch(watch)]);
        assert_eq!(manager.take_news(), [News::Down(peer), News::Process(peer, false)]);
        manager.process_ended(watch);
        manager.retry(peer, now);
        manager.wrote(key, 5);
        manager.blocked(key);
        manager.heard(key, b"x\n");
        manager.ready(key, Ready { readable: true, writable: true, closed: true });
        assert_eq!((outputs(&mut manager), manager.take_news()), (vec![], vec![]));
        assert_eq!((manager.descriptors(), manager.is_busy()), (0, false));
        manager.watched(watch, true);
        assert_eq!(outputs(&mut manager), [Output::Unwatch(watch)], "it came too late");
    }

    #[test]
    fn what_a_process_said_is_heard_before_its_end() {
        let (mut manager, peer) = manager();
        let (key, watch) = come_up(&mut manager, 5);
        manager.take_news();
        manager.process_ended(watch);
        assert_eq!(manager.take_news(), [], "there may be something to read");
        assert_eq!(manager.next_read(), Some(key));
        let id = MessageId::new(Seq(1), [1; 16]);
        let ack = format!("{{\"ack\":\"{id}\"}}\n");
        assert!(manager.wants(key, 1000) > ack.len());
        manager.heard(key, ack.as_bytes());
        manager.lost(key, Monotonic::default());
        let told = [News::Acknowledged(peer, id), News::Down(peer), News::Ended(peer)];
        assert_eq!(manager.take_news(), told);
        assert_eq!(outputs(&mut manager), [Output::Close(key)], "nobody is there to come back");
    }

    #[test]
    fn pauses_grow_to_their_limit_and_jitter_stays_within() {
        let full: Vec<u128> = (1..=10).map(|n| pause(n, 0).as_millis()).collect();
        assert_eq!(full, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        for attempts in [0, 1, 5, 10, u32::MAX] {
            for jitter in [0, 1, 128, 255] {
                let pause = pause(attempts, jitter);
                assert!((BACKOFF_MIN..=BACKOFF_MAX).contains(&pause));
            }
        }
        assert!(pause(8, 255) >= BACKOFF_MAX / 2);
    }
}
