//! The driver for programs with a poll of their own: the MCP server, `slm-mesh top`.
//!
//! One kept-alive connection to the broker at a time, made anew when it is lost. Requests are sent one
//! after the other, each as a [`Call`] that decides what to do; the link does it. Nothing here blocks.
//!
//! When the poll reports one of the tokens ready, call [`Link::handle_stream_ready`] or
//! [`Link::handle_launch_ready`]; at [`Link::deadline`], [`Link::advance`]; after each of these and
//! after [`Link::submit`], take what has happened from [`Link::poll_event`].

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::call::{Call, StartPolicy, Step};
use super::connection::{Answer, Connection};
use super::error::ClientError;
use super::launch::Launch;
use super::locate::{Broker, locate};
use super::reach::{self, Tried};
use crate::api::Request;
use crate::config::Config;
use crate::platform::{Address, Stream, poll_readable};

/// Something that happened on a link.
#[derive(Debug)]
pub enum LinkEvent<P> {
    /// A request has a result.
    Finished(P, Result<Vec<u8>, ClientError>),
    /// A connection that had been used has ended.
    Lost,
}

#[derive(Debug)]
struct PendingCall<P> {
    purpose: P,
    call: Call,
}

#[derive(Debug)]
struct Socket {
    stream: Stream,
    address: Address,
    broker: Broker,
    connection: Connection,
    /// Addresses that were tried before this one.
    tried: Tried,
    is_connected: bool,
    /// Whether an answer has arrived over it.
    was_of_use: bool,
}

/// See the module. `P` is what a request is for, in its owner's words.
#[derive(Debug)]
pub struct Link<P> {
    config: Config,
    registry: Registry,
    stream_token: Token,
    launch_token: Token,
    /// The first is under way.
    queue: VecDeque<PendingCall<P>>,
    /// The first has been sent to the broker.
    is_exchanging: bool,
    socket: Option<Socket>,
    launch: Option<Launch>,
    /// The broker that answered last.
    known: Option<Broker>,
    events: VecDeque<LinkEvent<P>>,
}

impl<P: PartialEq> Link<P> {
    /// A link to the broker of `config`'s data directory; its descriptors are registered with
    /// `registry` under these tokens.
    #[must_use]
    pub fn new(
        config: Config,
        registry: Registry,
        stream_token: Token,
        launch_token: Token,
    ) -> Self {
        Self {
            config,
            registry,
            stream_token,
            launch_token,
            queue: VecDeque::new(),
            is_exchanging: false,
            socket: None,
            launch: None,
            known: None,
            events: VecDeque::new(),
        }
    }

    /// Queues a request, with `token` or else with the broker's own. It fails at `until`, or when the
    /// time of a call is over, whichever comes first.
    pub fn submit(
        &mut self,
        purpose: P,
        request: Request,
        token: Option<&str>,
        start: StartPolicy,
        until: Option<Instant>,
        now: Instant,
    ) {
        let mut call = Call::new(request, start, self.known.clone(), now);
        if let Some(token) = token {
            call = call.with_token(token);
        }
        if let Some(until) = until {
            call = call.until(until);
        }
        self.queue.push_back(PendingCall { purpose, call });
        self.advance(now);
    }

    /// Discards the result of a request. One that was sent stays, since its answer has to be read; the
    /// start of a broker for it is aborted.
    pub fn forget(&mut self, purpose: &P, now: Instant) {
        let Some(at) = self.queue.iter().position(|asking| asking.purpose == *purpose) else {
            return;
        };
        if at == 0 && self.is_exchanging {
            return;
        }
        self.queue.remove(at);
        if at == 0 {
            self.drop_launch();
        }
        self.advance(now);
    }

