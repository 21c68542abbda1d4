//! Agents in a terminal.

use super::standing::{self, Json};
use super::{
    Agent, Event, Files, HookShape, MCP_SERVERS, RESTART, Shape, Tools, Wake, at_end, before, on,
};

/// A hook that waits in the background. Claude Code would end it after 10 minutes without a limit of
/// its own: 30 days.
const fn waiting(name: &'static str) -> Event {
    Event { seconds: 2_592_000, waits: true, ..on(name) }
}

/// The names of the tools that edit files are those of the vendor.
const CLAUDE_EVENTS: &[Event] = &[
    on("SessionStart"),
    waiting("SessionStart"),
    on("UserPromptSubmit"),
    before("PreToolUse", "Write|Edit|MultiEdit|NotebookEdit"),
    on("PostToolUse"),
    on("Stop"),
    waiting("Stop"),
    at_end("SessionEnd"),
];
const CODEX_EVENTS: &[Event] = &[
    on("SessionStart"),
    on("UserPromptSubmit"),
    before("PreToolUse", "apply_patch|Write|Edit|Bash"),
    on("PostToolUse"),
    on("Stop"),
    at_end("SessionEnd"),
];
const GEMINI_EVENTS: &[Event] = &[
    on("SessionStart"),
    on("BeforeAgent"),
    before("BeforeTool", "write_file|replace"),
    on("AfterTool"),
    on("AfterAgent"),
    at_end("SessionEnd"),
];
const QWEN_EVENTS: &[Event] = &[
    on("SessionStart"),
    on("UserPromptSubmit"),
    before("PreToolUse", "write_file|edit|notebook_edit"),
    on("PostToolUse"),
    on("Stop"),
    at_end("SessionEnd"),
];
const COPILOT_EVENTS: &[Event] = &[
    on("sessionStart"),
    on("userPromptSubmitted"),
    before("preToolUse", "create|edit|apply_patch"),
    on("postToolUse"),
    on("agentStop"),
    at_end("sessionEnd"),
];
const KIMI_EVENTS: &[Event] = &[
    on("SessionStart"),
    on("UserPromptSubmit"),
    before("PreToolUse", "Write|Edit"),
    on("PostToolUse"),
    on("Stop"),
    at_end("SessionEnd"),
];

const GROUPS: HookShape = HookShape::Groups { second: 1, name: false };
/// In milliseconds ("Hook configuration" of the hooks reference of Gemini CLI).
const GEMINI_GROUPS: HookShape = HookShape::Groups { second: 1000, name: true };

pub(super) static CLAUDE_CODE: Agent = Agent {
    name: "claude-code",
    title: "Claude Code",
    programs: &["claude"],
    tells_version: true,
    signs: |place| vec![place.claude_dir(), place.claude_json()],
    files: |place| {
        let shape = Shape::Json {
            list: "mcpServers",
            kind: Some("stdio"),
            env: true,
            tools: Tools::AsListed,
        };
        let (server, dir) = match &place.project {
            Some(project) => (project.join(".mcp.json"), project.join(".claude")),
            None => (place.claude_json(), place.claude_dir()),
        };
        Some(Files {
            server: Some((server, shape)),
            hooks: Some((dir.join("settings.json"), GROUPS, CLAUDE_EVENTS)),
            allow: Some(dir.join("settings.json")),
            skills: Some(dir.join("skills")),
            retired: Some(dir.join("commands")),
            ..Files::default()
        })
    },
    obstacles: |place, here| {
        let settings = [
            place.claude_dir().join("settings.json"),
            here.join(".claude/settings.json"),
            here.join(".claude/settings.local.json"),
        ];
        let mut found = Vec::new();
        for path in settings {
            found.extend(Json::read(&path).hooks_off(&["disableAllHooks"], true));
        }
        let here = here.to_string_lossy();
        let projects = Json::read(&place.claude_json());
        found.extend(projects.lists_server(
            &["projects", &here, "disabledMcpServers"],
            "run /mcp in Claude Code there, and enable slm-mesh",
        ));
        found
    },
    plugin: |place| Json::read(&place.claude_dir().join("settings.json")).enables_plugin(),
    after: RESTART,
};

pub(super) static CODEX: Agent = Agent {
    name: "codex",
    title: "Codex",
    programs: &["codex"],
    tells_version: true,
    signs: |place| vec![place.codex_dir()],
    files: |place| {
        let dir = place.codex_dir();
        (!place.is_project()).then(|| Files {
            server: Some((dir.join("config.toml"), Shape::Toml)),
            hooks: Some((dir.join("hooks.json"), GROUPS, CODEX_EVENTS)),
            skills: Some(dir.join("skills")),
            ..Files::default()
        })
    },
    obstacles: |place, _| {
        let dir = place.codex_dir();
        standing::codex(&dir.join("config.toml"), &dir.join("hooks.json"))
    },
    plugin: |place| standing::codex_plugin(&place.codex_dir().join("config.toml")),
    after: "restart it; choose \"Trust all\" when it asks about new hooks",
};

