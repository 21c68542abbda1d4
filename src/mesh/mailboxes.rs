//! Mailboxes, in which messages to a name wait for whoever has it next; and messages that nobody
//! will read.
//!
//! A name that a peer asked for has a mailbox, and whoever has the name has it: direct messages to
//! that peer are put there, not with the peer. So nothing is moved when the name goes from one
//! session to the next, however much waits, and a message is in one inbox at most. A name that the
//! mesh made, or to which it had to add a number, has none.
//!
//! A name has a mailbox on each machine, so that nobody reads what waited for somebody on another. What
//! is sent to a name that nobody has waits on the machine of whoever had it last; and as long as
//! something unread waits there, the name is kept for that machine.

use std::collections::BTreeMap;

use super::Mesh;
use super::who::not_found;
use crate::api::{Code, Fact, MessageInfo, Refusal};
use crate::limits::UNDELIVERABLE_IDS_MAX;
use crate::model::{MachineName, Message, Party, PeerId, Timestamp};
use crate::names;
use crate::store::{Mailbox, Result as Stored, Store};

impl<S: Store> Mesh<S> {
    /// The name whose mailbox a present peer has.
    pub(super) fn mailbox_of(&self, peer: PeerId) -> Option<&str> {
        let record = self.peers.get(&peer).map(|present| &present.record);
        record.filter(|record| !record.name_is_automatic).map(|record| &*record.name)
    }

    /// The mailbox in which messages to this name, which nobody has, can wait for the next who does.
    pub(super) fn mailbox_called(&mut self, name: &str) -> Stored<Option<Mailbox>> {
        if names::check(name).is_err() {
            return Ok(None);
        }
        let mailboxes = self.store.mailboxes(name)?;
        let of_removed = |it: &Mailbox| it.host.is_some_and(|host| self.is_removed(host));
        Ok(mailboxes.into_iter().filter(|it| !of_removed(it)).max())
    }

    /// The machine that this name is kept for, if it is not `home`: unread messages wait there.
    pub(super) fn name_kept_for(
        &mut self,
        name: &str,
        home: Option<MachineName>,
    ) -> Stored<Option<MachineName>> {
        let mailbox = self.mailbox_called(name)?;
        let kept = mailbox.filter(|it| it.unread.is_some() && it.host != home);
        Ok(kept.and_then(|it| it.host.or_else(|| self.hub_name())))
    }

    /// Nobody has or had this name; perhaps somebody has a similar one.
    pub(super) fn no_recipient(&self, text: &str) -> Refusal {
        let looks_like_id = PeerId::parse(text).is_some();
        if let Err(error) = names::check(text)
            && !looks_like_id
        {
            let message = format!("no peer `{text}` is here, nor can there be: {error}");
            return Refusal::new(Code::PeerNotFound, message);
        }
        let known = self.peers.values().map(|present| &*present.record.name);
        match names::nearest(text, known) {
            Some(near) if !looks_like_id => Refusal::new(
                Code::PeerNotFound,
                format!(
                    "no peer `{text}` is here: did you mean `{near}`? List the peers to see who is"
                ),
            ),
            _ => not_found(text),
        }
    }

    /// Messages as their sender is shown them, with a mark on those that nobody will read.
    pub(super) fn seen_by_sender(&mut self, messages: Vec<Message>) -> Stored<Vec<MessageInfo>> {
        let mut gone: BTreeMap<PeerId, Option<Timestamp>> = BTreeMap::new();
        let mut infos = Vec::with_capacity(messages.len());
        for message in messages {
            let to = message.to.as_ref().and_then(Party::peer);
            let is_read = message.read_at.is_some();
            let removed_at = message.to_host.filter(|_| !is_read);
            let waits = message.to_name.is_some() || is_read;
            let info = MessageInfo::sent(message);
            if let Some(at) = removed_at.and_then(|host| self.removed_at(host)) {
                infos.push(info.undeliverable(at));
                continue;
            }
            let Some(peer) = to.filter(|peer| !waits && !self.peers.contains_key(peer)) else {
                infos.push(info);
                continue;
            };
            let known = gone.get(&peer).copied();
            let left_at = match known {
                Some(left_at) => left_at,
                None => self.left_for_good(peer)?,
            };
            gone.insert(peer, left_at);
            infos.push(match left_at {
                Some(at) => info.undeliverable(at),
                None => info,
            });
        }
        Ok(infos)
    }

    /// When a peer that is not here has left for good; none if it may come back. Its record is kept
    /// as long as the messages to it.
    fn left_for_good(&mut self, peer: PeerId) -> Stored<Option<Timestamp>> {
        let record = self.store.peer(peer)?;
        Ok(record.filter(|record| !record.resumable).and_then(|record| record.left_at))
    }

    /// A peer has left for good: tells the senders of messages that it has not read and nobody else will.
    pub(super) fn tell_undeliverable(&mut self, peer: PeerId) -> Stored<()> {
        let unread = self.store.unread_direct(peer, UNDELIVERABLE_IDS_MAX)?;
        self.tell_senders(unread, &Party::Peer(peer), |from_peer, message_ids| {
            Fact::MessageUndeliverable { message_ids, from_peer, to_peer: peer }
        })
    }
}
