"""The requests of the broker, as values: what is sent, whether it may be repeated, how its answer
is read. No I/O; ``docs/api-reference.md`` of the project describes each."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Generic, TypeVar

from . import _paths
from . import models as m
from ._errors import local
from ._wire import encode_body

T = TypeVar("T")

#: Longest time the broker holds a request, seconds.
WAIT_MAX = 55
#: Most messages that are marked read by one request.
MARK_READ_IDS_MAX = 1000


@dataclass(frozen=True)
class Request(Generic[T]):
    """One request. ``None`` as body is a GET."""

    path: str
    body: dict[str, Any] | None
    read: Callable[[dict[str, Any]], T]
    #: Whether it may be sent again when it is not known whether it was carried out: it changes
    #: nothing, or the second time changes nothing.
    repeatable: bool = False
    #: Whether one that is repeatable changes something that whoever made it has to know of.
    changes: bool = False
    #: The field that names who acts, where the token does not tell.
    actor: str | None = None
    #: Who acts, if the caller has said so.
    peer: str | None = None
    #: How long the broker may hold it, seconds.
    wait: int = 0
    #: Whose token it needs, if not that of whoever acts: a peer's that comes back.
    token: str | None = None
    #: Whether it takes the broker's token, whoever acts.
    as_broker: bool = False

    def encode(self, default_actor: str | None, time_left: float) -> bytes | None:
        """The body; ``default_actor`` acts if nobody was named, ``None`` if the token tells who.
        A request that is made again is not held for longer than there is time."""
        if self.body is None:
            return None
        body = {name: value for name, value in self.body.items() if value is not None}
        if self.wait and time_left < self.wait:
            body["wait"] = max(0, int(time_left))
        who = self.peer if self.peer is not None else default_actor
        if self.actor is not None and who is not None:
            body[self.actor] = who
        return encode_body(body)


def _nothing(_: dict[str, Any]) -> None:
    return None


def _wait(wait: float) -> int:
    if not 0 <= wait <= WAIT_MAX:
        raise local("invalid_request", f"wait is {wait}: it must be from 0 to {WAIT_MAX} seconds")
    # Whole seconds on the wire; a wait is not cut to none.
    return int(-(-wait // 1))


def lock_path(path: str | os.PathLike[str], resolve: bool = True) -> str:
    """The one spelling of a path that is to be locked; see :mod:`slm_mesh._paths`."""
    if not resolve:
        return os.fspath(path)
    try:
        return _paths.lock_path(path)
    except ValueError as why:
        message = f"{os.fspath(path)!r} cannot be locked: {why}"
        raise local("invalid_request", message) from None


def locked_path(path: str | os.PathLike[str], resolve: bool = True) -> str:
    """The same for one that may be locked already."""
    return _paths.locked_path(path) if resolve else os.fspath(path)


def _strings(values: str | Iterable[str] | None) -> list[str] | None:
    # One string is meant as one, not as its characters.
    return None if values is None else [values] if isinstance(values, str) else list(values)


def health() -> Request[m.BrokerHealth]:
    """`GET /health`."""
    return Request("/health", None, m.BrokerHealth.from_json, repeatable=True)


def status() -> Request[m.BrokerStatus]:
    """`GET /status`."""
    return Request("/status", None, m.BrokerStatus.from_json, repeatable=True)


def register(
    *,
    project_path: str,
    name: str | None,
    agent_type: str,
    summary: str | None,
    git_root: str | None,
    git_branch: str | None,
    repo_id: str | None,
    private: bool,
    repo_hash: str | None = None,
    uds_path: str | None = None,
    acks: bool = False,
    exclusive: bool = False,
    reach: str | None = None,
    resume: m.Registration | None = None,
    pid: int | None = None,
) -> Request[m.Registration]:
    """`/register`; with ``resume`` to come back. ``pid``: this process unless given."""
    body = {
        "pid": pid or os.getpid(),
        "projectPath": project_path,
        "name": name,
        "agentType": agent_type,
        "summary": summary,
        "gitRoot": git_root,
        "gitBranch": git_branch,
        "repoId": repo_id,
        "repoHash": repo_hash,
        "private": private,
        "udsPath": uds_path,
        "acks": acks,
        "exclusive": exclusive,
        "reach": reach,
        "peerId": resume.peer_id if resume else None,
    }
    return Request(
        "/register",
        body,
        m.Registration.from_json,
        repeatable=resume is not None,
        token=resume.peer_token if resume else None,
        as_broker=True,
    )


def unregister(peer: str | None) -> Request[None]:
    """`/unregister`."""
    return Request("/unregister", {}, _nothing, actor="peerId", peer=peer)


def heartbeat(git_branch: str | None, peer: str | None) -> Request[int]:
    """`/heartbeat`; gives how many messages are unread."""
    return Request(
        "/heartbeat",
        {"gitBranch": git_branch},
        lambda obj: m.number(obj, "unread", 0),
        repeatable=True,
        actor="peerId",
        peer=peer,
    )


def set_summary(summary: str, peer: str | None) -> Request[None]:
    """`/summary`."""
    return Request("/summary", {"summary": summary}, _nothing, actor="peerId", peer=peer)


def peers(
    scope: str,
    project_path: str | None,
    git_root: str | None,
    repo_id: str | None,
    exclude_id: str | None,
    include_stale: bool,
) -> Request[list[m.Peer]]:
    """`/peers`."""
    body = {
        "scope": scope,
        "projectPath": project_path,
        "gitRoot": git_root,
        "repoId": repo_id,
        "excludeId": exclude_id,
        "includeStale": include_stale or None,
    }

    def read(obj: dict[str, Any]) -> list[m.Peer]:
        return [m.Peer.from_json(peer) for peer in m.parts(obj, "peers")]

    return Request("/peers", body, read, repeatable=True)


def send(
    to: str,
    payload: Any,
    type: str | None,
    reply_to: str | None,
    id: str | None,
    peer: str | None,
) -> Request[m.Sent]:
    """`/send`, always with an id, so that it can be repeated."""
    if not isinstance(payload, str):
        if type not in (None, "json"):
            raise local("invalid_request", f"a payload of type {type!r} must be a str")
        payload, type = json_text(payload), "json"
    body = {
        "toPeer": to,
        "payload": payload,
        "type": type,
        "replyTo": reply_to,
        "id": id or str(uuid.uuid4()),
    }
    return Request(
        "/send",
        body,
        m.Sent.from_json,
        repeatable=True,
        changes=True,
        actor="fromPeer",
        peer=peer,
    )


def json_text(value: Any) -> str:
    """The JSON of a payload."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise local("invalid_request", f"this cannot be sent as JSON: {error}") from error


