"""What `cowl check --repair` does about damage: make whole what can be made whole, take away what cannot.

What a container's processes or changes need is never taken away. Each step is a transaction of its own that
looks again: the store may have changed since.
"""

from __future__ import annotations

import os
from _sqlite3 import Connection
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import TypeAlias

from engine.errors import ArchiveError, NoSpaceError, StoreError
from engine.images import removal
from engine.images.damage import Damage, Mended
from engine.images.inventory import Inventory
from engine.images.packing import rewritten
from engine.images.premises import expected_mode
from engine.images.verifying import layer_job, unpack_again
from engine.layers.treedigest import tree_digest
from engine.store import records
from engine.store.database import make_directories
from engine.store.deletion import delete_tree
from engine.store.faults import point
from engine.store.staging import publish, retire, staging
from engine.store.store import Store

Quiet: TypeAlias = Callable[[str], AbstractContextManager[bool]]
"""Keeps a container (by its ID) from being started for the length of a block; whether it has no processes."""

_ORDER = (
    "permissions",
    "records",
    "link",
    "index",
    "container",
    "tag",
    "node",
    "manifest",
    "layer",
    "blob",
    "stray",
)
_REMOVED = "what nothing can restore was removed"


def mend(store: Store, found: Inventory, damage: Sequence[Damage], quiet: Quiet) -> list[Mended]:
    """Mend what can be mended of *damage* in *found*. Raises StoreError, NoSpaceError."""
    mender = _Mender(store, found, damage, quiet)
    done: list[Mended] = []
    for each in sorted(damage, key=lambda each: _ORDER.index(each.kind)):  # stable: parents come first
        if each.mend != "none" and (mended := mender.mend(each)):
            done.append(mended)
    return done