    /// When [`Link::advance`] has to be called at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let first = self.queue.front().map(|asking| asking.call.deadline());
        let rest = self.queue.iter().skip(1).map(|asking| asking.call.fails_at());
        first.into_iter().chain(rest).min()
    }

    /// The next event, if there is one.
    pub fn poll_event(&mut self) -> Option<LinkEvent<P>> {
        self.events.pop_front()
    }

    /// Does what is due `now`.
    pub fn advance(&mut self, now: Instant) {
        self.expire_queued(now);
        while let Some(asking) = self.queue.front_mut() {
            if self.is_exchanging && asking.call.fails_at() <= now {
                let socket = self.socket.as_ref();
                let in_doubt = socket.is_some_and(|socket| socket.connection.is_in_doubt());
                asking.call.handle_silence(in_doubt);
            }
            match asking.call.poll(now) {
                None => break,
                Some(Step::Locate) => {
                    asking.call.handle_located(locate(&self.config), now);
                }
                Some(Step::Launch) => self.begin_launch(),
                Some(Step::Exchange(broker)) => self.exchange(&broker, now),
                Some(Step::Done(result)) => self.finish(result),
            }
        }
    }

    /// Those behind the first fail at their deadlines, too.
    fn expire_queued(&mut self, now: Instant) {
        let late = |asking: &PendingCall<P>| asking.call.fails_at() <= now;
        while let Some(at) = self.queue.iter().skip(1).position(late) {
            let Some(mut asking) = self.queue.remove(at + 1) else { break };
            if let Some(Step::Done(result)) = asking.call.poll(now) {
                let result = result.and_then(Answer::into_result);
                self.events.push_back(LinkEvent::Finished(asking.purpose, result));
            }
        }
    }

    fn finish(&mut self, result: Result<Answer, ClientError>) {
        self.drop_launch();
        if std::mem::take(&mut self.is_exchanging) {
            // Its answer may still arrive, and would be taken for that to the next request.
            self.close();
        }
        if let Some(PendingCall { purpose, .. }) = self.queue.pop_front() {
            let result = result.and_then(Answer::into_result);
            self.events.push_back(LinkEvent::Finished(purpose, result));
        }
    }

    fn begin_launch(&mut self) {
        let launched = Launch::spawn(&self.config).and_then(|launch| {
            let fd = launch.as_raw_fd();
            let registered =
                self.registry.register(&mut SourceFd(&fd), self.launch_token, Interest::READABLE);
            registered.map(|()| launch).map_err(|error| ClientError::StartFailed {
                reason: format!("it cannot be waited for: {error}").into(),
            })
        });
        match launched {
            Ok(launch) => self.launch = Some(launch),
            Err(error) => {
                if let Some(asking) = self.queue.front_mut() {
                    asking.call.handle_launched(Err(error));
                }
            }
        }
    }

    fn drop_launch(&mut self) {
        if let Some(launch) = self.launch.take() {
            // It goes with its descriptor anyway.
            let _ = self.registry.deregister(&mut SourceFd(&launch.as_raw_fd()));
        }
    }

    /// The output of a starting broker can be read.
    pub fn handle_launch_ready(&mut self, now: Instant) {
        if let Some(result) = self.launch.as_mut().and_then(Launch::advance) {
            self.drop_launch();
            if let Some(asking) = self.queue.front_mut() {
                asking.call.handle_launched(result);
            }
        }
        self.advance(now);
    }

    fn exchange(&mut self, broker: &Broker, now: Instant) {
        self.is_exchanging = true;
        if !self.socket.as_ref().is_some_and(|socket| socket.can_take(broker)) {
            self.close();
            match self.connect(broker) {
                Ok(socket) => self.socket = Some(socket),
                Err(error) => return self.broken(error, now),
            }
        }
        let (Some(socket), Some(asking)) = (&mut self.socket, self.queue.front_mut()) else {
            return;
        };
        match asking.call.send_on(&mut socket.connection, now) {
            Ok(()) => self.serve_stream(now),
            Err(error) => self.broken(error, now),
        }
    }

    fn connect(&mut self, broker: &Broker) -> Result<Socket, ClientError> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let mut tried = Tried::default();
        for address in broker.addresses() {
            let connected = address.connect().and_then(|mut stream| {
                self.registry.register(&mut stream, self.stream_token, interest)?;
                Ok(stream)
            });
            match connected {
                Ok(stream) => {
                    return Ok(Socket {
                        stream,
                        address,
                        broker: broker.clone(),
                        connection: Connection::new(broker),
                        tried,
                        is_connected: false,
                        was_of_use: false,
                    });
                }
                Err(error) => tried.note(address, error),
            }
        }
        Err(tried.into_error(broker))
    }

    /// The connection can be written to or read from, or has ended.
    pub fn handle_stream_ready(&mut self, now: Instant) {
        self.serve_stream(now);
        self.advance(now);
    }

    fn serve_stream(&mut self, now: Instant) {
        let Some(socket) = &mut self.socket else { return };
        let Talk { answer, end } = socket.talk();
        if let Some(answer) = answer {
            socket.was_of_use = true;
            self.known = Some(socket.broker.clone());
            self.is_exchanging = false;
            if let Some(asking) = self.queue.front_mut() {
                asking.call.handle_answer(answer, now);
            }
        }
        if let Some(error) = end {
            self.broken(error, now);
        }
    }

    /// The connection can no longer be used.
    fn broken(&mut self, error: ClientError, now: Instant) {
        let in_doubt = self.socket.as_ref().is_some_and(|socket| socket.connection.is_in_doubt());
        self.close();
        self.known = None;
        if std::mem::take(&mut self.is_exchanging)
            && let Some(asking) = self.queue.front_mut()
        {
            asking.call.handle_broken(error, in_doubt, now);
        }
    }

    fn close(&mut self) {
        if let Some(mut socket) = self.socket.take() {
            // It goes with its descriptor anyway.
            let _ = self.registry.deregister(&mut socket.stream);
            if socket.was_of_use {
                self.events.push_back(LinkEvent::Lost);
            }
        }
    }
}

