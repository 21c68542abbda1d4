//! The one loop: wait, read, decide, commit, flush.
//!
//! Whatever is ready is read, its requests are applied in one turn of the mesh, and only when that is
//! durable do pushes and then answers leave. Nothing in here blocks but the poll (and the store's
//! commit), and it waits no longer than the first deadline of anyone.
//!
//! All descriptors are registered edge-triggered, once. So whoever could not read or write to the end
//! is remembered: in the queue `ready`, or armed for the event that it can be written to.

mod clients;
mod turns;

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

use mio::net::UnixStream;
use mio::{Events, Interest, Poll};

use super::acceptor::Acceptor;
use super::agents::Agents;
use super::answers::unavailable;
use super::clock::Clock;
use super::connection::Connection;
use super::held::Held;
use super::links::Links;
use super::table::{Key, Kind, Table};
use super::timers::{Alarm, Timers};
use super::turn::Turn;
use crate::limits::{EVENTS_PER_TURN_MAX, LAST_FRAMES_TIME_MAX, READ_BYTES_MAX};
use crate::log;
use crate::mesh::Lost;
use crate::model::{Monotonic, Now, PeerId, Seq};
use crate::platform::Stream;
use crate::store::{Store, StoreError};

/// How long what needs no answer rests after the storage has failed.
const REST: Duration = Duration::from_secs(1);
/// How often the log is told that the storage fails: a full disk fails each turn.
const SILENCE: Duration = Duration::from_secs(60);
/// How long nothing must have happened before the store does what nobody waits for.
const IDLE_BEFORE_CARE: Duration = Duration::from_millis(100);

/// Why the loop has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was asked to, by a signal or a request.
    Stopped,
    /// Nobody was there for too long.
    Idle,
}

impl End {
    /// The reason that peers are told.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Idle => "idle",
        }
    }
}

/// Why the loop cannot go on.
#[derive(Debug)]
pub(super) enum Fatal {
    /// The system does not report events any more.
    Poll(io::Error),
    /// The store cannot even be read again after a failure, nor be repaired.
    Store(StoreError),
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poll(error) => write!(f, "cannot wait for events: {error}"),
            Self::Store(error) => write!(f, "{error}, and cannot go on"),
        }
    }
}

impl From<StoreError> for Fatal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The loop and all it holds.
pub(super) struct Reactor<S> {
    poll: Poll,
    clock: Clock,
    /// None once it stops.
    acceptor: Option<Acceptor>,
    signals: UnixStream,
    turn: Turn<S>,
    connections: Table<Connection<Stream>>,
    /// What all of them have buffered, bytes, and how much that may be.
    buffered: usize,
    buffered_max: usize,
    /// Those that were told that there are too many: the first first.
    refused: VecDeque<Key>,
    /// Connections with something for the next turn.
    ready: VecDeque<Key>,
    held: Held,
    /// Connections whose held request is to be asked again.
    woken: VecDeque<Key>,
    links: Links,
    timers: Timers,
    /// Connections to peers that the core has not been told of, and whether the process is watched.
    came_up: Vec<(PeerId, bool)>,
    /// Peers whose process has ended, of which the core has not been told.
    crashed: Vec<PeerId>,
    /// Those of which it was told in this turn.
    crashed_now: Vec<PeerId>,
    agents: Agents,
    /// Peers whose agent's process has ended, of which the core has not been told, and those of which
    /// it was told in this turn.
    alone: Vec<PeerId>,
    alone_now: Vec<PeerId>,
    /// Locks whose new holders may not have got the answer, and those of which the core was told in
    /// this turn.
    lost: Vec<(Seq, Lost)>,
    lost_now: Vec<(Seq, Lost)>,
    idle_timeout: Option<Duration>,
    idle_since: Option<Monotonic>,
    /// When the store may do what nobody waits for.
    care_at: Option<Monotonic>,
    /// The storage has failed: what needs no answer rests until then.
    resting: Option<Monotonic>,
    /// The last turn that wrote of its own accord, or any since, has failed.
    failing: bool,
    /// That the storage fails was said in the log, and is not said again until then.
    silent_until: Option<Monotonic>,
    end: Option<End>,
    /// What is read goes here first.
    scratch: Box<[u8]>,
}

