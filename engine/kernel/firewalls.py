"""Firewalls of others: which of them drop what this machine forwards, unless a rule of theirs lets it pass.

A verdict of ours cannot help there: a packet passes when every table at the hook lets it.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator

from engine.kernel.channel import AF_INET, SOCK_CLOEXEC, Channel
from engine.kernel.netlink import Message, Netlink, attributes, text
from engine.kernel.syscalls import libc
from engine.record import Record

_SUBSYSTEM = 10 << 8
_GETCHAIN, _GETRULE = 4, 7
_FAMILIES = {1: "inet", 2: "ip"}
_FORWARD = 2
_DROP = 0
_SOCK_RAW = 3
_IPT_SO_GET_INFO, _IPT_SO_GET_ENTRIES = 64, 65
_INFO = struct.Struct("=32sI5I5III")
_NAME = struct.Struct("=32sI4x")
_ENTRY_TARGET = 88
"""Where ``struct ipt_entry`` says how far its target is from it (linux/netfilter_ipv4/ip_tables.h)."""
_NF_DROP = -1
"""NF_DROP as the target of a policy says it: its negative, less one."""
_LEGACY = "/proc/self/net/ip_tables_names"


class Dropping(Record):
    """A chain for forwarded packets whose policy is to drop them."""

    name: str
    """As nft(8) or iptables(8) calls it."""
    rules: bytes
    """Those of its whole table, as the kernel has them."""

    def names(self, interface: str) -> bool:
        """Whether a rule says something of *interface*, or of all that begin like it (``cowl*``)."""
        stem = interface.rstrip("0123456789").encode()
        return stem in self.rules


def dropping(filters: Netlink) -> Iterator[Dropping]:
    """The chains of version 4 that drop by policy, those of iptables' older kind included."""
    for reply in filters.dump(Message("list the chains", _SUBSYSTEM | _GETCHAIN, 0, _header(0))):
        family = _FAMILIES.get(reply.body[0])
        found = attributes(reply.body, 4)
        hook = attributes(found.get(4, b""))
        if family is None or _big(hook.get(1)) != _FORWARD or _big(found.get(5)) != _DROP:
            continue
        table, chain = _string(found[1]), _string(found[3])
        body = _header(reply.body[0]) + text(1, table)
        rules = filters.dump(Message("list the rules", _SUBSYSTEM | _GETRULE, 0, body))
        yield Dropping(f"{family} {table} {chain}", b"".join(rule.body for rule in rules))
    legacy = _legacy_rules()
    if legacy is not None:
        yield Dropping("iptables-legacy FORWARD", legacy)


def _header(family: int) -> bytes:
    return struct.pack(">BBH", family, 0, 0)


def _big(value: bytes | None) -> int | None:
    return None if value is None else int.from_bytes(value, "big")


def _string(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _legacy_rules() -> bytes | None:
    """The rules of iptables' older kind, if its FORWARD drops by policy; looking loads no module."""
    try:
        descriptor = os.open(_LEGACY, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if b"filter" not in os.read(descriptor, 4096).split():
            return None
    finally:
        os.close(descriptor)
    with Channel(AF_INET, _SOCK_RAW | SOCK_CLOEXEC, 255) as channel:
        info = _get(channel, _IPT_SO_GET_INFO, b"filter".ljust(_INFO.size, b"\0"))
        _, _, *places, _, size = _INFO.unpack(info)
        policy = places[5 + _FORWARD]
        asked = _NAME.pack(b"filter", size) + bytes(size)
        rules = _get(channel, _IPT_SO_GET_ENTRIES, asked)[_NAME.size :]
    (target,) = struct.unpack_from("=H", rules, policy + _ENTRY_TARGET)
    # A standard target: its header of 32 bytes, then the verdict.
    (verdict,) = struct.unpack_from("=i", rules, policy + target + 32)
    return rules if verdict == _NF_DROP else None


def _get(channel: Channel, option: int, asked: bytes) -> bytes:
    """getsockopt(2) of one that reads what it is asked from where it answers."""
    room = ctypes.create_string_buffer(asked, len(asked))
    size = ctypes.c_uint(len(asked))
    if libc().getsockopt(channel.fileno(), 0, option, room, ctypes.byref(size)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"cannot read the rules of iptables: {os.strerror(code)}")
    return room.raw
