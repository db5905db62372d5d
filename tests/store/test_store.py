"""A root is opened by many at once, swept after a crash, and never guessed at."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.errors import NoSpaceError, StoreError
from engine.store import schema
from engine.store.clock import EPOCH, normalise, now, rfc3339
from engine.store.store import Store

OPEN = "import sys; from engine.store.store import Store; Store(sys.argv[1]).connection.execute('SELECT 1')"


def test_a_root_is_made_at_its_first_use(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "a" / "root"))
    assert set(os.listdir(store.layout.root)) >= {"blobs", "layers", "containers", "staging", "trash"}
    assert os.stat(store.layout.layers).st_mode & 0o777 == 0o700
    store.close()
    again = Store(str(tmp_path / "a" / "root"))
    assert again.connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
    assert again.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert again.connection.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_records_are_for_roots_eyes_alone(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "root"))
    with store.write() as connection:
        connection.execute("INSERT INTO nodes VALUES ('sha256:a', NULL, 'sha256:a', 0, 0, '', '', '')")
        files = [path for path in (tmp_path / "root").iterdir() if path.is_file()]
        assert {path.name for path in files} >= {"cowl.db", "cowl.db-wal"}
        assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    store.close()


def test_many_processes_may_make_it_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN, str(tmp_path / "root")]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    for child in children:
        _, complaint = child.communicate(timeout=60)
        assert child.returncode == 0, complaint


def test_a_root_of_a_newer_cowl_is_left_alone(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "root"))
    store.connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    store.close()
    with pytest.raises(StoreError, match="newer"):
        Store(str(tmp_path / "root"))


@pytest.mark.parametrize("content", [b"no database at all, but long enough to look at" * 40])
def test_damaged_records_are_said_to_be_damaged(tmp_path: Path, content: bytes) -> None:
    store = Store(str(tmp_path / "root"))
    store.close()
    Path(store.layout.database).write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        Store(str(tmp_path / "root"))


def test_a_root_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError):
        Store(str(tmp_path / "file"))


def test_strays_are_swept_and_records_are_not(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "root"))
    layout = store.layout
    with store.write() as connection:
        connection.execute("INSERT INTO nodes VALUES ('sha256:aa', NULL, 'd', 1, 1, 'c', 'b', '')")
    for path in (f"{layout.layers}/aa/diff", f"{layout.layers}/bb/diff", f"{layout.containers}/cc/upper"):
        os.makedirs(path)
    Path(layout.blobs, "dd").write_text("x")
    Store(layout.root).close()
    assert os.listdir(layout.layers) == ["aa"]
    assert os.listdir(layout.containers) == os.listdir(layout.blobs) == os.listdir(layout.trash) == []


def test_a_container_that_somebody_works_on_is_no_stray(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "root"))
    home = Path(store.layout.containers, "cc")
    home.mkdir()
    with open(home / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        store.sweep()
        assert home.exists()
    store.sweep()
    assert not home.exists()


def test_each_thread_has_a_connection_of_its_own(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "root"))
    found: list[sqlite3.Connection] = []
    thread = threading.Thread(target=lambda: found.append(store.connection))
    thread.start()
    thread.join()
    assert store.connection is store.connection
    assert found[0] is not store.connection
    store.close()
    assert store.connection.execute("SELECT 1").fetchone() == (1,)


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "root"))
    with pytest.raises(ZeroDivisionError), store.write() as connection:
        connection.execute("INSERT INTO nodes VALUES ('sha256:aa', NULL, 'd', 1, 1, 'c', 'b', '')")
        raise ZeroDivisionError
    assert store.connection.execute("SELECT count(*) FROM nodes").fetchone() == (0,)
    with pytest.raises(StoreError), store.write() as connection:
        connection.execute("INSERT INTO nodes VALUES (1)")


@pytest.mark.kernel
def test_a_full_disk_fails_one_write_and_no_later_one(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "cowl-test", tmp_path], check=True)
    try:
        store = Store(str(tmp_path / "root"))
        filler = tmp_path / "filler"
        with pytest.raises(OSError, match="space"):
            filler.write_bytes(bytes(2 << 20))
        with pytest.raises(NoSpaceError):
            for number in range(2000):
                with store.write() as connection:
                    connection.execute(
                        "INSERT INTO nodes VALUES (?, NULL, 'd', 1, 1, 'c', ?, '')", (str(number), "b" * 4000)
                    )
        recorded = store.connection.execute("SELECT count(*) FROM nodes").fetchone()[0]
        filler.unlink()
        with store.write() as connection:
            connection.execute("INSERT INTO nodes VALUES ('new', NULL, 'd', 1, 1, 'c', 'b', '')")
        assert store.connection.execute("SELECT count(*) FROM nodes").fetchone()[0] == recorded + 1
        store.close()
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.kernel
def test_a_read_only_file_system_is_called_that(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "cowl-test", tmp_path], check=True)
    try:
        Store(str(tmp_path / "root")).close()
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        with pytest.raises(StoreError, match="read-only"):
            Store(str(tmp_path / "root"))
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_view_does_not_change_while_others_write(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "root"))
    other = Store(store.layout.root)
    with store.read() as connection:
        assert connection.execute("SELECT count(*) FROM nodes").fetchone() == (0,)
        with other.write() as writing:
            writing.execute("INSERT INTO nodes VALUES ('sha256:aa', NULL, 'd', 1, 1, 'c', 'b', '')")
        assert connection.execute("SELECT count(*) FROM nodes").fetchone() == (0,)
    assert store.connection.execute("SELECT count(*) FROM nodes").fetchone() == (1,)


def test_opening_imports_nothing_heavy(tmp_path: Path) -> None:
    code = OPEN + "; print(*[m for m in sys.modules if m.partition('.')[0] in sys.argv[2:]])"
    heavy = [
        "msgspec",
        "click",
        "rich",
        "dataclasses",
        "subprocess",
        "tempfile",
        "inspect",
        "logging",
        "asyncio",
    ]
    done = subprocess.run(
        [sys.executable, "-c", code + "; import engine.oci.reference", str(tmp_path / "root"), *heavy],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-01T12:00:00Z", "2024-05-01T12:00:00.000000000Z"),
        ("2024-05-01T12:00:00.5Z", "2024-05-01T12:00:00.500000000Z"),
        ("2024-05-01T12:00:00.123456789012+02:00", "2024-05-01T10:00:00.123456789Z"),
        ("2024-05-01T00:30:00+01:00", "2024-04-30T23:30:00.000000000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000000Z"),
        ("yesterday", EPOCH),
        ("", EPOCH),
    ],
)
def test_times_of_others_in_one_form(text: str, expected: str) -> None:
    assert normalise(text) == expected


def test_times_sort_as_text() -> None:
    assert rfc3339(1_714_564_800_000_000_001) == "2024-05-01T12:00:00.000000001Z"
    assert normalise(now()) <= now()


@pytest.mark.parametrize("is_empty", [True, False])
def test_a_store_that_lost_its_records_is_not_begun_anew(tmp_path: Path, is_empty: bool) -> None:
    store = Store(str(tmp_path / "root"))
    os.makedirs(f"{store.layout.containers}/cc/upper")
    store.close()
    for path in tmp_path.glob("root/cowl.db*"):
        path.unlink()
    if is_empty:
        Path(store.layout.database).touch()
    for _ in range(2):
        with pytest.raises(StoreError, match="lost"):
            Store(str(tmp_path / "root"))
    assert os.path.isdir(f"{store.layout.containers}/cc/upper"), "what somebody changed is not a leftover"
    os.rmdir(f"{store.layout.containers}/cc/upper")
    os.rmdir(f"{store.layout.containers}/cc")
    Store(str(tmp_path / "root")).close()


def test_directories_that_went_are_made_again(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "root"))
    for path in store.layout.places:
        os.rmdir(path)
    store.close()
    again = Store(str(tmp_path / "root"))
    assert [os.stat(path).st_mode & 0o777 for path in again.layout.places] == [0o700] * 5
    again.close()
