//! The command line, for people and scripts: a client of the broker that starts it where it makes
//! sense. Each command asks, lays out the answer, and ends; none keeps state of its own.
//!
//! Raw words become a checked [`Command`] ([`Invocation::parse`]), and that becomes work ([`run`]).
//! What others wrote never reaches a terminal raw. With `--json` one document is written and nothing
//! else, errors too.

mod actor;
mod ask;
mod catalog;
mod clean;
mod command;
mod completions;
mod demo;
mod doctor;
mod events;
mod export;
mod failure;
mod follow;
mod guard;
mod help;
mod history;
mod hubs;
mod inbox;
mod invite;
mod join;
mod kick;
mod leave;
mod letter;
mod locks;
mod machines;
mod out;
mod own_words;
mod parse;
mod peer;
mod peers;
mod rename;
mod reply;
mod said;
mod send;
mod sent;
mod setup;
mod start;
mod state;
mod status;
mod suggest;
mod table;
mod text;
mod top;
mod who;
mod whoami;
mod words;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

pub use command::{
    Acquire, Command, Completions, Emit, Events, Global, Guard, GuardAction, History, Inbox,
    Invocation, Kick, Lock, LockedFiles, PeerScope, Peers, Rename, Reply, Send, SetUp, Since,
    StartMode, State, StateAction, Text, wants_json,
};
pub use failure::{Exit, Failure};
pub use invite::Invite;
pub use join::Join;
pub use machines::Machines;
pub use words::UsageError;

use crate::client::{Client, StartPolicy};
use crate::config::Config;
use crate::data_dir;
use out::Out;

type Result<T> = std::result::Result<T, Failure>;

/// What a command works with.
struct Context {
    config: Config,
    out: Out,
    /// In whose name it is to act (`--as`).
    acts_as: Option<String>,
}

impl Context {
    fn client(&self, start: StartPolicy) -> Result<Client> {
        Ok(Client::open(&self.config, start)?)
    }

    /// A client of what serves the data directory, as what it may be.
    fn client_of_any_role(&self) -> Result<Client> {
        Ok(Client::open(&self.config.of_any_role(), StartPolicy::IfNeeded)?)
    }
}

/// Does what a command line asks for, and gives the exit code. What is not a client's work (be the
/// broker, be the MCP server) is not done here.
#[must_use]
pub fn run(invocation: &Invocation) -> ExitCode {
    let json = invocation.global.json;
    finish(work(invocation), json)
}

/// Tells what went wrong, if something did, and gives the exit code.
#[must_use]
pub fn finish(result: std::result::Result<Exit, Failure>, json: bool) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(json).into(),
    }
}

fn work(invocation: &Invocation) -> Result<Exit> {
    let mut out = Out::new(invocation.global.json);
    match &invocation.command {
        Command::Help(about) => return say(&mut out, "help", &help::text(*about)),
        Command::Version => {
            let version = env!("CARGO_PKG_VERSION");
            let text = if out.json { version.into() } else { format!("slm-mesh {version}\n") };
            return say(&mut out, "version", &text);
        }
        Command::Completions(wanted) => {
            if let Some(text) = completions::text(wanted) {
                return say(&mut out, "text", &text);
            }
        }
        Command::Demo => {
            demo::run(&mut out)?;
            return Ok(Exit::Done);
        }
        _ if cfg!(not(feature = "lan")) && invocation.command.is_about_machines() => {
            return Err(Failure::other("no_network", crate::role::NO_NETWORK));
        }
        Command::Secret => {
            hubs::secret(&mut out)?;
            out.flush()?;
            return Ok(Exit::Done);
        }
        // The only way here: agents have it run before.
        Command::Hook(_) => return Err(guard::hook_by_hand()),
        _ => {}
    }
    let mut config = Config::from_env(invocation.global.data_dir.as_deref())?;
    // What settings of another role say to do first.
    if matches!(invocation.command, Command::Stop | Command::Clean) {
        config = config.of_any_role();
    }
    // What others can write to is not believed. Doctor says so among other things, and the guard does
    // not hold up a commit for it.
    if !matches!(invocation.command, Command::Doctor | Command::Guard(_)) {
        data_dir::check(&config.paths)?;
    }
    let acts_as = invocation.global.acts_as.clone();
    let context = &mut Context { config, out, acts_as };
    match &invocation.command {
        Command::Stop => context.is_for_person("to stop the broker")?,
        Command::Clean => context.is_for_person("to tidy up")?,
        Command::History(_) | Command::Export => {
            context.is_for_person("to read what others write to each other")?;
        }
        Command::Rename(_) => context.is_for_person("to rename a peer")?,
        Command::Kick(_) => context.is_for_person("to take a peer out")?,
        Command::Lock(Lock::Release { force: true, .. }) => {
            context.is_for_person("to force a lock open")?;
        }
        Command::Guard(Guard { action: GuardAction::Uninstall, .. }) => {
            context.is_for_person("to take the guard out")?;
        }
        Command::SetUp(SetUp { uninstall: true, .. }) => {
            context.is_for_person("to take the mesh out of agents' settings")?;
        }
        _ => {}
    }
    let exit = match &invocation.command {
        Command::Bare => status::run(context, StartPolicy::IfNeeded),
        Command::Status => status::run(context, StartPolicy::Never),
        Command::Top => top::run(context),
        Command::Start(_) => start::detached(context),
        Command::Stop => start::stop(context),
        Command::Clean => clean::run(context),
        Command::Doctor => doctor::run(context),
        Command::Hubs => hubs::hubs(context),
        Command::Invite(wanted) => invite::run(context, wanted),
        Command::Join(wanted) => join::run(context, wanted),
        Command::Leave { yes } => leave::run(context, *yes),
        Command::Machines(wanted) => machines::run(context, *wanted),
        Command::SetUp(wanted) => setup::run(context, wanted),
        Command::Peers(peers) => peers::run(context, peers),
        Command::Send(message) => send::run(context, message),
        Command::Reply(reply) => reply::run(context, reply),
        Command::Inbox(inbox) => inbox::run(context, inbox),
        Command::History(history) => history::run(context, history),
        Command::WhoAmI => whoami::run(context),
        Command::Rename(rename) => rename::run(context, rename),
        Command::Kick(kick) => kick::run(context, kick),
        Command::Export => export::run(context),
        Command::Completions(Completions::Next(words)) => completions::next(context, words),
        Command::State(state) => state::run(context, state),
        Command::Lock(lock) => locks::run(context, lock),
        Command::Events(events) => events::run(context, events),
        Command::Emit(event) => events::emit(context, event),
        Command::Guard(what) => {
            let data_dir = invocation.global.data_dir.as_deref().map(Path::new);
            guard::run(context, *what, data_dir)
        }
        Command::Mcp
        | Command::Demo
        | Command::Hook(_)
        | Command::Session(_)
        | Command::Secret
        | Command::Completions(_)
        | Command::Help(_)
        | Command::Version => Ok(Exit::Done),
    }?;
    context.out.flush()?;
    Ok(exit)
}

/// Writes a text that needs no broker: `{"ok":true,"<name>":"<text>"}` as JSON.
fn say(out: &mut Out, name: &str, text: &str) -> Result<Exit> {
    if out.json {
        let text = serde_json::to_string(text).unwrap_or_default();
        out.document(format!(r#"{{"ok":true,"{name}":{text}}}"#).as_bytes())?;
    } else {
        out.write_all(text.as_bytes())?;
    }
    out.flush()?;
    Ok(Exit::Done)
}
