//! Replies: what the broker answers when it says yes, as it writes and its clients read it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::listed::{EventInfo, LockInfo, MessageInfo, PeerInfo, StateInfo, SubagentEdit};
use super::machines::{HubInfo, Invited, MachineInfo};
use super::sent::Sent;
use super::status::{Health, Status};
use crate::model::{MessageId, PeerId, Seq, Timestamp};

/// A yes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Reply {
    /// `GET /health`
    Health(Health),
    /// `GET /status`
    Status(Box<Status>),
    /// `POST /register`
    Registered(Registered),
    /// Done; there is nothing to tell.
    Done {},
    /// `POST /heartbeat`
    Heartbeat(HeartbeatReply),
    /// `POST /peers`
    Peers(PeersReply),
    /// `POST /send`
    Sent(Sent),
    /// `POST /messages`
    Messages(Messages),
    /// `POST /history`
    History(HistoryPage),
    /// `POST /messages` with `claim`
    Claimed(Claimed),
    /// `POST /messages` with `renew` or `release`
    Claim {
        /// How many messages are, or were, under it; 0 if it has ended.
        claimed: u64,
    },
    /// `POST /messages` with `markRead`, `markNotified` or `markSent`
    Marked {
        /// How many were not marked before.
        marked: u64,
    },
    /// `POST /state`, `get` and `set`
    Entry(EntryReply),
    /// `POST /state`, `list`
    Entries(EntriesReply),
    /// `POST /state`, `delete`
    Deleted(DeletedReply),
    /// `POST /lock`, `lock`
    Locked(LockReply),
    /// `POST /lock`, `lock` with `filePaths`
    LockedAll(LockedAllReply),
    /// `POST /lock`, `query`
    Locks(LocksReply),
    /// `POST /machines`, `list`
    Machines(MachinesReply),
    /// `POST /machines`, `invite`
    Invited(Invited),
    /// `POST /page`
    Page(PageOpened),
    /// `POST /events`, `read`
    Events(Events),
    /// `POST /events`, `subscribe` and `unsubscribe`
    Subscribed {
        /// The set that holds now.
        subscribed: Vec<Box<str>>,
    },
    /// `POST /events`, `emit`
    Emitted(EmittedReply),
}

impl Reply {
    /// Appends the body: `{"ok":true,...}`, or `{"status":"ok",...}` for health and status.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let start: &[u8] = match self {
            Self::Health(_) | Self::Status(_) => b"{\"status\":\"ok\"",
            _ => b"{\"ok\":true",
        };
        out.extend_from_slice(start);
        super::append_object(out, self);
    }
}

/// Answer to `POST /register`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registered {
    /// The peer's id.
    pub peer_id: PeerId,
    /// The name it got.
    pub name: Box<str>,
    /// Its token. Left empty by the core when the caller came with it (a resume): only a hash of it
    /// is kept, so the shell puts back what it was given.
    pub peer_token: Box<str>,
    /// How often it should send a heartbeat, ms.
    pub heartbeat_ms: u64,
    /// It is a former peer again, because it is the same session of the same agent: with all that
    /// was that peer's, and with a new token.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
}

/// Answer to `POST /heartbeat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatReply {
    /// Messages waiting.
    pub unread: u64,
    /// The session of the peer's agent, as it or a hook has told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<Box<str>>,
}

/// Answer to `POST /peers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeersReply {
    /// By name.
    pub peers: Vec<PeerInfo>,
    /// Those that did not fit the answer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub remaining: u64,
    /// With scope `machine`: how many more there are on other machines.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub elsewhere: u64,
}

/// Answer to `POST /history`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPage {
    /// Oldest first, each as its sender is shown it.
    pub messages: Vec<MessageInfo>,
    /// Where to go on, as `before` or `after`; none at the end.
    #[serde(default)]
    pub next: Option<Seq>,
}

/// Answer to a claim of messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claimed {
    /// Those to be told now, oldest first.
    pub messages: Vec<MessageInfo>,
    /// How many more unread and untold ones there are, counted to 100.
    pub remaining: u64,
    /// The claim under which they are; none without messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_id: Option<Uuid>,
    /// In how many ms it is worth asking again, if it is known that something may be told then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defer_ms: Option<u64>,
    /// Those that the proof has proven.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proven: Vec<MessageId>,
}

/// Answer to a fetch of messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Messages {
    /// Oldest first.
    pub messages: Vec<MessageInfo>,
    /// How many more there are. Exact for `unread` without `from`; otherwise counted to 100.
    pub remaining: u64,
}

/// Answer to `POST /state`, `get` and `set`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryReply {
    /// That of the entry; empty from a broker of an earlier version.
    #[serde(default)]
    pub namespace: Box<str>,
    /// Null if there is none.
    pub entry: Option<StateInfo>,
    /// There is none, but one of this key in the namespace `default`.
    #[serde(default, rename = "inDefault", skip_serializing_if = "std::ops::Not::not")]
    pub in_default: bool,
}

/// Answer to `POST /state`, `list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntriesReply {
    /// That of the entries, unless they are of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Box<str>>,
    /// By namespace and key.
    pub entries: Vec<StateInfo>,
    /// Those that did not fit the answer (0 or 1: 1 stands for one or more).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub remaining: u64,
}

/// Answer to `POST /state`, `delete`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedReply {
    /// That of the entry; empty from a broker of an earlier version.
    #[serde(default)]
    pub namespace: Box<str>,
    /// Whether there was one.
    pub deleted: bool,
}

/// Answer to `POST /lock`, `lock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LockReply {
    /// The lock.
    pub lock: LockInfo,
    /// Names of those from whom it was taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stolen_from: Vec<Box<str>>,
}

/// Answer to `POST /lock`, `lock` with `filePaths`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedAllReply {
    /// In the order in which they were asked for, as far as they fit the answer.
    pub locks: Vec<LockInfo>,
    /// Other subagents of the peer that are at one of the files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subagents: Vec<SubagentEdit>,
}

/// Answer to `POST /lock`, `query`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocksReply {
    /// By path.
    pub locks: Vec<LockInfo>,
    /// Those that did not fit the answer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub remaining: u64,
}

/// Answer to `POST /machines`, `list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachinesReply {
    /// `broker`, `hub` or `client`.
    pub role: Box<str>,
    /// Those that have joined, by name.
    #[serde(default)]
    pub machines: Vec<MachineInfo>,
    /// Of a client: its hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<HubInfo>,
    /// Of a hub: the address and port at which it takes other machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<Box<str>>,
}

/// Answer to `POST /page`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PageOpened {
    /// The token with which the page asks.
    pub token: Box<str>,
    /// The port on which the page is served, at `/`.
    pub port: u16,
    /// When the token ends, unless another is made before.
    pub expires_at: Timestamp,
}

/// Answer to a read of events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Events {
    /// Oldest first.
    pub events: Vec<EventInfo>,
    /// The highest sequence number examined: where to go on.
    pub last_seq: Seq,
    /// The lowest one kept: a cursor before it has missed some.
    pub first_seq: Seq,
}

/// Answer to `POST /events`, `emit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EmittedReply {
    /// The event.
    pub event_id: MessageId,
    /// Its place in the sequence.
    pub seq: Seq,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests;