def fetch(
    filter: str,
    sender: str | None,
    limit: int,
    before: int | None,
    after: int | None,
    wait: float,
    peer: str | None,
) -> Request[m.Messages]:
    """`/messages`, always with `peek`: an answer that is lost on its way must not have marked."""
    held = _wait(wait)
    body = {
        "filter": filter,
        "from": sender,
        "limit": limit,
        "before": before,
        "after": after,
        "peek": True,
        "wait": held or None,
    }

    def read(obj: dict[str, Any]) -> m.Messages:
        messages = m.Messages(m.Message.from_json(item) for item in m.parts(obj, "messages"))
        messages.remaining = m.number(obj, "remaining", 0)
        return messages

    return Request("/messages", body, read, repeatable=True, actor="peerId", peer=peer, wait=held)


def mark_read(ids: Sequence[str], peer: str | None) -> Request[int]:
    """`/messages` with `markRead`; gives how many were unread."""
    if len(ids) > MARK_READ_IDS_MAX:
        raise local("invalid_request", f"at most {MARK_READ_IDS_MAX} messages are marked at once")
    return Request(
        "/messages",
        {"markRead": list(ids)},
        lambda obj: m.number(obj, "marked", 0),
        actor="peerId",
        peer=peer,
    )


def _entry(obj: dict[str, Any]) -> m.StateEntry:
    return m.StateEntry.from_json(m.part(obj, "entry"))


def _entry_or_none(obj: dict[str, Any]) -> m.StateEntry | None:
    return None if obj.get("entry") is None else _entry(obj)


def state_get(key: str, namespace: str) -> Request[m.StateEntry | None]:
    """`/state` `get`."""
    body = {"action": "get", "key": key, "namespace": namespace}
    return Request("/state", body, _entry_or_none, repeatable=True)


