"""config.md, Mounts: their order, every option, ID mappings, and the root."""

from __future__ import annotations

import ctypes
import os

import pytest

from tests.conformance.bundles import Bundle
from tests.conformance.requirements import MOUNT_OPTIONS

pytestmark = pytest.mark.kernel
requirement = pytest.mark.requirement


def entry(*options: str, source: str = "/tmp", destination: str = "/m") -> dict[str, object]:
    return {"destination": destination, "type": "none", "source": source, "options": list(options)}


def tmpfs(*options: str) -> dict[str, object]:
    return {"destination": "/m", "type": "tmpfs", "source": "x", "options": list(options)}


def mountinfo(bundle: Bundle, path: str = "/m") -> tuple[set[str], set[str], str]:
    """Options of the mount at *path* in the container, those of its file system, and its propagation."""
    done = bundle.run("cat /proc/self/mountinfo").check()
    fields = [line.split() for line in done.out.splitlines()]
    found = next(line for line in reversed(fields) if line[4] == path)
    dash = found.index("-")
    return set(found[5].split(",")), set(found[dash + 3].split(",")), " ".join(found[6:dash])


@requirement("C4")
def test_they_are_made_in_their_order(bundle: Bundle) -> None:
    bundle.config["mounts"] += [
        {"destination": "/m", "type": "tmpfs", "source": "first"},
        {"destination": "/m/inner", "type": "tmpfs", "source": "second"},
        {"destination": "/m/inner/inner", "type": "tmpfs", "source": "third"},
        {"destination": "/m", "type": "tmpfs", "source": "fourth"},
    ]
    out = bundle.run("cat /proc/self/mounts; ls -A /m").check().out
    made = [line.split()[0] for line in out.splitlines() if " /m" in line]
    assert made == ["first", "second", "third", "fourth"]
    assert out.endswith("0 0\n")


@requirement("C5")
def test_a_relative_destination_begins_at_the_root(bundle: Bundle) -> None:
    bundle.config["mounts"].append({"destination": "m/below", "type": "tmpfs", "source": "relative"})
    assert "relative /m/below tmpfs" in bundle.run("cat /proc/self/mounts").check().out


@pytest.mark.parametrize(
    ("given", "has", "has_not"),
    [
        (("ro",), {"ro"}, set()),
        (("ro", "rw"), {"rw"}, set()),
        (("nosuid",), {"nosuid"}, set()),
        (("nosuid", "suid"), set(), {"nosuid"}),
        (("nodev",), {"nodev"}, set()),
        (("nodev", "dev"), set(), {"nodev"}),
        (("noexec",), {"noexec"}, set()),
        (("noexec", "exec"), set(), {"noexec"}),
        (("noatime",), {"noatime"}, {"relatime"}),
        (("noatime", "atime"), {"relatime"}, {"noatime"}),
        (("nodiratime",), {"nodiratime"}, set()),
        (("nodiratime", "diratime"), set(), {"nodiratime"}),
        (("strictatime",), set(), {"relatime", "noatime"}),
        (("strictatime", "nostrictatime"), {"relatime"}, set()),
        (("relatime",), {"relatime"}, set()),
        (("norelatime",), set(), {"noatime"}),
        (("defaults",), {"rw"}, {"nosuid", "nodev", "noexec"}),
        (("nosymfollow",), {"nosymfollow"}, set()),
    ],
    ids="-".join,
)
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
@requirement(
    *(f"C4-{name}" for name in ("ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime")),
    *(f"C4-{name}" for name in ("atime", "nodiratime", "diratime", "strictatime", "nostrictatime")),
    *(f"C4-{name}" for name in ("relatime", "norelatime", "defaults", "bind")),
)
def test_options_of_a_mount(
    bundle: Bundle, kind: str, given: tuple[str, ...], has: set[str], has_not: set[str]
) -> None:
    if kind == "bind":
        bundle.config["mounts"].append(entry("bind", *given, source="/dev/shm"))
        has = has - {"relatime"}  # what the source has stays where nothing else is asked for
        has_not = has_not - {"nosuid", "nodev", "noexec"} if "defaults" in given else has_not
    else:
        bundle.config["mounts"].append(tmpfs(*given))
    options, _, _ = mountinfo(bundle)
    assert has <= options
    assert not has_not & options


