//! The way to a mesh on another machine, as the room that answers: what the shell serves here is
//! decided there.
//!
//! [`Uplink`] decides what is forwarded and what becomes of it. Here requests go in from HTTP, and what
//! only this machine knows is found out: who may ask as its person, which sockets are its own, and what
//! its kernel says of processes.

mod dial;
mod hub;
mod line;
mod own;
mod wire;

use std::collections::{BTreeSet, VecDeque};

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
use crate::api::{Endpoint, PushFrame, Pushed, Refusal, Request};
use crate::limits::{TURN_ANSWERS_BYTES, TURN_REQUESTS_MAX};
use crate::mesh::{Effects, Lost, Push, PushTarget};
use crate::model::{MachineId, Monotonic, Now, PeerId};
use crate::platform::start_mark;
use crate::role;
use crate::store::Result;
use crate::wire::http::server as http;
pub(super) use hub::HubRecord;
pub(super) use wire::HubConnection;

/// What is to be done about the connection to the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ConnectionStep {
    /// Connect.
    Dial,
    /// End it, with these words for the hub.
    HangUp(Box<str>),
    /// Send a ping.
    Ping,
}

/// See the module.
pub(super) struct Relay {
    uplink: Uplink<Asker>,
    /// The connection; none in tests, which carry out the steps themselves.
    wire: Option<HubConnection>,
    gate: Gate,
    sockets: Sockets,
    /// The id of the data directory.
    mesh_id: Box<str>,
    started: Monotonic,
    /// Those that are given here.
    answers: Answers,
    /// Those to requests that were forwarded; none: what came of it cannot be known.
    late: Vec<(Asker, Option<Answered>)>,
    /// Who has asked for the status, of which this machine's own is a part.
    of_status: BTreeSet<Asker>,
    steps: VecDeque<ConnectionStep>,
    now: Now,
    requests: usize,
    reload: bool,
    shutdown: bool,
}

impl Relay {
    pub(super) fn new(
        uplink: Uplink<Asker>,
        wire: Option<HubConnection>,
        gate: Gate,
        sockets: Sockets,
        mesh_id: Box<str>,
        now: Now,
    ) -> Self {
        Self {
            uplink,
            wire,
            gate,
            sockets,
            mesh_id,
            started: now.mono,
            answers: Answers::default(),
            late: Vec::new(),
            of_status: BTreeSet::new(),
            steps: VecDeque::new(),
            now,
            requests: 0,
            reload: false,
            shutdown: false,
        }
    }

    /// Does what is to be done about the connection to the hub.
    fn carry_out_steps(&mut self, now: Now) {
        while self.wire.is_some()
            && let Some(step) = self.next_step()
        {
            if let Some(wire) = &mut self.wire {
                wire.carry_out(&step, &mut self.uplink, now);
            }
        }
    }

    /// What is to be done next about the connection to the hub.
    fn next_step(&mut self) -> Option<ConnectionStep> {
        self.take_outputs();
        self.steps.pop_front()
    }

