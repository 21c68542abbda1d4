"""What can go wrong, in sentences that say what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class SLMMeshError(Exception):
    """A call has no result.

    ``message`` says what is wrong and what to do.
    ``status_code`` is the HTTP status of a refusal, and 0 if there was no answer.
    ``response`` is the answer's JSON object; without an answer it holds ``code`` only.
    """

    def __init__(
        self,
        message: str,
        status_code: int = 0,
        response: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = status_code
        self.response: dict[str, Any] = dict(response or {})

    @property
    def code(self) -> str:
        """A stable word for it: that of the broker's refusal (``peer_not_found``), or
        ``no_broker``, ``unreachable``, ``sandboxed``, ``no_answer``, ``outcome_unknown``,
        ``protocol_error``, ``not_our_broker``, ``start_failed``, ``file_error``,
        ``invalid_request``, ``closed``."""
        code = self.response.get("code")
        return code if isinstance(code, str) else "protocol_error"

    @property
    def retry_after(self) -> float | None:
        """Seconds after which it is worth another try; only with ``rate_limited``."""
        wait = self.response.get("retryAfterMs")
        return wait / 1000 if isinstance(wait, (int, float)) else None


class NoBrokerError(SLMMeshError):
    """No broker is running, and none was to be started."""


class LockedError(SLMMeshError):
    """Someone else holds the lock; ``response["lock"]`` is the one in the way."""


class VersionConflictError(SLMMeshError):
    """The entry has another version; ``response["entry"]`` is the present one, or ``None``."""


class OutcomeUnknownError(SLMMeshError):
    """The connection broke, or the time ran out, after the request had been sent, or the broker
    could not bring it to the disk: it may have been carried out or not, and is not one that can be
    repeated without harm."""


def local(code: str, message: str, kind: type[SLMMeshError] = SLMMeshError) -> SLMMeshError:
    """An error that no broker has answered."""
    return kind(message, 0, {"code": code})


def refused(status: int, response: Mapping[str, Any]) -> SLMMeshError:
    """The error for a broker's refusal."""
    message = response.get("error")
    code = response.get("code")
    if not isinstance(message, str) or not isinstance(code, str):
        return SLMMeshError(
            f"the broker answered with status {status} and without a reason",
            status,
            {**response, "code": "protocol_error"},
        )
    kinds: dict[str, type[SLMMeshError]] = {
        "locked": LockedError,
        "version_conflict": VersionConflictError,
        "outcome_unknown": OutcomeUnknownError,
    }
    return kinds.get(code, SLMMeshError)(message, status, response)
