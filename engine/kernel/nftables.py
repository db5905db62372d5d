"""Packet rules: tables, chains, maps and rules of nftables (linux/netfilter/nf_tables.h).

The same messages that nft(8) sends: `nft list` shows what was made here. A program of it would cost 4 ms and
another package on the machine.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Sequence

from engine.kernel.netlink import (
    CREATE,
    EXCLUSIVE,
    NETLINK_NETFILTER,
    Message,
    Netlink,
    attribute,
    nested,
    text,
)
from engine.record import Record

IPV4, IPV6 = 2, 10
"""NFPROTO_…: what `family` compares with."""
HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}

_SUBSYSTEM = 10 << 8
_BEGIN, _END = 16, 17
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE = 0, 1, 2, 3, 6
_NEWSET, _NEWSETELEM, _GETSETELEM, _DELSETELEM = 9, 12, 13, 14
_INET = 1
_APPEND = 0x800
_VERDICT_REGISTER, _REGISTER = 0, 8
"""NFT_REG_VERDICT; NFT_REG32_00, the first of sixteen that hold four bytes each."""
_SET_MAP = 0x8
_TYPES = {
    "ipv4_addr": (7, 4),
    "ipv6_addr": (8, 16),
    "inet_proto": (12, 1),
    "inet_service": (13, 2),
    "ifname": (41, 16),
}
"""nft(8)'s data types: number and bytes."""
_CHUNK = 256
"""Elements that go in one message: an attribute ends at 64 KiB."""


class Map(Record):
    """A map from one concatenation of data types to another, or a set of them."""

    name: str
    key: tuple[str, ...]
    value: tuple[str, ...]
    """Empty for a set."""


class Chain(Record):
    """A chain at a hook, with its rules: each a sequence of expressions."""

    name: str
    kind: str
    """``filter`` or ``nat``."""
    hook: str
    priority: int
    rules: tuple[bytes, ...]


def exists(channel: Netlink, table: str) -> bool:
    """Whether there is the table ``inet TABLE``."""
    body = _header(_INET) + text(1, table)
    return channel.ask(Message(f"look for the table {table}", _SUBSYSTEM | _GETTABLE, 0, body)) is not None


def create(channel: Netlink, table: str, maps: Sequence[Map], chains: Sequence[Chain]) -> None:
    """Make the table ``inet TABLE`` whole or not at all. EEXIST when there is one."""
    messages = [_message(f"make the table {table}", _NEWTABLE, CREATE | EXCLUSIVE, text(1, table))]
    messages += [_new_map(table, made, index) for index, made in enumerate(maps, 1)]
    for chain in chains:
        messages.append(_new_chain(table, chain))
        messages += [_new_rule(table, chain.name, rule) for rule in chain.rules]
    _commit(channel, messages)


def remove(channel: Netlink, table: str) -> None:
    """Remove the table with everything in it; none is all right."""
    try:
        _commit(channel, [_message(f"remove the table {table}", _DELTABLE, 0, text(1, table))])
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise


def add_elements(channel: Netlink, table: str, name: str, pairs: Iterable[tuple[bytes, bytes]]) -> None:
    """Add *pairs* of key and value to a map, all or none. EEXIST when one of the keys has another value."""
    elements = [_element(key, value) for key, value in pairs]
    _commit(channel, _elements(table, name, elements, _NEWSETELEM, CREATE | EXCLUSIVE))


def add_keys(channel: Netlink, table: str, name: str, keys: Iterable[bytes]) -> None:
    """Add *keys* to a set, each if it is not there."""
    elements = [_element(key) for key in keys]
    if elements:
        _commit(channel, _elements(table, name, elements, _NEWSETELEM, CREATE))


def remove_elements(channel: Netlink, table: str, name: str, keys: Sequence[bytes]) -> None:
    """Remove *keys* from a map, each if it is there."""
    elements = [_element(key) for key in keys]
    try:
        _commit(channel, _elements(table, name, elements, _DELSETELEM, 0))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        if len(elements) > 1:  # one that is not there has kept all
            for key in keys:
                remove_elements(channel, table, name, (key,))


def concatenation(*parts: bytes) -> bytes:
    """A key or value of several data types: each fills whole registers."""
    return b"".join(part + b"\0" * (-len(part) % 4) for part in parts)


def open_channel() -> Netlink:
    """A socket to nftables, in the network namespace of this moment. Raises OSError without it."""
    return Netlink(NETLINK_NETFILTER)


# Messages


def _header(family: int, resource: int = 0) -> bytes:
    return struct.pack(">BBH", family, 0, resource)


def _message(what: str, kind: int, flags: int, *content: bytes) -> Message:
    return Message(what, _SUBSYSTEM | kind, flags, _header(_INET) + b"".join(content))


def _commit(channel: Netlink, messages: Sequence[Message]) -> None:
    begin = Message("begin a change of packet rules", _BEGIN, 0, _header(0, 10))
    end = Message("finish a change of packet rules", _END, 0, _header(0, 10))
    channel.transact(begin, messages, end)


