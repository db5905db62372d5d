"""The last samples of the containers of a root, where the next process looks for them.

A percentage needs an earlier sample: with these a single look has one, and never waits. All are in one file
of the run-time directory, so that who looks at a crowd opens that and not one for each.
"""

from __future__ import annotations

import os
import struct

from engine.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_AGE_NS = 200_000_000
_APART_NS = 500_000_000
_RECORD = struct.Struct("=64s5Q")
"""A container's ID, two points, and their sum: what is read while somebody writes it does not add up."""
_SUM = (1 << 64) - 1


class Point(Record):
    """CPU time used up to a moment."""

    monotonic_ns: int
    cpu_ns: int


class LastSamples:
    """Two for each container, a good while apart: of two looks at once, both have one to compare with.

    What cannot be read is not there; what cannot be written is for this process alone.
    """

    def __init__(self, path: str) -> None:
        """Those in the file *path*; empty is none."""
        self._path = path
        self._points: dict[str, tuple[Point, Point]] = {}
        self._kept: set[str] = set()
        self.error: OSError | None = None
        """Why the next process will not find them."""
        if path:
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:  # this is the first look
                return
            except OSError as error:
                self.error = error
                return
            try:
                self._points.update(_read(descriptor))
            finally:
                os.close(descriptor)

    def earlier(self, container: str, now: Point, birth: Point | None) -> Point | None:
        """The newest that is long enough ago to compare with, and of this life of the container, if any."""
        for point in reversed(self._points.get(container, ())):
            if birth is not None and point.monotonic_ns < birth.monotonic_ns:
                continue
            if point.monotonic_ns + _AGE_NS <= now.monotonic_ns and point.cpu_ns <= now.cpu_ns:
                return point
        return None

    def keep(self, container: str, now: Point) -> None:
        """Add *now*: it takes the place of the last one as long as that is close to the one before."""
        first, last = self._points.get(container, (now, now))
        if now.monotonic_ns < first.monotonic_ns:
            first = now
        elif last.monotonic_ns - first.monotonic_ns >= _APART_NS:
            first = last
        self._points[container] = (first, now)
        self._kept.add(container)

    def write(self, containers: Collection[str]) -> None:
        """Leave to others what was kept since the last time; *containers* are all that there are."""
        if not self._kept:
            return
        self._points = {name: points for name, points in self._points.items() if name in containers}
        if self._path:
            try:
                self._write(containers)
            except FileNotFoundError:  # the run-time directory has gone, with the last container
                pass
            except OSError as error:
                self.error = error
        self._kept.clear()

    def _write(self, containers: Collection[str]) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not self._kept.issuperset(containers):  # somebody else may have looked at the others since
                self._points.update(
                    (name, points)
                    for name, points in _read(descriptor)
                    if name in containers and name not in self._kept
                )
            data = pack(self._points)
            os.pwrite(descriptor, data, 0)
            if os.fstat(descriptor).st_size > len(data):
                os.ftruncate(descriptor, len(data))
        finally:
            os.close(descriptor)


def _read(descriptor: int) -> Iterator[tuple[str, tuple[Point, Point]]]:
    return unpack(os.pread(descriptor, os.fstat(descriptor).st_size, 0))


def pack(points: dict[str, tuple[Point, Point]]) -> bytes:
    """The bytes of the file."""
    return b"".join(
        _RECORD.pack(name.encode(), *first, *last, (sum(first) + sum(last)) & _SUM)
        for name, (first, last) in points.items()
    )


def unpack(data: bytes) -> Iterator[tuple[str, tuple[Point, Point]]]:
    """What `pack` made; anything else is left out."""
    whole = len(data) - len(data) % _RECORD.size
    for name, first_ns, first_cpu, last_ns, last_cpu, total in _RECORD.iter_unpack(data[:whole]):
        if (first_ns + first_cpu + last_ns + last_cpu) & _SUM == total and first_ns <= last_ns:
            yield (
                name.rstrip(b"\0").decode("ascii", "replace"),
                (Point(first_ns, first_cpu), Point(last_ns, last_cpu)),
            )
