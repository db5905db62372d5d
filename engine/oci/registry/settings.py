"""What a user has said about registries: ``registries.toml`` in the root of the store, or in /etc/cowl.

    [registries."docker.io"]
    mirrors = ["mirror.example", "http://127.0.0.1:5000/docker"]

    [registries."registry.example:5000"]
    ca-file = "/etc/ssl/registry.pem"       # besides what certs.d has: see `engine.oci.registry.trust`

    [registries."box.lan:5000"]
    plain-http = true                       # no TLS there

    [registries."lab.lan"]
    insecure = true                         # TLS with whatever certificate it shows; without, if it has none

Mirrors are asked first, in their order, and only for pulls. The file in the root goes before the other one,
registry by registry.
"""

from __future__ import annotations

import tomllib
from typing import Any, NamedTuple

from engine.errors import UsageError
from engine.oci import reference
from engine.oci.registry import trust
from engine.oci.registry.trust import Trust

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
    insecure: bool = False
    ca_file: str | None = None


def read(root: str, registry: str, system: str = SYSTEM) -> RegistrySettings:
    """The settings of *registry* for the store at *root*. Raises UsageError for a file that is wrong."""
    for path in (f"{root}/{FILE}", system):
        table = _tables(path).get(registry)
        if table is not None:
            return _settings(table, registry, path)
    return RegistrySettings()


def plain_hosts(root: str, system: str = SYSTEM) -> frozenset[str]:
    """The registries that may be talked to without TLS. Raises UsageError for a file that is wrong."""
    names = {name for path in (f"{root}/{FILE}", system) for name in _tables(path)}
    said = {name: read(root, name, system) for name in names}
    return frozenset(name for name, own in said.items() if own.plain_http or own.insecure)


def trust_in(root: str, registry: str, said: RegistrySettings) -> Trust:
    """Whom to believe to be *registry*: what is *said* and what directories of certificates have."""
    found = trust.find(root, registry)
    files = (said.ca_file,) if said.ca_file else ()
    return Trust((*files, *found.authorities), found.own, said.insecure)


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
    if unknown := table.keys() - {"mirrors", "plain-http", "insecure", "ca-file"}:
        raise _wrong(path, f"nothing is known of {', '.join(sorted(unknown))}")
    mirrors = table.get("mirrors", [])
    plain, insecure = table.get("plain-http", False), table.get("insecure", False)
    ca_file = table.get("ca-file")
    if not isinstance(mirrors, list) or not all(isinstance(each, str) for each in mirrors):
        raise _wrong(path, f"the mirrors of {registry} are not a list of texts")
    if not isinstance(plain, bool) or not isinstance(insecure, bool):
        raise _wrong(path, f"plain-http and insecure of {registry} are true or false")
    if not (ca_file is None or isinstance(ca_file, str)):
        raise _wrong(path, f"ca-file of {registry} is a path")
    return RegistrySettings(tuple(_mirror(each, path) for each in mirrors), plain, insecure, ca_file)


def _mirror(text: str, path: str) -> Mirror:
    rest = text.removeprefix("https://").removeprefix("http://")
    host, _, prefix = rest.strip("/").partition("/")
    try:
        reference.parse(f"{host}/{prefix}/x" if prefix else f"{host}/x")
    except UsageError as error:
        raise _wrong(path, f"{text!r} is no mirror: write it like host:port/prefix") from error
    return Mirror(host, f"{prefix}/" if prefix else "", text.startswith("http://"))


def _wrong(path: str, why: str) -> UsageError:
    return UsageError(f"{path} is not valid", why, "correct it")
