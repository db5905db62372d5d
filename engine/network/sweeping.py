"""Taking away what a root's network consists of once nobody is on it, by a process for which nobody waits."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Sequence

from engine.kernel import links, nftables, process, syscalls
from engine.kernel.netlink import Netlink
from engine.network import bridges, flows, routing, rules
from engine.network.members import Members, locked

LINGER_SECONDS = 0.4
"""How long a bridge without containers stays."""
_PATIENCE_SECONDS = 5.0
"""How long the kernel may take to remove the interfaces of a namespace that has ended, if somebody waits."""
_LONG_PATIENCE_SECONDS = 60.0
"""How long, if nobody does."""
_LOCK = "sweep.lock"
_POLITE = 10


def sweep(run: str, seconds: float = _PATIENCE_SECONDS, turn: contextlib.ExitStack | None = None) -> None:
    """Remove the bridge and the rules of the root at *run*, if no container is on it.

    *turn* is closed with the last look, while nobody can come or go.
    """
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.ExitStack() as alone:
            if _sweep(run, alone) or time.monotonic() > deadline:
                if turn is not None:
                    turn.close()
                return
        time.sleep(0.05)


def _sweep(run: str, alone: contextlib.ExitStack) -> bool:
    """Look once, and be *alone* with what was found; whether another look will find nothing to do."""
    key = os.path.basename(run)
    with contextlib.suppress(FileNotFoundError):  # the whole root is gone
        members = alone.enter_context(locked(run))
        if any(member.alive for member in members.by_id.values()):
            return True
    channel = alone.enter_context(Netlink())
    filters = alone.enter_context(nftables.open_channel())
    bridge = bridges.interface(channel, key)
    if bridge is None:
        bridges.remove_nameless(channel)
    elif links.ports(channel, bridge.number):
        return False
    routing.restore(channel, filters, bridge.number if bridge else 0)
    rules.remove(filters, key)
    if bridge is not None:
        channel.change(links.remove(bridge.number))
    return True


def aside(act: Callable[[], None]) -> None:
    """Have a process do *act* in its own time; only for one of one thread, as a monitor is.

    It is nobody's child: a monitor that starts its container again and again leaves no zombies.
    """
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        if os.fork() == 0:
            # The monitor's lock among others: it must go when the monitor does.
            syscalls.close_range(3)
            process.set_name("cowl-sweep")
            os.nice(_POLITE)
            act()
    finally:
        os._exit(0)


def sweep_later(run: str, led: Sequence[bytes] = (), seconds: float = _LONG_PATIENCE_SECONDS) -> None:
    """`sweep` once nobody has come or gone for a while; one process of all that would is enough.

    Before, what leads to the addresses *led* is forgotten.
    """
    flows.forget_left(led)
    with contextlib.ExitStack() as turn:
        with contextlib.suppress(FileNotFoundError):  # the whole root is gone: no wait
            descriptor = os.open(f"{run}/{_LOCK}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            turn.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # who has it will look at what we leave
                return
            while (rest := Members(run).left + LINGER_SECONDS - time.monotonic()) > 0:
                time.sleep(rest)
        sweep(run, seconds, turn)


def attend(run: str) -> None:
    """Do what a process that was killed was to do by `sweep_later`: nothing, as a rule."""
    members = Members(run)
    if members.by_id:
        return
    with Netlink() as channel:
        bridge = bridges.interface(channel, os.path.basename(run))
    if bridge is not None:
        # If it is there after all it counts on us, should we be faster.
        just_left = time.monotonic() < members.left + LINGER_SECONDS
        sweep_later(run, seconds=_PATIENCE_SECONDS if just_left else 0.0)
