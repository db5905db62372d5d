"""Which image of an index is meant: by operating system, architecture and variant."""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import NotFoundError, UsageError
from engine.oci import documents
from engine.oci.documents import Descriptor, Platform

_ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "i386": "386"}
_VARIANTS = {"arm": "v7", "arm64": "v8"}
"""What an architecture without a variant means."""


def host() -> Platform:
    """What this machine runs."""
    architecture, variant = documents.platform_of_host()
    return Platform(architecture, "linux", variant)


def parse(text: str) -> Platform:
    """``os/arch[/variant]``, or an architecture alone. Raises UsageError."""
    parts = text.lower().split("/")
    if len(parts) == 1:
        parts = ["linux", *parts]
    if len(parts) > 3 or not all(parts):
        raise UsageError(f"{text!r} is not a platform", "", "write it like linux/arm64 or linux/arm/v7")
    architecture = _ALIASES.get(parts[1], parts[1])
    return Platform(architecture, parts[0], parts[2] if len(parts) == 3 else "")


def shown(platform: Platform) -> str:
    """``os/arch[/variant]``."""
    return "/".join(filter(None, (platform.os, platform.architecture, platform.variant)))


def choose(entries: Sequence[Descriptor], wanted: Platform) -> Descriptor:
    """The one of *entries* that is for *wanted*. Raises NotFoundError, which lists what there is."""
    images = [entry for entry in entries if not is_attestation(entry)]
    fitting = [entry for entry in images if entry.platform is None or _fits(entry.platform, wanted)]
    if not fitting:
        there = ", ".join(dict.fromkeys(shown(entry.platform) for entry in images if entry.platform))
        raise NotFoundError(f"the image is not for {shown(wanted)}", f"it is for {there or 'nothing'}")
    exact = [entry for entry in fitting if entry.platform and _variant(entry.platform) == _variant(wanted)]
    return (exact or fitting)[0]


def ranks(entries: Sequence[Descriptor]) -> dict[str, int]:
    """By digest: 0 for the one of *entries* that this machine is best served with, else its place, from 1."""
    found: dict[str, int] = {}
    for place, entry in enumerate(entries, 1):
        found.setdefault(entry.digest, place)
    try:
        found[choose(entries, host()).digest] = 0
    except NotFoundError:
        if entries:
            found[entries[0].digest] = 0
    return found


def fits(platform: Platform, wanted: Platform) -> bool:
    """Whether an image for *platform* is what was *wanted*."""
    return _fits(platform, wanted) and (not wanted.variant or _variant(platform) == _variant(wanted))


def is_attestation(entry: Descriptor) -> bool:
    """Build attestations travel in indexes as manifests of no platform."""
    return entry.platform is not None and entry.platform.architecture == "unknown"


def _fits(platform: Platform, wanted: Platform) -> bool:
    architecture = _ALIASES.get(platform.architecture, platform.architecture)
    return architecture == wanted.architecture and platform.os in ("", wanted.os)


def _variant(platform: Platform) -> str:
    return platform.variant or _VARIANTS.get(platform.architecture, "")
