"""What `--security-opt`, `--device` and `--device-cgroup-rule` mean, as docker and podman have them.

Pure functions of text: nothing here looks at this machine.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import UsageError
from engine.model import JSON
from engine.record import Record

BUILTIN = "builtin"
UNCONFINED = "unconfined"
_KNOWN = "seccomp=, no-new-privileges, apparmor=, label=, mask=, unmask= and systempaths=unconfined are known"
_TRUTHS = {"": True, "true": True, "1": True, "false": False, "0": False}
_DEVICE_HINT = "write it like /dev/fuse, /dev/fuse:/dev/other or /dev/fuse:/dev/fuse:rw"


class Security(Record):
    """All of `--security-opt`."""

    seccomp: str = ""
    """``builtin``, ``unconfined``, the path of a profile, or empty for what is usual."""
    no_new_privileges: bool | None = None
    """None for what is usual."""
    apparmor: str = ""
    """A profile of the kernel's, ``unconfined``, or empty for what is usual."""
    masked: tuple[str, ...] = ()
    unmasked: tuple[str, ...] = ()
    """Paths; ``ALL`` for all that would be masked or read-only."""


def parse(options: Sequence[str]) -> Security:
    """What *options* say, the later ones outweighing. Raises UsageError for what has no meaning."""
    found = Security()
    for text in options:
        name, separator, value = _split(text)
        if name == "no-new-privileges" and value in _TRUTHS:
            found = found._replace(no_new_privileges=_TRUTHS[value])
        elif name == "seccomp" and value:
            found = found._replace(seccomp=value)
        elif name == "apparmor" and value:
            found = found._replace(apparmor=value)
        elif (name, value) == ("systempaths", UNCONFINED):
            found = found._replace(unmasked=(*found.unmasked, "ALL"))
        elif name == "mask" and value:
            found = found._replace(masked=(*found.masked, *_paths(value)))
        elif name == "unmask" and value:
            found = found._replace(unmasked=(*found.unmasked, *_paths(value)))
        elif name != "label" or not separator:  # labels are SELinux's: `creation` looks whether that is here
            raise UsageError(f"bad security option {text!r}", "it has no meaning", _KNOWN)
    return found


def labels(options: Sequence[str]) -> list[str]:
    """The values of ``label=``."""
    return [value for name, _, value in map(_split, options) if name == "label"]


def _split(text: str) -> tuple[str, str, str]:
    """Name and value; docker still takes a colon for the equals sign where no equals sign is."""
    return text.partition("=" if "=" in text else ":")


def _paths(text: str) -> list[str]:
    paths = ["ALL" if path.upper() == "ALL" else path for path in text.split(":") if path]
    for path in paths:
        if path != "ALL" and not path.startswith("/"):
            raise UsageError(f"cannot mask or unmask {path!r}", "it is not absolute", "begin it with /")
    return paths


def hidden(security: Security, usual: Sequence[str], *, privileged: bool) -> list[str]:
    """The paths that are masked, of the *usual* ones and of those asked for."""
    return list(dict.fromkeys([*_kept(security, usual, privileged), *security.masked]))


def protected(security: Security, usual: Sequence[str], *, privileged: bool) -> list[str]:
    """The paths that are read-only."""
    return _kept(security, usual, privileged)


def _kept(security: Security, usual: Sequence[str], privileged: bool) -> list[str]:
    if privileged or "ALL" in security.unmasked:
        return []
    if not security.unmasked:
        return list(usual)
    from fnmatch import fnmatchcase

    return [path for path in usual if not any(fnmatchcase(path, given) for given in security.unmasked)]


class DeviceWanted(Record):
    """One `--device`."""

    source: str
    destination: str
    access: str


def device(text: str) -> DeviceWanted:
    """``SOURCE[:DESTINATION[:ACCESS]]``, ``SOURCE:ACCESS`` too; UsageError for what is neither."""
    source, *rest = text.split(":")
    destination, access = source, "rwm"
    if len(rest) == 1 and not rest[0].startswith("/"):
        access = rest[0]
    elif rest:
        destination = rest[0]
        access = rest[1] if len(rest) > 1 else access
    proper = access and set(access) <= set("rwm") and len(set(access)) == len(access)
    if not proper or len(rest) > 2 or not source.startswith("/") or not destination.startswith("/"):
        raise UsageError(
            f"bad device {text!r}", "it is not absolute, or its access not of r, w and m", _DEVICE_HINT
        )
    return DeviceWanted(source, destination, access)


def device_rule(text: str) -> JSON:
    """``TYPE MAJOR:MINOR ACCESS`` as linux.resources.devices has it; UsageError for anything else."""
    kind, _, rest = text.partition(" ")
    numbers, _, access = rest.partition(" ")
    major, colon, minor = numbers.partition(":")
    proper = kind in ("a", "b", "c") and colon and access and set(access) <= set("rwm") and len(access) <= 3
    if not proper or not all(
        number == "*" or (number.isascii() and number.isdecimal()) for number in (major, minor)
    ):
        raise UsageError(f"bad device rule {text!r}", "it has no meaning", "write it like 'c 42:* rwm'")
    rule: JSON = {"allow": True, "type": kind, "access": access}
    rule.update((key, int(value)) for key, value in (("major", major), ("minor", minor)) if value != "*")
    return rule
