//! Which way to the hub is tried when, and what is said if none leads there.
//!
//! The addresses race as in RFC 8305: each gets a short lead before the next is tried beside it, and
//! the handshake is had with one at a time, so that a hub never sees a machine twice. One that fails
//! goes behind the others for the next time. Where the known addresses do not answer, the hub is
//! looked for by mDNS; of several hubs nobody knows, none is taken.
//!
//! [`Plan`] has no socket, thread or clock: it is told what has become of what it asked for
//! ([`Act`]), and the time.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::config::{DISCOVERY, HOST, HubAddress, HubHost};
use crate::lan::discovery::{Candidates, Heard};
use crate::limits::{
    DISCOVERY_TIME, HUB_CONNECT_LEAD, HUB_CONNECT_TIME_MAX, HUB_CONNECTS_MAX,
    HUB_HANDSHAKE_TIME_MAX, HUB_SEARCH_AFTER, HUB_SEARCH_EVERY, HUB_TRY_TIME_MAX,
};
use crate::model::{MachineId, Monotonic};

/// Most failures that are told of one try.
const TOLD_MAX: usize = 4;

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Look up its name; [`Plan::resolved`] tells what came of it.
    Resolve(HubAddress),
    /// Connect; [`Plan::connected`] or [`Plan::failed`] tells what came of it.
    Connect(u64, SocketAddr),
    /// Begin the handshake on this one; its end is [`Plan::opened`] or [`Plan::failed`].
    Shake(u64),
    /// Forget this one.
    Drop(u64),
    /// Listen for hubs; [`Plan::heard`] tells which there are.
    Search,
    /// Listen no longer.
    EndSearch,
    /// The try has failed.
    GiveUp(Failure),
}

/// Why a try has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker::relay) struct Failure {
    /// In words.
    pub(in crate::broker::relay) words: Box<str>,
    /// The hub itself has said no, and would say it again.
    pub(in crate::broker::relay) refused: bool,
}

/// An address as it is tried, and by which of the places it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker::relay) struct Way {
    /// The address.
    pub(in crate::broker::relay) at: SocketAddr,
    /// The place; none: it was heard by mDNS.
    pub(in crate::broker::relay) place: Option<HubAddress>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    Connected,
    Shaking,
}

#[derive(Debug)]
struct Attempt {
    id: u64,
    way: Way,
    stage: Stage,
    /// When the stage began.
    since: Monotonic,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Plan {
    hub: Option<MachineId>,
    /// Where the hub may be, the best first.
    places: Vec<HubAddress>,
    /// mDNS may be used.
    discovery: bool,
    /// When this try began; none: there is none.
    since: Option<Monotonic>,
    queue: VecDeque<Way>,
    /// Addresses of this try.
    known: Vec<SocketAddr>,
    attempts: Vec<Attempt>,
    last_id: u64,
    /// When an address was tried last.
    begun: Option<Monotonic>,
    /// Names that are looked up, those of former tries included.
    resolving: Vec<HubAddress>,
    search: Option<(Candidates, Monotonic)>,
    /// When the last search began.
    searched: Option<Monotonic>,
    /// In this try.
    has_searched: bool,
    told: Vec<String>,
    /// How many of these are a no of a hub.
    refusals: usize,
    acts: VecDeque<Act>,
}

impl Plan {
    pub(super) fn new(hub: Option<MachineId>, places: Vec<HubAddress>, discovery: bool) -> Self {
        Self {
            hub,
            places,
            discovery,
            since: None,
            queue: VecDeque::new(),
            known: Vec::new(),
            attempts: Vec::new(),
            last_id: 0,
            begun: None,
            resolving: Vec::new(),
            search: None,
            searched: None,
            has_searched: false,
            told: Vec::new(),
            refusals: 0,
            acts: VecDeque::new(),
        }
    }

