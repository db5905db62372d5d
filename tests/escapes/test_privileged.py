"""`--privileged` opens what is closed otherwise: so the attempts are real ones, and refused for a reason.

On the second kernel alone: this machine stays as it is.
"""

from __future__ import annotations

import os

import pytest

from engine.engine import Engine
from engine.kernel import capabilities
from tests.escapes.test_attempts import try_all

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif("COWL_UML" not in os.environ, reason="on the second kernel alone"),
]

OPEN = (
    *("mount", "mount bind", "umount2", "fsopen", "open_tree", "clone user", "sethostname", "setdomainname"),
    *("unshare user", "unshare mount", "unshare pid", "unshare uts", "unshare ipc", "settimeofday", "syslog"),
    *("personality", "keyctl", "add_key", "write /proc/sys/kernel/core_pattern", "write /proc/sysrq-trigger"),
    *("an attribute that is trusted", "an interface", "nicer than others", "read messages by a node in /"),
    *("read /proc/kmsg", "read /dev/kmsg", "make a cgroup in /sys/fs/cgroup", "more chance to live"),
)
"""What has to be let through."""
PASSED = {"done", "EINVAL", "ENOENT", "EFAULT", "ENOSYS", "EBUSY", "ENODEV", "ENOTBLK", "ENOEXEC", "ESRCH"}
"""Answers of somebody who has looked at the arguments already, and is past the question who asks."""


def test_privileged_is_let_through(jail: Engine) -> None:
    found = try_all(jail, "run", privileged=True)
    assert {name: found[name] for name in OPEN if found[name] not in PASSED} == {}
    own = capabilities.own()
    for name, capability in (
        ("reboot", "CAP_SYS_BOOT"),
        ("swapoff", "CAP_SYS_ADMIN"),
        ("acct", "CAP_SYS_PACCT"),
    ):
        if own.permitted >> capabilities.NUMBERS[capability] & 1:
            assert found[name] in PASSED, (name, found[name])
