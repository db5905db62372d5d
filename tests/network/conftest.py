"""A machine of one's own for every test: no interface, rule or sysctl of the real one is touched."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.network import machines
from tests.network.machines import Machine, new_network
from tests.support.traces import Root


@pytest.fixture
def lone(starter_images: Root, tmp_path: Path) -> Iterator[Machine]:
    """A machine without a cable."""
    (tmp_path / "serve").write_text(machines.SERVE)
    (tmp_path / "ask").write_text(machines.ASK)
    with new_network() as pid, new_network() as outside:
        made = Machine(pid, outside, starter_images, tmp_path)
        # A new namespace has what this machine has.
        made.run("sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")
        try:
            yield made
        finally:
            with contextlib.suppress(AssertionError):
                made.cowl("rm", "-f", *made.cowl("ps", "-aq").split())
            left = made.settled()
        assert left == [], "left on the machine"


@pytest.fixture
def machine(lone: Machine) -> Machine:
    """A machine with a way to the internet."""
    machines.wire(lone)
    return lone
