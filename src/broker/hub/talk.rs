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
use crate::mesh::{Credential, Failure};
use crate::model::{MachineName, Now};
use crate::store::Store;
use crate::wire::frames::ToRelay;

/// What becomes of connections once the turn is over.
#[derive(Debug, Default)]
pub(super) struct Decided {
    /// Who has asked to be let in, and as what it is.
    pub(super) asked: Vec<(Key, Result<MachineName, Refusal>)>,
    /// Connections that are to be closed, and the words for the other end.
    pub(super) closing: Vec<(Key, Box<str>)>,
    /// What a machine has said in the turn that removed it. If that turn is not kept, the machine was
    /// never removed, and this is for the next.
    unheard: Vec<(Key, Box<str>)>,
}

impl Decided {
    /// Whether something is left for another turn.
    pub(super) fn has_unheard(&self) -> bool {
        !self.unheard.is_empty()
    }
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

    /// Takes what a turn that was not kept has left.
    pub(super) fn hear_unheard(&mut self) {
        for (key, text) in std::mem::take(&mut self.decided.unheard) {
            self.frame(key, &text);
        }
    }

    fn frame(&mut self, key: Key, text: &str) {
        let Some(remote) = self.machines.get_mut(key) else { return };
        let machine = remote.machine();
        let mesh = &self.local.turn.mesh;
        if mesh.is_removed(machine) {
            // In this very turn. If that is kept, the connection ends with it.
            self.decided.unheard.push((key, text.into()));
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
                    remote.say(&ToRelay::Look(look));
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
            Claim::Known => Credential::Known,
            Claim::Invitation(token) => Credential::Invitation(token.hash()),
            Claim::Secret => Credential::Secret,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::Request;
    use crate::broker::clock::Clock;
    use crate::broker::entropy::SystemEntropy;
    use crate::broker::gate::Gate;
    use crate::broker::local::Close;
    use crate::broker::remote::Remote;
    use crate::broker::room::{Room, Said};
    use crate::broker::sockets::Sockets;
    use crate::broker::turn::Turn;
    use crate::mesh::{Caller, Mesh, Settings};
    use crate::model::MachineId;
    use crate::store::memory::MemoryStore;
    use crate::store::{Result as Stored, StoreError};

    impl Close for MemoryStore {
        fn close(self) -> Stored<()> {
            Ok(())
        }
    }

    struct Hub {
        local: Local<MemoryStore>,
        machines: Machines<Key>,
        decided: Decided,
        now: Now,
    }

    impl Hub {
        /// With a machine that has joined and said how it stands.
        fn new() -> (Self, MachineName) {
            let (settings, now) =
                (Settings { is_hub: true, ..Settings::default() }, Now::default());
            let entropy = Box::new(SystemEntropy::new().unwrap());
            let mesh = Mesh::new(MemoryStore::new(), entropy, settings, now).unwrap();
            let gate = Gate::new(7899, "token".into());
            let turn = Turn::new(mesh, gate, Sockets::new("/nowhere".into()), Clock::start());
            let (local, machines) = (Local::new(turn), Machines::default());
            let mut hub = Self { local, machines, decided: Decided::default(), now };
            let mut name = None;
            hub.turn(|talk| {
                talk.local.turn.with_mesh(|mesh, now| {
                    let admitted =
                        mesh.admit(MachineId([1; 32]), Credential::Secret, ("box", ""), now);
                    name = admitted.ok();
                    Ok(())
                });
            });
            let name = name.expect("it may join");
            hub.machines.join(Key::SINGLE, Remote::new(name, "hub", now.mono, now.wall));
            let version = env!("CARGO_PKG_VERSION");
            hub.hear(&format!(r#"{{"hello":{{"version":"{version}","name":"box","time":1}}}}"#));
            hub.hear(r#"{"peers":[],"ended":[]}"#);
            (hub, name)
        }

        /// A turn in which this happens. Whether it is kept.
        fn turn(&mut self, act: impl FnOnce(&mut Talk<'_, MemoryStore>)) -> bool {
            self.now.mono = self.now.mono.plus(Duration::from_secs(2));
            let Self { local, machines, decided, now } = self;
            local.prepare(*now).unwrap();
            local.begin(*now, true);
            let mut talk = Talk { local, machines, decided, now: *now };
            talk.hear_unheard();
            act(&mut talk);
            self.local.finish().unwrap().1
        }

        fn hear(&mut self, text: &str) {
            assert!(
                self.turn(|talk| assert!(talk.hear(Key::SINGLE, Heard::Text(text)).is_continue()))
            );
        }

        /// The machine asks in the very turn that removes it, which ends so.
        fn remove(&mut self, machine: MachineName, end: impl FnOnce() -> Stored<()>) -> bool {
            self.turn(|talk| {
                talk.local.turn.with_mesh(|mesh, now| {
                    let remove = Request::RemoveMachine { name: machine };
                    mesh.handle(Caller::Broker, &remove, now).expect("it may be removed");
                    Ok(())
                });
                let asks = r#"{"id":1,"as":"operator","method":"GET","path":"/status","body":{}}"#;
                assert!(talk.hear(Key::SINGLE, Heard::Text(asks)).is_continue());
                talk.local.turn.with_mesh(|_, _| end());
            })
        }

        fn answered(&mut self) -> Vec<Asker> {
            let mut to = Vec::new();
            self.local.answers(&mut |asker, said| {
                assert!(matches!(said, Said::Answer(_)), "{said:?}");
                to.push(asker);
            });
            to
        }
    }

    #[test]
    fn a_machine_is_heard_whose_removal_could_not_be_stored() {
        let (mut hub, machine) = Hub::new();
        assert!(!hub.remove(machine, || Err(StoreError::Failed("no room".into()))));
        assert!(!hub.local.turn.mesh.is_removed(machine) && hub.decided.has_unheard());
        assert_eq!(hub.answered(), []);
        assert!(hub.turn(|_| {}));
        assert_eq!(hub.answered(), [Asker::Remote { machine: Key::SINGLE, id: 1 }]);
        assert!(!hub.decided.has_unheard());
    }

    #[test]
    fn a_machine_that_was_removed_is_not_heard() {
        let (mut hub, machine) = Hub::new();
        assert!(hub.remove(machine, || Ok(())));
        hub.machines.leave(Key::SINGLE);
        assert!(hub.turn(|_| {}));
        assert_eq!(hub.answered(), []);
        assert!(!hub.decided.has_unheard());
    }
}
