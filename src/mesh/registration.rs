//! What a peer says when it registers: what is refused, and what is kept of it.

use super::Mesh;
use super::paths::normalise;
use super::rate_limit::Lane;
use super::turn::Caller;
use crate::api::{Code, Refusal, Register, refuse};
use crate::limits::{MACHINE_PEERS_MAX, PEERS_MAX};
use crate::model::{MachineName, Now, PeerId, PeerRecord};
use crate::names;
use crate::store::Store;

impl<S: Store> Mesh<S> {
    /// Checks what holds for any registration.
    pub(super) fn check_registration(
        &mut self,
        caller: Caller,
        register: &Register,
    ) -> std::result::Result<(), Refusal> {
        let home = self.home(caller);
        if home.is_some() && matches!(caller, Caller::Unknown { .. }) {
            self.rates.take(Lane::Stranger(home), self.now.mono)?;
        }
        self.rates.take(Lane::Register(home), self.now.mono)?;
        check_register(register)
    }

    /// Refuses those who may not come in without an id.
    pub(super) fn check_newcomer(&mut self, caller: Caller) -> std::result::Result<(), Refusal> {
        match caller {
            Caller::Broker | Caller::Operator(_) => Ok(()),
            Caller::Peer(_) => {
                let message = "a peer's token brings back that peer: send its `peerId` too";
                refuse(Code::Forbidden, message)
            }
            Caller::Unknown { from, .. } => Err(self.refuse_unknown(from, self.now)),
        }
    }

    pub(super) fn check_peer_room(
        &self,
        home: Option<MachineName>,
    ) -> std::result::Result<(), Refusal> {
        let full = if self.peers.len() >= PEERS_MAX {
            Some((PEERS_MAX, "here"))
        } else {
            let is_full = home.is_some() && self.peers_of(home).count() >= MACHINE_PEERS_MAX;
            is_full.then_some((MACHINE_PEERS_MAX, "here from this machine"))
        };
        let Some((most, place)) = full else { return Ok(()) };
        let message = format!("{most} peers are {place}, which is the most: end some first");
        refuse(Code::Unavailable, message)
    }
}

/// The name that a peer asks for, if it asks for one.
pub(super) fn asked_name(register: &Register) -> Option<&str> {
    register.name.as_deref().filter(|name| *name != names::AUTO)
}

fn check_register(register: &Register) -> std::result::Result<(), Refusal> {
    let refuse = |field: &str, error: names::NameError| {
        Refusal::new(Code::InvalidRequest, format!("`{field}`: {error}"))
    };
    if let Some(name) = asked_name(register) {
        names::check(name).map_err(|error| refuse("name", error))?;
    }
    for (field, word) in [("agentType", &register.agent_type), ("reach", &register.reach)] {
        if let Some(word) = word {
            names::check_form(word).map_err(|error| refuse(field, error))?;
        }
    }
    Ok(())
}

/// What is kept of a peer on the machine `host` that registers with this.
pub(super) fn record(
    (host, register): (Option<MachineName>, &Register),
    id: PeerId,
    (name, name_is_automatic): (Box<str>, bool),
    token_hash: [u8; 32],
    now: Now,
) -> PeerRecord {
    let path = |path: &Option<Box<str>>| {
        path.as_deref().map(|path| normalise(path, None).into_boxed_str())
    };
    PeerRecord {
        id,
        name,
        name_is_automatic,
        token_hash,
        agent_type: register.agent_type.clone().unwrap_or(names::UNKNOWN_AGENT.into()),
        pid: register.pid,
        project_path: normalise(&register.project_path, None).into(),
        git_root: path(&register.git_root),
        git_branch: register.git_branch.clone(),
        repo_id: path(&register.repo_id),
        repo_hash: register.repo_hash,
        uds_path: register.uds_path.clone(),
        summary: register.summary.clone().filter(|summary| !summary.is_empty()),
        host,
        reach: register.reach.clone(),
        session_id: register.session_id.clone(),
        agent_pid: register.agent_pid,
        agent_start: register.facts.agent_start.clone(),
        private: register.private,
        acks: register.acks,
        subscriptions: Vec::new(),
        started_at: now.wall,
        last_heartbeat: now.wall,
        away_at: None,
        left_at: None,
        resumable: true,
    }
}
