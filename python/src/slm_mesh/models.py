"""What the mesh is made of, as frozen dataclasses. Fields that this version does not know are
ignored, so a newer broker can be asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from . import _paths
from ._errors import SLMMeshError, local

Json = Mapping[str, Any]


def _bad(name: str, expected: str) -> SLMMeshError:
    return local("protocol_error", f"the broker's answer has no `{name}` that is {expected}")


def text(obj: Json, name: str) -> str:
    """The string ``name``, which must be there."""
    value = obj.get(name)
    if not isinstance(value, str):
        raise _bad(name, "a string")
    return value


def text_or_none(obj: Json, name: str) -> str | None:
    """The string ``name``, if it is there."""
    return None if obj.get(name) is None else text(obj, name)


def number(obj: Json, name: str, default: int | None = None) -> int:
    """The whole number ``name``."""
    value = obj.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _bad(name, "a whole number")
    return value


def _number_or_none(obj: Json, name: str) -> int | None:
    return None if obj.get(name) is None else number(obj, name)


def flag(obj: Json, name: str) -> bool:
    """The truth value ``name``; false if it is not there."""
    value = obj.get(name, False)
    if not isinstance(value, bool):
        raise _bad(name, "true or false")
    return value


def time(obj: Json, name: str) -> datetime:
    """The time ``name``, in UTC."""
    value = text(obj, name)
    try:
        # `Z` is understood from Python 3.11 on only.
        return datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        raise _bad(name, "a time") from None


def _time_or_none(obj: Json, name: str) -> datetime | None:
    return None if obj.get(name) is None else time(obj, name)


def part(obj: Json, name: str) -> Json:
    """The object ``name``."""
    value = obj.get(name)
    if not isinstance(value, Mapping):
        raise _bad(name, "an object")
    return value


def parts(obj: Json, name: str) -> list[Json]:
    """The list of objects ``name``."""
    value = obj.get(name)
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise _bad(name, "a list of objects")
    return value


def texts(obj: Json, name: str) -> list[str]:
    """The list of strings ``name``."""
    value = obj.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _bad(name, "a list of strings")
    return value


@dataclass(frozen=True)
class Peer:
    """A session in the mesh, as ``peers`` lists it."""

    id: str
    name: str
    pid: int
    project_path: str
    agent_type: str
    started_at: datetime
    last_heartbeat: datetime
    #: ``active`` or ``stale``.
    status: str
    git_root: str | None = None
    git_branch: str | None = None
    summary: str | None = None
    uds_path: str | None = None
    host: str | None = None
    #: How many locks it holds.
    locks: int = 0
    #: How its agent can be told; ``push`` or ``none`` where nothing finer is known.
    reach: str | None = None

    @classmethod
    def from_json(cls, obj: Json) -> Peer:
        """Reads the broker's form."""
        return cls(
            id=text(obj, "id"),
            name=text(obj, "name"),
            pid=number(obj, "pid"),
            project_path=text(obj, "projectPath"),
            agent_type=text(obj, "agentType"),
            started_at=time(obj, "startedAt"),
            last_heartbeat=time(obj, "lastHeartbeat"),
            status=text(obj, "status"),
            git_root=text_or_none(obj, "gitRoot"),
            git_branch=text_or_none(obj, "gitBranch"),
            summary=text_or_none(obj, "summary"),
            uds_path=text_or_none(obj, "udsPath"),
            host=text_or_none(obj, "host"),
            locks=number(obj, "locks", 0),
            reach=text_or_none(obj, "reach"),
        )


