"""New files: the mode that was asked for without a chmod for each, and data with holes where it is zero."""

from __future__ import annotations

import errno
import os

_NO_ACL = (errno.ENODATA, errno.ENOTSUP)
_HOLE = 1 << 17
_ZEROS = memoryview(bytes(_HOLE))


def plain_modes(directory: int | bytes) -> frozenset[int]:
    """The modes that `open` gives a new file below *directory* exactly as asked.

    Those are the ones that the umask leaves alone; none where files inherit an ACL, which takes part in it
    (acl(5)).
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


def write_all(descriptor: int, data: bytes | memoryview) -> bool:
    """Write all of *data*; False, as it never ends in a hole."""
    written = os.write(descriptor, data)
    while written < len(data):
        data = data[written:]
        written = os.write(descriptor, data)
    return False


def write_sparsely(descriptor: int, data: memoryview) -> bool:
    """Write *data* to a fresh file, long runs of zeros as holes; True if it ended in one, with the size not
    set.
    """
    hole = False
    for start in range(0, len(data), _HOLE):
        piece = data[start : start + _HOLE]
        hole = len(piece) == _HOLE and piece == _ZEROS
        if hole:
            os.lseek(descriptor, _HOLE, os.SEEK_CUR)
        else:
            write_all(descriptor, piece)
    return hole
