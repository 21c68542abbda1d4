//! The channel of Claude Code: a notification of the server that the client shows to its model.
//!
//! It only works in the legacy era, for a server that declares the capability, and if the user has
//! started the client with the channel loaded. Otherwise the client silently drops the notification, so
//! nothing counts as told by it.

use serde_json::{Value, json};

/// The experimental capability that a server with a channel declares (Claude Code, "Channels
/// reference").
pub(in crate::mcp) const CAPABILITY: &str = "claude/channel";

/// The notification.
pub(in crate::mcp) const METHOD: &str = "notifications/claude/channel";

/// `params` of the notification that puts `text` before the model.
pub(in crate::mcp) fn params(text: &str) -> Value {
    // Keys of `meta` may have letters, digits and underscores only; others are dropped.
    json!({"content": text, "meta": {"read_with": "mesh_inbox"}})
}
