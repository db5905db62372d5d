"""Named volumes: directories of the store that outlive the containers that show them.

A volume is in use as long as the record of a container names it. Making a container records that first and
makes the directory second; removing a volume looks at the records and takes the directory away in one
transaction: so neither takes something from the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from engine.errors import InUseError, NotFoundError, UsageError
from engine.model import Volume, VolumeInfo
from engine.store import clock, database, events, records
from engine.store.deletion import delete_tree
from engine.store.layout import Layout
from engine.store.staging import retire
from engine.store.store import Store

if TYPE_CHECKING:
    from _sqlite3 import Connection

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
_DATA = "data"
_FACTS = "volume.json"
Infos: TypeAlias = list[VolumeInfo]
Users: TypeAlias = dict[str, list[str]]
"""Names of containers by the volumes that they show."""


def settled(layout: Layout, volumes: Sequence[Volume]) -> tuple[Volume, ...]:
    """*volumes* with the directories of those that have a name, and a name for those that have none."""
    return tuple(_settled(layout, volume) for volume in volumes)


def _settled(layout: Layout, volume: Volume) -> Volume:
    if volume.source:
        return volume
    name = volume.name or os.urandom(32).hex()
    check_name(name)
    return volume._replace(
        source=f"{layout.volumes}/{name}/{_DATA}", name=name, anonymous=volume.anonymous or not volume.name
    )


def check_name(name: str) -> None:
    """Raise UsageError for what cannot name a volume."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a volume", hint="use letters, digits, _ . and -, a letter or digit first"
        )


def provide(layout: Layout, volumes: Iterable[Volume], lowers: Sequence[str]) -> None:
    """Make the volumes that are not there yet, with what the image (*lowers*) has where they are shown.

    Raises ConflictError for one that cannot be made, NoSpaceError, StoreError.
    """
    for volume in volumes:
        if volume.name:
            fresh = _make(layout, volume.name, anonymous=volume.anonymous)
            if volume.copy and (fresh or not os.listdir(volume.source)):
                _copy_up(layout, volume, lowers)


def _make(layout: Layout, name: str, *, anonymous: bool = False, labels: Sequence[str] = ()) -> bool:
    """Make the volume *name*; False where there is one."""
    path = f"{layout.volumes}/{name}"
    try:
        os.makedirs(path, 0o700)
    except FileExistsError:
        if os.path.isdir(f"{path}/{_DATA}"):
            return False
    facts = {"created": clock.now(), "anonymous": anonymous, "labels": list(labels)}
    temporary = f"{path}/{_FACTS}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(facts, file)
    os.rename(temporary, f"{path}/{_FACTS}")
    with contextlib.suppress(FileExistsError):
        os.mkdir(f"{path}/{_DATA}", 0o755)
    events.record(layout, "volume", "create", "", name)
    return True


def _copy_up(layout: Layout, volume: Volume, lowers: Sequence[str]) -> None:
    """Give an empty volume what the image has in its place (docker's rule for its first use)."""
    from engine.layers import stack
    from engine.layers.mergedtar import write_merged
    from engine.layers.untar import untar
    from engine.store.staging import staging

    found = stack.lookup(lowers, os.fsencode(volume.destination.strip("/")))
    if found is None or not found.directories:
        return
    with staging(layout) as area, open(f"{area}/tree.tar", "w+b") as tar:
        write_merged([os.fsdecode(directory) for directory in found.directories], tar)
        tar.seek(0)
        directory = os.open(volume.source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            untar(tar, directory)
        finally:
            os.close(directory)


class Volumes:
    """The named volumes of one store. Every method may be called from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def list(self) -> Infos:
        """Every volume, by name."""
        users = _users(self._store.connection)
        return [self._info(name, users) for name in _names(self._store.layout)]

    def get(self, name: str) -> VolumeInfo:
        """The volume *name*. Raises NotFoundError."""
        if name not in _names(self._store.layout):
            raise NotFoundError(f"no volume {name}", "no name matches", "look at cowl volume ls")
        return self._info(name, _users(self._store.connection))

    def create(self, name: str | None = None, labels: Sequence[str] = ()) -> str:
        """Make an empty volume and return its name. Raises UsageError; one that is there is fine."""
        chosen = name or os.urandom(32).hex()
        check_name(chosen)
        _make(self._store.layout, chosen, anonymous=name is None, labels=labels)
        return chosen

    def remove(self, name: str) -> None:
        """Remove a volume with all that is in it. Raises NotFoundError, InUseError."""
        self.get(name)
        with self._store.write(frees=True) as connection:
            users = _users(connection).get(name, [])
            if users:
                raise InUseError(
                    f"the volume {name} is in use", f"by {', '.join(users)}", "remove those first: cowl rm"
                )
            trashed = retire(self._store.layout, f"{self._store.layout.volumes}/{name}")
        _finish(self._store.layout, name, trashed)

    def unused(self, everything: bool = False) -> Infos:
        """Volumes that no container shows: those without a name of their own, with *everything* all."""
        return [each for each in self.list() if not each.containers and (everything or each.anonymous)]

    def _info(self, name: str, users: Users) -> VolumeInfo:
        path = f"{self._store.layout.volumes}/{name}"
        try:
            with open(f"{path}/{_FACTS}", encoding="utf-8") as file:
                facts = json.load(file)
        except (FileNotFoundError, ValueError):
            facts = {}
        return VolumeInfo(
            name=name,
            path=f"{path}/{_DATA}",
            created=facts.get("created", clock.EPOCH),
            anonymous=bool(facts.get("anonymous")),
            labels=tuple(facts.get("labels", ())),
            containers=tuple(users.get(name, ())),
        )


def remove_anonymous(layout: Layout, connection: Connection, volumes: Iterable[Volume]) -> None:
    """Remove those of a removed container's volumes that have no name of their own and no other user."""
    for volume in volumes:
        if not volume.anonymous:
            continue
        trashed = None
        with database.transaction(connection):
            if volume.name not in _users(connection):
                trashed = retire(layout, f"{layout.volumes}/{volume.name}")
        if trashed is not None:
            _finish(layout, volume.name, trashed)


def _finish(layout: Layout, name: str, trashed: str | None) -> None:
    if trashed is not None:
        delete_tree(trashed)
    events.record(layout, "volume", "destroy", "", name)


def _names(layout: Layout) -> list[str]:
    try:
        return sorted(os.listdir(layout.volumes))
    except FileNotFoundError:
        return []


def _users(connection: Connection) -> Users:
    """Names of containers by the volumes that they show."""
    found: Users = {}
    for row in records.containers(connection):
        for volume in row.options.volumes:
            if volume.name:
                found.setdefault(volume.name, []).append(row.name)
    return found
