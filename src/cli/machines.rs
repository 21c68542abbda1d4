//! `slm-mesh machines`, and what other commands say about machines.

use super::Result;
use super::ask::confirm;
use super::command::{Command, Context, Entry, Group, Task};
use super::out::{Done, Out, Paint, note};
use super::suggest;
use super::table::{Cell, elastic, fixed};
use super::text::{count, escape};
use super::words::{self, Words};
use crate::api::{HubInfo, MachineInfo, MachinesReply, Request};
use crate::client::StartPolicy;
use crate::client::locate::serving_as;
use crate::config::SHARED_SECRET;
use crate::model::MachineName;
use crate::role::Kind;

/// The form of a machine's name.
pub(super) const NAME_FORM: &str = "1 to 32 letters, digits, `.`, `_` and `-`";

pub(super) const ENTRY: Entry = Entry {
    name: "machines",
    group: Group::Machines,
    summary: "the machines that have joined; remove one",
    usage: &["machines", "machines remove <name> [--yes]"],
    about: &[
        "Lists the machines that have joined this hub: when each came, when it was last connected, \
         and how many peers it has. On a machine that has joined another it says whose mesh it is.",
        "`remove` ends the peers of a machine, frees their locks, and never lets its key in again. \
         Invitations that nobody has used are void, too. Asks first.",
    ],
    options: &[("-y, --yes", "do not ask")],
    examples: &[("machines", ""), ("machines remove laptop", "")],
    parse,
};

#[derive(Debug)]
enum Machines {
    List,
    Remove {
        name: MachineName,
        /// Do not ask.
        yes: bool,
    },
}

fn parse(words: &mut Words) -> words::Result<Task> {
    let yes = words.flag(["-y", "--yes"]);
    let action = words.command()?;
    let removes = match action.as_deref() {
        None => false,
        Some("remove") => true,
        Some(word) => {
            let hint = suggest::hint(word, ["remove"]);
            return Err(words.error(format!("unknown action {word:?}: it must be remove{hint}")));
        }
    };
    if yes && !removes {
        return Err(words.error("`--yes` belongs to `remove`: a list asks for nothing"));
    }
    if !removes {
        words.end()?;
        return Ok(Task::command(Machines::List));
    }
    let [name] = words.required(["<name>"])?;
    let Some(name) = MachineName::new(&name) else {
        return Err(words.error(format!(
            "<name> must be {NAME_FORM}, as `slm-mesh machines` shows it, not {name:?}"
        )));
    };
    Ok(Task::command(Machines::Remove { name, yes }))
}

impl Command for Machines {
    fn run(&self, context: &mut Context) -> Result<()> {
        match *self {
            Self::List => list(context),
            Self::Remove { name, yes } => remove(context, name, yes),
        }
    }
}

fn list(context: &mut Context) -> Result<()> {
    let mut client = context.client(StartPolicy::IfNeeded)?;
    if serving_as(&context.config.paths)? == Some(Kind::Client) {
        // A request for the hub makes the relay connect; the state of the connection is told below.
        let _ = client.call_bytes(&Request::Status);
    }
    let out = &mut context.out;
    let reply: Option<MachinesReply> = out.ask(&mut client, &Request::ListMachines)?;
    let Some(reply) = reply else { return Ok(()) };
    if let Some(hub) = &reply.hub {
        writeln!(out, "This machine {}.", in_mesh_of(hub))?;
        let way = format!("Its hub is {}.", way_to_hub(out, hub));
        out.paragraph(&way)?;
        return out.paragraph("Who else has joined is shown by `slm-mesh machines` on the hub.");
    }
    if reply.machines.is_empty() {
        return writeln!(out, "No other machine has joined. `slm-mesh invite` lets one in.");
    }
    let columns = [
        elastic("NAME", 12),
        fixed("ID"),
        elastic("ADDRESS", 15),
        fixed("JOINED"),
        fixed("LAST SEEN"),
        fixed("PEERS"),
    ];
    out.table(columns, &reply.machines, row)
}

fn row(out: &Out, machine: &MachineInfo) -> [Cell; 6] {
    let seen = if machine.connected {
        Cell::painted("connected", Paint::Good)
    } else {
        Cell::painted(out.age(machine.last_seen), Paint::Warn)
    };
    [
        Cell::painted(machine.name.as_str(), Paint::Bold),
        Cell::painted(machine.id.short(), Paint::Dim),
        escape(&machine.address).into(),
        out.age(machine.since).into(),
        seen,
        machine.peers.to_string().into(),
    ]
}

fn remove(context: &mut Context, name: MachineName, yes: bool) -> Result<()> {
    context.check_is_person("to remove a machine from the mesh")?;
    let mut client = context.client(StartPolicy::IfNeeded)?;
    if !yes {
        let known: MachinesReply = client.call(&Request::ListMachines)?;
        // If there is none of this name, the hub says so.
        if let Some(machine) = known.machines.iter().find(|machine| machine.name == name) {
            let peers = match machine.peers {
                0 => String::new(),
                peers => format!(
                    "its {} leave, their locks are freed, and ",
                    count(peers, "peer", "peers")
                ),
            };
            let what = format!("{} is removed: {peers}its key is never let in again", machine.name);
            confirm(&mut context.out, yes, &what, &format!("Remove {}?", machine.name))?;
        }
    }
    let out = &mut context.out;
    if out.ask::<Done>(&mut client, &Request::RemoveMachine { name })?.is_some() {
        writeln!(out, "Removed {name}.")?;
        out.flush()?;
    }
    if context.config.shared_secret.is_some() {
        note(&format!(
            "{SHARED_SECRET} is set, and {name} may know it: change it, or it could join again with a \
             new key"
        ));
    }
    Ok(())
}

/// `is laptop in the mesh of desk`, as far as that is known.
pub(super) fn in_mesh_of(hub: &HubInfo) -> String {
    let whose = match (&hub.name, &hub.id) {
        (Some(name), _) => escape(name).into_owned(),
        (None, Some(id)) => format!("the hub {}", id.short()),
        (None, None) => "a hub that was not reached yet".to_owned(),
    };
    match &hub.own_name {
        Some(own) => format!("is {} in the mesh of {whose}", escape(own)),
        None => format!("is in the mesh of {whose}"),
    }
}

/// The state of the connection to the hub, coloured, to follow "it is".
pub(super) fn way_to_hub(out: &Out, hub: &HubInfo) -> String {
    let paint = if hub.connected { Paint::Good } else { Paint::Warn };
    out.style.paint(&way_words(out, hub), paint).into_owned()
}

/// The same without a colour.
pub(super) fn way_words(out: &Out, hub: &HubInfo) -> String {
    if !hub.connected {
        // The problem says where and since when.
        let problem = hub.problem.as_deref().unwrap_or("nothing was asked of it yet");
        return format!("not connected: {}", escape(problem));
    }
    let at = hub.address.as_deref().map_or(String::new(), |at| format!(" at {}", escape(at)));
    let since = hub.since.map_or(String::new(), |since| format!(" ({})", out.age(since)));
    format!("connected{at}{since}")
}
