"""Writing archives of images: files with known names and sizes, into a tar or a directory.

Both come out the same each time: files in the order in which they are put, no times, no owners.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import BinaryIO, Protocol

from engine.errors import ArchiveError
from engine.model import JSON
from engine.oci import documents

_BLOCK = 512
_RECORD = 10240
"""Bytes that tars are filled up to, as tar(1) does."""


class Sink(Protocol):
    """All that the bytes of a file need."""

    def write(self, data: bytes, /) -> object:
        """Take all of *data*."""


class Writer(Protocol):
    """Takes files one after the other."""

    def put(self, name: str, size: int, fill: Callable[[Sink], object]) -> None:
        """The file *name*: *fill* writes exactly *size* bytes. Raises ArchiveError if it does not."""

    def finish(self) -> None:
        """Nothing follows."""


class TarWriter:
    """A plain tar on a stream that need not be seekable."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._written = 0
        self._directories: set[str] = set()

    def put(self, name: str, size: int, fill: Callable[[Sink], object]) -> None:
        """The file *name*: *fill* writes exactly *size* bytes. Raises ArchiveError if it does not."""
        self._parents(name)
        self._header(name, size, directory=False)
        counted = _Counted(self._out)
        fill(counted)
        counted.check(name, size)
        self._written += size
        self._write(bytes(-size % _BLOCK))

    def finish(self) -> None:
        """Write the end of the tar."""
        self._write(bytes(2 * _BLOCK))
        self._write(bytes(-self._written % _RECORD))

    def _parents(self, name: str) -> None:
        parent = os.path.dirname(name)
        if parent and parent not in self._directories:
            self._parents(parent)
            self._directories.add(parent)
            self._header(f"{parent}/", 0, directory=True)

    def _header(self, name: str, size: int, *, directory: bool) -> None:
        import tarfile

        info = tarfile.TarInfo(name)
        info.size = size
        info.mode = 0o755 if directory else 0o644
        info.type = tarfile.DIRTYPE if directory else tarfile.REGTYPE
        self._write(info.tobuf(tarfile.GNU_FORMAT))

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self._written += len(data)


class DirectoryWriter:
    """Files below the directory *path*, which is made."""

    def __init__(self, path: str) -> None:
        self._path = path
        os.makedirs(path, exist_ok=True)

    def put(self, name: str, size: int, fill: Callable[[Sink], object]) -> None:
        """The file *name*: *fill* writes exactly *size* bytes. Raises ArchiveError if it does not."""
        path = f"{self._path}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "xb") as file:
            counted = _Counted(file)
            fill(counted)
        counted.check(name, size)

    def finish(self) -> None:
        """Nothing follows."""


class _Counted:
    """A sink that counts."""

    def __init__(self, out: Sink) -> None:
        self._out = out
        self._count = 0

    def write(self, data: bytes, /) -> object:
        self._count += len(data)
        return self._out.write(data)

    def check(self, name: str, size: int) -> None:
        if self._count != size:
            raise ArchiveError(f"cannot write {name}", f"it has {self._count} bytes instead of {size}")


def put_bytes(writer: Writer, name: str, data: bytes) -> None:
    """A small file."""
    writer.put(name, len(data), lambda sink: sink.write(data))


def put_index(writer: Writer, manifests: list[JSON]) -> None:
    """The two files that make a directory of blobs an OCI layout of *manifests* (descriptors)."""
    put_bytes(writer, "oci-layout", documents.encode({"imageLayoutVersion": "1.0.0"}))
    put_bytes(writer, "index.json", documents.encode(documents.index_document(manifests)))
