"""Cgroup version 2: limits, freezer and kill, one hierarchy for all controllers.

Documentation/admin-guide/cgroup-v2.rst of the kernel says what the files mean.
"""

from __future__ import annotations

import contextlib
import os
import select

from engine.kernel import cgroup1, cgroupfs
from engine.kernel.cgroupfs import UNIFIED, Cgroup, Deadline
from engine.model import JSON
from engine.record import Record


class Setting(Record):
    """One file to write."""

    file: str
    value: str
    optional: bool = False
    """Left out, and reported, where the kernel has no such file."""

    @property
    def controller(self) -> str:
        """The controller that the file belongs to."""
        return self.file.partition(".")[0]


def enable(directory: str, wanted: tuple[str, ...] = cgroupfs.V2_CONTROLLERS) -> None:
    """Let the children of *directory* use the controllers *wanted*, as far as it has them itself.

    One that cannot be had is no error here: whoever sets a limit finds that its file is missing.
    """
    file = f"{directory}/cgroup.subtree_control"
    enabled = cgroupfs.read(file).decode().split()
    available = cgroupfs.read(f"{directory}/cgroup.controllers").decode().split()
    missing = [name for name in wanted if name in available and name not in enabled]
    if not missing:
        return
    try:
        cgroupfs.write(file, " ".join(f"+{name}" for name in missing))
    except OSError:
        for name in missing:
            with contextlib.suppress(OSError):
                cgroupfs.write(file, f"+{name}")


def weight(shares: int) -> int:
    """cpu.weight (1..10000, default 100) for cpu.shares (2..262144, default 1024).

    The curve through the three fixed points (2, 1), (1024, 100) and (262144, 10000) that OCI runtimes use
    (runc from 1.3.2, crun from 1.23); the linear one before it gave a default share a weight of 39.
    """
    import math

    exponent = math.log2(min(max(shares, 2), 262144))
    return min(max(math.ceil(round(10 ** ((exponent**2 + 125 * exponent) / 612 - 7 / 34), 9)), 1), 10000)


def settings(resources: JSON) -> list[Setting]:
    """What to write for an OCI `linux.resources` document, memory.max aside (see `apply_memory`)."""
    found: list[Setting] = []
    cpu = resources.get("cpu") or {}
    if cpu.get("shares"):
        found.append(Setting("cpu.weight", str(weight(cpu["shares"]))))
    if cpu.get("quota"):
        quota = str(cpu["quota"]) if cpu["quota"] > 0 else "max"
        found.append(Setting("cpu.max", f"{quota} {cpu['period']}" if cpu.get("period") else quota))
    if cpu.get("burst") is not None:
        found.append(Setting("cpu.max.burst", str(cpu["burst"]), optional=True))
    if cpu.get("idle") is not None:
        found.append(Setting("cpu.idle", str(cpu["idle"]), optional=True))
    for key in ("cpus", "mems"):
        if cpu.get(key):
            found.append(Setting(f"cpuset.{key}", cpu[key]))
    reservation = (resources.get("memory") or {}).get("reservation")
    if reservation:
        found.append(Setting("memory.low", str(reservation) if reservation > 0 else "max"))
    limit = (resources.get("pids") or {}).get("limit")
    if limit is not None:
        found.append(Setting("pids.max", str(limit) if limit > 0 else "max"))
    found += _block(resources.get("blockIO") or {})
    found += further(resources)
    return found + [Setting(file, str(value)) for file, value in (resources.get("unified") or {}).items()]


def further(resources: JSON) -> list[Setting]:
    """Limits of huge pages and RDMA, which a hybrid machine may have in this hierarchy too."""
    pages = [Setting(file, value) for file, value in cgroup1.huge_pages(resources, "max")]
    return pages + [Setting("rdma.max", value) for value in cgroup1.rdma(resources)]


def without_equal(resources: JSON) -> list[str]:
    """What *resources* ask for that version 2 has nothing for."""
    memory, cpu = resources.get("memory") or {}, resources.get("cpu") or {}
    network, block = resources.get("network") or {}, resources.get("blockIO") or {}
    asked = {
        "memory.swappiness": memory.get("swappiness") is not None,
        "memory.disableOOMKiller": bool(memory.get("disableOOMKiller")),
        "memory.kernelTCP": (memory.get("kernelTCP") or 0) > 0,
        "cpu.realtimeRuntime": bool(cpu.get("realtimeRuntime")),
        "cpu.realtimePeriod": bool(cpu.get("realtimePeriod")),
        "network.classID": network.get("classID") is not None,
        "network.priorities": bool(network.get("priorities")),
        "blockIO.leafWeight": bool(block.get("leafWeight")),
    }
    return [f"{name}: cgroup version 2 has no such limit" for name, wanted in asked.items() if wanted]


