//! The files of settings of an agent: where they are, and what goes into each.

use std::path::PathBuf;

use super::{HookForm, Place};

/// In a path of settings: the directory that a session works in.
pub const HERE: &str = "<here>";

/// The files of an agent. Names are relative to its folder.
#[derive(Debug)]
pub struct Settings {
    /// Names of its program on `PATH`.
    pub commands: &'static [&'static str],
    /// Its program runs in a terminal and tells its version there.
    pub tells_version: bool,
    /// Its folder in the home directory.
    pub dir: fn(&Place) -> PathBuf,
    /// Its folder in a project, if it reads one there.
    pub project_dir: Option<&'static str>,
    /// Files and folders that only it creates.
    pub signs: &'static [At],
    /// Where the server's entry stands, and how it is written.
    pub server: Option<(At, Shape)>,
    /// Hooks.
    pub hooks: Option<Hooks>,
    /// A script in the place of hooks, or of the server itself, and its text.
    pub script: Option<(&'static str, &'static str)>,
    /// A script that wakes it, and what that needs.
    pub wake: Option<Wake>,
    /// The file with what is allowed.
    pub allow: Option<&'static str>,
    /// A folder of commands, one file each.
    pub command_dir: Option<&'static str>,
    /// A folder of skills, one folder each.
    pub skills: Option<&'static str>,
    /// A folder of commands that are skills now.
    pub retired: Option<&'static str>,
    /// What in its own settings keeps ours from working.
    pub switches: &'static [Switch],
    /// What shows that our plugin for it is installed and enabled.
    pub plugin: Option<Plugin>,
    /// What a person has to do after a change.
    pub after: &'static str,
}

/// Where a file is.
#[derive(Clone, Copy, Debug)]
pub enum At {
    /// In the agent's folder; nothing for the folder itself.
    In(&'static str),
    /// In the agent's folder under the first name, or under the second if only that is there.
    Either(&'static str, &'static str),
    /// In the directory that a session works in.
    Here(&'static str),
    /// Elsewhere.
    Of(fn(&Place) -> PathBuf),
}

/// What an entry says of the server's tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tools {
    /// Nothing.
    AsListed,
    /// `"tools": ["*"]`: all of them.
    Named,
    /// `"alwaysLoadTools": true`: the model sees them from the first, not only when it searches.
    Loaded,
}

/// How a server's entry is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A member of a list of servers.
    Json(Entry),
    /// `{"mcp": {"slm-mesh": {"type": "local", "command": [...], "enabled": true}}}`
    Opencode,
    /// `[mcp_servers.slm-mesh]`
    Toml,
}

/// `{"<list>": {"slm-mesh": {"command", "args"}}}`, with `"type"`, an empty `env` and a word on the
/// tools where the agent writes them itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name of the list.
    pub list: &'static str,
    /// Its `type`.
    pub kind: Option<&'static str>,
    /// With `env`, even if it is empty.
    pub env: bool,
    /// What it says of the tools.
    pub tools: Tools,
}

/// An entry of nothing but command and arguments.
pub const MCP_SERVERS: Entry =
    Entry { list: "mcpServers", kind: None, env: false, tools: Tools::AsListed };

/// The hooks of an agent.
#[derive(Clone, Copy, Debug)]
pub struct Hooks {
    /// How it asks and is answered.
    pub form: HookForm,
    /// The file with them.
    pub file: &'static str,
    /// How they are written.
    pub shape: HookShape,
    /// For which events.
    pub events: &'static [Event],
}

impl Hooks {
    pub(super) const fn new(
        form: HookForm,
        file: &'static str,
        shape: HookShape,
        events: &'static [Event],
    ) -> Self {
        Self { form, file, shape, events }
    }
}

