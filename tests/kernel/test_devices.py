"""Device rules: what they come to, the BPF program for them, and that the kernel heeds both."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.kernel import cgroup, devices
from engine.kernel.cgroup import Cgroup
from engine.kernel.devices import MKNOD, READ, WRITE, Policy, Rule
from tests.support.pen import Pen, said
from tests.support.traces import Root

ALL = MKNOD | READ | WRITE

NUMBER = st.one_of(st.none(), st.integers(0, 3))
RULES = st.lists(
    st.builds(Rule, st.booleans(), st.sampled_from("abc"), NUMBER, NUMBER, st.integers(1, ALL)), max_size=8
)


def run(program: list[bytes], kind: int, major: int, minor: int, access: int) -> int:
    """What the kernel would get from a device program: the few instructions that ours use."""
    registers = [0] * 6
    context = {0: access << 16 | kind, 4: major, 8: minor}
    place = 0
    while True:
        code, both, offset, value = struct.unpack("=BBhI", program[place])
        to, source = both & 15, both >> 4
        place += 1
        if code == 0x95:
            return registers[0]
        if code == 0x61:
            assert source == 1
            registers[to] = context[offset]
        elif code in (0xB7, 0xBF):
            registers[to] = value if code == 0xB7 else registers[source]
        elif code == 0x57:
            registers[to] &= value
        elif code == 0x77:
            registers[to] >>= value
        elif code == 0x15:
            place += offset if registers[to] == value else 0
        elif code == 0x55:
            place += offset if registers[to] != value else 0
        elif code == 0x5D:
            place += offset if registers[to] != registers[source] else 0
        else:
            raise AssertionError(hex(code))


def allowed(policy: Policy, kind: str, major: int, minor: int, access: int) -> bool:
    """Version 1's rule (devices.rst), said directly."""
    for (its, its_major, its_minor), bits in policy.exceptions.items():
        if its != kind or its_major not in (None, major) or its_minor not in (None, minor):
            continue
        if (access & bits) if policy.default else not (access & ~bits):
            return not policy.default
    return policy.default


@given(RULES, st.sampled_from("bc"), st.integers(0, 4), st.integers(0, 4), st.integers(1, ALL))
def test_the_program_decides_as_version_1_does(
    rules: list[Rule], kind: str, major: int, minor: int, access: int
) -> None:
    policy = devices.policy(rules)
    decided = run(devices.program(policy), {"b": 1, "c": 2}[kind], major, minor, access)
    assert decided == allowed(policy, kind, major, minor, access)


def test_rules_as_documents_have_them() -> None:
    assert devices.parse({"allow": False, "access": "rwm"}) == Rule(False, "a", None, None, ALL)
    assert devices.parse({"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"}) == Rule(
        True, "c", 1, 3, READ | WRITE
    )
    assert str(devices.parse({"allow": True, "type": "c", "major": 136, "minor": -1})) == "c 136:* rwm"


def test_later_rules_take_away_what_earlier_ones_gave() -> None:
    rules = [
        Rule(False, "a", None, None, ALL),
        Rule(True, "c", 1, 3, ALL),
        Rule(True, "c", 1, 5, READ),
        Rule(True, "c", 1, 5, WRITE),
        Rule(False, "c", 1, 3, ALL),
    ]
    assert devices.policy(rules) == Policy(False, {("c", 1, 5): READ | WRITE})
    assert devices.policy([*rules, Rule(True, "a", None, None, ALL)]) == Policy(True, {})


@pytest.fixture
def pen(root: Root) -> Iterator[Pen]:
    with Pen(root.cgroup_parent) as made:
        yield made


PROBE = """
import os, sys
def can(do, *arguments):
    try:
        result = do(*arguments)
    except PermissionError:
        return "no"
    except OSError as error:
        return error.strerror
    if result is not None:
        os.close(result)
    return "yes"
print(can(os.open, "/dev/null", os.O_RDWR), can(os.open, PATH, os.O_RDONLY), flush=True)
"""


def probe(pen: Pen, where: Cgroup, path: str) -> list[str]:
    """Whether a process there can open /dev/null and *path*."""
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    try:
        pen.wait(pen.python(where, PROBE.replace("PATH", repr(path)), stdout=theirs))
        return said(ours).decode().split()
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.fixture
def forbidden() -> str:
    """A device that can be opened here, and is none of those that containers have."""
    for path in ("/dev/kmsg", "/dev/loop-control", "/dev/fuse"):
        try:
            os.close(os.open(path, os.O_RDONLY))
        except OSError:
            continue
        return path
    pytest.skip("there is no device to be refused here")


@pytest.mark.kernel
def test_a_container_has_the_usual_devices_and_no_other(pen: Pen, forbidden: str) -> None:
    made = pen.create()
    assert probe(pen, made, forbidden) == ["yes", "yes"]
    assert devices.allow_default_devices(made)
    assert probe(pen, made, forbidden) == ["yes", "no"]


@pytest.mark.kernel
def test_the_version_2_program_in_this_kernel(pen: Pen, forbidden: str) -> None:
    made = pen.create()
    if "unified" not in made.directories:
        pytest.skip("no version 2 hierarchy is mounted here")
    only = made._replace(version=2, directories={"unified": made.directories["unified"]})
    assert probe(pen, made, forbidden) == ["yes", "yes"]
    assert devices.allow_default_devices(only)
    assert probe(pen, made, forbidden) == ["yes", "no"]


@pytest.mark.kernel
def test_rules_of_a_document_are_heeded(pen: Pen, forbidden: str) -> None:
    made = pen.create()
    number = os.stat(forbidden).st_rdev
    entry = {"type": "c", "major": os.major(number), "minor": os.minor(number)}
    assert devices.restrict(made, [{"allow": False, **entry, "access": "r"}])
    assert probe(pen, made, forbidden) == ["yes", "no"]


@pytest.mark.kernel
def test_everything_allowed_needs_no_controller(pen: Pen) -> None:
    made = pen.create()
    without = made._replace(version=1, directories={})
    assert devices.restrict(without, [{"allow": True, "access": "rwm"}])
    assert not devices.allow_default_devices(without)
    cgroup.remove(made)