/// What a [`Reactor`] is made of.
pub(super) struct Parts<S> {
    /// Nothing is registered with it yet.
    pub(super) poll: Poll,
    pub(super) clock: Clock,
    pub(super) acceptor: Acceptor,
    /// Readable when a signal has asked for the end.
    pub(super) signals: UnixStream,
    pub(super) turn: Turn<S>,
    pub(super) links: Links,
    /// Time without peers after which the broker stops.
    pub(super) idle_timeout: Option<Duration>,
    /// What all connections may have buffered, bytes.
    pub(super) buffered_max: usize,
}

impl<S: Store> Reactor<S> {
    /// Registers what there is.
    ///
    /// # Errors
    /// The poll has no room.
    pub(super) fn new(parts: Parts<S>) -> io::Result<Self> {
        let Parts {
            poll,
            clock,
            mut acceptor,
            mut signals,
            turn,
            links,
            idle_timeout,
            buffered_max,
        } = parts;
        let registry = poll.registry();
        let agents = Agents::new(registry.try_clone()?);
        for (key, listener) in acceptor.listeners_mut() {
            registry.register(listener, key.token(Kind::Listener), Interest::READABLE)?;
        }
        let signal = Key::SINGLE.token(Kind::Signal);
        registry.register(&mut signals, signal, Interest::READABLE)?;
        Ok(Self {
            poll,
            clock,
            acceptor: Some(acceptor),
            signals,
            turn,
            connections: Table::new(),
            buffered: 0,
            buffered_max,
            refused: VecDeque::new(),
            ready: VecDeque::new(),
            held: Held::default(),
            woken: VecDeque::new(),
            links,
            timers: Timers::default(),
            came_up: Vec::new(),
            crashed: Vec::new(),
            crashed_now: Vec::new(),
            agents,
            alone: Vec::new(),
            alone_now: Vec::new(),
            lost: Vec::new(),
            lost_now: Vec::new(),
            idle_timeout,
            idle_since: None,
            care_at: None,
            resting: None,
            failing: false,
            silent_until: None,
            end: None,
            scratch: vec![0; READ_BYTES_MAX].into_boxed_slice(),
        })
    }

