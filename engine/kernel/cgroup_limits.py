"""The limits of a cgroup, from an OCI `linux.resources` document (runtime-spec, config-linux.md)."""

from __future__ import annotations

import errno
import os

from engine import errors
from engine.kernel import cgroup1, cgroup2, cgroup_tree, cgroupfs
from engine.kernel.cgroupfs import UNIFIED, Cgroup
from engine.model import JSON

KERNEL_MEMORY = "memory.kernel: kernels since 5.16 count it with the rest and limit it no more"
"""The one limit that the runtime-spec advises against and that is left out without harm."""


def has_io_weight(hierarchies: cgroupfs.Hierarchies) -> bool:
    """Whether the cgroups of this machine have a weight of IO: some scheduler has to be there for it.

    The root has none itself: where it is alone, the answer is yes.
    """
    controller, file = ("blkio", "blkio.bfq.weight") if hierarchies.version == 1 else (UNIFIED, "io.weight")
    top = hierarchies.roots.get(controller)
    if top is None:
        return False
    with os.scandir(top) as entries:
        below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    return not below or any(os.path.exists(f"{place}/{file}") for place in below)


def apply(cgroup: Cgroup, resources: JSON) -> list[str]:
    """Set the limits of an OCI `linux.resources` document; what it does not name stays as it is.

    Returns a sentence fragment for everything left out because the kernel has no file for it and nothing is
    worse for it (swap accounting, burst, weights of block devices). Raises `UnsupportedError` where the
    controller is missing, `ConflictError` where more is in use than a new limit allows, `UsageError` for a
    value that the kernel does not take.
    """
    _check(resources)
    settings, left_out = _settings(cgroup, resources)
    if ((resources.get("memory") or {}).get("kernel") or 0) > 0:
        left_out.append(KERNEL_MEMORY)
    for controller in dict.fromkeys(setting.controller for setting in settings):
        if controller in cgroupfs.ON_DEMAND:
            _make(cgroup, controller)
    left_out += _apply_memory(cgroup, resources.get("memory") or {})
    again: list[cgroup1.Setting | cgroup2.Setting] = []
    for setting in settings:
        directory = _directory(cgroup, setting)
        if setting.optional and not (directory and os.path.exists(f"{directory}/{setting.file}")):
            left_out.append(f"{setting.file}: this kernel has no such file")
        elif not _set(cgroup, setting, final=setting.file != "cpu.cfs_period_us"):
            again.append(setting)
    # A new period can be refused as long as the old quota is more of it than the parent has.
    for setting in again:
        _set(cgroup, setting, final=True)
    return left_out


def _check(resources: JSON) -> None:
    """What would be written nowhere must not pass for done."""
    for entry in (resources.get("blockIO") or {}).get("weightDevice") or ():
        if not entry.get("weight") and not entry.get("leafWeight"):
            raise errors.UsageError(
                f"no weight is given for the device {entry.get('major')}:{entry.get('minor')}"
            )
    for device, limits in (resources.get("rdma") or {}).items():
        if limits.get("hcaHandles") is None and limits.get("hcaObjects") is None:
            raise errors.UsageError(f"no limit is given for the RDMA device {device} of rdma")


def _settings(cgroup: Cgroup, resources: JSON) -> tuple[list[cgroup1.Setting | cgroup2.Setting], list[str]]:
    """What to write, and what there is nothing for."""
    if cgroup.version == 2:
        return [*cgroup2.settings(resources)], cgroup2.without_equal(resources)
    if resources.get("unified"):
        raise errors.UnsupportedError(
            "unified limits cannot be set", "this machine's controllers are those of version 1"
        )
    found: list[cgroup1.Setting | cgroup2.Setting] = [*cgroup1.settings(resources)]
    for name in ("hugetlb", "rdma"):
        # A hybrid machine has each controller in one of its hierarchies.
        if name not in cgroup.directories and UNIFIED in cgroup.directories:
            found = [setting for setting in found if setting.controller != name]
            found += [setting for setting in cgroup2.further(resources) if setting.controller == name]
    return found, []


def _directory(cgroup: Cgroup, setting: cgroup1.Setting | cgroup2.Setting) -> str | None:
    return cgroup.directories.get(UNIFIED if isinstance(setting, cgroup2.Setting) else setting.controller)


