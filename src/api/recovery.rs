//! What became of a database in whose place there is another.

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

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