    /// Serves until there is a reason to end.
    ///
    /// # Errors
    /// Nothing can be served any more.
    pub(super) fn run(&mut self) -> Result<End, Fatal> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN_MAX);
        let now = self.clock.now();
        // Peers from before this start.
        let effects = self.turn.mesh.take_effects();
        self.carry_out(effects, now);
        loop {
            let now = self.clock.now();
            self.note_idle(now.mono);
            if let Some(end) = self.end {
                return Ok(end);
            }
            self.wait(&mut events, self.time_to_wait(now))?;
            let now = self.clock.now();
            self.take_events(&events, now.mono);
            self.take_alarms(now.mono);
            self.accept(now.mono);
            self.run_turn(now)?;
            self.take_care(now.mono);
        }
    }

    fn wait(&mut self, events: &mut Events, time: Option<Duration>) -> Result<(), Fatal> {
        match self.poll.poll(events, time) {
            // A signal: its byte comes with the next poll.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(Fatal::Poll(error)),
            Ok(()) => Ok(()),
        }
    }

    // Time

    /// How long to wait for events; none: for ever.
    fn time_to_wait(&self, now: Now) -> Option<Duration> {
        if !self.ready.is_empty() || !self.woken.is_empty() || self.links.is_busy() {
            return Some(Duration::ZERO);
        }
        let core = if self.wants_turn_of_its_own() || self.failing {
            Some(now.mono)
        } else {
            self.turn.mesh.next_deadline(now)
        };
        let idle = self.idle_timeout.zip(self.idle_since).map(|(time, since)| since.plus(time));
        let first = [
            // While the storage rests, so does the core.
            core.map(|at| self.resting.map_or(at, |until| at.max(until))),
            self.timers.next(),
            self.acceptor.as_ref().and_then(|acceptor| acceptor.next_try(now.mono)),
            self.care_at,
            idle,
        ];
        first.into_iter().flatten().min().map(|at| at.since(now.mono))
    }

    /// Whether the core has something to do that no client waits for.
    fn wants_turn_of_its_own(&self) -> bool {
        !self.came_up.is_empty()
            || !self.crashed.is_empty()
            || !self.alone.is_empty()
            || !self.lost.is_empty()
            || self.turn.mesh.wants_feed()
            || self.turn.mesh.has_waiters()
    }

    fn note_idle(&mut self, now: Monotonic) {
        let idle = self.turn.mesh.present() == 0 && self.held.is_empty();
        self.idle_since = idle.then(|| self.idle_since.unwrap_or(now));
        let over = self.idle_timeout.zip(self.idle_since).map(|(time, since)| since.plus(time));
        if over.is_some_and(|at| at <= now) && self.end.is_none() {
            self.end = Some(End::Idle);
        }
    }

    fn take_alarms(&mut self, now: Monotonic) {
        while let Some(alarm) = self.timers.pop_due(now) {
            match alarm {
                Alarm::Link(peer) => self.links.retry(peer, now, &mut self.timers),
                Alarm::Connection(key) => self.connection_alarm(key, now),
            }
        }
    }

    /// Lets the store do what nobody waits for, if nothing else is going on.
    fn take_care(&mut self, now: Monotonic) {
        let idle = self.care_at.is_some_and(|at| at <= now);
        if idle {
            self.care_at = None;
            self.maintain(true);
        }
    }

    fn maintain(&mut self, idle: bool) {
        if let Err(error) = self.turn.mesh.maintain(idle) {
            log::warn(format_args!("care of the storage failed: {error}"));
        }
    }

    // Events

    fn take_events(&mut self, events: &Events, now: Monotonic) {
        for event in events {
            match Key::of(event.token()) {
                Some((Kind::Listener, key)) => {
                    if let Some(acceptor) = &mut self.acceptor {
                        acceptor.note_waiting(key);
                    }
                }
                Some((Kind::Signal, _)) => self.take_signal(),
                Some((Kind::Connection, key)) => self.connection_event(key, event, now),
                Some((Kind::Push, key)) => {
                    self.links.event(key, event, now, &mut self.timers);
                }
                Some((Kind::Watch, key)) => self.links.process_ended(key),
                Some((Kind::Agent, key)) => self.alone.extend(self.agents.ended(key)),
                None => {}
            }
        }
        self.links.read(&mut self.scratch, now, &mut self.timers);
    }

    fn take_signal(&mut self) {
        let mut bytes = [0; 64];
        while matches!(self.signals.read(&mut bytes), Ok(1..)) {}
        log::info(format_args!("asked to stop by a signal"));
        self.end = Some(End::Stopped);
    }

    // The end

    /// Takes leave: no new connections, held requests refused, everyone told why, and what is on its
    /// way out given a moment. Gives the store back.
    pub(super) fn finish(mut self, end: End) -> S {
        drop(self.acceptor.take());
        let now = self.clock.now();
        let refusal = unavailable("the broker is stopping: try again in a moment");
        for key in self.connections.keys() {
            if self.connections.get_mut(key).and_then(Connection::take_hold).is_some() {
                self.dismiss(key, &refusal, now.mono);
            }
        }
        self.turn.mesh.goodbye(end.as_str(), now);
        let effects = self.turn.mesh.take_effects();
        self.carry_out(effects, now);
        self.flush_all(now.mono.plus(LAST_FRAMES_TIME_MAX));
        let now = self.clock.now();
        self.hear_news(now);
        self.turn.mesh.into_store()
    }

    /// Writes what still waits, until all is out or the time is over.
    fn flush_all(&mut self, until: Monotonic) {
        let mut events = Events::with_capacity(EVENTS_PER_TURN_MAX);
        loop {
            let now = self.clock.monotonic();
            let waiting = self.links.has_frames()
                || self.connections.iter_mut().any(|(_, connection)| connection.has_output());
            if !waiting || now >= until {
                return;
            }
            if self.wait(&mut events, Some(until.since(now))).is_err() {
                return;
            }
            let now = self.clock.monotonic();
            self.take_events(&events, now);
        }
    }
}
