"""Starting a container on a bridge, in a network namespace of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

from tests.bench import peers
from tests.bench.measure import Case, Goal, Result, measure
from tests.bench.place import COWL, Place, call
from tests.network.machines import new_network
from tests.support import images, roots

SHARED = ("/var/lib/cni", "/run/netavark")
"""Where podman keeps leases for all its stores: covered, in this mount namespace."""


def results(place: Place) -> Iterator[Result]:
    """Whole commands beside podman's."""
    tree = f"{place.scratch}/tiny"
    images.tiny_tree(tree)
    images.tiny(f"{tree}.tar", tree)
    place.cowl("load", "-i", f"{tree}.tar")
    rival = peers.podman(place)
    with new_network() as pid:
        enter = ["nsenter", "-t", str(pid), "-n"]
        env = roots.environment(place.root, {"COWL_NETWORK": "bridge"})
        call([*enter, "sysctl", "-qw", "net.ipv4.ip_forward=1"])
        run = [*enter, COWL, "run", "--rm"]
        alone = [*run, "--network", "none", "bench:tiny", "true"]
        published = [*run, "-p", "8080:80", "-p", "5300:53/udp", "bench:tiny", "true"]
        cases = [
            Case("cowl run --rm", lambda: call([*run, "bench:tiny", "true"], env=env)),
            Case("the same, two ports", lambda: call(published, env=env)),
            Case("the same, no network", lambda: call(alone, env=env)),
        ]
        goals: tuple[Goal, ...] = ()
        if rival:
            for directory in filter(os.path.isdir, SHARED):
                call(["mount", "-t", "tmpfs", "cowl-bench", directory])
            options = [word for word in rival.options if word not in ("--network", "none")]
            theirs = [*enter, *rival.prefix, "run", *options, "--rm", "bench:tiny", "true"]
            cases.append(Case("podman run --rm", lambda: call(theirs)))
            goals = (Goal("cowl run --rm", "podman run --rm", 1 / 4),)
        yield measure("run true on a bridge, as a whole process", cases, goals, rounds=15)
