"""First processes without an interpreter: what they show is what those with one show."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import subprocess
import sys
from functools import partial
from typing import Any

import pytest

from engine.engine import Engine
from engine.errors import LaunchError
from engine.kernel import cgroup, mount
from engine.model import Limits, Volume
from tests.support.captures import Outcome, execute, run, start, wait_for
from tests.support.roots import environment
from tests.support.traces import Root

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(
        platform.machine() != "x86_64"
        or tuple(map(int, re.findall(r"\d+", platform.release())[:2])) < (6, 7),
        reason="no instructions for this machine, or a kernel that takes no overlay without a path",
    ),
]

BY_INTERPRETER: dict[str, Any] = {"oom_score_adj": 0}
"""Changes nothing, and is set by the parent after the fork."""
LOOK = r"""
id; hostname; pwd; umask; env | sort; ulimit -n; ulimit -c
cat /proc/self/oom_score_adj /proc/self/timerslack_ns
grep -v '^.*[Pp]id\|^Vm\|^Rss\|ctxt\|^FDSize\|^Hugetlb\|^Cpus\|^Mems\|^State\|^Sig[QP]' /proc/self/status
cat /proc/self/mountinfo /proc/self/cgroup /proc/self/limits
for f in /proc/self/fd/*; do echo "${f##*/}"; done
ls -lA / /dev /dev/pts /dev/mqueue /etc | grep -v ' proc$'
ls -l /proc/acpi /sys/firmware /proc/kcore /proc/keys
for f in mnt pid uts ipc net cgroup user; do test -e /proc/self/ns/$f && echo $f; done
readlink /proc/self/cwd /proc/1/cwd /proc/1/root; tr '\0' ' ' < /proc/1/cmdline
cut -d' ' -f4-8 /proc/1/stat; head -c0 /proc/sysrq-trigger; cat /proc/sys/kernel/ns_last_pid > /dev/null
echo x > /proc/sys/kernel/hostname; cat /proc/net/dev | cut -d: -f1 | sort
"""
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "user": {"user": "12:34"},
    "name": {"user": "nobody"},
    "terminal": {"tty": True},
    "terminal of a user": {"tty": True, "user": "12:34", "interactive": True},
    "read-only": {"read_only": True, "workdir": "/tmp"},
    "privileged capabilities": {"cap_add": ("ALL",)},
    "none": {"cap_drop": ("ALL",), "security_opts": ("no-new-privileges=false",)},
    "unconfined": {"security_opts": ("seccomp=unconfined",)},
    "host": {"network": "host", "uts": "host", "cgroupns": "host"},
    "limits": {"limits": Limits(memory=256 << 20, pids=50), "ulimits": ("nofile=100:200", "core=0")},
    "tmpfs": {"tmpfs": ("/run:size=1m,mode=700", "/srv"), "shm_size": 1 << 20},
    "groups": {"group_add": ("5", "6"), "env": ("A=b", "HOME=/x")},
    "new place": {"workdir": "/new/place"},
    "volumes": {"volumes": (Volume("/etc", "/srv/etc", read_only=True), Volume("/home", "/var/kept"))},
}


def look(engine: Engine, **options: Any) -> list[str]:
    """What a container sees of itself; what differs from one container to the next is left out.

    So is how wide columns are: /proc has as many links as the machine has processes.
    """
    options.setdefault("hostname", "same" if options.get("uts") != "host" else None)
    found = run(engine, "sh", "-c", LOOK, **options)
    lines = []
    for line in (found.out + found.err).replace("\r", "").splitlines():
        text = re.sub(r"^\d+ \d+ \d+:\d+ ", "", line)
        text = re.sub(r"[0-9a-f]{12,64}", "ID", text)
        text = re.sub(r"[A-Z][a-z]{2} +\d+ +(\d\d:\d\d|\d{4})", "DATE", text)
        lines.append(re.sub(" +", " ", text))
    assert len(lines) > 100
    return sorted(lines)


def how(engine: Engine, name: str) -> bool:
    """Whether a script was the first process of the container *name*, which runs."""
    identity = engine.containers.get(name).id
    with open(engine.store.layout.container(identity).state, encoding="utf-8") as file:
        return bool(json.load(file)["scripted"])


@pytest.mark.parametrize("case", OPTIONS)
def test_both_ways_show_the_same(engine: Engine, case: str) -> None:
    options = OPTIONS[case]
    expected = look(engine, **options, **BY_INTERPRETER)
    assert look(engine, **options) == expected
    assert is_scripted(engine, **options)
    assert not is_scripted(engine, **options, **BY_INTERPRETER)


def is_scripted(engine: Engine, **options: Any) -> bool:
    name = start(engine, **options)
    try:
        return how(engine, name)
    finally:
        engine.containers.remove(name, force=True)


def changed(engine: Engine, commands: str) -> str:
    """An image that is starter after *commands*; its name."""
    name = start(engine, "sh", "-c", commands)
    assert engine.containers.wait(name) == 0
    engine.changes.commit(name, "changed:1")
    engine.containers.remove(name)
    return "changed:1"


def outcome(engine: Engine, *command: str, **options: Any) -> Outcome | tuple[int, str]:
    try:
        return run(engine, *command, **options)
    except LaunchError as error:
        return error.exit_code, str(error)


def test_what_cannot_be_executed_is_said_as_ever(engine: Engine) -> None:
    image = changed(
        engine,
        "cd /usr/bin; mkdir -p /usr/local/bin/directory /usr/local/sbin/ls; echo '#!/no/such' > orphan;"
        "echo x > garbage; chmod +x orphan garbage; echo > plain; ln -s /nowhere dangling;"
        "mkfifo fifo; chmod +x fifo; ln -s /proc/self/exe itself",
    )
    names = ("directory", "orphan", "garbage", "plain", "dangling", "missing", "/etc", "./x", "ls", "fifo")
    for name in (*names, "itself"):
        for user in (None, "12:34"):
            expected = outcome(engine, name, image=image, user=user, **BY_INTERPRETER)
            assert outcome(engine, name, image=image, user=user) == expected, name


def test_a_user_that_is_not_there_is_said_as_ever(engine: Engine) -> None:
    for user in ("ghost", "root:ghosts"):
        expected = outcome(engine, "true", user=user, **BY_INTERPRETER)
        assert isinstance(expected[1], str)
        assert outcome(engine, "true", user=user) == expected


@pytest.mark.parametrize(
    "commands",
    [
        "cp -a /etc /real; rm -rf /etc 2> /dev/null; rmdir /etc 2> /dev/null; true",
        "mv /etc/passwd /etc/accounts; ln -s accounts /etc/passwd",
        "rm -f /etc/group; ln -s /tmp/elsewhere /etc/group",
        "mkdir /other; rm -rf /srv; ln -s /other /srv",
    ],
)
def test_links_of_the_image_are_followed_in_it(engine: Engine, commands: str) -> None:
    options: dict[str, Any] = {
        "image": changed(engine, commands),
        "volumes": (Volume("/usr", "/srv"),),
        "user": "2000",
        "hostname": "same",
    }
    command = (
        "sh",
        "-c",
        "id; ls / /srv /other; wc -l < /etc/hosts; cat /proc/self/mounts | cut -d' ' -f2 | sort",
    )
    assert outcome(engine, *command, **options) == outcome(engine, *command, **options, **BY_INTERPRETER)


def test_little_memory_does_not_end_the_monitor(engine: Engine) -> None:
    """What runs out of it before its program runs shares its parent's memory; so nothing does there."""
    assert not how(engine, start(engine, limits=Limits(memory=32 << 20)))
    assert how(engine, start(engine, limits=Limits(memory=64 << 20)))