def _set(cgroup: Cgroup, setting: cgroup1.Setting | cgroup2.Setting, final: bool) -> bool:
    """Write one setting; False when the kernel does not take it and it is not yet *final*."""
    directory = _directory(cgroup, setting)
    if directory is None:
        raise _missing(setting.controller)
    try:
        cgroupfs.write(f"{directory}/{setting.file}", setting.value)
    except FileNotFoundError:
        raise _missing(setting.controller) from None
    except OSError as error:
        if not final and error.errno == errno.EINVAL:
            return False
        raise _refused(setting.file, setting.value, error) from error
    return True


def _apply_memory(cgroup: Cgroup, memory: JSON) -> list[str]:
    limit, swap = memory.get("limit"), memory.get("swap")
    if not limit and not swap:
        return []
    if limit and swap and 0 < swap < limit:
        raise errors.UsageError(
            f"memory and swap together ({swap} bytes) cannot be less than memory ({limit} bytes)",
            hint="raise the limit of memory and swap too",
        )
    directory = cgroup.directories.get(UNIFIED if cgroup.version == 2 else "memory")
    if directory is None or not os.path.exists(f"{directory}/cgroup.procs"):
        raise _missing("memory")
    if cgroup.version == 2:
        return _apply_memory2(directory, limit, swap)
    if limit and not swap and cgroup1.swap_is_below(directory, limit):
        raise errors.UsageError(
            "the memory limit would be above that of memory and swap together",
            hint="set the limit of memory and swap with it",
        )
    try:
        return cgroup1.apply_memory(directory, limit, swap)
    except FileNotFoundError:
        raise _missing("memory") from None
    except OSError as error:
        raise _refused("memory.limit_in_bytes", f"{limit}", error) from error


def _apply_memory2(directory: str, limit: int | None, swap: int | None) -> list[str]:
    left_out: list[str] = []
    try:
        if limit and limit > 0 and not cgroup2.make_room(directory, limit):
            raise _refused("memory.max", str(limit), OSError(errno.EBUSY, os.strerror(errno.EBUSY)))
        if limit:
            cgroupfs.write(f"{directory}/memory.max", str(limit) if limit > 0 else "max")
        current = limit or _number(cgroupfs.read(f"{directory}/memory.max"))
        if (swap_max := cgroup2.swap_max(current, swap)) is not None:
            if os.path.exists(f"{directory}/memory.swap.max"):
                cgroupfs.write(f"{directory}/memory.swap.max", swap_max)
            else:
                left_out.append("the swap limit: this kernel does not account swap")
    except FileNotFoundError:
        raise _missing("memory") from None
    except OSError as error:
        raise _refused("memory.max", f"{limit}", error) from error
    return left_out


def _number(text: bytes) -> int | None:
    return int(text) if text.strip().isdigit() else None


def _missing(controller: str) -> errors.UnsupportedError:
    return errors.UnsupportedError(
        f"{controller} cannot be limited on this machine",
        f"its cgroup controller {controller} is not available",
        "enable it in the kernel's command line or leave out the limit",
    )


def _refused(file: str, value: str, error: OSError) -> errors.CowlError:
    if error.errno == errno.EBUSY:
        return errors.ConflictError(
            f"the limit {value} is too low",
            f"{file}: more than that is in use",
            "free some or choose a higher limit",
        )
    if error.errno in (errno.EINVAL, errno.ERANGE):
        return errors.UsageError(f"the kernel does not take {value} as {file}", os.strerror(error.errno))
    if error.errno == errno.ENOENT:
        return errors.NotFoundError(f"the cgroup of {file} has gone")
    return errors.UnsupportedError(f"{file} cannot be set to {value}", os.strerror(error.errno or 0))


def _make(cgroup: Cgroup, controller: str) -> None:
    """Give the cgroup a *controller* that costs more than the usual ones together, once it is asked for."""
    directory = cgroup.directories.get(controller, "")
    if not directory:
        if UNIFIED not in cgroup.directories:
            raise _missing(controller)
        places = [cgroup.directories[UNIFIED]]
        for _ in range(cgroup.path.strip("/").count("/") + 1):
            places.append(os.path.dirname(places[-1]))
        for place in reversed(places[1:]):
            cgroup2.enable(place, (controller,))
        return
    if os.path.exists(directory):
        return
    cgroup_tree.make_leaf(cgroup._replace(directories={controller: directory}), directory)
    cgroup1.enter(directory, cgroup_tree.main_directory(cgroup))
