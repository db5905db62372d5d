"""Addresses: a bridge's subnet, the containers' in it, and the hardware addresses that follow from them."""

from __future__ import annotations

import os
from _socket import inet_ntop, inet_pton
from collections.abc import Iterable

from engine.errors import LaunchError, UsageError
from engine.kernel.links import AF_INET, AF_INET6, Route
from engine.record import Record

PREFIX = 22
"""Room for as many containers as a bridge of Linux takes ports (1023)."""
PREFIX6 = 64
_ROOM = 1 << (32 - PREFIX)
_POOLS = ((10, 207, 16), (172, 29, 16), (10, 93, 16), (172, 23, 16), (192, 168, 16))
"""First two bytes and prefix of what subnets are taken from, in this order (RFC 1918)."""
_MAC_BEGIN = b"\x02c"
"""Locally administered (IEEE 802)."""


class Subnet(Record):
    """The addresses of one bridge."""

    gateway: bytes
    """The bridge's own, packed."""
    gateway6: bytes
    """Empty without IPv6."""

    @property
    def network(self) -> bytes:
        """The first address of it."""
        return (int.from_bytes(self.gateway, "big") & -_ROOM).to_bytes(4, "big")

    @property
    def network6(self) -> bytes:
        """The first address of it."""
        return self.gateway6[:8] + bytes(8)

    def __contains__(self, address: object) -> bool:
        return (
            isinstance(address, bytes)
            and len(address) == 4
            and 0 < int.from_bytes(address, "big") - int.from_bytes(self.network, "big") < _ROOM - 1
        )

    def candidates(self, last: int) -> Iterable[bytes]:
        """Every address that a container may have, beginning after the number *last*."""
        first = int.from_bytes(self.network, "big")
        begin = last - first + 1 if 1 < last - first + 1 < _ROOM - 1 else 2
        for step in range(_ROOM - 3):
            place = begin + step
            if place > _ROOM - 2:
                place -= _ROOM - 3
            yield (first + place).to_bytes(4, "big")

    def address6(self, address: bytes) -> bytes:
        """The address of version 6 that goes with one of version 4."""
        return self.gateway6[:8] + bytes(4) + address if self.gateway6 else b""


def choose(routes: Iterable[Route], key: str, *, ipv6: bool) -> Subnet:
    """A subnet that no route of this machine leads to. *key* is what the one of version 6 is made from.

    Raises LaunchError when all are taken.
    """
    taken = [
        (int.from_bytes(route.destination, "big"), route.prefix)
        for route in routes
        if route.family == AF_INET and route.prefix
    ]
    gateway6 = b""
    if ipv6:
        # RFC 4193: forty bits that nobody else has.
        gateway6 = b"\xfd" + bytes.fromhex(key)[:5] + bytes(9) + b"\1"
    for first, second, prefix in _POOLS:
        begin = first << 24 | second << 16
        for network in range(begin, begin + (1 << 32 - prefix), _ROOM):
            if not any(_overlap(network, other, size) for other, size in taken):
                return Subnet((network + 1).to_bytes(4, "big"), gateway6)
    raise LaunchError(
        "cannot make a network", "no private subnet is free on this machine", "use --network none or host"
    )


def _overlap(network: int, other: int, prefix: int) -> bool:
    shift = 32 - min(prefix, PREFIX)
    return network >> shift == other >> shift


def mac_of(address: bytes) -> bytes:
    """The hardware address that goes with an address of version 4."""
    return _MAC_BEGIN + address


def mac_text(mac: bytes) -> str:
    """As it is written: ``02:63:0a:cf:00:02``."""
    return mac.hex(":")


def parse_mac(text: str) -> bytes:
    """Raises UsageError for what is no hardware address of one interface."""
    try:
        mac = bytes.fromhex(text.replace(":", "").replace("-", ""))
    except ValueError:
        mac = b""
    if len(mac) != 6 or mac[0] & 1 or not any(mac):
        raise UsageError(f"bad hardware address {text!r}", hint="write it like 02:42:ac:11:00:02")
    return mac


def parse(text: str) -> bytes:
    """An address of either version, packed. Raises UsageError for what is none."""
    for family in (AF_INET, AF_INET6):
        try:
            return inet_pton(family, text)
        except OSError:
            continue
    raise UsageError(f"bad address {text!r}", hint="write it like 192.0.2.7")


def show(address: bytes) -> str:
    """A packed address as it is written; empty for none."""
    return inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address) if address else ""


def link_name(address: bytes) -> str:
    """The host's end of the pair of the container that has *address*: who has the name has the address."""
    return f"cw{address.hex()}"


def host_has_ipv6(global_addresses: Iterable[object]) -> bool:
    """Whether this machine takes part in IPv6: it is not off, and an address is good beyond its own links."""
    try:
        descriptor = os.open("/proc/sys/net/ipv6/conf/all/disable_ipv6", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return os.read(descriptor, 4).strip() == b"0" and any(True for _ in global_addresses)
    finally:
        os.close(descriptor)
