"""Nothing but loopback, and nothing that stays behind."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys

_NAMESPACES = ["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]


def alone() -> bool:
    """Goes on in namespaces of its own: only the loopback interface is there, and what an agent
    leaves running ends with it. False if this machine allows none."""
    if os.environ.get("TURNS_ALONE"):
        _loopback_up()
        return True
    for user in ([], ["--user", "--map-root-user"]):
        command = ["unshare", *user, *_NAMESPACES]
        try:
            works = subprocess.run([*command, "true"], capture_output=True).returncode == 0
        except FileNotFoundError:
            return False
        if works:
            os.environ["TURNS_ALONE"] = "yes"
            sys.stdout.flush()
            os.execvp(command[0], [*command, sys.executable, *sys.argv])
    return False


def _loopback_up() -> None:
    """As `ip link set lo up`, which is not everywhere (netdevice(7))."""
    get, put, up = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as some:
        answer = fcntl.ioctl(some, get, struct.pack("16sh14x", b"lo", 0))
        flags = struct.unpack("16sh14x", answer)[1]
        fcntl.ioctl(some, put, struct.pack("16sh14x", b"lo", flags | up))
