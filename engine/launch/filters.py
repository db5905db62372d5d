"""Compiled seccomp filters, kept between launches: the same profile is compiled once and then found again.

Compiling docker's takes some milliseconds, finding it 0.1. What is kept lies with the run-time files,
which a reboot empties, and with it perhaps another kernel.
"""

from __future__ import annotations

import contextlib
import marshal
import os

from engine.kernel import seccomp
from engine.model import JSON
from engine.store.layout import digest_of

_VERSION = b"1\0"
"""Of what the compiler makes; another one never takes what an older one kept."""
_MARSHAL = 2
"""The last format in which equal documents give equal bytes."""
_FLAGS = 4
"""Bytes in front of a kept program."""


def filter_of(document: JSON | None, kept: str | None = None) -> seccomp.Filter:
    """The filter of a `linux.seccomp` object; none without one. *kept* is how files of filters begin.

    Raises LaunchError for what is malformed, unknown or not supported.
    """
    if not document:
        return seccomp.NONE
    if kept is None:
        return _compile(document)
    path = path_of(document, kept)
    with contextlib.suppress(FileNotFoundError):
        return _read(path)
    made = _compile(document)
    with contextlib.suppress(OSError):  # a full disk: the next launch compiles again
        _keep(path, made)
    return made


def path_of(document: JSON, kept: str) -> str:
    """Where the compiled filter of *document* is kept, if it is."""
    what = _VERSION + os.uname().machine.encode() + marshal.dumps(document, _MARSHAL)
    return f"{kept}{digest_of(what)}"


def check(document: JSON) -> None:
    """Raise UsageError for a `linux.seccomp` object that cannot be compiled here."""
    from engine.errors import LaunchError, UsageError

    try:
        _compile(document)
    except LaunchError as error:
        raise UsageError(error.what, error.why, error.hint) from error


def _compile(document: JSON) -> seccomp.Filter:
    from engine.oci.seccomp import compile_filter

    return compile_filter(document)


def _read(path: str) -> seccomp.Filter:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        data = os.read(descriptor, _FLAGS + seccomp.MAX_BYTES)
    finally:
        os.close(descriptor)
    return seccomp.Filter(data[_FLAGS:], int.from_bytes(data[:_FLAGS], "little"))


def _keep(path: str, made: seccomp.Filter) -> None:
    """Write it under a name of this process and rename: nobody ever reads half a filter."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    unfinished = f"{path}.{os.getpid()}"
    descriptor = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, made.flags.to_bytes(_FLAGS, "little") + made.program)
        os.rename(unfinished, path)
    except OSError:
        os.unlink(unfinished)
        raise
    finally:
        os.close(descriptor)
