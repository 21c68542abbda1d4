//! The processes of agents, watched for the peers that name them: once one has ended, no server of its
//! session can come back.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry};

use super::table::{Key, Kind, Table};
use crate::mesh::WatchAgent;
use crate::model::PeerId;
use crate::platform::{ProcessWatch, ancestors, start_mark};

/// One process, watched for all the peers that name it.
#[derive(Debug)]
struct Agent {
    pid: u32,
    start: Box<str>,
    process: ProcessWatch,
    peers: BTreeSet<PeerId>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Agents {
    registry: Registry,
    watched: Table<Agent>,
    by_pid: BTreeMap<u32, Key>,
    by_peer: BTreeMap<PeerId, Key>,
}

impl Agents {
    pub(super) fn new(registry: Registry) -> Self {
        Self { registry, watched: Table::new(), by_pid: BTreeMap::new(), by_peer: BTreeMap::new() }
    }

    /// Descriptors in use.
    pub(super) fn descriptors(&self) -> usize {
        self.watched.len()
    }

    /// Watches the process for the peer, in place of what was watched for it. Gives whether it runs;
    /// none where that cannot be told.
    pub(super) fn watch(&mut self, wanted: WatchAgent) -> Option<bool> {
        let WatchAgent { peer, pid, start } = wanted;
        self.forget(peer);
        let known = self.by_pid.get(&pid).copied().filter(|key| {
            self.watched
                .get(*key)
                .is_some_and(|agent| agent.start == start && !agent.process.has_ended())
        });
        let key = match known {
            Some(key) => key,
            None => match self.open(pid, start) {
                Ok(Some(key)) => key,
                Ok(None) => return Some(false),
                Err(_) => return None,
            },
        };
        self.watched.get_mut(key)?.peers.insert(peer);
        self.by_peer.insert(peer, key);
        Some(true)
    }

    fn open(&mut self, pid: u32, start: Box<str>) -> std::io::Result<Option<Key>> {
        let Some(process) = ProcessWatch::open(pid)? else { return Ok(None) };
        // The id may be another's by now. What is watched is what has it now, whatever comes.
        if process.has_ended() || start_mark(pid).as_deref() != Some(&*start) {
            return Ok(None);
        }
        let token = self.watched.next_key().token(Kind::Agent);
        self.registry.register(&mut SourceFd(&process.as_raw_fd()), token, Interest::READABLE)?;
        let key = self.watched.insert(Agent { pid, start, process, peers: BTreeSet::new() });
        self.by_pid.insert(pid, key);
        Ok(Some(key))
    }

    /// Whether the agent of a peer runs, and the process `pid` is it or was started by it or its
    /// descendants. What a peer says of itself proves nothing: one in a container knows processes by
    /// other ids.
    pub(super) fn are_above(&self, peer: PeerId, pid: u32) -> bool {
        let agent = self.by_peer.get(&peer).and_then(|key| self.watched.get(*key));
        agent.is_some_and(|agent| {
            !agent.process.has_ended() && (pid == agent.pid || ancestors(pid).contains(&agent.pid))
        })
    }

    /// A process has ended: the peers that had named it.
    pub(super) fn ended(&mut self, key: Key) -> BTreeSet<PeerId> {
        let Some(agent) = self.watched.remove(key) else { return BTreeSet::new() };
        self.drop_watch(key, &agent);
        for peer in &agent.peers {
            self.by_peer.remove(peer);
        }
        agent.peers
    }

    /// A peer has left.
    pub(super) fn forget(&mut self, peer: PeerId) {
        let Some(key) = self.by_peer.remove(&peer) else { return };
        let Some(agent) = self.watched.get_mut(key) else { return };
        agent.peers.remove(&peer);
        if agent.peers.is_empty()
            && let Some(agent) = self.watched.remove(key)
        {
            self.drop_watch(key, &agent);
        }
    }

    fn drop_watch(&mut self, key: Key, agent: &Agent) {
        let _ = self.registry.deregister(&mut SourceFd(&agent.process.as_raw_fd()));
        if self.by_pid.get(&agent.pid) == Some(&key) {
            self.by_pid.remove(&agent.pid);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use mio::{Events, Poll};

    use super::*;

    fn wanted(peer: u8, pid: u32, start: &str) -> WatchAgent {
        WatchAgent { peer: PeerId::from_random([peer; 16]), pid, start: start.into() }
    }

    #[test]
    fn one_process_is_watched_once_for_all_its_peers() {
        let mut poll = Poll::new().unwrap();
        let mut agents = Agents::new(poll.registry().try_clone().unwrap());
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id();
        let start = start_mark(pid).unwrap();
        for peer in 1..=3 {
            assert_eq!(agents.watch(wanted(peer, pid, &start)), Some(true));
        }
        assert_eq!(agents.watch(wanted(1, pid, &start)), Some(true));
        assert_eq!(agents.descriptors(), 1);
        // The same id, but another process.
        assert_eq!(agents.watch(wanted(4, pid, "another")), Some(false));
        agents.forget(PeerId::from_random([3; 16]));
        child.kill().unwrap();
        let mut events = Events::with_capacity(4);
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        let (kind, key) = Key::of(events.iter().next().unwrap().token()).unwrap();
        assert_eq!(kind, Kind::Agent);
        let peers: Vec<PeerId> = [1, 2].map(|n| PeerId::from_random([n; 16])).to_vec();
        assert!(agents.ended(key).into_iter().eq(peers));
        assert!(agents.ended(key).is_empty());
        assert_eq!((agents.descriptors(), agents.by_peer.len(), agents.by_pid.len()), (0, 0, 0));
        child.wait().unwrap();
        assert_eq!(agents.watch(wanted(1, pid, &start)), Some(false));
    }

    #[test]
    fn a_watch_goes_with_its_last_peer() {
        let poll = Poll::new().unwrap();
        let mut agents = Agents::new(poll.registry().try_clone().unwrap());
        let me = std::process::id();
        let start = start_mark(me).unwrap();
        agents.watch(wanted(1, me, &start));
        agents.watch(wanted(2, me, &start));
        let one = PeerId::from_random([1; 16]);
        assert!(agents.are_above(one, me) && !agents.are_above(one, 1));
        assert!(!agents.are_above(PeerId::from_random([3; 16]), me), "it has named nobody");
        agents.forget(PeerId::from_random([1; 16]));
        assert_eq!(agents.descriptors(), 1);
        agents.forget(PeerId::from_random([2; 16]));
        agents.forget(PeerId::from_random([2; 16]));
        assert_eq!((agents.descriptors(), agents.by_pid.len()), (0, 0));
    }
}
