//! How tool calls and reads of resources run: from the agent to the broker and back.

use std::time::Instant;

use serde_json::value::RawValue;

use super::answers::{self, OwnStatus};
use super::arguments::{Tool, ToolCall};
use super::jobs::{Job, JobId, Jobs, Ready, Stage, Work};
use super::outbox::{Carried, RpcError};
use super::protocol::Body;
use super::quotes::Quoted;
use super::reading::Reading;
use super::server::{Command, Purpose, Server};
use super::session::ReturnAddress;
use crate::api::{Claim, Code, Fetch, Messages, Request};
use crate::client::blocking::read_reply;
use crate::client::{ClientError, new_id};
use crate::limits::{NOTICE_MESSAGES_MAX, NOTICE_TIME_MAX, RPC_CALLS_MAX};
use crate::log;
use crate::model::{MessageId, Way};
use crate::wire::jsonrpc::{INTERNAL_ERROR, Id};

impl Server {
    /// The agent calls a tool.
    pub(super) fn call_tool(
        &mut self,
        asked: ReturnAddress,
        tool: Tool,
        arguments: Option<&RawValue>,
        now: Instant,
    ) {
        match tool.read(arguments, &self.project, new_id()) {
            Ok(mut call) => {
                if let ToolCall::Ask(request) = &mut call {
                    self.outcomes.recognise(request, now);
                    if let Request::Send(send) = request {
                        self.reading.answered(send);
                        self.waking.answered_to(send.reply_to);
                    }
                }
                self.begin(asked, Work::Tool(tool, call), now);
            }
            Err(refusal) => {
                let text = answers::refusal(&refusal);
                self.answer_tool(&asked, tool, text, true, Vec::new());
            }
        }
    }

    /// Lists a job, unless there are too many.
    pub(super) fn begin(&mut self, asked: ReturnAddress, work: Work, now: Instant) {
        let id = self.jobs.next_id();
        let job = Job::new(id, asked, work, now);
        if self.jobs.len() >= RPC_CALLS_MAX {
            let sentence =
                format!("{RPC_CALLS_MAX} calls are under way already; wait for some to end");
            if let Some(tool) = job.tool() {
                let text = answers::trouble("too_many_calls", &sentence);
                self.answer_tool(&job.asked, tool, text, true, Vec::new());
            } else {
                self.out.fail(&job.asked.to, &RpcError::new(INTERNAL_ERROR, sentence));
            }
            return;
        }
        self.jobs.push(job);
        self.presence.need(self.session.awaits_roots(), now);
    }

    /// The agent no longer wants the answer.
    pub(super) fn cancel(&mut self, request: &Id, now: Instant) {
        let job = self.jobs.find(request).and_then(|id| self.jobs.remove(id));
        if let Some(job) = job {
            self.reading.leave_turn(job.id);
            self.commands.push_back(Command::Forget(Purpose::Job(job.id)));
            self.proceed(now);
        } else {
            self.reading.given_up(request);
        }
    }

    /// Asks the broker on behalf of the jobs whose turn it is.
    pub(super) fn start_jobs(&mut self) {
        if !self.presence.is_present() {
            return;
        }
        let own = self.presence.identity().map(|identity| identity.id.to_string());
        let signs = self.jobs.signs();
        for id in self.jobs.waiting() {
            let Some(job) = self.jobs.get_mut(id) else { continue };
            if job.fetch().is_some() && !self.reading.take_turn(id) {
                continue;
            }
            job.stage = Stage::Sent;
            job.signs = signs;
            let request = job.request(own.as_deref());
            self.ask(Purpose::Job(id), request);
        }
    }

    /// The broker has answered a job, or could not be asked.
    pub(super) fn handle_job(
        &mut self,
        id: JobId,
        result: Result<Vec<u8>, ClientError>,
        now: Instant,
    ) {
        let Some(mut job) = self.jobs.remove(id) else { return };
        let body = match result {
            Ok(body) => body,
            Err(error) => {
                self.reading.leave_turn(id);
                if error.code() == Some(Code::Unauthorized) && !job.retried {
                    // Nothing was done: it is asked again after the next registration.
                    job.retried = true;
                    job.stage = Stage::Waiting;
                    self.jobs.push(job);
                    return self.presence.handle_unknown(now);
                }
                self.note_outcome(&job, &error, now);
                return self.fail(job, &error, now);
            }
        };
        if let Some(filter) = job.filter() {
            return self.handle_messages(job, filter, &body, now);
        }
        self.remember(&job);
        if let Work::Tool(_, ToolCall::Status) = &job.work {
            return self.finish(job, Ready::Status(body), now);
        }
        if let Some(text) = job.plain_result(&body, &self.project.path) {
            if let Some(Request::ReadEvents(_)) = job.asked_as_is() {
                self.events_read(&text);
            }
            self.finish(job, Ready::Text { text, is_error: false }, now);
        } else {
            self.fail(job, &no_json(), now);
        }
    }

