"""Images and volumes that lie about where things are: whatever is mounted lands inside, and masks stay on."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator

import pytest

from engine.engine import Engine
from engine.errors import LaunchError
from engine.model import LaunchOptions, Volume
from tests.support.captures import capture, run

pytestmark = pytest.mark.kernel

Prepared = Callable[..., str]


def host_mounts(*places: object) -> list[str]:
    """The mounts of the host's namespace that name one of *places*: others mount here too."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return [line for line in file if any(str(place) in line for place in places)]


def refused(error: LaunchError) -> None:
    """To be refused is as good as to be held, if it is for what the image or the volume has there."""
    said = r"cannot (mount|bind|mask|protect|trust|give a terminal|change to the directory|work in|look up)"
    assert re.search(said, str(error)), error


@pytest.fixture
def hostile(jail: Engine) -> Iterator[Callable[..., str]]:
    """Make an image whose root has links where directories are expected; its name."""
    made: list[str] = []

    def make(name: str, links: dict[str, str]) -> str:
        container = jail.containers.create(LaunchOptions(image="starter", command=("true",)))
        upper = jail.containers.inspect(container.id)["upper"]
        for path, target in links.items():
            place = f"{upper}/{path}"
            os.makedirs(os.path.dirname(place), exist_ok=True)
            os.symlink(target, place)
        jail.changes.commit(container.id, name)
        jail.containers.remove(container.id)
        made.append(name)
        return name

    yield make
    for name in made:
        jail.images.remove([name])


@pytest.fixture
def canary(tmp_path: object) -> Iterator[str]:
    """A directory of the host with a file in it that nobody may touch."""
    place = f"{tmp_path}/canary"
    os.makedirs(f"{place}/sys/kernel")
    with open(f"{place}/alive", "w", encoding="ascii") as file:
        file.write("yes")
    yield place
    with open(f"{place}/alive", encoding="ascii") as file:
        assert file.read() == "yes"
    assert sorted(os.listdir(place)) == ["alive", "sys"]
    assert os.listdir(f"{place}/sys") == ["kernel"]
    shutil.rmtree(place)


MASKS = """
import os
for path in ("/proc/timer_list", "/proc/kcore", "/proc/keys"):
    if os.path.exists(path):
        print(open(path).read(1) == "")
for path in ("/proc/sys/kernel/hostname", "/proc/sysrq-trigger"):
    print(not os.access(path, os.W_OK) or os.statvfs(path).f_flag & os.ST_RDONLY == 1)
"""


@pytest.mark.parametrize("target", ["{canary}", "..{canary}", "/../../../..{canary}", "tmp", "/nosuch"])
@pytest.mark.parametrize("path", ["proc", "dev", "sys"])
def test_a_link_where_the_kernel_s_files_belong(
    jail: Engine, hostile: Prepared, canary: str, path: str, target: str
) -> None:
    """/proc of the image as a link would have what is protected there be the image's own (CVE-2019-19921)."""
    image = hostile("hostile", {path: target.format(canary=canary)})
    try:
        done = run(jail, "python3", "-c", MASKS, image=image)
    except LaunchError as error:
        refused(error)
    else:
        assert set(done.out.split()) == {"True"}, done.out + done.err
    assert host_mounts(canary, jail.root) == []


@pytest.mark.parametrize("target", ["{canary}", "../../../../../../..{canary}", "/proc/self/cwd/..{canary}"])
def test_a_volume_through_a_link_of_the_image(
    jail: Engine, hostile: Prepared, canary: str, tmp_path: object, target: str
) -> None:
    """The mount point is looked for inside, never on the host (CVE-2021-30465, CVE-2017-1002101)."""
    source = f"{tmp_path}/source"
    os.makedirs(source)
    with open(f"{source}/shown", "w", encoding="ascii") as file:
        file.write("shown")
    image = hostile("hostile", {"data": target.format(canary=canary)})
    try:
        done = run(jail, "cat", "/data/shown", image=image, volumes=(Volume(source, "/data"),))
    except LaunchError as error:
        refused(error)
    else:
        assert done.out == "shown"
    assert host_mounts(canary, jail.root) == []


