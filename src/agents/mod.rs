//! The table of agents: what each is known by, what it says of itself, how it is woken, and which
//! files of settings it has. One row an agent; everything that treats agents differently asks its row.
//!
//! To add an agent, write its row in `terminal` or `editors` and add it to [`ALL`]. What no other
//! agent has yet is one more variant here, and its behaviour in the module that matches on it:
//!
//! | in a row | behaviour |
//! |---|---|
//! | [`HookForm`] | `hook`: how it asks and is answered |
//! | [`Dialect`], [`Way`] | `mcp::waking`: what is put where its model sees it |
//! | [`Shape`], [`HookShape`], [`Switch`], [`Plugin`] | `setup`: what is written into its files and read there |
//!
//! Pure data: nothing here looks at a process, a file or the environment.

pub mod place;
pub mod settings;

mod editors;
mod terminal;

pub use place::Place;
pub use settings::{Entry, Event, HookShape, MCP_SERVERS, Plugin, Settings, Shape, Switch, Tools};
pub use terminal::{CLAUDE_CODE, CODEX};

use crate::model::Way;

/// What is known of an agent.
#[derive(Debug)]
pub struct Agent {
    /// The type of its peers.
    pub agent_type: &'static str,
    /// Its name on the command line, and that of its folder in `integrations/`.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// The word for it in the names of its peers, where that is not its type.
    pub short: Option<&'static str>,
    /// Names that it gives itself as a client of MCP (`clientInfo.name`), folded. Patterns.
    pub clients: &'static [&'static str],
    /// Variables that it sets for the commands it runs, and by which it is known. Those that people
    /// set themselves, to configure it, say nothing and are not here.
    pub variables: &'static [&'static str],
    /// Variables that an editor sets for its terminals, in which people work and start other agents.
    pub terminal_variables: &'static [&'static str],
    /// Variables of its sandbox.
    pub sandbox_variables: &'static [&'static str],
    /// What it says in variables.
    pub says: &'static [(Said, &'static str)],
    /// Names of its processes, as they are written: `Claude` is another program than `claude`.
    /// Patterns.
    pub processes: &'static [&'static str],
    /// Parts of the path of its script, where an interpreter runs it.
    pub packages: &'static [&'static str],
    /// Which processes of the same name are one agent.
    pub grouping: Grouping,
    /// The ways in which an idle session of it can be woken, the best first.
    pub ways: &'static [Way],
    /// The protocol of its inbox socket, if it has one.
    pub dialect: Option<Dialect>,
    /// Its files; empty if it is only known.
    pub settings: Settings,
}

/// What an agent says in a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// The id of its session.
    Session,
    /// The id of the session that it is a subagent of, or its own.
    MainSession,
    /// The directory that its session works in.
    Project,
    /// The socket on which its session takes messages.
    InboxSocket,
    /// What that socket wants to hear first.
    InboxToken,
}

/// Which processes of one program make up an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// Each is one by itself.
    Single,
    /// An editor consists of several, any of which may start a server or a hook, and all of its
    /// windows may be in one. The first of them is the agent.
    Editor,
    /// It runs its extensions in processes of its own program, which are no agents of their own.
    Extensions,
}

/// The protocol of an inbox socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// It answers what becomes of a text, and takes the sender for a session that its agent can answer.
    Claude,
    /// It answers nothing.
    Qwen,
}

/// The form in which an agent asks a hook and is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookForm {
    /// Claude Code's own.
    ClaudeCode,
    /// Claude Code's, with edits by patches.
    Codex,
    /// Claude Code's, with prompts that prove nothing.
    QwenCode,
    /// Claude Code's, with answers in plain text.
    KimiCode,
    /// Gemini CLI's.
    GeminiCli,
    /// Copilot CLI's, which does not say which event it is.
    CopilotCli,
    /// Cursor's.
    Cursor,
    /// Windsurf's.
    Windsurf,
}

/// A row without anything in it.
const NOTHING: Agent = Agent {
    agent_type: "",
    name: "",
    title: "",
    short: None,
    clients: &[],
    variables: &[],
    terminal_variables: &[],
    sandbox_variables: &[],
    says: &[],
    processes: &[],
    packages: &[],
    grouping: Grouping::Single,
    ways: &[],
    dialect: None,
    settings: settings::EMPTY,
};

/// Every agent that is known, in the order in which they are shown.
pub static ALL: [&Agent; 15] = [
    &terminal::CLAUDE_CODE,
    &terminal::CODEX,
    &terminal::GEMINI_CLI,
    &terminal::OPENCODE,
    &editors::CURSOR,
    &editors::VSCODE,
    &editors::WINDSURF,
    &editors::ZED,
    &editors::CLINE,
    &editors::ANTIGRAVITY,
    &terminal::QWEN_CODE,
    &terminal::COPILOT_CLI,
    &terminal::KIMI_CODE,
    &terminal::PI,
    &terminal::AIDER,
];

fn find(is_meant: impl Fn(&Agent) -> bool) -> Option<&'static Agent> {
    ALL.into_iter().find(|agent| is_meant(agent))
}

/// The agent of this type.
#[must_use]
pub fn of_type(agent_type: &str) -> Option<&'static Agent> {
    find(|agent| agent.agent_type == agent_type)
}

/// The agent that calls itself so as a client of MCP.
#[must_use]
pub fn of_client(name: &str) -> Option<&'static Agent> {
    find(|agent| agent.clients.iter().any(|client| fits(client, name)))
}

/// The agent with a process of this name.
#[must_use]
pub fn of_process(name: &str) -> Option<&'static Agent> {
    find(|agent| agent.processes.iter().any(|process| fits(process, name)))
}

/// The agent of which this is the path of a script.
#[must_use]
pub fn of_script(path: &str) -> Option<&'static Agent> {
    find(|agent| agent.packages.iter().any(|part| path.contains(part)))
}

/// The agent whose hooks have this form.
#[must_use]
pub fn of_form(form: HookForm) -> Option<&'static Agent> {
    find(|agent| agent.hook_form() == Some(form))
}

/// The agents that `setup` can tell of this program.
pub fn with_settings() -> impl Iterator<Item = &'static Agent> {
    ALL.into_iter().filter(|agent| !agent.settings.commands.is_empty())
}

/// The agents that run hooks.
pub fn with_hooks() -> impl Iterator<Item = &'static Agent> {
    ALL.into_iter().filter(|agent| agent.hook_form().is_some())
}

/// Whether `name` is `pattern`, of which a star at its end is any rest.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

impl Agent {
    /// Whether it is an editor, all windows of which may be in one process.
    #[must_use]
    pub fn is_editor(&self) -> bool {
        self.grouping == Grouping::Editor
    }

    /// Whether an idle session of it can be woken in this way.
    #[must_use]
    pub fn has_way(&self, way: Way) -> bool {
        self.ways.contains(&way)
    }

    /// The form of its hooks, if it runs any.
    #[must_use]
    pub fn hook_form(&self) -> Option<HookForm> {
        Some(self.settings.hooks?.form)
    }

    /// Whether a person may call it so: by its name, its type, or the word for it.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        [self.name, self.agent_type].contains(&name) || self.short == Some(name)
    }
}

/// Rows are the same if they are of the same type.
impl PartialEq for Agent {
    fn eq(&self, other: &Self) -> bool {
        self.agent_type == other.agent_type
    }
}

impl Eq for Agent {}

#[cfg(test)]
mod tests;