/// How hooks are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookShape {
    /// `{"hooks": {"<event>": [{"matcher", "hooks": [{"type": "command", "command", "timeout"}]}]}}`
    Groups {
        /// What a second is in the unit of its time limits.
        second: u32,
        /// With a name, which the agent shows.
        name: bool,
    },
    /// `{"version": 1, "hooks": {"<event>": [{"command", "matcher", "timeout"}]}}`
    Versioned,
    /// `{"hooks": {"<event>": [{"command", "show_output"}]}}`
    Plain,
    /// `{"hooks": {"<event>": [{"type": "command", "bash", "matcher", "timeoutSec"}]}}`
    Bash,
    /// `[[hooks]]` with `event`, `matcher`, `command`, `timeout`
    Toml,
}

impl HookShape {
    /// Groups as most agents have them.
    pub const GROUPS: Self = Self::Groups { second: 1, name: false };
}

/// An event of an agent for which a hook is put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name, as the agent has it.
    pub name: &'static str,
    /// For which tools; none for all.
    pub matcher: Option<&'static str>,
    /// How long it may take, seconds.
    pub seconds: u32,
    /// It waits in the background for a message, and wakes the agent.
    pub waits: bool,
}

/// A hook for all tools, with the usual time limit.
pub(super) const fn on(name: &'static str) -> Event {
    Event { name, matcher: None, seconds: 5, waits: false }
}

/// Before the tools that edit files, by the names that their vendor gives them.
pub(super) const fn before(name: &'static str, tools: &'static str) -> Event {
    Event { matcher: Some(tools), ..on(name) }
}

/// The end of a session: Codex gives it 3 seconds, and says so if one asks for more.
pub(super) const fn at_end(name: &'static str) -> Event {
    Event { seconds: 3, ..on(name) }
}

/// A hook that waits in the background. Claude Code would end it after 10 minutes without a limit of
/// its own: 30 days.
pub(super) const fn waiting(name: &'static str) -> Event {
    Event { seconds: 2_592_000, waits: true, ..on(name) }
}

/// The events of Claude Code, as other agents have taken them over.
pub(super) const fn turn(tools: &'static str) -> [Event; 6] {
    [
        on("SessionStart"),
        on("UserPromptSubmit"),
        before("PreToolUse", tools),
        on("PostToolUse"),
        on("Stop"),
        at_end("SessionEnd"),
    ]
}

/// A script that wakes the agent, and needs one of its settings to be true.
#[derive(Clone, Copy, Debug)]
pub struct Wake {
    /// The script's file, and its text.
    pub script: (&'static str, &'static str),
    /// The file with the setting, and its name.
    pub setting: (&'static str, &'static str),
}

/// A setting of the agent that keeps something of ours from working: its file and, in one of JSON, the
/// names on the way to it, of which one may be [`HERE`].
#[derive(Clone, Copy, Debug)]
pub enum Switch {
    /// No hooks run where this switch has this value.
    Hooks(At, &'static [&'static str], bool),
    /// Our hooks do not run where this list has their name.
    OurHooks(At, &'static [&'static str]),
    /// The server is not started where this list has its name; with what to do about it.
    Server(At, &'static [&'static str], &'static str),
    /// `mcp.excluded` and `mcp.allowed`.
    Excluded(At),
    /// `{"slm-mesh": {"enabled": false}}`; with what to do about it.
    Enabled(At, &'static str),
    /// Hooks run only as they were when their person trusted them, as this file of TOML says.
    Trust(At),
}

/// What shows that our plugin is installed and enabled.
#[derive(Clone, Copy, Debug)]
pub enum Plugin {
    /// `enabledPlugins` in this file of JSON has it.
    Enabled(&'static str),
    /// `[plugins]` in this file of TOML has it.
    Toml(&'static str),
    /// This folder is there.
    Folder(&'static str),
}

/// What most agents need after a change.
pub(super) const RESTART: &str = "restart it, then ask it to call mesh_status";

/// Settings without anything in them.
pub(super) const EMPTY: Settings = Settings {
    commands: &[],
    tells_version: false,
    dir: |place| place.home.clone(),
    project_dir: None,
    signs: &[At::In("")],
    server: None,
    hooks: None,
    script: None,
    wake: None,
    allow: None,
    command_dir: None,
    skills: None,
    retired: None,
    switches: &[],
    plugin: None,
    after: RESTART,
};
