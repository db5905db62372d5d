"""Cgroup version 1: limits, freezer and join, one hierarchy per controller.

Documentation/admin-guide/cgroup-v1 of the kernel says what the files mean.
"""

from __future__ import annotations

import contextlib
import os

from engine import errors
from engine.kernel import cgroupfs
from engine.kernel.cgroupfs import Cgroup, Deadline, Hierarchies
from engine.model import JSON
from engine.record import Record

_UNLIMITED = 1 << 62
"""The kernel shows no limit as the largest multiple of a page; anything of this size is one."""


class Setting(Record):
    """One file to write."""

    controller: str
    file: str
    value: str
    optional: bool = False
    """Left out, and reported, where the kernel has no such file."""


def directories(hierarchies: Hierarchies, path: str) -> dict[str, str]:
    """The directories of the cgroup *path*, by controller, in the order in which they are entered."""
    bases = hierarchies.roots if path.startswith("/") else hierarchies.bases
    names = [*cgroupfs.V1_CONTROLLERS, cgroupfs.UNIFIED]
    return {name: f"{bases[name].rstrip('/')}/{path.strip('/')}" for name in names if name in bases}


def make(directory: str, controllers: list[str]) -> None:
    """Make a directory in the hierarchy of *controllers*, fit to be used; its parent exists."""
    os.mkdir(directory)
    if "cpuset" in controllers:
        # A new cpuset has neither CPUs nor memory nodes, and takes no process until it has both.
        parent = os.path.dirname(directory)
        for file in ("cpuset.cpus", "cpuset.mems"):
            cgroupfs.write(f"{directory}/{file}", cgroupfs.read(f"{parent}/{file}").decode().strip())
    if "memory" in controllers:
        # Before Linux 5.11 a child counted in its parent only if asked to.
        with contextlib.suppress(OSError):
            cgroupfs.write(f"{directory}/memory.use_hierarchy", "1")


def settings(resources: JSON) -> list[Setting]:
    """What to write for an OCI `linux.resources` document, memory's two limits aside (see `apply_memory`)."""
    found: list[Setting] = []
    cpu = resources.get("cpu") or {}
    if cpu.get("shares"):
        found.append(Setting("cpu", "cpu.shares", str(cpu["shares"])))
    if cpu.get("period"):
        found.append(Setting("cpu", "cpu.cfs_period_us", str(cpu["period"])))
    if cpu.get("quota"):
        found.append(Setting("cpu", "cpu.cfs_quota_us", str(max(-1, cpu["quota"]))))
    if cpu.get("burst") is not None:
        found.append(Setting("cpu", "cpu.cfs_burst_us", str(cpu["burst"]), optional=True))
    if cpu.get("idle") is not None:
        found.append(Setting("cpu", "cpu.idle", str(cpu["idle"]), optional=True))
    if cpu.get("realtimePeriod"):
        found.append(Setting("cpu", "cpu.rt_period_us", str(cpu["realtimePeriod"])))
    if cpu.get("realtimeRuntime"):
        found.append(Setting("cpu", "cpu.rt_runtime_us", str(cpu["realtimeRuntime"])))
    for key in ("cpus", "mems"):
        if cpu.get(key):
            found.append(Setting("cpuset", f"cpuset.{key}", cpu[key]))
    found += _memory(resources.get("memory") or {})
    limit = (resources.get("pids") or {}).get("limit")
    if limit is not None:
        found.append(Setting("pids", "pids.max", str(limit) if limit > 0 else "max"))
    return [
        *found,
        *_block(resources.get("blockIO") or {}),
        *_network(resources.get("network") or {}),
        *(Setting("hugetlb", file, value) for file, value in huge_pages(resources, "limit_in_bytes")),
        *(Setting("rdma", "rdma.max", value) for value in rdma(resources)),
    ]


def _memory(memory: JSON) -> list[Setting]:
    """All but the two limits of `apply_memory`."""
    found: list[Setting] = []
    for key, file in (
        ("reservation", "soft_limit_in_bytes"),
        ("kernelTCP", "kmem.tcp.limit_in_bytes"),
    ):
        if memory.get(key) and (key == "reservation" or memory[key] > 0):
            found.append(Setting("memory", f"memory.{file}", str(memory[key])))
    if memory.get("swappiness") is not None:
        found.append(Setting("memory", "memory.swappiness", str(memory["swappiness"])))
    if memory.get("useHierarchy") is not None:
        found.append(Setting("memory", "memory.use_hierarchy", str(int(memory["useHierarchy"]))))
    if memory.get("disableOOMKiller") is not None:
        found.append(Setting("memory", "memory.oom_control", str(int(memory["disableOOMKiller"]))))
    return found


def _network(network: JSON) -> list[Setting]:
    found = [
        Setting("net_prio", "net_prio.ifpriomap", f"{entry['name']} {entry['priority']}")
        for entry in network.get("priorities") or ()
    ]
    if network.get("classID") is not None:
        found.append(Setting("net_cls", "net_cls.classid", str(network["classID"])))
    return found


def huge_pages(resources: JSON, suffix: str) -> list[tuple[str, str]]:
    """Files and values of limits on huge pages: of those used, and of those set aside."""
    return [
        (f"hugetlb.{entry['pageSize']}.{kind}{suffix}", str(entry["limit"]))
        for entry in resources.get("hugepageLimits") or ()
        for kind in ("", "rsvd.")
    ]


