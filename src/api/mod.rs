//! The wire contract of the broker: requests, replies, push frames and refusals. The only place
//! where JSON shapes live.
//!
//! Both ends use these types: the broker decodes requests and encodes replies, its clients the other
//! way round. Nothing here does I/O. `docs/api-reference.md` tells the same to people.

mod fields;
mod push;
mod refusal;
mod reply;
mod request;

pub use push::{Frame, LockAction, PushedMessage, read_frame};
pub(crate) use push::{ack_line, read_ack};
pub(crate) use push::{event_line, lock_line, message_line, peer_line, shutdown_line};
pub use refusal::{Code, Detail, Refusal};
pub use reply::{
    ActiveCount, ConnectedCount, DatabaseStatus, EntryCount, EventInfo, Events, Health, LockInfo,
    MessageCounts, MessageInfo, Messages, PeerCounts, PeerInfo, PeerStatus, Registered, Reply,
    Sent, StateInfo, Status, TotalCount,
};
pub(crate) use reply::{Budget, entry_size, event_size, fit, message_size};
pub use request::{
    Endpoint, Fetch, Filter, ListPeers, LockFile, ReadEvents, Register, Request, Scope,
    SendMessage, SetState,
};
