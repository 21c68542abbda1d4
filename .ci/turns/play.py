"""One play: an agent is set up, started, told, answered, kept from an edit. What is judged is what
its model was asked, word for word."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents import Agent
from home import Failed, Home, until
from model import Model, Request
from terminal import Terminal

TOOLS = [
    "mesh_events",
    "mesh_inbox",
    "mesh_lock",
    "mesh_peers",
    "mesh_send",
    "mesh_state",
    "mesh_status",
    "mesh_summary",
]

# Without arguments, so that some leave out its schema.
BARE = ["mesh_status"]

# What is judged, in the order of the table.
JUDGED = ["tools", "woken", "once", "busy", "together", "answer", "locked", "stage"]

_HANDLE = re.compile(r"slm-mesh: message (?P<handle>[0-9a-z]{4,6}) from ")


class NotStarted(Exception):
    """The agent takes no prompt, or its prompt does not reach the model."""


@dataclass
class Report:
    """What has come of a play."""

    agent: str
    version: str = "?"
    # By what is judged: empty if it is as it must be, else what is wrong.
    judged: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    # What there is to show of what is wrong.
    shown: list[str] = field(default_factory=list)
    not_tested: str = ""
    seconds: float = 0

    @property
    def failed(self) -> bool:
        """Whether anything is not as it must be."""
        return not self.not_tested and any(self.judged.get(what, "not reached") for what in JUDGED)


class Play:
    """An agent in its terminal, with its model, in a home directory."""

    def __init__(self, agent: Agent, home: Home, packaged: bool = False) -> None:
        self.agent = agent
        self.packaged = packaged
        self.model = Model()
        self.home = home
        self.environment = {**home.environment, **agent.prepare(home, self.model.port)}
        self.terminal: Terminal | None = None
        self.is_set_up = False
        # Where it fails, the rest goes on as with an agent that nothing wakes.
        self.wakes = agent.wakes
        self.report = Report(f"{agent.name}, packaged" if packaged else agent.name)

    def set_up(self) -> None:
        """Starts the broker, and tells the agent of it."""
        self.is_set_up = True
        self.home.mesh("start", "--detached")
        if self.packaged:
            self.install()
        # Beside a package it adds what that cannot bring.
        self.home.mesh("setup", self.agent.name, *self.agent.setup, "--yes")
        if spoil := os.environ.get("TURNS_SPOIL"):
            # To see that what is judged here can fail at all.
            subprocess.run(spoil, shell=True, cwd=self.home.place, check=True)

    def install(self) -> None:
        """Has the agent install our plugin or extension; whatever it asks, yes."""
        # A copy: some write into the folder from which they install.
        folder = self.home.place / "integrations"
        shutil.copytree(Path(__file__).parents[2] / "integrations", folder)
        for words in self.agent.package:
            command = [self.agent.program, *words.format(folder).split()]
            done = subprocess.run(
                command,
                env=self.environment,
                cwd=self.home.project,
                input="y\n" * 20,
                capture_output=True,
                text=True,
                timeout=120,
            )
            if done.returncode != 0:
                raise Failed(f"{' '.join(command)}: {done.stderr or done.stdout}")

    def start(self) -> None:
        """Starts the agent, and has it take its first prompt.

        Raises `NotStarted` if it does not."""
        before = len(self.home.peers())
        program = shutil.which(self.agent.program, path=self.environment["PATH"])
        if program is None:
            raise NotStarted("it is not installed")
        self.version(program)
        self.terminal = Terminal(
            [program, *self.agent.arguments], self.environment, self.home.project
        )
        if not self.agent.begin(self.terminal):
            raise NotStarted("it does not come to its prompt")
        # No model answers before the servers of MCP are there, some of which are started with it.
        go_on = threading.Event()
        self.model.on("first-word", hold=go_on)
        try:
            # The first may wait for what an agent loads meanwhile.
            if self.ask("first-word please say hello", "first-word", 60) is None:
                raise NotStarted("its first prompt does not reach the model")
            until(lambda: len(self.home.peers()) > before, 10 if self.is_set_up else 0)
        finally:
            go_on.set()

    def version(self, program: str) -> None:
        """Asks the agent for its version."""
        done = subprocess.run(
            [program, "--version"],
            env=self.environment,
            cwd=self.home.project,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        found = re.search(r"\d+\.\d+\.\d+\S*", done.stdout + done.stderr)
        self.report.version = found.group().rstrip(".") if found else "?"

    def ask(self, prompt: str, word: str, seconds: float = 30) -> Request | None:
        """Types a prompt; the request that brings it to the model."""
        assert self.terminal
        since = len(self.model.requests)
        self.terminal.write(prompt)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            # An Enter that came too early is a line's end in the prompt, and needs a second one.
            self.terminal.press(b"\r")
            if request := self.model.wait(word, 10, since):
                return request
        return None

    def judge(self, what: str, wrong: str, request: Request | None = None) -> None:
        """Keeps what was found, and shows what the model saw where it is wrong."""
        if wrong and not self.report.judged.get(what):
            self.show(f"{self.agent.name}: {what}: {wrong}")
            if request is not None:
                self.show(f"  the model saw, in request {request.number}:")
                for entry in request.reading.newest():
                    self.show(f"    {entry.who}: {entry.text[-1500:]!r}")
            elif self.terminal:
                self.show("  its screen:\n" + re.sub("(?m)^", "    ", self.terminal.screen.text()))
        self.report.judged[what] = self.report.judged.get(what) or wrong

    def show(self, line: str) -> None:
        """Keeps a line for the end of the play: others play at the same time."""
        self.report.shown.append(line)

    # What is judged.

    def run(self) -> None:
        """All of it."""
        self.tools()
        self.model.quiet()
        peer = self.home.peer()
        if peer is None:
            raise Failed("no agent is in the mesh: `slm-mesh peers` shows none")
        name = str(peer["name"])
        self.told_when_idle(name)
        self.answered(name)
        self.kept_from_an_edit()
        self.told_when_busy(name)
        self.told_together(name)
        self.nothing_twice()

    def tools(self) -> None:
        """The eight tools are before the model at the first request, with their schemas."""
        request = next(one for one in self.model.requests if "first-word" in one.text)
        missing = [
            name
            for name in TOOLS
            if not any(
                tool.schema.get("properties") or name in BARE for tool in request.tools(name)
            )
        ]
        names = [tool.name for tool in request.reading.tools]
        self.judge(
            "tools",
            f"not before the model: {', '.join(missing)}; it has {names}" if missing else "",
        )

    def told_when_idle(self, name: str) -> None:
        """A message wakes an idle session, by one request; where nothing wakes it, it comes with
        the next turn. After one more turn it stands there once."""
        since = len(self.model.requests)
        begun = time.monotonic()
        sent = self.home.mesh_json("send", name, "mark-idle: the schema is at version 3")
        request = self.model.wait("mark-idle", 20 if self.wakes else 3, since)
        if self.wakes:
            self.wakes = request is not None
            self.judge(
                "woken",
                "" if request else "the message does not reach the model of an idle session",
            )
            if request:
                self.report.notes["woken"] = f"{request.at - begun:.1f} s"
                self.model.quiet()
                extra = len(self.model.requests) - since
                if extra != 1:
                    last = self.model.requests[-1]
                    self.judge("woken", f"one message made {extra} requests", last)
        else:
            # If this fails, a way to wake it has been found: good news, and to be written down.
            self.judge("woken", "it was woken, which nothing is known to do" if request else "")
            self.report.notes["woken"] = "next turn"
            request = self.ask("a-turn please go on", "a-turn")
            if request and "mark-idle" not in request.text:
                self.judge("woken", "the message does not come with the next turn", request)
        self.model.quiet()
        self.ask("second-word please go on", "second-word")
        self.model.quiet()
        self.stood_once(["mark-idle"], since)
        self.told_truly(sent["messageId"])

    def stood_once(self, marks: list[str], since: int) -> None:
        """Each of these stands once in the newest request, and never stood twice."""
        newest = self.model.requests[-1]
        for mark in marks:
            if newest.count(mark) != 1:
                self.judge(
                    "once",
                    f"{mark} stands {newest.count(mark)} times in the newest request",
                    newest,
                )
            twice = next((one for one in self.model.requests[since:] if one.count(mark) > 1), None)
            if twice:
                self.judge("once", f"{mark} stands {twice.count(mark)} times", twice)
        self.judge("once", "")

    def told_truly(self, message: str) -> None:
        """What the sender is told of the message is what came of it."""
        listed = self.home.mesh_json("inbox", "--sent")["messages"]
        sent: dict[str, Any] = next((one for one in listed if one["id"] == message), {})
        stage = sent.get("stage")
        self.report.notes["stage"] = f"{stage}, {sent.get('notifiedBy') or sent.get('sentBy')}"
        if stage != self.agent.stage:
            wrong = f"its sender is told that it is {stage!r}, not {self.agent.stage!r}: {sent}"
            self.judge("stage", wrong, self.model.requests[-1])
        self.judge("stage", "")

    def answered(self, name: str) -> None:
        """The model answers by the handle that it read, and the answer is in the sender's inbox."""

        def says(new: str) -> tuple[str, Any] | None:
            handle = _HANDLE.search(new)
            if handle is None:
                return None
            arguments = {"to": "cli", "replyTo": handle["handle"], "message": "answer: it is"}
            return "mesh_send", arguments

        self.model.on("mark-question", says)
        since = len(self.model.requests)
        sent = self.home.mesh_json("send", name, "mark-question: is it at version 3?")
        if not self.wakes:
            self.ask("b-turn please go on", "b-turn")
        request = self.model.wait("mark-question", 20, since)

        def answers() -> list[dict[str, Any]]:
            inbox = self.home.mesh_json("inbox", "--peek", "--all")["messages"]
            return [one for one in inbox if "answer: it is" in str(one.get("payload"))]

        found = until(answers, 15) if request else []
        wrong = ""
        if not request:
            wrong = "the question does not reach the model"
        elif not found:
            wrong = "no answer comes back"
        elif found[0].get("replyTo") not in (sent["messageId"], sent.get("handle")):
            wrong = f"the answer refers to {found[0].get('replyTo')}, not to {sent['messageId']}"
        self.model.quiet()
        self.judge("answer", wrong, self.model.requests[-1] if request else None)

    def kept_from_an_edit(self) -> None:
        """A file that someone else has locked is not edited, and the model reads why. Unlocked, it
        is."""
        path = self.home.project / "shared.txt"
        path.write_text("one\n")
        *before, edit = self.agent.edit(path)
        for number, call in enumerate(before):
            self.calls(f"look-{number}", call)
        why = "a release is being cut"
        self.home.mesh("lock", "acquire", str(path), "--reason", why)
        since = len(self.model.requests)
        self.calls("edit-locked", edit)
        newest = self.model.requests[-1]
        if path.read_text() != "one\n":
            self.judge("locked", f"the locked file was edited: {path.read_text()!r}", newest)
        elif not any(why in one.text for one in self.model.requests[since:]):
            self.judge("locked", "the model does not read why it may not edit", newest)
        self.home.mesh("lock", "release", str(path))
        self.calls("edit-free", edit)
        newest = self.model.requests[-1]
        if path.read_text() != "two\n":
            self.judge("locked", f"the free file is not edited: {path.read_text()!r}", newest)
        self.judge("locked", "")

    def calls(self, word: str, call: tuple[str, Any]) -> None:
        """Has the model call a tool, and waits until it has read what came of it."""
        self.model.call(word, *call)
        asked = self.ask(f"{word} please", word)
        since = self.model.requests.index(asked) + 1 if asked else 0
        until(lambda: len(self.model.requests) > since, 20)
        self.model.quiet()

    def told_when_busy(self, name: str) -> None:
        """Three messages that come while the model works are told as it ends, by one request."""
        marks = [f"mark-busy-{number}" for number in range(3)]
        go_on = threading.Event()
        self.model.on("long-work", hold=go_on)
        if self.ask("long-work please", "long-work") is None:
            self.judge("busy", "the prompt does not reach the model")
            return
        since = len(self.model.requests)
        self.home.send_together(name, [f"{mark}: for when you are done" for mark in marks])
        until(lambda: False, 1)
        go_on.set()
        until(lambda: all(self.model.wait(mark, 0, since) for mark in marks), 30)
        self.model.quiet()
        self.came_at_once("busy", marks, since)

    def told_together(self, name: str) -> None:
        """Three messages at once to an idle session, by one request."""
        marks = [f"mark-three-{number}" for number in range(3)]
        since = len(self.model.requests)
        self.home.send_together(name, [f"{mark}: at the same time" for mark in marks])
        if not self.wakes:
            self.ask("c-turn please go on", "c-turn")
        until(lambda: all(self.model.wait(mark, 0, since) for mark in marks), 30)
        self.model.quiet()
        self.came_at_once("together", marks, since)

    def came_at_once(self, what: str, marks: list[str], since: int) -> None:
        """One more request has all of these."""
        requests = self.model.requests[since:]
        self.report.notes[what] = str(len(requests))
        last = self.model.requests[-1]
        missing = [mark for mark in marks if mark not in last.text]
        if missing:
            self.judge(what, f"{', '.join(missing)} did not come", last)
        elif not 1 <= len(requests) <= (self.agent.together if what == "together" else 1):
            self.judge(what, f"three messages made {len(requests)} requests", last)
        self.judge(what, "")

    def nothing_twice(self) -> None:
        """After all of that, each message stands once."""
        self.ask("last-word please go on", "last-word")
        self.model.quiet()
        told = ["mark-idle", "mark-question", "mark-busy", "mark-three"]
        marks = [mark for mark in told if mark in self.model.requests[-1].text]
        marks = [
            f"{mark}-{number}" if mark in ("mark-busy", "mark-three") else mark
            for mark in marks
            for number in (range(3) if mark in ("mark-busy", "mark-three") else range(1))
        ]
        self.stood_once(marks, 0)

    def close(self) -> None:
        """Closes the agent's window."""
        if self.terminal:
            self.terminal.close()
        if place := os.environ.get("TURNS_REQUESTS"):
            self.model.keep(Path(place, f"{self.agent.name}-{self.model.port}.txt"))
