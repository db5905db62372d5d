"""A store of an older shape becomes one of the present shape at its opening, and nothing in it is lost.

``shapes/<version>.sql`` is the schema as the cowl of that version wrote it; it is never edited.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import StoreError
from engine.store import records, schema
from engine.store.store import Store

SHAPES = Path(__file__).with_name("shapes")
OPEN = "import sys; from engine.store.store import Store; Store(sys.argv[1])"
CONTAINER = "c0" * 32
ROWS = (
    "INSERT INTO nodes VALUES ('sha256:aa', NULL, 'sha256:aa', 12, 3, '2024', 'RUN one', 'why')",
    "INSERT INTO nodes VALUES ('sha256:bb', 'sha256:aa', 'sha256:b0', 5, 1, '2024', 'RUN two', '')",
    "INSERT INTO manifests VALUES ('sha256:m', 'type', x'7b7d', 'sha256:c', x'7b2261223a317d', 'sha256:bb')",
    "INSERT INTO manifest_layers VALUES ('sha256:m', 0, 'sha256:aa', 'sha256:ab', 7, 'tar', 1)",
    "INSERT INTO manifest_layers VALUES ('sha256:m', 1, 'sha256:bb', 'sha256:b0', 9, 'tar', 0)",
    "INSERT INTO tags VALUES ('old:1', 'sha256:m', '2024')",
    f"INSERT INTO containers VALUES ('{CONTAINER}', 'web', 'old:1', 'sha256:bb', 'sha256:m', '2024',"
    " '[\"sh\"]',"
    ' \'{"image": "old:1", "command": ["sh"], "limits": {"pids": 7}, "volumes": []}\')',
)
PLACES = (
    "layers/aa/diff",
    "layers/bb/diff",
    "blobs/sha256",
    f"containers/{CONTAINER}/upper",
    "staging",
    "trash",
)


def old_store(root: Path, version: int) -> Path:
    """A store as the cowl of *version* left it, with something of everything in it."""
    for place in PLACES:
        (root / place).mkdir(parents=True)
    (root / "blobs/sha256/ab").write_text("blob")
    connection = sqlite3.connect(root / "cowl.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.executescript((SHAPES / f"{version}.sql").read_text())
    for row in ROWS:
        connection.execute(row)
    connection.execute(f"PRAGMA user_version={version}")
    connection.close()
    return root


def shape(database: str) -> set[tuple[str, str]]:
    """The tables and indexes of a database, in SQLite's own words."""
    connection = sqlite3.connect(database)
    try:
        return set(connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))
    finally:
        connection.close()


@pytest.mark.parametrize("version", range(1, schema.VERSION))
def test_everything_is_found_in_a_store_of_an_older_shape(tmp_path: Path, version: int) -> None:
    store = Store(str(old_store(tmp_path / "old", version)))
    connection = store.connection
    assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert records.lineage(connection, "sha256:bb") == ["sha256:bb", "sha256:aa"]
    node = records.node_row(connection, "sha256:aa")
    assert node is not None
    assert (node.size, node.file_count, node.created_by, node.comment) == (12, 3, "RUN one", "why")
    assert records.find_tag(connection, "old:1") == "sha256:m"
    assert records.manifest_config(connection, "sha256:m") == {"a": 1}
    assert [layer.stored for layer in records.manifest_layers(connection, "sha256:m")] == [True, False]
    row = records.container_row(connection, "web")
    assert (row.command, row.options.limits.pids) == (("sh",), 7)
    assert store.swept == (), "nothing in it is a leftover"
    for place in PLACES:
        assert os.path.isdir(f"{store.layout.root}/{place}")
    fresh = Store(str(tmp_path / "new"))
    assert shape(store.layout.database) == shape(fresh.layout.database)
    store.close()
    fresh.close()


def test_the_first_shape_is_kept_as_it_was() -> None:
    connection = sqlite3.connect(":memory:")
    connection.executescript((SHAPES / "1.sql").read_text())
    old = dict(connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))
    connection = sqlite3.connect(":memory:")
    connection.executescript(schema.STEPS[0])
    assert dict(connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")) == old


def test_each_earlier_shape_is_kept() -> None:
    assert {path.name for path in SHAPES.iterdir()} == {
        f"{number}.sql" for number in range(1, schema.VERSION)
    }


def test_a_migration_that_is_killed_has_not_begun(tmp_path: Path) -> None:
    root = old_store(tmp_path / "old", 1)
    before = shape(str(root / "cowl.db"))
    command = [sys.executable, "-c", OPEN, str(root)]
    killed = subprocess.run(command, env={**os.environ, "COWL_FAULT": "open.before-migrated"}, check=False)
    assert killed.returncode == -9
    assert shape(str(root / "cowl.db")) == before
    store = Store(str(root))
    assert records.find_tag(store.connection, "old:1") == "sha256:m"
    store.close()


def test_many_may_open_a_store_of_an_older_shape_at_once(tmp_path: Path) -> None:
    root = old_store(tmp_path / "old", 1)
    command = [sys.executable, "-c", OPEN, str(root)]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(5)]
    for child in children:
        _, complaint = child.communicate(timeout=60)
        assert child.returncode == 0, complaint


def test_a_step_that_fails_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = old_store(tmp_path / "old", 1)
    before = shape(str(root / "cowl.db"))
    with monkeypatch.context() as patched:
        patched.setattr(
            schema, "STEPS", (*schema.STEPS[:1], "CREATE TABLE a (b INTEGER);\nCREATE TABLE a (c);\n")
        )
        patched.setattr(schema, "VERSION", 2)
        with pytest.raises(StoreError):
            Store(str(root))
    assert shape(str(root / "cowl.db")) == before
    Store(str(root)).close()
