//! One request from its first attempt to its result: which step is next, what a failure means, and
//! what may be tried again. Decides only; whoever drives it does what it asks for.
//!
//! [`Call::poll`] returns the next [`CallStep`], each once. Do it, then report the result:
//!
//! | step | done by | reported with |
//! |---|---|---|
//! | [`CallStep::Locate`] | [`super::locate::locate`] | [`Call::handle_located`] |
//! | [`CallStep::Launch`] | [`super::launch::Launch`] | [`Call::handle_launched`] |
//! | [`CallStep::Exchange`] | a [`Connection`] to that broker, [`Call::send_on`] | [`Call::handle_answer`] or [`Call::handle_broken`] |
//! | [`CallStep::Done`] | | |
//!
//! `None` means that there is nothing to do but wait for the step under way, until
//! [`Call::deadline`] at the latest, when `poll` has to be called again.

use std::time::{Duration, Instant};

use super::connection::{BrokerAnswer, Connection};
use super::error::ClientError;
use super::locate::{Broker, Located};
use super::repetition::is_repeatable;
use crate::api::{Claim, Code, Fetch, LockFile, ReadEvents, Request};
use crate::limits::CALL_TIME_MAX;

/// First pause before a failed step is tried again; it doubles each time.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// Longest such pause.
const PAUSE_MAX: Duration = Duration::from_millis(160);
/// How long a broker that answers `unavailable` is watched: it may be one that is about to end.
const ENDING_TIME_MAX: Duration = Duration::from_millis(500);
/// Most brokers started by one call: one that ends right after its start does not help.
const LAUNCHES_MAX: u32 = 3;
/// How often a call is tried that a sandbox around this process forbids: for a third of a second,
/// in which a broker in another container may restart.
const BARRED_FAILURES_MAX: u32 = 6;
/// Time reserved for the answer when a held request is sent again.
const ANSWER_TIME: Duration = Duration::from_millis(2500);

/// Whether a call that finds no broker starts one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartPolicy {
    /// The call fails.
    Never,
    /// The call starts one.
    IfNeeded,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CallStep {
    /// Find out who serves.
    Locate,
    /// Start a broker.
    Launch,
    /// Ask this broker.
    Exchange(Broker),
    /// Nothing more: this is the result.
    Done(Result<BrokerAnswer, ClientError>),
}

#[derive(Debug)]
enum State {
    /// This step has not been handed out yet.
    Next(CallStep),
    /// The driver is at it.
    Locating,
    /// The driver is at it.
    Launching,
    /// The driver is at it.
    Exchanging(Broker),
    /// Nothing until then; after that, locate.
    Pausing(Instant),
    /// The result was handed out.
    Over,
}

/// An answer that may come from a broker which is about to end or has ended.
#[derive(Debug)]
struct Doubted {
    answer: BrokerAnswer,
    from: Broker,
    /// When the answer is accepted, if that broker is still there.
    until: Instant,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Call {
    request: Request,
    token: Option<Box<str>>,
    start: StartPolicy,
    begun: Instant,
    deadline: Instant,
    state: State,
    doubted: Option<Doubted>,
    /// The last reason why the broker could not be asked.
    trouble: Option<ClientError>,
    failures: u32,
    launches: u32,
    /// Port and token have been read once more after a 401.
    reread: bool,
    /// The request has gone out and was not answered.
    in_doubt: bool,
}

impl Call {
    /// A call of `request`, made `now`. `known` is the broker of the last call, which is asked
    /// first. It fails after [`CALL_TIME_MAX`], and the time the request may be held.
    pub(crate) fn new(
        request: Request,
        start: StartPolicy,
        known: Option<Broker>,
        now: Instant,
    ) -> Self {
        let deadline = now + CALL_TIME_MAX + Duration::from_secs(wait_of(&request));
        Self {
            request,
            token: None,
            start,
            begun: now,
            deadline,
            state: State::Next(known.map_or(CallStep::Locate, CallStep::Exchange)),
            doubted: None,
            trouble: None,
            failures: 0,
            launches: 0,
            reread: false,
            in_doubt: false,
        }
    }

