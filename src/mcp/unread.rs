//! How many messages wait for the agent, for the notice on its tool results.
//!
//! Each push and each fetch keeps the number up to date, so that nothing has to be asked for a tool call
//! when there are none. Others read the inbox, too, so it is looked at before a number is given.

use std::collections::VecDeque;

use crate::api::{MessageInfo, PushedMessage};
use crate::limits::KNOWN_MESSAGES_MAX;
use crate::model::MessageId;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Unread {
    count: u64,
    /// There may be more than are counted.
    doubtful: bool,
    /// Messages that were pushed lately: one that is pushed again is nothing new.
    pushed: Ring,
    /// Messages that were fetched lately: they have been counted when their push comes late.
    fetched: Ring,
}

/// The last [`KNOWN_MESSAGES_MAX`] messages of some kind.
#[derive(Debug, Default)]
struct Ring(VecDeque<MessageId>);

impl Ring {
    /// Remembers a message; returns whether it is new.
    fn insert(&mut self, id: MessageId) -> bool {
        if self.0.contains(&id) {
            return false;
        }
        if self.0.len() >= KNOWN_MESSAGES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(id);
        true
    }
}

impl Unread {
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Whether there certainly are none.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0 && !self.doubtful
    }

    /// Whether the inbox has to be looked at to be sure.
    pub(super) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// This is another inbox, or it may have changed unseen.
    pub(super) fn doubt(&mut self) {
        self.doubtful = true;
    }

    /// A message was pushed; returns whether it is new.
    pub(super) fn pushed(&mut self, message: &PushedMessage) -> bool {
        let id = message.message_id;
        if !self.pushed.insert(id) {
            return false;
        }
        if self.fetched.insert(id) {
            self.count += 1;
        }
        true
    }

    /// The oldest unread messages were seen, of `count` in all.
    pub(super) fn seen(&mut self, oldest: &[MessageInfo], count: u64) {
        self.count = count;
        self.doubtful = false;
        for message in oldest {
            self.fetched.insert(message.id);
        }
    }

    /// Messages were handed to the agent; those in `unread` of them were unread.
    pub(super) fn handed_over(&mut self, messages: &[MessageId], unread: u64) {
        self.count = self.count.saturating_sub(unread);
        for id in messages {
            self.fetched.insert(*id);
        }
    }

    /// The broker says how many there are.
    pub(super) fn counted(&mut self, count: u64) {
        self.doubtful |= count != self.count;
    }

    /// The notice behind the result of a tool; none if there is nothing to say. `told`: how many of the
    /// messages are in full in the agent's own queue, and need not be fetched.
    pub(super) fn notice(&self, told: u64) -> Option<String> {
        let count = self.count.saturating_sub(told);
        let plural = if count == 1 { "" } else { "s" };
        (count > 0).then(|| format!("[mesh] {count} unread message{plural}; call mesh_inbox"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Frame;
    use crate::mcp::server::tests::pushed;

    fn message(n: u64, text: &str) -> PushedMessage {
        let Frame::Message(message) = pushed(n, text) else { panic!() };
        message
    }

    #[test]
    fn a_repeated_push_is_no_news() {
        let mut unread = Unread::default();
        assert!(unread.pushed(&message(1, "a")));
        assert!(!unread.pushed(&message(1, "a")));
        for n in 2..=u64::try_from(KNOWN_MESSAGES_MAX).unwrap() + 1 {
            assert!(unread.pushed(&message(n, "a")));
        }
        assert_eq!(unread.pushed.0.len(), KNOWN_MESSAGES_MAX);
        assert!(unread.pushed(&message(1, "a")), "forgotten, as the set has an end");
    }

    #[test]
    fn a_late_push_of_what_was_read_is_not_counted() {
        let mut unread = Unread::default();
        unread.handed_over(&[message(1, "a").message_id], 0);
        unread.pushed(&message(1, "a"));
        assert_eq!((unread.count(), unread.notice(0)), (0, None));
    }

    #[test]
    fn the_notice_counts() {
        let mut unread = Unread::default();
        assert!(unread.is_empty() && unread.notice(0).is_none());
        unread.pushed(&message(1, "x"));
        assert_eq!(unread.notice(0).unwrap(), "[mesh] 1 unread message; call mesh_inbox");
        unread.pushed(&message(2, "x"));
        assert_eq!(unread.notice(0).unwrap(), "[mesh] 2 unread messages; call mesh_inbox");
        assert_eq!(unread.notice(1).unwrap(), "[mesh] 1 unread message; call mesh_inbox");
        assert!(unread.notice(2).is_none() && unread.notice(3).is_none());
        unread.handed_over(&[message(1, "").message_id], 1);
        assert_eq!((unread.count(), unread.is_doubtful()), (1, false));
        unread.counted(1);
        assert!(!unread.is_doubtful());
        unread.counted(2);
        assert!(unread.is_doubtful());
        unread.seen(&[], 0);
        assert!(unread.is_empty());
    }
}
