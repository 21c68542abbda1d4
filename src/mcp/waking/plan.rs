//! What the agent is told, when, and by which way. Decides only; no I/O, no clock.
//!
//! A message to this agent alone and an alert are told at once; broadcasts and events are put
//! together. What the agent gets by itself meanwhile is not told any more.

use std::collections::VecDeque;
use std::time::Instant;

use serde_json::Value;

use super::records::Records;
use super::text::{Item, author, compose};
use super::{Notice, Outcome};
use crate::api::PushedMessage;
use crate::limits::{TAG_CHARS_MAX, WAKE_CERTAIN, WAKE_DIGEST_EVERY, WAKE_ITEMS_MAX};
use crate::log;
use crate::model::{MessageId, MessageKind, Seq, Way};

/// Agent types, as [`crate::agent`] tells them.
const CLAUDE_CODE: &str = "claude-code";
const CODEX: &str = "codex";

/// What `reach` of a peer says whose agent is woken.
const WAKES: &str = "wakes";
/// The same of one that is told with its next tool call.
const NEXT_CALL: &str = "next-call";

/// Agents with ways of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Agent {
    #[default]
    Other,
    ClaudeCode,
    Codex,
}

/// How a way stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The agent has not offered it.
    #[default]
    Absent,
    /// It can take a notice.
    Free,
    /// It is at one.
    Busy,
    /// It has failed.
    Off,
}

impl State {
    fn is_on(self) -> bool {
        matches!(self, Self::Free | Self::Busy)
    }
}

/// Whether what has waited is known to be unread still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Check {
    #[default]
    None,
    /// It was asked for then, and has no answer.
    Asked(Instant),
    /// It is.
    Done,
}

/// A notice that is being told.
#[derive(Debug)]
struct Flight {
    id: u64,
    by: Way,
    items: Vec<Item>,
}

/// What is to be told now.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::mcp) struct Telling {
    /// How.
    pub(in crate::mcp) by: Way,
    /// What.
    pub(in crate::mcp) notice: Notice,
}

/// The thread of Codex that a call comes from, by the `_meta` of its `tools/call`. An id that could be
/// taken for an option of a command line, or is no id, is none.
///
/// What is called `sessionId` there is the same for a thread and for those of its subagents, which
/// have servers of their own.
pub(in crate::mcp) fn codex_thread(meta: &Value) -> Option<Box<str>> {
    let id = meta.get("threadId")?.as_str()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    let good = (1..=TAG_CHARS_MAX).contains(&id.len())
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(is_plain);
    good.then(|| id.into())
}

/// See the module.
#[derive(Debug, Default)]
pub(in crate::mcp) struct Waking {
    agent: Agent,
    /// The agent that has offered an inbox socket.
    inbox_socket_of: Option<&'static str>,
    /// It is this one, and not one that has started it.
    is_inbox_socket_ours: bool,
    inbox_socket: State,
    codex_queue: State,
    /// The client was told of the channel.
    has_channel: bool,
    /// The thread of Codex that a text can be queued for. Its hooks name their session by it.
    thread: Option<Box<str>>,
    /// The thread that the queue was prepared for.
    queue_thread: Option<Box<str>>,
    /// Its terminal is closed: what is queued would be answered with nobody watching.
    is_unwatched: bool,
    /// Messages to be told at once.
    urgent: VecDeque<Item>,
    /// Broadcasts and events.
    digest: VecDeque<Item>,
    /// Not before then.
    digest_at: Option<Instant>,
    check: Check,
    in_flight: VecDeque<Flight>,
    /// Events that the agent has to be told of otherwise.
    untold: Vec<(Seq, Box<str>)>,
    count: u64,
    /// `reach` and `sessionId` as the broker was told them.
    introduced: (Option<&'static str>, Option<Box<str>>),
    pub(super) records: Records,
}

impl Waking {
    pub(in crate::mcp) fn new(inbox_socket_of: Option<&'static str>) -> Self {
        let inbox_socket = if inbox_socket_of.is_some() { State::Free } else { State::Absent };
        Self { inbox_socket_of, inbox_socket, ..Self::default() }
    }

    /// It is known which agent this is, and whether it knows of the channel. An agent that another
    /// has started inherits its variables, so a socket alone says nothing.
    pub(super) fn meet(&mut self, agent_type: &str, has_channel: bool) {
        self.agent = match agent_type {
            CLAUDE_CODE => Agent::ClaudeCode,
            CODEX => Agent::Codex,
            _ => Agent::Other,
        };
        self.is_inbox_socket_ours = self.inbox_socket_of == Some(agent_type);
        self.has_channel = has_channel;
    }

    /// Somebody else than before: nothing of what was there is to be told to it.
    pub(in crate::mcp) fn reset(&mut self) {
        self.urgent.clear();
        self.digest.clear();
        self.in_flight.clear();
        self.untold.clear();
        self.check = Check::None;
        self.records = Records::default();
    }

