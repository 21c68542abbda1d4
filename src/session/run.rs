//! The loop: one poll over standard input and output, two connections to the broker, the parent, and
//! the time. It owns the descriptors; what they mean is decided in [`Session`].

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::decide::{Effect, Purpose, Session, Sought};
use super::protocol::{FromPlugin, ToPlugin};
use super::threads::{Done, Threads};
use crate::client::{BrokerLink, ClientError, LinkEvent, StartPolicy, wait_of};
use crate::config::Config;
use crate::hook::Verdict;
use crate::limits::{SESSION_LINE_BYTES_MAX, SESSION_OUT_BYTES_MAX, SESSION_OUT_PAUSE_BYTES};
use crate::log;
use crate::mcp::stdio::{Input, Output};
use crate::platform::{self, DirectoryWatch, ParentWatch, ProcessWatch};
use crate::wire::buffer::Buffer;
use crate::wire::ndjson::{self, LineTooLong};

const INPUT: Token = Token(0);
const OUTPUT: Token = Token(1);
const PARENT: Token = Token(2);
const JOBS: Token = Token(3);
const DIRECTORY: Token = Token(4);
const ASKS: Token = Token(5);
const HELD: Token = Token(6);
/// Of starts of a broker, of which there are none.
const LAUNCH: Token = Token(7);

/// Most reads of standard input before the other descriptors have their turn.
const READS_PER_TURN: usize = 16;

/// See the module.
pub(super) struct Loop {
    poll: Poll,
    session: Session,
    threads: Threads,
    asks: BrokerLink<Purpose>,
    held: BrokerLink<Purpose>,
    input: Input,
    output: Output,
    out: Buffer,
    parent: Option<ProcessWatch>,
    /// While no broker is there, of its directory.
    directory: Option<DirectoryWatch>,
    config: Config,
    is_over: bool,
}

