"""What a monitor goes through before it has a container: then a launch touches nothing for the first time."""

from __future__ import annotations

import json
import os

from engine.kernel import cgroup, process
from engine.launch.filters import path_of
from engine.launch.plan import plan_of
from engine.model import LaunchOptions
from engine.oci.runtime import CAPABILITIES, build_spec


def sample() -> bytes:
    """A document like those to come."""
    from engine.oci.profile import default_profile

    options = LaunchOptions(image="sample", command=("true",))
    spec = build_spec(options, {}, hostname="sample", cgroup_path="sample", files={}, available=0)
    spec["linux"]["seccomp"] = default_profile(CAPABILITIES)
    return json.dumps(spec).encode()


def rehearse(document: bytes | None) -> None:
    """Read and plan *document*, if there is one, and look at this machine as a launch does."""
    hierarchies = cgroup.detect()
    process.identify(os.getpid())
    if document is None:
        return
    spec = json.loads(document)
    path_of(spec["linux"].pop("seccomp"), "")  # found, not compiled
    cgroup.locate(plan_of(spec).cgroup_path, hierarchies)
