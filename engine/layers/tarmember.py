"""One entry of a tar: the words that whoever reads, writes and extracts tars has in common.

The letters are those of the typeflag field (POSIX.1-2017, pax, "ustar Interchange Format").
"""

from __future__ import annotations

from typing import NamedTuple

from engine.layers.paxrecords import Segments

FILE, LINK, SYMLINK, CHAR, BLOCK, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"

BLOCK_SIZE = 512
"""Bytes of a header; data is padded to a multiple of them."""


class Member(NamedTuple):
    """One entry of a tar, as it was written."""

    name: bytes
    kind: bytes
    """One of FILE, LINK, SYMLINK, CHAR, BLOCK, DIRECTORY, FIFO."""
    mode: int
    """Permission bits, set-id and sticky bits: 0..0o7777."""
    uid: int
    gid: int
    size: int
    """Bytes of the file once extracted; 0 for what is not a regular file."""
    mtime_ns: int
    link: bytes
    """Target of a LINK or SYMLINK."""
    device: tuple[int, int]
    """Major and minor of a CHAR or BLOCK."""
    xattrs: dict[str, bytes]
    sparse: Segments | None
    """Where the stored data of a sparse file belongs; None for a file that is stored whole."""
