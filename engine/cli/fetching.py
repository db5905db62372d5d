"""Pulling what a launch needs and does not find."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from engine.cli.layerlines import LayerLines
from engine.errors import CowlError, ImageNotFoundError
from engine.oci import platforms
from engine.oci.documents import Platform

if TYPE_CHECKING:
    from engine.engine import Engine

_NOWHERE_ELSE = re.compile(r"(?:sha256:)?[0-9a-f]{12,64}|starter(?::base|:latest)?")
"""What is no name of a registry: IDs, and what cowl makes itself."""


def check_platform(engine: Engine, image: str, platform: str) -> None:
    """Raise ImageNotFoundError where the image here is not for *platform*."""
    wanted = platforms.parse(platform)
    config = engine.images.get(image).config
    here = Platform(config.get("architecture", ""), config.get("os", ""), config.get("variant", ""))
    if here.architecture and not platforms.fits(here, wanted):
        raise ImageNotFoundError(
            f"no image {image} for {platforms.shown(wanted)} here",
            f"the one here is for {platforms.shown(here)}",
            f"cowl pull --platform {platform} {image}",
        )


def fetch(
    engine: Engine,
    image: str,
    missing: ImageNotFoundError | None,
    *,
    platform: str | None = None,
    quiet: bool = False,
) -> None:
    """Pull *image*, which is *missing* here, or shall be the newest. Raises what a pull raises."""
    if missing and _NOWHERE_ELSE.fullmatch(image):
        raise missing
    try:
        with LayerLines("pull", quiet=quiet) as progress:
            engine.images.pull(image, platform=platform, progress=progress)
    except CowlError as error:
        if missing is None:
            raise
        hint = error.hint or "look at cowl images"
        raise type(error)(f"no image {image} here, and {error.what}", error.why, hint) from error
