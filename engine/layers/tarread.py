"""A straight reader for layer tars: one pass, one buffer, no seeking, nothing built that nobody asked for.

Reads v7, ustar, GNU (long names, base-256 numbers, sparse) and PAX (POSIX.1-2017 "pax"; extended attributes,
sub-second times, large numbers, all three GNU sparse formats). Names are bytes and come as they were written:
whoever extracts them has to distrust them. Everything malformed raises ArchiveError; nothing is repaired by
guessing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any
from zlib import adler32

from engine.layers.compression import Source
from engine.layers.paxrecords import (
    Records,
    Segments,
    check_segments,
    decimal,
    global_records,
    malformed,
    map_of,
    nanoseconds,
    parse_records,
    xattrs_of,
)
from engine.layers.tardata import CHUNK, MemberData
from engine.layers.tarmember import BLOCK, BLOCK_SIZE, CHAR, DIRECTORY, FIFO, FILE, LINK, SYMLINK, Member
from engine.layers.tarrun import FileRuns

_OLD_FILE, _CONTIGUOUS, _GNU_SPARSE, _GNU_DUMPDIR = b"\0", b"7", b"S", b"D"
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _VOLUME = b"L", b"K", b"x", b"g", b"V"
_WITH_DATA = frozenset((FILE, _OLD_FILE, _CONTIGUOUS, _GNU_SPARSE))
_KNOWN = _WITH_DATA | {LINK, SYMLINK, CHAR, BLOCK, DIRECTORY, FIFO, _GNU_DUMPDIR}

_ZERO_BLOCK = bytes(BLOCK_SIZE)
_MAX_METADATA = 4 << 20
"""Bytes of one PAX header or long name: more than any file system's names and attributes need."""

_HEADER = Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_GNU_MAGIC = b"ustar  \0"
_NO_XATTRS: dict[str, bytes] = {}
_MAX_ID = (1 << 32) - 2
_MAX_SIZE = 1 << 44
"""What ext4 holds in one file; with holes, a tar of a kilobyte can ask for more than there is anywhere."""
_MAX_MAJOR, _MAX_MINOR = (1 << 12) - 1, (1 << 20) - 1
_MAX_TIME_NS = (1 << 40) * 1_000_000_000


