"""What a user has said about registries: ``registries.toml`` in the root of the store, or in /etc/cowl.

    [registries."docker.io"]
    mirrors = ["mirror.example", "http://127.0.0.1:5000/docker"]

    [registries."registry.example:5000"]
    plain-http = true
    ca-file = "/etc/ssl/registry.pem"

Mirrors are asked first, in their order, and only for pulls. The file in the root goes before the other one,
registry by registry.
"""

from __future__ import annotations

import tomllib
from typing import Any, NamedTuple

from engine.errors import UsageError

FILE = "registries.toml"
SYSTEM = f"/etc/cowl/{FILE}"


class Mirror(NamedTuple):
    """Another place that has the images of a registry."""

    host: str
    prefix: str
    """What goes before the name of a repository; empty, or with a slash at its end."""
    plain_http: bool


class RegistrySettings(NamedTuple):
    """What is said about one registry."""

    mirrors: tuple[Mirror, ...] = ()
    plain_http: bool = False
    ca_file: str | None = None


def read(root: str, registry: str, system: str = SYSTEM) -> RegistrySettings:
    """The settings of *registry* for the store at *root*. Raises UsageError for a file that is wrong."""
    for path in (f"{root}/{FILE}", system):
        table = _tables(path).get(registry)
        if table is not None:
            return _settings(table, registry, path)
    return RegistrySettings()


def _tables(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}", str(error), "correct it") from error
    tables = document.get("registries", {})
    if not isinstance(tables, dict):
        raise _wrong(path, "registries is not a table")
    return tables


def _settings(table: Any, registry: str, path: str) -> RegistrySettings:
    if not isinstance(table, dict):
        raise _wrong(path, f"{registry} is not a table")
    if unknown := table.keys() - {"mirrors", "plain-http", "ca-file"}:
        raise _wrong(path, f"nothing is known of {', '.join(sorted(unknown))}")
    mirrors = table.get("mirrors", [])
    plain = table.get("plain-http", False)
    ca_file = table.get("ca-file")
    if not isinstance(mirrors, list) or not all(isinstance(each, str) for each in mirrors):
        raise _wrong(path, f"the mirrors of {registry} are not a list of texts")
    if not isinstance(plain, bool) or not (ca_file is None or isinstance(ca_file, str)):
        raise _wrong(path, f"plain-http of {registry} is true or false, ca-file a path")
    return RegistrySettings(tuple(map(_mirror, mirrors)), plain, ca_file)


def _mirror(text: str) -> Mirror:
    rest = text.removeprefix("https://").removeprefix("http://")
    host, _, prefix = rest.strip("/").partition("/")
    return Mirror(host, f"{prefix}/" if prefix else "", text.startswith("http://"))


def _wrong(path: str, why: str) -> UsageError:
    return UsageError(f"{path} is not valid", why, "correct it")
