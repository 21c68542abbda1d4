//! `slm-mesh invite`

use super::command::{Command, Context, Entry, Group, Task};
use super::text::{duration, escape};
use super::words::{self, Words};
use super::{Result, machines, values};
use crate::api::{Invited, Request};
use crate::client::StartPolicy;
use crate::limits::INVITATION_MINUTES_MAX;
use crate::model::MachineName;

pub(super) const ENTRY: Entry = Entry {
    name: "invite",
    group: Group::Machines,
    summary: "let another machine join this one's mesh",
    usage: &["invite [--name NAME] [--minutes N]"],
    about: &[
        "Prints the command to run on the other machine, with a code in it for one machine and a few \
         minutes. Into a pipe it prints that line alone. Whoever has the code can join, so send it \
         by a way that nobody else reads.",
        "The first invitation makes this machine the hub of its mesh: from then on a port is open for \
         machines that join (SLM_MESH_WS_PORT, 7900), also after a restart. Agents that are here go \
         on as they are. `slm-mesh leave` takes it back.",
    ],
    options: &[
        ("--name NAME", "what the machine is to be called (default: what it calls itself)"),
        ("--minutes N", "for how long the code is good, 1 to 1440 (default: 15)"),
    ],
    examples: &[
        ("invite", ""),
        ("invite --name laptop --minutes 60", ""),
        ("invite | ssh laptop sh", "joins at once, over a connection you have already"),
    ],
    parse,
};

#[derive(Debug)]
struct Invite {
    /// What the machine will be called; none for what it calls itself.
    name: Option<MachineName>,
    /// For how long the code is good.
    minutes: Option<u32>,
}

fn parse(words: &mut Words) -> words::Result<Task> {
    let name = words.value("--name", machines::NAME_FORM, MachineName::new)?;
    let minutes = values::number(words, "--minutes", 1..=INVITATION_MINUTES_MAX)?;
    words.end()?;
    Ok(Task::command(Invite { name, minutes }))
}

impl Command for Invite {
    fn run(&self, context: &mut Context) -> Result<()> {
        context.check_is_person("to let machines into the mesh")?;
        let Self { name, minutes } = *self;
        let mut client = context.client(StartPolicy::IfNeeded)?;
        let out = &mut context.out;
        let request = Request::Invite { name, minutes };
        let Some(invited) = out.ask::<Invited>(&mut client, &request)? else { return Ok(()) };
        if !out.is_terminal {
            return writeln!(out, "slm-mesh join {}", escape(&invited.code));
        }
        let left = invited.expires_at.0.saturating_sub(out.now.0).saturating_add(30_000) / 60_000;
        out.paragraph(&format!(
            "Run this on the other machine, within {}. The code lets one machine in; keep it to yourself.",
            duration(left.max(1) * 60)
        ))?;
        writeln!(out, "\nslm-mesh join {}\n", escape(&invited.code))?;
        match &*invited.addresses {
            [] => out.paragraph(
                "No address of this machine was found, so the other one has to be told: `slm-mesh join \
                 --address ADDRESS CODE`.",
            ),
            addresses => out.paragraph(&format!(
                "It will look for this machine at {}.",
                escape(&addresses.join(", "))
            )),
        }
    }
}
