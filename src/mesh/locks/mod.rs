//! Locks of files: who holds what, for how long, and who is next.
//!
//! | file | what it decides |
//! |---|---|
//! | `target` | what a path means, and whether two locks are about the same file |
//! | `index` | which of many locks are about the same file |
//! | `book` | the locks that are held |
//! | `grants` | which of them are freed if an answer is lost |
//! | `queue` | who waits, in order |
//! | `waiting` | who may have a lock now, and what the others are told |
//! | `edit` | the locks of all files of an edit, and which subagents are at them |
//! | `steal` | taking a lock from someone |
//! | `leaving` | what those who have left held |

mod book;
mod edit;
mod grants;
mod index;
mod leaving;
mod queue;
mod steal;
mod target;
mod waiting;

use std::collections::BTreeMap;

use super::turn::{AskedAgain, Caller, Failure, Handled, Interest, Outcome, Replied};
use super::who::{Actor, Right};
use super::{EXPIRE_ROWS_MAX, Mesh};
use crate::api::{
    Code, Detail, Fact, Freed, LockFile, LockInfo, LockPath, LockReply, LocksReply, Refusal, Reply,
    fit, refuse,
};
use crate::limits::{LOCK_CANDIDATE_STEPS, LOCK_PLACE_KEPT, LOCKS_MAX};
use crate::model::{Lock, MessageId, Party, Seq};
use crate::store::{Result as Stored, Store};
use crate::text::bare_or_quoted;
pub(super) use book::Book;
pub(super) use edit::Edits;
pub(super) use grants::Grants;
pub(super) use queue::Queue;
use queue::Waiter;
use target::{LockTarget, Workplace};

const MINUTE_MS: i64 = 60_000;

/// Who wants what.
#[derive(Clone, Debug)]
struct Ask {
    actor: Actor,
    target: LockTarget,
    shared: bool,
}

impl Ask {
    fn of(waiter: &Waiter) -> Self {
        Self {
            actor: Actor { party: waiter.party.clone(), name: waiter.name.clone() },
            target: waiter.target.clone(),
            shared: waiter.shared,
        }
    }
}

impl<S: Store> Mesh<S> {
    /// `POST /lock`, `lock`: takes a lock, or renews one's own, or waits for it.
    pub(super) fn lock(
        &mut self,
        caller: Caller,
        wanted: &LockFile,
        held: Option<AskedAgain>,
    ) -> Handled {
        let place = match held.map(|held| held.on) {
            Some(Interest::Lock(ticket)) => Some(ticket),
            _ => None,
        };
        let mut ask = match self.lock_ask(caller, wanted, held.is_some()) {
            Ok(ask) => ask,
            Err(failure) => {
                if let Some(ticket) = place {
                    self.queue.leave(ticket, &self.steps);
                }
                return Err(failure);
            }
        };
        let known = place.filter(|ticket| match self.queue.get(*ticket) {
            // It may work elsewhere by now: what counts is what it has waited for.
            Some(waiter) => {
                ask.target.clone_from(&waiter.target);
                true
            }
            None => false,
        });
        if place.is_some() && known.is_none() {
            // Whoever asked has left; the name in the request may be that of a script by now.
            return Err(super::who::not_found(wanted.peer_id.as_deref().unwrap_or_default()).into());
        }
        let ticket = match (known, wanted.place) {
            (None, Some(id)) if held.is_none() => {
                self.queue.come_back(&ask.actor.party, id, &ask.target, ask.shared)
            }
            _ => known,
        };
        let until = match held {
            Some(held) => held.until,
            None => self.now.mono.plus(std::time::Duration::from_secs(wanted.wait)),
        };
        // When the time of a held request is over, its client may be gone: it is not given the lock.
        let is_late = held.is_some() && until <= self.now.mono;
        if wanted.steal {
            let reply = self.steal(&ask, wanted)?;
            return Ok(Outcome::Reply(reply));
        }
        // Nothing can be in the way of what one has: there is nothing to compare.
        let is_new = self.locks.own(&ask.actor.party, &ask.target).is_none();
        let renews = self.renewed_by(&ask).is_some();
        let is_free = !is_late && (renews || self.obstacle(&ask, ticket, &self.steps).is_none());
        if !renews && self.steps.are_spent() {
            if let Some(ticket) = ticket {
                self.queue.leave(ticket, &self.steps);
            }
            return Err(self.too_much(&ask.target).into());
        }
        if is_free {
            debug_assert!(!self.overtakes(&ask, ticket), "{ask:?} overtakes someone");
            let reply = self.take(&ask, wanted, Vec::new());
            if let (true, true, Ok(Reply::Locked(LockReply { lock, .. }))) =
                (held.is_some(), is_new, &reply)
            {
                self.grants.add(lock.fence);
            }
            // It is answered now, or with the failure of the turn: it does not wait any more.
            if let Some(ticket) = ticket {
                self.queue.leave(ticket, &self.steps);
            }
            return Ok(Outcome::Reply(reply?));
        }
        if until > self.now.mono {
            let ticket = match ticket {
                Some(ticket) => ticket,
                None => self.join(&ask, wanted.place)?,
            };
            return Ok(Outcome::Hold { on: Interest::Lock(ticket), until });
        }
        if let Some(ticket) = ticket {
            let keeps_place = wanted.place.is_some() && wanted.wait > 0 && is_late;
            if keeps_place {
                self.queue.keep(ticket, self.now.mono.plus(LOCK_PLACE_KEPT));
            } else {
                self.queue.leave(ticket, &self.steps);
            }
        }
        Err(self.locked(&ask, None).into())
    }

