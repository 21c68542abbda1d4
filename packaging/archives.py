"""Archives, which are the same, byte for byte, whenever they are made; and their sums."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import time
import zipfile
from pathlib import Path

from project import LICENCES, ROOT, Platform, Programs, Project

#: The time of every file: seconds since 1970; by default 1980, since a zip knows no earlier one.
TIME = int(os.environ.get("SOURCE_DATE_EPOCH", "315532800"))

#: What goes into an archive: paths and contents.
Files = dict[str, bytes]
#: What can be run, wherever it lies.
PROGRAMS = ("slm-mesh", "slm-mesh.js")


def mode(path: str) -> int:
    """What may be done with a file; Unix mode bits."""
    return 0o755 if path.rsplit("/", 1)[-1] in PROGRAMS else 0o644


def tar_gz(path: Path, files: Files) -> None:
    """Writes a .tar.gz."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(content), mode(name), TIME
            tar.addfile(entry, io.BytesIO(content))
    path.write_bytes(gzip.compress(packed.getvalue(), mtime=TIME))


def zip_entry(name: str) -> zipfile.ZipInfo:
    """How a file stands in a zip."""
    entry = zipfile.ZipInfo(name, time.gmtime(TIME)[:6])
    entry.create_system = 3  # Unix
    entry.external_attr = (0o100000 | mode(name)) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def make(project: Project, programs: Programs, shared: Files, out: Path) -> dict[Platform, Path]:
    """Makes an archive for each platform, for people, Homebrew and `cargo binstall`."""
    made = {}
    for platform, program in programs.items():
        folder = project.file_name(platform)
        files = {
            f"{folder}/{name}": (ROOT / name).read_bytes() for name in ("README.md", *LICENCES)
        }
        files[f"{folder}/slm-mesh"] = program.read_bytes()
        files |= {f"{folder}/{place}": content for place, content in shared.items()}
        made[platform] = out / f"{folder}.tar.gz"
        tar_gz(made[platform], files)
    return made


def sha256(path: Path) -> str:
    """The sum of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_sums(out: Path) -> None:
    """Writes SHA256SUMS over the files in a folder, for `sha256sum --check`."""
    files = sorted(path for path in out.iterdir() if path.is_file())
    (out / "SHA256SUMS").write_text("".join(f"{sha256(file)}  {file.name}\n" for file in files))
