//! Decides what the agent is told, when, and by which way. No I/O, no clock.
//!
//! That a message has come is only a sign. The agent is told what the broker hands out under a claim, so
//! that nobody else tells it the same. The broker, which knows when the agent is in a turn, may hand
//! messages out later, or for another way.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::errands::Errands;
use super::notices::{self, Notices};
use super::{Notice, WayReport};
use crate::agents::{self, Agent};
use crate::api::{Claimed, MessageInfo, Request};
use crate::limits::{
    CLAIM_DEFER_MAX, HELD_RETRY_AFTER, TAG_CHARS_MAX, WAKE_DIGEST_EVERY, WAKE_EVENTS_MAX,
};
use crate::log;
use crate::mcp::server::RETRY_EVERY;
use crate::model::{MessageId, MessageRef, Party, SentStatus, Seq, Way, reach};
use crate::tell::{Item, compose};

/// A way is switched off when it has thrown away what it took this often in a row.
const DROPS_MAX: u32 = 2;

/// The state of a way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum WayState {
    /// The agent has not offered it.
    #[default]
    Absent,
    /// It can take a notice.
    Free,
    /// It is telling one.
    Busy,
    /// It has failed.
    Off,
}

impl WayState {
    fn is_on(self) -> bool {
        matches!(self, Self::Free | Self::Busy)
    }
}

/// A notice to be told now.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::mcp) struct Telling {
    /// By which way.
    pub(in crate::mcp) by: Way,
    /// The notice.
    pub(in crate::mcp) notice: Notice,
}

/// The thread of Codex that a call comes from, by the `_meta` of its `tools/call`; none if it is no id
/// that can stand on a command line.
///
/// The `sessionId` there is of no use: a thread shares it with its subagents, which have servers of
/// their own.
pub(in crate::mcp) fn codex_thread(meta: &Value) -> Option<Box<str>> {
    plain_id(meta.get("threadId")?.as_str()?)
}

/// `id`, if it can stand on a command line and cannot be taken for an option.
pub(super) fn plain_id(id: &str) -> Option<Box<str>> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    let good = (1..=TAG_CHARS_MAX).contains(&id.len())
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(is_plain);
    good.then(|| id.into())
}

/// Whether anyone sees what is given to a way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Audience {
    /// Yes, as far as is known.
    #[default]
    There,
    /// No: the terminal is closed, and the agent would work with nobody watching.
    Gone,
    /// No: the user has not let the agent see what the way has taken. Nothing says when that changes, so
    /// another message may be tried from then on.
    Held(Instant),
}

/// Whether messages are to be claimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wish {
    /// There may be messages.
    is_open: bool,
    /// The broker hands none out before, unless there is a new sign.
    defer_until: Option<Instant>,
    /// Until then it is left to the agent to fetch the rest, unless a message comes.
    rest_until: Option<Instant>,
}

impl Wish {
    /// When messages are claimed at the earliest.
    fn quiet_until(self) -> Option<Instant> {
        self.defer_until.max(self.rest_until)
    }
}

/// Why there may be something to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mcp) enum Sign {
    /// A message has come.
    Message,
    /// The broker says so, or this session has registered.
    Wake,
}

