//! The connections of a hub to its machines, with their descriptors. The owner decides who may come in,
//! and what becomes of what they say.
//!
//! Handshakes cost the loop, so there is one flight of one of them in a turn; how many are under way,
//! [`Admission`] says. Nothing is read from a machine that has so much waiting that it has to take that
//! first.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use super::acceptor::accept_waiting;
use super::table::{Key, Table};
use crate::api::Refusal;
use crate::lan;
use crate::lan::admission::Admission;
use crate::lan::channel::{Channel, Ended, Event, Hub, Upgrade};
use crate::limits::{ACCEPT_PAUSE, LINGER_TIME_MAX, MACHINE_OUT_BYTES_MAX, TURN_REQUESTS_MAX};
use crate::log;
use crate::model::Monotonic;
use crate::wire::buffer::Full;

/// What a connection has come to.
#[derive(Debug)]
pub enum Heard<'a> {
    /// A machine at this address asks to be let in: [`Connections::let_in`], [`Connections::refuse`].
    Asks(Upgrade, IpAddr),
    /// A text has come.
    Text(&'a str),
    /// Something else has come: a sign of life.
    Alive,
    /// The connection is over. If it was not let in, nobody but the log has to hear of it.
    Ended(&'a Ended),
}

#[derive(Debug)]
struct Connection {
    channel: Channel<TcpStream>,
    address: IpAddr,
    stage: Stage,
    /// It may have more to read, and stands in the queue.
    is_queued: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Handshake,
    Open,
    /// What was said last may still be read, until then.
    Over(Monotonic),
}

/// See the module.
#[derive(Debug)]
pub struct Connections {
    listener: TcpListener,
    hub: Arc<Hub>,
    /// The token of the connection with a key.
    token: fn(Key) -> Token,
    /// Someone may be waiting. Under edge triggering this must be remembered.
    is_waiting: bool,
    /// There was no descriptor left: not before this.
    paused: Option<Monotonic>,
    table: Table<Connection>,
    admission: Admission<Key>,
    /// Those that may have more to read, in turn.
    queue: VecDeque<Key>,
}

impl Connections {
    /// Those that come in at `listener`, which its owner has registered. Events with the token of a
    /// key are for [`Connections::note_ready`].
    #[must_use]
    pub fn new(listener: TcpListener, hub: Arc<Hub>, token: fn(Key) -> Token) -> Self {
        Self {
            listener,
            hub,
            token,
            is_waiting: false,
            paused: None,
            table: Table::new(),
            admission: Admission::new(),
            queue: VecDeque::new(),
        }
    }

    /// A joined machine came from here, at the latest.
    pub fn joined_from(&mut self, address: IpAddr) {
        self.admission.joined_from(address);
    }

    /// Someone waits at the listener.
    pub fn note_waiting(&mut self) {
        self.is_waiting = true;
    }

    /// A connection may be read or written.
    pub fn note_ready(&mut self, key: Key) {
        if let Some(connection) = self.table.get_mut(key)
            && !std::mem::replace(&mut connection.is_queued, true)
        {
            self.queue.push_back(key);
        }
    }

    /// How many there are, each with a descriptor.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is more to do without waiting for an event.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.queue.is_empty() || self.is_waiting && self.paused.is_none()
    }

    /// When to come again, if no event comes before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        let over = self.table.iter().filter_map(|(_, connection)| match connection.stage {
            Stage::Over(until) => Some(until),
            Stage::Handshake | Stage::Open => None,
        });
        over.chain(self.admission.next_deadline()).chain(self.paused).min()
    }

    /// Accepts who waits, ends what has had its time, and reads: up to a turn's share of each
    /// connection that is open, and one flight of one handshake; no more once `hear` says that it is
    /// enough. Those that were read first have had their share and are read last the next time.
    pub fn turn(
        &mut self,
        registry: &Registry,
        now: Monotonic,
        mut hear: impl FnMut(Key, Heard<'_>) -> ControlFlow<()>,
    ) {
        self.accept(registry, now);
        self.expire(registry, now);
        let mut may_shake = true;
        let mut enough = false;
        for _ in 0..self.queue.len() {
            if enough {
                return;
            }
            let Some(key) = self.queue.pop_front() else { return };
            let Some(connection) = self.table.get_mut(key) else { continue };
            connection.is_queued = false;
            let stage = connection.stage;
            let goes_on = match stage {
                Stage::Handshake if !may_shake => true,
                // It is queued again when it can be written to.
                _ if connection.still_must_write() => false,
                stage => {
                    let goes_on = connection.read(now, |heard| {
                        let flow = hear(key, heard);
                        enough = flow.is_break();
                        flow
                    });
                    may_shake &= !(stage == Stage::Handshake && goes_on);
                    goes_on
                }
            };
            if goes_on {
                self.note_ready(key);
            }
            self.settle(key, registry);
        }
    }

    /// Lets the machine in that asks.
    pub fn let_in(&mut self, key: Key) {
        if let Some(connection) = self.table.get_mut(key)
            && connection.stage == Stage::Handshake
        {
            connection.stage = Stage::Open;
            connection.channel.accept();
            connection.channel.flush();
            self.admission.end(key);
            self.admission.joined_from(connection.address);
            // It may have said more by now.
            self.note_ready(key);
        }
    }

    /// Does not let the machine in that asks.
    pub fn refuse(&mut self, key: Key, refusal: &Refusal, now: Monotonic) {
        self.end(key, now, |channel| channel.refuse(refusal));
    }

    /// Ends a connection, with these words for the machine.
    pub fn close(&mut self, key: Key, code: u16, words: &str, now: Monotonic) {
        self.end(key, now, |channel| channel.close(code, words));
    }

    fn end(&mut self, key: Key, now: Monotonic, how: impl FnOnce(&mut Channel<TcpStream>)) {
        if let Some(connection) = self.table.get_mut(key) {
            how(&mut connection.channel);
            connection.channel.flush();
            connection.stage = Stage::Over(now.plus(LINGER_TIME_MAX));
            self.note_ready(key);
        }
    }

    /// Whether so much waits for this machine that nothing more should be sent to it.
    #[must_use]
    pub fn is_full(&self, key: Key) -> bool {
        self.table
            .get(key)
            .is_none_or(|connection| connection.channel.pending() >= MACHINE_OUT_BYTES_MAX)
    }

    /// Sends a text; it is written with [`Connections::flush`].
    ///
    /// # Errors
    ///
    /// [`Full`] if the connection is not open, or has more waiting than it may.
    pub fn send(&mut self, key: Key, text: &str) -> Result<(), Full> {
        self.table.get_mut(key).ok_or(Full)?.channel.send(text)
    }

    /// Writes what was sent on this connection, as far as it takes it.
    pub fn flush(&mut self, key: Key) {
        if let Some(connection) = self.table.get_mut(key) {
            connection.channel.flush();
        }
    }

    /// Writes what waits on all of them, as far as they take it.
    pub fn flush_all(&mut self) {
        for (_, connection) in self.table.iter_mut() {
            connection.channel.flush();
        }
    }

    /// Whether something waits to be written on any of them.
    #[must_use]
    pub fn has_output(&self) -> bool {
        self.table.iter().any(|(_, connection)| connection.channel.wants_write())
    }

    /// Accepts as many as one turn may.
    fn accept(&mut self, registry: &Registry, now: Monotonic) {
        if !self.is_waiting || self.paused.is_some_and(|until| until > now) {
            return;
        }
        self.paused = None;
        let mut accepted = Vec::new();
        match accept_waiting(|| self.listener.accept(), |one| accepted.push(one)) {
            Ok(is_waiting) => self.is_waiting = is_waiting,
            Err(error) => {
                log::warn(format_args!("cannot accept machines for now: {error}"));
                self.paused = Some(now.plus(ACCEPT_PAUSE));
            }
        }
        for (stream, from) in accepted {
            self.admit(stream, from.ip(), registry, now);
        }
    }

    /// Begins a handshake, or closes the connection if there are too many.
    fn admit(
        &mut self,
        mut stream: TcpStream,
        address: IpAddr,
        registry: &Registry,
        now: Monotonic,
    ) {
        let key = self.table.next_key();
        if self.admission.begin(key, address, now).is_err() {
            return;
        }
        let registered = lan::set_up(&stream).and_then(|()| {
            let interests = Interest::READABLE | Interest::WRITABLE;
            registry.register(&mut stream, (self.token)(key), interests)
        });
        let channel = registered.map(|()| Channel::of_hub(stream, &self.hub));
        let Ok(Ok(channel)) = channel else {
            self.admission.end(key);
            return;
        };
        let stage = Stage::Handshake;
        let key = self.table.insert(Connection { channel, address, stage, is_queued: false });
        self.note_ready(key);
    }

    /// Ends what has had its time.
    fn expire(&mut self, registry: &Registry, now: Monotonic) {
        while let Some(key) = self.admission.expired(now) {
            self.remove(key, registry);
        }
        let over = self.table.iter().filter_map(|(key, connection)| match connection.stage {
            Stage::Over(until) if until <= now => Some(key),
            _ => None,
        });
        for key in over.collect::<Vec<_>>() {
            self.remove(key, registry);
        }
    }

    /// A connection that has come to its end is gone.
    fn settle(&mut self, key: Key, registry: &Registry) {
        let Some(connection) = self.table.get(key) else { return };
        if let Stage::Over(_) = connection.stage {
            self.admission.end(key);
            if connection.channel.is_done() {
                self.remove(key, registry);
            }
        }
    }

    fn remove(&mut self, key: Key, registry: &Registry) {
        if let Some(mut connection) = self.table.remove(key) {
            // It ends with the descriptor.
            let _ = registry.deregister(connection.channel.stream_mut());
            self.admission.end(key);
        }
    }
}

