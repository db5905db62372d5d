"""What is typed into a form, made into values; `ValueError` carries the sentence that the form shows."""

from __future__ import annotations

import re
import shlex

from engine.model import Volume

_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)i?b?$", re.IGNORECASE)
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*$")
_UNITS = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40}
SMALLEST_MEMORY = 6 << 20


def memory(text: str) -> int | None:
    """Bytes of `64m`, `1.5g`, `512MiB`; None for nothing."""
    if not text:
        return None
    found = _BYTES.match(text)
    if found is None:
        raise ValueError("memory is a size such as 64m or 1.5g")
    number = int(float(found[1]) * (1 << _UNITS[found[2].lower()]))
    if number < SMALLEST_MEMORY:
        raise ValueError("memory: 6m is the least that a container can live on")
    return number


def cpus(text: str) -> float | None:
    """CPUs of `0.5`; None for nothing."""
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        raise ValueError("cpus is a number such as 0.5 or 2") from None
    if not 0.01 <= number <= 4096:
        raise ValueError("cpus: at least 0.01, at most what the machine has")
    return number


def pids(text: str) -> int | None:
    """A count of processes; None for nothing."""
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ValueError("pids is a whole number of processes, such as 50")
    return int(text)


def container_name(text: str) -> str | None:
    """A container's name; None for nothing."""
    if not text:
        return None
    if not _NAME.match(text):
        raise ValueError("a name is letters, figures, _ . - and begins with a letter or figure")
    return text


def words(text: str, what: str) -> tuple[str, ...]:
    """A line split as a shell splits it."""
    try:
        return tuple(shlex.split(text))
    except ValueError:
        raise ValueError(f"{what}: a quote is not closed") from None


def environment(text: str) -> tuple[str, ...]:
    """`A=1 B="two words"`."""
    pairs = words(text, "env")
    for pair in pairs:
        name, equals, _ = pair.partition("=")
        if not name or not equals:
            raise ValueError(f"env: {pair} is not NAME=VALUE")
    return pairs


def volumes(text: str) -> tuple[Volume, ...]:
    """`/src:/dst name:/data:ro`."""
    return tuple(_volume(word) for word in words(text, "volumes"))


def absolute(text: str, what: str) -> str | None:
    """A path that begins at the root; None for nothing."""
    if text and not text.startswith("/"):
        raise ValueError(f"{what} is a path that begins with /")
    return text or None


def _volume(word: str) -> Volume:
    parts = word.split(":")
    read_only = len(parts) == 3 and parts[2] in ("ro", "rw")
    if len(parts) not in (2, 3) or (len(parts) == 3 and not read_only):
        raise ValueError(f"volumes: {word} is not /here:/there or /here:/there:ro")
    source, destination = parts[:2]
    if not destination.startswith("/"):
        raise ValueError(f"volumes: {destination or 'the second path'} of {word} begins with /")
    if source.startswith("/"):
        return Volume(source, destination, parts[2:] == ["ro"])
    if not _NAME.match(source):
        raise ValueError(f"volumes: {source or 'what is before the colon'} is neither a path nor a name")
    return Volume("", destination, parts[2:] == ["ro"], name=source)
