//! Records of peers.

use std::collections::BTreeMap;

use rusqlite::types::Type;
use rusqlite::{OptionalExtension as _, Row, params};

use super::db::{Db, Outcome};
use super::parties::{MAILBOX, mailbox, mailbox_name};
use crate::model::{MachineName, MeshTime, Party, PeerId, PeerRecord};
use crate::store::Mailbox;

pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<PeerRecord> {
    Ok(PeerRecord {
        id: row.get(0)?,
        name: row.get(1)?,
        name_is_automatic: row.get(2)?,
        token_hash: row.get(3)?,
        agent_type: row.get(4)?,
        pid: row.get(5)?,
        project_path: row.get(6)?,
        git_root: row.get(7)?,
        git_branch: row.get(8)?,
        repo_id: row.get(9)?,
        uds_path: row.get(10)?,
        summary: row.get(11)?,
        host: row.get(12)?,
        reach: row.get(13)?,
        session_id: row.get(14)?,
        agent_pid: row.get(15)?,
        private: row.get(16)?,
        acks: row.get(17)?,
        subscriptions: serde_json::from_str(row.get_ref(18)?.as_str()?).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(18, Type::Text, Box::new(error))
        })?,
        started_at: row.get(19)?,
        last_heartbeat: row.get(20)?,
        left_at: row.get(21)?,
        resumable: row.get(22)?,
        agent_start: row.get(23)?,
        away_at: row.get(24)?,
        repo_hash: row.get(25)?,
    })
}

/// The columns that [`record`] reads, in its order.
macro_rules! columns {
    () => {
        "id, name, name_is_automatic, token_hash, agent_type, pid, project_path, git_root,
         git_branch, repo_id, uds_path, summary, host, reach, session_id, agent_pid, private, acks,
         subscriptions, started_at, last_heartbeat, left_at, resumable, agent_start, away_at,
         repo_hash"
    };
}

pub(super) const COLUMNS: &str = columns!();

impl Db {
    /// See [`crate::store::Store::present_peers`].
    pub(super) fn present_peers(&self) -> Outcome<Vec<PeerRecord>> {
        let mut statement = self.connection.prepare_cached(concat!(
            "SELECT ",
            columns!(),
            " FROM peers INDEXED BY peers_present WHERE left_at IS NULL ORDER BY id"
        ))?;
        let records: rusqlite::Result<Vec<_>> = statement.query_map([], record)?.collect();
        Ok(records?)
    }

    /// See [`crate::store::Store::peer`].
    pub(super) fn peer(&self, id: PeerId) -> Outcome<Option<PeerRecord>> {
        let mut statement = self.connection.prepare_cached(concat!(
            "SELECT ",
            columns!(),
            " FROM peers WHERE id = ?1"
        ))?;
        Ok(statement.query_row([id], record).optional()?)
    }

    /// See [`crate::store::Store::departed_peers`].
    pub(super) fn departed_peers(&self, limit: u32) -> Outcome<Vec<PeerRecord>> {
        let mut statement = self.connection.prepare_cached(concat!(
            "SELECT ",
            columns!(),
            " FROM peers INDEXED BY peers_left WHERE left_at IS NOT NULL AND left_seq >= 0
              ORDER BY left_seq DESC, id DESC LIMIT ?1"
        ))?;
        let records: rusqlite::Result<Vec<_>> = statement.query_map([limit], record)?.collect();
        Ok(records?)
    }

    /// See [`crate::store::Store::left_session`].
    pub(super) fn left_session(
        &self,
        agent: &str,
        session: &str,
        host: Option<MachineName>,
    ) -> Outcome<Option<PeerRecord>> {
        let mut statement = self.connection.prepare_cached(concat!(
            "SELECT ",
            columns!(),
            " FROM peers INDEXED BY peers_session WHERE session_id = ?1 AND agent_type = ?2
                AND host IS ?3 COLLATE NOCASE AND left_at IS NOT NULL AND resumable ORDER BY left_at DESC, id DESC LIMIT 1"
        ))?;
        Ok(statement.query_row((session, agent, host), record).optional()?)
    }

