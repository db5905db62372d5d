"""Having a command carried out by a server that has everything loaded: this side loads next to nothing.

Most of what a short command takes is loading what it needs. The server (`engine.cli.serving`) is a process
beside the launcher that stands by for the likes of this one; it forks one that does what is asked for, with
this process's streams, directory, environment and signals, and says what to end with. Nobody is to see a
difference: what would show one is not asked for, and whoever does not answer soon is gone around.
"""

from __future__ import annotations

import marshal
import os
import sys

from engine.kernel import heritage
from engine.kernel.channel import AF_UNIX, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, Channel
from engine.store.layout import Layout, default_root, digest_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Sequence
    from typing import Any, NoReturn
else:
    import _signal

PATIENCE_S = 0.2
"""How long a server that is there may take to accept."""
ACCEPTED, GO, DONE = b"A", b"G", b"D"
MAX_PACKET = 64 << 10
"""What is larger is not sent: room for it is made anew, page by page, in each worker."""
SWITCH = "COWL_LAUNCHER"
SERVED = frozenset(
    (
        *("create", "run", "exec", "start", "stop", "restart", "kill", "pause", "unpause", "wait", "rm"),
        *("rename", "update", "ps", "port", "logs", "stats", "top", "inspect", "images", "forest", "tree"),
        *("history", "tag", "untag", "diff", "version", "info", "--version"),
    )
)
"""Those that neither take long nor ask anything."""
_LAUNCHING = ("run", "exec", "start")
_FORWARDED = ("HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "TERM", "CONT", "WINCH")
_HARMLESS = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONHASHSEED")
_OTHERS = ("COWL_FAULT", "_COWL_COMPLETE")
"""Variables that mean the very process that is started."""


def socket_name(kind: str) -> str:
    """What the server's socket is called, in the root's run-time directory."""
    return f"commands-{kind}.sock"


def call(words: Sequence[str]) -> int | None:
    """Have the command line *words* carried out; its exit code, or None if this process is to do it."""
    root, name = _root_and_command(words)
    if name not in SERVED or not _is_usual() or not _streams_suit(name, words):
        return None
    request = marshal.dumps(_request(words))
    if len(request) > MAX_PACKET:
        return None
    channel = _connect(Layout.of(root or default_root()).run)
    if channel is None:
        return None
    try:
        channel.send(request)
        data, ancillary, _, _ = channel.recvmsg(1, 64)
    except OSError:
        data, ancillary = b"", []
    if data != ACCEPTED or not ancillary:
        channel.close()
        return None
    return _Command(channel, int.from_bytes(ancillary[0][2][:4], sys.byteorder)).wait()


def _root_and_command(words: Sequence[str]) -> tuple[str, str]:
    """The value of a leading --root, and the word that says what to do."""
    if len(words) > 2 and words[0] == "--root":
        return words[1], words[2]
    if len(words) > 1 and words[0].startswith("--root="):
        return words[0][len("--root=") :], words[1]
    return "", words[0] if words else ""


def _is_usual() -> bool:
    """Whether nothing in the environment or before the program makes this Python another one."""
    if os.environ.get(SWITCH) == "no" or any(name in os.environ for name in _OTHERS):
        return False
    if sys.warnoptions or sys._xoptions or sys.gettrace() is not None:
        return False
    return not any(name.startswith("PYTHON") and name not in _HARMLESS for name in os.environ)


def _streams_suit(name: str, words: Sequence[str]) -> bool:
    """Whether another process can use the standard streams as this one would.

    Not those that are closed; not a terminal that this process is not in the foreground of, as the kernel
    stops those who belong to it only; nor one that is to be typed at.
    """
    for number in range(3):
        try:
            if os.isatty(number):
                if os.tcgetpgrp(number) != os.getpgrp() or (number == 0 and _may_type(name, words)):
                    return False
            else:
                os.fstat(number)
        except OSError:
            return False
    # Files that are open under a number of this process alone.
    return not any("/dev/fd/" in word or "/proc/self/" in word for word in words)


def _may_type(name: str, words: Sequence[str]) -> bool:
    """Whether there may be an -i, -t or -a among the options."""
    return name in _LAUNCHING and any(
        word.startswith(("--interactive", "--tty", "--attach"))
        or (word[:1] == "-" and word[1:2] != "-" and any(letter in word for letter in "ita"))
        for word in words
    )


def _connect(run: str) -> Channel | None:
    """To the server for processes like this one, by its directory: sun_path ends at 108 bytes (unix(7))."""
    name = socket_name(digest_of(heritage.own())[:16])
    channel = Channel(AF_UNIX, SOCK_SEQPACKET)
    try:
        directory = os.open(run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            channel.settimeout(PATIENCE_S)
            channel.connect(f"/proc/self/fd/{directory}/{name}")
        finally:
            os.close(directory)
    except OSError:  # there is none, or it is one that was killed, or has too much to do
        channel.close()
        return None
    return channel


def _request(words: Sequence[str]) -> dict[str, Any]:
    """All that the command may depend on, but what `heritage` covers and the descriptors."""
    umask = os.umask(0o077)
    os.umask(umask)
    return {
        "words": list(words),
        "environment": dict(os.environb),
        "umask": umask,
        "encoding": sys.getfilesystemencoding(),
        "streams": [(each.encoding, each.errors) for each in (sys.stdin, sys.stdout, sys.stderr)],
        "ignored": [number for number in range(1, 32) if _signal.getsignal(number) == _signal.SIG_IGN],
        "blocked": [int(number) for number in _signal.pthread_sigmask(_signal.SIG_BLOCK, ())],
    }


class _Command:
    """One that is carried out for this process, which stands for it before everybody else."""

    def __init__(self, channel: Channel, worker: int) -> None:
        self._channel = channel
        self._worker = worker
        self._lifeline = -1
        self._last = int(_signal.SIGKILL)
        """What it has died of, if it says nothing before it goes."""

    def wait(self) -> int:
        """Let it begin; its exit code at its end. If that is by a signal, so is this process's.

        The descriptors are not on their way before: as long as they were, nobody would see their end.
        """
        for name in _FORWARDED:
            self._handle(getattr(_signal, f"SIG{name}"), self._forward)
        self._handle(_signal.SIGTSTP, self._stop)
        try:
            self._begin()
            self._channel.settimeout(None)
            answer = self._channel.recv(16)
        except OSError:
            answer = b""
        if answer[:1] != DONE:
            _die_of(self._last)
        return int(answer[1:])

    def _begin(self) -> None:
        """The worker is killed when nobody can write to the pipe that it gets any more."""
        here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        pipe, self._lifeline = os.pipe()
        descriptors = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2, here, pipe))
        self._channel.sendmsg([GO], [(SOL_SOCKET, SCM_RIGHTS, descriptors)])
        os.close(here)
        os.close(pipe)

    def _handle(self, number: int, handler: Any) -> None:
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, handler)

    def _send(self, number: int) -> None:
        try:
            _signal.pidfd_send_signal(self._worker, number)
        except OSError:  # it has just ended
            return

    def _forward(self, number: int, _frame: object) -> None:
        if number not in (_signal.SIGCONT, _signal.SIGWINCH):
            self._last = number
        self._send(number)

    def _stop(self, number: int, _frame: object) -> None:
        """Both stop, and both go on."""
        self._send(_signal.SIGSTOP)
        _signal.signal(number, _signal.SIG_DFL)
        os.kill(os.getpid(), number)
        _signal.signal(number, self._stop)
        self._send(_signal.SIGCONT)


def _die_of(number: int) -> NoReturn:
    """End as something that this signal has ended."""
    if number != _signal.SIGKILL:
        _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (number,))
    os.kill(os.getpid(), number)
    os._exit(128 + number)
