//! What has happened to peers and machines, kept until the core was told of it in a turn and that turn is
//! durable.

use super::links::News;
use super::pending::Pending;
use super::turn::Turn;
use crate::mesh::Mesh;
use crate::model::{MachineName, MessageId, Now, PeerId, Seq};
use crate::store::Store;

/// A peer has had these messages before its way stood last.
#[derive(Clone, Debug)]
struct Confirmed {
    peer: PeerId,
    messages: Vec<MessageId>,
    written: Vec<Seq>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Untold {
    /// Machines whose connection stands, or has ended.
    machines: Pending<(MachineName, bool)>,
    confirmed: Pending<Confirmed>,
    /// Peers whose process has ended.
    crashed: Pending<PeerId>,
    /// Peers whose agent's process has ended.
    alone: Pending<PeerId>,
    /// Ways to peers, and whether the process is watched.
    came_up: Vec<(PeerId, bool)>,
    /// Those of which the core was told.
    announced: Vec<PeerId>,
}

impl Untold {
    /// Whether the core has nothing to be told.
    pub(super) fn is_empty(&self) -> bool {
        self.machines.is_empty()
            && self.confirmed.is_empty()
            && self.crashed.is_empty()
            && self.alone.is_empty()
            && self.came_up.is_empty()
    }

    /// What has become of the way to a peer: the core is told at once of what it can take at any time.
    pub(super) fn hear<S: Store>(&mut self, news: News, mesh: &mut Mesh<S>, now: Now) {
        match news {
            News::Up(peer, known) => self.came_up.push((peer, known)),
            News::Down(peer) => {
                self.came_up.retain(|(other, _)| *other != peer);
                mesh.link_down(peer);
            }
            News::Process(peer, known) => mesh.process_known(peer, known, now),
            News::Ended(peer) => self.crashed.push(peer),
            News::NamedEnded(peer) => mesh.named_process_ended(peer),
            News::Acknowledged(peer, id) => mesh.acknowledged(peer, id, now),
            News::Written(peer, seq) => mesh.frame_written(peer, seq, now),
            News::AgentLives(peer) => mesh.agent_lives(peer),
            News::AgentEnded(peer) => self.alone.push(peer),
            // What that means is found out from the processes.
            News::Listens(..) => {}
        }
    }

    /// The process of this peer whose end was told was a former one. Between turns.
    pub(super) fn was_former(&mut self, peer: PeerId) {
        self.crashed.retain(|other| *other != peer);
    }

    /// A peer has had these messages.
    #[cfg(feature = "lan")]
    pub(super) fn confirmed(&mut self, peer: PeerId, messages: Vec<MessageId>, written: Vec<Seq>) {
        self.confirmed.push(Confirmed { peer, messages, written });
    }

    /// The connection of a machine stands, and what its peers are was told.
    #[cfg(feature = "lan")]
    pub(super) fn machine_up(&mut self, machine: MachineName) {
        self.machines.push((machine, true));
    }

    /// The connection of a machine has ended.
    #[cfg(feature = "lan")]
    pub(super) fn machine_down<S: Store>(&mut self, machine: MachineName, mesh: &Mesh<S>) {
        self.came_up.retain(|(peer, _)| mesh.machine_of(*peer) != Some(machine));
        self.machines.push((machine, false));
    }

    /// Tells the core what there is, in the turn.
    pub(super) fn tell<S: Store>(&mut self, turn: &mut Turn<S>) {
        while let Some((machine, is_up)) = self.machines.next() {
            turn.with_mesh(|mesh, now| {
                if is_up { mesh.machine_up(machine, now) } else { mesh.machine_down(machine, now) }
            });
        }
        while let Some(Confirmed { peer, messages, written }) = self.confirmed.next() {
            turn.with_mesh(|mesh, now| mesh.had_before(peer, &messages, &written, now));
        }
        while let Some(peer) = self.crashed.next() {
            turn.with_mesh(|mesh, now| mesh.process_ended(peer, now));
        }
        // After the servers: of those that ended with their agent it is told how they ended.
        while let Some(peer) = self.alone.next() {
            turn.with_mesh(|mesh, now| mesh.agent_ended(peer, now));
        }
        while let Some((peer, known)) = self.came_up.last().copied() {
            if !turn.with_mesh(|mesh, now| mesh.link_up(peer, known, now)) {
                return;
            }
            self.came_up.pop();
            self.announced.push(peer);
        }
    }

    /// The turn is durable.
    pub(super) fn commit(&mut self) {
        self.machines.commit();
        self.confirmed.commit();
        self.crashed.commit();
        self.alone.commit();
    }

    /// The turn was forgotten, and what was told in it is told again.
    pub(super) fn abort(&mut self) {
        self.machines.abort();
        self.confirmed.abort();
        self.crashed.abort();
        self.alone.abort();
    }

    /// The peers of whose ways the core was told since this was last asked.
    pub(super) fn take_announced(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.announced)
    }
}
