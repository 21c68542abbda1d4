//! Requests that are held: who waits for what and until when, in which order they are asked again, and
//! whether those who were given a lock have got the answer.
//!
//! It knows no socket, no poll and no clock, and is told of all that happens to whoever asked: the
//! simulation runs it as it ships. Like the mesh it works in turns, which end with [`Held::commit`] or
//! [`Held::abort`].

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::pending::Pending;
pub use super::table::Key;
use crate::api::{LockReply, Reply, Request};
use crate::mesh::{self, Caller, Effects, Interest, Lost, Mesh, Ticket};
use crate::model::{Monotonic, PeerId, Recipient, Seq};
use crate::store::Store;

/// What stands for events of every type.
const EVERY: &str = "*";

/// Who has asked, and gets the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Asker {
    /// A client of this machine, on this connection.
    Http(Key),
    /// One of another machine.
    Remote {
        /// Its machine's connection.
        machine: Key,
        /// The request's id there.
        id: u64,
    },
}

impl Asker {
    /// None is less.
    const FIRST: Self = Self::Http(Key::SINGLE);
}

/// A request that waits for something to happen.
#[derive(Debug)]
pub struct Hold {
    /// Whose it is.
    pub caller: Caller,
    /// What was asked.
    pub request: Request,
    on: Interest,
    until: Monotonic,
    hung_up: bool,
    /// It is to be asked again.
    woken: bool,
}

impl Hold {
    /// A request that waits for `on`, and no longer than `until`.
    #[must_use]
    pub fn new(caller: Caller, request: Request, on: Interest, until: Monotonic) -> Box<Self> {
        Box::new(Self { caller, request, on, until, hung_up: false, woken: false })
    }

    /// What the mesh is told when it is asked again.
    #[must_use]
    pub fn again(&self) -> mesh::AskedAgain {
        mesh::AskedAgain { on: self.on, until: self.until, hung_up: self.hung_up }
    }

    /// It has to wait on.
    pub fn wait_on(&mut self, on: Interest, until: Monotonic) {
        self.on = on;
        self.until = until;
    }

    /// The types of events that it waits for; none: all.
    fn event_types(&self) -> &[Box<str>] {
        match &self.request {
            Request::ReadEvents(read) => &read.types,
            _ => &[],
        }
    }

    /// The place in the mesh that it stands in is given up: it will not be asked again.
    fn give_up<S: Store>(&self, mesh: &mut Mesh<S>) {
        match self.on {
            Interest::Lock(ticket) => mesh.withdraw(ticket),
            Interest::Claim { peer, place, .. } => mesh.withdraw_claim(peer, place),
            Interest::Inbox(_) | Interest::Events | Interest::Gone(_) => {}
        }
    }
}

/// How the end of a connection left the last answer on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It was not written, or not to its end.
    Unwritten,
    /// It was written, and the client has reset the connection.
    Reset,
}

/// What wakes a request, but for events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sign {
    Inbox(Recipient),
    /// Each place in the queue for locks is that of one request.
    Lock(Ticket),
    /// A session comes back while its former server is still there.
    Gone(PeerId),
    /// The peer whose agent is to be told.
    Claim(PeerId),
}

impl Sign {
    fn of(on: Interest) -> Option<Self> {
        match on {
            Interest::Inbox(recipient) => Some(Self::Inbox(recipient)),
            Interest::Lock(ticket) => Some(Self::Lock(ticket)),
            Interest::Gone(peer) => Some(Self::Gone(peer)),
            Interest::Claim { peer, .. } => Some(Self::Claim(peer)),
            Interest::Events => None,
        }
    }
}

/// A lock that was given to someone who had waited for it.
#[derive(Clone, Copy, Debug)]
struct Granted {
    fence: Seq,
    /// When the answer left.
    at: Monotonic,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Held {
    requests: BTreeMap<Asker, Box<Hold>>,
    signs: BTreeSet<(Sign, Asker)>,
    /// By what they asked for: a type, or `prefix.*`, or `*`.
    events: HashMap<Box<str>, Vec<Asker>>,
    /// Of those that are not to be asked again anyway.
    deadlines: BTreeSet<(Monotonic, Asker)>,
    /// Those that are to be asked again.
    woken: VecDeque<Asker>,
    /// Those that were held in this turn.
    since_now: Vec<Asker>,
    /// The locks that this turn gives, and to whom; none: whoever it was has gone since.
    granted_now: Vec<(Option<Asker>, Seq)>,
    /// Those that may not have their answer.
    granted: BTreeMap<Asker, Granted>,
    /// Locks whose new holders did not get the answer, of which the mesh is to be told.
    lost: Pending<(Seq, Lost)>,
}

impl Held {
    /// Whether no request is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Whether some are to be asked again now.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.woken.is_empty()
    }