def _block(block: JSON) -> list[Setting]:
    found: list[Setting] = []
    if block.get("weight"):
        # blkio.weight is 10..1000, io.weight 1..10000.
        found.append(Setting("io.weight", str(1 + (block["weight"] - 10) * 9999 // 990), optional=True))
    for entry in block.get("weightDevice") or ():
        if entry.get("weight"):
            value = f"{entry['major']}:{entry['minor']} {1 + (entry['weight'] - 10) * 9999 // 990}"
            found.append(Setting("io.weight", value, optional=True))
    for key, name in (
        ("throttleReadBpsDevice", "rbps"),
        ("throttleWriteBpsDevice", "wbps"),
        ("throttleReadIOPSDevice", "riops"),
        ("throttleWriteIOPSDevice", "wiops"),
    ):
        for entry in block.get(key) or ():
            found.append(Setting("io.max", f"{entry['major']}:{entry['minor']} {name}={entry['rate']}"))
    return found


def swap_max(limit: int | None, swap: int | None) -> str | None:
    """memory.swap.max for OCI's *limit* of memory and *swap* of both together; None leaves it alone."""
    if not swap:
        return None
    if swap < 0:
        return "max"
    return str(max(0, swap - (limit or 0)))


def make_room(directory: str, limit: int) -> bool:
    """Reclaim until *limit* bytes are enough; False, and nothing changed, when more is in use and stays so.

    Without it a lower memory.max ends processes at once, where version 1 refuses.
    """
    if int(cgroupfs.read(f"{directory}/memory.current")) <= limit:
        return True
    before = cgroupfs.read(f"{directory}/memory.high").decode().strip()
    cgroupfs.write(f"{directory}/memory.high", str(limit))
    try:
        return int(cgroupfs.read(f"{directory}/memory.current")) <= limit
    finally:
        cgroupfs.write(f"{directory}/memory.high", before)


def events(directory: str) -> dict[str, int]:
    """cgroup.events: `populated` and `frozen`; as if empty when the cgroup has gone."""
    with contextlib.suppress(FileNotFoundError, OSError):
        lines = cgroupfs.read(f"{directory}/cgroup.events").split()
        return {key.decode(): int(value) for key, value in zip(lines[::2], lines[1::2], strict=True)}
    return {"populated": 0, "frozen": 0}


def wait_for(directory: str, event: str, value: int, seconds: float) -> bool:
    """Wait until cgroup.events says that *event* is *value*; the kernel wakes whoever polls that file."""
    deadline = Deadline(seconds)
    try:
        descriptor = os.open(f"{directory}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return events(directory)[event] == value
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLPRI)
        os.pread(descriptor, 4096, 0)
        while events(directory)[event] != value:
            if not deadline.left:
                return False
            poll.poll(deadline.left * 1000)
            with contextlib.suppress(OSError):
                os.pread(descriptor, 4096, 0)
        return True
    finally:
        os.close(descriptor)


def freeze(cgroup: Cgroup, seconds: float) -> bool:
    """Stop every process of *cgroup*; thaws it again and returns False when some would not stop in time."""
    directory = cgroup.directories[UNIFIED]
    cgroupfs.write(f"{directory}/cgroup.freeze", "1")
    if wait_for(directory, "frozen", 1, seconds):
        return True
    cgroupfs.write(f"{directory}/cgroup.freeze", "0")
    return False


def thaw(cgroup: Cgroup) -> None:
    """Let it run again; nothing happens where it runs, or has gone."""
    with contextlib.suppress(FileNotFoundError):
        cgroupfs.write(f"{cgroup.directories[UNIFIED]}/cgroup.freeze", "0")


def kill(directory: str) -> bool:
    """End everything below *directory* at once; False where the kernel (before 5.14) cannot."""
    try:
        cgroupfs.write(f"{directory}/cgroup.kill", "1")
    except OSError:
        return False
    return True


def oom_kills(cgroup: Cgroup) -> int:
    """Processes that the kernel ended because the limit was reached."""
    return cgroupfs.field(cgroupfs.read(f"{cgroup.directories[UNIFIED]}/memory.events"), b"oom_kill")
