//! What is asked of the broker, and when: as little as the picture needs, and never so often that the
//! person's other commands, which share one rate with this, are refused.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::picture::{MessageRow, Picture, Text};
use crate::api::{Fetch, Filter, ListPeers, ReadEvents, Request, Scope};
use crate::limits::{LIST_LIMIT_MAX, WAIT_SECONDS_MAX};
use crate::model::{Monotonic, Party, PeerId, Seq};

/// Readings of events in the long run, and after a quiet time. The broker grants 10 requests a second
/// to the command line and all labels together; this and the next take 6 of them, and looks at their
/// messages one.
const EVENTS_RATE: Rate = Rate { interval: Duration::from_millis(250), burst: 8 };
/// The same for lists and counts.
const LISTS_RATE: Rate = Rate { interval: Duration::from_millis(500), burst: 8 };
/// The same for messages, whose senders' own rates they are taken from.
const TEXTS_RATE: Rate = Rate { interval: Duration::from_millis(100), burst: 20 };
/// Between two looks at the whole list of peers or locks, or at the counts.
const REFRESH_MIN: Duration = Duration::from_secs(1);
/// After so long the peers are looked at though no event said that they changed: summaries, branches
/// and stale peers have none.
const PEERS_EVERY: Duration = Duration::from_secs(10);
/// Between two looks at messages of one sender.
const SENDER_EVERY: Duration = Duration::from_secs(1);
/// Most messages of one look.
const LOOK_LIMIT: u32 = 64;
/// Doublings of the pause between two looks at one message.
const LOOKS_MAX: u32 = 6;
/// After so many full answers in a row the reading of events is behind for good.
const FULL_ANSWERS_MAX: u32 = 4;
/// Events read to begin with.
const FIRST_EVENTS: u32 = 500;
/// How long a broker that has gone is left alone.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Most senders remembered.
const SENDERS_MAX: usize = 4096;

/// Which of the two connections: one is held until there are events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli::top) enum Line {
    Events,
    Queries,
}

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli::top) enum Purpose {
    Events,
    Peers,
    Locks,
    Status,
    /// Texts of messages.
    Texts(Look),
    /// One message, in full.
    Full(Look),
    /// To send a message, to whoever is called so.
    Send(Box<str>),
    /// To free a file.
    Unlock(Box<str>),
}

/// A look at messages of one sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli::top) struct Look {
    pub(super) sender: Party,
    /// In whose list: the sender's, or where that is gone, the recipient's.
    pub(super) inbox: Option<Party>,
    pub(super) first: Seq,
    pub(super) last: Seq,
}

impl Look {
    fn request(&self) -> Request {
        let (filter, whose) = match &self.inbox {
            None => (Filter::Sent, &self.sender),
            Some(inbox) => (Filter::All, inbox),
        };
        Request::Fetch(Fetch {
            peer_id: Some(whose.to_string().into()),
            filter,
            limit: Some(LOOK_LIMIT),
            peek: true,
            after: Some(Seq(self.first.0.saturating_sub(1))),
            before: Some(self.last.next()),
            ..Fetch::default()
        })
    }
}

/// How often something may be done.
#[derive(Clone, Copy, Debug)]
struct Rate {
    interval: Duration,
    burst: u32,
}

/// A number of requests that refills evenly, as one time: when it would be full again.
#[derive(Clone, Copy, Debug, Default)]
struct Budget {
    full_at: Monotonic,
}

impl Budget {
    /// When the next request may be made.
    fn next_at(self, rate: Rate) -> Monotonic {
        let room = rate.interval * rate.burst.saturating_sub(1);
        Monotonic(self.full_at.0.saturating_sub(room))
    }

    fn take(&mut self, rate: Rate, now: Monotonic) {
        self.full_at = self.full_at.max(now).plus(rate.interval);
    }
}

/// Something that is looked at again when it has changed, but not too often.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refresh {
    wanted_at: Option<Monotonic>,
    last: Option<Monotonic>,
}

impl Refresh {
    /// Wants a look as soon as that makes sense.
    pub(super) fn want(&mut self, now: Monotonic) {
        let at = self.last.map_or(now, |last| last.plus(REFRESH_MIN).max(now));
        self.want_at(at);
    }

    fn want_at(&mut self, at: Monotonic) {
        self.wanted_at = Some(self.wanted_at.map_or(at, |wanted| wanted.min(at)));
    }

