"""What :class:`slm_mesh.SLMMeshClient` returns, in the names and the order of fields that programs
of the field know. Times are texts (ISO 8601, UTC), and what the broker does not tell is empty.

A session returns the types of :mod:`slm_mesh.models`, which have times and parsed payloads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


def _found(data: Mapping[str, Any], name: str, default: Any) -> Any:
    """The value of ``name`` as the broker spells it, or as the field is called here."""
    if name in data:
        return data[name]
    own = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
    return data.get(own, default)


def _part(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name)
    return value if isinstance(value, Mapping) else {}


@dataclass(frozen=True)
class Peer:
    """A peer that is registered."""

    id: str
    name: str
    pid: int = 0
    project_path: str = ""
    git_root: str | None = None
    git_branch: str | None = None
    agent_type: str = "unknown"
    summary: str = ""
    uds_path: str | None = None
    started_at: str = ""
    last_heartbeat: str = ""
    status: str = "active"
    host: str | None = None
    locks: int = 0
    reach: str | None = None

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Peer:
        """Reads the broker's form."""
        return Peer(
            id=data.get("id", ""),
            name=data.get("name", ""),
            pid=data.get("pid", 0),
            project_path=_found(data, "projectPath", ""),
            git_root=_found(data, "gitRoot", None),
            git_branch=_found(data, "gitBranch", None),
            agent_type=_found(data, "agentType", "unknown"),
            summary=data.get("summary", ""),
            uds_path=_found(data, "udsPath", None),
            started_at=_found(data, "startedAt", ""),
            last_heartbeat=_found(data, "lastHeartbeat", ""),
            status=data.get("status", "active"),
            host=data.get("host"),
            locks=data.get("locks", 0),
            reach=data.get("reach"),
        )


@dataclass(frozen=True)
class Message:
    """A message; ``to_peer`` is ``None`` for a broadcast."""

    id: str
    from_peer: str
    to_peer: str | None
    msg_type: str = "text"
    payload: str = ""
    created_at: str = ""
    read_at: str | None = None
    delivered: bool = False
    from_name: str = ""
    reply_to: str | None = None
    seq: int = 0
    handle: str | None = None
    from_agent: str | None = None

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Message:
        """Reads the broker's form."""
        return Message(
            id=data.get("id", ""),
            from_peer=_found(data, "fromPeer", ""),
            to_peer=_found(data, "toPeer", None),
            msg_type=data.get("type", data.get("msg_type", "text")),
            payload=data.get("payload", ""),
            created_at=_found(data, "createdAt", ""),
            read_at=_found(data, "readAt", None),
            delivered=data.get("delivered", False),
            from_name=_found(data, "fromName", ""),
            reply_to=_found(data, "replyTo", None),
            seq=data.get("seq", 0),
            handle=data.get("handle"),
            from_agent=_found(data, "fromAgent", None),
        )


@dataclass(frozen=True)
class StateEntry:
    """A shared value."""

    key: str
    value: str
    namespace: str = "default"
    updated_by: str = ""
    updated_at: str = ""
    version: int = 0
    expires_at: str | None = None

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> StateEntry:
        """Reads the broker's form."""
        return StateEntry(
            key=data.get("key", ""),
            value=data.get("value", ""),
            namespace=data.get("namespace", "default"),
            updated_by=_found(data, "updatedBy", ""),
            updated_at=_found(data, "updatedAt", ""),
            version=data.get("version", 0),
            expires_at=_found(data, "expiresAt", None),
        )


@dataclass(frozen=True)
class Lock:
    """A file lock."""

    file_path: str
    locked_by: str
    locked_at: str = ""
    expires_at: str = ""
    reason: str = ""
    locked_by_name: str = ""
    fence: int = 0

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Lock:
        """Reads the broker's form."""
        return Lock(
            file_path=_found(data, "filePath", ""),
            locked_by=_found(data, "lockedBy", ""),
            locked_at=_found(data, "lockedAt", ""),
            expires_at=_found(data, "expiresAt", ""),
            reason=data.get("reason", ""),
            locked_by_name=_found(data, "lockedByName", ""),
            fence=data.get("fence", 0),
        )


@dataclass(frozen=True)
class MeshEvent:
    """Something that has happened; ``payload`` is JSON."""

    id: str
    event_type: str
    payload: str = "{}"
    emitted_by: str = ""
    created_at: str = ""
    seq: int = 0

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> MeshEvent:
        """Reads the broker's form."""
        payload = data.get("payload", "{}")
        return MeshEvent(
            id=data.get("id", ""),
            event_type=data.get("type", data.get("event_type", "")),
            payload=json.dumps(payload) if isinstance(payload, Mapping) else str(payload),
            emitted_by=_found(data, "emittedBy", ""),
            created_at=_found(data, "createdAt", ""),
            seq=data.get("seq", 0),
        )


@dataclass(frozen=True)
class PeerStats:
    """How many peers there are."""

    active: int = 0
    stale: int = 0
    total: int = 0


@dataclass(frozen=True)
class MessageStats:
    """How many messages there are."""

    total: int = 0
    undelivered: int = 0
    unread: int = 0


@dataclass(frozen=True)
class BrokerStatus:
    """How the broker is; ``uptime`` in seconds."""

    status: str = ""
    version: str = ""
    uptime: int = 0
    pid: int = 0
    port: int = 0
    peers: PeerStats = field(default_factory=PeerStats)
    messages: MessageStats = field(default_factory=MessageStats)
    locks_active: int = 0
    events_total: int = 0
    state_entries: int = 0
    push_connected: int = 0

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> BrokerStatus:
        """Reads the broker's form."""
        peers, messages = _part(data, "peers"), _part(data, "messages")
        return BrokerStatus(
            status=data.get("status", ""),
            version=data.get("version", ""),
            uptime=data.get("uptime", 0),
            pid=data.get("pid", 0),
            port=data.get("port", 0),
            peers=PeerStats(
                active=peers.get("active", 0),
                stale=peers.get("stale", 0),
                total=peers.get("total", 0),
            ),
            messages=MessageStats(
                total=messages.get("total", 0),
                undelivered=messages.get("undelivered", 0),
                unread=messages.get("unread", 0),
            ),
            locks_active=_part(data, "locks").get("active", 0),
            events_total=_part(data, "events").get("total", 0),
            state_entries=_part(data, "state").get("entries", 0),
            push_connected=_part(data, "push").get("connected", 0),
        )
