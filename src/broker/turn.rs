//! A turn, from the first request to the commit: what a request has to pass before the mesh sees it,
//! and what becomes of all of them together.
//!
//! It knows no socket and no poll: requests come in, and answers and effects come out, once they are
//! durable.

#[cfg(feature = "lan")]
mod elsewhere;

#[cfg(feature = "lan")]
use std::collections::BTreeMap;

use super::answers::{Address, Answers};
use super::clock::Clock;
use super::connection::Flow;
use super::front::Front;
use super::gate::Gate;
use super::held::{Asker, Held, Hold};
use super::returning;
use super::sockets::Sockets;
use crate::api::{Code, Endpoint, Refusal, Reply, Request};
use crate::limits::{REGISTER_BYTES_MAX, TURN_ANSWERS_BYTES, TURN_REQUESTS_MAX, TURN_TIME_MAX};
use crate::log;
use crate::mesh::{Caller, Effects, Failure, Mesh, Outcome};
use crate::model::{Monotonic, Now};
use crate::role::NO_NETWORK;
use crate::store::{Result as Stored, Store, StoreError};
use crate::wire::http::server as http;

/// What came of a turn.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart")]
pub(super) enum Ended {
    /// It never began: no request was one for the mesh.
    Empty,
    /// It is durable; what is to be done.
    Committed {
        /// What the mesh asks for.
        effects: Effects,
        /// Something was written.
        wrote: bool,
    },
    /// Nothing of it was kept.
    Failed(StoreError),
}

/// The mesh and the turn in hand.
pub(super) struct Turn<S> {
    pub(super) mesh: Mesh<S>,
    pub(super) answers: Answers,
    pub(super) held: Held,
    gate: Gate,
    sockets: Sockets,
    clock: Clock,
    /// Registrations of other machines that wait for what is known there.
    #[cfg(feature = "lan")]
    looking: BTreeMap<Asker, Box<elsewhere::Looking>>,
    now: Now,
    /// When it began to take requests, for its limit of time.
    started: Monotonic,
    /// It writes nothing but what it is asked.
    bare: bool,
    begun: bool,
    failed: Option<StoreError>,
    requests: usize,
    /// Bytes of answers when it began to take requests.
    answered: usize,
}

impl<S: Store> Turn<S> {
    pub(super) fn new(mesh: Mesh<S>, gate: Gate, sockets: Sockets, clock: Clock) -> Self {
        Self {
            mesh,
            answers: Answers::default(),
            held: Held::default(),
            gate,
            sockets,
            clock,
            #[cfg(feature = "lan")]
            looking: BTreeMap::new(),
            now: Now::default(),
            started: Monotonic::default(),
            bare: false,
            begun: false,
            failed: None,
            requests: 0,
            answered: 0,
        }
    }

    /// Starts a turn at `now`, which is the time for everything in it. A `bare` one writes nothing
    /// but what it is asked.
    pub(super) fn start(&mut self, now: Now, bare: bool) {
        self.now = now;
        self.started = self.clock.monotonic();
        self.bare = bare;
        self.begun = false;
        self.failed = None;
        self.requests = 0;
        self.answered = 0;
        self.answers.clear();
    }

    /// From here on the turn takes as much again, of others.
    #[cfg(feature = "lan")]
    pub(super) fn start_second_part(&mut self) {
        self.started = self.clock.monotonic();
        self.requests = 0;
        self.answered = self.answers.size();
    }

    /// The time of the turn.
    pub(super) fn now(&self) -> Now {
        self.now
    }

    /// Lets the mesh do something that is part of the turn; false if the turn has failed.
    pub(super) fn with_mesh(&mut self, act: impl FnOnce(&mut Mesh<S>, Now) -> Stored<()>) -> bool {
        if self.failed.is_some() {
            return false;
        }
        let mut result = Ok(());
        if !self.begun {
            self.begun = true;
            result = if self.bare {
                self.mesh.begin_bare_turn(self.now)
            } else {
                self.mesh.begin_turn(self.now)
            };
        }
        if let Err(error) = result.and_then(|()| act(&mut self.mesh, self.now)) {
            self.failed = Some(error);
        }
        self.failed.is_none()
    }

