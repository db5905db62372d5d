"""One connection to the records of a root, with the settings that let several processes share it.

SQLite in WAL mode: readers never wait, writers take turns for the length of one short transaction
(https://www.sqlite.org/wal.html). `busy_timeout` comes first, so that even opening waits its turn.
"""

from __future__ import annotations

import contextlib
import errno
import os
from _sqlite3 import Connection
from _sqlite3 import Error as SQLiteError
from _sqlite3 import connect as open_database
from collections.abc import Iterator

from engine.errors import NoSpaceError, StoreError
from engine.store import schema
from engine.store.faults import point
from engine.store.layout import Layout

BUSY_MS = 20_000
"""How long a writer waits for its turn before it gives up, in milliseconds."""

_PERHAPS_FULL = ("SQLITE_IOERR", "SQLITE_CANTOPEN")
"""What SQLite says when its shared memory cannot grow, or its log cannot be made."""
_ROOM = 64 << 10
_FILES = 2
"""The log and its shared memory: cowl.db-wal, cowl.db-shm."""


def connect(layout: Layout) -> Connection:
    """Open the records of *layout*, making the root at its first use.

    A store of an older shape is brought to the present one. The connection is in autocommit mode: write
    through `transaction`. Raises StoreError when the root cannot be used, or was written by a newer cowl;
    NoSpaceError when there is no room for it.
    """
    try:
        connection = _open(layout)
    except SQLiteError as error:
        raise translate(error, layout) from error
    return connection


def _open(layout: Layout) -> Connection:
    if not (os.path.exists(layout.database) and all(map(os.path.isdir, layout.places))):
        make_directories(layout)
    connection = open_database(layout.database, isolation_level=None, check_same_thread=False)
    with contextlib.ExitStack() as unless_opened:
        unless_opened.callback(connection.close)
        connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        version = _version(connection)
        if version < schema.VERSION:
            _bring_up(connection, version, layout)
            version = _version(connection)
        if version > schema.VERSION:
            raise _too_new(layout, version)
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA synchronous=FULL")
        unless_opened.pop_all()
    return connection


def _version(connection: Connection) -> int:
    number: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return number


def _bring_up(connection: Connection, version: int, layout: Layout) -> None:
    """Make the tables of a new store, or the present ones of those of an older *version*."""
    if version == 0:
        connection.execute("PRAGMA journal_mode=WAL")
    with transaction(connection):  # whoever comes second finds it done
        if _version(connection) == 0:
            _refuse_lost_records(layout)
        schema.migrate(connection)
        point("open.before-migrated")


def _refuse_lost_records(layout: Layout) -> None:
    """Do not begin anew over what a store holds: without records all of it would be taken for leftovers."""
    for path in (layout.containers, layout.layers, layout.blobs):
        if os.path.isdir(path) and os.listdir(path):
            raise StoreError(
                f"the records of {layout.root} are lost",
                f"{layout.database} is empty, {path} is not",
                f"restore it from a backup, or move {layout.root} away to begin anew",
            )


def _too_new(layout: Layout, version: int) -> StoreError:
    return StoreError(
        f"cannot open {layout.root}",
        f"it was written by a newer cowl: schema {version}, this one knows {schema.VERSION}",
        "upgrade cowl",
    )


def make_directories(layout: Layout) -> None:
    """Make the directories of a root and its empty database, for root's eyes alone.

    Images may hold set-uid files, and the records hold the environments of containers.
    """
    try:
        os.makedirs(layout.root, mode=0o711, exist_ok=True)
        for path in layout.places:
            os.makedirs(path, mode=0o700, exist_ok=True)
        os.close(os.open(layout.database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_space(layout) from error
        raise StoreError(
            f"cannot make the store {layout.root}", error.strerror or str(error), "choose another with --root"
        ) from error


@contextlib.contextmanager
def transaction(connection: Connection) -> Iterator[Connection]:
    """One write transaction, BEGIN IMMEDIATE to COMMIT; rolled back whole when the block raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:  # the block failed, or COMMIT itself, on a full disk
            connection.execute("ROLLBACK")


def no_space(layout: Layout) -> NoSpaceError:
    """The error for a full file system under *layout*."""
    return NoSpaceError(
        f"no space left for {layout.root}",
        "its file system is full",
        "free some, or choose another with --root",
    )


def is_full(layout: Layout) -> bool:
    """Whether SQLite has no room to work in, in bytes or in files."""
    try:
        found = os.statvfs(layout.root)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _ROOM or (found.f_files > 0 and found.f_favail < _FILES)


def _is_read_only(layout: Layout) -> bool:
    try:
        return bool(os.statvfs(layout.root).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def translate(error: SQLiteError, layout: Layout) -> StoreError:
    """The typed error for what SQLite said."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_FULL") or (name.startswith(_PERHAPS_FULL) and is_full(layout)):
        return no_space(layout)
    if name.startswith("SQLITE_BUSY"):
        return StoreError(f"the store {layout.root} is busy", "another process holds it", "try again")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StoreError(
            f"the records of {layout.root} are damaged", str(error), "restore cowl.db from a backup"
        )
    if _is_read_only(layout):
        return StoreError(
            f"cannot use the records of {layout.root}",
            "its file system is read-only",
            "mount it for writing: even whoever looks at them takes a lock there",
        )
    return StoreError(
        f"cannot use the records of {layout.root}", str(error), "look at its permissions and space"
    )
