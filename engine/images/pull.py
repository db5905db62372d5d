"""Images come from registries: what is missing is downloaded and unpacked side by side, the rest is here.

Each layer is unpacked by a worker process as soon as it has arrived, while others still arrive. Everything
is published in one step, so that a pull that ends early leaves the store as it was.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple, TypeVar

from engine.errors import NoSpaceError, NotFoundError, StoreError, UsageError
from engine.images import remotes
from engine.images.crew import Meter, run_all
from engine.images.downloads import Downloads, first
from engine.images.intake import ATTEMPTS, Intake
from engine.images.publication import VanishedError, has_blob
from engine.images.resolving import Resolved, Resolver
from engine.images.unpacking import Job, Unpacked, shared_out
from engine.images.workers import Worker
from engine.model import ProgressCallback
from engine.oci import documents, platforms
from engine.oci.bundle import BundledImage
from engine.oci.documents import Platform
from engine.oci.registry import naming
from engine.oci.registry.naming import Remote
from engine.oci.registry.repository import Repository
from engine.store import indexes, records
from engine.store.faults import point
from engine.store.staging import Area, no_space_on_full, staging_area
from engine.store.store import Store

DOWNLOADS = 4
"""Layers that are downloaded at a time."""
_MAX_NESTING = 4

_T = TypeVar("_T")


class Pulled(NamedTuple):
    """An image that is here now."""

    name: str
    """Its tag here, or ``name@digest`` where it was asked for by that."""
    digest: str
    """Of its manifest."""
    was_here: bool
    """Whether all was as it is now: the image with its blobs, and what its name means."""


def pull(
    store: Store,
    name: str,
    *,
    platform: str | None = None,
    all_tags: bool = False,
    all_platforms: bool = False,
    plain_http: bool = False,
    progress: ProgressCallback | None = None,
) -> list[Pulled]:
    """Pull the image *name*, or all images of its repository.

    *platform* is ``os/arch[/variant]``; otherwise this machine's is meant. With *all_platforms*, the images
    for all machines come, so that they can be pushed together. Raises UsageError, NotFoundError,
    DeniedError, RegistryError, ArchiveError for what is not what its digests or types say, NoSpaceError,
    StoreError.
    """
    remote = naming.remote_of(name)
    wanted = platforms.parse(platform) if platform else None
    if all_tags and (remote.tag or remote.digest):
        raise UsageError(f"{name} names one image", "all of its repository are wanted", "leave out the tag")
    if all_platforms and platform:
        raise UsageError("one platform and all of them", "both are given", "leave one out")
    stop = threading.Event()
    with (
        staging_area(store.layout) as area,
        remotes.sources(store, remote, plain_http, stop) as connections,
    ):
        repositories = [Repository(connection, remote.repository) for connection in connections]
        meter = Meter(progress)
        downloads = Downloads(store.layout, repositories, area, meter)
        try:
            pulling = _Pull(store, remote, repositories, area, downloads, meter, stop)
            with no_space_on_full(store.layout):
                return pulling.all(wanted, all_platforms) if all_tags else pulling.one(wanted, all_platforms)
        except NoSpaceError:
            downloads.drop()  # else a full store stays full, and cannot even be opened
            raise
        finally:
            stop.set()
            downloads.close()


class _Pull:
    """One pull, from the first of several repositories that has what is asked for."""

    def __init__(
        self,
        store: Store,
        remote: Remote,
        repositories: list[Repository],
        area: Area,
        downloads: Downloads,
        meter: Meter,
        stop: threading.Event,
    ) -> None:
        self._store = store
        self._remote = remote
        self._repositories = repositories
        self._area = area
        self._downloads = downloads
        self._resolver = Resolver(store, repositories, downloads)
        self._meter = meter
        self._stop = stop
        self._came: set[str | None] = set()
        """Digests of the layers that were not whole here."""

    def one(self, wanted: Platform | None, everything: bool) -> list[Pulled]:
        """The image that was named; with *everything*, those for all machines."""
        remote = self._remote
        names = () if remote.digest else (naming.local_name(remote, remote.target),)
        ask = self._resolver
        found = ask.whole(remote.target, names) if everything else ask.one(remote.target, names, wanted)
        return self._take_in([found])

    def all(self, wanted: Platform | None, everything: bool) -> list[Pulled]:
        """Every tag of the repository that has an image for the platform."""
        found = []
        refused: NotFoundError | None = None
        for tag in first(self._repositories, lambda each: each.tags()):
            names = (naming.local_name(self._remote, tag),)
            try:
                found.append(
                    self._resolver.whole(tag, names) if everything else self._resolver.one(tag, names, wanted)
                )
            except NotFoundError as error:
                refused = error
        if not found:
            raise refused or NotFoundError(f"{self._remote.repository} is empty", "it has no tag")
        return self._take_in(found)

    def _take_in(self, found: Sequence[Resolved]) -> list[Pulled]:
        images = [image for each in found for image in each.images]
        digests = [documents.digest_of(image.manifest or b"") for image in images]
        came_by = [each.came_by for each in found if each.came_by]
        with self._store.read() as connection:
            named = {name: each.document.digest for each in came_by for name in each.names}
            known = [
                records.manifest_row(connection, digest) is not None
                and all(records.find_tag(connection, name) == digest for name in image.names)
                and all(indexes.of_tag(connection, name) == named.get(name) for name in image.names)
                for image, digest in zip(images, digests, strict=True)
            ]
        point("pull.after-manifests")
        for attempt in range(ATTEMPTS):
            intake = Intake(self._store, f"{self._area.path}/{attempt}", images, owned=True)
            try:
                intake.prepare(self._unpack)
                intake.publish(came_by)
            except VanishedError:
                continue
            self._downloads.drop()
            return [
                Pulled(self._name(image.names, digest), digest, was_here and not self._lacked(image))
                for image, digest, was_here in zip(images, digests, known, strict=True)
            ]
        raise StoreError("the image cannot be pulled", "others keep removing parts of it", "try again")

    def _lacked(self, image: BundledImage) -> bool:
        """Whether anything of it was not here."""
        return any(layer.digest in self._came for layer in image.layers)

    def _name(self, names: Sequence[str], digest: str) -> str:
        if names:
            return names[0]
        return f"{naming.local_name(self._remote, 'x').rpartition(':')[0]}@{digest}"

    # Layers

    def _unpack(self, jobs: Sequence[Job]) -> Sequence[Unpacked]:
        """Download what *jobs* need and is not here; each is done as soon as its bytes are here."""
        self._came.update(job.digest for job in jobs)
        self._link_known(jobs)
        jobs = shared_out(jobs)
        by_source: dict[str, list[int]] = {}
        for number, job in enumerate(jobs):
            by_source.setdefault(job.source, []).append(number)
        results: dict[int, Unpacked] = {}
        downloading = threading.Semaphore(DOWNLOADS)
        processors = len(os.sched_getaffinity(0))
        with _workers(self._area.lock, min(processors, len(jobs))) as workers:

            def do(numbers: list[int]) -> None:
                job = jobs[numbers[0]]
                with downloading:
                    self._downloads.fetch(job)
                point("pull.after-download")
                for number in numbers:
                    job = jobs[number]
                    with workers.borrow() as worker:
                        advance = self._meter.of("unpacking", job.digest or "", job.size)
                        results[number] = worker.do(job, advance)

            # The largest first, as it has the most to do after it has come.
            sources = sorted(by_source.values(), key=lambda numbers: -jobs[numbers[0]].size)
            tasks = [lambda numbers=numbers: do(numbers) for numbers in sources]

            def interrupt() -> None:
                workers.kill()
                for repository in self._repositories:
                    repository.connection.abort()

            run_all(tasks, DOWNLOADS + processors, self._stop, interrupt)
        return [results[number] for number in range(len(jobs))]

    def _link_known(self, jobs: Sequence[Job]) -> None:
        """Give *jobs* the blobs that the store has: a link keeps them for as long as the pull takes."""
        with self._store.read() as connection:
            for job in jobs:
                if job.digest and has_blob(self._store, connection, job.digest):
                    with suppress(FileNotFoundError, FileExistsError):
                        os.link(self._store.layout.blob(job.digest), job.source)


class _Workers:
    """A few worker processes, made when they are first needed."""

    def __init__(self, lock: int, most: int) -> None:
        self._lock = lock
        self._free = threading.Semaphore(most)
        self._idle: list[Worker] = []
        self._made: list[Worker] = []

    @contextmanager
    def borrow(self) -> Iterator[Worker]:
        """A worker of one's own for the length of the block."""
        with self._free:
            try:
                worker = self._idle.pop()
            except IndexError:
                worker = Worker(self._lock)
                self._made.append(worker)
            yield worker
            self._idle.append(worker)

    def kill(self) -> None:
        """End the processes; who waits for one of them hears of it."""
        for worker in self._made:
            worker.kill()

    def end(self) -> None:
        """Let go of them; nobody waits for one any more."""
        for worker in self._made:
            worker.end()


@contextmanager
def _workers(lock: int, most: int) -> Iterator[_Workers]:
    workers = _Workers(lock, most)
    try:
        yield workers
    finally:
        workers.end()
