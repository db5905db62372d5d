"""Whatever `load` is pointed at: directories and streams, packed in any way by any tool, and what is none."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from engine.errors import ArchiveError, CowlError
from engine.images.images import Images
from engine.images.load import load
from engine.images.save import FORMATS
from engine.images.transfer import import_tree
from engine.store.store import Store
from tests.images import peers, stores
from tests.images.archives import docker_archive, simple_layer
from tests.images.stores import NewStore
from tests.layers import tars
from tests.support import roots
from tests.support.traces import Root

pytestmark = pytest.mark.kernel
LINUX = {"os": "linux", "architecture": "amd64"}


@pytest.fixture
def layout(store: Store, tmp_path: Path) -> Path:
    """An OCI layout with `it:1`, two layers."""
    load(store, docker_archive(tmp_path / "it.tar", [simple_layer("one"), simple_layer("two")]))
    Images(store).save(["it:1"], f"{tmp_path}/layout", "oci-dir")
    return tmp_path / "layout"


def packed(
    source: Path, prefix: str, order: Callable[[Path], object] = str, form: int = tarfile.GNU_FORMAT
) -> bytes:
    """A tar of all in *source*, each name after *prefix*, files in an order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for path in sorted(source.rglob("*"), key=order):
            archive.add(path, f"{prefix}{path.relative_to(source)}", recursive=False)
    return out.getvalue()


@pytest.mark.parametrize("prefix", ["", "./", "layout/", "./layout/", "/"])
@pytest.mark.parametrize("form", ["oci", "docker"])
def test_archives_of_directories(
    new_store: NewStore, layout: Path, tmp_path: Path, prefix: str, form: str
) -> None:
    if form == "docker":
        with tarfile.open(tmp_path / "it.tar") as archive:
            archive.extractall(tmp_path / "docker", filter="data")
        layout = tmp_path / "docker"
    path = tmp_path / "packed.tar"
    path.write_bytes(packed(layout, prefix))
    store = new_store()
    assert load(store, str(path)) == ["it:1"]
    assert load(store, str(layout)) == ["it:1"]
    assert stores.problems(store) == []


def test_several_layouts_in_one_tar_are_not_guessed_at(store: Store, layout: Path, tmp_path: Path) -> None:
    (tmp_path / "both").mkdir()
    for name in "ab":
        shutil.copytree(layout, tmp_path / "both" / name)
    with pytest.raises(ArchiveError, match="several in directories: a, b"):
        load(store, str(tmp_path / "both"))


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress, lzma.compress, bytes])
@pytest.mark.parametrize("order", ["documents first", "documents last"])
def test_streams_in_any_order(
    new_store: NewStore, layout: Path, order: str, pack: Callable[[bytes], bytes]
) -> None:
    sign = -1 if order == "documents last" else 1
    whole = pack(packed(layout, "", lambda path: (sign * path.stat().st_size, str(path))))
    reading, writing = os.pipe()
    store = new_store()
    with (
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=writing) as feeder,
        open(reading, "rb") as stream,
    ):
        os.close(writing)
        assert feeder.stdin
        feeder.stdin.write(whole)
        feeder.stdin.close()
        assert load(store, stream) == ["it:1"]


def test_zstd_and_plain_layers_and_names_without_annotation(
    new_store: NewStore, layout: Path, tmp_path: Path
) -> None:
    peers.run(
        "skopeo",
        "copy",
        "-q",
        "--dest-compress-format=zstd",
        "--dest-compress",
        f"oci:{layout}",
        f"oci:{tmp_path}/zstd",
    )
    index = json.loads((tmp_path / "zstd" / "index.json").read_bytes())
    assert "annotations" not in index["manifests"][0]
    store = new_store()
    assert load(store, f"{tmp_path}/zstd") == ["zstd:latest"]
    assert load(store, str(layout)) == ["it:1"]
    assert Images(store).get("zstd").chain_id == Images(store).get("it:1").chain_id
    assert Images(store).get("zstd").manifest_digest != Images(store).get("it:1").manifest_digest
    assert stores.problems(store) == []


# Through pipes, from tool to tool


def cowl(root: Root) -> str:
    """The command line on *root*, for a shell."""
    return f"env COWL_ROOT={root.path} COWL_CGROUP_PARENT={root.cgroup_parent} {sys.executable} -m engine.cli"


