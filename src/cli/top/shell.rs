//! The loop: one thread, one poll over the terminal, signals, and two connections to the broker, one
//! of which is held until something happens.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Signal, kill_current_process_group};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;
use signal_hook::low_level::emulate_default_handler;

use super::app::{App, Wish};
use super::asks::Purpose;
use super::keys::Keys;
use super::screen::Screen;
use super::terminal::Terminal;
use super::view;
use crate::cli::{Exit, Failure, Result};
use crate::client::{BrokerLink, LinkEvent, StartPolicy};
use crate::config::Config;
use crate::model::{Monotonic, Now};

const INPUT: Token = Token(0);
const SIGNALS: Token = Token(1);
const EVENTS: Token = Token(2);
const QUERIES: Token = Token(3);
/// Of the start of a broker, which never happens here.
const NEVER: Token = Token(4);

/// Between two screens: about 60 a second.
const FRAME_TIME: Duration = Duration::from_millis(16);
/// The least time between two screens, in multiples of what drawing one took: a slow machine draws less
/// often.
const FRAME_SHARE: u32 = 8;
/// How long after an ESC the rest of a key's sequence may come.
const ESCAPE_TIME: Duration = Duration::from_millis(40);
/// How soon a terminal that takes nothing is tried again.
const STALLED_TIME: Duration = Duration::from_millis(50);

/// Draws until the person leaves, or something ends it.
pub(super) fn run(config: &Config, home: Option<PathBuf>, color: bool) -> Result<Exit> {
    let signals = watch_signals().map_err(|error| cannot("signals cannot be watched", &error))?;
    let terminal = Terminal::enter().map_err(|error| cannot("the terminal has gone", &error))?;
    let mut shell = Shell::new(config, home, color, terminal, signals)
        .map_err(|error| cannot("the terminal cannot be watched", &error))?;
    let result = shell.run();
    // Given back before anything is said.
    drop(shell.terminal);
    if let Some(signal) = shell.ended_by {
        // The end that was asked for, as whoever started this sees it.
        let _ = emulate_default_handler(signal);
    }
    result
}

fn cannot(what: &str, error: &io::Error) -> Failure {
    Failure::other("terminal", format!("{what}: {error}"))
}

type Signals = SignalDelivery<UnixStream, SignalOnly>;

fn watch_signals() -> io::Result<Signals> {
    let (wake, handlers) = UnixStream::pair()?;
    let signals = [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH];
    SignalDelivery::with_pipe(wake, handlers, SignalOnly, signals)
}

struct Shell {
    poll: Poll,
    app: App,
    keys: Keys,
    screen: Screen,
    terminal: Terminal,
    signals: Signals,
    events: BrokerLink<Purpose>,
    queries: BrokerLink<Purpose>,
    color: bool,
    begun: Instant,
    /// When something was typed last.
    typed_at: Instant,
    /// The next screen is not drawn before this time.
    draw_at: Instant,
    wants_drawing: bool,
    is_over: bool,
    /// The signal that asked for the end.
    ended_by: Option<i32>,
}

impl Shell {
    fn new(
        config: &Config,
        home: Option<PathBuf>,
        color: bool,
        terminal: Terminal,
        signals: Signals,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        let stdin = io::stdin().as_raw_fd();
        registry.register(&mut SourceFd(&stdin), INPUT, Interest::READABLE)?;
        registry.register(
            &mut SourceFd(&signals.get_read().as_raw_fd()),
            SIGNALS,
            Interest::READABLE,
        )?;
        let link = |token| {
            io::Result::Ok(BrokerLink::new(config.clone(), registry.try_clone()?, token, NEVER))
        };
        let (events, queries) = (link(EVENTS)?, link(QUERIES)?);
        let begun = Instant::now();
        Ok(Self {
            poll,
            app: App::new(Terminal::size(), home, now(begun, begun)),
            keys: Keys::default(),
            screen: Screen::default(),
            terminal,
            signals,
            events,
            queries,
            color,
            begun,
            typed_at: begun,
            draw_at: begun,
            wants_drawing: true,
            is_over: false,
            ended_by: None,
        })
    }

    fn run(&mut self) -> Result<Exit> {
        let mut ready = Events::with_capacity(16);
        // Something may have been typed, or a signal have come, before they were watched.
        self.read_input();
        loop {
            let at = Instant::now();
            self.app.handle_time(now(self.begun, at));
            self.settle(at);
            self.grant_wish()?;
            if let Some(error) = self.app.failure.take() {
                return Err(error.into());
            }
            if self.is_over {
                return Ok(Exit::Done);
            }
            self.draw(at);
            match self.poll.poll(&mut ready, self.timeout(at)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(cannot("nothing can be waited for", &error)),
            }
            self.handle_ready(&ready);
        }
    }

