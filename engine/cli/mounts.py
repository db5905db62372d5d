"""What is shown in a container: `-v` and `--mount`. Every function raises UsageError."""

from __future__ import annotations

import os
from collections.abc import Sequence

from engine.cli.values import size
from engine.errors import UnsupportedError, UsageError
from engine.model import Volume

_MODES = {"rw": False, "ro": True}
_PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
_PRIVATE = ("private", "rprivate")
_IGNORED_MODES = {"", "z", "Z", "consistent", "cached", "delegated"}
"""Modes that ask for what is done anyway, or speak to a security module or another host."""
_RECURSIONS = ("enabled", "disabled", "writable", "readonly")
_ELSEWHERE = {
    "volume-opt": "a volume is a directory of the store; mount it on this machine yourself, and bind that",
    "volume-label": "make it first: cowl volume create -l NAME=VALUE",
    "volume-subpath": "show all of it, or bind its directory, which cowl volume inspect tells",
    "image-subpath": "take files out of an image by cowl create and cowl cp",
}
"""Words of `--mount` that cowl has not, and what to do instead."""
_TRUE, _FALSE = ("", "1", "t", "true"), ("0", "f", "false")
_BIND_ALONE = ("bind-propagation", "bind-nonrecursive", "bind-recursive", "bind-create-src")
_HINT = "write it like type=bind,src=/here,dst=/there,ro"


def volume(text: str) -> Volume:
    """``[SOURCE:]DESTINATION[:MODE]``: a path of this machine, one relative to here (``./x``), or a name.

    Without a source it is a volume that goes with its container.
    """
    source, colon, rest = text.partition(":")
    destination, _, mode = rest.partition(":")
    if not colon:
        source, destination = "", text
    if not destination or (colon and not source):
        raise UsageError(
            f"bad volume {text!r}",
            "it does not name both sides",
            "write it like /here:/there, name:/there or /here:/there:ro",
        )
    words = mode.split(",")
    bound = source.startswith(("/", "."))
    known = {*_IGNORED_MODES, *_MODES, *(_PROPAGATIONS if bound else ("nocopy",))}
    wrong = [word for word in words if word not in known]
    accesses = [word for word in words if word in _MODES]
    propagations = [word for word in words if word in _PROPAGATIONS]
    if wrong or len(accesses) > 1 or len(propagations) > 1:
        raise UsageError(
            f"bad mode {mode!r} of volume {text!r}",
            f"{wrong[0]!r} means nothing here" if wrong else "it says two things at once",
            "end it with :ro or :rw" + (", or with :rslave" if bound else ", or with :nocopy"),
        )
    read_only = _MODES[accesses[0]] if accesses else False
    if bound:
        shared = next((word for word in propagations if word not in _PRIVATE), "")
        return Volume(os.path.abspath(source), destination, read_only, propagation=shared)
    return Volume("", destination, read_only, source, not source, "nocopy" not in words)


def driver(name: str | None) -> None:
    """Raise UnsupportedError for a driver of volumes that is not here."""
    if name not in (None, "", "local"):
        raise UnsupportedError(
            f"there is no volume driver {name}",
            "volumes are directories of the store",
            "mount on this machine what it is to show, and show that by -v",
        )


def mounted(texts: Sequence[str]) -> tuple[tuple[Volume, ...], tuple[str, ...]]:
    """The volumes, and the directories in memory, of ``type=…,src=…,dst=…``."""
    volumes: list[Volume] = []
    tmpfs: list[str] = []
    for text in texts:
        found = _mounted(text)
        if isinstance(found, Volume):
            volumes.append(found)
        else:
            tmpfs.append(found)
    return tuple(volumes), tuple(tmpfs)