    /// The client has said who it is.
    pub(super) fn identify(&mut self, thread: Box<str>) {
        self.thread = Some(thread);
    }

    /// The thread that the queue is to be prepared for, if that is another one than before. One that
    /// has failed for another thread may work for this.
    pub(super) fn take_thread(&mut self) -> Option<Box<str>> {
        let thread = self.thread.clone().filter(|_| self.agent == Agent::Codex)?;
        if self.queue_thread.as_ref() == Some(&thread) {
            return None;
        }
        self.queue_thread = Some(thread.clone());
        if self.codex_queue != State::Busy {
            self.codex_queue = State::Free;
        }
        Some(thread)
    }

    /// Whether something is about to be queued for a thread: whether its terminal is there is looked at
    /// before.
    pub(super) fn is_about_to_queue(&mut self, now: Instant) -> bool {
        matches!(self.way(), Some((Way::Queue, State::Free))) && self.next(now).is_some()
    }

    /// Whether the agent has a queue, so that it counts whether its terminal is there.
    pub(super) fn has_queue(&self) -> bool {
        self.agent == Agent::Codex && self.codex_queue.is_on()
    }

    /// Whether the terminal of the session is there.
    pub(super) fn watch(&mut self, is_watched: bool) {
        self.is_unwatched = !is_watched;
    }

    /// The session of the agent, if it has told it itself.
    pub(in crate::mcp) fn session_id(&self) -> Option<Box<str>> {
        self.thread.clone().filter(|_| self.agent == Agent::Codex)
    }

    /// Whether this agent has offered an inbox socket.
    pub(in crate::mcp) fn has_inbox_socket(&self) -> bool {
        self.is_inbox_socket_ours
    }

    /// How the agent can be told, in the words of `reach`.
    pub(super) fn reach(&self) -> &'static str {
        let wakes = matches!(self.way(), Some((Way::InboxSocket | Way::Queue, _)));
        if wakes { WAKES } else { NEXT_CALL }
    }

    /// This is told to the broker now.
    pub(super) fn introduce(&mut self) -> (&'static str, Option<Box<str>>) {
        let (reach, session) = (self.reach(), self.session_id());
        self.introduced = (Some(reach), session.clone());
        (reach, session)
    }

    /// Whether the broker knows otherwise.
    pub(super) fn has_changed(&self) -> bool {
        self.introduced != (Some(self.reach()), self.session_id())
    }

    /// The way to be gone now, and how it stands.
    fn way(&self) -> Option<(Way, State)> {
        match self.agent {
            _ if self.is_inbox_socket_ours && self.inbox_socket.is_on() => {
                Some((Way::InboxSocket, self.inbox_socket))
            }
            Agent::ClaudeCode if self.has_channel => Some((Way::Channel, State::Free)),
            Agent::Codex if self.codex_queue.is_on() && !self.is_unwatched => {
                Some((Way::Queue, self.codex_queue))
            }
            _ => None,
        }
    }

    fn has_room(&self) -> bool {
        let in_flight: usize = self.in_flight.iter().map(|flight| flight.items.len()).sum();
        self.urgent.len() + self.digest.len() + in_flight < WAKE_ITEMS_MAX
    }

    /// A message has come that was not there before.
    pub(super) fn add_message(&mut self, message: &PushedMessage, now: Instant) {
        if self.way().is_some() && self.has_room() {
            let at_once = !message.broadcast || message.message_type == MessageKind::Alert;
            let queue = if at_once { &mut self.urgent } else { &mut self.digest };
            queue.push_back(Item::message(message, now));
        }
    }

    /// Something has happened that the agent has subscribed to. Gives whether it will be told of it in
    /// a way of which it is heard whether it works; if it has not, [`Waking::take_untold`] has it.
    pub(super) fn add_event(&mut self, payload: &Value, now: Instant) -> bool {
        let Some((way, _)) = self.way().filter(|_| self.has_room()) else { return false };
        let is_certain = way != Way::Channel;
        let mut item = Item::event(payload, now);
        item.event = item.event.filter(|_| is_certain);
        self.digest.push_back(item);
        is_certain
    }

    /// Events that could not be told after all.
    pub(super) fn take_untold(&mut self) -> Vec<(Seq, Box<str>)> {
        std::mem::take(&mut self.untold)
    }

    /// The agent has these, or is about to.
    pub(in crate::mcp) fn forget(&mut self, messages: &[MessageId]) {
        let is_wanted = |item: &Item| item.id.is_none_or(|id| !messages.contains(&id));
        self.urgent.retain(is_wanted);
        self.digest.retain(is_wanted);
        for flight in &mut self.in_flight {
            flight.items.retain(is_wanted);
        }
    }

