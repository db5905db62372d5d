"""Where a copied file or directory lands: docker's rules for `cp`, which are not quite those of cp(1)."""

from __future__ import annotations

import os
import posixpath
import stat

from engine.errors import ConflictError, NotFoundError
from engine.record import Record


class Source(Record):
    """What is copied."""

    name: str
    """Its last component."""
    directory: bool
    contents: bool
    """Whether only what is in it is meant: its path ended with ``/.``."""


class Landing(Record):
    """Where it goes."""

    directory: str
    """An existing directory, it is to be hoped."""
    name: str
    """What it is called in there; empty for the directory itself."""


def source_of(path: str, *, follow: bool) -> tuple[str, Source]:
    """The path to read and what is there. Raises NotFoundError.

    A link is copied as a link unless *follow* is given or the path ends with a slash.
    """
    contents = path.endswith("/.") or path in (".", "")
    real = os.path.realpath(path) if follow or contents or path.endswith("/") else path.rstrip("/") or "/"
    try:
        status = os.lstat(real)
        if path.endswith("/") and not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(20, os.strerror(20))
    except OSError as error:
        raise NotFoundError(f"cannot copy {path}", error.strerror or str(error)) from error
    name = posixpath.basename(posixpath.normpath(path))
    return real, Source(name, stat.S_ISDIR(status.st_mode), contents or not name)


def landing_of(path: str, source: Source) -> Landing:
    """Where *source* lands when it is copied to *path*. Raises NotFoundError, ConflictError."""
    try:
        there = stat.S_ISDIR(os.stat(path).st_mode)
    except OSError:
        return _at_nothing(path, source)
    if there:
        return Landing(path, "" if source.directory and source.contents else source.name)
    if source.directory:
        raise ConflictError(f"cannot copy the directory {source.name} over {path}", "that is a file")
    if path.endswith(("/", "/.")):
        raise ConflictError(f"cannot copy into {path}", "it is no directory")
    # A link to a file is written through, as docker does.
    real = os.path.realpath(path)
    return Landing(posixpath.dirname(real) or ".", posixpath.basename(real))


def _at_nothing(path: str, source: Source) -> Landing:
    bare = path[:-2] if path.endswith("/.") else path.rstrip("/")
    parent, name = posixpath.split(bare)
    if path.endswith(("/", "/.")) and not source.directory:
        raise NotFoundError(f"cannot copy into {path}", "there is no such directory", "make it first")
    if not os.path.isdir(parent or "."):
        raise NotFoundError(f"cannot copy to {path}", f"there is no directory {parent}", "make it first")
    return Landing(parent or ".", name)
