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


def oldest_archive(
    path: Path,
    layers: list[bytes],
    *,
    names: dict[str, dict[str, int]] | None = None,
    parents: dict[int, int] | None = None,
    linked: bool = False,
    **config: Any,
) -> str:
    """An archive as docker wrote it before 1.10: *names* has repositories, tags and the number of a layer.

    *parents* says on which other than the one before a layer lies; *linked*: equal layers are links.
    """
    ids = [digest(f"layer {number}".encode()) for number in range(len(layers))]
    entries = []
    for number, layer in enumerate(layers):
        below = (parents or {}).get(number, number - 1)
        document = {
            "id": ids[number],
            **({"parent": ids[below]} if below >= 0 else {}),
            "created": f"2015-01-0{number + 1}T00:00:00Z",
            "container_config": {"Cmd": ["/bin/sh", "-c", f"step {number}"]},
            "architecture": "amd64",
            "os": "linux",
            "Size": len(layer),
            **config,
        }
        entries += [
            tars.directory(f"{ids[number]}/"),
            tars.file(f"{ids[number]}/VERSION", b"1.0"),
            tars.file(f"{ids[number]}/json", json.dumps(document).encode()),
        ]
        first = layers.index(layer)
        name = f"{ids[number]}/layer.tar"
        is_link = linked and first != number
        entries.append(
            tars.symlink(name, f"../{ids[first]}/layer.tar") if is_link else tars.file(name, layer)
        )
    if names is not None:
        tops = {name: {tag: ids[top] for tag, top in tags.items()} for name, tags in names.items()}
        entries.append(tars.file("repositories", json.dumps(tops).encode()))
    path.write_bytes(tars.tar(*entries))
    return str(path)


def simple_layer(word: str) -> bytes:
    return tars.tar(tars.directory("etc"), tars.file(f"etc/{word}", word.encode()))
