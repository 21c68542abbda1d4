"""Real agents, each with a stand-in model on loopback, have a turn with the mesh.

    python3 .ci/turns <folders of slm-mesh and of the agents, as in PATH> <empty folder> [agent...]

Ends with a table. Exit status 1 if anything is not as it must be; an agent that cannot be started
even without us is NOT TESTED, and the table says why."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

from agents import AGENTS, Agent
from alone import alone
from home import Failed, Home
from play import JUDGED, NotStarted, Play, Report

# Two at a time: some need half a core to draw their screens.
_AT_ONCE = 2


def play(agent: Agent, packaged: bool, path: str, work: Path) -> Report:
    """One agent, set up by `slm-mesh setup` alone, or with our plugin or extension."""
    begun = time.monotonic()
    name = f"{agent.name}-p" if packaged else agent.name
    home = Home(work / name, path)
    one = Play(agent, home, packaged)
    try:
        one.set_up()
        one.start()
        one.run()
    except NotStarted as reason:
        one.close()
        screen = one.terminal.screen.text() if one.terminal else ""
        # Whose fault is it? Without us it must not start either.
        other = Play(agent, Home(work / f"{name}-alone", path))
        try:
            other.start()
            one.report.judged["tools"] = f"{reason}, and without the mesh it does"
            one.show(f"{agent.name}: {reason}\n{screen}")
        except NotStarted as still:
            one.report.not_tested = str(still)
            one.show(f"{agent.name}: NOT TESTED, {still}\n{screen}")
        finally:
            other.close()
    except (Failed, subprocess.SubprocessError, OSError, KeyError, ValueError) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        left = next((what for what in JUDGED if what not in one.report.judged), JUDGED[-1])
        one.judge(left, f"{error} (line {where.lineno} of {where.filename})")
    finally:
        one.close()
        home.close()
    if one.report.shown:
        print("\n".join(one.report.shown), flush=True)
    one.report.seconds = time.monotonic() - begun
    return one.report


def table(reports: list[Report]) -> str:
    """What has come of all plays."""
    rows = [["agent", "version", *JUDGED, "time"]]
    for report in reports:
        row = [report.agent, report.version]
        for what in JUDGED:
            if report.not_tested:
                row.append("-")
            elif what not in report.judged:
                row.append("NOT REACHED")
            elif report.judged[what]:
                row.append("WRONG")
            else:
                row.append(f"ok {report.notes.get(what, '')}".strip())
        row.append(f"{report.seconds:.0f} s")
        if report.not_tested:
            row.append(f"NOT TESTED: {report.not_tested}")
        rows.append(row)
    widths = [max(len(row[at]) for row in rows if at < len(row)) for at in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=False))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def main() -> int:
    """Returns the exit status."""
    path = f"{sys.argv[1]}:{os.environ.get('PATH', '/usr/bin:/bin')}"
    work = Path(sys.argv[2]).resolve()
    wanted = sys.argv[3:]
    if not alone():
        print("turns: no namespaces here; nothing but loopback is used all the same")
    agents = [agent for agent in AGENTS if not wanted or agent.name in wanted]
    plays = [(agent, False) for agent in agents]
    plays += [(agent, True) for agent in agents if agent.package]
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        reports = list(pool.map(lambda one: play(*one, path, work), plays))
    print(table(reports))
    for report in reports:
        for what, wrong in report.judged.items():
            if wrong:
                print(f"{report.agent}: {what}: {wrong}")
    return int(any(report.failed for report in reports))


if __name__ == "__main__":
    sys.exit(main())
