//! `slm-mesh lock`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use signal_hook::consts::SIGINT;

use super::actor::{Acting, CLI};
use super::catalog::{Entry, Group};
use super::command::new_id;
use super::out::{Paint, note};
use super::table::{Cell, Table, elastic, fixed, path};
use super::text::escape;
use super::{Acquire, Context, Exit, Failure, Lock, LockedFiles, Result, parse};
use crate::agent::git;
use crate::api::{Code, LockFile, LockInfo, LockPath, LockReply, LocksReply, Request};
use crate::client::blocking::read_reply;
use crate::client::{Client, ClientError, StartPolicy, paths};
use crate::limits::WAIT_SECONDS_MAX;
use crate::text::{bare_or_quoted, quote};

/// How long a queue that takes nobody more is left alone.
const CROWDED_PAUSE: Duration = Duration::from_secs(1);

pub(super) const ENTRY: Entry = Entry {
    name: "lock",
    group: Group::Shared,
    summary: "locks on files, so that two do not edit one",
    usage: &[
        "lock list",
        "lock query <path>",
        "lock acquire <path> [--shared] [--wait T] [--ttl T] [--reason R]",
        "lock acquire <path> --steal --reason R [--shared] [--ttl T]",
        "lock release <path> [--force]",
    ],
    about: &[
        "Locks are advice: agents with hooks and commits with `slm-mesh guard` keep to them, and \
         nothing keeps another program from writing. They end with their time, or with their \
         holder. `list` starts no broker.",
        "<path> is a file, a directory (all that is in it), or a pattern, quoted from the \
         shell: * and ? within a name, ** for any number of directories; a backslash before \
         them takes their meaning away. Locks on overlapping paths exclude each other. \
         repo:<path> is relative to the git repository and means the file in each of its \
         working trees. `query` shows every lock that overlaps.",
        "What would guard nothing is refused ({a,b}, lists, variables); a place in a file \
         (a.rs:10), @a.rs and file:// are understood; a file of that very name is always \
         meant by it.",
        "With --wait you stand in a queue, first come, first served, until you have the lock \
         or the time is over; Ctrl-C leaves it. With --steal the lock is taken from whoever \
         has it, and they are told why.",
    ],
    options: &[
        ("--ttl T", "for how long: minutes, or 30m, 2h (default: SLM_MESH_LOCK_TTL_MIN, 10)"),
        ("--reason R", "why, for those who find it locked"),
        ("--shared", "to read only: others may share it"),
        ("--wait T", "wait for it: seconds, or 30s, 10m"),
        ("--steal", "take it from whoever has it; needs --reason"),
        ("--exact", "the path is a file's, whatever characters it has"),
        ("--force", "free it whoever holds it"),
    ],
    examples: &[
        ("lock acquire src/main.rs --reason 'moving things'", ""),
        ("lock acquire 'src/**/*.rs' --wait 5m", "stand in the queue"),
        ("lock acquire repo:schema.sql --shared", "in all working trees"),
        ("lock release src/main.rs", ""),
    ],
    parse: parse::lock,
};

pub(super) fn run(context: &mut Context, lock: &Lock) -> Result<Exit> {
    let peer_id: Option<Box<str>> = Some(CLI.into());
    let (mut client, request) = match lock {
        Lock::List => {
            (context.client(StartPolicy::Never)?, Request::QueryLocks { peer_id, path: None })
        }
        Lock::Query { files } => {
            let path = Some(lock_path(files, paths::locked_path_from)?);
            (context.client(StartPolicy::IfNeeded)?, Request::QueryLocks { peer_id, path })
        }
        Lock::Acquire(acquire) => return take(context, acquire),
        Lock::Release { files, force } => {
            let path = lock_path(files, paths::locked_path_from)?;
            let Acting { client, peer_id, .. } = context.acting(None, StartPolicy::IfNeeded)?;
            (client, Request::Unlock { peer_id, path, force: *force })
        }
    };
    let body = client.call_bytes(&request)?;
    if context.out.json {
        context.out.document(&body)?;
        return Ok(Exit::Done);
    }
    match &request {
        Request::QueryLocks { path: Some(path), .. } => {
            let text = format!("{} is not locked.", context.out.path(&path.file_path));
            listed(context, &body, &text)
        }
        Request::Unlock { path, .. } => {
            let file = context.out.path(&path.file_path);
            writeln!(context.out, "Released {file}.")?;
            Ok(Exit::Done)
        }
        _ => listed(context, &body, "No files are locked."),
    }
}

