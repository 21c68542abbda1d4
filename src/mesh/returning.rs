//! Sessions that go on while their server does not: away, and back as the same peer.
//!
//! An agent starts its MCP server anew (it was told to, was updated, or the server has crashed), or
//! somebody continues a session in a new process of the agent. What a newcomer says of itself proves
//! nothing: the shell asks the kernel, and what it found comes in as
//! [`ProcessFacts`](crate::api::ProcessFacts).

use super::Mesh;
use super::heard::AgentNews;
use super::peers::Present;
use super::turn::{Abandoned, AskedAgain, Caller, Handled, Interest, Outcome, Replied};
use super::who::Actor;
use crate::api::{Code, Freed, PeerChange, Presence, Refusal, Register, refuse};
use crate::limits::{AWAY_LOCKS_MAX, AWAY_TIME_MAX, SERVER_END_TIME_MAX};
use crate::model::{LeaveReason, MachineName, Monotonic, Now, Party, PeerId, PeerRecord};
use crate::store::{Result as Stored, Store};

/// That a peer's server is gone while its agent goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Away {
    /// How the server went: the reason that is given if the peer does not come back.
    reason: LeaveReason,
    /// Until when its locks stay; none once they are free.
    pub(super) locks_until: Option<Monotonic>,
    /// Until when it may come back without having left.
    until: Monotonic,
}

impl Away {
    fn new(reason: LeaveReason, now: Now) -> Self {
        let mono = now.mono;
        let locks_until = Some(mono.plus(AWAY_LOCKS_MAX));
        Self { reason, locks_until, until: mono.plus(AWAY_TIME_MAX) }
    }

    /// Of a peer that has been away for `gone_ms` already, since before this broker started.
    pub(super) fn since(gone_ms: i64, now: Now) -> Self {
        let gone = std::time::Duration::from_millis(u64::try_from(gone_ms).unwrap_or(0));
        let left = |whole: std::time::Duration| now.mono.plus(whole.saturating_sub(gone));
        Self {
            reason: LeaveReason::Crashed,
            locks_until: Some(left(AWAY_LOCKS_MAX)),
            until: left(AWAY_TIME_MAX),
        }
    }

    /// The same after a turn that has failed, in which its locks may have been freed.
    pub(super) fn after_failure(self, now: Now) -> Self {
        Self { locks_until: self.locks_until.or(Some(now.mono)), ..self }
    }

    fn next(&self) -> Monotonic {
        self.locks_until.map_or(self.until, |at| at.min(self.until))
    }
}

impl Present {
    /// If it is away: when its locks, or itself, are given up.
    pub(super) fn next_away(&self) -> Option<Monotonic> {
        self.away.as_ref().map(Away::next)
    }
}

/// A peer that a newcomer might continue, and what the shell has to find out about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Former {
    /// The peer.
    pub peer: PeerId,
    /// Its agent's process, and when that started.
    pub agent: (u32, Box<str>),
    /// The socket of its server, if the server has not said goodbye and there is no connection to it.
    pub socket: Option<Box<str>>,
}

/// What becomes of a newcomer.
#[derive(Debug)]
pub(super) enum Newcomer {
    /// Somebody new.
    New,
    /// This peer, which is or was present.
    Continues(Box<PeerRecord>),
    /// Perhaps this peer, if its server ends.
    Waits(PeerId),
}

fn is_same_session(one: &PeerRecord, other: &PeerRecord) -> bool {
    (one.host, &one.agent_type, &one.session_id)
        == (other.host, &other.agent_type, &other.session_id)
}

impl<S: Store> Mesh<S> {
    /// The peer that `register` might continue: the same session of the same type of agent on the
    /// caller's machine. For the shell, which then fills in `facts`. To be called in a turn.
    ///
    /// # Errors
    /// Those of the store.
    pub fn former(&mut self, caller: Caller, register: &Register) -> Stored<Option<Former>> {
        let Some(record) = self.former_record(self.home(caller), register)? else {
            return Ok(None);
        };
        let link_is_up = self.peers.get(&record.id).is_some_and(|present| present.link.is_up());
        let agent = record.agent_pid.zip(record.agent_start);
        let socket = record.uds_path.filter(|_| record.left_at.is_none() && !link_is_up);
        Ok(agent.map(|agent| Former { peer: record.id, agent, socket }))
    }

