"""Compiled seccomp filters, kept between launches: the same profile is compiled once and then found again.

Compiling docker's takes some milliseconds, finding it 0.1.
"""

from __future__ import annotations

import marshal
import os

from engine.kernel import seccomp
from engine.launch import kept as files
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
    data = files.read(path, _FLAGS + seccomp.MAX_BYTES)
    if data is not None:
        return seccomp.Filter(data[_FLAGS:], int.from_bytes(data[:_FLAGS], "little"))
    made = _compile(document)
    files.keep(path, made.flags.to_bytes(_FLAGS, "little") + made.program)
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
