"""`--init`: a small program of the host as a container's first process, which forwards signals and reaps.

It is shown in the container read-only, so it has to be one that needs no library of the image.
"""

from __future__ import annotations

import os
import shutil

from engine.errors import UnsupportedError
from engine.model import JSON

INSIDE = "/sbin/docker-init"
"""Where it is shown; docker's place."""
_NAMES = ("catatonit", "docker-init", "tini-static")
"""Programs that are linked statically; `tini` itself usually is not."""
_PLACES = ("/usr/libexec/podman", "/usr/lib/podman", "/usr/libexec/docker", "/usr/libexec/catatonit")


def find() -> str:
    """The host's init program. Raises UnsupportedError where there is none."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *_PLACES))
    for name in _NAMES:
        if (found := shutil.which(name, path=path)) is not None:
            return os.path.realpath(found)
    raise UnsupportedError(
        "this machine has no init program for containers",
        f"none of {', '.join(_NAMES)} is installed",
        "install catatonit, or leave out --init",
    )


def put_first(spec: JSON, program: str) -> None:
    """Have *program* run first in the container of *spec*, and its own program as its child."""
    spec["process"]["args"] = [INSIDE, "--", *spec["process"]["args"]]
    spec["mounts"].append(
        {
            "destination": INSIDE,
            "type": "bind",
            "source": program,
            "options": ["bind", "ro", "nosuid", "nodev", "rprivate"],
        }
    )
