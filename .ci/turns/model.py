"""The stand-in model: a server on loopback that keeps what it was asked, and says what it was told.

It understands nothing. A play tells it beforehand what to say when a certain word comes (`on`); to
all else it answers with a short text, which ends the turn."""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from wires import Answer, Reading, Tool, streams, wire_of

# What follows when a word comes: the name of a tool and its arguments, by all that is new.
Says = Callable[[str], tuple[str, Any] | None]


@dataclass
class Request:
    """One request to the model, of those that offer it tools: titles are not counted."""

    number: int
    at: float
    body: dict[str, Any]
    reading: Reading

    @property
    def text(self) -> str:
        """All of it, as it came."""
        return json.dumps(self.body, ensure_ascii=False)

    def count(self, word: str) -> int:
        """How often a word stands in it."""
        return self.text.count(word)

    def newest(self) -> str:
        """What the model reads in it for the first time."""
        return "\n".join(entry.text for entry in self.reading.newest())

    def tools(self, name: str) -> list[Tool]:
        """The tools of this name, whatever an agent puts before it."""
        return [
            tool
            for tool in self.reading.tools
            if tool.name == name or tool.name.endswith(("_" + name, "-" + name))
        ]


class Model:
    """A stand-in model, and what it has been asked."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._changed = threading.Condition()
        self._open = 0
        self._last = time.monotonic()
        self._number = 0
        self._said: dict[str, tuple[Says | None, threading.Event | None]] = {}
        # Words that have come, and with what.
        self._read: dict[str, str] = {}
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                known = {"id": "stand-in", "object": "model"}
                self._json({"object": "list", "data": [known], "models": []})

            def do_POST(self) -> None:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    model._serve(self)

            def _json(self, value: Any) -> None:
                data = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    # What a play says to it.

    def on(self, word: str, says: Says | None = None, hold: threading.Event | None = None) -> None:
        """When a request brings this word, the model waits for `hold` and then says this. Once."""
        with self._changed:
            self._said[word] = (says, hold)

    def call(self, word: str, tool: str, arguments: Any) -> None:
        """When a request brings this word, the model calls a tool."""
        self.on(word, lambda _: (tool, arguments))

    # What a play asks of it.

    def wait(self, word: str, seconds: float, since: int = 0) -> Request | None:
        """The first request that has this word in it, of those from number `since` on."""

        def found() -> Request | None:
            return next((one for one in self.requests[since:] if word in one.text), None)

        with self._changed:
            self._changed.wait_for(lambda: found() is not None, seconds)
            return found()

    def quiet(self, seconds: float = 1.5, at_most: float = 60) -> None:
        """Waits until nothing has been asked for some time, and nothing waits for an answer."""
        end = time.monotonic() + at_most
        while time.monotonic() < end:
            with self._changed:
                rest = seconds - (time.monotonic() - self._last)
                if self._open == 0 and rest <= 0:
                    return
            time.sleep(max(rest, 0.05))

    def keep(self, path: Path) -> None:
        """Writes down what was new in each request."""
        lines = []
        for request in self.requests:
            lines.append(f"-- {request.number}, at {request.at:.2f}\n")
            lines += [f"{entry.who}: {entry.text}\n" for entry in request.reading.newest()]
        path.write_text("".join(lines))

    # The server.

    def _serve(self, handler: Any) -> None:
        body = json.loads(_body_of(handler) or b"{}")
        wire = wire_of(handler.path)
        if wire is None:
            handler._json({"input_tokens": 2})
            return
        reading = wire.read(body)
        # A request without tools is for a title or a summary.
        counted = bool(reading.tools)
        with self._changed:
            self._number += 1
            number = self._number
            request = Request(number, time.monotonic(), body, reading)
            if counted:
                self.requests.append(request)
                self._open += 1
                self._last = time.monotonic()
                self._changed.notify_all()
        try:
            answer = self._answer(request) if counted else Answer('{"title": "t"}')
            if streams(handler.path, body):
                _stream(handler, wire.stream(number, body, answer))
            else:
                handler._json(wire.whole(number, body, answer))
        finally:
            if counted:
                with self._changed:
                    self._open -= 1
                    self._last = time.monotonic()

    def _answer(self, request: Request) -> Answer:
        new = request.newest()
        with self._changed:
            # Of several words in one request, each has its turn: the others in those that follow.
            for word in self._said:
                if word in new:
                    self._read[word] = new
            words = [word for word in self._said if word in self._read]
        for word in words:
            says, hold = self._said[word]
            said = says(self._read[word]) if says else None
            if said is None and hold is None:
                # It came in another form than expected, and the next word may be meant.
                continue
            with self._changed:
                del self._said[word]
            if hold:
                hold.wait(120)
            if said is None:
                break
            tools = request.tools(said[0])
            if not tools:
                return Answer(f"There is no tool {said[0]}.")
            return Answer(tool=tools[0], arguments=said[1])
        return Answer(f"Done, {request.number}.")


def _body_of(handler: Any) -> bytes:
    if "chunked" in (handler.headers.get("Transfer-Encoding") or ""):
        data = b""
        while size := int(handler.rfile.readline().strip() or b"0", 16):
            data += handler.rfile.read(size)
            handler.rfile.readline()
        handler.rfile.readline()
    else:
        data = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    encoding = handler.headers.get("Content-Encoding")
    if encoding == "gzip":
        return gzip.decompress(data)
    if encoding == "zstd":
        program = shutil.which("zstd")
        if program is None:
            raise RuntimeError("a request in zstd, and no program zstd here")
        return subprocess.run([program, "-dc"], input=data, capture_output=True, check=True).stdout
    return data


def _stream(handler: Any, events: Any) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Connection", "close")
    handler.end_headers()
    for name, data in events:
        if name:
            handler.wfile.write(f"event: {name}\n".encode())
        text = data if isinstance(data, str) else json.dumps(data)
        handler.wfile.write(f"data: {text}\n\n".encode())
        handler.wfile.flush()
    handler.close_connection = True
