//! Machines that have joined, and invitations.

use rusqlite::params_from_iter;

use super::db::{Db, Outcome};
use super::stored::TableRow as _;
use crate::model::{Invitation, MachineRecord};

impl Db {
    pub(super) fn machines(&self) -> Outcome<Vec<MachineRecord>> {
        self.all("FROM machines ORDER BY id", [])
    }

    pub(super) fn put_machine(&mut self, record: &MachineRecord) -> Outcome<()> {
        // Not `OR REPLACE`, which would remove another machine of this name.
        self.write(
            "INSERT INTO machines (id, name, address, joined_at, last_seen, removed_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (id) DO UPDATE SET name = ?2, address = ?3, joined_at = ?4,
                last_seen = ?5, removed_at = ?6",
            params_from_iter(record.values()?),
        )?;
        Ok(())
    }

    pub(super) fn invitations(&self) -> Outcome<Vec<Invitation>> {
        self.all("FROM invitations ORDER BY token_hash", [])
    }

    pub(super) fn put_invitation(&mut self, invitation: &Invitation) -> Outcome<()> {
        self.put("invitations", invitation, None)
    }

    pub(super) fn remove_invitation(&mut self, token_hash: &[u8; 32]) -> Outcome<()> {
        self.write("DELETE FROM invitations WHERE token_hash = ?1", [token_hash])?;
        Ok(())
    }
}
