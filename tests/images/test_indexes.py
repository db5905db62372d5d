"""Images for several machines: one of them, or all, in and out with the index bit for bit."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from engine.errors import InUseError, NotFoundError, UsageError
from engine.images.images import Images
from engine.oci import documents
from engine.store import indexes, records
from engine.store.store import Store
from tests.images import peers, registries, stores
from tests.images.registries import PLAIN, Proxy, raw
from tests.images.stores import Archives

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.peers("docker-registry", "skopeo", "umoci"),
    pytest.mark.usefixtures("nobody"),
]

ATTESTED = {"os": "unknown", "architecture": "unknown"}


class Multi(NamedTuple):
    """An image for this machine, arm/v6 and arm64, with an attestation, as BuildKit makes them."""

    name: str
    body: bytes
    host: str
    arm64: str

    @property
    def digest(self) -> str:
        return documents.digest_of(self.body)


@pytest.fixture(scope="module")
def multi(registry: str, five: Archives, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Multi]:
    other = f"{tmp_path_factory.mktemp('multi')}/other"
    peers.run("cp", "-a", five.layout, other)
    host, _ = documents.platform_of_host()
    entries = []
    for architecture, variant in (("arm", "v6"), ("arm64", ""), (host, "")):
        words = ("--architecture", architecture, "--config.label", f"for={architecture}")
        peers.run("umoci", "config", "--image", f"{other}:five", *words)
        peers.run("skopeo", "copy", "-q", *PLAIN, f"oci:{other}:five", f"docker://{registry}/multi:x")
        body = raw(f"{registry}/multi:x")
        platform = {"os": "linux", "architecture": architecture, **({"variant": variant} if variant else {})}
        entries.append({**entry(body), "platform": platform})
    attestation = _attestation(registry)
    entries.append({**entry(attestation), "platform": ATTESTED})
    index = documents.encode(documents.index_document(entries))
    registries.put(registry, "multi/manifests/all", index, documents.OCI_INDEX)
    yield Multi(f"{registry}/multi", index, str(entries[2]["digest"]), str(entries[1]["digest"]))


def entry(body: bytes) -> dict[str, object]:
    return documents.descriptor(documents.OCI_MANIFEST, documents.digest_of(body), len(body))


def _attestation(registry: str) -> bytes:
    """A manifest whose layer is a statement and no tar."""
    blobs = (b"{}", b'{"_type": "https://in-toto.io/Statement/v0.1"}')
    for blob in blobs:
        registries.put_blob(registry, "multi", blob)
    config, layer = (documents.digest_of(blob) for blob in blobs)
    document = documents.manifest_document(
        documents.descriptor(documents.OCI_CONFIG, config, len(blobs[0])),
        [documents.descriptor("application/vnd.in-toto+json", layer, len(blobs[1]))],
    )
    body = documents.encode(document)
    registries.put(registry, f"multi/manifests/{documents.digest_of(body)}", body, documents.OCI_MANIFEST)
    return body


def test_the_image_for_a_platform(store: Store, multi: Multi) -> None:
    images = Images(store)
    tag = f"{multi.name}:all"
    assert [each.name for each in images.pull(tag)] == [tag]
    assert images.get(tag).manifest_digest == multi.host
    assert images.get(f"{multi.name}@{multi.digest}").manifest_digest == multi.host
    images.pull(tag, platform="linux/arm64")
    assert images.get(tag).manifest_digest == multi.arm64
    assert images.get(f"{multi.name}@{multi.digest}").manifest_digest == multi.host
    images.pull(tag, platform="linux/arm/v6")
    assert images.get(tag).config["architecture"] == "arm"
    with pytest.raises(NotFoundError, match="linux/arm64"):
        images.pull(tag, platform="linux/s390x")
    with pytest.raises(NotFoundError, match="is not for"):
        images.pull(f"{multi.name}@{multi.arm64}", platform="linux/s390x")
    with pytest.raises(UsageError):
        images.pull(tag, platform="linux/arm64", all_platforms=True)


def test_an_image_is_found_by_the_digest_of_its_index(store: Store, multi: Multi) -> None:
    images = Images(store)
    name = f"{multi.name}@{multi.digest}"
    assert [each.name for each in images.pull(name)] == [f"{multi.name}@{multi.host}"]
    assert images.get(name).manifest_digest == multi.host
    assert images.resolve(name).chain_id == images.get(name).chain_id
    images.prune()
    with pytest.raises(NotFoundError):
        images.get(name)
    assert store.connection.execute("SELECT count(*) FROM indexes").fetchone() == (0,)


def test_one_platform_is_pushed_as_one_image(store: Store, multi: Multi, registry: str) -> None:
    images = Images(store)
    images.pull(f"{multi.name}:all")
    _, digest = images.push(f"{multi.name}:all", f"{registry}/single:1")
    assert digest == multi.host
    assert documents.digest_of(raw(f"{registry}/single:1")) == multi.host


def test_all_platforms_come_and_go_bit_for_bit(
    store: Store, multi: Multi, registry: str, tmp_path: Path
) -> None:
    images = Images(store)
    names = [each.name for each in images.pull(f"{multi.name}:all", all_platforms=True)]
    assert names[0] == f"{multi.name}:all"
    assert len(names) == 3
    assert images.get(names[0]).manifest_digest == multi.host
    assert stores.problems(store) == []
    there, digest = images.push(names[0], f"{registry}/whole-{os.urandom(4).hex()}:1")
    assert digest == multi.digest
    assert raw(there) == multi.body
    for each in json.loads(multi.body)["manifests"]:
        name = f"{there.rpartition(':')[0]}@{each['digest']}"
        assert raw(name) == raw(f"{multi.name}@{each['digest']}")
    copy = ("skopeo", "copy", "-q", "--all", "--src-tls-verify=false")
    peers.run(*copy, f"docker://{there}", f"dir:{tmp_path}/copy")
    images.push(names[0], f"{registry}/part:1", platform="linux/arm64")
    assert documents.digest_of(raw(f"{registry}/part:1")) == multi.arm64
    images.tag(names[0], f"{registry}/named:2")
    assert images.push(f"{registry}/named:2")[1] == multi.digest


def test_a_whole_index_elsewhere_is_mounted(store: Store, multi: Multi, proxy: Proxy) -> None:
    images = Images(store)
    images.pull(f"{proxy.address}/multi:all", all_platforms=True)
    images.push(f"{proxy.address}/multi:all", f"{proxy.address}/mounted-{os.urandom(4).hex()}:1")
    assert proxy.count("POST", "mount=sha256:") == 5 + 3 + 2  # layers, configurations, the attestation's
    assert proxy.count("PUT", "/blobs/") == 0


@pytest.mark.peers("buildah")
def test_what_buildah_made_for_two_machines(
    store: Store, registry: str, five: Archives, tmp_path: Path
) -> None:
    own = ["buildah", "--root", f"{tmp_path}/root", "--runroot", f"{tmp_path}/run", "--storage-driver", "vfs"]
    peers.run(*own, "manifest", "create", "two")
    for architecture in ("arm64", "s390x"):
        other = f"{tmp_path}/{architecture}"
        peers.run("cp", "-a", five.layout, other)
        peers.run("umoci", "config", "--image", f"{other}:five", "--architecture", architecture)
        peers.run(*own, "manifest", "add", "two", f"oci:{other}:five")
    words = ("--all", "--tls-verify=false", "two", f"docker://{registry}/buildah:two")
    peers.run(*own, "manifest", "push", "-q", *words)
    images = Images(store)
    names = [each.name for each in images.pull(f"{registry}/buildah:two", all_platforms=True)]
    assert {images.get(name).config["architecture"] for name in names} == {"arm64", "s390x"}
    there, _ = images.push(names[0], f"{registry}/buildah-copy:1")
    assert raw(there) == raw(f"{registry}/buildah:two")


def test_removing_the_name_removes_all_platforms(store: Store, multi: Multi) -> None:
    images = Images(store)
    tag = f"{multi.name}:all"
    images.pull(tag, all_platforms=True)
    images.prune()
    with store.read() as connection:
        assert len(indexes.companions(connection, [tag])) == 3
    images.tag(tag, "kept:1")
    images.remove([tag])
    with store.read() as connection:
        assert records.manifest_row(connection, multi.arm64) is not None
    stores.new_container(store, "user", f"{multi.name}@{multi.host}")
    with pytest.raises(InUseError):
        images.remove(["kept:1"])
    stores.remove_container(store, "user")
    images.remove(["kept:1"])
    assert not images.has_any()
    assert stores.problems(store) == []
    assert store.connection.execute("SELECT count(*) FROM indexes").fetchone() == (0,)


def test_a_tag_that_moved_has_no_index_any_more(store: Store, multi: Multi, registry: str) -> None:
    images = Images(store)
    tag = f"{multi.name}:all"
    images.pull(tag, all_platforms=True)
    images.pull(f"{registry}/five:gzip")
    images.tag(f"{registry}/five:gzip", tag)
    _, digest = images.push(tag, f"{registry}/moved:1")
    assert digest == images.get(f"{registry}/five:gzip").manifest_digest


STRANGE = ["file:///etc/passwd", "http://[::/no-address", "http://127.0.0.1:1/gone"]


@pytest.mark.parametrize("before", [STRANGE[2:], STRANGE])
def test_layers_that_are_kept_elsewhere(store: Store, registry: str, before: list[str]) -> None:
    manifest = json.loads(raw(f"{registry}/five:docker"))
    layer = manifest["layers"][0]
    layer["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    with registries.proxy(registry) as elsewhere, registries.proxy(registry) as front:
        layer["urls"] = [*before, f"http://{elsewhere.address}/v2/five/blobs/{layer['digest']}"]
        body = documents.encode(manifest)
        kind = {"Content-Type": documents.DOCKER_MANIFEST}

        def misbehave(asked: registries.Asked, answer: registries.Answer) -> registries.Answer | None:
            if "/manifests/" in asked.path and asked.method == "GET":
                return registries.Answer(200, kind, body)
            return registries.Answer(404, {}, b"") if layer["digest"] in asked.path else None

        front.misbehave = misbehave
        images = Images(store)
        images.pull(f"{front.address}/five:foreign")
        assert elsewhere.count("GET", layer["digest"]) == 1
        if before is STRANGE:  # docker-registry takes no manifest with such
            return
        elsewhere.asked.clear()
        _, digest = images.push(f"{front.address}/five:foreign", f"{elsewhere.address}/foreign:1")
        assert digest == documents.digest_of(body)
        assert not [asked for asked in elsewhere.asked if layer["digest"] in asked.path]
        assert raw(f"{registry}/foreign:1") == body
