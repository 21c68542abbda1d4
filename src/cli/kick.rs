//! `slm-mesh kick`

use std::io::Write;

use super::text::{escape, has_left};
use super::{Context, Exit, Failure, Result, peers};
use crate::api::{PeerStatus, Request};
use crate::client::StartPolicy;

/// `kick`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kick {
    /// Who.
    pub peer: String,
    /// Also if it is alive.
    pub force: bool,
}

pub(super) fn run(context: &mut Context, kick: &Kick) -> Result<Exit> {
    let mut client = context.client(StartPolicy::Never)?;
    let peer = peers::find(&mut client, &kick.peer)?;
    let name = escape(&peer.name).into_owned();
    if peer.status == PeerStatus::Left {
        let left = has_left(peer.left_at, context.out.now);
        return Err(Failure::other("peer_not_found", format!("{name} {left}")));
    }
    if peer.status == PeerStatus::Active && !kick.force {
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
        context.out.document(&body)?;
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
