//! File locks: one holder each, for a time.

use super::paths::normalise;
use super::turn::{Caller, Failure};
use super::who::{Actor, Right};
use super::{EXPIRE_ROWS_MAX, Mesh};
use crate::api::{Code, Detail, LockAction, LockFile, LockInfo, Refusal, Reply, fit, lock_line};
use crate::limits::LOCKS_MAX;
use crate::model::{Lock, Now, Party, event_type};
use crate::store::{AcquireOutcome, ReleaseOutcome, Result as Stored, Store};

type Answer = std::result::Result<Reply, Failure>;

const MINUTE_MS: i64 = 60_000;

impl<S: Store> Mesh<S> {
    /// `POST /lock`, `lock`: takes a lock, or renews one's own.
    pub(super) fn lock(&mut self, caller: Caller, ask: &LockFile, now: Now) -> Answer {
        let actor = self.acting(caller, ask.peer_id.as_deref(), "peerId", Right::Speak, now)?;
        let path = self.lock_path(&actor.party, &ask.file_path);
        let present = self.store.lock(&path)?;
        match &present {
            Some(lock) if lock.holder != actor.party => return Err(locked(lock, now).into()),
            None if self.store.counts().locks >= LOCKS_MAX => {
                return Err(Refusal::new(
                    Code::StorageFull,
                    format!("there are {LOCKS_MAX} locks, which is the most: release some first"),
                )
                .into());
            }
            _ => {}
        }
        let minutes = ask.ttl_minutes.unwrap_or(self.settings.lock_ttl_minutes);
        // A renewal has no number of its own: it is the same holding.
        let taken = present.is_none().then(|| self.next_id());
        let lock = Lock {
            path: path.into(),
            holder: actor.party.clone(),
            holder_name: actor.name.clone(),
            reason: ask.reason.clone().filter(|reason| !reason.is_empty()),
            locked_at: now.wall,
            expires_at: now.wall.plus_ms(i64::from(minutes) * MINUTE_MS),
            fence: taken.map_or_else(Default::default, |(seq, _)| seq),
        };
        let outcome = self.store.acquire_lock(&lock)?;
        let lock = match (outcome, taken) {
            (AcquireOutcome::Acquired, Some(id)) => {
                self.note_expiry(lock.expires_at);
                self.lock_taken(&lock, &actor, id, now)?;
                lock
            }
            (AcquireOutcome::Renewed(lock), _) => lock,
            (AcquireOutcome::Held(lock), _) => return Err(locked(&lock, now).into()),
            // The store was asked a line above: it cannot be free for a renewal only.
            (AcquireOutcome::Acquired, None) => lock,
        };
        Ok(Reply::Locked { lock: lock.into() })
    }

    fn lock_taken(
        &mut self,
        lock: &Lock,
        actor: &Actor,
        id: (crate::model::Seq, crate::model::MessageId),
        now: Now,
    ) -> Stored<()> {
        if let Some(present) = actor.party.peer().and_then(|id| self.peers.get_mut(&id)) {
            present.locks += 1;
        }
        let payload = serde_json::json!({
            "filePath": lock.path,
            "lockedBy": lock.holder,
            "lockedByName": lock.holder_name,
            "reason": lock.reason,
            "expiresAt": lock.expires_at,
            "fence": lock.fence,
        });
        let frame = lock_line(&lock.path, LockAction::Locked, &lock.holder, now.wall);
        self.tell_others(actor.party.peer(), frame);
        self.event_at(id, event_type::FILE_LOCKED, &payload.to_string(), Some(&actor.party), now)
    }

