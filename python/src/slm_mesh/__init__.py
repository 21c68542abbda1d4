"""Client of slm-mesh, the mesh for AI coding agents on one machine.

``Session`` is a peer: it sends, gets messages pushed, locks files. ``MeshClient`` only asks.
``AsyncSession`` and ``AsyncMeshClient`` are the same for asyncio. What they return is in
``slm_mesh.models``.

``SLMMeshClient`` has the calls that programs of the field know, and returns the types beside it,
which are in ``slm_mesh.types``.
"""

from ._async_client import AsyncMeshClient
from ._async_session import AsyncSession
from ._client import MeshClient
from ._connection import HeldLock
from ._errors import (
    LockedError,
    NoBrokerError,
    OutcomeUnknownError,
    SLMMeshError,
    VersionConflictError,
)
from ._session import Session
from ._version import __version__
from .client import SLMMeshClient
from .types import (
    BrokerStatus,
    Lock,
    MeshEvent,
    Message,
    MessageStats,
    Peer,
    PeerStats,
    StateEntry,
)

__all__ = [
    "AsyncMeshClient",
    "AsyncSession",
    "BrokerStatus",
    "HeldLock",
    "Lock",
    "LockedError",
    "MeshClient",
    "MeshEvent",
    "Message",
    "MessageStats",
    "NoBrokerError",
    "OutcomeUnknownError",
    "Peer",
    "PeerStats",
    "SLMMeshClient",
    "SLMMeshError",
    "Session",
    "StateEntry",
    "VersionConflictError",
    "__version__",
]
