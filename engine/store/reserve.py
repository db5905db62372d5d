"""Room that is kept for a full disk, and the records as they can be read on one.

SQLite makes two files when the first process opens a database (the log and its shared memory,
https://www.sqlite.org/wal.html): on a file system that a container has filled, nobody could stop that
container or remove anything. So whoever only reads does without them there, and whoever removes something is
given the room that the reserve was holding.
"""

from __future__ import annotations

import contextlib
import os
from _sqlite3 import Connection
from _sqlite3 import Error as SQLiteError
from _sqlite3 import connect as open_database
from urllib.parse import quote

from engine.store import schema
from engine.store.deletion import delete_tree
from engine.store.layout import Layout

FILES = 4
FILE_SIZE = 128 << 10
"""Bytes: the shared memory has 32 KiB, a page of the log 4."""
_PLENTY = 64 << 20
"""Bytes free below which a new reserve would be in the way."""


def keep(layout: Layout) -> None:
    """Make the reserve, if there is plenty of room. Several may try at once."""
    found = os.statvfs(layout.root)
    if found.f_bavail * found.f_frsize < _PLENTY:
        return
    with contextlib.suppress(OSError):  # it became full, or is being made: there is a next time
        os.mkdir(layout.reserve, 0o700)
        for number in range(FILES):
            descriptor = os.open(f"{layout.reserve}/{number}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, FILE_SIZE)
            finally:
                os.close(descriptor)


def release(layout: Layout) -> None:
    """Let whoever is first have the room."""
    delete_tree(layout.reserve)


def read_only(layout: Layout) -> Connection | None:
    """A connection to the records as they lie on disk, which changes of others do not reach.

    None where there is a log: another process has them open, or left it, and they are not whole without.
    None, too, for records of another shape.
    """
    with contextlib.suppress(FileNotFoundError):
        if os.stat(f"{layout.database}-wal").st_size:
            return None
    with contextlib.ExitStack() as unless_fit:
        try:
            connection = open_database(
                f"file:{quote(layout.database)}?immutable=1",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
            )
            unless_fit.callback(connection.close)
            if connection.execute("PRAGMA user_version").fetchone()[0] != schema.VERSION:
                return None
        except SQLiteError:  # what is wrong with them was said already
            return None
        unless_fit.pop_all()
    return connection
