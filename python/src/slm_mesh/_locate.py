"""Who serves a data directory: its files, read without asking anyone; and how to start a broker."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import ipaddress
import os
import re
import shutil
import stat
import struct
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from ._errors import NoBrokerError, SLMMeshError, local
from ._remote import remote_hash

DATA_DIR = "SLM_MESH_DATA_DIR"
HOST = "SLM_MESH_HOST"
BIN = "SLM_MESH_BIN"

#: Why no broker can be started.
NO_BINARY = (
    f", and none can be started: slm-mesh is not on the PATH and {BIN} is not set; install it or "
    "name it there"
)
#: What the namespace of the whole mesh is called by people and agents, and on the wire.
SHARED_NAMESPACE, DEFAULT_NAMESPACE = "shared", "default"
#: Most characters of the folder in a project's namespace, and those of the hash behind it.
NAMESPACE_FOLDER_CHARS_MAX, NAMESPACE_HASH_CHARS = 40, 10
#: Longest file that is read here, and longest configuration of a repository, bytes.
_FILE_BYTES_MAX, _GIT_CONFIG_BYTES_MAX = 1024, 1024 * 1024
#: Longest path of a socket, bytes: `sun_path` less its final zero (unix(7), unix(4) of macOS).
SOCKET_PATH_BYTES_MAX = 103 if sys.platform == "darwin" else 107


@dataclass(frozen=True)
class Broker:
    """A broker that serves."""

    host: str
    port: int
    token: str
    #: The id of the data directory, by which the broker is known; ``None`` without such a file.
    mesh: str | None
    #: The Unix socket it listens on beside its port; ``None`` if the caller has named the port.
    socket: Path | None = None
    #: Its process, 0 if it cannot be seen from here; ``None`` if nobody has asked.
    pid: int | None = None

    @property
    def authority(self) -> str:
        """What goes into ``Host``."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class NotReady:
    """A broker holds the lock and does not say where it serves: it is about to start, or to end."""


def default_data_dir() -> Path:
    """The data directory that the environment names, as the program understands it."""
    value = os.environ.get(DATA_DIR)
    if value:
        return checked_data_dir(value, DATA_DIR)
    home = os.environ.get("HOME")
    if not home:
        raise local("file_error", f"neither {DATA_DIR} nor HOME is set: set one of them")
    if not Path(home).is_absolute():
        raise local("file_error", f"HOME is {home!r}: it must be an absolute path")
    return Path(home) / ".slm-mesh"


def checked_data_dir(value: str | os.PathLike[str], name: str) -> Path:
    """An absolute path."""
    path = Path(value)
    if path.parts and path.parts[0].startswith("~"):
        # A shell expands it; a directory of that name is nobody's wish.
        raise local("file_error", f"{name} is {str(path)!r}: write ~ out, an absolute path is best")
    return path.absolute()


def loopback_host(host: str | None) -> str:
    """The address to connect to: the broker's HTTP listener is on a loopback address only."""
    if host is None:
        # A hub's or another machine's address concerns remote peers.
        value = os.environ.get(HOST)
        return value if value and _is_loopback(value) else "127.0.0.1"
    if not _is_loopback(host):
        raise local(
            "invalid_request",
            f"{host!r} is no loopback address: a broker listens to its own machine only",
        )
    return host


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Place:
    """Where a broker is looked for.

    Port and token are believed only while someone holds ``broker.lock``: a broker that was killed
    leaves its files behind. If both were given by the caller there is nothing to believe.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None,
        host: str | None,
        port: int | None,
        token_path: str | os.PathLike[str] | None,
    ) -> None:
        if data_dir is not None:
            self.data_dir = checked_data_dir(data_dir, "data_dir")
        elif token_path is not None:
            self.data_dir = checked_data_dir(token_path, "token_path").parent
        else:
            self.data_dir = default_data_dir()
        if port is not None and not 0 < port < 65_536:
            raise local("invalid_request", f"port is {port}: it must be from 1 to 65535")
        self.host = loopback_host(host)
        self.port = port
        self.token_path = (
            self.data_dir / "broker.token"
            if token_path is None
            else checked_data_dir(token_path, "token_path")
        )
        self.is_given = port is not None and token_path is not None
        #: What to do, or why nothing was done, when no broker is running.
        self.not_started = ": start it with `slm-mesh start --detached`"

    @property
    def peers_dir(self) -> Path:
        """The directory of the peers' sockets."""
        return self.data_dir / "peers"

    def locate(self) -> Broker | NotReady | None:
        """Looks; ``None`` if no broker is running."""
        pid: int | None = None
        if not self.is_given:
            check_data_dir(self.data_dir)
            pid = _lock_holder(self.data_dir / "broker.lock")
            if pid is None:
                return None
        port = self.port
        if port is None:
            port_text = _read(self.data_dir / "port") or ""
            port = int(port_text) if port_text.isascii() and port_text.isdigit() else 0
        token = _read(self.token_path)
        if token is None and self.is_given:
            raise local("file_error", f"no token is in {self.token_path}: is a broker running?")
        if not 0 < port < 65_536 or token is None:
            return NotReady()
        socket = self.data_dir / "broker.sock" if self.port is None else None
        return Broker(self.host, port, token, _read(self.data_dir / "mesh.id"), socket, pid)

    def absent(self, why_not_started: str) -> SLMMeshError:
        """The error for no broker."""
        return local(
            "no_broker",
            f"no broker is running for {self.data_dir}{why_not_started}",
            NoBrokerError,
        )


