"""config-linux.md: namespaces, IDs, devices, what is hidden, the root's propagation, filters."""

from __future__ import annotations

import ctypes
import os
import stat
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from engine.launch.nodes import NULL
from tests.conformance.bundles import Bundle, eventually
from tests.support.pen import command_of

pytestmark = pytest.mark.kernel
requirement = pytest.mark.requirement

FILES = {
    "pid": "pid",
    "network": "net",
    "mount": "mnt",
    "ipc": "ipc",
    "uts": "uts",
    "cgroup": "cgroup",
    "user": "user",
    "time": "time",
}
SOME = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def namespaces(bundle: Bundle, *kinds: str, **paths: str) -> None:
    """Have the container make *kinds* and enter *paths*."""
    made: list[dict[str, str]] = [{"type": kind} for kind in kinds]
    bundle.linux["namespaces"] = made + [{"type": kind, "path": path} for kind, path in paths.items()]


def inside(bundle: Bundle, *kinds: str) -> list[str]:
    """The program's namespaces."""
    script = "; ".join(f"readlink /proc/self/ns/{FILES[kind]}" for kind in kinds)
    return bundle.run(script).check().out.split()


def own(*kinds: str) -> list[str]:
    return [os.readlink(f"/proc/self/ns/{FILES[kind]}") for kind in kinds]


def missing(kind: str) -> bool:
    return not os.path.exists(f"/proc/self/ns/{FILES[kind]}")


@pytest.fixture
def others() -> Iterator[int]:
    """A process in namespaces of its own."""
    kinds = ["--fork", "--pid", "--net", "--mount", "--ipc", "--uts", "--cgroup", "--user", "--map-root-user"]
    child = subprocess.Popen(["unshare", *kinds, "--kill-child", "sleep", "100"])
    found: list[int] = []

    def is_there() -> bool:
        with open(f"/proc/{child.pid}/task/{child.pid}/children", encoding="ascii") as file:
            found[:] = map(int, file.read().split())
        return bool(found) and command_of(found[0]) == "sleep"

    try:
        eventually(is_there)  # before it is sleep, its IDs are not mapped
        yield found[0]
    finally:
        child.kill()
        child.wait()


@requirement("X4")
@pytest.mark.parametrize("kind", [kind for kind in FILES if kind not in ("mount", "user")])
def test_a_namespace_is_made(bundle: Bundle, kind: str) -> None:
    if missing(kind):
        pytest.skip(f"this kernel has no {kind} namespaces")
    namespaces(bundle, *dict.fromkeys(("mount", kind)))
    if kind != "uts":
        del bundle.config["hostname"]
    assert inside(bundle, kind) != own(kind)


@requirement("X5")
def test_what_is_not_named_is_shared(bundle: Bundle) -> None:
    kinds = [kind for kind in FILES if kind != "mount" and not missing(kind)]
    namespaces(bundle, "mount")
    del bundle.config["hostname"]
    bundle.config["mounts"] = [entry for entry in bundle.config["mounts"] if entry["type"] != "sysfs"]
    assert inside(bundle, *kinds) == own(*kinds)


@requirement("X5")
def test_even_the_mount_namespace_can_be_shared(bundle: Bundle) -> None:
    namespaces(bundle, "pid")
    del bundle.config["hostname"]
    bundle.config["mounts"] = bundle.config["mounts"][:1]
    assert inside(bundle, "mount") == own("mount")
    bundle.nothing_left()


@requirement("X2")
@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup", "mount"])
def test_a_namespace_is_entered(bundle: Bundle, others: int, kind: str) -> None:
    path = f"/proc/{others}/ns/{FILES[kind]}"
    expected = os.readlink(path)
    namespaces(bundle, *(() if kind == "mount" else ("mount",)), **{kind: path})
    if kind != "uts":
        del bundle.config["hostname"]
    bundle.config["mounts"] = bundle.config["mounts"][:1]
    if kind == "mount":
        bundle.process["args"] = ["/bin/sleep", "100"]
        bundle.create().check()
        assert os.readlink(f"/proc/{bundle.state()['pid']}/ns/mnt") == expected
    else:
        assert inside(bundle, kind) == [expected]


@requirement("X2")
def test_a_user_namespace_is_entered_with_what_it_owns(bundle: Bundle, others: int) -> None:
    kinds = ("user", "pid", "network", "ipc", "uts")
    paths = {kind: f"/proc/{others}/ns/{FILES[kind]}" for kind in kinds}
    namespaces(bundle, "mount", **paths)
    expected = [os.readlink(path) for path in paths.values()]
    assert inside(bundle, *kinds) == expected


@requirement("X1")
def test_a_relative_path_of_a_namespace_fails(bundle: Bundle) -> None:
    namespaces(bundle, "mount", ipc="proc/self/ns/ipc")
    assert "not absolute" in bundle.refused()


@requirement("X3")
@pytest.mark.parametrize(
    ("kind", "file"), [("network", "ipc"), ("pid", "uts"), ("ipc", "net"), ("uts", "pid")]
)
def test_a_path_of_another_type_fails(bundle: Bundle, kind: str, file: str) -> None:
    namespaces(bundle, "mount", **{kind: f"/proc/self/ns/{file}"})
    assert "cannot enter the namespace" in bundle.refused()


