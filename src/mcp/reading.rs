//! Messages on their way to the agent: fetched, written out, and only then marked read.
//!
//! A message is still unread unless the client has taken the whole answer that it is in. If a mark is
//! lost, the message is marked again, and not given again meanwhile.
//!
//! A client may take an answer whose caller has given up without saying so. So the last messages are
//! kept, and given again if that may have happened.

use std::collections::VecDeque;
use std::time::Instant;

use super::inbox_answer::GivenMessage;
use super::jobs::{Job, JobId};
use crate::api::{Fetch, Filter, SendMessage};
use crate::limits::{ANSWER_PROMPT, INBOX_LIMIT_MAX, MARK_IDS_MAX};
use crate::model::MessageId;
use crate::wire::jsonrpc::Id;

/// Most messages of which it is remembered how many parts were given; another begins again with the first.
const PARTS_MAX: usize = INBOX_LIMIT_MAX as usize;

/// Whose turn it is to fetch messages: two fetches at once would give the same ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Turn {
    #[default]
    Free,
    /// This job fetches.
    Fetching(JobId),
    /// An answer with messages has not been taken yet.
    Writing,
}

/// Whether anyone may have missed an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    /// Hardly: it came at once.
    None,
    /// Perhaps: it came late.
    Late,
    /// Yes: the client has cancelled the call.
    GivenUp,
}

/// The last answer that had messages in it.
#[derive(Debug)]
struct HandOver {
    request: Id,
    fetch: Fetch,
    begun: Instant,
    doubt: Doubt,
    messages: Vec<GivenMessage>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Reading {
    turn: Turn,
    /// Messages in answers that have not been taken.
    written: Vec<MessageId>,
    /// Messages the agent has, to be marked read.
    handed: Vec<MessageId>,
    /// How many of these are being marked, from the first on.
    marking: usize,
    /// When marking is tried again.
    retry_at: Option<Instant>,
    /// What is unread is being looked up.
    pub(super) is_glancing: bool,
    last: Option<HandOver>,
    /// Messages that are given in parts, and how many parts the agent has.
    parts: VecDeque<(MessageId, usize)>,
}

impl Reading {
    /// Gives the turn to `job`, if it is free.
    pub(super) fn take_turn(&mut self, job: JobId) -> bool {
        if self.turn == Turn::Free {
            self.turn = Turn::Fetching(job);
        }
        self.turn == Turn::Fetching(job)
    }

    /// Takes the turn back, if `job` has it.
    pub(super) fn leave_turn(&mut self, job: JobId) {
        if self.turn == Turn::Fetching(job) {
            self.turn = Turn::Free;
        }
    }

    /// An answer with these messages waits to be taken.
    pub(super) fn wrote(&mut self, job: JobId, messages: &[MessageId]) {
        if self.turn == Turn::Fetching(job) {
            self.turn = if messages.is_empty() { Turn::Free } else { Turn::Writing };
        }
        self.written.extend_from_slice(messages);
    }

    /// These are in the answer to `job`, which waits to be taken.
    pub(super) fn gave(
        &mut self,
        job: &Job,
        fetch: &Fetch,
        mut messages: Vec<GivenMessage>,
        now: Instant,
    ) {
        for given in &messages {
            self.parts.retain(|(id, _)| *id != given.id);
            if let Some(part) = given.part.filter(|part| !part.is_last()) {
                self.parts.push_back((given.id, part.number));
            }
        }
        while self.parts.len() > PARTS_MAX {
            self.parts.pop_front();
        }
        messages.retain(|given| given.unread);
        if !messages.is_empty() {
            let (request, begun) = (job.asked.to.clone(), job.begun);
            let fetch = fetch.clone();
            self.last = Some(HandOver { request, fetch, begun, doubt: Doubt::None, messages });
            self.judge(now);
        }
    }

    /// How many parts of a message the agent has.
    pub(super) fn parts_of(&self, message: MessageId) -> usize {
        self.parts.iter().find(|(id, _)| *id == message).map_or(0, |(_, number)| *number)
    }

