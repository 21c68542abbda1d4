"""What has to be known of each agent to run it with a model on loopback: settings, keys, tools."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from home import Home
from terminal import Terminal

# No key of anybody's: the stand-in model asks for none, and the agents want to have one.
KEY = "dummy-not-a-key-000000000000"

Calls = list[tuple[str, Any]]


_EXTENSION = ["extensions install --consent {}/gemini-extension"]


@dataclass
class Agent:
    """An agent, as far as it differs from the others."""

    # As `slm-mesh setup` knows it.
    name: str
    program: str
    # Its settings and its environment, by the port of the model.
    prepare: Callable[[Home, int], dict[str, str]]
    # From its start until it takes a prompt.
    begin: Callable[[Terminal], bool]
    # The calls by which its model changes "one" to "two" in this file.
    edit: Callable[[Path], Calls]
    arguments: list[str] = field(default_factory=list)
    setup: list[str] = field(default_factory=list)
    # By which it installs our plugin or extension, from the folder that {} stands for.
    package: list[str] = field(default_factory=list)
    # A message wakes it when it is idle.
    wakes: bool = True
    # Into how many requests three messages may come that are sent at once while it is idle: two
    # where the first may begin a turn before the others are there, to which nothing is added.
    together: int = 1
    # What a sender is told of a message that was told whole while the agent was idle.
    stage: str = "read"


# What a dialog asks, and what to press: each until this is shown, or, without a text, until the
# dialog is gone. Some take no key for a moment after they have come.
Dialogs = dict[str, list[tuple[bytes, str]]]


def _begin(terminal: Terminal, ready: str, dialogs: Dialogs) -> bool:
    """Answers what an agent asks at its start, until it is ready."""
    left = dict(dialogs)
    while True:
        asked = terminal.shows(*left, ready, seconds=90)
        if asked is None or asked == ready:
            return asked == ready
        for keys, wanted in left.pop(asked):
            for _ in range(10):
                terminal.press(keys)
                if wanted and terminal.shows(wanted, seconds=1):
                    break
                if not wanted and terminal.hides(asked, seconds=1):
                    break


def _claude(home: Home, port: int) -> dict[str, str]:
    project = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
    home.write_json(
        ".claude.json",
        {
            "hasCompletedOnboarding": True,
            "theme": "dark",
            "numStartups": 5,
            "customApiKeyResponses": {"approved": [KEY[-20:]], "rejected": []},
            "projects": {str(home.project): {**project, "projectOnboardingSeenCount": 4}},
        },
    )
    return {"ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}", "ANTHROPIC_API_KEY": KEY}


def _codex(home: Home, port: int) -> dict[str, str]:
    home.write(
        ".codex/config.toml",
        f"""model = "gpt-5"
model_provider = "stand-in"
check_for_update_on_startup = false

[analytics]
enabled = false

[model_providers.stand-in]
name = "stand-in"
base_url = "http://127.0.0.1:{port}/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0

