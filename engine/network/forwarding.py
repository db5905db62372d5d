"""Whether this machine sends on packets that are for others, without which a bridge leads nowhere."""

from __future__ import annotations

import os

_SWITCHES = {4: "/proc/sys/net/ipv4/ip_forward", 6: "/proc/sys/net/ipv6/conf/all/forwarding"}
"""They are the administrator's: cowl reads them and leaves them (ip-sysctl)."""


def forwards(version: int) -> bool:
    """Whether packets of IP *version* are sent on."""
    try:
        descriptor = os.open(_SWITCHES[version], os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return os.read(descriptor, 8).strip() != b"0"
    finally:
        os.close(descriptor)
