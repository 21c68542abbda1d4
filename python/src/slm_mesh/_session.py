"""A session in the mesh, for threads."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from . import _api as api
from ._call import NOT_OURS_ANY_MORE
from ._client import MeshClient
from ._connection import HeldLock
from ._core import Ask, Core, Work, log
from ._errors import SLMMeshError, local
from ._locate import NO_BINARY, check_socket_path, find_binary, look_at_project
from ._wire import READ_BYTES, LineReader, ack_line
from .models import Lock, MeshEvent, Message, Registration

T = TypeVar("T")

#: How long each of the requests at the end of a session may take, seconds.
FAREWELL_TIME_MAX = 2.0


def make_listener(peers_dir: Path) -> tuple[socket.socket, Path]:
    """A Unix socket that listens in `peers_dir`, which is made if it is missing."""
    path = peers_dir / f"{uuid.uuid4()}.sock"
    check_socket_path(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The broker makes it and closes it to others; whoever removed it since is not the user's.
        peers_dir.mkdir(mode=0o700, exist_ok=True)
        listener.bind(os.fspath(path))
        os.chmod(path, 0o600)
        listener.listen(8)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        path.unlink(missing_ok=True)
        raise local("file_error", f"cannot listen on {path}: {error.strerror or error}") from error
    return listener, path


def is_own_user(connection: socket.socket) -> bool:
    """Whether whoever has connected runs as the same user, where the system tells (unix(7));
    elsewhere the mode of the directory keeps others out."""
    if sys.platform != "linux":
        return True
    form = struct.Struct("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, form.size)
    return bool(form.unpack(credentials)[1] == os.geteuid())


def started_by_default(start: bool | None, port: int | None) -> bool:
    """Whether a session starts a broker: unless told otherwise, if it can."""
    if start is None:
        return port is None and find_binary() is not None
    return start


class _Push:
    """The push socket and the broker's connection to it. Used by one thread."""

    def __init__(self, core: Core, guard: threading.Condition, peers_dir: Path) -> None:
        self._core = core
        self._guard = guard
        self._peers_dir = peers_dir
        self._selector = selectors.DefaultSelector()
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._listener: socket.socket | None = None
        self._path: Path | None = None
        self._connection: socket.socket | None = None
        self._lines = LineReader()
        self._out = bytearray()

    def wake(self) -> None:
        """Ends :meth:`wait`; from any thread."""
        with contextlib.suppress(OSError):
            self._waker.send(b"x")

    def exists(self) -> bool:
        """Whether the socket is where the broker was told."""
        return self._path is not None and self._path.exists()

    def listen(self) -> str:
        """Listens, if it does not already, and gives the path."""
        if not self.exists():
            self._stop_listening()
            listener, self._path = make_listener(self._peers_dir)
            self._selector.register(listener, selectors.EVENT_READ)
            self._listener = listener
        return str(self._path)

    def wait(self, timeout: float | None) -> None:
        """Waits for the broker, for :meth:`wake`, or for the time, and takes what was pushed."""
        for key, ready in self._selector.select(timeout):
            if key.fileobj is self._woken:
                with contextlib.suppress(BlockingIOError):
                    while self._woken.recv(4096):
                        pass
            elif key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is self._connection:
                if ready & selectors.EVENT_WRITE:
                    self.write(b"")
                if ready & selectors.EVENT_READ:
                    self._read()

    def _accept(self) -> None:
        if self._listener is None:
            return
        try:
            connection, _ = self._listener.accept()
        except OSError:
            # Whoever it was has gone again.
            return
        if not is_own_user(connection):
            log.warning("another user has connected to the push socket, and was refused")
            connection.close()
            return
        # Of several the newest stands.
        self._drop()
        connection.setblocking(False)
        self._connection = connection
        self._lines = LineReader()
        self._out.clear()
        self._selector.register(connection, selectors.EVENT_READ)
        with self._guard:
            self._core.handle_linked()

    def _read(self) -> None:
        if self._connection is None:
            return
        try:
            data = self._connection.recv(READ_BYTES)
            lines = self._lines.feed(data)
        except BlockingIOError:
            return
        except OSError as error:
            log.debug("the push connection has ended: %s", error)
            data, lines = b"", []
        except ValueError as error:
            log.warning("the push connection is ended: %s", error)
            data, lines = b"", []
        acks = b""
        if lines:
            with self._guard:
                for line in lines:
                    acks += self._core.handle_line(line)
                self._guard.notify_all()
        if data:
            self.write(acks)
        else:
            self._drop()
            with self._guard:
                self._core.handle_lost(time.monotonic())

    def write(self, data: bytes) -> None:
        """Sends acknowledgements; what does not go now goes when it can."""
        if self._connection is None:
            return
        self._out += data
        try:
            while self._out:
                del self._out[: self._connection.send(self._out)]
        except BlockingIOError:
            pass
        except OSError:
            # The read that follows tells of the end.
            self._out.clear()
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
        if self._selector.get_key(self._connection).events != wanted:
            self._selector.modify(self._connection, wanted)

    def _drop(self) -> None:
        if self._connection is not None:
            self._selector.unregister(self._connection)
            self._connection.close()
            self._connection = None

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Closes everything and removes the socket."""
        self._drop()
        self._stop_listening()
        self._selector.close()
        self._waker.close()
        self._woken.close()


class Session(MeshClient):
    """A peer of the mesh for as long as a ``with`` block lasts::

        with Session(name="watcher") as session:
            for message in session.listen():
                session.send(message.from_peer, "seen", reply_to=message.id)

    It registers, sends heartbeats from a thread of its own, gets its messages pushed, comes back
    under its old id when the broker has been restarted, and unregisters at the end. It has every
    method of :class:`MeshClient`, and acts as itself.

    ``name``: refused if another peer has it (``name_taken``); without it the broker makes one.
    ``private``: nobody else can speak for it, not even with the broker's token.
    ``start``: whether it starts a broker if none is running; unless given, it does if it finds
    ``SLM_MESH_BIN`` or ``slm-mesh`` on the PATH. After a broker was stopped on purpose it starts
    none before its next call.
    ``resume``: the ``registration`` of an earlier session that did not unregister; it comes back as
    that one, with its inbox.
    The others are those of :class:`MeshClient` and :meth:`MeshClient.register`.
    """

    def __init__(
        self,
        name: str | None = None,
        project_path: str | os.PathLike[str] | None = None,
        agent_type: str = "python",
        summary: str | None = None,
        *,
        private: bool = True,
        reach: str | None = None,
        resume: Registration | None = None,
        start: bool | None = None,
        host: str | None = None,
        port: int | None = None,
        timeout: float = 10.0,
        token_path: str | os.PathLike[str] | None = None,
        data_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(
            host,
            port,
            timeout,
            token_path,
            data_dir=data_dir,
            start=started_by_default(start, port),
        )
        if start is None and port is None and not self._start:
            self._place.not_started = NO_BINARY
        directory = self._directory = look_at_project(project_path).path
        #: Everything in the core is read and changed with this in hand.
        self._guard = threading.Condition(threading.Lock())
        self._core = Core(
            self._place,
            lambda: look_at_project(directory),
            name=name,
            agent_type=agent_type,
            summary=summary,
            private=private,
            reach=reach,
            resume=resume,
            start=self._start,
        )
        #: One registers at a time.
        self._arriving = threading.Lock()
        self._push: _Push | None = None
        self._thread: threading.Thread | None = None
        self._open = False
        #: Acknowledgements that the thread is to write.
        self._acks: list[str] = []

    # Its life.

    def __enter__(self) -> Session:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> None:
        """Registers; what ``with`` does at its beginning."""
        if self._open:
            raise local("invalid_request", "this session is open already")
        self._push = _Push(self._core, self._guard, self._place.peers_dir)
        try:
            self._do(self._core.arrive(time.monotonic))
            if self._core.trouble is not None:
                raise self._core.trouble
        except BaseException:
            self._push.close()
            self._push = None
            super().close()
            raise
        self._open = True
        self._thread = threading.Thread(target=self._run, name="slm-mesh session", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Unregisters; what ``with`` does at its end. Whoever listens comes to an end."""
        if not self._open:
            super().close()
            return
        with self._guard:
            self._open = False
            self._guard.notify_all()
        if self._push is not None:
            self._push.wake()
        if self._thread is not None:
            self._thread.join()
        try:
            self._farewell()
        finally:
            if self._push is not None:
                self._push.close()
            self._push = self._thread = None
            self._core.identity = self._identity = None
            super().close()

    def _farewell(self) -> None:
        self._core.mailbox.all_done()
        # At most the marks of one request: more can only wait when marking has failed.
        marks = self._core.mailbox.marks()
        if marks:
            self._last(api.mark_read(marks, None))
        self._last(api.unregister(None))

    def _last(self, request: api.Request[Any]) -> None:
        for _ in range(2):
            try:
                self._ask_as(request, False, min(self.timeout, FAREWELL_TIME_MAX))
            except SLMMeshError as error:
                # Both may be done twice.
                if error.code == "outcome_unknown":
                    continue
                if error.code not in ("no_broker", "unauthorized"):
                    log.warning("%s at the end of a session: %s", request.path, error.message)
            return

    # What its thread does.

    def _run(self) -> None:
        push = self._push
        assert push is not None
        while self._open:
            with self._guard:
                deadline = self._core.deadline()
                acks, self._acks = self._acks, []
            if acks:
                push.write(b"".join(ack_line(ack) for ack in acks))
            try:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                push.wait(left)
                with self._arriving:
                    self._do(self._core.work(time.monotonic, push.exists))
            except Exception:
                # A fault of this package must not end the session in silence.
                log.exception("the session's thread goes on after a fault")
                time.sleep(0.5)

    def _do(self, work: Work) -> None:
        """Does the work of the core; its requests are made without the guard."""
        result: Any = None
        while True:
            with self._guard:
                try:
                    step = work.send(result)
                except StopIteration:
                    self._identity = self._core.identity
                    self._guard.notify_all()
                    return
                # Requests are made as who it is by now.
                self._identity = self._core.identity
            try:
                if isinstance(step, Ask):
                    result = self._ask_as(step.request, step.start, self.timeout)
                elif self._push is None:
                    raise local("closed", "the session is closed")
                else:
                    result = self._push.listen()
            except SLMMeshError as error:
                result = error

    def _wake(self) -> None:
        if self._push is not None and threading.current_thread() is not self._thread:
            self._push.wake()

    # Calls.

    def _ask(self, request: api.Request[T]) -> T:
        if not self._open:
            raise local("closed", "the session is not open: use it in a `with` block")
        arrivals = self._core.arrivals
        try:
            result = super()._ask(request)
        except SLMMeshError as error:
            if error.code != "unauthorized" or request.peer is not None:
                raise
            # The broker does not know this session: nothing was done, so it may be asked again.
            with self._arriving:
                if self._core.arrivals == arrivals:
                    with self._guard:
                        self._core.handle_unknown(time.monotonic())
                    self._do(self._core.arrive(time.monotonic))
                    if self._core.trouble is not None:
                        raise self._core.trouble from error
            self._wake()
            return super()._ask(request)
        with self._guard:
            before = self._core.deadline()
            self._core.need(time.monotonic())
            changed = self._core.deadline() != before
        if changed:
            self._wake()
        return result

    def register(self, *_: Any, **__: Any) -> Registration:
        """A session registers by itself: refused."""
        raise local("invalid_request", "a session registers by itself: use it in a `with` block")

    def unregister(self, peer: str | None = None) -> None:
        """Ends the session, or has another peer leave."""
        if peer is None:
            self.close()
        else:
            super().unregister(peer)

    def set_summary(self, summary: str, peer: str | None = None) -> None:
        """As :meth:`MeshClient.set_summary`."""
        super().set_summary(summary, peer)
        if peer is None:
            with self._guard:
                self._core.summarised(summary)

    def subscribe(self, types: str | Iterable[str], peer: str | None = None) -> list[str]:
        """As :meth:`MeshClient.subscribe`; what comes is yielded by :meth:`listen_events`."""
        subscribed = super().subscribe(types, peer)
        if peer is None:
            with self._guard:
                self._core.subscribed(subscribed)
        return subscribed

    def unsubscribe(self, peer: str | None = None) -> None:
        """As :meth:`MeshClient.unsubscribe`."""
        super().unsubscribe(peer)
        if peer is None:
            with self._guard:
                self._core.subscribed([])

    def lock(
        self,
        path: str | os.PathLike[str],
        reason: str | None = None,
        *,
        ttl_minutes: int | None = None,
        resolve: bool = True,
        peer: str | None = None,
    ) -> HeldLock:
        """As :meth:`MeshClient.lock`. In a ``with`` block the session renews it, so that it does
        not run out; if it was lost all the same, the end of the block raises ``lock_lost``."""
        held = super().lock(path, reason, ttl_minutes=ttl_minutes, resolve=resolve, peer=peer)
        if peer is not None:
            return held

        def enter(lock: Lock) -> None:
            with self._guard:
                self._core.hold(lock, reason, ttl_minutes, time.monotonic())
            self._wake()

        def release(lock: Lock) -> None:
            with self._guard:
                lost, last = self._core.let_go(lock)
            try:
                if last:
                    self._release(lock, None)
            except SLMMeshError as error:
                if lost is None or error.code not in NOT_OURS_ANY_MORE:
                    raise
            if lost is not None:
                raise lost

        return HeldLock(**{**vars(held), "_release": release, "_enter": enter})

    # What is pushed.

    def receive(self, timeout: float | None = None) -> Message | None:
        """The next message; ``None`` if none comes within ``timeout`` seconds, or the session is
        closed. It stays unread until it is marked so; :meth:`listen` does that by itself."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._guard:
            while self._open:
                message, acks = self._core.mailbox.take()
                if message is not None:
                    self._acks += acks
                    if acks or self._core.mailbox.wants_page() is not None:
                        self._wake()
                    return message
                if not self._wait(deadline):
                    return None
        return None

    def _wait(self, deadline: float | None) -> bool:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return False
        self._guard.wait(left)
        return True

    def listen(self, timeout: float | None = None, *, mark_read: bool = True) -> Iterator[Message]:
        """Yields messages as they come, each once; ends when the session is closed, or when none
        has come for ``timeout`` seconds.

        A message is marked read when the next one is asked for, or the loop is left: what was not
        handed over stays unread. With ``mark_read=False`` that is left to the caller.
        """
        while (message := self.receive(timeout)) is not None:
            if mark_read:
                with self._guard:
                    self._core.mailbox.handed(message.id)
            try:
                yield message
            finally:
                if mark_read:
                    self._done(message)

    def _done(self, message: Message) -> None:
        with self._guard:
            first = self._core.mailbox.done(message.id)
        if first:
            self._wake()

    def listen_events(self, timeout: float | None = None) -> Iterator[MeshEvent]:
        """Yields the events that the session has subscribed to, as they are pushed; ends as
        :meth:`listen` does. If they are not taken in time the oldest of 1,024 go, and the gap shows
        by ``seq``; :meth:`follow` reads them from the store and misses none."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._guard:
                while self._open and not self._core.events:
                    if not self._wait(deadline):
                        return
                if not self._open:
                    return
                event = self._core.events.popleft()
            yield event
            deadline = None if timeout is None else time.monotonic() + timeout
