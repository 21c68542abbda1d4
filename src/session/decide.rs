//! Decides for which peer the session acts, when a claim is held, and what becomes of a text that was
//! handed to the plugin. Lines, answers and the time go in; requests and lines come out. No I/O.
//!
//! After each `handle_*`, carry out what [`Session::poll`] returns; call
//! [`Session::handle_timeout`] at [`Session::deadline`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::protocol::{Edit, FromPlugin, ToPlugin};
use crate::api::{Claim, Claimed, ReadEvents, Request};
use crate::client::ClientError;
use crate::limits::{
    CLAIM_WAIT_SECONDS_MAX, HOOK_MESSAGES_MAX, SESSION_EDITS_MAX, SESSION_PAUSE_MAX,
    SESSION_PAUSE_MIN, SESSION_RENEW_EVERY, SESSION_TELL_TIME_MAX, SESSION_UNMARKED_MAX,
    WAIT_SECONDS_MAX,
};
use crate::model::{Handle, MessageId, Moment, SentStatus, Seq, Way, event_type};
use crate::tell::{self, Composed, Item};

/// Texts whose outcome is remembered, so that a second report about one is no error.
const KNOWN_TELLS_MAX: usize = 32;

/// What a request is for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Purpose {
    /// A held claim: answered when there is something to tell.
    Held,
    /// A held read of events: answered when a peer comes.
    Joined,
    /// A text for the context, under the plugin's number.
    Context(u64),
    /// A point of the turn.
    Moment,
    /// A mark that must not be lost.
    Mark(Box<Request>),
    /// Anything that may fail.
    Other,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Effect {
    /// Find the peer, and pass the result to [`Session::handle_sought`].
    Seek,
    /// Ask the broker, with this token or else the broker's own. A request that may be held goes on
    /// a connection of its own.
    Ask(Purpose, Request, Option<Box<str>>),
    /// Ask the gate about this edit of the session of this id.
    Check(Edit, Option<Box<str>>),
    /// Write this to the plugin.
    Say(ToPlugin),
}

/// The result of looking for the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sought {
    /// This peer, whose token this is.
    Me(Box<str>),
    /// No peer yet. Peers that come cause events after this one.
    Nobody(Seq),
    /// No broker.
    NoBroker {
        /// [`Session::handle_broker_seen`] will be called when there may be one.
        watched: bool,
    },
    /// It cannot be determined for now.
    Failed,
}

#[derive(Debug)]
enum Phase {
    /// The peer is being looked for.
    Seeking,
    /// A request waits for peers that come.
    Expecting,
    /// Pausing until then; without a time, until there may be a broker.
    Paused(Option<Instant>),
    /// Acting with this token.
    Acting(Box<str>),
}

/// A text that was handed to the plugin.
#[derive(Debug)]
struct Tell {
    id: Box<str>,
    claim: Uuid,
    whole: Vec<MessageId>,
    begun: Vec<MessageId>,
    handles: Vec<Handle>,
    /// Whether it goes into the context or to the agent's own queue.
    into_context: bool,
    renew_at: Option<Instant>,
    /// When it is given up.
    until: Instant,
    /// It was given up; nothing else is told before the plugin reports on it.
    is_late: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    phase: Phase,
    pause: Duration,
    /// The agent's session, once the plugin has named it.
    bound: Option<Box<str>>,
    /// Since when a claim is held.
    held_since: Option<Instant>,
    /// Not to be claimed before.
    hold_at: Option<Instant>,
    tells: Vec<Tell>,
    known: VecDeque<Box<str>>,
    /// Marks that have not been sent to the broker.
    unmarked: Vec<Request>,
    /// Marks under way to it. Until they arrive, the same messages could be claimed again.
    marking: usize,
    edits: usize,
    effects: VecDeque<Effect>,
}

