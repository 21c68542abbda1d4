//! Messages from the broker to the agent: fetched, put into an answer, handed over, marked read.

use std::time::Instant;

use super::arguments::{Tool, ToolCall};
use super::inbox_answer::InboxAnswer;
use super::jobs::{Job, JobId, Stage, Work};
use super::protocol::Body;
use super::server::{Purpose, RETRY_EVERY, Server};
use crate::api::{Fetch, Filter, Messages, Request};
use crate::client::ClientError;
use crate::client::blocking::read_reply;
use crate::limits::CALL_TIME_MAX;
use crate::log;

impl Server {
    /// Messages have come for a job that is no longer listed.
    pub(super) fn handle_messages(
        &mut self,
        mut job: Job,
        filter: Filter,
        body: &[u8],
        now: Instant,
    ) {
        let mut messages: Messages = match read_reply(body) {
            Ok(messages) => messages,
            Err(error) => {
                self.reading.leave_turn(job.id);
                return self.fail(job, &error, now);
            }
        };
        if let Work::Read(_, uri) = &job.work {
            let text = InboxAnswer::new(&messages, filter, &[], |_| 0).text;
            job.asked.answer(Body::Resource { uri, text: &text }, Vec::new(), &mut self.out);
            return;
        }
        // Those that the agent has already, and that only have to be marked, are not given again.
        messages.messages.retain(|message| {
            filter == Filter::Sent || message.read_at.is_some() || !self.reading.has(message.id)
        });
        let again = match job.fetch() {
            Some(fetch) => self.reading.missed(fetch).to_vec(),
            None => Vec::new(),
        };
        if messages.messages.is_empty()
            && again.is_empty()
            && let Some(until) = job.watch_until.filter(|until| now < *until)
            && self.can_wait()
        {
            self.reading.leave_turn(job.id);
            job.stage = if job.signs == self.jobs.signs() {
                // Without a push connection nothing announces a message.
                let look_at = (!self.push_is_live).then(|| now + RETRY_EVERY);
                Stage::Watching { until, look_at }
            } else {
                // Something came while the broker answered: ask again.
                job.deadline = now + CALL_TIME_MAX;
                Stage::Waiting
            };
            self.jobs.push(job);
            return self.proceed(now);
        }
        let is_whole = matches!(
            &job.work,
            Work::Tool(_, ToolCall::Inbox { fetch: Fetch { from: None, .. }, .. })
        ) && filter == Filter::Unread;
        if is_whole {
            let count = messages.messages.len() as u64 + messages.remaining;
            self.unread.seen(&messages.messages, count);
        }
        let portion =
            InboxAnswer::new(&messages, filter, &again, |message| self.reading.parts_of(message));
        let mut ids = portion.read();
        let InboxAnswer { text, given } = portion;
        if self.answer_tool(&job.asked, Tool::Inbox, text, false, ids.clone()) {
            if let Some(fetch) = job.fetch() {
                self.reading.gave(&job, fetch, again.into_iter().chain(given).collect(), now);
            }
        } else {
            // The answer was too large: they stay unread.
            ids.clear();
        }
        self.waking.were_read(|id| ids.contains(&id));
        self.unread.handed_over(&ids, ids.len() as u64);
        self.reading.wrote(job.id, &ids);
    }

    /// Answers all that wait for a message: none will come in time.
    pub(super) fn answer_watchers(&mut self) {
        for id in self.jobs.ids(|job| matches!(job.stage, Stage::Watching { .. })) {
            self.answer_watcher(id);
        }
    }

    pub(super) fn answer_watcher(&mut self, id: JobId) {
        if let Some(job) = self.jobs.remove(id) {
            self.answer_tool(&job.asked, Tool::Inbox, InboxAnswer::none(), false, Vec::new());
        }
    }

    /// Marks the messages that the agent has, if that is due.
    pub(super) fn mark_read(&mut self, now: Instant) {
        if self.presence.is_present()
            && let Some(ids) = self.reading.take_marks(now)
        {
            self.ask(
                Purpose::MarkRead,
                Request::MarkRead { peer_id: None, ids, way: None, claim_id: None },
            );
        }
    }

    /// A request to mark messages has a result.
    pub(super) fn handle_marked(&mut self, result: Result<Vec<u8>, ClientError>, now: Instant) {
        match result {
            Ok(_) => self.reading.marked(),
            Err(error) => {
                log::debug(format_args!("messages could not be marked read: {error}"));
                self.handle_unknown(&error, now);
                let pause = match &error {
                    ClientError::Refused(refused) => refused.retry_after,
                    _ => None,
                };
                self.reading.not_marked(now + pause.unwrap_or(RETRY_EVERY));
            }
        }
        self.mark_read(now);
    }
}
