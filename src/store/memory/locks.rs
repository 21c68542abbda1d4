//! Locks.

use super::Tables;
use crate::model::{Lock, MeshTime, Seq};
use crate::store::Result;

impl Tables {
    pub(super) fn put_lock(&mut self, lock: &Lock) -> Result<()> {
        self.locks.put(lock.fence, lock.clone());
        Ok(())
    }

    pub(super) fn remove_lock(&mut self, fence: Seq) -> Result<bool> {
        Ok(self.locks.remove(&fence).is_some())
    }

    pub(super) fn locks(&self) -> Result<Vec<Lock>> {
        Ok(self.locks.all())
    }

    pub(super) fn next_lock_expiry(&self) -> Result<Option<MeshTime>> {
        Ok(self.locks.rows.values().map(|lock| lock.expires_at).min())
    }

    pub(super) fn expire_locks(&mut self, now: MeshTime, limit: u32) -> Result<Vec<Lock>> {
        Ok(self.locks.remove_expired(now, limit, |lock| Some(lock.expires_at)))
    }
}
