"""What read-write layers hold beside the images that they lie on, and commits of it.

Everything named here may be a container or an image: an image's changes are those of its topmost layer.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from engine.errors import ConflictError, NotFoundError, StoreError, UsageError
from engine.kernel import views
from engine.model import Change, FileDiff, Node, Progress, ProgressCallback
from engine.oci import reference
from engine.store import events, records
from engine.store.layout import ContainerPaths
from engine.store.records import ContainerRow
from engine.store.store import Store

_FINGERPRINT_ENTRIES = 20_000
_COUNTED_TAG = re.compile(r"(v?)([0-9]{1,9})")


class _Stack(NamedTuple):
    """A layer and what it lies on."""

    upper: str
    lowers: tuple[str, ...]
    """Top first; with the init layer of a container."""
    plain: tuple[str, ...]
    """The whole stack, top first, without the init layer."""


class Changes:
    """The read-write layers of one store. Every method may be called from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, name: str, paths: Sequence[str] = ()) -> list[Change]:
        """What the container *name* has changed, by path; of *paths* and below only, if any are given.

        Raises NotFoundError, AmbiguousError.
        """
        from engine.layers.changes import changes

        with self._seen(name) as stack:
            return changes(stack.upper, stack.lowers, paths)

    def between(self, old: str, new: str) -> list[Change]:
        """Everything that differs between two trees, of containers or images: what makes *old* into *new*.

        Raises NotFoundError, AmbiguousError.
        """
        from engine.layers.changes import tree_changes

        with self._seen(old) as before, self._seen(new) as after:
            return tree_changes(after.plain, before.plain)

    def diff(self, name: str, path: str) -> FileDiff:
        """How one *path* (absolute in the container) was changed. Raises NotFoundError, AmbiguousError."""
        from engine.layers.filediff import file_diff

        with self._seen(name) as stack:
            return file_diff(stack.upper, stack.lowers, path)

    def fingerprint(self, name: str) -> object:
        """A value that differs from an earlier one if the read-write layer of *name* has changed since.

        Cheap beside `of`: one walk that compares nothing and, in a very large layer, ends early.
        """
        count = newest = total = 0
        pending = [self._stack(name).upper]
        while pending and count < _FINGERPRINT_ENTRIES:
            try:
                with os.scandir(pending.pop()) as entries:
                    for entry in entries:
                        status = entry.stat(follow_symlinks=False)
                        count += 1
                        total += status.st_ctime_ns
                        newest = max(newest, status.st_ctime_ns)
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(entry.path)
            except (FileNotFoundError, NotADirectoryError):
                continue  # it went while we looked: the directory above it has a new time by that
        return count, newest, total

    def propose_name(self, name: str) -> str:
        """A name for what a commit of the container *name* makes, which no image has yet.

        The next number after an image's own (``mine:1``, ``mine:2``), else the container's name with a
        number.
        """
        connection = self._store.connection
        row = records.container_row(connection, name)
        base, prefix, number = _plain_name(row.name), "", 0
        with contextlib.suppress(UsageError):
            parsed = reference.parse(row.image)
            counted = _COUNTED_TAG.fullmatch(parsed.tag or "")
            if counted and not parsed.digest and records.find_tag(connection, str(parsed)):
                base, prefix, number = parsed.name, counted[1], int(counted[2])
        taken = {tag for tag, _, _ in records.tags(connection)}
        while (proposed := f"{base}:{prefix}{number + 1}") in taken:
            number += 1
        return proposed

    def commit(
        self,
        name: str,
        tag: str | None = None,
        *,
        message: str = "",
        author: str = "",
        changes: Sequence[str] = (),
        only: Sequence[str] = (),
        without: Sequence[str] = (),
        pause: bool = False,
        progress: ProgressCallback | None = None,
    ) -> Node:
        """Make an image of what the container *name* has changed, called *tag* (None: by its chain ID only).

        *changes* are Dockerfile instructions that change the configuration. Of the changed paths, those at or
        below *only* go in (none given: all), but for those at and below *without*; of several such paths the
        nearest decides. With *pause*, the container's processes stand still meanwhile. Raises NotFoundError
        (also where nothing changed at one of *only*), AmbiguousError, UsageError, ConflictError,
        NoSpaceError.
        """
        from engine.images import forest
        from engine.images.commit import Commit, commit
        from engine.layers.selection import Selection

        part = Selection(only, without) if only or without else None

        row = records.container_row(self._store.connection, name)
        paths = self._store.layout.container(row.id)
        if progress is not None:
            progress(Progress(f"committing {row.name}", 0, None))
        with contextlib.ExitStack() as stack:
            stack.enter_context(_locked(row, paths))
            if pause:
                stack.enter_context(_frozen(paths))
            seen = stack.enter_context(_reading(row.name, self._stack_of(row)))
            wanted = Commit(row, seen.upper, seen.lowers, tag, message, author, tuple(changes), part)
            chain_id = commit(self._store, wanted)
        with self._store.read() as connection:
            node = forest.node(connection, chain_id)
        if node is None:
            raise NotFoundError(f"no image {chain_id[:19]}", "it was removed as soon as it was made")
        events.record(self._store.layout, "container", "commit", row.id, row.name, image=tag or chain_id)
        if tag is not None:
            events.record(self._store.layout, "image", "tag", chain_id, reference.normalise(tag))
        return node

    def export(
        self, name: str, destination: str | BinaryIO, progress: ProgressCallback | None = None
    ) -> None:
        """Write the merged tree of a container or image as a plain tar, the same bytes each time.

        Raises NotFoundError, AmbiguousError, ConflictError, NoSpaceError, StoreError.
        """
        from engine.images.transfer import export_tree

        with self._seen(name) as stack:
            export_tree(stack.plain, destination, progress)

    def _seen(self, name: str) -> contextlib.AbstractContextManager[_Stack]:
        """The stack of the container or image *name*, to be read."""
        return _reading(name, self._stack(name))

    def _stack(self, name: str) -> _Stack:
        """The stack of the container or image *name*."""
        connection = self._store.connection
        try:
            return self._stack_of(records.container_row(connection, name))
        except NotFoundError:
            pass
        try:
            chain_id, _ = reference.resolve_image(connection, name)
        except (NotFoundError, UsageError) as error:
            raise NotFoundError(
                f"no container or image {name}", "no name or ID matches", "look at cowl ps -a and cowl images"
            ) from error
        trees = tuple(self._store.layout.tree(each) for each in records.lineage(connection, chain_id))
        if not trees:
            raise records.image_gone(name)
        return _Stack(trees[0], trees[1:], trees)

    def _stack_of(self, row: ContainerRow) -> _Stack:
        layout = self._store.layout
        trees = tuple(layout.tree(each) for each in records.lineage(self._store.connection, row.chain_id))
        paths = layout.container(row.id)
        try:
            init = (paths.init,) if os.listdir(paths.init) else ()
        except FileNotFoundError:
            init = ()
        return _Stack(paths.upper, (*init, *trees), (paths.upper, *trees))


