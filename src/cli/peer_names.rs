//! The names of peers, including those that have left: people are shown names, not ids.

use std::collections::{BTreeSet, HashMap};

use super::Result;
use super::text::{escape, short_id};
use crate::api::{ListPeers, PeerInfo, PeersReply, Request};
use crate::client::Client;
use crate::client::blocking::read_reply;
use crate::limits::PEER_IDS_MAX;
use crate::model::{Party, PeerId};

/// Names of peers by their ids.
#[derive(Debug, Default)]
pub(super) struct PeerNames(HashMap<PeerId, Box<str>>);

impl PeerNames {
    /// The names of these parties, as far as the broker knows them.
    pub(super) fn of<'a>(
        client: &mut Client,
        parties: impl IntoIterator<Item = &'a Party>,
    ) -> Result<Self> {
        let ids: BTreeSet<PeerId> = parties.into_iter().filter_map(Party::peer).collect();
        let ids: Vec<PeerId> = ids.into_iter().collect();
        let mut names = HashMap::new();
        for ids in ids.chunks(PEER_IDS_MAX) {
            let peers = with_ids(client, ids.to_vec())?;
            names.extend(peers.into_iter().map(|peer| (peer.id, peer.name)));
        }
        Ok(Self(names))
    }

    /// These names and others.
    pub(super) fn with(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Whether the name of a party is known.
    pub(super) fn knows(&self, party: &Party) -> bool {
        party.peer().is_none_or(|id| self.0.contains_key(&id))
    }

    /// The name of a party, made harmless; if it is no longer known, the beginning of its id.
    pub(super) fn shown(&self, party: &Party) -> String {
        let name = match party {
            Party::Peer(id) => match self.0.get(id) {
                Some(name) => name.to_string(),
                None => short_id(&id.to_string()).to_owned(),
            },
            Party::Cli | Party::CliAt(_) => party.to_string(),
            Party::Label(label) => party.shown_as(label).into_owned(),
        };
        escape(&name).into_owned()
    }
}

/// The peers with these ids, whether they are here or have left.
pub(super) fn with_ids(client: &mut Client, ids: Vec<PeerId>) -> Result<Vec<PeerInfo>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let list = ListPeers { ids, unread: true, ..ListPeers::default() };
    let reply: PeersReply = read_reply(&client.call_bytes(&Request::Peers(list))?)?;
    Ok(reply.peers)
}
