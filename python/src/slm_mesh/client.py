"""The client that programs of the field know: each call names the peer it acts for, positions and
results are as they expect. What it has beyond that takes keywords.

:class:`slm_mesh.Session` is the modern way: a peer that needs no ids, and to which messages are
pushed.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import replace
from datetime import datetime, timezone
from types import TracebackType
from typing import Any

from . import _api as api
from ._client import MeshClient
from ._errors import SLMMeshError
from .types import BrokerStatus, Lock, MeshEvent, Message, Peer, StateEntry

__all__ = ["SLMMeshClient", "SLMMeshError"]

#: Where a broker listens unless told otherwise.
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 7899


class SLMMeshClient:
    """A client of the broker, which says in each call for whom it acts.

    The broker is found by its data directory (``data_dir``, else that of ``token_path``, else
    ``SLM_MESH_DATA_DIR``, else ``~/.slm-mesh``), whatever port it has; a ``port`` other than the
    default is taken as given.
    ``timeout`` is how long a call may take, in seconds.
    With ``start`` a broker is started if none is running.
    Every method raises :class:`SLMMeshError`.
    """

    def __init__(
        self,
        host: str = DEFAULT_HOST,
        port: int = DEFAULT_PORT,
        timeout: float = 5,
        token_path: str | None = None,
        *,
        data_dir: str | os.PathLike[str] | None = None,
        start: bool = False,
    ) -> None:
        self.host = host
        self.port = port
        self.timeout = timeout
        self._mesh = MeshClient(
            None if host == DEFAULT_HOST else host,
            None if port == DEFAULT_PORT else port,
            timeout,
            token_path,
            data_dir=data_dir,
            start=start,
        )

    def close(self) -> None:
        """Closes the connections; the client may be used again."""
        self._mesh.close()

    def __enter__(self) -> SLMMeshClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, request: api.Request[Any]) -> dict[str, Any]:
        """The answer as the broker gives it."""
        return self._mesh._ask(replace(request, read=lambda answer: answer))

    # The broker.

    def health(self) -> dict[str, Any]:
        """That a broker is there: ``status``, ``version``, ``uptime``."""
        return self._ask(api.health())

    def status(self) -> BrokerStatus:
        """How the broker is."""
        return BrokerStatus.from_dict(self._ask(api.status()))

    # Peers.

    def register(
        self,
        pid: int,
        project_path: str,
        agent_type: str = "unknown",
        name: str = "auto",
        uds_path: str | None = None,
        *,
        summary: str | None = None,
        git_root: str | None = None,
        git_branch: str | None = None,
        repo_id: str | None = None,
        private: bool = False,
        exclusive: bool = False,
    ) -> dict[str, Any]:
        """Registers a peer: ``peerId``, and the ``name`` it got, which has a number behind it if
        the one asked for is taken; with ``exclusive`` that is refused. A peer without heartbeats is
        stale after 30 s and gone after 60 s."""
        request = api.register(
            project_path=project_path,
            name=name,
            agent_type=agent_type,
            summary=summary,
            git_root=git_root,
            git_branch=git_branch,
            repo_id=repo_id,
            private=private,
            uds_path=uds_path,
            exclusive=exclusive,
            pid=pid,
        )
        return self._ask(request)

    def unregister(self, peer_id: str) -> dict[str, Any]:
        """A peer leaves for good."""
        return self._ask(api.unregister(peer_id))

    def heartbeat(self, peer_id: str, *, git_branch: str | None = None) -> dict[str, Any]:
        """A peer is still there: ``unread``."""
        return self._ask(api.heartbeat(git_branch, peer_id))

    def set_summary(self, peer_id: str, summary: str) -> dict[str, Any]:
        """Says what a peer works on, in at most 500 characters."""
        return self._ask(api.set_summary(summary, peer_id))

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
        request = api.peers(scope, project_path, git_root, repo_id, exclude_id, include_stale)
        return [Peer.from_dict(peer) for peer in self._ask(request).get("peers", [])]

    # Messages.

    def send(
        self,
        from_peer: str,
        to_peer: str,
        payload: str,
        msg_type: str = "text",
        *,
        reply_to: str | None = None,
        id: str | None = None,
    ) -> str:
        """Writes to a peer, to ``cli``, or to ``all``; gives the message's id. ``id``, a UUID, is
        the sender's own: sending it again gives the first answer."""
        answer = self._ask(api.send(to_peer, payload, msg_type, reply_to, id, from_peer))
        message_id: str = answer.get("messageId", "")
        return message_id

    def broadcast(
        self,
        from_peer: str,
        payload: str,
        msg_type: str = "text",
        *,
        reply_to: str | None = None,
        id: str | None = None,
    ) -> list[str]:
        """Writes to every present peer but the sender; gives the ids of what was sent."""
        answer = self._ask(api.send("all", payload, msg_type, reply_to, id, from_peer))
        ids: list[str] = answer.get("messageIds", [])
        return ids

    def inbox(
        self,
        peer_id: str,
        msg_filter: str = "unread",
        limit: int = 20,
        *,
        sender: str | None = None,
        peek: bool = False,
        before: int | None = None,
        after: int | None = None,
        wait: float = 0,
    ) -> list[Message]:
        """A peer's messages, oldest first, which are marked read unless ``peek``. ``msg_filter``:
        ``unread`` takes the oldest, ``all`` the newest, ``sent`` are its own. ``before`` and
        ``after`` are numbers (``seq``); ``wait`` holds the answer for up to 55 seconds."""
        request = api.fetch(msg_filter, sender, limit, before, after, wait, peer_id)
        messages = [Message.from_dict(item) for item in self._ask(request).get("messages", [])]
        unread = [message.id for message in messages if message.read_at is None]
        if not unread or peek or msg_filter == "sent":
            return messages
        try:
            self._ask(api.mark_read(unread, peer_id))
        except SLMMeshError:
            # They are unread still, and are given again.
            return messages
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return [
            message if message.read_at else replace(message, delivered=True, read_at=now)
            for message in messages
        ]

    # Shared state.

    def state_get(self, key: str, namespace: str = "default") -> StateEntry | None:
        """The entry, if there is one."""
        entry = self._ask(api.state_get(key, namespace)).get("entry")
        return StateEntry.from_dict(entry) if entry else None

    def state_set(
        self,
        key: str,
        value: str,
        peer_id: str,
        namespace: str = "default",
        *,
        if_version: int | None = None,
        ttl_seconds: int | None = None,
    ) -> StateEntry:
        """Sets a value; with ``if_version`` only if the entry has that version (0: only if there
        is none)."""
        request = api.state_set(key, value, namespace, if_version, ttl_seconds, peer_id)
        return StateEntry.from_dict(self._ask(request).get("entry", {}))

    def state_list(
        self, namespace: str = "default", *, prefix: str | None = None, limit: int = 1000
    ) -> list[StateEntry]:
        """The entries, by key."""
        answer = self._ask(api.state_list(namespace, prefix, limit))
        return [StateEntry.from_dict(entry) for entry in answer.get("entries", [])]

    def state_delete(
        self,
        key: str,
        namespace: str = "default",
        *,
        peer_id: str | None = None,
        if_version: int | None = None,
    ) -> None:
        """Deletes an entry, if there is one."""
        self._ask(api.state_delete(key, namespace, if_version, peer_id))

    # Locks.

    def lock(
        self,
        file_path: str,
        peer_id: str,
        reason: str = "",
        ttl_minutes: int = 10,
        *,
        resolve: bool = True,
    ) -> Lock:
        """Locks a file, or renews the peer's own lock; :class:`slm_mesh.LockedError` if someone
        else has it. ``resolve=False`` sends the path as it is."""
        path = api.lock_path(file_path, resolve)
        request = api.lock(path, reason, ttl_minutes, peer_id)
        return Lock.from_dict(self._ask(request).get("lock", {}))

    def unlock(
        self, file_path: str, peer_id: str, *, force: bool = False, resolve: bool = True
    ) -> None:
        """Releases a lock; with ``force`` anyone's."""
        self._ask(api.unlock(api.locked_path(file_path, resolve), force, peer_id))

    def locks(self, file_path: str | None = None, *, resolve: bool = True) -> list[Lock]:
        """The live locks, all or that of one file."""
        path = None if file_path is None else api.locked_path(file_path, resolve)
        return [Lock.from_dict(lock) for lock in self._ask(api.locks(path)).get("locks", [])]

    # Events.

    def events(
        self,
        types: list[str] | None = None,
        since: str | None = None,
        limit: int = 50,
        *,
        after: int | None = None,
        wait: float = 0,
    ) -> list[MeshEvent]:
        """What has happened, oldest first: the newest ``limit``, or with a cursor (``after``, a
        ``seq``, or ``since``, a time) the oldest behind it."""
        answer = self._ask(api.events(types, since, after, limit, wait))
        return [MeshEvent.from_dict(event) for event in answer.get("events", [])]

    def emit(
        self, peer_id: str, event_type: str, payload: Any = None, *, id: str | None = None
    ) -> int:
        """Emits an event whose type is none of the mesh's own; gives its ``seq``."""
        request = api.emit(event_type, payload, id or str(uuid.uuid4()), peer_id)
        seq: int = self._ask(request).get("seq", 0)
        return seq
