//! `slm-mesh peers`

use std::io::Write;
use std::path::PathBuf;

use super::out::Paint;
use super::table::{Cell, Table, elastic, fixed};
use super::text::{escape, short_id};
use super::{Context, Exit, Failure, PeerScope, Peers, Result};
use crate::agent::git;
use crate::api::{ListPeers, PeerInfo, PeerStatus, PeersReply, Place, Request, Scope};
use crate::client::StartPolicy;
use crate::client::blocking::read_reply;

pub(super) fn run(context: &mut Context, peers: &Peers) -> Result<Exit> {
    let request = Request::Peers(ListPeers {
        scope: scope(peers.scope)?,
        include_stale: peers.all,
        ..ListPeers::default()
    });
    let body = context.client(StartPolicy::Never)?.call_bytes(&request)?;
    if context.out.json {
        context.out.document(&body)?;
        return Ok(Exit::Done);
    }
    let reply: PeersReply = read_reply(&body)?;
    let out = &mut context.out;
    if reply.peers.is_empty() {
        let place = match peers.scope {
            PeerScope::Machine => "",
            PeerScope::Mesh => ", nor on other machines",
            PeerScope::Directory => " in this directory",
            PeerScope::Repo => " in this repository",
        };
        let kind = if peers.all { "peers are" } else { "active peers are" };
        writeln!(out, "No {kind} here{place}.")?;
        tell_of_others(out, reply.elsewhere)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new([
        elastic("NAME", 12),
        elastic("MACHINE", 8),
        fixed("ID"),
        elastic("AGENT", 8),
        fixed("STATUS"),
        fixed("REACH"),
        elastic("BRANCH", 8),
        elastic("PROJECT", 12),
        elastic("SUMMARY", 10),
        fixed("CAME"),
    ]);
    for peer in &reply.peers {
        table.push(row(out, peer));
    }
    table.write(out, &out.style.clone())?;
    if reply.remaining > 0 {
        writeln!(out, "{} more are not shown.", reply.remaining)?;
    }
    tell_of_others(out, reply.elsewhere)?;
    Ok(Exit::Done)
}

/// That there are peers on other machines, too.
fn tell_of_others(out: &mut super::Out, elsewhere: u64) -> Result<()> {
    if elsewhere > 0 {
        let are = if elsewhere == 1 { "is" } else { "are" };
        writeln!(out, "{elsewhere} more {are} on other machines: `slm-mesh peers --scope mesh`.")?;
    }
    Ok(())
}

fn row(out: &super::Out, peer: &PeerInfo) -> [Cell; 10] {
    let id = peer.id.to_string();
    let status = match peer.status {
        PeerStatus::Active => Cell::painted("active", Paint::Good),
        PeerStatus::Stale => Cell::painted("stale", Paint::Warn),
        PeerStatus::Away => Cell::painted("away", Paint::Warn),
    };
    let text = |text: &Option<Box<str>>| Cell::from(escape(text.as_deref().unwrap_or_default()));
    [
        Cell::painted(escape(&peer.name), Paint::Bold),
        peer.host.map(|host| host.to_string()).unwrap_or_default().into(),
        Cell::painted(short_id(&id), Paint::Dim),
        escape(&peer.agent_type).into(),
        status,
        escape(&peer.reach).into(),
        text(&peer.git_branch),
        out.path(&peer.project_path).into(),
        text(&peer.summary),
        out.age(peer.started_at).into(),
    ]
}

fn scope(scope: PeerScope) -> Result<Scope> {
    Ok(match scope {
        PeerScope::Machine => Scope::Machine,
        PeerScope::Mesh => Scope::Mesh,
        PeerScope::Directory => Scope::Directory { project_path: directory()? },
        PeerScope::Repo => {
            let Place { git_root, repo_id, repo_hash, .. } = repository()?;
            Scope::Repo { git_root, repo_id, repo_hash }
        }
    })
}

/// The working directory.
pub(super) fn directory() -> Result<Box<str>> {
    Ok(here()?.to_string_lossy().into())
}

/// The repository that we are in.
pub(super) fn repository() -> Result<Place> {
    let here = here()?;
    let Some(repository) = git::repository(&here) else {
        return Err(Failure::other(
            "no_repository",
            format!("{} is in no git repository", here.display()),
        ));
    };
    Ok(Place {
        project_path: None,
        git_root: Some(repository.root.to_string_lossy().into()),
        repo_id: Some(repository.id.into()),
        repo_hash: repository.hash,
    })
}

fn here() -> Result<PathBuf> {
    std::env::current_dir().map_err(|error| {
        Failure::other("no_directory", format!("the working directory cannot be read: {error}"))
    })
}