    fn take_outputs(&mut self) {
        while let Some(output) = self.uplink.next_output() {
            match output {
                Output::Answer(asker, mut answered) => {
                    if self.of_status.remove(&asker) && answered.status == 200 {
                        self.with_own_status(&mut answered);
                    }
                    self.late.push((asker, Some(answered)));
                }
                Output::Drop(asker) => {
                    self.of_status.remove(&asker);
                    self.late.push((asker, None));
                }
                Output::Dial => self.steps.push_back(ConnectionStep::Dial),
                Output::HangUp(words) => self.steps.push_back(ConnectionStep::HangUp(words)),
                Output::Ping => self.steps.push_back(ConnectionStep::Ping),
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
            Some(token) if self.gate.is_person(token, endpoint, self.now)? => Ok((endpoint, None)),
            Some(token) => Ok((endpoint, Some(token))),
            None => Err(unauthorized()),
        }
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
        has_gone: bool,
    ) -> std::result::Result<(), Refusal> {
        let agent_start = match endpoint {
            Endpoint::Register => self.look(body)?,
            _ => None,
        };
        let (method, path) = (endpoint.method(), endpoint.path());
        let asked =
            Asked { token, method, path, body, agent_start: agent_start.as_deref(), has_gone };
        self.uplink.ask(to, asked, self.now.mono)
    }
}

impl Front for Relay {
    fn gate(&self) -> &Gate {
        &self.gate
    }

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
        if let Some(answer) = self.own(endpoint, token.is_none(), request.body) {
            return Flow::Next(match answer {
                Ok(reply) => self.answers.plain(address, &reply),
                Err(refusal) => self.answers.refusal(address, &refusal, false),
            });
        }
        match self.forward(address.to, endpoint, token, request.body, has_gone) {
            Ok(()) => {
                if endpoint == Endpoint::Status {
                    self.of_status.insert(address.to);
                }
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
    fn role(&self) -> role::Kind {
        role::Kind::Client
    }

    fn hub(&self) -> Option<MachineId> {
        self.wire.as_ref().and_then(|wire| wire.hub().id())
    }

    /// A turn of a relay has nothing to commit, and so is none that would have to be saved.
    fn begin(&mut self, now: Now, _: bool) -> bool {
        self.now = now;
        self.requests = 0;
        if let Some(wire) = &mut self.wire {
            wire.go_on(&mut self.uplink, now);
        }
        self.uplink.want(!self.uplink.is_idle(|_| true), now.mono);
        self.uplink.tick(now.mono);
        self.carry_out_steps(now);
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
        effects.reload |= std::mem::take(&mut self.reload);
        effects.shutdown |= std::mem::take(&mut self.shutdown);
        Ok(effects)
    }

    fn take_announced(&mut self) -> Vec<PeerId> {
        self.uplink.take_announced()
    }

    fn answers(&mut self, give: &mut dyn FnMut(Asker, Said<'_>)) {
        self.take_outputs();
        self.answers.each(&mut *give);
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

    fn hear(&mut self, news: News, _: Now) {
        self.uplink.hear(news);
    }

    fn hung_up(&mut self, asker: Asker, _: Monotonic) {
        self.uplink.hung_up(asker);
    }

    fn closed(&mut self, asker: Asker, now: Monotonic, cut: &mut dyn FnMut() -> Option<Cut>) {
        self.of_status.remove(&asker);
        self.uplink.closed(asker, |at| match cut()? {
            Cut::Unwritten => Some(Lost::Unwritten),
            Cut::Reset => Some(Lost::Reset { after: now.since(at) }),
        });
    }

    fn event(&mut self, kind: Kind, key: Key) {
        if let Some(wire) = &mut self.wire {
            wire.event(kind, key);
        }
    }

    fn flush(&mut self, now: Now) {
        self.carry_out_steps(now);
        if let Some(wire) = &mut self.wire {
            wire.send(&mut self.uplink, now);
        }
    }

    fn has_output(&self) -> bool {
        self.wire.as_ref().is_some_and(HubConnection::has_output)
    }

    fn next_deadline(&self, now: Now) -> Option<Monotonic> {
        if !self.late.is_empty() {
            return Some(now.mono);
        }
        let wire = self.wire.as_ref().and_then(|wire| wire.next_deadline(now));
        [self.uplink.next_deadline(), wire].into_iter().flatten().min()
    }

    fn is_idle(&self, counts: &dyn Fn(Asker) -> bool) -> bool {
        self.uplink.is_idle(counts)
    }

    /// Its own peers hear it from here: the hub goes on.
    fn goodbye(&mut self, reason: &str, now: Now) -> Effects {
        let mut effects = self.uplink.take_effects();
        let frame = PushFrame::new(Pushed::Shutdown(reason.into()), now.wall);
        effects.pushes.push(Push { to: PushTarget::AllBut(None), frame });
        effects
    }

    fn end_held(&mut self) -> Vec<Asker> {
        self.uplink.end_requests()
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
