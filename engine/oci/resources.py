"""What a container may use, as linux.resources has it (runtime-spec, config-linux.md, Control groups)."""

from __future__ import annotations

from engine.errors import UsageError
from engine.model import JSON, Limits

MIN_MEMORY = 6 << 20
"""Bytes: docker's lowest limit."""
CPU_PERIOD = 100_000
"""Microseconds, where none is named."""
MIN_WEIGHT, MAX_WEIGHT = 10, 1000
"""Of a container's IO beside others."""
DEVICES_ALLOWED = (
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    ("c", 1, 3, "rwm"),  # null
    ("c", 1, 5, "rwm"),  # zero
    ("c", 1, 7, "rwm"),  # full
    ("c", 1, 8, "rwm"),  # random
    ("c", 1, 9, "rwm"),  # urandom
    ("c", 5, 0, "rwm"),  # tty
    ("c", 5, 1, "rwm"),  # console
    ("c", 5, 2, "rwm"),  # ptmx
    ("c", 136, None, "rwm"),  # pts
)


def resources(limits: Limits, *, privileged: bool = False) -> JSON:
    """linux.resources for *limits*: also what `update` gives to a running container.

    Raises UsageError for a number that no kernel takes.
    """
    found: JSON = {"devices": _device_rules(privileged)}
    parts = {"cpu": _cpu(limits), "memory": _memory(limits)}
    found.update((name, part) for name, part in parts.items() if part)
    if limits.pids is not None:
        found["pids"] = {"limit": limits.pids}
    if limits.blkio_weight is not None:
        found["blockIO"] = {"weight": weight(limits.blkio_weight)}
    return found


def weight(number: int) -> int:
    """*number* as a weight of IO. Raises UsageError."""
    if not MIN_WEIGHT <= number <= MAX_WEIGHT:
        raise UsageError(
            f"the weight {number} of IO means nothing", "", f"choose one from {MIN_WEIGHT} to {MAX_WEIGHT}"
        )
    return number


def _cpu(limits: Limits) -> JSON:
    found: JSON = {}
    period = limits.cpu_period or CPU_PERIOD
    if limits.cpus is not None:
        found["quota"] = round(limits.cpus * period)
    if limits.cpus is not None or limits.cpu_period is not None:
        found["period"] = period
    for key, value in (
        ("shares", limits.cpu_shares),
        ("cpus", limits.cpuset_cpus),
        ("mems", limits.cpuset_mems),
        ("realtimePeriod", limits.cpu_rt_period),
        ("realtimeRuntime", limits.cpu_rt_runtime),
    ):
        if value is not None:
            found[key] = value
    return found


def _memory(limits: Limits) -> JSON:
    found: JSON = {}
    if limits.memory is not None:
        if limits.memory < MIN_MEMORY:
            raise UsageError(
                f"the memory limit of {limits.memory} bytes is too low",
                "nothing starts below 6m",
                "give 6m or more",
            )
        found["limit"] = limits.memory
    if limits.memory_swap is not None:
        found["swap"] = limits.memory_swap
    if limits.memory_reservation is not None:
        found["reservation"] = limits.memory_reservation
    if limits.memory_swappiness is not None:
        if not 0 <= limits.memory_swappiness <= 100:
            raise UsageError(f"bad swappiness {limits.memory_swappiness}", hint="it goes from 0 to 100")
        found["swappiness"] = limits.memory_swappiness
    if limits.oom_kill_disable:
        found["disableOOMKiller"] = True
    return found


def _device_rules(privileged: bool) -> list[JSON]:
    if privileged:
        return [{"allow": True, "access": "rwm"}]
    rules: list[JSON] = [{"allow": False, "access": "rwm"}]
    for kind, major, minor, access in DEVICES_ALLOWED:
        rule: JSON = {"allow": True, "type": kind, "access": access}
        if major is not None:
            rule["major"] = major
        if minor is not None:
            rule["minor"] = minor
        rules.append(rule)
    return rules
