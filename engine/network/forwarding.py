"""Whether this machine sends on packets that are for others, without which a bridge leads nowhere.

Where nobody has had it forward, cowl does, by a number that nobody else writes. So the kernel itself says
whose doing it is, and docker, podman or an administrator who wants forwarding of their own write 1 over it.
"""

from __future__ import annotations

import os

OFF, OURS = b"0", b"2"
_SWITCHES = {4: "/proc/sys/net/ipv4/ip_forward", 6: "/proc/sys/net/ipv6/conf/all/forwarding"}
_INTERFACES = "/proc/sys/net/ipv4/conf"
_REDIRECTS = f"{_INTERFACES}/all/accept_redirects"
_BRIDGED = "/proc/sys/net/bridge/bridge-nf-call-iptables"


def forwards(version: int) -> bool:
    """Whether packets of IP *version* are sent on."""
    return read(version) not in (b"", OFF)


def read(version: int = 4) -> bytes:
    """The switch as it is (ip-sysctl); empty without that version of IP."""
    return _read(_SWITCHES[version])


def switch(value: bytes) -> None:
    """Set the switch of version 4. Raises OSError where /proc/sys is read-only.

    The kernel changes whether redirects are listened to along with it: that stays as it was.
    """
    redirects = _read(_REDIRECTS)
    _write(_SWITCHES[4], value)
    _write(_REDIRECTS, redirects)


def obstacle() -> str:
    """Why cowl does not turn on what is off; empty when it can."""
    if not os.access(_SWITCHES[4], os.W_OK):
        return "/proc/sys is read-only here"
    some = next((name for name in sorted(os.listdir(_INTERFACES)) if _forwards_by_itself(name)), "")
    return f"that {some} alone forwards is somebody's choice" if some else ""


def sees_bridged() -> bool:
    """Whether rules for IP see what goes through a bridge too (br_netfilter)."""
    return _read(_BRIDGED) == b"1"


def _forwards_by_itself(interface: str) -> bool:
    # The global switch turned off would turn these off as well, and nobody would know which they were.
    return _read(f"{_INTERFACES}/{interface}/forwarding") not in (b"", OFF)


def _read(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        return os.read(descriptor, 16).strip()
    finally:
        os.close(descriptor)


def _write(path: str, value: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value)
    finally:
        os.close(descriptor)
