"""What the app does, as the command line would have it: the words that `cowl` takes for the same thing."""

from __future__ import annotations

from typing import NamedTuple

from engine.model import LaunchOptions, Limits, Volume
from tui import format as fmt
from tui.staging import Staged


class CommitRequest(NamedTuple):
    """How to commit; an empty name makes an untagged node."""

    name: str
    message: str = ""
    author: str = ""
    changes: tuple[str, ...] = ()
    """Dockerfile instructions, as `docker commit -c` takes them."""
    pause: bool = False
    staged: Staged = Staged()
    """The changes that go in."""


def run(options: LaunchOptions, *, detach: bool = True) -> str:
    """`cowl run -d …` for these options."""
    words = ["cowl", "run"]
    flags = (
        ("-d", detach),
        ("-i", options.interactive),
        ("-t", options.tty),
        ("--rm", options.auto_remove),
        ("--read-only", options.read_only),
        ("--privileged", options.privileged),
    )
    words += [flag for flag, given in flags if given]
    words += _pairs(options) + _limits(options.limits)
    words.append(options.image)
    words += options.command
    return fmt.command_line(words)


def commit(container: str, request: CommitRequest) -> str:
    """`cowl commit … CONTAINER NAME` for this request."""
    words = ["cowl", "commit"]
    if request.message:
        words += ["-m", request.message]
    if request.author:
        words += ["-a", request.author]
    for change in request.changes:
        words += ["-c", change]
    for path in sorted(request.staged.only):
        words += ["--only", path]
    for path in sorted(request.staged.without):
        words += ["--except", path]
    if request.pause:
        words.append("-p")
    return fmt.command_line([*words, container, request.name] if request.name else [*words, container])


def update(container: str, limits: Limits, lift: tuple[str, ...], restart: str | None) -> str:
    """`cowl update … CONTAINER`; nothing where nothing changes."""
    words = _limits(limits)
    flags = {"cpus": ("--cpus", "0"), "memory": ("-m", "-1"), "pids": ("--pids-limit", "-1")}
    for name in lift:
        words += flags[name]
    if restart is not None:
        words += ["--restart", restart]
    return fmt.command_line(["cowl", "update", *words, container]) if words else ""


def _pairs(options: LaunchOptions) -> list[str]:
    words: list[str] = []
    single = (
        ("--name", options.name),
        ("-w", options.workdir),
        ("-u", options.user),
        ("-h", options.hostname),
        ("--network", options.network or None),
    )
    for flag, value in single:
        if value:
            words += [flag, value]
    if options.entrypoint:
        words += ["--entrypoint", options.entrypoint[0]]
    for text in options.env:
        words += ["-e", text]
    for volume in options.volumes:
        words += ["-v", volume_text(volume)]
    return words


def volume_text(volume: Volume) -> str:
    """`SOURCE:DESTINATION[:ro]`, or the name of a volume instead of a source."""
    return f"{volume.name or volume.source}:{volume.destination}{':ro' if volume.read_only else ''}"


def _limits(limits: Limits) -> list[str]:
    words: list[str] = []
    if limits.cpus is not None:
        words += ["--cpus", fmt.cpus(limits.cpus)]
    if limits.memory is not None:
        words += ["-m", exact_bytes(limits.memory)]
    if limits.pids is not None:
        words += ["--pids-limit", str(limits.pids)]
    return words


def exact_bytes(number: int) -> str:
    """Bytes with the largest unit that loses nothing: `64m`, `1g`, `1000`."""
    for shift, unit in ((30, "g"), (20, "m"), (10, "k")):
        if number and number % (1 << shift) == 0:
            return f"{number >> shift}{unit}"
    return str(number)
