"""What a first process and its parent say to one another until the program runs."""

from __future__ import annotations

import pytest

from engine.errors import LaunchError
from engine.kernel.channel import Channel, pair
from engine.launch import birth, init, request
from engine.launch.plan import Plan, plan_of
from engine.model import LaunchOptions
from engine.oci.runtime import build_spec


def _plan() -> Plan:
    options = LaunchOptions(image="sample", command=("true",))
    return plan_of(
        build_spec(options, {}, hostname="sample", cgroup_path="sample", files={}, available=0), None
    )


@pytest.fixture
def born() -> tuple[birth.Born, Channel]:
    ours, theirs = pair()
    return birth.Born(0, -1, ours), theirs


def test_what_failed_is_heard_although_go_was_sent_ahead(born: tuple[birth.Born, Channel]) -> None:
    parent, child = born
    with parent.channel:
        assert birth.send_ahead(parent, _plan())
        child.send(request.FAILED + request.failure(LaunchError("cannot mount it", "no such device")))
        child.close()
        with pytest.raises(LaunchError, match="cannot mount it"):
            birth.await_ready(parent, _plan(), dict, lambda _: None)


def test_go_is_sent_ahead_to_a_process_that_has_ended(born: tuple[birth.Born, Channel]) -> None:
    parent, child = born
    with parent.channel:
        child.close()
        assert birth.send_ahead(parent, _plan())
        with pytest.raises(LaunchError, match="killed"):
            birth.await_ready(parent, _plan(), dict, lambda _: None)


def test_go_waits_where_hooks_answer_on_the_same_channel(born: tuple[birth.Born, Channel]) -> None:
    parent, child = born
    with parent.channel, child:
        assert not birth.send_ahead(parent, _plan()._replace(hooks={"prestart": ()}))
        child.send(init.READY)
        birth.await_ready(parent, _plan(), dict, lambda _: None)
