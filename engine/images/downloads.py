"""Layers on their way here: each from the first of several repositories that has it, going on where it was.

What has come stays in partial/ until the image is recorded: a pull that is killed, by whatever, is followed
by one that asks for the rest only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import FileIO
from typing import TypeVar

from engine.errors import ArchiveError, NotFoundError, RegistryError
from engine.images.crew import Meter
from engine.images.unpacking import Job
from engine.oci.documents import Descriptor
from engine.oci.registry.repository import Repository
from engine.store import partials
from engine.store.layout import Layout
from engine.store.staging import Area

_MAX_URLS = 4
"""Addresses of one layer that are tried."""

_T = TypeVar("_T")


def first(repositories: Sequence[Repository], ask: Callable[[Repository], _T]) -> _T:
    """What the first of *repositories* answers that can; the last, the registry itself, has the last word."""
    for mirror in repositories[:-1]:
        with suppress(RegistryError, NotFoundError, ArchiveError):
            return ask(mirror)
    return ask(repositories[-1])


class Downloads:
    """The blobs of one pull, as files in its staging area. May be used from several threads."""

    def __init__(self, layout: Layout, repositories: Sequence[Repository], area: Area, meter: Meter) -> None:
        self._layout = layout
        self._repositories = repositories
        self._directory = f"{area.path}/downloads"
        self._meter = meter
        self._held: dict[str, FileIO] = {}
        self._elsewhere: dict[str, list[str]] = {}
        os.mkdir(self._directory)

    def expect(self, layer: Descriptor) -> str:
        """Where the blob of *layer* will be."""
        if layer.urls:
            self._elsewhere[layer.digest] = layer.urls[:_MAX_URLS]
        return f"{self._directory}/{layer.digest.removeprefix('sha256:')}"

    def fetch(self, job: Job) -> None:
        """Have the blob that *job* needs at its path, verified.

        Raises NotFoundError, RegistryError, ArchiveError, OSError.
        """
        assert job.digest is not None
        if os.path.exists(job.source):
            return
        digest, size = job.digest, job.size
        advance = self._meter.of("downloading", digest, size)
        part = partials.take(self._layout, digest)
        if part is None:  # another pull is at it: it may end at any time, so this one has its own
            with FileIO(f"{job.source}.part", "x+") as file:
                self._download(digest, size, file, advance)
            os.rename(f"{job.source}.part", job.source)
            return
        self._held[digest] = part
        self._download(digest, size, part, advance)
        os.link(self._layout.partial(digest), job.source)

    def _download(self, digest: str, size: int, file: FileIO, advance: Callable[[int], None]) -> None:
        try:
            first(self._repositories, lambda each: each.download(digest, size, file, advance))
        except NotFoundError:
            urls = self._elsewhere.get(digest, ())
            registry = self._repositories[-1]
            for url in urls[:-1]:
                with suppress(RegistryError, NotFoundError, ArchiveError):
                    return registry.download(digest, size, file, advance, url)
            if not urls:
                raise
            registry.download(digest, size, file, advance, urls[-1])

    def drop(self) -> None:
        """Keep nothing for another attempt: the image is in the store, or the file system is full."""
        for digest in list(self._held):
            partials.drop(self._layout, digest)

    def close(self) -> None:
        """Let go of what is here in part: it is there for the next pull."""
        for digest, file in list(self._held.items()):
            if not file.closed and not os.fstat(file.fileno()).st_size:
                partials.drop(self._layout, digest)
            file.close()
