//! `slm-mesh peers NAME`: all about one.

use super::command::Context;
use super::out::{Out, Paint, write_object};
use super::text::{count, duration, escape, has_left, short_id};
use super::{Exit, Result, peers};
use crate::api::{LockInfo, LocksReply, PeerInfo, PeerStatus, Request};
use crate::client::StartPolicy;
use crate::model::{Party, Timestamp, reach};

pub(super) fn run(context: &mut Context, name: &str) -> Result<Exit> {
    let mut client = context.client(StartPolicy::Never)?;
    let peer = peers::find(&mut client, name)?;
    let locks: LocksReply = client.call(&Request::QueryLocks { peer_id: None, path: None })?;
    let mut locks = locks.locks;
    locks.retain(|lock| lock.locked_by == Party::Peer(peer.id));
    let out = &mut context.out;
    if out.json {
        write_object!(out, "ok" => true, "peer" => peer, "locks" => locks)?;
        return Ok(Exit::Done);
    }
    out.facts(&lines(out, &peer, &locks))?;
    Ok(Exit::Done)
}

fn lines(out: &Out, peer: &PeerInfo, locks: &[LockInfo]) -> Vec<(&'static str, String)> {
    let id = peer.id.to_string();
    let name = escape(&peer.name);
    let mut lines = vec![
        (
            "peer",
            format!(
                "{} ({}), {}, process {}",
                out.style.paint(&name, Paint::Bold),
                short_id(&id),
                escape(&peer.agent_type),
                peer.pid
            ),
        ),
        ("status", status(out, peer)),
        (
            "works on",
            peer.summary
                .as_deref()
                .map_or_else(|| "it does not say".into(), |it| escape(it).into()),
        ),
        (
            "project",
            match &peer.git_branch {
                Some(branch) => {
                    format!("{}, branch {}", out.path(&peer.project_path), escape(branch))
                }
                None => out.path(&peer.project_path),
            },
        ),
    ];
    if let Some(host) = &peer.host {
        lines.push(("machine", host.to_string()));
    }
    if peer.status == PeerStatus::Left {
        return lines;
    }
    lines.push(("reach", format!("{} ({})", reach_words(&peer.reach), escape(&peer.reach))));
    if let Some(unread) = peer.unread {
        lines.push(("unread", count(unread, "message", "messages")));
    }
    if locks.is_empty() {
        lines.push(("locks", "none".into()));
    }
    for lock in locks {
        let reason =
            lock.reason.as_deref().map_or_else(String::new, |it| format!(": {}", escape(it)));
        let shared = if lock.shared { ", shared" } else { "" };
        let free = out.age(lock.expires_at);
        lines.push(("lock", format!("{}{shared}, free {free}{reason}", out.path(&lock.file_path))));
    }
    lines
}

fn status(out: &Out, peer: &PeerInfo) -> String {
    let heard = out.age(peer.last_heartbeat);
    let (word, paint, more) = match peer.status {
        PeerStatus::Active => {
            let more = match peer.busy {
                Some(true) => ", in a turn",
                Some(false) => ", idle",
                None => "",
            };
            ("active", Paint::Good, more.into())
        }
        PeerStatus::Stale => ("stale", Paint::Warn, String::new()),
        PeerStatus::Away => {
            ("away", Paint::Warn, ", its MCP server is gone while the agent goes on".into())
        }
        PeerStatus::Left => {
            let left = has_left(peer.left_at, out.now);
            let here = duration(seconds_between(peer.started_at, peer.left_at.unwrap_or(out.now)));
            let left = out.style.paint(&left, Paint::Warn).into_owned();
            return format!("{left}, was here for {here}, last heard of {heard}");
        }
    };
    let here = duration(seconds_between(peer.started_at, out.now));
    format!("{}{more}, here for {here}, last heard of {heard}", out.style.paint(word, paint))
}

fn seconds_between(from: Timestamp, to: Timestamp) -> i64 {
    to.0.saturating_sub(from.0).max(0) / 1000
}

/// When a message comes to its agent.
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
