"""A home directory of its own for one play, and the mesh in it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

_Found = TypeVar("_Found")

# None of these has an account, or anything to report.
_QUIET = {
    "DISABLE_TELEMETRY": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "GEMINI_TELEMETRY_ENABLED": "false",
    "QWEN_TELEMETRY": "0",
    "OPENCODE_DISABLE_AUTOUPDATE": "true",
    "OPENCODE_DISABLE_MODELS_FETCH": "true",
    "OPENCODE_DISABLE_LSP_DOWNLOAD": "true",
    "COPILOT_AUTO_UPDATE": "false",
    "COPILOT_OFFLINE": "true",
}


class Failed(Exception):
    """A command of ours that ended badly."""


def until(look: Callable[[], _Found], seconds: float) -> _Found:
    """Looks again and again until there is something, or the time is over; what was there last."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found or time.monotonic() > end:
            return found
        time.sleep(0.1)


class Home:
    """A home directory with a project in it, and a broker of its own."""

    def __init__(self, place: Path, path: str) -> None:
        self.place = place
        self.project = place / "project"
        self.project.mkdir(parents=True)
        self.environment = {
            "HOME": str(place),
            "PATH": path,
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "LANG": "C.UTF-8",
            # Whichever is free: others are at work on this machine.
            "SLM_MESH_PORT": "0",
            # A machine at its limit is not what is judged here.
            "SLM_MESH_HOOK_MS": "2000",
            **_QUIET,
        }
        subprocess.run(["git", "init", "--quiet", "."], cwd=self.project, check=True)

    def write(self, name: str, text: str) -> Path:
        """Writes a file, named from the home directory."""
        path = self.place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def write_json(self, name: str, value: Any) -> Path:
        """Writes a file of JSON."""
        return self.write(name, json.dumps(value, indent=2) + "\n")

    def mesh(self, *arguments: str) -> str:
        """What a command of ours prints.

        Raises `Failed` if it ends badly."""
        done = subprocess.run(
            ["slm-mesh", *arguments],
            env=self.environment,
            cwd=self.project,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode != 0:
            raise Failed(f"slm-mesh {' '.join(arguments)}: {done.stderr or done.stdout}")
        return done.stdout

    def mesh_json(self, *arguments: str) -> Any:
        """The same, as JSON."""
        return json.loads(self.mesh(*arguments, "--json"))

    def peers(self) -> list[dict[str, Any]]:
        """The agents that are in the mesh."""
        try:
            return list(self.mesh_json("peers")["peers"])
        except Failed:
            return []

    def peer(self, seconds: float = 20) -> dict[str, Any] | None:
        """The one agent that is in the mesh."""
        peers = until(self.peers, seconds)
        return peers[0] if peers else None

    def send_together(self, to: str, texts: list[str]) -> None:
        """Sends several messages at one moment, as as many clients: commands would need longer to
        start than an agent to begin its turn."""
        mesh = self.place / ".slm-mesh"
        port = int((mesh / "port").read_text())
        headers = {"Authorization": "Bearer " + (mesh / "broker.token").read_text().strip()}
        clients = [http.client.HTTPConnection("127.0.0.1", port, timeout=30) for _ in texts]
        for client in clients:
            client.connect()
        for client, text in zip(clients, texts, strict=True):
            message = {"fromPeer": "cli", "toPeer": to, "payload": text}
            client.request("POST", "/send", json.dumps(message), headers)
        for client in clients:
            answer = client.getresponse()
            said = answer.read().decode()
            client.close()
            if answer.status != 200:
                raise Failed(f"/send: {answer.status} {said}")

    def close(self) -> None:
        """Ends the broker."""
        with contextlib.suppress(Failed, subprocess.TimeoutExpired, OSError):
            self.mesh("stop", "--as", "cli")
        for name in ("broker.log", "mcp.log"):
            if "TURNS_LOGS" in os.environ and (self.place / ".slm-mesh" / name).exists():
                print((self.place / ".slm-mesh" / name).read_text())
