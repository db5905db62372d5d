"""Copying files between a container and the host, whether it runs or not (`cp`).

The container's side is a process of its own (see `copyist`), the host's side is this one; between them is a
plain tar, distrusted in both directions.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import BinaryIO

from engine import errors
from engine.containers import copyist, landing, removal, state
from engine.containers.copyist import Order, Resting, Running
from engine.errors import ConflictError, CowlError, StoreError
from engine.layers.mergedtar import write_tree
from engine.layers.untar import Placed, untar
from engine.model import JSON
from engine.store.layout import ContainerPaths

_CODE = "import sys; sys.path[:] = {path!r}; from engine.containers import copyist; copyist.main()"
_PIECE = 1 << 18


class Subject:
    """A container whose files are copied."""

    def __init__(self, name: str, paths: ContainerPaths, lowers: tuple[str, ...]) -> None:
        self.name = name
        self.paths = paths
        self.lowers = lowers

    @contextlib.contextmanager
    def place(self) -> Iterator[Running | Resting]:
        """Where its files are; one that does not run is not started meanwhile."""
        facts = state.derive(self.paths)
        if facts.who is not None:
            yield Running(facts.who.pid, facts.who.start)
            return
        with removal.locked(self.paths, self.name):
            facts = state.derive(self.paths)
            if facts.held:
                raise ConflictError(
                    f"cannot copy: the container {self.name} is {facts.state}", hint="try again"
                )
            paths = self.paths
            yield Resting(paths.config, self.lowers, paths.upper, paths.work, paths.init, paths.rootfs)


def copy_out(
    subject: Subject, path: str, destination: str | BinaryIO, *, follow: bool, archive: bool
) -> Placed | None:
    """Copy *path* of the container to *destination* of the host, or as a tar to a stream.

    With *archive*, owners stay what they are; otherwise everything belongs to this process's user. Raises
    NotFoundError, ConflictError, ArchiveError, NoSpaceError, StoreError.
    """
    stream = not isinstance(destination, str)
    with subject.place() as place, _Copyist(Order("out", path, follow, named=stream), place) as inside:
        said = inside.hear()
        if isinstance(destination, str):
            source = landing.Source(*said["source"])
            where = landing.landing_of(destination, source)
            with _directory(where.directory) as directory:
                owner = None if archive else (os.geteuid(), os.getegid())
                placed = untar(inside.output, directory, copyist.renaming(source, where), owner)
            inside.finish()
            return placed
        while data := inside.output.read(_PIECE):
            destination.write(data)
        inside.finish()
        return None


def copy_in(subject: Subject, source: str | BinaryIO, path: str, *, follow: bool, archive: bool) -> None:
    """Copy *source* of the host, or the tar of a stream, to *path* in the container.

    With *archive*, owners stay what they are; otherwise everything belongs to the container's root. Raises
    what `copy_out` does.
    """
    owner = None if archive or not isinstance(source, str) else (0, 0)
    if isinstance(source, str):
        real, found = landing.source_of(source, follow=follow)
        name = b"" if found.directory else os.fsencode(found.name)

        def write(out: BinaryIO) -> None:
            write_tree(os.fsencode(real), name, out)

        order = Order("in", path, source=tuple(found), owner=owner)
    else:

        def write(out: BinaryIO) -> None:
            while data := source.read(_PIECE):
                out.write(data)

        order = Order("in", path)
    with subject.place() as place, _Copyist(order, place) as inside:
        inside.hear()
        inside.feed(write)
        inside.finish()


class _Copyist:
    """The process inside, from this side."""

    def __init__(self, order: Order, place: Running | Resting) -> None:
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        comes_in = order.direction == "in"
        try:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", "-c", _CODE.format(path=sys.path)),
                    copyist.encode(theirs, order, place),
                ],
                stdin=subprocess.PIPE if comes_in else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if comes_in else subprocess.PIPE,
                pass_fds=(theirs,),
            )
        except OSError as error:
            os.close(ours)
            raise StoreError("cannot copy", error.strerror or str(error)) from error
        finally:
            os.close(theirs)
        self._control = os.fdopen(ours, "rb")

    @property
    def output(self) -> BinaryIO:
        """The tar that comes out."""
        assert self._process.stdout is not None
        return self._process.stdout  # type: ignore[return-value]

    def hear(self) -> JSON:
        """What it says next. Raises the error that it says."""
        line = self._control.readline()
        if not line:
            raise StoreError("cannot copy", "the process that reads and writes in the container was killed")
        said: JSON = json.loads(line)
        if "error" in said:
            raise _error(said["error"])
        return said

    def feed(self, write: Callable[[BinaryIO], None]) -> None:
        """Give it a tar; if it takes no more of it, `finish` says why."""
        pipe = self._process.stdin
        assert pipe is not None
        with contextlib.suppress(BrokenPipeError), pipe:
            write(pipe)  # type: ignore[arg-type]

    def finish(self) -> None:
        """Until it is done."""
        self.hear()

    def __enter__(self) -> _Copyist:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self._process.stdin, self._process.stdout, self._control):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.wait()


@contextlib.contextmanager
def _directory(path: str) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConflictError(f"cannot copy into {path}", error.strerror or str(error)) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _error(said: JSON) -> CowlError:
    kind = getattr(errors, said["kind"], StoreError)
    found = kind(said["what"], said["why"], said["hint"])
    return found if isinstance(found, CowlError) else StoreError(said["what"])