def test_a_bind_is_no_peer_of_the_host_s(engine: Engine, tmp_path: Any) -> None:
    """What would be mounted in it in the container would appear on the host."""
    mount.mount("tmpfs", str(tmp_path), "tmpfs")
    try:
        mount.mount(None, str(tmp_path), None, mount.MS_SHARED)
        name = start(engine, volumes=(Volume(str(tmp_path), "/mnt"),))
        assert how(engine, name)
        lines = execute(engine, name, "cat", "/proc/self/mountinfo").out.splitlines()
        (line,) = (line for line in lines if " /mnt " in line)
        assert "shared:" not in line
        engine.containers.remove(name, force=True)
    finally:
        mount.unmount(str(tmp_path), mount.MNT_DETACH)


def test_the_monitor_keeps_nothing_of_it_open(engine: Engine) -> None:
    more: dict[str, Any]
    for more in ({}, BY_INTERPRETER):
        name = start(engine, tty=True, **more)
        with open(engine.store.layout.container(name).state, encoding="utf-8") as file:
            monitor = json.load(file)["monitor"]
        wait_for(lambda: not of_the_container(open_in(monitor)))  # noqa: B023  # called within this turn


def open_in(pid: int) -> list[str]:
    """What a process has open; it may open and close more meanwhile."""
    found = []
    for each in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{pid}/fd/{each}"))
    return found


def of_the_container(targets: list[str]) -> list[str]:
    return [each for each in targets if each in ("/", "/null", "/console") or "memfd" in each]


def test_it_comes_again_with_what_it_has_changed(engine: Engine) -> None:
    name = start(engine, "sh", "-c", "echo x >> /kept; sleep 1000", workdir="/new/place")

    def has_kept(times: int) -> bool:
        found = execute(engine, name, "sh", "-c", "pwd; cat /kept").out.split()
        return found == ["/new/place", *("x" * times)]

    for times in range(1, 4):
        wait_for(partial(has_kept, times))
        engine.containers.stop(name, timeout=0)
        engine.containers.start(name)
        assert how(engine, name)


UNIFIED = "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec sh -c"
"""In a mount namespace of its own: what a machine with version 2 alone shows."""


@pytest.mark.skipif(cgroup.detect().version != 1, reason="every other test is about version 2 here")
def test_a_machine_with_version_2_shows_the_same(starter_images: Root) -> None:
    inside = "tail -n1 /proc/self/cgroup; grep cgroup /proc/self/mounts; ls /sys/fs/cgroup; id"
    cowl = f"{sys.executable} -m engine.cli"
    found = []
    for more in ("", "--oom-score-adj 0"):
        commands = (
            f"{cowl} run --rm {more} starter sh -c '{inside}' 2>&1;"
            f"{cowl} run -d --name seen {more} starter sleep 1000;"
            f"cat {starter_images.layout.run}/*/state.json; {cowl} rm -f seen"
        )
        words = ["unshare", "-m", "-C", "--propagation", "private", "sh", "-c", f'{UNIFIED} "$0"', commands]
        done = subprocess.run(
            words, env=environment(starter_images), capture_output=True, text=True, check=False, timeout=100
        )
        assert done.returncode == 0, done.stderr
        assert '"version": 2' in done.stdout
        assert f'"scripted": {"false" if more else "true"}' in done.stdout
        found.append(done.stdout.partition("\n{")[0].splitlines()[:-1])
    assert len(found[0]) > 5
    assert found[0] == found[1]
