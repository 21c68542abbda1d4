//! What the mesh says of itself: that it is there, and what is in it.

use super::Mesh;
use crate::api::{
    ActiveCount, ConnectedCount, DatabaseStatus, EntryCount, Health, PeerCounts, Reply, Status,
    TotalCount,
};
use crate::model::Now;
use crate::store::{Result, Store};

impl<S: Store> Mesh<S> {
    /// `GET /health`
    #[must_use]
    pub fn health(&self, now: Now) -> Reply {
        Reply::Health(Health {
            version: env!("CARGO_PKG_VERSION").into(),
            uptime: now.mono.since(self.started).as_secs(),
            mesh: Some(self.settings.mesh_id.clone()),
            role: Some(self.role().into()),
            hub: None,
        })
    }

    pub(super) fn status(&mut self) -> Result<Reply> {
        let counts = self.store.counts();
        let locks = if self.lags() { self.locks.live() as u64 } else { counts.locks };
        let entries = self.state_entries()?;
        let size = self.store.size();
        let recovery = self.store.recovery();
        let stale = self.peers.values().filter(|peer| self.is_stale(peer)).count() as u64;
        let total = self.peers.len() as u64;
        let up = self.connected().count();
        Ok(Reply::Status(Box::new(Status {
            version: env!("CARGO_PKG_VERSION").into(),
            uptime: self.now.mono.since(self.started).as_secs(),
            pid: self.settings.pid,
            port: self.settings.port,
            role: self.role().into(),
            host: self.shown_host(None),
            hub: None,
            peers: PeerCounts { active: total - stale, stale, total },
            messages: counts.messages,
            locks: ActiveCount { active: locks },
            state: EntryCount { entries },
            events: TotalCount { total: counts.events },
            push: ConnectedCount { connected: up as u64 },
            db: DatabaseStatus {
                size_bytes: size.bytes,
                wal_size_bytes: size.wal_bytes,
                recovered_from: recovery
                    .as_ref()
                    .map(|known| format!("{} ({})", known.moved_to, known.reason).into()),
                recovery,
                full: size.full,
            },
            agents: self.heard.list(),
            damped: self.damped(),
        })))
    }
}