def test_files_of_ours_through_links_of_the_image(jail: Engine, hostile: Prepared, canary: str) -> None:
    """/etc/hosts and its like, and the working directory, as links out of the root."""
    links = {"etc/hosts": f"{canary}/alive", "etc/hostname": f"../../../..{canary}/made", "work": canary}
    image = hostile("hostile", links)
    try:
        done = run(
            jail, "sh", "-c", "echo over > /etc/hosts; touch made; pwd -P", image=image, workdir="/work"
        )
    except LaunchError as error:
        refused(error)
        return
    assert done.out.strip() in (canary, "/work")


@pytest.mark.parametrize("path", ["/dev/null", "/dev/pts", "/dev/console", "/dev/shm", "/dev/mqueue"])
def test_a_dev_of_the_image_s_own_choosing(jail: Engine, canary: str, tmp_path: object, path: str) -> None:
    """A volume over /dev with links in it: neither masks nor terminals follow them (CVE-2025-31133)."""
    fake = f"{tmp_path}/dev"
    shutil.rmtree(fake, ignore_errors=True)
    os.makedirs(fake)
    os.symlink(f"{canary}/sys", fake + path.removeprefix("/dev"))
    for tty in (False, True):
        options = LaunchOptions(
            image="starter",
            command=("python3", "-c", MASKS),
            auto_remove=True,
            tty=tty,
            volumes=(Volume(fake, "/dev"),),
        )
        with capture() as (streams, read):
            try:
                jail.containers.run(options, attach=True, streams=streams)
            except LaunchError as error:
                refused(error)
                continue
            assert set(read()[0].split()) == {"True"}, read()
    assert host_mounts(canary, jail.root) == []


def test_a_directory_swapped_for_a_link_while_it_is_mounted_on(
    jail: Engine, canary: str, tmp_path: object
) -> None:
    """A volume inside a volume whose owner swaps the mount point, again and again (CVE-2021-30465)."""
    shared, inner = f"{tmp_path}/shared", f"{tmp_path}/inner"
    os.makedirs(f"{shared}/point")
    os.makedirs(inner)
    with open(f"{inner}/shown", "w", encoding="ascii") as file:
        file.write("shown")
    os.symlink(f"../../../../../../../..{canary}", f"{shared}/link")
    done = threading.Event()

    def swap() -> None:
        libc = ctypes.CDLL(None)
        a, b = f"{shared}/point".encode(), f"{shared}/link".encode()
        while not done.is_set():
            assert libc.renameat2(-100, a, -100, b, 2) == 0  # RENAME_EXCHANGE

    swapper = threading.Thread(target=swap)
    swapper.start()
    outcomes = set()
    try:
        for _ in range(12):
            volumes = (Volume(shared, "/shared"), Volume(inner, "/shared/point"))
            try:
                found = run(jail, "sh", "-c", "find / -xdev -name shown 2>/dev/null; ls /", volumes=volumes)
                outcomes.add("started")
                assert "canary" not in found.out
            except LaunchError as error:
                refused(error)
                outcomes.add("refused")
    finally:
        done.set()
        swapper.join()
    assert outcomes
    assert host_mounts(canary, jail.root) == []


def test_what_is_masked_cannot_be_reached_another_way(jail: Engine) -> None:
    """Through a task's own directory, a chroot's, or a descriptor of the parent."""
    code = """
import os
found = []
for top in ("/proc/self/root/proc", "/proc/1/root/proc", "/proc/thread-self/root/proc"):
    for name in ("kcore", "timer_list", "keys", "sysrq-trigger"):
        path = f"{top}/{name}"
        if os.path.exists(path):
            try:
                found.append(open(path, "w" if name == "sysrq-trigger" else "r").read(1))
            except (PermissionError, OSError):
                found.append("")
print(set(found))
"""
    assert run(jail, "python3", "-c", code).out == "{''}\n"
