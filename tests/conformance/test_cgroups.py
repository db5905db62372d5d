"""config-linux.md, Control groups: where they are, what they limit, and what cannot be limited here."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from engine.kernel import cgroup, cgroupfs
from tests.conformance.bundles import Bundle, eventually
from tests.support.traces import Root

pytestmark = pytest.mark.kernel
requirement = pytest.mark.requirement


def group(bundle: Bundle, name: str = "c") -> cgroup.Cgroup:
    """The cgroup of a container that has been created."""
    with open(f"{bundle.run_root}/{name}/state.json", encoding="utf-8") as file:
        return cgroup.Cgroup.from_json(json.load(file)["cgroup"])


def limits(bundle: Bundle, resources: dict[str, Any]) -> cgroup.Cgroup:
    """Create a container with *resources*; its cgroup. Skips what is refused for want of a controller."""
    bundle.linux["resources"] = resources
    done = bundle.create()
    if done.code and ("not available" in done.err or "cannot be set" in done.err):
        bundle.nothing_left()
        pytest.skip(f"refused: {done.err.strip()}")
    done.check()
    return group(bundle)


def value(of: cgroup.Cgroup, first: tuple[str, str], second: str) -> str:
    """What a file holds: *first* is controller and file of version 1, *second* the file of version 2."""
    if of.version == 2:
        return cgroupfs.read(f"{of.directories['unified']}/{second}").decode().strip()
    controller, file = first
    return cgroupfs.read(f"{of.directories[controller]}/{file}").decode().strip()


def remove_parent(bundle: Bundle) -> None:
    """An absolute path's parents are not the runtime's to remove."""
    for top in cgroup.detect().roots.values():
        if os.path.isdir(f"{top}/{bundle.cgroup_parent}"):
            os.rmdir(f"{top}/{bundle.cgroup_parent}")


@requirement("X13")
def test_an_absolute_path_begins_at_the_mount_points(bundle: Bundle) -> None:
    bundle.linux["cgroupsPath"] = f"/{bundle.cgroup_parent}/abs"
    bundle.create().check()
    for directory in group(bundle).places:
        assert f"/{bundle.cgroup_parent}/abs" in directory
    roots = cgroup.detect().roots
    assert group(bundle).places[0] == f"{next(iter(roots.values()))}/{bundle.cgroup_parent}/abs"
    bundle.call("delete", "--force", "c").check()
    remove_parent(bundle)


@requirement("X14")
@pytest.mark.parametrize("path", ["{}/same", "/{}/same"])
def test_the_same_path_is_the_same_place(bundle: Bundle, path: str, root: Root) -> None:
    bundle.linux["cgroupsPath"] = path.format(bundle.cgroup_parent)
    found = []
    for _ in range(2):
        bundle.create().check()
        found.append(group(bundle).places)
        bundle.call("delete", "--force", "c").check()
    assert found[0] == found[1]
    remove_parent(bundle)


@requirement("X15")
@pytest.mark.parametrize("path", ["../escape", "a/../../b", "/", "a//b"])
def test_an_invalid_path_fails(bundle: Bundle, path: str) -> None:
    bundle.linux["cgroupsPath"] = path
    assert "no cgroup can be named" in bundle.refused()


@requirement("X12")
def test_a_cgroup_with_processes_fails(bundle: Bundle) -> None:
    bundle.create("one").check()
    assert "in use" in bundle.create("two").err
    bundle.nothing_left("two")
    assert bundle.state("one")["status"] == "created"


@requirement("X16")
def test_no_owner_is_changed(bundle: Bundle) -> None:
    bundle.process["user"] = {"uid": 12, "gid": 34}
    bundle.config["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"})
    bundle.create().check()
    for place in group(bundle).places:
        if os.path.isdir(place):
            assert os.stat(place).st_uid == os.stat(f"{place}/cgroup.procs").st_uid == 0


@requirement("X17")
def test_device_rules_apply_in_their_order(bundle: Bundle) -> None:
    nobodys = {"type": "c", "major": 1, "minor": 250}  # without a driver: ENXIO, if one gets that far
    bundle.linux["devices"] = [{"path": "/dev/nobodys", **nobodys}]
    answers = []
    for rules in ([False], [False, True], [False, True, False]):
        bundle.linux["resources"]["devices"] = [
            {"allow": rules[0], "access": "rwm"},
            *({"allow": allow, **nobodys, "access": "rw"} for allow in rules[1:]),
        ]
        done = bundle.run("(: < /dev/zero); (: < /dev/nobodys)")
        if "cannot hold a cgroup to its devices" in done.err:
            assert "such device" not in done.err
            pytest.skip("this kernel cannot; then no device node works but the usual ones")
        assert "/dev/zero" not in done.err
        answers.append("such device" in done.err)
    assert answers == [False, True, False]


@pytest.mark.parametrize(
    ("resources", "first", "second", "expected"),
    [
        ({"pids": {"limit": 77}}, ("pids", "pids.max"), "pids.max", "77"),
        ({"pids": {"limit": -1}}, ("pids", "pids.max"), "pids.max", "max"),
        (
            {"memory": {"limit": 64 << 20}},
            ("memory", "memory.limit_in_bytes"),
            "memory.max",
            str(64 << 20),
        ),
        (
            {"memory": {"reservation": 32 << 20}},
            ("memory", "memory.soft_limit_in_bytes"),
            "memory.low",
            str(32 << 20),
        ),
        ({"memory": {"swappiness": 10}}, ("memory", "memory.swappiness"), "", "10"),
        (
            {"memory": {"kernelTCP": 16 << 20}},
            ("memory", "memory.kmem.tcp.limit_in_bytes"),
            "",
            str(16 << 20),
        ),
        ({"cpu": {"shares": 2048}}, ("cpu", "cpu.shares"), "cpu.weight", "2048|174"),
        (
            {"cpu": {"quota": 50000, "period": 100000}},
            ("cpu", "cpu.cfs_quota_us"),
            "cpu.max",
            "50000|50000 100000",
        ),
        ({"cpu": {"idle": 1}}, ("cpu", "cpu.idle"), "cpu.idle", "1"),
        ({"cpu": {"cpus": "0"}}, ("cpuset", "cpuset.cpus"), "cpuset.cpus", "0"),
        ({"network": {"classID": 1048577}}, ("net_cls", "net_cls.classid"), "", "1048577"),
        ({"blockIO": {"weight": 100}}, ("blkio", "blkio.bfq.weight"), "io.weight", "100|default 910"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else None,
)
@requirement("X25", "C37")
def test_a_limit_is_set_or_refused(
    bundle: Bundle, resources: dict[str, Any], first: tuple[str, str], second: str, expected: str
) -> None:
    made = limits(bundle, resources)
    assert value(made, first, second) in expected.split("|")


@requirement("X18")
def test_a_limit_below_what_is_used_is_refused(bundle: Bundle) -> None:
    bundle.linux["resources"] = {"memory": {"limit": 64 << 20, "swap": 64 << 20}}
    bundle.script("x=$(dd if=/dev/zero bs=1M count=20 2>/dev/null | tr '\\0' x); echo > /ready; sleep 100")
    done = bundle.create()
    if done.code and ("memory cannot be limited" in done.err or "swap" in done.err):
        pytest.skip(f"refused: {done.err.strip()}")
    done.check()
    bundle.call("start", "c").check()
    eventually(lambda: os.path.exists(f"{bundle.rootfs}/ready"))
    wanted = json.dumps({"memory": {"limit": 4 << 20, "swap": 4 << 20, "checkBeforeUpdate": True}})
    done = bundle.call("update", "--resources", "-", "c", stdin=wanted)
    assert "more than that is in use" in done.err
    assert bundle.state()["status"] == "running"


def test_update_changes_a_running_container(bundle: Bundle) -> None:
    made = limits(bundle, {"pids": {"limit": 50}})
    bundle.call("update", "--pids-limit", "60", "c").check()
    assert value(made, ("pids", "pids.max"), "pids.max") == "60"
    wanted = json.dumps({"pids": {"limit": 70}})
    bundle.call("update", "-r", "-", "c", stdin=wanted).check()
    assert value(made, ("pids", "pids.max"), "pids.max") == "70"


@requirement("X19")
def test_a_burst_above_the_quota(bundle: Bundle) -> None:
    bundle.linux["resources"] = {"cpu": {"quota": 10000, "period": 100000, "burst": 20000}}
    assert bundle.refused()


@requirement("X20")
def test_a_weight_without_a_weight(bundle: Bundle) -> None:
    bundle.linux["resources"] = {"blockIO": {"weightDevice": [{"major": 8, "minor": 0}]}}
    assert "weight" in bundle.refused()


@requirement("X21")
def test_an_rdma_limit_without_a_limit(bundle: Bundle) -> None:
    bundle.linux["resources"] = {"rdma": {"mlx5_1": {}}}
    assert "rdma" in bundle.refused()


@requirement("X22")
def test_controllers_of_unified_are_enabled(bundle: Bundle) -> None:
    made = unified(bundle, {"pids.max": "99"})
    assert value(made, ("", ""), "pids.max") == "99"


@requirement("X23")
def test_unknown_files_of_unified_are_written(bundle: Bundle) -> None:
    made = unified(bundle, {"cgroup.max.depth": "7"})
    assert value(made, ("", ""), "cgroup.max.depth") == "7"


@requirement("X24")
@pytest.mark.parametrize("file", ["nosuch.max", "pids.nosuch", "../cgroup.procs", "memory/max"])
def test_a_controller_of_unified_that_is_not_there_fails(bundle: Bundle, file: str) -> None:
    bundle.linux["resources"] = {"unified": {file: "1"}}
    assert bundle.refused()


def unified(bundle: Bundle, values: dict[str, str]) -> cgroup.Cgroup:
    bundle.linux["resources"] = {"unified": values}
    done = bundle.create()
    if cgroup.detect().version == 1:
        assert "unified limits cannot be set" in done.err
        bundle.nothing_left()
        pytest.skip(f"refused: {done.err.strip()}")
    done.check()
    return group(bundle)


@requirement("X25")
def test_what_has_no_equal_fails(bundle: Bundle) -> None:
    for wanted in (
        {"network": {"priorities": [{"name": "lo", "priority": 3}]}},
        {"blockIO": {"leafWeight": 100}},
        {"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]},
    ):
        bundle.linux["resources"] = wanted
        assert bundle.refused()


def test_a_container_sees_its_own_cgroups(bundle: Bundle) -> None:
    bundle.config["mounts"].append(
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}
    )
    bundle.linux["resources"] = {"pids": {"limit": 33}}
    out = bundle.run(
        "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null; cat /proc/self/cgroup"
    )
    assert out.out.split()[0] == "33"
    assert bundle.cgroup_parent not in out.out
