"""Layers of buildah and umoci come out as these unpack them, and umoci unpacks what cowl captured.

Images are OCI layouts; only layers matter here, so they are put together and taken apart by hand.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from engine.layers.apply import adopt_parents, apply_layer
from engine.layers.capture import capture_layer
from engine.layers.changes import tree_changes
from engine.layers.compression import open_layer
from engine.layers.tarwrite import write_layer
from tests.layers.overlay import overlay
from tests.layers.trees import Seen, snapshot

pytestmark = [pytest.mark.kernel, pytest.mark.peers("umoci", "skopeo", "setcap")]


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def blob(image: Path, digest: str) -> Path:
    return image / "blobs" / "sha256" / digest.removeprefix("sha256:")


def document(image: Path, digest: str) -> Any:
    return json.loads(blob(image, digest).read_text())


def manifest(image: Path, tag: str) -> Any:
    index = json.loads((image / "index.json").read_text())
    for entry in index["manifests"]:
        if entry.get("annotations", {}).get("org.opencontainers.image.ref.name") == tag:
            return document(image, entry["digest"])
    raise LookupError(tag)


def load(image: Path, tag: str, place: Path) -> list[str]:
    """The layers of an image on disk, top first, as cowl unpacks them; their diff IDs are checked."""
    made: list[str] = []
    found = manifest(image, tag)
    diff_ids = document(image, found["config"]["digest"])["rootfs"]["diff_ids"]
    for number, (layer, diff_id) in enumerate(zip(found["layers"], diff_ids, strict=True)):
        tree = place / str(number)
        tree.mkdir(parents=True)
        with open(blob(image, layer["digest"]), "rb") as raw:
            applied = apply_layer(open_layer(raw, layer["mediaType"]), str(tree))
        assert applied.diff_id == diff_id
        adopt_parents(str(tree), applied.implicit, made)
        made.insert(0, str(tree))
    return made


def judged(tree: dict[bytes, Seen], tick: int = 1) -> dict[bytes, Seen]:
    """What engines agree on: not the times of directories, nor the root, which umoci makes itself.

    Times are compared in ticks of so many nanoseconds.
    """
    return {
        path: seen._replace(mtime_ns=0 if seen.kind == stat.S_IFDIR else seen.mtime_ns // tick)
        for path, seen in tree.items()
        if path
    }


FIRST = """
mkdir -p usr/lib usr/bin etc/conf.d var/cache/deep old/inside same
echo root > etc/passwd; echo one > etc/conf.d/one; echo two > etc/conf.d/two
echo tool > usr/bin/tool; chmod 4755 usr/bin/tool; ln usr/bin/tool usr/bin/alias
echo ping > usr/bin/ping; setcap cap_net_raw+ep usr/bin/ping
ln -s usr/lib lib; echo lib > usr/lib/a.so; mkfifo pipe; mknod dev c 1 3
echo x > var/cache/deep/x; echo y > old/inside/y; chown -R 1000:1001 old; chmod 1777 var/cache
ln -s nowhere replaced
touch -d '1999-12-31 23:59:59.25 UTC' etc/passwd; touch -h -d 2001-01-01 lib
"""
SECOND = """
rm -r old; rm etc/conf.d/one; echo three > etc/conf.d/three; chmod 600 etc/passwd
rm -r var/cache; mkdir var/cache; echo new > var/cache/new
rm replaced; mkdir replaced; echo in > replaced/in; echo more >> usr/lib/a.so
"""
THIRD = """
mkdir -p old/again; echo back > old/again/back; rm -r replaced; ln -s /etc replaced; rm lib
rm usr/bin/alias; echo fresh > usr/bin/alias; rm pipe; mkdir pipe; echo p > pipe/p; mkdir lib; echo l > lib/l
"""
FOURTH = "rm -r etc/conf.d usr/bin; mkdir usr/bin; ln lib/l usr/bin/l; ln -s l usr/bin/s; chown 7:8 usr/bin"
FIFTH = "rm -r lib; ln -s usr/lib lib; mkdir -p n/e/w; : > n/e/w/file; chmod 0 n/e/w/file"
STEPS = (FIRST, SECOND, THIRD, FOURTH, FIFTH)


def umoci_image(place: Path) -> Path:
    """Five layers that umoci made by comparing trees."""
    image = place / "image"
    run("umoci", "init", "--layout", image)
    run("umoci", "new", "--image", f"{image}:latest")
    for number, script in enumerate(STEPS):
        bundle = place / f"bundle{number}"
        run("umoci", "unpack", "--image", f"{image}:latest", bundle)
        subprocess.run(["sh", "-ec", script], cwd=bundle / "rootfs", check=True)
        run("umoci", "repack", "--image", f"{image}:latest", bundle)
    return image


def test_layers_of_umoci_are_unpacked_as_umoci_does(tmp_path: Path) -> None:
    image = umoci_image(tmp_path)
    run("umoci", "unpack", "--image", f"{image}:latest", tmp_path / "judge")
    layers = load(image, "latest", tmp_path / "layers")
    assert len(layers) == len(STEPS)
    with overlay() as kernel:
        shown = kernel.look(layers, str(tmp_path))
    assert judged(shown) == judged(snapshot(str(tmp_path / "judge" / "rootfs")))


def captured_image(tmp_path: Path) -> tuple[Path, dict[bytes, Seen], list[str]]:
    """Five layers captured from overlay mounts, as an OCI layout; the tree, and the layers top first."""
    (tmp_path / "base").mkdir()
    empty = str(tmp_path / "base")
    lowers: list[str] = [empty]
    image = tmp_path / "ours"
    (image / "blobs" / "sha256").mkdir(parents=True)
    descriptors, diff_ids = [], []
    shown: dict[bytes, Seen] = {}
    with overlay() as kernel:
        for number, script in enumerate(STEPS):
            home = str(tmp_path / f"home{number}")
            _, shown = kernel.change(lowers, home, script)
            layer = f"{home}/layer"
            os.mkdir(layer)
            captured = capture_layer(f"{home}/upper", lowers, layer)
            with open(f"{home}/tar", "wb") as out:
                written = write_layer(layer, out, lowers)
            assert written.diff_id == captured.diff_id
            descriptors.append(store(image, Path(f"{home}/tar").read_bytes(), "layer.v1.tar"))
            diff_ids.append(written.diff_id)
            lowers.insert(0, layer)
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    found = {
        "schemaVersion": 2,
        "config": store(image, json.dumps(config).encode(), "config.v1+json"),
        "layers": descriptors,
    }
    entry = store(image, json.dumps(found).encode(), "manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (image / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (image / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return image, shown, lowers


def store(image: Path, data: bytes, kind: str) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    blob(image, digest).write_bytes(data)
    names = {"config.v1+json": "image.config.v1+json", "manifest.v1+json": "image.manifest.v1+json"}
    media_type = f"application/vnd.oci.image.{names.get(kind, kind).removeprefix('image.')}"
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def test_captured_layers_are_unpacked_by_umoci_to_the_same_tree(tmp_path: Path) -> None:
    image, shown, _ = captured_image(tmp_path)
    run("umoci", "unpack", "--image", f"{image}:latest", tmp_path / "judge")
    assert judged(snapshot(str(tmp_path / "judge" / "rootfs"))) == judged(shown)


def test_captured_layers_survive_skopeo_and_come_back_equal(tmp_path: Path) -> None:
    image, shown, lowers = captured_image(tmp_path)
    run("skopeo", "copy", f"oci:{image}:latest", f"oci:{tmp_path}/packed:latest")
    assert json.loads(run("skopeo", "inspect", f"oci:{tmp_path}/packed:latest"))["Layers"]
    layers = load(tmp_path / "packed", "latest", tmp_path / "again")
    with overlay() as kernel:
        assert judged(kernel.look(layers, str(tmp_path))) == judged(shown)
    assert tree_changes(layers, lowers) == []


@pytest.mark.peers("buildah")
def test_layers_of_buildah_are_unpacked_as_buildah_shows_them(tmp_path: Path) -> None:
    storage = [
        "buildah",
        "--root",
        f"{tmp_path}/root",
        "--runroot",
        f"{tmp_path}/runroot",
        "--storage-driver",
        "vfs",
    ]
    try:
        name = "scratch"
        for number, script in enumerate(STEPS):
            container = run(*storage, "from", "--pull-never", name).strip()
            mounted = run(*storage, "mount", container).strip()
            subprocess.run(["sh", "-ec", script], cwd=mounted, check=True)
            name = f"localhost/step:{number}"
            run(*storage, "commit", "--format", "oci", container, name)
        run(*storage, "push", name, f"oci:{tmp_path}/image:latest")
        layers = load(tmp_path / "image", "latest", tmp_path / "layers")
        assert len(layers) == len(STEPS)
        with overlay() as kernel:
            shown = kernel.look(layers, str(tmp_path))
        second = 10**9  # buildah keeps no more of a time
        assert judged(shown, second) == judged(snapshot(mounted), second)
    finally:
        subprocess.run([*storage, "rm", "--all"], capture_output=True, check=False)
        shutil.rmtree(tmp_path / "root", ignore_errors=True)
