//! The one loop: wait, read, decide, commit, flush.
//!
//! Whatever is ready is read, its requests are applied in one turn of the mesh, and only when that is
//! durable do pushes and then answers leave. Nothing in here blocks but the poll (and the store's
//! commit), and it waits no longer than the first deadline of anyone.
//!
//! All descriptors are registered edge-triggered, once. So whoever could not read or write to the end
//! is remembered: in the queue `ready`, or armed for the event that it can be written to.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

use mio::net::{TcpStream, UnixStream};
use mio::{Events, Interest, Poll};

use super::acceptor::{Acceptor, Room};
use super::answers::{last_words, unavailable};
use super::clock::Clock;
use super::connection::{Connection, Expired, Progress};
use super::held::Held;
use super::links::{Links, News};
use super::table::{Key, Kind, Table};
use super::timers::{Alarm, Timers};
use super::turn::{Ended, Turn};
use crate::api::{Code, Refusal};
use crate::limits::READ_BYTES_MAX;
use crate::log;
use crate::mesh::Effects;
use crate::model::{LeaveReason, Monotonic, Now, PeerId};
use crate::store::{Store, StoreError};

/// Events taken from the poll at once.
const EVENTS_MAX: usize = 256;
/// How long what needs no answer rests after the storage has failed.
const REST: Duration = Duration::from_secs(1);
/// How long nothing must have happened before the store does what nobody waits for.
const IDLE_BEFORE_CARE: Duration = Duration::from_millis(100);
/// How long the last frames and answers may take at the end.
const GOODBYE_TIME_MAX: Duration = Duration::from_millis(500);

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
    /// The store cannot even be read again after a failure, or has become useless.
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
    connections: Table<Connection<TcpStream>>,
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
    idle_timeout: Option<Duration>,
    idle_since: Option<Monotonic>,
    /// When the store may do what nobody waits for.
    care_at: Option<Monotonic>,
    /// The storage has failed: what needs no answer rests until then.
    resting: Option<Monotonic>,
    /// The storage fails, which was said in the log; nothing was written since.
    failing: bool,
    end: Option<End>,
    /// Whether the store has become useless, so that only another start can help.
    is_ruined: fn(&S) -> bool,
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
    /// Whether the store has become useless, so that only another start can help.
    pub(super) is_ruined: fn(&S) -> bool,
}

impl<S: Store> Reactor<S> {
    /// Registers what there is.
    ///
    /// # Errors
    /// The poll has no room.
    pub(super) fn new(parts: Parts<S>) -> io::Result<Self> {
        let Parts { poll, clock, mut acceptor, mut signals, turn, links, idle_timeout, is_ruined } =
            parts;
        let registry = poll.registry();
        let listener = Key::SINGLE.token(Kind::Listener);
        registry.register(acceptor.listener_mut(), listener, Interest::READABLE)?;
        let signal = Key::SINGLE.token(Kind::Signal);
        registry.register(&mut signals, signal, Interest::READABLE)?;
        Ok(Self {
            poll,
            clock,
            acceptor: Some(acceptor),
            signals,
            turn,
            connections: Table::new(),
            ready: VecDeque::new(),
            held: Held::default(),
            woken: VecDeque::new(),
            links,
            timers: Timers::default(),
            came_up: Vec::new(),
            crashed: Vec::new(),
            idle_timeout,
            idle_since: None,
            care_at: None,
            resting: None,
            failing: false,
            end: None,
            is_ruined,
            scratch: vec![0; READ_BYTES_MAX].into_boxed_slice(),
        })
    }