impl Connection {
    /// Writes if it has so much waiting that it has to take of that before it is read, and gives whether
    /// it still has. As soon as it has not, it is read: one that takes much is not taken for silent. What
    /// it has said before it broke is read all the same.
    fn still_must_write(&mut self) -> bool {
        let must = |channel: &Channel<TcpStream>| {
            channel.pending() >= MACHINE_OUT_BYTES_MAX && !channel.is_broken()
        };
        if must(&self.channel) {
            self.channel.flush();
        }
        must(&self.channel)
    }

    /// Reads up to a turn's share. Whether there may be more.
    fn read(&mut self, now: Monotonic, mut hear: impl FnMut(Heard<'_>) -> ControlFlow<()>) -> bool {
        for _ in 0..TURN_REQUESTS_MAX {
            let received = self.channel.received();
            let flow = match self.channel.advance() {
                Ok(Some(Event::Text(text))) => hear(Heard::Text(text)),
                Ok(Some(Event::Upgrade(upgrade))) => {
                    let _ = hear(Heard::Asks(upgrade, self.address));
                    return false;
                }
                Ok(Some(Event::Again)) => return true,
                Ok(Some(Event::Ping | Event::Pong | Event::Open(_))) => hear(Heard::Alive),
                Ok(None) => {
                    if self.stage == Stage::Open && self.channel.received() > received {
                        let _ = hear(Heard::Alive);
                    }
                    return false;
                }
                Err(ended) => {
                    self.stage = Stage::Over(now.plus(LINGER_TIME_MAX));
                    let _ = hear(Heard::Ended(&ended));
                    // What comes behind it is to be read, so that it hears why.
                    return true;
                }
            };
            if flow.is_break() {
                return true;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::{Events, Poll};

    use super::*;
    use crate::api::Code;
    use crate::files::tests::TempDir;
    use crate::lan::channel::{CLOSE_POLICY, Way};
    use crate::lan::key::MachineKey;
    use crate::limits::HANDSHAKES_PER_NETWORK_MAX;

    fn key() -> MachineKey {
        let dir = TempDir::new();
        MachineKey::load_or_make(&dir.path().join("machine.key")).unwrap()
    }

    fn at(ms: u64) -> Monotonic {
        Monotonic(Duration::from_millis(ms))
    }

    const LISTENER: Token = Token(usize::MAX);

    /// A hub with a poll, and relays of which each is a socket.
    struct World {
        hub: MachineKey,
        poll: Poll,
        all: Connections,
        relays: Vec<Channel<std::net::TcpStream>>,
        /// What each relay has heard; what the hub has.
        at_relays: Vec<Vec<String>>,
        at_hub: Vec<(Key, String)>,
    }

    impl World {
        fn new() -> Self {
            let (hub, poll) = (key(), Poll::new().unwrap());
            let mut listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            poll.registry().register(&mut listener, LISTENER, Interest::READABLE).unwrap();
            let at_hub = Arc::new(Hub::new(&hub, None).unwrap());
            let all = Connections::new(listener, at_hub, |key| {
                key.token(super::super::table::Kind::Push)
            });
            let (relays, at_relays, at_hub) = (Vec::new(), Vec::new(), Vec::new());
            Self { hub, poll, all, relays, at_relays, at_hub }
        }

        fn connect(&self) -> std::net::TcpStream {
            let address = self.all.listener.local_addr().unwrap();
            let stream = std::net::TcpStream::connect(address).unwrap();
            stream.set_nonblocking(true).unwrap();
            stream
        }

        fn join(&mut self) {
            let way = Way::Joined(self.hub.id());
            let relay = Channel::of_relay(self.connect(), &key(), way, None, "1.0.0").unwrap();
            self.relays.push(relay);
            self.at_relays.push(Vec::new());
        }

        /// One turn of the hub, and what its relays make of it. Gives how many handshakes went on.
        fn turn(&mut self, now: Monotonic) {
            let mut events = Events::with_capacity(64);
            self.poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
            for event in &events {
                match event.token() {
                    LISTENER => self.all.note_waiting(),
                    token => self.all.note_ready(Key::of(token).unwrap().1),
                }
            }
            let at_hub = &mut self.at_hub;
            self.all.turn(self.poll.registry(), now, |key, heard| {
                match heard {
                    Heard::Text(text) => at_hub.push((key, text.to_owned())),
                    Heard::Asks(..) => at_hub.push((key, "asks".to_owned())),
                    Heard::Alive => {}
                    Heard::Ended(ended) => at_hub.push((key, ended.to_string())),
                }
                ControlFlow::Continue(())
            });
            for (relay, said) in self.relays.iter_mut().zip(&mut self.at_relays) {
                loop {
                    match relay.advance() {
                        Ok(None) => break,
                        Ok(Some(Event::Text(text))) => said.push(text.to_owned()),
                        Ok(Some(Event::Open(_))) => said.push("open".to_owned()),
                        Ok(Some(_)) => {}
                        Err(ended) => said.push(ended.to_string()),
                    }
                }
            }
        }

        /// Turns until there is what is waited for.
        fn until(&mut self, now: Monotonic, mut is_there: impl FnMut(&mut Self) -> bool) {
            for _ in 0..1_000_000 {
                self.turn(now);
                if is_there(self) {
                    return;
                }
            }
            panic!("it does not come: {:?} {:?}", self.at_hub, self.at_relays)
        }
    }

    #[test]
    fn machines_come_in_talk_and_are_sent_away() {
        let mut world = World::new();
        for _ in 0..3 {
            world.join();
        }
        world.until(at(0), |world| world.at_hub.len() == 3);
        assert!(world.at_hub.iter().all(|(_, said)| said == "asks"));
        let keys: Vec<Key> = world.at_hub.drain(..).map(|(key, _)| key).collect();
        world.all.refuse(keys[0], &Refusal::new(Code::Forbidden, "not you"), at(0));
        for key in &keys[1..] {
            assert_eq!(world.all.send(*key, "too early"), Err(Full));
            world.all.let_in(*key);
            world.all.send(*key, "hello").unwrap();
            world.all.flush(*key);
        }
        world.until(at(0), |world| world.at_relays.iter().map(Vec::len).sum::<usize>() == 5);
        world.at_relays.sort();
        let expected = [vec!["not you"], vec!["open", "hello"], vec!["open", "hello"]];
        assert_eq!(world.at_relays, expected);
        for relay in &mut world.relays {
            if relay.is_open() {
                relay.send("there").unwrap();
                relay.flush();
            }
        }
        world.until(at(0), |world| world.at_hub.len() == 2);
        assert!(world.at_hub.drain(..).all(|(key, said)| keys.contains(&key) && said == "there"));
        world.all.close(keys[1], CLOSE_POLICY, "removed", at(0));
        let words = "the other side has closed the connection: removed";
        world.until(at(0), |world| {
            world.at_relays.iter().any(|said| said.last().is_some_and(|last| last == words))
        });
        // Whoever does not hang up is hung up on.
        world.turn(at(1000));
        assert_eq!(world.all.len(), 1);
        assert_eq!(world.all.admission.next_deadline(), None);
    }

    #[test]
    fn one_flight_goes_on_in_a_turn() {
        let mut world = World::new();
        for _ in 0..4 {
            world.join();
        }
        // The first flights of all four are there: each takes a turn.
        world.until(at(0), |world| world.all.len() == 4);
        let mut turns = 0;
        world.until(at(0), |world| {
            turns += 1;
            world.at_hub.len() == 4
        });
        assert!(turns >= 6, "two flights of four machines in {turns} turns");
    }

    #[test]
    fn who_says_nothing_has_five_seconds_and_a_network_its_share() {
        let mut world = World::new();
        let silent: Vec<_> = (0..=HANDSHAKES_PER_NETWORK_MAX).map(|_| world.connect()).collect();
        world.until(at(0), |world| world.all.len() == HANDSHAKES_PER_NETWORK_MAX);
        // The last was accepted and closed.
        let last = silent.last().unwrap();
        let mut closed = false;
        world.until(at(0), |_| {
            closed = matches!(last.peek(&mut [0]), Ok(0)) || last.take_error().unwrap().is_some();
            closed
        });
        assert_eq!(world.all.next_deadline(), Some(at(5000)));
        world.turn(at(4999));
        assert_eq!(world.all.len(), HANDSHAKES_PER_NETWORK_MAX);
        world.turn(at(5000));
        assert!(world.all.is_empty());
        world.join();
        world.until(at(5000), |world| world.at_hub.len() == 1);
    }

    #[test]
    fn a_machine_that_goes_is_heard_of_and_forgotten() {
        let mut world = World::new();
        world.join();
        world.until(at(0), |world| world.at_hub.len() == 1);
        let key = world.at_hub.remove(0).0;
        world.all.let_in(key);
        world.until(at(0), |world| world.at_relays[0].len() == 1);
        world.relays.clear();
        world.until(at(0), |world| world.all.is_empty());
        assert_eq!(world.at_hub.len(), 1);
        assert!(world.all.is_full(key) && world.all.send(key, "x").is_err());
    }
}
