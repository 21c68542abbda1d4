"""What the tests share: a mesh of its own for each, with the real broker, gone at its end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from slm_mesh import MeshClient, SLMMeshError

T = TypeVar("T")

#: Longest time anything is waited for, seconds.
PATIENCE = 20.0

#: Variables that say something of a mesh, or of an agent, which may be running these tests.
FOREIGN = (
    "SLM_MESH_",
    "CLAUDE",
    "CODEX_",
    "QWEN_CODE",
    "GEMINI_CLI",
    "OPENCODE",
    "CLINE_ACTIVE",
    "ANTIGRAVITY_AGENT",
    "CURSOR_",
)


def binary() -> str:
    """The program under test."""
    path = os.environ.get("SLM_MESH_TEST_BIN")
    if not path:
        raise RuntimeError("set SLM_MESH_TEST_BIN to the slm-mesh to test with, or run cargo test")
    return path


def eventually(what: str, look: Callable[[], T | None]) -> T:
    """Waits until ``look`` gives something that is true."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError(f"never came: {what}")


class Mesh:
    """A data directory, and a broker in the foreground."""

    def __init__(self) -> None:
        # Short, for the sake of the paths of sockets.
        self.root = Path(tempfile.mkdtemp(prefix="smp"))
        self.dir = self.root / "mesh"
        self.settings = {"SLM_MESH_PORT": "0", "SLM_MESH_RATE_LIMIT": "0"}
        self.process: subprocess.Popen[bytes] | None = None

    def environment(self) -> dict[str, str]:
        """What programs of this mesh run with: nothing of an agent that runs the tests."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
        return {**clean, **self.settings, "SLM_MESH_DATA_DIR": str(self.dir)}

    def start(self) -> None:
        """Starts the broker, and waits until it serves."""
        if self.process is not None:
            self.process.wait()
        self.process = subprocess.Popen(
            [binary(), "start"],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        pid, port = self.process.pid, self.dir / "port"
        # The last file that is written.
        eventually("the broker's start", lambda: self.broker_pid() == pid and port.exists())

    def broker_pid(self) -> int | None:
        """Whose files these are."""
        try:
            return int((self.dir / "broker.pid").read_text())
        except (OSError, ValueError):
            return None

    def kill(self) -> None:
        """Kills the broker, whoever started it, and waits until it is gone."""
        pid = self.broker_pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
            self.process = None

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        return subprocess.run(
            [binary(), *words],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def close(self) -> None:
        """Ends it."""
        if self.broker_pid() is not None:
            self.run("stop")
        self.kill()
        shutil.rmtree(self.root, ignore_errors=True)


class MeshTest(unittest.TestCase):
    """A test with a mesh of its own, on which a broker serves unless ``starts`` says otherwise."""

    starts = True

    def setUp(self) -> None:
        self.mesh = Mesh()
        self.addCleanup(self.mesh.close)
        # What this process finds by default is this mesh, and nobody's own.
        before = dict(os.environ)
        for name in [name for name in os.environ if name.startswith("SLM_MESH_")]:
            if name != "SLM_MESH_TEST_BIN":
                del os.environ[name]
        os.environ.update(self.mesh.settings, SLM_MESH_DATA_DIR=str(self.mesh.dir))

        def restore() -> None:
            os.environ.clear()
            os.environ.update(before)

        self.addCleanup(restore)
        if self.starts:
            self.mesh.start()

    def client(self, **arguments: Any) -> MeshClient:
        """A client, closed at the end of the test."""
        client = MeshClient(**arguments)
        self.addCleanup(client.close)
        return client

    @contextlib.contextmanager
    def refused(self, code: str) -> Iterator[Any]:
        """What is done in the block fails with this code."""
        with self.assertRaises(SLMMeshError) as caught:
            yield caught
        self.assertEqual(caught.exception.code, code, caught.exception.message)


class Background:
    """A function in a thread, whose result or error is asked for later."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._result: Any = None
        self._error: BaseException | None = None

        def run() -> None:
            try:
                self._result = work()
            except BaseException as error:
                self._error = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def result(self) -> Any:
        """Waits for it."""
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            raise AssertionError("it does not come to an end")
        if self._error is not None:
            raise self._error
        return self._result
