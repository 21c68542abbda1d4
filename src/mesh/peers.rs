//! Peers: coming, staying, going.

use std::rc::Rc;

use super::Mesh;
use super::claims::Claims;
use super::delivery::PushLink;
use super::heard::AgentNews;
use super::locks::Edits;
use super::moments::AgentTurn;
use super::proof::Queued;
use super::rate_limit::Lane;
use super::registration::{asked_name, record};
use super::returning::{Away, Newcomer};
use super::turn::{Caller, Departed, Failure, Replied, WatchAgent};
use super::waiters::Waiters;
use super::who::{Right, hash_token, not_found};
use crate::api::{
    Code, Fact, HeartbeatReply, PeerChange, Presence, Refusal, Register, Registered, Reply,
};
use crate::model::{
    LeaveReason, MachineName, MeshTime, Monotonic, Now, Party, PeerId, PeerRecord, Recipient, Seq,
    Timestamp, hex, reach,
};
use crate::names;
use crate::store::{Result as Stored, Store};

/// Whether a peer was heard of since the mesh began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It has just registered or sent a heartbeat.
    Now,
    /// It was present before this broker started.
    BeforeStart,
    /// The process that it claimed to be has ended since.
    Ended,
}

/// A present peer: its record, and what only the running mesh knows of it.
#[derive(Debug)]
pub(super) struct Present {
    pub(super) record: PeerRecord,
    pub(super) link: PushLink,
    /// Its process is watched and running.
    pub(super) process_known: bool,
    /// Its last heartbeat, for how long ago that is.
    pub(super) last_seen: Monotonic,
    /// The same, to be shown.
    pub(super) last_heartbeat: Timestamp,
    pub(super) seen: Seen,
    /// Messages that its agent is being told of at this moment.
    pub(super) claims: Claims,
    /// Claims that wait.
    pub(super) waiters: Waiters,
    /// Whether its agent is in a turn.
    pub(super) turn: AgentTurn,
    /// Messages that stand in its agent's own queue.
    pub(super) queued: Queued,
    /// No message up to here still has to be told.
    pub(super) told_to: Seq,
    /// Until when broadcasts wait for more of them, if there are any.
    pub(super) digest_due: Option<Monotonic>,
    /// What its subagents are at.
    pub(super) edits: Edits,
    /// Its agent's process is watched and running, and its server descends from it.
    pub(super) agent_lives: bool,
    /// Its server is gone while its agent goes on.
    pub(super) away: Option<Away>,
}

impl Present {
    pub(super) fn new(record: PeerRecord, now: Now, seen: Seen) -> Self {
        Self {
            last_heartbeat: record.last_heartbeat,
            away: None,
            record,
            link: PushLink::default(),
            process_known: false,
            last_seen: now.mono,
            seen,
            claims: Claims::default(),
            waiters: Waiters::default(),
            turn: AgentTurn::default(),
            queued: Queued::default(),
            told_to: Seq::default(),
            digest_due: None,
            edits: Edits::default(),
            agent_lives: false,
        }
    }

    /// The same peer with the record that is stored, after the turn that had changed it has failed.
    pub(super) fn with(self, record: PeerRecord, now: Now) -> Self {
        let away = self.away.filter(|_| record.away_at.is_some());
        Self { record, away: away.map(|away| away.after_failure(now)), ..self }
    }

    /// The same peer, away if its record says so. `time` is the time of the mesh.
    pub(super) fn away_since_before(mut self, time: MeshTime, now: Now) -> Self {
        let away = self.record.away_at.map(|at| Away::since(at.ms_until(time), now));
        self.away = self.away.or(away);
        self
    }

    /// How its agent can be told, as far as is known. Something that waits beside the agent wakes it, and
    /// its hooks reach it with its next turn, whatever its server has said.
    pub(super) fn reach(&self, now: Now) -> &str {
        if self.away.is_some() {
            return reach::NONE;
        }
        let said = match (&self.record.reach, &self.record.uds_path) {
            (Some(reach), _) => reach,
            (None, Some(_)) => "push",
            (None, None) => reach::NONE,
        };
        match said {
            reach::WAKES | reach::HELD => said,
            _ if self.waiters.wakes(now.mono) => reach::WAKES,
            _ if self.turn.has_hooks() => reach::NEXT_TURN,
            _ => said,
        }
    }

