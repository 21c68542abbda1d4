//! `slm-mesh rename`

use super::command::{Command, Context, Entry, Group, Task};
use super::out::Done;
use super::text::escape;
use super::words::{self, Words};
use super::{Result, peers};
use crate::api::Request;
use crate::client::StartPolicy;

pub(super) const ENTRY: Entry = Entry {
    name: "rename",
    group: Group::Agents,
    summary: "give a peer another name",
    usage: &["rename <peer> <name>"],
    about: &[
        "It keeps the name until its session ends, also over a restart of the broker. What waits \
         for the name that it had waits for the next session of that name.",
    ],
    options: &[],
    examples: &[("rename webapp-claude-2 reviewer", "")],
    parse,
};

#[derive(Debug, PartialEq, Eq)]
struct Rename {
    peer: String,
    /// What it is called from now on.
    name: String,
}

fn parse(words: &mut Words) -> words::Result<Task> {
    let [peer, name] = words.required(["<peer>", "<name>"])?;
    Ok(Task::command(Rename { peer, name }))
}

impl Command for Rename {
    fn run(&self, context: &mut Context) -> Result<()> {
        context.check_is_person("to rename a peer")?;
        let Self { peer, name } = self;
        let mut client = context.client(StartPolicy::Never)?;
        let found = peers::find(&mut client, peer)?;
        let peer_id = Some(found.id.to_string().into());
        let out = &mut context.out;
        let request = Request::Rename { peer_id, name: (&**name).into() };
        let Some(_) = out.ask::<Done>(&mut client, &request)? else { return Ok(()) };
        writeln!(out, "{} is called {} from now on.", escape(&found.name), escape(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::invocation::testing::{command, refused};

    #[test]
    fn a_peer_gets_a_name() {
        let rename = Rename { peer: "a".into(), name: "b".into() };
        assert_eq!(command::<Rename>("rename a b"), rename);
        assert!(refused("rename a").contains("<name> is missing"));
    }
}
