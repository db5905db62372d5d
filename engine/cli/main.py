"""The way into `cowl`: launches, `ps` and `stats` by the short road, everything else through click.

Those are typed and scripted more than anything: they import what the engine needs for them and nothing else.
What the short road does not understand takes the long one, whose messages are better.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from engine.cli import report
from engine.cli.options import COMMANDS, GLOBALS, Command
from engine.cli.parser import Parsed, parse
from engine.cli.session import Session
from engine.version import version_line

GARBAGE_THRESHOLD = 100_000
"""Objects made before cycles are looked for: starting up makes tens of thousands, and none are garbage."""


def main() -> NoReturn:
    """Run this process's command line and end it at once: taking Python apart costs 6 ms."""
    gc.set_threshold(GARBAGE_THRESHOLD)
    open_standard()
    code = command(sys.argv[1:])
    with contextlib.suppress(OSError):  # nobody can be told
        sys.stderr.flush()
    os._exit(code)


def open_standard() -> None:
    """Put something in the place of standard streams that were closed, so that no file of ours gets there.

    Output is opened the wrong way round: who writes there is told, as if it were closed still. Input is at
    its end, as docker has it: a container that was to be fed gets nothing.
    """
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - for as long as the process lives
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def command(words: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        code = _dispatch(words)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the one place that turns errors into text
        return report.fail(error)
    return code


def _dispatch(words: Sequence[str]) -> int:
    said = parse(words, GLOBALS)
    if "_COWL_COMPLETE" not in os.environ and said is not None:
        if said.values["version"]:
            print(version_line())
            return 0
        session = Session(said.values["root"], said.values["cgroup_parent"])
        if not said.rest and sys.stdin.isatty() and sys.stdout.isatty():
            _open_workstation(session)
        name = said.rest[0] if said.rest else ""
        table = COMMANDS.get(name)
        parsed = parse(said.rest[1:], table.options, interspersed=table.interspersed) if table else None
        if table and parsed and _is_plain(table, parsed):
            module = __import__(f"engine.cli.{table.module}", fromlist=("ACTIONS",))
            code: int = module.ACTIONS[name](session, parsed.values, parsed.rest)
            return code
    from engine.cli import group

    return group.dispatch(words)


def _is_plain(table: Command, parsed: Parsed) -> bool:
    """Whether click has nothing to complain about."""
    return (
        table.at_least <= len(parsed.rest) <= (len(parsed.rest) if table.at_most is None else table.at_most)
    )


def _open_workstation(session: Session) -> None:
    """Become the app, a program of its own that finds its root in the environment.

    With -P, as a directory called tui in the current one is not what root wants to run.
    """
    for name, value in (("COWL_ROOT", session.root), ("COWL_CGROUP_PARENT", session.cgroup_parent)):
        if value is not None:
            os.environ[name] = os.path.abspath(value) if name == "COWL_ROOT" else value
    os.execv(sys.executable, [sys.executable, "-P", "-m", "tui"])