@requirement("X3")
def test_a_path_that_is_no_namespace_fails(bundle: Bundle) -> None:
    namespaces(bundle, "mount", network="/etc/passwd")
    assert "cannot enter the namespace" in bundle.refused()


@requirement("X6")
def test_a_namespace_named_twice_fails(bundle: Bundle) -> None:
    bundle.linux["namespaces"].append({"type": "pid"})
    assert "named twice" in bundle.refused()


@requirement("C37")
@pytest.mark.parametrize("kind", ["", "network2", None])
def test_an_unknown_namespace_fails(bundle: Bundle, kind: object) -> None:
    bundle.linux["namespaces"].append({"type": kind})
    assert "malformed" in bundle.refused()


def in_user_namespace(bundle: Bundle) -> None:
    namespaces(bundle, *(kind for kind in FILES if kind != "time"))
    bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = SOME


@requirement("X4")
def test_a_user_namespace(bundle: Bundle) -> None:
    in_user_namespace(bundle)
    bundle.process["oomScoreAdj"] = 100
    out = bundle.run("cat /proc/self/uid_map /proc/self/gid_map; id -u; id -G; hostname").check().out
    assert out.split() == ["0", "100000", "65536"] * 2 + ["0", "0", "judged"]


def test_a_bind_where_the_containers_root_has_no_way(bundle: Bundle) -> None:
    in_user_namespace(bundle)
    hidden = f"{bundle.path}/hidden"
    os.makedirs(f"{hidden}/source")
    with open(f"{hidden}/source/file", "w", encoding="ascii") as file:
        file.write("seen\n")
    os.chmod(hidden, 0o700)
    os.mkdir(f"{bundle.rootfs}/m")
    bundle.config["mounts"].append(
        {"destination": "/m", "type": "bind", "source": f"{hidden}/source", "options": ["rbind", "ro"]}
    )
    assert bundle.run("cat /m/file; echo x > /m/file").out == "seen\n"


def test_exec_in_a_user_namespace(bundle: Bundle) -> None:
    in_user_namespace(bundle)
    bundle.process["args"] = ["/bin/sleep", "100"]
    bundle.create().check()
    bundle.call("start", "c").check()
    script = "cat /proc/self/uid_map; readlink /proc/self/ns/user /proc/1/ns/user"
    out = bundle.call("exec", "c", "/bin/sh", "-c", script).check().out.split()
    assert out[:3] == ["0", "100000", "65536"]
    assert out[3] == out[4]


@requirement("C37")
def test_a_user_namespace_without_mappings_fails(bundle: Bundle) -> None:
    namespaces(bundle, "mount", "user")
    assert "uidMappings" in bundle.refused()


def test_clocks_of_a_time_namespace(bundle: Bundle) -> None:
    if missing("time"):
        pytest.skip("this kernel has no time namespaces")
    bundle.linux["namespaces"].append({"type": "time"})
    bundle.linux["timeOffsets"] = {
        "monotonic": {"secs": 1000},
        "boottime": {"secs": 7 * 86400, "nanosecs": 5},
    }
    uptime = float(bundle.run("cat /proc/uptime").check().out.split()[0])
    with open("/proc/uptime", encoding="ascii") as file:
        assert 0 <= float(file.read().split()[0]) + 7 * 86400 - uptime < 60


@requirement("C37")
def test_offsets_without_a_time_namespace_fail(bundle: Bundle) -> None:
    bundle.linux["timeOffsets"] = {"monotonic": {"secs": 1}}
    assert "no new time namespace" in bundle.refused()


@requirement("X7")
def test_devices(bundle: Bundle) -> None:
    bundle.linux["devices"] = [
        {
            "path": "/dev/of/mine",
            "type": "c",
            "major": 1,
            "minor": 3,
            "fileMode": 0o640,
            "uid": 12,
            "gid": 34,
        },
        {"path": "/dev/fifo", "type": "p"},
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3},
    ]
    out = bundle.run("stat -c '%F %t:%T %a %u:%g' /dev/of/mine /dev/fifo").check().out.splitlines()
    assert out == ["character special file 1:3 640 12:34", "fifo 0:0 666 0:0"]


@requirement("X8")
@pytest.mark.parametrize("path", ["/dev/zero", "/etc/passwd", "/dev/pts"])
def test_something_else_in_a_devices_place_fails(bundle: Bundle, path: str) -> None:
    bundle.linux["devices"] = [{"path": path, "type": "c", "major": 1, "minor": 3}]
    assert "something else is in its place" in bundle.refused()


@requirement("X30")
def test_masked_paths(bundle: Bundle) -> None:
    os.mkdir(f"{bundle.rootfs}/hidden")
    with open(f"{bundle.rootfs}/hidden/file", "w", encoding="ascii"):
        pass
    bundle.linux["maskedPaths"] = ["/etc/passwd", "/hidden", "/proc/kcore", "/nowhere"]
    out = bundle.run("read x < /etc/passwd; echo [$x]; set -- /hidden/*; echo $1").check().out
    assert out == "[]\n/hidden/*\n"
    bundle.linux["maskedPaths"] = ["etc/passwd"]
    assert "not absolute" in bundle.refused()


