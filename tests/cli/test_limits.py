"""Limits in docker's words: what they mean, and what a container's cgroup then says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from engine.cli import limits
from engine.cli.options import RUN
from engine.cli.parser import parse
from engine.engine import Engine
from engine.errors import UsageError
from engine.kernel import cgroup, cgroup_limits, cgroupfs
from engine.kernel.cgroupfs import UNIFIED
from engine.model import Limits
from tests.support.captures import start
from tests.support.roots import Run
from tests.support.traces import Root


def values(*words: str) -> Any:
    parsed = parse([*words, "x"], RUN.options)
    assert parsed is not None
    return parsed.values


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("--cpu-period", "50000"), Limits(cpu_period=50000)),
        (("--cpu-period=50000", "--cpu-quota=25000"), Limits(cpus=0.5, cpu_period=50000)),
        (("--cpu-quota", "-1"), Limits()),
        (("--cpuset-mems", "0"), Limits(cpuset_mems="0")),
        (
            ("--cpu-rt-period", "1000000", "--cpu-rt-runtime", "950"),
            Limits(cpu_rt_period=1_000_000, cpu_rt_runtime=950),
        ),
        (("--blkio-weight", "300"), Limits(blkio_weight=300)),
        (("--blkio-weight", "0"), Limits()),
        (("--memory-swappiness", "0"), Limits(memory_swappiness=0)),
        (("--memory-swappiness", "-1"), Limits()),
        (("--oom-kill-disable",), Limits(oom_kill_disable=True)),
        (("--oom-kill-disable=false",), Limits()),
        (("--memory=1g", "-c", "512", "-m=2g"), Limits(cpu_shares=512, memory=2 << 30)),
        (("--cpuset-cpus=", "--kernel-memory="), Limits()),
    ],
)
def test_limits_of_words(words: tuple[str, ...], meant: Limits) -> None:
    assert limits.limits(values(*words)) == meant


def test_limits_of_devices() -> None:
    words = ("--device-read-bps", "/dev/sda:1mb", "--device-write-bps=/dev/sda:2", "--device-read-iops")
    more = ("/dev/sda:3", "--device-write-iops", "/dev/a:b:4", "--blkio-weight-device", "/dev/sda:500")
    assert set(limits.of_devices(values(*words, *more))) == {
        *("read-bps=/dev/sda:1048576", "write-bps=/dev/sda:2", "read-iops=/dev/sda:3"),
        *("write-iops=/dev/a:b:4", "weight=/dev/sda:500"),
    }
    for text in ("sda:1", "/dev/sda", "/dev/sda:", "/dev/sda:x"):
        with pytest.raises(UsageError, match="write it like"):
            limits.of_devices(values("--device-read-bps", text))


def test_what_is_left_out_is_said() -> None:
    assert limits.cautions(values("-m", "64m")) == []
    assert limits.cautions(values("--kernel-memory", "64m")) == [limits.KERNEL_MEMORY]
    of_version_2 = cgroup.detect().version == 2
    alone = limits.cautions(values("--oom-kill-disable"))
    assert (alone == [limits.UNLIMITED_OOM]) != of_version_2
    told = limits.cautions(values("--oom-kill-disable", "--memory-swappiness", "3", "-m", "64m"))
    assert [each.partition(" ")[0] for each in told] == (
        ["--memory-swappiness", "--oom-kill-disable"] if of_version_2 else []
    )


@pytest.mark.kernel
def test_a_weight_of_io_where_there_is_one(starter_images: Root, engine: Engine, cowl: Run) -> None:
    done = cowl("run", "-d", "--blkio-weight", "300", "--name", "x", "starter", "sleep", "100", check=True)
    places = engine.containers.inspect("x")["cgroup"]["directories"]
    files = [f"{places.get('blkio')}/blkio.bfq.weight", f"{places.get(UNIFIED)}/io.weight"]
    has_it = any(os.path.exists(file) for file in files)
    assert cgroup_limits.has_io_weight(cgroup.detect()) == has_it
    assert ("--blkio-weight is left out" in done.stderr) != has_it
    if has_it and cgroup.detect().version == 1:
        assert said(engine, "blkio", "blkio.bfq.weight") == "300\n"


def test_no_weight_of_io(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    alone = cgroupfs.Hierarchies(2, {UNIFIED: str(tmp_path)}, {UNIFIED: str(tmp_path)})
    assert not cgroup_limits.has_io_weight(alone)
    (tmp_path / "a/io.weight").touch()
    assert cgroup_limits.has_io_weight(alone)
    assert not cgroup_limits.has_io_weight(cgroupfs.Hierarchies(1, {}, {}))


def block_device() -> str:
    """A block device of this machine that the kernel has, and has a node."""
    for name in sorted(os.listdir("/sys/block")):
        if os.path.exists(f"/dev/{name}"):
            return f"/dev/{name}"
    pytest.skip("this machine has no block device")


def said(engine: Engine, controller: str, file: str) -> str:
    """What a file of the cgroup of the container x says."""
    places = engine.containers.inspect("x")["cgroup"]["directories"]
    with open(f"{places.get(controller) or places[UNIFIED]}/{file}", encoding="ascii") as found:
        return found.read()


@pytest.mark.kernel
def test_a_cgroup_has_them(starter_images: Root, engine: Engine, cowl: Run) -> None:
    words = ("--cpu-period", "50000", "--cpu-quota", "25000", "--cpuset-mems", "0", "-m", "64m")
    more = ("--memory-swappiness", "10", "--name", "x", "starter", "sleep", "100")
    cowl("run", "-d", *words, *more, check=True)
    if cgroup.detect().version == 2:
        assert said(engine, "cpu", "cpu.max").split() == ["25000", "50000"]
        cowl("update", "--cpu-quota", "50000", "x", check=True)
        assert said(engine, "cpu", "cpu.max").split() == ["50000", "50000"]
        return
    assert said(engine, "cpu", "cpu.cfs_period_us") + said(engine, "cpu", "cpu.cfs_quota_us") == (
        "50000\n25000\n"
    )
    assert said(engine, "cpuset", "cpuset.mems") == "0\n"
    assert said(engine, "memory", "memory.swappiness") == "10\n"
    cowl("update", "--cpu-quota", "50000", "x", check=True)  # of the period that it has
    assert said(engine, "cpu", "cpu.cfs_period_us") + said(engine, "cpu", "cpu.cfs_quota_us") == (
        "50000\n50000\n"
    )
    assert engine.containers.get("x").limits.cpus == 1.0


@pytest.mark.kernel
def test_a_cgroup_has_those_of_devices(starter_images: Root, engine: Engine, cowl: Run) -> None:
    device = block_device()
    number = os.stat(device).st_rdev
    words = ("--device-read-bps", f"{device}:1mb", "--device-write-iops", f"{device}:100", "--name", "x")
    cowl("run", "-d", *words, "starter", "sleep", "100", check=True)
    node = f"{os.major(number)}:{os.minor(number)}"
    if cgroup.detect().version == 2:
        limited = [node, "rbps=1048576", "wbps=max", "riops=max", "wiops=100"]
        assert said(engine, "io", "io.max").split() == limited
        return
    assert said(engine, "blkio", "blkio.throttle.read_bps_device").split() == [node, "1048576"]
    assert said(engine, "blkio", "blkio.throttle.write_iops_device").split() == [node, "100"]


@pytest.mark.kernel
def test_its_document_keeps_what_an_update_does_not_name(
    starter_images: Root, engine: Engine, cowl: Run
) -> None:
    words = ("--device-read-bps", f"{block_device()}:1mb", "--blkio-weight", "200", "--name", "x")
    cowl("create", *words, "starter", "true", check=True)
    cowl("update", "--blkio-weight", "300", "--cpuset-mems", "0", "x", check=True)
    found = engine.containers.inspect("x")["config"]["linux"]["resources"]
    assert (found["blockIO"]["weight"], len(found["blockIO"]["throttleReadBpsDevice"])) == (300, 1)
    assert found["cpu"] == {"mems": "0"}
    cowl("update", "--pids-limit", "20", "x", check=True)
    assert engine.containers.inspect("x")["config"]["linux"]["resources"]["blockIO"]["weight"] == 300


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--blkio-weight", "5"), "choose one from 10 to 1000"),
        (("--memory-swappiness", "101"), "it goes from 0 to 100"),
        (("--device-read-bps", "/dev/null:1mb"), "is no block device"),
        (("--device-read-bps", "/dev/nothing-of-that-name:1mb"), "no device /dev/nothing-of-that-name"),
    ],
)
def test_what_no_kernel_takes(starter_images: Root, cowl: Run, words: tuple[str, ...], why: str) -> None:
    done = cowl("create", *words, "starter", "true")
    assert (done.returncode, why in done.stderr) == (2, True), done.stderr


@pytest.mark.kernel
def test_kernel_memory_is_no_mistake(starter_images: Root, engine: Engine, cowl: Run) -> None:
    done = cowl("run", "--rm", "--kernel-memory", "64m", "starter", "true", check=True)
    assert done.stderr.startswith("cowl: warning: --kernel-memory is left out")
    start(engine, name="x")
    done = cowl("update", "--kernel-memory", "64m", "x", check=True)
    assert (done.stdout, done.stderr.count("warning")) == ("x\n", 1)


@pytest.mark.kernel
def test_a_cgroup_for_its_cgroup(root: Root, starter_images: Root, engine: Engine, cowl: Run) -> None:
    words = ("--cgroup-parent", f"{root.cgroup_parent}/deep", "--name", "x")
    cowl("run", "-d", *words, "starter", "sleep", "100", check=True)
    found = engine.containers.inspect("x")
    assert found["config"]["linux"]["cgroupsPath"] == f"{root.cgroup_parent}/deep/{found['id']}"
    assert all(place.endswith(f"/deep/{found['id']}") for place in found["cgroup"]["directories"].values())
    cowl("rm", "-f", "x", check=True)
