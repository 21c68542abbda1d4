//! How the server wakes its agent: what comes from the mesh is a sign for
//! [`Waking`](super::plan::Waking), what it decides becomes requests and commands, and what came of
//! them is told to the broker.

use std::time::Instant;

use serde_json::{Value, json};

use super::plan::{Sign, Telling, plain_id};
use super::{WayReport, channel};
use crate::agent::codex;
use crate::api::{Claim, Claimed, Code, Place, Register, Request, SendMessage};
use crate::client::ClientError;
use crate::client::new_id;
use crate::limits::{PAYLOAD_BYTES_MAX, WAKE_CLAIM_MAX};
use crate::log;
use crate::mcp::outbox::Carried;
use crate::mcp::server::{Command, LOOK_EVERY, Purpose, Server, is_unknown};
use crate::model::{MessageId, MessageKind, MessageRef, Way};

impl Server {
    /// There may be something to tell the agent.
    pub(in crate::mcp) fn sign(&mut self, sign: Sign) {
        self.waking.sign(sign);
        self.quotes.sign();
    }

    /// A message has come that was not there before.
    pub(in crate::mcp) fn message_signed(&mut self, is_direct: bool, now: Instant) {
        if is_direct {
            self.waking.try_again(now);
        }
        self.ask_for_thread(now);
        self.sign(Sign::Message);
    }

    /// There is an event that the agent has subscribed to; gives whether it will be told of it.
    pub(in crate::mcp) fn wake_for_event(&mut self, payload: &Value) -> bool {
        self.waking.add_event(payload)
    }

    /// The client has said which thread of Codex it is.
    pub(in crate::mcp) fn identify(&mut self, thread: Box<str>) {
        self.waking.identify(thread);
        self.prepare_queue();
        // It may have been opened again.
        self.look_for_terminal();
    }

    /// The broker has been told by a hook which session this is: of Codex, the thread, before its first
    /// call, or after it has begun another. What the agent has said itself and the broker does not know
    /// yet is newer.
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

    /// Something is to be told to a Codex whose thread is not known here, but perhaps to the broker.
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

    /// Puts into `register` how the agent can be told, as it is known now.
    pub(in crate::mcp) fn introduce(&mut self, register: &mut Register) {
        let (reach, _) = self.waking.introduce();
        register.reach = Some(reach.into());
    }

    /// Claims what is to be told, and tells the broker what came of it. As long as the agent waits for
    /// a result nothing is claimed: it gets messages with that, if not as that.
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

    /// Messages were handed out to be told, or were not.
    pub(in crate::mcp) fn handle_claimed(
        &mut self,
        result: Result<Vec<u8>, ClientError>,
        now: Instant,
    ) {
        let claimed = self.read_claimed(result, now);
        // What is being fetched at this moment is handed over by that.
        let is_fetching = self.jobs.is_fetching();
        let reading = &self.reading;
        let has = |id| is_fetching || reading.has(id);
        let Some(Telling { by, notice }) = self.waking.claimed(claimed, has, now) else { return };
        if by != Way::Channel {
            self.commands.push_back(Command::Tell(by, notice));
        } else if !self.out.is_congested() {
            // A client that does not read misses it; the messages stay unread.
            self.out.notify(channel::METHOD, &channel::params(&notice.text));
        }
    }

    /// What a claim was answered with.
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

    /// What has come of a way. To be followed by [`Server::proceed`].
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

    /// The agent answers by its own messaging: it goes to whoever wrote to it. That proves that it was
    /// told.
    fn pass_answer(&mut self, by: Way, text: &str) {
        let Some((id, to)) = self.waking.answered(by, text) else {
            let bytes = text.len();
            log::warn(format_args!("the agent answers what it was not told: {bytes} bytes"));
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

    /// Such an answer has not gone anywhere, though the agent's own program told it so.
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

    /// The agent has taken answers with these messages.
    pub(in crate::mcp) fn handle_carried(&mut self, carried: Carried, now: Instant) {
        for quoted in carried.quoted {
            self.waking.errands.extend(quoted.taken());
        }
        self.handed_over(&carried.whole, now);
    }

    /// What came of an errand.
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
        // Of an answer that is nobody's, the one who is not known is its addressee.
        let is_ours = !matches!(errands.first(), Some(Request::Send(_)))
            || error.code() == Some(Code::Unauthorized);
        let is_unknown = is_ours && is_unknown(&error);
        let again = match &error {
            ClientError::Refused(refused) => {
                refused.retry_after.or_else(|| is_unknown.then_some(LOOK_EVERY))
            }
            _ => Some(LOOK_EVERY),
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

    /// Tells the broker now whatever it is still to be told; it is the last time.
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
