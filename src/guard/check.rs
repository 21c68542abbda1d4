//! What the hook runs: which files of the coming commit others have locked.

use std::collections::BTreeSet;
use std::path::Path;

use super::git::{self, GitError};
use crate::agent::git::repository;
use crate::api::{LockInfo, LocksReply, Request};
use crate::client::{Client, ClientError, paths};
use crate::hook::session::{self, Found};
use crate::hook::{Tree, locks_on};
use crate::model::Party;

/// Why the check could not be made. The commit is allowed then.
#[derive(Debug)]
pub enum CheckError {
    /// The broker could not be asked.
    Client(ClientError),
    /// Git gave no answer.
    Git(GitError),
}

impl From<ClientError> for CheckError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<GitError> for CheckError {
    fn from(error: GitError) -> Self {
        Self::Git(error)
    }
}

/// The locks of others on files of the commit that is being made in `dir`. "Others" means everyone but
/// the agent that runs this, or everyone but `cli` if no agent does. Empty for a merge commit, which
/// contains what others have already committed.
///
/// # Errors
/// The broker or git gave no answer.
pub fn others_locks(client: &mut Client, dir: &Path) -> Result<Vec<LockInfo>, CheckError> {
    let all = Request::QueryLocks { peer_id: None, path: None };
    let LocksReply { locks, .. } = client.call(&all)?;
    if locks.is_empty() || git::is_merging(dir) {
        return Ok(Vec::new());
    }
    let top = git::top(dir)?;
    // Names of locks are UTF-8; other files cannot be locked.
    let staged: BTreeSet<Box<str>> = git::staged(dir)?
        .iter()
        .filter_map(|file| paths::canonical_from(&top, file).into_os_string().into_string().ok())
        .map(Into::into)
        .collect();
    let staged: Vec<Box<str>> = staged.into_iter().collect();
    let tree = repository(&top).and_then(|it| {
        let root = it.root.to_str()?.into();
        Some(Tree { repo_id: it.id.into(), repo_hash: it.hash, root })
    });
    let mut locks = locks_on(client, &staged, tree.as_ref())?;
    if locks.is_empty() {
        return Ok(locks);
    }
    let found = session::find_of_command(client, Some(dir))?;
    let main = session::find_main_of_command(client)?.map(|peer| peer.id);
    locks.retain(|lock| match &found {
        _ if main.is_some() && lock.locked_by.peer() == main => false,
        Found::Nobody(_) => lock.locked_by != Party::Cli,
        // If it may be one of several, the locks of none of them certainly belong to someone else.
        found => !found.may_be(&lock.locked_by),
    });
    Ok(locks)
}
