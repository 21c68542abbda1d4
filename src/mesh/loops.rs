//! Loops: two agents that thank each other, or a ring of them, must not burn a night.
//!
//! A wake is a claim that hands out messages and thereby begins or prolongs a turn. After a certain
//! number of wakes in [`WAKE_WINDOW`] from one sender to one agent, or a larger number from all
//! senders together, what follows is told together: one wake every [`WAKE_DAMPED_EVERY`], until
//! nothing has come for [`WAKE_WINDOW`]. Nothing is lost, or kept from an agent that looks.
//!
//! In memory only: a new broker begins to count from zero.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::Mesh;
use crate::api::{DampedInfo, Fact};
use crate::limits::{
    CONVERSATIONS_MAX, DAMPED_SHOWN_MAX, MESH_ALERTS_MAX, PEERS_MAX, WAKE_DAMPED_EVERY,
    WAKE_LIMIT_MAX, WAKE_WINDOW,
};
use crate::model::{Message, Monotonic, Party, PeerId, Seq};
use crate::store::{Result, Store};

/// A recipient and one sender, or, without one, all senders together.
type Conversation = (PeerId, Option<Party>);

/// The wakes of a conversation.
#[derive(Clone, Debug, Default)]
struct Wakes {
    /// Those within [`WAKE_WINDOW`], the oldest first; no more than are counted.
    at: VecDeque<Monotonic>,
    /// When it was last woken or sent to.
    heard: Monotonic,
    damped: bool,
}

impl Wakes {
    fn is_over(&self, now: Monotonic) -> bool {
        now.since(self.heard) >= WAKE_WINDOW
    }

    fn is_damped(&self, now: Monotonic) -> bool {
        self.damped && !self.is_over(now)
    }

    /// Until when what comes waits.
    fn wait_until(&self, now: Monotonic) -> Option<Monotonic> {
        let until = self.at.back()?.plus(WAKE_DAMPED_EVERY);
        (self.is_damped(now) && now < until).then_some(until)
    }

    /// Forgets what is over.
    fn pass_to(&mut self, now: Monotonic) {
        if self.is_over(now) {
            *self = Self { heard: now, ..Self::default() };
        }
        self.at.retain(|at| now.since(*at) < WAKE_WINDOW);
    }

    /// One more, where `limit` are enough; whether it begins to be damped.
    fn woken(&mut self, limit: usize, now: Monotonic) -> bool {
        self.pass_to(now);
        self.heard = now;
        self.at.push_back(now);
        if self.at.len() > limit {
            self.at.pop_front();
        }
        let begins = !self.damped && self.at.len() >= limit;
        self.damped |= begins;
        begins
    }
}

/// Why a message waits to be told with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damped {
    /// Its sender has woken its recipient too often.
    Sender,
    /// All senders together have.
    Everyone,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Loops {
    /// Wakes from one sender that are enough; none: nothing is damped.
    limit: usize,
    wakes: BTreeMap<Conversation, Wakes>,
    /// Messages that the mesh itself has written in someone's name: they are never damped.
    alerts: BTreeSet<Seq>,
    /// What the turn has changed, as it was before.
    before: Vec<(Conversation, Option<Wakes>)>,
    swept: Monotonic,
}

impl Loops {
    pub(super) fn new(limit: u32) -> Self {
        debug_assert!(limit <= WAKE_LIMIT_MAX, "the configuration has checked it");
        Self { limit: limit as usize, ..Self::default() }
    }

    /// Wakes of a conversation that are enough: of an agent, whoever sends, it takes more.
    fn limit(&self, from: Option<&Party>) -> usize {
        if from.is_some() { self.limit } else { self.limit * 5 / 2 }
    }

    /// Until when a message of `from` does not wake `to`; none: it may now.
    pub(super) fn wait_until(
        &self,
        (seq, from): (Seq, &Party),
        to: PeerId,
        now: Monotonic,
    ) -> Option<Monotonic> {
        if !counts(from) || self.alerts.contains(&seq) {
            return None;
        }
        let until = |from| self.wakes.get(&(to, from))?.wait_until(now);
        until(Some(from.clone())).max(until(None))
    }

