"""Connections to brokers for asyncio, and the locks that are held over them. No threads; what is
read from files is a few bytes of local ones."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from asyncio import sleep
from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import Any, cast

from ._call import Broken, Exchange, check_greeting, ended, greeting, timed_out, unreachable
from ._connection import IDLE_CONNECTIONS_MAX, IDLE_TIME_MAX
from ._errors import SLMMeshError
from ._locate import Broker, Place, launch_command, launch_failed, launch_result
from ._reach import no_way
from ._wire import Answer, AnswerReader
from .models import Lock


class Connection(asyncio.Protocol):
    """A connection to one broker, for one request at a time."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.idle_since = 0.0
        self._answers = AnswerReader()
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._over = False

    @classmethod
    async def open(cls, broker: Broker, deadline: float) -> Connection:
        """Connects, and makes sure that it is this broker."""
        try:
            connection = await asyncio.wait_for(
                cls._connect(broker), max(0, deadline - time.monotonic())
            )
        except asyncio.TimeoutError:
            raise timed_out(broker) from None
        try:
            check_greeting(broker, await connection.ask(greeting(broker), deadline))
        except BaseException:
            connection.close()
            raise
        return connection

    @classmethod
    async def _connect(cls, broker: Broker) -> Connection:
        """By the first way that leads there."""
        loop = asyncio.get_running_loop()
        tried: list[tuple[str, OSError]] = []
        if broker.socket is not None:
            path = os.fspath(broker.socket)
            try:
                _, connection = await loop.create_unix_connection(lambda: cls(broker), path)
                return connection
            except OSError as error:
                tried.append((path, error))
        try:
            # asyncio sets TCP_NODELAY by itself.
            _, connection = await loop.create_connection(
                lambda: cls(broker), broker.host, broker.port
            )
        except OSError as error:
            raise no_way(broker, [*tried, (broker.authority, error)]) from error
        return connection

    async def ask(self, data: bytes, deadline: float) -> Answer:
        """Sends a request and waits for its answer; ``OSError``, :class:`SLMMeshError`."""
        if self._transport is None or self._over:
            raise ended(self.broker)
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Answer] = loop.create_future()
        self._waiting = waiting
        late = loop.call_later(
            max(0.0, deadline - time.monotonic()), self._fail, timed_out(self.broker)
        )
        try:
            self._transport.write(data)
            return await waiting
        finally:
            late.cancel()
            self._waiting = None

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)

    def is_usable(self, now: float) -> bool:
        """Whether it can take another request."""
        return not self._over and now - self.idle_since <= IDLE_TIME_MAX

    def close(self) -> None:
        """Closes it."""
        self._over = True
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self._waiting is None:
            # Nobody asked for them: what follows could be taken for the next answer.
            self.close()
            return
        try:
            answer = self._answers.feed(data)
        except SLMMeshError as error:
            self._over = True
            self._fail(error)
            return
        if answer is not None:
            self._over |= answer.close or not self._answers.is_empty()
            if not self._waiting.done():
                self._waiting.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self._over = True
        self._fail(
            unreachable(self.broker, exc) if isinstance(exc, OSError) else ended(self.broker)
        )


class Pool:
    """Connections that wait for their next request."""

    def __init__(self) -> None:
        self._idle: list[Connection] = []
        self._closed = False

    async def exchange(self, step: Exchange) -> Answer | Broken:
        """Does one step."""
        broker, deadline = step.broker, step.deadline
        connection: Connection | None = None
        in_doubt = kept = False
        try:
            connection = self._take(broker) or await Connection.open(broker, deadline)
            in_doubt = True
            answer = await connection.ask(step.data, deadline)
            kept = self._give_back(connection)
            return answer
        except OSError as error:
            return Broken(unreachable(broker, error), in_doubt)
        except SLMMeshError as error:
            return Broken(error, in_doubt)
        finally:
            # A task that is cancelled half way closes it: what comes next on it would be taken for
            # another answer.
            if connection is not None and not kept:
                connection.close()

    def _take(self, broker: Broker) -> Connection | None:
        now = time.monotonic()
        while self._idle:
            connection = self._idle.pop()
            if connection.broker == broker and connection.is_usable(now):
                return connection
            connection.close()
        return None

    def _give_back(self, connection: Connection) -> bool:
        now = connection.idle_since = time.monotonic()
        if self._closed or not connection.is_usable(now) or len(self._idle) >= IDLE_CONNECTIONS_MAX:
            return False
        self._idle.append(connection)
        return True

    def close(self) -> None:
        """Closes those that are idle, and from now on each after its request."""
        idle, self._idle, self._closed = self._idle, [], True
        for connection in idle:
            connection.close()


async def launch(place: Place, deadline: float) -> None:
    """Starts a broker."""
    command, environment = launch_command(place)
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise launch_failed(f"{command[0]} cannot be run: {error.strerror}") from error
    try:
        left = max(0.1, deadline - time.monotonic())
        _, said = await asyncio.wait_for(process.communicate(), left)
    except asyncio.TimeoutError:
        raise launch_failed("it was not ready in time") from None
    finally:
        if process.returncode is None:
            # A broker that has already come from it stays.
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    failure = launch_result(process.returncode, said)
    if failure is not None:
        raise failure


class AsyncHeldLock:
    """A lock that is taken when it is awaited, or for an ``async with`` block::

    lock = await client.lock("src/main.py")
    async with client.lock("src/main.py", reason="renaming") as lock:
        ...
    """

    def __init__(
        self,
        take: Callable[[], Awaitable[Lock]],
        release: Callable[[Lock], Awaitable[None]],
        enter: Callable[[Lock], None] | None = None,
    ) -> None:
        self._take = take
        self._release = release
        self._enter = enter
        self._lock: Lock | None = None

    def __await__(self) -> Generator[Any, None, Lock]:
        return self._take().__await__()

    async def __aenter__(self) -> Lock:
        taking = asyncio.ensure_future(self._take())
        try:
            self._lock = await asyncio.shield(taking)
        except asyncio.CancelledError:
            # It may be taken all the same, and nobody else would release it.
            with contextlib.suppress(SLMMeshError):
                await self._release(await taking)
            raise
        if self._enter is not None:
            self._enter(self._lock)
        return self._lock

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._lock is None:
            return
        releasing = asyncio.ensure_future(self._release(self._lock))
        try:
            await asyncio.shield(releasing)
        except asyncio.CancelledError:
            with contextlib.suppress(SLMMeshError):
                await releasing
            raise
        except SLMMeshError:
            # What went wrong inside comes first.
            if kind is None:
                raise


held = AsyncHeldLock

__all__ = ["AsyncHeldLock", "Pool", "held", "launch", "sleep"]