    /// What is to be done next.
    pub(super) fn next_act(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// Begins a try.
    pub(super) fn begin(&mut self, now: Monotonic) {
        self.end();
        self.since = Some(now);
        for place in self.places.clone() {
            match place.host {
                HubHost::Address(ip) => {
                    self.add(Way { at: SocketAddr::new(ip, place.port), place: Some(place) });
                }
                HubHost::Name(_) if self.resolving.contains(&place) => {}
                HubHost::Name(_) => {
                    self.resolving.push(place.clone());
                    self.acts.push_back(Act::Resolve(place));
                }
            }
        }
        self.go_on(now);
    }

    /// Forgets the try: what it has begun is nobody's any more.
    pub(super) fn end(&mut self) {
        self.since = None;
        self.acts.retain(|act| matches!(act, Act::Resolve(_) | Act::Drop(_) | Act::EndSearch));
        self.acts.extend(self.attempts.drain(..).map(|attempt| Act::Drop(attempt.id)));
        self.end_search();
        self.queue.clear();
        self.known.clear();
        self.told.clear();
        self.refusals = 0;
        self.begun = None;
        self.has_searched = false;
    }

    /// What the look-up of a name came to: its addresses, or why there are none.
    pub(super) fn resolved(
        &mut self,
        place: &HubAddress,
        found: Result<Vec<SocketAddr>, String>,
        now: Monotonic,
    ) {
        self.resolving.retain(|other| other != place);
        if self.since.is_none() {
            return;
        }
        match found {
            Ok(found) => {
                for at in found {
                    self.add(Way { at, place: Some(place.clone()) });
                }
            }
            Err(why) => self.note(why),
        }
        self.go_on(now);
    }

    /// There is a connection, and nothing was said on it.
    pub(super) fn connected(&mut self, id: u64, now: Monotonic) {
        if let Some(attempt) = self.attempts.iter_mut().find(|attempt| attempt.id == id) {
            (attempt.stage, attempt.since) = (Stage::Connected, now);
        }
        self.go_on(now);
    }

    /// There is none, or not to the hub. `refused`: the hub has said no, and would say it again.
    pub(super) fn failed(&mut self, id: u64, why: &str, refused: bool, now: Monotonic) {
        let Some(attempt) = self.take(id) else { return };
        if refused && self.hub.is_some() {
            self.give_up(Failure { words: why.into(), refused });
            return;
        }
        // Of several hubs that may be meant another may let this machine in.
        self.refusals += usize::from(refused);
        self.put_behind(&attempt.way);
        if refused && self.known.len() == 1 {
            self.note(why.to_owned());
        } else {
            self.note(format!("{}: {why}", attempt.way.at));
        }
        self.go_on(now);
    }

    /// The hub has let this machine in by this way, which is given. The try is over.
    pub(super) fn opened(&mut self, id: u64, hub: MachineId) -> Option<Way> {
        let way = self.take(id)?.way;
        self.end();
        self.hub = Some(hub);
        Some(way)
    }

    /// The hub was reached there: that place is the first to be tried from now on.
    pub(super) fn prefer(&mut self, place: HubAddress) {
        self.places.retain(|other| *other != place);
        self.places.insert(0, place);
        self.places.truncate(crate::limits::HUB_ADDRESSES_MAX);
    }

    /// Something was heard by mDNS.
    pub(super) fn heard(&mut self, heard: Heard, now: Monotonic) {
        let Some((candidates, _)) = &mut self.search else { return };
        candidates.hear(heard);
        if self.hub.is_some() {
            let found: Vec<_> =
                candidates.fitting().flat_map(|it| it.addresses.iter().copied()).collect();
            for at in found {
                self.add(Way { at, place: None });
            }
        }
        self.go_on(now);
    }

    /// There is no search after all.
    pub(super) fn cannot_search(&mut self, why: String, now: Monotonic) {
        self.search = None;
        self.note(why);
        self.go_on(now);
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Monotonic) {
        let over = |attempt: &Attempt| attempt.over_at().is_some_and(|at| at <= now);
        while let Some(late) = self.attempts.iter().find(|it| over(it)).map(|it| it.id) {
            let Some(attempt) = self.take(late) else { break };
            self.acts.push_back(Act::Drop(late));
            self.put_behind(&attempt.way);
            let what = if attempt.stage == Stage::Shaking {
                "something accepts connections there and does not go on as a hub does"
            } else {
                "no answer"
            };
            self.note(format!("{}: {what}", attempt.way.at));
        }
        if self.search.as_ref().is_some_and(|(_, until)| *until <= now) {
            self.conclude_search();
        }
        self.go_on(now);
    }

    /// When [`Plan::tick`] is due.
    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        let since = self.since?;
        let is_shaking = self.shaking();
        let lead = self.begun.map(|at| at.plus(HUB_CONNECT_LEAD));
        let has_room = self.attempts.len() < HUB_CONNECTS_MAX;
        let next = lead.filter(|_| !is_shaking && has_room && !self.queue.is_empty());
        let search = Some(since.plus(HUB_SEARCH_AFTER)).filter(|at| self.may_search(*at));
        let search = search.filter(|_| !is_shaking);
        let ends = self.attempts.iter().filter_map(Attempt::over_at);
        let searched = self.search.as_ref().map(|(_, until)| *until);
        let all = ends.chain(next).chain(search).chain(searched);
        all.chain([since.plus(HUB_TRY_TIME_MAX)]).min()
    }

    fn shaking(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.stage == Stage::Shaking)
    }

    fn take(&mut self, id: u64) -> Option<Attempt> {
        let at = self.attempts.iter().position(|attempt| attempt.id == id)?;
        Some(self.attempts.remove(at))
    }

    fn add(&mut self, way: Way) {
        if !self.known.contains(&way.at) {
            self.known.push(way.at);
            self.queue.push_back(way);
        }
    }

    fn note(&mut self, why: String) {
        self.told.push(why);
    }

