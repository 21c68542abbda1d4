"""One request from its first attempt to its answer: which step is next, what a failure means, and
what may be tried again.

:func:`attempt` decides only. It is a generator of steps; whoever drives it, with threads or with
asyncio, does each step and sends back what came of it.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from ._api import Request
from ._errors import OutcomeUnknownError, SLMMeshError, local, refused
from ._locate import Broker, NotReady, Place
from ._wire import Answer, encode_request

#: Refusals that say that a lock has gone already.
NOT_OURS_ANY_MORE = ("lock_not_found", "forbidden")
#: First pause before something that has failed is tried again, seconds; it doubles each time.
_PAUSE_MIN = 0.01
_PAUSE_MAX = 0.16
#: How long a broker that answers `unavailable` is watched: it may be one that is about to end.
_ENDING_TIME_MAX = 0.5
#: How long a broker that has gone during a call is waited for: it may be being restarted, seconds.
_RETURN_TIME_MAX = 2.0
#: Most brokers started by one call: one that starts and ends again at once is no help.
_LAUNCHES_MAX = 3


@dataclass(frozen=True)
class Exchange:
    """Send ``data`` to ``broker`` and read the answer. Wants an :class:`Answer` or a
    :class:`Broken`."""

    broker: Broker
    data: bytes
    #: On the monotonic clock.
    deadline: float


@dataclass(frozen=True)
class Launch:
    """Run the command that starts a broker. Wants ``None``; errors are raised into the driver."""

    deadline: float


@dataclass(frozen=True)
class Pause:
    """Do nothing for so many seconds. Wants ``None``."""

    seconds: float


Step = Exchange | Launch | Pause


@dataclass(frozen=True)
class Broken:
    """There was no answer."""

    error: SLMMeshError
    #: Whether some of the request has gone out.
    in_doubt: bool


@dataclass
class Known:
    """The broker of the last call, which is asked first."""

    broker: Broker | None = None


@dataclass(frozen=True)
class Actor:
    """In whose name requests are made."""

    #: A peer's own token; ``None`` for that of the broker.
    token: str | None
    #: Who acts, where the token does not tell.
    name: str | None


def attempt(
    request: Request[Any],
    actor: Actor,
    place: Place,
    known: Known,
    timeout: float,
    start: bool,
) -> Generator[Step, Any, dict[str, Any]]:
    """Makes ``request``; returns the JSON of a success."""
    own = actor.token if request.peer is None and not request.as_broker else None
    default_actor = None if own else actor.name
    # What is left for the answer of a held request that is asked again.
    answer_time = min(2.5, timeout / 2)
    token = request.token or own
    begun = time.monotonic()
    deadline = begun + timeout + request.wait
    broker = known.broker
    trouble: SLMMeshError | None = None
    # An answer that may be that of a broker which is about to go, or has gone.
    doubted: tuple[Answer, Broker, float] | None = None
    failures = launches = 0
    reread = False
    # It has gone out, and was not answered.
    in_doubt = False
    back_until = begun

    def pause() -> Pause | None:
        # At once the first time.
        nonlocal failures
        failures += 1
        if failures == 1:
            return None
        wait = min(_PAUSE_MIN * 2 ** min(failures - 2, 8), _PAUSE_MAX)
        return Pause(max(0.0, min(wait, deadline - time.monotonic())))

    while True:
        if time.monotonic() >= deadline:
            if doubted is not None:
                raise refused(doubted[0].status, doubted[0].body)
            error = trouble or local("no_answer", f"no answer within {timeout:g} s")
            raise _as_it_is(request, error, in_doubt)
        if broker is None:
            found = place.locate()
            if found is None:
                known.broker = None
                if not start and time.monotonic() < back_until:
                    if wait := pause():
                        yield wait
                    continue
                if not start:
                    raise _as_it_is(request, place.absent(place.not_started), in_doubt)
                if launches == _LAUNCHES_MAX:
                    raise local(
                        "start_failed",
                        f"a broker started and ended again at once; its log is "
                        f"{place.data_dir / 'broker.log'}",
                    )
                launches += 1
                yield Launch(deadline)
                continue
            if isinstance(found, NotReady):
                trouble = local(
                    "unreachable",
                    f"the broker of {place.data_dir} is starting, stopping or stuck",
                )
                if wait := pause():
                    yield wait
                continue
            broker = found
            if doubted is not None and doubted[1] == broker:
                if time.monotonic() >= doubted[2]:
                    raise refused(doubted[0].status, doubted[0].body)
                broker = None
                if wait := pause():
                    yield wait
                continue
            doubted = None
        body = request.encode(default_actor, deadline - time.monotonic() - answer_time)
        data = encode_request(
            request.path,
            broker.authority,
            None if request.path == "/health" else token or broker.token,
            body,
        )
        result = yield Exchange(broker, data, deadline)
        if isinstance(result, Answer):
            if result.status == 200:
                known.broker = broker
                return result.body
            if result.status == 401 and not reread:
                # It may be a successor, whose token is another: the files are read once more.
                reread = True
                doubted = (result, broker, 0.0)
            elif result.status == 503 and result.body.get("code") == "unavailable":
                # It may be about to end; nothing of the request was kept.
                doubted = (result, broker, time.monotonic() + _ENDING_TIME_MAX)
            else:
                known.broker = broker
                raise refused(result.status, result.body)
            broker = None
            continue
        known.broker = None
        back_until = time.monotonic() + _RETURN_TIME_MAX
        in_doubt = in_doubt or result.in_doubt
        if result.in_doubt and not request.repeatable:
            raise _as_it_is(request, result.error, in_doubt)
        # What is not ours may be the port of a broker that has just gone; but not for ever.
        # The broker may have been about to go; a sandbox stays.
        patience = {"not_our_broker": 3, "sandboxed": 6}.get(result.error.code)
        lasts = patience is not None and failures > patience
        if lasts or result.error.code == "protocol_error":
            raise _as_it_is(request, result.error, in_doubt)
        trouble, broker = result.error, None
        if wait := pause():
            yield wait


def _as_it_is(request: Request[Any], error: SLMMeshError, in_doubt: bool) -> SLMMeshError:
    """``error``, or that nobody knows what came of a request that was sent and changes things."""
    if not in_doubt or (request.repeatable and not request.changes):
        return error
    return local(
        "outcome_unknown",
        f"{request.path} was sent and not answered ({error.message}): look whether it was carried "
        "out before you repeat it",
        OutcomeUnknownError,
    )


def unreachable(broker: Broker, error: OSError) -> SLMMeshError:
    """The error for a connection that failed or broke."""
    reason = error.strerror or str(error) or type(error).__name__
    return local("unreachable", f"the broker at {broker.authority} cannot be reached: {reason}")


def ended(broker: Broker) -> SLMMeshError:
    """The error for a connection that was closed before the answer."""
    return local("unreachable", f"the broker at {broker.authority} closed the connection")


def timed_out(broker: Broker) -> SLMMeshError:
    """The error for an answer that did not come."""
    return local("no_answer", f"the broker at {broker.authority} did not answer in time")


def greeting(broker: Broker) -> bytes:
    """The first request on a connection: what does not answer it as the broker of this data
    directory gets neither a request nor a token."""
    return encode_request("/health", broker.authority, None, None)


def check_greeting(broker: Broker, answer: Answer) -> None:
    """Raises unless the answer to :func:`greeting` is that of this broker."""
    mesh = answer.body.get("mesh")
    if answer.status != 200:
        raise refused(answer.status, answer.body)
    if not isinstance(mesh, str) or broker.mesh not in (None, mesh):
        whose = "is no slm-mesh broker" if not isinstance(mesh, str) else "is another mesh's broker"
        raise local(
            "not_our_broker",
            f"what answers at {broker.authority} {whose}: stop it, or have ours use another port",
        )
