//! Machines, invitations, and what was last heard of each kind of agent.

use super::Tables;
use crate::model::{Invitation, MachineRecord};
use crate::store::{Result, StoreError};

impl Tables {
    pub(super) fn machines(&self) -> Result<Vec<MachineRecord>> {
        Ok(self.machines.all())
    }

    pub(super) fn put_machine(&mut self, record: &MachineRecord) -> Result<()> {
        let mut others = self.machines.rows.values().filter(|other| other.id != record.id);
        if others.any(|other| other.name == record.name) {
            return Err(StoreError::Failed(format!("{} is another machine", record.name)));
        }
        self.machines.put(record.id, record.clone());
        Ok(())
    }

    pub(super) fn invitations(&self) -> Result<Vec<Invitation>> {
        Ok(self.invitations.all())
    }

    pub(super) fn put_invitation(&mut self, invitation: &Invitation) -> Result<()> {
        self.invitations.put(invitation.token_hash, invitation.clone());
        Ok(())
    }

    pub(super) fn remove_invitation(&mut self, token_hash: &[u8; 32]) -> Result<()> {
        self.invitations.remove(token_hash);
        Ok(())
    }

    pub(super) fn put_heard(&mut self, kind: &str, facts: Option<&str>) -> Result<()> {
        match facts {
            Some(facts) => self.heard.put(kind.into(), facts.into()),
            None => _ = self.heard.remove(&Box::from(kind)),
        }
        Ok(())
    }

    pub(super) fn heard(&self) -> Result<Vec<(Box<str>, Box<str>)>> {
        Ok(self.heard.rows.clone().into_iter().collect())
    }
}
