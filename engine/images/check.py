"""The store gone through: every record against every other, every blob and tree against what it has to be.

Others may work on the store meanwhile. What is found is therefore looked at once more while nobody can
publish or remove (the write lock): damage is what a record promises even then and the disk does not keep. A
tree or blob that was put there in the meantime was verified by whoever put it there.
"""

from __future__ import annotations

import os
import time
from _sqlite3 import Connection
from collections.abc import Sequence
from typing import NamedTuple

from engine.images import inventory, mending
from engine.images.consistency import broken_records
from engine.images.damage import CheckReport, Damage, Mend, Mended
from engine.images.inventory import Inventory
from engine.images.packing import rewritten
from engine.images.premises import broken_premises
from engine.images.verifying import BlobJob, LayerJob, Verdict, layer_job, verify
from engine.images.workers import run_all
from engine.model import Progress, ProgressCallback
from engine.store import events, records
from engine.store.staging import Area, staging, staging_area
from engine.store.store import Store

ALONE = 64 << 20
"""Bytes up to which this process looks through everything itself: to start others takes as long."""
ALONE_FILES = 4000
ROUNDS = 4
"""How often a repair looks again: what was hidden by one damage shows when that is mended."""


class Looked(NamedTuple):
    """One look at everything."""

    damage: list[Damage]
    inventory: Inventory
    nodes_size: int
    blobs_size: int


def check(
    store: Store,
    *,
    repair: bool,
    quiet: mending.Quiet,
    progress: ProgressCallback | None = None,
) -> CheckReport:
    """Go through *store*; with *repair*, mend what can be mended and take away what nothing can restore.

    An image that has lost a blob stays, as its layers run. What was mended is told as events.
    Raises StoreError, NoSpaceError (a layer of others is unpacked once more to be compared).
    """
    began = time.monotonic()
    mended: list[Mended] = []
    rounds = ROUNDS if repair else 1
    while True:
        rounds -= 1
        with staging_area(store.layout) as area:
            looked = _Look(store, area, progress).all()
        done = mending.mend(store, looked.inventory, looked.damage, quiet) if rounds else []
        _tell(store, done)
        mended += done
        if not done:
            break
    found = looked.inventory
    return CheckReport(
        tuple(looked.damage),
        tuple(mended),
        store.swept,
        len(found.nodes),
        looked.nodes_size,
        len(found.kept()),
        looked.blobs_size,
        len(found.manifests),
        len(found.containers),
        time.monotonic() - began,
    )


def _tell(store: Store, mended: Sequence[Mended]) -> None:
    """Note what was mended, with what it touches first."""
    for damage, how, removed in mended:
        kind, identity, names = "image", "", damage.images
        if damage.kind in ("layer", "node"):
            identity = damage.subject
        elif damage.kind == "container":
            kind, identity, names = "container", damage.subject, damage.containers
        elif damage.kind not in ("blob", "manifest", "tag"):
            kind = "store"
        more = {"removed": ", ".join(removed)} if removed else {}
        name = names[0] if names else damage.subject
        events.record(store.layout, kind, "repair", identity, name, what=damage.what, how=how, **more)


