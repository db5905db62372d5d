"""Where an image of a name is: its registry, its repository there, its tag or digest."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from engine.errors import UsageError
from engine.oci import reference

DOCKER_IO = "docker.io"
_DOCKER_IO_API = "registry-1.docker.io"


class Remote(NamedTuple):
    """An image, or a whole repository, in a registry."""

    registry: str
    """As people write it: ``docker.io``, ``127.0.0.1:5000``."""
    repository: str
    tag: str | None
    digest: str | None

    @property
    def target(self) -> str:
        """What the registry is asked for."""
        return self.digest or self.tag or reference.DEFAULT_TAG


def remote_of(text: str) -> Remote:
    """The image that the name *text* means. Raises UsageError for what is no name."""
    parsed = reference.parse(text)
    host, slash, rest = parsed.name.partition("/")
    if slash and reference.is_registry(host):
        return Remote(host, rest, parsed.tag, parsed.digest)
    repository = parsed.name if slash else f"library/{parsed.name}"
    return Remote(DOCKER_IO, repository, parsed.tag, parsed.digest)


def local_name(remote: Remote, tag: str) -> str:
    """The normalised name under which an image of *remote* is recorded."""
    return reference.normalise(f"{remote.registry}/{remote.repository}:{tag}")


def registry_of(text: str) -> str:
    """The registry that `login` is asked for: a host, with or without a scheme. Raises UsageError."""
    host, _, path = text.removeprefix("https://").removeprefix("http://").partition("/")
    if host in ("index.docker.io", _DOCKER_IO_API):
        host = DOCKER_IO
    hint = "write it like host or host:port"
    if path.strip("/") not in ("", "v1", "v2"):
        raise UsageError(f"{text!r} is not a registry", "it has a path", hint)
    try:
        reference.parse(f"{host}/x")
    except UsageError as error:
        raise UsageError(f"{text!r} is not a registry", "", hint) from error
    return host


def api_host(registry: str) -> str:
    """The host that answers for *registry*."""
    return _DOCKER_IO_API if registry == DOCKER_IO else registry


def is_loopback(host: str) -> bool:
    """Whether *host* (with or without a port) is this machine itself, as its name says."""
    name = host.partition("]")[0][1:] if host.startswith("[") else host.partition(":")[0]
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
