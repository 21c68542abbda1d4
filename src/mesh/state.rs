//! Shared state: entries with versions and lifetimes.

use super::Mesh;
use super::turn::{Caller, Replied};
use super::who::Right;
use crate::api::{
    Budget, Code, DeletedReply, Detail, EntriesReply, EntryReply, Fact, Refusal, Reply, SetState,
    StateInfo, entry_size, refuse,
};
use crate::limits::{LIST_LIMIT_MAX, STATE_ENTRIES_MAX};
use crate::model::{Party, Seq, StateEntry};
use crate::names::DEFAULT_NAMESPACE;
use crate::store::{Result as Stored, StateChange, StateOutcome, Store};

impl<S: Store> Mesh<S> {
    /// `POST /state`, `get`
    pub(super) fn get_state(&mut self, caller: Caller, namespace: &str, key: &str) -> Replied {
        self.count(caller, None)?;
        let entry = self.live_state(namespace, key)?;
        let elsewhere = entry.is_none() && namespace != DEFAULT_NAMESPACE;
        let in_default = elsewhere && self.live_state(DEFAULT_NAMESPACE, key)?.is_some();
        let entry = entry.map(|entry| self.shown_entry(entry));
        Ok(Reply::Entry(EntryReply { namespace: namespace.into(), entry, in_default }))
    }

    /// `POST /state`, `list`
    pub(super) fn list_state(
        &mut self,
        caller: Caller,
        (namespace, prefix, after): (Option<&str>, Option<&str>, Option<(&str, &str)>),
        limit: Option<u32>,
    ) -> Replied {
        self.count(caller, None)?;
        let mut budget = Budget::of(self.reply_bytes);
        let mut cut = false;
        let mut keep = |entry: &StateEntry| {
            let fits = budget.admits(entry_size(entry));
            cut |= !fits;
            fits
        };
        let limit = limit.unwrap_or(LIST_LIMIT_MAX);
        // One row more than asked for shows whether there are more.
        let (time, rows) = (self.time(), limit + 1);
        let mut entries = if let Some(after) = after {
            self.store.state_after(after, time, rows, &mut keep)?
        } else {
            let prefix = prefix.unwrap_or("");
            self.store.list_state(namespace, prefix, time, rows, &mut keep)?
        };
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        cut |= entries.len() > wanted;
        entries.truncate(wanted);
        Ok(Reply::Entries(EntriesReply {
            namespace: namespace.map(Into::into),
            entries: entries.into_iter().map(|entry| self.shown_entry(entry)).collect(),
            remaining: u64::from(cut),
        }))
    }

    /// `POST /state`, `set`
    pub(super) fn set_state(&mut self, caller: Caller, set: &SetState) -> Replied {
        let actor = self.acting(caller, set.peer_id.as_deref(), "peerId", Right::Speak)?;
        let present = self.live_state(&set.namespace, &set.key)?;
        self.check_version(present.as_ref(), set.if_version)?;
        if present.is_none() && self.state_entries()? >= STATE_ENTRIES_MAX {
            return refuse(
                Code::StorageFull,
                format!("there are {STATE_ENTRIES_MAX} state entries: delete some first"),
            );
        }
        if present.is_none() && self.lags() {
            self.drop_expired(&set.namespace, &set.key)?;
        }
        let (version, id) = self.next_id();
        let expires_at = set.ttl_seconds.map(|seconds| {
            let ms = i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
            self.time().plus_ms(ms)
        });
        let entry = StateEntry {
            namespace: set.namespace.clone(),
            key: set.key.clone(),
            value: set.value.clone(),
            version,
            updated_by: actor.party.clone(),
            updated_at: self.now.wall,
            expires_at,
        };
        if let StateOutcome::Conflict(present) = self.store.set_state(&entry, set.if_version)? {
            return Err(self.conflict(present).into());
        }
        if let Some(at) = expires_at {
            self.note_expiry(at);
        }
        let changed = Fact::StateChanged {
            deleted: false,
            key: entry.key.clone(),
            namespace: entry.namespace.clone(),
            value: Some(entry.value.clone()),
            version,
        };
        self.event_at((version, id), changed, Some(&actor.party))?;
        Ok(Reply::Entry(EntryReply {
            namespace: set.namespace.clone(),
            entry: Some(self.shown_entry(entry)),
            in_default: false,
        }))
    }

