//! The lock gate: nobody edits what another has locked, and who edits holds the lock.

use serde::Deserialize;

use crate::api::{Code, LockFile, LockInfo, LockPath, LockReply, LocksReply, Request};
use crate::client::{Client, ClientError, paths};
use crate::limits::{HOOK_LOCK_MINUTES, HOOK_LOCKS_MAX};
use crate::model::{PeerId, Timestamp};

/// Whether files may be edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// They may.
    Allowed,
    /// This lock is in the way, and so many others of these files.
    Locked(Box<LockInfo>, usize),
}

/// Asks for `me` whether `files` (canonical paths, each once) may be edited; with `take`, they are
/// locked for it if so.
pub(super) fn rule(
    client: &mut Client,
    files: &[Box<str>],
    me: PeerId,
    take: bool,
) -> Result<Ruling, ClientError> {
    if let ([file], true) = (files, take) {
        // One request does it.
        return Ok(match lock(client, file)? {
            Ok(_) => Ruling::Allowed,
            Err(held) => Ruling::Locked(held, 0),
        });
    }
    // All are looked at before one is taken.
    let path = if let [file] = files { Some(exact(file)) } else { None };
    let is_one = path.is_some();
    let present: LocksReply = client.call(&Request::QueryLocks { peer_id: None, path })?;
    let in_the_way = |lock: &&LockInfo| {
        lock.locked_by.peer() != Some(me)
            && (is_one || files.iter().any(|file| paths::lock_covers(lock, file)))
    };
    let mut others = present.locks.iter().filter(in_the_way);
    if let Some(first) = others.next() {
        return Ok(Ruling::Locked(Box::new(first.clone()), others.count()));
    }
    if !take {
        return Ok(Ruling::Allowed);
    }
    let mut taken: Vec<&Box<str>> = Vec::new();
    for file in files.iter().take(HOOK_LOCKS_MAX) {
        match lock(client, file)? {
            Ok(new) if new => taken.push(file),
            Ok(_) => {}
            // Someone came between. What was free before stays free.
            Err(held) => {
                for file in taken {
                    let path = exact(file);
                    let unlock = Request::Unlock { peer_id: None, path, force: false };
                    client.call_bytes(&unlock)?;
                }
                return Ok(Ruling::Locked(held, 0));
            }
        }
    }
    Ok(Ruling::Allowed)
}

/// Takes or renews a lock: whether it is new, or the one in the way. A renewal without a reason
/// leaves the one there is, and never shortens the time.
fn lock(client: &mut Client, file: &str) -> Result<Result<bool, Box<LockInfo>>, ClientError> {
    #[derive(Deserialize)]
    struct InTheWay {
        lock: LockInfo,
    }
    let ask = Request::Lock(LockFile {
        path: exact(file),
        ttl_minutes: Some(HOOK_LOCK_MINUTES),
        ..LockFile::default()
    });
    match client.call::<LockReply>(&ask) {
        Ok(LockReply { lock, .. }) => Ok(Ok(is_new(lock.locked_at, lock.expires_at))),
        Err(ClientError::Refused(refused)) if refused.code() == Some(Code::Locked) => {
            match serde_json::from_slice::<InTheWay>(&refused.body) {
                Ok(InTheWay { lock }) => Ok(Err(Box::new(lock))),
                Err(_) => Err(ClientError::Refused(refused)),
            }
        }
        Err(error) => Err(error),
    }
}

/// A file, whatever characters it has.
fn exact(file: &str) -> LockPath {
    LockPath { exact: true, ..LockPath::of(file) }
}

/// A renewed lock was taken earlier than the time it asks for before its end.
fn is_new(locked_at: Timestamp, expires_at: Timestamp) -> bool {
    locked_at.plus_ms(i64::from(HOOK_LOCK_MINUTES) * 60_000) == expires_at
}
