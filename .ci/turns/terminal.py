"""A terminal: an agent's program runs in it, its screen can be read, and keys can be pressed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_ROWS, _COLUMNS = 50, 140

_ESCAPE = re.compile(
    r"\x1b\[(?P<private>[<-?]?)(?P<numbers>[0-9;:]*)[ -/]*(?P<final>[@-~])"
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\)"
    r"|\x1b(?:[ -/]+[0-~]|[^ -/\[\]PX^_])",
    re.DOTALL,
)
# One that has begun, and whose end is still to come.
_BEGUN = re.compile(r"\x1b(?:\[[<-?]?[0-9;:]*[ -/]*|[\]PX^_][^\x07]*|[ -/]*)?$", re.DOTALL)

# What programs ask a terminal at their start, and wait for.
_QUESTIONS = (
    (re.compile(rb"\x1b\[6n"), b"\x1b[1;1R"),
    (re.compile(rb"\x1b\[0?c"), b"\x1b[?62;22c"),
    (re.compile(rb"\x1b\]10;\?"), b"\x1b]10;rgb:ffff/ffff/ffff\x1b\\"),
    (re.compile(rb"\x1b\]11;\?"), b"\x1b]11;rgb:0000/0000/0000\x1b\\"),
)


class Screen:
    """What is on a terminal: places, and no colours."""

    def __init__(self) -> None:
        self._lines = [[" "] * _COLUMNS for _ in range(_ROWS)]
        self._row = self._column = 0
        self._rest = ""

    def feed(self, text: str) -> None:
        """Takes what a program has written."""
        text, self._rest = self._rest + text, ""
        at = 0
        for escape in _ESCAPE.finditer(text):
            self._write(text[at : escape.start()])
            if escape.group("final") and not escape.group("private"):
                self._control(escape.group("final"), escape.group("numbers"))
            at = escape.end()
        text = text[at:]
        begun = _BEGUN.search(text)
        if begun and len(text) - begun.start() < 65536:
            text, self._rest = text[: begun.start()], text[begun.start() :]
        self._write(text)

    def _write(self, text: str) -> None:
        for sign in text:
            if sign == "\r":
                self._column = 0
            elif sign == "\n":
                self._down()
            elif sign == "\b":
                self._column = max(self._column - 1, 0)
            elif sign >= " ":
                if self._column >= _COLUMNS:
                    self._column = 0
                    self._down()
                self._lines[self._row][self._column] = sign
                self._column += 1

    def _down(self) -> None:
        if self._row + 1 < _ROWS:
            self._row += 1
        else:
            self._lines.append([" "] * _COLUMNS)
            del self._lines[0]

    def _control(self, final: str, numbers: str) -> None:
        given = [int(number or 0) for number in re.split("[;:]", numbers)] if numbers else [0]
        count = max(given[0], 1)
        if final in "Hf":
            self._row = count - 1
            self._column = (given[1] if len(given) > 1 else 1) - 1
        elif final == "A":
            self._row -= count
        elif final == "B":
            self._row += count
        elif final == "C":
            self._column += count
        elif final == "D":
            self._column -= count
        elif final == "G":
            self._column = count - 1
        elif final == "d":
            self._row = count - 1
        elif final == "J":
            self._erase(given[0], 0, _ROWS)
        elif final == "K":
            self._erase(given[0], self._row, self._row + 1)
        elif final == "X":
            line = self._lines[self._row]
            line[self._column : self._column + count] = [" "] * len(
                line[self._column : self._column + count]
            )
        self._row = min(max(self._row, 0), _ROWS - 1)
        self._column = min(max(self._column, 0), _COLUMNS - 1)

    def _erase(self, which: int, first: int, end: int) -> None:
        here = (self._row, min(self._column, _COLUMNS - 1))
        for row in range(first, end):
            for column in range(_COLUMNS):
                before = (row, column) < here
                if which == 2 or (which == 1) == before or which == 3:
                    self._lines[row][column] = " "

    def text(self) -> str:
        """The lines that are not empty."""
        lines = ("".join(line).rstrip() for line in list(self._lines))
        return "\n".join(line for line in lines if line)


class Terminal:
    """A program in a terminal of its own."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], directory: Path
    ) -> None:
        self.screen = Screen()
        self.ended = False
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(directory)
                os.execve(command[0], list(command), dict(environment))
            finally:
                os._exit(127)
        size = struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                select.select([self._terminal], [], [])
                data = os.read(self._terminal, 65536)
            except (OSError, ValueError):
                data = b""
            if not data:
                self.ended = True
                return
            for question, answer in _QUESTIONS:
                if question.search(data):
                    self.press(answer)
            self.screen.feed(data.decode("utf-8", "replace"))

    def press(self, keys: bytes) -> None:
        """Presses keys."""
        try:
            os.write(self._terminal, keys)
        except OSError:
            self.ended = True

    def until(self, shown: Callable[[str], bool], seconds: float) -> bool:
        """Waits until the screen is as wanted."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.ended:
            if shown(self.screen.text()):
                return True
            time.sleep(0.05)
        return shown(self.screen.text())

    def shows(self, *words: str, seconds: float = 20) -> str | None:
        """Waits for one of these words, and gives the one that is there."""
        self.until(lambda text: any(word in text for word in words), seconds)
        return next((word for word in words if word in self.screen.text()), None)

    def hides(self, word: str, seconds: float) -> bool:
        """Waits until this is gone."""
        return self.until(lambda text: word not in text, seconds)

    def write(self, text: str) -> None:
        """Types a line, without its end, and waits until it is on the screen."""
        self.press(text.encode())
        last = text.split()[-1]
        self.until(lambda screen: last in screen, 5)
        # Enter that comes with the text would be a part of what is pasted.
        time.sleep(0.4)

    def close(self, how: signal.Signals = signal.SIGHUP) -> None:
        """Closes the window: what runs in it is told as a shell would tell it."""
        if self.pid == 0:
            return
        for one, wait in ((how, 3.0), (signal.SIGKILL, 3.0)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, one)
            end = time.monotonic() + wait
            while time.monotonic() < end:
                try:
                    if os.waitpid(self.pid, os.WNOHANG)[0]:
                        self.pid = 0
                        break
                except ChildProcessError:
                    self.pid = 0
                    break
                time.sleep(0.02)
            if self.pid == 0:
                break
        self._reader.join(1)
        with contextlib.suppress(OSError):
            os.close(self._terminal)
