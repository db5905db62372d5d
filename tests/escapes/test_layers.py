"""A container that changes its files while its read-write layer is read: nothing else is read for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from engine.containers import copyist
from engine.engine import Engine
from engine.errors import CowlError
from engine.kernel import mount, namespaces
from tests.support.captures import execute, start

pytestmark = pytest.mark.kernel

SECRET = "of the host alone"
FILES = 40
SWAP = """
import ctypes, os, sys
one, other = map(os.fsencode, sys.argv[1:])
while True:
    assert ctypes.CDLL(None).renameat2(-100, one, -100, other, 2) == 0  # RENAME_EXCHANGE
"""


@pytest.fixture
def shifty(jail: Engine, tmp_path: object) -> Iterator[str]:
    """A container with a directory that is a link to one of the host's every other moment."""
    host = f"{tmp_path}/host"
    os.makedirs(host)
    name = start(jail)
    lines = [f"mkdir /shifty; ln -s {host} /link"]
    for number in range(FILES):
        with open(f"{host}/file{number}", "w", encoding="ascii") as file:
            file.write(SECRET)
        lines.append(f"printf %s {'of the container..'} > /shifty/file{number}")
    execute(jail, name, "sh", "-c", "; ".join(lines).replace("of the container..", "'of the container..'"))
    upper = jail.containers.inspect(name)["upper"]
    swapper = subprocess.Popen([sys.executable, "-c", SWAP, f"{upper}/shifty", f"{upper}/link"])
    yield name
    swapper.kill()
    swapper.wait()
    jail.containers.remove(name, force=True)


def test_what_copies_opens_no_device() -> None:
    """A container can have one in a file's place, and no devices cgroup holds the process that copies."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            namespaces.unshare(namespaces.CLONE_NEWNS)
            mount.mount(None, "/", None, mount.MS_REC | mount.MS_PRIVATE)
            os.close(os.open("/dev/null", os.O_RDONLY))
            copyist.open_no_devices()
            os.open("/dev/null", os.O_RDONLY)
        except PermissionError:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_no_file_of_the_host_is_committed(jail: Engine, shifty: str) -> None:
    """Through a directory that becomes a link on the way to a file in it (CVE-2018-15664's like)."""
    for attempt in range(12):
        image = f"shifty:{attempt}"
        try:
            node = jail.changes.commit(shifty, image)
        except CowlError as error:
            assert "symbolic links" not in str(error)
            continue
        found = []
        for top, _, names in os.walk(f"{jail.root}/layers/{node.chain_id.partition(':')[2]}/diff"):
            for each in names:
                path = f"{top}/{each}"
                if os.path.isfile(path) and not os.path.islink(path):
                    with open(path, encoding="ascii") as file:
                        found.append(file.read())
        jail.images.remove([image])
        assert SECRET not in found


def test_no_file_of_the_host_is_shown(jail: Engine, shifty: str) -> None:
    for number in range(200):
        try:
            shown = jail.changes.diff(shifty, f"/shifty/file{number % FILES}")
        except CowlError as error:
            assert "symbolic links" not in str(error)
            continue
        assert SECRET not in shown.text
