//! Messages on their way to the agent: fetched, written out, and only then marked read.
//!
//! A message whose answer was not taken whole is still unread. One whose mark got lost is marked
//! again, and not shown again meanwhile.

use std::time::Instant;

use super::jobs::JobId;
use crate::limits::MARK_IDS_MAX;
use crate::model::MessageId;

/// Whose turn it is to fetch messages: two answers at once would tell the same ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Turn {
    #[default]
    Free,
    /// This job fetches.
    Fetching(JobId),
    /// An answer with messages has not been taken yet.
    Writing,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Reading {
    turn: Turn,
    /// Messages in answers that have not been taken.
    written: Vec<MessageId>,
    /// Messages the agent has, to be marked read.
    handed: Vec<MessageId>,
    /// How many of those, from the first, are being marked.
    marking: usize,
    /// When it is tried again.
    retry_at: Option<Instant>,
    /// A look at what is unread is on its way.
    glancing: bool,
}

impl Reading {
    /// Gives the turn to `job`, if it is free.
    pub(super) fn take_turn(&mut self, job: JobId) -> bool {
        if self.turn == Turn::Free {
            self.turn = Turn::Fetching(job);
        }
        self.turn == Turn::Fetching(job)
    }

    /// Gives the turn back, if `job` has it.
    pub(super) fn leave_turn(&mut self, job: JobId) {
        if self.turn == Turn::Fetching(job) {
            self.turn = Turn::Free;
        }
    }

    /// An answer with these messages waits to be taken. In a batch it waits for other answers, too,
    /// which may need the turn themselves.
    pub(super) fn wrote(&mut self, job: JobId, messages: &[MessageId], in_batch: bool) {
        if self.turn == Turn::Fetching(job) {
            self.turn = if messages.is_empty() || in_batch { Turn::Free } else { Turn::Writing };
        }
        self.written.extend_from_slice(messages);
    }

    /// Whether the agent has this message already, or is about to.
    pub(super) fn has(&self, message: MessageId) -> bool {
        self.written.contains(&message) || self.handed.contains(&message)
    }

    /// The agent has these now.
    pub(super) fn handed_over(&mut self, messages: &[MessageId]) {
        self.written.retain(|message| !messages.contains(message));
        self.handed.extend_from_slice(messages);
        if self.turn == Turn::Writing && self.written.is_empty() {
            self.turn = Turn::Free;
        }
    }

    /// The messages to be marked now, if that is not under way; told once.
    pub(super) fn take_marks(&mut self, now: Instant) -> Option<Vec<MessageId>> {
        if self.handed.is_empty() || self.marking > 0 || self.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        self.retry_at = None;
        self.marking = self.handed.len().min(MARK_IDS_MAX);
        self.handed.get(..self.marking).map(<[MessageId]>::to_vec)
    }

    /// Those are marked.
    pub(super) fn marked(&mut self) {
        self.handed.drain(..self.marking.min(self.handed.len()));
        self.marking = 0;
    }

    /// They could not be marked: again, then.
    pub(super) fn not_marked(&mut self, retry_at: Instant) {
        self.marking = 0;
        self.retry_at = Some(retry_at);
    }

    /// When marks are to be tried again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.retry_at.filter(|_| !self.handed.is_empty())
    }

    /// Whether a glance is to be sent: none is on its way.
    pub(super) fn begin_glance(&mut self) -> bool {
        !std::mem::replace(&mut self.glancing, true)
    }

    /// It has come back.
    pub(super) fn end_glance(&mut self) {
        self.glancing = false;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Seq;

    fn message(n: u64) -> MessageId {
        MessageId::new(Seq(n), [0; 16])
    }

    #[test]
    fn the_next_fetch_waits_until_the_messages_are_taken() {
        let (a, b) = (JobId(1), JobId(2));
        let mut reading = Reading::default();
        assert!(reading.take_turn(a) && reading.take_turn(a) && !reading.take_turn(b));
        reading.leave_turn(b);
        assert!(!reading.take_turn(b));
        reading.wrote(a, &[message(1)], false);
        assert!(reading.has(message(1)) && !reading.take_turn(b));
        reading.handed_over(&[message(1)]);
        assert!(reading.has(message(1)) && reading.take_turn(b));
        reading.wrote(b, &[], false);
        assert!(reading.take_turn(a));
        reading.wrote(a, &[message(2)], true);
        assert!(reading.take_turn(b), "of the same batch");
    }

    #[test]
    fn marks_are_made_once_and_again_if_they_got_lost() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut reading = Reading::default();
        assert_eq!(reading.take_marks(now), None);
        reading.handed_over(&[message(1), message(2)]);
        assert_eq!(reading.take_marks(now), Some(vec![message(1), message(2)]));
        reading.handed_over(&[message(3)]);
        assert_eq!(reading.take_marks(now), None);
        reading.not_marked(later);
        assert_eq!((reading.take_marks(now), reading.deadline()), (None, Some(later)));
        assert_eq!(reading.take_marks(later).unwrap().len(), 3);
        reading.marked();
        assert_eq!((reading.take_marks(later), reading.deadline()), (None, None));
        assert!(!reading.has(message(1)));
    }
}
