"""The client for asyncio: calls, and the connections they are made on. No threads; what is read
from files is a few bytes of local ones."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable
from datetime import datetime
from types import TracebackType
from typing import Any, TypeVar, cast

from . import _api as api
from ._call import (
    Actor,
    Broken,
    Exchange,
    Known,
    Launch,
    Step,
    attempt,
    check_greeting,
    ended,
    greeting,
    timed_out,
    unreachable,
)
from ._client import IDLE_CONNECTIONS_MAX, IDLE_TIME_MAX, NOT_OURS_ANY_MORE
from ._errors import OutcomeUnknownError, SLMMeshError, local
from ._locate import (
    Broker,
    Place,
    launch_command,
    launch_failed,
    launch_result,
    look_at_project,
    namespace_on_the_wire,
)
from ._reach import no_way
from ._wire import Answer, AnswerReader
from .models import (
    BrokerHealth,
    BrokerStatus,
    Lock,
    MeshEvent,
    MeshEvents,
    Messages,
    Peer,
    Registration,
    Sent,
    StateEntry,
)

T = TypeVar("T")


class _Connection(asyncio.Protocol):
    """A connection to one broker, for one request at a time."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.idle_since = 0.0
        self._answers = AnswerReader()
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._over = False

    @classmethod
    async def open(cls, broker: Broker, deadline: float) -> _Connection:
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
    async def _connect(cls, broker: Broker) -> _Connection:
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


class _Pool:
    """Connections that wait for their next request."""

    def __init__(self) -> None:
        self._idle: list[_Connection] = []
        self._closed = False

    async def exchange(self, step: Exchange) -> Answer | Broken:
        """Does one step."""
        broker, deadline = step.broker, step.deadline
        connection: _Connection | None = None
        in_doubt = kept = False
        try:
            connection = self._take(broker) or await _Connection.open(broker, deadline)
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

    def _take(self, broker: Broker) -> _Connection | None:
        now = time.monotonic()
        while self._idle:
            connection = self._idle.pop()
            if connection.broker == broker and connection.is_usable(now):
                return connection
            connection.close()
        return None

    def _give_back(self, connection: _Connection) -> bool:
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


async def _launch(place: Place, deadline: float) -> None:
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


