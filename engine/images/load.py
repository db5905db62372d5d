"""Images of others come into the store: docker-archive and OCI layouts, whatever made them.

An image for several machines comes with all of them that the archive has, and keeps its index.
Layers are unpacked side by side, from where they are in the archive; see `engine.images.intake`.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable, Sequence
from typing import BinaryIO

from engine.errors import NotFoundError, StoreError
from engine.images.intake import ATTEMPTS, Intake
from engine.images.legacy import is_legacy, read_legacy_images
from engine.images.publication import VanishedError
from engine.images.tararchive import TarArchive, probe
from engine.images.workers import unpack_all
from engine.layers.compression import codec_of, open_layer
from engine.model import Progress, ProgressCallback
from engine.oci import documents
from engine.oci.archive import Archive, Below, DirectoryArchive, not_an_image
from engine.oci.bundle import Bundle, BundledImage, read_images
from engine.store.faults import point
from engine.store.indexes import NewIndex
from engine.store.staging import staging_area
from engine.store.store import Store

_COPY = 1 << 20
_SUFFIXES = re.compile(r"(\.(tar|oci|docker|tgz|gz|zst|zstd|xz|bz2|image|img))+$")


def load(
    store: Store,
    source: str | BinaryIO,
    progress: ProgressCallback | None = None,
    *,
    all_platforms: bool = False,
) -> list[str]:
    """Load every image of *source*: a file, a directory, or a stream. Returns their names.

    An image that the archive does not name is called after its file. Of an index, this machine's image has
    to be there, or with *all_platforms* all that it names. Raises ArchiveError for what is damaged,
    hostile or no image; NotFoundError for a source that is not there; NoSpaceError; StoreError.
    """
    with staging_area(store.layout) as area:
        archive, label = _open(source, area.path)
        bundle = _read(archive, label, all_platforms)
        images = _with_names(bundle.images, label)
        indexes = _with_names_of(images, bundle.indexes)
        point("load.after-read")
        for attempt in range(ATTEMPTS):
            intake = Intake(store, f"{area.path}/{attempt}", images)
            try:
                intake.prepare(
                    lambda jobs: unpack_all(
                        jobs, area.lock, _reporter(progress, sum(job.size for job in jobs))
                    )
                )
                intake.publish(indexes)
            except VanishedError:
                continue
            return [name for image in images for name in image.names]
    raise StoreError("the images cannot be loaded", "others keep removing parts of them", "try again")


def _read(archive: Archive, label: str, all_platforms: bool) -> Bundle:
    """What images there are, also where all of them are in a directory that was packed as a whole."""
    if is_legacy(archive):
        return Bundle(read_legacy_images(archive))
    if not any(archive.has(name) for name in ("index.json", "manifest.json")):
        inner = sorted({*archive.directories_with("oci-layout"), *archive.directories_with("manifest.json")})
        if len(inner) > 1:
            raise not_an_image(f"it has several in directories: {', '.join(inner[:8])}")
        if inner:
            return read_images(Below(archive, inner[0]), _label(inner[0]), all_platforms=all_platforms)
    return read_images(archive, label, all_platforms=all_platforms)


# Sources


def _open(source: str | BinaryIO, area: str) -> tuple[Archive, str]:
    """The archive, and what its images are called when it does not say."""
    if not isinstance(source, str):
        path = _regular_file_of(source) or _spool(source, area)
        return TarArchive(_decompressed(path, area)), ""
    try:
        status = os.stat(source)
    except OSError as error:
        raise NotFoundError(
            f"cannot read {source}", error.strerror or str(error), "give an archive"
        ) from error
    label = _label(source)
    if stat.S_ISDIR(status.st_mode):
        return DirectoryArchive(source), label
    if not stat.S_ISREG(status.st_mode):
        with open(source, "rb") as stream:
            return TarArchive(_decompressed(_spool(stream, area), area)), label
    return TarArchive(_decompressed(source, area)), label


def _regular_file_of(stream: BinaryIO) -> str | None:
    """A path for the file behind *stream*, if there is one and nothing was read from it yet."""
    try:
        descriptor = stream.fileno()
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and os.lseek(descriptor, 0, os.SEEK_CUR) == 0:
            return f"/proc/{os.getpid()}/fd/{descriptor}"
    except OSError:
        return None
    return None


def _spool(stream: BinaryIO, area: str) -> str:
    """A copy of *stream*. Raises ArchiveError as soon as it cannot become an archive: it may have no end."""
    path = f"{area}/stream"
    head = stream.read(_COPY)
    if codec_of(head) == "none":
        probe(head)
    with open(path, "xb") as file:
        file.write(head)
        shutil.copyfileobj(stream, file, _COPY)
    return path


def _decompressed(path: str, area: str) -> str:
    """*path*, or a plain copy of it if it is compressed as a whole."""
    try:
        with open(path, "rb") as file:
            head = file.read(6)
    except OSError as error:
        raise NotFoundError(f"cannot read {path}", error.strerror or str(error), "give an archive") from error
    if codec_of(head) == "none":
        return path
    plain = f"{area}/plain"
    with open(path, "rb") as file, open(plain, "xb") as copy:
        shutil.copyfileobj(open_layer(file, what="archive"), copy, _COPY)
    return plain


def _label(path: str) -> str:
    name = os.path.basename(os.path.abspath(path)).lower()
    return re.sub(r"[^a-z0-9]+", "-", _SUFFIXES.sub("", name)).strip("-")


def _with_names(images: list[BundledImage], label: str) -> list[BundledImage]:
    """*images*, each with a name: an image that nothing names could not be found again."""
    named = []
    is_one = sum(not image.is_companion for image in images) == 1
    for image in images:
        names = image.names
        if not names and not image.is_companion:
            digits = documents.digest_of(image.config)[7:19]
            names = (f"{label}:latest" if label and is_one else f"{label or 'loaded'}:{digits}",)
        named.append(image._replace(names=names))
    return named


def _with_names_of(images: list[BundledImage], indexes: Sequence[NewIndex]) -> list[NewIndex]:
    """*indexes*, those without a name with the names of the image that they mean here."""
    names = {documents.digest_of(image.manifest): image.names for image in images if image.manifest}
    return [
        each if each.names else each._replace(names=names[min(each.manifests, key=lambda pair: pair[1])[0]])
        for each in indexes
    ]


def _reporter(progress: ProgressCallback | None, total: int) -> Callable[[int], None]:
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(Progress("unpacking layers", done, total))

    return advance
