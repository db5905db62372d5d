"""Signals of the C module alone: what `signal` adds, enums foremost, costs every process 3 ms."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

SIG_DFL = _signal.SIG_DFL
SIG_IGN = _signal.SIG_IGN
SIG_SETMASK = _signal.SIG_SETMASK
SIGALRM = _signal.SIGALRM
SIGCHLD = _signal.SIGCHLD
SIGCONT = _signal.SIGCONT
SIGHUP = _signal.SIGHUP
SIGINT = _signal.SIGINT
SIGKILL = _signal.SIGKILL
SIGPIPE = _signal.SIGPIPE
SIGQUIT = _signal.SIGQUIT
SIGTERM = _signal.SIGTERM
SIGTSTP = _signal.SIGTSTP
SIGUSR1 = _signal.SIGUSR1
SIGUSR2 = _signal.SIGUSR2
SIGWINCH = _signal.SIGWINCH
SIGXFSZ = _signal.SIGXFSZ
pidfd_send_signal = _signal.pidfd_send_signal
pthread_sigmask = _signal.pthread_sigmask
set_wakeup_fd = _signal.set_wakeup_fd
signal = _signal.signal

__all__ = [
    "SIGALRM",
    "SIGCHLD",
    "SIGCONT",
    "SIGHUP",
    "SIGINT",
    "SIGKILL",
    "SIGPIPE",
    "SIGQUIT",
    "SIGTERM",
    "SIGTSTP",
    "SIGUSR1",
    "SIGUSR2",
    "SIGWINCH",
    "SIGXFSZ",
    "SIG_DFL",
    "SIG_IGN",
    "SIG_SETMASK",
    "number_of",
    "pidfd_send_signal",
    "pthread_sigmask",
    "set_wakeup_fd",
    "signal",
]

_FIRST_REALTIME = 34
_LAST = 64


def number_of(text: str) -> int | None:
    """The signal that *text* names: a number, or a name with or without SIG (signal(7)); None for none."""
    if text.isascii() and text.isdigit():
        return int(text) if 0 < int(text[:4]) <= _LAST else None
    name = text.upper()
    name = name if name.startswith("SIG") else f"SIG{name}"
    for base, first, step in (("SIGRTMIN", _FIRST_REALTIME, 1), ("SIGRTMAX", _LAST, -1)):
        if name.startswith(base):
            sign, offset = name[len(base) : len(base) + 1], name[len(base) + 1 :] or "0"
            known = sign in ("", "+" if step > 0 else "-") and offset.isascii() and offset.isdigit()
            found = first + step * int(offset[:4]) if known else 0
            return found if _FIRST_REALTIME <= found <= _LAST else None
    value = None if name.startswith("SIG_") else getattr(_signal, name, None)
    return None if value is None else int(value)
