//! The relay's end of the connection to its hub: what a machine without a mesh of its own decides about
//! requests, the connection and the ways to its peers.
//!
//! [`Uplink`] knows no socket, no poll, no clock and no rule of the mesh. Local requests, frames of the
//! hub, news of the ways to peers and the time go in. Frames, answers and [`Effects`] come out: the same
//! effects that a mesh in this process gives, made from what the hub's mesh has asked for.
//!
//! What was never sent is refused with `hub_unreachable`. What was sent, and not answered when the
//! connection ends, is in doubt: nobody is told anything, and nothing is sent twice.

mod hub;
mod requests;
#[cfg(test)]
mod tests;
mod tokens;
mod ways;

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::value::RawValue;

use super::answers::last_words;
use super::links::News;
use crate::api::{Code, Detail, Refusal};
use crate::limits::{
    FRAME_PATH_BYTES_MAX, FRAME_TOKEN_BYTES_MAX, METHOD_BYTES_MAX, UPLINK_BACKOFF_MAX,
    UPLINK_BACKOFF_MIN, UPLINK_DIAL_TIME_MAX, UPLINK_FIRST_DIAL_WAIT, UPLINK_LASTS,
    UPLINK_NEXT_DIAL_WAIT, UPLINK_PING_EVERY, UPLINK_QUEUE_BYTES_MAX, UPLINK_REFUSED_PAUSE,
    UPLINK_REQUESTS_MAX, UPLINK_SILENCE_MAX,
};
use crate::mesh::{Effects, Lost};
use crate::model::{MachineName, Monotonic, PeerId, Timestamp};
use crate::wire::frames::{As, Look, OPERATOR, Request, ToHub};
pub(super) use hub::same_major;
use requests::{AnswerKind, Requests, seconds};
use tokens::Tokens;
use ways::Ways;

/// A local client's request.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its token; none: the person of this machine, by the relay's own.
    pub token: Option<&'a str>,
    /// Its method.
    pub method: &'a str,
    /// Its path, without the query.
    pub path: &'a str,
    /// Its body, as it came.
    pub body: &'a [u8],
    /// Of a registration: when the agent's process that it names started.
    pub agent_start: Option<&'a str>,
    /// It has hung up, and would not get what it is given.
    pub has_gone: bool,
}

/// An answer for a local client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// As of HTTP.
    pub status: u16,
    /// Its JSON text.
    pub body: Box<str>,
    /// `Retry-After`, seconds.
    pub retry_after: Option<u64>,
    /// `Allow`.
    pub allow: Option<Box<str>>,
    /// When it was given, by the hub's wall clock; none: not by the hub.
    pub now: Option<Timestamp>,
}

impl From<&Refusal> for Answered {
    fn from(refusal: &Refusal) -> Self {
        last_words(refusal, |response| Self {
            status: response.status,
            body: String::from_utf8_lossy(response.body).into(),
            retry_after: response.retry_after,
            allow: response.allow.map(Into::into),
            now: None,
        })
    }
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output<A> {
    /// Give a client its answer.
    Answer(A, Answered),
    /// End the connection of a client without an answer.
    Drop(A),
    /// Connect to the hub; [`Uplink::connected`] or [`Uplink::disconnected`] tells what came of it.
    Dial,
    /// End the connection, with these words for the other end; [`Uplink::disconnected`] follows.
    HangUp(Box<str>),
    /// Send a ping.
    Ping,
    /// Find this out of processes and sockets, for [`Uplink::found_out`].
    Look(Look<'static>),
}

/// The connection, as far as it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody wants it.
    Rest,
    /// Until the next attempt.
    Pause { until: Monotonic },
    /// It is being made. Requests wait for it for so long: zero, if it is likely to be in vain.
    Dialling { since: Monotonic, wait: Duration },
    /// It is there, and the hub has not said who it is.
    Greeting { since: Monotonic, wait: Duration },
    /// Everything is said that goes before requests.
    Stands { since: Monotonic },
    /// It was ended here, and its end is not told yet. `refused`: for what another one would not change.
    Ending { refused: bool },
}

/// How it stands with the hub, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// There is a connection.
    pub connected: bool,
    /// Since when that is so.
    pub since: Monotonic,
    /// Why there is none.
    pub error: Option<Box<str>>,
    /// The hub has said no, and would say it again.
    pub refused: bool,
    /// When it is tried again.
    pub retry: Option<Monotonic>,
    /// What the hub calls itself, if it was ever reached.
    pub hub: Option<Box<str>>,
    /// The name that it has given this machine.
    pub you: Option<MachineName>,
}

