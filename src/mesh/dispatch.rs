//! Which rule answers which request, and for whom.

use super::Mesh;
use super::rate_limit::Lane;
use super::receipts::Marked;
use super::turn::{AskedAgain, Caller, Handled, Outcome, Replied};
use crate::api::{Code, Refusal, Reply, Request, refuse};
use crate::limits::{LOCK_STEPS_MAX, MACHINE_REPLY_BYTES_MAX, REPLY_BYTES_MAX};
use crate::model::{MachineName, Now, Told};
use crate::store::{Store, Telling};

impl<S: Store> Mesh<S> {
    /// Handles a request.
    ///
    /// # Errors
    /// [`Refused`](super::Failure::Refused): the mesh says no, nothing was written.
    /// [`Store`](super::Failure::Store): the turn must be aborted.
    pub fn handle(&mut self, caller: Caller, request: &Request, now: Now) -> Handled {
        self.now = now;
        self.dispatch(caller, request, None)
    }

    /// Handles a request again that was held until now. It is not counted by the rate limit a second
    /// time, and once the time of `held` has come it is answered with what there is.
    ///
    /// # Errors
    /// As for [`Mesh::handle`].
    pub fn handle_held(
        &mut self,
        caller: Caller,
        request: &Request,
        held: AskedAgain,
        now: Now,
    ) -> Handled {
        self.now = now;
        self.dispatch(caller, request, Some(held))
    }

    fn dispatch(&mut self, caller: Caller, request: &Request, held: Option<AskedAgain>) -> Handled {
        self.steps.renew(LOCK_STEPS_MAX);
        self.of_hook = is_of_hook(request);
        let home = self.home(caller);
        self.reply_bytes = if home.is_none() { REPLY_BYTES_MAX } else { MACHINE_REPLY_BYTES_MAX };
        let answer = self.answer(caller, request, held);
        if home.is_some() { self.seen_from(home, answer) } else { answer }
    }

    fn answer(&mut self, caller: Caller, request: &Request, held: Option<AskedAgain>) -> Handled {
        let until = held.map(|held| held.until);
        let time = self.time();
        self.locks.pass_to(time);
        // It may have left since it was authenticated: earlier in this turn, or while it was held.
        if let Caller::Peer(id) = caller
            && !self.peers.contains_key(&id)
        {
            let of = self.store.peer(id)?.and_then(|record| record.host);
            return Err(self.refuse_unknown(of, self.now).into());
        }
        // Or its machine was removed earlier in this turn: its connection stands until that is stored.
        let home = self.home(caller);
        if home.is_some_and(|machine| self.is_removed(machine)) {
            return Err(self.refuse_unknown(home, self.now).into());
        }
        let reply = match request {
            Request::Health => self.health(self.now),
            Request::Register(register) => return self.register(caller, register, held),
            _ if matches!(caller, Caller::Unknown { .. }) => {
                return Err(self.refuse_unknown(self.home(caller), self.now).into());
            }
            Request::Status => {
                self.count(caller, None)?;
                self.status()?
            }
            Request::Unregister { peer_id, away } => {
                self.unregister(caller, peer_id.as_deref(), *away)?
            }
            Request::Heartbeat { peer_id, git_branch, session_id } => {
                let news = (git_branch.as_deref(), session_id.as_deref());
                self.heartbeat(caller, peer_id.as_deref(), news)?
            }
            Request::Peers(list) => self.list_peers(caller, list)?,
            Request::Summary { peer_id, summary } => {
                self.summary(caller, peer_id.as_deref(), summary)?
            }
            Request::Rename { peer_id, name } => self.rename(caller, peer_id.as_deref(), name)?,
            Request::Send(send) => self.send(caller, send)?,
            Request::History(history) => self.history(caller, history)?,
            Request::FindMessage { message } => self.find_message(caller, *message)?,
            Request::Fetch(fetch) => return self.fetch(caller, fetch, held),
            Request::MarkRead { peer_id, ids, way, claim_id } => {
                let marked = Marked { peer: peer_id.as_deref(), ids, claim: *claim_id };
                self.mark_read(caller, marked, *way)?
            }
            Request::MarkNotified { peer_id, ids, way, claim_id } => {
                let marked = Marked { peer: peer_id.as_deref(), ids, claim: *claim_id };
                self.mark_told(caller, marked, Telling::Told(Told::notified(self.now.wall, *way)))?
            }
            Request::MarkSent { peer_id, ids, way, status, whole, claim_id } => {
                let marked = Marked { peer: peer_id.as_deref(), ids, claim: *claim_id };
                let told = |how| Told { at: self.now.wall, by: *way, how, whole: *whole };
                let telling =
                    status.how().map_or(Telling::Dropped(*way), |how| Telling::Told(told(how)));
                self.mark_told(caller, marked, telling)?
            }
            Request::Claim(claim) => return self.claim(caller, claim, held),
            Request::RenewClaim { peer_id, claim_id } => {
                self.renew_claim(caller, peer_id.as_deref(), *claim_id)?
            }
            Request::ReleaseClaim { peer_id, claim_id } => {
                self.release_claim(caller, peer_id.as_deref(), *claim_id)?
            }
            Request::GetState { namespace, key } => self.get_state(caller, namespace, key)?,
            Request::ListState { namespace, prefix, after, limit } => {
                let after = after.as_ref().map(|[namespace, key]| (&**namespace, &**key));
                let part = (namespace.as_deref(), prefix.as_deref(), after);
                self.list_state(caller, part, *limit)?
            }
            Request::SetState(set) => self.set_state(caller, set)?,
            Request::DeleteState { peer_id, namespace, key, if_version } => {
                self.delete_state(caller, peer_id.as_deref(), namespace, key, *if_version)?
            }
            Request::Lock(lock) => return self.lock(caller, lock, held),
            Request::LockFiles(lock) => self.lock_files(caller, lock)?,
            Request::Unlock { peer_id, path, force } => {
                self.unlock(caller, peer_id.as_deref(), path, *force)?
            }
            Request::QueryLocks { peer_id, path } => {
                let paths = path.clone().map(|path| vec![path]);
                self.query_locks(caller, peer_id.as_deref(), paths)?
            }
            Request::QueryFiles { peer_id, paths } => {
                let paths = paths.each().collect();
                self.query_locks(caller, peer_id.as_deref(), Some(paths))?
            }
            Request::ReadEvents(read) => return self.read_events(caller, read, until),
            Request::Subscribe { peer_id, types } => {
                self.subscribe(caller, peer_id.as_deref(), types)?
            }
            Request::Unsubscribe { peer_id } => self.subscribe(caller, peer_id.as_deref(), &[])?,
            Request::Emit { peer_id, kind, payload, id } => {
                self.emit(caller, peer_id.as_deref(), (kind, payload), *id)?
            }
            Request::ListMachines => self.list_machines(caller)?,
            Request::Invite { name, minutes } => self.invite(caller, (*name, *minutes))?,
            Request::RemoveMachine { name } => self.remove_machine(caller, *name)?,
            Request::LeaveHub {} => self.leave_hub(caller)?,
            Request::OpenPage => return Err(not_for_page().into()),
            Request::Reload | Request::Shutdown => self.of_process(caller, request)?,
        };
        Ok(Outcome::Reply(reply))
    }

