//! The way to the hub: connections until one of them is to the right hub and has let this machine in.
//!
//! [`Plan`] decides; here are the sockets, the handshakes, and the threads that look up names and listen
//! for hubs. Nothing of it blocks: what a thread has found comes back through the poll's waker.

mod plan;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use mio::net::TcpStream;
use mio::{Interest, Registry, Waker};

use self::plan::{Act, Failure, Plan, Way};
use super::hub::HubRecord;
use crate::api::Code;
use crate::broker::table::{Key, Kind, Table};
use crate::config::HubAddress;
use crate::lan;
use crate::lan::channel::{Channel, Ended, Event};
use crate::lan::discovery::Browser;
use crate::lan::resolve;
use crate::limits::HUB_RESOLVE_TIME_MAX;
use crate::log;
use crate::model::{MachineId, Monotonic};

/// What came of a try.
pub(super) enum Outcome {
    /// The hub has let this machine in.
    Open(Box<Opened>),
    /// Why it has not.
    Failed(Failure),
}

/// A connection to the hub.
pub(super) struct Opened {
    /// The key of its events.
    pub(super) key: Key,
    pub(super) channel: Channel<TcpStream>,
    pub(super) hub: MachineId,
    /// Where it was found.
    pub(super) way: Way,
}

/// A connection that is being made.
enum Stage {
    /// Until it is there, and as long as another has its handshake.
    Stream(TcpStream),
    Shaking(Box<Channel<TcpStream>>),
    /// On its way from one to the other.
    Nothing,
}

struct Attempt {
    id: u64,
    stage: Stage,
    /// Something has happened to it.
    is_ready: bool,
}

type Resolved = (HubAddress, Result<Vec<SocketAddr>, String>);

