"""The engines that cowl is measured against, each with a store, bundles and cgroups of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any, NamedTuple

from tests.bench.place import Place, call


class Podman(NamedTuple):
    """podman on a store of its own; nothing that the user's podman has is seen or changed."""

    prefix: tuple[str, ...]
    options: tuple[str, ...]
    """For `run` and `create`: no network, limits that a root without CAP_SYS_RESOURCE may set."""

    def __call__(self, *arguments: str) -> str:
        """Run one podman command; its output."""
        return call([*self.prefix, *arguments])

    def run(self, *arguments: str) -> str:
        """`podman run` with `options`."""
        return self("run", *self.options, *arguments)


def podman(place: Place) -> Podman | None:
    """podman, with the first of crun and runc that works on this machine's cgroups; None without one."""
    if shutil.which("podman") is None:
        return None
    own = f"{place.scratch}/podman"
    store = ["--root", f"{own}/root", "--runroot", f"{own}/run", "--tmpdir", f"{own}/tmp"]
    store += ["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "none"]
    options = ["--network", "none", "--cgroup-parent", f"/{place.cgroup_parent}"]
    options += ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"]
    for runtime in ("crun", "runc"):
        made = Podman(("podman", *store, "--runtime", runtime), tuple(options))
        if shutil.which(runtime) and _answers(made, f"{place.scratch}/tiny.tar"):
            return made
    return None


def _answers(candidate: Podman, archive: str) -> bool:
    run = [*candidate.prefix, "run", "--rm", *candidate.options, "bench:tiny", "true"]
    return succeeds([*candidate.prefix, "load", "-q", "-i", archive]) and succeeds(run)


def succeeds(command: list[str]) -> bool:
    """Whether *command* ends with 0; what it prints is of no interest."""
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    return done.returncode == 0


def bundle(place: Place, runtime: str, tree: str) -> list[str] | None:
    """How *runtime* (runc or crun) runs `true` in *tree* from a bundle; None where it cannot."""
    if shutil.which(runtime) is None:
        return None
    directory = f"{place.scratch}/{runtime}"
    os.makedirs(directory, exist_ok=True)
    subprocess.run([runtime, "spec"], cwd=directory, check=True, capture_output=True)
    with open(f"{directory}/config.json", encoding="utf-8") as file:
        document: dict[str, Any] = json.load(file)
    document["process"].update(terminal=False, args=["/usr/bin/true"], rlimits=[])
    document["root"]["path"] = tree
    document["linux"]["cgroupsPath"] = f"/{place.cgroup_parent}/{runtime}"
    with open(f"{directory}/config.json", "w", encoding="utf-8") as file:
        json.dump(document, file)
    start = [runtime, "--root", f"{directory}/state"]
    for manager in ([], ["--cgroup-manager", "disabled"]):
        command = [*start, *manager, "run", "--bundle", directory, f"{place.cgroup_parent}-{runtime}"]
        if succeeds(command):
            return command
    return None


def bubblewrap(tree: str) -> list[str] | None:
    """How bwrap runs `true` in *tree*; None where it is not."""
    if shutil.which("bwrap") is None:
        return None
    view = ["--ro-bind", tree, "/", "--dev", "/dev", "--proc", "/proc"]
    return ["bwrap", "--unshare-all", *view, "/usr/bin/true"]
