"""What takes a stranger's bytes, as functions that fail only when cowl is wrong.

Each takes any bytes at all. Refusing them with the error that says so is right; any other exception, and an
answer that contradicts itself, is a defect. The suite runs them under hypothesis, `make fuzz` under atheris.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator

from engine.errors import ArchiveError, UsageError
from engine.images.legacy import is_legacy, read_legacy_images
from engine.images.tararchive import TarArchive
from engine.layers.apply import apply_layer
from engine.layers.compression import codec_of, open_layer
from engine.layers.paxrecords import nanoseconds, parse_records, xattrs_of
from engine.layers.tarmember import FILE
from engine.layers.tarread import TarReader
from engine.layers.tarwrite import write_layer
from engine.oci import documents, platforms, reference
from engine.oci.bundle import read_images
from tests.images.archives import docker_archive, oldest_archive, simple_layer
from tests.layers import tars
from tests.support import roots

Target = Callable[[bytes], None]
_MOST = 1 << 22
"""Bytes that a decompressor is read to: what comes after is the same code again."""


def tar_reader(data: bytes) -> None:
    """Every member and its data."""
    reader = TarReader(io.BytesIO(with_checksums(data)))
    with contextlib.suppress(ArchiveError):
        for member in reader:
            assert b"\0" not in member.name + member.link
            assert 0 <= member.mode <= 0o7777
            assert min(member.size, member.uid, member.gid) >= 0
            stored = len(reader.read_data(1 << 20))
            assert member.sparse is not None or stored == (member.size if member.kind == FILE else stored)
        reader.drain()


def pax_records(data: bytes) -> None:
    """A PAX header and what is made of its records."""
    with contextlib.suppress(ArchiveError):
        records, segments = parse_records(data)
        assert b"" not in records
        assert all(offset >= 0 and length >= 0 for offset, length in segments)
        for name, value in xattrs_of(records).items():
            assert name
            assert isinstance(value, bytes)
        if stamp := records.get(b"mtime"):
            nanoseconds(stamp)


def layer(data: bytes) -> None:
    """A layer is unpacked beside a canary, written again and unpacked again."""
    with _cage() as cage:
        first, second = f"{cage}/first", f"{cage}/second"
        try:
            apply_layer(io.BytesIO(with_checksums(data)), first)
        except ArchiveError:
            return
        out = io.BytesIO()
        written = write_layer(first, out)
        applied = apply_layer(io.BytesIO(out.getvalue()), second)
        assert applied.diff_id == written.diff_id
        assert write_layer(second, None).diff_id == written.diff_id


def image_documents(data: bytes) -> None:
    """The same bytes as each kind of document."""
    for media_type in documents.MANIFESTS:
        with contextlib.suppress(ArchiveError):
            manifest = documents.decode_manifest(data, media_type)
            assert len(manifest.layers) <= documents.MAX_LAYERS
    for media_type in documents.INDEXES:
        with contextlib.suppress(ArchiveError):
            index = documents.decode_index(data, media_type)
            for entry in index.manifests:
                platforms.is_attestation(entry)
                if entry.platform:
                    platforms.fits(entry.platform, platforms.host())
    for count in (0, 1, 2):
        with contextlib.suppress(ArchiveError):
            config = documents.decode_config(data, count)
            assert len(documents.chain_ids(config.rootfs.diff_ids)) == count > 0
    for kind in (list[documents.DockerImage], documents.LayoutFile):
        with contextlib.suppress(ArchiveError):
            documents.decode(data, kind, "the document")


def image_archive(data: bytes) -> None:
    """A whole archive of images, up to where its layers are."""
    with tempfile.NamedTemporaryFile(dir=roots.place("/tmp")) as file:
        file.write(with_checksums(data))
        file.flush()
        with contextlib.suppress(ArchiveError):
            archive = TarArchive(file.name)
            images = (
                read_legacy_images(archive) if is_legacy(archive) else read_images(archive, "label").images
            )
            for image in images:
                for each in image.layers:
                    assert each.extent.offset + each.extent.size <= len(data)


def image_reference(data: bytes) -> None:
    """A name, read and written again."""
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(UsageError):
        parsed = reference.parse(text)
        assert reference.parse(str(parsed)) == parsed
        assert ".." not in parsed.name.split("/")
    with contextlib.suppress(UsageError):
        assert reference.normalise(reference.normalise(text)) == reference.normalise(text)


def compressed(data: bytes) -> None:
    """A layer in whatever codec its first bytes say."""
    stream = open_layer(io.BytesIO(data))
    plain = io.BytesIO()
    with contextlib.suppress(ArchiveError):
        while plain.tell() < _MOST and (piece := stream.read(1 << 16)):
            assert len(piece) <= 1 << 16
            plain.write(piece)
        if codec_of(data) == "none":
            assert plain.getvalue() == data


TARGETS: dict[str, Target] = {
    "tar": tar_reader,
    "pax": pax_records,
    "layer": layer,
    "documents": image_documents,
    "archive": image_archive,
    "reference": image_reference,
    "compression": compressed,
}


def seeds(name: str) -> list[bytes]:
    """Honest inputs of the target *name*, to start from."""
    if name in ("tar", "layer"):
        return _layers()
    if name == "archive":
        return list(_archives())
    return {
        "pax": [
            b"12 path=abc\n20 mtime=-1.500000\n22 SCHILY.xattr.a.b=c\n",
            b"22 GNU.sparse.offset=1\n26 GNU.sparse.numbytes=10\n30 LIBARCHIVE.xattr.a%20b=AAEC\n",
        ],
        "documents": _documents(),
        "reference": [
            b"docker.io/library/it:1.0",
            b"localhost:5000/a/b__c@sha256:" + b"0a" * 32,
            b"[::1]:80/x",
        ],
        "compression": [pack(b"hello, world\n" * 20) for pack in _packers()],
    }[name]


def with_checksums(data: bytes) -> bytes:
    """*data* with the checksum of every header made right: noise would hardly ever pass it."""
    whole = bytearray(data)
    for start in range(0, len(whole) - 511, tars.BLOCK):
        if whole[start + 257 : start + 262] == b"ustar":
            whole[start + 148 : start + 156] = b" " * 8
            whole[start + 148 : start + 156] = b"%06o\0 " % sum(whole[start : start + tars.BLOCK])
    return bytes(whole)


@contextlib.contextmanager
def _cage() -> Iterator[str]:
    """Two empty directories and a canary that has to live."""
    cage = tempfile.mkdtemp(dir=roots.place("/tmp"), prefix="cowl-fuzz-")
    try:
        for name in ("first", "second"):
            os.mkdir(f"{cage}/{name}")
        with open(f"{cage}/canary", "w") as canary:
            canary.write("alive")
        before = os.stat(f"{cage}/canary")
        yield cage
        assert sorted(os.listdir(cage)) == ["canary", "first", "second"]
        after = os.stat(f"{cage}/canary")
        assert (before.st_mtime_ns, before.st_ctime_ns) == (after.st_mtime_ns, after.st_ctime_ns)
    finally:
        shutil.rmtree(cage)


def _layers() -> list[bytes]:
    entries = (
        tars.directory("d", mode=0o2755, mtime=1.25),
        tars.file("d/f", b"x" * 700, uid=3_000_000, pax_headers={"SCHILY.xattr.user.a": "b"}),
        tars.link("l", "d/f"),
        tars.symlink("s", "d"),
        tars.file("s/.wh.gone"),
        tars.file("d/.wh..wh..opq"),
        tars.node("n", "char", devmajor=1, devminor=3),
        tars.file("p" * 90 + "/" + "n" * 120, b"1"),
    )
    forms = (tars.tarfile.PAX_FORMAT, tars.tarfile.GNU_FORMAT)
    return [tars.tar(*entries, form=form) for form in forms] + [tars.tar(entry) for entry in entries]


def _archives() -> Iterator[bytes]:
    from pathlib import Path

    with tempfile.TemporaryDirectory() as place:
        for old in (False, True):
            path = Path(place, "it.tar")
            docker_archive(path, [simple_layer("a"), simple_layer("b"), simple_layer("a")], old=old)
            yield path.read_bytes()
        oldest_archive(path, [simple_layer("a")], names={"it": {"1": 0}})
        yield path.read_bytes()


def _documents() -> list[bytes]:
    digest = "sha256:" + "ab" * 32
    manifest = documents.manifest_document(
        documents.descriptor(documents.OCI_CONFIG, digest, 2),
        [documents.descriptor(documents.OCI_LAYER, digest, 3)],
    )
    platform = {"architecture": "arm", "os": "linux", "variant": "v7"}
    index = documents.index_document(
        [{**documents.descriptor(documents.OCI_MANIFEST, digest, 5), "platform": platform}]
    )
    config = {
        "rootfs": {"type": "layers", "diff_ids": [digest]},
        "history": [{"created_by": "x"}],
        "config": {},
    }
    docker = [{"Config": "a.json", "RepoTags": ["a:1"], "Layers": ["a/layer.tar"]}]
    return [
        json.dumps(each).encode()
        for each in (manifest, index, config, docker, {"imageLayoutVersion": "1.0.0"})
    ]


def _packers() -> list[Callable[[bytes], bytes]]:
    import bz2
    import lzma

    import zstandard

    return [gzip.compress, zstandard.ZstdCompressor().compress, lzma.compress, bz2.compress, bytes]
