"""Compressed layers as plain streams: the codec is told by its magic number, never by a media type.

Registries and archives label layers wrongly often enough that all engines look at the first bytes: gzip (RFC
1952), zstd (RFC 8878), xz and bzip2, which docker loads too, and anything else is taken for a plain tar.

A stranger's stream may be a bomb, so what it unpacks to is held to a multiple of what was read of it
(`RATIO_VARIABLE`), and what its codec may ask for in memory to `_MAX_WINDOW`.
"""

from __future__ import annotations

import io
import os
import zlib
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, cast

from engine.errors import ArchiveError, UsageError

if TYPE_CHECKING:
    from lzma import LZMADecompressor

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

RATIO_VARIABLE = "COWL_MAX_RATIO"
"""Environment variable: how many bytes each byte of a compressed stream may become; 0 for any number."""
_MAX_RATIO = 200
"""Real layers stay below 20; only files of nothing but zeros come near the 1,032 that gzip can do."""
_FREE = 1 << 30
"""Bytes that any stream may unpack to, whatever its ratio."""
_MAX_WINDOW = 1 << 27
"""Bytes that a decoder may remember: what zstd(1) allows without `--memory`, and twice what `xz -9` takes."""
_READ = 1 << 18


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


def open_layer(
    raw: Source, media_type: str | None = None, *, what: str = "layer", trusted: bool = False
) -> BinaryIO:
    """*raw* (a compressed or plain layer, need not be seekable) as the plain tar stream in it.

    *media_type* and *what* are only named in the error when the data is damaged. *trusted* data was accepted
    before and may unpack to any size. Reading raises ArchiveError on damaged or truncated data, and on what
    unpacks to more than `RATIO_VARIABLE` allows. Closing the result does not close *raw*. Raises UsageError
    if that variable is no number.
    """
    head = b""
    while len(head) < _LONGEST_MAGIC and (more := raw.read(_LONGEST_MAGIC - len(head))):
        head += more
    codec = codec_of(head)
    whole = _Rejoined(head, raw)
    if codec == "none":
        return cast(BinaryIO, whole)
    ratio = 0 if trusted else _max_ratio()
    return cast(
        BinaryIO, _Decompressed(_decompressor(codec, whole), whole, f"{media_type or codec} {what}", ratio)
    )


def _max_ratio() -> int:
    text = os.environ.get(RATIO_VARIABLE, "")
    if not text:
        return _MAX_RATIO
    if not (text.isascii() and text.isdecimal()) or len(text) > 9:
        raise UsageError(
            f"{RATIO_VARIABLE}={text} is not a ratio", "it is a number of times", "set it to 500, say"
        )
    return int(text)


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
        self.taken = 0
        """Bytes read so far."""

    def read(self, size: int = -1, /) -> bytes:
        data = self._read(size)
        self.taken += len(data)
        return data

    def _read(self, size: int) -> bytes:
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
    """A decompressor whose many kinds of errors become one, and whose output has an end."""

    def __init__(self, source: Source, packed: _Rejoined, label: str, ratio: int) -> None:
        self._source = source
        self._packed = packed
        self._label = label
        self._ratio = ratio
        self._plain = 0
        self._allowed = _FREE

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(_READ), b""))
        try:
            data = self._source.read(size)
        except _codec_errors() as error:
            raise ArchiveError(f"the {self._label} is damaged", str(error), "get it again") from error
        self._plain += len(data)
        if self._ratio and self._plain > self._allowed:
            self._allow_more()
        return data

    def readable(self) -> bool:
        return True

    def _allow_more(self) -> None:
        self._allowed = _FREE + self._ratio * self._packed.taken
        if self._plain > self._allowed:
            raise ArchiveError(
                f"the {self._label} is refused",
                f"it unpacks to more than {self._ratio} times its size, as bombs do",
                f"set {RATIO_VARIABLE} higher if you trust it",
            )


class _XzStreams:
    """xz streams one after the other, with a bound on memory, which `lzma.LZMAFile` does not offer."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._decoder = self._new_decoder()
        self._input = b""
        self._begun = False

    def read(self, size: int = -1, /) -> bytes:
        while True:
            if not self._input and (self._decoder.needs_input or self._decoder.eof):
                self._input = self._source.read(_READ)
                if not self._input:
                    if self._begun and not self._decoder.eof:
                        raise EOFError("it ends within a stream")
                    return b""
            if self._decoder.eof:
                self._input = self._input.lstrip(b"\0")  # streams may be padded
                if not self._input:
                    continue
                self._decoder = self._new_decoder()
            self._begun = True
            data = self._decoder.decompress(self._input, size)
            self._input = self._decoder.unused_data if self._decoder.eof else b""
            if data:
                return data

    @staticmethod
    def _new_decoder() -> LZMADecompressor:
        import lzma

        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_WINDOW)


def _decompressor(codec: Codec, source: _Rejoined) -> Source:
    if codec == "gzip":
        from isal.igzip import IGzipFile

        return cast(Source, IGzipFile(fileobj=source, mode="rb"))  # type: ignore[no-untyped-call]
    if codec == "zstd":
        import zstandard

        reader = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_reader(
            cast(BinaryIO, source), read_size=_READ, read_across_frames=True
        )
        return cast(Source, reader)
    if codec == "xz":
        return _XzStreams(source)
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