    /// The same in the name of the peer whose token this is.
    pub(crate) fn with_token(self, token: Option<&str>) -> Self {
        Self { token: token.map(Into::into), ..self }
    }

    /// The same, but it fails at `deadline` if that comes first.
    pub(crate) fn until(self, deadline: Option<Instant>) -> Self {
        Self { deadline: deadline.map_or(self.deadline, |at| at.min(self.deadline)), ..self }
    }

    /// When [`Call::poll`] has to be called at the latest.
    pub(crate) fn deadline(&self) -> Instant {
        match self.state {
            State::Pausing(until) => until.min(self.deadline),
            _ => self.deadline,
        }
    }

    /// When the call fails.
    pub(crate) fn fails_at(&self) -> Instant {
        self.deadline
    }

    /// The next step; each is returned once.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<CallStep> {
        if now >= self.deadline {
            return self.give_up(now);
        }
        if matches!(self.state, State::Pausing(until) if now >= until) {
            self.state = State::Next(CallStep::Locate);
        }
        let State::Next(step) = &mut self.state else { return None };
        let (waiting, step) = match std::mem::replace(step, CallStep::Locate) {
            CallStep::Locate => (State::Locating, CallStep::Locate),
            CallStep::Launch => (State::Launching, CallStep::Launch),
            CallStep::Exchange(broker) => {
                (State::Exchanging(broker.clone()), CallStep::Exchange(broker))
            }
            done @ CallStep::Done(_) => (State::Over, done),
        };
        self.state = waiting;
        Some(step)
    }

    /// Puts the request on `connection`, which must be one to the broker of [`CallStep::Exchange`].
    ///
    /// # Errors
    /// As [`Connection::send`]; report it with [`Call::handle_broken`].
    pub(crate) fn send_on(
        &self,
        connection: &mut Connection,
        now: Instant,
    ) -> Result<(), ClientError> {
        let token = self.token.as_deref();
        let wait = wait_of(&self.request);
        let left = self.deadline.saturating_duration_since(now).saturating_sub(ANSWER_TIME);
        if left.as_secs() < wait {
            let mut shorter = self.request.clone();
            if let Request::Fetch(Fetch { wait, .. })
            | Request::ReadEvents(ReadEvents { wait, .. })
            | Request::Claim(Claim { wait, .. })
            | Request::Lock(LockFile { wait, .. }) = &mut shorter
            {
                *wait = left.as_secs();
            }
            return connection.send(&shorter, token);
        }
        connection.send(&self.request, token)
    }

    /// Takes the result of [`CallStep::Locate`].
    pub(crate) fn handle_located(&mut self, located: Result<Located, ClientError>, now: Instant) {
        if !matches!(self.state, State::Locating) {
            return;
        }
        match located {
            Ok(Located::Serving(broker)) => self.found(broker, now),
            Ok(Located::NotReady(trouble)) => {
                self.trouble = Some(trouble);
                self.pause(now);
            }
            Ok(Located::Absent) => match self.start {
                StartPolicy::Never => self.finish(Err(ClientError::NoBroker)),
                StartPolicy::IfNeeded if self.launches < LAUNCHES_MAX => {
                    self.launches += 1;
                    self.state = State::Next(CallStep::Launch);
                }
                StartPolicy::IfNeeded => self.finish(Err(ClientError::StartFailed {
                    reason: "it started, and ended again at once; its log is broker.log in the \
                             data directory"
                        .into(),
                })),
            },
            Err(error) => self.finish(Err(error)),
        }
    }

    fn found(&mut self, broker: Broker, now: Instant) {
        if let Some(doubted) = self.doubted.take_if(|doubted| doubted.from == broker) {
            if now >= doubted.until {
                return self.finish(Ok(doubted.answer));
            }
            self.doubted = Some(doubted);
            return self.pause(now);
        }
        self.doubted = None;
        self.state = State::Next(CallStep::Exchange(broker));
    }

