"""`commit -c`: Dockerfile instructions that change an image's configuration, as docker reads them.

The exec form is a JSON array; anything else is the shell form, run by ``/bin/sh -c``. ``CMD=…`` is taken as
well as ``CMD …``, as podman does.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence

from engine.errors import UsageError
from engine.model import JSON

_INSTRUCTION = re.compile(r"\s*([A-Za-z]+)(?:\s+|=)(.*\S)\s*", re.DOTALL)
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?")


def apply_instructions(config: JSON, instructions: Sequence[str]) -> JSON:
    """*config* (the member ``config`` of an image configuration) as the *instructions* change it.

    Raises UsageError for what is no such instruction.
    """
    changed = dict(config)
    seen = set()
    for text in instructions:
        match = _INSTRUCTION.fullmatch(text)
        keyword = match[1].upper() if match else ""
        change = _KNOWN.get(keyword)
        if match is None or change is None:
            raise UsageError(
                f"cannot change the image by {text!r}", f"only {', '.join(_KNOWN)}", "write 'CMD sh'"
            )
        try:
            change(changed, match[2])
        except ValueError as error:
            raise UsageError(f"cannot change the image by {text!r}", str(error)) from error
        seen.add(keyword)
    if "ENTRYPOINT" in seen and "CMD" not in seen:
        changed.pop("Cmd", None)  # it was meant for the entrypoint before
    return changed


def _command(text: str) -> list[str]:
    if text.startswith("["):
        try:
            words = json.loads(text)
        except ValueError:
            words = None
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return words
    return ["/bin/sh", "-c", text]


def _words(text: str) -> list[str]:
    if text.startswith("["):
        words = json.loads(text)
        if not all(isinstance(word, str) for word in words):
            raise ValueError("it is no array of strings")
        return list(words)
    return shlex.split(text)


def _pairs(text: str) -> dict[str, str]:
    """``a=1 b="2 3"``, or the old form ``a everything else``."""
    words = shlex.split(text)
    if "=" not in words[0]:
        key, _, value = text.partition(" ")
        if not value:
            raise ValueError("it has no value")
        return {key: value.strip()}
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ValueError(f"{word!r} has no value")
        found[key] = value
    return found


def _cmd(config: JSON, text: str) -> None:
    config["Cmd"] = _command(text)


def _entrypoint(config: JSON, text: str) -> None:
    config["Entrypoint"] = _command(text)


def _env(config: JSON, text: str) -> None:
    pairs = _pairs(text)
    kept = [entry for entry in config.get("Env") or [] if entry.partition("=")[0] not in pairs]
    config["Env"] = kept + [f"{key}={value}" for key, value in pairs.items()]


def _label(config: JSON, text: str) -> None:
    config["Labels"] = {**(config.get("Labels") or {}), **_pairs(text)}


def _expose(config: JSON, text: str) -> None:
    ports = dict(config.get("ExposedPorts") or {})
    for word in text.split():
        match = _PORT.fullmatch(word)
        if not match:
            raise ValueError(f"{word!r} is no port")
        first, last = int(match[1]), int(match[2] or match[1])
        if not 0 < first <= last < 65536:
            raise ValueError(f"{word!r} is no port")
        ports.update({f"{port}/{match[3] or 'tcp'}": {} for port in range(first, last + 1)})
    config["ExposedPorts"] = ports


def _volume(config: JSON, text: str) -> None:
    config["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in _words(text)}}


def _workdir(config: JSON, text: str) -> None:
    here = config.get("WorkingDir") or "/"
    config["WorkingDir"] = text if text.startswith("/") else f"{here.rstrip('/')}/{text}"


def _user(config: JSON, text: str) -> None:
    config["User"] = text


def _stop_signal(config: JSON, text: str) -> None:
    config["StopSignal"] = text


_KNOWN: dict[str, Callable[[JSON, str], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "LABEL": _label,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
