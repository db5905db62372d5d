"""Pulling what a launch needs and does not find."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from engine.cli.layerlines import LayerLines
from engine.errors import CowlError, ImageNotFoundError

if TYPE_CHECKING:
    from engine.engine import Engine

_NOWHERE_ELSE = re.compile(r"(?:sha256:)?[0-9a-f]{12,64}|starter(?::base|:latest)?")
"""What is no name of a registry: IDs, and what cowl makes itself."""


def fetch(engine: Engine, image: str, missing: ImageNotFoundError | None) -> None:
    """Pull *image*, which is *missing* here, or shall be the newest. Raises what a pull raises."""
    if missing and _NOWHERE_ELSE.fullmatch(image):
        raise missing
    try:
        with LayerLines("pull") as progress:
            engine.images.pull(image, progress=progress)
    except CowlError as error:
        if missing is None:
            raise
        hint = error.hint or "look at cowl images"
        raise type(error)(f"no image {image} here, and {error.what}", error.why, hint) from error
