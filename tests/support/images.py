"""Images for benchmarks and pictures, made from this host's files: no registry is needed.

`tiny` has a shell and a few commands; `deb` is as large as a Debian with five layers; `many` is one layer of
100,000 small files over `tiny`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from isal import igzip

COMMANDS = ("sh", "true", "sleep", "rm", "cat", "head", "find", "xargs", "mkdir")
MANY_FILES = 100_000
MANY_DIRECTORIES = 1_000
MANY_BYTES = 2_220
DEB_LAYER = 75_000_000
"""Bytes of files in each of the five layers of `deb`."""
DEB_SOURCES = ("/usr/bin", "/usr/lib", "/usr/share", "/usr/include", "/usr/sbin", "/usr/libexec")
MEDIA_TYPE = "application/vnd.oci.image"

Fill = Callable[[tarfile.TarFile], object]


class Layer(NamedTuple):
    """A compressed layer on its way into an archive."""

    diff_id: str
    blob: bytes


def tiny_tree(destination: str) -> None:
    """Make a root file system of a shell and a few commands with the libraries that they need."""
    for directory in ("proc", "sys", "dev", "etc", "tmp", "usr/bin", "root"):
        os.makedirs(f"{destination}/{directory}", exist_ok=True)
    os.symlink("usr/bin", f"{destination}/bin")
    for command in COMMANDS:
        source = shutil.which(command)
        if source is None:
            raise FileNotFoundError(command)
        shutil.copy2(os.path.realpath(source), f"{destination}/usr/bin/{command}")
        for library in re.findall(r"(/\S+) \(0x", subprocess.check_output(["ldd", source], text=True)):
            os.makedirs(f"{destination}{os.path.dirname(library)}", exist_ok=True)
            shutil.copy2(library, f"{destination}{library}")
    with open(f"{destination}/etc/passwd", "w", encoding="ascii") as file:
        file.write("root:x:0:0:root:/root:/bin/sh\n")


def tiny(path: str, tree: str) -> None:
    """Write an archive of one layer from the tree that `tiny_tree` made."""
    archive(path, {"bench:tiny": [layer(lambda tar: tar.add(tree, "."))]})


def many(path: str, tree: str) -> None:
    """Write an archive with 100,000 files in 1,000 directories on top of *tree*."""
    archive(path, {"bench:many": [layer(lambda tar: tar.add(tree, ".")), layer(_small_files)]})


def small_files(path: str) -> None:
    """Write the plain tar of 100,000 files alone."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        _small_files(tar)


def big(path: str, tree: str, size: int) -> None:
    """Write an archive of *size* bytes in four files on top of *tree*."""
    numbers = random.Random(2)
    piece = numbers.randbytes(1 << 20)

    def fill(tar: tarfile.TarFile) -> None:
        for number in range(4):
            add_file(tar, f"big/{number}", bytes([number]) + piece * (size // 4 >> 20))

    archive(path, {"bench:big": [layer(lambda tar: tar.add(tree, ".")), layer(fill)]})


def deb(path: str) -> None:
    """Write an archive of five layers, 375 MB together where the host has as much."""
    files = _host_files()
    archive(path, {"bench:deb": [layer(lambda tar: _take(tar, files)) for _ in range(5)]})


def layer(fill: Fill) -> Layer:
    """The layer whose tar *fill* writes, compressed with gzip."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        fill(tar)
    data = plain.getbuffer()
    return Layer(f"sha256:{hashlib.sha256(data).hexdigest()}", igzip.compress(data, 1))


def small_layer(word: str) -> Layer:
    """A layer of one file that says *word*."""
    return layer(lambda tar: add_file(tar, f"etc/{word}", word.encode()))


def archive(path: str, images: Mapping[str, list[Layer]]) -> None:
    """Write an OCI archive (image-spec, image-layout.md) of *images* by name, their layers bottom first."""
    written: set[str] = set()
    entries = []
    with tarfile.open(path, "w") as tar:
        for name, layers in images.items():
            config = _config(layers)
            manifest = _manifest(config, layers)
            entry = _descriptor("manifest.v1+json", manifest)
            entries.append({**entry, "annotations": {"org.opencontainers.image.ref.name": name}})
            for blob in (config, manifest, *(one.blob for one in layers)):
                if (digest := hashlib.sha256(blob).hexdigest()) not in written:
                    written.add(digest)
                    add_file(tar, f"blobs/sha256/{digest}", blob)
        add_file(tar, "oci-layout", _document(imageLayoutVersion="1.0.0"))
        add_file(tar, "index.json", _document(schemaVersion=2, manifests=entries))


def _config(layers: list[Layer]) -> bytes:
    machine = os.uname().machine
    return _document(
        architecture={"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine),
        os="linux",
        config={"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/bin:/bin"]},
        rootfs={"type": "layers", "diff_ids": [one.diff_id for one in layers]},
    )


def _manifest(config: bytes, layers: list[Layer]) -> bytes:
    return _document(
        schemaVersion=2,
        mediaType=f"{MEDIA_TYPE}.manifest.v1+json",
        config=_descriptor("config.v1+json", config),
        layers=[_descriptor("layer.v1.tar+gzip", one.blob) for one in layers],
    )


def _document(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def _descriptor(kind: str, blob: bytes) -> dict[str, object]:
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    return {"mediaType": f"{MEDIA_TYPE}.{kind}", "digest": digest, "size": len(blob)}


def add_file(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Write the file *name* into *tar*."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _small_files(tar: tarfile.TarFile) -> None:
    numbers = random.Random(1)
    per_directory = MANY_FILES // MANY_DIRECTORIES
    for directory in range(MANY_DIRECTORIES):
        above = tarfile.TarInfo(f"data/{directory:04}")
        above.type, above.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(above)
        for number in range(per_directory):
            add_file(tar, f"{above.name}/{number:03}", numbers.randbytes(MANY_BYTES))


def _host_files() -> Iterator[str]:
    for source in DEB_SOURCES:
        for directory, directories, names in os.walk(source):
            directories.sort()
            yield from (f"{directory}/{name}" for name in sorted(names))


def _take(tar: tarfile.TarFile, files: Iterator[str]) -> None:
    total = 0
    for path in files:
        member = tar.gettarinfo(path)
        if not (member.isreg() or member.issym()):
            continue
        if member.isreg():
            total += member.size
            with open(path, "rb") as file:
                tar.addfile(member, file)
        else:
            tar.addfile(member)
        if total >= DEB_LAYER:
            break