@pytest.mark.parametrize(
    ("given", "has", "has_not"),
    [
        (("sync",), {"sync"}, set()),
        (("sync", "async"), set(), {"sync"}),
        (("dirsync",), {"dirsync"}, set()),
        (("lazytime",), {"lazytime"}, set()),
        (("lazytime", "nolazytime"), set(), {"lazytime"}),
        (("silent",), set(), {"silent"}),
        (("silent", "loud"), set(), {"silent"}),
        (("iversion",), set(), set()),
        (("iversion", "noiversion"), set(), {"iversion"}),
    ],
    ids="-".join,
)
@requirement(
    *(f"C4-{name}" for name in ("sync", "async", "dirsync", "lazytime", "nolazytime", "silent", "loud")),
    *("C4-iversion", "C4-noiversion"),
)
def test_options_of_a_file_system(
    bundle: Bundle, given: tuple[str, ...], has: set[str], has_not: set[str]
) -> None:
    """None of them may reach the file system as data: a tmpfs would refuse it."""
    bundle.config["mounts"].append(tmpfs(*given))
    _, options, _ = mountinfo(bundle)
    assert has <= options
    assert not has_not & options


@pytest.fixture
def shared_tree(bundle: Bundle) -> str:
    """A shared mount of the host with another below it; gone with the bundle's own mounts."""
    path = f"{bundle.path}/shared"
    os.mkdir(path)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"shared", path.encode(), b"tmpfs", 0, None) == 0
    bundle.undo.callback(libc.umount2, path.encode(), 2)
    assert libc.mount(None, path.encode(), None, 1 << 20, None) == 0
    os.mkdir(f"{path}/below")
    assert libc.mount(b"below", f"{path}/below".encode(), b"tmpfs", 0, None) == 0
    bundle.undo.callback(libc.umount2, f"{path}/below".encode(), 2)
    return path


@requirement("C4-bind", "C4-rbind")
def test_a_recursive_bind_has_what_is_below(bundle: Bundle, shared_tree: str) -> None:
    bundle.config["mounts"] += [
        entry("bind", source=shared_tree, destination="/one"),
        entry("rbind", source=shared_tree, destination="/all"),
    ]
    out = bundle.run("cat /proc/self/mounts").check().out
    assert " /all/below tmpfs" in out
    assert " /one/below tmpfs" not in out


@pytest.mark.parametrize(
    ("option", "top", "below"),
    [
        pytest.param(option, top, below, marks=requirement(f"C4-{option}"))
        for option, top, below in (
            ("private", "", "master"),
            ("rprivate", "", ""),
            ("slave", "master", "master"),
            ("rslave", "master", "master"),
            ("unbindable", "unbindable", "master"),
            ("runbindable", "unbindable", "unbindable"),
            ("shared", "shared", "master"),
            ("rshared", "shared", "shared"),
        )
    ],
)
def test_propagation(bundle: Bundle, shared_tree: str, option: str, top: str, below: str) -> None:
    bundle.config["mounts"].append(entry("rbind", option, source=shared_tree))
    assert mountinfo(bundle)[2].startswith(top)
    if not top:
        assert mountinfo(bundle)[2] == ""
    found = mountinfo(bundle, "/m/below")[2]
    assert found.startswith(below)
    assert below or not found


@requirement("C4-remount")
def test_remount(bundle: Bundle) -> None:
    bundle.config["mounts"] += [
        {"destination": "/m", "type": "tmpfs", "source": "x", "options": ["size=64k"]},
        {"destination": "/m", "type": "tmpfs", "source": "x", "options": ["remount", "ro", "size=128k"]},
    ]
    options, system, _ = mountinfo(bundle)
    assert "ro" in options | system
    assert "size=128k" in system


def test_every_option_that_must_be_known_is() -> None:
    from engine.launch.steps import OPTIONS

    assert set(MOUNT_OPTIONS) <= set(OPTIONS)


