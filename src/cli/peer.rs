//! `slm-mesh peers NAME`: all about one.

use super::command::Context;
use super::out::{Paint, write_object};
use super::text::{age, count, duration, escape, has_left, short_id};
use super::{Result, peers};
use crate::api::{LockInfo, LocksReply, PeerInfo, PeerStatus, Request};
use crate::client::StartPolicy;
use crate::model::{Party, Timestamp, reach};

pub(super) fn run(context: &mut Context, name: &str) -> Result<()> {
    let mut client = context.client(StartPolicy::Never)?;
    let peer = peers::find(&mut client, name)?;
    let locks: LocksReply = client.call(&Request::QueryLocks { peer_id: None, path: None })?;
    let mut locks = locks.locks;
    locks.retain(|lock| lock.locked_by == Party::Peer(peer.id));
    let out = &mut context.out;
    if out.json {
        return write_object!(out, "ok" => true, "peer" => peer, "locks" => locks);
    }
    let pen = Pen {
        text: &|text| escape(text).into_owned(),
        path: &|path| out.path(path),
        paint: &|word, paint| out.style.paint(word, paint).into_owned(),
        now: out.now,
    };
    let lines = lines(&peer, locks.iter(), &pen);
    out.facts(&lines)
}

/// How the facts about a peer are written: each makes what others wrote harmless.
pub(super) struct Pen<'a> {
    pub(super) text: &'a dyn Fn(&str) -> String,
    pub(super) path: &'a dyn Fn(&str) -> String,
    pub(super) paint: &'a dyn Fn(&str, Paint) -> String,
    pub(super) now: Timestamp,
}

/// All about a peer, by name; `locks` are its own.
pub(super) fn lines<'a>(
    peer: &PeerInfo,
    locks: impl Iterator<Item = &'a LockInfo>,
    pen: &Pen<'_>,
) -> Vec<(&'static str, String)> {
    let id = peer.id.to_string();
    let name = (pen.paint)(&(pen.text)(&peer.name), Paint::Bold);
    let agent = (pen.text)(&peer.agent_type);
    let works = peer.summary.as_deref().map_or_else(|| "it does not say".into(), pen.text);
    let branch = peer.git_branch.as_deref();
    let branch = branch.map_or_else(String::new, |it| format!(", branch {}", (pen.text)(it)));
    let mut lines = vec![
        ("peer", format!("{name} ({}), {agent}, process {}", short_id(&id), peer.pid)),
        ("status", status(peer, pen)),
        ("works on", works),
        ("project", format!("{}{branch}", (pen.path)(&peer.project_path))),
    ];
    if let Some(host) = &peer.host {
        lines.push(("machine", host.to_string()));
    }
    if peer.status == PeerStatus::Left {
        return lines;
    }
    lines.push(("reach", format!("{} ({})", reach_words(&peer.reach), (pen.text)(&peer.reach))));
    if let Some(unread) = peer.unread {
        lines.push(("unread", count(unread, "message", "messages")));
    }
    let before = lines.len();
    lines.extend(locks.map(|lock| {
        let reason = lock.reason.as_deref();
        let reason = reason.map_or_else(String::new, |it| format!(": {}", (pen.text)(it)));
        let shared = if lock.shared { ", shared" } else { "" };
        let free = age(lock.expires_at, pen.now);
        ("lock", format!("{}{shared}, free {free}{reason}", (pen.path)(&lock.file_path)))
    }));
    if lines.len() == before {
        lines.push(("locks", "none".into()));
    }
    lines
}

fn status(peer: &PeerInfo, pen: &Pen<'_>) -> String {
    let heard = age(peer.last_heartbeat, pen.now);
    let (word, paint, more) = match peer.status {
        PeerStatus::Active => match peer.busy {
            Some(true) => ("active", Paint::Good, ", in a turn"),
            Some(false) => ("active", Paint::Good, ", idle"),
            None => ("active", Paint::Good, ""),
        },
        PeerStatus::Stale => ("stale", Paint::Warn, ""),
        PeerStatus::Away => {
            ("away", Paint::Warn, ", its MCP server is gone while the agent goes on")
        }
        PeerStatus::Left => {
            let left = (pen.paint)(&has_left(peer.left_at, pen.now), Paint::Warn);
            let here = duration(seconds_between(peer.started_at, peer.left_at.unwrap_or(pen.now)));
            return format!("{left}, was here for {here}, last heard of {heard}");
        }
    };
    let here = duration(seconds_between(peer.started_at, pen.now));
    format!("{}{more}, here for {here}, last heard of {heard}", (pen.paint)(word, paint))
}

fn seconds_between(from: Timestamp, to: Timestamp) -> i64 {
    to.0.saturating_sub(from.0).max(0) / 1000
}

/// When its agent sees a message.
fn reach_words(word: &str) -> &'static str {
    match word {
        reach::WAKES => "a message wakes it",
        reach::NEXT_TURN => "it sees a message in its next turn",
        reach::NEXT_CALL => "it sees a message at its next call of a mesh tool",
        reach::HELD => "its user has to allow each message",
        reach::NONE => "it finds a message when it looks",
        _ => "its process gets a message at once",
    }
}
