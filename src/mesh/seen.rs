//! What people and scripts are called on the machine that gets an answer. There, as on each
//! machine, `cli` is its own person, and the hub's person is `cli@` with the hub's name.

use super::turn::Handled;
use super::{Failure, Mesh, Outcome};
use crate::api::{
    Claimed, Detail, EntriesReply, EntryReply, Fact, HistoryPage, LockInfo, LockReply,
    LockedAllReply, LocksReply, MessageInfo, Messages, Reply, StateInfo,
};
use crate::model::{MachineName, Message, Party};
use crate::store::Store;

/// The machine from which parties are seen, and the name of the hub.
#[derive(Clone, Copy)]
struct View {
    from: Option<MachineName>,
    hub: MachineName,
}

impl View {
    fn party(self, party: &mut Party) {
        let seen = std::mem::replace(party, Party::Cli).seen_from(self.from, self.hub);
        *party = seen;
    }

    /// A party and its name, which follows the party unless it is a peer.
    fn named(self, party: &mut Party, name: &mut Box<str>) {
        self.party(party);
        if party.peer().is_none() {
            *name = party.to_string().into();
        }
    }

    /// To a label means to the mailbox of that name, on any machine.
    fn recipient(self, to: Option<&mut Party>) {
        if let Some(to) = to.filter(|to| to.is_cli()) {
            self.party(to);
        }
    }

    fn message(self, message: &mut MessageInfo) {
        self.named(&mut message.from_peer, &mut message.from_name);
        self.recipient(message.to_peer.as_mut());
    }

    fn lock(self, lock: &mut LockInfo) {
        self.named(&mut lock.locked_by, &mut lock.locked_by_name);
    }

    fn locks(self, locks: &mut [LockInfo]) {
        for lock in locks {
            self.lock(lock);
        }
    }

    fn entry(self, entry: &mut StateInfo) {
        self.party(&mut entry.updated_by);
    }

    fn reply(self, reply: &mut Reply) {
        match reply {
            Reply::Messages(Messages { messages, .. })
            | Reply::Claimed(Claimed { messages, .. })
            | Reply::History(HistoryPage { messages, .. }) => {
                for message in messages {
                    self.message(message);
                }
            }
            Reply::Entry(EntryReply { entry: Some(entry), .. }) => self.entry(entry),
            Reply::Entries(EntriesReply { entries, .. }) => {
                for entry in entries {
                    self.entry(entry);
                }
            }
            Reply::Locked(LockReply { lock, .. }) => self.lock(lock),
            Reply::LockedAll(LockedAllReply { locks, .. })
            | Reply::Locks(LocksReply { locks, .. }) => self.locks(locks),
            Reply::Events(page) => {
                for event in &mut page.events {
                    event.call_parties(|party| self.party(party));
                }
            }
            _ => {}
        }
    }

    fn detail(self, detail: &mut Detail) {
        match detail {
            Detail::Lock(lock) => self.lock(lock),
            Detail::Locks(locks) => self.locks(locks),
            Detail::Entry(Some(entry)) => self.entry(entry),
            _ => {}
        }
    }
}

impl<S: Store> Mesh<S> {
    fn view(&self, from: Option<MachineName>) -> Option<View> {
        self.hub_name().map(|hub| View { from, hub })
    }

    /// An answer as it is read on another machine.
    pub(super) fn seen_from(&self, home: Option<MachineName>, mut answer: Handled) -> Handled {
        let Some(view) = self.view(home) else { return answer };
        match &mut answer {
            Ok(Outcome::Reply(reply)) => view.reply(reply),
            Err(Failure::Refused(refusal)) => view.detail(&mut refusal.detail),
            Ok(Outcome::Hold { .. }) | Err(Failure::Store(_)) => {}
        }
        answer
    }

    /// What has happened, and who has caused it, as it is pushed to a machine.
    pub(super) fn see_from(
        &self,
        home: Option<MachineName>,
        fact: &mut Fact,
        by: Option<&mut Party>,
    ) {
        let Some(view) = self.view(home) else { return };
        for (party, name) in fact.parties() {
            match name {
                Some(name) => view.named(party, name),
                None => view.party(party),
            }
        }
        if let Some(by) = by {
            view.party(by);
        }
    }

    /// A message as it is pushed to a machine.
    pub(super) fn message_seen_from(&self, home: Option<MachineName>, message: &mut Message) {
        if let Some(view) = self.view(home) {
            view.named(&mut message.from, &mut message.from_name);
            view.recipient(message.to.as_mut());
        }
    }
}
