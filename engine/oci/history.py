"""How layers came about, as image configurations tell it."""

from __future__ import annotations

from collections.abc import Sequence

from engine.model import JSON


def of_layers(history: Sequence[JSON], count: int) -> list[JSON]:
    """The history entry of each of *count* layers, bottom first.

    Entries of empty layers are passed over. Where the rest does not fit the number of layers, as with images
    that were squashed or made by hand, nothing is known of any.
    """
    entries = [entry for entry in history if not entry.get("empty_layer")]
    return entries if len(entries) == count else [{} for _ in range(count)]


def truncated(history: Sequence[JSON], count: int) -> list[JSON]:
    """The entries up to and including the one of the layer *count* (counted from 1), bottom first."""
    kept = []
    for entry in history:
        if not entry.get("empty_layer"):
            count -= 1
            if count < 0:
                break
        kept.append(entry)
    while kept and kept[-1].get("empty_layer"):
        kept.pop()
    return kept


def text_of(entry: JSON, key: str) -> str:
    """A field of a history entry as text; empty if it is not there or null."""
    value = entry.get(key)
    return value if isinstance(value, str) else ""
