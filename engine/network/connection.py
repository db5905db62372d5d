"""A container's way onto the bridge and off it: what its monitor does beside the container's own mounts.

    connect     address, pair, rules, ports, names: done when its program starts
    announce    the others hear of it, when the program runs already
    leave       ports, then names; interface and address go with the namespace, by the kernel itself

Whoever leaves last has the bridge and the rules removed, a moment later, so that one container after another
does not make them anew each time.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
from collections.abc import Callable, Iterable, Sequence

from engine.errors import LaunchError
from engine.kernel import links, namespaces, nftables, process
from engine.kernel.links import AF_INET, AF_INET6
from engine.kernel.netlink import Netlink
from engine.model import JSON
from engine.network import addressing, bridges, cautions, flows, names, routing, rules, sweeping
from engine.network.bridges import Bridge
from engine.network.holding import Held
from engine.network.members import Member, Members, find, locked, member_of
from engine.network.wish import Wish
from engine.record import Record
from engine.store.faults import point

INTERFACE = "eth0"
"""What a container's end of its pair is called in it."""


class Made(Record):
    """What a connection consists of."""

    held: Held
    member: Member
    cautions: tuple[str, ...]


class Gone(Record):
    """Who is not on the bridge any more."""

    members: tuple[Member, ...]
    last: bool
    """Whether nobody is on it now."""


class Connection:
    """One run of a container on the bridge."""

    def __init__(self, run: str, identity: str, made: Made) -> None:
        self._run = run
        self._identity = identity
        self._made = made
        self._gone: Gone | None = None

    @property
    def cautions(self) -> tuple[str, ...]:
        """What whoever started the container had better know of its network: not errors."""
        return self._made.cautions

    def parts(self) -> tuple[JSON, list[int]]:
        """For `resumed` in another process: what there is to know, and the sockets that hold its ports."""
        document = {"run": self._run, "identity": self._identity, "member": self._made.member}
        return document, self._made.held.descriptors

    @staticmethod
    def resumed(document: JSON, descriptors: Iterable[int]) -> Connection:
        """The connection whose `parts` these are."""
        made = Made(Held(False, descriptors), member_of(document["member"]), ())
        return Connection(document["run"], document["identity"], made)

    def announce(self) -> None:
        """Tell the others of it, and have those that sent to its ports before reach it."""
        with contextlib.suppress(OSError):  # the next who comes tells them
            names.refresh(self._run)
        if self._gone is None and flows.taken(self._made.member):
            sweeping.aside(functools.partial(flows.forget_taken, self._made.member))

    def leave(self) -> None:
        """Take it off the bridge: its ports are free."""
        self._made.held.release()
        with contextlib.suppress(OSError):  # the next who comes or goes takes it off
            self._gone = leave(self._run, self._identity)

    def tidy(self) -> None:
        """After `leave`, when nobody waits any more: what the others know, or what the last one leaves."""
        gone = self._gone or Gone((), False)
        led = flows.left(gone.members)
        if gone.last:
            sweeping.aside(functools.partial(sweeping.sweep_later, self._run, led))
            return
        self.announce()
        with contextlib.suppress(OSError):  # the next who comes or goes does it
            routing.give_way()
        if led:
            sweeping.aside(functools.partial(flows.forget_left, led))


def connect(wish: Wish, run: str, identity: str, home: str, pid: int) -> Connection:
    """Connect the new network namespace of the process *pid* with the bridge of the root at *run*.

    Raises LaunchError or OSError, with nothing left of it but perhaps the bridge.
    """
    key = os.path.basename(run)
    with contextlib.ExitStack() as unless_connected:
        unless_connected.callback(sweeping.aside, functools.partial(sweeping.sweep_later, run))
        made = _connect(wish, run, key, identity, home, pid)
        unless_connected.pop_all()
    return Connection(run, identity, made)


