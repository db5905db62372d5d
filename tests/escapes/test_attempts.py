"""Every attempt of `attempts`, as root in a default container, by its first process and by one executed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from engine.engine import Engine
from engine.kernel import seccomp
from engine.oci import syscalls
from tests.escapes import attempts
from tests.support.captures import execute, run, start

pytestmark = pytest.mark.kernel

TEXT = (Path(__file__).parent / "attempts.py").read_text(encoding="utf-8")
FAMILY = syscalls.FAMILIES.get(os.uname().machine, (syscalls.X86_64,))
NUMBERS = json.dumps(syscalls.tables(FAMILY[:1])[FAMILY[0].name])

REFUSED = {"EPERM", "EACCES", "EROFS"}
ABSENT = {
    "ENOENT",  # no such file here, for which there may be no such driver either
    "ENXIO",
    "ENODEV",
    "ENOTDIR",
}
BY_THE_FILTER_ALONE = {
    # What a capability does not guard, or guards only after it has looked at what it was given.
    *(
        "unshare user",
        "clone user",
        "clone3 user",
        "userfaultfd",
        "keyctl",
        "add_key",
        "request_key",
        "personality",
    ),
    *("socket vsock", "socket alg", "io_uring_setup", "kcmp", "pidfd_getfd", "clock_settime", "quotactl"),
    *("move_pages", "mbind", "lookup_dcookie", "perf_event_open", "setns", "fanotify_init", "bpf", "syslog"),
    *(name for name in attempts.other_words()),
}


def try_all(engine: Engine, through: str, **options: Any) -> dict[str, str]:
    command = ("python3", "-c", TEXT, NUMBERS)
    if through == "run":
        done = run(engine, *command, **options)
    else:
        name = start(engine, **options)
        try:
            done = execute(engine, name, *command)
        finally:
            engine.containers.remove(name, force=True)
    assert done.code == 0, done.err
    found: dict[str, str] = json.loads(done.out)
    return found


def refusal(name: str) -> set[str]:
    """What counts as refused."""
    if "by a node" in name:
        return {"EPERM", "EACCES"}
    if name.startswith(("read ", "write ", "make a cgroup")):
        return REFUSED | ABSENT
    if name in ("more chance to live", "nicer than others"):
        return {"EACCES"}
    if name.startswith("i386"):
        return {"EPERM", "ENOSYS", "signal 11"}  # the latter where there are no programs of 32 bits
    if name.startswith("x32"):
        return {"EPERM", "ENOSYS"}
    return {"ENOSYS"} if name == "clone3 user" else {"EPERM"}


@pytest.mark.parametrize("through", ["run", "exec"])
def test_every_attempt_is_refused(jail: Engine, through: str) -> None:
    if not seccomp.available():
        pytest.skip("this kernel has no seccomp: see the test of capabilities")
    found = try_all(jail, through)
    assert len(found) > 140
    wrong = {name: said for name, said in found.items() if said not in refusal(name)}
    assert wrong == {}


def test_capabilities_and_mounts_refuse_without_the_filter_too(jail: Engine) -> None:
    """Two walls: what the filter does not look at is refused by the other one."""
    found = try_all(jail, "run", security_opts=("seccomp=unconfined",))
    guarded = {name: said for name, said in found.items() if name not in BY_THE_FILTER_ALONE}
    wrong = {name: said for name, said in guarded.items() if said not in refusal(name) | {"ENOSYS"}}
    assert wrong == {}
