//! The relay's connection to its hub with its descriptors: what [`super::Relay`] wants is dialled,
//! said and ended here.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Registry, Waker};

use super::ConnectionStep;
use super::dial::{Dial, Outcome};
use super::hub::HubRecord;
use super::line::{Progress, UplinkChannel};
use crate::broker::held::Asker;
use crate::broker::table::{Key, Kind};
use crate::broker::uplink::Uplink;
use crate::config::{HubAddress, HubHost};
use crate::log;
use crate::mesh::Entropy;
use crate::model::{Monotonic, Now};

/// A connection that stands.
struct Open {
    key: Key,
    line: UplinkChannel<TcpStream>,
    /// Something has happened to it.
    is_ready: bool,
}

/// See the module.
pub(in crate::broker) struct HubConnection {
    hub: HubRecord,
    dial: Dial,
    open: Option<Open>,
    /// Where the hub was reached last.
    address: Option<SocketAddr>,
    entropy: Box<dyn Entropy>,
}

impl fmt::Debug for HubConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubConnection").field("dial", &self.dial).finish_non_exhaustive()
    }
}

impl HubConnection {
    /// To this hub. `discovery`: it may be looked for by mDNS. `entropy` is for what two machines must
    /// not do in step.
    ///
    /// # Errors
    /// The poll has no room.
    pub(in crate::broker) fn new(
        hub: HubRecord,
        discovery: bool,
        registry: Rc<Registry>,
        entropy: Box<dyn Entropy>,
    ) -> io::Result<Self> {
        let waker = Arc::new(Waker::new(&registry, Key::SINGLE.token(Kind::Waker))?);
        let dial = Dial::new(&hub, discovery, registry, waker);
        Ok(Self { hub, dial, open: None, address: None, entropy })
    }

    /// The hub, as far as it is known.
    pub(super) fn hub(&self) -> &HubRecord {
        &self.hub
    }

    /// Where it was reached last, or else is looked for first.
    pub(super) fn address(&self) -> Option<Box<str>> {
        let reached = self.address.map(|at| at.to_string());
        reached.or_else(|| Some(self.hub.places().first()?.to_string())).map(Into::into)
    }

    /// Something has happened to one of its descriptors.
    pub(super) fn event(&mut self, kind: Kind, key: Key) {
        match &mut self.open {
            _ if kind != Kind::Machine => {}
            Some(open) if open.key == key => open.is_ready = true,
            _ => self.dial.event(key),
        }
    }

    /// Reads what has come, and goes on with what is being made.
    pub(super) fn go_on(&mut self, uplink: &mut Uplink<Asker>, now: Now) {
        match self.dial.go_on(&self.hub, now.mono) {
            Some(Outcome::Open(opened)) => {
                self.address = Some(opened.way.at);
                let place = opened.way.place.or_else(|| as_place(opened.way.at));
                log::info(format_args!("connected to the hub at {}", opened.way.at));
                self.hub.reached(opened.hub, place.as_ref());
                if let Some(place) = place {
                    self.dial.prefer(place);
                }
                uplink.connected(now.mono, now.wall);
                let line = UplinkChannel::new(opened.channel);
                self.open = Some(Open { key: opened.key, line, is_ready: true });
            }
            Some(Outcome::Failed(failure)) => {
                if failure.refused {
                    log::warn(format_args!("the hub refuses this machine: {}", failure.words));
                    uplink.refused(&failure.words, now.mono);
                } else {
                    let jitter = self.jitter();
                    uplink.disconnected(&failure.words, now.mono, jitter);
                }
            }
            None => {}
        }
        let jitter = self.jitter();
        let Some(open) = &mut self.open else { return };
        if !std::mem::take(&mut open.is_ready) {
            return;
        }
        match open.line.go_on(uplink, now, jitter) {
            Progress::Wait => {}
            Progress::Again => open.is_ready = true,
            Progress::Over => self.lost(uplink),
        }
    }

    /// Does what the relay has asked for.
    pub(super) fn carry_out(
        &mut self,
        step: &ConnectionStep,
        uplink: &mut Uplink<Asker>,
        now: Now,
    ) {
        let jitter = self.jitter();
        match (step, &mut self.open) {
            (ConnectionStep::Dial, _) => {
                self.open = None;
                self.dial.begin(&self.hub, now.mono);
            }
            (ConnectionStep::HangUp(words), None) => {
                self.dial.end(&self.hub, now.mono);
                uplink.disconnected(words, now.mono, jitter);
            }
            (step, Some(open)) => {
                open.line.carry_out(step, uplink, now, jitter);
                if let ConnectionStep::HangUp(_) = step {
                    self.lost(uplink);
                }
            }
            (ConnectionStep::Ping, None) => {}
        }
    }

    /// Says what waits, as far as the connection takes it.
    pub(super) fn send(&mut self, uplink: &mut Uplink<Asker>, now: Now) {
        if let Some(open) = &mut self.open {
            open.line.send(uplink, now);
        }
    }

    /// Whether something waits to be written.
    pub(super) fn has_output(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.line.has_output())
    }

    /// When [`HubConnection::go_on`] is due.
    pub(super) fn next_deadline(&self, now: Now) -> Option<Monotonic> {
        if self.open.as_ref().is_some_and(|open| open.is_ready) {
            return Some(now.mono);
        }
        self.dial.next_deadline(now.mono)
    }

    fn lost(&mut self, uplink: &Uplink<Asker>) {
        self.open = None;
        let error = uplink.standing().error;
        log::info(format_args!(
            "the connection to the hub has ended: {}",
            error.as_deref().unwrap_or("no reason is known")
        ));
    }

    fn jitter(&mut self) -> u8 {
        let mut byte = [0];
        self.entropy.fill(&mut byte);
        let [byte] = byte;
        byte
    }
}

/// An address as a place to be kept. One that is good on one link only, or by its number, is none.
fn as_place(at: SocketAddr) -> Option<HubAddress> {
    let is_local = matches!(at, SocketAddr::V6(at) if at.scope_id() != 0);
    (!is_local).then(|| HubAddress { host: HubHost::Address(at.ip()), port: at.port() })
}
