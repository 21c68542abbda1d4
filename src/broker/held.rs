//! Which connections have a held request, by what it waits for. The requests themselves stay with
//! their connections, and go with them.

use std::collections::HashMap;

use super::table::Key;
use crate::mesh::{Interest, Ticket};
use crate::model::{PeerId, Recipient};

/// The index.
#[derive(Debug, Default)]
pub(super) struct Held {
    inboxes: HashMap<Recipient, Vec<Key>>,
    events: Vec<Key>,
    /// Each place in the queue for locks is that of one connection.
    locks: HashMap<Ticket, Key>,
    /// Sessions that come back while their former server is still there.
    gone: HashMap<PeerId, Vec<Key>>,
    count: usize,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn add(&mut self, key: Key, on: Interest) {
        self.count += 1;
        match on {
            Interest::Inbox(recipient) => self.inboxes.entry(recipient).or_default().push(key),
            Interest::Events => self.events.push(key),
            Interest::Lock(ticket) => _ = self.locks.insert(ticket, key),
            Interest::Gone(peer) => self.gone.entry(peer).or_default().push(key),
        }
    }

    pub(super) fn remove(&mut self, key: Key, on: Interest) {
        let list = match on {
            Interest::Inbox(recipient) => self.inboxes.get_mut(&recipient),
            Interest::Events => Some(&mut self.events),
            Interest::Gone(peer) => self.gone.get_mut(&peer),
            Interest::Lock(ticket) => {
                if self.locks.remove(&ticket).is_some() {
                    self.count -= 1;
                }
                return;
            }
        };
        let Some(list) = list else { return };
        if let Some(at) = list.iter().position(|other| *other == key) {
            list.swap_remove(at);
            self.count -= 1;
        }
        if let Interest::Inbox(recipient) = on
            && self.inboxes.get(&recipient).is_some_and(Vec::is_empty)
        {
            self.inboxes.remove(&recipient);
        }
        if let Interest::Gone(peer) = on
            && self.gone.get(&peer).is_some_and(Vec::is_empty)
        {
            self.gone.remove(&peer);
        }
    }

    /// The one that has this place in the queue for locks.
    pub(super) fn place(&self, ticket: Ticket) -> Option<Key> {
        self.locks.get(&ticket).copied()
    }

    /// Those that wait for what has happened.
    pub(super) fn woken(&self, inboxes: &[Recipient], events: bool, gone: &[PeerId]) -> Vec<Key> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut woken: Vec<Key> = (inboxes.iter())
            .filter_map(|recipient| self.inboxes.get(recipient))
            .flatten()
            .copied()
            .collect();
        if events {
            woken.extend(&self.events);
        }
        woken.extend(gone.iter().filter_map(|peer| self.gone.get(peer)).flatten());
        // Several messages to one inbox wake its readers once.
        woken.sort_unstable();
        woken.dedup();
        woken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::table::Table;

    #[test]
    fn each_is_woken_once_by_what_it_waits_for() {
        let mut table = Table::new();
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| table.insert(i));
        let last = table.insert(4);
        let back = table.insert(5);
        let id = PeerId::from_random([1; 16]);
        let peer = Recipient::Peer(id);
        let mut held = Held::default();
        held.add(a, Interest::Inbox(peer));
        held.add(b, Interest::Inbox(peer));
        held.add(c, Interest::Inbox(Recipient::Cli));
        held.add(d, Interest::Events);
        held.add(last, Interest::Lock(Ticket(7)));
        held.add(back, Interest::Gone(id));
        assert_eq!(held.woken(&[], false, &[id, id]), [back]);
        held.remove(back, Interest::Gone(id));
        assert!(held.gone.is_empty() && held.woken(&[], false, &[id]).is_empty());
        assert_eq!((held.place(Ticket(7)), held.place(Ticket(8))), (Some(last), None));
        assert_eq!(held.woken(&[peer, peer], false, &[]), [a, b]);
        assert_eq!(held.woken(&[Recipient::Cli], true, &[]), [c, d]);
        assert!(held.woken(&[], false, &[]).is_empty());
        held.remove(a, Interest::Inbox(peer));
        held.remove(a, Interest::Inbox(peer));
        held.remove(d, Interest::Events);
        assert_eq!(held.woken(&[peer], true, &[]), [b]);
        held.remove(b, Interest::Inbox(peer));
        held.remove(c, Interest::Inbox(Recipient::Cli));
        assert!(!held.is_empty());
        held.remove(last, Interest::Lock(Ticket(7)));
        held.remove(last, Interest::Lock(Ticket(7)));
        assert!(held.is_empty() && held.inboxes.is_empty());
    }
}
