//! The way to a mesh on another machine, as the room that answers: what the shell serves here is
//! decided there.
//!
//! [`Uplink`] decides what is forwarded and what becomes of it. Here requests go in from HTTP, and what
//! only this machine knows is found out: who may ask as its person, which sockets are its own, and what
//! its kernel says of processes.

#[cfg(feature = "lan")]
mod line;

use std::collections::VecDeque;

use super::answers::{Address, Answers};
use super::connection::{Flow, Incoming};
use super::front::Front;
use super::gate::Gate;
use super::held::{Asker, Cut};
use super::links::News;
use super::returning;
use super::room::{Room, Said};
use super::sockets::Sockets;
use super::table::{Key, Kind};
use super::uplink::{Answered, Asked, Output, Uplink, unauthorized};
use crate::api::{Endpoint, Health, PushFrame, Pushed, Refusal, Reply, Request};
use crate::limits::{TURN_ANSWERS_BYTES, TURN_REQUESTS_MAX};
use crate::mesh::{Effects, Lost, Push, Target};
use crate::model::{Monotonic, Now, PeerId};
use crate::platform::start_mark;
use crate::store::Result;
use crate::wire::http::server as http;

/// What is to be done about the connection to the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Connect.
    Dial,
    /// End it, with these words for the hub.
    HangUp(Box<str>),
    /// Send a ping.
    Ping,
}

/// See the module.
pub(super) struct Relay {
    pub(super) uplink: Uplink<Asker>,
    gate: Gate,
    sockets: Sockets,
    /// The id of the data directory.
    mesh_id: Box<str>,
    started: Monotonic,
    /// Those that are given here.
    answers: Answers,
    /// Those to requests that were forwarded; none: what came of it cannot be known.
    late: Vec<(Asker, Option<Answered>)>,
    steps: VecDeque<Step>,
    now: Now,
    requests: usize,
    shutdown: bool,
}

impl Relay {
    pub(super) fn new(
        uplink: Uplink<Asker>,
        gate: Gate,
        sockets: Sockets,
        mesh_id: Box<str>,
        now: Now,
    ) -> Self {
        Self {
            uplink,
            gate,
            sockets,
            mesh_id,
            started: now.mono,
            answers: Answers::default(),
            late: Vec::new(),
            steps: VecDeque::new(),
            now,
            requests: 0,
            shutdown: false,
        }
    }

    /// What is to be done next about the connection to the hub.
    pub(super) fn next_step(&mut self) -> Option<Step> {
        self.take_outputs();
        self.steps.pop_front()
    }

    fn take_outputs(&mut self) {
        while let Some(output) = self.uplink.next_output() {
            match output {
                Output::Answer(asker, answered) => self.late.push((asker, Some(answered))),
                Output::Drop(asker) => self.late.push((asker, None)),
                Output::Dial => self.steps.push_back(Step::Dial),
                Output::HangUp(words) => self.steps.push_back(Step::HangUp(words)),
                Output::Ping => self.steps.push_back(Step::Ping),
                Output::Look(look) => {
                    self.uplink.found_out(look.id, returning::facts(&look, &self.sockets));
                }
            }
        }
    }

    /// Where a request goes, and whose it is: none is the person of this machine.
    fn whose<'a>(
        &self,
        request: &http::Request<'a>,
    ) -> std::result::Result<(Endpoint, Option<&'a str>), Refusal> {
        let endpoint = self.gate.check(request)?;
        match request.token {
            _ if endpoint == Endpoint::Health => Ok((endpoint, None)),
            Some(token) if self.gate.is_broker_token(token) => Ok((endpoint, None)),
            Some(token) => Ok((endpoint, Some(token))),
            None => Err(unauthorized()),
        }
    }

    fn health(&self) -> Reply {
        Reply::Health(Health {
            version: env!("CARGO_PKG_VERSION").into(),
            uptime: self.now.mono.since(self.started).as_secs(),
            mesh: Some(self.mesh_id.clone()),
        })
    }

    /// What this machine knows of a registration, before it is forwarded: when the agent's process
    /// started. One that cannot be read is refused by the hub.
    ///
    /// # Errors
    /// It names a socket that is none of a peer here.
    fn look(&self, body: &[u8]) -> std::result::Result<Option<Box<str>>, Refusal> {
        let Ok(Request::Register(register)) = Request::decode(Endpoint::Register, body) else {
            return Ok(None);
        };
        self.sockets.check(&register)?;
        Ok(register.agent_pid.and_then(start_mark).map(Into::into))
    }

    fn forward(
        &mut self,
        to: Asker,
        endpoint: Endpoint,
        token: Option<&str>,
        body: &[u8],
    ) -> std::result::Result<(), Refusal> {
        let agent_start = match endpoint {
            Endpoint::Register => self.look(body)?,
            _ => None,
        };
        let (method, path) = (endpoint.method(), endpoint.path());
        let asked = Asked { token, method, path, body, agent_start: agent_start.as_deref() };
        self.uplink.ask(to, asked, self.now.mono)
    }
}

