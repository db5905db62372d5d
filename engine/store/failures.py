"""What went wrong in processes that nobody hears: monitors, and whoever checks a container's health.

A line of JSON each, beside the container's other files; where that file system is full, in its run-time
directory. They are kept until somebody starts the container again.
"""

from __future__ import annotations

import contextlib
import os

from engine import plainjson
from engine.errors import CowlError
from engine.record import Record
from engine.store import clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from engine.store.layout import ContainerPaths

MONITOR = "monitor"
HANDOVER = "handover"
HEALTH = "health"
LOG = "log"
MAX_SIZE = 32 << 10
"""Bytes of the file, which begins anew where it would be longer."""
_MAX_TRACEBACK = 4096
_MAX_ERROR = 500
"""Characters."""


class Failure(Record):
    """An exception that nobody was waiting for."""

    time: str
    process: str
    """What it was in: `MONITOR`, `HANDOVER`, `HEALTH`, or `LOG` for a log that lacks what came since."""
    pid: int
    error: str
    """One line."""
    traceback: str


def keep(paths: ContainerPaths, process: str, error: BaseException) -> None:
    """Note *error* of a *process* of the container; where it can be noted nowhere, it stays unsaid."""
    with contextlib.suppress(MemoryError):  # which may be what *error* tells of
        failure = Failure(clock.now(), process, os.getpid(), describe(error), _traceback(error))
        line = plainjson.dumps(failure._asdict()).encode() + b"\n"
        for place in _places(paths):
            with contextlib.suppress(OSError):
                if _append(place, line):
                    return


def read(paths: ContainerPaths) -> list[Failure]:
    """What has been kept, oldest first."""
    places = [place for place in _places(paths) if os.access(place, os.F_OK)]
    if not places:  # as a rule
        return []
    found: list[Failure] = []
    for place in places:
        with contextlib.suppress(FileNotFoundError):
            with open(place, "rb") as file:
                lines = file.read().split(b"\n")
            found += [failure for line in lines if (failure := _parse(line)) is not None]
    return sorted(found)


def clear(paths: ContainerPaths) -> None:
    """Forget them: another run begins."""
    for place in _places(paths):
        if os.access(place, os.F_OK):  # unlike an exception, it touches next to nothing
            with contextlib.suppress(OSError):
                os.unlink(place)


class Enduring:
    """A block after which things go on whatever happens in it, which is kept."""

    def __init__(self, paths: ContainerPaths, process: str = MONITOR) -> None:
        self._paths = paths
        self._process = process
        self.failed = False
        """Whether anything has, in any block of this."""

    def __enter__(self) -> Enduring:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            return False
        self.failed = True
        keep(self._paths, self._process, error)
        return True


def describe(error: BaseException) -> str:
    """*error* in one line: what people are told of it."""
    if isinstance(error, OSError) and error.strerror:
        name = "" if error.filename is None else f": {error.filename}"
        text = f"{error.strerror}{name}"
    elif isinstance(error, CowlError):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return " ".join(text.split())[:_MAX_ERROR]


def _places(paths: ContainerPaths) -> tuple[str, str]:
    return paths.failures, f"{paths.run}/{os.path.basename(paths.failures)}"


def _append(place: str, line: bytes) -> bool:
    """Add a line; False if only a part of it found room."""
    descriptor = os.open(place, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_size + len(line) > MAX_SIZE:
            os.ftruncate(descriptor, 0)
        # The end of a line that was torn before.
        return os.write(descriptor, b"\n" + line) == len(line) + 1
    finally:
        os.close(descriptor)


def _parse(line: bytes) -> Failure | None:
    """What one line says; None for one that a full disk has torn."""
    try:
        fields = plainjson.loads(line)
        return Failure(*(fields[name] for name in Failure._fields))
    except (ValueError, TypeError, KeyError):
        return None


def _traceback(error: BaseException) -> str:
    """As Python prints it, but without the lines of source: a process may have left its root by now."""
    parts: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        lines = [f"{type(cause).__name__}: {cause}"]
        step = cause.__traceback__
        while step is not None:
            code = step.tb_frame.f_code
            lines.insert(-1, f'  File "{code.co_filename}", line {step.tb_lineno}, in {code.co_qualname}')
            step = step.tb_next
        parts.append("\n".join(lines))
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "\n\n".join(reversed(parts))[-_MAX_TRACEBACK:]
