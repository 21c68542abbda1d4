//! The requests that a relay has taken and not answered.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::limits::{UPLINK_GRANTS_MAX, UPLINK_PING_AFTER};
use crate::model::Monotonic;

/// A request on its way.
#[derive(Debug)]
pub(super) struct Open<A> {
    /// Who gets the answer; none: it has gone.
    pub(super) asker: Option<A>,
    /// What the answer is looked at for.
    pub(super) kind: AnswerKind,
    /// With which token that is not the operator's.
    pub(super) token: Option<Box<str>>,
    /// When it was sent, if it was.
    sent: Option<Monotonic>,
    /// The hub was told that nobody waits for it.
    cancelled: bool,
}

/// What the answer to a request may have in it that matters to a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerKind {
    /// A token.
    Register,
    /// A lock, which is freed if the answer is lost.
    Lock,
    /// Nothing.
    Other,
}

impl AnswerKind {
    pub(super) fn of(path: &str) -> Self {
        match path {
            "/register" => Self::Register,
            "/lock" => Self::Lock,
            _ => Self::Other,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Requests<A> {
    /// By id. Ids are never given twice, whatever becomes of the connection.
    open: BTreeMap<u64, Open<A>>,
    by_asker: BTreeMap<A, u64>,
    last: u64,
    /// Those up to here were followed by a ping.
    checked: u64,
    /// Requests for locks that were answered, the last of them; none: there was no connection yet.
    got: Option<VecDeque<u64>>,
    /// Who was given an answer that may hold a lock, as its last one: the request, and when.
    given: BTreeMap<A, (u64, Monotonic)>,
}

impl<A: Copy + Ord> Requests<A> {
    pub(super) fn new() -> Self {
        Self {
            open: BTreeMap::new(),
            by_asker: BTreeMap::new(),
            last: 0,
            checked: 0,
            got: None,
            given: BTreeMap::new(),
        }
    }

    /// The requests for locks of which the answers have come, for the hub to know after a cut; none
    /// where this is the first connection.
    pub(super) fn got(&mut self) -> Option<Vec<u64>> {
        let got = self.got.as_ref().map(|got| got.iter().copied().collect());
        self.got.get_or_insert_default();
        got
    }

    /// The answer to a request for a lock has come.
    pub(super) fn note_got(&mut self, id: u64) {
        let got = self.got.get_or_insert_default();
        if got.len() >= UPLINK_GRANTS_MAX {
            got.pop_front();
        }
        got.push_back(id);
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Those that wait for an answer.
    pub(super) fn askers(&self) -> impl Iterator<Item = A> {
        self.by_asker.keys().copied()
    }

    /// Takes a request of someone who has no other. Gives its id.
    pub(super) fn add(&mut self, asker: A, kind: AnswerKind, token: Option<Box<str>>) -> u64 {
        self.last += 1;
        self.given.remove(&asker);
        self.by_asker.insert(asker, self.last);
        self.open.insert(
            self.last,
            Open { asker: Some(asker), kind, token, sent: None, cancelled: false },
        );
        self.last
    }

    pub(super) fn sent(&mut self, id: u64, now: Monotonic) {
        if let Some(open) = self.open.get_mut(&id) {
            // What is said of it later follows it.
            open.sent.get_or_insert(now);
        }
    }

    /// Nobody may wait for the answer any more: gives the id, if that is new and the hub is to be told.
    pub(super) fn cancel(&mut self, asker: A) -> Option<u64> {
        let id = *self.by_asker.get(&asker)?;
        let open = self.open.get_mut(&id).filter(|open| !open.cancelled)?;
        open.cancelled = true;
        Some(id)
    }

    /// The client has gone. Gives the id of its request if it was not sent, and so is forgotten.
    pub(super) fn gone(&mut self, asker: A) -> Option<u64> {
        let id = self.by_asker.remove(&asker)?;
        let open = self.open.get_mut(&id)?;
        open.asker = None;
        if open.sent.is_some() {
            return None;
        }
        self.open.remove(&id);
        Some(id)
    }

    /// Takes the one that is answered.
    pub(super) fn answered(&mut self, id: u64) -> Option<Open<A>> {
        let open = self.open.remove(&id)?;
        if let Some(asker) = open.asker {
            self.by_asker.remove(&asker);
        }
        Some(open)
    }

    /// The answer that this client gets may hold a lock.
    pub(super) fn note_given(&mut self, asker: A, id: u64, now: Monotonic) {
        // Of those that are long gone nothing is lost that could be told.
        if self.given.len() >= UPLINK_GRANTS_MAX {
            self.given.retain(|_, (_, at)| now.since(*at) <= crate::limits::UNREAD_TIME_MAX);
        }
        if self.given.len() < UPLINK_GRANTS_MAX {
            self.given.insert(asker, (id, now));
        }
    }

    /// Which answer that may hold a lock was the last one to this client, and when.
    pub(super) fn take_given(&mut self, asker: A) -> Option<(u64, Monotonic)> {
        self.given.remove(&asker)
    }

    /// Takes those that were not sent.
    pub(super) fn take_unsent(&mut self) -> Vec<A> {
        self.take_those(|open| open.sent.is_none())
    }

    /// Takes all those that were sent, with their connection.
    pub(super) fn take_sent(&mut self) -> Vec<A> {
        self.given.clear();
        self.take_those(|open| open.sent.is_some())
    }

    fn take_those(&mut self, is_one: impl Fn(&Open<A>) -> bool) -> Vec<A> {
        let mut askers = Vec::new();
        self.open.retain(|_, open| {
            let taken = is_one(open);
            if taken {
                askers.extend(open.asker);
            }
            !taken
        });
        for asker in &askers {
            self.by_asker.remove(asker);
        }
        askers
    }

    /// When the first that no ping has followed has been without an answer for too long.
    pub(super) fn next_check(&self) -> Option<Monotonic> {
        let mut unchecked = self.open.range(self.checked + 1..);
        let sent = unchecked.find_map(|(_, open)| open.sent)?;
        Some(sent.plus(UPLINK_PING_AFTER))
    }

    /// A ping follows all that were sent.
    pub(super) fn note_ping(&mut self) {
        let sent = self.open.iter().rev().find(|(_, open)| open.sent.is_some());
        self.checked = sent.map_or(self.checked, |(id, _)| (*id).max(self.checked));
    }
}

/// How long until `at`, for people.
pub(super) fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0 => "less than a second".to_owned(),
        1 => "1 second".to_owned(),
        seconds @ 120.. => format!("{} minutes", seconds / 60),
        seconds => format!("{seconds} seconds"),
    }
}
