"""The ways to a broker, and whose fault it is when none of them leads there.

A broker listens on ``broker.sock`` in its data directory and on a port. The socket is tried first:
it is faster, and it is there where only the network is closed. What comes of a connection says
something of the broker only if it got as far as the broker: a sandbox answers ``connect`` itself,
and in another network the same port is nobody's, or somebody else's.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from ._errors import SLMMeshError, local
from ._locate import Broker

#: Variables that sandboxes of agents set, and whose they are.
_SANDBOXES = {
    "CODEX_SANDBOX": "Codex",
    "CODEX_SANDBOX_NETWORK_DISABLED": "Codex",
    "SANDBOX_RUNTIME": "Claude Code",
}
#: What is said where the broker is, or should be: nobody listens, or nobody answers.
_OF_BROKER = {
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.ETIMEDOUT,
    errno.EAGAIN,
}


def no_way(broker: Broker, tried: list[tuple[str, OSError]]) -> SLMMeshError:
    """The error for a broker that was tried in vain at these addresses."""
    told = [
        f"{address}: {error.strerror or error}"
        for address, error in tried
        # A broker may have no socket; then that is not worth a word.
        if address != str(broker.socket) or not _is_absence(error)
    ]
    reason = "; ".join(told)
    is_barred = any(not _is_of_broker(error) for _, error in tried)
    if is_barred or _is_elsewhere(broker.pid):
        return local(
            "sandboxed",
            f"{_sandbox()} keeps this program from the broker ({reason}); that says nothing of the "
            "broker, so leave it alone: the mesh tools of an agent (mesh_send, mesh_inbox, ...) "
            "mostly run outside and work, as does this program there",
        )
    return local("unreachable", f"the broker cannot be reached: {reason}")


def _is_absence(error: OSError) -> bool:
    # Without a number: its path is too long for a socket.
    return error.errno in (None, errno.ENOENT)


def _is_of_broker(error: OSError) -> bool:
    return isinstance(error, TimeoutError) or _is_absence(error) or error.errno in _OF_BROKER


def _is_elsewhere(pid: int | None) -> bool:
    """Whether the broker runs, and perhaps in another network than this process."""
    if pid is None or sys.platform != "linux":
        return False
    return not _shares_network(pid) and (pid == 0 or Path(f"/proc/{pid}").exists())


def _shares_network(pid: int) -> bool:
    try:
        # network_namespaces(7)
        return os.readlink("/proc/self/ns/net") == os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return False


def _sandbox() -> str:
    agent = next((agent for name, agent in _SANDBOXES.items() if name in os.environ), None)
    return f"the sandbox of {agent}" if agent else "a sandbox or container"
