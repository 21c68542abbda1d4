//! The table of agents: how each is found, which files it reads, and what goes into them.
//!
//! Sources, all read in November 2026. Claude Code: <https://code.claude.com/docs/en/mcp>, `/hooks`,
//! `/skills`. Codex: <https://developers.openai.com/codex/mcp>, `/hooks`, `/skills`. Gemini CLI:
//! <https://geminicli.com/docs/hooks/reference>, `/docs/tools/mcp-server`. opencode:
//! <https://opencode.ai/docs/mcp-servers>, `/docs/commands`, `/docs/plugins`. Qwen Code:
//! <https://qwenlm.github.io/qwen-code-docs/en/users/features/hooks>. Copilot CLI:
//! <https://docs.github.com/en/copilot/reference/copilot-cli-reference/cli-config-dir-reference>.
//! Kimi: <https://moonshotai.github.io/kimi-code/en/configuration/config-files>. Cursor:
//! <https://cursor.com/docs/context/mcp>, `/docs/agent/hooks`. VS Code:
//! <https://code.visualstudio.com/docs/copilot/customization/mcp-servers>. Windsurf:
//! <https://docs.windsurf.com/windsurf/cascade/mcp>, `/cascade/hooks`. Zed:
//! <https://zed.dev/docs/ai/mcp>. Cline: <https://docs.cline.bot/mcp/mcp-overview>. What of Qwen
//! Code, Copilot, Kimi and pi is in no document was read from the programs themselves.
//!
//! | module | what it has |
//! |---|---|
//! | [`place`] | where the files of agents are |
//! | `terminal`, `editors` | the table |
//! | [`standing`] | what in an agent's settings keeps ours from working |

pub mod place;
pub mod standing;

mod editors;
mod terminal;

use std::path::{Path, PathBuf};

pub use place::Place;
use standing::Obstacle;

use crate::skills::{self, Skill};

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
    /// `{"<list>": {"slm-mesh": {"command", "args"}}}`, with `"type"`, an empty `env` and a word on the
    /// tools where the agent writes them itself.
    Json {
        /// The name of the list.
        list: &'static str,
        /// Its `type`.
        kind: Option<&'static str>,
        /// With `env`, even if it is empty.
        env: bool,
        /// What it says of the tools.
        tools: Tools,
    },
    /// `{"mcp": {"slm-mesh": {"type": "local", "command": [...], "enabled": true}}}`
    Opencode,
    /// `[mcp_servers.slm-mesh]`
    Toml,
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

const fn on(name: &'static str) -> Event {
    Event { name, matcher: None, seconds: 5, waits: false }
}

const fn before(name: &'static str, tools: &'static str) -> Event {
    Event { matcher: Some(tools), ..on(name) }
}

/// The end of a session: Codex gives it 3 seconds, and says so if one asks for more.
const fn at_end(name: &'static str) -> Event {
    Event { seconds: 3, ..on(name) }
}

/// What goes into a file.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// The server's entry.
    Server(Shape),
    /// Hooks.
    Hooks {
        /// How they are written.
        shape: HookShape,
        /// The agent, as `slm-mesh hook` knows it.
        agent: &'static str,
        /// For which events.
        events: &'static [Event],
    },
    /// Leave for the agent to use the tools without asking.
    Allow,
    /// A setting that has to be `true`.
    Setting(&'static str),
    /// The whole file is the text of a skill.
    Skill(&'static Skill),
    /// The whole file is a script for the agent, which has to know where the program is.
    Script(&'static str),
}

impl Part {
    /// Whether our plugin for the agent brings it, too.
    #[must_use]
    pub fn is_in_plugin(&self) -> bool {
        matches!(self, Self::Server(_) | Self::Hooks { .. } | Self::Skill(_))
    }
}

/// A file, and what goes into it.
#[derive(Clone, Debug)]
pub struct Target {
    /// The file.
    pub path: PathBuf,
    /// What goes into it.
    pub parts: Vec<Part>,
    /// It was written by an earlier version and goes when this one has its turn.
    pub retired: bool,
}

/// What is wanted beside the server and the skills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Hooks, or what an agent has in their place.
    pub hooks: bool,
    /// What needs an experimental mode of the agent.
    pub wake: bool,
    /// Leave to use the tools without asking.
    pub allow: bool,
}

impl Extras {
    /// All of it.
    pub const ALL: Self = Self { hooks: true, wake: true, allow: true };
}

/// An agent.
#[derive(Debug)]
pub struct Agent {
    /// Its name here.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// Names of its program.
    programs: &'static [&'static str],
    /// Its program runs in a terminal and tells its version there.
    pub tells_version: bool,
    /// Files and folders that only it makes.
    signs: fn(&Place) -> Vec<PathBuf>,
    /// Its files; none where it has no such files.
    files: fn(&Place) -> Option<Files>,
    /// What in its settings keeps ours from working in a directory.
    obstacles: fn(&Place, &Path) -> Vec<Obstacle>,
    /// Where our plugin for it is told of, if it is installed and on.
    plugin: fn(&Place) -> Option<PathBuf>,
    /// What a person must know after a change.
    pub after: &'static str,
}