impl Session {
    /// A session that knows nothing yet.
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Seeking,
            pause: SESSION_PAUSE_MIN,
            bound: None,
            held_since: None,
            hold_at: None,
            tells: Vec::new(),
            known: VecDeque::new(),
            unmarked: Vec::new(),
            marking: 0,
            edits: 0,
            effects: VecDeque::from([Effect::Seek]),
        }
    }

    /// What is to be done next.
    pub(super) fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Whether another line can be taken.
    pub(super) fn wants_lines(&self) -> bool {
        self.edits < SESSION_EDITS_MAX
    }

    /// When [`Session::handle_timeout`] has to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let paused = if let Phase::Paused(until) = self.phase { until } else { None };
        let hold_at = self.hold_at.filter(|_| self.may_hold());
        let tells = self.tells.iter().filter(|tell| !tell.is_late);
        let tells = tells.flat_map(|tell| [tell.renew_at, Some(tell.until)]).flatten();
        paused.into_iter().chain(hold_at).chain(tells).min()
    }

    /// The time has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Paused(Some(until)) if until <= now) {
            self.seek();
        }
        let mut late = Vec::new();
        let mut renewed = Vec::new();
        for tell in self.tells.iter_mut().filter(|tell| !tell.is_late) {
            if tell.until <= now {
                tell.is_late = true;
                late.push(tell.claim);
            } else if tell.renew_at.is_some_and(|at| at <= now) {
                tell.renew_at = Some(now + SESSION_RENEW_EVERY);
                renewed.push(tell.claim);
            }
        }
        self.tells.retain(|tell| !(tell.is_late && tell.into_context));
        for claim_id in renewed {
            self.ask(Purpose::Other, Request::RenewClaim { peer_id: None, claim_id });
        }
        for claim_id in late {
            self.release(claim_id);
            let text =
                "no word about a text that was to be told: waiting for \"told\" or \"failed\"";
            self.say(ToPlugin::Error(text.into()));
        }
        self.proceed(now);
    }

    /// There may be a broker now.
    pub(super) fn handle_broker_seen(&mut self) {
        if matches!(self.phase, Phase::Paused(_)) {
            self.seek();
        }
    }

    fn seek(&mut self) {
        self.phase = Phase::Seeking;
        self.effects.push_back(Effect::Seek);
    }

    /// Looks again after a pause, longer each time.
    fn retreat(&mut self, now: Instant) {
        self.phase = Phase::Paused(Some(now + self.pause));
        self.pause = self.longer();
    }

    fn longer(&self) -> Duration {
        (2 * self.pause).min(SESSION_PAUSE_MAX)
    }

    /// What came of [`Effect::Seek`].
    pub(super) fn handle_sought(&mut self, sought: Sought, now: Instant) {
        match sought {
            Sought::Me(token) => {
                self.phase = Phase::Acting(token);
                self.bind();
                for request in std::mem::take(&mut self.unmarked) {
                    self.mark(request);
                }
            }
            Sought::Nobody(after) => {
                self.phase = Phase::Expecting;
                let types = vec![event_type::PEER_JOINED.into()];
                let wait = WAIT_SECONDS_MAX;
                let joined = ReadEvents { types, after: Some(after), wait, ..Default::default() };
                let joined = Request::ReadEvents(joined);
                self.effects.push_back(Effect::Ask(Purpose::Joined, joined, None));
            }
            Sought::NoBroker { watched: true } => self.phase = Phase::Paused(None),
            Sought::NoBroker { watched: false } | Sought::Failed => self.retreat(now),
        }
        self.proceed(now);
    }

    /// Tells the mesh the session's id, by which hooks and effects find the peer.
    fn bind(&mut self) {
        if let Some(session) = self.bound.clone() {
            let session_id = Some(session);
            let bind = Request::Heartbeat { peer_id: None, git_branch: None, session_id };
            self.ask(Purpose::Other, bind);
        }
    }

    /// A line of the plugin.
    pub(super) fn handle_line(&mut self, line: Result<FromPlugin, String>, now: Instant) {
        match line {
            Ok(FromPlugin::Session(id)) => {
                if self.bound.as_ref() != Some(&id) {
                    self.bound = Some(id);
                    self.bind();
                }
            }
            Ok(FromPlugin::Working) => self.moment(Moment::Tool, Vec::new()),
            Ok(FromPlugin::Stopped) => self.moment(Moment::Stop, Vec::new()),
            Ok(FromPlugin::Prompt(text)) => self.handle_prompt(&text),
            Ok(FromPlugin::Context(id)) => self.handle_context(id),
            Ok(FromPlugin::Told(id)) => match self.take(&id) {
                Some(tell) => self.handle_told(tell),
                None => self.stray(&id),
            },
            Ok(FromPlugin::Failed(id, reason)) => match self.take(&id) {
                Some(tell) => {
                    crate::log::warn(format_args!("the agent did not take a message: {reason}"));
                    self.release(tell.claim);
                    self.hold_at = Some(now + self.pause);
                    self.pause = self.longer();
                }
                None => self.stray(&id),
            },
            Ok(FromPlugin::Edit(edit)) => {
                self.edits += 1;
                self.effects.push_back(Effect::Check(edit, self.bound.clone()));
            }
            Err(error) => self.say(ToPlugin::Error(error)),
        }
        self.proceed(now);
    }

    /// The gate's answer about an edit.
    pub(super) fn handle_ruling(&mut self, id: u64, allow: bool, reason: Option<String>) {
        self.edits -= 1;
        self.say(ToPlugin::Allow { id, allow, reason });
    }

    fn take(&mut self, id: &str) -> Option<Tell> {
        let at = self.tells.iter().position(|tell| *tell.id == *id)?;
        let tell = self.tells.swap_remove(at);
        self.known.push_back(tell.id.clone());
        if self.known.len() > KNOWN_TELLS_MAX {
            self.known.pop_front();
        }
        Some(tell)
    }

    /// A report about a text that the plugin does not have.
    fn stray(&mut self, id: &str) {
        if !self.known.iter().any(|known| **known == *id) {
            self.say(ToPlugin::Error("no text of this id was to be told".into()));
        }
    }

    /// The agent has taken a text, whatever has become of the claim.
    fn handle_told(&mut self, tell: Tell) {
        if tell.into_context {
            return self.handle_proven(tell, Way::Hook);
        }
        let (way, status, claim_id) = (Way::Plugin, SentStatus::Sent, None);
        for (ids, whole) in [(tell.whole, true), (tell.begun, false)] {
            if !ids.is_empty() {
                let peer_id = None;
                self.mark(Request::MarkSent { peer_id, ids, way, status, whole, claim_id });
            }
        }
        self.release(tell.claim);
    }

    /// A text is before the model.
    fn handle_proven(&mut self, tell: Tell, way: Way) {
        let claim_id = None;
        if !tell.whole.is_empty() {
            let (ids, way) = (tell.whole, Some(way));
            self.mark(Request::MarkRead { peer_id: None, ids, way, claim_id });
        }
        if !tell.begun.is_empty() {
            let ids = tell.begun;
            self.mark(Request::MarkNotified { peer_id: None, ids, way, claim_id });
        }
        self.release(tell.claim);
    }

    /// Releases a claim, so that others may tell what is still under it.
    fn release(&mut self, claim_id: Uuid) {
        self.ask(Purpose::Other, Request::ReleaseClaim { peer_id: None, claim_id });
    }

    /// A prompt was put before the model: it proves that a text was read, perhaps before `told`.
    fn handle_prompt(&mut self, text: &str) {
        let proof = tell::handles(text);
        let proven = |tell: &Tell| tell.handles.iter().any(|handle| proof.contains(handle));
        let id = self.tells.iter().find(|tell| proven(tell)).map(|tell| tell.id.clone());
        if let Some(tell) = id.and_then(|id| self.take(&id)) {
            self.handle_proven(tell, Way::Plugin);
        }
        self.moment(Moment::Prompt, proof);
    }

    fn moment(&mut self, moment: Moment, proof: Vec<Handle>) {
        let claim = Claim { moment: Some(moment), proof, ..claim(Way::Plugin) };
        self.ask(Purpose::Moment, Request::Claim(claim));
    }

    fn handle_context(&mut self, id: u64) {
        if matches!(self.phase, Phase::Acting(_)) {
            let claim = Claim { moment: Some(Moment::Tool), ..claim(Way::Hook) };
            self.ask(Purpose::Context(id), Request::Claim(claim));
        } else {
            self.say(ToPlugin::Context { id, tell: None });
        }
    }

    /// A request has a result.
    pub(super) fn handle_finished(
        &mut self,
        purpose: Purpose,
        result: Result<Vec<u8>, ClientError>,
        now: Instant,
    ) {
        match purpose {
            Purpose::Joined if matches!(self.phase, Phase::Expecting) => match result {
                Ok(_) => self.seek(),
                Err(_) => self.retreat(now),
            },
            Purpose::Held => {
                let since = self.held_since.take().unwrap_or(now);
                match read(result) {
                    Ok(claimed) if claimed.messages.is_empty() => {
                        // A broker that does not hold requests must not be asked without a pause.
                        let defer = Duration::from_millis(claimed.defer_ms.unwrap_or_default());
                        let soonest = since + self.pause;
                        self.hold_at = Some((now + defer).max(soonest));
                        self.pause = if now < soonest { self.longer() } else { SESSION_PAUSE_MIN };
                    }
                    Ok(claimed) => {
                        self.pause = SESSION_PAUSE_MIN;
                        self.handle_claimed(&claimed, now);
                    }
                    // The token is no longer valid, or the broker has gone.
                    Err(error) => {
                        crate::log::debug(format_args!("nothing can be told: {error}"));
                        self.retreat(now);
                    }
                }
            }
            Purpose::Moment => {
                if let Ok(claimed) = read(result) {
                    self.handle_claimed(&claimed, now);
                }
            }
            Purpose::Context(id) => {
                let claimed = read(result).ok();
                let tell = claimed.and_then(|claimed| self.begin(&claimed, true, now));
                self.say(ToPlugin::Context { id, tell });
            }
            Purpose::Mark(request) => {
                self.marking -= 1;
                match result {
                    Ok(_) => {}
                    Err(ClientError::Refused(refused)) => {
                        crate::log::debug(format_args!("not marked: {}", refused.message));
                    }
                    Err(_) => {
                        self.keep(*request);
                        if matches!(self.phase, Phase::Acting(_)) {
                            self.retreat(now);
                        }
                    }
                }
            }
            Purpose::Joined | Purpose::Other => {}
        }
        self.proceed(now);
    }

    /// Hands what was claimed to the plugin.
    fn handle_claimed(&mut self, claimed: &Claimed, now: Instant) {
        if let Some((id, text)) = self.begin(claimed, false, now) {
            self.say(ToPlugin::Tell { id, text });
        }
    }

    fn begin(
        &mut self,
        claimed: &Claimed,
        into_context: bool,
        now: Instant,
    ) -> Option<(Box<str>, String)> {
        let claim = claimed.claim_id?;
        let items: Vec<Item> = claimed.messages.iter().map(Item::message).collect();
        let Composed { text, whole, begun, .. } = tell::compose(&items, claimed.remaining);
        if text.is_empty() || (!into_context && self.is_telling()) {
            self.release(claim);
            return None;
        }
        let id: Box<str> = claim.to_string().into();
        let handles = claimed.messages.iter().map(|message| message.id.handle()).collect();
        self.tells.push(Tell {
            id: id.clone(),
            claim,
            whole,
            begun,
            handles,
            into_context,
            renew_at: (!into_context).then(|| now + SESSION_RENEW_EVERY),
            until: now + SESSION_TELL_TIME_MAX,
            is_late: false,
        });
        Some((id, text))
    }

    fn is_telling(&self) -> bool {
        self.tells.iter().any(|tell| !tell.into_context)
    }

    fn may_hold(&self) -> bool {
        let is_acting = matches!(self.phase, Phase::Acting(_)) && self.bound.is_some();
        is_acting && self.held_since.is_none() && self.marking == 0 && !self.is_telling()
    }

    /// Starts a held claim, unless there is one or none is allowed now.
    fn proceed(&mut self, now: Instant) {
        if self.may_hold() && self.hold_at.is_none_or(|at| at <= now) {
            self.hold_at = None;
            self.held_since = Some(now);
            let wait = CLAIM_WAIT_SECONDS_MAX;
            self.ask(Purpose::Held, Request::Claim(Claim { wait, ..claim(Way::Plugin) }));
        }
    }

    fn say(&mut self, out: ToPlugin) {
        self.effects.push_back(Effect::Say(out));
    }

    /// Asks as the peer. What cannot be asked now is dropped, except for marks.
    fn ask(&mut self, purpose: Purpose, request: Request) {
        match (&self.phase, purpose) {
            (Phase::Acting(token), purpose) => {
                self.marking += usize::from(matches!(purpose, Purpose::Mark(_)));
                let token = Some(token.clone());
                self.effects.push_back(Effect::Ask(purpose, request, token));
            }
            (_, Purpose::Mark(request)) => self.keep(*request),
            _ => {}
        }
    }

    fn mark(&mut self, request: Request) {
        self.ask(Purpose::Mark(Box::new(request.clone())), request);
    }

    /// Keeps a mark until the broker can be told.
    fn keep(&mut self, request: Request) {
        if self.unmarked.len() < SESSION_UNMARKED_MAX {
            self.unmarked.push(request);
        }
    }
}

