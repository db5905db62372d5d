"""Holding the ports of this machine that lead to a container: nobody else can listen there meanwhile.

The packet rules come before any socket: a port that a server of this machine listens on would be taken from
it without a word. So each port is bound, never listened on, by the monitor, while the container runs.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Sequence

from engine.errors import LaunchError
from engine.kernel.channel import AF_INET, SOCK_CLOEXEC, SOCK_DGRAM, Channel
from engine.model import EVERY_ADDRESS, PublishedPort
from engine.network.members import Member

_AF_INET6 = 10
_SOCK_STREAM = 1
_IPPROTO_IPV6, _IPV6_V6ONLY = 41, 26
_KINDS = {"tcp": _SOCK_STREAM, "udp": SOCK_DGRAM}
_TABLES = {"tcp": ("tcp", "tcp6"), "udp": ("udp", "udp6")}
_TRIES = 64


class Held:
    """Sockets that keep ports; they go with the process or by `release`."""

    def __init__(self, ipv6: bool, descriptors: Iterable[int] = ()) -> None:
        """*descriptors* are sockets that are held already."""
        self._ipv6 = ipv6
        self._sockets = [Channel(fileno=descriptor) for descriptor in descriptors]

    @property
    def descriptors(self) -> list[int]:
        """The sockets."""
        return [channel.fileno() for channel in self._sockets]

    def take(self, ports: Iterable[PublishedPort], members: Iterable[Member]) -> tuple[PublishedPort, ...]:
        """Hold *ports*; they with the numbers that they got. Raises LaunchError that says who has one.

        *members* are the other containers on the bridge.
        """
        others = list(members)
        with contextlib.ExitStack() as unless_taken:
            unless_taken.callback(self.release)
            taken = tuple(self._take(port, others) for port in ports)
            unless_taken.pop_all()
        return taken

    def release(self) -> None:
        """Let go of all."""
        for channel in self._sockets:
            channel.close()
        self._sockets.clear()

    def _take(self, port: PublishedPort, others: Sequence[Member]) -> PublishedPort:
        if ":" in port.host_ip and not self._ipv6:
            raise _conflict(port, "this machine does not forward IPv6")
        if port.host_last:
            return self._take_first(port, others)
        for member in others:
            if port.host_port and any(_same(port, other) for other in member.ports):
                raise _conflict(port, f"the container {member.name} has it")
        for _ in range(_TRIES):
            try:
                return self._bind(port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise _refused(port, error) from error
                if port.host_port:
                    raise _conflict(port, holder(port)) from error
        raise _conflict(port, "no port is free")

    def _take_first(self, port: PublishedPort, others: Sequence[Member]) -> PublishedPort:
        """The first of a range that is free."""
        for number in range(port.host_port, port.host_last + 1):
            one = port._replace(host_port=number, host_last=0)
            if any(_same(one, other) for member in others for other in member.ports):
                continue
            try:
                return self._bind(one)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise _refused(port, error) from error
        raise _conflict(port, "none of them is free")

    def _bind(self, port: PublishedPort) -> PublishedPort:
        kind = _KINDS.get(port.protocol)
        if kind is None:  # no socket to hold it with on many machines: the packet rules have it alone
            return port if port.host_port else port._replace(host_port=port.container_port)
        made: list[Channel] = []
        number = port.host_port
        try:
            for family, address in self._places(port):
                channel = Channel(family, kind | SOCK_CLOEXEC)
                made.append(channel)
                if family == _AF_INET6:
                    channel.setsockopt(_IPPROTO_IPV6, _IPV6_V6ONLY, 1)
                channel.bind((address, number))
                number = channel.getsockname()[1]
        except OSError:
            for channel in made:
                channel.close()
            raise
        self._sockets += made
        return port._replace(host_port=number)

    def _places(self, port: PublishedPort) -> list[tuple[int, str]]:
        if port.host_ip:
            return [(_AF_INET6 if ":" in port.host_ip else int(AF_INET), port.host_ip)]
        return [(int(AF_INET), "0.0.0.0"), *([(_AF_INET6, "::")] if self._ipv6 else [])]


def _same(one: PublishedPort, other: PublishedPort) -> bool:
    if (one.host_port, one.protocol) != (other.host_port, other.protocol):
        return False
    first, second = one.host_ip, other.host_ip
    if first and second and (":" in first) != (":" in second):
        return False
    return first in EVERY_ADDRESS or second in EVERY_ADDRESS or first == second


def _refused(port: PublishedPort, error: OSError) -> LaunchError:
    if error.errno == errno.EMFILE:
        return _conflict(port, "too many ports for one container: files are at their limit")
    if error.errno == errno.EADDRNOTAVAIL:
        return _conflict(port, f"{port.host_ip} is no address of this machine")
    return _conflict(port, os.strerror(error.errno or 0))


def _conflict(port: PublishedPort, why: str) -> LaunchError:
    place = f"{port.host_port}-{port.host_last}" if port.host_last else str(port.host_port)
    if port.host_ip:
        place = f"[{port.host_ip}]:{place}" if ":" in port.host_ip else f"{port.host_ip}:{place}"
    return LaunchError(f"cannot publish port {place}/{port.protocol}", why, "choose another")


def holder(port: PublishedPort) -> str:
    """A sentence on the process that has *port* of this machine (proc_net_tcp(5))."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port)}
    for pid in filter(str.isdigit, os.listdir("/proc")) if sockets else ():
        with contextlib.suppress(OSError):  # it ended meanwhile
            for entry in os.scandir(f"/proc/{pid}/fd"):
                if os.readlink(entry.path) in sockets:
                    return f"the process {pid}, {_name(pid)}, has it"
    return "somebody holds it without listening, as a container of another root does"


def _inodes(port: PublishedPort) -> set[str]:
    found = set()
    wanted = f":{port.host_port:04X}"
    for table in _TABLES[port.protocol]:
        with (
            contextlib.suppress(FileNotFoundError),
            open(f"/proc/self/net/{table}", encoding="ascii") as file,
        ):
            for line in file:
                fields = line.split()
                if fields[1].endswith(wanted):
                    found.add(fields[9])
    return found - {"0"}


def _name(pid: str) -> str:
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        return file.read().strip()