/// See the module. `A` is who asks, and gets the answer.
#[derive(Debug)]
pub struct Uplink<A> {
    /// What the hub is told of this machine.
    name: Box<str>,
    state: State,
    /// Somebody is here for whom there should be a connection.
    wanted: bool,
    /// Attempts in vain, or connections that did not last.
    failures: u32,
    /// Since when there is a connection, or none.
    since: Monotonic,
    error: Option<Box<str>>,
    /// That is a no of the hub, which it would say again.
    is_refused: bool,
    hub: Option<Box<str>>,
    you: Option<MachineName>,
    requests: Requests<A>,
    tokens: Tokens,
    ways: Ways,
    /// What goes before requests.
    first: VecDeque<String>,
    /// Frames, and of which request each is.
    queue: VecDeque<(Option<u64>, String)>,
    /// Bytes in both.
    queued: usize,
    outputs: VecDeque<Output<A>>,
    effects: Effects,
    announced: Vec<PeerId>,
    /// When something was last heard.
    heard: Monotonic,
    /// When a ping was sent and nothing heard since, or when it was last seen to be on its way.
    pinged: Option<Monotonic>,
}

impl<A: Copy + Ord> Uplink<A> {
    /// An end that nobody wants yet. `name` is what this machine calls itself.
    #[must_use]
    pub fn new(name: &str, now: Monotonic) -> Self {
        Self {
            name: name.into(),
            state: State::Rest,
            wanted: false,
            failures: 0,
            since: now,
            error: None,
            is_refused: false,
            hub: None,
            you: None,
            requests: Requests::new(),
            tokens: Tokens::default(),
            ways: Ways::default(),
            first: VecDeque::new(),
            queue: VecDeque::new(),
            queued: 0,
            outputs: VecDeque::new(),
            effects: Effects::default(),
            announced: Vec::new(),
            heard: now,
            pinged: None,
        }
    }

    // What comes out

    /// What is to be done next.
    pub fn next_output(&mut self) -> Option<Output<A>> {
        self.outputs.pop_front()
    }

    /// The next frame for the hub, to be asked for when the connection takes more. What was asked for
    /// counts as sent.
    pub fn next_frame(&mut self, now: Monotonic) -> Option<String> {
        if !matches!(self.state, State::Greeting { .. } | State::Stands { .. }) {
            return None;
        }
        let frame = if let Some(frame) = self.first.pop_front() {
            frame
        } else if matches!(self.state, State::Stands { .. }) {
            let (id, frame) = self.queue.pop_front()?;
            if let Some(id) = id {
                self.requests.sent(id, now);
            }
            frame
        } else {
            return None;
        };
        self.queued = self.queued.saturating_sub(frame.len());
        Some(frame)
    }

    /// What the hub's mesh has asked for: to be carried out like that of a mesh in this process. All
    /// news of the ways to peers is to be told before this is asked.
    pub fn take_effects(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }

