//! What was last heard of each kind of agent, and which conversations are damped: parts of
//! `GET /status`.

use serde::{Deserialize, Serialize};

use crate::model::{Moment, Party, PeerId, Timestamp, Way};

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
    /// By which way.
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
    /// To whom.
    pub to_peer: PeerId,
    /// The recipient's name.
    pub to_name: Box<str>,
}
