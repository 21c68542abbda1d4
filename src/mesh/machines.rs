//! Machines of the mesh: who may join, who is here, and what each is called.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::Mesh;
use super::turn::{Caller, Failure, Replied};
use crate::api::{Code, Invited, MachineInfo, MachinesReply, Refusal, Reply, refuse};
use crate::limits::{INVITATIONS_MAX, MACHINES_KNOWN_MAX, MACHINES_MAX};
use crate::model::{
    Invitation, LeaveReason, MachineId, MachineName, MachineRecord, Now, Party, PeerId, Timestamp,
};
use crate::names;
use crate::store::{Result as Stored, Store};

/// Minutes that an invitation lasts by default.
const INVITATION_MINUTES: u32 = 15;
/// The name by which the hub can always be called on other machines; no machine gets it.
const HUB: &str = "hub";
/// What a machine is called that has no name of its own.
const NAMELESS: &str = "machine";

/// What a machine brings with it to be let in. That the key is its own, and that a proof is right, the
/// shell has seen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// The token with this SHA-256.
    Invitation([u8; 32]),
    /// A proof that it has the shared secret.
    Secret,
    /// Nothing: it has joined before.
    Known,
}

/// What is stored of machines, and which are connected.
#[derive(Debug, Default)]
pub(super) struct Machines {
    records: BTreeMap<MachineId, MachineRecord>,
    invitations: BTreeMap<[u8; 32], Invitation>,
    connected: BTreeSet<MachineName>,
    /// Where they can join.
    listen: Option<Box<str>>,
}

impl Machines {
    /// Reads anew what is stored.
    pub(super) fn load(&mut self, store: &mut impl Store) -> Stored<()> {
        let (records, invitations) = (store.machines()?, store.invitations()?);
        self.records = records.into_iter().map(|record| (record.id, record)).collect();
        self.invitations = invitations.into_iter().map(|it| (it.token_hash, it)).collect();
        Ok(())
    }

    /// Those that have joined and were not removed.
    fn joined(&self) -> impl Iterator<Item = &MachineRecord> {
        self.records.values().filter(|record| record.removed_at.is_none())
    }

    /// The names that were ever given.
    pub(super) fn names(&self) -> impl Iterator<Item = MachineName> {
        self.records.values().map(|record| record.name)
    }

    /// That of a machine which has joined.
    fn called(&self, name: MachineName) -> Option<&MachineRecord> {
        self.joined().find(|record| record.name == name)
    }
}

impl<S: Store> Mesh<S> {
    /// Other machines can join at this address from now on, or nowhere.
    pub fn set_hub(&mut self, listen: Option<Box<str>>) {
        self.settings.is_hub = listen.is_some();
        self.machines.listen = listen;
    }

    /// Whether any machine has joined and was not removed.
    #[must_use]
    pub fn has_machines(&self) -> bool {
        self.machines.joined().next().is_some()
    }

    /// Where the machines that have joined came from last.
    pub fn machine_addresses(&self) -> impl Iterator<Item = &str> {
        self.machines.joined().map(|record| &*record.address)
    }

    /// The machine that a present peer is on (none: the hub's own), and its socket there.
    #[must_use]
    pub fn place_of(&self, peer: PeerId) -> Option<(Option<MachineName>, Option<&str>)> {
        let record = &self.peers.get(&peer)?.record;
        Some((record.host, record.uds_path.as_deref()))
    }

