//! How the server wakes its agent: what comes from the mesh goes to [`Waking`](super::plan::Waking),
//! what it decides becomes commands, and what came of them is recorded with the broker.

use std::time::Instant;

use serde_json::Value;

use super::plan::Telling;
use super::{Outcome, channel};
use crate::agent::codex;
use crate::api::{Fetch, Messages, PushedMessage, Register, Request};
use crate::client::ClientError;
use crate::limits::INBOX_LIMIT_MAX;
use crate::log;
use crate::mcp::outbox::Carried;
use crate::mcp::server::{Command, LOOK_EVERY, Purpose, Server, is_unknown};
use crate::model::{MessageId, Way};

impl Server {
    /// A message is there that was not before.
    pub(in crate::mcp) fn wake_for_message(&mut self, message: &PushedMessage, now: Instant) {
        self.waking.add_message(message, now);
    }

    /// There is an event that the agent has subscribed to; gives whether it will be told of it.
    pub(in crate::mcp) fn wake_for_event(&mut self, payload: &Value, now: Instant) -> bool {
        self.waking.add_event(payload, now)
    }

    /// The client has said which thread of Codex it is.
    pub(in crate::mcp) fn identify(&mut self, thread: Box<str>) {
        self.waking.identify(thread);
        self.prepare_queue();
        // It may have been opened again.
        self.look_for_terminal();
    }

    /// It is known which agent this is.
    pub(in crate::mcp) fn meet_agent(&mut self) {
        self.waking.meet(&self.agent_type, self.session.has_channel());
        self.prepare_queue();
    }

    /// Looks whether the terminal of a Codex session is still there.
    pub(in crate::mcp) fn look_for_terminal(&mut self) {
        if self.waking.has_queue() {
            self.waking.watch(codex::is_watched(&self.project.path));
        }
    }

    fn prepare_queue(&mut self) {
        if let Some(thread) = self.waking.take_thread() {
            self.commands.push_back(Command::PrepareQueue(thread));
        }
    }

    /// Puts into `register` how the agent can be told, as it is known now.
    pub(in crate::mcp) fn introduce(&mut self, register: &mut Register) {
        let (reach, _) = self.waking.introduce();
        register.reach = Some(reach.into());
    }

    /// Tells what is to be told, and says so to the broker. While messages are being fetched nothing
    /// is told: they may be among them.
    pub(in crate::mcp) fn wake(&mut self, now: Instant) {
        if self.waking.is_about_to_queue(now) {
            self.look_for_terminal();
        }
        let is_there = self.presence.is_present() || self.presence.is_registering();
        if is_there && self.waking.has_changed() {
            self.presence.introduce_again(now);
        }
        if !self.jobs.is_fetching() {
            // Without a broker it is told as it is.
            if self.presence.is_present() && self.waking.wants_check(now) {
                let limit = Some(INBOX_LIMIT_MAX);
                let fetch = Fetch { limit, peek: true, ..Fetch::default() };
                self.ask(Purpose::CheckUnread, Request::Fetch(fetch));
            }
            while let Some(Telling { by, notice }) = self.waking.poll(now) {
                if by == Way::Channel {
                    // A client that does not read misses it; the messages stay unread.
                    if !self.out.is_congested() {
                        self.out.notify(channel::METHOD, &channel::Params(&notice));
                    }
                } else {
                    self.commands.push_back(Command::Tell(by, notice));
                }
            }
        }
        for (seq, kind) in self.waking.take_untold() {
            self.news.add(seq, &kind);
        }
        self.record(false, now);
    }

    /// It was looked up what is unread.
    pub(in crate::mcp) fn handle_checked(
        &mut self,
        result: &Result<Vec<u8>, ClientError>,
        now: Instant,
    ) {
        let messages = match result {
            Ok(body) => serde_json::from_slice::<Messages>(body).ok(),
            Err(error) => {
                if is_unknown(error) {
                    self.presence.handle_unknown(now);
                }
                None
            }
        };
        let is_all = messages.as_ref().is_some_and(|messages| messages.remaining == 0);
        let ids: Option<Vec<MessageId>> =
            messages.map(|list| list.messages.iter().map(|message| message.id).collect());
        self.waking.checked(ids.as_deref(), is_all);
    }

    /// When [`Server::wake`] has something to do.
    pub(in crate::mcp) fn waking_deadline(&self) -> Option<Instant> {
        let telling = if self.jobs.is_fetching() { None } else { self.waking.deadline() };
        let records = &self.waking.records;
        let recording =
            if self.presence.is_present() { records.deadline(self.jobs.is_asking()) } else { None };
        [telling, recording].into_iter().flatten().min()
    }

    /// What has come of a way. To be followed by [`Server::proceed`].
    pub(in crate::mcp) fn handle_outcome(&mut self, by: Way, outcome: Outcome, now: Instant) {
        self.waking.handle(by, outcome, now);
    }

    /// The agent has taken answers with these messages.
    pub(in crate::mcp) fn handle_carried(&mut self, carried: &Carried, now: Instant) {
        self.waking.records.add(&carried.noticed, Way::ToolResult, now);
        self.handed_over(&carried.whole, now);
    }

    /// Records with the broker of what the agent was notified. `is_last`: not later.
    pub(in crate::mcp) fn record(&mut self, is_last: bool, now: Instant) {
        if self.presence.is_present()
            && let Some((way, ids)) = self.waking.records.take(self.jobs.is_asking(), is_last, now)
        {
            let request = Request::MarkNotified { peer_id: None, ids, way, claim_id: None };
            self.ask(Purpose::MarkNotified, request);
        }
    }

    /// What came of that.
    pub(in crate::mcp) fn handle_recorded(
        &mut self,
        result: Result<Vec<u8>, ClientError>,
        now: Instant,
    ) {
        let records = &mut self.waking.records;
        match result {
            Ok(_) => records.told(now),
            Err(error) => {
                log::debug(format_args!("a notification could not be recorded: {error}"));
                let again = match &error {
                    ClientError::Refused(refused) => refused.retry_after,
                    _ => Some(LOOK_EVERY),
                };
                match again {
                    Some(pause) => records.not_told(now + pause),
                    None if is_unknown(&error) => {
                        records.not_told(now + LOOK_EVERY);
                        self.presence.handle_unknown(now);
                    }
                    // It will be refused the next time, too: by a broker of an older version.
                    None => records.told(now),
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "../tests/waking.rs"]
mod tests;
