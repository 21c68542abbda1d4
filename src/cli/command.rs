//! A command line, understood and checked: what is to be done, and nothing about how.

use std::ffi::OsString;

use uuid::Uuid;

pub use super::completions::Completions;
pub use super::history::History;
pub use super::inbox::Inbox;
pub use super::kick::Kick;
pub use super::rename::Rename;
pub use super::reply::Reply;

use super::actor::CLI;
use super::catalog::{self, Entry};
use super::invite::Invite;
use super::join::Join;
use super::machines::Machines;
use super::suggest;
use super::words::{Result, UsageError, Words};
use crate::hook::Agent;
use crate::model::{MessageKind, MessageRef, Seq, Timestamp};
use crate::names;

/// What holds for every command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Global {
    /// JSON instead of text.
    pub json: bool,
    /// The data directory, before the environment's.
    pub data_dir: Option<OsString>,
    /// In whose name the command acts.
    pub acts_as: Option<String>,
}

/// A command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// What holds for every command.
    pub global: Global,
    /// What is to be done.
    pub command: Command,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// No command: status, with a broker started for it; or the MCP server, if nobody is there to
    /// read it.
    Bare,
    /// Be the MCP server.
    Mcp,
    /// Be the broker, or start it.
    Start(StartMode),
    /// Stop the broker.
    Stop,
    /// Tell how it is.
    Status,
    /// Watch the mesh on the whole terminal.
    Top,
    /// List peers.
    Peers(Peers),
    /// Send a message.
    Send(Send),
    /// Answer one.
    Reply(Reply),
    /// Show conversations.
    History(History),
    /// Tell who asks.
    WhoAmI,
    /// Give a peer another name.
    Rename(Rename),
    /// Take a peer out.
    Kick(Kick),
    /// Write out all there is.
    Export,
    /// Help a shell to complete lines.
    Completions(Completions),
    /// Show messages.
    Inbox(Inbox),
    /// Shared state.
    State(State),
    /// File locks.
    Lock(Lock),
    /// Show events.
    Events(Events),
    /// Emit an event.
    Emit(Emit),
    /// Tidy up.
    Clean,
    /// Tell agents of this program.
    SetUp(SetUp),
    /// Look whether everything works.
    Doctor,
    /// List the hubs on the network.
    Hubs,
    /// Let a machine join.
    Invite(Invite),
    /// Join another machine's mesh.
    Join(Join),
    /// Leave it, or be a hub no more.
    Leave {
        /// Do not ask.
        yes: bool,
    },
    /// The machines that have joined.
    Machines(Machines),
    /// Make a shared secret.
    Secret,
    /// Three agents and a working morning.
    Demo,
    /// Be the hook of an agent.
    Hook(Hook),
    /// Be what a plugin of this agent talks to.
    Session(String),
    /// Guard commits.
    Guard(Guard),
    /// Help, about one command or all.
    Help(Option<&'static str>),
    /// The version.
    Version,
}

impl Command {
    /// Whether it is about several machines, which not every build is for.
    pub(super) fn is_about_machines(&self) -> bool {
        matches!(
            self,
            Self::Hubs
                | Self::Invite(_)
                | Self::Join(_)
                | Self::Leave { .. }
                | Self::Machines(_)
                | Self::Secret
        )
    }
}

/// How a broker is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartMode {
    /// This process becomes the broker and stays in the foreground.
    Foreground,
    /// Another process becomes the broker; this one tells when it serves.
    Detached,
    /// This process is that other one.
    Background,
}

/// Which peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerScope {
    /// All of the machine.
    #[default]
    Machine,
    /// All of all machines.
    Mesh,
    /// Those of this directory.
    Directory,
    /// Those of this repository.
    Repo,
}

/// `peers`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// All about this one.
    pub peer: Option<String>,
    /// Which.
    pub scope: PeerScope,
    /// Stale ones and those that have left, too.
    pub all: bool,
}

/// A text given as a word, or to be read from the standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// This.
    Given(String),
    /// What the standard input has.
    Stdin,
}

impl Text {
    pub(super) fn from_word(word: String) -> Self {
        if word == "-" { Self::Stdin } else { Self::Given(word) }
    }
}

/// `send` and `broadcast`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// To whom: at least one.
    pub to: Vec<String>,
    /// What.
    pub message: Text,
    /// What kind of text.
    pub kind: MessageKind,
    /// In whose name; `cli` if none.
    pub from: Option<String>,
    /// The message it answers.
    pub reply_to: Option<MessageRef>,
}

/// `state`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Where; in the project's own namespace if none.
    pub namespace: Option<String>,
    /// What.
    pub action: StateAction,
}

/// `state` and what follows it
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateAction {
    /// Show a value.
    Get {
        /// Of this key.
        key: String,
    },
    /// Set a value.
    Set {
        /// Of this key.
        key: String,
        /// To this.
        value: Text,
        /// Only if the entry has this version.
        if_version: Option<Seq>,
        /// It goes away after so many seconds.
        ttl_seconds: Option<u64>,
    },
    /// List entries.
    List {
        /// Only keys that begin so.
        prefix: Option<String>,
        /// Those of all projects.
        all_namespaces: bool,
    },
    /// Delete an entry.
    Delete {
        /// Of this key.
        key: String,
        /// Only if it has this version.
        if_version: Option<Seq>,
    },
}

