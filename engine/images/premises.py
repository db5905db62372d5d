"""The directories of a store: whose they are, whether each container has its own, and what nobody has."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator

from engine.images.damage import Damage, Mend
from engine.images.inventory import ContainerFacts, Inventory
from engine.store.layout import Layout
from engine.store.store import Store

_EMPTY = ("work", "init", "rootfs")
"""Directories of a container that hold nothing of anybody's when they are not in use."""


def broken_premises(store: Store, found: Inventory) -> list[Damage]:
    """All that is wrong with the directories."""
    return [*_permissions(store.layout), *_containers(store, found), *_strays(store)]


def expected_mode(layout: Layout, path: str, mode: int) -> int:
    """What the permission bits *mode* of a part of the store have to be."""
    if path == layout.root:
        return mode & ~0o022
    return mode & ~0o077


def _permissions(layout: Layout) -> Iterator[Damage]:
    """Images hold set-uid files, and the records hold what containers are told: others must not get there."""
    for path in (layout.root, *layout.places, layout.database):
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            yield _wrong_place(path, "it is not there", "makes it")
            continue
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid != os.geteuid():
            yield _wrong_place(path, f"it belongs to the user {status.st_uid}", "takes it back")
        elif mode != expected_mode(layout, path, mode):
            yield _wrong_place(path, f"its mode {mode:o} lets others in", "closes it")


def _wrong_place(path: str, why: str, does: str) -> Damage:
    return Damage(
        "permissions",
        path,
        "a part of the store is not as it has to be",
        why,
        path,
        f"cowl check --repair {does}",
        "restore",
    )


def _containers(store: Store, found: Inventory) -> Iterator[Damage]:
    if not any(_wrong_with(store.layout, each) for each in found.containers):
        return
    with store.write() as connection:  # its record comes with its files, and goes before them
        recorded = {row[0] for row in connection.execute("SELECT id FROM containers")}
        wrong = [_wrong_with(store.layout, each) for each in found.containers if each.id in recorded]
    yield from filter(None, wrong)


def _wrong_with(layout: Layout, each: ContainerFacts) -> Damage | None:
    paths = layout.container(each.id)
    changes = f"its changes are untouched: commit or copy them, then cowl rm {each.name}"
    if not os.path.isdir(paths.home):
        hint = f"put it back, or forget the container: cowl rm {each.name}"
        return _damage(each, "has no files", "its directory is not there", paths.home, hint)
    if not os.path.isdir(paths.upper):
        hint = f"they are lost: cowl rm {each.name}"
        return _damage(each, "has lost its changes", "its directory is not there", paths.upper, hint)
    for name in _EMPTY:
        if not os.path.isdir(f"{paths.home}/{name}"):
            hint = "cowl check --repair makes it again"
            return _damage(
                each, "is incomplete", f"{name}/ is not there", f"{paths.home}/{name}", hint, "restore"
            )
    try:
        with open(paths.config, "rb") as file:
            json.load(file)
    except (OSError, ValueError) as error:
        why = error.strerror or "" if isinstance(error, OSError) else f"it is no JSON: {error}"
        return _damage(each, "cannot be started", why, paths.config, changes)
    return None


def _damage(each: ContainerFacts, what: str, why: str, path: str, hint: str, mend: Mend = "none") -> Damage:
    return Damage(
        "container",
        each.id,
        f"the container {each.name} {what}",
        why,
        path,
        hint,
        mend,
        (),
        (each.name,),
    )


def _strays(store: Store) -> Iterator[Damage]:
    for path in store.strays():
        yield Damage(
            "stray",
            path,
            "nobody needs this",
            "no record names it and nobody works on it",
            path,
            "cowl check --repair removes it",
            "remove",
        )
