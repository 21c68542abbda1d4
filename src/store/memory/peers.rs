//! Records of peers, and mailboxes of names.

use std::collections::BTreeMap;

use super::Tables;
use super::rows::{MessagePlace, StoredPeer};
use crate::model::{MachineName, MeshTime, PeerId, PeerRecord, Recipient};
use crate::store::{Mailbox, Result};

impl Tables {
    pub(super) fn present_peers(&self) -> Result<Vec<PeerRecord>> {
        let records = self.peers.rows.values().map(|peer| &peer.record);
        Ok(records.filter(|record| record.left_at.is_none()).cloned().collect())
    }

    pub(super) fn peer(&self, id: PeerId) -> Result<Option<PeerRecord>> {
        Ok(self.peers.get(&id).map(|peer| peer.record.clone()))
    }

    pub(super) fn left_session(
        &self,
        agent_type: &str,
        session: &str,
        host: Option<MachineName>,
    ) -> Result<Option<PeerRecord>> {
        let gone = self.departed().into_iter().map(|peer| &peer.record).filter(|record| {
            record.resumable
                && record.host == host
                && *record.agent_type == *agent_type
                && record.session_id.as_deref() == Some(session)
        });
        Ok(gone.max_by_key(|record| (record.left_at, record.id)).cloned())
    }

    pub(super) fn departed_peers(&self, limit: u32) -> Result<Vec<PeerRecord>> {
        let gone = self.departed().into_iter().rev().take(limit as usize);
        Ok(gone.map(|peer| peer.record.clone()).collect())
    }

    /// Peers that have left, the first to leave first.
    pub(super) fn departed(&self) -> Vec<&StoredPeer> {
        let left = |peer: &&StoredPeer| peer.record.left_at.is_some();
        let mut gone: Vec<&StoredPeer> = self.peers.rows.values().filter(left).collect();
        gone.sort_by_key(|peer| (peer.left_seq, peer.record.id));
        gone
    }

    pub(super) fn put_peer(&mut self, record: &PeerRecord) -> Result<()> {
        let left_seq = self.last_seq;
        self.peers.put(record.id, StoredPeer { record: record.clone(), left_seq });
        Ok(())
    }

    pub(super) fn reserved_names(&self, since: MeshTime) -> Result<Vec<(Box<str>, PeerId)>> {
        let since = self.seq_at(since);
        let gone = self.departed().into_iter().filter(|peer| peer.left_seq >= since);
        let records = gone.map(|peer| &peer.record).filter(|record| record.name_is_automatic);
        Ok(records.map(|record| (record.name.clone(), record.id)).collect())
    }

    /// The mailbox of this recipient, if it has one.
    pub(super) fn mailbox_of(&self, recipient: Recipient) -> Option<MessagePlace> {
        let record = &self.peers.get(&recipient.peer()?)?.record;
        let has_one = record.left_at.is_none() && !record.name_is_automatic;
        has_one.then(|| MessagePlace::mailbox(&record.name, record.host))
    }

    /// Where the messages of a recipient are.
    pub(super) fn places(&self, recipient: Recipient) -> Vec<MessagePlace> {
        self.mailbox_of(recipient).into_iter().chain([MessagePlace::Own(recipient)]).collect()
    }

    pub(super) fn mailboxes(&self, name: &str) -> Result<Vec<Mailbox>> {
        Ok(self.mailboxes_by_host(name).into_values().collect())
    }

    pub(super) fn mailboxes_by_host(&self, name: &str) -> BTreeMap<Option<MachineName>, Mailbox> {
        let mut found: BTreeMap<Option<MachineName>, Mailbox> = BTreeMap::new();
        let mut at = |host: Option<MachineName>, note: &dyn Fn(&mut Mailbox)| {
            let host = host.map(|host| host.folded());
            let nothing = Mailbox { host, ..Mailbox::default() };
            note(found.entry(host).or_insert(nothing));
        };
        for peer in self.peers.rows.values() {
            let record = &peer.record;
            if record.name.eq_ignore_ascii_case(name) && !record.name_is_automatic {
                at(record.host, &|it| it.had = it.had.max(Some(peer.left_seq)));
            }
        }
        for (seq, row) in &self.messages.rows {
            let Some((MessagePlace::Mailbox(of, host), marks)) = row.recipients.first_key_value()
            else {
                continue;
            };
            if of.eq_ignore_ascii_case(name) {
                let is_read = marks.read_at.is_some();
                at(*host, &|it| {
                    *if is_read { &mut it.read } else { &mut it.unread } = Some(*seq);
                });
            }
        }
        found
    }
}