def _plain_name(text: str) -> str:
    """*text* as a part of an image name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "image"


@contextlib.contextmanager
def _reading(name: str, stack: _Stack) -> Iterator[_Stack]:
    """*stack* for somebody who reads it, whatever its container does meanwhile.

    A layer that is removed while it is read is not found; other failures of the disk are the store's.
    """
    try:
        with views.strict(stack.upper) as upper:
            yield stack._replace(upper=upper, plain=(upper, *stack.plain[1:]))
    except (OSError, StoreError) as error:
        if not all(os.path.isdir(layer) for layer in stack.plain):
            raise NotFoundError(f"{name} is not there any more", "it was removed meanwhile") from error
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.ELOOP, errno.ENOTDIR):
            why = "a directory in it became something else while it was read"
            raise ConflictError(f"cannot read the layers of {name}", why, "try again, or pause it") from error
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"cannot read the layers of {name}", error.strerror or str(error)) from error


@contextlib.contextmanager
def _locked(row: ContainerRow, paths: ContainerPaths) -> Iterator[None]:
    """Nobody starts, stops or removes the container meanwhile."""
    try:
        descriptor = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError as error:
        raise NotFoundError(f"no container {row.name}", "it was removed a moment ago") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _frozen(paths: ContainerPaths) -> Iterator[None]:
    """The container's processes stand still meanwhile, if it runs and is not paused already."""
    from engine.containers import state
    from engine.kernel import cgroup

    facts = state.derive(paths)
    if facts.state != "running" or facts.cgroup is None:
        yield
        return
    found = cgroup.Cgroup.from_json(facts.cgroup)
    try:
        cgroup.freeze(found)
        yield
    finally:
        cgroup.thaw(found)
