"""What has happened to containers and images of one store: a line each, written by whoever did it.

There is no daemon to remember it, so it is a file: JSON lines, kept to a size. A writer holds the file's lock
from opening to writing, so that nothing is written any more to one that has been renamed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator

from engine.model import Event
from engine.store import clock
from engine.store.layout import Layout
from engine.store.trail import Trail, rotate

MAX_SIZE = 1 << 20
"""Bytes of one file."""
MAX_FILES = 4


def record(layout: Layout, kind: str, action: str, identity: str, name: str, **attributes: str) -> None:
    """Note that *action* was done to the *kind* of thing (``container`` or ``image``) with this ID and name.

    What cannot be noted, on a full disk, stays unsaid: it has happened all the same.
    """
    event = Event(clock.now(), kind, action, identity, name, attributes)
    line = json.dumps(event._asdict()).encode() + b"\n"
    with contextlib.suppress(OSError):
        _append(layout.events, line)


def _append(path: str, line: bytes) -> None:
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            status = os.fstat(descriptor)
            if not _is_at(path, status):
                continue
            if status.st_size and status.st_size + len(line) > MAX_SIZE:
                os.close(rotate(path, MAX_FILES))
                continue
            os.write(descriptor, line)
            return
        finally:
            os.close(descriptor)


def _is_at(path: str, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), status)
    except FileNotFoundError:
        return False


def read(
    layout: Layout,
    *,
    since: str | None = None,
    until: str | None = None,
    follow: bool = False,
    active: Callable[[], bool] = lambda: True,
) -> Iterator[Event]:
    """The events of a store in their order; *since* and *until* are RFC 3339 in UTC.

    With *follow*, goes on with those that come until *active* is no longer true, or *until* is reached.
    """
    with Trail(layout.events) as trail:

        def wanted() -> bool:
            return active() and (until is None or clock.now() <= until)

        for event in _events(trail.growing(wanted) if follow else trail.now()):
            if since is not None and event.time < since:
                continue
            if until is not None and event.time > until:
                return
            yield event


def _events(pieces: Iterable[bytes]) -> Iterator[Event]:
    rest = b""
    for data in pieces:
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            event = _event(line)
            if event is not None:
                yield event


def _event(line: bytes) -> Event | None:
    """What one line says; None for one that a full disk has torn."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    known = isinstance(found, dict) and found.keys() == set(Event._fields)
    return Event(**found) if known else None