def check_data_dir(directory: Path) -> None:
    """Checks what there is of the data directory and of ``peers`` in it: directories of ours, or
    our links to such, to which nobody else can write. Whoever can could put a port and a token of
    his own there, so nothing in it is believed then. All programs have the same rules.
    """
    for path in (directory, directory / "peers"):
        _check_private(path)


def _check_private(directory: Path) -> None:
    try:
        found = directory.lstat()
        owners = [found.st_uid]
        if stat.S_ISLNK(found.st_mode):
            # Whoever made it can make it lead elsewhere; the system's own is as good as ours.
            owners = [] if found.st_uid == 0 else owners
            found = directory.stat()
            owners.append(found.st_uid)
    except FileNotFoundError:
        return
    except OSError as error:
        raise local("file_error", f"cannot look at {directory}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise local("file_error", f"{directory} is not a directory; set {DATA_DIR} to another")
    for owner in owners:
        if owner != os.geteuid():
            raise local(
                "file_error",
                f"{directory} belongs to another user (uid {owner}, this is uid {os.geteuid()}); "
                f"set {DATA_DIR} to a directory of your own",
            )
    if found.st_mode & 0o022:
        raise local(
            "file_error",
            f"{directory} can be written to by others (mode {found.st_mode & 0o777:03o}); look at "
            f"what is in it, then close it: chmod 700 {directory}",
        )


def _read(path: Path, bytes_max: int = _FILE_BYTES_MAX) -> str | None:
    """The text of a small file; ``None`` if there is none, or nothing in it."""
    try:
        # Opening a named pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise local("file_error", f"{path} is no regular file")
            data = file.read(bytes_max + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise local("file_error", f"cannot read {path}: {error.strerror}") from error
    if len(data) > bytes_max:
        raise local("file_error", f"{path} is too long to be a file of slm-mesh")
    return data.decode("utf-8", "replace").strip() or None


# `struct flock` (fcntl(2) of Linux; sys/fcntl.h of macOS), with 64-bit offsets as Python is built.
if sys.platform == "darwin":
    _FLOCK = struct.Struct("@qqihh0q")
    _PID_AT, _TYPE_AT = 2, 3
else:
    _FLOCK = struct.Struct("@hhqqi0q")
    _TYPE_AT, _PID_AT = 0, 4


def _lock_holder(path: Path) -> int | None:
    """The process that holds the lock, 0 if it cannot be seen from here, ``None`` if nobody does;
    asked without taking it, so that the question never makes a broker's start fail."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise local("file_error", f"cannot open {path}: {error.strerror}") from error
    try:
        fields = [0] * 5
        # What would keep us from locking for writing is any lock there may be.
        fields[_TYPE_AT] = fcntl.F_WRLCK
        found = fcntl.fcntl(descriptor, fcntl.F_GETLK, _FLOCK.pack(*fields))
    except OSError as error:
        raise local("file_error", f"cannot ask for the lock of {path}: {error.strerror}") from error
    finally:
        os.close(descriptor)
    answer = _FLOCK.unpack(found)
    return None if answer[_TYPE_AT] == fcntl.F_UNLCK else int(answer[_PID_AT])


def find_binary() -> str | None:
    """The program that starts a broker: ``SLM_MESH_BIN``, or ``slm-mesh`` of this virtual
    environment, into which a wheel may have brought it, or on the PATH."""
    named = os.environ.get(BIN)
    if named:
        return named
    places = [os.environ.get("PATH", os.defpath)]
    if sys.prefix != sys.base_prefix:
        # It is on the PATH, and first, only of those who have activated the environment.
        places.insert(0, sysconfig.get_path("scripts"))
    return shutil.which("slm-mesh", path=os.pathsep.join(places))


def launch_command(place: Place) -> tuple[list[str], dict[str, str]]:
    """The command that starts a broker and ends once it serves, and its environment."""
    binary = find_binary()
    if binary is None:
        raise place.absent(NO_BINARY)
    return [binary, "start", "--detached"], {**os.environ, DATA_DIR: str(place.data_dir)}


def launch_failed(reason: str) -> SLMMeshError:
    """The error for a broker that could not be started."""
    return local("start_failed", f"no broker could be started: {reason}")


def launch_result(status: int | None, said: bytes) -> SLMMeshError | None:
    """What the end of that command means."""
    if status == 0:
        return None
    reason = said[:4096].decode("utf-8", "replace").strip().removeprefix("error: ")
    return launch_failed(reason or f"it ended with status {status} and said nothing")


def check_socket_path(path: Path) -> None:
    """That a socket can have this path."""
    length = len(os.fsencode(path))
    if length > SOCKET_PATH_BYTES_MAX:
        raise local(
            "file_error",
            f"the path of the data directory is too long: a socket in it would have a path of "
            f"{length} bytes, and the limit is {SOCKET_PATH_BYTES_MAX}; set {DATA_DIR} to a "
            f"shorter one ({os.strerror(errno.ENAMETOOLONG)})",
        )


@dataclass(frozen=True)
class Project:
    """What is known of a directory and its repository."""

    path: str
    git_root: str | None = None
    git_branch: str | None = None
    #: The same for all work trees of one repository: the real path of its common directory.
    repo_id: str | None = None
    #: The same for all clones of it, on all machines: see :mod:`._remote`.
    repo_hash: str | None = None

    @property
    def namespace(self) -> str:
        """That of the project's shared state: the name of its folder and a hash of its path. In a
        repository the folder is that of the repository, so that all its directories and working
        trees have one. The program makes the same (``agent::namespace``)."""
        folder = self.repo_id or self.path
        if os.path.basename(folder) == ".git":
            folder = os.path.dirname(folder)
        name = re.sub("[^a-z0-9._]+", "-", os.path.basename(folder).lower())
        name = name.lstrip("-.")[:NAMESPACE_FOLDER_CHARS_MAX].rstrip("-.")
        digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:NAMESPACE_HASH_CHARS]
        return f"{name}-{digest}" if name else digest


def namespace_on_the_wire(
    named: str | None, directory: str | os.PathLike[str] | None = None
) -> str:
    """The namespace that is meant in a project: its own if none is named."""
    if named is None:
        return look_at_project(directory).namespace
    return DEFAULT_NAMESPACE if named == SHARED_NAMESPACE else named


def _hash_of(common: Path) -> str | None:
    """That of the repository with this common directory; ``None`` if there is none to be told."""
    try:
        config = _read(common / "config", _GIT_CONFIG_BYTES_MAX)
    except SLMMeshError:
        return None
    return None if config is None else remote_hash(config)


def look_at_project(directory: str | os.PathLike[str] | None) -> Project:
    """Looks at a directory, by default the working directory, and for the repository around it."""
    start = Path(os.path.realpath(directory if directory is not None else os.curdir))
    for root in (start, *start.parents):
        git = root / ".git"
        try:
            if git.is_file():
                # A work tree or submodule: gitrepository-layout(5).
                pointer = (_read(git) or "").removeprefix("gitdir:").strip()
                git = (root / pointer) if pointer else git
            if not (git / "HEAD").is_file():
                continue
            head = _read(git / "HEAD") or ""
            common = git / (_read(git / "commondir") or ".")
        except (OSError, SLMMeshError):
            continue
        branch = head.removeprefix("ref: refs/heads/") if head.startswith("ref: ") else None
        own = os.path.realpath(common)
        return Project(str(start), str(root), branch, own, _hash_of(common))
    return Project(str(start))
