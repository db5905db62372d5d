"""Archives of images as named files: a tar or a directory, the files of which are found without unpacking it.

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

_MAX_MEMBERS = 20_000
_MAX_LINKS = 16


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


class TarArchive:
    """The files of a plain tar at *path*. Raises ArchiveError for what is none or is truncated."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._files: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        self._read()

    def _read(self) -> None:
        import tarfile

        try:
            length = os.path.getsize(self._path)
            with tarfile.open(self._path, "r:") as archive:
                for number, member in enumerate(archive):
                    if number >= _MAX_MEMBERS:
                        raise not_an_image(f"it has more than {_MAX_MEMBERS} files")
                    self._add(member, length)
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise not_an_image(f"it is not a tar: {error}") from error

    def _add(self, member: object, length: int) -> None:
        from tarfile import TarInfo

        assert isinstance(member, TarInfo)
        name = _clean(member.name)
        if member.isreg():
            if member.offset_data + member.size > length:
                raise ArchiveError(
                    "the archive is truncated", f"it ends within {name or member.name}", "get a complete copy"
                )
            self._files[name] = member.offset_data, member.size
            self._links.pop(name, None)
        elif member.issym() or member.islnk():
            base = os.path.dirname(name) if member.issym() else ""
            self._links[name] = _clean(os.path.join(base, member.linkname))
            self._files.pop(name, None)

    def has(self, name: str) -> bool:
        """Whether there is a file *name*."""
        return self._follow(name) in self._files

    def locate(self, name: str) -> Extent:
        """Where the file *name* is. Raises ArchiveError."""
        found = self._files.get(self._follow(name))
        if found is None:
            raise _missing(name)
        return Extent(self._path, *found)

    def _follow(self, name: str) -> str:
        name = _clean(name)
        for _ in range(_MAX_LINKS):
            if name not in self._links:
                break
            name = self._links[name]
        return name


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

    def locate(self, name: str) -> Extent:
        """Where the file *name* is. Raises ArchiveError."""
        path = os.path.join(self._path, _clean(name))
        if not os.path.realpath(path).startswith(os.path.realpath(self._path) + os.sep):
            raise ArchiveError(
                f"{name} is a link out of {self._path}", "an image may not name files of the host"
            )
        try:
            status = os.stat(path)
        except OSError as error:
            raise _missing(name) from error
        if not stat.S_ISREG(status.st_mode):
            raise ArchiveError(f"{name} is not a regular file", "an image consists of files")
        return Extent(path, 0, status.st_size)


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
    with open(extent.path, "rb", opener=_open_plainly) as file:
        file.seek(extent.offset)
        data = file.read(size)
    if len(data) != size:
        raise ArchiveError("the archive is truncated", f"{extent.path} ends too early", "get a complete copy")
    return data


def not_an_image(why: str) -> ArchiveError:
    """The error for an archive in which no image can be found."""
    return ArchiveError("this is not an image archive", why, "give a docker-archive or an OCI layout")


def _open_plainly(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _missing(name: str) -> ArchiveError:
    return ArchiveError("the archive is not complete", f"it has no {name}", "get a complete copy")


def _clean(name: str) -> str:
    """*name* without ``./`` and doubled slashes. Raises ArchiveError if it would leave the archive."""
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if not parts:
                raise ArchiveError(f"the archive names {name!r}", "that is outside of it", "do not trust it")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
