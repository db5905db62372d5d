"""The overlay in both ways of mounting it, and mounts by descriptor, in namespaces of the tests' own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.kernel import mount, namespaces, syscalls

pytestmark = pytest.mark.kernel

Way = Callable[[list[str], str, str, str], None]


def by_parameters(lowers: list[str], upper: str, work: str, target: str) -> None:
    tree = mount.overlay_tree(lowers, upper, work)
    descriptor = os.open(target, os.O_PATH)
    mount.move_mount(tree, descriptor)


def apart(work: Callable[[], None]) -> None:
    """Run *work* in a child with its own mount namespace; what it raises fails the test."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            namespaces.unshare(namespaces.CLONE_NEWNS)
            mount.mount(None, "/", None, mount.MS_REC | mount.MS_PRIVATE)
            work()
            code = 0
        except BaseException as error:
            os.write(writer, repr(error).encode())
            raise
        finally:
            os._exit(code)
    os.close(writer)
    _, status = os.waitpid(pid, 0)
    with os.fdopen(reader, "rb") as file:
        said = file.read().decode()
    assert status == 0, said


@pytest.mark.parametrize("way", [by_parameters, mount.mount_overlay_by_options, mount.mount_overlay])
@pytest.mark.parametrize("count", [1, 3, 128])
@pytest.mark.parametrize("name", ["plain", "with:colon,comma", "back\\sla\\\\sh", "long" * 40])
def test_overlay(tmp_path: Path, way: Way, count: int, name: str) -> None:
    def work() -> None:
        base = str(tmp_path)
        mount.mount("tmpfs", base, "tmpfs", 0, "mode=755")
        top = f"{base}/{name}"
        lowers = [f"{top}/{number:03}" for number in range(count)]
        for number, lower in enumerate(lowers):
            os.makedirs(lower)
            for file in ("same", f"own{number}"):
                Path(lower, file).write_text(str(number))
        for directory in ("upper", "work", "merged"):
            os.mkdir(f"{top}/{directory}")
        way(lowers, f"{top}/upper", f"{top}/work", f"{top}/merged")
        merged = Path(f"{top}/merged")
        assert sorted(os.listdir(merged)) == sorted(["same", *(f"own{number}" for number in range(count))])
        assert (merged / "same").read_text() == "0"
        (merged / "same").write_text("new")
        assert Path(f"{top}/upper/same").read_text() == "new"
        assert Path(lowers[0], "same").read_text() == "0"

    if way is by_parameters and not has_lowerdir_plus():
        pytest.skip("this kernel has no lowerdir+")
    apart(work)


def has_lowerdir_plus() -> bool:
    """Before Linux 6.5 the overlay takes any name here, and refuses it only when it is mounted."""
    return takes_parameter(b"lowerdir+") and not takes_parameter(b"no-such-parameter")


def takes_parameter(name: bytes) -> bool:
    try:
        context = syscalls.call("open", syscalls.NR_FSOPEN, b"overlay", 1)
    except OSError:
        return False
    try:
        syscalls.call("set", syscalls.NR_FSCONFIG, context, 1, name, b"/", 0)
    except OSError:
        return False
    finally:
        os.close(context)
    return True


def test_an_error_says_what_was_tried(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=f"cannot mount nothing on {tmp_path}"):
        mount.mount("nothing", str(tmp_path), "no-such-file-system")
    with pytest.raises(OSError, match="cannot unmount"):
        mount.unmount(str(tmp_path))


def test_a_bind_by_descriptor_survives_a_swap(tmp_path: Path) -> None:
    """What is mounted is what was opened, whatever its name became."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "here").touch()
    (tmp_path / "target").mkdir()

    def work() -> None:
        tree = mount.clone_tree(-100, str(tmp_path / "real"))
        target = os.open(tmp_path / "target", os.O_PATH)
        os.rename(tmp_path / "target", tmp_path / "moved")
        os.symlink("/etc", tmp_path / "target")
        mount.move_mount(tree, target)
        assert os.listdir(tmp_path / "moved") == ["here"]

    apart(work)


def test_which_file_systems_are_volatile() -> None:
    assert mount.volatile("/dev/shm") is (os.statvfs("/dev/shm").f_fsid is not None)
    assert not mount.volatile("/proc")


def test_pivot_root_leaves_nothing_of_the_old_one(tmp_path: Path) -> None:
    def work() -> None:
        mount.mount("tmpfs", str(tmp_path), "tmpfs")
        os.mkdir(tmp_path / "proc")
        mount.mount("proc", str(tmp_path / "proc"), "proc")
        root = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
        namespaces.pivot_root(root)
        assert os.listdir("/") == ["proc"]
        points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        assert points == ["/", "/proc"]

    apart(work)


@pytest.mark.parametrize(
    ("release", "known"),
    [
        ("6.18.44-fc-v1045", True),
        ("6.7.0", True),
        ("6.7-rc1", True),
        ("6.12+", True),
        ("6.1.0-44-amd64", False),
    ],
)
def test_which_kernels_detach_overlays(monkeypatch: pytest.MonkeyPatch, release: str, known: bool) -> None:
    own = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*own[:2], release, *own[3:])))
    assert mount.overlays_are_detached() == known
