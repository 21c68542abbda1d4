//! `slm-mesh peers`

use super::command::{Command, Context, Entry, Group, Task};
use super::out::{Out, Paint};
use super::table::{Cell, elastic, fixed, path};
use super::text::{escape, short_id};
use super::words::{self, Words};
use super::{Failure, Result, peer, place, suggest};
use crate::api::{ListPeers, PeerInfo, PeerStatus, PeersReply, Request, Scope};
use crate::client::{Client, StartPolicy};
use crate::limits::ID_PREFIX_CHARS_MIN;
use crate::names;

pub(super) const ENTRY: Entry = Entry {
    name: "peers",
    group: Group::Shared,
    summary: "list the agents that are here",
    usage: &["peers [--scope machine|mesh|directory|repo] [--all]", "peers <peer>"],
    about: &[
        "With a name or an id, it shows all about one peer: what it works on, its locks, how many \
         messages it has not read, how a message reaches it, when it was last heard from.",
        "Starts no broker: without one, it says so and exits with 3.",
    ],
    options: &[
        ("--scope S", "machine (default), all machines of the mesh, or this directory or repo"),
        ("--all", "also those that have not been heard from for a while, or have left"),
    ],
    examples: &[("peers", ""), ("peers --scope repo --all", ""), ("peers api-claude", "")],
    parse,
};

#[derive(Debug, Default, PartialEq, Eq)]
struct Peers {
    /// Show everything about this one.
    peer: Option<String>,
    scope: PeerScope,
    /// Also stale ones and those that have left.
    all: bool,
}

/// Which peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum PeerScope {
    #[default]
    Machine,
    /// All of all machines.
    Mesh,
    Directory,
    Repo,
}

const SCOPES: [(&str, PeerScope); 4] = [
    ("machine", PeerScope::Machine),
    ("mesh", PeerScope::Mesh),
    ("directory", PeerScope::Directory),
    ("repo", PeerScope::Repo),
];

fn parse(words: &mut Words) -> words::Result<Task> {
    let scope = words.choice("--scope", &SCOPES)?;
    let all = words.flag("--all");
    let peer = words.optional("[peer]")?;
    if peer.is_some() && scope.is_some() {
        return Err(
            words.error("a peer that is named is looked for everywhere: leave out `--scope`")
        );
    }
    Ok(Task::command(Peers { peer, scope: scope.unwrap_or_default(), all }))
}

impl Command for Peers {
    fn run(&self, context: &mut Context) -> Result<()> {
        if let Some(name) = &self.peer {
            return peer::run(context, name);
        }
        let request = Request::Peers(ListPeers {
            scope: scope(self.scope)?,
            include_stale: self.all,
            include_departed: self.all,
            unread: true,
            ..ListPeers::default()
        });
        let mut client = context.client(StartPolicy::Never)?;
        let out = &mut context.out;
        let Some(reply) = out.ask::<PeersReply>(&mut client, &request)? else { return Ok(()) };
        if reply.peers.is_empty() {
            let place = match self.scope {
                PeerScope::Machine => "",
                PeerScope::Mesh => ", nor on other machines",
                PeerScope::Directory => " in this directory",
                PeerScope::Repo => " in this repository",
            };
            let kind = if self.all { "peers are" } else { "active peers are" };
            writeln!(out, "No {kind} here{place}.")?;
            return tell_of_others(out, reply.elsewhere);
        }
        let columns = [
            elastic("NAME", 32),
            elastic("MACHINE", 8).less(7),
            fixed("ID").less(1).detail(),
            elastic("AGENT", 8).less(3).detail(),
            fixed("STATUS").less(7),
            fixed("REACH").less(5),
            fixed("UNREAD").less(6),
            elastic("BRANCH", 8).less(4),
            path("PROJECT", 20).less(8),
            elastic("SUMMARY", 28).less(9),
            fixed("CAME").less(2),
        ];
        out.table(columns, &reply.peers, row)?;
        out.more(reply.remaining)?;
        tell_of_others(out, reply.elsewhere)
    }
}

