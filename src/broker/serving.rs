//! The rooms that a data directory may be served by, as one: so that there is one loop in the binary,
//! whatever answers in it.

use super::connection::{Flow, Incoming};
use super::held::{Asker, Cut};
use super::links::News;
#[cfg(feature = "lan")]
use super::relay::Relay;
use super::room::{Room, Said};
use super::table::{Key, Kind as Descriptor};
use crate::mesh::Effects;
use crate::model::{MachineId, Monotonic, Now, PeerId};
use crate::role::Kind;
use crate::store::Result;
use crate::store::journal::JournaledSqlite;

/// The mesh in this process, which other machines may join.
#[cfg(feature = "lan")]
pub(super) type Broker = super::hub::Hub<JournaledSqlite>;
/// The mesh in this process.
#[cfg(not(feature = "lan"))]
pub(super) type Broker = super::local::Local<JournaledSqlite>;

/// See the module.
pub(super) enum Serving {
    /// The mesh in this process.
    Broker(Box<Broker>),
    /// The way to one on another machine.
    #[cfg(feature = "lan")]
    Relay(Box<Relay>),
}

impl Serving {
    /// As what it serves now.
    pub(super) fn kind(&self) -> Kind {
        match self {
            #[cfg(feature = "lan")]
            Self::Broker(hub) if hub.is_open() => Kind::Hub,
            Self::Broker(_) => Kind::Broker,
            #[cfg(feature = "lan")]
            Self::Relay(_) => Kind::Client,
        }
    }

    /// The hub that it is the way to, if that is known.
    pub(super) fn hub(&self) -> Option<MachineId> {
        match self {
            Self::Broker(_) => None,
            #[cfg(feature = "lan")]
            Self::Relay(relay) => relay.hub_id(),
        }
    }

    /// Closes what it keeps, at the end.
    ///
    /// # Errors
    /// What was acknowledged is kept all the same, and found at the next start.
    pub(super) fn close(self) -> Result<()> {
        match self {
            Self::Broker(room) => room.into_store().close(),
            #[cfg(feature = "lan")]
            Self::Relay(_) => Ok(()),
        }
    }
}

/// Passes a call on to whichever room it is.
macro_rules! pass_on {
    ($serving:ident, $room:ident => $call:expr) => {
        match $serving {
            Serving::Broker($room) => $call,
            #[cfg(feature = "lan")]
            Serving::Relay($room) => $call,
        }
    };
}

impl Room for Serving {
    fn start(&mut self) -> Effects {
        pass_on!(self, room => room.start())
    }

    fn prepare(&mut self, now: Now) -> Result<Option<Effects>> {
        pass_on!(self, room => room.prepare(now))
    }

    fn begin(&mut self, now: Now, asking: bool) -> bool {
        pass_on!(self, room => room.begin(now, asking))
    }

    fn is_full(&self) -> bool {
        pass_on!(self, room => Room::is_full(&**room))
    }

    fn take(&mut self, asker: Asker, incoming: &Incoming<'_>, has_gone: bool) -> Flow {
        pass_on!(self, room => Room::take(&mut **room, asker, incoming, has_gone))
    }

    fn end(&mut self) -> Result<Effects> {
        pass_on!(self, room => room.end())
    }

    fn take_announced(&mut self) -> Vec<PeerId> {
        pass_on!(self, room => room.take_announced())
    }

    fn answers(&mut self, give: impl FnMut(Asker, Said<'_>)) {
        pass_on!(self, room => room.answers(give));
    }

    fn take_care(&mut self, now: Monotonic) {
        pass_on!(self, room => room.take_care(now));
    }

    fn hear(&mut self, news: News, now: Now) {
        pass_on!(self, room => room.hear(news, now));
    }

    fn was_former(&mut self, peer: PeerId) {
        pass_on!(self, room => room.was_former(peer));
    }

    fn hung_up(&mut self, asker: Asker, now: Monotonic) {
        pass_on!(self, room => room.hung_up(asker, now));
    }

    fn closed(&mut self, asker: Asker, now: Monotonic, cut: impl FnOnce() -> Option<Cut>) {
        pass_on!(self, room => room.closed(asker, now, cut));
    }

    fn event(&mut self, kind: Descriptor, key: Key) {
        pass_on!(self, room => room.event(kind, key));
    }

    fn flush(&mut self, now: Now) {
        pass_on!(self, room => room.flush(now));
    }

    fn descriptors(&self) -> usize {
        pass_on!(self, room => room.descriptors())
    }

    fn has_output(&self) -> bool {
        pass_on!(self, room => room.has_output())
    }

    fn next_deadline(&self, now: Now) -> Option<Monotonic> {
        pass_on!(self, room => room.next_deadline(now))
    }

    fn is_idle(&self, counts: impl Fn(Asker) -> bool) -> bool {
        pass_on!(self, room => room.is_idle(counts))
    }

    fn goodbye(&mut self, reason: &str, now: Now) -> Effects {
        pass_on!(self, room => room.goodbye(reason, now))
    }

    fn end_held(&mut self) -> Vec<Asker> {
        pass_on!(self, room => room.end_held())
    }
}