    /// Serves until there is a reason to end.
    ///
    /// # Errors
    /// Nothing can be served any more.
    pub(super) fn run(&mut self) -> Result<End, Fatal> {
        let mut events = Events::with_capacity(EVENTS_MAX);
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
        let core = if self.wants_turn_of_its_own() {
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
        !self.came_up.is_empty() || !self.crashed.is_empty() || self.turn.mesh.wants_feed()
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

    fn connection_alarm(&mut self, key: Key, now: Monotonic) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.marks.alarm = None;
        match connection.expired(now) {
            Expired::NotYet => self.settle(key, Progress::Fine),
            // Its next alarm is set when it was asked again.
            Expired::Hold => self.woken.push_back(key),
            Expired::Connection => self.settle(key, Progress::Gone),
            Expired::Request => {
                let refusal = Refusal::new(
                    Code::Timeout,
                    "the request did not come in time: send it without pauses",
                );
                self.dismiss(key, &refusal, now);
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
                Some((Kind::Listener, _)) => {
                    if let Some(acceptor) = &mut self.acceptor {
                        acceptor.note_waiting();
                    }
                }
                Some((Kind::Signal, _)) => self.take_signal(),
                Some((Kind::Connection, key)) => self.connection_event(key, event, now),
                Some((Kind::Push, key)) => {
                    self.links.event(key, event, &mut self.scratch, now, &mut self.timers);
                }
                Some((Kind::Watch, key)) => {
                    self.crashed.extend(self.links.process_ended(key, &mut self.scratch));
                }
                None => {}
            }
        }
        self.links.read_on(&mut self.scratch, now, &mut self.timers);
    }

    fn take_signal(&mut self) {
        let mut bytes = [0; 64];
        while matches!(self.signals.read(&mut bytes), Ok(1..)) {}
        log::info(format_args!("asked to stop by a signal"));
        self.end = Some(End::Stopped);
    }

    fn connection_event(&mut self, key: Key, event: &mio::event::Event, now: Monotonic) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let hung_up = event.is_read_closed() || event.is_error();
        if event.is_readable() || hung_up {
            connection.note_readable(hung_up);
        }
        if hung_up && connection.end_hold(now) {
            self.woken.push_back(key);
        }
        let mut progress = Progress::Fine;
        if event.is_writable() && connection.has_output() {
            progress = connection.flush(now);
        }
        self.settle(key, progress);
    }

    fn accept(&mut self, now: Monotonic) {
        let Some(acceptor) = &mut self.acceptor else { return };
        let mut streams = Vec::new();
        acceptor.accept(now, |stream| streams.push(stream));
        for stream in streams {
            self.come_in(stream, now);
        }
    }

    fn come_in(&mut self, mut stream: TcpStream, now: Monotonic) {
        let Some(acceptor) = &self.acceptor else { return };
        let room = acceptor.room(self.connections.len(), self.links.descriptors());
        if room == Room::Close {
            return;
        }
        // An answer is written whole, so there is nothing to gather; it must not wait for an
        // acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let token = self.connections.next_key().token(Kind::Connection);
        if let Err(error) = self.poll.registry().register(&mut stream, token, Interest::READABLE) {
            log::warn(format_args!("cannot serve a connection: {error}"));
            return;
        }
        let key = self.connections.insert(Connection::new(stream, now));
        if room == Room::Refuse {
            let refusal = unavailable("too many connections: close some, or use them again");
            self.dismiss(key, &refusal, now);
        } else {
            self.settle(key, Progress::Fine);
        }
    }

    // The turn

    fn run_turn(&mut self, now: Now) -> Result<(), Fatal> {
        self.hear_news(now);
        if self.resting.is_some_and(|until| until <= now.mono) {
            self.resting = None;
        }
        let rested = self.resting.is_none();
        let due = self.turn.mesh.next_deadline(now).is_some_and(|at| at <= now.mono);
        let own = rested && (due || self.wants_turn_of_its_own());
        if !own && self.ready.is_empty() && self.woken.is_empty() {
            return Ok(());
        }
        self.turn.start(now);
        if rested {
            self.tell_core(due);
        }
        self.ask_again();
        self.serve(now.mono);
        let ended = self.turn.end(rested)?;
        let failed = if let Ended::Failed(error) = &ended { Some(error.to_string()) } else { None };
        self.after_turn(ended, now);
        match failed {
            Some(error) if (self.is_ruined)(self.turn.mesh.store_mut()) => {
                Err(Fatal::Store(StoreError::Failed(error)))
            }
            _ => Ok(()),
        }
    }

