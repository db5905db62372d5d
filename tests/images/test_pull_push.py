"""Images go through real registries: docker-registry, with images of umoci, skopeo and buildah."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from engine.errors import DeniedError, NotFoundError, RegistryError, StoreError, UsageError
from engine.images.images import Images
from engine.model import Progress
from engine.oci import documents
from engine.oci.registry import credentials, naming
from engine.store.store import Store
from tests.images import checks, peers, registries, stores
from tests.images.archives import simple_layer
from tests.images.registries import Answer, Proxy, raw
from tests.images.stores import Archives, NewStore
from tests.layers.overlay import Overlay
from tests.support import roots
from tests.support.traces import Root

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.peers("docker-registry", "skopeo", "umoci"),
    pytest.mark.usefixtures("nobody"),
]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty registry that wants a password."""
    home = f"{roots.place(str(tmp_path_factory.getbasetemp()))}/cowl-test-guarded-{os.getpid()}"
    with registries.docker_registry(home, basic=True) as address:
        yield address


@pytest.mark.parametrize("tag", ["gzip", "zstd", "plain", "docker"])
def test_an_image_comes_and_goes_bit_for_bit(
    store: Store, registry: str, five: Archives, mounts: Overlay, tag: str
) -> None:
    images = Images(store)
    assert [each.name for each in images.pull(f"{registry}/five:{tag}")] == [f"{registry}/five:{tag}"]
    original = raw(f"{registry}/five:{tag}")
    image = images.get(f"{registry}/five:{tag}")
    assert image.manifest_digest == documents.digest_of(original)
    tree = stores.merged(store, mounts, image.name)
    assert peers.comparable(tree) == peers.comparable(five.tree)
    assert stores.problems(store) == []
    images.push(image.name, f"{registry}/copy-{tag}:1")
    assert raw(f"{registry}/copy-{tag}:1") == original
    blobs = json.loads(original)["layers"]
    assert all("zstd" in blob["mediaType"] for blob in blobs) == (tag == "zstd")
    assert all("gzip" in blob["mediaType"] for blob in blobs) == (tag in ("gzip", "docker"))


def test_all_tags_come_at_once_and_share_their_nodes(store: Store, registry: str) -> None:
    names = [each.name for each in Images(store).pull(f"{registry}/five", all_tags=True)]
    assert sorted(names) == [f"{registry}/five:{tag}" for tag in ("docker", "gzip", "plain", "zstd")]
    assert len(Images(store).forest()) == 5
    assert stores.problems(store) == []
    with pytest.raises(UsageError):
        Images(store).pull(f"{registry}/five:gzip", all_tags=True)


@pytest.mark.peers("buildah")
def test_what_buildah_pushed_is_pulled(store: Store, registry: str, tmp_path: Path, mounts: Overlay) -> None:
    own = ["--root", f"{tmp_path}/root", "--runroot", f"{tmp_path}/run", "--storage-driver", "vfs"]
    layout = peers.umoci_image(tmp_path, peers.STEPS[:3])
    made = peers.run("buildah", *own, "from", f"oci:{layout}:five").strip()
    (tmp_path / "added").write_text("added")
    peers.run("buildah", *own, "copy", made, f"{tmp_path}/added", "/etc/added")
    peers.run("buildah", *own, "commit", "-q", "--tls-verify=false", made, f"docker://{registry}/built:1")
    Images(store).pull(f"{registry}/built:1")
    assert stores.merged(store, mounts, f"{registry}/built:1")[b"etc/added"].size == 5
    assert Images(store).get(f"{registry}/built:1").manifest_digest == documents.digest_of(
        raw(f"{registry}/built:1")
    )


