"""New files with the mode that was asked for, without a chmod for each of them."""

from __future__ import annotations

import errno
import os

_NO_ACL = (errno.ENODATA, errno.ENOTSUP)


def plain_modes(directory: int | bytes) -> frozenset[int]:
    """The modes that `open` gives a new file below *directory* exactly as asked.

    Those are the ones that the umask leaves alone; none where files inherit an ACL, which takes part in it (acl(5)).
    """
    try:
        os.getxattr(directory, "system.posix_acl_default")
    except OSError as error:
        if error.errno not in _NO_ACL:
            raise
    else:
        return frozenset()
    umask = _umask()
    return frozenset(mode for mode in range(0o1000) if not mode & umask)


def _umask() -> int:
    """This process's file mode creation mask, read without setting it: other threads create files, too."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return next((int(line.split()[1], 8) for line in status if line.startswith("Umask:")), 0o777)
