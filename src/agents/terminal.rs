//! Agents in a terminal.

use std::path::PathBuf;

use super::settings::{
    At, EMPTY, Entry, HERE, HookShape, Hooks, MCP_SERVERS, Plugin, Settings, Shape, Switch, Tools,
    Wake, at_end, before, on, turn, waiting,
};
use super::{Agent, Dialect, Grouping, HookForm, NOTHING, Place, Said};
use crate::model::Way;

/// In milliseconds ("Hook configuration" of its reference of hooks).
const GEMINI_GROUPS: HookShape = HookShape::Groups { second: 1000, name: true };

const fn hooks_off(file: At) -> Switch {
    Switch::Hooks(file, &["disableAllHooks"], true)
}

fn claude_json(place: &Place) -> PathBuf {
    place.dir("CLAUDE_CONFIG_DIR", "").join(".claude.json")
}

/// <https://code.claude.com/docs/en/mcp>, <https://code.claude.com/docs/en/hooks>,
/// <https://code.claude.com/docs/en/skills>
pub static CLAUDE_CODE: Agent = Agent {
    agent_type: "claude-code",
    name: "claude-code",
    title: "Claude Code",
    short: Some("claude"),
    clients: &["claude-code"],
    variables: &["CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT"],
    sandbox_variables: &["SANDBOX_RUNTIME"],
    says: &[
        (Said::Session, "CLAUDE_CODE_SESSION_ID"),
        (Said::Project, "CLAUDE_PROJECT_DIR"),
        (Said::InboxSocket, "CLAUDE_CODE_MESSAGING_SOCKET"),
        (Said::InboxToken, "CLAUDE_CODE_MESSAGING_TOKEN"),
    ],
    processes: &["claude"],
    packages: &["/@anthropic-ai/claude-code/"],
    ways: &[Way::InboxSocket, Way::WaitHook, Way::Channel],
    dialect: Some(Dialect::Claude),
    settings: Settings {
        commands: &["claude"],
        tells_version: true,
        dir: |place| place.dir("CLAUDE_CONFIG_DIR", ".claude"),
        project_dir: Some(".claude"),
        signs: &[At::In(""), At::Of(claude_json)],
        server: Some((
            At::Of(|place| match &place.project {
                Some(project) => project.join(".mcp.json"),
                None => claude_json(place),
            }),
            Shape::Json(Entry { kind: Some("stdio"), env: true, ..MCP_SERVERS }),
        )),
        hooks: Some(Hooks::new(
            HookForm::ClaudeCode,
            "settings.json",
            HookShape::GROUPS,
            &[
                on("SessionStart"),
                waiting("SessionStart"),
                on("UserPromptSubmit"),
                before("PreToolUse", "Write|Edit|MultiEdit|NotebookEdit"),
                on("PostToolUse"),
                on("Stop"),
                waiting("Stop"),
                at_end("SessionEnd"),
            ],
        )),
        allow: Some("settings.json"),
        skills: Some("skills"),
        retired: Some("commands"),
        switches: &[
            hooks_off(At::In("settings.json")),
            hooks_off(At::Here(".claude/settings.json")),
            hooks_off(At::Here(".claude/settings.local.json")),
            Switch::Server(
                At::Of(claude_json),
                &["projects", HERE, "disabledMcpServers"],
                "run /mcp in Claude Code there, and enable slm-mesh",
            ),
        ],
        plugin: Some(Plugin::Enabled("settings.json")),
        ..EMPTY
    },
    ..NOTHING
};

/// <https://developers.openai.com/codex/mcp>, <https://developers.openai.com/codex/hooks>,
/// <https://developers.openai.com/codex/skills>
pub static CODEX: Agent = Agent {
    agent_type: "codex",
    name: "codex",
    title: "Codex",
    clients: &["codex-mcp-client"],
    variables: &["CODEX_THREAD_ID", "CODEX_SANDBOX", "CODEX_SANDBOX_NETWORK_DISABLED"],
    sandbox_variables: &["CODEX_SANDBOX", "CODEX_SANDBOX_NETWORK_DISABLED"],
    says: &[(Said::Session, "CODEX_THREAD_ID"), (Said::MainSession, "CODEX_SESSION_ID")],
    // Also a build for one processor.
    processes: &["codex", "codex-x86_64-*", "codex-aarch64-*"],
    packages: &["/@openai/codex/"],
    ways: &[Way::Queue],
    settings: Settings {
        commands: &["codex"],
        tells_version: true,
        dir: |place| place.dir("CODEX_HOME", ".codex"),
        server: Some((At::In("config.toml"), Shape::Toml)),
        hooks: Some(Hooks::new(
            HookForm::Codex,
            "hooks.json",
            HookShape::GROUPS,
            &turn("apply_patch|Write|Edit|Bash"),
        )),
        skills: Some("skills"),
        switches: &[Switch::Trust(At::In("config.toml"))],
        plugin: Some(Plugin::Toml("config.toml")),
        after: "restart it; choose \"Trust all\" when it asks about new hooks",
        ..EMPTY
    },
    ..NOTHING
};