def test_layers_that_are_here_are_neither_downloaded_nor_uploaded(store: Store, proxy: Proxy) -> None:
    images = Images(store)
    images.pull(f"{proxy.address}/five:gzip")
    assert proxy.count("GET", "/blobs/") == 6  # five layers and the configuration
    proxy.asked.clear()
    images.pull(f"{proxy.address}/five:gzip")
    assert proxy.count("GET", "/blobs/") == 0
    images.push(f"{proxy.address}/five:gzip", f"{proxy.address}/five:again")
    assert proxy.count("POST", "/blobs/uploads/") == 0
    images.push(f"{proxy.address}/five:gzip", f"{proxy.address}/mounted-{os.urandom(4).hex()}:1")
    posts = [asked.path for asked in proxy.asked if asked.method == "POST"]
    assert len(posts) == 6
    assert all("mount=sha256:" in path and path.endswith("from=five") for path in posts)
    assert not [asked for asked in proxy.asked if asked.method == "PUT" and "/blobs/" in asked.path]


def test_a_blob_that_was_lost_comes_again(store: Store, proxy: Proxy) -> None:
    images = Images(store)
    name = f"{proxy.address}/five:gzip"
    assert [each.was_here for each in images.pull(name)] == [False]
    lost = json.loads(raw(name))["layers"][1]["digest"]
    os.unlink(store.layout.blob(lost))
    with pytest.raises(StoreError, match="it was damaged or lost") as refused:
        images.save([name], f"{store.layout.root}/no.tar")
    assert refused.value.hint == "pull or load the image again"
    proxy.asked.clear()
    assert [each.was_here for each in images.pull(name)] == [False]
    assert [asked.path.rpartition("/")[2] for asked in proxy.asked if "/blobs/" in asked.path] == [lost]
    assert [each.was_here for each in images.pull(name)] == [True]
    assert stores.problems(store) == []


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_blob_that_cowl_compressed_is_written_again(
    new_store: NewStore, registry: str, codec: Literal["gzip", "zstd"], tmp_path: Path
) -> None:
    mine, theirs = Images(new_store()), new_store()
    Path(f"{tmp_path}/layer.tar").write_bytes(simple_layer("one"))
    mine.import_tree(f"{tmp_path}/layer.tar", "flat:1")
    name = f"{registry}/flat-{codec}:1"
    mine.push("flat:1", name, compress=codec)
    Images(theirs).pull(name)
    [blob] = os.listdir(theirs.layout.blobs)
    path = f"{theirs.layout.blobs}/{blob}"
    before = Path(path).read_bytes()
    checks.flip(path)
    [damage] = checks.look(theirs).damage
    assert (damage.kind, damage.mend) == ("blob", "restore")
    report = checks.look(theirs, repair=True)
    assert report.is_clean, report
    assert Path(path).read_bytes() == before
    assert stores.problems(theirs) == []


def test_an_image_that_lost_a_blob_is_not_pushed(store: Store, registry: str, five: Archives) -> None:
    images = Images(store)
    images.load(five.oci)
    os.unlink(store.layout.blob(json.loads(raw(f"{registry}/five:gzip"))["layers"][1]["digest"]))
    with pytest.raises(StoreError, match="it was damaged or lost"):
        images.push("five:oci", f"{registry}/lost-{os.urandom(4).hex()}:1")
    images.load(five.oci)
    images.push("five:oci", f"{registry}/lost-{os.urandom(4).hex()}:1")


def test_blobs_of_another_image_serve_too(store: Store, proxy: Proxy, five: Archives) -> None:
    Images(store).load(five.layout)
    Images(store).pull(f"{proxy.address}/five:gzip")
    layers = {layer["digest"] for layer in json.loads(raw(f"{proxy.address}/five:gzip"))["layers"]}
    assert not [a for a in proxy.asked if a.method == "GET" and a.path.rpartition("/")[2] in layers]


@pytest.mark.parametrize("codec", [None, "gzip", "zstd"])
def test_a_plain_layer_is_pushed_as_it_is_or_compressed(
    new_store: NewStore, registry: str, five: Archives, mounts: Overlay, codec: str | None
) -> None:
    mine, theirs = new_store(), new_store()
    Images(mine).load(five.docker)
    name, digest = Images(mine).push("five:docker", f"{registry}/plain:{codec}", compress=codec)  # type: ignore[arg-type]
    manifest = json.loads(raw(name))
    ends = {layer["mediaType"].rpartition(".tar")[2] for layer in manifest["layers"]}
    assert ends == {f"+{codec}" if codec else ""}
    Images(theirs).pull(name)
    assert Images(theirs).get(name).manifest_digest == digest
    assert peers.comparable(stores.merged(theirs, mounts, name)) == peers.comparable(five.tree)