    /// Whether anything that is sent to `to` may have to wait.
    pub(super) fn damps(&self, to: PeerId, now: Monotonic) -> bool {
        self.wakes
            .range((to, None)..)
            .take_while(|((of, _), _)| *of == to)
            .any(|(_, wakes)| wakes.wait_until(now).is_some())
    }

    /// `to` was woken with messages of these. Gives the conversations that are damped from now on.
    pub(super) fn woken<'a>(
        &mut self,
        to: PeerId,
        from: impl Iterator<Item = (Seq, &'a Party)>,
        now: Monotonic,
    ) -> Vec<Conversation> {
        let counted = from.filter(|(seq, from)| counts(from) && !self.alerts.contains(seq));
        let mut of: BTreeSet<Option<Party>> = counted.map(|(_, from)| Some(from.clone())).collect();
        if self.limit == 0 || of.is_empty() {
            return Vec::new();
        }
        of.insert(None);
        self.sweep(now);
        let mut begun = Vec::new();
        for from in of {
            let limit = self.limit(from.as_ref());
            let conversation = (to, from);
            // Where there are too many conversations, the agent's own count is left.
            let room = conversation.1.is_none() || self.wakes.len() < CONVERSATIONS_MAX;
            if !room && !self.wakes.contains_key(&conversation) {
                continue;
            }
            self.keep(&conversation);
            let wakes = self.wakes.entry(conversation.clone()).or_default();
            if wakes.woken(limit, now) {
                begun.push(conversation);
            }
        }
        begun
    }

    /// `from` has sent to `to`. Gives whether that is damped, which then goes on.
    pub(super) fn sent(&mut self, from: &Party, to: PeerId, now: Monotonic) -> Option<Damped> {
        if !counts(from) {
            self.reset(to);
            return None;
        }
        let mut damped = None;
        for (of, why) in [(None, Damped::Everyone), (Some(from.clone()), Damped::Sender)] {
            let conversation = (to, of);
            if !self.wakes.get(&conversation).is_some_and(|wakes| wakes.is_damped(now)) {
                continue;
            }
            self.keep(&conversation);
            if let Some(wakes) = self.wakes.get_mut(&conversation) {
                wakes.heard = now;
                damped = Some(why);
            }
        }
        damped
    }

    /// The mesh itself has written this message.
    pub(super) fn alerted(&mut self, seq: Seq) {
        self.alerts.insert(seq);
        if self.alerts.len() > MESH_ALERTS_MAX {
            self.alerts.pop_first();
        }
    }

    /// A person has written to `peer`: what it is told and what it tells others is counted from zero.
    fn reset(&mut self, peer: PeerId) {
        let sender = Some(Party::Peer(peer));
        let concerned: Vec<Conversation> = self
            .wakes
            .keys()
            .filter(|(to, from)| *to == peer || *from == sender)
            .cloned()
            .collect();
        for conversation in concerned {
            self.keep(&conversation);
            self.wakes.remove(&conversation);
        }
    }

    /// A peer has left.
    pub(super) fn forget(&mut self, peer: PeerId) {
        self.wakes.retain(|(to, _), _| *to != peer);
    }

    /// The conversations that are damped.
    pub(super) fn damped(&self, now: Monotonic) -> impl Iterator<Item = &Conversation> {
        self.wakes.iter().filter(move |(_, wakes)| wakes.is_damped(now)).map(|(of, _)| of)
    }

    fn keep(&mut self, conversation: &Conversation) {
        self.before.push((conversation.clone(), self.wakes.get(conversation).cloned()));
    }

    /// Forgets the conversations that have become quiet.
    fn sweep(&mut self, now: Monotonic) {
        let full = self.wakes.len() >= CONVERSATIONS_MAX;
        if now.since(self.swept) >= if full { WAKE_DAMPED_EVERY } else { WAKE_WINDOW } {
            self.swept = now;
            self.wakes.retain(|_, wakes| !wakes.is_over(now));
        }
    }

    /// What the turn did stays.
    pub(super) fn commit(&mut self) {
        self.before.clear();
    }