def state_set(
    key: str,
    value: str,
    namespace: str,
    if_version: int | None,
    ttl_seconds: int | None,
    peer: str | None,
) -> Request[m.StateEntry]:
    """`/state` `set`."""
    body = {
        "action": "set",
        "key": key,
        "value": value,
        "namespace": namespace,
        "ifVersion": if_version,
        "ttlSeconds": ttl_seconds,
    }
    return Request("/state", body, _entry, actor="peerId", peer=peer)


def state_list(namespace: str, prefix: str | None, limit: int) -> Request[list[m.StateEntry]]:
    """`/state` `list`."""
    body = {"action": "list", "namespace": namespace, "prefix": prefix, "limit": limit}

    def read(obj: dict[str, Any]) -> list[m.StateEntry]:
        return [m.StateEntry.from_json(entry) for entry in m.parts(obj, "entries")]

    return Request("/state", body, read, repeatable=True)


def state_delete(
    key: str, namespace: str, if_version: int | None, peer: str | None
) -> Request[bool]:
    """`/state` `delete`."""
    body = {"action": "delete", "key": key, "namespace": namespace, "ifVersion": if_version}
    return Request("/state", body, lambda obj: m.flag(obj, "deleted"), actor="peerId", peer=peer)


def lock(
    path: str, reason: str | None, ttl_minutes: int | None, peer: str | None
) -> Request[m.Lock]:
    """`/lock` `lock`."""
    body = {"action": "lock", "filePath": path, "reason": reason, "ttlMinutes": ttl_minutes}

    def read(obj: dict[str, Any]) -> m.Lock:
        return m.Lock.from_json(m.part(obj, "lock"))

    return Request("/lock", body, read, repeatable=True, changes=True, actor="peerId", peer=peer)


def unlock(path: str, force: bool, peer: str | None) -> Request[None]:
    """`/lock` `unlock`; with ``force`` with the broker's token."""
    body = {"action": "unlock", "filePath": path, "force": force or None}
    actor = None if force and peer is None else "peerId"
    return Request("/lock", body, _nothing, actor=actor, peer=peer, as_broker=force)


def locks(path: str | None) -> Request[list[m.Lock]]:
    """`/lock` `query`."""
    body = {"action": "query", "filePath": path}

    def read(obj: dict[str, Any]) -> list[m.Lock]:
        return [m.Lock.from_json(lock) for lock in m.parts(obj, "locks")]

    return Request("/lock", body, read, repeatable=True)


def events(
    types: str | Iterable[str] | None,
    since: datetime | str | None,
    after: int | None,
    limit: int,
    wait: float,
) -> Request[m.MeshEvents]:
    """`/events` `read`."""
    held = _wait(wait)
    if isinstance(since, datetime):
        # A time without a zone is local time, as everywhere in Python.
        utc = since.astimezone(timezone.utc)
        since = utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = {
        "action": "read",
        "types": _strings(types),
        "since": since,
        "after": after,
        "limit": limit,
        "wait": held or None,
    }

    def read(obj: dict[str, Any]) -> m.MeshEvents:
        found = m.MeshEvents(m.MeshEvent.from_json(event) for event in m.parts(obj, "events"))
        found.last_seq = m.number(obj, "lastSeq", 0)
        found.first_seq = m.number(obj, "firstSeq", 0)
        return found

    return Request("/events", body, read, repeatable=True, wait=held)


def _subscribed(obj: dict[str, Any]) -> list[str]:
    return m.texts(obj, "subscribed")


def subscribe(types: str | Iterable[str], peer: str | None) -> Request[list[str]]:
    """`/events` `subscribe`."""
    body = {"action": "subscribe", "types": _strings(types)}
    return Request("/events", body, _subscribed, actor="peerId", peer=peer)


def unsubscribe(peer: str | None) -> Request[list[str]]:
    """`/events` `unsubscribe`."""
    return Request("/events", {"action": "unsubscribe"}, _subscribed, actor="peerId", peer=peer)


def emit(type: str, payload: Any, id: str | None, peer: str | None) -> Request[int]:
    """`/events` `emit`, always with an id, so that it can be repeated; gives the event's `seq`."""
    body = {
        "action": "emit",
        "type": type,
        "payload": payload,
        "id": id or str(uuid.uuid4()),
    }
    return Request(
        "/events",
        body,
        lambda obj: m.number(obj, "seq"),
        repeatable=True,
        changes=True,
        actor="peerId",
        peer=peer,
    )
