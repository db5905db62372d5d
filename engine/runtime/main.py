"""The command ``cowl-runtime``: the calls that OCI runtimes take from podman, containerd and people.

What each needs is loaded when it is asked for: a start-up is part of every container's.
"""

from __future__ import annotations

import gc
import os
import sys

from engine import plainjson
from engine.errors import CommandNotFoundError, CowlError, NotExecutableError, UnsupportedError, UsageError
from engine.runtime import usage, words
from engine.runtime.report import Report
from engine.runtime.words import FLAG, VALUE, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.runtime.creating import Wanted
    from engine.runtime.terminals import Terminal
    from engine.runtime.words import Kinds

    _Run = Callable[[str, Words, Report], int]


def main() -> None:
    """The console script."""
    gc.disable()  # nothing lives long enough to be worth looking for
    sys.exit(command(sys.argv[1:]))


def command(arguments: Sequence[str]) -> int:
    """Carry out one call; its exit code. Everything that goes wrong on purpose is said here."""
    report = Report("", "text", debug=False, warnings=[])
    try:
        given = words.parse(arguments, usage.GLOBAL, interspersed=False)
        report = Report(given.one("log"), given.one("log-format", "text"), given.on("debug"), [])
        code = _dispatch(given, report)
    except CowlError as error:
        return _fail(report, _text(error))
    except OSError as error:
        return _fail(report, f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
    try:
        report.finish()
    except OSError as error:
        return _fail(report, f"cannot write to the log: {error.strerror}")
    return code


def _fail(report: Report, text: str) -> int:
    """Say why it failed, on standard error at least."""
    try:
        report.fail(text)
    except OSError as error:
        Report("", "text", debug=False, warnings=[]).fail(
            f"{text}; nor can the log be written ({error.strerror}: {report.path})"
        )
    return 1


def _text(error: CowlError) -> str:
    """The error in one line, with the words by which callers tell what is missing in the container."""
    if isinstance(error, CommandNotFoundError):
        return f"{error}: executable file not found in $PATH: no such file or directory"
    if isinstance(error, NotExecutableError):
        return f"{error}: permission denied"
    return str(error)


def _dispatch(given: Words, report: Report) -> int:
    from engine.runtime.containers import DEFAULT_ROOT

    if given.on("version"):
        from engine.oci.runtime import VERSION as SPECIFICATION
        from engine.version import VERSION

        print(f"cowl-runtime version {VERSION}\nspec: {SPECIFICATION}")
        return 0
    if given.on("help") or not given.rest:
        print(usage.USAGE, end="")
        return 0 if given.rest or given.on("help") else 1
    if report.style not in ("text", "json"):
        raise UsageError(f"unknown log format {report.style!r}", hint="text or json")
    if given.on("systemd-cgroup") or given.one("cgroup-manager", "cgroupfs") != "cgroupfs":
        raise UnsupportedError(
            "cowl-runtime makes its cgroups itself",
            "systemd is not asked to",
            "use cgroupfs as cgroup manager",
        )
    if os.geteuid() != 0 or given.one("rootless") == "true":
        raise UnsupportedError("cowl-runtime needs root", "containers without root are not supported")
    name, *rest = given.rest
    if name not in _COMMANDS:
        raise UsageError(f"unknown command {name!r}", hint="see --help")
    kinds, interspersed, run = _COMMANDS[name]
    return run(
        os.path.abspath(given.one("root") or DEFAULT_ROOT),
        Words({}, rest) if kinds is None else words.parse(rest, kinds, interspersed=interspersed),
        report,
    )


def _create(root: str, given: Words, report: Report) -> int:
    from engine.runtime import creating

    creating.create(_wanted(root, given, detached=True)[0], report)
    return 0


def _wanted(root: str, given: Words, *, detached: bool) -> tuple[Wanted, Terminal]:
    from engine.runtime import containers, creating, terminals

    bundle = os.path.abspath(given.one("bundle", "."))
    document = containers.read_config(bundle).get("process") or {}
    terminal = terminals.for_program(bool(document.get("terminal")), given.one("console-socket"), detached)
    wanted = creating.Wanted(
        root=root,
        id=words.container(given),
        bundle=bundle,
        pid_file=_absolute(given.one("pid-file")),
        preserved=_preserved(given),
        terminal=terminal.take,
        pivots=not given.on("no-pivot"),
        new_keyring=not given.on("no-new-keyring"),
    )
    return wanted, terminal


def _absolute(path: str) -> str:
    return os.path.abspath(path) if path else ""


def _preserved(given: Words) -> int:
    """How many descriptors after the first three are to be kept; all of them must be open."""
    count = words.number("preserve-fds", given.one("preserve-fds", "0"))
    for descriptor in range(3, 3 + count):
        try:
            os.fstat(descriptor)
        except OSError:
            raise UsageError(f"cannot preserve the descriptor {descriptor}", "it is not open") from None
    return count


def _start(root: str, given: Words, report: Report) -> int:
    from engine.runtime import containers, starting

    starting.start(containers.find(root, words.container(given)), report)
    return 0


def _run(root: str, given: Words, report: Report) -> int:
    import contextlib

    from engine.runtime import console, creating, ending, executing, starting

    detach = given.on("detach")
    wanted, terminal = _wanted(root, given, detached=detach)
    with contextlib.ExitStack() as stack:
        container = creating.create(wanted, report)
        pidfd = os.pidfd_open(container.pid)  # our child: the number is its own until we have waited for it
        undo = stack.enter_context(contextlib.ExitStack())
        undo.callback(ending.delete, container.directory, True, report)
        received = -1 if detach else stack.enter_context(console.signals())
        starting.start(container, report)
        code = 0 if detach else executing.watch(container.pid, pidfd, received, terminal)
        if detach or given.on("keep"):
            undo.pop_all()
    return code


def _exec(root: str, given: Words, report: Report) -> int:
    from engine.runtime import containers, executing

    if not given.rest:
        raise UsageError("no container is named")
    if given.one("cgroup"):
        raise UnsupportedError("exec enters the container's own cgroup", "--cgroup is not supported")
    container = containers.find(root, given.rest[0])
    if path := given.one("process"):
        document = executing.read_process(path)
    else:
        options = executing.ProcessOptions(
            args=tuple(given.rest[1:]),
            terminal=given.on("tty"),
            env=tuple(given.all("env")),
            cwd=given.one("cwd"),
            user=given.one("user"),
            groups=tuple(words.number("additional-gids", text) for text in given.all("additional-gids")),
            capabilities=tuple(given.all("cap")),
            no_new_privileges=given.on("no-new-privs"),
            apparmor=given.one("apparmor"),
            label=given.one("process-label"),
        )
        document = executing.process_of(container, options)
    wanted = executing.Execution(
        process=document,
        detach=given.on("detach"),
        pid_file=_absolute(given.one("pid-file")),
        console_socket=given.one("console-socket"),
        paused_too=given.on("ignore-paused"),
        preserved=_preserved(given),
    )
    return executing.execute(container, wanted, report)


def _state(root: str, given: Words, _: Report) -> int:
    from engine.runtime import containers

    print(plainjson.indented(containers.find(root, words.container(given)).state()))
    return 0


def _list(root: str, given: Words, _: Report) -> int:
    from engine.runtime import containers

    states = [container.state() for container in containers.every(root)]
    if given.on("quiet"):
        print("".join(f"{state['id']}\n" for state in states), end="")
    elif _format(given) == "json":
        print(plainjson.dumps(states))
    else:
        columns = ("id", "pid", "status", "bundle", "created", "owner")
        rows = [
            [name.upper() for name in columns],
            *([str(state[name]) for name in columns] for state in states),
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _format(given: Words) -> str:
    found = given.one("format", "table")
    if found not in ("table", "json"):
        raise UsageError(f"unknown format {found!r}", hint="table or json")
    return found


def _ps(root: str, given: Words, _: Report) -> int:
    from engine.runtime import containers, limiting

    if not given.rest:
        raise UsageError("no container is named")
    found = limiting.processes(containers.find(root, given.rest[0]))
    if _format(given) == "json":
        print(plainjson.dumps(found))
        return 0
    import subprocess

    done = subprocess.run(["ps", *(given.rest[1:] or ["-ef"])], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnsupportedError("ps cannot list processes", done.stderr.strip(), "use --format json")
    head, *lines = done.stdout.splitlines()
    column = head.split().index("PID")
    print(head)
    for line in lines:
        if int(line.split()[column]) in found:
            print(line)
    return 0


def _kill(root: str, given: Words, _: Report) -> int:
    from engine.runtime import containers, killing

    if not 1 <= len(given.rest) <= 2:
        raise UsageError("kill takes a container and a signal")
    name = given.rest[1] if len(given.rest) == 2 else given.one("signal", "TERM")
    number = killing.signal_number(name)
    killing.kill(containers.find(root, given.rest[0]), number, given.on("all"))
    return 0


def _delete(root: str, given: Words, report: Report) -> int:
    from engine.runtime import containers, ending

    name, force = words.container(given), given.on("force")
    if force and not containers.is_id(name):
        return 0
    ending.delete(containers.directory_of(root, name), force, report)
    return 0


def _limit(operation: str) -> Callable[[str, Words, Report], int]:
    def run(root: str, given: Words, _: Report) -> int:
        from engine.runtime import containers, limiting

        container = containers.find(root, words.container(given))
        if operation == "update":
            limiting.update(container, limiting.resources_of(given))
        elif operation == "pause":
            limiting.pause(container)
        else:
            limiting.resume(container)
        return 0

    return run


def _events(root: str, given: Words, _: Report) -> int:
    from engine.runtime import containers, events

    if not given.on("stats"):
        raise UnsupportedError(
            "events are not followed", "no process of ours watches a container", "use --stats"
        )
    print(plainjson.dumps(events.stats(containers.find(root, words.container(given)))))
    return 0


def _features(_: str, __: Words, ___: Report) -> int:
    import json

    from engine.runtime.features import features

    print(json.dumps(features(), indent=2))
    return 0


def _spec(_: str, given: Words, __: Report) -> int:
    import json

    from engine.runtime.features import example

    path = f"{given.one('bundle', '.')}/config.json"
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(json.dumps(example(), indent=2) + "\n")
    except FileExistsError:
        raise UsageError(f"{path} exists", hint="remove it first") from None
    return 0


def _refused(_: str, __: Words, ___: Report) -> int:
    raise UnsupportedError("cowl-runtime makes no checkpoints", "it does not use CRIU")


_COMMANDS: dict[str, tuple[Kinds | None, bool, _Run]] = {
    "create": (usage.CREATE, True, _create),
    "start": ({}, True, _start),
    "run": ({**usage.CREATE, "detach|d": FLAG, "keep": FLAG, "no-subreaper": FLAG}, True, _run),
    "exec": (usage.PROCESS, False, _exec),
    "state": ({}, True, _state),
    "list": ({"format|f": VALUE, "quiet|q": FLAG}, True, _list),
    "ps": ({"format|f": VALUE}, False, _ps),
    "kill": ({"all|a": FLAG, "signal|s": VALUE}, True, _kill),
    "delete": ({"force|f": FLAG}, True, _delete),
    "pause": ({}, True, _limit("pause")),
    "resume": ({}, True, _limit("resume")),
    "update": (usage.UPDATE, True, _limit("update")),
    "events": ({"stats": FLAG, "interval": VALUE}, True, _events),
    "features": ({}, True, _features),
    "spec": ({"bundle|b": VALUE, "rootless": FLAG}, True, _spec),
    "checkpoint": (None, False, _refused),
    "restore": (None, False, _refused),
}
"""Flags (None: whatever they are), whether they may follow the container, and what is done."""

if __name__ == "__main__":
    main()
