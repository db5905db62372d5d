"""`create`, `run` and `exec`: from what was typed to the engine, and back to an exit code.

The process that is to start the program is forked first; both then load what they need, side by side.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar

from engine.cli import report
from engine.cli.options import Values
from engine.cli.session import Session
from engine.containers import standing
from engine.containers.standby import Standby
from engine.containers.standing import Standing
from engine.errors import ImageNotFoundError, UsageError
from engine.store.layout import Layout, default_root

if TYPE_CHECKING:
    from engine.containers.foreground import Streams
    from engine.engine import Engine

PULLS: Final = ("missing", "always", "never")
SERVER: Final = "engine.cli.serving"
"""The launcher with a server of commands beside it."""
PULL: Final = "COWL_PULL"
"""The variable that says when to pull where --pull does not."""

T = TypeVar("T")
Action: TypeAlias = Callable[[Session, Values, Sequence[str]], int]


@contextlib.contextmanager
def starter(kind: Literal["start", "exec"], session: Session) -> Iterator[Standby | Standing]:
    """Who starts a program for this process: a launcher that stands by, else a process of our own.

    In the latter case a launcher is begun in the end, for those who come later.
    """
    with launcher(session) as found:
        yield found or Standby(kind)


@contextlib.contextmanager
def launcher(session: Session) -> Iterator[Standing | None]:
    """The launcher that stands by for this process, if there is one; else one is begun in the end."""
    layout = Layout.of(session.root or default_root())
    found = standing.call(layout)
    yield found
    if found is None:
        standing.begin(layout, SERVER)


def create(session: Session, given: Values, arguments: Sequence[str]) -> int:
    """Make a container and print its ID."""
    from engine.cli import attaching, launchwords

    options = launchwords.launch_options(given, arguments)
    _caution(given)
    with attaching.noted(given["cidfile"]) as told, session.open() as engine:
        engine.containers.heed(report.warn)
        made = with_image(engine, given, options.image, lambda: engine.containers.create(options, told=told))
        print(made.id)
    return 0


def run(session: Session, given: Values, arguments: Sequence[str]) -> int:
    """Make and start a container; in the foreground the exit code is its process's own."""
    with report.launching(), starter("start", session) as standby:
        from engine.cli import attaching, launchwords

        options = launchwords.launch_options(given, arguments)
        streams = attaching.streams(given)
        _caution(given)
        if given["detach"] and given["attach"]:
            raise UsageError("nothing is attached to what runs on its own", "-a and -d exclude each other")
        if not given["detach"]:
            check_terminal(interactive=options.interactive and streams.stdin is not None, tty=options.tty)
        with attaching.noted(given["cidfile"]) as told, session.open(standby) as engine:
            room = engine.containers
            room.heed(report.warn)
            if given["detach"]:
                print(with_image(engine, given, options.image, lambda: room.run(options, told=told)).id)
                return 0
            return with_image(
                engine,
                given,
                options.image,
                lambda: room.run(options, attach=True, streams=streams, told=told),
            )


def _caution(given: Values) -> None:
    """Warn of what was asked for and is not had."""
    from engine.cli import limits

    for sentence in limits.cautions(given):
        report.warn(sentence)


def execute(session: Session, given: Values, arguments: Sequence[str]) -> int:
    """Run a command in a running container; the exit code is the command's own."""
    with report.launching(), starter("exec", session) as standby:
        from engine.cli import attaching, values

        container, *command = arguments
        if not given["detach"]:
            check_terminal(interactive=given["interactive"], tty=given["tty"])
        with session.open(standby) as engine:
            return engine.containers.exec(
                container,
                command,
                tty=given["tty"],
                interactive=given["interactive"],
                detach=given["detach"],
                env=values.environment(given["env"], given["env_file"]),
                user=given["user"] or None,
                workdir=given["workdir"] or None,
                privileged=given["privileged"],
                streams=attaching.streams(given),
            )


def with_image(engine: Engine, given: Values, image: str, act: Callable[[], T]) -> T:
    """Do *act*, which needs *image*, pulling that as --pull says: if it is missing, always, or never."""
    policy = given["pull"] or os.environ.get(PULL) or "missing"
    platform = given["platform"]
    if policy not in PULLS:
        raise UsageError(f"--pull {policy} means nothing", "", f"choose {', '.join(PULLS)}")
    missing = None
    if policy != "always":
        try:
            if platform:
                from engine.cli import fetching

                fetching.check_platform(engine, image, platform)
            return act()
        except ImageNotFoundError as error:
            if policy == "never":
                raise
            missing = error
    from engine.cli import fetching

    fetching.fetch(engine, image, missing, platform=platform, quiet=given["quiet"])
    return act()


def start_attached(engine: Engine, container: str, *, interactive: bool, streams: Streams) -> int:
    """Start a container in the foreground; its exit code."""
    engine.containers.heed(report.warn)
    return engine.containers.start(container, attach=True, interactive=interactive, streams=streams)


def attach(engine: Engine, container: str, *, interactive: bool, streams: Streams) -> int:
    """Join a running container; its exit code, or 0 if it was left by the keys for that."""
    return engine.containers.attach(container, interactive=interactive, streams=streams) or 0


def check_terminal(*, interactive: bool, tty: bool) -> None:
    """Refuse ``-it`` where standard input is no terminal, as docker does."""
    if interactive and tty and not os.isatty(0):
        raise UsageError("standard input is no terminal", "-i and -t together need one", "leave -t out")


ACTIONS: Final[dict[str, Action]] = {"create": create, "run": run, "exec": execute}
