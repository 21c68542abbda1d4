//! The lock gate: nobody edits a file that someone else has locked, and whoever edits holds the lock.
//!
//! All files of an edit are locked by one request, either all of them or none.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::session::Found;
use crate::api::{
    Code, GitPlace, LockFiles, LockInfo, LockPaths, LockedAllReply, LocksReply, Request,
    SubagentEdit,
};
use crate::client::{Client, ClientError, paths};
use crate::limits::{HOOK_LOCK_MINUTES, LOCK_FILES_MAX};
use crate::model::{Party, PeerId, RepoHash, Seq};

/// A working tree.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The id of its repository.
    pub repo_id: Box<str>,
    /// The hash that all clones of the repository share.
    pub repo_hash: Option<RepoHash>,
    /// Its root directory.
    pub root: Box<str>,
}

/// What is about to be edited.
#[derive(Clone, Debug, Default)]
pub(super) struct Edit {
    /// Canonical paths, each once.
    pub(super) files: Vec<Box<str>>,
    /// The working tree, if they are all in the same one.
    pub(super) tree: Option<Tree>,
    /// The subagent that makes the edit, if any.
    pub(super) subagent: Option<Box<str>>,
}

/// Who is about to edit.
#[derive(Clone, Debug)]
pub(super) enum Editor {
    /// This peer, or a subagent of its session that is a peer itself. With `take` the files are locked
    /// for the first.
    Peer { id: PeerId, subagent: Option<PeerId>, take: bool },
    /// One of these peers, or someone who is not a peer.
    OneOf(Vec<PeerId>),
}

impl Editor {
    /// Whoever `found` may be, by this subagent. `take` if the files may be locked for it.
    pub(super) fn of(found: &Found, subagent: Option<PeerId>, take: bool) -> Self {
        match found {
            Found::One(peer) => Self::Peer { id: peer.id, subagent, take },
            found => Self::OneOf(found.possible().iter().map(|peer| peer.id).collect()),
        }
    }

    fn may_be(&self, holder: &Party) -> bool {
        holder.peer().is_some_and(|holder| match self {
            Self::Peer { id, subagent, .. } => *id == holder || *subagent == Some(holder),
            Self::OneOf(ids) => ids.contains(&holder),
        })
    }
}

/// Whether files may be edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// They may. These other subagents of the same session are editing some of them.
    Allowed(Vec<SubagentEdit>),
    /// They may, but could not be locked for the editor, for this reason.
    NotTaken(Box<str>),
    /// They may, since the holder of the lock may be the editor itself.
    MaybeOwn(Box<str>),
    /// These locks are in the way, at least one.
    Locked(Vec<LockInfo>),
    /// Someone else is ahead in the queue; these words say who.
    Behind(Box<str>),
}

/// Decides about an edit.
///
/// # Errors
/// The locks could not be read.
pub(super) fn rule(
    client: &mut Client,
    edit: &Edit,
    editor: &Editor,
) -> Result<Ruling, ClientError> {
    let mut not_taken = None;
    if let Editor::Peer { take: true, .. } = editor {
        let (first, rest) = edit.files.split_at(edit.files.len().min(LOCK_FILES_MAX));
        // What does not fit into one request is checked first, before anything is locked.
        let (_, others) = look(client, rest, edit, editor)?;
        if !others.is_empty() {
            return Ok(Ruling::Locked(others));
        }
        match take(client, first, edit) {
            // Some may be locked by the subagent itself; only the locks of others count.
            Ok(Ruling::Locked(locks))
                if locks.iter().any(|lock| editor.may_be(&lock.locked_by)) => {}
            Ok(ruling) => return Ok(ruling),
            // That they cannot be locked does not mean that they may not be edited.
            Err(ClientError::Refused(refused)) => not_taken = Some(refused.message),
            Err(error) => return Err(error),
        }
    }
    let (own, others) = look(client, &edit.files, edit, editor)?;
    Ok(match (own.into_iter().next(), editor, not_taken) {
        _ if !others.is_empty() => Ruling::Locked(others),
        (Some(lock), Editor::OneOf(_), _) => Ruling::MaybeOwn(lock.locked_by_name),
        (_, _, Some(reason)) => Ruling::NotTaken(reason),
        (_, _, None) => Ruling::Allowed(Vec::new()),
    })
}

