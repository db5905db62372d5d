"""Which devices a cgroup's processes may use: version 1's devices controller, a BPF program on version 2.

The rules are the runtime-spec's `linux.resources.devices` and mean what version 1's controller makes of them
(Documentation/admin-guide/cgroup-v1/devices.rst): a default, and exceptions from it, the later rule first.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from engine.kernel import bpf
from engine.kernel.cgroupfs import UNIFIED, Cgroup
from engine.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MKNOD, READ, WRITE = 1, 2, 4
_ACCESS = {"r": READ, "w": WRITE, "m": MKNOD}
_ALL = MKNOD | READ | WRITE
_TYPES = {"b": 1, "c": 2}


class Rule(Record):
    """One entry of `linux.resources.devices`; None is any number."""

    allow: bool
    type: str
    """``a`` all, ``b`` block, ``c`` character."""
    major: int | None
    minor: int | None
    access: int

    def __str__(self) -> str:
        """As devices.allow and devices.deny take it."""
        major, minor = ("*" if number is None else number for number in (self.major, self.minor))
        access = "".join(letter for letter, bit in _ACCESS.items() if self.access & bit)
        return f"{self.type} {major}:{minor} {access}"


class Policy(Record):
    """What a list of rules comes to: a default and the exceptions from it."""

    default: bool
    exceptions: dict[tuple[str, int | None, int | None], int]
    """Access bits by type, major and minor number."""


def _allow(kind: str, major: int | None, minor: int | None, access: int) -> Rule:
    return Rule(True, kind, major, minor, access)


DEFAULT_RULES: tuple[Rule, ...] = (
    Rule(False, "a", None, None, _ALL),
    # Nodes may be made: without the rules below nobody can open them.
    _allow("c", None, None, MKNOD),
    _allow("b", None, None, MKNOD),
    _allow("c", 1, 3, _ALL),  # null
    _allow("c", 1, 5, _ALL),  # zero
    _allow("c", 1, 7, _ALL),  # full
    _allow("c", 1, 8, _ALL),  # random
    _allow("c", 1, 9, _ALL),  # urandom
    _allow("c", 5, 0, _ALL),  # tty
    _allow("c", 5, 1, _ALL),  # console
    _allow("c", 5, 2, _ALL),  # ptmx
    _allow("c", 136, None, _ALL),  # pts/*
)
"""The devices that every container has, as docker gives them."""


def allow_default_devices(cgroup: Cgroup) -> bool:
    """`restrict` to the devices that every container has."""
    return _enforce(cgroup, DEFAULT_RULES)


def restrict(cgroup: Cgroup, rules: Sequence[dict[str, Any]]) -> bool:
    """Hold the processes of *cgroup* to *rules* (OCI `linux.resources.devices`); call it before they enter.

    False when this machine can do neither: then a container must not have CAP_MKNOD, nor file systems with
    device nodes of others.
    """
    return _enforce(cgroup, [parse(rule) for rule in rules])


def restrict_to_usual(cgroup: Cgroup, rules: Sequence[dict[str, Any]]) -> bool:
    """`restrict`, with the devices that every container has allowed after *rules*, whatever those say."""
    return _enforce(cgroup, [*(parse(rule) for rule in rules), *DEFAULT_RULES[1:]])


def parse(rule: dict[str, Any]) -> Rule:
    """One entry of `linux.resources.devices`."""
    major, minor = (None if rule.get(key) in (None, -1) else int(rule[key]) for key in ("major", "minor"))
    access = sum({_ACCESS.get(letter, 0) for letter in rule.get("access") or "rwm"})
    kind = rule.get("type") or "a"
    return Rule(
        bool(rule["allow"]), kind if kind in _TYPES else "c" if kind == "u" else "a", major, minor, access
    )


def policy(rules: Sequence[Rule]) -> Policy:
    """What *rules* come to, one after the other, from allowing everything."""
    default = True
    exceptions: dict[tuple[str, int | None, int | None], int] = {}
    for rule in rules:
        if rule.type == "a":
            default = rule.allow
            exceptions = {}
            continue
        key = rule[1:4]
        access = exceptions.get(key, 0)
        exceptions[key] = access | rule.access if rule.allow != default else access & ~rule.access
        if not exceptions[key]:
            del exceptions[key]
    return Policy(default, exceptions)


def program(wanted: Policy) -> list[bytes]:
    """A device program (R1 points to `struct bpf_cgroup_dev_ctx`): 1 for what *wanted* allows, else 0.

    An exception that allows must cover all that is asked for at once; one that forbids is met by any of it.
    """
    code = [
        bpf.load_word(bpf.R2, bpf.R1, 0),
        bpf.copy(bpf.R3, bpf.R2),
        bpf.mask(bpf.R2, 0xFFFF),
        bpf.shift_right(bpf.R3, 16),
        bpf.load_word(bpf.R4, bpf.R1, 4),
        bpf.load_word(bpf.R5, bpf.R1, 8),
    ]
    for (kind, major, minor), access in wanted.exceptions.items():
        code += _exception(wanted.default, _TYPES[kind], major, minor, access)
    return [*code, bpf.set_to(bpf.R0, int(wanted.default)), bpf.leave()]


def _exception(default: bool, kind: int, major: int | None, minor: int | None, access: int) -> list[bytes]:
    """Leave with the opposite of *default* where this matches; else go on behind it."""
    tests = [(bpf.R2, kind), (bpf.R4, major), (bpf.R5, minor)]
    wanted = [(register, value) for register, value in tests if value is not None]
    body: list[bytes] = []
    if default:
        body = [bpf.copy(bpf.R1, bpf.R3), bpf.mask(bpf.R1, access), bpf.skip_if_equal(bpf.R1, 0, 2)]
    elif access != _ALL:
        body = [bpf.copy(bpf.R1, bpf.R3), bpf.mask(bpf.R1, access), bpf.skip_unless_same(bpf.R1, bpf.R3, 2)]
    body += [bpf.set_to(bpf.R0, int(not default)), bpf.leave()]
    for register, value in reversed(wanted):
        body.insert(0, bpf.skip_unless_equal(register, value, len(body)))
    return body


def _enforce(cgroup: Cgroup, rules: Sequence[Rule]) -> bool:
    if policy(rules) == Policy(True, {}):
        return True
    if directory := cgroup.directories.get("devices"):
        return _write(directory, rules)
    if cgroup.version == 2:
        return _attach(cgroup.directories[UNIFIED], rules)
    return False


def _write(directory: str, rules: Sequence[Rule]) -> bool:
    files = {
        allow: os.open(f"{directory}/devices.{name}", os.O_WRONLY | os.O_CLOEXEC)
        for allow, name in ((True, "allow"), (False, "deny"))
    }
    try:
        for rule in rules:
            try:
                os.write(files[rule.allow], str(rule).encode())
            except PermissionError:
                # The cgroup above has not got that device itself; then it is forbidden all the same.
                if not rule.allow:
                    return False
        return True
    finally:
        for descriptor in files.values():
            os.close(descriptor)


def _attach(directory: str, rules: Sequence[Rule]) -> bool:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        bpf.attach_device_program(program(policy(rules)), descriptor)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP):
            raise
        return False
    finally:
        os.close(descriptor)
    return True
