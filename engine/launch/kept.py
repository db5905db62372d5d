"""Small files of what launches have worked out, for the next one of their kind.

They lie with the run-time files, which a reboot empties, and with it perhaps another kernel. Nobody needs
them: what is not there, or cannot be kept on a full disk, is worked out again.
"""

from __future__ import annotations

import contextlib
import os

MOST = 1000
"""Files of one directory; with more, nothing further is kept there."""


def read(path: str, most: int) -> bytes | None:
    """What is kept at *path*, up to *most* bytes; None if nothing is."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        return os.read(descriptor, most)
    finally:
        os.close(descriptor)


def keep(path: str, data: bytes) -> None:
    """Write *data* under a name of its own and rename: nobody ever reads half of it."""
    with contextlib.suppress(OSError):
        directory = os.path.dirname(path)
        os.makedirs(directory, mode=0o700, exist_ok=True)
        if len(os.listdir(directory)) < MOST:
            _write(path, data)


def _write(path: str, data: bytes) -> None:
    unfinished = f"{path}.{os.urandom(8).hex()}"
    descriptor = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        if os.write(descriptor, data) == len(data):
            os.rename(unfinished, path)
        else:
            os.unlink(unfinished)
    except OSError:
        os.unlink(unfinished)
        raise
    finally:
        os.close(descriptor)