    /// `broker`, or `hub` if other machines can join.
    pub(super) fn role(&self) -> &'static str {
        if self.settings.is_hub { HUB } else { "broker" }
    }

    /// What the hub's own machine is called on others.
    #[must_use]
    pub fn hub_name(&self) -> Option<MachineName> {
        self.settings.machine_name.or_else(|| MachineName::new(HUB))
    }

    /// The machine to be shown with something: none as long as there is only one.
    pub(super) fn shown_host(&self, machine: Option<MachineName>) -> Option<MachineName> {
        let is_alone = machine.is_none() && self.machines.joined().next().is_none();
        machine.or_else(|| self.hub_name().filter(|_| !is_alone))
    }

    /// The machine of this name; none for the hub's own. `hub` always is that.
    pub(super) fn machine_called(&self, text: &str) -> Result<Option<MachineName>, Refusal> {
        let name = MachineName::new(text);
        if let Some(record) = name.and_then(|name| self.machines.called(name)) {
            return Ok(Some(record.name));
        }
        if name.is_some() && (name == self.hub_name() || name == MachineName::new(HUB)) {
            return Ok(None);
        }
        let message =
            format!("no machine `{text}` is in this mesh: list the peers to see their hosts");
        refuse(Code::PeerNotFound, message)
    }

    fn check_owner(&mut self, caller: Caller) -> Result<(), Refusal> {
        self.count(caller, None)?;
        if caller == Caller::Broker {
            return Ok(());
        }
        let message = "only the person at the hub may do this: run it there";
        refuse(Code::Forbidden, message)
    }

    /// `POST /machines`, `list`
    pub(super) fn list_machines(&mut self, caller: Caller) -> Replied {
        self.check_owner(caller)?;
        let info = |record: &MachineRecord| {
            let connected = self.machines.connected.contains(&record.name);
            MachineInfo {
                name: record.name,
                id: record.id,
                address: record.address.clone(),
                since: record.joined_at,
                last_seen: if connected { self.now.wall } else { record.last_seen },
                connected,
                peers: self.peers_of(Some(record.name)).count() as u64,
            }
        };
        let mut machines: Vec<MachineInfo> = self.machines.joined().map(info).collect();
        machines.sort_by_key(|machine| machine.name);
        let listen = self.machines.listen.clone();
        Ok(Reply::Machines(MachinesReply { role: self.role().into(), machines, hub: None, listen }))
    }

    /// `POST /machines`, `invite`
    pub(super) fn invite(
        &mut self,
        caller: Caller,
        (name, minutes): (Option<MachineName>, Option<u32>),
    ) -> Replied {
        self.check_owner(caller)?;
        if let Some(name) = name.filter(|name| self.is_taken(*name)) {
            let message = format!(
                "`name`: {name} is the name of another machine, was one, or is kept for one that is \
                 invited: choose another"
            );
            return refuse(Code::NameTaken, message);
        }
        let time = self.time();
        let over: Vec<[u8; 32]> = (self.machines.invitations.values())
            .filter(|it| it.expires_at <= time)
            .map(|it| it.token_hash)
            .collect();
        if self.machines.invitations.len() - over.len() >= INVITATIONS_MAX {
            let message = format!(
                "{INVITATIONS_MAX} invitations are open, which is the most: wait until one is over"
            );
            return refuse(Code::StorageFull, message);
        }
        for token_hash in over {
            self.void(token_hash)?;
        }
        let token: [u8; 16] = self.random();
        let ms = i64::from(minutes.unwrap_or(INVITATION_MINUTES)) * 60_000;
        let expires_at = time.plus_ms(ms);
        let invitation = Invitation {
            token_hash: Sha256::digest(token).into(),
            name,
            made_at: self.now.wall,
            expires_at,
            owner: None,
        };
        self.keep(invitation)?;
        let (code, addresses) = ("".into(), Vec::new());
        let expires_at = self.clock.on_wall(expires_at);
        Ok(Reply::Invited(Invited { code, token, expires_at, addresses }))
    }

    /// `POST /machines`, `remove`
    pub(super) fn remove_machine(&mut self, caller: Caller, name: MachineName) -> Replied {
        self.check_owner(caller)?;
        let Some(record) = self.machines.called(name).cloned() else {
            let message = format!("no machine `{name}` has joined: see `slm-mesh machines`");
            return refuse(Code::PeerNotFound, message);
        };
        let name = record.name;
        self.put_machine(MachineRecord { removed_at: Some(self.now.wall), ..record })?;
        // Its owner may know the codes that were given out.
        let void: Vec<[u8; 32]> = self.machines.invitations.keys().copied().collect();
        for token_hash in void {
            self.void(token_hash)?;
        }
        let peers: Vec<PeerId> = self.peers_of(Some(name)).map(|peer| peer.record.id).collect();
        for peer in peers {
            self.depart(peer, LeaveReason::Removed, false)?;
        }
        let holders: BTreeSet<Party> = (self.locks.iter())
            .filter(|lock| lock.holder.machine() == Some(name))
            .map(|lock| lock.holder.clone())
            .collect();
        for holder in holders {
            self.release_all(&holder)?;
        }
        self.rates.forget_machine(name);
        // Its connection is ended once the removal is stored.
        self.effects.removed.push(name);
        Ok(Reply::Done {})
    }

    /// `POST /machines`, `leave`: only a client of a hub can, and that answers it itself.
    pub(super) fn leave_hub(&mut self, caller: Caller) -> Replied {
        self.check_owner(caller)?;
        let message = "this machine has joined no other: there is nothing to leave";
        refuse(Code::InvalidRequest, message)
    }

    /// Whether a machine was removed: nothing that it says counts any more.
    #[must_use]
    pub fn is_removed(&self, name: MachineName) -> bool {
        self.removed_at(name).is_some()
    }

    /// When a machine was removed.
    pub(super) fn removed_at(&self, name: MachineName) -> Option<Timestamp> {
        let mut records = self.machines.records.values();
        records.find(|record| record.name == name)?.removed_at
    }

    /// Lets a machine in, which has shown that it has the key of this id, and gives its name. `wished` is
    /// what it calls itself, any text; `address` is where it comes from. To be called in a turn.
    ///
    /// # Errors
    /// A refusal, in words for the people at that machine; or an error of the store.
    pub fn admit(
        &mut self,
        id: MachineId,
        credential: Credential,
        (wished, address): (&str, &str),
        now: Now,
    ) -> Result<MachineName, Failure> {
        self.now = now;
        let forbidden = |message: &str| Failure::from(Refusal::new(Code::Forbidden, message));
        if let Some(known) = self.machines.records.get(&id) {
            if known.removed_at.is_some() {
                return Err(forbidden(
                    "this machine was removed from the mesh, and its key is refused for good",
                ));
            }
            let name = known.name;
            if *known.address != *address {
                let address = address.into();
                self.put_machine(MachineRecord { address, ..known.clone() })?;
            }
            return Ok(name);
        }
        let invitation = match credential {
            Credential::Known => {
                return Err(forbidden(
                    "this hub does not know this machine: get a code with `slm-mesh invite` there, \
                     and `slm-mesh join` with it",
                ));
            }
            Credential::Secret => None,
            Credential::Invitation(hash) => Some(self.invitation(hash, id)?),
        };
        let joined = self.machines.joined().count();
        if joined >= MACHINES_MAX || self.machines.records.len() >= MACHINES_KNOWN_MAX {
            let message = format!(
                "{joined} machines have joined this hub, and it can take no more: remove some with \
                 `slm-mesh machines remove`"
            );
            return refuse(Code::StorageFull, message);
        }
        let name = match invitation.as_ref().and_then(|it| it.name) {
            Some(name) => name,
            None => self.free_name(wished)?,
        };
        if let Some(invitation) = invitation {
            self.keep(Invitation { owner: Some(id), ..invitation })?;
        }
        self.put_machine(MachineRecord {
            id,
            name,
            address: address.into(),
            joined_at: now.wall,
            last_seen: now.wall,
            removed_at: None,
        })?;
        Ok(name)
    }

    /// The invitation with this token, if that machine may use it.
    fn invitation(&self, token_hash: [u8; 32], id: MachineId) -> Result<Invitation, Refusal> {
        let refused = |message: &str| refuse(Code::Forbidden, message);
        let Some(invitation) = self.machines.invitations.get(&token_hash) else {
            return refused(
                "this hub knows no such code, or no longer: get another with `slm-mesh invite`",
            );
        };
        if invitation.owner.is_some_and(|owner| owner != id) {
            return refused(
                "this code was used by another machine: get another with `slm-mesh invite`",
            );
        }
        if invitation.expires_at <= self.time() {
            return refused("this code is over: get another with `slm-mesh invite`");
        }
        Ok(invitation.clone())
    }

    /// Whether this name cannot be given any more: another machine has or had it, or it is kept for one.
    fn is_taken(&self, name: MachineName) -> bool {
        let is_kept = |invitation: &Invitation| {
            invitation.name == Some(name)
                && invitation.owner.is_none()
                && invitation.expires_at > self.time()
        };
        Some(name) == MachineName::new(HUB)
            || Some(name) == self.hub_name()
            || self.machines.names().any(|other| other == name)
            || self.machines.invitations.values().any(is_kept)
    }

    /// A free name, as close to the wished one as possible.
    fn free_name(&self, wished: &str) -> Result<MachineName, Refusal> {
        let mut base = names::fold(wished, MachineName::BYTES_MAX);
        if base.is_empty() {
            NAMELESS.clone_into(&mut base);
        }
        let numbered = (2u32..).map(|number| {
            let suffix = format!("-{number}");
            let mut text = base.clone();
            text.truncate(MachineName::BYTES_MAX - suffix.len());
            text + &suffix
        });
        // There are fewer machines than numbers.
        let mut names = std::iter::once(base.clone()).chain(numbered);
        let free =
            names.find_map(|text| MachineName::new(&text).filter(|name| !self.is_taken(*name)));
        free.ok_or_else(|| Refusal::new(Code::Internal, "no name is left for this machine"))
    }

    /// The connection of a machine stands, and it has told how its peers are. It is asked for what
    /// only it can do: to connect to its peers, and to watch their processes. To be called in a
    /// turn.
    ///
    /// # Errors
    /// Those of the store.
    pub fn machine_up(&mut self, name: MachineName, now: Now) -> Stored<()> {
        self.now = now;
        self.machines.connected.insert(name);
        let peers = self.peers.values().filter(|present| present.record.host == Some(name));
        for present in peers {
            self.effects.connect.extend(present.to_connect());
            if present.away.is_none() {
                self.effects.watch.push(present.named_process());
            }
            self.effects.agents.extend(present.agent());
        }
        self.seen_machine(name)
    }

    /// The connection of a machine has ended. Its peers cannot be reached, and nothing is known of their
    /// processes: they are stale in a while, and removed in another. To be called in a turn.
    ///
    /// # Errors
    /// Those of the store.
    pub fn machine_down(&mut self, name: MachineName, now: Now) -> Stored<()> {
        self.now = now;
        if !self.machines.connected.remove(&name) {
            return Ok(());
        }
        let peers: Vec<PeerId> = self.peers_of(Some(name)).map(|peer| peer.record.id).collect();
        for peer in peers {
            self.link_down(peer);
            self.process_known(peer, false, now);
        }
        self.seen_machine(name)
    }

    fn seen_machine(&mut self, name: MachineName) -> Stored<()> {
        let Some(record) = self.machines.called(name).cloned() else { return Ok(()) };
        self.put_machine(MachineRecord { last_seen: self.now.wall, ..record })
    }

    fn put_machine(&mut self, record: MachineRecord) -> Stored<()> {
        self.store.put_machine(&record)?;
        self.machines.records.insert(record.id, record);
        Ok(())
    }

    fn keep(&mut self, invitation: Invitation) -> Stored<()> {
        self.store.put_invitation(&invitation)?;
        self.machines.invitations.insert(invitation.token_hash, invitation);
        Ok(())
    }

    fn void(&mut self, token_hash: [u8; 32]) -> Stored<()> {
        self.store.remove_invitation(&token_hash)?;
        self.machines.invitations.remove(&token_hash);
        Ok(())
    }
}