    /// Asks the mesh for what was admitted; `token` is the one that it came with.
    fn ask_first(
        &mut self,
        address: Address,
        caller: Caller,
        mut asked: Request,
        token: Option<&str>,
        has_gone: bool,
    ) -> Flow {
        let to = address.to;
        if let Request::Claim(claim) = &mut asked
            && has_gone
        {
            // Such as a hook whose time was over before it was heard.
            claim.limit = Some(0);
        }
        let first = |mesh: &mut Mesh<S>, asked: &Request, now| mesh.handle(caller, asked, now);
        match self.look_and_ask(to, &mut asked, first) {
            Ok(Outcome::Reply(mut reply)) => {
                if let Reply::Registered(registered) = &mut reply {
                    log::info(format_args!(
                        "peer {}: here as {}",
                        registered.peer_id, registered.name
                    ));
                    // The core keeps a hash only: who came back with its token gets that again.
                    if registered.peer_token.is_empty() {
                        registered.peer_token = token.unwrap_or_default().into();
                    }
                }
                Flow::Next(self.answers.reply(address, reply))
            }
            Ok(Outcome::Hold { on, until }) => {
                self.held.hold(to, Hold::new(caller, asked, on, until));
                if has_gone {
                    self.held.hung_up(to, self.now.mono, &mut self.mesh);
                }
                Flow::Hold
            }
            Err(refusal) => Flow::Next(self.answers.refusal(address, &refusal, true)),
        }
    }

    /// Asks again for the held requests that may have an answer now.
    pub(super) fn ask_woken(&mut self) {
        while !self.is_full()
            && let Some((to, hold)) = self.held.next_woken()
        {
            self.ask_again(to, hold);
        }
    }

    /// Asks again for the held requests for locks that can be answered after what has happened in
    /// the turn: before it ends, so that nobody comes in between. Those that do not fit it are for
    /// the next.
    pub(super) fn grant_locks(&mut self) {
        while !self.is_full()
            && let Some((to, hold)) = self.held.next_waiter(&mut self.mesh)
        {
            self.ask_again(to, hold);
        }
    }

    fn ask_again(&mut self, to: Asker, mut hold: Box<Hold>) {
        self.requests += 1;
        let (caller, again) = (hold.caller, hold.again());
        let outcome = self.look_and_ask(to, &mut hold.request, |mesh, asked, now| {
            mesh.handle_held(caller, asked, again, now)
        });
        let address = Address::of_held(to);
        match outcome {
            Ok(Outcome::Reply(reply)) => {
                self.held.answered(to, &reply);
                self.answers.reply(address, reply);
            }
            Ok(Outcome::Hold { on, until }) => {
                hold.wait_on(on, until);
                self.held.hold(to, hold);
            }
            Err(refusal) => {
                self.answers.refusal(address, &refusal, true);
            }
        }
    }

    /// Asks the mesh, in the turn. Of a registration it is told what the kernel says: that of the
    /// machine on which it was made.
    fn look_and_ask(
        &mut self,
        to: Asker,
        asked: &mut Request,
        handle: impl FnOnce(&mut Mesh<S>, &Request, Now) -> Result<Outcome, Failure>,
    ) -> Result<Outcome, Refusal> {
        if let (Asker::Http(_), Request::Register(register)) = (to, &mut *asked) {
            let sockets = self.sockets.clone();
            self.with_mesh(|mesh, _| returning::look(mesh, register, &sockets));
        }
        self.ask_mesh(|mesh, now| handle(mesh, asked, now))
    }

    /// Asks the mesh, in the turn. A failure of the store becomes that of the whole turn.
    fn ask_mesh(
        &mut self,
        handle: impl FnOnce(&mut Mesh<S>, Now) -> Result<Outcome, Failure>,
    ) -> Result<Outcome, Refusal> {
        let mut outcome = None;
        self.with_mesh(|mesh, now| match handle(mesh, now) {
            Err(Failure::Store(error)) => Err(error),
            Err(Failure::Refused(refusal)) => {
                outcome = Some(Err(refusal));
                Ok(())
            }
            Ok(done) => {
                outcome = Some(Ok(done));
                Ok(())
            }
        });
        // Without an outcome the turn has failed, and this answer is replaced with the others.
        outcome.unwrap_or_else(|| Err(Refusal::new(Code::Unavailable, "the storage failed")))
    }

    /// Where a request goes and who asks, if it may be asked here at all: by its head alone.
    fn whose(&mut self, request: &http::Request<'_>) -> Result<(Endpoint, Caller), Refusal> {
        let endpoint = self.gate.check(request)?;
        if endpoint == Endpoint::Health {
            return Ok((endpoint, Caller::Broker));
        }
        let caller = match request.token {
            Some(token) if self.gate.is_person(token, endpoint, self.now)? => Caller::Broker,
            Some(token) => self.mesh.authenticate(token, None),
            None => return Err(self.mesh.refuse_unknown(None, self.now)),
        };
        // Only a peer that comes back may have a token that is not known here, and has not much to say.
        let comes_back = endpoint == Endpoint::Register && request.len <= REGISTER_BYTES_MAX;
        if matches!(caller, Caller::Unknown { .. }) && !comes_back {
            return Err(self.mesh.refuse_unknown(None, self.now));
        }
        Ok((endpoint, caller))
    }