    /// Keeps what the broker might forget.
    fn remember(&mut self, job: &Job) {
        let Some(request) = job.asked_as_is() else { return };
        match request {
            Request::Summary { summary, .. } => self.summary = Some(summary.clone()),
            Request::Subscribe { types, .. } => {
                self.subscribed.clone_from(types);
                self.look_for_events(true);
            }
            Request::Unsubscribe { .. } => self.subscribed.clear(),
            request => self.outcomes.settled(request),
        }
    }

    /// Keeps a request of which it is unknown whether it was carried out.
    fn note_outcome(&mut self, job: &Job, error: &ClientError, now: Instant) {
        if let Some(request) = job.asked_as_is().filter(|_| error.leaves_doubt()) {
            self.outcomes.unknown(request, now);
        }
    }

    fn you(&self) -> Option<OwnStatus<'_>> {
        let identity = self.presence.identity()?;
        Some(OwnStatus {
            id: identity.id,
            name: &identity.name,
            name_taken: self.presence.name_taken(),
            agent_type: &self.agent_type,
            project_path: self.project.path.to_str().unwrap_or_default(),
            git_branch: self.project.git_branch(),
            push: self.push_is_live,
            unread: self.unread.count(),
        })
    }

    /// The result is there. It is given at once if nothing can be unread; otherwise that is looked up
    /// first.
    fn finish(&mut self, mut job: Job, ready: Ready, now: Instant) {
        let is_nothing = self.push_is_live && self.unread.is_empty();
        if is_nothing || job.tool().is_none() || !self.presence.is_present() {
            return self.answer(&job, ready);
        }
        job.stage = Stage::Noticing(ready);
        job.deadline = now + NOTICE_TIME_MAX;
        self.jobs.push(job);
        if !std::mem::replace(&mut self.reading.is_glancing, true) {
            let limit = u32::try_from(NOTICE_MESSAGES_MAX).ok();
            let fetch = Fetch { limit, peek: true, ..Fetch::default() };
            self.ask(Purpose::Glance, Request::Fetch(fetch));
        }
        let is_sure = self.push_is_live && !self.unread.is_doubtful();
        if !self.jobs.is_fetching() && self.quotes.ask(is_sure, now) {
            let limit = u32::try_from(NOTICE_MESSAGES_MAX).ok();
            let claim = Claim { limit, ..Claim::new(Way::ToolResult) };
            self.ask(Purpose::Quote, Request::Claim(claim));
        }
    }

    /// The claim for messages to be quoted has a result.
    pub(super) fn handle_quoted(&mut self, result: Result<Vec<u8>, ClientError>, now: Instant) {
        let claimed = self.read_claimed(result, now);
        let left = self.quotes.answered(claimed, is_handed_over(&self.jobs, &self.reading), now);
        self.waking.errands.extend(left);
        self.tell_noticed();
    }

    /// What is unread was looked up, perhaps in vain; the jobs that waited for it are answered.
    pub(super) fn handle_glance(&mut self, result: Result<Vec<u8>, ClientError>, now: Instant) {
        self.reading.is_glancing = false;
        match result.and_then(|body| read_reply::<Messages>(&body)) {
            Ok(mut seen) => {
                seen.messages.retain(|message| !self.reading.has(message.id));
                // Those that the agent has already are unread until they are marked.
                self.unread.seen(&seen.messages, seen.messages.len() as u64 + seen.remaining);
                if seen.remaining == 0 {
                    self.waking.only_unread(&seen.messages);
                }
                if !seen.messages.is_empty() {
                    self.jobs.wake_watchers(now);
                }
            }
            Err(error) => {
                log::debug(format_args!("cannot look at the inbox: {error}"));
                self.handle_unknown(&error, now);
            }
        }
        self.tell_noticed();
    }

    /// Answers the jobs that wait to know what is unread, once that is known.
    fn tell_noticed(&mut self) {
        if self.reading.is_glancing || self.quotes.is_asked() {
            return;
        }
        for id in self.jobs.ids(|job| matches!(job.stage, Stage::Noticing(_))) {
            self.tell_noticing(id);
        }
        // No result was left to quote them on.
        if let Some(quoted) = self.quotes.take() {
            self.waking.errands.add(quoted.left());
        }
    }

    fn tell_noticing(&mut self, id: JobId) {
        if let Some(mut job) = self.jobs.remove(id)
            && let Stage::Noticing(ready) = std::mem::replace(&mut job.stage, Stage::Waiting)
        {
            self.answer(&job, ready);
        }
    }

    /// Jobs that wait for this session to be in the mesh fail with `error`.
    pub(super) fn fail_waiting(&mut self, error: &ClientError, now: Instant) {
        for id in self.jobs.waiting() {
            if let Some(job) = self.jobs.remove(id) {
                self.fail(job, error, now);
            }
        }
    }

    /// Ends the jobs whose time is over.
    pub(super) fn expire_jobs(&mut self, now: Instant) {
        for id in self.jobs.due(now) {
            let Some(job) = self.jobs.get_mut(id) else { continue };
            match job.stage {
                Stage::Watching { until, .. } if now < until => {
                    job.stage = Stage::Waiting;
                    job.deadline = now + crate::limits::CALL_TIME_MAX;
                }
                Stage::Watching { .. } => self.answer_watcher(id),
                Stage::Noticing(_) => self.tell_noticing(id),
                Stage::Waiting | Stage::Sent => {
                    let error = job.timed_out();
                    self.reading.leave_turn(id);
                    self.commands.push_back(Command::Forget(Purpose::Job(id)));
                    if let Some(job) = self.jobs.remove(id) {
                        self.note_outcome(&job, &error, now);
                        self.fail(job, &error, now);
                    }
                }
            }
        }
    }

    pub(super) fn fail(&mut self, job: Job, error: &ClientError, now: Instant) {
        let text = answers::failure(error, job.tool());
        match &job.work {
            Work::Tool(..) => self.finish(job, Ready::Text { text, is_error: true }, now),
            Work::Read(..) => {
                let error = RpcError::new(INTERNAL_ERROR, error.to_string());
                self.out.fail(&job.asked.to, &error);
            }
        }
    }

    fn answer(&mut self, job: &Job, ready: Ready) {
        let (text, is_error) = match ready {
            Ready::Text { text, is_error } => (text, is_error),
            Ready::Status(body) => match self.you().and_then(|you| answers::status(&body, &you)) {
                Some(text) => (text, false),
                None => (answers::failure(&no_json(), job.tool()), true),
            },
        };
        match &job.work {
            Work::Tool(tool, _) => {
                let quoted = if *tool == Tool::Inbox { None } else { self.quotes.take() };
                let carried =
                    Carried { quoted: quoted.into_iter().collect(), ..Carried::default() };
                self.answer_tool(&job.asked, *tool, text, is_error, carried);
            }
            Work::Read(_, uri) => {
                job.asked.answer(Body::Resource { uri, text: &text }, Vec::new(), &mut self.out);
            }
        }
    }

    /// Gives the result of a tool, with the messages that are `carried` and other notices behind it;
    /// returns whether it was queued.
    pub(super) fn answer_tool(
        &mut self,
        asked: &ReturnAddress,
        tool: Tool,
        text: String,
        is_error: bool,
        carried: impl Into<Carried>,
    ) -> bool {
        let carried: Carried = carried.into();
        let mut texts = vec![text];
        let mut notices: Vec<String> =
            carried.quoted.iter().map(|quoted| quoted.text.clone()).collect();
        if tool != Tool::Inbox {
            if notices.is_empty() {
                notices.extend(self.unread.notice(self.waking.queued_whole()));
            }
            notices.extend(self.reading.notice());
        }
        notices.extend(self.news.line());
        if !notices.is_empty() {
            texts.push(notices.join("\n"));
        }
        let body = Body::Tool { texts: &texts, is_error };
        let left: Vec<Request> = carried.quoted.iter().map(Quoted::left).collect();
        let is_out = asked.answer(body, carried, &mut self.out);
        if is_out {
            self.news.told_all();
        } else {
            self.waking.errands.extend(left);
        }
        is_out
    }
}

/// Whether a message need not be told: the agent has it, or is about to get it. A fetch that is under way
/// hands over whatever there is.
pub(super) fn is_handed_over(jobs: &Jobs, reading: &Reading) -> impl Fn(MessageId) -> bool {
    let is_fetching = jobs.is_fetching();
    move |id| is_fetching || reading.has(id)
}

/// The error for a body that is not what the broker answers.
fn no_json() -> ClientError {
    ClientError::Protocol { reason: "it is not the JSON that was expected".into() }
}

#[cfg(test)]
#[path = "tests/flow.rs"]
mod tests;
