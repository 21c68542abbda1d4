//! `slm-mesh kick`

use std::io::Write;

use super::command::{Command, Context, Entry, Group, Task};
use super::text::{escape, has_left};
use super::words::{self, Words};
use super::{Exit, Failure, Result, peers};
use crate::api::{PeerStatus, Request};
use crate::client::StartPolicy;

pub(super) const ENTRY: Entry = Entry {
    name: "kick",
    group: Group::Agents,
    summary: "take a peer out of the mesh",
    usage: &["kick <peer> [--force]"],
    about: &[
        "For a peer that is stale or away and does not go by itself: its locks come free. One \
         that is alive is only taken out with --force, and comes back, under a new id, when its \
         agent next uses the mesh.",
    ],
    options: &[("--force", "also if it is alive")],
    examples: &[("kick webapp-claude-2", ""), ("kick webapp-claude --force", "")],
    parse,
};

#[derive(Debug, PartialEq, Eq)]
struct Kick {
    peer: String,
    /// Also if it is alive.
    force: bool,
}

fn parse(words: &mut Words) -> words::Result<Task> {
    let force = words.flag("--force");
    let [peer] = words.required(["<peer>"])?;
    Ok(Task::command(Kick { peer, force }))
}

impl Command for Kick {
    fn run(&self, context: &mut Context) -> Result<Exit> {
        let mut client = context.client(StartPolicy::Never)?;
        let peer = peers::find(&mut client, &self.peer)?;
        let name = escape(&peer.name).into_owned();
        if peer.status == PeerStatus::Left {
            let left = has_left(peer.left_at, context.out.now);
            return Err(Failure::other("peer_not_found", format!("{name} {left}")));
        }
        if peer.status == PeerStatus::Active && !self.force {
            return Err(Failure::other(
                "peer_alive",
                format!(
                    "{name} is alive: with `--force` it is taken out all the same, its locks come free, \
                     and it is back, under a new id, when its agent next uses the mesh"
                ),
            ));
        }
        let peer_id = Some(peer.id.to_string().into());
        let body = client.call_bytes(&Request::Unregister { peer_id, away: false })?;
        if context.out.json {
            context.out.line(&body)?;
            return Ok(Exit::Done);
        }
        let locks = match peer.locks {
            0 => "",
            1 => " Its lock is free.",
            _ => " Its locks are free.",
        };
        writeln!(context.out, "{name} is out.{locks}")?;
        Ok(Exit::Done)
    }

    fn only_for_person(&self) -> Option<&'static str> {
        Some("to take a peer out")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::invocation::testing::{command, refused};

    #[test]
    fn force_is_an_option() {
        assert_eq!(command::<Kick>("kick a --force"), Kick { peer: "a".into(), force: true });
        assert_eq!(command::<Kick>("kick a"), Kick { peer: "a".into(), force: false });
        assert!(refused("kick").contains("<peer> is missing"));
    }
}
