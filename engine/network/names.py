"""Names: the hosts file of every container on the bridge, and where they ask for all other names.

Each container's /etc/hosts is a file in its directory of the store, bound into it. Who comes and goes is kept
in a block of each; the rest is the container's own to change.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Mapping, Sequence

from engine.network.members import DOCUMENT, Member, Members

HOST_GATEWAY = "host-gateway"
"""What `--add-host` calls the bridge's own address."""
SOURCES = (
    "/etc/resolv.conf",
    "/run/systemd/resolve/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
)
"""Who is asked for names here, and whom a resolver on the loopback asks: systemd-resolved, or dnsmasq."""
_BEGIN = "# others on this bridge, kept by cowl\n"
_END = "# end of them\n"
_COMMON = (
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n"
    "ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
)
_LARGEST = 1 << 20
_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""For files that a container can take a lease on, for whose end an open would wait (fcntl(2), F_SETLEASE)."""
_LOCK = "hosts.lock"
_MOST_SEARCHED = 6
"""Domains that resolvers have always taken (resolv.conf(5))."""


def write_hosts(
    identity: str, own: Member, members: Mapping[str, Member], extra: Sequence[str], gateway: str
) -> None:
    """The whole file of a container that starts."""
    lines = [_COMMON, _line(own.ip, own, identity), _line(own.ip6, own, identity) if own.ip6 else ""]
    for entry in extra:
        name, _, address = entry.partition(":")
        lines.append(f"{gateway if address == HOST_GATEWAY else address}\t{name}\n")
    lines.append(_block(identity, members))
    _rewrite(f"{own.home}/hosts", "".join(lines))


def refresh(run: str) -> None:
    """Tell every container of every other. Who finds somebody at it leaves it to them."""
    descriptor = os.open(f"{run}/{_LOCK}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        seen: object = None
        while (version := _version(run)) != seen:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            seen = version
            members = Members(run).by_id
            for identity, member in members.items():
                with contextlib.suppress(OSError):  # its directory goes just now, or the disk is full
                    _update(f"{member.home}/hosts", _block(identity, members))
            # Whoever came meanwhile has seen the lock held: looked at again once it is free.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _version(run: str) -> object:
    try:
        status = os.stat(f"{run}/{DOCUMENT}")
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def _line(address: str, member: Member, identity: str) -> str:
    short = member.hostname.partition(".")[0]
    names = dict.fromkeys((member.hostname, short, member.name, *member.aliases, identity[:12]))
    return f"{address}\t{' '.join(filter(None, names))}\n"


def _block(identity: str, members: Mapping[str, Member]) -> str:
    lines = []
    for other, member in members.items():
        if other != identity:
            lines.append(_line(member.ip, member, other))
            if member.ip6:
                lines.append(_line(member.ip6, member, other))
    return f"{_BEGIN}{''.join(lines)}{_END}"


def _update(path: str, block: str) -> None:
    """Put *block* in the place of the one before; a file without one is its container's own matter."""
    descriptor = os.open(path, os.O_RDWR | _FLAGS)
    try:
        data = os.pread(descriptor, _LARGEST + 1, 0)
        before, begun, rest = data.partition(_BEGIN.encode())
        _, ended, after = rest.partition(_END.encode())
        changed = before + block.encode() + after
        if begun and ended and len(data) <= _LARGEST and changed != data:
            _put(descriptor, changed)
    finally:
        os.close(descriptor)


def _rewrite(path: str, text: str) -> None:
    """In place: the file is bound into the container as it is."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o644)
    try:
        _put(descriptor, text.encode("utf-8", "surrogateescape"))
    finally:
        os.close(descriptor)


def _put(descriptor: int, data: bytes) -> None:
    """Whoever reads meanwhile sees the old or the new, not half a file."""
    os.pwrite(descriptor, data, 0)
    os.ftruncate(descriptor, len(data))


def write_resolver(
    home: str, servers: Sequence[str], search: Sequence[str], options: Sequence[str], *, ipv6: bool
) -> bool:
    """The resolv.conf of a container that starts: this machine's as it is now, but for what was asked for.

    A resolver on this machine's loopback is out of a container's reach: those that it asks itself take its
    place. Where nobody knows them there is none, as nobody else is to be told what a container looks for.
    Without *ipv6* servers of version 6 are left out. Returns whether there is a server.
    """
    own = _host_file(SOURCES[0])
    known = list(servers)
    for path in SOURCES:
        known = known or _servers(_host_file(path), ipv6=ipv6)
    found = [f"nameserver {server}\n" for server in known]
    domains = [word for word in search if word != "."] if search else _values(own, ("search", "domain"))
    if domains:
        found.append(f"search {' '.join(domains[:_MOST_SEARCHED])}\n")
    chosen = options or _values(own, ("options",))
    if chosen:
        found.append(f"options {' '.join(chosen)}\n")
    _rewrite(f"{home}/resolv.conf", "".join(found))
    return bool(known)


def _servers(text: str, *, ipv6: bool) -> list[str]:
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and _within_reach(words[1], ipv6=ipv6):
            found.append(words[1])
    return found


def _within_reach(server: str, *, ipv6: bool) -> bool:
    if ":" in server:
        # One with a zone is on a link of this machine (RFC 4007).
        return ipv6 and "%" not in server and not server.startswith("fe80:") and server != "::1"
    return not server.startswith(("127.", "0."))


def _values(text: str, keys: Sequence[str]) -> list[str]:
    """What the last line that begins with one of *keys* says."""
    found: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if words and words[0] in keys:
            found = words[1:]
    return found


def _host_file(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(_LARGEST)
    except OSError:
        return ""
