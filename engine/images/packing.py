"""Layers as blobs: compressed, and written again from their trees when the bytes are lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from typing import BinaryIO, get_args

from engine.errors import NoSpaceError, StoreError
from engine.images.verifying import LayerJob
from engine.layers.compression import Compression, open_compressor
from engine.layers.tarwrite import write_layer

_READ = 1 << 20


class _Hashed:
    """A file that is hashed and counted while it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = sha256()
        self.size = 0

    def write(self, data: bytes, /) -> int:
        """Take all of *data*."""
        self._hash.update(data)
        self.size += len(data)
        return self._file.write(data)

    @property
    def digest(self) -> str:
        """Of all that was written."""
        return f"sha256:{self._hash.hexdigest()}"


def compress_file(
    source: str, destination: str, codec: Compression, advance: Callable[[int], None]
) -> tuple[str, int]:
    """Compress the file *source*; the digest and the size of what comes out. The same each time."""
    with open(source, "rb") as plain, open(destination, "xb") as file:
        out = _Hashed(file)
        with open_compressor(out, codec) as packing:
            while data := plain.read(_READ):
                packing.write(data)
                advance(len(data))
        return out.digest, out.size


def rewritten(job: LayerJob, digest: str, media_type: str, area: str) -> str | None:
    """A file in *area* with the bytes of the blob *digest*, if the tree of its layer gives them.

    Plain, or compressed as cowl does it for registries. Raises NoSpaceError.
    """
    path = f"{area}/{digest.removeprefix('sha256:')}"
    try:
        with open(path, "xb", opener=_private) as file:
            if write_layer(job.tree, file, job.lowers, job.diff_id).diff_id != job.diff_id:
                return None
    except NoSpaceError:
        raise
    except StoreError:
        return None  # one below is not there: it is judged when that is mended
    if digest == job.diff_id:
        return path
    for codec in get_args(Compression):
        packed = f"{path}.{codec}"
        if codec in media_type and compress_file(path, packed, codec, lambda count: None)[0] == digest:
            os.chmod(packed, 0o600)
            return packed
    return None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
