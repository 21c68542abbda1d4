"""The Python package: its source archive, which is the client alone, and a wheel for each platform,
which brings the program along as a script.

A wheel is the client's, with the program laid into it: so the package is built by its own tools and
needs no Rust, and there is one source for both.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from archives import Files, zip_entry
from project import ROOT, Platform, Programs, Project


def make(project: Project, programs: Programs, shared: Files, out: Path) -> None:
    """Builds them."""
    with tempfile.TemporaryDirectory() as folder:
        _build(project, Path(folder) / "source", out)
    (pure,) = out.glob("*.whl")
    for platform, program in programs.items():
        _with_program(pure, platform, program.read_bytes(), shared)
    pure.unlink()


def _build(project: Project, source: Path, out: Path) -> None:
    """Builds source archive and wheel of the client, under the name it has in the registry."""
    ignored = shutil.ignore_patterns("*.egg-info", "__pycache__", "build", "dist", ".*_cache")
    shutil.copytree(ROOT / "python", source, ignore=ignored)
    settings = source / "pyproject.toml"
    name = f'name = "{project.pypi_name}"'
    text, count = re.subn(r'(?m)^name = ".*"$', name, settings.read_text())
    if count != 1:
        sys.exit(f"pyproject.toml has {count} names")
    settings.write_text(text)
    with (source / "README.md").open("a") as readme:
        # By this the MCP registry knows whose the package is.
        readme.write(f"\n<!-- mcp-name: {project.mcp_name} -->\n")
    command = [sys.executable, "-m", "build", "--outdir", str(out), str(source)]
    built = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if built.returncode != 0:
        sys.exit(f"{built.stdout}\nthe Python package cannot be built")


def _with_program(pure: Path, platform: Platform, program: bytes, shared: Files) -> None:
    """Lays a program and what belongs to it into a wheel. https://packaging.python.org/en/latest/specifications/binary-distribution-format/"""
    with zipfile.ZipFile(pure) as wheel:
        files: Files = {name: wheel.read(name) for name in wheel.namelist()}
    (record,) = (name for name in files if name.endswith(".dist-info/RECORD"))
    info = record.removesuffix("/RECORD")
    del files[record]
    tags = "".join(f"Tag: py3-none-{tag}\n" for tag in platform.wheel)
    head = files[f"{info}/WHEEL"].decode()
    head = head.replace("Root-Is-Purelib: true", "Root-Is-Purelib: false")
    files[f"{info}/WHEEL"] = head.replace("Tag: py3-none-any\n", tags).encode()
    data = f"{info.removesuffix('.dist-info')}.data"
    files[f"{data}/scripts/slm-mesh"] = program
    files |= {f"{data}/data/{place}": content for place, content in shared.items()}
    lines = [f"{name},{_digest(content)},{len(content)}" for name, content in files.items()]
    files[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    name = pure.name.replace("-any.whl", f"-{'.'.join(platform.wheel)}.whl")
    with zipfile.ZipFile(pure.with_name(name), "w") as wheel:
        for path, content in files.items():
            wheel.writestr(zip_entry(path), content)


def _digest(content: bytes) -> str:
    """A sum as RECORD has it."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
    return f"sha256={digest.decode().rstrip('=')}"
