"""Records are read without SQLite's own files, and the reserve is for whoever removes something."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from sqlite3 import Connection

import pytest

from engine.errors import NoSpaceError
from engine.store import database, reserve
from engine.store.layout import Layout
from engine.store.store import Store


@pytest.fixture
def root(tmp_path: Path) -> Iterator[str]:
    """A store with one record, in a directory whose name means something in a URI."""
    path = f"{tmp_path}/a?b#c%20"
    store = Store(path)
    with store.write() as connection:
        connection.execute("INSERT INTO nodes VALUES ('sha256:aa', NULL, 'sha256:aa', 0, 0, '', '', '')")
    yield path
    store.close()


class Full:
    """`database.connect` on a disk that is full as long as the reserve is there."""

    def __init__(self) -> None:
        self.connect = database.connect

    def __call__(self, layout: Layout) -> Connection:
        if os.path.exists(layout.reserve):
            raise database.no_space(layout)
        return self.connect(layout)


def nodes(store: Store) -> int:
    return int(store.connection.execute("SELECT count(*) FROM nodes").fetchone()[0])


def test_a_store_has_a_reserve(root: str) -> None:
    store = Store(root)
    sizes = [entry.stat().st_blocks * 512 for entry in os.scandir(store.layout.reserve)]
    assert sizes == [reserve.FILE_SIZE] * reserve.FILES
    store.close()


def test_on_a_full_disk(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _checkpoint(root)
    monkeypatch.setattr(database, "connect", Full())
    store = Store(root)
    assert nodes(store) == 1
    with pytest.raises(NoSpaceError), store.write():
        pass
    assert os.path.exists(store.layout.reserve)
    with store.write(frees=True) as connection:
        connection.execute("DELETE FROM nodes")
    assert nodes(store) == 0
    assert not os.path.exists(store.layout.reserve)
    store.close()
    Store(root).close()
    assert os.path.exists(store.layout.reserve)


def test_whoever_has_the_records_open_is_not_overlooked(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Store(root)
    with other.write() as connection:
        connection.execute("DELETE FROM nodes")
    assert os.stat(f"{other.layout.database}-wal").st_size
    monkeypatch.setattr(database, "connect", Full())
    with pytest.raises(NoSpaceError):
        Store(root)
    other.close()


def _checkpoint(root: str) -> None:
    """Nobody has the records open, and there is no log."""
    connection = database.connect(Layout.of(root))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
