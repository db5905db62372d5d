"""The façade: one opened root, with a room for each kind of thing in it.

    with Engine("/var/lib/cowl") as engine:
        engine.images.starter()
        container = engine.containers.run(LaunchOptions("starter", ("sleep", "60")))

There is no daemon: any number of engines, in one process or in several, may be open on one root at once.
Every method may be called from any thread.
"""

from __future__ import annotations

import contextlib
import os
import sys
from _thread import RLock
from typing import TYPE_CHECKING

from engine.errors import UnsupportedError
from engine.store.store import Store

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from engine.changes import Changes
    from engine.containers.lifecycle import Containers
    from engine.containers.standby import Standby
    from engine.containers.standing import Standing
    from engine.containers.stats import Statistics
    from engine.containers.volumes import Volumes
    from engine.images.damage import CheckReport
    from engine.images.images import Images
    from engine.model import Event, ProgressCallback

CGROUP_PARENT = "cowl"
FILE_SYSTEMS = "/proc/filesystems"
_LONGEST = 1 << 16


class Engine:
    """Images, containers, changes and statistics of one root."""

    def __init__(
        self,
        root: str | None = None,
        *,
        cgroup_parent: str | None = None,
        launcher: bool | Standby | Standing = False,
        network: str | None = None,
        bridge: str | None = None,
    ) -> None:
        """Open *root* (None: $COWL_ROOT, or this user's own), making it at its first use.

        *cgroup_parent* is the cgroup under which containers get theirs (None: $COWL_CGROUP_PARENT, or
        ``cowl``). With *launcher*, containers are started by a small process kept for that, never by a fork
        of this one: for programs that have threads; a Standby or Standing
        is one that is there already.
        *network* is that of containers that name none (None: $COWL_NETWORK, or ``bridge``), *bridge* what its
        bridge is called (None: $COWL_BRIDGE, or cowl0 or the next that is free). $COWL_FORWARDING may be
        ``no``: then containers reach what lies beyond this machine only if somebody has it forward. Raises
        UnsupportedError on a machine or for a user that cannot run containers, StoreError for a root that
        cannot be used.
        """
        _check_machine()
        self.cgroup_parent = cgroup_parent or os.environ.get("COWL_CGROUP_PARENT") or CGROUP_PARENT
        self.store = Store(root)
        self._launcher = launcher
        self._network = network or os.environ.get("COWL_NETWORK") or ""
        self._bridge = bridge or os.environ.get("COWL_BRIDGE") or ""
        self._lock = RLock()
        self._watch: sqlite3.Connection | None = None
        self._images: Images | None = None
        self._containers: Containers | None = None
        self._changes: Changes | None = None
        self._stats: Statistics | None = None

    @property
    def root(self) -> str:
        """The store's directory, absolute."""
        return self.store.layout.root

    @property
    def images(self) -> Images:
        """The forest of images: nodes, tags, archives."""
        with self._lock:
            if self._images is None:
                from engine.images.images import Images

                self._images = Images(self.store)
            return self._images

    @property
    def containers(self) -> Containers:
        """Containers: launching, ending, looking into them."""
        with self._lock:
            if self._containers is None:
                from engine.containers.lifecycle import Containers
                from engine.containers.networking import BRIDGE, NetworkSettings

                self._containers = Containers(
                    self.store,
                    cgroup_parent=self.cgroup_parent,
                    launcher=self._launcher,
                    network=NetworkSettings(
                        self._network or BRIDGE, self._bridge, os.environ.get("COWL_FORWARDING") != "no"
                    ),
                )
            return self._containers

    @property
    def volumes(self) -> Volumes:
        """Named volumes: directories that outlive the containers that show them."""
        from engine.containers.volumes import Volumes

        return Volumes(self.store)

    @property
    def changes(self) -> Changes:
        """What read-write layers hold, and commits."""
        with self._lock:
            if self._changes is None:
                from engine.changes import Changes

                self._changes = Changes(self.store)
            return self._changes

    @property
    def stats(self) -> Statistics:
        """What running containers and this machine use."""
        with self._lock:
            if self._stats is None:
                from engine.containers.stats import Statistics

                self._stats = Statistics(self.store)
            return self._stats

    def revision(self) -> object:
        """A value that differs from an earlier one if records or states of containers have changed since.

        Cheap enough for every tick: one PRAGMA and one stat(2). It says nothing of changes inside containers.
        """
        with self._lock:
            if self._watch is None:
                from engine.store import database

                # It never writes: data_version counts, for each connection, what the *others* have changed.
                self._watch = database.connect(self.store.layout)
            version = self._watch.execute("PRAGMA data_version").fetchone()[0]
        try:
            moved = os.stat(self.store.layout.revision).st_mtime_ns
        except FileNotFoundError:
            moved = 0
        return version, moved

    def events(
        self,
        *,
        since: str | None = None,
        until: str | None = None,
        follow: bool = False,
        active: Callable[[], bool] = lambda: True,
    ) -> Iterator[Event]:
        """What was done to containers and images; *since* and *until* are RFC 3339 in UTC.

        With *follow*, goes on until *until*, or until *active* is no longer true.
        """
        from engine.store import events

        return events.read(self.store.layout, since=since, until=until, follow=follow, active=active)

    def check(self, repair: bool = False, progress: ProgressCallback | None = None) -> CheckReport:
        """Compare every record, blob and layer with what it has to be; see `cowl check`.

        With *repair*, what can be made whole is, and what nothing can restore is taken away: never what a
        container needs. Others may work on the store meanwhile. Raises StoreError, NoSpaceError.
        """
        from engine.images.check import check

        return check(self.store, repair=repair, quiet=self._quiet, progress=progress)

    @contextlib.contextmanager
    def _quiet(self, container_id: str) -> Iterator[bool]:
        """Let nobody start the container meanwhile; whether it has no processes."""
        from engine.containers import removal, state

        paths = self.store.layout.container(container_id)
        with contextlib.ExitStack() as stack:
            if os.path.isdir(paths.home):
                stack.enter_context(removal.locked(paths, container_id[:12]))
            yield not state.derive(paths).active

    def close(self) -> None:
        """End the launcher and close the store; containers run on."""
        with self._lock:
            if self._containers is not None:
                self._containers.close()
                self._containers = None
            if self._stats is not None:
                self._stats.close()
                self._stats = None
            if self._watch is not None:
                self._watch.close()
                self._watch = None
            self.store.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_machine() -> None:
    """Raise UnsupportedError where no container can run: not Linux, not root, no overlayfs."""
    if sys.platform != "linux":
        raise UnsupportedError(f"cowl does not run on {sys.platform}", "containers are Linux's", "use Linux")
    if os.geteuid() != 0:
        raise UnsupportedError("cowl needs root", "containers without root come later", "use sudo")
    if not _has_overlay() and not _load_overlay():
        raise UnsupportedError(
            "this kernel has no overlayfs",
            f"{FILE_SYSTEMS} does not list it and its module could not be loaded",
            "enable CONFIG_OVERLAY_FS, or install the modules of the running kernel",
        )


def _has_overlay() -> bool:
    descriptor = os.open(FILE_SYSTEMS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return b"\toverlay\n" in os.read(descriptor, _LONGEST)
    finally:
        os.close(descriptor)


def _load_overlay() -> bool:
    """Load overlayfs as a module (modprobe(8)); whether it is there afterwards."""
    import subprocess

    with contextlib.suppress(OSError):
        subprocess.run(["modprobe", "overlay"], capture_output=True, check=False)
    return _has_overlay()
