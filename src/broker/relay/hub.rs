//! The hub of this data directory, as far as it is known: by which key and what it is reached, and
//! where. What was learned of it is stored, so that the next start knows it, too.

use std::path::PathBuf;

use rustls::Error;

use crate::config::HubAddress;
use crate::lan::channel::{Channel, Way};
use crate::lan::key::MachineKey;
use crate::lan::secret::SharedKey;
use crate::limits::HUB_ADDRESSES_MAX;
use crate::log;
use crate::model::{MachineId, MachineName};
use crate::role::Bearer;
use crate::role::stored::{self, Stored, StoredError};

/// See the module.
pub(in crate::broker) struct HubRecord {
    key: MachineKey,
    /// What this machine calls itself.
    name: Option<MachineName>,
    id: Option<MachineId>,
    places: Vec<HubAddress>,
    bearer: Bearer,
    /// Where it is stored.
    file: PathBuf,
}

impl HubRecord {
    pub(in crate::broker) fn new(
        (id, places, bearer): (Option<MachineId>, Vec<HubAddress>, Bearer),
        key: MachineKey,
        name: Option<MachineName>,
        file: PathBuf,
    ) -> Self {
        Self { key, name, id, places, bearer, file }
    }

    /// Its id, if it was ever reached or has invited.
    pub(super) fn id(&self) -> Option<MachineId> {
        self.id
    }

    /// Where it may be, at the start.
    pub(super) fn places(&self) -> Vec<HubAddress> {
        self.places.clone()
    }

    /// This end of a connection to it.
    ///
    /// # Errors
    /// As [`Channel::of_relay`].
    pub(super) fn channel<T: std::io::Read + std::io::Write>(
        &self,
        stream: T,
    ) -> Result<Channel<T>, Error> {
        let way = match (&self.bearer, self.id) {
            (Bearer::Secret(secret), id) => Way::Secret(SharedKey::new(secret), id),
            (Bearer::Known, Some(id)) => Way::Joined(id),
            (Bearer::Invitation(token), Some(id)) => Way::Invited(id, *token),
            (Bearer::Known | Bearer::Invitation(_), None) => {
                return Err(Error::General("it is not known which hub it is".to_owned()));
            }
        };
        Channel::of_relay(stream, &self.key, way, self.name, env!("CARGO_PKG_VERSION"))
    }

    /// Takes note that the hub with this id has let this machine in, and where that was.
    pub(super) fn reached(&mut self, id: MachineId, place: Option<&HubAddress>) {
        self.id = Some(id);
        if let Bearer::Invitation(_) = self.bearer {
            // It knows the key from now on.
            self.bearer = Bearer::Known;
        }
        if let Err(error) = self.store(id, place) {
            log::warn(format_args!("{error}: where the hub was reached is not kept"));
        }
    }

    /// Forgets on the disk that it was joined, or that it had the secret first. Whatever else was made of
    /// the file meanwhile stays.
    pub(super) fn forget(&self) -> Result<(), StoredError> {
        match stored::read(&self.file)? {
            Some(Stored::Client { hub, .. } | Stored::Pinned(hub)) if self.id == Some(hub.id) => {
                stored::forget(&self.file)
            }
            _ => Ok(()),
        }
    }

    /// Whatever was made of the file meanwhile counts more.
    fn store(&self, id: MachineId, place: Option<&HubAddress>) -> Result<(), StoredError> {
        let before = stored::read(&self.file)?;
        let with = |known: &stored::KnownHub| {
            let mut addresses = known.addresses.clone();
            if let Some(place) = place {
                addresses.retain(|other| other != place);
                addresses.insert(0, place.clone());
                addresses.truncate(HUB_ADDRESSES_MAX);
            }
            stored::KnownHub { id, addresses }
        };
        let after = match &before {
            Some(Stored::Client { hub, .. }) if hub.id == id => {
                Stored::Client { hub: with(hub), token: None }
            }
            Some(Stored::Pinned(hub)) if hub.id == id => Stored::Pinned(with(hub)),
            None if matches!(self.bearer, Bearer::Secret(_)) => {
                Stored::Pinned(with(&stored::KnownHub { id, addresses: Vec::new() }))
            }
            _ => return Ok(()),
        };
        if before.as_ref() == Some(&after) { Ok(()) } else { stored::write(&self.file, &after) }
    }
}
