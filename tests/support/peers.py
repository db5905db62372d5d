"""Other people's tools that read what cowl writes and write what cowl reads."""

from __future__ import annotations

import shutil

PACKAGES = {
    "bsdtar": "libarchive-tools",
    "bwrap": "bubblewrap",
    "ctr": "containerd",
    "docker-registry": "docker-registry",
    "linux.uml": "user-mode-linux",
    "rsvg-convert": "librsvg2-bin",
    "getcap": "libcap2-bin",
    "setcap": "libcap2-bin",
    "getfattr": "attr",
    "setfattr": "attr",
}
"""Debian's package of a command, where it is not called like it."""

USUAL = ("skopeo", "umoci", "buildah", "podman")
"""What a test that names no peer of its own compares with."""


def missing(commands: tuple[str, ...]) -> str:
    """What to say of those of *commands* that are not here: their names and packages; empty if all are."""
    absent = [command for command in commands if shutil.which(command) is None]
    packages = " ".join(sorted({PACKAGES.get(command, command) for command in absent}))
    return f"{', '.join(absent)} not here: apt-get install {packages}" if absent else ""