def _mounted(text: str) -> Volume | str:
    """One `--mount`: a volume, or what `--tmpfs` would be given."""
    given = _words(text)
    kind = given.pop("type", "volume").lower()
    if kind not in ("bind", "volume", "tmpfs"):
        raise UsageError(f"bad mount {text!r}", f"there is no type {kind}", "choose bind, volume or tmpfs")
    source = _first(given, "source", "src")
    destination = _first(given, "destination", "dst", "target")
    read_only = _is_set(given, "readonly", "ro")
    given.pop("consistency", None)
    if (kind == "bind") > bool(source) or not destination or (kind == "tmpfs" and source):
        raise UsageError(f"bad mount {text!r}", "it does not say what is shown where", _HINT)
    if kind == "tmpfs":
        return _memory(text, given, destination, read_only)
    if kind == "volume":
        driver(given.pop("volume-driver", None))
        plain = not _is_set(given, "volume-nocopy")
        _nothing_left(text, given)
        return Volume("", destination, read_only, source, not source, plain)
    return _bound(text, given, Volume(os.path.abspath(source), destination, read_only))


def _words(text: str) -> dict[str, str]:
    """Its names and values; quotes keep a comma in a value (RFC 4180, as docker has it)."""
    parts = text.split(",")
    if '"' in text:
        import csv

        parts = next(csv.reader([text], strict=True), [])
    return {name.strip().lower(): value for name, _, value in (part.partition("=") for part in parts)}


def _memory(text: str, given: dict[str, str], destination: str, read_only: bool) -> str:
    large, mode = given.pop("tmpfs-size", ""), given.pop("tmpfs-mode", "")
    _nothing_left(text, given)
    if mode.strip("01234567"):
        raise UsageError(f"bad mount {text!r}", f"the mode {mode} is not octal", "write it like 1777")
    words = (
        f"size={size(large, 'tmpfs-size')}" if large else "",
        f"mode={mode}" if mode else "",
        "ro" if read_only else "",
    )
    options = ",".join(filter(None, words))
    return f"{destination}:{options}" if options else destination


def _bound(text: str, given: dict[str, str], plain: Volume) -> Volume:
    propagation = given.pop("bind-propagation", "") or "rprivate"
    recursion = given.pop("bind-recursive", "") or "enabled"
    if _is_set(given, "bind-nonrecursive"):
        recursion = "disabled"
    made = _is_set(given, "bind-create-src")
    _nothing_left(text, given)
    for value, known in ((propagation, _PROPAGATIONS), (recursion, _RECURSIONS)):
        if value not in known:
            raise UsageError(f"bad mount {text!r}", f"{value!r} means nothing", f"choose {', '.join(known)}")
    if recursion in ("writable", "readonly") and not plain.read_only:
        raise UsageError(f"bad mount {text!r}", f"bind-recursive={recursion} is for what is ro", "add ro")
    return plain._replace(
        propagation="" if propagation in _PRIVATE else propagation,
        recursion=recursion if recursion in ("disabled", "writable") else "",
        make=made,
    )


def _nothing_left(text: str, given: dict[str, str]) -> None:
    """Raise UsageError for the first word that nobody took."""
    for name in given:
        if name in _ELSEWHERE:
            raise UsageError(f"cannot mount {text!r}", f"there is no {name} here", _ELSEWHERE[name])
        why = f"{name} is for another type" if name in _BIND_ALONE else f"{name!r} means nothing"
        raise UsageError(f"bad mount {text!r}", why, _HINT)


def _first(given: dict[str, str], *names: str) -> str:
    """The value of one of *names*, which are taken out."""
    return next(filter(None, [given.pop(name, "") for name in names]), "")


def _is_set(given: dict[str, str], *names: str) -> bool:
    """Whether one of *names* is there and not false; they are taken out."""
    found = [(name, given.pop(name)) for name in names if name in given]
    for name, value in found:
        if value.lower() not in (*_TRUE, *_FALSE):
            raise UsageError(f"bad value {value!r} of {name}", "it is neither true nor false", _HINT)
    return any(value.lower() in _TRUE for _, value in found)
