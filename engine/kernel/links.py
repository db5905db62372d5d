"""Network interfaces, their addresses and routes (rtnetlink(7), linux/if_link.h, linux/rtnetlink.h).

Functions that change something return a message: several go to the kernel at once (`Netlink.change`).
"""

from __future__ import annotations

import struct
import sys

from engine.kernel.netlink import (
    CREATE,
    EXCLUSIVE,
    Message,
    Netlink,
    attribute,
    attributes,
    nested,
    number,
    text,
)
from engine.record import Record

AF_INET = 2
AF_INET6 = 10
_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _GETADDR = 20, 22
_NEWROUTE, _GETROUTE = 24, 26
_NEWLINKPROP = 108
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER = 1, 3, 4, 10
_IFLA_LINKINFO, _IFLA_NET_NS_PID, _IFLA_IFALIAS, _IFLA_EXT_MASK = 18, 19, 20, 29
_IFLA_GROUP, _IFLA_PROP_LIST, _IFLA_ALT_IFNAME = 27, 52, 53
_INFO_KIND, _INFO_DATA, _INFO_PORT_KIND, _INFO_PORT_DATA = 1, 2, 4, 5
_BRPORT_MODE = 4
_VETH_PEER = 1
_IFF_UP = 1
_EXT_SKIP_STATS = 8
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_NODAD = 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_RT_TABLE_MAIN, _RTPROT_STATIC, _RTN_UNICAST = 254, 4, 1
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBi")
_ROUTE = struct.Struct("=BBBBBBBBI")


class Link(Record):
    """An interface."""

    number: int
    name: str
    alias: str
    mac: bytes
    mtu: int
    up: bool
    kind: str
    """``bridge``, ``veth``; empty for hardware."""
    group: int
    """0 unless somebody has put it into one."""


class Route(Record):
    """Where packets go."""

    family: int
    destination: bytes
    """Packed; empty for the default route."""
    prefix: int
    link: int
    """The index of the interface; 0 for none."""


class Address(Record):
    """An address of an interface."""

    family: int
    address: bytes
    prefix: int
    link: int
    scope: int
    """0 for one that is good everywhere, 253 for this link's only, 254 for this host's."""


def find(channel: Netlink, name: str) -> Link | None:
    """The interface called *name*, alternative names included (Linux 5.5)."""
    kind = _IFLA_IFNAME if len(name) < 16 else _IFLA_ALT_IFNAME
    body = _LINK.pack(0, 0, 0, 0, 0) + text(kind, name) + number(_IFLA_EXT_MASK, _EXT_SKIP_STATS)
    reply = channel.ask(Message(f"look for the interface {name}", _GETLINK, 0, body))
    return None if reply is None else _link(reply.body)


def find_index(channel: Netlink, index: int) -> Link | None:
    """The interface numbered *index*."""
    body = _LINK.pack(0, 0, index, 0, 0) + number(_IFLA_EXT_MASK, _EXT_SKIP_STATS)
    reply = channel.ask(Message(f"look for the interface {index}", _GETLINK, 0, body))
    return None if reply is None else _link(reply.body)


def ports(channel: Netlink, bridge: int) -> list[Link]:
    """The interfaces in the bridge numbered *bridge*."""
    body = _LINK.pack(0, 0, 0, 0, 0) + number(_IFLA_MASTER, bridge) + number(_IFLA_EXT_MASK, _EXT_SKIP_STATS)
    replies = channel.dump(Message("list the ports of a bridge", _GETLINK, 0, body))
    return [_link(reply.body) for reply in replies]


def of_kind(channel: Netlink, kind: str) -> list[Link]:
    """The interfaces of one *kind*, ``bridge`` for example."""
    body = (
        _LINK.pack(0, 0, 0, 0, 0)
        + nested(_IFLA_LINKINFO, text(_INFO_KIND, kind))
        + number(_IFLA_EXT_MASK, _EXT_SKIP_STATS)
    )
    replies = channel.dump(Message(f"list the interfaces that are a {kind}", _GETLINK, 0, body))
    return [_link(reply.body) for reply in replies]


