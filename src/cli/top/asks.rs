//! What is asked of the broker, and when: as little as the picture needs, and never so often that the
//! person's other commands, which share one rate with this, are refused.

use std::collections::VecDeque;
use std::time::Duration;

use crate::api::{History, ListPeers, ReadEvents, Request, Scope};
use crate::limits::{LIST_LIMIT_MAX, WAIT_SECONDS_MAX};
use crate::model::{Monotonic, Seq};

/// Between two readings of events in the long run. The broker grants 10 requests a second to the
/// command line and all labels together; this and the next take 7 of them.
const EVENTS_INTERVAL: Duration = Duration::from_millis(250);
/// The same for everything else.
const QUERIES_INTERVAL: Duration = Duration::from_millis(333);
/// How many of each may be made at once after a quiet time.
const BURST: u32 = 8;
/// Between two looks at the whole list of peers or locks, or at the counts.
const LIST_MIN: Duration = Duration::from_secs(1);
/// Between two looks at messages.
const MESSAGES_MIN: Duration = Duration::from_millis(200);
/// How often peers and counts are looked at without an event: changes of summaries and branches, and
/// peers that become stale, have none.
const LISTS_EVERY: Duration = Duration::from_secs(10);
/// Most messages of one look.
const LOOK_LIMIT: u32 = 64;
/// After so many full answers in a row the reading of events is behind for good.
const FULL_ANSWERS_MAX: u32 = 4;
/// Events read to begin with.
const FIRST_EVENTS: u32 = 500;

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Events,
    Peers,
    Locks,
    Status,
    Messages(MessageSpan),
    Send(Addressee),
    /// To free a file.
    Unlock(Box<str>),
}

/// Whom a message goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addressee {
    /// As the broker is told.
    pub(super) to: Box<str>,
    /// As the person is told.
    pub(super) name: Box<str>,
    pub(super) reply_to: Option<crate::model::MessageId>,
}

/// The messages from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MessageSpan {
    pub(super) first: Seq,
    pub(super) last: Seq,
}

/// Something that is looked at again when it has changed, but not too often.
#[derive(Clone, Copy, Debug, Default)]
struct Refresh {
    wanted_at: Option<Monotonic>,
    last: Option<Monotonic>,
}

impl Refresh {
    fn want(&mut self, at: Monotonic) {
        let at = self.last.map_or(at, |last| at.max(last.plus(LIST_MIN)));
        self.wanted_at = Some(self.wanted_at.map_or(at, |wanted| wanted.min(at)));
    }
}

/// A number of requests that refills evenly, as one time: when it would be full again.
#[derive(Clone, Copy, Debug, Default)]
struct Budget {
    full_at: Monotonic,
}

impl Budget {
    /// When the next request may be made.
    fn next_at(self, interval: Duration) -> Monotonic {
        Monotonic(self.full_at.0.saturating_sub(interval * (BURST - 1)))
    }