class AsyncMeshClient:
    """:class:`MeshClient` for asyncio: the same arguments and methods, to be awaited.

    It belongs to one event loop. Calls may be made side by side by several tasks.
    """

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        timeout: float = 10.0,
        token_path: str | os.PathLike[str] | None = None,
        *,
        data_dir: str | os.PathLike[str] | None = None,
        peer: str = "cli",
        start: bool = False,
    ) -> None:
        if not timeout > 0:
            raise local("invalid_request", f"timeout is {timeout}: it must be greater than 0")
        self.timeout = timeout
        self._place = Place(data_dir, host, port, token_path)
        self._start = start
        self._default_peer = peer
        #: Where the project is, if not around the working directory.
        self._directory: str | None = None
        self._identity: Registration | None = None
        self._known = Known()
        self._pool = _Pool()

    # Who it is.

    @property
    def data_dir(self) -> str:
        """The data directory."""
        return str(self._place.data_dir)

    @property
    def peer_id(self) -> str | None:
        """The id it is registered under."""
        return self._identity.peer_id if self._identity else None

    @property
    def name(self) -> str:
        """The name it acts under."""
        return self._identity.name if self._identity else self._default_peer

    @property
    def registration(self) -> Registration | None:
        """What it needs to come back, if it is registered. The token in it is a secret."""
        return self._identity

    async def close(self) -> None:
        """Closes the connections. The client may be used again; a peer stays registered."""
        self._pool.close()
        self._pool = _Pool()

    async def __aenter__(self) -> AsyncMeshClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # How calls are made.

    def _actor(self) -> Actor:
        if self._identity is None:
            return Actor(None, self._default_peer)
        return Actor(self._identity.peer_token, self._identity.peer_id)

    def _namespace(self, named: str | None) -> str:
        return namespace_on_the_wire(named, self._directory)

    async def _ask(self, request: api.Request[T]) -> T:
        return await self._ask_as(request, self._start, self.timeout)

    async def _ask_as(self, request: api.Request[T], start: bool, timeout: float) -> T:
        place, known = self._place, self._known
        steps = attempt(request, self._actor(), place, known, timeout, start)
        return request.read(await self._drive(steps))

    async def _drive(self, steps: Generator[Step, Any, dict[str, Any]]) -> dict[str, Any]:
        result: Answer | Broken | None = None
        try:
            while True:
                step = steps.send(result)
                result = None
                if isinstance(step, Exchange):
                    result = await self._pool.exchange(step)
                elif isinstance(step, Launch):
                    await _launch(self._place, step.deadline)
                else:
                    await asyncio.sleep(step.seconds)
        except StopIteration as stop:
            answer: dict[str, Any] = stop.value
            return answer

    # The broker.

    async def health(self) -> BrokerHealth:
        """As :meth:`MeshClient.health`."""
        return await self._ask(api.health())

    async def status(self) -> BrokerStatus:
        """As :meth:`MeshClient.status`."""
        return await self._ask(api.status())

    # Peers.

    async def register(
        self,
        project_path: str | os.PathLike[str] | None = None,
        name: str | None = None,
        agent_type: str = "python",
        summary: str | None = None,
        *,
        private: bool = False,
        resume: Registration | None = None,
    ) -> Registration:
        """As :meth:`MeshClient.register`."""
        project = look_at_project(project_path)
        identity = await self._ask(
            api.register(
                project_path=project.path,
                name=name,
                agent_type=agent_type,
                summary=summary,
                git_root=project.git_root,
                git_branch=project.git_branch,
                repo_id=project.repo_id,
                repo_hash=project.repo_hash,
                private=private,
                resume=resume,
            )
        )
        self._identity = identity
        return identity

    async def unregister(self, peer: str | None = None) -> None:
        """As :meth:`MeshClient.unregister`."""
        await self._ask(api.unregister(peer))
        if peer is None:
            self._identity = None

    async def heartbeat(self, git_branch: str | None = None, peer: str | None = None) -> int:
        """As :meth:`MeshClient.heartbeat`."""
        return await self._ask(api.heartbeat(git_branch, peer))

    async def set_summary(self, summary: str, peer: str | None = None) -> None:
        """As :meth:`MeshClient.set_summary`."""
        await self._ask(api.set_summary(summary, peer))

    async def peers(
        self,
        scope: str = "machine",
        *,
        project_path: str | None = None,
        git_root: str | None = None,
        repo_id: str | None = None,
        exclude_id: str | None = None,
        include_stale: bool = False,
    ) -> list[Peer]:
        """As :meth:`MeshClient.peers`."""
        return await self._ask(
            api.peers(scope, project_path, git_root, repo_id, exclude_id, include_stale)
        )

    # Messages.

    async def send(
        self,
        to: str,
        payload: Any,
        type: str | None = None,
        *,
        reply_to: str | None = None,
        id: str | None = None,
        peer: str | None = None,
    ) -> Sent:
        """As :meth:`MeshClient.send`."""
        return await self._ask(api.send(to, payload, type, reply_to, id, peer))

    async def broadcast(
        self,
        payload: Any,
        type: str | None = None,
        *,
        reply_to: str | None = None,
        id: str | None = None,
        peer: str | None = None,
    ) -> Sent:
        """As :meth:`MeshClient.broadcast`."""
        return await self.send("all", payload, type, reply_to=reply_to, id=id, peer=peer)

    async def inbox(
        self,
        filter: str = "unread",
        *,
        sender: str | None = None,
        limit: int = 20,
        peek: bool = False,
        before: int | None = None,
        after: int | None = None,
        wait: float = 0,
        peer: str | None = None,
    ) -> Messages:
        """As :meth:`MeshClient.inbox`."""
        messages = await self._ask(api.fetch(filter, sender, limit, before, after, wait, peer))
        unread = [message.id for message in messages if message.read_at is None]
        if unread and not peek and filter != "sent":
            with contextlib.suppress(SLMMeshError):
                await self._ask(api.mark_read(unread, peer))
        return messages

    async def mark_read(self, ids: str | Iterable[str], peer: str | None = None) -> int:
        """As :meth:`MeshClient.mark_read`."""
        marked = 0
        every = [ids] if isinstance(ids, str) else list(ids)
        for at in range(0, len(every), api.MARK_READ_IDS_MAX):
            marked += await self._ask(api.mark_read(every[at : at + api.MARK_READ_IDS_MAX], peer))
        return marked

    # Shared state.

    async def state_get(self, key: str, namespace: str | None = None) -> StateEntry | None:
        """As :meth:`MeshClient.state_get`."""
        return await self._ask(api.state_get(key, self._namespace(namespace)))

    async def state_set(
        self,
        key: str,
        value: str,
        namespace: str | None = None,
        *,
        if_version: int | None = None,
        ttl_seconds: int | None = None,
        peer: str | None = None,
    ) -> StateEntry:
        """As :meth:`MeshClient.state_set`."""
        return await self._ask(
            api.state_set(key, value, self._namespace(namespace), if_version, ttl_seconds, peer)
        )

    async def state_list(
        self, namespace: str | None = None, *, prefix: str | None = None, limit: int = 1000
    ) -> list[StateEntry]:
        """As :meth:`MeshClient.state_list`."""
        return await self._ask(api.state_list(self._namespace(namespace), prefix, limit))

    async def state_delete(
        self,
        key: str,
        namespace: str | None = None,
        *,
        if_version: int | None = None,
        peer: str | None = None,
    ) -> bool:
        """As :meth:`MeshClient.state_delete`."""
        return await self._ask(api.state_delete(key, self._namespace(namespace), if_version, peer))

    # Locks.

    def lock(
        self,
        path: str | os.PathLike[str],
        reason: str | None = None,
        *,
        ttl_minutes: int | None = None,
        resolve: bool = True,
        peer: str | None = None,
    ) -> AsyncHeldLock:
        """As :meth:`MeshClient.lock`: to be awaited, or for an ``async with`` block, at whose
        end it is released."""
        request = api.lock(api.lock_path(path, resolve), reason, ttl_minutes, peer)
        return AsyncHeldLock(lambda: self._ask(request), lambda lock: self._release(lock, peer))

    async def _release(self, lock: Lock, peer: str | None) -> None:
        request = api.unlock(lock.spelling, False, peer)
        try:
            await self._ask(request)
        except OutcomeUnknownError:
            # Only its holder releases it, so that may be tried again here.
            try:
                await self._ask(request)
            except SLMMeshError as error:
                if error.code not in NOT_OURS_ANY_MORE:
                    raise

    async def unlock(
        self,
        path: str | os.PathLike[str],
        *,
        force: bool = False,
        resolve: bool = True,
        peer: str | None = None,
    ) -> None:
        """As :meth:`MeshClient.unlock`."""
        await self._ask(api.unlock(api.locked_path(path, resolve), force, peer))

    async def locks(
        self, path: str | os.PathLike[str] | None = None, *, resolve: bool = True
    ) -> list[Lock]:
        """As :meth:`MeshClient.locks`."""
        return await self._ask(api.locks(None if path is None else api.locked_path(path, resolve)))

    # Events.

    async def events(
        self,
        types: str | Iterable[str] | None = None,
        *,
        since: datetime | str | None = None,
        after: int | None = None,
        limit: int = 50,
        wait: float = 0,
    ) -> MeshEvents:
        """As :meth:`MeshClient.events`."""
        return await self._ask(api.events(types, since, after, limit, wait))

    async def follow(
        self, types: str | Iterable[str] | None = None, *, after: int | None = None
    ) -> AsyncIterator[MeshEvent]:
        """As :meth:`MeshClient.follow`."""
        kinds = types if types is None or isinstance(types, str) else list(types)
        if after is None:
            after = (await self.events(kinds, limit=1)).last_seq
        while True:
            found = await self.events(kinds, after=after, limit=1000, wait=50)
            for event in found:
                yield event
            after = found.last_seq

    async def subscribe(self, types: str | Iterable[str], peer: str | None = None) -> list[str]:
        """As :meth:`MeshClient.subscribe`."""
        return await self._ask(api.subscribe(types, peer))

    async def unsubscribe(self, peer: str | None = None) -> None:
        """As :meth:`MeshClient.unsubscribe`."""
        await self._ask(api.unsubscribe(peer))

    async def emit(
        self, type: str, payload: Any = None, *, id: str | None = None, peer: str | None = None
    ) -> int:
        """As :meth:`MeshClient.emit`."""
        return await self._ask(api.emit(type, payload, id, peer))
