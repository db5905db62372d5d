"""Archives of images as named files, whether they are a directory or a tar (`engine.images.tararchive`).

Used for docker-archive and for OCI layouts alike. Nothing is trusted: names may not leave the archive, links
are followed inside it only and never on the host, only regular files are read, and documents have a largest
size.
"""

from __future__ import annotations

import os
import stat
from typing import NamedTuple, Protocol

from engine.errors import ArchiveError
from engine.oci.documents import MAX_DOCUMENT


class Extent(NamedTuple):
    """Where the bytes of one file of an archive are on this machine."""

    path: str
    offset: int
    size: int


class Archive(Protocol):
    """Named files."""

    def locate(self, name: str) -> Extent:
        """Where the file *name* is. Raises ArchiveError."""

    def has(self, name: str) -> bool:
        """Whether there is a file *name*."""

    def directories_with(self, name: str) -> list[str]:
        """The directories at the top that have a file *name*, sorted."""


class DirectoryArchive:
    """The files below the directory *path*."""

    def __init__(self, path: str) -> None:
        self._path = path

    def has(self, name: str) -> bool:
        """Whether there is a file *name*."""
        try:
            self.locate(name)
        except ArchiveError:
            return False
        return True

    def directories_with(self, name: str) -> list[str]:
        """The directories at the top that have a file *name*, sorted."""
        with os.scandir(self._path) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        return [each for each in names if self.has(f"{each}/{name}")]

    def locate(self, name: str) -> Extent:
        """Where the file *name* is. Raises ArchiveError."""
        path = os.path.join(self._path, clean(name))
        if not os.path.realpath(path).startswith(os.path.realpath(self._path) + os.sep):
            raise ArchiveError(
                f"{name} is a link out of {self._path}", "an image may not name files of the host"
            )
        try:
            status = os.stat(path)
        except OSError as error:
            raise missing(name) from error
        if not stat.S_ISREG(status.st_mode):
            raise ArchiveError(f"{name} is not a regular file", "an image consists of files")
        return Extent(path, 0, status.st_size)


class Below:
    """What an archive has below one of its directories, as an archive of its own."""

    def __init__(self, archive: Archive, directory: str) -> None:
        self._archive = archive
        self._directory = directory

    def has(self, name: str) -> bool:
        """Whether there is a file *name*."""
        return self._archive.has(f"{self._directory}/{clean(name)}")

    def locate(self, name: str) -> Extent:
        """Where the file *name* is. Raises ArchiveError."""
        return self._archive.locate(f"{self._directory}/{clean(name)}")

    def directories_with(self, name: str) -> list[str]:
        """The directories at the top that have a file *name*, sorted: not looked for here."""
        return []


def read_document(archive: Archive, name: str) -> bytes:
    """All bytes of the document *name*. Raises ArchiveError if it is missing or far too large."""
    extent = archive.locate(name)
    if extent.size > MAX_DOCUMENT:
        raise ArchiveError(
            f"{name} is too large", f"{extent.size} bytes, documents have at most {MAX_DOCUMENT}"
        )
    return read_extent(extent)


def read_extent(extent: Extent, limit: int | None = None) -> bytes:
    """The bytes of *extent*, at most *limit* of them. Raises ArchiveError if the file has become shorter."""
    size = extent.size if limit is None else min(limit, extent.size)
    with open(extent.path, "rb", opener=open_plainly) as file:
        file.seek(extent.offset)
        data = file.read(size)
    if len(data) != size:
        raise ArchiveError("the archive is truncated", f"{extent.path} ends too early", "get a complete copy")
    return data


def not_an_image(why: str) -> ArchiveError:
    """The error for an archive in which no image can be found."""
    return ArchiveError("this is not an image archive", why, "give a docker-archive or an OCI layout")


def open_plainly(path: str, flags: int) -> int:
    """An opener that neither waits for a fifo nor leaves the descriptor to other programs."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def missing(name: str) -> ArchiveError:
    """The error for an archive without a file *name* that it has to have."""
    return ArchiveError("the archive is not complete", f"it has no {name}", "get a complete copy")


def clean(name: str) -> str:
    """*name* without ``./`` and doubled slashes. Raises ArchiveError if it would leave the archive."""
    if "\0" in name:
        raise ArchiveError(f"the archive names {name!r}", "no file's name has NUL in it", "do not trust it")
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if not parts:
                raise ArchiveError(f"the archive names {name!r}", "that is outside of it", "do not trust it")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