@pytest.mark.parametrize("option", ["rro", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnosymfollow"])
def test_recursive_options_reach_what_is_below(bundle: Bundle, shared_tree: str, option: str) -> None:
    bundle.config["mounts"].append(entry("rbind", option, source=shared_tree))
    assert option[1:] in mountinfo(bundle)[0]
    assert option[1:] in mountinfo(bundle, "/m/below")[0]


def test_ro_alone_does_not_reach_what_is_below(bundle: Bundle, shared_tree: str) -> None:
    bundle.config["mounts"].append(entry("rbind", "ro", source=shared_tree))
    assert "ro" in mountinfo(bundle)[0]
    assert "ro" not in mountinfo(bundle, "/m/below")[0]


def test_tmpcopyup(bundle: Bundle) -> None:
    os.makedirs(f"{bundle.rootfs}/full/inner", mode=0o750)
    os.symlink("/etc/passwd", f"{bundle.rootfs}/full/link")
    with open(f"{bundle.rootfs}/full/inner/file", "w", encoding="ascii") as file:
        file.write("kept\n")
    os.chown(f"{bundle.rootfs}/full/inner/file", 12, 34)
    bundle.config["mounts"].append(
        {"destination": "/full", "type": "tmpfs", "source": "x", "options": ["tmpcopyup"]}
    )
    script = (
        "cat /full/inner/file; stat -c %u:%g:%a /full/inner/file; readlink /full/link; echo new > /full/new"
    )
    assert bundle.run(script).check().out == "kept\n12:34:644\n/etc/passwd\n"
    assert not os.path.exists(f"{bundle.rootfs}/full/new")


@requirement("C6")
def test_idmap_by_the_mounts_own_mappings(bundle: Bundle) -> None:
    source = f"{bundle.path}/source"
    os.mkdir(source)
    for name, owner in (("mine", 1000), ("other", 5)):
        with open(f"{source}/{name}", "w", encoding="ascii"):
            os.chown(f"{source}/{name}", owner, owner)
    mapping = [{"containerID": 1000, "hostID": 77, "size": 1}]
    bundle.config["mounts"].append(
        {**entry("bind", "idmap", source=source), "uidMappings": mapping, "gidMappings": mapping}
    )
    done = bundle.run("stat -c %u:%g /m/mine /m/other")
    if "cannot map the IDs" in done.err:
        pytest.skip(f"refused: {done.err.strip()}")
    assert done.check().out == "77:77\n65534:65534\n"


@requirement("C6")
@pytest.mark.parametrize("option", ["idmap", "ridmap"])
def test_idmap_without_any_mapping_fails(bundle: Bundle, option: str) -> None:
    bundle.config["mounts"].append(entry("rbind", option))
    assert "cannot map the IDs" in bundle.refused()


@requirement("C7")
def test_one_mapping_without_the_other_fails(bundle: Bundle) -> None:
    mapping = [{"containerID": 0, "hostID": 77, "size": 1}]
    bundle.config["mounts"].append({**entry("bind", "idmap"), "uidMappings": mapping})
    assert "without the other" in bundle.refused()


@requirement("C2")
def test_a_root_that_is_not_there_fails(bundle: Bundle) -> None:
    bundle.config["root"]["path"] = "elsewhere"
    assert "no such directory" in bundle.refused()


@requirement("C3")
@pytest.mark.parametrize("read_only", [True, False])
def test_a_read_only_root(bundle: Bundle, read_only: bool) -> None:
    bundle.config["root"]["readonly"] = read_only
    assert (bundle.run("echo x > /file 2>/dev/null").code != 0) is read_only


def test_a_destination_through_links_stays_inside(bundle: Bundle) -> None:
    os.symlink("/../../../../../..", f"{bundle.rootfs}/out")
    os.symlink("/", f"{bundle.rootfs}/top")
    bundle.config["mounts"] += [
        {"destination": "/out/escaped", "type": "tmpfs", "source": "a"},
        {"destination": "/top/inside", "type": "tmpfs", "source": "b"},
    ]
    out = bundle.run("cat /proc/self/mounts").check().out
    assert "a /escaped tmpfs" in out
    assert "b /inside tmpfs" in out
    assert not os.path.exists("/escaped")


def test_a_file_is_bound_on_a_file_that_is_made(bundle: Bundle) -> None:
    with open(f"{bundle.path}/file", "w", encoding="ascii") as file:
        file.write("bound\n")
    bundle.config["mounts"].append(entry("bind", source="file", destination="/a/b/file"))
    assert bundle.run("cat /a/b/file").check().out == "bound\n"