impl Loop {
    pub(super) fn new(config: Config, agent: &str) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        let mut this = Self {
            session: Session::new(),
            threads: Threads::new(config.clone(), agent, registry, JOBS)?,
            asks: BrokerLink::new(config.clone(), registry.try_clone()?, ASKS, LAUNCH),
            held: BrokerLink::new(config.clone(), registry.try_clone()?, HELD, LAUNCH),
            input: Input::new(registry, INPUT, SESSION_LINE_BYTES_MAX),
            output: Output::new(registry, OUTPUT),
            out: Buffer::new(SESSION_OUT_BYTES_MAX),
            parent: None,
            directory: None,
            config,
            is_over: false,
            poll,
        };
        this.watch_parent();
        Ok(this)
    }

    /// Where the parent cannot be watched, its end is that of the input.
    fn watch_parent(&mut self) {
        match platform::watch_parent() {
            Ok(ParentWatch::Running(watch)) => {
                let fd = watch.as_raw_fd();
                let registry = self.poll.registry();
                if registry.register(&mut SourceFd(&fd), PARENT, Interest::READABLE).is_ok() {
                    self.parent = Some(watch);
                }
            }
            Ok(ParentWatch::Ended) => self.is_over = true,
            Ok(ParentWatch::None) | Err(_) => {}
        }
    }

    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(16);
        loop {
            let now = Instant::now();
            self.settle(now);
            self.read_input(now);
            if self.is_over {
                return Ok(());
            }
            match self.poll.poll(&mut events, self.timeout(now)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let now = Instant::now();
            for event in &events {
                self.handle_ready(event.token(), now);
            }
            if self.session.deadline().is_some_and(|at| at <= now) {
                self.session.handle_timeout(now);
            }
            for link in [&mut self.asks, &mut self.held] {
                if link.deadline().is_some_and(|at| at <= now) {
                    link.advance(now);
                }
            }
        }
    }

    fn handle_ready(&mut self, token: Token, now: Instant) {
        match token {
            INPUT => self.input.set_ready(),
            PARENT => self.is_over |= self.parent.as_ref().is_some_and(ProcessWatch::has_ended),
            ASKS => self.asks.handle_stream_ready(now),
            HELD => self.held.handle_stream_ready(now),
            DIRECTORY => {
                // It is watched anew if there is none yet.
                self.directory = None;
                self.session.handle_broker_seen();
            }
            _ => {}
        }
    }

    fn timeout(&self, now: Instant) -> Option<Duration> {
        if self.input.is_ready() && self.wants_lines() {
            return Some(Duration::ZERO);
        }
        let deadlines = [self.session.deadline(), self.asks.deadline(), self.held.deadline()];
        let deadline = deadlines.into_iter().flatten().min();
        deadline.map(|at| at.saturating_duration_since(now))
    }

    /// A plugin that does not read is not listened to.
    fn wants_lines(&self) -> bool {
        self.session.wants_lines() && self.out.len() < SESSION_OUT_PAUSE_BYTES
    }

    fn read_input(&mut self, now: Instant) {
        for _ in 0..READS_PER_TURN {
            while self.wants_lines() {
                let line = match self.input.next_line() {
                    Some(Ok(line)) => FromPlugin::read(line),
                    Some(Err(LineTooLong)) => Err("a line was too long and left out".into()),
                    None => break,
                };
                self.session.handle_line(line, now);
                self.settle(now);
            }
            if self.input.has_ended() {
                self.is_over = true;
                return;
            }
            if !self.wants_lines() || !self.input.is_ready() {
                return;
            }
            self.input.read();
        }
    }

    /// Does what is to be done, and tells what came of it, until there is nothing more.
    fn settle(&mut self, now: Instant) {
        loop {
            let mut moved = false;
            while let Some(effect) = self.session.poll() {
                moved = true;
                match effect {
                    Effect::Seek => self.threads.seek(),
                    Effect::Check(edit, session) => self.threads.check(edit, session),
                    Effect::Say(out) => self.say(&out),
                    Effect::Ask(purpose, request, token) => {
                        let is_held = wait_of(&request) > 0;
                        let link = if is_held { &mut self.held } else { &mut self.asks };
                        let (token, start) = (token.as_deref(), StartPolicy::Never);
                        link.submit(purpose, request, token, start, None, now);
                    }
                }
            }
            while let Some(done) = self.threads.poll() {
                moved = true;
                self.handle_done(done, now);
            }
            for link in [&mut self.asks, &mut self.held] {
                while let Some(event) = link.poll_event() {
                    moved = true;
                    if let LinkEvent::Finished(purpose, result) = event {
                        self.session.handle_finished(purpose, result, now);
                    }
                }
            }
            self.write_output();
            if !moved {
                return;
            }
        }
    }

    fn handle_done(&mut self, done: Done, now: Instant) {
        match done {
            Done::Sought(Ok(sought)) => {
                self.directory = None;
                self.session.handle_sought(sought, now);
            }
            Done::Sought(Err(ClientError::NoBroker)) if self.directory.is_some() => {
                self.session.handle_sought(Sought::NoBroker { watched: true }, now);
            }
            Done::Sought(Err(ClientError::NoBroker)) => {
                self.watch_directory();
                if self.directory.is_some() {
                    // One may have come before the watch.
                    self.threads.seek();
                } else {
                    self.session.handle_sought(Sought::NoBroker { watched: false }, now);
                }
            }
            Done::Sought(Err(error)) => {
                log::debug(format_args!("it cannot be looked who this is: {error}"));
                self.session.handle_sought(Sought::Failed, now);
            }
            Done::Ruled(id, verdict) => {
                let (allow, reason) = match verdict {
                    Verdict::Deny(reason) => (false, Some(reason)),
                    Verdict::Warn(remark) => (true, Some(remark)),
                    _ => (true, None),
                };
                self.session.handle_ruling(id, allow, reason);
            }
        }
    }

    /// A broker that starts writes files there.
    fn watch_directory(&mut self) {
        let registry = self.poll.registry();
        self.directory = DirectoryWatch::open(self.config.paths.dir()).ok().filter(|watch| {
            let fd = watch.as_raw_fd();
            registry.register(&mut SourceFd(&fd), DIRECTORY, Interest::READABLE).is_ok()
        });
    }

    fn say(&mut self, out: &ToPlugin) {
        if let ToPlugin::Error(error) = out {
            log::warn(format_args!("{error}"));
        }
        if ndjson::append(&mut self.out, out.line().as_bytes()).is_err() {
            log::warn(format_args!("the plugin does not read: a line was dropped"));
        }
    }

    fn write_output(&mut self) {
        while !self.out.is_empty() && self.output.is_ready() {
            match self.out.write_to(self.output.writer()) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    log::info(format_args!("the plugin does not read any more: {error}"));
                    self.is_over = true;
                    return;
                }
            }
        }
    }
}
