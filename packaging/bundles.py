"""MCP bundles, which desktop programs install by a click: a zip with the program and a manifest.

https://github.com/modelcontextprotocol/mcpb/blob/main/MANIFEST.md
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from archives import Files, zip_entry
from project import LICENCES, ROOT, Platform, Programs, Project

PROGRAM = "server/slm-mesh"


def make(project: Project, programs: Programs, out: Path) -> dict[Platform, Path]:
    """Makes one for each platform, for a bundle cannot tell processors apart."""
    made = {}
    for platform, program in programs.items():
        text = json.dumps(_manifest(project, platform), indent=2) + "\n"
        files: Files = {"manifest.json": text.encode(), PROGRAM: program.read_bytes()}
        files |= {name: (ROOT / name).read_bytes() for name in LICENCES}
        made[platform] = out / f"{project.file_name(platform)}.mcpb"
        with zipfile.ZipFile(made[platform], "w") as bundle:
            for path, content in files.items():
                bundle.writestr(zip_entry(path), content)
    return made


def _manifest(project: Project, platform: Platform) -> dict[str, object]:
    return {
        "manifest_version": "0.3",
        "name": project.name,
        "version": project.version,
        "description": project.description,
        "author": {"name": project.name},
        "repository": {"type": "git", "url": project.repository},
        "license": project.license,
        "keywords": project.keywords,
        "server": {
            "type": "binary",
            "entry_point": PROGRAM,
            "mcp_config": {"command": f"${{__dirname}}/{PROGRAM}", "args": ["mcp"]},
        },
        # They are asked for, not listed here.
        "tools_generated": True,
        "prompts_generated": True,
        "compatibility": {"platforms": [platform.node[0]]},
    }
