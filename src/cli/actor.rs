//! In whose name a command acts: the person's, except that a command which an agent runs in its shell
//! tool acts as that agent. An agent is recognised by its variables and by the parent processes, where
//! both agree. That is no barrier: whoever runs as the same user may claim to be anyone.

use std::env;
use std::io::{self, Write};

use super::command::Context;
use super::text::escape;
use super::{Failure, Result};
use crate::client::{Client, StartPolicy};
use crate::hook::session::{self, Found};
use crate::model::PeerId;

/// Who a person at the command line is in the mesh.
pub(super) const CLI: &str = "cli";

/// The party that a command acts for, and a client that asks in its name.
pub(super) struct Acting {
    /// Asks in their name.
    pub(super) client: Client,
    /// Their name in requests; none if the client's token identifies them.
    pub(super) peer_id: Option<Box<str>>,
    /// Their name as people know it.
    pub(super) name: Box<str>,
    /// Their id, if an agent runs this.
    pub(super) id: Option<PeerId>,
}

impl Context {
    /// The party that this command acts for. `from` is the sender given by an option of its own.
    pub(super) fn acting(&self, from: Option<&str>, start: StartPolicy) -> Result<Acting> {
        if let (Some(from), Some(given)) = (from, &self.global.acts_as)
            && from != given
        {
            return Err(Failure::usage("`--from` and `--as` both say who acts: give one of them"));
        }
        let named = from.or(self.global.acts_as.as_deref());
        let agent = if named.is_none() { session::agent_of_command() } else { None };
        let mut client = self.client(start)?;
        let Some(agent) = agent.map(|agent| agent.agent_type) else {
            let name: Box<str> = named.unwrap_or(CLI).into();
            return Ok(Acting { client, peer_id: Some(name.clone()), name, id: None });
        };
        let cwd = env::current_dir().ok();
        let found = session::find_of_command(&mut client, cwd.as_deref())?;
        let token = found.one().and_then(|me| session::token(&self.config, me));
        let (Found::One(me), Some(token)) = (found, token) else {
            return Err(Failure::other(
                "unknown_session",
                format!(
                    "{agent} runs this, and which of its sessions in the mesh that is cannot be \
                     told: use the mesh tools (mesh_status first), or `--as NAME`, which is `--as \
                     cli` for what your user has asked for"
                ),
            ));
        };
        client.use_token(&token);
        if !self.out.json {
            // If the standard error is closed, there is nobody to tell.
            let _ = writeln!(io::stderr().lock(), "as {}", escape(&me.name));
        }
        Ok(Acting { client, peer_id: None, name: me.name, id: Some(me.id) })
    }

    /// Refuses `what`, which is for the person to do, to an agent, unless `--as cli` says that the
    /// person asked for it.
    pub(super) fn check_is_person(&self, what: &str) -> Result<()> {
        if self.global.acts_as.as_deref() == Some(CLI) {
            return Ok(());
        }
        match session::agent_of_command().map(|agent| agent.agent_type) {
            None => Ok(()),
            Some(agent) => Err(Failure::other(
                "as_cli_only",
                format!(
                    "{agent} runs this, and {what} is for its user to do: with `--as cli` it is done \
                     in their name, if they have asked for it"
                ),
            )),
        }
    }
}
