//! The table of agents: how each is found, which files it reads, and what goes into them.
//!
//! Sources, all read in November 2026. Claude Code: <https://code.claude.com/docs/en/mcp>, `/hooks`,
//! `/slash-commands`. Codex: <https://developers.openai.com/codex/mcp>, `/hooks`. Gemini CLI:
//! <https://geminicli.com/docs/hooks/reference>, `/docs/tools/mcp-server`. opencode:
//! <https://opencode.ai/docs/mcp-servers>, `/docs/commands`. Cursor:
//! <https://cursor.com/docs/context/mcp>, `/docs/agent/hooks`. VS Code:
//! <https://code.visualstudio.com/docs/copilot/customization/mcp-servers>. Windsurf:
//! <https://docs.windsurf.com/windsurf/cascade/mcp>, `/cascade/hooks`. Zed:
//! <https://zed.dev/docs/ai/mcp>. Cline: <https://docs.cline.bot/mcp/configuring-mcp-servers>.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::skills::{self, Skill};

/// How a server's entry is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `{"<list>": {"slm-mesh": {"command", "args"}}}`, with `"type": "stdio"` and an empty `env`
    /// where the agent writes them itself.
    Json {
        /// The name of the list.
        list: &'static str,
        /// With `type`.
        kind: bool,
        /// With `env`.
        env: bool,
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
        /// The time limit, in the unit of the agent: 5 seconds.
        timeout: u32,
        /// With a name, which the agent shows.
        name: bool,
    },
    /// `{"version": 1, "hooks": {"<event>": [{"command", "matcher", "timeout"}]}}`
    Versioned {
        /// The time limit, seconds.
        timeout: u32,
    },
    /// `{"hooks": {"<event>": [{"command", "show_output"}]}}`
    Plain,
}

/// An event of an agent, and the tools for which it is asked for; none for all.
pub type Event = (&'static str, Option<&'static str>);

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
    /// The whole file is the text of a command.
    Command(&'static Skill),
}

/// A file, and what goes into it.
#[derive(Clone, Debug)]
pub struct Target {
    /// The file.
    pub path: PathBuf,
    /// What goes into it.
    pub parts: Vec<Part>,
}

/// Where this person's files are.
#[derive(Clone, Debug)]
pub struct Place {
    home: PathBuf,
    /// `XDG_CONFIG_HOME`, or `~/.config`.
    config: PathBuf,
    project: Option<PathBuf>,
    search: Vec<PathBuf>,
    claude: Option<PathBuf>,
    codex: Option<PathBuf>,
    gemini: Option<PathBuf>,
    cline: Option<PathBuf>,
    mac: bool,
}

impl Place {
    /// From the environment. `project`: the files of this directory instead of the person's own.
    ///
    /// # Errors
    /// The name of the variable without which there is no place.
    pub fn new(
        lookup: impl Fn(&str) -> Option<OsString>,
        project: Option<PathBuf>,
    ) -> Result<Self, &'static str> {
        let absolute = |name: &str| {
            lookup(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute())
        };
        let home = absolute("HOME").ok_or("HOME")?;
        let search = lookup("PATH").unwrap_or_default();
        Ok(Self {
            config: absolute("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")),
            project,
            search: std::env::split_paths(&search).filter(|dir| dir.is_absolute()).collect(),
            claude: absolute("CLAUDE_CONFIG_DIR"),
            codex: absolute("CODEX_HOME"),
            gemini: absolute("GEMINI_CLI_HOME"),
            cline: absolute("CLINE_MCP_SETTINGS_PATH"),
            mac: cfg!(target_os = "macos"),
            home,
        })
    }

    /// Whether the files of a project are meant.
    #[must_use]
    pub fn is_project(&self) -> bool {
        self.project.is_some()
    }

    fn claude_dir(&self) -> PathBuf {
        self.claude.clone().unwrap_or_else(|| self.home.join(".claude"))
    }

    fn claude_json(&self) -> PathBuf {
        self.claude.as_ref().unwrap_or(&self.home).join(".claude.json")
    }

    fn codex_dir(&self) -> PathBuf {
        self.codex.clone().unwrap_or_else(|| self.home.join(".codex"))
    }

    fn gemini_dir(&self) -> PathBuf {
        self.gemini.as_ref().unwrap_or(&self.home).join(".gemini")
    }

    fn vscode_dir(&self) -> PathBuf {
        if self.mac {
            self.home.join("Library/Application Support/Code/User")
        } else {
            self.config.join("Code/User")
        }
    }

    fn opencode_dir(&self) -> PathBuf {
        self.config.join("opencode")
    }

    fn zed_dir(&self) -> PathBuf {
        // The same on macOS.
        self.config.join("zed")
    }

    fn cline_file(&self) -> PathBuf {
        let usual = || self.home.join(".cline/data/settings/cline_mcp_settings.json");
        self.cline.clone().unwrap_or_else(usual)
    }
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
    /// Files and folders that only it makes.
    signs: fn(&Place) -> Vec<PathBuf>,
    /// Its files, the hooks asked for or not; none where it has no such files.
    targets: fn(&Place) -> Option<Files>,
    /// What a person must know after a change.
    pub after: &'static str,
}

