"""One layer or blob of the store compared with what it has to be; run in worker processes.

What a layer has to be says, in this order: the digest that its tree had when it was known to be right; for a
layer that cowl made, its diff ID, as the directory gives the tar again; for a layer of others its blob, which
is unpacked once more beside it. That last one is also what the layer is restored from.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from itertools import islice
from typing import Literal, NamedTuple

from engine.errors import ArchiveError, NoSpaceError, StoreError
from engine.images.inventory import Inventory
from engine.images.serving import serve
from engine.images.unpacking import Job, unpack
from engine.layers.apply import adopt_parents
from engine.layers.tarwrite import write_layer
from engine.layers.treedigest import differences, tree_digest
from engine.store.deletion import delete_tree
from engine.store.layout import Layout

SHOWN = 10
"""Paths that are named of a layer that differs."""
_READ = 1 << 20


class BlobJob(NamedTuple):
    """A blob to be hashed."""

    path: str
    digest: str
    size: int


class LayerJob(NamedTuple):
    """A layer to be compared."""

    tree: str
    diff_id: str
    lowers: list[str]
    """Trees, top first."""
    recorded: str | None
    """The digest of the tree when it was right."""
    is_own: bool
    """Whether the tree gives its tar again."""
    blob: str | None
    blob_digest: str
    blob_size: int
    media_type: str
    fresh: str
    """A path for the layer as its blob has it, meanwhile."""


def layer_job(layout: Layout, found: Inventory, chain_id: str, area: str) -> LayerJob:
    """The job for a recorded node; *area* is a staging directory."""
    rows = found.rows_of(chain_id)
    kept = [row for row in rows if row.stored and os.path.exists(layout.blob(row.blob_digest))]
    blob = kept[0] if kept else None
    return LayerJob(
        layout.tree(chain_id),
        found.nodes[chain_id].diff_id,
        [layout.tree(each) for each in found.lineage(chain_id)[1:]],
        found.trees.get(chain_id),
        any(not row.stored for row in rows),
        layout.blob(blob.blob_digest) if blob else None,
        blob.blob_digest if blob else "",
        blob.blob_size if blob else 0,
        blob.media_type if blob else "",
        f"{area}/{chain_id.removeprefix('sha256:')}",
    )


class Verdict(NamedTuple):
    """What came of a job."""

    state: Literal["sound", "different", "unreadable", "unknown"]
    """unknown: nothing says (any more) what it has to be."""
    why: str
    digest: str = ""
    """Of what is there."""
    size: int = 0
    file_count: int = 0
    is_restorable: bool = False
    """Whether the blob gives the layer again."""


def verify_blob(job: BlobJob, advance: Callable[[int], None]) -> Verdict:
    """Whether the bytes of a blob have its digest and size."""
    hashed = sha256()
    size = 0
    try:
        with open(job.path, "rb", buffering=0) as file:
            while data := file.read(_READ):
                hashed.update(data)
                size += len(data)
                advance(len(data))
    except OSError as error:
        return Verdict("unreadable", error.strerror or str(error))
    digest = f"sha256:{hashed.hexdigest()}"
    if size != job.size:
        return Verdict("different", f"it has {size} bytes instead of {job.size}", digest, size)
    if digest != job.digest:
        return Verdict("different", f"its bytes have the digest {digest[7:19]}", digest, size)
    return Verdict("sound", "", digest, size)


def verify_layer(job: LayerJob, advance: Callable[[int], None]) -> Verdict:
    """Whether a layer's tree is what it has to be.

    Raises NoSpaceError where a layer of others has to be unpacked for that.
    """
    try:
        found = tree_digest(job.tree)
    except StoreError as error:
        return _against_blob(job, Verdict("unreadable", error.why), advance)
    advance(found.size)
    if found.digest == job.recorded:
        return Verdict("sound", "", *found)
    if job.is_own and gives_its_tar(job):
        return Verdict("sound", "", *found)
    if job.is_own:
        why = f"its files do not give the digest {job.diff_id[7:19]}"
    else:
        why = "its files are not what was unpacked"
    known = job.is_own or job.recorded is not None
    return _against_blob(job, Verdict("different" if known else "unknown", why, *found), advance)


def gives_its_tar(job: LayerJob) -> bool:
    """Whether the tree, written as a tar, has the layer's diff ID."""
    try:
        return write_layer(job.tree, None, job.lowers, job.diff_id).diff_id == job.diff_id
    except StoreError:
        return False  # one below is not there: it is judged when that is mended


def _against_blob(job: LayerJob, so_far: Verdict, advance: Callable[[int], None]) -> Verdict:
    """Compare with what the blob holds, if it holds anything."""
    if job.blob is None:
        return so_far
    try:
        unpack_again(job, advance)
        return _compared(job, so_far)
    except NoSpaceError:
        raise
    except (ArchiveError, StoreError, FileNotFoundError):
        return so_far  # the blob is damaged, or a layer below is not there
    finally:
        delete_tree(job.fresh)


def unpack_again(job: LayerJob, advance: Callable[[int], None]) -> None:
    """Make the layer of *job* as its blob has it, at `fresh`.

    Raises ArchiveError for a damaged blob, StoreError for a layer below that is not there, NoSpaceError.
    """
    tree = f"{job.fresh}/diff"
    source = Job(job.blob or "", 0, job.blob_size, job.blob_digest, job.diff_id, job.media_type, None, tree)
    unpacked = unpack(source, advance)
    adopt_parents(tree, [os.fsencode(path) for path in unpacked.implicit], job.lowers)


def _compared(job: LayerJob, so_far: Verdict) -> Verdict:
    if so_far.state != "unreadable":
        if tree_digest(f"{job.fresh}/diff").digest == so_far.digest:
            return so_far._replace(state="sound", why="")
        differing = list(islice(differences(job.tree, f"{job.fresh}/diff"), SHOWN + 1))
        shown = ", ".join(differing[:SHOWN]) + (", …" if len(differing) > SHOWN else "")
        so_far = so_far._replace(state="different", why=shown)
    return so_far._replace(is_restorable=True)


def verify(job: BlobJob | LayerJob, advance: Callable[[int], None]) -> Verdict:
    """Do a job of either kind."""
    return verify_blob(job, advance) if isinstance(job, BlobJob) else verify_layer(job, advance)


def _decoded(words: list[object]) -> BlobJob | LayerJob:
    kind = BlobJob if len(words) == len(BlobJob._fields) else LayerJob
    return kind(*words)  # type: ignore[arg-type]


if __name__ == "__main__":
    serve(lambda words, advance: verify(_decoded(words), advance))
