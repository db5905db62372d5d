"""How a caller's streams go with a program: which of them, what lets go of it, and where its ID is noted."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from engine.cli.options import Values
from engine.containers.foreground import DETACH_KEYS, Streams
from engine.errors import CowlError, UsageError

STREAMS = ("stdin", "stdout", "stderr")
_CONTROLS = "@abcdefghijklmnopqrstuvwxyz[\\]^_"
"""ctrl and one of these types the byte of its place, from 0."""


def streams(values: Values) -> Streams:
    """This process's streams as ``--attach``, ``--detach-keys`` and ``--sig-proxy`` have them."""
    wanted = [name.lower() for name in values.get("attach", ())]
    for name in wanted:
        if name not in STREAMS:
            raise UsageError(f"{name!r} is no stream", "", f"choose {', '.join(STREAMS)}")
    stdin, stdout, stderr = (
        number if not wanted or name in wanted else None for number, name in enumerate(STREAMS)
    )
    return Streams(stdin, stdout, stderr, detach_keys(values["detach_keys"]), values.get("sig_proxy", True))


def detach_keys(text: str | None) -> bytes:
    """The bytes of ``ctrl-p,ctrl-q`` or ``x,y``; None and nothing are the usual ones."""
    if not text:
        return DETACH_KEYS
    return bytes(map(_key, text.split(",")))


def _key(text: str) -> int:
    if len(text) == 1 and text.isascii():
        return ord(text)
    control = text.removeprefix("ctrl-").lower()
    if control != text and len(control) == 1 and control in _CONTROLS:
        return _CONTROLS.index(control)
    raise UsageError(
        f"{text!r} is no key", "it is neither a character nor ctrl- and one", "write it like ctrl-a,d"
    )


@contextlib.contextmanager
def noted(path: str | None) -> Iterator[Callable[[str], None] | None]:
    """A function that writes an ID to *path*, which must not be there yet; what stays empty goes again."""
    if path is None:
        yield None
        return
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise UsageError(
            f"the file {path} is there already", "it may name another container", "remove it, or name another"
        ) from None
    except OSError as error:
        raise CowlError(f"cannot make the file {path}", error.strerror or str(error)) from error
    try:
        yield lambda identity: _write(descriptor, identity)
    finally:
        if not os.fstat(descriptor).st_size:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        os.close(descriptor)


def _write(descriptor: int, identity: str) -> None:
    os.write(descriptor, identity.encode())
