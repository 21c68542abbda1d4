//! The names of peers: how they are made, asked for, and kept apart.

use std::collections::HashSet;

use super::Mesh;
use super::turn::{Caller, Failure, Replied};
use super::who::Right;
use crate::api::{Code, Fact, PeerChange, Refusal, Register, Reply};
use crate::limits::AUTO_NAME_RESERVED_MS;
use crate::model::{MachineName, Party, PeerId, PeerRecord, Recipient};
use crate::names;
use crate::store::{Result as Stored, Store};

impl<S: Store> Mesh<S> {
    /// `POST /rename`: what waits for the name that it had stays with that name.
    pub(super) fn rename(&mut self, caller: Caller, peer: Option<&str>, name: &str) -> Replied {
        let id = self.acting_peer(caller, peer, Right::Oversee)?;
        names::check(name)
            .map_err(|error| Refusal::new(Code::InvalidRequest, format!("`name`: {error}")))?;
        let home = self.home_of(&Party::Peer(id));
        let (name, _) = self.claim_name(name, (Some(id), home), true)?;
        let Some(present) = self.peers.get(&id) else { return Ok(Reply::Done {}) };
        let former_name = present.record.name.clone();
        let record = PeerRecord {
            name,
            name_is_automatic: false,
            last_heartbeat: present.last_heartbeat,
            ..present.record.clone()
        };
        let former = self.mailbox_of(id).map(names::key);
        let moves = former != Some(names::key(&record.name));
        let own = if moves { self.unproven(Recipient::Peer(id))? } else { Vec::new() };
        self.store.put_peer(&record)?;
        if let Some(mut present) = self.peers.remove(&id) {
            self.names.remove(&names::key(&present.record.name));
            present.record = record.clone();
            if moves {
                self.has_other_mailbox(&mut present);
            }
            self.index(present);
        }
        if moves {
            self.drop_unproven(id, &own)?;
        }
        self.rename_holder(&Party::Peer(id), &record.name)?;
        // This tells the others its name.
        let summary = record.summary.unwrap_or_default();
        self.peer_changed(id, record.name.clone(), PeerChange::Summary(summary));
        if former_name != record.name {
            let renamed = Fact::PeerRenamed { former_name, name: record.name, peer_id: id };
            self.event(renamed, None)?;
        }
        Ok(Reply::Done {})
    }

    pub(super) fn automatic_name(&mut self, register: &Register) -> Stored<Box<str>> {
        let agent = register.agent_type.as_deref().unwrap_or(names::UNKNOWN_AGENT);
        let name = names::automatic_name(&register.project_path, agent);
        self.suffixed_name((&name, false), None)
    }

    /// The name that `me`, on the machine `home`, gets for `wanted`, and whether the mesh had to add a
    /// number: then it is not what was asked for, and refused if it must be that one.
    pub(super) fn claim_name(
        &mut self,
        wanted: &str,
        (me, home): (Option<PeerId>, Option<MachineName>),
        exclusive: bool,
    ) -> std::result::Result<(Box<str>, bool), Failure> {
        let has_it = self.names.get(&names::key(wanted)).copied();
        let kept_for = match has_it {
            Some(_) => None,
            None => self.name_kept_for(wanted, home)?,
        };
        let name = self.suffixed_name((wanted, kept_for.is_some()), me)?;
        let numbered = *name != *wanted;
        if exclusive && numbered {
            return Err(name_taken(wanted, kept_for).into());
        }
        Ok((name, numbered))
    }

    /// `name`, or the first of `name-2`, `name-3` ... that is free for `me`: no present peer has it,
    /// it is not kept for another, and it misleads nobody.
    fn suffixed_name(
        &mut self,
        (name, is_kept): (&str, bool),
        me: Option<PeerId>,
    ) -> Stored<Box<str>> {
        let since = self.time().plus_ms(-AUTO_NAME_RESERVED_MS);
        let reserved = self.store.reserved_names(since)?;
        // A set, since each of many names may have to be looked up.
        let reserved: HashSet<Box<str>> = reserved
            .into_iter()
            .filter(|(_, of)| Some(*of) != me)
            .map(|(kept, _)| names::key(&kept))
            .collect();
        let taken = |name: &str| {
            let key = names::key(name);
            names::is_misleading(name)
                || self.names.get(&key).is_some_and(|id| Some(*id) != me)
                || reserved.contains(&key)
        };
        if !is_kept && !taken(name) {
            return Ok(name.into());
        }
        let numbered = (2..).map(|number| names::with_suffix(name, number));
        // There are fewer names taken than numbers.
        Ok(numbered.into_iter().find(|name| !taken(name)).unwrap_or_default().into())
    }
}

fn name_taken(name: &str, kept_for: Option<MachineName>) -> Refusal {
    let why = match kept_for {
        Some(machine) => format!("kept for {machine}, where unread messages wait for it"),
        None => "taken".into(),
    };
    let message = format!("the name `{name}` is {why}: choose another, or leave out `exclusive`");
    Refusal::new(Code::NameTaken, message)
}