/// Mentions peers on other machines.
fn tell_of_others(out: &mut Out, elsewhere: u64) -> Result<()> {
    if elsewhere > 0 {
        let are = if elsewhere == 1 { "is" } else { "are" };
        writeln!(out, "{elsewhere} more {are} on other machines: `slm-mesh peers --scope mesh`.")?;
    }
    Ok(())
}

fn row(out: &Out, peer: &PeerInfo) -> [Cell; 11] {
    let id = peer.id.to_string();
    let status = match peer.status {
        PeerStatus::Active if peer.busy == Some(true) => Cell::painted("busy", Paint::Good),
        PeerStatus::Active => Cell::painted("active", Paint::Good),
        PeerStatus::Stale => Cell::painted("stale", Paint::Warn),
        PeerStatus::Away => Cell::painted("away", Paint::Warn),
        PeerStatus::Left => Cell::painted("left", Paint::Dim),
    };
    let text = |text: &Option<Box<str>>| Cell::from(escape(text.as_deref().unwrap_or_default()));
    [
        Cell::painted(escape(&peer.name), Paint::Bold),
        peer.host.map(|host| host.to_string()).unwrap_or_default().into(),
        Cell::painted(short_id(&id), Paint::Dim),
        escape(&peer.agent_type).into(),
        status,
        escape(&peer.reach).into(),
        peer.unread
            .filter(|unread| *unread > 0)
            .map_or_else(String::new, |it| it.to_string())
            .into(),
        text(&peer.git_branch),
        out.path(&peer.project_path).into(),
        text(&peer.summary),
        out.age(peer.started_at).into(),
    ]
}

/// The peer that `text` names, by its name, its id, or the beginning of its id; of several that have
/// left, the last.
pub(super) fn find(client: &mut Client, text: &str) -> Result<PeerInfo> {
    let list = ListPeers {
        scope: Scope::Mesh,
        include_stale: true,
        include_departed: true,
        unread: true,
        ..ListPeers::default()
    };
    let peers = client.call::<PeersReply>(&Request::Peers(list))?.peers;
    let prefix = text.to_ascii_lowercase();
    let named = |peer: &&PeerInfo| names::key(&peer.name) == names::key(text);
    let by_id = |peer: &&PeerInfo| {
        prefix.len() >= ID_PREFIX_CHARS_MIN && peer.id.to_string().starts_with(&prefix)
    };
    // Peers that are here come before those that have left.
    let presence = |peer: &&PeerInfo| (peer.left_at.is_none(), peer.left_at);
    let mut found = peers.iter().filter(named).max_by_key(presence);
    if found.is_none() {
        let mut matching: Vec<_> = peers.iter().filter(by_id).collect();
        let is_here = |peer: &&PeerInfo| peer.left_at.is_none();
        if matching.iter().filter(|peer| is_here(peer)).count() == 1 {
            matching.retain(is_here);
        }
        if matching.len() > 1 {
            let message =
                format!("{text} begins the ids of several peers: give more of it, or a name");
            return Err(Failure::other("ambiguous_peer", message));
        }
        found = matching.pop();
    }
    found.cloned().ok_or_else(|| {
        let hint = suggest::hint(text, peers.iter().map(|peer| &*peer.name));
        let message = format!(
            "there is no peer {text:?}{hint}; `slm-mesh peers --all` lists them, those that have \
             left too"
        );
        Failure::other("peer_not_found", message)
    })
}

fn scope(scope: PeerScope) -> Result<Scope> {
    Ok(match scope {
        PeerScope::Machine => Scope::Machine,
        PeerScope::Mesh => Scope::Mesh,
        PeerScope::Directory => Scope::Directory { project_path: place::directory()? },
        PeerScope::Repo => Scope::Repo(place::repository()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::invocation::testing::{command, refused};

    #[test]
    fn peers_are_listed_or_one_is_looked_for() {
        let repo = Peers { peer: None, scope: PeerScope::Repo, all: true };
        assert_eq!(command::<Peers>("peers --scope repo --all"), repo);
        assert!(refused("peers --scope rpo").contains("did you mean `repo`?"));
        let bob = Peers { peer: Some("bob".into()), ..Peers::default() };
        assert_eq!(command::<Peers>("peers bob"), bob);
        assert!(refused("peers bob --scope repo").contains("leave out `--scope`"));
    }
}
