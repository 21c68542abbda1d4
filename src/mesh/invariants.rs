//! What must hold of the mesh at the end of every turn, whatever happened. Checked by the simulation
//! after each step; it reads everything, so it is not for production.

use std::collections::BTreeMap;

use super::{Mesh, Now};
use crate::model::{Message, Party, Recipient};
use crate::names;
use crate::store::{InboxQuery, Store};

impl<S: Store> Mesh<S> {
    /// Checks the invariants; panics with the one that does not hold.
    ///
    /// To be called between turns, after [`Mesh::begin_turn`] has removed what had expired at `now`.
    ///
    /// # Panics
    /// If an invariant is broken, or the store fails.
    #[expect(clippy::expect_used, reason = "a check: to panic is what it is for")]
    pub fn check_invariants(&mut self, now: Now) {
        self.now = now;
        self.check_caches();
        self.check_away();
        let locks = self.store.locks().expect("locks");
        assert!(self.locks.iter().eq(&locks), "the locks in memory are those in the store");
        self.check_queue();
        self.loops.check();
        self.heard.check();
        let mut held: BTreeMap<Party, usize> = BTreeMap::new();
        for lock in &locks {
            *held.entry(lock.holder.clone()).or_default() += 1;
            assert!(lock.fence <= self.store.last_seq(), "a fence is a number that was given");
            if let Party::Peer(id) = &lock.holder {
                let leaves = self.leaving.contains_key(&lock.fence);
                assert!(
                    leaves || self.peers.contains_key(id),
                    "{} is held by {id}, who left",
                    lock.path
                );
            }
        }
        assert_eq!(self.store.counts().locks, locks.len() as u64, "counted locks");
        for (id, present) in &self.peers {
            let holder = Party::Peer(*id);
            let held = held.get(&holder).copied().unwrap_or(0);
            assert_eq!(self.locks.count_of(&holder), held, "locks of {id}");
            present.claims.check(*id, now.mono);
        }
        let peers: Vec<_> = self.peers.keys().copied().collect();
        let people: Vec<_> = self.machines.names().map(Recipient::CliAt).collect();
        for recipient in
            peers.into_iter().map(Recipient::Peer).chain([Recipient::Cli]).chain(people)
        {
            self.check_inbox(recipient);
        }
        let next = self.next_expiry;
        let soonest = locks.iter().map(|lock| lock.expires_at).min();
        assert!(
            soonest.is_none_or(|at| next.is_some_and(|next| next <= at)),
            "an expiry is missed"
        );
    }

    /// The caches agree with the store and with each other.
    #[expect(clippy::expect_used, reason = "a check: to panic is what it is for")]
    fn check_caches(&mut self) {
        let stored = self.store.present_peers().expect("present peers");
        assert_eq!(stored.len(), self.peers.len(), "present peers");
        for record in stored {
            let present = self.peers.get(&record.id).expect("a stored peer is in memory");
            assert_eq!(present.record, record);
            assert_eq!(
                self.names.get(&names::key(&record.name)),
                Some(&record.id),
                "name of {}",
                record.id
            );
            assert_eq!(self.tokens.get(&record.token_hash), Some(&record.id));
            present.link.check(record.id);
        }
        assert_eq!(self.names.len(), self.peers.len(), "names are unique");
        assert_eq!(self.tokens.len(), self.peers.len(), "tokens are unique");
        assert!(
            self.rates.peers().iter().all(|id| self.peers.contains_key(id)),
            "buckets of peers only"
        );
        assert!(self.hungry.iter().all(|id| self.peers.contains_key(id)), "hungry peers are here");
        assert!(self.left.is_empty() && self.marks_written.is_empty(), "a turn is open");
    }

    /// A message is in an inbox once; read implies delivered implies stored; unread is counted right.
    #[expect(clippy::expect_used, reason = "a check: to panic is what it is for")]
    fn check_inbox(&mut self, recipient: Recipient) {
        let query = InboxQuery::of(recipient, u32::MAX);
        let all = self.store.inbox(&query, None, &mut |_| true).expect("inbox").messages;
        let query = InboxQuery { unread_only: true, ..query };
        let unread = self.store.inbox(&query, None, &mut |_| true).expect("unread").messages;
        for two in all.windows(2) {
            let [a, b] = two else { continue };
            assert!(a.seq < b.seq, "the inbox of {recipient:?} is in order, each message once");
        }
        for message in &all {
            assert_eq!(message.id.seq(), message.seq, "an id has its number");
            assert!(message.seq <= self.store.last_seq(), "a number that was given");
            assert!(message.read_at.is_none() || message.delivered_at.is_some(), "read: delivered");
            assert!(message.told.is_none() || message.delivered_at.is_some(), "told: too");
        }
        let is_unread = |message: &&Message| message.read_at.is_none();
        assert!(all.iter().filter(is_unread).eq(unread.iter()), "unread of {recipient:?}");
        let counted = self.store.unread_count(recipient).expect("unread count");
        assert_eq!(counted, unread.len() as u64, "counted unread of {recipient:?}");
    }
}
