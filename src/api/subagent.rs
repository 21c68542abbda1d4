//! Subagents: one peer, whose parts may edit the same file.

use serde::{Deserialize, Serialize};

/// A subagent that has said that it edits a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubagentEdit {
    /// Which file.
    pub file_path: Box<str>,
    /// The agent's id of it.
    pub subagent: Box<str>,
    /// How long ago it said so, ms.
    pub ms_ago: u64,
}
