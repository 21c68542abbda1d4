//! Machines that have joined, and invitations.

use rusqlite::{Row, params};

use super::db::{Db, Outcome};
use crate::model::{Invitation, MachineRecord};

pub(super) fn machine(row: &Row<'_>) -> rusqlite::Result<MachineRecord> {
    Ok(MachineRecord {
        id: row.get(0)?,
        name: row.get(1)?,
        address: row.get(2)?,
        joined_at: row.get(3)?,
        last_seen: row.get(4)?,
        removed_at: row.get(5)?,
    })
}

/// The columns that [`machine`] reads, in its order.
pub(super) const MACHINE_COLUMNS: &str = "id, name, address, joined_at, last_seen, removed_at";

pub(super) fn invitation(row: &Row<'_>) -> rusqlite::Result<Invitation> {
    Ok(Invitation {
        token_hash: row.get(0)?,
        name: row.get(1)?,
        made_at: row.get(2)?,
        expires_at: row.get(3)?,
        owner: row.get(4)?,
    })
}

/// The columns that [`invitation`] reads, in its order.
pub(super) const INVITATION_COLUMNS: &str = "token_hash, name, made_at, expires_at, owner";

impl Db {
    /// See [`crate::store::Store::machines`].
    pub(super) fn machines(&self) -> Outcome<Vec<MachineRecord>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, name, address, joined_at, last_seen, removed_at FROM machines ORDER BY id",
        )?;
        Ok(statement.query_map([], machine)?.collect::<rusqlite::Result<_>>()?)
    }

    /// See [`crate::store::Store::put_machine`].
    pub(super) fn put_machine(&mut self, record: &MachineRecord) -> Outcome<()> {
        self.check_turn()?;
        self.begin_write()?;
        // Not `OR REPLACE`, which would remove another machine of this name.
        self.connection
            .prepare_cached(
                "INSERT INTO machines (id, name, address, joined_at, last_seen, removed_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (id) DO UPDATE SET name = ?2, address = ?3, joined_at = ?4,
                    last_seen = ?5, removed_at = ?6",
            )?
            .execute(params![
                record.id,
                record.name,
                record.address,
                record.joined_at,
                record.last_seen,
                record.removed_at,
            ])?;
        self.wrote();
        Ok(())
    }

    /// See [`crate::store::Store::invitations`].
    pub(super) fn invitations(&self) -> Outcome<Vec<Invitation>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT token_hash, name, made_at, expires_at, owner FROM invitations
             ORDER BY token_hash",
        )?;
        Ok(statement.query_map([], invitation)?.collect::<rusqlite::Result<_>>()?)
    }

    /// See [`crate::store::Store::put_invitation`].
    pub(super) fn put_invitation(&mut self, invitation: &Invitation) -> Outcome<()> {
        self.check_turn()?;
        self.begin_write()?;
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO invitations (token_hash, name, made_at, expires_at, owner)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                invitation.token_hash,
                invitation.name,
                invitation.made_at,
                invitation.expires_at,
                invitation.owner,
            ])?;
        self.wrote();
        Ok(())
    }

    /// See [`crate::store::Store::remove_invitation`].
    pub(super) fn remove_invitation(&mut self, token_hash: &[u8; 32]) -> Outcome<()> {
        self.check_turn()?;
        self.begin_write()?;
        self.connection
            .prepare_cached("DELETE FROM invitations WHERE token_hash = ?1")?
            .execute([token_hash])?;
        self.wrote();
        Ok(())
    }
}
