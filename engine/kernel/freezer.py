"""Whether a cgroup is paused: asked about every container, so that nothing else is loaded for it."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_FILES = (("freezer", "freezer.state"), ("unified", "cgroup.freeze"))
"""By version: the controller, and its file."""


def is_frozen(version: int, directories: Mapping[str, str]) -> bool:
    """Whether processes of the cgroup with these *directories* are stopped or about to be.

    False for a cgroup that has gone (freezer-subsystem.rst, cgroup-v2.rst).
    """
    controller, name = _FILES[version - 1]
    if controller not in directories:
        return False
    try:
        descriptor = os.open(f"{directories[controller]}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.read(descriptor, 16).strip() in (b"FROZEN", b"FREEZING", b"1")
    except OSError:  # ENODEV: it went after the file was opened
        return False
    finally:
        os.close(descriptor)