    fn lock_ask(
        &mut self,
        caller: Caller,
        wanted: &LockFile,
        counted: bool,
    ) -> std::result::Result<Ask, Failure> {
        let peer = wanted.peer_id.as_deref();
        let actor = if counted {
            self.actor(caller, peer, "peerId", Right::Speak)?
        } else {
            self.acting(caller, peer, "peerId", Right::Speak)?
        };
        self.check_here(&actor)?;
        let target = self.target(&actor.party, &wanted.path)?;
        Ok(Ask { actor, target, shared: wanted.shared })
    }

    /// The lock that `ask` renews: its party's own on the same files and of the same kind, unless more is
    /// said of them now. Nothing can be in the way of a renewal.
    fn renewed_by(&self, ask: &Ask) -> Option<&Lock> {
        let own = self.locks.own(&ask.actor.party, &ask.target)?;
        (own.shared == ask.shared && ask.target.says_no_more_than(own)).then_some(own)
    }

    /// Takes a lock when nothing is in the way. `stolen_from`: those whose locks were taken for it.
    fn take(&mut self, ask: &Ask, wanted: &LockFile, stolen_from: Vec<Box<str>>) -> Replied {
        self.check_room(std::slice::from_ref(ask))?;
        let Ask { actor, target, shared } = ask;
        let own = self.locks.own(&actor.party, target).cloned();
        let renewed = self.renewed_by(ask).cloned();
        if own.is_none() && self.lags() {
            // Before it is taken again, everyone is told that it was free.
            for lock in self.locks.expired(target, &self.steps, EXPIRE_ROWS_MAX as usize) {
                self.free(&lock, Freed::Expired, None)?;
            }
        }
        let minutes = wanted.ttl_minutes.unwrap_or(self.settings.lock_ttl_minutes);
        let time = self.time();
        let expires_at = time.plus_ms(i64::from(minutes) * MINUTE_MS);
        let reason = wanted.reason.clone().filter(|reason| !reason.is_empty());
        if let Some(own) = &renewed {
            // Its holder had left, and is back in time.
            self.leaving.remove(&own.fence);
            // A renewal gets no number of its own: it is the same holding.
            self.grants.remove(own.fence);
            let renewed = Lock {
                expires_at: own.expires_at.max(expires_at),
                reason: reason.or_else(|| own.reason.clone()),
                ..own.clone()
            };
            if renewed != *own {
                self.store.put_lock(&renewed)?;
                self.locks.put(renewed.clone());
            }
            return Ok(Reply::Locked(LockReply { lock: self.shown(&renewed), stolen_from }));
        }
        let id = self.next_id();
        let lock = Lock {
            path: target.text().into(),
            pattern: !target.pattern.is_exact(),
            shared: *shared,
            host: target.machine,
            repo_id: target.repo.clone(),
            repo_hash: target.hash,
            git_root: target.root.clone(),
            holder: actor.party.clone(),
            holder_name: actor.name.clone(),
            reason: reason.or_else(|| own.as_ref().and_then(|own| own.reason.clone())),
            locked_at: self.clock.on_wall(time),
            expires_at: own.as_ref().map_or(expires_at, |own| own.expires_at.max(expires_at)),
            fence: id.0,
        };
        if let Some(own) = own {
            // To share what one had alone, to have alone what one shared, or to have a file as part of a
            // repository, is another holding. The former one may have covered more of the repository,
            // which is free now.
            self.store.remove_lock(own.fence)?;
            self.locks.remove(own.fence);
            self.grants.remove(own.fence);
            self.queue.stir(&LockTarget::of(&own), &self.steps);
        }
        self.store.put_lock(&lock)?;
        self.locks.put(lock.clone());
        self.note_expiry(lock.expires_at);
        // Places before its own may not hold it back any more.
        self.queue.stir_party(&actor.party);
        self.lock_taken(&lock, id)?;
        Ok(Reply::Locked(LockReply { lock: self.shown(&lock), stolen_from }))
    }

