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
use super::held::Asker;
use super::helpers::Helpers;
use super::links::{Links, News};
use super::room::Room;
use super::table::{Key, Kind, Table};
use super::timers::{Alarm, Timers};
use crate::limits::{EVENTS_PER_TURN_MAX, LAST_FRAMES_TIME_MAX, READ_BYTES_MAX};
use crate::log;
use crate::model::{Monotonic, Now};
use crate::platform::Stream;
use crate::store::StoreError;

/// Why the loop has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was asked to, by a signal or a request.
    Stopped,
    /// Nobody was there for too long.
    Idle,
    /// The same, as [`Self::Stopped`], and what is to serve from now on has another role.
    Moved,
}

impl End {
    /// The reason that peers are told.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Idle => "idle",
            Self::Moved => "moved",
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
pub(super) struct Reactor {
    poll: Poll,
    clock: Clock,
    /// None once it stops.
    acceptor: Option<Acceptor>,
    signals: UnixStream,
    room: Box<dyn Room>,
    connections: Table<Connection<Stream>>,
    /// What all of them have buffered, bytes, and how much that may be.
    buffered: usize,
    buffered_max: usize,
    /// Those that were told that there are too many: the first first.
    refused: VecDeque<Key>,
    /// Connections with something for the next turn.
    ready: VecDeque<Key>,
    /// Those that were answered in the turn in hand; kept for its memory.
    answered: Vec<Key>,
    links: Links,
    agents: Agents,
    helpers: Helpers,
    timers: Timers,
    idle_timeout: Option<Duration>,
    idle_since: Option<Monotonic>,
    end: Option<End>,
    /// What is read goes here first.
    scratch: Box<[u8]>,
}

/// What a [`Reactor`] is made of.
pub(super) struct Parts {
    /// Nothing is registered with it yet.
    pub(super) poll: Poll,
    pub(super) clock: Clock,
    pub(super) acceptor: Acceptor,
    /// Readable when a signal has asked for the end.
    pub(super) signals: UnixStream,
    pub(super) room: Box<dyn Room>,
    pub(super) links: Links,
    pub(super) helpers: Helpers,
    /// Time without peers after which the broker stops.
    pub(super) idle_timeout: Option<Duration>,
    /// What all connections may have buffered, bytes.
    pub(super) buffered_max: usize,
}

impl Reactor {
    /// Registers what there is.
    ///
    /// # Errors
    /// The poll has no room.
    pub(super) fn new(parts: Parts) -> io::Result<Self> {
        let Parts {
            poll,
            clock,
            mut acceptor,
            mut signals,
            room,
            links,
            helpers,
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
            room,
            connections: Table::new(),
            buffered: 0,
            buffered_max,
            refused: VecDeque::new(),
            ready: VecDeque::new(),
            answered: Vec::new(),
            links,
            agents,
            helpers,
            timers: Timers::default(),
            idle_timeout,
            idle_since: None,
            end: None,
            scratch: vec![0; READ_BYTES_MAX].into_boxed_slice(),
        })
    }

    /// What answers.
    pub(super) fn room(&self) -> &dyn Room {
        &*self.room
    }

    /// Serves until there is a reason to end.
    ///
    /// # Errors
    /// Nothing can be served any more.
    pub(super) fn run(&mut self) -> Result<End, Fatal> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN_MAX);
        let now = self.clock.now();
        let effects = self.room.start();
        self.carry_out(effects, now);
        self.helpers.reload(now.mono);
        loop {
            let now = self.clock.now();
            self.note_idle(now.mono);
            if let Some(end) = self.end {
                return Ok(end);
            }
            self.wait(&mut events, self.time_to_wait(now))?;
            let now = self.clock.now();
            self.take_events(&events, now);
            self.take_alarms(now.mono);
            self.helpers.tick(now.mono);
            self.accept(now.mono);
            self.run_turn(now)?;
            self.room.flush(now);
            self.room.take_care(now.mono);
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
        if !self.ready.is_empty() || self.links.is_busy() {
            return Some(Duration::ZERO);
        }
        let idle = self.idle_timeout.zip(self.idle_since).map(|(time, since)| since.plus(time));
        let first = [
            self.room.next_deadline(now),
            self.timers.next(),
            self.helpers.next_deadline(),
            self.acceptor.as_ref().and_then(|acceptor| acceptor.next_try(now.mono)),
            idle,
        ];
        first.into_iter().flatten().min().map(|at| at.since(now.mono))
    }

    fn note_idle(&mut self, now: Monotonic) {
        self.idle_since =
            self.room.is_idle(&|asker| self.counts(asker)).then(|| self.idle_since.unwrap_or(now));
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

    // Events

    fn take_events(&mut self, events: &Events, now: Now) {
        for event in events {
            match Key::of(event.token()) {
                Some((Kind::Listener, key)) => {
                    if let Some(acceptor) = &mut self.acceptor {
                        acceptor.note_waiting(key);
                    }
                }
                Some((Kind::Signal, _)) => self.take_signal(),
                Some((Kind::Connection, key)) => self.connection_event(key, event, now.mono),
                Some((Kind::Push, key)) => {
                    self.links.event(key, event, now.mono, &mut self.timers);
                }
                Some((Kind::Watch, key)) => {
                    self.links.process_ended(key, now.mono, &mut self.timers);
                }
                Some((Kind::Agent, key)) => {
                    for peer in self.agents.ended(key) {
                        self.room.hear(News::AgentEnded(peer), now);
                    }
                }
                Some((Kind::Helper, key)) => self.helpers.ended(key, now.mono),
                Some((kind @ (Kind::Entrance | Kind::Machine | Kind::Waker), key)) => {
                    self.room.event(kind, key);
                }
                None => {}
            }
        }
        self.links.read(&mut self.scratch, now.mono, &mut self.timers);
    }

    fn take_signal(&mut self) {
        let mut bytes = [0; 64];
        while matches!(self.signals.read(&mut bytes), Ok(1..)) {}
        log::info(format_args!("asked to stop by a signal"));
        self.end = Some(End::Stopped);
    }

    // The end

    /// Takes leave: no new connections, held requests refused, everyone told why, and what is on its
    /// way out given a moment. Gives the room back.
    pub(super) fn finish(mut self, end: End) -> Box<dyn Room> {
        drop(self.acceptor.take());
        let now = self.clock.now();
        let refusal = unavailable("the broker is stopping: try again in a moment");
        for asker in self.room.end_held() {
            if let Asker::Http(key) = asker {
                self.dismiss(key, &refusal, now.mono);
            }
        }
        let effects = self.room.goodbye(end.as_str(), now);
        self.carry_out(effects, now);
        self.room.flush(now);
        self.flush_all(now.mono.plus(LAST_FRAMES_TIME_MAX));
        let now = self.clock.now();
        self.hear_news(now);
        self.room
    }

    /// Writes what still waits, until all is out or the time is over.
    fn flush_all(&mut self, until: Monotonic) {
        let mut events = Events::with_capacity(EVENTS_PER_TURN_MAX);
        loop {
            let now = self.clock.monotonic();
            let waiting = self.links.has_frames()
                || self.room.has_output()
                || self.connections.iter_mut().any(|(_, connection)| connection.has_output());
            if !waiting || now >= until {
                return;
            }
            if self.wait(&mut events, Some(until.since(now))).is_err() {
                return;
            }
            let now = self.clock.now();
            self.take_events(&events, now);
            self.room.flush(now);
        }
    }
}
