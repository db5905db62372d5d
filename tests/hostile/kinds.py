"""What a hostile archive is: a name, how it is made, and how cowl has to take it."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.layers import tars
from tests.layers.tars import Entry

UP = "../" * 14
"""To the root from wherever a layer may lie."""


class Kind(NamedTuple):
    """One way to be hostile."""

    name: str
    refusal: str | None
    """What the error says (a pattern); None: it is taken, as it can do no harm."""
    make: Callable[[str], bytes]
    """The archive of images, from the path of a directory outside the store that is worth attacking."""


KINDS: dict[str, Kind] = {}
Maker = Callable[[str], bytes]


def archive(refusal: str | None) -> Callable[[Maker], Maker]:
    """Add a function that makes a whole archive of images."""

    def add(make: Maker) -> Maker:
        name = make.__name__.replace("_", " ").strip()
        assert name not in KINDS
        KINDS[name] = Kind(name, refusal, make)
        return make

    return add


def entries(refusal: str | None) -> Callable[[Callable[[str], list[Entry]]], object]:
    """Add a function that lists the entries of a layer."""

    def add(make: Callable[[str], list[Entry]]) -> object:
        def whole(outside: str) -> bytes:
            return image(tars.tar(*make(outside)))

        whole.__name__ = make.__name__
        return archive(refusal)(whole)

    return add


def raw(refusal: str | None) -> Callable[[Maker], object]:
    """Add a function that makes the bytes of a layer, compressed or not."""

    def add(make: Maker) -> object:
        def whole(outside: str) -> bytes:
            return image(make(outside))

        whole.__name__ = make.__name__
        return archive(refusal)(whole)

    return add


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def image(*layers: bytes, diff_ids: list[str] | None = None, **config: Any) -> bytes:
    """A docker-archive of an honest layer and *layers* on it."""
    base = tars.tar(tars.directory("etc"), tars.file("etc/passwd", b"root:x:0:0::/:/bin/sh\n"))
    found = [base, *layers]
    if diff_ids is None:
        diff_ids = [digest(_plain(layer)) for layer in found]
    body = json.dumps({"rootfs": {"type": "layers", "diff_ids": diff_ids}, **config}).encode()
    names = [f"{number}/layer.tar" for number in range(len(found))]
    listed = [{"Config": "config.json", "RepoTags": ["hostile:1"], "Layers": names}]
    return tars.tar(
        tars.file("manifest.json", json.dumps(listed).encode()),
        tars.file("config.json", body),
        *(tars.file(name, layer) for name, layer in zip(names, found, strict=True)),
    )


def _plain(layer: bytes) -> bytes:
    """The layer unpacked, as far as it is honest enough for that."""
    try:
        return gzip.decompress(layer) if layer[:2] == b"\x1f\x8b" and len(layer) < 1 << 16 else layer
    except (EOFError, OSError):
        return layer


def header(name: bytes, kind: bytes = b"0", *, fix: bool = True, **fields: bytes) -> bytes:
    """One block of a ustar header with *fields* written as they are, the checksum made right if *fix*."""
    info = tarfile.TarInfo("x")
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    block[:100] = name.ljust(100, b"\0")[:100]
    block[156:157] = kind
    places = {
        "mode": 100,
        "uid": 108,
        "gid": 116,
        "size": 124,
        "mtime": 136,
        "checksum": 148,
        "link": 157,
        "magic": 257,
        "major": 329,
        "minor": 337,
        "prefix": 345,
        "rest": 386,
    }
    for field, value in fields.items():
        block[places[field] : places[field] + len(value)] = value
    if fix:
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block[:512])


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def pax(*records: bytes, kind: bytes = b"x", name: bytes = b"f", entry: bytes = b"0") -> bytes:
    """A PAX header with exactly these *records*, and an empty entry after it."""
    body = b"".join(records)
    size = b"%011o\0" % len(body)
    return header(b"pax", kind, size=size) + padded(body) + header(name, entry) + bytes(1024)


def record(key: bytes, value: bytes) -> bytes:
    """A record with the length that it has."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)
