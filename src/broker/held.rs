//! Which connections have a held request, by what it waits for. The requests themselves stay with
//! their connections, and go with them.

use std::borrow::{Borrow, Cow};
use std::collections::HashMap;
use std::hash::Hash;

use super::table::Key;
use crate::mesh::{Interest, Ticket};
use crate::model::{PeerId, Recipient};

/// What stands for events of every type.
const EVERY: &str = "*";

/// The index.
#[derive(Debug, Default)]
pub(super) struct Held {
    inboxes: HashMap<Recipient, Vec<Key>>,
    /// By what they asked for: a type, or `prefix.*`, or `*`.
    events: HashMap<Box<str>, Vec<Key>>,
    /// Each place in the queue for locks is that of one connection.
    locks: HashMap<Ticket, Key>,
    /// Sessions that come back while their former server is still there.
    gone: HashMap<PeerId, Vec<Key>>,
    /// Claims, by the peer whose agent is to be told.
    claims: HashMap<PeerId, Vec<Key>>,
    count: usize,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// `types`: of events, if it waits for those; none: all.
    pub(super) fn add(&mut self, key: Key, on: Interest, types: &[Box<str>]) {
        self.count += 1;
        match on {
            Interest::Inbox(recipient) => self.inboxes.entry(recipient).or_default().push(key),
            Interest::Events => {
                for pattern in patterns(types) {
                    self.events.entry(pattern.into()).or_default().push(key);
                }
            }
            Interest::Lock(ticket) => _ = self.locks.insert(ticket, key),
            Interest::Gone(peer) => self.gone.entry(peer).or_default().push(key),
            Interest::Claim { peer, .. } => self.claims.entry(peer).or_default().push(key),
        }
    }

    /// Removes what was added in the same words.
    pub(super) fn remove(&mut self, key: Key, on: Interest, types: &[Box<str>]) {
        let was_there = match on {
            Interest::Inbox(recipient) => remove_from(&mut self.inboxes, &recipient, key),
            Interest::Events => {
                let lists = patterns(types).map(|by| remove_from(&mut self.events, by, key));
                lists.filter(|was_there| *was_there).count() > 0
            }
            Interest::Lock(ticket) => self.locks.remove(&ticket).is_some(),
            Interest::Gone(peer) => remove_from(&mut self.gone, &peer, key),
            Interest::Claim { peer, .. } => remove_from(&mut self.claims, &peer, key),
        };
        self.count -= usize::from(was_there);
    }

    /// The one that has this place in the queue for locks.
    pub(super) fn place(&self, ticket: Ticket) -> Option<Key> {
        self.locks.get(&ticket).copied()
    }

    /// Those that wait for what has happened: news in inboxes, events of these types, peers that
    /// are gone.
    pub(super) fn woken(
        &self,
        inboxes: &[Recipient],
        events: &[Cow<'static, str>],
        gone: &[PeerId],
    ) -> Vec<Key> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut woken: Vec<Key> = (inboxes.iter())
            .filter_map(|recipient| self.inboxes.get(recipient))
            .flatten()
            .copied()
            .collect();
        if !self.events.is_empty() {
            for kind in events {
                let prefixes = kind
                    .match_indices('.')
                    .map(|(at, _)| format!("{}*", kind.get(..=at).unwrap_or_default()));
                for pattern in prefixes.chain([kind.to_string(), EVERY.to_owned()]) {
                    woken.extend(self.events.get(&*pattern).into_iter().flatten());
                }
            }
        }
        woken.extend(gone.iter().filter_map(|peer| self.gone.get(peer)).flatten());
        if !self.claims.is_empty() {
            let told = inboxes.iter().filter_map(|inbox| inbox.peer()).chain(gone.iter().copied());
            woken.extend(told.filter_map(|peer| self.claims.get(&peer)).flatten());
        }
        // Several messages to one inbox wake its readers once.
        woken.sort_unstable();
        woken.dedup();
        woken
    }
}

/// What someone waits for who asks for these types.
fn patterns(types: &[Box<str>]) -> impl Iterator<Item = &str> {
    let every = types.is_empty().then_some(EVERY);
    every.into_iter().chain(types.iter().map(|pattern| &**pattern))
}

