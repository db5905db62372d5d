"""Small archives made by hand, as docker would write them."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

from tests.layers import tars


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def docker_archive(
    path: Path,
    layers: list[bytes],
    *,
    names: tuple[str, ...] = ("it:1",),
    old: bool = False,
    **config: Any,
) -> str:
    """A docker-archive; *old*: a directory for each layer, with a symlink for one that came before."""
    plain = [gzip.decompress(layer) if layer[:2] == b"\x1f\x8b" else layer for layer in layers]
    body = json.dumps(
        {"rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest(layer)}" for layer in plain]}, **config}
    ).encode()
    entries = [tars.file(f"{digest(body)}.json", body)]
    files = []
    first: dict[bytes, str] = {}
    for number, layer in enumerate(layers):
        name = f"{number:064x}/layer.tar" if old else f"{digest(layer)}.tar"
        if old and layer in first:
            entries.append(tars.symlink(name, f"../{first[layer]}"))
        elif layer not in first:
            entries.append(tars.file(name, layer))
        first.setdefault(layer, name)
        files.append(name)
    listed = [{"Config": f"{digest(body)}.json", "RepoTags": list(names), "Layers": files}]
    entries.append(tars.file("manifest.json", json.dumps(listed).encode()))
    path.write_bytes(tars.tar(*entries))
    return str(path)


def simple_layer(word: str) -> bytes:
    return tars.tar(tars.directory("etc"), tars.file(f"etc/{word}", word.encode()))
