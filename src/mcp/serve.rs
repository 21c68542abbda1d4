//! The loop: one thread, one poll over standard input and output, the push socket, the connection to
//! the broker, signals, the parent, and the time. It owns the descriptors; what they mean is decided
//! in [`Server`].

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGINT, SIGTERM};
use uuid::Uuid;

use super::held::HeldRequests;
use super::project::Project;
use super::push::PushSocket;
use super::server::{Command, Outgoing, Purpose, Server};
use super::stdio::{Input, Output};
use super::waking::adapters::Adapters;
use crate::api::Request;
use crate::client::{BrokerLink, ClientError, LinkEvent, new_id};
use crate::config::Config;
use crate::data_dir;
use crate::limits::RPC_LINE_BYTES_MAX;
use crate::log;
use crate::platform::{self, ParentWatch};
use crate::wire::ndjson::LineTooLong;

const INPUT: Token = Token(0);
const OUTPUT: Token = Token(1);
const SIGNALS: Token = Token(2);
const PARENT: Token = Token(3);
const LISTENER: Token = Token(4);
const PUSH: Token = Token(5);
const BROKER: Token = Token(6);
const LAUNCH: Token = Token(7);
const WAYS: Token = Token(8);
/// The first of those for requests that the broker holds.
const HELD: Token = Token(9);

/// Which of them are ready.
type Ready = [bool; HELD.0];

/// A data directory that cannot exist.
const NOWHERE: &str = "/dev/null";

/// Most reads of standard input before the other descriptors have their turn.
const READS_PER_TURN: usize = 16;
/// How often to look for the parent where it cannot be watched.
const PARENT_EVERY: Duration = Duration::from_secs(2);

/// How the end of the parent is noticed.
#[derive(Debug)]
enum Parent {
    /// It is not waited for.
    None,
    /// Watched; the watch is kept open.
    Watched(platform::ProcessWatch),
    /// It cannot be watched: from time to time its process id is compared with this one.
    Known(Option<u32>),
}

/// See the module.
struct Loop {
    poll: Poll,
    server: Server,
    link: BrokerLink<Purpose>,
    held: HeldRequests,
    push: PushSocket,
    adapters: Adapters,
    input: Input,
    output: Output,
    signals: UnixStream,
    parent: Parent,
    config: Config,
    /// Why no broker can be asked: the settings cannot be used.
    unusable: Option<ClientError>,
    /// The server knows that the agent has closed the input.
    end_told: bool,
}

/// Serves the agent at standard input and output until it is gone.
///
/// # Errors
/// The poll or one of its first descriptors cannot be made. Later failures are reported to the agent.
pub(super) fn serve(config: Result<Config, String>) -> io::Result<()> {
    let mut serve = Loop::new(config)?;
    let result = serve.run();
    serve.push.close();
    result
}

impl Loop {
    fn new(config: Result<Config, String>) -> io::Result<Self> {
        let (config, unusable) = match config {
            Ok(config) => (config, None),
            Err(error) => {
                log::error(format_args!("{error}"));
                let reason = format!(
                    "{error}; correct it where this MCP server is configured, and start it again"
                );
                // The defaults. No broker is asked.
                let nothing =
                    Config::from_lookup(|_| None, Some(NOWHERE.as_ref()), std::env::current_dir);
                let error = ClientError::Settings { reason: reason.into() };
                (nothing.map_err(io::Error::other)?, Some(error))
            }
        };
        let poll = Poll::new()?;
        let registry = poll.registry();
        let path = config.paths.peer_socket(new_id().unwrap_or_else(fallback_id));
        let adapters = Adapters::new(registry, WAYS)?;
        let (name, socket_of) = (config.name.as_deref(), adapters.inbox_socket_of());
        let server = Server::new(name, socket_of, Project::of_process());
        let signals = watch_signals()?;
        registry.register(&mut SourceFd(&signals.as_raw_fd()), SIGNALS, Interest::READABLE)?;
        let mut this = Self {
            server,
            link: BrokerLink::new(config.clone(), registry.try_clone()?, BROKER, LAUNCH),
            held: HeldRequests::new(config.clone(), registry.try_clone()?, HELD),
            push: PushSocket::new(path, registry.try_clone()?, LISTENER, PUSH),
            adapters,
            input: Input::new(registry, INPUT, RPC_LINE_BYTES_MAX),
            output: Output::new(registry, OUTPUT),
            signals,
            parent: Parent::None,
            config,
            unusable,
            end_told: false,
            poll,
        };
        this.watch_parent(Instant::now())?;
        Ok(this)
    }

