"""Compressed layers as plain streams: the codec is told by its magic number, never by a media type.

Registries and archives label layers wrongly often enough that all engines look at the first bytes: gzip (RFC
1952), zstd (RFC 8878), xz and bzip2, which docker loads too, and anything else is taken for a plain tar.
"""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, cast

from engine.errors import ArchiveError

if TYPE_CHECKING:
    from typing_extensions import Buffer

Codec = Literal["gzip", "zstd", "xz", "bzip2", "none"]
Compression = Literal["gzip", "zstd"]
"""What cowl itself compresses with."""

_MAGIC: tuple[tuple[bytes, Codec], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"BZh", "bzip2"),
)
_LONGEST_MAGIC = 6


class Source(Protocol):
    """All that decompression needs of a stream."""

    def read(self, size: int = -1, /) -> bytes:
        """At most *size* bytes; none at the end."""


def codec_of(head: bytes) -> Codec:
    """Which codec a stream that begins with *head* uses; zstd skippable frames count as zstd."""
    for magic, codec in _MAGIC:
        if head.startswith(magic):
            return codec
    if len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50:
        return "zstd"
    return "none"


def open_layer(raw: Source, media_type: str | None = None) -> BinaryIO:
    """*raw* (a compressed or plain layer, need not be seekable) as the plain tar stream in it.

    *media_type* is only named in the error when the data is damaged. Reading raises ArchiveError on damaged
    or truncated data. Closing the result does not close *raw*.
    """
    head = b""
    while len(head) < _LONGEST_MAGIC and (more := raw.read(_LONGEST_MAGIC - len(head))):
        head += more
    codec = codec_of(head)
    whole = _Rejoined(head, raw)
    if codec == "none":
        return cast(BinaryIO, whole)
    return cast(BinaryIO, _Decompressed(_decompressor(codec, whole), media_type or codec))


class Sink(Protocol):
    """All that compression needs of a stream."""

    def write(self, data: bytes, /) -> object:
        """Take all of *data*."""


def open_compressor(out: Sink, codec: Compression) -> BinaryIO:
    """A stream that writes what it takes to *out*, compressed: quickly, and to the same bytes each time.

    Closing it ends the compressed stream and leaves *out* open.
    """
    if codec == "gzip":
        from isal.igzip import IGzipFile

        return cast(BinaryIO, IGzipFile(fileobj=out, mode="wb", compresslevel=1, mtime=0))  # type: ignore[no-untyped-call]
    import zstandard

    writer = zstandard.ZstdCompressor(level=3).stream_writer(cast(BinaryIO, out), closefd=False)
    return cast(BinaryIO, writer)


class _Rejoined(io.RawIOBase):
    """A stream whose first bytes were already read."""

    def __init__(self, head: bytes, rest: Source) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int = -1, /) -> bytes:
        if not self._head:
            return self._rest.read(size)
        if size < 0:
            head, self._head = self._head, b""
            return head + self._rest.read(-1)
        head, self._head = self._head[:size], self._head[size:]
        if len(head) < size:
            head += self._rest.read(size - len(head))
        return head

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def readable(self) -> bool:
        return True


class _Decompressed(io.RawIOBase):
    """A decompressor whose many kinds of errors become one."""

    def __init__(self, source: Source, label: str) -> None:
        self._source = source
        self._label = label

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._source.read(size)
        except _codec_errors() as error:
            raise ArchiveError(f"the {self._label} layer is damaged", str(error), "get it again") from error

    def readable(self) -> bool:
        return True


def _decompressor(codec: Codec, source: _Rejoined) -> Source:
    if codec == "gzip":
        from isal.igzip import IGzipFile

        return cast(Source, IGzipFile(fileobj=source, mode="rb"))  # type: ignore[no-untyped-call]
    if codec == "zstd":
        import zstandard

        window = (
            1 << 31
        )  # `zstd --long=31` is legal in an image, and memory is only taken as the window fills
        reader = zstandard.ZstdDecompressor(max_window_size=window).stream_reader(
            cast(BinaryIO, source), read_size=1 << 18, read_across_frames=True
        )
        return cast(Source, reader)
    if codec == "xz":
        import lzma

        return lzma.LZMAFile(cast(BinaryIO, source))
    import bz2

    return bz2.BZ2File(cast(BinaryIO, source))


def _codec_errors() -> tuple[type[Exception], ...]:
    import lzma

    import zstandard
    from isal.igzip_lib import IsalError

    return (
        EOFError,
        OSError,
        ValueError,
        zlib.error,
        cast(type[Exception], IsalError),
        lzma.LZMAError,
        zstandard.ZstdError,
    )
