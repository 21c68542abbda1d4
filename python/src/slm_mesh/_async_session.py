"""A session in the mesh, for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

from . import _api as api
from ._async_client import AsyncMeshClient
from ._async_connection import AsyncHeldLock
from ._call import NOT_OURS_ANY_MORE
from ._core import Ask, Core, Work, log
from ._errors import SLMMeshError, local
from ._locate import NO_BINARY, look_at_project
from ._session import FAREWELL_TIME_MAX, is_own_user, make_listener, started_by_default
from ._wire import LineReader, ack_line
from .models import Lock, MeshEvent, Message, Registration

T = TypeVar("T")


class _Push(asyncio.Protocol):
    """A connection of the broker to the push socket."""

    def __init__(self, owner: AsyncSession) -> None:
        self._owner = owner
        self._lines = LineReader()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The broker has connected, or so it says."""
        stream = cast(asyncio.Transport, transport)
        connection = stream.get_extra_info("socket")
        if connection is not None and not is_own_user(connection):
            log.warning("another user has connected to the push socket, and was refused")
            stream.abort()
            return
        self._transport = stream
        self._owner._linked(self)

    def data_received(self, data: bytes) -> None:
        """Frames have come."""
        if self._transport is None:
            return
        try:
            lines = self._lines.feed(data)
        except ValueError as error:
            log.warning("the push connection is ended: %s", error)
            self.close()
            return
        self.write(b"".join([self._owner._core.handle_line(line) for line in lines]))
        self._owner._tell()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        if self._transport is not None:
            self._transport = None
            self._owner._lost(self)

    def write(self, data: bytes) -> None:
        """Sends acknowledgements: at most those of the broker's window wait here."""
        if data and self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        """Ends it."""
        if self._transport is not None:
            self._transport.abort()


