//! Talking to a broker: find it, start it if need be, ask it, and know what a failure means.
//!
//! | module | what it does |
//! |---|---|
//! | `call` | one request from its first attempt to its result: decides, touches nothing |
//! | `repetition` | which requests may be sent a second time |
//! | `connection` | one kept-alive connection: bytes in, bytes out, no socket |
//! | `error` | what can go wrong, in sentences that say what to do |
//! | `locate` | reads who serves a data directory from its files |
//! | `reach` | connecting to a broker, and what it means when none of its addresses can be reached |
//! | `launch` | runs `slm-mesh start --detached` |
//! | `blocking` | the driver for programs that do one thing at a time |
//! | `link` | the driver for programs with a poll of their own |
//! | `paths` | the one spelling of a path under which a file is locked |
//! | `notation` | what people and agents mean who write a path in another notation |
//!
//! `call` and `connection` read no clock and own no socket, so that the loop of the MCP server
//! drives them with its own poll, and tests with none.

pub(crate) mod blocking;
mod call;
mod connection;
mod error;
pub(crate) mod launch;
mod link;
pub(crate) mod locate;
mod notation;
pub(crate) mod paths;
mod reach;
mod repetition;

pub use blocking::Client;
pub use call::StartPolicy;
pub(crate) use call::wait_of;
#[cfg(test)]
pub(crate) use connection::BrokerAnswer;
pub use error::{ClientError, Refused};
pub(crate) use link::{BrokerLink, LinkEvent};
pub use locate::Broker;
pub(crate) use locate::{Located, is_elsewhere};

use uuid::{Builder, Uuid};

/// A random id for a request, by which it can be sent again without being carried out twice. None if
/// the system has no randomness to give: then the request is sent once.
pub(crate) fn new_id() -> Option<Uuid> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(Builder::from_random_bytes(bytes).into_uuid())
}
