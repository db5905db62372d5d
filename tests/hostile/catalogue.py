"""All kinds of hostile archives that there are."""

from __future__ import annotations

from tests.hostile import headers, images, layers
from tests.hostile.kinds import KINDS

__all__ = ["KINDS", "headers", "images", "layers"]