    /// Its socket, if it has one and no connection to it stands.
    pub(super) fn to_connect(&self) -> Option<(PeerId, Box<str>)> {
        let path = self.record.uds_path.as_ref().filter(|_| !self.link.is_up())?;
        Some((self.record.id, path.clone()))
    }

    /// The process that it claims to be.
    pub(super) fn named_process(&self) -> (PeerId, u32) {
        (self.record.id, self.record.pid)
    }

    /// The process of its agent, if it says which, and when that started.
    pub(super) fn agent(&self) -> Option<WatchAgent> {
        let PeerRecord { id, agent_pid: Some(pid), agent_start: Some(start), .. } = &self.record
        else {
            return None;
        };
        Some(WatchAgent { peer: *id, pid: *pid, start: start.clone() })
    }

    fn is_alive(&mut self, now: Now) {
        self.last_seen = now.mono;
        self.last_heartbeat = now.wall;
        self.seen = Seen::Now;
    }
}

impl<S: Store> Mesh<S> {
    /// The present peers on a machine.
    pub(super) fn peers_of(&self, home: Option<MachineName>) -> impl Iterator<Item = &Present> {
        self.peers.values().filter(move |present| present.record.host == home)
    }

    /// Somebody new comes in.
    pub(super) fn come_new(&mut self, home: Option<MachineName>, register: &Register) -> Replied {
        self.check_peer_room(home)?;
        let (name, automatic) = match asked_name(register) {
            Some(asked) => self.claim_name(asked, (None, home), register.exclusive)?,
            None => (self.automatic_name(register)?, true),
        };
        let id = PeerId::from_random(self.random());
        let (token, token_hash) = self.new_token();
        let record = record((home, register), id, (name, automatic), token_hash, self.now);
        self.store.put_peer(&record)?;
        self.come_in(Present::new(record, self.now, Seen::Now), true)?;
        self.heard_of(id, AgentNews::Registered)?;
        if !automatic {
            // What is in its mailbox may stand in the queue of whoever had the name before.
            self.forget_queued(id)?;
        }
        Ok(self.registered(id, token.into(), false))
    }

    pub(super) fn new_token(&mut self) -> (String, [u8; 32]) {
        let token = hex(&self.random::<32>());
        let hash = hash_token(&token);
        (token, hash)
    }

    pub(super) fn registered(&self, id: PeerId, peer_token: Box<str>, resumed: bool) -> Reply {
        let name = self.peers.get(&id).map(|peer| peer.record.name.clone()).unwrap_or_default();
        let heartbeat_ms = u64::try_from(self.settings.heartbeat.as_millis()).unwrap_or(u64::MAX);
        Reply::Registered(Registered { peer_id: id, name, peer_token, heartbeat_ms, resumed })
    }

    /// Comes back under an id, or changes what a present peer said.
    pub(super) fn resume(&mut self, caller: Caller, register: &Register) -> Replied {
        let id = register.peer_id.as_deref().unwrap_or_default();
        let gone = || {
            let message = format!("no peer `{id}` can come back here: register without `peerId`");
            Refusal::new(Code::PeerNotFound, message)
        };
        let id = PeerId::parse(id).ok_or_else(|| Refusal::field("peerId", "the id of a peer"))?;
        let kept = match self.peers.get(&id) {
            Some(present) => Some(present.record.clone()),
            None => self.store.peer(id)?.filter(|record| record.resumable),
        };
        // A peer on another machine is treated like one that does not exist.
        let home = self.home(caller);
        let Some(kept) = kept.filter(|kept| kept.host == home) else {
            // Whether the token was its own cannot be checked any more; that it is gone may be said.
            return Err(match caller {
                Caller::Broker | Caller::Operator(_) | Caller::Unknown { .. } => gone().into(),
                Caller::Peer(_) => forbidden_resume().into(),
            });
        };
        match caller {
            Caller::Peer(me) if me == id => {}
            Caller::Unknown { hash, .. } if hash == kept.token_hash => {}
            Caller::Unknown { from, .. } => return Err(self.refuse_unknown(from, self.now).into()),
            Caller::Peer(_) | Caller::Broker | Caller::Operator(_) => {
                return Err(forbidden_resume().into());
            }
        }
        if let Some(former) = self.was_another(&kept, register)? {
            self.leave(id, LeaveReason::CleanExit)?;
            return self.continue_as(former, register);
        }
        self.readmit(kept, register)?;
        Ok(self.registered(id, Box::default(), false))
    }

