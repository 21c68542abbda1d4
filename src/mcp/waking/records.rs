//! What the broker is still to be told about: of which messages the agent was notified, and how.
//!
//! Nobody waits for it, so it is told in one request for many, and not between the agent's own. A
//! request that was lost is repeated; the broker keeps the first notification of each message.

use std::collections::VecDeque;
use std::time::Instant;

use crate::limits::{KNOWN_MESSAGES_MAX, MARK_IDS_MAX, RECORD_DELAY, RECORD_PATIENCE};
use crate::model::{MessageId, Way};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Records {
    waiting: VecDeque<(MessageId, Way)>,
    /// How many of those, from the first, are being told.
    telling: usize,
    /// When they are to be told.
    due: Option<Instant>,
    /// Those that were added lately: a notice repeats itself on each result.
    known: VecDeque<MessageId>,
}

impl Records {
    /// The agent was notified of these. Beyond [`MARK_IDS_MAX`] they are forgotten: then there has
    /// been no broker for long.
    pub(super) fn add(&mut self, ids: &[MessageId], way: Way, now: Instant) {
        for id in ids {
            if self.known.contains(id) || self.waiting.len() >= MARK_IDS_MAX {
                continue;
            }
            if self.known.len() >= KNOWN_MESSAGES_MAX {
                self.known.pop_front();
            }
            self.known.push_back(*id);
            self.waiting.push_back((*id, way));
            self.due.get_or_insert(now + RECORD_DELAY);
        }
    }

    /// What is to be told now, if that is not under way. `is_busy`: the agent waits for the broker
    /// itself. `is_last`: what is not told now will come too late.
    pub(super) fn take(
        &mut self,
        is_busy: bool,
        is_last: bool,
        now: Instant,
    ) -> Option<(Way, Vec<MessageId>)> {
        let due = self.due?;
        let patience = if is_busy { RECORD_PATIENCE } else { std::time::Duration::ZERO };
        if self.telling > 0 || (!is_last && now < due + patience) {
            return None;
        }
        let way = self.waiting.front()?.1;
        let same = self.waiting.iter().take_while(|(_, other)| *other == way);
        let ids: Vec<MessageId> = same.map(|(id, _)| *id).collect();
        self.telling = ids.len();
        self.due = None;
        Some((way, ids))
    }

    /// They are told, or need not be any more.
    pub(super) fn told(&mut self, now: Instant) {
        self.waiting.drain(..self.telling.min(self.waiting.len()));
        self.telling = 0;
        self.due = (!self.waiting.is_empty()).then_some(now);
    }

    /// They could not be told: again, then.
    pub(super) fn not_told(&mut self, retry_at: Instant) {
        self.telling = 0;
        self.due = Some(retry_at);
    }

    /// When [`Records::take`] is to be asked again.
    pub(super) fn deadline(&self, now_busy: bool) -> Option<Instant> {
        let due = self.due.filter(|_| self.telling == 0)?;
        Some(if now_busy { due + RECORD_PATIENCE } else { due })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Seq;

    fn ids(numbers: std::ops::Range<u64>) -> Vec<MessageId> {
        numbers.map(|n| MessageId::new(Seq(n), [0; 16])).collect()
    }

    #[test]
    fn they_are_told_together_once_and_by_way() {
        let now = Instant::now();
        let due = now + RECORD_DELAY;
        let mut records = Records::default();
        assert_eq!((records.take(false, true, now), records.deadline(false)), (None, None));
        records.add(&ids(1..3), Way::InboxSocket, now);
        records.add(&ids(2..5), Way::ToolResult, now);
        assert_eq!((records.take(false, false, now), records.deadline(false)), (None, Some(due)));
        assert_eq!(records.take(false, false, due), Some((Way::InboxSocket, ids(1..3))));
        assert_eq!((records.take(false, true, due), records.deadline(false)), (None, None));
        records.told(due);
        assert_eq!(records.take(false, false, due), Some((Way::ToolResult, ids(3..5))));
        records.told(due);
        records.add(&ids(1..5), Way::ToolResult, due);
        assert_eq!(records.deadline(false), None, "all known");
    }

    #[test]
    fn the_agent_comes_first_but_not_for_ever() {
        let now = Instant::now();
        let mut records = Records::default();
        records.add(&ids(1..2), Way::Queue, now);
        let due = now + RECORD_DELAY;
        assert_eq!(records.take(true, false, due), None);
        assert_eq!(records.deadline(true), Some(due + RECORD_PATIENCE));
        assert!(records.take(true, false, due + RECORD_PATIENCE).is_some());
        let later = due + Duration::from_secs(9);
        records.not_told(later);
        assert_eq!((records.take(false, false, due), records.deadline(false)), (None, Some(later)));
        assert!(records.take(false, true, due).is_some(), "the last chance");
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let now = Instant::now();
        let mut records = Records::default();
        records.add(&ids(0..2_000), Way::Channel, now);
        assert_eq!(records.waiting.len(), MARK_IDS_MAX);
        assert_eq!(records.known.len(), KNOWN_MESSAGES_MAX);
    }
}
