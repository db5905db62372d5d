"""Reading a container's log: pieces joined to lines, the last found from the end, followed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from engine.model import LogLine
from engine.record import Record
from engine.store.trail import Trail

_UNENDED = b"F:E"
"""The tag of a last piece of a line that got no newline."""
_SLACK = 4
"""Two streams may each have begun a line in pieces: so many lines more are looked at."""


def read(
    path: str,
    *,
    tail: int | None = None,
    since: str | None = None,
    until: str | None = None,
    follow: bool = False,
    active: Callable[[], bool] = lambda: False,
) -> Iterator[LogLine]:
    """The lines of the log *path* with its older files; *since* and *until* are RFC 3339 in UTC, as text.

    With *follow*, goes on until *active* says that the container has ended and everything was read; a line
    that has no newline yet, as a prompt, comes as far as it goes.
    """
    with Trail(path) as trail:
        skip = 0
        if tail is not None:
            trail.start_near(tail + _SLACK, _is_whole)
            skip = max(0, sum(1 for _ in _lines(trail.now())) - tail)
        pieces = trail.growing(active) if follow else trail.now()
        for count, line in enumerate(_lines(pieces)):
            if count < skip or (since is not None and line.time < since):
                continue
            if until is not None and line.time > until:
                return
            yield line


def size(path: str) -> int:
    """Bytes that the log *path* takes, older files included."""
    with Trail(path) as trail:
        return trail.size()


class Growth(Record):
    """What a log has more of than at the last look."""

    lines: list[LogLine]
    begun: list[LogLine]
    """Those that have no end yet, as far as they go."""
    left_out: bool
    """Whether there was too much: lines before these are missing."""


class LogFollower:
    """A log that is looked at now and then, from where the last look ended."""

    def __init__(self, path: str, tail: int, most: int = 512 << 10) -> None:
        """It begins with the last *tail* lines, and does so again when more than *most* bytes have come."""
        self._path = path
        self._tail = tail
        self._most = most
        self._joiner = _Joiner()
        self._rest = b""
        self._is_first = True
        self._trail = self._begin()

    def look(self) -> Growth:
        """What has come since the last look; at the first, the last lines."""
        size = self._trail.pending()
        left_out = size > self._most and not self._is_first
        if left_out:
            self.close()
            self._trail = self._begin()
            size = self._trail.pending()
        lines: list[LogLine] = []
        for data in self._trail.fresh():
            *whole, self._rest = (self._rest + data).split(b"\n")
            lines += [line for raw in whole if (line := self._joiner.add(raw)) is not None]
            size -= len(data)
            if size <= 0:  # what comes meanwhile may come faster than it is read
                break
        if self._is_first:
            del lines[: max(0, len(lines) - self._tail)]
        self._is_first = False
        return Growth(lines, self._joiner.begun(), left_out)

    def close(self) -> None:
        """Let go of its files."""
        self._trail.close()

    def _begin(self) -> Trail:
        trail = Trail(self._path)
        trail.start_near(self._tail + _SLACK, _is_whole)
        self._joiner, self._rest = _Joiner(), b""
        self._is_first = True
        return trail


def _lines(pieces: Iterable[bytes]) -> Iterator[LogLine]:
    """The lines that *pieces* of the files make."""
    joiner = _Joiner()
    rest = b""
    for data in pieces:
        if not data:  # there is no more just now
            yield from joiner.given()
        *whole, rest = (rest + data).split(b"\n")
        for raw in whole:
            if (line := joiner.add(raw)) is not None:
                yield line
    yield from joiner.given()  # their monitor was killed, or they go on


class _Joiner:
    """Joins the pieces of each stream's line."""

    def __init__(self) -> None:
        self._held: dict[bytes, tuple[bytes, list[bytes]]] = {}
        self._given: set[bytes] = set()
        """Streams of whose line something has been given away already."""

    def add(self, raw: bytes) -> LogLine | None:
        """The line that *raw* completes, if it does."""
        parts = raw.split(b" ", 3)
        if len(parts) != 4 or parts[1] not in (b"stdout", b"stderr"):
            return None  # torn by a full disk
        stamp, stream, kind, text = parts
        first, pieces = self._held.pop(stream, (stamp, []))
        pieces.append(text)
        if kind not in (b"F", _UNENDED):
            self._held[stream] = (first, pieces)
            return None
        line = _line(first, stream, b"".join(pieces), ended=kind == b"F")
        is_rest = stream in self._given
        self._given.discard(stream)
        return None if is_rest and not line.ended and not line.text else line

    def begun(self) -> list[LogLine]:
        """The lines that were not completed."""
        return sorted(
            _line(stamp, stream, b"".join(pieces), ended=False)
            for stream, (stamp, pieces) in self._held.items()
            if pieces
        )

    def given(self) -> list[LogLine]:
        """`begun`, to whoever takes only the rest of them when it comes."""
        found = self.begun()
        for stream, (stamp, pieces) in self._held.items():
            if pieces:
                self._given.add(stream)
                self._held[stream] = (stamp, [])
        return found


def _line(stamp: bytes, stream: bytes, text: bytes, *, ended: bool) -> LogLine:
    name: Literal["stdout", "stderr"] = "stderr" if stream == b"stderr" else "stdout"
    return LogLine(stamp.decode("ascii", "replace"), name, text.decode("utf-8", "surrogateescape"), ended)


def _is_whole(raw: bytes) -> bool:
    """Whether this line of a file ends a line of the container."""
    return b" F " in raw[:45] or b" F:E " in raw[:45]
