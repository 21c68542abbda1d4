//! Taking a lock from someone who has it, and telling them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Ask;
use crate::api::{Code, Freed, LockFile, LockReply, Reply, SendMessage, Sent, refuse};
use crate::limits::LOCKS_STOLEN_MAX;
use crate::mesh::Mesh;
use crate::mesh::messages::Letter;
use crate::mesh::turn::{Failure, Replied};
use crate::mesh::who::Actor;
use crate::model::{Lock, MessageKind, Party, Recipient};
use crate::store::Store;
use crate::text::{bare_or_quoted, quote};

/// Most stolen locks that a message names; it says how many more there are.
const NAMED_MAX: usize = 20;

impl<S: Store> Mesh<S> {
    /// Takes every lock that is in the way of `ask` from its holder, and then the lock itself. Those
    /// who wait stay where they are, behind it.
    pub(super) fn steal(&mut self, ask: &Ask, wanted: &LockFile) -> Replied {
        let Ask { actor, target, shared } = ask;
        let in_way: Vec<Lock> = (self.locks)
            .in_way_of(&actor.party, target, *shared, &self.steps)
            .take(LOCKS_STOLEN_MAX + 1)
            .cloned()
            .collect();
        if self.steps.are_spent() {
            return Err(self.too_much(target).into());
        }
        if in_way.len() > LOCKS_STOLEN_MAX {
            let message = format!(
                "more than {LOCKS_STOLEN_MAX} locks are in the way of {}, which is the most that \
                 can be stolen at once: steal a part of it first",
                target.text()
            );
            return refuse(Code::InvalidRequest, message);
        }
        let why = wanted.reason.as_deref().unwrap_or_default();
        let mut holders: BTreeMap<Party, Vec<&Lock>> = BTreeMap::new();
        for lock in &in_way {
            holders.entry(lock.holder.clone()).or_default().push(lock);
            self.store.remove_lock(lock.fence)?;
            self.lock_freed(lock, Freed::Stolen, Some((actor, why)), Some(&actor.party))?;
        }
        let names = holders.values().filter_map(|locks| locks.first());
        let stolen_from = names.map(|lock| lock.holder_name.clone()).collect();
        let reply = self.take(ask, wanted, stolen_from).map_err(|failure| match failure {
            // The locks that were taken make room for it, and nothing else is refused here. If it
            // were, the turn would have to be aborted, since it has written.
            Failure::Refused(refusal) if !in_way.is_empty() => {
                Failure::Store(crate::store::StoreError::Failed(refusal.message.into()))
            }
            failure => failure,
        })?;
        if let Reply::Locked(LockReply { lock: taken, .. }) = &reply {
            for (holder, locks) in holders {
                if let Some(recipient) = holder.inbox() {
                    let mut text = told(actor, &locks, why);
                    let path = bare_or_quoted(&taken.file_path);
                    // Writing to a string cannot fail.
                    let _ = write!(text, " It now holds {path} (fence {}).", taken.fence);
                    self.alert(actor, recipient, text)?;
                }
            }
        }
        Ok(reply)
    }

    fn alert(&mut self, from: &Actor, to: Recipient, text: String) -> Result<(), Failure> {
        let send = SendMessage {
            to_peer: Party::from(to).to_string().into(),
            payload: text.into(),
            kind: MessageKind::Alert,
            ..SendMessage::default()
        };
        let letter = Letter { from, send: &send, reply_to: None };
        if let Sent::Direct { message_id, .. } = self.deliver(letter, to)? {
            self.loops.alerted(message_id.seq());
        }
        Ok(())
    }
}

/// Facts for the one who has lost locks.
fn told(actor: &Actor, locks: &[&Lock], why: &str) -> String {
    let named: Vec<String> = (locks.iter().take(NAMED_MAX))
        .map(|lock| format!("{} (fence {})", bare_or_quoted(&lock.path), lock.fence))
        .collect();
    let more = match locks.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let what = if locks.len() == 1 { "lock" } else { "locks" };
    let thief = actor.party.shown_as(&actor.name);
    format!("{thief} has taken your {what} on {}{more}, reason {}.", named.join(", "), quote(why))
}