    fn handle_ready(&mut self, ready: &Events) {
        let at = Instant::now();
        let is_ready = |token| ready.iter().any(|event| event.token() == token);
        if is_ready(INPUT) {
            self.typed_at = at;
            self.read_input();
        }
        if self.keys.is_undecided()
            && at.duration_since(self.typed_at) >= ESCAPE_TIME
            && let Some(key) = self.keys.decide()
        {
            self.app.handle_key(&key);
        }
        if is_ready(SIGNALS) {
            self.app.handle_resize(Terminal::size());
            // Asked again after each: SIGCONT comes while SIGTSTP is being handled.
            while let Some(signal) = self.signals.pending().next() {
                self.handle_signal(signal);
            }
        }
        for (token, link) in [(EVENTS, &mut self.events), (QUERIES, &mut self.queries)] {
            if is_ready(token) {
                link.handle_stream_ready(at);
            }
            if link.deadline().is_some_and(|deadline| deadline <= at) {
                link.advance(at);
            }
        }
    }

    fn handle_signal(&mut self, signal: i32) {
        match signal {
            SIGWINCH => {}
            SIGTSTP => {
                self.terminal.suspend();
                // Ends when SIGCONT has come, or at once where the process cannot be stopped.
                let _ = emulate_default_handler(SIGTSTP);
                self.take_terminal();
            }
            SIGCONT => self.take_terminal(),
            ending => (self.is_over, self.ended_by) = (true, Some(ending)),
        }
    }

    /// The shell may have had the terminal meanwhile.
    fn take_terminal(&mut self) {
        self.is_over |= self.terminal.enter_again().is_err();
        self.app.handle_resize(Terminal::size());
        self.screen.forget();
        self.wants_drawing = true;
    }

    fn read_input(&mut self) {
        let Some(bytes) = Terminal::read() else {
            self.is_over = true;
            return;
        };
        self.keys.feed(&bytes);
        while let Some(key) = self.keys.next_key() {
            self.app.handle_key(&key);
        }
    }

    /// Asks what is to be asked, and tells what came of it.
    fn settle(&mut self, at: Instant) {
        loop {
            let mut moved = false;
            while let Some((purpose, request)) = self.app.poll() {
                moved = true;
                let link = match purpose {
                    Purpose::Events => &mut self.events,
                    _ => &mut self.queries,
                };
                link.submit(purpose, request, None, StartPolicy::Never, None, at);
            }
            for link in [&mut self.events, &mut self.queries] {
                while let Some(event) = link.poll_event() {
                    moved = true;
                    if let LinkEvent::Finished(purpose, result) = event {
                        self.app.handle_result(&purpose, result);
                    }
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn grant_wish(&mut self) -> Result<()> {
        match self.app.wish.take() {
            None => {}
            Some(Wish::Quit) => self.is_over = true,
            Some(Wish::Redraw) => self.screen.forget(),
            // All of the job, as the terminal would do it; this process is told by the signal.
            Some(Wish::Suspend) => kill_current_process_group(Signal::TSTP)
                .map_err(|error| cannot("it cannot be suspended", &error.into()))?,
        }
        Ok(())
    }

    /// Draws, if there is something new, the last screen has been taken, and it is not too soon.
    fn draw(&mut self, at: Instant) {
        self.wants_drawing |= std::mem::take(&mut self.app.is_dirty);
        match self.terminal.flush() {
            Ok(true) if self.wants_drawing && at >= self.draw_at => {}
            Ok(_) => return,
            Err(_) => return self.is_over = true,
        }
        self.wants_drawing = false;
        let frame = view::draw(&self.app, self.color);
        self.app.changes_at = frame.changes_at;
        self.screen.show(frame.buffer, self.terminal.out());
        self.is_over |= self.terminal.flush().is_err();
        self.draw_at = at + FRAME_TIME.max(at.elapsed() * FRAME_SHARE);
    }

    /// How long there is nothing to do.
    fn timeout(&self, at: Instant) -> Option<Duration> {
        if self.is_over {
            return Some(Duration::ZERO);
        }
        let until = |deadline: Instant| deadline.saturating_duration_since(at);
        let drawing = self.wants_drawing.then(|| until(self.draw_at));
        let stalled = (!self.terminal.is_idle()).then_some(STALLED_TIME);
        let escape = self.keys.is_undecided().then(|| until(self.typed_at + ESCAPE_TIME));
        let links = [self.events.deadline(), self.queries.deadline()];
        let links = links.into_iter().flatten().min().map(until);
        // A stalled terminal is drawn on when it goes on.
        let drawing = if stalled.is_some() { None } else { drawing };
        [drawing, stalled, escape, links, self.app.deadline()].into_iter().flatten().min()
    }
}

/// What time it is.
fn now(begun: Instant, at: Instant) -> Now {
    let mono = Monotonic(at.duration_since(begun));
    Now { wall: crate::cli::out::now(), mono, ..Now::default() }
}
