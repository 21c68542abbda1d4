//! The page of `slm-mesh web`: what its token is told with.

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// Answer to `POST /page`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PageOpened {
    /// With which the page asks.
    pub token: Box<str>,
    /// On which it is served, at `/`.
    pub port: u16,
    /// When the token ends, unless another is made before.
    pub expires_at: Timestamp,
}
