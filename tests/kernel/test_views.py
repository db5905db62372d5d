"""A view in which nothing leads elsewhere."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from engine.kernel import views

pytestmark = pytest.mark.kernel
NULL = os.makedev(1, 3)


def refusal(path: str, flags: int = os.O_RDONLY) -> int:
    """The errno that opening *path* ends with; 0 for none."""
    try:
        os.close(os.open(path, flags))
    except OSError as error:
        return error.errno or 0
    return 0


def test_links_are_read_and_not_followed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for directory in (inside, outside):
        directory.mkdir()
        (directory / "file").write_text("x")
    (inside / "link").symlink_to(outside)
    (inside / "absolute").symlink_to(inside / "file")
    with views.strict(str(inside)) as seen:
        if seen == str(inside):
            pytest.skip("this kernel has no mounts without links")
        assert stat.S_ISDIR(os.lstat(seen).st_mode)
        assert sorted(os.listdir(seen)) == ["absolute", "file", "link"]
        assert os.readlink(f"{seen}/link") == str(outside)
        assert (refusal(f"{seen}/file"), refusal(f"{seen}/link/file")) == (0, errno.ELOOP)
        assert refusal(f"{seen}/absolute") == errno.ELOOP
    assert refusal(seen) != 0


def test_no_device_is_opened_and_nothing_written(tmp_path: Path) -> None:
    os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, NULL)
    (tmp_path / "file").write_text("x")
    assert refusal(f"{tmp_path}/null") == 0
    with views.strict(str(tmp_path)) as seen:
        if seen == str(tmp_path):
            pytest.skip("this kernel has no mounts without links")
        assert refusal(f"{seen}/null") == errno.EACCES
        assert refusal(f"{seen}/file", os.O_WRONLY) == errno.EROFS
        assert os.stat(f"{seen}/file").st_dev == os.stat(tmp_path).st_dev


def test_what_is_not_there_is_said_by_whoever_reads_it(tmp_path: Path) -> None:
    with views.strict(f"{tmp_path}/nosuch") as seen:
        assert seen == f"{tmp_path}/nosuch"
