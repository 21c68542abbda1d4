//! The connection between the server and [`Waking`](super::plan::Waking): what comes from the mesh
//! becomes a sign, what `Waking` decides becomes requests and commands, and their results are reported to
//! the broker.

use std::time::Instant;

use serde_json::json;

use super::plan::{Sign, Telling, plain_id};
use super::{WayReport, channel};
use crate::agent::codex;
use crate::api::{Claim, Claimed, Code, Place, Register, Request, SendMessage};
use crate::client::ClientError;
use crate::client::new_id;
use crate::limits::{PAYLOAD_BYTES_MAX, WAKE_CLAIM_MAX};
use crate::log;
use crate::mcp::flow::is_handed_over;
use crate::mcp::server::{Command, Purpose, RETRY_EVERY, Server, is_unknown};
use crate::model::{MessageId, MessageKind, MessageRef, Way};

impl Server {
    /// There may be something to tell the agent.
    pub(in crate::mcp) fn sign(&mut self, sign: Sign) {
        self.waking.sign(sign);
        self.quotes.sign();
    }

    /// A message has come that was not known.
    pub(in crate::mcp) fn message_signed(&mut self, is_direct: bool, now: Instant) {
        if is_direct {
            self.waking.try_again(now);
        }
        self.ask_for_thread(now);
        self.sign(Sign::Message);
    }

    /// The client has named the thread of Codex.
    pub(in crate::mcp) fn identify(&mut self, thread: Box<str>) {
        self.waking.identify(thread);
        self.prepare_queue();
        // The terminal may have been opened again.
        self.look_for_terminal();
    }

    /// A hook has told the broker which session this is. That of Codex is its thread, which is thus known
    /// before its first call, and when it has begun another one.
    pub(in crate::mcp) fn learn_session(&mut self, session: &str) {
        if self.waking.is_codex()
            && self.presence.is_present()
            && self.waking.session_id().as_deref() != Some(session)
            && let Some(thread) = plain_id(session)
        {
            self.identify(thread);
            self.sign(Sign::Wake);
        }
    }