@pytest.fixture
def podman(tmp_path: Path) -> object:
    """Podman with a store of its own, for a shell."""
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # podman wants it short
        yield f"podman --root {tmp_path}/root --runroot {short} --storage-driver vfs"


def shell(script: str) -> str:
    done = subprocess.run(
        ["bash", "-ec", f"set -o pipefail; {script}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.peers("podman", "skopeo")
def test_pipes_between_tools(root: Root, tmp_path: Path, podman: str) -> None:
    other = roots.new_root(str(tmp_path))
    docker_archive(tmp_path / "it.tar", [simple_layer("one"), simple_layer("two")])
    docker_archive(tmp_path / "b.tar", [simple_layer("one"), simple_layer("three")], names=("b:1", "b:2"))
    mine, theirs = cowl(root), cowl(other)
    try:
        shell(f"{mine} load -q < {tmp_path}/it.tar; cat {tmp_path}/b.tar | {mine} load -q")
        for form in ("oci-archive", "docker-archive"):
            said = shell(
                f"{mine} save --format {form} it:1 b:1 b:2 | {theirs} load -q; {theirs} rmi it:1 b:1 b:2"
            )
            assert said.split()[:3] == ["it:1", "b:1", "b:2"], form
        shell(f"{mine} save --format docker-archive it:1 b:1 b:2 | {podman} load -q")
        there = shell(f"{podman} images --format '{{{{.Repository}}}}:{{{{.Tag}}}}'").split()
        assert {name.rpartition("/")[2] for name in there} == {"it:1", "b:1", "b:2"}
        for form in ("docker-archive", "oci-archive"):
            shell(f"{podman} save -q --format {form} it:1 | {theirs} load -q; {theirs} rmi it:1")
        shell(f"{podman} save -q -m it:1 b:1 b:2 | {theirs} load -q")
        assert "b:2" in shell(f"{theirs} images --json")
        skopeo = f"skopeo copy -q oci:{tmp_path}/copied:x"
        shell(f"{mine} save -o {tmp_path}/b.oci b:1")
        peers.run("skopeo", "copy", "-q", f"oci-archive:{tmp_path}/b.oci", f"oci:{tmp_path}/copied:x")
        assert shell(f"{skopeo} docker-archive:/dev/stdout:c:3 | {theirs} load -q") == "c:3\n"
        assert shell(f"{mine} load -q -i {tmp_path}/copied") == "copied:x\n"
    finally:
        shutil.rmtree(other.path, ignore_errors=True)
        shutil.rmtree(other.layout.run, ignore_errors=True)


@pytest.mark.peers("umoci", "skopeo")
@pytest.mark.parametrize("form", FORMATS)
def test_several_images_in_one_archive_are_read_by_others(
    new_store: NewStore, tmp_path: Path, form: str
) -> None:
    store = new_store()
    load(
        store,
        docker_archive(
            tmp_path / "a.tar", [simple_layer("one"), simple_layer("two")], names=("a:1", "a:2"), **LINUX
        ),
    )
    load(
        store,
        docker_archive(
            tmp_path / "b.tar", [simple_layer("one"), simple_layer("one")], names=("b:1",), **LINUX
        ),
    )
    Images(store).save(["a:1", "a:2", "b:1"], f"{tmp_path}/saved", form)  # type: ignore[arg-type]
    for name in ("a:1", "a:2", "b:1"):
        where = {
            "oci-dir": f"oci:{tmp_path}/saved:{name}",
            "oci-archive": f"oci-archive:{tmp_path}/saved:{name}",
            "docker-archive": f"docker-archive:{tmp_path}/saved:{name}",
        }[form]
        config = json.loads(peers.run("skopeo", "inspect", "--config", where))
        assert config["rootfs"]["diff_ids"] == Images(store).get(name).config["rootfs"]["diff_ids"]
        peers.run("skopeo", "copy", "-q", where, f"oci:{tmp_path}/of-{name.replace(':', '-')}:x")
        tree = peers.umoci_tree(f"{tmp_path}/of-{name.replace(':', '-')}:x", tmp_path)
        assert b"etc/one" in tree


# What is none


def an_image_of_a_disk() -> bytes:
    return bytes(32769) + b"CD001" + bytes(4096)


def a_zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", "b")
    return out.getvalue()


FOREIGN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is empty"),
    "zeros": (bytes(20480), "nothing but zeros"),
    "zip": (a_zip(), "a zip file"),
    "rpm": (b"\xed\xab\xee\xdb\3\0" + bytes(2000), "an RPM package"),
    "deb": (b"!<arch>\ndebian-binary   1" + bytes(2000), "a Debian package"),
    "iso": (an_image_of_a_disk(), "a CD image"),
    "elf": (Path("/bin/true").read_bytes(), "a program"),
    "text": (b"FROM scratch\nCOPY . /\n" * 40, "not octal"),
    "json": (b'{"schemaVersion": 2}' + b" " * 1000, "JSON"),
    "openssl": (b"Salted__" + bytes(range(200)) * 5, "encrypted"),
    "pgp": (b"-----BEGIN PGP MESSAGE-----\n\n" + b"hQEMA" * 300, "encrypted"),
    "binary pgp": (b"\x85\x01\x0c\x03" + bytes(range(256)) * 4, "encrypted"),
    "noise": (bytes(range(7, 251)) * 9, "not octal|checksum"),
    "a gzipped text": (gzip.compress(b"hello, world\n" * 100), "not octal"),
    "a plain tar": (simple_layer("one"), "neither manifest.json nor index.json"),
    "a short text": (b"hello\n", "ends within a header"),
}


@pytest.mark.parametrize("what", FOREIGN)
@pytest.mark.parametrize("how", ["file", "stream"])
def test_what_is_no_archive_of_images(store: Store, tmp_path: Path, what: str, how: str) -> None:
    content, why = FOREIGN[what]
    path = tmp_path / "it"
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match=why) as caught:
        load(store, str(path) if how == "file" else io.BytesIO(content))
    assert "\n" not in str(caught.value)
    assert stores.problems(store) == []


