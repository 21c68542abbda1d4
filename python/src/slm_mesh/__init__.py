"""Client of slm-mesh, the mesh for AI coding agents on one machine.

``Session`` is a peer: it sends, gets messages pushed, locks files. ``SLMMeshClient`` only asks.
``AsyncSession`` and ``AsyncSLMMeshClient`` are the same for asyncio.
"""

from ._async_client import AsyncSLMMeshClient
from ._async_session import AsyncSession
from ._client import HeldLock, SLMMeshClient
from ._errors import (
    LockedError,
    NoBrokerError,
    OutcomeUnknownError,
    SLMMeshError,
    VersionConflictError,
)
from ._models import (
    BrokerHealth,
    BrokerStatus,
    Lock,
    MeshEvent,
    MeshEvents,
    Message,
    Messages,
    Peer,
    Registration,
    Sent,
    StateEntry,
)
from ._session import Session
from ._version import __version__

__all__ = [
    "AsyncSLMMeshClient",
    "AsyncSession",
    "BrokerHealth",
    "BrokerStatus",
    "HeldLock",
    "Lock",
    "LockedError",
    "MeshEvent",
    "MeshEvents",
    "Message",
    "Messages",
    "NoBrokerError",
    "OutcomeUnknownError",
    "Peer",
    "Registration",
    "SLMMeshClient",
    "SLMMeshError",
    "Sent",
    "Session",
    "StateEntry",
    "VersionConflictError",
    "__version__",
]
