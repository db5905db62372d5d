"""What a monitor goes through before it has a container: then a launch touches nothing for the first time."""

from __future__ import annotations

import contextlib
import json
import os

from engine.errors import CowlError, NotFoundError
from engine.kernel import cgroup, devices, process
from engine.kernel.cgroupfs import Hierarchies
from engine.kernel.channel import pair
from engine.launch import detached, initlayer, kept, mountpoints, scripted
from engine.launch.cgroupviews import views_of
from engine.launch.filters import path_of
from engine.launch.mounting import CgroupView
from engine.launch.plan import Plan, plan_of
from engine.model import LaunchOptions
from engine.oci.runtime import CAPABILITIES, build_spec
from engine.store import clock


def sample() -> bytes:
    """A document like those to come."""
    from engine.oci.profile import default_profile

    options = LaunchOptions(image="sample", command=("true",))
    spec = build_spec(options, {}, hostname="sample", cgroup_path="sample", files={}, available=0)
    spec["linux"]["seccomp"] = default_profile(CAPABILITIES)
    return json.dumps(spec).encode()


def rehearse(document: bytes | None) -> detached.Stock | None:
    """Read and plan *document*, if there is one, and look at this machine as a launch does.

    What containers like it have in common comes back: it is nowhere yet.
    """
    hierarchies = cgroup.detect()
    process.identify(os.getpid())
    if document is None:
        return None
    spec = json.loads(document)
    path_of(spec["linux"].pop("seccomp"), "")  # found, not compiled
    plan = plan_of(spec)
    group = cgroup.locate(plan.cgroup_path, hierarchies)
    devices.policy([devices.parse(rule) for rule in plan.resources["devices"]])
    views_of(group)
    with contextlib.suppress(NotFoundError):  # nobody has made it
        cgroup.close(cgroup.entrances(group))
    kept.read(initlayer.path_of("", (), mountpoints.wanted(plan)), 1)
    clock.now()
    for channel in pair():
        channel.close()
    return _stock_up(plan, hierarchies)


def _stock_up(plan: Plan, hierarchies: Hierarchies) -> detached.Stock | None:
    if not scripted.available():
        return None
    try:
        stock = detached.stock_up(plan)
    except (OSError, KeyError):  # no privilege, an older kernel: a launch finds its own way
        return None
    with contextlib.suppress(OSError, CowlError, detached.Unsuited):
        views = [CgroupView(name, directory) for name, directory in hierarchies.bases.items()]
        scripted.rehearse(plan, views, stock)
    return stock
