//! `slm-mesh join`
//!
//! Nothing is changed before the hub has let this machine in: only then is the role stored, and the
//! running process makes room for one that serves as a relay.

#[cfg(feature = "lan")]
mod dial;
#[cfg(feature = "lan")]
mod run;

use super::Result;
use super::command::{Command, Context, Entry, Group, Task};
use super::words::{self, Words};
use crate::config::HubAddress;

pub(super) const ENTRY: Entry = Entry {
    name: "join",
    group: Group::Machines,
    summary: "join the mesh of another machine",
    usage: &["join [code] [--address HOST[:PORT]]... [--yes]"],
    about: &[
        "`slm-mesh invite` prints the code on the hub. Without it, it is asked for, or read from the \
         standard input: then it is not in the list of processes for others to see.",
        "The code has the addresses of the hub as the hub knows them; --address adds one. All are tried \
         at once. Whatever the address, only the hub that made the code is believed.",
        "Nothing is changed before the hub has let this machine in. Then agents that are running here \
         change over by themselves. Messages, state and locks of the mesh that was here before stay \
         behind, until `slm-mesh leave`; if some are unread or held, it says so and asks.",
    ],
    options: &[
        ("--address HOST[:PORT]", "where else the hub may be reached; may be repeated"),
        ("-y, --yes", "do not ask"),
    ],
    examples: &[
        ("join slm06jtb9d5mpjtb9...", "as `slm-mesh invite` has printed it"),
        ("join", "asks for the code"),
        ("join --address desk.example.net slm06jtb9d5mpjtb9...", ""),
    ],
    parse,
};

#[derive(Debug)]
#[cfg_attr(not(feature = "lan"), expect(dead_code, reason = "there is nothing to join"))]
struct Join {
    /// The code; none if it is to be asked for.
    code: Option<String>,
    /// More addresses at which the hub may be.
    addresses: Vec<HubAddress>,
    /// Do not ask.
    yes: bool,
}

fn parse(words: &mut Words) -> words::Result<Task> {
    let mut addresses = Vec::new();
    let expected = "the name or address of a machine, with :port unless that is 7900";
    while let Some(address) = words.value("--address", expected, HubAddress::parse)? {
        addresses.push(address);
    }
    let yes = words.flag(["-y", "--yes"]);
    // A code that was broken into several words is put together again.
    let parts = words.texts_left(&["[code]"; 16])?;
    let code = if parts.is_empty() { None } else { Some(parts.concat()) };
    Ok(Task::command(Join { code, addresses, yes }))
}

impl Command for Join {
    #[cfg(feature = "lan")]
    fn run(&self, context: &mut Context) -> Result<()> {
        run::run(context, self)
    }

    #[cfg(not(feature = "lan"))]
    fn run(&self, _: &mut Context) -> Result<()> {
        Err(super::invocation::no_network())
    }
}
