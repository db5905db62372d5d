"""JSON by the C module that `json` is built on: that one takes 8 ms to import, with `re` and `enum`.

It reads and writes what `json` does with its defaults. Errors are ValueErrors, and RecursionError for what
is nested too deep.
"""

from __future__ import annotations

import os
from _json import encode_basestring_ascii, make_encoder, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_USUAL = 1 << 16
"""Bytes that hold most of our documents."""
_BLANKS = " \t\n\r"
_CONSTANTS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


class _Reading:
    """How a document is read: what `json.JSONDecoder` would say."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = _CONSTANTS.__getitem__
    memo: dict[str, str] = {}  # noqa: RUF012  # the scanner looks for it and has one of its own


def loads(data: bytes | str) -> Any:
    """The value of a JSON document, in UTF-8 if it is bytes (RFC 8259). Raises ValueError."""
    text = data if isinstance(data, str) else data.decode()
    text = text.strip(_BLANKS)
    try:
        value, end = make_scanner(_Reading)(text, 0)  # type: ignore[arg-type]  # it looks at attributes alone
    except StopIteration as stop:
        raise ValueError(f"no value at character {stop.value}") from None
    if end != len(text):
        raise ValueError(f"something follows at character {end}")
    return value


def read(path: str) -> Any:
    """The document in the file *path*, which is whole or not there; None when it is not."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        data = part = os.read(descriptor, _USUAL)
        while part:
            part = os.read(descriptor, _USUAL)
            data += part
    finally:
        os.close(descriptor)
    return loads(data)


def dumps(value: Any) -> str:
    """*value* as JSON, in ASCII and on one line. Raises TypeError for what JSON has no word for."""
    encode = make_encoder(None, _unknown, encode_basestring_ascii, None, ": ", ", ", False, False, True)
    return "".join(encode(value, 0))


def indented(document: dict[str, Any]) -> str:
    """*document* as JSON with a line for each member."""
    lines = ",\n".join(f"  {dumps(name)}: {dumps(value)}" for name, value in document.items())
    return f"{{\n{lines}\n}}"


def _unknown(value: object) -> object:
    raise TypeError(f"JSON has no word for {type(value).__name__}")
