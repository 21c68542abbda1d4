//! `slm-mesh rename`

use std::io::Write;

use super::text::escape;
use super::{Context, Exit, Result};
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
    let request = Request::Rename { peer_id: Some((&**peer).into()), name: (&**name).into() };
    let body = context.client(StartPolicy::Never)?.call_bytes(&request)?;
    if context.out.json {
        context.out.document(&body)?;
        return Ok(Exit::Done);
    }
    writeln!(context.out, "{} is called {} from now on.", escape(peer), escape(name))?;
    Ok(Exit::Done)
}
