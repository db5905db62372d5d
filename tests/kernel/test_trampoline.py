"""The step before a program: it becomes it, or says why not, and is nobody's file."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from engine.kernel import trampoline

pytestmark = pytest.mark.skipif(not trampoline.available(), reason="not for this machine")


class Outcome(NamedTuple):
    said: bytes
    code: int
    out: bytes


def execute(path: str, args: Sequence[str], environment: dict[str, str] | None = None) -> Outcome:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            os.dup2(writer, 1)
            step = trampoline.prepare(theirs.fileno(), b"said\0")
            trampoline.enter(step, path, args, environment or {})
        finally:
            os._exit(99)
    theirs.close()
    os.close(writer)
    with ours, os.fdopen(reader, "rb") as file:
        said = ours.recv(100)
        out = file.read()
    return Outcome(said, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), out)


def test_it_becomes_the_program_with_its_words_and_environment() -> None:
    done = execute("/bin/sh", ["name", "-c", 'echo "$0" "$1" $A; exit 7', "zero", "one two"], {"A": "b"})
    assert done == Outcome(b"", 7, b"zero one two b\n")
    assert execute("/bin/sh", ["sh", "-c", "echo $#", *map(str, range(300))]).out == b"299\n"


def test_nothing_of_it_stays_open() -> None:
    done = execute("/bin/sh", ["sh", "-c", "ls -l /proc/self/fd; readlink /proc/$$/exe"])
    assert b"memfd" not in done.out
    assert b"socket" not in done.out


def test_why_it_cannot_be(tmp_path: object) -> None:
    garbage = f"{tmp_path}/garbage"
    with open(garbage, "wb") as file:
        file.write(b"\x7fELF?")
    os.chmod(garbage, 0o755)
    cases = {"/nosuch/file": errno.ENOENT, "/etc/passwd": errno.EACCES, garbage: errno.ENOEXEC}
    for path, number in cases.items():
        done = execute(path, ["x"])
        assert done == Outcome(b"said\0" + number.to_bytes(4, "little"), 125, b"")


def test_what_names_the_executing_file_is_not_the_host_s(tmp_path: object) -> None:
    """A script that asks for /proc/self/exe would get whoever executes it."""
    script = f"{tmp_path}/script"
    with open(script, "w", encoding="ascii") as file:
        file.write("#!/proc/self/exe\n")
    os.chmod(script, 0o755)
    os.symlink("/proc/self/exe", f"{tmp_path}/link")
    for path in ("/proc/self/exe", script, f"{tmp_path}/link"):
        # It is executed once more, finds its channel closed, and ends.
        assert execute(path, ["x", "-c", "print('host')"]) == Outcome(b"", 125, b"")


@pytest.mark.skipif(shutil.which("qemu-aarch64-static") is None, reason="qemu-user-static is not here")
def test_the_instructions_of_the_other_architecture(tmp_path: object) -> None:
    program = f"{tmp_path}/step"
    for path, expected in (("/bin/sh", b""), ("/nosuch", b"said\0\x02\0\0\0")):
        with open(program, "wb") as file:
            file.write(trampoline.image("aarch64", 1, b"said\0"))
        os.chmod(program, 0o755)
        done = subprocess.run(
            ["qemu-aarch64-static", "-0", path, program, "sh", "-c", "echo $A >&2"],
            env={"A": "b"},
            capture_output=True,
            check=False,
        )
        assert done.stdout == expected
        assert done.stderr == (b"" if expected else b"b\n")
        assert done.returncode == (125 if expected else 0)
