//! Requests of other machines in the turn. The machine is that of the connection, whatever a request
//! says; and what only its kernel knows is asked of its relay.

use super::Turn;
use crate::api::{Code, Endpoint, ProcessFacts, Refusal, Request};
use crate::broker::answers::Address;
use crate::broker::held::{Asker, Cut};
use crate::broker::remote::Asked;
use crate::limits::REGISTER_BYTES_MAX;
use crate::mesh::{Caller, Former};
use crate::model::MachineName;
use crate::store::Store;
use crate::wire::frames::{As, Look};

/// A registration that waits for the facts of its machine.
#[derive(Debug)]
pub(super) struct Looking {
    caller: Caller,
    request: Request,
    token: Option<Box<str>>,
    /// The peer that they are about.
    former: Former,
}

impl<S: Store> Turn<S> {
    /// Takes a request of a client on that machine. A registration may have to wait for
    /// [`Turn::found_out`]: what the machine is to find out.
    pub(in crate::broker) fn ask_elsewhere(
        &mut self,
        to: Asker,
        machine: MachineName,
        asked: Asked<'_>,
    ) -> Option<Look<'static>> {
        self.requests += 1;
        let address = Address::of_machine(to);
        let token = match &asked.by {
            As::Operator => None,
            As::Token(token) => Some(&**token),
        };
        let caller = token.map_or(Caller::Operator(machine), |token| {
            self.mesh.authenticate(token, Some(machine))
        });
        let admitted = self.admit_elsewhere(caller, machine, &asked);
        let mut request = match admitted {
            Ok(request) => request,
            Err(refusal) => {
                self.answers.refusal(address, &refusal, false);
                return None;
            }
        };
        if let Request::Register(register) = &mut request {
            register.facts =
                ProcessFacts { agent_start: asked.agent_start, ..ProcessFacts::default() };
            if let Some(former) = self.former(caller, &request) {
                let look = look(asked.id, &request, &former);
                let token = token.map(Into::into);
                self.looking.insert(to, Box::new(Looking { caller, request, token, former }));
                return look;
            }
        }
        self.ask_first(address, caller, request, token, asked.has_gone);
        None
    }

    fn admit_elsewhere(
        &mut self,
        caller: Caller,
        machine: MachineName,
        asked: &Asked<'_>,
    ) -> Result<Request, Refusal> {
        let endpoint = asked.endpoint.clone();
        // As here: only a peer that comes back may have a token that is not known.
        let comes_back =
            endpoint == Ok(Endpoint::Register) && asked.body.len() <= REGISTER_BYTES_MAX;
        if matches!(caller, Caller::Unknown { .. }) && !comes_back {
            return Err(self.mesh.refuse_unknown(Some(machine), self.now));
        }
        let decoded = endpoint.and_then(|endpoint| Request::decode(endpoint, asked.body));
        if decoded.is_err() {
            self.mesh.count_refused(caller, self.now)?;
        }
        decoded
    }

    /// The peer that a registration might continue. None, too, if the turn has failed: then the answer
    /// says so.
    fn former(&mut self, caller: Caller, request: &Request) -> Option<Former> {
        let Request::Register(register) = request else { return None };
        let mut former = None;
        self.with_mesh(|mesh, _| {
            former = mesh.former(caller, register)?;
            Ok(())
        });
        former
    }

    /// A machine has found out the facts of a registration.
    pub(in crate::broker) fn found_out(&mut self, to: Asker, found: &ProcessFacts) {
        let Some(looking) = self.looking.remove(&to) else { return };
        let Looking { caller, mut request, token, former } = *looking;
        self.requests += 1;
        let is_same = self.former(caller, &request) == Some(former);
        if let Request::Register(register) = &mut request
            && is_same
        {
            let agent_start = register.facts.agent_start.take();
            register.facts = ProcessFacts { agent_start, ..found.clone() };
        }
        self.ask_first(Address::of_machine(to), caller, request, token.as_deref(), false);
    }

    /// The client of a request on another machine has nothing more to say.
    pub(in crate::broker) fn hung_up_elsewhere(&mut self, to: Asker) {
        if self.looking.remove(&to).is_some() {
            // It would be a peer that nobody knows to be.
            let refusal =
                Refusal::new(Code::Timeout, "the client has hung up: nobody was registered");
            self.answers.refusal(Address::of_machine(to), &refusal, false);
            return;
        }
        self.held.hung_up(to, self.now.mono, &mut self.mesh);
    }

    /// Nobody waits for the answer to a request any more.
    pub(in crate::broker) fn gone_elsewhere(&mut self, to: Asker, lost: bool) {
        self.looking.remove(&to);
        let cut = || lost.then_some(Cut::Unwritten);
        self.held.closed(to, self.now.mono, &mut self.mesh, cut);
    }
}

fn look(id: u64, request: &Request, former: &Former) -> Option<Look<'static>> {
    let Request::Register(register) = request else { return None };
    let (former_pid, former_start) = &former.agent;
    Some(Look {
        id,
        agent_pid: register.agent_pid?,
        socket: register.uds_path.as_ref()?.to_string().into(),
        former_pid: *former_pid,
        former_start: former_start.to_string().into(),
        former_socket: former.socket.as_ref().map(|socket| socket.to_string().into()),
    })
}