    /// `POST /lock`, `unlock`
    pub(super) fn unlock(
        &mut self,
        caller: Caller,
        peer: Option<&str>,
        path: &str,
        force: bool,
        now: Now,
    ) -> Answer {
        if force && caller != Caller::Broker {
            let message =
                "only the broker token may force a lock open: use `slm-mesh lock release`";
            return Err(Refusal::new(Code::Forbidden, message).into());
        }
        let peer = peer.or(force.then_some("cli"));
        let right = if force { Right::Oversee } else { Right::Speak };
        let actor = self.acting(caller, peer, "peerId", right, now)?;
        let path = self.lock_path(&actor.party, path);
        let holder = (!force).then_some(&actor.party);
        match self.store.release_lock(&path, holder)? {
            ReleaseOutcome::Released(lock) => {
                let own = lock.holder == actor.party;
                let reason = if own { "released" } else { "forced" };
                self.lock_freed(&lock, reason, Some(&actor.party), now)?;
                Ok(Reply::Done {})
            }
            ReleaseOutcome::Held(lock) => Err(Refusal::new(
                Code::Forbidden,
                format!("{} holds the lock on {path}, not {}", lock.holder_name, actor.name),
            )
            .with(Detail::Lock(Box::new(lock.into())))
            .into()),
            ReleaseOutcome::NotLocked => {
                Err(Refusal::new(Code::LockNotFound, format!("{path} is not locked")).into())
            }
        }
    }

    /// `POST /lock`, `query`
    pub(super) fn query_locks(
        &mut self,
        caller: Caller,
        peer: Option<&str>,
        path: Option<&str>,
        now: Now,
    ) -> Answer {
        self.count(caller, None, now)?;
        let mut locks: Vec<LockInfo> = match path {
            None => self.store.locks()?.into_iter().map(Into::into).collect(),
            Some(path) => {
                let asker = match (caller, peer) {
                    (Caller::Peer(me), None) => Party::Peer(me),
                    (_, Some(text)) => self.correspondent(text)?,
                    _ => Party::Cli,
                };
                let path = self.lock_path(&asker, path);
                self.store.lock(&path)?.into_iter().map(Into::into).collect()
            }
        };
        let remaining = fit(&mut locks);
        Ok(Reply::Locks { locks, remaining })
    }

    /// The name a lock goes by: relative paths belong to the peer's project; those of labels stay as
    /// they are, since a script may lock what is no file.
    fn lock_path(&self, party: &Party, path: &str) -> String {
        match party {
            Party::Peer(id) => {
                let project = self.peers.get(id).map(|peer| &*peer.record.project_path);
                normalise(path, project)
            }
            Party::Cli => normalise(path, None),
            Party::Label(_) => path.to_owned(),
        }
    }

    fn lock_freed(
        &mut self,
        lock: &Lock,
        reason: &str,
        by: Option<&Party>,
        now: Now,
    ) -> Stored<()> {
        if let Some(present) = lock.holder.peer().and_then(|id| self.peers.get_mut(&id)) {
            present.locks = present.locks.saturating_sub(1);
        }
        let payload = serde_json::json!({
            "filePath": lock.path,
            "lockedBy": lock.holder,
            "lockedByName": lock.holder_name,
            "reason": reason,
        });
        let frame = lock_line(&lock.path, LockAction::Unlocked, &lock.holder, now.wall);
        self.tell_others(by.and_then(Party::peer), frame);
        self.event(event_type::FILE_UNLOCKED, &payload.to_string(), by, now)
    }

    /// Frees everything that someone who has left held.
    pub(super) fn release_all(&mut self, holder: &Party, now: Now) -> Stored<()> {
        for lock in self.store.release_locks_of(holder)? {
            self.lock_freed(&lock, "peer_left", Some(holder), now)?;
        }
        Ok(())
    }

    pub(super) fn expire_locks(&mut self, now: Now) -> Stored<()> {
        for lock in self.store.expire_locks(now.wall, EXPIRE_ROWS_MAX)? {
            self.lock_freed(&lock, "expired", None, now)?;
        }
        Ok(())
    }
}

/// Someone else holds it.
fn locked(lock: &Lock, now: Now) -> Refusal {
    let left_ms = lock.expires_at.0.saturating_sub(now.wall.0).max(0);
    let minutes = (left_ms + MINUTE_MS - 1) / MINUTE_MS;
    let reason = match &lock.reason {
        Some(reason) => format!(" ({reason})"),
        None => String::new(),
    };
    Refusal::new(
        Code::Locked,
        format!(
            "{} is locked by {}{reason} for {minutes} more min: wait, or ask them by message",
            lock.path, lock.holder_name
        ),
    )
    .with(Detail::Lock(Box::new(lock.clone().into())))
}
