//! The things the mesh is about: peers, messages, state entries, locks, events, and their ids.
//!
//! Plain data: no I/O, no clock, no JSON shapes of the wire (those live in [`crate::api`]).

mod event;
mod handle;
mod ids;
mod lock;
mod machine;
mod message;
mod party;
mod peer;
mod repo;
mod state;
mod time;
mod told;
mod written;

pub use event::{Event, event_type, type_matches};
pub use handle::{Handle, MessageRef};
pub use ids::{MessageId, PeerId, Seq};
pub use lock::Lock;
pub use machine::{Invitation, InvitationToken, MachineId, MachineName, MachineRecord};
pub use message::{Message, MessageKind, Reached, Stage};
pub use party::{Party, Recipient};
pub use peer::{LeaveReason, OF_DOCTOR, PeerRecord, reach};
pub use repo::{RepoHash, RepoPlace};
pub use state::StateEntry;
pub use time::{MeshTime, Monotonic, Now, TimeMark, Timestamp, in_span, span};
pub use told::{How, Moment, SentStatus, Told, Way};
pub use written::hex;
pub(crate) use written::{as_text, unhex, words};

#[cfg(test)]
mod tests;
