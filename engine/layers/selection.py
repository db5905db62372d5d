"""A part of a layer's changes, by path: what a commit of a part takes."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from engine.errors import NotFoundError, UsageError
from engine.model import Change


class Selection:
    """The changes at and below the paths *only* (none given: all), but for those at and below *without*.

    Of several that a change is below, the nearest path decides. Raises UsageError for a path that does not
    begin with a slash, or is named both ways.
    """

    def __init__(self, only: Iterable[str] = (), without: Iterable[str] = ()) -> None:
        self._only = {_absolute(path) for path in only}
        self._rules = dict.fromkeys(self._only, True)
        for path in map(_absolute, without):
            if path in self._only:
                raise UsageError(f"cannot take {path} and leave it out", "it is named both ways")
            self._rules[path] = False
        self._nearest: dict[str, str | None] = {}
        self._idle = set(self._only)

    def keeps(self, change: Change) -> bool:
        """Whether *change* is a part of it."""
        rule = self._rule(change.path)
        if rule is None:
            return not self._only
        if self._rules[rule]:
            self._idle.discard(rule)
            return True
        return False

    def check(self, name: str) -> None:
        """Raise NotFoundError when one of the wanted paths of *name* was at or above no change so far."""
        if self._idle:
            path = min(self._idle)
            raise NotFoundError(
                f"nothing to commit at {path}", "nothing was changed there", f"look at cowl diff {name}"
            )

    def _rule(self, path: str) -> str | None:
        """The nearest path that says something; directories are remembered, as they come again."""
        if path in self._rules:
            return path
        parent = posixpath.dirname(path)
        if parent == path:
            return None
        if parent not in self._nearest:
            self._nearest[parent] = self._rule(parent)
        return self._nearest[parent]


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise UsageError(f"cannot commit {path or 'an empty path'}", "paths begin with a slash")
    return posixpath.normpath("/" + path.lstrip("/"))
