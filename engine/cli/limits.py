"""The limits that `create`, `run` and `update` are given. Every function raises UsageError."""

from __future__ import annotations

from collections.abc import Sequence

from engine.cli.options import Values
from engine.cli.values import integer, positive, size
from engine.errors import UsageError
from engine.model import Limits

CPU_PERIOD = 100_000
"""Microseconds: what a quota is of, if that is not said."""
_RATES = ("device_read_bps", "device_write_bps", "device_read_iops", "device_write_iops")
_OF_VERSION_1 = ("memory_swappiness", "oom_kill_disable")
KERNEL_MEMORY = "--kernel-memory is left out: kernels since 5.16 count it with the rest and limit it no more"
UNLIMITED_OOM = "with --oom-kill-disable and without --memory it can take all memory that there is"


def limits(values: Values, period: int | None = None) -> Limits:
    """The limits among *values*; what docker calls unlimited (-1 or 0) is none of its own.

    *period* is what a quota is of where nothing else is said, in microseconds.
    """
    pids = integer(values["pids_limit"], "--pids-limit")
    swappiness = integer(values.get("memory_swappiness"), "--memory-swappiness")
    return Limits(
        cpus=cpus(values, period),
        cpu_shares=integer(values["cpu_shares"], "--cpu-shares") or None,
        cpuset_cpus=values["cpuset_cpus"] or None,
        memory=size(values["memory"], "--memory") or None,
        memory_swap=-1
        if values["memory_swap"] == "-1"
        else size(values["memory_swap"], "--memory-swap") or None,
        pids=pids if pids is not None and pids > 0 else None,
        memory_reservation=size(values["memory_reservation"], "--memory-reservation") or None,
        cpu_period=integer(values["cpu_period"], "--cpu-period") or None,
        cpuset_mems=values["cpuset_mems"] or None,
        cpu_rt_period=integer(values["cpu_rt_period"], "--cpu-rt-period") or None,
        cpu_rt_runtime=integer(values["cpu_rt_runtime"], "--cpu-rt-runtime") or None,
        blkio_weight=integer(values["blkio_weight"], "--blkio-weight") or None,
        memory_swappiness=None if swappiness == -1 else swappiness,
        oom_kill_disable=True if values.get("oom_kill_disable") else None,
    )


def cpus(values: Values, period: int | None = None) -> float | None:
    """CPUs, from --cpus or from a quota of a period, which is *period* microseconds if nothing is said."""
    number = positive(values["cpus"], "--cpus")
    quota = integer(values["cpu_quota"], "--cpu-quota")
    given = integer(values["cpu_period"], "--cpu-period")
    if not quota and not given:
        return number or None
    if number:
        raise UsageError("--cpus is a quota already", "--cpu-quota and --cpu-period say another", "name one")
    return quota / (given or period or CPU_PERIOD) if quota and quota > 0 else None


def updates(values: Values, period: int | None = None) -> tuple[Limits, tuple[str, ...]]:
    """The limits that `update` is to set, and the names of those that are to be lifted; see `limits`."""
    flags = {"cpus": "cpus", "cpu_shares": "cpu_shares", "memory": "memory", "pids_limit": "pids"}
    lifted = tuple(
        name
        for flag, name in flags.items()
        if values[flag] in ("-1", "0") or (flag == "cpus" and values[flag] == "0.0")
    )
    kept = {flag: None if flags.get(flag) in lifted else value for flag, value in values.items()}
    if values["cpu_quota"] == "-1":
        lifted = (*lifted, "cpus")
    return limits(kept, period), lifted


def of_devices(values: Values) -> tuple[str, ...]:
    """Weights and rates of block devices, as the engine takes them: ``read-bps=/dev/sda:1048576``."""
    found = [f"weight={text}" for text in _checked(values["blkio_weight_device"], "--blkio-weight-device")]
    for dest in _RATES:
        flag = f"--{dest.replace('_', '-')}"
        for text in _checked(values[dest], flag):
            path, _, rate = text.rpartition(":")
            number = size(rate, flag) if dest.endswith("bps") else integer(rate, flag)
            found.append(f"{dest.removeprefix('device_').replace('_', '-')}={path}:{number}")
    return tuple(found)


def _checked(texts: Sequence[str], flag: str) -> Sequence[str]:
    for text in texts:
        path, _, number = text.rpartition(":")
        if not path.startswith("/dev/") or not number:
            raise UsageError(
                f"bad device {text!r} for {flag}",
                "it is no device with a number",
                "write it like /dev/sda:100",
            )
    return texts


def cautions(values: Values) -> list[str]:
    """What is well to know of *values* beforehand: sentences."""
    found = []
    if values["kernel_memory"]:
        size(values["kernel_memory"], "--kernel-memory")
        found.append(KERNEL_MEMORY)
    weighed = values["blkio_weight"] not in (None, "0")
    flags = [
        f"--{dest.replace('_', '-')}" for dest in _OF_VERSION_1 if values[dest] not in (None, False, "-1")
    ]
    if not (weighed or flags):
        return found
    from engine.kernel import cgroup, cgroup_limits

    here = cgroup.detect()
    if here.version == 2:
        found += [f"{flag} is left out: cgroups of version 2 have no such thing" for flag in flags]
    elif values["oom_kill_disable"] and not size(values["memory"], "--memory"):
        found.append(UNLIMITED_OOM)
    if weighed and not cgroup_limits.has_io_weight(here):
        found.append("--blkio-weight is left out: this kernel's cgroups have no weight of IO")
    return found
