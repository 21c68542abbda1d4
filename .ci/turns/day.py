"""A day's work of three agents and a person, in one mesh, each agent with a stand-in model.

    python3 .ci/turns/day.py <folders of slm-mesh and of the agents, as in PATH> <empty folder>

Not a part of the check: it takes some minutes, and shows rather than judges. Every message has a
word of its own; the table at the end says how often that word stood in one request of its
recipient's model, and in those of the others. Exit status 1 if one came twice, or to a wrong
one, or is said to have come and has not."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agents import AGENTS, Agent
from alone import alone
from home import Failed, Home, until
from model import Model
from play import Play

_FROM = re.compile(r"message (?P<handle>[0-9a-z]{4,6}) from (?P<name>[^ ,(]+)")


@dataclass
class Sent:
    """A message of that day."""

    word: str
    sender: str
    to: str
    when: str


class Day:
    """The three, the person, and what was sent."""

    def __init__(self, path: str, work: Path) -> None:
        self.home = Home(work / "home", path)
        self.sent: list[Sent] = []
        # A model for each window that was opened, by the agent's name here.
        self.models: dict[str, list[Model]] = {}
        self.plays: dict[str, Play] = {}
        # Names in the mesh, by the agent's name here.
        self.names: dict[str, str] = {}
        # What senders were told of their messages, by the word.
        self.listed: dict[str, dict[str, Any]] = {}
        # What went wrong beside the messages.
        self.strays: list[str] = []
        self.begun = time.monotonic()

    def note(self, text: str) -> None:
        print(f"[{time.monotonic() - self.begun:6.1f}] {text}", flush=True)

    def open(self, name: str) -> Play:
        """Opens a window."""
        agent: Agent = next(one for one in AGENTS if one.name == name)
        before = {peer["name"] for peer in self.home.peers()}
        play = Play(agent, self.home)
        play.set_up()
        play.start()
        play.model.quiet()
        self.plays[name] = play
        self.models.setdefault(name, []).append(play.model)

        def mine() -> list[str]:
            return [
                str(peer["name"])
                for peer in self.home.peers()
                if peer["name"] not in before and name.split("-")[0] in str(peer.get("agentType"))
            ]

        found = until(mine, 15)
        self.names[name] = found[0] if found else self.names.get(name, "?")
        self.note(f"{name} {play.report.version} is open, as {self.names[name]}")
        return play

    def quiet(self) -> None:
        for play in self.plays.values():
            play.model.quiet()

    def person(self, to: str, word: str, when: str, seconds: float = 20) -> bool:
        """The person sends a message; whether it reaches the model."""
        self.sent.append(Sent(word, "person", to, when))
        begun = time.monotonic()
        try:
            self.home.mesh("send", self.names[to], f"{word}: from the person, {when}")
        except Failed as refused:
            self.note(f"person -> {to} ({when}): refused: {refused}")
            return False
        request = self.models[to][-1].wait(word, seconds)
        came = f"{request.at - begun:.2f} s" if request else "not at once"
        self.note(f"person -> {to} ({when}): {came}")
        return request is not None

    def asks(self, sender: str, to: str, word: str, when: str, answered: bool = True) -> None:
        """The person has an agent write to another, which answers it."""
        self.sent.append(Sent(word, sender, to, when))
        said = f"{word}: from {sender}, {when}"
        play = self.plays[sender]
        play.model.call(f"write-{word}", "mesh_send", {"to": self.names[to], "message": said})
        if answered:
            self.sent.append(Sent(f"re-{word}", to, sender, f"{when}, the answer"))

            def says(new: str) -> tuple[str, Any] | None:
                # Of several in one text, the line with this word.
                line = next(
                    (line for line in new.splitlines() if word in line and _FROM.search(line)), ""
                )
                found = _FROM.search(line)
                if not found:
                    return None
                text = {
                    "to": found["name"],
                    "replyTo": found["handle"],
                    "message": f"re-{word} is the answer",
                }
                return "mesh_send", text

            self.plays[to].model.on(f"{word}: from", says)
        play.ask(f"write-{word} please", f"write-{word}")

    # The day.

    def run(self) -> None:
        for name in ("claude-code", "codex", "opencode"):
            self.open(name)
        claude, codex, opencode = (
            self.plays[name] for name in ("claude-code", "codex", "opencode")
        )

        self.note("-- the person writes to each, which is idle")
        for name in self.plays:
            self.person(name, f"morning-{name}", "idle")
            self.plays[name].model.quiet()

        self.note("-- each writes to the next, which is idle, and is answered")
        for sender, to in (
            ("claude-code", "codex"),
            ("codex", "opencode"),
            ("opencode", "claude-code"),
        ):
            self.asks(sender, to, f"ask-{sender}", "idle")
            self.quiet()

        self.note("-- each is busy, and the two others write to it")
        for busy in ("claude-code", "codex", "opencode"):
            go_on = threading.Event()
            self.plays[busy].model.on(f"work-{busy}", hold=go_on)
            self.plays[busy].ask(f"work-{busy} please", f"work-{busy}")
            for sender in self.plays:
                if sender != busy:
                    self.asks(sender, busy, f"busy-{busy}-{sender}", "busy", answered=False)
                    self.plays[sender].model.quiet()
            go_on.set()
            self.quiet()

        self.note("-- codex locks a file, opencode wants it, asks, and gets it")
        path = self.home.project / "schema.sql"
        path.write_text("one\n")
        lock = {"filePath": str(path), "reason": "moving a column"}
        codex.model.call("lock-it", "mesh_lock", {"action": "lock", **lock})
        codex.ask("lock-it please", "lock-it")
        codex.model.quiet()
        *before, edit = opencode.agent.edit(path)
        for number, call in enumerate(before):
            opencode.model.call(f"look-{number}", *call)
            opencode.ask(f"look-{number} please", f"look-{number}")
            opencode.model.quiet()
        opencode.model.call("change-it", *edit)
        opencode.ask("change-it please", "change-it")
        opencode.model.quiet()
        kept = path.read_text() == "one\n" and "moving a column" in opencode.model.requests[-1].text
        self.note(f"opencode is kept from the edit, and reads why: {kept}")
        self.asks("opencode", "codex", "may-i", "about the lock")
        self.quiet()
        codex.model.call("free-it", "mesh_lock", {"action": "unlock", "filePath": str(path)})
        codex.ask("free-it please", "free-it")
        codex.model.quiet()
        opencode.model.call("again", *edit)
        opencode.ask("again please", "again")
        opencode.model.quiet()
        self.note(f"and then the edit is made: {path.read_text()!r}")

        self.note("-- three messages at once to each")
        for name in self.plays:
            words = [f"three-{name}-{number}" for number in range(3)]
            self.sent += [Sent(word, "person", name, "three at once") for word in words]
            since = len(self.plays[name].model.requests)
            self.home.send_together(self.names[name], [f"{word}: at once" for word in words])
            model = self.plays[name].model
            until(partial(_all_came, model, words), 20)
            model.quiet()
            self.note(f"{name}: three at once made {len(model.requests) - since} requests")

        self.note("-- the broker is stopped, and the person writes")
        self.home.mesh("stop", "--as", "cli")
        self.home.mesh("start", "--detached")
        until(lambda: len(self.home.peers()) >= 3, 30)
        for name in self.plays:
            self.person(name, f"restart-{name}", "after a restart of the broker")
        self.quiet()

        self.note("-- /clear in Claude Code")
        assert claude.terminal
        claude.terminal.write("/clear")
        claude.terminal.press(b"\r")
        until(lambda: False, 3)
        self.person("claude-code", "clear-claude", "after /clear")
        claude.model.quiet()
        self.asks("claude-code", "codex", "clear-ask", "after /clear")
        self.quiet()

        self.note("-- Claude Code and Codex thank each other")
        self.thanks("claude-code", "codex")

        self.look()
        self.note("-- the window of Codex is closed, and the person writes to it")
        codex.close()
        until(lambda: False, 1)
        if self.person("codex", "closed-codex", "its window is closed", 8):
            self.strays.append("a closed window was told, with nobody watching")
        self.note("-- opencode is killed, and the person writes to it")
        assert opencode.terminal
        opencode.terminal.close(signal.SIGKILL)
        until(
            lambda: self.names["opencode"] not in [peer["name"] for peer in self.home.peers()], 10
        )
        self.person("opencode", "killed-opencode", "it was killed", 3)

        self.note("-- both are opened again")
        for name in ("codex", "opencode"):
            self.open(name)
            self.person(name, f"evening-{name}", "opened again")
            self.plays[name].model.quiet()

        self.note("-- a last turn for each")
        for play in self.plays.values():
            play.ask("good night", "good night")
            play.model.quiet()

    def thanks(self, one: str, other: str) -> None:
        """Each answers every thank with a thank, until the mesh damps it."""

        def says(number: int, to: str) -> Any:
            text = f"thanks-{number}: thank you"
            return lambda _: ("mesh_send", {"to": self.names[to], "message": text})

        pair = [one, other]
        for number in range(60):
            # Who reads number n is pair[n % 2], and writes n + 1.
            reader, next_reader = pair[number % 2], pair[(number + 1) % 2]
            self.plays[reader].model.on(f"thanks-{number}: ", says(number + 1, next_reader))
        since = {name: len(self.plays[name].model.requests) for name in pair}
        self.home.mesh("send", self.names[one], "thanks-0: thank you")
        last, quiet_since, begun = 0, time.monotonic(), time.monotonic()
        while time.monotonic() - quiet_since < 20 and time.monotonic() - begun < 120:
            found = sum(len(self.plays[name].model.requests) - since[name] for name in pair)
            if found != last:
                last, quiet_since = found, time.monotonic()
            time.sleep(0.2)
        wakes = [
            number
            for number in range(60)
            if any(f"thanks-{number}: " in request.newest() for request in self._since(pair, since))
        ]
        self.sent += [
            Sent(f"thanks-{number}:", pair[(number + 1) % 2], pair[number % 2], "thanks")
            for number in wakes
        ]
        damped = next((one for one in self._since(pair, since) if "damped" in one.text), None)
        self.note(
            f"{len(wakes)} thanks reached a model, then none; told of damping: {bool(damped)}"
        )
        if damped:
            self.note("  " + damped.newest()[:600])

    def _since(self, names: list[str], since: dict[str, int]) -> list[Any]:
        return [
            request for name in names for request in self.plays[name].model.requests[since[name] :]
        ]

    # What came of it.

    def look(self) -> None:
        """Asks for each what became of the messages that it has sent."""
        for name in ["cli", *self.names.values()]:
            peer = [] if name == "cli" else ["--peer", name]
            try:
                found = self.home.mesh_json("inbox", "--sent", "--limit", "500", *peer)["messages"]
            except Failed as error:
                self.note(f"what {name} has sent is not shown: {error}")
                continue
            for one in found:
                if word := re.match(r"[\w-]+", str(one.get("payload"))):
                    self.listed[word.group()] = one

    def table(self) -> bool:
        """Prints it; whether all is as it should be."""
        good = not self.strays
        print(*(f"WRONG: {stray}" for stray in self.strays), sep="\n")
        print(f"{'message':32} {'from':12} {'to':12} {'there':>5} {'else':>5}  {'stage':28} when")
        for sent in self.sent:
            plain = sent.word.rstrip(":")
            there = max((_count(model, sent.word) for model in self.models[sent.to]), default=0)
            others = [name for name in self.models if name not in (sent.to, sent.sender)]
            wrong = max(
                (_count(model, sent.word) for name in others for model in self.models[name]),
                default=0,
            )
            one = self.listed.get(plain, {})
            stage = " ".join(
                str(one[key])
                for key in ("stage", "notifiedBy", "sentBy", "sentStatus")
                if one.get(key)
            )
            claimed = one.get("stage") in ("read", "notified")
            fine = wrong == 0 and (there == 1 or (there == 0 and not claimed))
            good = good and fine
            mark = "" if fine else "  <-- WRONG"
            print(
                f"{plain:32} {sent.sender:12} {sent.to:12} {there:5} {wrong:5}"
                f"  {stage:28} {sent.when}{mark}"
            )
        return good

    def close(self) -> None:
        for play in self.plays.values():
            play.close()
        self.home.close()


def _all_came(model: Model, words: list[str]) -> bool:
    return all(model.wait(word, 0) for word in words)


def _count(model: Model, word: str) -> int:
    """How often a word stands in one request, at most, but for what the model itself has said."""
    whole = re.compile(rf"(?<![\w-]){re.escape(word)}(?![\w-])")
    return max(
        (
            sum(
                len(whole.findall(one.text))
                for one in request.reading.entries
                if one.who != "model"
            )
            for request in model.requests
        ),
        default=0,
    )


def main() -> int:
    if not alone():
        print("no namespaces here; nothing but loopback is used all the same")
    day = Day(
        f"{sys.argv[1]}:{os.environ.get('PATH', '/usr/bin:/bin')}", Path(sys.argv[2]).resolve()
    )
    try:
        day.run()
        day.look()
        return 0 if day.table() else 1
    finally:
        day.close()


if __name__ == "__main__":
    sys.exit(main())
