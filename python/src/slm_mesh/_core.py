"""What a session decides: which messages wait, which are known, when to register, to come back, to
send a heartbeat. No I/O and no clock; the shells with threads and with asyncio drive it.
"""

from __future__ import annotations

import heapq
import json
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from . import _api as api
from ._errors import SLMMeshError
from ._locate import Broker, NotReady, Place, Project
from ._wire import ack_line
from .models import Lock, MeshEvent, Message, Messages, Registration, text

log = logging.getLogger("slm_mesh")

#: Messages that wait to be taken before those that follow are no longer acknowledged; then the
#: broker's window (64) ends the flow, and the rest waits in the store.
QUEUE_MAX = 256
#: Messages that are known when they come again: those in the queue and the window, those that are
#: being marked, and as many again.
KNOWN_MAX = 4096
#: Pushed events that wait to be taken; the oldest goes first, and the gap shows by ``seq``.
EVENTS_MAX = 1024
#: How many messages are caught up with at once.
PAGE = 100
#: Least time between two requests that mark messages read, seconds: they cost of the peer's rate.
MARK_EVERY = 1.0
#: First and longest pause after an attempt to register that failed, seconds.
PAUSE_MIN = 0.5
PAUSE_MAX = 10.0
#: How often a broker is looked for that someone else may start, seconds.
LOOK_EVERY = 2.0
#: After this the broker should have connected to the push socket, seconds.
LINK_TIME = 0.1
#: How often a broker whose push connection has ended is looked for, until the next heartbeat.
LOOKS_MAX = 12
#: A session that has lasted so long does not count as one that fails again and again, seconds.
STEADY_AFTER = 10.0

#: What a frame raises that is not as it should be.
_UNREADABLE = (SLMMeshError, ValueError, RecursionError, AttributeError, LookupError, TypeError)


@dataclass(frozen=True)
class Ask:
    """A request the shell is to make. Wants its result, or the :class:`SLMMeshError`."""

    request: api.Request[Any]
    #: Whether a broker may be started for it.
    start: bool


@dataclass(frozen=True)
class Listen:
    """Listen on the push socket, if it is not done already. Wants the path."""


Work = Generator[Ask | Listen, Any, None]


class Mailbox:
    """Messages between the push connection and whoever takes them, each once, in their order."""

    def __init__(self) -> None:
        self._queue: list[tuple[int, int, Message]] = []
        self._count = 0
        self._known: OrderedDict[str, None] = OrderedDict()
        #: Pushed, and to be acknowledged when one is taken.
        self._withheld: deque[str] = deque()
        self._to_mark: list[str] = []
        #: Handed over, and looked at by now.
        self._handed: dict[str, None] = {}
        #: The inbox may hold what came before an interruption, from this number on. What was pushed
        #: meanwhile waits behind it.
        self._behind: int | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def put_pushed(self, message: Message) -> bool:
        """Takes a pushed message; whether it is acknowledged now."""
        if message.id in self._known:
            return message.id not in self._withheld
        self._put(message)
        if len(self._queue) > QUEUE_MAX:
            self._withheld.append(message.id)
            return False
        return True

    def _put(self, message: Message) -> None:
        self._known[message.id] = None
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        self._count += 1
        heapq.heappush(self._queue, (message.seq, self._count, message))

    def catch_up(self) -> None:
        """There was an interruption."""
        self._behind = 0

    def wants_page(self) -> int | None:
        """The number behind which the inbox is to be looked at, if it is."""
        return self._behind if len(self._queue) <= QUEUE_MAX // 2 else None

    def put_page(self, messages: Messages) -> None:
        """Takes what the inbox has."""
        for message in messages:
            if message.id not in self._known:
                self._put(message)
        self._behind = messages[-1].seq if messages and messages.remaining else None

    def is_ready(self) -> bool:
        """Whether there is one to be taken."""
        if not self._queue:
            return False
        return self._behind is None or self._queue[0][0] <= self._behind

    def take(self) -> tuple[Message | None, list[str]]:
        """The next message, and what is to be acknowledged now."""
        if not self.is_ready():
            return None, []
        message = heapq.heappop(self._queue)[2]
        acks = []
        while self._withheld and len(self._queue) <= QUEUE_MAX:
            acks.append(self._withheld.popleft())
        return message, acks

    def handed(self, message_id: str) -> None:
        """A message is looked at, and to be marked read after that."""
        self._handed[message_id] = None

    def done(self, message_id: str) -> bool:
        """It was. Whether it is the first that waits to be marked."""
        if message_id not in self._handed:
            return False
        del self._handed[message_id]
        self._to_mark.append(message_id)
        return len(self._to_mark) == 1

    def all_done(self) -> None:
        """The session ends, and a loop that was left may not have said so yet."""
        for message_id in list(self._handed):
            self.done(message_id)

    def marks(self) -> list[str]:
        """What is to be marked read."""
        return self._to_mark[: api.MARK_READ_IDS_MAX]

    def marked(self, count: int) -> None:
        """The first so many were."""
        del self._to_mark[:count]


