"""Connections that outlive whom they led to: of clients that go on sending to a port that changed hands."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable

from engine.kernel import conntrack, links
from engine.kernel.conntrack import Flow
from engine.kernel.netlink import Netlink
from engine.kernel.nftables import PROTOCOLS
from engine.model import EVERY_ADDRESS, PublishedPort
from engine.network import addressing
from engine.network.members import Member

_LOOPBACK = b"\x7f"
_SIZES = {4: links.AF_INET, 16: links.AF_INET6}


def left(members: Iterable[Member]) -> list[bytes]:
    """The addresses that `forget_left` has something to do with, perhaps, when *members* have left."""
    gone = [member for member in members if _udp(member)]
    if not gone or not conntrack.tracking():
        return []
    return [addressing.parse(text) for member in gone for text in (member.ip, member.ip6) if text]


def forget_left(addresses: Collection[bytes]) -> None:
    """Forget what leads to *addresses*: whoever has their ports next is to be reached by all.

    Connections of TCP end by themselves. It takes a walk through all connections, as `forget_taken` does.
    """
    if addresses:
        with contextlib.suppress(OSError), conntrack.open_channel() as channel:  # they end in minutes
            for address in addresses:
                conntrack.forget_to(channel, address)


def taken(member: Member) -> list[PublishedPort]:
    """The ports of *member* for which `forget_taken` has something to do, perhaps."""
    ports = _udp(member)
    return ports if ports and conntrack.tracking() else []


def forget_taken(member: Member) -> None:
    """Forget what went to the ports that *member* has now: to this machine, or to whoever had them before.

    It takes a walk through all connections, some milliseconds for each version of IP.
    """
    ports = taken(member)
    numbers = {port.host_port for port in ports}
    with contextlib.suppress(OSError), conntrack.open_channel() as channel, Netlink() as routing:
        for size in _SIZES if member.ip6 else (4,):
            own = {found.address for found in links.addresses(routing, _SIZES[size])}
            inside = addressing.parse(member.ip if size == 4 else member.ip6)
            conntrack.forget_ports(channel, size, PROTOCOLS["udp"], numbers, _misled(ports, own, inside))


def _udp(member: Member) -> list[PublishedPort]:
    return [port for port in member.ports if port.protocol == "udp"]


def _misled(
    ports: Collection[PublishedPort], own: Collection[bytes], inside: bytes
) -> Callable[[Flow], bool]:
    """Whether a connection is for one of *ports* at an address of this machine, and leads elsewhere."""
    at = {
        (port.host_port, b"" if port.host_ip in EVERY_ADDRESS else addressing.parse(port.host_ip))
        for port in ports
    }

    def chosen(flow: Flow) -> bool:
        here = flow.destination in own or (len(inside) == 4 and flow.destination.startswith(_LOOPBACK))
        published = (flow.port, b"") in at or (flow.port, flow.destination) in at
        return here and published and flow.answered_by != inside

    return chosen