    /// See [`crate::store::Store::put_peer`].
    pub(super) fn put_peer(&mut self, record: &PeerRecord) -> Outcome<()> {
        self.begin_write()?;
        self.wrote();
        // From now on it may get broadcasts.
        let me = self.intern(&Party::Peer(record.id))?;
        // Strings are text in any case.
        let subscriptions = serde_json::to_string(&record.subscriptions).unwrap_or_default();
        self.connection
            .prepare_cached(concat!(
                "INSERT OR REPLACE INTO peers (",
                columns!(),
                ", left_seq) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14,
                 ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27)"
            ))?
            .execute(params![
                record.id,
                record.name,
                record.name_is_automatic,
                record.token_hash,
                record.agent_type,
                record.pid,
                record.project_path,
                record.git_root,
                record.git_branch,
                record.repo_id,
                record.uds_path,
                record.summary,
                record.host,
                record.reach,
                record.session_id,
                record.agent_pid,
                record.private,
                record.acks,
                subscriptions,
                record.started_at,
                record.last_heartbeat,
                record.left_at,
                record.resumable,
                record.agent_start,
                record.away_at,
                record.repo_hash,
                self.tally.last_seq,
            ])?;
        let has_mailbox = record.left_at.is_none() && !record.name_is_automatic;
        let mailbox = if has_mailbox {
            Some(self.intern(&mailbox(&record.name, record.host))?)
        } else {
            None
        };
        self.parties.known(&self.connection, me)?.mailbox = mailbox;
        Ok(())
    }

    /// The mailboxes of this name that have a number: without one there is no message in it.
    pub(super) fn mailboxes_called(
        &mut self,
        name: &str,
    ) -> Outcome<Vec<(Option<MachineName>, u32)>> {
        if name.contains(MAILBOX) {
            return Ok(Vec::new());
        }
        let first = mailbox(name, None).to_string();
        // Those of other machines stand together in the index: what comes after `@` is `A`.
        let mut statement = self.connection.prepare_cached(
            "SELECT party, name FROM parties WHERE name = ?1
             UNION ALL SELECT party, name FROM parties WHERE name > ?1 || '@' AND name < ?1 || 'A'",
        )?;
        let rows = statement.query_map([first], |row| {
            let party: Party = row.get(1)?;
            Ok((mailbox_name(&party).and_then(|(_, host)| host), row.get(0)?))
        })?;
        let rows: rusqlite::Result<Vec<_>> = rows.collect();
        Ok(rows?)
    }

    /// See [`crate::store::Store::mailboxes`].
    pub(super) fn mailboxes(&mut self, name: &str) -> Outcome<Vec<Mailbox>> {
        let mut found = BTreeMap::new();
        let called = self.mailboxes_called(name)?;
        let mut newest = self.connection.prepare_cached(
            "SELECT max(seq) FROM messages INDEXED BY messages_inbox
             WHERE recipient = ?1 AND is_read = ?2",
        )?;
        for (host, number) in called {
            let unread = newest.query_row((number, false), |row| row.get(0))?;
            let read = newest.query_row((number, true), |row| row.get(0))?;
            let mailbox = Mailbox { unread, had: None, read, host };
            if unread.is_some() || read.is_some() {
                found.insert(host, mailbox);
            }
        }
        let mut holders = self.connection.prepare_cached(
            "SELECT host, left_seq FROM peers INDEXED BY peers_name
             WHERE name = ?1 COLLATE NOCASE AND NOT name_is_automatic",
        )?;
        let mut rows = holders.query([name])?;
        while let Some(row) = rows.next()? {
            let host: Option<MachineName> = row.get(0)?;
            let host = host.map(|host| host.folded());
            let nothing = Mailbox { unread: None, had: None, read: None, host };
            let mailbox = found.entry(host).or_insert(nothing);
            mailbox.had = mailbox.had.max(row.get(1)?);
        }
        Ok(found.into_values().collect())
    }

    /// See [`crate::store::Store::reserved_names`].
    pub(super) fn reserved_names(&self, since: MeshTime) -> Outcome<Vec<(Box<str>, PeerId)>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT name, id FROM peers INDEXED BY peers_left
             WHERE left_at IS NOT NULL AND left_seq >= ?1 AND name_is_automatic
             ORDER BY left_seq, id",
        )?;
        let names: rusqlite::Result<Vec<_>> =
            statement.query_map([self.seq_at(since)?], |row| row.try_into())?.collect();
        Ok(names?)
    }
}