    /// Refuses if there is no room for as many new locks.
    fn check_room(&mut self, asks: &[Ask]) -> std::result::Result<(), Failure> {
        let is_new = |ask: &&Ask| self.locks.own(&ask.actor.party, &ask.target).is_none();
        let new = asks.iter().filter(is_new).count();
        let is_full = |mesh: &Self| (mesh.locks.len() + new) as u64 > LOCKS_MAX;
        if new > 0 && is_full(self) && self.lags() {
            self.expire_locks()?;
        }
        if new == 0 || !is_full(self) {
            return Ok(());
        }
        let message = format!("there are {LOCKS_MAX} locks, which is the most: release some first");
        refuse(Code::StorageFull, message)
    }

    fn lock_taken(&mut self, lock: &Lock, id: (Seq, MessageId)) -> Stored<()> {
        let taken = Fact::LockTaken {
            expires_at: self.clock.on_wall(lock.expires_at),
            fence: lock.fence,
            file_path: lock.path.clone(),
            locked_by: lock.holder.clone(),
            locked_by_name: lock.holder_name.clone(),
            pattern: lock.pattern,
            reason: lock.reason.clone(),
            shared: lock.shared,
        };
        self.event_at(id, taken, Some(&lock.holder))
    }

    /// `POST /lock`, `unlock`
    pub(super) fn unlock(
        &mut self,
        caller: Caller,
        peer: Option<&str>,
        path: &LockPath,
        force: bool,
    ) -> Replied {
        if force && !caller.is_operator() {
            let message =
                "only the broker token may force a lock open: use `slm-mesh lock release`";
            return refuse(Code::Forbidden, message);
        }
        let peer = peer.or(force.then_some("cli"));
        let right = if force { Right::Oversee } else { Right::Speak };
        let actor = self.acting(caller, peer, "peerId", right)?;
        let target = self.target(&actor.party, path)?;
        let same: Vec<Lock> = self.locks.same(&target).cloned().collect();
        let home = self.home(caller);
        let may_force = |lock: &Lock| force && (caller == Caller::Broker || lock.host == home);
        let meant = |lock: &&Lock| lock.holder == actor.party || may_force(lock);
        let mut released = false;
        for lock in same.iter().filter(meant) {
            let own = lock.holder == actor.party;
            let reason = if own { Freed::Released } else { Freed::Forced };
            self.free(lock, reason, Some(&actor.party))?;
            released = true;
        }
        if released {
            return Ok(Reply::Done {});
        }
        let path = target.text();
        let path = bare_or_quoted(&path);
        if let Some(lock) = same.first() {
            return Err(Refusal::new(
                Code::Forbidden,
                format!(
                    "{} holds the lock on {path}, not {}",
                    lock.holder.shown_as(&lock.holder_name),
                    actor.name
                ),
            )
            .with(Detail::Lock(Box::new(self.shown(lock))))
            .into());
        }
        let covering = self.locks.overlapping(&target, &self.steps).find(meant);
        let hint = match covering.filter(|_| !self.steps.are_spent()) {
            Some(lock) if lock.holder == actor.party => {
                format!(
                    "; {} overlaps with it and is yours: unlock that",
                    bare_or_quoted(&lock.path)
                )
            }
            Some(lock) => {
                format!("; {} overlaps with it: release that", bare_or_quoted(&lock.path))
            }
            None => String::new(),
        };
        refuse(Code::LockNotFound, format!("{path} is not locked{hint}"))
    }

    /// `POST /lock`, `query`
    pub(super) fn query_locks(
        &mut self,
        caller: Caller,
        peer: Option<&str>,
        paths: Option<Vec<LockPath>>,
    ) -> Replied {
        self.count(caller, None)?;
        let asker = match (caller, peer) {
            (Caller::Peer(me), None) => Party::Peer(me),
            (_, Some(text)) if paths.is_some() => self.correspondent(text, self.home(caller))?,
            _ => Party::cli_of(self.home(caller)),
        };
        let (locks, remaining) = match paths {
            None => self.shown_all(self.locks.live(), self.locks.by_path()),
            Some(paths) => {
                let mut found: BTreeMap<(&str, Seq), &Lock> = BTreeMap::new();
                for path in paths {
                    let target = self.target(&asker, &path)?;
                    let overlapping = self.locks.overlapping(&target, &self.steps);
                    found.extend(overlapping.map(|lock| ((&*lock.path, lock.fence), lock)));
                    if self.steps.are_spent() {
                        return Err(self.too_much(&target).into());
                    }
                }
                self.shown_all(found.len(), found.into_values())
            }
        };
        // A peer's own token asks for that peer, whoever the path is looked at for; and nobody hears
        // what is told on another machine.
        let told = match caller {
            Caller::Peer(me) => Some(Party::Peer(me)),
            _ => Some(asker).filter(|asker| self.home_of(asker) == self.home(caller)),
        };
        for own in locks.iter().filter(|lock| Some(&lock.locked_by) == told.as_ref()) {
            self.grants.remove(own.fence);
        }
        Ok(Reply::Locks(LocksReply { locks, remaining }))
    }

