"""Documents of others are taken as the specifications say, and not in two ways at once."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ArchiveError
from engine.oci import documents
from engine.oci.documents import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, chain_ids

DIGEST = "sha256:" + "a" * 64
CONFIG = {"mediaType": OCI_CONFIG, "digest": DIGEST, "size": 2}
LAYER = {"mediaType": OCI_LAYER, "digest": DIGEST, "size": 3}
MANIFEST = {"schemaVersion": 2, "config": CONFIG, "layers": [LAYER]}


def test_chain_ids_are_those_of_the_specification() -> None:
    """image-spec, config.md: the chain of one layer is its diff ID, of more the digest of both."""
    one, two, three = (f"sha256:{digit * 64}" for digit in "123")
    below = documents.digest_of(f"{one} {two}".encode())
    assert chain_ids([one, two, three]) == [one, below, documents.digest_of(f"{below} {three}".encode())]
    assert chain_ids([]) == []


def test_a_manifest_with_unknown_fields_is_fine() -> None:
    body = json.dumps(
        {**MANIFEST, "mediaType": OCI_MANIFEST, "annotations": {"a": "b"}, "later": [1]}
    ).encode()
    manifest = documents.decode_manifest(body, OCI_MANIFEST)
    assert manifest.layers[0].size == 3


@pytest.mark.parametrize(
    "change",
    [
        {"schemaVersion": 1},
        {"manifests": []},
        {"mediaType": OCI_INDEX},
        {"layers": [LAYER] * 129},
        {"layers": [{**LAYER, "digest": "sha256:../../etc/passwd"}]},
        {"layers": [{**LAYER, "digest": "sha512:" + "a" * 128}]},
        {"layers": [{**LAYER, "size": -1}]},
        {"layers": [{**LAYER, "size": "3"}]},
        {"layers": None},
        {"config": {**CONFIG, "mediaType": "application/vnd.cncf.helm.config.v1+json"}},
    ],
    ids=str,
)
def test_what_is_no_manifest(change: dict[str, object]) -> None:
    with pytest.raises(ArchiveError):
        documents.decode_manifest(json.dumps({**MANIFEST, **change}).encode(), OCI_MANIFEST)


@pytest.mark.parametrize(
    "change", [{"layers": [LAYER]}, {"config": CONFIG}, {"mediaType": OCI_MANIFEST}, {"manifests": 1}]
)
def test_what_is_no_index(change: dict[str, object]) -> None:
    """An index that is a manifest as well means different images to different readers (CVE-2021-41190)."""
    with pytest.raises(ArchiveError):
        documents.decode_index(json.dumps({"schemaVersion": 2, "manifests": [], **change}).encode())


def test_a_configuration_has_to_fit_its_manifest() -> None:
    body = json.dumps({"rootfs": {"type": "layers", "diff_ids": [DIGEST]}}).encode()
    assert documents.decode_config(body, 1).rootfs.diff_ids == [DIGEST]
    for other in (0, 2):
        with pytest.raises(ArchiveError):
            documents.decode_config(body, other)
    with pytest.raises(ArchiveError, match="no layer"):
        documents.decode_config(b'{"rootfs": {"type": "layers", "diff_ids": []}}', 0)
    with pytest.raises(ArchiveError, match="rootfs"):
        documents.decode_config(b'{"rootfs": {"type": "other", "diff_ids": []}}', 0)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_noise_is_refused_in_one_line(body: bytes) -> None:
    with pytest.raises(ArchiveError) as caught:
        documents.decode_manifest(body, OCI_MANIFEST)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("1" * 5000, "digits"),
        ("1e999", "too large"),
        ("NaN", "NaN"),
        ("-Infinity", "Infinity"),
        ("[" * 101 + "]" * 101, "nested"),
        ('{"a":1,"b":2,"a":3}', "'a' twice"),
        ('"\\ud800"', "character"),
        ('{"\\udfff":1}', "character"),
        ("01", "not valid"),
        ("tru", "not valid"),
    ],
)
def test_what_two_readers_could_read_in_two_ways_is_refused(value: str, why: str) -> None:
    body = json.dumps({"rootfs": {"type": "layers", "diff_ids": [DIGEST]}, "x": 0})
    assert documents.decode_config(body.encode(), 1)
    with pytest.raises(ArchiveError, match=why):
        documents.decode_config(body.replace(": 0}", f": {value}}}").encode(), 1)
    with pytest.raises(ArchiveError, match="UTF-8"):
        documents.decode_config(body.replace(": 0}", ': "\xff"}').encode("latin-1"), 1)


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(ArchiveError):
        documents.decode_config(b'{"rootfs":' + b"[" * 200_000, 1)


@pytest.mark.parametrize(
    ("docker", "oci"),
    [
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", f"{OCI_LAYER}+gzip"),
        ("application/vnd.docker.image.rootfs.diff.tar", OCI_LAYER),
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        ),
        (f"{OCI_LAYER}+zstd", f"{OCI_LAYER}+zstd"),
    ],
)
def test_media_types_of_docker_in_manifests_of_ours(docker: str, oci: str) -> None:
    assert documents.oci_media_type(docker) == oci
