//! Who is here: the list of peers, and which of them are in a directory or repository.

use super::Mesh;
use super::paths::normalise;
use super::peers::Present;
use super::turn::{Caller, Failure};
use crate::api::{ListPeers, PeerInfo, PeerStatus, Reply, Scope, fit};
use crate::model::{Now, Party, PeerRecord};
use crate::store::Store;

impl<S: Store> Mesh<S> {
    /// `POST /peers`
    pub(super) fn list_peers(
        &mut self,
        caller: Caller,
        list: &ListPeers,
        now: Now,
    ) -> Result<Reply, Failure> {
        self.count(caller, None, now)?;
        let exclude = match &list.exclude_id {
            Some(text) => self.find_peer(text)?,
            None => None,
        };
        let wanted = |present: &&Present| {
            let record = &present.record;
            let agent = || record.agent_pid.is_some_and(|pid| list.agent_pids.contains(&pid));
            let session = || record.session_id == list.session_id;
            exclude != Some(record.id)
                && in_scope(record, &list.scope)
                && (list.include_stale || present.away.is_some() || !self.is_stale(present, now))
                && (list.session_id.is_none() || session())
                && (list.agent_pids.is_empty() || agent())
        };
        let mut peers: Vec<PeerInfo> = (self.peers.values().filter(wanted))
            .map(|present| {
                let status = match present.away {
                    Some(_) => PeerStatus::Away,
                    None if self.is_stale(present, now) => PeerStatus::Stale,
                    None => PeerStatus::Active,
                };
                let locks = self.locks.count_of(&Party::Peer(present.record.id)) as u64;
                let heartbeat = present.last_heartbeat;
                let info =
                    PeerInfo::new(&present.record, status, heartbeat, locks, present.reach(now));
                if self.of_hook { info.with_agent(&present.record) } else { info }
            })
            .collect();
        peers.sort_by(|a, b| a.name.cmp(&b.name));
        let total = peers.len();
        let peers = fit(peers.into_iter());
        let remaining = (total - peers.len()) as u64;
        Ok(Reply::Peers { peers, remaining, elsewhere: 0 })
    }
}

/// Whether a peer is in a scope, by the real paths that clients send.
pub(super) fn in_scope(record: &PeerRecord, scope: &Scope) -> bool {
    let same = |path: &str, other: &Option<Box<str>>| {
        other.as_deref().is_some_and(|other| normalise(path, None) == other)
    };
    match scope {
        Scope::Machine | Scope::Mesh => true,
        Scope::Directory { project_path } => normalise(project_path, None) == *record.project_path,
        Scope::Repo { git_root, repo_id, .. } => {
            git_root.as_ref().is_some_and(|root| same(root, &record.git_root))
                || repo_id.as_ref().is_some_and(|repo| same(repo, &record.repo_id))
        }
    }
}