/// The files of an agent.
struct Files {
    server: (PathBuf, Shape),
    hooks: Option<(PathBuf, HookShape, &'static [Event])>,
    commands: Option<PathBuf>,
}

/// Edits of files; the names of the tools are those of the vendor.
const CLAUDE_EVENTS: &[Event] = &[
    ("SessionStart", None),
    ("UserPromptSubmit", None),
    ("PreToolUse", Some("Write|Edit|MultiEdit|NotebookEdit")),
    ("PostToolUse", None),
    ("Stop", None),
];
const CODEX_EVENTS: &[Event] = &[
    ("SessionStart", None),
    ("UserPromptSubmit", None),
    ("PreToolUse", Some("apply_patch|Write|Edit|Bash")),
    ("PostToolUse", None),
    ("Stop", None),
];
const GEMINI_EVENTS: &[Event] = &[
    ("SessionStart", None),
    ("BeforeAgent", None),
    ("BeforeTool", Some("write_file|replace")),
    ("AfterTool", None),
];
const CURSOR_EVENTS: &[Event] = &[
    ("sessionStart", None),
    ("postToolUse", None),
    ("preToolUse", Some("Write|Delete")),
    ("stop", None),
];
const WINDSURF_EVENTS: &[Event] = &[("pre_write_code", None)];

/// Seconds.
const GROUPS: HookShape = HookShape::Groups { timeout: 5, name: false };
/// Milliseconds ("Hook configuration" of the hooks reference of Gemini CLI).
const GEMINI_GROUPS: HookShape = HookShape::Groups { timeout: 5000, name: true };

const MCP_SERVERS: Shape = Shape::Json { list: "mcpServers", kind: false, env: false };

const RESTART: &str = "restart it, then ask it to call mesh_status";

/// Every agent, in the order in which they are shown.
pub static AGENTS: &[Agent] = &[
    Agent {
        name: "claude-code",
        title: "Claude Code",
        programs: &["claude"],
        signs: |place| vec![place.claude_dir(), place.claude_json()],
        targets: |place| {
            let shape = Shape::Json { list: "mcpServers", kind: true, env: true };
            let (server, dir) = match &place.project {
                Some(project) => (project.join(".mcp.json"), project.join(".claude")),
                None => (place.claude_json(), place.claude_dir()),
            };
            Some(Files {
                server: (server, shape),
                hooks: Some((dir.join("settings.json"), GROUPS, CLAUDE_EVENTS)),
                commands: Some(dir.join("commands")),
            })
        },
        after: RESTART,
    },
    Agent {
        name: "codex",
        title: "Codex",
        programs: &["codex"],
        signs: |place| vec![place.codex_dir()],
        targets: |place| {
            let dir = place.codex_dir();
            (!place.is_project()).then(|| Files {
                server: (dir.join("config.toml"), Shape::Toml),
                hooks: Some((dir.join("hooks.json"), GROUPS, CODEX_EVENTS)),
                commands: None,
            })
        },
        after: "restart it; it asks you to trust new hooks before it runs them",
    },
    Agent {
        name: "gemini-cli",
        title: "Gemini CLI",
        programs: &["gemini"],
        // The folder itself is also Antigravity's.
        signs: |place| {
            ["settings.json", "oauth_creds.json", "tmp", "installation_id"]
                .map(|name| place.gemini_dir().join(name))
                .into()
        },
        targets: |place| {
            let file = place.gemini_dir().join("settings.json");
            (!place.is_project()).then(|| Files {
                server: (file.clone(), MCP_SERVERS),
                hooks: Some((file, GEMINI_GROUPS, GEMINI_EVENTS)),
                commands: None,
            })
        },
        after: RESTART,
    },
    Agent {
        name: "opencode",
        title: "opencode",
        programs: &["opencode"],
        signs: |place| vec![place.opencode_dir()],
        targets: |place| {
            let dir = place.opencode_dir();
            // It reads both; the one that is there is the one its owner writes.
            let (plain, commented) = (dir.join("opencode.json"), dir.join("opencode.jsonc"));
            let file = if !plain.exists() && commented.exists() { commented } else { plain };
            (!place.is_project()).then(|| Files {
                server: (file, Shape::Opencode),
                hooks: None,
                commands: Some(dir.join("commands")),
            })
        },
        after: RESTART,
    },
    Agent {
        name: "cursor",
        title: "Cursor",
        programs: &["cursor", "cursor-agent"],
        signs: |place| vec![place.home.join(".cursor")],
        targets: |place| {
            let dir = place.project.as_ref().unwrap_or(&place.home).join(".cursor");
            Some(Files {
                server: (dir.join("mcp.json"), MCP_SERVERS),
                hooks: Some((
                    dir.join("hooks.json"),
                    HookShape::Versioned { timeout: 5 },
                    CURSOR_EVENTS,
                )),
                commands: None,
            })
        },
        after: "restart it, and switch the server on in Settings, MCP if it is off",
    },
    Agent {
        name: "vscode",
        title: "VS Code",
        programs: &["code"],
        signs: |place| vec![place.vscode_dir()],
        targets: |place| {
            let dir = place.project.as_ref().map(|project| project.join(".vscode"));
            let dir = dir.unwrap_or_else(|| place.vscode_dir());
            let shape = Shape::Json { list: "servers", kind: true, env: false };
            Some(Files { server: (dir.join("mcp.json"), shape), hooks: None, commands: None })
        },
        after: "run `MCP: List Servers` and start slm-mesh",
    },
    Agent {
        name: "windsurf",
        title: "Windsurf",
        programs: &["windsurf"],
        signs: |place| vec![place.home.join(".codeium/windsurf")],
        targets: |place| {
            let dir = place.home.join(".codeium/windsurf");
            (!place.is_project()).then(|| Files {
                server: (dir.join("mcp_config.json"), MCP_SERVERS),
                hooks: Some((dir.join("hooks.json"), HookShape::Plain, WINDSURF_EVENTS)),
                commands: None,
            })
        },
        after: "refresh its list of MCP servers",
    },
    Agent {
        name: "zed",
        title: "Zed",
        programs: &["zed", "zeditor"],
        signs: |place| vec![place.zed_dir()],
        targets: |place| {
            let shape = Shape::Json { list: "context_servers", kind: false, env: true };
            (!place.is_project()).then(|| Files {
                server: (place.zed_dir().join("settings.json"), shape),
                hooks: None,
                commands: None,
            })
        },
        after: "it notices by itself",
    },
    Agent {
        name: "cline",
        title: "Cline",
        programs: &["cline"],
        signs: |place| {
            let file = place.cline.iter().cloned();
            file.chain([place.home.join(".cline")]).collect()
        },
        targets: |place| {
            (!place.is_project()).then(|| Files {
                server: (place.cline_file(), MCP_SERVERS),
                hooks: None,
                commands: None,
            })
        },
        after: RESTART,
    },
    Agent {
        name: "antigravity",
        title: "Antigravity",
        programs: &["antigravity", "agy"],
        signs: |place| {
            ["config", "antigravity"].map(|name| place.home.join(".gemini").join(name)).into()
        },
        targets: |place| {
            (!place.is_project()).then(|| Files {
                server: (place.home.join(".gemini/config/mcp_config.json"), MCP_SERVERS),
                hooks: None,
                commands: None,
            })
        },
        after: RESTART,
    },
];

/// The agent `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Agent> {
    AGENTS.iter().find(|agent| agent.name == name)
}

