//! `slm-mesh lock`

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;

use super::messages::CLI;
use super::out::Paint;
use super::table::{Cell, Table, elastic, fixed};
use super::text::{escape, short_id};
use super::{Context, Exit, Failure, Lock, Result};
use crate::api::{LockFile, LockInfo, LockReply, LocksReply, Request};
use crate::client::blocking::read_reply;
use crate::client::{StartPolicy, paths};
use crate::model::Party;

pub(super) fn run(context: &mut Context, lock: &Lock) -> Result<Exit> {
    let peer_id: Option<Box<str>> = Some(CLI.into());
    let (start, request) = match lock {
        Lock::List => (StartPolicy::Never, Request::QueryLocks { peer_id, file_path: None }),
        Lock::Query { file } => {
            let file_path = Some(canonical(file)?);
            (StartPolicy::IfNeeded, Request::QueryLocks { peer_id, file_path })
        }
        Lock::Acquire { file, ttl_minutes, reason } => {
            let request = Request::Lock(LockFile {
                peer_id,
                file_path: canonical(file)?,
                reason: reason.as_deref().map(Into::into),
                ttl_minutes: *ttl_minutes,
            });
            (StartPolicy::IfNeeded, request)
        }
        Lock::Release { file, force } => {
            let file_path = canonical(file)?;
            (StartPolicy::IfNeeded, Request::Unlock { peer_id, file_path, force: *force })
        }
    };
    let body = context.client(start)?.call_bytes(&request)?;
    if context.out.json {
        context.out.document(&body)?;
        return Ok(Exit::Done);
    }
    match lock {
        Lock::List => listed(context, &body, "No files are locked."),
        Lock::Query { file } => {
            let text = format!("{} is not locked.", context.out.path(&canonical(file)?));
            listed(context, &body, &text)
        }
        Lock::Acquire { .. } => {
            let LockReply { lock } = read_reply(&body)?;
            let out = &mut context.out;
            let (file, until) = (out.path(&lock.file_path), out.age(lock.expires_at));
            writeln!(out, "Locked {file} (fence {}); it comes free {until}.", lock.fence)?;
            Ok(Exit::Done)
        }
        Lock::Release { file, .. } => {
            let file = context.out.path(&canonical(file)?);
            writeln!(context.out, "Released {file}.")?;
            Ok(Exit::Done)
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
        elastic("FILE", 20),
        elastic("HOLDER", 10),
        fixed("SINCE"),
        fixed("FREE"),
        elastic("REASON", 10),
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

fn row(out: &super::Out, lock: &LockInfo) -> [Cell; 5] {
    let name = escape(&lock.locked_by_name);
    let holder = match &lock.locked_by {
        Party::Peer(id) => format!("{name} ({})", short_id(&id.to_string())),
        Party::Cli | Party::Label(_) => name.into_owned(),
    };
    [
        Cell::painted(out.path(&lock.file_path), Paint::Bold),
        holder.into(),
        out.age(lock.locked_at).into(),
        out.age(lock.expires_at).into(),
        escape(lock.reason.as_deref().unwrap_or_default()).into(),
    ]
}

fn canonical(file: &OsStr) -> Result<Box<str>> {
    if file.is_empty() {
        return Err(Failure::usage("the name of the file is empty"));
    }
    paths::canonical(Path::new(file))
        .map_err(|error| Failure::usage(format!("{}: {error}", file.display())))
}