    /// Takes the result of [`CallStep::Launch`].
    pub(crate) fn handle_launched(&mut self, launched: Result<(), ClientError>) {
        if !matches!(self.state, State::Launching) {
            return;
        }
        match launched {
            Ok(()) => self.state = State::Next(CallStep::Locate),
            Err(error) => self.finish(Err(error)),
        }
    }

    /// The broker has answered.
    pub(crate) fn handle_answer(&mut self, answer: BrokerAnswer, now: Instant) {
        let State::Exchanging(from) = std::mem::replace(&mut self.state, State::Over) else {
            return;
        };
        let until = match answer.status {
            // It may be a successor, whose token is another.
            401 if !self.reread => now,
            // It may be about to end; nothing of the request was kept.
            503 if is_unavailable(&answer) => now + ENDING_TIME_MAX,
            _ => return self.finish(Ok(answer)),
        };
        self.reread |= answer.status == 401;
        self.doubted = Some(Doubted { answer, from, until });
        self.state = State::Next(CallStep::Locate);
    }

    /// The broker could not be asked, or the connection broke before the answer. `in_doubt` as
    /// [`Connection::is_in_doubt`] has it.
    pub(crate) fn handle_broken(&mut self, error: ClientError, in_doubt: bool, now: Instant) {
        if !matches!(self.state, State::Exchanging(_)) {
            return;
        }
        self.in_doubt |= in_doubt;
        let lasts = match &error {
            // The files may be about to change, but not forever.
            ClientError::NotOurs { .. } => self.failures > 3,
            ClientError::Unreachable { .. } => false,
            // The broker may have been about to end; a sandbox stays.
            ClientError::Barred { .. } => self.failures > BARRED_FAILURES_MAX,
            _ => true,
        };
        if lasts {
            self.finish(Err(error));
        } else if in_doubt && !is_repeatable(&self.request) {
            self.finish(Err(error.in_doubt()));
        } else {
            self.trouble = Some(error);
            self.pause(now);
        }
    }

    /// The broker has not answered by the time of the call. `in_doubt` as [`Connection::is_in_doubt`]
    /// has it.
    pub(crate) fn handle_silence(&mut self, in_doubt: bool) {
        self.in_doubt |= in_doubt;
    }

    /// Looks again, at once the first time.
    fn pause(&mut self, now: Instant) {
        let pause = PAUSE_MIN * 2_u32.saturating_pow(self.failures.saturating_sub(1).min(8));
        self.failures += 1;
        self.state = if self.failures == 1 {
            State::Next(CallStep::Locate)
        } else {
            State::Pausing(now + pause.min(PAUSE_MAX))
        };
    }

    fn finish(&mut self, result: Result<BrokerAnswer, ClientError>) {
        self.state = State::Next(CallStep::Done(result.map_err(|error| self.as_it_is(error))));
    }

    /// The error, or that the outcome of the request is unknown.
    fn as_it_is(&self, error: ClientError) -> ClientError {
        if self.in_doubt { error.told_of(&self.request) } else { error }
    }

    /// The time is over.
    fn give_up(&mut self, now: Instant) -> Option<CallStep> {
        let state = std::mem::replace(&mut self.state, State::Over);
        let timed_out = ClientError::TimedOut { after: now.saturating_duration_since(self.begun) };
        let result = match state {
            State::Over => return None,
            State::Next(CallStep::Done(result)) => result,
            State::Exchanging(_) => Err(timed_out),
            State::Launching => Err(ClientError::StartFailed {
                reason: format!("it was not ready within {} s", CALL_TIME_MAX.as_secs()).into(),
            }),
            _ => match (self.doubted.take(), self.trouble.take()) {
                (Some(doubted), _) => Ok(doubted.answer),
                (None, Some(trouble)) => Err(trouble),
                (None, None) => Err(timed_out),
            },
        };
        Some(CallStep::Done(result.map_err(|error| self.as_it_is(error))))
    }
}

/// How long the broker may hold the request, seconds.
pub(crate) fn wait_of(request: &Request) -> u64 {
    match request {
        Request::Fetch(fetch) => fetch.wait,
        Request::ReadEvents(read) => read.wait,
        Request::Claim(claim) => claim.wait,
        Request::Lock(lock) => lock.wait,
        _ => 0,
    }
}

