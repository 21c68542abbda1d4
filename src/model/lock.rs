//! Locks.

use super::ids::Seq;
use super::machine::MachineName;
use super::party::Party;
use super::repo::{RepoHash, RepoPlace};
use super::time::{MeshTime, Timestamp};

/// A live lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The file, as its holder's client named it; a pattern as [`crate::patterns`] writes it; with
    /// `repo:` before it if it is relative to a repository.
    pub path: Box<str>,
    /// Whether the path is a pattern.
    pub pattern: bool,
    /// Whether others may hold it, too, as long as they share it.
    pub shared: bool,
    /// The machine that the path is on, and the repository; none for the hub's own.
    pub host: Option<MachineName>,
    /// The repository it is in, if that is known.
    pub repo_id: Option<Box<str>>,
    /// What that repository has in common with its clones elsewhere, if it has any.
    pub repo_hash: Option<RepoHash>,
    /// The root of the working tree it is in. None with a repository: the same path in each working
    /// tree is meant.
    pub git_root: Option<Box<str>>,
    /// Who holds it.
    pub holder: Party,
    /// The holder's name when it was taken.
    pub holder_name: Box<str>,
    /// Why.
    pub reason: Option<Box<str>>,
    /// Since when.
    pub locked_at: Timestamp,
    /// Until when, unless renewed.
    pub expires_at: MeshTime,
    /// The sequence number of the taking: grows with each holder, so a stale one can be told. No two
    /// locks have the same.
    pub fence: Seq,
}

impl Lock {
    /// Whether it is for all working trees of its repository, in all its clones.
    #[must_use]
    pub fn is_repo_wide(&self) -> bool {
        self.git_root.is_none() && (self.repo_id.is_some() || self.repo_hash.is_some())
    }

    /// Its repository, as far as that is known.
    #[must_use]
    pub fn repository(&self) -> RepoPlace<'_> {
        RepoPlace { machine: self.host, path: self.repo_id.as_deref(), hash: self.repo_hash }
    }
}
