//! What is known of the messages that wait for the agent, for the notice on its tool results.
//!
//! A mirror of the inbox, kept by pushes and by every fetch that passes, so that no tool call costs
//! a question of its own. When it may be wrong it says so, and a glance at the inbox mends it.

use std::collections::VecDeque;

use crate::api::{MessageInfo, PushedMessage};
use crate::limits::{KNOWN_MESSAGES_MAX, NOTICE_CHARS_MAX, NOTICE_MESSAGES_MAX};
use crate::model::MessageId;
use crate::text::quote;

/// The beginning of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Preview {
    id: MessageId,
    from: Box<str>,
    text: String,
}

impl Preview {
    fn new(id: MessageId, from: &str, payload: &str) -> Self {
        let mut chars = payload.chars();
        let mut text: String = chars.by_ref().take(NOTICE_CHARS_MAX).collect();
        if chars.next().is_some() {
            text.push('…');
        }
        Self { id, from: from.into(), text }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Unread {
    count: u64,
    /// The oldest, at most [`NOTICE_MESSAGES_MAX`].
    previews: Vec<Preview>,
    /// The count, or the previews, may be wrong.
    doubtful: bool,
    /// Messages that were pushed lately: one that comes again is no news.
    pushed: Ring,
    /// Messages that were fetched lately: they are counted already when their push comes late.
    fetched: Ring,
}

/// The last [`KNOWN_MESSAGES_MAX`] messages of some kind.
#[derive(Debug, Default)]
struct Ring(VecDeque<MessageId>);

impl Ring {
    /// Remembers a message; gives whether it is new.
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
    /// Unread messages.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Whether a glance at the inbox is needed to be sure.
    pub(super) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// Another inbox than before, or one that may have changed unseen.
    pub(super) fn doubt(&mut self) {
        self.doubtful = true;
    }

    /// The inbox of a new peer.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// A message was pushed; gives whether it is news.
    pub(super) fn pushed(&mut self, message: &PushedMessage) -> bool {
        let id = message.message_id;
        if !self.pushed.insert(id) {
            return false;
        }
        if self.fetched.insert(id) {
            self.count += 1;
            if self.previews.len() < NOTICE_MESSAGES_MAX {
                self.previews.push(Preview::new(
                    id,
                    &message.from_peer.shown_as(&message.from_name),
                    &message.text,
                ));
            }
        }
        true
    }

    /// The oldest unread messages were seen, of `count` in all.
    pub(super) fn seen(&mut self, oldest: &[MessageInfo], count: u64) {
        self.count = count;
        let new = |message: &MessageInfo| {
            let from = message.from_peer.shown_as(&message.from_name);
            Preview::new(message.id, &from, &message.payload)
        };
        self.previews = oldest.iter().take(NOTICE_MESSAGES_MAX).map(new).collect();
        self.doubtful = false;
        for message in oldest {
            self.fetched.insert(message.id);
        }
    }

    /// Messages were handed to the agent; those in `unread` of them were unread.
    pub(super) fn handed_over(&mut self, messages: &[MessageId], unread: u64) {
        self.count = self.count.saturating_sub(unread);
        self.previews.retain(|preview| !messages.contains(&preview.id));
        for id in messages {
            self.fetched.insert(*id);
        }
        let expected = usize::try_from(self.count).unwrap_or(usize::MAX).min(NOTICE_MESSAGES_MAX);
        // What comes after those that went is not known.
        self.doubtful |= self.previews.len() < expected;
    }

    /// The broker says how many there are.
    pub(super) fn counted(&mut self, count: u64) {
        self.doubtful |= count != self.count;
    }

    /// The messages whose beginning the notice tells.
    pub(super) fn noticed(&self) -> Vec<MessageId> {
        self.previews.iter().map(|preview| preview.id).collect()
    }

    /// What is put behind a tool's result; none if there is nothing to tell. Texts of others are
    /// quoted, so that they can be told from ours.
    pub(super) fn notice(&self) -> Option<String> {
        if self.count == 0 {
            return None;
        }
        let plural = if self.count == 1 { "" } else { "s" };
        let mut notice = format!(
            "[mesh] {} unread message{plural} from other agents; call mesh_inbox to read.",
            self.count
        );
        for preview in &self.previews {
            notice.extend(["\n- ", &preview.from, " wrote: ", &quote(&preview.text)]);
        }
        let shown = self.previews.len() as u64;
        if self.count > shown && shown > 0 {
            notice.extend(["\n- and ", &(self.count - shown).to_string(), " more"]);
        }
        Some(notice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MessageKind, Party, Seq};

    fn message(n: u64, text: &str) -> PushedMessage {
        PushedMessage {
            message_id: MessageId::new(Seq(n), [0; 16]),
            handle: crate::model::Handle::of(Seq(n)),
            from_peer: Party::Cli,
            from_name: "bob".into(),
            from_agent: None,
            text: text.into(),
            message_type: MessageKind::Text,
            broadcast: false,
            to_name: None,
            to_group: None,
            reply_to: None,
            seq: Seq(n),
        }
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
        assert_eq!((unread.count(), unread.notice()), (0, None));
    }

    #[test]
    fn the_notice_quotes_the_first_three() {
        let mut unread = Unread::default();
        unread.pushed(&message(1, "line one\nIgnore \"all\""));
        let notice = unread.notice().unwrap();
        assert!(notice.contains("1 unread message from") && notice.contains("call mesh_inbox"));
        assert!(notice.contains(r#"- bob wrote: "line one\nIgnore \"all\"""#), "{notice}");
        for n in 2..=5 {
            unread.pushed(&message(n, &"é".repeat(NOTICE_CHARS_MAX + 1)));
        }
        let notice = unread.notice().unwrap();
        assert_eq!(notice.lines().count(), 5);
        assert!(notice.contains(&format!("\"{}…\"", "é".repeat(NOTICE_CHARS_MAX))));
        assert!(notice.ends_with("and 2 more"));
    }

    #[test]
    fn what_follows_those_that_went_has_to_be_looked_up() {
        let mut unread = Unread::default();
        for n in 1..=4 {
            unread.pushed(&message(n, "x"));
        }
        unread.handed_over(&[message(1, "").message_id], 1);
        assert!(unread.is_doubtful());
        unread.seen(&[], 0);
        assert!(!unread.is_doubtful());
        unread.counted(0);
        assert!(!unread.is_doubtful());
        unread.counted(2);
        assert!(unread.is_doubtful());
    }
}
