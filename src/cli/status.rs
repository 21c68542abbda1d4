//! `slm-mesh status`

use std::io::Write;

use super::out::{Out, Paint};
use super::text::{count, duration, escape, size};
use super::{Context, Exit, Result};
use crate::api::{Full, Recovery, Request, Status};
use crate::client::StartPolicy;
use crate::client::blocking::read_reply;

pub(super) fn run(context: &mut Context, start: StartPolicy) -> Result<Exit> {
    let body = context.client(start)?.call_bytes(&Request::Status)?;
    let dir = context.config.paths.dir().to_string_lossy().into_owned();
    if context.out.json {
        let document = with_data_dir(&body, &dir);
        context.out.document(&document)?;
        return Ok(Exit::Done);
    }
    let status: Status = read_reply(&body)?;
    let out = &mut context.out;
    let uptime = duration(i64::try_from(status.uptime).unwrap_or(i64::MAX));
    let mut lines = vec![
        (
            "broker",
            format!(
                "{} for {uptime}, process {}, port {}, version {}",
                out.style.paint("running", Paint::Good),
                status.pid,
                status.port,
                escape(&status.version)
            ),
        ),
        ("peers", format!("{} active, {} stale", status.peers.active, status.peers.stale)),
        (
            "messages",
            format!(
                "{} kept, {} undelivered, {} unread",
                status.messages.total, status.messages.undelivered, status.messages.unread
            ),
        ),
        ("locks", format!("{} held", status.locks.active)),
        ("state", count(status.state.entries, "entry", "entries")),
        ("events", format!("{} kept", status.events.total)),
        ("push", count(status.push.connected, "connection", "connections")),
        (
            "database",
            format!("{}, log {}", size(status.db.size_bytes), size(status.db.wal_size_bytes)),
        ),
        ("files", out.path(&dir)),
    ];
    for damped in &status.damped {
        let from = damped.from_name.as_deref().unwrap_or("everybody");
        let text = format!("{} to {}: told together", escape(from), escape(&damped.to_name));
        lines.push(("damped", out.style.paint(&text, Paint::Warn).into_owned()));
    }
    let full = status.db.full.map(|full| full_text(full).to_owned());
    let recovered = status.db.recovery.as_ref().map(|recovery| recovered_text(out, recovery));
    for text in full.into_iter().chain(recovered) {
        lines.push(("note", out.style.paint(&text, Paint::Warn).into_owned()));
    }
    for (name, text) in lines {
        let name = format!("{name:<10}");
        writeln!(out, "{}{text}", out.style.paint(&name, Paint::Dim))?;
    }
    Ok(Exit::Done)
}

/// What is full, and what that means.
pub(super) fn full_text(full: Full) -> &'static str {
    match full {
        Full::Disk => "the disk is full: nothing can be sent or set",
        Full::Limit => "the database is as large as it may be: nothing can be sent or set",
    }
}

/// What became of a database that could not be used.
pub(super) fn recovered_text(out: &Out, recovery: &Recovery) -> String {
    let Recovery { moved_to, reason, at, rows_copied, rows_skipped } = recovery;
    format!(
        "{}, the database that was there could not be used ({}) and is now {}; {} of it could be \
         saved, {} could not be read",
        out.age(*at),
        escape(reason),
        out.path(moved_to),
        count(*rows_copied, "row", "rows"),
        rows_skipped,
    )
}

/// The broker's answer, with `dataDir` added to it.
fn with_data_dir(body: &[u8], dir: &str) -> Vec<u8> {
    let Some(open) = body.trim_ascii_end().strip_suffix(b"}") else { return body.to_vec() };
    let dir = serde_json::to_string(dir).unwrap_or_default();
    [open, b",\"dataDir\":", dir.as_bytes(), b"}"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_dir_is_added_to_the_answer() {
        let document = with_data_dir(br#"{"status":"ok","pid":7}"#, "/a \"b\"");
        assert_eq!(document, br#"{"status":"ok","pid":7,"dataDir":"/a \"b\""}"#);
        assert_eq!(with_data_dir(b"odd", "/d"), b"odd");
    }
}
