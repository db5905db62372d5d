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
path, first = sys.argv[1:]
for number in range(int(first), 1000):
    descriptor = rotate(path, 4)
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
            [sys.executable, "-c", WRITER, path, "4"],
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
