"""Pseudo-terminals: making one inside a container, sizes, and raw mode that is always put back (pty(7))."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import termios
import tty
from collections.abc import Iterator

from engine.record import Record

TIOCGPTPEER = 0x5441
TIOCSPTLCK = 0x40045431


class Size(Record):
    """The size of a terminal, in cells."""

    rows: int
    columns: int


DEFAULT_SIZE = Size(24, 80)
"""For a terminal whose reader has not said how big it is: 0x0 breaks programs (moby#35407)."""


def open_pair(directory: int) -> tuple[int, int]:
    """Master and slave of a new terminal of the devpts instance that *directory* is open on.

    The slave is opened through the master (TIOCGPTPEER, Linux 4.13): no name inside is followed
    (CVE-2025-52565).
    """
    master = os.open("ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)
    with contextlib.ExitStack() as unless_opened:
        unless_opened.callback(os.close, master)
        fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
        slave = open_peer(master)
        unless_opened.pop_all()
    return master, slave


def open_peer(master: int) -> int:
    """The slave of *master*."""
    return fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def make_controlling(slave: int) -> None:
    """Make *slave* the controlling terminal of this session's leader."""
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)


def set_size(descriptor: int, size: Size) -> None:
    """Tell a terminal its size; the processes in its foreground get SIGWINCH."""
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.columns, 0, 0))


def size_of(descriptor: int) -> Size | None:
    """The size of the terminal *descriptor*; None when it is none, or has no size."""
    try:
        answer = fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8))
    except OSError:
        return None
    rows, columns, _, _ = struct.unpack("HHHH", answer)
    return Size(rows, columns) if rows and columns else None


@contextlib.contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Raw mode for the block's time; the modes come back however it ends."""
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor, termios.TCSANOW)
        yield
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