/// Gives whether it was there.
fn remove_from<Q: ?Sized + Hash + Eq, K: Borrow<Q> + Hash + Eq>(
    lists: &mut HashMap<K, Vec<Key>>,
    by: &Q,
    key: Key,
) -> bool {
    let Some(list) = lists.get_mut(by) else { return false };
    let Some(at) = list.iter().position(|other| *other == key) else { return false };
    list.swap_remove(at);
    if list.is_empty() {
        lists.remove(by);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::table::Table;
    use crate::model::Monotonic;

    #[test]
    fn each_is_woken_once_by_what_it_waits_for() {
        let mut table = Table::new();
        let [a, b, c, last, back, waits] = [0, 1, 2, 3, 4, 5].map(|i| table.insert(i));
        let id = PeerId::from_random([1; 16]);
        let peer = Recipient::Peer(id);
        let mut held = Held::default();
        held.add(a, Interest::Inbox(peer), &[]);
        held.add(b, Interest::Inbox(peer), &[]);
        held.add(c, Interest::Inbox(Recipient::Cli), &[]);
        held.add(last, Interest::Lock(Ticket(7)), &[]);
        held.add(back, Interest::Gone(id), &[]);
        let claim = Interest::Claim { peer: id, place: 0, until: Monotonic::default() };
        held.add(waits, claim, &[]);
        assert_eq!(held.woken(&[Recipient::Cli], &[], &[]), [c]);
        assert_eq!(held.woken(&[peer], &[], &[]), [a, b, waits]);
        held.remove(waits, claim, &[]);
        held.remove(waits, claim, &[]);
        assert_eq!(held.woken(&[], &[], &[id, id]), [back]);
        held.remove(back, Interest::Gone(id), &[]);
        assert!(held.gone.is_empty() && held.woken(&[], &[], &[id]).is_empty());
        assert_eq!((held.place(Ticket(7)), held.place(Ticket(8))), (Some(last), None));
        assert_eq!(held.woken(&[peer, peer], &[], &[]), [a, b]);
        assert_eq!(held.woken(&[Recipient::Cli], &["x".into()], &[]), [c]);
        assert!(held.woken(&[], &["x".into()], &[]).is_empty());
        held.remove(a, Interest::Inbox(peer), &[]);
        held.remove(a, Interest::Inbox(peer), &[]);
        assert_eq!(held.woken(&[peer], &[], &[]), [b]);
        held.remove(b, Interest::Inbox(peer), &[]);
        held.remove(c, Interest::Inbox(Recipient::Cli), &[]);
        assert!(!held.is_empty());
        held.remove(last, Interest::Lock(Ticket(7)), &[]);
        held.remove(last, Interest::Lock(Ticket(7)), &[]);
        assert!(held.is_empty() && held.inboxes.is_empty() && held.claims.is_empty());
    }

    #[test]
    fn readers_of_events_are_woken_by_the_types_they_asked_for() {
        let asked: [&[&str]; 5] =
            [&[], &["*"], &["build.*", "build.done"], &["a.b.*", "plain"], &["a.b"]];
        let types = |of: &[&str]| -> Vec<Box<str>> { of.iter().map(|it| (*it).into()).collect() };
        let mut table = Table::new();
        let mut held = Held::default();
        let readers: Vec<_> = asked.map(|of| (table.insert(()), types(of))).into();
        for (key, types) in &readers {
            held.add(*key, Interest::Events, types);
        }
        for kind in ["build.done", "build", "build.x.y", "a.b", "a.b.c", "a.c", "plain", "plainer"]
        {
            let expected: Vec<Key> = (readers.iter())
                .filter(|(_, types)| crate::model::type_matches(types, kind))
                .map(|(key, _)| *key)
                .collect();
            assert_eq!(held.woken(&[], &[kind.into()], &[]), expected, "{kind}");
        }
        for (key, types) in &readers {
            held.remove(*key, Interest::Events, types);
            held.remove(*key, Interest::Events, types);
        }
        assert!(held.is_empty() && held.events.is_empty());
    }
}