@dataclass(frozen=True)
class Message:
    """A message, as ``inbox`` lists it or as it was pushed."""

    id: str
    #: Its place in the sequence of the mesh: of two messages the later has the higher.
    seq: int
    from_peer: str
    #: ``None`` for a broadcast.
    to_peer: str | None
    #: ``text``, ``json``, ``command`` or ``alert``.
    type: str
    payload: str
    #: When it was stored; of a pushed message, when it was pushed.
    created_at: datetime
    from_name: str = ""
    reply_to: str | None = None
    delivered: bool = False
    delivered_at: datetime | None = None
    read_at: datetime | None = None
    #: When and by which way it was handed to the agent's own queue, and what is known of it there:
    #: ``sent``, ``held``, ``refused``, ``declined`` or ``not-running``; while it stands there.
    sent_at: datetime | None = None
    sent_by: str | None = None
    sent_status: str | None = None
    #: When and by which way the recipient's agent was told; where the broker knows.
    notified_at: datetime | None = None
    notified_by: str | None = None
    #: ``queued``, ``delivered``, ``sent``, ``notified``, ``read`` or ``undeliverable``; in lists of
    #: sent messages.
    stage: str | None = None
    #: Counts, for a broadcast in a list of sent messages.
    recipients: int | None = None
    delivered_count: int | None = None
    notified_count: int | None = None
    read_count: int | None = None
    #: A short name for it, which ``reply_to`` takes like its id; brokers before 1.1 give none.
    handle: str | None = None
    #: Which agent its sender is, if it is one: ``codex``, say.
    from_agent: str | None = None

    @property
    def is_broadcast(self) -> bool:
        """Whether it was sent to everyone."""
        return self.to_peer is None

    def json(self) -> Any:
        """The payload of a ``json`` message, parsed; ``ValueError`` if it is no JSON."""
        return json.loads(self.payload)

    @classmethod
    def from_json(cls, obj: Json) -> Message:
        """Reads the broker's form."""
        return cls(
            id=text(obj, "id"),
            seq=number(obj, "seq", 0),
            from_peer=text(obj, "fromPeer"),
            to_peer=text_or_none(obj, "toPeer"),
            type=text(obj, "type"),
            payload=text(obj, "payload"),
            created_at=time(obj, "createdAt"),
            from_name=text_or_none(obj, "fromName") or "",
            reply_to=text_or_none(obj, "replyTo"),
            delivered=flag(obj, "delivered"),
            delivered_at=_time_or_none(obj, "deliveredAt"),
            read_at=_time_or_none(obj, "readAt"),
            sent_at=_time_or_none(obj, "sentAt"),
            sent_by=text_or_none(obj, "sentBy"),
            sent_status=text_or_none(obj, "sentStatus"),
            notified_at=_time_or_none(obj, "notifiedAt"),
            notified_by=text_or_none(obj, "notifiedBy"),
            stage=text_or_none(obj, "stage"),
            recipients=_number_or_none(obj, "recipients"),
            delivered_count=_number_or_none(obj, "deliveredCount"),
            notified_count=_number_or_none(obj, "notifiedCount"),
            read_count=_number_or_none(obj, "readCount"),
            handle=text_or_none(obj, "handle"),
            from_agent=text_or_none(obj, "fromAgent"),
        )

    @classmethod
    def from_frame(cls, frame: Json, recipient: str) -> Message:
        """Reads a ``message`` frame, pushed to ``recipient``."""
        obj = part(frame, "payload")
        pushed_at = time(frame, "timestamp")
        return cls(
            id=text(obj, "messageId"),
            seq=number(obj, "seq"),
            from_peer=text(obj, "fromPeer"),
            to_peer=None if flag(obj, "broadcast") else recipient,
            type=text(obj, "messageType"),
            payload=text(obj, "text"),
            created_at=pushed_at,
            from_name=text_or_none(obj, "fromName") or "",
            reply_to=text_or_none(obj, "replyTo"),
            delivered=True,
            delivered_at=pushed_at,
            handle=text_or_none(obj, "handle"),
            from_agent=text_or_none(obj, "fromAgent"),
        )


class Messages(list[Message]):
    """Messages, oldest first. ``remaining`` says how many more there are; see ``inbox``."""

    remaining: int = 0