pub(super) static GEMINI_CLI: Agent = Agent {
    name: "gemini-cli",
    title: "Gemini CLI",
    programs: &["gemini"],
    tells_version: true,
    // The folder itself is also Antigravity's.
    signs: |place| {
        ["settings.json", "oauth_creds.json", "tmp", "installation_id"]
            .map(|name| place.gemini_dir().join(name))
            .into()
    },
    files: |place| {
        let dir = place.gemini_dir();
        let file = dir.join("settings.json");
        (!place.is_project()).then(|| Files {
            server: Some((file.clone(), MCP_SERVERS)),
            hooks: Some((file, GEMINI_GROUPS, GEMINI_EVENTS)),
            skills: Some(dir.join("skills")),
            ..Files::default()
        })
    },
    obstacles: |place, _| {
        let settings = Json::read(&place.gemini_dir().join("settings.json"));
        let switches = Json::read(&place.gemini_dir().join("mcp-server-enablement.json"));
        let mut found = settings.excludes_server();
        found.extend(settings.hooks_off(&["hooksConfig", "enabled"], false));
        found.extend(settings.lists_hook(&["hooksConfig", "disabled"]));
        found.extend(switches.server_off("run `gemini mcp enable slm-mesh`"));
        found
    },
    plugin: |place| standing::folder(place.gemini_dir().join("extensions/slm-mesh")),
    after: RESTART,
};

pub(super) static OPENCODE: Agent = Agent {
    name: "opencode",
    title: "opencode",
    programs: &["opencode"],
    tells_version: true,
    signs: |place| vec![place.opencode_dir()],
    files: |place| {
        let dir = place.opencode_dir();
        // It reads both; the one that is there is the one its owner writes.
        let (plain, commented) = (dir.join("opencode.json"), dir.join("opencode.jsonc"));
        let file = if !plain.exists() && commented.exists() { commented } else { plain };
        (!place.is_project()).then(|| Files {
            server: Some((file, Shape::Opencode)),
            script: Some((
                dir.join("plugins/slm-mesh.js"),
                include_str!("../../../integrations/opencode/slm-mesh.js"),
            )),
            commands: Some(dir.join("commands")),
            ..Files::default()
        })
    },
    obstacles: standing::none,
    plugin: |_| None,
    after: RESTART,
};

pub(super) static QWEN: Agent = Agent {
    name: "qwen",
    title: "Qwen Code",
    programs: &["qwen"],
    tells_version: true,
    signs: |place| vec![place.qwen_dir()],
    files: |place| {
        let dir = place.qwen_dir();
        let file = dir.join("settings.json");
        // It hides the tools of servers from the model otherwise.
        let shape =
            Shape::Json { list: "mcpServers", kind: None, env: false, tools: Tools::Loaded };
        (!place.is_project()).then(|| Files {
            server: Some((file.clone(), shape)),
            hooks: Some((file, GROUPS, QWEN_EVENTS)),
            skills: Some(dir.join("skills")),
            ..Files::default()
        })
    },
    obstacles: |place, _| {
        let settings = Json::read(&place.qwen_dir().join("settings.json"));
        let mut found = settings.excludes_server();
        found.extend(settings.hooks_off(&["disableAllHooks"], true));
        found
    },
    plugin: |place| standing::folder(place.qwen_dir().join("extensions/slm-mesh")),
    after: RESTART,
};

pub(super) static COPILOT: Agent = Agent {
    name: "copilot",
    title: "Copilot CLI",
    programs: &["copilot"],
    tells_version: true,
    signs: |place| vec![place.copilot_dir()],
    files: |place| {
        let dir = place.copilot_dir();
        let shape = Shape::Json {
            list: "mcpServers",
            kind: Some("local"),
            env: false,
            tools: Tools::Named,
        };
        (!place.is_project()).then(|| Files {
            server: Some((dir.join("mcp-config.json"), shape)),
            hooks: Some((dir.join("settings.json"), HookShape::Bash, COPILOT_EVENTS)),
            wake: Some(Wake {
                script: dir.join("extensions/slm-mesh/extension.mjs"),
                text: include_str!("../../../integrations/copilot/extension.mjs"),
                settings: dir.join("settings.json"),
                name: "experimental",
            }),
            skills: Some(dir.join("skills")),
            ..Files::default()
        })
    },
    obstacles: |place, _| {
        let settings = Json::read(&place.copilot_dir().join("settings.json"));
        let enable = "run `copilot mcp enable slm-mesh`";
        let mut found = Vec::new();
        found.extend(settings.lists_server(&["disabledMcpServers"], enable));
        found.extend(settings.hooks_off(&["disableAllHooks"], true));
        found
    },
    plugin: |place| Json::read(&place.copilot_dir().join("settings.json")).enables_plugin(),
    after: RESTART,
};

pub(super) static KIMI: Agent = Agent {
    name: "kimi",
    title: "Kimi",
    programs: &["kimi"],
    tells_version: true,
    signs: |place| vec![place.kimi_dir()],
    files: |place| {
        let dir = place.kimi_dir();
        (!place.is_project()).then(|| Files {
            server: Some((dir.join("mcp.json"), MCP_SERVERS)),
            hooks: Some((dir.join("config.toml"), HookShape::Toml, KIMI_EVENTS)),
            skills: Some(dir.join("skills")),
            ..Files::default()
        })
    },
    obstacles: standing::none,
    plugin: |_| None,
    after: RESTART,
};

pub(super) static PI: Agent = Agent {
    name: "pi",
    title: "pi",
    programs: &["pi"],
    tells_version: true,
    signs: |place| vec![place.pi_dir()],
    files: |place| {
        let dir = place.pi_dir();
        (!place.is_project()).then(|| Files {
            script: Some((
                dir.join("extensions/slm-mesh.ts"),
                include_str!("../../../integrations/pi/slm-mesh.ts"),
            )),
            skills: Some(dir.join("skills")),
            ..Files::default()
        })
    },
    obstacles: standing::none,
    plugin: |_| None,
    after: RESTART,
};
