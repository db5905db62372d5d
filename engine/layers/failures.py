"""What the kernel refused while layers were read or written, as errors for people."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import ArchiveError, CowlError, NoSpaceError, StoreError, UnsupportedError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_UNABLE = (errno.EPERM, errno.ENOTSUP)
_IMPOSSIBLE = (
    errno.ENAMETOOLONG,
    errno.EFBIG,
    errno.EINVAL,
    errno.EMLINK,
    errno.EILSEQ,
    errno.ERANGE,
    errno.E2BIG,
)


@contextmanager
def reporting(what: str, *, archive: bool = False) -> Iterator[None]:
    """Turn an OSError within the block into the error that says it; *what* begins with "cannot".

    With *archive* the block does what a tar asks for, so what no file system could do is the tar's fault.
    A reader that has gone (EPIPE) stays what it is: whoever opened the pipe knows what it means.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _failure(error, what, archive) from error


def _failure(error: OSError, what: str, archive: bool) -> CowlError:
    why = error.strerror or str(error)
    if error.errno in _FULL:
        return NoSpaceError(what, why, "free some space; `cowl prune` shows what can go")
    if error.errno in _UNABLE:
        return UnsupportedError(
            what, why, "the store needs root and a file system with devices and attributes"
        )
    if archive and error.errno in _IMPOSSIBLE:
        return ArchiveError(what, why)
    return StoreError(what, why)