    fn take(&mut self, now: Monotonic) -> bool {
        let due = self.wanted_at.is_some_and(|at| at <= now);
        if due {
            *self = Self { wanted_at: None, last: Some(now) };
        }
        due
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Asks {
    events: Budget,
    lists: Budget,
    texts: Budget,
    /// Where the reading of events goes on; none: with the newest.
    pub(super) cursor: Option<Seq>,
    /// The broker has answered, and nothing since says that it has gone.
    pub(super) is_live: bool,
    is_reading: bool,
    is_asking: bool,
    /// Nothing is asked before.
    quiet_until: Monotonic,
    full_answers: u32,
    pub(super) peers: Refresh,
    pub(super) locks: Refresh,
    pub(super) status: Refresh,
    /// What the person wants done: before anything else.
    pub(super) urgent: VecDeque<(Purpose, Request)>,
    senders: HashMap<Party, Monotonic>,
    pub(super) gone: HashSet<PeerId>,
}

impl Asks {
    /// Everything is looked at anew.
    pub(super) fn refresh_all(&mut self, now: Monotonic) {
        for refresh in [&mut self.peers, &mut self.locks, &mut self.status] {
            refresh.want_at(now);
        }
    }

    /// The next request of those that are due. `visible` gives the messages on the screen.
    pub(super) fn poll(
        &mut self,
        picture: &Picture,
        visible: impl FnOnce() -> Vec<Seq>,
        now: Monotonic,
    ) -> Option<(Line, Purpose, Request)> {
        if !self.is_asking
            && self.is_live
            && let Some((purpose, request)) = self.urgent.pop_front()
        {
            self.is_asking = true;
            return Some((Line::Queries, purpose, request));
        }
        if now < self.quiet_until {
            return None;
        }
        if !self.is_reading && self.events.next_at(EVENTS_RATE) <= now {
            self.is_reading = true;
            self.events.take(EVENTS_RATE, now);
            return Some((Line::Events, Purpose::Events, self.read_events()));
        }
        if self.is_asking || !self.is_live {
            return None;
        }
        let ask = self.next_list(now).or_else(|| self.next_texts(picture, visible, now))?;
        self.is_asking = true;
        let (purpose, request) = ask;
        Some((Line::Queries, purpose, request))
    }

    /// The next list, or the counts.
    fn next_list(&mut self, now: Monotonic) -> Option<(Purpose, Request)> {
        if self.lists.next_at(LISTS_RATE) > now {
            return None;
        }
        let ask = if self.locks.take(now) {
            let request = Request::QueryLocks { peer_id: Some("cli".into()), path: None };
            (Purpose::Locks, request)
        } else if self.peers.take(now) {
            self.peers.want_at(now.plus(PEERS_EVERY));
            let scope = Scope::Mesh;
            let list = ListPeers { scope, include_stale: true, ..ListPeers::default() };
            (Purpose::Peers, Request::Peers(list))
        } else if self.status.take(now) {
            self.status.want_at(now.plus(PEERS_EVERY));
            (Purpose::Status, Request::Status)
        } else {
            return None;
        };
        self.lists.take(LISTS_RATE, now);
        Some(ask)
    }

    /// The next look at messages.
    fn next_texts(
        &mut self,
        picture: &Picture,
        visible: impl FnOnce() -> Vec<Seq>,
        now: Monotonic,
    ) -> Option<(Purpose, Request)> {
        if self.texts.next_at(TEXTS_RATE) > now {
            return None;
        }
        let look = self.next_look(picture, &visible(), now)?;
        self.remember_sender(&look.sender, now);
        self.texts.take(TEXTS_RATE, now);
        let request = look.request();
        Some((Purpose::Texts(look), request))
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

    /// The messages on the screen of which something is not known yet, those of one sender at a time,
    /// the newest first.
    fn next_look(&self, picture: &Picture, visible: &[Seq], now: Monotonic) -> Option<Look> {
        let due = |row: &MessageRow| row.look_at <= now && !settled(row);
        let rows = visible.iter().filter_map(|seq| picture.message(*seq)).filter(|row| due(row));
        let rows: Vec<&MessageRow> = rows.collect();
        let newest = rows.iter().filter(|row| self.sender_at(&row.from) <= now);
        let newest = newest.max_by_key(|row| row.seq)?;
        let inbox = self.other_list(newest);
        let same = rows.iter().filter(|row| row.from == newest.from);
        let same = same.filter(|row| inbox.is_none() || row.to == newest.to);
        let first = same.map(|row| row.seq).min().unwrap_or(newest.seq);
        Some(Look { sender: newest.from.clone(), inbox, first, last: newest.seq })
    }

    /// One message.
    pub(super) fn look_at(&self, row: &MessageRow) -> (Purpose, Request) {
        let (sender, inbox) = (row.from.clone(), self.other_list(row));
        let look = Look { sender, inbox, first: row.seq, last: row.seq };
        let request = look.request();
        (Purpose::Full(look), request)
    }

    /// Whose list a message stands in, if its sender has gone.
    fn other_list(&self, row: &MessageRow) -> Option<Party> {
        let gone = row.from.peer().is_some_and(|id| self.gone.contains(&id));
        if gone { row.to.clone() } else { None }
    }

    fn sender_at(&self, sender: &Party) -> Monotonic {
        self.senders
            .get(&bucket(sender))
            .map_or(Monotonic::default(), |last| last.plus(SENDER_EVERY))
    }

    fn remember_sender(&mut self, sender: &Party, now: Monotonic) {
        if self.senders.len() >= SENDERS_MAX {
            self.senders.retain(|_, last| last.plus(SENDER_EVERY) > now);
        }
        self.senders.insert(bucket(sender), now);
    }

    /// The answer to a reading of events has come, with so many; gives whether it is too far behind to
    /// go on where it was.
    pub(super) fn has_read(&mut self, count: usize) -> bool {
        self.is_reading = false;
        let full = u32::try_from(count).unwrap_or(u32::MAX) >= LIST_LIMIT_MAX;
        self.full_answers = if full { self.full_answers + 1 } else { 0 };
        let behind = self.full_answers >= FULL_ANSWERS_MAX;
        if behind {
            self.full_answers = 0;
        }
        behind
    }

    /// The answer to anything else has come.
    pub(super) fn has_asked(&mut self) {
        self.is_asking = false;
    }

    /// A request on this line has no answer.
    pub(super) fn has_failed(&mut self, line: Line) {
        match line {
            Line::Events => self.is_reading = false,
            Line::Queries => self.is_asking = false,
        }
    }

    /// Nothing is asked for a while.
    pub(super) fn be_quiet(&mut self, until: Monotonic) {
        self.quiet_until = self.quiet_until.max(until);
    }

    /// When something will be due; looks at messages are told by `look_at`.
    pub(super) fn deadline(&self, look_at: Option<Monotonic>) -> Option<Monotonic> {
        let reading = (!self.is_reading).then(|| self.events.next_at(EVENTS_RATE));
        let refreshes = [self.peers, self.locks, self.status].map(|refresh| refresh.wanted_at);
        let lists = refreshes.into_iter().flatten().min();
        let lists = lists.map(|at| at.max(self.lists.next_at(LISTS_RATE)));
        let texts = look_at.map(|at| at.max(self.texts.next_at(TEXTS_RATE)));
        let can_ask = !self.is_asking && self.is_live;
        let queries = lists.into_iter().chain(texts).filter(|_| can_ask);
        let next = reading.into_iter().chain(queries).min();
        next.map(|at| at.max(self.quiet_until))
    }

    /// When one of these messages is worth another look.
    pub(super) fn next_look_at(&self, picture: &Picture, visible: &[Seq]) -> Option<Monotonic> {
        let rows = visible.iter().filter_map(|seq| picture.message(*seq));
        let open = rows.filter(|row| !settled(row));
        open.map(|row| row.look_at.max(self.sender_at(&row.from))).min()
    }
}

/// Whose rate a look at messages is taken from: the command line and all labels have one together.
fn bucket(sender: &Party) -> Party {
    if sender.peer().is_some() { sender.clone() } else { Party::Cli }
}

/// Whether everything is known of a message that ever will be.
fn settled(row: &MessageRow) -> bool {
    row.text == Text::Gone || (row.text != Text::Unknown && row.marks.is_final())
}

/// A message has been looked at; the next time is later and later.
pub(super) fn looked(row: &mut MessageRow, now: Monotonic) {
    row.look_at = now.plus(SENDER_EVERY * 2_u32.pow(row.looks.min(LOOKS_MAX)));
    row.looks = row.looks.saturating_add(1);
}