    /// What happened to the ways to peers and needs no turn.
    fn hear_news(&mut self, now: Now) {
        for news in self.links.take_news() {
            let mesh = &mut self.turn.mesh;
            match news {
                News::Up(peer, known) => self.came_up.push((peer, known)),
                News::Down(peer) => {
                    self.came_up.retain(|(other, _)| *other != peer);
                    mesh.link_down(peer);
                }
                News::Process(peer, known) => mesh.process_known(peer, known, now),
                News::Acknowledged(peer, id) => mesh.acknowledged(peer, id, now),
                News::Written(peer, seq) => mesh.frame_written(peer, seq, now),
            }
        }
    }

    /// What happened to the ways to peers and is part of a turn.
    fn tell_core(&mut self, due: bool) {
        while let Some(peer) = self.crashed.last() {
            let peer = *peer;
            if !self.turn.with_mesh(|mesh, now| mesh.process_ended(peer, now)) {
                return;
            }
            self.crashed.pop();
        }
        while let Some((peer, known)) = self.came_up.last() {
            let (peer, known) = (*peer, *known);
            if !self.turn.with_mesh(|mesh, now| mesh.link_up(peer, known, now)) {
                return;
            }
            self.came_up.pop();
            self.links.announced(peer);
        }
        if due {
            self.turn.with_mesh(crate::mesh::Mesh::tick);
        }
    }

    /// Held requests that may have an answer now.
    fn ask_again(&mut self) {
        while !self.turn.is_full()
            && let Some(key) = self.woken.pop_front()
        {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            let Some(hold) = connection.take_hold() else { continue };
            self.held.remove(key, hold.on);
            if let Err(hold) = self.turn.ask_again(key, hold) {
                connection.put_hold(hold);
                self.settle(key, Progress::Fine);
            }
        }
    }

    /// Requests of the connections that have some.
    fn serve(&mut self, now: Monotonic) {
        // Those that come back into the queue meanwhile are for the next turn.
        for _ in 0..self.ready.len() {
            if self.turn.is_full() {
                break;
            }
            let Some(key) = self.ready.pop_front() else { break };
            let Some(connection) = self.connections.get_mut(key) else { continue };
            connection.marks.queued = false;
            let turn = &mut self.turn;
            let progress =
                connection.serve(now, &mut self.scratch, |incoming| turn.take(key, &incoming));
            self.settle(key, progress);
        }
    }

