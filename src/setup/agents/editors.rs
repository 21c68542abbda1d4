//! Editors, and agents within them.

use super::{
    Agent, Event, Files, HookShape, MCP_SERVERS, RESTART, Shape, Tools, before, on, standing,
};

const CURSOR_EVENTS: &[Event] =
    &[on("sessionStart"), on("postToolUse"), before("preToolUse", "Write|Delete"), on("stop")];
const WINDSURF_EVENTS: &[Event] = &[on("pre_write_code")];

pub(super) static CURSOR: Agent = Agent {
    name: "cursor",
    title: "Cursor",
    programs: &["cursor", "cursor-agent"],
    tells_version: false,
    signs: |place| vec![place.home.join(".cursor")],
    files: |place| {
        let dir = place.project.as_ref().unwrap_or(&place.home).join(".cursor");
        Some(Files {
            server: Some((dir.join("mcp.json"), MCP_SERVERS)),
            hooks: Some((dir.join("hooks.json"), HookShape::Versioned, CURSOR_EVENTS)),
            ..Files::default()
        })
    },
    obstacles: standing::none,
    plugin: |_| None,
    after: "restart it, and switch the server on in Settings, MCP if it is off",
};

pub(super) static VSCODE: Agent = Agent {
    name: "vscode",
    title: "VS Code",
    programs: &["code"],
    tells_version: false,
    signs: |place| vec![place.vscode_dir()],
    files: |place| {
        let dir = place.project.as_ref().map(|project| project.join(".vscode"));
        let dir = dir.unwrap_or_else(|| place.vscode_dir());
        let shape = Shape::Json {
            list: "servers",
            kind: Some("stdio"),
            env: false,
            tools: Tools::AsListed,
        };
        Some(Files { server: Some((dir.join("mcp.json"), shape)), ..Files::default() })
    },
    obstacles: standing::none,
    plugin: |_| None,
    after: "run `MCP: List Servers` and start slm-mesh",
};

pub(super) static WINDSURF: Agent = Agent {
    name: "windsurf",
    title: "Windsurf",
    programs: &["windsurf"],
    tells_version: false,
    signs: |place| vec![place.home.join(".codeium/windsurf")],
    files: |place| {
        let dir = place.home.join(".codeium/windsurf");
        (!place.is_project()).then(|| Files {
            server: Some((dir.join("mcp_config.json"), MCP_SERVERS)),
            hooks: Some((dir.join("hooks.json"), HookShape::Plain, WINDSURF_EVENTS)),
            ..Files::default()
        })
    },
    obstacles: standing::none,
    plugin: |_| None,
    after: "refresh its list of MCP servers",
};

pub(super) static ZED: Agent = Agent {
    name: "zed",
    title: "Zed",
    programs: &["zed", "zeditor"],
    tells_version: false,
    signs: |place| vec![place.zed_dir()],
    files: |place| {
        let shape =
            Shape::Json { list: "context_servers", kind: None, env: true, tools: Tools::AsListed };
        (!place.is_project()).then(|| Files {
            server: Some((place.zed_dir().join("settings.json"), shape)),
            ..Files::default()
        })
    },
    obstacles: standing::none,
    plugin: |_| None,
    after: "it notices by itself",
};

pub(super) static CLINE: Agent = Agent {
    name: "cline",
    title: "Cline",
    programs: &["cline"],
    tells_version: false,
    signs: |place| {
        let moved = place.moved("CLINE_MCP_SETTINGS_PATH");
        moved.into_iter().chain([place.home.join(".cline")]).collect()
    },
    files: |place| {
        (!place.is_project())
            .then(|| Files { server: Some((place.cline_file(), MCP_SERVERS)), ..Files::default() })
    },
    obstacles: standing::none,
    plugin: |_| None,
    after: RESTART,
};

pub(super) static ANTIGRAVITY: Agent = Agent {
    name: "antigravity",
    title: "Antigravity",
    programs: &["antigravity", "agy"],
    tells_version: false,
    signs: |place| {
        ["config", "antigravity"].map(|name| place.home.join(".gemini").join(name)).into()
    },
    files: |place| {
        (!place.is_project()).then(|| Files {
            server: Some((place.home.join(".gemini/config/mcp_config.json"), MCP_SERVERS)),
            ..Files::default()
        })
    },
    obstacles: standing::none,
    plugin: |_| None,
    after: RESTART,
};