[projects."{home.project}"]
trust_level = "trusted"
""",
    )
    return {"OPENAI_API_KEY": KEY}


def _codex_edit(path: Path) -> Calls:
    # Its newer models have no tool for patches: they write them in a shell command.
    patch = f"*** Begin Patch\n*** Update File: {path}\n@@\n-one\n+two\n*** End Patch"
    return [("exec_command", {"cmd": f"apply_patch <<'EOF'\n{patch}\nEOF"})]


def _opencode(home: Home, port: int) -> dict[str, str]:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "stand-in",
        "options": {"baseURL": f"http://127.0.0.1:{port}/v1", "apiKey": KEY},
        "models": {"m1": {"name": "m1", "tool_call": True}},
    }
    # As it leaves its folder once it was started with a network: without, it tries for a minute
    # to install this before it loads a plugin.
    (home.place / ".config/opencode/node_modules").mkdir(parents=True, exist_ok=True)
    installed = {"dependencies": {"@opencode-ai/plugin": "*"}}
    home.write_json(".config/opencode/package-lock.json", {"packages": {"": installed}})
    home.write_json(
        ".config/opencode/opencode.json",
        {
            "$schema": "https://opencode.ai/config.json",
            "model": "stand-in/m1",
            "small_model": "stand-in/m1",
            "autoupdate": False,
            "share": "disabled",
            "provider": {"stand-in": provider},
            "permission": {"edit": "allow", "bash": "allow"},
        },
    )
    return {}


def _gemini(home: Home, port: int) -> dict[str, str]:
    home.write_json(
        ".gemini/settings.json",
        {
            "security": {"auth": {"selectedType": "gemini-api-key"}},
            "privacy": {"usageStatisticsEnabled": False},
            "telemetry": {"enabled": False},
            "general": {"enableAutoUpdate": False, "disableAutoUpdate": True},
            "model": {"name": "gemini-2.5-flash"},
        },
    )
    home.write_json(".gemini/trustedFolders.json", {str(home.project): "TRUST_FOLDER"})
    return {"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": f"http://127.0.0.1:{port}"}


def _qwen(home: Home, port: int) -> dict[str, str]:
    base = f"http://127.0.0.1:{port}/v1"
    home.write_json(
        ".qwen/settings.json",
        {
            "security": {"auth": {"selectedType": "openai", "apiKey": KEY, "baseUrl": base}},
            "model": {"name": "m1"},
            "privacy": {"usageStatisticsEnabled": False},
            "telemetry": {"enabled": False},
            "general": {"enableAutoUpdate": False, "disableAutoUpdate": True},
            # Requests of its own, beside those of the conversation.
            "ui": {"enableFollowupSuggestions": False},
            "memory": {"enableManagedAutoMemory": False, "enableManagedAutoDream": False},
        },
    )
    return {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": base, "OPENAI_MODEL": "m1"}


def _copilot(home: Home, port: int) -> dict[str, str]:
    home.write_json(
        ".copilot/config.json",
        {"trusted_folders": [str(home.project)], "banner": "never", "auto_update": False},
    )
    return {
        "COPILOT_PROVIDER_BASE_URL": f"http://127.0.0.1:{port}/v1",
        "COPILOT_PROVIDER_API_KEY": KEY,
        "COPILOT_MODEL": "gpt-4.1",
    }


AGENTS = [
    Agent(
        "claude-code",
        "claude",
        _claude,
        lambda terminal: _begin(
            terminal,
            "accept edits on",
            {"Enter to confirm": [(b"\r", "")], "Yes, I": [(b"\r", "")]},
        ),
        lambda path: [
            ("Read", {"file_path": str(path)}),
            ("Edit", {"file_path": str(path), "old_string": "one", "new_string": "two"}),
        ],
        arguments=["--permission-mode", "acceptEdits"],
        setup=["--allow"],
        together=2,
        package=["plugin marketplace add {}/marketplace", "plugin install slm-mesh@slm-mesh"],
    ),
    Agent(
        "codex",
        "codex",
        _codex,
        lambda terminal: _begin(
            terminal,
            "gpt-5 default",
            {"Hooks need review": [(b"\x1b[B", "› 2. Trust all"), (b"\r", "")]},
        ),
        _codex_edit,
        arguments=["--dangerously-bypass-approvals-and-sandbox"],
        package=["plugin marketplace add {}/marketplace", "plugin add slm-mesh@slm-mesh"],
    ),
    Agent(
        "opencode",
        "opencode",
        _opencode,
        lambda terminal: _begin(terminal, "Ask anything", {}),
        lambda path: [
            ("read", {"filePath": str(path)}),
            ("edit", {"filePath": str(path), "oldString": "one", "newString": "two"}),
        ],
        together=2,
    ),
    Agent(
        "gemini-cli",
        "gemini",
        _gemini,
        lambda terminal: _begin(terminal, "Type your message", {}),
        lambda path: [
            ("read_file", {"file_path": str(path)}),
            (
                "replace",
                {
                    "file_path": str(path),
                    "instruction": "Say two.",
                    "old_string": "one",
                    "new_string": "two",
                },
            ),
        ],
        arguments=["--yolo"],
        wakes=False,
        package=_EXTENSION,
    ),
    Agent(
        "qwen",
        "qwen",
        _qwen,
        lambda terminal: _begin(terminal, "Type your message", {}),
        lambda path: [
            ("read_file", {"file_path": str(path)}),
            ("edit", {"file_path": str(path), "old_string": "one", "new_string": "two"}),
        ],
        arguments=["--yolo"],
        # It runs no hook for what comes by its socket, so nothing proves it.
        stage="sent",
        together=2,
        package=_EXTENSION,
    ),
    Agent(
        "copilot",
        "copilot",
        _copilot,
        lambda terminal: _begin(terminal, "? help", {}),
        lambda path: [
            ("view", {"path": str(path)}),
            ("edit", {"path": str(path), "old_str": "one", "new_str": "two"}),
        ],
        arguments=["--allow-all-tools"],
        setup=["--wake"],
        together=2,
        package=["plugin marketplace add {}/marketplace", "plugin install slm-mesh@slm-mesh"],
    ),
]
