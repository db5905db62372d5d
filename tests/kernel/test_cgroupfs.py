"""Where cgroups are: what the kernel's own tables say, in every form that machines have."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import errors
from engine.kernel import cgroup, cgroupfs

V2 = b"29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
COMOUNTED = (
    b"31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n"
    b"33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:11 - cgroup cgroup rw,cpu,cpuacct\n"
    b"34 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    b"35 31 0:32 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
    b"36 31 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)
OWN = b"4:memory:/a/b\n2:cpu,cpuacct:/a\n1:name=systemd:/s\n0::/u\n"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The two tables that `detect` reads, to be filled."""
    tables: dict[str, bytes] = {}
    monkeypatch.setattr(cgroupfs, "read", tables.__getitem__)
    return tables


def test_hybrid_with_controllers_mounted_together(machine: dict[str, bytes]) -> None:
    machine["/proc/self/mountinfo"], machine["/proc/self/cgroup"] = COMOUNTED, OWN
    found = cgroupfs.detect()
    assert found.version == 1
    assert found.bases == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct/a",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/a",
        "memory": "/sys/fs/cgroup/memory/a/b",
        "unified": "/sys/fs/cgroup/unified",
    }
    made = cgroup.locate("cowl/x", found)
    assert made.directories["cpuacct"] == made.directories["cpu"] == "/sys/fs/cgroup/cpu,cpuacct/a/cowl/x"
    assert made.places == [
        "/sys/fs/cgroup/cpu,cpuacct/a/cowl/x",
        "/sys/fs/cgroup/memory/a/b/cowl/x",
        "/sys/fs/cgroup/unified/cowl/x",
    ]
    assert cgroup.locate("/cowl/x", found).directories["memory"] == "/sys/fs/cgroup/memory/cowl/x"


def test_version_2_is_used_from_its_root(machine: dict[str, bytes]) -> None:
    machine["/proc/self/mountinfo"], machine["/proc/self/cgroup"] = V2, b"0::/user.slice/session-1.scope\n"
    found = cgroupfs.detect()
    assert found == cgroupfs.Hierarchies(2, {"unified": "/sys/fs/cgroup"}, {"unified": "/sys/fs/cgroup"})
    assert cgroup.locate("cowl/x", found).directories == {"unified": "/sys/fs/cgroup/cowl/x"}


def test_no_cgroups_at_all(machine: dict[str, bytes]) -> None:
    machine["/proc/self/mountinfo"], machine["/proc/self/cgroup"] = (
        b"1 1 0:1 / / rw - ext4 /dev/vda rw\n",
        b"0::/\n",
    )
    with pytest.raises(errors.UnsupportedError):
        cgroupfs.detect()


@pytest.mark.parametrize(
    ("root", "own", "directory"),
    [
        ("/docker/abc", "/docker/abc", "/point"),  # inside a container without a cgroup namespace
        ("/docker/abc", "/docker/abc/inner", "/point/inner"),
        ("/", "/", "/point"),
        ("/", "/../outside", "/point"),  # our cgroup lies outside of our cgroup namespace
        ("/docker/abc", "/docker/abcd", "/point"),
    ],
)
def test_own_directory_below_what_is_mounted(
    machine: dict[str, bytes], root: str, own: str, directory: str
) -> None:
    line = f"34 31 0:31 {root} /point rw - cgroup cgroup rw,memory\n"
    machine["/proc/self/mountinfo"], machine["/proc/self/cgroup"] = (
        line.encode(),
        f"4:memory:{own}\n".encode(),
    )
    assert cgroupfs.detect().bases == {"memory": directory}


@pytest.mark.parametrize("path", ["", "/", "cowl//x", "cowl/../x", "./x", "cowl/x\n", "cowl/a\0b"])
def test_paths_that_mean_nothing(path: str) -> None:
    hierarchies = cgroupfs.Hierarchies(2, {"unified": "/c"}, {"unified": "/c"})
    with pytest.raises(errors.UsageError):
        cgroup.locate(path, hierarchies)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


def escape(text: str) -> str:
    for character in "\\ \t\n#":
        text = text.replace(character, f"\\{ord(character):03o}")
    return text


@given(NAMES, NAMES)
def test_mount_points_of_any_name_come_back_whole(root: str, point: str) -> None:
    line = f"34 31 0:31 /{escape(root)} /{escape(point)} rw shared:1 - cgroup cgroup rw,memory"
    assert list(cgroupfs.mounts(line.encode())) == [("cgroup", f"/{root}", f"/{point}", ["rw", "memory"])]


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), st.integers(0, 1 << 64)), st.data())
def test_fields_of_flat_keyed_files(wanted: dict[str, int], data: st.DataObject) -> None:
    text = "".join(f"{key} {number}\n" for key, number in wanted.items()).encode()
    key = data.draw(st.sampled_from([*wanted, "absent_key_name"]))
    assert cgroupfs.field(text, key.encode()) == wanted.get(key, 0)


def test_a_description_survives_json() -> None:
    made = cgroupfs.Cgroup(1, "cowl/x", {"cpu": "/c/cowl/x", "cpuacct": "/c/cowl/x"})
    assert cgroupfs.Cgroup.from_json(made.to_json()) == made
    with pytest.raises(KeyError):
        cgroupfs.Cgroup.from_json({"version": 1})


@pytest.mark.kernel
def test_this_machine() -> None:
    found = cgroupfs.detect()
    for controller, base in found.bases.items():
        assert os.path.exists(f"{base}/cgroup.procs"), (controller, base)
        if controller != "unified":
            assert str(os.getpid()) in cgroupfs.read(f"{base}/cgroup.procs").decode().split()
