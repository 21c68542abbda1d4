//! The channel of Claude Code: a notification of the server that the client shows to its model.
//!
//! Only in the legacy era, for a server that declares the capability, and only if the user has
//! started the client with the channel loaded; otherwise it is dropped in silence. So it is never
//! counted as told.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::Notice;

/// The experimental capability that a server with a channel declares (Claude Code, "Channels
/// reference").
pub(in crate::mcp) const CAPABILITY: &str = "claude/channel";

/// The notification.
pub(in crate::mcp) const METHOD: &str = "notifications/claude/channel";

/// `params` of the notification.
pub(in crate::mcp) struct Params<'a>(pub(in crate::mcp) &'a Notice);

impl Serialize for Params<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("content", &self.0.text)?;
        // Keys may have letters, digits and underscores only; others are dropped.
        map.serialize_entry("meta", &Meta)?;
        map.end()
    }
}

struct Meta;

impl Serialize for Meta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("read_with", "mesh_inbox")?;
        map.end()
    }
}