impl Front for Relay {
    fn out(&mut self) -> &mut Answers {
        &mut self.answers
    }

    fn is_full(&self) -> bool {
        self.requests >= TURN_REQUESTS_MAX || self.answers.size() >= TURN_ANSWERS_BYTES
    }

    fn check(&mut self, request: &http::Request<'_>) -> std::result::Result<(), Refusal> {
        self.whose(request).map(|_| ())
    }

    fn ask(&mut self, address: Address, request: &http::Request<'_>, has_gone: bool) -> Flow {
        self.requests += 1;
        let (endpoint, token) = match self.whose(request) {
            Ok(whose) => whose,
            Err(refusal) => return Flow::Next(self.answers.refusal(address, &refusal, false)),
        };
        match endpoint {
            Endpoint::Health => {
                let health = self.health();
                return Flow::Next(self.answers.plain(address, &health));
            }
            // Whoever may stop what serves this directory stops this, and not the hub.
            Endpoint::Shutdown if token.is_none() => {
                self.shutdown = true;
                return Flow::Next(self.answers.plain(address, &Reply::Done {}));
            }
            _ => {}
        }
        match self.forward(address.to, endpoint, token, request.body) {
            Ok(()) => {
                if has_gone {
                    self.uplink.hung_up(address.to);
                }
                Flow::Hold
            }
            Err(refusal) => Flow::Next(self.answers.refusal(address, &refusal, false)),
        }
    }
}

impl Room for Relay {
    fn start(&mut self) -> Effects {
        Effects::default()
    }

    fn prepare(&mut self, _: Now) -> Result<Option<Effects>> {
        Ok(None)
    }

    /// A turn of a relay has nothing to commit, and so is none that would have to be saved.
    fn begin(&mut self, now: Now, _: bool) -> bool {
        self.now = now;
        self.requests = 0;
        self.uplink.want(!self.uplink.is_idle(), now.mono);
        self.uplink.tick(now.mono);
        true
    }

    fn is_full(&self) -> bool {
        Front::is_full(self)
    }

    fn take(&mut self, asker: Asker, incoming: &Incoming<'_>, has_gone: bool) -> Flow {
        Front::take(self, asker, incoming, has_gone)
    }

    fn end(&mut self) -> Result<Effects> {
        let mut effects = self.uplink.take_effects();
        effects.shutdown |= std::mem::take(&mut self.shutdown);
        Ok(effects)
    }

    fn take_announced(&mut self) -> Vec<PeerId> {
        self.uplink.take_announced()
    }

    fn answers(&mut self, mut give: impl FnMut(Asker, Said<'_>)) {
        self.take_outputs();
        self.answers.each(&mut give);
        self.answers.clear();
        for (asker, answered) in self.late.drain(..) {
            match &answered {
                None => give(asker, Said::Nothing),
                Some(answered) => {
                    let response = http::Response {
                        status: answered.status,
                        body: answered.body.as_bytes(),
                        allow: answered.allow.as_deref(),
                        retry_after: answered.retry_after,
                        ..http::Response::default()
                    };
                    give(asker, Said::Held(response));
                }
            }
        }
    }

    fn take_care(&mut self, _: Monotonic) {}

    fn hear(&mut self, news: News, _: Now) {
        self.uplink.hear(news);
    }

    /// The hub knows: what it asked for came before, and of what is said of a process it is known
    /// which one is meant.
    fn was_former(&mut self, _: PeerId) {}

    fn hung_up(&mut self, asker: Asker, _: Monotonic) {
        self.uplink.hung_up(asker);
    }

    fn closed(&mut self, asker: Asker, now: Monotonic, cut: impl FnOnce() -> Option<Cut>) {
        self.uplink.closed(asker, |at| match cut()? {
            Cut::Unwritten => Some(Lost::Unwritten),
            Cut::Reset => Some(Lost::Reset { after: now.since(at) }),
        });
    }

    fn event(&mut self, _: Kind, _: Key) {}

    fn flush(&mut self, _: Now) {}

    fn has_output(&self) -> bool {
        false
    }

    fn next_deadline(&self, now: Now) -> Option<Monotonic> {
        if self.late.is_empty() { self.uplink.next_deadline() } else { Some(now.mono) }
    }

    fn is_idle(&self) -> bool {
        self.uplink.is_idle()
    }

    /// Its own peers hear it from here: the hub goes on.
    fn goodbye(&mut self, reason: &str, now: Now) -> Effects {
        let mut effects = self.uplink.take_effects();
        let frame = PushFrame::new(Pushed::Shutdown(reason.into()), now.wall);
        effects.pushes.push(Push { to: Target::AllBut(None), frame });
        effects
    }

    fn end_held(&mut self) -> Vec<Asker> {
        self.uplink.end_requests()
    }
}

#[cfg(test)]
mod tests;
