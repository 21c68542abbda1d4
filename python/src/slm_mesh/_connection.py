"""Connections to brokers for threads, and the locks that are held over them."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from time import sleep
from types import TracebackType
from typing import Any

from ._call import Broken, Exchange, check_greeting, ended, greeting, timed_out, unreachable
from ._errors import SLMMeshError
from ._locate import Broker, Place, launch_command, launch_failed, launch_result
from ._reach import no_way
from ._wire import READ_BYTES, Answer, AnswerReader
from .models import Lock

#: Most connections that are kept for later.
IDLE_CONNECTIONS_MAX = 4
#: After this a connection is not used again, seconds: the broker closes it after 5 minutes.
IDLE_TIME_MAX = 240.0


class Connection:
    """A connection to one broker, for one request at a time."""

    def __init__(self, broker: Broker, deadline: float) -> None:
        self.broker = broker
        self.idle_since = 0.0
        self._answers = AnswerReader()
        self._socket = _connect(broker, deadline)
        try:
            check_greeting(broker, self.ask(greeting(broker), deadline))
        except BaseException:
            self._socket.close()
            raise

    def ask(self, data: bytes, deadline: float) -> Answer:
        """Sends a request and waits for its answer; ``OSError``, :class:`SLMMeshError`."""
        self._send(data, deadline)
        while True:
            self._socket.settimeout(_left(deadline))
            chunk = self._socket.recv(READ_BYTES)
            if not chunk:
                raise ended(self.broker)
            answer = self._answers.feed(chunk)
            if answer is not None:
                return answer

    def _send(self, data: bytes, deadline: float) -> None:
        self._socket.settimeout(_left(deadline))
        self._socket.sendall(data)

    def is_usable(self, now: float) -> bool:
        """Whether it can take another request: nothing has come that nobody asked for, which may
        be its end."""
        if not self._answers.is_empty() or now - self.idle_since > IDLE_TIME_MAX:
            return False
        try:
            self._socket.setblocking(False)
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        self._socket.close()


def _connect(broker: Broker, deadline: float) -> socket.socket:
    """By the first way that leads there."""
    tried: list[tuple[str, OSError]] = []
    if broker.socket is not None:
        try:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.settimeout(_left(deadline))
                connection.connect(os.fspath(broker.socket))
            except BaseException:
                connection.close()
                raise
            return connection
        except OSError as error:
            tried.append((str(broker.socket), error))
    try:
        connection = socket.create_connection((broker.host, broker.port), timeout=_left(deadline))
    except TimeoutError:
        raise
    except OSError as error:
        raise no_way(broker, [*tried, (broker.authority, error)]) from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class Pool:
    """Connections that wait for their next request. Used by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._closed = False

    def exchange(self, step: Exchange) -> Answer | Broken:
        """Does one step."""
        broker, deadline = step.broker, step.deadline
        connection: Connection | None = None
        in_doubt = False
        try:
            connection = self._take(broker) or Connection(broker, deadline)
            in_doubt = True
            answer = connection.ask(step.data, deadline)
        except TimeoutError:
            return self._broken(connection, timed_out(broker), in_doubt)
        except OSError as error:
            return self._broken(connection, unreachable(broker, error), in_doubt)
        except SLMMeshError as error:
            return self._broken(connection, error, in_doubt)
        except BaseException:
            # Broken off half way: what comes next on it would be taken for another answer.
            if connection is not None:
                connection.close()
            raise
        if answer.close:
            connection.close()
        else:
            self._give_back(connection)
        return answer

    def _broken(self, connection: Connection | None, error: SLMMeshError, in_doubt: bool) -> Broken:
        if connection is not None:
            connection.close()
        return Broken(error, in_doubt)

    def _take(self, broker: Broker) -> Connection | None:
        now = time.monotonic()
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.broker == broker and connection.is_usable(now):
                return connection
            connection.close()

    def _give_back(self, connection: Connection) -> None:
        connection.idle_since = time.monotonic()
        with self._lock:
            if not self._closed and len(self._idle) < IDLE_CONNECTIONS_MAX:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Closes those that are idle, and from now on each after its request."""
        with self._lock:
            idle, self._idle, self._closed = self._idle, [], True
        for connection in idle:
            connection.close()


def launch(place: Place, deadline: float) -> None:
    """Starts a broker."""
    command, environment = launch_command(place)
    try:
        process = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=max(0.1, deadline - time.monotonic()),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise launch_failed("it was not ready in time") from None
    except OSError as error:
        raise launch_failed(f"{command[0]} cannot be run: {error.strerror}") from error
    failure = launch_result(process.returncode, process.stderr)
    if failure is not None:
        raise failure


@dataclass(frozen=True)
class HeldLock(Lock):
    """A lock of one's own. As a context manager it is released at the end::

    with client.lock("src/main.py", reason="renaming"):
        ...
    """

    _release: Any = field(default=None, repr=False, compare=False)
    _enter: Any = field(default=None, repr=False, compare=False)

    def __enter__(self) -> HeldLock:
        if self._enter is not None:
            self._enter(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._release(self)
        except SLMMeshError:
            # What went wrong inside comes first.
            if kind is None:
                raise


def held(take: Callable[[], Lock], release: Callable[[Lock], None]) -> HeldLock:
    """Takes a lock."""
    return HeldLock(**vars(take()), _release=release)


__all__ = ["Connection", "HeldLock", "Pool", "held", "launch", "sleep"]
