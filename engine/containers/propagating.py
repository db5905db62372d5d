"""Volumes whose mounts come from this machine, or go to it: whether that can be (mount_namespaces(7))."""

from __future__ import annotations

import os
from collections.abc import Sequence

from engine.errors import ConflictError
from engine.model import Volume

_NEEDED = {"shared": ("shared:",), "slave": ("shared:", "master:")}


def check(volumes: Sequence[Volume]) -> None:
    """Raise ConflictError for one on a mount that nothing would come from, or go to."""
    wanted = [volume for volume in volumes if volume.propagation]
    if not wanted:
        return
    with open("/proc/self/mountinfo", "rb") as file:
        mounts = dict(_mount(line) for line in file)
    for volume in wanted:
        place = os.fsencode(os.path.realpath(volume.source))
        while place not in mounts and place != b"/":
            place = os.path.dirname(place)
        kinds = _NEEDED[volume.propagation.removeprefix("r")]
        if not mounts.get(place, "").startswith(kinds):
            point = os.fsdecode(place)
            raise ConflictError(
                f"{volume.source} cannot be {volume.propagation}",
                f"it lies on the mount {point}, which is not shared",
                f"mount --make-shared {point}",
            )


def _mount(line: bytes) -> tuple[bytes, str]:
    """Where it is, and how it hangs together with others (proc(5), mountinfo)."""
    fields = line.split()
    place = fields[4].decode("unicode_escape").encode("latin-1")
    return place, " ".join(field.decode() for field in fields[6 : fields.index(b"-")])
