"""What of a container's changes the next commit takes, in paths as `cowl commit --only` has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from engine import Selection
from engine.model import Change


class Staged(NamedTuple):
    """The changes at and below *only*, but for those at and below *without*; nothing staged: all of them."""

    only: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()

    def turned(self, path: str, *, goes_in: bool) -> Staged:
        """The same, but that what is at *path* and below *goes_in*, or does not."""
        only = frozenset(each for each in self.only if not _covers(path, each))
        without = frozenset(each for each in self.without if not _covers(path, each))
        rest = Staged(only, without)
        if rest._goes_in(path) != goes_in:
            rest = Staged(only | {path}, without) if goes_in else Staged(only, without | {path})
        return rest._tidy()

    def chosen(self, changes: Iterable[Change]) -> list[Change]:
        """Those of *changes* that go in."""
        keeps = Selection(self.only, self.without).keeps
        return [change for change in changes if keeps(change)]

    def counts(self, changes: Iterable[Change]) -> Counter[str]:
        """By path, how many of *changes* go in at and below it."""
        return Counter(path for change in self.chosen(changes) for path in _way(change.path))

    def pruned(self, changes: Iterable[Change]) -> Staged:
        """The same without what has nothing in *changes* any more."""
        live = {path for change in changes for path in _way(change.path)}
        return Staged(self.only & live, self.without & live)._tidy()

    def _goes_in(self, path: str) -> bool:
        """Whether a change at *path* itself would go in, once anything is staged."""
        nearest = next((each for each in _way(path) if each in self.only or each in self.without), None)
        return nearest in self.only

    def _tidy(self) -> Staged:
        """Without exceptions from nothing: where all that was wanted has gone, all changes go in again."""
        return self if self.only else Staged()


def _covers(directory: str, path: str) -> bool:
    """Whether *path* is *directory*, or below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _way(path: str) -> Iterator[str]:
    """*path* and all directories above it."""
    yield path
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        yield path