class TarReader(MemberData):
    """Iterates over the members of *stream*; `copy_to` or `read_data` takes the data of the current one.

    *update* sees every byte of the stream once, in order, in large pieces: a hash, usually. After the last
    member, `drain` reads what follows the end marker, so that the hash covers the whole stream.
    """

    def __init__(self, stream: Source, update: Callable[[bytes], object] | None = None) -> None:
        super().__init__()
        self._stream = stream
        self._update = update
        self._buffer = b""
        self._passed = 0  # bytes of the stream before the buffer
        self._padding = 0
        self._numbers: dict[bytes, int] = {}
        self._global: Records = {}
        self._runs = FileRuns()

    def __iter__(self) -> Iterator[Member]:
        following = self._runs.next
        while True:
            at = self._at + self._data + self._padding
            header = self._buffer[at : at + BLOCK_SIZE]
            if len(header) == BLOCK_SIZE and (member := following(header)) is not None:
                self._at = at + BLOCK_SIZE
                self._sparse = None
                self._size = self._data = member.size
                self._padding = -member.size % BLOCK_SIZE
                yield member
                continue
            whole = self._next_header()
            if whole is None or (other := self._member(whole)) is None:
                return
            yield other

    @property
    def place(self) -> tuple[int, int]:
        """Where in the stream the current member's data begins, and how many bytes of it are stored there."""
        return self._passed + self._at, self._data

    def read_data(self, limit: int = CHUNK) -> bytes:
        """The stored data of the current member; ArchiveError if it has more than *limit* bytes."""
        if self._data > limit:
            raise malformed(f"an entry of {self._data} bytes where at most {limit} make sense")
        data = self._take(self._data)
        self._data = 0
        return data

    def drain(self) -> None:
        """Read the stream to its end, through *update*."""
        while self._read_more():
            pass

    def _read_more(self) -> bool:
        """Replace the (used up) buffer by the next piece of the stream; False at its end."""
        chunk = self._stream.read(CHUNK)
        if self._update is not None and chunk:
            self._update(chunk)
        self._passed += len(self._buffer)
        self._buffer = chunk
        self._view = memoryview(chunk)
        self._at = 0
        return bool(chunk)

    def _take(self, length: int, what: str = "a header") -> bytes:
        piece = self._buffer[self._at : self._at + length]
        self._at += len(piece)
        if len(piece) == length:
            return piece
        pieces = [piece]
        length -= len(piece)
        while length:
            self._need_more(what)
            piece = self._buffer[:length]
            self._at = len(piece)
            length -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def _skip(self, length: int) -> None:
        while length:
            available = len(self._buffer) - self._at
            if available >= length:
                self._at += length
                return
            length -= available
            self._need_more("a file's data")

    def _next_header(self) -> bytes | None:
        """The next header block that is not the end marker; None at the end of the archive."""
        if left := self._data + self._padding:
            self._data = self._padding = 0
            self._skip(left)
        at = self._at
        block = self._buffer[at : at + BLOCK_SIZE]
        if len(block) == BLOCK_SIZE:
            self._at = at + BLOCK_SIZE
        else:
            if at == len(self._buffer) and not self._read_more():
                return None  # no end marker: some writers leave it out, and the digest tells what is missing
            block = self._take(BLOCK_SIZE)
        if block == _ZERO_BLOCK:
            if (self._at < len(self._buffer) or self._read_more()) and self._take(BLOCK_SIZE) != _ZERO_BLOCK:
                raise malformed("a single zero block stands between two entries")
            return None
        return block

    def _member(self, header: bytes) -> Member | None:
        """The member that begins with *header*, or that *header* and those after it describe; None at the
        end.
        """
        records: Records | None = dict(self._global) if self._global else None
        segments: Segments = []
        long_name = long_link = None
        while True:
            fields = _HEADER.unpack(header)
            self._verify(header, fields[6])
            kind = fields[7]
            if kind in _KNOWN:
                break
            size = self._number(fields[4])
            if size < 0 or size > _MAX_METADATA:
                raise malformed("an extended header has an impossible size")
            body = self._take(size)
            self._skip(-size % BLOCK_SIZE)
            if kind == _LONG_NAME:
                long_name = _until_nul(body)
            elif kind == _LONG_LINK:
                long_link = _until_nul(body)
            elif kind == _PAX:
                own, segments = parse_records(body)
                records = self._global | own
            elif kind == _PAX_GLOBAL:
                self._global = global_records(self._global, body)
                self._runs.end()
                records = dict(self._global)
            elif kind != _VOLUME:
                raise malformed(f"an entry of the unknown type {kind!r}")
            following = self._next_header()
            if following is None:
                if kind in (_PAX_GLOBAL, _VOLUME):
                    return None
                raise malformed("an extended header describes nothing")
            header = following
        return self._finish(header, fields, records, segments, long_name, long_link)

    def _finish(
        self,
        header: bytes,
        fields: tuple[Any, ...],
        records: Records | None,
        segments: Segments,
        long_name: bytes | None,
        long_link: bytes | None,
    ) -> Member:
        raw_name, mode, uid, gid, raw_size, mtime, _, kind, raw_link, magic, _, _, major, minor, prefix = (
            fields
        )
        number = self._number
        name = raw_name.partition(b"\0")[0] if long_name is None else long_name
        if prefix[0] and magic[:6] == b"ustar\0" and long_name is None:
            name = _until_nul(prefix[:131] if header[508:] == b"tar\0" else prefix) + b"/" + name
        link = (raw_link.partition(b"\0")[0] if raw_link[0] else b"") if long_link is None else long_link
        size = number(raw_size)
        user, group = number(uid), number(gid)
        mtime_ns = number(mtime) * 1_000_000_000
        xattrs = _NO_XATTRS
        if records:
            name = records.get(b"path") or name
            link = records.get(b"linkpath") or link
            size = _override(records, b"size", size)
            user = _override(records, b"uid", user)
            group = _override(records, b"gid", group)
            if stamp := records.get(b"mtime"):
                mtime_ns = nanoseconds(stamp)
            xattrs = xattrs_of(records)
            if b"\0" in name or b"\0" in link:
                raise malformed("a name contains NUL")
        if not (0 <= user <= _MAX_ID and 0 <= group <= _MAX_ID and 0 <= size <= _MAX_SIZE):
            raise malformed("an entry has an impossible owner or size")
        if not -_MAX_TIME_NS < mtime_ns < _MAX_TIME_NS:
            raise malformed("an entry has an impossible time")
        self._sparse = None
        self._data = size if kind in _WITH_DATA or kind == _GNU_DUMPDIR else 0
        self._padding = -self._data % BLOCK_SIZE
        device = (0, 0)
        if kind in _WITH_DATA:
            if kind == _GNU_SPARSE:
                size = self._old_sparse_map(header)
            elif records and (segments or b"GNU.sparse.major" in records or b"GNU.sparse.map" in records):
                name, size = self._pax_sparse_map(records, segments, name)
            kind = DIRECTORY if kind == _OLD_FILE and name.endswith(b"/") else FILE
        elif kind in (CHAR, BLOCK):
            device = number(major), number(minor)
            if not (0 <= device[0] <= _MAX_MAJOR and 0 <= device[1] <= _MAX_MINOR):
                raise malformed("a device has an impossible number")
        elif kind == _GNU_DUMPDIR:
            kind = DIRECTORY
        self._size = size = size if kind == FILE else 0
        member = Member(
            name, kind, number(mode) & 0o7777, user, group, size, mtime_ns, link, device, xattrs, self._sparse
        )
        if header[156:157] == FILE and records is None and long_name is None and long_link is None:
            self._runs.begin(header, member)
        return member

    def _old_sparse_map(self, header: bytes) -> int:
        """Read the map of a GNU "S" entry, which goes on in blocks of its own; the file's real size."""
        segments: Segments = []
        block, at, slots, more = header, 386, 4, header[482]
        real_size = _parse_number(header[483:495])
        while True:
            for start in range(at, at + 24 * slots, 24):
                if not block[start]:
                    break
                segments.append(
                    (_parse_number(block[start : start + 12]), _parse_number(block[start + 12 : start + 24]))
                )
            if not more:
                break
            block, at, slots = self._take(BLOCK_SIZE), 0, 21
            more = block[504]
        return self._set_sparse(segments, real_size)

    def _pax_sparse_map(self, records: Records, segments: Segments, name: bytes) -> tuple[bytes, int]:
        """The real name and size of a sparse file in PAX format: versions 0.0, 0.1 and 1.0 keep the map
        elsewhere.
        """
        real = records.get(b"GNU.sparse.realsize") or records.get(b"GNU.sparse.size") or b""
        real_size = decimal(real, "sparse size")
        if b"GNU.sparse.major" in records:
            if (records[b"GNU.sparse.major"], records.get(b"GNU.sparse.minor")) != (b"1", b"0"):
                raise malformed("a sparse file of an unknown version")
            segments = self._sparse_map_in_data()
        elif b"GNU.sparse.map" in records:
            segments = map_of(records[b"GNU.sparse.map"])
        return records.get(b"GNU.sparse.name") or name, self._set_sparse(segments, real_size)

    def _sparse_map_in_data(self) -> Segments:
        """GNU sparse 1.0: the map stands before the data, one decimal number a line, padded to a block."""
        text = b""
        wanted = 1
        while text.count(b"\n") < wanted:
            if self._data < BLOCK_SIZE or len(text) > _MAX_METADATA:
                raise malformed("a sparse map is longer than its data")
            text += self._take(BLOCK_SIZE)
            self._data -= BLOCK_SIZE
            if wanted == 1 and b"\n" in text:
                wanted += 2 * decimal(text.partition(b"\n")[0], "sparse map")
        numbers = [decimal(line, "sparse map") for line in text.split(b"\n")[1:wanted]]
        return list(zip(numbers[::2], numbers[1::2], strict=True))

    def _set_sparse(self, segments: Segments, real_size: int) -> int:
        if not 0 <= real_size <= _MAX_SIZE:
            raise malformed("a sparse file has an impossible size")
        check_segments(segments, real_size, self._data)
        self._sparse = segments
        return real_size

    def _number(self, field: bytes) -> int:
        """A numeric field; the short ones (mode, owner) repeat, so they are remembered."""
        value = self._numbers.get(field)
        if value is None:
            value = _parse_number(field)
            if len(field) == 8 and len(self._numbers) < 4096:
                self._numbers[field] = value
        return value

    def _verify(self, header: bytes, field: bytes) -> None:
        """Compare the checksum: the sum of all bytes, its own eight counted as spaces.

        Adler-32 holds 1 + that sum modulo 65521 in its low half and is 20 times as fast as `sum`.
        """
        stated = self._number(field)
        if ((adler32(header[156:], adler32(header[:148])) & 0xFFFF) + 255 - stated) % 65521:
            rest = header[:148] + header[156:]
            signed = sum(rest) + 256 - 256 * sum(byte > 127 for byte in rest)
            if stated != signed:  # some old writers summed signed bytes
                raise malformed("a header's checksum is wrong")


def _until_nul(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _override(records: Records, key: bytes, value: int) -> int:
    text = records.get(key)
    return decimal(text, key.decode()) if text else value


def _parse_number(field: bytes) -> int:
    """Octal text (POSIX ustar) or, with the top bit set, a big-endian two's complement number (GNU, star)."""
    if field[0] & 0x80:
        bits = 8 * len(field) - 1
        value = int.from_bytes(field, "big") & ((1 << bits) - 1)
        return value - (1 << bits) if field[0] & 0x40 else value
    text = field.strip(b" \0")
    if text.strip(b"01234567"):
        text = text.partition(b"\0")[0].partition(b" ")[0]
        if text.strip(b"01234567"):
            raise malformed("a number is not octal")
    return int(text, 8) if text else 0