    fn former_record(
        &mut self,
        home: Option<MachineName>,
        register: &Register,
    ) -> Stored<Option<PeerRecord>> {
        let Register { agent_type: Some(agent), session_id: Some(session), .. } = register else {
            return Ok(None);
        };
        if register.agent_pid.is_none() || register.uds_path.is_none() {
            return Ok(None);
        }
        let own = register.peer_id.as_deref().and_then(PeerId::parse);
        let same = |record: &PeerRecord| {
            record.host == home
                && record.agent_type == *agent
                && record.session_id.as_ref() == Some(session)
                && Some(record.id) != own
        };
        // Of several, rather one of the same agent process, and rather one that is away.
        let rank = |present: &&Present| {
            (present.record.agent_pid == register.agent_pid, present.away.is_some())
        };
        let here = self.peers.values().filter(|present| same(&present.record)).max_by_key(rank);
        match here {
            Some(present) => Ok(Some(present.record.clone())),
            None => self.store.left_session(agent, session, home),
        }
    }

    /// Finds out who registers without an id, or under one that had no session before.
    pub(super) fn newcomer(
        &mut self,
        home: Option<MachineName>,
        register: &Register,
    ) -> Stored<Newcomer> {
        let facts = &register.facts;
        if !facts.descends {
            return Ok(Newcomer::New);
        }
        let Some(former) = self.former_record(home, register)? else { return Ok(Newcomer::New) };
        let same_agent = former.agent_pid == register.agent_pid
            && facts.agent_start.is_some()
            && former.agent_start == facts.agent_start;
        // Another process continues the session only when the one before has ended, and no other is
        // in it.
        let is_other = |present: &Present| {
            let record = &present.record;
            record.id != former.id && present.away.is_none() && is_same_session(record, &former)
        };
        let may_continue = facts.former_ended && !self.peers.values().any(is_other);
        if !(same_agent || may_continue) {
            return Ok(Newcomer::New);
        }
        let is_gone = former.left_at.is_some() || former.away_at.is_some() || facts.former_gone;
        Ok(if is_gone { Newcomer::Continues(Box::new(former)) } else { Newcomer::Waits(former.id) })
    }

    /// `POST /register`: comes in, comes back, or changes what it said.
    pub(super) fn register(
        &mut self,
        caller: Caller,
        register: &Register,
        held: Option<AskedAgain>,
    ) -> Handled {
        let (until, is_late) = match held {
            Some(AskedAgain { hung_up: true, .. }) => {
                // Nobody would know the id and the token of the peer.
                let message = "the client has hung up: nobody was registered";
                return refuse(Code::Timeout, message);
            }
            Some(held) => (held.until, held.until <= self.now.mono),
            None => (self.now.mono.plus(SERVER_END_TIME_MAX), false),
        };
        if held.is_none() {
            self.check_registration(caller, register)?;
        }
        if register.peer_id.is_some() {
            return Ok(Outcome::Reply(self.resume(caller, register)?));
        }
        self.check_newcomer(caller)?;
        let home = self.home(caller);
        match self.newcomer(home, register)? {
            Newcomer::Waits(peer) if !is_late => {
                Ok(Outcome::Hold { on: Interest::Gone(peer), until })
            }
            Newcomer::Continues(former) => Ok(Outcome::Reply(self.continue_as(*former, register)?)),
            Newcomer::New | Newcomer::Waits(_) => {
                Ok(Outcome::Reply(self.come_new(home, register)?))
            }
        }
    }

    /// Continues `former` with another server, and so with another token.
    pub(super) fn continue_as(&mut self, former: PeerRecord, register: &Register) -> Replied {
        let (token, token_hash) = self.new_token();
        let (id, ended) = (former.id, former.token_hash);
        self.readmit(PeerRecord { token_hash, ..former }, register)?;
        self.tokens.remove(&ended);
        self.heard_of(id, AgentNews::Registered)?;
        Ok(self.registered(id, token.into(), true))
    }

    /// Whether a peer that loses its server may come back: it is a session whose agent goes on.
    fn may_return(&self, id: PeerId) -> bool {
        self.peers.get(&id).is_some_and(|present| {
            present.agent_lives && present.record.is_session() && present.away.is_none()
        })
    }

