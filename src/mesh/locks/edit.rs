//! An edit of several files: all their locks or none, and which of a peer's subagents is at them.

use std::collections::BTreeMap;

use super::Ask;
use super::waiting::Obstacle;
use crate::api::{
    Detail, LockFile, LockFiles, LockReply, LockedAllReply, Refusal, Reply, SubagentEdit, fit,
};
use crate::limits::{SUBAGENT_EDIT_TIME, SUBAGENT_EDITS_MAX};
use crate::mesh::Mesh;
use crate::mesh::turn::{Caller, Replied};
use crate::mesh::who::Right;
use crate::model::{Lock, Monotonic};
use crate::store::Store;

impl<S: Store> Mesh<S> {
    /// `POST /lock`, `lock` with `filePaths`: takes or renews them all, or refuses for the first that
    /// cannot be had.
    pub(in crate::mesh) fn lock_files(&mut self, caller: Caller, wanted: &LockFiles) -> Replied {
        let actor = self.acting(caller, wanted.peer_id.as_deref(), "peerId", Right::Speak)?;
        self.check_here(&actor)?;
        let mut asks = Vec::with_capacity(wanted.paths.file_paths.len());
        for path in wanted.paths.each() {
            let target = self.target(&actor.party, &path)?;
            asks.push(Ask { actor: actor.clone(), target, shared: wanted.shared });
        }
        self.check_all(&asks)?;
        self.check_room(&asks)?;
        let each = LockFile {
            reason: wanted.reason.clone(),
            ttl_minutes: wanted.ttl_minutes,
            ..LockFile::default()
        };
        let mut locks = Vec::with_capacity(asks.len());
        for ask in &asks {
            if let Reply::Locked(LockReply { lock, .. }) = self.take(ask, &each, Vec::new())? {
                locks.push(lock);
            }
        }
        let subagents = match (&wanted.subagent, actor.party.peer()) {
            (Some(subagent), Some(id)) => {
                let paths = locks.iter().map(|lock| &*lock.file_path);
                let present = self.peers.get_mut(&id);
                present.map(|it| it.edits.note(subagent, paths, self.now.mono)).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        // None of them is missing from the mesh, only from an answer that would be too long.
        Ok(Reply::LockedAll(LockedAllReply {
            locks: fit(locks.into_iter(), self.reply_bytes),
            subagents,
        }))
    }

    /// Refuses if something is in the way of one of them.
    fn check_all(&self, asks: &[Ask]) -> Result<(), Refusal> {
        let mut locks: Vec<&Lock> = Vec::new();
        let mut first = None;
        for ask in asks {
            if self.renewed_by(ask).is_some() {
                continue;
            }
            let obstacle = self.obstacle(ask, None, &self.steps);
            if self.steps.are_spent() {
                return Err(self.too_much(&ask.target));
            }
            let Some(obstacle) = obstacle else { continue };
            first = first.or(Some(ask));
            if let Obstacle::Lock(lock) = obstacle
                && !locks.iter().any(|known| known.fence == lock.fence)
            {
                locks.push(lock);
            }
        }
        let Some(first) = first else { return Ok(()) };
        let mut refusal = self.locked(first, None);
        let (locks, _) = self.shown_all(locks.len(), locks.into_iter());
        if !locks.is_empty() {
            refusal.detail = Detail::Locks(locks);
        }
        Err(refusal)
    }
}

/// Which subagents of a peer are at which files. Only a memory: a subagent is not asked whether it
/// is done.
#[derive(Debug, Default)]
pub(in crate::mesh) struct Edits {
    files: BTreeMap<Box<str>, BTreeMap<Box<str>, Monotonic>>,
}

impl Edits {
    /// `subagent` is at `paths` now: the others that are at one of them.
    fn note<'a>(
        &mut self,
        subagent: &str,
        paths: impl Iterator<Item = &'a str>,
        now: Monotonic,
    ) -> Vec<SubagentEdit> {
        self.files.retain(|_, at| {
            at.retain(|_, since| now.since(*since) < SUBAGENT_EDIT_TIME);
            !at.is_empty()
        });
        let mut others = Vec::new();
        for path in paths {
            if self.files.len() >= SUBAGENT_EDITS_MAX && !self.files.contains_key(path) {
                continue;
            }
            let at = self.files.entry(path.into()).or_default();
            others.extend(at.iter().filter(|(other, _)| &***other != subagent).map(
                |(other, since)| SubagentEdit {
                    file_path: path.into(),
                    subagent: other.clone(),
                    ms_ago: u64::try_from(now.since(*since).as_millis()).unwrap_or(u64::MAX),
                },
            ));
            at.insert(subagent.into(), now);
        }
        others
    }
}