/// A claim by this way, for as much as goes into one text.
fn claim(by: Way) -> Claim {
    Claim { limit: Some(HOOK_MESSAGES_MAX), ..Claim::new(by) }
}

fn read(result: Result<Vec<u8>, ClientError>) -> Result<Claimed, ClientError> {
    crate::client::blocking::read_reply(&result?)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::model::{Party, Timestamp};
    use serde_json::json;

    /// A session that acts for a peer and holds a claim, and what it asked and said.
    struct Play {
        session: Session,
        now: Instant,
        asked: VecDeque<(Purpose, Request)>,
        said: VecDeque<String>,
        seeks: usize,
    }

    impl Play {
        fn new() -> Self {
            let mut play = Self {
                session: Session::new(),
                now: Instant::now(),
                asked: VecDeque::new(),
                said: VecDeque::new(),
                seeks: 0,
            };
            play.line(r#"{"session":"s"}"#);
            play.session.handle_sought(Sought::Me("token".into()), play.now);
            play.settle();
            play
        }

        fn settle(&mut self) {
            while let Some(effect) = self.session.poll() {
                match effect {
                    Effect::Ask(purpose, request, _) => self.asked.push_back((purpose, request)),
                    Effect::Say(out) => self.said.push_back(out.line()),
                    Effect::Seek => self.seeks += 1,
                    Effect::Check(..) => {}
                }
            }
        }

        fn line(&mut self, line: &str) {
            self.session.handle_line(FromPlugin::read(line.as_bytes()), self.now);
            self.settle();
        }

        fn finish(&mut self, purpose: Purpose, result: Result<Vec<u8>, ClientError>) {
            self.session.handle_finished(purpose, result, self.now);
            self.settle();
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            if self.session.deadline().is_some_and(|at| at <= self.now) {
                self.session.handle_timeout(self.now);
            }
            self.settle();
        }

        /// The requests since, as they are on the wire.
        fn requests(&mut self) -> Vec<String> {
            let wire =
                |(_, request): (Purpose, Request)| String::from_utf8(request.body()).unwrap();
            self.asked.drain(..).map(wire).collect()
        }

        /// Something is to be told; returns the id.
        fn claimed(&mut self) -> String {
            let (id, claim) = (MessageId::new(Seq(1), [0; 16]), Uuid::from_u128(7));
            let message = json!({
                "id": id, "handle": id.handle(), "fromPeer": Party::Cli, "fromName": "cli",
                "toPeer": null, "type": "text", "payload": "hello", "createdAt": Timestamp(0),
                "delivered": true, "readAt": null, "seq": 1,
            });
            let reply = json!({"messages": [message], "remaining": 0, "claimId": claim});
            self.finish(Purpose::Held, Ok(reply.to_string().into()));
            assert!(self.said.pop_back().unwrap().contains("\"tell\""));
            claim.to_string()
        }
    }

    #[test]
    fn a_text_without_a_word_about_it_goes_back_and_nothing_else_is_told() {
        let mut play = Play::new();
        let id = play.claimed();
        play.requests();
        play.pass(SESSION_RENEW_EVERY);
        assert_eq!(play.requests(), [format!(r#"{{"renew":"{id}"}}"#)]);
        play.pass(SESSION_TELL_TIME_MAX);
        assert_eq!(play.requests(), [format!(r#"{{"release":"{id}"}}"#)]);
        assert!(play.said.pop_front().unwrap().contains("\"error\""));
        assert_eq!(play.session.deadline(), None);
        // Late is not never.
        play.line(&format!(r#"{{"told":"{id}"}}"#));
        let (mark, request) = play.asked.pop_front().unwrap();
        assert!(String::from_utf8(request.body()).unwrap().contains(r#""markSent""#));
        play.requests();
        play.finish(mark, Ok(Vec::new()));
        assert!(play.requests()[0].contains(r#""claim":"plugin""#));
    }

    #[test]
    fn a_broker_that_is_away_is_told_later() {
        let mut play = Play::new();
        let id = play.claimed();
        play.requests();
        play.line(&format!(r#"{{"told":"{id}"}}"#));
        let asked: Vec<_> = play.asked.drain(..).collect();
        for (purpose, _) in asked {
            play.finish(purpose, Err(ClientError::NoBroker));
        }
        assert_eq!((play.requests().len(), play.seeks), (0, 1));
        play.pass(SESSION_PAUSE_MIN);
        assert_eq!(play.seeks, 2);
        play.session.handle_sought(Sought::NoBroker { watched: true }, play.now);
        assert_eq!(play.session.deadline(), None);
        play.session.handle_broker_seen();
        play.session.handle_sought(Sought::Me("token".into()), play.now);
        play.settle();
        assert_eq!(play.seeks, 3);
        // Before it has heard of that, it would hand out the same again.
        let is_mark = |asked: &(Purpose, Request)| matches!(asked.0, Purpose::Mark(_));
        let at = play.asked.iter().position(is_mark).unwrap();
        let (mark, _) = play.asked.remove(at).unwrap();
        assert!(!play.requests().iter().any(|request| request.contains(r#""claim""#)));
        play.finish(mark, Ok(Vec::new()));
        assert!(play.requests()[0].contains(r#""wait""#));
    }

    #[test]
    fn a_broker_that_holds_nothing_is_asked_with_pauses() {
        let mut play = Play::new();
        let nothing = serde_json::to_vec(&Claimed::default()).unwrap();
        for _ in 0..20 {
            play.requests();
            play.finish(Purpose::Held, Ok(nothing.clone()));
            assert!(play.requests().is_empty());
            let at = play.session.deadline().unwrap();
            play.pass(at - play.now);
            assert_eq!(play.requests().len(), 1);
        }
        assert_eq!(play.session.pause, SESSION_PAUSE_MAX);
        // One that holds it is asked again at once.
        play.now += SESSION_PAUSE_MAX;
        play.finish(Purpose::Held, Ok(nothing));
        assert_eq!((play.requests().len(), play.session.pause), (1, SESSION_PAUSE_MIN));
    }
}
