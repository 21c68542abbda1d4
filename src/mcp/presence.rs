//! Whether this session is in the mesh, and when it registers, returns or waits. Decides only; no I/O,
//! no clock.
//!
//! Some clients start servers only to list or to probe them, so a session is absent until it is needed.
//! Once it has been present, it returns by itself after its broker has crashed. After the broker was
//! stopped on purpose, it starts none and only joins one that appears.

use std::time::{Duration, Instant};

use crate::api::{Code, Register, Registered};
use crate::client::{ClientError, StartPolicy};
use crate::limits::{INTERVAL_MS_MAX, INTERVAL_MS_MIN};
use crate::model::PeerId;

/// How long after its client has settled a session registers, unless a tool is called first.
const REGISTER_DELAY: Duration = Duration::from_secs(1);
/// How long a first tool call waits for the client to say where its project is.
const ROOTS_TIME_MAX: Duration = Duration::from_millis(250);
/// First pause after a failure; it doubles each time.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Shortest pause between two heartbeats.
const BEAT_PAUSE: Duration = Duration::from_secs(1);
/// How often to look for a broker that someone else may start.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// After this time in the mesh, earlier failures no longer count.
const STEADY_AFTER: Duration = Duration::from_secs(10);

/// Who this session is in the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: PeerId,
    pub(super) name: Box<str>,
    pub(super) token: Box<str>,
    heartbeat: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody needs the mesh yet.
    Absent,
    /// Not in the mesh; it registers then, or looks for a broker to register with.
    Due(Instant),
    /// The request to register is on its way.
    Registering,
    /// In the mesh.
    Present { since: Instant, heartbeat_at: Instant, heartbeat_out: bool },
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Register, and start a broker if that is allowed.
    Register(StartPolicy),
    /// Send a heartbeat.
    Heartbeat,
}

/// What came of an attempt to register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// In the mesh: for the first time, or as somebody else than before.
    New,
    /// Back under the old id.
    Back,
    /// Not yet; another attempt follows at once.
    Again,
    /// Not in the mesh, for this reason; another attempt follows later.
    Failed(ClientError),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Presence {
    asked_name: Option<Box<str>>,
    state: State,
    identity: Option<Identity>,
    /// A tool call waits: a broker is started even if it was stopped on purpose.
    needed: bool,
    /// The broker was stopped on purpose.
    resting: bool,
    /// Register once more when the request under way has been answered, as something has changed.
    again: bool,
    /// Attempts that have failed, and registrations that soon ended, since the session was last in the
    /// mesh for [`STEADY_AFTER`].
    failures: u32,
}

impl Presence {
    pub(super) fn new(asked_name: Option<&str>) -> Self {
        Self {
            asked_name: asked_name.map(Into::into),
            state: State::Absent,
            identity: None,
            needed: false,
            resting: false,
            again: false,
            failures: 0,
        }
    }

    /// Who this session is, or was when it was last in the mesh.
    pub(super) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Whether the session has asked for a name, whose mailbox may have messages.
    pub(super) fn asks_for_a_name(&self) -> bool {
        self.asked_name.is_some()
    }

    /// The name that was asked for, if the session has another.
    pub(super) fn name_taken(&self) -> Option<&str> {
        let got = &self.identity()?.name;
        self.asked_name.as_deref().filter(|asked| *asked != &**got)
    }

    pub(super) fn is_present(&self) -> bool {
        matches!(self.state, State::Present { .. })
    }

    /// Whether a request to register is on its way.
    pub(super) fn is_registering(&self) -> bool {
        matches!(self.state, State::Registering)
    }

    /// A client is there to stay.
    pub(super) fn settle(&mut self, now: Instant) {
        if self.state == State::Absent {
            self.state = State::Due(now + REGISTER_DELAY);
        }
    }

    /// A tool was called. `awaits_roots`: the client is about to say where its project is.
    pub(super) fn need(&mut self, awaits_roots: bool, now: Instant) {
        let at = if awaits_roots { now + ROOTS_TIME_MAX } else { now };
        self.resting = false;
        self.needed = !self.is_present();
        match self.state {
            State::Absent => self.state = State::Due(at),
            State::Due(due) => self.state = State::Due(due.min(at)),
            State::Registering | State::Present { .. } => {}
        }
    }

    /// What the session would be registered with has changed, or has become known.
    pub(super) fn introduce_again(&mut self, now: Instant) {
        match self.state {
            State::Registering => self.again = true,
            State::Present { .. } => self.state = State::Due(now),
            State::Due(_) if self.needed => self.state = State::Due(now),
            _ => {}
        }
    }

