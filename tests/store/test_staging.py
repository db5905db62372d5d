"""Unfinished work belongs to whoever holds its lock, and is swept when nobody does."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import NoSpaceError
from engine.store import staging as room
from engine.store.deletion import delete_tree
from engine.store.staging import publish, retire, staging, sweep_unlocked
from engine.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "root"))


def test_what_is_not_published_is_gone_at_the_end(store: Store) -> None:
    with staging(store.layout) as path:
        (Path(path) / "file").write_text("x")
    assert os.listdir(store.layout.staging) == []


def test_what_is_published_stays(store: Store, tmp_path: Path) -> None:
    with staging(store.layout) as path:
        (Path(path) / "tree").mkdir()
        (Path(path) / "tree" / "file").write_text("x")
        publish(f"{path}/tree", str(tmp_path / "published"))
    assert (tmp_path / "published" / "file").read_text() == "x"


def test_a_sweep_leaves_work_alone_and_takes_leftovers(store: Store) -> None:
    leftover = Path(store.layout.staging, "abcd")
    leftover.mkdir()
    (leftover / "file").write_text("x")
    Path(store.layout.staging, "abcd.lock").write_text("")
    Path(store.layout.staging, "alone").mkdir()
    Path(store.layout.trash, "t").mkdir()
    with staging(store.layout) as path:
        sweep_unlocked(store.layout)
        assert os.path.isdir(path)
        assert len(os.listdir(store.layout.staging)) == 2
    assert os.listdir(store.layout.staging) == os.listdir(store.layout.trash) == []


def test_a_child_that_inherited_the_lock_keeps_the_area(store: Store) -> None:
    area = room._make_area(store.layout)
    child = subprocess.Popen(["sleep", "60"], pass_fds=(area.lock,))
    try:
        os.close(area.lock)  # as if this process had died
        store.sweep()
        assert os.path.isdir(area.path)
    finally:
        child.kill()
        child.wait()
    store.sweep()
    assert os.listdir(store.layout.staging) == []


def test_the_area_of_a_killed_process_is_swept(store: Store) -> None:
    code = (
        "import os, sys, signal\n"
        "from engine.store.store import Store\nfrom engine.store.staging import staging\n"
        "store = Store(sys.argv[1])\n"
        "with staging(store.layout) as path:\n"
        "    open(path + '/file', 'w').close()\n"
        "    print(path, flush=True)\n"
        "    signal.pause()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, store.layout.root], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout
    path = child.stdout.readline().strip()
    store.sweep()
    assert os.path.exists(f"{path}/file")
    child.send_signal(signal.SIGKILL)
    child.communicate()
    store.sweep()
    assert os.listdir(store.layout.staging) == []


def test_a_full_disk_has_a_name(store: Store) -> None:
    with pytest.raises(NoSpaceError), staging(store.layout):
        raise OSError(errno.ENOSPC, "full")
    with pytest.raises(PermissionError), staging(store.layout):
        raise PermissionError(errno.EPERM, "no")


def test_retiring_what_is_gone_is_fine(store: Store) -> None:
    assert retire(store.layout, f"{store.layout.layers}/none") is None
    os.mkdir(f"{store.layout.layers}/some")
    trashed = retire(store.layout, f"{store.layout.layers}/some")
    assert os.listdir(store.layout.layers) == []
    assert [f"{store.layout.trash}/{name}" for name in os.listdir(store.layout.trash)] == [trashed]


def test_the_disk_is_told_to_keep_it(tmp_path: Path) -> None:
    room.sync(str(tmp_path))
    room.sync_directory(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        room.sync(str(tmp_path / "none"))


def test_trees_of_any_depth_and_links_are_deleted(tmp_path: Path) -> None:
    top = tmp_path / "top"
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    top.mkdir()
    (top / "link").symlink_to(outside)
    (top / "file").write_text("x")
    here = os.open(top, os.O_RDONLY)
    for _ in range(700):  # 7,000 bytes of path: more than any system call takes
        os.mkdir("directory", dir_fd=here)
        inner = os.open("directory", os.O_RDONLY, dir_fd=here)
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=inner))
        os.close(here)
        here = inner
    os.close(here)
    delete_tree(str(top))
    assert os.listdir(tmp_path) == ["outside"]
    assert (outside / "kept").exists()
    delete_tree(str(top))
    delete_tree(str(outside / "kept"))
    assert os.listdir(outside) == []
