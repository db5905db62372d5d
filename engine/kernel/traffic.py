"""What has gone over the interfaces of a network namespace (proc_pid_net(5))."""

from __future__ import annotations

import os

_ROOM = 65536


def transferred(pid: int) -> tuple[int, int]:
    """Bytes received and sent in the network of process *pid*, less its loopback; zeros once it has ended.

    The file is not kept open: it would keep the namespace, and so its interfaces, beyond their last process.
    """
    try:
        descriptor = os.open(f"/proc/{pid}/net/dev", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0, 0
    try:
        text = os.read(descriptor, _ROOM)
    except OSError:
        return 0, 0
    finally:
        os.close(descriptor)
    received = sent = 0
    for line in text.split(b"\n")[2:]:
        name, colon, figures = line.partition(b":")
        if colon and name.strip() != b"lo":
            numbers = figures.split()
            received += int(numbers[0])
            sent += int(numbers[8])
    return received, sent
