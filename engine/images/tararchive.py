"""The files of a tar with images in it, found without unpacking it: headers are read, data is passed over."""

from __future__ import annotations

import os
from io import BytesIO, FileIO

from engine.errors import ArchiveError
from engine.layers.tarmember import BLOCK_SIZE, FILE, LINK, SYMLINK, Member
from engine.layers.tarread import TarReader
from engine.oci.archive import Extent, clean, missing, not_an_image, open_plainly
from engine.oci.foreign import HEAD, describe

_MAX_MEMBERS = 20_000
_MAX_LINKS = 16
_MAX_NAME = 4096
_EXTENDED = (b"x", b"g", b"L", b"K")
"""Types of headers that describe the next one, which the first block alone does not hold."""
_ZEROS = bytes(1 << 20)


def probe(head: bytes) -> None:
    """Raise ArchiveError if no tar begins with *head*: all of a stream, or at least its first header."""
    if head[156:157] in _EXTENDED and head[257:262] == b"ustar":
        return
    try:
        member = next(iter(TarReader(BytesIO(head[:BLOCK_SIZE]))), None)
    except ArchiveError as error:
        raise not_an_image(_foreign(head) or error.why) from error
    if member is None:
        raise not_an_image(_foreign(head))


class TarArchive:
    """The files of a plain tar at *path*. Raises ArchiveError for what is none or is truncated."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._files: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        with open(path, "rb", buffering=0, opener=open_plainly) as file:
            self._read(_Blocks(file))

    def _read(self, blocks: _Blocks) -> None:
        """Find all members, without reading what they contain."""
        members = iter(TarReader(blocks))
        number = 0
        while True:
            try:
                member = next(members, None)
            except ArchiveError as error:
                if number:
                    raise
                raise not_an_image(blocks.foreign() or error.why) from error
            if member is None:
                break
            number += 1
            if number > _MAX_MEMBERS:
                raise not_an_image(f"it has more than {_MAX_MEMBERS} files")
            self._add(member, blocks.position)
            blocks.skip(member)
        if not number:
            raise not_an_image(blocks.foreign())

    def _add(self, member: Member, offset: int) -> None:
        if max(len(member.name), len(member.link)) > _MAX_NAME:
            raise not_an_image("it has a name longer than any file's")
        name = clean(os.fsdecode(member.name))
        if member.kind == FILE:
            if member.sparse is not None:
                raise not_an_image(f"its {name} is stored with holes")
            self._files[name] = offset, member.size
            self._links.pop(name, None)
        elif member.kind in (SYMLINK, LINK):
            base = os.path.dirname(name) if member.kind == SYMLINK else ""
            self._links[name] = clean(os.path.join(base, os.fsdecode(member.link)))
            self._files.pop(name, None)

    def has(self, name: str) -> bool:
        """Whether there is a file *name*."""
        return self._follow(name) in self._files

    def directories_with(self, name: str) -> list[str]:
        """The directories at the top that have a file *name*, sorted."""
        found = (each.split("/") for each in (*self._files, *self._links))
        return sorted(parts[0] for parts in found if len(parts) == 2 and parts[1] == name)

    def locate(self, name: str) -> Extent:
        """Where the file *name* is. Raises ArchiveError."""
        found = self._files.get(self._follow(name))
        if found is None:
            raise missing(name)
        return Extent(self._path, *found)

    def _follow(self, name: str) -> str:
        name = clean(name)
        for _ in range(_MAX_LINKS):
            if name not in self._links:
                break
            name = self._links[name]
        return name


class _Blocks:
    """A file of which a tar reader gets one block at a time, so that it never has read more than it says."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self._skipped = 0
        self.position = 0

    def read(self, size: int = -1, /) -> bytes:
        """The next block, whatever *size* says, or zeros for what is skipped; nothing at the end."""
        if self._skipped:
            count = min(self._skipped, len(_ZEROS))
            self._skipped -= count
            return _ZEROS[:count]
        block = self._file.read(BLOCK_SIZE) or b""
        self.position += len(block)
        return block

    def skip(self, member: Member) -> None:
        """Have the reader pass over the data of *member*. Raises ArchiveError if not all of it is there."""
        if self.position + member.size > self._size:
            name = os.fsdecode(member.name)
            raise ArchiveError("the archive is truncated", f"it ends within {name}", "get a complete copy")
        self._skipped = member.size + -member.size % BLOCK_SIZE
        self.position = self._file.seek(self._skipped, os.SEEK_CUR)

    def foreign(self) -> str:
        """What the file is if it is no tar, as far as that can be told."""
        self._file.seek(0)
        return _foreign(self._file.read(HEAD) or b"")


def _foreign(head: bytes) -> str:
    what = describe(head)
    return f"it is {what}" if what else ""