/// See the module.
pub(super) struct Dial {
    plan: Plan,
    registry: Rc<Registry>,
    waker: Arc<Waker>,
    attempts: Table<Attempt>,
    resolved: (Sender<Resolved>, Receiver<Resolved>),
    browser: Option<Browser>,
    /// mDNS may be used.
    discovery: bool,
    outcome: Option<Outcome>,
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl Dial {
    /// A way to this hub, that nobody goes yet. `registry` is of the poll that `waker` wakes.
    pub(super) fn new(
        hub: &HubRecord,
        discovery: bool,
        registry: Rc<Registry>,
        waker: Arc<Waker>,
    ) -> Self {
        Self {
            plan: Plan::new(hub.id(), hub.places(), discovery),
            registry,
            waker,
            attempts: Table::new(),
            resolved: mpsc::channel(),
            browser: None,
            discovery,
            outcome: None,
        }
    }

    /// Begins a try; [`Dial::go_on`] gives what comes of it.
    pub(super) fn begin(&mut self, hub: &HubRecord, now: Monotonic) {
        self.plan.begin(now);
        self.act(hub, now);
    }

    /// Forgets the try.
    pub(super) fn end(&mut self, hub: &HubRecord, now: Monotonic) {
        self.plan.end();
        self.act(hub, now);
        self.outcome = None;
    }

    /// Takes note of a place where the hub was reached.
    pub(super) fn prefer(&mut self, place: HubAddress) {
        self.plan.prefer(place);
    }

    /// Something has happened to the connection with this key.
    pub(super) fn event(&mut self, key: Key) {
        if let Some(attempt) = self.attempts.get_mut(key) {
            attempt.is_ready = true;
        }
    }

    /// Goes on as far as it can. `hub` is whom to reach, and by what.
    pub(super) fn go_on(&mut self, hub: &HubRecord, now: Monotonic) -> Option<Outcome> {
        while let Ok((place, found)) = self.resolved.1.try_recv() {
            self.plan.resolved(&place, found, now);
        }
        let heard: Vec<_> = self.browser.iter().flat_map(Browser::take).collect();
        for heard in heard {
            self.plan.heard(heard, now);
        }
        if self.plan.next_deadline().is_some_and(|at| at <= now) {
            self.plan.tick(now);
        }
        loop {
            self.act(hub, now);
            let ready = self.attempts.iter().find(|(_, attempt)| attempt.is_ready);
            let Some(key) = ready.map(|(key, _)| key) else { break };
            if self.advance(key, now) {
                // After others have had their turn.
                break;
            }
        }
        self.act(hub, now);
        self.outcome.take()
    }

    /// When [`Dial::go_on`] is due.
    pub(super) fn next_deadline(&self, now: Monotonic) -> Option<Monotonic> {
        if self.outcome.is_some() || self.attempts.iter().any(|(_, attempt)| attempt.is_ready) {
            return Some(now);
        }
        self.plan.next_deadline()
    }

    fn act(&mut self, hub: &HubRecord, now: Monotonic) {
        while let Some(act) = self.plan.next_act() {
            match act {
                Act::Resolve(place) => self.resolve(&place, now),
                Act::Connect(id, at) => {
                    if let Err(error) = self.connect(id, at) {
                        self.plan.failed(id, &error.to_string(), false, now);
                    }
                }
                Act::Shake(id) => self.shake(id, hub, now),
                Act::Drop(id) => {
                    if let Some(key) = self.key_of(id) {
                        self.attempts.remove(key);
                    }
                }
                Act::Search => {
                    let waker = Arc::clone(&self.waker);
                    match Browser::start(move || wake(&waker)) {
                        Ok(browser) => self.browser = Some(browser),
                        Err(error) => self.plan.cannot_search(error.to_string(), now),
                    }
                }
                Act::EndSearch => self.browser = None,
                Act::GiveUp(failure) => self.outcome = Some(Outcome::Failed(failure)),
            }
        }
    }

    fn resolve(&mut self, place: &HubAddress, now: Monotonic) {
        let (sender, waker) = (self.resolved.0.clone(), Arc::clone(&self.waker));
        let of = place.clone();
        let then = move |found: resolve::Resolved| {
            // Nobody listens at the end of the process only.
            let _ = sender.send((of, found.map_err(|error| error.to_string())));
            wake(&waker);
        };
        if let Err(error) = resolve::resolve(place, self.discovery, HUB_RESOLVE_TIME_MAX, then) {
            self.plan.resolved(place, Err(error.to_string()), now);
        }
    }

    fn connect(&mut self, id: u64, at: SocketAddr) -> io::Result<()> {
        let mut stream = TcpStream::connect(at)?;
        lan::set_up(&stream)?;
        let token = self.attempts.next_key().token(Kind::Machine);
        let interests = Interest::READABLE | Interest::WRITABLE;
        self.registry.register(&mut stream, token, interests)?;
        self.attempts.insert(Attempt { id, stage: Stage::Stream(stream), is_ready: true });
        Ok(())
    }

    fn shake(&mut self, id: u64, hub: &HubRecord, now: Monotonic) {
        let Some(key) = self.key_of(id) else { return };
        let Some(attempt) = self.attempts.get_mut(key) else { return };
        let stage = std::mem::replace(&mut attempt.stage, Stage::Nothing);
        let Stage::Stream(stream) = stage else { return };
        match hub.channel(stream) {
            Ok(channel) => {
                attempt.stage = Stage::Shaking(Box::new(channel));
                attempt.is_ready = true;
            }
            Err(error) => {
                self.attempts.remove(key);
                self.plan.failed(id, &error.to_string(), false, now);
            }
        }
    }

    fn key_of(&self, id: u64) -> Option<Key> {
        self.attempts.iter().find(|(_, attempt)| attempt.id == id).map(|(key, _)| key)
    }

    /// Goes on with one. Whether there may be more to do for it.
    fn advance(&mut self, key: Key, now: Monotonic) -> bool {
        let Some(attempt) = self.attempts.get_mut(key) else { return false };
        attempt.is_ready = false;
        let id = attempt.id;
        let (why, refused) = match &mut attempt.stage {
            Stage::Nothing => return false,
            Stage::Stream(stream) => match is_there(stream) {
                Ok(is_there) => {
                    if is_there {
                        self.plan.connected(id, now);
                    }
                    return false;
                }
                Err(error) => (error.to_string(), false),
            },
            Stage::Shaking(channel) => loop {
                match channel.advance() {
                    Ok(None) => return false,
                    Ok(Some(Event::Again)) => {
                        attempt.is_ready = true;
                        return true;
                    }
                    Ok(Some(Event::Open(hub))) => {
                        self.open(key, id, hub);
                        return false;
                    }
                    // Nothing else comes before that.
                    Ok(Some(_)) => {}
                    Err(ended) => break (ended.to_string(), is_final(&ended)),
                }
            },
        };
        self.attempts.remove(key);
        self.plan.failed(id, &why, refused, now);
        false
    }

    fn open(&mut self, key: Key, id: u64, hub: MachineId) {
        let Some(Attempt { stage: Stage::Shaking(channel), .. }) = self.attempts.remove(key) else {
            return;
        };
        if let Some(way) = self.plan.opened(id, hub) {
            let opened = Opened { key, channel: *channel, hub, way };
            self.outcome = Some(Outcome::Open(Box::new(opened)));
        }
    }
}

fn wake(waker: &Waker) {
    if let Err(error) = waker.wake() {
        log::error(format_args!("the loop cannot be woken: {error}"));
    }
}

/// Whether a connection has come about.
fn is_there(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the hub has said no, and would say it again as long as nobody does anything about it.
fn is_final(ended: &Ended) -> bool {
    match ended {
        Ended::Refused(refused) => {
            [Code::Unauthorized, Code::Forbidden].iter().any(|code| code.status() == refused.status)
        }
        Ended::SecretDiffers => true,
        _ => false,
    }
}