@requirement("X30")
@pytest.mark.parametrize("kind", ["link", "file", "disk"])
def test_nothing_is_masked_by_what_is_no_null_device(bundle: Bundle, kind: str) -> None:
    """A /dev of somebody else's, in which another file takes its place (CVE-2025-31133)."""
    directory = f"{bundle.path}/dev"
    os.mkdir(directory)
    if kind == "link":
        os.symlink("/proc/sys/kernel/core_pattern", f"{directory}/null")
    else:
        os.mknod(f"{directory}/null", (stat.S_IFREG if kind == "file" else stat.S_IFBLK) | 0o666, NULL)
    bundle.config["mounts"][1:3] = [
        {"destination": "/dev", "type": "bind", "source": directory, "options": ["bind"]}
    ]
    bundle.linux["maskedPaths"] = ["/proc/kcore", "/proc/keys", "/proc/timer_list"]
    assert "not the null device" in bundle.refused()


@requirement("X31")
def test_read_only_paths(bundle: Bundle) -> None:
    bundle.linux["readonlyPaths"] = ["/etc", "/proc/sys", "/nowhere"]
    script = (
        "echo x 2>/dev/null > /etc/new || echo no; echo x 2>/dev/null > /proc/sys/kernel/hostname || echo no"
    )
    assert bundle.run(f"{script}; echo x > /tmp/new && echo yes").check().out == "no\nno\nyes\n"
    bundle.linux["readonlyPaths"] = ["etc"]
    assert "not absolute" in bundle.refused()


@requirement("C37")
@pytest.mark.parametrize(
    "name", ["vm.swappiness", "kernel.core_pattern", "net/ipv4/ip_forward", "kernel.shmmni"]
)
def test_sysctls_of_the_host_fail(bundle: Bundle, name: str) -> None:
    namespaces(bundle, "mount", "pid")
    del bundle.config["hostname"]
    bundle.linux["sysctl"] = {name: "1"}
    assert "cannot set the sysctl" in bundle.refused()


def test_sysctls_of_the_container(bundle: Bundle) -> None:
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "9000"}
    out = bundle.run("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax").check().out
    assert out == "1\n9000\n"


@pytest.mark.parametrize(
    ("wanted", "fields"),
    [("private", ""), ("slave", "master:"), ("shared", "shared:"), ("unbindable", "unbindable")],
)
def test_propagation_of_the_root(bundle: Bundle, wanted: str, fields: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(None, bundle.rootfs.encode(), None, 1 << 20, None) == 0
    bundle.linux["rootfsPropagation"] = wanted
    lines = bundle.run("cat /proc/self/mountinfo").check().out.splitlines()
    root = next(line.split() for line in lines if line.split()[4] == "/")
    found = " ".join(root[6 : root.index("-")])
    assert found.startswith(fields)
    assert fields or not found
    bundle.nothing_left()


@requirement("C37")
@pytest.mark.parametrize("wanted", ["nonsense", "Shared"])
def test_an_unknown_propagation_fails(bundle: Bundle, wanted: str) -> None:
    bundle.linux["rootfsPropagation"] = wanted
    assert "malformed" in bundle.refused()


def test_the_personality(bundle: Bundle) -> None:
    bundle.linux["personality"] = {"domain": "LINUX32"}
    assert bundle.run("exec cat /proc/self/personality").check().out == "00000008\n"


@requirement("C37")
@pytest.mark.parametrize("wanted", [{"domain": "BSD"}, {"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}])
def test_an_unknown_personality_fails(bundle: Bundle, wanted: dict[str, Any]) -> None:
    bundle.linux["personality"] = wanted
    assert "malformed" in bundle.refused()


@requirement("X26")
def test_intel_rdt_without_resctrl_fails(bundle: Bundle) -> None:
    bundle.linux["intelRdt"] = {"closID": "x", "l3CacheSchema": "L3:0=f"}
    assert "intelRdt" in bundle.refused()


@requirement("X27")
def test_resctrl_is_not_touched(bundle: Bundle) -> None:
    assert not os.path.exists("/sys/fs/resctrl/schemata")
    bundle.run().check()


@requirement("X28")
@pytest.mark.parametrize("action", ["SCMP_ACT_ALLOW", "SCMP_ACT_KILL", "SCMP_ACT_LOG"])
def test_an_errno_for_an_action_without_fails(bundle: Bundle, action: str) -> None:
    rule = {"names": ["mkdir"], "action": action, "errnoRet": 5}
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]}
    assert "errnoRet" in bundle.refused()


@requirement("X29")
def test_a_rule_without_names_fails(bundle: Bundle) -> None:
    rule: dict[str, object] = {"names": [], "action": "SCMP_ACT_ERRNO"}
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    assert "names" in bundle.refused()


def test_a_filter(bundle: Bundle) -> None:
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30}
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    done = bundle.run("mkdir /x")
    assert "Read-only file system" in done.err