/// See the module.
#[derive(Debug, Default)]
pub(in crate::mcp) struct Waking {
    /// The agent, if it is known.
    agent: Option<&'static Agent>,
    /// The agent that has offered an inbox socket.
    inbox_socket_of: Option<&'static Agent>,
    /// That is this agent, and not one that has started it.
    is_inbox_socket_ours: bool,
    inbox_socket: WayState,
    codex_queue: WayState,
    /// The client was told of the channel.
    has_channel: bool,
    /// The thread of Codex for which texts can be queued; its hooks use it as the id of the session.
    thread: Option<Box<str>>,
    /// The thread that the queue was prepared for.
    queue_thread: Option<Box<str>>,
    audience: Audience,
    /// How often in a row the way has thrown away what it took.
    drops: u32,
    wish: Wish,
    /// Messages are being claimed, to be told by this way.
    claiming: Option<Way>,
    /// Events to be told.
    events: Vec<Item>,
    /// When events are told at the earliest, unless they go with a message.
    digest_at: Option<Instant>,
    notices: Notices,
    /// Events that the agent has to be told of in another way.
    untold: Vec<(Seq, Box<str>)>,
    count: u64,
    /// `reach` and `sessionId` as the broker was told them.
    introduced: (Option<&'static str>, Option<Box<str>>),
    pub(in crate::mcp) errands: Errands,
}

impl Waking {
    pub(in crate::mcp) fn new(inbox_socket_of: Option<&'static Agent>) -> Self {
        let inbox_socket =
            if inbox_socket_of.is_some() { WayState::Free } else { WayState::Absent };
        Self { inbox_socket_of, inbox_socket, ..Self::default() }
    }

    /// It is known which agent this is, and whether its client knows of the channel. A socket alone does
    /// not tell: an agent that another one has started inherits its variables.
    pub(super) fn meet(&mut self, agent_type: &str, has_channel: bool) {
        self.agent = agents::of_type(agent_type);
        self.is_inbox_socket_ours = self.agent.is_some() && self.inbox_socket_of == self.agent;
        self.has_channel = has_channel;
    }

    /// This session is another peer than before: nothing that was to be told concerns it.
    pub(in crate::mcp) fn reset(&mut self) {
        self.claiming = None;
        self.events.clear();
        self.untold.clear();
        self.notices = Notices::default();
        self.errands = Errands::default();
    }

    /// The client has said who it is.
    pub(super) fn identify(&mut self, thread: Box<str>) {
        self.thread = Some(thread);
    }

    /// The thread for which the queue is to be prepared, if it is another one than before. A queue that has
    /// failed for the former may work for this one.
    pub(super) fn take_thread(&mut self) -> Option<Box<str>> {
        let thread = self.thread.clone().filter(|_| self.is_codex())?;
        if self.queue_thread.as_ref() == Some(&thread) {
            return None;
        }
        self.queue_thread = Some(thread.clone());
        if self.codex_queue != WayState::Busy {
            self.codex_queue = WayState::Free;
        }
        Some(thread)
    }

    /// Whether messages are about to be claimed for a queue. Before that, look whether its terminal is
    /// still there.
    pub(super) fn is_about_to_queue(&self, now: Instant) -> bool {
        matches!(self.way(), Some((Way::Queue, WayState::Free))) && self.wants_claim(now)
    }

    /// Whether the agent is Codex, whose sessions are its threads.
    pub(super) fn is_codex(&self) -> bool {
        self.agent.is_some_and(|agent| agent.has_way(Way::Queue))
    }

    /// Whether the agent has a queue that works, for which its terminal must be there.
    pub(super) fn has_queue(&self) -> bool {
        self.is_codex() && self.codex_queue.is_on()
    }

    /// Says whether the terminal of the session is there.
    pub(super) fn watch(&mut self, is_watched: bool) {
        self.audience = if is_watched { Audience::There } else { Audience::Gone };
    }

    /// The session of the agent, if the agent itself has named it.
    pub(in crate::mcp) fn session_id(&self) -> Option<Box<str>> {
        self.thread.clone().filter(|_| self.is_codex())
    }

    /// Whether this agent has offered an inbox socket.
    pub(in crate::mcp) fn has_inbox_socket(&self) -> bool {
        self.is_inbox_socket_ours
    }

    /// The `reach` of the agent.
    pub(super) fn reach(&self) -> &'static str {
        match self.way() {
            Some((Way::InboxSocket | Way::Queue, _)) => reach::WAKES,
            _ if matches!(self.audience, Audience::Held(_)) => reach::HELD,
            _ => reach::NEXT_CALL,
        }
    }