    /// Those of `total` locks for which there is room and time, and how many are left out.
    fn shown_all<'a>(
        &self,
        total: usize,
        locks: impl Iterator<Item = &'a Lock>,
    ) -> (Vec<LockInfo>, u64) {
        let in_time = |_: &&Lock| {
            self.steps.spend(LOCK_CANDIDATE_STEPS);
            !self.steps.are_spent()
        };
        let shown = fit(locks.take_while(in_time).map(|lock| self.shown(lock)), self.reply_bytes);
        let remaining = (total - shown.len()) as u64;
        (shown, remaining)
    }

    /// What a path means: relative ones of peers belong to their project.
    fn target(&self, party: &Party, path: &LockPath) -> std::result::Result<LockTarget, Refusal> {
        let record = party.peer().and_then(|id| self.peers.get(&id)).map(|present| &present.record);
        let machine = self.home_of(party);
        let place =
            record.map_or(Workplace { machine, ..Workplace::default() }, |record| Workplace {
                machine,
                hash: record.repo_hash,
                project: Some(&record.project_path),
                repo: record.repo_id.as_deref(),
                root: record.git_root.as_deref(),
            });
        LockTarget::read(path, party, place)
    }

    /// Frees a lock, for a reason that everyone is told.
    fn free(&mut self, lock: &Lock, reason: Freed, by: Option<&Party>) -> Stored<()> {
        self.store.remove_lock(lock.fence)?;
        self.lock_freed(lock, reason, None, by)
    }

    /// A lock is gone from the store; `thief` is who has stolen it, and why.
    fn lock_freed(
        &mut self,
        lock: &Lock,
        reason: Freed,
        thief: Option<(&Actor, &str)>,
        by: Option<&Party>,
    ) -> Stored<()> {
        self.locks.remove(lock.fence);
        self.grants.remove(lock.fence);
        self.queue.stir(&LockTarget::of(lock), &self.steps);
        let freed = Fact::LockFreed {
            by: thief.map(|(thief, _)| thief.party.clone()),
            by_name: thief.map(|(thief, _)| thief.name.clone()),
            fence: lock.fence,
            file_path: lock.path.clone(),
            locked_by: lock.holder.clone(),
            locked_by_name: lock.holder_name.clone(),
            reason,
            why: thief.map(|(_, why)| why.into()),
        };
        self.event(freed, by)
    }

    /// Frees everything that someone held who has left, and ends whatever it waited for.
    pub(super) fn release_all(&mut self, holder: &Party) -> Stored<()> {
        self.end_waits(holder);
        self.release_locks(holder, Freed::PeerLeft)
    }

    /// Someone who may hold locks and wait for others has another name from now on.
    pub(super) fn rename_holder(&mut self, holder: &Party, name: &str) -> Stored<()> {
        for fence in self.locks.fences_of(holder) {
            let Some(lock) = self.locks.get(fence) else { continue };
            let lock = Lock { holder_name: name.into(), ..lock.clone() };
            self.store.put_lock(&lock)?;
            self.locks.put(lock);
        }
        self.queue.rename(holder, name);
        Ok(())
    }

    /// Someone waits for nothing any more.
    pub(super) fn end_waits(&mut self, party: &Party) {
        self.queue.end_all_of(party, &self.steps);
    }

    pub(super) fn expire_locks(&mut self) -> Stored<()> {
        for lock in self.store.expire_locks(self.time(), self.rows_in_turn())? {
            self.lock_freed(&lock, Freed::Expired, None, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{MeshTime, Timestamp};

    pub(super) fn lock() -> Lock {
        Lock {
            path: "/a".into(),
            pattern: false,
            shared: false,
            host: None,
            repo_id: None,
            repo_hash: None,
            git_root: None,
            holder: Party::Cli,
            holder_name: "cli".into(),
            reason: None,
            locked_at: Timestamp(0),
            expires_at: MeshTime(1),
            fence: Seq(1),
        }
    }
}