@dataclass
class Holding:
    """A lock that is held in a ``with`` block, and renewed."""

    lock: Lock
    reason: str | None
    ttl_minutes: int | None
    #: How long it lasts, seconds.
    seconds: float = 0.0
    #: When it is renewed, on the monotonic clock.
    renew_at: float = 0.0
    #: What the shell has to say when the block ends: the lock was lost.
    lost: SLMMeshError | None = None


class Core:
    """See the module."""

    def __init__(
        self,
        place: Place,
        project: Callable[[], Project],
        *,
        name: str | None,
        agent_type: str,
        summary: str | None,
        private: bool,
        reach: str | None,
        resume: Registration | None,
        start: bool,
    ) -> None:
        self.mailbox = Mailbox()
        self.events: deque[MeshEvent] = deque(maxlen=EVENTS_MAX)
        #: Pushed events that nobody took in time.
        self.events_dropped = 0
        self.identity = resume
        self.start = start
        self.holdings: list[Holding] = []
        #: Counts registrations, so that one who was refused can tell that there was another since.
        self.arrivals = 0
        self._place = place
        self._project = project
        self._name = name
        self._agent_type = agent_type
        self._summary = summary
        self._private = private
        self._reach = reach
        self._types: list[str] = []
        self._broker: Broker | None = None
        self._present = False
        self._present_since = 0.0
        #: When to look whether the broker is still there, or to register.
        self._look_at: float | None = None
        self._heartbeat_at = 0.0
        self._mark_at = 0.0
        self._page_at = 0.0
        self._failures = 0
        #: The broker is connected to the push socket.
        self._linked = False
        #: How often it was looked for since that connection has ended.
        self._looks = 0
        #: The broker was stopped on purpose: none is started until someone needs one.
        self._resting = False
        #: Why it is not in the mesh.
        self.trouble: SLMMeshError | None = None

    # The push connection.

    def handle_line(self, line: bytes) -> bytes:
        """A line was pushed; gives what goes back."""
        try:
            frame = json.loads(line)
            kind = text(frame, "type")
            if kind == "message":
                message = Message.from_frame(frame, self.identity.peer_id if self.identity else "")
                return ack_line(message.id) if self.mailbox.put_pushed(message) else b""
            if kind == "event":
                if len(self.events) == EVENTS_MAX:
                    self.events_dropped += 1
                self.events.append(MeshEvent.from_frame(frame))
            elif kind == "shutdown":
                self._resting = frame["payload"]["reason"] == "stopped"
        except _UNREADABLE as error:
            log.warning("a push frame that cannot be read was ignored: %s", error)
        return b""

    def handle_linked(self) -> None:
        """The broker has connected to the push socket."""
        self._linked = True

    def handle_lost(self, now: float) -> None:
        """The push connection has ended: the broker has gone, or only the connection."""
        self._linked = False
        self._doubt(now)

    def _doubt(self, now: float) -> None:
        if self._present:
            self._looks = 0
            self._look_at = now

    def handle_unknown(self, now: float) -> None:
        """The broker does not know this session."""
        self._present = False
        self._resting = False
        self._look_at = now

    def need(self, now: float) -> None:
        """Someone has asked the broker, and a broker was there."""
        if self._resting or not self._present:
            self._resting = False
            self._look_at = now

    # What is to be done.

    def deadline(self) -> float | None:
        """When :meth:`work` has something to do; ``None`` if nothing."""
        times = []
        if self._look_at is not None:
            times.append(self._look_at)
        if self._present:
            times.append(self._heartbeat_at)
            times.extend(holding.renew_at for holding in self.holdings if holding.lost is None)
            if self.mailbox.marks():
                times.append(self._mark_at)
            if self.mailbox.wants_page() is not None:
                times.append(self._page_at)
        return min(times, default=None)

    def arrive(self, clock: Callable[[], float], socket_gone: bool = False) -> Work:
        """Registers; what went wrong is in ``trouble`` then, and the session is not present."""
        now = clock()
        if not socket_gone:
            # Finds or starts the broker, whose directory the socket is made in.
            health = yield Ask(api.health(), self.start and not self._resting)
            if isinstance(health, SLMMeshError):
                return self._failed(health, clock())
        path = yield Listen()
        if isinstance(path, SLMMeshError):
            return self._failed(path, clock())
        first = self.identity is None
        while True:
            resume = self.identity
            result = yield Ask(self._introduction(path, resume, first), False)
            now = clock()
            if isinstance(result, Registration):
                break
            if resume is not None and result.code in (
                "peer_not_found",
                "unauthorized",
                "forbidden",
            ):
                # Nobody remembers this session: it is somebody new.
                log.warning("the broker has forgotten %s, which registers anew", resume.name)
                self.identity = None
            else:
                return self._failed(result, now)
        if resume is not None:
            # A token is told only once, when it is given.
            result = Registration(
                result.peer_id,
                result.name,
                result.peer_token or resume.peer_token,
                result.heartbeat_ms,
            )
            self.mailbox.catch_up()
        self.identity = result
        self.arrivals += 1
        self.trouble = None
        self._present, self._present_since = True, now
        self._resting = False
        # A broker that dies before it has connected leaves no connection to end.
        self._looks = 0
        self._look_at = None if self._linked else now + LINK_TIME
        self._heartbeat_at = now + self._heartbeat_every()
        self._page_at = now
        found = self._place.locate()
        self._broker = found if isinstance(found, Broker) else None
        if resume is None and self._types:
            yield Ask(api.subscribe(self._types, None), False)
        return None

    def _introduction(
        self, path: str, resume: Registration | None, first: bool
    ) -> api.Request[Registration]:
        project = self._project()
        return api.register(
            project_path=project.path,
            # Back under the name it had, if it is still to be had.
            name=None if resume else self._name,
            # A name that another has meanwhile is no reason to be left out of the mesh.
            exclusive=first,
            agent_type=self._agent_type,
            summary=self._summary,
            git_root=project.git_root,
            git_branch=project.git_branch,
            repo_id=project.repo_id,
            repo_hash=project.repo_hash,
            private=self._private,
            uds_path=path,
            acks=True,
            reach=self._reach,
            resume=resume,
        )

    def _heartbeat_every(self) -> float:
        ms = self.identity.heartbeat_ms if self.identity else 15_000
        return min(max(ms, 10), 86_400_000) / 1000

    def _failed(self, error: SLMMeshError, now: float) -> None:
        self.trouble = error
        self._present = False
        if error.code == "no_broker":
            self._look_at = now + LOOK_EVERY
            return
        self._failures += 1
        pause = min(PAUSE_MIN * 2 ** min(self._failures - 1, 10), PAUSE_MAX)
        self._look_at = now + pause
        if self.arrivals:
            # Otherwise whoever opens the session is told.
            log.warning("not in the mesh, next attempt in %.1f s: %s", pause, error.message)

    def work(self, clock: Callable[[], float], socket_exists: Callable[[], bool]) -> Work:
        """Does what is due."""
        now = clock()
        if self._look_at is not None and self._look_at <= now:
            yield from self._look(clock)
        if not self._present:
            return
        now = clock()
        if self._heartbeat_at <= now:
            self._heartbeat_at = now + self._heartbeat_every()
            if now - self._present_since > STEADY_AFTER:
                self._failures = 0
            if not socket_exists():
                # Someone has cleaned up, or a broker took this process for dead.
                yield from self.arrive(clock)
                return
            result = yield Ask(api.heartbeat(self._project().git_branch, None), False)
            if isinstance(result, SLMMeshError):
                self._handle_refusal(result, clock())
        yield from self._mark(clock)
        yield from self._catch_up(clock)
        yield from self._renew(clock)

    def _look(self, clock: Callable[[], float]) -> Work:
        self._look_at = None
        now = clock()
        try:
            found = self._place.locate()
        except SLMMeshError as error:
            return self._failed(error, now)
        if isinstance(found, NotReady):
            self._look_at = now + 0.05
            return None
        if self._present:
            if found is not None and found == self._broker:
                # Only the connection has ended, and the broker makes another; or it is just dying,
                # and the kernel has not dropped its lock yet.
                if not self._linked and self._looks < LOOKS_MAX:
                    self._look_at = now + min(0.02 * 2**self._looks, LOOK_EVERY)
                    self._looks += 1
                return None
            self._present = False
            if now - self._present_since > STEADY_AFTER:
                self._failures = 0
            elif self._failures:
                self._failures += 1
                self._look_at = now + min(PAUSE_MIN * 2 ** min(self._failures, 10), PAUSE_MAX)
                return None
            else:
                # At once the first time.
                self._failures = 1
        if found is None and (self._resting or not self.start):
            self._look_at = now + LOOK_EVERY
            return None
        yield from self.arrive(clock)
        return None

    def _handle_refusal(self, error: SLMMeshError, now: float) -> None:
        if error.code in ("unauthorized", "peer_not_found"):
            self.handle_unknown(now)
        elif error.status_code == 0:
            self._doubt(now)

    def _mark(self, clock: Callable[[], float]) -> Work:
        now = clock()
        marks = self.mailbox.marks()
        if marks and self._present and self._mark_at <= now:
            self._mark_at = now + MARK_EVERY
            yield from self.mark(marks, clock)

    def mark(self, marks: list[str], clock: Callable[[], float]) -> Work:
        """Marks these, the first of those that wait for it."""
        result = yield Ask(api.mark_read(marks, None), False)
        if not isinstance(result, SLMMeshError):
            self.mailbox.marked(len(marks))
        else:
            self._handle_refusal(result, clock())

    def _catch_up(self, clock: Callable[[], float]) -> Work:
        while (after := self.mailbox.wants_page()) is not None:
            if not self._present or self._page_at > clock():
                return
            request = api.fetch("unread", None, PAGE, None, after, 0, None)
            result = yield Ask(request, False)
            if isinstance(result, SLMMeshError):
                self._page_at = clock() + PAUSE_MIN
                self._handle_refusal(result, clock())
                return
            self.mailbox.put_page(result)

    # Locks and subscriptions.

    def hold(self, lock: Lock, reason: str | None, ttl_minutes: int | None, now: float) -> None:
        """A lock was taken for a block; it is renewed when half of its time is over."""
        # The wall clock is the broker's own: it is on this machine.
        left = (lock.expires_at - datetime.now(timezone.utc)).total_seconds()
        seconds = max(1.0, left)
        self.holdings.append(Holding(lock, reason, ttl_minutes, seconds, now + seconds / 2))

    def let_go(self, lock: Lock) -> tuple[SLMMeshError | None, bool]:
        """The block has ended. Gives the error if the lock was lost meanwhile, and whether it is to
        be released: not while another block of this session holds the same file."""
        lost: SLMMeshError | None = None
        for holding in reversed(self.holdings):
            if holding.lock.file_path == lock.file_path and holding.lock.fence == lock.fence:
                self.holdings.remove(holding)
                lost = holding.lost
                break
        others = any(other.lock.file_path == lock.file_path for other in self.holdings)
        return lost, not others

    def _renew(self, clock: Callable[[], float]) -> Work:
        for holding in list(self.holdings):
            if holding.lost is not None or holding.renew_at > clock():
                continue
            holding.renew_at = clock() + 5.0
            lock = holding.lock
            found = yield Ask(api.locks(lock.spelling), False)
            if isinstance(found, SLMMeshError):
                self._handle_refusal(found, clock())
                return
            if holding not in self.holdings:
                continue
            # Beside it there may be another of ours that overlaps.
            if lock.fence not in [held.fence for held in found]:
                # Not taken again: what it protected may have been touched.
                holding.lost = SLMMeshError(
                    f"the lock on {lock.file_path} was lost while it was held: look at the file "
                    "before you go on",
                    0,
                    {"code": "lock_lost"},
                )
                log.warning("%s", holding.lost.message)
                continue
            request = api.lock(lock.spelling, holding.reason, holding.ttl_minutes, None)
            renewed = yield Ask(request, False)
            if isinstance(renewed, Lock) and renewed.fence == lock.fence:
                holding.renew_at = clock() + holding.seconds / 2

    def subscribed(self, types: list[str]) -> None:
        """What a session that registers anew subscribes to."""
        self._types = types

    def summarised(self, summary: str) -> None:
        """What a session that registers anew works on."""
        self._summary = summary