    /// The reach and the session, which the broker is told now.
    pub(super) fn introduce(&mut self) -> (&'static str, Option<Box<str>>) {
        let (reach, session) = (self.reach(), self.session_id());
        self.introduced = (Some(reach), session.clone());
        (reach, session)
    }

    /// Whether the broker was told something else.
    pub(super) fn has_changed(&self) -> bool {
        self.introduced != (Some(self.reach()), self.session_id())
    }

    /// The way to use now, and its state.
    fn way(&self) -> Option<(Way, WayState)> {
        if self.audience != Audience::There {
            return None;
        }
        let stands = |way: &Way| match way {
            Way::InboxSocket if self.is_inbox_socket_ours => self.inbox_socket,
            Way::Channel if self.has_channel => WayState::Free,
            Way::Queue => self.codex_queue,
            // Others are not used by this process.
            _ => WayState::Absent,
        };
        let ways = self.agent.map_or(&[][..], |agent| agent.ways);
        ways.iter().map(|way| (*way, stands(way))).find(|(_, state)| state.is_on())
    }

    /// There may be something to tell.
    pub(in crate::mcp) fn sign(&mut self, sign: Sign) {
        let is_channel = matches!(self.way(), Some((Way::Channel, _)));
        if sign == Sign::Message {
            self.wish.rest_until = None;
        } else if is_channel {
            // As nothing proves what it has told, the broker would hand that out again and again.
            return;
        }
        self.wish.is_open = true;
        self.wish.defer_until = None;
    }

    /// A message has come for this agent alone. If its user has kept one back some time ago, this one is
    /// tried.
    pub(super) fn try_again(&mut self, now: Instant) {
        if matches!(self.audience, Audience::Held(until) if until <= now) {
            self.audience = Audience::There;
        }
    }

    /// An event to which the agent has subscribed. Returns whether it will be told by a way that reports
    /// whether it works; if it fails, [`Waking::take_untold`] has the event.
    pub(in crate::mcp) fn add_event(&mut self, payload: &Value) -> bool {
        let has_room = self.events.len() < WAKE_EVENTS_MAX;
        let Some((way, _)) = self.way().filter(|_| has_room) else { return false };
        let is_certain = way != Way::Channel;
        let mut item = Item::event(payload);
        item.event = item.event.filter(|_| is_certain);
        self.events.push(item);
        is_certain
    }

    /// Takes the events that could not be told after all.
    pub(super) fn take_untold(&mut self) -> Vec<(Seq, Box<str>)> {
        if self.way().is_none() {
            let events = std::mem::take(&mut self.events);
            self.leave(events);
        }
        std::mem::take(&mut self.untold)
    }

    /// Leaves these to the notice on tool results.
    fn leave(&mut self, events: Vec<Item>) {
        self.untold.extend(events.into_iter().filter_map(|item| item.event));
    }

    fn has_due_events(&self, now: Instant) -> bool {
        !self.events.is_empty() && self.digest_at.is_none_or(|at| at <= now)
    }

    fn wants_claim(&self, now: Instant) -> bool {
        (self.wish.is_open || self.has_due_events(now))
            && self.claiming.is_none()
            && self.wish.quiet_until().is_none_or(|at| at <= now)
            // What is not marked yet would be handed out again, and what is not released yet not at all.
            && self.errands.is_empty()
    }

