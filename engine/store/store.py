"""One opened root: its paths, a connection for each thread, and the sweep that follows a crash."""

from __future__ import annotations

import contextlib
import os
from _sqlite3 import Connection
from _sqlite3 import Error as SQLiteError
from _thread import get_ident
from collections.abc import Iterator

from engine.errors import NoSpaceError
from engine.store import database
from engine.store.deletion import delete_tree
from engine.store.faults import point
from engine.store.layout import UNFINISHED, Layout, default_root
from engine.store.staging import is_held, no_space_on_full, nobody_makes, retire, sweep_unlocked, unlocked


class Store:
    """The records and directories of one root; every method may be called from any thread.

    SQLite's connections are not shared between threads, nor carried over a fork: each thread of each process
    opens its own at its first use.
    """

    def __init__(self, root: str | None = None) -> None:
        """Open *root* (None: the default), making it if need be, and sweep what a crash left in it.

        Raises StoreError when it cannot be used, NoSpaceError when there is no room for it.
        """
        self.layout = Layout.of(root or default_root())
        self._connections: dict[tuple[int, int], Connection] = {}
        self._frozen: set[tuple[int, int]] = set()
        """Whose connections can only read, as the disk is full."""
        _ = self.connection  # whatever is wrong with the root is said now
        self.swept = tuple(self.sweep())
        """What the opening took away: paths that no record named and nobody worked on."""
        if not os.path.exists(self.layout.reserve):
            from engine.store import reserve

            reserve.keep(self.layout)

    @property
    def connection(self) -> Connection:
        """This thread's connection, for reading.

        On a disk without room for SQLite's own files it shows the records as they are there, if it can.
        """
        key = (os.getpid(), get_ident())
        found = self._connections.get(key)
        if found is None or key in self._frozen:
            found = self._connections[key] = self._connect(key)
        return found

    def _connect(self, key: tuple[int, int]) -> Connection:
        self._frozen.discard(key)
        try:
            return database.connect(self.layout)
        except NoSpaceError:
            from engine.store import reserve

            found = reserve.read_only(self.layout)
            if found is None:
                raise
            self._frozen.add(key)
            return found

    @property
    def _is_frozen(self) -> bool:
        return (os.getpid(), get_ident()) in self._frozen

    def freeing(self) -> Connection:
        """This thread's connection for whoever removes something: on a full disk it is given the reserve.

        Where SQLite has its files already, even a record that goes takes room in the log.
        Raises NoSpaceError when that is used up.
        """
        _ = self.connection
        if self._is_frozen or database.is_full(self.layout):
            from engine.store import reserve

            reserve.release(self.layout)
        return self._writable()

    def _writable(self) -> Connection:
        connection = self.connection
        if self._is_frozen:
            raise database.no_space(self.layout)
        return connection

    @contextlib.contextmanager
    def write(self, *, frees: bool = False) -> Iterator[Connection]:
        """One write transaction on this thread's connection; SQLite's failures come out as StoreError.

        *frees* is for whoever removes something, see `freeing`.
        """
        connection = self.freeing() if frees else self._writable()
        try:
            with database.transaction(connection):
                yield connection
        except SQLiteError as error:
            raise database.translate(error, self.layout) from error

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view of the records for several statements."""
        connection = self.connection
        try:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("COMMIT")
        except SQLiteError as error:
            raise database.translate(error, self.layout) from error

    def close(self) -> None:
        """Close the connections of this process; the store may be used again afterwards."""
        for key, connection in list(self._connections.items()):
            if key[0] == os.getpid():
                connection.close()
            del self._connections[key]
        self._frozen.clear()

    def sweep(self) -> list[str]:
        """Delete what no record names and nobody works on, and say what that was.

        Safe at any time, beside any other process.
        """
        with no_space_on_full(self.layout):
            swept = [*sweep_unlocked(self.layout), *self._sweep_unfinished()]
            if self._has_partials():
                from engine.store import partials

                partials.sweep(self.layout)
            if self._is_frozen or not self._unrecorded():
                return swept
            with self.write():  # who publishes does so within a transaction: seen again, these are strays
                trashed = [(path, retire(self.layout, path)) for path in self._unrecorded()]
            point("sweep.after-rename")
            for path, trash in trashed:
                if trash is not None:
                    delete_tree(trash)
                    swept.append(path)
                if path.startswith(f"{self.layout.containers}/"):
                    delete_tree(self.layout.container(os.path.basename(path)).run)
        return swept

    def _sweep_unfinished(self) -> list[str]:
        """Delete containers whose making ended half way, unless somebody makes one just now."""
        if not self._unfinished():
            return []
        with nobody_makes(self.layout) as is_alone:
            found = self._unfinished() if is_alone else []
            for path in found:
                delete_tree(path)
        return found

    def _unfinished(self) -> list[str]:
        names = _names(self.layout.containers)
        return [f"{self.layout.containers}/{name}" for name in names if name.endswith(UNFINISHED)]

    def strays(self) -> list[str]:
        """What `sweep` would take away now, but what is on its way out already."""
        found = unlocked(self.layout)
        if self._unrecorded():
            with self.write():
                found += self._unrecorded()
        return found

    def _unrecorded(self) -> list[str]:
        return [*self._stray_layers(), *self._stray_blobs(), *self._stray_containers()]

    def _has_partials(self) -> bool:
        return bool(_names(self.layout.partials))

    def _stray_layers(self) -> list[str]:
        return self._strays(self.layout.layers, "SELECT substr(chain_id, 8) FROM nodes")

    def _stray_blobs(self) -> list[str]:
        return self._strays(
            self.layout.blobs, "SELECT DISTINCT substr(blob_digest, 8) FROM manifest_layers WHERE stored"
        )

    def _stray_containers(self) -> list[str]:
        strays = self._strays(self.layout.containers, "SELECT id FROM containers")
        return [path for path in strays if not path.endswith(UNFINISHED) and not is_held(f"{path}/lock")]

    def _strays(self, directory: str, recorded: str) -> list[str]:
        """Paths in *directory* that are not *recorded*: the disk is looked at first."""
        names = _names(directory)
        if not names:
            return []
        known = {row[0] for row in self.connection.execute(recorded)}
        return [f"{directory}/{name}" for name in names if name not in known]


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