    /// What is to be told next.
    fn next(&mut self, now: Instant) -> Option<&mut VecDeque<Item>> {
        if !self.urgent.is_empty() {
            return Some(&mut self.urgent);
        }
        let is_due = self.digest_at.is_none_or(|at| at <= now);
        (is_due && !self.digest.is_empty()).then_some(&mut self.digest)
    }

    /// Whether it has to be looked up first what is unread, with [`Waking::checked`] for the answer;
    /// told once. Somebody else than this process may have given the agent what has waited here.
    pub(super) fn wants_check(&mut self, now: Instant) -> bool {
        let is_free = matches!(self.way(), Some((_, State::Free)));
        let is_old = |item: &Item| {
            item.id.is_some() && now.saturating_duration_since(item.since) >= WAKE_CERTAIN
        };
        let wants = is_free
            && self.check == Check::None
            && self.next(now).is_some_and(|items| items.iter().any(is_old));
        if wants {
            self.check = Check::Asked(now);
        }
        wants
    }

    /// These are unread, oldest first, and no others if that `is_all`. None if it is not known.
    pub(super) fn checked(&mut self, unread: Option<&[MessageId]>, is_all: bool) {
        let Check::Asked(at) = self.check else { return };
        self.check = Check::Done;
        let Some(unread) = unread else { return };
        let last = unread.last().map(|id| id.seq()).filter(|_| !is_all);
        let is_unread = |item: &Item| {
            let Some(id) = item.id else { return true };
            let is_beyond = last.is_some_and(|last| id.seq() > last);
            item.since > at || is_beyond || unread.contains(&id)
        };
        self.urgent.retain(is_unread);
        self.digest.retain(is_unread);
    }

    /// What is to be told now.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Telling> {
        let Some((by, state)) = self.way() else {
            // The notice on tool results tells it.
            let items = self.urgent.drain(..).chain(self.digest.drain(..));
            self.untold.extend(items.filter_map(|item| item.event));
            return None;
        };
        if state == State::Busy || matches!(self.check, Check::Asked(_)) {
            return None;
        }
        self.check = Check::None;
        let is_digest = self.urgent.is_empty();
        let mut items: Vec<Item> = self.next(now)?.drain(..).collect();
        if is_digest {
            self.digest_at = Some(now + WAKE_DIGEST_EVERY);
        }
        let (text, told) = compose(&items);
        items.truncate(told);
        let from = author(&items);
        self.count += 1;
        let id = self.count;
        match by {
            Way::InboxSocket => self.inbox_socket = State::Busy,
            Way::Queue => self.codex_queue = State::Busy,
            // Nothing will be heard of it.
            _ => self.untold.extend(items.drain(..).filter_map(|item| item.event)),
        }
        if !items.is_empty() {
            self.in_flight.push_back(Flight { id, by, items });
        }
        Some(Telling { by, notice: Notice { id, from, text } })
    }

    /// When [`Waking::poll`] is to be asked again, if nothing happens before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let (_, state) = self.way()?;
        let is_free = state == State::Free && self.check == Check::None;
        self.digest_at.filter(|_| is_free && !self.digest.is_empty())
    }

    /// What has come of a way.
    pub(super) fn handle(&mut self, by: Way, outcome: Outcome, now: Instant) {
        let state = match by {
            Way::InboxSocket => &mut self.inbox_socket,
            Way::Queue => &mut self.codex_queue,
            _ => return,
        };
        match outcome {
            Outcome::Free => *state = State::Free,
            Outcome::Sent(id) => {
                if let Some(at) = self.in_flight.iter().position(|flight| flight.id == id)
                    && let Some(flight) = self.in_flight.remove(at)
                {
                    let ids: Vec<_> = flight.items.iter().filter_map(|item| item.id).collect();
                    self.records.add(&ids, by, now);
                }
            }
            Outcome::Status(..) | Outcome::Answer { .. } => {}
            Outcome::Lost => {
                *state = State::Free;
                self.take_back(by);
            }
            Outcome::Failed(reason) => {
                *state = State::Off;
                self.take_back(by);
                let how = self.way().map_or("the notice on tool results", |(way, _)| way.as_str());
                log::warn(format_args!(
                    "{reason}; this session's agent is told by {how} from now on"
                ));
            }
        }
    }

    /// What was being told is to be told again, before everything else.
    fn take_back(&mut self, by: Way) {
        let mut kept = VecDeque::new();
        let mut again = VecDeque::new();
        for flight in self.in_flight.drain(..) {
            if flight.by == by {
                again.extend(flight.items);
            } else {
                kept.push_back(flight);
            }
        }
        self.in_flight = kept;
        again.append(&mut self.urgent);
        self.urgent = again;
    }
}

#[cfg(test)]
#[path = "../tests/plan.rs"]
mod tests;