@pytest.mark.parametrize(("compress", "ending"), [(None, "+gzip"), ("none", ""), ("zstd", "+zstd")])
def test_what_was_made_here_is_compressed_for_a_registry_elsewhere(
    store: Store,
    proxy: Proxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    compress: str | None,
    ending: str,
) -> None:
    monkeypatch.setattr(naming, "is_loopback", lambda _host: False)
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        tar.add(__file__, "file")
    Images(store).import_tree(str(tmp_path / "root.tar"), "mine:1")
    destination = f"{proxy.address}/elsewhere:{compress}"
    name, digest = Images(store).push("mine:1", destination, compress=compress)  # type: ignore[arg-type]
    manifest = json.loads(raw(name))
    assert {layer["mediaType"].rpartition(".tar")[2] for layer in manifest["layers"]} == {ending}
    sent = len([asked for asked in proxy.asked if asked.method in ("PATCH", "POST")])
    assert Images(store).push("mine:1", destination, compress=compress) == (name, digest)  # type: ignore[arg-type]
    assert len([asked for asked in proxy.asked if asked.method in ("PATCH", "POST")]) == sent


def test_what_came_from_elsewhere_goes_as_it_came(
    new_store: NewStore, registry: str, five: Archives, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker, store = Images(new_store()), Images(new_store())
    maker.load(five.docker)
    name, digest = maker.push("five:docker", f"{registry}/as-it-came:1")
    monkeypatch.setattr(naming, "is_loopback", lambda _host: False)
    store.pull(name, plain_http=True)
    assert store.push(name, f"{registry}/as-it-came:2", plain_http=True)[1] == digest


# Who is who


def test_basic_authentication(new_store: NewStore, guarded: str, five: Archives) -> None:
    images = Images(new_store())
    images.load(five.oci)
    with pytest.raises(DeniedError, match="cowl login"):
        images.push("five:oci", f"{guarded}/five:1")
    with pytest.raises(DeniedError):
        images.login(guarded, registries.USER, "wrong")
    assert credentials.find(guarded) is None
    kept = images.login(guarded, registries.USER, registries.PASSWORD)
    assert os.stat(kept).st_mode & 0o777 == 0o600
    images.push("five:oci", f"{guarded}/five:1")
    peers.run("skopeo", "inspect", "--authfile", kept, "--tls-verify=false", f"docker://{guarded}/five:1")
    Images(new_store()).pull(f"{guarded}/five:1")
    assert images.logout(guarded) == [kept]
    with pytest.raises(DeniedError):
        images.pull(f"{guarded}/five:1")


HELPER = """#!/bin/sh
cd "$KEPT" || exit 1
case $1 in
    store) cat > entry ;;
    get) cat > asked; cat entry 2> /dev/null || { echo credentials not found in native keychain; exit 1; } ;;
    erase) cat > /dev/null; rm -f entry ;;
esac
"""


def test_a_helper_keeps_what_files_do_not(
    store: Store, guarded: str, five: Archives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "bin/docker-credential-keychain"
    helper.parent.mkdir()
    helper.write_text(HELPER)
    helper.chmod(0o755)
    config = tmp_path / "docker/config.json"
    config.parent.mkdir()
    config.write_text('{"credsStore": "keychain"}')
    monkeypatch.delenv("REGISTRY_AUTH_FILE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"{tmp_path}/run")
    monkeypatch.setenv("DOCKER_CONFIG", str(config.parent))
    monkeypatch.setenv("KEPT", str(tmp_path))
    monkeypatch.setenv("PATH", f"{helper.parent}:{os.environ['PATH']}")
    images = Images(store)
    images.load(five.oci)
    with pytest.raises(DeniedError):
        images.push("five:oci", f"{guarded}/helped:1")
    assert images.login(guarded, registries.USER, registries.PASSWORD) == "docker-credential-keychain"
    assert config.read_text() == '{"credsStore": "keychain"}'
    images.push("five:oci", f"{guarded}/helped:1")
    assert (tmp_path / "asked").read_text() == guarded
    assert images.logout(guarded) == ["docker-credential-keychain"]
    with pytest.raises(DeniedError):
        images.pull(f"{guarded}/helped:1")


def test_who_one_is_for_skopeo_is_who_one_is(
    store: Store, guarded: str, five: Archives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = f"{tmp_path}/skopeo.json"
    words = ("--tls-verify=false", "-u", registries.USER, "-p", registries.PASSWORD, guarded)
    peers.run("skopeo", "login", "--authfile", kept, *words)
    monkeypatch.setenv("REGISTRY_AUTH_FILE", kept)
    images = Images(store)
    images.load(five.oci)
    images.push("five:oci", f"{guarded}/skopeo:1")
    assert images.logout(guarded) == [kept]
    monkeypatch.setenv("REGISTRY_AUTH_FILE", f"{tmp_path}/none.json")
    with pytest.raises(DeniedError):
        images.pull(f"{guarded}/skopeo:1")


def test_bearer_tokens(store: Store, proxy: Proxy) -> None:
    proxy.wants_token = True
    images = Images(store)
    with pytest.raises(DeniedError):
        images.pull(f"{proxy.address}/five:gzip")
    images.login(proxy.address, registries.USER, registries.PASSWORD)
    proxy.tokens_for.clear()
    images.pull(f"{proxy.address}/five:gzip")
    assert len(proxy.tokens_for) == 1
    assert "service=test" in proxy.tokens_for[0]
    assert "repository%3Afive%3Apull" in proxy.tokens_for[0]
    images.push(f"{proxy.address}/five:gzip", f"{proxy.address}/token-{os.urandom(4).hex()}:1")
    assert any("pull%2Cpush" in path for path in proxy.tokens_for)


def test_a_mirror_is_asked_first_and_may_fail(store: Store, registry: str, proxy: Proxy) -> None:
    with open(f"{store.layout.root}/registries.toml", "w", encoding="utf-8") as file:
        file.write(f'[registries."{registry}"]\nmirrors = ["http://127.0.0.1:1", "http://{proxy.address}"]\n')
    names = [each.name for each in Images(store).pull(f"{registry}/five:gzip")]
    assert names == [f"{registry}/five:gzip"]
    assert proxy.count("GET", "/blobs/") == 6
    proxy.misbehave = lambda asked, answer: Answer(404, {}, b"")
    Images(store).pull(f"{registry}/five:zstd")


def test_an_unknown_image_and_a_registry_that_is_not_there(store: Store, registry: str) -> None:
    with pytest.raises(NotFoundError, match="nothing:here"):
        Images(store).pull(f"{registry}/nothing:here")
    with pytest.raises(RegistryError, match="cannot reach"):
        Images(store).pull("127.0.0.1:1/nothing")


def test_progress_is_told_layer_by_layer(store: Store, registry: str) -> None:
    seen: list[Progress] = []
    Images(store).pull(f"{registry}/five:gzip", progress=seen.append)
    last = {progress.step: progress for progress in seen}
    assert sorted(step.split()[0] for step in last) == ["downloading"] * 5 + ["unpacking"] * 5
    assert all(progress.done == progress.total for progress in last.values())


def test_the_command_line(root: Root, registry: str) -> None:
    cowl = roots.command_line(root)
    assert cowl("pull", "-q", f"{registry}/five:gzip").stdout == f"{registry}/five:gzip\n"
    assert cowl("push", "-q", f"{registry}/five:gzip", f"{registry}/cli:1").stdout == f"{registry}/cli:1\n"
    shown = json.loads(cowl("pull", "--json", f"{registry}/cli:1").stdout)
    digest = documents.digest_of(raw(f"{registry}/five:gzip"))
    assert shown == [{"name": f"{registry}/cli:1", "manifest_digest": digest, "up_to_date": False}]