    /// Whether the mesh is to be told of answers that were lost.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// When the time of the first is over.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The one held for this client.
    #[must_use]
    pub fn get(&self, asker: Asker) -> Option<&Hold> {
        self.requests.get(&asker).map(|hold| &**hold)
    }

    /// All of them, by who has asked.
    pub fn iter(&self) -> impl Iterator<Item = (Asker, &Hold)> {
        self.requests.iter().map(|(asker, hold)| (*asker, &**hold))
    }

    // Waiting

    /// Keeps a request of `asker`, which has no other, until it is given back to be asked again.
    pub fn hold(&mut self, asker: Asker, mut hold: Box<Hold>) {
        hold.woken = false;
        match Sign::of(hold.on) {
            Some(sign) => _ = self.signs.insert((sign, asker)),
            None => {
                for pattern in patterns(hold.event_types()) {
                    self.events.entry(pattern.into()).or_default().push(asker);
                }
            }
        }
        self.deadlines.insert((hold.until, asker));
        self.since_now.push(asker);
        let before = self.requests.insert(asker, hold);
        debug_assert!(before.is_none(), "{asker:?} has asked twice");
    }

    fn take(&mut self, asker: Asker) -> Option<Box<Hold>> {
        let hold = self.requests.remove(&asker)?;
        match Sign::of(hold.on) {
            Some(sign) => _ = self.signs.remove(&(sign, asker)),
            None => {
                for pattern in patterns(hold.event_types()) {
                    remove_from(&mut self.events, pattern, asker);
                }
            }
        }
        self.deadlines.remove(&(hold.until, asker));
        Some(hold)
    }

    /// Wakes those whose time is over.
    pub fn wake_due(&mut self, now: Monotonic) {
        while let Some((at, asker)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.pop_first();
            self.wake_one(asker);
        }
    }

    /// Wakes those that wait for what has happened: news in inboxes, events of these types, peers
    /// that are gone. Those that wait for locks are asked by [`Held::next_waiter`].
    pub fn wake(&mut self, effects: &Effects) {
        if self.is_empty() {
            return;
        }
        for recipient in &effects.inboxes {
            self.wake_all(Sign::Inbox(*recipient));
            if let Some(peer) = recipient.peer() {
                self.wake_all(Sign::Claim(peer));
            }
        }
        for peer in &effects.gone {
            self.wake_all(Sign::Gone(*peer));
            self.wake_all(Sign::Claim(*peer));
        }
        if self.events.is_empty() {
            return;
        }
        let Self { events, requests, woken, .. } = self;
        for kind in &effects.events {
            let prefixes = kind
                .match_indices('.')
                .map(|(at, _)| format!("{}*", kind.get(..=at).unwrap_or_default()));
            for pattern in prefixes.chain([kind.to_string(), EVERY.to_owned()]) {
                for asker in events.get(&*pattern).into_iter().flatten() {
                    wake(requests, woken, *asker);
                }
            }
        }
    }

    fn wake_all(&mut self, sign: Sign) {
        let Self { signs, requests, woken, .. } = self;
        let theirs = signs.range((sign, Asker::FIRST)..).take_while(|(other, _)| *other == sign);
        for (_, asker) in theirs {
            wake(requests, woken, *asker);
        }
    }

    fn wake_one(&mut self, asker: Asker) {
        wake(&mut self.requests, &mut self.woken, asker);
    }

    /// Takes the next one that is to be asked again.
    pub fn next_woken(&mut self) -> Option<(Asker, Box<Hold>)> {
        loop {
            let asker = self.woken.pop_front()?;
            if let Some(hold) = self.take(asker) {
                return Some((asker, hold));
            }
        }
    }

    /// Takes the next one whose turn it is for a lock, after what has happened in this turn of the
    /// mesh: to be asked again before that ends, so that nobody comes in between.
    pub fn next_waiter<S: Store>(&mut self, mesh: &mut Mesh<S>) -> Option<(Asker, Box<Hold>)> {
        loop {
            let ticket = mesh.next_waiter()?;
            if let Some(asker) = self.place(ticket)
                && let Some(hold) = self.take(asker)
            {
                return Some((asker, hold));
            }
            mesh.withdraw(ticket);
        }
    }

    /// The one that has this place in the queue for locks.
    fn place(&self, ticket: Ticket) -> Option<Asker> {
        let sign = Sign::Lock(ticket);
        let (found, asker) = self.signs.range((sign, Asker::FIRST)..).next()?;
        (*found == sign).then_some(*asker)
    }