    /// There is something to tell, and the thread of Codex is not known: the broker may know it by now.
    pub(in crate::mcp) fn ask_for_thread(&mut self, now: Instant) {
        if self.waking.is_codex() && self.waking.session_id().is_none() {
            self.presence.beat_soon(now);
        }
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

    /// Puts the current reach of the agent into `register`.
    pub(in crate::mcp) fn introduce(&mut self, register: &mut Register) {
        let (reach, _) = self.waking.introduce();
        register.reach = Some(reach.into());
    }

    /// Claims what is to be told, and reports to the broker. Nothing is claimed while the agent waits for a
    /// result, as it gets messages in that or with it.
    pub(in crate::mcp) fn wake(&mut self, now: Instant) {
        if self.waking.is_about_to_queue(now) {
            self.look_for_terminal();
        }
        let is_there = self.presence.is_present() || self.presence.is_registering();
        if is_there && self.waking.has_changed() {
            self.presence.introduce_again(now);
        }
        self.waking.renew(now);
        if self.presence.is_present() {
            if !self.jobs.is_asking()
                && let Some(way) = self.waking.poll(now)
            {
                let claim = Claim { limit: Some(WAKE_CLAIM_MAX), ..Claim::new(way) };
                self.ask(Purpose::Claim, Request::Claim(claim));
            }
            if let Some(errand) = self.waking.errands.take(now) {
                self.ask(Purpose::Errand, errand);
            }
        }
        for (seq, kind) in self.waking.take_untold() {
            self.news.add(seq, &kind);
        }
    }

    /// A claim of messages to be told has a result.
    pub(in crate::mcp) fn handle_claimed(
        &mut self,
        result: Result<Vec<u8>, ClientError>,
        now: Instant,
    ) {
        let claimed = self.read_claimed(result, now);
        let has = is_handed_over(&self.jobs, &self.reading);
        let Some(Telling { by, notice }) = self.waking.claimed(claimed, has, now) else { return };
        if by != Way::Channel {
            self.commands.push_back(Command::Tell(by, notice));
        } else if !self.out.is_congested() {
            // A client that does not read misses it; the messages stay unread.
            self.out.notify(channel::METHOD, &channel::params(&notice.text));
        }
    }

    /// The answer to a claim; none if it has failed.
    pub(in crate::mcp) fn read_claimed(
        &mut self,
        result: Result<Vec<u8>, ClientError>,
        now: Instant,
    ) -> Option<Claimed> {
        match result {
            Ok(body) => serde_json::from_slice(&body).ok(),
            Err(error) => {
                log::debug(format_args!("messages could not be claimed: {error}"));
                self.handle_unknown(&error, now);
                None
            }
        }
    }

    /// When [`Server::wake`] has something to do.
    pub(in crate::mcp) fn waking_deadline(&self) -> Option<Instant> {
        if !self.presence.is_present() {
            return None;
        }
        let claim = self.waking.deadline(self.jobs.is_asking());
        [claim, self.waking.errands.deadline()].into_iter().flatten().min()
    }

    /// Takes the report of a way. [`Server::proceed`] has to follow.
    pub(in crate::mcp) fn handle_report(&mut self, by: Way, outcome: WayReport, now: Instant) {
        match &outcome {
            WayReport::Answer(text) => self.pass_answer(by, text),
            WayReport::LongAnswer => {
                if let Some((id, _)) = self.waking.answered(by, "") {
                    let why = format!("a message has at most {PAYLOAD_BYTES_MAX} bytes");
                    self.is_unsent(id, &why);
                }
            }
            _ => {}
        }
        self.waking.handle(by, outcome, now);
    }

    /// The agent has answered with its own means of messaging: the answer goes to whoever wrote to it.
    /// It also proves that the agent was told.
    fn pass_answer(&mut self, by: Way, text: &str) {
        let Some((id, to)) = self.waking.answered(by, text) else {
            let bytes = text.len();
            log::warn(format_args!(
                "the agent has answered a message that it was not told: {bytes} bytes"
            ));
            return;
        };
        let to_peer = to.to_string().into();
        let proof = Request::MarkNotified { peer_id: None, ids: vec![id], way: by, claim_id: None };
        self.waking.errands.add(proof);
        if text.len() > PAYLOAD_BYTES_MAX {
            let why = format!("it has {} bytes, a message at most {PAYLOAD_BYTES_MAX}", text.len());
            return self.is_unsent(id, &why);
        }
        let send = SendMessage {
            from_peer: None,
            to_peer,
            payload: text.into(),
            kind: MessageKind::Text,
            reply_to: Some(id.into()),
            id: new_id(),
            place: Place::default(),
        };
        self.reading.answered(&send);
        self.waking.answered_to(send.reply_to);
        self.waking.errands.add(Request::Send(send));
    }

    /// Tells the agent that such an answer was not sent, though its own program has said that it was.
    fn is_unsent(&mut self, id: MessageId, why: &str) {
        let answer_to = id.handle();
        log::warn(format_args!("the agent's answer to message {answer_to} was refused: {why}"));
        self.waking.add_event(&json!({
            "eventType": "your_answer_was_not_sent",
            "answerTo": answer_to.to_string(),
            "reason": why,
            "instead": "mesh_send",
        }));
    }

    /// An errand has a result.
    pub(in crate::mcp) fn handle_errand(
        &mut self,
        result: Result<Vec<u8>, ClientError>,
        now: Instant,
    ) {
        let errands = &mut self.waking.errands;
        let Err(error) = result else {
            if let Some(Request::Send(send)) = errands.done() {
                log::info(format_args!("an answer of the agent has gone to {}", send.to_peer));
            }
            return;
        };
        // When an answer is sent, it may be its addressee who is not known.
        let is_ours = !matches!(errands.first(), Some(Request::Send(_)))
            || error.code() == Some(Code::Unauthorized);
        let is_unknown = is_ours && is_unknown(&error);
        let again = match &error {
            ClientError::Refused(refused) => {
                refused.retry_after.or_else(|| is_unknown.then_some(RETRY_EVERY))
            }
            _ => Some(RETRY_EVERY),
        };
        if let Some(pause) = again {
            log::debug(format_args!("the broker could not be told: {error}"));
            errands.lost(now + pause);
        } else if let Some(Request::Send(send)) = errands.done() {
            if let Some(MessageRef::Id(id)) = send.reply_to {
                self.is_unsent(id, &error.to_string());
            }
        } else {
            // A claim that has run out, for example.
            log::debug(format_args!("the broker will not be told: {error}"));
        }
        if is_unknown {
            self.presence.handle_unknown(now);
        }
    }

    /// Asks the broker now for all that is left: there is no later time.
    pub(in crate::mcp) fn last_errands(&mut self) {
        if self.presence.is_present() {
            for errand in self.waking.take_last_errands() {
                self.ask(Purpose::Errand, errand);
            }
        }
    }
}

#[cfg(test)]
#[path = "../tests/waking.rs"]
mod tests;
