"""`server.json`, by which the MCP registry lists the server and all that it can be installed from.

https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json
"""

from __future__ import annotations

import json
from pathlib import Path

from archives import sha256
from project import Platform, Project

SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"


def make(project: Project, bundles: dict[Platform, Path], out: Path) -> None:
    """Writes it."""
    starts = {
        "transport": {"type": "stdio"},
        "packageArguments": [{"type": "positional", "value": "mcp"}],
    }
    packages: list[dict[str, object]] = [
        {"registryType": registry, "identifier": name, "version": project.version, **starts}
        for registry, name in (("npm", project.npm_name), ("pypi", project.pypi_name))
    ]
    # A bundle says itself how it is started.
    packages += [
        {
            "registryType": "mcpb",
            "identifier": project.download(bundle.name),
            "version": project.version,
            "fileSha256": sha256(bundle),
            "transport": {"type": "stdio"},
        }
        for bundle in bundles.values()
    ]
    server = {
        "$schema": SCHEMA,
        "name": project.mcp_name,
        "title": project.name,
        "description": project.description,
        "version": project.version,
        "repository": {"url": project.repository, "source": "github"},
        "packages": packages,
    }
    (out / "server.json").write_text(json.dumps(server, indent=2) + "\n")