impl Agent {
    /// By what it is known to be installed here: a file or folder of its own, or its program.
    #[must_use]
    pub fn sign(&self, place: &Place) -> Option<PathBuf> {
        let made = (self.signs)(place).into_iter().find(|path| path.exists());
        made.or_else(|| {
            let all = place.search.iter().flat_map(|dir| self.programs.iter().map(|p| dir.join(p)));
            all.into_iter().find(|path| is_program(path))
        })
    }

    /// Its files and what goes into each; none if it has none in a project. Hooks only if they are
    /// asked for.
    #[must_use]
    pub fn targets(&self, place: &Place, hooks: bool) -> Option<Vec<Target>> {
        let files = (self.targets)(place)?;
        let (path, shape) = files.server;
        let mut targets = vec![Target { path, parts: vec![Part::Server(shape)] }];
        if let Some((path, shape, events)) = files.hooks.filter(|_| hooks) {
            let part = Part::Hooks { shape, agent: self.name, events };
            match targets.iter_mut().find(|target| target.path == path) {
                Some(target) => target.parts.push(part),
                None => targets.push(Target { path, parts: vec![part] }),
            }
        }
        if let Some(dir) = files.commands {
            targets.extend(skills::ALL.iter().map(|skill| Target {
                path: dir.join(format!("{}.md", skill.name)),
                parts: vec![Part::Command(skill)],
            }));
        }
        Some(targets)
    }

    /// Whether there are hooks for it.
    #[must_use]
    pub fn has_hooks(&self, place: &Place) -> bool {
        (self.targets)(place).is_some_and(|files| files.hooks.is_some())
    }
}

/// Whether `path` is a file that may be run.
#[must_use]
pub fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