    fn take(&mut self, interval: Duration, now: Monotonic) {
        self.full_at = self.full_at.max(now).plus(interval);
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Asks {
    events: Budget,
    queries: Budget,
    /// Where the reading of events goes on; none: with the newest.
    pub(super) cursor: Option<Seq>,
    /// The broker has answered, and nothing since says that it has gone.
    pub(super) is_live: bool,
    is_reading: bool,
    is_asking: bool,
    /// Nothing is asked before this time.
    quiet_until: Monotonic,
    full_answers: u32,
    locks: Refresh,
    peers: Refresh,
    status: Refresh,
    messages_at: Option<Monotonic>,
    /// What the person wants done: before anything else.
    pub(super) urgent: VecDeque<(Purpose, Request)>,
}

impl Asks {
    /// Lists, counts or messages are to be looked at, not before `at`.
    pub(super) fn want(&mut self, what: &Purpose, at: Monotonic) {
        match what {
            Purpose::Messages(_) => self.messages_at = Some(at),
            Purpose::Peers => self.peers.want(at),
            Purpose::Locks => self.locks.want(at),
            Purpose::Status => self.status.want(at),
            _ => {}
        }
    }

    /// Messages are to be looked at at once.
    pub(super) fn hurry(&mut self) {
        self.messages_at = None;
    }

    /// Everything is looked at anew.
    pub(super) fn want_all(&mut self, now: Monotonic) {
        for what in [Purpose::Peers, Purpose::Locks, Purpose::Status] {
            self.want(&what, now);
        }
    }

    /// The next request of those that are due. `look` is the next one at messages, and from when on.
    pub(super) fn poll(
        &mut self,
        look: Option<(Monotonic, MessageSpan)>,
        now: Monotonic,
    ) -> Option<(Purpose, Request)> {
        let can_ask = !self.is_asking && self.is_live;
        if can_ask && let Some((purpose, request)) = self.urgent.pop_front() {
            self.is_asking = true;
            return Some((purpose, request));
        }
        if now < self.quiet_until {
            return None;
        }
        if !self.is_reading && self.events.next_at(EVENTS_INTERVAL) <= now {
            self.is_reading = true;
            self.events.take(EVENTS_INTERVAL, now);
            return Some((Purpose::Events, self.read_events()));
        }
        if !can_ask {
            return None;
        }
        let (_, purpose) = self.next_query(look).filter(|(at, _)| *at <= now)?;
        self.is_asking = true;
        self.queries.take(QUERIES_INTERVAL, now);
        let request = self.query(&purpose, now);
        Some((purpose, request))
    }

    /// What is asked next, and when: what has waited longest.
    fn next_query(&self, look: Option<(Monotonic, MessageSpan)>) -> Option<(Monotonic, Purpose)> {
        let messages_min = self.messages_at.map(|last| last.plus(MESSAGES_MIN));
        let wanted = [
            self.locks.wanted_at.map(|at| (at, Purpose::Locks)),
            self.peers.wanted_at.map(|at| (at, Purpose::Peers)),
            self.status.wanted_at.map(|at| (at, Purpose::Status)),
            look.map(|(at, look)| (at.max(messages_min.unwrap_or(at)), Purpose::Messages(look))),
        ];
        let (at, purpose) = wanted.into_iter().flatten().min_by_key(|(at, _)| *at)?;
        Some((at.max(self.queries.next_at(QUERIES_INTERVAL)), purpose))
    }

    fn query(&mut self, purpose: &Purpose, now: Monotonic) -> Request {
        let asked = Refresh { wanted_at: None, last: Some(now) };
        let again = Refresh { wanted_at: Some(now.plus(LISTS_EVERY)), ..asked };
        match purpose {
            Purpose::Locks => {
                self.locks = asked;
                Request::QueryLocks { peer_id: Some("cli".into()), path: None }
            }
            Purpose::Peers => {
                self.peers = again;
                Request::Peers(ListPeers {
                    scope: Scope::Mesh,
                    include_stale: true,
                    unread: true,
                    ..ListPeers::default()
                })
            }
            Purpose::Messages(look) => {
                self.messages_at = Some(now);
                Request::History(History {
                    after: Some(Seq(look.first.0.saturating_sub(1))),
                    before: Some(look.last.next()),
                    limit: Some(LOOK_LIMIT),
                    ..History::default()
                })
            }
            _ => {
                self.status = again;
                Request::Status
            }
        }
    }

    fn read_events(&self) -> Request {
        let first = self.cursor.is_none();
        Request::ReadEvents(ReadEvents {
            after: self.cursor,
            limit: Some(if first { FIRST_EVENTS } else { LIST_LIMIT_MAX }),
            // The first answer of a broker comes at once, and tells that it is there.
            wait: if self.is_live && !first { WAIT_SECONDS_MAX } else { 0 },
            ..ReadEvents::default()
        })
    }

    /// The answer to a reading of events has come, with so many; gives whether it is too far behind to
    /// go on where it was.
    pub(super) fn has_read(&mut self, count: usize) -> bool {
        let full = u32::try_from(count).unwrap_or(u32::MAX) >= LIST_LIMIT_MAX;
        self.full_answers = if full { self.full_answers + 1 } else { 0 };
        full && self.full_answers.is_multiple_of(FULL_ANSWERS_MAX)
    }

    /// A request has an answer, or will have none.
    pub(super) fn has_ended(&mut self, purpose: &Purpose) {
        match purpose {
            Purpose::Events => self.is_reading = false,
            _ => self.is_asking = false,
        }
    }

    /// Nothing is asked for a while.
    pub(super) fn be_quiet(&mut self, until: Monotonic) {
        self.quiet_until = self.quiet_until.max(until);
    }

    /// When something will be due.
    pub(super) fn deadline(&self, look: Option<(Monotonic, MessageSpan)>) -> Option<Monotonic> {
        let reading = (!self.is_reading).then(|| self.events.next_at(EVENTS_INTERVAL));
        let can_ask = !self.is_asking && self.is_live;
        let query = self.next_query(look).filter(|_| can_ask).map(|(at, _)| at);
        let next = reading.into_iter().chain(query).min();
        next.map(|at| at.max(self.quiet_until))
    }
}