    /// Peers whose links the hub has taken note of: their connections get what is pushed, these effects
    /// included.
    pub fn take_announced(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.announced)
    }

    /// Whether no more requests should be read for now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.queued >= UPLINK_QUEUE_BYTES_MAX || self.requests.len() >= UPLINK_REQUESTS_MAX
    }

    /// Whether nobody is here: no peer, and no request that waits of anyone who counts.
    #[must_use]
    pub fn is_idle(&self, counts: impl Fn(A) -> bool) -> bool {
        self.ways.len() == 0 && !self.requests.askers().any(counts)
    }

    /// How it stands with the hub.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            connected: matches!(self.state, State::Stands { .. }),
            since: self.since,
            error: self.error.clone(),
            refused: self.is_refused,
            retry: match self.state {
                State::Pause { until } => Some(until),
                _ => None,
            },
            hub: self.hub.clone(),
            you: self.you,
        }
    }

    // Clients

    /// Somebody is here for whom there should be a connection, or nobody any more.
    pub fn want(&mut self, wanted: bool, now: Monotonic) {
        self.wanted = wanted;
        if wanted && self.state == State::Rest {
            self.dial_again(now);
        }
    }

    /// A person asks how it stands, and may have done something about a no of the hub: that is not asked
    /// about as late as by itself.
    pub fn hurry(&mut self, now: Monotonic) {
        self.want(true, now);
        if let State::Pause { until } = &mut self.state
            && self.is_refused
        {
            let left = until.since(now);
            if left > UPLINK_BACKOFF_MAX {
                let rested = UPLINK_REFUSED_PAUSE.saturating_sub(UPLINK_BACKOFF_MAX);
                *until = now.plus(left.saturating_sub(rested));
            }
        }
    }

    /// Takes a request of a client that has no other. It is answered by an [`Output`], perhaps at once.
    ///
    /// # Errors
    /// It is refused, and was not sent.
    pub fn ask(&mut self, from: A, asked: Asked<'_>, now: Monotonic) -> Result<(), Refusal> {
        let kind = AnswerKind::of(asked.path);
        if asked.path.len() > FRAME_PATH_BYTES_MAX || asked.method.len() > METHOD_BYTES_MAX {
            return Err(Refusal::new(Code::UnknownEndpoint, "there is no such endpoint"));
        }
        if let State::Rest = self.state {
            // Whoever asks is here.
            self.dial_again(now);
        }
        let waits = match self.state {
            State::Dialling { wait, .. } | State::Greeting { wait, .. } => !wait.is_zero(),
            State::Stands { .. } => true,
            State::Rest | State::Pause { .. } | State::Ending { .. } => false,
        };
        if !waits {
            return Err(self.unreachable(now));
        }
        if self.is_full() {
            let message = "more is being sent to the hub than the connection takes: try again";
            let refusal = Refusal::new(Code::Unavailable, message);
            return Err(refusal.with(Detail::RetryAfterMs(1000)));
        }
        let by = match asked.token {
            None => As::Operator,
            Some(token) => {
                self.admit(token, kind, now)?;
                As::Token(token.into())
            }
        };
        let body = body(asked.body)?;
        let token = asked.token.map(Into::into);
        let id = self.requests.add(from, kind, token);
        let request = Request {
            id,
            by,
            method: asked.method.into(),
            path: asked.path.into(),
            body,
            agent_start: asked.agent_start.map(Into::into),
            has_gone: asked.has_gone,
        };
        self.put(Some(id), &ToHub::Request(request));
        Ok(())
    }

    /// Whether a request with this token is forwarded.
    fn admit(&mut self, token: &str, kind: AnswerKind, now: Monotonic) -> Result<(), Refusal> {
        if self.tokens.knows(token) {
            return Ok(());
        }
        // The word that stands for the person is nobody's token.
        let may_be = token != OPERATOR && token.len() <= FRAME_TOKEN_BYTES_MAX;
        if kind != AnswerKind::Register || !may_be {
            return Err(unauthorized());
        }
        self.tokens.try_unknown(now).map_err(|pause| {
            let message = "too many registrations with tokens that are not known here: wait";
            let ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            Refusal::new(Code::RateLimited, message).with(Detail::RetryAfterMs(ms))
        })
    }

    /// The client of a request has nothing more to say, and may have gone: the request waits for nothing
    /// any more. Its answer is for the client all the same.
    pub fn hung_up(&mut self, asker: A) {
        if let Some(id) = self.requests.cancel(asker) {
            // Behind the request, which may still wait, and goes with it.
            self.put(Some(id), &ToHub::Cancel { id });
        }
    }

    /// The connection of a client has ended. `how` tells how that left its last answer, if it may not
    /// have arrived.
    pub fn closed(&mut self, asker: A, how: impl FnOnce(Monotonic) -> Option<Lost>) {
        self.hung_up(asker);
        if let Some(id) = self.requests.gone(asker) {
            self.queue.retain(|(of, _)| *of != Some(id));
            self.count_queued();
        }
        let before = self.outputs.len();
        self.outputs
            .retain(|it| !matches!(it, Output::Answer(to, _) | Output::Drop(to) if *to == asker));
        let is_out = self.outputs.len() == before;
        let Some((id, at)) = self.requests.take_given(asker) else { return };
        let after = match if is_out { how(at) } else { Some(Lost::Unwritten) } {
            None => return,
            Some(Lost::Unwritten) => None,
            Some(Lost::Reset { after }) => {
                Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX))
            }
        };
        self.say(&ToHub::Lost { id, after });
    }

    /// Ends all requests. Those that are given were not sent.
    pub fn end_requests(&mut self) -> Vec<A> {
        self.outputs.extend(self.requests.take_sent().into_iter().map(Output::Drop));
        self.requests.take_unsent()
    }

    /// What is wrong, and what happens next, as whoever asks is told; none if nothing is known to be.
    #[must_use]
    pub fn problem(&self, now: Monotonic) -> Option<Box<str>> {
        self.error.is_some().then(|| self.unreachable(now).message)
    }

    /// The refusal of what cannot be sent.
    fn unreachable(&self, now: Monotonic) -> Refusal {
        let why = self.error.as_deref().unwrap_or("it has not answered yet");
        let (next, ms) = match self.state {
            State::Pause { until } => {
                let ms = u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX);
                (format!("it is tried again in {}", seconds(until.since(now))), ms.max(1))
            }
            State::Rest => ("it is tried again when it is needed".to_owned(), 1000),
            _ => ("it is being tried now".to_owned(), 1000),
        };
        let message = if self.is_refused {
            format!("the hub does not let this machine in: {why}; {next}")
        } else {
            format!(
                "the hub of this machine's mesh has been out of reach for {}: {why}; {next}",
                seconds(now.since(self.since))
            )
        };
        Refusal::new(Code::HubUnreachable, message).with(Detail::RetryAfterMs(ms))
    }

    // Ways to peers

    /// What has become of the way to a peer.
    pub fn hear(&mut self, news: News) {
        let frame = match news {
            News::Up(peer, process) => match self.ways.up(peer, process) {
                Some(here) => ToHub::Up(here),
                None => return,
            },
            News::Down(peer) => {
                self.ways.down(peer);
                self.announced.retain(|other| *other != peer);
                ToHub::Down { peer }
            }
            News::Process(peer, known) => {
                self.ways.process(peer, known);
                ToHub::Process { peer, known }
            }
            News::Ended(peer) => {
                self.ways.ended(peer);
                ToHub::Ended { peer }
            }
            News::NamedEnded(peer) => {
                self.ways.named_ended(peer);
                ToHub::NamedEnded { peer }
            }
            News::Acknowledged(peer, message) => {
                if !self.ways.confirmed(peer, message) {
                    return;
                }
                ToHub::Ack { message, by: peer }
            }
            News::Written(peer, seq) => {
                self.ways.written(peer, seq);
                ToHub::Written { seq, to: peer }
            }
            News::AgentLives(peer) => ToHub::AgentLives { peer },
            News::AgentEnded(peer) => {
                self.ways.agent_ended(peer);
                ToHub::AgentEnded { peer }
            }
            // What that means is found out from the processes here.
            News::Listens(..) => return,
        };
        self.say(&frame);
    }

    /// What [`Output::Look`] asked for.
    pub fn found_out(&mut self, id: u64, facts: crate::api::ProcessFacts) {
        self.say(&ToHub::Facts { id, facts });
    }

    // Frames

    /// Says something that is true of this connection, if there is one.
    fn say(&mut self, frame: &ToHub<'_>) {
        if matches!(self.state, State::Stands { .. }) {
            self.put(None, frame);
        }
    }

    fn put(&mut self, id: Option<u64>, frame: &ToHub<'_>) {
        let text = frame.text();
        self.queued += text.len();
        self.queue.push_back((id, text));
    }

    fn put_first(&mut self, frame: &ToHub<'_>) {
        let text = frame.text();
        self.queued += text.len();
        self.first.push_back(text);
    }

    // The connection

    /// After nobody wanted it. Nobody waits for long for what was in vain the last time.
    fn dial_again(&mut self, now: Monotonic) {
        let is_first = self.error.is_none();
        self.dial(now, if is_first { UPLINK_FIRST_DIAL_WAIT } else { UPLINK_NEXT_DIAL_WAIT });
    }

    fn dial(&mut self, now: Monotonic, wait: Duration) {
        self.state = State::Dialling { since: now, wait };
        self.outputs.push_back(Output::Dial);
    }

    /// There is a connection, and both ends know who the other is. `wall` is this machine's clock.
    pub fn connected(&mut self, now: Monotonic, wall: Timestamp) {
        let State::Dialling { wait, .. } = self.state else { return };
        self.state = State::Greeting { since: now, wait };
        self.heard = now;
        self.pinged = None;
        let hello = self.hello(wall);
        self.put_first(&ToHub::Hello(hello));
    }

    /// Some bytes of the hub have come.
    pub fn heard(&mut self, now: Monotonic) {
        self.heard = now;
        self.pinged = None;
    }

    /// Bytes have left, and more wait to leave: a ping may still be among them.
    pub fn moved(&mut self, now: Monotonic) {
        if let Some(pinged) = &mut self.pinged {
            *pinged = (*pinged).max(now);
        }
    }

    /// There is no connection any more, or none came about. `jitter`, any number, is by how much of the
    /// pause the next attempt comes earlier.
    pub fn disconnected(&mut self, why: &str, now: Monotonic, jitter: u8) {
        let refused = self.state == State::Ending { refused: true };
        self.over(why, refused, now, jitter);
    }

    /// None came about: the hub has said no, and would say it again for as long as nobody does anything
    /// about it.
    pub fn refused(&mut self, why: &str, now: Monotonic) {
        self.over(why, true, now, 0);
    }

    fn over(&mut self, why: &str, refused: bool, now: Monotonic, jitter: u8) {
        match self.state {
            State::Rest | State::Pause { .. } => return,
            State::Stands { since } => {
                self.since = now;
                let lasted = now.since(since) >= UPLINK_LASTS;
                self.failures = if lasted { 1 } else { self.failures.saturating_add(1) };
                self.error = Some(why.into());
            }
            State::Dialling { .. } | State::Greeting { .. } => {
                self.failures = self.failures.saturating_add(1);
                self.error = Some(why.into());
            }
            // It was said before.
            State::Ending { .. } => self.failures = self.failures.saturating_add(1),
        }
        self.is_refused = refused;
        let pause = if refused { UPLINK_REFUSED_PAUSE } else { pause(self.failures, jitter) };
        // Whether anybody wants it is asked after that: who comes and goes is no reason to hurry.
        self.state = State::Pause { until: now.plus(pause) };
        self.first.clear();
        self.queue.clear();
        self.queued = 0;
        self.outputs.extend(self.requests.take_sent().into_iter().map(Output::Drop));
        self.refuse_unsent(now);
    }

    /// Whoever waits for a connection is told that there is none.
    fn refuse_unsent(&mut self, now: Monotonic) {
        let refusal = self.unreachable(now);
        for asker in self.requests.take_unsent() {
            self.outputs.push_back(Output::Answer(asker, (&refusal).into()));
        }
        self.queue.retain(|(id, _)| id.is_none());
        self.count_queued();
    }

    fn count_queued(&mut self) {
        let queued = self.queue.iter().map(|(_, frame)| frame).chain(&self.first);
        self.queued = queued.map(String::len).sum();
    }

    /// Ends the connection, and says why to both ends.
    fn hang_up(&mut self, words: &str, now: Monotonic) {
        self.outputs.push_back(Output::HangUp(words.into()));
        if matches!(self.state, State::Stands { .. }) {
            self.since = now;
        }
        self.error = Some(words.into());
        self.state = State::Ending { refused: false };
    }

    /// The same, for what another connection would not change.
    fn hang_up_for_good(&mut self, words: &str, now: Monotonic) {
        self.hang_up(words, now);
        self.state = State::Ending { refused: true };
    }

    // Time

    /// Does what is due.
    pub fn tick(&mut self, now: Monotonic) {
        match self.state {
            State::Pause { until } if until <= now && self.wanted => {
                self.dial(now, Duration::ZERO);
            }
            State::Pause { until } if until <= now => self.state = State::Rest,
            State::Dialling { since, .. } | State::Greeting { since, .. } => {
                self.give_up_waiting(now);
                if now.since(since) >= UPLINK_DIAL_TIME_MAX {
                    self.hang_up("the hub does not answer", now);
                }
            }
            State::Stands { .. } => self.check(now),
            _ => {}
        }
    }

    /// Nobody waits for long for an attempt that may fail.
    fn give_up_waiting(&mut self, now: Monotonic) {
        let (State::Dialling { since, wait } | State::Greeting { since, wait }) = &mut self.state
        else {
            return;
        };
        if !wait.is_zero() && now.since(*since) >= *wait {
            *wait = Duration::ZERO;
            self.refuse_unsent(now);
        }
    }

    /// Whether the hub is still there.
    fn check(&mut self, now: Monotonic) {
        match self.pinged {
            Some(at) if now.since(at) >= UPLINK_SILENCE_MAX => {
                let words = format!("nothing was heard for {}", seconds(now.since(self.heard)));
                self.hang_up(&words, now);
            }
            None if self.next_ping() <= now => {
                self.pinged = Some(now);
                self.requests.note_ping();
                self.outputs.push_back(Output::Ping);
            }
            Some(_) | None => {}
        }
    }

    fn next_ping(&self) -> Monotonic {
        let quiet = self.heard.plus(UPLINK_PING_EVERY);
        self.requests.next_check().map_or(quiet, |at| at.min(quiet))
    }

    /// When [`Uplink::tick`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        match self.state {
            State::Rest | State::Ending { .. } => None,
            State::Pause { until } => Some(until),
            State::Dialling { since, wait } | State::Greeting { since, wait } => {
                let time = if wait.is_zero() { UPLINK_DIAL_TIME_MAX } else { wait };
                Some(since.plus(time))
            }
            State::Stands { .. } => Some(match self.pinged {
                Some(at) => at.plus(UPLINK_SILENCE_MAX),
                None => self.next_ping(),
            }),
        }
    }
}

/// The refusal of a request without a token that is known here.
pub(super) fn unauthorized() -> Refusal {
    let message = "a valid token is missing: send `Authorization: Bearer <token>` with that in \
                   broker.token in the data dir (new at each start), or that of a peer that has \
                   registered here since";
    Refusal::new(Code::Unauthorized, message)
}

/// The JSON text of a body; none if it is empty.
fn body(bytes: &[u8]) -> Result<Option<&str>, Refusal> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let invalid = |error: &dyn std::fmt::Display| {
        Refusal::new(Code::InvalidJson, format!("the body is not valid JSON: {error}"))
    };
    let text = str::from_utf8(bytes).map_err(|error| invalid(&error))?;
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| invalid(&error))?;
    Ok(Some(raw.get()))
}

/// The pause after so many attempts in vain: it doubles, and `jitter` is how much of it is left, in
/// parts of 256 (full jitter, so that the machines of a hub that was away do not come in step).
fn pause(failures: u32, jitter: u8) -> Duration {
    let doubled = UPLINK_BACKOFF_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(UPLINK_BACKOFF_MAX) * (u32::from(jitter) + 1) / 256
}
