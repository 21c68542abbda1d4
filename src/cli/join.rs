//! `slm-mesh join`
//!
//! Nothing is changed before the hub has let this machine in: only then is the role stored, and the
//! running process makes room for one that serves as a relay.

#[cfg(feature = "lan")]
mod dial;
#[cfg(feature = "lan")]
mod run;

use super::catalog::{Entry, Group};
use super::command::Command;
use super::words::{self, Words};
#[cfg(not(feature = "lan"))]
use super::{Context, Exit, Failure, Result};
use crate::config::HubAddress;

#[cfg(feature = "lan")]
pub(super) use run::run;

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

/// `join`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Join {
    /// The code; none: it is asked for.
    pub code: Option<String>,
    /// Where else the hub may be.
    pub addresses: Vec<HubAddress>,
    /// Do not ask.
    pub yes: bool,
}

fn parse(entry: &Entry, mut words: Words) -> words::Result<Command> {
    let mut addresses = Vec::new();
    let expected = "the name or address of a machine, with :port unless that is 7900";
    while let Some(address) = words.value("--address", expected, HubAddress::parse)? {
        addresses.push(address);
    }
    let yes = words.flag(["-y", "--yes"]);
    // A code that was broken into several words is whole all the same.
    let names = ["[code]"; 16];
    let parts = words.texts_left(&names, 0, &entry.option_names())?;
    let code = if parts.is_empty() { None } else { Some(parts.concat()) };
    Ok(Command::Join(Join { code, addresses, yes }))
}

#[cfg(not(feature = "lan"))]
pub(super) fn run(_: &mut Context, _: &Join) -> Result<Exit> {
    Err(Failure::other("no_network", crate::role::NO_NETWORK))
}
