//! `GET /health` and `GET /status`: what there is in the mesh and how its database stands; what was
//! last heard of each kind of agent; which conversations are damped.

use serde::{Deserialize, Serialize};

use super::machines::HubInfo;
use crate::model::{MachineName, Moment, Party, PeerId, Timestamp, Way};

/// Answer to `GET /health`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Version of the broker.
    pub version: Box<str>,
    /// Seconds since its start.
    pub uptime: u64,
    /// Random id of its data dir: whose broker it is. Other products have none.
    #[serde(default)]
    pub mesh: Option<Box<str>>,
    /// As what it serves: `broker`, `hub`, or `client` for the way to another machine's hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Box<str>>,
    /// Of a client: whether its hub is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<bool>,
}

/// Peers in `GET /status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerCounts {
    /// With a fresh heartbeat.
    pub active: u64,
    /// Present without one.
    pub stale: u64,
    /// Both.
    pub total: u64,
}

/// Messages in `GET /status`; a broadcast counts as one, and as undelivered or unread for as long
/// as one recipient has not got or read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageCounts {
    /// Stored.
    pub total: u64,
    /// Not confirmed.
    pub undelivered: u64,
    /// Not fetched.
    pub unread: u64,
}

/// The database in `GET /status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseStatus {
    /// Size of the database file, bytes.
    pub size_bytes: u64,
    /// Size of its write-ahead log and its journal, bytes.
    pub wal_size_bytes: u64,
    /// Where a damaged or foreign database was moved to, and why. Null once that file is removed.
    pub recovered_from: Option<Box<str>>,
    /// The same, part by part.
    #[serde(default)]
    pub recovery: Option<Recovery>,
    /// What was full when something was to be written last; null once something could be.
    #[serde(default)]
    pub full: Option<Full>,
}

/// What is full, in `GET /status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Full {
    /// The disk.
    Disk,
    /// The database: it may not grow beyond [`crate::limits::DATABASE_BYTES_MAX`].
    Limit,
}

/// A number under one key, as `GET /status` has several.
macro_rules! count {
    ($(#[$doc:meta])* $name:ident, $(#[$field_doc:meta])* $field:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            $(#[$field_doc])*
            pub $field: u64,
        }
    };
}
count!(/// Locks in `GET /status`.
    ActiveCount, /// Live ones.
    active);
count!(/// State in `GET /status`.
    EntryCount, /// Entries of all namespaces.
    entries);
count!(/// Events in `GET /status`.
    TotalCount, /// Kept ones.
    total);
count!(/// Push in `GET /status`.
    ConnectedCount, /// Live push connections.
    connected);

/// Answer to `GET /status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the broker.
    pub version: Box<str>,
    /// Seconds since its start.
    pub uptime: u64,
    /// Its process.
    pub pid: u32,
    /// Its HTTP port.
    pub port: u16,
    /// `broker`, `hub`, or `client` for the way to another machine's hub.
    pub role: Box<str>,
    /// What this machine is called in the mesh, as soon as there is more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<MachineName>,
    /// Of a client: that hub. What follows is of its mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<HubInfo>,
    /// Peers.
    pub peers: PeerCounts,
    /// Messages.
    pub messages: MessageCounts,
    /// Locks.
    pub locks: ActiveCount,
    /// State.
    pub state: EntryCount,
    /// Events.
    pub events: TotalCount,
    /// Push connections.
    pub push: ConnectedCount,
    /// The database.
    pub db: DatabaseStatus,
    /// What was last heard of each kind of agent, by name.
    #[serde(default)]
    pub agents: Vec<AgentInfo>,
    /// Conversations that are damped; of very many some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damped: Vec<DampedInfo>,
}

/// What was last heard of the sessions of one kind of agent, in `GET /status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentInfo {
    /// Which agent.
    pub agent_type: Box<str>,
    /// When one registered that was new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_at: Option<Timestamp>,
    /// When a hook of one asked for something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook_at: Option<Timestamp>,
    /// At which moment of its turn; none for a hook that did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook_moment: Option<Moment>,
    /// When one was to be woken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_at: Option<Timestamp>,
    /// The way by which it was to be woken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_by: Option<Way>,
    /// What came of it: a word of `sentStatus`, `notified`, or `failed`; none while that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_status: Option<Box<str>>,
}

impl AgentInfo {
    /// The last of its times.
    #[must_use]
    pub fn heard_at(&self) -> Option<Timestamp> {
        self.registered_at.max(self.hook_at).max(self.wake_at)
    }
}

/// A conversation that is damped, in `GET /status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DampedInfo {
    /// Whose messages are told together; none: those of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_peer: Option<Party>,
    /// The sender's name, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_name: Option<Box<str>>,
    /// The recipient.
    pub to_peer: PeerId,
    /// The recipient's name.
    pub to_name: Box<str>,
}

/// What became of a database that could not be used, in `GET /status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recovery {
    /// Where it is now.
    pub moved_to: Box<str>,
    /// Why it could not be used.
    pub reason: Box<str>,
    /// When it was moved.
    pub at: Timestamp,
    /// Rows of it that are in the new one.
    pub rows_copied: u64,
    /// Rows that could not be read. Of a stretch it may not be known how many there were: then it
    /// counts for one.
    pub rows_skipped: u64,
}

impl Recovery {
    /// The reason if it is the database of npm's slm-mesh, which was not damaged.
    pub const OF_NPM: &str = "it is of npm's slm-mesh";

    /// Whether it is that, whose state entries are the rows that were copied.
    #[must_use]
    pub fn is_of_npm(&self) -> bool {
        &*self.reason == Self::OF_NPM
    }
}