    /// What the person of this machine asks about machines, if that is what it is.
    #[cfg(feature = "lan")]
    pub(super) fn order(&self, request: &http::Request<'_>) -> Option<Request> {
        // Most requests are none, and are looked at closely later.
        let endpoint = Endpoint::Machines;
        if request.path != endpoint.path() || self.gate.check(request) != Ok(endpoint) {
            return None;
        }
        let is_person = request.token.is_some_and(|token| self.gate.is_broker_token(token));
        is_person.then(|| Request::decode(endpoint, request.body).ok())?
    }

    /// Refuses a request that was not asked.
    #[cfg(feature = "lan")]
    pub(super) fn refuse(
        &mut self,
        to: Asker,
        request: &http::Request<'_>,
        refusal: &Refusal,
    ) -> Flow {
        self.requests += 1;
        let address = Address::new(to, request.connection);
        Flow::Next(self.answers.refusal(address, refusal, false))
    }

    /// Who asks for what, if that is to be asked here at all.
    fn admit(&mut self, request: &http::Request<'_>) -> Result<(Caller, Request), Refusal> {
        let (endpoint, caller) = self.whose(request)?;
        if endpoint == Endpoint::Health {
            return Ok((caller, Request::Health));
        }
        let asked = match Request::decode(endpoint, request.body) {
            Ok(asked) => asked,
            Err(refusal) => {
                self.mesh.count_refused(caller, self.now)?;
                return Err(refusal);
            }
        };
        if let Request::Register(register) = &asked {
            self.sockets.check(register)?;
        }
        if cfg!(not(feature = "lan")) && matches!(asked, Request::Invite { .. }) {
            return Err(Refusal::new(Code::Forbidden, NO_NETWORK));
        }
        Ok((caller, asked))
    }

    /// Ends the turn: durable, or not at all. Unless it is a bare one, messages that wait for room
    /// with their peers are pushed, too.
    ///
    /// # Errors
    /// The store could not even be read again after a failure: the broker has to end.
    pub(super) fn end(&mut self) -> Stored<Ended> {
        if !self.bare && self.mesh.wants_feed() {
            let (clock, started) = (self.clock, self.started);
            let has_time = || clock.monotonic().since(started) < TURN_TIME_MAX;
            self.with_mesh(|mesh, now| mesh.feed(now, has_time));
        }
        let wrote = self.begun && self.mesh.store_mut().turn_wrote();
        if self.begun && self.failed.is_none() {
            self.failed = self.mesh.commit_turn().err();
        }
        if let Some(error) = self.failed.take() {
            self.mesh.abort_turn(self.now)?;
            return Ok(Ended::Failed(error));
        }
        if !self.begun {
            return Ok(Ended::Empty);
        }
        self.held.commit(self.now.mono);
        let mut effects = self.mesh.take_effects();
        // Some may have left in the same turn.
        let Effects { connect, watch, agents, .. } = &mut effects;
        connect.retain(|(peer, _)| self.mesh.is_present(*peer));
        watch.retain(|(peer, _)| self.mesh.is_present(*peer));
        agents.retain(|wanted| self.mesh.is_present(wanted.peer));
        self.held.wake(&effects);
        Ok(Ended::Committed { effects, wrote })
    }

    /// Answers everyone who depended on a turn that has failed, those included whose request was held
    /// in it.
    pub(super) fn fail(&mut self, error: StoreError) {
        let refusal = Refusal::from(error);
        self.answers.fail(&refusal);
        while let Some((to, _)) = self.held.abort(&mut self.mesh) {
            let address = Address::of_held(to);
            self.answers.refusal(address, &refusal, true);
        }
    }
}

impl<S: Store> Front for Turn<S> {
    fn gate(&self) -> &Gate {
        &self.gate
    }

    fn out(&mut self) -> &mut Answers {
        &mut self.answers
    }

    fn is_full(&self) -> bool {
        self.failed.is_some()
            || self.requests >= TURN_REQUESTS_MAX
            || self.answers.size() - self.answered >= TURN_ANSWERS_BYTES
            || self.clock.monotonic().since(self.started) >= TURN_TIME_MAX
    }

    fn check(&mut self, request: &http::Request<'_>) -> Result<(), Refusal> {
        self.whose(request).map(|_| ())
    }

    fn ask(&mut self, address: Address, request: &http::Request<'_>, has_gone: bool) -> Flow {
        self.requests += 1;
        match self.admit(request) {
            Ok((_, Request::Health)) => {
                let reply = self.mesh.health(self.now);
                Flow::Next(self.answers.plain(address, &reply))
            }
            Ok((Caller::Broker, Request::OpenPage)) => {
                Flow::Next(match self.gate.open_page(self.now) {
                    Ok(opened) => self.answers.plain(address, &opened),
                    Err(refusal) => self.answers.refusal(address, &refusal, false),
                })
            }
            Ok((caller, asked)) => self.ask_first(address, caller, asked, request.token, has_gone),
            Err(refusal) => Flow::Next(self.answers.refusal(address, &refusal, false)),
        }
    }
}

#[cfg(test)]
mod tests;