/// What reading and writing brought.
#[derive(Debug, Default)]
struct Talk {
    answer: Option<Answer>,
    /// Why the connection can no longer be used, if so.
    end: Option<ClientError>,
}

impl Socket {
    /// Whether the next request to `broker` can use this connection. One that was closed while idle
    /// is noticed here, before a request is lost on it.
    fn can_take(&self, broker: &Broker) -> bool {
        let quiet = poll_readable(&self.stream, Some(Duration::ZERO));
        self.connection.is_ready() && self.connection.leads_to(broker) && matches!(quiet, Ok(false))
    }

    /// Writes and reads as much as there is.
    fn talk(&mut self) -> Talk {
        let mut talk = Talk::default();
        match self.exchange_bytes(&mut talk) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if self.is_connected => {
                talk.end = Some(reach::broken(&self.address, &error));
            }
            Err(error) => {
                let mut tried = std::mem::take(&mut self.tried);
                tried.note(self.address.clone(), error);
                talk.end = Some(tried.into_error(&self.broker));
            }
        }
        // The broker may have closed it, or sent something that nobody asked for.
        if talk.answer.is_some() && talk.end.is_none() && !self.connection.is_ready() {
            let error = io::ErrorKind::ConnectionAborted.into();
            talk.end = Some(reach::broken(&self.address, &error));
        }
        talk
    }

    fn exchange_bytes(&mut self, talk: &mut Talk) -> io::Result<()> {
        if !self.is_connected {
            if !self.stream.is_connected()? {
                return Ok(());
            }
            self.is_connected = true;
        }
        loop {
            while self.connection.wants_write() {
                self.connection.write_to(&mut self.stream)?;
            }
            if self.connection.read_from(&mut self.stream)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match self.connection.poll_answer() {
                Ok(Some(answer)) => talk.answer = Some(answer),
                Ok(None) => {}
                Err(error) => {
                    talk.end = Some(error);
                    return Ok(());
                }
            }
        }
    }
}
