//! Editors, and agents within them.

use super::settings::{
    At, EMPTY, Entry, Event, HookShape, Hooks, MCP_SERVERS, Settings, Shape, before, on,
};
use super::{Agent, Grouping, HookForm, NOTHING};

const CURSOR_EVENTS: &[Event] =
    &[on("sessionStart"), on("postToolUse"), before("preToolUse", "Write|Delete"), on("stop")];

/// <https://cursor.com/docs/context/mcp>, <https://cursor.com/docs/agent/hooks>
pub(super) static CURSOR: Agent = Agent {
    agent_type: "cursor",
    name: "cursor",
    title: "Cursor",
    clients: &["cursor-vscode"],
    variables: &["CURSOR_AGENT"],
    terminal_variables: &["CURSOR_TRACE_ID"],
    // Helpers are those of macOS, here and below.
    processes: &["cursor-agent", "cursor", "Cursor", "Cursor Helper*"],
    packages: &["/cursor-agent/"],
    grouping: Grouping::Editor,
    settings: Settings {
        commands: &["cursor", "cursor-agent"],
        dir: |place| place.home.join(".cursor"),
        project_dir: Some(".cursor"),
        server: Some((At::In("mcp.json"), Shape::Json(MCP_SERVERS))),
        hooks: Some(Hooks::new(
            HookForm::Cursor,
            "hooks.json",
            HookShape::Versioned,
            CURSOR_EVENTS,
        )),
        after: "restart it, and switch the server on in Settings, MCP if it is off",
        ..EMPTY
    },
    ..NOTHING
};

/// <https://code.visualstudio.com/docs/copilot/customization/mcp-servers>
pub(super) static VSCODE: Agent = Agent {
    agent_type: "vscode",
    name: "vscode",
    title: "VS Code",
    clients: &["visual-studio-code", "visual-studio-code-*"],
    processes: &["code", "code-insiders", "Code Helper*"],
    grouping: Grouping::Editor,
    settings: Settings {
        commands: &["code"],
        dir: |place| {
            if cfg!(target_os = "macos") {
                place.home.join("Library/Application Support/Code/User")
            } else {
                place.config("Code/User")
            }
        },
        project_dir: Some(".vscode"),
        server: Some((
            At::In("mcp.json"),
            Shape::Json(Entry { list: "servers", kind: Some("stdio"), ..MCP_SERVERS }),
        )),
        after: "run `MCP: List Servers` and start slm-mesh",
        ..EMPTY
    },
    ..NOTHING
};

/// <https://docs.windsurf.com/windsurf/cascade/mcp>, <https://docs.windsurf.com/windsurf/cascade/hooks>
pub(super) static WINDSURF: Agent = Agent {
    agent_type: "windsurf",
    name: "windsurf",
    title: "Windsurf",
    clients: &["windsurf-client"],
    processes: &["windsurf", "Windsurf", "Windsurf Helper*"],
    grouping: Grouping::Editor,
    settings: Settings {
        commands: &["windsurf"],
        dir: |place| place.home.join(".codeium/windsurf"),
        server: Some((At::In("mcp_config.json"), Shape::Json(MCP_SERVERS))),
        hooks: Some(Hooks::new(
            HookForm::Windsurf,
            "hooks.json",
            HookShape::Plain,
            &[on("pre_write_code")],
        )),
        after: "refresh its list of MCP servers",
        ..EMPTY
    },
    ..NOTHING
};

/// <https://zed.dev/docs/ai/mcp>
pub(super) static ZED: Agent = Agent {
    agent_type: "zed",
    name: "zed",
    title: "Zed",
    clients: &["zed"],
    processes: &["zed", "zed-editor"],
    grouping: Grouping::Editor,
    settings: Settings {
        commands: &["zed", "zeditor"],
        // The same on macOS.
        dir: |place| place.config("zed"),
        server: Some((
            At::In("settings.json"),
            Shape::Json(Entry { list: "context_servers", env: true, ..MCP_SERVERS }),
        )),
        after: "it notices by itself",
        ..EMPTY
    },
    ..NOTHING
};

/// <https://docs.cline.bot/mcp/mcp-overview>
pub(super) static CLINE: Agent = Agent {
    agent_type: "cline",
    name: "cline",
    title: "Cline",
    clients: &["cline", "cline-core"],
    variables: &["CLINE_ACTIVE"],
    processes: &["cline"],
    settings: Settings {
        commands: &["cline"],
        dir: |place| place.home.join(".cline"),
        signs: &[At::In(""), CLINE_FILE],
        server: Some((CLINE_FILE, Shape::Json(MCP_SERVERS))),
        ..EMPTY
    },
    ..NOTHING
};

const CLINE_FILE: At = At::Of(|place| {
    place.dir("CLINE_MCP_SETTINGS_PATH", ".cline/data/settings/cline_mcp_settings.json")
});

/// Read from the program itself.
pub(super) static ANTIGRAVITY: Agent = Agent {
    agent_type: "antigravity",
    name: "antigravity",
    title: "Antigravity",
    clients: &["antigravity-client"],
    variables: &["ANTIGRAVITY_AGENT"],
    processes: &["antigravity", "Antigravity", "Antigravity Helper*"],
    grouping: Grouping::Editor,
    settings: Settings {
        commands: &["antigravity", "agy"],
        dir: |place| place.home.join(".gemini/config"),
        signs: &[At::In(""), At::Of(|place| place.home.join(".gemini/antigravity"))],
        server: Some((At::In("mcp_config.json"), Shape::Json(MCP_SERVERS))),
        ..EMPTY
    },
    ..NOTHING
};
