"""The packages for npm: one for each platform, which has the program, and one that starts it.

npm installs, of the latter's optional dependencies, the one for its system: nothing is downloaded
or built by scripts of the packages.
"""

from __future__ import annotations

import json
from pathlib import Path

from archives import Files, tar_gz
from project import LICENCES, ROOT, Programs, Project


def make(project: Project, programs: Programs, out: Path) -> None:
    """Writes them as `npm pack` names and lays them out."""
    common = {
        "version": project.version,
        "description": project.description,
        "license": project.license,
        "repository": {"type": "git", "url": f"git+{project.repository}.git"},
    }
    dependencies = {}
    for platform, program in programs.items():
        system, processor = platform.node
        # The launcher finds it by this name.
        name = f"{project.npm_name}-{system}-{processor}"
        dependencies[name] = project.version
        manifest = {
            "name": name,
            **common,
            "description": f"The program of {project.npm_name} for {system} on {processor}",
            "os": [system],
            "cpu": [processor],
            # Nothing can be run from within Yarn's archives.
            "preferUnplugged": True,
        }
        _pack(manifest, {"bin/slm-mesh": program.read_bytes()}, out)
    manifest = {
        "name": project.npm_name,
        **common,
        "keywords": project.keywords,
        "mcpName": project.mcp_name,
        "bin": {"slm-mesh": "bin/slm-mesh.js"},
        "engines": {"node": ">=16"},
        "optionalDependencies": dependencies,
    }
    readme = (ROOT / "npm/README.md").read_text().replace("NPM_NAME", project.npm_name)
    launcher = (ROOT / "npm/bin/slm-mesh.js").read_bytes()
    _pack(manifest, {"README.md": readme.encode(), "bin/slm-mesh.js": launcher}, out)


def _pack(manifest: dict[str, object], files: Files, out: Path) -> None:
    text = json.dumps(manifest, indent=2) + "\n"
    licences = {name: (ROOT / name).read_bytes() for name in LICENCES}
    # npm wants the manifest first, and all below one folder.
    files = {"package.json": text.encode(), **licences, **files}
    name = str(manifest["name"]).removeprefix("@").replace("/", "-")
    path = out / f"{name}-{manifest['version']}.tgz"
    tar_gz(path, {f"package/{name}": content for name, content in files.items()})