    /// The peer that a present one turns out to be, now that it knows its session. Only as long as
    /// nobody has dealt with it yet.
    fn was_another(
        &mut self,
        kept: &PeerRecord,
        register: &Register,
    ) -> Stored<Option<PeerRecord>> {
        let is_fresh = kept.session_id.is_none()
            && kept.left_at.is_none()
            && !register.exclusive
            && self.locks.count_of(&Party::Peer(kept.id)) == 0
            && self.store.unread_count(Recipient::Peer(kept.id))? == 0;
        if !is_fresh {
            return Ok(None);
        }
        Ok(match self.newcomer(kept.host, register)? {
            Newcomer::Continues(former) => Some(*former),
            Newcomer::New | Newcomer::Waits(_) => None,
        })
    }

    /// Lets a known peer in: with what it says now, and with what was kept of it.
    pub(super) fn readmit(
        &mut self,
        kept: PeerRecord,
        register: &Register,
    ) -> std::result::Result<(), Failure> {
        let id = kept.id;
        let absent = kept.left_at.is_some();
        let former_agent = (kept.agent_pid, kept.agent_start.clone());
        let former_reach = kept.reach.clone();
        if absent {
            self.check_peer_room(kept.host)?;
        }
        let (wanted, made) = match asked_name(register) {
            Some(asked) => (asked, false),
            None => (&*kept.name, kept.name_is_automatic),
        };
        let (name, numbered) =
            self.claim_name(wanted, (Some(id), kept.host), register.exclusive)?;
        let automatic = made || numbered;
        let said = record((kept.host, register), id, (name, automatic), kept.token_hash, self.now);
        // It need not repeat its session and its agent's process: a hook may know them better.
        let (agent_pid, agent_start) = match said.agent_pid {
            Some(pid) => (Some(pid), said.agent_start.clone()),
            None => (kept.agent_pid, kept.agent_start),
        };
        let record = PeerRecord {
            started_at: kept.started_at,
            summary: said.summary.clone().or(kept.summary),
            subscriptions: kept.subscriptions,
            session_id: said.session_id.clone().or(kept.session_id),
            agent_pid,
            agent_start,
            ..said
        };
        let mailbox = self.mailbox_of(id).map(Box::from);
        let of_record = (!record.name_is_automatic).then(|| record.name.clone());
        // Messages in another mailbox may stand in the queue of whoever had that mailbox before.
        let moves = !absent && of_record != mailbox;
        let own = if moves { self.unproven(Recipient::Peer(id))? } else { Vec::new() };
        self.store.put_peer(&record)?;
        // Nothing can stand in the queue of another agent, or of one that may be another.
        let same_agent = match former_agent {
            (None, _) | (_, None) => !absent,
            (pid, start) => (record.agent_pid, &record.agent_start) == (pid, &start),
        };
        let present = match self.peers.remove(&id) {
            Some(mut present) => {
                self.names.remove(&names::key(&present.record.name));
                if of_record != mailbox {
                    self.has_other_mailbox(&mut present);
                } else if record.reach != former_reach {
                    self.effects.inboxes.push(Recipient::Peer(id));
                }
                // Another socket is another connection.
                if present.record.uds_path != record.uds_path {
                    present.link.close();
                    self.hungry.remove(&id);
                    self.effects.disconnect.push(id);
                }
                // Nothing is known yet of another agent.
                if !same_agent {
                    present.turn = AgentTurn::default();
                }
                present.agent_lives &= present.record.agent_start == record.agent_start
                    && present.record.agent_pid == record.agent_pid;
                present.record = record;
                present.is_alive(self.now);
                if present.away.take().is_some() {
                    let name = present.record.name.clone();
                    self.peer_changed(id, name, PeerChange::Status(Presence::Active));
                }
                present
            }
            None => Present::new(record, self.now, Seen::Now),
        };
        self.come_in(present, absent)?;
        if !same_agent {
            self.forget_queued(id)?;
        } else if moves {
            self.drop_unproven(id, &own)?;
        }
        Ok(())
    }