    fn watch_parent(&mut self, now: Instant) -> io::Result<()> {
        self.parent = match platform::watch_parent() {
            Ok(ParentWatch::None) => Parent::None,
            Ok(ParentWatch::Ended) => {
                self.server.stop(now);
                Parent::None
            }
            Ok(ParentWatch::Running(watch)) => {
                let fd = watch.as_raw_fd();
                let registry = self.poll.registry();
                registry.register(&mut SourceFd(&fd), PARENT, Interest::READABLE)?;
                Parent::Watched(watch)
            }
            Err(_) => Parent::Known(platform::parent()),
        };
        Ok(())
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(16);
        loop {
            let now = Instant::now();
            self.read_input(now);
            self.settle(now);
            if self.server.is_over() {
                return Ok(());
            }
            match self.poll.poll(&mut events, self.timeout(now)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let now = Instant::now();
            let mut ready = Ready::default();
            for event in &events {
                match ready.get_mut(event.token().0) {
                    Some(ready) => *ready = true,
                    None => self.held.handle_ready(event.token(), now),
                }
            }
            self.handle_ready(ready, now);
            if self.server.deadline().is_some_and(|at| at <= now) {
                self.server.handle_timeout(now);
            }
            if self.link.deadline().is_some_and(|at| at <= now) {
                self.link.advance(now);
            }
            if self.adapters.deadline().is_some_and(|at| at <= now) {
                self.adapters.advance(now);
            }
            self.held.advance(now);
            if let Parent::Known(parent) = self.parent
                && platform::parent() != parent
            {
                self.server.stop(now);
            }
        }
    }

    fn handle_ready(&mut self, ready: Ready, now: Instant) {
        let is_ready = |token: Token| ready.get(token.0).copied().unwrap_or(false);
        if is_ready(SIGNALS) {
            self.drain_signals();
            self.server.stop(now);
        }
        if is_ready(PARENT) && matches!(&self.parent, Parent::Watched(watch) if watch.has_ended()) {
            log::info(format_args!("the agent's process has ended"));
            self.server.stop(now);
        }
        if is_ready(LISTENER) {
            self.push.handle_listener_ready();
        }
        if is_ready(LISTENER) || is_ready(PUSH) {
            self.read_push(now);
        }
        if is_ready(LAUNCH) {
            self.link.handle_launch_ready(now);
        }
        if is_ready(BROKER) {
            self.link.handle_stream_ready(now);
        }
        if is_ready(WAYS) {
            self.adapters.advance(now);
        }
        if is_ready(INPUT) {
            self.input.set_ready();
        }
    }

    /// How long to wait for something to happen.
    fn timeout(&self, now: Instant) -> Option<Duration> {
        // The poll reports neither lines that were read and not taken nor the end after them.
        let waits = self.input.is_ready() || (self.input.has_ended() && !self.end_told);
        if waits && self.server.wants_lines() {
            return Some(Duration::ZERO);
        }
        let look = matches!(self.parent, Parent::Known(_)).then_some(PARENT_EVERY);
        let deadlines = [
            self.server.deadline(),
            self.link.deadline(),
            self.held.deadline(),
            self.adapters.deadline(),
        ];
        let deadline = deadlines.into_iter().flatten().min();
        let left = deadline.map(|at| at.saturating_duration_since(now));
        [look, left].into_iter().flatten().min()
    }

    /// Carries out what the server asks for and reports the results, until there is nothing more to do.
    fn settle(&mut self, now: Instant) {
        loop {
            let mut moved = false;
            while let Some(command) = self.server.poll() {
                moved = true;
                match command {
                    Command::Ask(outgoing) => self.ask(*outgoing, now),
                    Command::LeaveToken(token) => self.push.leave_token(&token),
                    Command::Tell(by, notice) => self.adapters.tell(by, &notice, now),
                    Command::PrepareQueue(thread) => self.adapters.prepare_queue(thread),
                    Command::Forget(purpose) => {
                        self.held.forget(purpose);
                        self.link.forget(&purpose, now);
                    }
                }
            }
            while let Some(event) = self.link.poll_event() {
                moved = true;
                match event {
                    LinkEvent::Finished(purpose, result) => {
                        self.server.handle_finished(purpose, result, now);
                    }
                    LinkEvent::Lost => {
                        // The reason may have been pushed.
                        self.read_push(now);
                        self.server.handle_lost(now);
                    }
                }
            }
            if self.hear_adapters(now) {
                moved = true;
                self.server.proceed(now);
            }
            while let Some((purpose, result)) = self.held.poll_finished() {
                moved = true;
                self.server.handle_finished(purpose, result, now);
            }
            moved |= self.write_output(now);
            if !moved {
                return;
            }
        }
    }

    /// Asks the broker. Before this session registers, the data directory and the push socket are made.
    fn ask(&mut self, mut outgoing: Outgoing, now: Instant) {
        if let Some(error) = &self.unusable {
            return self.server.handle_finished(outgoing.purpose, Err(error.clone()), now);
        }
        if let Request::Register(register) = &mut outgoing.request {
            if let Err(error) = data_dir::prepare(&self.config.paths) {
                let reason = error.to_string().into();
                let error = ClientError::DataDir { reason };
                return self.server.handle_finished(Purpose::Register, Err(error), now);
            }
            match self.push.listen() {
                Ok(path) => register.uds_path = Some(path.into()),
                Err(error) => log::warn(format_args!("messages cannot be pushed here: {error}")),
            }
            self.look_for_inbox_socket(now);
            if self.hear_adapters(now) {
                self.server.introduce(register);
            }
        }
        if matches!(outgoing.request, Request::Heartbeat { .. }) {
            // It may be there by now.
            self.look_for_inbox_socket(now);
        }
        if HeldRequests::are_for(&outgoing) {
            let purpose = outgoing.purpose;
            if let Err(error) = self.held.submit(outgoing, now) {
                self.server.handle_finished(purpose, Err(error), now);
            }
            return;
        }
        let Outgoing { purpose, request, token, start, until } = outgoing;
        self.link.submit(purpose, request, token.as_deref(), start, until, now);
    }

    /// The socket of another agent, which has started this one, is left alone.
    fn look_for_inbox_socket(&mut self, now: Instant) {
        if self.server.waking.has_inbox_socket() {
            self.adapters.look(now);
        }
    }

    /// Passes on to the server what the adapters report; returns whether there was anything.
    fn hear_adapters(&mut self, now: Instant) -> bool {
        let mut moved = false;
        while let Some((by, outcome)) = self.adapters.poll() {
            moved = true;
            self.server.handle_report(by, outcome, now);
        }
        moved
    }

    fn read_push(&mut self, now: Instant) {
        let server = &mut self.server;
        self.push.handle_stream_ready(|frame| server.handle_frame(frame, now));
        self.server.set_push_live(self.push.is_live(), now);
    }

    /// Takes lines from the agent while the server wants any.
    fn read_input(&mut self, now: Instant) {
        if self.end_told {
            return;
        }
        for _ in 0..READS_PER_TURN {
            while self.server.wants_lines() {
                match self.input.next_line() {
                    Some(Ok(line)) => self.server.handle_line(line, now),
                    Some(Err(LineTooLong)) => self.server.handle_long_line(),
                    None => break,
                }
            }
            if !self.server.wants_lines() {
                return;
            }
            if self.input.has_ended() {
                if let Some(line) = self.input.finish() {
                    self.server.handle_line(line, now);
                }
                self.end_told = true;
                return self.server.handle_end(now);
            }
            if !self.input.is_ready() || !self.input.read() && !self.input.has_ended() {
                return;
            }
        }
    }

    /// Writes as much as is taken without blocking; returns whether that was anything.
    fn write_output(&mut self, now: Instant) -> bool {
        let mut moved = false;
        while !self.server.out.is_empty() && !self.server.is_over() && self.output.is_ready() {
            match self.server.out.write_to(self.output.writer()) {
                Ok(messages) => {
                    moved = true;
                    self.server.handle_written(messages, now);
                }
                // The descriptor was non-blocking already, and someone else has written.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    log::info(format_args!("the agent does not read any more: {error}"));
                    self.server.out.clear();
                    self.server.stop(now);
                    return true;
                }
            }
        }
        moved
    }

    fn drain_signals(&mut self) {
        let mut bytes = [0; 64];
        while matches!(self.signals.read(&mut bytes), Ok(1..)) {}
    }
}

/// A socket that becomes readable when this process is asked to end.
fn watch_signals() -> io::Result<UnixStream> {
    let (ours, handlers) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    for signal in [SIGTERM, SIGINT] {
        signal_hook::low_level::pipe::register(signal, handlers.try_clone()?)?;
    }
    Ok(ours)
}

/// A name for the socket where the system has no randomness: no two processes share it at a time.
fn fallback_id() -> Uuid {
    Uuid::from_u128(u128::from(std::process::id()))
}