def _link(body: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    found = attributes(body, _LINK.size)
    info = attributes(found.get(_IFLA_LINKINFO, b""))
    return Link(
        index,
        _string(found.get(_IFLA_IFNAME)),
        _string(found.get(_IFLA_IFALIAS)),
        found.get(_IFLA_ADDRESS, b""),
        _number(found.get(_IFLA_MTU)),
        bool(flags & _IFF_UP),
        _string(info.get(_INFO_KIND)),
        _number(found.get(_IFLA_GROUP)),
    )


def _number(value: bytes | None) -> int:
    return int.from_bytes(value or b"", sys.byteorder)


def _string(value: bytes | None) -> str:
    return (value or b"").rstrip(b"\0").decode(errors="replace")


def add_bridge(name: str, mac: bytes, mtu: int, group: int = 0) -> Message:
    """A bridge, up, with an address that no port changes. EEXIST when the name is taken."""
    body = (
        _LINK.pack(0, 0, 0, _IFF_UP, _IFF_UP)
        + text(_IFLA_IFNAME, name)
        + attribute(_IFLA_ADDRESS, mac)
        + number(_IFLA_MTU, mtu)
        + number(_IFLA_GROUP, group)
        + nested(_IFLA_LINKINFO, text(_INFO_KIND, "bridge"))
    )
    return Message(f"make the bridge {name}", _NEWLINK, CREATE | EXCLUSIVE, body)


def add_veth(name: str, bridge: int, mtu: int, peer: str, peer_mac: bytes, pid: int) -> Message:
    """A pair: *name* in *bridge*, up; *peer* in the network namespace of process *pid* (veth(4)).

    EEXIST when the name is taken.
    """
    inside = (
        _LINK.pack(0, 0, 0, 0, 0)
        + text(_IFLA_IFNAME, peer)
        + attribute(_IFLA_ADDRESS, peer_mac)
        + number(_IFLA_MTU, mtu)
        + number(_IFLA_NET_NS_PID, pid)
    )
    body = (
        _LINK.pack(0, 0, 0, _IFF_UP, _IFF_UP)
        + text(_IFLA_IFNAME, name)
        + number(_IFLA_MTU, mtu)
        + number(_IFLA_MASTER, bridge)
        + nested(_IFLA_LINKINFO, text(_INFO_KIND, "veth"), nested(_INFO_DATA, nested(_VETH_PEER, inside)))
    )
    return Message("connect the container with its bridge", _NEWLINK, CREATE | EXCLUSIVE, body)


def set_up(index: int) -> Message:
    """Set an interface up."""
    return Message("set an interface up", _NEWLINK, 0, _LINK.pack(0, 0, index, _IFF_UP, _IFF_UP))


def set_alias(name: str, alias: str) -> Message:
    """Say at the interface *name* what it is for."""
    body = _LINK.pack(0, 0, 0, 0, 0) + text(_IFLA_IFNAME, name) + text(_IFLA_IFALIAS, alias)
    return Message(f"label the interface {name}", _SETLINK, 0, body)


def set_hairpin(name: str) -> Message:
    """Let the bridge send frames back through the port *name* that they came from."""
    port = nested(_INFO_PORT_DATA, attribute(_BRPORT_MODE, b"\1"))
    body = (
        _LINK.pack(0, 0, 0, 0, 0)
        + text(_IFLA_IFNAME, name)
        + nested(_IFLA_LINKINFO, text(_INFO_PORT_KIND, "bridge"), port)
    )
    return Message(f"have frames sent back through {name}", _NEWLINK, 0, body)


def add_name(index: int, alternative: str) -> Message:
    """Give an interface a further name of up to 127 bytes. EEXIST when it is taken."""
    body = _LINK.pack(0, 0, index, 0, 0) + nested(_IFLA_PROP_LIST, text(_IFLA_ALT_IFNAME, alternative))
    return Message("name an interface", _NEWLINKPROP, CREATE | EXCLUSIVE, body)


def remove(index: int) -> Message:
    """Take an interface away; a pair goes whole."""
    return Message("remove an interface", _DELLINK, 0, _LINK.pack(0, 0, index, 0, 0))


def add_address(index: int, family: int, address: bytes, prefix: int) -> Message:
    """Give an interface an address; one of version 6 is good at once, as nobody else can have it."""
    body = (
        _ADDRESS.pack(family, prefix, _IFA_F_NODAD if family == AF_INET6 else 0, 0, index)
        + attribute(_IFA_LOCAL, address)
        + attribute(_IFA_ADDRESS, address)
    )
    return Message("give an address", _NEWADDR, CREATE | EXCLUSIVE, body)


def add_default_route(index: int, family: int, gateway: bytes) -> Message:
    """Send what has no other way to *gateway*."""
    body = (
        _ROUTE.pack(family, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, 0, _RTN_UNICAST, 0)
        + attribute(_RTA_GATEWAY, gateway)
        + number(_RTA_OIF, index)
    )
    return Message("add the default route", _NEWROUTE, CREATE | EXCLUSIVE, body)


def routes(channel: Netlink, family: int) -> list[Route]:
    """The routes of the main table, in the kernel's order."""
    body = _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
    found = []
    for reply in channel.dump(Message("list the routes", _GETROUTE, 0, body)):
        kind, prefix, _, _, table, _, _, _, _ = _ROUTE.unpack_from(reply.body)
        if table != _RT_TABLE_MAIN:
            continue
        inner = attributes(reply.body, _ROUTE.size)
        link = struct.unpack("=i", inner[_RTA_OIF])[0] if _RTA_OIF in inner else 0
        found.append(Route(kind, inner.get(_RTA_DST, b""), prefix, link))
    return found


def addresses(channel: Netlink, family: int) -> list[Address]:
    """The addresses of all interfaces."""
    found = []
    for reply in channel.dump(Message("list the addresses", _GETADDR, 0, _ADDRESS.pack(family, 0, 0, 0, 0))):
        kind, prefix, _, scope, index = _ADDRESS.unpack_from(reply.body)
        inner = attributes(reply.body, _ADDRESS.size)
        address = inner.get(_IFA_LOCAL) or inner.get(_IFA_ADDRESS, b"")
        found.append(Address(kind, address, prefix, index, scope))
    return found
