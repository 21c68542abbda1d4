//! Who is here: the list of peers, and which of them are in a directory or repository.

use std::collections::BTreeSet;

use super::Mesh;
use super::paths::normalise;
use super::peers::Present;
use super::turn::{Caller, Replied};
use crate::api::{GitPlace, ListPeers, PeerInfo, PeerStatus, PeersReply, Reply, Scope, fit};
use crate::limits::LIST_LIMIT_MAX;
use crate::model::{MachineName, OF_DOCTOR, Party, PeerId, PeerRecord, Recipient, reach};
use crate::store::Store;

impl<S: Store> Mesh<S> {
    /// `POST /peers`
    pub(super) fn list_peers(&mut self, caller: Caller, list: &ListPeers) -> Replied {
        self.count(caller, None)?;
        let exclude = match &list.exclude_id {
            Some(text) => self.find_peer(text)?,
            None => None,
        };
        let home = self.home(caller);
        // Sessions and processes are those of one machine.
        let is_lookup = list.session_id.is_some() || !list.agent_pids.is_empty();
        let by_id = !list.ids.is_empty();
        let wanted = |present: &&Present| {
            let record = &present.record;
            if by_id {
                return list.ids.contains(&record.id);
            }
            let agent = || record.agent_pid.is_some_and(|pid| list.agent_pids.contains(&pid));
            exclude != Some(record.id)
                && (!is_lookup || record.host == home)
                && (list.include_stale || present.away.is_some() || !self.is_stale(present))
                && (list.session_id.is_none() || record.session_id == list.session_id)
                && (list.agent_pids.is_empty() || agent())
        };
        let is_near = |present: &&Present| by_id || in_scope(&present.record, &list.scope, home);
        let (near, far): (Vec<_>, Vec<_>) = self.peers.values().filter(wanted).partition(is_near);
        let elsewhere = if list.scope == Scope::Machine { far.len() as u64 } else { 0 };
        let mut peers: Vec<PeerInfo> = (near.into_iter())
            .map(|present| {
                let status = match present.away {
                    Some(_) => PeerStatus::Away,
                    None if self.is_stale(present) => PeerStatus::Stale,
                    None => PeerStatus::Active,
                };
                let locks = self.locks.count_of(&Party::Peer(present.record.id)) as u64;
                let heartbeat = present.last_heartbeat;
                let record = &present.record;
                let info = PeerInfo::new(record, status, heartbeat, locks, present.reach(self.now));
                let info = PeerInfo { busy: present.turn.is_busy(self.now.mono), ..info };
                let info = if self.of_hook { info.with_agent(record) } else { info };
                match record.host == home {
                    // Whoever looks for its own session knows which machine that is on.
                    true if is_lookup => PeerInfo { host: None, ..info },
                    true => PeerInfo { host: self.shown_host(record.host), ..info },
                    // Its socket and its processes mean nothing elsewhere.
                    false => PeerInfo { host: self.shown_host(record.host), ..info.from_afar() },
                }
            })
            .collect();
        if list.unread {
            for peer in &mut peers {
                peer.unread = Some(self.store.unread_count(Recipient::Peer(peer.id))?);
            }
        }
        peers.extend(self.departed(list, home)?);
        peers.sort_by(|a, b| a.name.cmp(&b.name));
        let total = peers.len();
        let peers = fit(peers.into_iter(), self.reply_bytes);
        let remaining = (total - peers.len()) as u64;
        Ok(Reply::Peers(PeersReply { peers, remaining, elsewhere }))
    }

    /// The peers that have left and are asked for.
    fn departed(
        &mut self,
        list: &ListPeers,
        home: Option<MachineName>,
    ) -> crate::store::Result<Vec<PeerInfo>> {
        let mut records = Vec::new();
        // Each once, however often it is asked for.
        let ids: BTreeSet<PeerId> = list.ids.iter().copied().collect();
        for id in ids.into_iter().filter(|id| !self.peers.contains_key(id)) {
            records.extend(self.store.peer(id)?);
        }
        if list.ids.is_empty() && list.include_departed {
            records = self.store.departed_peers(LIST_LIMIT_MAX)?;
            let was_someone = |record: &PeerRecord| &*record.agent_type != OF_DOCTOR;
            records.retain(|it| was_someone(it) && in_scope(it, &list.scope, home));
        }
        let shown = |record: &PeerRecord| {
            let heard = record.last_heartbeat;
            let info = PeerInfo::new(record, PeerStatus::Left, heard, 0, reach::NONE);
            PeerInfo { host: self.shown_host(record.host), ..info.from_afar() }
        };
        Ok(records.iter().map(shown).collect())
    }
}

/// Whether a peer is in a scope, by the real paths that clients send. `home` is the machine of whoever
/// asks, which these paths are on.
pub(super) fn in_scope(record: &PeerRecord, scope: &Scope, home: Option<MachineName>) -> bool {
    let is_here = record.host == home;
    let same = |path: &str, other: &Option<Box<str>>| {
        is_here && other.as_deref().is_some_and(|other| normalise(path, None) == other)
    };
    match scope {
        Scope::Mesh => true,
        Scope::Machine => is_here,
        Scope::Directory { project_path } => {
            is_here && normalise(project_path, None) == *record.project_path
        }
        Scope::Repo(GitPlace { git_root, repo_id, repo_hash }) => {
            git_root.as_ref().is_some_and(|root| same(root, &record.git_root))
                || repo_id.as_ref().is_some_and(|repo| same(repo, &record.repo_id))
                || (repo_hash.is_some() && *repo_hash == record.repo_hash)
        }
    }
}