fn is_unavailable(answer: &BrokerAnswer) -> bool {
    let refusal = answer.clone().into_result();
    refusal.err().and_then(|error| error.code()) == Some(Code::Unavailable)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn broker(port: u16, token: &str) -> Broker {
        Broker {
            socket: "/d/broker.sock".into(),
            address: format!("127.0.0.1:{port}").parse().unwrap(),
            token: token.into(),
            mesh: None,
            pid: Some(1),
        }
    }

    fn answer(status: u16, body: &str) -> BrokerAnswer {
        BrokerAnswer { status, body: body.into(), retry_after: None }
    }

    fn broken() -> ClientError {
        ClientError::Unreachable { reason: "refused".into() }
    }

    fn done(call: &mut Call, now: Instant) -> Result<BrokerAnswer, ClientError> {
        match call.poll(now) {
            Some(CallStep::Done(result)) => result,
            other => panic!("not done: {other:?}"),
        }
    }

    /// Goes on until it is to be located, through a pause if there is one.
    fn locates(call: &mut Call, mut now: Instant) -> Instant {
        if call.poll(now) == Some(CallStep::Locate) {
            return now;
        }
        now = call.deadline();
        assert_eq!(call.poll(now), Some(CallStep::Locate));
        now
    }

    #[test]
    fn the_known_broker_is_asked_first() {
        let now = Instant::now();
        let known = broker(1, "a");
        let mut call = Call::new(Request::Status, StartPolicy::Never, Some(known.clone()), now);
        assert_eq!(call.poll(now), Some(CallStep::Exchange(known)));
        assert_eq!(call.poll(now), None);
        call.handle_answer(answer(200, "{}"), now);
        assert_eq!(done(&mut call, now), Ok(answer(200, "{}")));
        assert_eq!(call.poll(now), None);
        assert_eq!(call.poll(call.deadline()), None);
    }

    #[test]
    fn without_a_broker_one_is_started_or_not() {
        let now = Instant::now();
        let mut call = Call::new(Request::Status, StartPolicy::Never, None, now);
        locates(&mut call, now);
        call.handle_located(Ok(Located::Absent), now);
        assert_eq!(done(&mut call, now), Err(ClientError::NoBroker));

        let mut call = Call::new(Request::Status, StartPolicy::IfNeeded, None, now);
        for _ in 0..LAUNCHES_MAX {
            locates(&mut call, now);
            call.handle_located(Ok(Located::Absent), now);
            assert_eq!(call.poll(now), Some(CallStep::Launch));
            call.handle_launched(Ok(()));
        }
        locates(&mut call, now);
        call.handle_located(Ok(Located::Absent), now);
        assert_eq!(done(&mut call, now).unwrap_err().word(), "start_failed");

        let mut call = Call::new(Request::Status, StartPolicy::IfNeeded, None, now);
        locates(&mut call, now);
        call.handle_located(Ok(Located::Absent), now);
        assert_eq!(call.poll(now), Some(CallStep::Launch));
        let why = ClientError::StartFailed { reason: "no room".into() };
        call.handle_launched(Err(why.clone()));
        assert_eq!(done(&mut call, now), Err(why));
    }

    #[test]
    fn a_broker_that_starts_is_waited_for() {
        let mut now = Instant::now();
        let mut call = Call::new(Request::Status, StartPolicy::Never, None, now);
        for _ in 0..5 {
            now = locates(&mut call, now);
            call.handle_located(Ok(Located::NotReady(broken())), now);
        }
        now = locates(&mut call, now);
        call.handle_located(Ok(Located::Serving(broker(1, "a"))), now);
        assert_eq!(call.poll(now), Some(CallStep::Exchange(broker(1, "a"))));

        let mut call = Call::new(Request::Status, StartPolicy::Never, None, now);
        let end = call.fails_at();
        loop {
            match call.poll(now) {
                Some(CallStep::Locate) => {
                    call.handle_located(Ok(Located::NotReady(broken())), now);
                }
                Some(CallStep::Done(result)) => {
                    assert_eq!((result, now), (Err(broken()), end));
                    break;
                }
                other => {
                    assert_eq!(other, None);
                    now = call.deadline();
                }
            }
        }
    }

    #[test]
    fn a_401_is_believed_when_the_files_say_the_same() {
        let now = Instant::now();
        let refusal = r#"{"ok":false,"error":"no","code":"unauthorized"}"#;
        let start = || {
            let known = Some(broker(1, "a"));
            let mut call = Call::new(Request::Shutdown, StartPolicy::Never, known, now);
            call.poll(now);
            call.handle_answer(answer(401, refusal), now);
            locates(&mut call, now);
            call
        };
        let mut call = start();
        call.handle_located(Ok(Located::Serving(broker(1, "a"))), now);
        assert_eq!(done(&mut call, now), Ok(answer(401, refusal)));

        let mut call = start();
        call.handle_located(Ok(Located::Serving(broker(1, "b"))), now);
        assert_eq!(call.poll(now), Some(CallStep::Exchange(broker(1, "b"))));
        call.handle_answer(answer(401, refusal), now);
        assert_eq!(done(&mut call, now), Ok(answer(401, refusal)));

        let mut call = start();
        call.handle_located(Ok(Located::Absent), now);
        assert_eq!(done(&mut call, now), Err(ClientError::NoBroker));
    }

    #[test]
    fn a_broker_that_is_about_to_end_is_succeeded() {
        let mut now = Instant::now();
        let refusal = r#"{"ok":false,"error":"shutting down","code":"unavailable"}"#;
        let known = Some(broker(1, "a"));
        let mut call = Call::new(Request::Shutdown, StartPolicy::IfNeeded, known.clone(), now);
        call.poll(now);
        call.handle_answer(answer(503, refusal), now);
        now = locates(&mut call, now);
        call.handle_located(Ok(Located::Serving(broker(1, "a"))), now);
        now = locates(&mut call, now);
        call.handle_located(Ok(Located::NotReady(broken())), now);
        now = locates(&mut call, now);
        call.handle_located(Ok(Located::Absent), now);
        assert_eq!(call.poll(now), Some(CallStep::Launch));
        call.handle_launched(Ok(()));
        locates(&mut call, now);
        call.handle_located(Ok(Located::Serving(broker(1, "b"))), now);
        assert_eq!(call.poll(now), Some(CallStep::Exchange(broker(1, "b"))));

        // One that stays means what it says.
        let mut call = Call::new(Request::Shutdown, StartPolicy::IfNeeded, known.clone(), now);
        let begun = now;
        call.poll(now);
        call.handle_answer(answer(503, refusal), now);
        while now < begun + ENDING_TIME_MAX {
            now = locates(&mut call, now);
            call.handle_located(Ok(Located::Serving(broker(1, "a"))), now);
        }
        assert_eq!(done(&mut call, now), Ok(answer(503, refusal)));
        assert!(now < begun + 2 * ENDING_TIME_MAX);

        let full = r#"{"ok":false,"error":"full","code":"storage_full"}"#;
        let mut call = Call::new(Request::Shutdown, StartPolicy::IfNeeded, known, now);
        call.poll(now);
        call.handle_answer(answer(503, full), now);
        assert_eq!(done(&mut call, now), Ok(answer(503, full)));
    }

    #[test]
    fn only_what_does_no_harm_is_repeated_after_a_break() {
        let now = Instant::now();
        for (request, in_doubt, again) in [
            (Request::Status, true, true),
            (Request::Shutdown, true, false),
            (Request::Shutdown, false, true),
        ] {
            let mut call = Call::new(request, StartPolicy::Never, Some(broker(1, "a")), now);
            call.poll(now);
            call.handle_broken(broken(), in_doubt, now);
            if again {
                locates(&mut call, now);
            } else {
                assert_eq!(done(&mut call, now).unwrap_err().word(), "outcome_unknown");
            }
        }
    }

    #[test]
    fn what_was_sent_and_not_answered_has_an_unknown_outcome_however_the_call_ends() {
        let begun = Instant::now();
        let id = Some(Uuid::from_bytes([1; 16]));
        let emit = Request::Emit { peer_id: None, kind: "a.b".into(), payload: "1".into(), id };
        let lock = Request::Lock(LockFile::default());
        for (request, in_doubt, silent, absent) in [
            (emit.clone(), true, "outcome_unknown", "outcome_unknown"),
            (lock, true, "outcome_unknown", "outcome_unknown"),
            (emit, false, "no_answer", "no_broker"),
            (Request::Status, true, "no_answer", "no_broker"),
        ] {
            let start =
                || Call::new(request.clone(), StartPolicy::Never, Some(broker(1, "a")), begun);
            // No answer at all.
            let mut call = start();
            call.poll(begun);
            call.handle_silence(in_doubt);
            let error = done(&mut call, begun + CALL_TIME_MAX).unwrap_err();
            assert_eq!(error.word(), silent, "{request:?}");
            // Sent on a connection that broke, and then there is nobody to ask again.
            let mut call = start();
            call.poll(begun);
            call.handle_broken(broken(), in_doubt, begun);
            locates(&mut call, begun);
            call.handle_located(Ok(Located::Absent), begun);
            assert_eq!(done(&mut call, begun).unwrap_err().word(), absent, "{request:?}");
            // Asked again, and answered.
            let mut call = start();
            call.poll(begun);
            call.handle_broken(broken(), in_doubt, begun);
            locates(&mut call, begun);
            call.handle_located(Ok(Located::Serving(broker(1, "a"))), begun);
            call.poll(begun);
            call.handle_answer(answer(200, "{}"), begun);
            assert_eq!(done(&mut call, begun), Ok(answer(200, "{}")));
        }
    }

    #[test]
    fn the_time_ends_every_call() {
        let now = Instant::now();
        let known = || Some(broker(1, "a"));
        let mut call = Call::new(Request::Status, StartPolicy::Never, known(), now);
        assert_eq!(call.fails_at() - now, CALL_TIME_MAX);
        call.poll(now);
        let error = done(&mut call, now + CALL_TIME_MAX).unwrap_err();
        assert_eq!(error, ClientError::TimedOut { after: CALL_TIME_MAX });

        let held = Request::ReadEvents(ReadEvents { wait: 55, ..ReadEvents::default() });
        let call = Call::new(held, StartPolicy::Never, known(), now);
        assert_eq!(call.fails_at() - now, CALL_TIME_MAX + Duration::from_secs(55));

        let mut call = Call::new(Request::Status, StartPolicy::IfNeeded, None, now);
        call.poll(now);
        call.handle_located(Ok(Located::Absent), now);
        assert_eq!(call.poll(now), Some(CallStep::Launch));
        let error = done(&mut call, now + CALL_TIME_MAX).unwrap_err();
        assert!(error.to_string().contains("not ready within 5 s"), "{error}");

        // Something asked for in the meantime comes too late and is ignored.
        call.handle_launched(Ok(()));
        call.handle_answer(answer(200, "{}"), now);
        assert_eq!(call.poll(now), None);
    }

    #[test]
    fn a_held_request_is_asked_again_for_what_is_left() {
        let now = Instant::now();
        let request = Request::ReadEvents(ReadEvents { wait: 50, ..ReadEvents::default() });
        let call = Call::new(request, StartPolicy::Never, Some(broker(1, "a")), now);
        let sent = |after: u64| {
            let mut connection = Connection::new(&broker(1, "a"));
            call.send_on(&mut connection, now + Duration::from_secs(after)).unwrap();
            let mut bytes = Vec::new();
            let health = br#"{"status":"ok","version":"1","uptime":1,"mesh":"m"}"#;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", health.len());
            connection.read_from(&mut [head.as_bytes(), health].concat().as_slice()).unwrap();
            connection.poll_answer().unwrap();
            connection.write_to(&mut bytes).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        assert!(sent(0).contains(r#""wait":50"#));
        assert!(sent(2).contains(r#""wait":50"#));
        assert!(sent(30).contains(r#""wait":22"#));
        assert!(!sent(54).contains("wait"));
    }
}