    /// `POST /state`, `delete`
    pub(super) fn delete_state(
        &mut self,
        caller: Caller,
        peer: Option<&str>,
        namespace: &str,
        key: &str,
        if_version: Option<Seq>,
    ) -> Replied {
        // Scripts need not say who they are to delete.
        let peer = peer.or(caller.is_operator().then_some("cli"));
        let actor = self.acting(caller, peer, "peerId", Right::Speak)?;
        let present = self.live_state(namespace, key)?;
        self.check_version(present.as_ref(), if_version)?;
        if present.is_none() {
            return Ok(Reply::Deleted(DeletedReply {
                namespace: namespace.into(),
                deleted: false,
            }));
        }
        let change = StateChange { namespace, key, if_version };
        let deleted = match self.store.delete_state(&change)? {
            StateOutcome::Conflict(present) => return Err(self.conflict(present).into()),
            StateOutcome::Done(None) => false,
            StateOutcome::Done(Some(entry)) => {
                self.state_removed(entry, Some(&actor.party))?;
                true
            }
        };
        Ok(Reply::Deleted(DeletedReply { namespace: namespace.into(), deleted }))
    }

    /// An entry, unless it has expired, even if it is still stored.
    fn live_state(&mut self, namespace: &str, key: &str) -> Stored<Option<StateEntry>> {
        let entry = self.store.state(namespace, key)?;
        Ok(entry.filter(|entry| entry.expires_at.is_none_or(|at| at > self.time())))
    }

    /// Removes an entry that has expired and is still stored, before another takes its place.
    fn drop_expired(&mut self, namespace: &str, key: &str) -> Stored<()> {
        let change = StateChange { namespace, key, if_version: None };
        match self.store.delete_state(&change)? {
            StateOutcome::Done(Some(entry)) => self.state_removed(entry, None),
            StateOutcome::Done(None) | StateOutcome::Conflict(_) => Ok(()),
        }
    }

    /// How many entries there are, without those that have expired.
    pub(super) fn state_entries(&mut self) -> Stored<u64> {
        let stored = self.store.counts().state_entries;
        let expired = if self.lags() { self.store.expired_state(self.time())? } else { 0 };
        Ok(stored.saturating_sub(expired))
    }

    fn state_removed(&mut self, entry: StateEntry, by: Option<&Party>) -> Stored<()> {
        let StateEntry { namespace, key, .. } = entry;
        let (version, id) = self.next_id();
        let changed = Fact::StateChanged { deleted: true, key, namespace, value: None, version };
        self.event_at((version, id), changed, by)
    }

    pub(super) fn expire_state(&mut self) -> Stored<()> {
        for entry in self.store.expire_state(self.time(), self.rows_in_turn())? {
            self.state_removed(entry, None)?;
        }
        Ok(())
    }

    /// The entry as it is listed.
    pub(super) fn shown_entry(&self, entry: StateEntry) -> StateInfo {
        let expires_at = entry.expires_at.map(|at| self.clock.on_wall(at));
        StateInfo::new(entry, expires_at)
    }

    fn check_version(
        &self,
        present: Option<&StateEntry>,
        wanted: Option<Seq>,
    ) -> Result<(), Refusal> {
        let version = present.map_or(Seq(0), |entry| entry.version);
        match wanted {
            Some(wanted) if wanted != version => Err(self.conflict(present.cloned())),
            _ => Ok(()),
        }
    }

    fn conflict(&self, present: Option<StateEntry>) -> Refusal {
        let message = match &present {
            Some(entry) => format!(
                "the entry has version {} by now: look at it, then try again with `ifVersion` {}",
                entry.version, entry.version
            ),
            None => "there is no such entry: use `ifVersion` 0 to make it".to_owned(),
        };
        let entry = present.map(|entry| Box::new(self.shown_entry(entry)));
        Refusal::new(Code::VersionConflict, message).with(Detail::Entry(entry))
    }
}