/// Takes or renews the locks of these files. A renewal without a reason leaves the one there is, and
/// never shortens the time. A refusal that has nothing to do with locks is an error.
fn take(client: &mut Client, files: &[Box<str>], edit: &Edit) -> Result<Ruling, ClientError> {
    #[derive(Deserialize)]
    struct InTheWay {
        #[serde(default)]
        locks: Vec<LockInfo>,
    }
    let ask = Request::LockFiles(LockFiles {
        paths: paths_of(files, edit.tree.as_ref()),
        ttl_minutes: Some(HOOK_LOCK_MINUTES),
        subagent: edit.subagent.clone(),
        ..LockFiles::default()
    });
    match client.call::<LockedAllReply>(&ask) {
        Ok(LockedAllReply { subagents, .. }) => Ok(Ruling::Allowed(subagents)),
        Err(ClientError::Refused(refused)) if refused.code() == Some(Code::Locked) => {
            Ok(match serde_json::from_slice(&refused.body) {
                Ok(InTheWay { locks }) if !locks.is_empty() => Ruling::Locked(locks),
                _ => Ruling::Behind(refused.message),
            })
        }
        Err(error) => Err(error),
    }
}

/// The locks on these files: those that are the editor's, or may be, and those of others.
fn look(
    client: &mut Client,
    files: &[Box<str>],
    edit: &Edit,
    editor: &Editor,
) -> Result<(Vec<LockInfo>, Vec<LockInfo>), ClientError> {
    let found = locks_on(client, files, edit.tree.as_ref())?;
    Ok(found.into_iter().partition(|lock| editor.may_be(&lock.locked_by)))
}

/// The locks on these files (canonical paths), each once; those of the whole repository, too, where
/// `tree` tells which and in what working tree they are.
///
/// # Errors
/// Any [`ClientError`].
pub fn locks_on(
    client: &mut Client,
    files: &[Box<str>],
    tree: Option<&Tree>,
) -> Result<Vec<LockInfo>, ClientError> {
    let mut found: BTreeMap<Seq, LockInfo> = BTreeMap::new();
    for files in files.chunks(LOCK_FILES_MAX) {
        look_at(client, files, tree, &mut found)?;
    }
    Ok(found.into_values().collect())
}

fn look_at(
    client: &mut Client,
    files: &[Box<str>],
    tree: Option<&Tree>,
    found: &mut BTreeMap<Seq, LockInfo>,
) -> Result<(), ClientError> {
    let ask = Request::QueryFiles { peer_id: None, paths: paths_of(files, tree) };
    match client.call::<LocksReply>(&ask) {
        Ok(LocksReply { locks, .. }) => {
            // An older broker lists all locks, not only those on these files.
            let is_on = |lock: &LockInfo| {
                lock.is_repo_wide() || files.iter().any(|file| paths::lock_covers(lock, file))
            };
            found.extend(locks.into_iter().filter(is_on).map(|lock| (lock.fence, lock)));
            Ok(())
        }
        // Too much to compare in one request, if many patterns are locked.
        Err(error) if error.code() == Some(Code::InvalidRequest) && files.len() > 1 => {
            let (one, other) = files.split_at(files.len() / 2);
            look_at(client, one, tree, found)?;
            look_at(client, other, tree, found)
        }
        Err(error) => Err(error),
    }
}

/// Files, whatever characters they have.
fn paths_of(files: &[Box<str>], tree: Option<&Tree>) -> LockPaths {
    LockPaths {
        file_paths: files.to_vec(),
        exact: true,
        git: GitPlace {
            git_root: tree.map(|tree| tree.root.clone()),
            repo_id: tree.map(|tree| tree.repo_id.clone()),
            repo_hash: tree.and_then(|tree| tree.repo_hash),
        },
    }
}