class _Mender:
    def __init__(self, store: Store, found: Inventory, damage: Sequence[Damage], quiet: Quiet) -> None:
        self._store = store
        self._found = found
        self._wrong = {each.subject for each in damage if each.kind == "layer"}
        self._quiet = quiet

    def mend(self, damage: Damage) -> Mended | None:
        """Mend one damage; None if it could not be done now."""
        act: Callable[[Damage], Mended | None] = getattr(self, f"_{damage.mend}_{damage.kind}")
        try:
            return act(damage)
        except NoSpaceError:
            raise
        except (StoreError, ArchiveError):
            return None  # the records do not let it go, or it cannot be read: it stays in the report

    # Making whole

    def _restore_permissions(self, damage: Damage) -> Mended:
        path = damage.path
        make_directories(self._store.layout)
        os.chown(path, os.geteuid(), os.getegid())
        mode = os.lstat(path).st_mode & 0o7777
        os.chmod(path, expected_mode(self._store.layout, path, mode))
        return Mended(damage, "it is closed to others now")

    def _restore_records(self, damage: Damage) -> Mended:
        with self._store.write() as connection:
            connection.execute("REINDEX")
        return Mended(damage, "the indexes were made anew")

    def _restore_container(self, damage: Damage) -> Mended:
        if damage.path:
            os.mkdir(damage.path, 0o755)
            return Mended(damage, "the directory was made again, empty as it has to be")
        with self._store.write() as connection:
            connection.execute(
                "UPDATE containers SET manifest = NULL"
                " WHERE id = ? AND manifest NOT IN (SELECT digest FROM manifests)",
                (damage.subject,),
            )
        return Mended(damage, "its image is whichever has its layer")

    def _restore_node(self, damage: Damage) -> Mended:
        counted = tree_digest(self._store.layout.tree(damage.subject))
        with self._store.write() as connection:
            connection.execute(
                "UPDATE nodes SET size = ?, file_count = ? WHERE chain_id = ?",
                (counted.size, counted.file_count, damage.subject),
            )
        return Mended(damage, "it was counted anew")

    def _restore_layer(self, damage: Damage) -> Mended | None:
        """Unpack a layer again, if those below are right (by now) and no process sees it."""
        chain_id = damage.subject
        if self._wrong.intersection(self._found.lineage(chain_id)[1:]):
            return None
        with ExitStack() as still:
            for each in self._found.on_node(chain_id):
                if not still.enter_context(self._quiet(each.id)):
                    return None
            job = layer_job(self._store.layout, self._found, chain_id, still.enter_context(self._area()))
            unpack_again(job, lambda count: None)
            with self._store.write() as connection:
                if records.node_row(connection, chain_id) is None:
                    return None
                place = self._store.layout.layer(chain_id)
                old = retire(self._store.layout, place)
                point("check.after-retire")
                publish(job.fresh, place)
        if old is not None:
            delete_tree(old)
        self._wrong.discard(chain_id)
        return Mended(damage, "it was unpacked again from its blob")

    def _area(self) -> AbstractContextManager[str]:
        return staging(self._store.layout)

    def _restore_blob(self, damage: Damage) -> Mended | None:
        layout = self._store.layout
        _, row = self._found.kept()[damage.subject]
        with staging(layout) as area:
            job = layer_job(layout, self._found, row.chain_id, area)
            blob = rewritten(job, damage.subject, row.media_type, area)
            if blob is None:
                return None
            with self._store.write() as connection:
                if not records.is_kept(connection, damage.subject):
                    return None
                publish(blob, layout.blob(damage.subject))
        return Mended(damage, "it was written again from its layer")

    # Taking away

    def _remove_link(self, damage: Damage) -> Mended | None:
        """Forget what would have gone with its owner (ON DELETE CASCADE), had that been deleted in order."""
        count = 0
        with self._store.write() as connection:
            table = damage.subject
            for link in connection.execute(f"PRAGMA foreign_key_list({table})").fetchall():
                parent, own, theirs, on_delete = link[2], link[3], link[4], link[6]
                if on_delete == "CASCADE":
                    count += connection.execute(
                        f"DELETE FROM {table} WHERE {own} NOT IN (SELECT {theirs} FROM {parent})"
                    ).rowcount
        return (
            Mended(damage, "they were forgotten", (f"{count} records of {damage.subject}",))
            if count
            else None
        )

    def _remove_index(self, damage: Damage) -> Mended:
        with self._store.write() as connection:
            connection.execute("DELETE FROM indexes WHERE digest = ?", (damage.subject,))
        return Mended(damage, "it was forgotten", (f"index {damage.subject[7:19]}",))

    def _remove_tag(self, damage: Damage) -> Mended:
        with self._store.write() as connection:
            connection.execute(
                "DELETE FROM tags WHERE name = ? AND manifest NOT IN (SELECT digest FROM manifests)",
                (damage.subject,),
            )
        return Mended(damage, "the tag was removed", (f"tag {damage.subject}",))

    def _remove_manifest(self, damage: Damage) -> Mended | None:
        removed = self._remove_images(lambda connection: [damage.subject])
        return Mended(damage, _REMOVED, removed) if removed else None

    def _remove_layer(self, damage: Damage) -> Mended | None:
        removed = self._remove_images(lambda connection: _with_node(connection, damage.subject))
        return Mended(damage, _REMOVED, removed) if removed else None

    def _remove_node(self, damage: Damage) -> Mended | None:
        """The images that have it, if any, and itself, which no image has then."""
        removed = self._remove_images(lambda connection: _with_node(connection, damage.subject))
        with self._store.write() as connection:
            if _is_needed(connection, damage.subject):
                return Mended(damage, _REMOVED, removed) if removed else None
            connection.execute("DELETE FROM nodes WHERE chain_id = ?", (damage.subject,))
            old = retire(self._store.layout, self._store.layout.layer(damage.subject))
        if old is not None:
            delete_tree(old)
        return Mended(damage, _REMOVED, (*removed, f"image {damage.subject[7:19]}"))

    def _remove_blob(self, damage: Damage) -> Mended | None:
        """The bytes alone: what runs needs its layer, and a pull or load brings what is not there."""
        with self._store.write():
            old = retire(self._store.layout, damage.path)
        if old is None:
            return None
        delete_tree(old)
        return Mended(
            damage, "the bytes were removed, so that a pull or load brings them again", (damage.path,)
        )

    def _remove_images(self, which: Callable[[Connection], list[str]]) -> tuple[str, ...]:
        """Take whole images away and say what went; nothing if a container needs one of them."""
        with self._store.write() as connection:
            going = which(connection)
            if any(removal.users(connection, digest, going) for digest in going):
                return ()
            tags = [tag for digest in going for tag in records.tags_of_manifest(connection, digest)]
            plan = removal.plan_for(connection, tags, going)
            removed = [f"manifest {digest[7:19]}" for digest in going]
            removed += removal.describe(connection, plan)
            removed += [f"blob {digest[7:19]} ({size} bytes)" for digest, size in plan.blobs.items()]
            removal.forget(connection, plan)
            for digest in going:  # those of a manifest that is not recorded itself
                connection.execute("DELETE FROM manifest_layers WHERE manifest = ?", (digest,))
        removal.delete(self._store, plan, "check")
        return tuple(removed)

    def _remove_stray(self, damage: Damage) -> Mended | None:
        self._store.sweep()
        if os.path.lexists(damage.path):
            return None
        return Mended(damage, "it was removed", (damage.path,))


def _with_node(connection: Connection, chain_id: str) -> list[str]:
    found = connection.execute(
        "SELECT DISTINCT manifest FROM manifest_layers WHERE chain_id = ?1"
        " UNION SELECT digest FROM manifests WHERE chain_id = ?1",
        (chain_id,),
    )
    return [digest for (digest,) in found]


def _is_needed(connection: Connection, chain_id: str) -> bool:
    """Whether an image has it, or a layer or container lies on it."""
    found = connection.execute(
        "SELECT 1 FROM nodes WHERE parent = ?1 UNION SELECT 1 FROM containers WHERE chain_id = ?1"
        " UNION SELECT 1 FROM manifest_layers WHERE chain_id = ?1",
        (chain_id,),
    )
    return found.fetchone() is not None