    /// Takes back what the turn did.
    pub(super) fn abort(&mut self) {
        while let Some((conversation, before)) = self.before.pop() {
            match before {
                Some(wakes) => self.wakes.insert(conversation, wakes),
                None => self.wakes.remove(&conversation),
            };
        }
    }

    pub(super) fn check(&self) {
        assert!(self.wakes.len() <= CONVERSATIONS_MAX + PEERS_MAX, "conversations are bounded");
        assert!(self.alerts.len() <= MESH_ALERTS_MAX, "alerts are bounded");
        for ((to, from), wakes) in &self.wakes {
            let limit = self.limit(from.as_ref());
            assert!(wakes.at.len() <= limit, "the wakes of {to} that are counted are bounded");
        }
    }
}

/// The person at the command line is always told at once.
fn counts(from: &Party) -> bool {
    !from.is_cli()
}

impl<S: Store> Mesh<S> {
    /// An agent was woken with these messages.
    pub(super) fn woken(&mut self, to: PeerId, messages: &[Message]) -> Result<()> {
        let from = messages.iter().map(|message| (message.seq, &message.from));
        let begun = self.loops.woken(to, from, self.now.mono);
        for conversation in &begun {
            let damped = Fact::ConversationDamped(self.damped_info(conversation));
            self.event(damped, None)?;
        }
        Ok(())
    }

    /// Something was sent to peers: what its sender is to be told, if it waits to be told with others.
    /// For several, of the first of them.
    pub(super) fn damped_reason(&mut self, from: &Party, to: &[PeerId]) -> Option<Box<str>> {
        let mut first = None;
        for peer in to {
            if let Some(damped) = self.loops.sent(from, *peer, self.now.mono) {
                first.get_or_insert((damped, *peer));
            }
        }
        let (damped, peer) = first?;
        let name = self.peers.get(&peer).map(|present| &*present.record.name).unwrap_or_default();
        Some(reason(damped, self.settings.wake_limit, name).into())
    }

    /// Leaves in `messages` what may wake `to` now. Gives how long it is until more may, if there is
    /// more.
    pub(super) fn leave_what_wakes(
        &self,
        to: PeerId,
        messages: &mut Vec<Message>,
    ) -> Option<Duration> {
        let mut wait = None;
        messages.retain(|message| {
            let until = self.loops.wait_until((message.seq, &message.from), to, self.now.mono);
            wait = wait.into_iter().chain(until.map(|until| until.since(self.now.mono))).min();
            until.is_none()
        });
        wait
    }

    /// For `status`.
    pub(super) fn damped(&self) -> Vec<DampedInfo> {
        let damped = self.loops.damped(self.now.mono).take(DAMPED_SHOWN_MAX);
        damped.map(|conversation| self.damped_info(conversation)).collect()
    }

    fn damped_info(&self, (to, from): &Conversation) -> DampedInfo {
        let name = |id: &PeerId| Some(self.peers.get(id)?.record.name.clone());
        DampedInfo {
            from_peer: from.clone(),
            from_name: from.as_ref().and_then(|from| match from {
                Party::Peer(id) => name(id),
                Party::Cli | Party::CliAt(_) | Party::Label(_) => Some(from.to_string().into()),
            }),
            to_peer: *to,
            to_name: name(to).unwrap_or_default(),
        }
    }
}

/// What its sender is told of a message that waits.
fn reason(damped: Damped, limit: u32, to: &str) -> String {
    let (minutes, every) = (minutes(WAKE_WINDOW), minutes(WAKE_DAMPED_EVERY));
    let (who, wakes, messages) = match damped {
        Damped::Sender => ("you have", limit, "your messages to it are"),
        Damped::Everyone => ("everybody together has", limit * 5 / 2, "what it is sent is"),
    };
    format!(
        "{who} woken {to} {wakes} times within {minutes} minutes, so that {messages} stored and \
         told together, every {every} minutes, until none has come for {minutes} minutes; a \
         message from the command line ends that (SLM_MESH_WAKE_LIMIT sets how many wakes, 0 any \
         number)"
    )
}

fn minutes(time: Duration) -> u64 {
    time.as_secs() / 60
}

#[cfg(test)]
mod tests;
