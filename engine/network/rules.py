"""The packet rules of one root: a table of its own, in which published ports are elements of maps.

Nothing of anybody else's is looked at or changed, and one removal takes everything away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.kernel import nftables as nft
from engine.kernel.netlink import Netlink
from engine.model import EVERY_ADDRESS, PublishedPort
from engine.network import addressing
from engine.network.addressing import PREFIX, PREFIX6, Subnet
from engine.network.members import Member

ANY, AT = "ports{}", "ports{}_at"
"""Maps of ports published on every address of the machine, and on one; the number is the version of IP."""
_DESTINATION, _SOURCE, _RAW, _FILTER = -100, 100, -300, 0
"""Priorities: NF_IP_PRI_NAT_DST and so on (linux/netfilter_ipv4.h)."""


def table_name(key: str) -> str:
    """What the table of the root *key* is called."""
    return f"cowl_{key}"


def ensure(channel: Netlink, key: str, bridge: str, subnet: Subnet, members: Iterable[Member]) -> None:
    """Make the table if it is not there, with the ports of *members*: somebody may have flushed all rules."""
    table = table_name(key)
    if nft.exists(channel, table):
        return
    families = (nft.IPV4, nft.IPV6) if subnet.gateway6 else (nft.IPV4,)
    nft.create(channel, table, _maps(families), _chains(bridge, subnet, families))
    for member in members:
        publish(channel, key, member)


def remove(channel: Netlink, key: str) -> None:
    """Remove the table, if there is one."""
    if nft.exists(channel, table_name(key)):
        nft.remove(channel, table_name(key))


def publish(channel: Netlink, key: str, member: Member) -> None:
    """Lead the ports of *member* to it. OSError with EEXIST when one of them leads elsewhere."""
    for name, pairs in _elements(member).items():
        nft.add_elements(channel, table_name(key), name, pairs)


def withdraw(channel: Netlink, key: str, member: Member) -> None:
    """Undo `publish`, as far as it was done."""
    for name, pairs in _elements(member).items():
        nft.remove_elements(channel, table_name(key), name, [found for found, _ in pairs])


def _elements(member: Member) -> dict[str, list[tuple[bytes, bytes]]]:
    found: dict[str, list[tuple[bytes, bytes]]] = {}
    for port in member.ports:
        for version, inside in ((4, member.ip), (6, member.ip6)):
            name = map_of(port, version)
            if name and inside:
                value = nft.concatenation(addressing.parse(inside), _port(port.container_port))
                found.setdefault(name, []).append((_key(port), value))
    return found


def map_of(port: PublishedPort, version: int) -> str:
    """The map that *port* is in for one version of IP; empty for none."""
    if port.host_ip and (":" in port.host_ip) != (version == 6):
        return ""
    return (ANY if port.host_ip in EVERY_ADDRESS else AT).format(version)


def _key(port: PublishedPort) -> bytes:
    common = (bytes([nft.PROTOCOLS[port.protocol]]), _port(port.host_port))
    if port.host_ip in EVERY_ADDRESS:
        return nft.concatenation(*common)
    return nft.concatenation(addressing.parse(port.host_ip), *common)


def _port(number: int) -> bytes:
    return number.to_bytes(2, "big")


def _maps(families: Sequence[int]) -> list[nft.Map]:
    made = []
    for number in families:
        version, address = (4, "ipv4_addr") if number == nft.IPV4 else (6, "ipv6_addr")
        key, value = ("inet_proto", "inet_service"), (address, "inet_service")
        made.append(nft.Map(ANY.format(version), key, value))
        made.append(nft.Map(AT.format(version), (address, *key), value))
    return made


def _chains(bridge: str, subnet: Subnet, families: Sequence[int]) -> list[nft.Chain]:
    published = tuple(rule for number in families for rule in _published(number))
    leaving = tuple(rule for number in families for rule in _leaving(bridge, subnet, number))
    to_bridge = nft.interface(bridge, way="out")
    return [
        # What a container sends to the host's loopback never came through a published port.
        nft.Chain(
            "guard",
            *("filter", "prerouting", _RAW),
            (
                nft.interface(bridge, way="in")
                + nft.family(nft.IPV4)
                + nft.address_in(nft.IPV4, "daddr", b"\x7f\0\0\0", 8)
                + nft.verdict(accept=False),
            ),
        ),
        nft.Chain("prerouting", "nat", "prerouting", _DESTINATION, published),
        nft.Chain("output", "nat", "output", _DESTINATION, published),
        nft.Chain("postrouting", "nat", "postrouting", _SOURCE, leaving),
        # From elsewhere, containers are reached by their published ports alone.
        nft.Chain(
            "forward",
            *("filter", "forward", _FILTER),
            (
                to_bridge + nft.interface(bridge, way="in") + nft.verdict(accept=True),
                to_bridge + nft.tracked(nft.ESTABLISHED_RELATED) + nft.verdict(accept=True),
                to_bridge + nft.translated_destination() + nft.verdict(accept=True),
                to_bridge + nft.verdict(accept=False),
            ),
        ),
    ]


def _published(number: int) -> tuple[bytes, ...]:
    version = 4 if number == nft.IPV4 else 6
    local = nft.family(number) + nft.local_destination()
    # There is no route_localnet in IPv6: at ::1 a port is refused, rather than never answered.
    refused = nft.address_in(number, "daddr", bytes(15) + b"\1", 128) + nft.verdict(accept=True)
    return (
        *((nft.family(number) + refused,) if number == nft.IPV6 else ()),
        local + nft.to_mapped(number, AT.format(version), by_address=True),
        local + nft.to_mapped(number, ANY.format(version), by_address=False),
    )


def _leaving(bridge: str, subnet: Subnet, number: int) -> tuple[bytes, ...]:
    """Who leaves the bridge has the host's address, and so does who comes back to it by a published port."""
    to_bridge = nft.interface(bridge, way="out") + nft.family(number)
    elsewhere = nft.interface(bridge, way="out", equal=False) + nft.family(number)
    if number == nft.IPV4:
        own = nft.address_in(number, "saddr", subnet.network, PREFIX)
        loopback = nft.address_in(number, "saddr", b"\x7f\0\0\0", 8)
        from_loopback: tuple[bytes, ...] = (to_bridge + loopback + nft.masquerade(),)
    else:
        own = nft.address_in(number, "saddr", subnet.network6, PREFIX6)
        from_loopback = ()
    return (
        *from_loopback,
        to_bridge + own + nft.translated_destination() + nft.masquerade(),
        elsewhere + own + nft.masquerade(),
    )