@dataclass(frozen=True)
class Sent:
    """What became of a message by the time of the answer."""

    #: ``None`` for a broadcast when nobody else was here.
    message_id: str | None
    #: To how many it was sent.
    recipients: int
    #: How many have confirmed it by now; later states: ``inbox(filter="sent")``.
    delivered: int
    #: To how many live push connections it was handed.
    pushed: int
    #: A short name for it; see :class:`Message`.
    handle: str | None = None
    #: It does not wake its recipient now, since too much has: ``damped_reason`` says what happens
    #: instead, until when, and how that is changed.
    damped: bool = False
    damped_reason: str | None = None

    @classmethod
    def from_json(cls, obj: Json) -> Sent:
        """Reads the broker's form."""
        if "messageIds" in obj:
            ids = texts(obj, "messageIds")
            return cls(
                message_id=ids[0] if ids else None,
                recipients=number(obj, "recipients"),
                delivered=number(obj, "delivered"),
                pushed=number(obj, "pushed"),
                handle=text_or_none(obj, "handle"),
                damped=flag(obj, "damped"),
                damped_reason=text_or_none(obj, "dampedReason"),
            )
        return cls(
            message_id=text(obj, "messageId"),
            recipients=1,
            delivered=int(flag(obj, "delivered")),
            pushed=int(flag(obj, "pushed")),
            handle=text_or_none(obj, "handle"),
            damped=flag(obj, "damped"),
            damped_reason=text_or_none(obj, "dampedReason"),
        )


@dataclass(frozen=True)
class StateEntry:
    """A shared value."""

    key: str
    namespace: str
    value: str
    updated_by: str | None
    updated_at: datetime
    #: Only grows, and is never used again for a key.
    version: int
    expires_at: datetime | None = None

    @classmethod
    def from_json(cls, obj: Json) -> StateEntry:
        """Reads the broker's form."""
        return cls(
            key=text(obj, "key"),
            namespace=text(obj, "namespace"),
            value=text(obj, "value"),
            updated_by=text_or_none(obj, "updatedBy"),
            updated_at=time(obj, "updatedAt"),
            version=number(obj, "version", 0),
            expires_at=_time_or_none(obj, "expiresAt"),
        )


@dataclass(frozen=True)
class Lock:
    """A file lock."""

    file_path: str
    locked_by: str
    locked_at: datetime
    expires_at: datetime
    reason: str | None = None
    locked_by_name: str | None = None
    #: Grows with each new holder of a file, so a stale holder can be told from the present one.
    fence: int = 0
    #: It is of a directory or a pattern.
    pattern: bool = False

    @property
    def spelling(self) -> str:
        """The path as a request names it: in that of one file no character is a wildcard."""
        if self.pattern or not self.file_path.startswith("/"):
            return self.file_path
        return _paths.escape(self.file_path)

    @classmethod
    def from_json(cls, obj: Json) -> Lock:
        """Reads the broker's form."""
        return cls(
            file_path=text(obj, "filePath"),
            locked_by=text(obj, "lockedBy"),
            locked_at=time(obj, "lockedAt"),
            expires_at=time(obj, "expiresAt"),
            reason=text_or_none(obj, "reason"),
            locked_by_name=text_or_none(obj, "lockedByName"),
            fence=number(obj, "fence", 0),
            pattern=obj.get("pattern") is True,
        )


#: The types of the mesh itself, beside those that begin with ``mesh.``.
BUILT_IN_TYPES = frozenset(
    (
        "peer_joined",
        "peer_left",
        "state_changed",
        "file_locked",
        "file_unlocked",
        "message_received",
        "message_read",
        "message_undeliverable",
    )
)


def is_built_in(kind: str) -> bool:
    """Whether an event type is one of the mesh's own."""
    return kind in BUILT_IN_TYPES or kind.startswith("mesh.")


