//! Entries of the shared state.

use super::ids::Seq;
use super::party::Party;
use super::time::{MeshTime, Timestamp};

/// An entry of the shared state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateEntry {
    /// 1 to 128 characters.
    pub namespace: Box<str>,
    /// 1 to 256 characters.
    pub key: Box<str>,
    /// The value.
    pub value: Box<str>,
    /// The sequence number of the change that made it: it only grows and is never used again.
    pub version: Seq,
    /// Who set it.
    pub updated_by: Party,
    /// When.
    pub updated_at: Timestamp,
    /// When it goes away by itself.
    pub expires_at: Option<MeshTime>,
}
