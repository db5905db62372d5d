"""Archives as named files: nothing outside of them is ever read, and each kind is told from the others."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ArchiveError
from engine.images.tararchive import TarArchive
from engine.oci import documents
from engine.oci.archive import DirectoryArchive, read_document
from engine.oci.bundle import read_images
from tests.layers import tars

HERE, VARIANT = documents.platform_of_host()


def open_tar(tmp_path: Path, *entries: tars.Entry) -> TarArchive:
    path = tmp_path / "it.tar"
    path.write_bytes(tars.tar(*entries))
    return TarArchive(str(path))


def test_files_and_links_in_a_tar(tmp_path: Path) -> None:
    archive = open_tar(
        tmp_path,
        tars.file("./a/file", b"1"),
        tars.symlink("b/link", "../a/file"),
        tars.symlink("c", "b/link"),
        tars.link("d", "a/file"),
        tars.file("a//b/./long" + "g" * 120, b"2"),
        tars.symlink("ring", "ring"),
        tars.file("twice", b"old"),
        tars.file("twice", b"new"),
    )
    for name in ("a/file", "b/link", "c", "d", "./a//file"):
        assert read_document(archive, name) == b"1"
    assert read_document(archive, "a/b/long" + "g" * 120) == b"2"
    assert read_document(archive, "twice") == b"new"
    assert not archive.has("ring")
    assert not archive.has("a")
    with pytest.raises(ArchiveError, match="no none"):
        archive.locate("none")


@pytest.mark.parametrize("entry", [tars.file("../x"), tars.symlink("a", "../../x"), tars.link("a", "../x")])
def test_names_outside_a_tar(tmp_path: Path, entry: tars.Entry) -> None:
    with pytest.raises(ArchiveError, match="outside"):
        open_tar(tmp_path, entry)


def test_a_document_has_a_largest_size(tmp_path: Path) -> None:
    archive = open_tar(tmp_path, tars.file("big", bytes(documents.MAX_DOCUMENT + 1)))
    with pytest.raises(ArchiveError, match="too large"):
        read_document(archive, "big")


def test_a_directory_gives_only_its_own_files(tmp_path: Path) -> None:
    inside = tmp_path / "layout"
    (inside / "blobs").mkdir(parents=True)
    (inside / "file").write_text("1")
    (inside / "blobs" / "link").symlink_to("../file")
    (tmp_path / "secret").write_text("x")
    (inside / "out").symlink_to("../secret")
    (inside / "passwd").symlink_to("/etc/passwd")
    os.mkfifo(inside / "fifo")
    archive = DirectoryArchive(str(inside))
    assert read_document(archive, "blobs/link") == b"1"
    for name in ("out", "passwd", "fifo", "blobs", "none", "../secret"):
        with pytest.raises(ArchiveError):
            read_document(archive, name)


def layout(
    tmp_path: Path, index: list[dict[str, Any]], documents_: list[bytes], **layout_file: str
) -> DirectoryArchive:
    blobs = tmp_path / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for document in documents_:
        (blobs / hashlib.sha256(document).hexdigest()).write_bytes(document)
    (tmp_path / "oci-layout").write_text(json.dumps(layout_file or {"imageLayoutVersion": "1.0.0"}))
    (tmp_path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": index}))
    return DirectoryArchive(str(tmp_path))


def described(document: bytes, media_type: str, **more: object) -> dict[str, Any]:
    return {**documents.descriptor(media_type, documents.digest_of(document), len(document)), **more}


def image(word: str) -> tuple[dict[str, Any], list[bytes]]:
    """A descriptor of a manifest, and all documents and blobs behind it."""
    layer = word.encode()
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": [documents.digest_of(layer)]}}).encode()
    manifest = json.dumps(
        documents.manifest_document(
            described(config, documents.OCI_CONFIG), [described(layer, documents.OCI_LAYER)]
        )
    ).encode()
    return described(manifest, documents.OCI_MANIFEST), [layer, config, manifest]


def test_several_images_of_a_layout_and_their_names(tmp_path: Path) -> None:
    (one, first), (two, second) = image("one"), image("two")
    name = "org.opencontainers.image.ref.name"
    index = [
        {**one, "annotations": {name: "latest"}},
        {**one, "annotations": {name: "docker.io/library/it:1"}},
        {**two, "annotations": {name: "1.0", "io.containerd.image.name": "docker.io/library/web:1.0"}},
        {**two, "platform": {"architecture": "unknown", "os": "unknown"}},
    ]
    found, indexes = read_images(layout(tmp_path, index, first + second), "dir")
    assert not indexes
    assert [each.names for each in found] == [("dir:latest", "it:1"), ("web:1.0",)]


def test_the_variant_for_this_machine_is_chosen(tmp_path: Path) -> None:
    (other, first), (ours, second) = image("other"), image("ours")
    nested = json.dumps(
        documents.index_document(
            [
                {**other, "platform": {"architecture": "mips", "os": "linux"}},
                {**other, "platform": {"architecture": HERE, "os": "windows"}},
                {**ours, "platform": {"architecture": HERE, "os": "linux", "variant": VARIANT}},
            ]
        )
    ).encode()
    archive = layout(tmp_path, [described(nested, documents.OCI_INDEX)], [*first, *second, nested])
    images, (index,) = read_images(archive, "dir")
    assert {each.manifest: each.is_companion for each in images} == {second[2]: False, first[2]: True}
    assert min(index.manifests, key=lambda pair: pair[1])[0] == ours["digest"]


def test_no_variant_for_this_machine(tmp_path: Path) -> None:
    other, blobs = image("other")
    nested = json.dumps(
        documents.index_document([{**other, "platform": {"architecture": "mips", "os": "linux"}}])
    ).encode()
    archive = layout(tmp_path, [described(nested, documents.OCI_INDEX)], [*blobs, nested])
    with pytest.raises(ArchiveError, match="this machine"):
        read_images(archive, "dir")


def test_indexes_in_indexes_have_an_end(tmp_path: Path) -> None:
    _, blobs = image("one")
    inner = b""
    entry: dict[str, Any] = {}
    for _ in range(6):
        inner = json.dumps(documents.index_document([entry] if entry else [])).encode()
        entry = described(inner, documents.OCI_INDEX)
        blobs.append(inner)
    with pytest.raises(ArchiveError, match="nested"):
        read_images(layout(tmp_path, [entry], blobs), "dir")


def test_a_manifest_announced_as_an_index(tmp_path: Path) -> None:
    entry, blobs = image("one")
    with pytest.raises(ArchiveError):
        read_images(layout(tmp_path, [{**entry, "mediaType": documents.OCI_INDEX}], blobs), "dir")


def test_layouts_of_another_version_and_empty_ones(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(ArchiveError, match="version"):
        read_images(layout(tmp_path / "a", [], [], imageLayoutVersion="2.0.0"), "dir")
    with pytest.raises(ArchiveError, match="no image"):
        read_images(layout(tmp_path / "b", [], []), "dir")


def test_docker_archives_without_images(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="lists nothing"):
        read_images(open_tar(tmp_path, tars.file("manifest.json", b"[]")), "it")