fn take(context: &mut Context, acquire: &Acquire) -> Result<Exit> {
    let path = lock_path(&acquire.files, paths::lock_path_from)?;
    let Acting { mut client, peer_id, .. } = context.acting(None, StartPolicy::IfNeeded)?;
    let lock = LockFile {
        peer_id,
        path,
        shared: acquire.shared,
        reason: acquire.reason.as_deref().map(Into::into),
        ttl_minutes: acquire.ttl_minutes,
        steal: acquire.steal,
        ..LockFile::default()
    };
    let wait = Duration::from_secs(acquire.wait_seconds);
    let remark = std::env::current_dir()
        .ok()
        .filter(|_| !lock.path.exact)
        .and_then(|base| paths::remark(&base, &lock.path.file_path));
    let body = match client.call_bytes(&Request::Lock(lock.clone())) {
        Err(error) if !wait.is_zero() && error.code() == Some(Code::Locked) => {
            if !context.out.json {
                tell_who_has_it(&lock.path.file_path, &error);
            }
            stand_in_queue(&mut client, lock, wait)?
        }
        result => result?,
    };
    if let Some(remark) = remark {
        note(&escape(&remark));
    }
    if context.out.json {
        context.out.document(&body)?;
        return Ok(Exit::Done);
    }
    let LockReply { lock, stolen_from } = read_reply(&body)?;
    let out = &mut context.out;
    out.now = super::out::now();
    let (file, until) = (out.path(&lock.file_path), out.age(lock.expires_at));
    let shared = if lock.shared { ", shared" } else { "" };
    let from = match &*stolen_from.join(", ") {
        "" => String::new(),
        names => format!(", taken from {}", escape(names)),
    };
    writeln!(out, "Locked {file} (fence {}{shared}){from}; it comes free {until}.", lock.fence)?;
    Ok(Exit::Done)
}

fn tell_who_has_it(path: &str, error: &ClientError) {
    #[derive(serde::Deserialize)]
    struct Body {
        lock: LockInfo,
    }
    let body = match error {
        ClientError::Refused(refused) => serde_json::from_slice::<Body>(&refused.body).ok(),
        _ => None,
    };
    let why = body.map(|Body { lock }| {
        let reason =
            lock.reason.map_or_else(String::new, |reason| format!(" (reason {})", quote(&reason)));
        let holder = lock.locked_by.shown_as(&lock.locked_by_name);
        format!(": {} is locked by {holder}{reason}", bare_or_quoted(&lock.file_path))
    });
    note(&escape(&format!("waiting for {path}{}", why.unwrap_or_default())));
}

/// Asks again and again, in one place of the queue, until the lock is there or the time is over.
fn stand_in_queue(client: &mut Client, mut lock: LockFile, wait: Duration) -> Result<Vec<u8>> {
    // The connection ends with the process, and the place with the connection.
    let at_once = Arc::new(AtomicBool::new(true));
    signal_hook::flag::register_conditional_shutdown(SIGINT, Exit::Interrupted as i32, at_once)
        .map_err(|error| Failure::other("signal_error", format!("cannot wait: {error}")))?;
    let until = Instant::now() + wait;
    lock.place = new_id();
    loop {
        let begun = Instant::now();
        let left = until.saturating_duration_since(begun).as_millis().div_ceil(1000);
        lock.wait = u64::try_from(left).unwrap_or(u64::MAX).min(WAIT_SECONDS_MAX);
        let error = match client.call_bytes(&Request::Lock(lock.clone())) {
            Ok(body) => return Ok(body),
            Err(error) if lock.wait == 0 => return Err(error.into()),
            Err(error) => error,
        };
        match &error {
            ClientError::Refused(_) if error.code() == Some(Code::Locked) => {
                if begun.elapsed() < Duration::from_secs(lock.wait) {
                    let left = until.saturating_duration_since(Instant::now());
                    std::thread::sleep(left.min(CROWDED_PAUSE));
                }
            }
            // Its broker has gone, and there may be another.
            error
                if error.leaves_doubt()
                    || matches!(
                        error,
                        ClientError::Unreachable { .. } | ClientError::TimedOut { .. }
                    ) =>
            {
                std::thread::sleep(CROWDED_PAUSE.min(until.saturating_duration_since(begun)));
            }
            _ => return Err(error.into()),
        }
    }
}