    /// A peer has another mailbox: what waits in it may be older than what was pushed.
    pub(super) fn has_other_mailbox(&mut self, present: &mut Present) {
        let id = present.record.id;
        present.told_to = Seq::default();
        self.effects.inboxes.push(Recipient::Peer(id));
        if present.link.is_up() {
            present.link.open();
            self.hungry.insert(id);
        }
    }

    fn come_in(&mut self, present: Present, announce: bool) -> Stored<()> {
        let record = &present.record;
        let id = record.id;
        self.effects.connect.extend(present.to_connect());
        self.effects.watch.push(present.named_process());
        self.effects.agents.extend(present.agent());
        let dead_at = self.now.mono.plus(self.settings.dead);
        self.next_dead = Some(self.next_dead.map_or(dead_at, |next| next.min(dead_at)));
        let joined = announce.then(|| Fact::PeerJoined {
            agent_type: record.agent_type.clone(),
            name: record.name.clone(),
            peer_id: id,
            project_path: record.project_path.clone(),
        });
        self.index(present);
        match joined {
            Some(joined) => self.event(joined, Some(&Party::Peer(id))),
            None => Ok(()),
        }
    }

    /// Tells the others that something about a peer has changed.
    pub(super) fn peer_changed(&mut self, id: PeerId, name: Box<str>, change: PeerChange) {
        let changed = Rc::new(Fact::PeerChanged { name, peer_id: id, change });
        self.tell_others(&changed, Some(&Party::Peer(id)));
    }

    /// `POST /unregister`
    pub(super) fn unregister(&mut self, caller: Caller, peer: Option<&str>, away: bool) -> Replied {
        let id = self.acting_peer(caller, peer, Right::Oversee)?;
        if away && caller == Caller::Peer(id) {
            self.lose_server(id, LeaveReason::CleanExit)?;
        } else {
            self.depart(id, LeaveReason::CleanExit, false)?;
        }
        Ok(Reply::Done {})
    }

    /// The process of a peer has ended: a crash, unless it had unregistered. To be called in a turn.
    ///
    /// # Errors
    /// Those of the store.
    pub fn process_ended(&mut self, peer: PeerId, now: Now) -> Stored<()> {
        self.now = now;
        self.lose_server(peer, LeaveReason::Crashed)
    }

    /// The process that a peer claimed to be has ended. That proves nothing, since it may have named
    /// any: it is stale until it is heard of again.
    pub fn named_process_ended(&mut self, peer: PeerId) {
        if let Some(present) = self.peers.get_mut(&peer).filter(|present| !present.process_known) {
            present.seen = Seen::Ended;
        }
    }

    /// Whether a peer's process is watched: such a peer is never given up for missing heartbeats.
    pub fn process_known(&mut self, peer: PeerId, known: bool, now: Now) {
        self.now = now;
        let Some(present) = self.peers.get_mut(&peer) else { return };
        present.process_known = known;
        if !known {
            let dead_at = present.last_seen.plus(self.settings.dead).max(now.mono);
            self.next_dead = Some(self.next_dead.map_or(dead_at, |next| next.min(dead_at)));
        }
    }

    /// A peer leaves. A session may be continued later; a peer without one comes back only after a
    /// crash.
    pub(super) fn leave(&mut self, id: PeerId, reason: LeaveReason) -> Stored<()> {
        let is_session = self.peers.get(&id).is_some_and(|present| present.record.is_session());
        self.depart(id, reason, is_session || reason != LeaveReason::CleanExit)
    }

    /// A peer leaves: for good, unless it is `resumable`.
    pub(super) fn depart(
        &mut self,
        id: PeerId,
        reason: LeaveReason,
        resumable: bool,
    ) -> Stored<()> {
        let Some(present) = self.peers.remove(&id) else { return Ok(()) };
        self.names.remove(&names::key(&present.record.name));
        self.tokens.remove(&present.record.token_hash);
        self.hungry.remove(&id);
        let mut record = present.record.clone();
        // Kept until the turn has committed: it may have to come back.
        self.left.push(present);
        record.last_heartbeat = self.left.last().map_or(self.now.wall, |left| left.last_heartbeat);
        record.left_at = Some(self.now.wall);
        record.away_at = None;
        record.resumable = resumable;
        if !record.resumable {
            record.subscriptions.clear();
        }
        self.store.put_peer(&record)?;
        self.release_all(&Party::Peer(id))?;
        if !record.resumable {
            self.tell_undeliverable(id)?;
        }
        let left = Fact::PeerLeft { name: record.name, peer_id: id, reason };
        self.event(left, Some(&Party::Peer(id)))?;
        self.effects.gone.push(id);
        self.effects.departed.push(Departed {
            peer: id,
            machine: record.host,
            reason,
            uds_path: record.uds_path,
        });
        // For how long its name is kept is counted from here.
        self.note_time()
    }

