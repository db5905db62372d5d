"""Scripts: what a process without an interpreter does, call after call."""

from __future__ import annotations

import errno
import os
import signal
import socket
from typing import NamedTuple

import pytest

from engine.kernel import process, script, seccomp, trampoline
from engine.kernel.script import Label, Script
from engine.oci.seccomp import compile_filter

pytestmark = pytest.mark.skipif(not script.available(), reason="not for this machine")

NR_GETPID = 39
NR_SPLICE = 275


class Outcome(NamedTuple):
    code: int
    written: bytes
    said: bytes


class Stage:
    """A script, with a pipe and a channel to hear of it."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.reader, self.writer = os.pipe()
        self.script = Script(self.theirs.fileno())

    def say(self, text: bytes) -> None:
        self.script.call("write", script.NR_WRITE, self.writer, text, len(text))

    def leave(self, code: int) -> None:
        self.script.call("leave", script.NR_EXIT_GROUP, code)

    def play(self, flags: int = 0) -> Outcome:
        pid = self.script.run(flags)
        self.theirs.close()
        os.close(self.writer)
        with self.ours, os.fdopen(self.reader, "rb") as file:
            said = self.ours.recv(100)
            written = file.read()
        return Outcome(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), written, said)


def test_calls_are_made_one_after_the_other() -> None:
    stage = Stage()
    for word in (b"one ", b"two ", b"eight888"):
        stage.say(word)
    stage.leave(7)
    assert stage.play() == Outcome(7, b"one two eight888", b"")


def test_results_are_arguments_of_later_calls(tmp_path: object) -> None:
    with open(f"{tmp_path}/file", "wb") as file:
        file.write(b"0123456789")
    stage = Stage()
    opened = stage.script.call("open", script.NR_OPENAT, -100, os.fsencode(f"{tmp_path}/file"), os.O_RDONLY)
    copied = stage.script.call("splice", NR_SPLICE, opened, 0, stage.writer, 0, 4, 0)
    stage.script.call("splice", NR_SPLICE, opened, 0, stage.writer, 0, copied, 0)
    stage.script.call("close", script.NR_CLOSE, opened)
    stage.leave(0)
    assert stage.play() == Outcome(0, b"01234567", b"")


def test_the_first_failure_ends_it_and_is_told() -> None:
    stage = Stage()
    stage.say(b"before")
    stage.script.call("open what is not there", script.NR_OPENAT, -100, b"/no/such", os.O_RDONLY)
    stage.say(b"after")
    done = stage.play()
    assert done[:2] == (script.EXIT_CODE, b"before")
    assert done.said[:1] == script.FAILED
    assert stage.script.failure(done.said) == script.Failure("open what is not there", errno.ENOENT)


def test_a_failure_can_be_gone_on_from() -> None:
    stage = Stage()
    stage.script.attempt("open", script.NR_OPENAT, -100, b"/no/such", os.O_RDONLY)
    elsewhere, end = Label(), Label()
    stage.script.call("open", script.NR_OPENAT, -100, b"/no/such", os.O_RDONLY, otherwise=elsewhere)
    stage.say(b"never")
    stage.script.stop("never here")
    stage.script.label(elsewhere)
    stage.say(b"elsewhere")
    stage.script.call("jump", NR_GETPID, least=1 << 40, otherwise=end)
    stage.say(b"never")
    stage.script.label(end)
    stage.leave(3)
    assert stage.play() == Outcome(3, b"elsewhere", b"")


def test_a_result_below_the_least_is_a_failure() -> None:
    stage = Stage()
    reader, writer = os.pipe()
    stage.script.call("wait", 0, reader, bytes(8), 8, least=1)
    stage.say(b"never")
    os.close(writer)
    done = stage.play()
    os.close(reader)
    assert done[:2] == (script.EXIT_CODE, b"")
    assert stage.script.failure(done.said) == script.Failure("wait", 0)


def test_it_executes_a_program_with_arguments_and_environment() -> None:
    stage = Stage()
    stage.script.call("dup", script.NR_DUP3, stage.writer, 1, 0)
    arguments = [b"sh", b"-c", b'echo "$0 $A $#"', b"zero", *(b"x" * number for number in range(300))]
    stage.script.call("exec", script.NR_EXECVE, b"/bin/sh", arguments, [b"A=" + b"b" * 5000])
    assert stage.play() == Outcome(0, b"zero " + b"b" * 5000 + b" 300\n", b"")


def test_it_executes_the_step_before_a_program() -> None:
    stage = Stage()
    step = trampoline.prepare(stage.theirs.fileno(), b"said\0")
    stage.script.call("dup", script.NR_DUP3, stage.writer, 1, 0)
    path = b"/proc/self/fd/%d" % step
    stage.script.call("exec", script.NR_EXECVE, path, [b"/bin/sh", b"sh", b"-c", b"echo $A"], [b"A=b"])
    done = stage.play()
    os.close(step)
    assert done == Outcome(0, b"b\n", b"")


def test_namespaces_and_what_is_closed() -> None:
    stage = Stage()
    script.close_all_but(stage.script, {stage.writer, stage.theirs.fileno()})
    stage.script.call("name", script.NR_SETHOSTNAME, b"other", 5)
    stage.script.call("dup", script.NR_DUP3, stage.writer, 1, 0)
    stage.script.call("exec", script.NR_EXECVE, b"/bin/sh", [b"sh", b"-c", b"hostname; ls /proc/$$/fd"], [])
    done = stage.play(0x04000000)
    kept = {0, 1, 2, stage.writer, stage.theirs.fileno()}
    name, *open_ = done.written.decode().split()
    assert name == "other"
    assert {int(each) for each in open_} <= kept | {10}
    assert os.uname().nodename != "other"


def test_handlers_are_not_shared() -> None:
    """No handler of ours runs in the child: it would in our memory."""
    stage = Stage()
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    try:
        own = stage.script.call("getpid", NR_GETPID)
        stage.script.call("kill itself", 62, own, int(signal.SIGUSR1))
        stage.say(b"alive")
        stage.leave(0)
        assert stage.play()[:2] == (-signal.SIGUSR1, b"")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not heard


def test_nothing_is_left_of_many() -> None:
    before = os.listdir("/proc/self/fd")
    for number in range(200):
        stage = Stage()
        stage.leave(number % 100)
        assert stage.play().code == number % 100
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_there_are_none_under_a_filter_that_knows_no_clone3() -> None:
    rule = {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS}
    wanted = compile_filter({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
    pid = os.fork()
    if pid == 0:
        try:
            process.forbid_new_privileges()
            seccomp.install(wanted)
            os._exit(7 if not script.available() else 8)
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
