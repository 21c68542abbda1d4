"""The formula for Homebrew, for a tap of one's own."""

from __future__ import annotations

from pathlib import Path

from archives import sha256
from project import Platform, Project
from shell import PLACES

#: The systems and processors as a formula names them.
BLOCKS = {"darwin": "on_macos", "linux": "on_linux", "arm64": "on_arm", "x64": "on_intel"}


def make(project: Project, archives: dict[Platform, Path], out: Path) -> None:
    """Writes it."""
    systems = []
    for system in ("darwin", "linux"):
        blocks = [
            f"    {BLOCKS[platform.node[1]]} do\n"
            f'      url "{project.download(archive.name)}"\n'
            f'      sha256 "{sha256(archive)}"\n'
            "    end\n"
            for platform, archive in archives.items()
            if platform.node[0] == system
        ]
        systems.append(f"  {BLOCKS[system]} do\n{''.join(blocks)}  end\n")
    text = f'''\
class SlmMesh < Formula
  desc "Local mesh of AI coding agents: messages, shared state, file locks, events"
  homepage "{project.repository}"
  version "{project.version}"
  license any_of: ["MIT", "Apache-2.0"]

{chr(10).join(systems)}
  def install
    bin.install "slm-mesh"
    bash_completion.install "{PLACES["bash"]}" => "slm-mesh"
    zsh_completion.install "{PLACES["zsh"]}"
    fish_completion.install "{PLACES["fish"]}"
    man1.install "{PLACES["man"]}"
  end

  test do
    assert_match version.to_s, shell_output("#{{bin}}/slm-mesh --version")
  end
end
'''
    (out / "slm-mesh.rb").write_text(text)
