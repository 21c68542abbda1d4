//! Records of peers.

use std::collections::BTreeMap;

use rusqlite::ToSql as _;

use super::db::{Db, Outcome};
use super::parties::{MAILBOX, mailbox, mailbox_name};
use crate::model::{MachineName, MeshTime, Party, PeerId, PeerRecord, Seq};
use crate::store::Mailbox;

impl Db {
    pub(super) fn present_peers(&self) -> Outcome<Vec<PeerRecord>> {
        self.all("FROM peers INDEXED BY peers_present WHERE left_at IS NULL ORDER BY id", [])
    }

    pub(super) fn peer(&self, id: PeerId) -> Outcome<Option<PeerRecord>> {
        self.first("FROM peers WHERE id = ?1", [id])
    }

    pub(super) fn departed_peers(&self, limit: u32) -> Outcome<Vec<PeerRecord>> {
        self.all(
            "FROM peers INDEXED BY peers_left WHERE left_at IS NOT NULL AND left_seq >= 0
             ORDER BY left_seq DESC, id DESC LIMIT ?1",
            [limit],
        )
    }

    pub(super) fn left_session(
        &self,
        agent: &str,
        session: &str,
        host: Option<MachineName>,
    ) -> Outcome<Option<PeerRecord>> {
        self.first(
            "FROM peers INDEXED BY peers_session WHERE session_id = ?1 AND agent_type = ?2
                AND host IS ?3 COLLATE NOCASE AND left_at IS NOT NULL AND resumable
             ORDER BY left_at DESC, id DESC LIMIT 1",
            (session, agent, host),
        )
    }

    pub(super) fn put_peer(&mut self, record: &PeerRecord) -> Outcome<()> {
        self.begin_write()?;
        // From now on it may get broadcasts.
        let me = self.intern(&Party::Peer(record.id))?;
        let left_seq = self.tally.last_seq;
        self.put("peers", record, Some(("left_seq", left_seq.to_sql()?)))?;
        let has_mailbox = record.left_at.is_none() && !record.name_is_automatic;
        let mailbox = has_mailbox.then(|| self.intern(&mailbox(&record.name, record.host)));
        self.parties.known(&self.connection, me)?.mailbox = mailbox.transpose()?;
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
        let sql = "SELECT party, name FROM parties WHERE name = ?1
             UNION ALL SELECT party, name FROM parties WHERE name > ?1 || '@' AND name < ?1 || 'A'";
        self.rows(sql, [first], |row| {
            let party: Party = row.get(1)?;
            Ok((mailbox_name(&party).and_then(|(_, host)| host), row.get(0)?))
        })
    }

    pub(super) fn mailboxes(&mut self, name: &str) -> Outcome<Vec<Mailbox>> {
        let mut found = BTreeMap::new();
        let called = self.mailboxes_called(name)?;
        let newest = |number: u32, is_read: bool| -> Outcome<Option<Seq>> {
            let sql = "SELECT max(seq) FROM messages INDEXED BY messages_inbox
                WHERE recipient = ?1 AND is_read = ?2";
            Ok(self.row(sql, (number, is_read), |row| row.get(0))?.flatten())
        };
        for (host, number) in called {
            let (unread, read) = (newest(number, false)?, newest(number, true)?);
            if unread.is_some() || read.is_some() {
                found.insert(host, Mailbox { unread, had: None, read, host });
            }
        }
        let sql = "SELECT host, left_seq FROM peers INDEXED BY peers_name
            WHERE name = ?1 COLLATE NOCASE AND NOT name_is_automatic";
        let holders: Vec<(Option<MachineName>, Option<Seq>)> =
            self.rows(sql, [name], |row| row.try_into())?;
        for (host, left_seq) in holders {
            let host = host.map(|host| host.folded());
            let nothing = Mailbox { host, ..Mailbox::default() };
            let mailbox = found.entry(host).or_insert(nothing);
            mailbox.had = mailbox.had.max(left_seq);
        }
        Ok(found.into_values().collect())
    }

    pub(super) fn reserved_names(&self, since: MeshTime) -> Outcome<Vec<(Box<str>, PeerId)>> {
        self.rows(
            "SELECT name, id FROM peers INDEXED BY peers_left
             WHERE left_at IS NOT NULL AND left_seq >= ?1 AND name_is_automatic
             ORDER BY left_seq, id",
            [self.seq_at(since)?],
            |row| row.try_into(),
        )
    }
}
