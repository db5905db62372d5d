"""Images in docker's words, for ``--format``: the fields of `images`, `history` and `inspect`."""

from __future__ import annotations

from typing import NamedTuple

from engine.cli import output
from engine.cli.templates import Known
from engine.model import JSON

NONE = "<none>"
MISSING = "<missing>"
TITLES = {
    "ID": "CHAIN ID",
    "CreatedAt": "CREATED AT",
    "CreatedSince": "CREATED",
    "CreatedBy": "CREATED BY",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
}
_UNKNOWN = "N/A"


class Listed(NamedTuple):
    """An image as a list shows it."""

    name: str
    """Empty for one that has none."""
    chain_id: str
    manifest: str
    created: str
    size: int
    """Bytes of all its layers."""
    containers: int
    config: JSON

    @property
    def labels(self) -> JSON:
        """Those of its configuration."""
        return (self.config.get("config") or {}).get("Labels") or {}

    @property
    def repository(self) -> str:
        """Its name without the tag."""
        return self.name.rpartition(":")[0]


def row(image: Listed, *, whole: bool = False) -> Known:
    """An image as ``images --format`` knows it."""
    repository, _, tag = image.name.rpartition(":")
    created = output.age_text(image.created)
    return Known(
        Repository=repository or NONE,
        Tag=tag or NONE,
        Digest=image.manifest or NONE,
        ID=image.chain_id if whole else output.short(image.chain_id),
        CreatedSince=f"{created} ago" if created else _UNKNOWN,
        CreatedAt=image.created or _UNKNOWN,
        Size=output.size_text(image.size),
        VirtualSize=output.size_text(image.size),
        SharedSize=_UNKNOWN,
        UniqueSize=_UNKNOWN,
        Containers=str(image.containers),
    )


def step(entry: JSON, *, whole: bool, human: bool) -> Known:
    """One step of a history as ``history --format`` knows it."""
    created = output.age_text(entry["created"])
    size = entry["size"] or 0
    words = entry["created_by"] or ""
    identity = entry["chain_id"] or MISSING
    return Known(
        ID=identity if whole or not entry["chain_id"] else output.short(identity),
        CreatedAt=entry["created"] or "",
        CreatedSince=f"{created} ago" if created else _UNKNOWN,
        CreatedBy=words if whole or len(words) <= 45 else f"{words[:44]}…",
        Size=output.size_text(size) if human else str(size),
        Comment=entry["comment"] or "",
        Tags=entry["tags"],
    )


def inspected(found: JSON) -> Known:
    """The document of `inspect` of an image, with docker's fields before cowl's own.

    Its ``config`` holds what docker's ``Config`` is as well as what else an image's configuration says.
    """
    whole = found["config"]
    inner = whole.get("config") or {}
    digest = found["manifest_digest"]
    names = {name.rpartition(":")[0]: None for name in found["tags"]}
    return Known(
        {
            **found,
            "Id": digest or found["chain_id"],
            "RepoTags": found["tags"],
            "RepoDigests": [f"{name}@{digest}" for name in names] if digest else [],
            "Parent": found["parent"] or "",
            "Comment": found["comment"],
            "Created": whole.get("created") or found["created"],
            "Author": whole.get("author") or "",
            "Architecture": whole.get("architecture") or "",
            "Variant": whole.get("variant") or "",
            "Os": whole.get("os") or "",
            "Size": found["total_size"],
            "VirtualSize": found["total_size"],
            "RootFS": Known(Type="layers", Layers=(whole.get("rootfs") or {}).get("diff_ids") or []),
            "Config": Known({name: inner.get(name) for name in _CONFIG} | inner),
        }
    )


_CONFIG = (
    *("Cmd", "Entrypoint", "Env", "ExposedPorts", "Healthcheck", "Labels", "OnBuild", "Shell", "StopSignal"),
    *("User", "Volumes", "WorkingDir"),
)
