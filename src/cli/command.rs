//! What a command is. Each has a file with its [`Entry`], its arguments, how they are read, and what
//! it does; `catalog.rs` lists them.

use std::any::Any;
use std::ffi::OsString;
use std::fmt::Debug;

use super::Result;
use super::out::Out;
use super::words::{self, Words};
use crate::agents::Agent;
use crate::client::{Client, StartPolicy};
use crate::config::Config;

/// A command as the command line knows it: its help, what shells complete and the man page are made
/// from this.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    /// Where it stands in the overview.
    pub(super) group: Group,
    /// What it does, in a line.
    pub(super) summary: &'static str,
    /// Its forms, without the program's name.
    pub(super) usage: &'static [&'static str],
    /// The paragraphs of its help.
    pub(super) about: &'static [&'static str],
    /// Its options: how each is written, and what it does.
    pub(super) options: &'static [(&'static str, &'static str)],
    /// Examples, and what they do.
    pub(super) examples: &'static [(&'static str, &'static str)],
    /// Reads the words after the name.
    pub(super) parse: fn(&mut Words) -> words::Result<Task>,
}

/// The parts of the overview.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Broker,
    Messages,
    Shared,
    Agents,
    Machines,
    Other,
}

impl Group {
    pub(super) const ALL: [Self; 6] =
        [Self::Broker, Self::Messages, Self::Shared, Self::Agents, Self::Machines, Self::Other];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Broker => "Broker",
            Self::Messages => "Messages",
            Self::Shared => "Shared by all",
            Self::Agents => "Agents",
            Self::Machines => "Machines",
            Self::Other => "Other",
        }
    }
}

/// The options that every command takes.
pub(super) const GLOBAL_OPTIONS: &[(&str, &str)] = &[
    ("--json", "one JSON document and nothing else, errors too"),
    ("--data-dir DIR", "the files of the mesh, instead of SLM_MESH_DATA_DIR or ~/.slm-mesh"),
    ("--as NAME", "act as NAME, or with `cli` as the person; an agent's command acts as the agent"),
    ("-h, --help", "this text"),
];

impl Entry {
    /// The names of all options that it takes.
    pub(super) fn option_names(&self) -> Vec<&'static str> {
        let all = self.options.iter().chain(GLOBAL_OPTIONS);
        let words = all.flat_map(|(written, _)| written.split([' ', ',']));
        words.filter(|word| word.starts_with('-')).collect()
    }
}

/// The values of the options that every command takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Global {
    /// JSON instead of text.
    pub json: bool,
    /// The data directory, instead of the environment's.
    pub data_dir: Option<OsString>,
    /// In whose name the command acts.
    pub acts_as: Option<String>,
}

/// What the process is to be.
#[derive(Debug)]
pub enum Task {
    /// A command of the command line.
    Command(Work),
    /// The MCP server of an agent.
    McpServer,
    /// The broker.
    Broker {
        /// Its starter reads one line from its standard output, and it leaves its standard
        /// descriptors after that.
        in_background: bool,
    },
    /// The hook of an agent.
    Hook {
        /// The agent; none for whichever calls.
        agent: Option<&'static Agent>,
        /// Wait beside the agent for a message.
        waits: bool,
    },
    /// What the plugin of this agent talks to.
    Session(String),
}

/// A command with its arguments; [`super::run`] carries it out.
#[derive(Debug)]
pub struct Work(pub(super) AnyCommand);

#[derive(Debug)]
pub(super) enum AnyCommand {
    Ordinary(Box<dyn Command>),
    Standalone(Box<dyn Standalone>),
}

impl Task {
    pub(super) fn command(command: impl Command) -> Self {
        Self::Command(Work(AnyCommand::Ordinary(Box::new(command))))
    }

    pub(super) fn standalone(command: impl Standalone) -> Self {
        Self::Command(Work(AnyCommand::Standalone(Box::new(command))))
    }
}

/// A command that works with the settings and the data directory.
pub(super) trait Command: Any + Debug {
    fn run(&self, context: &mut Context) -> Result<()>;

    /// Whether it refuses a data directory that others can write to.
    fn checks_data_dir(&self) -> bool {
        true
    }
}

/// A command that needs neither settings nor a data directory.
pub(super) trait Standalone: Any + Debug {
    fn run(&self, out: &mut Out) -> Result<()>;
}

/// Reads a command that takes no arguments.
pub(super) fn alone<C: Command + Default>(words: &mut Words) -> words::Result<Task> {
    words.end()?;
    Ok(Task::command(C::default()))
}

/// The same of one that needs no settings.
pub(super) fn standalone<C: Standalone + Default>(words: &mut Words) -> words::Result<Task> {
    words.end()?;
    Ok(Task::standalone(C::default()))
}

/// What a command works with.
pub(super) struct Context {
    pub(super) config: Config,
    pub(super) out: Out,
    pub(super) global: Global,
}

impl Context {
    pub(super) fn client(&self, start: StartPolicy) -> Result<Client> {
        Ok(Client::open(&self.config, start)?)
    }

    /// A client of what serves the data directory, be it a broker, a hub or a relay.
    pub(super) fn client_of_any_role(&self) -> Result<Client> {
        Ok(Client::open(&self.config.of_any_role(), StartPolicy::IfNeeded)?)
    }
}
