"""The two ways in which a tar says more than a header holds: PAX extended headers and GNU sparse maps.

POSIX.1-2017, pax, "pax Extended Header"; GNU tar manual, appendix "Storing Sparse Files".
"""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote

from engine.errors import ArchiveError

XATTR_PREFIX = b"SCHILY.xattr."
LIBARCHIVE_PREFIX = b"LIBARCHIVE.xattr."
_DECIMAL = re.compile(rb"\d{1,20}")
_TIME = re.compile(rb"(-?)(\d{1,18})(?:\.(\d*))?")
_MAX_SEGMENTS = 1 << 20
_MAX_NAMES = 1 << 16
"""Bytes of the names of all extended attributes of a file, as far as they can be listed (XATTR_LIST_MAX)."""
_MAX_GLOBAL = 64
"""Records that stand for all entries that follow: each of them is looked at again for each entry."""
_WITHOUT_MEANING = (b"comment", b"charset", b"hdrcharset", b"atime", b"ctime", b"uname", b"gname")

Records = dict[bytes, bytes]
Segments = list[tuple[int, int]]
"""Offset and length of each stretch of data in a sparse file, ascending."""


def malformed(why: str) -> ArchiveError:
    """The error for a tar that no reader could make sense of."""
    return ArchiveError("the tar archive is malformed", why)


def parse_records(body: bytes) -> tuple[Records, Segments]:
    """The ``length key=value`` records of a PAX header; the repeated ones of GNU sparse 0.0 apart.

    Raises ArchiveError when a length does not fit or a record does not end where it says.
    """
    records: Records = {}
    segments: Segments = []
    offset: int | None = None
    at = 0
    end = len(body)
    while at < end:
        space = body.find(b" ", at, at + 21)
        length = decimal(body[at:space] if space > 0 else b"", "PAX record length")
        stop = at + length
        if stop > end or stop <= space + 2 or body[stop - 1] != 10:
            raise malformed("a PAX record does not end where its length says")
        key, equals, value = body[space + 1 : stop - 1].partition(b"=")
        if not equals or not key:
            raise malformed("a PAX record has no keyword")
        at = stop
        if key == b"GNU.sparse.offset":
            offset = decimal(value, "sparse offset")
        elif key == b"GNU.sparse.numbytes":
            if offset is None:
                raise malformed("a sparse length comes without its offset")
            segments.append((offset, decimal(value, "sparse length")))
            offset = None
        else:
            records[key] = value
    return records, segments


def global_records(before: Records, body: bytes) -> Records:
    """The records that hold for all entries to come: those *before*, and what a global header's *body* adds.

    Raises ArchiveError for more than any writer has use for.
    """
    merged = before | parse_records(body)[0]
    for key in _WITHOUT_MEANING:
        merged.pop(key, None)
    if len(merged) > _MAX_GLOBAL or sum(map(len, merged.values())) > 1 << 16:
        raise malformed("its global headers go on without end")
    return merged


def decimal(text: bytes, what: str) -> int:
    """A non-negative decimal number, digits only."""
    if not _DECIMAL.fullmatch(text):
        raise malformed(f"{what} is not a number")
    return int(text)


def nanoseconds(text: bytes) -> int:
    """A PAX time, ``[-]seconds[.fraction]``, in nanoseconds since 1970; finer fractions are cut off."""
    match = _TIME.fullmatch(text)
    if not match:
        raise malformed("a time is not a number")
    sign, seconds, fraction = match.groups()
    value = int(seconds) * 1_000_000_000 + int((fraction or b"0")[:9].ljust(9, b"0"))
    return -value if sign else value


def xattrs_of(records: Records) -> dict[str, bytes]:
    """Extended attributes, in star's spelling (raw values) or libarchive's (escaped name, base64 value)."""
    found: dict[str, bytes] = {}
    for key, value in records.items():
        if key.startswith(LIBARCHIVE_PREFIX):
            name = unquote(key[len(LIBARCHIVE_PREFIX) :].decode("utf-8", "surrogateescape"))
            try:
                raw = base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
            except binascii.Error as error:
                raise malformed("an extended attribute is not base64") from error
            found.setdefault(name, raw)
        elif key.startswith(XATTR_PREFIX):
            # GNU tar's escapes for the two characters that a keyword cannot hold (src/xheader.c there)
            escaped = key[len(XATTR_PREFIX) :].replace(b"%3D", b"=").replace(b"%25", b"%")
            found[escaped.decode("utf-8", "surrogateescape")] = value
    if any(not name or "\0" in name for name in found):
        raise malformed("an extended attribute has no proper name")
    if len(found) > 1 and sum(map(len, found)) + len(found) > _MAX_NAMES:
        raise malformed("an entry has more extended attributes than a file can have")
    return found


def map_of(text: bytes) -> Segments:
    """The map of GNU sparse 0.1: offsets and lengths, separated by commas."""
    numbers = [decimal(number, "sparse map") for number in text.split(b",")] if text else []
    if len(numbers) % 2:
        raise malformed("a sparse map has an odd number of fields")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def check_segments(segments: Segments, real_size: int, stored: int) -> None:
    """Refuse a sparse map that overlaps itself, leaves the file, or does not match the data that follows."""
    if len(segments) > _MAX_SEGMENTS:
        raise malformed("a sparse map has too many stretches")
    end = 0
    for offset, length in segments:
        if offset < end:
            raise malformed("a sparse map overlaps itself")
        end = offset + length
    if end > real_size:
        raise malformed("a sparse map leaves its file")
    if sum(length for _, length in segments) != stored:
        raise malformed("a sparse map does not match its data")
