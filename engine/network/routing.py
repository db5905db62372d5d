"""Having this machine forward for the bridges of all roots, and for nobody else.

    off    no bridge of cowl's, or somebody else has it forward: not our matter
    ours   the switch has our number, and the table `cowl_forwarding` drops what has nothing to do with a
           bridge of cowl's: the machine forwards for containers and is no router otherwise

The table is there before the switch is turned on and until it is off again. Both belong to the network
namespace, and who is last is seen by the bridges in it: nothing has to be remembered that could be lost.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from engine.kernel import links
from engine.kernel import nftables as nft
from engine.kernel.netlink import Netlink
from engine.network import forwarding
from engine.store.faults import point
from engine.store.layout import runtime_base

GROUP = int.from_bytes(b"cowl", "big")
"""The group of interfaces that the bridges of all roots are in."""
TABLE = "cowl_forwarding"
_BRIDGES = "bridges"
_PRIORITY = 0


@contextlib.contextmanager
def alone_on_this_machine() -> Iterator[None]:
    """Be the only root that looks at what others have, and changes what all share."""
    descriptor = os.open(runtime_base(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def ensure(channel: Netlink, filters: Netlink, *, wanted: bool) -> None:
    """Have the machine forward, if it does not and that is *wanted*. The bridge is there already.

    A machine that does not let us is left as it is: `forwarding.obstacle` has said so.
    """
    value = forwarding.read()
    fenced = nft.exists(filters, TABLE)
    if value == forwarding.OFF and wanted and not forwarding.obstacle():
        with alone_on_this_machine():
            _turn_on(channel, filters)
    elif value == forwarding.OURS:
        if not fenced:  # somebody has flushed all rules
            with alone_on_this_machine():
                _fence(channel, filters)
        elif forwarding.sees_bridged():
            _let_bridges_be(channel, filters)
    elif fenced and value != forwarding.OFF:
        nft.remove(filters, TABLE)


def give_way() -> None:
    """Let everything be forwarded if somebody else has it forward now."""
    if forwarding.read() not in (forwarding.OFF, forwarding.OURS):
        with nft.open_channel() as filters:
            if nft.exists(filters, TABLE):
                nft.remove(filters, TABLE)


def restore(channel: Netlink, filters: Netlink, own: int) -> None:
    """Undo `ensure`, unless a bridge of cowl's besides the one numbered *own* is left, or it was not us."""
    if forwarding.read() != forwarding.OURS and not nft.exists(filters, TABLE):
        return
    with alone_on_this_machine():
        bridges = links.of_kind(channel, "bridge")
        if any(bridge.group == GROUP and bridge.number != own for bridge in bridges):
            return
        if forwarding.read() == forwarding.OURS:
            with contextlib.suppress(OSError):  # read-only since: the fence stays as well
                forwarding.switch(forwarding.OFF)
            if forwarding.read() == forwarding.OURS:
                return
        point("network.after-switching-off")
        nft.remove(filters, TABLE)


def _turn_on(channel: Netlink, filters: Netlink) -> None:
    if forwarding.read() != forwarding.OFF:  # another root, just now
        return
    _fence(channel, filters)
    point("network.after-fence")
    try:
        forwarding.switch(forwarding.OURS)
    except OSError:
        nft.remove(filters, TABLE)
        raise
    point("network.after-switching-on")


def _fence(channel: Netlink, filters: Netlink) -> None:
    if nft.exists(filters, TABLE):
        return
    stranger = (
        nft.family(nft.IPV4)
        + nft.interface_group(GROUP, way="in", equal=False)
        + nft.interface_group(GROUP, way="out", equal=False)
        + nft.interfaces_not_in(_BRIDGES)
        + nft.verdict(accept=False)
    )
    chain = nft.Chain("forward", "filter", "forward", _PRIORITY, (stranger,))
    nft.create(filters, TABLE, [nft.Map(_BRIDGES, ("ifname", "ifname"), ())], [chain])
    if forwarding.sees_bridged():
        _let_bridges_be(channel, filters)


def _let_bridges_be(channel: Netlink, filters: Netlink) -> None:
    """What goes through somebody's bridge has never needed forwarding: only its frames look like it."""
    names = [nft.interface_name(bridge.name) for bridge in links.of_kind(channel, "bridge")]
    nft.add_keys(filters, TABLE, _BRIDGES, [nft.concatenation(name, name) for name in names])
