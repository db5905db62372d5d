"""JSON that everybody reads alike: documents in which two readers could see two things are refused.

RFC 8259 leaves it open what a repeated name means, how large a number may be and how deep a document; the
same digest must not be one image here and another one elsewhere.
"""

from __future__ import annotations

import json
import math
from typing import Any

_MAX_DEPTH = 100
_MAX_DIGITS = 40
"""Digits of an integer: more than any size or time, less than Python refuses to read (4,300)."""


class StrictError(ValueError):
    """Why a document is not taken."""


def check(body: bytes) -> None:
    """Raise StrictError if *body* is not JSON in UTF-8 that all readers agree on."""
    try:
        document = json.loads(
            body, object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_constant
        )
    except RecursionError as error:
        raise StrictError("it is nested too deep") from error
    except UnicodeDecodeError as error:
        raise StrictError("it is not UTF-8") from error
    except StrictError:
        raise
    except ValueError as error:
        raise StrictError(str(error)) from error
    _walk(document)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        places = {name: place for place, (name, _) in enumerate(pairs)}
        twice = next(name for place, (name, _) in enumerate(pairs) if places[name] != place)
        raise StrictError(f"it has {twice[:80]!a} twice")
    return found


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise StrictError(f"it has a number of {len(digits)} digits")
    return int(digits)


def _number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise StrictError("it has a number that is too large")
    return number


def _constant(name: str) -> float:
    raise StrictError(f"it has {name}, which is no number")


def _walk(document: object) -> None:
    """Refuse what is nested too deep for others and text that is not Unicode."""
    pending: list[tuple[object, int]] = [(document, 1)]
    while pending:
        value, depth = pending.pop()
        if isinstance(value, str):
            _text(value)
        elif isinstance(value, dict):
            for name in value:
                _text(name)
            pending += [(each, depth + 1) for each in value.values()]
        elif isinstance(value, list):
            pending += [(each, depth + 1) for each in value]
        if depth > _MAX_DEPTH:
            raise StrictError("it is nested too deep")


def _text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise StrictError("it has half a character (a lone surrogate)") from error
