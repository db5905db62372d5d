"""What a container is shown of its cgroup."""

from __future__ import annotations

import os

from engine.kernel import cgroup
from engine.kernel.cgroupfs import ON_DEMAND
from engine.launch.mounting import CgroupView


def views_of(group: cgroup.Cgroup) -> tuple[CgroupView, ...]:
    """The directories of *group*; controllers that are mounted together share one."""
    if group.version == 2:
        return (CgroupView("", group.places[0]),)
    names: dict[str, list[str]] = {}
    for controller, directory in group.directories.items():
        if controller not in ON_DEMAND or os.path.exists(directory):
            names.setdefault(directory, []).append(controller)
    return tuple(CgroupView(",".join(found), directory) for directory, found in names.items())