def _big(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def _new_map(table: str, made: Map, number: int) -> Message:
    key, key_size = _type(made.key)
    content = [text(1, table), text(2, made.name), _big(4, key), _big(5, key_size), _big(10, number)]
    if made.value:
        value, value_size = _type(made.value)
        content += [_big(3, _SET_MAP), _big(6, value), _big(7, value_size)]
    return _message(f"make the map {made.name}", _NEWSET, CREATE, *content)


def _type(parts: Sequence[str]) -> tuple[int, int]:
    """The number and size of a concatenation: six bits for each part, each part in whole registers."""
    kind = size = 0
    for part in parts:
        number, width = _TYPES[part]
        kind = kind << 6 | number
        size += (width + 3) & ~3
    return kind, size


def _new_chain(table: str, chain: Chain) -> Message:
    hook = nested(4, _big(1, HOOKS[chain.hook]), _big(2, chain.priority))
    content = (text(1, table), text(3, chain.name), hook, text(7, chain.kind))
    return _message(f"make the chain {chain.name}", _NEWCHAIN, CREATE, *content)


def _new_rule(table: str, chain: str, expressions: bytes) -> Message:
    content = (text(1, table), text(2, chain), nested(4, expressions))
    return _message(f"add a rule to the chain {chain}", _NEWRULE, CREATE | _APPEND, *content)


def _element(key: bytes, value: bytes | None = None) -> bytes:
    data = b"" if value is None else nested(2, attribute(1, value))
    return nested(1, nested(1, attribute(1, key)), data)


def _elements(table: str, name: str, elements: Sequence[bytes], kind: int, flags: int) -> list[Message]:
    return [
        _message(
            f"change the map {name}",
            kind,
            flags,
            text(1, table),
            text(2, name),
            nested(3, *elements[first : first + _CHUNK]),
        )
        for first in range(0, len(elements), _CHUNK)
    ]


# Expressions: what a rule is made of


def _expression(name: str, *data: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *data))


def _compare(value: bytes, *, equal: bool = True, register: int = _REGISTER) -> bytes:
    return _expression("cmp", _big(1, register), _big(2, 0 if equal else 1), nested(3, attribute(1, value)))


def _masked(mask: bytes) -> bytes:
    none = b"\0" * len(mask)
    return _expression(
        "bitwise",
        *(_big(1, _REGISTER), _big(2, _REGISTER), _big(3, len(mask))),
        *(nested(4, attribute(1, mask)), nested(5, attribute(1, none))),
    )


def _meta(key: int, register: int = _REGISTER) -> bytes:
    return _expression("meta", _big(2, key), _big(1, register))


def _payload(base: int, offset: int, size: int, register: int = _REGISTER) -> bytes:
    return _expression("payload", _big(1, register), _big(2, base), _big(3, offset), _big(4, size))


def family(number: int) -> bytes:
    """``meta nfproto ipv4`` or ipv6: what rules on addresses begin with."""
    return _meta(15) + _compare(bytes([number]))


def interface_name(name: str) -> bytes:
    """As sets have it, and comparisons."""
    return name.encode().ljust(16, b"\0")


def interface(name: str, *, way: str, equal: bool = True) -> bytes:
    """``iifname NAME`` (*way* "in") or ``oifname NAME`` ("out"), or that it is another."""
    return _meta(6 if way == "in" else 7) + _compare(interface_name(name), equal=equal)


def interface_group(number: int, *, way: str, equal: bool = True) -> bytes:
    """``iifgroup NUMBER`` or ``oifgroup NUMBER``, or that it is in another."""
    return _meta(21 if way == "in" else 22) + _compare(struct.pack("=I", number), equal=equal)


def interfaces_not_in(name: str) -> bytes:
    """``iifname . oifname != @NAME``."""
    load = _meta(6) + _meta(7, _REGISTER + 4)
    return load + _expression("lookup", text(1, name), _big(2, _REGISTER), _big(5, 1))


def address_in(number: int, which: str, network: bytes, prefix: int) -> bytes:
    """``ip saddr NETWORK/PREFIX``; *which* is "saddr" or "daddr"."""
    size = len(network)
    start = {(IPV4, "saddr"): 12, (IPV4, "daddr"): 16, (IPV6, "saddr"): 8, (IPV6, "daddr"): 24}
    mask = ((1 << prefix) - 1 << size * 8 - prefix).to_bytes(size, "big")
    return _payload(1, start[number, which], size) + _masked(mask) + _compare(network)


def local_destination() -> bytes:
    """``fib daddr type local``: for this machine."""
    return _expression("fib", _big(3, 1 << 1), _big(2, 3), _big(1, _REGISTER)) + _compare(
        struct.pack("=I", 2)
    )


def tracked(states: int) -> bytes:
    """``ct state``: one of the bits *states*."""
    return _connection(0, states)


def translated_destination() -> bytes:
    """``ct status dnat``."""
    return _connection(2, 1 << 5)


ESTABLISHED_RELATED = 2 | 4


def _connection(key: int, bits: int) -> bytes:
    load = _expression("ct", _big(2, key), _big(1, _REGISTER))
    return load + _masked(struct.pack("=I", bits)) + _compare(bytes(4), equal=False)


def verdict(accept: bool) -> bytes:
    """``accept`` or ``drop``."""
    code = nested(2, _big(1, 1 if accept else 0))
    return _expression("immediate", _big(1, _VERDICT_REGISTER), nested(2, code))


def masquerade() -> bytes:
    """``masquerade``: as the interface's own address."""
    return _expression("masq")


def to_mapped(number: int, name: str, *, by_address: bool) -> bytes:
    """``dnat to [daddr .] meta l4proto . th dport map @NAME``: nothing happens to what is not in the map."""
    width = 4 if number == IPV4 else 16
    register = _REGISTER
    load = b""
    if by_address:
        load += _payload(1, 16 if number == IPV4 else 24, width)
        register += width // 4
    load += _meta(16, register) + _payload(2, 2, 2, register + 1)
    found = _expression("lookup", text(1, name), _big(2, _REGISTER), _big(3, _REGISTER))
    port = _REGISTER + width // 4
    translate = _expression("nat", _big(1, 1), _big(2, number), _big(3, _REGISTER), _big(5, port))
    return load + found + translate
