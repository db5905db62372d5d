"""The bridge of one root: made when the first container comes, found again by a name that only it has."""

from __future__ import annotations

import contextlib
import errno
import os

from engine.errors import LaunchError
from engine.kernel import links
from engine.kernel.links import AF_INET, AF_INET6, Link
from engine.kernel.netlink import Netlink
from engine.network import addressing, routing
from engine.network.addressing import PREFIX, PREFIX6, Subnet
from engine.network.forwarding import forwards
from engine.record import Record
from engine.store.faults import point

DEFAULT_NAME = "cowl"
"""With a number behind it."""
_NAMES = 256
_MTU = 1500


class Bridge(Record):
    """A bridge that is there."""

    number: int
    name: str
    mtu: int
    subnet: Subnet


def interface(channel: Netlink, key: str) -> Link | None:
    """The bridge of the root *key* as it is, whatever became of it; None when there is none."""
    return links.find(channel, _own_name(key))


def find(channel: Netlink, key: str) -> Bridge | None:
    """The bridge of the root *key*, None before its first container and after its last."""
    link = interface(channel, key)
    if link is None:
        return None
    # What it was made with is written on it: run-time files may be lost, and routes may have changed.
    _, gateway, gateway6, *_ = *link.alias.split(" "), "", "", ""
    subnet = Subnet(link.mac[2:], addressing.parse(gateway6) if ":" in gateway6 else b"")
    if addressing.show(subnet.gateway) != gateway:
        raise LaunchError(
            f"cannot use the bridge {link.name}", "somebody changed it", f"ip link delete {link.name}"
        )
    return Bridge(link.number, link.name, link.mtu, subnet)


def make(channel: Netlink, key: str, wanted: str) -> Bridge:
    """The bridge of the root *key*, which has none, called *wanted* or else cowl0 and so on."""
    with routing.alone_on_this_machine():  # two must not choose the same subnet
        return _make(channel, key, wanted)


def remove_nameless(channel: Netlink) -> None:
    """Remove the bridges of roots whose makers were killed before they said whose they are."""
    with routing.alone_on_this_machine():  # as one that is just being made has no name either
        _remove_nameless(channel)


def set_own(version: int, link: str, name: str, value: bytes) -> None:
    """Set a sysctl of one interface; one that this kernel or sandbox does not let us set stays."""
    with contextlib.suppress(OSError):
        descriptor = os.open(f"/proc/sys/net/ipv{version}/conf/{link}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value)
        finally:
            os.close(descriptor)


def _own_name(key: str) -> str:
    """The alternative name, which no two interfaces can have."""
    return f"cowl-{key}"


def _remove_nameless(channel: Netlink) -> None:
    for link in links.of_kind(channel, "bridge"):
        if link.group == routing.GROUP and not link.alias:
            channel.change(links.remove(link.number))


def _make(channel: Netlink, key: str, wanted: str) -> Bridge:
    _remove_nameless(channel)
    routes = links.routes(channel, AF_INET)
    beyond = [address for address in links.addresses(channel, AF_INET6) if not address.scope]
    # Without forwarding it would lead nowhere, and every name with an address of version 6 be a wait.
    ipv6 = forwards(6) and addressing.host_has_ipv6(beyond)
    subnet = addressing.choose(routes, key, ipv6=ipv6)
    uplink = next((route.link for route in routes if not route.prefix and route.link), 0)
    leads_out = links.find_index(channel, uplink) if uplink else None
    mtu = leads_out.mtu if leads_out else _MTU
    name = _make_link(channel, wanted, addressing.mac_of(subnet.gateway), mtu)
    point("network.after-link")
    link = links.find(channel, name)
    if link is None:
        raise LaunchError(f"cannot make the bridge {name}", "it was removed at once", "try again")
    gateway6 = addressing.show(subnet.gateway6) or "-"
    changes = [
        links.set_alias(name, f"cowl {addressing.show(subnet.gateway)} {gateway6}"),
        links.add_address(link.number, AF_INET, subnet.gateway, PREFIX),
        links.add_name(link.number, _own_name(key)),
    ]
    if subnet.gateway6:
        changes.insert(0, links.add_address(link.number, AF_INET6, subnet.gateway6, PREFIX6))
    try:
        channel.change(*changes)
    except OSError:
        channel.change(links.remove(link.number))
        raise
    # Published ports are reached at 127.0.0.1 too; the rule `guard` keeps containers from that.
    set_own(4, name, "route_localnet", b"1")
    set_own(6, name, "accept_ra", b"0")
    return Bridge(link.number, name, mtu, subnet)


def _make_link(channel: Netlink, wanted: str, mac: bytes, mtu: int) -> str:
    names = (wanted,) if wanted else tuple(f"{DEFAULT_NAME}{number}" for number in range(_NAMES))
    for name in names:
        try:
            channel.change(links.add_bridge(name, mac, mtu, routing.GROUP))
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise _unsupported(error) from error
        else:
            return name
    raise LaunchError(
        f"cannot make the bridge {names[0]}", "there is another interface of that name", "set COWL_BRIDGE"
    )


def _unsupported(error: OSError) -> LaunchError:
    """The sentence for a machine that has no bridges, or does not let us make one."""
    return LaunchError(
        "cannot give the container a network",
        str(error),
        "--network none and host need no bridge; COWL_NETWORK=none makes one of them usual",
    )
