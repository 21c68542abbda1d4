"""The client for threads. Made from ``_async_client.py``, which is the one to change, by
``python/generate.py``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Generator, Iterable
from datetime import datetime
from types import TracebackType
from typing import Any, TypeVar

from . import _api as api
from ._connection import HeldLock, Pool, held, launch, sleep
from ._call import NOT_OURS_ANY_MORE, Actor, Broken, Exchange, Known, Launch, Step, attempt
from ._errors import OutcomeUnknownError, SLMMeshError, local
from ._locate import Place, look_at_project, namespace_on_the_wire
from ._wire import Answer
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


class MeshClient:
    """A client of the broker.

    Port and token are found in the data directory (``data_dir``, else ``SLM_MESH_DATA_DIR``, else
    ``~/.slm-mesh``), and found again when the broker has been restarted.
    ``host``, ``port`` and ``token_path`` are for where they are elsewhere.
    ``timeout`` is how long a call may take, in seconds; a ``wait`` comes on top.
    With ``start`` a broker is started if none is running, by ``slm-mesh`` on the PATH or
    ``SLM_MESH_BIN``.

    Without :meth:`register` it acts with the broker's token in the name of ``peer``: ``cli``, who
    is the person at the command line, or any label for a script. Each method that acts takes
    ``peer`` to act for someone else once.

    Every method raises :class:`SLMMeshError`. A :class:`MeshClient` may be used by several threads.
    An :class:`AsyncMeshClient` has the same methods, to be awaited; it belongs to one event loop,
    in which several tasks may make calls side by side.
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
        self._pool = Pool()

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

    def close(self) -> None:
        """Closes the connections. The client may be used again; a peer stays registered."""
        self._pool.close()
        self._pool = Pool()

    def __enter__(self) -> MeshClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # How calls are made.

    def _actor(self) -> Actor:
        if self._identity is None:
            return Actor(None, self._default_peer)
        return Actor(self._identity.peer_token, self._identity.peer_id)

    def _namespace(self, named: str | None) -> str:
        return namespace_on_the_wire(named, self._directory)

    def _ask(self, request: api.Request[T]) -> T:
        return self._ask_as(request, self._start, self.timeout)

    def _ask_as(self, request: api.Request[T], start: bool, timeout: float) -> T:
        place, known = self._place, self._known
        steps = attempt(request, self._actor(), place, known, timeout, start)
        return request.read(self._drive(steps))

    def _drive(self, steps: Generator[Step, Any, dict[str, Any]]) -> dict[str, Any]:
        result: Answer | Broken | None = None
        try:
            while True:
                step = steps.send(result)
                result = None
                if isinstance(step, Exchange):
                    result = self._pool.exchange(step)
                elif isinstance(step, Launch):
                    launch(self._place, step.deadline)
                else:
                    sleep(step.seconds)
        except StopIteration as stop:
            answer: dict[str, Any] = stop.value
            return answer

    # The broker.

    def health(self) -> BrokerHealth:
        """That a broker is there, and which. Needs no token."""
        return self._ask(api.health())

    def status(self) -> BrokerStatus:
        """How the broker is."""
        return self._ask(api.status())

    # Peers.

    def register(
        self,
        project_path: str | os.PathLike[str] | None = None,
        name: str | None = None,
        agent_type: str = "python",
        summary: str | None = None,
        *,
        private: bool = False,
        resume: Registration | None = None,
    ) -> Registration:
        """Becomes a peer, and acts as that one from then on.

        ``project_path`` is the working directory unless given; its git repository is told too.
        Without ``name`` the broker makes one. ``private``: only its own token speaks for it.
        ``resume`` comes back as an earlier peer, under its old id.

        A peer without heartbeats is stale after 30 s and gone after 60 s: see :meth:`heartbeat`,
        and :class:`Session`, which does all of this and gets its messages pushed.
        """
        project = look_at_project(project_path)
        identity = self._ask(
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

    def unregister(self, peer: str | None = None) -> None:
        """Leaves for good: locks are released, subscriptions dropped."""
        self._ask(api.unregister(peer))
        if peer is None:
            self._identity = None

    def heartbeat(self, git_branch: str | None = None, peer: str | None = None) -> int:
        """Says that the peer is still there; gives how many messages are unread."""
        return self._ask(api.heartbeat(git_branch, peer))

    def set_summary(self, summary: str, peer: str | None = None) -> None:
        """Says what the peer works on, in at most 500 characters."""
        self._ask(api.set_summary(summary, peer))

    def peers(
        self,
        scope: str = "machine",
        *,
        project_path: str | None = None,
        git_root: str | None = None,
        repo_id: str | None = None,
        exclude_id: str | None = None,
        include_stale: bool = False,
    ) -> list[Peer]:
        """Who is here. ``scope`` is ``machine``, ``directory`` (needs ``project_path``), or
        ``repo`` (needs ``git_root`` or ``repo_id``)."""
        return self._ask(
            api.peers(scope, project_path, git_root, repo_id, exclude_id, include_stale)
        )

    # Messages.

    def send(
        self,
        to: str,
        payload: Any,
        type: str | None = None,
        *,
        reply_to: str | None = None,
        id: str | None = None,
        peer: str | None = None,
    ) -> Sent:
        """Writes to a peer (its id, name, or a prefix of its id), to ``cli``, or to ``all``.

        ``payload`` is a ``str`` of at most 64 KiB, or anything that JSON has a form for, which is
        then sent with ``type`` ``json``. ``type``: ``text``, ``json``, ``command``, ``alert``.
        ``reply_to`` is the handle or the id of the message that it answers.
        ``id``, a UUID, makes the request one that can be repeated by a later run of the program;
        one is made for each call, so that a lost answer never makes two messages.
        """
        return self._ask(api.send(to, payload, type, reply_to, id, peer))

    def broadcast(
        self,
        payload: Any,
        type: str | None = None,
        *,
        reply_to: str | None = None,
        id: str | None = None,
        peer: str | None = None,
    ) -> Sent:
        """Writes to every present peer but itself."""
        return self.send("all", payload, type, reply_to=reply_to, id=id, peer=peer)

    def inbox(
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
        """Messages, oldest first; ``remaining`` of the result says how many more there are.

        ``filter``: ``unread`` takes the oldest, ``all`` the newest; ``sent`` are one's own, with
        what became of them. ``sender`` keeps those from one sender (with ``sent``: to one
        recipient). ``before`` and ``after`` are numbers (``seq``), for paging. ``wait`` holds the
        answer for up to 55 seconds until there is something.

        Unless ``peek``, what is returned is marked read, by a second request: an answer that is
        lost on its way loses nothing. If the marking fails the messages are returned all the same,
        and are unread still.
        """
        messages = self._ask(api.fetch(filter, sender, limit, before, after, wait, peer))
        unread = [message.id for message in messages if message.read_at is None]
        if unread and not peek and filter != "sent":
            with contextlib.suppress(SLMMeshError):
                self._ask(api.mark_read(unread, peer))
        return messages

    def mark_read(self, ids: str | Iterable[str], peer: str | None = None) -> int:
        """Marks messages read; gives how many were unread. Others' messages are ignored."""
        marked = 0
        every = [ids] if isinstance(ids, str) else list(ids)
        for at in range(0, len(every), api.MARK_READ_IDS_MAX):
            marked += self._ask(api.mark_read(every[at : at + api.MARK_READ_IDS_MAX], peer))
        return marked

    # Shared state.

    def state_get(self, key: str, namespace: str | None = None) -> StateEntry | None:
        """The entry, if there is one. Without ``namespace`` it is in that of the project around the
        working directory (of a session: around its project); ``shared`` is the whole mesh's."""
        return self._ask(api.state_get(key, self._namespace(namespace)))

    def state_set(
        self,
        key: str,
        value: str,
        namespace: str | None = None,
        *,
        if_version: int | None = None,
        ttl_seconds: int | None = None,
        peer: str | None = None,
    ) -> StateEntry:
        """Sets a value of at most 64 KiB. With ``if_version`` only if the entry has that version
        (0: only if there is none); otherwise :class:`VersionConflictError`."""
        return self._ask(
            api.state_set(key, value, self._namespace(namespace), if_version, ttl_seconds, peer)
        )

    def state_list(
        self, namespace: str | None = None, *, prefix: str | None = None, limit: int = 1000
    ) -> list[StateEntry]:
        """The entries, by key."""
        return self._ask(api.state_list(self._namespace(namespace), prefix, limit))

    def state_delete(
        self,
        key: str,
        namespace: str | None = None,
        *,
        if_version: int | None = None,
        peer: str | None = None,
    ) -> bool:
        """Deletes an entry; gives whether there was one."""
        return self._ask(api.state_delete(key, self._namespace(namespace), if_version, peer))

    # Locks.

    def lock(
        self,
        path: str | os.PathLike[str],
        reason: str | None = None,
        *,
        ttl_minutes: int | None = None,
        resolve: bool = True,
        peer: str | None = None,
    ) -> HeldLock:
        """Locks a file, or renews one's own lock; :class:`LockedError` if someone else has it.

        The result is a context manager that releases it; with asyncio it is taken when it is
        awaited, or by the ``async with``. The path is sent in its one spelling,
        with links followed; ``resolve=False`` sends it as it is, for what is no file. A text may
        be a pattern or ``repo:path``, and a place in a file, a mention or a ``file://`` URL is
        understood; what would guard nothing is refused with ``invalid_request``. A path object
        is one file or directory, whatever its name.
        """
        request = api.lock(api.lock_path(path, resolve), reason, ttl_minutes, peer)
        return held(lambda: self._ask(request), lambda lock: self._release(lock, peer))

    def _release(self, lock: Lock, peer: str | None) -> None:
        request = api.unlock(lock.spelling, False, peer)
        try:
            self._ask(request)
        except OutcomeUnknownError:
            # Only its holder releases it, so that may be tried again here.
            try:
                self._ask(request)
            except SLMMeshError as error:
                if error.code not in NOT_OURS_ANY_MORE:
                    raise

    def unlock(
        self,
        path: str | os.PathLike[str],
        *,
        force: bool = False,
        resolve: bool = True,
        peer: str | None = None,
    ) -> None:
        """Releases a lock; with ``force`` anyone's."""
        self._ask(api.unlock(api.locked_path(path, resolve), force, peer))

    def locks(
        self, path: str | os.PathLike[str] | None = None, *, resolve: bool = True
    ) -> list[Lock]:
        """The live locks, all or that of one file."""
        return self._ask(api.locks(None if path is None else api.locked_path(path, resolve)))

    # Events.

    def events(
        self,
        types: str | Iterable[str] | None = None,
        *,
        since: datetime | str | None = None,
        after: int | None = None,
        limit: int = 50,
        wait: float = 0,
    ) -> MeshEvents:
        """What has happened, oldest first: the newest ``limit``, or with a cursor (``after``, a
        ``seq``, or ``since``, a time) the oldest behind it. ``types`` may hold ``prefix.*``."""
        return self._ask(api.events(types, since, after, limit, wait))

    def follow(
        self, types: str | Iterable[str] | None = None, *, after: int | None = None
    ) -> Iterator[MeshEvent]:
        """Yields what happens from now on, or after the number ``after``; never ends."""
        kinds = types if types is None or isinstance(types, str) else list(types)
        if after is None:
            newest = self.events(kinds, limit=1)
            after = newest.last_seq
        while True:
            found = self.events(kinds, after=after, limit=1000, wait=50)
            for event in found:
                yield event
            after = found.last_seq

    def subscribe(self, types: str | Iterable[str], peer: str | None = None) -> list[str]:
        """Has these types (``*`` for all, ``prefix.*``) pushed to the peer from now on, instead of
        those before; see :meth:`Session.listen_events`."""
        return self._ask(api.subscribe(types, peer))

    def unsubscribe(self, peer: str | None = None) -> None:
        """Ends the subscription."""
        self._ask(api.unsubscribe(peer))

    def emit(
        self, type: str, payload: Any = None, *, id: str | None = None, peer: str | None = None
    ) -> int:
        """Emits an event of one's own, whose type is none of the mesh's own; gives its ``seq``."""
        return self._ask(api.emit(type, payload, id, peer))
