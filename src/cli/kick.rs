//! `slm-mesh kick`

use super::command::{Command, Context, Entry, Group, Task};
use super::out::Done;
use super::text::{escape, has_left};
use super::words::{self, Words};
use super::{Failure, Result, peers};
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
    fn run(&self, context: &mut Context) -> Result<()> {
        context.check_is_person("to take a peer out")?;
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
        let request = Request::Unregister { peer_id, away: false };
        let out = &mut context.out;
        let Some(_) = out.ask::<Done>(&mut client, &request)? else { return Ok(()) };
        let locks = match peer.locks {
            0 => "",
            1 => " Its lock is free.",
            _ => " Its locks are free.",
        };
        writeln!(out, "{name} is out.{locks}")
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
