//! Where agents have their files.

use std::ffi::OsString;
use std::path::PathBuf;

/// Where this person's files are.
#[derive(Clone, Debug)]
pub struct Place {
    pub(super) home: PathBuf,
    /// `XDG_CONFIG_HOME`, or `~/.config`.
    config: PathBuf,
    pub(super) project: Option<PathBuf>,
    pub(super) search: Vec<PathBuf>,
    moved: Vec<(&'static str, PathBuf)>,
    mac: bool,
}

/// Variables that move an agent's folder, or for Cline its file.
const MOVING: [&str; 8] = [
    "CLAUDE_CONFIG_DIR",
    "CODEX_HOME",
    "GEMINI_CLI_HOME",
    "CLINE_MCP_SETTINGS_PATH",
    "QWEN_HOME",
    "COPILOT_HOME",
    "KIMI_CODE_HOME",
    "PI_CODING_AGENT_DIR",
];

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
            moved: MOVING.iter().filter_map(|name| Some((*name, absolute(name)?))).collect(),
            mac: cfg!(target_os = "macos"),
            home,
        })
    }

    /// Whether the files of a project are meant.
    #[must_use]
    pub fn is_project(&self) -> bool {
        self.project.is_some()
    }

    pub(super) fn moved(&self, name: &str) -> Option<PathBuf> {
        self.moved.iter().find(|(other, _)| *other == name).map(|(_, path)| path.clone())
    }

    /// What `variable` says, or `usual` below the home directory.
    pub(super) fn dir(&self, variable: &str, usual: &str) -> PathBuf {
        self.moved(variable).unwrap_or_else(|| self.home.join(usual))
    }

    pub(super) fn claude_dir(&self) -> PathBuf {
        self.dir("CLAUDE_CONFIG_DIR", ".claude")
    }

    pub(super) fn claude_json(&self) -> PathBuf {
        self.dir("CLAUDE_CONFIG_DIR", "").join(".claude.json")
    }

    pub(super) fn codex_dir(&self) -> PathBuf {
        self.dir("CODEX_HOME", ".codex")
    }

    pub(super) fn gemini_dir(&self) -> PathBuf {
        self.dir("GEMINI_CLI_HOME", "").join(".gemini")
    }

    pub(super) fn qwen_dir(&self) -> PathBuf {
        self.dir("QWEN_HOME", ".qwen")
    }

    pub(super) fn copilot_dir(&self) -> PathBuf {
        self.dir("COPILOT_HOME", ".copilot")
    }

    pub(super) fn kimi_dir(&self) -> PathBuf {
        self.dir("KIMI_CODE_HOME", ".kimi-code")
    }

    pub(super) fn pi_dir(&self) -> PathBuf {
        self.dir("PI_CODING_AGENT_DIR", ".pi/agent")
    }

    pub(super) fn opencode_dir(&self) -> PathBuf {
        self.config.join("opencode")
    }

    pub(super) fn vscode_dir(&self) -> PathBuf {
        if self.mac {
            self.home.join("Library/Application Support/Code/User")
        } else {
            self.config.join("Code/User")
        }
    }

    pub(super) fn zed_dir(&self) -> PathBuf {
        // The same on macOS.
        self.config.join("zed")
    }

    pub(super) fn cline_file(&self) -> PathBuf {
        self.dir("CLINE_MCP_SETTINGS_PATH", ".cline/data/settings/cline_mcp_settings.json")
    }
}