def _connect(wish: Wish, run: str, key: str, identity: str, home: str, pid: int) -> Made:
    with locked(run) as members, Netlink() as channel, nftables.open_channel() as filters:
        _drop(members, identity, key)
        found = bridges.find(channel, key)
        bridge = found or bridges.make(channel, key, wish.bridge)
        if found is None:
            rules.remove(filters, key)  # of a bridge that somebody took away, perhaps of another name
        point("network.after-bridge")
        routing.ensure(channel, filters, wanted=wish.forwarding)
        told = cautions.gather(filters, wish, None if found else bridge)
        held = Held(bool(bridge.subnet.gateway6))
        with contextlib.ExitStack() as undo:
            undo.callback(held.release)
            address = _plug(channel, bridge, members, wish, identity, pid)
            link = addressing.link_name(address)
            undo.callback(_unplug, channel, link)
            point("network.after-pair")
            inside = _configure(bridge, address, pid)
            who = process.identify(pid)
            member = Member(
                wish.name,
                wish.hostname,
                wish.aliases,
                home,
                pid,
                who.start if who else 0,
                link,
                addressing.show(address),
                addressing.show(bridge.subnet.address6(address)) if inside else "",
                addressing.mac_text(_mac(wish, address)),
                held.take(wish.ports, _living(members, wish, key)),
            )
            _open_ports(filters, key, bridge, members, member)
            point("network.after-ports")
            members.by_id[identity] = member
            members.last = int.from_bytes(address, "big")
            members.save()
            point("network.after-record")
            undo.pop_all()
        if not _write_names(wish, identity, home, members, bridge) and found is None:
            told += (cautions.NAMELESS,)
    return Made(held, member, told)


def leave(run: str, identity: str) -> Gone:
    """Take the container *identity* off its bridge, if it is on it, and with it those that ended unseen."""
    if find(run, identity) is None:
        return Gone((), False)
    with locked(run) as members:
        gone = [_drop(members, dead, os.path.basename(run)) for dead in (identity, *members.dead())]
        point("network.before-forgetting")
        members.save()
        point("network.after-forgetting")
        return Gone(tuple(filter(None, gone)), not members.by_id)


def clear(run: str, identity: str, *, half_made: bool = False) -> None:
    """`leave` for a container whose monitor was killed, with all that follows from it.

    With *half_made* it may have been killed before it was recorded whose the bridge is.
    """
    if find(run, identity) is None:
        if half_made:
            sweeping.sweep(run)
        else:  # the monitor may have been killed between leaving and having all swept
            sweeping.attend(run)
        return
    gone = leave(run, identity)
    if gone.last:
        sweeping.sweep(run)
    else:
        names.refresh(run)
    flows.forget_left(flows.left(gone.members))


def rename(run: str, identity: str, name: str) -> None:
    """Have the container *identity* found by another name."""
    with locked(run) as members:
        member = members.by_id.get(identity)
        if member is None:
            return
        members.by_id[identity] = member._replace(name=name)
        members.save()
    names.refresh(run)


def describe(run: str, identity: str) -> JSON:
    """The addresses and ports of a container that is on its bridge; nothing for one that is not."""
    member = find(run, identity)
    if member is None or not member.alive:
        return {}
    with Netlink() as channel:
        bridge = bridges.find(channel, os.path.basename(run))
    return {
        "interface": INTERFACE,
        "host_interface": member.link,
        "bridge": bridge.name if bridge else None,
        "ip_address": member.ip,
        "prefix": addressing.PREFIX,
        "gateway": addressing.show(bridge.subnet.gateway) if bridge else None,
        "ip6_address": member.ip6 or None,
        "prefix6": addressing.PREFIX6 if member.ip6 else None,
        "mac_address": member.mac,
        "names": [name for name in (member.name, member.hostname, *member.aliases) if name],
        "ports": [port._asdict() for port in member.ports],
    }


# Within


def _plug(channel: Netlink, bridge: Bridge, members: Members, wish: Wish, identity: str, pid: int) -> bytes:
    """Make the pair; the address is whoever's has the interface that is named after it."""
    used = {member.ip: member.name for member in members.by_id.values()}
    candidates: Iterable[bytes]
    if wish.ip:
        candidates = [_wanted(channel, bridge, wish.ip, used, identity)]
    else:
        candidates = bridge.subnet.candidates(members.last)
    for address in candidates:
        if addressing.show(address) in used:
            continue
        name = addressing.link_name(address)
        mac = _mac(wish, address)
        try:
            channel.change(
                links.add_veth(name, bridge.number, bridge.mtu, INTERFACE, mac, pid),
                links.set_alias(name, f"cowl {identity}"),
                # A container that asks for its own published port is answered by itself.
                *((links.set_hairpin(name),) if wish.ports else ()),
            )
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
        else:
            return address
    raise LaunchError(
        f"cannot connect with the bridge {bridge.name}",
        f"the address {wish.ip} is in use" if wish.ip else "all its addresses are in use",
        "choose another" if wish.ip else "stop some containers",
    )