    /// What is to be done now.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Order> {
        match &mut self.state {
            State::Due(at) if *at <= now => {
                self.state = State::Registering;
                let start = if self.resting { StartPolicy::Never } else { StartPolicy::IfNeeded };
                self.needed = false;
                Some(Order::Register(start))
            }
            State::Present { heartbeat_at, heartbeat_out, .. } if *heartbeat_at <= now => {
                let interval = self.identity.as_ref().map(|identity| identity.heartbeat);
                *heartbeat_at = now + interval.unwrap_or(PAUSE_MAX);
                // None is sent before the one before it has been answered.
                (!std::mem::replace(heartbeat_out, true)).then_some(Order::Heartbeat)
            }
            _ => None,
        }
    }

    /// When [`Presence::poll`] has to be called at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Absent | State::Registering => None,
            State::Due(at) | State::Present { heartbeat_at: at, .. } => Some(at),
        }
    }

    /// Puts into `register` who this session would like to be. Returns the token to send it with; none
    /// for that of the broker.
    pub(super) fn fill(&self, register: &mut Register) -> Option<Box<str>> {
        if let Some(identity) = &self.identity {
            // It keeps its name, too, if that is still free.
            register.name = None;
            register.peer_id = Some(identity.id.to_string().into());
            return Some(identity.token.clone());
        }
        register.name.clone_from(&self.asked_name);
        None
    }

    /// What came of the request to register.
    pub(super) fn handle_registered(
        &mut self,
        result: Result<Registered, ClientError>,
        now: Instant,
    ) -> Arrival {
        let again = std::mem::take(&mut self.again);
        match result {
            Ok(registered) => {
                let arrival = self.arrive(registered, now);
                if again {
                    self.state = State::Due(now);
                }
                arrival
            }
            Err(error) => self.handle_failure(error, now),
        }
    }

    fn arrive(&mut self, registered: Registered, now: Instant) -> Arrival {
        let ms =
            registered.heartbeat_ms.clamp(u64::from(INTERVAL_MS_MIN), u64::from(INTERVAL_MS_MAX));
        let heartbeat = Duration::from_millis(ms);
        let before = self.identity.take().filter(|before| before.id == registered.peer_id);
        let arrival = if before.is_some() { Arrival::Back } else { Arrival::New };
        // The broker says what the token is only when it has made it.
        let token = match before {
            Some(before) if registered.peer_token.is_empty() => before.token,
            _ => registered.peer_token,
        };
        self.identity =
            Some(Identity { id: registered.peer_id, name: registered.name, token, heartbeat });
        self.resting = false;
        self.state =
            State::Present { since: now, heartbeat_at: now + heartbeat, heartbeat_out: false };
        arrival
    }

    fn handle_failure(&mut self, error: ClientError, now: Instant) -> Arrival {
        let code = error.code();
        if self.identity.is_some()
            && matches!(code, Some(Code::PeerNotFound | Code::Unauthorized | Code::Forbidden))
        {
            // The broker no longer knows this session, which registers as a new peer.
            self.identity = None;
            self.state = State::Due(now);
            return Arrival::Again;
        }
        if self.needed && error == ClientError::NoBroker {
            // This attempt was not allowed to start one, and meanwhile a tool was called.
            self.state = State::Due(now);
            return Arrival::Again;
        }
        let pause = if self.resting {
            LOOK_EVERY
        } else {
            self.failures = self.failures.saturating_add(1);
            self.pause()
        };
        self.state = State::Due(now + pause);
        Arrival::Failed(error)
    }

    /// The next heartbeat is sent at once, or a second after the one before.
    pub(super) fn beat_soon(&mut self, now: Instant) {
        let interval = self.identity.as_ref().map_or(PAUSE_MAX, |identity| identity.heartbeat);
        if let State::Present { heartbeat_at, .. } = &mut self.state {
            let rest = interval.saturating_sub(BEAT_PAUSE);
            *heartbeat_at = heartbeat_at.checked_sub(rest).unwrap_or(now).max(now);
        }
    }

    /// A heartbeat was answered, or has failed.
    pub(super) fn handle_heartbeat(&mut self) {
        if let State::Present { heartbeat_out, .. } = &mut self.state {
            *heartbeat_out = false;
        }
    }

    /// The connection to the broker has ended.
    pub(super) fn handle_lost(&mut self, now: Instant) {
        let State::Present { since, .. } = self.state else { return };
        if self.resting {
            self.state = State::Due(now + LOOK_EVERY);
            return;
        }
        if now.saturating_duration_since(since) >= STEADY_AFTER {
            self.failures = 0;
        }
        let pause = if self.failures == 0 { Duration::ZERO } else { self.pause() };
        self.failures = self.failures.saturating_add(1);
        self.state = State::Due(now + pause);
    }

    /// The broker is being stopped on purpose. Returns whether a request to register has to be aborted,
    /// as it could start another one.
    pub(super) fn handle_stopped(&mut self, now: Instant) -> bool {
        self.resting = !self.needed;
        let aborts = self.resting && self.is_registering();
        if aborts || (self.resting && matches!(self.state, State::Due(_))) {
            self.state = State::Due(now + LOOK_EVERY);
        }
        aborts
    }

    /// The broker does not know this session any more.
    pub(super) fn handle_unknown(&mut self, now: Instant) {
        if self.is_present() {
            self.state = State::Due(now);
        }
    }

    fn pause(&self) -> Duration {
        PAUSE_MIN
            .saturating_mul(2_u32.saturating_pow(self.failures.saturating_sub(1)))
            .min(PAUSE_MAX)
    }
}

#[cfg(test)]
#[path = "tests/presence.rs"]
mod tests;
