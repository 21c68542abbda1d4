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
pub use refusal::{Code, Detail, Refusal};
pub use reply::{
    DatabaseStatus, EventInfo, Events, Health, LockInfo, MessageCounts, MessageInfo, Messages,
    PeerCounts, PeerInfo, PeerStatus, Registered, Reply, Sent, StateInfo, Status,
};
pub use request::{
    Endpoint, Fetch, Filter, ListPeers, LockFile, ReadEvents, Register, Request, Scope,
    SendMessage, SetState,
};