@pytest.mark.parametrize("source", ["/dev/zero", "/dev/urandom", "/dev/null", "/proc/self/mem", "/", "/proc"])
def test_sources_that_have_no_end_or_no_sense(store: Store, source: str) -> None:
    with pytest.raises(CowlError) as caught:
        load(store, source)
    assert "\n" not in str(caught.value)
    assert stores.problems(store) == []


def test_a_member_that_is_damaged_on_the_way(store: Store, tmp_path: Path) -> None:
    path = Path(docker_archive(tmp_path / "it.tar", [simple_layer("one")]))
    whole = bytearray(path.read_bytes())
    at = whole.index(b"manifest.json")
    whole[at : at + 4] = b"MANI"
    path.write_bytes(whole)
    with pytest.raises(ArchiveError, match=r"malformed \(a header's checksum"):
        load(store, str(path))


def test_names_of_an_archive_that_no_file_could_have(store: Store, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "manifest.json").write_text('[{"Config": "a\\u0000b", "Layers": ["x"]}]')
    with pytest.raises(ArchiveError, match="NUL"):
        load(store, f"{tmp_path}/dir")
    path = tmp_path / "it.tar"
    path.write_bytes(tars.tar(tars.file("a/" * 4000 + "b")))
    with pytest.raises(ArchiveError, match="longer"):
        load(store, str(path))


# Root file systems


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress, lzma.compress, bytes])
def test_root_file_systems_however_they_are_packed(
    store: Store, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "rootfs"
    path.write_bytes(pack(simple_layer("one")))
    chain_id = import_tree(store, str(path), "file:1")
    assert import_tree(store, io.BytesIO(path.read_bytes()), "stream:1") == chain_id
    assert stores.problems(store) == []


@pytest.mark.parametrize("what", [what for what in FOREIGN if "tar" not in what])
def test_what_is_no_root_file_system(store: Store, what: str) -> None:
    content, _ = FOREIGN[what]
    if what == "zeros":
        return  # an empty tar is nothing else
    with pytest.raises(ArchiveError) as caught:
        import_tree(store, io.BytesIO(content), "it:1")
    assert "\n" not in str(caught.value)
    assert stores.problems(store) == []
    if what in ("zip", "rpm", "iso", "elf", "openssl"):
        assert "not a tar (it is" in str(caught.value)
    if what == "empty":
        assert "nothing to import" in str(caught.value)
