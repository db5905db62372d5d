"""What a check of the store found, and what became of it."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

DamageKind: TypeAlias = Literal[
    "records",
    "link",
    "index",
    "manifest",
    "tag",
    "node",
    "layer",
    "blob",
    "container",
    "stray",
    "permissions",
]
Mend: TypeAlias = Literal["restore", "remove", "none"]


class Damage(NamedTuple):
    """One thing that is not as it should be."""

    kind: DamageKind
    subject: str
    """The digest, chain ID, container ID, tag, path or table that it is about."""
    what: str
    """What is wrong: the beginning of a sentence."""
    why: str
    """How that shows."""
    path: str
    """Where; empty for what is in the records only."""
    hint: str
    """What one can do."""
    mend: Mend
    """What a repair does: make it whole again, take away what nothing can restore, or nothing."""
    images: tuple[str, ...] = ()
    """Names of the images that it touches."""
    containers: tuple[str, ...] = ()
    """Names of the containers that it touches."""


class Mended(NamedTuple):
    """What a repair did about one damage."""

    damage: Damage
    how: str
    """A sentence fragment."""
    removed: tuple[str, ...] = ()
    """What was taken away, one by one: tags, images, blobs, directories."""


class CheckReport(NamedTuple):
    """A store, looked through."""

    damage: tuple[Damage, ...]
    """What is wrong now: after a repair, what it could not mend."""
    mended: tuple[Mended, ...]
    swept: tuple[str, ...]
    """Paths that no record named and nobody worked on, taken away when the store was opened: a crash left
    them.
    """
    nodes: int
    nodes_size: int
    """Bytes of files that were compared."""
    blobs: int
    blobs_size: int
    manifests: int
    containers: int
    seconds: float

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong (any more)."""
        return not self.damage
