//! `slm-mesh whoami`

use super::actor::Acting;
use super::command::{Command, Context, Entry, Group, alone};
use super::out::write_object;
use super::text::{count, escape, short_id};
use super::{Result, peer_names};
use crate::api::{Code, Fetch, Messages, Request};
use crate::client::StartPolicy;

pub(super) const ENTRY: Entry = Entry {
    name: "whoami",
    group: Group::Messages,
    summary: "who you are in the mesh",
    usage: &["whoami"],
    about: &[
        "You are `cli`; a command that an agent runs acts as that agent. Also says how many messages \
         wait. Starts no broker.",
    ],
    options: &[],
    examples: &[("whoami", "")],
    parse: alone::<WhoAmI>,
};

#[derive(Debug, Default)]
struct WhoAmI;

impl Command for WhoAmI {
    fn run(&self, context: &mut Context) -> Result<()> {
        let Acting { mut client, peer_id, name, id } = context.acting(None, StartPolicy::Never)?;
        let fetch = Fetch { peer_id, limit: Some(1), peek: true, ..Fetch::default() };
        let unread = match client.call::<Messages>(&Request::Fetch(fetch)) {
            Ok(first) => first.messages.len() as u64 + first.remaining,
            // A label has no inbox.
            Err(error) if error.code() == Some(Code::PeerNotFound) => 0,
            Err(error) => return Err(error.into()),
        };
        let peer = peer_names::with_ids(&mut client, id.into_iter().collect())?.pop();
        let out = &mut context.out;
        if out.json {
            return write_object!(out, "ok" => true, "name" => name, "peer" => peer, "unread" => unread);
        }
        let name = escape(&name);
        match peer {
            None if *name == *super::actor::CLI => {
                writeln!(out, "You are {name}, the person at the command line of this mesh.")?;
            }
            None => writeln!(out, "You act as {name}.")?,
            Some(peer) => {
                let place = out.path(&peer.project_path);
                let id = peer.id.to_string();
                let agent = escape(&peer.agent_type);
                let id = short_id(&id);
                out.paragraph(&format!("You are {name} ({id}), a session of {agent} in {place}."))?;
            }
        }
        let waiting = match unread {
            0 => "No message waits for you.".to_owned(),
            _ => format!(
                "{} for you: `slm-mesh inbox`.",
                count(unread, "message waits", "messages wait")
            ),
        };
        writeln!(out, "{waiting}")
    }
}
