//! `slm-mesh rename`

use std::io::Write;

use super::text::escape;
use super::{Context, Exit, Result, peers};
use crate::api::Request;
use crate::client::StartPolicy;

/// `rename`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// Who.
    pub peer: String,
    /// What it is called from now on.
    pub name: String,
}

pub(super) fn run(context: &mut Context, rename: &Rename) -> Result<Exit> {
    let Rename { peer, name } = rename;
    let mut client = context.client(StartPolicy::Never)?;
    let found = peers::find(&mut client, peer)?;
    let peer_id = Some(found.id.to_string().into());
    let body = client.call_bytes(&Request::Rename { peer_id, name: (&**name).into() })?;
    if context.out.json {
        context.out.document(&body)?;
        return Ok(Exit::Done);
    }
    writeln!(context.out, "{} is called {} from now on.", escape(&found.name), escape(name))?;
    Ok(Exit::Done)
}
