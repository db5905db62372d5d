"""What a container asks of its network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.model import PublishedPort
from engine.record import Record


class Wish(Record):
    """What a container asks for: it goes from the launching side to the monitor as JSON."""

    bridge: str
    name: str
    hostname: str
    aliases: tuple[str, ...]
    ip: str
    mac: str
    ports: tuple[PublishedPort, ...]
    extra_hosts: tuple[str, ...]
    dns: tuple[str, ...]
    dns_search: tuple[str, ...]
    dns_options: tuple[str, ...]
    forwarding: bool
    """Whether the machine is to forward for it, if it does not."""

    @classmethod
    def of(cls, fields: Sequence[Any]) -> Wish:
        """What came as a list of JSON."""
        wish = cls._make(fields)
        return wish._replace(ports=tuple(PublishedPort(*port) for port in wish.ports))
