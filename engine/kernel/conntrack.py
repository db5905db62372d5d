"""Connections that this machine keeps track of (linux/netfilter/nfnetlink_conntrack.h).

An address that was translated once stays so for a connection's life, and a connection of UDP lives for as
long as somebody goes on sending: rules that changed since do not matter to it until it is forgotten here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence

from engine.kernel.netlink import (
    NETLINK_NETFILTER,
    Message,
    Netlink,
    attribute,
    attributes,
    nested,
    number,
)
from engine.record import Record

_SUBSYSTEM = 1 << 8
_GET, _DELETE = 1, 2
_ORIGINAL, _REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_IP, _PROTOCOL = 1, 2
_NESTED = 0x8000
_BY_SOURCE, _BY_PROTOCOL, _BY_PORT = 1 << 0, 1 << 3, 1 << 5
"""CTA_FILTER_F_CTA_IP_SRC, …PROTO_NUM, …PROTO_DST_PORT: what of a tuple counts (Linux 5.8)."""
_AF = {4: 2, 16: 10}
_SOURCE, _DESTINATION = {4: 1, 16: 3}, {4: 2, 16: 4}
"""CTA_IP_V4_SRC and so on, by the bytes of an address."""
_COUNT = "/proc/sys/net/netfilter/nf_conntrack_count"


class Flow(Record):
    """One connection, as its first packet was."""

    source: bytes
    destination: bytes
    port: int
    """Where it went to; 0 for a protocol without ports."""
    answered_by: bytes
    """Whose address its answers come from: another one than *destination* where that is translated."""
    entry: bytes
    """What the kernel knows it by."""


def tracking() -> bool:
    """Whether any connection is known here at all."""
    try:
        descriptor = os.open(_COUNT, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return os.read(descriptor, 16).strip() != b"0"
    finally:
        os.close(descriptor)


def forget_to(channel: Netlink, address: bytes) -> int:
    """Forget the connections that lead to *address*, translated or not; how many there were."""
    host = nested(_IP, attribute(_SOURCE[len(address)], address))
    return _forget(channel, _ask(channel, len(address), nested(_REPLY, host), 0, _BY_SOURCE))


def forget_ports(
    channel: Netlink, size: int, protocol: int, ports: Collection[int], chosen: Callable[[Flow], bool]
) -> int:
    """Forget the connections of *protocol* to *ports* that are *chosen*; how many there were.

    *size* is that of the addresses, 4 or 16 bytes.
    """
    place, counts = attribute(1, bytes([protocol])), _BY_PROTOCOL
    if len(ports) == 1:  # every question costs a walk through all connections: the kernel's, or ours
        place += b"".join(attribute(3, port.to_bytes(2, "big")) for port in ports)
        counts |= _BY_PORT
    flows = _ask(channel, size, nested(_ORIGINAL, nested(_PROTOCOL, place)), counts, 0)
    return _forget(channel, [flow for flow in flows if flow.port in ports and chosen(flow)])


def open_channel() -> Netlink:
    """A socket to netfilter, in the network namespace of this moment. Raises OSError without it."""
    return Netlink(NETLINK_NETFILTER)


def _ask(channel: Netlink, size: int, wanted: bytes, original: int, reply: int) -> list[Flow]:
    body = bytes([_AF[size], 0, 0, 0]) + wanted + nested(_FILTER, number(1, original), number(2, reply))
    replies = channel.dump(Message("list connections", _SUBSYSTEM | _GET, 0, body))
    return [flow for found in replies if (flow := _flow(found.body, size)) is not None]


def _flow(body: bytes, size: int) -> Flow | None:
    found = attributes(body, 4)
    original = attributes(found[_ORIGINAL])
    sent = attributes(original.get(_IP, b""))
    port = attributes(original.get(_PROTOCOL, b"")).get(3, b"")
    answer = attributes(attributes(found[_REPLY]).get(_IP, b""))
    if _SOURCE[size] not in sent:
        return None
    entry = bytes([_AF[size], 0, 0, 0]) + attribute(_ORIGINAL | _NESTED, found[_ORIGINAL])
    # Where several networks overlap; and that it is still this one.
    entry += b"".join(attribute(kind, found[kind]) for kind in (_ZONE, _ID) if kind in found)
    return Flow(
        sent[_SOURCE[size]],
        sent[_DESTINATION[size]],
        int.from_bytes(port, "big"),
        answer[_SOURCE[size]],
        entry,
    )


def _forget(channel: Netlink, flows: Sequence[Flow]) -> int:
    forgotten = 0
    for flow in flows:
        message = Message("forget a connection", _SUBSYSTEM | _DELETE, 0, flow.entry)
        try:
            channel.change(message)
        except FileNotFoundError:  # it has ended meanwhile
            continue
        forgotten += 1
    return forgotten
