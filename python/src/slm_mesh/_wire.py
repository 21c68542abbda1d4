"""Bytes to answers and frames, and back: HTTP/1.1 as the broker speaks it, and lines of JSON.

Own code, since ``http.client`` sends head and body apart, parses headers as mail, has no limit on a
body, and cannot be used from asyncio. The broker sends one kind of answer: a status line, a few
headers, and a body with ``Content-Length``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ._errors import SLMMeshError, local

#: Largest request body, as the broker takes it.
BODY_BYTES_MAX = 1024 * 1024
#: Largest head of an answer.
HEAD_BYTES_MAX = 16 * 1024
#: Largest body of an answer: a list stops at 4 MiB.
ANSWER_BYTES_MAX = 8 * 1024 * 1024
#: Largest push frame: a payload of 64 KiB, escaped, is less than half of it.
FRAME_BYTES_MAX = 1024 * 1024
#: Most that is read at once.
READ_BYTES = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: dict[str, Any]
    #: Whether the connection is of no further use.
    close: bool = False


def encode_body(body: dict[str, Any]) -> bytes:
    """The JSON of a request body."""
    try:
        data = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        # A lone surrogate, NaN, or a value JSON has no form for.
        raise local("invalid_request", f"this cannot be sent as JSON: {error}") from error
    if len(data) > BODY_BYTES_MAX:
        raise local(
            "too_large",
            f"the request has {len(data)} bytes, and the broker takes {BODY_BYTES_MAX} at most",
        )
    return data


def encode_request(path: str, host: str, token: str | None, body: bytes | None) -> bytes:
    """A request in one piece, so that it leaves in one packet; without ``body`` it is a GET."""
    lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", f"Host: {host}"]
    if token is not None:
        if not token.isascii() or not token.isprintable():
            raise local("invalid_request", "the token has characters that no token has")
        lines.append(f"Authorization: Bearer {token}")
    if body is not None:
        lines.append("Content-Type: application/json")
        lines.append(f"Content-Length: {len(body)}")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
    return head if body is None else head + body


def _protocol(reason: str) -> SLMMeshError:
    return local("protocol_error", f"what answers at the broker's port is no slm-mesh: {reason}")


class AnswerReader:
    """One answer after the other, from bytes in any pieces."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._body_at = 0
        self._length = 0
        self._status = 0
        self._close = False

    def is_empty(self) -> bool:
        """Whether no byte waits that nobody asked for."""
        return not self._data

    def feed(self, data: bytes) -> Answer | None:
        """Takes bytes; gives the answer once it is whole."""
        self._data += data
        if not self._body_at:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                if len(self._data) > HEAD_BYTES_MAX:
                    raise _protocol("its answer has no end of the head")
                return None
            self._read_head(bytes(self._data[:end]))
            self._body_at = end + 4
        end = self._body_at + self._length
        if len(self._data) < end:
            return None
        body = bytes(self._data[self._body_at : end])
        del self._data[:end]
        self._body_at = 0
        try:
            parsed = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise _protocol(f"status {self._status} with a body that is no JSON") from error
        if not isinstance(parsed, dict):
            raise _protocol("its answer is no JSON object")
        return Answer(self._status, parsed, self._close)

    def _read_head(self, head: bytes) -> None:
        if len(head) > HEAD_BYTES_MAX:
            raise _protocol("the head of its answer is too long")
        status_line, *fields = head.decode("latin-1").split("\r\n")
        version, _, rest = status_line.partition(" ")
        code = rest[:3]
        if version not in ("HTTP/1.1", "HTTP/1.0") or not (code.isascii() and code.isdigit()):
            raise _protocol("its answer is not HTTP")
        self._status = int(code)
        self._close = version == "HTTP/1.0"
        length: int | None = None
        for line in fields:
            name, colon, value = line.partition(":")
            name, value = name.lower(), value.strip()
            if not colon:
                raise _protocol("its answer has a header without a colon")
            if name == "content-length":
                digits = value.isascii() and value.isdigit() and len(value) < 12
                if not digits or length is not None:
                    raise _protocol("its answer has a bad Content-Length")
                length = int(value)
            elif name == "transfer-encoding":
                raise _protocol("its answer has a Transfer-Encoding")
            elif name == "connection" and value.lower() == "close":
                self._close = True
        if length is None:
            raise _protocol("its answer has no Content-Length")
        if length > ANSWER_BYTES_MAX:
            raise _protocol(f"its answer has {length} bytes, at most {ANSWER_BYTES_MAX} are taken")
        self._length = length


class LineReader:
    """Lines, from bytes in any pieces."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Takes bytes; gives the lines that are whole. ``ValueError`` if one is too long."""
        self._data += data
        lines = []
        while (end := self._data.find(b"\n", self._searched)) >= 0:
            lines.append(bytes(self._data[:end]))
            del self._data[: end + 1]
            self._searched = 0
        self._searched = len(self._data)
        if self._searched > FRAME_BYTES_MAX:
            raise ValueError(f"a frame has more than {FRAME_BYTES_MAX} bytes")
        return lines


def ack_line(message_id: str) -> bytes:
    """The acknowledgement of a message frame."""
    return json.dumps({"ack": message_id}).encode() + b"\n"
