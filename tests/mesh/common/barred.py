"""Runs a program behind a seccomp filter, as sandboxes of agents do.

    barred.py inet PROGRAM ...     no sockets but Unix ones: socket() gives EPERM
    barred.py unix PROGRAM ...     no Unix sockets, as with Claude Code
    barred.py connect PROGRAM ...  no connections at all: connect() gives EPERM

Exits with 77 if the kernel does not let it.
"""
import ctypes
import os
import platform
import socket
import struct
import sys

# Of the headers of Linux: prctl(2), seccomp(2), classic BPF.
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, EPERM = 0x7FFF0000, 0x00050000 | 1
NR, ARG_0 = 0, 16
SYSCALLS = {"x86_64": (41, 42), "aarch64": (198, 203)}

if platform.machine() not in SYSCALLS:
    sys.exit(77)
SOCKET, CONNECT = SYSCALLS[platform.machine()]


def instruction(code, k, if_so=0, if_not=0):
    return struct.pack("=HBBI", code, if_so, if_not, k)


FILTERS = {
    "inet": [
        instruction(LOAD, NR),
        instruction(JUMP_EQUAL, SOCKET, 0, 3),
        instruction(LOAD, ARG_0),
        instruction(JUMP_EQUAL, socket.AF_UNIX, 1, 0),
        instruction(RETURN, EPERM),
        instruction(RETURN, ALLOW),
    ],
    "unix": [
        instruction(LOAD, NR),
        instruction(JUMP_EQUAL, SOCKET, 0, 3),
        instruction(LOAD, ARG_0),
        instruction(JUMP_EQUAL, socket.AF_UNIX, 0, 1),
        instruction(RETURN, EPERM),
        instruction(RETURN, ALLOW),
    ],
    "connect": [
        instruction(LOAD, NR),
        instruction(JUMP_EQUAL, CONNECT, 0, 1),
        instruction(RETURN, EPERM),
        instruction(RETURN, ALLOW),
    ],
}


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


instructions = FILTERS[sys.argv[1]]
program = Program(len(instructions), b"".join(instructions))
prctl = ctypes.CDLL(None, use_errno=True).prctl
if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(
    PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0
):
    sys.exit(77)
os.execvp(sys.argv[2], sys.argv[2:])