    fn after_turn(&mut self, ended: Ended, now: Now) {
        match ended {
            Ended::Empty => self.answer(now.mono),
            Ended::Committed { effects, wrote } => {
                self.note_holds(now.mono);
                self.carry_out(effects, now);
                if wrote {
                    self.resting = None;
                    if std::mem::take(&mut self.failing) {
                        log::info(format_args!("the storage works again"));
                    }
                    self.maintain(false);
                    self.care_at = Some(now.mono.plus(IDLE_BEFORE_CARE));
                }
            }
            Ended::Failed(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    log::error(format_args!("{error}; nothing of this turn was kept"));
                }
                self.resting = Some(now.mono.plus(REST));
                self.turn.fail(error, |key| {
                    self.connections.get_mut(key).and_then(Connection::take_hold)
                });
                self.answer(now.mono);
            }
        }
    }

    /// Requests that are held since this turn.
    fn note_holds(&mut self, now: Monotonic) {
        for key in std::mem::take(&mut self.turn.holds) {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            let Some(hold) = connection.held() else { continue };
            self.held.add(key, hold.on);
            // Its client had gone before it was held: there will be no event.
            if connection.has_hung_up() && connection.end_hold(now) {
                self.woken.push_back(key);
            }
        }
    }

    /// Does what the mesh has asked for: pushes first, answers after, then everything else.
    fn carry_out(&mut self, effects: Effects, now: Now) {
        for push in &effects.pushes {
            self.links.add(push);
        }
        self.links.flush(now.mono, &mut self.timers);
        self.hear_news(now);
        self.answer(now.mono);
        for departed in &effects.departed {
            // One that has come back in the same turn may have its socket in the same place.
            let back = effects.connect.iter().any(|(peer, _)| *peer == departed.peer);
            let crashed = departed.reason == LeaveReason::Crashed && !back;
            let remove = departed.uds_path.as_deref().filter(|_| crashed);
            log::info(format_args!("peer {}: left ({})", departed.peer, departed.reason.as_str()));
            self.links.depart(departed.peer, remove, &mut self.timers);
        }
        for (peer, path) in effects.connect {
            self.links.connect(peer, path, now.mono, &mut self.timers);
        }
        self.woken.extend(self.held.woken(&effects.inboxes, effects.events));
        if effects.shutdown {
            log::info(format_args!("asked to stop by a request"));
            self.end = Some(End::Stopped);
        }
    }

    /// Sends the answers of the turn.
    fn answer(&mut self, now: Monotonic) {
        let Self { turn, connections, .. } = self;
        let mesh = &turn.mesh;
        turn.answers.finish(|sent| mesh.confirm(sent));
        let mut answered: Vec<Key> = Vec::with_capacity(turn.answers.len());
        turn.answers.each(|key, response| {
            let Some(connection) = connections.get_mut(key) else { return };
            let added = match response {
                Some(response) => connection.answer(&response),
                None => connection.answer_continue(),
            };
            if let Err(full) = added {
                log::error(format_args!("an answer was lost: {full}"));
                connection.close_after();
            }
            if answered.last() != Some(&key) {
                answered.push(key);
            }
        });
        turn.answers.clear();
        for key in answered {
            if let Some(connection) = self.connections.get_mut(key) {
                let progress = connection.flush(now);
                self.settle(key, progress);
            }
        }
    }

    // Connections

    /// Does what has to be done about a connection after something has happened to it.
    fn settle(&mut self, key: Key, progress: Progress) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if progress == Progress::Gone {
            self.drop_connection(key);
            return;
        }
        if progress == Progress::Blocked && !connection.marks.armed {
            connection.marks.armed = true;
            let both = Interest::READABLE.add(Interest::WRITABLE);
            let token = key.token(Kind::Connection);
            let registry = self.poll.registry();
            if registry.reregister(connection.stream_mut(), token, both).is_err() {
                self.drop_connection(key);
                return;
            }
        }
        if connection.wants_turn() && !connection.marks.queued {
            connection.marks.queued = true;
            self.ready.push_back(key);
        }
        let alarm = Alarm::Connection(key);
        self.timers.wake_by(connection.deadline(), alarm, &mut connection.marks.alarm);
    }

    /// Refuses whatever a connection wants and closes it.
    fn dismiss(&mut self, key: Key, refusal: &Refusal, now: Monotonic) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let answered = last_words(refusal, |response| connection.answer(response));
        connection.close_after();
        let progress = if answered.is_ok() { connection.flush(now) } else { Progress::Gone };
        self.settle(key, progress);
    }

    fn drop_connection(&mut self, key: Key) {
        let Some(mut connection) = self.connections.remove(key) else { return };
        self.timers.cancel(Alarm::Connection(key), &mut connection.marks.alarm);
        if let Some(hold) = connection.held() {
            self.held.remove(key, hold.on);
        }
        // Closing the descriptor would do on Linux.
        let _ = self.poll.registry().deregister(connection.stream_mut());
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.note_freed();
        }
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
        self.flush_all(now.mono.plus(GOODBYE_TIME_MAX));
        let now = self.clock.now();
        self.hear_news(now);
        self.turn.mesh.into_store()
    }

    /// Writes what still waits, until all is out or the time is over.
    fn flush_all(&mut self, until: Monotonic) {
        let mut events = Events::with_capacity(EVENTS_MAX);
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
