//! The command line, for people and scripts: a client of the broker that starts one where that makes
//! sense. Each command asks, lays out the answer, and ends; none keeps state of its own.
//!
//! A command is one file: its entry in the catalogue, its arguments, how they are read, and what it
//! does. To add one, write that file, with an `ENTRY` (`command::Entry`), and name it twice: below, and
//! in `catalog.rs`.
//!
//! What others wrote never reaches a terminal raw. With `--json` exactly one document is written, even
//! for an error.

mod actor;
mod ask;
mod catalog;
mod clean;
mod command;
mod completions;
mod demo;
mod doctor;
mod emit;
mod events;
mod export;
mod failure;
mod follow;
mod guard;
mod help;
mod helpers;
mod history;
mod hook;
mod hubs;
mod inbox;
mod invite;
mod invocation;
mod join;
mod kick;
mod leave;
mod message_view;
mod lock;
mod machines;
mod mcp;
mod memory;
mod notify;
mod out;
mod own_words;
mod peer;
mod peers;
mod place;
mod rename;
mod reply;
mod said;
mod secret;
mod send;
mod sent;
mod session;
mod setup;
mod start;
mod state;
mod status;
mod stop;
mod suggest;
mod table;
mod text;
mod top;
mod values;
mod version;
mod web;
mod peer_names;
mod whoami;
mod words;

use std::process::ExitCode;

pub use command::{Global, Task, Work};
pub use failure::Failure;
pub use invocation::{Invocation, wants_json};
pub use words::UsageError;

use crate::config::Config;
use crate::data_dir;
use command::{AnyCommand, Context};
use out::Out;

use failure::Exit;

type Result<T> = std::result::Result<T, Failure>;

/// Carries a command out, and gives the exit code.
#[must_use]
pub fn run(work: &Work, global: Global) -> ExitCode {
    let json = global.json;
    finish(carry_out(work, global), json)
}

/// Reports a failure, if there is one, and gives the exit code.
#[must_use]
pub fn finish(result: std::result::Result<(), Failure>, json: bool) -> ExitCode {
    result.map_or_else(|failure| failure.report(json), |()| Exit::Done).into()
}

fn carry_out(Work(command): &Work, global: Global) -> Result<()> {
    let mut out = Out::new(global.json);
    let result = match command {
        AnyCommand::Standalone(command) => command.run(&mut out),
        AnyCommand::Ordinary(command) => {
            let config = Config::from_env(global.data_dir.as_deref())?;
            if command.checks_data_dir() {
                data_dir::check(&config.paths)?;
            }
            let mut context = Context { config, out, global };
            let result = command.run(&mut context);
            out = context.out;
            result
        }
    };
    if matches!(result, Ok(()) | Err(Failure::Reported)) {
        out.flush()?;
    }
    result
}