def rdma(resources: JSON) -> list[str]:
    """Lines for rdma.max."""
    found = []
    for device, limits in (resources.get("rdma") or {}).items():
        names = (("hca_handle", "hcaHandles"), ("hca_object", "hcaObjects"))
        given = [f"{name}={limits[key]}" for name, key in names if limits.get(key) is not None]
        found.append(f"{device} {' '.join(given)}")
    return found


def _block(block: JSON) -> list[Setting]:
    found: list[Setting] = []
    if block.get("weight"):
        found.append(Setting("blkio", "blkio.bfq.weight", str(block["weight"]), optional=True))
    if block.get("leafWeight"):
        found.append(Setting("blkio", "blkio.leaf_weight", str(block["leafWeight"]), optional=True))
    for entry in block.get("weightDevice") or ():
        device = f"{entry['major']}:{entry['minor']}"
        for key, file in (("weight", "blkio.bfq.weight_device"), ("leafWeight", "blkio.leaf_weight_device")):
            if entry.get(key):
                found.append(Setting("blkio", file, f"{device} {entry[key]}", optional=True))
    for key, file in (
        ("throttleReadBpsDevice", "read_bps_device"),
        ("throttleWriteBpsDevice", "write_bps_device"),
        ("throttleReadIOPSDevice", "read_iops_device"),
        ("throttleWriteIOPSDevice", "write_iops_device"),
    ):
        for entry in block.get(key) or ():
            value = f"{entry['major']}:{entry['minor']} {entry['rate']}"
            found.append(Setting("blkio", f"blkio.throttle.{file}", value))
    return found


def apply_memory(directory: str, limit: int | None, swap: int | None) -> list[str]:
    """Set the limit of memory and that of memory and swap together, in bytes; -1 is none, None leaves it.

    The kernel refuses every state in which the first is above the second, so whichever makes room goes first.
    Returns what was left out: swap cannot be limited where it is not accounted (``swapaccount=0``).
    """
    limits = [("memory.limit_in_bytes", limit), ("memory.memsw.limit_in_bytes", swap)]
    left_out: list[str] = []
    if swap and not os.path.exists(f"{directory}/memory.memsw.limit_in_bytes"):
        left_out.append("the swap limit: this kernel does not account swap")
        limits.pop()
    elif limit and swap:
        before = int(cgroupfs.read(f"{directory}/memory.memsw.limit_in_bytes"))
        if limit < 0 or limit > before:
            limits.reverse()
    for file, value in limits:
        if value:
            cgroupfs.write(f"{directory}/{file}", str(value))
    return left_out


def swap_is_below(directory: str, limit: int) -> bool:
    """Whether the limit of memory and swap together, as it is, forbids a memory limit of *limit* bytes."""
    try:
        together = int(cgroupfs.read(f"{directory}/memory.memsw.limit_in_bytes"))
    except FileNotFoundError:
        return False
    return together < _UNLIMITED and (limit < 0 or limit > together)


def entrances(cgroup: Cgroup) -> list[str]:
    """The files through which a process enters.

    `tasks` moves one thread, `cgroup.procs` a whole process: for the latter the kernel shuts out every fork
    and exec of the machine first, which costs a grace period (10 ms and more); for a thread that moves itself
    it does not.
    """
    places = [place for name, place in cgroup.directories.items() if name != cgroupfs.UNIFIED]
    return [f"{place}/tasks" for place in dict.fromkeys(places)]


def freezer_state(cgroup: Cgroup) -> str:
    """THAWED, FREEZING or FROZEN; THAWED for a cgroup that has gone."""
    try:
        return cgroupfs.read(f"{cgroup.directories['freezer']}/freezer.state").decode().strip()
    except (KeyError, FileNotFoundError):
        return "THAWED"


def freeze(cgroup: Cgroup, seconds: float) -> bool:
    """Stop every process of *cgroup*; thaws it again and returns False when some would not stop in time.

    The freezer can stay FREEZING for as long as processes come and go; asking again makes it look again, and
    letting go now and then frees those that wait for one another (freezer-subsystem.rst).
    """
    file = f"{cgroup.directories['freezer']}/freezer.state"
    deadline = Deadline(seconds)
    tries = 0
    cgroupfs.write(file, "FROZEN")
    while freezer_state(cgroup) != "FROZEN":
        if not deadline.pause():
            cgroupfs.write(file, "THAWED")
            return False
        tries += 1
        if tries % 25 == 0:
            cgroupfs.write(file, "THAWED")
        cgroupfs.write(file, "FROZEN")
    return True


def thaw(cgroup: Cgroup) -> None:
    """Let it run again; nothing happens where it runs, or has gone."""
    with contextlib.suppress(KeyError, FileNotFoundError):
        cgroupfs.write(f"{cgroup.directories['freezer']}/freezer.state", "THAWED")


def enter(directory: str, sibling: str) -> None:
    """Move every process of the directory *sibling* into *directory*, made after they started."""
    file = f"{directory}/cgroup.procs"
    deadline = Deadline(1.0)
    inside: set[int] = set()
    while coming := set(cgroupfs.pids(sibling)) - inside:
        for pid in coming:
            with contextlib.suppress(ProcessLookupError):
                cgroupfs.write(file, str(pid))
        inside |= coming
        if not deadline.pause():
            raise errors.ConflictError("not every process could be given its limits", "it forks too fast")


def oom_kills(cgroup: Cgroup) -> int:
    """Processes that the kernel ended because the limit was reached; shown since Linux 4.13."""
    return cgroupfs.field(cgroupfs.read(f"{cgroup.directories['memory']}/memory.oom_control"), b"oom_kill")
