//! All machines that are connected to a hub: what of the mesh's effects is for which, and what they
//! tell.

use std::collections::{BTreeMap, VecDeque};

use super::{Remote, Told};
use crate::limits::UPLINK_GRANTS_MAX;
use crate::mesh::{Effects, PushTarget, WatchAgent};
use crate::model::{MachineName, Monotonic, PeerId};
use crate::wire::frames::ToRelay;

/// An answer that left on a connection which has ended since.
#[derive(Clone, Copy, Debug)]
struct Unsure<K> {
    connection: K,
    id: u64,
}

/// See the module. `K` names a connection, and is never given twice.
#[derive(Debug)]
pub struct Machines<K> {
    connections: BTreeMap<K, Remote>,
    by_name: BTreeMap<MachineName, K>,
    /// Answers of which the machine will say whether they have arrived.
    unsure: BTreeMap<MachineName, Vec<Unsure<K>>>,
    told: VecDeque<(MachineName, K, Told)>,
}

impl<K> Default for Machines<K> {
    fn default() -> Self {
        Self {
            connections: BTreeMap::new(),
            by_name: BTreeMap::new(),
            unsure: BTreeMap::new(),
            told: VecDeque::new(),
        }
    }
}

impl<K: Copy + Ord> Machines<K> {
    /// A machine has connected. Gives the connection that this one replaces, which is to be closed:
    /// what comes on it is nobody's from now on.
    pub fn join(&mut self, connection: K, remote: Remote) -> Option<K> {
        let machine = remote.machine();
        let before = self.by_name.get(&machine).copied();
        if let Some(before) = before {
            self.leave(before);
        }
        self.by_name.insert(machine, connection);
        self.connections.insert(connection, remote);
        before
    }

    /// A connection has ended.
    pub fn leave(&mut self, connection: K) {
        let Some(remote) = self.connections.remove(&connection) else { return };
        let machine = remote.machine();
        self.by_name.remove(&machine);
        let (told, unsure) = remote.end();
        self.told.extend(told.into_iter().map(|told| (machine, connection, told)));
        let all = self.unsure.entry(machine).or_default();
        all.extend(unsure.into_iter().map(|id| Unsure { connection, id }));
        // The first of too many are taken to have arrived: a lock is freed only if nobody can know of it.
        for Unsure { connection, id } in all.drain(..all.len().saturating_sub(UPLINK_GRANTS_MAX)) {
            self.told.push_back((machine, connection, Told::Arrived(id)));
        }
    }

    /// The end of a connection, if it is one that counts.
    pub fn get_mut(&mut self, connection: K) -> Option<&mut Remote> {
        self.connections.get_mut(&connection)
    }

    /// Every connection.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut Remote)> {
        self.connections.iter_mut().map(|(key, remote)| (*key, remote))
    }

    /// The connection of a machine.
    #[must_use]
    pub fn connection(&self, machine: MachineName) -> Option<K> {
        self.by_name.get(&machine).copied()
    }

    /// Whether there is something to tell.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.told.is_empty() || self.connections.values().any(Remote::is_busy)
    }

    /// When one of them has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        self.connections.values().map(Remote::next_deadline).min()
    }

    /// Whether none is connected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// What has happened on machines, in the order in which the mesh is to be told: before any request
    /// that is taken later. With the connection, on which requests have their ids.
    pub fn next_told(&mut self) -> Option<(MachineName, K, Told)> {
        if self.told.is_empty() {
            self.gather();
        }
        self.told.pop_front()
    }

    fn gather(&mut self) {
        for (key, remote) in &mut self.connections {
            let machine = remote.machine();
            if let Some(got) = remote.take_got()
                && let Some(unsure) = self.unsure.remove(&machine)
            {
                // Of what was answered before the first that is named, nothing is known.
                let first = got.iter().min().copied().unwrap_or(0);
                for Unsure { connection, id } in unsure {
                    let lost = id >= first && !got.contains(&id);
                    let told = if lost { Told::Gone { id, lost } } else { Told::Arrived(id) };
                    self.told.push_back((machine, connection, told));
                }
            }
            self.told.extend(remote.take_told().into_iter().map(|told| (machine, *key, told)));
        }
    }

    /// The mesh knows of the way to a peer of this machine.
    pub fn announced(&mut self, machine: MachineName, peer: PeerId) {
        self.tell(Some(machine), |remote| remote.announced(peer));
    }

    fn of(&mut self, machine: MachineName) -> Option<&mut Remote> {
        let key = self.by_name.get(&machine)?;
        self.connections.get_mut(key)
    }

    /// Takes out of the effects what is for peers of other machines. What is for one that has no
    /// connection is for nobody: once it has, the mesh says it anew.
    pub fn route(
        &mut self,
        effects: &mut Effects,
        machine_of: impl Fn(PeerId) -> Option<MachineName>,
    ) {
        self.push(effects, &machine_of);
        effects.departed.retain(|departed| {
            let machine = departed.machine.or_else(|| machine_of(departed.peer));
            !self.tell(machine, |remote| remote.departed(departed))
        });
        effects.abandoned.retain(|abandoned| {
            let path = (&*abandoned.path).into();
            !self.tell(abandoned.machine, |remote| remote.say(&ToRelay::Abandoned { path }))
        });
        effects
            .disconnect
            .retain(|peer| !self.tell(machine_of(*peer), |remote| remote.disconnect(*peer)));
        effects.connect.retain(|(peer, path)| {
            !self.tell(machine_of(*peer), |remote| remote.connect(*peer, path))
        });
        effects.watch.retain(|&(peer, pid)| {
            !self.tell(machine_of(peer), |remote| remote.say(&ToRelay::Watch { peer, pid }))
        });
        effects.agents.retain(|WatchAgent { peer, pid, start }| {
            let start = (&**start).into();
            let frame = ToRelay::WatchAgent { peer: *peer, pid: *pid, start };
            !self.tell(machine_of(*peer), |remote| remote.say(&frame))
        });
    }

    /// Tells a machine something, if it is connected. Whether it was for another machine at all.
    fn tell(&mut self, machine: Option<MachineName>, tell: impl FnOnce(&mut Remote)) -> bool {
        let Some(machine) = machine else { return false };
        if let Some(remote) = self.of(machine) {
            tell(remote);
        }
        true
    }

    fn push(&mut self, effects: &mut Effects, machine_of: &impl Fn(PeerId) -> Option<MachineName>) {
        effects.pushes.retain(|push| {
            let message = push.frame.message();
            match push.to {
                PushTarget::One(peer) => !self.tell(machine_of(peer), |remote| {
                    remote.push(peer, push.frame.json(), message);
                }),
                PushTarget::AllBut(but) => {
                    for remote in self.connections.values_mut() {
                        let all: Vec<PeerId> = remote.reached().collect();
                        for peer in all.into_iter().filter(|peer| Some(*peer) != but) {
                            remote.push(peer, push.frame.json(), message);
                        }
                    }
                    true
                }
            }
        });
    }
}
