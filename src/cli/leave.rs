//! `slm-mesh leave`

use super::ask::confirm;
use super::command::{Command, Context, Entry, Group, Task};
use super::out::write_object;
use super::start::switch;
use super::words::{self, Words};
use super::{Failure, Result};
use crate::api::{MachinesReply, Request};
use crate::client::Client;
use crate::config::Asked;
use crate::role::Kind;
use crate::role::stored::{self, Stored};

pub(super) const ENTRY: Entry = Entry {
    name: "leave",
    group: Group::Machines,
    summary: "leave the mesh of another machine, or stop being a hub",
    usage: &["leave [--yes]"],
    about: &[
        "On a machine that has joined: from now on it has its own mesh again, with the messages and \
         the state of before. Agents that are running here change over by themselves. The hub keeps \
         the machine in its list until `slm-mesh machines remove` there; it may come back with a new \
         code.",
        "On a hub: no machine reaches it any more, and its port is closed. Messages and state stay. Says \
         which machines that is, and asks.",
    ],
    options: &[("-y, --yes", "do not ask")],
    examples: &[("leave", "")],
    parse,
};

#[derive(Debug)]
struct Leave {
    /// Do not ask.
    yes: bool,
}

fn parse(words: &mut Words) -> words::Result<Task> {
    let yes = words.flag(["-y", "--yes"]);
    words.end()?;
    Ok(Task::command(Leave { yes }))
}

impl Command for Leave {
    fn run(&self, context: &mut Context) -> Result<()> {
        context.check_is_person("to leave the mesh of several machines")?;
        let config = context.config.clone();
        let stored = stored::read(&config.paths.machines()).map_err(Failure::file)?;
        let (left, told) = match &stored {
            None => return Err(nothing_to_leave(&config.asked)),
            Some(Stored::Hub) => {
                if !self.yes
                    && let Some(what) = machines_of_hub(&mut context.client_of_any_role()?)?
                {
                    confirm(&mut context.out, self.yes, &what, "Stop being a hub?")?;
                }
                (Kind::Hub, "This machine is no longer a hub: its mesh is its own.")
            }
            Some(Stored::Client { .. }) => {
                (Kind::Client, "This machine has left, and has its own mesh again.")
            }
            Some(Stored::Pinned(_)) => (
                Kind::Client,
                "Forgot which hub it was: the next one that has the shared secret will be it.",
            ),
        };
        switch(&config, None)?;
        let out = &mut context.out;
        if out.json {
            write_object!(out, "ok" => true, "was" => left.as_str())
        } else {
            writeln!(out, "{told}")
        }
    }
}

/// Which machines would lose their hub, as a sentence; none if none have joined.
fn machines_of_hub(client: &mut Client) -> Result<Option<String>> {
    let known: MachinesReply = client.call(&Request::ListMachines)?;
    let names: Vec<&str> = known.machines.iter().map(|machine| machine.name.as_str()).collect();
    if names.is_empty() {
        return Ok(None);
    }
    let (have, they) = if names.len() == 1 { ("has", "it") } else { ("have", "they") };
    Ok(Some(format!(
        "{} {have} joined this hub: {they} will look for it, and the agents there wait, until `slm-mesh \
         leave` is run on each, or `slm-mesh invite` here makes it a hub again",
        names.join(", ")
    )))
}

fn nothing_to_leave(asked: &Asked) -> Failure {
    let message = match asked {
        Asked::Hub { .. } | Asked::Client { .. } => format!(
            "nothing is stored that could be left: {} says what this machine is, so unset it, and run \
             `slm-mesh stop`",
            asked.variable()
        ),
        Asked::Nothing | Asked::Broker => {
            "this machine has joined no other, and none has joined it: there is nothing to leave"
                .to_owned()
        }
    };
    Failure::other("nothing_to_leave", message)
}
