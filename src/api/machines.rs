//! Replies about machines: those that have joined, the hub they have joined, and what lets one more in.

use serde::{Deserialize, Serialize};

use crate::model::{MachineId, MachineName, Timestamp};

/// A machine as listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineInfo {
    /// Its name.
    pub name: MachineName,
    /// Its id.
    pub id: MachineId,
    /// The address that it last came from.
    pub address: Box<str>,
    /// Since when it has been of the mesh.
    pub since: Timestamp,
    /// When it was last connected; now, if it is.
    pub last_seen: Timestamp,
    /// Whether it is connected.
    pub connected: bool,
    /// Its peers.
    pub peers: u64,
}

/// The hub of a client's mesh, and how the way to it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HubInfo {
    /// Its id; none as long as none has proved to have the shared secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<MachineId>,
    /// What it calls itself, once it was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// What it calls this machine, once it was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_name: Option<Box<str>>,
    /// Where it is connected to, or was tried last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Box<str>>,
    /// Whether the connection stands.
    pub connected: bool,
    /// Since when it does, or does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Why it does not, and what happens next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Box<str>>,
    /// Whether the hub refuses this machine for good: waiting changes nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
}

/// Answer to `POST /machines`, `invite`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Invited {
    /// What the new machine is to be told, in one word. Left empty by the core, which knows no keys
    /// and addresses: the shell makes it of the token.
    pub code: Box<str>,
    /// The token in it. Never on the wire by itself.
    #[serde(skip)]
    pub token: [u8; 16],
    /// When it ends.
    pub expires_at: Timestamp,
    /// The addresses in it; left empty by the core.
    pub addresses: Vec<Box<str>>,
}