    // Clients

    /// The client has gone, or has nothing more to say, and perhaps nobody is there any more to take
    /// an answer. A request of it leaves the queue it stands in and ends now: a lock that comes free
    /// later would go to a client that is not there.
    pub fn hung_up<S: Store>(&mut self, asker: Asker, now: Monotonic, mesh: &mut Mesh<S>) {
        let Some(hold) = self.requests.get_mut(&asker) else { return };
        self.deadlines.remove(&(hold.until, asker));
        hold.until = hold.until.min(now);
        hold.hung_up = true;
        if let Interest::Lock(ticket) = hold.on {
            mesh.withdraw(ticket);
        }
        self.wake_one(asker);
    }

    /// The way to the client has ended, and its request is not asked again. `cut` tells how that
    /// left the last answer, if it matters; none: it may have arrived.
    pub fn closed<S: Store>(
        &mut self,
        asker: Asker,
        now: Monotonic,
        mesh: &mut Mesh<S>,
        cut: impl FnOnce() -> Option<Cut>,
    ) {
        if let Some(hold) = self.take(asker) {
            hold.give_up(mesh);
        }
        for (to, _) in &mut self.granted_now {
            *to = to.filter(|other| *other != asker);
        }
        if let Some(Granted { fence, at }) = self.forget_grant(asker)
            && let Some(cut) = cut()
        {
            let lost = match cut {
                Cut::Unwritten => Lost::Unwritten,
                Cut::Reset => Lost::Reset { after: now.since(at) },
            };
            self.lost.push((fence, lost));
        }
    }

    /// The client goes on: it has taken what it was given.
    pub fn goes_on(&mut self, asker: Asker) {
        self.forget_grant(asker);
    }

    fn forget_grant(&mut self, asker: Asker) -> Option<Granted> {
        // Mostly nobody was given anything.
        if self.granted.is_empty() { None } else { self.granted.remove(&asker) }
    }

    /// A request that was asked again has its answer in this turn.
    pub fn answered(&mut self, asker: Asker, reply: &Reply) {
        if let Reply::Locked(LockReply { lock, .. }) = reply {
            self.granted_now.push((Some(asker), lock.fence));
        }
    }

    /// A lock whose new holder did not get the answer: the mesh is to be told in this turn. If that
    /// is aborted, it comes again.
    pub fn next_lost(&mut self) -> Option<(Seq, Lost)> {
        self.lost.next()
    }

    // Turns

    /// The turn is durable, and its answers leave now.
    pub fn commit(&mut self, now: Monotonic) {
        self.since_now.clear();
        self.lost.commit();
        for (asker, fence) in self.granted_now.drain(..) {
            match asker {
                Some(asker) => _ = self.granted.insert(asker, Granted { fence, at: now }),
                None => self.lost.push((fence, Lost::Unwritten)),
            }
        }
    }

    /// The turn has failed. Takes one after the other of the requests that were held in it: each is
    /// to be told so.
    pub fn abort<S: Store>(&mut self, mesh: &mut Mesh<S>) -> Option<(Asker, Box<Hold>)> {
        self.lost.abort();
        self.granted_now.clear();
        while let Some(asker) = self.since_now.pop() {
            if let Some(hold) = self.take(asker) {
                if let Interest::Lock(ticket) = hold.on {
                    mesh.withdraw(ticket);
                }
                return Some((asker, hold));
            }
        }
        None
    }

    /// Nothing waits any more: those that did.
    pub fn end(&mut self) -> Vec<Asker> {
        let all = std::mem::take(self);
        all.requests.into_keys().collect()
    }
}

fn wake(requests: &mut BTreeMap<Asker, Box<Hold>>, woken: &mut VecDeque<Asker>, asker: Asker) {
    if let Some(hold) = requests.get_mut(&asker)
        && !std::mem::replace(&mut hold.woken, true)
    {
        woken.push_back(asker);
    }
}

/// What someone waits for who asks for these types.
fn patterns(types: &[Box<str>]) -> impl Iterator<Item = &str> {
    let every = types.is_empty().then_some(EVERY);
    every.into_iter().chain(types.iter().map(|pattern| &**pattern))
}

fn remove_from(lists: &mut HashMap<Box<str>, Vec<Asker>>, by: &str, asker: Asker) {
    let Some(list) = lists.get_mut(by) else { return };
    if let Some(at) = list.iter().position(|other| *other == asker) {
        list.swap_remove(at);
    }
    if list.is_empty() {
        lists.remove(by);
    }
}

#[cfg(test)]
mod tests;
