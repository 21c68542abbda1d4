//! The wire contract of the broker: requests, replies, push frames and refusals. The only place
//! where JSON shapes live.
//!
//! Both ends use these types: the broker decodes requests and encodes replies, its clients the other
//! way round. Nothing here does I/O. `docs/api-reference.md` tells the same to people.

mod budget;
mod declare;
mod decode;
mod endpoint;
mod fact;
mod fields;
mod kinds;
mod listed;
mod machines;
mod members;
mod push;
mod refusal;
mod reply;
mod request;
mod sent;
mod status;

pub(crate) use budget::{Budget, entry_size, event_size, fit, message_size};
pub(crate) use declare::Part;
pub use endpoint::Endpoint;
pub use fact::{Fact, Freed, PeerChange, Presence};
pub(crate) use fields::{Fields, Kind, Number, Written};
pub use listed::{EventInfo, LockInfo, MessageInfo, PeerInfo, PeerStatus, StateInfo, SubagentEdit};
pub use machines::{HubInfo, Invited, MachineInfo};
pub(crate) use members::Members;
pub use push::{Frame, PushFrame, Pushed, PushedMessage, read_frame};
pub(crate) use push::{ack_line, read_ack};
pub(crate) use refusal::refuse;
pub use refusal::{Code, Detail, Refusal};
pub use reply::{
    Claimed, DeletedReply, EmittedReply, EntriesReply, EntryReply, Events, HeartbeatReply,
    HistoryPage, LockReply, LockedAllReply, LocksReply, MachinesReply, Messages, PageOpened,
    PeersReply, Registered, Reply,
};
pub use request::{
    Claim, Fetch, Filter, GitPlace, History, ListPeers, LockFile, LockFiles, LockPath, LockPaths,
    Place, ProcessFacts, ReadEvents, Register, Request, Scope, SendMessage, SetState,
};
pub use sent::Sent;
pub use status::{
    ActiveCount, AgentInfo, ConnectedCount, DampedInfo, DatabaseStatus, EntryCount, Full, Health,
    MessageCounts, PeerCounts, Recovery, Status, TotalCount,
};

/// A JSON text without the white space between its parts.
#[must_use]
pub fn compact(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let (mut inside, mut escaped) = (false, false);
    for c in json.chars() {
        if inside || !c.is_ascii_whitespace() {
            text.push(c);
        }
        if c == '"' && !escaped {
            inside = !inside;
        }
        escaped = c == '\\' && !escaped;
    }
    text
}

/// Appends the fields of `value`, which is written as an object, to an object whose beginning stands
/// at the end of `out` (or to nothing), and closes it: no copy and no second map.
fn append_object(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    let at = out.len();
    // Plain data into memory: cannot fail. If it did, the other end would be told less, not lies.
    let written = serde_json::to_writer(&mut *out, value).is_ok();
    match out.get(at + 1) {
        // The object's own brace becomes the comma after what stands before it.
        Some(b'"') if written && at > 0 => {
            if let Some(brace) = out.get_mut(at) {
                *brace = b',';
            }
        }
        Some(b'"') if written => {}
        _ => {
            out.truncate(at);
            out.extend_from_slice(if at == 0 { b"{}" } else { b"}" });
        }
    }
}