    /// The server of a peer is gone. If its agent goes on the peer is away, otherwise it leaves.
    pub(super) fn lose_server(&mut self, id: PeerId, reason: LeaveReason) -> Stored<()> {
        if !self.may_return(id) {
            return match self.peers.get(&id) {
                Some(present) if present.away.is_some() => Ok(()),
                _ => self.leave(id, reason),
            };
        }
        let time = self.time();
        let Some(present) = self.peers.get_mut(&id) else { return Ok(()) };
        let record = PeerRecord {
            uds_path: None,
            away_at: Some(time),
            last_heartbeat: present.last_heartbeat,
            ..present.record.clone()
        };
        self.store.put_peer(&record)?;
        let away = Away::new(reason, self.now);
        self.next_away = Some(self.next_away.map_or(away.next(), |next| next.min(away.next())));
        self.effects.disconnect.push(id);
        // After a turn that has failed it may still be among those to connect to.
        self.effects.connect.retain(|(peer, _)| *peer != id);
        let crashed = reason == LeaveReason::Crashed;
        let path = present.record.uds_path.take().filter(|_| crashed);
        let machine = present.record.host;
        self.effects.abandoned.extend(path.map(|path| Abandoned { machine, path }));
        present.link.close();
        present.process_known = false;
        present.away = Some(away);
        let name = record.name.clone();
        present.record = record;
        self.hungry.remove(&id);
        self.end_waits(&Party::Peer(id));
        self.effects.gone.push(id);
        self.peer_changed(id, name, PeerChange::Status(Presence::Away));
        Ok(())
    }

    /// The process of a peer's agent is watched and runs, and the one that listens on the peer's socket
    /// descends from it.
    pub fn agent_lives(&mut self, peer: PeerId) {
        if let Some(present) = self.peers.get_mut(&peer) {
            present.agent_lives = true;
        }
    }

    /// The process of a peer's agent has ended: nobody is left to come back. To be called in a turn.
    ///
    /// # Errors
    /// Those of the store.
    pub fn agent_ended(&mut self, peer: PeerId, now: Now) -> Stored<()> {
        self.now = now;
        let Some(present) = self.peers.get_mut(&peer) else { return Ok(()) };
        present.agent_lives = false;
        match present.away {
            Some(away) => self.leave(peer, away.reason),
            // Its server says goodbye itself, or ends.
            None => Ok(()),
        }
    }

    /// Frees the locks of those that have been away for long, and gives up those that have been away for
    /// too long.
    pub(super) fn end_away(&mut self) -> Stored<()> {
        if self.next_away.is_none_or(|at| at > self.now.mono) {
            return Ok(());
        }
        let away = |(id, present): (&PeerId, &Present)| Some((*id, present.away?));
        let all: Vec<(PeerId, Away)> = self.peers.iter().filter_map(away).collect();
        for (id, away) in all {
            if away.until <= self.now.mono {
                self.leave(id, LeaveReason::Timeout)?;
            } else if away.locks_until.is_some_and(|at| at <= self.now.mono) {
                self.release_locks(&Party::Peer(id), Freed::Expired)?;
                if let Some(away) = self.peers.get_mut(&id).and_then(|it| it.away.as_mut()) {
                    away.locks_until = None;
                }
            }
        }
        self.next_away = self.peers.values().filter_map(Present::next_away).min();
        Ok(())
    }

    /// Refuses locks to a peer that is away.
    pub(super) fn check_here(&self, actor: &Actor) -> std::result::Result<(), Refusal> {
        let present = actor.party.peer().and_then(|id| self.peers.get(&id));
        if present.is_none_or(|present| present.away.is_none()) {
            return Ok(());
        }
        let message = format!("{} is away: it takes locks when it is back", actor.name);
        refuse(Code::Forbidden, message)
    }

    /// For how many ms at most a holder that is away keeps its locks.
    pub(super) fn away_ms(&self, holder: &Party) -> Option<i64> {
        let present = self.peers.get(&holder.peer()?)?;
        let left = present.away?.locks_until?.since(self.now.mono);
        i64::try_from(left.as_millis()).ok()
    }

    /// What must hold of those that are away.
    pub(super) fn check_away(&self) {
        for (id, present) in &self.peers {
            assert_eq!(present.away.is_some(), present.record.away_at.is_some(), "{id} is away");
            let Some(away) = present.away else { continue };
            assert!(present.record.is_session(), "{id} has a session to come back to");
            assert!(present.record.uds_path.is_none() && !present.link.is_up(), "{id} has a link");
            assert!(self.next_away.is_some_and(|at| at <= away.next()), "{id} is forgotten");
            let mut kept = self.locks.iter().filter(|lock| {
                lock.holder == Party::Peer(*id) && !self.leaving.contains_key(&lock.fence)
            });
            let is_over = away.locks_until.is_none() && kept.next().is_some();
            assert!(!is_over, "{id} keeps its locks for too long");
        }
    }
}
