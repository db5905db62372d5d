"""Secrets in an image's configuration: everybody who has the image can read it, without any layer.

Environment, labels, commands and the history of how it was built, where build arguments end up. What a secret
is, is never told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from engine.images import secrets
from engine.model import JSON

_TELLING = (
    r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|ACCESS_?KEY|CREDENTIALS?|DATABASE_URL"
)
_NAME = re.compile(rf"(?:{_TELLING})", re.IGNORECASE)
_HARMLESS_NAME = re.compile(r"(?:_FILE|_PATH|_DIR|_TTL|_EXPIRY|_LENGTH|_NAME|_ID|_VERSION)$", re.IGNORECASE)
_ASSIGNED = re.compile(
    rf"(?P<name>[A-Za-z0-9_.]*(?:{_TELLING})[A-Za-z0-9_.]*)=(?P<value>\"[^\"]*\"|'[^']*'|[^\s\"';&|]+)",
    re.IGNORECASE,
)
_VALUE = r"[^\s\"';&|-][^\s\"';&|]*"
_OPTION = re.compile(
    rf"--(?P<name>(?:[a-z]+-)*(?:password|passwd|token|secret|api-?key))[= ](?P<value>{_VALUE})"
)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]+:(?P<value>[^/\s:@]+)@", re.IGNORECASE)
_SHORTEST = 4


class ConfigSecret(NamedTuple):
    """A setting that looks like a secret."""

    where: Literal["environment", "label", "command", "history"]
    name: str
    """The variable, label or command; for the history which step, counted from the oldest."""
    kind: str


def find(config: JSON) -> tuple[ConfigSecret, ...]:
    """What looks like a secret in the image configuration *config* (image-spec, config.md)."""
    return tuple(dict.fromkeys([*_settings(config.get("config") or {}), *_history(config)]))


def _settings(settings: JSON) -> Iterator[ConfigSecret]:
    for variable in settings.get("Env") or ():
        name, _, value = str(variable).partition("=")
        if kind := _kind_of_setting(name, value):
            yield ConfigSecret("environment", name, kind)
    for name, value in (settings.get("Labels") or {}).items():
        if kind := _kind_of_setting(name, str(value)):
            yield ConfigSecret("label", name, kind)
    health = settings.get("Healthcheck") or {}
    for name, words in (
        ("Entrypoint", settings.get("Entrypoint")),
        ("Cmd", settings.get("Cmd")),
        ("Healthcheck", health.get("Test")),
        ("OnBuild", settings.get("OnBuild")),
    ):
        if kind := _kind_of_text(" ".join(map(str, words or ()))):
            yield ConfigSecret("command", name, kind)


def _history(config: JSON) -> Iterator[ConfigSecret]:
    for number, entry in enumerate(config.get("history") or (), 1):
        for field in ("created_by", "comment"):
            if kind := _kind_of_text(str(entry.get(field) or "")):
                yield ConfigSecret("history", f"step {number}", kind)


def _kind_of_setting(name: str, value: str) -> str:
    value = value.strip().strip("\"'")
    if kind := _kind_of_value(value):
        return kind
    if not _NAME.search(name) or _HARMLESS_NAME.search(name):
        return ""
    is_number = value.isdigit() and len(value) < 6
    is_reference = value.startswith(("$", "/", "<", "http://", "https://"))
    if len(value) < _SHORTEST or is_number or is_reference or secrets.is_placeholder(value):
        return ""
    return "a telling name"


def _kind_of_text(text: str) -> str:
    if kind := _kind_of_value(text):
        return kind
    for pattern in (_ASSIGNED, _OPTION):
        for found in pattern.finditer(text):
            if kind := _kind_of_setting(found["name"].replace("-", "_"), found["value"]):
                return kind
    return ""


def _kind_of_value(text: str) -> str:
    if kind := secrets.kind_of_text(text):
        return kind
    for found in _ADDRESS.finditer(text):
        if not found["value"].startswith("$") and not secrets.is_placeholder(found["value"]):
            return "password in an address"
    return ""