class _Look:
    """One look at everything; what has to be unpacked for it is, in the staging *area*."""

    def __init__(self, store: Store, area: Area, progress: ProgressCallback | None) -> None:
        self._store = store
        self._layout = store.layout
        self._area = area
        self._progress = progress
        self._done = 0
        self._total = 0

    def all(self) -> Looked:
        """Everything."""
        found = inventory.take(self._store)
        damage = broken_records(self._store, found)
        content, sizes = self._content(found)
        with self._store.write() as connection:
            damage += [seen[0] for seen in content if self._is_still(connection, seen)]
        damage += broken_premises(self._store, found)
        return Looked(damage, found, *sizes)

    # Content

    def _content(self, found: Inventory) -> tuple[list[tuple[Damage, int]], tuple[int, int]]:
        """What is wrong with blobs and trees, each with the inode that it was seen at."""
        jobs: list[BlobJob | LayerJob] = []
        sizes: list[int] = []
        subjects: list[tuple[str, int]] = []
        gone: list[tuple[Damage, int]] = []
        for digest, (_, row) in sorted(found.kept().items()):
            path = self._layout.blob(digest)
            inode = _inode(path)
            if inode:
                jobs.append(BlobJob(path, digest, row.blob_size))
                sizes.append(row.blob_size)
                subjects.append((digest, inode))
            else:
                gone.append((self._blob(found, digest, path, "it is not there"), 0))
        for node in found.parents_first():
            inode = _inode(self._layout.tree(node.chain_id))
            jobs.append(layer_job(self._layout, found, node.chain_id, self._area.path))
            sizes.append(node.size)
            subjects.append((node.chain_id, inode))
        self._total = sum(sizes)
        alone = self._total < ALONE and sum(n.file_count for n in found.nodes.values()) < ALONE_FILES
        verdicts = self._verify(jobs, sizes, alone)
        damage = self._judged(found, list(zip(jobs, subjects, verdicts, strict=True)))
        blobs_size = sum(v.size for j, v in zip(jobs, verdicts, strict=True) if isinstance(j, BlobJob))
        nodes_size = sum(v.size for j, v in zip(jobs, verdicts, strict=True) if isinstance(j, LayerJob))
        return [*gone, *damage], (nodes_size, blobs_size)

    def _verify(self, jobs: Sequence[BlobJob | LayerJob], sizes: Sequence[int], alone: bool) -> list[Verdict]:
        if alone:
            return [verify(job, self._advance) for job in jobs]
        done = run_all("engine.images.verifying", jobs, sizes, self._area.lock, self._advance)
        return [Verdict(*each) for each in done]

    def _advance(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(Progress("comparing", self._done, max(self._total, self._done)))

    def _judged(
        self, found: Inventory, results: Sequence[tuple[BlobJob | LayerJob, tuple[str, int], Verdict]]
    ) -> list[tuple[Damage, int]]:
        damage: list[tuple[Damage, int]] = []
        sound: set[str] = set()
        wrong: set[str] = set()
        right: dict[str, str] = {}
        for job, (subject, inode), verdict in results:  # blobs first, then layers, parents first
            is_on_wrong = not isinstance(job, BlobJob) and found.nodes[subject].parent in wrong
            if verdict.state == "sound":
                sound.add(subject)
                if not isinstance(job, BlobJob) and not is_on_wrong:
                    right[subject] = verdict.digest
                    damage += [(each, inode) for each in _figures_damage(found, subject, verdict)]
            elif isinstance(job, BlobJob):
                damage.append((self._blob(found, subject, job.path, verdict.why), inode))
            elif verdict.state == "unknown":
                continue  # its blob is damaged, which is said already
            elif is_on_wrong and verdict.state == "different" and subject not in found.trees:
                wrong.add(subject)  # what it took from below may be wrong: judged when that is mended
            else:
                wrong.add(subject)
                why = verdict.why if inode else "it is not there"
                is_restorable, later = verdict.is_restorable, ""
                if is_on_wrong:
                    is_restorable = job.blob_digest in sound
                    later = "" if is_restorable else "what is below it has to be mended first"
                elif not is_restorable and job.blob_digest in sound:
                    later = "its blob could not be unpacked: try again"
                damage.append((_layer_damage(found, subject, job.tree, why, is_restorable, later), inode))
        self._remember(found, right)
        return damage

    def _blob(self, found: Inventory, digest: str, path: str, why: str) -> Damage:
        _, row = found.kept()[digest]
        is_writable = False
        if row.chain_id in found.nodes:
            with staging(self._layout) as area:
                job = layer_job(self._layout, found, row.chain_id, area)
                is_writable = rewritten(job, digest, row.media_type, area) is not None
        return _blob_damage(found, digest, path, why, is_writable)

    def _remember(self, found: Inventory, right: dict[str, str]) -> None:
        """Record what the trees look like that are known to be right: the next check only hashes them."""
        news = {chain: digest for chain, digest in right.items() if found.trees.get(chain) != digest}
        if news:
            with self._store.write() as connection:
                for chain_id, digest in news.items():
                    records.set_tree_digest(connection, chain_id, digest)

    def _is_still(self, connection: Connection, seen: tuple[Damage, int]) -> bool:
        """Whether the record promises it even now, and the disk still has what was looked at."""
        damage, inode = seen
        if damage.kind == "blob":
            is_promised = records.is_kept(connection, damage.subject)
        else:
            is_promised = records.node_row(connection, damage.subject) is not None
        return is_promised and (not damage.path or _inode(damage.path) == inode)


def _inode(path: str) -> int:
    """What identifies a file or directory under its name; 0 for none."""
    try:
        return os.lstat(path).st_ino
    except FileNotFoundError:
        return 0


def _blob_damage(found: Inventory, digest: str, path: str, why: str, is_writable: bool) -> Damage:
    """A blob that is not what it has to be; *is_writable* says that the tree of its layer gives it again."""
    manifests = found.with_blob(digest)
    images = found.names_of(manifests)
    users = tuple(each.name for each in found.on_manifests(manifests))
    mend: Mend
    if is_writable:
        mend, hint = "restore", "cowl check --repair writes it again from its layer, byte for byte"
    else:
        mend = "remove" if os.path.lexists(path) else "none"
        hint = "pull or load the image again: until then it runs, but cannot be pushed or saved"
        if mend == "remove":
            hint = f"cowl check --repair removes these bytes and keeps the image; then {hint}"
    return Damage("blob", digest, f"the blob {digest[7:19]} is damaged", why, path, hint, mend, images, users)


def _layer_damage(
    found: Inventory, chain_id: str, path: str, why: str, is_restorable: bool, later: str
) -> Damage:
    """A layer whose tree is not what it has to be; *is_restorable* says that its blob gives it again, *later*
    why nothing can be said of that yet.
    """
    images = found.names_of(found.with_node(chain_id))
    users = tuple(each.name for each in found.on_node(chain_id))
    mend: Mend
    if later:
        mend, hint = "none", later
    elif is_restorable:
        mend, hint = "restore", "cowl check --repair unpacks it again from its blob"
        if users:
            hint += ", while these containers are stopped"
    elif not users:
        mend, hint = "remove", "cowl check --repair removes the images that need it; pull or load them again"
    else:
        mend, hint = "none", "copy what you need out of these containers and remove them"
    what = f"the layer {chain_id[7:19]} is damaged"
    return Damage("layer", chain_id, what, why, path, hint, mend, images, users)


def _figures_damage(found: Inventory, chain_id: str, verdict: Verdict) -> list[Damage]:
    """Of a layer that is sound: whether its record counts it right."""
    node = found.nodes[chain_id]
    if (node.size, node.file_count) == (verdict.size, verdict.file_count):
        return []
    return [
        Damage(
            "node",
            chain_id,
            f"the record of {chain_id[7:19]} is wrong",
            f"it says {node.size} bytes in {node.file_count} files, there are {verdict.size} in"
            f" {verdict.file_count}",
            "",
            "cowl check --repair counts anew",
            "restore",
            found.names_of(found.with_node(chain_id)),
        )
    ]
