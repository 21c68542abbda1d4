//! The ways to peers and machines: what happens to them, and what the core is told of it.

use slm_mesh::broker::held::Asker;
use slm_mesh::broker::links::News;
use slm_mesh::mesh::Effects;
use slm_mesh::model::MachineName;

use super::{Backend, Input, Seen, World};

impl<B: Backend> World<B> {
    /// What happens to the ways to peers.
    pub(super) fn happen(&mut self, input: &Input, seen: &mut Seen) {
        match input {
            Input::Listen(peer) => self.net.listen(*peer),
            Input::HangUpLink(peer) => self.net.hang_up(*peer),
            Input::Read { peer, frames } => self.net.read(*peer, *frames, seen),
            Input::ProcessEnded(peer) => self.net.process_ended(*peer, self.now.mono),
            Input::NamedEnded(peer) => self.net.named_ended(*peer),
            Input::AgentEnded(peer) => self.alone.push(*peer),
            Input::CutOff(machine) => self.cut_off(*machine),
            _ => {}
        }
    }

    /// The connection of a machine ends, and with it what was held there and the ways to its peers.
    pub(super) fn cut_off(&mut self, machine: MachineName) {
        if !self.machines.remove(&machine) {
            return;
        }
        self.joined.retain(|other| *other != machine);
        self.joined_now.retain(|other| *other != machine);
        self.cut_off.push(machine);
        let now = self.now.mono;
        let mesh = self.mesh.as_mut().unwrap();
        let homes = &self.homes;
        let of_it = |asker: &Asker| homes[asker] == Some(machine);
        let waiting: Vec<Asker> = self.held.iter().map(|(asker, _)| asker).filter(of_it).collect();
        for asker in waiting {
            self.held.closed(asker, now, mesh, || panic!("it was given nothing"));
        }
        // What it was given may have arrived.
        for granted in self.granted.extract_if(.., |granted| of_it(&granted.asker)) {
            self.held.closed(granted.asker, now, mesh, || None);
        }
        let peers = self.net.connected().into_iter().chain(self.net.wanted());
        let peers: Vec<_> = peers.filter(|peer| mesh.machine_of(*peer) == Some(machine)).collect();
        for peer in &peers {
            self.net.disconnect(*peer, now);
        }
        // What was heard before the end counts.
        self.hear_news();
        for peer in peers {
            self.mesh().link_down(peer);
            self.came_up.retain(|(other, _)| *other != peer);
        }
    }

    /// What of that needs no turn.
    pub(super) fn hear_news(&mut self) {
        let now = self.now;
        for news in self.net.take_news() {
            let mesh = self.mesh.as_mut().unwrap();
            match news {
                News::Up(peer, known) => self.came_up.push((peer, known)),
                News::Listens(peer, _) => {
                    if self.with_agents.contains(&peer) {
                        mesh.agent_lives(peer);
                    }
                }
                News::Down(peer) => {
                    self.came_up.retain(|(other, _)| *other != peer);
                    mesh.link_down(peer);
                }
                News::Process(peer, known) => mesh.process_known(peer, known, now),
                News::Ended(peer) => self.crashed.push(peer),
                News::NamedEnded(peer) => mesh.named_process_ended(peer),
                News::Acknowledged(peer, id) => mesh.acknowledged(peer, id, now),
                News::Written(peer, seq) => mesh.frame_written(peer, seq, now),
                News::AgentLives(_) | News::AgentEnded(_) => unreachable!(),
            }
        }
    }

    /// What is part of the turn.
    pub(super) fn tell_core(&mut self) {
        let now = self.now;
        self.crashed_now.append(&mut self.crashed);
        self.alone_now.append(&mut self.alone);
        let mesh = self.mesh.as_mut().unwrap();
        for peer in &self.crashed_now {
            mesh.process_ended(*peer, now).unwrap();
        }
        for peer in &self.alone_now {
            mesh.agent_ended(*peer, now).unwrap();
        }
        for machine in self.cut_off.drain(..) {
            mesh.machine_down(machine, now).unwrap();
        }
        self.joined_now.append(&mut self.joined);
        for machine in &self.joined_now {
            mesh.machine_up(*machine, now).unwrap();
        }
        self.tell_lost();
        let mesh = self.mesh.as_mut().unwrap();
        while let Some((peer, known)) = self.came_up.pop() {
            mesh.link_up(peer, known, now).unwrap();
            self.net.announced(peer);
        }
    }

    pub(super) fn carry_out(&mut self, mut effects: Effects, seen: &mut Seen) {
        let now = self.now.mono;
        for machine in std::mem::take(&mut effects.removed) {
            self.cut_off(machine);
        }
        // Some may have left in the same turn, or their machine has.
        let mesh = self.mesh.as_ref().unwrap();
        let here = |peer| {
            mesh.is_present(peer)
                && mesh.machine_of(peer).is_none_or(|home| self.machines.contains(&home))
        };
        effects.connect.retain(|(peer, _)| here(*peer));
        effects.watch.retain(|(peer, _)| here(*peer));
        effects.agents.retain(|agent| here(agent.peer));
        for push in &effects.pushes {
            self.net.add(push);
        }
        self.net.carry_out(now);
        self.hear_news();
        for departed in effects.departed {
            self.net.depart(departed.peer, now);
            self.with_agents.remove(&departed.peer);
            seen.departed.push(departed.peer);
        }
        for peer in effects.disconnect {
            let mut sockets = effects.connect.iter().filter(|(other, _)| *other == peer);
            if sockets.any(|(_, path)| !self.net.leads_to(peer, path)) {
                // That was its former process: another listens for it now.
                self.crashed.retain(|other| *other != peer);
            }
            // If the turn that ended it has failed, what was said on it since was not heard.
            self.net.forget_acknowledged(peer);
            self.net.disconnect(peer, now);
        }
        for (peer, path) in effects.connect {
            self.net.connect(peer, &path, now);
        }
        for (peer, pid) in effects.watch {
            self.net.registered(peer);
            self.net.watch_named(peer, pid, now);
        }
        for agent in effects.agents {
            // Not every process is what it is said to be.
            if agent.pid == 7 {
                self.with_agents.insert(agent.peer);
            } else {
                self.with_agents.remove(&agent.peer);
            }
        }
        self.hear_news();
    }
}
