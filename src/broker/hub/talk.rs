//! A turn of the machines: what they say, to the mesh.

use std::net::IpAddr;
use std::ops::ControlFlow;

use crate::api::{Code, Refusal};
use crate::broker::front::Front;
use crate::broker::held::{Asker, Key};
use crate::broker::local::Local;
use crate::broker::machines::Heard;
use crate::broker::remote::{Closing, Machines, Taken, Told, Whose};
use crate::broker::uplink::same_major;
use crate::lan::channel::{Claim, Upgrade};
use crate::log;
use crate::mesh::{Failure, Proof};
use crate::model::{MachineName, Now};
use crate::store::Store;

/// What becomes of connections once the turn is over.
#[derive(Debug, Default)]
pub(super) struct Decided {
    /// Who has asked to be let in, and as what it is.
    pub(super) asked: Vec<(Key, Result<MachineName, Refusal>)>,
    /// Connections that are to be closed, and the words for the other end.
    pub(super) closing: Vec<(Key, Box<str>)>,
}

/// See the module.
pub(super) struct Talk<'a, S> {
    pub(super) local: &'a mut Local<S>,
    pub(super) machines: &'a mut Machines<Key>,
    pub(super) decided: &'a mut Decided,
    pub(super) now: Now,
}

impl<S: Store> Talk<'_, S> {
    /// Takes what has come on a connection. Whether the turn takes more.
    pub(super) fn hear(&mut self, key: Key, heard: Heard<'_>) -> ControlFlow<()> {
        match heard {
            Heard::Text(text) => self.frame(key, text),
            Heard::Asks(upgrade, address) => self.admit(key, &upgrade, address),
            Heard::Alive => {
                if let Some(remote) = self.machines.get_mut(key) {
                    remote.heard(self.now.mono);
                }
            }
            Heard::Ended(ended) => {
                if let Some(remote) = self.machines.get_mut(key) {
                    let machine = remote.machine();
                    log::info(format_args!("machine {machine}: the connection has ended: {ended}"));
                    self.machines.leave(key);
                    self.tell();
                } else {
                    log::debug(format_args!("nobody has come in: {ended}"));
                }
            }
        }
        if self.local.turn.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn frame(&mut self, key: Key, text: &str) {
        let Some(remote) = self.machines.get_mut(key) else { return };
        let machine = remote.machine();
        let mesh = &self.local.turn.mesh;
        if mesh.is_removed(machine) {
            // In this very turn, at the end of which it hears so.
            return;
        }
        let whose = |peer| match mesh.place_of(peer) {
            Some((host, socket)) if host == Some(machine) => Whose::Its(socket),
            Some(_) => Whose::Others,
            None => Whose::Nobodys,
        };
        let taken = remote.frame(text, self.now.mono, whose);
        if remote.is_busy() {
            // Before what is asked in the same frame or later.
            self.tell();
        }
        match taken {
            Ok(None) => {}
            Ok(Some(Taken::Asked(asked))) => {
                let to = Asker::Remote { machine: key, id: asked.id };
                let look = self.local.turn.ask_elsewhere(to, machine, asked);
                if let (Some(look), Some(remote)) = (look, self.machines.get_mut(key)) {
                    remote.look(look);
                }
            }
            Ok(Some(Taken::Facts(id, facts))) => {
                self.local.turn.found_out(Asker::Remote { machine: key, id }, &facts);
            }
            Err(closing) => self.close(key, closing),
        }
    }

    fn close(&mut self, key: Key, Closing(words): Closing) {
        if let Some(remote) = self.machines.get_mut(key) {
            log::warn(format_args!("machine {}: {words}", remote.machine()));
        }
        self.machines.leave(key);
        self.decided.closing.push((key, words));
        self.tell();
    }

    fn admit(&mut self, key: Key, upgrade: &Upgrade, address: IpAddr) {
        let proof = match upgrade.claim {
            Claim::Known => Proof::Known,
            Claim::Invitation(token) => Proof::Invitation(token.hash()),
            Claim::Secret => Proof::Secret,
        };
        if let Err(words) = same_major(&upgrade.version) {
            let message = format!("the machine that joins {words}");
            let refusal = Refusal::new(Code::Forbidden, message);
            self.decided.asked.push((key, Err(refusal)));
            return;
        }
        let wished = upgrade.name.as_ref().map_or("", MachineName::as_str);
        let address = address.to_canonical().to_string();
        let mut admitted = Err(Refusal::new(Code::Unavailable, "the storage of the hub failed"));
        self.local.turn.with_mesh(|mesh, now| {
            match mesh.admit(upgrade.machine, proof, (wished, &address), now) {
                Ok(name) => admitted = Ok(name),
                Err(Failure::Refused(refusal)) => admitted = Err(refusal),
                Err(Failure::Store(error)) => return Err(error),
            }
            Ok(())
        });
        self.decided.asked.push((key, admitted));
    }

    /// Tells the mesh what has happened on machines.
    pub(super) fn tell(&mut self) {
        while let Some((machine, key, told)) = self.machines.next_told() {
            let asker = |id| Asker::Remote { machine: key, id };
            let Local { turn, untold, .. } = &mut *self.local;
            match told {
                Told::News(news) => untold.hear(news, &mut turn.mesh, self.now),
                Told::Confirmed { peer, messages, written } => {
                    untold.confirmed(peer, messages, written);
                }
                Told::HeldBack(peer, from) => turn.mesh.held_back(peer, from),
                Told::Room(peer) => turn.mesh.has_room(peer),
                Told::Ready => untold.machine_up(machine),
                Told::Down => untold.machine_down(machine, &turn.mesh),
                Told::HungUp(id) => turn.hung_up_elsewhere(asker(id)),
                Told::Gone { id, lost } => turn.gone_elsewhere(asker(id), lost),
                Told::Arrived(id) => turn.held.goes_on(asker(id)),
            }
            self.local.tell_core();
        }
    }

    /// Does what is due.
    pub(super) fn tick(&mut self) {
        let now = self.now.mono;
        let due = self.machines.iter_mut().filter(|(_, remote)| remote.next_deadline() <= now);
        let silent: Vec<_> =
            due.filter_map(|(key, remote)| Some((key, remote.tick(now).err()?))).collect();
        for (key, closing) in silent {
            self.close(key, closing);
        }
        self.tell();
    }
}