/// `lock`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// All locks.
    List,
    /// The locks that overlap with some files.
    Query {
        /// Which.
        files: LockedFiles,
    },
    /// Take or renew a lock.
    Acquire(Acquire),
    /// Give a lock back.
    Release {
        /// Of which files.
        files: LockedFiles,
        /// Whoever holds it.
        force: bool,
    },
}

/// `hook`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Whose; whichever agent calls, if none is said.
    pub agent: Option<Agent>,
    /// Wait beside the agent for a message.
    pub waits: bool,
}

/// `guard`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// What is to be done.
    pub action: GuardAction,
    /// Put it into hooks that all repositories share, too.
    pub global: bool,
    /// Say nothing but why a commit is refused.
    pub quiet: bool,
}

/// What is to be done about commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardAction {
    /// Put the hook in.
    Install,
    /// Take it out.
    Uninstall,
    /// Look at the commit that is being made.
    Check,
    /// Tell which working trees are guarded.
    Status,
}

/// What a lock is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockedFiles {
    /// A path or pattern.
    pub path: OsString,
    /// It is a path, whatever characters it has.
    pub exact: bool,
}

/// `lock acquire`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acquire {
    /// Of which files.
    pub files: LockedFiles,
    /// Others may share it.
    pub shared: bool,
    /// For how long, minutes.
    pub ttl_minutes: Option<u32>,
    /// Why.
    pub reason: Option<String>,
    /// How long to stand in the queue for it, seconds.
    pub wait_seconds: u64,
    /// Take it from whoever has it.
    pub steal: bool,
}

/// A point of time, said absolutely or by its distance from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Then.
    At(Timestamp),
    /// So many ms ago.
    Ago(i64),
}

/// `events`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Only these types.
    pub types: Vec<String>,
    /// Only later ones.
    pub since: Option<Since>,
    /// At most so many of those that have been.
    pub limit: Option<u32>,
    /// And those to come.
    pub follow: bool,
}

/// `emit`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emit {
    /// A name that is none of the mesh's own types.
    pub kind: String,
    /// JSON; null if none.
    pub payload: Option<Text>,
}

/// `setup`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each option that is given or not")]
pub struct SetUp {
    /// Which agents; those that are found if none.
    pub agents: Vec<&'static str>,
    /// No hooks.
    pub no_hooks: bool,
    /// What needs an experimental mode of an agent, too.
    pub wake: bool,
    /// With leave for the agent to use the tools without asking.
    pub allow: bool,
    /// The files of this directory instead of the person's own.
    pub project: bool,
    /// Show the changes line by line.
    pub diff: bool,
    /// Only show.
    pub dry_run: bool,
    /// Do not ask.
    pub yes: bool,
    /// Take out instead of putting in.
    pub uninstall: bool,
}

impl Since {
    /// The time that is meant, if it is `now`.
    #[must_use]
    pub fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(ms) => now.plus_ms(ms.saturating_neg()),
        }
    }
}

impl Invocation {
    /// Reads a command line, the program's name not included.
    ///
    /// # Errors
    /// What is wrong with it, with the nearest known word. It can be told whether `--json` was asked
    /// for all the same: see [`wants_json`].
    pub fn parse(line: Vec<OsString>) -> Result<Self> {
        let mut words = Words::new(line);
        let help = words.flag(["-h", "--help"]);
        let global = Global {
            json: words.flag("--json"),
            data_dir: words.os_value("--data-dir")?,
            acts_as: words.value("--as", "a name, or `cli`", |name| {
                (name == CLI || names::check(name).is_ok()).then(|| name.to_owned())
            })?,
        };
        let command = match words.command()? {
            Some(name) => {
                let entry = find(&name)?;
                words.belong_to(entry.name);
                if help { Command::Help(Some(entry.name)) } else { (entry.parse)(entry, words)? }
            }
            None if help => Command::Help(None),
            None if words.flag(["-V", "--version"]) | words.flag("-v") => Command::Version,
            None => {
                let known = ["--json", "--data-dir", "--as", "--help", "--version", "-h", "-v"];
                // A command after `--` is meant as one, but that is not where commands stand.
                words.rest(&[], 0, &known)?;
                Command::Bare
            }
        };
        Ok(Self { global, command })
    }
}

/// Whether a command line that could not be read asks for JSON.
#[must_use]
pub fn wants_json(line: &[OsString]) -> bool {
    line.iter().take_while(|word| *word != "--").any(|word| word == "--json")
}

/// The entry of the command `name`.
pub(super) fn find(name: &str) -> Result<&'static Entry> {
    catalog::find(name).ok_or_else(|| {
        let known = catalog::ENTRIES.iter().map(|entry| entry.name);
        let hint = suggest::hint(name, known);
        let message = format!("unknown command {name:?}{hint}");
        UsageError { message, command: None }
    })
}

/// A client-made id, by which a request can be sent again without being carried out twice.
pub(super) fn new_id() -> Option<Uuid> {
    let mut bytes = [0; 16];
    // Without randomness there is no id, and an unknown outcome stays unknown.
    getrandom::fill(&mut bytes).ok()?;
    Some(uuid::Builder::from_random_bytes(bytes).into_uuid())
}
