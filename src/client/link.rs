//! The driver for programs with a poll of their own: the MCP server, `slm-mesh top`.
//!
//! One kept-alive connection to the broker at a time, made anew when it is lost. Requests are sent one
//! after the other, each as a [`Call`] that decides what to do; the link does it. Nothing here blocks.
//!
//! When the poll reports one of the tokens ready, call [`BrokerLink::handle_stream_ready`] or
//! [`BrokerLink::handle_launch_ready`]; at [`BrokerLink::deadline`], [`BrokerLink::advance`]; after each of these and
//! after [`BrokerLink::submit`], take what has happened from [`BrokerLink::poll_event`].

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::call::{Call, CallStep, StartPolicy};
use super::connection::BrokerAnswer;
use super::error::ClientError;
use super::launch::Launch;
use super::locate::{Broker, locate};
use super::reach::BrokerSocket;
use crate::api::Request;
use crate::config::Config;

/// Something that happened on a link.
#[derive(Debug)]
pub(crate) enum LinkEvent<P> {
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
struct LinkSocket {
    socket: BrokerSocket,
    is_connected: bool,
    /// Whether an answer has arrived over it.
    was_of_use: bool,
}

/// See the module. `P` is what a request is for, in its owner's words.
#[derive(Debug)]
pub(crate) struct BrokerLink<P> {
    config: Config,
    registry: Registry,
    stream_token: Token,
    launch_token: Token,
    /// The first is under way.
    queue: VecDeque<PendingCall<P>>,
    /// The first has been sent to the broker.
    is_exchanging: bool,
    socket: Option<LinkSocket>,
    launch: Option<Launch>,
    /// The broker that answered last.
    known: Option<Broker>,
    events: VecDeque<LinkEvent<P>>,
}

impl<P: PartialEq> BrokerLink<P> {
    /// A link to the broker of `config`'s data directory; its descriptors are registered with
    /// `registry` under these tokens.
    pub(crate) fn new(
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
    pub(crate) fn submit(
        &mut self,
        purpose: P,
        request: Request,
        token: Option<&str>,
        start: StartPolicy,
        until: Option<Instant>,
        now: Instant,
    ) {
        let call = Call::new(request, start, self.known.clone(), now);
        let call = call.with_token(token).until(until);
        self.queue.push_back(PendingCall { purpose, call });
        self.advance(now);
    }

    /// Discards the result of a request. One that was sent stays, since its answer has to be read; the
    /// start of a broker for it is aborted.
    pub(crate) fn forget(&mut self, purpose: &P, now: Instant) {
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

    /// When [`BrokerLink::advance`] has to be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let first = self.queue.front().map(|asking| asking.call.deadline());
        let rest = self.queue.iter().skip(1).map(|asking| asking.call.fails_at());
        first.into_iter().chain(rest).min()
    }

    /// The next event, if there is one.
    pub(crate) fn poll_event(&mut self) -> Option<LinkEvent<P>> {
        self.events.pop_front()
    }

    /// Does what is due `now`.
    pub(crate) fn advance(&mut self, now: Instant) {
        self.expire_queued(now);
        while let Some(asking) = self.queue.front_mut() {
            if self.is_exchanging && asking.call.fails_at() <= now {
                let in_doubt = self.socket.as_ref().is_some_and(LinkSocket::is_in_doubt);
                asking.call.handle_silence(in_doubt);
            }
            match asking.call.poll(now) {
                None => break,
                Some(CallStep::Locate) => {
                    asking.call.handle_located(locate(&self.config), now);
                }
                Some(CallStep::Launch) => self.begin_launch(),
                Some(CallStep::Exchange(broker)) => self.exchange(&broker, now),
                Some(CallStep::Done(result)) => self.finish(result),
            }
        }
    }

    /// Those behind the first fail at their deadlines, too.
    fn expire_queued(&mut self, now: Instant) {
        let late = |asking: &PendingCall<P>| asking.call.fails_at() <= now;
        while let Some(at) = self.queue.iter().skip(1).position(late) {
            let Some(mut asking) = self.queue.remove(at + 1) else { break };
            if let Some(CallStep::Done(result)) = asking.call.poll(now) {
                let result = result.and_then(BrokerAnswer::into_result);
                self.events.push_back(LinkEvent::Finished(asking.purpose, result));
            }
        }
    }

    fn finish(&mut self, result: Result<BrokerAnswer, ClientError>) {
        self.drop_launch();
        if std::mem::take(&mut self.is_exchanging) {
            // Its answer may still arrive, and would be taken for that to the next request.
            self.close();
        }
        if let Some(PendingCall { purpose, .. }) = self.queue.pop_front() {
            let result = result.and_then(BrokerAnswer::into_result);
            self.events.push_back(LinkEvent::Finished(purpose, result));
        }
    }

    fn begin_launch(&mut self) {
        let launched = Launch::spawn(&self.config).and_then(|launch| {
            let fd = launch.as_fd().as_raw_fd();
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
            let _ = self.registry.deregister(&mut SourceFd(&launch.as_fd().as_raw_fd()));
        }
    }

    /// The output of a starting broker can be read.
    pub(crate) fn handle_launch_ready(&mut self, now: Instant) {
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
        let (Some(link), Some(asking)) = (&mut self.socket, self.queue.front_mut()) else {
            return;
        };
        match asking.call.send_on(&mut link.socket.connection, now) {
            Ok(()) => self.serve_stream(now),
            Err(error) => self.broken(error, now),
        }
    }

    fn connect(&self, broker: &Broker) -> Result<LinkSocket, ClientError> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let socket = BrokerSocket::connect(broker, |address| {
            let mut stream = address.connect()?;
            self.registry.register(&mut stream, self.stream_token, interest)?;
            Ok(stream)
        })?;
        Ok(LinkSocket { socket, is_connected: false, was_of_use: false })
    }

    /// The connection can be written to or read from, or has ended.
    pub(crate) fn handle_stream_ready(&mut self, now: Instant) {
        self.serve_stream(now);
        self.advance(now);
    }

    fn serve_stream(&mut self, now: Instant) {
        let Some(link) = &mut self.socket else { return };
        let Talk { answer, end } = link.talk();
        if let Some(answer) = answer {
            link.was_of_use = true;
            self.known = Some(link.socket.connection.broker.clone());
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
        let in_doubt = self.socket.as_ref().is_some_and(LinkSocket::is_in_doubt);
        self.close();
        self.known = None;
        if std::mem::take(&mut self.is_exchanging)
            && let Some(asking) = self.queue.front_mut()
        {
            asking.call.handle_broken(error, in_doubt, now);
        }
    }

    fn close(&mut self) {
        if let Some(mut link) = self.socket.take() {
            // It goes with its descriptor anyway.
            let _ = self.registry.deregister(&mut link.socket.stream);
            if link.was_of_use {
                self.events.push_back(LinkEvent::Lost);
            }
        }
    }
}

/// What reading and writing brought.
#[derive(Debug, Default)]
struct Talk {
    answer: Option<BrokerAnswer>,
    /// Why the connection can no longer be used, if so.
    end: Option<ClientError>,
}

impl LinkSocket {
    /// Whether the next request to `broker` can use this connection.
    fn can_take(&self, broker: &Broker) -> bool {
        self.socket.connection.leads_to(broker) && self.socket.is_ready()
    }

    fn is_in_doubt(&self) -> bool {
        self.socket.connection.is_in_doubt()
    }

    /// Writes and reads as much as there is.
    fn talk(&mut self) -> Talk {
        let mut talk = Talk::default();
        match self.exchange_bytes(&mut talk) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if self.is_connected => talk.end = Some(self.socket.broken(&error)),
            Err(error) => talk.end = Some(self.socket.unconnected(error)),
        }
        // The broker may have closed it, or sent something that nobody asked for.
        if talk.answer.is_some() && talk.end.is_none() && !self.socket.connection.is_ready() {
            let error = io::ErrorKind::ConnectionAborted.into();
            talk.end = Some(self.socket.broken(&error));
        }
        talk
    }

    fn exchange_bytes(&mut self, talk: &mut Talk) -> io::Result<()> {
        let BrokerSocket { stream, connection, .. } = &mut self.socket;
        if !self.is_connected {
            if !stream.is_connected()? {
                return Ok(());
            }
            self.is_connected = true;
        }
        loop {
            while connection.wants_write() {
                connection.write_to(stream)?;
            }
            if connection.read_from(stream)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match connection.poll_answer() {
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
