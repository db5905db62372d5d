"""What whoever starts a container had better know of this machine's network: sentences, not errors."""

from __future__ import annotations

import contextlib

from engine.kernel import firewalls
from engine.kernel.netlink import Netlink
from engine.network import forwarding
from engine.network.bridges import Bridge
from engine.network.wish import Wish

NAMELESS = (
    "this machine has no name server that a container can ask, but on its loopback: only names of containers "
    "are found; --dns ADDRESS"
)
_ALONE = "the container reaches it and its neighbours alone"


def gather(filters: Netlink, wish: Wish, made: Bridge | None) -> tuple[str, ...]:
    """All of them. *made* is the bridge if it has been made just now: what others' rules say is told once."""
    found = []
    if not forwarding.forwards(4):
        found.append(_not_forwarding(wish))
    if made is not None:
        with contextlib.suppress(OSError):  # what cannot be read is not ours to judge
            found += [
                _dropped(chain.name, made)
                for chain in firewalls.dropping(filters)
                if not chain.names(made.name)
            ]
    return tuple(found)


def _not_forwarding(wish: Wish) -> str:
    why = "COWL_FORWARDING=no"
    if wish.forwarding:
        why = forwarding.obstacle() or "this system does not let cowl turn it on"
    return f"this machine does not forward packets ({why}): {_ALONE}; sysctl -w net.ipv4.ip_forward=1"


def _dropped(chain: str, bridge: Bridge) -> str:
    return (
        f"a firewall of this machine, {chain}, drops what no rule of its own lets pass, and none names "
        f"{bridge.name}: {_ALONE}; let it forward from and to {bridge.name}"
    )