class AsyncSession(AsyncMeshClient):
    """:class:`Session` for asyncio: the same arguments and methods, to be awaited::

    async with AsyncSession(name="watcher") as session:
        async for message in session.listen():
            await session.send(message.from_peer, "seen", reply_to=message.id)
    """

    def __init__(
        self,
        name: str | None = None,
        project_path: str | os.PathLike[str] | None = None,
        agent_type: str = "python",
        summary: str | None = None,
        *,
        private: bool = True,
        reach: str | None = None,
        resume: Registration | None = None,
        start: bool | None = None,
        host: str | None = None,
        port: int | None = None,
        timeout: float = 10.0,
        token_path: str | os.PathLike[str] | None = None,
        data_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(
            host,
            port,
            timeout,
            token_path,
            data_dir=data_dir,
            start=started_by_default(start, port),
        )
        if start is None and port is None and not self._start:
            self._place.not_started = NO_BINARY
        directory = self._directory = look_at_project(project_path).path
        self._core = Core(
            self._place,
            lambda: look_at_project(directory),
            name=name,
            agent_type=agent_type,
            summary=summary,
            private=private,
            reach=reach,
            resume=resume,
            start=self._start,
        )
        self._open = False
        self._task: asyncio.Task[None] | None = None
        self._server: asyncio.AbstractServer | None = None
        self._path: Path | None = None
        self._connection: _Push | None = None

    # Its life.

    async def __aenter__(self) -> AsyncSession:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Registers; what ``async with`` does at its beginning."""
        if self._open:
            raise local("invalid_request", "this session is open already")
        #: One registers at a time.
        self._arriving = asyncio.Lock()
        #: The task of the session has something to do.
        self._due = asyncio.Event()
        #: Those who wait for a message or an event.
        self._waiting: set[asyncio.Future[None]] = set()
        try:
            await self._do(self._core.arrive(time.monotonic))
            if self._core.trouble is not None:
                raise self._core.trouble
        except BaseException:
            self._stop_listening()
            await super().close()
            raise
        self._open = True
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Unregisters; what ``async with`` does at its end. Whoever listens comes to an end."""
        if not self._open:
            await super().close()
            return
        self._open = False
        self._tell()
        task, self._task = self._task, None
        if task is not None:
            # Before Python 3.12 `wait_for` loses a cancellation that comes as its awaitable ends
            # (https://github.com/python/cpython/issues/86296): then it is cancelled again.
            while not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=1)
        # A task that is cancelled while it says goodbye still does so.
        farewell = asyncio.ensure_future(self._farewell())
        try:
            await asyncio.shield(farewell)
        except asyncio.CancelledError:
            await farewell
            raise

    async def _farewell(self) -> None:
        try:
            self._core.mailbox.all_done()
            # At most the marks of one request: more can only wait when marking has failed.
            marks = self._core.mailbox.marks()
            if marks:
                await self._last(api.mark_read(marks, None))
            await self._last(api.unregister(None))
        finally:
            self._stop_listening()
            self._core.identity = self._identity = None
            await super().close()

    async def _last(self, request: api.Request[Any]) -> None:
        for _ in range(2):
            try:
                await self._ask_as(request, False, min(self.timeout, FAREWELL_TIME_MAX))
            except SLMMeshError as error:
                # Both may be done twice.
                if error.code == "outcome_unknown":
                    continue
                if error.code not in ("no_broker", "unauthorized"):
                    log.warning("%s at the end of a session: %s", request.path, error.message)
            return

    # The push socket.

    async def _listen_on(self) -> str:
        if not self._exists():
            self._stop_listening()
            listener, path = make_listener(self._place.peers_dir)
            self._path = path
            self._server = await asyncio.get_running_loop().create_unix_server(
                lambda: _Push(self), sock=listener
            )
        return str(self._path)

    def _exists(self) -> bool:
        return self._path is not None and self._path.exists()

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            self._path = None

    def _linked(self, connection: _Push) -> None:
        # Of several the newest stands.
        former, self._connection = self._connection, connection
        if former is not None:
            former.close()
        self._core.handle_linked()

    def _lost(self, connection: _Push) -> None:
        if self._connection is connection:
            self._connection = None
            self._core.handle_lost(time.monotonic())
            self._due.set()

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    # What its task does.

    async def _run(self) -> None:
        while True:
            deadline = self._core.deadline()
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._due.wait(), left)
            self._due.clear()
            try:
                async with self._arriving:
                    await self._do(self._core.work(time.monotonic, self._exists))
            except Exception:
                # A fault of this package must not end the session in silence.
                log.exception("the session's task goes on after a fault")
                await asyncio.sleep(0.5)

    async def _do(self, work: Work) -> None:
        """Does the work of the core."""
        result: Any = None
        while True:
            try:
                step = work.send(result)
            except StopIteration:
                self._identity = self._core.identity
                self._tell()
                return
            # Requests are made as who it is by now.
            self._identity = self._core.identity
            try:
                if isinstance(step, Ask):
                    result = await self._ask_as(step.request, step.start, self.timeout)
                else:
                    result = await self._listen_on()
            except SLMMeshError as error:
                result = error

    # Calls.

    async def _ask(self, request: api.Request[T]) -> T:
        if not self._open:
            raise local("closed", "the session is not open: use it in an `async with` block")
        arrivals = self._core.arrivals
        try:
            result = await super()._ask(request)
        except SLMMeshError as error:
            if error.code != "unauthorized" or request.peer is not None:
                raise
            # The broker does not know this session: nothing was done, so it may be asked again.
            async with self._arriving:
                if self._core.arrivals == arrivals:
                    self._core.handle_unknown(time.monotonic())
                    await self._do(self._core.arrive(time.monotonic))
                    if self._core.trouble is not None:
                        raise self._core.trouble from error
            self._due.set()
            return await super()._ask(request)
        before = self._core.deadline()
        self._core.need(time.monotonic())
        if self._core.deadline() != before:
            self._due.set()
        return result

    async def register(self, *_: Any, **__: Any) -> Registration:
        """A session registers by itself: refused."""
        raise local("invalid_request", "a session registers by itself: use it in `async with`")

    async def unregister(self, peer: str | None = None) -> None:
        """Ends the session, or has another peer leave."""
        if peer is None:
            await self.close()
        else:
            await super().unregister(peer)

    async def set_summary(self, summary: str, peer: str | None = None) -> None:
        """As :meth:`MeshClient.set_summary`."""
        await super().set_summary(summary, peer)
        if peer is None:
            self._core.summarised(summary)

    async def subscribe(self, types: str | Iterable[str], peer: str | None = None) -> list[str]:
        """As :meth:`Session.subscribe`."""
        subscribed = await super().subscribe(types, peer)
        if peer is None:
            self._core.subscribed(subscribed)
        return subscribed

    async def unsubscribe(self, peer: str | None = None) -> None:
        """As :meth:`MeshClient.unsubscribe`."""
        await super().unsubscribe(peer)
        if peer is None:
            self._core.subscribed([])

    def lock(
        self,
        path: str | os.PathLike[str],
        reason: str | None = None,
        *,
        ttl_minutes: int | None = None,
        resolve: bool = True,
        peer: str | None = None,
    ) -> AsyncHeldLock:
        """As :meth:`Session.lock`: to be awaited, or for an ``async with`` block."""
        request = api.lock(api.lock_path(path, resolve), reason, ttl_minutes, peer)
        take: Callable[[], Awaitable[Lock]] = lambda: self._ask(request)  # noqa: E731
        if peer is not None:
            return AsyncHeldLock(take, lambda lock: self._release(lock, peer))

        def enter(lock: Lock) -> None:
            self._core.hold(lock, reason, ttl_minutes, time.monotonic())
            self._due.set()

        async def release(lock: Lock) -> None:
            lost, last = self._core.let_go(lock)
            try:
                if last:
                    await self._release(lock, None)
            except SLMMeshError as error:
                if lost is None or error.code not in NOT_OURS_ANY_MORE:
                    raise
            if lost is not None:
                raise lost

        return AsyncHeldLock(take, release, enter)

    # What is pushed.

    async def receive(self, timeout: float | None = None) -> Message | None:
        """As :meth:`Session.receive`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._open:
            message, acks = self._core.mailbox.take()
            if message is not None:
                if self._connection is not None:
                    self._connection.write(b"".join(ack_line(ack) for ack in acks))
                if self._core.mailbox.wants_page() is not None:
                    self._due.set()
                return message
            if not await self._wait(deadline):
                return None
        return None

    async def _wait(self, deadline: float | None) -> bool:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return False
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.add(future)
        late = None if left is None else loop.call_later(left, self._wake_one, future)
        try:
            await future
        finally:
            self._waiting.discard(future)
            if late is not None:
                late.cancel()
        return True

    @staticmethod
    def _wake_one(future: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_result(None)

    async def listen(
        self, timeout: float | None = None, *, mark_read: bool = True
    ) -> AsyncIterator[Message]:
        """As :meth:`Session.listen`."""
        while (message := await self.receive(timeout)) is not None:
            if mark_read:
                self._core.mailbox.handed(message.id)
            try:
                yield message
            finally:
                if mark_read and self._core.mailbox.done(message.id):
                    self._due.set()

    async def listen_events(self, timeout: float | None = None) -> AsyncIterator[MeshEvent]:
        """As :meth:`Session.listen_events`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._open:
            if self._core.events:
                yield self._core.events.popleft()
                deadline = None if timeout is None else time.monotonic() + timeout
            elif not await self._wait(deadline):
                return
