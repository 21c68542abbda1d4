"""What shells and `man` need of a program, completions and a man page, which it writes itself."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from archives import Files
from project import Programs

#: What `slm-mesh completions` writes, and where systems and Python environments look for it.
PLACES = {
    "bash": "share/bash-completion/completions/slm-mesh.bash",
    "zsh": "share/zsh/site-functions/_slm-mesh",
    "fish": "share/fish/vendor_completions.d/slm-mesh.fish",
    "man": "share/man/man1/slm-mesh.1",
}


def files(programs: Programs) -> Files:
    """Has the program for this machine write them; they are the same on all platforms."""
    system, machine = platform.system().lower(), platform.machine().lower()
    name = f"{system}-{'aarch64' if machine == 'arm64' else machine.replace('amd64', 'x86_64')}"
    own = [program for of, program in programs.items() if of.name == name]
    if not own:
        sys.exit(f"no program runs on this machine ({name}), which is to write the completions")
    with tempfile.TemporaryDirectory() as folder:
        # What came out of an archive may have lost its modes.
        program = Path(folder) / "slm-mesh"
        shutil.copy(own[0], program)
        program.chmod(0o755)
        return {place: _written(program, kind) for kind, place in PLACES.items()}


def _written(program: Path, kind: str) -> bytes:
    command = [str(program), "completions", kind]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
