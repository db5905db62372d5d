"""Compressed layers: the codec is told by its first bytes, and damage is reported as such."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import subprocess
import sys
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ArchiveError, UsageError
from engine.layers import compression
from engine.layers.compression import codec_of, open_layer

DATA = bytes(range(256)) * 20_000
CODECS = {
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "none": bytes,
}


class OneWay:
    """A stream that cannot seek and gives little at a time, as a socket does."""

    def __init__(self, data: bytes) -> None:
        self._inner = io.BytesIO(data)

    def read(self, size: int = -1, /) -> bytes:
        return self._inner.read(min(size, 3000) if size >= 0 else -1)


def read_all(stream: io.IOBase | object) -> bytes:
    pieces = []
    while piece := stream.read(1 << 16):  # type: ignore[union-attr]
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("media_type", [None, "application/vnd.oci.image.layer.v1.tar+gzip"])
def test_every_codec_is_recognised_whatever_the_label(codec: str, media_type: str | None) -> None:
    packed = CODECS[codec](DATA)
    assert codec_of(packed) == codec
    assert read_all(open_layer(OneWay(packed), media_type)) == DATA
    assert open_layer(io.BytesIO(packed)).read() == DATA


def test_several_members_are_one_stream() -> None:
    assert read_all(open_layer(OneWay(gzip.compress(b"one") + gzip.compress(b"two")))) == b"onetwo"
    compress = zstandard.ZstdCompressor().compress
    assert read_all(open_layer(OneWay(compress(b"one") + compress(b"two")))) == b"onetwo"


def test_a_zstd_stream_may_begin_with_a_frame_to_skip() -> None:
    skipped = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"note"
    assert read_all(open_layer(OneWay(skipped + zstandard.ZstdCompressor().compress(DATA)))) == DATA


@pytest.mark.parametrize("codec", ["gzip", "xz", "bzip2"])
def test_truncation_is_reported(codec: str) -> None:
    packed = CODECS[codec](DATA)
    with pytest.raises(ArchiveError, match="damaged"):
        read_all(open_layer(OneWay(packed[: len(packed) // 2])))


@pytest.mark.parametrize("codec", ["gzip", "zstd", "xz", "bzip2"])
def test_damage_is_reported(codec: str) -> None:
    packed = bytearray(CODECS[codec](DATA))
    for index in range(12, len(packed), 7):
        packed[index] ^= 0x5A
    with pytest.raises(ArchiveError, match="damaged"):
        read_all(open_layer(OneWay(bytes(packed))))


@given(st.binary(max_size=3000))
def test_anything_else_is_taken_as_it_is(data: bytes) -> None:
    if codec_of(data) == "none":
        assert read_all(open_layer(OneWay(data))) == data


def test_codecs_are_imported_only_when_needed() -> None:
    script = (
        "import sys, engine.layers.apply, engine.layers.capture, engine.layers.filediff;"
        "heavy = {'isal', 'zstandard', 'lzma', 'bz2', 'difflib', 'subprocess'};"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def bomb(codec: str, size: int) -> bytes:
    """So many zeros, packed as tightly as the codec can."""
    if codec == "gzip":
        return gzip.compress(bytes(size), 9)
    return {"zstd": zstandard.ZstdCompressor(9).compress, "xz": lzma.compress, "bzip2": bz2.compress}[codec](
        bytes(size)
    )


@pytest.mark.parametrize("codec", ["gzip", "zstd", "xz", "bzip2"])
def test_bombs_are_refused_at_a_ratio(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_FREE", 1 << 20)
    packed = bomb(codec, 8 << 20)
    with pytest.raises(ArchiveError, match=r"200 times its size.*COWL_MAX_RATIO"):
        read_all(open_layer(OneWay(packed)))
    assert len(read_all(open_layer(OneWay(packed), trusted=True))) == 8 << 20
    monkeypatch.setenv("COWL_MAX_RATIO", "0")
    assert len(read_all(open_layer(OneWay(packed)))) == 8 << 20
    monkeypatch.setenv("COWL_MAX_RATIO", "20")
    with pytest.raises(ArchiveError, match="20 times"):
        read_all(open_layer(OneWay(packed)))
    assert read_all(open_layer(OneWay(CODECS[codec](DATA[:300])))) == DATA[:300]


@pytest.mark.parametrize("text", ["many", "-1", "1.5", "٣", "9" * 10])
def test_a_ratio_that_is_no_number(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COWL_MAX_RATIO", text)
    with pytest.raises(UsageError, match="COWL_MAX_RATIO"):
        open_layer(OneWay(gzip.compress(b"")))


def test_a_codec_may_not_ask_for_all_memory() -> None:
    with pytest.raises(ArchiveError, match="damaged"):
        read_all(open_layer(OneWay(b"\x28\xb5\x2f\xfd\x00\xb0" + bytes(100))))  # a window of 4 GiB
    huge = bytearray(lzma.compress(DATA[:100]))
    end = 12 + huge[12] * 4
    huge[huge.index(b"\x21\x01", 12) + 2] = 36  # a dictionary of 1 GiB (xz file format, 5.3.1)
    huge[end : end + 4] = zlib.crc32(huge[12:end]).to_bytes(4, "little")
    with pytest.raises(ArchiveError, match="emory"):
        read_all(open_layer(OneWay(bytes(huge))))


def test_xz_streams_padded_and_followed_by_noise() -> None:
    one, two = lzma.compress(b"one"), lzma.compress(b"two")
    assert read_all(open_layer(OneWay(one + bytes(8) + two + bytes(4)))) == b"onetwo"
    with pytest.raises(ArchiveError, match="damaged"):
        read_all(open_layer(OneWay(one + b"noise")))