@dataclass(frozen=True)
class MeshEvent:
    """Something that has happened."""

    #: ``None`` if it was pushed: a push tells only ``seq``.
    id: str | None
    seq: int
    type: str
    #: Parsed JSON; an object for the built-in types.
    payload: Any
    #: Who caused it; ``None`` if it was the broker itself, or not told.
    emitted_by: str | None
    #: When it was stored; of a pushed event, when it was pushed.
    created_at: datetime

    @classmethod
    def from_json(cls, obj: Json) -> MeshEvent:
        """Reads the broker's form."""
        payload = obj.get("payload")
        if isinstance(payload, str):
            # A JSON document in a string on the wire.
            try:
                payload = json.loads(payload)
            except ValueError:
                raise _bad("payload", "JSON") from None
        return cls(
            id=text(obj, "id"),
            seq=number(obj, "seq", 0),
            type=text(obj, "type"),
            payload=payload,
            emitted_by=text_or_none(obj, "emittedBy"),
            created_at=time(obj, "createdAt"),
        )

    @classmethod
    def from_frame(cls, frame: Json) -> MeshEvent:
        """Reads an ``event`` frame."""
        obj = dict(part(frame, "payload"))
        kind, seq = text(obj, "eventType"), number(obj, "seq")
        del obj["eventType"], obj["seq"]
        # A custom type may have any JSON.
        payload = obj if is_built_in(kind) else obj.get("data")
        return cls(
            id=None,
            seq=seq,
            type=kind,
            payload=payload,
            emitted_by=None,
            created_at=time(frame, "timestamp"),
        )


class MeshEvents(list[MeshEvent]):
    """Events, oldest first. ``last_seq`` is the highest number examined: give it as ``after`` to go
    on. ``first_seq`` is the lowest still kept: a cursor below it has missed some."""

    last_seq: int = 0
    first_seq: int = 0


@dataclass(frozen=True)
class BrokerHealth:
    """That a broker is there, and which."""

    version: str
    #: Seconds since its start.
    uptime: int
    #: The random id of its data directory.
    mesh: str

    @classmethod
    def from_json(cls, obj: Json) -> BrokerHealth:
        """Reads the broker's form."""
        return cls(
            version=text(obj, "version"), uptime=number(obj, "uptime"), mesh=text(obj, "mesh")
        )


@dataclass(frozen=True)
class BrokerStatus:
    """How the broker is."""

    version: str
    #: Seconds since its start.
    uptime: int
    pid: int
    port: int
    role: str
    peers_active: int
    peers_stale: int
    peers_total: int
    messages_total: int
    messages_undelivered: int
    messages_unread: int
    locks_active: int
    state_entries: int
    events_total: int
    push_connected: int
    db_size_bytes: int
    db_wal_size_bytes: int
    #: Where a damaged or foreign database was moved to at the start, and what was wrong with it.
    db_recovered_from: str | None
    #: The whole answer, with what this version has no field for.
    raw: Json = field(repr=False, compare=False, hash=False, default_factory=dict)

    @classmethod
    def from_json(cls, obj: Json) -> BrokerStatus:
        """Reads the broker's form."""
        peers, messages, db = part(obj, "peers"), part(obj, "messages"), part(obj, "db")
        return cls(
            version=text(obj, "version"),
            uptime=number(obj, "uptime"),
            pid=number(obj, "pid"),
            port=number(obj, "port"),
            role=text(obj, "role"),
            peers_active=number(peers, "active"),
            peers_stale=number(peers, "stale"),
            peers_total=number(peers, "total"),
            messages_total=number(messages, "total"),
            messages_undelivered=number(messages, "undelivered"),
            messages_unread=number(messages, "unread"),
            locks_active=number(part(obj, "locks"), "active"),
            state_entries=number(part(obj, "state"), "entries"),
            events_total=number(part(obj, "events"), "total"),
            push_connected=number(part(obj, "push"), "connected"),
            db_size_bytes=number(db, "sizeBytes"),
            db_wal_size_bytes=number(db, "walSizeBytes"),
            db_recovered_from=text_or_none(db, "recoveredFrom"),
            raw=obj,
        )


@dataclass(frozen=True)
class Registration:
    """Who a peer is. With its id and its token it can come back; the token is a secret."""

    peer_id: str
    name: str
    peer_token: str = field(repr=False)
    #: How often it should send a heartbeat, ms.
    heartbeat_ms: int = 15_000

    @classmethod
    def from_json(cls, obj: Json) -> Registration:
        """Reads the broker's form."""
        return cls(
            peer_id=text(obj, "peerId"),
            name=text(obj, "name"),
            peer_token=text(obj, "peerToken"),
            heartbeat_ms=number(obj, "heartbeatMs", 15_000),
        )