    fn judge(&mut self, now: Instant) {
        if let Some(last) = &mut self.last
            && now.saturating_duration_since(last.begun) > ANSWER_PROMPT
        {
            last.doubt = last.doubt.max(Doubt::Late);
        }
    }

    /// The client has cancelled this request, whose answer has gone out already.
    pub(super) fn given_up(&mut self, request: &Id) {
        if let Some(last) = self.last.as_mut().filter(|last| last.request == *request) {
            last.doubt = Doubt::GivenUp;
        }
    }

    /// The agent writes to someone: it has seen what it got from them.
    pub(super) fn answered(&mut self, send: &SendMessage) {
        if let Some(last) = &mut self.last {
            last.messages.retain(|given| {
                let is_to = |name: &str| last.doubt < Doubt::GivenUp && name == &*send.to_peer;
                !send.reply_to.is_some_and(|named| named.is(given.id))
                    && !is_to(&given.from_name)
                    && !is_to(&given.from.to_string())
            });
        }
    }

    /// The messages that `fetch` asks for and that nobody may have seen, though they were given.
    pub(super) fn missed(&self, fetch: &Fetch) -> &[GivenMessage] {
        let asks = |last: &&HandOver| {
            let is_for_it = fetch.from.is_none() || fetch.from == last.fetch.from;
            last.doubt > Doubt::None && fetch.filter == Filter::Unread && is_for_it
        };
        self.last.as_ref().filter(asks).map_or(&[], |last| &last.messages)
    }

    /// The notice about messages that were in the answer to a cancelled call.
    pub(super) fn notice(&self) -> Option<String> {
        let last = self.last.as_ref().filter(|last| last.doubt == Doubt::GivenUp)?;
        let count = last.messages.len();
        let plural = if count == 1 { "" } else { "s" };
        (count > 0).then(|| {
            format!(
                "[mesh] {count} message{plural} came with the answer to a call that was given up; \
                 mesh_inbox gives them again."
            )
        })
    }

    /// Whether the agent has this message already, or is about to.
    pub(super) fn has(&self, message: MessageId) -> bool {
        self.written.contains(&message) || self.handed.contains(&message)
    }

    /// The agent has these now.
    pub(super) fn handed_over(&mut self, messages: &[MessageId], now: Instant) {
        self.judge(now);
        self.written.retain(|message| !messages.contains(message));
        self.handed.extend_from_slice(messages);
        if self.turn == Turn::Writing && self.written.is_empty() {
            self.turn = Turn::Free;
        }
    }

    /// The messages to be marked now; none while others are being marked. Each is returned once.
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

    /// They could not be marked, and will be tried again at `retry_at`.
    pub(super) fn not_marked(&mut self, retry_at: Instant) {
        self.marking = 0;
        self.retry_at = Some(retry_at);
    }

    /// When marks are to be tried again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.retry_at.filter(|_| !self.handed.is_empty())
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
        reading.wrote(a, &[message(1)]);
        assert!(reading.has(message(1)) && !reading.take_turn(b));
        reading.handed_over(&[message(1)], Instant::now());
        assert!(reading.has(message(1)) && reading.take_turn(b));
        reading.wrote(b, &[]);
        assert!(reading.take_turn(a));
    }

    #[test]
    fn marks_are_made_once_and_again_if_they_got_lost() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut reading = Reading::default();
        assert_eq!(reading.take_marks(now), None);
        reading.handed_over(&[message(1), message(2)], now);
        assert_eq!(reading.take_marks(now), Some(vec![message(1), message(2)]));
        reading.handed_over(&[message(3)], now);
        assert_eq!(reading.take_marks(now), None);
        reading.not_marked(later);
        assert_eq!((reading.take_marks(now), reading.deadline()), (None, Some(later)));
        assert_eq!(reading.take_marks(later).unwrap().len(), 3);
        reading.marked();
        assert_eq!((reading.take_marks(later), reading.deadline()), (None, None));
        assert!(!reading.has(message(1)));
    }
}