    /// The way by which to claim messages now, if any. [`Waking::claimed`] has to follow.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Way> {
        let (by, _) = self.way().filter(|(_, state)| *state == WayState::Free)?;
        if !self.wants_claim(now) {
            return None;
        }
        self.wish = Wish::default();
        self.claiming = Some(by);
        Some(by)
    }

    /// The claim was answered with `claimed`, or has failed. `has`: whether the agent has a message
    /// already, or is about to get it. Returns what to tell now.
    pub(super) fn claimed(
        &mut self,
        claimed: Option<Claimed>,
        has: impl Fn(MessageId) -> bool,
        now: Instant,
    ) -> Option<Telling> {
        let by = self.claiming.take();
        let Some(Claimed { mut messages, remaining, claim_id, defer_ms, .. }) = claimed else {
            self.wish.is_open = true;
            self.wish.defer_until = Some(now + RETRY_EVERY);
            return None;
        };
        let mut claim = notices::NoticeClaim { id: claim_id, count: messages.len() };
        let Some(by) = by.filter(|by| self.way() == Some((*by, WayState::Free))) else {
            // Since the claim, the peer or the way has changed.
            self.errands.extend(claim.release());
            self.wish.is_open = true;
            return None;
        };
        let is_known = |id| has(id) || (by == Way::Channel && self.notices.has(by, id));
        messages.retain(|message| !is_known(message.id));
        if let Some(ms) = defer_ms {
            self.wish.is_open = true;
            self.wish.defer_until = Some(now + Duration::from_millis(ms).min(CLAIM_DEFER_MAX));
        }
        let with_events = !messages.is_empty() || (defer_ms.is_none() && self.has_due_events(now));
        let events = if with_events { std::mem::take(&mut self.events) } else { Vec::new() };
        let items: Vec<Item> =
            messages.iter().map(Item::message).chain(events.iter().cloned()).collect();
        let composed = compose(&items, remaining);
        if composed.told == 0 {
            if claim.count > 0 && by != Way::Channel {
                // The agent has them: until they are marked they would be handed out again.
                self.wish.is_open = true;
                self.wish.rest_until = Some(now + RETRY_EVERY);
            }
            self.errands.extend(claim.release());
            return None;
        }
        let told_events = composed.told.saturating_sub(messages.len());
        messages.truncate(composed.told);
        if by != Way::Channel && (claim.count > messages.len() || remaining > 0) {
            self.wish.is_open = true;
            self.wish.rest_until = Some(now + WAKE_DIGEST_EVERY);
        }
        let mut events = events;
        self.events = events.split_off(told_events.min(events.len()));
        if told_events > 0 {
            self.digest_at = Some(now + WAKE_DIGEST_EVERY);
        }
        self.count += 1;
        let notice = Notice { id: self.count, from: author(&messages), text: composed.text };
        match by {
            Way::InboxSocket => self.inbox_socket = WayState::Busy,
            Way::Queue => self.codex_queue = WayState::Busy,
            // A channel reports nothing.
            _ => {
                self.leave(std::mem::take(&mut events));
                self.errands.extend(claim.release());
            }
        }
        self.notices.begin((notice.id, by), &messages, &composed.whole, events, claim, now);
        Some(Telling { by, notice })
    }

    /// The message that the agent answers, and its sender; see [`WayReport::Answer`].
    pub(super) fn answered(&self, by: Way, text: &str) -> Option<(MessageId, &Party)> {
        self.notices.answered(by, text)
    }

    /// How many messages are in full in the agent's own queue, and not known to be read.
    pub(in crate::mcp) fn queued_whole(&self) -> u64 {
        self.notices.queued_whole()
    }

    /// The agent has read these.
    pub(in crate::mcp) fn were_read(&mut self, is_read: impl Fn(MessageId) -> bool) {
        self.notices.were_read(is_read);
    }

    /// The agent has answered this one, if any.
    pub(in crate::mcp) fn answered_to(&mut self, message: Option<MessageRef>) {
        if let Some(message) = message {
            self.were_read(|id| message.is(id));
        }
    }

    /// Only these are unread.
    pub(in crate::mcp) fn only_unread(&mut self, messages: &[MessageInfo]) {
        self.were_read(|id| !messages.iter().any(|message| message.id == id));
    }

    /// Renews the claims of what a way is still telling.
    pub(super) fn renew(&mut self, now: Instant) {
        self.errands.extend(self.notices.renewals(now));
    }

    /// When to call [`Waking::poll`] and [`Waking::renew`] again, if nothing happens before.
    /// `is_fetching`: nothing can be claimed for now.
    pub(super) fn deadline(&self, is_fetching: bool) -> Option<Instant> {
        let is_free = matches!(self.way(), Some((_, WayState::Free)))
            && self.claiming.is_none()
            && self.errands.is_empty();
        let quiet = self.wish.quiet_until();
        let messages = quiet.filter(|_| self.wish.is_open);
        let events = self.digest_at.max(quiet).filter(|_| !self.events.is_empty());
        let claim = [messages, events].into_iter().flatten().min();
        let claim = claim.filter(|_| is_free && !is_fetching);
        claim.into_iter().chain(self.notices.deadline()).min()
    }

    /// Takes all errands, and releases what a way is still telling: its report would come too late.
    pub(super) fn take_last_errands(&mut self) -> Vec<Request> {
        for by in [Way::InboxSocket, Way::Queue] {
            let (requests, _) = self.notices.take_back(by);
            self.errands.extend(requests);
        }
        self.errands.take_all()
    }

    fn state(&mut self, by: Way) -> Option<&mut WayState> {
        match by {
            Way::InboxSocket => Some(&mut self.inbox_socket),
            Way::Queue => Some(&mut self.codex_queue),
            _ => None,
        }
    }

    /// Takes the report of a way.
    pub(super) fn handle(&mut self, by: Way, outcome: WayReport, now: Instant) {
        let Some(state) = self.state(by) else { return };
        match outcome {
            WayReport::Free => *state = WayState::Free,
            WayReport::Sent(id) => {
                self.errands.extend(self.notices.word(id, SentStatus::Sent, true));
            }
            WayReport::Status(id, status) => self.heard(by, id, status, now),
            // Passed on by `Server::handle_report`.
            WayReport::Answer(_) | WayReport::LongAnswer => {}
            WayReport::Lost => {
                *state = WayState::Free;
                self.take_back(by);
            }
            WayReport::Failed(reason) => self.switch_off(by, &reason),
        }
    }

    /// The agent's program reports what has become of a notice.
    fn heard(&mut self, by: Way, id: u64, status: SentStatus, now: Instant) {
        self.errands.extend(self.notices.word(id, status, false));
        match status {
            SentStatus::Sent => {
                self.drops = 0;
                if matches!(std::mem::take(&mut self.audience), Audience::Held(_)) {
                    self.sign(Sign::Wake);
                }
            }
            SentStatus::Held | SentStatus::Refused | SentStatus::Declined => {
                self.audience = Audience::Held(now + HELD_RETRY_AFTER);
            }
            SentStatus::NotRunning => {}
            SentStatus::Dropped => {
                self.drops += 1;
                if self.drops >= DROPS_MAX {
                    self.switch_off(by, "the agent throws away what it is told");
                } else {
                    self.wish.rest_until = Some(now + WAKE_DIGEST_EVERY);
                }
            }
        }
    }

    fn switch_off(&mut self, by: Way, reason: &str) {
        if let Some(state) = self.state(by) {
            *state = WayState::Off;
        }
        self.take_back(by);
        let how = self.way().map_or("the notice on tool results", |(way, _)| way.as_str());
        log::warn(format_args!("{reason}; this session's agent is told by {how} from now on"));
    }

    /// What the way was telling has to be told again.
    fn take_back(&mut self, by: Way) {
        let (requests, mut events) = self.notices.take_back(by);
        self.errands.extend(requests);
        events.append(&mut self.events);
        self.events = events;
        // As if a message had come: one has not been told.
        self.sign(Sign::Message);
    }
}

/// The name of whoever wrote all of `messages`; ours if several did.
fn author(messages: &[MessageInfo]) -> Box<str> {
    let mut names = messages.iter().map(|message| &message.from_name);
    let first = names.next().filter(|first| names.all(|name| name == *first));
    first.cloned().unwrap_or_else(|| env!("CARGO_PKG_NAME").into())
}

#[cfg(test)]
#[path = "../tests/plan.rs"]
mod tests;