    /// Removes peers that have not been heard of for too long. If this comes far too late itself (the
    /// machine slept), nobody had a chance: everyone gets a fresh start.
    pub(super) fn remove_dead(&mut self) -> Stored<()> {
        let Some(due) = self.next_dead.filter(|due| *due <= self.now.mono) else { return Ok(()) };
        if self.now.mono.since(due) >= self.settings.stale {
            for present in self.peers.values_mut() {
                present.last_seen = self.now.mono;
            }
        }
        let dead = self.settings.dead;
        let mortal = |present: &&Present| !present.process_known && present.away.is_none();
        let is_dead = |present: &&Present| self.now.mono.since(present.last_seen) >= dead;
        let ids: Vec<PeerId> = (self.peers.values().filter(mortal).filter(is_dead))
            .map(|present| present.record.id)
            .collect();
        for id in ids {
            self.leave(id, LeaveReason::Timeout)?;
        }
        let left = self.peers.values().filter(mortal);
        self.next_dead = left.map(|present| present.last_seen.plus(dead)).min();
        Ok(())
    }

    pub(super) fn is_stale(&self, present: &Present) -> bool {
        present.away.is_some()
            || present.seen != Seen::Now
            || self.now.mono.since(present.last_seen) >= self.settings.stale
    }

    /// `POST /heartbeat`, with the peer's present branch and session if it tells them.
    pub(super) fn heartbeat(
        &mut self,
        caller: Caller,
        peer: Option<&str>,
        (branch, session): (Option<&str>, Option<&str>),
    ) -> Replied {
        let actor = self.actor(caller, peer, "peerId", Right::Speak);
        let id = match actor.map(|actor| actor.party.peer()) {
            Ok(Some(id)) => id,
            refused => {
                self.count(caller, None)?;
                refused?;
                return Err(not_found(peer.unwrap_or_default()).into());
            }
        };
        self.rates.take(Lane::Heartbeat(id), self.now.mono)?;
        let Some(present) = self.peers.get_mut(&id) else { return Err(not_found("").into()) };
        present.is_alive(self.now);
        self.effects.connect.extend(present.to_connect());
        let record = &present.record;
        let branch = branch.or(record.git_branch.as_deref());
        let session = session.or(record.session_id.as_deref());
        if branch != record.git_branch.as_deref() || session != record.session_id.as_deref() {
            let record = PeerRecord {
                git_branch: branch.map(Into::into),
                session_id: session.map(Into::into),
                last_heartbeat: self.now.wall,
                ..record.clone()
            };
            self.store.put_peer(&record)?;
            present.record = record;
        }
        let session_id = present.record.session_id.clone();
        let unread = self.store.unread_count(crate::model::Recipient::Peer(id))?;
        Ok(Reply::Heartbeat(HeartbeatReply { unread, session_id }))
    }

    /// `POST /summary`
    pub(super) fn summary(&mut self, caller: Caller, peer: Option<&str>, summary: &str) -> Replied {
        let id = self.acting_peer(caller, peer, Right::Speak)?;
        let Some(present) = self.peers.get_mut(&id) else { return Err(not_found("").into()) };
        let record = PeerRecord {
            summary: Some(summary.into()).filter(|_| !summary.is_empty()),
            last_heartbeat: present.last_heartbeat,
            ..present.record.clone()
        };
        self.store.put_peer(&record)?;
        let name = record.name.clone();
        present.record = record;
        self.peer_changed(id, name, PeerChange::Summary(summary.into()));
        Ok(Reply::Done {})
    }
}

fn forbidden_resume() -> Refusal {
    Refusal::new(Code::Forbidden, "only a peer's own token brings it back or changes it")
}
