"""What is packed: name, version and texts from Cargo.toml, and the platforms."""

from __future__ import annotations

import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
LICENCES = ("LICENSE-APACHE", "LICENSE-MIT")
#: What a program that lists packages shows of this one; the MCP registry takes 100 characters.
DESCRIPTION_CHARS_MAX = 100


@dataclass(frozen=True)
class Platform:
    """A system that there is a program for."""

    #: For rustc.
    target: str
    #: As in the names of archives: the system and the processor, as `cargo binstall` calls them.
    name: str
    #: `process.platform` and `process.arch` of Node.js. The first is also MCPB's.
    node: tuple[str, str]
    #: Platform tags of a wheel. The oldest system that rustc's target supports; the programs for
    #: Linux are static and fit both of its C libraries.
    wheel: tuple[str, ...]


def _linux(machine: str) -> tuple[str, ...]:
    return (f"manylinux_2_17_{machine}", f"manylinux2014_{machine}", f"musllinux_1_1_{machine}")


PLATFORMS = (
    Platform("x86_64-unknown-linux-gnu", "linux-x86_64", ("linux", "x64"), _linux("x86_64")),
    Platform("aarch64-unknown-linux-gnu", "linux-aarch64", ("linux", "arm64"), _linux("aarch64")),
    Platform("x86_64-apple-darwin", "darwin-x86_64", ("darwin", "x64"), ("macosx_10_12_x86_64",)),
    Platform("aarch64-apple-darwin", "darwin-aarch64", ("darwin", "arm64"), ("macosx_11_0_arm64",)),
)

#: The program of each platform.
Programs = dict[Platform, Path]


@dataclass(frozen=True)
class Project:
    """What all packages say of the project."""

    name: str
    version: str
    description: str
    license: str
    keywords: list[str]
    #: On GitHub, without a slash at its end.
    repository: str
    npm_name: str
    pypi_name: str

    @classmethod
    def read(cls, repository: str | None) -> Project:
        """Reads Cargo.toml; ends the program if something is missing there."""
        package = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]
        repository = repository or package.get("repository")
        if repository is None:
            sys.exit("Cargo.toml names no repository: set `repository` there, or use --repository")
        url = urlsplit(repository)
        if url.hostname != "github.com" or url.path.rstrip("/").count("/") != 2:
            sys.exit(f"{repository} is not of the form https://github.com/OWNER/NAME")
        if len(package["description"]) > DESCRIPTION_CHARS_MAX:
            sys.exit(f"the description has more than {DESCRIPTION_CHARS_MAX} characters")
        return cls(
            name=package["name"],
            version=package["version"],
            description=package["description"],
            license=package["license"],
            keywords=package["keywords"],
            repository=repository.rstrip("/").removesuffix(".git"),
            npm_name=package["metadata"]["packaging"]["npm"],
            pypi_name=package["metadata"]["packaging"]["pypi"],
        )

    @property
    def mcp_name(self) -> str:
        """The name in the MCP registry, which only the owner of the repository may use."""
        owner = urlsplit(self.repository).path.split("/")[1]
        return f"io.github.{owner}/{self.name}"

    def file_name(self, platform: Platform) -> str:
        """What a file for a platform is called, without its ending."""
        return f"{self.name}-{self.version}-{platform.name}"

    def download(self, file: str) -> str:
        """The URL of a file of the release."""
        return f"{self.repository}/releases/download/v{self.version}/{file}"
