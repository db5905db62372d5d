"""The documents of images, decoded strictly: OCI image-spec 1.1, docker's schema 2 and docker-archive's
manifest.json.

Unknown fields are allowed, as the specifications ask for; wrong types, impossible digests and documents that
could be read as two things at once (CVE-2021-41190) are not. Importing this module brings msgspec: not for
the launch path.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated, Any, TypeVar

import msgspec

from engine.errors import ArchiveError
from engine.model import JSON
from engine.oci import strictjson

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, DOCKER_LIST)
CONFIGS = (OCI_CONFIG, DOCKER_CONFIG)

MAX_DOCUMENT = 8 << 20
"""Bytes: twice what registries take."""
MAX_LAYERS = 128
"""As many as docker allows, and as overlayfs is asked to stack."""

Digest = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
_Two = Annotated[int, msgspec.Meta(ge=2, le=2)]


class Platform(msgspec.Struct, frozen=True):
    """Which machine a manifest of an index is for."""

    architecture: str = ""
    os: str = ""
    variant: str = ""


class Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    """A reference to a blob: what it is, its digest, its bytes."""

    media_type: str
    digest: Digest
    size: Size
    platform: Platform | None = None
    urls: list[str] | None = None
    annotations: dict[str, str] | None = None


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """One image: a configuration and layers, bottom first."""

    schema_version: _Two
    config: Descriptor
    layers: Annotated[list[Descriptor], msgspec.Meta(max_length=MAX_LAYERS)]
    media_type: str = ""
    manifests: msgspec.UnsetType | None = msgspec.UNSET


class Index(msgspec.Struct, frozen=True, rename="camel"):
    """Several manifests: an image for several machines, or a layout with several images."""

    schema_version: _Two
    manifests: list[Descriptor]
    media_type: str = ""
    layers: msgspec.UnsetType | None = msgspec.UNSET
    config: msgspec.UnsetType | None = msgspec.UNSET


class RootFs(msgspec.Struct, frozen=True):
    """The layers of an image by the digest of their plain tar."""

    type: str = "layers"
    diff_ids: list[Digest] = []


class History(msgspec.Struct, frozen=True):
    """How one layer came about."""

    created: str | None = None
    created_by: str | None = None
    author: str | None = None
    comment: str | None = None
    empty_layer: bool = False


class ImageConfig(msgspec.Struct, frozen=True):
    """What cowl itself needs of an image configuration; the document is kept as it came."""

    rootfs: RootFs
    history: list[History] | None = None
    created: str | None = None
    architecture: str = ""
    os: str = ""
    variant: str = ""
    config: dict[str, Any] | None = None


class DockerImage(msgspec.Struct, frozen=True, rename="pascal"):
    """One entry of docker-archive's manifest.json."""

    config: str
    layers: Annotated[list[str], msgspec.Meta(max_length=MAX_LAYERS)] | None = None
    repo_tags: list[str] | None = None


class LayoutFile(msgspec.Struct, frozen=True, rename="camel"):
    """The file ``oci-layout``."""

    image_layout_version: str


_T = TypeVar("_T")


def decode(body: bytes, kind: type[_T], what: str) -> _T:
    """The document *body* as a *kind*. Raises ArchiveError, which calls it *what*."""
    try:
        strictjson.check(body)
        return msgspec.json.decode(body, type=kind)
    except (strictjson.StrictError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ArchiveError(f"{what} is not valid", str(error)) from error


def decode_manifest(body: bytes, media_type: str) -> Manifest:
    """An image manifest that was announced as *media_type*. Raises ArchiveError."""
    manifest = decode(body, Manifest, "the manifest")
    if manifest.media_type not in ("", media_type):
        raise ArchiveError(
            "the manifest is not valid", f"it says it is {manifest.media_type}, not {media_type}"
        )
    if manifest.config.media_type not in CONFIGS:
        raise ArchiveError(
            "this is not a container image", f"its configuration is of the type {manifest.config.media_type}"
        )
    return manifest


def decode_index(body: bytes, media_type: str = OCI_INDEX) -> Index:
    """An index that was announced as *media_type*. Raises ArchiveError."""
    index = decode(body, Index, "the index")
    if index.media_type not in ("", media_type):
        raise ArchiveError("the index is not valid", f"it says it is {index.media_type}, not {media_type}")
    return index


def decode_config(body: bytes, layers: int) -> ImageConfig:
    """The configuration of an image of so many *layers*. Raises ArchiveError."""
    config = decode(body, ImageConfig, "the image configuration")
    if config.rootfs.type != "layers":
        raise ArchiveError(
            "the image configuration is not valid", f"its rootfs is of the type {config.rootfs.type}"
        )
    if len(config.rootfs.diff_ids) != layers:
        raise ArchiveError(
            "the image configuration is not valid",
            f"it speaks of {len(config.rootfs.diff_ids)} layers, the manifest of {layers}",
        )
    if not layers:
        raise ArchiveError("the image has no layer", "there is nothing to run or build on")
    return config


def encode(document: object) -> bytes:
    """*document* as cowl writes it: compact, keys as given; equal documents have equal digests."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def digest_of(body: bytes) -> str:
    """The digest of *body*."""
    return f"sha256:{sha256(body).hexdigest()}"


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """The chain ID of each layer, bottom first (image-spec, config.md, "Layer ChainID")."""
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(digest_of(f"{chain[-1]} {diff_id}".encode("ascii")) if chain else diff_id)
    return chain


def descriptor(media_type: str, digest: str, size: int) -> JSON:
    """A descriptor to write."""
    return {"mediaType": media_type, "digest": digest, "size": size}


def manifest_document(config: JSON, layers: Sequence[JSON]) -> JSON:
    """An OCI manifest to write, from descriptors."""
    return {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": list(layers)}


def index_document(manifests: Sequence[JSON]) -> JSON:
    """An OCI index to write, from descriptors."""
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(manifests)}


def oci_media_type(media_type: str) -> str:
    """What OCI calls a layer that docker calls *media_type*: a manifest may not mix the two."""
    docker = "application/vnd.docker.image.rootfs."
    if not media_type.startswith(docker):
        return media_type
    kind = "nondistributable.v1.tar" if media_type.startswith(f"{docker}foreign") else "v1.tar"
    base = OCI_LAYER.removesuffix("v1.tar") + kind
    return f"{base}+{codec}" if (codec := media_type.partition(".tar.")[2]) else base


def platform_of_host() -> tuple[str, str]:
    """Architecture (as GOARCH spells it) and variant of this machine."""
    import os

    machine = os.uname().machine
    known = {
        "x86_64": ("amd64", ""),
        "aarch64": ("arm64", "v8"),
        "armv7l": ("arm", "v7"),
        "armv6l": ("arm", "v6"),
        "i686": ("386", ""),
        "ppc64le": ("ppc64le", ""),
        "s390x": ("s390x", ""),
        "riscv64": ("riscv64", ""),
    }
    return known.get(machine, (machine, ""))
