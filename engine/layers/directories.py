"""Directories of a layer that wait for their owner, mode and time.

These come last: every entry changes the time again, and a set-group-ID directory would give its group to new
files.
"""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from engine.layers.confine import Confined

_MOST = 1 << 16
"""How many wait at once; a hundred bytes and its path for each, whatever a layer has of them."""


class Metadata(NamedTuple):
    """What a directory gets in the end."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int


class Directories:
    """Those below *root* that wait, by their paths, all links resolved; *user*'s and *group*'s until then."""

    def __init__(self, root: int, user: int, group: int) -> None:
        self._root = root
        self._user = user
        self._group = group
        self._waiting: dict[bytes, Metadata] = {}
        self._most = _MOST
        self.are_settled = False
        """Whether some got what they get already: then `reopen` those in which anything changes."""

    def add(self, path: bytes, metadata: Metadata) -> None:
        """Have *path* wait for *metadata*, in place of what it waited for."""
        self._waiting[path] = metadata

    def remove(self, path: bytes) -> None:
        """*path* is not there any more."""
        self._waiting.pop(path, None)

    def limit(self, current: bytes) -> None:
        """Settle what waits if it is too much, but not *current*, to which something is being added."""
        if len(self._waiting) > self._most:
            self._settle(current)

    def reopen(self, descriptor: int, path: bytes) -> None:
        """Something is about to be added to *path*: if it was settled, it waits again for what it has now."""
        if path not in self._waiting:
            status = os.fstat(descriptor)
            mode = stat.S_IMODE(status.st_mode)
            self._waiting[path] = Metadata(mode, status.st_uid, status.st_gid, status.st_mtime_ns)
            os.fchown(descriptor, self._user, self._group)
            os.fchmod(descriptor, 0o700)

    def finish(self) -> None:
        """Give all that wait what they wait for."""
        self._give(list(self._waiting))

    def _settle(self, current: bytes) -> None:
        way = {b"", current}
        while slash := current.rfind(b"/") + 1:
            current = current[: slash - 1]
            way.add(current)
        self._give([path for path in self._waiting if path not in way])
        self._most = max(_MOST, 2 * len(self._waiting))
        self.are_settled = True

    def _give(self, paths: list[bytes]) -> None:
        cursor = Confined(self._root)
        try:
            for path in sorted(paths):
                metadata = self._waiting.pop(path)
                descriptor = cursor.enter(path)
                if (metadata.uid, metadata.gid) != (self._user, self._group):
                    os.fchown(descriptor, metadata.uid, metadata.gid)
                os.fchmod(descriptor, metadata.mode)
                os.utime(descriptor, ns=(metadata.mtime_ns, metadata.mtime_ns))
        finally:
            cursor.forget()
