"""A trail whose writer is killed between two renames: all of it is still read in order, and it goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from engine.store.faults import VARIABLE
from engine.store.trail import Trail, file_name, rotate

FILES = 4
WRITER = """
import os, sys
from engine.store.trail import rotate
path, first, files = sys.argv[1:]
for number in range(int(first), 1000):
    descriptor = rotate(path, int(files))
    os.write(descriptor, b"%d\\n" % number)
    os.close(descriptor)
"""


def read(path: str) -> list[int]:
    with Trail(path) as trail:
        return [int(line) for line in b"".join(trail.now()).split()]


def filled(path: str) -> None:
    for number in range(FILES):
        descriptor = rotate(path, FILES)
        os.write(descriptor, b"%d\n" % number)
        os.close(descriptor)
    assert read(path) == [0, 1, 2, 3]


def test_a_writer_that_is_killed_between_two_renames(tmp_path: Path) -> None:
    path = f"{tmp_path}/log"
    filled(path)
    for died in range(2):  # the second time there is a number without a file already
        killed = subprocess.run(
            [sys.executable, "-c", WRITER, path, "4", str(FILES)],
            env={**os.environ, VARIABLE: "trail.after-rename"},
            check=False,
        )
        assert killed.returncode == -9
        assert not os.path.exists(file_name(path, FILES - 2)), died
        assert read(path) == [1, 2, 3]
    descriptor = rotate(path, FILES)
    os.write(descriptor, b"4\n")
    os.close(descriptor)
    assert read(path) == [1, 2, 3, 4]


def test_a_writer_that_is_killed_before_the_last_rename(tmp_path: Path) -> None:
    """The newest file has two names then, and its lines are read once."""
    path = f"{tmp_path}/log"
    for number in range(2):
        descriptor = rotate(path, 2)
        os.write(descriptor, b"%d\n" % number)
        os.close(descriptor)
    killed = subprocess.run(
        [sys.executable, "-c", WRITER, path, "2", "2"],
        env={**os.environ, VARIABLE: "trail.after-rename"},
        check=False,
    )
    assert killed.returncode == -9
    assert os.path.samefile(path, file_name(path, 1))
    assert read(path) == [1]
    descriptor = rotate(path, FILES)
    os.write(descriptor, b"2\n")
    os.close(descriptor)
    assert read(path) == [1, 2]