fn listed(context: &mut Context, body: &[u8], none: &str) -> Result<Exit> {
    let reply: LocksReply = read_reply(body)?;
    let out = &mut context.out;
    if reply.locks.is_empty() {
        writeln!(out, "{none}")?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new([
        path("FILE", 28),
        elastic("MACHINE", 8).less(6),
        elastic("HOLDER", 24),
        fixed("MODE").less(1),
        fixed("SINCE").less(2),
        fixed("FREE").less(5),
        fixed("WAITING").less(4),
        elastic("REASON", 16).less(3),
    ]);
    for lock in &reply.locks {
        table.push(row(out, lock));
    }
    table.write(out, &out.style.clone())?;
    if reply.remaining > 0 {
        writeln!(out, "{} more are not shown.", reply.remaining)?;
    }
    Ok(Exit::Done)
}

fn row(out: &super::Out, lock: &LockInfo) -> [Cell; 8] {
    let name = lock.locked_by.shown_as(&lock.locked_by_name);
    [
        Cell::painted(out.path(&lock.file_path), Paint::Bold),
        lock.host.map(|host| host.to_string()).unwrap_or_default().into(),
        escape(&name).into(),
        if lock.shared { "shared" } else { "exclusive" }.into(),
        out.age(lock.locked_at).into(),
        out.age(lock.expires_at).into(),
        if lock.waiting == 0 { String::new() } else { lock.waiting.to_string() }.into(),
        escape(lock.reason.as_deref().unwrap_or_default()).into(),
    ]
}

/// The files as the broker is told of them, with the repository they are in. `read` makes them of
/// what is no exact path.
fn lock_path(
    files: &LockedFiles,
    read: fn(&Path, &str) -> std::result::Result<String, String>,
) -> Result<LockPath> {
    let LockedFiles { path, exact } = files;
    if path.is_empty() {
        return Err(Failure::usage("the path is empty"));
    }
    let wrong = |error: String| Failure::usage(format!("{}: {error}", path.display()));
    let file_path: Box<str> = if *exact {
        paths::canonical(Path::new(path)).map_err(|error| wrong(error.to_string()))?
    } else {
        let text = path.to_str().ok_or_else(|| wrong("the path is not valid UTF-8".to_owned()))?;
        let base = if text.starts_with('/') { Ok("/".into()) } else { std::env::current_dir() };
        let base = base.map_err(|error| wrong(error.to_string()))?;
        read(&base, text).map_err(wrong)?.into()
    };
    let repository = if file_path.starts_with('/') {
        directory_of(&file_path).and_then(|dir| git::repository(&dir))
    } else {
        std::env::current_dir().ok().and_then(|dir| git::repository(&dir))
    };
    if repository.is_none() && !exact && file_path.starts_with("repo:") {
        return Err(wrong("the working directory is in no git repository".to_owned()));
    }
    let root = repository.as_ref().and_then(|repository| repository.root.to_str());
    Ok(LockPath {
        file_path,
        exact: *exact,
        git_root: root.map(Into::into),
        repo_id: repository.as_ref().map(|repository| repository.id.as_str().into()),
        repo_hash: repository.as_ref().and_then(|repository| repository.hash),
    })
}

/// The lowest directory above a path that is there.
fn directory_of(path: &str) -> Option<PathBuf> {
    Path::new(path).ancestors().find(|dir| dir.is_dir()).map(Into::into)
}