    /// What is about the broker's process, and not about the mesh.
    fn of_process(&mut self, caller: Caller, request: &Request) -> Replied {
        let stops = *request == Request::Shutdown;
        if caller != Caller::Broker {
            let message = if stops {
                "only the broker token may stop the broker: use `slm-mesh stop`"
            } else {
                "only the broker token may have stored settings looked at anew"
            };
            return refuse(Code::Forbidden, message);
        }
        self.effects.shutdown |= stops;
        self.effects.reload |= !stops;
        Ok(Reply::Done {})
    }

    /// The answer to a request without a valid token, from that machine; none: the hub's own.
    pub fn refuse_unknown(&mut self, from: Option<MachineName>, now: Now) -> Refusal {
        self.now = now;
        match self.rates.take(Lane::Unauthenticated(from), now.mono) {
            Err(refusal) => refusal,
            Ok(()) => Refusal::new(
                Code::Unauthorized,
                "a valid token is missing: send `Authorization: Bearer <token>` with the broker's \
                 (in broker.token in the data dir, new at each start) or a peer's",
            ),
        }
    }
}

/// Whether this is what a hook asks, by which it is counted apart: which session it is of, the gate
/// before an edit, and what is done to tell its agent of messages, by hooks and others.
fn is_of_hook(request: &Request) -> bool {
    match request {
        Request::Peers(list) => {
            list.agents || list.session_id.is_some() || !list.agent_pids.is_empty()
        }
        Request::MarkRead { way, .. } => way.is_some(),
        Request::MarkNotified { .. }
        | Request::MarkSent { .. }
        | Request::Claim(_)
        | Request::RenewClaim { .. }
        | Request::ReleaseClaim { .. }
        | Request::LockFiles(_)
        | Request::QueryFiles { .. } => true,
        _ => false,
    }
}

/// The refusal of a token for the page: the shell, which keeps it, makes one for its own machine's person
/// before anything comes here.
fn not_for_page() -> Refusal {
    let message = "only the person at this machine may open the page: use `slm-mesh web`";
    Refusal::new(Code::Forbidden, message)
}