/// The files of an agent.
#[derive(Default)]
struct Files {
    server: Option<(PathBuf, Shape)>,
    hooks: Option<(PathBuf, HookShape, &'static [Event])>,
    /// A script in the place of hooks, or of the server itself.
    script: Option<(PathBuf, &'static str)>,
    wake: Option<Wake>,
    /// The file with what is allowed.
    allow: Option<PathBuf>,
    /// A folder of commands, one file each.
    commands: Option<PathBuf>,
    /// A folder of skills, one folder each.
    skills: Option<PathBuf>,
    /// A folder of commands that are skills now.
    retired: Option<PathBuf>,
}

/// A script that wakes the agent, and needs one of its settings to be true.
struct Wake {
    script: PathBuf,
    text: &'static str,
    settings: PathBuf,
    name: &'static str,
}

const MCP_SERVERS: Shape =
    Shape::Json { list: "mcpServers", kind: None, env: false, tools: Tools::AsListed };

const RESTART: &str = "restart it, then ask it to call mesh_status";

/// Every agent, in the order in which they are shown.
pub static AGENTS: [&Agent; 14] = [
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
    &terminal::QWEN,
    &terminal::COPILOT,
    &terminal::KIMI,
    &terminal::PI,
];

/// The agent `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Agent> {
    AGENTS.into_iter().find(|agent| agent.name == name)
}

impl Agent {
    /// By what it is known to be installed here: a file or folder of its own, or its program.
    #[must_use]
    pub fn sign(&self, place: &Place) -> Option<PathBuf> {
        let made = (self.signs)(place).into_iter().find(|path| path.exists());
        made.or_else(|| self.program(place))
    }

    /// Its program.
    #[must_use]
    pub fn program(&self, place: &Place) -> Option<PathBuf> {
        let all = place.search.iter().flat_map(|dir| self.programs.iter().map(|p| dir.join(p)));
        all.into_iter().find(|path| is_program(path))
    }

    /// Its files and what goes into each; none if it has none in a project.
    #[must_use]
    pub fn targets(&self, place: &Place, extras: Extras) -> Option<Vec<Target>> {
        let files = (self.files)(place)?;
        let mut targets: Vec<Target> = Vec::new();
        let mut add =
            |path: PathBuf, part: Part| match targets.iter_mut().find(|target| target.path == path)
            {
                Some(target) => target.parts.push(part),
                None => targets.push(Target { path, parts: vec![part], retired: false }),
            };
        // Where there is no entry for the server, the script brings it.
        let is_server = files.server.is_none();
        if let Some((path, shape)) = files.server {
            add(path, Part::Server(shape));
        }
        if let Some((path, shape, events)) = files.hooks.filter(|_| extras.hooks) {
            add(path, Part::Hooks { shape, agent: self.name, events });
        }
        if let Some(path) = files.allow.filter(|_| extras.allow) {
            add(path, Part::Allow);
        }
        if let Some((path, text)) = files.script.filter(|_| extras.hooks || is_server) {
            add(path, Part::Script(text));
        }
        if let Some(wake) = files.wake.filter(|_| extras.wake) {
            add(wake.settings, Part::Setting(wake.name));
            add(wake.script, Part::Script(wake.text));
        }
        for skill in &skills::ALL {
            let part = Part::Skill(skill);
            if let Some(dir) = &files.commands {
                add(dir.join(format!("{}.md", skill.name)), part);
            }
            if let Some(dir) = &files.skills {
                add(dir.join(skill.name).join("SKILL.md"), part);
            }
        }
        if let Some(dir) = files.retired {
            targets.extend(skills::ALL.iter().map(|skill| Target {
                path: dir.join(format!("{}.md", skill.name)),
                parts: vec![Part::Skill(skill)],
                retired: true,
            }));
        }
        Some(targets)
    }

    /// Whether there are hooks for it, or a script in their place.
    #[must_use]
    pub fn has_hooks(&self, place: &Place) -> bool {
        (self.files)(place).is_some_and(|files| files.hooks.is_some() || files.script.is_some())
    }

    /// Whether leave to use the tools can be written into its settings.
    #[must_use]
    pub fn has_leave(&self, place: &Place) -> bool {
        (self.files)(place).is_some_and(|files| files.allow.is_some())
    }

    /// Whether there is something for it that needs an experimental mode.
    #[must_use]
    pub fn has_wake(&self, place: &Place) -> bool {
        (self.files)(place).is_some_and(|files| files.wake.is_some())
    }

    /// The file or folder by which our own plugin is known to be installed and on.
    #[must_use]
    pub fn plugin(&self, place: &Place) -> Option<PathBuf> {
        (self.plugin)(place)
    }

    /// What in its settings keeps ours from working, for a session in `here`.
    #[must_use]
    pub fn obstacles(&self, place: &Place, here: &Path) -> Vec<Obstacle> {
        (self.obstacles)(place, here)
    }
}

/// Whether `path` is a file that may be run.
#[must_use]
pub fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