/// <https://geminicli.com/docs/hooks/reference>, <https://geminicli.com/docs/tools/mcp-server>
pub(super) static GEMINI_CLI: Agent = Agent {
    agent_type: "gemini-cli",
    name: "gemini-cli",
    title: "Gemini CLI",
    short: Some("gemini"),
    // The name of the server that it calls may follow.
    clients: &["gemini-cli-mcp-client", "gemini-cli-mcp-client-*"],
    variables: &["GEMINI_CLI"],
    processes: &["gemini"],
    packages: &["/@google/gemini-cli/"],
    settings: Settings {
        commands: &["gemini"],
        tells_version: true,
        dir: |place| place.dir("GEMINI_CLI_HOME", "").join(".gemini"),
        // The folder itself is also Antigravity's.
        signs: &[
            At::In("settings.json"),
            At::In("oauth_creds.json"),
            At::In("tmp"),
            At::In("installation_id"),
        ],
        server: Some((At::In("settings.json"), Shape::Json(MCP_SERVERS))),
        hooks: Some(Hooks::new(
            HookForm::GeminiCli,
            "settings.json",
            GEMINI_GROUPS,
            &[
                on("SessionStart"),
                on("BeforeAgent"),
                before("BeforeTool", "write_file|replace"),
                on("AfterTool"),
                on("AfterAgent"),
                at_end("SessionEnd"),
            ],
        )),
        skills: Some("skills"),
        switches: &[
            Switch::Excluded(At::In("settings.json")),
            Switch::Hooks(At::In("settings.json"), &["hooksConfig", "enabled"], false),
            Switch::OurHooks(At::In("settings.json"), &["hooksConfig", "disabled"]),
            Switch::Enabled(
                At::In("mcp-server-enablement.json"),
                "run `gemini mcp enable slm-mesh`",
            ),
        ],
        plugin: Some(Plugin::Folder("extensions/slm-mesh")),
        ..EMPTY
    },
    ..NOTHING
};

/// <https://opencode.ai/docs/mcp-servers>, <https://opencode.ai/docs/commands>,
/// <https://opencode.ai/docs/plugins>
pub(super) static OPENCODE: Agent = Agent {
    agent_type: "opencode",
    name: "opencode",
    title: "opencode",
    clients: &["opencode"],
    variables: &["OPENCODE"],
    processes: &["opencode"],
    packages: &["/opencode-ai/"],
    ways: &[Way::Plugin],
    settings: Settings {
        commands: &["opencode"],
        tells_version: true,
        dir: |place| place.config("opencode"),
        // It reads both; the one that is there is the one its owner writes.
        server: Some((At::Either("opencode.json", "opencode.jsonc"), Shape::Opencode)),
        script: Some((
            "plugins/slm-mesh.js",
            include_str!("../../integrations/opencode/slm-mesh.js"),
        )),
        command_dir: Some("commands"),
        ..EMPTY
    },
    ..NOTHING
};