def _wanted(channel: Netlink, bridge: Bridge, text: str, used: dict[str, str], identity: str) -> bytes:
    address = addressing.parse(text)
    network = f"{addressing.show(bridge.subnet.network)}/{addressing.PREFIX}"
    if address not in bridge.subnet or address == bridge.subnet.gateway:
        raise LaunchError(f"cannot have the address {text}", f"containers here have those of {network}")
    if text in used:
        raise LaunchError(f"cannot have the address {text}", f"the container {used[text]} has it")
    left = links.find(channel, addressing.link_name(address))
    if left is not None and left.alias == f"cowl {identity}":  # its own, on its way out
        channel.change(links.remove(left.number))
    return address


def _unplug(channel: Netlink, name: str) -> None:
    left = links.find(channel, name)
    if left is not None:
        channel.change(links.remove(left.number))


def _mac(wish: Wish, address: bytes) -> bytes:
    return addressing.parse_mac(wish.mac) if wish.mac else addressing.mac_of(address)


def _configure(bridge: Bridge, address: bytes, pid: int) -> bool:
    """Set up the container's end, from within its namespace; whether it has IPv6."""
    subnet = bridge.subnet

    def inside() -> bool:
        with Netlink() as channel:
            link = links.find(channel, INTERFACE)
            if link is None:
                raise LaunchError("cannot connect the container", "its interface has gone", "try again")
            bridges.set_own(6, INTERFACE, "accept_ra", b"0")
            channel.change(
                links.set_up(link.number),
                links.add_address(link.number, AF_INET, address, addressing.PREFIX),
                links.add_default_route(link.number, AF_INET, subnet.gateway),
            )
            if not subnet.gateway6:
                return False
            own = links.add_address(link.number, AF_INET6, subnet.address6(address), addressing.PREFIX6)
            out = links.add_default_route(link.number, AF_INET6, subnet.gateway6)
            try:
                channel.change(own, out)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EPERM, errno.EOPNOTSUPP):  # off in there
                    raise
                return False
            return True

    return _in_namespace_of(pid, inside)


def _in_namespace_of(pid: int, act: Callable[[], bool]) -> bool:
    """Do *act* in the network namespace of *pid*; this process has one thread."""
    back = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        namespaces.enter(f"/proc/{pid}/ns/net", namespaces.CLONE_NEWNET)
        try:
            return act()
        finally:
            namespaces.setns(back, namespaces.CLONE_NEWNET)
    finally:
        os.close(back)


def _living(members: Members, wish: Wish, key: str) -> Sequence[Member]:
    """The others on the bridge, once those that have ended unseen are off it, if ports are to be had."""
    if wish.ports:
        for dead in members.dead():
            _drop(members, dead, key)
    return tuple(members.by_id.values())


def _open_ports(filters: Netlink, key: str, bridge: Bridge, members: Members, member: Member) -> None:
    rules.ensure(filters, key, bridge.name, bridge.subnet, members.by_id.values())
    try:
        rules.publish(filters, key, member)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
        # Nobody who is known has the port: the run-time files of whoever had it are lost.
        rules.remove(filters, key)
        rules.ensure(filters, key, bridge.name, bridge.subnet, (*members.by_id.values(), member))


def _drop(members: Members, identity: str, key: str) -> Member | None:
    """Take a container off the list, and its ports out of the rules; it as it was."""
    member = members.forget(identity) if identity in members.by_id else None
    if member is not None and member.ports:
        with nftables.open_channel() as filters:
            if nftables.exists(filters, rules.table_name(key)):
                rules.withdraw(filters, key, member)
    return member


def _write_names(wish: Wish, identity: str, home: str, members: Members, bridge: Bridge) -> bool:
    """Who is where, and whom to ask for others: whether there is somebody to ask."""
    own = members.by_id[identity]
    gateway = addressing.show(bridge.subnet.gateway)
    names.write_hosts(identity, own, members.by_id, wish.extra_hosts, gateway)
    return names.write_resolver(home, wish.dns, wish.dns_search, wish.dns_options, ipv6=bool(own.ip6))