    /// The next try begins with those that were not tried in vain.
    fn put_behind(&mut self, way: &Way) {
        if let Some(place) = &way.place
            && let Some(at) = self.places.iter().position(|other| other == place)
        {
            let place = self.places.remove(at);
            self.places.push(place);
        }
    }

    fn go_on(&mut self, now: Monotonic) {
        let Some(since) = self.since else { return };
        if !self.shaking() {
            let connected = self.attempts.iter_mut().find(|it| it.stage == Stage::Connected);
            if let Some(attempt) = connected {
                (attempt.stage, attempt.since) = (Stage::Shaking, now);
                self.acts.push_back(Act::Shake(attempt.id));
            } else {
                self.connect(now);
                if now >= since.plus(HUB_SEARCH_AFTER) && self.may_search(now) {
                    self.begin_search(now);
                }
            }
        }
        let is_exhausted = self.attempts.is_empty() && self.queue.is_empty();
        if is_exhausted && self.resolving.is_empty() && self.search.is_none() {
            if self.may_search(now) {
                self.begin_search(now);
            } else {
                self.give_up_with_all();
            }
        } else if now >= since.plus(HUB_TRY_TIME_MAX) {
            self.give_up_with_all();
        }
    }

    fn connect(&mut self, now: Monotonic) {
        let has_led = self.begun.is_none_or(|at| at.plus(HUB_CONNECT_LEAD) <= now);
        if self.attempts.len() >= HUB_CONNECTS_MAX || !(self.attempts.is_empty() || has_led) {
            return;
        }
        if let Some(way) = self.queue.pop_front() {
            self.last_id += 1;
            self.begun = Some(now);
            self.acts.push_back(Act::Connect(self.last_id, way.at));
            let (id, stage) = (self.last_id, Stage::Connecting);
            self.attempts.push(Attempt { id, way, stage, since: now });
        }
    }

    /// Whether the hub is to be looked for by mDNS: where it is known what to look for and the network
    /// was not asked just now, or where nothing else is known.
    fn may_search(&self, now: Monotonic) -> bool {
        let rested = self.searched.is_none_or(|at| at.plus(HUB_SEARCH_EVERY) <= now);
        let is_for = self.places.is_empty() || self.hub.is_some() && rested;
        self.discovery && !self.has_searched && is_for
    }

    fn begin_search(&mut self, now: Monotonic) {
        self.has_searched = true;
        self.searched = Some(now);
        self.search = Some((Candidates::new(self.hub), now.plus(DISCOVERY_TIME)));
        self.acts.push_back(Act::Search);
    }

    fn end_search(&mut self) -> Option<Candidates> {
        let (candidates, _) = self.search.take()?;
        self.acts.push_back(Act::EndSearch);
        Some(candidates)
    }

    fn conclude_search(&mut self) {
        let Some(candidates) = self.end_search() else { return };
        let fitting: Vec<_> = candidates.fitting().collect();
        match (&*fitting, self.hub) {
            ([], Some(_)) => self.note("nor is it seen by mDNS".to_owned()),
            ([], None) => {
                self.note(format!(
                    "no hub is seen by mDNS: start it, or set {HOST} to its address"
                ));
            }
            (_, Some(_)) => {}
            ([only], None) => {
                for at in only.addresses.clone() {
                    self.add(Way { at, place: None });
                }
            }
            (several, None) => {
                let names: Vec<_> = several.iter().map(|it| it.name.as_str()).collect();
                self.note(format!(
                    "several hubs are seen by mDNS ({}), and none is chosen unasked: set {HOST} to \
                     the name or address of the right one",
                    names.join(", ")
                ));
            }
        }
    }

    fn give_up_with_all(&mut self) {
        let mut told = std::mem::take(&mut self.told);
        let refused = self.refusals > 0 && self.refusals == told.len();
        let more = told.len().saturating_sub(TOLD_MAX);
        if more > 0 {
            told.truncate(TOLD_MAX);
            told.push(format!("and {more} more"));
        }
        let mut words = told.join("; ");
        if words.is_empty() {
            words = if self.places.is_empty() && !self.discovery {
                format!("no address of it is known, and {DISCOVERY} says not to look for it")
            } else {
                "it does not answer".to_owned()
            };
        }
        self.give_up(Failure { words: words.into(), refused });
    }

    fn give_up(&mut self, failure: Failure) {
        self.end();
        self.acts.push_back(Act::GiveUp(failure));
    }
}

impl Attempt {
    /// When its stage has taken too long.
    fn over_at(&self) -> Option<Monotonic> {
        match self.stage {
            Stage::Connecting => Some(self.since.plus(HUB_CONNECT_TIME_MAX)),
            Stage::Shaking => Some(self.since.plus(HUB_HANDSHAKE_TIME_MAX)),
            Stage::Connected => None,
        }
    }
}

#[cfg(test)]
mod tests;