/// <https://qwenlm.github.io/qwen-code-docs/en/users/features/hooks>, and the program itself
pub(super) static QWEN_CODE: Agent = Agent {
    agent_type: "qwen-code",
    name: "qwen",
    title: "Qwen Code",
    short: Some("qwen"),
    // The name of the server that it calls may follow.
    clients: &["qwen-cli-mcp-client", "qwen-cli-mcp-client-*"],
    variables: &["QWEN_CODE"],
    says: &[
        (Said::Session, "QWEN_CODE_SESSION_ID"),
        (Said::InboxSocket, "QWEN_CODE_MESSAGING_SOCKET"),
        (Said::InboxToken, "QWEN_CODE_MESSAGING_TOKEN"),
    ],
    processes: &["qwen"],
    packages: &["/@qwen-code/qwen-code/"],
    ways: &[Way::InboxSocket],
    dialect: Some(Dialect::Qwen),
    settings: Settings {
        commands: &["qwen"],
        tells_version: true,
        dir: |place| place.dir("QWEN_HOME", ".qwen"),
        server: Some((
            At::In("settings.json"),
            // It hides the tools of servers from the model otherwise.
            Shape::Json(Entry { tools: Tools::Loaded, ..MCP_SERVERS }),
        )),
        hooks: Some(Hooks::new(
            HookForm::QwenCode,
            "settings.json",
            HookShape::GROUPS,
            &turn("write_file|edit|notebook_edit"),
        )),
        skills: Some("skills"),
        switches: &[Switch::Excluded(At::In("settings.json")), hooks_off(At::In("settings.json"))],
        plugin: Some(Plugin::Folder("extensions/slm-mesh")),
        ..EMPTY
    },
    ..NOTHING
};

/// <https://docs.github.com/en/copilot/reference/copilot-cli-reference/cli-config-dir-reference>, and
/// the program itself
pub(super) static COPILOT_CLI: Agent = Agent {
    agent_type: "copilot-cli",
    name: "copilot",
    title: "Copilot CLI",
    variables: &["COPILOT_CLI"],
    processes: &["copilot"],
    packages: &["/@github/copilot/"],
    grouping: Grouping::Extensions,
    ways: &[Way::Plugin],
    settings: Settings {
        commands: &["copilot"],
        tells_version: true,
        dir: |place| place.dir("COPILOT_HOME", ".copilot"),
        server: Some((
            At::In("mcp-config.json"),
            Shape::Json(Entry { kind: Some("local"), tools: Tools::Named, ..MCP_SERVERS }),
        )),
        hooks: Some(Hooks::new(
            HookForm::CopilotCli,
            "settings.json",
            HookShape::Bash,
            &[
                on("sessionStart"),
                on("userPromptSubmitted"),
                before("preToolUse", "create|edit|apply_patch"),
                on("postToolUse"),
                on("agentStop"),
                at_end("sessionEnd"),
            ],
        )),
        wake: Some(Wake {
            script: (
                "extensions/slm-mesh/extension.mjs",
                include_str!("../../integrations/copilot/extension.mjs"),
            ),
            setting: ("settings.json", "experimental"),
        }),
        skills: Some("skills"),
        switches: &[
            Switch::Server(
                At::In("settings.json"),
                &["disabledMcpServers"],
                "run `copilot mcp enable slm-mesh`",
            ),
            hooks_off(At::In("settings.json")),
        ],
        plugin: Some(Plugin::Enabled("settings.json")),
        ..EMPTY
    },
    ..NOTHING
};

/// <https://moonshotai.github.io/kimi-code/en/configuration/config-files>, and the program itself
pub(super) static KIMI_CODE: Agent = Agent {
    agent_type: "kimi-code",
    name: "kimi",
    title: "Kimi",
    processes: &["kimi", "kimi-code"],
    packages: &["/@moonshot-ai/kimi-code/"],
    settings: Settings {
        commands: &["kimi"],
        tells_version: true,
        dir: |place| place.dir("KIMI_CODE_HOME", ".kimi-code"),
        server: Some((At::In("mcp.json"), Shape::Json(MCP_SERVERS))),
        hooks: Some(Hooks::new(
            HookForm::KimiCode,
            "config.toml",
            HookShape::Toml,
            &turn("Write|Edit"),
        )),
        skills: Some("skills"),
        ..EMPTY
    },
    ..NOTHING
};

/// Read from the program itself. It has no MCP: the script brings the server.
pub(super) static PI: Agent = Agent {
    agent_type: "pi",
    name: "pi",
    title: "pi",
    variables: &["PI_CODING_AGENT"],
    processes: &["pi"],
    packages: &["/@earendil-works/pi-coding-agent/"],
    ways: &[Way::Plugin],
    settings: Settings {
        commands: &["pi"],
        tells_version: true,
        dir: |place| place.dir("PI_CODING_AGENT_DIR", ".pi/agent"),
        script: Some(("extensions/slm-mesh.ts", include_str!("../../integrations/pi/slm-mesh.ts"))),
        skills: Some("skills"),
        ..EMPTY
    },
    ..NOTHING
};

/// Known by its process only.
pub(super) static AIDER: Agent =
    Agent { agent_type: "aider", name: "aider", title: "aider", processes: &["aider"], ..NOTHING };
